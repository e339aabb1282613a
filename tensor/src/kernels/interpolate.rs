//! Resampling along one axis: each position of the result is a weighted mean of two positions of the source.

use crate::dtype::Element;
use crate::kernels::number::Precise;
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
    let each = (GRAIN / to.max(1)).max(1);
    par.chunks_mut(out, each * to, |task, out| {
        for (k, out) in out.chunks_mut(to).enumerate() {
            let x = &x[(task * each + k) * from..][..from];
            for (tap, out) in taps.iter().zip(out.chunks_mut(lines.inner)) {
                let [low, high] = [tap.low, tap.high].map(|i| &x[i * lines.inner..][..lines.inner]);
                if tap.share == 0.0 {
                    // Not a product with 0, which would make NaN of infinity.
                    out.copy_from_slice(low);
                    continue;
                }
                let [a, b] = tap.weights::<T::Compute>();
                let pairs = low.iter().zip(high);
                out.iter_mut().zip(pairs).for_each(|(o, (l, h))| *o = T::down(l.up() * a + h.up() * b));
            }
        }
    });
}

/// The transpose of [`resample`]: each element of `g` goes back to the positions that it came from, by their weights.
pub fn resample_grad<T>(x: &mut [T], g: &[T], taps: &[Tap], lines: Lines, par: &Par)
where
    T: Element<Compute: Precise>,
{
    let (from, to) = (lines.size * lines.inner, taps.len() * lines.inner);
    let each = (GRAIN / from.max(1)).max(1);
    par.chunks_mut(x, each * from, |task, x| {
        let mut sums = vec![T::Compute::default(); from];
        for (k, x) in x.chunks_mut(from).enumerate() {
            sums.fill(T::Compute::default());
            let g = &g[(task * each + k) * to..][..to];
            for (tap, g) in taps.iter().zip(g.chunks(lines.inner)) {
                for (i, weight) in [tap.low, tap.high].into_iter().zip(tap.weights::<T::Compute>()) {
                    if weight != T::Compute::default() {
                        let sums = &mut sums[i * lines.inner..][..lines.inner];
                        sums.iter_mut().zip(g).for_each(|(s, g)| *s = *s + g.up() * weight);
                    }
                }
            }
            x.iter_mut().zip(&sums).for_each(|(x, &s)| *x = T::down(s));
        }
    });
}
