//! The one seam that every operation goes through: `apply(op, attributes, inputs) -> outputs`.
//!
//! An [`Op`] is data and plain functions; [`Attrs`] are data; gradient rules are functions. So a call can be printed,
//! exported, replayed, or replaced by an [`Interceptor`].

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::kind::Kind;
use crate::registry::OpInfo;
use crate::storage::{OutOfMemory, Storage};
use crate::tape::{Cut, CutKind, Edge, LeafId, MODE, Node, OpRef, Vjp};
use crate::tensor::{AnyTensor, Tensor};

pub use crate::attributes::{Attrs, Value};
pub use crate::outputs::Outputs;

/// An operation: what it is called, how it is computed, and how its gradient is.
///
/// The functions get everything through their arguments and capture nothing.
pub struct Op {
    /// Its name, that of the method.
    pub name: &'static str,
    /// What errors call its operands, in order. The last name serves for all that follow.
    pub operands: &'static [&'static str],
    /// Checks the inputs and computes the outputs.
    pub forward: fn(&mut Call<'_, '_>) -> Result<Outputs>,
    /// Its gradient.
    pub gradient: Gradient,
    /// What tests, documentation and benchmarks need to know.
    pub info: fn() -> OpInfo,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Op({})", self.name)
    }
}

/// How an operation's gradient is had.
#[derive(Clone, Copy)]
pub enum Gradient {
    /// By a rule, written in tensor operations.
    Rule {
        /// Which inputs and outputs the rule reads, given which inputs need a gradient.
        saves: fn(Needs) -> Saves,
        /// The rule.
        vjp: fn(&mut Vjp<'_>),
    },
    /// There is none because the results are integers or booleans, or there are no inputs.
    NotFloat,
    /// There is none yet: calling the operation on a tracked tensor is an error.
    Missing,
}

impl Gradient {
    /// The rule, where there is one.
    ///
    /// ```
    /// use wengert_tensor::registry::find;
    /// assert!(find("exp").unwrap().gradient.rule().is_some());
    /// assert!(find("argmax").unwrap().gradient.rule().is_none());
    /// ```
    pub fn rule(&self) -> Option<fn(&mut Vjp<'_>)> {
        match self {
            Gradient::Rule { vjp, .. } => Some(*vjp),
            _ => None,
        }
    }
}

/// A set of input numbers. Inputs from 63 on share one place, which is set if any of them is.
///
/// ```
/// use wengert_tensor::dispatch::Needs;
/// let mut needs = Needs::default();
/// assert!(needs.is_empty());
/// needs.add(2);
/// assert!(needs.has(2) && !needs.has(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Needs(u64);

impl Needs {
    /// Whether input `i` is in the set.
    #[inline]
    pub fn has(self, i: usize) -> bool {
        self.0 >> i.min(63) & 1 == 1
    }

    /// Adds input `i`.
    #[inline]
    pub fn add(&mut self, i: usize) {
        self.0 |= 1 << i.min(63);
    }

    /// Whether the set is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Which inputs and outputs a gradient rule reads.
///
/// ```
/// use wengert_tensor::dispatch::Saves;
/// let saves = Saves::NONE.and_input(1).union(Saves::OUTPUT);
/// assert!(saves.input(1) && !saves.input(0) && saves.output(0));
/// assert!(Saves::INPUTS.input(7) && !Saves::INPUT.and_output(2).output(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Saves {
    inputs: Needs,
    outputs: Needs,
}

impl Saves {
    /// Nothing.
    pub const NONE: Saves = Saves { inputs: Needs(0), outputs: Needs(0) };
    /// All inputs.
    pub const INPUTS: Saves = Saves { inputs: Needs(u64::MAX), outputs: Needs(0) };
    /// Input 0.
    pub const INPUT: Saves = Saves { inputs: Needs(1), outputs: Needs(0) };
    /// Output 0.
    pub const OUTPUT: Saves = Saves { inputs: Needs(0), outputs: Needs(1) };

    /// These and input `i`.
    pub const fn and_input(self, i: usize) -> Saves {
        Saves { inputs: Needs(self.inputs.0 | 1 << i), outputs: self.outputs }
    }

    /// These and output `k`.
    pub const fn and_output(self, k: usize) -> Saves {
        Saves { inputs: self.inputs, outputs: Needs(self.outputs.0 | 1 << k) }
    }

    /// These and `other`.
    pub const fn union(self, other: Saves) -> Saves {
        Saves { inputs: Needs(self.inputs.0 | other.inputs.0), outputs: Needs(self.outputs.0 | other.outputs.0) }
    }

    /// Whether input `i` is saved.
    pub fn input(self, i: usize) -> bool {
        self.inputs.has(i)
    }

    /// Whether output `k` is saved.
    pub fn output(self, k: usize) -> bool {
        self.outputs.has(k)
    }
}

/// An input of a call: lent, or handed over so that its memory may be reused.
///
/// ```
/// use wengert_tensor::dispatch::Arg;
/// use wengert_tensor::tensor;
/// let x = tensor![1.0, 2.0];
/// let (lent, given) = (Arg::from(&x), Arg::from(x.exp())); // memory that is given may be used for the result
/// assert_eq!(lent.tensor().shape(), given.tensor().shape());
/// ```
pub enum Arg<'a> {
    /// Lent.
    Ref(&'a AnyTensor),
    /// Handed over.
    Own(AnyTensor),
}

impl Arg<'_> {
    /// The tensor.
    #[inline]
    pub fn tensor(&self) -> &AnyTensor {
        match self {
            Arg::Ref(t) => t,
            Arg::Own(t) => t,
        }
    }
}

impl<'a, K: Kind> From<&'a Tensor<K>> for Arg<'a> {
    fn from(t: &'a Tensor<K>) -> Arg<'a> {
        Arg::Ref(t.as_any())
    }
}

impl<K: Kind> From<Tensor<K>> for Arg<'_> {
    fn from(t: Tensor<K>) -> Self {
        Arg::Own(t.into_any())
    }
}

impl<'a> From<&'a AnyTensor> for Arg<'a> {
    fn from(t: &'a AnyTensor) -> Arg<'a> {
        Arg::Ref(t)
    }
}

/// What an operation's `forward` sees of its call.
///
/// ```
/// use std::sync::LazyLock;
/// use wengert_tensor::dispatch::{Attrs, Call, Op, Outputs, apply};
/// use wengert_tensor::{Result, registry, tensor};
///
/// fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
///     assert!(!call.is_empty() && call.attrs().get("axis").is_none());
///     assert_eq!(call.same_dtype()?, call.same_dtype_of([0])?);
///     assert!(call.reuse(0).is_none()); // it was lent, not handed over
///     assert!(!call.saves_output(1)); // nothing is recorded
///     Ok([call.input(call.len() - 1).clone()].into_iter().collect())
/// }
/// static LAST: LazyLock<Op> = LazyLock::new(|| Op { name: "last", forward, ..*registry::find("maximum").unwrap() });
///
/// let (x, y) = (tensor![1.0], tensor![2.0]);
/// let last = apply(&LAST, Attrs::NONE, &mut [(&x).into(), (&y).into()]).unwrap();
/// assert_eq!(last[0].to_f64_vec(), [2.0]);
/// ```
pub struct Call<'a, 'b> {
    attrs: &'a Attrs,
    inputs: &'a mut [Arg<'b>],
    saves: Saves,
}

impl Call<'_, '_> {
    /// The attributes.
    #[inline]
    pub fn attrs(&self) -> &Attrs {
        self.attrs
    }

    /// The number of inputs.
    #[inline]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Input `i`.
    #[inline]
    pub fn input(&self, i: usize) -> &AnyTensor {
        self.inputs[i].tensor()
    }

    /// Whether the gradient rule will read output `k`. One that callers get from no method is left out where it will not.
    #[inline]
    pub fn saves_output(&self, k: usize) -> bool {
        self.saves.output(k)
    }

    /// The buffer of input `i`, to write the output into: if the input was handed over, no one else shares its
    /// buffer, its gradient rule does not need it, and it is dense. The input's elements are gone then (they are in
    /// the buffer); its shape and precision remain.
    #[inline]
    pub fn reuse(&mut self, i: usize) -> Option<Storage> {
        match &mut self.inputs[i] {
            Arg::Own(t) if !self.saves.input(i) && t.layout().is_dense() => t.take_unique_storage(),
            _ => None,
        }
    }

    /// Checks that all inputs have one precision, and returns it.
    ///
    /// # Errors
    /// If they differ; the message names both and the cast.
    #[inline]
    pub fn same_dtype(&self) -> Result<DType> {
        let first = self.input(0).dtype();
        match self.inputs.iter().map(|input| input.tensor().dtype()).find(|&dtype| dtype != first) {
            None => Ok(first),
            Some(other) => Err(precisions_differ(first, other)),
        }
    }

    /// Checks that the inputs numbered `which`, at least one, have one precision, and returns it.
    ///
    /// # Errors
    /// If they differ; the message names both and the cast.
    pub fn same_dtype_of(&self, which: impl IntoIterator<Item = usize>) -> Result<DType> {
        let mut dtypes = which.into_iter().map(|i| self.input(i).dtype());
        let first = dtypes.next().expect("at least one input is named");
        match dtypes.find(|&d| d != first) {
            None => Ok(first),
            Some(other) => Err(precisions_differ(first, other)),
        }
    }
}

#[cold]
fn precisions_differ(first: DType, other: DType) -> Error {
    Error::new(format!("precisions differ: {first} and {other}"))
        .kind_of(ErrorKind::DType)
        .help(format!("nothing is promoted silently: cast one of them with to_dtype(DType::{first})"))
}

/// Calls an operation: the way of every operation of this crate, and of interpreters that hold operations as data.
///
/// Inputs are checked, the outputs computed, and if an input is tracked and recording is on, the call goes on the
/// tape.
///
/// # Errors
/// Those of the operation, with its name, its operands and the caller's place. Also if a tracked input meets an
/// operation without a gradient rule: a gradient is never lost silently.
///
/// ```
/// use wengert_tensor::{attrs, dispatch, registry, tensor};
/// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
/// let op = registry::find("sum").unwrap();
/// let y = dispatch::apply(op, attrs! { axes: [0i64], keepdim: false }, &mut [(&x).into()]).unwrap();
/// assert_eq!(y[0].shape().to_string(), "[2]");
/// ```
#[track_caller]
pub fn apply(op: &'static Op, attrs: Attrs, inputs: &mut [Arg<'_>]) -> Result<Outputs> {
    let (intercepted, backward) = MODE.with(|m| (m.intercepted.get(), m.backward.get()));
    let at = backward.map_or(Location::caller(), |b| b.1);
    if intercepted {
        return intercept(&OpRef::Static(op), attrs, inputs, at);
    }
    run(op, attrs, inputs, at)
}

/// [`apply`] for an operation with one output of kind `K`.
#[track_caller]
pub(crate) fn apply1<K: Kind>(op: &'static Op, attrs: Attrs, inputs: &mut [Arg<'_>]) -> Result<Tensor<K>> {
    apply(op, attrs, inputs)?.into_first().downcast()
}

/// Calls a user's operation, see [`CustomOp`].
///
/// # Errors
/// Those of the operation.
#[track_caller]
pub fn apply_custom(op: Arc<dyn CustomOp>, inputs: &[&AnyTensor]) -> Result<Tensor> {
    let (intercepted, backward) = MODE.with(|m| (m.intercepted.get(), m.backward.get()));
    let at = backward.map_or(Location::caller(), |b| b.1);
    let mut inputs: SmallVec<[Arg<'_>; 3]> = inputs.iter().map(|t| Arg::Ref(t)).collect();
    let outputs = if intercepted {
        intercept(&OpRef::Custom(op), Attrs::NONE, &mut inputs, at)?
    } else {
        run_custom(&op, &mut inputs, at)?
    };
    outputs.into_first().downcast()
}

fn run(op: &'static Op, mut attrs: Attrs, inputs: &mut [Arg<'_>], at: &'static Location<'static>) -> Result<Outputs> {
    let flow = Flow::of(inputs);
    let mut saves = Saves::NONE;
    if flow.records() {
        match op.gradient {
            Gradient::Rule { saves: rule, .. } => saves = rule(flow.needs),
            Gradient::NotFloat => {}
            Gradient::Missing => {
                let e = Error::new("has no gradient rule, and an input is tracked")
                    .kind_of(ErrorKind::Gradient)
                    .help("call it on x.detach(), or under no_grad, if no gradient should flow");
                return Err(describe(e, op.name, op.operands, inputs, at));
            }
        }
    }
    let mut call = Call { attrs: &attrs, inputs, saves };
    match catch_unwind(AssertUnwindSafe(|| (op.forward)(&mut call))).unwrap_or_else(out_of_memory) {
        Ok(mut outputs) => {
            outputs.iter_mut().for_each(|out| out.place(op.name, at));
            if flow.is_tracked() {
                flow.connect(OpRef::Static(op), &mut attrs, saves, inputs, &mut outputs, at);
            }
            Ok(outputs)
        }
        Err(e) => Err(describe(e, op.name, op.operands, inputs, at)),
    }
}

/// The error of an operation for the result of which there is no memory. Any other panic goes on.
#[cold]
fn out_of_memory(panic: Box<dyn Any + Send>) -> Result<Outputs> {
    match panic.downcast::<OutOfMemory>() {
        Ok(e) => Err(e.error()),
        Err(panic) => resume_unwind(panic),
    }
}

fn run_custom(op: &Arc<dyn CustomOp>, inputs: &mut [Arg<'_>], at: &'static Location<'static>) -> Result<Outputs> {
    let flow = Flow::of(inputs);
    let plain: SmallVec<[AnyTensor; 3]> = inputs.iter().map(|a| a.tensor().clone().with_edge(Edge::None)).collect();
    let output = crate::tape::no_grad(|| op.forward(&plain))
        .map_err(|e| if e.has_op() { e } else { describe(e, op.name(), &["input"], inputs, at) })?;
    let mut outputs = Outputs::from(output.into_any().with_edge(Edge::None));
    outputs.iter_mut().for_each(|out| out.place(op.name(), at));
    if flow.is_tracked() {
        flow.connect(OpRef::Custom(op.clone()), &mut Attrs::default(), op.saves(), inputs, &mut outputs, at);
    }
    Ok(outputs)
}

/// What the inputs of a call mean for the tape.
struct Flow {
    needs: Needs,
    enabled: bool,
    cut: bool,
    marks: u64,
}

impl Flow {
    #[inline]
    fn of(inputs: &[Arg<'_>]) -> Flow {
        let mut flow = Flow { needs: Needs::default(), enabled: true, cut: false, marks: 0 };
        for (i, arg) in inputs.iter().enumerate() {
            match arg.tensor().edge() {
                Edge::None => continue,
                Edge::Cut(_) => flow.cut = true,
                Edge::Leaf(_) | Edge::Node(..) => flow.needs.add(i),
            }
            flow.marks |= arg.tensor().edge().marks();
        }
        if !flow.needs.is_empty() {
            flow.enabled = MODE.with(|m| m.grad.get());
        }
        flow
    }

    fn records(&self) -> bool {
        self.enabled && !self.needs.is_empty()
    }

    /// Whether an input came from a leaf, also where the way back was cut.
    fn is_tracked(&self) -> bool {
        self.cut || !self.needs.is_empty()
    }

    /// Connects the outputs to the inputs, or says why they are not.
    fn connect(
        self,
        op: OpRef,
        attrs: &mut Attrs,
        saves: Saves,
        inputs: &[Arg<'_>],
        outputs: &mut Outputs,
        at: &'static Location<'static>,
    ) {
        let (name, marks) = (op.name(), self.marks);
        let cut = |kind| Edge::Cut(Arc::new(Cut { kind, op: name, at, marks }));
        let any_float = outputs.iter().any(|t| t.dtype().is_float());
        let node = (self.records() && any_float).then(|| Node::record(op, attrs, saves, inputs, outputs, at));
        let node = match (node, &mut outputs[..]) {
            // The usual case: a float, since there is a node.
            (Some(node), [out]) => return out.set_edge(Edge::Node(node, 0)),
            (node, _) => node,
        };
        let nodes = std::iter::repeat_n(node, outputs.len());
        for ((k, out), node) in outputs.iter_mut().enumerate().zip(nodes) {
            let edge = match node {
                Some(node) if out.dtype().is_float() => Edge::Node(node, k as u32),
                _ if self.records() => cut(CutKind::NotFloat),
                _ if !self.needs.is_empty() => cut(CutKind::NoGrad),
                _ => inherited(inputs, marks),
            };
            out.set_edge(edge);
        }
    }
}

/// The first cut on the way to some inputs, for the leaves upstream of all of them.
fn inherited(inputs: &[Arg<'_>], marks: u64) -> Edge {
    let cuts = inputs.iter().filter_map(|arg| match arg.tensor().edge() {
        Edge::Cut(cut) => Some(cut),
        _ => None,
    });
    match cuts.into_iter().next() {
        None => Edge::None,
        Some(cut) if cut.marks == marks => Edge::Cut(cut.clone()),
        Some(cut) => Edge::Cut(Arc::new(Cut { marks, ..**cut })),
    }
}

#[cold]
fn describe(e: Error, op: &'static str, names: &[&str], inputs: &[Arg<'_>], at: &'static Location<'static>) -> Error {
    let several = names.len() < inputs.len();
    e.in_op(op, at).with_operands(|| {
        inputs
            .iter()
            .enumerate()
            .map(|(i, arg)| {
                let name = names.get(i).or(names.last()).copied().unwrap_or("input");
                let name = if several && i + 1 >= names.len() { format!("{name} {i}") } else { name.to_string() };
                arg.tensor().as_operand(name)
            })
            .collect()
    })
}

/// Names the operation, its operands and the caller's place in an error that was found before [`apply`].
pub(crate) fn in_op<T>(
    op: &'static str,
    operands: &[(&str, &AnyTensor)],
    at: &'static Location<'static>,
    result: Result<T>,
) -> Result<T> {
    result.map_err(|e| {
        e.in_op(op, at).with_operands(|| operands.iter().map(|(n, t)| t.as_operand(n.to_string())).collect())
    })
}

/// A differentiable operation of a user's own.
///
/// `forward` runs without recording; `vjp` is the gradient rule, in tensor operations, so that it can itself be
/// differentiated.
///
/// ```
/// use std::sync::Arc;
/// use wengert_tensor::dispatch::{CustomOp, Saves, apply_custom};
/// use wengert_tensor::tape::Vjp;
/// use wengert_tensor::{AnyTensor, Result, Tensor, tensor};
///
/// struct Cube;
/// impl CustomOp for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
///         let x = inputs[0].float()?;
///         Ok(&x * &x * &x)
///     }
///     fn saves(&self) -> Saves {
///         Saves::INPUT
///     }
///     fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
///         let (g, x) = (cx.g(), cx.input(0));
///         cx.give(0, g * 3.0 * (&x * &x));
///         Ok(())
///     }
/// }
///
/// let x = tensor![2.0].requires_grad();
/// let y = apply_custom(Arc::new(Cube), &[x.as_any()]).unwrap();
/// assert_eq!(y.to_vec::<f32>(), [8.0]);
/// assert!(y.is_tracked());
/// ```
pub trait CustomOp: Send + Sync {
    /// What errors and the printed tape call it.
    fn name(&self) -> &'static str;

    /// Computes the result.
    ///
    /// # Errors
    /// Whatever the operation finds wrong with its inputs.
    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor>;

    /// Which inputs and outputs `vjp` reads. All inputs unless said otherwise.
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    /// The gradient rule: reads the incoming gradient with [`Vjp::g`] and gives each input its own with
    /// [`Vjp::give`].
    ///
    /// # Errors
    /// Whatever goes wrong in it.
    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()>;

    /// The variable whose gradient a replay reports as the gradient of this operation's result, if any.
    fn tap(&self) -> Option<LeafId> {
        None
    }
}

/// A call on its way through [`apply`], as an [`Interceptor`] sees it.
pub struct OpCall<'a, 'b> {
    /// The operation.
    pub op: &'a OpRef,
    /// Its attributes.
    pub attrs: &'a Attrs,
    /// Its inputs.
    pub inputs: &'a mut [Arg<'b>],
    /// The line of the user's call; in a gradient rule that of the operation whose rule it is.
    pub at: &'static Location<'static>,
    /// The operation whose gradient rule makes this call, if one does.
    pub backward_of: Option<&'static str>,
}

impl OpCall<'_, '_> {
    /// Carries the call out, through the interceptors that were installed before this one.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn proceed(&mut self) -> Result<Outputs> {
        if MODE.with(|m| m.intercepted.get()) {
            return intercept(self.op, self.attrs.clone(), self.inputs, self.at);
        }
        match self.op {
            OpRef::Static(op) => run(op, self.attrs.clone(), self.inputs, self.at),
            OpRef::Custom(op) => run_custom(op, self.inputs, self.at),
        }
    }
}

/// Watches or replaces every operation of this thread while it is installed by [`with_interceptor`].
///
/// Operations that the interceptor itself calls are not intercepted by it.
pub trait Interceptor {
    /// Called in place of the operation, which [`OpCall::proceed`] carries out.
    ///
    /// # Errors
    /// Those of the operation, or the interceptor's own.
    fn call(&self, call: &mut OpCall<'_, '_>) -> Result<Outputs>;
}

thread_local! {
    static INTERCEPTORS: RefCell<Vec<Rc<dyn Interceptor>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with every operation of this thread passing through `interceptor`. Interceptors nest: the one installed
/// last is asked first.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use wengert_tensor::dispatch::{Interceptor, OpCall, Outputs, with_interceptor};
/// use wengert_tensor::{Result, tensor};
///
/// struct Count(Cell<usize>);
/// impl Interceptor for Count {
///     fn call(&self, call: &mut OpCall<'_, '_>) -> Result<Outputs> {
///         self.0.set(self.0.get() + 1);
///         call.proceed()
///     }
/// }
/// let count = Rc::new(Count(Cell::new(0)));
/// let x = tensor![1.0, 2.0];
/// with_interceptor(count.clone(), || (&x + &x).exp());
/// assert_eq!(count.0.get(), 2);
/// ```
pub fn with_interceptor<R>(interceptor: Rc<dyn Interceptor>, f: impl FnOnce() -> R) -> R {
    INTERCEPTORS.with(|stack| {
        // Only what is installed below is left on the stack while an interceptor runs, so push and set the flag.
        stack.borrow_mut().push(interceptor);
    });
    struct Remove(bool);
    impl Drop for Remove {
        fn drop(&mut self) {
            INTERCEPTORS.with(|stack| stack.borrow_mut().pop());
            MODE.with(|m| m.intercepted.set(self.0));
        }
    }
    let _remove = Remove(MODE.with(|m| m.intercepted.replace(true)));
    f()
}

fn intercept(op: &OpRef, attrs: Attrs, inputs: &mut [Arg<'_>], at: &'static Location<'static>) -> Result<Outputs> {
    /// Puts the interceptor back when its call ends, also when it panics.
    struct PutBack(Option<Rc<dyn Interceptor>>);
    impl Drop for PutBack {
        fn drop(&mut self) {
            let top = self.0.take().expect("put back once");
            INTERCEPTORS.with(|stack| stack.borrow_mut().push(top));
            MODE.with(|m| m.intercepted.set(true));
        }
    }
    let top = INTERCEPTORS.with(|stack| {
        let mut stack = stack.borrow_mut();
        let top = stack.pop();
        MODE.with(|m| m.intercepted.set(!stack.is_empty()));
        top
    });
    let top = PutBack(Some(top.expect("the flag says there is one")));
    let backward_of = MODE.with(|m| m.backward.get()).map(|b| b.0);
    let mut call = OpCall { op, attrs: &attrs, inputs, at, backward_of };
    top.0.as_ref().expect("not yet put back").call(&mut call)
}
