//! Householder reflections, some at a time.
//!
//! The product of reflections in planes with the normals `v0 .. vk` is `I - V T V'`, whose columns of `V` are the normals
//! and whose `T` is upper triangular (R. Schreiber and C. Van Loan, A storage-efficient WY representation for products of
//! Householder transformations, 1989): it is applied by three products of matrices.

use std::ops::Range;

use super::rows::{AddProduct, LANES, Rows, add_scaled, dot};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::transpose;

/// Reflections that are applied together.
pub const PANEL: usize = 16;

/// Some reflections.
pub struct Reflections {
    /// A normal in each row.
    normals: Rows,
    count: usize,
    /// Where normals may have elements other than 0.
    within: Range<usize>,
    /// The factor `T`, by columns.
    factor: [[f64; PANEL]; PANEL],
}

impl Reflections {
    /// The reflections `I - scales[i] v v'`, in this order, where `v` is row `i` of `normals`, of which there are at most
    /// [`PANEL`], and is 0 but `within` a range.
    pub fn new(normals: Rows, scales: &[f64], within: Range<usize>) -> Reflections {
        let factor = simd::run_narrow(Factor { normals: &normals, scales });
        Reflections { normals, count: scales.len(), within, factor }
    }

    /// Multiplies some columns of `x` by the product of the reflections, or by its transpose. The columns begin at a
    /// multiple of [`LANES`].
    pub fn apply(&self, x: &mut Rows, columns: Range<usize>, transposed: bool) {
        let width = (columns.end - columns.start).next_multiple_of(LANES);
        simd::run_narrow(Apply { reflections: self, x, start: columns.start, width, transposed });
    }
}

struct Factor<'a> {
    normals: &'a Rows,
    scales: &'a [f64],
}

impl Loop for Factor<'_> {
    type Output = [[f64; PANEL]; PANEL];
    #[inline(always)]
    fn run<I: Isa>(self) -> [[f64; PANEL]; PANEL] {
        let mut factor = [[0.0; PANEL]; PANEL];
        for (i, &scale) in self.scales.iter().enumerate() {
            let (known, column) = factor.split_at_mut(i);
            for (j, known) in known.iter().enumerate() {
                let by = -scale * dot::<I>(self.normals.row(j), self.normals.row(i));
                column[0][..=j].iter_mut().zip(known).for_each(|(v, known)| *v += by * known);
            }
            column[0][i] = scale;
        }
        factor
    }
}

struct Apply<'a> {
    reflections: &'a Reflections,
    x: &'a mut Rows,
    start: usize,
    width: usize,
    transposed: bool,
}

impl Loop for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Apply { reflections: Reflections { normals, count, within, factor }, x, start, width, transposed } = self;
        let (count, rows, across, stride) = (*count, within.len(), normals.stride, x.stride);
        let (normals, x) = (&normals[within.start..], &mut x[within.start * stride + start..]);
        let (mut sums, mut turns) = (Rows::zeros(count, width), Rows::zeros(count, width));
        let (c, a) = ((&mut sums[..], width), (normals, [across, 1]));
        AddProduct { sizes: [count, rows, width], sign: 1.0, c, a, b: (x, stride) }.run::<I>();
        let a = (factor.as_flattened(), if transposed { [PANEL, 1] } else { [1, PANEL] });
        AddProduct { sizes: [count, count, width], sign: 1.0, c: (&mut turns, width), a, b: (&sums, width) }.run::<I>();
        let (c, a) = ((x, stride), (normals, [1, across]));
        AddProduct { sizes: [rows, count, width], sign: -1.0, c, a, b: (&turns, width) }.run::<I>();
    }
}

/// The reflection that turns a vector onto one of its elements, its `head`: replaces the vector by a normal, in which that
/// is 1, and returns the scale of the reflection and what the element becomes.
#[inline(always)]
pub fn reflection<I: Isa>(head: &mut f64, tail: &mut [f64]) -> (f64, f64) {
    // Of matrices whose largest element is 1. The squares of smaller numbers have lost digits, and the matrix so small a
    // part of it rounds away.
    const NOTHING: f64 = 1e-280;
    let rest = dot::<I>(tail, tail);
    let was = std::mem::replace(head, 1.0);
    if rest < NOTHING {
        tail.fill(0.0);
        return (0.0, was);
    }
    let length = (was * was + rest).sqrt();
    let becomes = if was > 0.0 { -length } else { length };
    let by = (was - becomes).recip();
    for v in tail {
        *v *= by;
    }
    ((becomes - was) / becomes, becomes)
}

/// Replaces a matrix of `columns` columns by its upper triangular factor, and returns the reflections whose product is the
/// other one. What is below the diagonal is overwritten.
pub fn triangularize(a: &mut Rows, columns: usize) -> Vec<Reflections> {
    let (stride, rows) = (a.stride, a.len() / a.stride);
    let k = rows.min(columns);
    let panels = (0..k).step_by(PANEL).map(|first| {
        let width = PANEL.min(k - first);
        // Columns as rows, so that a column is one stretch.
        let mut panel = Rows::zeros(width, rows);
        let across = panel.stride;
        transpose(&mut panel[first..], across, &a[first * stride + first..], stride, rows - first, width);
        let (scales, diagonal) = simd::run_narrow(Panel { columns: &mut panel, first, rows });
        // What is above the diagonal belongs to the other factor.
        let mut upper = [[0.0; PANEL]; PANEL];
        for j in 0..width {
            let above = &mut panel.row_mut(j)[first..first + j];
            upper[j][..j].copy_from_slice(above);
            upper[j][j] = diagonal[j];
            above.fill(0.0);
        }
        let reflections = Reflections::new(panel, &scales[..width], first..rows);
        if first + width < columns {
            // A short panel ends within a register.
            reflections.apply(a, (first + width) / LANES * LANES..columns, true);
        }
        for (j, upper) in upper[..width].iter().enumerate() {
            (0..=j).for_each(|i| a.row_mut(first + i)[first + j] = upper[i]);
        }
        reflections
    });
    panels.collect()
}

/// Turns the columns of a panel onto the diagonal: leaves normals from there on, and returns their scales and the
/// diagonal.
struct Panel<'a> {
    columns: &'a mut Rows,
    first: usize,
    rows: usize,
}

impl Loop for Panel<'_> {
    type Output = ([f64; PANEL], [f64; PANEL]);
    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        let Panel { columns, first, rows } = self;
        let (stride, width) = (columns.stride, columns.len() / columns.stride);
        let (mut scales, mut diagonal) = ([0.0; PANEL], [0.0; PANEL]);
        let columns: &mut [f64] = columns;
        for k in 0..width {
            let at = first + k;
            let (own, later) = columns[k * stride..].split_at_mut(stride);
            let normal = &mut own[at..rows];
            let (head, tail) = normal.split_first_mut().expect("a panel ends on the diagonal");
            (scales[k], diagonal[k]) = reflection::<I>(head, tail);
            for column in later.chunks_exact_mut(stride) {
                let column = &mut column[at..rows];
                let by = -scales[k] * dot::<I>(column, normal);
                add_scaled::<I>(column, by, normal);
            }
        }
        (scales, diagonal)
    }
}

/// The first `columns` columns of the product of reflections, of `rows` elements.
pub fn product(all: &[Reflections], rows: usize, columns: usize) -> Rows {
    let mut q = Rows::zeros(rows, columns);
    for i in 0..rows.min(columns) {
        q.row_mut(i)[i] = 1.0;
    }
    // From the last one on, each meets as many columns of zeros as there are before it.
    all.iter().rev().for_each(|reflections| reflections.apply(&mut q, reflections.within.start..columns, false));
    q
}
