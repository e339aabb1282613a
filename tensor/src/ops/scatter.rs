//! Putting and adding by index: the reverse of picking, see `gather`.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Needs, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, Result};
use crate::kernels::scatter;
use crate::kind::{Int, Kind, Numeric};
use crate::ops::cast::cast;
use crate::ops::elementwise::unsupported;
use crate::ops::gather::{
    axis_and_index, checked_index, ints, none_wrong, positions, sample_index, sample_select, with_index_shape,
};
use crate::ops::shape::{dense, one, owned};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::Shape;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SCATTER, &SCATTER_ADD, &INDEX_ADD];

/// Input 0, in its own memory where it can be, with what `kernel` adds to it of input 2. 16-bit floats are summed in
/// `F32` and rounded once.
macro_rules! added {
    ($call:expr, |$out:ident, $src:ident, $par:ident| $kernel:expr) => {{
        let call: &mut Call<'_, '_> = $call;
        let dtype = call.input(0).dtype();
        let wide = if dtype.is_float() && dtype.size() == 2 { DType::F32 } else { dtype };
        let mut base = owned(call);
        if wide != dtype {
            base = cast(&base, wide);
        }
        let src = cast(call.input(2), wide);
        let n = base.elements();
        with_dtype!(wide wide, T => {
            let $out = &mut base.storage_mut().unique_mut::<T>().expect("reused, copied or cast")[..n];
            let ($src, $par) = (src, &Par::of(call.input(2).elements()));
            $kernel;
        });
        if wide == dtype { base } else { cast(&base, dtype) }
    }};
}

/// What the rules of both additions read: the index, where the addend needs a gradient.
fn saves_index(needs: Needs) -> Saves {
    if needs.has(2) { Saves::NONE.and_input(1) } else { Saves::NONE }
}

/// The operation of [`Tensor::scatter`].
pub(crate) static SCATTER: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        call.same_dtype_of([0, 2])?;
        let (axis, index) = axis_and_index(call)?;
        let (mut base, src) = (owned(call), call.input(2));
        let (n, shape) = (base.elements(), base.shape().clone());
        let wrong = with_dtype!(moved base.dtype(), T => {
            let out = &mut base.storage_mut().unique_mut::<T>().expect("reused or copied")[..n];
            let (at, src) = ((positions(&index), index.shape()), (src.storage().slice::<T>(), src.layout()));
            scatter::scatter(out, &shape, axis, at, src, |_, new| new, &Par::of(index.elements()))
        });
        none_wrong(wrong, &index, axis, shape[axis])?;
        one(base)
    }
    Op {
        name: "scatter",
        operands: &["input", "index", "src"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (g, axis, index) = (cx.g(), cx.attrs().int("axis"), cx.input::<Int>(1));
                if cx.needs(2) {
                    // Of several elements put to one place, the last stays: it alone gets the gradient. Numbered along
                    // the axis, it is the one whose number is found there.
                    let size = index.size(axis);
                    let dtype = if size < i32::MAX as usize { DType::I32 } else { DType::I64 };
                    let mut line: Shape = index.shape().iter().map(|_| 1).collect();
                    let at = line.axis(axis).expect("an axis of the index");
                    line[at] = size;
                    let numbers = Int::arange(0, size as i64).to_dtype(dtype).reshape(&line).expand(index.shape());
                    let there = Int::zeros(()).to_dtype(dtype).expand(g.shape()).scatter(axis, &index, &numbers);
                    let stays = there.gather(axis, &index).eq(&numbers);
                    let zero = Tensor::full_dtype([0usize; 0], 0.0, g.dtype());
                    cx.give(2, stays.where_(&g.gather(axis, &index), &zero));
                }
                if cx.needs(0) {
                    let zeros = Tensor::full_dtype([0usize; 0], 0.0, g.dtype()).expand(index.shape());
                    cx.give(0, g.scatter(axis, &index, &zeros));
                }
            },
        },
        info: || OpInfo {
            family: Family::Scatter,
            numpy: "put_along_axis",
            torch: "scatter",
            precisions: ALL,
            samples: |g| {
                let shape = g.shape(1, 3);
                let (axis, index) = sample_index(g, &shape);
                let src = g.numbers(&index.shape().clone(), -2.0, 2.0);
                vec![Sample::new([g.numbers(&shape, -2.0, 2.0), index, src], attrs! { axis: axis })]
            },
            specials: |g| {
                let (x, src) = (g.tensor(&[1.0, 2.0], &[2].into()), g.tensor(&[3.0, 4.0, 5.0], &[3].into()));
                let same = Sample::new([x, ints([1, 1, 1]), src], attrs! { axis: 0 });
                vec![same.with_gradient([vec![1.0, 0.0], vec![], vec![0.0, 0.0, 1.0]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([3]).into();
                vec![
                    Misuse::new(
                        [x.clone(), ints([0, 1]), x.clone()],
                        attrs! { axis: 0 },
                        "the index has shape [2], src [3]",
                    ),
                    Misuse::new(
                        [x.clone(), ints([0, -1, 4]), x.clone()],
                        attrs! { axis: 0 },
                        "index -1 at position [1] is out of range for axis 0 of size 3",
                    ),
                    Misuse::new(
                        [x.clone(), ints([0, 1, 2]), Tensor::zeros([3]).to_dtype(DType::F64).into()],
                        attrs! { axis: 0 },
                        "precisions differ: F32 and F64",
                    ),
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
        let (axis, index) = axis_and_index(call)?;
        let shape = call.input(0).shape().clone();
        let at = (positions(&index), index.shape());
        let wrong;
        let sum = added!(call, |out, src, par| {
            let src = (src.storage().slice(), src.layout());
            wrong = scatter::scatter(out, &shape, axis, at, src, Element::plus, par);
        });
        none_wrong(wrong, &index, axis, shape[axis])?;
        one(sum)
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
                        "the index has shape [2], src [3]",
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
        one(added!(call, |out, src, par| {
            scatter::index_add(out, sizes, positions(&index), dense(src).storage().slice(), par);
        }))
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
        /// This tensor with each element of `src` put to the place along `axis` that `index` names: for two axes and
        /// `axis` 0, `out[index[i][j]][j] = src[i][j]`. NumPy's `put_along_axis`.
        ///
        /// Where several elements go to one place, the last in the order of `src` stays, and it alone gets a gradient.
        ///
        /// # Panics
        /// If an index is not a position of the axis (a negative one is not), `index` and `src` differ in shape,
        /// they have another rank than this tensor, or are larger than it on another axis.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, tensor};
        /// let x = Tensor::zeros([3]).scatter(0, &tensor![2, 0, 2], &tensor![1.0, 2.0, 3.0]);
        /// assert_eq!(x.to_vec::<f32>(), [2.0, 0.0, 3.0]);
        /// ```
        pub fn scatter / try_scatter(&self, axis: isize, index: &Tensor<Int>, src: &Tensor<K>) -> Tensor<K> {
            apply1(&SCATTER, attrs! { axis: axis }, &mut [self.into(), index.into(), src.into()])
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
