//! The conv family: convolution of images, and its gradients, as matrix products over unfolded windows.
//!
//! The unfolded matrix of an image has a row for each channel and kernel position and a column for each output
//! position. It is made a tile of columns at a time, so that it stays in the cache.

use std::ops::Range;

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
    /// How the kernel slides over height and width.
    pub windows: [Window; 2],
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
        self.windows[0].size * self.windows[1].size
    }

    /// Pixels of an output channel.
    fn positions(&self) -> usize {
        self.windows[0].output * self.windows[1].output
    }

    /// Weights of each filter for one channel.
    fn area(&self) -> usize {
        self.windows[0].kernel * self.windows[1].kernel
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
        let [high, wide] = &self.windows;
        let mut start = 0;
        for channel in 0..channels {
            for i in 0..high.kernel {
                let rows = high.outputs(i);
                for j in 0..wide.kernel {
                    let columns = wide.outputs(j);
                    for row in at.start / wide.output..at.end.div_ceil(wide.output) {
                        let first = row * wide.output;
                        let (from, to) = (at.start.max(first) - first, at.end.min(first + wide.output) - first);
                        let (low, end) = (columns.start.clamp(from, to), columns.end.clamp(from, to));
                        let shown = (rows.contains(&row) && low < end).then(|| Shown {
                            skip: low - from,
                            pixel: (channel * high.size + high.position(row, i)) * wide.size + wide.position(low, j),
                            len: end - low,
                        });
                        f(start..start + to - from, shown);
                        start += to - from;
                    }
                }
            }
        }
    }

    /// Writes the columns `at` of the unfolded matrix of the `channels` channels in `x`.
    fn unfold<T: Product>(&self, out: &mut [T], x: &[T], channels: usize, at: &Range<usize>) {
        let stride = self.windows[1].stride;
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
        let stride = self.windows[1].stride;
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
pub fn conv2d<T: Product>(out: &mut [T], x: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
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
        unsafe { gemm::multiply(filters, taps, at.len(), w, image, &out, first, positions, bias.is_some()) };
    });
}

/// The gradient of a convolution with respect to its input: `x = conv_transposed(g, w)`, all dense.
pub fn input_grad<T: Product + std::ops::AddAssign>(x: &mut [T], g: &[T], w: &[T], c: &Conv, par: &Par) {
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
        if c.is_pointwise() {
            return gemm::gemm(rows, filters, positions, w, g, x, false, &Par::sequential());
        }
        x.fill(T::default());
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
                unsafe { gemm::multiply(filters, at.len(), rows, g, image.t(), &shared, to, taps, true) };
            }
        }
    });
    for part in parts.chunks(w.len()) {
        w.iter_mut().zip(part).for_each(|(w, &p)| *w += p);
    }
}
