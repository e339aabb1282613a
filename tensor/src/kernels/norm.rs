//! The norm family: means and variances of channels, and elements scaled by them.
//!
//! The elements are dense, `[N, C, ..]`; a plane is what the axes after the channels hold.

use crate::dtype::Element;
use crate::kernels::lanes::{self, LANES, settled};
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// Mean and biased variance, accumulated in `f64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The mean squared distance from the mean.
    pub variance: f64,
}

/// Elements whose moments are taken at a time: they stay in the nearest cache for a second pass, and few are summed in
/// the precision that kernels compute in.
const STRETCH: usize = 4096;

/// Elements of a plane below which channels are worked on side by side.
const SMALL: usize = 16;

/// The sum of a stretch.
#[inline(always)]
fn sum<T: Element<Compute: Precise>>(x: &[T]) -> f64 {
    let mut acc = [T::Compute::default(); LANES];
    let (wide, rest) = x.as_chunks::<LANES>();
    for w in wide {
        acc.iter_mut().zip(w).for_each(|(a, v)| *a = *a + v.up());
    }
    let mut acc = settled(acc);
    acc.iter_mut().zip(rest).for_each(|(a, v)| *a = *a + v.up());
    lanes::sum(acc).to_f64()
}

/// The sum of the distances of a stretch from `center`, and of their squares.
#[inline(always)]
fn sums_about<T: Element<Compute: Precise>>(x: &[T], center: T::Compute) -> [f64; 2] {
    // Two arrays, and no function between: else they stay in memory.
    let mut own = [T::Compute::default(); LANES];
    let mut squares = [T::Compute::default(); LANES];
    let (wide, rest) = x.as_chunks::<LANES>();
    for w in wide {
        let mut d = [T::Compute::default(); LANES];
        d.iter_mut().zip(w).for_each(|(d, v)| *d = v.up() - center);
        own.iter_mut().zip(&d).for_each(|(sum, &d)| *sum = *sum + d);
        squares.iter_mut().zip(&d).for_each(|(sum, &d)| *sum = *sum + d * d);
    }
    let (mut own, mut squares) = (settled(own), settled(squares));
    for (l, v) in rest.iter().enumerate() {
        let d = v.up() - center;
        own[l] = own[l] + d;
        squares[l] = squares[l] + d * d;
    }
    [own, squares].map(|acc| lanes::sum(acc).to_f64())
}

/// The moments of a run; about 0 where the mean is not subtracted.
#[inline(always)]
pub(super) fn moments_of_run<T: Element<Compute: Precise>>(x: &[T], centered: bool) -> Moments {
    let mut seen = Seen::default();
    for stretch in x.chunks(STRETCH) {
        seen.merge(Seen::of(stretch, centered));
    }
    seen.moments()
}

/// Whether a sum of so many squares may be taken for what it is: those that leave the precision are taken in a wider one.
#[inline(always)]
pub(super) fn trusted(squares: f64, count: f64) -> bool {
    (squares < 1e30) & (squares > 1e-30 * count)
}

/// Number, mean, and sum of squared distances from the mean, of elements seen.
#[derive(Clone, Copy, Default)]
struct Seen {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Seen {
    /// Of a stretch, in two passes: squares of distances lose nothing to a large mean. The first mean is rounded; what
    /// is missing of it the second pass finds.
    #[inline(always)]
    fn of<T: Element<Compute: Precise>>(x: &[T], centered: bool) -> Seen {
        let count = x.len() as f64;
        let near = if centered { sum(x) / count } else { 0.0 };
        let center = T::Compute::from_f64(near);
        let [rest, squares] = sums_about(x, center);
        if !trusted(squares, count) {
            return Seen::of_extremes(x, centered);
        }
        if !centered {
            return Seen { count, mean: 0.0, squares };
        }
        Seen::about(count, center.to_f64(), rest, squares)
    }

    /// From the sums of distances from a center near the mean, and of their squares.
    #[inline(always)]
    fn about(count: f64, center: f64, rest: f64, squares: f64) -> Seen {
        Seen { count, mean: center + rest / count, squares: (squares - rest * rest / count).max(0.0) }
    }

    #[cold]
    #[inline(never)]
    fn of_extremes<T: Element>(x: &[T], centered: bool) -> Seen {
        let count = x.len() as f64;
        let mean = if centered { x.iter().map(|v| v.to_f64()).sum::<f64>() / count } else { 0.0 };
        let squares = x.iter().map(|v| (v.to_f64() - mean) * (v.to_f64() - mean)).sum();
        Seen { count, mean, squares }
    }

    /// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    #[inline(always)]
    fn merge(&mut self, other: Seen) {
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * (other.count / count);
        self.squares += other.squares + distance * distance * (self.count * other.count / count);
        self.count = count;
    }

    #[inline(always)]
    fn moments(&self) -> Moments {
        Moments { mean: self.mean, variance: self.squares / self.count }
    }
}

/// The moments of each of `channels` channels, whose planes have `plane` elements: in one pass.
pub fn moments<T>(x: &[T], channels: usize, plane: usize, par: &Par) -> Vec<Moments>
where
    T: Element<Compute: Precise>,
{
    struct Channel<'a, T> {
        x: &'a [T],
        first: usize,
        plane: usize,
        apart: usize,
    }
    impl<T: Element<Compute: Precise>> Loop for Channel<'_, T> {
        type Output = Moments;
        #[inline(always)]
        fn run<I: Isa>(self) -> Moments {
            let mut seen = Seen::default();
            for at in (self.first..self.x.len()).step_by(self.apart) {
                for stretch in self.x[at..][..self.plane].chunks(STRETCH) {
                    seen.merge(Seen::of(stretch, true));
                }
            }
            seen.moments()
        }
    }
    if plane < SMALL {
        return moments_of_columns(x, channels, plane, par);
    }
    let moments = |channel| simd::run_narrow(Channel { x, first: channel * plane, plane, apart: channels * plane });
    each_channel(x.len(), channels, par, moments)
}

/// What `f` gives for each of `channels` channels of `elements` elements together.
fn each_channel<R: Send + Default + Clone>(
    elements: usize,
    channels: usize,
    par: &Par,
    f: impl Fn(usize) -> R + Sync,
) -> Vec<R> {
    let mut out = vec![R::default(); channels];
    let together = (GRAIN * channels / elements.max(1)).max(1);
    par.chunks_mut(&mut out, together, |block, out| {
        out.iter_mut().enumerate().for_each(|(k, out)| *out = f(block * together + k));
    });
    out
}

/// Columns that are summed side by side, and rows at a time: both passes over them find them in the second cache.
const WIDTH: usize = 128;
const HEIGHT: usize = 256;

/// What `f` gives for each column of rows of `row` elements, which are cut into blocks: `f` gets the first element and the
/// number of rows of each, `merge` joins those of a column in order.
fn each_column<R: Send + Clone + Default>(
    (elements, row): (usize, usize),
    par: &Par,
    f: impl Fn(usize, usize) -> [R; WIDTH] + Sync,
    merge: impl Fn(&mut R, R),
) -> Vec<R> {
    let (rows, across) = (elements / row, row.div_ceil(WIDTH));
    let blocks = par.map(rows.div_ceil(HEIGHT) * across, |block| {
        let (top, from) = (block / across * HEIGHT, block % across * WIDTH);
        f(top * row + from, HEIGHT.min(rows - top)).to_vec()
    });
    let mut out = vec![R::default(); row];
    for (block, of_block) in blocks.into_iter().enumerate() {
        out[block % across * WIDTH..].iter_mut().zip(of_block).for_each(|(out, of_block)| merge(out, of_block));
    }
    out
}

/// Numbers of each channel, for each column that it has: those of one kind side by side.
fn of_columns<C: Copy, const N: usize>(channels: impl Iterator<Item = [C; N]> + Clone, plane: usize) -> [Vec<C>; N] {
    let of_kind = |k: usize| channels.clone().flat_map(|numbers| std::iter::repeat_n(numbers[k], plane)).collect();
    std::array::from_fn(of_kind)
}

/// [`moments`] where planes are small: what lies side by side is summed side by side.
fn moments_of_columns<T>(x: &[T], channels: usize, plane: usize, par: &Par) -> Vec<Moments>
where
    T: Element<Compute: Precise>,
{
    /// A center near the mean of each column, the sums of the distances from it, and of their squares.
    struct Columns<'a, T> {
        x: &'a [T],
        row: usize,
        rows: usize,
        width: usize,
    }
    impl<T: Element<Compute: Precise>> Loop for Columns<'_, T> {
        type Output = [[T::Compute; WIDTH]; 3];
        #[inline(always)]
        fn run<I: Isa>(self) -> Self::Output {
            let Columns { x, row, rows, width } = self;
            let [mut center, mut own, mut squares] = [[T::Compute::default(); WIDTH]; 3];
            let count = T::Compute::from_f64(rows as f64);
            let (fours, whole) = (0..rows / 4, rows / 4 * 4);
            for four in fours.clone() {
                add_lines::<T, 4, false>(lines(x, row, 4 * four, width), &[], &mut center, &mut []);
            }
            for r in whole..rows {
                add_lines::<T, 1, false>(lines(x, row, r, width), &[], &mut center, &mut []);
            }
            center.iter_mut().for_each(|sum| *sum = *sum / count);
            for four in fours {
                add_lines::<T, 4, true>(lines(x, row, 4 * four, width), &center, &mut own, &mut squares);
            }
            for r in whole..rows {
                add_lines::<T, 1, true>(lines(x, row, r, width), &center, &mut own, &mut squares);
            }
            [center, own, squares]
        }
    }
    /// The first `width` elements of rows one below the other.
    #[inline(always)]
    fn lines<T, const N: usize>(x: &[T], row: usize, first: usize, width: usize) -> [&[T]; N] {
        std::array::from_fn(|k| &x[(first + k) * row..][..width])
    }
    /// Adds lines to the sums of their columns, or their distances from `center`, and the squares of these. Several at a
    /// time: to load and store the sums takes longer than to add.
    #[inline(always)]
    fn add_lines<T: Element<Compute: Precise>, const N: usize, const SQUARES: bool>(
        lines: [&[T]; N],
        center: &[T::Compute],
        own: &mut [T::Compute],
        squares: &mut [T::Compute],
    ) {
        let n = lines[0].len();
        let (lines, own) = (lines.map(|line| &line[..n]), &mut own[..n]);
        if const { !SQUARES } {
            for l in 0..n {
                own[l] = own[l] + lines.iter().skip(1).fold(lines[0][l].up(), |sum, line| sum + line[l].up());
            }
            return;
        }
        let (center, squares) = (&center[..n], &mut squares[..n]);
        for l in 0..n {
            let d = lines.map(|line| line[l].up() - center[l]);
            own[l] = own[l] + d.iter().skip(1).fold(d[0], |sum, &d| sum + d);
            squares[l] = squares[l] + d.iter().skip(1).fold(d[0] * d[0], |sum, &d| sum + d * d);
        }
    }
    let row = channels * plane;
    if x.is_empty() {
        return vec![Moments::default(); channels];
    }
    let of_block = |first: usize, rows: usize| {
        let (width, count) = (WIDTH.min(row - first % row), rows as f64);
        let sums = simd::run(Columns { x: &x[first..], row, rows, width });
        let [center, rest, squares] = sums.map(|sums| sums.map(|sum| sum.to_f64()));
        std::array::from_fn(|i| {
            if i < width && !trusted(squares[i], count) {
                let column: Vec<T> = x[first + i..].iter().step_by(row).take(rows).copied().collect();
                return Seen::of_extremes(&column, true);
            }
            Seen::about(count, center[i], rest[i], squares[i])
        })
    };
    let columns = each_column((x.len(), row), par, of_block, Seen::merge);
    let of_channel = |columns: &[Seen]| {
        let mut seen = Seen::default();
        columns.iter().for_each(|&column| seen.merge(column));
        seen.moments()
    };
    columns.chunks(plane).map(of_channel).collect()
}

/// How the elements of a channel are mapped: `(x - center) * scale + shift`.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// What is subtracted.
    pub center: f64,
    /// The factor.
    pub scale: f64,
    /// What is added.
    pub shift: f64,
}

/// `out = (x - center) * scale + shift`, channel by channel.
pub fn affine<T>(out: &mut [T], x: &[T], channels: &[Affine], plane: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Planes<'a, T> {
        out: &'a mut [T],
        x: &'a [T],
        channels: &'a [Affine],
        first: usize,
        plane: usize,
    }
    impl<T: Element<Compute: Precise>> Loop for Planes<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let planes = self.out.chunks_mut(self.plane).zip(self.x.chunks(self.plane));
            let mut channel = self.first;
            for (out, x) in planes {
                let a = self.channels[channel];
                let [center, scale, shift] = [a.center, a.scale, a.shift].map(T::Compute::from_f64);
                out.iter_mut().zip(x).for_each(|(o, v)| *o = T::down((v.up() - center) * scale + shift));
                channel = if channel + 1 == self.channels.len() { 0 } else { channel + 1 };
            }
        }
    }
    /// Rows of all channels, with the numbers of each column.
    struct Rows<'a, T: Element> {
        out: &'a mut [T],
        x: &'a [T],
        columns: &'a [Vec<T::Compute>; 3],
    }
    impl<T: Element<Compute: Precise>> Loop for Rows<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let [center, scale, shift] = self.columns;
            let row = center.len();
            for (out, x) in self.out.chunks_mut(row).zip(self.x.chunks(row)) {
                let numbers = center.iter().zip(scale).zip(shift);
                for ((out, x), ((&center, &scale), &shift)) in out.iter_mut().zip(x).zip(numbers) {
                    *out = T::down((x.up() - center) * scale + shift);
                }
            }
        }
    }
    let plane = plane.max(1);
    if plane < SMALL {
        let numbers = channels.iter().map(|c| [c.center, c.scale, c.shift].map(T::Compute::from_f64));
        let (columns, row) = (of_columns(numbers, plane), channels.len() * plane);
        let each = (GRAIN / row.max(1)).max(1) * row.max(1);
        return par.chunks_mut(out, each, |task, out| {
            simd::run_narrow(Rows { x: &x[task * each..][..out.len()], out, columns: &columns });
        });
    }
    let each = (GRAIN / plane).max(1);
    par.chunks_mut(out, each * plane, |task, out| {
        let start = task * each * plane;
        let first = task * each % channels.len();
        simd::run_narrow(Planes { x: &x[start..][..out.len()], out, channels, first, plane });
    });
}

/// The sums over each channel of a gradient, and of its products with the distances of the elements from `centers`.
pub fn gradient_sums<T>(g: &[T], x: &[T], centers: &[f64], plane: usize, par: &Par) -> Vec<[f64; 2]>
where
    T: Element<Compute: Precise>,
{
    struct Channel<'a, T> {
        g: &'a [T],
        x: &'a [T],
        center: f64,
        first: usize,
        plane: usize,
        apart: usize,
    }
    impl<T: Element<Compute: Precise>> Loop for Channel<'_, T> {
        type Output = [f64; 2];
        #[inline(always)]
        fn run<I: Isa>(self) -> [f64; 2] {
            let center = T::Compute::from_f64(self.center);
            let mut sums = [0.0; 2];
            for at in (self.first..self.x.len()).step_by(self.apart) {
                let stretches = self.g[at..][..self.plane].chunks(STRETCH).zip(self.x[at..].chunks(STRETCH));
                for (g, x) in stretches {
                    let [mut own, mut products] = [[T::Compute::default(); LANES]; 2];
                    let ((gs, g), (xs, x)) = (g.as_chunks::<LANES>(), x[..g.len()].as_chunks::<LANES>());
                    for (g, x) in gs.iter().zip(xs) {
                        for l in 0..LANES {
                            own[l] = own[l] + g[l].up();
                            products[l] = products[l] + g[l].up() * (x[l].up() - center);
                        }
                    }
                    let (mut own, mut products) = (settled(own), settled(products));
                    for (l, (g, x)) in g.iter().zip(x).enumerate() {
                        own[l] = own[l] + g.up();
                        products[l] = products[l] + g.up() * (x.up() - center);
                    }
                    sums[0] += lanes::sum(own).to_f64();
                    sums[1] += lanes::sum(products).to_f64();
                }
            }
            sums
        }
    }
    /// The same for columns that lie side by side.
    struct Columns<'a, T> {
        g: &'a [T],
        x: &'a [T],
        row: usize,
        rows: usize,
        center: [f64; WIDTH],
    }
    impl<T: Element> Loop for Columns<'_, T> {
        type Output = [[f64; 2]; WIDTH];
        #[inline(always)]
        fn run<I: Isa>(self) -> [[f64; 2]; WIDTH] {
            let [mut own, mut products] = [[0.0; WIDTH]; 2];
            for (g, x) in self.g.chunks(self.row).zip(self.x.chunks(self.row)).take(self.rows) {
                let sums = own.iter_mut().zip(&mut products);
                for (((g, x), center), (own, products)) in g.iter().zip(x).zip(&self.center).zip(sums) {
                    *own += g.to_f64();
                    *products += g.to_f64() * (x.to_f64() - center);
                }
            }
            std::array::from_fn(|i| [own[i], products[i]])
        }
    }
    let channels = centers.len();
    if x.is_empty() {
        return vec![[0.0; 2]; channels];
    }
    let row = channels * plane;
    if plane >= SMALL {
        return each_channel(x.len(), channels, par, |c| {
            simd::run_narrow(Channel { g, x, center: centers[c], first: c * plane, plane, apart: row })
        });
    }
    let of_block = |first: usize, rows: usize| {
        let column = first % row;
        let center = std::array::from_fn(|i| centers.get((column + i) / plane).copied().unwrap_or(0.0));
        simd::run(Columns { g: &g[first..], x: &x[first..], row, rows, center })
    };
    let sum = |a: [f64; 2], b: &[f64; 2]| [a[0] + b[0], a[1] + b[1]];
    let columns = each_column((x.len(), row), par, of_block, |a, b| *a = sum(*a, &b));
    columns.chunks(plane).map(|channel| channel.iter().fold([0.0; 2], sum)).collect()
}

/// How the gradients of a channel's elements are found: `g * scale + (x - center) * along + shift`.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    /// What is subtracted from the element.
    pub center: f64,
    /// The factor of the gradient that comes in.
    pub scale: f64,
    /// The factor of the element's distance from the center.
    pub along: f64,
    /// What is added.
    pub shift: f64,
}

/// `out = g * scale + (x - center) * along + shift`, channel by channel.
pub fn gradient<T>(out: &mut [T], g: &[T], x: &[T], channels: &[Slope], plane: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Planes<'a, T> {
        out: &'a mut [T],
        g: &'a [T],
        x: &'a [T],
        channels: &'a [Slope],
        first: usize,
        plane: usize,
    }
    impl<T: Element<Compute: Precise>> Loop for Planes<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let planes = self.out.chunks_mut(self.plane).zip(self.g.chunks(self.plane)).zip(self.x.chunks(self.plane));
            let mut channel = self.first;
            for ((out, g), x) in planes {
                let Slope { center, scale, along, shift } = self.channels[channel];
                let [center, scale, along, shift] = [center, scale, along, shift].map(T::Compute::from_f64);
                for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                    *out = T::down(g.up() * scale + ((x.up() - center) * along + shift));
                }
                channel = if channel + 1 == self.channels.len() { 0 } else { channel + 1 };
            }
        }
    }
    /// Rows of all channels, with the numbers of each column.
    struct Rows<'a, T: Element> {
        out: &'a mut [T],
        g: &'a [T],
        x: &'a [T],
        columns: &'a [Vec<T::Compute>; 4],
    }
    impl<T: Element<Compute: Precise>> Loop for Rows<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let [center, scale, along, shift] = self.columns;
            let row = center.len();
            for ((out, g), x) in self.out.chunks_mut(row).zip(self.g.chunks(row)).zip(self.x.chunks(row)) {
                let numbers = center.iter().zip(scale).zip(along).zip(shift);
                for (((out, g), x), (((&center, &scale), &along), &shift)) in out.iter_mut().zip(g).zip(x).zip(numbers)
                {
                    *out = T::down(g.up() * scale + ((x.up() - center) * along + shift));
                }
            }
        }
    }
    let plane = plane.max(1);
    if plane < SMALL {
        let numbers = channels.iter().map(|c| [c.center, c.scale, c.along, c.shift].map(T::Compute::from_f64));
        let (columns, row) = (of_columns(numbers, plane), channels.len() * plane);
        let each = (GRAIN / row.max(1)).max(1) * row.max(1);
        return par.chunks_mut(out, each, |task, out| {
            let own = task * each..task * each + out.len();
            simd::run_narrow(Rows { g: &g[own.clone()], x: &x[own], out, columns: &columns });
        });
    }
    let each = (GRAIN / plane).max(1);
    par.chunks_mut(out, each * plane, |task, out| {
        let own = task * each * plane..task * each * plane + out.len();
        let first = task * each % channels.len();
        simd::run_narrow(Planes { g: &g[own.clone()], x: &x[own], out, channels, first, plane });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More columns than are summed side by side, blocks of rows of which the last is short, and channels whose squares
    /// leave the precision, or are next to nothing beside the mean.
    #[test]
    fn moments_of_columns_are_those_of_the_definition() {
        for (images, channels, plane) in [(300, 300, 1), (259, 3, 1), (2, 5, 1), (33, 20, 7), (1, 2, 15)] {
            let scale = |c: usize| [1.0, 1e25, 1e-25, 0.0][c % 4];
            let n = images * channels * plane;
            let of = |i: usize| scale(i / plane % channels) * ((i as f32 * 0.37).sin() + 300.0);
            let x: Vec<f32> = (0..n).map(of).collect();
            for (channel, have) in moments(&x, channels, plane, &Par::sequential()).iter().enumerate() {
                let own = || (0..n).filter(|i| i / plane % channels == channel).map(|i| x[i] as f64);
                let count = (images * plane) as f64;
                let mean = own().sum::<f64>() / count;
                let variance = own().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
                let near = |have: f64, want: f64, tolerance: f64| (have - want).abs() <= tolerance * want.abs();
                let place = format!("channel {channel} of {channels}, planes of {plane}");
                assert!(near(have.mean, mean, 1e-9), "{} not {mean}: {place}", have.mean);
                assert!(near(have.variance, variance, 1e-5), "{} not {variance}: {place}", have.variance);
            }
        }
    }

    /// Planes below and above those that are worked on side by side, of one and of several stretches.
    #[test]
    fn gradients_of_channels_are_those_of_the_definition() {
        for (images, channels, plane) in [(40, 70, 1), (3, 5, 7), (2, 3, 16), (3, 2, 37), (2, 3, 5000), (0, 3, 20)] {
            let n = images * channels * plane;
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() + 3.0).collect();
            let g: Vec<f32> = (0..n).map(|i| (i as f32 * 0.11).cos()).collect();
            let of = |channel: usize| (0..n).filter(move |i| i / plane % channels == channel);
            let centers: Vec<f64> = (0..channels).map(|c| 2.5 + c as f64 / 8.0).collect();
            for (channel, sums) in gradient_sums(&g, &x, &centers, plane, &Par::sequential()).iter().enumerate() {
                let own: f64 = of(channel).map(|i| g[i] as f64).sum();
                let products: f64 = of(channel).map(|i| g[i] as f64 * (x[i] as f64 - centers[channel])).sum();
                let size = (images * plane) as f64;
                assert!(
                    (own - sums[0]).abs() <= 1e-6 * size && (products - sums[1]).abs() <= 1e-6 * size,
                    "{channel} {plane}"
                );
            }
            let slope = |c: usize| Slope { center: centers[c], scale: 0.5 + c as f64, along: 1.5, shift: c as f64 };
            let slopes: Vec<Slope> = (0..channels).map(slope).collect();
            let mut out = vec![f32::NAN; n];
            gradient(&mut out, &g, &x, &slopes, plane, &Par::sequential());
            for (i, out) in out.iter().enumerate() {
                let Slope { center, scale, along, shift } = slopes[i / plane % channels];
                let want = g[i] as f64 * scale + (x[i] as f64 - center) * along + shift;
                assert!((*out as f64 - want).abs() < 1e-5 * want.abs().max(1.0), "{i}: {out}, not {want}");
            }
        }
    }
}
