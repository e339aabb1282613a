//! Sums over a run, with an accumulator for each place in a part of the run: so many that an addition need not wait for
//! the one before.
//!
//! The parts of a run depend on its length alone, so the bits are the same for every instruction set.

use num_traits::Float;

/// Places in a part: two of the widest registers. With more, accumulators no longer stay in registers.
pub(super) const LANES: usize = 32;

/// The accumulators, in memory.
///
/// Between the loop over whole parts and what is done with the rest, or the compiler fits the loop to the shape of the
/// rest, in narrow registers.
#[inline(always)]
pub(super) fn settled<C: Copy>(acc: [C; LANES]) -> [C; LANES] {
    std::hint::black_box(acc)
}

/// The sum of all accumulators.
#[inline(always)]
pub(super) fn sum<C: Float>(mut acc: [C; LANES]) -> C {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = acc[i] + acc[i + width];
        }
        width /= 2;
    }
    acc[0]
}
