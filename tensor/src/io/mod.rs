//! Tensors in files. Input and output never panics: everything here returns a `Result`.

mod safetensors;

pub use self::safetensors::{load_tensors, save_tensors, tensors_from_bytes, tensors_to_bytes};
