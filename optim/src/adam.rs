//! Adam and AdamW.

use num_traits::Float;
use wengert_nn::Param;

use crate::optimizer::{Rule, Step, Stepper};

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
/// D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015. Weight decay here is a penalty on the
/// squared weights; [`AdamW`] decays them apart from the gradient.
///
/// ```
/// use wengert_nn::{Linear, Module};
/// use wengert_optim::Adam;
/// let net = Linear::new(4, 2);
/// let opt = Adam::new(net.parameters()).lr(1e-3).betas(0.9, 0.99);
/// # assert_eq!(opt.parameters().count(), 2);
/// ```
pub type Adam = Stepper<AdamRule<false>>;

/// Adam with decoupled weight decay: `p <- p - lr * weight_decay * p` before the step of [`Adam`]. The decay is 0.01
/// unless set.
///
/// I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
///
/// ```
/// use wengert_nn::{Linear, Module};
/// use wengert_optim::AdamW;
/// let net = Linear::new(4, 2);
/// let opt = AdamW::new(net.parameters()).lr(1e-3).weight_decay(0.05);
/// # assert_eq!(opt.parameters().count(), 2);
/// ```
pub type AdamW = Stepper<AdamRule<true>>;

/// The rule of [`Adam`] and, with decoupled weight decay, of [`AdamW`].
#[derive(Clone, Debug)]
pub struct AdamRule<const DECOUPLED: bool> {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
}

impl<const DECOUPLED: bool> Stepper<AdamRule<DECOUPLED>> {
    /// An optimizer with learning rate 1e-3, betas 0.9 and 0.999, and eps 1e-8.
    #[track_caller]
    pub fn new(params: impl IntoIterator<Item = Param>) -> Self {
        let weight_decay = if DECOUPLED { 0.01 } else { 0.0 };
        let rule = AdamRule { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, amsgrad: false };
        Stepper::with_rule(rule, params, 1e-3)
    }

    /// How slowly the estimates of the gradient's mean and square follow.
    ///
    /// # Panics
    /// If one is not in `[0, 1)`.
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        let fits = |b: f64| (0.0..1.0).contains(&b);
        assert!(fits(beta1) && fits(beta2), "betas {beta1} and {beta2} are not both in [0, 1)");
        (self.rule.beta1, self.rule.beta2) = (beta1, beta2);
        self
    }

    /// What is added to the root of the estimated square, so that nothing is divided by zero.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        assert!(eps >= 0.0 && eps.is_finite(), "eps {eps} is negative or not finite");
        self.rule.eps = eps;
        self
    }

    /// How strongly parameters are drawn to 0.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        assert!(decay >= 0.0 && decay.is_finite(), "weight_decay {decay} is negative or not finite");
        self.rule.weight_decay = decay;
        self
    }

    /// Whether to divide by the largest square estimated so far instead of the present one.
    ///
    /// S. Reddi, S. Kale and S. Kumar, "On the Convergence of Adam and Beyond", ICLR 2018.
    pub fn amsgrad(mut self, amsgrad: bool) -> Self {
        self.rule.amsgrad = amsgrad;
        self
    }
}

impl<const DECOUPLED: bool> Rule for AdamRule<DECOUPLED> {
    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };

    fn state_names(&self) -> &'static [&'static str] {
        if self.amsgrad { &["mean", "square", "max_square"] } else { &["mean", "square"] }
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("amsgrad", f64::from(self.amsgrad)),
        ]
    }

    fn update<S: Float>(&self, step: Step, param: &mut [S], grad: &[S], state: &mut [&mut [S]]) {
        let lit = |x: f64| S::from(x).expect("every f64 converts to a float");
        let (b1, b2) = (lit(self.beta1), lit(self.beta2));
        let (a1, a2) = (lit(1.0 - self.beta1), lit(1.0 - self.beta2));
        let (eps, decay) = (lit(self.eps), self.weight_decay);
        // Either the gradient takes up a part of the parameter, or the parameter shrinks by itself.
        let (penalty, shrink) =
            if DECOUPLED { (S::zero(), lit(1.0 - step.lr * decay)) } else { (lit(decay), S::one()) };
        let t = step.number as f64;
        let lr = lit(step.lr / (1.0 - self.beta1.powf(t)));
        let scale = lit((1.0 - self.beta2.powf(t)).sqrt());
        let estimate = |p: S, g: S, m: &mut S, v: &mut S| {
            let g = g + penalty * p;
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
        };
        match state {
            [mean, square] => {
                for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(mean.iter_mut()).zip(square.iter_mut()) {
                    estimate(*p, g, m, v);
                    *p = *p * shrink - lr * *m / (v.sqrt() / scale + eps);
                }
            }
            [mean, square, max_square] => {
                let estimates = mean.iter_mut().zip(square.iter_mut()).zip(max_square.iter_mut());
                for ((p, &g), ((m, v), max)) in param.iter_mut().zip(grad).zip(estimates) {
                    estimate(*p, g, m, v);
                    *max = max.max(*v);
                    *p = *p * shrink - lr * *m / (max.sqrt() / scale + eps);
                }
            }
            _ => unreachable!("the states are those that `state_names` names"),
        }
    }
}
