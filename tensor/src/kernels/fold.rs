//! The loops of reductions: rows to one element each, and rows into a row of accumulators.
//!
//! Floats are folded in registers, each element at a place that depends on sizes alone, so the bits are the same for every
//! instruction set.

use std::marker::PhantomData;

use crate::kernels::lanes::LANES as PLACES;
use crate::kernels::number::{Lane, Precise, Real, Whole};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::vector::{MOST_LANES, Vector, VectorLoop};

/// How two floats are folded into one.
pub trait FoldFloats: 'static {
    /// What an empty reduction gives, and what changes nothing that it is folded with.
    const START: f64;
    /// Whether it is asked for so seldom that registers wider than AVX2's are not worth compiling it once more.
    const SELDOM: bool = false;

    /// The fold of two, lane by lane.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn fold<V: Vector>(a: V, b: V) -> V;
}

/// How two integers are folded into one.
pub trait FoldInts: 'static {
    /// The fold of two.
    fn fold<W: Whole>(a: W, b: W) -> W;
}

/// Defines a reduction.
macro_rules! body {
    ($(#[$doc:meta])* $Body:ident from $start:expr, $floats:ident, |$a:ident, $b:ident| $ints:expr $(, $seldom:ident)?) => {
        $(#[$doc])*
        pub struct $Body;
        impl FoldFloats for $Body {
            const START: f64 = $start;
            $(const $seldom: bool = true;)?
            #[inline(always)]
            unsafe fn fold<V: Vector>(a: V, b: V) -> V {
                // SAFETY: the caller's promise.
                unsafe { a.$floats(b) }
            }
        }
        impl FoldInts for $Body {
            #[inline(always)]
            fn fold<W: Whole>($a: W, $b: W) -> W {
                $ints
            }
        }
    };
}
body!(
    /// The sum.
    Sum from 0.0, add, |a, b| a.wrapping_add(&b)
);
body!(
    /// The product.
    Product from 1.0, mul, |a, b| a.wrapping_mul(&b), SELDOM
);
body!(
    /// The largest element; NaN if there is one.
    Max from f64::NEG_INFINITY, max, |a, b| a.max(b)
);
body!(
    /// The smallest element; NaN if there is one.
    Min from f64::INFINITY, min, |a, b| a.min(b)
);

/// The loops of a reduction over elements of type `C`.
#[derive(Clone, Copy)]
pub struct Fold<C> {
    /// What an empty reduction gives.
    pub start: C,
    /// Folds rows of `n` elements, which begin `stride` elements apart in `x`, into one element each.
    pub rows: fn(out: &mut [C], x: &[C], stride: usize, n: usize),
    /// Folds a number of rows of elements into a row of results; the rows begin `stride` elements apart.
    pub columns: fn(acc: &mut [C], x: &[C], stride: usize, rows: usize),
}

impl<C: Copy> Fold<C> {
    /// The fold of a dense run.
    pub fn run(&self, x: &[C]) -> C {
        let mut out = [self.start];
        (self.rows)(&mut out, x, x.len(), x.len());
        out[0]
    }

    /// The fold of two.
    pub fn pair(&self, a: C, b: C) -> C {
        let mut out = [a];
        (self.columns)(&mut out, &[b], 1, 1);
        out[0]
    }
}

/// Whether `rows` rows of `n` elements, `stride` apart, lie within `x`.
fn within<T>(x: &[T], rows: usize, stride: usize, n: usize) -> bool {
    rows == 0 || stride.checked_mul(rows - 1).and_then(|last| last.checked_add(n)).is_some_and(|end| end <= x.len())
}

/// The loops of a float reduction.
pub fn floats<B: FoldFloats, T: Precise>() -> Fold<T> {
    Fold {
        start: start::<B, T>(),
        rows: |out, x, stride, n| {
            assert!(within(x, out.len(), stride, n));
            // SAFETY: the rows lie within `x`.
            unsafe { run::<B, T>(Rows::<B, T> { out, x, stride, n, body: PhantomData }) }
        },
        columns: |acc, x, stride, rows| {
            assert!(within(x, rows, stride, acc.len()));
            // SAFETY: the rows lie within `x`.
            unsafe { run::<B, T>(Columns::<B, T> { acc, x, stride, rows, body: PhantomData }) }
        },
    }
}

/// Runs a loop with the registers that are worth compiling it for.
///
/// # Safety
/// As [`Registers::run`](crate::kernels::vector::Registers::run).
unsafe fn run<B: FoldFloats, T: Precise>(l: impl VectorLoop<T, Output = ()>) {
    // SAFETY: the caller's promise.
    unsafe { if const { B::SELDOM } { T::run_narrow(l) } else { T::run(l) } }
}

fn start<B: FoldFloats, T: Precise>() -> T {
    Lane::<T, simd::Plain>::lit(B::START).0
}

/// Rows to one element each.
struct Rows<'a, B, T> {
    out: &'a mut [T],
    x: &'a [T],
    stride: usize,
    n: usize,
    body: PhantomData<B>,
}

impl<B: FoldFloats, T: Precise> VectorLoop<T> for Rows<'_, B, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Rows { out, x, stride, n, .. } = self;
        // SAFETY: the caller's promises.
        unsafe {
            if let [out] = out {
                let (mut all, mut lanes) = (row::<B, V>(x.as_ptr(), n), [T::zero(); MOST_LANES]);
                for _ in 0..V::LANES.ilog2() {
                    let [low, high] = all.interleave(all);
                    all = B::fold(low, high);
                }
                all.store(lanes.as_mut_ptr());
                *out = lanes[0];
                return;
            }
            let none = V::splat(start::<B, T>());
            let mut beside = [none; MOST_LANES];
            for (i, out) in out.chunks_mut(V::LANES).enumerate() {
                let x = |j: usize| x.as_ptr().add((i * V::LANES + j) * stride);
                let rows = beside.iter_mut().enumerate().take(out.len());
                match n <= V::LANES {
                    true => rows.for_each(|(j, beside)| *beside = B::fold(none, none.with_first(x(j), n))),
                    false => rows.for_each(|(j, beside)| *beside = row::<B, V>(x(j), n)),
                }
                match out.len() == V::LANES {
                    true => join::<B, V>(&mut beside, V::LANES),
                    false => join::<B, V>(&mut beside, out.len()),
                }
                beside[0].store_first(out.as_mut_ptr(), out.len());
            }
        }
    }
}

/// Joins the lanes of each of the first `count` registers; what they come to is in the lanes of the first one.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn join<B: FoldFloats, V: Vector>(registers: &mut [V; MOST_LANES], count: usize) {
    let mut width = V::LANES / 2;
    while width > 0 {
        for j in 0..width.min(count) {
            // In turn the lower halves of two registers and their upper halves: each lane is folded with the one half a
            // register on, and in the end each register's is where it belongs.
            // SAFETY: the caller's promise.
            registers[j] = unsafe {
                let [low, high] = registers[j].interleave(registers[j + width]);
                B::fold(low, high)
            };
        }
        width /= 2;
    }
}

/// Elements folded at a time, so that rounding errors grow with the number of stretches and their length, not with
/// their product.
const STRETCH: usize = 4096;

/// Registers that have all places, over all instruction sets.
const MOST_REGISTERS: usize = 8;

/// Folds a row into one register.
///
/// # Safety
/// As [`Vector::splat`], and the row is there.
#[inline(always)]
unsafe fn row<B: FoldFloats, V: Vector<Element: Precise>>(x: *const V::Element, n: usize) -> V {
    // SAFETY: the caller's promises; of what is not there nothing is read.
    unsafe {
        let none = V::splat(start::<B, V::Element>());
        let registers = PLACES / V::LANES;
        let (mut total, mut at) = (none, 0);
        while at < n {
            let end = n.min(at + STRETCH);
            let mut acc = [none; MOST_REGISTERS];
            // Two at a time: half as many folds wait for one before.
            while at + 2 * PLACES <= end {
                for (r, acc) in acc.iter_mut().enumerate().take(registers) {
                    let a = V::load(x.add(at + r * V::LANES));
                    let b = V::load(x.add(at + PLACES + r * V::LANES));
                    *acc = B::fold(*acc, B::fold(a, b));
                }
                at += 2 * PLACES;
            }
            while at < end {
                for (r, acc) in acc.iter_mut().enumerate().take(registers) {
                    let from = at + r * V::LANES;
                    if from >= end {
                        break;
                    }
                    *acc = B::fold(*acc, none.with_first(x.add(from), V::LANES.min(end - from)));
                }
                at += PLACES;
            }
            let mut half = registers / 2;
            while half > 0 {
                for r in 0..half {
                    acc[r] = B::fold(acc[r], acc[r + half]);
                }
                half /= 2;
            }
            total = B::fold(total, acc[0]);
        }
        total
    }
}

/// Rows into a row of accumulators.
struct Columns<'a, B, T> {
    acc: &'a mut [T],
    x: &'a [T],
    stride: usize,
    rows: usize,
    body: PhantomData<B>,
}

/// Rows that are folded together, before the accumulators are.
const TOGETHER: usize = 4;

/// Registers of accumulators that stay where they are while the rows go by.
const NARROW: usize = 4;

impl<B: FoldFloats, T: Precise> VectorLoop<T> for Columns<'_, B, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Columns { acc, x, stride, rows, .. } = self;
        // SAFETY: the caller's promise: so many columns are left, in every row.
        unsafe {
            if const { V::NATIVE } && acc.len() <= NARROW * V::LANES {
                let x = x.as_ptr();
                return match acc.len().div_ceil(V::LANES) {
                    1 => columns::<B, V, 1>(acc, x, stride, rows),
                    2 => columns::<B, V, 2>(acc, x, stride, rows),
                    3 => columns::<B, V, 3>(acc, x, stride, rows),
                    _ => columns::<B, V, NARROW>(acc, x, stride, rows),
                };
            }
            // Rows go by as they lie in memory.
            for row in (0..rows).step_by(TOGETHER) {
                for (j, acc) in acc.chunks_mut(V::LANES).enumerate() {
                    let x = x.as_ptr().add(row * stride + j * V::LANES);
                    columns::<B, V, 1>(acc, x, stride, TOGETHER.min(rows - row));
                }
            }
        }
    }
}

/// Folds rows of `R` registers, the last of which may be cut short.
///
/// # Safety
/// As [`Vector::splat`], and so many rows of as many elements as `acc` are there.
#[inline(always)]
unsafe fn columns<B: FoldFloats, V: Vector, const R: usize>(
    acc: &mut [V::Element],
    x: *const V::Element,
    stride: usize,
    rows: usize,
) {
    if acc.is_empty() {
        return;
    }
    let (n, acc) = (acc.len(), acc.as_mut_ptr());
    let width = |r: usize| if r + 1 < R { V::LANES } else { n - r * V::LANES };
    // SAFETY: the caller's promises.
    unsafe {
        let load = |from: *const V::Element, r: usize| match width(r) == V::LANES {
            true => V::load(from.add(r * V::LANES)),
            false => V::load_first(from.add(r * V::LANES), width(r)),
        };
        let (mut sums, mut row) = ([V::splat(V::Element::default()); R], x);
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum = load(acc, r);
        }
        for _ in 0..rows / TOGETHER {
            for (r, sum) in sums.iter_mut().enumerate() {
                let at = |i: usize| load(row.add(i * stride), r);
                *sum = B::fold(*sum, B::fold(B::fold(at(0), at(1)), B::fold(at(2), at(3))));
            }
            row = row.wrapping_add(TOGETHER * stride);
        }
        for _ in 0..rows % TOGETHER {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = B::fold(*sum, load(row, r));
            }
            row = row.wrapping_add(stride);
        }
        for (r, sum) in sums.into_iter().enumerate() {
            sum.store_first(acc.add(r * V::LANES), width(r));
        }
    }
}

/// The loops of an integer reduction that starts at `start`.
pub fn ints<B: FoldInts, W: Whole>(start: W) -> Fold<W> {
    struct Rows<'a, B, W>(&'a mut [W], &'a [W], usize, usize, PhantomData<B>);
    impl<B: FoldInts, W: Whole> Loop for Rows<'_, B, W> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (i, o) in self.0.iter_mut().enumerate() {
                for &v in &self.1[i * self.2..][..self.3] {
                    *o = B::fold(*o, v);
                }
            }
        }
    }
    struct Columns<'a, B, W>(&'a mut [W], &'a [W], usize, usize, PhantomData<B>);
    impl<B: FoldInts, W: Whole> Loop for Columns<'_, B, W> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for row in 0..self.3 {
                let row = &self.1[row * self.2..][..self.0.len()];
                for (a, &v) in self.0.iter_mut().zip(row) {
                    *a = B::fold(*a, v);
                }
            }
        }
    }
    Fold {
        start,
        rows: |out, x, stride, n| simd::run_narrow(Rows::<B, W>(out, x, stride, n, PhantomData)),
        columns: |acc, x, stride, rows| simd::run_narrow(Columns::<B, W>(acc, x, stride, rows, PhantomData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, whose sums are exact, one of which may be NaN.
    fn numbers<T: Precise>(n: usize, nan: Option<usize>) -> Vec<T> {
        (0..n).map(|i| T::from(if nan == Some(i) { f64::NAN } else { (i * 7 % 23) as f64 - 9.0 }).unwrap()).collect()
    }

    fn check<T: Precise + std::fmt::Debug>() {
        let value = |x: T| x.to_f64().unwrap();
        let sum = |x: &mut dyn Iterator<Item = T>| x.map(value).sum::<f64>();
        let largest = |x: &mut dyn Iterator<Item = T>| {
            x.map(value).fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
        };
        let same = |got: T, want: f64, what: std::fmt::Arguments<'_>| {
            assert!(value(got) == want || got.is_nan() && want.is_nan(), "{got:?} for {want}: {what}");
        };
        let (sums, extremes) = (floats::<Sum, T>(), floats::<Max, T>());
        for n in (0..70).chain([STRETCH - 1, STRETCH, STRETCH + 1, 2 * STRETCH + 33]) {
            for (rows, stride) in [(1, n), (2, n + 1), (16, n), (17, n + 2), (35, n)] {
                // As short as can be: what reads beyond is found by the tests for memory errors.
                let length = (rows - 1) * stride + n;
                for nan in [None, length.checked_sub(1), Some(length / 2)] {
                    let x = numbers::<T>(length, nan);
                    let (mut a, mut b) = (vec![T::zero(); rows], vec![T::zero(); rows]);
                    (sums.rows)(&mut a, &x, stride, n);
                    (extremes.rows)(&mut b, &x, stride, n);
                    for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
                        let row = &x[i * stride..][..n];
                        same(a, sum(&mut row.iter().copied()), format_args!("row {i} of {rows}, {n} long"));
                        same(
                            b,
                            largest(&mut row.iter().copied()),
                            format_args!("row {i} of {rows}, {n} long, largest"),
                        );
                    }
                }
            }
        }
        for n in (0..70).chain([129, 200]) {
            for (rows, stride) in [(0usize, n), (1, n), (3, n + 1), (4, n), (9, n + 5)] {
                let length = rows.checked_sub(1).map_or(0, |last| last * stride + n);
                for nan in [None, length.checked_sub(1), Some(length / 2)] {
                    let (x, before) = (numbers::<T>(length, nan), numbers::<T>(n, None));
                    let (mut a, mut b) = (before.clone(), before.clone());
                    (sums.columns)(&mut a, &x, stride, rows);
                    (extremes.columns)(&mut b, &x, stride, rows);
                    for j in 0..n {
                        let column = || (0..rows).map(|i| x[i * stride + j]).chain([before[j]]);
                        same(a[j], sum(&mut column()), format_args!("column {j} of {n}, {rows} rows"));
                        same(b[j], largest(&mut column()), format_args!("column {j} of {n}, {rows} rows, largest"));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_and_columns_are_folded_as_one_by_one() {
        check::<f32>();
        check::<f64>();
    }

    #[test]
    #[should_panic(expected = "within")]
    fn rows_that_leave_their_slice_are_refused() {
        (floats::<Sum, f32>().rows)(&mut [0.0; 3], &[1.0; 11], 4, 4);
    }
}
