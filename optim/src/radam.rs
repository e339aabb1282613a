//! RAdam.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Rectified Adam: plain momentum until the estimate of the square can be trusted, and less of it while it varies.
    ///
    /// ```text
    /// g <- g + weight_decay * p            or  p <- p - lr * weight_decay * p  where decoupled
    /// m <- beta1 * m + (1 - beta1) * g
    /// v <- beta2 * v + (1 - beta2) * g^2
    /// n =  2 / (1 - beta2) - 1,  n(t) = n - 2 * t * beta2^t / (1 - beta2^t)
    /// r =  sqrt((n(t) - 4) (n(t) - 2) n / ((n - 4) (n - 2) n(t)))
    /// p <- p - lr * m / (1 - beta1^t) * r * sqrt(1 - beta2^t) / (sqrt(v) + eps)     where n(t) > 5, else
    /// p <- p - lr * m / (1 - beta1^t)
    /// ```
    ///
    /// L. Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::RAdam;
    /// let net = Linear::new(4, 2);
    /// let opt = RAdam::new(net.parameters()).lr(1e-3).betas(0.9, 0.99).eps(1e-8).weight_decay(0.01).decoupled(true);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    RAdam = RAdamRule, lr: 1e-3,
    /// How slowly the estimates of the gradient's mean and square follow.
    betas: betas = (0.9, 0.999),
    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// What multiple of each parameter is added to its gradient, or lost in each step where decoupled.
    weight_decay: non_negative = 0.0,
    /// Whether parameters decay apart from the gradient, as in [`AdamW`](crate::AdamW).
    decoupled: flag = false,
}

impl Rule for RAdamRule {
    const NAME: &'static str = "RAdam";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        Kept::all(&["mean", "square"], shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        let (t, (beta1, beta2)) = (step.number as f64, self.betas);
        let lr = step.lr / (1.0 - beta1.powf(t));
        let bias = 1.0 - beta2.powf(t);
        let limit = 2.0 / (1.0 - beta2) - 1.0;
        let length = limit - 2.0 * t * beta2.powf(t) / bias;
        let spread = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
        let decay = self.weight_decay;
        let (penalty, shrink) = if self.decoupled { (0.0, 1.0 - step.lr * decay) } else { (decay, 1.0) };
        // Where the square is not used, its weight is 0 and that of one is 1.
        let (lr, of_root, constant) =
            if length > 5.0 { (lr * (spread * bias).sqrt(), 1.0, self.eps) } else { (lr, 0.0, 1.0) };
        RAdamPass { betas: self.betas, penalty, shrink, lr, of_root, constant }.over(param, grad, kept);
    }
}

struct RAdamPass {
    betas: (f64, f64),
    /// What multiple of the parameter is added to the gradient.
    penalty: f64,
    /// What is left of the parameter before the step.
    shrink: f64,
    lr: f64,
    /// The mean is divided by `of_root * sqrt(v) + constant`.
    of_root: f64,
    constant: f64,
}

impl Pass for RAdamPass {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let [mean, square] = kept else { unreachable!("what is kept is what `kept` names") };
        let (b1, a1) = (lit::<S>(self.betas.0), lit::<S>(1.0 - self.betas.0));
        let (b2, a2) = (lit::<S>(self.betas.1), lit::<S>(1.0 - self.betas.1));
        let (penalty, shrink, lr) = (lit::<S>(self.penalty), lit::<S>(self.shrink), lit::<S>(self.lr));
        let (of_root, constant) = (lit::<S>(self.of_root), lit::<S>(self.constant));
        for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(mean.iter_mut()).zip(square.iter_mut()) {
            let g = g + penalty * *p;
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
            *p = *p * shrink - lr * *m / (of_root * v.sqrt() + constant);
        }
    }
}
