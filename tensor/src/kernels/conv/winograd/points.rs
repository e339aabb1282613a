//! From pixels, kernels and gradients to points, and from points to outputs and kernels: the rows and columns of
//! [`transform`](super::transform), of whole registers.

use std::ops::Range;

use smallvec::SmallVec;

use super::transform::{Four, MOST_OUTPUTS, MOST_SIDE, MOST_TAPS, Side, Six, Transform};
use crate::kernels::conv::Conv;
use crate::kernels::vector::{MOST_LANES, Vector, VectorLoop, prefetch_run};
use crate::kernels::window::Window;
use crate::par::SharedMut;

/// Runs a loop, in registers `V`, with the transforms of a side.
macro_rules! of_side {
    ($loop:expr, $side:expr, $V:ty) => {
        // SAFETY: the caller's.
        unsafe {
            match $side {
                Side::TwoOfThree => $loop.with::<$V, Four>(),
                Side::FourOfThree => $loop.with::<$V, Six<3, 4>>(),
                Side::TwoOfFive => $loop.with::<$V, Six<5, 2>>(),
            }
        }
    };
}

/// `U = G g G'` of a filter's kernels, one for each channel.
pub struct OfKernels<'a, 'b> {
    /// For each point a number for each channel, and room for a register that reaches beyond the last.
    pub points: &'a mut [&'b mut [f32]],
    pub side: Side,
    pub channels: usize,
    pub weights: &'a [f32],
    /// Where the first channel's kernel begins, and how far it is to the next.
    pub first: usize,
    pub step: usize,
    /// Whether kernels are turned over.
    pub turned: bool,
}

impl VectorLoop<f32> for OfKernels<'_, '_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        of_side!(self, self.side, V)
    }
}

impl OfKernels<'_, '_> {
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn with<V: Vector<Element = f32>, T: Transform>(self) {
        let OfKernels { points, channels, weights, first, step, turned, .. } = self;
        let area = T::TAPS * T::TAPS;
        assert_eq!(points.len(), T::POINTS * T::POINTS);
        for from in (0..channels).step_by(V::LANES) {
            let mut kernels = [[0.0; MOST_LANES]; MOST_TAPS * MOST_TAPS];
            for (lane, channel) in (from..channels).take(V::LANES).enumerate() {
                let place = first + channel * step;
                let kernel = &weights[place..][..area];
                prefetch_run(weights.as_ptr().wrapping_add(place + V::LANES * step), area);
                for (tap, &weight) in kernel.iter().enumerate() {
                    kernels[if turned { area - 1 - tap } else { tap }][lane] = weight;
                }
            }
            // SAFETY: the instruction set is there, and each load and store has a whole register's room.
            unsafe {
                let zero = V::splat(0.0);
                let mut rows = [[zero; MOST_TAPS]; MOST_SIDE];
                for j in 0..T::TAPS {
                    let mut taps = [zero; MOST_TAPS];
                    for (i, tap) in taps.iter_mut().enumerate().take(T::TAPS) {
                        *tap = V::load(kernels[i * T::TAPS + j].as_ptr());
                    }
                    rows.iter_mut().zip(T::of_taps(taps)).for_each(|(row, point)| row[j] = point);
                }
                for (points, row) in points.chunks_mut(T::POINTS).zip(rows) {
                    for (points, point) in points.iter_mut().zip(T::of_taps(row)) {
                        point.store(points[from..][..V::LANES].as_mut_ptr());
                    }
                }
            }
        }
    }
}

/// `G' M G` of a channel's kernels, one for each filter.
pub struct ToKernels<'a> {
    /// For each tap a number for each filter, `line` apart.
    pub kernels: &'a mut [f32],
    pub line: usize,
    pub side: Side,
    pub filters: usize,
    /// The parts that `M` is the sum of: for each of `part` elements, and in it for each point a number for each filter.
    pub sums: &'a [f32],
    pub parts: usize,
    pub part: usize,
    /// Where the first part's first point is, and how far it is to the next point.
    pub first: usize,
    pub point: usize,
}

impl VectorLoop<f32> for ToKernels<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        of_side!(self, self.side, V)
    }
}

impl ToKernels<'_> {
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn with<V: Vector<Element = f32>, T: Transform>(self) {
        let ToKernels { kernels, line, filters, sums, parts, part, first, point, .. } = self;
        for from in (0..filters).step_by(V::LANES) {
            let lanes = V::LANES.min(filters - from);
            // SAFETY: the instruction set is there; so many lanes are read as there are, and whole registers written.
            unsafe {
                let zero = V::splat(0.0);
                let mut rows = [[zero; MOST_SIDE]; MOST_TAPS];
                for j in 0..T::POINTS {
                    let mut m = [zero; MOST_SIDE];
                    for (i, m) in m.iter_mut().enumerate().take(T::POINTS) {
                        for number in 0..parts {
                            let place = first + number * part + (i * T::POINTS + j) * point + from;
                            *m = m.add(V::load_first(sums[place..][..lanes].as_ptr(), lanes));
                        }
                    }
                    rows.iter_mut().zip(T::to_taps(m)).for_each(|(row, tap)| row[j] = tap);
                }
                for (i, row) in rows.into_iter().enumerate().take(T::TAPS) {
                    for (j, tap) in T::to_taps(row).into_iter().enumerate().take(T::TAPS) {
                        tap.store(kernels[(i * T::TAPS + j) * line + from..][..V::LANES].as_mut_ptr());
                    }
                }
            }
        }
    }
}

/// The tiles of images, row by row, one image after the other.
pub struct Grid {
    pub side: Side,
    /// How tiles slide over the image.
    high: Window,
    wide: Window,
    /// Rows of tiles of an image, and tiles of a row.
    pub down: usize,
    pub across: usize,
}

/// Tiles that lie side by side.
pub struct Run {
    /// The number of the first within a block.
    pub at: usize,
    /// Where it lies.
    pub image: usize,
    pub row: usize,
    pub column: usize,
    pub count: usize,
}

impl Grid {
    pub fn new(c: &Conv, side: Side) -> Grid {
        let [_, high, wide] = c.windows;
        let [down, across] = [high, wide].map(|w| w.output.div_ceil(side.outputs()));
        Grid { side, down, across, high, wide }
    }

    /// Cells of a stretch of pixels, as far apart as tiles are, that the tiles of a row meet.
    fn met(&self) -> usize {
        self.across + (self.side.points() - 1) / self.side.outputs()
    }

    /// Cells of such a stretch, and a register beyond.
    fn stretch(&self) -> usize {
        self.met() + 1 + MOST_LANES
    }

    /// Cells of the rows of pixels of an image that so many tiles meet.
    pub fn cells(&self, tiles: usize) -> usize {
        let rows = self.down.min(tiles.div_ceil(self.across) + 1);
        let outputs = self.side.outputs();
        outputs * self.stretch() * (outputs * rows + self.side.taps() - 1)
    }

    /// The tiles of a block.
    pub fn runs(&self, first: usize, count: usize) -> SmallVec<[Run; 16]> {
        let (end, across) = (first + count, self.across);
        let run = |row: usize| {
            let (start, end) = (first.max(row * across), end.min((row + 1) * across));
            let (image, column) = (row / self.down, start - row * across);
            Run { at: start - first, image, row: row % self.down, column, count: end - start }
        };
        (first / across..end.div_ceil(across)).map(run).collect()
    }
}

/// The rows of outputs of an image's runs, of `high`.
pub fn output_rows(runs: &[Run], side: Side, high: usize) -> Range<usize> {
    side.outputs() * runs[0].row..high.min(side.outputs() * (runs[runs.len() - 1].row + 1))
}

/// The runs of each image.
pub fn by_image(runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    runs.chunk_by(|a, b| a.image == b.image)
}

/// The planes of a group.
#[derive(Clone, Copy)]
pub struct Planes {
    /// Where the first image's first plane begins.
    pub start: usize,
    /// From one image to the next.
    pub image: usize,
    /// Elements of a plane.
    pub size: usize,
}

impl Planes {
    /// Where a plane begins.
    #[inline(always)]
    pub fn place(&self, image: usize, plane: usize) -> usize {
        self.start + image * self.image + plane * self.size
    }
}

/// The size of a block of transformed tiles: for each point a matrix that has a row of tiles for each plane.
#[derive(Clone, Copy)]
pub struct Block {
    pub planes: usize,
    /// Tiles of a row, in whole registers.
    pub wide: usize,
    pub side: Side,
}

impl Block {
    /// From one point to the next. They lie in different sets of the first cache, and there is room for a register that
    /// reaches beyond the last tile.
    pub fn point(&self) -> usize {
        self.planes * self.wide + MOST_LANES
    }

    pub fn len(&self) -> usize {
        self.side.area() * self.point()
    }
}

/// Lays out rows of pixels, counted with the padding: of each those at the places that are multiples of the outputs of
/// a tile's side, then those one further, and so on. What a column of the tiles of a row meets are neighbours then.
/// Cells that show padding beside an image must be zeros, and stay so.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn lay_out<V: Vector<Element = f32>, T: Transform>(
    cells: &mut [f32],
    x: &[f32],
    grid: &Grid,
    rows: Range<usize>,
) {
    let (Window { size: high, padding: above, .. }, Window { size, padding, .. }) = (grid.high, grid.wide);
    let (stretch, at_a_time) = (grid.stretch(), T::OUTPUTS * V::LANES);
    // Where the cells of the first pixel, the second, ... and those so many further on are.
    let mut starts = [0; MOST_OUTPUTS];
    for (r, start) in starts.iter_mut().enumerate().take(T::OUTPUTS) {
        *start = (r + padding) % T::OUTPUTS * stretch + (r + padding) / T::OUTPUTS;
        assert!((r + padding) / T::OUTPUTS + size.div_ceil(at_a_time) * V::LANES <= stretch);
    }
    for (cells, y) in cells.chunks_exact_mut(T::OUTPUTS * stretch).zip(rows) {
        let Some(y) = y.checked_sub(above).filter(|&y| y < high) else {
            cells.fill(0.0);
            continue;
        };
        let x = &x[y * size..][..size];
        for at in (0..size).step_by(at_a_time) {
            // SAFETY: so many pixels are left; each stretch has room for whole registers, see above.
            unsafe {
                let (from, left) = (x.as_ptr().add(at), size - at);
                let mut pixels = [V::splat(0.0); MOST_OUTPUTS];
                for (r, pixels) in pixels.iter_mut().enumerate().take(T::OUTPUTS) {
                    if left >= (r + 1) * V::LANES {
                        *pixels = V::load(from.add(r * V::LANES));
                    } else if left > r * V::LANES {
                        *pixels = V::load_first(from.add(r * V::LANES), left - r * V::LANES);
                    }
                }
                let [a, b, c, d] = pixels;
                let ([a, b], [c, d]) = (a.deinterleave(b), c.deinterleave(d));
                pixels = [a, b, c, d];
                if T::OUTPUTS == 4 {
                    let ([a, c], [b, d]) = (a.deinterleave(c), b.deinterleave(d));
                    pixels = [a, b, c, d];
                }
                for (pixels, start) in pixels.into_iter().zip(starts).take(T::OUTPUTS) {
                    pixels.store(cells.as_mut_ptr().add(start + at / T::OUTPUTS));
                }
            }
        }
    }
}

/// `V = B' d B` of the tiles of some runs, for all channels.
pub struct ToPoints<'a> {
    pub points: &'a mut [f32],
    pub block: Block,
    pub x: &'a [f32],
    /// The channels.
    pub planes: Planes,
    /// Room for the pixels of a channel.
    pub cells: &'a mut [f32],
    pub grid: &'a Grid,
    pub runs: &'a [Run],
}

impl VectorLoop<f32> for ToPoints<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        of_side!(self, self.grid.side, V)
    }
}

impl ToPoints<'_> {
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn with<V: Vector<Element = f32>, T: Transform>(self) {
        let ToPoints { points, block, x, planes, cells, grid, runs } = self;
        let (point, stretch) = (block.point(), grid.stretch());
        assert!(points.len() >= block.len() && block.side == grid.side);
        assert!(runs.iter().all(|run| run.at + run.count <= block.wide && run.column + run.count <= grid.across));
        cells.fill(0.0);
        // Channel by channel, see below.
        let of_channel = (0..block.planes).flat_map(|channel| by_image(runs).map(move |runs| (channel, runs)));
        for (channel, runs) in of_channel {
            let (first, last) = (&runs[0], &runs[runs.len() - 1]);
            let rows = T::OUTPUTS * first.row..T::OUTPUTS * last.row + T::POINTS;
            let cells = &mut cells[..T::OUTPUTS * stretch * rows.len()];
            let x = &x[planes.place(first.image, channel)..][..planes.size];
            // Those of the next channel, which lie far from these.
            prefetch_run(x.as_ptr().wrapping_add(x.len() + rows.start * grid.wide.size), rows.len() * grid.wide.size);
            // SAFETY: the instruction set is there.
            unsafe { lay_out::<V, T>(cells, x, grid, rows.clone()) };
            for run in runs {
                let from = T::OUTPUTS * (run.row - first.row) * T::OUTPUTS * stretch + run.column;
                let to = channel * block.wide + run.at;
                for j in (0..run.count).step_by(V::LANES) {
                    // SAFETY: the pixels of a register of tiles lie within the rows of cells. Its points lie before
                    // those of the next point or in the room after the last, and what it has beyond the run is
                    // written over by the next run or channel, or by the zeros.
                    unsafe {
                        let zero = V::splat(0.0);
                        let from = cells.as_ptr().add(from + j);
                        let mut rows = [[zero; MOST_SIDE]; MOST_SIDE];
                        for q in 0..T::POINTS {
                            let from = from.add(q % T::OUTPUTS * stretch + q / T::OUTPUTS);
                            let mut pixels = [zero; MOST_SIDE];
                            for (i, pixel) in pixels.iter_mut().enumerate().take(T::POINTS) {
                                *pixel = V::load(from.add(i * T::OUTPUTS * stretch));
                            }
                            rows.iter_mut().zip(T::of_pixels(pixels)).for_each(|(row, point)| row[q] = point);
                        }
                        let mut to = points.as_mut_ptr().add(to + j);
                        for row in rows.into_iter().take(T::POINTS) {
                            for value in T::of_pixels(row).into_iter().take(T::POINTS) {
                                value.store(to);
                                to = to.wrapping_add(point);
                            }
                        }
                    }
                }
            }
        }
        // Tiles that are not there must not look as if they were not finite.
        let used = runs.last().map_or(0, |run| run.at + run.count);
        if used < block.wide {
            for point in points.chunks_mut(point).take(block.side.area()) {
                point[..block.planes * block.wide].chunks_mut(block.wide).for_each(|row| row[used..].fill(0.0));
            }
        }
    }
}

/// `A' M A` of the tiles of some runs, for all filters: outputs.
pub struct ToOutput<'a> {
    pub out: &'a SharedMut<'a, f32>,
    /// The filters, and the sizes of a plane.
    pub planes: Planes,
    pub outputs: [usize; 2],
    pub points: &'a [f32],
    pub block: Block,
    pub bias: Option<&'a [f32]>,
    pub runs: &'a [Run],
}

impl VectorLoop<f32> for ToOutput<'_> {
    /// Whether all outputs are finite.
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) -> bool {
        of_side!(self, self.block.side, V)
    }
}

impl ToOutput<'_> {
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn with<V: Vector<Element = f32>, T: Transform>(self) -> bool {
        let ToOutput { out, planes, outputs: [high, wide], points, block, bias, runs } = self;
        let point = block.point();
        assert!(points.len() >= block.len());
        let mut test = [0.0; MOST_LANES];
        // SAFETY: registers begin at tiles of the block, and what they reach beyond it lies before the next point's or
        // in the room after the last. Each task writes the outputs of its own tiles, which `range` finds in the output.
        unsafe {
            let zero = V::splat(0.0);
            let mut zeros = zero;
            let of_filter = (0..block.planes).flat_map(|filter| by_image(runs).map(move |runs| (filter, runs)));
            for (filter, runs) in of_filter {
                let (bias, plane) =
                    (V::splat(bias.map_or(0.0, |bias| bias[filter])), planes.place(runs[0].image, filter));
                let (next, rows) = (out.start().wrapping_add(plane + planes.size), output_rows(runs, block.side, high));
                prefetch_run(next.wrapping_add(rows.start * wide), rows.len() * wide);
                for run in runs {
                    assert!(run.at + run.count <= block.wide);
                    for j in (0..run.count).step_by(V::LANES) {
                        let from = points[filter * block.wide + run.at + j..].as_ptr();
                        let mut rows = [[zero; MOST_SIDE]; MOST_OUTPUTS];
                        for q in 0..T::POINTS {
                            let mut m = [zero; MOST_SIDE];
                            for (i, m) in m.iter_mut().enumerate().take(T::POINTS) {
                                *m = V::load(from.add((T::POINTS * i + q) * point));
                            }
                            rows.iter_mut().zip(T::to_outputs(m)).for_each(|(row, output)| row[q] = output);
                        }
                        let (row, column) = (T::OUTPUTS * run.row, T::OUTPUTS * (run.column + j));
                        let width = (T::OUTPUTS * V::LANES.min(run.count - j)).min(wide - column);
                        for (i, points) in rows.into_iter().enumerate().take(T::OUTPUTS.min(high - row)) {
                            let mut outputs = T::to_outputs(points);
                            for output in outputs.iter_mut().take(T::OUTPUTS) {
                                *output = output.add(bias);
                                // Of what is finite that makes 0.
                                zeros = output.mul_add(zero, zeros);
                            }
                            let [a, b, c, d] = outputs;
                            outputs = if T::OUTPUTS == 4 {
                                let ([a, c], [b, d]) = (a.interleave(c), b.interleave(d));
                                let ([a, b], [c, d]) = (a.interleave(b), c.interleave(d));
                                [a, b, c, d]
                            } else {
                                let [a, b] = a.interleave(b);
                                [a, b, c, d]
                            };
                            let place = plane + (row + i) * wide + column;
                            let to = out.range(place..place + width).as_mut_ptr();
                            for (r, output) in outputs.into_iter().enumerate().take(T::OUTPUTS) {
                                let to = to.wrapping_add(r * V::LANES);
                                if width >= T::OUTPUTS * V::LANES {
                                    output.store(to);
                                } else {
                                    output.store_first(to, width.saturating_sub(r * V::LANES).min(V::LANES));
                                }
                            }
                        }
                    }
                }
            }
            zeros.store(test.as_mut_ptr());
        }
        test == [0.0; MOST_LANES]
    }
}

/// A row of `A g A'` of the tiles of some runs, for all filters: for each of the row's points a line of filters for each
/// tile.
pub struct ToPointsOfGradient<'a> {
    pub points: &'a mut [f32],
    pub side: Side,
    /// From one point to the next, and from tile to tile.
    pub point: usize,
    pub line: usize,
    /// The number of the row.
    pub row: usize,
    /// For each output of the rows of tiles, image by image, its gradient for all filters, in whole registers; then as
    /// many zeros.
    pub g: &'a [f32],
    pub filters: usize,
    /// The sizes of a plane.
    pub outputs: [usize; 2],
    pub runs: &'a [Run],
}

impl VectorLoop<f32> for ToPointsOfGradient<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        of_side!(self, self.side, V)
    }
}

impl ToPointsOfGradient<'_> {
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn with<V: Vector<Element = f32>, T: Transform>(self) {
        let ToPointsOfGradient { points, side, point, line, row, g, filters, outputs: [high, wide], runs } = self;
        let width = filters.next_multiple_of(V::LANES);
        let zeros = g.len() - width;
        let count = runs.iter().map(|run| run.at + run.count).max().unwrap_or(0);
        assert!(width <= line && count * line <= point && points.len() >= T::POINTS * point);
        let mut of_image = 0;
        for runs in by_image(runs) {
            let rows = output_rows(runs, side, high);
            let first = of_image;
            of_image += rows.len() * wide * width;
            let tiles = runs.iter().flat_map(|run| (0..run.count).map(move |t| (run, t)));
            for (run, t) in tiles {
                let (y, z) = (T::OUTPUTS * run.row, T::OUTPUTS * (run.column + t));
                let mut places = [[zeros; MOST_OUTPUTS]; MOST_OUTPUTS];
                for (i, j) in (0..T::OUTPUTS).flat_map(|i| (0..T::OUTPUTS).map(move |j| (i, j))) {
                    let (y, z) = (y + i, z + j);
                    if y < high && z < wide {
                        places[i][j] = first + ((y - rows.start) * wide + z) * width;
                    }
                    assert!(places[i][j] <= zeros);
                }
                // SAFETY: a row of gradients begins at each place, and there is room for one at each point of the tile.
                unsafe {
                    let zero = V::splat(0.0);
                    let mut shares = [zero; MOST_OUTPUTS];
                    shares.iter_mut().zip(T::OF_OUTPUTS[row]).for_each(|(to, share)| *to = V::splat(share));
                    let to = points.as_mut_ptr().add((run.at + t) * line);
                    for f in (0..width).step_by(V::LANES) {
                        let mut sums = [zero; MOST_OUTPUTS];
                        for i in 0..T::OUTPUTS {
                            for j in 0..T::OUTPUTS {
                                sums[j] = V::load(g.as_ptr().add(places[i][j] + f)).mul_add(shares[i], sums[j]);
                            }
                        }
                        for (q, value) in T::of_outputs(sums).into_iter().enumerate().take(T::POINTS) {
                            value.store(to.add(f + q * point));
                        }
                    }
                }
            }
        }
    }
}
