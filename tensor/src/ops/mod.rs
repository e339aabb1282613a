//! The operations: each one contiguous block with its documentation, its methods, its shape rule, its kernel call, its
//! gradient rule and its registry entry.

mod attention;
mod batch_norm;
mod binary;
mod cast;
mod compare;
mod conv;
mod create;
mod dropout;
mod elementwise;
mod gather;
mod join;
mod loss;
mod matmul;
mod operators;
mod pool;
mod random;
mod recurrent;
mod reduce;
mod row_norm;
mod scan;
mod shape;
mod slice;
mod softmax;
mod sort;
mod unary;
mod window;

use crate::dispatch::Op;

pub use attention::AttentionOptions;
pub use binary::IntoOperand;
pub use conv::Conv2dOptions;
pub(crate) use create::full_any;
pub use create::{Literal, Nested, from_nested, scalar};
pub use pool::Pool2d;
pub(crate) use shape::{CONTIGUOUS, IDENTITY};
pub use window::Pair;

/// The registry: one line per family file.
pub(crate) static ALL: &[&[&Op]] = &[
    unary::OPS,
    binary::OPS,
    compare::OPS,
    create::OPS,
    cast::OPS,
    reduce::OPS,
    shape::OPS,
    matmul::OPS,
    softmax::OPS,
    loss::OPS,
    random::OPS,
    dropout::OPS,
    slice::OPS,
    join::OPS,
    gather::OPS,
    conv::OPS,
    pool::OPS,
    attention::OPS,
    batch_norm::OPS,
    row_norm::OPS,
    recurrent::OPS,
    sort::OPS,
    scan::OPS,
];

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
