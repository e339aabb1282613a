//! Activations as layers, for containers; elsewhere the methods of [`Tensor`] do.

use wengert_tensor::Tensor;

use crate::Module;
use crate::layer::Layer;
use crate::scope::Scope;

/// Defines the layers: what they are called, their numbers, and the method.
macro_rules! activations {
    ($($(#[$doc:meta])* $Name:ident($($number:ident: $type:ty),*) $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            $($number: $type,)*
        }

        impl $Name {
            /// The activation as a layer; its numbers are those of the method.
            #[allow(clippy::new_without_default)] // some take numbers
            pub fn new($($number: $type),*) -> $Name {
                $Name { scope: Scope::new(stringify!($Name)), $($number),* }
            }
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let _scope = self.scope.enter();
                self.scope.output(x.$method($(self.$number),*))
            }
        }
    )*};
}

activations! {
    /// [`Tensor::relu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, ReLU};
    /// use wengert_tensor::tensor;
    /// assert_eq!(ReLU::new().forward(&tensor![-1.0, 2.0]).to_vec::<f32>(), [0.0, 2.0]);
    /// ```
    ReLU() relu;
    /// [`Tensor::tanh`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Tanh};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Tanh::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.0, 1.0]);
    /// ```
    Tanh() tanh;
    /// [`Tensor::sigmoid`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Sigmoid};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Sigmoid::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.5, 1.0]);
    /// ```
    Sigmoid() sigmoid;
    /// [`Tensor::gelu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{GELU, Layer};
    /// use wengert_tensor::tensor;
    /// assert_eq!(GELU::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.0, 100.0]);
    /// ```
    GELU() gelu;
    /// [`Tensor::softmax`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Softmax};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Softmax::new(-1).forward(&tensor![[1.0, 1.0]]).to_vec::<f32>(), [0.5, 0.5]);
    /// ```
    Softmax(axis: isize) softmax;
    /// [`Tensor::log_softmax`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, LogSoftmax};
    /// use wengert_tensor::tensor;
    /// assert_eq!(LogSoftmax::new(0).forward(&tensor![0.0, 1000.0]).to_vec::<f32>(), [-1000.0, 0.0]);
    /// ```
    LogSoftmax(axis: isize) log_softmax;
}
