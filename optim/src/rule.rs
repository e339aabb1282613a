//! The rule by which an optimizer changes a parameter, and the pass over its elements.

use half::{bf16, f16};
use smallvec::SmallVec;
use wengert_tensor::par::{GRAIN, Par};
use wengert_tensor::simd::{self, Isa, Loop};
use wengert_tensor::{DType, Element, Float, Shape, Tensor, Value};

/// How an optimizer changes a parameter. With [`Stepper`](crate::Stepper) around it, this is all there is to write for
/// a new one.
///
/// A rule that goes element by element calls a [`Pass`]; one that looks at a parameter as a whole, such as a matrix,
/// computes with tensors.
///
/// ```
/// use num_traits::Float;
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_optim::{Optimizer, Pass, Rule, Step, Stepper};
/// use wengert_tensor::{Tensor, tensor};
///
/// /// Steps of one size: only the sign of the gradient counts.
/// #[derive(Clone)]
/// struct SignDescent;
/// impl Rule for SignDescent {
///     const NAME: &'static str = "SignDescent";
///     fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
///         Descend { lr: step.lr }.over(param, grad, kept);
///     }
/// }
/// struct Descend {
///     lr: f64,
/// }
/// impl Pass for Descend {
///     #[inline(always)]
///     fn run<S: Float>(&self, param: &mut [S], grad: &[S], _: &mut [&mut [S]]) {
///         let lr = S::from(self.lr).unwrap();
///         param.iter_mut().zip(grad).for_each(|(p, g)| *p = *p - lr * g.signum());
///     }
/// }
/// let w = Param::new(tensor![1.0, -2.0]);
/// let mut opt = Stepper::with_rule(SignDescent, [w.clone()], 0.5);
/// opt.step(&(w.value() * w.value()).sum().backward());
/// assert_eq!(w.value().to_vec::<f32>(), [0.5, -1.5]);
/// ```
pub trait Rule: Clone + Send + Sync + 'static {
    /// What saved states call the optimizer.
    const NAME: &'static str;

    /// What is kept from step to step for a parameter of this shape. Nothing, unless given.
    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        let _ = shape;
        Vec::new()
    }

    /// The hyperparameters by name, all but the learning rate: a saved state only fits the same ones. None, unless
    /// given.
    ///
    /// ```
    /// use wengert_optim::{Rule, Step};
    /// use wengert_tensor::{Shape, Tensor};
    /// /// Each parameter shrinks, whatever its gradient; for matrices only.
    /// #[derive(Clone)]
    /// struct Shrink(f64);
    /// impl Rule for Shrink {
    ///     const NAME: &'static str = "Shrink";
    ///     fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
    ///         vec![("rate", self.0)]
    ///     }
    ///     fn fits(&self, shape: &Shape) -> Result<(), &'static str> {
    ///         if shape.rank() == 2 { Ok(()) } else { Err("it is no matrix: leave it to another optimizer") }
    ///     }
    ///     fn update(&self, step: Step, param: &mut Tensor, _: &Tensor, _: &mut [Tensor]) {
    ///         *param = &*param * (1.0 - step.lr * self.0);
    ///     }
    /// }
    /// assert!(Shrink(0.1).fits(&[3].into()).is_err() && Shrink(0.1).hyperparameters().len() == 1);
    /// ```
    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Whether the rule can change parameters of this shape, or why not. It can change all, unless given.
    ///
    /// # Errors
    /// Says why, and what to do instead.
    fn fits(&self, shape: &Shape) -> Result<(), &'static str> {
        let _ = shape;
        Ok(())
    }

    /// Changes a parameter by its gradient, which has the same shape and precision. What is kept for it has the
    /// precision F64 for parameters of that precision and F32 for all others. Nothing is recorded meanwhile.
    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]);
}

/// The learning rate and the number of a step, as a [`Rule`] sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The learning rate of this parameter.
    pub lr: f64,
    /// How many steps this parameter has taken, this one included: 1 at the first.
    pub number: u64,
}

/// A tensor that a [`Rule`] keeps for a parameter from step to step.
///
/// ```
/// use wengert_optim::Kept;
/// let row_means = Kept::new("row", [10, 1]);
/// let count = Kept::new("count", []).starting_at(1.0);
/// assert_eq!((row_means.shape.elements(), count.start), (10, 1.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// What saved states call it, after the name of the parameter.
    pub name: &'static str,
    /// Its sizes along each axis.
    pub shape: Shape,
    /// The value of all its elements before the first step.
    pub start: f64,
}

impl Kept {
    /// A tensor that starts as zeros.
    pub fn new(name: &'static str, shape: impl Into<Shape>) -> Kept {
        Kept { name, shape: shape.into(), start: 0.0 }
    }

    /// Starts with all elements `start`.
    pub fn starting_at(mut self, start: f64) -> Kept {
        self.start = start;
        self
    }

    /// Tensors of one shape that start as zeros.
    pub(crate) fn all(names: &[&'static str], shape: &Shape) -> Vec<Kept> {
        names.iter().map(|name| Kept::new(name, shape.clone())).collect()
    }
}

/// One pass over the elements of a parameter, its gradient and what is kept for it. See [`Rule`] for an example.
pub trait Pass: Sync {
    /// Changes a stretch of a parameter in place, with the same stretch of its gradient and of each tensor kept.
    ///
    /// `S` is `f64` for parameters of that precision and `f32` for all others; 16-bit parameters are rounded after each
    /// step, what is kept for them is not. With `#[inline(always)]` and without branches in its loop, it is compiled
    /// for the instruction set of the machine it runs on.
    fn run<S: num_traits::Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]);

    /// Runs over whole tensors, in place and on all threads: the results have the same bits for any number of them.
    ///
    /// # Panics
    /// If the shapes differ, `grad` has another precision than `param`, or what is kept has not the precision that `S`
    /// stands for.
    fn over<'a>(&self, param: &mut Tensor, grad: &Tensor, kept: impl IntoIterator<Item = &'a mut Tensor>)
    where
        Self: Sized,
    {
        assert_eq!(param.shape(), grad.shape(), "a parameter and its gradient have the same shape");
        let kept = kept.into_iter().collect();
        match param.dtype() {
            DType::F64 => over::<f64, f64>(&|param, grad, kept| stretch(self, param, grad, kept), param, grad, kept),
            dtype => {
                let run: &Run<'_, f32> = &|param, grad, kept| stretch(self, param, grad, kept);
                match dtype {
                    DType::F16 => over::<f16, f32>(run, param, grad, kept),
                    DType::BF16 => over::<bf16, f32>(run, param, grad, kept),
                    _ => over::<f32, f32>(run, param, grad, kept),
                }
            }
        }
    }
}

/// Elements that are converted at a time where the precision of a parameter is not computed in.
const BLOCK: usize = 256;

/// A pass over one stretch.
type Run<'a, S> = dyn Fn(&mut [S], &[S], &mut [&mut [S]]) + Sync + 'a;

/// [`Pass::over`], compiled once for each precision and not for each pass.
fn over<T, S>(run: &Run<'_, S>, param: &mut Tensor, grad: &Tensor, kept: SmallVec<[&mut Tensor; 4]>)
where
    T: Element<Compute = S> + Value<Float, Stored = T>,
    S: Element<Compute = S> + Value<Float, Stored = S> + num_traits::Float,
{
    let dense;
    let grad = match grad.as_slice::<T>() {
        Some(elements) => elements,
        None => {
            dense = grad.contiguous();
            dense.as_slice::<T>().expect("a gradient of the parameter's precision")
        }
    };
    let mut kept: SmallVec<[&mut [S]; 4]> = kept.into_iter().map(|t| t.as_mut_slice()).collect();
    let param = param.as_mut_slice::<T>();
    Par::of(param.len()).chunks_mut_of(param, &mut kept, GRAIN, |block, param, kept| {
        let grad = &grad[block * GRAIN..][..param.len()];
        if let (Some(param), Some(grad)) = (T::direct_mut(param), T::direct(grad)) {
            return run(param, grad, kept);
        }
        let (mut wide_param, mut wide_grad) = ([S::default(); BLOCK], [S::default(); BLOCK]);
        for (b, param) in param.chunks_mut(BLOCK).enumerate() {
            let at = b * BLOCK..b * BLOCK + param.len();
            wide_param.iter_mut().zip(&*param).for_each(|(w, x)| *w = x.up());
            wide_grad.iter_mut().zip(&grad[at.clone()]).for_each(|(w, x)| *w = x.up());
            let mut kept: SmallVec<[&mut [S]; 4]> = kept.iter_mut().map(|s| &mut s[at.clone()]).collect();
            let (wide, grad) = (&mut wide_param[..param.len()], &wide_grad[..param.len()]);
            run(wide, grad, &mut kept);
            param.iter_mut().zip(&wide_param).for_each(|(x, w)| *x = T::down(*w));
        }
    });
}

/// A pass over one stretch, at the level of this machine.
fn stretch<S: num_traits::Float>(pass: &impl Pass, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
    simd::run_narrow(Stretch { pass, param, grad, kept });
}

/// A pass over one stretch, to be compiled for several instruction sets.
struct Stretch<'a, 'b, P, S> {
    pass: &'a P,
    param: &'a mut [S],
    grad: &'a [S],
    kept: &'a mut [&'b mut [S]],
}

impl<P: Pass, S: num_traits::Float> Loop for Stretch<'_, '_, P, S> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        self.pass.run(self.param, self.grad, self.kept);
    }
}

/// A constant of a pass, in the precision it computes in.
#[inline(always)]
pub(crate) fn lit<S: num_traits::Float>(x: f64) -> S {
    S::from(x).expect("every f64 converts to a float")
}

/// The precision of what is kept for a parameter of precision `param`.
pub(crate) fn kept_dtype(param: DType) -> DType {
    if param == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Calls `f` with a parameter and its gradient in the precision of what is kept for them.
pub(crate) fn widened(param: &mut Tensor, grad: &Tensor, f: impl FnOnce(&mut Tensor, &Tensor)) {
    let (own, wide) = (param.dtype(), kept_dtype(param.dtype()));
    if own == wide {
        return f(param, grad);
    }
    let mut copy = param.to_dtype(wide);
    f(&mut copy, &grad.to_dtype(wide));
    *param = copy.to_dtype(own);
}
