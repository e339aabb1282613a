//! Exponentials, logarithms and hyperbolic functions in either precision, without branches or calls, so that loops over
//! them vectorise.
//!
//! Every function reduces its argument to a short interval around 0 and evaluates a polynomial there, after W. J. Cody and
//! W. Waite, "Software Manual for the Elementary Functions" (1980), and Sun's fdlibm for what the steps round away. The
//! polynomials interpolate at Chebyshev nodes, computed with 50 digits. All are right to two units in the last place, most
//! to one; the tests below have the bounds.

use num_traits::Float;

use super::simd::Isa;

/// `a * b + c`, in one rounding where the instruction set has it: without, the library's `mul_add` would be a slow call.
#[inline(always)]
pub(super) fn mul_add<T: Float, I: Isa>(a: T, b: T, c: T) -> T {
    if I::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial of these coefficients, the highest first.
#[inline(always)]
pub(super) fn polynomial<T: Float, I: Isa>(x: T, coefficients: &[T]) -> T {
    let (first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
    rest.iter().fold(*first, |sum, &c| mul_add::<T, I>(sum, x, c))
}

/// `yes` or `no`, both of which are computed.
#[inline(always)]
pub(super) fn select<T>(mask: bool, yes: T, no: T) -> T {
    if mask { yes } else { no }
}

/// A precision: its layout in bits, and the constants that depend on how many there are.
pub trait Format: Float + 'static {
    /// Added to a small number, it rounds that to an integer `n`, whose binary digits, offset by twice the bias of the
    /// exponent, end the sum.
    const ROUND: Self;
    /// How many binary digits a normal number has.
    const DIGITS: Self;
    /// `ln 2` in two parts: the product of the first with an exponent is exact.
    const LN_2_PARTS: [Self; 2];
    /// `(e^r - 1 - r) / r^2` for magnitudes of `r` to `ln(2) / 2`.
    const EXP: &'static [Self];
    /// `(ln((1 + s) / (1 - s)) - 2 s) / s^3` in `s^2`, for quotients from `sqrt(1/2)` to `sqrt(2)`.
    const LN: &'static [Self];
    /// Below the first `e^x` rounds to 0, from the second on half of it overflows.
    const EXP_RANGE: [f64; 2];
    /// Below it `e^x - 1` rounds to -1.
    const EXP_M1_LOW: f64;
    /// From half of its magnitude on, `tanh` rounds to 1.
    const TANH_END: f64;
    /// A literal.
    fn lit(x: f64) -> Self;
    /// `2^n` of a number rounded by [`ROUND`](Self::ROUND), where that is a normal number.
    fn power_of_two(rounded: Self) -> Self;
    /// Two factors whose product is `2^n`, which may be subnormal or overflow.
    fn powers_of_two(rounded: Self) -> [Self; 2];
    /// `(m, k)` with `x = m 2^k` and `m` from `sqrt(1/2)` to `sqrt(2)`, for positive finite `x`.
    fn split(x: Self) -> (Self, Self);
}

macro_rules! format {
    (
        $t:ident, $bits:ident, digits: $digits:literal, bias: $bias:literal, ln_2: $ln_2:expr, exp_range: $exp_range:expr,
        exp_m1_low: $exp_m1_low:literal, tanh_end: $tanh_end:literal, exp: $exp:expr, ln: $ln:expr,
    ) => {
        impl Format for $t {
            const ROUND: $t = (3u64 << ($digits - 1)) as $t + (2 * $bias) as $t;
            const DIGITS: $t = ($digits + 1) as $t;
            const LN_2_PARTS: [$t; 2] = $ln_2;
            const EXP: &'static [$t] = &$exp;
            const LN: &'static [$t] = &$ln;
            const EXP_RANGE: [f64; 2] = $exp_range;
            const EXP_M1_LOW: f64 = $exp_m1_low;
            const TANH_END: f64 = $tanh_end;
            #[inline(always)]
            fn lit(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn power_of_two(rounded: $t) -> $t {
                // The digits count from twice the bias, the exponent from once.
                <$t>::from_bits(rounded.to_bits().wrapping_sub($bias) << $digits)
            }
            #[inline(always)]
            fn powers_of_two(rounded: $t) -> [$t; 2] {
                let digits = rounded.to_bits();
                let half = digits >> 1;
                [half, digits.wrapping_sub(half)].map(|d| <$t>::from_bits(d << $digits))
            }
            #[inline(always)]
            fn split(x: $t) -> ($t, $t) {
                const ROOT: $bits = std::$t::consts::FRAC_1_SQRT_2.to_bits();
                const ONE: $bits = (1 as $t).to_bits();
                /// Its last digits are the integers.
                const UNITS: $t = ((1 as $bits) << $digits) as $t;
                let subnormal = x < <$t>::MIN_POSITIVE;
                let bits = select(subnormal, x * UNITS, x).to_bits().wrapping_add(ONE - ROOT);
                let exponent = <$t>::from_bits((bits >> $digits) | UNITS.to_bits()) - UNITS;
                let m = <$t>::from_bits((bits & (((1 as $bits) << $digits) - 1)) + ROOT);
                (m, exponent - select(subnormal, ($bias + $digits) as $t, $bias as $t))
            }
        }
    };
}

format! {
    f32, u32, digits: 23, bias: 127,
    ln_2: [0.693_145_75, 1.428_606_8e-6],
    exp_range: [-104.0, 90.0], exp_m1_low: -18.0, tanh_end: 20.0,
    exp: [0.000_198_910_8, 0.001_393_373_1, 0.008_333_310_5, 0.041_666_463, 0.166_666_67, 0.5],
    ln: [0.295_820_24, 0.399_887_35, 0.666_666_87],
}

format! {
    f64, u64, digits: 52, bias: 1023,
    ln_2: [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10],
    exp_range: [-746.0, 711.0], exp_m1_low: -40.0, tanh_end: 42.0,
    exp: [
        2.09147553258932e-09, 2.5105312729622103e-08, 2.755727347871858e-07, 2.755725517000089e-06, 2.480158732567746e-05,
        0.0001984126987500228, 0.0013888888888883711, 0.008333333333326084, 0.04166666666666667, 0.1666666666666667, 0.5,
    ],
    ln: [
        0.1461916613488797, 0.1533150161114533, 0.18182895750119193, 0.22222211043776857, 0.2857142862653362,
        0.3999999999989827, 0.666666666666667,
    ],
}

/// `x`, moved into a range; NaN stays.
#[inline(always)]
pub(super) fn clamp<T: Format>(x: T, low: f64, high: f64) -> T {
    let x = select(x < T::lit(low), T::lit(low), x);
    select(x > T::lit(high), T::lit(high), x)
}

/// `e^r - 1` for magnitudes to `ln(2) / 2`.
#[inline(always)]
fn exp_m1_near<T: Format, I: Isa>(r: T) -> T {
    mul_add::<T, I>(r * r, polynomial::<T, I>(r, T::EXP), r)
}

/// `(n, e^r - 1)` with `x = n ln 2 + r`; `n` is rounded by [`Format::ROUND`].
#[inline(always)]
fn reduce<T: Format, I: Isa>(x: T) -> (T, T) {
    let rounded = mul_add::<T, I>(x, T::lit(std::f64::consts::LOG2_E), T::ROUND);
    let n = rounded - T::ROUND;
    let [high, low] = T::LN_2_PARTS;
    let r = mul_add::<T, I>(-n, low, mul_add::<T, I>(-n, high, x));
    (rounded, exp_m1_near::<T, I>(r))
}

/// `factor e^x`.
#[inline(always)]
fn exp_times<T: Format, I: Isa>(x: T, factor: T) -> T {
    let [low, high] = T::EXP_RANGE;
    let (rounded, q) = reduce::<T, I>(clamp(x, low, high));
    let [a, b] = T::powers_of_two(rounded);
    (T::one() + q) * (factor * a) * b
}

/// `e^x`.
#[inline(always)]
pub(super) fn exp<T: Format, I: Isa>(x: T) -> T {
    exp_times::<T, I>(x, T::one())
}

/// `2^x`.
#[inline(always)]
pub(super) fn exp2<T: Format, I: Isa>(x: T) -> T {
    let [low, high] = T::EXP_RANGE;
    let x = clamp(x, 1.5 * low, 1.5 * high);
    let rounded = x + T::ROUND;
    let r = (x - (rounded - T::ROUND)) * T::lit(std::f64::consts::LN_2);
    let [a, b] = T::powers_of_two(rounded);
    (T::one() + exp_m1_near::<T, I>(r)) * a * b
}

/// `e^x - 1`.
#[inline(always)]
pub(super) fn exp_m1<T: Format, I: Isa>(x: T) -> T {
    let (rounded, q) = reduce::<T, I>(clamp(x, T::EXP_M1_LOW, T::EXP_RANGE[1] - 1.0));
    // Half of it, as 2^n may overflow where the result does not.
    let (half, scale) = (T::lit(0.5), T::power_of_two(rounded - T::one()));
    let value = mul_add::<T, I>(scale, q, scale - half) * T::lit(2.0);
    // Half of a subnormal number is not exact, and -0 stays.
    select(x.abs() < T::epsilon() * T::lit(0.25), x, value)
}

/// `tanh(x)`: `-t / (t + 2)` of `t = e^(-2 |x|) - 1`.
#[inline(always)]
pub(super) fn tanh<T: Format, I: Isa>(x: T) -> T {
    let twice = x.abs() * T::lit(-2.0);
    let (rounded, q) = reduce::<T, I>(select(twice < T::lit(-T::TANH_END), T::lit(-T::TANH_END), twice));
    let scale = T::power_of_two(rounded);
    let t = mul_add::<T, I>(scale, q, scale - T::one());
    (t / mul_add::<T, I>(scale, q, scale + T::one())).copysign(x)
}

/// The logistic function, `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<T: Format, I: Isa>(x: T) -> T {
    // From the upper end on the result rounds to 1.
    let (rounded, q) = reduce::<T, I>(clamp(x, T::EXP_RANGE[0], T::TANH_END));
    // With e^x = p 2^n it is p / (p + 2^-n), both scaled down so that 2^-n does not overflow: only the division rounds
    // to a subnormal number.
    let down = T::ROUND - T::DIGITS;
    let scale = T::power_of_two(down);
    let p = mul_add::<T, I>(q, scale, scale);
    p / (p + T::power_of_two(down - (rounded - T::ROUND)))
}

/// `sinh(x)`.
#[inline(always)]
pub(super) fn sinh<T: Format, I: Isa>(x: T) -> T {
    let (a, half) = (x.abs(), T::lit(0.5));
    let (m, h) = (exp_m1::<T, I>(a), exp_times::<T, I>(a, half));
    let near = half * (m + m / (m + T::one()));
    let tiny = a < T::epsilon();
    select(tiny, a, select(a < T::one(), near, h - T::lit(0.25) / h)).copysign(x)
}

/// `cosh(x)`.
#[inline(always)]
pub(super) fn cosh<T: Format, I: Isa>(x: T) -> T {
    let h = exp_times::<T, I>(x.abs(), T::lit(0.5));
    h + T::lit(0.25) / h
}

/// `ln((1 + f) 2^k)`, for `1 + f` as [`Format::split`] gives it.
#[inline(always)]
fn ln_of_parts<T: Format, I: Isa>(f: T, k: T) -> T {
    // ln(1 + f) = f - f^2 / 2 + s (f^2 / 2 + z P(z)), with s = f / (2 + f) and z = s^2.
    let s = f / (T::lit(2.0) + f);
    let z = s * s;
    let half_square = T::lit(0.5) * f * f;
    let [high, low] = T::LN_2_PARTS;
    let small = mul_add::<T, I>(s, mul_add::<T, I>(z, polynomial::<T, I>(z, T::LN), half_square), k * low);
    mul_add::<T, I>(k, high, f - (half_square - small))
}

/// The logarithm `value` where its argument is positive; what it is elsewhere.
#[inline(always)]
pub(super) fn ln_with_ends<T: Float>(argument: T, value: T) -> T {
    let elsewhere = select(argument == T::zero(), T::neg_infinity(), T::nan());
    let value = select(argument == T::infinity(), argument, value);
    select(argument > T::zero(), value, elsewhere)
}

/// `ln(x)`.
#[inline(always)]
pub(super) fn ln<T: Format, I: Isa>(x: T) -> T {
    let (m, k) = T::split(x);
    ln_with_ends(x, ln_of_parts::<T, I>(m - T::one(), k))
}

/// `ln(1 + x)`.
#[inline(always)]
pub(super) fn ln_1p<T: Format, I: Isa>(x: T) -> T {
    let one = T::one();
    let u = one + x;
    // What the sum has rounded away, in the units of its leading part.
    let lost = select(x.abs() < one, x - (u - one), one - (u - x));
    let (m, k) = T::split(u);
    // Of a large sum it is nothing, and 2^-k may be subnormal.
    let f = (m - one) + lost * T::power_of_two(T::ROUND - select(k < T::lit(64.0), k, T::lit(64.0)));
    select(x.abs() < T::epsilon() * T::lit(0.25), x, ln_with_ends(u, ln_of_parts::<T, I>(f, k)))
}
