//! A tensor with a border.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, Value as Attr, apply1, in_op};
use crate::dtype::with_dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{copy, pane};
use crate::kind::{Int, Kind, Value};
use crate::layout::Cut;
use crate::ops::create::{attribute, full_any};
use crate::ops::shape::{any_sample, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, Family, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&PAD];

/// Cuts that keep every position.
pub(super) fn whole(shape: &Shape) -> SmallVec<[Cut; 4]> {
    shape.iter().map(|&count| Cut { start: 0, step: 1, count }).collect()
}

/// The operation of [`Tensor::pad`].
pub(crate) static PAD: Op = {
    /// Where the input lies in the result.
    fn region(x: &Shape, attrs: &Attrs) -> Result<SmallVec<[Cut; 4]>> {
        let (before, after) = (attrs.ints("before"), attrs.ints("after"));
        if before.len() != x.rank() || after.len() != x.rank() {
            return Err(Error::new(format!("{} pairs are given for rank {}", before.len(), x.rank()))
                .help("give a pair (before, after) for every axis, (0, 0) where nothing is added"));
        }
        if let Some(axis) = (0..x.rank()).find(|&a| before[a] < 0 || after[a] < 0) {
            let e = format!("the padding ({}, {}) of axis {axis} is negative", before[axis], after[axis]);
            return Err(Error::new(e).kind_of(ErrorKind::Value).help("to cut off a border, slice: x.i(1..-1)"));
        }
        let mut cuts = whole(x);
        cuts.iter_mut().zip(&before).for_each(|(cut, &b)| cut.start = b as usize);
        Ok(cuts)
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let cuts = region(x.shape(), call.attrs())?;
        let after = call.attrs().ints("after");
        let sizes: SmallVec<[isize; 4]> = cuts
            .iter()
            .zip(&after)
            .map(|(cut, &after)| (cut.count as isize).saturating_add(cut.start as isize).saturating_add(after))
            .collect();
        let shape = checked_shape(&sizes)?;
        let n = shape.elements();
        let value = call.attrs().get("value").cloned().unwrap_or(Attr::Int(0));
        let mut padded = full_any(shape.clone(), value, x.dtype());
        with_dtype!(moved x.dtype(), T => {
            let elements = x.storage().slice::<T>();
            copy::into_region(padded.fresh_slice(), &shape, &cuts, elements, x.layout(), pane::put, &Par::of(n));
        });
        one(padded)
    }
    Op {
        name: "pad",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let cuts = region(cx.input_shape(0), cx.attrs()).expect("checked when it was recorded");
                let g = cx.g().slice_cuts(&cuts);
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "pad",
            torch: "nn.functional.pad",
            precisions: ALL,
            samples: |g| {
                let x = any_sample(g);
                let before: Vec<usize> = x.shape().iter().map(|_| g.below(3)).collect();
                let after: Vec<usize> = x.shape().iter().map(|_| g.below(3)).collect();
                vec![Sample::new([x], attrs! { before: &before[..], after: &after[..], value: 1.0 })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new([x.clone()], attrs! { before: [1i64], after: [1i64] }, "1 pairs are given for rank 2"),
                    Misuse::new(
                        [x.clone()],
                        attrs! { before: [0i64, -1], after: [0i64, 1] },
                        "the padding (-1, 1) of axis 1 is negative",
                    ),
                    Misuse::new(
                        [x],
                        attrs! { before: [i64::MAX, 0], after: [1i64, 1] },
                        "more elements than memory can address",
                    ),
                ]
            },
        },
    }
};

/// The tensor with a border of elements from inside: position `i` of an axis of size `n`, counted from its first element,
/// has the element at `inside(i, n)`.
#[track_caller]
fn bordered<K: Kind>(
    x: &Tensor<K>,
    name: &'static str,
    pairs: &[(isize, isize)],
    inside: impl Fn(isize, isize) -> isize,
) -> Result<Tensor<K>> {
    let at = std::panic::Location::caller();
    let checked = || {
        if pairs.len() != x.rank() {
            return Err(Error::new(format!("{} pairs are given for rank {}", pairs.len(), x.rank()))
                .help("give a pair (before, after) for every axis, (0, 0) where nothing is added"));
        }
        for (axis, &(before, after)) in pairs.iter().enumerate() {
            let n = x.shape()[axis] as isize;
            let reaches = |added: isize| added == 0 || added > 0 && n > 0 && (0..n).contains(&inside(-added, n));
            if !(reaches(before) && reaches(after)) {
                let e = format!("axis {axis} of size {n} cannot be padded by ({before}, {after})");
                let help = match name {
                    "pad_reflect" => "a reflection is shorter than its axis; no padding is negative",
                    _ => "no padding is negative, and an empty axis has no outermost element",
                };
                return Err(Error::new(e).kind_of(ErrorKind::Value).help(help));
            }
        }
        Ok(())
    };
    in_op(name, &[("input", x.as_any())], at, checked())?;
    let mut out = x.clone();
    for (axis, &(before, after)) in pairs.iter().enumerate().filter(|(_, pair)| **pair != (0, 0)) {
        let n = x.shape()[axis] as isize;
        let places: Vec<i64> = (-before..n + after).map(|i| inside(i, n) as i64).collect();
        let count = places.len();
        out = out.try_index_select(axis as isize, &Tensor::<Int>::from_vec(places, [count]))?;
    }
    Ok(out.called(name, at))
}

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// The tensor with `before` and `after` elements of `value` added at the two ends of each axis: one pair for
        /// each axis.
        ///
        /// # Panics
        /// If there is not one pair for each axis, or a number is negative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1, 2]].pad(&[(1, 0), (0, 1)], 9);
        /// assert_eq!(x.to_vec::<i64>(), [9, 9, 9, 1, 2, 9]);
        /// ```
        pub fn pad / try_pad(&self, pairs: &[(isize, isize)], value: impl Value<K>) -> Tensor<K> {
            let before: SmallVec<[isize; 4]> = pairs.iter().map(|p| p.0).collect();
            let after: SmallVec<[isize; 4]> = pairs.iter().map(|p| p.1).collect();
            apply1(&PAD, attrs! { before: before, after: after, value: attribute(value) }, &mut [self.into()])
        }

        /// The tensor with `before` and `after` elements added at the two ends of each axis, which mirror those inside:
        /// the border itself is not repeated, so `[1, 2, 3]` with two on either side is `[3, 2, 1, 2, 3, 2, 1]`.
        ///
        /// # Panics
        /// If there is not one pair for each axis, or a number is negative or not below the size of its axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1, 2, 3].pad_reflect(&[(2, 1)]).to_vec::<i64>(), [3, 2, 1, 2, 3, 2]);
        /// ```
        pub fn pad_reflect / try_pad_reflect(&self, pairs: &[(isize, isize)]) -> Tensor<K> {
            bordered(self, "pad_reflect", pairs, |i, n| if i < 0 { -i } else { n - 1 - (i - n + 1).abs() })
        }

        /// The tensor with `before` and `after` copies of the outermost elements added at the two ends of each axis.
        ///
        /// # Panics
        /// If there is not one pair for each axis, a number is negative, or an empty axis would grow.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1, 2, 3].pad_replicate(&[(2, 1)]).to_vec::<i64>(), [1, 1, 1, 2, 3, 3]);
        /// ```
        pub fn pad_replicate / try_pad_replicate(&self, pairs: &[(isize, isize)]) -> Tensor<K> {
            bordered(self, "pad_replicate", pairs, |i, n| i.clamp(0, n - 1))
        }
    }
}
