//! Convolutions with kernels of 3 by 3 by way of products: Winograd's F(2 x 2, 3 x 3).
//!
//! Tiles of 4 by 4 pixels make 2 by 2 outputs each. With the transforms `V = B' d B` of a tile and `U = G g G'` of a
//! kernel, the outputs are `A' M A`, where `M` sums `U` times `V`, point by point, over the channels: 16 multiplications
//! where the definition has 36. At each of the 16 points the sums of all tiles and filters are a matrix product.
//!
//! The gradient of the weight has the same points. With the gradient `g` of a tile's outputs it is `G' M G`, where `M`
//! sums `B' d B` times `A g A'`, point by point, over the tiles.
//!
//! A rounding error is relative to the largest numbers of a tile rather than to the terms of each output, and a number
//! that is not finite reaches outputs that do not see it. So single precision alone goes this way, and where a result is
//! not finite the caller computes all by the definition.
//!
//! A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use super::Conv;
use crate::kernels::gemm::blocked::strips;
use crate::kernels::gemm::tile::{Inner, Left, Plus, Right, Target, Tiled};
use crate::kernels::gemm::{Matrix, pack};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{MOST_LANES, Registers, Vector, VectorLoop, prefetch};
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// Points of a transformed tile, and of each of its sides.
const POINTS: usize = SIDE * SIDE;
const SIDE: usize = 4;

/// Numbers of a cache line.
const CACHE_LINE: usize = 16;

/// Tiles of an image, and half the harmonic mean of channels and filters, below which the transforms, of kernels and of
/// pixels, take longer than what they spare.
const FEW_TILES: usize = 48;
const FEW_PLANES: usize = 16;

/// Elements of a block of transformed tiles, so that it stays in the second cache; and least tiles of a block. For the
/// gradient of the weight more of them: sums are read and written once for each block.
const BLOCK: usize = 48 << 10;
const BLOCK_OF_WEIGHT: usize = 96 << 10;
const TILES: usize = 64;

/// Most parts in which the gradient of a weight is summed, times the groups; and most elements of all of them.
const TASKS: usize = 8;
const PARTS: usize = 1 << 23;

/// Most strips of filters that are summed at a time.
const STRIPS: usize = 8;

/// Whether a convolution and its gradients are quicker this way.
pub fn takes(c: &Conv) -> bool {
    let [deep, high, wide] = &c.windows;
    let near = |w: &Window| (w.kernel, w.stride, w.dilation) == (3, 1, 1) && w.padding < 3;
    let tiles = high.output.div_ceil(2) * wide.output.div_ceil(2);
    deep.is_identity()
        && deep.size == 1
        && near(high)
        && near(wide)
        && tiles >= FEW_TILES
        && c.channels.saturating_mul(c.filters) >= FEW_PLANES * (c.channels + c.filters)
}

/// The tiles of an image.
struct Grid {
    /// How tiles slide over the image.
    high: Window,
    wide: Window,
    /// Rows of tiles, and tiles of a row.
    down: usize,
    across: usize,
}

/// Tiles that lie side by side.
struct Run {
    /// The number of the first within a block.
    at: usize,
    /// Where it lies.
    row: usize,
    column: usize,
    count: usize,
}

impl Grid {
    fn new(c: &Conv) -> Grid {
        let [_, high, wide] = c.windows;
        Grid { down: high.output.div_ceil(2), across: wide.output.div_ceil(2), high, wide }
    }

    /// Cells of a stretch of pixels two apart: one for each tile of a row and one more, and a register beyond.
    fn stretch(&self) -> usize {
        self.across + 2 + MOST_LANES
    }

    /// Cells of the rows of pixels that so many tiles meet.
    fn cells(&self, tiles: usize) -> usize {
        2 * self.stretch() * (2 * self.down.min(tiles.div_ceil(self.across) + 1) + 2)
    }

    /// The tiles of a block.
    fn runs(&self, first: usize, count: usize) -> SmallVec<[Run; 16]> {
        let (end, across) = (first + count, self.across);
        let run = |row: usize| {
            let (start, end) = (first.max(row * across), end.min((row + 1) * across));
            Run { at: start - first, row, column: start - row * across, count: end - start }
        };
        (first / across..end.div_ceil(across)).map(run).collect()
    }
}

/// The size of a block of transformed tiles: for each point a matrix that has a row of tiles for each plane.
#[derive(Clone, Copy)]
struct Block {
    planes: usize,
    /// Tiles of a row, in whole registers.
    wide: usize,
}

impl Block {
    /// From one point to the next. They lie in different sets of the first cache, and there is room for a register that
    /// reaches beyond the last tile.
    fn point(&self) -> usize {
        self.planes * self.wide + MOST_LANES
    }

    fn len(&self) -> usize {
        POINTS * self.point()
    }
}

/// Tiles in a block of so many elements, of an image of `count` tiles, whose blocks have at most so many planes.
fn most_tiles(elements: usize, count: usize, planes: usize) -> usize {
    (elements / (POINTS * planes)).max(TILES).min(count).next_multiple_of(MOST_LANES)
}

/// Lays out rows of pixels, counted with the padding: of each those at even places, then those at odd ones. What a
/// column of the tiles of a row meets are neighbours then.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn lay_out<V: Vector<Element = f32>>(cells: &mut [f32], x: &[f32], grid: &Grid, rows: Range<usize>) {
    let (Window { size: high, padding: above, .. }, Window { size, padding, .. }) = (grid.high, grid.wide);
    let stretch = grid.stretch();
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
        (cells[0], cells[stretch]) = (0.0, 0.0);
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
        for cell in (evens + size.div_ceil(2)..=even + grid.across).chain(odds + size / 2..=odd + grid.across) {
            cells[cell] = 0.0;
        }
    }
}

/// Has numbers brought into the first cache that are wanted soon.
#[inline(always)]
fn ahead(from: *const f32, count: usize) {
    for at in (0..count).step_by(CACHE_LINE) {
        prefetch(from.wrapping_add(at));
    }
}

/// `V = B' d B` of the tiles of some runs, for all channels.
struct ToPoints<'a> {
    points: &'a mut [f32],
    block: Block,
    /// The planes of the channels.
    x: &'a [f32],
    /// Room for the pixels of a channel.
    cells: &'a mut [f32],
    grid: &'a Grid,
    runs: &'a [Run],
}

/// The rows of `B'`: a row of pixels, and one that is added to it or, where there is -1, subtracted.
const ROWS: [(usize, usize, f32); SIDE] = [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)];

impl VectorLoop<f32> for ToPoints<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        let ToPoints { points, block, x, cells, grid, runs } = self;
        let (point, stretch) = (block.point(), grid.stretch());
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
        let rows = 2 * first.row..2 * last.row + SIDE;
        let cells = &mut cells[..2 * stretch * rows.len()];
        assert!(points.len() >= block.len() && runs.iter().all(|run| run.at + run.count <= block.wide));
        assert!(runs.iter().all(|run| run.column + run.count <= grid.across && run.row <= last.row));
        for (channel, x) in x.chunks_exact(grid.high.size * grid.wide.size).enumerate().take(block.planes) {
            // The next channel's rows, which lie far from these.
            ahead(x.as_ptr().wrapping_add(x.len() + rows.start * grid.wide.size), rows.len() * grid.wide.size);
            // SAFETY: the instruction set is there.
            unsafe { lay_out::<V>(cells, x, grid, rows.clone()) };
            for (i, (a, b, sign)) in ROWS.into_iter().enumerate() {
                for run in runs {
                    let from = 4 * (run.row - first.row) * stretch + run.column;
                    let to = SIDE * i * point + channel * block.wide + run.at;
                    // SAFETY: the pixels of a register of tiles lie within the rows of cells. Its points lie before
                    // those of the next point or in the room after the last, and what it has beyond the run is
                    // written over by the next run or channel, or by the zeros.
                    unsafe {
                        let sign = V::splat(sign);
                        let (a, b) =
                            (cells.as_ptr().add(from + 2 * a * stretch), cells.as_ptr().add(from + 2 * b * stretch));
                        let to = points.as_mut_ptr().add(to);
                        for j in (0..run.count).step_by(V::LANES) {
                            let mut t = [sign; SIDE];
                            for (q, t) in t.iter_mut().enumerate() {
                                let at = q % 2 * stretch + q / 2 + j;
                                *t = V::load(b.add(at)).mul_add(sign, V::load(a.add(at)));
                            }
                            let ([t0, t1, t2, t3], to) = (t, to.add(j));
                            t0.sub(t2).store(to);
                            t1.add(t2).store(to.add(point));
                            t2.sub(t1).store(to.add(2 * point));
                            t1.sub(t3).store(to.add(3 * point));
                        }
                    }
                }
            }
        }
        // Tiles that are not there must not look as if they were not finite.
        let used = runs.last().map_or(0, |run| run.at + run.count);
        if used < block.wide {
            for point in points.chunks_mut(point).take(POINTS) {
                point[..block.planes * block.wide].chunks_mut(block.wide).for_each(|row| row[used..].fill(0.0));
            }
        }
    }
}

/// `A' M A` of the tiles of some runs, for all filters: outputs.
struct ToOutput<'a> {
    out: &'a SharedMut<'a, f32>,
    /// Where the first filter's outputs begin, and the sizes of a plane.
    start: usize,
    outputs: [usize; 2],
    points: &'a [f32],
    block: Block,
    bias: Option<&'a [f32]>,
    runs: &'a [Run],
}

impl VectorLoop<f32> for ToOutput<'_> {
    /// Whether all outputs are finite.
    type Output = bool;
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) -> bool {
        let ToOutput { out, start, outputs: [high, wide], points, block, bias, runs } = self;
        let point = block.point();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return true };
        assert!(points.len() >= block.len());
        let mut test = [0.0; MOST_LANES];
        // SAFETY: registers begin at tiles of the block, and what they reach beyond it lies before the next point's or
        // in the room after the last. Each task writes the outputs of its own tiles, which `range` finds in the output.
        unsafe {
            let zero = V::splat(0.0);
            let mut zeros = zero;
            for filter in 0..block.planes {
                let bias = V::splat(bias.map_or(0.0, |bias| bias[filter]));
                let plane = out.start().wrapping_add(start + (filter + 1) * high * wide);
                ahead(plane.wrapping_add(2 * first.row * wide), 2 * (last.row + 1 - first.row) * wide);
                for run in runs {
                    assert!(run.at + run.count <= block.wide);
                    for j in (0..run.count).step_by(V::LANES) {
                        let from = points[filter * block.wide + run.at + j..].as_ptr();
                        let mut rows = [[zero; SIDE]; 2];
                        let [upper, lower] = &mut rows;
                        for (q, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
                            let [m0, m1, m2, m3] = [0, 1, 2, 3].map(|i| V::load(from.add((SIDE * i + q) * point)));
                            (*upper, *lower) = (m0.add(m1).add(m2), m1.sub(m2).sub(m3));
                        }
                        let (row, column) = (2 * run.row, 2 * (run.column + j));
                        let width = (2 * V::LANES.min(run.count - j)).min(wide - column);
                        for (i, [s0, s1, s2, s3]) in rows.into_iter().enumerate().take(high - row) {
                            let even = s0.add(s1).add(s2).add(bias);
                            let odd = s1.sub(s2).sub(s3).add(bias);
                            // Of what is finite that makes 0.
                            zeros = odd.mul_add(zero, even.mul_add(zero, zeros));
                            let place = start + (filter * high + row + i) * wide + column;
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

/// `U = G g G'` of a kernel, row by row.
fn of_kernel(g: &[f32; 9]) -> [f32; POINTS] {
    let line = |[a, b, c]: [f32; 3]| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let columns = [0, 1, 2].map(|j| line([g[j], g[3 + j], g[6 + j]]));
    let mut points = [0.0; POINTS];
    for (i, points) in points.chunks_mut(SIDE).enumerate() {
        points.copy_from_slice(&line(columns.map(|column| column[i])));
    }
    points
}

/// A matrix: numbers, and the distance from row to row.
type Rows<'a> = (&'a [f32], usize);

/// `sums = u v`, or `sums += u v`, of `rows` by `depth` by `columns`.
fn multiply(
    (sums, stride): (&mut [f32], usize),
    (u, line): Rows<'_>,
    (v, step): Rows<'_>,
    [rows, depth, columns]: [usize; 3],
    add: bool,
) {
    // A caller's `Plus` could hold any pointer.
    let plus = if add { Plus::Target } else { Plus::Nothing };
    let tiles = f32::tiles();
    let (panel, strips) = (tiles.panel(columns), strips(rows, tiles.rows).collect::<SmallVec<[_; 16]>>());
    assert!(columns <= stride && sums.len() >= (rows - 1) * stride + columns && u.len() >= (rows - 1) * line + depth);
    assert!(v.len() >= (depth - 1) * step + columns.next_multiple_of(tiles.lanes));
    for column in (0..columns).step_by(panel) {
        let wide = panel.min(columns - column);
        let (widths, registers) = (tiles.widths(wide), tiles.in_line());
        for &(row, height) in &strips {
            // SAFETY: the operands and the result are as long as that.
            unsafe {
                let lines = u.as_ptr().add(row * line);
                let left = Left::new(height, |i| lines.wrapping_add(i * line));
                let right = Right::Strided(v.as_ptr().add(column), step);
                let start = sums.as_mut_ptr().add(row * stride + column);
                let to = Target { start, stride, registers, widths, plus };
                (tiles.run)(height, wide.div_ceil(tiles.lanes), Inner::of(depth), left, right, to);
            }
        }
    }
}

/// `out = conv(x, w) + bias`, all dense, where `kernel` gives the weights of a group's filter for a channel. Whether all
/// of it is finite; else it means nothing.
pub fn conv(
    out: &mut [f32],
    x: &[f32],
    kernel: impl Fn(usize, usize, usize) -> [f32; 9] + Sync,
    bias: Option<&[f32]>,
    c: &Conv,
    par: &Par,
) -> bool {
    let grid = Grid::new(c);
    let [_, high, wide] = c.windows.each_ref().map(|w| w.output);
    let (channels, filters, count) = (c.channels, c.filters, grid.down * grid.across);
    // For each group and point a matrix of the filters by the channels.
    let line = pack::line(channels);
    let mut kernels = Scratch::<f32>::new(c.groups * POINTS * filters * line);
    {
        let kernels = SharedMut::new(&mut kernels);
        par.for_each(c.groups * filters, |task| {
            let (group, filter) = (task / filters, task % filters);
            let mut rows: [&mut [f32]; POINTS] = std::array::from_fn(|point| {
                let start = ((group * POINTS + point) * filters + filter) * line;
                // SAFETY: each task writes the rows of its own filter.
                unsafe { kernels.range(start..start + channels) }
            });
            for channel in 0..channels {
                let points = of_kernel(&kernel(group, filter, channel));
                rows.iter_mut().zip(points).for_each(|(row, point)| row[channel] = point);
            }
        });
    }
    let kernels = &*kernels;
    let (pixels, tiles) = (c.pixels(), f32::tiles());
    let most = most_tiles(BLOCK, count, channels.max(filters));
    let (blocks, strip) = (count.div_ceil(most), filters.min(STRIPS * tiles.rows));
    let memory = [channels, strip].map(|planes| Block { planes, wide: most }.len());
    let own = memory[0] + memory[1] + grid.cells(most);
    let (parts, out, finite) = (c.images * c.groups, SharedMut::new(out), AtomicBool::new(true));
    let mut scratch = Scratch::<f32>::new(par.threads().min(parts * blocks) * own);
    par.for_each_in(parts * blocks, &mut scratch, own, |own, task| {
        let (part, first) = (task / blocks, task % blocks * most);
        let count = most.min(count - first);
        let (group, runs) = (part % c.groups, grid.runs(first, count));
        let block = Block { planes: channels, wide: count.next_multiple_of(MOST_LANES) };
        let (points, rest) = own.split_at_mut(memory[0]);
        let (sums, cells) = rest.split_at_mut(memory[1]);
        let x = &x[part * channels * pixels..][..channels * pixels];
        // SAFETY: the transform checks what it reads and writes.
        unsafe { f32::run(ToPoints { points, block, x, cells, grid: &grid, runs: &runs }) };
        for filter in (0..filters).step_by(strip) {
            let to = Block { planes: strip.min(filters - filter), ..block };
            for point in 0..POINTS {
                let u = &kernels[((group * POINTS + point) * filters + filter) * line..][..to.planes * line];
                let v = &points[point * block.point()..][..channels * block.wide];
                let sums = &mut sums[point * to.point()..][..to.point()];
                // Registers reach there, and are asked whether they are finite.
                sums[to.planes * block.wide..].fill(0.0);
                let sizes = [to.planes, channels, block.wide];
                multiply((sums, block.wide), (u, line), (v, block.wide), sizes, false);
            }
            let start = (part * filters + filter) * high * wide;
            let bias = bias.map(|bias| &bias[group * filters + filter..]);
            let outputs =
                ToOutput { out: &out, start, outputs: [high, wide], points: sums, block: to, bias, runs: &runs };
            // SAFETY: as above; each task has its own tiles.
            if !unsafe { f32::run(outputs) } {
                finite.store(false, Ordering::Relaxed);
            }
        }
    });
    finite.into_inner()
}

/// A row of `A g A'` of the tiles of some runs, for all filters: for each of the row's points a line of filters for each
/// tile. The signs of the last row and of the last column are turned over.
struct ToPointsOfGradient<'a> {
    points: &'a mut [f32],
    /// From one point to the next, and from tile to tile.
    point: usize,
    line: usize,
    /// The number of the row.
    row: usize,
    /// For each output of the rows of tiles its gradient for all filters, in whole registers; then as many zeros.
    g: &'a [f32],
    filters: usize,
    /// The sizes of a plane.
    outputs: [usize; 2],
    runs: &'a [Run],
}

impl VectorLoop<f32> for ToPointsOfGradient<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = f32>>(self) {
        let ToPointsOfGradient { points, point, line, row, g, filters, outputs: [high, wide], runs } = self;
        let Some(first) = runs.first() else { return };
        let width = filters.next_multiple_of(V::LANES);
        let zeros = g.len() - width;
        let count = runs.iter().map(|run| run.at + run.count).max().unwrap_or(0);
        assert!(width <= line && count * line <= point && points.len() >= SIDE * point);
        for run in runs {
            for t in 0..run.count {
                let (y, z) = (2 * run.row, 2 * (run.column + t));
                let mut places = [zeros; 4];
                for (k, place) in places.iter_mut().enumerate() {
                    let (y, z) = (y + k / 2, z + k % 2);
                    if y < high && z < wide {
                        *place = ((y - 2 * first.row) * wide + z) * width;
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

/// `G' M G`, row by row, where the signs of the last row and of the last column of `M` are turned over.
fn to_kernel(m: &[f32; POINTS]) -> [f32; 9] {
    let line = |[a, b, c, d]: [f32; SIDE]| [a + 0.5 * (b + c), 0.5 * (b - c), 0.5 * (b + c) - d];
    let mut columns = [[0.0; SIDE]; 3];
    for j in 0..SIDE {
        let column = line([m[j], m[SIDE + j], m[2 * SIDE + j], m[3 * SIDE + j]]);
        columns.iter_mut().zip(column).for_each(|(row, k)| row[j] = k);
    }
    let mut kernel = [0.0; 9];
    kernel.as_chunks_mut::<3>().0.iter_mut().zip(columns).for_each(|(kernel, row)| *kernel = line(row));
    kernel
}

/// The gradient of a convolution with respect to its weight, all dense. Whether all of it is finite; else it means
/// nothing.
///
/// Blocks of tiles are summed in parts, and the parts in order: both depend on the sizes alone.
pub fn weight_grad(w: &mut [f32], x: &[f32], g: &[f32], c: &Conv, par: &Par) -> bool {
    let grid = Grid::new(c);
    let [_, high, wide] = c.windows.each_ref().map(|w| w.output);
    let (channels, filters, count) = (c.channels, c.filters, grid.down * grid.across);
    let (pixels, positions) = (c.pixels(), c.positions());
    // Whole rows of tiles, if they are not too long.
    let most = most_tiles(BLOCK_OF_WEIGHT, count, channels.max(filters));
    let most = if most < grid.across { most } else { most / grid.across * grid.across };
    let blocks = count.div_ceil(most);
    let block = |count: usize| Block { planes: channels, wide: count.next_multiple_of(MOST_LANES) };
    // A row of filters for each tile, and for each output.
    let (line, width) = (pack::line(filters), filters.next_multiple_of(f32::tiles().lanes));
    let point = most * line;
    let rows = 2 * (most.div_ceil(grid.across) + 1).min(grid.down);
    let memory = [block(most).len(), SIDE * point, (rows * wide + 1) * width, grid.cells(most)];
    let own = memory.iter().sum();
    let (units, sums_each) = (c.images * blocks, POINTS * channels * filters);
    let parts = (TASKS / c.groups).min(PARTS / (c.groups * sums_each)).clamp(1, units);
    let per_part = units.div_ceil(parts);
    let parts = units.div_ceil(per_part);
    let mut sums = Scratch::<f32>::new(parts * c.groups * sums_each);
    {
        let shared = SharedMut::new(&mut sums);
        let mut scratch = Scratch::<f32>::new(par.threads().min(parts * c.groups) * own);
        par.for_each_in(parts * c.groups, &mut scratch, own, |own, task| {
            let (part, group) = (task / c.groups, task % c.groups);
            // SAFETY: each task has its own sums.
            let sums = unsafe { shared.range(task * sums_each..(task + 1) * sums_each) };
            let (points, rest) = own.split_at_mut(memory[0]);
            let (of_gradient, rest) = rest.split_at_mut(memory[1]);
            let (turned, cells) = rest.split_at_mut(memory[2]);
            let own_units = part * per_part..units.min((part + 1) * per_part);
            for unit in own_units.clone() {
                let (image, first) = (unit / blocks * c.groups + group, unit % blocks * most);
                let count = most.min(count - first);
                let (runs, block) = (grid.runs(first, count), block(count));
                let x = &x[image * channels * pixels..][..channels * pixels];
                // SAFETY: the transform checks what it reads and writes.
                unsafe { f32::run(ToPoints { points, block, x, cells, grid: &grid, runs: &runs }) };
                let (top, bottom) = (2 * runs[0].row, high.min(2 * runs[runs.len() - 1].row + 2));
                let g = Matrix::dense(&g[image * filters * positions..][..filters * positions], positions);
                let (outputs, lanes) = ((bottom - top) * wide, f32::tiles().lanes);
                pack::panels(turned, g.from(0, top * wide).t(), outputs, filters, [width, lanes], &Par::sequential());
                turned[outputs * width..][..width].fill(0.0);
                for row in 0..SIDE {
                    let (g, outputs) = (&turned[..(outputs + 1) * width], [high, wide]);
                    let gradient =
                        ToPointsOfGradient { points: of_gradient, point, line, row, g, filters, outputs, runs: &runs };
                    // SAFETY: as above.
                    unsafe { f32::run(gradient) };
                    for column in 0..SIDE {
                        let at = SIDE * row + column;
                        let sums = &mut sums[at * channels * filters..][..channels * filters];
                        let v = (&points[at * block.point()..][..channels * block.wide], block.wide);
                        let g = (&of_gradient[column * point..][..point], line);
                        multiply((sums, filters), v, g, [channels, count, filters], unit > own_units.start);
                    }
                }
            }
        });
    }
    let (sums, weights) = (&*sums, SharedMut::new(w));
    let own = POINTS * filters;
    let mut scratch = Scratch::<f32>::new(par.threads().min(c.groups * channels) * own);
    par.for_each_in(c.groups * channels, &mut scratch, own, |own, task| {
        let (group, channel) = (task / channels, task % channels);
        own.fill(0.0);
        for part in 0..parts {
            for (at, own) in own.chunks_exact_mut(filters).enumerate() {
                let line = ((part * c.groups + group) * POINTS + at) * channels + channel;
                own.iter_mut().zip(&sums[line * filters..]).for_each(|(own, sum)| *own += sum);
            }
        }
        for filter in 0..filters {
            let start = ((group * filters + filter) * channels + channel) * 9;
            // SAFETY: each task writes the weights of its own channel.
            let weights = unsafe { weights.range(start..start + 9) };
            weights.copy_from_slice(&to_kernel(&std::array::from_fn(|at| own[at * filters + filter])));
        }
    });
    w.iter().all(|w| w.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::conv as family;
    use crate::with_threads;

    /// An image, a weight, a bias and the sizes: three images of two groups of 32 channels.
    fn sample(size: [usize; 2], filters: usize, padding: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>, Conv) {
        let window =
            |size: usize| Window { size, kernel: 3, stride: 1, padding, dilation: 1, output: size + 2 * padding - 2 };
        let windows = [Window::NONE, window(size[0]), window(size[1])];
        let c = Conv { images: 3, groups: 2, channels: 32, filters, windows };
        let mut state = 1u32;
        let mut numbers = |n: usize| -> Vec<f32> {
            let next = || {
                state = state.wrapping_mul(747796405).wrapping_add(2891336453);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            std::iter::repeat_with(next).take(n).collect()
        };
        let x = numbers(c.images * c.groups * c.channels * c.pixels());
        (x, numbers(c.groups * filters * 32 * 9), numbers(c.groups * filters), c)
    }

    /// The sum of an output's terms, and that of their sizes.
    fn definition(x: &[f32], w: &[f32], c: &Conv, [part, filter, y, z]: [usize; 4]) -> (f64, f64) {
        let [_, high, wide] = &c.windows;
        let (mut sum, mut size) = (0.0, 0.0);
        for (channel, i, j) in (0..c.channels).flat_map(|c| (0..3).flat_map(move |i| (0..3).map(move |j| (c, i, j)))) {
            let place = |at: usize, w: &Window| at.checked_sub(w.padding).filter(|&at| at < w.size);
            let (Some(y), Some(z)) = (place(y + i, high), place(z + j, wide)) else { continue };
            let x = x[(part * c.channels + channel) * c.pixels() + y * wide.size + z] as f64;
            let kernel = (part % c.groups * c.filters + filter) * c.channels + channel;
            let term = x * w[kernel * 9 + i * 3 + j] as f64;
            (sum, size) = (sum + term, size + term.abs());
        }
        (sum, size)
    }

    /// The sum of a weight's gradient's terms, and that of their sizes.
    fn definition_of_weight(x: &[f32], g: &[f32], c: &Conv, [filter, channel, i, j]: [usize; 4]) -> (f64, f64) {
        let [_, high, wide] = &c.windows;
        let (mut sum, mut size) = (0.0, 0.0);
        let (group, filter) = (filter / c.filters, filter % c.filters);
        for part in (0..c.images).map(|image| image * c.groups + group) {
            let x = &x[(part * c.channels + channel) * c.pixels()..][..c.pixels()];
            let g = &g[(part * c.filters + filter) * c.positions()..][..c.positions()];
            for (y, z) in (0..high.output).flat_map(|y| (0..wide.output).map(move |z| (y, z))) {
                let place = |at: usize, w: &Window| at.checked_sub(w.padding).filter(|&at| at < w.size);
                let (Some(from), Some(at)) = (place(y + i, high), place(z + j, wide)) else { continue };
                let term = x[from * wide.size + at] as f64 * g[y * wide.output + z] as f64;
                (sum, size) = (sum + term, size + term.abs());
            }
        }
        (sum, size)
    }

    /// A gradient of the outputs.
    fn gradient(c: &Conv) -> Vec<f32> {
        let count = c.images * c.groups * c.filters * c.positions();
        (0..count as u32).map(|i| (i.wrapping_mul(2891336453) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn places(c: &Conv) -> impl Iterator<Item = [usize; 4]> {
        let [_, high, wide] = c.windows.each_ref().map(|w| w.output);
        let each = [c.images * c.groups, c.filters, high, wide];
        (0..each.iter().product())
            .map(move |i| [i / wide / high / each[1], i / wide / high % each[1], i / wide % high, i % wide])
    }

    /// Outputs that end within a tile, blocks that end within a row and within a register, and every padding.
    const SIZES: [([usize; 2], usize, usize); 4] =
        [([14, 14], 32, 1), ([15, 17], 33, 0), ([13, 21], 40, 2), ([28, 27], 32, 1)];

    #[test]
    fn outputs_are_those_of_the_definition_with_the_same_bits_for_any_threads() {
        for (size, filters, padding) in SIZES {
            let (x, w, bias, c) = sample(size, filters, padding);
            assert!(takes(&c));
            let mut runs = [1, 2, 3].map(|threads| {
                let mut out = vec![f32::NAN; c.images * c.groups * filters * c.positions()];
                let par = with_threads(threads, Par::current);
                family::conv(&mut out, &x, &w, Some(&bias), &c, &par);
                out
            });
            assert!(runs.iter().all(|out| *out == runs[0]));
            for (at, out) in places(&c).zip(&mut runs[0]) {
                let (want, size) = definition(&x, &w, &c, at);
                let error = (*out as f64 - want - bias[at[0] % 2 * filters + at[1]] as f64).abs();
                assert!(error <= 4.0 * f32::EPSILON as f64 * (size + 1.0), "{c:?} {at:?}: {error}");
            }
        }
    }

    #[test]
    fn the_gradient_of_the_input_is_that_of_the_definition() {
        for (size, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, filters, padding);
            let g: Vec<f32> =
                (0..c.images * c.groups * filters * c.positions()).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let mut out = vec![f32::NAN; x.len()];
            family::transposed(&mut out, &g, &w, None, &c, &Par::sequential());
            // <g, conv(x, w)> = <transposed(g, w), x>, for any x: also for one that sees a few pixels only.
            let few = |i: usize| i % 97 == 13;
            let x: Vec<f32> = x.iter().enumerate().map(|(i, &x)| if few(i) { x } else { 0.0 }).collect();
            let (mut left, mut size) = (0.0, 0.0);
            for (at, &g) in places(&c).zip(&g) {
                let (sum, terms) = definition(&x, &w, &c, at);
                (left, size) = (left + g as f64 * sum, size + g.abs() as f64 * terms);
            }
            let right: f64 = out.iter().zip(&x).map(|(&g, &x)| g as f64 * x as f64).sum();
            assert!((left - right).abs() < f32::EPSILON as f64 * size, "{c:?}: {left} {right}");
        }
    }

    #[test]
    fn the_gradient_of_the_weight_is_that_of_the_definition_with_the_same_bits_for_any_threads() {
        for (size, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, filters, padding);
            let g = gradient(&c);
            let runs = [1, 2, 3].map(|threads| {
                let mut out = vec![f32::NAN; w.len()];
                let par = with_threads(threads, Par::current);
                assert!(weight_grad(&mut out, &x, &g, &c, &par));
                out
            });
            assert!(runs.iter().all(|out| *out == runs[0]));
            for (at, out) in runs[0].iter().enumerate() {
                let at = [at / 9 / c.channels, at / 9 % c.channels, at % 9 / 3, at % 3];
                let (want, size) = definition_of_weight(&x, &g, &c, at);
                let error = (*out as f64 - want).abs();
                assert!(error <= 4.0 * f32::EPSILON as f64 * size, "{c:?} {at:?}: {error} of {size}");
            }
        }
    }

    #[test]
    fn what_memory_held_before_does_not_make_results_look_not_finite() {
        for (size, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, filters, padding);
            let g = gradient(&c);
            // Whatever size is asked for, the pool has memory for it that holds numbers which are not finite.
            let sizes = || (8..19).flat_map(|power| [4, 5, 6, 7].map(|quarters| quarters << power));
            let stale = || {
                let mut all: Vec<_> = sizes().map(Scratch::<f32>::new).collect();
                all.iter_mut().for_each(|memory| memory.fill(f32::NAN));
            };
            let mut out = vec![0.0; g.len()];
            let kernel = |group: usize, filter: usize, channel: usize| {
                *w[((group * filters + filter) * 32 + channel) * 9..].first_chunk().expect("9 weights")
            };
            stale();
            assert!(conv(&mut out, &x, kernel, None, &c, &Par::sequential()), "{c:?}");
            let mut out = vec![0.0; w.len()];
            stale();
            assert!(weight_grad(&mut out, &x, &g, &c, &Par::sequential()), "{c:?}");
        }
    }

    #[test]
    fn what_is_not_finite_reaches_the_weights_that_see_it() {
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let (mut x, w, _, c) = sample([14, 14], 32, 0);
            let mut g = gradient(&c);
            // In the first channel of the first group the corner, which one weight sees, and of the second group a filter.
            (x[0], g[c.filters * c.positions() + 5]) = (bad, bad);
            let mut out = vec![0.0; w.len()];
            family::weight_grad(&mut out, &x, &g, &c, &Par::sequential());
            for (at, out) in out.into_iter().enumerate() {
                let at = [at / 9 / c.channels, at / 9 % c.channels, at % 9 / 3, at % 3];
                let (want, size) = definition_of_weight(&x, &g, &c, at);
                let sees = at[0] < 32 && at[1..] == [0, 0, 0] || at[0] == 32;
                let same = match want.is_finite() {
                    true => {
                        (out as f64 - want).abs() <= 4.0 * f32::EPSILON as f64 * size || want.abs() > f32::MAX as f64
                    }
                    false => !out.is_finite() && out.is_nan() == want.is_nan(),
                };
                assert!(same && sees == (size > 1e30 || !want.is_finite()), "{bad}: {out} for {want} at {at:?}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_reaches_the_outputs_that_see_it() {
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let (mut x, w, _, c) = sample([14, 14], 32, 1);
            x[5 * 14 + 6] = bad;
            let mut out = vec![0.0; c.images * c.groups * c.filters * c.positions()];
            family::conv(&mut out, &x, &w, None, &c, &Par::sequential());
            for ([part, filter, y, z], out) in places(&c).zip(out) {
                let sees = part == 0 && y.abs_diff(5) < 2 && z.abs_diff(6) < 2;
                let want = definition(&x, &w, &c, [part, filter, y, z]).0 as f32;
                let same = if sees {
                    out.is_nan() == want.is_nan() && (out == want || bad.is_finite() || out.is_nan())
                } else {
                    (out - want).abs() < 1e-4
                };
                assert!(same, "{bad}: {out} for {want} at {part} {filter} {y} {z}");
            }
        }
    }
}
