//! Softmax and its logarithm: row by row along one axis, in any layout.

use crate::dtype::Element;
use crate::kernels::copy;
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};

/// `out = softmax(x)` along `axis`; `out` is dense.
pub fn softmax<T>(out: &mut [T], x: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    for_rows(out, x, layout, axis, par, |_, row| {
        exponentials(row);
    });
}

/// `out = log(softmax(x))` along `axis`; `out` is dense.
pub fn log_softmax<T>(out: &mut [T], x: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    for_rows(out, x, layout, axis, par, |_, row| {
        let (max, log_sum) = log_sum(row);
        row.iter_mut().for_each(|v| *v = *v - max - log_sum);
    });
}

/// The runs of a tensor along one axis.
pub(super) struct Rows {
    /// Where they start, in row-major order of the other axes.
    pub(super) joint: Joint<1>,
    /// The distance between neighbours in a run.
    pub(super) step: isize,
}

impl Rows {
    pub(super) fn new(layout: &Layout, axis: usize) -> Rows {
        let (mut shape, mut strides) = (layout.shape().clone(), layout.strides());
        shape.remove(axis);
        let step = strides.remove(axis);
        let starts = Layout::strided(shape, strides, layout.offset());
        Rows { joint: Joint::new(starts.shape(), [&starts]), step }
    }
}

/// Writes to the dense `out` what `f` makes of each run of `x` along `axis`; `f` also gets the run's number in
/// row-major order of the other axes.
pub(super) fn for_rows<T>(
    out: &mut [T],
    x: &[T],
    layout: &Layout,
    axis: usize,
    par: &Par,
    f: impl Fn(usize, &mut [T::Compute]) + Sync,
) where
    T: Element,
{
    if out.is_empty() {
        return;
    }
    let last = layout.shape().rank() - 1;
    if axis != last {
        // The axis is brought to the end, and back.
        let order: Vec<usize> = (0..=last).filter(|&a| a != axis).chain([axis]).collect();
        let turned = layout.permute(&order);
        let mut rows = vec![T::default(); out.len()];
        for_rows(&mut rows, x, &turned, last, par, f);
        let back: Vec<usize> = (0..axis).chain([last]).chain(axis..last).collect();
        let back = Layout::dense(turned.shape().clone()).permute(&back);
        return copy::gather_par(out, &rows, &back, par);
    }
    let (rows, n) = (Rows::new(layout, axis), layout.shape()[axis]);
    let per_block = (GRAIN / n).max(1);
    par.chunks_mut(out, per_block * n, |block, part| {
        let first = block * per_block;
        let mut up = Vec::new();
        rows.joint.for_elements(first..first + part.len() / n, |r, [at]| {
            let row = &mut part[(r - first) * n..][..n];
            copy::strided_run(row, x, at, rows.step);
            in_compute(row, &mut up, |row| f(r, row));
        });
    });
}

/// Runs `f` on a row in the precision that kernels compute in; `up` is its scratch memory.
pub(super) fn in_compute<T: Element, R>(
    row: &mut [T],
    up: &mut Vec<T::Compute>,
    f: impl FnOnce(&mut [T::Compute]) -> R,
) -> R {
    if let Some(row) = T::direct_mut(row) {
        return f(row);
    }
    up.clear();
    up.extend(row.iter().map(|v| v.up()));
    let result = f(up);
    row.iter_mut().zip(up).for_each(|(v, u)| *v = T::down(*u));
    result
}

const LANES: usize = 16;

/// Folds a row with as many accumulators as a wide register has places.
#[inline(always)]
pub(super) fn fold<T: Precise, R: Copy>(row: &[T], start: R, f: impl Fn(R, T) -> R, join: impl Fn(R, R) -> R) -> R {
    let mut acc = [start; LANES];
    let (wide, rest) = row.as_chunks::<LANES>();
    for w in wide {
        acc.iter_mut().zip(w).for_each(|(a, &x)| *a = f(*a, x));
    }
    acc.iter_mut().zip(rest).for_each(|(a, &x)| *a = f(*a, x));
    acc.into_iter().reduce(join).expect("there are lanes")
}

/// The largest element of a row, NaN aside; negative infinity where there is none.
#[inline(always)]
pub(super) fn largest<T: Precise, I: Isa>(row: &[T]) -> Lane<T, I> {
    let larger = |a: Lane<T, I>, b: Lane<T, I>| Lane::select(a.lt(b), b, a);
    fold(row, Lane::lit(f64::NEG_INFINITY), |a, x| larger(a, Lane::new(x)), larger)
}

/// The largest element of a row (NaN aside), and the logarithm of the sum of `exp(x - largest)`.
pub(super) fn log_sum<T: Precise>(row: &[T]) -> (T, T) {
    struct Run<'a, T>(&'a [T]);
    impl<T: Precise> Loop for Run<'_, T> {
        type Output = (T, T);
        #[inline(always)]
        fn run<I: Isa>(self) -> (T, T) {
            let max = largest::<T, I>(self.0);
            let sum = fold(self.0, Lane::lit(0.0), |a, x| a + (Lane::new(x) - max).exp(), |a, b| a + b);
            (max.0, sum.ln().0)
        }
    }
    simd::run(Run(row))
}

/// Replaces a row by its softmax.
pub(super) fn exponentials<T: Precise>(row: &mut [T]) {
    struct Run<'a, T>(&'a mut [T]);
    impl<T: Precise> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let max = largest::<T, I>(self.0);
            let zero = Lane::<T, I>::lit(0.0);
            // The sum is taken in the pass that makes the exponentials.
            let mut sums = [zero; LANES];
            let mut exponentials = |row: &mut [T]| {
                for (sum, v) in sums.iter_mut().zip(row) {
                    let e = (Lane::<T, I>::new(*v) - max).exp();
                    *sum = *sum + e;
                    *v = e.0;
                }
            };
            let (wide, rest) = self.0.as_chunks_mut::<LANES>();
            wide.iter_mut().for_each(|row| exponentials(row));
            exponentials(rest);
            // One division for the row: a product per element is several times as fast.
            let scale = Lane::lit(1.0) / sums.into_iter().fold(zero, |a, b| a + b);
            for v in self.0.iter_mut() {
                *v = (Lane::<T, I>::new(*v) * scale).0;
            }
        }
    }
    simd::run(Run(row));
}
