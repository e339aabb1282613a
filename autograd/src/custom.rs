//! Differentiable functions of a user's own, from two closures.

use std::sync::Arc;

use wengert_tensor::dispatch::{CustomOp, Saves, apply_custom};
use wengert_tensor::tape::Vjp;
use wengert_tensor::{AnyTensor, Error, ErrorKind, Result, Tensor, or_panic};

use crate::functional::IntoTensors;

/// Calls a differentiable function of a user's own.
///
/// `forward` computes the result from the inputs; nothing in it is recorded. `backward` gets the gradient of the
/// result, the inputs and the result, and returns the gradient of each input, with its shape. Written in tensor
/// operations, it can itself be differentiated. The function appears in errors and on the printed tape as `name`.
///
/// All inputs and the result are kept for `backward`. A function that should keep less, or compute only the gradients
/// that are needed, implements [`CustomOp`](wengert_tensor::dispatch::CustomOp).
///
/// # Panics
/// Where the closures do. `backward` of a loss panics if the number, shapes or precisions of the gradients are not
/// those of the inputs.
///
/// A function with a gradient of its own, checked:
///
/// ```
/// use wengert_autograd::{custom, gradcheck, gradgradcheck};
/// use wengert_tensor::{DType, Tensor, tensor};
/// let cube = |x: &Tensor| custom("cube", &[x], |v| &v[0] * v[0].square(), |g, v, _| g * v[0].square() * 3.0);
/// let x = tensor![0.5, -2.0].to_dtype(DType::F64);
/// gradcheck(|v| cube(&v[0]), &[x.clone()]).unwrap();
/// gradgradcheck(|v| cube(&v[0]), &[x]).unwrap();
/// ```
///
/// A straight-through estimator: a step going forward, the identity coming back (Bengio, Leonard and Courville 2013).
///
/// ```
/// use wengert_autograd::{Differentiate, custom};
/// use wengert_tensor::tensor;
/// let x = tensor![0.3, -0.7].requires_grad();
/// let y = custom("sign_through", &[&x], |v| v[0].sign(), |g, _, _| g.clone());
/// assert_eq!(y.to_vec::<f32>(), [1.0, -1.0]);
/// assert_eq!((&y * 5.0).sum().backward().of(&x).to_vec::<f32>(), [5.0, 5.0]);
/// ```
///
/// Recomputing instead of keeping what lies between (gradient checkpointing): `backward` itself differentiates.
///
/// ```
/// use wengert_autograd::{Differentiate, custom, vjp};
/// use wengert_tensor::{Tensor, tensor};
/// let block = |v: &[Tensor]| v[0].exp().sin().exp();
/// let x = tensor![0.1, 0.2].requires_grad();
/// let y = custom("checkpoint", &[&x], block, move |g, v, _| vjp(block, v).1(&[g.clone()]));
/// let expected = block(&[x.clone()]).sum().backward();
/// assert_eq!(y.sum().backward().of(&x).to_vec::<f32>(), expected.of(&x).to_vec::<f32>());
/// ```
#[track_caller]
pub fn custom<F, B, G>(name: &'static str, inputs: &[&Tensor], forward: F, backward: B) -> Tensor
where
    F: Fn(&[Tensor]) -> Tensor + Send + Sync + 'static,
    B: Fn(&Tensor, &[Tensor], &Tensor) -> G + Send + Sync + 'static,
    G: IntoTensors,
{
    let op = Closures { name, forward, backward: move |g: &_, v: &_, y: &_| backward(g, v, y).into_tensors() };
    let inputs: Vec<&AnyTensor> = inputs.iter().map(|x| x.as_any()).collect();
    or_panic(apply_custom(Arc::new(op), &inputs))
}

struct Closures<F, B> {
    name: &'static str,
    forward: F,
    backward: B,
}

impl<F, B> CustomOp for Closures<F, B>
where
    F: Fn(&[Tensor]) -> Tensor + Send + Sync,
    B: Fn(&Tensor, &[Tensor], &Tensor) -> Vec<Tensor> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        let inputs: Vec<Tensor> = inputs.iter().map(AnyTensor::float).collect::<Result<_>>()?;
        Ok((self.forward)(&inputs))
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS.union(Saves::OUTPUT)
    }

    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
        let g = cx.g();
        let inputs: Vec<Tensor> = (0..cx.inputs()).map(|i| cx.input(i)).collect();
        let gradients = (self.backward)(&g, &inputs, &cx.output(0));
        let wrong = |what: String, help: &str| {
            let e = Error::new(format!("the backward function of `{}` returned {what}", self.name));
            Err(e.kind_of(ErrorKind::Gradient).help(help))
        };
        if gradients.len() != inputs.len() {
            let what = format!("{} gradients for {} inputs", gradients.len(), inputs.len());
            return wrong(what, "return one for each input; zeros where an input does not matter");
        }
        for (i, (gradient, x)) in gradients.into_iter().zip(&inputs).enumerate() {
            if gradient.shape() != x.shape() || gradient.dtype() != x.dtype() {
                let (shape, dtype) = (gradient.shape(), gradient.dtype());
                let what = format!("a gradient {shape} {dtype} for input {i}, which is {} {}", x.shape(), x.dtype());
                return wrong(
                    what,
                    "a gradient has the shape and precision of its input; sum_to(x.shape()) undoes broadcasting",
                );
            }
            cx.give(i, gradient);
        }
        Ok(())
    }
}
