//! A schedule that looks at how the training goes.

/// A rate that falls when a metric has stopped improving: a pure function of all values of the metric so far, which are
/// all that a resumed run needs.
///
/// A value is better if it is below the best so far by more than a share of it. After more than `patience` values in a
/// row that were not better, the rate is multiplied by `factor`.
///
/// ```
/// use wengert_optim::schedule::ReduceOnPlateau;
/// let schedule = ReduceOnPlateau::new(0.1).factor(0.5).patience(1);
/// let mut losses = vec![2.0, 1.0];
/// assert_eq!(schedule.lr(&losses), 0.1);
/// losses.extend([1.0, 1.5]); // opt.set_lr(schedule.lr(&losses)) after each epoch
/// assert_eq!(schedule.lr(&losses), 0.05);
/// ```
///
/// ```
/// use wengert_optim::schedule::ReduceOnPlateau;
/// let schedule = ReduceOnPlateau::new(1.0).patience(0).threshold(0.1).cooldown(1).min(0.05).higher_is_better();
/// assert_eq!(schedule.lr(&[0.5, 0.6, 0.61]), 0.1); // 0.61 is no tenth better
/// let schedule = ReduceOnPlateau::new(1.0).patience(0).absolute_threshold(0.5);
/// assert_eq!(schedule.lr(&[2.0, 1.8]), 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    base: f64,
    factor: f64,
    patience: usize,
    threshold: f64,
    relative: bool,
    cooldown: usize,
    min: f64,
    higher_is_better: bool,
}

impl ReduceOnPlateau {
    /// The rate `base`, multiplied by 0.1 after more than 10 values that were not better by a ten-thousandth.
    pub fn new(base: f64) -> ReduceOnPlateau {
        ReduceOnPlateau {
            base,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            relative: true,
            cooldown: 0,
            min: 0.0,
            higher_is_better: false,
        }
    }

    /// What the rate is multiplied by. 0.1 unless set.
    pub fn factor(mut self, factor: f64) -> ReduceOnPlateau {
        self.factor = factor;
        self
    }

    /// How many values that are not better are let pass. 10 unless set.
    pub fn patience(mut self, values: usize) -> ReduceOnPlateau {
        self.patience = values;
        self
    }

    /// The share of the best value by which a better one must differ. 1e-4 unless set.
    pub fn threshold(mut self, share: f64) -> ReduceOnPlateau {
        (self.threshold, self.relative) = (share, true);
        self
    }

    /// By how much a better value must differ from the best, in the units of the metric.
    pub fn absolute_threshold(mut self, difference: f64) -> ReduceOnPlateau {
        (self.threshold, self.relative) = (difference, false);
        self
    }

    /// For how many values after a fall none is counted against the next one. 0 unless set.
    pub fn cooldown(mut self, values: usize) -> ReduceOnPlateau {
        self.cooldown = values;
        self
    }

    /// The rate below which it does not fall. 0 unless set.
    pub fn min(mut self, min: f64) -> ReduceOnPlateau {
        self.min = min;
        self
    }

    /// Takes higher values for better, as those of an accuracy.
    pub fn higher_is_better(mut self) -> ReduceOnPlateau {
        self.higher_is_better = true;
        self
    }

    /// The rate after these values of the metric, oldest first.
    pub fn lr(&self, history: &[f64]) -> f64 {
        let (mut lr, mut best, mut bad, mut resting) = (self.base, None, 0, 0);
        for &value in history {
            if best.is_none_or(|best| self.is_better(value, best)) {
                (best, bad) = (Some(value), 0);
            } else {
                bad += 1;
            }
            if resting > 0 {
                (resting, bad) = (resting - 1, 0);
            }
            if bad > self.patience {
                let lower = (lr * self.factor).max(self.min);
                // A fall too small to matter is none, as in PyTorch.
                lr = if lr - lower > 1e-8 { lower } else { lr };
                (resting, bad) = (self.cooldown, 0);
            }
        }
        lr
    }

    fn is_better(&self, value: f64, best: f64) -> bool {
        let margin = if self.relative { best * self.threshold } else { self.threshold };
        if self.higher_is_better { value > best + margin } else { value < best - margin }
    }
}
