//! The reduce family where a result needs more than one running number: moments, logarithms of sums of exponentials,
//! sums of powers, counts.

use crate::dtype::Element;
use crate::kernels::copy::columns_as_rows;
use crate::kernels::elementary;
use crate::kernels::map::BLOCK;
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::pane::strided_run;
use crate::kernels::reduce::Lanes;
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::Layout;
use crate::par::{GRAIN, Par, SharedMut};

/// What a reduction knows of the elements it has seen.
pub trait Accumulator<C>: Copy + Send + Sync {
    /// Takes in a dense stretch of elements, at least one.
    fn take(&mut self, x: &[C]);
    /// Takes in what another has seen.
    fn merge(&mut self, other: &Self);
}

/// Elements taken in at a time: they stay in the nearest cache for a second pass.
const STRETCH: usize = 4096;

/// Results in a tile that is transposed, so that the elements of each lie side by side.
const ACROSS: usize = 32;

/// Elements of each result in such a tile.
const DOWN: usize = 64;

/// What is known of each result's elements: the axes of `layout` from number `kept` on are reduced.
pub fn accumulate<T, A>(start: A, x: &[T], layout: &Layout, kept: usize, par: &Par) -> Vec<A>
where
    T: Element,
    A: Accumulator<T::Compute>,
{
    let mut out = vec![start; layout.shape()[..kept].iter().product()];
    if layout.elements() == 0 {
        return out;
    }
    let lanes = Lanes::new(layout, kept);
    match &mut out[..] {
        _ if lanes.are_columns() => columns(&mut out, x, &lanes, par),
        [total] => {
            // One result: pieces of fixed size, merged in order.
            let size = lanes.run.min(GRAIN);
            let of_run = lanes.run.div_ceil(size);
            let together = GRAIN / size;
            let mut first = 0;
            lanes.results.for_runs(0..1, |_, [at]| first = at as isize);
            let pieces = lanes.starts.len() * of_run;
            let mut parts = vec![start; pieces.div_ceil(together)];
            par.chunks_mut(&mut parts, 1, |block, part| {
                for piece in block * together..pieces.min((block + 1) * together) {
                    let (run, from) = (piece / of_run, piece % of_run * size);
                    let at = first + lanes.starts[run] + from as isize * lanes.step;
                    take_run(&mut part[0], x, at, lanes.step, size.min(lanes.run - from));
                }
            });
            parts.iter().for_each(|part| total.merge(part));
        }
        _ => {
            let per_block = (GRAIN / (lanes.run * lanes.starts.len())).max(1);
            par.chunks_mut(&mut out, per_block, |block, part| {
                let first = block * per_block;
                lanes.results.for_elements(first..first + part.len(), |i, [at]| {
                    for &start in &lanes.starts {
                        take_run(&mut part[i - first], x, at as isize + start, lanes.step, lanes.run);
                    }
                });
            });
        }
    }
    out
}

/// Takes in `n` elements `x[at], x[at + step], ..`.
fn take_run<T: Element, A: Accumulator<T::Compute>>(acc: &mut A, x: &[T], at: isize, step: isize, n: usize) {
    if step == 1
        && let Some(x) = T::direct(&x[at as usize..][..n])
    {
        return x.chunks(STRETCH).for_each(|stretch| acc.take(stretch));
    }
    let mut given = [T::default(); BLOCK];
    let mut up = [T::Compute::default(); BLOCK];
    for from in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - from);
        strided_run(&mut given[..len], x, (at + from as isize * step) as usize, step);
        up.iter_mut().zip(&given[..len]).for_each(|(u, &g)| *u = g.up());
        acc.take(&up[..len]);
    }
}

fn columns<T: Element, A: Accumulator<T::Compute>>(out: &mut [A], x: &[T], lanes: &Lanes, par: &Par) {
    let shared = SharedMut::new(out);
    for_columns(x, lanes, par, &|i, column| {
        // SAFETY: each result is one block's.
        let result = unsafe { shared.range(i..i + 1) };
        result[0].take(column);
    });
}

/// Calls `f` with the number of each result and elements of it, side by side: tiles are transposed in the cache. All of
/// a result come from one block.
fn for_columns<T: Element>(x: &[T], lanes: &Lanes, par: &Par, f: &(dyn Fn(usize, &[T::Compute]) + Sync)) {
    let count = lanes.results.inner;
    let stretches = count.div_ceil(ACROSS);
    par.for_each(lanes.results.runs() * stretches, |block| {
        let (r, from) = (block / stretches, block % stretches * ACROSS);
        let width = ACROSS.min(count - from);
        let mut tile = [[T::Compute::default(); ACROSS]; DOWN];
        let mut turned = [[T::Compute::default(); DOWN]; ACROSS];
        lanes.results.for_runs(r..r + 1, |_, [first]| {
            for &start in &lanes.starts {
                for top in (0..lanes.run).step_by(DOWN) {
                    let height = DOWN.min(lanes.run - top);
                    for (i, tile) in tile[..height].iter_mut().enumerate() {
                        let at = first as isize + start + (top + i) as isize * lanes.step;
                        let row = &x[at as usize + from..][..width];
                        tile.iter_mut().zip(row).for_each(|(t, v)| *t = v.up());
                    }
                    columns_as_rows(&tile, &mut turned);
                    for (i, column) in turned[..width].iter().enumerate() {
                        f(r * count + from + i, &column[..height]);
                    }
                }
            }
        });
    });
}

/// Lanes that sums are kept in.
const WIDTH: usize = 16;

/// Sums of what `term` makes of each element, in `f64`: no term of single precision over- or underflows there.
#[inline(always)]
pub(super) fn sum<C: Element>(x: &[C], term: impl Fn(f64) -> f64) -> f64 {
    let mut acc = [0.0; WIDTH];
    let (wide, rest) = x.as_chunks::<WIDTH>();
    for w in wide {
        acc.iter_mut().zip(w).for_each(|(a, &v)| *a += term(Element::to_f64(v)));
    }
    acc.iter_mut().zip(rest).for_each(|(a, &v)| *a += term(Element::to_f64(v)));
    acc.iter().sum()
}

/// Number, mean, and sum of squared distances from the mean, of elements seen.
#[derive(Clone, Copy, Default)]
pub struct Moments {
    /// How many there were.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// The sum of squared distances from it.
    pub squares: f64,
}

impl<C: Element> Accumulator<C> for Moments {
    fn take(&mut self, x: &[C]) {
        struct About<'a, C>(&'a [C], f64);
        impl<C: Element> Loop for About<'_, C> {
            type Output = (f64, f64);
            #[inline(always)]
            fn run<I: Isa>(self) -> (f64, f64) {
                (sum(self.0, |v| v - self.1), sum(self.0, |v| (v - self.1) * (v - self.1)))
            }
        }
        let count = x.len() as f64;
        // About its first element, then about the mean: large means cancel nothing.
        let near = Element::to_f64(x[0]);
        let near = if near.is_finite() { near } else { 0.0 };
        let mean = near + simd::run(About(x, near)).0 / count;
        let (rest, squares) = simd::run(About(x, mean));
        let own = Moments { count, mean, squares: squares - rest * rest / count };
        Accumulator::<C>::merge(self, &own);
    }

    /// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    fn merge(&mut self, other: &Moments) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * (other.count / count);
        self.squares += other.squares + distance * distance * (self.count * other.count / count);
        self.count = count;
    }
}

/// The sum of exponentials of elements seen, as a multiple of the largest one.
#[derive(Clone, Copy)]
pub struct ExpSum {
    largest: f64,
    sum: f64,
}

impl Default for ExpSum {
    fn default() -> ExpSum {
        ExpSum { largest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl ExpSum {
    /// The logarithm of the sum.
    pub fn log(&self) -> f64 {
        self.largest + self.sum.ln()
    }
}

impl<C: Element + Precise> Accumulator<C> for ExpSum {
    fn take(&mut self, x: &[C]) {
        struct Sum<'a, C>(&'a [C]);
        impl<C: Element + Precise> Loop for Sum<'_, C> {
            type Output = ExpSum;
            #[inline(always)]
            fn run<I: Isa>(self) -> ExpSum {
                let start = Lane::<C, I>::lit(f64::NEG_INFINITY);
                let mut acc = [start; WIDTH];
                let (wide, rest) = self.0.as_chunks::<WIDTH>();
                for w in wide {
                    acc.iter_mut().zip(w).for_each(|(a, &v)| *a = a.max(Lane::new(v)));
                }
                acc.iter_mut().zip(rest).for_each(|(a, &v)| *a = a.max(Lane::new(v)));
                let largest = acc.into_iter().fold(start, Real::max).0;
                if !largest.is_finite() {
                    // Negative infinity: nothing adds anything. Positive infinity and NaN stay what they are.
                    let sum = if largest == C::neg_infinity() { 0.0 } else { 1.0 };
                    return ExpSum { largest: Element::to_f64(largest), sum };
                }
                let mut acc = [0.0; WIDTH];
                let term = |v: C| Element::to_f64(elementary::exp::<C, I>(v - largest));
                for w in wide {
                    acc.iter_mut().zip(w).for_each(|(a, &v)| *a += term(v));
                }
                acc.iter_mut().zip(rest).for_each(|(a, &v)| *a += term(v));
                ExpSum { largest: Element::to_f64(largest), sum: acc.iter().sum() }
            }
        }
        let own = simd::run(Sum(x));
        Accumulator::<C>::merge(self, &own);
    }

    fn merge(&mut self, other: &ExpSum) {
        let scaled = |s: &ExpSum, by: f64| if s.largest == by { s.sum } else { s.sum * (s.largest - by).exp() };
        let largest = match self.largest.is_nan() || other.largest.is_nan() {
            true => f64::NAN,
            false => self.largest.max(other.largest),
        };
        *self = ExpSum { largest, sum: scaled(self, largest) + scaled(other, largest) };
    }
}

/// What the `p`-norm needs to know of elements seen.
#[derive(Clone, Copy)]
pub struct Powers {
    p: f64,
    total: f64,
}

impl Powers {
    /// For the norm of order `p`, before any element.
    pub fn new(p: f64) -> Powers {
        Powers { p, total: if p == f64::NEG_INFINITY { f64::INFINITY } else { 0.0 } }
    }

    /// The norm.
    pub fn norm(&self) -> f64 {
        match self.p {
            0.0 | 1.0 => self.total,
            2.0 => self.total.sqrt(),
            p if p.is_infinite() => self.total,
            p => self.total.powf(1.0 / p),
        }
    }

    fn join(&mut self, total: f64) {
        let own = self.total;
        self.total = match self.p {
            _ if own.is_nan() || total.is_nan() => f64::NAN,
            f64::INFINITY => own.max(total),
            f64::NEG_INFINITY => own.min(total),
            _ => own + total,
        };
    }
}

impl<C: Element> Accumulator<C> for Powers {
    fn take(&mut self, x: &[C]) {
        struct Total<'a, C>(&'a [C], f64);
        impl<C: Element> Loop for Total<'_, C> {
            type Output = f64;
            #[inline(always)]
            fn run<I: Isa>(self) -> f64 {
                let Total(x, p) = self;
                let extreme = |largest: bool| {
                    let mut acc = [if largest { 0.0 } else { f64::INFINITY }; WIDTH];
                    for w in x.chunks(WIDTH) {
                        for (a, &v) in acc.iter_mut().zip(w) {
                            let v = Element::to_f64(v).abs();
                            // False for NaN, which so is taken, and then stays.
                            let behind = if largest { v <= *a } else { v >= *a };
                            *a = if behind || a.is_nan() { *a } else { v };
                        }
                    }
                    acc.into_iter().reduce(|a, b| {
                        let behind = if largest { b <= a } else { b >= a };
                        if behind || a.is_nan() { a } else { b }
                    })
                };
                match p {
                    0.0 => sum(x, |v| (v != 0.0) as u8 as f64),
                    1.0 => sum(x, f64::abs),
                    2.0 => sum(x, |v| v * v),
                    f64::INFINITY | f64::NEG_INFINITY => extreme(p > 0.0).unwrap_or(0.0),
                    _ => sum(x, |v| v.abs().powf(p)),
                }
            }
        }
        let total = simd::run(Total(x, self.p));
        self.join(total);
    }

    fn merge(&mut self, other: &Powers) {
        self.join(other.total);
    }
}

/// How many of the elements seen are not 0.
#[derive(Clone, Copy, Default)]
pub struct NonZero(pub i64);

impl<C: Element> Accumulator<C> for NonZero {
    fn take(&mut self, x: &[C]) {
        self.0 += x.iter().map(|v| (*v != C::default()) as i64).sum::<i64>();
    }

    fn merge(&mut self, other: &NonZero) {
        self.0 += other.0;
    }
}
