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
    /// [`Tensor::relu6`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, ReLU6};
    /// use wengert_tensor::tensor;
    /// assert_eq!(ReLU6::new().forward(&tensor![-1.0, 2.0, 8.0]).to_vec::<f32>(), [0.0, 2.0, 6.0]);
    /// ```
    ReLU6() relu6;
    /// [`Tensor::leaky_relu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, LeakyReLU};
    /// use wengert_tensor::tensor;
    /// assert_eq!(LeakyReLU::new(0.5).forward(&tensor![-1.0, 2.0]).to_vec::<f32>(), [-0.5, 2.0]);
    /// ```
    LeakyReLU(slope: f64) leaky_relu;
    /// [`Tensor::elu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{ELU, Layer};
    /// use wengert_tensor::tensor;
    /// assert_eq!(ELU::new(0.5).forward(&tensor![-1000.0, 2.0]).to_vec::<f32>(), [-0.5, 2.0]);
    /// ```
    ELU(alpha: f64) elu;
    /// [`Tensor::selu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, SELU};
    /// use wengert_tensor::tensor;
    /// assert_eq!(SELU::new().forward(&tensor![0.0]).to_vec::<f32>(), [0.0]);
    /// ```
    SELU() selu;
    /// [`Tensor::silu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, SiLU};
    /// use wengert_tensor::tensor;
    /// assert_eq!(SiLU::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.0, 100.0]);
    /// ```
    SiLU() silu;
    /// [`Tensor::mish`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Mish};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Mish::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.0, 100.0]);
    /// ```
    Mish() mish;
    /// [`Tensor::softplus`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Softplus};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Softplus::new(1.0, 20.0).forward(&tensor![-1000.0, 1000.0]).to_vec::<f32>(), [0.0, 1000.0]);
    /// ```
    Softplus(beta: f64, threshold: f64) softplus;
    /// [`Tensor::softsign`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, Softsign};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Softsign::new().forward(&tensor![-1.0, 1.0]).to_vec::<f32>(), [-0.5, 0.5]);
    /// ```
    Softsign() softsign;
    /// [`Tensor::hardtanh`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Hardtanh, Layer};
    /// use wengert_tensor::tensor;
    /// assert_eq!(Hardtanh::new(-1.0, 0.5).forward(&tensor![-3.0, 0.25, 3.0]).to_vec::<f32>(), [-1.0, 0.25, 0.5]);
    /// ```
    Hardtanh(low: f64, high: f64) hardtanh;
    /// [`Tensor::log_sigmoid`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{Layer, LogSigmoid};
    /// use wengert_tensor::tensor;
    /// assert_eq!(LogSigmoid::new().forward(&tensor![1000.0, -1000.0]).to_vec::<f32>(), [0.0, -1000.0]);
    /// ```
    LogSigmoid() log_sigmoid;
    /// [`Tensor::glu`] as a layer.
    ///
    /// ```
    /// use wengert_nn::{GLU, Layer};
    /// use wengert_tensor::tensor;
    /// assert_eq!(GLU::new(-1).forward(&tensor![[3.0, 0.0]]).to_vec::<f32>(), [1.5]);
    /// ```
    GLU(axis: isize) glu;
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

/// [`Tensor::gelu`] as a layer, or [`Tensor::gelu_tanh`], which is close to it.
///
/// ```
/// use wengert_nn::{GELU, Layer};
/// use wengert_tensor::tensor;
/// assert_eq!(GELU::new().forward(&tensor![0.0, 100.0]).to_vec::<f32>(), [0.0, 100.0]);
/// let (exact, close) = (GELU::new().forward(&tensor![1.0]), GELU::new().tanh().forward(&tensor![1.0]));
/// assert!((exact - close).abs().item() < 1e-3);
/// ```
#[derive(Module)]
pub struct GELU {
    scope: Scope,
    tanh: bool,
}

impl GELU {
    /// The activation as a layer.
    #[allow(clippy::new_without_default)] // as the others
    pub fn new() -> GELU {
        GELU { scope: Scope::new("GELU"), tanh: false }
    }

    /// With the approximation by `tanh`.
    pub fn tanh(self) -> GELU {
        GELU { tanh: true, ..self }
    }
}

impl Layer for GELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        self.scope.output(if self.tanh { x.gelu_tanh() } else { x.gelu() })
    }
}
