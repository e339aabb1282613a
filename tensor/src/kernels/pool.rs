//! The pool family: the largest or the mean element of windows over the last axes, up to three.
//!
//! A plane is what these axes hold; planes are independent of each other. Sums add in the precision that kernels
//! compute in.

use std::hint::select_unpredictable;

use crate::dtype::Element;
use crate::kernels::compute::in_compute;
use crate::kernels::fold::{self, Sum};
use crate::kernels::lanes::{self, LANES, settled};
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
    /// How windows slide, where they do, and a line of them can be sorted in little memory.
    pub window: Option<Window>,
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
        // A few windows far apart, or reaching far into the padding, are looked at one by one.
        let sorted = (w.output.saturating_add(SIDE)).saturating_mul(w.stride);
        let reach = w.kernel.saturating_mul(w.dilation);
        let small = sorted.saturating_add(reach) <= w.size.saturating_mul(4).saturating_add(1 << 10);
        let spans = (0..w.output).map(span).collect();
        Axis { size: w.size, step: w.dilation, spans, window: small.then_some(*w) }
    }

    /// No windows: there is nothing to pool.
    pub fn empty(size: usize) -> Axis {
        Axis { size, step: 1, spans: Vec::new(), window: None }
    }

    /// As many windows as asked for, which cover the axis evenly.
    pub fn adaptive(size: usize, output: usize) -> Axis {
        let span = |o: usize| {
            let (start, end) = (o * size / output, ((o + 1) * size).div_ceil(output));
            Span { start, len: end - start, counted: end - start }
        };
        Axis { size, step: 1, spans: (0..output).map(span).collect(), window: None }
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

/// The lines along the last axis that the windows of a row meet.
struct Lines {
    first: usize,
    last: usize,
    count: usize,
    /// How many of them follow one another, and how far apart they are.
    high: usize,
    up: usize,
    /// How many such groups there are, and how far apart they are.
    groups: usize,
    across: usize,
    /// How many positions a window counts along the other axes.
    counted: usize,
}

impl Lines {
    /// Where line number `i` starts.
    #[inline(always)]
    fn start(&self, i: usize) -> usize {
        self.first + i / self.high * self.across + i % self.high * self.up
    }
}

/// The lines of each row of windows of a plane. A list and no closure, which would be compiled apart from the loop that
/// calls it, for the plain instruction set.
fn rows(axes: &[Axis; 3]) -> Vec<Lines> {
    let [deep, high, wide] = axes;
    let (across, up) = (high.size * wide.size * deep.step, wide.size * high.step);
    let row = |d: &Span, h: &Span| {
        let first = (d.start * high.size + h.start) * wide.size;
        Lines {
            first,
            last: first + (d.len * across + h.len * up).saturating_sub(across + up),
            count: d.len * h.len,
            high: h.len,
            up,
            groups: d.len,
            across,
            counted: d.counted * h.counted,
        }
    };
    deep.spans.iter().flat_map(|d| high.spans.iter().map(move |h| row(d, h))).collect()
}

/// Windows of a row that are sooner looked at one by one.
const FEW: usize = 6;

/// Windows of a row that are pooled side by side.
const SIDE: usize = 16;

/// A line of a plane sorted by the places that windows have for its elements: what position `k` of the kernel meets in
/// neighbouring windows lies side by side.
struct Sorted<C> {
    window: Window,
    /// As many lists as the stride, each as long: element `i` of list `p` is that at `i * stride + p - padding`.
    lists: Vec<C>,
    each: usize,
}

impl<C: Element> Sorted<C> {
    /// A line that is padded with `padding`.
    fn new(window: Window, padding: C) -> Self {
        let reach = (window.kernel - 1) * window.dilation / window.stride;
        let each = window.output.next_multiple_of(SIDE) + reach;
        Sorted { window, lists: vec![padding; each * window.stride], each }
    }

    #[inline(always)]
    fn fill(&mut self, line: &[C]) {
        let Window { stride, padding, .. } = self.window;
        for (p, list) in self.lists.chunks_exact_mut(self.each).enumerate() {
            // The first elements of the list lie in the padding.
            let skip = padding.saturating_sub(p).div_ceil(stride);
            let from = skip * stride + p - padding;
            let (Some(list), Some(line)) = (list.get_mut(skip..), line.get(from..)) else { continue };
            match stride {
                1 => list.iter_mut().zip(line).for_each(|(l, &v)| *l = v),
                2 => firsts::<C, 2>(list, line),
                3 => firsts::<C, 3>(list, line),
                4 => firsts::<C, 4>(list, line),
                _ => list.iter_mut().zip(line.iter().step_by(stride)).for_each(|(l, &v)| *l = v),
            }
        }
    }

    /// What position `k` of the kernel meets in all windows.
    #[inline(always)]
    fn met(&self, k: usize) -> &[C] {
        let at = k * self.window.dilation;
        &self.lists[at % self.window.stride * self.each + at / self.window.stride..]
            [..self.window.output.next_multiple_of(SIDE)]
    }
}

/// The first element of each group of `N`: their number is a constant, so that the compiler sorts them in registers.
#[inline(always)]
fn firsts<C: Copy, const N: usize>(to: &mut [C], line: &[C]) {
    let (groups, last) = line.as_chunks::<N>();
    let n = groups.len().min(to.len());
    to[..n].iter_mut().zip(groups).for_each(|(to, group)| *to = group[0]);
    if let (Some(to), Some(v)) = (to.get_mut(n), last.first()) {
        *to = *v;
    }
}

/// The largest element of each window, and where in its plane it lies: the first of equals, and NaN before all.
///
/// Each window holds at least one element. Places that are not asked for are not found.
pub fn max_pool<T>(out: &mut [T], places: Option<&mut [i32]>, x: &[T], axes: &[Axis; 3], par: &Par)
where
    T: Element<Compute: Precise>,
{
    match places {
        Some(places) => max_pool_of::<T, true>(out, places, x, axes, par),
        None => max_pool_of::<T, false>(out, &mut [], x, axes, par),
    }
}

/// [`max_pool`], with places or without.
fn max_pool_of<T, const PLACES: bool>(out: &mut [T], places: &mut [i32], x: &[T], axes: &[Axis; 3], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = plane(axes);
    let each = (GRAIN / pixels.max(1)).max(1);
    let places = SharedMut::new(places);
    par.chunks_mut(out, each * positions, |task, out| {
        let start = task * each * positions;
        // SAFETY: each task writes the places of its own planes.
        let places = unsafe { places.range(if PLACES { start..start + out.len() } else { 0..0 }) };
        let x = &x[task * each * pixels..][..out.len() / positions * pixels];
        in_compute([out], [x], |[out], [x]| {
            simd::run_single::<T::Compute, _>(MaxPool::<_, PLACES> { out, places, x, axes, pixels, positions });
        });
    });
}

/// Some planes of [`max_pool`].
struct MaxPool<'a, C, const PLACES: bool> {
    out: &'a mut [C],
    places: &'a mut [i32],
    x: &'a [C],
    axes: &'a [Axis; 3],
    pixels: usize,
    positions: usize,
}

impl<C: Precise + Element, const PLACES: bool> Loop for MaxPool<'_, C, PLACES> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let MaxPool { out, places, x, axes, pixels, positions } = self;
        let wide = &axes[2];
        let width = wide.spans.len();
        let planes = out.len() / positions;
        let (rows, least) = (rows(axes), C::from_f64(f64::NEG_INFINITY));
        let Some(window) = wide.window.filter(|w| width > FEW || w.in_groups(2)) else {
            // The largest of each column that a row of windows shows, and then of the columns of each window.
            // Places are found in any case, since they say which of equals comes first.
            let columns: Vec<i32> = (0..wide.size as i32).collect();
            let (mut best, mut place) = (vec![least; wide.size], columns.clone());
            let (mut met, mut there) = (best.clone(), place.clone());
            for plane in 0..planes {
                let x = &x[plane * pixels..][..pixels];
                for (row, lines) in rows.iter().enumerate() {
                    let to = plane * positions + row * width;
                    best.copy_from_slice(&x[lines.first..][..wide.size]);
                    place.iter_mut().zip(&columns).for_each(|(place, column)| *place = lines.first as i32 + column);
                    for i in 1..lines.count {
                        let at = lines.start(i);
                        raise::<C, true>(&mut best, &mut place, &x[at..at + wide.size], &columns, at as i32);
                    }
                    for (o, &Span { start, len, .. }) in wide.spans.iter().enumerate() {
                        match wide.step {
                            1 => {
                                met[..len].copy_from_slice(&best[start..start + len]);
                                there[..len].copy_from_slice(&place[start..start + len]);
                            }
                            step => {
                                let shown = best[start..].iter().zip(&place[start..]).step_by(step).take(len);
                                for ((met, there), (&best, &place)) in met.iter_mut().zip(&mut there).zip(shown) {
                                    (*met, *there) = (best, place);
                                }
                            }
                        }
                        let (best, place) = largest(&mut met[..len], &mut there[..len]);
                        out[to + o] = best;
                        if PLACES {
                            places[to + o] = place;
                        }
                    }
                }
            }
            return;
        };
        if let Some(n) = (2..=4).find(|&n| window.in_groups(n) && width >= if n == 2 { 4 } else { 8 }) {
            for plane in 0..planes {
                let x = &x[plane * pixels..];
                for (row, lines) in rows.iter().enumerate() {
                    let to = plane * positions + row * width;
                    let (out, places) = (&mut out[to..], if PLACES { &mut places[to..] } else { &mut [][..] });
                    // Windows behind the end of a row may be anything: the next row comes after them.
                    let room = out.len().min((x.len() - lines.last) / n);
                    match (n, width) {
                        (4, _) => largest_of_groups::<C, 4, 8, PLACES>(out, places, width, x, lines),
                        (3, _) => largest_of_groups::<C, 3, 8, PLACES>(out, places, width, x, lines),
                        (_, ..8) if width <= 4 || room < 8 => {
                            largest_of_groups::<C, 2, 4, PLACES>(out, places, width, x, lines);
                        }
                        (_, ..SIDE) if width <= 8 || room < SIDE => {
                            largest_of_groups::<C, 2, 8, PLACES>(out, places, width, x, lines);
                        }
                        _ => largest_of_groups::<C, 2, SIDE, PLACES>(out, places, width, x, lines),
                    }
                }
            }
            return;
        }
        let mut line = Sorted::new(window, least);
        let side = width.next_multiple_of(SIDE);
        let (mut best, mut place) = (vec![least; side], vec![0; side]);
        // Where windows begin, and where the first element that they show is.
        let starts: Vec<i32> = (0..side).map(|o| (o * window.stride) as i32 - window.padding as i32).collect();
        let firsts: Vec<i32> = (0..side).map(|o| wide.spans.get(o).map_or(0, |s| s.start as i32)).collect();
        for plane in 0..planes {
            let x = &x[plane * pixels..][..pixels];
            for (row, lines) in rows.iter().enumerate() {
                let to = plane * positions + row * width;
                best.fill(least);
                if PLACES {
                    let top = lines.first as i32;
                    place.iter_mut().zip(&firsts).for_each(|(p, f)| *p = f + top);
                }
                for i in 0..lines.count {
                    let at = lines.start(i);
                    line.fill(&x[at..at + wide.size]);
                    for k in 0..window.kernel {
                        let shift = at as i32 + (k * window.dilation) as i32;
                        raise::<C, PLACES>(&mut best, &mut place, line.met(k), &starts, shift);
                    }
                }
                out[to..to + width].copy_from_slice(&best[..width]);
                if PLACES {
                    places[to..to + width].copy_from_slice(&place[..width]);
                }
            }
        }
    }
}

/// Puts what is met in place of the best so far, where it is better.
#[inline(always)]
fn raise<C: Precise, const PLACES: bool>(best: &mut [C], place: &mut [i32], met: &[C], starts: &[i32], shift: i32) {
    if !PLACES {
        return best.iter_mut().zip(met).for_each(|(best, &met)| *best = better_of((*best, 0), (met, 0)).0);
    }
    for ((best, place), (&met, &start)) in best.iter_mut().zip(place).zip(met.iter().zip(starts)) {
        (*best, *place) = better_of((*best, *place), (met, start + shift));
    }
}

/// The best so far, or what is met where that is better.
#[inline(always)]
fn better_of<C: Precise>((best, place): (C, i32), (met, there): (C, i32)) -> (C, i32) {
    #[allow(clippy::neg_cmp_op_on_partial_ord)] // true also where what is met is NaN: one comparison for two
    let better = !(met <= best) & !best.is_nan();
    (select_unpredictable(better, met, best), select_unpredictable(better, there, place))
}

/// A row of `width` windows `N` positions wide that lie side by side, straight from the lines: `W` windows at a time. The
/// last of them reach back over those before, so that none is left over, or behind the row where that is shorter.
#[inline(always)]
fn largest_of_groups<C, const N: usize, const W: usize, const PLACES: bool>(
    out: &mut [C],
    places: &mut [i32],
    width: usize,
    x: &[C],
    lines: &Lines,
) where
    C: Precise + Element,
{
    for from in (0..width).step_by(W) {
        let from = from.min(width.saturating_sub(W));
        let first = lines.first + N * from;
        let (mut best, mut place) = largest_of_group::<C, N, W>(x, first);
        // Counted by hand: chains of iterators stay calls, between which registers are saved.
        let mut group = first;
        for _ in 0..lines.groups {
            let mut at = group;
            for _ in 0..lines.high {
                if at != first {
                    let (met, there) = largest_of_group::<C, N, W>(x, at);
                    for l in 0..W {
                        (best[l], place[l]) = better_of((best[l], place[l]), (met[l], there[l]));
                    }
                }
                at += lines.up;
            }
            group += lines.across;
        }
        out[from..from + W].copy_from_slice(&best);
        if PLACES {
            places[from..from + W].copy_from_slice(&place);
        }
    }
}

/// The largest of each of `W` groups of neighbours from `at` on, and where it lies.
#[allow(clippy::needless_range_loop)] // all groups by one position after the other, which are registers
#[inline(always)]
fn largest_of_group<C: Precise + Element, const N: usize, const W: usize>(x: &[C], at: usize) -> ([C; W], [i32; W]) {
    let (groups, _) = x[at..at + N * W].as_chunks::<N>();
    let (mut largest, mut place) = ([C::default(); W], [0; W]);
    for l in 0..W {
        // Counted in the width of a place, so that as many fit into a register as elements do.
        (largest[l], place[l]) = (groups[l][0], at as i32 + (N * l) as i32);
    }
    for k in 1..N {
        for l in 0..W {
            let there = at as i32 + (N * l + k) as i32;
            (largest[l], place[l]) = better_of((largest[l], place[l]), (groups[l][k], there));
        }
    }
    (largest, place)
}

/// The largest of some elements, which lie at the given places, and its place.
#[inline(always)]
fn largest<C: Precise>(met: &mut [C], there: &mut [i32]) -> (C, i32) {
    // Halves go side by side, which leaves a few elements to be looked at one by one.
    let mut len = met.len();
    while len > FEW {
        let half = len.div_ceil(2);
        let ((best, met), (place, there)) = (met[..len].split_at_mut(half), there[..len].split_at_mut(half));
        for ((best, place), (&met, &there)) in best.iter_mut().zip(place).zip(met.iter().zip(&*there)) {
            (*best, *place) = first_of((*best, *place), (met, there));
        }
        len = half;
    }
    let others = met[1..len].iter().zip(&there[1..len]);
    others.fold((met[0], there[0]), |best, (&met, &there)| first_of(best, (met, there)))
}

/// [`better_of`] two of which either may come first: of equals that at the lower place.
#[inline(always)]
fn first_of<C: Precise>((best, place): (C, i32), (met, there): (C, i32)) -> (C, i32) {
    let before = there < place;
    better_of(
        (select_unpredictable(before, met, best), select_unpredictable(before, there, place)),
        (select_unpredictable(before, best, met), select_unpredictable(before, place, there)),
    )
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
            on_zeros(x, |x| {
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

/// Whether one window shows the whole of a plane: how many positions it counts.
fn whole(axes: &[Axis; 3]) -> Option<usize> {
    let all = |a: &Axis| a.step == 1 && a.spans.len() == 1 && a.spans[0].len == a.size;
    axes.iter().all(all).then(|| axes.iter().map(|a| a.spans[0].counted).product())
}

/// The sum over each window divided by the number of positions that it counts; those in the padding hold 0.
pub fn avg_pool<T>(out: &mut [T], x: &[T], axes: &[Axis; 3], par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (pixels, positions) = plane(axes);
    let each = (GRAIN / pixels.max(1)).max(1);
    par.chunks_mut(out, each * positions, |task, out| {
        let x = &x[task * each * pixels..][..out.len() / positions * pixels];
        in_compute([out], [x], |[out], [x]| {
            simd::run_single::<T::Compute, _>(AvgPool { out, x, axes, pixels, positions })
        });
    });
}

/// Some planes of [`avg_pool`].
struct AvgPool<'a, C> {
    out: &'a mut [C],
    x: &'a [C],
    axes: &'a [Axis; 3],
    pixels: usize,
    positions: usize,
}

impl<C: Precise + Element> Loop for AvgPool<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let AvgPool { out, x, axes, pixels, positions } = self;
        let wide = &axes[2];
        let width = wide.spans.len();
        let zero = C::default();
        let planes = out.chunks_mut(positions).zip(x.chunks(pixels));
        if let Some(count) = whole(axes) {
            out.fill(zero);
            (fold::floats::<Sum, C>().rows)(out, x, pixels, pixels);
            return out.iter_mut().for_each(|o| *o = *o / C::from_f64(count as f64));
        }
        let Some(window) = wide.window else {
            let mut line = vec![zero; wide.size];
            for (out, x) in planes {
                for_rows(axes, |row, d, h| {
                    // The lines that windows meet, added up, and then what each window shows of them.
                    line.fill(zero);
                    for at in lines(axes, d, h) {
                        line.iter_mut().zip(&x[at..][..wide.size]).for_each(|(sum, &v)| *sum = *sum + v);
                    }
                    for (o, span) in out[row * width..].iter_mut().zip(&wide.spans) {
                        *o = sum(&line[span.start..], wide.step, span.len) / counted([d, h, *span]);
                    }
                });
            }
            return;
        };
        let mut line = Sorted::new(window, zero);
        let mut sums = vec![zero; width.next_multiple_of(SIDE)];
        let rows = rows(axes);
        for (out, x) in planes {
            for (out, lines) in out.chunks_exact_mut(width).zip(&rows) {
                sums.fill(zero);
                for i in 0..lines.count {
                    let at = lines.start(i);
                    line.fill(&x[at..at + wide.size]);
                    for k in 0..window.kernel {
                        sums.iter_mut().zip(line.met(k)).for_each(|(s, &m)| *s = *s + m);
                    }
                }
                for ((o, &sum), span) in out.iter_mut().zip(&sums).zip(&wide.spans) {
                    *o = sum / C::from_f64((lines.counted * span.counted) as f64);
                }
            }
        }
    }
}

/// The sum of `len` elements, `step` apart.
#[inline(always)]
fn sum<C: Precise + Default>(x: &[C], step: usize, len: usize) -> C {
    if step > 1 || len < LANES {
        return x.iter().step_by(step).take(len).fold(C::default(), |sum, &v| sum + v);
    }
    let (wide, rest) = x[..len].as_chunks::<LANES>();
    let mut acc = [C::default(); LANES];
    for w in wide {
        acc.iter_mut().zip(w).for_each(|(a, &v)| *a = *a + v);
    }
    let mut acc = settled(acc);
    acc.iter_mut().zip(rest).for_each(|(a, &v)| *a = *a + v);
    lanes::sum(acc)
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
        let mut shares = vec![T::Compute::default(); wide.size];
        for (k, x) in x.chunks_mut(pixels).enumerate() {
            let g = &g[(task * each + k) * positions..][..positions];
            on_zeros(x, |x| {
                for_rows(axes, |row, d, h| {
                    // What the windows give to a line, and then all lines that they meet get that.
                    shares.fill(T::Compute::default());
                    for (&g, span) in g[row * wide.spans.len()..].iter().zip(&wide.spans) {
                        let share = g.up() / counted([d, h, *span]);
                        let shown = shares[span.start..].iter_mut().step_by(wide.step).take(span.len);
                        shown.for_each(|sum| *sum = *sum + share);
                    }
                    for line in lines(axes, d, h) {
                        x[line..].iter_mut().zip(&shares).for_each(|(x, &share)| *x = *x + share);
                    }
                });
            });
        }
    });
}

/// Runs `f` on zeros of the precision that kernels compute in, which then are the elements of `out`.
fn on_zeros<T: Element>(out: &mut [T], f: impl FnOnce(&mut [T::Compute])) {
    if let Some(out) = T::direct_mut(out) {
        out.fill(T::Compute::default());
        return f(out);
    }
    let mut up = vec![T::Compute::default(); out.len()];
    f(&mut up);
    out.iter_mut().zip(up).for_each(|(o, u)| *o = T::down(u));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many equals, both zeros, NaN, and a line of negative infinity.
    fn awkward(n: usize, wide: usize) -> Vec<f32> {
        let mut x: Vec<f32> = (0..n).map(|i| [0.0, -0.0, 1.0, -2.0, 1.0][i * 7 % 5]).collect();
        x.iter_mut().step_by(29).for_each(|v| *v = f32::NAN);
        x.iter_mut().skip(17).step_by(31).for_each(|v| *v = -f32::NAN);
        x[..wide].fill(f32::NEG_INFINITY);
        x
    }

    /// However windows lie: the first of equals, and the first NaN before all, in bits.
    #[test]
    fn the_largest_is_the_first_of_equals() {
        let none = Axis::sliding(&Window::NONE, true);
        let slide = |size, [kernel, stride, padding, dilation]: [usize; 4]| {
            let output = (size + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
            Axis::sliding(&Window { size, kernel, stride, padding, dilation, output }, true)
        };
        let side_by_side = |high, wide, n| [none.clone(), slide(high, [n, n, 0, 1]), slide(wide, [n, n, 0, 1])];
        let mut cases: Vec<[Axis; 3]> = Vec::new();
        for (high, wide) in [(4, 8), (5, 9), (4, 15), (7, 17), (6, 25), (6, 31), (4, 32), (4, 71)] {
            cases.extend((2..=4).map(|n| side_by_side(high, wide, n)));
            cases.push([none.clone(), Axis::adaptive(high, 2), Axis::adaptive(wide, 5)]);
            cases.push([Axis::adaptive(1, 1), Axis::adaptive(high, 1), Axis::adaptive(wide, 1)]);
            cases.push([slide(2, [2, 1, 0, 1]), slide(high, [3, 1, 1, 1]), slide(wide, [3, 4, 1, 1])]);
            cases.push([none.clone(), slide(high, [2, 1, 0, 3]), slide(wide, [3, 3, 0, 2])]);
            cases.push([none.clone(), slide(high, [3, 2, 1, 1]), slide(wide, [4, 3, 2, 1])]);
            cases.push([none.clone(), slide(high, [1, 1, 0, 1]), slide(wide, [5, 1, 2, 1])]);
        }
        for axes in cases {
            let (pixels, positions) = plane(&axes);
            let x = awkward(3 * pixels, axes[2].size);
            let (mut out, mut places) = (vec![0.0; 3 * positions], vec![0; 3 * positions]);
            max_pool(&mut out, Some(&mut places), &x, &axes, &Par::sequential());
            let mut alone = vec![0.0; out.len()];
            max_pool(&mut alone, None, &x, &axes, &Par::sequential());
            assert!(alone.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "without places: {axes:?}");
            let [_, high, wide] = &axes;
            let mut spans = Vec::new();
            for_rows(&axes, |_, d, h| spans.extend(wide.spans.iter().map(|&w| (d, h, w))));
            for (i, (&found, &place)) in out.iter().zip(&places).enumerate() {
                let (x, (d, h, w)) = (&x[i / positions * pixels..][..pixels], spans[i % positions]);
                let met = (0..d.len * h.len * w.len).map(|k| {
                    let [z, y, at] = [k / (h.len * w.len), k / w.len % h.len, k % w.len];
                    let line = (d.start + z * axes[0].step) * high.size + h.start + y * high.step;
                    line * wide.size + w.start + at * wide.step
                });
                let best = met.reduce(|a, b| if x[b] > x[a] || x[b].is_nan() && !x[a].is_nan() { b } else { a });
                assert_eq!(Some(place as usize), best, "window {i} of {axes:?}");
                assert_eq!(found.to_bits(), x[place as usize].to_bits());
            }
        }
    }
}
