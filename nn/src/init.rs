//! Initial values of parameters.

use wengert_tensor::{IntoDims, Tensor};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform.
    Uniform {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
}

impl Init {
    /// Uniform within 1 over the square root of `fan_in` around 0.
    pub fn uniform_of_fan(fan_in: usize) -> Init {
        let bound = if fan_in == 0 { 0.0 } else { 1.0 / (fan_in as f64).sqrt() };
        Init::Uniform { low: -bound, high: bound }
    }

    /// A tensor.
    #[track_caller]
    pub fn tensor(self, shape: impl IntoDims) -> Tensor {
        let Init::Uniform { low, high } = self;
        Tensor::full(shape, (low + high) / 2.0)
    }
}
