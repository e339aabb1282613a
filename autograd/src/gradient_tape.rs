//! TensorFlow's dialect: a tape as a value that watches, records and is asked for gradients.

use std::cell::Cell;
use std::panic::Location;

use wengert_tensor::tape::with_grad;
use wengert_tensor::{Error, ErrorKind, Result, Tensor, is_grad_enabled, no_grad};

use crate::backward::{Differentiate, identities, seed};
use crate::engine::{Plan, not_connected, replay};
use crate::functional::{in_level, inside_level};
use crate::gradients::Variable;

/// What a [`GradientTape`] answers where the result does not depend on a variable.
///
/// ```
/// use wengert_autograd::{GradientTape, Unconnected};
/// use wengert_tensor::scalar;
/// # fn main() -> wengert_tensor::Result<()> {
/// let tape = GradientTape::new().unconnected(Unconnected::Zero).persistent();
/// let (x, y) = (tape.watch(&scalar(2.0)), tape.watch(&scalar(3.0)));
/// let z = tape.record(|| &x * tape.stop_recording(|| &x * 2.0));
/// assert_eq!((tape.gradient(&z, &x)?.item(), tape.gradient(&z, &y)?.item()), (4.0, 0.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unconnected {
    /// An error that says why.
    #[default]
    Error,
    /// Zeros.
    Zero,
}

/// A gradient tape as in TensorFlow: watch tensors, record a computation, ask for gradients.
///
/// As there, variables (parameters, and what [`Tensor::requires_grad`] made) need no `watch`, a tape answers once
/// unless it is [`persistent`](Self::persistent), and tapes nest: a gradient asked for inside the `record` of another
/// tape is itself recorded, and can be differentiated by that one.
///
/// Unlike there, what a watched tensor touches is on the tape wherever it happens, since the record hangs on the
/// tensors: operations before or after `record` count, too. `record` matters inside [`no_grad`], where it turns
/// recording on, and for nesting; [`stop_recording`](Self::stop_recording) and [`Tensor::detach`] leave things out.
///
/// ```
/// use wengert_autograd::GradientTape;
/// use wengert_tensor::tensor;
/// # fn main() -> wengert_tensor::Result<()> {
/// let tape = GradientTape::new();
/// let x = tape.watch(&tensor![1.0, 2.0]);
/// let y = tape.record(|| (&x * &x).sum());
/// assert_eq!(tape.gradient(&y, &x)?.to_vec::<f32>(), [2.0, 4.0]);
/// # Ok(())
/// # }
/// ```
///
/// Second derivatives come from nested tapes:
///
/// ```
/// use wengert_autograd::GradientTape;
/// use wengert_tensor::scalar;
/// # fn main() -> wengert_tensor::Result<()> {
/// let (outer, inner) = (GradientTape::new(), GradientTape::new());
/// let x = outer.watch(&scalar(3.0));
/// let slope = outer.record(|| {
///     let y = inner.record(|| &x * &x * &x);
///     inner.gradient(&y, &x)
/// })?;
/// assert_eq!(slope.item(), 27.0);
/// assert_eq!(outer.gradient(&slope, &x)?.item(), 18.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct GradientTape {
    persistent: bool,
    unconnected: Unconnected,
    used: Cell<bool>,
}

impl GradientTape {
    /// A tape that answers once.
    pub fn new() -> GradientTape {
        GradientTape::default()
    }

    /// Makes the tape answer any number of times. What was recorded stays in memory as long as its tensors.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Sets what is answered where the result does not depend on a variable: an error, unless set.
    pub fn unconnected(mut self, policy: Unconnected) -> Self {
        self.unconnected = policy;
        self
    }

    /// The same tensor, as a variable: compute from what this returns, and ask for the gradient with it. A tensor that
    /// other tapes watch stays connected to them.
    #[track_caller]
    pub fn watch(&self, x: &Tensor) -> Tensor {
        x.watch()
    }

    /// Runs `f` with recording on.
    pub fn record<R>(&self, f: impl FnOnce() -> R) -> R {
        with_grad(true, || in_level(f))
    }

    /// Runs `f` with recording off: what it computes counts as constant.
    pub fn stop_recording<R>(&self, f: impl FnOnce() -> R) -> R {
        no_grad(f)
    }

    /// Makes a tape that has answered ready to record and to answer anew.
    ///
    /// ```
    /// use wengert_autograd::GradientTape;
    /// use wengert_tensor::scalar;
    /// # fn main() -> wengert_tensor::Result<()> {
    /// let tape = GradientTape::new();
    /// for number in [1.0, 2.0] {
    ///     let x = tape.watch(&scalar(number));
    ///     let y = tape.record(|| &x * &x);
    ///     assert_eq!(tape.gradient(&y, &x)?.item(), 2.0 * number);
    ///     tape.reset();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reset(&self) {
        self.used.set(false);
    }

    /// The gradient of `y`, of one element, with respect to `x`.
    ///
    /// # Errors
    /// If `y` has more than one element, does not depend on `x` (see [`unconnected`](Self::unconnected)), or the tape
    /// has answered before and is not persistent.
    #[track_caller]
    pub fn gradient(&self, y: &Tensor, x: &Tensor) -> Result<Tensor> {
        Ok(self.gradients(y, &[x])?.swap_remove(0))
    }

    /// The gradients of `y`, of one element, with respect to each of `xs`.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    ///
    /// ```
    /// use wengert_autograd::GradientTape;
    /// use wengert_tensor::scalar;
    /// # fn main() -> wengert_tensor::Result<()> {
    /// let tape = GradientTape::new();
    /// let (a, b) = (tape.watch(&scalar(2.0)), tape.watch(&scalar(5.0)));
    /// let y = tape.record(|| &a * &b);
    /// let gradients = tape.gradients(&y, &[&a, &b])?;
    /// assert_eq!((gradients[0].item(), gradients[1].item()), (5.0, 2.0));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn gradients(&self, y: &Tensor, xs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        self.answer(y, xs, at).map_err(|e| e.in_op("gradient", at))
    }

    fn answer(&self, y: &Tensor, xs: &[&Tensor], at: &'static Location<'static>) -> Result<Vec<Tensor>> {
        if self.used.get() && !self.persistent {
            return Err(Error::new("this tape has answered already, and what it recorded is freed")
                .kind_of(ErrorKind::Gradient)
                .help("make it with GradientTape::new().persistent(), or ask for several at once with gradients()"));
        }
        let edges: Vec<_> = xs.iter().map(|x| x.edge().clone()).collect();
        let targets = identities(&edges)?;
        let zero = self.unconnected == Unconnected::Zero;
        if !y.is_tracked() && !zero {
            return Err(not_connected(y.edge()));
        }
        let plan = Plan {
            op: "gradient",
            at,
            retain: self.persistent,
            create_graph: inside_level() && is_grad_enabled(),
            targets: Some(targets),
            on_ready: None,
        };
        let gradients = replay(vec![(y.edge().clone(), seed(y, None)?)], plan)?;
        self.used.set(true);
        let read = |x: &&Tensor| match gradients.get(*x) {
            Some(g) => Ok(g.clone()),
            None if zero => Ok(x.zeros_like()),
            None => Err(gradients.why_missing(&Variable::edge(*x))),
        };
        xs.iter().map(read).collect()
    }
}
