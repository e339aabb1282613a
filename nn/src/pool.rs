//! Pooling as layers.

use wengert_tensor::{Pool, Sizes, Tensor};

use crate::Module;
use crate::layer::Layer;
use crate::scope::Scope;

macro_rules! pools {
    ($($(#[$doc:meta])* $Name:ident along $n:literal by $method:ident { $($own:tt)* };)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            #[module(skip)]
            window: Pool<$n>,
        }

        impl $Name {
            /// Windows of size `kernel`, one number or one for each axis, side by side.
            pub fn new(kernel: impl Into<Sizes<$n>>) -> $Name {
                $Name { scope: Scope::new(stringify!($Name)), window: Pool::new(kernel) }
            }

            /// How far one window is from the next: the size of the window unless set.
            pub fn stride(mut self, stride: impl Into<Sizes<$n>>) -> $Name {
                self.window = self.window.stride(stride);
                self
            }

            /// How many positions of padding there are at both ends of each axis: 0 unless set.
            pub fn padding(mut self, padding: impl Into<Sizes<$n>>) -> $Name {
                self.window = self.window.padding(padding);
                self
            }

            /// Whether a last window may reach over the end of the padded axis, if it begins before: not unless set.
            pub fn ceil_mode(mut self, ceil_mode: bool) -> $Name {
                self.window = self.window.ceil_mode(ceil_mode);
                self
            }

            $($own)*
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let _scope = self.scope.enter();
                self.scope.output(x.$method(self.window))
            }
        }
    )*};
}

pools! {
    /// [`Tensor::max_pool1d`] as a layer: the largest element of each window, over the last axis.
    ///
    /// ```
    /// use wengert_nn::{Layer, MaxPool1d};
    /// use wengert_tensor::tensor;
    /// assert_eq!(MaxPool1d::new(2).forward(&tensor![[[1.0, 3.0, 2.0, 4.0]]]).to_vec::<f32>(), [3.0, 4.0]);
    /// ```
    MaxPool1d along 1 by max_pool1d {
        /// How far one element of a window is from the next: 1 unless set.
        pub fn dilation(mut self, dilation: impl Into<Sizes<1>>) -> MaxPool1d {
            self.window = self.window.dilation(dilation);
            self
        }
    };
    /// [`Tensor::max_pool2d`] as a layer: the largest element of each window.
    ///
    /// ```
    /// use wengert_nn::{Layer, MaxPool2d};
    /// use wengert_tensor::Tensor;
    /// let y = MaxPool2d::new(3).stride(2).padding(1).ceil_mode(false).forward(&Tensor::zeros([1, 4, 8, 8]));
    /// assert_eq!(y.shape().to_string(), "[1, 4, 4, 4]");
    /// ```
    MaxPool2d along 2 by max_pool2d {
        /// How far one element of a window is from the next: 1 unless set.
        pub fn dilation(mut self, dilation: impl Into<Sizes<2>>) -> MaxPool2d {
            self.window = self.window.dilation(dilation);
            self
        }
    };
    /// [`Tensor::avg_pool1d`] as a layer: the mean of each window, over the last axis.
    ///
    /// ```
    /// use wengert_nn::{AvgPool1d, Layer};
    /// use wengert_tensor::tensor;
    /// assert_eq!(AvgPool1d::new(2).forward(&tensor![[[1.0, 3.0, 2.0, 4.0]]]).to_vec::<f32>(), [2.0, 3.0]);
    /// ```
    AvgPool1d along 1 by avg_pool1d {
        /// Whether padding counts as zeros, as it does unless set, or not at all.
        pub fn count_include_pad(mut self, count: bool) -> AvgPool1d {
            self.window = self.window.count_include_pad(count);
            self
        }
    };
    /// [`Tensor::avg_pool2d`] as a layer: the mean of each window.
    ///
    /// ```
    /// use wengert_nn::{AvgPool2d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AvgPool2d::new(2).forward(&Tensor::ones([1, 4, 8, 8])).shape().to_string(), "[1, 4, 4, 4]");
    /// ```
    AvgPool2d along 2 by avg_pool2d {
        /// Whether padding counts as zeros, as it does unless set, or not at all.
        pub fn count_include_pad(mut self, count: bool) -> AvgPool2d {
            self.window = self.window.count_include_pad(count);
            self
        }
    };
}

macro_rules! adaptive_pools {
    ($($(#[$doc:meta])* $Name:ident along $n:literal by $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            #[module(skip)]
            output: Sizes<$n>,
        }

        impl $Name {
            /// A layer whose results have this size, one number or one for each axis, whatever the input's is.
            pub fn new(output: impl Into<Sizes<$n>>) -> $Name {
                $Name { scope: Scope::new(stringify!($Name)), output: output.into() }
            }
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let _scope = self.scope.enter();
                self.scope.output(x.$method(self.output))
            }
        }
    )*};
}

adaptive_pools! {
    /// [`Tensor::adaptive_avg_pool1d`] as a layer: the means of windows that cover the last axis evenly.
    ///
    /// ```
    /// use wengert_nn::{AdaptiveAvgPool1d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AdaptiveAvgPool1d::new(3).forward(&Tensor::ones([1, 4, 8])).shape().to_string(), "[1, 4, 3]");
    /// ```
    AdaptiveAvgPool1d along 1 by adaptive_avg_pool1d;
    /// [`Tensor::adaptive_avg_pool2d`] as a layer: the means of windows that cover the last two axes evenly. Of size 1 it
    /// is global pooling.
    ///
    /// ```
    /// use wengert_nn::{AdaptiveAvgPool2d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AdaptiveAvgPool2d::new(1).forward(&Tensor::ones([1, 4, 8, 6])).shape().to_string(), "[1, 4, 1, 1]");
    /// ```
    AdaptiveAvgPool2d along 2 by adaptive_avg_pool2d;
    /// [`Tensor::adaptive_max_pool1d`] as a layer: the largest elements of windows that cover the last axis evenly.
    ///
    /// ```
    /// use wengert_nn::{AdaptiveMaxPool1d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AdaptiveMaxPool1d::new(3).forward(&Tensor::ones([1, 4, 8])).shape().to_string(), "[1, 4, 3]");
    /// ```
    AdaptiveMaxPool1d along 1 by adaptive_max_pool1d;
    /// [`Tensor::adaptive_max_pool2d`] as a layer: the largest elements of windows that cover the last two axes evenly.
    ///
    /// ```
    /// use wengert_nn::{AdaptiveMaxPool2d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AdaptiveMaxPool2d::new([2, 3]).forward(&Tensor::ones([1, 4, 8, 6])).shape().to_string(), "[1, 4, 2, 3]");
    /// ```
    AdaptiveMaxPool2d along 2 by adaptive_max_pool2d;
}
