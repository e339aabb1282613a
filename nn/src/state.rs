//! The state of a model: its parameters and buffers by name, and what happens when a model takes it over.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use wengert_tensor::io::{load_tensors, save_tensors};
use wengert_tensor::{AnyTensor, DType, Error, ErrorKind, Result, Shape};

use crate::module::{Module, Part, Walk};
use crate::param::{Buffer, Param};

/// Tensors by name, in order: the values of a model's parameters and buffers.
///
/// ```
/// use wengert_nn::{Linear, Module, StateDict};
/// let state = Linear::new(2, 3).state_dict();
/// assert_eq!(state.names().collect::<Vec<_>>(), ["weight", "bias"]);
/// assert_eq!(state.get("bias").unwrap().shape().to_string(), "[3]");
/// ```
#[derive(Clone, Default)]
pub struct StateDict(Vec<(String, AnyTensor)>);

impl StateDict {
    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&AnyTensor> {
        self.iter().find(|(n, _)| *n == name).map(|(_, t)| t)
    }

    /// Adds a tensor, in place of one of the same name if there is one.
    ///
    /// ```
    /// use wengert_nn::StateDict;
    /// use wengert_tensor::tensor;
    /// let mut state = StateDict::default();
    /// assert!(state.is_empty());
    /// state.insert("w", tensor![1.0, 2.0]);
    /// state.insert("w", tensor![3.0]); // in the place of the first
    /// assert_eq!(state.len(), 1);
    /// assert!(state.iter().all(|(name, tensor)| name == "w" && tensor.shape()[..] == [1]));
    /// ```
    pub fn insert(&mut self, name: impl Into<String>, tensor: impl Into<AnyTensor>) {
        let (name, tensor) = (name.into(), tensor.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = tensor,
            None => self.0.push((name, tensor)),
        }
    }

    /// The names and tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AnyTensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(n, _)| n)
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the tensors to a file, see [`save_tensors`].
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module, StateDict};
    /// # fn main() -> wengert_tensor::Result<()> {
    /// let path = std::env::temp_dir().join(format!("state-{}.safetensors", std::process::id()));
    /// Linear::new(2, 3).state_dict().save(&path)?;
    /// assert_eq!(StateDict::load(&path)?.len(), 2);
    /// # std::fs::remove_file(path)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_tensors(path, self.iter())
    }

    /// Reads the tensors of a file, see [`load_tensors`]. The format keeps no order: they come sorted by name.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        Ok(load_tensors(path)?.into_iter().collect())
    }
}

impl<N: Into<String>, T: Into<AnyTensor>> FromIterator<(N, T)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(tensors: I) -> StateDict {
        let mut state = StateDict::default();
        let mut places = HashMap::new();
        for (name, tensor) in tensors {
            let (name, tensor) = (name.into(), tensor.into());
            match places.get(&name) {
                Some(&i) => state.0[i] = (name, tensor),
                None => {
                    places.insert(name.clone(), state.0.len());
                    state.0.push((name, tensor));
                }
            }
        }
        state
    }
}

/// The shape and precision of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The sizes along each axis.
    pub shape: Shape,
    /// The precision.
    pub dtype: DType,
}

impl Form {
    fn of(tensor: &AnyTensor) -> Form {
        Form { shape: tensor.shape().clone(), dtype: tensor.dtype() }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F32 => write!(f, "{}", self.shape),
            other => write!(f, "{} {other}", self.shape),
        }
    }
}

/// A tensor that does not fit where its name says it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The name.
    pub name: String,
    /// What the model has.
    pub model: Form,
    /// What the state has.
    pub state: Form,
}

/// What a model took over from a state, and what not. It prints as a list of what does not fit.
///
/// ```
/// use wengert_nn::{Form, Linear, LoadReport, Mismatch, Module};
/// let (narrow, wide) = (Linear::new(2, 3), Linear::new(4, 3));
/// let report: LoadReport = narrow.load_partial(&wide.state_dict());
/// assert!(!report.is_complete() && report.loaded == 1);
/// let Mismatch { name, model, state } = &report.mismatched[0];
/// let shapes = [model, state].map(|form: &Form| form.shape.to_string());
/// assert_eq!((name.as_str(), shapes), ("weight", ["[3, 2]".to_string(), "[3, 4]".to_string()]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// How many tensors fit.
    pub loaded: usize,
    /// What the model has and the state lacks.
    pub missing: Vec<String>,
    /// What the state has and the model lacks.
    pub unexpected: Vec<String>,
    /// What both have, in different shapes or precisions.
    pub mismatched: Vec<Mismatch>,
    /// What the model has under several names, tied, and the state with different values: the names in one string.
    pub untied: Vec<String>,
    /// For the lines of the printed report: forms of what is missing or unexpected, and the name that was likely meant.
    notes: HashMap<String, (Form, Option<String>)>,
}

impl LoadReport {
    /// Whether everything fits and nothing is left.
    pub fn is_complete(&self) -> bool {
        self.problems() == 0
    }

    fn problems(&self) -> usize {
        self.missing.len() + self.unexpected.len() + self.mismatched.len() + self.untied.len()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors = |n: usize| if n == 1 { "1 tensor".to_string() } else { format!("{n} tensors") };
        write!(f, "{} loaded", tensors(self.loaded))?;
        if self.is_complete() {
            return Ok(());
        }
        write!(f, ", {} {} not fit", self.problems(), if self.problems() == 1 { "does" } else { "do" })?;
        for (what, names) in [("missing   ", &self.missing), ("unexpected", &self.unexpected)] {
            for name in names {
                write!(f, "\n  {what}  {name}")?;
                if let Some((form, nearest)) = self.notes.get(name) {
                    write!(f, " {form}")?;
                    if let Some(nearest) = nearest {
                        write!(f, ", is it {nearest}?")?;
                    }
                }
            }
        }
        for m in &self.mismatched {
            write!(f, "\n  mismatched  {}: the model has {}, the state {}", m.name, m.model, m.state)?;
        }
        for names in &self.untied {
            write!(f, "\n  untied      {names}: one tensor in the model, different values in the state")?;
        }
        Ok(())
    }
}

/// A parameter or a buffer.
enum Slot {
    Param(Param),
    Buffer(Buffer),
}

impl Slot {
    fn value(&self) -> AnyTensor {
        match self {
            Slot::Param(p) => p.value().to_constant().into(),
            Slot::Buffer(b) => b.value(),
        }
    }

    fn is(&self, part: &Part<'_>) -> bool {
        match (self, part) {
            (Slot::Param(a), Part::Param(b)) => a.id() == b.id(),
            (Slot::Buffer(a), Part::Buffer(b)) => a.same(b),
            _ => false,
        }
    }

    /// Takes over a value of the same shape and precision.
    fn set(&self, value: &AnyTensor) -> Result<()> {
        match self {
            Slot::Param(p) => p.try_set(&value.float()?),
            Slot::Buffer(b) => b.try_set(value.clone()),
        }
    }
}

/// The parameters and buffers of a model, each once, with all its names: one that is shared has several.
fn slots<M: Module + ?Sized>(module: &M) -> Vec<(Vec<String>, Slot)> {
    let mut slots: Vec<(Vec<String>, Slot)> = Vec::new();
    Walk::over(module, &mut |path, part| {
        if let Some((names, _)) = slots.iter_mut().find(|(_, slot)| slot.is(&part)) {
            names.push(path.to_string());
            return;
        }
        match part {
            Part::Param(p) => slots.push((vec![path.to_string()], Slot::Param(p.clone()))),
            Part::Buffer(b) => slots.push((vec![path.to_string()], Slot::Buffer(b.clone()))),
            Part::Mode(_) | Part::Scope(_) => {}
        }
    });
    slots
}

pub(crate) fn collect<M: Module + ?Sized>(module: &M) -> StateDict {
    let mut state = Vec::new();
    Walk::over(module, &mut |path, part| match part {
        Part::Param(p) => state.push((path.to_string(), p.value().to_constant().into())),
        Part::Buffer(b) => state.push((path.to_string(), b.value())),
        Part::Mode(_) | Part::Scope(_) => {}
    });
    StateDict(state)
}

/// What fits, and the report.
fn compare<M: Module + ?Sized>(module: &M, state: &StateDict) -> (Vec<(Slot, AnyTensor)>, LoadReport) {
    let (mut fitting, mut report) = (Vec::new(), LoadReport::default());
    let mut left: HashMap<&str, &AnyTensor> = state.iter().collect();
    let mut missing = Vec::new();
    for (names, slot) in slots(module) {
        // A file may hold what is shared under any one of its names, or under each.
        let found: Vec<&AnyTensor> = names.iter().filter_map(|n| left.remove(n.as_str())).collect();
        let form = Form::of(&slot.value());
        match found.first() {
            Some(first) if !found.iter().all(|other| same(first, other)) => report.untied.push(names.join(", ")),
            None => missing.push((names[0].clone(), form)),
            Some(value) if Form::of(value) == form => fitting.push((slot, (*value).clone())),
            Some(value) => {
                report.mismatched.push(Mismatch { name: names[0].clone(), model: form, state: Form::of(value) });
            }
        }
    }
    report.loaded = fitting.len();
    report.unexpected = state.names().filter(|n| left.contains_key(n)).map(String::from).collect();
    for name in &report.unexpected {
        let meant = nearest(name, missing.iter().map(|(n, _)| n.as_str()));
        report.notes.insert(name.clone(), (Form::of(left[name.as_str()]), meant.map(String::from)));
    }
    for (name, form) in missing {
        report.notes.insert(name.clone(), (form, None));
        report.missing.push(name);
    }
    (fitting, report)
}

/// Whether two tensors hold the same elements.
fn same(a: &AnyTensor, b: &AnyTensor) -> bool {
    let bits = |t: &AnyTensor| t.to_f64_vec().into_iter().map(f64::to_bits).collect::<Vec<_>>();
    Form::of(a) == Form::of(b) && bits(a) == bits(b)
}

fn take_over(fitting: Vec<(Slot, AnyTensor)>) -> Result<()> {
    fitting.iter().try_for_each(|(slot, value)| slot.set(value))
}

pub(crate) fn load_strict<M: Module + ?Sized>(module: &M, state: &StateDict) -> Result<LoadReport> {
    let (fitting, mut report) = compare(module, state);
    if report.is_complete() {
        take_over(fitting)?;
        return Ok(report);
    }
    report.loaded = 0;
    Err(Error::new(format!("the state does not fit the model: {report}"))
        .kind_of(ErrorKind::Value)
        .help("the model is unchanged; load_partial takes over what fits"))
}

pub(crate) fn load_partial<M: Module + ?Sized>(module: &M, state: &StateDict) -> LoadReport {
    let (fitting, report) = compare(module, state);
    take_over(fitting).expect("shapes and precisions were compared");
    report
}

/// The name nearest to `name`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count() / 3;
    among.map(|other| (edits(name, other), other)).filter(|(d, _)| *d <= limit.max(1)).min().map(|(_, other)| other)
}

/// The number of characters to insert, delete or replace to turn `a` into `b` (Levenshtein 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
