//! Convolutions whose groups have one channel and one filter: too little for tiles, so a whole plane at a time.

use super::lattice::Lattice;
use super::sweep::{Kernel, Place};
use super::{Conv, Parts, Sums};
use crate::kernels::gemm::tile::{MOST_COLUMNS, MOST_REGISTERS};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::{Vector, VectorLoop, sum_of_lanes};
use crate::par::{GRAIN, Par, SharedMut};

/// The outputs of one plane, whose rows are dense.
struct Plane<'a, T> {
    out: &'a mut [T],
    cells: &'a [T],
    lattice: &'a Lattice,
    weights: &'a [T],
    places: &'a [usize],
    bias: T,
    to: &'a Place,
}

impl<T: Copy> VectorLoop<T> for Plane<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Plane { out, cells, lattice, weights, places, bias, to } = self;
        let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        for z in 0..deep {
            for y in 0..high {
                // Where no kernel position has to do with the outputs, there are no cells.
                let cells = if places.is_empty() { cells } else { &cells[z * slice + y * row..] };
                let out = &mut out[to.first + z * to.steps[0] + y * to.steps[1]..][..wide];
                let mut x = 0;
                while x < wide {
                    // The last register reaches back over the one before, unless the row has but one.
                    x = if wide >= V::LANES { x.min(wide - V::LANES) } else { 0 };
                    let registers = ((wide - x) / V::LANES).clamp(1, 4);
                    let (cells, out) = (if places.is_empty() { cells } else { &cells[x..] }, &mut out[x..]);
                    // SAFETY: the caller promises the cells that kernel positions meet, registers being read whole, of
                    // which there is at most one more than the row has.
                    unsafe {
                        match registers {
                            1 => row_of::<V, 1>(out, cells, weights, places, bias),
                            2 | 3 => row_of::<V, 2>(out, cells, weights, places, bias),
                            _ => row_of::<V, 4>(out, cells, weights, places, bias),
                        }
                    }
                    x += (1 << registers.ilog2()) * V::LANES;
                }
            }
        }
    }
}

/// Up to `N` registers of neighbouring outputs, whose sums do not wait for each other.
///
/// # Safety
/// The machine has the instruction set, and from each place on `N` registers of cells may be read.
#[inline(always)]
unsafe fn row_of<V: Vector, const N: usize>(
    out: &mut [V::Element],
    cells: &[V::Element],
    weights: &[V::Element],
    places: &[usize],
    bias: V::Element,
) {
    // SAFETY: the caller's promise; of `out` no more is written than there is.
    unsafe {
        let mut sums = [V::splat(bias); N];
        for (&w, &place) in weights.iter().zip(places) {
            let w = V::splat(w);
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = w.mul_add(V::load(cells.as_ptr().add(place + j * V::LANES)), *sum);
            }
        }
        for (j, sum) in sums.into_iter().enumerate() {
            let at = j * V::LANES;
            match out.len().saturating_sub(at) {
                0 => {}
                left if left < V::LANES => sum.store_first(out.as_mut_ptr().add(at), left),
                _ => sum.store(out.as_mut_ptr().add(at)),
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
    for_planes(x, lattice, p, (p.count, more), par, |part, cells, sums| {
        let group = part % p.groups;
        // SAFETY: each part's plane is written once.
        let plane = unsafe { out.range(part * to.elements..(part + 1) * to.elements) };
        let weights = &k.weights[group * taps..][..taps];
        let bias = k.bias.map_or(T::default(), |bias| bias[group]);
        let (target, place) = if apart { (&mut *sums, &near) } else { (&mut *plane, to) };
        // SAFETY: what the kernel positions meet lies in the part's cells, registers that are read whole in the slack.
        unsafe { T::run(Plane { out: target, cells, lattice, weights, places: k.places, bias, to: place }) };
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
                lattice.fill(&mut cells[..plane], &x[part * p.pixels..][..p.pixels]);
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
