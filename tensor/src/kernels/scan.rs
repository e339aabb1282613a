//! The scan family: running folds along the middle axis of dense elements `[before, n, after]`.

use crate::dtype::Element;
use crate::par::{GRAIN, Par, SharedMut};

/// Lanes side by side that are scanned together.
const WIDTH: usize = 256;

/// The numbers of elements before, along and after the axis of a scan.
pub type Sizes = [usize; 3];

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
    let [_, n, after] = sizes;
    let shared = SharedMut::new(x);
    for_pieces(sizes, par, |first, width| {
        if after == 1 {
            // SAFETY: each piece has its own elements, here those of one lane.
            let lane = unsafe { shared.range(first..first + n) };
            let mut acc = lane[0].up();
            for v in &mut lane[1..] {
                acc = f(acc, v.up());
                *v = T::down(acc);
            }
            return;
        }
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
    let [_, n, after] = sizes;
    let (x, places) = (SharedMut::new(x), SharedMut::new(places));
    let is_nan = |v: T| v.partial_cmp(&v).is_none();
    for_pieces(sizes, par, |first, width| {
        let mut best = [(T::default(), 0); WIDTH];
        for i in 0..n {
            let range = first + i * after..first + i * after + width;
            // SAFETY: each piece has its own elements.
            let (row, at) = unsafe { (x.range(range.clone()), places.range(range)) };
            for ((v, at), best) in row.iter_mut().zip(at).zip(&mut best) {
                if i == 0 || is_nan(*v) || *v >= best.0 {
                    *best = (*v, i as i64);
                }
                (*v, *at) = *best;
            }
        }
    });
}

/// `s[i] = a[i] * s[i - 1] + s[i]` along the axis, in place; the first element of each lane stays.
pub fn recurrence<T: Element>(s: &mut [T], a: &[T], sizes: Sizes, par: &Par) {
    let [_, n, after] = sizes;
    let shared = SharedMut::new(s);
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
