//! Gradient clipping.

use wengert_autograd::Gradients;
use wengert_tensor::{Tensor, no_grad};

use crate::norm::square_sum;

/// Scales all gradients together so that their global norm, the root of the sum of all their squares, is at most
/// `max_norm`. Returns the norm before.
///
/// As in PyTorch the factor is `max_norm / (norm + 1e-6)`, where that is below 1. If the norm is infinite or NaN the
/// gradients stay as they are: look at what is returned, or let the optimizer
/// [skip such steps](crate::Stepper::skip_non_finite).
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
    let of_leaves = gradients.iter().filter(|(leaf, _)| leaf.is_some());
    let norm = of_leaves.map(|(_, g)| square_sum(g)).sum::<f64>().sqrt();
    if let Some(factor) = factor(norm, max_norm) {
        no_grad(|| gradients.map(|g| g * factor));
    }
    norm
}

/// Scales each gradient by itself so that its norm is at most `max_norm`, with the factor of [`clip_global_norm`].
///
/// # Panics
/// If `max_norm` is negative or NaN.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_optim::clip_norm;
/// use wengert_tensor::tensor;
/// let (w, b) = (tensor![1.5, 2.0].requires_grad(), tensor![0.25].requires_grad());
/// let mut grads = ((&w * &w).sum() + (&b * &b).sum()).backward();
/// clip_norm(&mut grads, 1.0);
/// assert!((grads.of(&w).to_vec::<f64>()[0] - 0.6).abs() < 1e-6);
/// assert_eq!(grads.of(&b).item(), 0.5);
/// ```
#[track_caller]
pub fn clip_norm(gradients: &mut Gradients, max_norm: f64) {
    assert!(max_norm >= 0.0, "clip_norm: max_norm {max_norm} is negative or NaN");
    let clipped = |g: &Tensor| factor(square_sum(g).sqrt(), max_norm).map_or_else(|| g.clone(), |factor| g * factor);
    no_grad(|| gradients.map(clipped));
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

/// What scales a norm down to `max_norm`, where it needs to be and can.
fn factor(norm: f64, max_norm: f64) -> Option<f64> {
    let factor = max_norm / (norm + 1e-6);
    (norm.is_finite() && factor < 1.0).then_some(factor)
}
