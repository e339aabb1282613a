//! Images laid out so that each position of a kernel is a shift.
//!
//! Along an axis the positions that kernels read are copied into stretches of neighbouring cells, with the padding as
//! zeros. Then what one position of the kernel meets, output after output, are neighbouring cells, and from one position
//! to another it is the same distance for all outputs: a convolution reads registers of outputs straight from there, and
//! no unfolded matrix is made.

use smallvec::SmallVec;

use super::{Conv, Sums};
use crate::kernels::pane::copy_run;
use crate::kernels::vector::{MOST_LANES, Vector, VectorLoop};
use crate::kernels::window::Window;

/// How one axis is laid out.
pub struct Axis {
    /// Positions of the input.
    size: usize,
    /// The position that the first cell of each stretch shows, which may be in the padding.
    stretches: SmallVec<[isize; 4]>,
    /// The distance between the positions that neighbouring cells show.
    step: usize,
    /// Cells of a stretch.
    pub cells: usize,
    /// The stretch and the cell in which each kernel position meets output 0.
    taps: SmallVec<[(usize, usize); 8]>,
    /// Outputs.
    pub outputs: usize,
}

impl Axis {
    /// The axis of a convolution.
    pub fn new(w: &Window) -> Axis {
        let places = (0..w.kernel).map(|k| k * w.dilation);
        Axis::of(w.size, w.stride, w.output, places.map(|at| at as isize - w.padding as isize))
    }

    /// The axis of the gradient of a convolution with respect to its input, for the input positions `x`, `x + stride`,
    /// ..: it reads the convolution's outputs. Also which kernel positions have to do with these.
    pub fn transposed(w: &Window, x: usize) -> (Axis, SmallVec<[usize; 8]>) {
        // Position x is met by kernel position k at output o, where o * stride + k * dilation = x + padding.
        let at = |k: usize| x as isize + w.padding as isize - (k * w.dilation) as isize;
        let stride = w.stride as isize;
        let taps: SmallVec<[usize; 8]> = (0..w.kernel).filter(|&k| at(k) % stride == 0).collect();
        let outputs = (w.size - x).div_ceil(w.stride);
        (Axis::of(w.output, 1, outputs, taps.iter().map(|&k| at(k) / stride)), taps)
    }

    /// An axis whose output `o` meets the position `place + o * step` for each of `places`.
    fn of(size: usize, step: usize, outputs: usize, places: impl Iterator<Item = isize> + Clone) -> Axis {
        // Places that differ by a multiple of the step share a stretch: from the lowest to the highest of them.
        let phase = |place: isize| place.rem_euclid(step as isize);
        let mut lowest: SmallVec<[isize; 4]> = SmallVec::new();
        let mut most = 0;
        for place in places.clone() {
            match lowest.iter_mut().find(|low| phase(**low) == phase(place)) {
                Some(low) => *low = place.min(*low),
                None => lowest.push(place),
            }
        }
        for place in places.clone() {
            let low = lowest.iter().find(|low| phase(**low) == phase(place)).expect("found above");
            most = most.max((place - low) as usize / step);
        }
        let count = places.clone().count();
        if lowest.len().saturating_mul(outputs.saturating_add(most)) <= count.saturating_mul(outputs) {
            let tap = |place: isize| {
                let stretch = lowest.iter().position(|&low| phase(low) == phase(place)).expect("found above");
                (stretch, (place - lowest[stretch]) as usize / step)
            };
            let taps = places.map(tap).collect();
            return Axis { size, step, outputs, cells: outputs + most, taps, stretches: lowest };
        }
        // Far apart: a stretch for each is less.
        let taps = (0..count).map(|tap| (tap, 0)).collect();
        Axis { size, step, outputs, cells: outputs, taps, stretches: places.collect() }
    }

    /// Cells of all stretches.
    fn len(&self) -> usize {
        self.stretches.len() * self.cells
    }

    /// The cells of a stretch that show positions of the input, and the first of these positions.
    fn inside(&self, stretch: usize) -> (std::ops::Range<usize>, usize) {
        let (start, step) = (self.stretches[stretch], self.step as isize);
        let low = (-start).max(0).div_ceil_of(step).min(self.cells as isize);
        let high = (self.size as isize - start).max(0).div_ceil_of(step).clamp(low, self.cells as isize);
        (low as usize..high as usize, (start + low * step).max(0) as usize)
    }

    /// The outputs for which each kernel position meets a position of the input, and not the padding.
    pub fn seen(&self) -> SmallVec<[std::ops::Range<usize>; 8]> {
        let outputs = |&(stretch, cell): &(usize, usize)| {
            let (inside, _) = self.inside(stretch);
            let output = |cell_inside: usize| cell_inside.saturating_sub(cell).min(self.outputs);
            output(inside.start)..output(inside.end)
        };
        self.taps.iter().map(outputs).collect()
    }
}

/// Division that rounds up, of numbers that are not negative.
trait DivCeil {
    fn div_ceil_of(self, by: Self) -> Self;
}
impl DivCeil for isize {
    fn div_ceil_of(self, by: isize) -> isize {
        (self as usize).div_ceil(by as usize) as isize
    }
}

/// The channels and numbers of a kernel's positions, those of each row together: where a row meets the padding only, it
/// is left out.
pub fn by_row([deep, high, wide]: [usize; 3], channels: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..high).flat_map(move |h| {
        (0..channels).flat_map(move |channel| {
            (0..deep).flat_map(move |d| (0..wide).map(move |w| (channel, (d * high + h) * wide + w)))
        })
    })
}

/// How the planes of images are laid out.
pub struct Lattice {
    /// Depth, height and width.
    pub axes: [Axis; 3],
}

impl Lattice {
    /// That of a convolution.
    pub fn new(c: &Conv) -> Lattice {
        Lattice { axes: c.windows.each_ref().map(Axis::new) }
    }

    /// Cells of a plane.
    pub fn plane(&self) -> usize {
        self.axes.iter().map(Axis::len).product()
    }

    /// The distances between neighbouring outputs along each axis.
    pub fn steps(&self) -> [usize; 3] {
        let [_, high, wide] = &self.axes;
        [high.cells * wide.cells, wide.cells, 1]
    }

    /// Outputs of a plane.
    pub fn outputs(&self) -> [usize; 3] {
        self.axes.each_ref().map(|axis| axis.outputs)
    }

    /// Where each kernel position of each of `channels` planes meets output 0.
    pub fn places(&self, channels: usize) -> Vec<usize> {
        let [deep, high, wide] = &self.axes;
        let (plane, block) = (self.plane(), deep.cells * high.cells * wide.cells);
        let mut places = Vec::with_capacity(channels * deep.taps.len() * high.taps.len() * wide.taps.len());
        for channel in 0..channels {
            for (d, z) in &deep.taps {
                for (h, y) in &high.taps {
                    for (w, x) in &wide.taps {
                        let stretch = (d * high.stretches.len() + h) * wide.stretches.len() + w;
                        let cell = (z * high.cells + y) * wide.cells + x;
                        places.push(channel * plane + stretch * block + cell);
                    }
                }
            }
        }
        places
    }

    /// [`places`](Self::places) in the order of [`by_row`].
    pub fn places_by_row(&self, channels: usize) -> Vec<usize> {
        let (first, plane) = (self.places(1), self.plane());
        let taps = self.axes.each_ref().map(|axis| axis.taps.len());
        by_row(taps, channels).map(|(channel, tap)| channel * plane + first[tap]).collect()
    }

    /// Lays out a plane, with its `padding` or where that is there already.
    pub fn fill<T: Sums>(&self, cells: &mut [T], x: &[T], padding: bool) {
        let fill = Fill { lattice: self, cells, x, padding };
        // Rows that do not fill a wide register would be copied element by element.
        let wide = &self.axes[2];
        let narrow = (0..wide.stretches.len()).any(|w| wide.inside(w).0.len() < MOST_LANES);
        // SAFETY: what is loaded and stored is checked.
        unsafe { if narrow { T::run_narrow(fill) } else { T::run(fill) } };
    }
}

/// Cells below which a row is short.
const SHORT: usize = 32;

/// See [`Lattice::fill`].
struct Fill<'a, T> {
    lattice: &'a Lattice,
    cells: &'a mut [T],
    x: &'a [T],
    padding: bool,
}

impl<T: Copy + Default> VectorLoop<T> for Fill<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<V: Vector<Element = T>>(self) {
        let Fill { lattice, cells, x, mut padding } = self;
        let [deep, high, wide] = &lattice.axes;
        // Short rows' padding takes longer row by row than with all between.
        if padding && wide.cells < SHORT {
            cells.fill(T::default());
            padding = false;
        }
        let stretches = |axis: &Axis| 0..axis.stretches.len();
        let mut rows = cells.chunks_mut(wide.cells.max(1));
        for (d, h, w) in
            stretches(deep).flat_map(|d| stretches(high).flat_map(move |h| stretches(wide).map(move |w| (d, h, w))))
        {
            let [(slices, z), (lines, y), (inside, first)] = [deep.inside(d), high.inside(h), wide.inside(w)];
            for (i, j) in (0..deep.cells).flat_map(|i| (0..high.cells).map(move |j| (i, j))) {
                let row = rows.next().expect("a row of cells for each");
                if inside.is_empty() || !slices.contains(&i) || !lines.contains(&j) {
                    if padding {
                        row.fill(T::default());
                    }
                    continue;
                }
                if padding {
                    row[..inside.start].fill(T::default());
                    row[inside.end..].fill(T::default());
                }
                let to = &mut row[inside.clone()];
                let (z, y) = (z + (i - slices.start) * deep.step, y + (j - lines.start) * high.step);
                let from = &x[(z * high.size + y) * wide.size + first..];
                match wide.step {
                    1 => copy_run(to, &from[..to.len()]),
                    2 if to.len() >= V::LANES && from.len() >= 2 * to.len() => {
                        // The last register may reach back over the one before.
                        let last = to.len() - V::LANES;
                        for at in (0..to.len()).step_by(V::LANES) {
                            let at = at.min(last);
                            let (from, to) = (&from[2 * at..][..2 * V::LANES], &mut to[at..][..V::LANES]);
                            // SAFETY: the instruction set is there, and the slices have as many elements.
                            unsafe {
                                let (low, high) = (V::load(from.as_ptr()), V::load(from.as_ptr().add(V::LANES)));
                                low.deinterleave(high)[0].store(to.as_mut_ptr());
                            }
                        }
                    }
                    step => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, &v)| *to = v),
                }
            }
        }
    }
}
