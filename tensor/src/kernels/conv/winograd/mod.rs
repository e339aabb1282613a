//! Convolutions by way of fewer products: Winograd's F(2 x 2, 3 x 3), F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5).
//!
//! Tiles of pixels make 2 by 2 or 4 by 4 outputs each. With the transforms `V = B' d B` of a tile and `U = G g G'` of a
//! kernel, the outputs are `A' M A`, where `M` sums `U` times `V`, point by point, over the channels. At each point the
//! sums of all tiles and filters are a matrix product. For each output of a kernel of 3 by 3 that takes 4 or 2.25
//! multiplications where the definition has 9, for one of 5 by 5 it takes 9 for 25.
//!
//! The gradient of the weight has the same points. With the gradient `g` of a tile's outputs it is `G' M G`, where `M`
//! sums `B' d B` times `A g A'`, point by point, over the tiles.
//!
//! A rounding error is relative to the largest numbers of a tile rather than to the terms of each output, and a number
//! that is not finite reaches outputs that do not see it. So single precision alone goes this way, and where a result is
//! not finite the caller computes all by the definition. Sums over channels and tiles are cut into parts, since most of
//! the error is theirs.
//!
//! A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.

mod points;
mod transform;

use std::sync::atomic::{AtomicBool, Ordering};

use points::{
    Block, Grid, OfKernels, Planes, ToKernels, ToOutput, ToPoints, ToPointsOfGradient, by_image, output_rows,
};
use transform::Side;

use super::Conv;
use crate::kernels::gemm::blocked::Strips;
use crate::kernels::gemm::tile::{Inner, Left, Plus, Right, Target, Tiled};
use crate::kernels::gemm::{Matrix, pack};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{MOST_LANES, Registers, VectorLoop};
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// Elements of a block of transformed tiles, so that it stays in the second cache; and least tiles of a block. For the
/// gradient of the weight more of them: sums are read and written once for each block.
const BLOCK: usize = 48 << 10;
const BLOCK_OF_WEIGHT: usize = 96 << 10;
const TILES: usize = 64;

/// Most parts in which the gradient of a weight is summed, times the groups; and most elements of all of them.
const TASKS: usize = 8;
const PARTS: usize = 1 << 23;

/// From so many terms on sums are cut into two parts, and into more such that none has more than that: rounding errors
/// grow with them, and more than those of a sum by the definition, since points are larger than outputs.
const DEPTH: usize = 32;

/// Most strips of filters that are summed at a time.
const STRIPS: usize = 8;

/// The sides of tiles, if a convolution and the gradient of its weight are quicker this way.
pub fn takes(c: &Conv) -> Option<Side> {
    let [deep, high, wide] = &c.windows;
    let tiles = |side: Side| {
        let [down, across] = [high, wide].map(|w| w.output.div_ceil(side.outputs()));
        c.images.saturating_mul(down * across)
    };
    let products = |side: Side| tiles(side).saturating_mul(side.area());
    // Below so many tiles of all images, and half the harmonic mean of channels and filters, the transforms, of kernels
    // and of pixels, take longer than what they spare.
    let pays = |side: Side| {
        let (least, planes) = match side {
            Side::TwoOfThree => (32, 16),
            Side::FourOfThree => (48, 6),
            Side::TwoOfFive => (48, 9),
        };
        tiles(side) >= least && c.channels.saturating_mul(c.filters) >= planes * (c.channels + c.filters)
    };
    let side = match wide.kernel {
        // An output that sees one pixel, in a corner, would have the rounding errors of all the others.
        3 if high.padding.max(wide.padding) < 2
            && products(Side::FourOfThree) < products(Side::TwoOfThree)
            && pays(Side::FourOfThree) =>
        {
            Side::FourOfThree
        }
        3 => Side::TwoOfThree,
        5 => Side::TwoOfFive,
        _ => return None,
    };
    let near = |w: &Window| (w.kernel, w.stride, w.dilation) == (side.taps(), 1, 1) && w.padding < side.taps();
    (deep.is_identity() && deep.size == 1 && near(high) && near(wide) && pays(side)).then_some(side)
}

/// Tiles in a block of so many elements, of `count` tiles, whose blocks have at most so many planes.
fn most_tiles(elements: usize, count: usize, planes: usize, side: Side) -> usize {
    (elements / (side.area() * planes)).max(TILES).min(count).next_multiple_of(MOST_LANES)
}

/// A matrix: numbers, and the distance from row to row.
type Rows<'a> = (&'a [f32], usize);

/// `sums = u v`, or `sums += u v`, of `rows` by `depth` by `columns`; the strips are those of `u` and `sums`.
fn multiply(
    strips: &Strips,
    (sums, stride): (&mut [f32], usize),
    (u, line): Rows<'_>,
    (v, step): Rows<'_>,
    [rows, depth, columns]: [usize; 3],
    add: bool,
) {
    let tiles = f32::tiles();
    let parts = if depth < DEPTH { 1 } else { depth.div_ceil(DEPTH).max(2) };
    assert_eq!(strips.of, (rows, line as isize, stride));
    assert!(columns <= stride && sums.len() >= (rows - 1) * stride + columns && u.len() >= (rows - 1) * line + depth);
    assert!(v.len() >= (depth - 1) * step + columns.next_multiple_of(tiles.lanes));
    // As equal parts as there can be: some longer ones, and then the others.
    let (long, short) = (depth % parts, depth / parts);
    for (from, parts, depth) in [(0, long, short + 1), (long * (short + 1), parts - long, short)] {
        if parts == 0 {
            continue;
        }
        let inner = Inner { depth, steps: [depth, depth * step], parts, ..Inner::of(depth) };
        // A caller's `Plus` could hold any pointer.
        let plus = if add || from > 0 { Plus::Target } else { Plus::Nothing };
        let start = |row: usize| u[row * line + from..].as_ptr();
        let panel = tiles.panel(columns);
        for column in (0..columns).step_by(panel) {
            let wide = panel.min(columns - column);
            let (widths, in_row) = (tiles.widths(wide), wide.div_ceil(tiles.lanes));
            let right = Right::Strided(v[from * step + column..].as_ptr(), step);
            let mut to = Target { start: sums.as_mut_ptr(), stride, registers: tiles.in_line(), widths, plus };
            for (row, height, shifts) in strips.alike() {
                // SAFETY: the operands and the result are as long as that.
                unsafe {
                    to.start = sums.as_mut_ptr().add(row * stride + column);
                    let left = Left::new(height, |i| start(row + i));
                    (tiles.run)(height, in_row, &inner, &left, &right, &to, shifts);
                }
            }
        }
    }
}

/// Runs a loop over rows of tiles, in registers that these fill.
///
/// # Safety
/// As [`Registers::run`].
unsafe fn run<L: VectorLoop<f32>>(grid: &Grid, l: L) -> L::Output {
    // SAFETY: the caller's promise.
    unsafe { if grid.across <= MOST_LANES / 2 { f32::run_narrow(l) } else { f32::run(l) } }
}

/// `out = conv(x, w) + bias`, all dense; with `turned` the kernels of a convolution the other way, turned over. Whether
/// all of it is finite; else it means nothing.
pub fn conv(
    out: &mut [f32],
    x: &[f32],
    (w, turned): (&[f32], bool),
    bias: Option<&[f32]>,
    c: &Conv,
    side: Side,
    par: &Par,
) -> bool {
    let (grid, area, taps) = (Grid::new(c, side), side.area(), c.area());
    let [_, high, wide] = c.outputs();
    let (channels, filters, count) = (c.channels, c.filters, c.images * grid.down * grid.across);
    // For each group and point a matrix of the filters by the channels.
    let line = pack::line(channels);
    let mut kernels = Scratch::<f32>::new(c.groups * area * filters * line);
    {
        let kernels = SharedMut::new(&mut kernels);
        par.for_each(c.groups * filters, |task| {
            let (group, filter) = (task / filters, task % filters);
            let row = |point: usize| {
                let start = ((group * area + point) * filters + filter) * line;
                // SAFETY: each task writes the rows of its own filter.
                unsafe { kernels.range(start..start + line) }
            };
            let mut points: Vec<_> = (0..area).map(row).collect();
            let (first, step) = match turned {
                true => (group * channels * filters + filter, filters),
                false => ((group * filters + filter) * channels, 1),
            };
            let (first, step, points) = (first * taps, step * taps, &mut points);
            // SAFETY: the transform checks what it reads and writes.
            unsafe { f32::run(OfKernels { points, side, channels, weights: w, first, step, turned }) };
        });
    }
    let kernels = &*kernels;
    let (pixels, positions, tiles) = (c.pixels(), c.positions(), f32::tiles());
    let most = most_tiles(BLOCK, count, channels.max(filters), side);
    let (blocks, strip) = (count.div_ceil(most), filters.min(STRIPS * tiles.rows));
    let memory = [channels, strip].map(|planes| Block { planes, wide: most, side }.len());
    let own = memory[0] + memory[1] + grid.cells(most);
    let (out, finite) = (SharedMut::new(out), AtomicBool::new(true));
    let mut scratch = Scratch::<f32>::new(par.threads().min(c.groups * blocks) * own);
    par.for_each_in(c.groups * blocks, &mut scratch, own, |own, task| {
        let (group, first) = (task / blocks, task % blocks * most);
        let count = most.min(count - first);
        let runs = grid.runs(first, count);
        let block = Block { planes: channels, wide: count.next_multiple_of(tiles.lanes), side };
        let (points, rest) = own.split_at_mut(memory[0]);
        let (sums, cells) = rest.split_at_mut(memory[1]);
        let planes = Planes { start: group * channels * pixels, image: c.groups * channels * pixels, size: pixels };
        // SAFETY: the transform checks what it reads and writes.
        unsafe { run(&grid, ToPoints { points, block, x, planes, cells, grid: &grid, runs: &runs }) };
        for filter in (0..filters).step_by(strip) {
            let to = Block { planes: strip.min(filters - filter), ..block };
            let strips = Strips::new(to.planes, f32::tiles().rows, line as isize, block.wide);
            for point in 0..area {
                let u = &kernels[((group * area + point) * filters + filter) * line..][..to.planes * line];
                let v = &points[point * block.point()..][..channels * block.wide];
                let sums = &mut sums[point * to.point()..][..to.point()];
                // Registers reach there, and are asked whether they are finite.
                sums[to.planes * block.wide..].fill(0.0);
                let sizes = [to.planes, channels, block.wide];
                multiply(&strips, (sums, block.wide), (u, line), (v, block.wide), sizes, false);
            }
            let start = (group * filters + filter) * positions;
            let planes = Planes { start, image: c.groups * filters * positions, size: positions };
            let bias = bias.map(|bias| &bias[group * filters + filter..]);
            let outputs =
                ToOutput { out: &out, planes, outputs: [high, wide], points: sums, block: to, bias, runs: &runs };
            // SAFETY: as above; each task has its own tiles.
            if !unsafe { run(&grid, outputs) } {
                finite.store(false, Ordering::Relaxed);
            }
        }
    });
    finite.into_inner()
}

/// The gradient of a convolution with respect to its weight, all dense. Whether all of it is finite; else it means
/// nothing.
///
/// Blocks of tiles are summed in parts, and the parts in order: both depend on the sizes alone.
pub fn weight_grad(w: &mut [f32], x: &[f32], g: &[f32], c: &Conv, side: Side, par: &Par) -> bool {
    let (grid, area, taps) = (Grid::new(c, side), side.area(), c.area());
    let [_, high, wide] = c.outputs();
    let (channels, filters, count) = (c.channels, c.filters, c.images * grid.down * grid.across);
    let (pixels, positions) = (c.pixels(), c.positions());
    // Whole rows of tiles, if they are not too long.
    let most = most_tiles(BLOCK_OF_WEIGHT, count, channels.max(filters), side);
    let most = if most < grid.across { most } else { most / grid.across * grid.across };
    let blocks = count.div_ceil(most);
    let block = |count: usize| Block { planes: channels, wide: count.next_multiple_of(MOST_LANES), side };
    // A row of filters for each tile, and for each output.
    let (line, width) = (pack::line(filters), filters.next_multiple_of(f32::tiles().lanes));
    let point = most * line;
    let rows = side.outputs() * (most.div_ceil(grid.across) + 1);
    let memory = [block(most).len(), side.points() * point, (rows * wide + 1) * width, grid.cells(most)];
    let own = memory.iter().sum();
    let sums_each = area * channels * filters;
    let parts = (TASKS / c.groups).min(PARTS / (c.groups * sums_each)).clamp(1, blocks);
    let per_part = blocks.div_ceil(parts);
    let parts = blocks.div_ceil(per_part);
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
            let own_blocks = part * per_part..blocks.min((part + 1) * per_part);
            for number in own_blocks.clone() {
                let count = most.min(count - number * most);
                let (runs, block) = (grid.runs(number * most, count), block(count));
                let planes =
                    Planes { start: group * channels * pixels, image: c.groups * channels * pixels, size: pixels };
                // SAFETY: the transform checks what it reads and writes.
                unsafe { run(&grid, ToPoints { points, block, x, planes, cells, grid: &grid, runs: &runs }) };
                let mut outputs = 0;
                for runs in by_image(&runs) {
                    let (rows, image) = (output_rows(runs, side, high), runs[0].image);
                    let g = &g[(image * c.groups + group) * filters * positions..][..filters * positions];
                    let g = Matrix::dense(g, positions).from(0, rows.start * wide).t();
                    let (count, lanes) = (rows.len() * wide, f32::tiles().lanes);
                    let to = &mut turned[outputs * width..];
                    pack::panels(to, g, count, filters, [width, lanes], &Par::sequential());
                    outputs += count;
                }
                turned[outputs * width..][..width].fill(0.0);
                let strips = Strips::new(channels, f32::tiles().rows, block.wide as isize, filters);
                for row in 0..side.points() {
                    let (g, outputs) = (&turned[..(outputs + 1) * width], [high, wide]);
                    let (points_of, runs) = (&mut *of_gradient, &runs[..]);
                    let gradient =
                        ToPointsOfGradient { points: points_of, side, point, line, row, g, filters, outputs, runs };
                    // SAFETY: as above.
                    unsafe { f32::run(gradient) };
                    for column in 0..side.points() {
                        let at = row * side.points() + column;
                        let sums = &mut sums[at * channels * filters..][..channels * filters];
                        let v = (&points[at * block.point()..][..channels * block.wide], block.wide);
                        let g = (&of_gradient[column * point..][..point], line);
                        multiply(&strips, (sums, filters), v, g, [channels, count, filters], number > own_blocks.start);
                    }
                }
            }
        });
    }
    let (sums, weights) = (&*sums, SharedMut::new(w));
    let own = taps * line;
    let mut scratch = Scratch::<f32>::new(par.threads().min(c.groups * channels) * own);
    par.for_each_in(c.groups * channels, &mut scratch, own, |own, task| {
        let (group, channel) = (task / channels, task % channels);
        let (first, part) = (group * sums_each + channel * filters, c.groups * sums_each);
        let (kernels, point) = (&mut *own, channels * filters);
        // SAFETY: the transform checks what it reads and writes.
        unsafe { f32::run(ToKernels { kernels, line, side, filters, sums, parts, part, first, point }) };
        for filter in 0..filters {
            let start = ((group * filters + filter) * channels + channel) * taps;
            // SAFETY: each task writes the weights of its own channel.
            let weights = unsafe { weights.range(start..start + taps) };
            weights.iter_mut().zip(own[filter..].iter().step_by(line)).for_each(|(weight, &own)| *weight = own);
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
    fn sample(size: [usize; 2], kernel: usize, filters: usize, padding: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>, Conv) {
        let window = |size: usize| Window {
            size,
            kernel,
            stride: 1,
            padding,
            dilation: 1,
            output: size + 2 * padding + 1 - kernel,
        };
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
        (x, numbers(c.groups * filters * 32 * c.area()), numbers(c.groups * filters), c)
    }

    /// The sum of an output's terms, and that of their sizes.
    fn definition(x: &[f32], w: &[f32], c: &Conv, [part, filter, y, z]: [usize; 4]) -> (f64, f64) {
        let [_, high, wide] = &c.windows;
        let (mut sum, mut size) = (0.0, 0.0);
        let k = high.kernel;
        for (channel, i, j) in (0..c.channels).flat_map(|c| (0..k).flat_map(move |i| (0..k).map(move |j| (c, i, j)))) {
            let place = |at: usize, w: &Window| at.checked_sub(w.padding).filter(|&at| at < w.size);
            let (Some(y), Some(z)) = (place(y + i, high), place(z + j, wide)) else { continue };
            let x = x[(part * c.channels + channel) * c.pixels() + y * wide.size + z] as f64;
            let kernel = (part % c.groups * c.filters + filter) * c.channels + channel;
            let term = x * w[kernel * k * k + i * k + j] as f64;
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

    /// The filter, channel, row and column of a weight.
    fn weight(c: &Conv, at: usize) -> [usize; 4] {
        let (kernel, k) = (at / c.area(), c.windows[1].kernel);
        [kernel / c.channels, kernel % c.channels, at % c.area() / k, at % k]
    }

    fn places(c: &Conv) -> impl Iterator<Item = [usize; 4]> {
        let [_, high, wide] = c.outputs();
        let each = [c.images * c.groups, c.filters, high, wide];
        (0..each.iter().product())
            .map(move |i| [i / wide / high / each[1], i / wide / high % each[1], i / wide % high, i % wide])
    }

    /// Few tiles, outputs that end within a tile, blocks that end within a row and within a register, and every padding.
    const SIZES: [([usize; 2], usize, usize, usize); 9] = [
        ([5, 7], 3, 32, 1),
        ([14, 14], 3, 32, 1),
        ([15, 17], 3, 33, 0),
        ([13, 21], 3, 40, 2),
        ([28, 27], 3, 32, 1),
        ([14, 14], 5, 32, 2),
        ([18, 17], 5, 33, 0),
        ([12, 13], 5, 32, 4),
        ([28, 27], 5, 33, 3),
    ];

    #[test]
    fn outputs_are_those_of_the_definition_with_the_same_bits_for_any_threads() {
        for (size, kernel, filters, padding) in SIZES {
            let (x, w, bias, c) = sample(size, kernel, filters, padding);
            assert!(takes(&c).is_some());
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
        for (size, kernel, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, kernel, filters, padding);
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
        for (size, kernel, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, kernel, filters, padding);
            let g = gradient(&c);
            let runs = [1, 2, 3].map(|threads| {
                let mut out = vec![f32::NAN; w.len()];
                let par = with_threads(threads, Par::current);
                let side = takes(&c).expect("a size for which it is quicker");
                assert!(weight_grad(&mut out, &x, &g, &c, side, &par));
                out
            });
            assert!(runs.iter().all(|out| *out == runs[0]));
            for (at, out) in runs[0].iter().enumerate() {
                let at = weight(&c, at);
                let (want, size) = definition_of_weight(&x, &g, &c, at);
                let error = (*out as f64 - want).abs();
                assert!(error <= 4.0 * f32::EPSILON as f64 * size, "{c:?} {at:?}: {error} of {size}");
            }
        }
    }

    #[test]
    fn what_memory_held_before_does_not_make_results_look_not_finite() {
        for (size, kernel, filters, padding) in SIZES {
            let (x, w, _, c) = sample(size, kernel, filters, padding);
            let g = gradient(&c);
            // Whatever size is asked for, the pool has memory for it that holds numbers which are not finite.
            let sizes = || (8..19).flat_map(|power| [4, 5, 6, 7].map(|quarters| quarters << power));
            let stale = || {
                let mut all: Vec<_> = sizes().map(Scratch::<f32>::new).collect();
                all.iter_mut().for_each(|memory| memory.fill(f32::NAN));
            };
            let mut out = vec![0.0; g.len()];
            let side = takes(&c).expect("a size for which it is quicker");
            stale();
            assert!(conv(&mut out, &x, (&w, false), None, &c, side, &Par::sequential()), "{c:?}");
            let mut out = vec![0.0; w.len()];
            stale();
            assert!(weight_grad(&mut out, &x, &g, &c, side, &Par::sequential()), "{c:?}");
        }
    }

    /// Numbers that are not finite, or whose sums are not, and kernels.
    fn bads() -> impl Iterator<Item = (f32, usize)> {
        [f32::NAN, f32::INFINITY, f32::MAX].into_iter().flat_map(|bad| [(bad, 3), (bad, 5)])
    }

    #[test]
    fn what_is_not_finite_reaches_the_weights_that_see_it() {
        for (bad, kernel) in bads() {
            let (mut x, w, _, c) = sample([18, 18], kernel, 32, 0);
            let mut g = gradient(&c);
            // In the first channel of the first group the corner, which one weight sees, and of the second group a filter.
            (x[0], g[c.filters * c.positions() + 5]) = (bad, bad);
            let mut out = vec![0.0; w.len()];
            family::weight_grad(&mut out, &x, &g, &c, &Par::sequential());
            for (at, out) in out.into_iter().enumerate() {
                let at = weight(&c, at);
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
        for (bad, kernel) in bads() {
            let reach = kernel / 2;
            let (mut x, w, _, c) = sample([14, 14], kernel, 32, reach);
            x[5 * 14 + 6] = bad;
            let mut out = vec![0.0; c.images * c.groups * c.filters * c.positions()];
            family::conv(&mut out, &x, &w, None, &c, &Par::sequential());
            for ([part, filter, y, z], out) in places(&c).zip(out) {
                let sees = part == 0 && y.abs_diff(5) <= reach && z.abs_diff(6) <= reach;
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
