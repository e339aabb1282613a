//! The random family: elements from numbered random numbers.
//!
//! The source is ChaCha with 8 rounds, which can be asked for its numbers in any order: the element at position `i` of
//! a draw comes from number `counter + i` of the key's stream and from nothing else. So blocks are filled in parallel,
//! and the bits are the same for any number of threads.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

use crate::dtype::{DType, Element};
use crate::par::{GRAIN, Par};

/// Words of 32 bits in a number.
const WORDS: u128 = 2;

/// The 64-bit random numbers of a key, in order.
#[derive(Clone, Debug)]
pub struct Numbers(ChaCha8Rng);

impl Numbers {
    /// The numbers from `counter` on.
    pub fn new(key: u64, counter: u64) -> Numbers {
        Numbers::again(key, counter, 0)
    }

    /// The numbers from `counter` on of another stream of the same key: for draws that reject a number and take one
    /// more. The next number in line belongs to the next element.
    fn again(key: u64, counter: u64, attempt: u64) -> Numbers {
        let mut source = ChaCha8Rng::seed_from_u64(key);
        source.set_stream(attempt);
        source.set_word_pos(u128::from(counter) * WORDS);
        Numbers(source)
    }

    /// The next number.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// How many numbers lie before the next one.
    pub fn counter(&self) -> u64 {
        (self.0.get_word_pos() / WORDS) as u64
    }

    /// Leaves out `n` numbers.
    pub fn skip(&mut self, n: u64) {
        self.0.set_word_pos(u128::from(self.counter().wrapping_add(n)) * WORDS);
    }
}

/// `out[i] = f(i, number)` with number `counter + i` of `key`.
fn fill<T: Send>(out: &mut [T], key: u64, counter: u64, par: &Par, f: impl Fn(usize, u64) -> T + Sync) {
    par.chunks_mut(out, GRAIN, |block, part| {
        let first = block * GRAIN;
        let mut numbers = Numbers::new(key, counter.wrapping_add(first as u64));
        for (i, o) in part.iter_mut().enumerate() {
            *o = f(first + i, numbers.next());
        }
    });
}

/// A float in `[0, 1)` from the upper `digits` bits of a number: each multiple of `2^-digits` is as likely as any other.
#[inline]
fn unit(number: u64, digits: u32) -> f64 {
    (number >> (64 - digits)) as f64 / (1u64 << digits) as f64
}

/// A float in `[0, 1)` with all the digits of an `f64`.
#[inline]
fn unit_f64(number: u64) -> f64 {
    unit(number, 53)
}

/// Uniform in `[low, high)`. All precisions use the leading bits of the same number, so that a seed gives the same
/// elements in each, but for digits.
pub fn uniform<T: Element>(out: &mut [T], low: f64, high: f64, key: u64, counter: u64, par: &Par) {
    // As many digits as the significand has, so that nothing rounds up to 1.
    let digits = match T::DTYPE {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        _ => 53,
    };
    fill(out, key, counter, par, |_, number| {
        let x = T::from_f64(low + (high - low) * unit(number, digits));
        // Near a large `low` the precision may be too coarse to stay below `high`.
        if x.to_f64() < high { x } else { T::from_f64(low) }
    });
}

/// Normal with this mean and standard deviation, by the inverse of the distribution function: one number an element,
/// and never infinite.
pub fn normal<T: Element>(out: &mut [T], mean: f64, std: f64, key: u64, counter: u64, par: &Par) {
    fill(out, key, counter, par, |_, number| {
        // The middles of 2^52 equal steps: neither 0 nor 1, and symmetric.
        let p = ((number >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        T::from_f64(mean + std * normal_quantile(p))
    });
}

/// The number that a standard normal variable stays below with probability `p`, to about 1e-16 relative.
///
/// Algorithm AS 241, PPND16: M. J. Wichura, "The percentage points of the normal distribution", Applied Statistics 37
/// (1988), 477-484.
fn normal_quantile(p: f64) -> f64 {
    #[inline(always)]
    fn ratio(x: f64, above: &[f64; 8], below: &[f64; 8]) -> f64 {
        let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
        horner(above) / horner(below)
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180625 - q * q, &CENTRE.0, &CENTRE.1);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let x = if r <= 5.0 { ratio(r - 1.6, &SHOULDER.0, &SHOULDER.1) } else { ratio(r - 5.0, &TAIL.0, &TAIL.1) };
    x.copysign(q)
}

/// Coefficients for `|p - 0.5| <= 0.425`, lowest power first, above and below the fraction line.
static CENTRE: ([f64; 8], [f64; 8]) = (
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_659_7e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
);

/// Coefficients for tails down to about 1e-11.
static SHOULDER: ([f64; 8], [f64; 8]) = (
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
);

/// Coefficients for the rest.
static TAIL: ([f64; 8], [f64; 8]) = (
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
);

/// An integer below `n`, each as likely as any other, from the number that stands at `counter`.
///
/// The upper half of a 128-bit product, with the few numbers rejected that would make some results likelier: D. Lemire,
/// "Fast random integer generation in an interval", ACM TOMACS 29 (2019).
#[inline]
fn below(n: u64, mut number: u64, key: u64, counter: u64) -> u64 {
    let mut attempt = 0;
    loop {
        let product = u128::from(number) * u128::from(n);
        let low = product as u64;
        if low >= n || low >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
        attempt += 1;
        number = Numbers::again(key, counter, attempt).next();
    }
}

/// Integers in `low..high`, which must not be empty.
pub fn integers<T: Element>(out: &mut [T], low: i64, high: i64, key: u64, counter: u64, par: &Par) {
    let n = high.wrapping_sub(low) as u64;
    fill(out, key, counter, par, |i, number| {
        T::from_i64(low.wrapping_add(below(n, number, key, counter.wrapping_add(i as u64)) as i64))
    });
}

/// The positions `0..out.len()` in random order (Fisher and Yates).
pub fn permutation(out: &mut [i64], key: u64, counter: u64) {
    let mut numbers = Numbers::new(key, counter);
    for i in 0..out.len() {
        let j = below(i as u64 + 1, numbers.next(), key, counter.wrapping_add(i as u64)) as usize;
        out[i] = out[j];
        out[j] = i as i64;
    }
}

/// For each of `rows` rows of weights as many classes as a row of `out` takes, with the weights as relative
/// probabilities. A class may come again.
pub fn with_replacement(out: &mut [i64], weights: &[f64], rows: usize, key: u64, counter: u64, par: &Par) {
    let (classes, draws) = (weights.len() / rows.max(1), out.len() / rows.max(1));
    par.chunks_mut(out, draws, |row, out| {
        let mut sum = 0.0;
        let add = |w: &f64| {
            sum += w;
            sum
        };
        let sums: Vec<f64> = weights[row * classes..][..classes].iter().map(add).collect();
        let last = sums.partition_point(|&s| s < sum);
        let mut numbers = Numbers::new(key, counter.wrapping_add((row * draws) as u64));
        for o in out {
            let x = unit_f64(numbers.next()) * sum;
            // The product may round up to the whole sum.
            *o = sums.partition_point(|&s| s <= x).min(last) as i64;
        }
    });
}

/// For each of `rows` rows of weights as many different classes as a row of `out` takes, drawn one after the other by
/// weight.
///
/// Each class gets an exponential waiting time of rate its weight; the first to arrive are drawn. There is a number for
/// each weight, so that rows are independent.
pub fn without_replacement(out: &mut [i64], weights: &[f64], rows: usize, key: u64, counter: u64, par: &Par) {
    let (classes, draws) = (weights.len() / rows.max(1), out.len() / rows.max(1));
    par.chunks_mut(out, draws, |row, out| {
        let mut numbers = Numbers::new(key, counter.wrapping_add((row * classes) as u64));
        let mut arrivals: Vec<(f64, usize)> = weights[row * classes..][..classes]
            .iter()
            .map(|w| (-(-unit_f64(numbers.next())).ln_1p() / w, *w))
            .zip(0..)
            .filter(|&((_, w), _)| w > 0.0)
            .map(|((time, _), class)| (time, class))
            .collect();
        arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (o, (_, class)) in out.iter_mut().zip(arrivals) {
            *o = class as i64;
        }
    });
}

/// Truth values, each with its own probability.
pub fn bernoulli(out: &mut [u8], probabilities: &[f64], key: u64, counter: u64, par: &Par) {
    fill(out, key, counter, par, |i, number| (unit_f64(number) < probabilities[i]) as u8);
}

/// Truth values that are false with probability `p`.
pub fn keep(out: &mut [u8], p: f64, key: u64, counter: u64, par: &Par) {
    fill(out, key, counter, par, |_, number| (unit_f64(number) >= p) as u8);
}

/// Sets the elements whose mask is off to 0 and multiplies the others by `scale`.
pub fn drop_out<T: Element>(x: &mut [T], mask: &[u8], scale: f64, par: &Par) {
    par.chunks_mut(x, GRAIN, |block, part| {
        for (x, &keep) in part.iter_mut().zip(&mask[block * GRAIN..]) {
            *x = if keep != 0 { T::from_f64(x.to_f64() * scale) } else { T::default() };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_does_not_depend_on_where_reading_starts() {
        let mut whole = Numbers::new(7, 0);
        let all: Vec<u64> = (0..300).map(|_| whole.next()).collect();
        for start in 0..300 {
            let mut part = Numbers::new(7, start as u64);
            assert_eq!(part.counter(), start as u64);
            assert_eq!((start..300).map(|_| part.next()).collect::<Vec<_>>(), all[start..]);
        }
        let mut skipping = Numbers::new(7, 3);
        skipping.skip(100);
        assert_eq!(skipping.next(), all[103]);
    }

    #[test]
    fn the_normal_quantile_is_that_of_tables() {
        // Python 3.11, statistics.NormalDist().inv_cdf.
        for (p, x) in [
            (0.5, 0.0),
            (0.6, 0.253_347_103_135_799_8),
            (0.975, 1.959_963_984_540_054),
            (1e-3, -3.090_232_306_167_813_5),
            (1e-10, -6.361_340_902_404_056),
            (1e-16, -8.222_082_216_130_435),
            (1.0 - 1e-3, 3.090_232_306_167_813),
        ] {
            assert!((normal_quantile(p) - x).abs() <= 1e-15 * x.abs().max(1.0) * 4.0, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn rejected_numbers_are_drawn_again() {
        // 2^63 + 1 of 2^64 numbers are used: every other draw is rejected at first.
        let n = (1u64 << 63) + 1;
        let mut numbers = Numbers::new(1, 0);
        let draws: Vec<u64> = (0..200).map(|i| below(n, numbers.next(), 1, i)).collect();
        assert!(draws.iter().all(|&d| d < n));
        let small = draws.iter().filter(|&&d| d < n / 2).count();
        assert!((70..130).contains(&small), "{small} of 200 in the lower half");
    }
}
