//! The linear layer, and the bilinear one.

use wengert_tensor::{Error, Result, Tensor};

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
            weight: Param::from_init(init, [out_features, in_features]),
            bias: Some(Param::from_init(init, [out_features])),
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
        let _scope = self.scope.enter();
        let weight = self.weight.value();
        if x.shape().last() != weight.shape().last() {
            self.scope.refuse(wrong_input(x, &weight));
        }
        let bias = self.bias.as_ref().map(|bias| bias.value());
        self.scope.output(x.linear(&weight, bias.as_ref()))
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

/// A bilinear map of the last axes of two inputs, with a bias: `y_k = x A_k z + b_k`, from `[.., in1_features]` and
/// `[.., in2_features]` to `[.., out_features]`.
///
/// Weight and bias start uniform between `-1/sqrt(in1_features)` and `1/sqrt(in1_features)`, as in PyTorch.
///
/// ```
/// use wengert_nn::Bilinear;
/// use wengert_tensor::Tensor;
/// let layer = Bilinear::new(3, 4, 2).bias(false);
/// assert_eq!(layer.forward(&Tensor::ones([5, 3]), &Tensor::ones([5, 4])).shape().to_string(), "[5, 2]");
/// ```
#[derive(Module)]
pub struct Bilinear {
    scope: Scope,
    /// `[out_features, in1_features, in2_features]`.
    pub weight: Param,
    /// `[out_features]`, or none.
    pub bias: Option<Param>,
}

impl Bilinear {
    /// A layer from `in1_features` and `in2_features` to `out_features` features.
    #[track_caller]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Bilinear {
        let init = Init::bounded_by(in1_features);
        Bilinear {
            scope: Scope::new("Bilinear"),
            weight: Param::from_init(init, [out_features, in1_features, in2_features]),
            bias: Some(Param::from_init(init, [out_features])),
        }
    }

    /// With a bias (as made), or without.
    pub fn bias(mut self, bias: bool) -> Bilinear {
        if !bias {
            self.bias = None;
        }
        self
    }

    /// The output for the inputs `x` and `z`, which differ in the last axis at most.
    ///
    /// # Panics
    /// If an input has another number of features than the layer takes, or they differ in another axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, z: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        let weight = self.weight.value();
        let &[out, in1, in2] = &weight.shape()[..] else { unreachable!("made with three axes") };
        if let Err(e) = pair_fits(x, z, in1, in2) {
            let e = e.operand("lhs", x.as_any()).operand("rhs", z.as_any());
            self.scope.refuse(e.operand("weight", weight.as_any()));
        }
        let lead = &x.shape()[..x.rank() - 1];
        // x A for all outputs at once, then the rows of both inputs are multiplied.
        let (n, shape) = (lead.iter().product::<usize>(), [lead, &[out]].concat());
        let left = x.reshape([n, in1]).matmul(&weight.transpose(0, 1).reshape([in1, out * in2]));
        let y = left.reshape([n, out, in2]).matmul(&z.reshape([n, in2, 1])).reshape(shape);
        self.scope.output(match &self.bias {
            Some(bias) => y + bias.value(),
            None => y,
        })
    }
}

/// Checks the inputs of a bilinear layer.
fn pair_fits(x: &Tensor, z: &Tensor, in1: usize, in2: usize) -> Result<()> {
    for (name, t, wanted) in [("lhs", x, in1), ("rhs", z, in2)] {
        let e = match t.shape().last() {
            Some(&size) if size == wanted => continue,
            Some(size) => format!("{name} has {size} features (axis {}), the layer takes {wanted}", t.rank() - 1),
            None => format!("{name} has rank 0, the layer takes {wanted} features on the last axis"),
        };
        return Err(Error::new(e).help(format!("give inputs [.., {in1}] and [.., {in2}]")));
    }
    if x.shape()[..x.rank() - 1] != z.shape()[..z.rank() - 1] {
        return Err(Error::new("the inputs differ in more than the last axis").help("nothing is broadcast here"));
    }
    Ok(())
}
