//! Layers: modules that map one tensor to another, so that containers can hold them without knowing their type.

use std::sync::Arc;

use wengert_tensor::Tensor;

use crate::module::Module;
use crate::summary::Summary;

/// A module that maps one tensor to another.
///
/// Models whose forward pass takes something else are modules with a `forward` method of their own; this trait is for
/// what goes into a container such as [`Sequential`](crate::Sequential).
///
/// ```
/// # extern crate wengert_nn as wengert;
/// use wengert_nn::{Layer, Linear, Module, Sequential};
/// use wengert_tensor::Tensor;
///
/// #[derive(Module)]
/// struct Residual {
///     inner: Linear,
/// }
/// impl Layer for Residual {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         x + &self.inner.forward(x)
///     }
/// }
/// let net = Sequential::new().push(Residual { inner: Linear::new(4, 4) }).push(Linear::new(4, 2));
/// assert_eq!(net.forward(&Tensor::ones([3, 4])).shape().to_string(), "[3, 2]");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "not a `Layer`",
    note = "implement `Layer` for it: `fn forward(&self, x: &Tensor) -> Tensor`"
)]
pub trait Layer: Module {
    /// The output for the input `x`.
    ///
    /// # Panics
    /// If the layer cannot take a tensor of that shape or precision.
    fn forward(&self, x: &Tensor) -> Tensor;

    /// The layers inside with the shapes of their outputs and their parameters, as a table to print: from a forward
    /// pass over zeros of shape `input`, all axes of it, the batch among them.
    ///
    /// # Panics
    /// If the layer cannot take an input of that shape.
    #[track_caller]
    fn summary(&self, input: &[usize]) -> Summary {
        Summary::of_layer(self, input)
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
}

impl<L: Layer + ?Sized> Layer for Arc<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        (**self).forward(x)
    }
}

// Models cross threads, whatever they contain: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync + ?Sized>() {}
    send_sync::<dyn Layer>();
};
