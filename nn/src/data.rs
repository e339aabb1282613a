//! Batches of a data set that is in memory.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use wengert_tensor::{Error, ErrorKind, Float, Int, Kind, Result, Rng, Tensor, or_panic};

/// Inputs and targets in batches along the first axis, in order or shuffled anew in every epoch.
///
/// Each `for` loop over it is the next epoch. The order of an epoch depends on the seed and the number of the epoch
/// alone, so that a run that was interrupted goes on with [`epoch`](Batches::epoch).
///
/// ```
/// use wengert_nn::Batches;
/// use wengert_tensor::{Int, Tensor};
/// let (x, y) = (Tensor::arange(0.0, 10.0, 1.0).reshape([5, 2]), Int::arange(0, 5));
/// let batches = Batches::new(&x, &y, 2).shuffle(1);
/// assert_eq!(batches.len(), 3);
/// for epoch in 0..2 {
///     for (x, y) in &batches {
///         assert_eq!(x.size(0), y.size(0));
///     }
/// }
/// ```
pub struct Batches<X: Kind = Float, Y: Kind = Int> {
    x: Tensor<X>,
    y: Tensor<Y>,
    size: usize,
    seed: Option<u64>,
    drop_last: bool,
    epochs: AtomicU64,
}

impl<X: Kind, Y: Kind> Batches<X, Y> {
    /// Batches of `size` samples: the slices of `x` and `y` along the first axis. The last one may be smaller.
    ///
    /// # Panics
    /// If `x` and `y` differ in the number of samples, one of them has rank 0, or `size` is 0.
    #[track_caller]
    pub fn new(x: &Tensor<X>, y: &Tensor<Y>, size: usize) -> Batches<X, Y> {
        or_panic(Batches::try_new(x, y, size))
    }

    /// Fallible form of [`new`](Self::new).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_new(x: &Tensor<X>, y: &Tensor<Y>, size: usize) -> Result<Batches<X, Y>> {
        let e = match (x.shape().first(), y.shape().first()) {
            (Some(a), Some(b)) if a != b => Error::new(format!("x has {a} samples and y {b} (axis 0)")),
            (Some(_), Some(_)) if size == 0 => Error::new("a batch of 0 samples").kind_of(ErrorKind::Value),
            (Some(_), Some(_)) => {
                let (x, y) = (x.detach(), y.detach());
                return Ok(Batches { x, y, size, seed: None, drop_last: false, epochs: AtomicU64::new(0) });
            }
            _ => Error::new("a tensor of rank 0 has no samples").help("give tensors whose first axis is the sample"),
        };
        Err(e.in_op("batches", Location::caller()).operand("x", x.as_any()).operand("y", y.as_any()))
    }

    /// Shuffles the samples in every epoch, by this seed.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Leaves out the last batch where it is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// The number of samples.
    ///
    /// ```
    /// use wengert_nn::{Batches, Epoch};
    /// use wengert_tensor::{Int, Tensor};
    /// let batches = Batches::new(&Tensor::zeros([5, 2]), &Int::arange(0, 5), 2).drop_last();
    /// assert_eq!((batches.samples(), batches.len(), batches.is_empty()), (5, 2, false));
    /// let epoch: Epoch = batches.iter();
    /// assert_eq!(epoch.len(), 2);
    /// ```
    pub fn samples(&self) -> usize {
        self.x.size(0)
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        if self.drop_last { self.samples() / self.size } else { self.samples().div_ceil(self.size) }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of the next epoch.
    pub fn iter(&self) -> Epoch<'_, X, Y> {
        self.epoch(self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    /// The batches of epoch number `epoch`, counted from 0; the epochs after the next [`iter`](Batches::iter) go on
    /// from where they were.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_, X, Y> {
        let order = self.seed.map(|seed| Rng::new(seed).child(&format!("epoch {epoch}")).randperm(self.samples()));
        Epoch { batches: self, order, next: 0 }
    }
}

impl<'a, X: Kind, Y: Kind> IntoIterator for &'a Batches<X, Y> {
    type Item = (Tensor<X>, Tensor<Y>);
    type IntoIter = Epoch<'a, X, Y>;

    fn into_iter(self) -> Epoch<'a, X, Y> {
        self.iter()
    }
}

/// The batches of one epoch, see [`Batches`].
pub struct Epoch<'a, X: Kind = Float, Y: Kind = Int> {
    batches: &'a Batches<X, Y>,
    /// The samples in shuffled order.
    order: Option<Tensor<Int>>,
    next: usize,
}

impl<X: Kind, Y: Kind> Iterator for Epoch<'_, X, Y> {
    type Item = (Tensor<X>, Tensor<Y>);

    fn next(&mut self) -> Option<Self::Item> {
        let all = self.batches;
        if self.next == all.len() {
            return None;
        }
        let start = self.next * all.size;
        let size = all.size.min(all.samples() - start);
        self.next += 1;
        Some(match &self.order {
            // In order, a batch is a view.
            None => (all.x.narrow(0, start, size), all.y.narrow(0, start, size)),
            Some(order) => {
                let index = order.narrow(0, start, size);
                (all.x.index_select(0, &index), all.y.index_select(0, &index))
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batches.len() - self.next;
        (left, Some(left))
    }
}

impl<X: Kind, Y: Kind> ExactSizeIterator for Epoch<'_, X, Y> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample `i` is `[i, i]` with target `i`.
    fn samples(n: usize) -> (Tensor, Tensor<Int>) {
        let y = Int::arange(0, n as i64);
        (y.to_float().unsqueeze(1).expand([n, 2]), y)
    }

    fn targets(epoch: Epoch<'_>) -> Vec<i64> {
        epoch
            .flat_map(|(x, y)| {
                let (x, y) = (x.to_vec::<f64>(), y.to_vec::<i64>());
                assert_eq!(x.len(), 2 * y.len());
                assert!(x.iter().zip(y.iter().flat_map(|y| [y, y])).all(|(x, y)| *x == *y as f64), "{x:?} {y:?}");
                y
            })
            .collect()
    }

    #[test]
    fn every_sample_comes_once_with_its_target() {
        for n in [0, 1, 7, 8] {
            let (x, y) = samples(n);
            let plain = Batches::new(&x, &y, 4);
            assert_eq!(targets(plain.iter()), y.to_vec::<i64>());
            assert_eq!(plain.len(), plain.iter().count());
            let mut shuffled = targets(Batches::new(&x, &y, 4).shuffle(3).iter());
            shuffled.sort();
            assert_eq!(shuffled, y.to_vec::<i64>());
        }
    }

    #[test]
    fn a_seed_fixes_the_order_and_every_epoch_has_its_own() {
        let (x, y) = samples(50);
        let batches = Batches::new(&x, &y, 8).shuffle(1);
        let (first, second) = (targets(batches.iter()), targets(batches.iter()));
        assert_ne!(first, second);
        assert_ne!(first, y.to_vec::<i64>());
        assert_eq!(targets(batches.epoch(0)), first);
        assert_eq!(targets(Batches::new(&x, &y, 5).shuffle(1).epoch(1)), second, "the batch size does not matter");
        assert_ne!(targets(Batches::new(&x, &y, 8).shuffle(2).iter()), first);
    }

    #[test]
    fn a_small_last_batch_can_be_left_out() {
        let (x, y) = samples(10);
        let sizes = |b: Batches| b.iter().map(|(x, _)| x.size(0)).collect::<Vec<_>>();
        assert_eq!(sizes(Batches::new(&x, &y, 4)), [4, 4, 2]);
        assert_eq!(sizes(Batches::new(&x, &y, 4).drop_last()), [4, 4]);
        assert_eq!(sizes(Batches::new(&x, &y, 5).drop_last()), [5, 5]);
        assert_eq!(Batches::new(&x, &y, 4).epoch(0).len(), 3);
    }

    #[test]
    fn batches_in_order_are_views() {
        let (x, y) = samples(4);
        let (a, b) = Batches::new(&x, &y, 3).iter().next().unwrap();
        assert!(a.shares_memory(&x) && b.shares_memory(&y));
    }

    #[test]
    fn misuses_are_errors() {
        let (x, y) = samples(4);
        let message = |b: Result<Batches>| b.err().unwrap().to_string();
        let e = message(Batches::try_new(&x, &Int::zeros([3]), 2));
        assert!(e.starts_with("batches: x has 4 samples and y 3 (axis 0)\n  x [4, 2]"), "{e}");
        assert!(message(Batches::try_new(&x, &y, 0)).starts_with("batches: a batch of 0 samples"));
        let e = message(Batches::try_new(&wengert_tensor::scalar(1.0), &y, 2));
        assert!(e.starts_with("batches: a tensor of rank 0 has no samples"), "{e}");
    }
}
