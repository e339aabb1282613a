//! The scatter family: elements put or added to places picked by index.
//!
//! Indices come dense; those of [`index_add`] come checked (see [`outside`]), [`scatter`] checks its own. What goes to one
//! place goes there in the order of its indices, however the work is split, so the bits are the same for any number of
//! threads.

use crate::dtype::Element;
use crate::kernels::gather::{Wrong, outside};
use crate::layout::{Cut, Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

/// Elements next to one another that a block writes to, where there are as many.
const WIDTH: usize = 64;

/// `out[p with its place on axis replaced by at[p]] = f(that, x[p])`: `out` is dense of shape `shape`, `at` is dense of
/// shape `index`, which on the other axes is at most `shape`, and `x` lies as `layout` of that shape says. Returns the
/// place of the first index that is not a position of the axis; then `out` is not what it should be.
#[allow(clippy::too_many_arguments)] // three operands of elements and shape, and how to combine them
pub fn scatter<T: Element>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    (at, index): (&[i64], &Shape),
    (x, layout): (&[T], &Layout),
    f: impl Fn(T, T) -> T + Sync,
    par: &Par,
) -> Option<usize> {
    if at.is_empty() {
        return None;
    }
    let (size, mut strides) = (shape[axis], shape.strides());
    let along = std::mem::replace(&mut strides[axis], 0);
    // Positions of an axis are independent of one another, unless it is the one that the index walks.
    let split = (0..index.rank()).find(|&a| a != axis && index[a] > 1);
    if split.is_none() && along == 1 {
        let from = (layout.offset(), layout.strides()[axis]);
        return scatter_lane(&mut out[..size], at, (x, from), f, par);
    }
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
        let [to_step, place_step, from_step] = joint.inner_strides;
        joint.for_runs(0..joint.runs(), |_, [to, place, from]| {
            let n = joint.inner;
            if [to_step, place_step, from_step, along] == [0, 1, 1, 1] {
                // SAFETY: this is a lane along the axis, at one position of that which is split, and each block has its
                // own of these.
                let lane = unsafe { shared.range(to..to + size) };
                for (k, (&i, &v)) in at[place..][..n].iter().zip(&x[from..]).enumerate() {
                    // What is negative is very large as an unsigned number.
                    let Some(o) = lane.get_mut(i as usize) else { return wrong.at(place + k) };
                    *o = f(*o, v);
                }
                return;
            }
            for k in 0..n as isize {
                let place = place.wrapping_add_signed(k * place_step);
                let i = at[place];
                if i as usize >= size {
                    return wrong.at(place);
                }
                let to = (to as isize + k * to_step + i as isize * along) as usize;
                // SAFETY: each block writes to its own positions of the axis that is split, and there is one block where
                // none is.
                let o = unsafe { &mut shared.range(to..to + 1)[0] };
                *o = f(*o, x[from.wrapping_add_signed(k * from_step)]);
            }
        });
    });
    wrong.first()
}

/// Indices that a thread looks at together.
const AT_A_TIME: usize = 1024;

/// [`scatter`] into one dense lane, of elements `x[start + k * step]`: each thread takes those that go to its own stretch
/// of the lane, in their order. So the bits do not depend on the number of stretches.
fn scatter_lane<T: Element>(
    lane: &mut [T],
    at: &[i64],
    (x, (start, step)): (&[T], (usize, isize)),
    f: impl Fn(T, T) -> T + Sync,
    par: &Par,
) -> Option<usize> {
    let (size, wrong) = (lane.len(), Wrong::none());
    let x = |place: usize| x[start.wrapping_add_signed(place as isize * step)];
    if size == 0 || par.threads() == 1 {
        for (place, &i) in at.iter().enumerate() {
            let Some(o) = lane.get_mut(i as usize) else { return Some(place) };
            *o = f(*o, x(place));
        }
        return None;
    }
    par.chunks_mut(lane, size.div_ceil(par.threads()), |stretch, lane| {
        let low = stretch * size.div_ceil(par.threads());
        for (k, at) in at.chunks(AT_A_TIME).enumerate() {
            let first = k * AT_A_TIME;
            if let Some(place) = outside(at, size) {
                return wrong.at(first + place);
            }
            // Each is noted, and what goes elsewhere is written over: no branch to mispredict.
            let (mut own, mut count) = ([0; AT_A_TIME], 0);
            for (k, &i) in at.iter().enumerate() {
                own[count] = k as u16;
                count += ((i as usize).wrapping_sub(low) < lane.len()) as usize;
            }
            for &k in &own[..count] {
                let o = &mut lane[at[k as usize] as usize - low];
                *o = f(*o, x(first + k as usize));
            }
        }
    });
    wrong.first()
}

/// `out[b, at[j], a] += x[b, j, a]`, all dense; given are the numbers of `b`, of positions in `out`, and of `a`.
pub fn index_add<T: Element>(out: &mut [T], [before, positions, after]: [usize; 3], at: &[i64], x: &[T], par: &Par) {
    if out.is_empty() || at.is_empty() {
        return;
    }
    if after == 1 && before == 1 {
        scatter_lane(out, at, (x, (0, 1)), Element::plus, par);
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
