//! Rows of elements on their way from one place to another: copied there, or added to what is there.

use crate::dtype::Element;
use crate::kernels::simd::{self, Isa, Loop};

/// Rows of elements in what is written and in what is read: each pair says first how they lie in the one.
#[derive(Clone, Copy)]
pub struct Pane {
    /// The first element.
    pub at: [usize; 2],
    pub rows: usize,
    /// The distance of rows.
    pub row_steps: [isize; 2],
    /// Elements of a row.
    pub width: usize,
    /// The distance of neighbours in a row.
    pub steps: [isize; 2],
}

/// A loop over rows. Walks over regions are compiled once for each type, and not for each loop.
pub type Combine<T> = fn(out: &mut [T], x: &[T], pane: Pane);

/// The loop `out = x`.
pub fn put<T: Element>(out: &mut [T], x: &[T], pane: Pane) {
    let (out, x) = (bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x));
    simd::run_narrow(Put::<T::Moved> { out, x, pane: pane.forward() });
}

/// Copies `out.len()` elements `x[at], x[at + step], ..`.
#[inline]
pub fn strided_run<T: Element>(out: &mut [T], x: &[T], at: usize, step: isize) {
    match step {
        1 => out.copy_from_slice(&x[at..][..out.len()]),
        _ if out.is_empty() => {}
        _ => put(out, x, Pane { at: [0, at], rows: 1, row_steps: [0; 2], width: out.len(), steps: [1, step] }),
    }
}

/// The loop `out = out + x`.
pub fn add<T: Element>(out: &mut [T], x: &[T], pane: Pane) {
    simd::run_narrow(Add { out, x, pane: pane.forward() });
}

impl Pane {
    /// The same elements, in an order in which what is written goes forward.
    fn forward(self) -> Pane {
        let [to, from] = self.steps;
        if to >= 0 {
            return self;
        }
        let last = |k: usize| self.at[k].wrapping_add_signed((self.width as isize - 1) * self.steps[k]);
        Pane { at: [last(0), last(1)], steps: [-to, -from], ..self }
    }

    /// Calls `f` for each row, with `out` from its first element on and the number of the first element in `x`.
    #[inline(always)]
    fn for_rows<T>(&self, out: &mut [T], mut f: impl FnMut(&mut [T], usize)) {
        let place = |k: usize, row: usize| self.at[k].wrapping_add_signed(row as isize * self.row_steps[k]);
        (0..self.rows).for_each(|row| f(&mut out[place(0, row)..], place(1, row)));
    }
}

struct Put<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    pane: Pane,
}

impl<T: Copy> Loop for Put<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Put { out, x, pane } = self;
        let n = pane.width;
        match pane.steps {
            [1, 1] => pane.for_rows(out, |out, at| copy_run(&mut out[..n], &x[at..][..n])),
            [1, 0] => pane.for_rows(out, |out, at| {
                let v = x[at];
                out[..n].iter_mut().for_each(|o| *o = v);
            }),
            [1, -1] => pane.for_rows(out, |out, at| {
                out[..n].iter_mut().zip(x[at + 1 - n..=at].iter().rev()).for_each(|(o, &v)| *o = v);
            }),
            [1, 2] => pane.for_rows(out, |out, at| {
                // Pairs, so that registers of neighbours are read.
                let pairs = x[at..at + 2 * n - 1].chunks(2);
                out[..n].iter_mut().zip(pairs).for_each(|(o, pair)| *o = pair[0]);
            }),
            [1, step] if step > 2 => pane.for_rows(out, |out, at| {
                out[..n].iter_mut().zip(x[at..].iter().step_by(step as usize)).for_each(|(o, &v)| *o = v);
            }),
            [to, step] => pane.for_rows(out, |out, at| {
                (0..n as isize).for_each(|i| out[(i * to) as usize] = x[at.wrapping_add_signed(i * step)]);
            }),
        }
    }
}

struct Add<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    pane: Pane,
}

impl<T: Element> Loop for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Add { out, x, pane } = self;
        let n = pane.width;
        match pane.steps {
            [1, 1] => pane.for_rows(out, |out, at| {
                out[..n].iter_mut().zip(&x[at..][..n]).for_each(|(o, &v)| *o = o.plus(v));
            }),
            [1, 0] => pane.for_rows(out, |out, at| {
                let v = x[at];
                out[..n].iter_mut().for_each(|o| *o = o.plus(v));
            }),
            [1, -1] => pane.for_rows(out, |out, at| {
                out[..n].iter_mut().zip(x[at + 1 - n..=at].iter().rev()).for_each(|(o, &v)| *o = o.plus(v));
            }),
            [to, step] => pane.for_rows(out, |out, at| {
                for i in 0..n as isize {
                    let o = &mut out[(i * to) as usize];
                    *o = o.plus(x[at.wrapping_add_signed(i * step)]);
                }
            }),
        }
    }
}

/// Copies a run of as many elements: short ones without a call.
#[inline(always)]
pub fn copy_run<T: Copy>(out: &mut [T], x: &[T]) {
    const WIDE: usize = 16;
    const NARROW: usize = 4;
    const LONGEST: usize = 1 << 14;
    let in_line = |x: &[T]| x.as_ptr().addr().is_multiple_of(64);
    let n = out.len();
    match n {
        0..NARROW => out.iter_mut().zip(x).for_each(|(o, &v)| *o = v),
        // The last piece may overlap the one before.
        NARROW..WIDE => {
            for at in [0, n / 2 / NARROW * NARROW, n.saturating_sub(2 * NARROW), n - NARROW] {
                out[at..at + NARROW].copy_from_slice(&x[at..at + NARROW]);
            }
        }
        // For longer runs a call is quicker, where both begin lines; where they do not, it can be ten times as slow.
        WIDE..=LONGEST if n <= 256 || !(in_line(out) && in_line(x)) => {
            for at in (0..n - WIDE).step_by(WIDE) {
                out[at..at + WIDE].copy_from_slice(&x[at..at + WIDE]);
            }
            out[n - WIDE..].copy_from_slice(&x[n - WIDE..]);
        }
        _ => out.copy_from_slice(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_every_length_are_copied_and_nothing_beside() {
        for n in 0..300 {
            let x: Vec<u32> = (1..=n as u32).collect();
            let mut out = vec![0; n + 2];
            copy_run(&mut out[1..=n], &x);
            assert_eq!((out[0], out[n + 1]), (0, 0));
            assert_eq!(out[1..=n], x);
        }
    }

    #[test]
    fn rows_of_any_steps_are_copied_and_added() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        for (to, from) in [(1, 1), (1, 0), (1, -1), (1, 2), (1, 3), (1, -2), (2, 1), (3, -2), (-1, 1), (-2, 0)] {
            for width in [1, 5, 40] {
                let row_steps = [125, if from < 0 { -7 } else { 11 }];
                let pane = Pane { at: [100, 500], rows: 4, row_steps, width, steps: [to, from] };
                let (mut copied, mut added) = (vec![-1.0; 600], vec![-1.0; 600]);
                put(&mut copied, &x, pane);
                add(&mut added, &x, pane);
                let mut want = vec![-1.0; 600];
                for (row, i) in (0..4).flat_map(|row| (0..width as isize).map(move |i| (row, i))) {
                    want[(100 + row * 125 + i * to) as usize] = (500 + row * row_steps[1] + i * from) as f32;
                }
                assert_eq!(copied, want, "steps {to} and {from}, {width} elements");
                for (a, w) in added.into_iter().zip(want) {
                    assert_eq!(a, if w == -1.0 { -1.0 } else { w - 1.0 }, "steps {to} and {from}, {width} elements");
                }
            }
        }
    }
}
