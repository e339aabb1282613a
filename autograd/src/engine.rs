//! The engine: replays a tape in reverse.
//!
//! Nodes wait in a queue ordered by depth, deepest first, ties in the order of discovery. Every user of a node is
//! deeper than the node, so when a node comes up its gradient is complete. Gradients are added up as they arrive.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::Location;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};
use wengert_tensor::dispatch::{Arg, apply};
use wengert_tensor::tape::{Addition, Contribution, Cut, CutKind, Edge, Leaf, LeafId, Node, in_backward_of, with_grad};
use wengert_tensor::{DType, Error, ErrorKind, Result, Shape, Tensor};

use crate::gradients::{Cuts, Entry, Gradients};

/// How a replay goes.
pub(crate) struct Plan<'a> {
    /// What the user called, for errors.
    pub(crate) op: &'static str,
    /// Where.
    pub(crate) at: &'static Location<'static>,
    /// Keep what the tape saved, for another replay.
    pub(crate) retain: bool,
    /// Record the replay itself, so that gradients can be differentiated.
    pub(crate) create_graph: bool,
    /// The variables asked for; all, where it is `None`.
    pub(crate) targets: Option<FxHashSet<LeafId>>,
    /// Called with each leaf whose gradient is complete.
    pub(crate) on_ready: Option<OnReady<'a>>,
}

/// A function to call with each variable whose gradient is complete.
pub(crate) type OnReady<'a> = &'a mut dyn FnMut(&Arc<Leaf>, &Tensor);

/// A node on its way to be replayed, with what its outputs have received so far.
struct Pending {
    node: Arc<Node>,
    /// How many nodes were discovered before it.
    number: usize,
    cotangents: SmallVec<[Option<Tensor>; 1]>,
}

/// The nodes that wait. The next one stands apart: in a chain there is no other.
#[derive(Default)]
struct Waiting {
    next: Option<Pending>,
    rest: Vec<Option<Pending>>,
    place: FxHashMap<*const Node, usize>,
    queue: BinaryHeap<(u32, Reverse<usize>, usize)>,
    discovered: usize,
}

impl Waiting {
    /// What waits for `node`, which may be discovered just now.
    fn of(&mut self, node: &Arc<Node>) -> &mut Pending {
        if self.next.as_ref().is_some_and(|next| Arc::ptr_eq(&next.node, node)) {
            return self.next.as_mut().expect("found just now");
        }
        if let Some(&at) = self.place.get(&Arc::as_ptr(node)) {
            return self.rest[at].as_mut().expect("a node waits until all its users are done");
        }
        let number = self.discovered;
        self.discovered += 1;
        let new = Pending { node: node.clone(), number, cotangents: smallvec![None; node.outputs.len()] };
        let deepest = self.next.as_ref().map(|next| next.node.depth).or(self.queue.peek().map(|first| first.0));
        if deepest.is_some_and(|deepest| node.depth <= deepest) {
            return self.queue_up(new);
        }
        if let Some(former) = self.next.replace(new) {
            self.queue_up(former);
        }
        self.next.as_mut().expect("put there just now")
    }

    fn queue_up(&mut self, pending: Pending) -> &mut Pending {
        let at = self.rest.len();
        self.place.insert(Arc::as_ptr(&pending.node), at);
        self.queue.push((pending.node.depth, Reverse(pending.number), at));
        self.rest.push(Some(pending));
        self.rest[at].as_mut().expect("put there just now")
    }

    /// Takes the deepest node; of several, the one discovered first.
    fn pop(&mut self) -> Option<Pending> {
        self.next.take().or_else(|| {
            let (_, _, at) = self.queue.pop()?;
            let pending = self.rest[at].take().expect("each node is queued once");
            self.place.remove(&Arc::as_ptr(&pending.node));
            Some(pending)
        })
    }
}

struct Engine<'a> {
    plan: Plan<'a>,
    waiting: Waiting,
    found: BTreeMap<LeafId, Entry>,
    cuts: Cuts,
    /// What gradients say that were not recorded, to whoever differentiates them.
    unrecorded: Option<Arc<Cut>>,
    /// The leaves upstream of the roots, as in [`Edge::marks`].
    marks: u64,
    /// The nodes from which a variable asked for can be reached; unused where all are asked for.
    leading: FxHashSet<*const Node>,
    /// How many uses of each leaf are still to be replayed; counted only where someone wants to know.
    uses: FxHashMap<LeafId, usize>,
}

/// Replays the tapes of `roots`, each with the gradient it starts from.
pub(crate) fn replay(roots: Vec<(Edge, Tensor)>, plan: Plan<'_>) -> Result<Gradients> {
    let (op, at, create_graph) = (plan.op, plan.at, plan.create_graph);
    let marks = roots.iter().fold(0, |m, (edge, _)| m | edge.marks());
    let mut engine = Engine {
        plan,
        waiting: Waiting::default(),
        found: BTreeMap::new(),
        cuts: Cuts::default(),
        unrecorded: (!create_graph).then(|| Arc::new(Cut { kind: CutKind::NoCreateGraph, op, at, marks })),
        marks,
        leading: FxHashSet::default(),
        uses: FxHashMap::default(),
    };
    if engine.plan.targets.is_some() || engine.plan.on_ready.is_some() {
        engine.survey(&roots);
    }
    with_grad(create_graph, || engine.run(roots)).map_err(|e| e.in_op(op, at))?;
    let Engine { found, cuts, marks, plan, .. } = engine;
    Ok(Gradients::new(found, cuts, marks, plan.targets))
}

impl Engine<'_> {
    fn run(&mut self, roots: Vec<(Edge, Tensor)>) -> Result<()> {
        for (edge, cotangent) in roots {
            let (shape, dtype) = (cotangent.shape().clone(), cotangent.dtype());
            self.receive(&edge, &shape, dtype, Contribution::Whole(cotangent))?;
            self.used(&edge);
        }
        while let Some(Pending { node, cotangents, .. }) = self.waiting.pop() {
            if let Some(id) = node.op.tap()
                && self.asked(id)
                && let Some(Some(g)) = cotangents.first()
            {
                let mut value = g.clone();
                self.finish(&mut value);
                let entry = Entry { leaf: None, value };
                self.found.insert(id, entry);
            }
            let (retain, create_graph) = (self.plan.retain || self.plan.create_graph, self.plan.create_graph);
            in_backward_of(&node, || {
                let given = node.replay(cotangents, retain, create_graph, |i| self.leads(&node.inputs[i].edge))?;
                for g in given {
                    let input = &node.inputs[g.input];
                    self.receive(&input.edge, &input.shape, input.dtype, g.what)?;
                }
                Ok::<(), Error>(())
            })?;
            // Outside of the rule: this may call the user.
            for input in &node.inputs {
                self.used(&input.edge);
            }
        }
        self.hand_out();
        Ok(())
    }

    /// Whether someone asked for the gradient of this variable.
    fn asked(&self, id: LeafId) -> bool {
        self.plan.targets.as_ref().is_none_or(|ids| ids.contains(&id))
    }

    /// Whether the way along `edge` leads to a variable asked for.
    fn leads(&self, edge: &Edge) -> bool {
        match edge {
            Edge::None | Edge::Cut(_) => false,
            Edge::Leaf(leaf) => self.asked(leaf.id),
            Edge::Node(node, _) => self.plan.targets.is_none() || self.leading.contains(&Arc::as_ptr(node)),
        }
    }

    /// Makes a gradient what is handed out: one that was not recorded says so to whoever differentiates it.
    fn finish(&self, g: &mut Tensor) {
        if let Some(cut) = &self.unrecorded {
            g.set_cut(cut.clone());
        }
    }

    /// Adds a gradient to what an edge has received.
    fn receive(&mut self, edge: &Edge, shape: &Shape, dtype: DType, what: Contribution) -> Result<()> {
        match edge {
            Edge::None | Edge::Cut(_) => Ok(()),
            Edge::Leaf(leaf) => {
                if !self.asked(leaf.id) {
                    return Ok(());
                }
                let before = self.found.remove(&leaf.id).map(|e| e.value);
                let value = add_up(before, shape, dtype, what)?;
                self.found.insert(leaf.id, Entry { leaf: Some(leaf.clone()), value });
                Ok(())
            }
            Edge::Node(node, slot) => {
                let slot = &mut self.waiting.of(node).cotangents[*slot as usize];
                let before = slot.take();
                *slot = Some(add_up(before, shape, dtype, what)?);
                Ok(())
            }
        }
    }

    /// One use of an edge has been replayed. After the last use of a leaf, its gradient is complete.
    fn used(&mut self, edge: &Edge) {
        match edge {
            Edge::Cut(cut) => self.cuts.note(**cut),
            Edge::Leaf(leaf) => {
                if let Some(left) = self.uses.get_mut(&leaf.id) {
                    *left -= 1;
                    if *left == 0 {
                        self.complete(leaf.id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Hands out the gradient of a leaf, where it received one.
    fn complete(&mut self, id: LeafId) {
        self.uses.remove(&id);
        let Some(Entry { leaf, mut value }) = self.found.remove(&id) else { return };
        self.finish(&mut value);
        if let (Some(leaf), Some(ready)) = (&leaf, self.plan.on_ready.as_mut()) {
            ready(leaf, &value);
        }
        self.found.insert(id, Entry { leaf, value });
    }

    /// Hands out what is left: where nobody listens every leaf, else those with a use that no gradient ever reached.
    fn hand_out(&mut self) {
        if self.plan.on_ready.is_some() {
            let left: Vec<LeafId> = self.found.keys().filter(|id| self.uses.contains_key(id)).copied().collect();
            return left.into_iter().for_each(|id| self.complete(id));
        }
        let mut found = std::mem::take(&mut self.found);
        found.values_mut().filter(|entry| entry.leaf.is_some()).for_each(|entry| self.finish(&mut entry.value));
        self.found = found;
    }

    /// Walks the tape beforehand: finds the nodes that lead to a variable asked for, and counts the uses of leaves.
    fn survey(&mut self, roots: &[(Edge, Tensor)]) {
        let wanted = self.plan.targets.as_ref().map_or(u64::MAX, |ids| ids.iter().fold(0, |m, id| m | id.mark()));
        let edges = || roots.iter().map(|(edge, _)| edge);
        let mut nodes = upstream(edges(), |node| node.marks & wanted != 0);
        if self.plan.targets.is_some() {
            nodes.sort_by_key(|node| node.depth);
            nodes.retain(|node| {
                let leads = node.op.tap().is_some_and(|id| self.asked(id))
                    || node.inputs.iter().any(|input| self.leads(&input.edge));
                if leads {
                    self.leading.insert(Arc::as_ptr(node));
                }
                leads
            });
        }
        if self.plan.on_ready.is_some() {
            for edge in edges().chain(nodes.iter().flat_map(|node| node.inputs.iter().map(|input| &input.edge))) {
                if let Edge::Leaf(leaf) = edge {
                    *self.uses.entry(leaf.id).or_insert(0) += 1;
                }
            }
        }
    }
}

/// The nodes upstream of `edges` for which `enter` holds, and upstream of those, each once.
pub(crate) fn upstream<'e>(edges: impl Iterator<Item = &'e Edge>, enter: impl Fn(&Node) -> bool) -> Vec<&'e Arc<Node>> {
    let mut seen: FxHashSet<*const Node> = FxHashSet::default();
    let mut found = Vec::new();
    let mut stack: Vec<&Edge> = edges.collect();
    while let Some(edge) = stack.pop() {
        if let Edge::Node(node, _) = edge
            && enter(node)
            && seen.insert(Arc::as_ptr(node))
        {
            found.push(node);
            stack.extend(node.inputs.iter().map(|input| &input.edge));
        }
    }
    found
}

/// The sum of what was there and what arrives, in the memory of either where no one shares it.
fn add_up(before: Option<Tensor>, shape: &Shape, dtype: DType, what: Contribution) -> Result<Tensor> {
    match what {
        Contribution::Whole(g) => {
            let g = if g.shape() == shape { g } else { g.sum_to(shape) };
            if g.dtype() != dtype {
                let e = Error::new(format!("a gradient of precision {} arrived for a value of {dtype}", g.dtype()));
                return Err(e.kind_of(ErrorKind::Gradient).help("cast it in the gradient rule"));
            }
            Ok(match before {
                None => g,
                Some(before) => before + g,
            })
        }
        Contribution::Into(addition) => {
            let Addition { op, attrs, rest } = *addition;
            let base = before.unwrap_or_else(|| Tensor::full_dtype(shape, 0.0, dtype));
            let mut inputs: SmallVec<[Arg<'_>; 3]> = smallvec![Arg::from(base)];
            inputs.extend(rest.iter().map(Arg::from));
            apply(op, attrs, &mut inputs)?.into_first().downcast()
        }
    }
}

/// The error of a replay that has nowhere to start: says why the tensor is not connected.
pub(crate) fn not_connected(edge: &Edge) -> Error {
    let e = Error::new(match edge {
        Edge::Cut(cut) => format!("this tensor is not connected to any variable: {cut}"),
        _ => "this tensor is not connected to any variable".to_string(),
    });
    e.kind_of(ErrorKind::Gradient).help(match edge {
        Edge::Cut(cut) => mend(cut.kind),
        _ => "make a variable with requires_grad(), or a parameter, and compute the loss from it",
    })
}

/// What to do about a gradient that was cut off.
pub(crate) fn mend(kind: CutKind) -> &'static str {
    match kind {
        CutKind::Detached => "leave out that detach() where the gradient should flow",
        CutKind::NoGrad => "compute it outside of no_grad where the gradient should flow",
        CutKind::NoCreateGraph => "ask for that gradient with `Backward::new().create_graph()`",
        _ => "no gradient flows through this operation: leave it out of the way from the variable to the loss",
    }
}
