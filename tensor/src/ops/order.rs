//! Order statistics: the first few in sorted order, the median, and an extreme with its position.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::sort;
use crate::kind::{Bool, Int, Numeric};
use crate::ops::elementwise::unsupported;
use crate::ops::scatter::SCATTER_ADD;
use crate::ops::shape::dense;
use crate::ops::sort::{from_lanes, lanes};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&TOPK, &MEDIAN];

/// The axis that a call works along.
fn along(call: &Call<'_, '_>) -> Result<usize> {
    let x = call.input(0);
    if x.dtype() == DType::Bool {
        return Err(unsupported(x.dtype()).help("convert first: mask.to_int()"));
    }
    x.shape().axis(call.attrs().int("axis"))
}

/// The elements at `k` positions of each lane along `axis`, and the positions, which `find` writes lane by lane.
macro_rules! picked {
    ($x:expr, $axis:expr, $k:expr, |$out:ident, $elements:ident, $n:ident, $par:ident| $find:expr) => {{
        let (x, axis, k): (&AnyTensor, usize, usize) = ($x, $axis, $k);
        let $n = x.shape()[axis];
        let mut shape = x.shape().clone();
        shape.remove(axis);
        shape.push(k);
        let (x, $par) = (lanes(x, axis), &Par::of(x.elements()));
        let mut places = Storage::stale::<i64>(shape.elements());
        let $out = &mut places.unique_mut::<i64>().expect("a fresh buffer is unique")[..shape.elements()];
        let values = with_dtype!(x.dtype(), T => {
            let $elements = &x.storage().slice::<T>()[..x.elements()];
            $find;
            Storage::filled(shape.elements(), |values: &mut [T]| sort::pick(values, $elements, $n, $out, k, $par))
        });
        let values = AnyTensor::dense(values, shape.clone(), x.dtype());
        let places = AnyTensor::dense(places, shape, DType::I64);
        let both: Outputs = Outputs::from([from_lanes(values, axis), from_lanes(places, axis)]);
        both
    }};
}

/// The gradient goes to the elements that were picked.
fn to_picked(cx: &mut Vjp<'_>, g: Tensor, places: Tensor<Int>) {
    let attrs = attrs! { axis: cx.attrs().int("axis") };
    cx.give_into(0, &SCATTER_ADD, attrs, [places.into(), g.into()]);
}

fn sample_axis(g: &mut Gen, rank: usize) -> isize {
    g.below(rank) as isize - if g.below(2) == 0 { rank as isize } else { 0 }
}

/// The operation of [`Tensor::topk`]: the first elements in sorted order, and their positions.
pub(crate) static TOPK: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (axis, k, x) = (along(call)?, call.attrs().int("k"), call.input(0));
        let size = x.shape()[axis];
        if k < 0 || k as usize > size {
            return Err(Error::new(format!("k {k} is not between 0 and {size}, the size of axis {axis}")));
        }
        let (k, largest) = (k as usize, call.attrs().bool("largest"));
        Ok(picked!(x, axis, k, |out, elements, n, par| sort::topk::<T>(out, k, elements, n, largest, par)))
    }
    Op {
        name: "topk",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_output(1),
            vjp: |cx| {
                let (g, places) = (cx.g(), cx.output(1));
                to_picked(cx, g, places);
            },
        },
        info: || OpInfo {
            family: Family::Sort,
            numpy: "",
            torch: "topk",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(1, 3);
                let axis = sample_axis(g, shape.rank());
                let k = g.below(shape[shape.axis(axis).expect("a valid axis")] + 1);
                let attrs = attrs! { axis: axis, k: k, largest: g.below(2) == 0 };
                vec![Sample::new([g.distinct(&shape)], attrs)]
            },
            specials: |g| {
                let ties = g.tensor(&[1.0, 2.0, 2.0, 2.0], &[4].into());
                let attrs = attrs! { axis: 0, k: 2, largest: true };
                vec![Sample::new([ties], attrs).with_gradient([vec![0.0, 1.0, 1.0, 0.0]])]
            },
            misuses: || {
                let (x, mask): (AnyTensor, AnyTensor) = (Tensor::zeros([3]).into(), Bool::ones([2]).into());
                vec![
                    Misuse::new([x.clone()], attrs! { axis: 0, k: 4, largest: true }, "k 4 is not between 0 and 3"),
                    Misuse::new([x], attrs! { axis: 1, k: 1, largest: true }, "axis 1 is out of range for rank 1"),
                    Misuse::new([mask], attrs! { axis: 0, k: 1, largest: true }, "precision Bool is not supported"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::median`]: the element in the middle of the sorted order, and its position.
pub(crate) static MEDIAN: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (axis, x) = (along(call)?, call.input(0));
        let mut shape = x.shape().clone();
        shape[axis] = 1;
        if x.elements() == 0 && shape.elements() > 0 {
            return Err(Error::new(format!("axis {axis} of shape {} is empty", x.shape()))
                .help("there is no median of no elements"));
        }
        let mut both = picked!(x, axis, 1, |out, elements, n, par| sort::median::<T>(out, elements, n, par));
        if !call.attrs().bool("keepdim") {
            shape.remove(axis);
            for y in both.iter_mut() {
                *y = dense(y.view(y.layout().reshape(shape.clone()).expect("an axis of size 1 moves no element")));
            }
        }
        Ok(both)
    }
    Op {
        name: "median",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_output(1),
            vjp: |cx| {
                let (mut g, mut places, axis) = (cx.g(), cx.output::<Int>(1), cx.attrs().int("axis"));
                if !cx.attrs().bool("keepdim") {
                    (g, places) = (g.unsqueeze(axis), places.unsqueeze(axis));
                }
                to_picked(cx, g, places);
            },
        },
        info: || OpInfo {
            family: Family::Sort,
            numpy: "",
            torch: "median",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.full_shape(1, 3);
                let axis = sample_axis(g, shape.rank());
                vec![Sample::new([g.distinct(&shape)], attrs! { axis: axis, keepdim: g.below(2) == 0 })]
            },
            specials: |g| {
                let even = g.tensor(&[3.0, 1.0, 2.0, 4.0], &[4].into());
                vec![Sample::new([even], attrs! { axis: 0 }).with_gradient([vec![0.0, 0.0, 1.0, 0.0]])]
            },
            misuses: || {
                let (x, mask): (AnyTensor, AnyTensor) = (Tensor::zeros([2, 0]).into(), Bool::ones([2]).into());
                vec![
                    Misuse::new([x.clone()], attrs! { axis: 1 }, "axis 1 of shape [2, 0] is empty"),
                    Misuse::new([x], attrs! { axis: 2 }, "axis 2 is out of range for rank 2"),
                    Misuse::new([mask], attrs! { axis: 0 }, "precision Bool is not supported"),
                ]
            },
        },
    }
};

/// The two results of an operation that picks elements.
fn values_and_positions<K: Numeric>(outputs: Result<Outputs>) -> Result<(Tensor<K>, Tensor<Int>)> {
    let [values, positions] = outputs?.into_array();
    Ok((values.downcast()?, positions.downcast()?))
}

/// Defines methods that give elements and their positions.
macro_rules! with_positions {
    ($(
        $(#[$doc:meta])*
        pub fn $name:ident / $try_name:ident(& $self:ident $(, $arg:ident: $ty:ty)*) $body:block
    )*) => {
        impl<K: Numeric> Tensor<K> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(& $self $(, $arg: $ty)*) -> (Tensor<K>, Tensor<Int>) {
                or_panic($self.$try_name($($arg),*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name(& $self $(, $arg: $ty)*) -> Result<(Tensor<K>, Tensor<Int>)> $body
        )*}
    };
}

with_positions! {
    /// The `k` largest elements along `axis`, or the smallest, in sorted order, and their positions. Of equals the
    /// first is taken. NaN counts as larger than every number.
    ///
    /// # Panics
    /// If there is no such axis, or it has fewer elements than `k`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, positions) = tensor![1.0, 4.0, 2.0, 3.0].topk(2, 0, true);
    /// assert_eq!(values.to_vec::<f32>(), [4.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i64>(), [1, 3]);
    /// ```
    pub fn topk / try_topk(&self, k: usize, axis: isize, largest: bool) {
        values_and_positions(apply(&TOPK, attrs! { axis: axis, k: k, largest: largest }, &mut [self.into()]))
    }

    /// The medians along `axis`, which is dropped, and their positions. Of an even number of elements it is the lower of
    /// the two in the middle, as in PyTorch, so that it is an element. A NaN makes it NaN.
    ///
    /// # Panics
    /// If there is no such axis, or it is empty.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, positions) = tensor![[3.0, 1.0, 2.0], [6.0, 4.0, 5.0]].median_axis(1);
    /// assert_eq!(values.to_vec::<f32>(), [2.0, 5.0]);
    /// assert_eq!(positions.to_vec::<i64>(), [2, 2]);
    /// ```
    pub fn median_axis / try_median_axis(&self, axis: isize) {
        values_and_positions(apply(&MEDIAN, attrs! { axis: axis }, &mut [self.into()]))
    }

    /// [`median_axis`](Self::median_axis) with the axis kept as size 1.
    ///
    /// # Panics
    /// If there is no such axis, or it is empty.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![[3.0, 1.0, 2.0]].median_keepdim(1).0.shape().to_string(), "[1, 1]");
    /// ```
    pub fn median_keepdim / try_median_keepdim(&self, axis: isize) {
        values_and_positions(apply(&MEDIAN, attrs! { axis: axis, keepdim: true }, &mut [self.into()]))
    }

    /// The largest elements along `axis`, which is dropped, and their positions: the first of ties, and the first NaN
    /// if there is one. Unlike that of [`max_axis`](Self::max_axis), the gradient goes to that element alone.
    ///
    /// # Panics
    /// If there is no such axis, or it is empty.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, positions) = tensor![[1.0, 3.0], [4.0, 2.0]].max_with_index(1);
    /// assert_eq!(values.to_vec::<f32>(), [3.0, 4.0]);
    /// assert_eq!(positions.to_vec::<i64>(), [1, 0]);
    /// ```
    pub fn max_with_index / try_max_with_index(&self, axis: isize) {
        let at = self.try_argmax_keepdim(axis)?;
        Ok((self.try_gather(axis, &at)?.try_squeeze(axis)?, at.try_squeeze(axis)?))
    }

    /// The smallest elements along `axis`, which is dropped, and their positions; see
    /// [`max_with_index`](Self::max_with_index).
    ///
    /// # Panics
    /// If there is no such axis, or it is empty.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![[1.0, 3.0], [4.0, 2.0]].min_with_index(1).1.to_vec::<i64>(), [0, 1]);
    /// ```
    pub fn min_with_index / try_min_with_index(&self, axis: isize) {
        let at = self.try_argmin_keepdim(axis)?;
        Ok((self.try_gather(axis, &at)?.try_squeeze(axis)?, at.try_squeeze(axis)?))
    }
}

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// The median of all elements, as a tensor of rank 0: of an even number, the lower of the two in the middle. A
        /// NaN makes it NaN. Of equals, one gets the gradient.
        ///
        /// # Panics
        /// If there are no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[4.0, 1.0], [2.0, 3.0]].median().item(), 2.0);
        /// ```
        pub fn median / try_median(&self) -> Tensor<K> {
            Ok(self.try_flatten(..)?.try_median_axis(0)?.0)
        }
    }
}
