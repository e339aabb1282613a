//! A product whose result is one row, or a few: each element of the right operand is used so seldom that nothing is
//! copied, and it is read as memory is quickest with.

use super::{Matrix, Problem};
use crate::dtype::Element;
use crate::kernels::elementary::mul_add;
use crate::kernels::number::Precise;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::vector::{Vector, VectorLoop, sum_of_lanes};
use crate::par::{GRAIN, Par, SharedMut};

/// Columns that are combined at a time.
const COLUMNS: usize = 2048;

/// Elements of the right operand that a task combines, and most tasks.
const WORK: usize = 1 << 17;
const TASKS: usize = 16;

/// Columns below which rows are too short to be combined.
const FEW: usize = 8;

/// Most rows of a result; for more of them than one, the least elements of the right operand, and how much of it is
/// combined with each row in turn: so much stays in the first cache.
const MOST: usize = 5;
const LARGE: usize = 1 << 16;
const NEAR_COLUMNS: usize = 512;
const NEAR_ROWS: usize = 8;

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

/// The same where the result is so short that it stays in registers meanwhile.
struct CombineNarrow<'a, T>(Combine<'a, T>);

/// Most columns of a result that stays in registers.
const NARROW: usize = 64;

impl<T: Precise> VectorLoop<T> for CombineNarrow<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Combine { out, a, b } = self.0;
        let n = out.len();
        if a.is_empty() {
            return;
        }
        // All other rows lie between these.
        assert!([0, a.len() - 1].iter().all(|&p| b.from(p, 0).offset + n <= b.data.len()));
        let mut at = 0;
        while at < n {
            let left = n - at;
            // SAFETY: so many columns are left, in every row.
            at += unsafe {
                match left.div_ceil(V::LANES) {
                    1 => combine::<V, 1>(&mut out[at..], a, b.from(0, at)),
                    2 => combine::<V, 2>(&mut out[at..], a, b.from(0, at)),
                    3 => combine::<V, 3>(&mut out[at..], a, b.from(0, at)),
                    _ => combine::<V, 4>(&mut out[at..], a, b.from(0, at)),
                }
            };
        }
    }
}

/// Adds what `R` registers of columns, or as many columns as there are, make to the first elements of `out`, and says how
/// many they are. Rows at even and at odd places are summed apart, so that fewer sums wait for each other.
///
/// # Safety
/// As [`Vector::splat`], and `b` has a row of as many elements as `out` for each of `a`.
#[inline(always)]
unsafe fn combine<V: Vector, const R: usize>(
    out: &mut [V::Element],
    a: &[V::Element],
    b: Matrix<'_, V::Element>,
) -> usize {
    let n = out.len().min(R * V::LANES);
    // Of the last register; the others are whole.
    let last = n - (R - 1) * V::LANES;
    // SAFETY: the caller promises the rows; of the last register no more is read or written than there is.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); R]; 2];
        macro_rules! row {
            ($p:expr, $sums:expr) => {
                let row = b.data.as_ptr().add(b.from($p, 0).offset);
                let a = V::splat(*a.as_ptr().add($p));
                for r in 0..R - 1 {
                    $sums[r] = a.mul_add(V::load(row.add(r * V::LANES)), $sums[r]);
                }
                let end = row.add((R - 1) * V::LANES);
                $sums[R - 1] = a.mul_add(V::load_first(end, last), $sums[R - 1]);
            };
        }
        for p in 0..a.len() / 2 {
            row!(2 * p, sums[0]);
            row!(2 * p + 1, sums[1]);
        }
        if a.len() % 2 == 1 {
            row!(a.len() - 1, sums[0]);
        }
        let [even, odd] = sums;
        for (r, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            let (to, width) = (out.as_mut_ptr().add(r * V::LANES), if r + 1 < R { V::LANES } else { last });
            even.add(odd).add(V::load_first(to, width)).store_first(to, width);
        }
    }
    n
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
    let in_rows = p.b.column_stride == 1;
    match p.m {
        1 => p.b.row_stride == 1 || in_rows && p.n >= FEW,
        m => m <= MOST && in_rows && p.n >= NEAR_COLUMNS / 2 && p.k * p.n >= LARGE,
    }
}

/// `c = a b`, or `c += a b`.
///
/// # Safety
/// As [`blocked::product`](super::blocked::product).
pub(super) unsafe fn product<T: Precise + Element + std::ops::AddAssign>(
    p: &Problem<'_, T>,
    c: &SharedMut<'_, T>,
    par: &Par,
) {
    let copied = p.a.column_stride != 1;
    let mut copy = Scratch::<T>::new(if copied { p.m * p.k } else { 0 });
    for (i, to) in copy.iter_mut().enumerate() {
        *to = p.a.data[p.a.from(i / p.k, i % p.k).offset];
    }
    let a = |i: usize| if copied { &copy[i * p.k..][..p.k] } else { &p.a.data[p.a.from(i, 0).offset..][..p.k] };
    let place = |i: usize| p.start + i * p.stride..p.start + i * p.stride + p.n;
    if p.m == 1 && p.b.row_stride == 1 {
        // SAFETY: the caller's promise.
        let out = unsafe { c.range(place(0)) };
        let columns = (GRAIN / p.k).max(1);
        par.chunks_mut(out, columns, |block, out| {
            for (j, out) in out.iter_mut().enumerate() {
                let b = &p.b.data[p.b.from(0, block * columns + j).offset..][..p.k];
                // SAFETY: the loop stays within its runs.
                let dot = unsafe { T::run(Dot(a(0), b)) };
                *out = if p.add { *out + dot } else { dot };
            }
        });
        return;
    }
    // Tasks have whole rows, which memory is quickest with; what they sum is added in order.
    let tasks = (p.k.saturating_mul(p.n) / WORK).clamp(1, TASKS);
    let rows = p.k.div_ceil(tasks);
    let tasks = p.k.div_ceil(rows);
    let each = p.m * p.n;
    let mut more = Scratch::<T>::new((tasks - 1) * each);
    more.fill(T::zero());
    for i in 0..if p.add { 0 } else { p.m } {
        // SAFETY: the caller's promise.
        let out = unsafe { c.range(place(i)) };
        match p.bias {
            Some(bias) => out.copy_from_slice(&bias[..p.n]),
            None => out.fill(T::zero()),
        }
    }
    let (wide, deep) = if p.m == 1 { (COLUMNS, p.k) } else { (NEAR_COLUMNS, NEAR_ROWS) };
    {
        let more = SharedMut::new(&mut more);
        par.for_each(tasks, |task| {
            let all = task * rows..p.k.min((task + 1) * rows);
            for (column, at) in (0..p.n).step_by(wide).flat_map(|j| all.clone().step_by(deep).map(move |at| (j, at))) {
                let (n, end) = (wide.min(p.n - column), all.end.min(at + deep));
                for i in 0..p.m {
                    // SAFETY: each task has its own sums, the first one those of the result.
                    let out = unsafe {
                        match task {
                            0 => c.range(place(i).start + column..place(i).start + column + n),
                            _ => more
                                .range((task - 1) * each + i * p.n + column..(task - 1) * each + i * p.n + column + n),
                        }
                    };
                    let combine = Combine { out, a: &a(i)[at..end], b: p.b.from(at, column) };
                    match n {
                        // SAFETY: the loop stays within its slices.
                        0..=NARROW => unsafe { T::run(CombineNarrow(combine)) },
                        _ => simd::run(combine),
                    }
                }
            }
        });
    }
    for part in more.chunks(each.max(1)) {
        for (i, part) in part.chunks(p.n).enumerate() {
            // SAFETY: the caller's promise.
            let out = unsafe { c.range(place(i)) };
            out.iter_mut().zip(part).for_each(|(out, &v)| *out += v);
        }
    }
}
