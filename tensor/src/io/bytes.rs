//! Elements as bytes, as files hold them.

use crate::dtype::{DType, with_dtype};
use crate::error::{Error, Result};
use crate::kernels::copy;
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::AnyTensor;

/// The elements in row-major order, little-endian.
pub(super) fn of_elements(x: &AnyTensor) -> Vec<u8> {
    let mut bytes = vec![0; x.elements() * x.dtype().size()];
    with_dtype!(moved x.dtype(), T => {
        // Element by element through a small array of its own: `bytes` need not be aligned for `T`.
        let mut out = bytes.chunks_exact_mut(size_of::<T>());
        copy::for_each(x.storage().slice::<T>(), x.layout(), |v: T| {
            out.next().expect("as many as elements").copy_from_slice(bytemuck::bytes_of(&v));
        });
    });
    if cfg!(target_endian = "big") {
        turn(&mut bytes, x.dtype());
    }
    bytes
}

/// The tensor of `shape` that these bytes are the elements of, in row-major order.
///
/// # Errors
/// If a truth value is neither 0 nor 1.
///
/// # Panics
/// If there are not as many bytes as that takes.
pub(super) fn to_tensor(bytes: &[u8], shape: Shape, dtype: DType, little_endian: bool) -> Result<AnyTensor> {
    if dtype == DType::Bool && bytes.iter().any(|&b| b > 1) {
        return Err(Error::new("a truth value is neither 0 nor 1"));
    }
    let n = shape.elements();
    let storage = with_dtype!(moved dtype, T => {
        let mut storage = Storage::stale::<T>(n);
        let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
        let out = bytemuck::cast_slice_mut::<T, u8>(out);
        out.copy_from_slice(bytes);
        if little_endian != cfg!(target_endian = "little") {
            turn(out, dtype);
        }
        storage
    });
    Ok(AnyTensor::dense(storage, shape, dtype))
}

/// Turns the bytes of each element around.
fn turn(bytes: &mut [u8], dtype: DType) {
    bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
}

/// The shape of these sizes, which a file claims.
///
/// # Errors
/// If no tensor can have it.
pub(super) fn shape_of(sizes: &[usize]) -> Result<Shape> {
    let size = |&size: &usize| isize::try_from(size).map_err(|_| Error::new(format!("no axis can have size {size}")));
    checked_shape(&sizes.iter().map(size).collect::<Result<Vec<isize>>>()?)
}
