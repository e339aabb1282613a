//! Dense matrices with rows of whole registers, and the loops that all factorizations share.

use std::ops::{Deref, DerefMut};

use smallvec::{SmallVec, smallvec};

use crate::kernels::elementary::mul_add;
use crate::kernels::simd::{Isa, Loop};
use crate::kernels::transpose::transpose;

/// Columns that rows are padded to a multiple of.
pub const LANES: usize = 8;

/// A cache line.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f64; LANES]);

/// A row-major matrix. Its rows are padded, at first with zeros, so that loops over them have no rest.
#[derive(Clone)]
pub struct Rows {
    // Small ones, of which batches are made, need no memory of their own.
    lines: SmallVec<[Line; LANES]>,
    /// The distance from one row to the next.
    pub stride: usize,
}

impl Deref for Rows {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        bytemuck::cast_slice(&self.lines)
    }
}

impl DerefMut for Rows {
    fn deref_mut(&mut self) -> &mut [f64] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl Rows {
    /// Zeros.
    pub fn zeros(rows: usize, columns: usize) -> Rows {
        let lines = columns.div_ceil(LANES);
        Rows { lines: smallvec![Line([0.0; LANES]); rows * lines], stride: lines * LANES }
    }

    /// A copy of a dense matrix.
    pub fn of(a: &[f64], columns: usize) -> Rows {
        let mut own = Rows::zeros(a.len() / columns, columns);
        own.iter_rows_mut().zip(a.chunks_exact(columns)).for_each(|(own, a)| own[..columns].copy_from_slice(a));
        own
    }

    /// A transposed copy of a dense matrix.
    pub fn transposed(a: &[f64], columns: usize) -> Rows {
        let rows = a.len() / columns;
        let mut own = Rows::zeros(columns, rows);
        let stride = own.stride;
        transpose(&mut own, stride, a, columns, rows, columns);
        own
    }

    /// A transposed copy, of `columns` columns.
    pub fn turned(&self, columns: usize) -> Rows {
        let rows = self.len() / self.stride;
        let mut own = Rows::zeros(columns, rows);
        let stride = own.stride;
        transpose(&mut own, stride, self, self.stride, rows, columns);
        own
    }

    /// Ones on the diagonal.
    pub fn identity(n: usize) -> Rows {
        let mut own = Rows::zeros(n, n);
        (0..n).for_each(|i| own.row_mut(i)[i] = 1.0);
        own
    }

    pub fn row(&self, i: usize) -> &[f64] {
        let stride = self.stride;
        &self[i * stride..][..stride]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        let stride = self.stride;
        &mut self[i * stride..][..stride]
    }

    pub fn iter_rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.chunks_exact(self.stride)
    }

    pub fn iter_rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, f64> {
        let stride = self.stride;
        self.chunks_exact_mut(stride)
    }

    pub fn swap_rows(&mut self, i: usize, j: usize) {
        let (i, j, stride) = (i.min(j), i.max(j), self.stride);
        let (head, tail) = self.split_at_mut(j * stride);
        head[i * stride..][..stride].swap_with_slice(&mut tail[..stride]);
    }

    /// Copies the first `columns` of each row to a dense matrix.
    pub fn write(&self, out: &mut [f64], columns: usize) {
        out.chunks_exact_mut(columns).zip(self.iter_rows()).for_each(|(out, own)| out.copy_from_slice(&own[..columns]));
    }
}

// The loops below are `for` loops: closures that are called in several places become functions of their own, without the
// instructions of the level.

/// The sum of the products of two rows' elements.
#[inline(always)]
pub fn dot<I: Isa>(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = Sums::default();
    sums.add_products::<I>(x, y);
    sums.total()
}

/// Sums side by side, which do not wait for each other.
pub struct Sums([f64; Sums::LANES]);

impl Default for Sums {
    #[inline(always)]
    fn default() -> Sums {
        Sums([0.0; Sums::LANES])
    }
}

impl Sums {
    const LANES: usize = 4 * LANES;

    #[inline(always)]
    pub fn add_products<I: Isa>(&mut self, x: &[f64], y: &[f64]) {
        let n = x.len().min(y.len());
        let (wide, whole) = (n - n % Sums::LANES, n - n % LANES);
        let (x, y) = (&x[..n], &y[..n]);
        for (x, y) in x[..wide].chunks_exact(Sums::LANES).zip(y[..wide].chunks_exact(Sums::LANES)) {
            for i in 0..Sums::LANES {
                self.0[i] = mul_add::<f64, I>(x[i], y[i], self.0[i]);
            }
        }
        for (x, y) in x[wide..whole].chunks_exact(LANES).zip(y[wide..whole].chunks_exact(LANES)) {
            for i in 0..LANES {
                self.0[i] = mul_add::<f64, I>(x[i], y[i], self.0[i]);
            }
        }
        for i in whole..n {
            self.0[i - whole] = mul_add::<f64, I>(x[i], y[i], self.0[i - whole]);
        }
    }

    /// All together.
    #[inline(always)]
    pub fn total(self) -> f64 {
        // Out of registers first: else the compiler takes them apart for the loop's sake.
        let sums = std::hint::black_box(self.0);
        let mut eight = [0.0; LANES];
        for i in 0..LANES {
            eight[i] = (sums[i] + sums[LANES + i]) + (sums[2 * LANES + i] + sums[3 * LANES + i]);
        }
        let [a, b, c, d, e, f, g, h] = eight;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

/// `y += by x`.
#[inline(always)]
pub fn add_scaled<I: Isa>(y: &mut [f64], by: f64, x: &[f64]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = mul_add::<f64, I>(by, x, *y);
    }
}

/// `c += sign a b`, where `c` has `m` rows, `a` `m` by `k` elements, and `b` `k` rows.
///
/// The rows of `c` and of `b` are of `n` elements, a multiple of [`LANES`].
pub struct AddProduct<'a> {
    pub sizes: [usize; 3],
    pub sign: f64,
    /// From the first element on, and the distance between rows.
    pub c: (&'a mut [f64], usize),
    /// From the first element on, and the distances between rows and between columns.
    pub a: (&'a [f64], [usize; 2]),
    /// From the first element on, and the distance between rows.
    pub b: (&'a [f64], usize),
}

impl Loop for AddProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        // So many columns of 16 rows of `b` stay in the first cache.
        const COLUMNS: usize = 128;
        let AddProduct { sizes: [m, k, n], sign, c: (c, c_stride), a: (a, [row, column]), b: (b, b_stride) } = self;
        for start in (0..n).step_by(COLUMNS) {
            let width = COLUMNS.min(n - start);
            let mut i = 0;
            while i < m {
                let two = i + 1 < m;
                let (upper, lower) = c[i * c_stride + start..].split_at_mut(if two { c_stride } else { width });
                let (upper, lower) = (&mut upper[..width], &mut lower[..if two { width } else { 0 }]);
                let mut q = 0;
                while q < k {
                    let at = |i: usize, q: usize| sign * a[i * row + q * column];
                    let b = &b[q * b_stride + start..];
                    if q + 4 <= k {
                        let x = [at(i, q), at(i, q + 1), at(i, q + 2), at(i, q + 3)];
                        let b = [b, &b[b_stride..], &b[2 * b_stride..], &b[3 * b_stride..]];
                        if two {
                            let i = i + 1;
                            add_four_to_two::<I>(
                                upper,
                                lower,
                                x,
                                [at(i, q), at(i, q + 1), at(i, q + 2), at(i, q + 3)],
                                b,
                            );
                        } else {
                            add_four::<I>(upper, x, b);
                        }
                        q += 4;
                    } else {
                        add_scaled::<I>(upper, at(i, q), b);
                        if two {
                            add_scaled::<I>(lower, at(i + 1, q), b);
                        }
                        q += 1;
                    }
                }
                i += 2;
            }
        }
    }
}

/// Adds four rows, each times its own number.
#[inline(always)]
fn add_four<I: Isa>(to: &mut [f64], by: [f64; 4], [a, b, c, d]: [&[f64]; 4]) {
    let n = to.len();
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for i in 0..n {
        let sum = mul_add::<f64, I>(by[1], b[i], mul_add::<f64, I>(by[0], a[i], to[i]));
        to[i] = mul_add::<f64, I>(by[3], d[i], mul_add::<f64, I>(by[2], c[i], sum));
    }
}

/// [`add_four`] to two rows: each element is loaded once for two products.
#[inline(always)]
fn add_four_to_two<I: Isa>(x: &mut [f64], y: &mut [f64], by: [f64; 4], of: [f64; 4], [a, b, c, d]: [&[f64]; 4]) {
    let n = x.len();
    let (y, a, b, c, d) = (&mut y[..n], &a[..n], &b[..n], &c[..n], &d[..n]);
    for i in 0..n {
        let sum = mul_add::<f64, I>(by[1], b[i], mul_add::<f64, I>(by[0], a[i], x[i]));
        x[i] = mul_add::<f64, I>(by[3], d[i], mul_add::<f64, I>(by[2], c[i], sum));
        let sum = mul_add::<f64, I>(of[1], b[i], mul_add::<f64, I>(of[0], a[i], y[i]));
        y[i] = mul_add::<f64, I>(of[3], d[i], mul_add::<f64, I>(of[2], c[i], sum));
    }
}
