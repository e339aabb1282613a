//! NAdam.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Adam with Nesterov's look-ahead.
    ///
    /// ```text
    /// g  <- g + weight_decay * p           or  p <- p - lr * weight_decay * p  where decoupled
    /// mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2),  M(t) = mu(1) * .. * mu(t)
    /// m  <- beta1 * m + (1 - beta1) * g
    /// v  <- beta2 * v + (1 - beta2) * g^2
    /// m' =  mu(t+1) * m / (1 - M(t+1)) + (1 - mu(t)) * g / (1 - M(t))
    /// p  <- p - lr * m' / (sqrt(v / (1 - beta2^t)) + eps)
    /// ```
    ///
    /// T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::NAdam;
    /// let net = Linear::new(4, 2);
    /// let opt = NAdam::new(net.parameters()).lr(2e-3).betas(0.9, 0.99).eps(1e-8).momentum_decay(4e-3);
    /// let opt = opt.weight_decay(0.01).decoupled(true);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    NAdam = NAdamRule, lr: 2e-3,
    /// How slowly the estimates of the gradient's mean and square follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// How fast the momentum rises to its final value.
    momentum_decay: non_negative = 4e-3,
    /// What multiple of each parameter is added to its gradient, or lost in each step where decoupled.
    weight_decay: non_negative = 0.0,
    /// Whether parameters decay apart from the gradient, as in [`AdamW`](crate::AdamW).
    decoupled: flag = false,
}

impl NAdamRule {
    /// The momentum of step `t`.
    fn momentum(&self, t: f64) -> f64 {
        self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(t * self.momentum_decay))
    }
}

impl Rule for NAdamRule {
    const NAME: &'static str = "NAdam";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        let mut kept = Kept::all(&["mean", "square"], shape);
        kept.push(Kept::new("momenta", []).starting_at(1.0));
        kept
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let [estimates @ .., momenta] = kept else { unreachable!("what is kept is what `kept` names") };
        let t = step.number as f64;
        let (now, next) = (self.momentum(t), self.momentum(t + 1.0));
        *momenta *= now;
        let product = momenta.item();
        let decay = self.weight_decay;
        let (penalty, shrink) = if self.decoupled { (0.0, 1.0 - step.lr * decay) } else { (decay, 1.0) };
        NAdamPass {
            betas: self.betas,
            eps: self.eps,
            penalty,
            shrink,
            of_grad: step.lr * (1.0 - now) / (1.0 - product),
            of_mean: step.lr * next / (1.0 - product * next),
            scale: 1.0 / (1.0 - self.betas.1.powf(t)).sqrt(),
        }
        .over(param, grad, estimates);
    }
}

struct NAdamPass {
    betas: (f64, f64),
    eps: f64,
    /// What multiple of the parameter is added to the gradient.
    penalty: f64,
    /// What is left of the parameter before the step.
    shrink: f64,
    /// The learning rates of the gradient and of its mean.
    of_grad: f64,
    of_mean: f64,
    /// One over the root of the bias of the square.
    scale: f64,
}

impl Pass for NAdamPass {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [mean, square] = kept else { unreachable!("two estimates") };
        let (b1, a1) = (lit::<S>(self.betas.0), lit::<S>(1.0 - self.betas.0));
        let (b2, a2) = (lit::<S>(self.betas.1), lit::<S>(1.0 - self.betas.1));
        let (penalty, shrink) = (lit::<S>(self.penalty), lit::<S>(self.shrink));
        let (of_grad, of_mean) = (lit::<S>(self.of_grad), lit::<S>(self.of_mean));
        let (scale, eps) = (lit::<S>(self.scale), lit::<S>(self.eps));
        for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(mean.iter_mut()).zip(square.iter_mut()) {
            let g = g + penalty * *p;
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
            *p = *p * shrink - (of_grad * g + of_mean * *m) / (v.sqrt() * scale + eps);
        }
    }
}
