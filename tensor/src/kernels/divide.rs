//! The loops of operations on what a division leaves ([`Real::fmod`](super::number::Real::fmod)), and of integer division.

use crate::dtype::Element;
use crate::kernels::elementary::fmod_is_far;
use crate::kernels::number::{Lane, Precise, Whole};
use crate::kernels::simd::{self, Isa, Library, Loop};
use crate::kernels::zip::{self, BinaryBody, Rows};

/// The loop of a body, at the level of this machine: as [`zip::block`], and where the quotient has too many digits for
/// that, again with the standard library's function.
pub fn block<B: BinaryBody, T: Precise>(out: &mut [T], x: &[T], y: &[T], rows: Rows, numbers: &[f64]) {
    struct Far<'a, B, T>(&'a mut [T], &'a [T], &'a [T], &'a [f64], std::marker::PhantomData<B>);
    impl<B: BinaryBody, T: Precise> Loop for Far<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let pairs = || self.1.iter().zip(self.2).map(|(&x, &y)| (x, y));
            if pairs().fold(false, |any, (x, y)| any | fmod_is_far::<T, I>(x, y)) {
                for (o, (x, y)) in self.0.iter_mut().zip(pairs()).filter(|&(_, (x, y))| fmod_is_far::<T, I>(x, y)) {
                    *o = B::eval(Lane::<T, Library>::new(x), Lane::new(y), self.3).0;
                }
            }
        }
    }
    zip::block::<B, T>(out, x, y, rows, numbers);
    for (out, x, y) in rows.pairs(out, x, y) {
        simd::run(Far::<B, T>(out, x, y, numbers, std::marker::PhantomData));
    }
}

/// The loop of an integer division, rounded down: its quotients, or the rests. A processor divides one by one, so a row
/// with one divisor is multiplied by its reciprocal.
pub fn floor_block<const REST: bool, W: Element + Whole>(out: &mut [W], x: &[W], y: &[W], rows: Rows, _: &[f64]) {
    for (out, x, y) in rows.pairs(out, x, y) {
        if let Some(reciprocal) = Reciprocal::of(y) {
            simd::run_narrow(Multiplied::<REST, W> { out, x, divisor: y[0], reciprocal });
            continue;
        }
        for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *o = if const { REST } { x.rem_floor(y) } else { x.div_floor(y) };
        }
    }
}

/// A factor and a shift that stand for a division by a positive number.
struct Reciprocal {
    factor: u64,
    shift: u32,
}

impl Reciprocal {
    /// Divisors from which on to find the reciprocal is worth it.
    const LEAST: usize = 16;

    /// That of all elements, where they are as many, positive and equal.
    fn of<W: Element>(y: &[W]) -> Option<Reciprocal> {
        let divisor = y.first()?.to_i64();
        if y.len() < Reciprocal::LEAST || divisor <= 0 || y.iter().fold(false, |any, &v| any | (v != y[0])) {
            return None;
        }
        // Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994), theorem 4.2: with
        // 2^(shift - 1) < d <= 2^shift, this factor is exact for all n < 2^bits, and is below 2^(bits + 1).
        let shift = 64 - (divisor as u64 - 1).leading_zeros();
        let factor = (1u128 << (bits::<W>() + shift)) / divisor as u128 + 1;
        Some(Reciprocal { factor: factor as u64, shift })
    }

    /// The quotient, rounded down, of a number of `bits` bits and a sign.
    #[inline(always)]
    fn divide<W: Element>(&self, x: i64) -> i64 {
        // What is negative is divided as -1 - x, and the quotient turned back alike: that rounds it down.
        if const { bits::<W>() == 31 } {
            // As numbers of 32 bits, which the compiler sees: registers multiply these.
            let (x, sign) = (x as i32, x as i32 >> 31);
            let n = (x ^ sign) as u32 as u64 * self.factor as u32 as u64;
            return ((n >> 31 >> self.shift) as i32 ^ sign) as i64;
        }
        let sign = x >> 63;
        let n = ((x ^ sign) as u64) << 1;
        (((n as u128 * self.factor as u128) >> 64) as u64 >> self.shift) as i64 ^ sign
    }
}

/// The bits of an integer without its sign, of narrow ones as many as any has.
const fn bits<W>() -> u32 {
    if size_of::<W>() == 8 { 63 } else { 31 }
}

/// A row divided by one number.
struct Multiplied<'a, const REST: bool, W> {
    out: &'a mut [W],
    x: &'a [W],
    divisor: W,
    reciprocal: Reciprocal,
}

impl<const REST: bool, W: Element + Whole> Loop for Multiplied<'_, REST, W> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Multiplied { out, x, divisor, reciprocal } = self;
        for (o, &x) in out.iter_mut().zip(x) {
            let x = x.to_i64();
            let quotient = reciprocal.divide::<W>(x);
            *o = W::from_i64(if const { REST } {
                x.wrapping_sub(quotient.wrapping_mul(divisor.to_i64()))
            } else {
                quotient
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::number::Real;

    #[test]
    fn remainders_of_far_quotients_are_exact_too() {
        struct Rest;
        impl BinaryBody for Rest {
            #[inline(always)]
            fn eval<R: Real>(x: R, y: R, _: &[f64]) -> R {
                x.fmod(y)
            }
        }
        let x: Vec<f32> = (0..300).map(|i| if i % 7 == 0 { -1e30 } else { 1.7 * i as f32 }).collect();
        let y: Vec<f32> = (0..300).map(|i| [0.3, -1.1, 1e-20, f32::INFINITY, 0.0][i % 5]).collect();
        let mut rest = vec![0.0; 300];
        block::<Rest, f32>(&mut rest, &x, &y, Rows::one(300), &[]);
        for ((x, y), rest) in x.iter().zip(&y).zip(rest) {
            assert!(rest == x % y || rest.is_nan() && *y == 0.0, "{x:e} % {y:e} is {:e}, not {rest:e}", x % y);
        }
    }

    #[test]
    fn integers_by_one_divisor_are_divided_exactly() {
        fn check<W: Element + Whole>(least: i64, most: i64) {
            let near = |at: i64| (-3..=3).map(move |i| at.saturating_add(i).clamp(least, most));
            let edges = [least, least / 2, least / 3, -100, 0, 100, most / 3, most / 2, most, 1 << 30, 1 << 15];
            let x: Vec<i64> = edges.into_iter().flat_map(near).collect();
            let divisors = (1..70).chain(edges.into_iter().flat_map(near)).filter(|&d| (1..=most).contains(&d));
            let own = |v: &[i64]| v.iter().map(|&v| W::from_i64(v)).collect::<Vec<W>>();
            for d in divisors {
                let (xs, y, mut out) = (own(&x), own(&vec![d; x.len()]), own(&x));
                floor_block::<false, W>(&mut out, &xs, &y, Rows::one(x.len()), &[]);
                assert!(out == own(&x.iter().map(|x| x.div_euclid(d)).collect::<Vec<_>>()), "quotients by {d}");
                floor_block::<true, W>(&mut out, &xs, &y, Rows::one(x.len()), &[]);
                assert!(out == own(&x.iter().map(|x| x.rem_euclid(d)).collect::<Vec<_>>()), "rests by {d}");
            }
        }
        check::<i64>(i64::MIN, i64::MAX);
        check::<i32>(i32::MIN as i64, i32::MAX as i64);
        check::<u8>(0, 255);
        check::<i8>(-128, 127);
    }
}
