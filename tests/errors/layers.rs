//! Layers.

use wengert::prelude::*;

#[test]
fn models() {
    let net = Sequential::new().push(Linear::new(784, 32)).push(ReLU::new()).push(Linear::new(16, 10));
    let params = net.parameters();
    misuse!(Tensor::zeros([5, 100]).matmul(&params[0].value()) => "\
matmul: inner dimensions differ: 100 (axis 1 of lhs) and 32 (axis 0 of rhs)
  lhs [5, 100]   from zeros at HERE
  rhs [32, 784]  parameter `0.weight`
  help: the last axis of lhs must have the size of the last but one of rhs");
    let mut opt = Adam::new(params.clone()).lr(1e-3);
    let loss = params[0].value().sum();
    misuse!(opt.step(&loss.backward()) => "\
step: no gradient for parameter `0.bias`: it is not part of this tape; nor for 2 more: `2.weight`, `2.bias`
  help: let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()");
}
