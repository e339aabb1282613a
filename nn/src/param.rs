//! What a model consists of: parameters, buffers, and the switch between training and evaluation.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use wengert_autograd::Variable;
use wengert_tensor::tape::{Edge, Leaf, LeafId};
use wengert_tensor::{
    AnyTensor, DType, Error, ErrorKind, Int, IntoDims, Result, Rng, Shape, Tensor, or_panic, with_default_dtype,
};

use crate::init::Init;

use crate::module::means;

// A panic while one of these locks is held leaves a tensor or another: never half of one.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Checks that a new value has the shape and precision of the old one.
fn same_form(what: &str, old: &AnyTensor, new: &AnyTensor, at: &'static Location<'static>) -> Result<()> {
    let form = |t: &AnyTensor| format!("{} {}", t.shape(), t.dtype());
    let (e, kind, help) = if old.shape() != new.shape() {
        let e = format!("{what} is {}, and the value {}", form(old), form(new));
        (e, ErrorKind::Shape, "reshape the value, or build the model with other sizes".to_string())
    } else if old.dtype() != new.dtype() {
        let e = format!("{what} is {}, and the value {}", form(old), form(new));
        (e, ErrorKind::DType, format!("cast the value with to_dtype(DType::{})", old.dtype()))
    } else {
        return Ok(());
    };
    Err(Error::new(e).kind_of(kind).help(help).in_op("set", at))
}

/// A parameter: a tensor that training changes, and a variable of the tape.
///
/// A `Param` is a handle: clones are the same parameter, which is how weights are tied. All methods take `&self`, so
/// that threads can share a model; the value is replaced as a whole, never seen half changed. A tensor that
/// [`value`](Param::value) returned stays what it was: a gradient computed after an assignment uses the value of its
/// own forward pass.
///
/// ```
/// use wengert_autograd::Differentiate;
/// use wengert_nn::Param;
/// use wengert_tensor::tensor;
/// let w = Param::new(tensor![1.0, 2.0]);
/// let loss = (w.value() * w.value()).sum();
/// w.set(&tensor![5.0, 5.0]);
/// assert_eq!(loss.backward().of(&w).to_vec::<f32>(), [2.0, 4.0]);
/// ```
#[derive(Clone)]
pub struct Param(Arc<ParamState>);

struct ParamState {
    leaf: Arc<Leaf>,
    value: RwLock<Tensor>,
    trainable: AtomicBool,
    init: RwLock<Option<Init>>,
}

impl Param {
    /// A parameter that starts as `value`, which [`Module::init`](crate::Module::init) leaves as it is.
    #[track_caller]
    pub fn new(value: Tensor) -> Param {
        Param(Arc::new(ParamState {
            leaf: Leaf::new(Location::caller()),
            value: RwLock::new(value.to_constant()),
            trainable: AtomicBool::new(true),
            init: RwLock::new(None),
        }))
    }

    /// A parameter that starts as `init` says, drawn from the thread's default generator, and remembers how it starts:
    /// [`Module::init`](crate::Module::init) draws it anew.
    ///
    /// # Panics
    /// As [`Init::tensor`].
    ///
    /// ```
    /// use wengert_nn::{Init, Param};
    /// let w = Param::from_init(Init::xavier_uniform(), [4, 3]);
    /// assert_eq!(w.init(), Some(Init::xavier_uniform()));
    /// ```
    #[track_caller]
    pub fn from_init(init: Init, shape: impl IntoDims) -> Param {
        let param = Param::new(init.tensor(shape));
        *write(&param.0.init) = Some(init);
        param
    }

    /// How it starts, where it was made by [`from_init`](Param::from_init) or told by
    /// [`Module::init_as`](crate::Module::init_as).
    pub fn init(&self) -> Option<Init> {
        *read(&self.0.init)
    }

    /// Remembers how it starts.
    pub(crate) fn set_init(&self, init: Init) {
        *write(&self.0.init) = Some(init);
    }

    /// Starts anew, with numbers from `rng`, if it knows how it starts.
    #[track_caller]
    pub(crate) fn draw(&self, rng: &mut Rng) {
        if let Some(init) = self.init() {
            self.set(&with_default_dtype(self.dtype(), || init.tensor_from(self.shape(), rng)));
        }
    }

    /// The value at present: tracked by the tape, unless the parameter is frozen.
    pub fn value(&self) -> Tensor {
        let value = read(&self.0.value).clone();
        if self.is_trainable() { value.with_leaf(self.0.leaf.clone()) } else { value }
    }

    /// Replaces the value.
    ///
    /// # Panics
    /// If the new one has another shape or precision.
    #[track_caller]
    pub fn set(&self, value: &Tensor) {
        or_panic(self.try_set(value));
    }

    /// Fallible form of [`set`](Self::set).
    ///
    /// # Errors
    /// If the new value has another shape or precision.
    #[track_caller]
    pub fn try_set(&self, value: &Tensor) -> Result<()> {
        let mut own = write(&self.0.value);
        same_form(&self.described(), own.as_any(), value.as_any(), Location::caller())?;
        *own = value.to_constant();
        Ok(())
    }

    /// Changes the value in place: with [`Tensor::update`] inside, no element is copied unless a tensor that
    /// [`value`](Self::value) returned is still alive. This is how optimizers step.
    ///
    /// The parameter is locked while `f` runs: `f` must not ask for its value.
    ///
    /// # Panics
    /// If `f` leaves a tensor of another shape or precision.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![1.0, 2.0]);
    /// w.update(|t| t.update(|x: &mut [f32]| x.iter_mut().for_each(|x| *x *= 0.5)));
    /// assert_eq!(w.value().to_vec::<f32>(), [0.5, 1.0]);
    /// ```
    #[track_caller]
    pub fn update<R>(&self, f: impl FnOnce(&mut Tensor) -> R) -> R {
        let mut own = write(&self.0.value);
        let form = (own.shape().clone(), own.dtype());
        let result = f(&mut own);
        assert!(
            (&form.0, form.1) == (own.shape(), own.dtype()),
            "update: {} was {} {} and became {} {}",
            self.described(),
            form.0,
            form.1,
            own.shape(),
            own.dtype()
        );
        if !matches!(own.edge(), Edge::None) {
            *own = own.to_constant();
        }
        result
    }

    /// Converts the value to the precision `dtype`.
    ///
    /// # Panics
    /// If `dtype` is not a float precision.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) {
        let mut own = write(&self.0.value);
        *own = own.to_dtype(dtype);
    }

    /// The path it goes by in a model, such as `fc.weight`: known once something has walked over the model, as
    /// [`Module::parameters`](crate::Module::parameters) does.
    pub fn name(&self) -> Option<Arc<str>> {
        self.0.leaf.name()
    }

    /// Whether a pattern means this parameter, as in [`Module::freeze`](crate::Module::freeze): its name is `pattern`,
    /// or begins with it and a dot; a `*` stands for any characters. One that has no name is meant by no pattern.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// let fc = Linear::new(2, 3);
    /// let names = |pattern: &str| fc.parameters().iter().filter(|p| p.is_meant_by(pattern)).count();
    /// assert_eq!([names("*"), names("bias"), names("*.bias")], [2, 1, 0]);
    /// ```
    pub fn is_meant_by(&self, pattern: &str) -> bool {
        self.name().is_some_and(|name| means(pattern, &name))
    }

    /// Its name in an error.
    fn described(&self) -> String {
        match self.name() {
            Some(name) => format!("parameter `{name}`"),
            None => format!("the parameter from {}", self.0.leaf.at),
        }
    }

    /// The sizes along each axis.
    pub fn shape(&self) -> Shape {
        read(&self.0.value).shape().clone()
    }

    /// The precision.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_tensor::{DType, tensor};
    /// let w = Param::new(tensor![1.0, 2.0]);
    /// w.to_dtype(DType::BF16);
    /// assert_eq!(w.dtype(), DType::BF16);
    /// ```
    pub fn dtype(&self) -> DType {
        read(&self.0.value).dtype()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        read(&self.0.value).elements()
    }

    /// Its identity on the tape: clones share it.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![1.0, 2.0]);
    /// let tied = w.clone();
    /// assert!(tied.id() == w.id() && w.elements() == 2);
    /// ```
    pub fn id(&self) -> LeafId {
        self.0.leaf.id
    }

    pub(crate) fn leaf(&self) -> &Leaf {
        &self.0.leaf
    }

    /// Takes the parameter out of training: no gradient is computed for it, and optimizers leave it alone.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![1.0, 2.0]);
    /// w.freeze();
    /// assert!(!w.is_trainable() && !w.value().is_tracked());
    /// w.unfreeze();
    /// assert!(w.is_trainable() && w.value().is_tracked());
    /// ```
    pub fn freeze(&self) {
        self.0.trainable.store(false, Ordering::Relaxed);
    }

    /// Takes the parameter into training again.
    pub fn unfreeze(&self) {
        self.0.trainable.store(true, Ordering::Relaxed);
    }

    /// Whether it takes part in training.
    pub fn is_trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }
}

impl Variable for Param {
    fn edge(&self) -> Edge {
        Edge::Leaf(self.0.leaf.clone())
    }

    fn identity(&self) -> Option<LeafId> {
        Some(self.id())
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let frozen = if self.is_trainable() { "" } else { ", frozen" };
        write!(f, "Param({} {} {}{frozen})", name.as_deref().unwrap_or("unnamed"), self.shape(), self.dtype())
    }
}

/// State of a model that is saved with it but not trained by gradients, such as a running mean.
///
/// Like [`Param`] a handle: clones are the same buffer. It holds a tensor of any kind.
///
/// ```
/// use wengert_nn::Buffer;
/// use wengert_tensor::tensor;
/// let mean = Buffer::new(tensor![0.0, 0.0]);
/// mean.set(tensor![1.0, 2.0]);
/// assert_eq!(mean.float().to_vec::<f32>(), [1.0, 2.0]);
/// ```
#[derive(Clone)]
pub struct Buffer(Arc<RwLock<AnyTensor>>);

impl Buffer {
    /// A buffer that starts as `value`.
    pub fn new(value: impl Into<AnyTensor>) -> Buffer {
        Buffer(Arc::new(RwLock::new(value.into().to_constant())))
    }

    /// The value at present.
    pub fn value(&self) -> AnyTensor {
        read(&self.0).clone()
    }

    /// The value of a buffer of floats.
    ///
    /// # Panics
    /// If it holds another kind.
    #[track_caller]
    pub fn float(&self) -> Tensor {
        or_panic(self.value().downcast())
    }

    /// The value of a buffer of integers.
    ///
    /// # Panics
    /// If it holds another kind.
    ///
    /// ```
    /// use wengert_nn::Buffer;
    /// use wengert_tensor::tensor;
    /// let count = Buffer::new(tensor![0]);
    /// let shared = count.clone();
    /// count.set(count.int() + 1);
    /// assert!(shared.int().to_vec::<i64>() == [1] && shared.same(&count));
    /// ```
    #[track_caller]
    pub fn int(&self) -> Tensor<Int> {
        or_panic(self.value().downcast())
    }

    /// Replaces the value.
    ///
    /// # Panics
    /// If the new one has another shape or precision.
    #[track_caller]
    pub fn set(&self, value: impl Into<AnyTensor>) {
        or_panic(self.try_set(value));
    }

    /// Fallible form of [`set`](Self::set).
    ///
    /// # Errors
    /// If the new value has another shape or precision.
    #[track_caller]
    pub fn try_set(&self, value: impl Into<AnyTensor>) -> Result<()> {
        let value = value.into();
        let mut own = write(&self.0);
        same_form("the buffer", &own, &value, Location::caller())?;
        *own = value.to_constant();
        Ok(())
    }

    /// Converts a buffer of floats to the precision `dtype`; other kinds stay as they are.
    ///
    /// # Panics
    /// If `dtype` is not a float precision.
    ///
    /// ```
    /// use wengert_nn::Buffer;
    /// use wengert_tensor::{DType, tensor};
    /// let mean = Buffer::new(tensor![1.0, 2.0]);
    /// mean.to_dtype(DType::F64);
    /// assert_eq!(mean.float().dtype(), DType::F64);
    /// ```
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) {
        let mut own = write(&self.0);
        if let Ok(value) = own.float() {
            *own = value.to_dtype(dtype).into();
        }
    }

    /// Whether both handles are the same buffer.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        write!(f, "Buffer({} {})", value.shape(), value.dtype())
    }
}

/// The switch between training and evaluation that a layer such as dropout reads.
///
/// A layer has it as a field; [`Module::train`](crate::Module::train) and [`Module::eval`](crate::Module::eval) turn
/// all switches of a model. New ones are on: a new model is in training.
///
/// ```
/// use wengert_nn::Mode;
/// let mode = Mode::new();
/// assert!(mode.is_training());
/// mode.set_training(false); // what `Module::eval` does
/// assert!(!mode.is_training());
/// ```
#[derive(Clone, Debug)]
pub struct Mode(Arc<AtomicBool>);

impl Mode {
    /// A switch, set to training.
    pub fn new() -> Mode {
        Mode(Arc::new(AtomicBool::new(true)))
    }

    /// Whether it is set to training.
    pub fn is_training(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it to training, or to evaluation.
    pub fn set_training(&self, training: bool) {
        self.0.store(training, Ordering::Relaxed);
    }
}

impl Default for Mode {
    fn default() -> Mode {
        Mode::new()
    }
}

// Models cross threads: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    send_sync::<Param>();
    send_sync::<Buffer>();
    send_sync::<Mode>();
};
