//! Picking by index, and its reverse, adding by index. Each is the gradient of the other.
//!
//! An index is a position from the start of its axis. One outside, which a negative one is too, is an error: it
//! would more often be a mistake in the data than a wish to count from the end.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Needs, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{gather, scatter};
use crate::kind::{Int, Kind, Numeric};
use crate::ops::cast::cast;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::{copied, dense, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&GATHER, &SCATTER_ADD, &INDEX_SELECT, &INDEX_ADD];

/// The indices as a dense tensor of `I64`, each a position of an axis of that size.
fn checked_index(index: &AnyTensor, axis: usize, size: usize) -> Result<AnyTensor> {
    let index = dense(cast(index.int()?.as_any(), DType::I64));
    let at = positions(&index);
    let Some(wrong) = gather::outside(at, size) else { return Ok(index) };
    let mut place = index.shape().clone();
    let mut rest = wrong;
    for p in place.iter_mut().rev() {
        (*p, rest) = (rest % *p, rest / *p);
    }
    let place = if place.rank() == 0 { String::new() } else { format!(" at position {place}") };
    let e = Error::new(format!("index {}{place} is out of range for axis {axis} of size {size}", at[wrong]));
    Err(e.kind_of(ErrorKind::Index).help(match (size, at[wrong] < 0) {
        (0, _) => "the axis is empty: no index is valid".into(),
        (_, true) => format!("indices are 0 to {}; negative ones do not count from the end here", size - 1),
        _ => format!("valid indices are 0 to {}", size - 1),
    }))
}

fn positions(index: &AnyTensor) -> &[i64] {
    &index.storage().slice::<i64>()[..index.elements()]
}

/// Fills a dense tensor of `shape` with what `kernel` picks from `x`.
macro_rules! picked {
    ($x:expr, $shape:expr, |$out:ident, $elements:ident, $par:ident| $kernel:expr) => {{
        let (x, shape): (&AnyTensor, Shape) = ($x, $shape);
        let n = shape.elements();
        let storage = with_dtype!(x.dtype(), T => {
            let mut storage = Storage::stale::<T>(n);
            let $out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            let ($elements, $par) = (x.storage().slice::<T>(), &Par::of(n));
            $kernel;
            storage
        });
        one(AnyTensor::dense(storage, shape, x.dtype()))
    }};
}

/// Input 0, in its own memory where it can be, with what `kernel` adds to it of input 2. 16-bit floats are summed in
/// `F32` and rounded once.
macro_rules! added {
    ($call:expr, |$out:ident, $elements:ident, $par:ident| $kernel:expr) => {{
        let call: &mut Call<'_, '_> = $call;
        let (shape, dtype) = (call.input(0).shape().clone(), call.input(0).dtype());
        let wide = if dtype.is_float() && dtype.size() == 2 { DType::F32 } else { dtype };
        let mut base = match call.reuse(0) {
            Some(storage) => AnyTensor::dense(storage, shape, dtype),
            None => copied(call.input(0)),
        };
        if wide != dtype {
            base = cast(&base, wide);
        }
        let src = dense(cast(call.input(2), wide));
        let n = base.elements();
        with_dtype!(wide wide, T => {
            let $out = &mut base.storage_mut().unique_mut::<T>().expect("reused, copied or cast")[..n];
            let ($elements, $par) = (src.storage().slice::<T>(), &Par::of(src.elements()));
            $kernel;
        });
        one(if wide == dtype { base } else { cast(&base, dtype) })
    }};
}

/// What the rules of both additions read: the index, where the addend needs a gradient.
fn saves_index(needs: Needs) -> Saves {
    if needs.has(2) { Saves::NONE.and_input(1) } else { Saves::NONE }
}

/// Checks that an index goes with a tensor it picks from element by element.
fn check_fits(index: &Shape, x: &Shape, axis: usize) -> Result<()> {
    if index.rank() != x.rank() {
        let e = Error::new(format!("the index has rank {}, the input rank {}", index.rank(), x.rank()));
        return Err(e.help("give one index for each element of the result; index_select takes whole slices"));
    }
    match (0..x.rank()).find(|&a| a != axis && index[a] > x[a]) {
        None => Ok(()),
        Some(a) => Err(Error::new(format!("the index has size {} on axis {a}, the input only {}", index[a], x[a]))
            .help(format!("on every axis but {axis}, the index must not be larger than the input"))),
    }
}

/// An axis of `x`, and an index that may be used with it element by element.
fn sample_index(g: &mut Gen, x: &Shape) -> (isize, AnyTensor) {
    let axis = g.below(x.rank());
    let mut shape = x.clone();
    for (a, s) in shape.iter_mut().enumerate() {
        *s = if a == axis { if *s == 0 { 0 } else { g.below(6) } } else { *s - g.below(2).min(*s) };
    }
    let index = g.ints(&shape, 0, x[axis].max(1) as i64);
    (if g.below(2) == 0 { axis as isize } else { axis as isize - x.rank() as isize }, index)
}

fn ints<const N: usize>(values: [i64; N]) -> AnyTensor {
    Tensor::<Int>::from_slice(&values, [N]).into()
}

/// The operation of [`Tensor::gather`].
pub(crate) static GATHER: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let axis = x.shape().axis(call.attrs().int("axis"))?;
        check_fits(call.input(1).shape(), x.shape(), axis)?;
        let index = checked_index(call.input(1), axis, x.shape()[axis])?;
        let shape = index.shape();
        picked!(x, shape.clone(), |out, elements, par| {
            gather::gather(out, shape, elements, x.layout(), axis, positions(&index), par)
        })
    }
    Op {
        name: "gather",
        operands: &["input", "index"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (g, index, attrs) = (cx.g(), cx.input::<Int>(1), cx.attrs().clone());
                cx.give_into(0, &SCATTER_ADD, attrs, [index.into(), g.into()]);
            },
        },
        info: || OpInfo {
            family: Family::Gather,
            numpy: "take_along_axis",
            torch: "gather",
            precisions: ALL,
            samples: |g| {
                let shape = g.shape(1, 3);
                let (axis, index) = sample_index(g, &shape);
                vec![Sample::new([g.numbers(&shape, -2.0, 2.0), index], attrs! { axis: axis })]
            },
            specials: |g| {
                let x = g.tensor(&[1.0, 2.0, 3.0], &[3].into());
                let twice = Sample::new([x, ints([2, 0, 2, 2])], attrs! { axis: 0 });
                vec![twice.with_gradient([vec![1.0, 0.0, 3.0], vec![]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([3]).into();
                let matrix: AnyTensor = Tensor::zeros([2, 3]).into();
                let wide: AnyTensor = Tensor::<Int>::from_slice(&[0i64; 8], [2, 4]).into();
                vec![
                    Misuse::new(
                        [x.clone(), ints([0, 3])],
                        attrs! { axis: 0 },
                        "index 3 at position [1] is out of range for axis 0 of size 3",
                    ),
                    Misuse::new([x.clone(), ints([-1])], attrs! { axis: 0 }, "negative ones do not count from the end"),
                    Misuse::new([x.clone(), x], attrs! { axis: 0 }, "expected a tensor of kind Int"),
                    Misuse::new([matrix.clone(), ints([0])], attrs! { axis: 0 }, "the index has rank 1"),
                    Misuse::new([matrix, wide], attrs! { axis: 0 }, "the index has size 4 on axis 1, the input only 3"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::scatter_add`].
pub(crate) static SCATTER_ADD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype_of([0, 2])?;
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        let shape = call.input(0).shape().clone();
        let axis = shape.axis(call.attrs().int("axis"))?;
        if call.input(1).shape() != call.input(2).shape() {
            let (index, src) = (call.input(1).shape(), call.input(2).shape());
            return Err(Error::new(format!("the index has shape {index}, what is added {src}"))
                .help("give one index for each element that is added"));
        }
        check_fits(call.input(1).shape(), &shape, axis)?;
        let index = checked_index(call.input(1), axis, shape[axis])?;
        added!(call, |out, elements, par| {
            scatter::scatter_add(out, &shape, axis, (positions(&index), index.shape()), elements, par)
        })
    }
    Op {
        name: "scatter_add",
        operands: &["input", "index", "src"],
        forward,
        gradient: Gradient::Rule {
            saves: saves_index,
            vjp: |cx| {
                let g = cx.g();
                if cx.needs(2) {
                    let picked = g.gather(cx.attrs().int("axis"), &cx.input::<Int>(1));
                    cx.give(2, picked);
                }
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Scatter,
            numpy: "",
            torch: "scatter_add",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(1, 3);
                let (axis, index) = sample_index(g, &shape);
                let src = g.numbers(&index.shape().clone(), -2.0, 2.0);
                vec![Sample::new([g.numbers(&shape, -2.0, 2.0), index, src], attrs! { axis: axis })]
            },
            specials: |g| {
                let (x, src) = (g.tensor(&[1.0, 2.0], &[2].into()), g.tensor(&[3.0, 4.0, 5.0], &[3].into()));
                let same = Sample::new([x, ints([1, 1, 1]), src], attrs! { axis: 0 });
                vec![same.with_gradient([vec![1.0, 1.0], vec![], vec![1.0, 1.0, 1.0]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([3]).into();
                vec![
                    Misuse::new(
                        [x.clone(), ints([0, 1]), x.clone()],
                        attrs! { axis: 0 },
                        "the index has shape [2], what is added [3]",
                    ),
                    Misuse::new(
                        [x.clone(), ints([0, 1, 4]), x.clone()],
                        attrs! { axis: 0 },
                        "index 4 at position [2] is out of range for axis 0 of size 3",
                    ),
                    Misuse::new(
                        [x.clone(), ints([0, 1, 2]), Tensor::zeros([3]).to_dtype(DType::F64).into()],
                        attrs! { axis: 0 },
                        "precisions differ: F32 and F64",
                    ),
                    Misuse::new([x.clone(), ints([0, 1, 2]), x], attrs! { axis: 1 }, "axis 1 is out of range"),
                ]
            },
        },
    }
};

/// `x` with the index's shape in the place of `axis`.
fn with_index_shape(x: &Shape, axis: usize, index: &Shape) -> Shape {
    x[..axis].iter().chain(index.iter()).chain(&x[axis + 1..]).copied().collect()
}

/// The operation of [`Tensor::index_select`].
pub(crate) static INDEX_SELECT: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let axis = x.shape().axis(call.attrs().int("axis"))?;
        let index = checked_index(call.input(1), axis, x.shape()[axis])?;
        let shape = with_index_shape(x.shape(), axis, index.shape());
        let shape = checked_shape(&shape.iter().map(|&s| s as isize).collect::<Vec<_>>())?;
        picked!(x, shape, |out, elements, par| {
            gather::index_select(out, elements, x.layout(), axis, positions(&index), par)
        })
    }
    Op {
        name: "index_select",
        operands: &["input", "index"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (g, index, attrs) = (cx.g(), cx.input::<Int>(1), cx.attrs().clone());
                cx.give_into(0, &INDEX_ADD, attrs, [index.into(), g.into()]);
            },
        },
        info: || OpInfo {
            family: Family::Gather,
            numpy: "take",
            torch: "index_select",
            precisions: ALL,
            samples: |g| {
                let (x, axis, index) = sample_select(g);
                vec![Sample::new([g.numbers(&x, -2.0, 2.0), index], attrs! { axis: axis })]
            },
            specials: |g| {
                let x = g.tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2].into());
                let twice = Sample::new([x, ints([1, 1])], attrs! { axis: 0 });
                vec![twice.with_gradient([vec![0.0, 0.0, 2.0, 2.0], vec![]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                let nested: AnyTensor = Tensor::<Int>::from_slice(&[0i64, 1, 2, 3], [2, 2]).into();
                vec![
                    Misuse::new(
                        [x.clone(), nested],
                        attrs! { axis: 1 },
                        "index 3 at position [1, 1] is out of range for axis 1 of size 3",
                    ),
                    Misuse::new([x.clone(), ints([0])], attrs! { axis: 2 }, "axis 2 is out of range for rank 2"),
                    Misuse::new([x.clone(), x], attrs! { axis: 0 }, "expected a tensor of kind Int"),
                ]
            },
        },
    }
};

fn sample_select(g: &mut Gen) -> (Shape, isize, AnyTensor) {
    let x = g.shape(1, 3);
    let axis = g.below(x.rank());
    let mut shape = g.shape(0, 2);
    if x[axis] == 0 {
        shape = [0].into();
    }
    let index = g.ints(&shape, 0, x[axis].max(1) as i64);
    let axis = if g.below(2) == 0 { axis as isize } else { axis as isize - x.rank() as isize };
    (x, axis, index)
}

/// The operation of [`Tensor::index_add`].
pub(crate) static INDEX_ADD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype_of([0, 2])?;
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        let shape = call.input(0).shape().clone();
        let axis = shape.axis(call.attrs().int("axis"))?;
        let want = with_index_shape(&shape, axis, call.input(1).shape());
        if call.input(2).shape() != &want {
            return Err(Error::new(format!("what is added has shape {}, not {want}", call.input(2).shape())).help(
                format!("it must have the shape of the input, with that of the index in the place of axis {axis}"),
            ));
        }
        let index = checked_index(call.input(1), axis, shape[axis])?;
        let sizes = [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()];
        added!(call, |out, elements, par| { scatter::index_add(out, sizes, positions(&index), elements, par) })
    }
    Op {
        name: "index_add",
        operands: &["input", "index", "src"],
        forward,
        gradient: Gradient::Rule {
            saves: saves_index,
            vjp: |cx| {
                let g = cx.g();
                if cx.needs(2) {
                    let picked = g.index_select(cx.attrs().int("axis"), &cx.input::<Int>(1));
                    cx.give(2, picked);
                }
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Scatter,
            numpy: "",
            torch: "index_add",
            precisions: NUMERIC,
            samples: |g| {
                let (x, axis, index) = sample_select(g);
                let at = x.axis(axis).expect("a valid axis");
                let src = g.numbers(&with_index_shape(&x, at, index.shape()), -2.0, 2.0);
                vec![Sample::new([g.numbers(&x, -2.0, 2.0), index, src], attrs! { axis: axis })]
            },
            specials: |g| {
                let (x, src) = (g.tensor(&[1.0, 2.0], &[2, 1].into()), g.tensor(&[3.0, 4.0, 5.0], &[3, 1].into()));
                let same = Sample::new([x, ints([0, 0, 0]), src], attrs! { axis: 0 });
                vec![same.with_gradient([vec![1.0, 1.0], vec![], vec![1.0, 1.0, 1.0]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new(
                        [x.clone(), ints([0]), x.clone()],
                        attrs! { axis: 0 },
                        "what is added has shape [2, 3], not [1, 3]",
                    ),
                    Misuse::new(
                        [x.clone(), ints([0, 2]), x],
                        attrs! { axis: 0 },
                        "index 2 at position [1] is out of range for axis 0 of size 2",
                    ),
                ]
            },
        },
    }
};

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// The elements that `index` names along `axis`: for two axes and `axis` 0,
        /// `out[i][j] = self[index[i][j]][j]`. The result has the shape of `index`. NumPy's `take_along_axis`.
        ///
        /// # Panics
        /// If an index is not a position of the axis (a negative one is not), or `index` has another rank, or is
        /// larger than this tensor on another axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
        /// let picked = x.gather(1, &tensor![[0, 0], [1, 0]]);
        /// assert_eq!(picked.to_vec::<f32>(), [1.0, 1.0, 4.0, 3.0]);
        /// ```
        pub fn gather / try_gather(&self, axis: isize, index: &Tensor<Int>) -> Tensor<K> {
            apply1(&GATHER, attrs! { axis: axis }, &mut [self.into(), index.into()])
        }

        /// The slices that `index` names along `axis`. The index's shape takes the place of the axis: an index of
        /// rank 1 keeps it with another size, one of rank 0 drops it, and a table `[words, features]` indexed by
        /// `[batch, time]` along axis 0 gives `[batch, time, features]`. NumPy's `take`.
        ///
        /// # Panics
        /// If an index is not a position of the axis; a negative one is not.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        /// assert_eq!(x.index_select(0, &tensor![2, 0]).to_vec::<f32>(), [5.0, 6.0, 1.0, 2.0]);
        /// let e = x.try_index_select(0, &tensor![0, 3]).unwrap_err();
        /// assert_eq!(e.message(), "index 3 at position [1] is out of range for axis 0 of size 3");
        /// ```
        pub fn index_select / try_index_select(&self, axis: isize, index: &Tensor<Int>) -> Tensor<K> {
            apply1(&INDEX_SELECT, attrs! { axis: axis }, &mut [self.into(), index.into()])
        }
    }
}

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// This tensor with each element of `src` added at the place along `axis` that `index` names: for two axes
        /// and `axis` 0, `out[index[i][j]][j] += src[i][j]`. The reverse of [`gather`](Self::gather).
        ///
        /// Additions to one place are made in the order of `src`, with the same bits for any number of threads.
        ///
        /// # Panics
        /// If an index is not a position of the axis (a negative one is not), `index` and `src` differ in shape,
        /// they have another rank than this tensor, or are larger than it on another axis.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, tensor};
        /// let counts = Tensor::zeros([3]).scatter_add(0, &tensor![0, 2, 2, 2], &Tensor::ones([4]));
        /// assert_eq!(counts.to_vec::<f32>(), [1.0, 0.0, 3.0]);
        /// ```
        pub fn scatter_add / try_scatter_add(&self, axis: isize, index: &Tensor<Int>, src: &Tensor<K>) -> Tensor<K> {
            apply1(&SCATTER_ADD, attrs! { axis: axis }, &mut [self.into(), index.into(), src.into()])
        }

        /// This tensor with the slices of `src` added to those that `index` names along `axis`: for two axes and
        /// `axis` 0, `out[index[i]][j] += src[i][j]`. The reverse of [`index_select`](Self::index_select).
        ///
        /// `src` has the shape of this tensor with that of `index` in the place of the axis. Additions to one place
        /// are made in the order of `src`, with the same bits for any number of threads.
        ///
        /// # Panics
        /// If an index is not a position of the axis (a negative one is not), or `src` has another shape.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, tensor};
        /// let src = tensor![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        /// let sums = Tensor::zeros([2, 2]).index_add(0, &tensor![1, 1, 0], &src);
        /// assert_eq!(sums.to_vec::<f32>(), [5.0, 6.0, 4.0, 6.0]);
        /// ```
        pub fn index_add / try_index_add(&self, axis: isize, index: &Tensor<Int>, src: &Tensor<K>) -> Tensor<K> {
            apply1(&INDEX_ADD, attrs! { axis: axis }, &mut [self.into(), index.into(), src.into()])
        }
    }
}
