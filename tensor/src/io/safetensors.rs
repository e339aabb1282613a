//! The safetensors format: named tensors in one file that holds no code.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView, View};
use ::safetensors::{SafeTensors, serialize};

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::io::{by_name, bytes, file};
use crate::tensor::AnyTensor;

/// Writes named tensors to a file in the [safetensors] format. A file of that name is replaced once the new one is
/// complete: a save that fails loses nothing.
///
/// # Errors
/// If the file cannot be written, or two tensors have one name.
///
/// ```
/// use wengert_tensor::io::{load_tensors, save_tensors};
/// use wengert_tensor::{Tensor, tensor};
/// # let path = std::env::temp_dir().join(format!("wengert-doc-{}.safetensors", std::process::id()));
/// save_tensors(&path, [("mean", Tensor::zeros([3])), ("scale", Tensor::ones([3]))])?;
/// let tensors = load_tensors(&path)?;
/// assert_eq!(tensors["scale"].float()?.to_vec::<f32>(), [1.0, 1.0, 1.0]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
///
/// [safetensors]: https://huggingface.co/docs/safetensors
pub fn save_tensors<N: AsRef<str>, T: Into<AnyTensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<()> {
    file::replace(path.as_ref(), &tensors_to_bytes(tensors)?)
}

/// Reads the tensors of a file in the safetensors format.
///
/// # Errors
/// If the file cannot be read ([`ErrorKind::Io`]), or is damaged or holds a precision that there is none of here
/// ([`ErrorKind::Format`]).
pub fn load_tensors(path: impl AsRef<Path>) -> Result<BTreeMap<String, AnyTensor>> {
    file::read(path.as_ref(), tensors_from_bytes)
}

/// Named tensors as bytes in the safetensors format.
///
/// # Errors
/// If two tensors have one name.
pub fn tensors_to_bytes<N: AsRef<str>, T: Into<AnyTensor>>(
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<Vec<u8>> {
    let stored = by_name(tensors)?.into_iter().map(|(name, tensor)| (name, Stored(tensor)));
    serialize(stored, None).map_err(|e| format_error(&e))
}

/// Reads tensors from bytes in the safetensors format.
///
/// # Errors
/// If the bytes are damaged, or hold a precision that there is none of here. What the bytes claim is checked against
/// their number before anything is allocated.
///
/// ```
/// use wengert_tensor::io::{tensors_from_bytes, tensors_to_bytes};
/// use wengert_tensor::tensor;
/// let bytes = tensors_to_bytes([("labels", tensor![1, 2])])?;
/// assert_eq!(tensors_from_bytes(&bytes)?["labels"].int()?.to_vec::<i64>(), [1, 2]);
/// assert!(tensors_from_bytes(&bytes[..bytes.len() - 1]).is_err());
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
pub fn tensors_from_bytes(bytes: &[u8]) -> Result<BTreeMap<String, AnyTensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| format_error(&e))?;
    file.iter()
        .map(|(name, view)| {
            let tensor = from_view(&view)
                .map_err(|e| Error::new(format!("tensor `{name}`: {}", e.message())).kind_of(ErrorKind::Format))?;
            Ok((name.to_string(), tensor))
        })
        .collect()
}

/// A tensor as the format's writer sees it.
struct Stored(AnyTensor);

impl View for Stored {
    fn dtype(&self) -> Dtype {
        match self.0.dtype() {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I64 => Dtype::I64,
            DType::I32 => Dtype::I32,
            DType::U8 => Dtype::U8,
            DType::I8 => Dtype::I8,
            DType::Bool => Dtype::BOOL,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(bytes::of_elements(&self.0))
    }

    fn data_len(&self) -> usize {
        self.0.elements() * self.0.dtype().size()
    }
}

fn from_view(view: &TensorView<'_>) -> Result<AnyTensor> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::BOOL => DType::Bool,
        other => return Err(Error::new(format!("there is no precision {other:?} here"))),
    };
    bytes::to_tensor(view.data(), bytes::shape_of(view.shape())?, dtype, true)
}

fn format_error(e: &dyn Display) -> Error {
    Error::new(format!("not a valid safetensors file: {e}")).kind_of(ErrorKind::Format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Bool, Int};
    use crate::{Tensor, tensor};

    fn sample() -> Vec<(String, AnyTensor)> {
        let mut tensors = Vec::new();
        for dtype in DType::ALL {
            let t: AnyTensor = match dtype {
                d if d.is_float() => tensor![[1.5, -0.0, f64::NAN], [f64::INFINITY, 1e-8, 3.0]].to_dtype(d).into(),
                d if d.is_int() => Int::arange(0, 6).reshape([2, 3]).to_dtype(d).into(),
                _ => tensor![[true, false, true], [false, false, true]].into(),
            };
            tensors.push((format!("{dtype} dense"), t));
        }
        tensors.push(("scalar".into(), crate::scalar(2.0).into()));
        tensors.push(("empty".into(), Bool::zeros([0, 3]).into()));
        tensors.push(("turned".into(), tensor![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].t().flip(0).into()));
        tensors
    }

    fn elements(t: &AnyTensor) -> Vec<u64> {
        t.to_f64_vec().into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn every_precision_and_layout_comes_back() {
        let bytes = tensors_to_bytes(sample()).unwrap();
        let read = tensors_from_bytes(&bytes).unwrap();
        assert_eq!(read.len(), sample().len());
        for (name, t) in sample() {
            let back = &read[&name];
            assert_eq!((back.shape(), back.dtype()), (t.shape(), t.dtype()), "{name}");
            assert_eq!(elements(back), elements(&t), "{name}");
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = tensors_to_bytes(sample()).unwrap();
        for end in 0..bytes.len() {
            let e = tensors_from_bytes(&bytes[..end]).expect_err("a truncated file is refused");
            assert_eq!(e.kind(), ErrorKind::Format);
        }
        // Any byte of the header may be anything: an error, or tensors, but no panic.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for at in 0..header {
            for with in [0, b'0', b'9', b'"', b'{', 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = with;
                let _ = tensors_from_bytes(&damaged);
            }
        }
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn hostile_headers_are_refused_before_anything_is_allocated() {
        let tensor = |dtype: &str, shape: &str, end: usize| {
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
        };
        for (bytes, want) in [
            (u64::MAX.to_le_bytes().to_vec(), "header too large"),
            (file(&tensor("F32", "[1000000000000]", 4), &[0; 4]), "not a valid safetensors file"),
            (file(&tensor("F32", "[4294967296,4294967296,4]", 4), &[0; 4]), "not a valid safetensors file"),
            (file(&tensor("F32", "[0,9223372036854775807,2]", 0), &[]), "more elements than memory can address"),
            (file(&tensor("F32", "[0,18446744073709551615]", 0), &[]), "no axis can have size 18446744073709551615"),
            (file(&tensor("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 4), &[0; 4]), "rank 17 is larger than 16"),
            (file(&tensor("BOOL", "[2]", 2), &[1, 2]), "tensor `x`: a truth value is neither 0 nor 1"),
            (file(&tensor("U16", "[1]", 2), &[1, 2]), "tensor `x`: there is no precision U16 here"),
            (file(&tensor("F99", "[1]", 2), &[1, 2]), "not a valid safetensors file"),
            (file(&tensor("U8", "[1]", 1), &[1, 2]), "not a valid safetensors file"),
        ] {
            let e = tensors_from_bytes(&bytes).err().unwrap_or_else(|| panic!("accepted, not: {want}"));
            assert_eq!(e.kind(), ErrorKind::Format, "{e}");
            assert!(e.to_string().contains(want), "{e}, not {want}");
        }
    }

    #[test]
    fn one_name_is_one_tensor() {
        let e = tensors_to_bytes([("x", Tensor::ones([1])), ("x", Tensor::zeros([1]))]).unwrap_err();
        assert_eq!(e.to_string(), "two tensors have the name `x`");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let e = load_tensors("no/such.safetensors").expect_err("there is none");
        assert_eq!(e.kind(), ErrorKind::Io);
        assert!(e.to_string().starts_with("cannot read no/such.safetensors: "), "{e}");
    }
}
