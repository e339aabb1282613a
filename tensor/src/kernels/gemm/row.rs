//! A product whose result is one row: each element of the right operand is used once, so nothing is copied.

use super::{Matrix, Problem};
use crate::dtype::Element;
use crate::kernels::elementary::mul_add;
use crate::kernels::number::Precise;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::vector::{Registers, Vector, VectorLoop, sum_of_lanes};
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

/// The inner product of two runs of equal length.
struct Dot<'a, T>(&'a [T], &'a [T]);

/// Registers of sums that do not wait for each other.
const SUMS: usize = 4;

impl<T: Precise + std::ops::AddAssign> VectorLoop<T> for Dot<'_, T> {
    type Output = T;
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) -> T {
        let (n, a, b) = (self.0.len().min(self.1.len()), self.0.as_ptr(), self.1.as_ptr());
        // SAFETY: what is loaded lies below `n`.
        unsafe {
            let mut sums = [V::splat(T::zero()); SUMS];
            let mut at = 0;
            while at + SUMS * V::LANES <= n {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = at + i * V::LANES;
                    *sum = V::load(a.add(at)).mul_add(V::load(b.add(at)), *sum);
                }
                at += SUMS * V::LANES;
            }
            let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            while at < n {
                let width = V::LANES.min(n - at);
                sum = V::load_first(a.add(at), width).mul_add(V::load_first(b.add(at), width), sum);
                at += width;
            }
            sum_of_lanes(sum)
        }
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
pub(super) unsafe fn product<T: Precise + Element + Registers + std::ops::AddAssign>(
    p: &Problem<'_, T>,
    c: &SharedMut<'_, T>,
    par: &Par,
) {
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
                // SAFETY: the loop stays within its runs.
                let dot = unsafe { T::run(Dot(a, b)) };
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
        out.iter_mut().zip(part).for_each(|(out, &v)| *out += v);
    }
}
