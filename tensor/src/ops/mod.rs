//! The operations: each one contiguous block with its documentation, its methods, its shape rule, its kernel call, its
//! gradient rule and its registry entry.

mod activation;
mod attention;
mod batch_norm;
mod binary;
mod cast;
mod compare;
mod conv;
mod create;
mod diagonal;
mod dropout;
mod einsum;
mod elementwise;
mod exponential;
mod factor;
mod gather;
mod interpolate;
mod join;
mod linalg;
mod linear;
mod logic;
mod loss;
mod lstm;
mod masked;
mod matmul;
mod memory_order;
mod operators;
mod order;
mod pad;
mod pool;
mod power;
mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod row_norm;
mod scalar;
mod scan;
mod scatter;
mod search;
mod shape;
mod slice;
mod softmax;
mod sort;
mod statistics;
mod triangle;
mod trigonometric;
mod unary;
mod unfold;
mod window;

use crate::dispatch::{Needs, Op, Saves};

pub use attention::AttentionOptions;
pub use binary::IntoOperand;
pub use conv::{Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions};
pub(crate) use create::full_any;
pub use create::{Literal, Nested, from_nested, scalar};
pub use interpolate::Interpolation;
pub use loss::{
    Bce, BceWithLogits, ClassTarget, CosineEmbedding, CrossEntropy, Ctc, Hinge, Huber, KlDiv, Nll, Reduction, SmoothL1,
    TripletMargin,
};
pub use pool::{Pool, Pool1d, Pool2d, Pool3d};
pub(crate) use shape::{CONTIGUOUS, IDENTITY, copied};
pub(crate) use slice::{SLICE_ASSIGN, cut_attrs};
pub use window::Sizes;

/// The registry: one line per family file.
pub(crate) static ALL: &[&[&Op]] = &[
    unary::OPS,
    scalar::OPS,
    exponential::OPS,
    exponential::OF_TWO,
    trigonometric::OPS,
    trigonometric::OF_TWO,
    activation::OPS,
    activation::GRADIENTS,
    binary::OPS,
    power::OPS,
    power::WITH_NUMBERS,
    compare::OPS,
    logic::OPS,
    create::OPS,
    triangle::OPS,
    cast::OPS,
    reduce::OPS,
    statistics::OPS,
    shape::OPS,
    matmul::OPS,
    linear::OPS,
    linalg::OPS,
    factor::OPS,
    softmax::OPS,
    loss::CLASSES,
    loss::POINTWISE,
    random::OPS,
    dropout::OPS,
    slice::OPS,
    join::OPS,
    pad::OPS,
    diagonal::OPS,
    gather::OPS,
    scatter::OPS,
    masked::OPS,
    conv::OPS,
    pool::OPS,
    unfold::OPS,
    interpolate::OPS,
    attention::OPS,
    batch_norm::OPS,
    row_norm::OPS,
    recurrent::OPS,
    lstm::OPS,
    sort::OPS,
    order::OPS,
    search::OPS,
    scan::OPS,
];

/// The two inputs of an operation that is linear in both: each one's gradient reads the other.
fn other_input(needs: Needs) -> Saves {
    let saves = if needs.has(0) { Saves::NONE.and_input(1) } else { Saves::NONE };
    if needs.has(1) { saves.and_input(0) } else { saves }
}

/// Defines a method that panics at the caller's line and its `try_` twin, from one body.
///
/// ```text
/// twin! {
///     impl [] Tensor {
///         /// Documentation of both.
///         pub fn softmax / try_softmax(&self, axis: isize) -> Tensor {
///             apply1(&SOFTMAX, attrs! { axis: axis }, &mut [self.into()])
///         }
///     }
/// }
/// ```
macro_rules! twin {
    (impl [$($generics:tt)*] $Self:ty {
        $(
            $(#[$doc:meta])*
            pub fn $name:ident / $try_name:ident (& $self:ident $(, $arg:ident: $ty:ty)* $(,)?) -> $ret:ty $body:block
        )*
    }) => {
        impl $($generics)* $Self {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(& $self $(, $arg: $ty)*) -> $ret {
                    $crate::error::or_panic($self.$try_name($($arg),*))
                }

                #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                ///
                /// # Errors
                /// Where the other form panics.
                #[track_caller]
                pub fn $try_name(& $self $(, $arg: $ty)*) -> $crate::error::Result<$ret> $body
            )*
        }
    };
}
pub(crate) use twin;
