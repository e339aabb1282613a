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
