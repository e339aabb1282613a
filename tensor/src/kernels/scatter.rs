//! The scatter family: elements put or added to places picked by index.
//!
//! Indices come dense and checked (see [`gather::outside`](super::gather::outside)). What goes to one place goes there
//! in the order of its indices, however the work is split, so the bits are the same for any number of threads.

use crate::dtype::Element;
use crate::layout::{Cut, Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

/// Elements next to one another that a block writes to, where there are as many.
const WIDTH: usize = 64;

/// `out[p with its place on axis replaced by at[p]] = f(that, x[p])`: `out` is dense of shape `shape`, `at` and `x` are
/// dense of shape `index`, which on the other axes is at most `shape`.
pub fn scatter<T: Element>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    (at, index): (&[i64], &Shape),
    x: &[T],
    f: impl Fn(T, T) -> T + Sync,
    par: &Par,
) {
    if at.is_empty() {
        return;
    }
    let mut strides = shape.strides();
    let along = std::mem::replace(&mut strides[axis], 0);
    let target = Layout::strided(index.clone(), strides, 0);
    let source = Layout::dense(index.clone());
    // Positions of an axis are independent of one another, unless it is the one that the index walks.
    let split = (0..index.rank()).find(|&a| a != axis);
    let positions = split.map_or(1, |a| index[a]);
    let least = if split == Some(0) { 1 } else { WIDTH.min(positions) };
    let together = (GRAIN * positions / at.len()).clamp(least, positions);
    let shared = SharedMut::new(out);
    par.for_each(positions.div_ceil(together), |block| {
        let mut cuts: Vec<Cut> = index.iter().map(|&count| Cut { start: 0, step: 1, count }).collect();
        if let Some(axis) = split {
            let start = block * together;
            cuts[axis] = Cut { start, step: 1, count: together.min(positions - start) };
        }
        let (target, source) = (target.slice(&cuts), source.slice(&cuts));
        let joint = Joint::new(target.shape(), [&target, &source]);
        let [to_step, from_step] = joint.inner_strides;
        let put = |to: isize, i: i64, v: T| {
            let to = (to + i as isize * along) as usize;
            // SAFETY: each block writes to its own positions of the axis that is split, and there is one block where
            // none is.
            let o = unsafe { &mut shared.range(to..to + 1)[0] };
            *o = f(*o, v);
        };
        joint.for_runs(0..joint.runs(), |_, [to, from]| {
            let (n, to) = (joint.inner, to as isize);
            if [to_step, from_step] == [0, 1] {
                return at[from..][..n].iter().zip(&x[from..][..n]).for_each(|(&i, &v)| put(to, i, v));
            }
            for k in 0..n as isize {
                let from = (from as isize + k * from_step) as usize;
                put(to + k * to_step, at[from], x[from]);
            }
        });
    });
}

/// `out[b, at[j], a] += x[b, j, a]`, all dense; given are the numbers of `b`, of positions in `out`, and of `a`.
pub fn index_add<T: Element>(out: &mut [T], [before, positions, after]: [usize; 3], at: &[i64], x: &[T], par: &Par) {
    if out.is_empty() || at.is_empty() {
        return;
    }
    if after == 1 {
        return par.chunks_mut(out, positions, |b, row| {
            at.iter().zip(&x[b * at.len()..]).for_each(|(&i, &v)| row[i as usize] = row[i as usize].plus(v));
        });
    }
    // Stretches of `a` are independent of one another: as long as all threads have some.
    let each = if before < par.threads() { after.div_ceil(par.threads()) } else { after };
    let width = each.max(WIDTH).min(after);
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
