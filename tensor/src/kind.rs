//! The kinds of tensors, which are part of their type.

use crate::dtype::{DType, Element, default_dtype};

mod sealed {
    pub trait Sealed {}
}

/// The kind of a tensor's elements: [`Float`], [`Int`] or [`Bool`]. Sealed.
///
/// ```
/// use wengert_tensor::{DType, Float, Int, Kind};
/// assert!(Float::holds(DType::F64) && !Int::holds(DType::F64));
/// assert_eq!(Int::default_dtype(), DType::I64);
/// ```
pub trait Kind: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The kind's name, as in `Tensor<Int>`.
    const NAME: &'static str;
    /// Whether tensors of this kind can hold this precision.
    fn holds(dtype: DType) -> bool;
    /// The precision of new tensors of this kind.
    fn default_dtype() -> DType;
}

/// Kinds that have arithmetic: [`Float`] and [`Int`]. Sealed.
///
/// ```
/// use wengert_tensor::{Numeric, Tensor, tensor};
/// fn range<K: Numeric>(x: &Tensor<K>) -> Tensor<K> {
///     x.max().try_sub(&x.min()).unwrap()
/// }
/// assert_eq!(range(&tensor![1, 5, 3]).item(), 4);
/// ```
#[diagnostic::on_unimplemented(
    message = "arithmetic needs a float or integer tensor, this one is `{Self}`",
    note = "count or convert a mask first: `mask.to_float()` or `mask.to_int()`"
)]
pub trait Numeric: Kind {}

/// The kind of float tensors: the only ones that carry gradients.
#[derive(Clone, Copy, Debug)]
pub struct Float;

/// The kind of integer tensors: labels, indices, counts.
#[derive(Clone, Copy, Debug)]
pub struct Int;

/// The kind of boolean tensors: masks.
#[derive(Clone, Copy, Debug)]
pub struct Bool;

impl sealed::Sealed for Float {}
impl sealed::Sealed for Int {}
impl sealed::Sealed for Bool {}

impl Kind for Float {
    const NAME: &'static str = "Float";
    #[inline]
    fn holds(dtype: DType) -> bool {
        dtype.is_float()
    }
    fn default_dtype() -> DType {
        default_dtype()
    }
}

impl Kind for Int {
    const NAME: &'static str = "Int";
    #[inline]
    fn holds(dtype: DType) -> bool {
        dtype.is_int()
    }
    fn default_dtype() -> DType {
        DType::I64
    }
}

impl Kind for Bool {
    const NAME: &'static str = "Bool";
    #[inline]
    fn holds(dtype: DType) -> bool {
        dtype == DType::Bool
    }
    fn default_dtype() -> DType {
        DType::Bool
    }
}

impl Numeric for Float {}
impl Numeric for Int {}

/// A Rust type whose values a tensor of kind `K` can be made from and read as: `f32`, `f64`, `half::f16` and
/// `half::bf16` for floats, `i64`, `i32`, `u8` and `i8` for integers, `bool` for booleans.
///
/// ```
/// use wengert_tensor::{Float, Value};
/// assert_eq!(<f32 as Value<Float>>::store(1.5), 1.5);
/// assert_eq!(<f64 as Value<Float>>::load(1.5_f32), 1.5);
/// ```
pub trait Value<K: Kind>: Copy + Send + Sync + 'static {
    /// How the value lies in a buffer.
    type Stored: Element;
    /// The precision that stores this type.
    const DTYPE: DType;
    /// To the stored form.
    fn store(self) -> Self::Stored;
    /// From any stored element, by [`Element::to_f64`]-like conversion.
    fn load<T: Element>(x: T) -> Self;
}

macro_rules! value {
    ($($kind:ident: $($t:ty),*;)*) => {$($(
        impl Value<$kind> for $t {
            type Stored = $t;
            const DTYPE: DType = <$t as Element>::DTYPE;
            fn store(self) -> $t { self }
            fn load<T: Element>(x: T) -> $t {
                if T::DTYPE.is_float() { <$t>::from_f64(x.to_f64()) } else { <$t>::from_i64(x.to_i64()) }
            }
        }
    )*)*};
}
value! {
    Float: f32, f64, half::f16, half::bf16;
    Int: i64, i32, u8, i8;
}

impl Value<Bool> for bool {
    type Stored = u8;
    const DTYPE: DType = DType::Bool;
    fn store(self) -> u8 {
        self as u8
    }
    fn load<T: Element>(x: T) -> bool {
        x != T::default()
    }
}
