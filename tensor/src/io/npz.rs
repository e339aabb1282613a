//! The npz format: named arrays in a zip archive, as NumPy's `savez` and `savez_compressed` write it.
//!
//! Of zip, this reads what such archives use: entries that are stored or deflated, with 32-bit or 64-bit sizes. Sizes
//! are those of the directory at the end, and every claim is checked before it is believed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::error::{Error, ErrorKind, Result};
use crate::io::npy::Header;
use crate::io::{by_name, file, npy_from_bytes, npy_to_bytes};
use crate::tensor::AnyTensor;

/// Writes named tensors to a file in the [npz] format, uncompressed. A file of that name is replaced once the new one is
/// complete.
///
/// # Errors
/// If the file cannot be written, two tensors have one name, one is of BF16, which NumPy does not have, or together they
/// take 4 GiB or more.
///
/// ```
/// use wengert_tensor::io::{load_npz, save_npz};
/// use wengert_tensor::{Tensor, tensor};
/// # let path = std::env::temp_dir().join(format!("wengert-doc-{}.npz", std::process::id()));
/// save_npz(&path, [("mean", Tensor::zeros([3])), ("scale", Tensor::ones([3]))])?;
/// let tensors = load_npz(&path)?;
/// assert_eq!(tensors["scale"].float()?.to_vec::<f32>(), [1.0, 1.0, 1.0]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
///
/// [npz]: https://numpy.org/doc/stable/reference/generated/numpy.savez.html
pub fn save_npz<N: AsRef<str>, T: Into<AnyTensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<()> {
    file::replace(path.as_ref(), &archive(tensors, STORED)?)
}

/// [`save_npz`], compressed.
///
/// # Errors
/// As [`save_npz`].
///
/// ```
/// use wengert_tensor::Tensor;
/// use wengert_tensor::io::{load_npz, save_npz_compressed};
/// # let path = std::env::temp_dir().join(format!("wengert-doc-compressed-{}.npz", std::process::id()));
/// save_npz_compressed(&path, [("mask", Tensor::zeros([1000]))])?;
/// assert!(std::fs::metadata(&path)?.len() < 1000);
/// assert_eq!(load_npz(&path)?["mask"].shape().to_string(), "[1000]");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
pub fn save_npz_compressed<N: AsRef<str>, T: Into<AnyTensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
) -> Result<()> {
    file::replace(path.as_ref(), &archive(tensors, DEFLATED)?)
}

/// Reads the tensors of a file in the npz format, compressed or not.
///
/// # Errors
/// If the file cannot be read ([`ErrorKind::Io`]), or is damaged or holds elements that there is no precision for here
/// ([`ErrorKind::Format`]).
///
/// ```
/// use wengert_tensor::io::load_npz;
/// let e = load_npz("no/such.npz").err().expect("there is none");
/// assert!(e.to_string().starts_with("cannot read no/such.npz: "));
/// ```
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, AnyTensor>> {
    file::read(path.as_ref(), npz_from_bytes)
}

/// Named tensors as bytes in the npz format, uncompressed.
///
/// # Errors
/// As [`save_npz`], but for files.
///
/// ```
/// use wengert_tensor::io::{npz_from_bytes, npz_to_bytes};
/// use wengert_tensor::tensor;
/// let bytes = npz_to_bytes([("labels", tensor![1, 2])])?;
/// assert_eq!(npz_from_bytes(&bytes)?["labels"].int()?.to_vec::<i64>(), [1, 2]);
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
pub fn npz_to_bytes<N: AsRef<str>, T: Into<AnyTensor>>(tensors: impl IntoIterator<Item = (N, T)>) -> Result<Vec<u8>> {
    archive(tensors, STORED)
}

/// Reads named tensors from bytes in the npz format, compressed or not.
///
/// # Errors
/// If the bytes are damaged, or hold what is no array, or elements that there is no precision for here. What the bytes
/// claim is checked against their number before anything is allocated.
///
/// ```
/// use wengert_tensor::io::npz_from_bytes;
/// assert!(npz_from_bytes(b"PK").err().expect("no archive").to_string().contains("not a valid npz file"));
/// ```
pub fn npz_from_bytes(bytes: &[u8]) -> Result<BTreeMap<String, AnyTensor>> {
    let mut tensors = BTreeMap::new();
    for entry in entries(bytes)? {
        let array = read(&entry).map_err(|e| e.prefixed(&format!("array `{}`", entry.name)))?;
        if tensors.insert(entry.name.clone(), array).is_some() {
            return Err(damaged(format!("two arrays have the name `{}`", entry.name)));
        }
    }
    Ok(tensors)
}

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;

/// The first of January 1980, as zip counts: the same tensors give the same bytes.
const DATE: u16 = 0x21;

/// No deflated byte stands for more than this many.
const MOST_PER_BYTE: usize = 1032;

fn archive<N: AsRef<str>, T: Into<AnyTensor>>(
    tensors: impl IntoIterator<Item = (N, T)>,
    method: u16,
) -> Result<Vec<u8>> {
    let large = |_| {
        Error::new("the tensors take 4 GiB or more, which is more than an npz file written here holds")
            .kind_of(ErrorKind::Value)
            .help("save them as safetensors")
    };
    let size = |n: usize| u32::try_from(n).map_err(large);
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0usize);
    for (name, tensor) in by_name(tensors)? {
        let array = npy_to_bytes(tensor).map_err(|e| e.prefixed(&format!("tensor `{name}`")))?;
        let name = format!("{name}.npy");
        let mut crc = Crc::new();
        crc.update(&array);
        let length = u16::try_from(name.len())
            .map_err(|_| Error::new(format!("a name of {} bytes is too long", name.len())).kind_of(ErrorKind::Value))?;
        let array_size = size(array.len())?;
        let data = if method == STORED { array } else { deflated(&array)? };
        // What the two headers of an entry share: version 2.0, a name in UTF-8, method, date, sizes.
        let mut common = Vec::new();
        [20, 0x800, method, 0, DATE].iter().for_each(|v: &u16| common.extend(v.to_le_bytes()));
        [crc.sum(), size(data.len())?, array_size].iter().for_each(|v| common.extend(v.to_le_bytes()));
        common.extend(length.to_le_bytes());
        common.extend(0u16.to_le_bytes());
        let start = size(out.len())?;
        out.extend(LOCAL.to_le_bytes());
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(&data);
        directory.extend(CENTRAL.to_le_bytes());
        directory.extend(20u16.to_le_bytes());
        directory.extend(&common);
        // No comment, the first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
        count += 1;
    }
    let count = u16::try_from(count).map_err(|_| {
        Error::new(format!("{count} tensors are more than an npz file holds")).kind_of(ErrorKind::Value)
    })?;
    let (start, length) = (size(out.len())?, size(directory.len())?);
    out.extend(directory);
    out.extend(END.to_le_bytes());
    [0, 0, count, count].iter().for_each(|v| out.extend(v.to_le_bytes()));
    [length, start].iter().for_each(|v| out.extend(v.to_le_bytes()));
    out.extend(0u16.to_le_bytes());
    Ok(out)
}

fn deflated(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(format!("not a valid npz file: {what}")).kind_of(ErrorKind::Format)
}

/// An array in the archive.
struct Entry<'a> {
    name: String,
    method: u16,
    crc: u32,
    /// The size of the array's file.
    size: usize,
    /// What is stored of it.
    data: &'a [u8],
}

/// Reads numbers from the start of bytes.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields from `at` on.
    fn at(bytes: &'a [u8], at: usize) -> Result<Fields<'a>> {
        bytes.get(at..).map(|rest| Fields { rest }).ok_or_else(|| damaged("an offset lies outside the file"))
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn number<const N: usize>(&mut self) -> Result<u64> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.bytes(N)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn u16(&mut self) -> Result<u16> {
        self.number::<2>().map(|v| v as u16)
    }

    fn u32(&mut self) -> Result<u32> {
        self.number::<4>().map(|v| v as u32)
    }

    /// A size or an offset in a field of `N` bytes.
    fn size<const N: usize>(&mut self) -> Result<usize> {
        self.number::<N>()?.try_into().map_err(|_| damaged("a size is larger than memory"))
    }

    fn signature(&mut self, want: u32, what: &str) -> Result<()> {
        match self.u32()? == want {
            true => Ok(()),
            false => Err(damaged(format!("there is no {what} where one should be"))),
        }
    }
}

/// Where the directory lies, and how many entries it has.
fn directory(bytes: &[u8]) -> Result<(usize, usize, usize)> {
    // The end record has 22 bytes, and a comment of up to 65,535.
    let last = bytes.len().checked_sub(22).ok_or_else(|| damaged("it is too short"))?;
    let is_end = |&at: &usize| {
        bytes[at..].starts_with(&END.to_le_bytes())
            && u16::from_le_bytes([bytes[at + 20], bytes[at + 21]]) as usize == last - at
    };
    let end = (last.saturating_sub(u16::MAX as usize)..=last).rev().find(is_end);
    let end = end.ok_or_else(|| damaged("it has no directory; is it complete?"))?;
    let mut fields = Fields::at(bytes, end + 4)?;
    let disks = (fields.u16()?, fields.u16()?);
    let (here, count) = (fields.size::<2>()?, fields.size::<2>()?);
    let (length, start) = (fields.size::<4>()?, fields.size::<4>()?);
    // Where the fields are too narrow, a wider record comes before.
    let locator = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(&END_64_LOCATOR.to_le_bytes()));
    let (count, length, start) = match locator {
        Some(at) => {
            let mut fields = Fields::at(bytes, Fields::at(bytes, at + 8)?.size::<8>()?)?;
            fields.signature(END_64, "64-bit directory record")?;
            fields.bytes(28)?;
            (fields.size::<8>()?, fields.size::<8>()?, fields.size::<8>()?)
        }
        None if disks != (0, 0) || here != count => return Err(damaged("it is one of several parts")),
        None => (count, length, start),
    };
    match start.checked_add(length) {
        Some(stop) if stop <= end => Ok((start, stop, count)),
        _ => Err(damaged("the directory lies outside the file")),
    }
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>> {
    let (start, stop, count) = directory(bytes)?;
    let mut fields = Fields { rest: &bytes[start..stop] };
    let mut found = Vec::new();
    let mut taken = Vec::new();
    while !fields.rest.is_empty() {
        fields.signature(CENTRAL, "directory entry")?;
        fields.bytes(4)?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        fields.bytes(4)?;
        let crc = fields.u32()?;
        let (narrow_stored, narrow_size) = (fields.u32()?, fields.u32()?);
        let (name, extra, comment) = (fields.size::<2>()?, fields.size::<2>()?, fields.size::<2>()?);
        fields.bytes(8)?;
        let narrow_offset = fields.u32()?;
        let raw_name = fields.bytes(name)?;
        let [size, stored, offset] = wide([narrow_size, narrow_stored, narrow_offset], fields.bytes(extra)?)?;
        fields.bytes(comment)?;

        let name = std::str::from_utf8(raw_name).map_err(|_| damaged("a name is not text"))?;
        let e = |what: &str| damaged(format!("entry `{name}` {what}"));
        if flags & 1 != 0 {
            return Err(e("is encrypted"));
        }
        let array = name.strip_suffix(".npy").ok_or_else(|| e("is no array: its name does not end in `.npy`"))?;
        let mut local = Fields::at(bytes, offset)?;
        local.signature(LOCAL, "entry")?;
        local.bytes(22)?;
        let (own_name, own_extra) = (local.size::<2>()?, local.size::<2>()?);
        if local.bytes(own_name)? != raw_name {
            return Err(e("has another name in the directory"));
        }
        local.bytes(own_extra)?;
        let data = local.bytes(stored)?;
        let credible = match method {
            STORED => size == stored,
            DEFLATED => size / MOST_PER_BYTE <= stored,
            _ => {
                return Err(e(&format!(
                    "is compressed by method {method}, which is neither 0 (stored) nor 8 (deflate)"
                )));
            }
        };
        if !credible {
            return Err(e(&format!("claims {size} bytes in {stored}")));
        }
        taken.push((offset, bytes.len() - local.rest.len()));
        found.push(Entry { name: array.to_string(), method, crc, size, data });
    }
    if found.len() != count {
        return Err(damaged(format!("the directory has {} entries, not {count}", found.len())));
    }
    // Entries that share bytes could make a small file a large one.
    taken.sort();
    if taken.windows(2).any(|w| w[0].1 > w[1].0) || taken.last().is_some_and(|last| last.1 > start) {
        return Err(damaged("entries overlap"));
    }
    Ok(found)
}

/// Fields of 32 bits, or, where these are full, of 64 bits from the extra field for such.
fn wide(narrow: [u32; 3], extra: &[u8]) -> Result<[usize; 3]> {
    let mut extras = Fields { rest: extra };
    let mut long = Fields { rest: &[] };
    while extras.rest.len() >= 4 {
        let (id, length) = (extras.u16()?, extras.size::<2>()?);
        let field = extras.bytes(length)?;
        if id == 1 {
            long = Fields { rest: field };
        }
    }
    let mut sizes = [0; 3];
    for (size, narrow) in sizes.iter_mut().zip(narrow) {
        *size = if narrow == u32::MAX { long.size::<8>()? } else { narrow as usize };
    }
    Ok(sizes)
}

fn read(entry: &Entry<'_>) -> Result<AnyTensor> {
    let checked = |array: &[u8]| {
        let mut crc = Crc::new();
        crc.update(array);
        match crc.sum() == entry.crc {
            true => npy_from_bytes(array),
            false => Err(damaged("the checksum is wrong")),
        }
    };
    if entry.method == STORED {
        return checked(entry.data);
    }
    // The header says how long the array's file is: nothing longer is unpacked.
    let mut decoder = DeflateDecoder::new(entry.data);
    let mut array = Vec::new();
    let mut more = |array: &mut Vec<u8>, n: usize| {
        decoder.by_ref().take(n as u64).read_to_end(array).map_err(|e| damaged(format!("it does not unpack: {e}")))
    };
    more(&mut array, entry.size.min(Header::LONGEST))?;
    let length = Header::of(&array)?.file_length();
    if length != entry.size {
        return Err(damaged(format!("the array's file has {length} bytes, and the archive says {}", entry.size)));
    }
    let rest = entry.size.saturating_sub(array.len());
    more(&mut array, rest)?;
    if more(&mut Vec::new(), 1)? > 0 {
        return Err(damaged("more is packed than the archive says"));
    }
    checked(&array)
}
