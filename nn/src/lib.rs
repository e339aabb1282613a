//! Modules, parameters, layers, initialisers and the state of models for Wengert.
//!
//! Users add the crate `wengert`, which re-exports what is here. A crate that depends on this one alone derives
//! [`Module`] with `#[module(crate = wengert_nn)]`.

// The derive macro writes `::wengert::Module`, which users have; here it is this crate.
extern crate self as wengert;

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod data;
mod dropout;
mod embedding;
mod flatten;
mod group_norm;
mod init;
mod layer;
mod layer_norm;
mod linear;
mod module;

mod param;
mod pool;
mod recurrent;
mod scope;
mod sequential;
mod state;
mod summary;
mod transformer;

pub use activation::{
    ELU, GELU, GLU, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax,
    Softplus, Softsign, Tanh,
};
pub use attention::{Mask, MultiHeadAttention};
pub use batch_norm::{BatchNorm1d, BatchNorm2d};
pub use conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d};
pub use data::{Batches, Epoch};
pub use dropout::{Dropout, Dropout2d};
pub use embedding::{Embedding, EmbeddingBag};
pub use flatten::Flatten;
pub use group_norm::{GroupNorm, InstanceNorm1d, InstanceNorm2d};
pub use init::{Fan, Init};
pub use layer::Layer;
pub use layer_norm::{LayerNorm, RMSNorm};
pub use linear::{Bilinear, Linear};
pub use module::{Module, Part, Walk};
pub use param::{Buffer, Mode, Param};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d,
    MaxPool2d,
};
pub use recurrent::{GRU, LSTM, RNN};
pub use scope::Scope;
pub use sequential::Sequential;
pub use state::{Form, LoadReport, Mismatch, StateDict};
pub use summary::{Row, Summary};
pub use transformer::{TransformerDecoderLayer, TransformerEncoderLayer};
pub use wengert_nn_derive::Module;
