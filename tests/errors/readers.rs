//! Files that cannot be read. Readers return their errors: whose fault the bytes are, the caller knows.

use wengert::io::{load_npy, load_npz, load_tensors, npy_from_bytes, npz_from_bytes, tensors_from_bytes};
use wengert::prelude::*;

fn text<T>(result: Result<T>) -> String {
    result.err().expect("it is refused").to_string()
}

#[test]
fn bytes() {
    let longer = b"\x93NUMPY\x01\x00\xff\xff{";
    assert_eq!(text(npy_from_bytes(b"no numpy")), "not a valid npy file: it does not begin with `\\x93NUMPY`");
    assert_eq!(text(npy_from_bytes(longer)), "not a valid npy file: it ends within the header");
    assert_eq!(text(npz_from_bytes(b"PK")), "not a valid npz file: it is too short");
    assert_eq!(text(tensors_from_bytes(&[0xff; 10])), "not a valid safetensors file: header too large");
    assert_eq!(text(tensors_from_bytes(b"short")), "not a valid safetensors file: header too small");
}

#[test]
fn files() {
    for (path, error) in [
        ("no such folder/x.npy", text(load_npy("no such folder/x.npy"))),
        ("no such folder/x.npz", text(load_npz("no such folder/x.npz"))),
        ("no such folder/x.safetensors", text(load_tensors("no such folder/x.safetensors"))),
    ] {
        // The rest is the system's.
        assert!(error.starts_with(&format!("cannot read {path}: ")), "{error}");
    }
}
