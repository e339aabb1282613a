//! Tensors from nothing: constants and sequences.

use std::borrow::Borrow;
use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Attrs, Gradient, Op, Outputs, Value, apply1, in_op};
use crate::dtype::{DType, Element, default_dtype, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::{copy, fill};
use crate::kind::{Bool, Float, Int, Kind, Value as KindValue};
use crate::ops::elementwise::{demand_float, unsupported};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL as ALL_PRECISIONS, FLOATS, Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::{IntoDims, Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&FULL, &ARANGE, &LINSPACE, &ONE_HOT];

/// A constant as an attribute: exact for integers.
pub(crate) fn element<T: Element>(value: &Value) -> T {
    match value {
        Value::Int(v) => T::from_i64(*v),
        Value::Bool(v) => T::from_i64(*v as i64),
        Value::Float(v) => T::from_f64(*v),
        other => panic!("attribute `value` is {other}, not a number"),
    }
}

/// A number as an attribute that [`element`] reads back.
pub(super) fn attribute<K: Kind>(value: impl KindValue<K>) -> Value {
    match K::default_dtype().is_float() {
        true => Value::Float(value.store().to_f64()),
        false => Value::Int(value.store().to_i64()),
    }
}

/// A constant tensor, without a trip through the dispatcher: for scalars that stand beside a tensor.
pub(crate) fn full_any(shape: Shape, value: Value, dtype: DType) -> AnyTensor {
    let n = shape.elements();
    let storage = with_dtype!(dtype, T => {
        let mut storage = Storage::stale::<T>(n);
        fill::constant(&mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n], element(&value), &Par::of(n));
        storage
    });
    AnyTensor::dense(storage, shape, dtype)
}

/// The operation of [`Tensor::full`].
pub(crate) static FULL: Op = Op {
    name: "full",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let shape = checked_shape(&attrs.ints("shape"))?;
        let value = attrs.get("value").cloned().unwrap_or(Value::Int(0));
        Ok(full_any(shape, value, attrs.dtype("dtype")).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Fill,
        numpy: "full",
        torch: "full",
        precisions: ALL_PRECISIONS,
        samples: |g| {
            let shape = g.shape(0, 3);
            vec![Sample::new([], attrs! { shape: &shape[..], value: 1.0, dtype: g.dtype })]
        },
        specials: |_| Vec::new(),
        misuses: || {
            vec![
                Misuse::new(
                    [],
                    attrs! { shape: [-1i64], value: 1.0, dtype: DType::F32 },
                    "size -1 on axis 0 is negative",
                ),
                Misuse::new(
                    [],
                    attrs! { shape: [i64::MAX, 2], value: 1.0, dtype: DType::F32 },
                    "more elements than memory can address",
                ),
            ]
        },
    },
};

#[track_caller]
fn try_full<K: Kind>(shape: impl IntoDims, value: Value, dtype: DType) -> Result<Tensor<K>> {
    apply1(&FULL, attrs! { shape: shape.into_dims(0), value: value, dtype: dtype }, &mut [])
}

/// Defines `zeros`, `ones` and `full` where they belong: floats on `Tensor`, the other kinds on their own names.
macro_rules! constants {
    ($On:ty, $K:ident, $t:ty, $example:literal, $value:literal) => {
        impl $On {
            /// A tensor of zeros.
            ///
            /// # Panics
            /// If a size is negative, or there are more elements than memory can address.
            ///
            /// ```
            /// use wengert_tensor::{Bool, Int, Tensor};
            #[doc = concat!("assert_eq!(", $example, "::zeros([2, 3]).elements(), 6);")]
            /// ```
            #[track_caller]
            pub fn zeros(shape: impl IntoDims) -> Tensor<$K> {
                or_panic(try_full(shape, Value::Int(0), $K::default_dtype())).called("zeros", Location::caller())
            }

            /// A tensor of ones.
            ///
            /// # Panics
            /// If a size is negative, or there are more elements than memory can address.
            ///
            /// ```
            /// use wengert_tensor::{Bool, Int, Tensor};
            #[doc = concat!("assert_eq!(", $example, "::ones([2, 3]).elements(), 6);")]
            /// ```
            #[track_caller]
            pub fn ones(shape: impl IntoDims) -> Tensor<$K> {
                or_panic(try_full(shape, Value::Int(1), $K::default_dtype())).called("ones", Location::caller())
            }

            /// A tensor whose every element is `value`.
            ///
            /// # Panics
            /// If a size is negative, or there are more elements than memory can address.
            ///
            /// ```
            /// use wengert_tensor::{Bool, Int, Tensor};
            #[doc = concat!("assert_eq!(", $example, "::full([2], ", $value, ").rank(), 1);")]
            /// ```
            #[track_caller]
            pub fn full(shape: impl IntoDims, value: $t) -> Tensor<$K> {
                or_panic(<$On>::try_full(shape, value))
            }

            /// Fallible form of `full`.
            ///
            /// # Errors
            /// If a size is negative, or there are more elements than memory can address.
            #[track_caller]
            pub fn try_full(shape: impl IntoDims, value: $t) -> Result<Tensor<$K>> {
                try_full(shape, Value::from(value), $K::default_dtype())
            }
        }

        impl Tensor<$K> {
            /// This tensor's shape and precision, with every element `value`.
            ///
            /// ```
            /// use wengert_tensor::{Bool, Int, Tensor};
            #[doc = concat!("let x = ", $example, "::zeros([2, 3]);")]
            #[doc = concat!("assert_eq!(x.full_like(", $value, ").shape(), x.shape());")]
            /// ```
            #[track_caller]
            pub fn full_like(&self, value: $t) -> Tensor<$K> {
                or_panic(try_full(self.shape(), Value::from(value), self.dtype()))
            }
        }
    };
}
constants!(Tensor, Float, f64, "Tensor", "0.5");
constants!(Int, Int, i64, "Int", "7");
constants!(Bool, Bool, bool, "Bool", "true");

impl Tensor {
    /// A tensor of precision `dtype` whose every element is `value`.
    ///
    /// # Panics
    /// If `dtype` is not a float precision, a size is negative, or there are more elements than memory can address.
    ///
    /// ```
    /// use wengert_tensor::{DType, Tensor};
    /// assert_eq!(Tensor::full_dtype([2], 0.5, DType::F64).to_vec::<f64>(), [0.5, 0.5]);
    /// ```
    #[track_caller]
    pub fn full_dtype(shape: impl IntoDims, value: f64, dtype: DType) -> Tensor {
        or_panic(try_full(shape, Value::Float(value), dtype))
    }
}

impl<K: Kind> Tensor<K> {
    /// Zeros of this tensor's shape and precision.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1, 2].zeros_like().to_vec::<i64>(), [0, 0]);
    /// ```
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor<K> {
        or_panic(try_full(self.shape(), Value::Int(0), self.dtype()))
    }

    /// Ones of this tensor's shape and precision.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.5, 2.5].ones_like().to_vec::<f32>(), [1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn ones_like(&self) -> Tensor<K> {
        or_panic(try_full(self.shape(), Value::Int(1), self.dtype()))
    }
}

/// The operation of [`Tensor::arange`].
pub(crate) static ARANGE: Op = {
    fn sequence(attrs: &Attrs) -> Result<Outputs> {
        let dtype = attrs.dtype("dtype");
        let bad = |e: &str| Error::new(e).kind_of(ErrorKind::Value);
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        if dtype.is_int() {
            let (start, end, step) = (attrs.int("start") as i128, attrs.int("end") as i128, attrs.int("step") as i128);
            if step == 0 {
                return Err(bad("step is 0").help("give a step that leads from start to end"));
            }
            let n = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step }.max(0);
            let shape = checked_shape(&[isize::try_from(n).unwrap_or(isize::MAX)])?;
            let (n, start, step) = (shape.elements(), start as i64, step as i64);
            let storage = with_dtype!(int dtype, T => {
                Storage::filled(n, |out| fill::integers::<T>(out, start, step, &Par::of(n)))
            });
            return Ok(AnyTensor::dense(storage, shape, dtype).into());
        }
        let (start, end, step) = (attrs.float("start"), attrs.float("end"), attrs.float("step"));
        let n = ((end - start) / step).ceil();
        if step == 0.0 || !n.is_finite() {
            return Err(bad(&format!("start {start}, end {end} and step {step} give no finite sequence"))
                .help("give finite numbers and a step other than 0"));
        }
        let shape = checked_shape(&[if n < 1e18 { n.max(0.0) as isize } else { isize::MAX }])?;
        let n = shape.elements();
        let storage = with_dtype!(float dtype, T => {
            Storage::filled(n, |out| fill::floats::<T>(out, start, step, 0.0, &Par::of(n)))
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    }
    Op {
        name: "arange",
        operands: &[],
        forward: |call| sequence(call.attrs()),
        gradient: Gradient::NotFloat,
        info: || OpInfo {
            family: Family::Fill,
            numpy: "arange",
            torch: "arange",
            precisions: NUMERIC,
            samples: |g| {
                let (start, n) = (g.below(5) as i64, g.below(5) as i64);
                vec![
                    Sample::new([], attrs! { start: start, end: start + n, step: 1i64, dtype: g.dtype }),
                    Sample::new([], attrs! { start: start + n, end: start, step: -2i64, dtype: g.dtype }),
                ]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![
                    Misuse::new([], attrs! { start: 0i64, end: 3i64, step: 0i64, dtype: DType::I64 }, "step is 0"),
                    Misuse::new(
                        [],
                        attrs! { start: 0.0, end: f64::NAN, step: 1.0, dtype: DType::F32 },
                        "give no finite sequence",
                    ),
                ]
            },
        },
    }
};

impl Tensor {
    /// The numbers `start, start + step, ..` below `end` (above it, for a negative step), as a tensor of rank 1.
    ///
    /// # Panics
    /// If a number is not finite, or `step` is 0.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::arange(0.0, 1.0, 0.25).to_vec::<f32>(), [0.0, 0.25, 0.5, 0.75]);
    /// ```
    #[track_caller]
    pub fn arange(start: f64, end: f64, step: f64) -> Tensor {
        or_panic(Tensor::try_arange(start, end, step))
    }

    /// Fallible form of [`arange`](Self::arange).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_arange(start: f64, end: f64, step: f64) -> Result<Tensor> {
        apply1(&ARANGE, attrs! { start: start, end: end, step: step, dtype: default_dtype() }, &mut [])
    }

    /// `steps` numbers evenly from `start` to `end`, both included and exact, as a tensor of rank 1.
    ///
    /// # Panics
    /// If there are more than memory can address.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5).to_vec::<f32>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// ```
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize) -> Tensor {
        or_panic(Tensor::try_linspace(start, end, steps))
    }

    /// Fallible form of [`linspace`](Self::linspace).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_linspace(start: f64, end: f64, steps: usize) -> Result<Tensor> {
        let steps = steps.min(isize::MAX as usize);
        apply1(&LINSPACE, attrs! { start: start, end: end, steps: steps, dtype: default_dtype() }, &mut [])
    }
}

/// The operation of [`Tensor::linspace`].
pub(crate) static LINSPACE: Op = Op {
    name: "linspace",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let (start, end, dtype) = (attrs.float("start"), attrs.float("end"), attrs.dtype("dtype"));
        demand_float(dtype)?;
        let shape = checked_shape(&[attrs.int("steps")])?;
        let steps = shape.elements();
        let step = (end - start) / steps.saturating_sub(1).max(1) as f64;
        let storage = with_dtype!(float dtype, T => Storage::filled(steps, |out| {
            // From both ends to the middle, so that the last element is `end` and not a rounding beside it.
            let (low, high) = out.split_at_mut(steps.div_ceil(2));
            let (par, first) = (Par::of(steps), low.len() as f64 - steps.saturating_sub(1) as f64);
            fill::floats::<T>(low, start, step, 0.0, &par);
            fill::floats::<T>(high, end, step, first, &par);
        }));
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Fill,
        numpy: "linspace",
        torch: "linspace",
        precisions: FLOATS,
        samples: |g| vec![Sample::new([], attrs! { start: -1.0, end: 2.0, steps: g.below(6), dtype: g.dtype })],
        specials: |_| Vec::new(),
        misuses: || {
            vec![Misuse::new(
                [],
                attrs! { start: 0.0, end: 1.0, steps: -1i64, dtype: DType::F32 },
                "size -1 on axis 0 is negative",
            )]
        },
    },
};

impl Int {
    /// The integers `start..end`, as a tensor of rank 1.
    ///
    /// ```
    /// use wengert_tensor::Int;
    /// assert_eq!(Int::arange(2, 5).to_vec::<i64>(), [2, 3, 4]);
    /// ```
    #[track_caller]
    pub fn arange(start: i64, end: i64) -> Tensor<Int> {
        or_panic(Int::try_arange(start, end))
    }

    /// Fallible form of `arange`.
    ///
    /// # Errors
    /// If there are more than memory can address.
    #[track_caller]
    pub fn try_arange(start: i64, end: i64) -> Result<Tensor<Int>> {
        apply1(&ARANGE, attrs! { start: start, end: end, step: 1i64, dtype: DType::I64 }, &mut [])
    }
}

/// The operation of [`Tensor::one_hot`].
pub(crate) static ONE_HOT: Op = Op {
    name: "one_hot",
    operands: &["labels"],
    forward: |call| {
        let (labels, attrs) = (call.input(0), call.attrs());
        let (classes, dtype) = (attrs.int("classes"), attrs.dtype("dtype"));
        if !labels.dtype().is_int() {
            return Err(unsupported(labels.dtype()).help("labels are integers"));
        }
        let mut sizes: Vec<isize> = labels.shape().iter().map(|&n| n as isize).collect();
        sizes.push(classes);
        let shape = checked_shape(&sizes)?;
        let classes = classes as usize;
        let labels = checked_labels(labels, classes, None)?;
        let storage = with_dtype!(dtype, T => {
            let mut storage = Storage::zeros::<T>(shape.elements());
            let out = storage.unique_mut::<T>().expect("a fresh buffer is unique");
            for (row, label) in labels.into_iter().flatten().enumerate() {
                out[row * classes + label] = T::from_i64(1);
            }
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Scatter,
        numpy: "",
        torch: "nn.functional.one_hot",
        precisions: &DType::INTS,
        samples: |g| {
            let shape = g.shape(0, 3);
            vec![Sample::new([g.numbers(&shape, 0.0, 4.0)], attrs! { classes: 4i64, dtype: DType::F64 })]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let labels = |label: i64| Tensor::<Int>::from_vec(vec![0, label], [2]).into();
            let attrs = |classes: i64| attrs! { classes: classes, dtype: DType::F32 };
            vec![
                Misuse::new([labels(3)], attrs(3), "label 3 at [1] is none of the 3 classes"),
                Misuse::new([labels(-1)], attrs(3), "label -1 at [1] is none of the 3 classes"),
                Misuse::new([labels(0)], attrs(-1), "size -1 on axis 1 is negative"),
            ]
        },
    },
};

/// The class numbers of an integer tensor, row-major; `None` for those that are `ignored`.
///
/// # Errors
/// If another is none of the classes.
pub(crate) fn checked_labels(labels: &AnyTensor, classes: usize, ignored: Option<i64>) -> Result<Vec<Option<usize>>> {
    let mut found = Vec::with_capacity(labels.elements());
    let mut wrong = None;
    with_dtype!(int labels.dtype(), T => {
        copy::for_each(labels.storage().slice::<T>(), labels.layout(), |label| {
            let label = label.to_i64();
            let class = usize::try_from(label).ok().filter(|&class| class < classes && Some(label) != ignored);
            if class.is_none() && Some(label) != ignored {
                wrong.get_or_insert((found.len(), label));
            }
            found.push(class);
        });
    });
    let Some((number, label)) = wrong else { return Ok(found) };
    let position = labels.shape().position(number);
    let e = Error::new(format!("label {label} at {position:?} is none of the {classes} classes"));
    let e = e.kind_of(ErrorKind::Index);
    Err(match classes {
        0 => e.help("there are no classes"),
        _ => e.help(format!("labels are class numbers from 0 to {}", classes - 1)),
    })
}

twin! {
    impl [] Tensor<Int> {
        /// For each class number a row of `classes` zeros with a 1 in its place, along a new last axis: class numbers as
        /// probabilities.
        ///
        /// # Panics
        /// If a label is not a class number, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let rows = tensor![2, 0].one_hot(3);
        /// assert_eq!(rows.to_vec::<f32>(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        /// ```
        pub fn one_hot / try_one_hot(&self, classes: usize) -> Tensor {
            let classes = classes.min(isize::MAX as usize);
            apply1(&ONE_HOT, attrs! { classes: classes, dtype: default_dtype() }, &mut [self.into()])
        }
    }
}

impl<K: Kind> Tensor<K> {
    /// The coordinates of a grid: for each axis a tensor of the grid's shape that holds each point's coordinate along
    /// it. The sequences are of rank 1; the results are views of them. NumPy's `indexing="ij"`, PyTorch's default.
    ///
    /// # Panics
    /// If a sequence is not of rank 1.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// let grid = Tensor::meshgrid(&[tensor![1.0, 2.0], tensor![5.0, 6.0, 7.0]]);
    /// assert_eq!(grid[0].to_vec::<f32>(), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    /// assert_eq!(grid[1].to_vec::<f32>(), [5.0, 6.0, 7.0, 5.0, 6.0, 7.0]);
    /// ```
    #[track_caller]
    pub fn meshgrid<T: Borrow<Tensor<K>>>(sequences: &[T]) -> Vec<Tensor<K>> {
        or_panic(Tensor::try_meshgrid(sequences))
    }

    /// Fallible form of [`meshgrid`](Self::meshgrid).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_meshgrid<T: Borrow<Tensor<K>>>(sequences: &[T]) -> Result<Vec<Tensor<K>>> {
        let at = Location::caller();
        if let Some((i, x)) = sequences.iter().enumerate().find(|(_, x)| (*x).borrow().rank() != 1) {
            let (x, name) = (x.borrow(), format!("sequence {i}"));
            let e =
                Error::new(format!("{name} has rank {}, not 1", x.rank())).help("flatten(..) makes it one sequence");
            return in_op("meshgrid", &[(&name, x.as_any())], at, Err(e));
        }
        let sizes: Vec<usize> = sequences.iter().map(|x| x.borrow().elements()).collect();
        let along = |(axis, x): (usize, &T)| -> Result<Tensor<K>> {
            let mut shape = vec![1; sizes.len()];
            shape[axis] = sizes[axis];
            x.borrow().try_reshape(&shape)?.try_expand(&sizes)
        };
        sequences.iter().enumerate().map(along).collect()
    }
}

/// A float tensor of rank 0.
///
/// ```
/// use wengert_tensor::scalar;
/// assert_eq!(scalar(0.5).rank(), 0);
/// ```
#[track_caller]
pub fn scalar(value: f64) -> Tensor {
    or_panic(try_full((), Value::Float(value), default_dtype())).called("scalar", Location::caller())
}

/// Literals that can stand in [`tensor!`](crate::tensor!). One float and one integer type: with more, a literal would
/// not say which is meant, and `tensor![1.0].sum().item()` would not compile.
#[doc(hidden)]
pub trait Literal: Copy {
    type Kind: Kind;
    #[track_caller]
    fn make(values: Vec<Self>, shape: &[usize]) -> Result<Tensor<Self::Kind>>;
}
impl Literal for f64 {
    type Kind = Float;
    fn make(values: Vec<f64>, shape: &[usize]) -> Result<Tensor> {
        match default_dtype() {
            DType::F64 => Tensor::try_from_vec(values, shape),
            DType::F32 => Tensor::try_from_vec(values.iter().map(|&v| v as f32).collect(), shape),
            other => Tensor::try_from_vec(values, shape)?.try_to_dtype(other),
        }
    }
}
impl Literal for i64 {
    type Kind = Int;
    fn make(values: Vec<i64>, shape: &[usize]) -> Result<Tensor<Int>> {
        Tensor::try_from_vec(values, shape)
    }
}
impl Literal for bool {
    type Kind = Bool;
    fn make(values: Vec<bool>, shape: &[usize]) -> Result<Tensor<Bool>> {
        Tensor::try_from_vec(values, shape)
    }
}

/// Nested arrays of literals: what [`tensor!`](crate::tensor!) takes.
#[doc(hidden)]
pub trait Nested {
    type Element: Literal;
    fn shape(&self, shape: &mut Vec<usize>);
    fn flatten(&self, values: &mut Vec<Self::Element>);
}
impl<L: Literal, const N: usize> Nested for [L; N] {
    type Element = L;
    fn shape(&self, shape: &mut Vec<usize>) {
        shape.push(N);
    }
    fn flatten(&self, values: &mut Vec<L>) {
        values.extend_from_slice(self);
    }
}
macro_rules! nested {
    ($([$($n:ident)*])*) => {$(
        nested!(@impl $($n)*);
    )*};
    (@impl $first:ident $($n:ident)*) => {
        impl<L: Literal, const $first: usize, $(const $n: usize),*> Nested for nested!(@array $first $($n)*) {
            type Element = L;
            fn shape(&self, shape: &mut Vec<usize>) {
                shape.push(self.len());
                match self.first() {
                    Some(inner) => inner.shape(shape),
                    None => shape.extend([$($n),*]),
                }
            }
            fn flatten(&self, values: &mut Vec<L>) {
                self.iter().for_each(|inner| inner.flatten(values));
            }
        }
    };
    (@array $n:ident) => { [L; $n] };
    (@array $first:ident $($n:ident)+) => { [nested!(@array $($n)+); $first] };
}
nested! { [A B] [A B C] [A B C D] [A B C D E] [A B C D E F] }

#[doc(hidden)]
#[track_caller]
pub fn from_nested<N: Nested>(nested: N) -> Tensor<<N::Element as Literal>::Kind> {
    let (mut shape, mut values) = (Vec::new(), Vec::new());
    nested.shape(&mut shape);
    nested.flatten(&mut values);
    or_panic(Literal::make(values, &shape))
}

/// A tensor from nested literals: floats give a [`Tensor`], integers a `Tensor<Int>`, booleans a `Tensor<Bool>`.
///
/// Rank 1 and up; [`scalar`](crate::scalar) makes rank 0.
///
/// ```
/// use wengert_tensor::tensor;
/// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
/// let labels = tensor![0, 1];
/// let mask = tensor![true, false];
/// assert_eq!(x.shape().to_string(), "[2, 2]");
/// assert_eq!((labels.rank(), mask.rank()), (1, 1));
/// ```
#[macro_export]
macro_rules! tensor {
    ($($x:expr),* $(,)?) => { $crate::from_nested([$($x),*]) };
}
