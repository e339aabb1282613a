//! The recording half of the tape: nodes, the edges between them, and the modes that decide whether to record.
//!
//! The graph belongs to the tensors that need it. A tensor holds an [`Edge`] to the [`Node`] that made it; a node holds
//! the edges of its inputs and what its gradient rule needs. Nothing is global: dropping the last tensor frees the
//! graph. No edge points from a node to its own outputs, so there are no cycles.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use smallvec::SmallVec;

use crate::dispatch::{Arg, Attrs, CustomOp, Op, Saves};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::kind::Kind;
use crate::layout::{Layout, Steps};
use crate::shape::{Shape, short};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// How a tensor relates to the tape.
///
/// ```
/// use wengert_tensor::tape::{CutKind, Edge, Input, LeafId, Node, OpRef, live_nodes};
/// use wengert_tensor::tensor;
/// let w = tensor![2.0].requires_grad();
/// let id: LeafId = w.edge().variable().unwrap();
/// assert_eq!(w.edge().marks(), id.mark());
///
/// let y = w.exp();
/// let Edge::Node(node, 0) = y.edge() else { panic!("computed from a variable") };
/// let node: &Node = node;
/// let Input { edge, shape, .. } = &node.inputs[0];
/// assert!(matches!(edge, Edge::Leaf(leaf) if leaf.id == id) && shape.elements() == 1);
/// let op: &OpRef = &node.op;
/// assert!(op.name() == "exp" && op.tap().is_none() && node.saved_bytes() >= 4);
/// assert!(live_nodes() >= 0);
///
/// let Edge::Cut(cut) = y.detach().edge().clone() else { panic!("cut off") };
/// assert!(cut.kind == CutKind::Detached && cut.marks == id.mark());
/// let mut x = tensor![1.0].requires_grad();
/// x.set_cut(cut);
/// assert!(!x.is_tracked());
/// ```
#[derive(Clone, Default)]
pub enum Edge {
    /// It came from no tracked tensor.
    #[default]
    None,
    /// It is a leaf: gradients end here.
    Leaf(Arc<Leaf>),
    /// It is output number `1` of a recorded operation.
    Node(Arc<Node>, u32),
    /// It came from a tracked tensor, but the way back was cut.
    Cut(Arc<Cut>),
}

impl Edge {
    /// Whether gradients flow along this edge.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        matches!(self, Edge::Leaf(_) | Edge::Node(..))
    }

    /// A mark of the leaves upstream: bit `id % 64` of each.
    #[inline]
    pub fn marks(&self) -> u64 {
        match self {
            Edge::None => 0,
            Edge::Leaf(leaf) => leaf.id.mark(),
            Edge::Node(node, _) => node.marks,
            Edge::Cut(cut) => cut.marks,
        }
    }

    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Edge::Node(node, _) => node.depth,
            _ => 0,
        }
    }

    /// The variable whose gradient a replay reports for this edge, where it is one.
    pub fn variable(&self) -> Option<LeafId> {
        match self {
            Edge::Leaf(leaf) => Some(leaf.id),
            Edge::Node(node, _) => node.op.tap(),
            _ => None,
        }
    }
}

/// Why, where and by which operation the way to a gradient was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Why.
    pub kind: CutKind,
    /// The operation whose result is no longer connected.
    pub op: &'static str,
    /// The line that called it.
    pub at: &'static Location<'static>,
    /// The leaves upstream of the cut: bit `id % 64` of each.
    pub marks: u64,
}

/// Why a gradient stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutKind {
    /// `detach` was called.
    Detached,
    /// The operation ran under [`no_grad`].
    NoGrad,
    /// The operation has integer or boolean results.
    NotFloat,
    /// It is a gradient that was computed without `create_graph`.
    NoCreateGraph,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { op, at, .. } = self;
        match self.kind {
            CutKind::Detached => write!(f, "detached at {at}"),
            CutKind::NoGrad => write!(f, "`{op}` ran under no_grad at {at}"),
            CutKind::NotFloat => write!(f, "went through `{op}`, which has no float result, at {at}"),
            CutKind::NoCreateGraph => write!(f, "a gradient that `{op}` computed without create_graph at {at}"),
        }
    }
}

/// The identity of a leaf or of a watched tensor, unique in the process and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId(u64);

impl LeafId {
    /// A new identity.
    pub fn next() -> LeafId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        LeafId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The bit that marks this leaf in [`Edge::marks`].
    #[inline]
    pub fn mark(self) -> u64 {
        1 << (self.0 % 64)
    }
}

/// A variable: where gradients end.
///
/// ```
/// use std::panic::Location;
/// use wengert_tensor::tape::{Leaf, LeafId};
/// use wengert_tensor::tensor;
/// let leaf = Leaf::new(Location::caller());
/// leaf.set_name("weight");
/// let w = tensor![1.0].with_leaf(leaf.clone());
/// assert_eq!((w.edge().variable(), leaf.name().as_deref()), (Some(leaf.id), Some("weight")));
/// assert!(LeafId::next() > leaf.id);
/// ```
pub struct Leaf {
    /// Its identity, the key of its gradient.
    pub id: LeafId,
    /// The line that made it a variable.
    pub at: &'static Location<'static>,
    name: Mutex<Option<Arc<str>>>,
}

impl Leaf {
    /// A new variable, made at `at`.
    pub fn new(at: &'static Location<'static>) -> Arc<Leaf> {
        Arc::new(Leaf { id: LeafId::next(), at, name: Mutex::new(None) })
    }

    /// The name it goes by in a model, such as `fc.weight`.
    pub fn name(&self) -> Option<Arc<str>> {
        lock(&self.name).clone()
    }

    /// Names the variable, for errors and printouts.
    pub fn set_name(&self, name: &str) {
        let mut own = lock(&self.name);
        if own.as_deref() != Some(name) {
            *own = Some(name.into());
        }
    }
}

/// A recorded operation.
pub struct Node {
    /// What was done.
    pub op: OpRef,
    /// How: axes, strides, numbers.
    pub attrs: Attrs,
    /// One for each input: where it came from, and its shape and precision.
    pub inputs: SmallVec<[Input; 2]>,
    /// The shapes and precisions of the outputs.
    pub outputs: SmallVec<[(Shape, DType); 1]>,
    /// One more than the deepest input: a replay goes from deep to shallow.
    pub depth: u32,
    /// The leaves upstream: bit `id % 64` of each.
    pub marks: u64,
    /// The line of the user's call.
    pub at: &'static Location<'static>,
    saved: Mutex<SavedState>,
}

/// An input of a recorded operation.
#[derive(Clone)]
pub struct Input {
    /// Where it came from.
    pub edge: Edge,
    /// Its shape.
    pub shape: Shape,
    /// Its precision.
    pub dtype: DType,
}

/// A built-in or a user's operation.
#[derive(Clone)]
pub enum OpRef {
    /// One of the registry.
    Static(&'static Op),
    /// A user's.
    Custom(Arc<dyn CustomOp>),
}

impl OpRef {
    /// The operation's name.
    #[inline]
    pub fn name(&self) -> &'static str {
        match self {
            OpRef::Static(op) => op.name,
            OpRef::Custom(op) => op.name(),
        }
    }

    /// The variable whose gradient this operation reports, where it is a watch.
    pub fn tap(&self) -> Option<LeafId> {
        match self {
            OpRef::Static(_) => None,
            OpRef::Custom(op) => op.tap(),
        }
    }
}

/// A tensor kept for the gradient rule: its elements, but no edge, so that a node never owns a way to itself. Its shape
/// and precision are those that the node keeps of every input and output.
#[derive(Clone)]
struct Saved {
    storage: Storage,
    steps: Steps,
    /// Input `i` is `i`, output `k` is `-1 - k`.
    slot: i32,
}

enum SavedState {
    Held(SmallVec<[Saved; 2]>),
    Freed,
}

#[cfg(debug_assertions)]
static LIVE_NODES: AtomicIsize = AtomicIsize::new(0);

/// How many recorded operations are alive, over all threads. Counted only in builds with debug assertions; 0
/// otherwise.
pub fn live_nodes() -> isize {
    #[cfg(debug_assertions)]
    return LIVE_NODES.load(Ordering::SeqCst);
    #[cfg(not(debug_assertions))]
    0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these locks is held leaves nothing half-done.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Node {
    pub(crate) fn record(
        op: OpRef,
        attrs: &mut Attrs,
        saves: Saves,
        inputs: &[Arg<'_>],
        outputs: &[AnyTensor],
        at: &'static Location<'static>,
    ) -> Arc<Node> {
        #[cfg(debug_assertions)]
        LIVE_NODES.fetch_add(1, Ordering::SeqCst);
        let keep =
            |t: &AnyTensor, slot| Saved { storage: t.storage().clone(), steps: t.layout().steps().clone(), slot };
        let mut saved = SmallVec::new();
        for (i, arg) in inputs.iter().enumerate().filter(|(i, _)| saves.input(*i)) {
            saved.push(keep(arg.tensor(), i as i32));
        }
        for (k, t) in outputs.iter().enumerate().filter(|(k, _)| saves.output(*k)) {
            saved.push(keep(t, -1 - k as i32));
        }
        // Filled where it lies: what was just built elsewhere, piece by piece, is slow to move.
        const INPUT: Input = Input { edge: Edge::None, shape: Shape::scalar(), dtype: DType::F32 };
        const OUTPUT: (Shape, DType) = (Shape::scalar(), DType::F32);
        let mut shared = Arc::new(Node {
            depth: 0,
            marks: op.tap().map_or(0, LeafId::mark),
            op,
            attrs: std::mem::take(attrs),
            inputs: SmallVec::from_buf_and_len([INPUT; 2], inputs.len().min(2)),
            outputs: SmallVec::from_buf_and_len([OUTPUT], outputs.len().min(1)),
            at,
            saved: Mutex::new(SavedState::Held(saved)),
        });
        let node = Arc::get_mut(&mut shared).expect("no one else has it yet");
        // Also a call that has nothing to do takes its time.
        if inputs.len() > 2 {
            node.inputs.resize(inputs.len(), INPUT);
        }
        for (input, arg) in node.inputs.iter_mut().zip(inputs) {
            let t = arg.tensor();
            node.depth = t.edge().depth().max(node.depth);
            node.marks |= t.edge().marks();
            input.edge = t.edge().clone();
            input.shape.clone_from(t.shape());
            input.dtype = t.dtype();
        }
        node.depth += 1;
        if outputs.len() > 1 {
            node.outputs.resize(outputs.len(), OUTPUT);
        }
        for (output, t) in node.outputs.iter_mut().zip(outputs) {
            output.0.clone_from(t.shape());
            output.1 = t.dtype();
        }
        shared
    }

    /// Bytes that are kept alive for the gradient rule.
    pub fn saved_bytes(&self) -> usize {
        match &*lock(&self.saved) {
            SavedState::Held(saved) => saved.iter().map(|s| s.storage.bytes()).sum(),
            SavedState::Freed => 0,
        }
    }

    /// Runs the gradient rule.
    ///
    /// `cotangents` are the gradients of the outputs, by value. With `retain` the saved tensors stay for another
    /// replay, else they are freed before the rule ends. With `create_graph` what the rule gets is tracked. `wanted`
    /// says which inputs need a gradient.
    ///
    /// # Errors
    /// If the saved tensors were freed by an earlier replay, or the rule fails.
    ///
    /// ```
    /// use wengert_tensor::tape::{Contribution, Edge, Given, in_backward_of};
    /// use wengert_tensor::tensor;
    /// let y = tensor![3.0].requires_grad().square();
    /// let Edge::Node(node, _) = y.edge() else { unreachable!() };
    /// let cotangents = [Some(tensor![1.0])].into_iter().collect();
    /// let given = in_backward_of(node, || node.replay(cotangents, false, false, |_| true)).unwrap();
    /// let Given { input: 0, what: Contribution::Whole(gradient) } = &given[0] else { unreachable!() };
    /// assert_eq!(gradient.to_vec::<f32>(), [6.0]);
    /// ```
    pub fn replay(
        self: &Arc<Node>,
        cotangents: SmallVec<[Option<Tensor>; 1]>,
        retain: bool,
        create_graph: bool,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<SmallVec<[Given; 2]>> {
        let saved = {
            let mut state = lock(&self.saved);
            match &mut *state {
                SavedState::Freed => {
                    let (op, at) = (self.op.name(), self.at);
                    let e = Error::new(format!("the graph was freed by an earlier backward: `{op}` from {at}"));
                    return Err(e.kind_of(ErrorKind::Gradient).help(
                        "keep it with `backward_with(Backward::new().retain_graph())`, or compute the loss again",
                    ));
                }
                SavedState::Held(saved) if retain => saved.clone(),
                SavedState::Held(saved) => {
                    let saved = std::mem::take(saved);
                    *state = SavedState::Freed;
                    saved
                }
            }
        };
        let needs = short(self.inputs.iter().enumerate().map(|(i, input)| input.edge.is_tracked() && wanted(i)));
        let mut cx = Vjp { node: self, saved, cotangents, create_graph, needs, given: SmallVec::new() };
        match &self.op {
            OpRef::Static(op) => match op.gradient.rule() {
                Some(rule) => rule(&mut cx),
                None => unreachable!("`{}` was recorded without a gradient rule", op.name),
            },
            OpRef::Custom(op) => op.vjp(&mut cx)?,
        }
        Ok(cx.given)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        LIVE_NODES.fetch_sub(1, Ordering::SeqCst);
        // A chain of a million nodes must not become a million nested drops. What this node keeps alive is queued, and the
        // outermost drop on this thread works the queue off.
        let keeps = |input: &Input| matches!(input.edge, Edge::Node(..));
        if !self.inputs.iter().any(keeps) && matches!(self.op, OpRef::Static(_)) {
            return;
        }
        let draining = TRASH.try_with(|trash| {
            let mut trash = trash.borrow_mut();
            self.give_up(|item| trash.queue.push(item));
            std::mem::replace(&mut trash.draining, true)
        });
        match draining {
            Ok(true) => {}
            Ok(false) => {
                while let Ok(Some(item)) = TRASH.try_with(|trash| trash.borrow_mut().queue.pop()) {
                    item.free();
                }
                let _ = TRASH.try_with(|trash| {
                    let mut trash = trash.borrow_mut();
                    trash.draining = false;
                    if trash.queue.capacity() > 1024 {
                        trash.queue = Vec::new();
                    }
                });
            }
            // The thread is ending and its queue is gone. Another thread's is not.
            Err(_) => {
                let mut items = Vec::new();
                self.give_up(|item| items.push(item));
                let _ = std::thread::Builder::new()
                    .spawn(move || items.into_iter().for_each(Trash::free))
                    .map(|t| t.join());
            }
        }
    }
}

impl Node {
    /// Gives up what may hold more of the graph: the nodes of its inputs, and a user's operation, which may hold tensors.
    fn give_up(&mut self, mut to: impl FnMut(Trash)) {
        for input in &mut self.inputs {
            if let Edge::Node(..) = input.edge
                && let Edge::Node(node, _) = std::mem::take(&mut input.edge)
            {
                to(Trash::Node(node));
            }
        }
        if let OpRef::Custom(_) = self.op
            && let OpRef::Custom(op) = std::mem::replace(&mut self.op, OpRef::Static(&crate::ops::IDENTITY))
        {
            to(Trash::Custom(op));
        }
    }
}

enum Trash {
    Node(Arc<Node>),
    Custom(Arc<dyn CustomOp>),
}

impl Trash {
    fn free(self) {
        match self {
            // Only the last owner gets the node; its drop queues its own inputs.
            Trash::Node(node) => drop(Arc::into_inner(node)),
            Trash::Custom(op) => drop(op),
        }
    }
}

struct TrashQueue {
    queue: Vec<Trash>,
    draining: bool,
}

thread_local! {
    static TRASH: RefCell<TrashQueue> = const { RefCell::new(TrashQueue { queue: Vec::new(), draining: false }) };
}

/// A gradient that a rule gave for one input.
pub struct Given {
    /// Which input.
    pub input: usize,
    /// The gradient.
    pub what: Contribution,
}

/// How a gradient is added to what the input has received so far.
pub enum Contribution {
    /// A tensor of the input's shape, or of one that the input was broadcast to: then it is summed back.
    Whole(Tensor),
    /// An operation that takes what has been received so far as its first input and returns it with the gradient
    /// added, such as `scatter_add`. It saves building a full-size tensor for a gradient that touches little.
    Into(Box<Addition>),
}

/// An operation that adds to its first input.
///
/// ```
/// use wengert_tensor::dispatch::Attrs;
/// use wengert_tensor::tape::{Addition, Contribution};
/// use wengert_tensor::{registry, tensor};
/// let add = Addition { op: registry::find("add").unwrap(), attrs: Attrs::NONE, rest: vec![tensor![1.0].into()] };
/// assert!(matches!(Contribution::Into(Box::new(add)), Contribution::Into(add) if add.rest.len() == 1));
/// ```
pub struct Addition {
    /// The operation.
    pub op: &'static Op,
    /// Its attributes.
    pub attrs: Attrs,
    /// Its inputs after the first.
    pub rest: Vec<AnyTensor>,
}

/// What a gradient rule sees: the incoming gradients, what was saved, and which inputs need a gradient.
///
/// ```
/// use std::sync::Arc;
/// use wengert_tensor::dispatch::{Attrs, CustomOp, Saves, apply_custom};
/// use wengert_tensor::tape::Vjp;
/// use wengert_tensor::{AnyTensor, DType, Float, Result, Tensor, registry, tensor};
///
/// /// The exponential of the first row.
/// struct FirstRow;
/// impl CustomOp for FirstRow {
///     fn name(&self) -> &'static str {
///         "first_row"
///     }
///     fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
///         Ok(inputs[0].float()?.i(0).exp())
///     }
///     fn saves(&self) -> Saves {
///         Saves::OUTPUT
///     }
///     fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
///         assert_eq!((cx.input_dtype(0), cx.input_shape(0).rank()), (DType::F32, 2));
///         assert!(cx.needs(0) && cx.attrs().iter().count() == 0);
///         let y = cx.output::<Float>(0);
///         let g = cx.cotangent(0) * y;
///         assert!(cx.take_cotangent(0).is_none()); // it was given away
///         // Added to one row of what the input has received: no matrix of zeros is made.
///         let add = registry::find("index_add").unwrap();
///         cx.give_into(0, add, Attrs::NONE.with("axis", 0_i64), [tensor![0].into(), g.unsqueeze(0).into()]);
///         Ok(())
///     }
///     fn tap(&self) -> Option<wengert_tensor::tape::LeafId> {
///         None // no variable's gradient is reported here
///     }
/// }
///
/// let x = tensor![[0.0, 1.0], [2.0, 3.0]].requires_grad();
/// assert!(apply_custom(Arc::new(FirstRow), &[x.as_any()]).unwrap().is_tracked());
/// ```
pub struct Vjp<'a> {
    node: &'a Arc<Node>,
    saved: SmallVec<[Saved; 2]>,
    cotangents: SmallVec<[Option<Tensor>; 1]>,
    create_graph: bool,
    needs: SmallVec<[bool; 4]>,
    given: SmallVec<[Given; 2]>,
}

impl Vjp<'_> {
    /// The gradient of the first output, by value. Zeros if only other outputs received one.
    pub fn g(&mut self) -> Tensor {
        self.cotangent(0)
    }

    /// The gradient of output `k`, by value. Zeros if it received none.
    pub fn cotangent(&mut self, k: usize) -> Tensor {
        self.take_cotangent(k).unwrap_or_else(|| {
            let (shape, dtype) = &self.node.outputs[k];
            Tensor::full_dtype(shape, 0.0, *dtype)
        })
    }

    /// The gradient of output `k`, by value, where it received one.
    pub fn take_cotangent(&mut self, k: usize) -> Option<Tensor> {
        self.cotangents.get_mut(k)?.take()
    }

    /// Whether input `i` needs a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// The operation's attributes.
    pub fn attrs(&self) -> &Attrs {
        &self.node.attrs
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// The shape of input `i`, which need not have been saved.
    pub fn input_shape(&self, i: usize) -> &Shape {
        &self.node.inputs[i].shape
    }

    /// The precision of input `i`, which need not have been saved.
    pub fn input_dtype(&self, i: usize) -> DType {
        self.node.inputs[i].dtype
    }

    /// Saved input `i`, tracked if the gradient is to be differentiated again.
    ///
    /// # Panics
    /// If the operation does not save it, or it is of another kind.
    pub fn input<K: Kind>(&self, i: usize) -> Tensor<K> {
        let edge = if self.create_graph { self.node.inputs[i].edge.clone() } else { Edge::None };
        self.unpack(i as i32, edge)
    }

    /// Saved output `k`, tracked if the gradient is to be differentiated again.
    ///
    /// # Panics
    /// If the operation does not save it, or it is of another kind.
    pub fn output<K: Kind>(&self, k: usize) -> Tensor<K> {
        let float = self.node.outputs[k].1.is_float();
        let edge = if self.create_graph && float { Edge::Node(self.node.clone(), k as u32) } else { Edge::None };
        self.unpack(-1 - k as i32, edge)
    }

    fn unpack<K: Kind>(&self, slot: i32, edge: Edge) -> Tensor<K> {
        let s = self.saved.iter().find(|s| s.slot == slot).unwrap_or_else(|| {
            let name = self.node.op.name();
            match slot {
                0.. => panic!("the gradient rule of `{name}` reads input {slot}, which it does not save"),
                _ => panic!("the gradient rule of `{name}` reads output {}, which it does not save", -1 - slot),
            }
        });
        let (shape, dtype) = match usize::try_from(slot) {
            Ok(i) => (self.input_shape(i), self.input_dtype(i)),
            Err(_) => {
                let (shape, dtype) = &self.node.outputs[(-1 - slot) as usize];
                (shape, *dtype)
            }
        };
        let layout = Layout::with_steps(shape.clone(), s.steps.clone());
        let t = AnyTensor::new(s.storage.clone(), layout, dtype).with_edge(edge);
        match t.downcast() {
            Ok(t) => t,
            Err(e) => panic!("the gradient rule of `{}`: {e}", self.node.op.name()),
        }
    }

    /// Gives input `i` its gradient: of the input's shape, or of one that it was broadcast to.
    pub fn give(&mut self, i: usize, gradient: Tensor) {
        if self.needs(i) {
            self.given.push(Given { input: i, what: Contribution::Whole(gradient) });
        }
    }

    /// Gives input `i` its gradient as an operation on what it has received so far, see [`Contribution::Into`].
    pub fn give_into(&mut self, i: usize, op: &'static Op, attrs: Attrs, rest: impl IntoIterator<Item = AnyTensor>) {
        if self.needs(i) {
            let what = Addition { op, attrs, rest: rest.into_iter().collect() };
            self.given.push(Given { input: i, what: Contribution::Into(Box::new(what)) });
        }
    }
}

pub(crate) struct Mode {
    /// Whether operations on tracked tensors are recorded.
    pub(crate) grad: Cell<bool>,
    /// Whether an interceptor listens.
    pub(crate) intercepted: Cell<bool>,
    /// While a gradient rule runs: the operation whose rule it is, and the line that called it.
    pub(crate) backward: Cell<Option<(&'static str, &'static Location<'static>)>>,
}

thread_local! {
    pub(crate) static MODE: Mode =
        const { Mode { grad: Cell::new(true), intercepted: Cell::new(false), backward: Cell::new(None) } };
}

/// Whether operations on tracked tensors are recorded on this thread.
pub fn is_grad_enabled() -> bool {
    MODE.with(|m| m.grad.get())
}

/// Runs `f` without recording anything on the tape.
///
/// The mode is per thread: threads that `f` starts itself record as usual, while work that this library spreads over
/// threads inherits it. The former mode returns when `f` ends, also when it panics.
///
/// ```
/// use wengert_tensor::{no_grad, tensor};
/// let w = tensor![1.0, 2.0].requires_grad();
/// let y = no_grad(|| w.exp());
/// assert!(!y.is_tracked());
/// assert!(w.exp().is_tracked());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad(false, f)
}

/// Runs `f` with recording on or off on this thread; see [`no_grad`].
///
/// ```
/// use wengert_tensor::tape::with_grad;
/// use wengert_tensor::{is_grad_enabled, no_grad, tensor};
/// let w = tensor![2.0].requires_grad();
/// no_grad(|| {
///     assert!(!is_grad_enabled());
///     assert!(with_grad(true, || w.exp()).is_tracked());
/// });
/// ```
pub fn with_grad<R>(enabled: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.with(|m| m.grad.set(self.0));
        }
    }
    let _restore = Restore(MODE.with(|m| m.grad.replace(enabled)));
    f()
}

/// Runs `f` as part of the gradient rule of `node`: operations inside are placed at the line that `node` was recorded
/// at, and interceptors see which operation's gradient they belong to.
pub fn in_backward_of<R>(node: &Node, f: impl FnOnce() -> R) -> R {
    type Place = Option<(&'static str, &'static Location<'static>)>;
    struct Restore(Place);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.with(|m| m.backward.set(self.0));
        }
    }
    let _restore = Restore(MODE.with(|m| m.backward.replace(Some((node.op.name(), node.at)))));
    f()
}
