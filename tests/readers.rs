//! The readers of files: what NumPy wrote comes back, and damaged or hostile bytes are an error, never a panic, and never
//! a large allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use wengert::io::{
    load_npy, load_npz, npy_from_bytes, npy_to_bytes, npz_from_bytes, npz_to_bytes, save_npz_compressed,
    tensors_from_bytes, tensors_to_bytes,
};
use wengert::prelude::*;
use wengert::{AnyTensor, ErrorKind};

/// Counts the bytes that this thread asks the system for.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // At a thread's end the counter is gone.
    let _ = ASKED.try_with(|asked| asked.set(asked.get().saturating_add(bytes)));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Named = BTreeMap<String, AnyTensor>;

/// A reader of named tensors.
type Reader = fn(&[u8]) -> Result<Named>;

fn npy(bytes: &[u8]) -> Result<Named> {
    Ok(BTreeMap::from([(String::new(), npy_from_bytes(bytes)?)]))
}

/// Reads bytes that may be anything. Refused ones must not take more memory than `budget` bytes, and must be said to be
/// of a wrong format.
fn try_to_read(reader: Reader, bytes: &[u8], budget: usize) -> Result<Named> {
    let before = ASKED.get();
    let result = reader(bytes);
    let asked = ASKED.get() - before;
    assert!(asked <= budget, "{asked} bytes were asked for, to read {}", bytes.len());
    if let Err(e) = &result {
        assert_eq!(e.kind(), ErrorKind::Format, "{e}");
    }
    result
}

/// What reading so many bytes may cost: some copies of them. What is packed unpacks to a thousand times as much.
fn budget(reader: Reader, bytes: &[u8]) -> usize {
    let packed = if std::ptr::fn_addr_eq(reader, npz_from_bytes as Reader) { 2 * 1032 } else { 0 };
    (1 << 17) + (16 + packed) * bytes.len()
}

fn elements(x: &AnyTensor) -> Vec<u64> {
    x.to_f64_vec().into_iter().map(f64::to_bits).collect()
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/npy", name].iter().collect()
}

#[test]
fn what_numpy_wrote_comes_back() {
    let files = std::fs::read_to_string(fixture("files.txt")).expect("the list of files");
    let mut read = 0;
    for line in files.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("four words");
        let (file, name, dtype, shape) = (word(), word(), word(), word());
        let values: Vec<u64> = words.map(|v| v.parse::<f64>().expect("a number").to_bits()).collect();
        let x = match name {
            "-" => load_npy(fixture(file)).unwrap(),
            name => load_npz(fixture(file)).unwrap().remove(name).expect(name),
        };
        assert_eq!((x.dtype().name(), x.shape().to_string().replace(' ', "")), (dtype, shape.to_string()), "{line}");
        assert_eq!(elements(&x), values, "{line}");
        read += 1;
    }
    assert!(read > 40, "only {read} arrays");
    assert!(load_npz(fixture("empty.npz")).unwrap().is_empty());
}

fn sample() -> Vec<(String, AnyTensor)> {
    let mut tensors: Vec<(String, AnyTensor)> = Vec::new();
    for dtype in DType::ALL {
        let t: AnyTensor = match dtype {
            DType::BF16 => continue,
            d if d.is_float() => tensor![[1.5, -0.0, f64::NAN], [f64::INFINITY, 1e-8, 3.0]].to_dtype(d).into(),
            d if d.is_int() => Int::arange(0, 6).reshape([2, 3]).to_dtype(d).into(),
            _ => tensor![[true, false, true], [false, false, true]].into(),
        };
        tensors.push((dtype.to_string(), t));
    }
    tensors.push(("scalar".into(), scalar(2.0).into()));
    tensors.push(("empty".into(), Bool::zeros([0, 3]).into()));
    tensors.push(("a name of ümlauts/and.dots".into(), tensor![1.0].into()));
    tensors.push(("turned".into(), tensor![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].t().flip(0).into()));
    tensors
}

/// The bytes of an npz file, compressed.
fn compressed(tensors: Vec<(String, AnyTensor)>) -> Vec<u8> {
    // Tests run beside each other: each call has a file of its own.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("wengert-readers-{}-{call}.npz", std::process::id()));
    save_npz_compressed(&path, tensors).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn what_is_written_comes_back() {
    for (name, x) in sample() {
        let back = npy_from_bytes(&npy_to_bytes(&x).unwrap()).unwrap();
        assert_eq!((back.shape(), back.dtype(), elements(&back)), (x.shape(), x.dtype(), elements(&x)), "{name}");
    }
    for bytes in [npz_to_bytes(sample()).unwrap(), compressed(sample())] {
        let read = npz_from_bytes(&bytes).unwrap();
        assert_eq!(read.len(), sample().len());
        for (name, x) in sample() {
            let back = &read[&name];
            assert_eq!((back.shape(), back.dtype(), elements(back)), (x.shape(), x.dtype(), elements(&x)), "{name}");
        }
    }
}

/// Valid files of each format, with their readers.
fn valid() -> Vec<(&'static str, Reader, Vec<u8>)> {
    let one = |name: &str| sample().into_iter().find(|(n, _)| n == name).expect("there is one").1;
    vec![
        ("safetensors", tensors_from_bytes as Reader, tensors_to_bytes(sample()).unwrap()),
        ("npy", npy, npy_to_bytes(one("F32")).unwrap()),
        ("npy of truth values", npy, npy_to_bytes(one("Bool")).unwrap()),
        ("npz", npz_from_bytes, npz_to_bytes(sample()).unwrap()),
        ("compressed npz", npz_from_bytes, compressed(sample())),
    ]
}

#[test]
fn truncated_bytes_are_refused() {
    for (format, reader, bytes) in valid() {
        for end in 0..bytes.len() {
            let read = try_to_read(reader, &bytes[..end], budget(reader, &bytes));
            assert!(read.is_err(), "{format}: {end} of {} bytes are taken", bytes.len());
        }
        assert!(try_to_read(reader, &bytes, budget(reader, &bytes)).is_ok(), "{format}");
    }
}

#[test]
fn every_byte_may_be_anything() {
    for (_, reader, bytes) in valid() {
        let mut damaged = bytes.clone();
        for at in 0..bytes.len() {
            for with in [0, 1, b'0', b'9', b'\'', b'(', 0x7f, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                damaged[at] = with;
                let _ = try_to_read(reader, &damaged, budget(reader, &bytes));
            }
            damaged[at] = bytes[at];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Bits flipped, stretches overwritten, swapped, doubled and cut out.
    #[test]
    fn damaged_bytes_are_refused_or_read(
        which in 0..5usize,
        changes in proptest::collection::vec((0..5u8, any::<u32>(), any::<u32>(), 1..64usize, any::<u8>()), 1..6),
    ) {
        let (_, reader, mut bytes) = valid().swap_remove(which);
        let most = budget(reader, &bytes) * 2;
        for (kind, a, b, n, with) in changes {
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len();
            let (a, b) = (a as usize % len, b as usize % len);
            let n = n.min(len - a).min(len - b);
            match kind {
                0 => bytes[a] ^= 1 << (with % 8),
                1 => bytes[a..a + n].fill(with),
                2 => (0..n).for_each(|i| bytes.swap(a + i, b + i)),
                3 => {
                    let part = bytes[a..a + n].to_vec();
                    bytes.splice(b..b, part);
                }
                _ => {
                    bytes.drain(a..a + n);
                }
            }
        }
        let _ = try_to_read(reader, &bytes, most);
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0..4usize) {
        let start: &[u8] = [&b""[..], b"\x93NUMPY\x01\x00", b"\x93NUMPY\x03\x00\x20\x00\x00\x00{'descr': ", b"PK\x03\x04"][magic];
        let bytes = [start, &bytes].concat();
        for reader in [tensors_from_bytes as Reader, npy, npz_from_bytes] {
            let _ = try_to_read(reader, &bytes, budget(reader, &bytes));
        }
    }
}

fn npy_file(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn hostile_npy_headers_are_refused() {
    let shape =
        |shape: &str| npy_file(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"), &[0; 8]);
    let descr =
        |descr: &str| npy_file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2,)}}"), &[0; 8]);
    let long = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], &[b' '; 100]].concat();
    for (bytes, want) in [
        (shape("(1000000000000,)"), "8 bytes follow the header, and shape [1000000000000] of F32 takes 4000000000000"),
        (shape("(4294967296, 4294967296, 4)"), "more elements than memory can address"),
        (shape("(0, 9223372036854775807, 2)"), "more elements than memory can address"),
        (shape("(18446744073709551615,)"), "no axis can have size 18446744073709551615"),
        (shape("(18446744073709551616,)"), "`shape` is not a tuple of sizes"),
        (shape("(-2,)"), "`shape` is not a tuple of sizes"),
        (shape("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"), "rank 17 is larger than 16"),
        (shape("(2"), "where `)` should be"),
        (shape("(2,), 'shape': (2,)"), "the header has two entries `shape`"),
        (shape("(2,), 'more': (2,)"), "the header has an entry `more`"),
        (shape("(2,)} {"), "more follows the entries"),
        (descr("'<c8'"), "there is no precision for elements of type `<c8` here"),
        (descr("'|O'"), "there is no precision for elements of type `|O` here"),
        (descr("'ü4'"), "there is no precision for elements of type `ü4` here"),
        (descr("''"), "there is no precision for elements of type `` here"),
        (descr("[('x', '<f4')]"), "it holds records, not numbers"),
        (descr("'<f4"), "the header has"),
        (npy_file("{'descr': '<f4', 'shape': (2,)}", &[0; 8]), "the header has no entry `fortran_order`"),
        (npy_file("{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}", &[2]), "a truth value is neither 0 nor 1"),
        (long, "a header of 4294967295 bytes is longer than any array's"),
        (b"\x93NUMPY\x04\x00\x00\x00".to_vec(), "there is no version 4.0"),
        (b"\x93NUMPY\x01".to_vec(), "it ends within the header"),
        (b"NUMPY".to_vec(), "it does not begin with `\\x93NUMPY`"),
    ] {
        let e = try_to_read(npy, &bytes, 1 << 16).err().unwrap_or_else(|| panic!("taken, not: {want}"));
        assert!(e.to_string().contains(want), "{e}\nnot {want}");
    }
}

/// The first place of `what`, from `from` on.
fn find(bytes: &[u8], what: &[u8], from: usize) -> usize {
    from + bytes[from..].windows(what.len()).position(|w| w == what).expect("it is there")
}

#[test]
fn hostile_archives_are_refused() {
    let two = [("a", Tensor::zeros([64])), ("b", Tensor::zeros([64]))];
    let plain = npz_to_bytes(two.clone()).unwrap();
    let packed = compressed(two.iter().map(|(n, t)| (n.to_string(), t.into())).collect());
    let central = |bytes: &[u8]| find(bytes, b"PK\x01\x02", 0);
    let with = |bytes: &[u8], at: usize, new: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..][..new.len()].copy_from_slice(new);
        bytes
    };
    let second = find(&plain, b"PK\x01\x02", central(&plain) + 4);
    let end = find(&plain, b"PK\x05\x06", 0);
    let huge = (u32::MAX - 1).to_le_bytes();
    // Both entries of the directory at the one array: its name twice, its bytes twice.
    let first_entry = plain[central(&plain)..second].to_vec();
    let doubled = with(&plain, second, &first_entry);
    let same_offset = with(&with(&plain, second + 42, &[0; 4]), second + 46, b"a");
    for (bytes, want) in [
        (with(&plain, central(&plain) + 24, &huge), "entry `a.npy` claims 4294967294 bytes in 384"),
        (with(&packed, central(&packed) + 24, &huge), "entry `a.npy` claims 4294967294 bytes in"),
        (
            with(&packed, central(&packed) + 24, &20_000u32.to_le_bytes()),
            "the array's file has 384 bytes, and the archive says 20000",
        ),
        (with(&plain, central(&plain) + 20, &huge), "it ends too early"),
        (with(&plain, central(&plain) + 42, &huge), "an offset lies outside the file"),
        (with(&plain, central(&plain) + 42, &[1]), "there is no entry where one should be"),
        (with(&plain, central(&plain) + 10, &[12]), "is compressed by method 12"),
        (with(&plain, central(&plain) + 8, &[1]), "is encrypted"),
        (with(&plain, central(&plain) + 16, &[1; 4]), "array `a`: not a valid npz file: the checksum is wrong"),
        (with(&plain, central(&plain) + 46, b"x"), "entry `x.npy` has another name in the directory"),
        (with(&plain, end + 16, &huge), "the directory lies outside the file"),
        (with(&plain, end + 8, &[9, 0, 9, 0]), "the directory has 2 entries, not 9"),
        (with(&plain, end + 4, &[1]), "it is one of several parts"),
        (doubled, "entries overlap"),
        (same_offset, "entries overlap"),
        (plain[..end].to_vec(), "it has no directory; is it complete?"),
        (b"PK".to_vec(), "it is too short"),
    ] {
        let e = try_to_read(npz_from_bytes, &bytes, 1 << 17).err().unwrap_or_else(|| panic!("taken, not: {want}"));
        assert!(e.to_string().contains(want), "{e}\nnot {want}");
    }
}

#[test]
fn a_packed_bomb_is_not_unpacked() {
    // A megabyte of zeros in a kilobyte, of which the header claims eight bytes.
    let bomb = compressed(vec![("x".into(), Tensor::zeros([1 << 18]).into())]);
    assert!(bomb.len() < 4096);
    let at = find(&bomb, b"PK\x01\x02", 0) + 24;
    let mut small = bomb.clone();
    small[at..at + 4].copy_from_slice(&136u32.to_le_bytes());
    let e = try_to_read(npz_from_bytes, &small, 1 << 19).expect_err("it is refused");
    assert!(e.to_string().contains("the archive says 136"), "{e}");
}

#[test]
fn names_and_precisions_that_cannot_be_written_are_refused() {
    let e = npz_to_bytes([("x", Tensor::ones([1])), ("x", Tensor::zeros([1]))]).unwrap_err();
    assert_eq!(e.to_string(), "two tensors have the name `x`");
    let e = npz_to_bytes([("x", Tensor::ones([1]).to_dtype(DType::BF16))]).unwrap_err();
    assert_eq!(
        e.to_string(),
        "tensor `x`: the npy format has no BF16\n  help: cast it with to_dtype(DType::F32), which loses nothing, or save \
         it as safetensors"
    );
    let e = npz_to_bytes([("x".repeat(70_000), Tensor::ones([1]))]).unwrap_err();
    assert_eq!(e.to_string(), "a name of 70004 bytes is too long");
}
