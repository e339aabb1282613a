//! The factor family: what is had by factoring a matrix.
//!
//! All works on one dense row-major matrix of doubles with finite elements and at least one row and column, and writes
//! dense row-major results. Inside, rows are padded (`rows`), and what is not small goes by panels, so that most of the
//! work are products of matrices: LU and Cholesky (`triangle`), Householder reflections (`reflect`), which leave the three
//! diagonals that eigenvalues are found from (`eigen`), and Jacobi rotations for singular values (`singular`).

mod eigen;
mod reflect;
mod rows;
mod singular;
mod triangle;

use self::rows::Rows;
use self::singular::Singular;
use self::triangle::Lu;
use crate::kernels::gemm::{Matrix, gemm};
use crate::kernels::transpose::transpose;
use crate::par::Par;

/// Why a matrix has no such factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no inverse.
    Singular,
    /// An eigenvalue is 0 or negative.
    NotPositiveDefinite,
    /// The iteration did not come to an end.
    NoConvergence,
}

fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut own = vec![0.0; rows * columns];
    transpose(&mut own, rows, a, columns, rows, columns);
    own
}

/// The elements divided by the largest magnitude, which is returned: then squares neither overflow nor vanish.
fn scaled(a: &[f64]) -> (Vec<f64>, f64) {
    let most = a.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    (a.iter().map(|v| if most > 0.0 { v / most } else { 0.0 }).collect(), most)
}

/// Row `i` of the identity, from column `start` on.
fn row_of_identity(i: usize, start: usize, row: &mut [f64]) {
    row.iter_mut().enumerate().for_each(|(j, v)| *v = (start + j == i) as u8 as f64);
}

/// The inverse of the `n` by `n` matrix `a`.
pub fn inverse(out: &mut [f64], a: &[f64], n: usize, par: &Par) -> Result<(), Fault> {
    Lu::of(a, n).solve(out, n, row_of_identity, par)
}

/// The `n` by `m` matrix `x` with `a x = b`.
pub fn solve(out: &mut [f64], a: &[f64], b: &[f64], n: usize, m: usize, par: &Par) -> Result<(), Fault> {
    let row = |i: usize, start: usize, row: &mut [f64]| row.copy_from_slice(&b[i * m + start..][..row.len()]);
    Lu::of(a, n).solve(out, m, row, par)
}

/// The determinant.
pub fn det(a: &[f64], n: usize) -> f64 {
    let lu = Lu::of(a, n);
    lu.sign() * lu.pivots().product::<f64>()
}

/// The logarithm of the magnitude of the determinant, and its sign.
pub fn log_det(a: &[f64], n: usize) -> (f64, f64) {
    let lu = Lu::of(a, n);
    let sign = |d: f64| if d == 0.0 { 0.0 } else { d.signum() };
    (lu.pivots().map(|d| d.abs().ln()).sum(), lu.sign() * lu.pivots().map(sign).product::<f64>())
}

/// The matrix of cofactors: the derivative of the determinant, which exists for singular matrices, too.
pub fn cofactors(out: &mut [f64], a: &[f64], n: usize, par: &Par) -> Result<(), Fault> {
    if cofactors_by_inverse(out, a, n, par) {
        return Ok(());
    }
    // Up to here the minors themselves cost little, and each is as precise as its own elements allow.
    const FEW: usize = 12;
    if n > FEW {
        return cofactors_by_values(out, a, n, par);
    }
    cofactors_by_minors(out, a, n);
    Ok(())
}

/// [`cofactors`] as `det(a)` times the transposed inverse, which are lost near singular matrices: `false` for these.
fn cofactors_by_inverse(out: &mut [f64], a: &[f64], n: usize, par: &Par) -> bool {
    // The inverse has half of the digits left. Two values that are both small cost the cofactors as much, whatever
    // they are computed by.
    const WORST_CONDITION: f64 = 1e7;
    let mut inverse = vec![0.0; n * n];
    let lu = Lu::of(a, n);
    let det = lu.sign() * lu.pivots().product::<f64>();
    if !det.is_normal() || lu.solve(&mut inverse, n, row_of_identity, par).is_err() {
        return false;
    }
    let norm = |x: &[f64]| x.chunks_exact(n).map(|row| row.iter().map(|v| v.abs()).sum()).fold(0.0, f64::max);
    let condition = norm(a) * norm(&inverse);
    if condition.is_nan() || condition > WORST_CONDITION {
        return false;
    }
    inverse.iter_mut().for_each(|v| *v *= det);
    transpose(out, n, &inverse, n, n, n);
    true
}

/// [`cofactors`] as what they are: determinants of what is left without a row and a column.
fn cofactors_by_minors(out: &mut [f64], a: &[f64], n: usize) {
    for (at, o) in out.iter_mut().enumerate() {
        let (i, j) = (at / n, at % n);
        let without = |k: &usize| k / n != i && k % n != j;
        let minor: Vec<f64> = (0..n * n).filter(without).map(|k| a[k]).collect();
        let minor = if n == 1 { 1.0 } else { det(&minor, n - 1) };
        *o = if (i + j) % 2 == 0 { minor } else { -minor };
    }
}

/// [`cofactors`] by singular values: with `a = U S V'` they are `det(U V') U C V'`, where `C` holds the products of all
/// other values.
fn cofactors_by_values(out: &mut [f64], a: &[f64], n: usize, par: &Par) -> Result<(), Fault> {
    let Singular { values, mut left, right } = Singular::of(a, n, n, par)?;
    let sign = det(&left, n).signum() * det(&right, n).signum();
    for (k, row) in left.chunks_exact_mut(n).enumerate() {
        let others: f64 = values.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, v)| v).product();
        row.iter_mut().for_each(|v| *v *= sign * others);
    }
    gemm(n, n, n, Matrix::dense(&left, n).t(), Matrix::dense(&right, n), out, false, par);
    Ok(())
}

/// The lower triangular `L` with `L L' = (a + a') / 2`.
pub fn cholesky(out: &mut [f64], a: &[f64], n: usize) -> Result<(), Fault> {
    let mut own = Rows::of(&symmetric(a, n), n);
    triangle::cholesky(&mut own, n)?;
    transpose(out, n, &own, own.stride, n, n);
    out.chunks_exact_mut(n).enumerate().for_each(|(i, row)| row[i + 1..].fill(0.0));
    Ok(())
}

/// `Q` with orthonormal columns, and the upper triangular `R` with `Q R = a`, by Householder reflections; the diagonal
/// of `R` is not negative.
pub fn qr(out: &mut [f64], a: &[f64], rows: usize, columns: usize) {
    let k = rows.min(columns);
    let (scaled, scale) = scaled(a);
    let mut r = Rows::of(&scaled, columns);
    let q = reflect::product(&reflect::triangularize(&mut r, columns), rows, k);
    let signs: Vec<f64> = (0..k).map(|i| if r.row(i)[i] < 0.0 { -1.0 } else { 1.0 }).collect();
    let (own_q, own_r) = out.split_at_mut(rows * k);
    for (own, row) in own_q.chunks_exact_mut(k).zip(q.iter_rows()) {
        own.iter_mut().zip(row).zip(&signs).for_each(|((own, v), sign)| *own = sign * v);
    }
    for (i, (own, row)) in own_r.chunks_exact_mut(columns).zip(r.iter_rows()).enumerate() {
        own[..i].fill(0.0);
        own[i..].iter_mut().zip(&row[i..]).for_each(|(own, v)| *own = signs[i] * scale * v);
    }
}

/// The eigenvalues of `(a + a') / 2` in ascending order, and the eigenvectors as columns; in each, the element of
/// largest magnitude is positive.
pub fn eigh(out: &mut [f64], a: &[f64], n: usize, par: &Par) -> Result<(), Fault> {
    let (a, scale) = scaled(&symmetric(a, n));
    let (found, vectors) = eigen::decompose(Rows::of(&a, n), n, par)?;
    let (values, columns) = out.split_at_mut(n);
    values.iter_mut().zip(found).for_each(|(value, found)| *value = found * scale);
    // The element of largest magnitude, the first of them, of each column.
    let mut most = vec![0.0_f64; n];
    for row in vectors.iter_rows() {
        most.iter_mut().zip(row).for_each(|(most, &v)| *most = if v.abs() > most.abs() { v } else { *most });
    }
    for (own, row) in columns.chunks_exact_mut(n).zip(vectors.iter_rows()) {
        own.iter_mut().zip(row).zip(&most).for_each(|((own, v), most)| *own = if *most < 0.0 { -v } else { *v });
    }
    Ok(())
}

/// The singular values in descending order, the left singular vectors as columns and the right ones as rows; in each
/// left one, the element of largest magnitude is positive.
pub fn svd(out: &mut [f64], a: &[f64], rows: usize, columns: usize, par: &Par) -> Result<(), Fault> {
    let Singular { values, left, right } = Singular::of(a, rows, columns, par)?;
    let k = values.len();
    let (own_values, rest) = out.split_at_mut(k);
    let (own_left, own_right) = rest.split_at_mut(rows * k);
    own_values.copy_from_slice(&values);
    for (i, (u, v)) in left.chunks_exact(rows).zip(right.chunks_exact(columns)).enumerate() {
        let sign = upward(u);
        u.iter().enumerate().for_each(|(row, x)| own_left[row * k + i] = sign * x);
        own_right[i * columns..][..columns].iter_mut().zip(v).for_each(|(o, x)| *o = sign * x);
    }
    Ok(())
}

/// The sign that makes the element of largest magnitude, the first of them, positive.
fn upward(v: &[f64]) -> f64 {
    let most = v.iter().fold(0.0, |most: f64, &x| if x.abs() > most.abs() { x } else { most });
    if most < 0.0 { -1.0 } else { 1.0 }
}

fn symmetric(a: &[f64], n: usize) -> Vec<f64> {
    let mut own = vec![0.0; n * n];
    transpose(&mut own, n, a, n, n, n);
    own.iter_mut().zip(a).for_each(|(own, a)| *own = 0.5 * *own + 0.5 * a);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matrices of all sorts: random, of low rank, with equal values, graded, very large and very small.
    fn matrices(rows: usize, columns: usize) -> Vec<Vec<f64>> {
        let mut state = 7_u64;
        let mut random = |n: usize| -> Vec<f64> {
            (0..n)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
                })
                .collect()
        };
        let full = random(rows * columns);
        let (left, right) = (random(rows), random(columns));
        let low: Vec<f64> = left.iter().flat_map(|l| right.iter().map(move |r| l * r)).collect();
        let diagonal = |f: fn(usize) -> f64| -> Vec<f64> {
            (0..rows * columns).map(|at| if at / columns == at % columns { f(at % columns) } else { 0.0 }).collect()
        };
        let by = |by: f64| full.iter().map(|v| v * by).collect();
        let graded = full.iter().enumerate().map(|(at, v)| v * 10f64.powi(-(2 * (at % columns) as i32))).collect();
        vec![
            low,
            diagonal(|_| 1.0),
            diagonal(|_| 0.0),
            diagonal(|i| if i % 2 == 0 { -2.0 } else { 0.0 }),
            vec![1.0; rows * columns],
            by(1e300),
            by(1e-300),
            graded,
            full,
        ]
    }

    fn identity(n: usize) -> Vec<f64> {
        (0..n * n).map(|at| (at / n == at % n) as u8 as f64).collect()
    }

    fn dot(x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    /// The product of an `m` by `k` and a `k` by `n` matrix.
    fn product(x: &[f64], y: &[f64], k: usize) -> Vec<f64> {
        let (m, n) = (x.len() / k, y.len() / k);
        let y = transposed(y, k, n);
        (0..m * n).map(|at| dot(&x[at / n * k..][..k], &y[at % n * k..][..k])).collect()
    }

    fn largest(x: &[f64]) -> f64 {
        x.iter().fold(0.0, |most: f64, v| most.max(v.abs()))
    }

    fn close(x: &[f64], y: &[f64], tolerance: f64) -> bool {
        x.len() == y.len() && x.iter().zip(y).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    fn orthonormal_columns(x: &[f64], columns: usize) -> bool {
        let rows = x.len() / columns;
        close(&product(&transposed(x, rows, columns), x, rows), &identity(columns), 1e-13)
    }

    fn times_columns(x: &[f64], by: &[f64]) -> Vec<f64> {
        x.iter().enumerate().map(|(at, v)| v * by[at % by.len()]).collect()
    }

    #[test]
    fn factors_multiply_to_the_matrix() {
        let small = [(1, 1), (2, 2), (3, 3), (8, 8), (30, 30), (1, 4), (4, 1), (5, 3), (3, 5), (40, 7)];
        // Several panels, of which the last is short, and several blocks of columns.
        let large = [(33, 33), (70, 70), (90, 37), (20, 50)];
        for (rows, columns) in small.into_iter().chain(large) {
            for (which, a) in matrices(rows, columns).into_iter().enumerate() {
                let (k, tolerance) = (rows.min(columns), 1e-13 * largest(&a));
                let place = format!("matrix {which}, {rows} by {columns}");
                let mut out = vec![f64::NAN; k + k * (rows + columns)];

                svd(&mut out, &a, rows, columns, &Par::sequential()).expect(&place);
                let (s, rest) = out.split_at(k);
                let (u, vh) = rest.split_at(rows * k);
                assert!(orthonormal_columns(u, k), "svd of {place}");
                assert!(orthonormal_columns(&transposed(vh, k, columns), k), "svd of {place}");
                assert!(close(&product(&times_columns(u, s), vh, k), &a, tolerance), "svd of {place}");
                assert!(s.is_sorted_by(|a, b| a >= b) && s[k - 1] >= 0.0, "svd of {place}");

                qr(&mut out[k..], &a, rows, columns);
                let (q, r) = out[k..].split_at(rows * k);
                assert!(orthonormal_columns(q, k), "qr of {place}");
                assert!(close(&product(q, r, k), &a, tolerance), "qr of {place}");
                assert!((0..k).all(|i| r[i * columns + i] >= 0.0), "qr of {place}");

                if rows == columns {
                    eigh(&mut out[..k + k * k], &a, k, &Par::sequential()).expect(&place);
                    let (values, v) = out[..k + k * k].split_at(k);
                    let whole = product(&times_columns(v, values), &transposed(v, k, k), k);
                    assert!(orthonormal_columns(v, k), "eigh of {place}");
                    assert!(close(&whole, &symmetric(&a, k), 4.0 * tolerance), "eigh of {place}");
                    assert!(values.is_sorted(), "eigh of {place}");
                }
            }
        }
    }

    /// Random matrices with a diagonal that stands out, so that they are far from singular.
    fn regular(n: usize) -> Vec<f64> {
        let mut a = matrices(n, n).pop().expect("some");
        (0..n).for_each(|i| a[i * (n + 1)] += if i % 3 == 0 { -2.0 } else { 2.0 });
        // Pivots are sought.
        a.rotate_left(n);
        a
    }

    #[test]
    fn systems_are_solved() {
        let par = Par::sequential();
        for n in [1, 2, 3, 4, 5, 8, 9, 16, 17, 40, 65, 100] {
            let a = regular(n);
            let mut inverse_of_a = vec![f64::NAN; n * n];
            inverse(&mut inverse_of_a, &a, n, &par).unwrap();
            assert!(close(&product(&a, &inverse_of_a, n), &identity(n), 1e-12), "inverse of {n} rows");
            for m in [1, 3, 4, 8, 64, 65, 130] {
                let x: Vec<f64> = (0..n * m).map(|i| (i as f64 * 0.7).sin()).collect();
                let mut out = vec![f64::NAN; n * m];
                solve(&mut out, &a, &product(&a, &x, n), n, m, &par).unwrap();
                assert!(close(&out, &x, 1e-12), "{m} systems of {n} rows");
            }
            // The determinant is the product of those of two factors, which are triangular, and well conditioned.
            let (l, u): (Vec<f64>, Vec<f64>) = (0..n * n)
                .map(|at| match (at / n).cmp(&(at % n)) {
                    std::cmp::Ordering::Less => (0.0, 0.02 * a[at]),
                    std::cmp::Ordering::Equal => (1.0, 1.5),
                    std::cmp::Ordering::Greater => (0.02 * a[at], 0.0),
                })
                .unzip();
            let want = 1.5_f64.powi(n as i32);
            assert!((det(&product(&l, &u, n), n) / want - 1.0).abs() < 1e-9, "determinant of {n} rows");
            let (log, sign) = log_det(&product(&l, &u, n), n);
            assert!((log - want.ln()).abs() < 1e-9 && sign == 1.0, "determinant of {n} rows");

            let square = product(&a, &transposed(&a, n, n), n);
            let mut root = vec![f64::NAN; n * n];
            cholesky(&mut root, &square, n).unwrap();
            assert!(close(&product(&root, &transposed(&root, n, n), n), &square, 1e-12), "cholesky of {n} rows");
            assert!((0..n).all(|i| root[i * n + i + 1..(i + 1) * n].iter().all(|&v| v == 0.0)), "cholesky of {n} rows");
        }
    }

    #[test]
    fn matrices_without_factors_are_refused() {
        let par = Par::sequential();
        for n in [2, 8, 20, 50] {
            // The last row is the first one.
            let mut a: Vec<f64> = (0..n * n).map(|at| (at * at % 7 + at % 3) as f64).collect();
            a.copy_within(..n, n * (n - 1));
            a[..n].copy_from_slice(&[0.0; 50][..n]);
            assert_eq!(inverse(&mut vec![0.0; n * n], &a, n, &par), Err(Fault::Singular), "{n} rows");
            let mut a = identity(n);
            a[n * n - 1] = -1.0;
            assert_eq!(cholesky(&mut vec![0.0; n * n], &a, n), Err(Fault::NotPositiveDefinite), "{n} rows");
        }
    }

    #[test]
    fn the_smallest_singular_values_are_precise_too() {
        for n in [5, 20, 40] {
            // Columns get ever smaller: the last value by fifty digits.
            let mut a = regular(n);
            let by = |j: usize| 10f64.powf(-50.0 * j as f64 / n as f64);
            a.iter_mut().enumerate().for_each(|(at, v)| *v *= by(at % n));
            let mut out = vec![0.0; n + 2 * n * n];
            svd(&mut out, &a, n, n, &Par::sequential()).unwrap();
            let logs: f64 = out[..n].iter().map(|s| s.ln()).sum();
            assert!((logs - log_det(&a, n).0).abs() < 1e-11 * n as f64, "{n} rows");
        }
    }

    #[test]
    fn bits_are_the_same_for_any_number_of_threads() {
        let n = 150;
        let a = regular(n);
        let all = |threads: usize| -> Vec<u64> {
            let par = crate::with_threads(threads, Par::current);
            let [mut x, mut y, mut z, mut c] = [(); 4].map(|_| vec![0.0; n + 2 * n * n]);
            inverse(&mut x[..n * n], &a, n, &par).unwrap();
            eigh(&mut y[..n + n * n], &a, n, &par).unwrap();
            svd(&mut z, &a, n, n, &par).unwrap();
            cofactors(&mut c[..n * n], &a, n, &par).unwrap();
            [x, y, z, c].concat().into_iter().map(f64::to_bits).collect()
        };
        let one = all(1);
        assert!(one == all(2) && one == all(3));
    }

    #[test]
    fn cofactors_are_the_minors_by_any_way() {
        for n in [1, 2, 3, 6] {
            for (which, a) in matrices(n, n).into_iter().enumerate().filter(|(_, a)| largest(a) < 1e10) {
                let (mut minors, mut out) = (vec![f64::NAN; n * n], vec![f64::NAN; n * n]);
                let par = Par::sequential();
                let tolerance = 1e-13 * largest(&a).powi(n as i32 - 1);
                cofactors_by_minors(&mut minors, &a, n);
                cofactors_by_values(&mut out, &a, n, &par).unwrap();
                assert!(close(&out, &minors, tolerance), "matrix {which} of {n} rows");
                if cofactors_by_inverse(&mut out, &a, n, &par) {
                    assert!(close(&out, &minors, tolerance), "matrix {which} of {n} rows, regular");
                }
            }
        }
        let mut out = [0.0; 9];
        cofactors(&mut out, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 3, &Par::sequential()).unwrap();
        assert!(close(&out, &[-3.0, 6.0, -3.0, 6.0, -12.0, 6.0, -3.0, 6.0, -3.0], 1e-12), "{out:?}");
    }
}
