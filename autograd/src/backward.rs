//! `backward`, and what can be asked of it.

use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use wengert_tensor::dispatch::{CustomOp, Saves, apply_custom};
use wengert_tensor::tape::{Edge, Leaf, LeafId, Vjp};
use wengert_tensor::{AnyTensor, Error, ErrorKind, Result, Tensor, or_panic};

use crate::engine::{Plan, not_connected, replay};
use crate::gradients::{Gradients, Variable};
use crate::tape::Tape;

/// What is called with each leaf whose gradient is complete.
type ReadyHook<'a> = Box<dyn FnMut(&Arc<Leaf>, &Tensor) + 'a>;

/// How a backward pass goes.
///
/// ```
/// use wengert_autograd::{Backward, Differentiate};
/// use wengert_tensor::tensor;
/// let x = tensor![2.0].requires_grad();
/// let y = (&x * &x * &x).sum();
/// let first = y.backward_with(Backward::new().create_graph());
/// let second = first.of(&x).sum().backward();
/// assert_eq!(second.of(&x).to_vec::<f32>(), [12.0]);
/// ```
#[derive(Default)]
pub struct Backward<'a> {
    retain: bool,
    create_graph: bool,
    cotangent: Option<Tensor>,
    targets: Option<Vec<Edge>>,
    on_ready: Option<ReadyHook<'a>>,
}

impl<'a> Backward<'a> {
    /// A backward pass from a loss of one element to all variables, which frees the tape.
    pub fn new() -> Backward<'a> {
        Backward::default()
    }

    /// Keeps what the tape saved, so that backward can run again.
    ///
    /// ```
    /// use wengert_autograd::{Backward, Differentiate};
    /// use wengert_tensor::tensor;
    /// let w = tensor![2.0].requires_grad();
    /// let loss = w.square().sum();
    /// let first = loss.backward_with(Backward::new().retain_graph());
    /// assert_eq!(first.of(&w).to_vec::<f32>(), loss.backward().of(&w).to_vec::<f32>());
    /// ```
    pub fn retain_graph(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Records the pass itself, so that the gradients can be differentiated. The tape is kept.
    pub fn create_graph(mut self) -> Self {
        self.create_graph = true;
        self
    }

    /// Starts from this gradient of the result, of its shape, instead of from 1.
    ///
    /// ```
    /// use wengert_autograd::{Backward, Differentiate};
    /// use wengert_tensor::tensor;
    /// let x = tensor![1.0, 2.0].requires_grad();
    /// let grads = x.square().backward_with(Backward::new().cotangent(&tensor![1.0, 10.0]));
    /// assert_eq!(grads.of(&x).to_vec::<f32>(), [2.0, 40.0]);
    /// ```
    pub fn cotangent(mut self, cotangent: &Tensor) -> Self {
        self.cotangent = Some(cotangent.clone());
        self
    }

    /// Computes the gradients of these variables only, and nothing that only others need.
    ///
    /// ```
    /// use wengert_autograd::{Backward, Differentiate};
    /// use wengert_tensor::tensor;
    /// let (a, b) = (tensor![2.0].requires_grad(), tensor![5.0].requires_grad());
    /// let grads = (&a * &b).sum().backward_with(Backward::new().wrt(&[&a]));
    /// assert!(grads.get(&a).is_some() && grads.get(&b).is_none());
    /// ```
    pub fn wrt(mut self, variables: &[&dyn Variable]) -> Self {
        self.targets = Some(variables.iter().map(|v| v.edge()).collect());
        self
    }

    /// Calls `f` with each leaf as soon as its gradient is complete, while the pass goes on.
    ///
    /// ```
    /// use wengert_autograd::{Backward, Differentiate};
    /// use wengert_tensor::tensor;
    /// let w = tensor![2.0].requires_grad();
    /// let mut seen = Vec::new();
    /// w.square().sum().backward_with(Backward::new().on_ready(|_, gradient| seen.push(gradient.sum().item())));
    /// assert_eq!(seen, [4.0]);
    /// ```
    pub fn on_ready(mut self, f: impl FnMut(&Arc<Leaf>, &Tensor) + 'a) -> Self {
        self.on_ready = Some(Box::new(f));
        self
    }
}

/// Differentiation of float tensors: the methods of [`Tensor`] that replay its tape.
///
/// Only float tensors have them: `backward()` on labels or a mask does not compile.
#[diagnostic::on_unimplemented(
    message = "gradients exist for float tensors only, this is `{Self}`",
    note = "compute a loss from floats; integers and masks carry no gradients"
)]
pub trait Differentiate {
    /// The gradients of this loss with respect to every variable it was computed from. Frees what the tape saved.
    ///
    /// # Panics
    /// If the tensor has more than one element, is connected to no variable, or the tape was freed before.
    fn backward(&self) -> Gradients;

    /// Fallible form of [`backward`](Self::backward).
    ///
    /// # Errors
    /// Where the other form panics.
    fn try_backward(&self) -> Result<Gradients>;

    /// [`backward`](Self::backward) with options.
    ///
    /// # Panics
    /// As [`backward`](Self::backward), and if the cotangent has another shape or precision.
    fn backward_with(&self, options: Backward<'_>) -> Gradients;

    /// Fallible form of [`backward_with`](Self::backward_with).
    ///
    /// # Errors
    /// Where the other form panics.
    fn try_backward_with(&self, options: Backward<'_>) -> Result<Gradients>;

    /// The same tensor, as one whose gradient is kept although it is an intermediate result: compute the loss from
    /// what this returns, and ask [`Gradients::of`] for it. An untracked tensor becomes a variable.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let w = tensor![3.0].requires_grad();
    /// let h = (&w * 2.0).watch();
    /// let grads = (&h * &h).sum().backward();
    /// assert_eq!(grads.of(&h).to_vec::<f32>(), [12.0]);
    /// assert_eq!(grads.of(&w).to_vec::<f32>(), [24.0]);
    /// ```
    fn watch(&self) -> Tensor;

    /// The same tensor, with `f` called on the gradient that flows back through it; what `f` returns flows on.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let w = tensor![3.0].requires_grad();
    /// let clipped = w.hook(|g| g.clamp(-1.0, 1.0));
    /// let grads = (&clipped * &clipped).sum().backward();
    /// assert_eq!(grads.of(&w).to_vec::<f32>(), [1.0]);
    /// ```
    fn hook(&self, f: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Tensor;

    /// What was recorded on the way to this tensor, to look at: print it, or draw it.
    fn tape(&self) -> Tape;
}

impl Differentiate for Tensor {
    #[track_caller]
    fn backward(&self) -> Gradients {
        or_panic(run(self, Backward::new(), Location::caller()))
    }

    #[track_caller]
    fn try_backward(&self) -> Result<Gradients> {
        run(self, Backward::new(), Location::caller())
    }

    #[track_caller]
    fn backward_with(&self, options: Backward<'_>) -> Gradients {
        or_panic(run(self, options, Location::caller()))
    }

    #[track_caller]
    fn try_backward_with(&self, options: Backward<'_>) -> Result<Gradients> {
        run(self, options, Location::caller())
    }

    #[track_caller]
    fn watch(&self) -> Tensor {
        if !self.is_tracked() {
            return self.requires_grad();
        }
        let op = PassThrough { name: "watch", tap: Some(LeafId::next()), hook: None };
        or_panic(apply_custom(Arc::new(op), &[self.as_any()]))
    }

    #[track_caller]
    fn hook(&self, f: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Tensor {
        let op = PassThrough { name: "hook", tap: None, hook: Some(Box::new(f)) };
        or_panic(apply_custom(Arc::new(op), &[self.as_any()]))
    }

    fn tape(&self) -> Tape {
        Tape::of(self.edge(), self.shape(), self.dtype())
    }
}

/// What a hook does with a gradient.
type Hook = Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>;

/// An operation that changes nothing going forward, and watches or changes the gradient coming back.
struct PassThrough {
    name: &'static str,
    tap: Option<LeafId>,
    hook: Option<Hook>,
}

impl CustomOp for PassThrough {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        inputs[0].float()
    }

    fn saves(&self) -> Saves {
        Saves::NONE
    }

    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
        let g = cx.g();
        let g = match &self.hook {
            Some(hook) => {
                let changed = hook(&g);
                if changed.shape() != g.shape() || changed.dtype() != g.dtype() {
                    let e = format!(
                        "a hook got a gradient {} {} and returned {} {}",
                        g.shape(),
                        g.dtype(),
                        changed.shape(),
                        changed.dtype()
                    );
                    return Err(Error::new(e)
                        .kind_of(ErrorKind::Gradient)
                        .help("return a gradient of the same shape and precision"));
                }
                changed
            }
            None => g,
        };
        cx.give(0, g);
        Ok(())
    }

    fn tap(&self) -> Option<LeafId> {
        self.tap
    }
}

fn run(y: &Tensor, mut options: Backward<'_>, at: &'static Location<'static>) -> Result<Gradients> {
    let gradients = || {
        if !y.is_tracked() {
            return Err(not_connected(y.edge()));
        }
        let plan = Plan {
            op: "backward",
            at,
            retain: options.retain,
            create_graph: options.create_graph,
            targets: options.targets.as_deref().map(identities).transpose()?,
            on_ready: options.on_ready.as_mut().map(|f| f.as_mut() as _),
        };
        replay(vec![(y.edge().clone(), seed(y, options.cotangent)?)], plan)
    };
    gradients().map_err(|e| e.in_op("backward", at))
}

/// The identities of variables.
pub(crate) fn identities(edges: &[Edge]) -> Result<FxHashSet<LeafId>> {
    edges.iter().map(|edge| edge.variable().ok_or_else(|| Gradients::default().why_missing(edge))).collect()
}

/// The gradient that a replay from `y` starts with: the one given, or 1.
pub(crate) fn seed(y: &Tensor, cotangent: Option<Tensor>) -> Result<Tensor> {
    match cotangent {
        Some(c) if c.shape() == y.shape() && c.dtype() == y.dtype() => Ok(c),
        Some(c) => Err(Error::new(format!(
            "the cotangent is {} {}, and the tensor {} {}",
            c.shape(),
            c.dtype(),
            y.shape(),
            y.dtype()
        ))
        .kind_of(ErrorKind::Gradient)
        .help("a cotangent has the shape and precision of what it is the gradient of")),
        None if y.elements() == 1 => Ok(Tensor::full_dtype(y.shape(), 1.0, y.dtype())),
        None => Err(Error::new(format!("needs a loss of one element, this tensor has shape {}", y.shape()))
            .kind_of(ErrorKind::Gradient)
            .help("reduce it with sum() or mean(), or give the gradient to start from: Backward::new().cotangent(&g)")),
    }
}
