//! Operands in the precision that kernels compute in: so the loops of a kernel are compiled for each of these, and not
//! for each that elements are stored in.

use crate::dtype::{DType, Element};
use crate::kernels::scratch::Scratch;
#[cfg(target_arch = "x86_64")]
use crate::kernels::simd::Level;
use crate::kernels::simd::{self, Isa, Loop};

/// Runs `f` on results and operands in the precision that kernels compute in: on the elements themselves, where they are
/// stored in it, else on copies. `f` must overwrite all results.
pub(super) fn in_compute<T: Element, const M: usize, const N: usize>(
    out: [&mut [T]; M],
    x: [&[T]; N],
    f: impl FnOnce([&mut [T::Compute]; M], [&[T::Compute]; N]),
) {
    // A constant, so that the other way is not compiled at all. Functions, not closures, which would be compiled for each
    // `f`.
    if const { T::DTYPE as u8 == <T::Compute as Element>::DTYPE as u8 } {
        return f(out.map(direct_mut), x.map(direct));
    }
    let (mut results, operands) = (out.each_ref().map(room_for), x.map(wide));
    f(results.each_mut().map(Scratch::as_mut_slice), operands.each_ref().map(Scratch::as_slice));
    for (out, result) in out.into_iter().zip(&results) {
        narrow(out, result);
    }
}

fn direct<T: Element>(x: &[T]) -> &[T::Compute] {
    T::direct(x).expect("the precision is that of computing")
}

fn direct_mut<T: Element>(x: &mut [T]) -> &mut [T::Compute] {
    T::direct_mut(x).expect("as above")
}

/// Room for as many elements in the precision that kernels compute in.
fn room_for<T: Element>(x: &&mut [T]) -> Scratch<T::Compute> {
    Scratch::new(x.len())
}

/// The elements in the precision that kernels compute in.
fn wide<T: Element>(x: &[T]) -> Scratch<T::Compute> {
    let mut wide = Scratch::new(x.len());
    widen(&mut wide, x);
    wide
}

/// Converts to the precision that kernels compute in.
pub(super) fn widen<T: Element>(out: &mut [T::Compute], x: &[T]) {
    assert_eq!(out.len(), x.len());
    simd::run(Widen(out, x));
}

/// Converts from the precision that kernels compute in, rounded to nearest even.
pub(super) fn narrow<T: Element>(out: &mut [T], x: &[T::Compute]) {
    assert_eq!(out.len(), x.len());
    #[cfg(target_arch = "x86_64")]
    if const { T::DTYPE as u8 == DType::F16 as u8 } && simd::level() == Level::Avx512 {
        // SAFETY: that level has the instructions.
        return unsafe { f16c::narrow_avx512(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x)) };
    }
    #[cfg(target_arch = "x86_64")]
    if const { T::DTYPE as u8 == DType::BF16 as u8 }
        && simd::level() == Level::Avx512
        && std::arch::is_x86_feature_detected!("avx512bf16")
    {
        // SAFETY: the instructions are there, as found above.
        return unsafe { bf16_narrow::narrow(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x)) };
    }
    simd::run(Narrow(out, x));
}

struct Widen<'a, T: Element>(&'a mut [T::Compute], &'a [T]);

impl<T: Element> Loop for Widen<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Widen(out, x) = self;
        #[cfg(target_arch = "x86_64")]
        if const { I::FMA && T::DTYPE as u8 == DType::F16 as u8 } {
            // SAFETY: levels with fused multiply-add have F16C, too.
            return unsafe { f16c::widen(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x)) };
        }
        for (o, x) in out.iter_mut().zip(x) {
            *o = x.up();
        }
    }
}

struct Narrow<'a, T: Element>(&'a mut [T], &'a [T::Compute]);

impl<T: Element> Loop for Narrow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Narrow(out, x) = self;
        #[cfg(target_arch = "x86_64")]
        if const { I::FMA && T::DTYPE as u8 == DType::F16 as u8 } {
            // SAFETY: as above.
            return unsafe { f16c::narrow(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x)) };
        }
        for (o, &x) in out.iter_mut().zip(x) {
            *o = T::down(x);
        }
    }
}

/// The processor's own conversions of half precision: the compiler finds them in no other form of the loop.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use std::arch::x86_64::*;

    use half::f16;

    use crate::dtype::Element;

    /// # Safety
    /// The caller is compiled for F16C, and the machine has it.
    #[inline(always)]
    pub(super) unsafe fn widen(out: &mut [f32], x: &[f16]) {
        let ((out, out_rest), (x, x_rest)) = (out.as_chunks_mut::<8>(), x.as_chunks::<8>());
        for (out, x) in out.iter_mut().zip(x) {
            // SAFETY: eight elements are read and as many written; the instructions are there, says the caller.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()))) };
        }
        out_rest.iter_mut().zip(x_rest).for_each(|(o, x)| *o = x.up());
    }

    /// # Safety
    /// As [`widen`].
    #[inline(always)]
    pub(super) unsafe fn narrow(out: &mut [f16], x: &[f32]) {
        let ((out, out_rest), (x, x_rest)) = (out.as_chunks_mut::<8>(), x.as_chunks::<8>());
        for (out, x) in out.iter_mut().zip(x) {
            // SAFETY: as above.
            unsafe {
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x.as_ptr()));
                _mm_storeu_si128(out.as_mut_ptr().cast(), halves);
            }
        }
        out_rest.iter_mut().zip(x_rest).for_each(|(o, &x)| *o = f16::down(x));
    }

    /// Takes half the time of [`narrow`] on a Zen 4; for the way up the wider register gains nothing.
    ///
    /// # Safety
    /// The machine has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn narrow_avx512(out: &mut [f16], x: &[f32]) {
        let ((out, out_rest), (x, x_rest)) = (out.as_chunks_mut::<16>(), x.as_chunks::<16>());
        for (out, x) in out.iter_mut().zip(x) {
            // SAFETY: sixteen elements are read and as many written.
            unsafe {
                let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(x.as_ptr()));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
            }
        }
        out_rest.iter_mut().zip(x_rest).for_each(|(o, &x)| *o = f16::down(x));
    }
}

/// The processor's own rounding to BF16.
#[cfg(target_arch = "x86_64")]
mod bf16_narrow {
    use std::arch::x86_64::*;

    use half::bf16;

    use crate::dtype::Element;

    /// # Safety
    /// The machine has AVX-512 with DQ and BF16.
    #[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
    pub(super) unsafe fn narrow(out: &mut [bf16], x: &[f32]) {
        const SUBNORMAL: i32 = 1 << 5;
        let ((out, out_rest), (x, x_rest)) = (out.as_chunks_mut::<16>(), x.as_chunks::<16>());
        let one_by_one = |out: &mut [bf16], x: &[f32]| out.iter_mut().zip(x).for_each(|(o, &x)| *o = bf16::down(x));
        for (out, x) in out.iter_mut().zip(x) {
            // SAFETY: sixteen elements are read and as many written.
            let tiny = unsafe {
                let v = _mm512_loadu_ps(x.as_ptr());
                let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(v));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), rounded);
                _mm512_fpclass_ps_mask::<SUBNORMAL>(v)
            };
            // The instruction takes subnormal numbers for 0.
            if tiny != 0 {
                one_by_one(out, x);
            }
        }
        one_by_one(out_rest, x_rest);
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn check<T: Element<Compute = f32>>(bits: fn(T) -> u16, from_bits: fn(u16) -> T) {
        let all: Vec<T> = (0..=u16::MAX).map(from_bits).collect();
        // With elements that fill no register at the end.
        for x in [&all[..], &all[5..0x7C0F], &all[3..6]] {
            let mut wide = vec![0.0; x.len()];
            widen(&mut wide, x);
            for (x, wide) in x.iter().zip(&wide) {
                assert_eq!(wide.to_bits(), x.up().to_bits(), "{:#x}", bits(*x));
            }
        }
        // Each exponent, with digits near every boundary of rounding, and NaN of every kind.
        let digits = [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x18000];
        let tops = (0..=u16::MAX).map(|top| (top as u32) << 16);
        let x: Vec<f32> = tops.flat_map(|top| digits.map(|low| f32::from_bits(top ^ low))).collect();
        let mut narrowed = vec![T::default(); x.len()];
        narrow(&mut narrowed, &x);
        for (x, have) in x.iter().zip(narrowed) {
            assert_eq!(bits(have), bits(T::down(*x)), "{:#x}", x.to_bits());
        }
    }

    #[test]
    fn conversions_of_stretches_are_those_of_their_elements() {
        check(f16::to_bits, f16::from_bits);
        check(bf16::to_bits, bf16::from_bits);
    }
}
