//! Slices: along each axis, evenly spaced positions. They are views; their gradient is added into a region.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::{copy, pane};
use crate::kind::Kind;
use crate::layout::Cut;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::{any_sample, one, owned};
use crate::par::Par;
use crate::registry::{ALL as ALL_PRECISIONS, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::{IntoDims, Shape};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SLICE, &SLICE_ADD, &SLICE_ASSIGN];

/// The cuts that a slice's attributes stand for.
fn cuts(shape: &Shape, attrs: &Attrs) -> Result<SmallVec<[Cut; 4]>> {
    let (starts, steps, counts) = (attrs.ints("starts"), attrs.ints("steps"), attrs.ints("counts"));
    if starts.len() != shape.rank() || steps.len() != shape.rank() || counts.len() != shape.rank() {
        return Err(Error::new(format!("{} cuts for rank {}", starts.len(), shape.rank())));
    }
    let mut cuts = SmallVec::new();
    for axis in 0..shape.rank() {
        let (start, step, count) = (starts[axis], steps[axis], counts[axis]);
        let last = count.checked_sub(1).and_then(|n| n.checked_mul(step)).and_then(|r| r.checked_add(start));
        let inside = |p: isize| p >= 0 && (p as usize) < shape[axis];
        let fits = match count {
            0 => true,
            1 => inside(start),
            _ => step != 0 && inside(start) && last.is_some_and(inside),
        };
        if count < 0 || !fits {
            let e = Error::new(format!(
                "{count} positions from {start} in steps of {step} leave axis {axis}, which has size {}",
                shape[axis]
            ));
            return Err(e.kind_of(ErrorKind::Index));
        }
        // A step that is never taken may be of any size: its stride must not overflow.
        let step = if count > 1 { step } else { 1 };
        cuts.push(Cut { start: start as usize, step, count: count as usize });
    }
    Ok(cuts)
}

pub(crate) fn cut_attrs(cuts: &[Cut]) -> Attrs {
    let starts: Vec<usize> = cuts.iter().map(|c| c.start).collect();
    let steps: Vec<isize> = cuts.iter().map(|c| c.step).collect();
    let counts: Vec<usize> = cuts.iter().map(|c| c.count).collect();
    attrs! { starts: &starts[..], steps: &steps[..], counts: &counts[..] }
}

fn sample_cuts(g: &mut Gen, shape: &Shape) -> Vec<Cut> {
    shape
        .iter()
        .map(|&n| {
            let count = g.below(n + 1);
            let step = if count <= 1 { g.pick(&[1, -1, 2]) } else { 1.max((n - 1) / (count - 1)) as isize };
            let reach = count.saturating_sub(1) * step.unsigned_abs();
            let low = if n == 0 { 0 } else { g.below(n - reach) };
            if g.below(3) == 0 && count > 0 {
                Cut { start: low + reach, step: -step.abs(), count }
            } else {
                Cut { start: low, step, count }
            }
        })
        .collect()
}

fn outside() -> Attrs {
    attrs! { starts: [0i64, 1], steps: [1i64, 1], counts: [2i64, 3] }
}

/// The operation of [`Tensor::slice_cuts`], and so of slicing, flipping, narrowing and selecting.
pub(crate) static SLICE: Op = Op {
    name: "slice",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        one(x.view(x.layout().slice(&cuts(x.shape(), call.attrs())?)))
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE,
        vjp: |cx| {
            let g = cx.g();
            let attrs = cx.attrs().clone();
            cx.give_into(0, &SLICE_ADD, attrs, [g.into()]);
        },
    },
    info: || OpInfo {
        family: Family::Copy,
        numpy: "s_",
        torch: "narrow",
        precisions: ALL_PRECISIONS,
        samples: |g| {
            let x = any_sample(g);
            let cuts = sample_cuts(g, &x.shape().clone());
            vec![Sample::new([x], cut_attrs(&cuts))]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let x: AnyTensor = Tensor::zeros([2, 3]).into();
            vec![
                Misuse::new([x.clone()], outside(), "3 positions from 1 in steps of 1 leave axis 1, which has size 3"),
                Misuse::new(
                    [x],
                    attrs! { starts: [0i64, 0], steps: [0i64, 1], counts: [2i64, 3] },
                    "2 positions from 0 in steps of 0 leave axis 0",
                ),
            ]
        },
    },
};

/// Combines the elements of input 1 with those of a slice of input 0, in its memory where that can be.
macro_rules! into_slice {
    ($call:expr, $f:path $(, $moved:ident)?) => {{
        let call: &mut Call<'_, '_> = $call;
        let dtype = call.same_dtype()?;
        let shape = call.input(0).shape().clone();
        let cuts = cuts(&shape, call.attrs())?;
        let region: Shape = cuts.iter().map(|c| c.count).collect();
        if &region != call.input(1).shape() {
            return Err(Error::new(format!("the slice has shape {region}, not {}", call.input(1).shape())));
        }
        let mut base = owned(call);
        let (x, n) = (call.input(1), shape.elements());
        with_dtype!($($moved)? dtype, T => {
            let out = &mut base.storage_mut().unique_mut::<T>().expect("reused or copied")[..n];
            let par = Par::of(x.elements());
            copy::into_region::<T>(out, &shape, &cuts, x.storage().slice(), x.layout(), $f, &par);
        });
        one(base)
    }};
}

/// Adds the second input to a slice of the first: how the gradient of a slice is accumulated, in place where it can
/// be.
pub(crate) static SLICE_ADD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        if call.input(0).dtype() == DType::Bool {
            return Err(unsupported(DType::Bool));
        }
        into_slice!(call, pane::add)
    }
    Op {
        name: "slice_add",
        operands: &["input", "addend"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g();
                if cx.needs(1) {
                    let part = or_panic(apply1(&SLICE, cx.attrs().clone(), &mut [(&g).into()]));
                    cx.give(1, part);
                }
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "",
            torch: "",
            precisions: NUMERIC,
            samples: |g| {
                let x = any_sample(g);
                let cuts = sample_cuts(g, &x.shape().clone());
                let part: Shape = cuts.iter().map(|c| c.count).collect();
                vec![Sample::new([x, g.numbers(&part, -2.0, 2.0)], cut_attrs(&cuts))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x = Tensor::zeros([2, 3]);
                vec![
                    Misuse::new([(&x).into(), (&x).into()], outside(), "leave axis 1, which has size 3"),
                    Misuse::new(
                        [(&x).into(), Tensor::zeros([2, 2]).into()],
                        attrs! { starts: [0i64, 0], steps: [1i64, 1], counts: [2i64, 3] },
                        "the slice has shape [2, 3], not [2, 2]",
                    ),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::slice_assign`].
pub(crate) static SLICE_ASSIGN: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        into_slice!(call, pane::put, moved)
    }
    Op {
        name: "slice_assign",
        operands: &["input", "src"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let (g, attrs) = (cx.g(), cx.attrs().clone());
                if cx.needs(1) {
                    let part = or_panic(apply1(&SLICE, attrs.clone(), &mut [(&g).into()]));
                    cx.give(1, part);
                }
                if cx.needs(0) {
                    let zeros = Tensor::full_dtype(cx.input_shape(1), 0.0, g.dtype());
                    let g = or_panic(apply1(&SLICE_ASSIGN, attrs, &mut [g.into(), zeros.into()]));
                    cx.give(0, g);
                }
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "",
            torch: "slice_scatter",
            precisions: ALL_PRECISIONS,
            samples: |g| {
                let x = any_sample(g);
                let cuts = sample_cuts(g, &x.shape().clone());
                let part: Shape = cuts.iter().map(|c| c.count).collect();
                vec![Sample::new([x, g.numbers(&part, -2.0, 2.0)], cut_attrs(&cuts))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x = Tensor::zeros([2, 3]);
                vec![
                    Misuse::new([(&x).into(), (&x).into()], outside(), "leave axis 1, which has size 3"),
                    Misuse::new(
                        [(&x).into(), Tensor::zeros([2, 3]).to_dtype(DType::F64).into()],
                        attrs! { starts: [0i64, 0], steps: [1i64, 1], counts: [2i64, 3] },
                        "precisions differ: F32 and F64",
                    ),
                ]
            },
        },
    }
};

impl<K: Kind> Tensor<K> {
    /// Along each axis, the positions that a [`Cut`] keeps. A view. Slicing by ranges is [`i`](Self::i).
    ///
    /// # Panics
    /// If there is not one cut for each axis, or a cut leaves its axis.
    ///
    /// ```
    /// use wengert_tensor::{layout::Cut, tensor};
    /// let cut = Cut { start: 4, step: -2, count: 3 };
    /// assert_eq!(tensor![0, 1, 2, 3, 4].slice_cuts(&[cut]).to_vec::<i64>(), [4, 2, 0]);
    /// ```
    #[track_caller]
    pub fn slice_cuts(&self, cuts: &[Cut]) -> Tensor<K> {
        or_panic(self.try_slice_cuts(cuts))
    }

    /// Fallible form of [`slice_cuts`](Self::slice_cuts).
    ///
    /// # Errors
    /// If there is not one cut for each axis, or a cut leaves its axis.
    #[track_caller]
    pub fn try_slice_cuts(&self, cuts: &[Cut]) -> Result<Tensor<K>> {
        apply1(&SLICE, cut_attrs(cuts), &mut [self.into()])
    }

    /// `len` positions of `axis` from `start` on. A view.
    ///
    /// # Panics
    /// If they leave the axis.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1, 2, 3, 4].narrow(0, 1, 2).to_vec::<i64>(), [2, 3]);
    /// ```
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Tensor<K> {
        or_panic(self.try_narrow(axis, start, len))
    }

    /// Fallible form of [`narrow`](Self::narrow).
    ///
    /// # Errors
    /// If the positions leave the axis.
    #[track_caller]
    pub fn try_narrow(&self, axis: isize, start: usize, len: usize) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let axis = in_op("narrow", &[("input", self.as_any())], at, self.shape().axis(axis))?;
        let mut cuts: SmallVec<[Cut; 4]> = self.shape().iter().map(|&count| Cut { start: 0, step: 1, count }).collect();
        cuts[axis] = Cut { start, step: 1, count: len };
        self.try_slice_cuts(&cuts)
    }

    /// The elements in reverse order along `axes`. A view.
    ///
    /// # Panics
    /// If an axis does not exist, or is named twice.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![[1, 2], [3, 4]].flip(1).to_vec::<i64>(), [2, 1, 4, 3]);
    /// ```
    #[track_caller]
    pub fn flip(&self, axes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_flip(axes))
    }

    /// Fallible form of [`flip`](Self::flip).
    ///
    /// # Errors
    /// If an axis does not exist, or is named twice.
    #[track_caller]
    pub fn try_flip(&self, axes: impl IntoDims) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let axes = self.shape().axes(&axes.into_dims(self.rank()));
        let axes = in_op("flip", &[("input", self.as_any())], at, axes)?;
        let cut = |(axis, &count): (usize, &usize)| match axes.contains(&axis) {
            true => Cut { start: count.saturating_sub(1), step: -1, count },
            false => Cut { start: 0, step: 1, count },
        };
        let cuts: SmallVec<[Cut; 4]> = self.shape().iter().enumerate().map(cut).collect();
        self.try_slice_cuts(&cuts)
    }
}
