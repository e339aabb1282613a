//! The registers of each instruction set, behind one trait: for the few loops that the compiler does not vectorise well
//! by itself, as [`simd`](super::simd) has it do.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A register of elements.
///
/// All functions are `#[inline(always)]`: they become instructions of the function that they are called in, which must
/// be compiled for the instruction set.
pub trait Vector: Copy {
    /// What it holds.
    type Element: Copy + Default;
    /// How many of them.
    const LANES: usize;

    /// The same element in each lane.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn splat(x: Self::Element) -> Self;

    /// The elements from `from` on.
    ///
    /// # Safety
    /// As [`splat`](Self::splat), and `LANES` elements may be read there.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// Writes the elements from `to` on.
    ///
    /// # Safety
    /// As [`splat`](Self::splat), and `LANES` elements may be written there.
    unsafe fn store(self, to: *mut Self::Element);

    /// The sum, lane by lane.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn add(self, other: Self) -> Self;

    /// `self * a + b`, lane by lane; rounded once where the instruction set has it.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
}

#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    ($($register:ty: $lanes:literal $t:ty, $splat:ident $load:ident $store:ident $add:ident $mul_add:ident;)*) => {$(
        impl Vector for $register {
            type Element = $t;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: the caller has the instruction set.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: as above, and the caller promises the elements.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: as above.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul_add(self, a, b) }
            }
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
registers! {
    __m512: 16 f32, _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_fmadd_ps;
    __m512d: 8 f64, _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_fmadd_pd;
    __m256: 8 f32, _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_fmadd_ps;
    __m256d: 4 f64, _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_fmadd_pd;
}

/// A register of 16 bytes as every processor has, in plain code.
#[derive(Clone, Copy)]
pub struct Plain<T, const N: usize>([T; N]);

macro_rules! plain {
    ($($t:ty: $lanes:literal;)*) => {$(
        impl Vector for Plain<$t, $lanes> {
            type Element = $t;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                Plain([x; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: the caller promises the elements, and an array is aligned as they are.
                Plain(unsafe { from.cast::<[$t; $lanes]>().read() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: as above.
                unsafe { to.cast::<[$t; $lanes]>().write(self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                Plain(std::array::from_fn(|i| match cfg!(target_arch = "aarch64") {
                    true => self.0[i].mul_add(a.0[i], b.0[i]),
                    false => self.0[i] * a.0[i] + b.0[i],
                }))
            }
        }
    )*};
}
plain! {
    f32: 4;
    f64: 2;
}
