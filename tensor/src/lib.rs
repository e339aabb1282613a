//! Tensors, their kernels, and the recording half of the tape of Wengert.
//!
//! Users add the crate `wengert`, which re-exports what is here.

mod attributes;
pub mod dispatch;
mod dtype;
mod error;
mod index;
pub mod io;
mod kernels;
mod kind;
pub mod layout;
mod ops;
mod outputs;
pub mod par;
mod print;
mod random;
pub mod registry;
mod shape;
pub mod storage;
pub mod tape;
mod tensor;

pub use dtype::{DType, Element, default_dtype, with_default_dtype};
pub use error::{Error, ErrorKind, InModule, Result, current_module, enter_module, in_module, or_panic};
pub use index::{By, Ellipsis, Index, IntoIndex, IntoIndices, NewAxis};
pub use kernels::simd;
pub use kind::{Bool, Float, Int, Kind, Numeric, Value};
pub use ops::{
    AttentionOptions, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, Interpolation, IntoOperand, Pool,
    Pool1d, Pool2d, Pool3d, Sizes, scalar,
};
pub use ops::{
    Bce, BceWithLogits, ClassTarget, CosineEmbedding, CrossEntropy, Ctc, Hinge, Huber, KlDiv, Nll, Reduction, SmoothL1,
    TripletMargin,
};
#[doc(hidden)]
pub use ops::{Literal, Nested, from_nested};
pub use par::with_threads;
pub use random::{Rng, manual_seed, rng_state, set_rng_state, split_rng};
pub use shape::{IntoDims, MAX_RANK, Shape};
pub use tape::{is_grad_enabled, no_grad};
pub use tensor::{AnyTensor, Tensor};
