//! Elementwise operations.

use wengert::prelude::*;

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
fn division() {
    let zeros = Int::zeros([2, 2]);
    misuse!(Int::ones([2, 2]) / tensor![1, 0] => "\
div: division of integers by 0 at [1] of rhs
  lhs [2, 2]  from ones at HERE
  rhs [2]     from from_vec at HERE
  help: floats divide by 0 to infinity: convert with to_float()");
    misuse!(zeros.remainder(0) => "\
remainder: division of integers by 0 at [] of rhs
  lhs [2, 2]  from zeros at HERE
  rhs []
  help: floats divide by 0 to infinity: convert with to_float()");
    misuse!(tensor![7, 8].floor_divide(tensor![[1], [0]]) => "\
floor_divide: division of integers by 0 at [1, 0] of rhs
  lhs [2]     from from_vec at HERE
  rhs [2, 1]  from from_vec at HERE
  help: floats divide by 0 to infinity: convert with to_float()");
    misuse!(tensor![1.0, 2.0].lerp(&tensor![1.0, 2.0, 3.0], 0.5) => "\
lerp: shapes do not broadcast: 2 and 3 on axis -1
  lhs [2]  from from_vec at HERE
  rhs [3]  from from_vec at HERE
  help: sizes must be equal, or one of them 1, on every axis counted from the last");
    misuse!(tensor![1.0, 2.0, 3.0].glu(0) => "\
glu: axis 0 has size 3, which is odd
  input [3]  from from_vec at HERE
  help: one half of the elements gates the other");
}

#[test]
fn creation_and_logic() {
    misuse!(tensor![0, 3].one_hot(3) => "\
one_hot: label 3 at [1] is none of the 3 classes
  labels [2]  from from_vec at HERE
  help: labels are class numbers from 0 to 2");
    misuse!(Tensor::ones([3]).tril(0) => "\
tril: a matrix has rank 2 or more, not 1
  input [3]  from ones at HERE");
    misuse!(Tensor::ones([1, 1, 1]).diag(0) => "\
diag: the rank is 3, neither 1 nor 2
  input [1, 1, 1]  from ones at HERE");
    misuse!(Tensor::linspace(0.0, 1.0, usize::MAX) => "\
linspace: shape [9223372036854775807] has more elements than memory can address");
    misuse!(Tensor::meshgrid(&[Tensor::ones([2, 2])]) => "\
meshgrid: sequence 0 has rank 2, not 1
  sequence 0 [2, 2]  from ones at HERE
  help: flatten(..) makes it one sequence");
    misuse!(Bool::ones([2, 3]).any_axis(2) => "\
any: axis 2 is out of range for rank 2
  mask [2, 3]  from ones at HERE
  help: valid axes are -2 to 1");
    misuse!(tensor![1.0, 2.0].allclose(&tensor![1.0, 2.0, 3.0], 1e-5, 1e-8) => "\
eq: shapes do not broadcast: 2 and 3 on axis -1
  lhs [2]  from from_vec at HERE
  rhs [3]  from from_vec at HERE
  help: sizes must be equal, or one of them 1, on every axis counted from the last");
    misuse!(Tensor::zeros([2]).uniform_like(1.0, 0.0) => "\
uniform: low 1 is not below high 0
  help: give two finite numbers, the smaller first");
}
