//! The gemm family: matrix products, behind one seam.
//!
//! `matrixmultiply` is always there; on x86-64 the kernels of `gemm-f32` and `gemm-f64` are faster, and the seam picks
//! them. Both run on one thread here: work is split over rows or columns by size alone.

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

/// An element type that matrices of which can be multiplied.
pub trait Product: Element {
    /// `c = a b`, or `c += a b` where `add` is set. `a` is `m` by `k`, `b` is `k` by `n`, and `c` is `m` by `n` with
    /// rows `c_stride` apart and dense within each row.
    ///
    /// # Safety
    /// The matrices lie within their memory, and `c` overlaps neither `a` nor `b`.
    #[allow(clippy::too_many_arguments)] // the parameters of a matrix product
    unsafe fn multiply(
        m: usize,
        k: usize,
        n: usize,
        a: *const Self,
        a_strides: (isize, isize),
        b: *const Self,
        b_strides: (isize, isize),
        c: *mut Self,
        c_stride: usize,
        add: bool,
    );
}

macro_rules! float_product {
    ($($t:ident, $krate:ident, $fallback:ident;)*) => {$(
        impl Product for $t {
            unsafe fn multiply(
                m: usize,
                k: usize,
                n: usize,
                a: *const $t,
                a_strides: (isize, isize),
                b: *const $t,
                b_strides: (isize, isize),
                c: *mut $t,
                c_stride: usize,
                add: bool,
            ) {
                #[cfg(target_arch = "x86_64")]
                if super::simd::level() != super::simd::Level::Plain {
                    // Its kernels write columns, and ours are rows: they compute the transposed product, twice as
                    // fast.
                    // SAFETY: the caller promises that the matrices lie within their memory and do not overlap.
                    unsafe {
                        $krate::gemm::$t::get_gemm_fn()(
                            n,
                            m,
                            k,
                            c,
                            c_stride as isize,
                            1,
                            add,
                            b,
                            b_strides.0,
                            b_strides.1,
                            a,
                            a_strides.0,
                            a_strides.1,
                            1.0,
                            1.0,
                            false,
                            false,
                            false,
                            gemm_common::Parallelism::None,
                        );
                    }
                    return;
                }
                // SAFETY: as above.
                unsafe {
                    matrixmultiply::$fallback(
                        m, k, n, 1.0, a, a_strides.0, a_strides.1, b, b_strides.0, b_strides.1,
                        if add { 1.0 } else { 0.0 }, c, c_stride as isize, 1,
                    );
                }
            }
        }
    )*};
}
float_product! {
    f32, gemm_f32, sgemm;
    f64, gemm_f64, dgemm;
}

macro_rules! int_product {
    ($($t:ident),*) => {$(
        impl Product for $t {
            unsafe fn multiply(
                m: usize,
                k: usize,
                n: usize,
                a: *const $t,
                a_strides: (isize, isize),
                b: *const $t,
                b_strides: (isize, isize),
                c: *mut $t,
                c_stride: usize,
                add: bool,
            ) {
                for i in 0..m {
                    for j in 0..n {
                        let mut sum: $t = 0;
                        for p in 0..k {
                            // SAFETY: the caller promises that the matrices lie within their memory.
                            let (x, y) = unsafe {
                                (
                                    *a.offset(i as isize * a_strides.0 + p as isize * a_strides.1),
                                    *b.offset(p as isize * b_strides.0 + j as isize * b_strides.1),
                                )
                            };
                            sum = sum.wrapping_add(x.wrapping_mul(y));
                        }
                        // SAFETY: as above.
                        let c = unsafe { &mut *c.add(i * c_stride + j) };
                        *c = if add { c.wrapping_add(sum) } else { sum };
                    }
                }
            }
        }
    )*};
}
int_product!(i64, i32, u8, i8);

/// Multiply-adds below which a product is not worth handing to another thread.
const WORK: usize = 1 << 20;

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
    if m == 0 || n == 0 {
        return;
    }
    // Blocks depend on the sizes alone. Wide products are cut along columns, tall ones along rows.
    let (rows, columns) = if m.saturating_mul(k).saturating_mul(n) < 2 * WORK {
        (m, n)
    } else if m >= n {
        (block(m, k * n), n)
    } else {
        (m, block(n, k * m))
    };
    let (down, across) = (m.div_ceil(rows), n.div_ceil(columns));
    let out = SharedMut::new(c);
    par.for_each(down * across, |block| {
        let (i, j) = (block / across * rows, block % across * columns);
        let (m, columns) = (rows.min(m - i), columns.min(n - j));
        // SAFETY: blocks do not overlap.
        unsafe { multiply(m, k, columns, a.from(i, 0), b.from(0, j), &out, i * n + j, n, add) };
    });
}

/// `c = a b`, or `c += a b` where `add` is set, on this thread; element (0, 0) of `c` is at `start`, and its rows are
/// `stride` apart.
///
/// # Safety
/// No other thread uses the elements of `c` meanwhile.
///
/// # Panics
/// If a matrix reaches outside its slice.
#[allow(clippy::too_many_arguments)] // the parameters of a matrix product
pub unsafe fn multiply<T: Product>(
    m: usize,
    k: usize,
    n: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &SharedMut<'_, T>,
    start: usize,
    stride: usize,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && start + (m - 1) * stride + n <= c.len, "the output reaches outside its slice");
    if k == 0 {
        for i in 0..if add { 0 } else { m } {
            // SAFETY: the caller promises that no one else uses these elements.
            unsafe { c.range(start + i * stride..start + i * stride + n) }.fill(T::default());
        }
        return;
    }
    a.check(m, k);
    b.check(k, n);
    // SAFETY: `check` found `a` and `b` within their slices, and the assertion `c` within its own. That is borrowed
    // mutably, so it overlaps neither operand, and the caller promises that no one else uses these elements.
    unsafe {
        T::multiply(
            m,
            k,
            n,
            a.data.as_ptr().add(a.offset),
            (a.row_stride, a.column_stride),
            b.data.as_ptr().add(b.offset),
            (b.row_stride, b.column_stride),
            c.start().add(start),
            stride,
            add,
        );
    }
}

/// The length of blocks of an axis of `n` positions with `work` multiply-adds each: a multiple of 64, so that no
/// micro-kernel is cut, and at most 8 blocks, so that little is packed twice.
fn block(n: usize, work: usize) -> usize {
    let least = (WORK / work.max(1)).max(1);
    n.div_ceil(8).max(least).next_multiple_of(64)
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

    const SIZES: [(usize, usize, usize); 7] =
        [(1, 1, 1), (3, 5, 2), (17, 33, 9), (1, 300, 70), (260, 90, 130), (128, 128, 300), (4, 0, 3)];

    #[test]
    fn products_are_those_of_the_definition_for_any_strides_and_threads() {
        for (m, k, n) in SIZES {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let want = naive(m, k, n, &a, &b);
            // The transposed matrices, stored so that turning them gives `a` and `b` again.
            let turned = |x: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
            };
            let (at, bt) = (turned(&a, m, k), turned(&b, k, n));
            for threads in [1, 2, 3] {
                let par = with_threads(threads, Par::current);
                let mut c = vec![f64::NAN; m * n];
                gemm(m, k, n, Matrix::dense(&a, k), Matrix::dense(&b, n), &mut c, false, &par);
                assert_eq!(c, want, "{m} {k} {n}");
                gemm(m, k, n, Matrix::dense(&at, m).t(), Matrix::dense(&bt, k).t(), &mut c, true, &par);
                assert_eq!(c, want.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), "{m} {k} {n} turned, added");
            }
        }
    }

    #[test]
    fn the_portable_crate_gives_the_same() {
        for (m, k, n) in SIZES {
            let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
            let mut c = vec![0.0; m * n];
            // SAFETY: three dense matrices of just these sizes.
            unsafe {
                matrixmultiply::dgemm(
                    m,
                    k,
                    n,
                    1.0,
                    a.as_ptr(),
                    k as isize,
                    1,
                    b.as_ptr(),
                    n as isize,
                    1,
                    0.0,
                    c.as_mut_ptr(),
                    n as isize,
                    1,
                );
            }
            assert_eq!(c, naive(m, k, n, &a, &b), "{m} {k} {n}");
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
