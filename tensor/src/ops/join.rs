//! Tensors put side by side.

use std::borrow::Borrow;

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, Result, or_panic};
use crate::kernels::{copy, pane};
use crate::kind::Kind;
use crate::layout::Layout;
use crate::ops::pad::whole;
use crate::ops::shape::one;
use crate::par::Par;
use crate::registry::{ALL, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CAT, &STACK];

/// The inputs of a call one after another along an axis: `arrange` gets their layouts, checks them, and gives the axis.
fn join(call: &Call<'_, '_>, arrange: impl Fn(&mut [Layout]) -> Result<usize>) -> Result<Outputs> {
    if call.is_empty() {
        return Err(Error::new("no tensors are given").help("give at least one"));
    }
    let mut layouts: SmallVec<[Layout; 4]> = (0..call.len()).map(|i| call.input(i).layout().clone()).collect();
    let axis = arrange(&mut layouts)?;
    let dtype = call.same_dtype()?;
    let mut sizes: SmallVec<[isize; 4]> = layouts[0].shape().iter().map(|&s| s as isize).collect();
    sizes[axis] = layouts.iter().map(|l| l.shape()[axis] as isize).sum();
    let shape = checked_shape(&sizes)?;
    let storage = with_dtype!(moved dtype, T => Storage::filled(shape.elements(), |out: &mut [T]| {
        let mut at = 0;
        for (i, layout) in layouts.iter().enumerate() {
            let mut cuts = whole(layout.shape());
            cuts[axis].start = at;
            at += cuts[axis].count;
            let (x, par) = (call.input(i).storage().slice::<T>(), Par::of(layout.elements()));
            copy::into_region(out, &shape, &cuts, x, layout, pane::put, &par);
        }
    }));
    one(AnyTensor::dense(storage, shape, dtype))
}

/// More inputs than have a bit each in [`Needs`](crate::dispatch::Needs).
const MANY: usize = 66;

/// How many tensors to join, and of what shape: a few, now and then very many of one element.
fn parts(g: &mut Gen, min_rank: usize) -> (usize, Shape) {
    match g.below(8) {
        0 => (MANY, (0..min_rank).map(|_| 1).collect()),
        _ => (1 + g.below(3), g.shape(min_rank, 3)),
    }
}

/// The operation of [`Tensor::cat`].
pub(crate) static CAT: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        join(call, |layouts| {
            let first = layouts[0].shape();
            let axis = first.axis(call.attrs().int("axis"))?;
            for (i, other) in layouts.iter().map(Layout::shape).enumerate() {
                if other.rank() != first.rank() {
                    let e = format!("ranks differ: {} (input 0) and {} (input {i})", first.rank(), other.rank());
                    return Err(Error::new(e).help("stack joins tensors along a new axis; unsqueeze adds one"));
                }
                if let Some(a) = (0..first.rank()).find(|&a| a != axis && other[a] != first[a]) {
                    let e = format!("sizes differ on axis {a}: {} (input 0) and {} (input {i})", first[a], other[a]);
                    let help = format!("sizes may differ on axis {axis} only, along which they join");
                    return Err(Error::new(e).help(help));
                }
            }
            Ok(axis)
        })
    }
    Op {
        name: "cat",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let (g, axis) = (cx.g(), cx.attrs().int("axis"));
                let axis = cx.input_shape(0).axis(axis).expect("checked when it was recorded");
                let mut at = 0;
                for i in 0..cx.inputs() {
                    let n = cx.input_shape(i)[axis];
                    if cx.needs(i) {
                        cx.give(i, g.narrow(axis as isize, at, n));
                    }
                    at += n;
                }
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "concat",
            torch: "cat",
            precisions: ALL,
            samples: |g| {
                let (n, shape) = parts(g, 1);
                let axis = g.below(shape.rank());
                let parts: Vec<AnyTensor> = (0..n)
                    .map(|_| {
                        let mut part = shape.clone();
                        part[axis] = if n < MANY { g.below(4) } else { 1 };
                        g.numbers(&part, -2.0, 2.0)
                    })
                    .collect();
                vec![Sample::new(parts, attrs! { axis: axis })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                let tall: AnyTensor = Tensor::zeros([4, 3]).into();
                let flat: AnyTensor = Tensor::zeros([3]).into();
                let precise: AnyTensor = Tensor::zeros([2, 3]).to_dtype(crate::DType::F64).into();
                vec![
                    Misuse::new([], attrs! { axis: 0 }, "no tensors are given"),
                    Misuse::new(
                        [x.clone(), tall],
                        attrs! { axis: 1 },
                        "sizes differ on axis 0: 2 (input 0) and 4 (input 1)",
                    ),
                    Misuse::new([x.clone(), flat], attrs! { axis: 0 }, "ranks differ: 2 (input 0) and 1 (input 1)"),
                    Misuse::new([x.clone(), precise], attrs! { axis: 0 }, "precisions differ: F32 and F64"),
                    Misuse::new([x], attrs! { axis: 2 }, "axis 2 is out of range for rank 2"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::stack`].
pub(crate) static STACK: Op = {
    /// The place of the new axis among those of the result.
    fn new_axis(shape: &Shape, axis: isize) -> Result<usize> {
        let mut longer = shape.clone();
        longer.push(1);
        longer.axis(axis)
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        join(call, |layouts| {
            let first = layouts[0].shape().clone();
            let axis = new_axis(&first, call.attrs().int("axis"))?;
            if let Some(i) = layouts.iter().position(|l| l.shape() != &first) {
                let e = format!("shapes differ: {first} (input 0) and {} (input {i})", layouts[i].shape());
                return Err(Error::new(e).help("cat joins tensors of different sizes along an axis they have"));
            }
            let mut shape = first;
            shape.insert(axis, 1);
            for layout in layouts {
                *layout = layout.reshape(shape.clone()).expect("an axis of size 1 moves no element");
            }
            Ok(axis)
        })
    }
    Op {
        name: "stack",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let (g, axis) = (cx.g(), cx.attrs().int("axis"));
                let axis = new_axis(cx.input_shape(0), axis).expect("checked when it was recorded") as isize;
                for i in 0..cx.inputs() {
                    if cx.needs(i) {
                        cx.give(i, g.narrow(axis, i, 1).squeeze(axis));
                    }
                }
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "stack",
            torch: "stack",
            precisions: ALL,
            samples: |g| {
                let (n, shape) = parts(g, 0);
                let axis = g.below(shape.rank() + 1) as isize;
                let axis = if g.below(2) == 0 { axis } else { axis - shape.rank() as isize - 1 };
                let parts: Vec<AnyTensor> = (0..n).map(|_| g.numbers(&shape, -2.0, 2.0)).collect();
                vec![Sample::new(parts, attrs! { axis: axis })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                let tall: AnyTensor = Tensor::zeros([4, 3]).into();
                vec![
                    Misuse::new([], attrs! { axis: 0 }, "no tensors are given"),
                    Misuse::new(
                        [x.clone(), tall],
                        attrs! { axis: 0 },
                        "shapes differ: [2, 3] (input 0) and [4, 3] (input 1)",
                    ),
                    Misuse::new([x], attrs! { axis: 3 }, "axis 3 is out of range for rank 3"),
                ]
            },
        },
    }
};

impl<K: Kind> Tensor<K> {
    /// Tensors one after another along an axis they have. On the other axes their sizes are equal.
    ///
    /// # Panics
    /// If no tensor is given, ranks or precisions differ, or sizes differ on another axis.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// let (a, b) = (tensor![[1.0, 2.0]], tensor![[3.0, 4.0], [5.0, 6.0]]);
    /// let joined = Tensor::cat(&[&a, &b], 0);
    /// assert_eq!(joined.shape().to_string(), "[3, 2]");
    /// assert_eq!(joined.to_vec::<f32>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// ```
    #[track_caller]
    pub fn cat<T: Borrow<Tensor<K>>>(tensors: &[T], axis: isize) -> Tensor<K> {
        or_panic(Tensor::try_cat(tensors, axis))
    }

    /// Fallible form of [`cat`](Self::cat).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_cat<T: Borrow<Tensor<K>>>(tensors: &[T], axis: isize) -> Result<Tensor<K>> {
        let mut inputs: SmallVec<[Arg<'_>; 4]> = tensors.iter().map(|t| Arg::from(t.borrow())).collect();
        apply1(&CAT, attrs! { axis: axis }, &mut inputs)
    }

    /// Tensors of one shape side by side along a new axis, which stands at position `axis` of the result.
    ///
    /// # Panics
    /// If no tensor is given, or shapes or precisions differ.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// let (a, b) = (tensor![1.0, 2.0], tensor![3.0, 4.0]);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0).to_vec::<f32>(), [1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(Tensor::stack(&[&a, &b], -1).to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn stack<T: Borrow<Tensor<K>>>(tensors: &[T], axis: isize) -> Tensor<K> {
        or_panic(Tensor::try_stack(tensors, axis))
    }

    /// Fallible form of [`stack`](Self::stack).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_stack<T: Borrow<Tensor<K>>>(tensors: &[T], axis: isize) -> Result<Tensor<K>> {
        let mut inputs: SmallVec<[Arg<'_>; 4]> = tensors.iter().map(|t| Arg::from(t.borrow())).collect();
        apply1(&STACK, attrs! { axis: axis }, &mut inputs)
    }
}
