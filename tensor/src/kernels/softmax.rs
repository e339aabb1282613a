//! Softmax and its logarithm: row by row along one axis, in any layout.

use std::marker::PhantomData;

use crate::dtype::Element;
use crate::kernels::compute::{in_compute, narrow, widen};
use crate::kernels::fold::{self, Max};
use crate::kernels::lanes::{self, LANES, settled};
use crate::kernels::map::{UnaryBody, block, map};
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::pane::strided_run;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::{rows_aside, rows_back};
use crate::kernels::{copy, elementary};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};

/// Elements of a task: each takes as long as some that are only added.
const SHARE: usize = GRAIN / 4;

/// The threads for so many elements.
pub fn par(elements: usize) -> Par {
    Par::of(elements.saturating_mul(GRAIN / SHARE))
}

/// `out = softmax(x)` along `axis`; `out` is dense.
pub fn softmax<T>(out: &mut [T], x: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let n = layout.shape()[axis];
    if n == 1 {
        return map(out, x, layout, &[], block::<OfOne, T::Compute>, par);
    }
    if !in_tiles::<T, Softmax, 1>(out, [x], layout, axis, par) {
        for_rows(out, x, layout, axis, par, |_, rows| exponentials(rows, n));
    }
}

/// `out = log(softmax(x))` along `axis`; `out` is dense.
pub fn log_softmax<T>(out: &mut [T], x: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let n = layout.shape()[axis];
    if n == 1 {
        return map(out, x, layout, &[], block::<LogOfOne, T::Compute>, par);
    }
    if !in_tiles::<T, LogSoftmax, 1>(out, [x], layout, axis, par) {
        for_rows(out, x, layout, axis, par, |_, rows| {
            for row in rows.chunks_exact_mut(n) {
                let (max, log_sum) = log_sum(row);
                row.iter_mut().for_each(|v| *v = *v - max - log_sum);
            }
        });
    }
}

/// The gradient of [`softmax`] from that of its result, `g`, and the result: `y (g - sum(g y))`.
pub fn softmax_grad<T>(out: &mut [T], g: &[T], y: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    if !in_tiles::<T, SoftmaxGrad, 2>(out, [g, y], layout, axis, par) {
        grad_of_rows::<T, false>(out, g, y, layout.shape()[axis], par);
    }
}

/// The gradient of [`log_softmax`] from that of its result, `g`, and the result: `g - exp(y) sum(g)`.
pub fn log_softmax_grad<T>(out: &mut [T], g: &[T], y: &[T], layout: &Layout, axis: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    if !in_tiles::<T, LogSoftmaxGrad, 2>(out, [g, y], layout, axis, par) {
        grad_of_rows::<T, true>(out, g, y, layout.shape()[axis], par);
    }
}

/// The softmax of one element: 1, and NaN for what is not finite, as for longer rows.
struct OfOne;

impl UnaryBody for OfOne {
    #[inline(always)]
    fn eval<R: Real>(x: R, _: &[f64]) -> R {
        let largest = x;
        x - largest + R::lit(1.0)
    }
}

/// The logarithm of [`OfOne`].
struct LogOfOne;

impl UnaryBody for LogOfOne {
    #[inline(always)]
    fn eval<R: Real>(x: R, _: &[f64]) -> R {
        let largest = x;
        x - largest
    }
}

/// What is done with lanes that lie side by side: element `i` of lane `l` is `x[i][l]`. The result goes to the first
/// operand.
trait Tile<C, const N: usize> {
    fn run<I: Isa, const W: usize>(x: [&mut [[C; W]]; N]);
}

/// Rows summed at a time, so that rounding errors do not grow with the length of a lane.
const STRETCH: usize = 64;

/// The largest element of each lane, NaN aside.
#[inline(always)]
fn largest_of_lanes<C: Precise, const W: usize>(x: &[[C; W]]) -> [C; W] {
    let mut max = [C::neg_infinity(); W];
    for row in x {
        max.iter_mut().zip(row).for_each(|(m, &v)| *m = if *m < v { v } else { *m });
    }
    max
}

/// The sum over each lane of what `term` makes of its elements.
#[inline(always)]
fn sum_of_lanes<C: Precise, R, const W: usize>(rows: impl Iterator<Item = R>, term: impl Fn(R, &mut [C; W])) -> [C; W] {
    let (mut total, mut sum) = ([C::zero(); W], [C::zero(); W]);
    for (i, row) in rows.enumerate() {
        if i % STRETCH == 0 {
            total.iter_mut().zip(&sum).for_each(|(t, &s)| *t = *t + s);
            sum = [C::zero(); W];
        }
        term(row, &mut sum);
    }
    total.iter_mut().zip(&sum).for_each(|(t, &s)| *t = *t + s);
    total
}

struct Softmax;

impl<C: Precise> Tile<C, 1> for Softmax {
    #[inline(always)]
    fn run<I: Isa, const W: usize>([x]: [&mut [[C; W]]; 1]) {
        let max = largest_of_lanes(x);
        let scale = sum_of_lanes(x.iter_mut(), |row: &mut [C; W], sum: &mut [C; W]| {
            for ((v, sum), &max) in row.iter_mut().zip(sum).zip(&max) {
                *v = elementary::exp::<C, I>(*v - max);
                *sum = *sum + *v;
            }
        })
        .map(|sum| C::one() / sum);
        for row in x {
            row.iter_mut().zip(&scale).for_each(|(v, &scale)| *v = *v * scale);
        }
    }
}

struct LogSoftmax;

impl<C: Precise> Tile<C, 1> for LogSoftmax {
    #[inline(always)]
    fn run<I: Isa, const W: usize>([x]: [&mut [[C; W]]; 1]) {
        let max = largest_of_lanes(x);
        let sum = sum_of_lanes(x.iter(), |row: &[C; W], sum: &mut [C; W]| {
            for ((&v, sum), &max) in row.iter().zip(sum).zip(&max) {
                *sum = *sum + elementary::exp::<C, I>(v - max);
            }
        });
        let log_sum = sum.map(|sum| elementary::ln::<C, I>(sum));
        for row in x {
            for ((v, &max), &log_sum) in row.iter_mut().zip(&max).zip(&log_sum) {
                *v = *v - max - log_sum;
            }
        }
    }
}

struct SoftmaxGrad;

impl<C: Precise> Tile<C, 2> for SoftmaxGrad {
    #[inline(always)]
    fn run<I: Isa, const W: usize>([g, y]: [&mut [[C; W]]; 2]) {
        let sum = sum_of_lanes(g.iter().zip(y.iter()), |(g, y): (&[C; W], &[C; W]), sum: &mut [C; W]| {
            sum.iter_mut().zip(g.iter().zip(y)).for_each(|(sum, (&g, &y))| *sum = *sum + g * y);
        });
        for (g, y) in g.iter_mut().zip(y) {
            g.iter_mut().zip(y).zip(&sum).for_each(|((g, y), &sum)| *g = *y * (*g - sum));
        }
    }
}

struct LogSoftmaxGrad;

impl<C: Precise> Tile<C, 2> for LogSoftmaxGrad {
    #[inline(always)]
    fn run<I: Isa, const W: usize>([g, y]: [&mut [[C; W]]; 2]) {
        let sum = sum_of_lanes(g.iter(), |g: &[C; W], sum: &mut [C; W]| {
            sum.iter_mut().zip(g).for_each(|(sum, &g)| *sum = *sum + g);
        });
        for (g, y) in g.iter_mut().zip(y) {
            g.iter_mut().zip(y).zip(&sum).for_each(|((g, y), &sum)| *g = *g - elementary::exp::<C, I>(*y) * sum);
        }
    }
}

/// To this length rows are turned, so that several lie side by side: a row by itself does not fill registers.
const SHORT: usize = 48;

/// Lanes of a tile where rows are turned, and where lanes already lie side by side.
const TURNED: usize = 64;
const ASIDE: usize = 64;

/// Runs `K` along `axis`, where lanes lie side by side or are so short that they are brought there; whether it did.
fn in_tiles<T, K, const N: usize>(out: &mut [T], x: [&[T]; N], layout: &Layout, axis: usize, par: &Par) -> bool
where
    T: Element<Compute: Precise>,
    K: Tile<T::Compute, N>,
{
    let shape = layout.shape();
    let (n, after) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let Some(range) = layout.contiguous().filter(|_| after > 1 || n <= SHORT) else { return false };
    let sizes = [out.len() / (n * after).max(1), n, after];
    match after {
        ..ASIDE => tiles::<T, K, N, TURNED>(out, x, range.start, sizes, par),
        _ => tiles::<T, K, N, ASIDE>(out, x, range.start, sizes, par),
    }
    true
}

/// Runs `K` on tiles of `W` lanes of elements `[before, n, after]`, dense from number `start` on.
fn tiles<T, K, const N: usize, const W: usize>(
    out: &mut [T],
    x: [&[T]; N],
    start: usize,
    [before, n, after]: [usize; 3],
    par: &Par,
) where
    T: Element<Compute: Precise>,
    K: Tile<T::Compute, N>,
{
    if out.is_empty() {
        return;
    }
    let turned = after == 1;
    let (groups, lanes) = if turned { (1, before) } else { (before, after) };
    let stretches = lanes.div_ceil(W);
    // Groups of few lanes fill a tile together.
    let beside = if turned { 1 } else { (W / lanes).max(1) };
    let count = groups.div_ceil(beside) * stretches;
    let together = (SHARE / (n * W)).max(1);
    let shared = SharedMut::new(out);
    par.for_each_with(
        count.div_ceil(together),
        || memory(n),
        |scratch: &mut [Vec<[T::Compute; W]>; N], block| {
            for tile in block * together..count.min((block + 1) * together) {
                let from = tile % stretches * W;
                let group = tile / stretches * beside;
                let place = Place {
                    first: if turned { from * n } else { group * n * after + from },
                    groups: beside.min(groups - group),
                    lanes: W.min(lanes - from),
                    stride: if turned { None } else { Some(after) },
                };
                for (tile, x) in scratch.iter_mut().zip(x) {
                    simd::run(Load { tile, x: &x[start..], place });
                }
                simd::run(One { tiles: scratch.each_mut().map(Vec::as_mut_slice), kernel: PhantomData::<K> });
                simd::run(Store { out: &shared, tile: &scratch[0], place });
            }
        },
    );
}

/// Room for `N` tiles of `W` lanes of `n` elements.
fn memory<C: Element, const N: usize, const W: usize>(n: usize) -> [Vec<[C; W]>; N] {
    [(); N].map(|()| vec![[C::default(); W]; n])
}

/// Where the lanes of a tile lie: elements of a lane are `stride` apart, and lanes lie side by side in groups one after the
/// other, or it is the other way round.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    groups: usize,
    /// Lanes of a group.
    lanes: usize,
    stride: Option<usize>,
}

impl Place {
    /// Calls `f` for each row of each group, with its number, its first lane, and the number of its first element.
    #[inline(always)]
    fn for_rows(&self, n: usize, stride: usize, mut f: impl FnMut(usize, usize, usize)) {
        for group in 0..self.groups {
            for i in 0..n {
                f(i, group * self.lanes, self.first + (group * n + i) * stride);
            }
        }
    }
}

/// Brings lanes into a tile.
struct Load<'a, T: Element, const W: usize> {
    tile: &'a mut [[T::Compute; W]],
    x: &'a [T],
    place: Place,
}

impl<T: Element, const W: usize> Loop for Load<'_, T, W> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Load { tile, x, place } = self;
        let lanes = place.lanes;
        match place.stride {
            Some(stride) => place.for_rows(tile.len(), stride, |i, lane, at| {
                let row = &mut tile[i][lane..][..lanes];
                row.iter_mut().zip(&x[at..][..lanes]).for_each(|(t, v)| *t = v.up());
            }),
            None => rows_aside(tile, &x[place.first..][..lanes * tile.len()]),
        }
    }
}

/// The kernel on tiles.
struct One<'a, C, K, const N: usize, const W: usize> {
    tiles: [&'a mut [[C; W]]; N],
    kernel: PhantomData<K>,
}

impl<C, K: Tile<C, N>, const N: usize, const W: usize> Loop for One<'_, C, K, N, W> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        K::run::<I, W>(self.tiles);
    }
}

/// Brings the lanes of a tile to where they belong.
struct Store<'a, 'b, T: Element, const W: usize> {
    out: &'a SharedMut<'b, T>,
    tile: &'a [[T::Compute; W]],
    place: Place,
}

impl<T: Element, const W: usize> Loop for Store<'_, '_, T, W> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Store { out, tile, place } = self;
        let (first, lanes) = (place.first, place.lanes);
        match place.stride {
            Some(stride) => place.for_rows(tile.len(), stride, |i, lane, at| {
                // SAFETY: each tile has its own lanes.
                let out = unsafe { out.range(at..at + lanes) };
                out.iter_mut().zip(&tile[i][lane..]).for_each(|(o, &t)| *o = T::down(t));
            }),
            None => {
                // SAFETY: each tile has its own rows.
                rows_back(unsafe { out.range(first..first + lanes * tile.len()) }, tile);
            }
        }
    }
}

/// The gradient of dense rows of `n` elements, of the logarithm or not.
fn grad_of_rows<T, const LOG: bool>(out: &mut [T], g: &[T], y: &[T], n: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Rows<'a, C, const LOG: bool>(&'a mut [C], &'a [C], &'a [C], usize);
    impl<C: Precise + Element, const LOG: bool> Loop for Rows<'_, C, LOG> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Rows(out, g, y, n) = self;
            let rows = g.chunks_exact(n).zip(y.chunks_exact(n));
            for (out, (g, y)) in out.chunks_exact_mut(n).zip(rows) {
                let mut acc = [C::default(); LANES];
                let ((gs, g_rest), (ys, y_rest)) = (g.as_chunks::<{ LANES }>(), y.as_chunks::<{ LANES }>());
                for (g, y) in gs.iter().zip(ys) {
                    add_terms::<C, LOG>(&mut acc, g, y);
                }
                let mut acc = settled(acc);
                add_terms::<C, LOG>(&mut acc, g_rest, y_rest);
                let sum = lanes::sum(acc);
                for (o, (&g, &y)) in out.iter_mut().zip(g.iter().zip(y)) {
                    *o = if LOG { g - elementary::exp::<C, I>(y) * sum } else { y * (g - sum) };
                }
            }
        }
    }
    /// `acc += g y`, or `acc += g`.
    #[inline(always)]
    fn add_terms<C: Precise, const LOG: bool>(acc: &mut [C], g: &[C], y: &[C]) {
        for (acc, (&g, &y)) in acc.iter_mut().zip(g.iter().zip(y)) {
            *acc = *acc + if LOG { g } else { g * y };
        }
    }
    let each = (SHARE / n.max(1)).max(1) * n;
    par.chunks_mut(out, each, |block, out| {
        let own = block * each..block * each + out.len();
        in_compute([out], [&g[own.clone()], &y[own]], |[out], [g, y]| simd::run(Rows::<_, LOG>(out, g, y, n)));
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

/// Most rows that are worked on together, and elements of them.
const TOGETHER: usize = 16;
const NEAR: usize = 3072;

/// Writes to the dense `out` what `f` makes of the runs of `x` along `axis`: of some rows at a time, and the number of the
/// first in row-major order of the other axes.
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
    let per_block = (SHARE / n).max(1);
    par.chunks_mut(out, per_block * n, |block, part| {
        let first = block * per_block;
        let mut up = Vec::new();
        let together = (NEAR / n).clamp(1, TOGETHER);
        for (i, part) in part.chunks_mut(together * n).enumerate() {
            let first = first + i * together;
            rows.joint.for_elements(first..first + part.len() / n, |r, [at]| {
                strided_run(&mut part[(r - first) * n..][..n], x, at, rows.step);
            });
            rows_in_compute(part, &mut up, |rows| f(first, rows));
        }
    });
}

/// Runs `f` on rows in the precision that kernels compute in; `up` is its scratch memory.
pub(super) fn rows_in_compute<T: Element, R>(
    rows: &mut [T],
    up: &mut Vec<T::Compute>,
    f: impl FnOnce(&mut [T::Compute]) -> R,
) -> R {
    if let Some(rows) = T::direct_mut(rows) {
        return f(rows);
    }
    up.resize(rows.len(), T::Compute::default());
    widen(up, rows);
    let result = f(up);
    narrow(rows, up);
    result
}

/// The largest element of a row, or NaN if there is one, and the logarithm of the sum of `exp(x - largest)`.
pub(super) fn log_sum<T: Precise>(row: &[T]) -> (T, T) {
    struct Run<'a, T>(&'a [T], T);
    impl<T: Precise> Loop for Run<'_, T> {
        type Output = (T, T);
        #[inline(always)]
        fn run<I: Isa>(self) -> (T, T) {
            let max = Lane::<T, I>::new(self.1);
            let zero = Lane::<T, I>::lit(0.0);
            let mut sums = [zero.0; LANES];
            let (wide, rest) = self.0.as_chunks::<LANES>();
            for w in wide {
                for i in 0..LANES {
                    sums[i] = sums[i] + (Lane::<T, I>::new(w[i]) - max).exp().0;
                }
            }
            let mut sums = settled(sums);
            for (sum, &v) in sums.iter_mut().zip(rest) {
                *sum = *sum + (Lane::<T, I>::new(v) - max).exp().0;
            }
            (max.0, Lane::<T, I>::new(lanes::sum(sums)).ln().0)
        }
    }
    simd::run(Run(row, fold::floats::<Max, T>().run(row)))
}

/// Replaces each element `x` of a row by `exp(x - shift)`. Returns their sum, which is taken in the same pass.
#[inline(always)]
pub(super) fn exponentials_and_sum<T: Precise, I: Isa>(row: &mut [T], shift: Lane<T, I>) -> Lane<T, I> {
    let mut sums = [T::zero(); LANES];
    let (wide, rest) = row.as_chunks_mut::<LANES>();
    for w in wide {
        for i in 0..LANES {
            w[i] = (Lane::<T, I>::new(w[i]) - shift).exp().0;
            sums[i] = sums[i] + w[i];
        }
    }
    let mut sums = settled(sums);
    for (sum, v) in sums.iter_mut().zip(rest) {
        *v = (Lane::<T, I>::new(*v) - shift).exp().0;
        *sum = *sum + *v;
    }
    Lane::new(lanes::sum(sums))
}

/// Replaces rows of `n` elements by their softmax.
pub(super) fn exponentials<T: Precise>(rows: &mut [T], n: usize) {
    struct Run<'a, T>(&'a mut [T], &'a [T], usize);
    impl<T: Precise> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (row, &max) in self.0.chunks_exact_mut(self.2).zip(self.1) {
                let sum = exponentials_and_sum::<T, I>(row, Lane::new(max));
                // One division for the row: a product per element is several times as fast.
                let scale = Lane::lit(1.0) / sum;
                for v in row.iter_mut() {
                    *v = (Lane::<T, I>::new(*v) * scale).0;
                }
            }
        }
    }
    for rows in rows.chunks_mut(TOGETHER * n) {
        let mut largest = [T::zero(); TOGETHER];
        let largest = &mut largest[..rows.len() / n];
        (fold::floats::<Max, T>().rows)(largest, rows, n, n);
        simd::run(Run(rows, largest, n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_element_are_as_longer_ones_that_it_rules() {
        let one = [0.0, -3.5, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let least = |v: f32| if v == f32::NEG_INFINITY { v } else { -f32::MAX };
        let two: Vec<f32> = one.iter().flat_map(|&v| [v, least(v)]).collect();
        for kernel in [softmax::<f32>, log_softmax::<f32>] {
            let (mut have, mut want) = (vec![0.0; one.len()], vec![0.0; two.len()]);
            kernel(&mut have, &one, &Layout::dense([one.len(), 1].into()), 1, &Par::sequential());
            kernel(&mut want, &two, &Layout::dense([one.len(), 2].into()), 1, &Par::sequential());
            for ((have, want), v) in have.iter().zip(want.iter().step_by(2)).zip(one) {
                assert!(have == want || have.is_nan() && want.is_nan(), "{have}, not {want}, of {v}");
            }
        }
    }
}
