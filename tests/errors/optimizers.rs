//! Optimizers, groups, clipping and averages.

use wengert::prelude::*;

#[test]
fn settings() {
    let net = Linear::new(2, 3);
    let p = || net.parameters();
    misuse!(Sgd::new(p()).momentum(-0.5) => "momentum -0.5 is negative or not finite");
    misuse!(Sgd::new(p()).dampening(f64::NAN) => "dampening NaN is not finite");
    misuse!(Adam::new(p()).betas(0.9, 1.0) => "betas 0.9 and 1 are not both in [0, 1)");
    misuse!(RmsProp::new(p()).alpha(1.5) => "alpha 1.5 is not in [0, 1)");
    misuse!(Adafactor::new(p()).clip(0.0) => "clip 0 is not above 0 or not finite");
    misuse!(AdamW::new(p()).weight_decay(f64::INFINITY) => "weight_decay inf is negative or not finite");
    misuse!(Adam::new(p()).set_lr(-1e-3) => "set_lr: learning rate -0.001 is negative or not finite");
    misuse!(Lbfgs::new(p()).lr(0.0) => "lr 0 is not above 0 or not finite");
    misuse!(Ema::new(p(), 1.0) => "Ema: decay 1 is not in [0, 1)");
    misuse!(schedule::OneCycle::new(0.1, 100).peak_at(2.0) => "peak_at 2 is not from 0 to 1");
    misuse!(AdamW::new(p()).group("*.biass", |g| g.weight_decay(0.0)) => "\
group: no parameter fits `*.biass`
  help: the names are weight, bias; an optimizer learns them from a model's parameters()");
    misuse!(Muon::new(p()) => "\
Muon: parameter `bias` has shape [3]
  help: Muon changes matrices: give vectors to another optimizer, such as AdamW");
}

#[test]
fn steps() {
    let net = Linear::new(2, 3);
    let (weight, bias) = (net.weight.clone(), net.bias.clone().unwrap());
    let mut opt = Adam::new(net.parameters());
    misuse!(opt.step(&weight.value().sum().backward()) => "\
step: no gradient for parameter `bias`: it is not part of this tape
  help: let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()");
    let whole = || (weight.value().sum() + bias.value().sum()).backward();
    let before = whole();
    net.to_dtype(DType::F64);
    misuse!(opt.step(&before) => "\
step: parameter `weight` is [3, 2] F64, and its gradient [3, 2] F32
  help: a gradient has the shape and precision of what it is the gradient of");
    let mut gradients = whole();
    misuse!(clip_global_norm(&mut gradients, -1.0) => "clip_global_norm: max_norm -1 is negative or NaN");
    misuse!(clip_norm(&mut gradients, f64::NAN) => "clip_norm: max_norm NaN is negative or NaN");
    misuse!(clip_value(&mut gradients, -2.0) => "clip_value: limit -2 is negative or NaN");
    let mut lbfgs = Lbfgs::new(net.parameters());
    misuse!(lbfgs.step(|| bias.value().square().sum()) => "\
step: no gradient for parameter `weight`: it is not part of this tape
  help: let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()");
    net.freeze("*");
    misuse!(opt.step(&gradients) => "\
step: all 2 parameters are frozen
  help: this step would do nothing");
    misuse!(Sgd::new([]).step(&gradients) => "\
step: the optimizer has no parameters
  help: this step would do nothing");
}
