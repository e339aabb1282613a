//! Functional transforms: functions in, functions out.
//!
//! Each call of a transform is a level of its own, with variables of its own, so nested transforms never confuse whose
//! derivative is taken. An argument that is tracked already stays connected to the levels outside: it is watched, not
//! cut.

use std::cell::Cell;
use std::panic::Location;

use wengert_tensor::tape::{Leaf, with_grad};
use wengert_tensor::{Error, Result, Shape, Tensor, is_grad_enabled};

use crate::backward::{Differentiate, seed};
use crate::engine::{Plan, replay};

/// What a function to be differentiated may return: a tensor, or several.
///
/// ```
/// use wengert_autograd::IntoTensors;
/// use wengert_tensor::tensor;
/// assert_eq!((tensor![1.0], tensor![2.0, 3.0]).into_tensors().len(), 2);
/// ```
pub trait IntoTensors {
    /// The tensors, in order.
    fn into_tensors(self) -> Vec<Tensor>;
}

impl IntoTensors for Tensor {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl IntoTensors for Vec<Tensor> {
    fn into_tensors(self) -> Vec<Tensor> {
        self
    }
}

impl<const N: usize> IntoTensors for [Tensor; N] {
    fn into_tensors(self) -> Vec<Tensor> {
        self.into()
    }
}

impl IntoTensors for (Tensor, Tensor) {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
}

impl IntoTensors for (Tensor, Tensor, Tensor) {
    fn into_tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1, self.2]
    }
}

thread_local! {
    /// How many transforms and recording tapes enclose the code that runs.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f` inside one more level of differentiation on this thread.
pub(crate) fn in_level<R>(f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.with(|d| d.set(d.get() - 1));
        }
    }
    DEPTH.with(|d| d.set(d.get() + 1));
    let _leave = Leave;
    f()
}

/// Whether code on this thread runs inside a transform or a recording tape, which may differentiate what it gives.
pub(crate) fn inside_level() -> bool {
    DEPTH.with(Cell::get) > 0
}

/// A function that ran once on variables of its own.
struct Level {
    variables: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// Whether someone outside may differentiate what this level gives.
    recorded: bool,
    /// The line that made the transform: the one that called the function it returned is not known.
    at: &'static Location<'static>,
}

impl Level {
    fn run<O: IntoTensors>(f: impl FnOnce(&[Tensor]) -> O, inputs: &[Tensor], at: &'static Location<'static>) -> Level {
        let recorded = is_grad_enabled() && (inside_level() || inputs.iter().any(Tensor::is_tracked));
        with_grad(true, || {
            let variable = |x: &Tensor| match recorded && x.is_tracked() {
                true => x.watch(),
                false => x.with_leaf(Leaf::new(at)),
            };
            let variables: Vec<Tensor> = inputs.iter().map(variable).collect();
            let outputs = in_level(|| f(&variables)).into_tensors();
            Level { variables, outputs, recorded, at }
        })
    }

    /// The outputs, as the levels outside see them.
    fn values(&self) -> Vec<Tensor> {
        match self.recorded {
            true => self.outputs.clone(),
            false => self.outputs.iter().map(|y| y.detach()).collect(),
        }
    }

    /// The gradients of the variables. What the outputs do not depend on has gradient zero.
    fn pull(&self, cotangents: Vec<Option<Tensor>>, retain: bool) -> Result<Vec<Tensor>> {
        if cotangents.len() != self.outputs.len() {
            return Err(Error::new(format!("{} cotangents for {} outputs", cotangents.len(), self.outputs.len()))
                .help("give one cotangent for each output, of its shape and precision"));
        }
        let create_graph = self.recorded || (is_grad_enabled() && cotangents.iter().flatten().any(Tensor::is_tracked));
        let mut roots = Vec::new();
        for (y, cotangent) in self.outputs.iter().zip(cotangents) {
            roots.push((y.edge().clone(), seed(y, cotangent)?));
        }
        let targets = self.variables.iter().filter_map(|v| v.edge().variable()).collect();
        let plan = Plan { op: "grad", at: self.at, retain, create_graph, targets: Some(targets), on_ready: None };
        let gradients = replay(roots, plan)?;
        Ok(self.variables.iter().map(|v| gradients.get(v).cloned().unwrap_or_else(|| v.zeros_like())).collect())
    }
}

/// The value, or a panic that names the line where the transform was made.
fn value_of<T>(result: Result<T>, transform: &'static str, at: &'static Location<'static>) -> T {
    result.unwrap_or_else(|e| panic!("{}", e.in_op(transform, at)))
}

/// The derivative of a function of one tensor that returns one element.
///
/// The function that is returned computes the gradient with respect to its argument, with the argument's shape. Where
/// `f` does not depend on its argument, the gradient is zero; what `f` detaches or computes under `no_grad` counts as
/// constant.
///
/// Transforms nest, and any tensors that `f` captures may be tracked. The gradient can itself be differentiated if the
/// argument is tracked, or the call is made inside another transform or a recording
/// [`GradientTape`](crate::GradientTape); otherwise nothing is recorded.
///
/// # Panics
/// The returned function panics if `f` returns more than one element.
///
/// ```
/// use wengert_autograd::grad;
/// use wengert_tensor::{Tensor, scalar};
/// let slope = grad(|t: &Tensor| t.sin());
/// assert!((slope(&scalar(0.5)).item() - 0.5f64.cos()).abs() < 1e-6);
/// let curvature = grad(grad(|t: &Tensor| t.sin()));
/// assert!((curvature(&scalar(0.5)).item() + 0.5f64.sin()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn grad<F: Fn(&Tensor) -> Tensor>(f: F) -> impl Fn(&Tensor) -> Tensor {
    let at = Location::caller();
    move |x| value_of(differentiate(|v| f(&v[0]), std::slice::from_ref(x), at), "grad", at).1.swap_remove(0)
}

/// [`grad`] of a function of several tensors: one gradient for each.
///
/// # Panics
/// The returned function panics if `f` returns more than one element.
///
/// ```
/// use wengert_autograd::grad_n;
/// use wengert_tensor::{Tensor, scalar};
/// let gradients = grad_n(|v: &[Tensor]| &v[0] * &v[1])(&[scalar(2.0), scalar(5.0)]);
/// assert_eq!((gradients[0].item(), gradients[1].item()), (5.0, 2.0));
/// ```
#[track_caller]
pub fn grad_n<F: Fn(&[Tensor]) -> Tensor>(f: F) -> impl Fn(&[Tensor]) -> Vec<Tensor> {
    let at = Location::caller();
    move |inputs| value_of(differentiate(&f, inputs, at), "grad_n", at).1
}

/// A function's value and its derivative, see [`grad`].
///
/// # Panics
/// The returned function panics if `f` returns more than one element.
///
/// ```
/// use wengert_autograd::value_and_grad;
/// use wengert_tensor::{Tensor, tensor};
/// let x = tensor![[1.0, 2.0]];
/// let w = tensor![[3.0], [4.0]];
/// let (value, gradient) = value_and_grad(|w: &Tensor| x.matmul(w).square().mean())(&w);
/// assert_eq!(value.item(), 121.0);
/// assert_eq!(gradient.to_vec::<f32>(), [22.0, 44.0]);
/// ```
#[track_caller]
pub fn value_and_grad<F: Fn(&Tensor) -> Tensor>(f: F) -> impl Fn(&Tensor) -> (Tensor, Tensor) {
    let at = Location::caller();
    move |x| {
        let (value, mut gradients) =
            value_of(differentiate(|v| f(&v[0]), std::slice::from_ref(x), at), "value_and_grad", at);
        (value, gradients.swap_remove(0))
    }
}

/// [`value_and_grad`] of a function of several tensors.
///
/// # Panics
/// The returned function panics if `f` returns more than one element.
///
/// ```
/// use wengert_autograd::value_and_grad_n;
/// use wengert_tensor::scalar;
/// let (value, gradients) = value_and_grad_n(|v| &v[0] * &v[1])(&[scalar(2.0), scalar(5.0)]);
/// assert_eq!((value.item(), gradients[0].item(), gradients[1].item()), (10.0, 5.0, 2.0));
/// ```
#[track_caller]
pub fn value_and_grad_n<F: Fn(&[Tensor]) -> Tensor>(f: F) -> impl Fn(&[Tensor]) -> (Tensor, Vec<Tensor>) {
    let at = Location::caller();
    move |inputs| value_of(differentiate(&f, inputs, at), "value_and_grad_n", at)
}

fn differentiate(
    f: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[Tensor],
    at: &'static Location<'static>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let level = Level::run(f, inputs, at);
    let gradients = level.pull(vec![None], false)?;
    Ok((level.values().swap_remove(0), gradients))
}

/// The outputs of a function, and its pullback: the function from gradients of the outputs to gradients of the inputs
/// (a vector times the Jacobian, from the left). The pullback may be called any number of times.
///
/// Connections to the levels outside are as for [`grad`].
///
/// # Panics
/// The pullback panics if its cotangents do not match the outputs in number, shape or precision.
///
/// ```
/// use wengert_autograd::vjp;
/// use wengert_tensor::{Tensor, tensor};
/// let (outputs, pullback) = vjp(|v: &[Tensor]| v[0].exp(), &[tensor![0.0, 1.0]]);
/// let gradients = pullback(&[tensor![1.0, 0.0]]);
/// assert_eq!(outputs[0].shape().to_string(), "[2]");
/// assert_eq!(gradients[0].to_vec::<f32>(), [1.0, 0.0]);
/// ```
#[track_caller]
pub fn vjp<O: IntoTensors, F: FnOnce(&[Tensor]) -> O>(
    f: F,
    inputs: &[Tensor],
) -> (Vec<Tensor>, impl Fn(&[Tensor]) -> Vec<Tensor> + use<O, F>) {
    let at = Location::caller();
    let level = Level::run(f, inputs, at);
    let values = level.values();
    let pullback = move |cotangents: &[Tensor]| {
        value_of(level.pull(cotangents.iter().cloned().map(Some).collect(), true), "vjp", at)
    };
    (values, pullback)
}

/// The Jacobian of a function: entry `[i.., j..]` is the derivative of output element `i` by input element `j`, so its
/// shape is the output's followed by the input's. Takes one replay for each output element.
///
/// The Hessian is the Jacobian of the gradient:
///
/// ```
/// use wengert_autograd::{grad, jacobian};
/// use wengert_tensor::{Tensor, tensor};
/// let x = tensor![1.0, 2.0];
/// assert_eq!(jacobian(|x: &Tensor| x.square())(&x).to_vec::<f32>(), [2.0, 0.0, 0.0, 4.0]);
/// let hessian = jacobian(grad(|x: &Tensor| (x * x * x).sum()))(&x);
/// assert_eq!(hessian.to_vec::<f32>(), [6.0, 0.0, 0.0, 12.0]);
/// ```
#[track_caller]
pub fn jacobian<F: Fn(&Tensor) -> Tensor>(f: F) -> impl Fn(&Tensor) -> Tensor {
    let at = Location::caller();
    move |x| {
        let level = Level::run(|v| f(&v[0]), std::slice::from_ref(x), at);
        let y = &level.outputs[0];
        let n = y.elements();
        let row = |i: usize| {
            let one = (0..n).map(|j| (i == j) as u8 as f64).collect();
            let cotangent = Tensor::from_vec::<f64>(one, y.shape()).to_dtype(y.dtype());
            Ok(level.pull(vec![Some(cotangent)], true)?.swap_remove(0))
        };
        let rows: Vec<Tensor> = value_of((0..n).map(row).collect(), "jacobian", at);
        let shape: Shape = y.shape().iter().chain(x.shape().iter()).copied().collect();
        match n {
            0 => Tensor::full_dtype(&shape, 0.0, x.dtype()),
            _ => Tensor::stack(&rows, 0).reshape(&shape),
        }
    }
}

/// The Hessian of a function of one element times a vector, without building the Hessian: the derivative of
/// `grad(f) . v`.
///
/// ```
/// use wengert_autograd::hvp;
/// use wengert_tensor::{Tensor, tensor};
/// let f = |x: &Tensor| (x * x * x).sum();
/// assert_eq!(hvp(f)(&tensor![1.0, 2.0], &tensor![1.0, 10.0]).to_vec::<f32>(), [6.0, 120.0]);
/// ```
#[track_caller]
pub fn hvp<F: Fn(&Tensor) -> Tensor>(f: F) -> impl Fn(&Tensor, &Tensor) -> Tensor {
    let gradient = grad(f);
    move |x, v| grad(|x: &Tensor| (gradient(x) * v).sum())(x)
}
