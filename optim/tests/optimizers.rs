//! What all optimizers share: errors, groups, precisions, threads, and saved state.

use wengert_autograd::Differentiate;
use wengert_nn::{Linear, Module, Param, StateDict};
use wengert_optim::{
    Accumulator, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lamb, Lion, Muon, NAdam, Optimizer, RAdam, RmsProp,
    Sgd, StepReport, clip_global_norm, clip_value,
};
use wengert_tensor::{DType, Rng, Tensor, tensor, with_default_dtype, with_threads};

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
    assert_eq!(report, StepReport { updated: 1, missing: vec!["bias".into(), "2".into()], ..StepReport::default() });
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

/// One of each optimizer that steps by gradients, over matrices.
fn one_of_each(p: &Param) -> Vec<(&'static str, Box<dyn Optimizer>)> {
    let p = || [p.clone()];
    vec![
        ("Sgd", Box::new(Sgd::new(p()).lr(0.01).momentum(0.9).nesterov(true))),
        ("Adam", Box::new(Adam::new(p()).lr(0.01).amsgrad(true))),
        ("AdamW", Box::new(AdamW::new(p()).lr(0.01))),
        ("Adamax", Box::new(Adamax::new(p()).lr(0.01))),
        ("NAdam", Box::new(NAdam::new(p()).lr(0.01))),
        ("RAdam", Box::new(RAdam::new(p()).lr(0.01))),
        ("RmsProp", Box::new(RmsProp::new(p()).lr(0.01).centred(true).momentum(0.5))),
        ("Adagrad", Box::new(Adagrad::new(p()).lr(0.01))),
        ("Adadelta", Box::new(Adadelta::new(p()))),
        ("Adafactor", Box::new(Adafactor::new(p()))),
        ("Lion", Box::new(Lion::new(p()).lr(0.01))),
        ("Lamb", Box::new(Lamb::new(p()).lr(0.01))),
        ("Muon", Box::new(Muon::new(p()).lr(0.01))),
    ]
}

#[test]
fn all_precisions_are_stepped_in_and_kept() {
    let start = Rng::new(3).randn([20, 30]);
    let step = |dtype: DType, i: usize| {
        let w = Param::new(start.to_dtype(dtype));
        let (name, mut opt) = one_of_each(&w).swap_remove(i);
        for _ in 0..3 {
            opt.step(&(w.value() * w.value()).sum().backward());
        }
        assert_eq!(w.dtype(), dtype, "{name}");
        (name, w.value().to_vec::<f64>())
    };
    for i in 0..13 {
        let (name, exact) = step(DType::F64, i);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-2), (DType::BF16, 6e-2)] {
            let (_, near) = step(dtype, i);
            let worst = exact.iter().zip(&near).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < tolerance, "{name} in {dtype}: {worst}");
        }
    }
}

#[test]
fn zero_steps_of_empty_parameters_do_no_harm() {
    let w = Param::new(Tensor::zeros([0, 3]));
    for (name, mut opt) in one_of_each(&w) {
        let report = opt.step(&w.value().sum().backward());
        assert_eq!(report.updated, 1, "{name}");
    }
}

#[test]
fn groups_change_what_they_name_and_the_rest_follows_the_optimizer() {
    let net = Linear::new(1, 1);
    let step = |opt: &mut dyn Optimizer| {
        net.weight.set(&tensor![[1.0]]);
        let bias = net.bias.as_ref().unwrap();
        bias.set(&tensor![1.0]);
        opt.step(&(net.weight.value().sum() * 0.0 + bias.value().sum() * 0.0).backward());
        [net.weight.value().item(), bias.value().item()]
    };
    // Only decay moves them, as the gradients are 0.
    let params = || net.parameters();
    assert_eq!(step(&mut Sgd::new(params()).lr(0.5).weight_decay(0.5)), [0.75, 0.75]);
    let no_decay = Sgd::new(params()).group("bias", |g| g.weight_decay(0.0));
    assert_eq!(step(&mut no_decay.lr(0.5).weight_decay(0.5)), [0.75, 1.0], "set after the group");
    let factors =
        Sgd::new(params()).weight_decay(0.5).group("*", |g| g.lr_factor(0.5)).group("bias", |g| g.lr_factor(2.0));
    let mut factors = factors.lr(0.5);
    assert_eq!(step(&mut factors), [0.875, 0.5], "later groups go over earlier ones");
    factors.set_lr(0.25);
    assert_eq!(step(&mut factors), [0.9375, 0.75], "a schedule keeps the factors");
}

#[test]
fn a_state_of_other_groups_is_refused() {
    let net = Linear::new(2, 1);
    let state = AdamW::new(net.parameters()).group("bias", |g| g.weight_decay(0.0)).state_dict();
    assert_eq!(state.get("bias.weight_decay").unwrap().to_f64_vec(), [0.0]);
    assert!(state.get("weight.weight_decay").is_none());
    let refused = |mut opt: AdamW| opt.load_state_dict(&state).unwrap_err().message().to_string();
    let message = refused(AdamW::new(net.parameters()));
    assert_eq!(message, "the saved state has `bias.weight_decay`, which no parameter here takes");
    let message = refused(AdamW::new(net.parameters()).group("bias", |g| g.weight_decay(0.5)));
    assert_eq!(message, "weight_decay of `bias` is 0.5, and 0 in the saved state");
    let message = refused(AdamW::new(net.parameters()).group("bias", |g| g.weight_decay(0.0).lr_factor(0.1)));
    assert_eq!(message, "the saved state has no lr_factor of `bias`");
    AdamW::new(net.parameters()).group("bias", |g| g.weight_decay(0.0)).load_state_dict(&state).unwrap();
}

#[test]
fn a_step_with_a_gradient_that_is_not_finite_is_skipped_whole_where_asked_for() {
    let (w, v) = (Param::new(tensor![1.0]), Param::new(tensor![1.0]));
    let gradients = |x: f64| (w.value() * x + v.value()).sum().backward();
    for bad in [f64::NAN, f64::INFINITY] {
        let mut opt = Adam::new([w.clone(), v.clone()]).skip_non_finite();
        let report = opt.step(&gradients(bad));
        assert_eq!(report, StepReport { non_finite: vec!["0".into()], ..StepReport::default() });
        assert_eq!([w.value().item(), v.value().item()], [1.0, 1.0]);
        assert!(opt.state_dict().get("1.mean").is_none(), "no estimate was touched");
    }
    let mut opt = Sgd::new([w.clone(), v.clone()]).lr(0.5).skip_non_finite();
    assert_eq!(opt.step(&gradients(1.0)).updated, 2);
    assert_eq!([w.value().item(), v.value().item()], [0.5, 0.5]);
}

#[test]
fn small_batches_together_are_the_large_one() {
    let w = Param::new(tensor![[0.5], [-0.25]]);
    let (x, y) = (Rng::new(1).randn([12, 2]), Rng::new(2).randn([12, 1]));
    let loss = |from, n| x.narrow(0, from, n).matmul(&w.value()).mse_loss(&y.narrow(0, from, n));
    let mut accumulator = Accumulator::new(3);
    assert!(accumulator.take().is_none());
    assert!(accumulator.add(loss(0, 4).backward()).is_none());
    assert!(accumulator.add(loss(4, 4).backward()).is_none());
    let mean = accumulator.add(loss(8, 4).backward()).unwrap();
    let whole = loss(0, 12).backward();
    for (a, b) in mean.of(&w).to_vec::<f64>().iter().zip(whole.of(&w).to_vec::<f64>()) {
        assert!((a - b).abs() < 1e-6);
    }
    assert!(accumulator.take().is_none(), "it starts anew");
}

#[test]
#[should_panic(expected = "Muon: parameter `bias` has shape [3]\n  help: Muon changes matrices")]
fn muon_refuses_vectors() {
    let _ = Muon::new(Linear::new(2, 3).parameters());
}

#[test]
#[should_panic(expected = "group: no parameter fits `*.biass`\n  help: the names are weight, bias;")]
fn a_group_without_parameters_is_refused() {
    let _ = AdamW::new(Linear::new(2, 3).parameters()).group("*.biass", |g| g.weight_decay(0.0));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let c = Rng::new(4).randn([300, 401]);
    for i in 0..13 {
        let run = || {
            let w = Param::new(Rng::new(3).randn([300, 401]));
            let mut opt = one_of_each(&w).swap_remove(i).1;
            (0..2).for_each(|_| drop(opt.step(&(w.value() * w.value() * &c).sum().backward())));
            w.value().to_vec::<f32>()
        };
        let one = with_threads(1, run);
        for threads in [2, 3, 8] {
            assert!(with_threads(threads, run) == one, "optimizer {i}, {threads} threads");
        }
    }
}

#[test]
fn a_saved_state_does_not_change_with_later_steps() {
    let w = Param::new(tensor![1.0, 2.0]);
    let mut opt = Adam::new([w.clone()]);
    opt.step(&w.value().square().sum().backward());
    let state = opt.state_dict();
    let before = state.get("0.mean").unwrap().to_f64_vec();
    opt.step(&w.value().square().sum().backward());
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
#[should_panic(expected = "set_lr: learning rate NaN is negative or not finite")]
fn a_learning_rate_must_be_a_number() {
    Sgd::new([Param::new(tensor![1.0])]).set_lr(f64::NAN);
}

#[test]
#[should_panic(expected = "betas 0.9 and 1 are not both in [0, 1)")]
fn betas_stay_below_one() {
    let _ = Adam::new([Param::new(tensor![1.0])]).betas(0.9, 1.0);
}
