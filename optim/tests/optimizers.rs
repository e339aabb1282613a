//! Optimizers against PyTorch, their errors, their memory, and their saved state.

use std::collections::BTreeMap;

use wengert_autograd::{Differentiate, Gradients};
use wengert_nn::{Linear, Module, Param, StateDict};
use wengert_optim::schedule::{Constant, Cosine, Linear as Line, Schedule, Staircase};
use wengert_optim::{Adam, AdamW, Optimizer, Sgd, StepReport, clip_global_norm, clip_value};
use wengert_tensor::{DType, Rng, Tensor, tensor, with_default_dtype, with_threads};

/// The regression problem of `fixtures/trajectories.py`.
struct Problem {
    x: Tensor,
    y: Tensor,
    w: Param,
    b: Param,
}

impl Problem {
    fn new(dtype: DType) -> Problem {
        let table = |columns: usize, f: fn(usize, usize) -> f64| {
            let values: Vec<f64> = (0..5 * columns).map(|k| f(k / columns, k % columns)).collect();
            Tensor::from_vec(values, [5, columns]).to_dtype(dtype)
        };
        Problem {
            x: table(3, |i, j| (((3 * i + 5 * j) % 7) as f64 - 3.0) / 2.0),
            y: table(2, |i, j| ((2 * i + 3 * j) % 5) as f64 - 2.0),
            w: Param::new(Tensor::full_dtype([3, 2], 0.5, dtype)),
            b: Param::new(Tensor::full_dtype([2], 0.0, dtype)),
        }
    }

    fn params(&self) -> [Param; 2] {
        [self.w.clone(), self.b.clone()]
    }

    fn gradients(&self) -> Gradients {
        let error = self.x.matmul(&self.w.value()) + self.b.value() - &self.y;
        (&error * &error).mean().backward()
    }

    fn values(&self) -> Vec<f64> {
        [self.w.value().to_vec::<f64>(), self.b.value().to_vec()].concat()
    }
}

fn optimizer(name: &str, params: [Param; 2]) -> Box<dyn Optimizer> {
    match name {
        "sgd" | "clipped" | "cosine" => Box::new(Sgd::new(params).lr(0.05)),
        "sgd_decay" => Box::new(Sgd::new(params).lr(0.05).weight_decay(0.1)),
        "sgd_momentum" => Box::new(Sgd::new(params).lr(0.02).momentum(0.9)),
        "sgd_dampening" => Box::new(Sgd::new(params).lr(0.02).momentum(0.8).dampening(0.3).weight_decay(0.01)),
        "sgd_nesterov" => Box::new(Sgd::new(params).lr(0.02).momentum(0.9).nesterov(true).weight_decay(0.01)),
        "adam" => Box::new(Adam::new(params).lr(0.05)),
        "adam_decay" => Box::new(Adam::new(params).lr(0.05).betas(0.8, 0.95).eps(1e-6).weight_decay(0.1)),
        "adam_amsgrad" => Box::new(Adam::new(params).lr(0.2).betas(0.5, 0.6).amsgrad(true)),
        "adamw" => Box::new(AdamW::new(params).lr(0.05)),
        "adamw_amsgrad" => Box::new(AdamW::new(params).lr(0.2).betas(0.5, 0.6).weight_decay(0.1).amsgrad(true)),
        other => panic!("no configuration {other}"),
    }
}

#[test]
fn trajectories_are_those_of_pytorch() {
    let mut expected: BTreeMap<&str, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    for line in include_str!("fixtures/trajectories.txt").lines() {
        let mut fields = line.split(' ');
        let (name, step) = (fields.next().unwrap(), fields.next().unwrap().parse().unwrap());
        expected.entry(name).or_default().insert(step, fields.map(|v| v.parse().unwrap()).collect());
    }
    assert_eq!(expected.len(), 12);
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
        for (&name, snapshots) in &expected {
            let problem = Problem::new(dtype);
            let mut opt = optimizer(name, problem.params());
            let cosine = Cosine::new(0.05, 60).min(0.001);
            for step in 1..=60 {
                let mut gradients = problem.gradients();
                if name == "clipped" {
                    clip_global_norm(&mut gradients, 0.5);
                }
                if name == "cosine" {
                    opt.set_lr(cosine.lr(step - 1));
                }
                let report = opt.step(&gradients);
                assert_eq!(report, StepReport { updated: 2, ..StepReport::default() });
                let Some(expected) = snapshots.get(&step) else { continue };
                for (have, want) in problem.values().iter().zip(expected) {
                    let error = (have - want).abs() / want.abs().max(1e-3);
                    assert!(error < tolerance, "{name} in {dtype}, step {step}: {have}, not {want}");
                }
            }
        }
    }
}

#[test]
fn sixteen_bit_parameters_are_computed_in_f32_and_rounded() {
    for dtype in [DType::F16, DType::BF16] {
        // Longer than one block of conversion.
        let start = Rng::new(1).randn([700]).to_dtype(dtype);
        let grads = Rng::new(2).randn([700]).to_dtype(dtype);
        let run = |dtype: DType| {
            let p = Param::new(start.to_dtype(dtype));
            let mut opt = AdamW::new([p.clone()]).lr(0.125).betas(0.5, 0.75);
            for _ in 0..2 {
                opt.step(&(p.value() * grads.to_dtype(dtype)).sum().backward());
                // What both work on is rounded alike.
                p.update(|t| *t = t.to_dtype(start.dtype()).to_dtype(dtype));
            }
            p.value().to_vec::<f64>()
        };
        assert_eq!(run(dtype), run(DType::F32), "{dtype}");
    }
}

#[test]
fn a_missing_gradient_is_an_error_that_names_the_parameter_and_changes_nothing() {
    let net = Linear::new(2, 2);
    net.weight.set(&Tensor::ones([2, 2]));
    let params = net.parameters();
    let extra = Param::new(tensor![1.0]);
    let mut opt = Adam::new(params.clone().into_iter().chain([extra]));
    let loss = tensor![[1.0, 2.0]].matmul(&net.weight.value()).sum();
    let e = opt.try_step(&loss.backward()).unwrap_err();
    let text = e.to_string();
    let expected = "step: no gradient for parameter `bias`: it is not part of this tape; nor for 1 more: `2`\n  \
                    help: let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()\n  \
                    at ";
    assert!(text.starts_with(expected), "{text}");
    assert!(e.location().unwrap().file().ends_with("optimizers.rs"), "{text}");
    assert_eq!(net.weight.value().to_vec::<f32>(), [1.0; 4]);
    assert!(opt.state_dict().get("weight.mean").is_none());

    let mut opt = opt.allow_missing();
    let gradients = tensor![[1.0, 2.0]].matmul(&net.weight.value()).sum().backward();
    let report = opt.step(&gradients);
    assert_eq!(report, StepReport { updated: 1, frozen: 0, missing: vec!["bias".into(), "2".into()] });
    assert_ne!(net.weight.value().to_vec::<f32>(), [1.0; 4]);
}

#[test]
fn the_reason_of_a_missing_gradient_is_told() {
    let w = Param::new(tensor![1.0]);
    let v = Param::new(tensor![1.0]);
    let mut opt = Sgd::new([w.clone(), v.clone()]);
    let e = opt.try_step(&(w.value().detach() * v.value()).sum().backward()).unwrap_err();
    assert!(e.to_string().contains("detached at optim/tests/optimizers.rs:"), "{e}");
}

#[test]
fn frozen_parameters_stay_and_a_step_that_does_nothing_is_an_error() {
    let net = Linear::new(2, 1);
    let mut opt = Sgd::new(net.parameters()).lr(0.1).momentum(0.9);
    let gradients = |net: &Linear| {
        let y = tensor![[1.0, 2.0]].matmul(&net.weight.value().t()) + net.bias.as_ref().unwrap().value();
        y.sum().try_backward()
    };
    net.freeze("bias");
    let before = net.bias.as_ref().unwrap().value().to_vec::<f32>();
    let report = opt.step(&gradients(&net).unwrap());
    assert_eq!((report.updated, report.frozen), (1, 1));
    assert_eq!(net.bias.as_ref().unwrap().value().to_vec::<f32>(), before);
    net.unfreeze("*");
    let all = gradients(&net).unwrap();
    net.freeze("*");
    let e = opt.try_step(&all).unwrap_err().to_string();
    assert!(e.starts_with("step: all 2 parameters are frozen\n  help: this step would do nothing"), "{e}");
    let e = Adam::new([]).try_step(&all).unwrap_err().to_string();
    assert!(e.starts_with("step: the optimizer has no parameters"), "{e}");
}

#[test]
fn a_gradient_of_another_form_is_refused() {
    let w = Param::new(tensor![1.0, 2.0]);
    let mut opt = Sgd::new([w.clone()]);
    let gradients = w.value().sum().backward();
    w.to_dtype(DType::F64);
    let e = opt.try_step(&gradients).unwrap_err().to_string();
    assert!(e.starts_with("step: parameter `0` is [2] F64, and its gradient [2] F32"), "{e}");
}

#[test]
fn a_parameter_that_is_given_twice_moves_once() {
    let w = Param::new(tensor![1.0]);
    let mut opt = Sgd::new([w.clone(), w.clone()]).lr(0.5);
    opt.step(&w.value().sum().backward());
    assert_eq!(w.value().item(), 0.5);
}

#[test]
fn a_value_taken_before_a_step_stays_what_it_was() {
    let w = Param::new(tensor![1.0, 2.0]);
    let before = w.value();
    Sgd::new([w.clone()]).lr(1.0).step(&w.value().sum().backward());
    assert_eq!((before.to_vec::<f32>(), w.value().to_vec::<f32>()), (vec![1.0, 2.0], vec![0.0, 1.0]));
}

#[test]
fn gradients_that_are_views_are_read_in_order() {
    // The gradient of a transposed use arrives transposed.
    let w = Param::new(Tensor::zeros([2, 3]));
    let c = tensor![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
    Sgd::new([w.clone()]).lr(1.0).step(&(w.value().t() * &c).sum().backward());
    assert_eq!(w.value().to_vec::<f32>(), [-1.0, -3.0, -5.0, -2.0, -4.0, -6.0]);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = || {
        let w = Param::new(Rng::new(3).randn([300, 401]));
        let c = Rng::new(4).randn([300, 401]);
        let mut opt = Adam::new([w.clone()]).lr(0.01);
        (0..3).for_each(|_| {
            opt.step(&(w.value() * w.value() * &c).sum().backward());
        });
        w.value().to_vec::<f32>()
    };
    let one = with_threads(1, run);
    for threads in [2, 3, 8] {
        assert!(with_threads(threads, run) == one, "{threads} threads");
    }
}

#[test]
fn a_resumed_run_is_bit_identical() {
    let dir = std::env::temp_dir().join(format!("wengert-optim-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["sgd_momentum", "sgd_nesterov", "adam_amsgrad", "adamw"] {
        let whole = Problem::new(DType::F32);
        let mut opt = optimizer(name, whole.params());
        for step in 0..20 {
            if step == 10 {
                opt.set_lr(opt.learning_rate() / 2.0);
                opt.state_dict().save(dir.join("opt")).unwrap();
                StateDict::from_iter([("w", whole.w.value()), ("b", whole.b.value())]).save(dir.join("net")).unwrap();
            }
            opt.step(&whole.gradients());
        }
        let resumed = Problem::new(DType::F32);
        let net = StateDict::load(dir.join("net")).unwrap();
        resumed.w.set(&net.get("w").unwrap().float().unwrap());
        resumed.b.set(&net.get("b").unwrap().float().unwrap());
        let mut opt = optimizer(name, resumed.params());
        opt.load_state_dict(&StateDict::load(dir.join("opt")).unwrap()).unwrap();
        for _ in 10..20 {
            opt.step(&resumed.gradients());
        }
        assert_eq!(resumed.values(), whole.values(), "{name}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_saved_state_does_not_change_with_later_steps() {
    let problem = Problem::new(DType::F32);
    let mut opt = optimizer("adam", problem.params());
    opt.step(&problem.gradients());
    let state = opt.state_dict();
    let before = state.get("0.mean").unwrap().to_f64_vec();
    opt.step(&problem.gradients());
    assert_eq!(state.get("0.mean").unwrap().to_f64_vec(), before);
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let net = Linear::new(2, 3);
    let mut opt = AdamW::new(net.parameters()).lr(0.5);
    let y = tensor![[1.0, 2.0]].matmul(&net.weight.value().t()) + net.bias.as_ref().unwrap().value();
    opt.step(&y.sum().backward());
    let state = opt.state_dict();
    let names: Vec<&str> = state.names().filter(|n| !n.starts_with("AdamW.")).collect();
    let kept = ["weight.steps", "weight.mean", "weight.square", "bias.steps", "bias.mean", "bias.square"];
    assert_eq!(names, kept);

    let refused = |opt: &mut dyn Optimizer, state: &StateDict| {
        let lr = opt.learning_rate();
        let e = opt.load_state_dict(state).unwrap_err().to_string();
        assert_eq!(opt.learning_rate(), lr);
        e.lines().next().unwrap().to_string()
    };
    let mut other = AdamW::new(net.parameters()).weight_decay(0.5);
    assert_eq!(refused(&mut other, &state), "weight_decay is 0.5, and 0.01 in the saved state");
    assert_eq!(refused(&mut Adam::new(net.parameters()), &state), "this is no state of the optimizer Adam");
    let mut fewer = AdamW::new([net.weight.clone()]);
    assert_eq!(refused(&mut fewer, &state), "the saved state has `bias.steps`, which no parameter here takes");
    let wider = Linear::new(2, 4);
    assert_eq!(
        refused(&mut AdamW::new(wider.parameters()), &state),
        "`weight.mean` is [3, 2] F32, and [4, 2] F32 is needed"
    );
    let without: StateDict = state.iter().filter(|(n, _)| *n != "bias.square").map(|(n, t)| (n, t.clone())).collect();
    assert_eq!(refused(&mut AdamW::new(net.parameters()), &without), "the saved state has no `bias.square`");
    let without: StateDict =
        state.iter().filter(|(n, _)| !n.starts_with("bias")).map(|(n, t)| (n, t.clone())).collect();
    assert_eq!(refused(&mut AdamW::new(net.parameters()), &without), "the saved state has nothing of parameter `bias`");

    let mut same = AdamW::new(net.parameters());
    same.load_state_dict(&state).unwrap();
    assert_eq!(same.learning_rate(), 0.5);
}

#[test]
fn clipping_scales_all_together_and_returns_the_norm_before() {
    let (w, v) = (tensor![1.0, 2.0].requires_grad(), tensor![2.0].requires_grad());
    let gradients = || ((&w * &w).sum() + (&v * 2.0).sum()).backward();
    let mut g = gradients();
    let norm = (4.0f64 + 16.0 + 4.0).sqrt();
    assert_eq!(clip_global_norm(&mut g, 100.0), norm);
    assert_eq!(g.of(&w).to_vec::<f32>(), [2.0, 4.0]);
    assert_eq!(clip_global_norm(&mut g, 1.0), norm);
    for (have, want) in [(g.of(&w).to_vec::<f64>()[1], 4.0 / norm), (g.of(&v).item(), 2.0 / norm)] {
        assert!((have - want).abs() < 1e-6);
    }
    assert!(clip_global_norm(&mut g, 1.0) < 1.0 + 1e-6);

    let mut g = gradients();
    g.map(|t| t / 0.0);
    assert!(clip_global_norm(&mut g, 1.0).is_infinite());
    assert_eq!(g.of(&v).item(), f64::INFINITY, "left as they are");

    let mut g = gradients();
    clip_value(&mut g, 3.0);
    assert_eq!((g.of(&w).to_vec::<f32>(), g.of(&v).item()), (vec![2.0, 3.0], 2.0));

    // Squares beyond the range of F16 and F32.
    for (dtype, size) in [(DType::F16, 6e4), (DType::F32, 1e30)] {
        let w = with_default_dtype(dtype, || Tensor::ones([4])).requires_grad();
        let mut g = (&w * size).sum().backward();
        let norm = clip_global_norm(&mut g, 1.0);
        assert!((norm / (2.0 * size) - 1.0).abs() < dtype.epsilon(), "{dtype}: {norm}");
    }
}

#[test]
fn schedules_have_their_values() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a}, not {b}");
    near(Constant(0.1).lr(1000), 0.1);
    let cosine = Cosine::new(1.0, 100).min(0.2);
    for (t, lr) in [(0, 1.0), (50, 0.6), (100, 0.2), (500, 0.2)] {
        near(cosine.lr(t), lr);
    }
    near(cosine.lr(25), 0.2 + 0.8 * (1.0 + 0.5f64.sqrt()) / 2.0);
    near(Cosine::new(1.0, 0).lr(0), 0.0);
    let warm = cosine.warm_up(4);
    for (t, lr) in [(0, 0.25), (3, 1.0), (4, 1.0), (54, 0.6), (104, 0.2)] {
        near(warm.lr(t), lr);
    }
    near(Line::new(0.1, 0.5, 4).lr(1), 0.2);
    near(Line::new(0.1, 0.5, 4).lr(4), 0.5);
    near(Staircase::new(0.1, 30, 0.1).lr(29), 0.1);
    near(Staircase::new(0.1, 30, 0.1).lr(60), 0.001);
    near((|t: usize| t as f64).warm_up(2).lr(5), 3.0);
}

#[test]
#[should_panic(expected = "set_lr: learning rate NaN is negative or not finite")]
fn a_learning_rate_must_be_a_number() {
    Sgd::new([Param::new(tensor![1.0])]).set_lr(f64::NAN);
}

#[test]
#[should_panic(expected = "betas 0.9 and 1 are not both in [0, 1)")]
fn betas_stay_below_one() {
    let _ = Adam::new([Param::new(tensor![1.0])]).betas(0.9, 1.0);
}
