//! Tensors in files. Input and output never panics: everything here returns a `Result`.

mod bytes;
mod file;
mod json;
mod npy;
mod npz;
mod safetensors;

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::AnyTensor;

pub use self::npy::{load_npy, npy_from_bytes, npy_to_bytes, save_npy};
pub use self::npz::{load_npz, npz_from_bytes, npz_to_bytes, save_npz, save_npz_compressed};
pub use self::safetensors::{load_tensors, save_tensors, tensors_from_bytes, tensors_to_bytes};

/// Tensors to be written, by name.
fn by_name<N: AsRef<str>, T: Into<AnyTensor>>(
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<BTreeMap<String, AnyTensor>> {
    let mut all = BTreeMap::new();
    for (name, tensor) in tensors {
        if all.insert(name.as_ref().to_string(), tensor.into()).is_some() {
            return Err(Error::new(format!("two tensors have the name `{}`", name.as_ref())).kind_of(ErrorKind::Value));
        }
    }
    Ok(all)
}
