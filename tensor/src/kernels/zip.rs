//! The zip family: two operands that broadcast, element by element.

use crate::dtype::Element;
use crate::kernels::copy::strided_run;
use crate::kernels::map::BLOCK;
use crate::kernels::number::{Lane, Mask, Precise, Real, Whole};
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};
use crate::shape::Shape;

/// The body of an operation on two floats: no `if`, so that it vectorises.
pub trait BinaryBody: 'static {
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

/// A loop over dense elements: `out[i] = f(x[i], y[i])`. The last argument holds the numbers of the call.
pub type Block<T, O> = fn(&mut [O], &[T], &[T], &[f64]);

/// The dense loop of a body, at the level of this machine.
pub fn block<B: BinaryBody, T: Precise>(out: &mut [T], x: &[T], y: &[T], numbers: &[f64]) {
    struct Run<'a, B, T>(&'a mut [T], &'a [T], &'a [T], &'a [f64], std::marker::PhantomData<B>);
    impl<B: BinaryBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for ((o, &x), &y) in self.0.iter_mut().zip(self.1).zip(self.2) {
                *o = B::eval(Lane::<T, I>::new(x), Lane::new(y), self.3).0;
            }
        }
    }
    simd::run(Run::<B, T>(out, x, y, numbers, std::marker::PhantomData));
}

/// The dense loop of an integer body.
pub fn int_block<B: BinaryIntBody, W: Whole>(out: &mut [W], x: &[W], y: &[W], _: &[f64]) {
    for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *o = B::eval(x, y);
    }
}

/// The dense loop of a comparison of floats.
pub fn compare_block<B: CompareBody, T: Precise>(out: &mut [u8], x: &[T], y: &[T], _: &[f64]) {
    struct Run<'a, B, T>(&'a mut [u8], &'a [T], &'a [T], std::marker::PhantomData<B>);
    impl<B: CompareBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for ((o, &x), &y) in self.0.iter_mut().zip(self.1).zip(self.2) {
                *o = B::eval(Lane::<T, I>::new(x), Lane::new(y)).byte();
            }
        }
    }
    simd::run(Run::<B, T>(out, x, y, std::marker::PhantomData));
}

/// The dense loop of a comparison of integers.
pub fn compare_int_block<B: CompareBody, W: Whole>(out: &mut [u8], x: &[W], y: &[W], _: &[f64]) {
    for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *o = B::eval_int(x, y) as u8;
    }
}

/// `out = f(x, y)` over operands that broadcast to `shape`.
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
        par.chunks_mut(out, GRAIN, |i, part| {
            let (x, y) = (&x[i * GRAIN..][..part.len()], &y[i * GRAIN..][..part.len()]);
            f(O::direct_mut(part).expect("direct, as found above"), x, y, numbers);
        });
        return;
    }
    let joint = Joint::new(shape, [x_layout, y_layout]);
    let inner = joint.inner;
    let [x_step, y_step] = joint.inner_strides;
    let runs_per_block = (GRAIN / inner).max(1);
    par.chunks_mut(out, runs_per_block * inner, |block, part| {
        let first = block * runs_per_block;
        let mut xs = Operand::<T>::new();
        let mut ys = Operand::<T>::new();
        let mut down = [O::Compute::default(); BLOCK];
        joint.for_runs(first..first + part.len() / inner, |run, [x_at, y_at]| {
            for (b, out) in part[(run - first) * inner..][..inner].chunks_mut(BLOCK).enumerate() {
                let n = out.len();
                let skip = (b * BLOCK) as isize;
                let x = xs.load(x, (x_at as isize + skip * x_step) as usize, x_step, n);
                let y = ys.load(y, (y_at as isize + skip * y_step) as usize, y_step, n);
                match O::direct_mut(out) {
                    Some(out) => f(out, x, y, numbers),
                    None => {
                        f(&mut down[..n], x, y, numbers);
                        out.iter_mut().zip(&down).for_each(|(o, &d)| *o = O::down(d));
                    }
                }
            }
        });
    });
}

/// A stretch of an operand in dense, computable form.
struct Operand<T: Element> {
    given: [T; BLOCK],
    up: [T::Compute; BLOCK],
}

impl<T: Element> Operand<T> {
    fn new() -> Self {
        Operand { given: [T::default(); BLOCK], up: [T::Compute::default(); BLOCK] }
    }

    #[inline]
    fn load<'a>(&'a mut self, x: &'a [T], at: usize, step: isize, n: usize) -> &'a [T::Compute] {
        if step == 1
            && let Some(x) = T::direct(&x[at..][..n])
        {
            return x;
        }
        strided_run(&mut self.given[..n], x, at, step);
        self.up.iter_mut().zip(&self.given[..n]).for_each(|(u, &g)| *u = g.up());
        &self.up[..n]
    }
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
    let joint = Joint::new(shape, [other_layout]);
    let (inner, step) = (joint.inner, joint.inner_strides[0]);
    let dense_blocks = inner > GRAIN && joint.runs() == 1;
    let size = if dense_blocks { GRAIN } else { (GRAIN / inner).max(1) * inner };
    par.chunks_mut(own, size, |block, part| {
        let mut others = Operand::<T>::new();
        let mut up = [T::Compute::default(); BLOCK];
        let mut down = [T::Compute::default(); BLOCK];
        let mut stretch = |own: &mut [T], at: usize| {
            for (b, own) in own.chunks_mut(BLOCK).enumerate() {
                let n = own.len();
                let y = others.load(other, (at as isize + (b * BLOCK) as isize * step) as usize, step, n);
                up.iter_mut().zip(&*own).for_each(|(u, &v)| *u = v.up());
                let apply = |out: &mut [T::Compute]| match side {
                    Side::Lhs => f(out, &up[..n], y, numbers),
                    Side::Rhs => f(out, y, &up[..n], numbers),
                };
                match T::direct_mut(own) {
                    Some(own) => apply(own),
                    None => {
                        apply(&mut down[..n]);
                        own.iter_mut().zip(&down).for_each(|(o, &d)| *o = T::down(d));
                    }
                }
            }
        };
        if dense_blocks {
            let start = other_layout.offset() as isize + (block * GRAIN) as isize * step;
            stretch(part, start as usize);
        } else {
            let first = block * (size / inner);
            joint.for_runs(first..first + part.len() / inner, |run, [at]| {
                stretch(&mut part[(run - first) * inner..][..inner], at);
            });
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
    let joint = Joint::new(shape, [x_layout, y_layout]);
    let inner = joint.inner;
    let [x_step, y_step] = joint.inner_strides;
    // A block is some whole runs, or part of a long one.
    let (runs, parts) = ((GRAIN / inner).max(1), inner.div_ceil(GRAIN));
    let blocks = par.map(joint.runs().div_ceil(runs) * parts, |block| {
        let first = block / parts * runs;
        let from = block % parts * GRAIN;
        let until = inner.min(from + GRAIN);
        let (mut xs, mut ys) = (Operand::<T>::new(), Operand::<T>::new());
        let mut terms = [T::Compute::default(); BLOCK];
        let mut total = 0.0;
        joint.for_runs(first..joint.runs().min(first + runs), |_, [x_at, y_at]| {
            for start in (from..until).step_by(BLOCK) {
                let (n, skip) = (BLOCK.min(until - start), start as isize);
                let x = xs.load(x, (x_at as isize + skip * x_step) as usize, x_step, n);
                let y = ys.load(y, (y_at as isize + skip * y_step) as usize, y_step, n);
                f(&mut terms[..n], x, y, numbers);
                total += sum_wide(&terms[..n]);
            }
        });
        total
    });
    blocks.iter().sum()
}

/// The sum of a few elements in `f64`, with as many accumulators as a wide register has places.
fn sum_wide<C: Element>(x: &[C]) -> f64 {
    let mut acc = [0.0; 8];
    for part in x.chunks(acc.len()) {
        acc.iter_mut().zip(part).for_each(|(a, v)| *a += v.to_f64());
    }
    acc.iter().sum()
}
