//! The linear layer.

use std::panic::Location;

use wengert_tensor::{Error, Tensor, or_panic};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::Param;
use crate::scope::Scope;

/// A linear map of the last axis, with a bias: `y = x W^T + b`, from `[.., in_features]` to `[.., out_features]`.
///
/// Weight and bias start uniform between `-1/sqrt(in_features)` and `1/sqrt(in_features)`, as in PyTorch.
///
/// ```
/// use wengert_nn::{Layer, Linear};
/// use wengert_tensor::Tensor;
/// let fc = Linear::new(784, 10);
/// assert_eq!(fc.forward(&Tensor::zeros([32, 784])).shape().to_string(), "[32, 10]");
/// assert_eq!(fc.weight.shape().to_string(), "[10, 784]");
/// ```
#[derive(Module)]
pub struct Linear {
    scope: Scope,
    /// `[out_features, in_features]`.
    pub weight: Param,
    /// `[out_features]`, or none.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer from `in_features` to `out_features` features.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize) -> Linear {
        let init = Init::bounded_by(in_features);
        Linear {
            scope: Scope::new("Linear"),
            weight: Param::new(init.tensor([out_features, in_features])),
            bias: Some(Param::new(init.tensor([out_features]))),
        }
    }

    /// With a bias (as made), or without.
    pub fn bias(mut self, bias: bool) -> Linear {
        if !bias {
            self.bias = None;
        }
        self
    }
}

impl Layer for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.value();
        if x.shape().last() != weight.shape().last() {
            or_panic::<()>(Err(wrong_input(x, &weight).in_op("Linear", Location::caller())));
        }
        let y = x.matmul(&weight.t());
        self.scope.output(match &self.bias {
            Some(bias) => y + bias.value(),
            None => y,
        })
    }
}

#[cold]
fn wrong_input(x: &Tensor, weight: &Tensor) -> Error {
    let (shape, wanted) = (x.shape(), weight.shape()[1]);
    let e = match shape.last() {
        Some(size) => {
            Error::new(format!("the input has {size} features (axis {}), the layer takes {wanted}", shape.rank() - 1))
        }
        None => Error::new(format!("the input has rank 0, the layer takes {wanted} features on the last axis")),
    };
    // The commonest slip: an image that was not flattened.
    let tail = (1..shape.rank().saturating_sub(1)).find(|&axis| shape[axis..].iter().product::<usize>() == wanted);
    let e = match tail {
        Some(axis) => e.help(format!("flatten the input first: x.flatten({axis}..)")),
        None => e.help(format!(
            "give an input [.., {wanted}], or make the layer with Linear::new({}, {})",
            shape.last().copied().unwrap_or(1),
            weight.shape()[0]
        )),
    };
    e.operand("input", x.as_any()).operand("weight", weight.as_any())
}
