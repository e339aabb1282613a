//! Activations as layers, for containers; elsewhere the methods of [`Tensor`] do.

use wengert_tensor::Tensor;

use crate::Module;
use crate::layer::Layer;
use crate::scope::Scope;

macro_rules! activations {
    ($($(#[$doc:meta])* $Name:ident $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
        }

        impl $Name {
            /// The activation as a layer.
            pub fn new() -> $Name {
                $Name { scope: Scope::new(stringify!($Name)) }
            }
        }

        impl Default for $Name {
            fn default() -> $Name {
                $Name::new()
            }
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
                self.scope.output(x.$method())
            }
        }
    )*};
}

activations! {
    /// [`Tensor::relu`] as a layer.
    ReLU relu;
    /// [`Tensor::tanh`] as a layer.
    Tanh tanh;
    /// [`Tensor::sigmoid`] as a layer.
    Sigmoid sigmoid;
    /// [`Tensor::gelu`] as a layer.
    Gelu gelu;
}
