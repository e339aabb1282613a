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

#[test]
fn attention() {
    let (q, k) = (Tensor::zeros([2, 4, 5, 8]), Tensor::zeros([2, 3, 6, 8]));
    misuse!(q.scaled_dot_product_attention(&k, &k, AttentionOptions::new()) => "\
scaled_dot_product_attention: numbers of heads differ: 4 (axis 1 of query) and 3 (axis 1 of key)
  query [2, 4, 5, 8]  from zeros at HERE
  key   [2, 3, 6, 8]  from zeros at HERE
  value [2, 3, 6, 8]  from zeros at HERE
  help: each head of keys serves the same number of heads of queries: the one must divide the other");
    let mask = tensor![true, false, true];
    misuse!(k.scaled_dot_product_attention(&k, &k, AttentionOptions::new().mask(&mask)) => "\
scaled_dot_product_attention: the mask has shape [3], which does not broadcast to [2, 3, 6, 6]
  query [2, 3, 6, 8]  from zeros at HERE
  key   [2, 3, 6, 8]  from zeros at HERE
  value [2, 3, 6, 8]  from zeros at HERE
  mask  [3]           from from_vec at HERE
  help: its last axes are queries and keys: give [L, S], or [batch, 1, 1, S] for keys that are padding");
}

#[test]
fn convolution() {
    let x = Tensor::zeros([8, 4, 10]);
    misuse!(x.conv1d(&Tensor::zeros([6, 4, 11]), None, Conv1dOptions::new()) => "\
conv1d: the kernel spans 11 positions, and axis 2 has 10
  input  [8, 4, 10]  from zeros at HERE
  weight [6, 4, 11]  from zeros at HERE
  help: take a smaller kernel, or padding of 1 or more");
    misuse!(x.conv1d(&Tensor::zeros([6, 10, 3]), None, Conv1dOptions::new()) => "\
conv1d: channels differ: 4 (axis 1 of input) and 10 (axis 1 of weight)
  input  [8, 4, 10]  from zeros at HERE
  weight [6, 10, 3]  from zeros at HERE
  help: the channels come before length: input.permute([0, 2, 1])");
    misuse!(x.conv3d(&Tensor::zeros([6, 4, 3, 3, 3]), None, Conv3dOptions::new()) => "\
conv3d: input has rank 3, not 5: batch, channels, depth, height, width
  input  [8, 4, 10]       from zeros at HERE
  weight [6, 4, 3, 3, 3]  from zeros at HERE
  help: bring it to [batch, channels, depth, height, width]");
    misuse!(x.conv_transpose1d(&Tensor::zeros([6, 4, 3]), None, Conv1dOptions::new()) => "\
conv_transpose1d: channels differ: 4 (axis 1 of input) and 6 (axis 0 of weight)
  input  [8, 4, 10]  from zeros at HERE
  weight [6, 4, 3]   from zeros at HERE
  help: the weight of a transposed convolution has the input channels first: weight.transpose(0, 1)");
    misuse!(x.conv_transpose1d(&Tensor::zeros([4, 6, 3]), None, Conv1dOptions::new().output_padding(1)) => "\
conv_transpose1d: the output padding 1 along axis 2 is not below the stride 1
  input  [8, 4, 10]  from zeros at HERE
  weight [4, 6, 3]   from zeros at HERE
  help: it chooses among the sizes that a convolution of that stride maps to this one");
    misuse!(Conv1dOptions::new().same(4) => "\
same: a kernel of 4 with dilation 1 spans an even number of positions
  help: take an odd kernel, or pad one end first with pad()");
    misuse!(x.unsqueeze(0).fold([4, 4], 3, Conv2dOptions::new()) => "\
fold: input has shape [1, 8, 4, 10], not [batch, channels * 9, windows]
  input [1, 8, 4, 10]  from unsqueeze at HERE
  help: each window holds 3 times 3 elements of each channel");
}

#[test]
fn pooling_and_interpolation() {
    let x = Tensor::zeros([8, 3, 28, 28]);
    misuse!(x.max_pool2d(Pool2d::new(2).padding([0, 2])) => "\
max_pool2d: with padding 2, some windows lie outside axis 3, which has size 28
  input [8, 3, 28, 28]  from zeros at HERE
  help: pad by half the window at most");
    misuse!(Tensor::zeros([8, 0]).adaptive_avg_pool1d(3) => "\
adaptive_avg_pool1d: axis 1 is empty, and 3 windows are to cover it
  input [8, 0]  from zeros at HERE
  help: windows need something to cover; only batch and channels may be empty");
    misuse!(Tensor::zeros([8]).interpolate([4, 4], Interpolation::Linear) => "\
interpolate: 2 sizes are given, and the rank is 1
  input [8]  from zeros at HERE
  help: give one for each of the last axes, as height and width; batch and channels stay");
    misuse!(x.interpolate_by(&[0.0, 1.0], Interpolation::Nearest) => "\
interpolate: the scale 0 is not positive and finite
  input [8, 3, 28, 28]  from zeros at HERE");
    misuse!(Tensor::zeros([8]).dropout2d(0.5, true) => "\
dropout2d: needs rank 2 or more, [N, C, ..], not 1
  input [8]  from zeros at HERE");
}
