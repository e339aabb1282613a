//! The fill family: constants, sequences, triangles.

use crate::dtype::Element;
use crate::par::{GRAIN, Par};

/// Sets every element to `value`.
pub fn constant<T: Element>(out: &mut [T], value: T, par: &Par) {
    par.chunks_mut(out, GRAIN, |_, part| part.fill(value));
}

/// Sets element `i` to `f(i)`.
pub fn sequence<T: Element>(out: &mut [T], par: &Par, f: impl Fn(usize) -> T + Sync) {
    par.chunks_mut(out, GRAIN, |block, part| {
        for (i, o) in part.iter_mut().enumerate() {
            *o = f(block * GRAIN + i);
        }
    });
}

/// Sets what lies above diagonal number `offset` of dense matrices to 0 (`lower` remains), or what lies below it.
pub fn triangle<T: Element>(out: &mut [T], rows: usize, columns: usize, offset: isize, lower: bool, par: &Par) {
    let rows_per_block = (GRAIN / columns.max(1)).max(1);
    par.chunks_mut(out, rows_per_block * columns, |block, part| {
        for (i, row) in part.chunks_mut(columns.max(1)).enumerate() {
            let at = (block * rows_per_block + i) % rows;
            let on = (at as isize).saturating_add(offset);
            let (above, below) = (on.saturating_add(1).clamp(0, columns as isize), on.clamp(0, columns as isize));
            if lower { row[above as usize..].fill(T::default()) } else { row[..below as usize].fill(T::default()) }
        }
    });
}
