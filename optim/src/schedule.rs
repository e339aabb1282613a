//! Learning rates over time, as pure functions of the step.
//!
//! A schedule holds no state: `opt.set_lr(schedule.lr(step))` before each step is all, and a resumed run needs the
//! number of the step only.

use std::f64::consts::PI;

/// A learning rate for each step, counted from 0.
///
/// Functions are schedules, too.
///
/// ```
/// use wengert_optim::schedule::{Cosine, Schedule};
/// let schedule = Cosine::new(1e-3, 1000).warm_up(100);
/// assert_eq!(schedule.lr(0), 1e-5);
/// assert_eq!(schedule.lr(100), 1e-3);
/// assert!(schedule.lr(1100) < 1e-18);
/// let halving = |step: usize| 0.1 * 0.5f64.powi(step as i32 / 10);
/// assert_eq!(halving.lr(10), 0.05);
/// ```
pub trait Schedule {
    /// The learning rate at step `step`.
    fn lr(&self, step: usize) -> f64;

    /// This schedule after `steps` steps in which the rate rises evenly to the one it starts with.
    fn warm_up(self, steps: usize) -> WarmUp<Self>
    where
        Self: Sized,
    {
        WarmUp { steps, then: self }
    }
}

impl<F: Fn(usize) -> f64> Schedule for F {
    fn lr(&self, step: usize) -> f64 {
        self(step)
    }
}

/// One learning rate for all steps.
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

/// A schedule after a linear rise, see [`Schedule::warm_up`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp<S> {
    steps: usize,
    then: S,
}

impl<S: Schedule> Schedule for WarmUp<S> {
    fn lr(&self, step: usize) -> f64 {
        match step.checked_sub(self.steps) {
            Some(later) => self.then.lr(later),
            None => self.then.lr(0) * (step + 1) as f64 / self.steps as f64,
        }
    }
}

/// Half a cosine from `base` down to a minimum, 0 unless set, over `steps` steps; the minimum from then on.
///
/// `lr(t) = min + (base - min) * (1 + cos(pi * t / steps)) / 2`. I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient
/// Descent with Warm Restarts", ICLR 2017, without the restarts.
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
        self.min + (self.base - self.min) * (1.0 + (PI * share(step, self.steps)).cos()) / 2.0
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

/// How much of `steps` is over at `step`: 1 at the end and after.
fn share(step: usize, steps: usize) -> f64 {
    if step >= steps { 1.0 } else { step as f64 / steps as f64 }
}
