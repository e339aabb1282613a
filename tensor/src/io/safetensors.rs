//! The safetensors format: named tensors in one file that holds no code.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::io::json::{self, Json};
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
    let mut tensors: Vec<(String, AnyTensor)> = by_name(tensors)?.into_iter().collect();
    // The widest elements first, so that all are aligned; as the format's own writer has them.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(NAMES.iter().position(|(dtype, _)| *dtype == tensor.dtype())));
    let (mut header, mut start) = (String::from("{"), 0);
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let end = start + tensor.elements() * tensor.dtype().size();
        let (shape, dtype) = (&tensor.shape()[..], name_of(tensor.dtype()));
        header.push_str(if i == 0 { "" } else { "," });
        json::quote(&mut header, name);
        write!(header, r#":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
            .expect("a string takes all");
        start = end;
    }
    header.push('}');
    let length = header.len().next_multiple_of(LENGTH);
    if length > LONGEST_HEADER {
        return Err(damaged("header too large"));
    }
    let mut file = Vec::with_capacity(LENGTH + length + start);
    file.extend((length as u64).to_le_bytes());
    file.extend(header.bytes());
    file.resize(LENGTH + length, b' ');
    tensors.iter().for_each(|(_, tensor)| file.extend(bytes::of_elements(tensor)));
    Ok(file)
}

/// Bytes of the number that a file begins with: the length of its header.
const LENGTH: usize = size_of::<u64>();

/// No header is longer, as the format has it.
const LONGEST_HEADER: usize = 100_000_000;

/// The precisions as the format calls them, and as it orders them.
const NAMES: [(DType, &str); 9] = [
    (DType::Bool, "BOOL"),
    (DType::U8, "U8"),
    (DType::I8, "I8"),
    (DType::F16, "F16"),
    (DType::BF16, "BF16"),
    (DType::I32, "I32"),
    (DType::F32, "F32"),
    (DType::F64, "F64"),
    (DType::I64, "I64"),
];

/// The precisions of the format that there are none of here.
const OTHERS: [&str; 13] = [
    "F4",
    "F6_E2M3",
    "F6_E3M2",
    "F8_E5M2",
    "F8_E4M3",
    "F8_E8M0",
    "F8_E4M3FNUZ",
    "F8_E5M2FNUZ",
    "I16",
    "U16",
    "U32",
    "C64",
    "U64",
];

fn name_of(dtype: DType) -> &'static str {
    NAMES.iter().find(|(d, _)| *d == dtype).expect("every precision has a name").1
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
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(|| damaged("header too small"))?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER as u64 {
        return Err(damaged("header too large"));
    }
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(|| damaged("invalid header length"))?;
    let header = std::str::from_utf8(header).map_err(|e| damaged(format!("invalid UTF-8 in header: {e}")))?;
    let header = Json::read(header).map_err(|e| damaged(format!("invalid JSON in header: {e}")))?;
    let Json::Object(entries) = header else { return Err(damaged("the header is no object")) };
    // Other text about the file may stand beside the tensors.
    let entries = entries.iter().filter(|(name, _)| name != "__metadata__");
    let mut views = entries.map(|(name, info)| View::of(name, info)).collect::<Result<Vec<View<'_>>>>()?;
    views.sort_by_key(|view| (view.start, view.end));
    let (mut tensors, mut covered) = (BTreeMap::new(), 0);
    for view in views {
        let View { name, dtype, shape, start, end } = view;
        if start != covered || end < start {
            return Err(damaged(format!("invalid offset for tensor `{name}`")));
        }
        covered = end;
        let elements = data.get(start..end).ok_or_else(|| damaged("incomplete metadata, file not fully covered"))?;
        let of_tensor = |e: Error| Error::new(format!("tensor `{name}`: {}", e.message())).kind_of(ErrorKind::Format);
        let dtype = dtype.map_err(of_tensor)?;
        let size = shape.iter().try_fold(dtype.size(), |product, &n| product.checked_mul(n));
        if size != Some(elements.len()) {
            return Err(damaged(format!("tensor `{name}` of {dtype} and shape {shape:?} in {} bytes", elements.len())));
        }
        let tensor = bytes::shape_of(&shape).and_then(|shape| bytes::to_tensor(elements, shape, dtype, true));
        if tensors.insert(name.to_string(), tensor.map_err(of_tensor)?).is_some() {
            return Err(damaged(format!("two tensors have the name `{name}`")));
        }
    }
    if covered != data.len() {
        return Err(damaged("incomplete metadata, file not fully covered"));
    }
    Ok(tensors)
}

/// What a header says of a tensor.
struct View<'a> {
    name: &'a str,
    /// An error where the format has it, and there is none of it here.
    dtype: Result<DType>,
    shape: Vec<usize>,
    /// The bytes of its elements, after the header.
    start: usize,
    end: usize,
}

impl<'a> View<'a> {
    fn of(name: &'a str, info: &Json) -> Result<View<'a>> {
        let wrong = || damaged(format!("invalid shape, data type, or offset for tensor `{name}`"));
        let dtype = info.get("dtype").and_then(Json::text).ok_or_else(wrong)?;
        let dtype = match NAMES.iter().find(|(_, n)| *n == dtype) {
            Some((dtype, _)) => Ok(*dtype),
            None if OTHERS.contains(&dtype) => Err(Error::new(format!("there is no precision {dtype} here"))),
            None => return Err(wrong()),
        };
        let shape = info.get("shape").and_then(Json::numbers).ok_or_else(wrong)?;
        let [start, end] = info.get("data_offsets").and_then(Json::numbers).ok_or_else(wrong)?[..] else {
            return Err(wrong());
        };
        Ok(View { name, dtype, shape, start, end })
    }
}

fn damaged(what: impl Display) -> Error {
    Error::new(format!("not a valid safetensors file: {what}")).kind_of(ErrorKind::Format)
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
