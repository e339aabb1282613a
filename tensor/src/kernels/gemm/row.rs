//! A product whose result is one row: each element of the right operand is used once, so nothing is copied.

use super::{Matrix, Problem};
use crate::dtype::Element;
use crate::kernels::elementary::mul_add;
use crate::kernels::number::Precise;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par, SharedMut};

/// Columns that are combined at a time.
const COLUMNS: usize = 2048;

/// Elements of the right operand that a task combines, and most tasks.
const WORK: usize = 1 << 17;
const TASKS: usize = 16;

/// Columns below which rows are too short to be combined.
const FEW: usize = 32;

/// `c = a b` for a left operand of one row.
struct Combine<'a, T> {
    out: &'a mut [T],
    a: &'a [T],
    b: Matrix<'a, T>,
}

impl<T: Precise> Loop for Combine<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Combine { out, a, b } = self;
        let n = out.len();
        let row = |p: usize| &b.data[b.from(p, 0).offset..][..n];
        let (fours, rest) = a.as_chunks::<4>();
        for (i, a) in fours.iter().enumerate() {
            let [b0, b1, b2, b3] = std::array::from_fn(|j| row(4 * i + j));
            for (j, out) in out.iter_mut().enumerate() {
                let sum = mul_add::<T, I>(a[1], b1[j], mul_add::<T, I>(a[0], b0[j], *out));
                *out = mul_add::<T, I>(a[3], b3[j], mul_add::<T, I>(a[2], b2[j], sum));
            }
        }
        for (i, &a) in rest.iter().enumerate() {
            let row = row(4 * fours.len() + i);
            out.iter_mut().zip(row).for_each(|(out, &b)| *out = mul_add::<T, I>(a, b, *out));
        }
    }
}

/// The inner product of two runs.
struct Dot<'a, T>(&'a [T], &'a [T]);

impl<T: Precise> Loop for Dot<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        const LANES: usize = 64;
        let mut sums = [T::zero(); LANES];
        let ((a, a_rest), (b, b_rest)) = (self.0.as_chunks::<LANES>(), self.1.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                sums[i] = mul_add::<T, I>(a[i], b[i], sums[i]);
            }
        }
        for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *sum = mul_add::<T, I>(a, b, *sum);
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                sums[i] = sums[i] + sums[i + width];
            }
            width /= 2;
        }
        sums[0]
    }
}

/// Whether [`product`] computes this.
pub(super) fn takes<T>(p: &Problem<'_, T>) -> bool {
    p.m == 1 && (p.b.row_stride == 1 || p.b.column_stride == 1 && p.n >= FEW)
}

/// `c = a b`, or `c += a b`.
///
/// # Safety
/// As [`blocked::product`](super::blocked::product).
pub(super) unsafe fn product<T: Precise + Element>(p: &Problem<'_, T>, c: &SharedMut<'_, T>, par: &Par) {
    let mut copy = Scratch::<T>::new(if p.a.column_stride == 1 { 0 } else { p.k });
    copy.iter_mut().enumerate().for_each(|(i, to)| *to = p.a.data[p.a.from(0, i).offset]);
    let a = if p.a.column_stride == 1 { &p.a.data[p.a.offset..][..p.k] } else { &copy[..] };
    // SAFETY: the caller's promise.
    let out = unsafe { c.range(p.start..p.start + p.n) };
    if p.b.row_stride == 1 {
        let columns = (GRAIN / p.k).max(1);
        par.chunks_mut(out, columns, |block, out| {
            for (j, out) in out.iter_mut().enumerate() {
                let b = &p.b.data[p.b.from(0, block * columns + j).offset..][..p.k];
                let dot = simd::run(Dot(a, b));
                *out = if p.add { *out + dot } else { dot };
            }
        });
        return;
    }
    // Tasks have whole rows, which memory is quickest with; what they sum is added in order.
    let tasks = (p.k.saturating_mul(p.n) / WORK).clamp(1, TASKS);
    let rows = p.k.div_ceil(tasks);
    let tasks = p.k.div_ceil(rows);
    let mut more = Scratch::<T>::new((tasks - 1) * p.n);
    if !p.add {
        out.fill(T::zero());
    }
    more.fill(T::zero());
    let combine = |task: usize, out: &mut [T]| {
        let a = &a[task * rows..p.k.min((task + 1) * rows)];
        for (block, out) in out.chunks_mut(COLUMNS).enumerate() {
            simd::run(Combine { out, a, b: p.b.from(task * rows, block * COLUMNS) });
        }
    };
    {
        let (first, rest) = (SharedMut::new(out), SharedMut::new(&mut more));
        par.for_each(tasks, |task| {
            // SAFETY: each task has its own sums.
            unsafe {
                match task {
                    0 => combine(0, first.range(0..p.n)),
                    _ => combine(task, rest.range((task - 1) * p.n..task * p.n)),
                }
            }
        });
    }
    for part in more.chunks(p.n) {
        out.iter_mut().zip(part).for_each(|(out, &v)| *out = *out + v);
    }
}
