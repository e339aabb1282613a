//! The registers of each instruction set, behind one trait: for the few loops that the compiler does not vectorise well
//! by itself, as [`simd`](super::simd) has it do.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::kernels::simd::{self, Level};

/// A register of elements.
///
/// All functions are `#[inline(always)]`: they become instructions of the function that they are called in, which must
/// be compiled for the instruction set.
pub trait Vector: Copy {
    /// What it holds.
    type Element: Copy + Default;
    /// How many of them.
    const LANES: usize;
    /// Whether the machine has such a register; else it is an array, with which loops for special cases gain little.
    const NATIVE: bool;

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

    /// The first `n` elements from `from` on, and zeros.
    ///
    /// # Safety
    /// As [`splat`](Self::splat), `n` is at most `LANES`, and so many elements may be read there.
    unsafe fn load_first(from: *const Self::Element, n: usize) -> Self;

    /// The first `n` elements from `from` on, and the last ones of `self`.
    ///
    /// # Safety
    /// As [`load_first`](Self::load_first).
    unsafe fn with_first(self, from: *const Self::Element, n: usize) -> Self;

    /// Writes the first `n` elements from `to` on.
    ///
    /// # Safety
    /// As [`splat`](Self::splat), `n` is at most `LANES`, and so many elements may be written there.
    unsafe fn store_first(self, to: *mut Self::Element, n: usize);

    /// The sum, lane by lane.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn add(self, other: Self) -> Self;

    /// The difference, lane by lane.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn sub(self, other: Self) -> Self;

    /// The product, lane by lane.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn mul(self, other: Self) -> Self;

    /// The larger, lane by lane; NaN if either is.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn max(self, other: Self) -> Self;

    /// The smaller, lane by lane; NaN if either is.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn min(self, other: Self) -> Self;

    /// `self * a + b`, lane by lane; rounded once where the instruction set has it.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;

    /// The elements of two registers in turn: those of the lower halves, and of the upper ones.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn interleave(self, other: Self) -> [Self; 2];

    /// The reverse: of the elements of two registers, one after the other, those at even places and those at odd ones.
    ///
    /// # Safety
    /// As [`splat`](Self::splat).
    unsafe fn deinterleave(self, other: Self) -> [Self; 2];
}

/// Most lanes of a register, over all instruction sets and precisions.
pub const MOST_LANES: usize = 16;

/// Has the cache line at a place brought into the first cache.
#[inline(always)]
fn prefetch<T>(at: *const T) {
    // SAFETY: a hint, which reads nothing; SSE is part of the target.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Has the cache lines of `count` elements brought into the first cache.
#[inline(always)]
pub fn prefetch_run<T>(from: *const T, count: usize) {
    for at in (0..count).step_by(LINE / size_of::<T>()) {
        prefetch(from.wrapping_add(at));
    }
}

/// The sum of a register's lanes, one after the other.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
pub unsafe fn sum_of_lanes<V: Vector<Element: std::ops::AddAssign>>(register: V) -> V::Element {
    let mut lanes = [V::Element::default(); MOST_LANES];
    // SAFETY: there is room for the widest register.
    unsafe { register.store(lanes.as_mut_ptr()) };
    let mut sum = V::Element::default();
    lanes[..V::LANES].iter().for_each(|&lane| sum += lane);
    sum
}

#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    ($($register:ty: $lanes:literal $t:ty, $splat:ident $load:ident $store:ident $mask:ident $load_first:ident $with_first:ident $lanes_of:ident $store_first:ident
        $add:ident $sub:ident $mul:ident $max:ident $min:ident $keep_nan:ident $mul_add:ident $interleave:ident $deinterleave:ident;)*) => {$(
        impl Vector for $register {
            type Element = $t;
            const LANES: usize = $lanes;
            const NATIVE: bool = true;
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
            unsafe fn load_first(from: *const $t, n: usize) -> Self {
                // SAFETY: as above; lanes that are masked out are not read.
                unsafe { $load_first($mask(n), from) }
            }
            #[inline(always)]
            unsafe fn with_first(self, from: *const $t, n: usize) -> Self {
                // SAFETY: as above.
                unsafe { $with_first(self, $mask(n), from) }
            }
            #[inline(always)]
            unsafe fn store_first(self, to: *mut $t, n: usize) {
                // SAFETY: as above; lanes from `n` on are not written.
                unsafe { $store_first(to, $lanes_of(n), self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: as above. The instruction gives its second operand where either is NaN.
                unsafe { $keep_nan($max(other, self), other) }
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                // SAFETY: as above.
                unsafe { $keep_nan($min(other, self), other) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: as above.
                unsafe { $mul_add(self, a, b) }
            }
            #[inline(always)]
            unsafe fn interleave(self, other: Self) -> [Self; 2] {
                // SAFETY: as above.
                unsafe { $interleave(self, other) }
            }
            #[inline(always)]
            unsafe fn deinterleave(self, other: Self) -> [Self; 2] {
                // SAFETY: as above.
                unsafe { $deinterleave(self, other) }
            }
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
registers! {
    __m512: 16 f32, _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps
        mask16 _mm512_maskz_loadu_ps _mm512_mask_loadu_ps mask16 _mm512_mask_storeu_ps
        _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_max_ps _mm512_min_ps keep_nan_512_ps _mm512_fmadd_ps
        interleave_512_ps deinterleave_512_ps;
    __m512d: 8 f64, _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd
        mask8 _mm512_maskz_loadu_pd _mm512_mask_loadu_pd mask8 _mm512_mask_storeu_pd
        _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_max_pd _mm512_min_pd keep_nan_512_pd _mm512_fmadd_pd
        interleave_512_pd deinterleave_512_pd;
    __m256: 8 f32, _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps
        lanes32 load_ps with_ps count store_ps
        _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_max_ps _mm256_min_ps keep_nan_256_ps _mm256_fmadd_ps
        interleave_256_ps deinterleave_256_ps;
    __m256d: 4 f64, _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd
        lanes64 load_pd with_pd count store_pd
        _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_max_pd _mm256_min_pd keep_nan_256_pd _mm256_fmadd_pd
        interleave_256_pd deinterleave_256_pd;
}

/// NaN where `other` has it, and else what is in `x`.
#[cfg(target_arch = "x86_64")]
mod nan {
    use super::*;

    /// # Safety
    /// The machine has AVX-512.
    #[inline(always)]
    pub unsafe fn keep_nan_512_ps(x: __m512, other: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(other, other), other) }
    }

    /// # Safety
    /// The machine has AVX-512.
    #[inline(always)]
    pub unsafe fn keep_nan_512_pd(x: __m512d, other: __m512d) -> __m512d {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_mov_pd(x, _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(other, other), other) }
    }

    /// # Safety
    /// The machine has AVX2.
    #[inline(always)]
    pub unsafe fn keep_nan_256_ps(x: __m256, other: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_blendv_ps(x, other, _mm256_cmp_ps::<_CMP_UNORD_Q>(other, other)) }
    }

    /// # Safety
    /// The machine has AVX2.
    #[inline(always)]
    pub unsafe fn keep_nan_256_pd(x: __m256d, other: __m256d) -> __m256d {
        // SAFETY: the caller's promise.
        unsafe { _mm256_blendv_pd(x, other, _mm256_cmp_pd::<_CMP_UNORD_Q>(other, other)) }
    }
}
#[cfg(target_arch = "x86_64")]
use nan::*;

/// The masks of the first `n` lanes, as each instruction set has them.
#[cfg(target_arch = "x86_64")]
mod masks {
    use super::*;

    #[inline(always)]
    pub fn mask16(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as u16
    }

    #[inline(always)]
    pub fn mask8(n: usize) -> __mmask8 {
        ((1u32 << n) - 1) as u8
    }

    static LANES32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    static LANES64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

    /// # Safety
    /// The machine has AVX2, and `n` is at most 8.
    #[inline(always)]
    pub unsafe fn lanes32(n: usize) -> __m256i {
        // SAFETY: eight of the sixteen, from `8 - n` on.
        unsafe { _mm256_loadu_si256(LANES32.as_ptr().add(8 - n).cast()) }
    }

    /// # Safety
    /// The machine has AVX2, and `n` is at most 4.
    #[inline(always)]
    pub unsafe fn lanes64(n: usize) -> __m256i {
        // SAFETY: four of the eight, from `4 - n` on.
        unsafe { _mm256_loadu_si256(LANES64.as_ptr().add(4 - n).cast()) }
    }

    /// # Safety
    /// As `_mm256_maskload_ps`, whose operands are the other way round.
    #[inline(always)]
    pub unsafe fn load_ps(mask: __m256i, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    /// # Safety
    /// As `_mm256_maskload_pd`, whose operands are the other way round.
    #[inline(always)]
    pub unsafe fn load_pd(mask: __m256i, from: *const f64) -> __m256d {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_pd(from, mask) }
    }

    /// # Safety
    /// As `_mm256_maskload_ps`.
    #[inline(always)]
    pub unsafe fn with_ps(x: __m256, mask: __m256i, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_blendv_ps(x, load_ps(mask, from), _mm256_castsi256_ps(mask)) }
    }

    /// # Safety
    /// As `_mm256_maskload_pd`.
    #[inline(always)]
    pub unsafe fn with_pd(x: __m256d, mask: __m256i, from: *const f64) -> __m256d {
        // SAFETY: the caller's promise.
        unsafe { _mm256_blendv_pd(x, load_pd(mask, from), _mm256_castsi256_pd(mask)) }
    }

    /// The first `n` lanes are stored by number.
    pub fn count(n: usize) -> usize {
        n
    }

    /// Stores the first `n` lanes, part by part: a masked store takes AMD's processors some dozen cycles.
    ///
    /// # Safety
    /// The machine has AVX2, `n` is at most 8, and so many elements may be written.
    #[inline(always)]
    pub unsafe fn store_ps(mut to: *mut f32, n: usize, x: __m256) {
        // SAFETY: the parts are `n` elements together.
        unsafe {
            if n == 8 {
                return _mm256_storeu_ps(to, x);
            }
            let mut part = _mm256_castps256_ps128(x);
            if n & 4 != 0 {
                _mm_storeu_ps(to, part);
                (part, to) = (_mm256_extractf128_ps::<1>(x), to.add(4));
            }
            if n & 2 != 0 {
                _mm_storel_pd(to.cast(), _mm_castps_pd(part));
                (part, to) = (_mm_movehl_ps(part, part), to.add(2));
            }
            if n & 1 != 0 {
                _mm_store_ss(to, part);
            }
        }
    }

    /// [`store_ps`] of doubles.
    ///
    /// # Safety
    /// The machine has AVX2, `n` is at most 4, and so many elements may be written.
    #[inline(always)]
    pub unsafe fn store_pd(mut to: *mut f64, n: usize, x: __m256d) {
        // SAFETY: the parts are `n` elements together.
        unsafe {
            if n == 4 {
                return _mm256_storeu_pd(to, x);
            }
            let mut part = _mm256_castpd256_pd128(x);
            if n & 2 != 0 {
                _mm_storeu_pd(to, part);
                (part, to) = (_mm256_extractf128_pd::<1>(x), to.add(2));
            }
            if n & 1 != 0 {
                _mm_storel_pd(to, part);
            }
        }
    }
}
#[cfg(target_arch = "x86_64")]
use masks::*;

/// How each instruction set brings the elements of two registers in turn, and back.
#[cfg(target_arch = "x86_64")]
mod turns {
    use super::*;

    macro_rules! avx2 {
        ($interleave:ident $deinterleave:ident $register:ty: $low:ident $high:ident $halves:ident, $even:expr, $odd:expr) => {
            /// # Safety
            /// The machine has AVX2.
            #[inline(always)]
            pub unsafe fn $interleave(a: $register, b: $register) -> [$register; 2] {
                // SAFETY: the caller's promise.
                unsafe {
                    let (low, high) = ($low(a, b), $high(a, b));
                    [$halves::<0x20>(low, high), $halves::<0x31>(low, high)]
                }
            }

            /// # Safety
            /// The machine has AVX2.
            #[inline(always)]
            pub unsafe fn $deinterleave(a: $register, b: $register) -> [$register; 2] {
                // SAFETY: the caller's promise.
                unsafe {
                    let (low, high) = ($halves::<0x20>(a, b), $halves::<0x31>(a, b));
                    [$even(low, high), $odd(low, high)]
                }
            }
        };
    }
    avx2!(interleave_256_ps deinterleave_256_ps __m256: _mm256_unpacklo_ps _mm256_unpackhi_ps _mm256_permute2f128_ps,
        _mm256_shuffle_ps::<0b10_00_10_00>, _mm256_shuffle_ps::<0b11_01_11_01>);
    avx2!(interleave_256_pd deinterleave_256_pd __m256d: _mm256_unpacklo_pd _mm256_unpackhi_pd _mm256_permute2f128_pd,
        _mm256_unpacklo_pd, _mm256_unpackhi_pd);

    macro_rules! avx512 {
        ($interleave:ident $deinterleave:ident $register:ty: $lanes:literal $place:ty, $load:ident $pick:ident) => {
            /// # Safety
            /// The machine has AVX-512.
            #[inline(always)]
            pub unsafe fn $interleave(a: $register, b: $register) -> [$register; 2] {
                let low: [$place; $lanes] = std::array::from_fn(|i| (i / 2 + i % 2 * $lanes) as $place);
                let high = low.map(|place| place + $lanes / 2);
                // SAFETY: the caller's promise, and there are as many places as lanes.
                unsafe { [$pick(a, $load(low.as_ptr().cast()), b), $pick(a, $load(high.as_ptr().cast()), b)] }
            }

            /// # Safety
            /// The machine has AVX-512.
            #[inline(always)]
            pub unsafe fn $deinterleave(a: $register, b: $register) -> [$register; 2] {
                let even: [$place; $lanes] = std::array::from_fn(|i| 2 * i as $place);
                let odd = even.map(|place| place + 1);
                // SAFETY: as above.
                unsafe { [$pick(a, $load(even.as_ptr().cast()), b), $pick(a, $load(odd.as_ptr().cast()), b)] }
            }
        };
    }
    avx512!(interleave_512_ps deinterleave_512_ps __m512: 16 i32, _mm512_loadu_si512 _mm512_permutex2var_ps);
    avx512!(interleave_512_pd deinterleave_512_pd __m512d: 8 i64, _mm512_loadu_si512 _mm512_permutex2var_pd);
}
#[cfg(target_arch = "x86_64")]
use turns::*;

/// Two registers of 16 bytes, as every processor has, in plain code.
#[derive(Clone, Copy)]
pub struct Plain<T, const N: usize>([T; N]);

macro_rules! plain {
    ($($t:ty: $lanes:literal;)*) => {$(
        impl Vector for Plain<$t, $lanes> {
            type Element = $t;
            const LANES: usize = $lanes;
            const NATIVE: bool = false;
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
            unsafe fn load_first(from: *const $t, n: usize) -> Self {
                // SAFETY: as above.
                Plain(std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 }))
            }
            #[inline(always)]
            unsafe fn with_first(self, from: *const $t, n: usize) -> Self {
                // SAFETY: as above.
                Plain(std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { self.0[i] }))
            }
            #[inline(always)]
            unsafe fn store_first(self, to: *mut $t, n: usize) {
                for (i, x) in self.0.into_iter().take(n).enumerate() {
                    // SAFETY: as above.
                    unsafe { to.add(i).write(x) }
                }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] - other.0[i]))
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] * other.0[i]))
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                let larger = |a: $t, b: $t| if b > a || b.is_nan() { b } else { a };
                Plain(std::array::from_fn(|i| larger(self.0[i], other.0[i])))
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                let smaller = |a: $t, b: $t| if b < a || b.is_nan() { b } else { a };
                Plain(std::array::from_fn(|i| smaller(self.0[i], other.0[i])))
            }
            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                Plain(std::array::from_fn(|i| match cfg!(target_arch = "aarch64") {
                    true => self.0[i].mul_add(a.0[i], b.0[i]),
                    false => self.0[i] * a.0[i] + b.0[i],
                }))
            }
            #[inline(always)]
            unsafe fn interleave(self, other: Self) -> [Self; 2] {
                let half = |from: usize| {
                    Plain(std::array::from_fn(|i| [self, other][i % 2].0[from + i / 2]))
                };
                [half(0), half($lanes / 2)]
            }
            #[inline(always)]
            unsafe fn deinterleave(self, other: Self) -> [Self; 2] {
                let every = |from: usize| {
                    Plain(std::array::from_fn(|i| [self, other][2 * i / $lanes].0[2 * i % $lanes + from]))
                };
                [every(0), every(1)]
            }
        }
    )*};
}
plain! {
    f32: 8;
    f64: 4;
}

/// A loop over registers, which runs with those of this machine.
pub trait VectorLoop<T> {
    /// What it returns.
    type Output;

    /// The loop; `#[inline(always)]`, so that it is compiled for the registers that it runs with.
    ///
    /// # Safety
    /// As [`run`], and the machine has the instruction set of `V`.
    unsafe fn run<V: Vector<Element = T>>(self) -> Self::Output;
}

/// An element type that there are registers of.
pub trait Registers: Sized {
    /// Runs a loop with the registers of this machine.
    ///
    /// # Safety
    /// What the loop reads and writes is there.
    unsafe fn run<L: VectorLoop<Self>>(l: L) -> L::Output;

    /// [`run`](Self::run) with registers of 32 bytes at most, for runs that do not fill wider ones.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn run_narrow<L: VectorLoop<Self>>(l: L) -> L::Output;
}

macro_rules! run {
    ($($t:ty: $avx512:ident $zmm:ident, $avx2:ident $ymm:ident, $plain:ident $lanes:literal;)*) => {$(
        /// # Safety
        /// As [`Registers::run`], and the machine has AVX-512.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        unsafe fn $avx512<L: VectorLoop<$t>>(l: L) -> L::Output {
            // SAFETY: the caller's promise.
            unsafe { l.run::<$zmm>() }
        }

        /// # Safety
        /// As [`Registers::run`], and the machine has AVX2.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $avx2<L: VectorLoop<$t>>(l: L) -> L::Output {
            // SAFETY: the caller's promise.
            unsafe { l.run::<$ymm>() }
        }

        /// Apart from its callers, which share it.
        ///
        /// # Safety
        /// As [`Registers::run`].
        #[inline(never)]
        unsafe fn $plain<L: VectorLoop<$t>>(l: L) -> L::Output {
            // SAFETY: the caller's promise.
            unsafe { l.run::<Plain<$t, $lanes>>() }
        }

        impl Registers for $t {
            unsafe fn run<L: VectorLoop<$t>>(l: L) -> L::Output {
                // SAFETY: the caller's promise, and `level` found the instruction set on this machine.
                unsafe {
                    match simd::level() {
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx512 => $avx512(l),
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx2 => $avx2(l),
                        _ => $plain(l),
                    }
                }
            }

            unsafe fn run_narrow<L: VectorLoop<$t>>(l: L) -> L::Output {
                // SAFETY: as above; where there is AVX-512, there is AVX2.
                unsafe {
                    match simd::level() {
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx512 | Level::Avx2 => $avx2(l),
                        _ => $plain(l),
                    }
                }
            }
        }
    )*};
}
run! {
    f32: f32_avx512 __m512, f32_avx2 __m256, f32_plain 8;
    f64: f64_avx512 __m512d, f64_avx2 __m256d, f64_plain 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements of two registers, in turn, and in turn and back.
    struct Turns<T>(std::marker::PhantomData<T>);

    impl<T: Copy + Default + PartialEq + std::fmt::Debug + num_traits::NumCast> VectorLoop<T> for Turns<T> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector<Element = T>>(self) {
            let number = |i: usize| T::from(i).expect("a small number");
            let x: Vec<T> = (0..2 * V::LANES).map(number).collect();
            let (mut turns, mut back) = (x.clone(), x.clone());
            // SAFETY: each has two registers of elements.
            unsafe {
                let (a, b) = (V::load(x.as_ptr()), V::load(x.as_ptr().add(V::LANES)));
                let [c, d] = a.interleave(b);
                c.store(turns.as_mut_ptr());
                d.store(turns.as_mut_ptr().add(V::LANES));
                let [a, b] = c.deinterleave(d);
                a.store(back.as_mut_ptr());
                b.store(back.as_mut_ptr().add(V::LANES));
            }
            let want: Vec<T> = (0..2 * V::LANES).map(|i| number(i % 2 * V::LANES + i / 2)).collect();
            assert_eq!((turns, &back), (want, &x));
            for n in 0..=V::LANES {
                let mut first = vec![number(0); V::LANES + 1];
                // SAFETY: so many elements are there.
                unsafe { V::load_first(x[1..].as_ptr(), n).store_first(first.as_mut_ptr(), n) };
                let there = (0..V::LANES + 1).map(|i| number(if i < n { i + 1 } else { 0 }));
                assert_eq!(first, there.collect::<Vec<_>>(), "the first {n} lanes");
            }
        }
    }

    #[test]
    fn registers_are_interleaved_and_back_and_their_first_lanes_stored() {
        // SAFETY: the loop reads and writes memory of its own.
        unsafe {
            f32::run(Turns(std::marker::PhantomData));
            f64::run(Turns(std::marker::PhantomData));
        }
    }
}
