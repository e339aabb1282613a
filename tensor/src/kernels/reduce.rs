//! The reduce family: many elements to one, along any axes.

use crate::dtype::Element;
use crate::kernels::copy::strided_run;
use crate::kernels::map::BLOCK;
use crate::kernels::number::{Lane, Precise, Real, Whole};
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};

/// How two floats are folded into one.
pub trait FoldBody: 'static {
    /// What an empty reduction gives.
    const START: f64;
    /// The fold of two.
    fn fold<R: Real>(a: R, b: R) -> R;
    /// The fold of two integers; `None` where integers have no such reduction.
    fn fold_int<W: Whole>(a: W, b: W) -> W;
}

/// The loops of a reduction over elements of type `C`.
#[derive(Clone, Copy)]
pub struct Fold<C> {
    /// What an empty reduction gives.
    pub start: C,
    /// Folds a dense run into one element.
    pub run: fn(&[C]) -> C,
    /// `acc[i] = fold(acc[i], x[i])`.
    pub into: fn(&mut [C], &[C]),
}

/// Elements folded at a time, so that rounding errors grow with the number of stretches and their length, not with
/// their product.
const STRETCH: usize = 4096;

/// The loops of a float reduction.
pub fn fold<B: FoldBody, T: Precise>() -> Fold<T> {
    struct Run<'a, B, T>(&'a [T], std::marker::PhantomData<B>);
    impl<B: FoldBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = T;
        #[inline(always)]
        fn run<I: Isa>(self) -> T {
            const LANES: usize = 32;
            let start = Lane::<T, I>::lit(B::START);
            let mut total = start;
            for stretch in self.0.chunks(STRETCH) {
                let mut acc = [start; LANES];
                let (wide, rest) = stretch.as_chunks::<LANES>();
                for w in wide {
                    for (a, &x) in acc.iter_mut().zip(w) {
                        *a = B::fold(*a, Lane::new(x));
                    }
                }
                for (a, &x) in acc.iter_mut().zip(rest) {
                    *a = B::fold(*a, Lane::new(x));
                }
                let mut width = LANES / 2;
                while width > 0 {
                    for i in 0..width {
                        acc[i] = B::fold(acc[i], acc[i + width]);
                    }
                    width /= 2;
                }
                total = B::fold(total, acc[0]);
            }
            total.0
        }
    }
    struct Into<'a, B, T>(&'a mut [T], &'a [T], std::marker::PhantomData<B>);
    impl<B: FoldBody, T: Precise> Loop for Into<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (a, &x) in self.0.iter_mut().zip(self.1) {
                *a = B::fold(Lane::<T, I>::new(*a), Lane::new(x)).0;
            }
        }
    }
    Fold {
        start: Lane::<T, simd::Plain>::lit(B::START).0,
        run: |x| simd::run(Run::<B, T>(x, std::marker::PhantomData)),
        into: |acc, x| simd::run(Into::<B, T>(acc, x, std::marker::PhantomData)),
    }
}

/// The loops of an integer reduction that starts at `start`.
pub fn fold_int<B: FoldBody, W: Whole>(start: W) -> Fold<W> {
    Fold {
        start,
        // The caller's start is folded in once, where the runs are brought together.
        run: |x| x.iter().copied().reduce(B::fold_int).unwrap_or_else(W::zero),
        into: |acc, x| acc.iter_mut().zip(x).for_each(|(a, &x)| *a = B::fold_int(*a, x)),
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
        let mut total = [f.start];
        (f.into)(&mut total, &[(f.run)(&folded)]);
        out[0] = T::down(total[0]);
        return;
    }
    let columns = results.inner;
    let per_block = (GRAIN / work.max(1)).max(1);
    par.chunks_mut(out, per_block, |block, part| {
        let first = block * per_block;
        let end = first + part.len();
        // The kept elements `first..end` lie in these runs of the kept axes.
        results.for_runs(first / columns..end.div_ceil(columns), |r, [p]| {
            let from = first.max(r * columns);
            for i in from..end.min((r + 1) * columns) {
                let p = p as isize + (i - r * columns) as isize * results.inner_strides[0];
                let mut total = [f.start];
                for &s in starts {
                    (f.into)(&mut total, &[fold_run(x, p + s, step, run, f)]);
                }
                part[i - first] = T::down(total[0]);
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
        return (f.run)(x);
    }
    let mut given = [T::default(); BLOCK];
    let mut up = [T::Compute::default(); BLOCK];
    let mut total: Option<[T::Compute; 1]> = None;
    for b in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - b);
        strided_run(&mut given[..len], x, (at + b as isize * step) as usize, step);
        up.iter_mut().zip(&given[..len]).for_each(|(u, &g)| *u = g.up());
        let part = (f.run)(&up[..len]);
        match &mut total {
            None => total = Some([part]),
            Some(t) => (f.into)(t, &[part]),
        }
    }
    total.map_or(f.start, |t| t[0])
}

/// Whole rows are folded into a row of outputs.
fn fold_columns<T: Element>(out: &mut [T], x: &[T], lanes: &Lanes, f: Fold<T::Compute>, par: &Par) {
    let Lanes { results: outer, starts, run, step } = lanes;
    let columns = outer.inner;
    // Columns are cut so that a stretch of accumulators stays in the cache, and so that there is work to share.
    let width = columns.min(2 * BLOCK);
    let stretches = columns.div_ceil(width);
    let shared = crate::par::SharedMut::new(out);
    par.for_each(outer.runs() * stretches, |block| {
        let (r, stretch) = (block / stretches, block % stretches);
        let from = stretch * width;
        let n = width.min(columns - from);
        // SAFETY: each block writes its own stretch of its own run.
        let out = unsafe { shared.range(r * columns + from..r * columns + from + n) };
        outer.for_runs(r..r + 1, |_, [p]| {
            let mut acc = [f.start; 2 * BLOCK];
            let mut up = [T::Compute::default(); 2 * BLOCK];
            for &s in starts {
                for i in 0..*run {
                    let at = (p as isize + s + i as isize * step) as usize + from;
                    let row = &x[at..][..n];
                    match T::direct(row) {
                        Some(row) => (f.into)(&mut acc[..n], row),
                        None => {
                            up.iter_mut().zip(row).for_each(|(u, &v)| *u = v.up());
                            (f.into)(&mut acc[..n], &up[..n]);
                        }
                    }
                }
            }
            out.iter_mut().zip(&acc).for_each(|(o, &a)| *o = T::down(a));
        });
    });
}
