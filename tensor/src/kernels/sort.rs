//! The sort family: the order of the elements of a lane.

use std::cmp::Ordering;

use crate::dtype::Element;
use crate::par::{GRAIN, Par};

/// The order of two elements, NaN above all others.
fn order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    let nan = |x: &T| x.partial_cmp(x).is_none();
    a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
}

/// For each lane of `n` elements of `x`, the positions of its elements in sorted order. Equal elements, and NaN, keep
/// their order.
pub fn argsort<T: Element>(out: &mut [i64], x: &[T], n: usize, descending: bool, par: &Par) {
    if out.is_empty() {
        return;
    }
    let lanes = (GRAIN / n).max(1) * n;
    par.chunks_mut(out, lanes, |block, part| {
        let x = &x[block * lanes..][..part.len()];
        let mut keyed: Vec<(T::Compute, i64)> = Vec::with_capacity(n);
        for (out, x) in part.chunks_mut(n).zip(x.chunks(n)) {
            keyed.clear();
            keyed.extend(x.iter().zip(0..).map(|(v, i)| (v.up(), i)));
            match descending {
                true => keyed.sort_by(|a, b| order(&b.0, &a.0)),
                false => keyed.sort_by(|a, b| order(&a.0, &b.0)),
            }
            out.iter_mut().zip(&keyed).for_each(|(o, k)| *o = k.1);
        }
    });
}

/// For each lane of `n` elements, those of `x` at the positions `at`.
pub fn pick<T: Element>(out: &mut [T], x: &[T], at: &[i64], n: usize, par: &Par) {
    if out.is_empty() {
        return;
    }
    let lanes = (GRAIN / n).max(1) * n;
    par.chunks_mut(out, lanes, |block, part| {
        let from = block * lanes;
        for ((out, x), at) in part.chunks_mut(n).zip(x[from..].chunks(n)).zip(at[from..].chunks(n)) {
            out.iter_mut().zip(at).for_each(|(o, &i)| *o = x[i as usize]);
        }
    });
}

/// For each lane of `n` elements of `x`, at least one, the position of the first largest, or smallest; of the first
/// NaN, where there is one.
pub fn extreme<T: Element>(out: &mut [i64], x: &[T], n: usize, largest: bool, par: &Par) {
    let wins = |new: T::Compute, old: T::Compute| {
        let behind = if largest { new <= old } else { new >= old };
        // With NaN no comparison holds: a new one wins, an old one stays.
        !behind && old.partial_cmp(&old).is_some()
    };
    let first = |x: &[T]| {
        let mut best = (x[0].up(), 0);
        for (i, new) in x.iter().enumerate().skip(1) {
            let new = new.up();
            if wins(new, best.0) {
                best = (new, i);
            }
        }
        best.1
    };
    if let [out] = out {
        // One long lane: the winners of fixed blocks compete in their order.
        let winners = par.map(n.div_ceil(GRAIN), |i| i * GRAIN + first(&x[i * GRAIN..n.min((i + 1) * GRAIN)]));
        let of_winners: Vec<T> = winners.iter().map(|&i| x[i]).collect();
        *out = winners[first(&of_winners)] as i64;
        return;
    }
    let lanes = (GRAIN / n).max(1);
    par.chunks_mut(out, lanes, |block, part| {
        for (o, x) in part.iter_mut().zip(x[block * lanes * n..].chunks(n)) {
            *o = first(x) as i64;
        }
    });
}
