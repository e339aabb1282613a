//! Stochastic gradient descent.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Stochastic gradient descent, with momentum, Nesterov's look-ahead and weight decay where asked for.
    ///
    /// With gradient `g`, parameter `p` and buffer `b`, which is `g` at the first step:
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// b <- momentum * b + (1 - dampening) * g
    /// p <- p - lr * b                      without momentum  p - lr * g
    ///                                      with Nesterov     p - lr * (g + momentum * b)
    /// ```
    ///
    /// This is PyTorch's formula: the learning rate stands outside the buffer. I. Sutskever et al., "On the importance of
    /// initialization and momentum in deep learning", ICML 2013.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Sgd;
    /// let net = Linear::new(4, 2);
    /// let opt = Sgd::new(net.parameters()).lr(0.1).momentum(0.9).nesterov(true).dampening(0.0).weight_decay(1e-4);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Sgd = SgdRule, lr: 1e-3,
    /// How much of the last step's direction goes on.
    momentum: non_negative = 0.0,
    /// What part of the gradient does not enter the momentum.
    dampening: finite = 0.0,
    /// Whether to look ahead along the momentum.
    nesterov: flag = false,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
}

impl Rule for SgdRule {
    const NAME: &'static str = "Sgd";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        if self.momentum == 0.0 { Vec::new() } else { Kept::all(&["momentum"], shape) }
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let (keep, add) = if step.number == 1 { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) };
        let look_ahead = if self.nesterov { Some(self.momentum) } else { None };
        Descent { lr: step.lr, decay: self.weight_decay, keep, add, look_ahead }.over(param, grad, kept);
    }
}

/// The pass of [`Sgd`]; without a buffer, plain descent.
pub(crate) struct Descent {
    pub(crate) lr: f64,
    pub(crate) decay: f64,
    pub(crate) keep: f64,
    pub(crate) add: f64,
    pub(crate) look_ahead: Option<f64>,
}

impl Descent {
    /// `p <- p - lr * g`.
    pub(crate) fn plain(lr: f64) -> Descent {
        Descent { lr, decay: 0.0, keep: 0.0, add: 1.0, look_ahead: None }
    }
}

impl Pass for Descent {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let (lr, decay, keep, add) = (lit::<S>(self.lr), lit::<S>(self.decay), lit::<S>(self.keep), lit::<S>(self.add));
        let [buffer] = kept else {
            for (p, &g) in param.iter_mut().zip(grad) {
                *p = *p - lr * (g + decay * *p);
            }
            return;
        };
        // Which mixture of gradient and buffer to follow.
        let (of_grad, of_buffer) = match self.look_ahead {
            Some(momentum) => (S::one(), lit::<S>(momentum)),
            None => (S::zero(), S::one()),
        };
        for ((p, &g), b) in param.iter_mut().zip(grad).zip(buffer.iter_mut()) {
            let g = g + decay * *p;
            *b = keep * *b + add * g;
            *p = *p - lr * (of_grad * g + of_buffer * *b);
        }
    }
}
