//! Reductions and losses.

use wengert::prelude::*;

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
