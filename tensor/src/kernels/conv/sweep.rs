//! Sums over a kernel's positions for every output, read straight from the [`Lattice`]: a tile is some output channels by
//! some registers of neighbouring outputs.

use std::ops::Range;

use smallvec::SmallVec;

use super::lattice::Lattice;
use super::{Parts, Sums};
use crate::kernels::gemm::blocked::strips;
use crate::kernels::gemm::tile::{
    Inner, Left, MOST_COLUMNS, MOST_REGISTERS, MOST_ROWS, Places, Plus, Right, Shift, Target, Tiles,
};
use crate::kernels::pane::copy_run;
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{Vector, VectorLoop};
use crate::par::{Par, SharedMut};

/// Elements of images that are laid out at a time.
const LAID_OUT: usize = 1 << 22;

/// Tiles along the outputs, and strips of output channels, in a task; and the number of tasks for each thread below
/// which there are fewer.
const PANELS: usize = 16;
const STRIPS: usize = 8;
const TASKS: usize = 4;

/// Elements of a panel that stay in the first cache while all strips go by; and least strips of a task for which the
/// panel of a kernel with more positions is copied, so that it lies in one piece.
const NEAR: usize = 4 << 10;
const FEW_STRIPS: usize = 5;

/// Positions of the kernel that take as long as the copy of a tile's outputs.
const COPY: usize = 16;

/// Where the outputs of a sweep go: of a plane of `elements`, every `steps` from `first` on.
pub struct Place {
    pub elements: usize,
    pub first: usize,
    pub steps: [usize; 3],
}

/// What is summed: for each output channel of each group a line of `depth` weights, one for each of `places`.
pub struct Kernel<'a, T> {
    pub weights: &'a [T],
    /// In the order of [`by_row`](super::lattice::by_row).
    pub places: &'a [usize],
    /// Output channels of a group.
    pub filters: usize,
    pub bias: Option<&'a [T]>,
}

/// How tiles lie in a slice of outputs.
#[derive(Clone, Copy, PartialEq)]
enum Tiling {
    /// Registers along rows of outputs, from row to row.
    Rows,
    /// Along the cells; what lies between rows is not kept.
    Flow,
    /// From output to output, whatever row they are in: what they see is copied.
    Copied,
}

/// A tile's outputs.
struct Panel {
    /// The cell that the first output's kernel is counted from, and its place in the output plane.
    cell: usize,
    out: usize,
    /// Outputs of a flow, with the cells between rows; outputs that are copied for, and the first one's number.
    columns: usize,
    first: usize,
    /// Registers there are, where each begins in cells and in the output, and the lanes of each.
    registers: usize,
    cells: Places,
    outs: Places,
    widths: [usize; MOST_REGISTERS],
    /// The rows of outputs.
    rows: Range<usize>,
}

impl Panel {
    /// Whether it differs from another one in where it lies alone.
    fn is_like(&self, other: &Panel) -> bool {
        let shape = |p: &Panel| (p.registers, p.cells, p.outs, p.widths, p.first);
        shape(self) == shape(other)
    }
}

/// The panels of a plane.
struct Panels<'a> {
    tiling: Tiling,
    outputs: [usize; 3],
    steps: [usize; 3],
    to: &'a Place,
    lanes: usize,
    registers: usize,
}

impl Panels<'_> {
    /// The way that wastes the fewest lanes, without a copy or with one.
    fn new<'a, T>(lattice: &Lattice, to: &'a Place, depth: usize, copied: bool, tiles: &Tiles<T>) -> Panels<'a> {
        let (outputs, steps) = (lattice.outputs(), lattice.steps());
        let lanes = tiles.lanes;
        let [_, high, row] = outputs;
        let in_rows = row as f64 / row.next_multiple_of(lanes) as f64;
        let flowing = (high * row) as f64 / ((high - 1) * steps[1] + row).next_multiple_of(lanes) as f64;
        // To copy a tile from the flow's buffer takes as long as some positions of the kernel; outputs that are not
        // neighbours go by way of it in any case.
        let flowing = flowing * depth as f64 / (depth + COPY) as f64;
        let tiling = match to.steps[2] {
            _ if copied => Tiling::Copied,
            1 if in_rows >= flowing => Tiling::Rows,
            _ => Tiling::Flow,
        };
        Panels { tiling, outputs, steps, to, lanes, registers: tiles.registers }
    }

    /// Registers of a row, and of a slice of outputs.
    fn in_slice(&self) -> [usize; 2] {
        let [_, high, row] = self.outputs;
        match self.tiling {
            Tiling::Rows => [row.div_ceil(self.lanes), high * row.div_ceil(self.lanes)],
            Tiling::Flow => [0, ((high - 1) * self.steps[1] + row).div_ceil(self.lanes)],
            Tiling::Copied => [0, (high * row).div_ceil(self.lanes)],
        }
    }

    fn len(&self) -> usize {
        self.outputs[0] * self.in_slice()[1].div_ceil(self.registers)
    }

    fn get(&self, i: usize) -> Panel {
        let ([_, high, row], [across, count]) = (self.outputs, self.in_slice());
        let each = count.div_ceil(self.registers);
        let (z, first) = (i / each, i % each * self.registers);
        let registers = self.registers.min(count - first);
        let (cells, outs) = (self.steps, self.to.steps);
        let (cell, out) = (z * cells[0], self.to.first + z * outs[0]);
        let in_line = std::array::from_fn(|j| j * self.lanes);
        if self.tiling == Tiling::Flow {
            let from = first * self.lanes;
            let columns = (registers * self.lanes).min((high - 1) * cells[1] + row - from);
            let widths = [self.lanes; MOST_REGISTERS];
            let rows = from / cells[1]..((from + columns).div_ceil(cells[1])).min(high);
            let (cells, outs) = (in_line, in_line);
            return Panel { cell: cell + from, out, columns, first: 0, registers, cells, outs, widths, rows };
        }
        if self.tiling == Tiling::Copied {
            let first = first * self.lanes;
            let columns = (registers * self.lanes).min(high * row - first);
            let widths = in_line.map(|at| columns.saturating_sub(at).min(self.lanes));
            let (rows, cells, outs) = (first / row..(first + columns).div_ceil(row), in_line, in_line);
            return Panel { cell, out, columns, first, registers, cells, outs, widths, rows };
        }
        let place = |j: usize| ((first + j) / across, (first + j) % across * self.lanes);
        let (top, left) = place(0);
        let mut panel = Panel {
            cell: cell + top * cells[1] + left,
            out: out + top * outs[1] + left,
            columns: 0,
            first: 0,
            registers,
            cells: in_line,
            outs: in_line,
            widths: [0; MOST_REGISTERS],
            rows: top..place(registers - 1).0 + 1,
        };
        for j in 0..registers {
            let (y, x) = place(j);
            // A register further on may begin further left, in a later row.
            panel.cells[j] = (y - top) * cells[1] + x - left;
            panel.outs[j] = (y - top) * outs[1] + x - left;
            panel.widths[j] = self.lanes.min(row - x);
        }
        panel
    }

    /// The outputs of each row of a panel that is copied for: their number within the panel, the row, the number in it,
    /// and how many there are.
    fn parts(&self, panel: &Panel) -> impl Iterator<Item = [usize; 4]> {
        let (row, first, end) = (self.outputs[2], panel.first, panel.first + panel.columns);
        panel.rows.clone().map(move |y| {
            let (from, until) = (first.max(y * row), end.min((y + 1) * row));
            [from - first, y, from - y * row, until - from]
        })
    }

    /// Whether outputs of a slice are neighbours, in order.
    fn are_dense(&self) -> bool {
        self.to.steps[1..] == [self.outputs[2], 1]
    }

    /// Calls `f` with the outputs of a panel that is no such part of the target: their number within the panel, their
    /// place, and how many neighbours there are.
    #[inline]
    fn for_runs(&self, panel: &Panel, mut f: impl FnMut(usize, usize, usize)) {
        let (cells, row) = (self.steps[1], self.outputs[2]);
        if self.tiling == Tiling::Copied {
            let place = |y: usize, x: usize| panel.out + y * self.to.steps[1] + x * self.to.steps[2];
            return self.parts(panel).for_each(|[at, y, x, count]| f(at, place(y, x), count));
        }
        let slice = panel.cell % self.steps[0];
        let (mut at, end) = (slice, slice + panel.columns);
        while at < end {
            let (y, x) = (at / cells, at % cells);
            if x < row {
                let count = (row - x).min(end - at);
                f(at - slice, panel.out + y * self.to.steps[1] + x * self.to.steps[2], count);
            }
            at += cells - x;
        }
    }
}

/// Lays the images `parts` out.
fn lay_out<'a, T: Sums>(
    memory: &'a mut [T],
    x: &[T],
    lattice: &Lattice,
    planes: Range<usize>,
    pixels: usize,
    par: &Par,
) -> &'a [T] {
    let (used, slack) = memory.split_at_mut(planes.len() * lattice.plane());
    // Registers are read whole.
    slack.fill(T::default());
    par.chunks_mut(used, lattice.plane(), |i, cells| {
        lattice.fill(cells, &x[(planes.start + i) * pixels..][..pixels], true);
    });
    memory
}

/// Calls `f` with some of the parts at a time, and their images laid out.
pub fn for_parts<T: Sums>(x: &[T], lattice: &Lattice, p: &Parts, par: &Par, mut f: impl FnMut(Range<usize>, &[T])) {
    let each = p.channels * lattice.plane();
    let most = (LAID_OUT / each.max(1)).clamp(1, p.count.max(1));
    let mut memory = Scratch::<T>::new(most * each + MOST_COLUMNS * MOST_REGISTERS);
    for first in (0..p.count).step_by(most) {
        let parts = first..p.count.min(first + most);
        let planes = parts.start * p.channels..parts.end * p.channels;
        f(parts, lay_out(&mut memory, x, lattice, planes, p.pixels, par));
    }
}

/// Copies what a panel's outputs see, one row for each position of the kernel.
struct Copy<'a, T> {
    /// The rows, and room for a register that reaches beyond the last.
    to: &'a mut [T],
    cells: &'a [T],
    places: &'a [usize],
    panels: &'a Panels<'a>,
    panel: &'a Panel,
}

impl<T: Sums> VectorLoop<T> for Copy<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Copy { to, cells, places, panels, panel } = self;
        let width = panel.registers * V::LANES;
        // Registers of cells, and where they go; what one reaches beyond its part is written over by the next.
        let pieces = panels.parts(panel).flat_map(|[at, y, x, count]| {
            (0..count).step_by(V::LANES).map(move |j| (y * panels.steps[1] + x + j, at + j))
        });
        let pieces: SmallVec<[(usize, usize); 8]> = pieces.collect();
        let (place, cell) = (places.iter().max().unwrap_or(&0), pieces.iter().map(|piece| piece.0).max().unwrap_or(0));
        assert!(place + cell + V::LANES <= cells.len() && places.len() * width + V::LANES <= to.len());
        assert!(pieces.iter().all(|piece| piece.1 < width));
        let mut row = to.as_mut_ptr();
        for place in places {
            for (cell, at) in &pieces {
                // SAFETY: the instruction set is there, and cells and rows are as many as was just found.
                unsafe { V::load(cells.as_ptr().add(place + cell)).store(row.add(*at)) };
            }
            row = row.wrapping_add(width);
        }
    }
}

/// `out = sums of x`, for all images and groups, at the places given; the others stay.
pub fn sweep<T: Sums>(
    out: &SharedMut<'_, T>,
    x: &[T],
    lattice: &Lattice,
    p: &Parts,
    k: &Kernel<'_, T>,
    to: &Place,
    par: &Par,
) {
    let (tiles, depth) = (T::tiles(), k.places.len());
    if lattice.outputs().contains(&0) || k.filters == 0 {
        return;
    }
    // What a tile reads of a deep kernel lies in many lines, which no cache near enough holds for the next strip.
    let line = tiles.registers * tiles.lanes;
    let copied = depth * line > 2 * NEAR && k.filters >= FEW_STRIPS * tiles.rows;
    let panels = Panels::new(lattice, to, depth, copied, tiles);
    let each = p.channels * lattice.plane();
    // Whether tiles write to the output themselves.
    let in_place = panels.tiling == Tiling::Rows || copied && panels.are_dense();
    let rows = lattice.axes[1].seen();
    let each_row = depth / rows.len().max(1);
    // The kernel's rows that see more than padding from some rows of outputs: they follow one another.
    let seen_by = |outputs: &Range<usize>| -> Range<usize> {
        let sees = |row: &Range<usize>| row.start < outputs.end && outputs.start < row.end;
        let first = rows.iter().position(sees).unwrap_or(0);
        first..rows.iter().rposition(sees).map_or(first, |last| last + 1)
    };
    for_parts(x, lattice, p, par, |parts, laid_out| {
        let (mut wide, mut high) = (PANELS, if copied { k.filters.div_ceil(tiles.rows) } else { STRIPS });
        let tasks = |wide: usize, high: usize| {
            parts.len() * panels.len().div_ceil(wide) * k.filters.div_ceil(high * tiles.rows)
        };
        while tasks(wide, high) < TASKS * par.threads() && wide + high > 2 {
            if wide > 1 { wide = wide.div_ceil(2) } else { high = high.div_ceil(2) }
        }
        let (across, down) = (panels.len().div_ceil(wide), k.filters.div_ceil(high * tiles.rows));
        let own = if copied { depth * line + tiles.lanes } else { 0 };
        let mut scratch = Scratch::<T>::new(par.threads().min(parts.len() * across * down) * own);
        par.for_each_in(parts.len() * across * down, &mut scratch, own, |own, task| {
            let (i, part) = (task / (across * down), parts.start + task / (across * down));
            let (column, row) = (task / down % across * wide, task % down * high * tiles.rows);
            let group = part % p.groups;
            let filters = (high * tiles.rows).min(k.filters - row);
            let of_task: SmallVec<[(Panel, Range<usize>); PANELS]> = (column..panels.len().min(column + wide))
                .map(|i| panels.get(i))
                .map(|panel| (seen_by(&panel.rows), panel))
                .map(|(rows, panel)| (panel, rows.start * each_row..rows.end * each_row))
                .collect();
            let mut sums = [[T::default(); MOST_COLUMNS]; MOST_ROWS];
            let mut tile = |(r, height): (usize, usize),
                            (panel, shifts): (&Panel, &[Shift]),
                            taps: Range<usize>,
                            right: Right<T>,
                            add: bool| {
                let line = group * k.filters + row + r;
                let plus = match k.bias {
                    _ if add => Plus::Target,
                    Some(bias) => Plus::Rows(bias[line..line + height].as_ptr()),
                    None => Plus::Nothing,
                };
                let plane = (part * k.filters + row + r) * to.elements;
                let weights = &k.weights[line * depth..(line + height) * depth];
                assert!(taps.end <= depth);
                let left = Left::new(height, |j| weights.as_ptr().wrapping_add(j * depth + taps.start));
                let run = |start, stride| {
                    let target = Target { start, stride, registers: panel.outs, widths: panel.widths, plus };
                    // SAFETY: each place is that of a kernel position of output 0, so that from the cell of a panel
                    // on it lies in the part, registers that are read whole in the next part or the slack; a copy
                    // has whole registers. There are `height` lines of so many weights. Shifts lead to like panels of
                    // this part; the target is checked below, where it is furthest.
                    unsafe {
                        (tiles.run)(height, panel.registers, &Inner::of(taps.len()), &left, &right, &target, shifts)
                    };
                };
                if in_place {
                    let ends = panel.outs.iter().zip(panel.widths).map(|(at, width)| at + width);
                    let (start, last) = (plane + panel.out + panel.first, ends.take(panel.registers).max());
                    let last = last.expect("a register") + shifts.iter().map(|shift| shift.to).max().unwrap_or(0);
                    assert!(start + (height - 1) * to.elements + last <= out.len);
                    // SAFETY: within the output, as just found; each task writes its own outputs.
                    return run(unsafe { out.start().add(start) }, to.elements);
                }
                run(sums.as_mut_ptr().cast(), MOST_COLUMNS);
                panels.for_runs(panel, |from, place, count| {
                    for (r, sums) in sums[..height].iter().enumerate() {
                        let start = plane + r * to.elements + place;
                        let step = to.steps[2];
                        // SAFETY: as above.
                        let out = unsafe { out.range(start..start + (count - 1) * step + 1) };
                        match step {
                            1 => copy_run(out, &sums[from..from + count]),
                            _ => out.iter_mut().step_by(step).zip(&sums[from..]).for_each(|(o, &v)| *o = v),
                        }
                    }
                });
            };
            if copied {
                for (panel, taps) in &of_task {
                    let (cells, width) = (&laid_out[i * each + panel.cell..], panel.registers * tiles.lanes);
                    // SAFETY: the copy checks what it reads and writes.
                    unsafe { T::run(Copy { to: own, cells, places: &k.places[taps.clone()], panels: &panels, panel }) };
                    // What goes by way of a buffer is not added to.
                    let most = if in_place { NEAR / width } else { depth };
                    for slab in 0..taps.len().div_ceil(most).max(1) {
                        let from = taps.start + slab * most;
                        let right = Right::Strided(own[slab * most * width..].as_ptr(), width);
                        for strip in strips(filters, tiles.rows) {
                            tile(strip, (panel, &[Shift::NONE]), from..taps.end.min(from + most), right, slab > 0);
                        }
                    }
                }
                return;
            }
            // Panels that differ in where they lie alone go by one call.
            let mut runs: SmallVec<[(usize, SmallVec<[Shift; PANELS]>); 4]> = SmallVec::new();
            let mut rest: SmallVec<[usize; PANELS]> = (0..of_task.len()).collect();
            while let Some(&first) = rest.first() {
                let (model, mut shifts) = (&of_task[first], SmallVec::new());
                rest.retain(|&mut i| {
                    let (panel, taps) = &of_task[i];
                    let alike = i == first || in_place && panel.is_like(&model.0) && *taps == model.1;
                    if alike {
                        let right = panel.cell as isize - model.0.cell as isize;
                        shifts.push(Shift { left: 0, right, to: panel.out - model.0.out });
                    }
                    !alike
                });
                runs.push((first, shifts));
            }
            // A strip of weights stays in the first cache, and its planes are written row after row.
            for strip in strips(filters, tiles.rows) {
                for (first, shifts) in &runs {
                    let (panel, taps) = &of_task[*first];
                    // Where no kernel position has to do with the outputs, there are no cells.
                    let cells = laid_out[if depth == 0 { 0 } else { i * each + panel.cell }..].as_ptr();
                    let right = Right::Scattered(cells, k.places[taps.clone()].as_ptr(), panel.cells);
                    tile(strip, (panel, shifts), taps.clone(), right, false);
                }
            }
        });
    });
}
