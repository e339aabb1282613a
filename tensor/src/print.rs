//! Printing.

use std::fmt;

use crate::kind::Kind;
use crate::tensor::Tensor;

impl<K: Kind> fmt::Display for Tensor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_any().to_f64_vec())
    }
}

impl<K: Kind> fmt::Debug for Tensor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
