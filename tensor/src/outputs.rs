//! The outputs of an operation.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::tensor::AnyTensor;

/// The outputs of an operation: nearly always one. Reads as a slice.
///
/// ```
/// use wengert_tensor::dispatch::Outputs;
/// use wengert_tensor::{AnyTensor, tensor};
/// let one = Outputs::from(AnyTensor::from(tensor![1.0]));
/// assert_eq!((one.len(), one[0].elements()), (1, 1));
/// assert_eq!(one.into_first().to_f64_vec(), [1.0]);
/// let two = Outputs::from([tensor![1.0].into(), tensor![2, 3].into()]);
/// let [_, second] = two.into_array();
/// assert_eq!(second.to_f64_vec(), [2.0, 3.0]);
/// ```
pub struct Outputs(Held);

/// With its tag as long as two pointers, also in a `Result`, so that it is returned in registers: what was just written
/// to memory piece by piece is slow to move.
enum Held {
    One(AnyTensor),
    #[allow(clippy::box_collection)] // a `Vec` by itself would make it longer
    Other(Box<Vec<AnyTensor>>),
}

const _: () = assert!(size_of::<crate::error::Result<Outputs>>() == 2 * size_of::<usize>());

impl Outputs {
    /// The first one.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn into_first(self) -> AnyTensor {
        match self.0 {
            Held::One(tensor) => tensor,
            Held::Other(tensors) => tensors.into_iter().next().expect("an operation has an output"),
        }
    }

    /// The first `N` of them.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn into_array<const N: usize>(self) -> [AnyTensor; N] {
        let mut tensors = self.into_iter();
        std::array::from_fn(|_| tensors.next().expect("as many outputs as are asked for"))
    }
}

impl Deref for Outputs {
    type Target = [AnyTensor];

    #[inline]
    fn deref(&self) -> &[AnyTensor] {
        match &self.0 {
            Held::One(tensor) => std::slice::from_ref(tensor),
            Held::Other(tensors) => tensors,
        }
    }
}

impl DerefMut for Outputs {
    #[inline]
    fn deref_mut(&mut self) -> &mut [AnyTensor] {
        match &mut self.0 {
            Held::One(tensor) => std::slice::from_mut(tensor),
            Held::Other(tensors) => tensors,
        }
    }
}

impl From<AnyTensor> for Outputs {
    #[inline]
    fn from(tensor: AnyTensor) -> Outputs {
        Outputs(Held::One(tensor))
    }
}

impl<const N: usize> From<[AnyTensor; N]> for Outputs {
    fn from(tensors: [AnyTensor; N]) -> Outputs {
        tensors.into_iter().collect()
    }
}

impl FromIterator<AnyTensor> for Outputs {
    fn from_iter<I: IntoIterator<Item = AnyTensor>>(tensors: I) -> Outputs {
        Outputs(Held::Other(Box::new(tensors.into_iter().collect())))
    }
}

impl IntoIterator for Outputs {
    type Item = AnyTensor;
    type IntoIter = std::vec::IntoIter<AnyTensor>;

    fn into_iter(self) -> Self::IntoIter {
        match self.0 {
            Held::One(tensor) => vec![tensor].into_iter(),
            Held::Other(tensors) => tensors.into_iter(),
        }
    }
}

impl<'a> IntoIterator for &'a Outputs {
    type Item = &'a AnyTensor;
    type IntoIter = std::slice::Iter<'a, AnyTensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
