//! The reduce family: many elements to one, along any axes.

use std::ops::Range;

use crate::dtype::Element;
use crate::kernels::compute::{narrow, widen};
use crate::kernels::copy::gather_par;
use crate::kernels::fold::Fold;
use crate::kernels::map::BLOCK;
use crate::kernels::pane::strided_run;
use crate::kernels::scratch::Scratch;
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

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
        let inner = folded(layout, kept);
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
    if kept > 0
        && let Some((once, results)) = alike(layout, kept)
    {
        let mut folded = Scratch::<T>::new(once.shape()[..kept].iter().product());
        reduce(&mut folded, x, &once, kept, f, par);
        return gather_par(out, &folded, &results, par);
    }
    if kept > 0
        && T::direct(&[]).is_some()
        && let Some(first) = folded_first(layout, kept)
    {
        let (parts, rest) = in_order(layout, &first);
        let mut folded = Scratch::<T>::new(rest.elements());
        reduce(&mut folded, x, &parts, rest.shape().rank(), f, par);
        return reduce(out, &folded, &rest, kept, f, par);
    }
    if let Some((sorted, order)) = sorted_by_memory(layout, 0..kept) {
        let mut results = Scratch::<T>::new(out.len());
        reduce(&mut results, x, &sorted, kept, f, par);
        let shape = &layout.shape()[..kept];
        return gather_par(out, &results, &Layout::dense_in_order(&shape.into(), &order[..kept]), par);
    }
    let lanes = Lanes::new(layout, kept);
    if lanes.are_columns() { fold_columns(out, x, &lanes, f, par) } else { fold_runs(out, x, &lanes, f, par) }
}

/// The layout with the axes in `which` in the order of memory, and that order, where it is not the one they have.
fn sorted_by_memory(layout: &Layout, which: Range<usize>) -> Option<(Layout, Vec<usize>)> {
    let (shape, strides) = (layout.shape(), layout.strides());
    let place = |&axis: &usize| std::cmp::Reverse(strides[axis].unsigned_abs());
    if which.clone().filter(|&axis| shape[axis] > 1).is_sorted_by_key(|axis| place(&axis)) {
        return None;
    }
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    order[which].sort_by_key(place);
    Some((layout.permute(&order), order))
}

/// The runs of the folded axes: in the order of memory, unless that makes them shorter.
fn folded(layout: &Layout, kept: usize) -> Joint<1> {
    let runs = |layout: &Layout| {
        let rest = Layout::strided(layout.shape()[kept..].into(), layout.strides()[kept..].into(), 0);
        Joint::new(rest.shape(), [&rest])
    };
    let given = runs(layout);
    let sorted = sorted_by_memory(layout, kept..layout.shape().rank()).map(|(layout, _)| runs(&layout));
    sorted.filter(|sorted| sorted.inner >= given.inner).unwrap_or(given)
}

/// Elements that lie together from which on they are folded first.
const TOGETHER: usize = 64;

/// The folded axes of which some lie outside of one that is kept and some within, as in the sums of channels over images:
/// elements of a result then lie in stretches far from one another. Returned are those that are folded before the others:
/// the inner ones, or, where these are few elements, the outer ones, row by row.
fn folded_first(layout: &Layout, kept: usize) -> Option<Vec<usize>> {
    let (shape, strides) = (layout.shape(), layout.strides());
    let wide = |&axis: &usize| shape[axis] > 1;
    let least = (0..kept).filter(wide).map(|axis| strides[axis].unsigned_abs()).min()?;
    let (inner, outer): (Vec<usize>, Vec<usize>) =
        (kept..shape.rank()).filter(wide).partition(|&axis| strides[axis].unsigned_abs() < least);
    if inner.is_empty() || outer.is_empty() {
        return None;
    }
    let elements = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product::<usize>();
    match elements(&inner) {
        TOGETHER.. => Some(inner),
        few if few < elements(&outer) => Some(outer),
        _ => None,
    }
}

/// The layout with some folded axes last and the others in the order of memory, and the layout of what is left when those are
/// folded: with the kept axes first again.
fn in_order(layout: &Layout, first: &[usize]) -> (Layout, Layout) {
    let (shape, strides) = (layout.shape(), layout.strides());
    let others = || (0..shape.rank()).filter(|axis| !first.contains(axis));
    let mut order: Vec<usize> = others().collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(strides[axis].unsigned_abs()));
    let left = Layout::dense(order.iter().map(|&axis| shape[axis]).collect());
    let back: Vec<usize> = others().filter_map(|axis| order.iter().position(|&a| a == axis)).collect();
    order.extend(first);
    (layout.permute(&order), left.permute(&back))
}

/// Where the same elements lie at all positions of a kept axis, as in what a sum gives its gradient, results are alike: the
/// layout with one position of such axes, and that of all results in those of one position. `None` where there is no such
/// axis.
fn alike(layout: &Layout, kept: usize) -> Option<(Layout, Layout)> {
    let (shape, strides) = (layout.shape(), layout.strides());
    let same = |axis: &usize| strides[*axis] == 0 && shape[*axis] > 1;
    (0..kept).find(same)?;
    let mut one = shape.clone();
    (0..kept).filter(same).for_each(|axis| one[axis] = 1);
    let (results, folded): (Shape, Shape) = (shape[..kept].into(), one[..kept].into());
    let spread = Layout::dense(folded).broadcast_strides(&results);
    Some((Layout::strided(one, strides, layout.offset()), Layout::strided(results, spread, 0)))
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
    let in_rows = step == 1 && starts.len() == 1 && results.inner_strides[0] >= 0;
    par.chunks_mut(out, per_block, |block, part| {
        let first = block * per_block;
        let end = first + part.len();
        // The kept elements `first..end` lie in these runs of the kept axes.
        results.for_runs(first / columns..end.div_ceil(columns), |r, [p]| {
            let from = first.max(r * columns);
            let until = end.min((r + 1) * columns);
            let at = |i: usize| p as isize + (i - r * columns) as isize * results.inner_strides[0];
            let part = &mut part[from - first..until - first];
            if in_rows
                && let Some(x) = T::direct(&x[(at(from) + starts[0]) as usize..])
                && let Some(part) = T::direct_mut(part)
            {
                part.fill(f.start);
                return (f.rows)(part, x, results.inner_strides[0] as usize, run);
            }
            if in_rows && run <= GRAIN {
                let x = &x[(at(from) + starts[0]) as usize..];
                return fold_wide_rows(part, x, results.inner_strides[0] as usize, run, f);
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

/// Elements that are brought into the precision that kernels compute in at a time: they stay in the nearest cache.
const WIDE: usize = 4096;

/// Folds rows of `n` elements, which begin `stride` elements apart, some at a time on copies in the precision that kernels
/// compute in.
fn fold_wide_rows<T: Element>(out: &mut [T], x: &[T], stride: usize, n: usize, f: Fold<T::Compute>) {
    let together = (WIDE / n.max(1)).clamp(1, out.len().max(1));
    let mut wide = Scratch::<T::Compute>::new(together * n);
    let mut folded = Scratch::<T::Compute>::new(together);
    for (i, out) in out.chunks_mut(together).enumerate() {
        let folded = &mut folded[..out.len()];
        for (r, wide) in wide.chunks_mut(n.max(1)).enumerate().take(out.len()) {
            widen(wide, &x[(i * together + r) * stride..][..n]);
        }
        folded.fill(f.start);
        (f.rows)(folded, &wide, n, n);
        narrow(out, folded);
    }
}

/// Shorter runs of elements that lie apart are folded one by one: no block of them needs to be laid out.
const SHORT: usize = 16;

fn fold_run<T: Element>(x: &[T], at: isize, step: isize, n: usize, f: Fold<T::Compute>) -> T::Compute {
    if step == 1
        && let Some(x) = T::direct(&x[at as usize..][..n])
    {
        return f.run(x);
    }
    if n < SHORT {
        return (0..n as isize).fold(f.start, |total, i| f.pair(total, x[(at + i * step) as usize].up()));
    }
    let mut given = [T::default(); BLOCK];
    let mut up = [T::Compute::default(); BLOCK];
    let mut total = None;
    for b in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - b);
        strided_run(&mut given[..len], x, (at + b as isize * step) as usize, step);
        widen(&mut up[..len], &given[..len]);
        let part = f.run(&up[..len]);
        total = Some(total.map_or(part, |t| f.pair(t, part)));
    }
    total.unwrap_or(f.start)
}

/// Columns below which a row fills no register.
const NARROW: usize = 16;

/// Columns that are folded at a time: a stretch of accumulators that stays in the nearest cache.
const WIDTH: usize = 2 * BLOCK;

/// Whole rows are folded into a row of outputs: blocks of rows of fixed size, and then the blocks, in order.
fn fold_columns<T: Element>(out: &mut [T], x: &[T], lanes: &Lanes, f: Fold<T::Compute>, par: &Par) {
    let Lanes { results, starts, run, step } = lanes;
    let columns = results.inner;
    // Short rows that follow one another are folded side by side, as one long row.
    let beside = if *step == columns as isize && columns < NARROW && run * columns > 8 * BLOCK {
        (BLOCK / columns).clamp(1, *run)
    } else {
        1
    };
    let (across, rows) = (columns * beside, run / beside);
    let (width, stretches) = (across.min(WIDTH), across.div_ceil(WIDTH));
    let height = (GRAIN / width).max(1);
    let blocks = rows.div_ceil(height);
    let tasks = results.runs() * blocks * stretches;
    let together = (GRAIN / (width * rows.min(height) * starts.len())).max(1);
    let fold_into = |parts: &mut [T::Compute]| {
        let shared = SharedMut::new(parts);
        par.for_each(tasks.div_ceil(together), |number| {
            let (first, end) = (number * together, tasks.min((number + 1) * together));
            let of_run = blocks * stretches;
            results.for_runs(first / of_run..end.div_ceil(of_run), |r, [p]| {
                for task in first.max(r * of_run)..end.min((r + 1) * of_run) {
                    let (block, from) = (task / stretches % blocks, task % stretches * width);
                    let n = width.min(across - from);
                    let to = (r * blocks + block) * across + from;
                    // SAFETY: each task writes its own stretch of its own part.
                    let acc = unsafe { shared.range(to..to + n) };
                    acc.fill(f.start);
                    let (top, bottom) = (block * height, rows.min((block + 1) * height));
                    let at = |row: usize| p as isize + row as isize * step + from as isize;
                    for s in starts {
                        add_rows(acc, x, at(top * beside) + s, step * beside as isize, bottom - top, f);
                        if bottom == rows && run % beside > 0 {
                            add_rows(&mut acc[..run % beside * columns], x, at(rows * beside) + s, *step, 1, f);
                        }
                    }
                }
            });
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
            narrow(out, &total);
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
        widen(&mut up[..n], row);
        (f.columns)(acc, &up[..n], n, 1);
    }
}
