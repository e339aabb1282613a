//! Normalisation of each sample by itself, over its last axes: layer norm and RMS norm.

use wengert_tensor::{Error, Result, Tensor};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::Param;
use crate::scope::Scope;

/// Checks that the last axes of an input are those that the layer normalises.
fn check(x: &Tensor, axes: &[usize]) -> Result<()> {
    if x.shape().ends_with(axes) {
        return Ok(());
    }
    Err(Error::new(format!("the input {} does not end with the axes {axes:?} of the layer", x.shape()))
        .help("make the layer with the sizes of the axes that it is to normalise"))
}

/// Layer normalisation, see [`Tensor::layer_norm`]: the last axes are shifted and scaled to mean 0 and variance 1, then
/// multiplied by a weight and shifted by a bias, which start at 1 and 0.
///
/// J. Ba, J. Kiros, G. Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
///
/// ```
/// use wengert_nn::{Layer, LayerNorm};
/// use wengert_tensor::Tensor;
/// let y = LayerNorm::new([8]).affine(true).bias(false).forward(&(Tensor::randn([4, 5, 8]) * 3.0 + 7.0));
/// assert!(y.mean_axis(-1).abs().max().item() < 1e-5);
/// ```
#[derive(Module)]
pub struct LayerNorm {
    scope: Scope,
    /// Of the shape that is normalised, or none.
    pub weight: Option<Param>,
    /// Of the shape that is normalised, or none.
    pub bias: Option<Param>,
    #[module(skip)]
    axes: Vec<usize>,
    eps: f64,
}

impl LayerNorm {
    /// A layer over last axes of these sizes.
    #[track_caller]
    pub fn new(axes: impl AsRef<[usize]>) -> LayerNorm {
        let axes = axes.as_ref().to_vec();
        LayerNorm {
            scope: Scope::new("LayerNorm"),
            weight: Some(Param::from_init(Init::ones(), &axes[..])),
            bias: Some(Param::from_init(Init::zeros(), &axes[..])),
            axes,
            eps: 1e-5,
        }
    }

    /// What is added to the variance: 1e-5 unless set.
    pub fn eps(mut self, eps: f64) -> LayerNorm {
        self.eps = eps;
        self
    }

    /// With a bias (as made), or with a weight alone.
    pub fn bias(mut self, bias: bool) -> LayerNorm {
        if !bias {
            self.bias = None;
        }
        self
    }

    /// With a weight and a bias (as made), or without either.
    pub fn affine(mut self, affine: bool) -> LayerNorm {
        if !affine {
            self.weight = None;
            self.bias = None;
        }
        self
    }
}

impl Layer for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        if let Err(e) = check(x, &self.axes) {
            self.scope.refuse(e.operand("input", x.as_any()));
        }
        let (weight, bias) = (self.weight.as_ref().map(Param::value), self.bias.as_ref().map(Param::value));
        self.scope.output(x.layer_norm(&self.axes[..], weight.as_ref(), bias.as_ref(), self.eps))
    }
}

/// Normalisation by the root mean square, see [`Tensor::rms_norm`]: the last axes are scaled to mean square 1, then
/// multiplied by a weight, which starts at 1. Nothing is shifted.
///
/// B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
///
/// ```
/// use wengert_nn::{Layer, RMSNorm};
/// use wengert_tensor::tensor;
/// let y = RMSNorm::new([2]).affine(false).eps(0.0).forward(&tensor![[7.0, -1.0]]);
/// assert_eq!(y.to_vec::<f32>(), [1.4, -0.2]);
/// ```
#[derive(Module)]
pub struct RMSNorm {
    scope: Scope,
    /// Of the shape that is normalised, or none.
    pub weight: Option<Param>,
    #[module(skip)]
    axes: Vec<usize>,
    #[module(skip)]
    eps: Option<f64>,
}

impl RMSNorm {
    /// A layer over last axes of these sizes.
    #[track_caller]
    pub fn new(axes: impl AsRef<[usize]>) -> RMSNorm {
        let axes = axes.as_ref().to_vec();
        let weight = Some(Param::from_init(Init::ones(), &axes[..]));
        RMSNorm { scope: Scope::new("RMSNorm"), weight, axes, eps: None }
    }

    /// What is added to the mean square: the distance from 1 to the next number of the input's precision, unless set, as
    /// in PyTorch.
    pub fn eps(mut self, eps: f64) -> RMSNorm {
        self.eps = Some(eps);
        self
    }

    /// With a weight (as made), or without.
    pub fn affine(mut self, affine: bool) -> RMSNorm {
        if !affine {
            self.weight = None;
        }
        self
    }
}

impl Layer for RMSNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        if let Err(e) = check(x, &self.axes) {
            self.scope.refuse(e.operand("input", x.as_any()));
        }
        let weight = self.weight.as_ref().map(Param::value);
        let eps = self.eps.unwrap_or(x.dtype().epsilon());
        self.scope.output(x.rms_norm(&self.axes[..], weight.as_ref(), eps))
    }
}
