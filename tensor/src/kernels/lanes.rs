//! Sums and the like over a run, with an accumulator for each place in a part of the run: so many that a fold need not
//! wait for the one before.
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

/// How two accumulators become one.
pub(super) trait Join<C> {
    /// The one of two.
    fn join(a: C, b: C) -> C;
}

/// Addition.
pub(super) struct Plus;

impl<C: Float> Join<C> for Plus {
    #[inline(always)]
    fn join(a: C, b: C) -> C {
        a + b
    }
}

/// All accumulators in one.
#[inline(always)]
pub(super) fn join<C: Copy, J: Join<C>>(mut acc: [C; LANES]) -> C {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = J::join(acc[i], acc[i + width]);
        }
        width /= 2;
    }
    acc[0]
}
