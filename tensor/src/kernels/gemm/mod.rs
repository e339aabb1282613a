//! The gemm family: matrix products, behind one seam.
//!
//! Floats are multiplied block by block (`blocked`), with the innermost loops written for the registers of each
//! instruction set (`tile`). Work is split by size alone, and each element is summed in one order, so the bits are the
//! same for any number of threads.

pub(in crate::kernels) mod blocked;
pub(in crate::kernels) mod pack;
mod row;
pub(in crate::kernels) mod tile;

use crate::dtype::Element;
use crate::par::{Par, SharedMut};

/// A matrix in a slice: element `(i, j)` is at `offset + i * rows + j * columns`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The slice.
    pub data: &'a [T],
    /// Where element (0, 0) lies.
    pub offset: usize,
    /// The distance from one row to the next.
    pub row_stride: isize,
    /// The distance from one column to the next.
    pub column_stride: isize,
}

impl<'a, T> Matrix<'a, T> {
    /// A dense row-major matrix with `columns` columns.
    pub fn dense(data: &'a [T], columns: usize) -> Matrix<'a, T> {
        Matrix { data, offset: 0, row_stride: columns as isize, column_stride: 1 }
    }

    /// The transposed matrix.
    pub fn t(self) -> Matrix<'a, T> {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The matrix from row `i` and column `j` on.
    pub fn from(self, i: usize, j: usize) -> Matrix<'a, T> {
        let offset = self.offset as isize + i as isize * self.row_stride + j as isize * self.column_stride;
        Matrix { offset: offset as usize, ..self }
    }

    /// Checks that a matrix of this size lies within the slice.
    fn check(&self, rows: usize, columns: usize) {
        let reach = |n: usize, stride: isize| (n as isize - 1) * stride;
        let (r, c) = (reach(rows, self.row_stride), reach(columns, self.column_stride));
        let low = self.offset as isize + r.min(0) + c.min(0);
        let high = self.offset as isize + r.max(0) + c.max(0);
        assert!(low >= 0 && (high as usize) < self.data.len(), "matrix reaches outside its slice");
    }
}

/// A product: `c = a b`, or `c += a b` where `add` is set. `a` is `m` by `k`, `b` is `k` by `n`, and `c` is `m` by `n`,
/// its element (0, 0) at `start`, with rows `stride` apart and dense within each.
#[derive(Clone, Copy)]
pub struct Problem<'a, T> {
    m: usize,
    k: usize,
    n: usize,
    a: Matrix<'a, T>,
    b: Matrix<'a, T>,
    start: usize,
    stride: usize,
    add: bool,
    /// Where nothing else is added, a number for each column of a result of more rows and columns than one.
    bias: Option<&'a [T]>,
}

impl<T: Copy> Problem<'_, T> {
    /// The transposed product of a result of one column: it lies where the column does.
    fn t(&self) -> Self {
        Problem { m: 1, n: self.m, a: self.b.t(), b: self.a.t(), stride: self.m, ..*self }
    }
}

/// An element type that matrices of which can be multiplied.
pub trait Product: Element {
    /// Computes the product, whose sizes are above 0.
    ///
    /// # Safety
    /// The operands lie within their slices, and the result within `c`, where no other thread uses its elements.
    unsafe fn product(p: &Problem<'_, Self>, c: &SharedMut<'_, Self>, par: &Par);
}

macro_rules! float_product {
    ($($t:ident),*) => {$(
        impl Product for $t {
            unsafe fn product(p: &Problem<'_, $t>, c: &SharedMut<'_, $t>, par: &Par) {
                // The result's only column lies as a row does.
                let p = if p.n == 1 && p.stride == 1 { &p.t() } else { p };
                // SAFETY: the caller's promise.
                unsafe { if row::takes(p) { row::product(p, c, par) } else { blocked::product(p, c, par) } }
            }
        }
    )*};
}
float_product!(f32, f64);

macro_rules! int_product {
    ($($t:ident),*) => {$(
        impl Product for $t {
            unsafe fn product(p: &Problem<'_, $t>, c: &SharedMut<'_, $t>, par: &Par) {
                par.for_each(p.m, |i| {
                    let start = p.start + i * p.stride;
                    // SAFETY: each task writes its own row, which the caller promises to be there.
                    for (j, c) in unsafe { c.range(start..start + p.n) }.iter_mut().enumerate() {
                        let terms = (0..p.k).map(|q| p.a.data[p.a.from(i, q).offset].wrapping_mul(p.b.data[p.b.from(q, j).offset]));
                        *c = terms.fold(if p.add { *c } else { 0 }, $t::wrapping_add);
                    }
                });
            }
        }
    )*};
}
int_product!(i64, i32, u8, i8);

/// `c = a b`, or `c += a b` where `add` is set; `a` is `m` by `k`, `b` is `k` by `n`, `c` is dense.
///
/// # Panics
/// If a matrix reaches outside its slice.
#[allow(clippy::too_many_arguments)] // the parameters of a matrix product
pub fn gemm<T: Product>(
    m: usize,
    k: usize,
    n: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    add: bool,
    par: &Par,
) {
    assert_eq!(c.len(), m * n, "the output has another size");
    // SAFETY: `c` is borrowed mutably.
    unsafe { multiply(&Problem { m, k, n, a, b, start: 0, stride: n, add, bias: None }, &SharedMut::new(c), par) };
}

/// `c = a b + bias`, where `bias` has a number for each column; the rest as in [`gemm`].
///
/// # Panics
/// If a matrix reaches outside its slice, or the bias has another size.
#[allow(clippy::too_many_arguments)] // the parameters of a matrix product
pub fn affine<T: Product + tile::Tiled>(
    m: usize,
    k: usize,
    n: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    bias: &[T],
    c: &mut [T],
    par: &Par,
) {
    assert_eq!((c.len(), bias.len()), (m * n, n), "the output or the bias has another size");
    // Few kernels know of a bias: what they add to holds it.
    let add = m == 1 || n == 1 || k == 0;
    if add && n > 0 {
        c.chunks_mut(n).for_each(|row| row.copy_from_slice(bias));
    }
    let bias = (!add).then_some(bias);
    // SAFETY: `c` is borrowed mutably.
    unsafe { multiply(&Problem { m, k, n, a, b, start: 0, stride: n, add, bias }, &SharedMut::new(c), par) };
}

/// Computes a product.
///
/// # Safety
/// No one else uses these elements of `c` meanwhile.
///
/// # Panics
/// If a matrix reaches outside its slice.
unsafe fn multiply<T: Product>(p: &Problem<'_, T>, c: &SharedMut<'_, T>, par: &Par) {
    let Problem { m, k, n, start, stride, .. } = *p;
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && start + (m - 1) * stride + n <= c.len, "the output reaches outside its slice");
    if k == 0 {
        for i in 0..if p.add { 0 } else { m } {
            // SAFETY: the caller promises that no one else uses these elements.
            unsafe { c.range(start + i * stride..start + i * stride + n) }.fill(T::default());
        }
        return;
    }
    p.a.check(m, k);
    p.b.check(k, n);
    // SAFETY: `check` found `a` and `b` within their slices, and the assertion `c` within its own, which is borrowed
    // mutably, so that it overlaps neither; the caller promises that no one else uses its elements.
    unsafe { T::product(p, c, par) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_threads;

    /// Numbers whose products and short sums are exact, so that every order of summation gives the same.
    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7 + seed * 13) % 11) as f64 - 5.0).collect()
    }

    fn naive(m: usize, k: usize, n: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for (i, row) in c.chunks_mut(n.max(1)).enumerate() {
            for (j, c) in row.iter_mut().enumerate() {
                *c = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
            }
        }
        c
    }

    /// One row, one column, few columns, tiles cut short, several slabs, tasks, and groups of columns; few rows and much on
    /// the right.
    const SIZES: [(usize, usize, usize); 22] = [
        (20, 270, 3),
        (40, 256, 5),
        (1, 300, 3),
        (1, 1, 1),
        (4, 4, 4),
        (8, 7, 16),
        (21, 13, 9),
        (1, 51, 20),
        (1, 6, 61),
        (3, 5, 2),
        (17, 33, 9),
        (1, 300, 70),
        (70, 300, 1),
        (5, 17, 48),
        (33, 40, 96),
        (260, 90, 130),
        (128, 128, 300),
        (15, 400, 23),
        (4, 0, 3),
        (18, 2000, 2200),
        (3, 250, 530),
        (5, 1003, 260),
    ];

    #[test]
    fn products_are_those_of_the_definition_for_any_strides_and_threads() {
        for (m, k, n) in SIZES {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let want = naive(m, k, n, &a, &b);
            let twice: Vec<f64> = want.iter().map(|x| 2.0 * x).collect();
            // The transposed matrices, stored so that turning them gives `a` and `b` again.
            let turned = |x: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
            };
            // Every other element of each other row, from the last row on.
            let apart = |x: &[f64], columns: usize| -> Vec<f64> {
                let rows = x.chunks(columns.max(1)).rev();
                rows.flat_map(|row| row.iter().flat_map(|&v| [v, f64::NAN]).chain(vec![f64::NAN; 2 * columns]))
                    .collect()
            };
            let (at, bt) = (turned(&a, m, k), turned(&b, k, n));
            let (a_apart, b_apart) = (apart(&a, k), apart(&b, n));
            let scattered = |data, rows: usize, columns: usize| Matrix {
                data,
                offset: (rows.max(1) - 1) * 4 * columns,
                row_stride: -4 * columns as isize,
                column_stride: 2,
            };
            for threads in [1, 2, 3] {
                let par = with_threads(threads, Par::current);
                let mut c = vec![f64::NAN; m * n];
                let (dense_a, dense_b) = (Matrix::dense(&a, k), Matrix::dense(&b, n));
                gemm(m, k, n, dense_a, dense_b, &mut c, false, &par);
                assert_eq!(c, want, "{m} {k} {n}");
                gemm(m, k, n, Matrix::dense(&at, m).t(), Matrix::dense(&bt, k).t(), &mut c, true, &par);
                assert_eq!(c, twice, "{m} {k} {n} turned, added");
                gemm(m, k, n, scattered(&a_apart, m, k), scattered(&b_apart, k, n), &mut c, false, &par);
                assert_eq!(c, want, "{m} {k} {n} scattered");
                let bias = numbers(n, 5);
                let with_bias: Vec<f64> = want.iter().zip(bias.iter().cycle()).map(|(x, bias)| x + bias).collect();
                affine(m, k, n, dense_a, dense_b, &bias, &mut c, &par);
                assert_eq!(c, with_bias, "{m} {k} {n} with a bias");
                // Columns of a wider matrix, whose others stay.
                let mut wide = vec![7.0; m * (n + 3)];
                // SAFETY: no one else has `wide`.
                unsafe {
                    let p =
                        Problem { m, k, n, a: dense_a, b: dense_b, start: 2, stride: n + 3, add: false, bias: None };
                    multiply(&p, &SharedMut::new(&mut wide), &par);
                }
                for (row, want) in wide.chunks(n + 3).zip(want.chunks(n)) {
                    assert_eq!(
                        (&row[..2], &row[2..n + 2], row[n + 2]),
                        (&[7.0; 2][..], want, 7.0),
                        "{m} {k} {n} within"
                    );
                }
            }
        }
    }

    #[test]
    fn single_precision_and_integers_are_multiplied_alike() {
        for (m, k, n) in SIZES.into_iter().take(19) {
            let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
            let want = naive(m, k, n, &a, &b);
            fn of<T: Product>(m: usize, k: usize, n: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
                let (a, b): (Vec<T>, Vec<T>) =
                    (a.iter().map(|&x| T::from_f64(x)).collect(), b.iter().map(|&x| T::from_f64(x)).collect());
                let mut c = vec![T::default(); m * n];
                gemm(m, k, n, Matrix::dense(&a, k), Matrix::dense(&b, n), &mut c, false, &Par::sequential());
                c.into_iter().map(T::to_f64).collect()
            }
            assert_eq!(of::<f32>(m, k, n, &a, &b), want, "{m} {k} {n}");
            assert_eq!(of::<i64>(m, k, n, &a, &b), want, "{m} {k} {n}");
        }
    }

    #[test]
    #[should_panic(expected = "matrix reaches outside its slice")]
    fn a_matrix_that_leaves_its_slice_is_refused() {
        let x = vec![0.0f32; 11];
        gemm(3, 4, 1, Matrix::dense(&x, 4), Matrix::dense(&x[..4], 1), &mut [0.0; 3], false, &Par::sequential());
    }

    #[test]
    #[should_panic(expected = "matrix reaches outside its slice")]
    fn a_negative_stride_that_leaves_its_slice_is_refused() {
        let x = vec![0.0f32; 12];
        let a = Matrix { data: &x, offset: 3, row_stride: -4, column_stride: 1 };
        gemm(2, 4, 1, a, Matrix::dense(&x[..4], 1), &mut [0.0; 2], false, &Par::sequential());
    }

    #[test]
    fn integers_wrap() {
        let mut c = [0u8; 1];
        gemm(1, 2, 1, Matrix::dense(&[200u8, 100], 2), Matrix::dense(&[2u8, 3], 1), &mut c, false, &Par::sequential());
        assert_eq!(c, [(400u32 + 300) as u8]);
    }
}
