//! Schedules that rise and fall.

use super::{Schedule, cosine};

/// Cosines from `base` down to a minimum, 0 unless set, one after the other: the first over `first` steps, each of the
/// others over `growth` times as many as the one before.
///
/// I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
///
/// ```
/// use wengert_optim::schedule::{CosineRestarts, Schedule};
/// let schedule = CosineRestarts::new(1.0, 10).growth(2).min(0.5);
/// assert_eq!([0, 5, 10, 20, 30].map(|t| schedule.lr(t)), [1.0, 0.75, 1.0, 0.75, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineRestarts {
    base: f64,
    min: f64,
    first: usize,
    growth: usize,
}

impl CosineRestarts {
    /// From `base` to 0 every `first` steps.
    ///
    /// # Panics
    /// If `first` is 0.
    #[track_caller]
    pub fn new(base: f64, first: usize) -> CosineRestarts {
        assert!(first > 0, "CosineRestarts: a cycle of 0 steps");
        CosineRestarts { base, min: 0.0, first, growth: 1 }
    }

    /// Ends each cycle at `min` instead.
    pub fn min(mut self, min: f64) -> CosineRestarts {
        self.min = min;
        self
    }

    /// Makes each cycle this many times as long as the one before.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn growth(mut self, growth: usize) -> CosineRestarts {
        assert!(growth > 0, "CosineRestarts: growth 0");
        self.growth = growth;
        self
    }
}

impl Schedule for CosineRestarts {
    fn lr(&self, step: usize) -> f64 {
        let (mut step, mut length) = (step, self.first);
        if self.growth == 1 {
            step %= length;
        }
        while step >= length {
            step -= length;
            length = length.saturating_mul(self.growth);
        }
        cosine(self.base, self.min, step as f64 / length as f64)
    }
}

/// A rise to `max` and a longer fall to nearly nothing, once over the whole training.
///
/// It starts at `max / 25`, peaks after 0.3 of the steps, and ends at `max / 250000`, unless set, by half cosines. The
/// end stays from then on.
///
/// L. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2017.
///
/// ```
/// use wengert_optim::schedule::{OneCycle, Schedule};
/// let schedule = OneCycle::new(1.0, 101).peak_at(0.505).start_divisor(4.0).end_divisor(10.0).linear();
/// assert!((schedule.lr(0) - 0.25).abs() < 1e-12);
/// assert!((schedule.lr(50) - 1.0).abs() < 0.02);
/// assert!((schedule.lr(100) - 0.025).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    max: f64,
    steps: usize,
    peak_at: f64,
    start_divisor: f64,
    end_divisor: f64,
    linear: bool,
    three_phases: bool,
}

impl OneCycle {
    /// A cycle with the peak `max` over `steps` steps.
    pub fn new(max: f64, steps: usize) -> OneCycle {
        OneCycle { max, steps, peak_at: 0.3, start_divisor: 25.0, end_divisor: 1e4, linear: false, three_phases: false }
    }

    /// The share of the steps that the rise takes. 0.3 unless set.
    ///
    /// # Panics
    /// If it is not from 0 to 1.
    #[track_caller]
    pub fn peak_at(mut self, share: f64) -> OneCycle {
        assert!((0.0..=1.0).contains(&share), "peak_at {share} is not from 0 to 1");
        self.peak_at = share;
        self
    }

    /// What the peak is divided by for the rate at the start. 25 unless set.
    pub fn start_divisor(mut self, divisor: f64) -> OneCycle {
        self.start_divisor = divisor;
        self
    }

    /// What the rate at the start is divided by for the rate at the end. 10,000 unless set.
    pub fn end_divisor(mut self, divisor: f64) -> OneCycle {
        self.end_divisor = divisor;
        self
    }

    /// Rises and falls along straight lines.
    pub fn linear(mut self) -> OneCycle {
        self.linear = true;
        self
    }

    /// Falls to the rate of the start first, as fast as it rose, and from there to the end.
    ///
    /// ```
    /// use wengert_optim::schedule::{OneCycle, Schedule};
    /// let schedule = OneCycle::new(1.0, 100).three_phases();
    /// assert!(schedule.lr(99) < schedule.lr(0));
    /// ```
    pub fn three_phases(mut self) -> OneCycle {
        self.three_phases = true;
        self
    }
}

impl Schedule for OneCycle {
    fn lr(&self, step: usize) -> f64 {
        let start = self.max / self.start_divisor;
        let end = (self.steps.saturating_sub(1) as f64, start / self.end_divisor);
        let peak = (self.peak_at * self.steps as f64 - 1.0, self.max);
        // Where it is when, in order; between these it rises or falls.
        let mut stations = vec![(0.0, start), peak];
        if self.three_phases {
            stations.push((2.0 * self.peak_at * self.steps as f64 - 2.0, start));
        }
        stations.push(end);
        let step = (step as f64).min(end.0);
        let leg = stations.windows(2).find(|leg| step <= leg[1].0).unwrap_or(&stations[stations.len() - 2..]);
        let [(from_step, from), (to_step, to)] = [leg[0], leg[1]];
        let share = if to_step > from_step { (step - from_step) / (to_step - from_step) } else { 1.0 };
        if self.linear { from + (to - from) * share } else { cosine(from, to, share) }
    }
}

/// Straight lines up from `base` to `max` and down again, over and over.
///
/// L. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
///
/// ```
/// use wengert_optim::schedule::{Cyclic, Schedule};
/// let schedule = Cyclic::new(1.0, 3.0, 4).down(2).cycle_factor(0.5);
/// assert_eq!([0, 2, 4, 5, 6, 10].map(|t| schedule.lr(t)), [1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cyclic {
    base: f64,
    max: f64,
    up: usize,
    down: usize,
    cycle_factor: f64,
    step_factor: f64,
}

impl Cyclic {
    /// From `base` to `max` in `up` steps, and back in as many.
    ///
    /// # Panics
    /// If `up` is 0.
    #[track_caller]
    pub fn new(base: f64, max: f64, up: usize) -> Cyclic {
        assert!(up > 0, "Cyclic: a rise over 0 steps");
        Cyclic { base, max, up, down: up, cycle_factor: 1.0, step_factor: 1.0 }
    }

    /// Goes back in this many steps instead.
    pub fn down(mut self, steps: usize) -> Cyclic {
        self.down = steps;
        self
    }

    /// Multiplies the height of the peaks over `base` by this factor after every cycle; with 0.5 it is PyTorch's mode
    /// `triangular2`.
    pub fn cycle_factor(mut self, factor: f64) -> Cyclic {
        self.cycle_factor = factor;
        self
    }

    /// Multiplies the height over `base` by this factor at every step: PyTorch's mode `exp_range`.
    ///
    /// ```
    /// use wengert_optim::schedule::{Cyclic, Schedule};
    /// let schedule = Cyclic::new(1.0, 3.0, 2).step_factor(0.5);
    /// assert_eq!([0, 2, 4].map(|t| schedule.lr(t)), [1.0, 1.5, 1.0]);
    /// ```
    pub fn step_factor(mut self, factor: f64) -> Cyclic {
        self.step_factor = factor;
        self
    }
}

impl Schedule for Cyclic {
    fn lr(&self, step: usize) -> f64 {
        let length = self.up + self.down;
        let (cycle, at) = (step / length, step % length);
        let height = match at.checked_sub(self.up) {
            None => at as f64 / self.up as f64,
            Some(0) => 1.0,
            Some(falling) => 1.0 - falling as f64 / self.down as f64,
        };
        let scale = self.cycle_factor.powf(cycle as f64) * self.step_factor.powf(step as f64);
        self.base + (self.max - self.base) * height * scale
    }
}
