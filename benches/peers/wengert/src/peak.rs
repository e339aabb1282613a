//! What the machine can do: multiply-adds of registers, and an addition of arrays far larger than the caches.

use std::hint::black_box;
use std::time::Instant;

/// The best of some runs of `f` on so many threads, each of which does the amount that `f` returns: amounts a second.
fn rate(threads: usize, f: impl Fn() -> f64 + Sync) -> f64 {
    let run = || {
        let start = Instant::now();
        let done: f64 = std::thread::scope(|s| {
            let workers: Vec<_> = (0..threads).map(|_| s.spawn(&f)).collect();
            workers.into_iter().map(|w| w.join().expect("runs")).sum()
        });
        done / start.elapsed().as_secs_f64()
    };
    (0..9).map(|_| run()).fold(0.0, f64::max)
}

/// Chains of multiply-adds that do not wait for each other.
const CHAINS: usize = 12;

/// The amount of `rounds` multiply-adds of so many lanes in each chain.
fn amount(lanes: usize, rounds: usize) -> f64 {
    (2 * lanes * CHAINS * rounds) as f64
}

/// # Safety
/// The machine must have AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn multiply_add_avx512(rounds: usize) -> f64 {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    let mut sums = [_mm512_set1_ps(black_box(0.5)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    amount(16, rounds)
}

/// # Safety
/// The machine must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_add_avx2(rounds: usize) -> f64 {
    use std::arch::x86_64::*;
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let mut sums = [_mm256_set1_ps(black_box(0.5)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    amount(8, rounds)
}

/// What every processor has: lanes of plain code.
fn multiply_add(rounds: usize) -> f64 {
    const LANES: usize = 4;
    let (a, b) = (black_box([0.999f32; LANES]), black_box([0.001f32; LANES]));
    let mut sums = [[0.5f32; LANES]; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * a[i] + b[i]);
        }
    }
    black_box(sums);
    amount(LANES, rounds)
}

/// GFLOP/s of multiply-adds in single precision.
pub fn flops(threads: usize) -> f64 {
    let rounds = 3_000_000;
    rate(threads, || {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the feature was found.
                return unsafe { multiply_add_avx512(rounds) };
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                // SAFETY: the features were found.
                return unsafe { multiply_add_avx2(rounds) };
            }
        }
        multiply_add(rounds)
    }) / 1e9
}

/// GB/s of an addition `c = a + b`: two arrays read and one written.
pub fn bytes(threads: usize) -> f64 {
    let n = 1 << 24;
    let (a, b) = (vec![1f32; n], vec![2f32; n]);
    let mut c = vec![0f32; n];
    let part = n / threads;
    let run = |c: &mut [f32]| {
        let start = Instant::now();
        std::thread::scope(|s| {
            for ((c, a), b) in c.chunks_mut(part).zip(a.chunks(part)).zip(b.chunks(part)) {
                s.spawn(move || c.iter_mut().zip(a).zip(b).for_each(|((c, a), b)| *c = a + b));
            }
        });
        12.0 * n as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..9).map(|_| run(black_box(&mut c))).fold(0.0, f64::max)
}
