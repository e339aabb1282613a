//! Linear algebra: products named by letters, systems and factors.

use wengert::prelude::*;

#[test]
fn equations() {
    let (x, y) = (Tensor::zeros([2, 3]), Tensor::zeros([4, 5]));
    misuse!(Tensor::einsum("ij,jk->ik", &[&x, &y]) => "\
einsum: letter `j` is 3 (axis 1 of operand 0) and 4 (axis 0 of operand 1)
  operand 0 [2, 3]  from zeros at HERE
  operand 1 [4, 5]  from zeros at HERE
  help: one letter is one axis of the product: it has one size");
    misuse!(Tensor::einsum("ij,jk->ik", &[&x]) => "\
einsum: the equation `ij,jk->ik` is of 2 operands, and 1 are given
  operand 0 [2, 3]  from zeros at HERE
  help: commas separate the operands, `->` the result: \"ij,jk->ik\"");
    misuse!(Tensor::einsum("ijk->i", &[&x]) => "\
einsum: operand 0 has rank 2, and the equation names 3 axes for it
  operand 0 [2, 3]  from zeros at HERE
  help: name each axis by a letter, or those left over by `...`");
    misuse!(Tensor::einsum("ij->ki", &[&x]) => "\
einsum: letter `k` of the result is in no operand
  operand 0 [2, 3]  from zeros at HERE");
    misuse!(Tensor::einsum("i1->i", &[&x]) => "\
einsum: `1` in `i1` names no axis
  operand 0 [2, 3]  from zeros at HERE
  help: axes are named by the letters a to z and A to Z, or `...` for any number");
    misuse!(x.tensordot(&y, [1], [0]) => "\
tensordot: sizes differ: 3 (axis 1 of lhs) and 4 (axis 0 of rhs)
  lhs [2, 3]  from zeros at HERE
  rhs [4, 5]  from zeros at HERE");
}

#[test]
fn vectors_and_batches() {
    let (x, y) = (Tensor::zeros([3]), Tensor::zeros([4]));
    misuse!(x.dot(&y) => "\
dot: sizes differ: 3 (lhs) and 4 (rhs)
  lhs [3]  from zeros at HERE
  rhs [4]  from zeros at HERE");
    misuse!(Tensor::zeros([2, 3]).outer(&y) => "\
outer: lhs has rank 2, not 1
  lhs [2, 3]  from zeros at HERE
  rhs [4]     from zeros at HERE
  help: outer is of vectors; flatten(..) makes one of any tensor");
    misuse!(Tensor::zeros([1, 2, 3]).bmm(&Tensor::zeros([2, 3, 4])) => "\
bmm: batches differ: 1 (axis 0 of lhs) and 2 (axis 0 of rhs)
  lhs [1, 2, 3]  from zeros at HERE
  rhs [2, 3, 4]  from zeros at HERE
  help: matmul broadcasts batches of size 1");
    misuse!(x.trace() => "\
trace: rank 1 is below 2: it takes matrices
  input [3]  from zeros at HERE");
}

#[test]
fn systems() {
    misuse!(Tensor::ones([2, 2]).inverse() => "\
inverse: the matrix is singular
  input [2, 2]  from ones at HERE
  help: its rows are linearly dependent; a small multiple of eye(n) added to it mends that");
    misuse!(Tensor::eye(2).solve(&Tensor::ones([3])) => "\
solve: 2 unknowns (axis 1 of matrix) and 3 values (axis 0 of rhs)
  matrix [2, 2]  from eye at HERE
  rhs    [3]     from ones at HERE
  help: a right side is [n], or [.., n, k]; for a batch of vectors, rhs.unsqueeze(-1)");
    misuse!(Tensor::ones([2, 3]).det() => "\
det: a matrix of 2 rows and 3 columns is not square
  input [2, 3]  from ones at HERE");
}

#[test]
fn factors() {
    misuse!(Tensor::full([4, 2, 2], -1.0).cholesky() => "\
cholesky: matrix [0] of the batch is not positive definite
  input [4, 2, 2]  from full at HERE
  help: the symmetric part, (a + a.t()) / 2, needs eigenvalues above 0; a small multiple of eye(n) added may do");
    misuse!(tensor![[1.0, f64::NAN], [0.0, 1.0]].svd() => "\
svd: element [0, 1] is NaN
  input [2, 2]  from from_vec at HERE
  help: matrices of finite numbers only; check_finite names the operation that made the first other one");
    misuse!(Tensor::eye(2).to_dtype(DType::BF16).eigh() => "\
eigh: precision BF16 is not supported
  input [2, 2] BF16  from cast at HERE
  help: factor in to_dtype(DType::F32)");
}
