//! Precisions: the element types that a tensor's buffer can hold, and the one place where a run-time precision
//! becomes a compile-time type.

use std::cell::Cell;
use std::fmt;

use bytemuck::Pod;
use half::{bf16, f16};

/// The precision of a tensor's elements.
///
/// The *kind* of a tensor (float, integer or boolean) is part of its type, see [`Tensor`](crate::Tensor); its
/// precision is a value.
///
/// ```
/// use wengert_tensor::{DType, Tensor};
/// let x = Tensor::zeros([2, 3]);
/// assert_eq!(x.dtype(), DType::F32);
/// assert_eq!(x.to_dtype(DType::F64).dtype().size(), 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit IEEE 754 float, the default precision of float tensors.
    F32,
    /// 64-bit IEEE 754 float.
    F64,
    /// 16-bit IEEE 754 float. Sums accumulate in `F32`.
    F16,
    /// 16-bit "brain" float: the range of `F32`, 8 bits of significand. Sums accumulate in `F32`.
    BF16,
    /// 64-bit signed integer, the default precision of integer tensors.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// A truth value, stored in a byte that is 0 or 1.
    Bool,
}

impl DType {
    /// Every precision there is.
    ///
    /// ```
    /// use wengert_tensor::DType;
    /// assert!(DType::ALL.iter().all(|d| !(d.is_float() && d.is_int())));
    /// assert_eq!(DType::INTS.map(DType::size), [8, 4, 1, 1]);
    /// assert_eq!(DType::F32.epsilon(), f64::from(f32::EPSILON));
    /// ```
    pub const ALL: [DType; 9] =
        [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::I8, DType::Bool];

    /// The float precisions.
    pub const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

    /// The integer precisions.
    pub const INTS: [DType; 4] = [DType::I64, DType::I32, DType::U8, DType::I8];

    /// Bytes per element.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::U8 | DType::I8 | DType::Bool => 1,
        }
    }

    /// Whether this is a float precision.
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer precision.
    #[inline]
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::U8 | DType::I8)
    }

    /// The name as it is written in Rust, `"F32"` for [`DType::F32`].
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F64 => "F64",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::I64 => "I64",
            DType::I32 => "I32",
            DType::U8 => "U8",
            DType::I8 => "I8",
            DType::Bool => "Bool",
        }
    }

    /// The distance from 1 to the next larger float of this precision; 0 for integers and booleans.
    pub fn epsilon(self) -> f64 {
        match self {
            DType::F32 => f32::EPSILON as f64,
            DType::F64 => f64::EPSILON,
            DType::F16 => f16::EPSILON.to_f64(),
            DType::BF16 => bf16::EPSILON.to_f64(),
            _ => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be an element of a tensor's buffer.
///
/// Sealed: the set of element types is closed, as storage is. `Compute` is the type in which kernels work: `f32` for
/// the two 16-bit floats, the type itself for all others.
///
/// ```
/// use wengert_tensor::Element;
/// fn mean<T: Element>(x: &[T]) -> f64 {
///     x.iter().map(|x| x.to_f64()).sum::<f64>() / x.len() as f64
/// }
/// assert_eq!((mean(&[1.0_f32, 2.0]), mean(&[1_i64, 2])), (1.5, 1.5));
/// assert_eq!((f32::from_f64(0.5).to_i64(), u8::from_i64(3)), (0, 3));
/// assert_eq!((2_i32.plus(3), 2_i32.times(3)), (5, 6));
/// assert_eq!(f32::down(2.0_f32.up()), 2.0);
/// assert!(f32::direct(&[1.0]).is_some() && f32::direct_mut(&mut [1.0]).is_some());
/// ```
pub trait Element:
    Pod + PartialEq + PartialOrd + Default + Send + Sync + fmt::Debug + sealed::Sealed + 'static
{
    /// The type in which kernels compute.
    type Compute: Element<Compute = Self::Compute>;
    /// One type for all of this size, as which elements are moved from place to place: what does no more than that is
    /// compiled once for each size.
    type Moved: Element<Moved = Self::Moved>;
    /// The precision that stores this type. [`DType::Bool`] shares `u8` and so has no type of its own here.
    const DTYPE: DType;
    /// Conversion to the compute type, exact.
    fn up(self) -> Self::Compute;
    /// Conversion from the compute type, rounded to nearest even.
    fn down(x: Self::Compute) -> Self;
    /// Conversion to `f64`, as `as` does it.
    fn to_f64(self) -> f64;
    /// Conversion from `f64`: floats round, integers saturate, NaN becomes integer 0.
    fn from_f64(x: f64) -> Self;
    /// Conversion to `i64`: floats truncate and saturate, NaN becomes 0.
    fn to_i64(self) -> i64;
    /// Conversion from `i64`: floats round, integers wrap.
    fn from_i64(x: i64) -> Self;
    /// The sum, rounded once; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// The product, rounded once; integers wrap.
    fn times(self, other: Self) -> Self;
    /// The same slice in the compute type, where that is this type.
    fn direct(x: &[Self]) -> Option<&[Self::Compute]>;
    /// The same slice in the compute type, mutably, where that is this type.
    fn direct_mut(x: &mut [Self]) -> Option<&mut [Self::Compute]>;
}

macro_rules! element {
    (+ by $plus:path, * by $times:path: $($t:ty => $dtype:ident as $moved:ty),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            type Compute = $t;
            type Moved = $moved;
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn up(self) -> $t { self }
            #[inline(always)]
            fn down(x: $t) -> $t { x }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_f64(x: f64) -> $t { x as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> $t { x as $t }
            #[inline(always)]
            fn plus(self, other: $t) -> $t { $plus(&self, &other) }
            #[inline(always)]
            fn times(self, other: $t) -> $t { $times(&self, &other) }
            #[inline(always)]
            fn direct(x: &[$t]) -> Option<&[$t]> { Some(x) }
            #[inline(always)]
            fn direct_mut(x: &mut [$t]) -> Option<&mut [$t]> { Some(x) }
        }
    )*};
}
element!(+ by std::ops::Add::add, * by std::ops::Mul::mul: f32 => F32 as i32, f64 => F64 as i64);
element!(
    + by num_traits::WrappingAdd::wrapping_add, * by num_traits::WrappingMul::wrapping_mul:
    i64 => I64 as i64, i32 => I32 as i32, u8 => U8 as u8, i8 => I8 as u8
);

macro_rules! half_element {
    ($($t:ty => $dtype:ident by $up:ident, $down:ident);*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            type Compute = f32;
            type Moved = f16;
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn up(self) -> f32 { sixteen_bits::$up(self.to_bits()) }
            #[inline(always)]
            fn down(x: f32) -> $t { <$t>::from_bits(sixteen_bits::$down(x)) }
            #[inline(always)]
            fn to_f64(self) -> f64 { <$t>::to_f64(self) }
            #[inline(always)]
            fn from_f64(x: f64) -> $t { <$t>::from_f64(x) }
            #[inline(always)]
            fn to_i64(self) -> i64 { self.to_f32() as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> $t { <$t>::from_f64(x as f64) }
            #[inline(always)]
            fn plus(self, other: $t) -> $t { <$t>::from_f32(self.to_f32() + other.to_f32()) }
            #[inline(always)]
            fn times(self, other: $t) -> $t { <$t>::from_f32(self.to_f32() * other.to_f32()) }
            #[inline(always)]
            fn direct(_: &[$t]) -> Option<&[f32]> { None }
            #[inline(always)]
            fn direct_mut(_: &mut [$t]) -> Option<&mut [f32]> { None }
        }
    )*};
}
half_element!(f16 => F16 by up_f16, down_f16; bf16 => BF16 by up_bf16, down_bf16);

/// The 16-bit floats from and to single precision, without branches or calls, so that loops over them vectorise.
mod sixteen_bits {
    /// Bits that make a number, but for its sign.
    const SIZE: u32 = 0x7FFF_FFFF;
    /// The size of infinity.
    const INFINITY: u32 = 0x7F80_0000;

    /// What `half::f16::to_f32` gives.
    #[inline(always)]
    pub(super) fn up_f16(bits: u16) -> f32 {
        let (sign, size) = (((bits & 0x8000) as u32) << 16, (bits & 0x7FFF) as u32);
        // The digits in place, the exponent with another bias: a product sets that right, for subnormal numbers too.
        let number = (f32::from_bits(size << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
        let quiet = if size > 0x7C00 { 1 << 22 } else { 0 };
        let beyond = INFINITY | (size << 13) | quiet;
        f32::from_bits(sign | if size >= 0x7C00 { beyond } else { number })
    }

    /// What `half::f16::from_f32` gives: rounded to nearest even.
    #[inline(always)]
    pub(super) fn down_f16(x: f32) -> u16 {
        let (sign, size) = ((x.to_bits() >> 16) & 0x8000, x.to_bits() & SIZE);
        // The addition rounds what is subnormal in 16 bits, as its result has no room for more digits.
        let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let even = (size >> 13) & 1;
        let normal = size.wrapping_sub(112 << 23).wrapping_add(0xFFF + even) >> 13;
        let number = if size < 113 << 23 { small } else { normal };
        // From 65520 on it rounds to infinity.
        let number = if size >= 0x477F_F000 { 0x7C00 } else { number };
        let nan = 0x7E00 | ((size >> 13) & 0x3FF);
        (sign | if size > INFINITY { nan } else { number }) as u16
    }

    /// What `half::bf16::to_f32` gives.
    #[inline(always)]
    pub(super) fn up_bf16(bits: u16) -> f32 {
        let quiet = if bits & 0x7FFF > 0x7F80 { 1 << 22 } else { 0 };
        f32::from_bits(((bits as u32) << 16) | quiet)
    }

    /// What `half::bf16::from_f32` gives: rounded to nearest even.
    #[inline(always)]
    pub(super) fn down_bf16(x: f32) -> u16 {
        let bits = x.to_bits();
        let number = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
        let quiet = bits | 1 << 22;
        ((if x.is_nan() { quiet } else { number }) >> 16) as u16
    }

    #[cfg(test)]
    mod tests {
        use half::{bf16, f16};

        #[test]
        fn conversions_are_those_of_the_crate_half() {
            for bits in 0..=u16::MAX {
                let (own, want) = (super::up_f16(bits), f16::from_bits(bits).to_f32());
                assert_eq!(own.to_bits(), want.to_bits(), "f16 {bits:#x}");
                let (own, want) = (super::up_bf16(bits), bf16::from_bits(bits).to_f32());
                assert_eq!(own.to_bits(), want.to_bits(), "bf16 {bits:#x}");
            }
            // Numbers of every exponent, with digits near every boundary of rounding.
            let digits =
                [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x7F_FFFF];
            for top in 0..=u16::MAX {
                for low in digits {
                    let x = f32::from_bits(((top as u32) << 16) ^ low);
                    assert_eq!(super::down_f16(x), f16::from_f32(x).to_bits(), "f16 of {:#x}", x.to_bits());
                    assert_eq!(super::down_bf16(x), bf16::from_f32(x).to_bits(), "bf16 of {:#x}", x.to_bits());
                }
            }
        }
    }
}

/// Runs `$body` with `$T` bound to the element type of a precision: `with_dtype!(dtype, T => f::<T>())`.
///
/// The set can be narrowed: `with_dtype!(float dtype, T => ..)` and `with_dtype!(int dtype, T => ..)` panic for other
/// kinds (the callers know the kind); `precise` takes the floats that kernels compute in, F32 and F64; `wide` takes what is computed in as it is stored: all but the 16-bit floats;
/// `moved` takes one type for all of a size, see [`Element::Moved`]. Booleans run as `u8`.
macro_rules! with_dtype {
    (float $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => { type $T = f32; $body }
            $crate::DType::F64 => { type $T = f64; $body }
            $crate::DType::F16 => { type $T = ::half::f16; $body }
            $crate::DType::BF16 => { type $T = ::half::bf16; $body }
            other => unreachable!("a float kernel was called with {other}"),
        }
    };
    (precise $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => { type $T = f32; $body }
            $crate::DType::F64 => { type $T = f64; $body }
            other => unreachable!("a float kernel was called with {other}"),
        }
    };
    (int $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::I64 => { type $T = i64; $body }
            $crate::DType::I32 => { type $T = i32; $body }
            $crate::DType::U8 => { type $T = u8; $body }
            $crate::DType::I8 => { type $T = i8; $body }
            other => unreachable!("an integer kernel was called with {other}"),
        }
    };
    (moved $dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => { type $T = u8; $body }
            2 => { type $T = ::half::f16; $body }
            4 => { type $T = i32; $body }
            _ => { type $T = i64; $body }
        }
    };
    (wide $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => { type $T = f32; $body }
            $crate::DType::F64 => { type $T = f64; $body }
            other => $crate::dtype::with_dtype!(int other, $T => $body),
        }
    };
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => { type $T = f32; $body }
            $crate::DType::F64 => { type $T = f64; $body }
            $crate::DType::F16 => { type $T = ::half::f16; $body }
            $crate::DType::BF16 => { type $T = ::half::bf16; $body }
            $crate::DType::I64 => { type $T = i64; $body }
            $crate::DType::I32 => { type $T = i32; $body }
            $crate::DType::I8 => { type $T = i8; $body }
            $crate::DType::U8 | $crate::DType::Bool => { type $T = u8; $body }
        }
    };
}
pub(crate) use with_dtype;

thread_local! {
    static DEFAULT_FLOAT: Cell<DType> = const { Cell::new(DType::F32) };
}

/// The precision of float tensors made without naming one, on this thread. [`DType::F32`] unless changed by
/// [`with_default_dtype`].
///
/// ```
/// use wengert_tensor::{DType, default_dtype, with_default_dtype};
/// assert_eq!(default_dtype(), DType::F32);
/// assert_eq!(with_default_dtype(DType::F64, default_dtype), DType::F64);
/// ```
pub fn default_dtype() -> DType {
    DEFAULT_FLOAT.with(Cell::get)
}

/// Runs `f` with `dtype` as the default precision of new float tensors on this thread.
///
/// The former default returns when `f` ends, also when it panics.
///
/// # Panics
/// If `dtype` is not a float precision.
///
/// ```
/// use wengert_tensor::{DType, Tensor, with_default_dtype};
/// let x = with_default_dtype(DType::F64, || Tensor::ones([2]));
/// assert_eq!(x.dtype(), DType::F64);
/// assert_eq!(Tensor::ones([2]).dtype(), DType::F32);
/// ```
#[track_caller]
pub fn with_default_dtype<R>(dtype: DType, f: impl FnOnce() -> R) -> R {
    struct Restore(DType);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEFAULT_FLOAT.with(|d| d.set(self.0));
        }
    }
    assert!(dtype.is_float(), "with_default_dtype: {dtype} is not a float precision; choose F32, F64, BF16 or F16");
    let _restore = Restore(DEFAULT_FLOAT.with(|d| d.replace(dtype)));
    f()
}
