//! Exponentials, logarithms and hyperbolic functions in either precision, without branches or calls, so that loops over
//! them vectorise.
//!
//! Every function reduces its argument to a short interval around 0 and evaluates a polynomial there, after W. J. Cody and
//! W. Waite, "Software Manual for the Elementary Functions" (1980), and Sun's fdlibm for what the steps round away. The
//! polynomials interpolate at Chebyshev nodes or are minimax (E. Ya. Remez, 1934), computed with 40 digits or more. All are
//! right to two units in the last place, most to one; the tests of [`number`](super::number) have the bounds.

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
    /// To these magnitudes of a quotient [`fmod`] holds, with multiply-add that is fused and without.
    const FMOD_ENDS: [Self; 2];
    /// `ln 2` in two parts: the product of the first with an exponent is exact.
    const LN_2_PARTS: [Self; 2];
    /// `(e^r - 1 - r) / r^2` for magnitudes of `r` to `ln(2) / 2`.
    const EXP: &'static [Self];
    /// The same with one more coefficient, for where 1 is not added to it.
    const EXP_M1: &'static [Self];
    /// `(ln((1 + s) / (1 - s)) - 2 s) / s^3` in `s^2`, for quotients from `sqrt(1/2)` to `sqrt(2)`.
    const LN: &'static [Self];
    /// `(ln(1 + x) - x) / x^2` from 0 to 1.
    const LN_1P: &'static [Self];
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
    /// `x` without the lower half of its digits.
    fn head(x: Self) -> Self;
    /// `(m, k)` with `x = m 2^k` and `m` from `sqrt(1/2)` to `sqrt(2)`, for positive finite `x`.
    fn split(x: Self) -> (Self, Self);
}

macro_rules! format {
    (
        $t:ident, $bits:ident, digits: $digits:literal, bias: $bias:literal, ln_2: $ln_2:expr, exp_range: $exp_range:expr,
        exp_m1_low: $exp_m1_low:literal, tanh_end: $tanh_end:literal, exp: $exp:expr,
        exp_m1: $exp_m1:expr, ln: $ln:expr, ln_1p: $ln_1p:expr,
    ) => {
        impl Format for $t {
            const ROUND: $t = (3u64 << ($digits - 1)) as $t + (2 * $bias) as $t;
            const DIGITS: $t = ($digits + 1) as $t;
            const FMOD_ENDS: [$t; 2] = [(1u64 << ($digits - 2)) as $t, (1u64 << ($digits / 2 - 1)) as $t];
            const LN_2_PARTS: [$t; 2] = $ln_2;
            const EXP: &'static [$t] = &$exp;
            const EXP_M1: &'static [$t] = &$exp_m1;
            const LN: &'static [$t] = &$ln;
            const LN_1P: &'static [$t] = &$ln_1p;
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
            fn head(x: $t) -> $t {
                <$t>::from_bits(x.to_bits() & ($bits::MAX << ($digits / 2 + 1)))
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
    exp: [0.001_395_049, 0.008_368_89, 0.041_666_206, 0.166_665_18, 0.5],
    exp_m1: [0.000_198_910_8, 0.001_393_373_1, 0.008_333_310_5, 0.041_666_463, 0.166_666_67, 0.5],
    ln: [0.295_820_24, 0.399_887_35, 0.666_666_87],
    ln_1p: [
        -0.003_318_466_2, 0.020_204_563, -0.057_664_413, 0.106_805_53, -0.153_553_96, 0.196_954_01, -0.249_585_88,
        0.333_305_12, -0.499_999_3,
    ],
}

format! {
    f64, u64, digits: 52, bias: 1023,
    ln_2: [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10],
    exp_range: [-746.0, 711.0], exp_m1_low: -40.0, tanh_end: 42.0,
    exp: [
        2.510038549551032e-08, 2.7620088445409746e-07, 2.7557268459997064e-06, 2.4801521295954376e-05,
        0.00019841269863053618, 0.0013888888917213717, 0.008333333333330062, 0.04166666666662413, 0.16666666666666669, 0.5,
    ],
    exp_m1: [
        2.09147553258932e-09, 2.5105312729622103e-08, 2.755727347871858e-07, 2.755725517000089e-06, 2.480158732567746e-05,
        0.0001984126987500228, 0.0013888888888883711, 0.008333333333326084, 0.04166666666666667, 0.1666666666666667, 0.5,
    ],
    ln: [
        0.1461916613488797, 0.1533150161114533, 0.18182895750119193, 0.22222211043776857, 0.2857142862653362,
        0.3999999999989827, 0.666666666666667,
    ],
    ln_1p: [
        2.53300537016504e-05, -0.00029176257114303823, 0.0015957484229759528, -0.005543132913654013, 0.013838642711524955,
        -0.026744044839755416, 0.04230020352612193, -0.057502081632277664, 0.07035545813126895, -0.08081213151223571,
        0.09013154295428082, -0.0998101513793216, 0.111075060544548, -0.12499479624828769, 0.14285658899009795,
        -0.16666662498682916, 0.1999999979133435, -0.24999999993677, 0.3333333333323505, -0.4999999999999946,
    ],
}

/// `x`, moved into a range; NaN stays.
#[inline(always)]
pub(super) fn clamp<T: Format>(x: T, low: f64, high: f64) -> T {
    let x = select(x < T::lit(low), T::lit(low), x);
    select(x > T::lit(high), T::lit(high), x)
}

/// `a * b` in two parts: the product, and what it has rounded away (T. J. Dekker, 1971, where that takes more than one
/// instruction).
#[inline(always)]
pub(super) fn product<T: Format, I: Isa>(a: T, b: T) -> [T; 2] {
    let p = a * b;
    if I::FMA {
        return [p, a.mul_add(b, -p)];
    }
    let (a_head, b_head) = (T::head(a), T::head(b));
    let (a_rest, b_rest) = (a - a_head, b - b_head);
    [p, ((a_head * b_head - p) + (a_head * b_rest + a_rest * b_head)) + a_rest * b_rest]
}

/// `e^r - 1` for magnitudes to `ln(2) / 2`, precise enough to add 1 to it.
#[inline(always)]
pub(super) fn exp_m1_near<T: Format, I: Isa>(r: T) -> T {
    mul_add::<T, I>(r * r, polynomial::<T, I>(r, T::EXP), r)
}

/// `(n, r)` with `x = n ln 2 + r`, the multiple being that nearest to `near`; `n` is rounded by [`Format::ROUND`].
#[inline(always)]
pub(super) fn remainder_of_ln_2<T: Format, I: Isa>(x: T, near: T) -> (T, T) {
    let rounded = mul_add::<T, I>(near, T::lit(std::f64::consts::LOG2_E), T::ROUND);
    let n = rounded - T::ROUND;
    let [high, low] = T::LN_2_PARTS;
    (rounded, mul_add::<T, I>(-n, low, mul_add::<T, I>(-n, high, x)))
}

/// `(n, e^r - 1)` with `x = n ln 2 + r`; `n` is rounded by [`Format::ROUND`].
#[inline(always)]
fn reduce<T: Format, I: Isa>(x: T) -> (T, T) {
    let (rounded, r) = remainder_of_ln_2::<T, I>(x, x);
    (rounded, exp_m1_near::<T, I>(r))
}

/// `factor (1 + q) 2^n`, which may be subnormal or overflow; `n` is rounded by [`Format::ROUND`].
#[inline(always)]
pub(super) fn one_plus_scaled<T: Format, I: Isa>(factor: T, q: T, rounded: T) -> T {
    let [a, b] = T::powers_of_two(rounded);
    let scale = factor * a;
    mul_add::<T, I>(scale, q, scale) * b
}

/// `factor e^x`.
#[inline(always)]
fn exp_times<T: Format, I: Isa>(x: T, factor: T) -> T {
    let [low, high] = T::EXP_RANGE;
    let (rounded, q) = reduce::<T, I>(clamp(x, low, high));
    one_plus_scaled::<T, I>(factor, q, rounded)
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
    one_plus_scaled::<T, I>(T::one(), exp_m1_near::<T, I>(r), rounded)
}

/// `e^x - 1`.
#[inline(always)]
pub(super) fn exp_m1<T: Format, I: Isa>(x: T) -> T {
    let x_near = clamp(x, T::EXP_M1_LOW, T::EXP_RANGE[1] - 1.0);
    let (rounded, r) = remainder_of_ln_2::<T, I>(x_near, x_near);
    let q = mul_add::<T, I>(r * r, polynomial::<T, I>(r, T::EXP_M1), r);
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

/// `ln(1 + f)` in two parts, for `1 + f` as [`Format::split`] gives it.
#[inline(always)]
pub(super) fn ln_in_parts<T: Format, I: Isa>(f: T) -> [T; 2] {
    // ln(1 + f) = f - f^2 / 2 + s (f^2 / 2 + z P(z)), with s = f / (2 + f) and z = s^2.
    let s = f / (T::lit(2.0) + f);
    let z = s * s;
    let half_square = T::lit(0.5) * f * f;
    let high = f - half_square;
    let rest = mul_add::<T, I>(z, polynomial::<T, I>(z, T::LN), half_square);
    [high, mul_add::<T, I>(s, rest, (f - high) - half_square)]
}

/// `ln((1 + f) 2^k)`, for `1 + f` as [`Format::split`] gives it.
#[inline(always)]
fn ln_of_parts<T: Format, I: Isa>(f: T, k: T) -> T {
    // As above, but added up from the smallest.
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

/// `ln(1 + x)` from 0 to 1.
#[inline(always)]
pub(super) fn ln_1p_of_share<T: Format, I: Isa>(x: T) -> T {
    mul_add::<T, I>(x * x, polynomial::<T, I>(x, T::LN_1P), x)
}

/// Whether [`fmod`] needs the standard library for these: their quotient has many digits, or a product may overflow.
#[inline(always)]
pub(super) fn fmod_is_far<T: Format, I: Isa>(x: T, y: T) -> bool {
    let [fused, plain] = T::FMOD_ENDS;
    match I::FMA {
        true => x.abs() > y.abs() * fused,
        false => (x.abs() > y.abs() * plain) | (x.abs() > T::max_value() * T::lit(0.25)),
    }
}

/// What is left of `x` after subtracting `y` as often as it goes in, exactly, with the sign of `x`.
#[inline(always)]
pub(super) fn fmod<T: Format, I: Isa>(x: T, y: T) -> T {
    if I::LIBRARY {
        return x % y;
    }
    let (a, b) = (x.abs(), y.abs());
    // The nearest integer may be one too many, and what it leaves is a number: no step rounds.
    let times = ((x / y).abs() + T::ROUND) - T::ROUND;
    let rest = match I::FMA {
        true => times.mul_add(-b, a),
        false => (a - times * T::head(b)) - times * (b - T::head(b)),
    };
    let rest = select(rest < T::zero(), rest + b, rest);
    // Infinity goes into no number.
    select((b == T::infinity()) & (a < b), a, rest).copysign(x)
}
