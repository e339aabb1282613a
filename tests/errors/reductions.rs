//! Reductions.

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
