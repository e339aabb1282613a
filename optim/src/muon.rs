//! Muon.

use wengert_tensor::{Shape, Tensor};

use crate::norm::square_sum;
use crate::rule::{Kept, Rule, Step, widened};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Momentum whose direction is made orthogonal: all directions of a matrix are learned at one pace. For the matrices
    /// inside of a network; give embeddings, the last layer, biases and gains to [`AdamW`](crate::AdamW).
    ///
    /// ```text
    /// m <- momentum * m + (1 - momentum) * g
    /// x =  m                               with Nesterov  (1 - momentum) * g + momentum * m
    /// x <- x / max(|x|, eps), then `iterations` times: a = x x^T, x <- 3.4445 x + (-4.775 a + 2.0315 a^2) x
    /// p <- p - lr * weight_decay * p - lr * scale * x
    /// ```
    ///
    /// The scale of a matrix `n` by `m` is `sqrt(max(1, n / m))`, or `0.2 * sqrt(max(n, m))` to match the size of Adam's
    /// steps. A convolution's kernel counts as a matrix with a row for each output channel. The iteration, due to
    /// Newton and Schulz, runs in F64 for parameters of that precision and in F32 for others; PyTorch's runs in BF16.
    ///
    /// K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; J. Liu et al., "Muon is Scalable
    /// for LLM Training", 2025.
    ///
    /// # Panics
    /// `new` panics if a parameter has less than two axes.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module, Sequential};
    /// use wengert_optim::{AdamW, Muon};
    /// let net = Sequential::new().push(Linear::new(4, 8)).push(Linear::new(8, 2));
    /// let (matrices, others): (Vec<_>, Vec<_>) = net.parameters().into_iter().partition(|p| p.shape().rank() >= 2);
    /// let muon = Muon::new(matrices).lr(0.02).momentum(0.95).nesterov(true).weight_decay(0.01).match_adam(false);
    /// let muon = muon.iterations(5).eps(1e-7);
    /// let adam = AdamW::new(others).lr(1e-3); // both step with the same gradients
    /// # assert_eq!((muon.parameters().count(), adam.parameters().count()), (2, 2));
    /// ```
    Muon = MuonRule, lr: 1e-3,
    /// How much of the last step's direction goes on.
    momentum: fraction = 0.95,
    /// Whether to look ahead along the momentum.
    nesterov: flag = true,
    /// What share of itself, times the learning rate, each parameter loses in a step.
    weight_decay: non_negative = 0.1,
    /// How often the iteration is run that makes a direction orthogonal.
    iterations: count = 5,
    /// The least norm that a direction is divided by.
    eps: non_negative = 1e-7,
    /// Whether steps are scaled to the size of Adam's, so that its learning rates and weight decay fit.
    match_adam: flag = false,
}

impl Rule for MuonRule {
    const NAME: &'static str = "Muon";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["momentum"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn fits(&self, shape: &Shape) -> Result<(), &'static str> {
        if shape.rank() >= 2 {
            return Ok(());
        }
        Err("Muon changes matrices: give vectors to another optimizer, such as AdamW")
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let [momentum] = kept else { unreachable!("what is kept is what `kept` names") };
        widened(param, grad, |param, grad| {
            *momentum += (grad - &*momentum) * (1.0 - self.momentum);
            let direction = if self.nesterov { grad + (&*momentum - grad) * self.momentum } else { momentum.clone() };
            let matrix = direction.flatten(1..);
            let (n, m) = (matrix.size(0) as f64, matrix.size(1) as f64);
            let scale = if self.match_adam { 0.2 * n.max(m).sqrt() } else { (n / m).max(1.0).sqrt() };
            let step_size = step.lr * scale;
            let direction = self.orthogonal(&matrix).reshape(param.shape());
            *param *= 1.0 - step.lr * self.weight_decay;
            *param -= direction * step_size;
        });
    }
}

impl MuonRule {
    /// About the orthogonal matrix next to `x`: its singular values come near 1 (0.7 to 1.2).
    fn orthogonal(&self, x: &Tensor) -> Tensor {
        let tall = x.size(0) > x.size(1);
        let mut x = x / square_sum(x).sqrt().max(self.eps);
        if tall {
            x = x.t();
        }
        for _ in 0..self.iterations {
            let a = x.matmul(&x.t());
            let b = &a * -4.775 + a.matmul(&a) * 2.0315;
            x = &x * 3.4445 + b.matmul(&x);
        }
        if tall { x.t() } else { x }
    }
}
