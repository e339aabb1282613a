//! Adamax.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Adam with the largest gradient of late in place of the mean square.
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// m <- beta1 * m + (1 - beta1) * g
    /// u <- max(beta2 * u, |g| + eps)
    /// p <- p - lr / (1 - beta1^t) * m / u
    /// ```
    ///
    /// D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 7.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Adamax;
    /// let net = Linear::new(4, 2);
    /// let opt = Adamax::new(net.parameters()).lr(2e-3).betas(0.9, 0.999).eps(1e-8).weight_decay(1e-4);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Adamax = AdamaxRule, lr: 2e-3,
    /// How slowly the mean and the largest gradient follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the gradient's magnitude, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
}

impl Rule for AdamaxRule {
    const NAME: &'static str = "Adamax";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["mean", "largest"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let lr = step.lr / (1.0 - self.betas.0.powf(step.number as f64));
        AdamaxPass { rule: self, lr }.over(param, grad, kept);
    }
}

struct AdamaxPass<'a> {
    rule: &'a AdamaxRule,
    /// The learning rate over the bias of the mean.
    lr: f64,
}

impl Pass for AdamaxPass<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [mean, largest] = kept else { unreachable!("what is kept is what `kept` names") };
        let (b1, a1) = (lit::<S>(self.rule.betas.0), lit::<S>(1.0 - self.rule.betas.0));
        let (b2, eps) = (lit::<S>(self.rule.betas.1), lit::<S>(self.rule.eps));
        let (lr, decay) = (lit::<S>(self.lr), lit::<S>(self.rule.weight_decay));
        for (((p, &g), m), u) in param.iter_mut().zip(grad).zip(mean.iter_mut()).zip(largest.iter_mut()) {
            let g = g + decay * *p;
            *m = b1 * *m + a1 * g;
            *u = (b2 * *u).max(g.abs() + eps);
            *p = *p - lr * *m / *u;
        }
    }
}
