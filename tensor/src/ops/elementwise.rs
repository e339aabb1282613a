//! What all elementwise operations share: the loops of an operation by element type, and the way from a call to them.

use crate::dispatch::{Call, Outputs};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::copy;
use crate::kernels::divide;
use crate::kernels::map::{self, UnaryBody, UnaryIntBody};
use crate::kernels::zip::{self, BinaryBody, BinaryIntBody, CompareBody, Side};
use crate::layout::Layout;
use crate::ops::memory_order::in_memory_order;
use crate::par::Par;
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::AnyTensor;

/// The loops of an operation, by element type.
pub(crate) struct MapTable {
    f32: map::Block<f32>,
    f64: map::Block<f64>,
    int: Option<IntTable>,
}

/// The loops for integers.
struct IntTable {
    i64: map::Block<i64>,
    i32: map::Block<i32>,
    u8: map::Block<u8>,
    i8: map::Block<i8>,
}

impl MapTable {
    pub(crate) const fn float<B: UnaryBody>() -> MapTable {
        MapTable { f32: map::block::<B, f32>, f64: map::block::<B, f64>, int: None }
    }

    pub(crate) const fn with_int<B: UnaryBody, I: UnaryIntBody>() -> MapTable {
        MapTable {
            int: Some(IntTable {
                i64: map::int_block::<I, i64>,
                i32: map::int_block::<I, i32>,
                u8: map::int_block::<I, u8>,
                i8: map::int_block::<I, i8>,
            }),
            ..MapTable::float::<B>()
        }
    }
}

/// The loop of a table for element type `T`, where there is one.
trait Pick<T> {
    fn pick(&self) -> Option<map::Block<T>>;
}
macro_rules! pick {
    (float $($t:ident)*) => {$(
        impl Pick<$t> for MapTable { fn pick(&self) -> Option<map::Block<$t>> { Some(self.$t) } }
    )*};
    (int $($t:ident)*) => {$(
        impl Pick<$t> for MapTable { fn pick(&self) -> Option<map::Block<$t>> { self.int.as_ref().map(|t| t.$t) } }
    )*};
}
pick!(float f32 f64);
pick!(int i64 i32 u8 i8);

pub(crate) fn unsupported(dtype: DType) -> Error {
    Error::new(format!("precision {dtype} is not supported")).kind_of(ErrorKind::DType)
}

/// Checks that a precision is one of floats.
pub(crate) fn demand_float(dtype: DType) -> Result<()> {
    if dtype.is_float() { Ok(()) } else { Err(unsupported(dtype)) }
}

/// Computes an elementwise operation of one operand, in its memory where that was handed over.
pub(crate) fn map(call: &mut Call<'_, '_>, table: &MapTable, numbers: &[f64]) -> Result<Outputs> {
    let dtype = call.input(0).dtype();
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let n = call.input(0).elements();
    let par = Par::of(n);
    with_dtype!(dtype, T => {
        let Some(f) = Pick::<<T as Element>::Compute>::pick(table) else { return Err(unsupported(dtype)) };
        if let Some(mut storage) = call.reuse(0) {
            map::map_in_place::<T>(&mut storage.unique_mut().expect("found unique")[..n], numbers, f, &par);
            return Ok(AnyTensor::dense(storage, call.input(0).shape().clone(), dtype).into());
        }
        let x = call.input(0);
        Ok(in_memory_order(x.shape().clone(), [x], |shape, [x], _| {
            AnyTensor::filled(shape, |out| map::map::<T>(out, x.storage().slice(), x.layout(), numbers, f, &par))
        })
        .into())
    })
}

/// The loops of an operation of two operands, by element type; `O` is `T` or `u8` for truth values.
pub(crate) struct ZipTable {
    f32: zip::Block<f32, f32>,
    f64: zip::Block<f64, f64>,
    int: Option<IntZipTable>,
    /// With a number on the right.
    by_number: Option<NumberTable>,
    /// Whether the operands may change places.
    commutes: bool,
}

struct NumberTable {
    f32: zip::Block<f32, f32>,
    f64: zip::Block<f64, f64>,
}

struct IntZipTable {
    i64: zip::Block<i64, i64>,
    i32: zip::Block<i32, i32>,
    u8: zip::Block<u8, u8>,
    i8: zip::Block<i8, i8>,
}

impl ZipTable {
    pub(crate) const fn float<B: BinaryBody>() -> ZipTable {
        ZipTable { f32: zip::block::<B, f32>, f64: zip::block::<B, f64>, int: None, by_number: None, commutes: false }
    }

    pub(crate) const fn with_int<B: BinaryBody, I: BinaryIntBody>() -> ZipTable {
        ZipTable {
            int: Some(IntZipTable {
                i64: zip::int_block::<I, i64>,
                i32: zip::int_block::<I, i32>,
                u8: zip::int_block::<I, u8>,
                i8: zip::int_block::<I, i8>,
            }),
            ..ZipTable::float::<B>()
        }
    }

    /// The same with loops of their own for floats with a number on the right.
    pub(crate) const fn by_number<B: BinaryBody>(self) -> ZipTable {
        let table = NumberTable { f32: zip::number_block::<B, f32>, f64: zip::number_block::<B, f64> };
        ZipTable { by_number: Some(table), ..self }
    }

    /// The same for a division that rounds down: for its quotients, or for its rests.
    const fn flooring<B: BinaryBody, const REST: bool>(self) -> ZipTable {
        let int = IntZipTable {
            i64: divide::floor_block::<REST, i64>,
            i32: divide::floor_block::<REST, i32>,
            u8: divide::floor_block::<REST, u8>,
            i8: divide::floor_block::<REST, i8>,
        };
        ZipTable { f32: divide::block::<B, f32>, f64: divide::block::<B, f64>, int: Some(int), ..self }
    }

    /// The same for the quotients of a division that rounds down.
    pub(crate) const fn quotients<B: BinaryBody>(self) -> ZipTable {
        self.flooring::<B, false>()
    }

    /// The same for the rests of a division that rounds down.
    pub(crate) const fn rests<B: BinaryBody>(self) -> ZipTable {
        self.flooring::<B, true>()
    }

    /// The same for an operation that gives the same when its operands change places.
    pub(crate) const fn commuting<B: BinaryBody>(self) -> ZipTable {
        ZipTable { commutes: true, ..self.by_number::<B>() }
    }
}

/// The loops of a comparison, by element type.
pub(crate) struct CompareTable {
    f32: zip::Block<f32, u8>,
    f64: zip::Block<f64, u8>,
    i64: zip::Block<i64, u8>,
    i32: zip::Block<i32, u8>,
    u8: zip::Block<u8, u8>,
    i8: zip::Block<i8, u8>,
}

impl CompareTable {
    pub(crate) const fn new<B: CompareBody>() -> CompareTable {
        CompareTable {
            f32: zip::compare_block::<B, f32>,
            f64: zip::compare_block::<B, f64>,
            i64: zip::compare_int_block::<B, i64>,
            i32: zip::compare_int_block::<B, i32>,
            u8: zip::compare_int_block::<B, u8>,
            i8: zip::compare_int_block::<B, i8>,
        }
    }
}

/// The loop of a table for element type `T` and results `O`, where there is one.
trait PickZip<T, O> {
    fn pick(&self) -> Option<zip::Block<T, O>>;

    /// That with a number on the right.
    fn pick_by_number(&self) -> Option<zip::Block<T, O>> {
        None
    }
}
macro_rules! pick_zip {
    (float $($t:ident)*) => {$(
        impl PickZip<$t, $t> for ZipTable {
            fn pick(&self) -> Option<zip::Block<$t, $t>> { Some(self.$t) }
            fn pick_by_number(&self) -> Option<zip::Block<$t, $t>> { self.by_number.as_ref().map(|t| t.$t) }
        }
    )*};
    (int $($t:ident)*) => {$(
        impl PickZip<$t, $t> for ZipTable {
            fn pick(&self) -> Option<zip::Block<$t, $t>> { self.int.as_ref().map(|t| t.$t) }
        }
    )*};
    (compare $($t:ident)*) => {$(
        impl PickZip<$t, u8> for CompareTable { fn pick(&self) -> Option<zip::Block<$t, u8>> { Some(self.$t) } }
    )*};
}
pick_zip!(float f32 f64);
pick_zip!(int i64 i32 u8 i8);
pick_zip!(compare f32 f64 i64 i32 u8 i8);

/// Whether an operand has one element for each row of what it broadcasts to.
fn one_in_a_row(layout: &Layout) -> bool {
    layout.shape().last().is_none_or(|&size| size == 1) || layout.strides().last() == Some(&0)
}

/// Computes an elementwise operation of two operands that broadcast, in the memory of one where that was handed over.
pub(crate) fn zip(call: &mut Call<'_, '_>, table: &ZipTable, numbers: &[f64]) -> Result<Outputs> {
    let dtype = call.same_dtype()?;
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let same = call.input(0).shape() == call.input(1).shape();
    let shape = match same {
        true => call.input(0).shape().clone(),
        false => call.input(0).shape().broadcast(call.input(1).shape())?,
    };
    let n = shape.elements();
    let par = Par::of(n);
    with_dtype!(dtype, T => {
        type C = <T as Element>::Compute;
        let Some(f) = PickZip::<C, C>::pick(table) else { return Err(unsupported(dtype)) };
        for (i, side) in [(0, Side::Lhs), (1, Side::Rhs)] {
            if (same || *call.input(i).shape() == shape) && let Some(mut storage) = call.reuse(i) {
                let other = call.input(1 - i);
                let own = &mut storage.unique_mut::<T>().expect("found unique")[..n];
                zip::zip_in_place::<T>(own, &shape, other.storage().slice(), other.layout(), side, numbers, f, &par);
                return Ok(AnyTensor::dense(storage, shape, dtype).into());
            }
        }
        let by_number = PickZip::<C, C>::pick_by_number(table);
        let operands = [call.input(0), call.input(1)];
        Ok(in_memory_order(shape, operands, |shape, [mut x, mut y], _| {
            // A number for a whole row belongs on the right.
            if !same && table.commutes && one_in_a_row(x.layout()) && !one_in_a_row(y.layout()) {
                std::mem::swap(&mut x, &mut y);
            }
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            let (xs, ys) = (x.storage().slice(), y.storage().slice());
            zip::zip::<T, T>(out, &shape, xs, x.layout(), ys, y.layout(), numbers, f, by_number, &par);
            AnyTensor::dense(storage, shape, dtype)
        })
        .into())
    })
}

/// The sum of a float operation of two operands of one shape over all elements, in `f64`.
pub(crate) fn zip_sum(x: &AnyTensor, y: &AnyTensor, table: &ZipTable, numbers: &[f64]) -> f64 {
    let par = Par::of(x.elements());
    with_dtype!(float x.dtype(), T => {
        type C = <T as Element>::Compute;
        let f = PickZip::<C, C>::pick(table).expect("floats have a loop");
        let (xs, ys) = (x.storage().slice::<T>(), y.storage().slice::<T>());
        zip::sum::<T>(x.shape(), (xs, x.layout()), (ys, y.layout()), numbers, f, &par)
    })
}

/// Checks that no element of an integer divisor, the second operand, is 0.
pub(crate) fn demand_divisor(call: &Call<'_, '_>) -> Result<()> {
    let divisor = call.input(1);
    let dtype = divisor.dtype();
    if !dtype.is_int() {
        return Ok(());
    }
    let (mut number, mut zero) = (0, None);
    with_dtype!(int dtype, T => copy::for_each(divisor.storage().slice::<T>(), divisor.layout(), |v| {
        if v == T::default() {
            zero.get_or_insert(number);
        }
        number += 1;
    }));
    match zero {
        None => Ok(()),
        Some(number) => {
            let e = format!("division of integers by 0 at {:?} of rhs", divisor.shape().position(number));
            Err(Error::new(e).kind_of(ErrorKind::Value).help("floats divide by 0 to infinity: convert with to_float()"))
        }
    }
}

/// Computes a comparison of two operands that broadcast.
pub(crate) fn compare(call: &mut Call<'_, '_>, table: &CompareTable) -> Result<Outputs> {
    let dtype = call.same_dtype()?;
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let shape = call.input(0).shape().broadcast(call.input(1).shape())?;
    let par = Par::of(shape.elements());
    let operands = [call.input(0), call.input(1)];
    Ok(with_dtype!(dtype, T => {
        let f = PickZip::<<T as Element>::Compute, u8>::pick(table).expect("every element type compares");
        in_memory_order(shape, operands, |shape, [x, y], _| {
            let (xs, ys) = (x.storage().slice::<T>(), y.storage().slice());
            truths(shape, |out, shape| zip::zip(out, shape, xs, x.layout(), ys, y.layout(), &[], f, None, &par))
        })
    })
    .into())
}

/// A tensor of truth values over a fresh buffer, which `fill` overwrites.
fn truths(shape: Shape, fill: impl FnOnce(&mut [u8], &Shape)) -> AnyTensor {
    let n = shape.elements();
    let mut storage = Storage::stale::<u8>(n);
    fill(&mut storage.unique_mut::<u8>().expect("a fresh buffer is unique")[..n], &shape);
    AnyTensor::dense(storage, shape, DType::Bool)
}

/// Computes a truth value for each element of the first operand, by a comparison that reads it on both sides.
pub(crate) fn test(call: &mut Call<'_, '_>, table: &CompareTable) -> Result<Outputs> {
    let x = call.input(0);
    let dtype = x.dtype();
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let par = Par::of(x.elements());
    Ok(with_dtype!(dtype, T => {
        let f = PickZip::<<T as Element>::Compute, u8>::pick(table).expect("every element type compares");
        in_memory_order(x.shape().clone(), [x], |shape, [x], _| {
            let (xs, layout) = (x.storage().slice::<T>(), x.layout());
            truths(shape, |out, shape| zip::zip(out, shape, xs, layout, xs, layout, &[], f, None, &par))
        })
    })
    .into())
}

/// Binds the numbers of a call to the names of an operation's parameters, in the precision of a kernel body.
macro_rules! bind_numbers {
    ($numbers:ident) => {};
    ($numbers:ident $p:ident) => {
        let $p = R::lit($numbers[0]);
    };
    ($numbers:ident $p:ident, $q:ident) => {
        let $p = R::lit($numbers[0]);
        let $q = R::lit($numbers[1]);
    };
}
pub(crate) use bind_numbers;
