//! Stochastic gradient descent.

use num_traits::Float;
use wengert_nn::Param;

use crate::optimizer::{Rule, Step, Stepper};

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
/// let opt = Sgd::new(net.parameters()).lr(0.1).momentum(0.9).nesterov(true);
/// # assert_eq!(opt.parameters().count(), 2);
/// ```
pub type Sgd = Stepper<SgdRule>;

/// The rule of [`Sgd`].
#[derive(Clone, Debug)]
pub struct SgdRule {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Sgd {
    /// Plain descent with learning rate 1e-3, to be set with [`lr`](Stepper::lr).
    #[track_caller]
    pub fn new(params: impl IntoIterator<Item = Param>) -> Sgd {
        let rule = SgdRule { momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 };
        Stepper::with_rule(rule, params, 1e-3)
    }

    /// How much of the last step's direction goes on. 0 unless set.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Sgd {
        assert!(momentum >= 0.0 && momentum.is_finite(), "momentum {momentum} is negative or not finite");
        self.rule.momentum = momentum;
        self
    }

    /// What part of the gradient does not enter the momentum. 0 unless set.
    ///
    /// # Panics
    /// If it is not finite.
    #[track_caller]
    pub fn dampening(mut self, dampening: f64) -> Sgd {
        assert!(dampening.is_finite(), "dampening {dampening} is not finite");
        self.rule.dampening = dampening;
        self
    }

    /// Whether to look ahead along the momentum.
    pub fn nesterov(mut self, nesterov: bool) -> Sgd {
        self.rule.nesterov = nesterov;
        self
    }

    /// What multiple of each parameter is added to its gradient. 0 unless set.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, decay: f64) -> Sgd {
        assert!(decay >= 0.0 && decay.is_finite(), "weight_decay {decay} is negative or not finite");
        self.rule.weight_decay = decay;
        self
    }
}

impl Rule for SgdRule {
    const NAME: &'static str = "Sgd";

    fn state_names(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum"] }
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("momentum", self.momentum),
            ("dampening", self.dampening),
            ("nesterov", f64::from(self.nesterov)),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn update<S: Float>(&self, step: Step, param: &mut [S], grad: &[S], state: &mut [&mut [S]]) {
        let lit = |x: f64| S::from(x).expect("every f64 converts to a float");
        let (lr, decay, momentum) = (lit(step.lr), lit(self.weight_decay), lit(self.momentum));
        let [buffer] = state else {
            for (p, &g) in param.iter_mut().zip(grad) {
                *p = *p - lr * (g + decay * *p);
            }
            return;
        };
        let (keep, add) = if step.number == 1 { (S::zero(), S::one()) } else { (momentum, lit(1.0 - self.dampening)) };
        for ((p, &g), b) in param.iter_mut().zip(grad).zip(buffer.iter_mut()) {
            let g = g + decay * *p;
            *b = keep * *b + add * g;
            let direction = if self.nesterov { g + momentum * *b } else { *b };
            *p = *p - lr * direction;
        }
    }
}
