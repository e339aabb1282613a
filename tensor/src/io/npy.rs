//! The npy format: one array in a file, as NumPy's `save` writes it.

use std::path::Path;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::io::{bytes, file};
use crate::shape::Shape;
use crate::tensor::AnyTensor;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers of arrays are some hundred bytes long; those of records, which are not read, may be longer.
const LONGEST_HEADER: usize = 1 << 16;

/// Writes a tensor to a file in the [npy] format. A file of that name is replaced once the new one is complete.
///
/// # Errors
/// If the file cannot be written, or the precision is BF16, which NumPy does not have.
///
/// ```
/// use wengert_tensor::io::{load_npy, save_npy};
/// use wengert_tensor::tensor;
/// # let path = std::env::temp_dir().join(format!("wengert-doc-{}.npy", std::process::id()));
/// save_npy(&path, tensor![[1.0, 2.0], [3.0, 4.0]])?;
/// assert_eq!(load_npy(&path)?.float()?.to_vec::<f32>(), [1.0, 2.0, 3.0, 4.0]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
///
/// [npy]: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
pub fn save_npy(path: impl AsRef<Path>, tensor: impl Into<AnyTensor>) -> Result<()> {
    file::replace(path.as_ref(), &npy_to_bytes(tensor)?)
}

/// Reads the tensor of a file in the npy format.
///
/// # Errors
/// If the file cannot be read ([`ErrorKind::Io`]), or is damaged or holds elements that there is no precision for here
/// ([`ErrorKind::Format`]).
///
/// ```
/// use wengert_tensor::io::load_npy;
/// let e = load_npy("no/such.npy").err().expect("there is none");
/// assert!(e.to_string().starts_with("cannot read no/such.npy: "));
/// ```
pub fn load_npy(path: impl AsRef<Path>) -> Result<AnyTensor> {
    file::read(path.as_ref(), npy_from_bytes)
}

/// A tensor as bytes in the npy format: version 1.0, little-endian, row-major.
///
/// # Errors
/// If the precision is BF16, which NumPy does not have.
///
/// ```
/// use wengert_tensor::io::npy_to_bytes;
/// use wengert_tensor::tensor;
/// assert_eq!(npy_to_bytes(tensor![1, 2])?.len(), 128 + 16);
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
pub fn npy_to_bytes(tensor: impl Into<AnyTensor>) -> Result<Vec<u8>> {
    let x: AnyTensor = tensor.into();
    let descr = match x.dtype() {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::Bool => "|b1",
        DType::BF16 => {
            return Err(Error::new("the npy format has no BF16")
                .kind_of(ErrorKind::DType)
                .help("cast it with to_dtype(DType::F32), which loses nothing, or save it as safetensors"));
        }
    };
    let sizes: Vec<String> = x.shape().iter().map(usize::to_string).collect();
    // As Python writes a tuple: one element needs a comma.
    let tuple = if sizes.len() == 1 { format!("({},)", sizes[0]) } else { format!("({})", sizes.join(", ")) };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple}, }}");
    // The elements begin at a multiple of 64 bytes, and the header ends in a new line.
    let start = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', start - MAGIC.len() - 4 - header.len() - 1));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("at most 16 sizes").to_le_bytes();
    Ok([MAGIC, &[1, 0], &length, header.as_bytes(), &bytes::of_elements(&x)].concat())
}

/// Reads a tensor from bytes in the npy format: versions 1.0, 2.0 and 3.0, either order of bytes, and either order of
/// axes. An array in Fortran's order becomes a view with the axes reversed: nothing is moved.
///
/// # Errors
/// If the bytes are damaged, or the elements are of a type that there is no precision for here. What the bytes claim is
/// checked against their number before anything is allocated.
///
/// ```
/// use wengert_tensor::io::{npy_from_bytes, npy_to_bytes};
/// use wengert_tensor::tensor;
/// let bytes = npy_to_bytes(tensor![true, false])?;
/// assert_eq!(npy_from_bytes(&bytes)?.bool()?.to_vec::<bool>(), [true, false]);
/// assert!(npy_from_bytes(&bytes[..bytes.len() - 1]).is_err());
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
pub fn npy_from_bytes(bytes: &[u8]) -> Result<AnyTensor> {
    let header = Header::of(bytes)?;
    let elements = &bytes[header.start..];
    let (have, want) = (elements.len(), header.shape.elements() * header.dtype.size());
    if have != want {
        let Header { dtype, shape, .. } = header;
        return Err(damaged(format!("{have} bytes follow the header, and shape {shape} of {dtype} takes {want}")));
    }
    header.tensor(elements).map_err(|e| e.kind_of(ErrorKind::Format))
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(format!("not a valid npy file: {what}")).kind_of(ErrorKind::Format)
}

/// What comes before the elements.
pub(super) struct Header {
    dtype: DType,
    little_endian: bool,
    fortran_order: bool,
    shape: Shape,
    /// Where the elements begin.
    start: usize,
}

impl Header {
    /// So many bytes from the start hold the header of any array that can be read.
    pub(super) const LONGEST: usize = MAGIC.len() + 6 + LONGEST_HEADER;

    /// The header at the start of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Result<Header> {
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin with `\\x93NUMPY`"))?;
        let cut = || damaged("it ends within the header");
        let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let (length, rest) = match version {
            [1, 0] => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
            [2 | 3, 0] => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
            [major, minor] => return Err(damaged(format!("there is no version {major}.{minor}"))),
        }
        .ok_or_else(cut)?;
        if length > LONGEST_HEADER {
            return Err(damaged(format!("a header of {length} bytes is longer than any array's")));
        }
        let text = rest.get(..length).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| damaged("the header is not text"))?;
        let mut entries = Entries { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        entries.expect('{')?;
        while !entries.accept('}') {
            let key = entries.string()?;
            entries.expect(':')?;
            let twice = match key {
                "descr" => descr.replace(entries.string()?).is_some(),
                "fortran_order" => fortran_order.replace(entries.truth()?).is_some(),
                "shape" => shape.replace(entries.sizes()?).is_some(),
                other => return Err(damaged(format!("the header has an entry `{other}`"))),
            };
            if twice {
                return Err(damaged(format!("the header has two entries `{key}`")));
            }
            if !entries.accept(',') {
                entries.expect('}')?;
                break;
            }
        }
        if !entries.rest.trim().is_empty() {
            return Err(damaged("more follows the entries of the header"));
        }
        let missing = |name: &str| damaged(format!("the header has no entry `{name}`"));
        let (dtype, little_endian) = precision(descr.ok_or_else(|| missing("descr"))?)?;
        let sizes = shape.ok_or_else(|| missing("shape"))?;
        Ok(Header {
            dtype,
            little_endian,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: bytes::shape_of(&sizes).map_err(|e| damaged(e.message()))?,
            start: bytes.len() - rest.len() + length,
        })
    }

    /// The length of the whole file.
    pub(super) fn file_length(&self) -> usize {
        self.start + self.shape.elements() * self.dtype.size()
    }

    fn tensor(mut self, elements: &[u8]) -> Result<AnyTensor> {
        if !self.fortran_order {
            return bytes::to_tensor(elements, self.shape, self.dtype, self.little_endian);
        }
        self.shape.reverse();
        let reversed: Vec<usize> = (0..self.shape.rank()).rev().collect();
        let t = bytes::to_tensor(elements, self.shape, self.dtype, self.little_endian)?;
        Ok(t.view(t.layout().permute(&reversed)))
    }
}

/// The precision that NumPy describes so, and whether its low byte comes first.
fn precision(descr: &str) -> Result<(DType, bool)> {
    let none = || {
        Error::new(format!("there is no precision for elements of type `{descr}` here"))
            .kind_of(ErrorKind::Format)
            .help("in Python, convert the array before saving it, as with x.astype(\"float32\")")
    };
    let order = descr.chars().next().ok_or_else(none)?;
    let (little_endian, name) = match order {
        '<' | '|' => (true, &descr[1..]),
        '>' => (false, &descr[1..]),
        '=' => (cfg!(target_endian = "little"), &descr[1..]),
        _ => return Err(none()),
    };
    let dtype = match name {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "b1" => DType::Bool,
        _ => return Err(none()),
    };
    Ok((dtype, little_endian))
}

/// The entries of a header: a Python dictionary of strings, truth values and tuples of sizes.
struct Entries<'a> {
    rest: &'a str,
}

impl<'a> Entries<'a> {
    fn accept(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.accept(c) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(20).collect();
        Err(damaged(format!("the header has `{found}` where `{c}` should be")))
    }

    fn string(&mut self) -> Result<&'a str> {
        let quote = if self.accept('"') {
            '"'
        } else {
            if self.accept('[') {
                return Err(damaged("it holds records, not numbers"));
            }
            self.expect('\'')?;
            '\''
        };
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| damaged("the header has a string without end"))?;
        self.rest = rest;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool> {
        self.rest = self.rest.trim_start();
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(name) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(damaged("`fortran_order` is neither True nor False"))
    }

    fn sizes(&mut self) -> Result<Vec<usize>> {
        let mut sizes = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            self.rest = self.rest.trim_start();
            let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = self.rest.split_at(digits);
            // Python 2 wrote long numbers with an L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            sizes.push(number.parse().map_err(|_| damaged("`shape` is not a tuple of sizes"))?);
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}
