//! The pool family: the largest or the mean element of windows that slide over the last two axes.
//!
//! A plane is what the last two axes hold; planes are independent of each other.

use std::hint::select_unpredictable;

use crate::dtype::Element;
use crate::kernels::number::Precise;
use crate::kernels::window::Window;
use crate::par::{GRAIN, Par, SharedMut};

/// Planes that one task works on.
fn planes_per_task(w: &[Window; 2]) -> usize {
    (GRAIN / (w[0].size * w[1].size).max(1)).max(1)
}

/// Calls `f` for each row of output windows and each position in them, with the row, the outputs in it whose position
/// lies within the plane, and where the first of these meets the plane.
#[inline(always)]
fn for_positions(w: &[Window; 2], mut f: impl FnMut(usize, std::ops::Range<usize>, usize)) {
    let [high, wide] = w;
    for i in 0..high.kernel {
        let rows = high.outputs(i);
        for j in 0..wide.kernel {
            let columns = wide.outputs(j);
            if columns.is_empty() {
                continue;
            }
            for row in rows.clone() {
                let first = high.position(row, i) * wide.size + wide.position(columns.start, j);
                f(row, columns.clone(), first);
            }
        }
    }
}

/// The largest element of each window, and where in its plane it lies: the first of equals, and NaN before all.
///
/// Each window holds at least one element.
pub fn max_pool<T: Element>(out: &mut [T], places: &mut [i64], x: &[T], w: &[Window; 2], par: &Par) {
    let [high, wide] = w;
    let (pixels, positions) = (high.size * wide.size, high.output * wide.output);
    // Which positions of each window lie within the plane.
    let [rows, columns] = w.map(|w| (0..w.output).map(|o| w.inside(o)).collect::<Vec<_>>());
    let steps = [high.dilation * wide.size, wide.dilation];
    let each = planes_per_task(w);
    let places = SharedMut::new(places);
    par.chunks_mut(out, each * positions, |task, out| {
        let start = task * each * positions;
        // SAFETY: each task writes the places of its own planes.
        let places = unsafe { places.range(start..start + out.len()) };
        let planes = out.chunks_mut(positions).zip(places.chunks_mut(positions));
        for ((out, places), x) in planes.zip(x[task * each * pixels..].chunks(pixels)) {
            let lines = out.chunks_mut(wide.output).zip(places.chunks_mut(wide.output));
            for (row, (out, places)) in lines.enumerate() {
                let top = high.position(row, rows[row].start) * wide.size;
                for (column, (out, place)) in out.iter_mut().zip(places).enumerate() {
                    let first = top + wide.position(column, columns[column].start);
                    // The usual window once more, with its sizes known to the compiler, which then unrolls the loops.
                    let (value, at) = match (rows[row].len(), columns[column].len(), wide.dilation) {
                        (2, 2, 1) => largest(x, first, [2, 2], [steps[0], 1]),
                        (rows, columns, _) => largest(x, first, [rows, columns], steps),
                    };
                    (*out, *place) = (value, at as i64);
                }
            }
        }
    });
}

/// The largest of `rows` by `columns` elements from number `first` on, and its number.
#[inline(always)]
fn largest<T: Element>(x: &[T], first: usize, [rows, columns]: [usize; 2], [down, across]: [usize; 2]) -> (T, usize) {
    let (mut best, mut place) = (x[first], first);
    for i in 0..rows {
        for j in 0..columns {
            let at = first + i * down + j * across;
            let v = x[at];
            // `v != v` says that it is NaN, in every precision.
            #[allow(clippy::eq_op)]
            let better = (v > best) | ((v != v) & (best == best));
            // A branch would be guessed wrong half of the time.
            best = select_unpredictable(better, v, best);
            place = select_unpredictable(better, at, place);
        }
    }
    (best, place)
}

/// In each plane of `pixels` elements, the sums of those elements of `g` whose places are the same.
pub fn put<T>(x: &mut [T], g: &[T], places: &[i64], pixels: usize, positions: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let each = (GRAIN / pixels.max(1)).max(1);
    par.chunks_mut(x, each * pixels, |task, x| {
        for (k, x) in x.chunks_mut(pixels).enumerate() {
            let plane = (task * each + k) * positions..(task * each + k + 1) * positions;
            in_compute(x, |x| {
                for (&v, &place) in g[plane.clone()].iter().zip(&places[plane.clone()]) {
                    let x = &mut x[place as usize];
                    *x = *x + v.up();
                }
            });
        }
    });
}

/// In each plane of `pixels` elements, the elements at the given places.
pub fn pick<T: Element>(out: &mut [T], x: &[T], places: &[i64], pixels: usize, positions: usize, par: &Par) {
    let each = (GRAIN / positions.max(1)).max(1);
    par.chunks_mut(out, each * positions, |task, out| {
        let start = task * each * positions;
        for (k, (o, &place)) in out.iter_mut().zip(&places[start..]).enumerate() {
            *o = x[(start + k) / positions * pixels + place as usize];
        }
    });
}

/// The sum over each window divided by the number of its positions; those in the padding hold 0.
pub fn avg_pool<T>(out: &mut [T], x: &[T], w: &[Window; 2], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = (w[0].size * w[1].size, w[0].output * w[1].output);
    let (width, stride) = (w[1].output, w[1].stride);
    let area = T::Compute::from_f64((w[0].kernel * w[1].kernel) as f64);
    let each = planes_per_task(w);
    par.chunks_mut(out, each * positions, |task, out| {
        for (k, out) in out.chunks_mut(positions).enumerate() {
            let x = &x[(task * each + k) * pixels..][..pixels];
            in_compute(out, |out| {
                for_positions(w, |row, columns, first| {
                    let out = &mut out[row * width..][columns];
                    out.iter_mut().zip(x[first..].iter().step_by(stride)).for_each(|(o, &v)| *o = *o + v.up());
                });
                out.iter_mut().for_each(|o| *o = *o / area);
            });
        }
    });
}

/// The gradient of [`avg_pool`]: each element of `g` is shared out evenly over its window.
pub fn avg_pool_grad<T>(x: &mut [T], g: &[T], w: &[Window; 2], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = (w[0].size * w[1].size, w[0].output * w[1].output);
    let (width, stride) = (w[1].output, w[1].stride);
    let area = T::Compute::from_f64((w[0].kernel * w[1].kernel) as f64);
    let each = planes_per_task(w);
    par.chunks_mut(x, each * pixels, |task, x| {
        for (k, x) in x.chunks_mut(pixels).enumerate() {
            let g = &g[(task * each + k) * positions..][..positions];
            in_compute(x, |x| {
                for_positions(w, |row, columns, first| {
                    let g = &g[row * width..][columns];
                    x[first..].iter_mut().step_by(stride).zip(g).for_each(|(x, &v)| *x = *x + v.up() / area);
                });
            });
        }
    });
}

/// Runs `f` on zeros of the precision that kernels compute in, which then are the elements of `out`.
fn in_compute<T: Element>(out: &mut [T], f: impl FnOnce(&mut [T::Compute])) {
    if let Some(out) = T::direct_mut(out) {
        out.fill(T::Compute::default());
        return f(out);
    }
    let mut up = vec![T::Compute::default(); out.len()];
    f(&mut up);
    out.iter_mut().zip(up).for_each(|(o, u)| *o = T::down(u));
}
