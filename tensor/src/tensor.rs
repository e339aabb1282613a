//! The tensor types.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use crate::dispatch::{Arg, Attrs, apply1, in_op};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, ErrorKind, Operand, Result, or_panic};
use crate::kernels::copy;
use crate::kind::{Bool, Float, Int, Kind, Value};
use crate::layout::Layout;
use crate::ops;
use crate::shape::{IntoDims, Shape, shape_from};
use crate::storage::Storage;
use crate::tape::{Cut, CutKind, Edge, Leaf};

/// Where a tensor came from, for errors and printouts.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) op: &'static str,
    pub(crate) at: &'static Location<'static>,
}

/// A tensor of any kind: for files, state dicts, and code that treats operations as data.
///
/// [`AnyTensor::downcast`] gives the typed tensor back.
///
/// ```
/// use wengert_tensor::{AnyTensor, Int, Tensor, tensor};
/// let any: AnyTensor = tensor![1, 2].into();
/// let ints: Tensor<Int> = any.clone().downcast().unwrap();
/// assert_eq!(ints.to_vec::<i64>(), [1, 2]);
/// assert!(any.float().is_err());
/// ```
#[derive(Clone)]
pub struct AnyTensor(
    // A tensor moves several times on its way out of an operation. A hundred bytes that were just written are slow to
    // move: that cost more than the allocation does.
    Box<Parts>,
);

#[derive(Clone)]
struct Parts {
    storage: Storage,
    layout: Layout,
    edge: Edge,
    origin: Option<Origin>,
    dtype: DType,
}

impl AnyTensor {
    #[inline]
    pub(crate) fn new(storage: Storage, layout: Layout, dtype: DType) -> AnyTensor {
        // Filled where it lies, for the same reason. (All at once it would be built on the stack; all zeros at first
        // would come from `calloc`, which is slower than `malloc`.)
        let (empty, scalar) = (Storage::empty(), Layout::dense(Shape::scalar()));
        let mut parts = Box::new(Parts { storage: empty, layout: scalar, edge: Edge::None, origin: None, dtype });
        parts.storage = storage;
        parts.layout = layout;
        AnyTensor(parts)
    }

    /// A dense tensor over a fresh buffer.
    #[inline]
    pub(crate) fn dense(storage: Storage, shape: Shape, dtype: DType) -> AnyTensor {
        AnyTensor::new(storage, Layout::dense(shape), dtype)
    }

    /// A dense tensor over a fresh buffer, which `fill` overwrites.
    #[inline]
    pub(crate) fn filled<T: Element>(shape: Shape, fill: impl FnOnce(&mut [T])) -> AnyTensor {
        let mut tensor = AnyTensor::stale(shape, T::DTYPE);
        fill(tensor.fresh_slice());
        tensor
    }

    /// A dense tensor over a fresh buffer, whose elements may be any.
    pub(crate) fn stale(shape: Shape, dtype: DType) -> AnyTensor {
        AnyTensor::dense(Storage::stale_bytes(shape.elements() * dtype.size()), shape, dtype)
    }

    /// The elements of a dense tensor that no one shares yet.
    pub(crate) fn fresh_slice<T: Element>(&mut self) -> &mut [T] {
        let n = self.elements();
        &mut self.0.storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n]
    }

    /// The elements of a dense tensor.
    pub(crate) fn dense_slice<T: Element>(&self) -> &[T] {
        debug_assert!(self.0.layout.is_dense());
        &self.0.storage.slice::<T>()[..self.elements()]
    }

    /// The same elements in another layout of the same buffer.
    pub(crate) fn view(&self, layout: Layout) -> AnyTensor {
        AnyTensor::new(self.0.storage.clone(), layout, self.0.dtype)
    }

    #[inline]
    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    pub(crate) fn storage_mut(&mut self) -> &mut Storage {
        &mut self.0.storage
    }

    #[inline]
    pub(crate) fn take_unique_storage(&mut self) -> Option<Storage> {
        self.0.storage.is_unique().then(|| std::mem::replace(&mut self.0.storage, Storage::empty()))
    }

    pub(crate) fn with_edge(mut self, edge: Edge) -> AnyTensor {
        self.0.edge = edge;
        self
    }

    #[inline]
    pub(crate) fn set_edge(&mut self, edge: Edge) {
        self.0.edge = edge;
    }

    #[inline]
    pub(crate) fn place(&mut self, op: &'static str, at: &'static Location<'static>) {
        self.0.origin = Some(Origin { op, at });
    }

    /// The sizes along each axis.
    #[inline]
    pub fn shape(&self) -> &Shape {
        self.0.layout.shape()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    #[inline]
    pub fn elements(&self) -> usize {
        self.0.layout.elements()
    }

    /// The precision.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Where the elements lie in the buffer.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// How the tensor relates to the tape.
    #[inline]
    pub fn edge(&self) -> &Edge {
        &self.0.edge
    }

    /// Whether gradients flow through this tensor.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.0.edge.is_tracked()
    }

    /// Whether both tensors read one buffer.
    pub fn shares_memory(&self, other: &AnyTensor) -> bool {
        self.0.storage.shares_with(&other.0.storage)
    }

    /// This tensor with its kind in the type.
    ///
    /// # Errors
    /// If it is of another kind.
    #[inline]
    pub fn downcast<K: Kind>(self) -> Result<Tensor<K>> {
        if K::holds(self.0.dtype) { Ok(Tensor { any: self, kind: PhantomData }) } else { Err(self.is_not_of(K::NAME)) }
    }

    #[cold]
    fn is_not_of(&self, kind: &str) -> Error {
        Error::new(format!("expected a tensor of kind {kind}, this one holds {}", self.0.dtype))
            .kind_of(ErrorKind::DType)
            .with_operands(|| vec![self.as_operand("tensor".into())])
    }

    /// This tensor as a float tensor.
    ///
    /// # Errors
    /// If it is of another kind.
    pub fn float(&self) -> Result<Tensor> {
        self.clone().downcast()
    }

    /// This tensor as an integer tensor.
    ///
    /// # Errors
    /// If it is of another kind.
    pub fn int(&self) -> Result<Tensor<Int>> {
        self.clone().downcast()
    }

    /// This tensor as a boolean tensor.
    ///
    /// # Errors
    /// If it is of another kind.
    pub fn bool(&self) -> Result<Tensor<Bool>> {
        self.clone().downcast()
    }

    /// The same elements as a constant, see [`Tensor::to_constant`].
    pub fn to_constant(&self) -> AnyTensor {
        self.clone().with_edge(Edge::None)
    }

    /// Where it came from, as errors say it: "from `relu` at src/main.rs:3:5", "parameter `fc.weight`".
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let w = tensor![2.0].requires_grad();
    /// assert!(w.exp().as_any().origin().contains("exp"));
    /// assert_eq!(w.exp().sqrt().square().into_any().to_f64_vec().len(), 1);
    /// ```
    pub fn origin(&self) -> String {
        if let Edge::Leaf(leaf) = &self.0.edge {
            return match leaf.name() {
                Some(name) => format!("parameter `{name}`"),
                None => format!("variable from {}", leaf.at),
            };
        }
        match self.0.origin {
            Some(o) => format!("from {} at {}", o.op, o.at),
            None => String::new(),
        }
    }

    pub(crate) fn as_operand(&self, name: String) -> Operand {
        let module = match &self.0.edge {
            Edge::Leaf(leaf) => leaf.name().and_then(|n| n.rsplit_once('.').map(|(m, _)| m.to_string())),
            _ => None,
        };
        Operand { name, shape: self.shape().clone(), dtype: self.0.dtype, origin: self.origin(), module }
    }

    /// The elements in row-major order as `f64`; integers beyond 2^53 round.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        with_dtype!(self.0.dtype, T => {
            let mut out = Vec::with_capacity(self.elements());
            copy::for_each(self.0.storage.slice::<T>(), &self.0.layout, |x| out.push(crate::dtype::Element::to_f64(x)));
            out
        })
    }
}

/// A tensor: a multi-dimensional array whose kind is part of its type and whose shape and precision are values.
///
/// `Tensor` alone is a float tensor, the only kind that carries gradients; `Tensor<Int>` holds labels and indices,
/// `Tensor<Bool>` masks. Tensors are immutable values: cloning shares the elements and costs next to nothing.
///
/// ```
/// use wengert_tensor::{Tensor, tensor};
/// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
/// let y = (&x * 2.0 + 1.0).sum();
/// assert_eq!(y.item(), 24.0);
/// ```
#[derive(Clone)]
pub struct Tensor<K: Kind = Float> {
    any: AnyTensor,
    kind: PhantomData<K>,
}

impl<K: Kind> From<Tensor<K>> for AnyTensor {
    fn from(t: Tensor<K>) -> AnyTensor {
        t.any
    }
}

impl<K: Kind> From<&Tensor<K>> for AnyTensor {
    fn from(t: &Tensor<K>) -> AnyTensor {
        t.any.clone()
    }
}

impl From<&AnyTensor> for AnyTensor {
    fn from(t: &AnyTensor) -> AnyTensor {
        t.clone()
    }
}

impl<K: Kind> Tensor<K> {
    /// This tensor with its kind known at run time only.
    #[inline]
    pub fn as_any(&self) -> &AnyTensor {
        &self.any
    }

    /// This tensor with its kind known at run time only.
    #[inline]
    pub fn into_any(self) -> AnyTensor {
        self.any
    }

    /// The sizes along each axis.
    #[inline]
    pub fn shape(&self) -> &Shape {
        self.any.shape()
    }

    /// The size along `axis`, counted from the end where negative.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn size(&self, axis: isize) -> usize {
        let at = Location::caller();
        self.shape()[or_panic(in_op("size", &[("input", &self.any)], at, self.shape().axis(axis)))]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.any.rank()
    }

    /// The number of elements.
    #[inline]
    pub fn elements(&self) -> usize {
        self.any.elements()
    }

    /// The precision.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.any.0.dtype
    }

    /// Where the elements lie in the buffer.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.any.0.layout
    }

    /// How the tensor relates to the tape.
    #[inline]
    pub fn edge(&self) -> &Edge {
        &self.any.0.edge
    }

    /// Whether gradients flow through this tensor.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.any.is_tracked()
    }

    /// Whether both tensors read one buffer.
    pub fn shares_memory<L: Kind>(&self, other: &Tensor<L>) -> bool {
        self.any.shares_memory(&other.any)
    }

    /// The same elements without the way back to where they came from: no gradient flows through the result.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let w = tensor![1.0].requires_grad();
    /// assert!(!w.detach().is_tracked());
    /// ```
    #[track_caller]
    pub fn detach(&self) -> Tensor<K> {
        let mut t = self.clone();
        if self.is_tracked() {
            let (marks, at) = (self.edge().marks(), Location::caller());
            t.any.set_edge(Edge::Cut(Arc::new(Cut { kind: CutKind::Detached, op: "detach", at, marks })));
            t.any.place("detach", at);
        }
        t
    }

    /// The same elements as a constant, which was computed from nothing: unlike [`detach`](Self::detach), it leaves no
    /// trace of a way that was cut. Parameters and buffers store such.
    pub fn to_constant(&self) -> Tensor<K> {
        Tensor { any: self.any.to_constant(), kind: PhantomData }
    }

    /// The tensor with the name under which the user called for it, where that is not the name of the operation.
    pub(crate) fn called(mut self, name: &'static str, at: &'static Location<'static>) -> Tensor<K> {
        self.any.place(name, at);
        self
    }

    /// The tensor, handed over to an assigning operator so that its memory takes the result. If that fails, what stays
    /// behind is an empty tensor.
    pub(crate) fn take(&mut self) -> Tensor<K> {
        let dtype = self.dtype();
        let left = Tensor { any: AnyTensor::dense(Storage::empty(), [0].into(), dtype), kind: PhantomData };
        std::mem::replace(self, left)
    }

    /// A tensor of `shape` from values in row-major order. The values' type gives the precision.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    ///
    /// ```
    /// use wengert_tensor::{DType, Tensor};
    /// let x = Tensor::from_vec(vec![1.0_f64, 2.0, 3.0, 4.0], [2, 2]);
    /// assert_eq!(x.dtype(), DType::F64);
    /// ```
    #[track_caller]
    pub fn from_vec<V: Value<K>>(values: Vec<V>, shape: impl IntoDims) -> Tensor<K> {
        or_panic(Tensor::try_from_slice(&values, shape))
    }

    /// Fallible form of [`from_vec`](Self::from_vec).
    ///
    /// # Errors
    /// If the number of values is not that of the shape.
    #[track_caller]
    pub fn try_from_vec<V: Value<K>>(values: Vec<V>, shape: impl IntoDims) -> Result<Tensor<K>> {
        Tensor::try_from_slice(&values, shape)
    }

    /// [`from_vec`](Self::from_vec) of a slice.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::<wengert_tensor::Float>::from_slice(&[1.0_f32, 2.0], [2]).to_vec::<f32>(), [1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn from_slice<V: Value<K>>(values: &[V], shape: impl IntoDims) -> Tensor<K> {
        or_panic(Tensor::try_from_slice(values, shape))
    }

    /// Fallible form of [`from_slice`](Self::from_slice).
    ///
    /// # Errors
    /// If the number of values is not that of the shape.
    #[track_caller]
    pub fn try_from_slice<V: Value<K>>(values: &[V], shape: impl IntoDims) -> Result<Tensor<K>> {
        let at = Location::caller();
        let shape = in_op("from_vec", &[], at, shape_from(shape))?;
        if shape.elements() != values.len() {
            let e = Error::new(format!(
                "{} values do not fill shape {shape}, which has {} elements",
                values.len(),
                shape.elements()
            ));
            return Err(e.in_op("from_vec", at));
        }
        let mut storage = Storage::stale::<V::Stored>(values.len());
        let out = storage.unique_mut::<V::Stored>().expect("a fresh buffer is unique");
        for (o, v) in out.iter_mut().zip(values) {
            *o = v.store();
        }
        let mut t = AnyTensor::dense(storage, shape, V::DTYPE);
        t.place("from_vec", at);
        t.downcast()
    }

    /// The elements in row-major order, converted to `V`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    /// assert_eq!(x.t().to_vec::<f64>(), [1.0, 3.0, 2.0, 4.0]);
    /// ```
    pub fn to_vec<V: Value<K>>(&self) -> Vec<V> {
        let mut out = Vec::with_capacity(self.elements());
        with_dtype!(self.dtype(), T => {
            copy::for_each(self.any.0.storage.slice::<T>(), self.layout(), |x| out.push(V::load(x)));
        });
        out
    }

    /// A dense tensor of the same elements: this one if it is dense, else a copy.
    #[track_caller]
    pub fn contiguous(&self) -> Tensor<K> {
        if self.layout().is_dense() {
            return self.clone();
        }
        or_panic(apply1(&ops::CONTIGUOUS, Attrs::NONE, &mut [Arg::from(self)]))
    }

    fn the_element<V: Value<K>>(&self, at: &'static Location<'static>) -> Result<V> {
        if self.elements() != 1 {
            let e = Error::new(format!("needs one element, this tensor has {}", self.elements()))
                .help("reduce it first, as with sum() or mean(), or read all elements with to_vec()");
            return in_op("item", &[("input", &self.any)], at, Err(e));
        }
        Ok(self.to_vec::<V>()[0])
    }
}

impl Tensor {
    /// A variable with these elements: gradients with respect to it can be asked for.
    ///
    /// The result is a new leaf of the tape, whatever this tensor was.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let w = Tensor::ones([2, 2]).requires_grad();
    /// assert!(w.is_tracked());
    /// ```
    #[track_caller]
    pub fn requires_grad(&self) -> Tensor {
        self.with_leaf(Leaf::new(Location::caller()))
    }

    /// This tensor's elements as the variable `leaf`.
    pub fn with_leaf(&self, leaf: Arc<Leaf>) -> Tensor {
        let mut t = self.clone();
        t.any.set_edge(Edge::Leaf(leaf));
        t
    }

    /// Cuts the way back: `cut` tells whoever asks for a gradient beyond why there is none.
    pub fn set_cut(&mut self, cut: Arc<Cut>) {
        self.any.set_edge(Edge::Cut(cut));
    }

    /// The one element, as `f64`.
    ///
    /// # Panics
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn item(&self) -> f64 {
        or_panic(self.the_element(Location::caller()))
    }

    /// Fallible form of [`item`](Self::item).
    ///
    /// # Errors
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn try_item(&self) -> Result<f64> {
        self.the_element(Location::caller())
    }

    /// The elements in row-major order, where they lie so in memory and are of type `T`; a
    /// [`contiguous`](Self::contiguous) tensor of that precision always does.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    /// assert_eq!(x.as_slice::<f32>().unwrap()[1], 2.0);
    /// assert!(x.t().as_slice::<f32>().is_none());
    /// ```
    pub fn as_slice<T>(&self) -> Option<&[T]>
    where
        T: Value<Float, Stored = T> + crate::dtype::Element,
    {
        let dtype = <T as crate::dtype::Element>::DTYPE;
        let range = self.layout().contiguous().filter(|_| self.dtype() == dtype)?;
        Some(&self.any.0.storage.slice::<T>()[range])
    }

    /// The elements in row-major order, to be changed: in place where no other tensor shares the buffer, else in a
    /// copy that is made first. The tensor is untracked from then on. This is how optimizers keep their state.
    ///
    /// # Panics
    /// If the precision is not that of `T`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let mut x = tensor![1.0, 2.0];
    /// let old = x.clone();
    /// x.as_mut_slice::<f32>()[0] = 5.0;
    /// assert_eq!((x.to_vec::<f32>(), old.to_vec::<f32>()), (vec![5.0, 2.0], vec![1.0, 2.0]));
    /// ```
    #[track_caller]
    pub fn as_mut_slice<T>(&mut self) -> &mut [T]
    where
        T: Value<Float, Stored = T> + crate::dtype::Element,
    {
        let dtype = <T as crate::dtype::Element>::DTYPE;
        assert!(self.dtype() == dtype, "as_mut_slice: the precision is {}, not {dtype}", self.dtype());
        let n = self.elements();
        if !self.layout().is_dense() || !self.any.0.storage.is_unique() {
            self.any = ops::copied(&self.any);
        }
        self.any.0.edge = Edge::None;
        &mut self.any.0.storage.unique_mut::<T>().expect("made unique above")[..n]
    }

    /// Calls `f` with [`as_mut_slice`](Self::as_mut_slice): for chains of calls.
    ///
    /// # Panics
    /// If the precision is not that of `T`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let mut x = tensor![1.0, 2.0];
    /// x.update(|elements: &mut [f32]| elements[0] = 5.0);
    /// assert_eq!(x.to_vec::<f32>(), [5.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn update<T>(&mut self, f: impl FnOnce(&mut [T]))
    where
        T: Value<Float, Stored = T> + crate::dtype::Element,
    {
        f(self.as_mut_slice());
    }
}

impl Tensor<Int> {
    /// The one element.
    ///
    /// # Panics
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn item(&self) -> i64 {
        or_panic(self.the_element(Location::caller()))
    }

    /// Fallible form of [`item`](Self::item).
    ///
    /// # Errors
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn try_item(&self) -> Result<i64> {
        self.the_element(Location::caller())
    }
}

impl Tensor<Bool> {
    /// The one element.
    ///
    /// # Panics
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn item(&self) -> bool {
        or_panic(self.the_element(Location::caller()))
    }

    /// Fallible form of [`item`](Self::item).
    ///
    /// # Errors
    /// If the tensor has not exactly one element.
    #[track_caller]
    pub fn try_item(&self) -> Result<bool> {
        self.the_element(Location::caller())
    }
}

// Tensors cross threads: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    send_sync::<Tensor>();
    send_sync::<Tensor<Int>>();
    send_sync::<AnyTensor>();
};
