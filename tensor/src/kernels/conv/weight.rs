//! The gradient of a convolution with respect to its weight: for each kernel position and filter the inner product of
//! what the position meets with the gradient, over all outputs.
//!
//! A tile is some kernel positions by some registers of filters. The gradient is turned first, so that the filters of an
//! output are neighbours; what the kernel positions meet is read straight from the lattice, row of outputs by row.

use super::lattice::Lattice;
use super::sweep::for_parts;
use super::{Conv, Parts, Sums};
use crate::kernels::gemm::blocked::strips;
use crate::kernels::gemm::tile::{Inner, Left, Plus, Right, Shift, Target};
use crate::kernels::gemm::{Matrix, pack};
use crate::kernels::scratch::Scratch;
use crate::kernels::transpose::transpose;
use crate::par::{Par, SharedMut};

/// Outputs that are summed over at a time, so that their gradients stay in the second cache.
const OUTPUTS: usize = 2048;

/// Most strips of kernel positions in a task.
const STRIPS: usize = 4;

/// Most blocks of images whose parts of the gradient are summed apart, the tasks that they are to make, and most
/// elements that the parts may take up together.
const BLOCKS: usize = 16;
const TASKS: usize = 8;
const PARTS: usize = 1 << 23;

/// Filters whose sums are turned at a time.
const TURNED: usize = 16;

/// Adds the gradient of a convolution with respect to its weight.
///
/// Images are summed in blocks, and the blocks in order: both depend on the sizes alone.
pub fn weight_grad<T: Sums>(w: &mut [T], x: &[T], g: &[T], c: &Conv, par: &Par) {
    let (taps, positions, filters, tiles) = (c.taps(), c.positions(), c.filters, T::tiles());
    let lattice = Lattice::new(c);
    let places = lattice.places(c.channels);
    let p = Parts { count: c.images * c.groups, groups: c.groups, channels: c.channels, pixels: c.pixels() };
    let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
    // Rows of outputs that are summed over at a time.
    let rows = (OUTPUTS / wide).clamp(1, high);
    let each = c.channels * lattice.plane();
    let (width, wide_panel) = (filters.next_multiple_of(tiles.lanes), tiles.panel(filters));
    let chunks = taps.div_ceil(STRIPS * tiles.rows);
    // Every block of images has a gradient of its own, turned: a row of filters for each kernel position.
    let blocks = (TASKS / (c.groups * chunks)).clamp(1, BLOCKS).min(PARTS / w.len()).clamp(1, c.images);
    let per_block = c.images.div_ceil(blocks);
    let mut sums = Scratch::<T>::new(blocks * w.len());
    sums.fill(T::default());
    for_parts(x, &lattice, &p, par, |parts, laid_out| {
        let mut turned = Scratch::<T>::new(parts.len() * width * positions);
        par.chunks_mut(&mut turned, width * positions, |i, to| {
            let g = Matrix::dense(&g[(parts.start + i) * filters * positions..][..filters * positions], positions).t();
            pack::panels(to, g, positions, filters, [wide_panel, tiles.lanes], &Par::sequential());
        });
        let (turned, shared) = (&*turned, SharedMut::new(&mut sums));
        par.for_each(blocks * c.groups * chunks, |task| {
            let (block, group, chunk) = (task / (c.groups * chunks), task / chunks % c.groups, task % chunks);
            let first = chunk * STRIPS * tiles.rows;
            let count = (STRIPS * tiles.rows).min(taps - first);
            let images = block * per_block..(block + 1) * per_block;
            let own = parts.clone().filter(|part| part % c.groups == group && images.contains(&(part / c.groups)));
            for part in own {
                let i = part - parts.start;
                for (z, y) in (0..deep).flat_map(|z| (0..high).step_by(rows).map(move |y| (z, y))) {
                    let segments = rows.min(high - y);
                    let cells = &laid_out[i * each + z * slice + y * row..];
                    for (tap, height) in strips(count, tiles.rows) {
                        let left = Left::new(height, |j| cells[places[first + tap + j]..].as_ptr());
                        for column in (0..filters).step_by(wide_panel) {
                            let columns = wide_panel.min(filters - column);
                            let panel = columns.next_multiple_of(tiles.lanes);
                            let at = i * width * positions + column * positions + (z * high + y) * wide * panel;
                            let right = Right::Strided(turned[at..].as_ptr(), panel);
                            let inner = Inner { depth: wide, segments, steps: [row, wide * panel], parts: 1 };
                            let start = ((block * c.groups + group) * taps + first + tap) * filters + column;
                            assert!(start + (height - 1) * filters + columns <= shared.len);
                            // SAFETY: the lines lie in this part's cells, one row of outputs after the other, and
                            // the panel has a row for each of these outputs; the target lies within the sums, as just
                            // found, and each task writes its own rows of them.
                            unsafe {
                                let (start, widths) = (shared.start().add(start), tiles.widths(columns));
                                let (stride, registers, plus) = (filters, tiles.in_line(), Plus::Target);
                                let to = Target { start, stride, registers, widths, plus };
                                (tiles.run)(height, panel / tiles.lanes, &inner, &left, &right, &to, &[Shift::NONE]);
                            }
                        }
                    }
                }
            }
        });
    });
    // Blocks of one are added to it, some filters at a time, so that what is turned stays near.
    for group in 0..c.groups {
        let w = &mut w[group * filters * taps..][..filters * taps];
        par.chunks_mut(w, TURNED * taps, |i, w| {
            let (first, rows) = (i * TURNED, w.len() / taps);
            let mut turned = Scratch::<T>::new(w.len());
            for block in 0..blocks {
                let sums = &sums[(block * c.groups + group) * taps * filters + first..];
                transpose(&mut turned, taps, sums, filters, taps, rows);
                w.iter_mut().zip(&*turned).for_each(|(w, &v)| *w += v);
            }
        });
    }
}
