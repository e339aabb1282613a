//! What a backward pass gives: a map from variables to gradients.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::fmt;
use std::ops::AddAssign;
use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use wengert_tensor::tape::{Cut, Edge, Leaf, LeafId};
use wengert_tensor::{DType, Error, ErrorKind, Result, Tensor, or_panic};

use crate::engine::mend;

/// The gradient of one variable.
#[derive(Clone)]
pub(crate) struct Entry {
    /// `None` for a tensor that was watched rather than a leaf.
    pub(crate) leaf: Option<Arc<Leaf>>,
    pub(crate) value: Tensor,
}

/// Something whose gradient can be asked for: a variable tensor, a watched tensor, a parameter.
///
/// ```
/// use wengert_autograd::{Differentiate, Variable};
/// use wengert_tensor::tensor;
/// let w = tensor![3.0].requires_grad();
/// let leaf = w.edge().variable().unwrap();
/// let grads = w.square().sum().backward();
/// assert_eq!(grads.iter().next().unwrap().0.unwrap().id, leaf);
/// assert_eq!(w.identity(), Some(leaf));
/// ```
pub trait Variable {
    /// How it relates to the tape.
    fn edge(&self) -> Edge;

    /// The variable that it is, where it is one.
    fn identity(&self) -> Option<LeafId> {
        self.edge().variable()
    }
}

impl Variable for Tensor {
    fn edge(&self) -> Edge {
        Tensor::edge(self).clone()
    }

    fn identity(&self) -> Option<LeafId> {
        Tensor::edge(self).variable()
    }
}

impl<V: Variable + ?Sized> Variable for &V {
    fn edge(&self) -> Edge {
        (**self).edge()
    }

    fn identity(&self) -> Option<LeafId> {
        (**self).identity()
    }
}

/// The places where the way to a gradient was cut: each once, and not more than anyone would read.
#[derive(Clone, Default)]
pub(crate) struct Cuts(Vec<Cut>);

impl Cuts {
    pub(crate) fn note(&mut self, cut: Cut) {
        const MOST: usize = 64;
        match self.0.iter().position(|c| c.at == cut.at && c.op == cut.op) {
            Some(i) => self.0[i].marks |= cut.marks,
            None if self.0.len() < MOST => self.0.push(cut),
            None => {}
        }
    }
}

/// Gradients by variable, in the order in which the variables were made (for a model: parameter order).
///
/// A value like any other: it can be kept, sent to another thread, and summed over micro-batches with `+=`.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_tensor::tensor;
/// let w = tensor![1.0, 2.0].requires_grad();
/// let grads = (&w * &w).sum().backward();
/// assert_eq!(grads.of(&w).to_vec::<f32>(), [2.0, 4.0]);
/// ```
#[derive(Clone, Default)]
pub struct Gradients {
    entries: BTreeMap<LeafId, Entry>,
    cuts: Cuts,
    marks: u64,
    /// The variables asked for; all, where it is `None`.
    asked: Option<FxHashSet<LeafId>>,
}

impl Gradients {
    pub(crate) fn new(
        entries: BTreeMap<LeafId, Entry>,
        cuts: Cuts,
        marks: u64,
        asked: Option<FxHashSet<LeafId>>,
    ) -> Gradients {
        Gradients { entries, cuts, marks, asked }
    }

    /// The gradient of a variable, where there is one.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let (used, other) = (tensor![1.0].requires_grad(), tensor![1.0].requires_grad());
    /// let grads = used.exp().sum().backward();
    /// assert!(grads.get(&used).is_some() && grads.get(&other).is_none());
    /// ```
    pub fn get(&self, variable: impl Variable) -> Option<&Tensor> {
        self.entries.get(&variable.identity()?).map(|e| &e.value)
    }

    /// The gradient of a variable.
    ///
    /// # Panics
    /// If there is none; the message says why: never a silent nothing.
    #[track_caller]
    pub fn of(&self, variable: impl Variable) -> &Tensor {
        or_panic(self.try_of(variable))
    }

    /// Fallible form of [`of`](Self::of).
    ///
    /// # Errors
    /// If there is none; the error says why.
    #[track_caller]
    pub fn try_of(&self, variable: impl Variable) -> Result<&Tensor> {
        let found = variable.identity().and_then(|id| self.entries.get(&id)).map(|e| &e.value);
        found.ok_or_else(|| self.why_missing(&variable.edge()).in_op("gradient", Location::caller()))
    }

    /// Why there is no gradient for the variable that `edge` belongs to.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let (used, cut) = (tensor![1.0].requires_grad(), tensor![1.0].requires_grad());
    /// let grads = (&used * cut.detach()).sum().backward();
    /// assert!(grads.why_missing(cut.edge()).message().contains("detach"));
    /// ```
    pub fn why_missing(&self, edge: &Edge) -> Error {
        let (message, help) = match named(edge) {
            Ok((name, id)) => self.why_none_for(&name, id),
            Err(no_variable) => no_variable,
        };
        Error::new(message).kind_of(ErrorKind::Gradient).help(help)
    }

    /// What went wrong on the way to this variable, and how to mend it.
    fn why_none_for(&self, name: &str, id: LeafId) -> (String, &'static str) {
        if self.asked.as_ref().is_some_and(|ids| !ids.contains(&id)) {
            return (format!("no gradient for {name}: it was not asked for"), "name it in wrt()");
        }
        let mut cuts = self.cuts.0.iter().filter(|cut| cut.marks & id.mark() != 0).peekable();
        if let Some(first) = cuts.peek() {
            let help = mend(first.kind);
            let cuts: Vec<String> = cuts.map(Cut::to_string).collect();
            return (format!("no gradient reached {name}: {}", cuts.join("; ")), help);
        }
        let why = match self.marks & id.mark() {
            0 => "it is not part of this tape",
            _ => "no recorded operation leads from it to the loss",
        };
        (
            format!("no gradient for {name}: {why}"),
            "compute the loss from this very variable; if it is not meant to matter, ask with get()",
        )
    }

    /// The number of variables that have a gradient.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no variable has a gradient.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let grads = tensor![1.0].requires_grad().exp().sum().backward();
    /// assert!(grads.len() == 1 && !grads.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The variables and their gradients, in the order in which the variables were made. Watched tensors have no leaf.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let (a, b) = (tensor![2.0].requires_grad(), tensor![5.0].requires_grad());
    /// let grads = (&b * &a).sum().backward();
    /// let all: Vec<f64> = grads.iter().map(|(_, gradient)| gradient.sum().item()).collect();
    /// assert_eq!(all, [5.0, 2.0]); // `a` was made before `b`
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (Option<&Arc<Leaf>>, &Tensor)> {
        self.entries.values().map(|e| (e.leaf.as_ref(), &e.value))
    }

    /// The length of all gradients taken together as one vector: the square root of the sum of all squares.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let (a, b) = (tensor![1.0].requires_grad(), tensor![1.0].requires_grad());
    /// let grads = (&a * 3.0 + &b * 4.0).sum().backward();
    /// assert_eq!(grads.global_norm(), 5.0);
    /// ```
    #[track_caller]
    pub fn global_norm(&self) -> f64 {
        let squares = |entry: &Entry| {
            let g = entry.value.detach();
            // Squares of 16-bit numbers overflow soon.
            let g = if g.dtype().size() < 4 { g.to_dtype(DType::F32) } else { g };
            g.square().sum().item()
        };
        self.entries.values().map(squares).sum::<f64>().sqrt()
    }

    /// Every gradient times `factor`: to average over micro-batches, to clip, to undo a loss scale.
    ///
    /// ```
    /// use wengert_autograd::Differentiate;
    /// use wengert_tensor::tensor;
    /// let w = tensor![3.0].requires_grad();
    /// let mut grads = w.square().sum().backward().scaled(0.5);
    /// assert_eq!(grads.of(&w).to_vec::<f32>(), [3.0]);
    /// grads.map(|gradient| gradient.clamp(-1.0, 1.0));
    /// assert_eq!(grads.of(&w).to_vec::<f32>(), [1.0]);
    /// ```
    #[track_caller]
    pub fn scaled(mut self, factor: f64) -> Gradients {
        for entry in self.entries.values_mut() {
            entry.value *= factor;
        }
        self
    }

    /// Replaces each gradient by `f` of it.
    pub fn map(&mut self, mut f: impl FnMut(&Tensor) -> Tensor) {
        for entry in self.entries.values_mut() {
            entry.value = f(&entry.value);
        }
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (leaf, g) in self.iter() {
            let name = match leaf {
                None => "watched tensor".to_string(),
                Some(leaf) => leaf.name().map_or_else(|| format!("variable from {}", leaf.at), |name| name.to_string()),
            };
            map.entry(&format_args!("{name}"), &format_args!("{} {}", g.shape(), g.dtype()));
        }
        map.finish()
    }
}

impl AddAssign for Gradients {
    /// Sums gradients variable by variable: over micro-batches, or over workers.
    #[track_caller]
    fn add_assign(&mut self, other: Gradients) {
        self.marks |= other.marks;
        other.cuts.0.into_iter().for_each(|cut| self.cuts.note(cut));
        self.asked = match (self.asked.take(), other.asked) {
            (Some(a), Some(b)) => Some(a.into_iter().chain(b).collect()),
            _ => None,
        };
        for (id, entry) in other.entries {
            match self.entries.entry(id) {
                Occupied(mut own) => own.get_mut().value += entry.value,
                Vacant(place) => {
                    place.insert(entry);
                }
            }
        }
    }
}

/// What to call the variable that `edge` belongs to, or why it is none and what to do about it.
fn named(edge: &Edge) -> Result<(String, LeafId), (String, &'static str)> {
    match edge {
        Edge::Leaf(leaf) => match leaf.name() {
            Some(name) => Ok((format!("parameter `{name}`"), leaf.id)),
            None => Ok((format!("the variable from {}", leaf.at), leaf.id)),
        },
        Edge::Node(node, _) => match node.op.tap() {
            Some(id) => Ok((format!("the tensor watched at {}", node.at), id)),
            None => Err((
                format!(
                    "the tensor from `{}` at {} is an intermediate result, whose gradient was not kept",
                    node.op.name(),
                    node.at
                ),
                "call watch() on it and compute the loss from what that returns",
            )),
        },
        Edge::Cut(cut) => {
            Err((format!("this tensor is no variable: {cut}"), "ask with the variable that the loss was computed from"))
        }
        Edge::None => Err((
            "this tensor is no variable".to_string(),
            "make it one with requires_grad() before the loss is computed from it",
        )),
    }
}
