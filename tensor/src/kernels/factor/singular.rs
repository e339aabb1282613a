//! Singular values and vectors by one-sided Jacobi rotations (J. Demmel and K. Veselic, Jacobi's method is more accurate
//! than QR, 1992): right to the last bits for the smallest values, too.

use super::rows::{Rows, dot};
use super::{Fault, eigen, qr, scaled};
use crate::kernels::elementary::mul_add;
use crate::kernels::gemm::{Matrix, gemm};
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::Par;

/// Singular values in descending order, and the vectors of both sides as dense rows.
pub struct Singular {
    pub values: Vec<f64>,
    pub left: Vec<f64>,
    pub right: Vec<f64>,
}

impl Singular {
    pub fn of(a: &[f64], rows: usize, columns: usize, par: &Par) -> Result<Singular, Fault> {
        if rows < columns {
            let turned = super::transposed(a, rows, columns);
            let Singular { values, left, right } = Singular::of(&turned, columns, rows, par)?;
            return Ok(Singular { values, left: right, right: left });
        }
        let n = columns;
        if rows > n {
            // The square factor of a tall matrix has its singular values, and its right vectors.
            let mut factors = vec![0.0; rows * n + n * n];
            qr(&mut factors, a, rows, n);
            let (q, r) = factors.split_at(rows * n);
            let inner = Singular::of(r, n, n, par)?;
            let mut left = vec![0.0; n * rows];
            gemm(n, n, rows, Matrix::dense(&inner.left, n), Matrix::dense(q, n).t(), &mut left, false, par);
            return Ok(Singular { left, ..inner });
        }
        let (a, scale) = scaled(a);
        let (mut turned, mut vectors) = nearly_orthogonal(&a, n, par)?;
        let squares = rotate(&mut turned, &mut vectors, n)?;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&i, &j| squares[j].total_cmp(&squares[i]));
        let mut left: Vec<f64> = Vec::with_capacity(n * n);
        for &i in &order {
            let (square, row) = (squares[i], &turned.row(i)[..n]);
            let length = square.sqrt();
            // What is left of a vector without a singular value of its own points anywhere: `rotate` left it as it was.
            let astray = |other: &[f64]| simd::run_narrow(Dot(row, other)).abs() > 1e-14 * length;
            match square >= f64::MIN_POSITIVE || square > 0.0 && !left.chunks_exact(n).any(astray) {
                true => left.extend(row.iter().map(|v| v / length)),
                false => complete(&mut left, n),
            }
        }
        Ok(Singular {
            values: order.iter().map(|&i| squares[i].sqrt() * scale).collect(),
            left,
            right: order.iter().flat_map(|&i| &vectors.row(i)[..n]).copied().collect(),
        })
    }
}

/// The transposed product of a matrix with an orthogonal one, and the transpose of that: the nearer the rows of the
/// product are to orthogonal, the fewer rotations are left.
fn nearly_orthogonal(a: &[f64], n: usize, par: &Par) -> Result<(Rows, Rows), Fault> {
    // The product's error is a rounding of its largest values, which may not be much for the smallest. These are squares.
    const WORST_CONDITION: f64 = 1e10;
    // The product costs more than it saves.
    const FEW: usize = 12;
    if n > FEW {
        let a = Matrix::dense(a, n);
        let mut product = vec![0.0; n * n];
        gemm(n, n, n, a.t(), a, &mut product, false, par);
        let (values, vectors) = eigen::decompose(Rows::of(&product, n), n, par)?;
        if values[0] * WORST_CONDITION > values[n - 1] {
            let own = Matrix { row_stride: vectors.stride as isize, ..Matrix::dense(&vectors, n) };
            gemm(n, n, n, own.t(), a.t(), &mut product, false, par);
            return Ok((Rows::of(&product, n), vectors.turned(n)));
        }
    }
    Ok((Rows::transposed(a, n), Rows::identity(n)))
}

struct Dot<'a>(&'a [f64], &'a [f64]);

impl Loop for Dot<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        dot::<I>(self.0, self.1)
    }
}

/// Adds a row of length 1 that is orthogonal to the orthonormal rows of `n` elements, of which there are fewer than `n`.
fn complete(rows: &mut Vec<f64>, n: usize) {
    // The axis that the rows cover least has most left over.
    let covered = |i: usize| rows.chunks_exact(n).map(|row| row[i] * row[i]).sum::<f64>();
    let axis = (0..n).min_by(|&i, &j| covered(i).total_cmp(&covered(j))).expect("at least one row");
    let mut new: Vec<f64> = (0..n).map(|i| (i == axis) as u8 as f64).collect();
    // Once more for what rounding leaves.
    for _ in 0..2 {
        for row in rows.chunks_exact(n) {
            let by = simd::run_narrow(Dot(&new, row));
            new.iter_mut().zip(row).for_each(|(v, x)| *v -= by * x);
        }
    }
    let length = simd::run_narrow(Dot(&new, &new)).sqrt();
    rows.extend(new.iter().map(|v| v / length));
}

/// Turns the rows of `a` into each other until all are orthogonal, and the rows of `vectors` with them; returns the
/// squares of their lengths.
fn rotate(a: &mut Rows, vectors: &mut Rows, n: usize) -> Result<Vec<f64>, Fault> {
    simd::run_narrow(Rotate { a, vectors, n })
}

struct Rotate<'a> {
    a: &'a mut Rows,
    vectors: &'a mut Rows,
    n: usize,
}

impl Loop for Rotate<'_> {
    type Output = Result<Vec<f64>, Fault>;
    #[inline(always)]
    fn run<I: Isa>(self) -> Result<Vec<f64>, Fault> {
        let Rotate { a, vectors, n } = self;
        let stride = a.stride;
        let (a, vectors): (&mut [f64], &mut [f64]) = (a, vectors);
        let tolerance = (n as f64).sqrt() * f64::EPSILON;
        let mut squares = vec![0.0; n];
        // Some ten passes do; the number is a guard.
        for _ in 0..100 {
            let mut done = true;
            for i in 0..n {
                let row = &a[i * stride..][..stride];
                squares[i] = dot::<I>(row, row);
            }
            for j in 1..n {
                let (head, y) = a.split_at_mut(j * stride);
                let y = &mut y[..stride];
                for i in 0..j {
                    let x = &mut head[i * stride..][..stride];
                    let (xx, yy, xy) = (squares[i], squares[j], dot::<I>(x, y));
                    if xy.abs() <= tolerance * xx.sqrt() * yy.sqrt() || xx.min(yy) < f64::MIN_POSITIVE {
                        continue;
                    }
                    done = false;
                    let zeta = (yy - xx) / (2.0 * xy);
                    // The square of a larger one may overflow, and makes its one round away.
                    let root = if zeta.abs() < 1e8 { (zeta * zeta + 1.0).sqrt() } else { zeta.abs() };
                    let tangent = zeta.signum() / (zeta.abs() + root);
                    let cosine = (tangent * tangent + 1.0).sqrt().recip();
                    let by = [cosine, cosine * tangent];
                    turn::<I>(x, y, by);
                    (squares[i], squares[j]) = (dot::<I>(x, x), dot::<I>(y, y));
                    let (x, y) = vectors.split_at_mut(j * stride);
                    turn::<I>(&mut x[i * stride..][..stride], &mut y[..stride], by);
                }
            }
            if done {
                return Ok(squares);
            }
        }
        Err(Fault::NoConvergence)
    }
}

/// Turns two rows into each other.
#[inline(always)]
fn turn<I: Isa>(x: &mut [f64], y: &mut [f64], [cosine, sine]: [f64; 2]) {
    for (x, y) in x.iter_mut().zip(y) {
        let (was_x, was_y) = (*x, *y);
        *x = mul_add::<f64, I>(cosine, was_x, -(sine * was_y));
        *y = mul_add::<f64, I>(cosine, was_y, sine * was_x);
    }
}
