//! Losses.

use wengert::prelude::*;
use wengert::{Bce, BceWithLogits, Ctc, Huber, SmoothL1, TripletMargin};

#[test]
fn classes() {
    let logits = Tensor::zeros([4, 10]);
    misuse!(logits.cross_entropy(&tensor![0, 1, 2, 10]) => "\
cross_entropy: label 10 at [3] is none of the 10 classes
  logits [4, 10]  from zeros at HERE
  target [4]      from from_vec at HERE
  help: labels are class numbers from 0 to 9");
    misuse!(logits.cross_entropy(&tensor![0, 1, 2, -100]) => "\
cross_entropy: label -100 at [3] is none of the 10 classes
  logits [4, 10]  from zeros at HERE
  target [4]      from from_vec at HERE
  help: with the option ignore_index(-100) such rows do not count");
    misuse!(logits.cross_entropy(&tensor![0, 1, 2]) => "\
cross_entropy: target has shape [3], and scores [4, 10] call for [4]
  logits [4, 10]  from zeros at HERE
  target [3]      from from_vec at HERE
  help: the target has one class number for each row of scores: their shape without axis 1");
    misuse!(logits.cross_entropy(&tensor![[0], [1], [2], [3]]) => "\
cross_entropy: target has shape [4, 1], and scores [4, 10] call for [4]
  logits [4, 10]  from zeros at HERE
  target [4, 1]   from from_vec at HERE
  help: target.squeeze(1) gives [4]");
    misuse!(logits.cross_entropy(&Tensor::ones([4])) => "\
cross_entropy: shapes differ: [4, 10] and [4]
  logits [4, 10]  from zeros at HERE
  target [4]      from ones at HERE
  help: class numbers are integers: target.to_int()");
    let labels = tensor![0, 1, 2, 3];
    misuse!(logits.cross_entropy_with(&labels, CrossEntropy::new().class_weights([1.0, 2.0])) => "\
cross_entropy: 2 class weights for 10 classes (axis 1)
  logits [4, 10]  from zeros at HERE
  target [4]      from from_vec at HERE");
    misuse!(logits.cross_entropy_with(&labels, CrossEntropy::new().label_smoothing(1.5)) => "\
cross_entropy: label smoothing 1.5 is not between 0 and 1
  logits [4, 10]  from zeros at HERE
  target [4]      from from_vec at HERE");
    misuse!(logits.nll_loss(&tensor![0, 1, 2, -1]) => "\
nll_loss: label -1 at [3] is none of the 10 classes
  log_probabilities [4, 10]  from zeros at HERE
  target            [4]      from from_vec at HERE
  help: with the option ignore_index(-1) such rows do not count");
}

#[test]
fn elements() {
    let (x, t) = (Tensor::zeros([4, 1]), Tensor::zeros([4]));
    misuse!(x.mse_loss(&t) => "\
mse_loss: shapes differ: [4, 1] and [4]
  input  [4, 1]  from zeros at HERE
  target [4]     from zeros at HERE
  help: target.unsqueeze(1) gives [4, 1], or input.squeeze(1) gives [4]");
    misuse!(t.l1_loss(&x) => "\
l1_loss: shapes differ: [4] and [4, 1]
  input  [4]     from zeros at HERE
  target [4, 1]  from zeros at HERE
  help: target.squeeze(1) gives [4], or input.unsqueeze(1) gives [4, 1]");
    misuse!(t.huber_loss_with(&t, Huber::new().delta(0.0)) => "\
huber_loss: delta 0 is not above 0
  input  [4]  from zeros at HERE
  target [4]  from zeros at HERE");
    misuse!(t.smooth_l1_loss_with(&t, SmoothL1::new().beta(-1.0)) => "\
smooth_l1_loss: beta -1 is not above 0
  input  [4]  from zeros at HERE
  target [4]  from zeros at HERE");
    misuse!(t.hinge_loss(&Tensor::zeros([3])) => "\
hinge_loss: shapes differ: [4] and [3]
  input  [4]  from zeros at HERE
  target [3]  from zeros at HERE
  help: the loss broadcasts nothing: bring both to one shape first");
    misuse!(tensor![0.5, -2.0].bce_loss(&Tensor::zeros([2])) => "\
bce_loss: -2 at [1] is not between 0 and 1
  input  [2]  from from_vec at HERE
  target [2]  from zeros at HERE
  help: the input holds probabilities: of logits, take bce_with_logits_loss");
    misuse!(t.bce_loss_with(&t, Bce::new().weight(&x)) => "\
bce_loss: the weight's shape [4, 1] does not broadcast to [4]
  losses [4]     from bce_loss at HERE
  weight [4, 1]  from zeros at HERE");
    misuse!(t.bce_with_logits_loss_with(&t, BceWithLogits::new().pos_weight(&x)) => "\
bce_with_logits_loss: the weight's shape [4, 1] does not broadcast to [4]
  input      [4]     from zeros at HERE
  pos_weight [4, 1]  from zeros at HERE");
    misuse!(t.kl_div(&t.to_dtype(DType::F64)) => "\
kl_div: precisions differ: F32 and F64
  input  [4]      from zeros at HERE
  target [4] F64  from cast at HERE
  help: nothing is promoted silently: cast one of them with to_dtype(DType::F32)");
}

#[test]
fn vectors_and_sequences() {
    let x = Tensor::zeros([4, 3]);
    misuse!(x.cosine_embedding_loss(&x, &tensor![1, 1, 0, 1]) => "\
cosine_embedding_loss: target 0 at [2] is neither 1 nor -1
  input  [4, 3]  from zeros at HERE
  other  [4, 3]  from zeros at HERE
  target [4]     from from_vec at HERE");
    misuse!(x.triplet_margin_loss(&x, &Tensor::zeros([4, 2])) => "\
triplet_margin_loss: shapes differ: [4, 3] and [4, 2]
  anchor   [4, 3]  from zeros at HERE
  positive [4, 3]  from zeros at HERE
  negative [4, 2]  from zeros at HERE
  help: the loss broadcasts nothing: bring both to one shape first");
    misuse!(x.triplet_margin_loss_with(&x, &x, TripletMargin::new().p(0.0)) => "\
triplet_margin_loss: p 0 is not above 0
  anchor   [4, 3]  from zeros at HERE
  positive [4, 3]  from zeros at HERE
  negative [4, 3]  from zeros at HERE");
    let (p, steps, one) = (Tensor::zeros([5, 2, 3]), tensor![5, 5], tensor![1, 1]);
    misuse!(p.ctc_loss(&tensor![[1], [0]], &steps, &one) => "\
ctc_loss: label 0 at [1, 0] of targets is the blank or none of the 3 classes
  log_probabilities [5, 2, 3]  from zeros at HERE
  targets           [2, 1]     from from_vec at HERE
  input_lengths     [2]        from from_vec at HERE
  target_lengths    [2]        from from_vec at HERE");
    misuse!(p.ctc_loss(&tensor![[1], [2]], &tensor![5, 6], &one) => "\
ctc_loss: length 6 at [1] of input_lengths is not from 0 to 5
  log_probabilities [5, 2, 3]  from zeros at HERE
  targets           [2, 1]     from from_vec at HERE
  input_lengths     [2]        from from_vec at HERE
  target_lengths    [2]        from from_vec at HERE");
    misuse!(p.ctc_loss_with(&tensor![[1], [2]], &steps, &one, Ctc::new().blank(3)) => "\
ctc_loss: blank 3 is none of the 3 classes
  log_probabilities [5, 2, 3]  from zeros at HERE
  targets           [2, 1]     from from_vec at HERE
  input_lengths     [2]        from from_vec at HERE
  target_lengths    [2]        from from_vec at HERE");
}
