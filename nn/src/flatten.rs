//! Flattening as a layer.

use wengert_tensor::Tensor;

use crate::Module;
use crate::layer::Layer;
use crate::scope::Scope;

/// Makes one axis of all axes but the first, which is the batch: `[n, c, h, w]` becomes `[n, c * h * w]`.
///
/// ```
/// use wengert_nn::{Flatten, Layer};
/// use wengert_tensor::Tensor;
/// assert_eq!(Flatten::new().forward(&Tensor::zeros([8, 16, 7, 7])).shape().to_string(), "[8, 784]");
/// ```
#[derive(Module)]
pub struct Flatten {
    scope: Scope,
}

impl Flatten {
    /// The layer.
    pub fn new() -> Flatten {
        Flatten { scope: Scope::new("Flatten") }
    }
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten::new()
    }
}

impl Layer for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        self.scope.output(x.flatten(1..))
    }
}
