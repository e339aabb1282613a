//! LAMB.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::norm::square_sum;
use crate::rule::{Kept, Pass, Rule, Step, lit, widened};
use crate::settings::{optimizer, setting};
use crate::sgd::Descent;

optimizer! {
    /// Adam with steps as large as the parameter they change: for very large batches.
    ///
    /// ```text
    /// m <- beta1 * m + (1 - beta1) * g
    /// v <- beta2 * v + (1 - beta2) * g^2
    /// u =  m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * p
    /// p <- p - lr * |p| / |u| * u          with 1 for the ratio where either norm is 0
    /// ```
    ///
    /// The norms are those of a whole parameter. Y. You et al., "Large Batch Optimization for Deep Learning: Training
    /// BERT in 76 minutes", ICLR 2020.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Lamb;
    /// let net = Linear::new(4, 2);
    /// let opt = Lamb::new(net.parameters()).lr(2e-3).betas(0.9, 0.999).eps(1e-6).weight_decay(0.01);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Lamb = LambRule, lr: 1e-3,
    /// How slowly the estimates of the gradient's mean and square follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    eps: non_negative = 1e-6,
    /// What multiple of each parameter is added to the direction of its step.
    weight_decay: non_negative = 0.0,
}

impl Rule for LambRule {
    const NAME: &'static str = "Lamb";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["mean", "square"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let t = step.number as f64;
        let of_mean = 1.0 / (1.0 - self.betas.0.powf(t));
        let scale = 1.0 / (1.0 - self.betas.1.powf(t)).sqrt();
        widened(param, grad, |param, grad| {
            // The direction is as large as the parameter, and both must be known whole before the step.
            let mut direction = param.zeros_like();
            let kept = kept.iter_mut().chain([&mut direction]);
            Direction { rule: self, of_mean, scale }.over(param, grad, kept);
            let (p, u) = (square_sum(param).sqrt(), square_sum(&direction).sqrt());
            let ratio = if p > 0.0 && u > 0.0 { p / u } else { 1.0 };
            Descent::plain(step.lr * ratio).over(param, &direction, []);
        });
    }
}

/// Writes the direction of the step to the last tensor; the parameter stays.
struct Direction<'a> {
    rule: &'a LambRule,
    /// One over the bias of the mean.
    of_mean: f64,
    /// One over the root of the bias of the square.
    scale: f64,
}

impl Pass for Direction<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [mean, square, direction] = kept else { unreachable!("two estimates and the direction") };
        let (b1, a1) = (lit::<S>(self.rule.betas.0), lit::<S>(1.0 - self.rule.betas.0));
        let (b2, a2) = (lit::<S>(self.rule.betas.1), lit::<S>(1.0 - self.rule.betas.1));
        let (of_mean, scale) = (lit::<S>(self.of_mean), lit::<S>(self.scale));
        let (eps, decay) = (lit::<S>(self.rule.eps), lit::<S>(self.rule.weight_decay));
        let estimates = mean.iter_mut().zip(square.iter_mut());
        for (((&mut p, &g), (m, v)), u) in param.iter_mut().zip(grad).zip(estimates).zip(direction.iter_mut()) {
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
            *u = of_mean * *m / (v.sqrt() * scale + eps) + decay * p;
        }
    }
}
