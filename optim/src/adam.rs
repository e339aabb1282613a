//! Adam and AdamW.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Adam: steps scaled by running estimates of the gradient's mean and square.
    ///
    /// With gradient `g`, parameter `p` and step number `t`:
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// m <- beta1 * m + (1 - beta1) * g
    /// v <- beta2 * v + (1 - beta2) * g^2
    /// p <- p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
    /// ```
    ///
    /// D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015. Weight decay here is a penalty on
    /// the squared weights; [`AdamW`] decays them apart from the gradient.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Adam;
    /// let net = Linear::new(4, 2);
    /// let opt = Adam::new(net.parameters()).lr(1e-3).betas(0.9, 0.99).eps(1e-8).weight_decay(0.0).amsgrad(true);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Adam = AdamRule, lr: 1e-3,
    /// How slowly the estimates of the gradient's mean and square follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
    /// Whether to divide by the largest square estimated so far instead of the present one. S. Reddi, S. Kale and S.
    /// Kumar, "On the Convergence of Adam and Beyond", ICLR 2018.
    amsgrad: flag = false,
}

optimizer! {
    /// Adam with decoupled weight decay: `p <- p - lr * weight_decay * p` before the step of [`Adam`].
    ///
    /// I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::AdamW;
    /// let net = Linear::new(4, 2);
    /// let opt = AdamW::new(net.parameters()).lr(1e-3).weight_decay(0.05).betas(0.9, 0.95).eps(1e-8).amsgrad(false);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    AdamW = AdamWRule, lr: 1e-3,
    /// How slowly the estimates of the gradient's mean and square follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// What share of itself, times the learning rate, each parameter loses in a step.
    weight_decay: non_negative = 0.01,
    /// Whether to divide by the largest square estimated so far instead of the present one. S. Reddi, S. Kale and S.
    /// Kumar, "On the Convergence of Adam and Beyond", ICLR 2018.
    amsgrad: flag = false,
}

/// What is kept for each parameter.
fn estimates(amsgrad: bool, shape: &Shape) -> Vec<Kept> {
    let names: &[_] = if amsgrad { &["mean", "square", "max_square"] } else { &["mean", "square"] };
    Kept::all(names, shape)
}

impl Rule for AdamRule {
    const NAME: &'static str = "Adam";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        estimates(self.amsgrad, shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        AdamPass::new(step, self.betas, self.eps, self.weight_decay, 1.0).over(param, grad, kept);
    }
}

impl Rule for AdamWRule {
    const NAME: &'static str = "AdamW";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        estimates(self.amsgrad, shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        AdamPass::new(step, self.betas, self.eps, 0.0, 1.0 - step.lr * self.weight_decay).over(param, grad, kept);
    }
}

struct AdamPass {
    betas: (f64, f64),
    eps: f64,
    /// What multiple of the parameter is added to the gradient.
    penalty: f64,
    /// What is left of the parameter before the step.
    shrink: f64,
    /// The learning rate over the bias of the mean.
    lr: f64,
    /// One over the root of the bias of the square.
    scale: f64,
}

impl AdamPass {
    fn new(step: Step, betas: (f64, f64), eps: f64, penalty: f64, shrink: f64) -> AdamPass {
        let t = step.number as f64;
        let lr = step.lr / (1.0 - betas.0.powf(t));
        AdamPass { betas, eps, penalty, shrink, lr, scale: 1.0 / (1.0 - betas.1.powf(t)).sqrt() }
    }
}

impl Pass for AdamPass {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let (b1, a1) = (lit::<S>(self.betas.0), lit::<S>(1.0 - self.betas.0));
        let (b2, a2) = (lit::<S>(self.betas.1), lit::<S>(1.0 - self.betas.1));
        let (penalty, shrink) = (lit::<S>(self.penalty), lit::<S>(self.shrink));
        let (lr, scale, eps) = (lit::<S>(self.lr), lit::<S>(self.scale), lit::<S>(self.eps));
        match kept {
            [mean, square] => {
                for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(mean.iter_mut()).zip(square.iter_mut()) {
                    let g = g + penalty * *p;
                    *m = b1 * *m + a1 * g;
                    *v = b2 * *v + a2 * g * g;
                    *p = *p * shrink - lr * *m / (v.sqrt() * scale + eps);
                }
            }
            [mean, square, max_square] => {
                let estimates = mean.iter_mut().zip(square.iter_mut()).zip(max_square.iter_mut());
                for ((p, &g), ((m, v), max)) in param.iter_mut().zip(grad).zip(estimates) {
                    let g = g + penalty * *p;
                    *m = b1 * *m + a1 * g;
                    *v = b2 * *v + a2 * g * g;
                    *max = max.max(*v);
                    *p = *p * shrink - lr * *m / (max.sqrt() * scale + eps);
                }
            }
            _ => unreachable!("what is kept is what `estimates` names"),
        }
    }
}
