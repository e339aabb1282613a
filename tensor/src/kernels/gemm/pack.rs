//! Copies of operands in the order in which tiles read them.

use std::ops::Range;

use super::Matrix;
use crate::dtype::Element;
use crate::kernels::pane::copy_run;
use crate::kernels::transpose::transpose;
use crate::par::{Par, SharedMut};

/// Positions of the inner axis in a task.
const DEPTH: usize = 256;

/// The distance between lines of `depth` elements: such that neighbouring lines lie in different sets of a cache.
pub fn line(depth: usize) -> usize {
    depth.next_multiple_of(16) + 16
}

/// Copies a matrix into lines, and returns it as it lies there.
pub fn lines<'a, T: Element>(to: &'a mut [T], a: Matrix<'_, T>, rows: usize, depth: usize) -> Matrix<'a, T> {
    let stride = line(depth);
    place(to, stride, a, 0..rows, 0..depth);
    Matrix::dense(to, stride)
}

/// Copies a matrix of `depth` rows into panels of `wide` columns, one after the other. Columns up to the next whole
/// register, of `lanes`, are zeros.
pub fn panels<T: Element>(
    to: &mut [T],
    b: Matrix<'_, T>,
    depth: usize,
    columns: usize,
    [wide, lanes]: [usize; 2],
    par: &Par,
) {
    let (across, down) = (columns.div_ceil(wide), depth.div_ceil(DEPTH));
    let to = SharedMut::new(to);
    par.for_each(across * down, |task| {
        let (first, at) = (task / down * wide, task % down * DEPTH);
        let (columns, depth_here) = (wide.min(columns - first), DEPTH.min(depth - at));
        let width = columns.next_multiple_of(lanes);
        let start = first * depth + at * width;
        // SAFETY: each task writes its own rows of its own panel.
        let to = unsafe { to.range(start..start + depth_here * width) };
        panel(to, b.from(at, first), depth_here, columns, lanes);
    });
}

/// Copies a matrix of `depth` rows into one panel, as [`panels`] does.
pub fn panel<T: Element>(to: &mut [T], b: Matrix<'_, T>, depth: usize, columns: usize, lanes: usize) {
    let width = columns.next_multiple_of(lanes);
    place(to, width, b, 0..depth, 0..columns);
    if columns < width {
        to.chunks_mut(width).take(depth).for_each(|row| row[columns..].fill(T::default()));
    }
}

/// Copies a part of a matrix into rows `stride` apart.
fn place<T: Element>(to: &mut [T], stride: usize, m: Matrix<'_, T>, rows: Range<usize>, columns: Range<usize>) {
    if m.column_stride == 1 {
        for (to, i) in to.chunks_mut(stride).zip(rows) {
            copy_run(&mut to[..columns.len()], &m.data[m.from(i, columns.start).offset..][..columns.len()]);
        }
    } else if m.row_stride == 1 && m.column_stride >= 0 {
        let from = m.from(rows.start, columns.start);
        transpose(to, stride, &m.data[from.offset..], m.column_stride as usize, columns.len(), rows.len());
    } else {
        for (to, i) in to.chunks_mut(stride).zip(rows) {
            for (to, j) in to.iter_mut().zip(columns.clone()) {
                *to = m.data[m.from(i, j).offset];
            }
        }
    }
}
