//! Creation, shapes and indices.

use wengert::prelude::*;

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
