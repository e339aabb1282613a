//! What all optimizers share: the walk over parameters, the checks before it, and groups with settings of their own.

use std::collections::HashSet;
use std::panic::Location;
use std::path::Path;

use wengert_autograd::{Gradients, Variable};
use wengert_nn::{Param, StateDict};
use wengert_tensor::{Error, ErrorKind, Result, Tensor, no_grad, or_panic};

use crate::norm::is_finite;
use crate::rule::{Kept, Rule, Step, kept_dtype};

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
    /// Gradients that are infinite or NaN are applied as they are, unless the optimizer was made with
    /// [`skip_non_finite`](Stepper::skip_non_finite).
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
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_optim::{Optimizer, Sgd};
    /// use wengert_tensor::tensor;
    /// let mut opt = Sgd::new([Param::new(tensor![1.0])]).lr(0.1);
    /// opt.set_lr(0.5 * opt.learning_rate());
    /// assert_eq!(opt.learning_rate(), 0.05);
    /// ```
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate, as with `opt.set_lr(schedule.lr(step))`. Groups of parameters keep their factor of it.
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
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_optim::{Optimizer, Sgd, StepReport};
/// use wengert_tensor::tensor;
/// let (used, unused) = (Param::new(tensor![1.0]), Param::new(tensor![1.0]));
/// let mut opt = Sgd::new([used.clone(), unused]).allow_missing();
/// let report: StepReport = opt.step(&used.value().square().sum().backward());
/// assert_eq!((report.updated, report.missing.len()), (1, 1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// How many parameters were changed.
    pub updated: usize,
    /// How many were left alone because they are frozen.
    pub frozen: usize,
    /// Trainable parameters that got no gradient, where that is allowed.
    pub missing: Vec<String>,
    /// Parameters whose gradients hold an infinity or NaN, for which the step was skipped as a whole: looked for only
    /// where that was asked for with [`skip_non_finite`](Stepper::skip_non_finite).
    pub non_finite: Vec<String>,
}

/// A parameter, what is kept for it, and its settings.
pub(crate) struct Slot<R> {
    pub(crate) param: Param,
    pub(crate) steps: u64,
    pub(crate) kept: Vec<Tensor>,
    pub(crate) group: Group<R>,
}

/// The settings of a group of parameters, see [`Stepper::group`].
///
/// ```
/// use wengert_nn::{Linear, Module};
/// use wengert_optim::{AdamW, AdamWRule, Group};
/// let bare = |group: Group<AdamWRule>| group.weight_decay(0.0).lr_factor(0.5);
/// let opt = AdamW::new(Linear::new(4, 2).parameters()).group("bias", bare);
/// assert_eq!(opt.parameters().count(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Group<R> {
    pub(crate) rule: R,
    pub(crate) lr_factor: f64,
}

impl<R> Group<R> {
    /// What the learning rate is multiplied by. 1 unless set.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_factor(mut self, factor: f64) -> Group<R> {
        assert!(factor >= 0.0 && factor.is_finite(), "lr_factor {factor} is negative or not finite");
        self.lr_factor = factor;
        self
    }

    pub(crate) fn with(mut self, set: impl FnOnce(&mut R)) -> Group<R> {
        set(&mut self.rule);
        self
    }
}

/// What a group changes in the settings of its parameters.
type Change<R> = Box<dyn Fn(Group<R>) -> Group<R> + Send + Sync>;

/// An optimizer that changes each parameter by a [`Rule`]: one pass over its elements, in place.
pub struct Stepper<R> {
    rule: R,
    pub(crate) lr: f64,
    pub(crate) slots: Vec<Slot<R>>,
    /// Patterns of names, and what they mean for the parameters that fit.
    groups: Vec<(String, Change<R>)>,
    allow_missing: bool,
    skip_non_finite: bool,
}

impl<R: Rule> Stepper<R> {
    /// An optimizer of these parameters. One that is given several times counts once.
    ///
    /// # Panics
    /// If the learning rate is negative or not finite, or the rule cannot change parameters of a shape that is there.
    #[track_caller]
    pub fn with_rule(rule: R, params: impl IntoIterator<Item = Param>, lr: f64) -> Stepper<R> {
        let mut seen = HashSet::new();
        let group = Group { rule: rule.clone(), lr_factor: 1.0 };
        let slots: Vec<Slot<R>> = params
            .into_iter()
            .filter(|p| seen.insert(p.id()))
            .map(|param| Slot { param, steps: 0, kept: Vec::new(), group: group.clone() })
            .collect();
        for (i, Slot { param, .. }) in slots.iter().enumerate() {
            if let Err(help) = rule.fits(&param.shape()) {
                let name = names(slots.iter().map(|s| &s.param)).swap_remove(i);
                panic!("{}: parameter `{name}` has shape {}\n  help: {help}", R::NAME, param.shape());
            }
        }
        Stepper { rule, lr: 0.0, slots, groups: Vec::new(), allow_missing: false, skip_non_finite: false }.lr(lr)
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

    /// Gives some parameters settings of their own: those that `pattern` means, which is a name or the beginning of one
    /// before a dot, with `*` for any characters.
    ///
    /// What a group does not set is as in the optimizer, also where that is set later. A parameter of several groups
    /// gets the settings of all of them, those of later groups over those of earlier ones.
    ///
    /// # Panics
    /// If no parameter fits.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module, Sequential};
    /// use wengert_optim::AdamW;
    /// let net = Sequential::new().push(Linear::new(4, 8)).push(Linear::new(8, 2));
    /// let opt = AdamW::new(net.parameters())
    ///     .group("*.bias", |g| g.weight_decay(0.0))
    ///     .group("0", |g| g.lr_factor(0.1).betas(0.9, 0.99))
    ///     .weight_decay(0.1);
    /// # assert_eq!(opt.parameters().count(), 4);
    /// ```
    #[track_caller]
    pub fn group(mut self, pattern: &str, change: impl Fn(Group<R>) -> Group<R> + Send + Sync + 'static) -> Self {
        assert!(
            self.parameters().any(|p| p.is_meant_by(pattern)),
            "group: no parameter fits `{pattern}`\n  help: the names are {}; an optimizer learns them from a model's \
             parameters()",
            self.names().join(", ")
        );
        self.groups.push((pattern.to_string(), Box::new(change)));
        self.regroup();
        self
    }

    /// Lets a step pass over trainable parameters that got no gradient, instead of failing. The [`StepReport`] names
    /// them.
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }

    /// Skips every step in which a gradient holds an infinity or NaN, as a whole: nothing is changed then, and the
    /// [`StepReport`] names the parameters. Costs one look at each gradient.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_nn::Param;
    /// use wengert_optim::{Adam, Optimizer};
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![0.0, 1.0]);
    /// let mut opt = Adam::new([w.clone()]).skip_non_finite();
    /// let report = opt.step(&w.value().log().sum().backward());
    /// assert_eq!((report.updated, report.non_finite.len()), (0, 1));
    /// assert_eq!(w.value().to_vec::<f32>(), [0.0, 1.0]);
    /// ```
    pub fn skip_non_finite(mut self) -> Self {
        self.skip_non_finite = true;
        self
    }

    /// The parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &Param> + Clone {
        self.slots.iter().map(|s| &s.param)
    }

    /// Changes the settings of all parameters, but for what groups set.
    pub(crate) fn with(mut self, set: impl FnOnce(&mut R)) -> Self {
        set(&mut self.rule);
        self.regroup();
        self
    }

    /// The settings of parameters that belong to no group.
    pub(crate) fn base(&self) -> Group<R> {
        Group { rule: self.rule.clone(), lr_factor: 1.0 }
    }

    fn regroup(&mut self) {
        let base = self.base();
        for Slot { param, group, .. } in &mut self.slots {
            let own = self.groups.iter().filter(|(pattern, _)| param.is_meant_by(pattern));
            *group = own.fold(base.clone(), |group, (_, change)| change(group));
        }
    }

    /// A name for each parameter that no other has.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.parameters())
    }
}

impl<R: Rule> Optimizer for Stepper<R> {
    #[track_caller]
    fn try_step(&mut self, gradients: &Gradients) -> Result<StepReport> {
        let at = Location::caller();
        let mut report = check(self.parameters(), gradients, self.allow_missing).map_err(|e| e.in_op("step", at))?;
        let bad = |p: &Param| p.is_trainable() && gradients.get(p).is_some_and(|g| !is_finite(g));
        if self.skip_non_finite && self.parameters().any(bad) {
            let named = self.names().into_iter().zip(self.parameters());
            report.non_finite = named.filter(|(_, p)| bad(p)).map(|(name, _)| name).collect();
            report.updated = 0;
            return Ok(report);
        }
        no_grad(|| {
            for Slot { param, steps, kept, group } in self.slots.iter_mut().filter(|s| s.param.is_trainable()) {
                let Some(g) = gradients.get(&*param) else { continue };
                *steps += 1;
                let step = Step { lr: self.lr * group.lr_factor, number: *steps };
                if kept.is_empty() {
                    let start = |k: Kept| Tensor::full_dtype(k.shape, k.start, kept_dtype(param.dtype()));
                    *kept = group.rule.kept(&param.shape()).into_iter().map(start).collect();
                }
                param.update(|p| group.rule.update(step, p, g, kept));
            }
        });
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
        self.saved()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        self.take_over(state)
    }
}

/// A name for each of some parameters that no other has: its path in a model, or its number.
pub(crate) fn names<'a>(params: impl Iterator<Item = &'a Param>) -> Vec<String> {
    let mut seen = HashSet::new();
    params
        .enumerate()
        .map(|(i, param)| {
            let name = param.name().map_or_else(|| i.to_string(), |n| n.to_string());
            if seen.insert(name.clone()) { name } else { format!("{name}#{i}") }
        })
        .collect()
}

/// Checks the gradients of all parameters, before any is changed.
pub(crate) fn check<'a>(
    params: impl Iterator<Item = &'a Param> + Clone,
    gradients: &Gradients,
    allow_missing: bool,
) -> Result<StepReport> {
    let mut report = StepReport::default();
    let mut missing = Vec::new();
    for (i, param) in params.clone().enumerate() {
        if !param.is_trainable() {
            report.frozen += 1;
            continue;
        }
        let Some(g) = gradients.get(param) else {
            missing.push((i, param));
            continue;
        };
        if *g.shape() != param.shape() || g.dtype() != param.dtype() {
            let name = &names(params)[i];
            let (shape, dtype) = (param.shape(), param.dtype());
            let e = format!("parameter `{name}` is {shape} {dtype}, and its gradient {} {}", g.shape(), g.dtype());
            return Err(Error::new(e)
                .kind_of(ErrorKind::Gradient)
                .help("a gradient has the shape and precision of what it is the gradient of"));
        }
        report.updated += 1;
    }
    let names_of = |missing: &[(usize, &Param)]| -> Vec<String> {
        let names = names(params.clone());
        missing.iter().map(|(i, _)| names[*i].clone()).collect()
    };
    if let (Some((_, first)), false) = (missing.first(), allow_missing) {
        let more: Vec<String> = names_of(&missing[1..]).iter().map(|n| format!("`{n}`")).collect();
        let why = gradients.why_missing(&first.edge());
        let text = match more.len() {
            0 => why.message().to_string(),
            n => format!("{}; nor for {n} more: {}", why.message(), more.join(", ")),
        };
        return Err(Error::new(text)
            .kind_of(ErrorKind::Gradient)
            .help("let the loss depend on it, freeze() it, or pass over such parameters with allow_missing()"));
    }
    if report.updated == 0 {
        let e = match (params.clone().count(), report.frozen) {
            (0, _) => "the optimizer has no parameters".to_string(),
            (n, frozen) if n == frozen => format!("all {n} parameters are frozen"),
            (n, _) => format!("none of the {n} parameters got a gradient"),
        };
        return Err(Error::new(e).kind_of(ErrorKind::Gradient).help("this step would do nothing"));
    }
    if !missing.is_empty() {
        report.missing = names_of(&missing);
    }
    Ok(report)
}
