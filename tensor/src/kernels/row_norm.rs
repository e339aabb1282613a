//! Normalisation by rows: each row of a dense tensor is shifted and scaled by its own mean and spread.

use std::borrow::Cow;

use crate::dtype::Element;
use crate::kernels::elementary::mul_add;
use crate::kernels::lanes::{self, LANES, Plus, settled};
use crate::kernels::norm::{Moments, moments_of_run};
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par, SharedMut};

/// What a row holds: `channels` channels of `plane` elements each. Channel `c` of row `r` has weight number
/// `r % period * channels + c`.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Rows after which the weights repeat.
    pub period: usize,
    /// Channels of a row.
    pub channels: usize,
    /// Elements that share a weight.
    pub plane: usize,
    /// Whether the mean is subtracted.
    pub centered: bool,
}

/// Most blocks of rows whose parts of the weights' gradients are summed apart.
const BLOCKS: usize = 32;

impl Rows {
    /// Elements of a row.
    pub fn len(&self) -> usize {
        self.channels * self.plane
    }

    /// Weights of a whole period.
    pub fn weights(&self) -> usize {
        self.period * self.channels
    }

    /// The weights of row `r`.
    fn of<'a, T>(&self, r: usize, weights: &'a [T]) -> &'a [T] {
        &weights[r % self.period * self.channels..][..self.channels]
    }
}

/// The numbers in the precision that kernels compute in; `n` times `missing` where there are none.
fn in_compute<T: Element>(x: Option<&[T]>, n: usize, missing: f64) -> Cow<'_, [T::Compute]> {
    match x {
        None => Cow::Owned(vec![T::Compute::from_f64(missing); n]),
        Some(x) => match T::direct(x) {
            Some(x) => Cow::Borrowed(x),
            None => Cow::Owned(x.iter().map(|v| v.up()).collect()),
        },
    }
}

/// `(x - high) * scale + shift`.
struct Map<C> {
    high: C,
    scale: C,
    shift: C,
}

impl<C: Precise> Map<C> {
    /// The element at its place, then times `w` and shifted by `b`.
    #[inline(always)]
    fn of<I: Isa>(&self, x: C, w: C, b: C) -> C {
        mul_add::<C, I>(mul_add::<C, I>(x - self.high, self.scale, self.shift), w, b)
    }

    /// [`of`](Self::of) each element, with its own weight and bias.
    #[inline(always)]
    fn run<T: Element<Compute = C>, I: Isa>(&self, out: &mut [T], x: &[T], w: &[C], b: &[C]) {
        for ((o, v), (&w, &b)) in out.iter_mut().zip(x).zip(w.iter().zip(b)) {
            *o = T::down(self.of::<I>(v.up(), w, b));
        }
    }
}

/// `out = (x - mean) * rstd * weight + bias` with each row's mean, or 0, and `rstd = 1 / sqrt(variance + eps)`, which go
/// to `mean` and `rstd`.
#[allow(clippy::too_many_arguments)] // what goes in and what comes out
pub fn normalise<T>(
    out: &mut [T],
    rstd: &mut [T::Compute],
    mean: &mut [T::Compute],
    x: &[T],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f64,
    rows: &Rows,
    par: &Par,
) where
    T: Element<Compute: Precise>,
{
    struct Block<'a, T: Element> {
        out: &'a mut [T],
        rstd: &'a mut [T::Compute],
        mean: &'a mut [T::Compute],
        x: &'a [T],
        weight: &'a [T::Compute],
        bias: &'a [T::Compute],
        first: usize,
        eps: f64,
        rows: &'a Rows,
    }
    impl<T: Element<Compute: Precise>> Loop for Block<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let (rows, n) = (self.rows, self.rows.len());
            let statistics = self.rstd.iter_mut().zip(self.mean);
            let both = self.out.chunks_exact_mut(n).zip(self.x.chunks_exact(n));
            for (r, ((out, x), (rstd, mean))) in (self.first..).zip(both.zip(statistics)) {
                let (weight, bias) = (rows.of(r, self.weight), rows.of(r, self.bias));
                let found: Moments = moments_of_run(x, rows.centered);
                let spread = (found.variance + self.eps).sqrt().recip();
                // The mean in two parts: rounded to one, a large mean would shift the whole row.
                let high = T::Compute::from_f64(found.mean);
                let scale = T::Compute::from_f64(spread);
                let shift = T::Compute::from_f64((high.to_f64() - found.mean) * spread);
                let map = Map { high, scale, shift };
                if rows.plane == 1 {
                    map.run::<T, I>(out, x, weight, bias);
                } else {
                    let planes = out.chunks_mut(rows.plane).zip(x.chunks(rows.plane));
                    for ((out, x), (&w, &b)) in planes.zip(weight.iter().zip(bias)) {
                        out.iter_mut().zip(x).for_each(|(o, &v)| *o = T::down(map.of::<I>(v.up(), w, b)));
                    }
                }
                (*rstd, *mean) = (scale, high);
            }
        }
    }
    if out.is_empty() {
        rstd.fill(T::Compute::from_f64(f64::NAN));
        return mean.fill(T::Compute::from_f64(f64::NAN));
    }
    let (weight, bias) = (in_compute(weight, rows.weights(), 1.0), in_compute(bias, rows.weights(), 0.0));
    let (n, rstds, means) = (rows.len(), SharedMut::new(rstd), SharedMut::new(mean));
    let each = (GRAIN / n).max(1);
    par.chunks_mut(out, each * n, |block, out| {
        let range = block * each..block * each + out.len() / n;
        // SAFETY: each block writes the statistics of its own rows.
        let (rstd, mean) = unsafe { (rstds.range(range.clone()), means.range(range)) };
        let x = &x[block * each * n..][..out.len()];
        simd::run(Block { out, rstd, mean, x, weight: &weight, bias: &bias, first: block * each, eps, rows });
    });
}

/// Some rows of [`normalise_grad`].
struct Gradient<'a, T: Element> {
    dx: &'a mut [T],
    dw: &'a mut [T::Compute],
    db: &'a mut [T::Compute],
    g: &'a [T],
    x: &'a [T],
    weight: &'a [T::Compute],
    mean: Option<&'a [T::Compute]>,
    rstd: &'a [T::Compute],
    first: usize,
    rows: &'a Rows,
}

impl<T: Element<Compute: Precise>> Loop for Gradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (rows, n) = (self.rows, self.rows.len());
        let zero = T::Compute::default();
        let each = self.g.chunks_exact(n).zip(self.x.chunks_exact(n));
        for (r, (dx, (g, x))) in (self.first..).zip(self.dx.chunks_exact_mut(n).zip(each)) {
            let own = r % rows.period * rows.channels..(r % rows.period + 1) * rows.channels;
            let (weight, dw, db) = (&self.weight[own.clone()], &mut self.dw[own.clone()], &mut self.db[own]);
            let (mean, rstd) = (self.mean.map_or(zero, |mean| mean[r]), self.rstd[r]);
            // The sums of `g weight` and of `g weight (x - mean) rstd`.
            let mut sums = [zero; 2];
            if rows.plane == 1 {
                sums = totals(g, x, weight, [mean, rstd]);
            } else {
                let planes = g.chunks(rows.plane).zip(x.chunks(rows.plane));
                let channels = planes.zip(weight).zip(dw.iter_mut().zip(db.iter_mut()));
                for (((g, x), &w), (dw, db)) in channels {
                    let [own, along] = totals(g, x, &[], [mean, rstd]);
                    (*dw, *db) = (*dw + along, *db + own);
                    sums = [sums[0] + w * own, sums[1] + w * along];
                }
            }
            let count = T::Compute::from_f64(n as f64);
            let (alike, along) = (if rows.centered { sums[0] / count } else { zero }, sums[1] / count);
            if rows.plane == 1 {
                let affine = weight.iter().zip(dw.iter_mut().zip(db));
                for ((dx, (g, v)), (&w, (dw, db))) in dx.iter_mut().zip(g.iter().zip(x)).zip(affine) {
                    let (g, v) = (g.up(), (v.up() - mean) * rstd);
                    *dx = T::down((g * w - alike - v * along) * rstd);
                    *dw = *dw + g * v;
                    *db = *db + g;
                }
            } else {
                let planes = dx.chunks_mut(rows.plane).zip(g.chunks(rows.plane).zip(x.chunks(rows.plane)));
                for ((dx, (g, x)), &w) in planes.zip(weight) {
                    for (dx, (&g, &v)) in dx.iter_mut().zip(g.iter().zip(x)) {
                        *dx = T::down((g.up() * w - alike - (v.up() - mean) * rstd * along) * rstd);
                    }
                }
            }
        }
    }
}

/// The sums of `h = g w` and of `h (x - mean) rstd`; without weights, `w` is 1.
#[inline(always)]
fn totals<T: Element<Compute: Precise>>(
    g: &[T],
    x: &[T],
    w: &[T::Compute],
    [mean, rstd]: [T::Compute; 2],
) -> [T::Compute; 2] {
    #[inline(always)]
    fn add<T: Element<Compute: Precise>, const W: bool>(
        acc: &mut [[T::Compute; LANES]; 2],
        g: &[T],
        x: &[T],
        w: &[T::Compute],
        [mean, rstd]: [T::Compute; 2],
    ) {
        let [own, along] = acc;
        for (i, ((own, along), (g, x))) in own.iter_mut().zip(along).zip(g.iter().zip(x)).enumerate() {
            let h = if W { g.up() * w[i] } else { g.up() };
            *own = *own + h;
            *along = *along + h * ((x.up() - mean) * rstd);
        }
    }
    let mut acc = [[T::Compute::default(); LANES]; 2];
    let ((gs, g), (xs, x), (ws, w)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    let weighted = !ws.is_empty() || !w.is_empty();
    if weighted {
        gs.iter().zip(xs).zip(ws).for_each(|((g, x), w)| add::<T, true>(&mut acc, g, x, w, [mean, rstd]));
    } else {
        gs.iter().zip(xs).for_each(|(g, x)| add::<T, false>(&mut acc, g, x, &[], [mean, rstd]));
    }
    let mut acc = acc.map(settled);
    if weighted {
        add::<T, true>(&mut acc, g, x, w, [mean, rstd]);
    } else {
        add::<T, false>(&mut acc, g, x, w, [mean, rstd]);
    }
    acc.map(lanes::join::<_, Plus>)
}

/// The gradients of [`normalise`] with respect to its input, weight and bias, from that of its result, `g`.
///
/// Rows are summed in blocks, and the blocks in order: both depend on the sizes alone.
#[allow(clippy::too_many_arguments)] // what goes in and what comes out
pub fn normalise_grad<T>(
    dx: &mut [T],
    dw: &mut [T],
    db: &mut [T],
    g: &[T],
    x: &[T],
    rstd: &[T::Compute],
    mean: Option<&[T::Compute]>,
    weight: Option<&[T]>,
    rows: &Rows,
    par: &Par,
) where
    T: Element<Compute: Precise>,
{
    if dx.is_empty() {
        dw.fill(T::default());
        db.fill(T::default());
        return;
    }
    let (n, count) = (rows.len(), rows.weights());
    let weight = in_compute(weight, count, 1.0);
    let each = (GRAIN / n.max(1)).max(rstd.len().div_ceil(BLOCKS)).max(1);
    let zero = T::Compute::default();
    let mut parts = vec![zero; rstd.len().div_ceil(each) * 2 * count];
    let shared = SharedMut::new(&mut parts);
    par.chunks_mut(dx, each * n, |block, dx| {
        // SAFETY: each block writes a part of its own.
        let part = unsafe { shared.range(block * 2 * count..(block + 1) * 2 * count) };
        let (dw, db) = part.split_at_mut(count);
        let own = block * each * n..block * each * n + dx.len();
        let (g, x, first) = (&g[own.clone()], &x[own], block * each);
        simd::run(Gradient { dx, dw, db, g, x, weight: &weight, mean, rstd, first, rows });
    });
    let mut sums = vec![zero; 2 * count];
    for part in parts.chunks(2 * count.max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, &p)| *sum = *sum + p);
    }
    // Without a weight no one asks for these gradients, and there is no place for them.
    dw.iter_mut().zip(&sums).for_each(|(w, &sum)| *w = T::down(sum));
    db.iter_mut().zip(&sums[count..]).for_each(|(b, &sum)| *b = T::down(sum));
}
