//! What kernels over whole sequences share: each step multiplies a state with one and the same matrix.
//!
//! The matrix is packed once. Then each task takes some samples of the batch through all steps: samples do not meet, so
//! tasks wait for nobody. How many samples a task has follows from their number alone, and each of them is computed alike
//! in any task.

use std::ops::Range;

use crate::dtype::Element;
use crate::kernels::gemm::Matrix;
use crate::kernels::gemm::blocked::Strips;
use crate::kernels::gemm::pack;
use crate::kernels::gemm::tile::{Inner, Left, Plus, Right, Target, Tiled, Tiles};
use crate::kernels::scratch::Scratch;
use crate::par::{Par, SharedMut};

/// Positions of the inner axis after which a panel would leave the first cache.
const DEPTH: usize = 256;

/// The tasks of a usual batch, and the samples of a task below which there are fewer, above which there are more.
const TASKS: usize = 8;
const SAMPLES: Range<usize> = 8..32;

/// The sizes of a recurrence.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Samples.
    pub batch: usize,
    /// Steps.
    pub time: usize,
    /// Elements of a state.
    pub size: usize,
    /// Whether the last step comes first.
    pub reverse: bool,
}

impl Sizes {
    /// The place in time of step number `k`.
    pub(super) fn step(&self, k: usize) -> usize {
        if self.reverse { self.time - 1 - k } else { k }
    }

    /// The number of tasks: a power of two, so that an even number of threads shares them evenly.
    fn tasks(&self) -> usize {
        let most = match self.batch / SAMPLES.start {
            // Two threads share even a few samples.
            0 | 1 => self.batch.min(2),
            n if n < TASKS => n,
            _ => TASKS.max(self.batch / SAMPLES.end),
        };
        most.checked_ilog2().map_or(0, |n| 1 << n)
    }

    /// Runs `f` on the samples of each task, with `each` elements of scratch memory for each sample of the largest.
    pub(super) fn for_tasks<T: Element>(&self, each: usize, par: &Par, f: impl Fn(&mut [T], Range<usize>) + Sync) {
        let tasks = self.tasks();
        let own = self.batch.div_ceil(tasks.max(1)) * each;
        let mut scratch = Scratch::<T>::new(par.threads().min(tasks) * own);
        par.for_each_in(tasks, &mut scratch, own, |own, task| {
            f(own, task * self.batch / tasks..(task + 1) * self.batch / tasks);
        });
    }
}

/// Rows in a slice, one for each sample and step, the elements of each side by side.
#[derive(Clone, Copy)]
pub struct Sequence<'a, T> {
    /// The slice.
    pub data: &'a [T],
    /// Where the row of the first sample and step starts.
    pub offset: usize,
    /// The distances from sample to sample, and from step to step.
    pub strides: [isize; 2],
    /// The elements of a row.
    pub width: usize,
}

impl<'a, T> Sequence<'a, T> {
    pub(super) fn row(&self, sample: usize, step: usize) -> &'a [T] {
        let [s, t] = self.strides;
        let start = self.offset.wrapping_add_signed(s * sample as isize + t * step as isize);
        &self.data[start..][..self.width]
    }
}

/// A dense result with a row for each sample and step.
pub(super) struct Written<'a, T> {
    all: SharedMut<'a, T>,
    time: usize,
    width: usize,
}

impl<'a, T> Written<'a, T> {
    pub(super) fn new(all: &'a mut [T], time: usize, width: usize) -> Written<'a, T> {
        Written { all: SharedMut::new(all), time, width }
    }

    /// # Safety
    /// No one else uses this row meanwhile.
    #[allow(clippy::mut_from_ref)] // as `SharedMut::range`
    pub(super) unsafe fn row(&self, sample: usize, step: usize) -> &'a mut [T] {
        let start = (sample * self.time + step) * self.width;
        // SAFETY: the caller's promise; different rows do not overlap.
        unsafe { self.all.range(start..start + self.width) }
    }
}

/// A matrix in panels, which rows are multiplied with at every step.
pub(super) struct Packed<T: 'static> {
    tiles: &'static Tiles<T>,
    panels: Scratch<T>,
    /// Columns of a panel.
    wide: usize,
    depth: usize,
    columns: usize,
}

impl<T: Tiled + Element> Packed<T> {
    /// The matrix `b` of `depth` rows and `columns` columns, both above 0.
    pub(super) fn new(b: Matrix<'_, T>, depth: usize, columns: usize, par: &Par) -> Packed<T> {
        let tiles = T::tiles();
        let wide = tiles.panel(columns);
        let mut panels = Scratch::new(columns.next_multiple_of(tiles.lanes) * depth);
        pack::panels(&mut panels, b, depth, columns, [wide, tiles.lanes], par);
        Packed { tiles, panels, wide, depth, columns }
    }

    /// `out = a b` for the first `rows` rows of `a`. Both have rows that are [`pack::line`] apart.
    pub(super) fn product(&self, out: &mut [T], a: &[T], rows: usize) {
        let Packed { tiles, ref panels, wide, depth, columns } = *self;
        let [a_stride, stride] = [depth, columns].map(pack::line);
        assert!(rows * a_stride <= a.len() && rows * stride <= out.len(), "rows reach outside their slice");
        let strips = Strips::new(rows, tiles.rows, a_stride as isize, stride);
        for first in (0..columns).step_by(wide) {
            let registers = wide.min(columns - first).div_ceil(tiles.lanes);
            let width = registers * tiles.lanes;
            for at in (0..depth).step_by(DEPTH) {
                let right = Right::Strided(panels[first * depth + at * width..].as_ptr(), width);
                let (inner, plus) =
                    (Inner::of(DEPTH.min(depth - at)), if at > 0 { Plus::Target } else { Plus::Nothing });
                for (row, height, shifts) in strips.alike() {
                    let left = Left::new(height, |i| a[(row + i) * a_stride + at..].as_ptr());
                    let start = out[row * stride + first..].as_mut_ptr();
                    let to = Target { start, stride, registers: tiles.in_line(), widths: tiles.widths(width), plus };
                    // SAFETY: `a` has these rows, of `depth` elements and more. Panels have whole registers. The rows of
                    // `out` have, too: a line is longer than its columns rounded up to whole registers.
                    unsafe { (tiles.run)(height, registers, &inner, &left, &right, &to, shifts) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_every_sample_once_and_are_about_equally_large() {
        for batch in 0..700 {
            let s = Sizes { batch, time: 1, size: 1, reverse: false };
            let all = std::sync::Mutex::new(Vec::new());
            s.for_tasks::<f32>(3, &Par::sequential(), |own, samples| {
                assert!(!samples.is_empty() && own.len() >= 3 * samples.len(), "{batch}");
                all.lock().unwrap().push(samples);
            });
            let all = all.into_inner().unwrap();
            assert!(all.iter().cloned().flatten().eq(0..batch), "{batch}: {all:?}");
            let sizes: Vec<usize> = all.iter().map(|samples| samples.len()).collect();
            assert!(sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 1, "{batch}: {sizes:?}");
        }
    }

    #[test]
    fn rows_times_a_packed_matrix_are_those_of_the_definition() {
        for (rows, depth, columns) in [(1, 1, 1), (3, 5, 2), (8, 16, 48), (13, 257, 7), (7, 600, 53), (32, 40, 160)] {
            let number = |i: usize| ((i * 7) % 11) as f64 - 5.0;
            let b: Vec<f64> = (0..depth * columns).map(number).collect();
            let stride = pack::line(depth);
            let a: Vec<f64> = (0..rows * stride).map(|i| number(i + 3)).collect();
            let packed = Packed::new(Matrix::dense(&b, columns), depth, columns, &Par::sequential());
            let mut out = vec![f64::NAN; rows * pack::line(columns)];
            packed.product(&mut out, &a, rows);
            for i in 0..rows {
                for j in 0..columns {
                    let want: f64 = (0..depth).map(|p| a[i * stride + p] * b[p * columns + j]).sum();
                    assert_eq!(out[i * pack::line(columns) + j], want, "{rows} {depth} {columns}: {i} {j}");
                }
            }
        }
    }
}
