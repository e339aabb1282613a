//! The gather family: elements and runs of elements picked by index.
//!
//! Indices come dense. Those of [`index_select`] come checked (see [`outside`]), [`gather`] checks its own: to read them a
//! second time would take as long as to read what they pick.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dtype::Element;
use crate::kernels::pane::{copy_run, strided_run};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::vector::prefetch_run;
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};
use crate::shape::Shape;

/// Rows ahead that are asked for, and least and most bytes of each.
const AHEAD: usize = 4;
const LEAST_AHEAD: usize = 256;
const MOST_AHEAD: usize = 512;

/// Bytes of a source that is not expected to be in a cache.
const FAR: usize = 1 << 21;

/// The first place of an index that is not a position of its axis, of those that blocks have met.
pub(super) struct Wrong(AtomicUsize);

impl Wrong {
    /// None so far.
    pub(super) fn none() -> Wrong {
        Wrong(AtomicUsize::new(usize::MAX))
    }

    /// Takes in a place. A block stops at the first it meets.
    #[cold]
    pub(super) fn at(&self, place: usize) {
        self.0.fetch_min(place, Ordering::Relaxed);
    }

    /// The first of all.
    pub(super) fn first(self) -> Option<usize> {
        Some(self.0.into_inner()).filter(|&place| place != usize::MAX)
    }
}

/// The place of the first index that is not a position of an axis of `size`, where there is one.
pub fn outside(index: &[i64], size: usize) -> Option<usize> {
    /// Whether there is one.
    struct Any<'a>(&'a [i64], i64);
    impl Loop for Any<'_> {
        type Output = bool;
        #[inline(always)]
        fn run<I: Isa>(self) -> bool {
            self.0.iter().fold(false, |any, &i| any | (i < 0) | (i >= self.1))
        }
    }
    let size = size as i64;
    let within = index.chunks(GRAIN).take_while(|part| !simd::run_narrow(Any(part, size))).count() * GRAIN;
    let rest = index.get(within..)?;
    Some(within + rest.iter().position(|&i| i < 0 || i >= size)?)
}

/// `out[p] = x[p with its place on axis replaced by at[p]]`, where `out` and `at` are dense of shape `shape`, which on
/// the other axes is at most that of `x`. Returns the place of the first index that is not a position of the axis; then
/// `out` is not what it should be.
pub fn gather<T: Element>(
    out: &mut [T],
    shape: &Shape,
    x: &[T],
    layout: &Layout,
    axis: usize,
    at: &[i64],
    par: &Par,
) -> Option<usize> {
    let size = layout.shape()[axis];
    if out.is_empty() || size == 0 {
        return Some(0).filter(|_| !out.is_empty());
    }
    let mut strides = layout.strides();
    let along = std::mem::replace(&mut strides[axis], 0);
    let base = Layout::strided(shape.clone(), strides, layout.offset());
    let joint = Joint::new(shape, [&base]);
    let (inner, step) = (joint.inner, joint.inner_strides[0]);
    let runs = (GRAIN / inner).max(1);
    let wrong = Wrong::none();
    par.chunks_mut(out, runs * inner, |block, part| {
        let first = block * runs;
        joint.for_runs(first..first + part.len() / inner, |run, [from]| {
            let out = &mut part[(run - first) * inner..][..inner];
            let picks = out.iter_mut().zip(&at[run * inner..]).enumerate();
            if let [0, 1] = [step, along] {
                let row = &x[from..][..size];
                for (k, (o, &i)) in picks {
                    // What is negative is very large as an unsigned number.
                    let Some(&v) = row.get(i as usize) else { return wrong.at(run * inner + k) };
                    *o = v;
                }
                return;
            }
            for (k, (o, &i)) in picks {
                if i as usize >= size {
                    return wrong.at(run * inner + k);
                }
                *o = x[(from as isize + k as isize * step + i as isize * along) as usize];
            }
        });
    });
    wrong.first()
}

/// `out[b, j, a] = x[b, at[j], a]`: `b` runs over the axes before `axis`, `a` over those after it.
pub fn index_select<T: Element>(out: &mut [T], x: &[T], layout: &Layout, axis: usize, at: &[i64], par: &Par) {
    if out.is_empty() {
        return;
    }
    let (shape, strides) = (layout.shape(), layout.strides());
    let before = Layout::strided(shape[..axis].into(), strides[..axis].into(), layout.offset());
    let after = Layout::strided(shape[axis + 1..].into(), strides[axis + 1..].into(), 0);
    let before = Joint::new(before.shape(), [&before]);
    let after = Joint::new(after.shape(), [&after]);
    let (inner, step) = (after.inner, after.inner_strides[0]);
    let size = inner * after.runs();
    let rows = (GRAIN / size).max(1);
    let of_run = before.inner * at.len();
    let along = strides[axis];
    par.chunks_mut(out, rows * size, |block, part| {
        let first = block * rows;
        let end = first + part.len() / size;
        let mut row = first;
        while row < end {
            // Rows that lie in one place of the axes before.
            let (b, j) = (row / at.len(), row % at.len());
            let count = (at.len() - j).min(end - row);
            let start = before.run_start(row / of_run)[0] as isize;
            let start = start + (b % before.inner) as isize * before.inner_strides[0];
            let (out, at) = (&mut part[(row - first) * size..][..count * size], &at[j..j + count]);
            row += count;
            if step == 1 && after.runs() == 1 {
                copy_rows(out, x, at, start, along, size);
                continue;
            }
            for (out, &i) in out.chunks_mut(size).zip(at) {
                let start = start + i as isize * along;
                after.for_runs(0..after.runs(), |r, [a]| {
                    // A position relative to the row's start may be negative: it wraps, and wraps back here.
                    let from = start.wrapping_add(a as isize) as usize;
                    strided_run(&mut out[r * inner..][..inner], x, from, step);
                });
            }
        }
    });
}

/// Copies rows of `size` elements that start at `start + along` times each index.
fn copy_rows<T: Element>(out: &mut [T], x: &[T], at: &[i64], start: isize, along: isize, size: usize) {
    struct Rows<'a, T> {
        out: &'a mut [T],
        x: &'a [T],
        at: &'a [i64],
        start: isize,
        along: isize,
        size: usize,
    }
    impl<T: Copy> Loop for Rows<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Rows { out, x, at, start, along, size } = self;
            if size == 1 {
                for (o, &i) in out.iter_mut().zip(at) {
                    *o = x[(start + i as isize * along) as usize];
                }
                return;
            }
            let from = |i: i64| (start + i as isize * along) as usize;
            if size_of_val(x) < FAR || size * size_of::<T>() < LEAST_AHEAD {
                for (out, &i) in out.chunks_exact_mut(size).zip(at) {
                    copy_run(out, &x[from(i)..][..size]);
                }
                return;
            }
            for (k, (out, &i)) in out.chunks_exact_mut(size).zip(at).enumerate() {
                // Rows lie anywhere, so the machine cannot guess which one is next.
                if let Some(&next) = at.get(k + AHEAD) {
                    let row = x.as_ptr().wrapping_add(from(next));
                    prefetch_run(row, size.min(MOST_AHEAD / size_of::<T>()));
                }
                copy_run(out, &x[from(i)..][..size]);
            }
        }
    }
    simd::run_narrow(Rows { out, x, at, start, along, size });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::scatter::scatter;

    #[test]
    fn the_first_wrong_index_of_many_blocks_is_found() {
        let (shape, n) = (Shape::from([300, 700]), 300 * 700);
        let (layout, par, x) = (Layout::dense(shape.clone()), Par::of(n), vec![1.0f32; n]);
        let mut out = x.clone();
        for axis in [0, 1] {
            let mut at = vec![5; n];
            assert_eq!(gather(&mut out, &shape, &x, &layout, axis, &at, &par), None);
            for (place, wrong) in [(200_001, -1), (123_456, shape[axis] as i64), (70_000, i64::MIN)] {
                at[place] = wrong;
                assert_eq!(gather(&mut out, &shape, &x, &layout, axis, &at, &par), Some(place));
                let found = scatter(&mut out, &shape, axis, (&at, &shape), (&x, &layout), |_, v| v, &par);
                assert_eq!(found, Some(place));
            }
        }
    }
}
