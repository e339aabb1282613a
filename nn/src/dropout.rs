//! Dropout as a layer.

use wengert_tensor::{Error, Tensor};

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
        let _scope = self.scope.enter();
        self.scope.output(x.dropout(self.p, self.mode.is_training()))
    }
}

/// Sets whole channels of images `[n, channels, height, width]` to 0 at random in training and scales up the others: pixels
/// beside each other are so alike that dropping single ones hides little. In evaluation it returns its input.
///
/// J. Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
///
/// ```
/// use wengert_nn::{Dropout2d, Layer};
/// use wengert_tensor::{Tensor, manual_seed};
/// manual_seed(1);
/// let y = Dropout2d::new(0.5).forward(&Tensor::ones([1, 50, 2, 2]));
/// let sums = y.sum_axis([2, 3]).to_vec::<f32>();
/// assert!(sums.iter().all(|&sum| sum == 0.0 || sum == 8.0));
/// assert!(sums.contains(&0.0) && sums.contains(&8.0));
/// ```
#[derive(Module)]
pub struct Dropout2d {
    scope: Scope,
    mode: Mode,
    p: f64,
}

impl Dropout2d {
    /// A layer that sets a channel to 0 with probability `p`.
    ///
    /// # Panics
    /// If `p` is not between 0 and 1.
    #[track_caller]
    pub fn new(p: f64) -> Dropout2d {
        assert!((0.0..=1.0).contains(&p), "Dropout2d::new: p {p} is not between 0 and 1");
        Dropout2d { scope: Scope::new("Dropout2d"), mode: Mode::new(), p }
    }
}

impl Layer for Dropout2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        if x.rank() != 4 {
            let e = Error::new(format!("the input has rank {}, not 4", x.rank()))
                .help("give an input [n, channels, height, width]; Dropout drops single elements of any shape");
            self.scope.refuse(e.operand("input", x.as_any()));
        }
        if !self.mode.is_training() || self.p == 0.0 {
            return self.scope.output(x.clone());
        }
        let kept = Tensor::full_dtype([x.size(0), x.size(1), 1, 1], 1.0, x.dtype()).dropout(self.p, true);
        self.scope.output(x * kept)
    }
}
