//! The reduce family: many elements to one, along any axes.

use std::marker::PhantomData;

use crate::dtype::Element;
use crate::kernels::copy::strided_run;
use crate::kernels::lanes::{self, Join, LANES, settled};
use crate::kernels::map::BLOCK;
use crate::kernels::number::{Lane, Precise, Real, Whole};
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};

/// How two floats are folded into one.
pub trait FoldBody: 'static {
    /// What an empty reduction gives.
    const START: f64;
    /// Whether [`fold_numbers`](Self::fold_numbers) may pass over NaN, which then is looked for beside it.
    const NAN_APART: bool = false;
    /// The fold of two.
    fn fold<R: Real>(a: R, b: R) -> R;
    /// The fold of what has been folded and one more, on the way through a run.
    #[inline(always)]
    fn fold_numbers<R: Real>(a: R, b: R) -> R {
        Self::fold(a, b)
    }
    /// The fold of two integers; `None` where integers have no such reduction.
    fn fold_int<W: Whole>(a: W, b: W) -> W;
}

/// The loops of a reduction over elements of type `C`.
#[derive(Clone, Copy)]
pub struct Fold<C> {
    /// What an empty reduction gives.
    pub start: C,
    /// Folds each row of a dense stretch of rows of `n` elements into one element.
    pub rows: fn(out: &mut [C], x: &[C], n: usize),
    /// Folds a number of rows of elements into a row of results; the rows begin `stride` elements apart.
    pub columns: fn(acc: &mut [C], x: &[C], stride: usize, rows: usize),
}

impl<C: Copy> Fold<C> {
    /// The fold of a dense run.
    fn run(&self, x: &[C]) -> C {
        let mut out = [self.start];
        (self.rows)(&mut out, x, x.len());
        out[0]
    }

    /// The fold of two.
    fn pair(&self, a: C, b: C) -> C {
        let mut out = [a];
        (self.columns)(&mut out, &[b], 1, 1);
        out[0]
    }
}

/// Elements folded at a time, so that rounding errors grow with the number of stretches and their length, not with
/// their product.
const STRETCH: usize = 4096;

/// The fold of a float reduction, as a type.
struct Floats<B, I>(PhantomData<(B, I)>);

impl<B: FoldBody, T: Precise, I: Isa> Join<T> for Floats<B, I> {
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        B::fold(Lane::<T, I>::new(a), Lane::new(b)).0
    }
}

/// That of an integer reduction.
struct Integers<B>(PhantomData<B>);

impl<B: FoldBody, W: Whole> Join<W> for Integers<B> {
    #[inline(always)]
    fn join(a: W, b: W) -> W {
        B::fold_int(a, b)
    }
}

/// The fold of a run of floats.
#[inline(always)]
fn fold_floats<B: FoldBody, T: Precise, I: Isa>(x: &[T]) -> T {
    let start = Lane::<T, I>::lit(B::START).0;
    if x.len() < LANES / 2 {
        return x.iter().fold(start, |a, &v| Floats::<B, I>::join(a, v));
    }
    let mut total = start;
    for stretch in x.chunks(STRETCH) {
        let mut acc = [start; LANES];
        let acc = if let (true, Some(last)) = (B::NAN_APART, stretch.last_chunk::<LANES>()) {
            // The extreme of numbers is the same if some of them are taken twice.
            let mut nan = acc;
            let (wide, rest) = stretch.as_chunks::<{ 2 * LANES }>();
            for w in wide {
                let (a, b) = w.split_at(LANES);
                fold_two::<B, T, I>(&mut acc, &mut nan, a, b);
            }
            if !rest.is_empty() {
                fold_two::<B, T, I>(&mut acc, &mut nan, &stretch[stretch.len().saturating_sub(2 * LANES)..], last);
            }
            let (mut acc, nan) = (settled(acc), settled(nan));
            acc.iter_mut().zip(nan).for_each(|(a, n)| *a = Floats::<B, I>::join(*a, n));
            acc
        } else {
            let (wide, rest) = stretch.as_chunks::<LANES>();
            for w in wide {
                for i in 0..LANES {
                    acc[i] = B::fold_numbers(Lane::<T, I>::new(acc[i]), Lane::new(w[i])).0;
                }
            }
            let mut acc = settled(acc);
            acc.iter_mut().zip(rest).for_each(|(a, &v)| *a = Floats::<B, I>::join(*a, v));
            acc
        };
        total = Floats::<B, I>::join(total, lanes::join::<T, Floats<B, I>>(acc));
    }
    total
}

/// Joins two runs of numbers; NaN among them is found in either by one comparison, and kept apart.
#[inline(always)]
fn fold_two<B: FoldBody, T: Precise, I: Isa>(acc: &mut [T; LANES], nan: &mut [T; LANES], a: &[T], b: &[T]) {
    let (a, b) = (&a[..LANES], &b[..LANES]);
    for i in 0..LANES {
        let (a, b) = (Lane::<T, I>::new(a[i]), Lane::<T, I>::new(b[i]));
        acc[i] = B::fold_numbers(Lane::<T, I>::new(acc[i]), B::fold_numbers(a, b)).0;
        nan[i] = Lane::select(a.is_nan() | b.is_nan(), a + b, Lane::<T, I>::new(nan[i])).0;
    }
}

/// `acc[i] = J::join(acc[i], x[i + row * stride])` for each row: some rows at a time, so that `acc` is seldom read.
#[inline(always)]
fn fold_rows<C: Copy, J: Join<C>>(acc: &mut [C], x: &[C], stride: usize, rows: usize) {
    let Some(&any) = x.first() else { return };
    let mut memory = [any; WIDTH];
    for (i, acc) in acc.chunks_mut(WIDTH).enumerate() {
        let n = acc.len();
        let row = |r: usize| &x[r * stride + i * WIDTH..][..n];
        // From one to the other and back: what is chosen between a place and another number, to be stored there again,
        // would become a masked store, which takes many times as long.
        let (mut from, mut to) = (&mut *acc, &mut memory[..n]);
        let (fours, singles) = (rows / 4, rows % 4); // the last ones together
        for r in 0..fours {
            let [a, b, c, d] = [row(4 * r), row(4 * r + 1), row(4 * r + 2), row(4 * r + 3)];
            let (old, new) = (&from[..n], &mut to[..n]);
            for i in 0..n {
                new[i] = J::join(old[i], J::join(J::join(a[i], b[i]), J::join(c[i], d[i])));
            }
            std::mem::swap(&mut from, &mut to);
        }
        if singles > 0 {
            let (old, new) = (&from[..n], &mut to[..n]);
            let (a, b, c) = (row(rows - singles), row(rows - singles.min(2)), row(rows - 1));
            // A loop for each: with the choice within, or in a closure, they are not vectorised.
            if singles == 1 {
                for i in 0..n {
                    new[i] = J::join(old[i], a[i]);
                }
            } else if singles == 2 {
                for i in 0..n {
                    new[i] = J::join(old[i], J::join(a[i], c[i]));
                }
            } else {
                for i in 0..n {
                    new[i] = J::join(old[i], J::join(J::join(a[i], b[i]), c[i]));
                }
            }
            std::mem::swap(&mut from, &mut to);
        }
        if (fours + singles.min(1)) % 2 == 1 {
            acc.copy_from_slice(&memory[..n]);
        }
    }
}

/// The loops of a float reduction.
pub fn fold<B: FoldBody, T: Precise>() -> Fold<T> {
    struct Rows<'a, B, T>(&'a mut [T], &'a [T], usize, PhantomData<B>);
    impl<B: FoldBody, T: Precise> Loop for Rows<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (o, row) in self.0.iter_mut().zip(self.1.chunks(self.2)) {
                *o = fold_floats::<B, T, I>(row);
            }
        }
    }
    struct Columns<'a, B, T>(&'a mut [T], &'a [T], usize, usize, PhantomData<B>);
    impl<B: FoldBody, T: Precise> Loop for Columns<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            fold_rows::<T, Floats<B, I>>(self.0, self.1, self.2, self.3);
        }
    }
    Fold {
        start: Lane::<T, simd::Plain>::lit(B::START).0,
        rows: |out, x, n| simd::run(Rows::<B, T>(out, x, n, PhantomData)),
        columns: |acc, x, stride, rows| simd::run(Columns::<B, T>(acc, x, stride, rows, PhantomData)),
    }
}

/// The loops of an integer reduction that starts at `start`.
pub fn fold_int<B: FoldBody, W: Whole>(start: W) -> Fold<W> {
    struct Rows<'a, B, W>(&'a mut [W], &'a [W], usize, PhantomData<B>);
    impl<B: FoldBody, W: Whole> Loop for Rows<'_, B, W> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (o, row) in self.0.iter_mut().zip(self.1.chunks(self.2)) {
                *o = row.iter().fold(*o, |a, &v| B::fold_int(a, v));
            }
        }
    }
    struct Columns<'a, B, W>(&'a mut [W], &'a [W], usize, usize, PhantomData<B>);
    impl<B: FoldBody, W: Whole> Loop for Columns<'_, B, W> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            fold_rows::<W, Integers<B>>(self.0, self.1, self.2, self.3);
        }
    }
    Fold {
        start,
        rows: |out, x, n| simd::run_narrow(Rows::<B, W>(out, x, n, PhantomData)),
        columns: |acc, x, stride, rows| simd::run_narrow(Columns::<B, W>(acc, x, stride, rows, PhantomData)),
    }
}

/// Where the elements lie that each result is folded from: the axes of a layout before number `kept` are those of the
/// results, the axes from there on are folded.
pub(super) struct Lanes {
    /// The first element of each result.
    pub(super) results: Joint<1>,
    /// Where the runs of a result start, relative to its first element. Their number is small next to the elements'.
    pub(super) starts: Vec<isize>,
    /// Elements in each run.
    pub(super) run: usize,
    /// The distance between neighbours in a run.
    pub(super) step: isize,
}

impl Lanes {
    pub(super) fn new(layout: &Layout, kept: usize) -> Lanes {
        let (shape, strides) = (layout.shape(), layout.strides());
        let results = Layout::strided(shape[..kept].into(), strides[..kept].into(), layout.offset());
        let rest = Layout::strided(shape[kept..].into(), strides[kept..].into(), 0);
        let inner = Joint::new(rest.shape(), [&rest]);
        let mut starts = Vec::with_capacity(inner.runs());
        inner.for_runs(0..inner.runs(), |_, [at]| starts.push(at as isize));
        Lanes {
            results: Joint::new(results.shape(), [&results]),
            starts,
            run: inner.inner,
            step: inner.inner_strides[0],
        }
    }

    /// Whether neighbouring results have neighbouring elements, and the elements of one result lie apart: then whole
    /// rows are folded into a row of results.
    pub(super) fn are_columns(&self) -> bool {
        self.results.inner_strides[0] == 1 && self.results.inner > 1 && (self.step != 1 || self.run < 16)
    }
}

/// Folds the axes of `layout` from number `kept` on; `out` has the elements of the axes before, dense.
pub fn reduce<T: Element>(out: &mut [T], x: &[T], layout: &Layout, kept: usize, f: Fold<T::Compute>, par: &Par) {
    if out.is_empty() {
        return;
    }
    if layout.elements() == 0 {
        out.fill(T::down(f.start));
        return;
    }
    let lanes = Lanes::new(layout, kept);
    if lanes.are_columns() { fold_columns(out, x, &lanes, f, par) } else { fold_runs(out, x, &lanes, f, par) }
}

/// Each output element folds its own runs.
fn fold_runs<T: Element>(out: &mut [T], x: &[T], lanes: &Lanes, f: Fold<T::Compute>, par: &Par) {
    let Lanes { results, starts, run, step } = lanes;
    let (run, step) = (*run, *step);
    let work = run * starts.len();
    if out.len() == 1 && work > 2 * GRAIN && step == 1 && starts.len() == 1 {
        // One long run: fixed blocks, folded in order.
        let mut at = 0;
        results.for_runs(0..1, |_, [p]| at = (p as isize + starts[0]) as usize);
        let x = &x[at..][..run];
        let parts: Vec<Partial<T>> = par.map(run.div_ceil(GRAIN), |i| {
            let part = &x[i * GRAIN..run.min((i + 1) * GRAIN)];
            Partial(fold_run(part, 0, 1, part.len(), f))
        });
        let folded: Vec<T::Compute> = parts.into_iter().map(|p| p.0).collect();
        out[0] = T::down(f.run(&folded));
        return;
    }
    let columns = results.inner;
    let per_block = (GRAIN / work.max(1)).max(1);
    let rows_follow = step == 1 && starts.len() == 1 && results.inner_strides[0] == run as isize;
    par.chunks_mut(out, per_block, |block, part| {
        let first = block * per_block;
        let end = first + part.len();
        // The kept elements `first..end` lie in these runs of the kept axes.
        results.for_runs(first / columns..end.div_ceil(columns), |r, [p]| {
            let from = first.max(r * columns);
            let until = end.min((r + 1) * columns);
            let at = |i: usize| p as isize + (i - r * columns) as isize * results.inner_strides[0];
            let part = &mut part[from - first..until - first];
            if rows_follow
                && let Some(x) = T::direct(&x[(at(from) + starts[0]) as usize..][..part.len() * run])
                && let Some(part) = T::direct_mut(part)
            {
                part.fill(f.start);
                return (f.rows)(part, x, run);
            }
            for (i, o) in (from..until).zip(part) {
                let runs = starts.iter().map(|s| fold_run(x, at(i) + s, step, run, f));
                *o = T::down(runs.reduce(|a, b| f.pair(a, b)).expect("there is a run"));
            }
        });
    });
}

/// Wraps a partial result, to be collected from threads.
#[derive(Clone)]
struct Partial<T: Element>(T::Compute);

impl<T: Element> Default for Partial<T> {
    fn default() -> Self {
        Partial(T::Compute::default())
    }
}

fn fold_run<T: Element>(x: &[T], at: isize, step: isize, n: usize, f: Fold<T::Compute>) -> T::Compute {
    if step == 1
        && let Some(x) = T::direct(&x[at as usize..][..n])
    {
        return f.run(x);
    }
    let mut given = [T::default(); BLOCK];
    let mut up = [T::Compute::default(); BLOCK];
    let mut total = None;
    for b in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - b);
        strided_run(&mut given[..len], x, (at + b as isize * step) as usize, step);
        up.iter_mut().zip(&given[..len]).for_each(|(u, &g)| *u = g.up());
        let part = f.run(&up[..len]);
        total = Some(total.map_or(part, |t| f.pair(t, part)));
    }
    total.unwrap_or(f.start)
}

/// Columns that are folded at a time: a stretch of accumulators that stays in the nearest cache.
const WIDTH: usize = 2 * BLOCK;

/// Whole rows are folded into a row of outputs: blocks of rows of fixed size, and then the blocks, in order.
fn fold_columns<T: Element>(out: &mut [T], x: &[T], lanes: &Lanes, f: Fold<T::Compute>, par: &Par) {
    let Lanes { results, starts, run, step } = lanes;
    let columns = results.inner;
    // Short rows that follow one another are folded side by side, as one long row.
    let beside = if *step == columns as isize { (BLOCK / columns).clamp(1, *run) } else { 1 };
    let (across, rows) = (columns * beside, run / beside);
    let (width, stretches) = (across.min(WIDTH), across.div_ceil(WIDTH));
    let height = (GRAIN / width).max(1);
    let blocks = rows.div_ceil(height);
    let tasks = results.runs() * blocks * stretches;
    let together = (GRAIN / (width * rows.min(height) * starts.len())).max(1);
    let fold_into = |parts: &mut [T::Compute]| {
        let shared = SharedMut::new(parts);
        par.for_each(tasks.div_ceil(together), |number| {
            for task in number * together..tasks.min((number + 1) * together) {
                let (r, block, from) =
                    (task / (blocks * stretches), task / stretches % blocks, task % stretches * width);
                let n = width.min(across - from);
                let start = (r * blocks + block) * across + from;
                // SAFETY: each task writes its own stretch of its own part.
                let acc = unsafe { shared.range(start..start + n) };
                acc.fill(f.start);
                let (top, bottom) = (block * height, rows.min((block + 1) * height));
                let add = |acc: &mut [T::Compute], at: isize, stride: isize, rows: usize| {
                    for s in starts {
                        add_rows(acc, x, at + s, stride, rows, f);
                    }
                };
                results.for_runs(r..r + 1, |_, [p]| {
                    let at = |row: usize| p as isize + row as isize * step + from as isize;
                    add(acc, at(top * beside), step * beside as isize, bottom - top);
                    if bottom == rows && run % beside > 0 {
                        add(&mut acc[..run % beside * columns], at(rows * beside), *step, 1);
                    }
                });
            }
        });
    };
    if blocks * beside == 1
        && let Some(out) = T::direct_mut(out)
    {
        return fold_into(out);
    }
    let mut parts = vec![T::Compute::default(); results.runs() * blocks * across];
    fold_into(&mut parts);
    let of_run = blocks * across;
    let runs = (GRAIN / of_run).max(1);
    par.chunks_mut(out, runs * columns, |task, out| {
        let mut total = vec![f.start; columns];
        for (k, out) in out.chunks_mut(columns).enumerate() {
            let part = &parts[(task * runs + k) * of_run..][..of_run];
            total.copy_from_slice(&part[..columns]);
            (f.columns)(&mut total, &part[columns..], columns, blocks * beside - 1);
            out.iter_mut().zip(&total).for_each(|(o, &t)| *o = T::down(t));
        }
    });
}

/// Folds rows of elements, `stride` apart, into accumulators.
fn add_rows<T: Element>(acc: &mut [T::Compute], x: &[T], at: isize, stride: isize, rows: usize, f: Fold<T::Compute>) {
    let n = acc.len();
    if stride >= 0
        && let Some(x) = T::direct(&x[at as usize..])
    {
        return (f.columns)(acc, x, stride as usize, rows);
    }
    let mut up = [T::Compute::default(); WIDTH];
    for row in 0..rows as isize {
        let row = &x[(at + row * stride) as usize..][..n];
        up.iter_mut().zip(row).for_each(|(u, &v)| *u = v.up());
        (f.columns)(acc, &up[..n], n, 1);
    }
}
