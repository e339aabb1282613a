//! The numbers that the bodies of elementwise operations are written over.
//!
//! A body is generic over [`Real`] (or [`Whole`] for integers) and has no `if`: it compares to a mask and selects. So
//! the same text serves one element at a time, SIMD, and targets to come.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

use num_traits::Float;

use super::double;
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
    /// The same, from 0 to 1 only, which takes less.
    fn ln_1p_of_share(self) -> Self;
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
    /// `self` times the normal distribution function: to about four units in the last place in single precision.
    fn gelu(self) -> Self;
    /// The derivative of [`gelu`](Self::gelu).
    fn gelu_slope(self) -> Self;
    /// `self^other`.
    fn pow(self, other: Self) -> Self;
    /// What is left of `self` after subtracting `other` as often as it goes in, exactly, with the sign of `self`, where it
    /// does so not too often: see [`divide`](super::divide).
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

/// Defines [`Precise`]: its functions are those of [`single`] and of [`double`].
macro_rules! by_precision {
    ($($name:ident($($x:ident),+))*) => {
        /// The float types that kernels compute in: `f32` and `f64`, with the functions that are not computed alike in both.
        pub trait Precise: Format + Registers + Send + Sync {
            /// The nearest integer, ties to even.
            fn round_even(x: Self) -> Self;
            $(
                #[doc = concat!("As [`Real::", stringify!($name), "`], for an instruction set.")]
                fn $name<I: Isa>($($x: Self),+) -> Self;
            )*
        }
        by_precision!(@impl f32 = single: $($name($($x),+))*);
        by_precision!(@impl f64 = double: $($name($($x),+))*);
    };
    (@impl $t:ident = $of:ident: $($name:ident($($x:ident),+))*) => {
        impl Precise for $t {
            #[inline(always)]
            fn round_even(x: $t) -> $t {
                x.round_ties_even()
            }
            $(
                #[inline(always)]
                fn $name<I: Isa>($($x: $t),+) -> $t {
                    $of::$name::<I>($($x),+)
                }
            )*
        }
    };
}
by_precision! {
    log2(x) log10(x) sin(x) cos(x) tan(x) asin(x) acos(x) atan(x) atan2(y, x) pow(x, y) erf(x) erfc(x) normal_cdf(x) gelu(x)
    gelu_slope(x)
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
        ln_1p_of_share: elementary::ln_1p_of_share::<T, I>;
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
        gelu: <T as Precise>::gelu::<I>;
        gelu_slope: <T as Precise>::gelu_slope::<I>;
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
        Lane::new(elementary::fmod::<T, I>(self.0, other.0))
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
    fn remainders_are_exact() {
        fn check<T: Precise + std::fmt::Debug, I: Isa>(x: T, y: T) {
            if !elementary::fmod_is_far::<T, I>(x, y) {
                let (have, want) = (elementary::fmod::<T, I>(x, y), x % y);
                let same = have == want && have.is_sign_negative() == want.is_sign_negative();
                assert!(same || have.is_nan() && want.is_nan(), "{x:?} % {y:?} is {want:?}, not {have:?}");
            }
        }
        let special = [0.0, 0.5, 1.0, 3.0, 0.1, 0.7, 1e-45, f32::MIN_POSITIVE, 1e10, f32::MAX, f32::INFINITY, f32::NAN];
        let all: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).chain(singles().step_by(97)).collect();
        for &x in &all {
            // Of like size, and multiples with their neighbours.
            let near = (1..40).flat_map(|i| [x / i as f32, x * (i as f32 / 40.0), x / (i * i * 7) as f32]);
            for y in near.chain(all.iter().copied().step_by(13)).chain(special) {
                check::<f32, Plain>(x, y);
                check::<f32, Fused>(x, y);
                for (x, y) in [(x as f64, y as f64), (x as f64 / 3.0, y as f64 / 7.0)] {
                    check::<f64, Plain>(x, y);
                    check::<f64, Fused>(x, y);
                }
            }
        }
    }

    /// Whether a double is right to two units in the last place.
    fn is_near(have: f64, want: f64) -> bool {
        have.to_bits().abs_diff(want.to_bits()) <= 2 || have == want || have.is_nan() && want.is_nan()
    }

    /// Numbers of either sign over all exponents, and the ends.
    fn all_doubles() -> impl Iterator<Item = f64> {
        let ends = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN, 5e-324, 1.0, -1.0];
        (0..=u64::MAX).step_by(0x9ce5_3ad1_7f4b).map(f64::from_bits).chain(ends)
    }

    /// The same and many to 2.5.
    fn doubles() -> impl Iterator<Item = f64> {
        all_doubles().chain((-200_000..200_000).map(|i| i as f64 * 1.234_567_891e-5))
    }

    #[test]
    fn functions_of_f64_are_right_to_units_in_the_last_place() {
        macro_rules! check {
            ($($f:ident over $x:expr;)*) => {$(
                for x in $x {
                    let want = f64::$f(x);
                    for have in [Lane::<f64, Plain>::new(x).$f().0, Lane::<f64, Fused>::new(x).$f().0] {
                        assert!(is_near(have, want), "{} of {x:e} is {want:e}, not {have:e}", stringify!($f));
                    }
                }
            )*};
        }
        check! {
            exp over doubles();
            exp2 over doubles();
            exp_m1 over doubles();
            sinh over all_doubles();
            cosh over doubles();
            tanh over all_doubles();
            ln over doubles();
            ln_1p over doubles();
            log2 over doubles();
            log10 over doubles();
            asin over doubles();
            acos over doubles();
            atan over doubles();
            sin over doubles().filter(|x| x.abs() <= single::TRIGONOMETRIC_END);
            cos over doubles().filter(|x| x.abs() <= single::TRIGONOMETRIC_END);
            tan over doubles().filter(|x| x.abs() <= single::TRIGONOMETRIC_END);
        }
        for x in (0..200_000).map(|i| i as f64 * 5e-6).chain(doubles().filter(|x| (0.0..=1.0).contains(x))) {
            let (plain, fused) = (Lane::<f64, Plain>::new(x), Lane::<f64, Fused>::new(x));
            for have in [plain.ln_1p_of_share().0, fused.ln_1p_of_share().0] {
                assert!(is_near(have, x.ln_1p()), "ln(1 + {x:e}) is {:e}, not {have:e}", x.ln_1p());
            }
        }
    }

    #[test]
    fn a_sine_of_nearly_a_multiple_of_pi_keeps_its_digits() {
        // A multiple of pi / 2 in double precision: what it has rounded away is all that is left.
        for i in 1..600_000 {
            let x = i as f64 * std::f64::consts::FRAC_PI_2;
            let (sin, cos) = x.sin_cos();
            for (f, have, want) in [
                ("sin", Lane::<f64, Plain>::new(x).sin().0, sin),
                ("sin", Lane::<f64, Fused>::new(x).sin().0, sin),
                ("cos", Lane::<f64, Plain>::new(x).cos().0, cos),
                ("cos", Lane::<f64, Fused>::new(x).cos().0, cos),
                ("tan", Lane::<f64, Fused>::new(x).tan().0, x.tan()),
            ] {
                assert!(is_near(have, want), "{f} of {x:e} is {want:e}, not {have:e}");
            }
        }
    }

    #[test]
    fn functions_of_two_f64_are_right_to_units_in_the_last_place() {
        let special =
            [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5e-324, 1e10, 9_007_199_254_740_991.0, f64::MAX, f64::INFINITY, f64::NAN];
        let near_one = (0..800).map(|i| 1.0 + (i - 400) as f64 * f64::EPSILON);
        let around = (0..1000).map(|i| i as f64 * 0.012_345_678_9);
        let spread = doubles().step_by(4001);
        let all: Vec<f64> = special.iter().flat_map(|&x| [x, -x]).chain(near_one).chain(around).chain(spread).collect();
        for &x in all.iter() {
            for &y in all.iter().step_by(7).chain(&special) {
                for (f, have, want) in [
                    ("pow", Lane::<f64, Plain>::new(x).pow(Lane::new(y)).0, x.powf(y)),
                    ("pow", Lane::<f64, Fused>::new(x).pow(Lane::new(y)).0, x.powf(y)),
                    ("atan2", Lane::<f64, Plain>::new(x).atan2(Lane::new(y)).0, x.atan2(y)),
                    ("atan2", Lane::<f64, Fused>::new(x).atan2(Lane::new(y)).0, x.atan2(y)),
                ] {
                    assert!(is_near(have, want), "{f} of {x:e} and {y:e} is {want:e}, not {have:e}");
                }
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_error_function_of_f64_is_right_to_units_in_the_last_place() {
        // The error function, its complement and the normal distribution function, by mpmath with 60 digits.
        let table = [
            (5e-324, [5e-324, 1.0, 0.5]),
            (1e-300, [1.1283791670955126e-300, 1.0, 0.5]),
            (1e-17, [1.1283791670955127e-17, 1.0, 0.5]),
            (1e-08, [1.1283791670955126e-08, 0.9999999887162083, 0.5000000039894228]),
            (0.01, [0.011283415555849618, 0.9887165844441503, 0.5039893563146316]),
            (0.1, [0.1124629160182849, 0.887537083981715, 0.539827837277029]),
            (0.3, [0.3286267594591274, 0.6713732405408726, 0.6179114221889527]),
            (0.47, [0.4937450508860821, 0.5062549491139179, 0.6808224912174442]),
            (0.7, [0.6778011938374184, 0.32219880616258156, 0.758036347776927]),
            (0.9, [0.7969082124228322, 0.20309178757716786, 0.8159398746532405]),
            (0.999, [0.8422852702064969, 0.15771472979350307, 0.8411026543586817]),
            (1.0, [0.8427007929497149, 0.15729920705028513, 0.8413447460685429]),
            (1.001, [0.8431154854780762, 0.15688451452192373, 0.84158659580772]),
            (1.2, [0.9103139782296353, 0.08968602177036464, 0.8849303297782917]),
            (1.5, [0.9661051464753108, 0.033894853524689274, 0.9331927987311419]),
            (2.0, [0.9953222650189527, 0.004677734981047266, 0.9772498680518208]),
            (2.4, [0.999311486103355, 0.0006885138966450789, 0.9918024640754038]),
            (3.0, [0.9999779095030014, 2.209049699858544e-05, 0.9986501019683699]),
            (3.7, [0.9999998328489421, 1.6715105790914599e-07, 0.9998922002665226]),
            (4.5, [0.9999999998033839, 1.9661604415428876e-10, 0.9999966023268753]),
            (5.5, [0.9999999999999927, 7.357847917974398e-15, 0.9999999810104375]),
            (5.9, [0.9999999999999999, 7.190409783550478e-17, 0.9999999981824922]),
            (6.5, [1.0, 3.8421483271206475e-20, 0.99999999995984]),
            (8.0, [1.0, 1.1224297172982926e-29, 0.9999999999999993]),
            (10.5, [1.0, 7.035928090177523e-50, 1.0]),
            (13.0, [1.0, 1.7395573154667246e-75, 1.0]),
            (17.0, [1.0, 1.0212280150942608e-127, 1.0]),
            (21.0, [1.0, 8.032453871022456e-194, 1.0]),
            (25.0, [1.0, 8.300172571196523e-274, 1.0]),
            (26.5, [1.0, 2.2109076642637343e-307, 1.0]),
            (27.0, [1.0, 5.23705e-319, 1.0]),
            (30.0, [1.0, 0.0, 1.0]),
            (37.5, [1.0, 0.0, 1.0]),
            (38.4, [1.0, 0.0, 1.0]),
            (-5e-324, [-5e-324, 1.0, 0.5]),
            (-1e-300, [-1.1283791670955126e-300, 1.0, 0.5]),
            (-1e-17, [-1.1283791670955127e-17, 1.0, 0.5]),
            (-1e-08, [-1.1283791670955126e-08, 1.0000000112837917, 0.4999999960105772]),
            (-0.01, [-0.011283415555849618, 1.0112834155558497, 0.4960106436853684]),
            (-0.1, [-0.1124629160182849, 1.1124629160182848, 0.460172162722971]),
            (-0.3, [-0.3286267594591274, 1.3286267594591274, 0.3820885778110474]),
            (-0.47, [-0.4937450508860821, 1.4937450508860821, 0.3191775087825558]),
            (-0.7, [-0.6778011938374184, 1.6778011938374184, 0.24196365222307303]),
            (-0.9, [-0.7969082124228322, 1.7969082124228322, 0.18406012534675947]),
            (-0.999, [-0.8422852702064969, 1.842285270206497, 0.1588973456413183]),
            (-1.0, [-0.8427007929497149, 1.8427007929497148, 0.15865525393145705]),
            (-1.001, [-0.8431154854780762, 1.8431154854780762, 0.15841340419228003]),
            (-1.2, [-0.9103139782296353, 1.9103139782296354, 0.11506967022170828]),
            (-1.5, [-0.9661051464753108, 1.9661051464753108, 0.06680720126885807]),
            (-2.0, [-0.9953222650189527, 1.9953222650189528, 0.02275013194817921]),
            (-2.4, [-0.999311486103355, 1.999311486103355, 0.008197535924596131]),
            (-3.0, [-0.9999779095030014, 1.9999779095030015, 0.0013498980316300946]),
            (-3.7, [-0.9999998328489421, 1.9999998328489421, 0.00010779973347738826]),
            (-4.5, [-0.9999999998033839, 1.999999999803384, 3.3976731247300603e-06]),
            (-5.5, [-0.9999999999999927, 1.9999999999999927, 1.8989562465887718e-08]),
            (-5.9, [-0.9999999999999999, 2.0, 1.8175078630994284e-09]),
            (-6.5, [-1.0, 2.0, 4.016000583859118e-11]),
            (-8.0, [-1.0, 2.0, 6.220960574271784e-16]),
            (-10.5, [-1.0, 2.0, 4.3190063178092304e-26]),
            (-13.0, [-1.0, 2.0, 6.11716439954988e-39]),
            (-17.0, [-1.0, 2.0, 4.1059962020989065e-65]),
            (-21.0, [-1.0, 2.0, 3.279278018979036e-98]),
            (-25.0, [-1.0, 2.0, 3.056696706382561e-138]),
            (-26.5, [-1.0, 2.0, 4.8461626603033206e-155]),
            (-27.0, [-1.0, 2.0, 7.389481006885018e-161]),
            (-30.0, [-1.0, 2.0, 4.906713927148187e-198]),
            (-37.5, [-1.0, 2.0, 4.605353009581955e-308]),
            (-38.4, [-1.0, 2.0, 6.4e-323]),
        ];
        fn check<I: Isa>(x: f64, [erf, erfc, normal_cdf]: [f64; 3]) {
            let lane = Lane::<f64, I>::new(x);
            for (f, have, want) in [
                ("erf", lane.erf().0, erf),
                ("erfc", lane.erfc().0, erfc),
                ("normal_cdf", lane.normal_cdf().0, normal_cdf),
                ("gelu", lane.gelu().0, x * normal_cdf),
            ] {
                assert!(is_near(have, want), "{f} of {x:e} is {want:e}, not {have:e}");
            }
        }
        for (x, want) in table {
            check::<Plain>(x, want);
            check::<Fused>(x, want);
        }
        for (x, want) in [(f64::INFINITY, [1.0, 0.0, 1.0]), (f64::NEG_INFINITY, [-1.0, 2.0, 0.0]), (f64::NAN, [f64::NAN; 3])] {
            check::<Plain>(x, want);
            check::<Fused>(x, want);
        }
    }

    #[test]
    fn gelu_of_f32_is_right_to_some_units_in_the_last_place() {
        for x in singles() {
            let want = x as f64 * normal_cdf(x as f64);
            // Left of -13 the distribution function is subnormal, and 0 times infinity is NaN.
            if x == f32::NEG_INFINITY {
                continue;
            }
            for have in [Lane::<f32, Plain>::new(x).gelu().0, Lane::<f32, Fused>::new(x).gelu().0] {
                let coarse = if x < -13.0 { 15.0 } else { 5.5 };
                assert_near("gelu", &[x], have, want, coarse);
            }
            if x.abs() < 13.0 {
                let density = (-0.5 * (x as f64).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let want = normal_cdf(x as f64) + x as f64 * density;
                for have in [Lane::<f32, Plain>::new(x).gelu_slope().0, Lane::<f32, Fused>::new(x).gelu_slope().0] {
                    // Two terms of either sign.
                    let bound = 5.0 * f32::EPSILON as f64 * (x as f64).abs().max(1.0) * density.max(want.abs());
                    assert!((have as f64 - want).abs() <= bound, "the slope at {x:e} is {want:e}, not {have:e}");
                }
            }
        }
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

    /// The normal distribution function, to about 1e-13 of its value.
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
}
