//! The fill family: constants and sequences.

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
