//! Functions in single precision that are computed in double precision and rounded once, so that no step needs care:
//! right to the last place but for rare ties. Without branches or calls, as in [`elementary`](super::elementary), where
//! the references are.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E, LOG10_2, PI};

use super::elementary::{Format, clamp, ln_with_ends, mul_add, polynomial, select};
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
/// `erf(x) / x` in `x^2`, to 1.
const ERF: [f64; 8] = [
    -9.667044571486996e-06,
    0.00011265959025606609,
    -0.0008484080405535107,
    0.005221031807858023,
    -0.026865430727670243,
    0.11283782495236845,
    -0.3761263846802871,
    1.1283791670615435,
];
/// `(1 + 2 a) exp(a^2) erfc(a)` in `(a - 3) / (a + 3)`, to [`ERFC_END`].
const ERFC: [f64; 11] = [
    -0.0002754560187334945,
    -0.000793182577911566,
    0.0019982250990659835,
    0.0025782180723520646,
    -0.02379245833143508,
    0.06829323998892924,
    -0.11927229238628247,
    0.12964664791541208,
    -0.04756229859573689,
    -0.13562114626228938,
    1.2530080579743366,
];
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

/// `x^y`, with the special cases of IEEE 754.
#[inline(always)]
pub(super) fn pow<I: Isa>(x: f32, y: f32) -> f32 {
    let (x, y) = (x as f64, y as f64);
    // Far beyond what single precision holds, on either side.
    let exponent = clamp(y * log2_wide::<I>(x.abs()), -200.0, 200.0);
    let units = exponent + UNITS;
    let size = exp_of_parts::<I>(units, (exponent - (units - UNITS)) * LN_2);
    // From 2^24 on, all numbers of single precision are even.
    let y_near = clamp(y, -16_777_216.0, 16_777_216.0);
    let y_units = y_near + UNITS;
    let whole = y_units - UNITS == y_near;
    let odd = whole & (y_units.to_bits() & 1 == 1);
    let one = (y == 0.0) | (x == 1.0) | ((x == -1.0) & (y.abs() == f64::INFINITY));
    let size = select((x < 0.0) & (x != f64::NEG_INFINITY) & !whole, f64::NAN, size);
    let value = select(odd & x.is_sign_negative(), -size, size);
    select(one, 1.0, value) as f32
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

/// The complement of the error function to about 1e-8 of its value (M. M. Shepherd and J. G. Laframboise, Mathematics of
/// Computation 36, 1981).
#[inline(always)]
fn erfc_wide<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let a = select(a > ERFC_END, ERFC_END, a);
    let (far, double) = (a + 3.0, 1.0 + 2.0 * a);
    let inverse = 1.0 / (far * double);
    let scaled = polynomial::<f64, I>((a - 3.0) * (double * inverse), &ERFC) * (far * inverse);
    let right = exp::<I>(-a * a) * scaled;
    select(x < 0.0, 2.0 - right, right)
}

/// The error function.
#[inline(always)]
pub(super) fn erf<I: Isa>(x: f32) -> f32 {
    let x = x as f64;
    let near = x * polynomial::<f64, I>(x * x, &ERF);
    select(x.abs() < 1.0, near, 1.0 - erfc_wide::<I>(x)) as f32
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
