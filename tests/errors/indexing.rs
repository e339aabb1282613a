//! Places by index and by mask, pieces, borders, and reductions with parameters.

use wengert::prelude::*;

#[test]
fn putting_and_picking() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.scatter(0, &tensor![[5, 0]], &Tensor::ones([1, 2])) => "\
scatter: index 5 at position [0, 0] is out of range for axis 0 of size 3
  input [3, 2]  from zeros at HERE
  index [1, 2]  from from_vec at HERE
  src   [1, 2]  from ones at HERE
  help: valid indices are 0 to 2");
    misuse!(x.scatter(0, &tensor![[0, 0]], &Tensor::ones([2])) => "\
scatter: the index has shape [1, 2], src [2]
  input [3, 2]  from zeros at HERE
  index [1, 2]  from from_vec at HERE
  src   [2]     from ones at HERE
  help: give one index for each element of src");
    misuse!(x.scatter_add(1, &tensor![0], &Tensor::ones([1])) => "\
scatter_add: the index has rank 1, the input rank 2
  input [3, 2]  from zeros at HERE
  index [1]     from from_vec at HERE
  src   [1]     from ones at HERE
  help: give one index for each element of src; index_add adds whole slices");
    misuse!(x.take_along_axis(&tensor![[0], [1]], 1) => "\
take_along_axis: shapes do not broadcast: 3 and 2 on axis -2
  input [3, 2]  from zeros at HERE
  index [2, 1]  from from_vec at HERE
  help: sizes must be equal, or one of them 1, on every axis counted from the last");
    misuse!(x.embedding(&tensor![[0, 1], [2, 3]], None) => "\
embedding: index 3 at position [1, 1] is out of range for axis 0 of size 3
  table [3, 2]  from zeros at HERE
  index [2, 2]  from from_vec at HERE
  help: valid indices are 0 to 2");
    misuse!(x.embedding(&tensor![0], Some(3)) => "\
embedding: padding_idx 3 is no row of the table, which has 3
  table [3, 2]  from zeros at HERE
  index [1]     from from_vec at HERE");
    misuse!(x.slice_assign((.., 1..), &Tensor::ones([2])) => "\
slice_assign: src of shape [2] does not broadcast to the part, which has [3, 1]
  input [3, 2]  from zeros at HERE
  src   [2]     from ones at HERE
  help: sizes must be equal, or those of src 1, on every axis counted from the last");
    misuse!(x.slice_assign(&tensor![0], &Tensor::ones([2])) => "\
slice_assign: a tensor cannot name what is assigned to
  input [3, 2]  from zeros at HERE
  src   [2]     from ones at HERE
  help: scatter and index_add put elements to places that a tensor names");
    misuse!(x.diagonal(0, 0, -2) => "\
diagonal: axis 0 is named twice
  input [3, 2]  from zeros at HERE
  help: a diagonal lies between two axes");
}

#[test]
fn masks() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.masked_fill(&tensor![true, false, true], 1.0) => "\
masked_fill: shapes do not broadcast: 3 and 2 on axis -1
  input [3, 2]  from zeros at HERE
  mask  [3]     from from_vec at HERE
  help: lhs.unsqueeze(1) gives [3, 1], which broadcasts");
    misuse!(tensor![1.0].masked_fill(&tensor![true, false], 1.0) => "\
masked_fill: the mask would enlarge the input to [2]
  input [1]  from from_vec at HERE
  mask  [2]  from from_vec at HERE
  help: expand the input first if that is meant");
}

#[test]
fn pieces_and_borders() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.split(0, 1) => "\
split: size is 0
  input [3, 2]  from zeros at HERE
  help: it must be at least 1");
    misuse!(x.split_sizes([1, 1], 0) => "\
split_sizes: sizes [1, 1] do not add up to 3, the size of axis 0
  input [3, 2]  from zeros at HERE
  help: split cuts into pieces of one size, chunk into a number of pieces");
    misuse!(x.chunk(2, 2) => "\
chunk: axis 2 is out of range for rank 2
  input [3, 2]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.roll([1, 2], 0) => "\
roll: 2 shifts are given for 1 axes
  input [3, 2]  from zeros at HERE
  help: give one shift for each axis");
    misuse!(x.tile([2, -1]) => "\
tile: the number -1 of repetitions is negative
  input [3, 2]  from zeros at HERE");
    misuse!(x.repeat_interleave_each(&tensor![1, 2], 0) => "\
repeat_interleave_each: times has shape [2], not [3]
  input [3, 2]  from zeros at HERE
  times [2]     from from_vec at HERE
  help: give one number for each position of axis 0");
    misuse!(x.pad_reflect(&[(3, 0), (0, 0)]) => "\
pad_reflect: axis 0 of size 3 cannot be padded by (3, 0)
  input [3, 2]  from zeros at HERE
  help: a reflection is shorter than its axis; no padding is negative");
    misuse!(x.t().view([6]) => "\
view: shape [2, 3] with strides [1, 2] cannot be read as [6]
  input [2, 3]  from transpose at HERE
  help: reshape copies where it must; contiguous().view(..) says so in the open");
    misuse!(x.unflatten(0, [2, -1]) => "\
unflatten: 3 elements do not fit shape [2, -1]
  input [3, 2]  from zeros at HERE
  help: the size -1 stands for the number that makes the elements fit, and there is none");
}

#[test]
fn order_and_counts() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.topk(3, 1, true) => "\
topk: k 3 is not between 0 and 2, the size of axis 1
  input [3, 2]  from zeros at HERE");
    misuse!(Tensor::zeros([3, 0]).median_axis(1) => "\
median: axis 1 of shape [3, 0] is empty
  input [3, 0]  from zeros at HERE
  help: there is no median of no elements");
    misuse!(tensor![1.0, 2.0].searchsorted(&tensor![1.0].to_dtype(DType::F64), false) => "\
searchsorted: precisions differ: F32 and F64
  sorted [2]      from from_vec at HERE
  values [1] F64  from cast at HERE
  help: nothing is promoted silently: cast one of them with to_dtype(DType::F32)");
    misuse!(tensor![0, -3].bincount(0) => "\
bincount: the number -3 at position [1] is negative
  input [2]  from from_vec at HERE
  help: only numbers from 0 on are counted");
    misuse!(tensor![0, 3].bincount_weighted(&Tensor::ones([3]), 0) => "\
bincount_weighted: weights have shape [3], the numbers [2]
  input   [2]  from from_vec at HERE
  weights [3]  from ones at HERE
  help: give one weight for each number");
    misuse!(x.requires_grad().unique() => "\
unique: has no gradient rule, and an input is tracked
  input [3, 2]  variable from HERE
  help: call it on x.detach(), or under no_grad, if no gradient should flow");
}

#[test]
fn statistics() {
    let x = Tensor::zeros([3, 2]);
    misuse!(x.var_axis(2, 1.0) => "\
var: axis 2 is out of range for rank 2
  input [3, 2]  from zeros at HERE
  help: valid axes are -2 to 1");
    misuse!(x.std(-1.0) => "\
std: correction -1 is negative or no number
  input [3, 2]  from zeros at HERE
  help: 1 is for samples, 0 for whole populations");
    misuse!(x.norm(f64::NAN) => "\
norm: the order p is NaN
  input [3, 2]  from zeros at HERE
  help: p = 2 is the usual norm");
    misuse!(x.prod_axis([0, -2]) => "\
prod: axis 0 is named twice in [0, -2]
  input [3, 2]  from zeros at HERE");
    misuse!(x.linear_recurrence(&Tensor::zeros([2]), 0) => "\
linear_recurrence: shapes differ: [2] and [3, 2]
  addend [2]     from zeros at HERE
  factor [3, 2]  from zeros at HERE
  help: give one factor and one addend for each position; expand repeats them");
}
