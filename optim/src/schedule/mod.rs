//! Learning rates over time, as pure functions of the step.
//!
//! A schedule holds no state: `opt.set_lr(schedule.lr(step))` before each step is all, and a resumed run needs the
//! number of the step only. Schedules are made of one another: `Cosine::new(1e-3, 900).warm_up(100)` rises for a hundred
//! steps, then falls for nine hundred.
//!
//! | here | PyTorch | Keras, optax |
//! |---|---|---|
//! | [`Constant`] | | `constant_schedule` |
//! | [`Staircase`] | `StepLR` | `ExponentialDecay(staircase=True)` |
//! | [`MultiStep`] | `MultiStepLR` | `PiecewiseConstantDecay` |
//! | [`Exponential`] | `ExponentialLR` | `ExponentialDecay` |
//! | [`Linear`] | `LinearLR` | `linear_schedule` |
//! | [`Polynomial`] | `PolynomialLR` | `PolynomialDecay` |
//! | [`Cosine`] | `CosineAnnealingLR` | `CosineDecay` |
//! | [`CosineRestarts`] | `CosineAnnealingWarmRestarts` | `CosineDecayRestarts`, `sgdr_schedule` |
//! | [`OneCycle`] | `OneCycleLR` | `cosine_onecycle_schedule` |
//! | [`Cyclic`] | `CyclicLR` | |
//! | [`warm_up`](Schedule::warm_up) | `LinearLR` in front | `warmup_...` |
//! | [`then`](Schedule::then) | `SequentialLR` | `join_schedules` |
//! | [`times`](Schedule::times) | `ChainedScheduler` | |
//! | any function of the step | `LambdaLR` | |
//! | [`ReduceOnPlateau`] | `ReduceLROnPlateau` | `ReduceLROnPlateau` |

mod cycle;
mod decay;
mod plateau;

pub use cycle::{CosineRestarts, Cyclic, OneCycle};
pub use decay::{Constant, Cosine, Exponential, Linear, MultiStep, Polynomial, Staircase};
pub use plateau::ReduceOnPlateau;

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
    ///
    /// ```
    /// use wengert_optim::schedule::{Constant, Schedule};
    /// let schedule = Constant(1.0).warm_up(4);
    /// assert_eq!([0, 1, 3, 4].map(|t| schedule.lr(t)), [0.25, 0.5, 1.0, 1.0]);
    /// ```
    fn warm_up(self, steps: usize) -> WarmUp<Self>
    where
        Self: Sized,
    {
        WarmUp { steps, then: self }
    }

    /// This schedule for `steps` steps, then another one, which counts its steps from there.
    ///
    /// ```
    /// use wengert_optim::schedule::{Constant, Linear, Schedule};
    /// let schedule = Constant(1.0).then(10, Linear::new(1.0, 0.0, 4));
    /// assert_eq!([9, 10, 11, 14].map(|t| schedule.lr(t)), [1.0, 1.0, 0.75, 0.0]);
    /// ```
    fn then<S: Schedule>(self, steps: usize, next: S) -> Then<Self, S>
    where
        Self: Sized,
    {
        Then { first: self, steps, next }
    }

    /// The product of this schedule and another, of which one gives rates and the other factors.
    ///
    /// ```
    /// use wengert_optim::schedule::{Exponential, Linear, Schedule};
    /// let schedule = Exponential::new(0.1, 0.5).times(Linear::new(0.0, 1.0, 2));
    /// assert_eq!([0, 1, 2].map(|t| schedule.lr(t)), [0.0, 0.025, 0.025]);
    /// ```
    fn times<S: Schedule>(self, factors: S) -> Times<Self, S>
    where
        Self: Sized,
    {
        Times(self, factors)
    }
}

impl<F: Fn(usize) -> f64> Schedule for F {
    fn lr(&self, step: usize) -> f64 {
        self(step)
    }
}

/// A schedule after a linear rise, see [`Schedule::warm_up`].
///
/// ```
/// use wengert_optim::schedule::{Constant, Schedule, WarmUp};
/// let schedule: WarmUp<Constant> = Constant(1.0).warm_up(2);
/// assert_eq!(schedule.lr(0), 0.5);
/// ```
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

/// A schedule after another, see [`Schedule::then`].
///
/// ```
/// use wengert_optim::schedule::{Constant, Schedule, Then};
/// let schedule: Then<Constant, Constant> = Constant(1.0).then(2, Constant(0.1));
/// assert_eq!(schedule.lr(2), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Then<A, B> {
    first: A,
    steps: usize,
    next: B,
}

impl<A: Schedule, B: Schedule> Schedule for Then<A, B> {
    fn lr(&self, step: usize) -> f64 {
        match step.checked_sub(self.steps) {
            Some(later) => self.next.lr(later),
            None => self.first.lr(step),
        }
    }
}

/// A product of two schedules, see [`Schedule::times`].
///
/// ```
/// use wengert_optim::schedule::{Constant, Schedule, Times};
/// let schedule: Times<Constant, Constant> = Constant(1.0).times(Constant(0.5));
/// assert_eq!(schedule.lr(0), 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times<A, B>(A, B);

impl<A: Schedule, B: Schedule> Schedule for Times<A, B> {
    fn lr(&self, step: usize) -> f64 {
        self.0.lr(step) * self.1.lr(step)
    }
}

/// How much of `steps` is over at `step`: 1 at the end and after.
fn share(step: usize, steps: usize) -> f64 {
    if step >= steps { 1.0 } else { step as f64 / steps as f64 }
}

/// Half a cosine from one rate to another, as `share` goes from 0 to 1.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0
}
