//! Conversion between precisions and kinds.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, default_dtype, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::copy::{self, Receive, Receiver, Truths};
use crate::kind::{Bool, Float, Int, Kind};
use crate::par::Par;
use crate::registry::{ALL, Family, Misuse, OpInfo, Sample};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CAST];

/// The elements of `x` in another precision; `x` itself where it has that one.
pub(super) fn cast(x: &AnyTensor, to: DType) -> AnyTensor {
    if x.dtype() == to {
        return x.view(x.layout().clone());
    }
    let n = x.elements();
    let par = Par::of(n);
    let give =
        |to: &dyn Receive| with_dtype!(x.dtype(), A => copy::cast::<A>(x.storage().slice(), x.layout(), to, &par));
    let storage = match to {
        DType::Bool => Storage::filled(n, |out| give(&Truths::new(out))),
        _ => with_dtype!(to, B => Storage::filled(n, |out: &mut [B]| give(&Receiver::new(out)))),
    };
    AnyTensor::dense(storage, x.shape().clone(), to)
}

/// What an operation makes of its inputs in `F32`, where they are floats.
pub(super) fn of_singles(call: &Call<'_, '_>, op: &'static Op) -> Result<Outputs> {
    let widen = |x: &AnyTensor| if x.dtype().is_float() { cast(x, DType::F32) } else { x.to_constant() };
    let mut inputs: SmallVec<[Arg<'_>; 4]> = (0..call.len()).map(|i| Arg::Own(widen(call.input(i)))).collect();
    apply(op, call.attrs().clone(), &mut inputs)
}

/// What an operation makes of 16-bit floats: computed in `F32`, and rounded once.
pub(super) fn in_single(call: &Call<'_, '_>, op: &'static Op) -> Result<Outputs> {
    let dtype = call.input(0).dtype();
    Ok(of_singles(call, op)?.iter().map(|t| cast(t, dtype)).collect())
}

/// The operation of [`Tensor::to_dtype`] and of the conversions between kinds.
pub(crate) static CAST: Op = Op {
    name: "cast",
    operands: &["input"],
    forward: |call| Ok(cast(call.input(0), call.attrs().dtype("dtype")).into()),
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE,
        vjp: |cx| {
            let dtype = cx.input_dtype(0);
            let g = cx.g().to_dtype(dtype);
            cx.give(0, g);
        },
    },
    info: || OpInfo {
        family: Family::Copy,
        numpy: "astype",
        torch: "to",
        precisions: ALL,
        samples: |g| {
            let shape = g.shape(0, 3);
            let to = if g.dtype == DType::F64 { DType::F64 } else { g.pick(&DType::ALL) };
            vec![Sample::new([g.numbers(&shape, -3.0, 100.0)], attrs! { dtype: to })]
        },
        specials: |_| Vec::new(),
        misuses: Vec::<Misuse>::new,
    },
};

fn wrong_kind(dtype: DType, kind: &str, help: &str) -> Error {
    Error::new(format!("{dtype} is not a precision of {kind} tensors")).kind_of(ErrorKind::DType).help(help)
}

impl<K: Kind> Tensor<K> {
    /// The same elements in another precision of this kind, rounded to nearest even or wrapped.
    ///
    /// # Panics
    /// If `dtype` belongs to another kind.
    ///
    /// ```
    /// use wengert_tensor::{DType, tensor};
    /// assert_eq!(tensor![0.1].to_dtype(DType::F64).item(), 0.1_f32 as f64);
    /// ```
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor<K> {
        or_panic(self.try_to_dtype(dtype))
    }

    /// Fallible form of [`to_dtype`](Self::to_dtype).
    ///
    /// # Errors
    /// If `dtype` belongs to another kind.
    #[track_caller]
    pub fn try_to_dtype(&self, dtype: DType) -> Result<Tensor<K>> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        if !K::holds(dtype) {
            let help = "to change the kind, use to_float(), to_int() or to_bool()";
            let at = std::panic::Location::caller();
            let e = Err(wrong_kind(dtype, K::NAME, help));
            return crate::dispatch::in_op("to_dtype", &[("input", self.as_any())], at, e);
        }
        apply1(&CAST, attrs! { dtype: dtype }, &mut [self.into()])
    }

    /// As a float tensor of the default precision: masks become 0 and 1. A float tensor stays as it is.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![true, false].to_float().sum().item(), 1.0);
    /// ```
    #[track_caller]
    pub fn to_float(&self) -> Tensor {
        let dtype = if self.dtype().is_float() { self.dtype() } else { default_dtype() };
        self.to_float_as(dtype)
    }

    /// As a float tensor of precision `dtype`.
    ///
    /// # Panics
    /// If `dtype` is not a float precision.
    ///
    /// ```
    /// use wengert_tensor::{DType, tensor};
    /// assert_eq!(tensor![1, 2].to_float_as(DType::F64).dtype(), DType::F64);
    /// ```
    #[track_caller]
    pub fn to_float_as(&self, dtype: DType) -> Tensor {
        or_panic(apply1::<Float>(&CAST, attrs! { dtype: dtype }, &mut [self.into()]))
    }

    /// As an integer tensor (`I64`): floats are truncated towards 0 and saturate, NaN becomes 0, masks become 0 and 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.9, -1.9, f64::NAN].to_int().to_vec::<i64>(), [1, -1, 0]);
    /// ```
    #[track_caller]
    pub fn to_int(&self) -> Tensor<Int> {
        let dtype = if self.dtype().is_int() { self.dtype() } else { DType::I64 };
        or_panic(apply1::<Int>(&CAST, attrs! { dtype: dtype }, &mut [self.into()]))
    }

    /// As a mask: whether each element differs from 0. NaN does.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0, 3].to_bool().to_vec::<bool>(), [false, true]);
    /// ```
    #[track_caller]
    pub fn to_bool(&self) -> Tensor<Bool> {
        or_panic(apply1::<Bool>(&CAST, attrs! { dtype: DType::Bool }, &mut [self.into()]))
    }
}
