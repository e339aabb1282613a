//! Resampling along one axis: each position of the result is a weighted mean of two positions of the source.

use crate::dtype::Element;
use crate::kernels::number::Precise;
use crate::kernels::pane::copy_run;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// Where a position of the result comes from: `(1 - share) source[low] + share source[high]`.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    /// The first position.
    pub low: usize,
    /// The second position.
    pub high: usize,
    /// The weight of the second.
    pub share: f64,
}

impl Tap {
    /// The weights of both positions.
    fn weights<C: Element>(&self) -> [C; 2] {
        [1.0 - self.share, self.share].map(C::from_f64)
    }
}

/// Lines of one axis of a dense tensor: of `size` positions, each with `inner` elements behind it.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Positions of the source along the axis.
    pub size: usize,
    /// Elements that a position holds.
    pub inner: usize,
}

/// Resamples `x`, whose lines become as long as there are taps.
pub fn resample<T>(out: &mut [T], x: &[T], taps: &[Tap], lines: Lines, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (from, to) = (lines.size * lines.inner, taps.len() * lines.inner);
    if out.is_empty() {
        return;
    }
    let each = (GRAIN / to).max(1);
    let weights: Vec<_> = taps.iter().map(Tap::weights::<T::Compute>).collect();
    par.chunks_mut(out, each * to, |task, out| {
        let x = &x[task * each * from..][..out.len() / to * from];
        simd::run_narrow(Resample { out, x, taps, weights: &weights, lines });
    });
}

/// Some lines of [`resample`].
struct Resample<'a, T: Element> {
    out: &'a mut [T],
    x: &'a [T],
    taps: &'a [Tap],
    weights: &'a [[T::Compute; 2]],
    lines: Lines,
}

impl<T: Element<Compute: Precise>> Loop for Resample<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Resample { out, x, taps, weights, lines: Lines { size, inner } } = self;
        let sum = |l: T, h: T, [a, b]: [T::Compute; 2]| T::down(l.up() * a + h.up() * b);
        for (out, x) in out.chunks_exact_mut(taps.len() * inner).zip(x.chunks_exact(size * inner)) {
            let taps = taps.iter().zip(weights);
            if inner == 1 {
                for (o, (tap, &weights)) in out.iter_mut().zip(taps) {
                    let (low, high) = (x[tap.low], x[tap.high]);
                    // Not a product with 0, which would make NaN of infinity.
                    *o = if tap.share == 0.0 { low } else { sum(low, high, weights) };
                }
                continue;
            }
            for ((tap, &weights), out) in taps.zip(out.chunks_exact_mut(inner)) {
                let [low, high] = [tap.low, tap.high].map(|i| &x[i * inner..][..inner]);
                if tap.share == 0.0 {
                    copy_run(out, low);
                    continue;
                }
                out.iter_mut().zip(low.iter().zip(high)).for_each(|(o, (&l, &h))| *o = sum(l, h, weights));
            }
        }
    }
}

/// The transpose of [`resample`]: each element of `g` goes back to the positions that it came from, by their weights.
pub fn resample_grad<T>(x: &mut [T], g: &[T], taps: &[Tap], lines: Lines, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (from, to) = (lines.size * lines.inner, taps.len() * lines.inner);
    if g.is_empty() {
        return x.fill(T::default());
    }
    let each = (GRAIN / from).max(1);
    let weights: Vec<_> = taps.iter().map(Tap::weights::<T::Compute>).collect();
    par.chunks_mut(x, each * from, |task, x| {
        let g = &g[task * each * to..][..x.len() / from * to];
        simd::run_narrow(Spread { x, g, taps, weights: &weights, lines });
    });
}

/// Some lines of [`resample_grad`].
struct Spread<'a, T: Element> {
    x: &'a mut [T],
    g: &'a [T],
    taps: &'a [Tap],
    weights: &'a [[T::Compute; 2]],
    lines: Lines,
}

impl<T: Element<Compute: Precise>> Loop for Spread<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Spread { x, g, taps, weights, lines: Lines { size, inner } } = self;
        let zero = T::Compute::default();
        let mut sums = vec![zero; size * inner];
        for (x, g) in x.chunks_exact_mut(size * inner).zip(g.chunks_exact(taps.len() * inner)) {
            sums.fill(zero);
            for ((tap, weights), g) in taps.iter().zip(weights).zip(g.chunks_exact(inner)) {
                for (i, &weight) in [tap.low, tap.high].into_iter().zip(weights) {
                    if weight == zero {
                        continue;
                    }
                    if inner == 1 {
                        sums[i] = sums[i] + g[0].up() * weight;
                        continue;
                    }
                    let sums = &mut sums[i * inner..][..inner];
                    sums.iter_mut().zip(g).for_each(|(s, g)| *s = *s + g.up() * weight);
                }
            }
            x.iter_mut().zip(&sums).for_each(|(x, &s)| *x = T::down(s));
        }
    }
}
