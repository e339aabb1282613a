//! Places in sorted order, distinct elements, and counts of integers.

use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, apply, apply1, in_op};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::sort;
use crate::kind::{Int, Numeric};
use crate::ops::elementwise::unsupported;
use crate::ops::shape::{dense, one};
use crate::ops::twin;
use crate::par::{GRAIN, Par};
use crate::registry::{Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SEARCHSORTED, &UNIQUE];

/// The operation of [`Tensor::searchsorted`].
pub(crate) static SEARCHSORTED: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        let (lanes, values) = (call.input(0), call.input(1));
        let Some((&n, lead)) = lanes.shape().split_last() else {
            return Err(Error::new("the sorted tensor has rank 0").help("it needs an axis to search along"));
        };
        let shape = values.shape();
        if !lead.is_empty() && (shape.rank() != lanes.rank() || &shape[..lead.len()] != lead) {
            let e = format!("shapes {} and {shape} differ before the last axis", lanes.shape());
            return Err(Error::new(e).help("search one sorted lane for all values, or a lane for each row of values"));
        }
        let lane_of = if lead.is_empty() { shape.elements() } else { shape[shape.rank() - 1] };
        let [lanes, values] = [lanes, values].map(|t| dense(t.view(t.layout().clone())));
        let count = values.elements();
        let storage = Storage::filled(count, |out: &mut [i64]| {
            with_dtype!(dtype, T => {
                let (lanes, values) = (lanes.storage().slice::<T>(), &values.storage().slice::<T>()[..count]);
                sort::search(out, (lanes, n), (values, lane_of.max(1)), call.attrs().bool("right"), &Par::of(count));
            })
        });
        one(AnyTensor::dense(storage, shape.clone(), DType::I64))
    }
    Op {
        name: "searchsorted",
        operands: &["sorted", "values"],
        forward,
        gradient: Gradient::NotFloat,
        info: || OpInfo {
            family: Family::Sort,
            numpy: "searchsorted",
            torch: "searchsorted",
            precisions: NUMERIC,
            samples: |g| {
                let n = g.below(6);
                let values: Vec<f64> = (0..n).map(|i| i as f64 - 2.0).collect();
                let shape = g.shape(0, 2);
                let places: Vec<f64> = (0..shape.elements()).map(|_| g.below(14) as f64 * 0.5 - 3.0).collect();
                let sorted = g.tensor(&values, &[n].into());
                vec![Sample::new([sorted, g.tensor(&places, &shape)], attrs! { right: g.below(2) == 0 })]
            },
            specials: |g| {
                let rows = g.tensor(&[1.0, 2.0, 2.0, 3.0, 4.0, f64::NAN], &[2, 3].into());
                let values = g.tensor(&[2.0, 5.0, 2.0, f64::NAN], &[2, 2].into());
                vec![Sample::new([rows, values], attrs! { right: true })]
            },
            misuses: || {
                let (x, rows): (AnyTensor, AnyTensor) = (Tensor::zeros([3]).into(), Tensor::zeros([2, 3]).into());
                let (point, precise) = (Tensor::zeros(()), Tensor::zeros([3]).to_dtype(DType::F64));
                vec![
                    Misuse::new([point.into(), x.clone()], Attrs::NONE, "the sorted tensor has rank 0"),
                    Misuse::new([rows, x.clone()], Attrs::NONE, "shapes [2, 3] and [3] differ before the last axis"),
                    Misuse::new([x, precise.into()], Attrs::NONE, "precisions differ: F32 and F64"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::unique`]: values, the place of each element among them, and counts.
pub(crate) static UNIQUE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let (shape, dtype) = (x.shape().clone(), x.dtype());
        if dtype == DType::Bool {
            return Err(unsupported(dtype).help("convert first: mask.to_int()"));
        }
        let x = dense(x.view(x.layout().clone()));
        let (values, inverse, counts) = with_dtype!(dtype, T => {
            let (values, inverse, counts) = sort::unique(&x.storage().slice::<T>()[..shape.elements()]);
            (Storage::from_slice(&values), inverse, counts)
        });
        let n = [counts.len()];
        Ok(Outputs::from([
            AnyTensor::dense(values, n.into(), dtype),
            AnyTensor::dense(Storage::from_slice(&inverse), shape, DType::I64),
            AnyTensor::dense(Storage::from_slice(&counts), n.into(), DType::I64),
        ]))
    }
    Op {
        name: "unique",
        operands: &["input"],
        forward,
        gradient: Gradient::Missing,
        info: || OpInfo {
            family: Family::Sort,
            numpy: "unique",
            torch: "unique",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(0, 3);
                let values: Vec<f64> = (0..shape.elements()).map(|_| g.below(4) as f64).collect();
                vec![Sample::new([g.tensor(&values, &shape)], Attrs::NONE)]
            },
            specials: |g| vec![Sample::new([g.tensor(&[f64::NAN, 0.0, f64::NAN, -0.0], &[4].into())], Attrs::NONE)],
            misuses: || {
                let mask = crate::Bool::ones([2]).into();
                vec![Misuse::new([mask], Attrs::NONE, "precision Bool is not supported")]
            },
        },
    }
};

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// Where each of `values` would go in this sorted tensor to keep it sorted: the number of elements smaller than
        /// it, with `right` also those that equal it. A tensor of rank 1 serves all values; one of higher rank has a
        /// sorted lane along its last axis for each row of `values`. NaN counts as larger than every number.
        ///
        /// Whether this tensor is sorted is not checked.
        ///
        /// # Panics
        /// If the rank is 0, precisions differ, or shapes differ before the last axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let edges = tensor![0.0, 1.0, 2.0];
        /// assert_eq!(edges.searchsorted(&tensor![1.0, 1.5, 9.0], false).to_vec::<i64>(), [1, 2, 3]);
        /// assert_eq!(edges.searchsorted(&tensor![1.0], true).to_vec::<i64>(), [2]);
        /// ```
        pub fn searchsorted / try_searchsorted(&self, values: &Tensor<K>, right: bool) -> Tensor<Int> {
            apply1(&SEARCHSORTED, attrs! { right: right }, &mut [self.into(), values.into()])
        }
    }
}

/// Distinct values, the place of each element among them, and how many elements have each.
type Unique<K> = (Tensor<K>, Tensor<Int>, Tensor<Int>);

impl<K: Numeric> Tensor<K> {
    /// The distinct values of all elements in sorted order; for each element, in this tensor's shape, the place of its
    /// value among them; and for each value how many elements have it. NaN is one value, the last.
    ///
    /// # Panics
    /// If gradients flow through this tensor: there is no gradient rule.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, places, counts) = tensor![3, 1, 3, 2].unique();
    /// assert_eq!(values.to_vec::<i64>(), [1, 2, 3]);
    /// assert_eq!(places.to_vec::<i64>(), [2, 0, 2, 1]);
    /// assert_eq!(counts.to_vec::<i64>(), [1, 1, 2]);
    /// ```
    #[track_caller]
    pub fn unique(&self) -> Unique<K> {
        or_panic(self.try_unique())
    }

    /// Fallible form of [`unique`](Self::unique).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_unique(&self) -> Result<Unique<K>> {
        let [values, places, counts] = apply(&UNIQUE, Attrs::NONE, &mut [self.into()])?.into_array();
        Ok((values.downcast()?, places.downcast()?, counts.downcast()?))
    }
}

/// The number of bins that counts of `x` need.
fn bins(x: &Tensor<Int>, minlength: usize, weights: Option<&Tensor>) -> Result<usize> {
    if x.rank() != 1 {
        return Err(Error::new(format!("the rank is {}, not 1", x.rank())).help("flatten(..) makes it 1"));
    }
    if let Some(weights) = weights.filter(|w| w.shape() != x.shape()) {
        let e = format!("weights have shape {}, the numbers {}", weights.shape(), x.shape());
        return Err(Error::new(e).help("give one weight for each number"));
    }
    if x.elements() == 0 {
        return Ok(minlength);
    }
    let x = x.detach();
    let least = x.try_min()?.item();
    if least < 0 {
        let numbers = x.to_vec::<i64>();
        let i = numbers.iter().position(|&v| v < 0).expect("the least is negative");
        return Err(Error::new(format!("the number {} at position [{i}] is negative", numbers[i]))
            .kind_of(ErrorKind::Value)
            .help("only numbers from 0 on are counted"));
    }
    Ok((x.try_max()?.item() as usize + 1).max(minlength))
}

twin! {
    impl [] Tensor<Int> {
        /// How often each of the numbers 0, 1, .. is among the elements, up to the largest and for at least `minlength`
        /// numbers.
        ///
        /// # Panics
        /// If the rank is not 1, or an element is negative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![0, 2, 2].bincount(4).to_vec::<i64>(), [1, 0, 2, 0]);
        /// ```
        pub fn bincount / try_bincount(&self, minlength: usize) -> Tensor<Int> {
            let at = Location::caller();
            let n = in_op("bincount", &[("input", self.as_any())], at, bins(self, minlength, None))?;
            // The places are met in any order: many counts of half the size stay nearer.
            let narrow = (GRAIN..=i32::MAX as usize).contains(&self.elements());
            let dtype = if narrow { DType::I32 } else { DType::I64 };
            let count = |value: i64, shape: &Shape| Int::try_full((), value)?.try_to_dtype(dtype)?.try_expand(shape);
            let (zeros, ones) = (count(0, &[n].into())?, count(1, self.shape())?);
            Ok(zeros.try_scatter_add(0, self, &ones)?.try_to_dtype(DType::I64)?.called("bincount", at))
        }

        /// [`bincount`](Self::bincount) in which each element counts as much as its weight says. Gradients flow to the
        /// weights.
        ///
        /// # Panics
        /// If the rank is not 1, an element is negative, or `weights` has another shape.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let sums = tensor![0, 2, 2].bincount_weighted(&tensor![0.5, 1.0, 2.0], 0);
        /// assert_eq!(sums.to_vec::<f32>(), [0.5, 0.0, 3.0]);
        /// ```
        pub fn bincount_weighted / try_bincount_weighted(&self, weights: &Tensor, minlength: usize) -> Tensor {
            let at = Location::caller();
            let operands = [("input", self.as_any()), ("weights", weights.as_any())];
            let n = in_op("bincount_weighted", &operands, at, bins(self, minlength, Some(weights)))?;
            let zeros = Tensor::full_dtype([n], 0.0, weights.dtype());
            Ok(zeros.try_scatter_add(0, self, weights)?.called("bincount_weighted", at))
        }
    }
}
