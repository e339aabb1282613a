//! The scan family: running folds along the middle axis of dense elements `[before, n, after]`.

use std::hint::select_unpredictable;

use crate::dtype::Element;
use crate::par::{GRAIN, Par, SharedMut};

/// Lanes side by side that are scanned together.
const WIDTH: usize = 256;

/// The numbers of elements before, along and after the axis of a scan.
pub type Sizes = [usize; 3];

/// Lanes along the last axis that are scanned in turn, element by element: each waits for its own sums only.
const ASIDE: usize = 4;

/// Elements of a lane that are looked at together for a new largest one.
const CHUNK: usize = 16;

/// Calls `f` with blocks of lanes of `n` elements each: their number, and that of the first.
fn for_lanes(lanes: usize, n: usize, par: &Par, f: impl Fn(usize, usize) + Sync) {
    let together = (GRAIN / n).max(ASIDE).next_multiple_of(ASIDE);
    par.for_each(lanes.div_ceil(together), |block| {
        let end = lanes.min((block + 1) * together);
        (block * together..end).step_by(ASIDE).for_each(|first| f(first, ASIDE.min(end - first)));
    });
}

/// Calls `f` for the elements of some lanes of `n` elements, in turn: with the number of the lane among them and that of
/// the element among all of theirs.
#[inline(always)]
fn in_turn(lanes: usize, n: usize, mut f: impl FnMut(usize, usize)) {
    if lanes == ASIDE {
        return (0..n).for_each(|i| (0..ASIDE).for_each(|lane| f(lane, lane * n + i)));
    }
    (0..lanes).for_each(|lane| (0..n).for_each(|i| f(lane, lane * n + i)));
}

/// Calls `f` with pieces that together are all lanes: where the first element of each lies, and how many lanes lie
/// side by side. Element `i` of lane `j` of a piece is at `first + i * after + j`.
fn for_pieces([before, n, after]: Sizes, par: &Par, f: impl Fn(usize, usize) + Sync) {
    if before * n * after == 0 {
        return;
    }
    let stretches = after.div_ceil(WIDTH);
    let pieces = before * stretches;
    let together = (GRAIN / (n * after.min(WIDTH))).max(1);
    par.for_each(pieces.div_ceil(together), |block| {
        for piece in block * together..pieces.min((block + 1) * together) {
            let from = piece % stretches * WIDTH;
            f(piece / stretches * n * after + from, WIDTH.min(after - from));
        }
    });
}

/// Running folds, in place.
fn fold<T: Element>(x: &mut [T], sizes: Sizes, par: &Par, f: impl Fn(T::Compute, T::Compute) -> T::Compute + Sync) {
    let [before, n, after] = sizes;
    let shared = SharedMut::new(x);
    if after == 1 && n > 0 {
        return for_lanes(before, n, par, |first, lanes| {
            // SAFETY: each call has its own lanes.
            let x = unsafe { shared.range(first * n..(first + lanes) * n) };
            let mut acc: [Option<T::Compute>; ASIDE] = [None; ASIDE];
            in_turn(lanes, n, |lane, at| {
                let v = x[at].up();
                let sum = acc[lane].map_or(v, |acc| f(acc, v));
                (x[at], acc[lane]) = (T::down(sum), Some(sum));
            });
        });
    }
    for_pieces(sizes, par, |first, width| {
        let mut acc = [T::Compute::default(); WIDTH];
        for i in 0..n {
            let start = first + i * after;
            // SAFETY: each piece has its own elements.
            let row = unsafe { shared.range(start..start + width) };
            for (v, acc) in row.iter_mut().zip(&mut acc) {
                *acc = if i == 0 { v.up() } else { f(*acc, v.up()) };
                *v = T::down(*acc);
            }
        }
    });
}

/// Running sums, in place.
pub fn cumsum<T: Element>(x: &mut [T], sizes: Sizes, par: &Par) {
    fold(x, sizes, par, Element::plus);
}

/// Running products, in place.
pub fn cumprod<T: Element>(x: &mut [T], sizes: Sizes, par: &Par) {
    fold(x, sizes, par, Element::times);
}

/// The largest element so far, in place, and its position along the axis: the last of equals. From the first NaN on,
/// NaN, and the position of the last one.
pub fn cummax<T: Element>(x: &mut [T], places: &mut [i64], sizes: Sizes, par: &Par) {
    let [before, n, after] = sizes;
    let (x, places) = (SharedMut::new(x), SharedMut::new(places));
    let is_nan = |v: T| v.partial_cmp(&v).is_none();
    // False for a number after NaN, true for NaN.
    let takes = |v: T, best: T| (v >= best) | is_nan(v);
    if after == 1 && n > 0 {
        return for_lanes(before, n, par, |first, lanes| {
            let range = first * n..(first + lanes) * n;
            // SAFETY: each call has its own lanes.
            let (x, places) = unsafe { (x.range(range.clone()), places.range(range)) };
            for (x, places) in x.chunks_exact_mut(n).zip(places.chunks_exact_mut(n)) {
                let mut best = (x[0], 0);
                for (k, (x, places)) in x.chunks_mut(CHUNK).zip(places.chunks_mut(CHUNK)).enumerate() {
                    // In most lanes a new largest element is rare: chunks without one are filled.
                    if x.iter().fold(true, |none, &v| none & !takes(v, best.0)) {
                        x.fill(best.0);
                        places.fill(best.1);
                        continue;
                    }
                    for (i, (x, place)) in x.iter_mut().zip(places).enumerate() {
                        if takes(*x, best.0) {
                            best = (*x, (k * CHUNK + i) as i64);
                        }
                        (*x, *place) = best;
                    }
                }
            }
        });
    }
    for_pieces(sizes, par, |first, width| {
        let mut best = [(T::default(), 0); WIDTH];
        for i in 0..n {
            let range = first + i * after..first + i * after + width;
            // SAFETY: each piece has its own elements.
            let (row, at) = unsafe { (x.range(range.clone()), places.range(range)) };
            for ((v, at), best) in row.iter_mut().zip(at).zip(&mut best) {
                let new = (i == 0) | takes(*v, best.0);
                *best = (select_unpredictable(new, *v, best.0), select_unpredictable(new, i as i64, best.1));
                (*v, *at) = *best;
            }
        }
    });
}

/// `s[i] = a[i] * s[i - 1] + s[i]` along the axis, in place; the first element of each lane stays.
pub fn recurrence<T: Element>(s: &mut [T], a: &[T], sizes: Sizes, par: &Par) {
    let [before, n, after] = sizes;
    let shared = SharedMut::new(s);
    if after == 1 && n > 0 {
        return for_lanes(before, n, par, |first, lanes| {
            // SAFETY: each call has its own lanes.
            let s = unsafe { shared.range(first * n..(first + lanes) * n) };
            let a = &a[first * n..][..lanes * n];
            let mut state: [Option<T::Compute>; ASIDE] = [None; ASIDE];
            in_turn(lanes, n, |lane, at| {
                let own = s[at].up();
                let next = state[lane].map_or(own, |state| a[at].up().times(state).plus(own));
                (s[at], state[lane]) = (T::down(next), Some(next));
            });
        });
    }
    for_pieces(sizes, par, |first, width| {
        let mut state = [T::Compute::default(); WIDTH];
        for i in 0..n {
            let start = first + i * after;
            // SAFETY: each piece has its own elements.
            let row = unsafe { shared.range(start..start + width) };
            for ((s, a), state) in row.iter_mut().zip(&a[start..]).zip(&mut state) {
                *state = if i == 0 { s.up() } else { a.up().times(*state).plus(s.up()) };
                *s = T::down(*state);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_so_far_is_that_of_looking_at_each() {
        for n in [1, 15, 16, 17, 100] {
            for nan_at in [None, Some(0), Some(n / 2), Some(n - 1)] {
                // Rare new ones, ties, and in the last of seven lanes only new ones.
                let number =
                    |lane: usize, i: usize| if lane == 6 { i as f32 } else { (i * i * (lane + 3) % 101) as f32 };
                let nan =
                    |lane: usize, i: usize| lane.is_multiple_of(2) && nan_at.is_some_and(|at| i == at || i == at + 3);
                let x = |lane, i| if nan(lane, i) { f32::NAN } else { number(lane, i) };
                let mut have: Vec<f32> = (0..7 * n).map(|at| x(at / n, at % n)).collect();
                let mut places = vec![-1; 7 * n];
                cummax(&mut have, &mut places, [7, n, 1], &Par::sequential());
                for (at, (have, place)) in have.iter().zip(places).enumerate() {
                    let (lane, end) = (at / n, at % n);
                    let largest = (0..=end).fold(0, |best, i| {
                        let takes = x(lane, i).is_nan() || x(lane, i) >= x(lane, best);
                        if takes { i } else { best }
                    });
                    let want = x(lane, largest);
                    assert_eq!((have.to_bits(), place), (want.to_bits(), largest as i64), "{at} of lanes of {n}");
                }
            }
        }
    }
}
