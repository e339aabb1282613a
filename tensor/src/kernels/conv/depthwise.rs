//! Convolutions whose groups have one channel and one filter: too little for tiles, so a whole plane at a time.

use super::lattice::Lattice;
use super::sweep::{Kernel, Place};
use super::{Conv, Parts, Sums};
use crate::kernels::gemm::tile::{MOST_COLUMNS, MOST_REGISTERS};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{Vector, VectorLoop, sum_of_lanes};
use crate::par::{GRAIN, Par, SharedMut};

/// Registers of outputs that are summed at a time, such that they do not wait for each other.
const AT_A_TIME: usize = 4;

/// The outputs of one plane.
struct Plane<'a, T> {
    out: &'a mut [T],
    cells: &'a [T],
    registers: &'a Registers,
    weights: &'a [T],
    places: &'a [usize],
    bias: T,
}

/// The registers of a plane's outputs, as they come, whatever row they are in.
struct Registers {
    /// Where each reads among the cells, and where it goes: a whole number of times [`AT_A_TIME`].
    at: Vec<[usize; 2]>,
    /// Outputs in each.
    width: usize,
}

impl Registers {
    /// Those of `lanes` lanes, for outputs whose rows are dense.
    fn new(lattice: &Lattice, to: &Place, lanes: usize) -> Registers {
        let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        let width = wide.min(lanes);
        let mut at = Vec::with_capacity((deep * high * wide.div_ceil(lanes)).next_multiple_of(AT_A_TIME));
        for (z, y) in (0..deep).flat_map(|z| (0..high).map(move |y| (z, y))) {
            let (cell, out) = (z * slice + y * row, to.first + z * to.steps[0] + y * to.steps[1]);
            // The last register of a row reaches back over the one before, unless it is the only one.
            at.extend((0..wide).step_by(lanes).map(|x| x.min(wide - width)).map(|x| [cell + x, out + x]));
        }
        // Those that are missing do the last one's work again.
        if let Some(&last) = at.last() {
            at.resize(at.len().next_multiple_of(AT_A_TIME), last);
        }
        Registers { at, width }
    }
}

impl<T: Copy> VectorLoop<T> for Plane<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Plane { out, cells, registers, weights, places, bias } = self;
        let width = registers.width;
        assert!(width <= V::LANES, "registers are those of the instruction set");
        for at in registers.at.as_chunks::<AT_A_TIME>().0 {
            // SAFETY: the caller promises what kernel positions meet, in whole registers of this instruction set; of
            // `out` no more is written than there is.
            unsafe {
                let mut sums = [V::splat(bias); AT_A_TIME];
                for (&w, &place) in weights.iter().zip(places) {
                    let (w, cells) = (V::splat(w), cells.as_ptr().add(place));
                    for (sum, [cell, _]) in sums.iter_mut().zip(at) {
                        *sum = w.mul_add(V::load(cells.add(*cell)), *sum);
                    }
                }
                for (sum, [_, to]) in sums.into_iter().zip(at) {
                    let out = &mut out[*to..][..width];
                    match width == V::LANES {
                        true => sum.store(out.as_mut_ptr()),
                        false => sum.store_first(out.as_mut_ptr(), width.min(V::LANES)),
                    }
                }
            }
        }
    }
}

/// [`sweep`](super::sweep::sweep) for groups of one channel and one filter.
pub fn sweep<T: Sums>(
    out: &SharedMut<'_, T>,
    x: &[T],
    lattice: &Lattice,
    p: &Parts,
    k: &Kernel<'_, T>,
    to: &Place,
    par: &Par,
) {
    let taps = k.places.len();
    let [deep, high, wide] = lattice.outputs();
    // Outputs that are no neighbours are put where they belong afterwards.
    let apart = to.steps[2] != 1;
    let near = Place { elements: deep * high * wide, first: 0, steps: [high * wide, wide, 1] };
    let more = if apart { near.elements } else { 0 };
    let registers = Registers::new(lattice, if apart { &near } else { to }, T::tiles().lanes);
    for_planes(x, lattice, p, (p.count, more), par, |part, cells, sums| {
        let group = part % p.groups;
        // SAFETY: each part's plane is written once.
        let plane = unsafe { out.range(part * to.elements..(part + 1) * to.elements) };
        let weights = &k.weights[group * taps..][..taps];
        let bias = k.bias.map_or(T::default(), |bias| bias[group]);
        let out = if apart { &mut *sums } else { &mut *plane };
        // SAFETY: what the kernel positions meet lies in the part's cells, registers that are read whole in the slack.
        unsafe { T::run(Plane { out, cells, registers: &registers, weights, places: k.places, bias }) };
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
            let sums = unsafe { T::run(Products { g, cells, lattice: &lattice, places }) };
            w.iter_mut().zip(sums).for_each(|(w, sum)| *w += sum);
        }
    });
}
