//! Normalisation by rows: each row of a dense tensor is shifted and scaled by its own mean and spread.

use std::borrow::Cow;

use crate::dtype::Element;
use crate::kernels::compute::in_compute;
use crate::kernels::elementary::mul_add;
use crate::kernels::lanes::{self, LANES, settled};
use crate::kernels::norm::{Moments, moments_of_run, trusted};
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::{rows_aside, rows_back};
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

/// Rows of a tile: short rows are turned, so that many lie side by side. A row by itself does not fill registers, and
/// what is done once a row takes longer than the row.
const TILE: usize = 2 * LANES;

/// To this length rows are turned, where at least [`FEW`] would lie side by side; for the gradient, which needs four
/// tiles at once, to the other.
const SHORT: usize = 128;
const SHORT_GRADIENT: usize = 64;
const FEW: usize = 16;

/// Elements of a lane added one after another, so that rounding errors do not grow with the length of a row.
const STRETCH: usize = 16;

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

    /// Whether rows, `count` of them and at most `short` long, are turned. All of them have the same weights.
    fn in_tiles(&self, count: usize, short: usize) -> bool {
        self.plane == 1 && self.period == 1 && self.channels <= short && count >= FEW
    }

    /// The weights of row `r`.
    fn of<'a, T>(&self, r: usize, weights: &'a [T]) -> &'a [T] {
        &weights[r % self.period * self.channels..][..self.channels]
    }
}

/// The numbers in the precision that kernels compute in; `n` times `missing` where there are none.
fn weights<T: Element>(x: Option<&[T]>, n: usize, missing: f64) -> Cow<'_, [T::Compute]> {
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

impl<C: Precise + Element<Compute = C>> Map<C> {
    #[inline(always)]
    fn new(mean: f64, variance: f64, eps: f64) -> Self {
        let spread = (variance + eps).sqrt().recip();
        // The mean in two parts: rounded to one, a large mean would shift the whole row.
        let high = C::from_f64(mean);
        Map { high, scale: C::from_f64(spread), shift: C::from_f64((high.to_f64() - mean) * spread) }
    }

    /// The element at its place, then times `w` and shifted by `b`.
    #[inline(always)]
    fn of<I: Isa>(&self, x: C, w: C, b: C) -> C {
        mul_add::<C, I>(mul_add::<C, I>(x - self.high, self.scale, self.shift), w, b)
    }

    /// [`of`](Self::of) each element, with its own weight and bias.
    #[inline(always)]
    fn run<I: Isa>(&self, out: &mut [C], x: &[C], w: &[C], b: &[C]) {
        for ((o, &v), (&w, &b)) in out.iter_mut().zip(x).zip(w.iter().zip(b)) {
            *o = self.of::<I>(v, w, b);
        }
    }
}

/// What [`normalise`] does with some rows.
struct Forward<'a, C> {
    out: &'a mut [C],
    rstd: &'a mut [C],
    mean: &'a mut [C],
    x: &'a [C],
    weight: &'a [C],
    bias: &'a [C],
    first: usize,
    eps: f64,
    rows: &'a Rows,
}

impl<C: Precise + Element<Compute = C>> Loop for Forward<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (rows, n) = (self.rows, self.rows.len());
        let statistics = self.rstd.iter_mut().zip(self.mean);
        let both = self.out.chunks_exact_mut(n).zip(self.x.chunks_exact(n));
        for (r, ((out, x), (rstd, mean))) in (self.first..).zip(both.zip(statistics)) {
            let (weight, bias) = (rows.of(r, self.weight), rows.of(r, self.bias));
            let found: Moments = moments_of_run(x, rows.centered);
            let map = Map::new(found.mean, found.variance, self.eps);
            if rows.plane == 1 {
                map.run::<I>(out, x, weight, bias);
            } else {
                let planes = out.chunks_mut(rows.plane).zip(x.chunks(rows.plane));
                for ((out, x), (&w, &b)) in planes.zip(weight.iter().zip(bias)) {
                    out.iter_mut().zip(x).for_each(|(o, &v)| *o = map.of::<I>(v, w, b));
                }
            }
            (*rstd, *mean) = (map.scale, map.high);
        }
    }
}

/// [`Forward`] in tiles.
struct ForwardTiles<'a, C>(Forward<'a, C>);

impl<C: Precise + Element<Compute = C>> Loop for ForwardTiles<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Forward { out, rstd, mean, x, weight, bias, eps, rows, .. } = self.0;
        let (n, zero) = (rows.len(), C::default());
        let count = n as f64;
        let mut tile = vec![[zero; TILE]; n];
        let both = out.chunks_mut(TILE * n).zip(x.chunks(TILE * n));
        for ((out, x), (rstd, mean)) in both.zip(rstd.chunks_mut(TILE).zip(mean.chunks_mut(TILE))) {
            rows_aside(&mut tile, x);
            let mut center = [zero; TILE];
            if rows.centered {
                for stretch in tile.chunks(STRETCH) {
                    let mut sum = [zero; TILE];
                    for row in stretch {
                        sum.iter_mut().zip(row).for_each(|(s, &v)| *s = *s + v);
                    }
                    center.iter_mut().zip(&sum).for_each(|(c, &s)| *c = *c + s);
                }
                center.iter_mut().for_each(|c| *c = C::from_f64(c.to_f64() / count));
            }
            let [mut rests, mut squares] = [[zero; TILE]; 2];
            for stretch in tile.chunks(STRETCH) {
                let [mut rest, mut square] = [[zero; TILE]; 2];
                for row in stretch {
                    for ((rest, square), (&v, &center)) in rest.iter_mut().zip(&mut square).zip(row.iter().zip(&center))
                    {
                        let d = v - center;
                        *rest = *rest + d;
                        *square = mul_add::<C, I>(d, d, *square);
                    }
                }
                rests.iter_mut().zip(&rest).for_each(|(s, &r)| *s = *s + r);
                squares.iter_mut().zip(&square).for_each(|(s, &r)| *s = *s + r);
            }
            let [mut means, mut variances] = [[0.0; TILE]; 2];
            let mut sound = true;
            for l in 0..TILE {
                let (rest, square) = (if rows.centered { rests[l].to_f64() } else { 0.0 }, squares[l].to_f64());
                means[l] = center[l].to_f64() + rest / count;
                variances[l] = (square - rest * rest / count).max(0.0) / count;
                sound &= trusted(square, count) | (l >= rstd.len());
            }
            if !sound {
                for (l, x) in x.chunks_exact(n).enumerate() {
                    let found: Moments = moments_of_run(x, rows.centered);
                    (means[l], variances[l]) = (found.mean, found.variance);
                }
            }
            let [mut high, mut scale, mut shift] = [[zero; TILE]; 3];
            for l in 0..TILE {
                let map = Map::new(means[l], variances[l], eps);
                (high[l], scale[l], shift[l]) = (map.high, map.scale, map.shift);
            }
            for (row, (&w, &b)) in tile.iter_mut().zip(weight.iter().zip(bias)) {
                for ((v, &high), (&scale, &shift)) in row.iter_mut().zip(&high).zip(scale.iter().zip(&shift)) {
                    *v = Map { high, scale, shift }.of::<I>(*v, w, b);
                }
            }
            rows_back(out, &tile);
            rstd.copy_from_slice(&scale[..rstd.len()]);
            mean.copy_from_slice(&high[..mean.len()]);
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
    if out.is_empty() {
        rstd.fill(T::Compute::from_f64(f64::NAN));
        return mean.fill(T::Compute::from_f64(f64::NAN));
    }
    let (weight, bias) = (weights(weight, rows.weights(), 1.0), weights(bias, rows.weights(), 0.0));
    let (n, in_tiles) = (rows.len(), rows.in_tiles(rstd.len(), SHORT));
    let (rstds, means) = (SharedMut::new(rstd), SharedMut::new(mean));
    // Copies of 16-bit floats in the precision of computing stay in a near cache.
    let grain = if T::direct(x).is_some() { GRAIN } else { GRAIN / 8 };
    let each = if in_tiles { (grain / n).next_multiple_of(TILE) } else { (grain / n).max(1) };
    par.chunks_mut(out, each * n, |block, out| {
        let range = block * each..block * each + out.len() / n;
        // SAFETY: each block writes the statistics of its own rows.
        let (rstd, mean) = unsafe { (rstds.range(range.clone()), means.range(range)) };
        let x = &x[block * each * n..][..out.len()];
        in_compute([out], [x], |[out], [x]| {
            let run = Forward { out, rstd, mean, x, weight: &weight, bias: &bias, first: block * each, eps, rows };
            if in_tiles { simd::run_single::<T, _>(ForwardTiles(run)) } else { simd::run_single::<T, _>(run) }
        });
    });
}

/// Some rows of [`normalise_grad`].
struct Gradient<'a, C> {
    dx: &'a mut [C],
    dw: &'a mut [C],
    db: &'a mut [C],
    g: &'a [C],
    x: &'a [C],
    weight: &'a [C],
    mean: Option<&'a [C]>,
    rstd: &'a [C],
    first: usize,
    rows: &'a Rows,
}

impl<C: Precise + Element<Compute = C>> Loop for Gradient<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (rows, n) = (self.rows, self.rows.len());
        let zero = C::default();
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
            let count = C::from_f64(n as f64);
            let (alike, along) = (if rows.centered { sums[0] / count } else { zero }, sums[1] / count);
            if rows.plane == 1 {
                let affine = weight.iter().zip(dw.iter_mut().zip(db));
                for ((dx, (&g, &v)), (&w, (dw, db))) in dx.iter_mut().zip(g.iter().zip(x)).zip(affine) {
                    let v = (v - mean) * rstd;
                    *dx = (g * w - alike - v * along) * rstd;
                    *dw = *dw + g * v;
                    *db = *db + g;
                }
            } else {
                let planes = dx.chunks_mut(rows.plane).zip(g.chunks(rows.plane).zip(x.chunks(rows.plane)));
                for ((dx, (g, x)), &w) in planes.zip(weight) {
                    for (dx, (&g, &v)) in dx.iter_mut().zip(g.iter().zip(x)) {
                        *dx = (g * w - alike - (v - mean) * rstd * along) * rstd;
                    }
                }
            }
        }
    }
}

/// [`Gradient`] in tiles.
struct GradientTiles<'a, C>(Gradient<'a, C>);

impl<C: Precise + Element<Compute = C>> Loop for GradientTiles<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Gradient { dx, dw, db, g, x, weight, mean, rstd, first, rows } = self.0;
        let (n, zero) = (rows.len(), C::default());
        let count = C::from_f64(n as f64);
        // Also the gradients of the weights are summed lane by lane; the lanes are joined at the end.
        let [mut gs, mut xs, mut dws, mut dbs] = [(); 4].map(|()| vec![[zero; TILE]; n]);
        let each = dx.chunks_mut(TILE * n).zip(g.chunks(TILE * n).zip(x.chunks(TILE * n)));
        for (k, (dx, (g, x))) in each.enumerate() {
            rows_aside(&mut gs, g);
            rows_aside(&mut xs, x);
            let own = first + k * TILE..first + k * TILE + dx.len() / n;
            let [mut center, mut scale] = [[zero; TILE]; 2];
            scale[..own.len()].copy_from_slice(&rstd[own.clone()]);
            if let Some(mean) = mean {
                center[..own.len()].copy_from_slice(&mean[own]);
            }
            // The sums of `g weight` and of `g weight (x - mean) rstd`.
            let [mut alike, mut along] = [[zero; TILE]; 2];
            let sums = dws.chunks_mut(STRETCH).zip(dbs.chunks_mut(STRETCH));
            let stretches = gs.chunks(STRETCH).zip(xs.chunks_mut(STRETCH)).zip(weight.chunks(STRETCH));
            for (((gs, xs), weight), (dws, dbs)) in stretches.zip(sums) {
                let [mut own, mut with] = [[zero; TILE]; 2];
                for (((g, x), &w), (dw, db)) in gs.iter().zip(xs).zip(weight).zip(dws.iter_mut().zip(dbs)) {
                    for l in 0..TILE {
                        let v = (x[l] - center[l]) * scale[l];
                        let h = g[l] * w;
                        x[l] = v;
                        dw[l] = dw[l] + g[l] * v;
                        db[l] = db[l] + g[l];
                        own[l] = own[l] + h;
                        with[l] = with[l] + h * v;
                    }
                }
                alike.iter_mut().zip(&own).for_each(|(s, &v)| *s = *s + v);
                along.iter_mut().zip(&with).for_each(|(s, &v)| *s = *s + v);
            }
            for (alike, along) in alike.iter_mut().zip(&mut along) {
                *alike = if rows.centered { *alike / count } else { zero };
                *along = *along / count;
            }
            for ((g, x), &w) in gs.iter_mut().zip(&xs).zip(weight) {
                for l in 0..TILE {
                    g[l] = (g[l] * w - alike[l] - x[l] * along[l]) * scale[l];
                }
            }
            rows_back(dx, &gs);
        }
        for (sums, lanes) in [(dw, &dws), (db, &dbs)] {
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum = lanes::sum(std::array::from_fn(|l| lanes[l] + lanes[l + LANES]));
            }
        }
    }
}

/// The sums of `h = g w` and of `h (x - mean) rstd`; without weights, `w` is 1.
#[inline(always)]
fn totals<C: Precise + Element<Compute = C>>(g: &[C], x: &[C], w: &[C], [mean, rstd]: [C; 2]) -> [C; 2] {
    #[inline(always)]
    fn add<C: Precise + Element, const W: bool>(
        acc: &mut [[C; LANES]; 2],
        g: &[C],
        x: &[C],
        w: &[C],
        [mean, rstd]: [C; 2],
    ) {
        let [own, along] = acc;
        for (i, ((own, along), (&g, &x))) in own.iter_mut().zip(along).zip(g.iter().zip(x)).enumerate() {
            let h = if W { g * w[i] } else { g };
            *own = *own + h;
            *along = *along + h * ((x - mean) * rstd);
        }
    }
    let mut acc = [[C::default(); LANES]; 2];
    let ((gs, g), (xs, x), (ws, w)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    let weighted = !ws.is_empty() || !w.is_empty();
    if weighted {
        gs.iter().zip(xs).zip(ws).for_each(|((g, x), w)| add::<C, true>(&mut acc, g, x, w, [mean, rstd]));
    } else {
        gs.iter().zip(xs).for_each(|(g, x)| add::<C, false>(&mut acc, g, x, &[], [mean, rstd]));
    }
    let mut acc = acc.map(settled);
    if weighted {
        add::<C, true>(&mut acc, g, x, w, [mean, rstd]);
    } else {
        add::<C, false>(&mut acc, g, x, w, [mean, rstd]);
    }
    acc.map(lanes::sum)
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
    let weight = weights(weight, count, 1.0);
    let in_tiles = rows.in_tiles(rstd.len(), SHORT_GRADIENT);
    let each = (GRAIN / n).max(rstd.len().div_ceil(BLOCKS)).max(1);
    let each = if in_tiles { each.next_multiple_of(TILE) } else { each };
    let zero = T::Compute::default();
    let mut parts = vec![zero; rstd.len().div_ceil(each) * 2 * count];
    let shared = SharedMut::new(&mut parts);
    par.chunks_mut(dx, each * n, |block, dx| {
        // SAFETY: each block writes a part of its own.
        let part = unsafe { shared.range(block * 2 * count..(block + 1) * 2 * count) };
        let (dw, db) = part.split_at_mut(count);
        let own = block * each * n..block * each * n + dx.len();
        let first = block * each;
        in_compute([dx], [&g[own.clone()], &x[own]], |[dx], [g, x]| {
            let run = Gradient { dx, dw, db, g, x, weight: &weight, mean, rstd, first, rows };
            if in_tiles { simd::run_single::<T, _>(GradientTiles(run)) } else { simd::run_single::<T, _>(run) }
        });
    });
    let mut sums = vec![zero; 2 * count];
    for part in parts.chunks(2 * count.max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, &p)| *sum = *sum + p);
    }
    // Without a weight no one asks for these gradients, and there is no place for them.
    dw.iter_mut().zip(&sums).for_each(|(w, &sum)| *w = T::down(sum));
    db.iter_mut().zip(&sums[count..]).for_each(|(b, &sum)| *b = T::down(sum));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) {
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 2e-5 * b.abs().max(1.0) || a.is_nan() && b.is_nan(), "{i}: {a}, not {b}");
        }
    }

    /// In tiles comes out what comes out row by row; constant, far, huge, tiny and NaN rows are among them.
    #[test]
    fn tiles_are_rows() {
        for ((count, n), centered) in [(16, 1), (64, 7), (77, 32), (150, 64), (1000, 65), (65, 128)]
            .into_iter()
            .flat_map(|size| [(size, true), (size, false)])
        {
            let mut x: Vec<f32> = (0..count * n).map(|i| (i as f32 * 0.37).sin() + (i / n) as f32).collect();
            x[3 * n..4 * n].fill(2.5);
            x[4 * n..5 * n].iter_mut().for_each(|v| *v = *v * 1e3 + 1e6);
            x[5 * n..6 * n].iter_mut().for_each(|v| *v *= 1e25);
            x[6 * n..7 * n].iter_mut().for_each(|v| *v *= 1e-25);
            x[8 * n] = f32::NAN;
            let weight: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / n as f32).collect();
            let g: Vec<f32> = (0..count * n).map(|i| (i as f32 * 0.11).cos()).collect();
            let rows = Rows { period: 1, channels: n, plane: 1, centered };
            let par = Par::sequential();
            let run = |x: &[f32]| {
                let (mut y, mut rstd, mut mean) = (vec![0.0; x.len()], vec![0.0; x.len() / n], vec![0.0; x.len() / n]);
                normalise(&mut y, &mut rstd, &mut mean, x, Some(&weight), Some(&weight), 1e-5, &rows, &par);
                (y, rstd, mean)
            };
            let (y, rstd, mean) = run(&x);
            for (r, x) in x.chunks(n).enumerate() {
                let (own, own_rstd, own_mean) = run(x);
                close(&y[r * n..][..n], &own);
                close(&rstd[r..=r], &own_rstd);
                close(&mean[r..=r], &own_mean);
            }
            // Without the NaN, or nothing else would be left of the gradients of the weights.
            let grad = |g: &[f32], x: &[f32], rstd: &[f32], mean: &[f32]| {
                let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; n], vec![0.0; n]);
                let mean = centered.then_some(mean);
                normalise_grad(&mut dx, &mut dw, &mut db, g, x, rstd, mean, Some(&weight), &rows, &par);
                (dx, dw, db)
            };
            x.copy_within(7 * n..8 * n, 8 * n);
            let (_, rstd, mean) = run(&x);
            let (dx, dw, db) = grad(&g, &x, &rstd, &mean);
            let (mut dws, mut dbs) = (vec![0.0; n], vec![0.0; n]);
            for r in 0..count {
                let own = r * n..(r + 1) * n;
                let (own_dx, own_dw, own_db) = grad(&g[own.clone()], &x[own.clone()], &rstd[r..=r], &mean[r..=r]);
                let scale = rstd[r].max(1.0);
                let [ours, theirs] = [&dx[own], &own_dx].map(|dx| dx.iter().map(|v| v / scale).collect::<Vec<f32>>());
                close(&ours, &theirs);
                dws.iter_mut().zip(&own_dw).for_each(|(s, v)| *s += v);
                dbs.iter_mut().zip(&own_db).for_each(|(s, v)| *s += v);
            }
            let mean_of = |sums: &[f32]| sums.iter().map(|v| v / count as f32).collect::<Vec<f32>>();
            close(&mean_of(&dw), &mean_of(&dws));
            close(&mean_of(&db), &mean_of(&dbs));
        }
    }
}
