//! The pool family: the largest or the mean element of windows over the last axes, up to three.
//!
//! A plane is what these axes hold; planes are independent of each other. Sums add in the precision that kernels
//! compute in.

use std::hint::select_unpredictable;

use crate::dtype::Element;
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::window::Window;
use crate::par::{GRAIN, Par, SharedMut};

/// The part of one axis that one window shows.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first position that it shows.
    pub start: usize,
    /// How many it shows.
    pub len: usize,
    /// How many it counts in a mean: with those in the padding, where these count.
    pub counted: usize,
}

/// The windows along one axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Positions of the axis.
    pub size: usize,
    /// The distance between the positions that a window shows.
    pub step: usize,
    /// What each window shows.
    pub spans: Vec<Span>,
}

impl Axis {
    /// Windows that slide.
    pub fn sliding(w: &Window, count_padding: bool) -> Axis {
        let span = |o| {
            let inside = w.inside(o);
            let reach = (w.size + 2 * w.padding).saturating_sub(o * w.stride).div_ceil(w.dilation).min(w.kernel);
            let start = if inside.is_empty() { 0 } else { w.position(o, inside.start) };
            Span { start, len: inside.len(), counted: if count_padding { reach } else { inside.len() } }
        };
        Axis { size: w.size, step: w.dilation, spans: (0..w.output).map(span).collect() }
    }

    /// No windows: there is nothing to pool.
    pub fn empty(size: usize) -> Axis {
        Axis { size, step: 1, spans: Vec::new() }
    }

    /// As many windows as asked for, which cover the axis evenly.
    pub fn adaptive(size: usize, output: usize) -> Axis {
        let span = |o: usize| {
            let (start, end) = (o * size / output, ((o + 1) * size).div_ceil(output));
            Span { start, len: end - start, counted: end - start }
        };
        Axis { size, step: 1, spans: (0..output).map(span).collect() }
    }
}

/// Elements of a plane, and windows in it.
fn plane(axes: &[Axis; 3]) -> (usize, usize) {
    (axes.iter().map(|a| a.size).product(), axes.iter().map(|a| a.spans.len()).product())
}

/// Calls `f` for each row of windows of a plane, with its number, and the spans across the row.
#[inline(always)]
fn for_rows(axes: &[Axis; 3], mut f: impl FnMut(usize, Span, Span)) {
    let [deep, high, _] = axes;
    for (i, &d) in deep.spans.iter().enumerate() {
        for (j, &h) in high.spans.iter().enumerate() {
            f(i * high.spans.len() + j, d, h);
        }
    }
}

/// The starts of the lines along the last axis that windows with these spans along the others meet.
#[inline(always)]
fn lines([deep, high, wide]: &[Axis; 3], d: Span, h: Span) -> impl Iterator<Item = usize> {
    let (across, up, width) = (high.size * wide.size * deep.step, wide.size * high.step, wide.size);
    let first = (d.start * high.size + h.start) * width;
    (0..d.len).flat_map(move |i| (0..h.len).map(move |j| first + i * across + j * up))
}

/// The largest element of each window, and where in its plane it lies: the first of equals, and NaN before all.
///
/// Each window holds at least one element.
pub fn max_pool<T: Element>(out: &mut [T], places: &mut [i32], x: &[T], axes: &[Axis; 3], par: &Par) {
    let (pixels, positions) = plane(axes);
    let wide = &axes[2];
    let width = wide.spans.len();
    // The usual windows, two by two side by side, need no spans.
    let pairs = wide.step == 1 && wide.spans.iter().enumerate().all(|(o, s)| s.start == 2 * o && s.len == 2);
    let each = (GRAIN / pixels.max(1)).max(1);
    let places = SharedMut::new(places);
    par.chunks_mut(out, each * positions, |task, out| {
        let start = task * each * positions;
        // SAFETY: each task writes the places of its own planes.
        let places = unsafe { places.range(start..start + out.len()) };
        let planes = out.chunks_mut(positions).zip(places.chunks_mut(positions));
        for ((out, places), x) in planes.zip(x[task * each * pixels..].chunks(pixels)) {
            for_rows(axes, |row, d, h| {
                let (out, places) = (&mut out[row * width..][..width], &mut places[row * width..][..width]);
                if pairs && d.len == 1 && h.len == 2 {
                    let mut lines = lines(axes, d, h);
                    let [above, below] = [0; 2].map(|_| lines.next().expect("two lines"));
                    let starts = [above as i32, below as i32];
                    let rows = [above, below].map(|at| x[at..][..2 * width].as_chunks::<2>().0);
                    return simd::run(Pairs { out, places, rows, starts });
                }
                for (span, (out, place)) in wide.spans.iter().zip(out.iter_mut().zip(places)) {
                    let mut lines = lines(axes, d, h).map(|line| line + span.start);
                    let first = lines.next().expect("each window holds an element");
                    let (mut best, mut at) = (x[first], first);
                    for line in std::iter::once(first).chain(lines) {
                        for i in (line..).step_by(wide.step).take(span.len) {
                            let better = exceeds(x[i], best);
                            // A branch would be guessed wrong half of the time.
                            best = select_unpredictable(better, x[i], best);
                            at = select_unpredictable(better, i, at);
                        }
                    }
                    (*out, *place) = (best, at as i32);
                }
            });
        }
    });
}

/// Whether `v` takes the place of `best`: if it is larger, or the first NaN.
#[inline(always)]
fn exceeds<T: Element>(v: T, best: T) -> bool {
    // `v != v` says that it is NaN, in every precision.
    #[allow(clippy::eq_op)]
    let nan = (v != v) & (best == best);
    (v > best) | nan
}

/// A row of windows of two by two elements, side by side.
struct Pairs<'a, T> {
    out: &'a mut [T],
    places: &'a mut [i32],
    rows: [&'a [[T; 2]]; 2],
    starts: [i32; 2],
}

impl<T: Element> Loop for Pairs<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Pairs { out, places, rows: [above, below], starts } = self;
        let windows = above.iter().zip(below);
        for (o, ((out, place), (a, b))) in out.iter_mut().zip(places).zip(windows).enumerate() {
            let (mut best, mut at) = (a[0], starts[0]);
            for (v, place) in [(a[1], starts[0] + 1), (b[0], starts[1]), (b[1], starts[1] + 1)] {
                let better = exceeds(v, best);
                (best, at) = (if better { v } else { best }, if better { place } else { at });
            }
            (*out, *place) = (best, at + 2 * o as i32);
        }
    }
}

/// In each plane of `pixels` elements, the sums of those elements of `g` whose places are the same.
pub fn put<T>(x: &mut [T], g: &[T], places: &[i32], pixels: usize, positions: usize, par: &Par)
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
pub fn pick<T: Element>(out: &mut [T], x: &[T], places: &[i32], pixels: usize, positions: usize, par: &Par) {
    let each = (GRAIN / positions.max(1)).max(1);
    par.chunks_mut(out, each * positions, |task, out| {
        let start = task * each * positions;
        for (k, (o, &place)) in out.iter_mut().zip(&places[start..]).enumerate() {
            *o = x[(start + k) / positions * pixels + place as usize];
        }
    });
}

/// The elements that windows with these spans show, in number, as a divisor.
fn counted<C: Element>(spans: [Span; 3]) -> C {
    C::from_f64(spans.iter().map(|s| s.counted).product::<usize>() as f64)
}

/// The sum over each window divided by the number of positions that it counts; those in the padding hold 0.
pub fn avg_pool<T>(out: &mut [T], x: &[T], axes: &[Axis; 3], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = plane(axes);
    let wide = &axes[2];
    let each = (GRAIN / pixels.max(1)).max(1);
    par.chunks_mut(out, each * positions, |task, out| {
        for (k, out) in out.chunks_mut(positions).enumerate() {
            let x = &x[(task * each + k) * pixels..][..pixels];
            for_rows(axes, |row, d, h| {
                for (o, span) in out[row * wide.spans.len()..].iter_mut().zip(&wide.spans) {
                    let zero = T::Compute::default();
                    let part = |line: usize| sum(&x[line + span.start..], wide.step, span.len);
                    let sum = lines(axes, d, h).map(part).fold(zero, |a, b| a + b);
                    *o = T::down(sum / counted([d, h, *span]));
                }
            });
        }
    });
}

/// The sum of `len` elements, `step` apart.
#[inline(always)]
fn sum<T: Element<Compute: Precise>>(x: &[T], step: usize, len: usize) -> T::Compute {
    const LANES: usize = 16;
    let zero = T::Compute::default();
    if step > 1 || len < LANES {
        return x.iter().step_by(step).take(len).fold(zero, |sum, v| sum + v.up());
    }
    let (wide, rest) = x[..len].as_chunks::<LANES>();
    let mut acc = [zero; LANES];
    for part in wide.iter().map(|w| &w[..]).chain([rest]) {
        acc.iter_mut().zip(part).for_each(|(a, v)| *a = *a + v.up());
    }
    acc.into_iter().fold(zero, |a, b| a + b)
}

/// The gradient of [`avg_pool`]: each element of `g` is shared out evenly over its window.
pub fn avg_pool_grad<T>(x: &mut [T], g: &[T], axes: &[Axis; 3], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = plane(axes);
    let wide = &axes[2];
    let each = (GRAIN / pixels.max(1)).max(1);
    par.chunks_mut(x, each * pixels, |task, x| {
        for (k, x) in x.chunks_mut(pixels).enumerate() {
            let g = &g[(task * each + k) * positions..][..positions];
            in_compute(x, |x| {
                for_rows(axes, |row, d, h| {
                    for (&g, span) in g[row * wide.spans.len()..].iter().zip(&wide.spans) {
                        let share = g.up() / counted([d, h, *span]);
                        for line in lines(axes, d, h) {
                            let shown = x[line + span.start..].iter_mut().step_by(wide.step).take(span.len);
                            shown.for_each(|x| *x = *x + share);
                        }
                    }
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
