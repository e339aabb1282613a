//! The numbers that the bodies of elementwise operations are written over.
//!
//! A body is generic over [`Real`] (or [`Whole`] for integers) and has no `if`: it compares to a mask and selects. So
//! the same text serves one element at a time, SIMD, and targets to come.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use num_traits::Float;

use super::elementary::{self, Format};
use super::simd::Isa;
use super::single;
use super::vector::Registers;

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
    /// The logistic function, `1 / (1 + e^-self)`.
    fn sigmoid(self) -> Self;
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
            #[allow(unused_comparisons)] // unsigned types have nothing below 0
            fn wrapping_abs(self) -> $t { if self < 0 { self.wrapping_neg() } else { self } }
            #[inline(always)]
            #[allow(unused_comparisons)] // unsigned types have nothing below 0
            fn sign(self) -> $t { (self > 0) as $t - (self < 0) as $t }
            #[inline(always)]
            fn div_trunc(self, other: $t) -> $t { self.wrapping_div(other) }
            #[inline(always)]
            #[allow(unused_comparisons)] // unsigned types have nothing below 0
            fn div_floor(self, other: $t) -> $t {
                let rest = self.wrapping_rem(other);
                let down = rest != 0 && (rest < 0) != (other < 0);
                self.wrapping_div(other).wrapping_sub(down as $t)
            }
            #[inline(always)]
            #[allow(unused_comparisons)] // unsigned types have nothing below 0
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

/// Defines [`Precise`]: for `f32` its functions are those of [`single`], for `f64` those named here.
macro_rules! by_precision {
    ($($name:ident($($x:ident),+) = $double:path;)*) => {
        /// The float types that kernels compute in: `f32` and `f64`, with the functions that are not computed alike in both.
        pub trait Precise: Format + Registers + Send + Sync {
            /// The nearest integer, ties to even.
            fn round_even(x: Self) -> Self;
            $(
                #[doc = concat!("As [`Real::", stringify!($name), "`], for an instruction set.")]
                fn $name<I: Isa>($($x: Self),+) -> Self;
            )*
        }

        impl Precise for f32 {
            #[inline(always)]
            fn round_even(x: f32) -> f32 {
                x.round_ties_even()
            }
            $(
                #[inline(always)]
                fn $name<I: Isa>($($x: f32),+) -> f32 {
                    single::$name::<I>($($x),+)
                }
            )*
        }

        impl Precise for f64 {
            #[inline(always)]
            fn round_even(x: f64) -> f64 {
                x.round_ties_even()
            }
            $(
                #[inline(always)]
                fn $name<I: Isa>($($x: f64),+) -> f64 {
                    $double($($x),+)
                }
            )*
        }
    };
}
by_precision! {
    log2(x) = f64::log2;
    log10(x) = f64::log10;
    sin(x) = f64::sin;
    cos(x) = f64::cos;
    tan(x) = f64::tan;
    asin(x) = f64::asin;
    acos(x) = f64::acos;
    atan(x) = f64::atan;
    atan2(y, x) = f64::atan2;
    pow(x, y) = f64::powf;
    erf(x) = erf;
    erfc(x) = erfc;
    normal_cdf(x) = normal_cdf;
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

/// Defines functions of a lane by those of its element.
macro_rules! functions {
    ($($name:ident: $of_element:expr;)*) => {$(
        #[inline(always)]
        fn $name(self) -> Self {
            Lane::new($of_element(self.0))
        }
    )*};
}

impl<T: Precise, I: Isa> Real for Lane<T, I> {
    type Mask = bool;

    #[inline(always)]
    fn lit(x: f64) -> Self {
        Lane::new(<T as Format>::lit(x))
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
        Lane::new(T::round_even(self.0))
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        Lane::new(self.0.trunc())
    }
    functions! {
        exp: elementary::exp::<T, I>;
        exp2: elementary::exp2::<T, I>;
        exp_m1: elementary::exp_m1::<T, I>;
        ln: elementary::ln::<T, I>;
        ln_1p: elementary::ln_1p::<T, I>;
        sinh: elementary::sinh::<T, I>;
        cosh: elementary::cosh::<T, I>;
        tanh: elementary::tanh::<T, I>;
        sigmoid: elementary::sigmoid::<T, I>;
        log2: <T as Precise>::log2::<I>;
        log10: <T as Precise>::log10::<I>;
        sin: <T as Precise>::sin::<I>;
        cos: <T as Precise>::cos::<I>;
        tan: <T as Precise>::tan::<I>;
        asin: <T as Precise>::asin::<I>;
        acos: <T as Precise>::acos::<I>;
        atan: <T as Precise>::atan::<I>;
        erf: <T as Precise>::erf::<I>;
        erfc: <T as Precise>::erfc::<I>;
        normal_cdf: <T as Precise>::normal_cdf::<I>;
    }
    #[inline(always)]
    fn atan2(self, x: Self) -> Self {
        Lane::new(<T as Precise>::atan2::<I>(self.0, x.0))
    }
    #[inline(always)]
    fn pow(self, other: Self) -> Self {
        Lane::new(<T as Precise>::pow::<I>(self.0, other.0))
    }
    #[inline(always)]
    fn fmod(self, other: Self) -> Self {
        Lane::new(self.0 % other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Fused, Plain};
    use super::*;

    /// Numbers of either sign over all exponents, and the ends.
    fn singles() -> impl Iterator<Item = f32> {
        let ends = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-45, 1.0, -1.0];
        (0..=u32::MAX).step_by(40_009).map(f32::from_bits).chain(ends)
    }

    /// The distance in units in the last place of single precision; NaN is at no distance from NaN, and 0 not from -0.
    fn distance(have: f32, want: f64) -> f64 {
        let nearest = want as f32;
        if have.is_nan() && nearest.is_nan() || have == nearest && have.is_infinite() {
            return 0.0;
        }
        if have.is_sign_negative() != nearest.is_sign_negative() {
            return f64::INFINITY;
        }
        let size = nearest.abs().clamp(f32::MIN_POSITIVE, f32::MAX);
        let unit = f32::from_bits(size.to_bits() & f32::INFINITY.to_bits()) as f64 * f32::EPSILON as f64;
        (have as f64 - want).abs() / unit
    }

    fn assert_near(name: &str, of: &[f32], have: f32, want: f64, bound: f64) {
        let d = distance(have, want);
        assert!(d <= bound, "{name} of {of:?} is {want:e}, not {have:e}: {d} units in the last place");
    }

    #[test]
    fn functions_of_f32_are_right_to_units_in_the_last_place() {
        macro_rules! check {
            ($($f:ident to $units:literal: $want:expr $(, $end:expr)?;)*) => {$(
                let want: fn(f64) -> f64 = $want;
                for x in singles() $(.filter(|x| x.abs() <= $end as f32))? {
                    for have in [Lane::<f32, Plain>::new(x).$f().0, Lane::<f32, Fused>::new(x).$f().0] {
                        assert_near(stringify!($f), &[x], have, want(x as f64), $units);
                    }
                }
            )*};
        }
        check! {
            exp to 1.0: f64::exp;
            exp2 to 1.0: f64::exp2;
            exp_m1 to 1.4: f64::exp_m1;
            sinh to 2.0: f64::sinh;
            cosh to 1.25: f64::cosh;
            tanh to 2.0: f64::tanh;
            sigmoid to 2.0: |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
            ln to 0.8: f64::ln;
            ln_1p to 1.4: f64::ln_1p;
            log2 to 0.51: f64::log2;
            log10 to 0.51: f64::log10;
            sin to 0.51: f64::sin, single::TRIGONOMETRIC_END;
            cos to 0.51: f64::cos, single::TRIGONOMETRIC_END;
            tan to 0.51: f64::tan, single::TRIGONOMETRIC_END;
            asin to 0.51: f64::asin;
            acos to 0.51: f64::acos;
            atan to 0.51: f64::atan;
            erf to 0.51: erf;
            erfc to 0.7: erfc;
            normal_cdf to 0.7: normal_cdf;
        }
    }

    #[test]
    fn functions_of_two_f32_are_right_to_units_in_the_last_place() {
        let special = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e-45, 1e10, 16_777_215.0, f32::MAX, f32::INFINITY, f32::NAN];
        let near_one = (0..800).map(|i| 1.0 + (i - 400) as f32 * f32::EPSILON);
        let spread = singles().step_by(97);
        let all: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).chain(near_one).chain(spread).collect();
        for &x in all.iter() {
            for &y in all.iter().step_by(3).chain(&special) {
                let (a, b) = (x as f64, y as f64);
                let power = |have: f32| assert_near("pow", &[x, y], have, a.powf(b), 0.51);
                power(Lane::<f32, Plain>::new(x).pow(Lane::new(y)).0);
                power(Lane::<f32, Fused>::new(x).pow(Lane::new(y)).0);
                let angle = Lane::<f32, Fused>::new(x).atan2(Lane::new(y)).0;
                assert_near("atan2", &[x, y], angle, a.atan2(b), 0.51);
            }
        }
    }

    #[test]
    fn functions_of_f64_are_right_to_units_in_the_last_place() {
        macro_rules! check {
            ($($f:ident)*) => {$(
                let ends = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN, 5e-324, 1.0, -1.0];
                for x in (0..=u64::MAX).step_by(0x9ce5_3ad1_7f4b).map(f64::from_bits).chain(ends) {
                    let want = f64::$f(x);
                    for have in [Lane::<f64, Plain>::new(x).$f().0, Lane::<f64, Fused>::new(x).$f().0] {
                        let near = have.to_bits().abs_diff(want.to_bits()) <= 2 || have.is_nan() && want.is_nan();
                        assert!(near, "{} of {x:e} is {want:e}, not {have:e}", stringify!($f));
                    }
                }
            )*};
        }
        check! { exp exp2 exp_m1 sinh cosh tanh ln ln_1p }
    }
}
