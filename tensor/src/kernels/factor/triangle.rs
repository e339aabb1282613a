//! LU and Cholesky factors, and what is solved by them.
//!
//! Both go by panels of some columns: what a panel takes from the rest of the matrix is a product, by rows, which is
//! nearly all of the work.

use smallvec::SmallVec;

use super::Fault;
use super::rows::{AddProduct, LANES, Rows, add_scaled};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::transpose;
use crate::par::Par;

/// Columns of a panel.
const PANEL: usize = 16;

/// `L` below the diagonal and `U` above, with the rows of `a` exchanged so that pivots are large.
pub struct Lu {
    factors: Rows,
    /// Row `i` of the factors is row `order[i]` of the matrix.
    order: SmallVec<[usize; LANES]>,
    /// Whether the number of exchanges is odd.
    odd: bool,
    n: usize,
}

impl Lu {
    pub fn of(a: &[f64], n: usize) -> Lu {
        let mut lu = Lu { factors: Rows::of(a, n), order: (0..n).collect(), odd: false, n };
        if n <= LANES {
            lu.eliminate();
            return lu;
        }
        let stride = lu.factors.stride;
        for first in (0..n).step_by(PANEL) {
            let (width, rows) = (PANEL.min(n - first), n - first);
            let after = first + width;
            // The panel's columns as rows, in which pivots are sought and multiples added.
            let mut panel = Rows::zeros(width, rows);
            let across = panel.stride;
            transpose(&mut panel, across, &lu.factors[first * stride + first..], stride, rows, width);
            let pivots = simd::run_narrow(Panel { columns: &mut panel, width, rows });
            for (k, &pivot) in pivots[..width].iter().enumerate().filter(|(k, pivot)| k != *pivot) {
                lu.factors.swap_rows(first + k, first + pivot);
                lu.order.swap(first + k, first + pivot);
                lu.odd = !lu.odd;
            }
            transpose(&mut lu.factors[first * stride + first..], stride, &panel, across, width, rows);
            if after == n {
                break;
            }
            let (above, below) = lu.factors.split_at_mut(after * stride);
            let above = &mut above[first * stride..];
            for i in 1..width {
                let (known, row) = above.split_at_mut(i * stride);
                simd::run_narrow(AddProduct {
                    sizes: [1, i, stride - after],
                    sign: -1.0,
                    c: (&mut row[after..], stride),
                    a: (&panel[i..], [1, across]),
                    b: (&known[after..], stride),
                });
            }
            simd::run_narrow(AddProduct {
                sizes: [n - after, width, stride - after],
                sign: -1.0,
                c: (&mut below[after..], stride),
                a: (&panel[width..], [1, across]),
                b: (&above[after..], stride),
            });
        }
        lu
    }

    /// A small matrix by itself.
    fn eliminate(&mut self) {
        // With constants for the smallest, of which batches are made: loops of so few steps cost more than these.
        match self.n {
            2 => self.eliminate_of(2),
            3 => self.eliminate_of(3),
            4 => self.eliminate_of(4),
            n => self.eliminate_of(n),
        }
    }

    #[inline(always)]
    fn eliminate_of(&mut self, n: usize) {
        let stride = LANES;
        let factors: &mut [f64] = &mut self.factors;
        for k in 0..n {
            let mut pivot = k;
            for i in k + 1..n {
                if factors[i * stride + k].abs() > factors[pivot * stride + k].abs() {
                    pivot = i;
                }
            }
            if pivot != k {
                (0..n).for_each(|j| factors.swap(k * stride + j, pivot * stride + j));
                self.order.swap(k, pivot);
                self.odd = !self.odd;
            }
            let (above, below) = factors.split_at_mut((k + 1) * stride);
            let above = &above[k * stride..][..n];
            if above[k] == 0.0 {
                continue; // The column is 0 from here on.
            }
            for row in below.chunks_exact_mut(stride).take(n - k - 1) {
                let row = &mut row[..n];
                row[k] /= above[k];
                let by = row[k];
                row[k + 1..].iter_mut().zip(&above[k + 1..]).for_each(|(v, x)| *v -= by * x);
            }
        }
    }

    /// Solves for a small `x` by both factors.
    fn substitute(&self, x: &mut [f64], m: usize) {
        match (self.n, m) {
            (4, 1) => self.substitute_of(4, x, 1),
            (4, 4) => self.substitute_of(4, x, 4),
            (3, 1) => self.substitute_of(3, x, 1),
            (3, 3) => self.substitute_of(3, x, 3),
            (n, m) => self.substitute_of(n, x, m),
        }
    }

    #[inline(always)]
    fn substitute_of(&self, n: usize, x: &mut [f64], m: usize) {
        let stride = LANES;
        let factors: &[f64] = &self.factors;
        let x = &mut x[..n * m];
        for i in 1..n {
            let (known, row) = x.split_at_mut(i * m);
            for (known, by) in known.chunks_exact(m).zip(&factors[i * stride..]) {
                row[..m].iter_mut().zip(known).for_each(|(v, x)| *v -= by * x);
            }
        }
        for i in (0..n).rev() {
            let (row, known) = x[i * m..].split_at_mut(m);
            let factors = &factors[i * stride + i..];
            for (known, by) in known.chunks_exact(m).zip(&factors[1..]) {
                row.iter_mut().zip(known).for_each(|(v, x)| *v -= by * x);
            }
            row.iter_mut().for_each(|v| *v /= factors[0]);
        }
    }

    pub fn pivots(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.n).map(|i| self.factors.row(i)[i])
    }

    pub fn sign(&self) -> f64 {
        if self.odd { -1.0 } else { 1.0 }
    }

    /// Writes the `n` by `m` matrix `x` with `a x = b`, where `b(i)` writes row `i` of the right side from a column on.
    pub fn solve(
        &self,
        x: &mut [f64],
        m: usize,
        b: impl Fn(usize, usize, &mut [f64]) + Sync,
        par: &Par,
    ) -> Result<(), Fault> {
        // So many columns stay in a cache, and go to a thread.
        const COLUMNS: usize = 64;
        if self.pivots().any(|d| d == 0.0) {
            return Err(Fault::Singular);
        }
        let n = self.n;
        if n <= LANES {
            x.chunks_exact_mut(m).zip(&self.order).for_each(|(x, &from)| b(from, 0, x));
            self.substitute(x, m);
            return Ok(());
        }
        let width = COLUMNS.min(m.next_multiple_of(LANES));
        // Blocks of columns, one after the other.
        let mut blocks = Rows::zeros(m.div_ceil(width) * n, width);
        par.chunks_mut(&mut blocks, n * width, |block, own| {
            let start = block * width;
            for (row, &from) in own.chunks_exact_mut(width).zip(&self.order) {
                b(from, start, &mut row[..width.min(m - start)]);
            }
            simd::run_narrow(Solve { factors: &self.factors, x: own, width, n });
        });
        for (block, own) in blocks.chunks_exact(n * width).enumerate() {
            let start = block * width;
            for (x, own) in x.chunks_exact_mut(m).zip(own.chunks_exact(width)) {
                let x = &mut x[start..m.min(start + width)];
                x.copy_from_slice(&own[..x.len()]);
            }
        }
        Ok(())
    }
}

/// Factors the columns of a panel, and returns which row came to each place of the diagonal.
struct Panel<'a> {
    columns: &'a mut Rows,
    width: usize,
    rows: usize,
}

impl Loop for Panel<'_> {
    type Output = [usize; PANEL];
    #[inline(always)]
    fn run<I: Isa>(self) -> [usize; PANEL] {
        let Panel { columns, width, rows } = self;
        let stride = columns.stride;
        let columns: &mut [f64] = columns;
        let mut pivots = [0; PANEL];
        for k in 0..width {
            let column = &columns[k * stride + k..][..rows - k];
            // Of magnitudes, the bits are in the order of the numbers.
            let mut most = 0;
            for v in column {
                most = v.abs().to_bits().max(most);
            }
            let pivot = k + column.iter().position(|v| v.abs().to_bits() == most).expect("one of them");
            pivots[k] = pivot;
            if pivot != k {
                for column in columns.chunks_exact_mut(stride) {
                    column.swap(k, pivot);
                }
            }
            if most == 0 {
                continue; // The column is 0 from here on.
            }
            let (own, later) = columns[k * stride..].split_at_mut(stride);
            let pivot = own[k];
            let own = &mut own[k + 1..rows];
            for v in own.iter_mut() {
                *v /= pivot;
            }
            for column in later.chunks_exact_mut(stride) {
                let by = -column[k];
                add_scaled::<I>(&mut column[k + 1..rows], by, own);
            }
        }
        pivots
    }
}

/// Solves for `x` by both factors.
struct Solve<'a> {
    factors: &'a Rows,
    x: &'a mut [f64],
    width: usize,
    n: usize,
}

impl Loop for Solve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Solve { factors, x, width, n } = self;
        let stride = factors.stride;
        let factors: &[f64] = factors;
        for first in (0..n).step_by(PANEL) {
            let after = n.min(first + PANEL);
            let (own, below) = x[first * width..].split_at_mut((after - first) * width);
            for i in 1..after - first {
                let (known, row) = own.split_at_mut(i * width);
                let a = &factors[(first + i) * stride + first..];
                AddProduct { sizes: [1, i, width], sign: -1.0, c: (row, width), a: (a, [0, 1]), b: (known, width) }
                    .run::<I>();
            }
            let a = &factors[(after * stride + first).min(factors.len())..];
            let sizes = [n - after, after - first, width];
            AddProduct { sizes, sign: -1.0, c: (below, width), a: (a, [stride, 1]), b: (own, width) }.run::<I>();
        }
        for first in (0..n).step_by(PANEL).rev() {
            let after = n.min(first + PANEL);
            let (above, own) = x[..after * width].split_at_mut(first * width);
            for i in (0..after - first).rev() {
                let at = first + i;
                let (row, known) = own[i * width..].split_at_mut(width);
                let a = &factors[at * stride + at..];
                let sizes = [1, after - at - 1, width];
                AddProduct { sizes, sign: -1.0, c: (row, width), a: (&a[1..], [0, 1]), b: (known, width) }.run::<I>();
                for v in row {
                    *v /= a[0];
                }
            }
            let sizes = [first, after - first, width];
            AddProduct { sizes, sign: -1.0, c: (above, width), a: (&factors[first..], [stride, 1]), b: (own, width) }
                .run::<I>();
        }
    }
}

/// Replaces a symmetric matrix, of which the upper triangle is read, by the upper triangular `U` with `U' U` the matrix.
/// What is below is overwritten.
pub fn cholesky(a: &mut Rows, n: usize) -> Result<(), Fault> {
    simd::run_narrow(Cholesky { a, n })
}

struct Cholesky<'a> {
    a: &'a mut Rows,
    n: usize,
}

impl Loop for Cholesky<'_> {
    type Output = Result<(), Fault>;
    #[inline(always)]
    fn run<I: Isa>(self) -> Result<(), Fault> {
        let Cholesky { a, n } = self;
        let stride = a.stride;
        let a: &mut [f64] = a;
        for first in (0..n).step_by(PANEL) {
            let after = n.min(first + PANEL);
            let (own, mut below) = a[first * stride..].split_at_mut((after - first) * stride);
            for i in 0..after - first {
                let (known, row) = own.split_at_mut(i * stride);
                let sizes = [1, i, stride - first];
                let (a, b) =
                    ((&known[(first + i).min(known.len())..], [0, stride]), (&known[first.min(known.len())..], stride));
                AddProduct { sizes, sign: -1.0, c: (&mut row[first..stride], stride), a, b }.run::<I>();
                let square = row[first + i];
                // Not `<=`: this is also for NaN, which comes of overflow.
                if !(square > 0.0 && square.is_finite()) {
                    return Err(Fault::NotPositiveDefinite);
                }
                let root = square.sqrt();
                for v in &mut row[first + i..stride] {
                    *v /= root;
                }
            }
            // What is left of the diagonal is not needed.
            for start in (after..n).step_by(PANEL) {
                let height = PANEL.min(n - start);
                let (rows, rest) = below.split_at_mut(height * stride);
                below = rest;
                AddProduct {
                    sizes: [height, after - first, stride - start],
                    sign: -1.0,
                    c: (&mut rows[start..], stride),
                    a: (&own[start..], [1, stride]),
                    b: (&own[start..], stride),
                }
                .run::<I>();
            }
        }
        Ok(())
    }
}
