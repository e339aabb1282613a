//! The convolutional layers.

use wengert_tensor::{ConvOptions, Sizes, Tensor};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::Param;
use crate::scope::Scope;

/// The weight and the bias, uniform between `-1/sqrt(fan_in)` and `1/sqrt(fan_in)`. The fan is that of PyTorch: all axes
/// of the weight but the first, also where the convolution is transposed.
#[track_caller]
fn parameters(weight: [usize; 2], kernel: &[usize], outputs: usize) -> (Param, Param) {
    let shape = [&weight[..], kernel].concat();
    let init = Init::bounded_by(shape[1..].iter().fold(1, |fan, &n| fan.saturating_mul(n)));
    (Param::from_init(init, shape), Param::from_init(init, [outputs]))
}

macro_rules! convolutions {
    ($(
        $(#[$doc:meta])*
        $Name:ident along $n:literal by $method:ident, weight [$first:tt, $second:tt] $shape:literal $({ $($more:tt)* })?;
    )*) => {$(
        $(#[$doc])*
        ///
        /// Weight and bias start uniform between `-1/sqrt(fan_in)` and `1/sqrt(fan_in)`, as in PyTorch, where `fan_in` is
        /// the product of the weight's axes but the first. A size or a setting is one number for all axes, or one for
        /// each.
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            #[doc = $shape]
            pub weight: Param,
            /// `[out_channels]`, or none.
            pub bias: Option<Param>,
            #[module(skip)]
            channels: [usize; 2],
            #[module(skip)]
            kernel: [usize; $n],
            #[module(skip)]
            options: ConvOptions<$n>,
        }

        impl $Name {
            /// A layer with a kernel of size `kernel`.
            #[track_caller]
            pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Sizes<$n>>) -> $Name {
                let (channels, kernel) = ([in_channels, out_channels], kernel.into().0);
                let (weight, bias) = parameters([channels[$first], channels[$second]], &kernel, out_channels);
                let (scope, options) = (Scope::new(stringify!($Name)), ConvOptions::new());
                $Name { scope, weight, bias: Some(bias), channels, kernel, options }
            }

            /// How far one window is from the next: 1 unless set.
            pub fn stride(mut self, stride: impl Into<Sizes<$n>>) -> $Name {
                self.options = self.options.stride(stride);
                self
            }

            /// How many positions of padding there are at both ends of each axis: 0 unless set.
            pub fn padding(mut self, padding: impl Into<Sizes<$n>>) -> $Name {
                self.options = self.options.padding(padding);
                self
            }

            /// How far one element of the kernel is from the next: 1 unless set.
            pub fn dilation(mut self, dilation: impl Into<Sizes<$n>>) -> $Name {
                self.options = self.options.dilation(dilation);
                self
            }

            /// How many parts the channels are split into, each convolved on its own: 1 unless set. The weight, which is
            /// smaller then, and the bias are drawn anew.
            ///
            /// # Panics
            /// If `groups` does not divide both numbers of channels.
            #[track_caller]
            pub fn groups(self, groups: usize) -> $Name {
                let [inputs, outputs] = self.channels;
                assert!(
                    groups > 0 && inputs % groups == 0 && outputs % groups == 0,
                    "{}::groups: {groups} groups do not divide {inputs} input and {outputs} output channels",
                    stringify!($Name)
                );
                let shape = [self.channels[$first], self.channels[$second] / groups];
                let (weight, bias) = parameters(shape, &self.kernel, outputs);
                $Name { options: self.options.groups(groups), weight, bias: self.bias.and(Some(bias)), ..self }
            }

            /// With a bias (as made), or without.
            pub fn bias(mut self, bias: bool) -> $Name {
                if !bias {
                    self.bias = None;
                }
                self
            }

            $($($more)*)?
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let _scope = self.scope.enter();
                let bias = self.bias.as_ref().map(Param::value);
                self.scope.output(x.$method(&self.weight.value(), bias.as_ref(), self.options))
            }
        }
    )*};
}

convolutions! {
    /// A convolution of sequences, see [`Tensor::conv1d`]: from `[n, in_channels, length]` to
    /// `[n, out_channels, length']`, where `length' = (length + 2 padding - dilation (kernel - 1) - 1) / stride + 1`,
    /// rounded down.
    ///
    /// ```
    /// use wengert_nn::{Conv1d, Layer};
    /// use wengert_tensor::Tensor;
    /// let conv = Conv1d::new(4, 6, 3).padding(1).dilation(1).groups(2);
    /// assert_eq!(conv.forward(&Tensor::zeros([8, 4, 50])).shape().to_string(), "[8, 6, 50]");
    /// ```
    Conv1d along 1 by conv1d, weight [1, 0] "`[out_channels, in_channels / groups, kernel]`.";
    /// A convolution of images, see [`Tensor::conv2d`]: from `[n, in_channels, h, w]` to `[n, out_channels, h', w']`,
    /// where `h' = (h + 2 padding - dilation (kernel - 1) - 1) / stride + 1`, rounded down.
    ///
    /// ```
    /// use wengert_nn::{Conv2d, Layer};
    /// use wengert_tensor::Tensor;
    /// let conv = Conv2d::new(1, 16, 3).padding(1).stride(2);
    /// assert_eq!(conv.forward(&Tensor::zeros([8, 1, 28, 28])).shape().to_string(), "[8, 16, 14, 14]");
    /// ```
    Conv2d along 2 by conv2d, weight [1, 0] "`[out_channels, in_channels / groups, kernel height, kernel width]`.";
    /// A convolution of volumes, see [`Tensor::conv3d`]: from `[n, in_channels, depth, h, w]` to
    /// `[n, out_channels, depth', h', w']`, sizes as for [`Conv2d`].
    ///
    /// ```
    /// use wengert_nn::{Conv3d, Layer};
    /// use wengert_tensor::Tensor;
    /// let conv = Conv3d::new(1, 2, [1, 3, 3]);
    /// assert_eq!(conv.forward(&Tensor::zeros([1, 1, 4, 8, 8])).shape().to_string(), "[1, 2, 4, 6, 6]");
    /// ```
    Conv3d along 3 by conv3d, weight [1, 0]
        "`[out_channels, in_channels / groups, kernel depth, kernel height, kernel width]`.";
    /// A transposed convolution of sequences, see [`Tensor::conv_transpose1d`]: from `[n, in_channels, length]` to
    /// `[n, out_channels, length']`, where
    /// `length' = (length - 1) stride - 2 padding + dilation (kernel - 1) + 1 + output_padding`.
    ///
    /// ```
    /// use wengert_nn::{ConvTranspose1d, Layer};
    /// use wengert_tensor::Tensor;
    /// let conv = ConvTranspose1d::new(4, 2, 4).stride(2).padding(1);
    /// assert_eq!(conv.forward(&Tensor::zeros([8, 4, 25])).shape().to_string(), "[8, 2, 50]");
    /// ```
    ConvTranspose1d along 1 by conv_transpose1d, weight [0, 1] "`[in_channels, out_channels / groups, kernel]`." {
        /// How many positions the result has beyond the fewest possible, at the end: 0 unless set, and below the stride.
        pub fn output_padding(mut self, padding: impl Into<Sizes<1>>) -> ConvTranspose1d {
            self.options = self.options.output_padding(padding);
            self
        }
    };
    /// A transposed convolution of images, see [`Tensor::conv_transpose2d`]: from `[n, in_channels, h, w]` to
    /// `[n, out_channels, h', w']`, where
    /// `h' = (h - 1) stride - 2 padding + dilation (kernel - 1) + 1 + output_padding`.
    ///
    /// ```
    /// use wengert_nn::{ConvTranspose2d, Layer};
    /// use wengert_tensor::Tensor;
    /// let conv = ConvTranspose2d::new(16, 1, 3).stride(2).padding(1).output_padding(1);
    /// assert_eq!(conv.forward(&Tensor::zeros([8, 16, 14, 14])).shape().to_string(), "[8, 1, 28, 28]");
    /// ```
    ConvTranspose2d along 2 by conv_transpose2d, weight [0, 1]
        "`[in_channels, out_channels / groups, kernel height, kernel width]`." {
        /// How many positions the result has beyond the fewest possible, at the end of each axis: 0 unless set, and
        /// below the stride.
        pub fn output_padding(mut self, padding: impl Into<Sizes<2>>) -> ConvTranspose2d {
            self.options = self.options.output_padding(padding);
            self
        }
    };
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
        let turned = ConvTranspose2d::new(4, 6, 3).groups(2);
        assert_eq!(turned.weight.shape().to_string(), "[4, 3, 3, 3]");
        assert_eq!(turned.bias.expect("made with one").shape().to_string(), "[6]");
    }
}
