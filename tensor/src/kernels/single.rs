//! Functions in single precision that are computed in double precision and rounded once, so that no step needs care:
//! right to the last place but for rare ties; and, at the end, `gelu`, which that would make slow. Without branches or calls, as in [`elementary`](super::elementary), where
//! the references are.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E, LOG10_2, PI};

use super::double::{self, DENSITY_AT_0};
use super::elementary::{Format, clamp, ln_with_ends, mul_add, one_plus_scaled, polynomial, product, select};
use super::simd::Isa;

/// To this magnitude the sine and its like are computed here: farther away the standard library must do it, which reduces
/// by as many digits of pi as it takes.
pub const TRIGONOMETRIC_END: f64 = 1e6;

/// Added to a small number, it rounds that to an integer, whose binary digits end the sum.
const UNITS: f64 = 6_755_399_441_055_744.0;

/// `(e^r - 1 - r) / r^2`.
const EXP: [f64; 6] = [
    0.00019891080463998843,
    0.0013933730715792083,
    0.008333310844647862,
    0.04166646419740569,
    0.16666666681704215,
    0.500000001353873,
];
/// `(ln((1 + s) / (1 - s)) - 2 s) / s^3` in `s^2`.
const LN: [f64; 5] =
    [0.1936511759489153, 0.2219127389362563, 0.28571756537234566, 0.3999999878752578, 0.666666666673823];
/// `(sin(r) - r) / r^3` in `r^2`, to pi / 4.
const SIN: [f64; 4] = [2.7249864655139585e-06, -0.00019840086263755443, 0.008333331873837089, -0.16666666663853044];
/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`, to pi / 4.
const COS: [f64; 3] = [2.454789161981386e-05, -0.0013888302802309161, 0.04166666465830042];
/// `atan(x) / x` in `x^2`, to 1.
const ATAN: [f64; 11] = [
    0.001057607438057242,
    -0.007030669470424213,
    0.021912945865448393,
    -0.04392841073326746,
    0.06685281517877424,
    -0.08785043282362845,
    0.1105077127584966,
    -0.14278576024807985,
    0.19999558100363982,
    -0.33333322488911593,
    0.9999999995535376,
];
/// `asin(x) / x` in `x^2`, to 1/2.
const ASIN: [f64; 7] = [
    0.0376771383418486,
    0.014295256037820107,
    0.03185718889411276,
    0.04450870949865153,
    0.07500571381024686,
    0.16666657639575913,
    1.0000000002307783,
];
/// `-ln(erfc(a)) / a`, to [`ERF_END`].
const ERF: [f64; 10] = [
    1.193294490051024e-06,
    -2.1354555936368954e-05,
    0.00016748082266038907,
    -0.0007406856654525478,
    0.0017993536273007054,
    -0.00025306093507585084,
    -0.019117694907724428,
    0.10277127716383161,
    0.6366198345755425,
    1.1283791666278975,
];
/// From here on the error function rounds to 1.
const ERF_END: f64 = 4.0;
/// Two polynomials whose quotient is `exp(a^2) erfc(a)`, to [`ERFC_END`].
const ERFC: ([f64; 5], [f64; 6]) = (
    [0.032892251810345385, 0.22968610738295814, 0.7325985603523315, 1.239376632694848, 1.0],
    [0.05829932041001192, 0.40713385780952915, 1.3272225770359405, 2.4043160733414166, 2.367756387145026, 1.0],
);
/// Two polynomials whose quotient is `exp(x^2 / 2) erfc(x / sqrt(2)) / 2`, to [`NORMAL_END`]; what the second begins with
/// is 1.
const TAIL: ([f32; 5], [f32; 5]) = (
    [0.398_946_97, 3.941_402_7, 17.783_928, 42.558_743, 48.578_11],
    [9.880_263, 45.563_046, 116.754_82, 162.636_98, 97.156_22],
);
/// `(e^(s / 2) - 1 - s / 2) / s^2` for magnitudes to `ln(2)`.
const EXP_HALF: [f32; 5] = [2.179_764_1e-5, 2.615_278e-4, 2.604_137_9e-3, 2.083_314_8e-2, 0.125];
/// From here on, left of 0, the normal distribution function rounds to 0.
const NORMAL_END: f32 = 14.5;
/// From here on the complement of the error function rounds to 0.
const ERFC_END: f64 = 10.3;

/// `2^n e^r`, `units` being `n + UNITS`.
#[inline(always)]
fn exp_of_parts<I: Isa>(units: f64, r: f64) -> f64 {
    let power = 1.0 + mul_add::<f64, I>(r * r, polynomial::<f64, I>(r, &EXP), r);
    power * f64::from_bits(units.to_bits().wrapping_add(1023) << 52)
}

/// `e^x` for magnitudes to 700.
#[inline(always)]
fn exp<I: Isa>(x: f64) -> f64 {
    let units = mul_add::<f64, I>(x, LOG2_E, UNITS);
    exp_of_parts::<I>(units, mul_add::<f64, I>(-(units - UNITS), LN_2, x))
}

/// The logarithm to base 2 of a number of single precision.
#[inline(always)]
fn log2_wide<I: Isa>(x: f64) -> f64 {
    let (m, k) = f64::split(x);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let ln = s * mul_add::<f64, I>(z, polynomial::<f64, I>(z, &LN), 2.0);
    ln_with_ends(x, mul_add::<f64, I>(ln, LOG2_E, k))
}

/// The logarithm to base 2.
#[inline(always)]
pub(super) fn log2<I: Isa>(x: f32) -> f32 {
    log2_wide::<I>(x as f64) as f32
}

/// The logarithm to base 10.
#[inline(always)]
pub(super) fn log10<I: Isa>(x: f32) -> f32 {
    (log2_wide::<I>(x as f64) * LOG10_2) as f32
}

/// `x^y`.
#[inline(always)]
pub(super) fn pow<I: Isa>(x: f32, y: f32) -> f32 {
    let (x, y) = (x as f64, y as f64);
    // Far beyond what single precision holds, on either side.
    let exponent = clamp(y * log2_wide::<I>(x.abs()), -200.0, 200.0);
    let units = exponent + UNITS;
    let size = exp_of_parts::<I>(units, (exponent - (units - UNITS)) * LN_2);
    double::power(x, y, size) as f32
}

/// `(r, units)` with `x = q pi / 2 + r` and the last digits of `units` those of `q`, for magnitudes to
/// [`TRIGONOMETRIC_END`].
#[inline(always)]
fn quadrant<I: Isa>(x: f32) -> (f64, u64) {
    /// pi / 2 in two parts: the product of the first with a number of quadrants is exact.
    const PARTS: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];
    let x = x as f64;
    let units = mul_add::<f64, I>(x, FRAC_2_PI, UNITS);
    let q = units - UNITS;
    (mul_add::<f64, I>(-q, PARTS[1], mul_add::<f64, I>(-q, PARTS[0], x)), units.to_bits())
}

#[inline(always)]
fn sin_near<I: Isa>(r: f64) -> f64 {
    let z = r * r;
    r * mul_add::<f64, I>(z, polynomial::<f64, I>(z, &SIN), 1.0)
}

#[inline(always)]
fn cos_near<I: Isa>(r: f64) -> f64 {
    let z = r * r;
    mul_add::<f64, I>(z * z, polynomial::<f64, I>(z, &COS), 1.0 - 0.5 * z)
}

/// The sine of `r` and `quadrant` right angles.
#[inline(always)]
fn sin_in<I: Isa>(r: f64, quadrant: u64) -> f64 {
    let size = select(quadrant & 1 == 1, cos_near::<I>(r), sin_near::<I>(r));
    f64::from_bits(size.to_bits() ^ ((quadrant & 2) << 62))
}

/// Sine.
#[inline(always)]
pub(super) fn sin<I: Isa>(x: f32) -> f32 {
    if I::LIBRARY {
        return x.sin();
    }
    let (r, quadrant) = quadrant::<I>(x);
    sin_in::<I>(r, quadrant) as f32
}

/// Cosine.
#[inline(always)]
pub(super) fn cos<I: Isa>(x: f32) -> f32 {
    if I::LIBRARY {
        return x.cos();
    }
    let (r, quadrant) = quadrant::<I>(x);
    sin_in::<I>(r, quadrant.wrapping_add(1)) as f32
}

/// Tangent.
#[inline(always)]
pub(super) fn tan<I: Isa>(x: f32) -> f32 {
    if I::LIBRARY {
        return x.tan();
    }
    let (r, quadrant) = quadrant::<I>(x);
    let (sin, cos, turned) = (sin_near::<I>(r), cos_near::<I>(r), quadrant & 1 == 1);
    (select(turned, -cos, sin) / select(turned, sin, cos)) as f32
}

/// The arc tangent of `small / large`, for `0 <= small <= large`.
#[inline(always)]
fn atan_of_quotient<I: Isa>(small: f64, large: f64) -> f64 {
    let t = small / large;
    t * polynomial::<f64, I>(t * t, &ATAN)
}

/// Arc tangent.
#[inline(always)]
pub(super) fn atan<I: Isa>(x: f32) -> f32 {
    let a = x.abs() as f64;
    let steep = a > 1.0;
    let near = atan_of_quotient::<I>(select(steep, 1.0, a), select(steep, a, 1.0));
    select(steep, FRAC_PI_2 - near, near).copysign(x as f64) as f32
}

/// The angle of the point `(x, y)`.
#[inline(always)]
pub(super) fn atan2<I: Isa>(y: f32, x: f32) -> f32 {
    let (a, b) = (y.abs() as f64, x.abs() as f64);
    let steep = a > b;
    let near = atan_of_quotient::<I>(select(steep, b, a), select(steep, a, b));
    let near = select(a == b, select(a == 0.0, 0.0, FRAC_PI_2 / 2.0), near);
    let angle = select(steep, FRAC_PI_2 - near, near);
    select(x.is_sign_negative(), PI - angle, angle).copysign(y as f64) as f32
}

/// `(asin(|x|), whether)` or, where that is nearer to 0, `(acos(|x|) / 2, not)`.
#[inline(always)]
fn asin_near<I: Isa>(x: f32) -> (f64, bool) {
    let a = x.abs() as f64;
    let low = a <= 0.5;
    let square = select(low, a * a, 0.5 - 0.5 * a);
    (select(low, a, square.sqrt()) * polynomial::<f64, I>(square, &ASIN), low)
}

/// Arc sine.
#[inline(always)]
pub(super) fn asin<I: Isa>(x: f32) -> f32 {
    let (near, low) = asin_near::<I>(x);
    select(low, near, FRAC_PI_2 - 2.0 * near).copysign(x as f64) as f32
}

/// Arc cosine.
#[inline(always)]
pub(super) fn acos<I: Isa>(x: f32) -> f32 {
    let (near, low) = asin_near::<I>(x);
    let angle = select(low, FRAC_PI_2 - near, 2.0 * near);
    select(x < 0.0, PI - angle, angle) as f32
}

/// The complement of the error function to about 1e-8 of its value.
#[inline(always)]
fn erfc_wide<I: Isa>(x: f64) -> f64 {
    let a = clamp(x.abs(), 0.0, ERFC_END);
    let right = exp::<I>(-a * a) * (polynomial::<f64, I>(a, &ERFC.0) / polynomial::<f64, I>(a, &ERFC.1));
    select(x < 0.0, 2.0 - right, right)
}

/// The error function.
#[inline(always)]
pub(super) fn erf<I: Isa>(x: f32) -> f32 {
    let a = clamp(x.abs() as f64, 0.0, ERF_END);
    let slope = polynomial::<f64, I>(a, &ERF);
    let power = a * slope;
    // Near 0 the difference has too few digits, and is its first two terms.
    let size = select(a < 1e-5, power - 0.5 * power * power, 1.0 - exp::<I>(-power));
    (size as f32).copysign(x)
}

/// The complement of the error function.
#[inline(always)]
pub(super) fn erfc<I: Isa>(x: f32) -> f32 {
    erfc_wide::<I>(x as f64) as f32
}

/// The normal distribution function.
#[inline(always)]
pub(super) fn normal_cdf<I: Isa>(x: f32) -> f32 {
    (0.5 * erfc_wide::<I>(-(x as f64) * FRAC_1_SQRT_2)) as f32
}

/// The normal distribution function, to four units in the last place and seldom more than one, and `e^-(x^2 / 2)`.
#[inline(always)]
fn normal<I: Isa>(x: f32) -> (f32, f32) {
    let a = select(x.abs() > NORMAL_END, NORMAL_END, x.abs());
    let [square, low] = product::<f32, I>(a, a);
    // -a^2 = 2 n ln 2 + s, which spares halving it.
    let rounded = mul_add::<f32, I>(square, -0.5 * LOG2_E as f32, f32::ROUND);
    let n = 2.0 * (rounded - f32::ROUND);
    let [ln_2, ln_2_low] = f32::LN_2_PARTS;
    let s = mul_add::<f32, I>(-n, ln_2_low, mul_add::<f32, I>(-n, ln_2, -square)) - low;
    let q = s * mul_add::<f32, I>(s, polynomial::<f32, I>(s, &EXP_HALF), 0.5);
    let bottom = TAIL.1[1..].iter().fold(a + TAIL.1[0], |sum, &c| mul_add::<f32, I>(sum, a, c));
    let tail = one_plus_scaled::<f32, I>(polynomial::<f32, I>(a, &TAIL.0) / bottom, q, rounded);
    (select(x < 0.0, tail, 1.0 - tail), one_plus_scaled::<f32, I>(1.0, q, rounded))
}

/// `x` times the normal distribution function.
#[inline(always)]
pub(super) fn gelu<I: Isa>(x: f32) -> f32 {
    x * normal::<I>(x).0
}

/// The derivative of [`gelu`].
#[inline(always)]
pub(super) fn gelu_slope<I: Isa>(x: f32) -> f32 {
    let (share, power) = normal::<I>(x);
    mul_add::<f32, I>(x * DENSITY_AT_0 as f32, power, share)
}
