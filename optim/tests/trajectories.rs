//! Optimizers, schedules and clipping against PyTorch and NumPy.

use std::collections::BTreeMap;

use wengert_autograd::{Differentiate, Gradients};
use wengert_nn::Param;
use wengert_optim::schedule::{
    Constant, Cosine, CosineRestarts, Cyclic, Exponential, Linear, MultiStep, OneCycle, Polynomial, ReduceOnPlateau,
    Schedule, Staircase,
};
use wengert_optim::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lamb, Lbfgs, Lion, Muon, NAdam, Optimizer, RAdam, RmsProp, Sgd,
    StepReport, clip_global_norm, clip_norm, clip_value,
};
use wengert_tensor::{DType, Tensor};

/// The regression problem of `fixtures/trajectories.py`.
struct Problem {
    x: Tensor,
    y: Tensor,
    w: Param,
    b: Param,
}

impl Problem {
    /// With `zero`, the second feature is always 0.
    fn new(zero: bool, dtype: DType) -> Problem {
        let table = |columns: usize, f: &dyn Fn(usize, usize) -> f64| {
            let values: Vec<f64> = (0..5 * columns).map(|k| f(k / columns, k % columns)).collect();
            Tensor::from_vec(values, [5, columns]).to_dtype(dtype)
        };
        let x = |i, j| if zero && j == 1 { 0.0 } else { (((3 * i + 5 * j) % 7) as f64 - 3.0) / 2.0 };
        Problem {
            x: table(3, &x),
            y: table(2, &|i, j| ((2 * i + 3 * j) % 5) as f64 - 2.0),
            w: Param::new(Tensor::full_dtype([3, 2], 0.5, dtype)),
            b: Param::new(Tensor::full_dtype([2], 0.0, dtype)),
        }
    }

    fn gradients(&self) -> Gradients {
        let error = self.x.matmul(&self.w.value()) + self.b.value() - &self.y;
        (&error * &error).mean().backward()
    }

    fn values(&self) -> Vec<f64> {
        [self.w.value().to_vec::<f64>(), self.b.value().to_vec()].concat()
    }
}

fn optimizer(name: &str, problem: &Problem) -> Box<dyn Optimizer> {
    let p = [problem.w.clone(), problem.b.clone()];
    let matrix = [problem.w.clone()];
    match name.strip_prefix("zero_").unwrap_or(name) {
        // The smaller steps do not reach the minimum, around which orthogonal ones would jump about.
        "muon" if name.starts_with("zero_") => Box::new(Muon::new(matrix).lr(0.01)),
        "sgd" | "clip_global_norm" | "clip_norm" | "clip_value" | "cosine" => Box::new(Sgd::new(p).lr(0.05)),
        "sgd_decay" => Box::new(Sgd::new(p).lr(0.05).weight_decay(0.1)),
        "sgd_momentum" => Box::new(Sgd::new(p).lr(0.02).momentum(0.9)),
        "sgd_dampening" => Box::new(Sgd::new(p).lr(0.02).momentum(0.8).dampening(0.3).weight_decay(0.01)),
        "sgd_nesterov" => Box::new(Sgd::new(p).lr(0.02).momentum(0.9).nesterov(true).weight_decay(0.01)),
        "adam" => Box::new(Adam::new(p).lr(0.05)),
        "adam_decay" => Box::new(Adam::new(p).lr(0.05).betas(0.8, 0.95).eps(1e-6).weight_decay(0.1)),
        "adam_amsgrad" => Box::new(Adam::new(p).lr(0.2).betas(0.5, 0.6).amsgrad(true)),
        "adam_eps" => Box::new(Adam::new(p).lr(0.05).eps(0.3)),
        "adamw" => Box::new(AdamW::new(p).lr(0.05)),
        "adamw_amsgrad" => Box::new(AdamW::new(p).lr(0.2).betas(0.5, 0.6).weight_decay(0.1).amsgrad(true)),
        "adamw_eps" => Box::new(AdamW::new(p).lr(0.05).eps(0.3).amsgrad(true)),
        "adamax" => Box::new(Adamax::new(p).lr(0.05)),
        "adamax_decay" => Box::new(Adamax::new(p).lr(0.05).betas(0.8, 0.9).eps(0.3).weight_decay(0.1)),
        "nadam" => Box::new(NAdam::new(p).lr(0.05)),
        "nadam_decay" => {
            Box::new(NAdam::new(p).lr(0.05).betas(0.8, 0.9).eps(0.3).weight_decay(0.1).momentum_decay(0.05))
        }
        "nadam_decoupled" => Box::new(NAdam::new(p).lr(0.05).weight_decay(0.1).decoupled(true)),
        "radam" => Box::new(RAdam::new(p).lr(0.05)),
        "radam_decay" => Box::new(RAdam::new(p).lr(0.05).betas(0.8, 0.9).eps(0.3).weight_decay(0.1)),
        "radam_decoupled" => Box::new(RAdam::new(p).lr(0.05).weight_decay(0.1).decoupled(true)),
        "rmsprop" => Box::new(RmsProp::new(p).lr(0.02)),
        "rmsprop_momentum" => Box::new(RmsProp::new(p).lr(0.005).alpha(0.9).momentum(0.8).weight_decay(0.1).eps(0.3)),
        "rmsprop_centred" => Box::new(RmsProp::new(p).lr(0.02).alpha(0.9).centred(true).eps(1e-3)),
        "rmsprop_both" => Box::new(RmsProp::new(p).lr(0.01).alpha(0.9).centred(true).momentum(0.7).eps(0.3)),
        "adagrad" => Box::new(Adagrad::new(p).lr(0.1)),
        "adagrad_decay" => Box::new(Adagrad::new(p).lr(0.1).lr_decay(0.05).weight_decay(0.1).initial(0.2).eps(0.3)),
        "adadelta" => Box::new(Adadelta::new(p)),
        "adadelta_decay" => Box::new(Adadelta::new(p).lr(0.5).rho(0.8).eps(0.3).weight_decay(0.1)),
        "adafactor" => Box::new(Adafactor::new(p).lr(0.05)),
        "adafactor_decay" => {
            Box::new(Adafactor::new(p).lr(0.05).beta2_decay(-0.6).eps1(0.3).eps2(0.4).clip(1.5).weight_decay(0.1))
        }
        "groups" => {
            let named = [("layer.weight", &p[0]), ("layer.bias", &p[1])];
            name_all(&named);
            Box::new(
                AdamW::new(p)
                    .group("*.bias", |g| g.weight_decay(0.0).lr_factor(0.1))
                    .group("*.weight", |g| g.betas(0.7, 0.9))
                    .lr(0.05)
                    .weight_decay(0.2),
            )
        }
        "lion" => Box::new(Lion::new(p).lr(0.02)),
        "lion_decay" => Box::new(Lion::new(p).lr(0.02).betas(0.8, 0.9).weight_decay(0.3)),
        "lamb" => Box::new(Lamb::new(p).lr(0.05)),
        "lamb_decay" => Box::new(Lamb::new(p).lr(0.05).betas(0.8, 0.9).eps(0.3).weight_decay(0.1)),
        "muon" => Box::new(Muon::new(matrix).lr(0.05)),
        "muon_plain" => {
            Box::new(Muon::new(matrix).lr(0.05).momentum(0.8).nesterov(false).weight_decay(0.0).match_adam(true))
        }
        other => panic!("no configuration {other}"),
    }
}

/// Gives parameters their names, as a walk over a model does.
fn name_all(named: &[(&str, &Param)]) {
    struct Net<'a>(&'a [(&'a str, &'a Param)]);
    impl wengert_nn::Module for Net<'_> {
        fn visit(&self, walk: &mut wengert_nn::Walk<'_>) {
            self.0.iter().for_each(|(name, p)| walk.child(name, *p));
        }
    }
    wengert_nn::Module::parameters(&Net(named));
}

/// The lines of a fixture: a name and the numbers after it.
fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, Vec<f64>)> {
    text.lines().map(|line| {
        let mut fields = line.split(' ');
        (fields.next().unwrap(), fields.map(|v| v.parse().unwrap()).collect())
    })
}

#[test]
fn trajectories_are_those_of_pytorch_and_numpy() {
    let mut expected: BTreeMap<&str, BTreeMap<usize, Vec<f64>>> = BTreeMap::new();
    let texts = [include_str!("fixtures/trajectories.txt"), include_str!("fixtures/numpy_trajectories.txt")];
    for (name, numbers) in texts.into_iter().flat_map(lines) {
        expected.entry(name).or_default().insert(numbers[0] as usize, numbers[1..].to_vec());
    }
    assert_eq!(expected.len(), 56);
    // In F32 rounding adds up, and near the minimum some of the rules magnify it.
    for (dtype, tolerance, steps) in [(DType::F64, 1e-10, 60), (DType::F32, 2e-3, 20)] {
        for (&name, snapshots) in &expected {
            let problem = Problem::new(name.starts_with("zero_"), dtype);
            let mut opt = optimizer(name, &problem);
            let cosine = Cosine::new(0.05, 60).min(0.001);
            for step in 1..=steps {
                let mut gradients = problem.gradients();
                match name {
                    "clip_global_norm" => drop(clip_global_norm(&mut gradients, 0.5)),
                    "clip_norm" => clip_norm(&mut gradients, 0.5),
                    "clip_value" => clip_value(&mut gradients, 0.2),
                    "cosine" => opt.set_lr(cosine.lr(step - 1)),
                    _ => {}
                }
                let report = opt.step(&gradients);
                let updated = if name.contains("muon") { 1 } else { 2 };
                assert_eq!(report, StepReport { updated, ..StepReport::default() });
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
fn lbfgs_takes_the_steps_of_pytorch() {
    let rosenbrock = |w: &Tensor| {
        let (head, tail) = (w.narrow(0, 0, 3), w.narrow(0, 1, 3));
        ((1.0 - &head).square() + (tail - head.square()).square() * 100.0).sum()
    };
    let x = Tensor::from_vec((0..9).map(|i| i as f64 / 2.0 - 2.0).collect(), [9, 1]);
    let network = |w: &Tensor| {
        let hidden = (&x * w.narrow(0, 0, 4) + w.narrow(0, 4, 4)).tanh();
        let y = hidden.matmul(&w.narrow(0, 8, 4).unsqueeze(1));
        (y - (&x * 2.0).sin()).square().mean()
    };
    let (mut points, mut opt): (Vec<Param>, Option<Lbfgs>) = (Vec::new(), None);
    let mut compared = 0;
    for (name, numbers) in lines(include_str!("fixtures/lbfgs.txt")) {
        let (step, before, want) = (numbers[0] as usize, numbers[1], &numbers[2..]);
        if step == 1 {
            let (start, options): (Vec<f64>, fn(Lbfgs) -> Lbfgs) = match name {
                "rosenbrock" => (vec![-1.2, 1.0, 0.5, -0.3], |opt| opt.max_iterations(4).history(3)),
                _ => {
                    let start = vec![0.3, -0.5, 0.9, 1.2, 0.1, -0.2, 0.3, 0.0, 0.7, -0.4, 0.2, 0.5];
                    (start, |opt| opt.lr(0.8).max_iterations(3))
                }
            };
            // In two parameters, which together are the vector of the fixture.
            let (head, tail) = start.split_at(1);
            points = [head, tail].map(|part| Param::new(Tensor::from_slice(part, [part.len()]))).to_vec();
            opt = Some(options(Lbfgs::new(points.clone())));
        }
        let report = opt.as_mut().unwrap().step(|| {
            let w = Tensor::cat(&[points[0].value(), points[1].value()], 0);
            if name == "rosenbrock" { rosenbrock(&w) } else { network(&w) }
        });
        let near = |have: f64, want: f64| (have - want).abs() <= 1e-10 * want.abs().max(1e-3);
        assert!(near(report.before, before), "{name}, step {step}: loss {}, not {before}", report.before);
        let have: Vec<f64> = points.iter().flat_map(|p| p.value().to_vec::<f64>()).collect();
        for (have, &want) in have.iter().zip(want) {
            assert!(near(*have, want), "{name}, step {step}: {have}, not {want}");
        }
        compared += 1;
    }
    assert_eq!(compared, 16);
}

#[test]
fn schedules_are_those_of_pytorch() {
    let schedule = |name: &str| -> Option<Box<dyn Fn(usize) -> f64>> {
        fn boxed(s: impl Schedule + 'static) -> Option<Box<dyn Fn(usize) -> f64>> {
            Some(Box::new(move |t| s.lr(t)))
        }
        match name {
            "step" => boxed(Staircase::new(0.4, 7, 0.5)),
            "multi_step" => boxed(MultiStep::new(0.4, [5, 20, 21, 50], 0.3)),
            "exponential" => boxed(Exponential::new(0.4, 0.93)),
            "linear" => boxed(Linear::new(0.1, 0.3, 40)),
            "polynomial" => boxed(Polynomial::new(0.4, 0.0, 45, 2.5)),
            "cosine" => boxed(Cosine::new(0.4, 60).min(0.01)),
            "cosine_restarts" => boxed(CosineRestarts::new(0.4, 8).min(0.01)),
            "cosine_restarts_growing" => boxed(CosineRestarts::new(0.4, 6).growth(2)),
            "one_cycle" => boxed(OneCycle::new(0.8, 61)),
            "one_cycle_linear" => {
                boxed(OneCycle::new(0.8, 61).peak_at(0.4).linear().start_divisor(10.0).end_divisor(50.0))
            }
            "one_cycle_three" => boxed(OneCycle::new(0.8, 61).three_phases()),
            "cyclic" => boxed(Cyclic::new(0.1, 0.5, 6).down(9)),
            "cyclic_halving" => boxed(Cyclic::new(0.1, 0.5, 6).cycle_factor(0.5)),
            "cyclic_falling" => boxed(Cyclic::new(0.1, 0.5, 6).down(3).step_factor(0.97)),
            "warm_up" => boxed(Cosine::new(0.4, 30).warm_up(4)),
            "sequential" => boxed(Constant(0.4).then(25, Exponential::new(0.4, 0.9))),
            "chained" => boxed(Linear::new(0.04, 0.4, 20).times(Exponential::new(1.0, 0.95))),
            _ => None,
        }
    };
    let plateau = |name: &str| match name {
        "plateau" => ReduceOnPlateau::new(0.4).patience(3),
        "plateau_cooldown" => ReduceOnPlateau::new(0.4).factor(0.5).patience(2).cooldown(4).min(0.02).threshold(0.05),
        "plateau_max" => ReduceOnPlateau::new(0.4).higher_is_better().factor(0.7).patience(4).absolute_threshold(0.01),
        other => panic!("no schedule {other}"),
    };
    let mut metric = Vec::new();
    let mut compared = 0;
    for (name, rates) in lines(include_str!("fixtures/schedules.txt")) {
        if name == "metric" {
            metric = rates;
            continue;
        }
        for (t, &want) in rates.iter().enumerate() {
            let have = match schedule(name) {
                Some(lr) => lr(t),
                None => plateau(name).lr(&metric[..=t]),
            };
            assert!((have - want).abs() < 1e-13, "{name} at {t}: {have}, not {want}");
        }
        compared += 1;
    }
    assert_eq!(compared, 20);
}

#[test]
fn schedules_stay_where_they_end() {
    let ends: [(Box<dyn Schedule>, f64); 5] = [
        (Box::new(Cosine::new(1.0, 100).min(0.2)), 0.2),
        (Box::new(Linear::new(1.0, 0.3, 100)), 0.3),
        (Box::new(Polynomial::new(1.0, 0.1, 100, 2.0)), 0.1),
        (Box::new(OneCycle::new(1.0, 100).start_divisor(2.0).end_divisor(5.0)), 0.1),
        (Box::new(Cosine::new(1.0, 50).warm_up(50)), 0.0),
    ];
    for (schedule, end) in ends {
        for t in [100, 101, 10_000] {
            assert!((schedule.lr(t) - end).abs() < 1e-15, "{} at {t}, not {end}", schedule.lr(t));
        }
    }
    // No steps at all: the end.
    assert_eq!(Cosine::new(1.0, 0).lr(0), 0.0);
    assert_eq!(OneCycle::new(1.0, 0).lr(0), 1.0 / 25.0 / 1e4);
}
