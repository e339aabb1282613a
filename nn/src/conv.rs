//! The convolutional layer.

use wengert_tensor::{Conv2dOptions, Sizes, Tensor};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::Param;
use crate::scope::Scope;

/// A convolution of images, see [`Tensor::conv2d`]: from `[n, in_channels, h, w]` to `[n, out_channels, h', w']`, where
/// `h' = (h + 2 padding - dilation (kernel - 1) - 1) / stride + 1`, rounded down.
///
/// Weight and bias start uniform between `-1/sqrt(fan_in)` and `1/sqrt(fan_in)`, as in PyTorch, where
/// `fan_in = in_channels / groups * kernel height * kernel width`.
///
/// ```
/// use wengert_nn::{Conv2d, Layer};
/// use wengert_tensor::Tensor;
/// let conv = Conv2d::new(1, 16, 3).padding(1).stride(2);
/// assert_eq!(conv.forward(&Tensor::zeros([8, 1, 28, 28])).shape().to_string(), "[8, 16, 14, 14]");
/// ```
#[derive(Module)]
pub struct Conv2d {
    scope: Scope,
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`.
    pub weight: Param,
    /// `[out_channels]`, or none.
    pub bias: Option<Param>,
    #[module(skip)]
    options: Conv2dOptions,
}

impl Conv2d {
    /// A convolution with a kernel of size `kernel`: one number, or `[height, width]`.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Sizes<2>>) -> Conv2d {
        let Sizes([height, width]) = kernel.into();
        let init = Init::bounded_by(in_channels * height * width);
        Conv2d {
            scope: Scope::new("Conv2d"),
            weight: Param::from_init(init, [out_channels, in_channels, height, width]),
            bias: Some(Param::from_init(init, [out_channels])),
            options: Conv2dOptions::new(),
        }
    }

    /// How far one window is from the next: 1 unless set.
    pub fn stride(mut self, stride: impl Into<Sizes<2>>) -> Conv2d {
        self.options = self.options.stride(stride);
        self
    }

    /// How many zeros surround the image at each edge: 0 unless set.
    pub fn padding(mut self, padding: impl Into<Sizes<2>>) -> Conv2d {
        self.options = self.options.padding(padding);
        self
    }

    /// How far one element of the kernel is from the next: 1 unless set.
    pub fn dilation(mut self, dilation: impl Into<Sizes<2>>) -> Conv2d {
        self.options = self.options.dilation(dilation);
        self
    }

    /// How many parts the channels are split into, each convolved on its own: 1 unless set. The weight, which is
    /// smaller then, and the bias are drawn anew.
    ///
    /// # Panics
    /// If `groups` does not divide both numbers of channels.
    #[track_caller]
    pub fn groups(self, groups: usize) -> Conv2d {
        let shape = self.weight.shape();
        let (outputs, inputs) = (shape[0], shape[1] * self.options.groups);
        assert!(
            groups > 0 && inputs % groups == 0 && outputs % groups == 0,
            "Conv2d::groups: {groups} groups do not divide {inputs} input and {outputs} output channels"
        );
        let fresh = Conv2d::new(inputs / groups, outputs, [shape[2], shape[3]]);
        Conv2d { options: self.options.groups(groups), bias: self.bias.and(fresh.bias), ..fresh }
    }

    /// With a bias (as made), or without.
    pub fn bias(mut self, bias: bool) -> Conv2d {
        if !bias {
            self.bias = None;
        }
        self
    }
}

impl Layer for Conv2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        let bias = self.bias.as_ref().map(Param::value);
        self.scope.output(x.conv2d(&self.weight.value(), bias.as_ref(), self.options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_convolution() {
        let shape = |conv: &Conv2d| conv.forward(&Tensor::zeros([2, 4, 11, 9])).shape().to_string();
        assert_eq!(shape(&Conv2d::new(4, 6, 3)), "[2, 6, 9, 7]");
        assert_eq!(shape(&Conv2d::new(4, 6, [5, 1]).padding([2, 0]).stride([1, 2])), "[2, 6, 11, 5]");
        assert_eq!(shape(&Conv2d::new(4, 6, 3).dilation(2)), "[2, 6, 7, 5]");
        let grouped = Conv2d::new(4, 6, 3).bias(false).padding(1).groups(2);
        assert_eq!(shape(&grouped), "[2, 6, 11, 9]");
        assert_eq!(grouped.weight.shape().to_string(), "[6, 2, 3, 3]");
        assert!(grouped.bias.is_none());
    }

    #[test]
    fn weights_start_within_the_bound_of_their_fan() {
        let bound =
            |conv: Conv2d| conv.weight.value().abs().max().item().max(conv.bias.unwrap().value().abs().max().item());
        for (conv, fan_in) in [(Conv2d::new(16, 64, 3), 144.0_f64), (Conv2d::new(16, 64, 3).groups(4), 36.0)] {
            let (largest, want) = (bound(conv), 1.0 / fan_in.sqrt());
            assert!(largest <= want && largest > 0.98 * want, "{largest} is not just below {want}");
        }
    }
}
