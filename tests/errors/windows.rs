//! Normalisation, attention, convolution, pooling and interpolation.

use wengert::prelude::*;

#[test]
fn normalisation() {
    let x = Tensor::zeros([4, 6, 3]);
    misuse!(x.layer_norm([6], None, None, 1e-5) => "\
layer_norm: the last axes of [4, 6, 3] are not [6], which are to be normalised
  input [4, 6, 3]  from zeros at HERE
  help: the last axis has size 3");
    misuse!(x.rms_norm([6, 3], Some(&Tensor::ones([3])), 1e-5) => "\
rms_norm: weight has shape [3], not [6, 3]
  input  [4, 6, 3]  from zeros at HERE
  weight [3]        from ones at HERE
  help: weight and bias hold one number for each channel, or for each position of the last axes");
    misuse!(x.group_norm(4, None, None, 1e-5) => "\
group_norm: 4 groups do not divide 6 channels (axis 1 of input)
  input [4, 6, 3]  from zeros at HERE
  help: every group holds the same number of channels");
    misuse!(Tensor::zeros([4, 6, 1]).instance_norm(None, None, 1e-5) => "\
instance_norm: each channel of a sample holds 1 values, and their variance needs 2 or more
  input [4, 6, 1]  from zeros at HERE
  help: batch_norm and group_norm normalise over more than one channel of one sample");
}
