//! Guides: short pages, every example of which runs with the tests.

#[doc = include_str!("../docs/guide/pytorch.md")]
pub mod coming_from_pytorch {}

#[doc = include_str!("../docs/guide/keras.md")]
pub mod coming_from_keras {}

#[doc = include_str!("../docs/guide/ndarray.md")]
pub mod coming_from_ndarray {}

#[doc = include_str!("../docs/guide/op.md")]
pub mod writing_an_op {}

#[doc = include_str!("../docs/guide/gradients.md")]
pub mod checking_gradients {}

#[doc = include_str!("../docs/guide/nan.md")]
pub mod finding_a_nan {}

#[doc = include_str!("../docs/ops.md")]
pub mod operations {}
