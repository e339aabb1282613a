//! Schedules that fall, once.

use super::{Schedule, cosine, share};

/// One learning rate for all steps.
///
/// ```
/// use wengert_optim::schedule::{Constant, Schedule};
/// assert_eq!(Constant(0.1).lr(1000), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant(
    /// The rate.
    pub f64,
);

impl Schedule for Constant {
    fn lr(&self, _: usize) -> f64 {
        self.0
    }
}

/// A rate that is multiplied by a factor every so many steps: `lr(t) = base * factor^floor(t / every)`.
///
/// ```
/// use wengert_optim::schedule::{Schedule, Staircase};
/// let schedule = Staircase::new(1.0, 10, 0.5);
/// assert_eq!([9, 10, 20].map(|t| schedule.lr(t)), [1.0, 0.5, 0.25]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Staircase {
    base: f64,
    every: usize,
    factor: f64,
}

impl Staircase {
    /// `base`, multiplied by `factor` every `every` steps.
    pub fn new(base: f64, every: usize, factor: f64) -> Staircase {
        Staircase { base, every, factor }
    }
}

impl Schedule for Staircase {
    fn lr(&self, step: usize) -> f64 {
        self.base * self.factor.powf((step / self.every.max(1)) as f64)
    }
}

/// A rate that is multiplied by a factor at each of some steps.
///
/// ```
/// use wengert_optim::schedule::{MultiStep, Schedule};
/// let schedule = MultiStep::new(1.0, [30, 80], 0.5);
/// assert_eq!([29, 30, 80].map(|t| schedule.lr(t)), [1.0, 0.5, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStep {
    base: f64,
    steps: Vec<usize>,
    factor: f64,
}

impl MultiStep {
    /// `base`, multiplied by `factor` from each of `steps` on. A step that is given twice counts twice.
    pub fn new(base: f64, steps: impl IntoIterator<Item = usize>, factor: f64) -> MultiStep {
        MultiStep { base, steps: steps.into_iter().collect(), factor }
    }
}

impl Schedule for MultiStep {
    fn lr(&self, step: usize) -> f64 {
        let passed = self.steps.iter().filter(|&&s| s <= step).count();
        self.base * self.factor.powf(passed as f64)
    }
}

/// A rate that is multiplied by a factor at every step: `lr(t) = base * factor^t`.
///
/// ```
/// use wengert_optim::schedule::{Exponential, Schedule};
/// assert_eq!(Exponential::new(8.0, 0.5).lr(3), 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    base: f64,
    factor: f64,
}

impl Exponential {
    /// `base`, multiplied by `factor` at every step.
    pub fn new(base: f64, factor: f64) -> Exponential {
        Exponential { base, factor }
    }
}

impl Schedule for Exponential {
    fn lr(&self, step: usize) -> f64 {
        self.base * self.factor.powf(step as f64)
    }
}

/// A straight line from one rate to another over a number of steps; the last rate from then on.
///
/// ```
/// use wengert_optim::schedule::{Linear, Schedule};
/// let schedule = Linear::new(1.0, 0.0, 4);
/// assert_eq!((schedule.lr(1), schedule.lr(9)), (0.75, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    from: f64,
    to: f64,
    steps: usize,
}

impl Linear {
    /// From the rate `from` to the rate `to` over `steps` steps.
    pub fn new(from: f64, to: f64, steps: usize) -> Linear {
        Linear { from, to, steps }
    }
}

impl Schedule for Linear {
    fn lr(&self, step: usize) -> f64 {
        self.from + (self.to - self.from) * share(step, self.steps)
    }
}

/// A power of the time that is left: `lr(t) = to + (from - to) * (1 - t / steps)^power`; `to` from then on.
///
/// ```
/// use wengert_optim::schedule::{Polynomial, Schedule};
/// let schedule = Polynomial::new(1.0, 0.0, 4, 2.0);
/// assert_eq!([0, 2, 4].map(|t| schedule.lr(t)), [1.0, 0.25, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polynomial {
    from: f64,
    to: f64,
    steps: usize,
    power: f64,
}

impl Polynomial {
    /// From the rate `from` to the rate `to` over `steps` steps, by this power.
    pub fn new(from: f64, to: f64, steps: usize, power: f64) -> Polynomial {
        Polynomial { from, to, steps, power }
    }
}

impl Schedule for Polynomial {
    fn lr(&self, step: usize) -> f64 {
        self.to + (self.from - self.to) * (1.0 - share(step, self.steps)).powf(self.power)
    }
}

/// Half a cosine from `base` down to a minimum, 0 unless set, over `steps` steps; the minimum from then on.
///
/// `lr(t) = min + (base - min) * (1 + cos(pi * t / steps)) / 2`. I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient
/// Descent with Warm Restarts", ICLR 2017, without the restarts.
///
/// ```
/// use wengert_optim::schedule::{Cosine, Schedule};
/// let schedule = Cosine::new(1.0, 100).min(0.5);
/// assert_eq!([0, 50, 100].map(|t| schedule.lr(t)), [1.0, 0.75, 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    base: f64,
    min: f64,
    steps: usize,
}

impl Cosine {
    /// From `base` to 0 over `steps` steps.
    pub fn new(base: f64, steps: usize) -> Cosine {
        Cosine { base, min: 0.0, steps }
    }

    /// Ends at `min` instead.
    pub fn min(mut self, min: f64) -> Cosine {
        self.min = min;
        self
    }
}

impl Schedule for Cosine {
    fn lr(&self, step: usize) -> f64 {
        cosine(self.base, self.min, share(step, self.steps))
    }
}
