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

const LANES: usize = 16;
const CHAINS: usize = 12;

#[inline(always)]
fn multiply_add<const FUSED: bool>(rounds: usize) -> f64 {
    let mut sums = black_box([[0.5f32; LANES]; CHAINS]);
    let (a, b) = (black_box([0.999f32; LANES]), black_box([0.001f32; LANES]));
    for _ in 0..rounds {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = if FUSED { sum[lane].mul_add(a[lane], b[lane]) } else { sum[lane] * a[lane] + b[lane] };
            }
        }
    }
    black_box(sums);
    (2 * LANES * CHAINS * rounds) as f64
}

/// # Safety
/// The machine must have AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
unsafe fn multiply_add_avx512(rounds: usize) -> f64 {
    multiply_add::<true>(rounds)
}

/// # Safety
/// The machine must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_add_avx2(rounds: usize) -> f64 {
    multiply_add::<true>(rounds)
}

/// GFLOP/s of fused multiply-adds in single precision.
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
        multiply_add::<false>(rounds)
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
