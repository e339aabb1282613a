//! Layers.

use wengert::prelude::*;

#[test]
fn models() {
    let net = Sequential::new().push(Linear::new(784, 32)).push(ReLU::new()).push(Linear::new(16, 10));
    let params = net.parameters();
    misuse!(Tensor::zeros([5, 100]).matmul(&params[0].value()) => "\
matmul: inner dimensions differ: 100 (axis 1 of lhs) and 32 (axis 0 of rhs)
  lhs [5, 100]   from zeros at HERE
  rhs [32, 784]  parameter `0.weight`
  help: the last axis of lhs must have the size of the last but one of rhs");
    let mut opt = Adam::new(params.clone()).lr(1e-3);
    let loss = params[0].value().sum();
    misuse!(opt.step(&loss.backward()) => "\
step: no gradient for parameter `0.bias`: it is not part of this tape; nor for 2 more: `2.weight`, `2.bias`
  help: let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()");
}

/// A model of one layer, which errors name by its path.
#[derive(Module)]
struct Net<M: Module> {
    net: M,
}

impl<M: Module> Net<M> {
    fn of(net: M) -> Net<M> {
        let net = Net { net };
        net.parameters();
        net
    }
}

#[test]
fn linear_layers() {
    let layer = Net::of(Linear::new(784, 10));
    misuse!(layer.net.forward(&Tensor::zeros([32, 1, 28, 28])) => "\
Linear: the input has 28 features (axis 3), the layer takes 784
  input  [32, 1, 28, 28]  from zeros at HERE
  weight [10, 784]        parameter `net.weight`
  in module `net`
  help: flatten the input first: x.flatten(1..)");
    let layer = Net::of(Bilinear::new(3, 4, 2));
    misuse!(layer.net.forward(&Tensor::zeros([5, 3]), &Tensor::zeros([6, 4])) => "\
Bilinear: the inputs differ in more than the last axis
  lhs    [5, 3]     from zeros at HERE
  rhs    [6, 4]     from zeros at HERE
  weight [2, 3, 4]  parameter `net.weight`
  in module `net`
  help: nothing is broadcast here");
}

#[test]
fn convolutions_and_pooling() {
    let layer = Net::of(Conv2d::new(3, 8, 3));
    misuse!(layer.net.forward(&Tensor::zeros([2, 4, 8, 8])) => "\
conv2d: channels differ: 4 (axis 1 of input) and 3 (axis 1 of weight)
  input  [2, 4, 8, 8]  from zeros at HERE
  weight [8, 3, 3, 3]  parameter `net.weight`
  bias   [8]           parameter `net.bias`
  in module `net`
  help: axis 1 of weight times the number of groups is the number of input channels");
    let layer = Net::of(MaxPool2d::new(9));
    misuse!(layer.net.forward(&Tensor::zeros([2, 4, 8, 8])) => "\
max_pool2d: the kernel spans 9 positions, and axis 2 has 8
  input [2, 4, 8, 8]  from zeros at HERE
  in module `net`
  help: take a smaller kernel, or padding of 1 or more");
    misuse!(Conv2d::new(4, 6, 3).groups(4) => "\
Conv2d::groups: 4 groups do not divide 4 input and 6 output channels");
    let layer = Net::of(ConvTranspose2d::new(3, 8, 3).stride(2).output_padding(2));
    misuse!(layer.net.forward(&Tensor::zeros([2, 3, 8, 8])) => "\
conv_transpose2d: the output padding 2 along axis 2 is not below the stride 2
  input  [2, 3, 8, 8]  from zeros at HERE
  weight [3, 8, 3, 3]  parameter `net.weight`
  bias   [8]           parameter `net.bias`
  in module `net`
  help: it chooses among the sizes that a convolution of that stride maps to this one");
    let layer = Net::of(AdaptiveAvgPool2d::new(1));
    misuse!(layer.net.forward(&Tensor::zeros([8])) => "\
adaptive_avg_pool2d: needs rank 2 or more, not 1
  input [8]  from zeros at HERE
  in module `net`
  help: windows lie over the last axes: height, width");
    let layer = Net::of(GLU::new(1));
    misuse!(layer.net.forward(&Tensor::zeros([2, 3])) => "\
glu: axis 1 has size 3, which is odd
  input [2, 3]  from zeros at HERE
  in module `net`
  help: one half of the elements gates the other");
    let layer = Net::of(Dropout2d::new(0.5));
    misuse!(layer.net.forward(&Tensor::zeros([2, 3])) => "\
Dropout2d: the input has rank 2, not 4
  input [2, 3]  from zeros at HERE
  in module `net`
  help: give an input [n, channels, height, width]; Dropout drops single elements of any shape");
    misuse!(Dropout::new(1.5) => "\
Dropout::new: p 1.5 is not between 0 and 1");
}

#[test]
fn normalisation() {
    let x = Tensor::zeros([2, 4, 8]);
    let layer = Net::of(BatchNorm1d::new(3));
    misuse!(layer.net.forward(&x) => "\
BatchNorm1d: the input has 4 channels (axis 1), the layer 3
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: make the layer with as many channels as its input has");
    let layer = Net::of(BatchNorm2d::new(4));
    misuse!(layer.net.forward(&x) => "\
BatchNorm2d: the input has rank 3
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: give an input [n, channels, height, width]");
    let layer = Net::of(LayerNorm::new([4]));
    misuse!(layer.net.forward(&x) => "\
LayerNorm: the input [2, 4, 8] does not end with the axes [4] of the layer
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: make the layer with the sizes of the axes that it is to normalise");
    let layer = Net::of(RMSNorm::new([4, 9]));
    misuse!(layer.net.forward(&x) => "\
RMSNorm: the input [2, 4, 8] does not end with the axes [4, 9] of the layer
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: make the layer with the sizes of the axes that it is to normalise");
    misuse!(GroupNorm::new(3, 8) => "\
GroupNorm::new: 3 groups do not divide 8 channels");
    let layer = Net::of(GroupNorm::new(2, 8));
    misuse!(layer.net.forward(&x) => "\
GroupNorm: the input has 4 channels (axis 1), the layer 8
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: make the layer with as many channels as its input has");
    let layer = Net::of(InstanceNorm2d::new(4));
    misuse!(layer.net.forward(&x) => "\
InstanceNorm2d: the input has rank 3
  input [2, 4, 8]  from zeros at HERE
  in module `net`
  help: give an input [n, channels, height, width]");
}

#[test]
fn embeddings() {
    let layer = Net::of(Embedding::new(10, 4));
    misuse!(layer.net.forward(&tensor![[1, 10]]) => "\
embedding: index 10 at position [0, 1] is out of range for axis 0 of size 10
  table [10, 4]  parameter `net.weight`
  index [1, 2]   from from_vec at HERE
  in module `net`
  help: valid indices are 0 to 9");
    misuse!(Embedding::new(10, 4).padding(10) => "\
Embedding: the padding index 10 is out of range for 10 embeddings");
    let layer = Net::of(EmbeddingBag::new(10, 4));
    misuse!(layer.net.forward_with(&tensor![1, 2, 3], &tensor![0, 2, 1]) => "\
EmbeddingBag: bag 1 starts at 2 and ends at 1
  input   [3]  from from_vec at HERE
  offsets [3]  from from_vec at HERE
  in module `net`
  help: offsets say where each bag starts, and do not fall");
}

#[test]
fn recurrent_layers() {
    let x = Tensor::zeros([2, 7, 3]);
    let layer = Net::of(LSTM::new(4, 5));
    misuse!(layer.net.forward(&x) => "\
LSTM: the input has 3 features (axis 2), the layer takes 4
  input [2, 7, 3]  from zeros at HERE
  in module `net`
  help: give an input [batch, time, features], with 4 features");
    let layer = Net::of(GRU::new(3, 5).layers(2));
    misuse!(layer.net.forward_with(&x, Some(&Tensor::zeros([1, 2, 5]))) => "\
GRU: h has shape [1, 2, 5], not [2, 2, 5]
  input [2, 7, 3]  from zeros at HERE
  h     [1, 2, 5]  from zeros at HERE
  in module `net`
  help: a state is [layers * directions, batch, hidden]: [2, 2, 5] for this input");
    let layer = Net::of(RNN::new(3, 5).batch_first(false));
    misuse!(layer.net.forward(&Tensor::zeros([7, 3])) => "\
RNN: the input has rank 2, not 3
  input [7, 3]  from zeros at HERE
  in module `net`
  help: give an input [time, batch, features], with 3 features");
    misuse!(Tensor::zeros([2, 20]).lstm_cell(&Tensor::zeros([2, 16]), &Tensor::zeros([2, 5])) => "\
lstm_cell: hidden_gates has shape [2, 16], not [2, 20]
  input_gates  [2, 20]  from zeros at HERE
  hidden_gates [2, 16]  from zeros at HERE
  cell         [2, 5]   from zeros at HERE
  help: for a state [2, 5] it holds 4 blocks of 5 in each row");
    let (weight, state) = (Tensor::zeros([20, 5]), Tensor::zeros([2, 5]));
    misuse!(Tensor::zeros([2, 7, 16]).lstm(&weight, &state, &state, false) => "\
lstm: input_gates has shape [2, 7, 16], not [2, 7, 20]
  input_gates [2, 7, 16]  from zeros at HERE
  weight      [20, 5]     from zeros at HERE
  hidden      [2, 5]      from zeros at HERE
  cell        [2, 5]      from zeros at HERE
  help: the weight says that states have 5 elements, input_gates 2 samples of 7 steps");
}

#[test]
fn transformers() {
    let x = Tensor::zeros([2, 7, 8]);
    misuse!(MultiHeadAttention::new(8, 3) => "\
MultiHeadAttention::new: 3 heads do not divide 8 features");
    let layer = Net::of(MultiHeadAttention::new(8, 2));
    misuse!(layer.net.forward_with(&x, &Tensor::zeros([2, 5, 6]), &x, &Mask::none()) => "\
MultiHeadAttention: key has 6 features (axis 2), the layer takes 8
  query [2, 7, 8]  from zeros at HERE
  key   [2, 5, 6]  from zeros at HERE
  value [2, 7, 8]  from zeros at HERE
  in module `net`
  help: features(kdim, vdim) makes a layer whose keys and values have other numbers of features");
    misuse!(layer.net.forward_with(&x, &x, &x, &Mask::none().allowed(&Bool::full([5, 7], true))) => "\
scaled_dot_product_attention: the mask has shape [5, 7], which does not broadcast to [2, 2, 7, 7]
  query [2, 2, 7, 4]  from transpose at HERE
  key   [2, 2, 7, 4]  from transpose at HERE
  value [2, 2, 7, 4]  from transpose at HERE
  mask  [5, 7]        from full at HERE
  in module `net`
  help: its last axes are queries and keys: give [L, S], or [batch, 1, 1, S] for keys that are padding");
    let layer = Net::of(TransformerEncoderLayer::new(8, 2).feedforward(4));
    misuse!(layer.net.forward_with(&x, &Mask::none().padding(&Bool::full([2, 5], false))) => "\
MultiHeadAttention: the padding mask has shape [2, 5], not [2, 7]
  query [2, 7, 8]  from zeros at HERE
  key   [2, 7, 8]  from zeros at HERE
  value [2, 7, 8]  from zeros at HERE
  in module `net.self_attn`
  help: it says of each key, [batch, keys], whether it is padding");
    let layer = Net::of(TransformerDecoderLayer::new(8, 2).feedforward(4));
    misuse!(layer.net.forward(&x, &Tensor::zeros([3, 7, 8]), &Mask::causal(), &Mask::none()) => "\
MultiHeadAttention: key has a batch of 3 (axis 0), query one of 2
  query [2, 7, 8]  from layer_norm at HERE
  key   [3, 7, 8]  from zeros at HERE
  value [3, 7, 8]  from zeros at HERE
  in module `net.multihead_attn`");
}

#[test]
fn state() {
    let layer = Net::of(Linear::new(2, 3));
    misuse!(layer.freeze("net.wieght") => "\
freeze: no parameter fits `net.wieght`
  help: is it `net.weight`?");
    misuse!(layer.init_as("net", Init::orthogonal()) => "\
init_as: parameter `net.bias`: a tensor [3] is no weight [out, in, ..], which has two axes or more
  help: name weights alone: `*.weight`");
    misuse!(layer.to_dtype(DType::I64) => "\
to_dtype: I64 is not a float precision; choose F32, F64, BF16 or F16");
    misuse!(layer.net.weight.set(&Tensor::zeros([2, 3])) => "\
set: parameter `net.weight` is [3, 2] F32, and the value [2, 3] F32
  help: reshape the value, or build the model with other sizes");
}
