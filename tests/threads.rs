//! Graphs and threads: shared parameters, rules that replay, and the same bits whatever runs beside.

use std::sync::{Arc, Barrier};

use wengert::dispatch::{CustomOp, apply_custom};
use wengert::tape::{Edge, Vjp};
use wengert::{
    Adam, AnyTensor, AttentionOptions, BatchNorm2d, Batches, Conv2d, Conv2dOptions, Conv3dOptions, Differentiate,
    Dropout, Flatten, Gradients, Interpolation, Layer, Linear, MaxPool2d, Module, Optimizer, Param, Pool2d, ReLU,
    Result, Sequential, Tensor, clip_global_norm, manual_seed, no_grad, scalar, with_threads,
};

/// Numbers that look random, the same on every machine.
fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values = (0..shape.iter().product()).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    });
    Tensor::from_vec(values.collect(), shape)
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().into_iter().map(f32::to_bits).collect()
}

#[test]
fn sixteen_threads_get_the_serial_result() {
    let w = noise(1, &[20, 20]).requires_grad();
    let b = noise(2, &[20]).requires_grad();
    let shared = (w.matmul(&w.t()) * 0.1).tanh();
    let gradients = |i: u64| {
        let x = noise(10 + i, &[7, 20]);
        // Each thread replays a part of the graph that all of them share.
        let own = x.matmul(&w) + &b;
        let loss = own.matmul(&shared.detach()).sum() + own.square().mean();
        let grads = loss.backward();
        (bits(grads.of(&w)), bits(grads.of(&b)))
    };
    let serial: Vec<_> = (0..16).map(gradients).collect();
    for _ in 0..10 {
        let start = Barrier::new(16);
        let parallel: Vec<_> = std::thread::scope(|scope| {
            let spawn = |i| {
                let (start, gradients) = (&start, &gradients);
                scope.spawn(move || {
                    start.wait();
                    gradients(i)
                })
            };
            let threads: Vec<_> = (0..16).map(spawn).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        assert_eq!(parallel, serial);
    }
}

#[test]
fn sixteen_threads_replay_one_retained_graph() {
    let w = noise(3, &[16, 16]).requires_grad();
    let loss = (0..8).fold(w.clone(), |h, _| h.matmul(&w).tanh()).sum();
    let replay = || bits(loss.backward_with(wengert::Backward::new().retain_graph()).of(&w));
    let serial = replay();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(replay)).collect();
        threads.into_iter().for_each(|t| assert_eq!(t.join().expect("no panic"), serial));
    });
}

/// The sine, with a rule that gets the cosine by a replay of its own.
struct SineByReplay;

impl CustomOp for SineByReplay {
    fn name(&self) -> &'static str {
        "sine_by_replay"
    }
    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        Ok(inputs[0].float()?.sin())
    }
    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
        let (g, x) = (cx.g(), cx.input::<wengert::Float>(0));
        // Rules run without recording unless the replay is recorded; a replay inside switches it on for itself.
        let inner = x.detach().requires_grad();
        let y = wengert::tape::with_grad(true, || inner.sin().sum());
        cx.give(0, g * y.backward().of(&inner));
        Ok(())
    }
}

#[test]
fn a_rule_may_replay() {
    let x = noise(4, &[5]).requires_grad();
    let loss = |y: Tensor| (&y * &y).sum();
    let by_replay = loss(apply_custom(Arc::new(SineByReplay), &[x.as_any()]).expect("a float")).backward();
    let direct = loss(x.sin()).backward();
    assert_eq!(bits(by_replay.of(&x)), bits(direct.of(&x)));
    // And beside others that do the same.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let y = apply_custom(Arc::new(SineByReplay), &[x.as_any()]).expect("a float");
                    assert_eq!(bits(loss(y).backward().of(&x)), bits(direct.of(&x)));
                }
            });
        }
    });
}

#[test]
fn a_parameter_assigned_in_between_leaves_the_gradient_of_the_old_value() {
    let mut w = scalar(3.0).requires_grad();
    let leaf = w.edge().clone();
    let loss = &w * &w * &w;
    w.update::<f32>(|w| w[0] = 100.0);
    assert_eq!(w.item(), 100.0);
    let Edge::Leaf(leaf) = leaf else { panic!("a variable is a leaf") };
    w = w.with_leaf(leaf);
    assert_eq!(loss.backward().of(&w).item(), 27.0);
    // By an optimizer's way to update as well.
    let p = Param::new(scalar(3.0));
    let loss = p.value() * p.value() * p.value();
    p.update(|t| t.update::<f32>(|w| w[0] = 100.0));
    assert_eq!((p.value().item(), loss.backward().of(&p).item()), (100.0, 27.0));
    let loss = p.value() * p.value();
    p.set(&scalar(1.0));
    assert_eq!((p.value().item(), loss.backward().of(&p).item()), (1.0, 200.0));
    // By operators that reuse memory, too.
    let v = scalar(3.0).requires_grad();
    let loss = &v * &v * &v;
    let mut moved = v.clone();
    no_grad(|| moved += 1.0);
    assert_eq!((v.item(), moved.item()), (3.0, 4.0));
    assert_eq!(loss.backward().of(&v).item(), 27.0);
}

/// A few steps of training, large enough that kernels spread their work: the parameters' and the last loss's bits.
fn train() -> Vec<Vec<u32>> {
    manual_seed(7);
    let net = Sequential::new()
        .push(Conv2d::new(2, 8, 3).padding(1))
        .push(BatchNorm2d::new(8))
        .push(ReLU::new())
        .push(MaxPool2d::new(2))
        .push(Flatten::new())
        .push(Dropout::new(0.2))
        .push(Linear::new(8 * 8 * 8, 10));
    let (images, labels) = (Tensor::randn([96, 2, 16, 16]), wengert::Int::randint(0, 10, [96]));
    let mut optimizer = Adam::new(net.parameters()).lr(1e-2);
    let mut last = scalar(0.0);
    for (x, y) in &Batches::new(&images, &labels, 48).shuffle(3) {
        let loss = net.forward(&x).cross_entropy(&y);
        let mut grads = loss.backward();
        clip_global_norm(&mut grads, 1.0);
        optimizer.step(&grads);
        last = loss.detach();
    }
    net.parameters().iter().map(|p| bits(&p.value())).chain([bits(&last)]).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let one = with_threads(1, train);
    assert!(one.iter().flatten().all(|b| f32::from_bits(*b).is_finite()));
    for threads in [2, 3, 8] {
        assert!(with_threads(threads, train) == one, "{threads} threads give other bits than one");
    }
}

#[test]
fn a_loss_recorded_on_eight_threads_gives_the_same_gradient_bits() {
    let w = noise(11, &[12]).requires_grad();
    // Sums of floats depend on their order, so parts that arrive in another order would show.
    let part = |i: u64| (&w * (noise(20 + i, &[12]) * 10f64.powi(i as i32 % 5))).sin().sum();
    let record = || -> Gradients {
        let parts: Vec<Tensor> = std::thread::scope(|scope| {
            let part = &part;
            let threads: Vec<_> = (0..8)
                .map(|i| {
                    scope.spawn(move || {
                        // Others record meanwhile, in an order that changes from run to run.
                        if i % 3 == 0 {
                            std::thread::yield_now();
                        }
                        part(i)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        parts.into_iter().reduce(|a, b| a + b).expect("eight parts").backward()
    };
    let first = bits(record().of(&w));
    for run in 1..300 {
        assert_eq!(bits(record().of(&w)), first, "run {run}");
    }
}

#[test]
fn kernels_over_windows_and_rows_give_the_same_bits_for_any_number_of_threads() {
    let variable = |seed, shape: &[usize]| noise(seed, shape).requires_grad();
    let (q, k) = (variable(1, &[2, 4, 150, 16]), variable(2, &[2, 2, 600, 16]));
    let (rows, weight) = (variable(3, &[300, 300]), variable(4, &[300]));
    let (volume, filter) = (variable(5, &[3, 4, 9, 20, 20]), variable(6, &[6, 2, 3, 3, 3]));
    let image = variable(7, &[4, 8, 60, 60]);
    let outputs = || {
        let options = Conv3dOptions::new().groups(2).padding(1);
        let convolved = volume.conv3d(&filter, None, options.stride([2, 1, 1]));
        [
            q.scaled_dot_product_attention(&k, &k, AttentionOptions::new()),
            q.narrow(1, 0, 1).scaled_dot_product_attention(
                &k.narrow(1, 0, 1),
                &k.narrow(1, 1, 1),
                AttentionOptions::new().causal(true),
            ),
            rows.layer_norm([300], Some(&weight), Some(&weight), 1e-5),
            image.group_norm(4, None, None, 1e-5),
            convolved.conv_transpose3d(&filter, None, options),
            convolved,
            image.max_pool2d(Pool2d::new(3).stride(2).padding(1)),
            image.max_pool2d(2),
            image.adaptive_avg_pool2d([7, 5]),
            image.unfold(3, Conv2dOptions::new()).fold([60, 60], 3, Conv2dOptions::new()),
            image.interpolate([90, 70], Interpolation::Linear),
        ]
    };
    let run = |threads| {
        with_threads(threads, || {
            let outputs = outputs();
            let loss = outputs.iter().map(|y| (y * y).mean()).reduce(|a, b| a + b).expect("some");
            let grads = loss.backward();
            let gradients = [&q, &k, &rows, &weight, &volume, &filter, &image].map(|v| bits(grads.of(v)));
            (outputs.map(|y| bits(&y)), gradients)
        })
    };
    let serial = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == serial, "{threads} threads");
    }
}
