//! Cutting into pieces, and repeating and moving what is there: made of slices, joins and views.

use std::panic::Location;

use crate::dispatch::in_op;
use crate::error::{Error, ErrorKind, Result};
use crate::kind::{Int, Kind};
use crate::ops::twin;
use crate::shape::{IntoDims, MAX_RANK, Shape};
use crate::tensor::Tensor;

/// Pieces of `sizes` along an axis, one after another.
#[track_caller]
fn pieces<K: Kind>(x: &Tensor<K>, axis: usize, sizes: impl IntoIterator<Item = usize>) -> Result<Vec<Tensor<K>>> {
    let mut at = 0;
    let mut all = Vec::new();
    for size in sizes {
        all.push(x.try_narrow(axis as isize, at, size)?);
        at += size;
    }
    Ok(all)
}

/// The sizes of pieces of `size` that a whole is cut into; the last may be smaller. One empty piece of nothing.
fn equal(whole: usize, size: usize) -> impl Iterator<Item = usize> {
    (0..whole.div_ceil(size).max(1)).map(move |i| size.min(whole - i * size))
}

fn demand_some(what: &str, n: usize) -> Result<()> {
    match n {
        0 => Err(Error::new(format!("{what} is 0")).kind_of(ErrorKind::Value).help("it must be at least 1")),
        _ => Ok(()),
    }
}

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// The tensor cut along `axis` into pieces of `size`; the last may be smaller. Views.
        ///
        /// # Panics
        /// If there is no such axis, or `size` is 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let pieces = tensor![1, 2, 3, 4, 5].split(2, 0);
        /// assert_eq!(pieces.len(), 3);
        /// assert_eq!(pieces[2].to_vec::<i64>(), [5]);
        /// ```
        pub fn split / try_split(&self, size: usize, axis: isize) -> Vec<Tensor<K>> {
            let checked = self.shape().axis(axis).and_then(|axis| demand_some("size", size).map(|()| axis));
            let axis = in_op("split", &[("input", self.as_any())], Location::caller(), checked)?;
            pieces(self, axis, equal(self.shape()[axis], size))
        }

        /// The tensor cut along `axis` into pieces of these sizes. Views.
        ///
        /// # Panics
        /// If there is no such axis, or the sizes do not add up to its own.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let pieces = Tensor::zeros([2, 6]).split_sizes([1, 2, 3], 1);
        /// assert_eq!(pieces[2].shape().to_string(), "[2, 3]");
        /// ```
        pub fn split_sizes / try_split_sizes(&self, sizes: impl IntoDims, axis: isize) -> Vec<Tensor<K>> {
            let sizes = sizes.into_dims(0);
            let checked = self.shape().axis(axis).and_then(|axis| {
                let n = self.shape()[axis];
                let total = sizes.iter().try_fold(0isize, |sum, &s| if s < 0 { None } else { sum.checked_add(s) });
                if total == Some(n as isize) {
                    return Ok(axis);
                }
                let e = format!("sizes {:?} do not add up to {n}, the size of axis {axis}", &sizes[..]);
                Err(Error::new(e).help("split cuts into pieces of one size, chunk into a number of pieces"))
            });
            let axis = in_op("split_sizes", &[("input", self.as_any())], Location::caller(), checked)?;
            pieces(self, axis, sizes.iter().map(|&s| s as usize))
        }

        /// The tensor cut along `axis` into at most `chunks` pieces of one size, of which the last may be smaller.
        /// There are fewer where the size, rounded up, fills the axis sooner, as in PyTorch. Views.
        ///
        /// # Panics
        /// If there is no such axis, or `chunks` is 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let chunks = tensor![1, 2, 3, 4, 5].chunk(2, 0);
        /// assert_eq!(chunks[0].to_vec::<i64>(), [1, 2, 3]);
        /// assert_eq!(chunks[1].to_vec::<i64>(), [4, 5]);
        /// ```
        pub fn chunk / try_chunk(&self, chunks: usize, axis: isize) -> Vec<Tensor<K>> {
            let checked = self.shape().axis(axis).and_then(|axis| demand_some("chunks", chunks).map(|()| axis));
            let axis = in_op("chunk", &[("input", self.as_any())], Location::caller(), checked)?;
            let n = self.shape()[axis];
            pieces(self, axis, equal(n, n.div_ceil(chunks).max(1)))
        }

        /// The elements moved by `shifts` positions along `axes`, one shift for each; what leaves at one end comes in at
        /// the other.
        ///
        /// # Panics
        /// If an axis does not exist or is named twice, or there are not as many shifts as axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1, 2, 3, 4].roll(1, 0).to_vec::<i64>(), [4, 1, 2, 3]);
        /// assert_eq!(tensor![[1, 2], [3, 4]].roll([1, -1], [0, 1]).to_vec::<i64>(), [4, 3, 2, 1]);
        /// ```
        pub fn roll / try_roll(&self, shifts: impl IntoDims, axes: impl IntoDims) -> Tensor<K> {
            let (at, shifts) = (Location::caller(), shifts.into_dims(0));
            let axes = self.shape().axes(&axes.into_dims(self.rank())).and_then(|axes| {
                if axes.len() == shifts.len() {
                    return Ok(axes);
                }
                let e = format!("{} shifts are given for {} axes", shifts.len(), axes.len());
                Err(Error::new(e).help("give one shift for each axis"))
            });
            let axes = in_op("roll", &[("input", self.as_any())], at, axes)?;
            let mut out = self.clone();
            for (&axis, shift) in axes.iter().zip(shifts) {
                let n = self.shape()[axis];
                // From this position on, the elements come first.
                let first = if n == 0 { 0 } else { (-shift).rem_euclid(n as isize) as usize };
                if first > 0 {
                    let axis = axis as isize;
                    out = Tensor::try_cat(&[out.try_narrow(axis, first, n - first)?, out.try_narrow(axis, 0, first)?], axis)?;
                }
            }
            Ok(out.called("roll", at))
        }

        /// The whole tensor repeated `times` along each axis. With more numbers than axes, new axes come in front; with
        /// fewer, they belong to the last axes. NumPy's and PyTorch's `tile`.
        ///
        /// # Panics
        /// If a number is negative, or the result is too large.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1, 2].tile(2).to_vec::<i64>(), [1, 2, 1, 2]);
        /// assert_eq!(tensor![1, 2].tile([2, 1]).shape().to_string(), "[2, 2]");
        /// ```
        pub fn tile / try_tile(&self, times: impl IntoDims) -> Tensor<K> {
            let (at, times) = (Location::caller(), times.into_dims(0));
            let rank = self.rank().max(times.len());
            let checked = match times.iter().find(|&&t| t < 0) {
                Some(t) => Err(Error::new(format!("the number {t} of repetitions is negative"))),
                None if 2 * rank > MAX_RANK => Err(Error::new(format!("rank {rank} is larger than {}", MAX_RANK / 2))),
                None => Ok(()),
            };
            in_op("tile", &[("input", self.as_any())], at, checked)?;
            let missing = |n: usize| std::iter::repeat_n(1isize, rank - n);
            let sizes: Vec<isize> = missing(self.rank()).chain(self.shape().iter().map(|&n| n as isize)).collect();
            let times: Vec<isize> = missing(times.len()).chain(times.iter().copied()).collect();
            // An axis of repetitions before each axis, then both as one.
            let apart: Vec<isize> = sizes.iter().flat_map(|&n| [1, n]).collect();
            let spread: Vec<isize> = times.iter().zip(&sizes).flat_map(|(&t, &n)| [t, n]).collect();
            let whole: Vec<isize> = times.iter().zip(&sizes).map(|(&t, &n)| t.saturating_mul(n)).collect();
            let out = self.try_reshape(apart)?.try_expand(spread)?.try_reshape(whole)?;
            Ok(out.called("tile", at))
        }

        /// Each slice along `axis` repeated `times` in its place.
        ///
        /// # Panics
        /// If there is no such axis, or the result is too large.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1, 2].repeat_interleave(2, 0).to_vec::<i64>(), [1, 1, 2, 2]);
        /// ```
        pub fn repeat_interleave / try_repeat_interleave(&self, times: usize, axis: isize) -> Tensor<K> {
            let at = Location::caller();
            let axis = in_op("repeat_interleave", &[("input", self.as_any())], at, self.shape().axis(axis))?;
            let spread: Vec<usize> = with_inserted(self.shape(), axis + 1, times);
            let mut whole = self.shape().to_vec();
            whole[axis] = whole[axis].saturating_mul(times);
            let out = self.try_unsqueeze(axis as isize + 1)?.try_expand(spread)?.try_reshape(whole)?;
            Ok(out.called("repeat_interleave", at))
        }

        /// Slice number `i` along `axis` repeated `times[i]` times in its place.
        ///
        /// # Panics
        /// If there is no such axis, `times` is not one number for each of its positions, or one is negative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1, 2], [3, 4]];
        /// assert_eq!(x.repeat_interleave_each(&tensor![0, 2], 0).to_vec::<i64>(), [3, 4, 3, 4]);
        /// ```
        pub fn repeat_interleave_each / try_repeat_interleave_each(&self, times: &Tensor<Int>, axis: isize) -> Tensor<K> {
            let at = Location::caller();
            let counts = times.to_vec::<i64>();
            let checked = self.shape().axis(axis).and_then(|axis| {
                let n = self.shape()[axis];
                if times.shape() != &Shape::from([n]) {
                    let e = format!("times has shape {}, not [{n}]", times.shape());
                    return Err(Error::new(e).help(format!("give one number for each position of axis {axis}")));
                }
                match counts.iter().position(|&t| t < 0) {
                    None => Ok(axis),
                    Some(i) => Err(Error::new(format!("the number {} at position [{i}] is negative", counts[i]))
                        .kind_of(ErrorKind::Value)),
                }
            });
            let operands = [("input", self.as_any()), ("times", times.as_any())];
            let axis = in_op("repeat_interleave_each", &operands, at, checked)?;
            let places: Vec<i64> =
                counts.iter().zip(0..).flat_map(|(&t, i)| std::iter::repeat_n(i, t as usize)).collect();
            let n = places.len();
            let out = self.try_index_select(axis as isize, &Tensor::<Int>::try_from_vec(places, [n])?)?;
            Ok(out.called("repeat_interleave_each", at))
        }
    }
}

fn with_inserted(shape: &Shape, axis: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.clone();
    shape.insert(axis, size);
    shape.to_vec()
}
