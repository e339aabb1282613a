//! What all optimizers share: the walk over parameters, the checks before it, and their saved state.

use std::collections::HashSet;
use std::panic::Location;
use std::path::Path;

use half::{bf16, f16};
use wengert_autograd::{Gradients, Variable};
use wengert_nn::{Param, StateDict};
use wengert_tensor::par::{GRAIN, Par};
use wengert_tensor::{AnyTensor, DType, Element, Error, ErrorKind, Float, Int, Result, Tensor, Value, or_panic};

/// What changes parameters by their gradients.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_optim::{Optimizer, Sgd};
/// use wengert_tensor::tensor;
/// let w = Param::new(tensor![1.0, 2.0]);
/// let mut opt = Sgd::new([w.clone()]).lr(0.25);
/// let loss = (w.value() * w.value()).sum();
/// opt.step(&loss.backward());
/// assert_eq!(w.value().to_vec::<f32>(), [0.5, 1.0]);
/// ```
pub trait Optimizer {
    /// Changes every trainable parameter by its gradient. Frozen ones are left alone.
    ///
    /// Gradients that are infinite or NaN are applied as they are: where that can happen, look at the norm that
    /// [`clip_global_norm`](crate::clip_global_norm) returns, and skip the step.
    ///
    /// # Panics
    /// If a trainable parameter got no gradient, unless that is allowed; the message names it and says why. Nothing is
    /// changed then.
    #[track_caller]
    fn step(&mut self, gradients: &Gradients) -> StepReport {
        or_panic(self.try_step(gradients))
    }

    /// Fallible form of [`step`](Optimizer::step).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    fn try_step(&mut self, gradients: &Gradients) -> Result<StepReport>;

    /// The learning rate at present.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate, as with `opt.set_lr(schedule.lr(step))`.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    fn set_lr(&mut self, lr: f64);

    /// All that a later run needs to go on bit for bit: what is kept for each parameter, by the parameter's name, and
    /// the hyperparameters.
    fn state_dict(&self) -> StateDict;

    /// Takes over a state that [`state_dict`](Optimizer::state_dict) gave, with its learning rate.
    ///
    /// # Errors
    /// If it is of another kind of optimizer, of other hyperparameters or of other parameters. Nothing is changed then.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()>;

    /// Writes the state to a file in the safetensors format.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.state_dict().save(path)
    }

    /// Reads a state that [`save`](Optimizer::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read, or the state does not fit, see [`load_state_dict`](Optimizer::load_state_dict).
    fn load(&mut self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.load_state_dict(&StateDict::load(path)?)
    }
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// How many parameters were changed.
    pub updated: usize,
    /// How many were left alone because they are frozen.
    pub frozen: usize,
    /// Trainable parameters that got no gradient, where that is allowed.
    pub missing: Vec<String>,
}

/// The number and learning rate of a step, as a [`Rule`] sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The learning rate.
    pub lr: f64,
    /// How many steps this parameter has taken, this one included: 1 at the first.
    pub number: u64,
}

/// How an optimizer changes a parameter. With [`Stepper`] around it, this is all there is to write for a new one.
///
/// ```
/// use num_traits::Float;
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_optim::{Optimizer, Rule, Step, Stepper};
/// use wengert_tensor::tensor;
///
/// /// Steps of one size: only the sign of the gradient counts.
/// struct SignDescent;
/// impl Rule for SignDescent {
///     const NAME: &'static str = "SignDescent";
///     fn state_names(&self) -> &'static [&'static str] {
///         &[]
///     }
///     fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
///         Vec::new()
///     }
///     fn update<S: Float>(&self, step: Step, param: &mut [S], grad: &[S], _: &mut [&mut [S]]) {
///         let lr = S::from(step.lr).unwrap();
///         param.iter_mut().zip(grad).for_each(|(p, g)| *p = *p - lr * g.signum());
///     }
/// }
/// let w = Param::new(tensor![1.0, -2.0]);
/// let mut opt = Stepper::with_rule(SignDescent, [w.clone()], 0.5);
/// opt.step(&(w.value() * w.value()).sum().backward());
/// assert_eq!(w.value().to_vec::<f32>(), [0.5, -1.5]);
/// ```
pub trait Rule: Send + Sync {
    /// What saved states call the optimizer.
    const NAME: &'static str;

    /// The names of the tensors that are kept for each parameter from step to step. They start as zeros.
    fn state_names(&self) -> &'static [&'static str];

    /// The hyperparameters by name, all but the learning rate: a saved state only fits the same ones.
    fn hyperparameters(&self) -> Vec<(&'static str, f64)>;

    /// Changes a stretch of a parameter in place, with the same stretch of its gradient and of each kept tensor.
    ///
    /// `S` is `f64` for parameters of that precision and `f32` for all others; 16-bit parameters are rounded after each
    /// step, what is kept for them is not.
    fn update<S: num_traits::Float>(&self, step: Step, param: &mut [S], grad: &[S], state: &mut [&mut [S]]);
}

/// A parameter, and what is kept for it.
struct Slot {
    param: Param,
    steps: u64,
    state: Vec<Tensor>,
}

/// An optimizer that changes each parameter by a [`Rule`]: one pass over its elements, in place.
pub struct Stepper<R> {
    pub(crate) rule: R,
    lr: f64,
    slots: Vec<Slot>,
    allow_missing: bool,
}

impl<R: Rule> Stepper<R> {
    /// An optimizer of these parameters. One that is given several times counts once.
    ///
    /// # Panics
    /// If the learning rate is negative or not finite.
    #[track_caller]
    pub fn with_rule(rule: R, params: impl IntoIterator<Item = Param>, lr: f64) -> Stepper<R> {
        let mut seen = HashSet::new();
        let slots = params
            .into_iter()
            .filter(|p| seen.insert(p.id()))
            .map(|param| Slot { param, steps: 0, state: Vec::new() })
            .collect();
        Stepper { rule, lr: 0.0, slots, allow_missing: false }.lr(lr)
    }

    /// Sets the learning rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr(mut self, lr: f64) -> Self {
        self.set_lr(lr);
        self
    }

    /// Lets a step pass over trainable parameters that got no gradient, instead of failing. The [`StepReport`] names
    /// them.
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }

    /// The parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &Param> {
        self.slots.iter().map(|s| &s.param)
    }

    /// A name for each parameter that no other has.
    fn names(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        self.slots
            .iter()
            .enumerate()
            .map(|(i, slot)| {
                let name = slot.param.name().map_or_else(|| i.to_string(), |n| n.to_string());
                if seen.insert(name.clone()) { name } else { format!("{name}#{i}") }
            })
            .collect()
    }

    /// Checks the gradients of all parameters, before any is changed.
    fn check(&self, gradients: &Gradients) -> Result<StepReport> {
        let mut report = StepReport::default();
        let mut missing = Vec::new();
        for (i, Slot { param, .. }) in self.slots.iter().enumerate() {
            if !param.is_trainable() {
                report.frozen += 1;
                continue;
            }
            let Some(g) = gradients.get(param) else {
                missing.push(i);
                continue;
            };
            if *g.shape() != param.shape() || g.dtype() != param.dtype() {
                let name = &self.names()[i];
                let (shape, dtype) = (param.shape(), param.dtype());
                let e = format!("parameter `{name}` is {shape} {dtype}, and its gradient {} {}", g.shape(), g.dtype());
                return Err(Error::new(e)
                    .kind_of(ErrorKind::Gradient)
                    .help("a gradient has the shape and precision of what it is the gradient of"));
            }
            report.updated += 1;
        }
        if let (Some(&first), false) = (missing.first(), self.allow_missing) {
            let names = self.names();
            let more: Vec<String> = missing[1..].iter().map(|&i| format!("`{}`", names[i])).collect();
            let why = gradients.why_missing(&self.slots[first].param.edge());
            let text = match more.len() {
                0 => why.message().to_string(),
                n => format!("{}; nor for {n} more: {}", why.message(), more.join(", ")),
            };
            return Err(Error::new(text)
                .kind_of(ErrorKind::Gradient)
                .help("let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()"));
        }
        if report.updated == 0 {
            let e = match (self.slots.len(), report.frozen) {
                (0, _) => "the optimizer has no parameters".to_string(),
                (n, frozen) if n == frozen => format!("all {n} parameters are frozen"),
                (n, _) => format!("none of the {n} parameters got a gradient"),
            };
            return Err(Error::new(e).kind_of(ErrorKind::Gradient).help("this step would do nothing"));
        }
        if !missing.is_empty() {
            let names = self.names();
            report.missing = missing.iter().map(|&i| names[i].clone()).collect();
        }
        Ok(report)
    }
}

impl<R: Rule> Optimizer for Stepper<R> {
    #[track_caller]
    fn try_step(&mut self, gradients: &Gradients) -> Result<StepReport> {
        let at = Location::caller();
        let report = self.check(gradients).map_err(|e| e.in_op("step", at))?;
        for slot in self.slots.iter_mut().filter(|s| s.param.is_trainable()) {
            let Some(g) = gradients.get(&slot.param) else { continue };
            slot.steps += 1;
            let step = Step { lr: self.lr, number: slot.steps };
            match g.dtype() {
                DType::F64 => update::<f64, f64>(&self.rule, step, slot, g),
                DType::F16 => update::<f16, f32>(&self.rule, step, slot, g),
                DType::BF16 => update::<bf16, f32>(&self.rule, step, slot, g),
                _ => update::<f32, f32>(&self.rule, step, slot, g),
            }
        }
        Ok(report)
    }

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    #[track_caller]
    fn set_lr(&mut self, lr: f64) {
        assert!(lr >= 0.0 && lr.is_finite(), "set_lr: learning rate {lr} is negative or not finite");
        self.lr = lr;
    }

    fn state_dict(&self) -> StateDict {
        let number = |x: f64| AnyTensor::from(Tensor::from_vec(vec![x], ()));
        let mut hyper = self.rule.hyperparameters();
        hyper.push(("lr", self.lr));
        let hyper = hyper.into_iter().map(|(name, x)| (format!("{}.{name}", R::NAME), number(x)));
        let kept = self.names().into_iter().zip(&self.slots).flat_map(|(name, slot)| {
            let steps = Tensor::<Int>::from_vec(vec![slot.steps as i64], ());
            let state = self.rule.state_names().iter().zip(&slot.state);
            let state: Vec<_> = state.map(|(s, t)| (format!("{name}.{s}"), t.into())).collect();
            std::iter::once((format!("{name}.steps"), steps.into())).chain(state)
        });
        hyper.chain(kept).collect()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let wrong = |e: String, help: &str| Err(Error::new(e).kind_of(ErrorKind::Format).help(help));
        let same = "build the optimizer as the one that saved the state, over the same parameters";
        let number = |name: &str| state.get(name).and_then(|t| t.to_f64_vec().first().copied());
        let Some(lr) = number(&format!("{}.lr", R::NAME)).filter(|lr| *lr >= 0.0 && lr.is_finite()) else {
            return wrong(format!("this is no state of the optimizer {}", R::NAME), same);
        };
        for (name, own) in self.rule.hyperparameters() {
            match number(&format!("{}.{name}", R::NAME)) {
                Some(saved) if saved.to_bits() == own.to_bits() => {}
                Some(saved) => return wrong(format!("{name} is {own}, and {saved} in the saved state"), same),
                None => return wrong(format!("the saved state has no {name}"), same),
            }
        }
        let names = self.names();
        let mut used = 1 + self.rule.hyperparameters().len();
        let mut loaded = Vec::new();
        for (name, slot) in names.iter().zip(&self.slots) {
            let Some(steps) = number(&format!("{name}.steps")) else {
                return wrong(format!("the saved state has nothing of parameter `{name}`"), same);
            };
            used += 1;
            let mut kept = Vec::new();
            for s in self.rule.state_names().iter().filter(|_| steps > 0.0) {
                let key = format!("{name}.{s}");
                let (shape, dtype) = (slot.param.shape(), state_dtype(slot.param.dtype()));
                match state.get(&key) {
                    None => return wrong(format!("the saved state has no `{key}`"), same),
                    Some(t) if *t.shape() != shape || t.dtype() != dtype => {
                        let (got, got_dtype) = (t.shape(), t.dtype());
                        return wrong(format!("`{key}` is {got} {got_dtype}, and {shape} {dtype} is needed"), same);
                    }
                    Some(t) => kept.push(t.float()?.to_constant()),
                }
                used += 1;
            }
            loaded.push((steps as u64, kept));
        }
        if used != state.len() {
            let known = |key: &str| {
                key.starts_with(R::NAME)
                    || names.iter().any(|n| key.strip_prefix(n.as_str()).is_some_and(|k| k.starts_with('.')))
            };
            let left = state.names().find(|k| !known(k)).unwrap_or("more tensors than are needed");
            return wrong(format!("the saved state has `{left}`, which no parameter here takes"), same);
        }
        for (slot, (steps, kept)) in self.slots.iter_mut().zip(loaded) {
            (slot.steps, slot.state) = (steps, kept);
        }
        self.lr = lr;
        Ok(())
    }
}

/// The precision of what is kept for a parameter.
fn state_dtype(param: DType) -> DType {
    if param == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Elements that are converted at a time where the precision of a parameter is not computed in.
const BLOCK: usize = 256;

/// Changes one parameter: a single pass over its elements, its gradient and what is kept for it.
fn update<T, S>(rule: &impl Rule, step: Step, slot: &mut Slot, g: &Tensor)
where
    T: Element<Compute = S> + Value<Float, Stored = T>,
    S: Element<Compute = S> + Value<Float, Stored = S> + num_traits::Float,
{
    let (g, n) = (g.contiguous(), g.elements());
    let g = g.as_slice::<T>().expect("contiguous, and of the parameter's precision");
    let dtype = state_dtype(<T as Element>::DTYPE);
    slot.state.resize_with(rule.state_names().len(), || Tensor::full_dtype(slot.param.shape(), 0.0, dtype));
    let mut state: Vec<&mut [S]> = slot.state.iter_mut().map(|t| t.as_mut_slice()).collect();
    slot.param.update(|p| {
        let p = p.as_mut_slice::<T>();
        Par::of(n).chunks_mut_of(p, &mut state, GRAIN, |block, p, state| {
            let g = &g[block * GRAIN..][..p.len()];
            if let (Some(p), Some(g)) = (T::direct_mut(p), T::direct(g)) {
                return rule.update(step, p, g, state);
            }
            let (mut wide_p, mut wide_g) = ([S::default(); BLOCK], [S::default(); BLOCK]);
            for (b, p) in p.chunks_mut(BLOCK).enumerate() {
                let at = b * BLOCK..b * BLOCK + p.len();
                wide_p.iter_mut().zip(&*p).for_each(|(w, x)| *w = x.up());
                wide_g.iter_mut().zip(&g[at.clone()]).for_each(|(w, x)| *w = x.up());
                let mut state: Vec<&mut [S]> = state.iter_mut().map(|s| &mut s[at.clone()]).collect();
                rule.update(step, &mut wide_p[..p.len()], &wide_g[..p.len()], &mut state);
                p.iter_mut().zip(&wide_p).for_each(|(x, w)| *x = T::down(*w));
            }
        });
    });
}
