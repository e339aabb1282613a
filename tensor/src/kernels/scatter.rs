//! The scatter family: elements added to places picked by index.
//!
//! Indices come dense and checked (see [`gather::outside`](super::gather::outside)). Several additions to one place are
//! made in the order of their indices, however the work is split, so the bits are the same for any number of threads.

use crate::dtype::Element;
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

/// `out[p with its place on axis replaced by at[p]] += x[p]`: `out` is dense of shape `shape`, `at` and `x` are dense
/// of shape `index`, which on the other axes is at most `shape`.
pub fn scatter_add<T: Element>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    (at, index): (&[i64], &Shape),
    x: &[T],
    par: &Par,
) {
    if at.is_empty() {
        return;
    }
    let mut strides = shape.strides();
    let along = std::mem::replace(&mut strides[axis], 0);
    // Blocks of the first axis are independent of one another, unless it is the one that the index walks.
    let (rows, row) = if axis == 0 { (1, out.len()) } else { (index[0], out.len() / shape[0]) };
    let of_row = at.len() / rows;
    let per_block = (GRAIN / of_row).max(1);
    par.chunks_mut(&mut out[..rows * row], per_block * row, |block, part| {
        let mut part_shape = index.clone();
        if axis != 0 {
            part_shape[0] = part.len() / row;
        }
        let first = block * per_block * of_row;
        let (at, x) = (&at[first..], &x[first..]);
        let joint = Joint::new(&part_shape, [&Layout::strided(part_shape.clone(), strides.clone(), 0)]);
        let (inner, step) = (joint.inner, joint.inner_strides[0]);
        joint.for_runs(0..joint.runs(), |run, [to]| {
            let run = run * inner..(run + 1) * inner;
            for (k, (&i, &v)) in at[run.clone()].iter().zip(&x[run]).enumerate() {
                let o = &mut part[(to as isize + k as isize * step + i as isize * along) as usize];
                *o = o.plus(v);
            }
        });
    });
}

/// Elements next to one another that a block of [`index_add`] adds to.
const WIDTH: usize = 256;

/// `out[b, at[j], a] += x[b, j, a]`, all dense; given are the numbers of `b`, of positions in `out`, and of `a`.
pub fn index_add<T: Element>(out: &mut [T], [before, positions, after]: [usize; 3], at: &[i64], x: &[T], par: &Par) {
    if out.is_empty() || at.is_empty() {
        return;
    }
    // Stretches of `a` are independent of one another.
    let width = after.min(WIDTH);
    let stretches = after.div_ceil(width);
    let shared = SharedMut::new(out);
    par.for_each(before * stretches, |block| {
        let (b, from) = (block / stretches, block % stretches * width);
        let n = width.min(after - from);
        for (j, &i) in at.iter().enumerate() {
            let start = (b * positions + i as usize) * after + from;
            // SAFETY: each block writes to its own stretch of its own `b` alone, and blocks do not overlap.
            let out = unsafe { shared.range(start..start + n) };
            let x = &x[(b * at.len() + j) * after + from..][..n];
            out.iter_mut().zip(x).for_each(|(o, &v)| *o = o.plus(v));
        }
    });
}
