//! Dense matrices with rows of whole registers, and the loops that all factorizations share.

use std::ops::{Deref, DerefMut};

use crate::kernels::elementary::mul_add;
use crate::kernels::lanes;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Isa, Loop};
use crate::kernels::transpose::transpose;

/// Columns that rows are padded to a multiple of.
pub const LANES: usize = 8;

/// A row-major matrix. Its rows are padded, at first with zeros, so that loops over them have no rest.
pub struct Rows {
    elements: Scratch<f64>,
    /// The distance from one row to the next.
    pub stride: usize,
}

impl Deref for Rows {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.elements
    }
}

impl DerefMut for Rows {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.elements
    }
}

impl Rows {
    /// Zeros.
    pub fn zeros(rows: usize, columns: usize) -> Rows {
        let stride = columns.next_multiple_of(LANES);
        let mut elements = Scratch::new(rows * stride);
        elements.fill(0.0);
        Rows { elements, stride }
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
}

// The loops below are `for` loops: closures that are called in several places become functions of their own, without the
// instructions of the level.

/// The sum of the products of two rows' elements, of equal number.
#[inline(always)]
pub fn dot<I: Isa>(x: &[f64], y: &[f64]) -> f64 {
    let (xs, rest_x) = x.as_chunks::<{ lanes::LANES }>();
    let (ys, rest_y) = y.as_chunks::<{ lanes::LANES }>();
    let mut rest = 0.0;
    if !xs.is_empty() {
        let mut sums = [0.0; lanes::LANES];
        for (x, y) in xs.iter().zip(ys) {
            for i in 0..lanes::LANES {
                sums[i] = mul_add::<f64, I>(x[i], y[i], sums[i]);
            }
        }
        rest = lanes::sum(lanes::settled(sums));
    }
    let (xs, rest_x) = rest_x.as_chunks::<4>();
    let (ys, rest_y) = rest_y.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..4 {
            sums[i] = mul_add::<f64, I>(x[i], y[i], sums[i]);
        }
    }
    for (&x, &y) in rest_x.iter().zip(rest_y) {
        rest = mul_add::<f64, I>(x, y, rest);
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
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
