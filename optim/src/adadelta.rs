//! Adadelta.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Steps scaled by the root mean square of past steps over that of the gradients.
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// v <- rho * v + (1 - rho) * g^2
    /// d =  sqrt(u + eps) / sqrt(v + eps) * g
    /// u <- rho * u + (1 - rho) * d^2
    /// p <- p - lr * d
    /// ```
    ///
    /// M. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Adadelta;
    /// let net = Linear::new(4, 2);
    /// let opt = Adadelta::new(net.parameters()).lr(1.0).rho(0.95).eps(1e-6).weight_decay(1e-4);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Adadelta = AdadeltaRule, lr: 1.0,
    /// How slowly both means follow.
    rho: fraction = 0.9,
    /// What is added under both roots: how large the first steps are.
    eps: non_negative = 1e-6,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
}

impl Rule for AdadeltaRule {
    const NAME: &'static str = "Adadelta";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["square", "step_square"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        AdadeltaPass { rule: self, lr: step.lr }.over(param, grad, kept);
    }
}

struct AdadeltaPass<'a> {
    rule: &'a AdadeltaRule,
    lr: f64,
}

impl Pass for AdadeltaPass<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [square, step_square] = kept else { unreachable!("what is kept is what `kept` names") };
        let (rho, add) = (lit::<S>(self.rule.rho), lit::<S>(1.0 - self.rule.rho));
        let (lr, eps, decay) = (lit::<S>(self.lr), lit::<S>(self.rule.eps), lit::<S>(self.rule.weight_decay));
        for (((p, &g), v), u) in param.iter_mut().zip(grad).zip(square.iter_mut()).zip(step_square.iter_mut()) {
            let g = g + decay * *p;
            *v = rho * *v + add * g * g;
            let d = (*u + eps).sqrt() / (*v + eps).sqrt() * g;
            *u = rho * *u + add * d * d;
            *p = *p - lr * d;
        }
    }
}
