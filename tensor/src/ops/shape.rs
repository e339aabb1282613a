//! Operations that change the shape or the order of axes: views where they can be, copies where they must.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, Result, or_panic};
use crate::kernels::copy;
use crate::kind::Kind;
use crate::layout::Layout;
use crate::par::Par;
use crate::registry::{ALL as ALL_PRECISIONS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, MAX_RANK, Shape, checked_shape};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&IDENTITY, &CONTIGUOUS, &RESHAPE, &PERMUTE, &EXPAND];

pub(super) fn one(t: AnyTensor) -> Result<Outputs> {
    Ok(t.into())
}

/// The elements of `x` in a fresh dense buffer.
pub(crate) fn copied(x: &AnyTensor) -> AnyTensor {
    let n = x.elements();
    let storage = with_dtype!(moved x.dtype(), T => {
        let mut storage = Storage::stale::<T>(n);
        let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
        copy::gather_par::<T>(out, x.storage().slice(), x.layout(), &Par::of(n));
        storage
    });
    AnyTensor::dense(storage, x.shape().clone(), x.dtype())
}

/// `x` if it is dense, else a dense copy.
pub(super) fn dense(x: AnyTensor) -> AnyTensor {
    if x.layout().is_dense() { x } else { copied(&x) }
}

/// Input 0 in a dense buffer that no one else shares: its own where it was handed over, else a copy.
pub(super) fn owned(call: &mut Call<'_, '_>) -> AnyTensor {
    let (shape, dtype) = (call.input(0).shape().clone(), call.input(0).dtype());
    match call.reuse(0) {
        Some(storage) => AnyTensor::dense(storage, shape, dtype),
        None => copied(call.input(0)),
    }
}

fn pass_through(cx: &mut Vjp<'_>) {
    let g = cx.g();
    cx.give(0, g);
}

pub(super) fn any_sample(g: &mut Gen) -> AnyTensor {
    let shape = g.shape(0, 3);
    g.numbers(&shape, -2.0, 2.0)
}

/// Gives its input back, as a new place on the tape.
pub(crate) static IDENTITY: Op = Op {
    name: "identity",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        one(x.view(x.layout().clone()))
    },
    gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp: pass_through },
    info: || OpInfo {
        family: Family::Copy,
        numpy: "positive",
        torch: "positive",
        precisions: ALL_PRECISIONS,
        samples: |g| vec![Sample::new([any_sample(g)], Attrs::NONE)],
        specials: |_| Vec::new(),
        misuses: Vec::<Misuse>::new,
    },
};

/// The operation of [`Tensor::contiguous`].
pub(crate) static CONTIGUOUS: Op = Op {
    name: "contiguous",
    operands: &["input"],
    forward: |call| one(copied(call.input(0))),
    gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp: pass_through },
    info: || OpInfo {
        family: Family::Copy,
        numpy: "ascontiguousarray",
        torch: "contiguous",
        precisions: ALL_PRECISIONS,
        samples: |g| vec![Sample::new([any_sample(g)], Attrs::NONE)],
        specials: |_| Vec::new(),
        misuses: Vec::<Misuse>::new,
    },
};

/// The shape meant by `sizes`, of which one may be -1.
fn target(x: &Shape, sizes: &[isize]) -> Result<Shape> {
    let n = x.elements();
    let mut sizes: SmallVec<[isize; 4]> = sizes.into();
    let unknown: SmallVec<[usize; 2]> = (0..sizes.len()).filter(|&i| sizes[i] == -1).collect();
    if unknown.len() > 1 {
        return Err(Error::new(format!("more than one size is -1 in {:?}", &sizes[..])));
    }
    if let Some(&axis) = unknown.first() {
        let known = sizes
            .iter()
            .filter(|&&s| s != -1)
            .try_fold(1usize, |p, &s| usize::try_from(s).ok().and_then(|s| p.checked_mul(s)));
        match known {
            Some(known) if known > 0 && n.is_multiple_of(known) => sizes[axis] = (n / known) as isize,
            _ => {
                return Err(Error::new(format!("{n} elements do not fit shape {:?}", &sizes[..]))
                    .help("the size -1 stands for the number that makes the elements fit, and there is none"));
            }
        }
    }
    let shape = checked_shape(&sizes)?;
    if shape.elements() != n {
        let e = Error::new(format!("{n} elements do not fit shape {shape}, which has {}", shape.elements()));
        return Err(e.help("the number of elements must stay the same; -1 leaves one size to be computed"));
    }
    Ok(shape)
}

/// The operation of [`Tensor::reshape`].
pub(crate) static RESHAPE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let shape = target(x.shape(), &call.attrs().ints("shape"))?;
        one(match x.layout().reshape(shape.clone()) {
            Some(layout) => x.view(layout),
            None => copied(x).view(Layout::dense(shape)),
        })
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let x = any_sample(g);
        let n = x.elements();
        let mut sizes: Vec<usize> = vec![n];
        if n > 0 && n.is_multiple_of(2) {
            sizes = g.pick(&[vec![2, n / 2], vec![n / 2, 1, 2], vec![1, n]]);
        }
        vec![Sample::new([x], attrs! { shape: &sizes[..] })]
    }
    Op {
        name: "reshape",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g().reshape(cx.input_shape(0));
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "reshape",
            torch: "reshape",
            precisions: ALL_PRECISIONS,
            samples,
            specials: |g| vec![Sample::new([g.numbers(&[6].into(), 0.0, 1.0)], attrs! { shape: [2i64, -1] })],
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new([x.clone()], attrs! { shape: [4i64] }, "6 elements do not fit shape [4], which has 4"),
                    Misuse::new([x.clone()], attrs! { shape: [4i64, -1] }, "6 elements do not fit shape [4, -1]"),
                    Misuse::new([x.clone()], attrs! { shape: [-1i64, -1] }, "more than one size is -1"),
                    Misuse::new([x], attrs! { shape: [-2i64, 3] }, "size -2 on axis 0 is negative"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::permute`].
pub(crate) static PERMUTE: Op = {
    fn order(shape: &Shape, axes: &[isize]) -> Result<SmallVec<[usize; 4]>> {
        let order = shape.axes(axes)?;
        if order.len() != shape.rank() {
            return Err(Error::new(format!("{} axes are named, and the rank is {}", order.len(), shape.rank()))
                .help("name every axis once; transpose(a, b) swaps two"));
        }
        Ok(order)
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let order = order(x.shape(), &call.attrs().ints("axes"))?;
        one(x.view(x.layout().permute(&order)))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let order = order(cx.input_shape(0), &cx.attrs().ints("axes")).expect("checked when it was recorded");
        let mut inverse = vec![0usize; order.len()];
        order.iter().enumerate().for_each(|(i, &a)| inverse[a] = i);
        let g = cx.g().permute(inverse);
        cx.give(0, g);
    }
    Op {
        name: "permute",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "permute_dims",
            torch: "permute",
            precisions: ALL_PRECISIONS,
            samples: |g| {
                let x = any_sample(g);
                let mut axes: Vec<isize> = (0..x.rank() as isize).collect();
                for i in (1..axes.len()).rev() {
                    let j = g.below(i + 1);
                    axes.swap(i, j);
                }
                vec![Sample::new([x], attrs! { axes: &axes[..] })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new([x.clone()], attrs! { axes: [0i64] }, "1 axes are named, and the rank is 2"),
                    Misuse::new([x.clone()], attrs! { axes: [0i64, 0] }, "axis 0 is named twice"),
                    Misuse::new([x], attrs! { axes: [0i64, 2] }, "axis 2 is out of range for rank 2"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::expand`].
pub(crate) static EXPAND: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let shape = checked_shape(&call.attrs().ints("shape"))?;
        let fits =
            x.rank() <= shape.rank() && x.shape().iter().rev().zip(shape.iter().rev()).all(|(&a, &b)| a == b || a == 1);
        if !fits {
            return Err(Error::new(format!("shape {} does not expand to {shape}", x.shape()))
                .help("sizes must be equal or 1, on every axis counted from the last"));
        }
        one(x.view(x.layout().broadcast_to(&shape)))
    }
    Op {
        name: "expand",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp: pass_through },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "broadcast_to",
            torch: "expand",
            precisions: ALL_PRECISIONS,
            samples: |g| {
                let (a, b) = g.broadcast_pair();
                let whole = a.broadcast(&b).expect("a pair that broadcasts");
                vec![Sample::new([g.numbers(&a, -2.0, 2.0)], attrs! { shape: &whole[..] })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![Misuse::new(
                    [Tensor::zeros([2, 3]).into()],
                    attrs! { shape: [2i64, 4] },
                    "shape [2, 3] does not expand to [2, 4]",
                )]
            },
        },
    }
};

impl<K: Kind> Tensor<K> {
    /// The same elements, in row-major order, in another shape. One size may be -1: it is computed.
    ///
    /// A view where the layout allows it, else a copy.
    ///
    /// # Panics
    /// If the number of elements is another.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::zeros([2, 6]);
    /// assert_eq!(x.reshape([3, -1]).shape().to_string(), "[3, 4]");
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_reshape(shape))
    }

    /// Fallible form of [`reshape`](Self::reshape).
    ///
    /// # Errors
    /// If the number of elements is another.
    #[track_caller]
    pub fn try_reshape(&self, shape: impl IntoDims) -> Result<Tensor<K>> {
        apply1(&RESHAPE, attrs! { shape: shape.into_dims(0) }, &mut [self.into()])
    }

    /// [`reshape`](Self::reshape) that never copies: the result reads the same memory.
    ///
    /// # Panics
    /// If the number of elements is another, or the elements do not lie in memory so that the new shape can be read
    /// from them.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    /// assert!(x.view([4]).shares_memory(&x));
    /// assert!(x.t().try_view([4]).is_err());
    /// ```
    #[track_caller]
    pub fn view(&self, shape: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_view(shape))
    }

    /// Fallible form of [`view`](Self::view).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_view(&self, shape: impl IntoDims) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let shape =
            target(self.shape(), &shape.into_dims(0)).and_then(|shape| match self.layout().reshape(shape.clone()) {
                Some(_) => Ok(shape),
                None => {
                    let strides = self.layout().strides();
                    let e = format!("shape {} with strides {:?} cannot be read as {shape}", self.shape(), &strides[..]);
                    Err(Error::new(e).help("reshape copies where it must; contiguous().view(..) says so in the open"))
                }
            });
        let shape = crate::dispatch::in_op("view", &[("input", self.as_any())], at, shape)?;
        apply1(&RESHAPE, attrs! { shape: &shape[..] }, &mut [self.into()]).map(|t| t.called("view", at))
    }

    /// One axis split into several, whose sizes multiply to its own; one of them may be -1. The reverse of
    /// [`flatten`](Self::flatten). A view.
    ///
    /// # Panics
    /// If there is no such axis, or the sizes do not fit.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 12, 5]).unflatten(1, [3, -1]).shape().to_string(), "[2, 3, 4, 5]");
    /// ```
    #[track_caller]
    pub fn unflatten(&self, axis: isize, sizes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_unflatten(axis, sizes))
    }

    /// Fallible form of [`unflatten`](Self::unflatten).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_unflatten(&self, axis: isize, sizes: impl IntoDims) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let shape = self.shape().axis(axis).and_then(|axis| {
            let whole = self.shape();
            let parts = target(&[whole[axis]].into(), &sizes.into_dims(0))?;
            let shape: Shape = whole[..axis].iter().chain(parts.iter()).chain(&whole[axis + 1..]).copied().collect();
            match shape.rank() <= MAX_RANK {
                true => Ok(shape),
                false => Err(Error::new(format!("rank {} is larger than {MAX_RANK}", shape.rank()))),
            }
        });
        let shape = crate::dispatch::in_op("unflatten", &[("input", self.as_any())], at, shape)?;
        apply1(&RESHAPE, attrs! { shape: &shape[..] }, &mut [self.into()]).map(|t| t.called("unflatten", at))
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of this tensor. A view.
    ///
    /// # Panics
    /// If not every axis is named once.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4]).permute([2, 0, 1]).shape().to_string(), "[4, 2, 3]");
    /// ```
    #[track_caller]
    pub fn permute(&self, axes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_permute(axes))
    }

    /// Fallible form of [`permute`](Self::permute).
    ///
    /// # Errors
    /// If not every axis is named once.
    #[track_caller]
    pub fn try_permute(&self, axes: impl IntoDims) -> Result<Tensor<K>> {
        apply1(&PERMUTE, attrs! { axes: axes.into_dims(self.rank()) }, &mut [self.into()])
    }

    /// Two axes swapped. A view.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4]).transpose(0, -1).shape().to_string(), "[4, 3, 2]");
    /// ```
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor<K> {
        or_panic(self.try_transpose(a, b))
    }

    /// Fallible form of [`transpose`](Self::transpose).
    ///
    /// # Errors
    /// If there is no such axis.
    #[track_caller]
    pub fn try_transpose(&self, a: isize, b: isize) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let axes = self.shape().axis(a).and_then(|a| Ok((a, self.shape().axis(b)?)));
        let (a, b) = crate::dispatch::in_op("transpose", &[("input", self.as_any())], at, axes)?;
        let mut order: SmallVec<[isize; 4]> = (0..self.rank() as isize).collect();
        order.swap(a, b);
        apply1(&PERMUTE, attrs! { axes: order }, &mut [self.into()]).map(|t| t.called("transpose", at))
    }

    /// The last two axes swapped: a matrix, or each of a batch of matrices, transposed. A view.
    ///
    /// # Panics
    /// If the rank is below 2.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3]).t().shape().to_string(), "[3, 2]");
    /// ```
    #[track_caller]
    pub fn t(&self) -> Tensor<K> {
        or_panic(self.try_t())
    }

    /// Fallible form of [`t`](Self::t).
    ///
    /// # Errors
    /// If the rank is below 2.
    #[track_caller]
    pub fn try_t(&self) -> Result<Tensor<K>> {
        self.try_transpose(-2, -1)
    }

    /// The tensor repeated along axes of size 1, and along new axes in front, to `shape`. A view: nothing is copied.
    ///
    /// # Panics
    /// If a size is neither 1 nor that of `shape`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].expand([2, 2]).to_vec::<f32>(), [1.0, 2.0, 1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn expand(&self, shape: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_expand(shape))
    }

    /// Fallible form of [`expand`](Self::expand).
    ///
    /// # Errors
    /// If a size is neither 1 nor that of `shape`.
    #[track_caller]
    pub fn try_expand(&self, shape: impl IntoDims) -> Result<Tensor<K>> {
        apply1(&EXPAND, attrs! { shape: shape.into_dims(0) }, &mut [self.into()])
    }

    /// [`expand`](Self::expand) by the name that NumPy and the array standard give it.
    ///
    /// # Panics
    /// If a size is neither 1 nor that of `shape`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![[1], [2]].broadcast_to([2, 3]).to_vec::<i64>(), [1, 1, 1, 2, 2, 2]);
    /// ```
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_expand(shape))
    }

    /// Fallible form of [`broadcast_to`](Self::broadcast_to).
    ///
    /// # Errors
    /// If a size is neither 1 nor that of `shape`.
    #[track_caller]
    pub fn try_broadcast_to(&self, shape: impl IntoDims) -> Result<Tensor<K>> {
        self.try_expand(shape)
    }

    /// A run of axes merged into one: `x.flatten(1..)` makes a batch of images a batch of vectors.
    ///
    /// # Panics
    /// If the axes do not follow one another.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4]).flatten(1..).shape().to_string(), "[2, 12]");
    /// assert_eq!(Tensor::zeros([2, 3, 4]).flatten(..).shape().to_string(), "[24]");
    /// ```
    #[track_caller]
    pub fn flatten(&self, axes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_flatten(axes))
    }

    /// Fallible form of [`flatten`](Self::flatten).
    ///
    /// # Errors
    /// If the axes do not follow one another.
    #[track_caller]
    pub fn try_flatten(&self, axes: impl IntoDims) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let axes = crate::dispatch::in_op(
            "flatten",
            &[("input", self.as_any())],
            at,
            self.shape().axes(&axes.into_dims(self.rank())).and_then(|axes| {
                match axes.windows(2).all(|w| w[1] == w[0] + 1) {
                    true => Ok(axes),
                    false => Err(Error::new(format!("axes {:?} do not follow one another", &axes[..]))),
                }
            }),
        )?;
        let mut shape = self.shape().clone();
        match (axes.first(), axes.last()) {
            (Some(&first), Some(&last)) => {
                let n = shape[first..=last].iter().product();
                (first..last).for_each(|_| {
                    shape.remove(first);
                });
                shape[first] = n;
            }
            // No axes of a rank-0 tensor: one axis of one element.
            _ => shape.push(1),
        }
        apply1(&RESHAPE, attrs! { shape: &shape[..] }, &mut [self.into()]).map(|t| t.called("flatten", at))
    }

    /// The tensor with a new axis of size 1 at position `axis`, counted from the end where negative. A view.
    ///
    /// # Panics
    /// If there is no such position.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].unsqueeze(-1).shape().to_string(), "[2, 1]");
    /// ```
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor<K> {
        or_panic(self.try_unsqueeze(axis))
    }

    /// Fallible form of [`unsqueeze`](Self::unsqueeze).
    ///
    /// # Errors
    /// If there is no such position.
    #[track_caller]
    pub fn try_unsqueeze(&self, axis: isize) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let mut shape = self.shape().clone();
        let longest =
            if shape.rank() < MAX_RANK { Ok(()) } else { Err(Error::new(format!("rank exceeds {MAX_RANK}"))) };
        shape.push(1);
        let axis = longest.and_then(|()| shape.axis(axis));
        let axis = crate::dispatch::in_op("unsqueeze", &[("input", self.as_any())], at, axis)?;
        let last = shape.rank() - 1;
        shape.remove(last);
        shape.insert(axis, 1);
        apply1(&RESHAPE, attrs! { shape: &shape[..] }, &mut [self.into()]).map(|t| t.called("unsqueeze", at))
    }

    /// The tensor without the axes named, each of which must have size 1. A view.
    ///
    /// # Panics
    /// If an axis does not exist or has another size.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 1, 3, 1]).squeeze([1, 3]).shape().to_string(), "[2, 3]");
    /// ```
    #[track_caller]
    pub fn squeeze(&self, axes: impl IntoDims) -> Tensor<K> {
        or_panic(self.try_squeeze(axes))
    }

    /// Fallible form of [`squeeze`](Self::squeeze).
    ///
    /// # Errors
    /// If an axis does not exist or has another size.
    #[track_caller]
    pub fn try_squeeze(&self, axes: impl IntoDims) -> Result<Tensor<K>> {
        let at = std::panic::Location::caller();
        let axes = self.shape().axes(&axes.into_dims(self.rank())).and_then(|axes| {
            match axes.iter().find(|&&a| self.shape()[a] != 1) {
                None => Ok(axes),
                Some(&a) => Err(Error::new(format!("axis {a} has size {}, not 1", self.shape()[a]))),
            }
        });
        let axes = crate::dispatch::in_op("squeeze", &[("input", self.as_any())], at, axes)?;
        let shape: Shape = (0..self.rank()).filter(|a| !axes.contains(a)).map(|a| self.shape()[a]).collect();
        apply1(&RESHAPE, attrs! { shape: &shape[..] }, &mut [self.into()]).map(|t| t.called("squeeze", at))
    }
}
