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
    // Each task has some positions, and looks at all indices: as few tasks as keep that small beside the additions.
    let each = (GRAIN / after).max(positions / (after / 32).max(1)).max(1);
    let tasks = positions.div_ceil(each);
    let shared = SharedMut::new(out);
    par.for_each(before * tasks, |task| {
        let (b, first) = (task / tasks, task % tasks * each);
        let start = (b * positions + first) * after;
        // SAFETY: each task has its own positions of its own `b` alone.
        let out = unsafe { shared.range(start..start + each.min(positions - first) * after) };
        for (&i, x) in at.iter().zip(x[b * at.len() * after..].chunks_exact(after)) {
            // What lies before `first` is very large.
            if let Some(out) = out.chunks_exact_mut(after).nth((i as usize).wrapping_sub(first)) {
                out.iter_mut().zip(x).for_each(|(o, &v)| *o = o.plus(v));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_added_in_their_order_however_the_work_is_split() {
        for (before, positions, after) in [(1, 300, 500), (2, 70, 1000), (3, 5, 2), (1, 1, 40_000), (2, 9, 1)] {
            let at: Vec<i64> = (0..200).map(|j| (j * j % positions) as i64).collect();
            let x: Vec<f32> = (0..before * at.len() * after).map(|i| (i as f32 * 0.7).sin()).collect();
            let mut want = vec![1.0; before * positions * after];
            for (slice, x) in x.chunks(after).enumerate() {
                let to = slice / at.len() * positions + at[slice % at.len()] as usize;
                want[to * after..][..after].iter_mut().zip(x).for_each(|(o, v)| *o += v);
            }
            for threads in [1, 3] {
                let mut have = vec![1.0; want.len()];
                let par = crate::with_threads(threads, Par::current);
                index_add(&mut have, [before, positions, after], &at, &x, &par);
                assert!(have == want, "{before} times {positions} slices of {after} on {threads} threads");
            }
        }
    }
}
