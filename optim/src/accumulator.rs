//! Gradients over several batches.

use wengert_autograd::Gradients;

/// Averages the gradients of several small batches, where one large batch would not fit into memory.
///
/// If the loss is a mean and the small batches are equally large, their average is the gradient of all of them as one
/// batch.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_optim::{Accumulator, Optimizer, Sgd};
/// use wengert_tensor::tensor;
/// let w = Param::new(tensor![1.0]);
/// let mut opt = Sgd::new([w.clone()]).lr(0.5);
/// let mut accumulator = Accumulator::new(2);
/// for x in [1.0, 3.0, 5.0] {
///     let loss = (w.value() * x).sum();
///     if let Some(gradients) = accumulator.add(loss.backward()) {
///         opt.step(&gradients);
///     }
/// }
/// assert_eq!(w.value().item(), 0.0);
/// // At the end of an epoch, what is left can be had, too.
/// assert_eq!(accumulator.take().unwrap().of(&w).item(), 5.0);
/// ```
#[derive(Debug)]
pub struct Accumulator {
    every: usize,
    count: usize,
    sum: Option<Gradients>,
}

impl Accumulator {
    /// Averages over `every` batches.
    ///
    /// # Panics
    /// If `every` is 0.
    #[track_caller]
    pub fn new(every: usize) -> Accumulator {
        assert!(every > 0, "Accumulator: an average over 0 batches");
        Accumulator { every, count: 0, sum: None }
    }

    /// Takes the gradients of one more batch. Returns the average when enough have come, and starts anew.
    #[track_caller]
    pub fn add(&mut self, gradients: Gradients) -> Option<Gradients> {
        self.count += 1;
        match &mut self.sum {
            Some(sum) => *sum += gradients,
            none => *none = Some(gradients),
        }
        if self.count == self.every { self.take() } else { None }
    }

    /// The average of what has come since the last one, if anything has, and starts anew.
    pub fn take(&mut self) -> Option<Gradients> {
        let count = std::mem::take(&mut self.count);
        self.sum.take().map(|sum| if count == 1 { sum } else { sum.scaled(1.0 / count as f64) })
    }
}
