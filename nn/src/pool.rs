//! Pooling as layers.

use wengert_tensor::{Pool2d, Sizes, Tensor};

use crate::Module;
use crate::layer::Layer;
use crate::scope::Scope;

macro_rules! pools {
    ($($(#[$doc:meta])* $Name:ident $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            #[module(skip)]
            window: Pool2d,
        }

        impl $Name {
            /// Windows of size `kernel`, one number or `[height, width]`, side by side.
            pub fn new(kernel: impl Into<Sizes<2>>) -> $Name {
                $Name { scope: Scope::new(stringify!($Name)), window: Pool2d::new(kernel) }
            }

            /// How far one window is from the next: the size of the window unless set.
            pub fn stride(mut self, stride: impl Into<Sizes<2>>) -> $Name {
                self.window = self.window.stride(stride);
                self
            }

            /// How much the image is padded at each edge: 0 unless set.
            pub fn padding(mut self, padding: impl Into<Sizes<2>>) -> $Name {
                self.window = self.window.padding(padding);
                self
            }
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
    /// [`Tensor::max_pool2d`] as a layer: the largest element of each window.
    ///
    /// ```
    /// use wengert_nn::{Layer, MaxPool2d};
    /// use wengert_tensor::Tensor;
    /// let y = MaxPool2d::new(3).stride(2).padding(1).forward(&Tensor::zeros([1, 4, 8, 8]));
    /// assert_eq!(y.shape().to_string(), "[1, 4, 4, 4]");
    /// ```
    MaxPool2d max_pool2d;
    /// [`Tensor::avg_pool2d`] as a layer: the mean of each window. Padding counts as zeros.
    ///
    /// ```
    /// use wengert_nn::{AvgPool2d, Layer};
    /// use wengert_tensor::Tensor;
    /// assert_eq!(AvgPool2d::new(2).forward(&Tensor::ones([1, 4, 8, 8])).shape().to_string(), "[1, 4, 4, 4]");
    /// ```
    AvgPool2d avg_pool2d;
}
