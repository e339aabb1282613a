//! What a backward pass gives: a map from variables to gradients.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::panic::Location;
use std::sync::Arc;

use wengert_tensor::tape::{Cut, Edge, Leaf, LeafId};
use wengert_tensor::{Error, ErrorKind, Result, Tensor, or_panic};

/// The gradient of one variable.
#[derive(Clone)]
pub(crate) struct Entry {
    /// `None` for a tensor that was watched rather than a leaf.
    pub(crate) leaf: Option<Arc<Leaf>>,
    pub(crate) value: Tensor,
}

/// Something whose gradient can be asked for: a variable tensor, a watched tensor, a parameter.
pub trait Variable {
    /// How it relates to the tape.
    fn edge(&self) -> Edge;
}

impl Variable for Tensor {
    fn edge(&self) -> Edge {
        Tensor::edge(self).clone()
    }
}

impl<V: Variable + ?Sized> Variable for &V {
    fn edge(&self) -> Edge {
        (**self).edge()
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
    cuts: Vec<Cut>,
    marks: u64,
}

impl Gradients {
    pub(crate) fn new(entries: BTreeMap<LeafId, Entry>, cuts: Vec<Cut>, marks: u64) -> Gradients {
        Gradients { entries, cuts, marks }
    }

    /// The gradient of a variable, where there is one.
    pub fn get(&self, variable: impl Variable) -> Option<&Tensor> {
        self.entries.get(&variable.edge().variable()?).map(|e| &e.value)
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
        let edge = variable.edge();
        let found = edge.variable().and_then(|id| self.entries.get(&id)).map(|e| &e.value);
        found.ok_or_else(|| self.why_missing(&edge).in_op("gradient", Location::caller()))
    }

    /// Why there is no gradient for the variable that `edge` belongs to.
    pub fn why_missing(&self, edge: &Edge) -> Error {
        let (name, id) = match edge {
            Edge::Leaf(leaf) => (
                match leaf.name() {
                    Some(name) => format!("parameter `{name}`"),
                    None => format!("the variable from {}", leaf.at),
                },
                leaf.id,
            ),
            Edge::Node(node, _) => match node.op.tap() {
                Some(id) => (format!("the tensor watched at {}", node.at), id),
                None => {
                    return Error::new(format!(
                        "the tensor from `{}` at {} is an intermediate result, whose gradient was not kept",
                        node.op.name(),
                        node.at
                    ))
                    .kind_of(ErrorKind::Gradient)
                    .help("call watch() on it and compute the loss from what that returns");
                }
            },
            Edge::Cut(cut) => {
                return Error::new(format!("this tensor is no variable: it {cut}"))
                    .kind_of(ErrorKind::Gradient)
                    .help("ask with the variable that the loss was computed from");
            }
            Edge::None => {
                return Error::new("this tensor is no variable")
                    .kind_of(ErrorKind::Gradient)
                    .help("make it one with requires_grad() before the loss is computed from it");
            }
        };
        let cuts: Vec<String> =
            self.cuts.iter().filter(|c| c.marks & id.mark() != 0).map(|c| format!("it {c}")).collect();
        if !cuts.is_empty() {
            return Error::new(format!("no gradient reached {name}: {}", cuts.join("; ")))
                .kind_of(ErrorKind::Gradient)
                .help("gradients do not flow past there; take that step out of the way from the variable to the loss");
        }
        let e = if self.marks & id.mark() == 0 || self.entries.is_empty() {
            Error::new(format!("no gradient for {name}: it is not part of this tape"))
        } else {
            Error::new(format!("no gradient for {name}: no recorded operation on the way to the loss uses it"))
        };
        e.kind_of(ErrorKind::Gradient).help("the loss was computed without it; if that is meant, ask with get()")
    }

    /// The number of variables that have a gradient.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no variable has a gradient.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The variables and their gradients, in the order in which the variables were made. Watched tensors have no leaf.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&Arc<Leaf>>, &Tensor)> {
        self.entries.values().map(|e| (e.leaf.as_ref(), &e.value))
    }

    /// Replaces each gradient by `f` of it.
    pub fn map(&mut self, mut f: impl FnMut(&Tensor) -> Tensor) {
        for entry in self.entries.values_mut() {
            entry.value = f(&entry.value);
        }
    }
}

impl AddAssign for Gradients {
    /// Sums gradients variable by variable: over micro-batches, or over workers.
    #[track_caller]
    fn add_assign(&mut self, other: Gradients) {
        self.marks |= other.marks;
        self.cuts.extend(other.cuts);
        for (id, entry) in other.entries {
            match self.entries.get_mut(&id) {
                Some(own) => own.value += entry.value,
                None => {
                    self.entries.insert(id, entry);
                }
            }
        }
    }
}
