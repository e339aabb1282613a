//! The zip family: two operands that broadcast, element by element.

use std::marker::PhantomData;

use crate::dtype::Element;
use crate::kernels::accumulate;
use crate::kernels::compute::{narrow, widen};
use crate::kernels::copy::gather_par;
use crate::kernels::map::{BLOCK, apart};
use crate::kernels::number::{Lane, Mask, Precise, Real, Whole};
use crate::kernels::operand::{Operand, Scratch, Stretch};
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};
use crate::shape::Shape;

/// The body of an operation on two floats: no `if`, so that it vectorises.
pub trait BinaryBody: 'static {
    /// Whether it computes so much that in double precision, too, registers wider than AVX2's are worth compiling it once
    /// more: most wait for memory.
    const LONG: bool = false;
    /// The operation on one pair, with the call's numbers.
    fn eval<R: Real>(x: R, y: R, numbers: &[f64]) -> R;
}

/// The body of an operation on two integers.
pub trait BinaryIntBody: 'static {
    /// The operation on one pair.
    fn eval<W: Whole>(x: W, y: W) -> W;
}

/// The body of a comparison of two floats.
pub trait CompareBody: 'static {
    /// The comparison of one pair of floats.
    fn eval<R: Real>(x: R, y: R) -> R::Mask;
    /// The comparison of one pair of integers.
    fn eval_int<W: Whole>(x: W, y: W) -> bool;
}

/// How rows of elements lie that are combined by one call: dense in the result, and in the operands so far apart.
#[derive(Clone, Copy)]
pub struct Rows {
    length: usize,
    steps: [usize; 2],
}

impl Rows {
    /// A single row.
    pub(super) fn one(length: usize) -> Rows {
        Rows { length, steps: [0; 2] }
    }

    /// The rows of a result and of its operands.
    #[inline(always)]
    pub fn pairs<'a, O, T>(
        self,
        out: &'a mut [O],
        x: &'a [T],
        y: &'a [T],
    ) -> impl Iterator<Item = (&'a mut [O], &'a [T], &'a [T])> {
        self.with_numbers(out, x, y).map(move |(out, x, y)| (out, x, &y[..self.length]))
    }

    /// The rows of a result and of its first operand, each with the second one from the row's number on.
    #[inline(always)]
    fn with_numbers<'a, O, T>(
        self,
        out: &'a mut [O],
        x: &'a [T],
        y: &'a [T],
    ) -> impl Iterator<Item = (&'a mut [O], &'a [T], &'a [T])> {
        let rows = out.chunks_mut(self.length).enumerate();
        rows.map(move |(r, out)| (out, &x[r * self.steps[0]..][..self.length], &y[r * self.steps[1]..]))
    }
}

/// A loop over rows: `out[i] = f(x[i], y[i])`. The last argument holds the numbers of the call.
pub type Block<T, O> = fn(&mut [O], &[T], &[T], Rows, &[f64]);

/// The loop of a body, at the level of this machine.
pub fn block<B: BinaryBody, T: Precise>(out: &mut [T], x: &[T], y: &[T], rows: Rows, numbers: &[f64]) {
    struct Run<'a, B, T>(&'a mut [T], [&'a [T]; 2], Rows, &'a [f64], PhantomData<B>);
    impl<B: BinaryBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, [x, y], rows, numbers, _) = self;
            let numbers = apart(numbers);
            for (out, x, y) in rows.pairs(out, x, y) {
                for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *o = B::eval(Lane::<T, I>::new(x), Lane::new(y), &numbers).0;
                }
            }
        }
    }
    let run = Run::<B, T>(out, [x, y], rows, numbers, PhantomData);
    if const { size_of::<T>() == size_of::<f64>() && !B::LONG } { simd::run_narrow(run) } else { simd::run(run) }
}

/// The loop of a body with a number on the right, for each row one: `out[i] = f(x[i], y)`.
pub fn number_block<B: BinaryBody, T: Precise>(out: &mut [T], x: &[T], y: &[T], rows: Rows, numbers: &[f64]) {
    struct Run<'a, B, T>(&'a mut [T], [&'a [T]; 2], Rows, &'a [f64], PhantomData<B>);
    impl<B: BinaryBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, [x, y], rows, numbers, _) = self;
            let numbers = apart(numbers);
            for (out, x, y) in rows.with_numbers(out, x, y) {
                let y = Lane::<T, I>::new(y[0]);
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = B::eval(Lane::new(x), y, &numbers).0;
                }
            }
        }
    }
    simd::run_narrow(Run::<B, T>(out, [x, y], rows, numbers, PhantomData));
}

/// The loop of an integer body.
pub fn int_block<B: BinaryIntBody, W: Whole>(out: &mut [W], x: &[W], y: &[W], rows: Rows, _: &[f64]) {
    for (out, x, y) in rows.pairs(out, x, y) {
        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *o = B::eval(x, y);
        }
    }
}

/// The loop of a comparison of floats.
pub fn compare_block<B: CompareBody, T: Precise>(out: &mut [u8], x: &[T], y: &[T], rows: Rows, _: &[f64]) {
    struct Run<'a, B, T>(&'a mut [u8], [&'a [T]; 2], Rows, PhantomData<B>);
    impl<B: CompareBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, [x, y], rows, _) = self;
            for (out, x, y) in rows.pairs(out, x, y) {
                for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *o = B::eval(Lane::<T, I>::new(x), Lane::new(y)).byte();
                }
            }
        }
    }
    simd::run_narrow(Run::<B, T>(out, [x, y], rows, PhantomData));
}

/// The loop of a comparison of integers.
pub fn compare_int_block<B: CompareBody, W: Whole>(out: &mut [u8], x: &[W], y: &[W], rows: Rows, _: &[f64]) {
    for (out, x, y) in rows.pairs(out, x, y) {
        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *o = B::eval_int(x, y) as u8;
        }
    }
}

/// `out = f(x, y)` over operands that broadcast to `shape`; `by_number`, where there is one, for stretches in which `y` is
/// one number.
#[allow(clippy::too_many_arguments)] // two operands of elements and layout, and how to combine them
pub fn zip<T: Element, O: Element>(
    out: &mut [O],
    shape: &Shape,
    x: &[T],
    x_layout: &Layout,
    y: &[T],
    y_layout: &Layout,
    numbers: &[f64],
    f: Block<T::Compute, O::Compute>,
    by_number: Option<Block<T::Compute, O::Compute>>,
    par: &Par,
) {
    if out.is_empty() {
        return;
    }
    let direct = T::direct(x).is_some() && O::DTYPE == <O::Compute as Element>::DTYPE;
    if direct
        && x_layout.shape() == y_layout.shape()
        && let (Some(a), Some(b)) = (x_layout.run_of(out.len()), y_layout.run_of(out.len()))
    {
        let (x, y) = (T::direct(&x[a]).expect("direct, as found above"), T::direct(&y[b]).expect("as found above"));
        // Also to hand a loop over takes its time.
        if out.len() <= GRAIN {
            let one = Rows::one(out.len());
            return f(O::direct_mut(out).expect("direct, as found above"), x, y, one, numbers);
        }
        par.chunks_mut(out, GRAIN, |i, part| {
            let (x, y) = (&x[i * GRAIN..][..part.len()], &y[i * GRAIN..][..part.len()]);
            let one = Rows::one(part.len());
            f(O::direct_mut(part).expect("direct, as found above"), x, y, one, numbers);
        });
        return;
    }
    let joint = Joint::new(shape, [x_layout, y_layout]);
    let by_runs = match joint.inner_strides {
        [1, 1] => Some(None),
        [1, 0] => by_number.map(Some),
        _ => None,
    };
    let (xs, ys) = (Operand::new(x, x_layout, shape), Operand::new(y, y_layout, shape));
    let short = joint.inner < SHORTEST_PERIOD && (xs.is_periodic() || ys.is_periodic());
    if let Some(by_number) = by_runs.filter(|_| direct && !short) {
        let [x, y] = [x, y].map(|x| T::direct(x).expect("direct, as found above"));
        return zip_runs(out, &joint, x, y, numbers, f, by_number, par);
    }
    let [x_stretch, y_stretch] = match [&xs, &ys].map(Operand::stretch) {
        [Some(x), Some(y)] => [x, y],
        [x_stretch, _] => {
            let dense = Layout::dense(shape.clone());
            let mut copy = vec![T::default(); out.len()];
            if x_stretch.is_none() {
                gather_par(&mut copy, x, &x_layout.broadcast_to(shape), par);
                return zip(out, shape, &copy, &dense, y, y_layout, numbers, f, by_number, par);
            }
            gather_par(&mut copy, y, &y_layout.broadcast_to(shape), par);
            return zip(out, shape, x, x_layout, &copy, &dense, numbers, f, by_number, par);
        }
    };
    // A dense operand has no need of its own.
    let stretch = match [xs.is_dense(), ys.is_dense()] {
        [true, _] => y_stretch,
        [_, true] => x_stretch,
        _ => x_stretch.max(y_stretch),
    };
    let size = xs.block(GRAIN).max(ys.block(GRAIN));
    // Stretches end where what belongs together does.
    let unit = match xs.unit().max(ys.unit()) {
        unit if unit > stretch => unit,
        _ => size,
    };
    par.chunks_mut(out, size, |block, part| {
        let (mut x_scratch, mut y_scratch, mut down) = (Scratch::new(), Scratch::new(), Stretch::new());
        for (j, part) in part.chunks_mut(unit).enumerate() {
            for (k, out) in part.chunks_mut(stretch).enumerate() {
                let (start, n) = (block * size + j * unit + k * stretch, out.len());
                let x = x_scratch.get(&xs, start, n);
                let mut apply = |out: &mut [O::Compute]| f(out, x, y_scratch.get(&ys, start, n), Rows::one(n), numbers);
                match O::direct_mut(out) {
                    Some(out) => apply(out),
                    None => {
                        down.resize(n);
                        apply(&mut down);
                        narrow(out, &down);
                    }
                }
            }
        }
    });
}

/// A shorter run that is the same for all rows is written several times one after the other first, so that rows are long.
const SHORTEST_PERIOD: usize = 32;

/// [`zip`] where elements of a run are neighbours, or one number on the right.
#[allow(clippy::too_many_arguments)] // as above
fn zip_runs<O: Element, C: Element>(
    out: &mut [O],
    joint: &Joint<2>,
    x: &[C],
    y: &[C],
    numbers: &[f64],
    f: Block<C, O::Compute>,
    by_number: Option<Block<C, O::Compute>>,
    par: &Par,
) {
    let inner = joint.inner;
    let size = if inner < GRAIN { GRAIN.next_multiple_of(inner) } else { GRAIN };
    let (count, steps) = match joint.last_outer() {
        Some((count, steps)) if steps.iter().all(|&step| step >= 0) => (count, steps.map(isize::unsigned_abs)),
        _ => (1, [0; 2]),
    };
    par.chunks_mut(out, size, |block, part| {
        let part = O::direct_mut(part).expect("direct, as found above");
        let mut done = 0;
        while done < part.len() {
            let (run, skipped) = ((block * size + done) / inner, (block * size + done) % inner);
            let (left, [a, b]) = (part.len() - done, joint.run_start(run));
            let (rows, length) = match skipped {
                0 if left >= inner => ((left / inner).min(count - run % count), inner),
                _ => (1, left.min(inner - skipped)),
            };
            let out = &mut part[done..done + rows * length];
            let (x, rows) = (&x[a + skipped..], Rows { length, steps });
            match by_number {
                Some(f) => f(out, x, &y[b..], rows, numbers),
                None => f(out, x, &y[b + skipped..], rows, numbers),
            }
            done += out.len();
        }
    });
}

/// Which operand a result is written over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Lhs,
    /// The second.
    Rhs,
}

/// `own = f(own, other)`, or `f(other, own)` for [`Side::Rhs`]: `own` is dense of `shape`, `other` broadcasts to it.
#[allow(clippy::too_many_arguments)] // as above
pub fn zip_in_place<T: Element>(
    own: &mut [T],
    shape: &Shape,
    other: &[T],
    other_layout: &Layout,
    side: Side,
    numbers: &[f64],
    f: Block<T::Compute, T::Compute>,
    par: &Par,
) {
    if own.is_empty() {
        return;
    }
    let others = Operand::new(other, other_layout, shape);
    let Some(stretch) = others.stretch() else {
        let mut copy = vec![T::default(); own.len()];
        gather_par(&mut copy, other, &other_layout.broadcast_to(shape), par);
        return zip_in_place(own, shape, &copy, &Layout::dense(shape.clone()), side, numbers, f, par);
    };
    let size = others.block(GRAIN);
    par.chunks_mut(own, size, |block, part| {
        let (mut scratch, mut up, mut down) = (Scratch::new(), Stretch::new(), Stretch::new());
        for (k, own) in part.chunks_mut(stretch).enumerate() {
            let n = own.len();
            let y = scratch.get(&others, block * size + k * stretch, n);
            up.resize(n);
            widen(&mut up, own);
            let apply = |out: &mut [T::Compute]| match side {
                Side::Lhs => f(out, &up, y, Rows::one(n), numbers),
                Side::Rhs => f(out, y, &up, Rows::one(n), numbers),
            };
            match T::direct_mut(own) {
                Some(own) => apply(own),
                None => {
                    down.resize(n);
                    apply(&mut down);
                    narrow(own, &down);
                }
            }
        }
    });
}

/// The sum of `f(x, y)` over operands of shape `shape`, in `f64`: in one pass, without storing the terms.
pub fn sum<T: Element>(
    shape: &Shape,
    (x, x_layout): (&[T], &Layout),
    (y, y_layout): (&[T], &Layout),
    numbers: &[f64],
    f: Block<T::Compute, T::Compute>,
    par: &Par,
) -> f64 {
    if shape.elements() == 0 {
        return 0.0;
    }
    let (xs, ys) = (Operand::new(x, x_layout, shape), Operand::new(y, y_layout, shape));
    let n = shape.elements();
    let blocks = par.map(n.div_ceil(GRAIN), |block| {
        let (mut x_scratch, mut y_scratch) = (Scratch::new(), Scratch::new());
        let mut terms = [T::Compute::default(); BLOCK];
        let mut total = 0.0;
        let end = n.min((block + 1) * GRAIN);
        for start in (block * GRAIN..end).step_by(BLOCK) {
            let len = BLOCK.min(end - start);
            let (x, y) = (x_scratch.get(&xs, start, len), y_scratch.get(&ys, start, len));
            f(&mut terms[..len], x, y, Rows::one(len), numbers);
            total += sum_wide(&terms[..len]);
        }
        total
    });
    blocks.iter().sum()
}

/// The sum of a few elements in `f64`.
fn sum_wide<C: Element>(x: &[C]) -> f64 {
    struct Sum<'a, C>(&'a [C]);
    impl<C: Element> Loop for Sum<'_, C> {
        type Output = f64;
        #[inline(always)]
        fn run<I: Isa>(self) -> f64 {
            accumulate::sum(self.0, |v| v)
        }
    }
    simd::run(Sum(x))
}
