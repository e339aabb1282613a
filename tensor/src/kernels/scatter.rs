//! The scatter family: elements put or added to places picked by index.
//!
//! Indices come dense; those of [`index_add`] come checked (see [`gather::outside`](super::gather::outside)), [`scatter`]
//! checks its own. What goes to one place goes there in the order of its indices, however the work is split, so the bits
//! are the same for any number of threads.

use crate::dtype::Element;
use crate::kernels::gather::Wrong;
use crate::layout::{Cut, Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

/// Elements next to one another that a block writes to, where there are as many.
const WIDTH: usize = 64;

/// `out[p with its place on axis replaced by at[p]] = f(that, x[p])`: `out` is dense of shape `shape`, `at` is dense of
/// shape `index`, which on the other axes is at most `shape`, and `x` lies as `layout` of that shape says. Returns the
/// place of the first index that is not a position of the axis; then `out` is not what it should be.
pub fn scatter<T: Element>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    (at, index): (&[i64], &Shape),
    (x, layout): (&[T], &Layout),
    f: impl Fn(T, T) -> T + Sync,
    par: &Par,
) -> Option<usize> {
    if at.is_empty() || shape[axis] == 0 {
        return Some(0).filter(|_| !at.is_empty());
    }
    let (size, mut strides) = (shape[axis], shape.strides());
    let along = std::mem::replace(&mut strides[axis], 0);
    // Positions of an axis are independent of one another, unless it is the one that the index walks.
    let split = (0..index.rank()).find(|&a| a != axis && index[a] > 1);
    let target = Layout::strided(index.clone(), strides, 0);
    let places = Layout::dense(index.clone());
    let positions = split.map_or(1, |a| index[a]);
    let least = if split == Some(0) { 1 } else { WIDTH.min(positions) };
    let together = (GRAIN * positions / at.len()).clamp(least, positions);
    let (shared, wrong) = (SharedMut::new(out), Wrong::none());
    par.for_each(positions.div_ceil(together), |block| {
        let mut cuts: Vec<Cut> = index.iter().map(|&count| Cut { start: 0, step: 1, count }).collect();
        if let Some(axis) = split {
            let start = block * together;
            cuts[axis] = Cut { start, step: 1, count: together.min(positions - start) };
        }
        let [target, places, source] = [&target, &places, layout].map(|layout| layout.slice(&cuts));
        let joint = Joint::new(target.shape(), [&target, &places, &source]);
        let [to_step, steps @ ..] = joint.inner_strides;
        joint.for_runs(0..joint.runs(), |_, [to, firsts @ ..]| {
            if [to_step, along] == [0, 1] {
                // SAFETY: this is a lane along the axis, at one position of that which is split, and each block has its
                // own of these.
                let lane = unsafe { shared.range(to..to + size) };
                // What is negative is very large as an unsigned number.
                let put = |_, i: i64, v: T| lane.get_mut(i as usize).map(|o| *o = f(*o, v)).is_some();
                return for_pairs((at, x), firsts, steps, joint.inner, &wrong, put);
            }
            for_pairs((at, x), firsts, steps, joint.inner, &wrong, |k, i, v| {
                if i as usize >= size {
                    return false;
                }
                let to = (to as isize + k as isize * to_step + i as isize * along) as usize;
                // SAFETY: each block writes to its own positions of the axis that is split, and there is one block where
                // none is.
                let o = unsafe { &mut shared.range(to..to + 1)[0] };
                *o = f(*o, v);
                true
            });
        });
    });
    wrong.first()
}

/// Calls `put` with the numbers of some evenly spaced indices, and each index and element, until it returns false: that index
/// is wrong.
#[inline(always)]
fn for_pairs<T: Element>(
    (at, x): (&[i64], &[T]),
    [place, from]: [usize; 2],
    steps: [isize; 2],
    count: usize,
    wrong: &Wrong,
    mut put: impl FnMut(usize, i64, T) -> bool,
) {
    let at_each = |k: usize| at[place.wrapping_add_signed(k as isize * steps[0])];
    let bad = match steps {
        [1, 1] => at[place..][..count].iter().zip(&x[from..]).enumerate().position(|(k, (&i, &v))| !put(k, i, v)),
        [1, 0] => {
            let v = x[from];
            at[place..][..count].iter().enumerate().position(|(k, &i)| !put(k, i, v))
        }
        [_, step] => (0..count).find(|&k| !put(k, at_each(k), x[from.wrapping_add_signed(k as isize * step)])),
    };
    if let Some(k) = bad {
        wrong.at(place.wrapping_add_signed(k as isize * steps[0]));
    }
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
