//! Adagrad.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Steps divided by the root of the sum of all squared gradients so far.
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// s <- s + g^2
    /// p <- p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)
    /// ```
    ///
    /// J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    /// JMLR 2011.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Adagrad;
    /// let net = Linear::new(4, 2);
    /// let opt = Adagrad::new(net.parameters()).lr(0.01).lr_decay(1e-3).initial(0.1).eps(1e-10).weight_decay(1e-4);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Adagrad = AdagradRule, lr: 1e-2,
    /// How fast the learning rate falls.
    lr_decay: non_negative = 0.0,
    /// What the sum of squares starts from.
    initial: non_negative = 0.0,
    /// What is added to the root, so that nothing is divided by zero.
    eps: non_negative = 1e-10,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
}

impl Rule for AdagradRule {
    const NAME: &'static str = "Adagrad";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        vec![Kept::new("squares", shape.clone()).starting_at(self.initial)]
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let lr = step.lr / (1.0 + (step.number - 1) as f64 * self.lr_decay);
        AdagradPass { rule: self, lr }.over(param, grad, kept);
    }
}

struct AdagradPass<'a> {
    rule: &'a AdagradRule,
    lr: f64,
}

impl Pass for AdagradPass<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [squares] = kept else { unreachable!("what is kept is what `kept` names") };
        let (lr, eps, decay) = (lit::<S>(self.lr), lit::<S>(self.rule.eps), lit::<S>(self.rule.weight_decay));
        for ((p, &g), s) in param.iter_mut().zip(grad).zip(squares.iter_mut()) {
            let g = g + decay * *p;
            *s = *s + g * g;
            *p = *p - lr * g / (s.sqrt() + eps);
        }
    }
}
