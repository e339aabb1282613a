//! Losses.
//!
//! Each has two forms: `x.huber_loss(&target)`, and one that is told how, `x.huber_loss_with(&target, options)`. The
//! options are a [`Reduction`], or what sets it and more, as `Huber::new().delta(0.5).reduction(Reduction::Sum)`.
//!
//! Shapes must be equal: predictions `[N, 1]` against a target `[N]` would broadcast to `[N, N]`, and train towards the
//! mean.

mod classes;
mod ctc;
mod distance;
mod pointwise;

use crate::attributes::{Attrs, Value};
use crate::dispatch::Op;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

pub use classes::{ClassTarget, CrossEntropy, Nll};
pub use ctc::Ctc;
pub use distance::{CosineEmbedding, TripletMargin};
pub use pointwise::{Bce, BceWithLogits, Hinge, Huber, KlDiv, SmoothL1};

/// The operations of this folder.
pub(crate) static CLASSES: &[&Op] = classes::OPS;
pub(crate) static POINTWISE: &[&Op] = pointwise::OPS;

/// What becomes of the losses of the elements, or of the rows.
///
/// ```
/// use wengert_tensor::{Reduction, tensor};
/// let (x, y) = (tensor![1.0, 2.0], tensor![1.0, 5.0]);
/// assert_eq!(x.mse_loss(&y).item(), 4.5);
/// assert_eq!(x.mse_loss_with(&y, Reduction::Sum).item(), 9.0);
/// assert_eq!(x.mse_loss_with(&y, Reduction::None).to_vec::<f32>(), [0.0, 9.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their mean; NaN for none.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// The name that stands for it among attributes.
    fn name(self) -> &'static str {
        match self {
            Reduction::None => "none",
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
        }
    }

    /// The one that the attribute `reduction` names; the mean where there is no such attribute.
    fn of(attrs: &Attrs) -> Result<Reduction> {
        let all = [Reduction::None, Reduction::Mean, Reduction::Sum];
        let Some(given) = attrs.get("reduction") else { return Ok(Reduction::Mean) };
        all.into_iter().find(|r| *given == Value::Name(r.name())).ok_or_else(|| {
            Error::new(format!("reduction {given} is none of none, mean and sum")).kind_of(ErrorKind::Value)
        })
    }

    /// Reduces losses.
    #[track_caller]
    fn apply(self, losses: Tensor) -> Result<Tensor> {
        match self {
            Reduction::None => Ok(losses),
            Reduction::Mean => losses.try_mean(),
            Reduction::Sum => losses.try_sum(),
        }
    }
}

/// Defines the options of a loss: its own, each with its setter, and the reduction.
macro_rules! options {
    ($(
        $(#[$doc:meta])*
        $Name:ident {$(
            $(#[$field_doc:meta])*
            $field:ident($arg:ident: $arg_type:ty): $type:ty = $default:expr => $set:expr;
        )*}
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $Name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// What becomes of the losses.
            pub reduction: $crate::Reduction,
        }

        impl Default for $Name {
            fn default() -> $Name {
                $Name { $($field: $default,)* reduction: $crate::Reduction::Mean }
            }
        }

        impl $Name {
            /// The usual options.
            pub fn new() -> $Name {
                $Name::default()
            }

            $(
                $(#[$field_doc])*
                pub fn $field(mut self, $arg: $arg_type) -> $Name {
                    self.$field = $set;
                    self
                }
            )*

            /// Sets what becomes of the losses.
            pub fn reduction(mut self, reduction: $crate::Reduction) -> $Name {
                self.reduction = reduction;
                self
            }
        }

        impl From<$crate::Reduction> for $Name {
            fn from(reduction: $crate::Reduction) -> $Name {
                $Name::new().reduction(reduction)
            }
        }
    )*};
}
use options;

/// Defines the methods of losses, each with and without options, panicking and fallible, from one body.
macro_rules! losses {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident, $with:ident / $try_with:ident
        $([$($generics:tt)+])? (&$self:ident $(, $arg:ident: $type:ty)*; $options:ident: $Options:ty) $body:block
    )*) => {
        impl $crate::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name$(<$($generics)+>)?(&$self $(, $arg: $type)*) -> $crate::Tensor {
                $crate::error::or_panic($self.$try_name($($arg),*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name$(<$($generics)+>)?(&$self $(, $arg: $type)*) -> $crate::Result<$crate::Tensor> {
                $self.$try_with($($arg,)* $crate::Reduction::Mean)
            }

            #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") with a reduction or other options.")]
            ///
            /// # Panics
            /// Where the form without options does, or if an option is out of range.
            #[track_caller]
            pub fn $with$(<$($generics)+>)?(
                &$self $(, $arg: $type)*, options: impl Into<$Options>,
            ) -> $crate::Tensor {
                $crate::error::or_panic($self.$try_with($($arg,)* options))
            }

            #[doc = concat!("Fallible form of [`", stringify!($with), "`](Self::", stringify!($with), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_with$(<$($generics)+>)?(
                &$self $(, $arg: $type)*, options: impl Into<$Options>,
            ) -> $crate::Result<$crate::Tensor> {
                let $options: $Options = options.into();
                $body
            }
        )*}
    };
}
use losses;

/// Checks that predictions and target have one shape.
fn same_shape(a: &Shape, b: &Shape) -> Result<()> {
    if a == b {
        return Ok(());
    }
    let e = Error::new(format!("shapes differ: {a} and {b}"));
    // One axis of size 1 too many is the usual slip.
    let extra = |long: &Shape, short: &Shape| {
        (0..long.rank()).rev().find(|&axis| {
            let mut s = long.clone();
            s.remove(axis) == 1 && s == *short
        })
    };
    Err(if let Some(axis) = extra(a, b) {
        e.help(format!("target.unsqueeze({axis}) gives {a}, or input.squeeze({axis}) gives {b}"))
    } else if let Some(axis) = extra(b, a) {
        e.help(format!("target.squeeze({axis}) gives {a}, or input.unsqueeze({axis}) gives {b}"))
    } else {
        e.help("the loss broadcasts nothing: bring both to one shape first")
    })
}

/// Checks a number that must be above 0.
fn demand_positive(name: &str, value: f64) -> Result<()> {
    if value > 0.0 {
        return Ok(());
    }
    Err(Error::new(format!("{name} {value} is not above 0")).kind_of(ErrorKind::Value))
}
