//! Gradients.

use wengert::prelude::*;

#[test]
fn gradients() {
    let (w, b) = (Tensor::ones([2]).requires_grad(), Tensor::ones([2]).requires_grad());
    misuse!((&w * 2.0).backward() => "\
backward: needs a loss of one element, this tensor has shape [2]
  help: reduce it with sum() or mean(), or give the gradient to start from: Backward::new().cotangent(&g)");
    misuse!(Tensor::ones([2]).sum().backward() => "\
backward: this tensor is not connected to any variable
  help: make a variable with requires_grad(), or a parameter, and compute the loss from it");
    misuse!(no_grad(|| w.sum()).backward() => "\
backward: this tensor is not connected to any variable: `sum` ran under no_grad at HERE
  help: compute it outside of no_grad where the gradient should flow");
    misuse!(w.detach().sum().backward() => "\
backward: this tensor is not connected to any variable: detached at HERE
  help: leave out that detach() where the gradient should flow");
    let loss = w.square().sum();
    loss.backward();
    misuse!(loss.backward() => "\
backward: the graph was freed by an earlier backward: `sum` from HERE
  help: keep it with `backward_with(Backward::new().retain_graph())`, or compute the loss again");
    misuse!((w.detach() + &b).sum().backward().of(&w).clone() => "\
gradient: no gradient reached the variable from HERE: detached at HERE
  help: leave out that detach() where the gradient should flow");
    misuse!(b.sum().backward().of(&w).clone() => "\
gradient: no gradient for the variable from HERE: it is not part of this tape
  help: compute the loss from this very variable; if it is not meant to matter, ask with get()");
    misuse!((no_grad(|| w.exp()) + &b).sum().backward().of(&w).clone() => "\
gradient: no gradient reached the variable from HERE: `exp` ran under no_grad at HERE
  help: compute it outside of no_grad where the gradient should flow");
    misuse!((w.argmax().to_float() + b.sum()).backward().of(&w).clone() => "\
gradient: no gradient reached the variable from HERE: went through `argmax`, which has no float result, at HERE
  help: no gradient flows through this operation: leave it out of the way from the variable to the loss");
    misuse!(w.square().sum().backward_with(Backward::new().cotangent(&Tensor::ones([3]))) => "\
backward: the cotangent is [3] F32, and the tensor [] F32
  help: a cotangent has the shape and precision of what it is the gradient of");
}
