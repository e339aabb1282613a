//! The conv family: convolution along up to three axes, and its gradients, as matrix products over unfolded windows.
//!
//! The unfolded matrix of an image has a row for each channel and kernel position and a column for each output
//! position. It is made a tile of columns at a time, so that it stays in the cache.

use std::ops::Range;

use crate::dtype::Element;
use crate::kernels::gemm::{self, Matrix, Product};
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// The sizes of a convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Images in the batch.
    pub images: usize,
    /// Groups, each a convolution of its own.
    pub groups: usize,
    /// Input channels of each group.
    pub channels: usize,
    /// Output channels of each group.
    pub filters: usize,
    /// How the kernel slides over depth, height and width. Where there are fewer axes, the first are [`Window::NONE`].
    pub windows: [Window; 3],
}

/// Elements of the unfolded matrix that are made at a time.
const TILE: usize = 1 << 17;

/// Rows of the unfolded matrix that one task of a gradient works on.
const ROWS: usize = 256;

/// Most blocks of images whose parts of the weight's gradient are summed apart.
const BLOCKS: usize = 16;

/// Most elements that these parts may take up together.
const PARTS: usize = 1 << 23;

impl Conv {
    /// Pixels of an input channel.
    fn pixels(&self) -> usize {
        self.windows.iter().map(|w| w.size).product()
    }

    /// Pixels of an output channel.
    fn positions(&self) -> usize {
        self.windows.iter().map(|w| w.output).product()
    }

    /// Weights of each filter for one channel.
    fn area(&self) -> usize {
        self.windows.iter().map(|w| w.kernel).product()
    }

    /// Weights of each filter.
    fn taps(&self) -> usize {
        self.channels * self.area()
    }

    /// Whether the unfolded matrix is the image itself.
    fn is_pointwise(&self) -> bool {
        self.windows.iter().all(Window::is_identity)
    }

    /// Multiply-adds of the whole.
    pub fn work(&self) -> usize {
        [self.groups, self.filters, self.taps(), self.positions()].iter().fold(self.images, |w, &n| w.saturating_mul(n))
    }

    /// Columns in a tile of `rows` rows.
    fn tile(&self, rows: usize) -> usize {
        (TILE / rows.max(1)).max(1).next_multiple_of(64).min(self.positions()).max(1)
    }

    /// The tiles of `tile` columns.
    fn tiles(&self, tile: usize) -> impl Iterator<Item = Range<usize>> {
        let positions = self.positions();
        (0..positions).step_by(tile).map(move |at| at..positions.min(at + tile))
    }

    /// The channels of a group, in blocks that one task of a gradient works on.
    fn channel_blocks(&self) -> (usize, usize) {
        let blocks = self.taps().div_ceil(ROWS).clamp(1, self.channels.max(1));
        let size = self.channels.div_ceil(blocks).max(1);
        (self.channels.div_ceil(size), size)
    }

    /// Calls `f` for each channel, kernel position and output row that meet the columns `at` of the unfolded matrix:
    /// with the run of the matrix that this is, and the run of the image that it shows (`None` in the padding), as
    /// the columns before it, its first pixel and its length.
    #[inline]
    fn for_runs(&self, channels: usize, at: &Range<usize>, mut f: impl FnMut(Range<usize>, Option<Shown>)) {
        let [deep, high, wide] = &self.windows;
        let lines = at.start / wide.output..at.end.div_ceil(wide.output);
        let mut start = 0;
        for tap in 0..channels * self.area() {
            let (channel, j) = (tap / self.area(), tap % wide.kernel);
            let (h, i) = (tap / (wide.kernel * high.kernel) % deep.kernel, tap / wide.kernel % high.kernel);
            let (slices, rows, columns) = (deep.outputs(h), high.outputs(i), wide.outputs(j));
            for line in lines.clone() {
                let (slice, row) = (line / high.output, line % high.output);
                let first = line * wide.output;
                let (from, to) = (at.start.max(first) - first, at.end.min(first + wide.output) - first);
                let (low, end) = (columns.start.clamp(from, to), columns.end.clamp(from, to));
                let shown = (slices.contains(&slice) && rows.contains(&row) && low < end).then(|| {
                    let plane = channel * deep.size + deep.position(slice, h);
                    let pixel = (plane * high.size + high.position(row, i)) * wide.size + wide.position(low, j);
                    Shown { skip: low - from, pixel, len: end - low }
                });
                f(start..start + to - from, shown);
                start += to - from;
            }
        }
    }

    /// Writes the columns `at` of the unfolded matrix of the `channels` channels in `x`.
    fn unfold<T: Element>(&self, out: &mut [T], x: &[T], channels: usize, at: &Range<usize>) {
        let stride = self.windows[2].stride;
        self.for_runs(channels, at, |run, shown| {
            let out = &mut out[run];
            let Some(Shown { skip, pixel, len }) = shown else { return out.fill(T::default()) };
            let (before, rest) = out.split_at_mut(skip);
            let (inside, after) = rest.split_at_mut(len);
            before.fill(T::default());
            after.fill(T::default());
            match stride {
                1 => inside.copy_from_slice(&x[pixel..][..len]),
                _ => inside.iter_mut().zip(x[pixel..].iter().step_by(stride)).for_each(|(o, &v)| *o = v),
            }
        });
    }

    /// Adds the columns `at` of an unfolded matrix to the pixels in `x` that they show.
    fn fold<T: Product + std::ops::AddAssign>(&self, x: &mut [T], unfolded: &[T], channels: usize, at: &Range<usize>) {
        let stride = self.windows[2].stride;
        self.for_runs(channels, at, |run, shown| {
            let Some(Shown { skip, pixel, len }) = shown else { return };
            let from = &unfolded[run][skip..][..len];
            match stride {
                1 => x[pixel..][..len].iter_mut().zip(from).for_each(|(x, &v)| *x += v),
                _ => x[pixel..].iter_mut().step_by(stride).zip(from).for_each(|(x, &v)| *x += v),
            }
        });
    }
}

/// A run of an image as the unfolded matrix shows it: after `skip` columns of padding, `len` columns from `pixel` on.
struct Shown {
    skip: usize,
    pixel: usize,
    len: usize,
}

/// `out = conv(x, w) + bias`, all dense.
pub fn conv<T: Product>(out: &mut [T], x: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let (taps, positions, filters) = (c.taps(), c.positions(), c.filters);
    let tile = c.tile(taps);
    let tiles = positions.div_ceil(tile);
    let out = SharedMut::new(out);
    let scratch = || vec![T::default(); if c.is_pointwise() { 0 } else { taps * tile }];
    par.for_each_with(c.images * c.groups * tiles, scratch, |unfolded, task| {
        let (part, tile_number) = (task / tiles, task % tiles);
        let group = part % c.groups;
        let at = tile_number * tile..positions.min((tile_number + 1) * tile);
        let x = &x[part * c.channels * c.pixels()..][..c.channels * c.pixels()];
        let w = Matrix::dense(&w[group * filters * taps..][..filters * taps], taps);
        let image = if c.is_pointwise() {
            Matrix::dense(x, positions).from(0, at.start)
        } else {
            c.unfold(unfolded, x, c.channels, &at);
            Matrix::dense(&unfolded[..taps * at.len()], at.len())
        };
        let first = part * filters * positions + at.start;
        if let Some(bias) = bias {
            for (f, &b) in bias[group * filters..][..filters].iter().enumerate() {
                let start = first + f * positions;
                // SAFETY: each task writes its own columns of its own image and group.
                unsafe { out.range(start..start + at.len()) }.fill(b);
            }
        }
        // SAFETY: as above.
        unsafe {
            gemm::multiply(
                filters,
                taps,
                at.len(),
                w,
                image,
                &out,
                first,
                positions,
                bias.is_some(),
                &Par::sequential(),
            )
        };
    });
}

/// The transposed convolution, which is the gradient of a convolution with respect to its input:
/// `x = conv_transposed(g, w) + bias`, all dense.
pub fn transposed<T: Product + std::ops::AddAssign>(
    x: &mut [T],
    g: &[T],
    w: &[T],
    bias: Option<&[T]>,
    c: &Conv,
    par: &Par,
) {
    let (taps, positions, filters, area) = (c.taps(), c.positions(), c.filters, c.area());
    let (blocks, size) = c.channel_blocks();
    let tile = c.tile(size * area);
    let x = SharedMut::new(x);
    let scratch = || vec![T::default(); if c.is_pointwise() { 0 } else { size * area * tile }];
    par.for_each_with(c.images * c.groups * blocks, scratch, |unfolded, task| {
        let (part, first) = (task / blocks, task % blocks * size);
        let channels = size.min(c.channels - first);
        let rows = channels * area;
        let start = (part * c.channels + first) * c.pixels();
        // SAFETY: each task writes its own channels of its own image and group.
        let x = unsafe { x.range(start..start + channels * c.pixels()) };
        let w = &w[part % c.groups * filters * taps..][..filters * taps];
        let w = Matrix::dense(w, taps).from(0, first * area).t();
        let g = Matrix::dense(&g[part * filters * positions..][..filters * positions], positions);
        let bias = bias.map(|bias| &bias[part % c.groups * c.channels + first..][..channels]);
        for (channel, x) in x.chunks_mut(c.pixels().max(1)).enumerate() {
            x.fill(bias.map_or(T::default(), |bias| bias[channel]));
        }
        if c.is_pointwise() {
            return gemm::gemm(rows, filters, positions, w, g, x, true, &Par::sequential());
        }
        for at in c.tiles(tile) {
            let unfolded = &mut unfolded[..rows * at.len()];
            gemm::gemm(rows, filters, at.len(), w, g.from(0, at.start), unfolded, false, &Par::sequential());
            c.fold(x, unfolded, channels, &at);
        }
    });
}

/// The gradient of a convolution with respect to its weight, all dense.
///
/// Images are summed in blocks, and the blocks in order: both depend on the sizes alone.
pub fn weight_grad<T: Product + std::ops::AddAssign>(w: &mut [T], x: &[T], g: &[T], c: &Conv, par: &Par) {
    let (taps, positions, filters, area) = (c.taps(), c.positions(), c.filters, c.area());
    w.fill(T::default());
    if w.is_empty() || c.images == 0 {
        return;
    }
    let (channel_blocks, size) = c.channel_blocks();
    let tile = c.tile(size * area);
    let per_block = c.images.div_ceil((PARTS / w.len()).clamp(1, BLOCKS));
    let image_blocks = c.images.div_ceil(per_block);
    let mut parts = vec![T::default(); image_blocks * w.len()];
    let shared = SharedMut::new(&mut parts);
    let scratch = || vec![T::default(); if c.is_pointwise() { 0 } else { size * area * tile }];
    par.for_each_with(image_blocks * c.groups * channel_blocks, scratch, |unfolded, task| {
        let (block, rest) = (task / (c.groups * channel_blocks), task % (c.groups * channel_blocks));
        let (group, first) = (rest / channel_blocks, rest % channel_blocks * size);
        let channels = size.min(c.channels - first);
        let rows = channels * area;
        let to = block * w.len() + group * filters * taps + first * area;
        for image in block * per_block..c.images.min((block + 1) * per_block) {
            let part = image * c.groups + group;
            let x = &x[(part * c.channels + first) * c.pixels()..][..channels * c.pixels()];
            let g = Matrix::dense(&g[part * filters * positions..][..filters * positions], positions);
            for at in c.tiles(tile) {
                let image = if c.is_pointwise() {
                    Matrix::dense(x, positions).from(0, at.start)
                } else {
                    c.unfold(unfolded, x, channels, &at);
                    Matrix::dense(&unfolded[..rows * at.len()], at.len())
                };
                let g = g.from(0, at.start);
                // SAFETY: each task writes its own columns of its own group's rows in its own part.
                unsafe {
                    gemm::multiply(filters, at.len(), rows, g, image.t(), &shared, to, taps, true, &Par::sequential())
                };
            }
        }
    });
    for part in parts.chunks(w.len()) {
        w.iter_mut().zip(part).for_each(|(w, &p)| *w += p);
    }
}

/// The unfolded matrix of each image, all dense: a row for each channel and kernel position, a column for each output
/// position.
pub fn unfold<T: Element>(out: &mut [T], x: &[T], c: &Conv, par: &Par) {
    let positions = 0..c.positions();
    par.chunks_mut(out, c.area() * positions.len(), |channel, out| {
        c.unfold(out, &x[channel * c.pixels()..][..c.pixels()], 1, &positions);
    });
}

/// The transpose of [`unfold`]: each pixel is the sum of what the windows that it lies in hold.
pub fn fold<T: Product + std::ops::AddAssign>(x: &mut [T], unfolded: &[T], c: &Conv, par: &Par) {
    let positions = 0..c.positions();
    let each = c.area() * positions.len();
    par.chunks_mut(x, c.pixels(), |channel, x| {
        x.fill(T::default());
        c.fold(x, &unfolded[channel * each..][..each], 1, &positions);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 2 groups of 2 channels of 4 by 5 pixels, 2 filters of 3 by 2 each; a kernel that looks at single
    /// pixels has a path of its own.
    fn sizes(pointwise: bool) -> (Conv, [usize; 3]) {
        let window = |size: usize, kernel: usize| Window {
            size,
            kernel,
            stride: 1,
            padding: 0,
            dilation: 1,
            output: size + 1 - kernel,
        };
        let kernel = if pointwise { [1, 1] } else { [3, 2] };
        let windows = [Window::NONE, window(4, kernel[0]), window(5, kernel[1])];
        let c = Conv { images: 2, groups: 2, channels: 2, filters: 2, windows };
        let lens = [2 * 2 * 2 * c.pixels(), 2 * 2 * c.taps(), 2 * 2 * 2 * c.positions()];
        (c, lens)
    }

    /// A kernel on three slices: of the input, the weight and the result.
    type Run = fn([&mut [f32]; 3], &Conv);

    #[test]
    fn slices_that_are_too_short_are_refused() {
        let runs: [Run; 3] = [
            |[x, w, y], c| conv(y, x, w, Some(&[0.0; 4]), c, &Par::sequential()),
            |[x, w, y], c| transposed(x, y, w, None, c, &Par::sequential()),
            |[x, w, y], c| weight_grad(w, x, y, c, &Par::sequential()),
        ];
        for (pointwise, run, short) in [false, true].iter().flat_map(|&p| {
            let each = move |run| (0..4).map(move |short| (p, run, short));
            runs.into_iter().flat_map(each)
        }) {
            let (c, lens) = sizes(pointwise);
            let mut slices: Vec<Vec<f32>> = (0..3).map(|i| vec![1.0; lens[i] - (i + 1 == short) as usize]).collect();
            let call = std::panic::AssertUnwindSafe(|| {
                let [x, w, y] = slices.get_disjoint_mut([0, 1, 2]).expect("three");
                run([x, w, y], &c);
            });
            assert_eq!(std::panic::catch_unwind(call).is_err(), short > 0, "slice {short} is one element short");
        }
    }
}
