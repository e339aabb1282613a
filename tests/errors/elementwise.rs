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
