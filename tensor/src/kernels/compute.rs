//! Operands in the precision that kernels compute in: so the loops of a kernel are compiled for each of these, and not
//! for each that elements are stored in.

use crate::dtype::Element;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};

/// Runs `f` on results and operands in the precision that kernels compute in: on the elements themselves, where they are
/// stored in it, else on copies. `f` must overwrite all results.
pub(super) fn in_compute<T: Element, const M: usize, const N: usize>(
    out: [&mut [T]; M],
    x: [&[T]; N],
    f: impl FnOnce([&mut [T::Compute]; M], [&[T::Compute]; N]),
) {
    // A constant, so that the other way is not compiled at all.
    if const { T::DTYPE as u8 == <T::Compute as Element>::DTYPE as u8 } {
        let same = "the precision is that of computing";
        return f(out.map(|out| T::direct_mut(out).expect(same)), x.map(|x| T::direct(x).expect(same)));
    }
    let mut results = out.each_ref().map(|out| Scratch::<T::Compute>::new(out.len()));
    let operands = x.map(|x| {
        let mut wide = Scratch::<T::Compute>::new(x.len());
        simd::run_narrow(Up(&mut wide, x));
        wide
    });
    f(results.each_mut().map(|result| &mut **result), operands.each_ref().map(|operand| &**operand));
    for (out, result) in out.into_iter().zip(&results) {
        simd::run_narrow(Down(out, result));
    }
}

/// Converts to the precision that kernels compute in.
struct Up<'a, T: Element>(&'a mut [T::Compute], &'a [T]);

impl<T: Element> Loop for Up<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        self.0.iter_mut().zip(self.1).for_each(|(up, x)| *up = x.up());
    }
}

/// Converts from the precision that kernels compute in.
struct Down<'a, T: Element>(&'a mut [T], &'a [T::Compute]);

impl<T: Element> Loop for Down<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        self.0.iter_mut().zip(self.1).for_each(|(down, &x)| *down = T::down(x));
    }
}
