//! The random family: elements from numbered random numbers.
//!
//! The source is ChaCha with 8 rounds, which can be asked for its numbers in any order: the element at position `i` of
//! a draw comes from number `counter + i` of the key's stream and from nothing else. So blocks are filled in parallel,
//! and the bits are the same for any number of threads.

use std::array;

use crate::dtype::{DType, Element};
use crate::kernels::elementary;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop, Plain};
use crate::par::{GRAIN, Par};

pub use crate::kernels::chacha::Numbers;

/// Numbers that are drawn at a time: with what becomes of them they stay in the nearest cache.
const STRETCH: usize = 512;

/// Calls `f` with stretches of `out`, where each begins, and the numbers of its elements: that of element `i` is number
/// `counter + i` of `key`.
fn fill<T: Send>(out: &mut [T], key: u64, counter: u64, par: &Par, f: impl Fn(usize, &mut [T], &[u64]) + Sync) {
    par.chunks_mut(out, GRAIN, |block, part| {
        let first = block * GRAIN;
        let mut source = Numbers::new(key, counter.wrapping_add(first as u64));
        let mut numbers = [0; STRETCH];
        for (i, part) in part.chunks_mut(STRETCH).enumerate() {
            let numbers = &mut numbers[..part.len()];
            source.take(numbers);
            f(first + i * STRETCH, part, numbers);
        }
    });
}

/// A float in `[0, 1)` from the upper `digits` bits of a number: each multiple of `2^-digits` is as likely as any other.
#[inline(always)]
fn unit(number: u64, digits: u32) -> f64 {
    (number >> (64 - digits)) as f64 / (1u64 << digits) as f64
}

/// Digits of an `f64`.
const DIGITS: u32 = 53;

/// Uniform in `[low, high)`. All precisions use the leading bits of the same number, so that a seed gives the same
/// elements in each, but for digits.
pub fn uniform<T: Element>(out: &mut [T], low: f64, high: f64, key: u64, counter: u64, par: &Par) {
    struct Run<'a, T>(&'a mut [T], &'a [u64], f64, f64);
    impl<T: Element> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, numbers, low, high) = self;
            // As many digits as the significand has, so that nothing rounds up to 1.
            let digits = match T::DTYPE {
                DType::F16 => 11,
                DType::BF16 => 8,
                DType::F32 => 24,
                _ => DIGITS,
            };
            for (o, &number) in out.iter_mut().zip(numbers) {
                let x = T::from_f64(low + (high - low) * unit(number, digits));
                // Near a large `low` the precision may be too coarse to stay below `high`.
                *o = if x.to_f64() < high { x } else { T::from_f64(low) };
            }
        }
    }
    fill(out, key, counter, par, |_, out, numbers| simd::run(Run(out, numbers, low, high)));
}

/// Normal with this mean and standard deviation, by the inverse of the distribution function: one number an element,
/// and never infinite.
pub fn normal<T: Element>(out: &mut [T], mean: f64, std: f64, key: u64, counter: u64, par: &Par) {
    struct Scale<'a, T>(&'a mut [T], &'a [f64], f64, f64);
    impl<T: Element> Loop for Scale<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Scale(out, standard, mean, std) = self;
            for (o, z) in out.iter_mut().zip(standard) {
                *o = T::from_f64(mean + std * z);
            }
        }
    }
    fill(out, key, counter, par, |_, out, numbers| {
        let mut standard = [0.0; STRETCH];
        let standard = &mut standard[..numbers.len()];
        normal_quantiles(standard, numbers);
        simd::run_narrow(Scale(out, standard, mean, std));
    });
}

/// The probability that a number stands for: one of the middles of 2^52 equal steps, which are neither 0 nor 1, and
/// symmetric.
#[inline(always)]
fn probability(number: u64) -> f64 {
    ((number >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// What a standard normal variable stays below with the probabilities that at most [`STRETCH`] numbers stand for.
fn normal_quantiles(out: &mut [f64], numbers: &[u64]) {
    struct Centre<'a>(&'a mut [f64], &'a [u64]);
    impl Loop for Centre<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (o, &number) in self.0.iter_mut().zip(self.1) {
                *o = central(probability(number) - 0.5);
            }
        }
    }
    /// Numbers, and in their place the bits of quantiles.
    struct Shoulders<'a>(&'a mut [u64]);
    impl Loop for Shoulders<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for number in self.0 {
                *number = shoulder(probability(*number)).to_bits();
            }
        }
    }
    simd::run(Centre(out, numbers));
    // The costly form is right for one in seven, and computed for these alone, side by side.
    let (mut places, mut further, mut count) = ([0u16; STRETCH], [0; STRETCH], 0);
    for (i, &number) in numbers.iter().enumerate() {
        (places[count], further[count]) = (i as u16, number);
        count += (steps(number) > CENTRE_STEPS) as usize;
    }
    let further = &mut further[..count];
    simd::run(Shoulders(further));
    for (&bits, &i) in further.iter().zip(&places) {
        let number = numbers[i as usize];
        let quantile = if steps(number) <= SHOULDER_STEPS { f64::from_bits(bits) } else { tail(probability(number)) };
        out[i as usize] = quantile;
    }
}

/// How many whole steps lie between a number's probability and a half; another half step does.
#[inline(always)]
fn steps(number: u64) -> u64 {
    let from_half = (number >> 12) as i64 - (1 << 51);
    (from_half ^ (from_half >> 63)) as u64
}

/// So far [`central`] is right: to a distance of 0.425.
const CENTRE_STEPS: u64 = (0.425 * (1u64 << 52) as f64 - 0.5) as u64;

/// So far [`shoulder`] is right: to `e^-25` from the end.
const SHOULDER_STEPS: u64 = ((0.5 - 1.388_794_386_496_402e-11) * (1u64 << 52) as f64 - 0.5) as u64;

// The number that a standard normal variable stays below with probability `p`, to about 1e-16 relative, in three ranges.
//
// Algorithm AS 241, PPND16: M. J. Wichura, "The percentage points of the normal distribution", Applied Statistics 37
// (1988), 477-484.

/// A quotient of polynomials.
#[inline(always)]
fn ratio(x: f64, (above, below): &([f64; 8], [f64; 8])) -> f64 {
    let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    horner(above) / horner(below)
}

#[inline(always)]
fn central(q: f64) -> f64 {
    q * ratio(0.180625 - q * q, &CENTRE)
}

/// The probability of what lies further out on the same side.
#[inline(always)]
fn beyond(p: f64) -> f64 {
    if p < 0.5 { p } else { 1.0 - p }
}

/// The quantile from the coefficients of shoulders and tails, which are for distances from `start`.
#[inline(always)]
fn outer(p: f64, coefficients: &([f64; 8], [f64; 8]), start: f64) -> f64 {
    // Not fused on any processor that may lack it, so that a seed gives the same digits on each.
    let r = (-elementary::ln::<f64, Plain>(beyond(p))).sqrt();
    ratio(r - start, coefficients).copysign(p - 0.5)
}

#[inline(always)]
fn shoulder(p: f64) -> f64 {
    outer(p, &SHOULDER, 1.6)
}

fn tail(p: f64) -> f64 {
    outer(p, &TAIL, 5.0)
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
/// The upper half of a 128-bit product, with the few numbers rejected that would make some results likelier, and replaced
/// by those at the same place of other streams: D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29
/// (2019).
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
        number = Numbers::new(key, counter).again(attempt);
    }
}

/// Integers in `low..high`, which must not be empty.
pub fn integers<T: Element>(out: &mut [T], low: i64, high: i64, key: u64, counter: u64, par: &Par) {
    let n = high.wrapping_sub(low) as u64;
    fill(out, key, counter, par, |first, out, numbers| {
        for (i, (o, &number)) in out.iter_mut().zip(numbers).enumerate() {
            let drawn = below(n, number, key, counter.wrapping_add((first + i) as u64));
            *o = T::from_i64(low.wrapping_add(drawn as i64));
        }
    });
}

/// The positions `0..out.len()` in random order (Fisher and Yates).
pub fn permutation(out: &mut [i64], key: u64, counter: u64) {
    let mut source = Numbers::new(key, counter);
    let mut numbers = [0; STRETCH];
    for first in (0..out.len()).step_by(STRETCH) {
        let numbers = &mut numbers[..STRETCH.min(out.len() - first)];
        source.take(numbers);
        for (i, &number) in (first..).zip(&*numbers) {
            let j = below(i as u64 + 1, number, key, counter.wrapping_add(i as u64)) as usize;
            out[i] = out[j];
            out[j] = i as i64;
        }
    }
}

/// Rows of weights that are summed together, as each addition to a sum waits for the one before.
const TOGETHER: usize = 4;

/// For each of `rows` rows of weights as many classes as a row of `out` takes, with the weights as relative
/// probabilities. A class may come again.
pub fn with_replacement(out: &mut [i64], weights: &[f64], rows: usize, key: u64, counter: u64, par: &Par) {
    let (classes, draws) = (weights.len() / rows.max(1), out.len() / rows.max(1));
    par.chunks_mut(out, TOGETHER * draws, |block, out| {
        let weights = &weights[block * TOGETHER * classes..][..out.len() / draws * classes];
        let mut sums = Scratch::<f64>::new(weights.len());
        match weights.len() == TOGETHER * classes {
            true => running_sums::<TOGETHER>(&mut sums, weights),
            false => {
                let rows = sums.chunks_exact_mut(classes).zip(weights.chunks_exact(classes));
                rows.for_each(|(sums, weights)| running_sums::<1>(sums, weights));
            }
        }
        let mut source = Numbers::new(key, counter.wrapping_add((block * TOGETHER * draws) as u64));
        let mut numbers = [0; STRETCH];
        for (out, sums) in out.chunks_exact_mut(draws).zip(sums.chunks_exact(classes)) {
            let sum = sums[classes - 1];
            let last = sums.partition_point(|&s| s < sum);
            for out in out.chunks_mut(STRETCH) {
                let numbers = &mut numbers[..out.len()];
                source.take(numbers);
                for (o, &number) in out.iter_mut().zip(&*numbers) {
                    let x = unit(number, DIGITS) * sum;
                    // The product may round up to the whole sum.
                    *o = sums.partition_point(|&s| s <= x).min(last) as i64;
                }
            }
        }
    });
}

/// The sums of each of `R` rows up to each element.
fn running_sums<const R: usize>(sums: &mut [f64], x: &[f64]) {
    let n = x.len() / R;
    let mut sum = [0.0; R];
    let (sums, x): ([&mut [f64]; R], [&[f64]; R]) = {
        let mut rows = sums.chunks_exact_mut(n);
        (array::from_fn(|_| rows.next().expect("a row each")), array::from_fn(|r| &x[r * n..][..n]))
    };
    for i in 0..n {
        for r in 0..R {
            sum[r] += x[r][i];
            sums[r][i] = sum[r];
        }
    }
}

/// For each of `rows` rows of weights as many different classes as a row of `out` takes, drawn one after the other by
/// weight.
///
/// Each class gets an exponential waiting time of rate its weight; the first to arrive are drawn. There is a number for
/// each weight, so that rows are independent.
pub fn without_replacement(out: &mut [i64], weights: &[f64], rows: usize, key: u64, counter: u64, par: &Par) {
    let (classes, draws) = (weights.len() / rows.max(1), out.len() / rows.max(1));
    par.chunks_mut(out, draws, |row, out| {
        let mut numbers = vec![0; classes];
        Numbers::new(key, counter.wrapping_add((row * classes) as u64)).take(&mut numbers);
        let mut arrivals: Vec<(f64, usize)> = weights[row * classes..][..classes]
            .iter()
            .zip(numbers)
            .map(|(w, number)| (-(-unit(number, DIGITS)).ln_1p() / w, *w))
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
    struct Run<'a>(&'a mut [u8], &'a [u64], &'a [f64]);
    impl Loop for Run<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for ((o, &number), &p) in self.0.iter_mut().zip(self.1).zip(self.2) {
                *o = (unit(number, DIGITS) < p) as u8;
            }
        }
    }
    fill(out, key, counter, par, |first, out, numbers| simd::run(Run(out, numbers, &probabilities[first..])));
}

/// Truth values that are false with probability `p`.
pub fn keep(out: &mut [u8], p: f64, key: u64, counter: u64, par: &Par) {
    struct Run<'a>(&'a mut [u8], &'a [u64], u64);
    impl Loop for Run<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Run(out, numbers, least) = self;
            for (o, &number) in out.iter_mut().zip(numbers) {
                *o = (number >> (64 - DIGITS) >= least) as u8;
            }
        }
    }
    // The product is exact.
    let least = (p * (1u64 << DIGITS) as f64).ceil() as u64;
    fill(out, key, counter, par, |_, out, numbers| simd::run(Run(out, numbers, least)));
}

/// Sets the elements whose mask is off to 0 and multiplies the others by `scale`.
pub fn drop_out<T: Element>(x: &mut [T], mask: &[u8], scale: f64, par: &Par) {
    struct Run<'a, T>(&'a mut [T], &'a [u8], f64);
    impl<T: Element> Loop for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            for (x, &keep) in self.0.iter_mut().zip(self.1) {
                let scaled = T::from_f64(x.to_f64() * self.2);
                *x = if keep != 0 { scaled } else { T::default() };
            }
        }
    }
    par.chunks_mut(x, GRAIN, |block, part| simd::run_narrow(Run(part, &mask[block * GRAIN..], scale)));
}

/// Whether all elements are at least `low` and at most `high`. NaN is not.
pub fn all_within(x: &[f64], low: f64, high: f64) -> bool {
    struct Run<'a>(&'a [f64], f64, f64);
    impl Loop for Run<'_> {
        type Output = bool;
        #[inline(always)]
        fn run<I: Isa>(self) -> bool {
            self.0.iter().fold(true, |all, &x| all & (self.1 <= x) & (x <= self.2))
        }
    }
    simd::run(Run(x, low, high))
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
        for n in [1, 7, 127, 128, 129, 290] {
            let (mut part, mut taken) = (Numbers::new(7, 5), vec![0; n]);
            part.take(&mut taken);
            assert_eq!(taken, all[5..5 + n]);
            assert_eq!(part.next(), all[5 + n]);
        }
        let mut skipping = Numbers::new(7, 3);
        skipping.skip(100);
        assert_eq!(skipping.next(), all[103]);
    }

    fn normal_quantile(p: f64) -> f64 {
        match (p - 0.5).abs() {
            ..=0.425 => central(p - 0.5),
            _ if beyond(p).ln() >= -25.0 => shoulder(p),
            _ => tail(p),
        }
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
    fn normal_numbers_are_quantiles_of_uniform_ones() {
        let mut numbers = [0; STRETCH];
        Numbers::new(3, 5).take(&mut numbers);
        // So far out as hardly any number that is drawn.
        numbers[7] = 0;
        numbers[8] = u64::MAX;
        numbers[9] = 1 << 20;
        numbers[10] = (62_545 << 12) + 5;
        numbers[11] = 62_546 << 12;
        for n in [STRETCH, STRETCH - 3, 9, 1, 0] {
            let mut have = vec![0.0; n];
            normal_quantiles(&mut have, &numbers[..n]);
            for (&have, &number) in have.iter().zip(&numbers) {
                assert_eq!(have.to_bits(), normal_quantile(probability(number)).to_bits(), "{number:#x}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_as_likely_as_said() {
        for p in [0.0, 1e-17, 0.1, 0.3, 0.5, 1.0 - 1e-16, 1.0] {
            let (mut kept, mut numbers) = (vec![0; 1000], vec![0; 1000]);
            keep(&mut kept, p, 1, 2, &Par::sequential());
            Numbers::new(1, 2).take(&mut numbers);
            let want: Vec<u8> = numbers.iter().map(|&number| (unit(number, DIGITS) >= p) as u8).collect();
            assert_eq!(kept, want, "{p}");
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
