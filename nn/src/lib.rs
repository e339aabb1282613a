//! Modules, parameters, layers, initialisers and the state of models for Wengert.
//!
//! Users add the crate `wengert`, which re-exports what is here. A crate that depends on this one alone derives
//! [`Module`] with `#[module(crate = wengert_nn)]`.

// The derive macro writes `::wengert::Module`, which users have; here it is this crate.
extern crate self as wengert;

mod activation;
mod conv;
mod data;
mod dropout;
mod flatten;
mod init;
mod layer;
mod linear;
mod module;
mod norm;
mod param;
mod pool;
mod scope;
mod sequential;
mod state;
mod summary;

pub use activation::{Gelu, ReLU, Sigmoid, Tanh};
pub use conv::Conv2d;
pub use data::{Batches, Epoch};
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use init::{Fan, Init};
pub use layer::Layer;
pub use linear::Linear;
pub use module::{Module, Part, Walk};
pub use norm::{BatchNorm1d, BatchNorm2d};
pub use param::{Buffer, Mode, Param};
pub use pool::{AvgPool2d, MaxPool2d};
pub use scope::Scope;
pub use sequential::Sequential;
pub use state::{Form, LoadReport, Mismatch, StateDict};
pub use summary::{Row, Summary};
pub use wengert_nn_derive::Module;
