//! Convolutions over images laid out with their channels side by side.
//!
//! Where windows are strides apart, outputs that are neighbours see pixels that are none, and over small images rows are
//! short: registers of outputs ([`sweep`](super::sweep)) need a copy for each phase of the stride, and are filled poorly.
//! Here registers hold filters instead. With the channels of a pixel side by side, what a row of the kernel sees is one line, wherever the
//! window stands, so that a product reads windows as its left operand without a copy of each; the weights are its right
//! one, and each output has a row of the result, which is turned in the end.
//!
//! The order of elements is that of E. Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD
//! Architectures", SC 2018, arXiv:1808.05567, without their blocks of channels.

use std::ops::Range;

use smallvec::SmallVec;

use super::sweep::Place;
use super::{Conv, Sums};
use crate::kernels::gemm::blocked::strips;
use crate::kernels::gemm::tile::{Inner, Left, Plus, Right, Shift, Target, Tiled};
use crate::kernels::pane::copy_run;
use crate::kernels::scratch::Scratch;
use crate::kernels::transpose::transpose;
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// Elements of an image that are laid out at a time, so that they stay in the second cache.
const CELLS: usize = 1 << 16;

/// Fewest outputs of a row at a time, where there are so many.
const LEAST: usize = 64;

/// Weights of a panel that are read at a time: they come from the second cache, too.
const WEIGHTS: usize = 1 << 16;

/// Rows of weights that are turned at a time, so that they stay in the first cache.
const TURNED: usize = 128;

/// Fewest channels: of fewer, what a row of the kernel sees is too short, and takes longer to lay out; unless it has so
/// many elements, as where an image is cut into patches.
const CHANNELS: usize = 4;
const ROW: usize = 40;

/// The number of tasks for each thread below which filters are shared out, too.
const TASKS: usize = 4;

/// What the windows along one axis see.
struct Axis {
    /// Positions of the input.
    size: usize,
    outputs: usize,
    /// Where output 0 sees its first position, which may be in the padding, and how far it is to that of the next output.
    first: isize,
    step: usize,
    /// The kernel's positions in the order of what they see, which are neighbours.
    taps: SmallVec<[usize; 8]>,
}

impl Axis {
    /// The axis of a convolution.
    fn new(w: &Window) -> Axis {
        let first = -(w.padding as isize);
        Axis { size: w.size, outputs: w.output, first, step: w.stride, taps: (0..w.kernel).collect() }
    }

    /// The axis of its gradient with respect to the input, for the positions `x`, `x + stride`, ..: they see outputs.
    fn transposed(w: &Window, x: usize) -> Axis {
        let (stride, at) = (w.stride as isize, |k: usize| (x + w.padding) as isize - k as isize);
        let taps: SmallVec<[usize; 8]> = (0..w.kernel).rev().filter(|&k| at(k) % stride == 0).collect();
        let first = taps.first().map_or(0, |&k| at(k) / stride);
        Axis { size: w.output, outputs: (w.size - x).div_ceil(w.stride), first, step: 1, taps }
    }

    /// Cells from one output to the next: what no window sees is not laid out.
    fn pitch(&self) -> usize {
        self.step.min(self.taps.len())
    }

    /// Cells that some outputs see.
    fn cells(&self, outputs: usize) -> usize {
        (outputs - 1) * self.pitch() + self.taps.len()
    }

    /// The position that a cell shows, where that is none of the padding.
    fn position(&self, cell: usize) -> Option<usize> {
        let at = self.first + (cell / self.pitch() * self.step + cell % self.pitch()) as isize;
        usize::try_from(at).ok().filter(|&at| at < self.size)
    }
}

/// Whether this is the quickest way to sum over so many channels of each group, of so many pixels in a row of the kernel,
/// for so many of the results.
pub fn takes<T: Tiled>(c: &Conv, channels: usize, pixels: usize, columns: usize) -> bool {
    let strided = c.windows.iter().any(|w| w.stride > 1);
    // Columns that fill less of their registers take longer than outputs do.
    let lanes = columns.next_multiple_of(T::tiles().lanes);
    let filled = if strided { 2 * columns > lanes } else { 4 * columns >= 3 * lanes };
    filled && (channels >= CHANNELS || channels * pixels >= ROW) && c.windows.iter().all(|w| w.dilation == 1)
}

/// `out = conv(x, w) + bias`, all dense.
pub fn conv<T: Sums>(out: &mut [T], x: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let (taps, area) = (c.taps(), c.area());
    let s = Sizes { channels: c.channels, columns: c.filters, pixels: c.pixels(), c };
    let slots: Vec<usize> = (0..area).collect();
    let weights = s.packed(&slots, par, |to, width, group, filters: Range<usize>, channels: Range<usize>| {
        let w = &w[(group * c.filters + filters.start) * taps + channels.start * area..];
        transpose(to, width, w, taps, filters.len(), channels.len() * area);
    });
    let [_, high, wide] = c.outputs();
    let to = Place { elements: c.positions(), first: 0, steps: [high * wide, wide, 1] };
    s.run(&SharedMut::new(out), x, (&weights, 0), bias, &c.windows.each_ref().map(Axis::new), &to, par);
}

/// `x = conv_transposed(g, w) + bias`, all dense.
pub fn transposed<T: Sums>(x: &mut [T], g: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let area = c.area();
    let s = Sizes { channels: c.filters, columns: c.channels, pixels: c.positions(), c };
    let [deep, high, wide] = c.windows.each_ref().map(|w| w.stride.min(w.size));
    // Positions of the input whose distance is a multiple of the stride see the same positions of the kernel.
    let firsts = (0..deep * high * wide).map(|phase| [phase / (high * wide), phase / wide % high, phase % wide]);
    let phases: Vec<_> =
        firsts.map(|first| (first, [0, 1, 2].map(|i| Axis::transposed(&c.windows[i], first[i])))).collect();
    // Each position of the kernel belongs to one phase, whose weights lie together.
    let (mut slots, mut next) = (vec![0; area], 0);
    for (_, [deep, high, wide]) in &phases {
        let [_, lines, columns] = c.kernels();
        for d in &deep.taps {
            for h in &high.taps {
                for w in &wide.taps {
                    slots[(d * lines + h) * columns + w] = next;
                    next += 1;
                }
            }
        }
    }
    let weights = s.packed(&slots, par, |to, width, group, channels: Range<usize>, filters: Range<usize>| {
        for (to, f) in to.chunks_exact_mut(area * width).zip(filters) {
            let w = &w[((group * c.filters + f) * c.channels + channels.start) * area..];
            transpose(to, width, w, area, channels.len(), area);
        }
    });
    let [_, lines, columns] = c.sizes();
    let (steps, x, mut slot) = ([lines * columns, columns, 1], SharedMut::new(x), 0);
    for (first, axes) in &phases {
        let start = first.iter().zip(steps).map(|(at, step)| at * step).sum();
        let steps = [0, 1, 2].map(|i| c.windows[i].stride.saturating_mul(steps[i]));
        s.run(&x, g, (&weights, slot), bias, axes, &Place { elements: c.pixels(), first: start, steps }, par);
        slot += axes.iter().map(|axis| axis.taps.len()).product::<usize>();
    }
}

/// The sizes of a convolution, or of its transposed one.
struct Sizes<'a> {
    /// Channels of a group that are summed over, and those of the results.
    channels: usize,
    columns: usize,
    /// Elements of a plane of what is summed over.
    pixels: usize,
    c: &'a Conv,
}

impl Sizes<'_> {
    /// Columns of a panel, and how many panels a group has.
    fn panels<T: Tiled>(&self) -> (usize, usize) {
        let wide = T::tiles().panel(self.columns);
        (wide, self.columns.div_ceil(wide))
    }

    /// The columns of a panel, and how many lanes they take.
    fn panel<T: Tiled>(&self, number: usize) -> (Range<usize>, usize) {
        let (wide, _) = self.panels::<T>();
        let columns = number * wide..self.columns.min((number + 1) * wide);
        let width = columns.len().next_multiple_of(T::tiles().lanes);
        (columns, width)
    }

    /// The weights of each panel of each group, a row for each position of the kernel and channel: `slots` says which place
    /// a position has. `turn` writes rows of a group and columns, all positions of each of some channels.
    fn packed<T: Sums>(
        &self,
        slots: &[usize],
        par: &Par,
        turn: impl Fn(&mut [T], usize, usize, Range<usize>, Range<usize>) + Sync,
    ) -> Scratch<T> {
        let ((wide, panels), area) = (self.panels::<T>(), slots.len());
        let (at_a_time, each) = ((TURNED / area).max(1), self.channels * area * wide);
        let mut packed = Scratch::new(self.c.groups * panels * each);
        par.chunks_mut(&mut packed, each, |i, to| {
            let (columns, width) = self.panel::<T>(i % panels);
            let mut turned = Scratch::new(at_a_time * area * width);
            turned.fill(T::default());
            for first in (0..self.channels).step_by(at_a_time) {
                let channels = first..self.channels.min(first + at_a_time);
                turn(&mut turned, width, i / panels, columns.clone(), channels.clone());
                for (tap, slot) in slots.iter().enumerate() {
                    let to = to[(slot * self.channels + first) * width..].chunks_exact_mut(width);
                    let rows = turned.chunks_exact(width).skip(tap).step_by(area);
                    to.zip(rows).take(channels.len()).for_each(|(to, row)| copy_run(to, row));
                }
            }
        });
        packed
    }

    /// Sums for all images and groups, at the places given; the others stay. Windows see weights from a slot on.
    #[allow(clippy::too_many_arguments)] // operands, what is made of them, and where it goes
    fn run<T: Sums>(
        &self,
        out: &SharedMut<'_, T>,
        x: &[T],
        (weights, slot): (&[T], usize),
        bias: Option<&[T]>,
        axes: &[Axis; 3],
        to: &Place,
        par: &Par,
    ) {
        let [deep, high, across] = axes.each_ref().map(|axis| axis.outputs);
        if deep * high * across == 0 {
            return;
        }
        let (cut, (wide, panels), parts) =
            (Cut::new(axes, self.channels), self.panels::<T>(), self.c.images * self.c.groups);
        let (down, along) = (high.div_ceil(cut.rows), across.div_ceil(cut.columns));
        let (mut each, bands) = (panels, parts * deep * down * along);
        while each > 1 && bands * panels.div_ceil(each) < TASKS * par.threads() {
            each = each.div_ceil(2);
        }
        let shares = panels.div_ceil(each);
        let (laid_out, of_band) = (axes[0].taps.len() * cut.slice, cut.rows * cut.columns * wide);
        let own = laid_out + 2 * of_band;
        let mut scratch = Scratch::<T>::new(par.threads().min(bands * shares) * own);
        par.for_each_in(bands * shares, &mut scratch, own, |own, task| {
            let (share, number) = (task % shares, task / shares);
            let (part, z) = (number / (along * down * deep), number / (along * down) % deep);
            let (top, left) = (number / along % down * cut.rows, number % along * cut.columns);
            let (rows, columns) = (cut.rows.min(high - top), cut.columns.min(across - left));
            let (band, group) = (Band { z, top, left, rows, columns }, part % self.c.groups);
            let (cells, more) = own.split_at_mut(laid_out);
            let (sums, turned) = more.split_at_mut(of_band);
            self.lay_out(cells, &x[part * self.channels * self.pixels..], axes, &cut, &band);
            // Where each output's window begins.
            let starts: Vec<usize> =
                (0..rows * columns).map(|o| o / columns * axes[1].pitch() * cut.row + o % columns * cut.step).collect();
            let runs = runs(&starts, T::tiles().rows, wide);
            for panel in share * each..panels.min((share + 1) * each) {
                let (of_panel, width) = self.panel::<T>(panel);
                let all = self.c.area() * self.channels;
                let weights = &weights[(group * panels + panel) * all * wide + slot * self.channels * width..];
                sum(sums, wide, cells, weights, width, &starts, &runs, axes, &cut);
                let count = starts.len();
                transpose(turned, count, sums, wide, count, of_panel.len());
                for (turned, column) in turned.chunks_exact_mut(count).zip(of_panel) {
                    let column = group * self.columns + column;
                    if let Some(bias) = bias {
                        turned.iter_mut().for_each(|sum| *sum += bias[column]);
                    }
                    let plane = (part / self.c.groups * self.c.groups * self.columns + column) * to.elements;
                    let corner = plane + to.first + z * to.steps[0] + top * to.steps[1] + left * to.steps[2];
                    for (y, line) in turned.chunks_exact(columns).enumerate() {
                        let start = corner + y * to.steps[1];
                        // SAFETY: each task writes its own outputs of its own planes.
                        let out = unsafe { out.range(start..start + (columns - 1) * to.steps[2] + 1) };
                        match to.steps[2] {
                            1 => copy_run(out, line),
                            step => out.iter_mut().step_by(step).zip(line).for_each(|(o, &sum)| *o = sum),
                        }
                    }
                }
            }
        });
    }

    /// Lays out what a band of outputs sees of an image.
    fn lay_out<T: Sums>(&self, cells: &mut [T], x: &[T], axes: &[Axis; 3], cut: &Cut, band: &Band) {
        if cut.seen == 0 {
            return;
        }
        for (k, cells) in cells.chunks_exact_mut(cut.slice).enumerate() {
            let z = axes[0].position(band.z * axes[0].pitch() + k);
            for (k, cells) in cells.chunks_exact_mut(cut.row).take(axes[1].cells(band.rows)).enumerate() {
                let y = axes[1].position(band.top * axes[1].pitch() + k);
                let start = z.zip(y).map(|(z, y)| (z * axes[1].size + y) * axes[2].size);
                let cells = &mut cells[..axes[2].cells(band.columns) * self.channels];
                self.lay_out_row(cells, x, start, &axes[2], band.left * axes[2].pitch());
            }
        }
    }

    /// Lays a row of pixels out from cell `from` on, the channels of each side by side; zeros where it is none of the image.
    fn lay_out_row<T: Sums>(&self, cells: &mut [T], x: &[T], row: Option<usize>, axis: &Axis, from: usize) {
        let channels = self.channels;
        let Some(row) = row else { return cells.fill(T::default()) };
        if axis.pitch() < axis.step {
            for (cell, to) in cells.chunks_exact_mut(channels).enumerate() {
                match axis.position(from + cell) {
                    Some(at) => to.iter_mut().zip(x[row + at..].iter().step_by(self.pixels)).for_each(|(t, &v)| *t = v),
                    None => to.fill(T::default()),
                }
            }
            return;
        }
        let (count, first) = (cells.len() / channels, axis.first + from as isize);
        let before = usize::try_from(-first).unwrap_or(0).min(count);
        let first = usize::try_from(first).unwrap_or(0);
        let inside = axis.size.saturating_sub(first).min(count - before);
        let (padding, cells) = cells.split_at_mut(before * channels);
        let (cells, more) = cells.split_at_mut(inside * channels);
        padding.fill(T::default());
        more.fill(T::default());
        if inside > 0 {
            transpose(cells, channels, &x[row + first..], self.pixels, channels, inside);
        }
    }
}

/// How outputs are cut into bands, and how what a band sees is laid out.
struct Cut {
    /// Most rows and columns of a band: what they see stays in the second cache.
    rows: usize,
    columns: usize,
    /// Elements that a row of the kernel sees, and the whole of it.
    depth: usize,
    seen: usize,
    /// Elements from one window of a row to the next, of a row of cells, and of a slice.
    step: usize,
    row: usize,
    slice: usize,
}

impl Cut {
    fn new(axes: &[Axis; 3], channels: usize) -> Cut {
        let [_, high, across] = axes.each_ref().map(|axis| axis.outputs);
        let [slices, lines, taps] = axes.each_ref().map(|axis| axis.taps.len());
        let (depth, seen) = (taps * channels, slices * lines * taps * channels);
        let evenly = |outputs: usize, most: usize| outputs.div_ceil(outputs.div_ceil(most.clamp(1, outputs)));
        if seen == 0 {
            let columns = evenly(across, CELLS / channels);
            let rows = evenly(high, CELLS / (columns * channels).max(1));
            return Cut { rows, columns, depth, seen, step: 0, row: 0, slice: 0 };
        }
        let step = axes[2].pitch() * channels;
        let columns = evenly(across, (CELLS / (slices * lines * step)).max(LEAST));
        let row = axes[2].cells(columns) * channels;
        let rows = evenly(high, CELLS / (slices * axes[1].pitch() * row));
        Cut { rows, columns, depth, seen, step, row, slice: axes[1].cells(rows) * row }
    }
}

/// Some rows and columns of a slice of outputs.
struct Band {
    z: usize,
    top: usize,
    left: usize,
    rows: usize,
    columns: usize,
}

/// Strips of outputs that differ in where they lie alone: the first output and the height of the first one, and how far
/// each is from it.
type Run = (usize, usize, SmallVec<[Shift; 4]>);

/// The sums of a band for a panel of weights, a row for each output, `wide` apart.
#[allow(clippy::too_many_arguments)] // operands, what is made of them, and how they lie
fn sum<T: Sums>(
    sums: &mut [T],
    wide: usize,
    cells: &[T],
    weights: &[T],
    width: usize,
    starts: &[usize],
    runs: &[Run],
    axes: &[Axis; 3],
    cut: &Cut,
) {
    let (tiles, &Cut { depth, seen, row, slice, .. }) = (T::tiles(), cut);
    if seen == 0 {
        return sums.fill(T::default());
    }
    let ([slices, lines, _], last) = (axes.each_ref().map(|axis| axis.taps.len()), starts.len() - 1);
    let weights = &weights[..seen * width];
    // So many rows of the kernel at a time that their weights stay near.
    let most = (WEIGHTS / (depth * width)).clamp(1, lines);
    for (k, h) in (0..slices).flat_map(|k| (0..lines).step_by(most).map(move |h| (k, h))) {
        let segments = most.min(lines - h);
        let inner = Inner { depth, segments, steps: [row, depth * width], parts: 1 };
        let plus = if (k, h) == (0, 0) { Plus::Nothing } else { Plus::Target };
        let (from, right) = (k * slice + h * row, &weights[(k * lines + h) * depth * width..]);
        assert!(from + starts[last] + (segments - 1) * row + depth <= cells.len());
        assert!(segments * depth * width <= right.len() && last * wide + width <= sums.len());
        for (first, height, shifts) in runs {
            let cell = cells[from..].as_ptr();
            let left = Left::new(*height, |j| cell.wrapping_add(starts[first + j]));
            // SAFETY: windows begin one after the other, and from the last one on there are as many cells as was just
            // found, as are weights, in whole registers, and sums.
            unsafe {
                let start = sums.as_mut_ptr().add(first * wide);
                let (registers, widths) = (tiles.in_line(), tiles.widths(width));
                let to = Target { start, stride: wide, registers, widths, plus };
                let right = Right::Strided(right.as_ptr(), width);
                (tiles.run)(*height, width / tiles.lanes, &inner, &left, &right, &to, shifts);
            }
        }
    }
}

/// Strips of at most so many outputs, whose windows start there, and whose sums are `wide` apart.
fn runs(starts: &[usize], most: usize, wide: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (output, height) in strips(starts.len(), most) {
        let shape = |first: usize| (1..height).map(move |j| starts[first + j] - starts[first]);
        match runs.last_mut() {
            Some((first, same, shifts)) if *same == height && shape(*first).eq(shape(output)) => {
                let left = (starts[output] - starts[*first]) as isize;
                shifts.push(Shift { left, right: 0, to: (output - *first) * wide });
            }
            _ => runs.push((output, height, smallvec::smallvec![Shift::NONE])),
        }
    }
    runs
}
