//! Lion.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Steps of one size in each element, in the direction of a mixture of momentum and gradient. Weight decay is
    /// decoupled.
    ///
    /// ```text
    /// p <- p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
    /// m <- beta2 * m + (1 - beta2) * g
    /// ```
    ///
    /// The sign of 0 is 0. Learning rates are three to ten times smaller than Adam's, weight decay as much larger.
    ///
    /// X. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Lion;
    /// let net = Linear::new(4, 2);
    /// let opt = Lion::new(net.parameters()).lr(1e-4).betas(0.9, 0.99).weight_decay(0.1);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Lion = LionRule, lr: 1e-4,
    /// How much of the momentum is in the direction of a step, and how slowly the momentum follows.
    betas: betas = (0.9, 0.99),
    /// What share of itself, times the learning rate, each parameter loses in a step.
    weight_decay: non_negative = 0.0,
}

impl Rule for LionRule {
    const NAME: &'static str = "Lion";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["momentum"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        LionPass { rule: self, lr: step.lr }.over(param, grad, kept);
    }
}

struct LionPass<'a> {
    rule: &'a LionRule,
    lr: f64,
}

impl Pass for LionPass<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [momentum] = kept else { unreachable!("what is kept is what `kept` names") };
        let (b1, a1) = (lit::<S>(self.rule.betas.0), lit::<S>(1.0 - self.rule.betas.0));
        let (b2, a2) = (lit::<S>(self.rule.betas.1), lit::<S>(1.0 - self.rule.betas.1));
        let (lr, shrink) = (lit::<S>(self.lr), lit::<S>(1.0 - self.lr * self.rule.weight_decay));
        for ((p, &g), m) in param.iter_mut().zip(grad).zip(momentum.iter_mut()) {
            let c = b1 * *m + a1 * g;
            // The standard library gives 0 the sign 1.
            let sign = if c == S::zero() { c } else { c.signum() };
            *p = *p * shrink - lr * sign;
            *m = b2 * *m + a2 * g;
        }
    }
}
