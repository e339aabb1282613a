//! The engine: replays a tape in reverse.
//!
//! Nodes wait in a queue ordered by depth, deepest first, ties in the order of discovery. Every user of a node is
//! deeper than the node, so when a node comes up its gradient is complete. Gradients are added up as they arrive.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};
use wengert_tensor::dispatch::{Arg, apply};
use wengert_tensor::tape::{Contribution, Cut, CutKind, Edge, Leaf, LeafId, Node, in_backward_of, with_grad};
use wengert_tensor::{DType, Error, ErrorKind, Result, Shape, Tensor};

use crate::gradients::{Entry, Gradients};

/// How a replay goes.
pub(crate) struct Plan<'a> {
    /// Keep what the tape saved, for another replay.
    pub(crate) retain: bool,
    /// Record the replay itself, so that gradients can be differentiated.
    pub(crate) create_graph: bool,
    /// The variables asked for; all, where it is `None`.
    pub(crate) targets: Option<Vec<LeafId>>,
    /// Called with each leaf whose gradient is complete.
    pub(crate) on_ready: Option<OnReady<'a>>,
}

/// A function to call with each variable whose gradient is complete.
pub(crate) type OnReady<'a> = &'a mut dyn FnMut(&Leaf, &Tensor);

/// A node on its way to be replayed, with what its outputs have received so far.
struct Pending {
    node: Arc<Node>,
    cotangents: SmallVec<[Option<Tensor>; 1]>,
}

struct Engine<'a> {
    plan: Plan<'a>,
    /// Bits of the variables asked for.
    wanted: u64,
    pending: Vec<Option<Pending>>,
    place: FxHashMap<*const Node, usize>,
    queue: BinaryHeap<(u32, Reverse<usize>)>,
    found: BTreeMap<LeafId, Entry>,
    cuts: Vec<Cut>,
    /// How many uses of each leaf are still to be replayed; counted only where someone wants to know.
    uses: FxHashMap<LeafId, usize>,
}

/// Replays the tapes of `roots`, each with the gradient it starts from.
pub(crate) fn replay(roots: Vec<(Edge, Tensor)>, plan: Plan<'_>) -> Result<Gradients> {
    let wanted = plan.targets.as_ref().map_or(u64::MAX, |ids| ids.iter().fold(0, |m, id| m | id.mark()));
    let marks = roots.iter().fold(0, |m, (edge, _)| m | edge.marks());
    let create_graph = plan.create_graph;
    let mut engine = Engine {
        plan,
        wanted,
        pending: Vec::new(),
        place: FxHashMap::default(),
        queue: BinaryHeap::new(),
        found: BTreeMap::new(),
        cuts: Vec::new(),
        uses: FxHashMap::default(),
    };
    if engine.plan.on_ready.is_some() {
        engine.count_uses(roots.iter().map(|(edge, _)| edge));
    }
    with_grad(create_graph, || {
        for (edge, cotangent) in roots {
            if let Edge::Cut(cut) = &edge {
                engine.note_cut(*cut);
            }
            let (shape, dtype) = (cotangent.shape().clone(), cotangent.dtype());
            engine.receive(&edge, &shape, dtype, Contribution::Whole(cotangent))?;
            engine.used(&edge);
        }
        engine.run()
    })?;
    let Engine { found, cuts, .. } = engine;
    Ok(Gradients::new(found, cuts, marks))
}

impl Engine<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some((_, Reverse(at))) = self.queue.pop() {
            let Pending { node, cotangents } = self.pending[at].take().expect("each node is queued once");
            self.place.remove(&Arc::as_ptr(&node));
            if let Some(id) = node.op.tap()
                && self.asked(id)
                && let Some(Some(g)) = cotangents.first()
            {
                let value = self.finished(g.clone());
                self.found.insert(id, Entry { leaf: None, value });
            }
            let wanted = self.wanted;
            let (retain, create_graph) = (self.plan.retain || self.plan.create_graph, self.plan.create_graph);
            in_backward_of(&node, || {
                let given =
                    node.replay(cotangents, retain, create_graph, |i| node.inputs[i].edge.marks() & wanted != 0)?;
                for g in given {
                    let input = &node.inputs[g.input];
                    self.receive(&input.edge, &input.shape, input.dtype, g.what)?;
                }
                for input in &node.inputs {
                    if let Edge::Cut(cut) = &input.edge {
                        self.note_cut(*cut);
                    }
                    self.used(&input.edge);
                }
                Ok::<(), Error>(())
            })?;
        }
        Ok(())
    }

    fn asked(&self, id: LeafId) -> bool {
        self.plan.targets.as_ref().is_none_or(|ids| ids.contains(&id))
    }

    /// A gradient as it is handed out: one that was not recorded says so to whoever differentiates it.
    fn finished(&self, g: Tensor) -> Tensor {
        if self.plan.create_graph { g } else { g.detach() }
    }

    fn note_cut(&mut self, cut: Cut) {
        const MOST: usize = 64;
        let known = self.cuts.iter().position(|c| c.at == cut.at && c.op == cut.op);
        match known {
            Some(i) => self.cuts[i].marks |= cut.marks,
            None if self.cuts.len() < MOST => self.cuts.push(cut),
            None => {}
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
                let next = self.pending.len();
                let at = *self.place.entry(Arc::as_ptr(node)).or_insert(next);
                if at == next {
                    let cotangents = smallvec![None; node.outputs.len()];
                    self.pending.push(Some(Pending { node: node.clone(), cotangents }));
                    self.queue.push((node.depth, Reverse(at)));
                }
                let pending = self.pending[at].as_mut().expect("a node waits until all its users are done");
                let slot = &mut pending.cotangents[*slot as usize];
                let before = slot.take();
                *slot = Some(add_up(before, shape, dtype, what)?);
                Ok(())
            }
        }
    }

    fn count_uses<'e>(&mut self, roots: impl Iterator<Item = &'e Edge>) {
        let mut seen = FxHashMap::default();
        let mut stack: Vec<Arc<Node>> = Vec::new();
        let mut uses = std::mem::take(&mut self.uses);
        let mut visit = |edge: &Edge, stack: &mut Vec<Arc<Node>>| match edge {
            Edge::Leaf(leaf) => *uses.entry(leaf.id).or_insert(0) += 1,
            Edge::Node(node, _) => {
                if seen.insert(Arc::as_ptr(node), ()).is_none() {
                    stack.push(node.clone());
                }
            }
            _ => {}
        };
        roots.for_each(|edge| visit(edge, &mut stack));
        while let Some(node) = stack.pop() {
            node.inputs.iter().for_each(|input| visit(&input.edge, &mut stack));
        }
        self.uses = uses;
    }

    /// One use of an edge has been replayed: after the last one of a leaf, its gradient is complete.
    fn used(&mut self, edge: &Edge) {
        let (Edge::Leaf(leaf), Some(ready)) = (edge, self.plan.on_ready.as_mut()) else { return };
        let left = self.uses.get_mut(&leaf.id).expect("every use was counted");
        *left -= 1;
        if *left == 0
            && let Some(entry) = self.found.get(&leaf.id)
        {
            ready(leaf, &entry.value);
        }
    }
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
        Contribution::Into { op, attrs, rest } => {
            let base = before.unwrap_or_else(|| Tensor::full_dtype(shape, 0.0, dtype));
            let mut inputs: SmallVec<[Arg<'_>; 3]> = smallvec![Arg::from(base)];
            inputs.extend(rest.iter().map(Arg::from));
            apply(op, attrs, &mut inputs)?.swap_remove(0).downcast()
        }
    }
}

/// The error of a replay that has nowhere to start: says why the tensor is not connected.
pub(crate) fn not_connected(what: &str, edge: &Edge) -> Error {
    let e = Error::new(match edge {
        Edge::Cut(cut) => format!("{what} is not connected to any variable: it {cut}"),
        _ => format!("{what} is not connected to any variable"),
    })
    .kind_of(ErrorKind::Gradient);
    match edge {
        Edge::Cut(Cut { kind: CutKind::NoGrad, .. }) => e.help("compute it outside of no_grad"),
        Edge::Cut(Cut { kind: CutKind::NoCreateGraph, .. }) => {
            e.help("ask for the first gradient with `Backward::new().create_graph()`")
        }
        Edge::Cut(_) => e.help("gradients do not flow through this operation; leave it out of the way to the loss"),
        _ => e.help("make a variable with requires_grad(), or a parameter, and compute the loss from it"),
    }
}
