//! Random tensors: seeds, states and threads, and whether the distributions are what they say.

use wengert_tensor::{
    Bool, DType, Int, Rng, Tensor, manual_seed, rng_state, scalar, set_rng_state, split_rng, with_default_dtype,
    with_threads,
};

/// The largest distance between the share of values below `x` and `cdf(x)`: the statistic of Kolmogorov and Smirnov.
fn distance(values: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let at = |(i, x): (usize, &f64)| {
        let f = cdf(*x);
        (f - i as f64 / n).abs().max(((i + 1) as f64 / n - f).abs())
    };
    sorted.iter().enumerate().map(at).fold(0.0, f64::max)
}

/// `distance * sqrt(n)` stays below this with probability 0.999; the seeds are fixed.
const UNUSUAL: f64 = 1.95;

/// The standard normal distribution function, by Simpson's rule from 0.
fn normal_cdf(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (steps, x) = (200, x.clamp(-9.0, 9.0));
    let h = x / steps as f64;
    let weight = |i: usize| if i == 0 || i == steps { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    0.5 + (0..=steps).map(|i| weight(i) * density(i as f64 * h)).sum::<f64>() * h / 3.0
}

#[test]
fn uniform_numbers_are_uniform() {
    for dtype in [DType::F32, DType::F64] {
        let n = 20_000;
        let x = with_default_dtype(dtype, || Rng::new(3).uniform(-1.0, 3.0, [n])).to_vec::<f64>();
        assert!(x.iter().all(|v| (-1.0..3.0).contains(v)));
        assert!(distance(&x, |v| (v + 1.0) / 4.0) * (n as f64).sqrt() < UNUSUAL);
    }
}

#[test]
fn neighbours_are_independent() {
    let n = 100_000;
    let x = with_default_dtype(DType::F64, || Rng::new(4).randn([n])).to_vec::<f64>();
    for lag in 1..5 {
        let correlation = x.windows(lag + 1).map(|w| w[0] * w[lag]).sum::<f64>() / n as f64;
        assert!(correlation.abs() * (n as f64).sqrt() < 4.0, "lag {lag}: {correlation}");
    }
}

#[test]
fn normal_numbers_are_normal() {
    for dtype in [DType::F32, DType::F64] {
        let n = 20_000;
        let x = with_default_dtype(dtype, || Rng::new(5).normal(2.0, 0.5, [n])).to_vec::<f64>();
        let standard: Vec<f64> = x.iter().map(|v| (v - 2.0) / 0.5).collect();
        assert!(distance(&standard, normal_cdf) * (n as f64).sqrt() < UNUSUAL);
        let moment = |k: i32| standard.iter().map(|v| v.powi(k)).sum::<f64>() / n as f64;
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error = (moment(k) - expected) / (variance / n as f64).sqrt();
            assert!(error.abs() < 4.0, "{dtype} moment {k}: {error} standard errors off");
        }
    }
}

#[test]
fn a_million_normal_numbers_are_finite_and_reach_the_tails() {
    let x = Rng::new(6).randn([1_000_000]).abs().max().item();
    assert!((4.4..6.5).contains(&x), "{x}");
}

#[test]
fn uniform_numbers_stay_below_the_end_in_every_precision() {
    for dtype in DType::FLOATS {
        let (one, near) = with_default_dtype(dtype, || {
            (Rng::new(7).rand([100_000]).max().item(), Rng::new(7).uniform(1.0, 1.0 + dtype.epsilon(), [1000]))
        });
        assert!(one < 1.0, "{dtype}: {one}");
        assert!(near.max().item() < 1.0 + dtype.epsilon(), "{dtype}");
    }
}

#[test]
fn every_multiple_of_the_last_place_is_as_likely() {
    let n = 1_000_000;
    for (dtype, digits) in [(DType::F16, 11), (DType::BF16, 8)] {
        let x = with_default_dtype(dtype, || Rng::new(22).rand([n])).to_vec::<f32>();
        let p = 0.5f64.powi(digits);
        for bound in [0.0, p, 0.5, 1.0 - p] {
            let share = x.iter().filter(|&&v| v as f64 == bound).count() as f64 / n as f64;
            assert!((share - p).abs() < 4.0 * (p / n as f64).sqrt(), "{dtype} {bound}: {share}, not {p}");
        }
    }
}

#[test]
fn precisions_draw_the_same_numbers() {
    let draw = |dtype| with_default_dtype(dtype, || Rng::new(8).randn([100]).to_vec::<f64>());
    let exact = draw(DType::F64);
    for dtype in DType::FLOATS {
        for (x, y) in draw(dtype).iter().zip(&exact) {
            assert!((x - y).abs() <= dtype.epsilon() * y.abs(), "{dtype}: {x} and {y}");
        }
    }
}

#[test]
fn integers_are_all_equally_likely() {
    let n = 60_000;
    let x = Rng::new(9).randint(-2, 4, [n]).to_vec::<i64>();
    let mut counts = [0f64; 6];
    x.iter().for_each(|&v| counts[(v + 2) as usize] += 1.0);
    let expected = n as f64 / 6.0;
    let chi2: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
    assert!(chi2 < 20.5, "chi squared {chi2} of 5 degrees of freedom: {counts:?}");
    let wide = Rng::new(9).randint(i64::MIN, i64::MAX, [1000]).to_vec::<i64>();
    assert!(wide.iter().any(|&v| v < i64::MIN / 2) && wide.iter().any(|&v| v > i64::MAX / 2));
    assert_eq!(Rng::new(9).randint(5, 6, [3]).to_vec::<i64>(), [5, 5, 5]);
}

#[test]
fn permutations_are_all_equally_likely() {
    let mut rng = Rng::new(10);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..6000 {
        *counts.entry(rng.randperm(3).to_vec::<i64>()).or_insert(0f64) += 1.0;
    }
    assert_eq!(counts.len(), 6);
    let chi2: f64 = counts.values().map(|c| (c - 1000.0).powi(2) / 1000.0).sum();
    assert!(chi2 < 20.5, "chi squared {chi2} of 5 degrees of freedom: {counts:?}");
    let mut long = rng.randperm(1000).to_vec::<i64>();
    long.sort();
    assert_eq!(long, (0..1000).collect::<Vec<_>>());
    assert_eq!(rng.randperm(0).elements(), 0);
}

#[test]
fn truth_values_come_as_often_as_asked() {
    let mut rng = Rng::new(11);
    let n = 40_000;
    let share = |b: Tensor<Bool>| b.to_float().mean().item();
    assert!((share(rng.bernoulli(0.3, [n])) - 0.3).abs() < 4.0 * (0.21 / n as f64).sqrt());
    let p = Tensor::from_vec(vec![0.0, 0.9, 1.0], [3]).expand([n, 3]);
    let columns = rng.bernoulli_each(&p).to_float().mean_axis(0).to_vec::<f64>();
    assert_eq!((columns[0], columns[2]), (0.0, 1.0));
    assert!((columns[1] - 0.9).abs() < 4.0 * (0.09 / n as f64).sqrt());
}

#[test]
fn classes_come_by_weight() {
    let mut rng = Rng::new(12);
    let n = 30_000;
    let weights = Tensor::from_vec(vec![1.0, 0.0, 3.0, 2.0, 0.5, 0.5, 0.0, 0.0], [2, 4]);
    let draws = rng.multinomial(&weights, n, true);
    assert_eq!(draws.shape(), &[2, n][..]);
    let rows = draws.to_vec::<i64>();
    for (row, shares) in rows.chunks(n).zip([[1.0 / 6.0, 0.0, 0.5, 1.0 / 3.0], [0.5, 0.5, 0.0, 0.0]]) {
        for (class, share) in shares.into_iter().enumerate() {
            let came = row.iter().filter(|&&c| c == class as i64).count() as f64 / n as f64;
            assert!((came - share).abs() <= 4.0 * (share * (1.0 - share) / n as f64).sqrt(), "{class}: {came}");
        }
    }
}

#[test]
fn classes_without_replacement_come_once_and_in_the_right_order() {
    let n = 20_000;
    let weights = Tensor::from_vec(vec![1.0, 2.0, 0.0, 5.0], [4]).expand([n, 4]);
    let draws = Rng::new(13).multinomial(&weights, 3, false).to_vec::<i64>();
    let mut counts = std::collections::BTreeMap::new();
    for row in draws.chunks(3) {
        let mut sorted = row.to_vec();
        sorted.sort();
        assert_eq!(sorted, [0, 1, 3]);
        *counts.entry(row.to_vec()).or_insert(0f64) += 1.0;
    }
    // The first by its share of 8, the second by its share of what is left.
    for (order, p) in [([3, 1, 0], 5.0 / 8.0 * 2.0 / 3.0), ([0, 1, 3], 1.0 / 8.0 * 2.0 / 7.0)] {
        let came = counts[&order.to_vec()] / n as f64;
        assert!((came - p).abs() < 4.0 * (p * (1.0 - p) / n as f64).sqrt(), "{order:?}: {came}, not {p}");
    }
}

#[test]
fn any_number_of_threads_draws_the_same_bits() {
    let draw = || {
        manual_seed(14);
        let x = Tensor::randn([300, 400]);
        let classes = x.abs().multinomial(50, false).to_float();
        let mut bits = x.to_vec::<f32>();
        bits.extend(Tensor::rand([100_001]).to_vec::<f32>());
        bits.extend(Int::randint(0, 1 << 40, [100_000]).to_float().to_vec::<f32>());
        bits.extend(Bool::bernoulli(0.5, [100_000]).to_float().to_vec::<f32>());
        bits.extend(classes.to_vec::<f32>());
        bits.extend(x.abs().multinomial(50, true).to_float().to_vec::<f32>());
        bits.extend(x.dropout(0.5, true).to_vec::<f32>());
        bits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = with_threads(1, draw);
    for threads in [2, 3, 8] {
        assert!(with_threads(threads, draw) == one, "{threads} threads");
    }
}

#[test]
fn draws_take_as_many_numbers_as_elements() {
    let mut rng = Rng::new(15);
    let whole = rng.rand([1000]).to_vec::<f32>();
    let mut again = Rng::new(15);
    let mut parts = again.rand([7, 11]).to_vec::<f32>();
    assert_eq!(again.state(), [15, 77]);
    parts.extend(again.rand([923]).to_vec::<f32>());
    assert_eq!(parts, whole);
    assert!(rng.try_rand([-1]).is_err());
    assert_eq!(rng.state(), [15, 1000], "a refused draw takes none");
}

#[test]
fn a_draw_of_many_blocks_is_the_draws_of_its_parts() {
    let whole = Rng::new(15).rand([100_000]).to_vec::<f32>();
    let mut rng = Rng::new(15);
    let parts = [30_001, 69_999].map(|n| rng.rand([n]).to_vec::<f32>());
    assert!(parts.concat() == whole);
}

#[test]
fn the_default_generator_is_saved_and_restored() {
    manual_seed(16);
    Tensor::rand([5]);
    let state = rng_state();
    let x = Tensor::randn([4]).to_vec::<f32>();
    set_rng_state(state);
    assert_eq!(Tensor::randn([4]).to_vec::<f32>(), x);
    assert_ne!(Tensor::randn([4]).to_vec::<f32>(), x);
}

#[test]
fn every_thread_has_a_default_generator_of_its_own() {
    manual_seed(17);
    let before = rng_state();
    let other = std::thread::spawn(|| {
        let unseeded = rng_state();
        manual_seed(17);
        (unseeded, Tensor::rand([8]).to_vec::<f32>())
    });
    let (unseeded, x) = other.join().unwrap();
    assert_ne!(unseeded, before);
    assert_eq!(rng_state(), before);
    assert_eq!(Tensor::rand([8]).to_vec::<f32>(), x);
}

#[test]
fn children_and_splits_differ() {
    let mut rng = Rng::new(18);
    let names = ["", "0", "1", "fc.weight", "fc.bias", "weight.fc"];
    let mut keys: Vec<u64> = names.iter().map(|n| rng.child(n).state()[0]).collect();
    keys.extend([rng.split().state()[0], rng.split().state()[0], Rng::new(19).child("0").state()[0]]);
    keys.push(split_rng().state()[0]);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), names.len() + 4);
    assert_eq!(rng.child("0").state(), Rng::new(18).child("0").state(), "what was drawn does not matter");
}

#[test]
fn it_is_a_rand_core_generator() {
    let (mut a, mut b) = (Rng::new(20), Rng::new(20));
    let mut bytes = [0; 12];
    rand_core::Rng::fill_bytes(&mut a, &mut bytes);
    assert_eq!(bytes[..8], b.next_u64().to_le_bytes());
    assert_eq!(bytes[8..], b.next_u64().to_le_bytes()[..4]);
    assert_eq!(rand_core::Rng::next_u32(&mut a), (b.next_u64() >> 32) as u32);
}

#[test]
fn dropout_keeps_scales_and_reports_misuse() {
    manual_seed(21);
    let n = 50_000;
    let y = Tensor::ones([n]).dropout(0.25, true).to_vec::<f32>();
    let kept = y.iter().filter(|&&v| v != 0.0).count() as f64 / n as f64;
    assert!((kept - 0.75).abs() < 4.0 * (0.1875 / n as f64).sqrt(), "{kept}");
    assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
    let x = Tensor::from_vec(vec![1.0, f64::NAN], [2]);
    assert!(x.dropout(0.5, false).shares_memory(&x));
    assert!(x.dropout(0.0, true).shares_memory(&x));
    assert_eq!(x.dropout(1.0, true).to_vec::<f64>(), [0.0, 0.0]);
    for training in [true, false] {
        let e = x.try_dropout(-0.1, training).unwrap_err().to_string();
        assert!(e.starts_with("dropout: p -0.1 is not between 0 and 1"), "{e}");
    }
    assert_eq!(scalar(1.0).dropout(0.5, true).rank(), 0);
}
