//! Functions in double precision beside those of [`elementary`](super::elementary), likewise without branches or calls: right
//! to one unit in the last place or little more; the tests of [`number`](super::number) have the bounds.
//!
//! What would round too much is kept as a sum of two numbers, after T. J. Dekker, "A Floating-Point Technique for Extending
//! the Available Precision" (1971). The polynomials are minimax (E. Ya. Remez, 1934), computed with 40 digits.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI, FRAC_PI_2, FRAC_PI_4, PI, SQRT_2};

use super::elementary::{
    Format, clamp, exp_m1_near, ln_in_parts, ln_with_ends, mul_add, one_plus_scaled, polynomial, product,
    remainder_of_ln_2, select,
};
use super::simd::Isa;

/// What rounding took from pi / 2, and from the square root of 2.
const FRAC_PI_2_LOW: f64 = 6.123_233_995_736_766e-17;
const SQRT_2_LOW: f64 = -9.667_293_313_452_913e-17;
/// The density of the standard normal distribution at 0.
pub const DENSITY_AT_0: f64 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// From here on, left of 0, the normal distribution function rounds to 0.
const NORMAL_END: f64 = 38.8;

/// `(sin(r) - r) / r^3` in `r^2`, to pi / 4.
const SIN: [f64; 6] = [
    1.5896245856847253e-10,
    -2.5050748098285157e-08,
    2.7557313624002533e-06,
    -0.00019841269829598573,
    0.008333333333322132,
    -0.1666666666666663,
];
/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`, to pi / 4.
const COS: [f64; 6] = [
    -1.1358538386752345e-11,
    2.0875700897439866e-09,
    -2.7557314179895074e-07,
    2.480158728885466e-05,
    -0.0013888888888873062,
    0.041666666666666595,
];
/// `(atan(x) - x) / x^3` in `x^2`, to 1.
const ATAN: [f64; 20] = [
    1.3225023198698358e-05,
    -0.00015216047074428546,
    0.000831320669406031,
    -0.002884917104467314,
    0.0071965047692631135,
    -0.013900568813192212,
    0.021984870128250747,
    -0.0299038788060255,
    0.0366419282667258,
    -0.0421918004646199,
    0.047223227302161455,
    -0.05253518734534266,
    0.05880527862656978,
    -0.06666404066934252,
    0.07692279840601343,
    -0.09090907003117724,
    0.11111111007034095,
    -0.14285714282575404,
    0.19999999999951465,
    -0.3333333333333307,
];
/// `(asin(x) - x) / x^3` in `x^2`, to 1/2.
const ASIN: [f64; 12] = [
    0.03191218115971871,
    -0.016224123474322012,
    0.0195281833144621,
    0.006528004768190675,
    0.012169204973519402,
    0.013885236453959355,
    0.017359704665632702,
    0.022371758056832718,
    0.030381959136700037,
    0.04464285682833491,
    0.07500000000337007,
    0.16666666666665408,
];
/// `erf(x) / x - 1` in `x^2`, to 1.
const ERF: [f64; 12] = [
    -7.779462968166381e-10,
    1.3710988702111699e-08,
    -1.6206318752446298e-07,
    1.6447132699711598e-06,
    -1.492471243952805e-05,
    0.00012055293586936552,
    -0.0008548325929766229,
    0.005223977606130842,
    -0.026866170643113415,
    0.112837916709442,
    -0.3761263890318352,
    0.12837916709551256,
];
/// `(ln((1 + s) / (1 - s)) - 2 s - 2 s^3 / 3) / s^5` in `s^2`, for quotients from `sqrt(1/2)` to `sqrt(2)`.
const LN: [f64; 7] = [
    0.13195916497488608,
    0.13256865417429373,
    0.1538675511918726,
    0.18181784419398894,
    0.2222222251926746,
    0.2857142857010363,
    0.40000000000002245,
];
/// Two polynomials in `x`, whose quotient is `ln((1 + x) exp(x^2 / 2) erfc(x / sqrt(2))) / x`, to [`NORMAL_END`].
const TAIL: ([f64; 11], [f64; 12]) = (
    [
        -7.676495641213473e-06,
        -0.00012698939637679433,
        -0.00109845208128196,
        -0.005842648601938249,
        -0.019557365751261924,
        -0.03462427722622859,
        0.009638031953389057,
        0.2169941436382852,
        0.5210199132224317,
        0.5354543235521192,
        0.20211543919714245,
    ],
    [
        3.39981826201147e-05,
        0.0007129926682406179,
        0.007796788742358284,
        0.0557208275550073,
        0.2829921130532247,
        1.0551558544638822,
        2.909166006364024,
        5.853985321711239,
        8.30238045307739,
        7.760951766197557,
        4.224141476415287,
        1.0,
    ],
);
/// 2/3 in two parts.
const TWO_THIRDS: [f64; 2] = [2.0 / 3.0, 3.700743415417188e-17];

/// `a + b` in two parts, for `a` that is 0 or no smaller than `b`.
#[inline(always)]
fn sum(a: f64, b: f64) -> [f64; 2] {
    let s = a + b;
    [s, b - (s - a)]
}

/// A logarithm of `x` to a base other than `e`, given `1 / ln(base)` and `ln(2) / ln(base)` in two parts each: products of
/// the first with 21 digits, or with an exponent, are exact.
#[inline(always)]
fn log<I: Isa>(x: f64, inverse: [f64; 2], unit: [f64; 2]) -> f64 {
    let (m, k) = f64::split(x);
    let f = m - 1.0;
    let [high, low] = ln_in_parts::<f64, I>(f);
    // So few digits that what follows is exact.
    let head = f64::from_bits(high.to_bits() & (u64::MAX << 32));
    let low = (high - head) + low;
    let [whole, rest] = sum(k * unit[0], head * inverse[0]);
    ln_with_ends(x, whole + (rest + (k * unit[1] + (low * inverse[0] + (head + low) * inverse[1]))))
}

/// The logarithm to base 2.
#[inline(always)]
pub(super) fn log2<I: Isa>(x: f64) -> f64 {
    log::<I>(x, [1.4426946640014648, 3.768874985636099e-07], [1.0, 0.0])
}

/// The logarithm to base 10.
#[inline(always)]
pub(super) fn log10<I: Isa>(x: f64) -> f64 {
    log::<I>(x, [0.4342944622039795, 1.9699272335463627e-08], [0.30102992057800293, 7.508597826552624e-08])
}

/// `ln(x)` in two parts, to about 66 digits, for positive finite `x`.
#[inline(always)]
fn ln<I: Isa>(x: f64) -> [f64; 2] {
    let (m, k) = f64::split(x);
    // The logarithm of m is s (2 + w), with s = f / (2 + f) and w = s^2 (2/3 + s^2 P(s^2)).
    let f = m - 1.0;
    let [d, d_low] = sum(2.0, f);
    let inverse = 1.0 / d;
    let s = f * inverse;
    let [back, back_low] = product::<f64, I>(s, d);
    let s_low = ((f - back) - back_low - s * d_low) * inverse;
    let [z, z_low] = product::<f64, I>(s, s);
    let z_low = mul_add::<f64, I>(2.0 * s, s_low, z_low);
    let [p, p_low] = sum(TWO_THIRDS[0], z * polynomial::<f64, I>(z, &LN));
    let [w, w_low] = product::<f64, I>(z, p);
    let w_low = mul_add::<f64, I>(z, p_low + TWO_THIRDS[1], mul_add::<f64, I>(z_low, p, w_low));
    let [t, t_low] = sum(2.0, w);
    let [ln, ln_low] = product::<f64, I>(s, t);
    let ln_low = mul_add::<f64, I>(s, t_low + w_low, mul_add::<f64, I>(s_low, t, ln_low));
    let [high, low] = f64::LN_2_PARTS;
    let [ln, rest] = sum(k * high, ln);
    [ln, rest + mul_add::<f64, I>(k, low, ln_low)]
}

/// `x^y`.
#[inline(always)]
pub(super) fn pow<I: Isa>(x: f64, y: f64) -> f64 {
    let a = x.abs();
    let [ln, ln_low] = ln::<I>(a);
    let ln = ln_with_ends(a, ln);
    // A larger exponent makes 0, 1 or infinity of every number.
    let y_near = clamp(y, -1e20, 1e20);
    let [high, low] = product::<f64, I>(y_near, ln);
    let low = mul_add::<f64, I>(y_near, ln_low, low);
    // Where the sum is not finite, its low part is NaN.
    let low = select(high.abs() < 1000.0, low, 0.0);
    let [underflow, overflow] = f64::EXP_RANGE;
    let high = clamp(high, underflow, overflow);
    let (rounded, r) = remainder_of_ln_2::<f64, I>(high, high);
    power(x, y, one_plus_scaled::<f64, I>(1.0, exp_m1_near::<f64, I>(r + low), rounded))
}

/// `x^y`, given the power of the magnitude of `x`, with the special cases of IEEE 754.
#[inline(always)]
pub(super) fn power(x: f64, y: f64, size: f64) -> f64 {
    /// Added to a smaller number, it rounds that to an integer.
    const UNITS: f64 = 4_503_599_627_370_496.0;
    // From 2^52 on all numbers are integers, from 2^53 on even.
    let exponent = clamp(y.abs(), 0.0, 2.0 * UNITS);
    let near = exponent < UNITS;
    let units = select(near, exponent + UNITS, exponent);
    let whole = !near | (units - UNITS == exponent);
    let odd = whole & (units.to_bits() & 1 == 1);
    let one = (y == 0.0) | (x == 1.0) | ((x == -1.0) & (y.abs() == f64::INFINITY));
    let size = select((x < 0.0) & (x != f64::NEG_INFINITY) & !whole, f64::NAN, size);
    let value = select(odd & x.is_sign_negative(), -size, size);
    select(one, 1.0, value)
}

/// `(high, low, quadrant)` with `x = q pi / 2 + high + low`, the last digits of `quadrant` being those of `q`, for
/// magnitudes to [`TRIGONOMETRIC_END`](super::single::TRIGONOMETRIC_END).
#[inline(always)]
fn quadrant<I: Isa>(x: f64) -> (f64, f64, u64) {
    /// Added to a small number, it rounds that to an integer, whose binary digits end the sum.
    const UNITS: f64 = 6_755_399_441_055_744.0;
    /// pi / 2 in parts: the product of each but the last with a number of quadrants is exact.
    const PARTS: [f64; 4] =
        [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_711_166_5e-21, 8.478_427_660_368_9e-32];
    let units = mul_add::<f64, I>(x, FRAC_2_PI, UNITS);
    let q = units - UNITS;
    let first = mul_add::<f64, I>(-q, PARTS[0], x);
    let second = mul_add::<f64, I>(-q, PARTS[1], first);
    let high = mul_add::<f64, I>(-q, PARTS[2], second);
    // What the two sums have rounded away, and what is left of pi / 2.
    let lost = mul_add::<f64, I>(-q, PARTS[1], first - second) + mul_add::<f64, I>(-q, PARTS[2], second - high);
    (high, mul_add::<f64, I>(-q, PARTS[3], lost), units.to_bits())
}

/// The sine of `r + low` without its leading part, `r`.
#[inline(always)]
fn sin_rest<I: Isa>(r: f64, low: f64) -> f64 {
    let z = r * r;
    let slope = mul_add::<f64, I>(-0.5, z, 1.0);
    mul_add::<f64, I>(z * r, polynomial::<f64, I>(z, &SIN), low * slope)
}

/// The cosine of `r + low` in two parts.
#[inline(always)]
fn cos_parts<I: Isa>(r: f64, low: f64) -> [f64; 2] {
    let z = r * r;
    let half = 0.5 * z;
    let high = 1.0 - half;
    let rest = mul_add::<f64, I>(z * z, polynomial::<f64, I>(z, &COS), -(r * low));
    // What rounded when z was halved and taken from 1.
    [high, ((1.0 - high) - half) + rest]
}

/// The sine of `high + low` and `quadrant` right angles.
#[inline(always)]
fn sin_in<I: Isa>(high: f64, low: f64, quadrant: u64) -> f64 {
    let [cos, cos_low] = cos_parts::<I>(high, low);
    let turned = quadrant & 1 == 1;
    let size = select(turned, cos, high) + select(turned, cos_low, sin_rest::<I>(high, low));
    f64::from_bits(size.to_bits() ^ ((quadrant & 2) << 62))
}

/// Sine.
#[inline(always)]
pub(super) fn sin<I: Isa>(x: f64) -> f64 {
    if I::LIBRARY {
        return x.sin();
    }
    let (high, low, quadrant) = quadrant::<I>(x);
    sin_in::<I>(high, low, quadrant)
}

/// Cosine.
#[inline(always)]
pub(super) fn cos<I: Isa>(x: f64) -> f64 {
    if I::LIBRARY {
        return x.cos();
    }
    let (high, low, quadrant) = quadrant::<I>(x);
    sin_in::<I>(high, low, quadrant.wrapping_add(1))
}

/// Tangent.
#[inline(always)]
pub(super) fn tan<I: Isa>(x: f64) -> f64 {
    if I::LIBRARY {
        return x.tan();
    }
    let (high, low, quadrant) = quadrant::<I>(x);
    let [sin, sin_low] = sum(high, sin_rest::<I>(high, low));
    let [cos, cos_low] = cos_parts::<I>(high, low);
    let [cos, cos_low] = sum(cos, cos_low);
    let turned = quadrant & 1 == 1;
    let (top, top_low) = (select(turned, -cos, sin), select(turned, -cos_low, sin_low));
    let (bottom, bottom_low) = (select(turned, sin, cos), select(turned, sin_low, cos_low));
    let quotient = top / bottom;
    quotient + (top_low - quotient * bottom_low) / bottom
}

/// The arc tangent of `small / large`, for `0 <= small <= large`.
#[inline(always)]
fn atan_of_quotient<I: Isa>(small: f64, large: f64) -> f64 {
    let t = small / large;
    let z = t * t;
    mul_add::<f64, I>(t * z, polynomial::<f64, I>(z, &ATAN), t)
}

/// Arc tangent.
#[inline(always)]
pub(super) fn atan<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let steep = a > 1.0;
    let near = atan_of_quotient::<I>(select(steep, 1.0, a), select(steep, a, 1.0));
    select(steep, (FRAC_PI_2 - near) + FRAC_PI_2_LOW, near).copysign(x)
}

/// The angle of the point `(x, y)`.
#[inline(always)]
pub(super) fn atan2<I: Isa>(y: f64, x: f64) -> f64 {
    let (a, b) = (y.abs(), x.abs());
    let steep = a > b;
    let near = atan_of_quotient::<I>(select(steep, b, a), select(steep, a, b));
    // Where there is no quotient: both 0, or both infinite.
    let near = select(a == b, select(a == 0.0, 0.0, FRAC_PI_4), near);
    let angle = select(steep, (FRAC_PI_2 - near) + FRAC_PI_2_LOW, near);
    select(x.is_sign_negative(), (PI - angle) + 2.0 * FRAC_PI_2_LOW, angle).copysign(y)
}

/// `(high, low, whether)` with `asin(|x|) = high + low` or, where that is nearer to 0, `(acos(|x|) / 2, not)` likewise.
#[inline(always)]
fn asin_near<I: Isa>(x: f64) -> (f64, f64, bool) {
    let a = x.abs();
    let near = a <= 0.5;
    let square = select(near, a * a, 0.5 - 0.5 * a);
    let root = select(near, a, square.sqrt());
    (root, root * square * polynomial::<f64, I>(square, &ASIN), near)
}

/// Arc sine.
#[inline(always)]
pub(super) fn asin<I: Isa>(x: f64) -> f64 {
    let (high, low, near) = asin_near::<I>(x);
    // The inner difference of the last is exact where it matters.
    let far = FRAC_PI_4 + ((FRAC_PI_4 - 2.0 * high) - (2.0 * low - FRAC_PI_2_LOW));
    select(near, high + low, far).copysign(x)
}

/// Arc cosine.
#[inline(always)]
pub(super) fn acos<I: Isa>(x: f64) -> f64 {
    let (high, low, near) = asin_near::<I>(x);
    let angle = high + low;
    let far = select(x < 0.0, (PI - 2.0 * angle) + 2.0 * FRAC_PI_2_LOW, 2.0 * angle);
    select(near, FRAC_PI_2 - (angle.copysign(x) - FRAC_PI_2_LOW), far)
}

/// The normal distribution function at `-(x + x_low)`, and `e^-(x^2 / 2)`, for `x` from 0 to [`NORMAL_END`] whose halved
/// square is `half + half_low`.
///
/// The former is that power, times a number that changes little, divided by `2 (1 + x)`: the logarithm of the number, and
/// all that has rounded, go into the exponent, so that little else rounds.
#[inline(always)]
fn normal_tail<I: Isa>(x: f64, x_low: f64, half: f64, half_low: f64) -> (f64, f64) {
    let [far, far_low] = sum(select(x > 1.0, x, 1.0), select(x > 1.0, 1.0, x));
    let bottom = polynomial::<f64, I>(x, &TAIL.1);
    let inverse = 1.0 / (far * bottom);
    let share = bottom * inverse;
    let [back, back_low] = product::<f64, I>(share, far);
    let missing = ((1.0 - back) - back_low) - share * (far_low + x_low);
    let flat = x * polynomial::<f64, I>(x, &TAIL.0) * (far * inverse);
    let (rounded, r) = remainder_of_ln_2::<f64, I>(-half, flat - half);
    let tail =
        one_plus_scaled::<f64, I>(0.5 * share, exp_m1_near::<f64, I>(r + (flat + (missing - half_low))), rounded);
    let (rounded, r) = remainder_of_ln_2::<f64, I>(-half, -half);
    (tail, one_plus_scaled::<f64, I>(1.0, exp_m1_near::<f64, I>(r - half_low), rounded))
}

/// The normal distribution function, and `e^-(x^2 / 2)`.
#[inline(always)]
fn normal<I: Isa>(x: f64) -> (f64, f64) {
    let a = clamp(x.abs(), 0.0, NORMAL_END);
    let [square, low] = product::<f64, I>(a, a);
    let (tail, power) = normal_tail::<I>(a, 0.0, 0.5 * square, 0.5 * low);
    (select(x < 0.0, tail, 1.0 - tail), power)
}

/// The normal distribution function.
#[inline(always)]
pub(super) fn normal_cdf<I: Isa>(x: f64) -> f64 {
    normal::<I>(x).0
}

/// `x` times the normal distribution function.
#[inline(always)]
pub(super) fn gelu<I: Isa>(x: f64) -> f64 {
    x * normal::<I>(x).0
}

/// The derivative of [`gelu`].
#[inline(always)]
pub(super) fn gelu_slope<I: Isa>(x: f64) -> f64 {
    let (share, power) = normal::<I>(x);
    mul_add::<f64, I>(x * DENSITY_AT_0, power, share)
}

/// The complement of the error function.
#[inline(always)]
pub(super) fn erfc<I: Isa>(x: f64) -> f64 {
    let a = clamp(x.abs(), 0.0, NORMAL_END / SQRT_2);
    let [wide, wide_low] = product::<f64, I>(a, SQRT_2);
    let [square, low] = product::<f64, I>(a, a);
    let right = 2.0 * normal_tail::<I>(wide, mul_add::<f64, I>(a, SQRT_2_LOW, wide_low), square, low).0;
    select(x < 0.0, 2.0 - right, right)
}

/// The error function.
#[inline(always)]
pub(super) fn erf<I: Isa>(x: f64) -> f64 {
    let near = mul_add::<f64, I>(x, polynomial::<f64, I>(x * x, &ERF), x);
    select(x.abs() < 1.0, near, (1.0 - erfc::<I>(x.abs())).copysign(x))
}
