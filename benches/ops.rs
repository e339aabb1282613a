//! Times what the kernel families and the tape cost: `cargo bench --bench ops -- [PART-OF-A-NAME ..]`.
//!
//! Prints the median of many runs. `benches/peers` times other frameworks beside it; machines differ and are noisy, so
//! compare the ratios of two runs on one machine, not a time with a time of another day.

use std::hint::black_box;
use std::time::{Duration, Instant};

use wengert::prelude::*;

/// The median time of one call of `f`, in microseconds.
fn median(f: &mut dyn FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().max(Duration::from_nanos(20));
    // Samples of about 2 ms, for about half a second in all.
    let calls = (2_000_000 / once.as_nanos() as usize).clamp(1, 20_000);
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.len() < 15 || (begin.elapsed() < Duration::from_millis(500) && samples.len() < 300) {
        let t = Instant::now();
        (0..calls).for_each(|_| f());
        samples.push(t.elapsed().as_secs_f64() / calls as f64 * 1e6);
    }
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let bench = |name: &str, f: &mut dyn FnMut()| {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            println!("{name:<28} {:>12.3} us", median(f));
        }
    };
    manual_seed(0);

    let (a, b) = (Tensor::ones([8]), Tensor::ones([8]));
    bench("add 8", &mut || drop(black_box(&a + &b)));
    let w = Tensor::ones([8]).requires_grad();
    bench("add 8, recorded", &mut || drop(black_box(&w + &b)));
    let x = scalar(0.5).requires_grad();
    bench("chain of 200, with backward", &mut || {
        let mut y = x.clone();
        for _ in 0..100 {
            y = y.sin() * 0.9;
        }
        black_box(y.backward());
    });

    let (a, b) = (Tensor::rand([1 << 20]), Tensor::rand([1 << 20]));
    bench("add 1M", &mut || drop(black_box(&a + &b)));
    bench("exp 1M", &mut || drop(black_box(a.exp())));
    bench("sum 1M", &mut || drop(black_box(a.sum())));
    let m = Tensor::rand([2048, 2048]);
    bench("sum axis 0, 2048x2048", &mut || drop(black_box(m.sum_axis(0))));
    bench("sum axis 1, 2048x2048", &mut || drop(black_box(m.sum_axis(1))));
    bench("softmax 2048x2048", &mut || drop(black_box(m.softmax(-1))));
    bench("transpose copy 2048x2048", &mut || drop(black_box(m.t().contiguous())));
    for n in [64, 256, 1024] {
        let (a, b) = (Tensor::rand([n, n]), Tensor::rand([n, n]));
        bench(&format!("matmul {n}"), &mut || drop(black_box(a.matmul(&b))));
    }

    let weights: Vec<Param> = (0..8).map(|_| Param::new(Tensor::randn([1 << 20]))).collect();
    let gradients = weights.iter().map(|w| w.value().square().sum()).reduce(|a, b| a + b).unwrap().backward();
    let mut opt = AdamW::new(weights.clone());
    bench("AdamW over 8 x 1M", &mut || drop(black_box(opt.step(&gradients))));
    let mut opt = Sgd::new(weights).momentum(0.9);
    bench("SGD over 8 x 1M", &mut || drop(black_box(opt.step(&gradients))));

    let x = Tensor::randn([32, 16, 28, 28]);
    let w = Tensor::randn([32, 16, 5, 5]).requires_grad();
    let conv = || x.conv2d(&w, None, Conv2dOptions::new());
    bench("conv 32x16x28x28 to 32, 5x5", &mut || drop(black_box(no_grad(conv))));
    bench("conv with backward", &mut || drop(black_box(conv().sum().backward())));

    let net = Sequential::new();
    let net = net
        .push(Linear::new(784, 512))
        .push(ReLU::new())
        .push(Linear::new(512, 256))
        .push(ReLU::new())
        .push(Linear::new(256, 10));
    let mut opt = Adam::new(net.parameters()).lr(1e-3);
    let x = Tensor::randn([128, 784]);
    let y = Tensor::<Int>::from_vec((0..128).map(|i| i % 10).collect::<Vec<i64>>(), [128]);
    bench("MLP 784-512-256-10 step, 128", &mut || {
        opt.step(&net.forward(&x).cross_entropy(&y).backward());
    });
}
