//! Eigenvalues and eigenvectors of symmetric matrices: reflections leave three diagonals, and rotations one.

use super::Fault;
use super::reflect::{PANEL, Reflections, reflection};
use super::rows::{LANES, Rows, add_scaled, dot};
use crate::kernels::elementary::mul_add;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::transpose;
use crate::par::Par;

/// Replaces a symmetric matrix, whose largest element is 1 or all of which is 0, by its eigenvectors as columns, in
/// ascending order of the eigenvalues, which are returned.
pub fn decompose(a: Rows, n: usize, par: &Par) -> Result<(Vec<f64>, Rows), Fault> {
    let (mut diagonal, beside, mut vectors) = tridiagonalize(a, n);
    let rotations = Rotations::diagonalizing(&mut diagonal, beside)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[i].total_cmp(&diagonal[j]));
    let stride = vectors.stride;
    par.chunks_mut(&mut vectors, WIDE * stride, |_, rows| {
        // The rotations turn columns, each of which becomes one register or some.
        let height = rows.len() / stride;
        let lanes = if height <= LANES { LANES } else { WIDE };
        let mut columns = Rows::zeros(n, lanes);
        transpose(&mut columns, lanes, rows, stride, height, n);
        simd::run_narrow(Turn { columns: &mut columns, rotations: &rotations });
        for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
            row.iter_mut().zip(&order).for_each(|(v, from)| *v = columns[from * lanes + i]);
        }
    });
    Ok((order.iter().map(|&i| diagonal[i]).collect(), vectors))
}

/// Writes a symmetric matrix as `Q T Q'` and returns the diagonal of `T`, what is beside it, and `Q`.
fn tridiagonalize(a: Rows, n: usize) -> (Vec<f64>, Vec<f64>, Rows) {
    let (mut a, mut normals) = (a, Rows::zeros(n, n));
    let [mut diagonal, mut beside, mut scales] = [(); 3].map(|_| vec![0.0; n]);
    simd::run_narrow(Tridiagonal {
        a: &mut a,
        normals: &mut normals,
        diagonal: &mut diagonal,
        beside: &mut beside,
        scales: &mut scales,
    });
    let mut q = a;
    q.fill(0.0);
    (0..n).for_each(|i| q.row_mut(i)[i] = 1.0);
    // The first reflection found is the last one applied to `Q`. The others change the first columns alone.
    for first in (0..n).step_by(PANEL) {
        let end = n.min(first + PANEL);
        let mut panel = Rows::zeros(end - first, n);
        let stride = panel.stride;
        panel.copy_from_slice(&normals[first * stride..end * stride]);
        Reflections::new(panel, &scales[first..end], 0..end - 1).apply(&mut q, 0..end, true);
    }
    (diagonal, beside, q)
}

/// Reflects the last rows first: row `k` onto its element `k - 1`.
///
/// Of the matrix that is left, the lower half is read, with the whole of the squares on the diagonal whose sides are
/// [`LANES`]. It is changed by one reflection, and multiplied by the next normal, in one pass, since it may be larger than
/// a cache.
struct Tridiagonal<'a> {
    a: &'a mut Rows,
    normals: &'a mut Rows,
    diagonal: &'a mut [f64],
    beside: &'a mut [f64],
    scales: &'a mut [f64],
}

impl Loop for Tridiagonal<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Tridiagonal { a, normals, diagonal, beside, scales } = self;
        let (n, stride) = (diagonal.len(), a.stride);
        // The matrix becomes `a - v w' - w v'`, when it is next read.
        let (mut v, mut w) = (Rows::zeros(1, n), Rows::zeros(1, n));
        let mut product = Rows::zeros(1, n);
        for k in (0..n).rev() {
            let row = a.row_mut(k);
            add_scaled::<I>(row, -v[k], &w);
            add_scaled::<I>(row, -w[k], &v);
            diagonal[k] = row[k];
            if k == 0 {
                break;
            }
            let normal = normals.row_mut(k);
            normal[..k].copy_from_slice(&row[..k]);
            let (tail, head) = normal[..k].split_at_mut(k - 1);
            (scales[k], beside[k - 1]) = reflection::<I>(&mut head[0], tail);
            product.fill(0.0);
            for i in (0..k).step_by(2) {
                let (x, y) = a[i * stride..].split_at_mut(stride);
                let (square, end) = (i / LANES * LANES, (i / LANES + 1) * LANES);
                update::<I>(
                    [&mut x[..end], &mut y[..end]],
                    [&v[..end], &w[..end]],
                    [[v[i], w[i]], [v[i + 1], w[i + 1]]],
                    [normal[i], normal[i + 1]],
                    &mut product[..square],
                );
                product[i] += dot::<I>(&x[..end], &normal[..end]);
                product[i + 1] += dot::<I>(&y[..end], &normal[..end]);
            }
            std::mem::swap(&mut v, &mut product);
            let scale = scales[k];
            let by = -0.5 * scale * scale * dot::<I>(&v[..k], &normal[..k]);
            w.fill(0.0);
            for (w, &p) in w[..k].iter_mut().zip(&v[..k]) {
                *w = scale * p;
            }
            add_scaled::<I>(&mut w[..k], by, &normal[..k]);
            v.copy_from_slice(normal);
        }
    }
}

/// Subtracts what `v` and `w` say from two rows, and adds these, times two numbers, to `product`, as far as that goes.
#[inline(always)]
fn update<I: Isa>(
    [x, y]: [&mut [f64]; 2],
    [v, w]: [&[f64]; 2],
    [[v0, w0], [v1, w1]]: [[f64; 2]; 2],
    [by0, by1]: [f64; 2],
    product: &mut [f64],
) {
    let n = product.len();
    let (own_x, rest_x) = x.split_at_mut(n);
    let (own_y, rest_y) = y.split_at_mut(n);
    let (own_v, rest_v) = v.split_at(n);
    let (own_w, rest_w) = w.split_at(n);
    for i in 0..n {
        let x = mul_add::<f64, I>(-v0, own_w[i], mul_add::<f64, I>(-w0, own_v[i], own_x[i]));
        let y = mul_add::<f64, I>(-v1, own_w[i], mul_add::<f64, I>(-w1, own_v[i], own_y[i]));
        (own_x[i], own_y[i]) = (x, y);
        product[i] = mul_add::<f64, I>(by0, x, mul_add::<f64, I>(by1, y, product[i]));
    }
    for (x, [v, w]) in [(rest_x, [-v0, -w0]), (rest_y, [-v1, -w1])] {
        add_scaled::<I>(x, v, rest_w);
        add_scaled::<I>(x, w, rest_v);
    }
}

/// Rotations of neighbouring columns, in sweeps, each of which goes from one column to ever earlier ones.
struct Rotations {
    /// The last column of each sweep, and how many rotations it has.
    sweeps: Vec<(usize, usize)>,
    /// The cosines and sines of all.
    turns: Vec<[f64; 2]>,
}

impl Rotations {
    /// Turns a symmetric matrix of three diagonals into one of eigenvalues, by the implicit QL algorithm (A. Dubrulle, R.
    /// Martin and J. Wilkinson, 1968).
    fn diagonalizing(d: &mut [f64], mut e: Vec<f64>) -> Result<Rotations, Fault> {
        // As in `reflection`.
        const NOTHING: f64 = 1e-140;
        let n = d.len();
        let mut all = Rotations { sweeps: Vec::new(), turns: Vec::new() };
        // Two for each eigenvalue do; the number is a guard.
        let mut left = 30 * n;
        for first in 0..n {
            loop {
                let apart =
                    |&i: &usize| e[i].abs() <= NOTHING || e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs());
                let last = (first..n - 1).find(apart).unwrap_or(n - 1);
                if last == first {
                    break;
                }
                left = left.checked_sub(1).ok_or(Fault::NoConvergence)?;
                // The shift is the eigenvalue of the first two rows and columns that is nearer to the first element.
                let half = (d[first + 1] - d[first]) / (2.0 * e[first]);
                // The square of a larger one may overflow, and makes its one round away.
                let root = if half.abs() < 1e8 { (half * half + 1.0).sqrt() } else { half.abs() };
                let mut g = d[last] - d[first] + e[first] / (half + root.copysign(half));
                let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
                let mut i = last;
                e[last] = 0.0;
                while i > first {
                    let (f, b) = (sine * e[i - 1], cosine * e[i - 1]);
                    let square = f * f + g * g;
                    let length = square.sqrt();
                    e[i] = if i < last { length } else { 0.0 };
                    if length <= NOTHING {
                        // The matrix falls apart here.
                        e[i] = 0.0;
                        break;
                    }
                    // The division need not wait for the root.
                    let by = length * square.recip();
                    (sine, cosine) = (f * by, g * by);
                    let next = d[i] - shift;
                    let r = (d[i - 1] - next) * sine + 2.0 * cosine * b;
                    shift = sine * r;
                    d[i] = next + shift;
                    g = cosine * r - b;
                    all.turns.push([cosine, sine]);
                    i -= 1;
                }
                d[i] -= shift;
                if i == first {
                    e[first] = g;
                }
                all.sweeps.push((last, last - i));
            }
        }
        Ok(all)
    }
}

/// Columns' elements that are turned together.
const WIDE: usize = 32;

/// Applies rotations, where columns are rows of [`LANES`] or [`WIDE`] elements.
struct Turn<'a> {
    columns: &'a mut Rows,
    rotations: &'a Rotations,
}

impl Loop for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        match self.columns.stride {
            LANES => turn::<LANES, I>(self.columns, self.rotations),
            _ => turn::<WIDE, I>(self.columns, self.rotations),
        }
    }
}

#[inline(always)]
fn turn<const N: usize, I: Isa>(columns: &mut Rows, rotations: &Rotations) {
    let columns = columns.as_chunks_mut::<N>().0;
    let mut turns = &rotations.turns[..];
    for &(last, count) in &rotations.sweeps {
        let (own, rest) = turns.split_at(count);
        turns = rest;
        // What the next rotation turns on stays in registers.
        let mut carried = columns[last];
        let columns = &mut columns[last - count..=last];
        for (&[cosine, sine], i) in own.iter().zip((0..count).rev()) {
            let column = columns[i];
            for lane in 0..N {
                columns[i + 1][lane] = mul_add::<f64, I>(sine, column[lane], cosine * carried[lane]);
                carried[lane] = mul_add::<f64, I>(cosine, column[lane], -(sine * carried[lane]));
            }
        }
        columns[0] = carried;
    }
}
