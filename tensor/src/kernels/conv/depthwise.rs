//! Convolutions whose groups have one channel and one filter: too little for tiles, so a whole plane at a time.

use super::lattice::Lattice;
use super::sweep::{Kernel, Place};
use super::{Conv, Parts, Sums};
use crate::kernels::gemm::tile::{MOST_COLUMNS, MOST_REGISTERS};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{Vector, VectorLoop, sum_of_lanes};
use crate::kernels::window::Window;
use crate::par::{GRAIN, Par, SharedMut};

/// Registers of outputs that are summed at a time, such that they do not wait for each other.
const AT_A_TIME: usize = 4;

/// Most registers of a row of which as many rows go together as are summed at a time.
const NARROW: usize = 16;

/// Most kernel positions of a column that go together.
const HIGH: usize = 3;

/// Kernel positions below each other, such that each meets in a row of outputs what the one above meets in the next row.
struct Column {
    /// Where the first one meets output 0.
    place: usize,
    /// Their numbers.
    taps: [usize; HIGH],
    count: usize,
}

/// The columns that kernel positions with these places make up, where rows of outputs are `row` apart.
fn columns(places: &[usize], row: usize) -> Vec<Column> {
    let mut left: Vec<(usize, usize)> = places.iter().copied().enumerate().map(|(tap, place)| (place, tap)).collect();
    left.sort_unstable();
    let mut columns = Vec::new();
    while let Some(&(place, _)) = left.first() {
        let mut column = Column { place, taps: [0; HIGH], count: 0 };
        while column.count < HIGH
            && let Some(i) = left.iter().position(|&(at, _)| at == place + column.count * row)
        {
            column.taps[column.count] = left.remove(i).1;
            column.count += 1;
        }
        columns.push(column);
    }
    columns
}

/// The outputs of one plane, whose rows are dense. Neighbours see cells that are `SKIP` apart: 1, or 2.
struct Plane<'a, T, const SKIP: usize> {
    out: &'a mut [T],
    cells: &'a [T],
    lattice: &'a Lattice,
    weights: &'a [T],
    columns: &'a [Column],
    bias: T,
    to: &'a Place,
}

impl<T: Copy, const SKIP: usize> VectorLoop<T> for Plane<'_, T, SKIP> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Plane { out, cells, lattice, weights, columns: of_kernel, bias, to } = self;
        let ([deep, high, seen], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        let wide = seen.div_ceil(SKIP);
        // The plane goes by blocks: of all columns of some rows, or, where rows are long, of some registers of one.
        // Registers and blocks that would reach beyond the plane reach back over the ones before.
        let (width, narrow) = (wide.min(V::LANES), wide <= NARROW * V::LANES);
        let columns = if narrow { wide } else { AT_A_TIME * V::LANES };
        let rows = if narrow { high.min(AT_A_TIME) } else { 1 };
        // Where each register of a block reads and where it goes. Those missing at the end do the first one's work again.
        let (mut block, mut taken) = ([[0; 2]; AT_A_TIME * NARROW], 0);
        for x in (0..columns).step_by(V::LANES) {
            for y in 0..rows {
                let x = x.min(columns - width);
                block[taken] = [y * row + x * SKIP, y * to.steps[1] + x];
                taken += 1;
            }
        }
        let groups = &block.as_chunks::<AT_A_TIME>().0[..taken.div_ceil(AT_A_TIME)];
        // Registers of a group are below each other: what one reads for a kernel position, the one above reads for the
        // next one of the column, so that it is read once for both.
        let below = rows == AT_A_TIME;
        for z in 0..deep {
            for y in (0..high).step_by(rows.max(1)).map(|y| y.min(high - rows)) {
                for x in (0..wide).step_by(columns.max(1)).map(|x| x.min(wide - columns)) {
                    let cell = z * slice + y * row + x * SKIP;
                    let out = &mut out[to.first + z * to.steps[0] + y * to.steps[1] + x..];
                    for at in groups {
                        // SAFETY: the caller promises the cells that kernel positions meet, registers being read whole,
                        // of which there is at most one more than a row has; of `out` no more is written than there is.
                        unsafe {
                            let mut sums = [V::splat(bias); AT_A_TIME];
                            // Not closures: they would become functions without the instruction set.
                            macro_rules! met {
                                ($cells:expr) => {{
                                    let cells = $cells;
                                    match SKIP {
                                        1 => V::load(cells),
                                        _ => V::load(cells).deinterleave(V::load(cells.add(V::LANES)))[0],
                                    }
                                }};
                            }
                            macro_rules! column {
                                ($column:ident, $high:literal) => {{
                                    let cells = cells.as_ptr().add(cell + $column.place);
                                    let mut w = [V::splat(bias); $high];
                                    for (w, &tap) in w.iter_mut().zip(&$column.taps) {
                                        *w = V::splat(weights[tap]);
                                    }
                                    if below {
                                        for line in 0..AT_A_TIME + $high - 1 {
                                            let met = met!(cells.add(at[0][0] + line * row));
                                            for (k, w) in w.into_iter().enumerate() {
                                                if k <= line && line - k < AT_A_TIME {
                                                    sums[line - k] = w.mul_add(met, sums[line - k]);
                                                }
                                            }
                                        }
                                    } else {
                                        for (k, w) in w.into_iter().enumerate() {
                                            for (sum, [at, _]) in sums.iter_mut().zip(at) {
                                                *sum = w.mul_add(met!(cells.add(at + k * row)), *sum);
                                            }
                                        }
                                    }
                                }};
                            }
                            for column in of_kernel {
                                match column.count {
                                    1 => column!(column, 1),
                                    2 => column!(column, 2),
                                    _ => column!(column, 3),
                                }
                            }
                            for (sum, [_, at]) in sums.into_iter().zip(at) {
                                let out = &mut out[*at..][..width];
                                match width == V::LANES {
                                    true => sum.store(out.as_mut_ptr()),
                                    false => sum.store_first(out.as_mut_ptr(), width),
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// [`conv`](super::conv) for groups of one channel and one filter.
pub fn conv<T: Sums>(out: &mut [T], x: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let [_, high, wide] = c.outputs();
    let to = Place { elements: c.positions(), first: 0, steps: [high * wide, wide, 1] };
    let p = Parts { count: c.images * c.groups, groups: c.groups, channels: 1, pixels: c.pixels() };
    let mut windows = c.windows;
    let skips = windows[2].stride == 2;
    if skips {
        // Rows are laid out as they are: to take every other cell in a register is less than to sort them.
        windows[2] = Window { stride: 1, output: 2 * wide - 1, ..windows[2] };
    }
    let lattice = Lattice::new(&Conv { windows, ..c.clone() });
    let k = Kernel { weights: w, places: &lattice.places(1), filters: 1, bias };
    let sweep = if skips { sweep::<T, 2> } else { sweep::<T, 1> };
    sweep(&SharedMut::new(out), x, &lattice, &p, &k, &to, par);
}

/// [`sweep`](super::sweep::sweep) for groups of one channel and one filter, to the outputs of every `SKIP`th column of the
/// lattice.
pub fn sweep<T: Sums, const SKIP: usize>(
    out: &SharedMut<'_, T>,
    x: &[T],
    lattice: &Lattice,
    p: &Parts,
    k: &Kernel<'_, T>,
    to: &Place,
    par: &Par,
) {
    let taps = k.places.len();
    let [deep, high, seen] = lattice.outputs();
    let wide = seen.div_ceil(SKIP);
    // Outputs that are no neighbours are put where they belong afterwards.
    let apart = to.steps[2] != 1;
    let near = Place { elements: deep * high * wide, first: 0, steps: [high * wide, wide, 1] };
    let more = if apart { near.elements } else { 0 };
    let columns = columns(k.places, lattice.steps()[1]);
    for_planes(x, lattice, p, (p.count, more), par, |part, cells, sums| {
        let group = part % p.groups;
        // SAFETY: each part's plane is written once.
        let plane = unsafe { out.range(part * to.elements..(part + 1) * to.elements) };
        let weights = &k.weights[group * taps..][..taps];
        let bias = k.bias.map_or(T::default(), |bias| bias[group]);
        let (out, place) = if apart { (&mut *sums, &near) } else { (&mut *plane, to) };
        // SAFETY: what the kernel positions meet lies in the part's cells, registers that are read whole in the slack.
        unsafe { T::run(Plane::<T, SKIP> { out, cells, lattice, weights, columns: &columns, bias, to: place }) };
        if apart {
            for (line, sums) in sums.chunks(wide).enumerate() {
                let start = to.first + line / high * to.steps[0] + line % high * to.steps[1];
                plane[start..].iter_mut().step_by(to.steps[2]).zip(sums).for_each(|(to, &sum)| *to = sum);
            }
        }
    });
}

/// Calls `f` with the number of each part, its cells, which are still in the first cache, and memory for `more` elements.
/// Parts whose numbers are equal modulo `apart` come from one thread, in order.
fn for_planes<T: Sums>(
    x: &[T],
    lattice: &Lattice,
    p: &Parts,
    (apart, more): (usize, usize),
    par: &Par,
    f: impl Fn(usize, &[T], &mut [T]) + Sync,
) {
    let (plane, rounds) = (lattice.plane(), p.count.div_ceil(apart.max(1)));
    let with_slack = plane + MOST_COLUMNS * MOST_REGISTERS;
    let own = with_slack + more;
    let together = (GRAIN / (own * rounds.max(1))).max(1);
    let tasks = apart.div_ceil(together);
    let mut scratch = Scratch::<T>::new(par.threads().min(tasks) * own);
    par.for_each_in(tasks, &mut scratch, own, |own, task| {
        for first in task * together..apart.min((task + 1) * together) {
            for part in (first..p.count).step_by(apart) {
                let (cells, more) = own.split_at_mut(with_slack);
                // The padding stays from plane to plane of a task.
                let padding = part == task * together;
                lattice.fill(&mut cells[..plane], &x[part * p.pixels..][..p.pixels], padding);
                f(part, cells, more);
            }
        }
    });
}

/// Kernel positions whose products are summed at a time.
const TAPS: usize = 8;

/// The inner products of the gradient of a plane with what some kernel positions meet.
struct Products<'a, T> {
    g: &'a [T],
    cells: &'a [T],
    lattice: &'a Lattice,
    places: &'a [usize],
}

impl<T: Copy + Default + std::ops::AddAssign> VectorLoop<T> for Products<'_, T> {
    type Output = [T; TAPS];
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) -> [T; TAPS] {
        let Products { g, cells, lattice, places } = self;
        let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        // Positions that are not there do as the first, and are not looked at.
        let mut all = [places[0]; TAPS];
        all[..places.len()].copy_from_slice(places);
        // SAFETY: the caller promises the cells that kernel positions meet; beyond a row nothing is read.
        unsafe {
            let mut sums = [V::splat(T::default()); TAPS];
            for z in 0..deep {
                for y in 0..high {
                    let cells = &cells[z * slice + y * row..];
                    let g = &g[(z * high + y) * wide..][..wide];
                    let mut x = 0;
                    while x + V::LANES <= wide {
                        let g = V::load(g.as_ptr().add(x));
                        for (sum, &place) in sums.iter_mut().zip(&all) {
                            *sum = g.mul_add(V::load(cells.as_ptr().add(place + x)), *sum);
                        }
                        x += V::LANES;
                    }
                    if x < wide {
                        let g = V::load_first(g.as_ptr().add(x), wide - x);
                        for (sum, &place) in sums.iter_mut().zip(&all) {
                            *sum = g.mul_add(V::load_first(cells.as_ptr().add(place + x), wide - x), *sum);
                        }
                    }
                }
            }
            sums.map(|sum| sum_of_lanes(sum))
        }
    }
}

/// [`weight_grad`](super::weight_grad) for groups of one channel and one filter.
pub fn weight_grad<T: Sums>(w: &mut [T], x: &[T], g: &[T], c: &Conv, par: &Par) {
    let (lattice, positions, taps) = (Lattice::new(c), c.positions(), c.taps());
    let places = lattice.places(1);
    let p = Parts { count: c.images * c.groups, groups: c.groups, channels: 1, pixels: c.pixels() };
    let weights = SharedMut::new(w);
    for_planes(x, &lattice, &p, (c.groups, 0), par, |part, cells, _| {
        // SAFETY: the parts of a group are summed one after the other.
        let w = unsafe { weights.range(part % c.groups * taps..(part % c.groups + 1) * taps) };
        let g = &g[part * positions..][..positions];
        for (places, w) in places.chunks(TAPS).zip(w.chunks_mut(TAPS)) {
            // SAFETY: what the kernel positions meet lies in the part's cells.
            let sums = unsafe { T::run_narrow(Products { g, cells, lattice: &lattice, places }) };
            w.iter_mut().zip(sums).for_each(|(w, sum)| *w += sum);
        }
    });
}
