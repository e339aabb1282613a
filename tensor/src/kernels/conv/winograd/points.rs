//! From pixels, kernels and gradients to points, and from points to outputs and kernels.

use std::ops::Range;

use smallvec::SmallVec;

use crate::kernels::conv::Conv;
use crate::kernels::vector::{MOST_LANES, Vector, VectorLoop, prefetch_run};
use crate::kernels::window::Window;
use crate::par::SharedMut;

/// Most points of a side.
pub const MOST_SIDE: usize = 7;

/// Most weights of a kernel.
pub const MOST_TAPS: usize = 25;

/// Points of the first three taps of a side, and of a side of the gradient's tiles.
pub const THREE: usize = 4;

/// The sides of a kernel, and of its tiles, which make two outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Three taps.
    Three,
    /// Five taps: three, and two more.
    Five,
}

impl Side {
    /// Weights of a side.
    pub fn taps(self) -> usize {
        match self {
            Side::Three => 3,
            Side::Five => 5,
        }
    }

    /// Pixels of a side.
    pub fn pixels(self) -> usize {
        self.taps() + 1
    }

    /// Points of a side: four for three taps, and three for two.
    pub fn points(self) -> usize {
        match self {
            Side::Three => THREE,
            Side::Five => MOST_SIDE,
        }
    }

    /// Points of a tile.
    pub fn area(self) -> usize {
        self.points() * self.points()
    }
}

/// The rows of `B'`: a row of pixels, and another times a number that is added to it.
const ROWS: [(usize, usize, f32); MOST_SIDE] =
    [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0), (3, 4, -1.0), (4, 4, 0.0), (4, 5, -1.0)];

/// Which of the four rows of `A g A'` each of its seven is: those of two taps repeat those of three.
pub const REPEATED: [usize; MOST_SIDE] = [0, 1, 2, 3, 0, 1, 3];

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
        let OfKernels { points, side, channels, weights, first, step, turned } = self;
        let (taps, area) = (side.taps(), side.taps() * side.taps());
        assert_eq!(points.len(), side.area());
        for from in (0..channels).step_by(V::LANES) {
            let mut kernels = [[0.0; MOST_LANES]; MOST_TAPS];
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
                let (zero, half) = (V::splat(0.0), V::splat(0.5));
                // A row of `G`: the points of a row of taps.
                macro_rules! line {
                    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {{
                        let (a, b, c, d, e) = ($a, $b, $c, $d, $e);
                        let ends = a.add(c);
                        let (plus, minus) = (ends.add(b).mul_add(half, zero), ends.sub(b).mul_add(half, zero));
                        [a, plus, minus, c, d, d.add(e), e]
                    }};
                }
                let mut columns = [[zero; MOST_SIDE]; 5];
                for (j, column) in columns.iter_mut().enumerate().take(taps) {
                    let tap = |i: usize| if i < taps { V::load(kernels[i * taps + j].as_ptr()) } else { zero };
                    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(tap);
                    *column = line!(a, b, c, d, e);
                }
                for (i, points) in points.chunks_mut(side.points()).enumerate() {
                    let [a, b, c, d, e] = columns;
                    let row = line!(a[i], b[i], c[i], d[i], e[i]);
                    for (points, row) in points.iter_mut().zip(row) {
                        row.store(points[from..][..V::LANES].as_mut_ptr());
                    }
                }
            }
        }
    }
}

/// `G' M G` of a channel's kernels, one for each filter, where the signs of rows and columns 3 and 6 of `M` are turned
/// over.
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
        let ToKernels { kernels, line, side, filters, sums, parts, part, first, point } = self;
        let (taps, points) = (side.taps(), side.points());
        for from in (0..filters).step_by(V::LANES) {
            let lanes = V::LANES.min(filters - from);
            // SAFETY: the instruction set is there; so many lanes are read as there are, and whole registers written.
            unsafe {
                let (zero, half) = (V::splat(0.0), V::splat(0.5));
                // A row of `G'`: the taps of a row of points.
                macro_rules! line {
                    ($m:expr) => {{
                        let [a, b, c, d, e, f, g] = $m;
                        let plus = b.add(c).mul_add(half, zero);
                        [a.add(plus), b.sub(c).mul_add(half, zero), plus.sub(d), e.add(f), f.sub(g)]
                    }};
                }
                let mut columns = [[zero; MOST_SIDE]; 5];
                for j in 0..points {
                    let mut m = [zero; MOST_SIDE];
                    for (i, m) in m.iter_mut().enumerate().take(points) {
                        for number in 0..parts {
                            let place = first + number * part + (i * points + j) * point + from;
                            *m = m.add(V::load_first(sums[place..][..lanes].as_ptr(), lanes));
                        }
                    }
                    columns.iter_mut().zip(line!(m)).for_each(|(row, k)| row[j] = k);
                }
                for (i, row) in columns.into_iter().enumerate().take(taps) {
                    for (j, k) in line!(row).into_iter().enumerate().take(taps) {
                        k.store(kernels[(i * taps + j) * line + from..][..V::LANES].as_mut_ptr());
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
        Grid { side, down: high.output.div_ceil(2), across: wide.output.div_ceil(2), high, wide }
    }

    /// Cells of a stretch of pixels two apart that the tiles of a row meet.
    fn met(&self) -> usize {
        self.across + self.side.pixels() / 2 - 1
    }

    /// Cells of such a stretch, and a register beyond.
    fn stretch(&self) -> usize {
        self.met() + 1 + MOST_LANES
    }

    /// Cells of the rows of pixels of an image that so many tiles meet.
    pub fn cells(&self, tiles: usize) -> usize {
        let rows = self.down.min(tiles.div_ceil(self.across) + 1);
        2 * self.stretch() * (2 * rows + self.side.pixels() - 2)
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
pub fn output_rows(runs: &[Run], high: usize) -> Range<usize> {
    2 * runs[0].row..high.min(2 * runs[runs.len() - 1].row + 2)
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

/// Lays out rows of pixels, counted with the padding: of each those at even places, then those at odd ones. What a
/// column of the tiles of a row meets are neighbours then.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn lay_out<V: Vector<Element = f32>>(cells: &mut [f32], x: &[f32], grid: &Grid, rows: Range<usize>) {
    let (Window { size: high, padding: above, .. }, Window { size, padding, .. }) = (grid.high, grid.wide);
    let (stretch, met) = (grid.stretch(), grid.met());
    // Where the cells of the pixels at even and at odd places of the image begin, and their pixels.
    let [even, odd] = [padding % 2 * stretch, (padding + 1) % 2 * stretch];
    let [evens, odds] = [even + padding / 2, odd + padding.div_ceil(2)];
    for (cells, y) in cells.chunks_exact_mut(2 * stretch).zip(rows) {
        let Some(y) = y.checked_sub(above).filter(|&y| y < high) else {
            cells.fill(0.0);
            continue;
        };
        let x = &x[y * size..][..size];
        // The first cells, and those from the last pixel on, show the padding.
        cells[even..evens].fill(0.0);
        cells[odd..odds].fill(0.0);
        for m in (0..size).step_by(2 * V::LANES) {
            let (from, left) = (x[m..].as_ptr(), size - m);
            // SAFETY: so many pixels are left, and there is room for a register.
            unsafe {
                let (a, b) = if left >= 2 * V::LANES {
                    (V::load(from), V::load(from.add(V::LANES)))
                } else {
                    let a = V::load_first(from, left.min(V::LANES));
                    (a, V::load_first(from.wrapping_add(V::LANES), left.saturating_sub(V::LANES)))
                };
                let [a, b] = a.deinterleave(b);
                a.store(cells[evens + m / 2..][..V::LANES].as_mut_ptr());
                b.store(cells[odds + m / 2..][..V::LANES].as_mut_ptr());
            }
        }
        for cell in (evens + size.div_ceil(2)..even + met).chain(odds + size / 2..odd + met) {
            cells[cell] = 0.0;
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
        let ToPoints { points, block, x, planes, cells, grid, runs } = self;
        let (point, stretch, five) = (block.point(), grid.stretch(), grid.side == Side::Five);
        assert!(points.len() >= block.len() && block.side == grid.side);
        assert!(runs.iter().all(|run| run.at + run.count <= block.wide && run.column + run.count <= grid.across));
        // Channel by channel, see below.
        let of_channel = (0..block.planes).flat_map(|channel| by_image(runs).map(move |runs| (channel, runs)));
        for (channel, runs) in of_channel {
            let (first, last) = (&runs[0], &runs[runs.len() - 1]);
            let rows = 2 * first.row..2 * last.row + grid.side.pixels();
            let cells = &mut cells[..2 * stretch * rows.len()];
            let x = &x[planes.place(first.image, channel)..][..planes.size];
            // Those of the next channel, which lie far from these.
            prefetch_run(x.as_ptr().wrapping_add(x.len() + rows.start * grid.wide.size), rows.len() * grid.wide.size);
            // SAFETY: the instruction set is there.
            unsafe { lay_out::<V>(cells, x, grid, rows.clone()) };
            for (i, (a, b, sign)) in ROWS.into_iter().enumerate().take(grid.side.points()) {
                for run in runs {
                    let from = 4 * (run.row - first.row) * stretch + run.column;
                    let to = grid.side.points() * i * point + channel * block.wide + run.at;
                    // SAFETY: the pixels of a register of tiles lie within the rows of cells. Its points lie before
                    // those of the next point or in the room after the last, and what it has beyond the run is
                    // written over by the next run or channel, or by the zeros.
                    unsafe {
                        let sign = V::splat(sign);
                        let (a, b) =
                            (cells.as_ptr().add(from + 2 * a * stretch), cells.as_ptr().add(from + 2 * b * stretch));
                        let to = points.as_mut_ptr().add(to);
                        for j in (0..run.count).step_by(V::LANES) {
                            // Pixel `q` of a row of the tiles.
                            macro_rules! pixel {
                                ($q:expr) => {{
                                    let at = $q % 2 * stretch + $q / 2 + j;
                                    V::load(b.add(at)).mul_add(sign, V::load(a.add(at)))
                                }};
                            }
                            let (t0, t1, t2, t3) = (pixel!(0), pixel!(1), pixel!(2), pixel!(3));
                            let to = to.add(j);
                            t0.sub(t2).store(to);
                            t1.add(t2).store(to.add(point));
                            t2.sub(t1).store(to.add(2 * point));
                            t1.sub(t3).store(to.add(3 * point));
                            if five {
                                let (t4, t5) = (pixel!(4), pixel!(5));
                                t3.sub(t4).store(to.add(4 * point));
                                t4.store(to.add(5 * point));
                                t4.sub(t5).store(to.add(6 * point));
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
        let ToOutput { out, planes, outputs: [high, wide], points, block, bias, runs } = self;
        let (point, side, five) = (block.point(), block.side.points(), block.side == Side::Five);
        assert!(points.len() >= block.len());
        let mut test = [0.0; MOST_LANES];
        // SAFETY: registers begin at tiles of the block, and what they reach beyond it lies before the next point's or
        // in the room after the last. Each task writes the outputs of its own tiles, which `range` finds in the output.
        unsafe {
            let zero = V::splat(0.0);
            let mut zeros = zero;
            let of_filter = (0..block.planes).flat_map(|filter| by_image(runs).map(move |runs| (filter, runs)));
            for (filter, runs) in of_filter {
                let (first, last) = (&runs[0], &runs[runs.len() - 1]);
                let (bias, plane) =
                    (V::splat(bias.map_or(0.0, |bias| bias[filter])), planes.place(first.image, filter));
                let next = out.start().wrapping_add(plane + planes.size);
                prefetch_run(next.wrapping_add(2 * first.row * wide), 2 * (last.row + 1 - first.row) * wide);
                for run in runs {
                    assert!(run.at + run.count <= block.wide);
                    for j in (0..run.count).step_by(V::LANES) {
                        let from = points[filter * block.wide + run.at + j..].as_ptr();
                        // Column `q` of the points: what it gives to the upper and to the lower outputs.
                        macro_rules! column {
                            ($q:expr) => {{
                                let [m0, m1, m2, m3] = [0, 1, 2, 3].map(|i| V::load(from.add((side * i + $q) * point)));
                                let (mut upper, mut lower) = (m0.add(m1).add(m2), m1.sub(m2).sub(m3));
                                if five {
                                    let [m4, m5, m6] = [4, 5, 6].map(|i| V::load(from.add((side * i + $q) * point)));
                                    (upper, lower) = (upper.add(m4).add(m5), lower.add(m5).sub(m6));
                                }
                                [upper, lower]
                            }};
                        }
                        let [s0, s1, s2, s3] = [column!(0), column!(1), column!(2), column!(3)];
                        let mut even = [s0[0].add(s1[0]).add(s2[0]), s0[1].add(s1[1]).add(s2[1])];
                        let mut odd = [s1[0].sub(s2[0]).sub(s3[0]), s1[1].sub(s2[1]).sub(s3[1])];
                        if five {
                            let [s4, s5, s6] = [column!(4), column!(5), column!(6)];
                            even = [even[0].add(s4[0]).add(s5[0]), even[1].add(s4[1]).add(s5[1])];
                            odd = [odd[0].add(s5[0]).sub(s6[0]), odd[1].add(s5[1]).sub(s6[1])];
                        }
                        let (row, column) = (2 * run.row, 2 * (run.column + j));
                        let width = (2 * V::LANES.min(run.count - j)).min(wide - column);
                        for (i, (even, odd)) in even.into_iter().zip(odd).enumerate().take(high - row) {
                            let (even, odd) = (even.add(bias), odd.add(bias));
                            // Of what is finite that makes 0.
                            zeros = odd.mul_add(zero, even.mul_add(zero, zeros));
                            let place = plane + (row + i) * wide + column;
                            let [first, second] = even.interleave(odd);
                            if width >= 2 * V::LANES {
                                let out = out.range(place..place + 2 * V::LANES).as_mut_ptr();
                                first.store(out);
                                second.store(out.add(V::LANES));
                            } else {
                                let out = out.range(place..place + width).as_mut_ptr();
                                first.store_first(out, width.min(V::LANES));
                                second.store_first(out.wrapping_add(V::LANES), width.saturating_sub(V::LANES));
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

/// A row of `A g A'` of the tiles of some runs, for all filters: for each of the row's first four points, which the
/// others repeat, a line of filters for each tile. The signs of row and column 3 are turned over.
pub struct ToPointsOfGradient<'a> {
    pub points: &'a mut [f32],
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
        let ToPointsOfGradient { points, point, line, row, g, filters, outputs: [high, wide], runs } = self;
        let width = filters.next_multiple_of(V::LANES);
        let zeros = g.len() - width;
        let count = runs.iter().map(|run| run.at + run.count).max().unwrap_or(0);
        assert!(width <= line && count * line <= point && points.len() >= THREE * point);
        let mut of_image = 0;
        for runs in by_image(runs) {
            let rows = output_rows(runs, high);
            let first = of_image;
            of_image += rows.len() * wide * width;
            let tiles = runs.iter().flat_map(|run| (0..run.count).map(move |t| (run, t)));
            for (run, t) in tiles {
                let (y, z) = (2 * run.row, 2 * (run.column + t));
                let mut places = [zeros; 4];
                for (k, place) in places.iter_mut().enumerate() {
                    let (y, z) = (y + k / 2, z + k % 2);
                    if y < high && z < wide {
                        *place = first + ((y - rows.start) * wide + z) * width;
                    }
                    assert!(*place <= zeros);
                }
                // SAFETY: a row of gradients begins at each place, and there is room for one at each point of the tile.
                unsafe {
                    let [upper, lower] = [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, 1.0]][row].map(|x| V::splat(x));
                    let zero = V::splat(0.0);
                    let to = points.as_mut_ptr().add((run.at + t) * line);
                    for f in (0..width).step_by(V::LANES) {
                        let [g0, g1, g2, g3] = places.map(|place| V::load(g.as_ptr().add(place + f)));
                        let left = g2.mul_add(lower, g0.mul_add(upper, zero));
                        let right = g3.mul_add(lower, g1.mul_add(upper, zero));
                        let to = to.add(f);
                        left.store(to);
                        left.add(right).store(to.add(point));
                        left.sub(right).store(to.add(2 * point));
                        right.store(to.add(3 * point));
                    }
                }
            }
        }
    }
}
