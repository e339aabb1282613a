//! Dropout as a layer.

use wengert_tensor::Tensor;

use crate::Module;
use crate::layer::Layer;
use crate::param::Mode;
use crate::scope::Scope;

/// Sets elements to 0 at random in training and scales up the others, see [`Tensor::dropout`]; in evaluation it returns
/// its input.
///
/// ```
/// use wengert_nn::{Dropout, Layer, Module};
/// use wengert_tensor::{Tensor, manual_seed};
/// manual_seed(1);
/// let (dropout, x) = (Dropout::new(0.5), Tensor::ones([100]));
/// assert_eq!(dropout.forward(&x).min().item(), 0.0);
/// dropout.eval();
/// assert_eq!(dropout.forward(&x).min().item(), 1.0);
/// ```
#[derive(Module)]
pub struct Dropout {
    scope: Scope,
    mode: Mode,
    p: f64,
}

impl Dropout {
    /// A layer that sets an element to 0 with probability `p`.
    ///
    /// # Panics
    /// If `p` is not between 0 and 1.
    #[track_caller]
    pub fn new(p: f64) -> Dropout {
        assert!((0.0..=1.0).contains(&p), "Dropout::new: p {p} is not between 0 and 1");
        Dropout { scope: Scope::new("Dropout"), mode: Mode::new(), p }
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.scope.output(x.dropout(self.p, self.mode.is_training()))
    }
}
