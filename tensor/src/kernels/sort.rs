//! The sort family: the order of the elements of a lane.
//!
//! The order is that of unsigned integer keys: numbers as usual, both zeros alike, NaN above all others. A key packed
//! with the element's position is sorted as one integer, so that equal elements keep their order.

use std::hint::select_unpredictable;

use crate::dtype::{DType, Element};
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// The key of an element. Of elements with at most 32 bits, it is below 2^32.
#[inline(always)]
fn key<C: Element>(x: C) -> u64 {
    if x.partial_cmp(&x).is_none() {
        return last_key::<C>();
    }
    // Both zeros have one key.
    let x = if x == C::default() { C::default() } else { x };
    match C::DTYPE {
        DType::F32 => {
            let bits: u32 = bytemuck::cast(x);
            (if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }) as u64
        }
        DType::F64 => {
            let bits: u64 = bytemuck::cast(x);
            if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
        }
        DType::I64 => x.to_i64() as u64 ^ 1 << 63,
        // Narrow integers, moved up to be positive.
        _ => (x.to_i64() + (1 << 31)) as u64,
    }
}

/// The largest key, which NaN has.
fn last_key<C: Element>() -> u64 {
    if is_wide::<C>() { u64::MAX } else { u32::MAX as u64 }
}

fn is_wide<C: Element>() -> bool {
    size_of::<C>() == 8
}

/// A key and a position in one integer.
trait Packed: Copy + Ord + Default {
    /// Steps of a sort by digits.
    const DIGITS: usize;
    fn pack(key: u64, at: usize) -> Self;
    fn at(self) -> usize;
    /// Digit number `i` of the key, from the least.
    fn digit(self, i: usize) -> usize;
}

/// Bits of a digit.
const BITS: usize = 11;

macro_rules! packed {
    ($($t:ty: $half:literal)*) => {$(
        impl Packed for $t {
            const DIGITS: usize = usize::div_ceil($half, BITS);
            #[inline(always)]
            fn pack(key: u64, at: usize) -> $t {
                (key as $t) << $half | at as $t
            }
            #[inline(always)]
            fn at(self) -> usize {
                (self & ((1 << $half) - 1)) as usize
            }
            #[inline(always)]
            fn digit(self, i: usize) -> usize {
                (self >> ($half + i * BITS)) as usize & ((1 << BITS) - 1)
            }
        }
    )*};
}
packed! { u64: 32 u128: 64 }

/// Calls `$f` with the packed form that holds keys of `$T` and positions below `$n`.
macro_rules! with_packed {
    ($T:ty, $n:expr, $P:ident => $f:expr) => {
        if is_wide::<<$T as Element>::Compute>() || $n > u32::MAX as usize {
            type $P = u128;
            $f
        } else {
            type $P = u64;
            $f
        }
    };
}

/// Keys and positions of a lane; in reverse order of keys where `descending`.
fn pack<T: Element, P: Packed>(out: &mut Vec<P>, x: &[T], descending: bool) {
    let flip = if descending { last_key::<T::Compute>() } else { 0 };
    out.clear();
    out.extend(x.iter().enumerate().map(|(i, v)| P::pack(key(v.up()) ^ flip, i)));
}

/// Sorts by digits from the least, each step keeping the order of the one before; a short lane by comparison.
fn sort<P: Packed>(x: &mut Vec<P>, spare: &mut Vec<P>) {
    if x.len() < 2048 {
        return x.sort_unstable();
    }
    spare.resize(x.len(), P::default());
    let mut counts = vec![[0usize; 1 << BITS]; P::DIGITS];
    for &v in &*x {
        counts.iter_mut().enumerate().for_each(|(i, count)| count[v.digit(i)] += 1);
    }
    for (i, count) in counts.iter_mut().enumerate() {
        if count[x[0].digit(i)] == x.len() {
            continue; // All have this digit.
        }
        let mut at = 0;
        for c in count.iter_mut() {
            (*c, at) = (at, at + *c);
        }
        for &v in &*x {
            let place = &mut count[v.digit(i)];
            spare[*place] = v;
            *place += 1;
        }
        std::mem::swap(x, spare);
    }
}

/// Lanes up to this length are sorted by counting what comes before each element, which takes no branch.
const SHORT: usize = 16;

/// For each of some short lanes of keys, the first `n` of each, how many come before each key.
struct Ranks<'a, K> {
    out: &'a mut [[K; SHORT]],
    keys: &'a [[K; SHORT]],
    n: usize,
}

macro_rules! ranks {
    ($($k:ty)*) => {$(
        impl Loop for Ranks<'_, $k> {
            type Output = ();
            #[inline(always)]
            fn run<I: Isa>(self) {
                for (out, keys) in self.out.iter_mut().zip(self.keys) {
                    let mut before = [0; SHORT];
                    for (i, &key) in keys[..self.n].iter().enumerate() {
                        for l in 0..SHORT {
                            // Of equals, the first.
                            let first = (key == keys[l]) & ((i as $k) < l as $k);
                            before[l] += ((key < keys[l]) | first) as $k;
                        }
                    }
                    *out = before;
                }
            }
        }
    )*};
}
ranks! { u32 u64 }

/// [`argsort`] of short lanes.
fn argsort_short<T: Element>(out: &mut [i64], x: &[T], n: usize, descending: bool) {
    /// Lanes that are ranked by one call.
    const TOGETHER: usize = 16;
    let flip = if descending { last_key::<T::Compute>() } else { 0 };
    macro_rules! by {
        ($k:ty) => {{
            let (mut keys, mut ranks) = ([[0; SHORT]; TOGETHER], [[0; SHORT]; TOGETHER]);
            for (out, x) in out.chunks_mut(n * TOGETHER).zip(x.chunks(n * TOGETHER)) {
                for (keys, x) in keys.iter_mut().zip(x.chunks_exact(n)) {
                    keys.iter_mut().zip(x).for_each(|(o, v)| *o = (key(v.up()) ^ flip) as $k);
                }
                let lanes = out.len() / n;
                simd::run(Ranks { out: &mut ranks[..lanes], keys: &keys[..lanes], n });
                for (out, ranks) in out.chunks_exact_mut(n).zip(&ranks) {
                    ranks[..n].iter().enumerate().for_each(|(i, &rank)| out[rank as usize] = i as i64);
                }
            }
        }};
    }
    if is_wide::<T::Compute>() { by!(u64) } else { by!(u32) }
}

/// For each lane of `n` elements of `x`, the positions of its elements in sorted order. Equal elements, and NaN, keep
/// their order.
pub fn argsort<T: Element>(out: &mut [i64], x: &[T], n: usize, descending: bool, par: &Par) {
    if n <= SHORT {
        return for_lanes(out, n, n, par, |first, out| {
            argsort_short(out, &x[first * n..][..out.len()], n, descending);
        });
    }
    with_packed!(T, n, P => {
        order::<P>(out, n, n, par, &|order, lane| pack(order, &x[lane * n..][..n], descending), |order, spare, _| {
            sort(order, spare);
        });
    });
}

/// For each lane of `n` elements of `x`, the positions of the first `k` in sorted order, in that order.
pub fn topk<T: Element>(out: &mut [i64], k: usize, x: &[T], n: usize, descending: bool, par: &Par) {
    with_packed!(T, n, P => {
        order::<P>(out, k, n, par, &|order, lane| pack(order, &x[lane * n..][..n], descending), |order, _, k| {
            order.select_nth_unstable(k - 1);
            order[..k].sort_unstable();
        });
    });
}

/// For each lane of `n` elements of `x`, at least one, the position of the element in the middle of the sorted order,
/// the lower of two; of the first NaN, where there is one.
pub fn median<T: Element>(out: &mut [i64], x: &[T], n: usize, par: &Par) {
    let is_nan = |v: &T| v.partial_cmp(v).is_none();
    with_packed!(T, n, P => {
        let lane = |order: &mut Vec<P>, lane: usize| {
            let x = &x[lane * n..][..n];
            match x.iter().position(is_nan) {
                Some(nan) => *order = vec![P::pack(last_key::<T::Compute>(), nan)],
                None => pack(order, x, false),
            }
        };
        order::<P>(out, 1, n, par, &lane, |order, _, _| {
            let middle = (order.len() - 1) / 2;
            order.select_nth_unstable(middle);
            order.swap(0, middle);
        });
    });
}

/// Writes the positions of the first `k` elements of each lane of `n`, after `arrange` has put them first. A lane comes
/// packed, by its number, so that all this is compiled once for each packed form, and not for each type of elements.
fn order<P: Packed>(
    out: &mut [i64],
    k: usize,
    n: usize,
    par: &Par,
    lane: &(dyn Fn(&mut Vec<P>, usize) + Sync),
    arrange: fn(&mut Vec<P>, &mut Vec<P>, usize),
) {
    for_lanes(out, k, n, par, |first, out| {
        let (mut order, mut spare) = (Vec::with_capacity(n), Vec::new());
        for (i, out) in out.chunks_mut(k).enumerate() {
            lane(&mut order, first + i);
            arrange(&mut order, &mut spare, k);
            out.iter_mut().zip(&order).for_each(|(o, v)| *o = v.at() as i64);
        }
    });
}

/// Elements of a task: to sort takes several times as long as to add.
const SHARE: usize = GRAIN / 8;

/// Calls `f` with the number of the first of some lanes of `n` elements, and their parts of `out`, of `k` elements each.
fn for_lanes(out: &mut [i64], k: usize, n: usize, par: &Par, f: impl Fn(usize, &mut [i64]) + Sync) {
    if out.is_empty() {
        return;
    }
    let lanes = (SHARE / n).max(1);
    par.chunks_mut(out, lanes * k, |block, out| f(block * lanes, out));
}

/// For each lane of `n` elements of `x`, those at the `k` positions that `at` holds for it.
pub fn pick<T: Element>(out: &mut [T], x: &[T], n: usize, at: &[i64], k: usize, par: &Par) {
    pick_moved::<T::Moved>(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x), n, at, k, par);
}

/// [`pick`].
fn pick_moved<T: Element>(out: &mut [T], x: &[T], n: usize, at: &[i64], k: usize, par: &Par) {
    if out.is_empty() {
        return;
    }
    let lanes = (GRAIN / k).max(1);
    par.chunks_mut(out, lanes * k, |block, out| {
        let first = block * lanes;
        for ((out, x), at) in out.chunks_mut(k).zip(x[first * n..].chunks(n)).zip(at[first * k..].chunks(k)) {
            out.iter_mut().zip(at).for_each(|(o, &i)| *o = x[i as usize]);
        }
    });
}

/// Distinct elements in sorted order, the place of each element among them, and how many equal each.
pub fn unique<T: Element>(x: &[T]) -> (Vec<T>, Vec<i64>, Vec<i64>) {
    if let Some(counted) = unique_integers(x) {
        return counted;
    }
    let mut order = vec![0; x.len()];
    argsort(&mut order, x, x.len().max(1), false, &Par::sequential());
    let (mut values, mut inverse, mut counts) = (Vec::<T>::new(), vec![0; x.len()], Vec::new());
    for at in order {
        let v = x[at as usize];
        match values.last() {
            Some(last) if key(last.up()) == key(v.up()) => {}
            _ => {
                values.push(v);
                counts.push(0);
            }
        }
        let place = values.len() - 1;
        inverse[at as usize] = place as i64;
        counts[place] += 1;
    }
    (values, inverse, counts)
}

/// [`unique`] of integers that lie close to one another: they are counted, and not sorted.
fn unique_integers<T: Element>(x: &[T]) -> Option<(Vec<T>, Vec<i64>, Vec<i64>)> {
    if const { !T::DTYPE.is_int() } {
        return None;
    }
    let number = |v: &T| v.to_i64();
    let (low, high) = (x.iter().map(number).min()?, x.iter().map(number).max()?);
    let range = usize::try_from(high.checked_sub(low)?).ok()?;
    if range > 4 * x.len().max(256) {
        return None;
    }
    // How many have each number, and then its place among those that are there.
    let mut places = vec![0; range + 1];
    x.iter().for_each(|v| places[(number(v) - low) as usize] += 1);
    let (mut values, mut counts) = (Vec::new(), Vec::new());
    for (place, v) in places.iter_mut().zip(low..=high) {
        let count = std::mem::replace(place, counts.len() as i64);
        if count > 0 {
            values.push(T::from_i64(v));
            counts.push(count);
        }
    }
    Some((values, x.iter().map(|v| places[(number(v) - low) as usize]).collect(), counts))
}

/// For each element of `values`, where it goes in the sorted lane of `n` elements that belongs to it: before the
/// elements that equal it, or after them where `right`. There is one lane for all, or as many as there are stretches of
/// `each` values.
pub fn search<T: Element>(
    out: &mut [i64],
    (lanes, n): (&[T], usize),
    (values, each): (&[T], usize),
    right: bool,
    par: &Par,
) {
    par.chunks_mut(out, GRAIN, |block, out| {
        let mut done = 0;
        while done < out.len() {
            let first = block * GRAIN + done;
            let count = (out.len() - done).min(each - first % each);
            let (lane, values) = (&lanes[first / each * n..][..n], &values[first..][..count]);
            let (out, rest) = out[done..done + count].as_chunks_mut::<TOGETHER>();
            let (values, last) = values.as_chunks::<TOGETHER>();
            out.iter_mut().zip(values).for_each(|(out, v)| *out = places(lane, v, right));
            rest.iter_mut().zip(last).for_each(|(out, &v)| [*out] = places(lane, &[v], right));
            done += count;
        }
    });
}

/// Values that are searched for in step: each alone would wait for one element of the lane after the other.
const TOGETHER: usize = 8;

/// Where some values go in a sorted lane.
#[inline(always)]
fn places<T: Element, const N: usize>(lane: &[T], values: &[T; N], right: bool) -> [i64; N] {
    let values = values.map(|v| v.up());
    let is_nan = |v: T::Compute| v.partial_cmp(&v).is_none();
    if values.iter().any(|&v| is_nan(v)) {
        // NaN is larger than every number, and equal to NaN.
        before(lane, |k, x| x < values[k] || right && x == values[k] || is_nan(values[k]) && (right || !is_nan(x)))
    } else if right {
        before(lane, |k, x| x <= values[k])
    } else {
        before(lane, |k, x| x < values[k])
    }
}

/// For each of `N` values, how many elements of a lane come before those for which `goes_on`, given the value's number,
/// does not hold: by halves, and without a branch, which would be mispredicted every other time.
#[inline(always)]
fn before<T: Element, const N: usize>(lane: &[T], goes_on: impl Fn(usize, T::Compute) -> bool) -> [i64; N] {
    let (mut first, mut count) = ([0; N], lane.len());
    while count > 1 {
        let half = count / 2;
        for (k, first) in first.iter_mut().enumerate() {
            *first = select_unpredictable(goes_on(k, lane[*first + half - 1].up()), *first + half, *first);
        }
        count -= half;
    }
    let mut places = [0; N];
    for (k, place) in places.iter_mut().enumerate() {
        let last = lane.get(first[k]).is_some_and(|x| goes_on(k, x.up()));
        *place = (first[k] + last as usize) as i64;
    }
    places
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
    for_lanes(out, 1, n, par, |lane, out| {
        for (o, x) in out.iter_mut().zip(x[lane * n..].chunks(n)) {
            *o = first(x) as i64;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lanes_are_sorted_as_long_ones() {
        fn check<T: Element>(n: usize) {
            // Ties, both zeros, infinities and NaN; more lanes than are ranked together, and not a multiple of these.
            let number = |i: usize| match i * i % 11 {
                5 => f64::NAN,
                4 => -0.0,
                9 => f64::NEG_INFINITY,
                k => k as f64 - 3.0,
            };
            let x: Vec<T> = (0..n * 37).map(|i| T::from_f64(number(i + i / n))).collect();
            for descending in [false, true] {
                let mut have = vec![-1; x.len()];
                argsort(&mut have, &x, n, descending, &Par::sequential());
                for (have, x) in have.chunks(n).zip(x.chunks(n)) {
                    let mut want: Vec<i64> = (0..n as i64).collect();
                    let key =
                        |&i: &i64| key(x[i as usize].up()) ^ if descending { last_key::<T::Compute>() } else { 0 };
                    want.sort_by_key(key);
                    assert_eq!(have, want, "{:?}, {n} elements", T::DTYPE);
                }
            }
        }
        for n in [1, 2, 3, 7, 8, 15, 16, 17, 40] {
            check::<f32>(n);
            check::<f64>(n);
            check::<half::bf16>(n);
            check::<i64>(n);
            check::<i8>(n);
        }
    }

    #[test]
    fn places_found_in_step_are_those_found_one_by_one() {
        let nan = f32::NAN;
        for n in [0, 1, 2, 7, 100] {
            let mut lane: Vec<f32> = (0..n).map(|i| (i / 3) as f32).collect();
            for _ in 0..2 {
                let values: Vec<f32> = (0..45).map(|i| if i % 13 == 5 { nan } else { i as f32 * 0.5 - 2.0 }).collect();
                for right in [false, true] {
                    let mut out = vec![0; values.len()];
                    search(&mut out, (&lane, n), (&values, values.len()), right, &Par::sequential());
                    for (&v, o) in values.iter().zip(out) {
                        let goes_on = |&x: &f32| key(x) < key(v) || right && key(x) == key(v);
                        assert_eq!(o, lane.partition_point(goes_on) as i64, "{v} in {lane:?}, right: {right}");
                    }
                }
                lane.iter_mut().skip(n / 2).for_each(|v| *v = nan);
            }
        }
    }
}
