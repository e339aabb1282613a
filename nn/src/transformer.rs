//! The layers of the transformer. A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

use wengert_tensor::Tensor;

use crate::Module;
use crate::attention::{Mask, MultiHeadAttention};
use crate::dropout::Dropout;
use crate::layer::Layer;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::scope::Scope;

/// What a layer's two linear maps have between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    Relu,
    Gelu,
}

impl Activation {
    #[track_caller]
    fn of(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::Gelu => x.gelu(),
        }
    }
}

/// The builder methods that both layers have, which differ in their numbers of normalisations.
macro_rules! settings {
    ($Name:ident, [$($attention:ident),*], [$($norm:ident),*], [$($dropout:ident),*]) => {
        impl $Name {
            /// The features between the two linear maps: 2048 unless set. The maps are drawn anew.
            #[track_caller]
            pub fn feedforward(self, features: usize) -> $Name {
                let embed = self.linear2.weight.shape()[0];
                let (linear1, linear2) = (Linear::new(embed, features), Linear::new(features, embed));
                $Name { linear1, linear2, ..self }
            }

            /// The share of elements that is dropped in training, in attention and before each sum: 0.1 unless set.
            ///
            /// # Panics
            /// If `p` is not between 0 and 1.
            #[track_caller]
            pub fn dropout(self, p: f64) -> $Name {
                $Name {
                    $($attention: self.$attention.dropout(p),)*
                    dropout: Dropout::new(p),
                    $($dropout: Dropout::new(p),)*
                    ..self
                }
            }

            /// With `gelu` between the linear maps, not `relu`.
            pub fn gelu(self) -> $Name {
                $Name { activation: Activation::Gelu, ..self }
            }

            /// Whether each part normalises its input (pre-norm) or the sum of input and result, as made (post-norm).
            /// R. Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
            pub fn norm_first(self, norm_first: bool) -> $Name {
                $Name { norm_first, ..self }
            }

            /// What is added to variances: 1e-5 unless set.
            pub fn eps(self, eps: f64) -> $Name {
                $Name { $($norm: self.$norm.eps(eps),)* ..self }
            }

            #[track_caller]
            fn feed(&self, x: &Tensor) -> Tensor {
                let h = self.activation.of(&self.linear1.forward(x));
                self.linear2.forward(&self.dropout.forward(&h))
            }
        }
    };
}

/// A layer of a transformer's encoder: self-attention, then two linear maps, each added to its input.
///
/// Inputs and outputs are `[batch, positions, embed]`. Parameters are named as in PyTorch.
///
/// ```
/// use wengert_nn::{Layer, Mask, TransformerEncoderLayer};
/// use wengert_tensor::Tensor;
/// let layer = TransformerEncoderLayer::new(8, 2).feedforward(32).gelu().norm_first(true);
/// let x = Tensor::randn([4, 5, 8]);
/// assert_eq!(layer.forward(&x).shape().to_string(), "[4, 5, 8]");
/// assert_eq!(layer.forward_with(&x, &Mask::causal()).shape().to_string(), "[4, 5, 8]");
/// ```
#[derive(Module)]
pub struct TransformerEncoderLayer {
    scope: Scope,
    /// The attention of the input to itself.
    pub self_attn: MultiHeadAttention,
    /// From `embed` features to those between the maps.
    pub linear1: Linear,
    dropout: Dropout,
    /// Back to `embed` features.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the linear maps.
    pub norm2: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    #[module(skip)]
    activation: Activation,
    norm_first: bool,
}

settings!(TransformerEncoderLayer, [self_attn], [norm1, norm2], [dropout1, dropout2]);

impl TransformerEncoderLayer {
    /// A layer for `embed` features, with attention in `heads` heads.
    ///
    /// # Panics
    /// If `heads` does not divide `embed`.
    #[track_caller]
    pub fn new(embed: usize, heads: usize) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            scope: Scope::new("TransformerEncoderLayer"),
            self_attn: MultiHeadAttention::new(embed, heads).dropout(0.1),
            linear1: Linear::new(embed, 2048),
            dropout: Dropout::new(0.1),
            linear2: Linear::new(2048, embed),
            norm1: LayerNorm::new([embed]),
            norm2: LayerNorm::new([embed]),
            dropout1: Dropout::new(0.1),
            dropout2: Dropout::new(0.1),
            activation: Activation::Relu,
            norm_first: false,
        }
    }

    /// The output, where positions look only where `mask` lets them.
    ///
    /// # Panics
    /// If the input is not `[batch, positions, embed]`, or the mask does not fit.
    #[track_caller]
    pub fn forward_with(&self, x: &Tensor, mask: &Mask) -> Tensor {
        let _scope = self.scope.enter();
        if self.norm_first {
            let h = self.norm1.forward(x);
            let x = x + self.dropout1.forward(&self.self_attn.forward_with(&h, &h, &h, mask));
            let h = self.feed(&self.norm2.forward(&x));
            return self.scope.output(x + self.dropout2.forward(&h));
        }
        let h = self.self_attn.forward_with(x, x, x, mask);
        let x = self.norm1.forward(&(x + self.dropout1.forward(&h)));
        let h = self.feed(&x);
        self.scope.output(self.norm2.forward(&(x + self.dropout2.forward(&h))))
    }
}

impl Layer for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_with(x, &Mask::none())
    }
}

/// A layer of a transformer's decoder: self-attention, attention to what an encoder gave (the memory), then two linear
/// maps, each added to its input.
///
/// The input, what is decoded so far, is `[batch, positions, embed]`, the memory `[batch, others, embed]`. Parameters are
/// named as in PyTorch.
///
/// ```
/// use wengert_nn::{Mask, TransformerDecoderLayer};
/// use wengert_tensor::Tensor;
/// let layer = TransformerDecoderLayer::new(8, 2).feedforward(32);
/// let (x, memory) = (Tensor::randn([4, 5, 8]), Tensor::randn([4, 7, 8]));
/// let y = layer.forward(&x, &memory, &Mask::causal(), &Mask::none());
/// assert_eq!(y.shape().to_string(), "[4, 5, 8]");
/// ```
#[derive(Module)]
pub struct TransformerDecoderLayer {
    scope: Scope,
    /// The attention of the input to itself.
    pub self_attn: MultiHeadAttention,
    /// The attention to the memory.
    pub multihead_attn: MultiHeadAttention,
    /// From `embed` features to those between the maps.
    pub linear1: Linear,
    dropout: Dropout,
    /// Back to `embed` features.
    pub linear2: Linear,
    /// Of the self-attention.
    pub norm1: LayerNorm,
    /// Of the attention to the memory.
    pub norm2: LayerNorm,
    /// Of the linear maps.
    pub norm3: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    dropout3: Dropout,
    #[module(skip)]
    activation: Activation,
    norm_first: bool,
}

settings!(TransformerDecoderLayer, [self_attn, multihead_attn], [norm1, norm2, norm3], [dropout1, dropout2, dropout3]);

impl TransformerDecoderLayer {
    /// A layer for `embed` features, with attention in `heads` heads.
    ///
    /// # Panics
    /// If `heads` does not divide `embed`.
    #[track_caller]
    pub fn new(embed: usize, heads: usize) -> TransformerDecoderLayer {
        TransformerDecoderLayer {
            scope: Scope::new("TransformerDecoderLayer"),
            self_attn: MultiHeadAttention::new(embed, heads).dropout(0.1),
            multihead_attn: MultiHeadAttention::new(embed, heads).dropout(0.1),
            linear1: Linear::new(embed, 2048),
            dropout: Dropout::new(0.1),
            linear2: Linear::new(2048, embed),
            norm1: LayerNorm::new([embed]),
            norm2: LayerNorm::new([embed]),
            norm3: LayerNorm::new([embed]),
            dropout1: Dropout::new(0.1),
            dropout2: Dropout::new(0.1),
            dropout3: Dropout::new(0.1),
            activation: Activation::Relu,
            norm_first: false,
        }
    }

    /// The output: positions look at each other as `mask` lets them, and at the memory as `memory_mask` does.
    ///
    /// # Panics
    /// If an input has another shape than the layer takes, or a mask does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, memory: &Tensor, mask: &Mask, memory_mask: &Mask) -> Tensor {
        let _scope = self.scope.enter();
        if self.norm_first {
            let h = self.norm1.forward(x);
            let x = x + self.dropout1.forward(&self.self_attn.forward_with(&h, &h, &h, mask));
            let h = self.norm2.forward(&x);
            let h = self.multihead_attn.forward_with(&h, memory, memory, memory_mask);
            let x = x + self.dropout2.forward(&h);
            let h = self.feed(&self.norm3.forward(&x));
            return self.scope.output(x + self.dropout3.forward(&h));
        }
        let h = self.self_attn.forward_with(x, x, x, mask);
        let x = self.norm1.forward(&(x + self.dropout1.forward(&h)));
        let h = self.multihead_attn.forward_with(&x, memory, memory, memory_mask);
        let x = self.norm2.forward(&(x + self.dropout2.forward(&h)));
        let h = self.feed(&x);
        self.scope.output(self.norm3.forward(&(x + self.dropout3.forward(&h))))
    }
}
