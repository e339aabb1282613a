//! The fill family: constants, sequences, triangles.

use crate::dtype::Element;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// Sets every element to `value`.
pub fn constant<T: Element>(out: &mut [T], value: T, par: &Par) {
    struct Run<'a, T>(&'a mut [T], T);
    impl<T: Element> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            self.0.iter_mut().for_each(|o| *o = self.1);
        }
    }
    par.chunks_mut(out, GRAIN, |_, part| simd::run_narrow(Run(part, value)));
}

/// Sets element `i` to `start + step (from + i)`, where `from` is an integer.
pub fn floats<T: Element>(out: &mut [T], start: f64, step: f64, from: f64, par: &Par) {
    struct Run<'a, T>(&'a mut [T], f64, f64, f64);
    impl<T: Element> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, start, step, from) = self;
            for (i, o) in out.iter_mut().enumerate() {
                // By way of 32 bits, for which every instruction set has the conversion.
                *o = T::from_f64(start + step * (from + i as i32 as f64));
            }
        }
    }
    par.chunks_mut(out, GRAIN, |block, part| {
        simd::run_narrow(Run(part, start, step, from + (block * GRAIN) as f64));
    });
}

/// Sets element `i` to `start + step i`, wrapping.
pub fn integers<T: Element>(out: &mut [T], start: i64, step: i64, par: &Par) {
    struct Run<'a, T>(&'a mut [T], i64, i64);
    impl<T: Element> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, start, step) = self;
            for (i, o) in out.iter_mut().enumerate() {
                *o = T::from_i64(start.wrapping_add(step.wrapping_mul(i as i64)));
            }
        }
    }
    par.chunks_mut(out, GRAIN, |block, part| {
        simd::run_narrow(Run(part, start.wrapping_add(step.wrapping_mul((block * GRAIN) as i64)), step));
    });
}

/// Sets what lies above diagonal number `offset` of dense matrices to 0 (`lower` remains), or what lies below it.
pub fn triangle<T: Element>(out: &mut [T], rows: usize, columns: usize, offset: isize, lower: bool, par: &Par) {
    let rows_per_block = (GRAIN / columns.max(1)).max(1);
    par.chunks_mut(out, rows_per_block * columns, |block, part| {
        for (i, row) in part.chunks_mut(columns.max(1)).enumerate() {
            let at = (block * rows_per_block + i) % rows;
            let on = (at as isize).saturating_add(offset);
            let (above, below) = (on.saturating_add(1).clamp(0, columns as isize), on.clamp(0, columns as isize));
            if lower { row[above as usize..].fill(T::default()) } else { row[..below as usize].fill(T::default()) }
        }
    });
}
