//! Normalisation by rows: each row of a dense tensor is shifted and scaled by its own mean and spread.

use std::borrow::Cow;

use crate::dtype::Element;
use crate::kernels::norm::sum;
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

/// Accumulators of a sum: so many that additions need not wait for one another.
const LANES: usize = 32;

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
    struct Row<'a, T: Element> {
        out: &'a mut [T],
        x: &'a [T],
        weight: &'a [T::Compute],
        bias: &'a [T::Compute],
        eps: f64,
        rows: &'a Rows,
    }
    impl<T: Element<Compute: Precise>> Loop for Row<'_, T> {
        type Output = [f64; 2];
        #[inline(always)]
        fn run<I: Isa>(self) -> [f64; 2] {
            let Row { out, x, weight, bias, eps, rows } = self;
            let n = x.len() as f64;
            // Two passes over the row: squares of distances lose nothing to a large mean.
            let mean = if rows.centered { sum(x, |v| v) / n } else { 0.0 };
            let rstd = (sum(x, |v| (v - mean) * (v - mean)) / n + eps).sqrt().recip();
            // The mean in two parts: rounded to one, a large mean would shift the whole row.
            let high = T::Compute::from_f64(mean);
            let [low, scale] = [mean - high.to_f64(), rstd].map(T::Compute::from_f64);
            let map = |v: T, w: T::Compute, b: T::Compute| T::down(((v.up() - high) - low) * scale * w + b);
            if rows.plane == 1 {
                let affine = weight.iter().zip(bias);
                out.iter_mut().zip(x).zip(affine).for_each(|((o, &v), (&w, &b))| *o = map(v, w, b));
            } else {
                let planes = out.chunks_mut(rows.plane).zip(x.chunks(rows.plane));
                for ((out, x), (&w, &b)) in planes.zip(weight.iter().zip(bias)) {
                    out.iter_mut().zip(x).for_each(|(o, &v)| *o = map(v, w, b));
                }
            }
            [mean, rstd]
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
        for (k, (out, (rstd, mean))) in out.chunks_mut(n).zip(rstd.iter_mut().zip(mean)).enumerate() {
            let r = block * each + k;
            let (weight, bias) = (rows.of(r, &weight), rows.of(r, &bias));
            let row = Row { out, x: &x[r * n..][..n], weight, bias, eps, rows };
            [*mean, *rstd] = simd::run(row).map(T::Compute::from_f64);
        }
    });
}

/// One row of [`normalise_grad`].
struct Gradient<'a, T: Element> {
    dx: &'a mut [T],
    dw: &'a mut [T::Compute],
    db: &'a mut [T::Compute],
    g: &'a [T],
    x: &'a [T],
    weight: &'a [T::Compute],
    mean: T::Compute,
    rstd: T::Compute,
    rows: &'a Rows,
}

impl<T: Element<Compute: Precise>> Loop for Gradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Gradient { dx, dw, db, g, x, weight, mean, rstd, rows } = self;
        let zero = T::Compute::default();
        let normal = |v: T| (v.up() - mean) * rstd;
        // The sums of `g weight` and of `g weight (x - mean) rstd`.
        let mut sums = [zero; 2];
        if rows.plane == 1 {
            sums = totals(g, x, weight, |g, w| g * w, normal);
        } else {
            let planes = g.chunks(rows.plane).zip(x.chunks(rows.plane));
            let channels = planes.zip(weight).zip(dw.iter_mut().zip(db.iter_mut()));
            for (((g, x), &w), (dw, db)) in channels {
                let [own, along] = totals(g, x, x, |g, _| g, normal);
                (*dw, *db) = (*dw + along, *db + own);
                sums = [sums[0] + w * own, sums[1] + w * along];
            }
        }
        let n = T::Compute::from_f64(x.len() as f64);
        let (alike, along) = (if rows.centered { sums[0] / n } else { zero }, sums[1] / n);
        if rows.plane == 1 {
            let affine = weight.iter().zip(dw.iter_mut().zip(db));
            for ((dx, (&g, &v)), (&w, (dw, db))) in dx.iter_mut().zip(g.iter().zip(x)).zip(affine) {
                let (g, v) = (g.up(), normal(v));
                *dx = T::down((g * w - alike - v * along) * rstd);
                (*dw, *db) = (*dw + g * v, *db + g);
            }
        } else {
            let planes = dx.chunks_mut(rows.plane).zip(g.chunks(rows.plane).zip(x.chunks(rows.plane)));
            for ((dx, (g, x)), &w) in planes.zip(weight) {
                let each = dx.iter_mut().zip(g.iter().zip(x));
                each.for_each(|(dx, (&g, &v))| *dx = T::down((g.up() * w - alike - normal(v) * along) * rstd));
            }
        }
    }
}

/// The sums of `h = scaled(g, w)` and of `h normal(x)`.
#[inline(always)]
fn totals<T: Element<Compute: Precise>, W: Copy>(
    g: &[T],
    x: &[T],
    w: &[W],
    scaled: impl Fn(T::Compute, W) -> T::Compute,
    normal: impl Fn(T) -> T::Compute,
) -> [T::Compute; 2] {
    let zero = T::Compute::default();
    let (mut own, mut along) = ([zero; LANES], [zero; LANES]);
    let mut add = |g: &[T], x: &[T], w: &[W]| {
        let lanes = own.iter_mut().zip(along.iter_mut());
        for ((own, along), (&g, (&x, &w))) in lanes.zip(g.iter().zip(x.iter().zip(w))) {
            let h = scaled(g.up(), w);
            (*own, *along) = (*own + h, *along + h * normal(x));
        }
    };
    let ((gs, g), (xs, x), (ws, w)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    gs.iter().zip(xs.iter().zip(ws)).for_each(|(g, (x, w))| add(g, x, w));
    add(g, x, w);
    [own, along].map(|lanes| lanes.into_iter().fold(zero, |a, b| a + b))
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
        for (k, dx) in dx.chunks_mut(n).enumerate() {
            let r = block * each + k;
            let own = r % rows.period * rows.channels..(r % rows.period + 1) * rows.channels;
            simd::run(Gradient {
                dx,
                dw: &mut dw[own.clone()],
                db: &mut db[own.clone()],
                g: &g[r * n..][..n],
                x: &x[r * n..][..n],
                weight: &weight[own],
                mean: mean.map_or(zero, |mean| mean[r]),
                rstd: rstd[r],
                rows,
            });
        }
    });
    let mut sums = vec![zero; 2 * count];
    for part in parts.chunks(2 * count.max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, &p)| *sum = *sum + p);
    }
    // Without a weight no one asks for these gradients, and there is no place for them.
    dw.iter_mut().zip(&sums).for_each(|(w, &sum)| *w = T::down(sum));
    db.iter_mut().zip(&sums[count..]).for_each(|(b, &sum)| *b = T::down(sum));
}
