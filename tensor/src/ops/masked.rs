//! Elements by a mask: where it holds, filling there, and taking what is there.

use std::panic::Location;

use crate::dispatch::{Attrs, Gradient, Op, apply1, in_op};
use crate::dtype::{DType, with_dtype};
use crate::error::Error;
use crate::kernels::select;
use crate::kind::{Bool, Int, Kind, Value};
use crate::ops::create::{attribute, full_any};
use crate::ops::shape::{dense, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, Family, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&NONZERO];

/// The operation of [`Tensor::nonzero`].
pub(crate) static NONZERO: Op = Op {
    name: "nonzero",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        let (shape, n) = (x.shape(), x.elements());
        let x = dense(x.view(x.layout().clone()));
        let (rank, par) = (shape.rank(), Par::of(n));
        let (storage, count) = with_dtype!(x.dtype(), T => {
            let elements = &x.storage().slice::<T>()[..n];
            let before = select::nonzero_before(elements, &par);
            let count = before[before.len() - 1];
            let fill = |out: &mut [i64]| select::nonzero(out, elements, shape, &before, &par);
            (Storage::filled(count * rank, fill), count)
        });
        one(AnyTensor::dense(storage, [count, rank].into(), DType::I64))
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Select,
        numpy: "argwhere",
        torch: "nonzero",
        precisions: ALL,
        samples: |g| {
            let shape = g.shape(0, 3);
            let values: Vec<f64> = (0..shape.elements()).map(|_| g.below(3) as f64).collect();
            vec![Sample::new([g.tensor(&values, &shape)], Attrs::NONE)]
        },
        specials: |g| vec![Sample::new([g.tensor(&[f64::NAN, 0.0, -0.0], &[3].into())], Attrs::NONE)],
        misuses: Vec::<Misuse>::new,
    },
};

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// Where elements are not 0, of a mask where it holds: one row for each such element, in row-major order, with
        /// its position along each axis. The shape is `[number, rank]`. NaN is not 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let places = tensor![[true, false], [false, true]].nonzero();
        /// assert_eq!(places.shape().to_string(), "[2, 2]");
        /// assert_eq!(places.to_vec::<i64>(), [0, 0, 1, 1]);
        /// ```
        pub fn nonzero / try_nonzero(&self) -> Tensor<Int> {
            apply1(&NONZERO, Attrs::NONE, &mut [self.into()])
        }

        /// This tensor with `value` where the mask, which broadcasts to it, holds. No gradient flows there.
        ///
        /// # Panics
        /// If the mask does not broadcast to this tensor's shape.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let scores = tensor![[1.0, 2.0], [3.0, 4.0]];
        /// let masked = scores.masked_fill(&tensor![false, true], f64::NEG_INFINITY);
        /// assert_eq!(masked.to_vec::<f64>(), [1.0, f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY]);
        /// ```
        pub fn masked_fill / try_masked_fill(&self, mask: &Tensor<Bool>, value: impl Value<K>) -> Tensor<K> {
            let at = Location::caller();
            let fits = match mask.shape().broadcast(self.shape()) {
                Ok(whole) if &whole == self.shape() => Ok(()),
                Ok(whole) => Err(Error::new(format!("the mask would enlarge the input to {whole}"))
                    .help("expand the input first if that is meant")),
                Err(e) => Err(e),
            };
            in_op("masked_fill", &[("input", self.as_any()), ("mask", mask.as_any())], at, fits)?;
            let value = full_any(Shape::scalar(), attribute(value), self.dtype()).downcast()?;
            Ok(mask.try_where_(&value, self)?.called("masked_fill", at))
        }

        /// The elements where the mask holds, in row-major order, as a tensor of rank 1. Tensor and mask broadcast.
        ///
        /// # Panics
        /// If the shapes do not broadcast.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
        /// assert_eq!(x.masked_select(&x.gt(1.5)).to_vec::<f32>(), [2.0, 3.0, 4.0]);
        /// ```
        pub fn masked_select / try_masked_select(&self, mask: &Tensor<Bool>) -> Tensor<K> {
            let at = Location::caller();
            let operands = [("input", self.as_any()), ("mask", mask.as_any())];
            let shape = in_op("masked_select", &operands, at, self.shape().broadcast(mask.shape()))?;
            let places = mask.try_expand(&shape)?.try_flatten(..)?.try_nonzero()?.try_squeeze(1)?;
            let x = self.try_expand(&shape)?.try_flatten(..)?;
            Ok(x.try_index_select(0, &places)?.called("masked_select", at))
        }
    }
}
