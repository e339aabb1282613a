//! Convolutions whose groups have one channel and one filter: too little for tiles, so whole rows of outputs at a time.

use super::lattice::Lattice;
use super::sweep::{Kernel, Place, for_parts};
use super::{Conv, Parts, Sums};
use crate::kernels::elementary::mul_add;
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{Par, SharedMut};

/// Outputs that are summed at a time.
const LANES: usize = 32;

/// Kernel positions whose sums are held at a time.
const TAPS: usize = 32;

/// The outputs of one plane, which go to `out`.
struct Plane<'a, T> {
    out: &'a mut [T],
    cells: &'a [T],
    lattice: &'a Lattice,
    weights: &'a [T],
    places: &'a [usize],
    bias: T,
    to: &'a Place,
}

impl<T: Precise> Loop for Plane<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Plane { out, cells, lattice, weights, places, bias, to } = self;
        let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        for (z, y) in (0..deep).flat_map(|z| (0..high).map(move |y| (z, y))) {
            let cells = &cells[z * slice + y * row..];
            let start = to.first + z * to.steps[0] + y * to.steps[1];
            for x in (0..wide).step_by(LANES) {
                let mut sums = [bias; LANES];
                for (&w, &place) in weights.iter().zip(places) {
                    // Whole registers: what lies beyond the row is not kept.
                    let cells: &[T; LANES] = cells[place + x..].first_chunk().expect("cells to read beyond the row");
                    for (sum, &cell) in sums.iter_mut().zip(cells) {
                        *sum = mul_add::<T, I>(w, cell, *sum);
                    }
                }
                let count = LANES.min(wide - x);
                match to.steps[2] {
                    1 => out[start + x..][..count].copy_from_slice(&sums[..count]),
                    step => {
                        let out = out[start + x * step..].iter_mut().step_by(step);
                        out.zip(&sums[..count]).for_each(|(out, &sum)| *out = sum);
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
    for_parts(x, lattice, p, par, |parts, laid_out| {
        par.for_each(parts.len(), |i| {
            let (part, group) = (parts.start + i, (parts.start + i) % p.groups);
            // SAFETY: each task writes its own plane.
            let out = unsafe { out.range(part * to.elements..(part + 1) * to.elements) };
            let weights = &k.weights[group * taps..][..taps];
            let bias = k.bias.map_or(T::zero(), |bias| bias[group]);
            let cells = &laid_out[if taps == 0 { 0 } else { i * lattice.plane() }..];
            simd::run(Plane { out, cells, lattice, weights, places: k.places, bias, to });
        });
    });
}

/// The inner products of the gradient of a plane with what each kernel position meets, added to `sums`.
struct Products<'a, T> {
    sums: &'a mut [[T; LANES]],
    g: &'a [T],
    cells: &'a [T],
    lattice: &'a Lattice,
    places: &'a [usize],
}

impl<T: Precise> Loop for Products<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Products { sums, g, cells, lattice, places } = self;
        let ([deep, high, wide], [slice, row, _]) = (lattice.outputs(), lattice.steps());
        for (z, y) in (0..deep).flat_map(|z| (0..high).map(move |y| (z, y))) {
            let cells = &cells[z * slice + y * row..];
            let g = &g[(z * high + y) * wide..][..wide];
            for x in (0..wide).step_by(LANES) {
                let count = LANES.min(wide - x);
                let (mut own, mut met) = ([T::zero(); LANES], [T::zero(); LANES]);
                own[..count].copy_from_slice(&g[x..][..count]);
                for (sums, &place) in sums.iter_mut().zip(places) {
                    // What lies beyond the row may be anything, and must not meet the zeros.
                    match count {
                        LANES => met.copy_from_slice(&cells[place + x..][..LANES]),
                        _ => met[..count].copy_from_slice(&cells[place + x..][..count]),
                    }
                    for ((sum, &g), &cell) in sums.iter_mut().zip(&own).zip(&met) {
                        *sum = mul_add::<T, I>(g, cell, *sum);
                    }
                }
            }
        }
    }
}

/// [`weight_grad`](super::weight_grad) for groups of one channel and one filter.
pub fn weight_grad<T: Sums>(w: &mut [T], x: &[T], g: &[T], c: &Conv, par: &Par) {
    let (lattice, positions, taps) = (Lattice::new(c), c.positions(), c.taps());
    let places = lattice.places(1);
    let p = Parts { count: c.images * c.groups, groups: c.groups, channels: 1, pixels: c.pixels() };
    for_parts(x, &lattice, &p, par, |parts, laid_out| {
        // A task has the images of one group, in order.
        par.chunks_mut(w, taps, |group, w| {
            let first = parts.start.next_multiple_of(c.groups) + group;
            let first = if first >= parts.start + c.groups { first - c.groups } else { first };
            for (places, w) in places.chunks(TAPS).zip(w.chunks_mut(TAPS)) {
                let mut sums = [[T::zero(); LANES]; TAPS];
                for part in (first..parts.end).step_by(c.groups) {
                    let g = &g[part * positions..][..positions];
                    let cells = &laid_out[(part - parts.start) * lattice.plane()..];
                    simd::run(Products { sums: &mut sums[..places.len()], g, cells, lattice: &lattice, places });
                }
                for (w, sums) in w.iter_mut().zip(sums) {
                    *w += sums.into_iter().fold(T::zero(), |a, b| a + b);
                }
            }
        });
    });
}
