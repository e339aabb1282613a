//! Gradient clipping.

use wengert_autograd::Gradients;
use wengert_tensor::{DType, no_grad};

/// Scales all gradients together so that their global norm, the root of the sum of all their squares, is at most
/// `max_norm`. Returns the norm before.
///
/// As in PyTorch the factor is `max_norm / (norm + 1e-6)`, where that is below 1. If the norm is infinite or NaN the
/// gradients stay as they are: look at what is returned, and skip the step.
///
/// R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
///
/// # Panics
/// If `max_norm` is negative or NaN.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_optim::clip_global_norm;
/// use wengert_tensor::tensor;
/// let w = tensor![1.5, 2.0].requires_grad();
/// let mut grads = (&w * &w).sum().backward();
/// assert_eq!(clip_global_norm(&mut grads, 1.0), 5.0);
/// assert!((grads.of(&w).to_vec::<f64>()[0] - 0.6).abs() < 1e-6);
/// ```
#[track_caller]
pub fn clip_global_norm(gradients: &mut Gradients, max_norm: f64) -> f64 {
    assert!(max_norm >= 0.0, "clip_global_norm: max_norm {max_norm} is negative or NaN");
    no_grad(|| {
        // In F64, where squares of smaller precisions neither overflow nor vanish.
        let squares = gradients.iter().filter(|(leaf, _)| leaf.is_some()).map(|(_, g)| {
            let g = g.to_dtype(DType::F64);
            (&g * &g).sum().item()
        });
        let norm = squares.sum::<f64>().sqrt();
        let factor = max_norm / (norm + 1e-6);
        if norm.is_finite() && factor < 1.0 {
            gradients.map(|g| g * factor);
        }
        norm
    })
}

/// Limits each element of each gradient to `-limit` to `limit`.
///
/// # Panics
/// If `limit` is negative or NaN.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_optim::clip_value;
/// use wengert_tensor::tensor;
/// let w = tensor![1.5, 0.25].requires_grad();
/// let mut grads = (&w * &w).sum().backward();
/// clip_value(&mut grads, 1.0);
/// assert_eq!(grads.of(&w).to_vec::<f32>(), [1.0, 0.5]);
/// ```
#[track_caller]
pub fn clip_value(gradients: &mut Gradients, limit: f64) {
    assert!(limit >= 0.0, "clip_value: limit {limit} is negative or NaN");
    no_grad(|| gradients.map(|g| g.clamp(-limit, limit)));
}
