//! The text of errors: what disagrees, both operands with where they came from, how to mend it, and the caller's line.
//!
//! Places in this file are written `HERE` in the texts; that the panic itself is placed at the line of the misuse is
//! checked for each.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

use wengert::prelude::*;

/// The text and the line of the panic in `f`.
fn panic_of(f: impl FnOnce()) -> (String, String, u32) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seen = Arc::new(Mutex::new(None));
    let report = seen.clone();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().expect("the text is made of values").clone();
        let at = info.location().expect("panics have a place");
        *report.lock().unwrap() = Some((text, at.file().to_string(), at.line()));
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    panic::set_hook(before);
    assert!(result.is_err(), "nothing panicked");
    let seen = seen.lock().unwrap().take();
    seen.expect("the hook saw the panic")
}

/// The text with every place in this file written `HERE`.
fn without_places(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(file!()) {
        out.push_str(&rest[..at]);
        out.push_str("HERE");
        rest = &rest[at + file!().len()..];
        for _ in ["line", "column"] {
            rest = rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    out + rest
}

/// Checks the whole text of the panic in an expression, which must begin on the line of the macro.
macro_rules! misuse {
    ($wrong:expr => $text:expr) => {{
        let (text, file, line) = panic_of(|| {
            let _ = $wrong;
        });
        assert_eq!(without_places(&text), $text, "\nthe text is:\n{text}\n");
        assert_eq!((file.as_str(), line), (file!(), line!()), "the panic is not placed at its caller: {text}");
    }};
}

#[test]
fn products() {
    let (x, w) = (Tensor::zeros([32, 784]).relu(), Tensor::zeros([10, 784]));
    misuse!(x.matmul(&w) => "\
matmul: inner dimensions differ: 784 (axis 1 of lhs) and 10 (axis 0 of rhs)
  lhs [32, 784]  from relu at HERE
  rhs [10, 784]  from zeros at HERE
  help: transpose the right operand: lhs.matmul(&rhs.t()) gives [32, 10]");
    misuse!(Tensor::zeros([784, 32]).matmul(&Tensor::zeros([784, 10])) => "\
matmul: inner dimensions differ: 32 (axis 1 of lhs) and 784 (axis 0 of rhs)
  lhs [784, 32]  from zeros at HERE
  rhs [784, 10]  from zeros at HERE
  help: transpose the left operand: lhs.t().matmul(&rhs) gives [32, 10]");
    misuse!(x.matmul(&Tensor::zeros([5, 6])) => "\
matmul: inner dimensions differ: 784 (axis 1 of lhs) and 5 (axis 0 of rhs)
  lhs [32, 784]  from relu at HERE
  rhs [5, 6]     from zeros at HERE
  help: the last axis of lhs must have the size of the last but one of rhs");
    misuse!(Tensor::zeros([2, 3, 4, 5]).matmul(&Tensor::zeros([3, 2, 5, 4])) => "\
matmul: batch axes [2, 3] and [3, 2] do not broadcast
  lhs [2, 3, 4, 5]  from zeros at HERE
  rhs [3, 2, 5, 4]  from zeros at HERE
  help: all axes but the last two must be equal or 1, counted from the last");
    misuse!(scalar(2.0).matmul(&w) => "\
matmul: lhs has rank 0, and a matrix product needs rank 1 or more
  lhs []         from scalar at HERE
  rhs [10, 784]  from zeros at HERE
  help: to scale by a number, use `*`");
    misuse!(x.matmul(&w.t().to_dtype(DType::F64)) => "\
matmul: precisions differ: F32 and F64
  lhs [32, 784]      from relu at HERE
  rhs [784, 10] F64  from cast at HERE
  help: nothing is promoted silently: cast one of them with to_dtype(DType::F32)");
}

#[test]
fn elementwise() {
    let (x, y) = (Tensor::zeros([2, 3]), Tensor::ones([2]));
    misuse!(&x + &y => "\
add: shapes do not broadcast: 3 and 2 on axis -1
  lhs [2, 3]  from zeros at HERE
  rhs [2]     from ones at HERE
  help: rhs.unsqueeze(1) gives [2, 1], which broadcasts");
    misuse!(x.maximum(Tensor::zeros([4, 3])) => "\
maximum: shapes do not broadcast: 2 and 4 on axis -2
  lhs [2, 3]  from zeros at HERE
  rhs [4, 3]  from zeros at HERE
  help: sizes must be equal, or one of them 1, on every axis counted from the last");
    misuse!(&x * x.to_dtype(DType::F64) => "\
mul: precisions differ: F32 and F64
  lhs [2, 3]      from zeros at HERE
  rhs [2, 3] F64  from cast at HERE
  help: nothing is promoted silently: cast one of them with to_dtype(DType::F32)");
    misuse!(x.gt(&y) => "\
gt: shapes do not broadcast: 3 and 2 on axis -1
  lhs [2, 3]  from zeros at HERE
  rhs [2]     from ones at HERE
  help: rhs.unsqueeze(1) gives [2, 1], which broadcasts");
    misuse!(x.gt(0.0).where_(&x, &Tensor::zeros([3, 2])) => "\
where: shapes do not broadcast: 3 and 2 on axis -1
  mask [2, 3]  from gt at HERE
  yes  [2, 3]  from zeros at HERE
  no   [3, 2]  from zeros at HERE
  help: sizes must be equal, or one of them 1, on every axis counted from the last");
    misuse!(x.gt(0.0).and(&y.gt(0.0)) => "\
and: shapes do not broadcast: 3 and 2 on axis -1
  lhs [2, 3]  from gt at HERE
  rhs [2]     from gt at HERE
  help: rhs.unsqueeze(1) gives [2, 1], which broadcasts");
}

#[test]
fn shapes() {
    let x = Tensor::zeros([2, 3]);
    misuse!(x.reshape([4, 2]) => "\
reshape: 6 elements do not fit shape [4, 2], which has 8
  input [2, 3]  from zeros at HERE
  help: the number of elements must stay the same; -1 leaves one size to be computed");
    misuse!(x.reshape([-1, -1]) => "\
reshape: more than one size is -1 in [-1, -1]
  input [2, 3]  from zeros at HERE");
    misuse!(x.reshape([-1, 4]) => "\
reshape: 6 elements do not fit shape [-1, 4]
  input [2, 3]  from zeros at HERE
  help: the size -1 stands for the number that makes the elements fit, and there is none");
    misuse!(x.permute([0]) => "\
permute: 1 axes are named, and the rank is 2
  input [2, 3]  from zeros at HERE
  help: name every axis once; transpose(a, b) swaps two");
    misuse!(x.permute([1, 1]) => "\
permute: axis 1 is named twice in [1, 1]
  input [2, 3]  from zeros at HERE");
    misuse!(x.transpose(0, 2) => "\
transpose: axis 2 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.expand([2, 4]) => "\
expand: shape [2, 3] does not expand to [2, 4]
  input [2, 3]  from zeros at HERE
  help: sizes must be equal or 1, on every axis counted from the last");
    misuse!(x.squeeze(0) => "\
squeeze: axis 0 has size 2, not 1
  input [2, 3]  from zeros at HERE");
    misuse!(x.unsqueeze(4) => "\
unsqueeze: axis 4 is out of range for rank 3
  input [2, 3]  from zeros at HERE
  help: valid axes are -3 to 2");
    misuse!(x.narrow(1, 2, 2) => "\
slice: 2 positions from 2 in steps of 1 leave axis 1, which has size 3
  input [2, 3]  from zeros at HERE");
    misuse!(x.pad(&[(0, 0), (-1, 0)], 0.0) => "\
pad: the padding (-1, 0) of axis 1 is negative
  input [2, 3]  from zeros at HERE
  help: to cut off a border, slice: x.i(1..-1)");
    misuse!(x.i(2) => "\
i: index 2 is out of range for axis 0 of size 2
  input [2, 3]  from zeros at HERE
  help: valid indices are -2 to 1");
    misuse!(x.i((.., 1..5)) => "\
i: bound 5 is out of range for axis 1 of size 3
  input [2, 3]  from zeros at HERE
  help: bounds are not clipped to the axis; negative ones count from the end");
    misuse!(x.i((0, 0, 0)) => "\
i: 3 axes are indexed, and the rank is 2
  input [2, 3]  from zeros at HERE");
    misuse!(Tensor::cat(&[&x, &Tensor::zeros([2, 4])], 0) => "\
cat: sizes differ on axis 1: 3 (input 0) and 4 (input 1)
  input 0 [2, 3]  from zeros at HERE
  input 1 [2, 4]  from zeros at HERE
  help: sizes may differ on axis 0 only, along which they join");
    misuse!(Tensor::stack(&[&x, &Tensor::zeros([2, 4])], 0) => "\
stack: shapes differ: [2, 3] (input 0) and [2, 4] (input 1)
  input 0 [2, 3]  from zeros at HERE
  input 1 [2, 4]  from zeros at HERE
  help: cat joins tensors of different sizes along an axis they have");
}

#[test]
fn reductions() {
    let x = Tensor::zeros([2, 3]);
    misuse!(x.sum_axis(2) => "\
sum: axis 2 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.mean_axis([0, -2]) => "\
mean: axis 0 is named twice in [0, -2]
  input [2, 3]  from zeros at HERE");
    misuse!(Tensor::zeros([2, 0]).max_axis(1) => "\
max: the reduced axes [1] of shape [2, 0] are empty
  input [2, 0]  from zeros at HERE
  help: there is no largest or smallest of no elements");
    misuse!(x.argmax_axis(-3) => "\
argmax: axis -3 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.softmax(2) => "\
softmax: axis 2 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.cumsum(2) => "\
cumsum: axis 2 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.sort(5, false) => "\
sort: axis 5 is out of range for rank 2
  input [2, 3]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.item() => "\
item: needs one element, this tensor has 6
  input [2, 3]  from zeros at HERE
  help: reduce it first, as with sum() or mean(), or read all elements with to_vec()");
}

#[test]
fn creation() {
    misuse!(Tensor::from_vec(vec![1.0_f32, 2.0, 3.0], [2, 2]) => "\
from_vec: 3 values do not fill shape [2, 2], which has 4 elements");
    misuse!(Tensor::full([-1, 2], 0.0) => "\
full: size -1 on axis 0 is negative in [-1, 2]");
    misuse!(Tensor::zeros([usize::MAX, 2]) => "\
full: shape [9223372036854775807, 2] has more elements than memory can address");
    misuse!(Tensor::arange(0.0, 1.0, 0.0) => "\
arange: start 0, end 1 and step 0 give no finite sequence
  help: give finite numbers and a step other than 0");
    misuse!(Tensor::zeros([2]).to_dtype(DType::I64) => "\
to_dtype: I64 is not a precision of Float tensors
  input [2]  from zeros at HERE
  help: to change the kind, use to_float(), to_int() or to_bool()");
    misuse!(Int::randint(3, 3, [2]) => "\
randint: low 3 is not below high 3
  help: `high` itself is never drawn");
    misuse!(tensor![0.5, -0.5].multinomial(1, true) => "\
multinomial: weight -0.5 of class 1 in row 0 is negative or not finite
  weights [2]  from from_vec at HERE
  help: logits become weights with softmax(-1)");
    misuse!(Tensor::zeros([2]).dropout(1.5, true) => "\
dropout: p 1.5 is not between 0 and 1
  input [2]  from zeros at HERE
  help: p is the share of elements that are set to 0");
}

#[test]
fn indices() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.index_select(0, &tensor![0, 3]) => "\
index_select: index 3 at position [1] is out of range for axis 0 of size 3
  input [3, 2]  from zeros at HERE
  index [2]     from from_vec at HERE
  help: valid indices are 0 to 2");
    misuse!(x.index_select(0, &tensor![-1]) => "\
index_select: index -1 at position [0] is out of range for axis 0 of size 3
  input [3, 2]  from zeros at HERE
  index [1]     from from_vec at HERE
  help: indices are 0 to 2; negative ones do not count from the end here");
    misuse!(x.gather(1, &tensor![0, 1]) => "\
gather: the index has rank 1, the input rank 2
  input [3, 2]  from zeros at HERE
  index [2]     from from_vec at HERE
  help: give one index for each element of the result; index_select takes whole slices");
    misuse!(x.scatter_add(0, &tensor![[5, 0]], &Tensor::ones([1, 2])) => "\
scatter_add: index 5 at position [0, 0] is out of range for axis 0 of size 3
  input [3, 2]  from zeros at HERE
  index [1, 2]  from from_vec at HERE
  src   [1, 2]  from ones at HERE
  help: valid indices are 0 to 2");
}

#[test]
fn losses() {
    let logits = Tensor::zeros([4, 10]);
    misuse!(logits.cross_entropy(&tensor![0, 1, 2, 10]) => "\
cross_entropy: label 10 at [3] is none of the 10 classes
  logits [4, 10]  from zeros at HERE
  target [4]      from from_vec at HERE
  help: labels are class numbers from 0 to 9");
    misuse!(logits.cross_entropy(&tensor![0, 1, 2]) => "\
cross_entropy: target has shape [3], and logits [4, 10] call for [4]
  logits [4, 10]  from zeros at HERE
  target [3]      from from_vec at HERE
  help: the target has one class number for each row of logits: their shape without axis 1");
    misuse!(logits.cross_entropy(&tensor![[0], [1], [2], [3]]) => "\
cross_entropy: target has shape [4, 1], and logits [4, 10] call for [4]
  logits [4, 10]  from zeros at HERE
  target [4, 1]   from from_vec at HERE
  help: target.squeeze(1) gives [4]");
    misuse!(Tensor::zeros([4, 1]).mse_loss(&Tensor::zeros([4])) => "\
mse_loss: shapes differ: [4, 1] and [4]
  input  [4, 1]  from zeros at HERE
  target [4]     from zeros at HERE
  help: target.unsqueeze(1) gives [4, 1], or input.squeeze(1) gives [4]");
}

#[test]
fn pictures() {
    let x = Tensor::zeros([8, 3, 28, 28]);
    misuse!(x.conv2d(&Tensor::zeros([16, 1, 3, 3]), None, Conv2dOptions::new()) => "\
conv2d: channels differ: 3 (axis 1 of input) and 1 (axis 1 of weight)
  input  [8, 3, 28, 28]  from zeros at HERE
  weight [16, 1, 3, 3]   from zeros at HERE
  help: axis 1 of weight times the number of groups is the number of input channels");
    misuse!(x.conv2d(&Tensor::zeros([16, 3, 31, 31]), None, Conv2dOptions::new()) => "\
conv2d: the kernel spans 31 positions, and axis 2 has 28
  input  [8, 3, 28, 28]   from zeros at HERE
  weight [16, 3, 31, 31]  from zeros at HERE
  help: take a smaller kernel, or padding of 2 or more");
    misuse!(x.conv2d(&Tensor::zeros([16, 3, 3, 3]), None, Conv2dOptions::new().stride(0)) => "\
conv2d: the stride along axis 2 is 0
  input  [8, 3, 28, 28]  from zeros at HERE
  weight [16, 3, 3, 3]   from zeros at HERE
  help: the stride is 1 or more");
    misuse!(x.flatten(1..).conv2d(&Tensor::zeros([16, 3, 3, 3]), None, Conv2dOptions::new()) => "\
conv2d: input has rank 2, not 4: batch, channels, height, width
  input  [8, 2352]      from flatten at HERE
  weight [16, 3, 3, 3]  from zeros at HERE
  help: bring it to [N, C, H, W]");
    misuse!(x.max_pool2d(29) => "\
max_pool2d: the kernel spans 29 positions, and axis 2 has 28
  input [8, 3, 28, 28]  from zeros at HERE
  help: take a smaller kernel, or padding of 1 or more");
}

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
