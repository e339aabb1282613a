//! Products, convolutions and pooling.

use wengert::prelude::*;

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
  help: bring it to [batch, channels, height, width]");
    misuse!(x.max_pool2d(29) => "\
max_pool2d: the kernel spans 29 positions, and axis 2 has 28
  input [8, 3, 28, 28]  from zeros at HERE
  help: take a smaller kernel, or padding of 1 or more");
}
