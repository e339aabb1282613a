//! The kernels: what computes on elements.
//!
//! Kernels see slices, layouts and a [`Par`](crate::par::Par) value, never a tensor, an operation or a clock. What memory
//! they need for a while, they have of the pool, by way of [`scratch`].

pub mod accumulate;
pub mod attention;
mod chacha;
mod compute;
pub mod conv;
pub mod copy;
pub mod cross_entropy;
pub mod divide;
pub mod double;
pub mod elementary;
pub mod factor;
pub mod fill;
pub mod fold;
pub mod gather;
pub mod gemm;
pub mod interpolate;
mod lanes;
pub mod lstm;
pub mod map;
pub mod norm;
pub mod number;
mod operand;
pub mod pane;
pub mod pool;
pub mod random;
pub mod recurrence;
pub mod recurrent;
pub mod reduce;
pub mod row_norm;
pub mod scan;
pub mod scatter;
mod scratch;
pub mod select;
pub mod simd;
pub mod single;
pub mod softmax;
pub mod sort;
pub mod transpose;
pub mod unfold;
pub mod vector;
pub mod window;
pub mod zip;
