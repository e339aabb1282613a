//! Wengert: eager tensors and automatic differentiation on the CPU.
//!
//! ```
//! use wengert::prelude::*;
//! let x = tensor![[1.0, 2.0], [3.0, 4.0]];
//! let w = Tensor::randn([2, 3]).requires_grad();
//! let loss = x.matmul(&w).relu().sum();
//! let grads = loss.backward();
//! println!("{loss}\n{}", grads.of(&w));
//! println!("{}", loss.tape()); // one line per recorded op
//! ```
//!
//! Tensors and their operations are methods of [`Tensor`]; gradients come from [`Differentiate::backward`]; models are
//! made of what implements [`Module`]; optimizers implement [`Optimizer`]. [`check_finite`] finds the origin of a NaN,
//! [`gradcheck`] tests a gradient.
//!
//! The [`guide`] is for those who come from PyTorch, Keras or ndarray, write an operation, check a gradient or look for a
//! NaN, and has the table of all operations.

pub mod guide;

pub use wengert_autograd::*;
pub use wengert_nn::*;
pub use wengert_optim::*;
pub use wengert_tensor::*;

/// What programs need: `use wengert::prelude::*`.
pub mod prelude {
    pub use wengert_autograd::{
        Backward, Differentiate, GradientTape, Gradients, check_finite, custom, grad, gradcheck, gradgradcheck,
        jacobian, profile, value_and_grad, vjp,
    };
    pub use wengert_nn::{
        AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, BatchNorm1d,
        BatchNorm2d, Batches, Bilinear, Buffer, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Dropout,
        Dropout2d, ELU, Embedding, EmbeddingBag, Flatten, GELU, GLU, GRU, GroupNorm, Hardtanh, Init, InstanceNorm1d,
        InstanceNorm2d, LSTM, Layer, LayerNorm, LeakyReLU, Linear, LogSigmoid, LogSoftmax, Mask, MaxPool1d, MaxPool2d,
        Mish, Mode, Module, MultiHeadAttention, Param, RMSNorm, RNN, ReLU, ReLU6, SELU, Scope, Sequential, SiLU,
        Sigmoid, Softmax, Softplus, Softsign, StateDict, Summary, Tanh, TransformerDecoderLayer,
        TransformerEncoderLayer, Walk,
    };
    pub use wengert_optim::{
        Accumulator, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Checkpoint, Ema, Lamb, Lbfgs, Lion, Muon,
        NAdam, Optimizer, RAdam, RmsProp, Schedule, Sgd, clip_global_norm, clip_norm, clip_value, schedule,
    };
    pub use wengert_tensor::{
        AttentionOptions, Bool, By, Conv1dOptions, Conv2dOptions, Conv3dOptions, CrossEntropy, DType, Ellipsis, Error,
        Float, Int, Interpolation, NewAxis, Pool1d, Pool2d, Pool3d, Reduction, Result, Rng, Shape, Tensor, manual_seed,
        no_grad, scalar, tensor, with_threads,
    };
}

/// The example of the README runs with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
