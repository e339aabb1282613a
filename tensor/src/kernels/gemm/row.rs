//! A product whose result is one row, or a few, or few columns: each element of an operand is used so seldom that nothing is
//! copied, and it is read as memory is quickest with.

use super::{Matrix, Problem};
use crate::dtype::Element;
use crate::kernels::elementary::mul_add;
use crate::kernels::number::Precise;
use crate::kernels::pane::strided_run;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::vector::{Vector, VectorLoop, sum_of_lanes};
use crate::par::{GRAIN, Par, SharedMut};

/// Columns that are combined at a time.
const COLUMNS: usize = 2048;

/// Elements of the right operand that a task combines, and most tasks.
const WORK: usize = 1 << 17;
const TASKS: usize = 16;

/// Columns below which rows are too short to be combined, and inner products are taken.
const FEW: usize = 8;

/// Most rows, or columns, of a result.
const MOST: usize = 5;

/// The least terms of inner products where there are several rows.
const LONG: usize = 256;

/// For several rows, the least elements of the right operand, and how much of it is combined with each row in turn: so
/// much stays in the first cache.
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

/// Adds to each element of `out` the inner product of `a` with a line of `b`; these lie `stride` apart.
struct Dots<'a, T> {
    out: &'a mut [T],
    a: &'a [T],
    b: &'a [T],
    stride: usize,
}

impl<T: Precise + std::ops::AddAssign> VectorLoop<T> for Dots<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Dots { out, a, b, stride } = self;
        let mut j = 0;
        while j < out.len() {
            let (out, b) = (&mut out[j..], &b[j * stride..]);
            // SAFETY: the instruction set is the caller's promise.
            j += unsafe {
                match out.len() {
                    1 => dots::<V, 1, 4>(out, a, b, stride),
                    2 | 3 => dots::<V, 2, 4>(out, a, b, stride),
                    _ => dots::<V, 4, 2>(out, a, b, stride),
                }
            };
        }
    }
}

/// The first `N` of [`Dots`], each in `S` sums that do not wait for each other; says how many they are.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn dots<V: Vector<Element: std::ops::AddAssign>, const N: usize, const S: usize>(
    out: &mut [V::Element],
    a: &[V::Element],
    b: &[V::Element],
    stride: usize,
) -> usize {
    let n = a.len();
    let lines: [_; N] = std::array::from_fn(|j| b[j * stride..][..n].as_ptr());
    let a = a.as_ptr();
    // SAFETY: what is loaded lies below `n`, which `a` and every line have.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); S]; N];
        let mut at = 0;
        while at + S * V::LANES <= n {
            for s in 0..S {
                let at = at + s * V::LANES;
                let a = V::load(a.add(at));
                for (sums, line) in sums.iter_mut().zip(lines) {
                    sums[s] = a.mul_add(V::load(line.add(at)), sums[s]);
                }
            }
            at += S * V::LANES;
        }
        while at < n {
            let width = V::LANES.min(n - at);
            let a = V::load_first(a.add(at), width);
            for (sums, line) in sums.iter_mut().zip(lines) {
                sums[0] = a.mul_add(V::load_first(line.add(at), width), sums[0]);
            }
            at += width;
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            let sum = sums.into_iter().reduce(|a, b| a.add(b)).expect("at least one");
            *out += sum_of_lanes(sum);
        }
    }
    N
}

/// Whether [`product`] computes this.
pub(super) fn takes<T>(p: &Problem<'_, T>) -> bool {
    let in_rows = p.b.column_stride == 1;
    match p.m {
        1 => p.b.row_stride == 1 || in_rows,
        _ if p.n <= MOST => p.k >= LONG && p.b.row_stride == 1 && p.a.column_stride == 1,
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
    let a =
        |i: usize| -> &[T] { if copied { &copy[i * p.k..][..p.k] } else { &p.a.data[p.a.from(i, 0).offset..][..p.k] } };
    let place = |i: usize| p.start + i * p.stride..p.start + i * p.stride + p.n;
    if p.b.row_stride == 1 || p.n < FEW {
        // SAFETY: the caller's promise.
        return unsafe { inner_products(p, a, c, par) };
    }
    // Tasks have whole rows, which memory is quickest with; what they sum is added in order.
    let tasks = (p.k.saturating_mul(p.n) / WORK).clamp(1, TASKS);
    let rows = p.k.div_ceil(tasks);
    let tasks = p.k.div_ceil(rows);
    let each = p.m * p.n;
    let mut more = Scratch::<T>::new((tasks - 1) * each);
    more.fill(T::zero());
    for i in 0..p.m {
        // SAFETY: the caller's promise.
        begin(p, 0, unsafe { c.range(place(i)) });
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

/// Writes what the elements of a row from column `first` on are added to.
fn begin<T: Element>(p: &Problem<'_, T>, first: usize, out: &mut [T]) {
    match p.bias {
        _ if p.add => {}
        Some(bias) => out.copy_from_slice(&bias[first..][..out.len()]),
        None => out.fill(T::default()),
    }
}

/// [`product`] where columns of the right operand are lines, or so few that they are brought into lines.
///
/// # Safety
/// As [`product`].
unsafe fn inner_products<'a, T: Precise + Element + std::ops::AddAssign>(
    p: &Problem<'_, T>,
    a: impl Fn(usize) -> &'a [T] + Sync,
    c: &SharedMut<'_, T>,
    par: &Par,
) {
    let in_place = p.b.row_stride == 1 && p.b.column_stride >= 0;
    let mut lines = Scratch::<T>::new(if in_place { 0 } else { p.n * p.k });
    for (j, line) in lines.chunks_mut(p.k).enumerate() {
        strided_run(line, p.b.data, p.b.from(0, j).offset, p.b.row_stride);
    }
    let (b, stride) = match in_place {
        true => (&p.b.data[p.b.offset..], p.b.column_stride.unsigned_abs()),
        false => (&lines[..], p.k),
    };
    let (columns, rows) = ((GRAIN / p.k).clamp(1, p.n), (GRAIN / p.k / p.n).max(1));
    let across = p.n.div_ceil(columns);
    par.for_each(across * p.m.div_ceil(rows), |task| {
        let (first, row) = (task % across * columns, task / across * rows);
        for i in row..p.m.min(row + rows) {
            let start = p.start + i * p.stride + first;
            // SAFETY: each task has its own columns of its own rows, and the loop stays within its slices.
            unsafe {
                let out = c.range(start..start + columns.min(p.n - first));
                begin(p, first, out);
                T::run(Dots { out, a: a(i), b: &b[first * stride..], stride });
            }
        }
    });
}
