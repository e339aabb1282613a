//! Tensors from nothing: constants and sequences.

use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Attrs, Gradient, Op, Outputs, Value, apply1};
use crate::dtype::{DType, Element, default_dtype, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::fill;
use crate::kind::{Bool, Float, Int, Kind, Value as KindValue};
use crate::ops::elementwise::unsupported;
use crate::par::Par;
use crate::registry::{ALL as ALL_PRECISIONS, Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::{IntoDims, Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&FULL, &ARANGE, &EYE];

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
        Ok(smallvec::smallvec![full_any(shape, value, attrs.dtype("dtype"))])
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
    ($On:ty, $K:ident, $t:ty, $example:literal) => {
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
            #[track_caller]
            pub fn ones(shape: impl IntoDims) -> Tensor<$K> {
                or_panic(try_full(shape, Value::Int(1), $K::default_dtype())).called("ones", Location::caller())
            }

            /// A tensor whose every element is `value`.
            ///
            /// # Panics
            /// If a size is negative, or there are more elements than memory can address.
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
    };
}
constants!(Tensor, Float, f64, "Tensor");
constants!(Int, Int, i64, "Int");
constants!(Bool, Bool, bool, "Bool");

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
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor<K> {
        or_panic(try_full(self.shape(), Value::Int(0), self.dtype()))
    }

    /// Ones of this tensor's shape and precision.
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
            return Ok(fill_sequence(shape, dtype, |i| Value::Int((start + step * i as i128) as i64)));
        }
        let (start, end, step) = (attrs.float("start"), attrs.float("end"), attrs.float("step"));
        let n = ((end - start) / step).ceil();
        if step == 0.0 || !n.is_finite() {
            return Err(bad(&format!("start {start}, end {end} and step {step} give no finite sequence"))
                .help("give finite numbers and a step other than 0"));
        }
        let shape = checked_shape(&[if n < 1e18 { n.max(0.0) as isize } else { isize::MAX }])?;
        Ok(fill_sequence(shape, dtype, |i| Value::Float(start + step * i as f64)))
    }
    fn fill_sequence(shape: Shape, dtype: DType, f: impl Fn(usize) -> Value + Sync) -> Outputs {
        let n = shape.elements();
        let storage = with_dtype!(dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            fill::sequence(out, &Par::of(n), |i| element::<T>(&f(i)));
            storage
        });
        smallvec::smallvec![AnyTensor::dense(storage, shape, dtype)]
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
        let attrs = attrs! { start: start, end: end, step: step, dtype: default_dtype() };
        or_panic(apply1(&ARANGE, attrs, &mut []))
    }

    /// `steps` numbers evenly from `start` to `end`, both included, as a tensor of rank 1.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5).to_vec::<f32>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// ```
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize) -> Tensor {
        // From both ends to the middle, so that the last element is `end` and not a rounding beside it.
        let step = if steps > 1 { (end - start) / (steps - 1) as f64 } else { 0.0 };
        let at = |i: usize| if 2 * i < steps { start + step * i as f64 } else { end - step * (steps - 1 - i) as f64 };
        let values: Vec<f64> = (0..steps).map(|i| if steps == 1 { start } else { at(i) }).collect();
        Tensor::from_vec(values, [steps]).to_dtype(default_dtype())
    }

    /// The identity matrix of `n` rows.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::eye(2).to_vec::<f32>(), [1.0, 0.0, 0.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn eye(n: usize) -> Tensor {
        or_panic(apply1(&EYE, attrs! { n: n, dtype: default_dtype() }, &mut []))
    }
}

impl Int {
    /// The integers `start..end`, as a tensor of rank 1.
    ///
    /// ```
    /// use wengert_tensor::Int;
    /// assert_eq!(Int::arange(2, 5).to_vec::<i64>(), [2, 3, 4]);
    /// ```
    #[track_caller]
    pub fn arange(start: i64, end: i64) -> Tensor<Int> {
        or_panic(apply1(&ARANGE, attrs! { start: start, end: end, step: 1i64, dtype: DType::I64 }, &mut []))
    }
}

/// The operation of [`Tensor::eye`].
pub(crate) static EYE: Op = Op {
    name: "eye",
    operands: &[],
    forward: |call| {
        let n = call.attrs().int("n");
        let dtype = call.attrs().dtype("dtype");
        let shape = checked_shape(&[n, n])?;
        let n = n as usize;
        let storage = with_dtype!(dtype, T => {
            let mut storage = Storage::zeros::<T>(n * n);
            let out = storage.unique_mut::<T>().expect("a fresh buffer is unique");
            (0..n).for_each(|i| out[i * (n + 1)] = T::from_i64(1));
            storage
        });
        Ok(smallvec::smallvec![AnyTensor::dense(storage, shape, dtype)])
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Fill,
        numpy: "eye",
        torch: "eye",
        precisions: ALL_PRECISIONS,
        samples: |g| vec![Sample::new([], attrs! { n: g.below(4), dtype: g.dtype })],
        specials: |_| Vec::new(),
        misuses: || vec![Misuse::new([], attrs! { n: -2i64, dtype: DType::F32 }, "size -2 on axis 0 is negative")],
    },
};

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
