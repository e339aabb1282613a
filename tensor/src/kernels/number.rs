//! The numbers that the bodies of elementwise operations are written over.
//!
//! A body is generic over [`Real`] (or [`Whole`] for integers) and has no `if`: it compares to a mask and selects. So
//! the same text serves one element at a time, SIMD, and targets to come.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use num_traits::Float;

use super::simd::Isa;

/// A float in a kernel body.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// The result of a comparison.
    type Mask: Mask;

    /// A literal, rounded to this precision.
    fn lit(x: f64) -> Self;
    /// `yes` where the mask holds, `no` elsewhere. Both are computed.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `self < other`; false for NaN.
    fn lt(self, other: Self) -> Self::Mask;
    /// `self <= other`; false for NaN.
    fn le(self, other: Self) -> Self::Mask;
    /// `self == other`; false for NaN.
    fn eq(self, other: Self) -> Self::Mask;
    /// Whether this is NaN.
    fn is_nan(self) -> Self::Mask;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The largest integer not above.
    fn floor(self) -> Self;
    /// The smallest integer not below.
    fn ceil(self) -> Self;
    /// The nearest integer, ties to even.
    fn round_even(self) -> Self;
    /// The integer part.
    fn trunc(self) -> Self;
    /// `e^self`.
    fn exp(self) -> Self;
    /// `2^self`.
    fn exp2(self) -> Self;
    /// `e^self - 1`.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Logarithm to base 2.
    fn log2(self) -> Self;
    /// Logarithm to base 10.
    fn log10(self) -> Self;
    /// `ln(1 + self)`.
    fn ln_1p(self) -> Self;
    /// Sine, radians.
    fn sin(self) -> Self;
    /// Cosine, radians.
    fn cos(self) -> Self;
    /// Tangent, radians.
    fn tan(self) -> Self;
    /// Arc sine, radians.
    fn asin(self) -> Self;
    /// Arc cosine, radians.
    fn acos(self) -> Self;
    /// Arc tangent, radians.
    fn atan(self) -> Self;
    /// The angle of the point `(x, self)`, radians.
    fn atan2(self, x: Self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The complement of the error function, precise in its right tail too.
    fn erfc(self) -> Self;
    /// The normal distribution function, precise in its left tail too.
    fn normal_cdf(self) -> Self;
    /// `self^other`.
    fn pow(self, other: Self) -> Self;
    /// What is left of `self` after subtracting `other` as often as it goes in, exactly, with the sign of `self`.
    fn fmod(self, other: Self) -> Self;
    /// The larger; NaN if either is.
    fn max(self, other: Self) -> Self {
        let larger = Self::select(self.lt(other), other, self);
        Self::select(other.is_nan(), other, larger)
    }
    /// The smaller; NaN if either is.
    fn min(self, other: Self) -> Self {
        let smaller = Self::select(other.lt(self), other, self);
        Self::select(other.is_nan(), other, smaller)
    }
}

/// A truth value in a kernel body.
pub trait Mask: Copy {
    /// The contrary.
    fn not(self) -> Self;
    /// 0 or 1.
    fn byte(self) -> u8;
}

impl Mask for bool {
    #[inline(always)]
    fn not(self) -> bool {
        !self
    }
    #[inline(always)]
    fn byte(self) -> u8 {
        self as u8
    }
}

/// An integer in a kernel body. Arithmetic wraps.
pub trait Whole:
    num_traits::PrimInt + num_traits::WrappingAdd + num_traits::WrappingSub + num_traits::WrappingMul
{
    /// `-self`, wrapping.
    fn wrapping_neg(self) -> Self;
    /// Absolute value, wrapping.
    fn wrapping_abs(self) -> Self;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    /// The quotient, rounded towards 0, wrapping. `other` is not 0.
    fn div_trunc(self, other: Self) -> Self;
    /// The quotient, rounded down, wrapping. `other` is not 0.
    fn div_floor(self, other: Self) -> Self;
    /// What [`div_floor`](Self::div_floor) leaves: it has the sign of `other`, which is not 0.
    fn rem_floor(self, other: Self) -> Self;
}

macro_rules! whole {
    ($($t:ty),*) => {$(
        impl Whole for $t {
            #[inline(always)]
            fn wrapping_neg(self) -> $t { <$t>::wrapping_neg(self) }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn wrapping_abs(self) -> $t { if self < 0 { self.wrapping_neg() } else { self } }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn sign(self) -> $t { (self > 0) as $t - (self < 0) as $t }
            #[inline(always)]
            fn div_trunc(self, other: $t) -> $t { self.wrapping_div(other) }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn div_floor(self, other: $t) -> $t {
                let rest = self.wrapping_rem(other);
                let down = rest != 0 && (rest < 0) != (other < 0);
                self.wrapping_div(other).wrapping_sub(down as $t)
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn rem_floor(self, other: $t) -> $t {
                let rest = self.wrapping_rem(other);
                if rest != 0 && (rest < 0) != (other < 0) { rest.wrapping_add(other) } else { rest }
            }
        }
    )*};
}
whole!(i64, i32, u8, i8);

/// One element of precision `T` at instruction set `I`.
#[derive(Clone, Copy)]
pub struct Lane<T, I>(pub T, PhantomData<I>);

impl<T, I> Lane<T, I> {
    /// Wraps an element.
    #[inline(always)]
    pub fn new(x: T) -> Self {
        Lane(x, PhantomData)
    }
}

macro_rules! lane_operator {
    ($($trait:ident $method:ident),*) => {$(
        impl<T: Float, I> $trait for Lane<T, I> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self { Lane::new($trait::$method(self.0, other.0)) }
        }
    )*};
}
lane_operator!(Add add, Sub sub, Mul mul, Div div);

impl<T: Float, I> Neg for Lane<T, I> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Lane::new(-self.0)
    }
}

/// The float types that kernels compute in: `f32` and `f64`.
pub trait Precise: Float + Send + Sync + 'static {
    /// `e^self`, to a unit in the last place.
    fn exponential<I: Isa>(self) -> Self;
    /// The error function to a few units in the last place.
    fn erf(self) -> Self;
    /// The complement of the error function, precise in its right tail too.
    fn erfc(self) -> Self;
    /// The normal distribution function, precise in its left tail too.
    fn normal_cdf(self) -> Self;
    /// The nearest integer, ties to even.
    fn round_even(self) -> Self;
}

impl Precise for f32 {
    #[inline(always)]
    fn exponential<I: Isa>(self) -> f32 {
        // In f64, where no step over- or underflows, and rounded once; without branches or calls, so that loops
        // vectorise. e^x = 2^n e^r, with n the integer nearest to x / ln 2.
        /// Added, it moves the units of a small f64 to its last bit, rounded to nearest.
        const TO_UNITS: f64 = 6755399441055744.0;
        let x = self as f64;
        let x = if x < -150.0 { -150.0 } else { x };
        let x = if x > 150.0 { 150.0 } else { x };
        let shifted = x * std::f64::consts::LOG2_E + TO_UNITS;
        let r = x - (shifted - TO_UNITS) * std::f64::consts::LN_2;
        // Taylor: with |r| <= ln 2 / 2, what follows the term of degree 8 is below 1e-9.
        let series = [40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0];
        let power = series.iter().fold(0.0, |sum, factorial| mul_add::<I>(sum, r, 1.0 / factorial));
        let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
        (power * scale) as f32
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        // In f64 and rounded once: correct to the last place but for rare ties.
        erf(self as f64) as f32
    }
    #[inline(always)]
    fn erfc(self) -> f32 {
        erfc(self as f64) as f32
    }
    #[inline(always)]
    fn normal_cdf(self) -> f32 {
        normal_cdf(self as f64) as f32
    }
    #[inline(always)]
    fn round_even(self) -> f32 {
        self.round_ties_even()
    }
}

impl Precise for f64 {
    #[inline(always)]
    fn exponential<I: Isa>(self) -> f64 {
        self.exp()
    }
    #[inline(always)]
    fn erf(self) -> f64 {
        erf(self)
    }
    #[inline(always)]
    fn erfc(self) -> f64 {
        erfc(self)
    }
    #[inline(always)]
    fn normal_cdf(self) -> f64 {
        normal_cdf(self)
    }
    #[inline(always)]
    fn round_even(self) -> f64 {
        self.round_ties_even()
    }
}

/// `a * b + c`, in one rounding where the instruction set has it: without, `f64::mul_add` would be a slow call.
#[inline(always)]
fn mul_add<I: Isa>(a: f64, b: f64, c: f64) -> f64 {
    if I::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The error function, to about 1e-15: its Taylor series near zero, else the continued fraction of its complement
/// (Abramowitz and Stegun, 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        // erf(x) = 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (1 3 5 .. (2n+1)): all terms positive, none cancel.
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return (std::f64::consts::FRAC_2_SQRT_PI * (-a * a).exp() * sum).copysign(x);
    }
    if a > 6.0 {
        return 1f64.copysign(x);
    }
    (1.0 - erfc_tail(a)).copysign(x)
}

/// The complement of the error function, to about 1e-13 of its value.
fn erfc(x: f64) -> f64 {
    if x < 2.0 { 1.0 - erf(x) } else { erfc_tail(x) }
}

/// The normal distribution function, `(1 + erf(x / sqrt(2))) / 2`, to about 1e-13 of its value: from the complement,
/// which does not cancel to the left.
fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// The complement of the error function from 2 on.
fn erfc_tail(a: f64) -> f64 {
    let mut fraction = a;
    for n in (1..=60).rev() {
        fraction = a + (n as f64 / 2.0) / fraction;
    }
    (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt())
}

impl<T: Precise, I: Isa> Real for Lane<T, I> {
    type Mask = bool;

    #[inline(always)]
    fn lit(x: f64) -> Self {
        Lane::new(T::from(x).expect("every f64 converts to a float"))
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn lt(self, other: Self) -> bool {
        self.0 < other.0
    }
    #[inline(always)]
    fn le(self, other: Self) -> bool {
        self.0 <= other.0
    }
    #[inline(always)]
    fn eq(self, other: Self) -> bool {
        self.0 == other.0
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Lane::new(self.0.abs())
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Lane::new(self.0.sqrt())
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Lane::new(self.0.floor())
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        Lane::new(self.0.ceil())
    }
    #[inline(always)]
    fn round_even(self) -> Self {
        Lane::new(self.0.round_even())
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        Lane::new(self.0.trunc())
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Lane::new(self.0.exponential::<I>())
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        Lane::new(self.0.exp2())
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        Lane::new(self.0.exp_m1())
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Lane::new(self.0.ln())
    }
    #[inline(always)]
    fn log2(self) -> Self {
        Lane::new(self.0.log2())
    }
    #[inline(always)]
    fn log10(self) -> Self {
        Lane::new(self.0.log10())
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        Lane::new(self.0.ln_1p())
    }
    #[inline(always)]
    fn sin(self) -> Self {
        Lane::new(self.0.sin())
    }
    #[inline(always)]
    fn cos(self) -> Self {
        Lane::new(self.0.cos())
    }
    #[inline(always)]
    fn tan(self) -> Self {
        Lane::new(self.0.tan())
    }
    #[inline(always)]
    fn asin(self) -> Self {
        Lane::new(self.0.asin())
    }
    #[inline(always)]
    fn acos(self) -> Self {
        Lane::new(self.0.acos())
    }
    #[inline(always)]
    fn atan(self) -> Self {
        Lane::new(self.0.atan())
    }
    #[inline(always)]
    fn atan2(self, x: Self) -> Self {
        Lane::new(self.0.atan2(x.0))
    }
    #[inline(always)]
    fn sinh(self) -> Self {
        Lane::new(self.0.sinh())
    }
    #[inline(always)]
    fn cosh(self) -> Self {
        Lane::new(self.0.cosh())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Lane::new(self.0.tanh())
    }
    #[inline(always)]
    fn erf(self) -> Self {
        Lane::new(self.0.erf())
    }
    #[inline(always)]
    fn erfc(self) -> Self {
        Lane::new(self.0.erfc())
    }
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        Lane::new(self.0.normal_cdf())
    }
    #[inline(always)]
    fn pow(self, other: Self) -> Self {
        Lane::new(self.0.powf(other.0))
    }
    #[inline(always)]
    fn fmod(self, other: Self) -> Self {
        Lane::new(self.0 % other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Fused, Plain};
    use super::Precise;

    #[test]
    fn exponentials_of_f32_are_right_to_a_unit_in_the_last_place() {
        // Every 1009th bit pattern: both signs, subnormals, infinities, NaN.
        for bits in (0..=u32::MAX).step_by(1009).chain([0x7f80_0000, 0xff80_0000, 0x8000_0000]) {
            let x = f32::from_bits(bits);
            let want = (x as f64).exp() as f32;
            for have in [x.exponential::<Plain>(), x.exponential::<Fused>()] {
                let close = have.to_bits().abs_diff(want.to_bits()) <= 1;
                assert!(close || have.is_nan() && want.is_nan(), "exp({x:e}) is {want:e}, not {have:e}");
            }
        }
    }
}
