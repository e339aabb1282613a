//! Picking by index. Its gradient is adding by index, see `scatter`.
//!
//! An index is a position from the start of its axis. One outside, which a negative one is too, is an error: it
//! would more often be a mistake in the data than a wish to count from the end.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::gather;
use crate::kind::{Int, Kind};
use crate::ops::cast::cast;
use crate::ops::elementwise::demand_float;
use crate::ops::scatter::{INDEX_ADD, SCATTER_ADD};
use crate::ops::shape::{dense, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&GATHER, &INDEX_SELECT, &EMBEDDING];

/// The indices as a dense tensor of `I64`.
fn dense_index(index: &AnyTensor) -> Result<AnyTensor> {
    Ok(dense(cast(index.int()?.as_any(), DType::I64)))
}

/// The indices as a dense tensor of `I64`, each a position of an axis of that size.
pub(super) fn checked_index(index: &AnyTensor, axis: usize, size: usize) -> Result<AnyTensor> {
    let index = dense_index(index)?;
    none_wrong(gather::outside(positions(&index), size), &index, axis, size)?;
    Ok(index)
}

/// The error where an index, given by its place, is not a position of an axis of that size.
pub(super) fn none_wrong(wrong: Option<usize>, index: &AnyTensor, axis: usize, size: usize) -> Result<()> {
    let (at, Some(wrong)) = (positions(index), wrong) else { return Ok(()) };
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

pub(super) fn positions(index: &AnyTensor) -> &[i64] {
    &index.storage().slice::<i64>()[..index.elements()]
}

/// Fills a dense tensor of `shape` with what `kernel` picks from `x`.
macro_rules! picked {
    ($x:expr, $shape:expr, |$out:ident, $elements:ident, $par:ident| $kernel:expr) => {{
        let (x, shape): (&AnyTensor, Shape) = ($x, $shape);
        let n = shape.elements();
        let storage = with_dtype!(moved x.dtype(), T => Storage::filled(n, |$out: &mut [T]| {
            let ($elements, $par) = (x.storage().slice::<T>(), &Par::of(n));
            $kernel
        }));
        one(AnyTensor::dense(storage, shape, x.dtype()))
    }};
}

/// The axis and the index, not yet checked, of an operation whose inputs are a tensor, one index for each element that is
/// picked from it or put into it, and where there are three, what is put in.
pub(super) fn axis_and_index(call: &Call<'_, '_>) -> Result<(usize, AnyTensor)> {
    let (x, index) = (call.input(0).shape(), call.input(1).shape());
    let axis = x.axis(call.attrs().int("axis"))?;
    if call.len() > 2 && call.input(2).shape() != index {
        return Err(Error::new(format!("the index has shape {index}, src {}", call.input(2).shape()))
            .help("give one index for each element of src"));
    }
    if index.rank() != x.rank() {
        let e = Error::new(format!("the index has rank {}, the input rank {}", index.rank(), x.rank()));
        return Err(e.help(match call.len() {
            2 => "give one index for each element of the result; index_select takes whole slices",
            _ => "give one index for each element of src; index_add adds whole slices",
        }));
    }
    if let Some(a) = (0..x.rank()).find(|&a| a != axis && index[a] > x[a]) {
        let e = Error::new(format!("the index has size {} on axis {a}, the input only {}", index[a], x[a]));
        return Err(e.help(format!("on every axis but {axis}, the index must not be larger than the input")));
    }
    Ok((axis, dense_index(call.input(1))?))
}

/// An axis of `x`, and an index that may be used with it element by element.
pub(super) fn sample_index(g: &mut Gen, x: &Shape) -> (isize, AnyTensor) {
    let axis = g.below(x.rank());
    let mut shape = x.clone();
    for (a, s) in shape.iter_mut().enumerate() {
        *s = if a == axis { if *s == 0 { 0 } else { g.below(6) } } else { *s - g.below(2).min(*s) };
    }
    let index = g.ints(&shape, 0, x[axis].max(1) as i64);
    (if g.below(2) == 0 { axis as isize } else { axis as isize - x.rank() as isize }, index)
}

pub(super) fn ints<const N: usize>(values: [i64; N]) -> AnyTensor {
    Tensor::<Int>::from_slice(&values, [N]).into()
}

/// The operation of [`Tensor::gather`].
pub(crate) static GATHER: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let (axis, index) = axis_and_index(call)?;
        let (shape, mut wrong) = (index.shape(), None);
        let picked = picked!(x, shape.clone(), |out, elements, par| {
            wrong = gather::gather(out, shape, elements, x.layout(), axis, positions(&index), par);
        });
        none_wrong(wrong, &index, axis, x.shape()[axis])?;
        picked
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

/// `x` with the index's shape in the place of `axis`.
pub(super) fn with_index_shape(x: &Shape, axis: usize, index: &Shape) -> Shape {
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

pub(super) fn sample_select(g: &mut Gen) -> (Shape, isize, AnyTensor) {
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

/// The operation of [`Tensor::embedding`].
pub(crate) static EMBEDDING: Op = {
    fn padding(attrs: &Attrs) -> Option<isize> {
        attrs.get("padding_idx").map(|_| attrs.int("padding_idx"))
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let table = call.input(0);
        demand_float(table.dtype())?;
        let (shape, rows) = (table.shape(), table.shape().first().copied().unwrap_or(0));
        if shape.rank() == 0 {
            return Err(Error::new("the table has rank 0").help("a table is [words, features]"));
        }
        if let Some(row) = padding(call.attrs()).filter(|&p| p < 0 || p as usize >= rows) {
            let e = Error::new(format!("padding_idx {row} is no row of the table, which has {rows}"));
            return Err(e.kind_of(ErrorKind::Index));
        }
        let index = checked_index(call.input(1), 0, rows)?;
        let shape = with_index_shape(shape, 0, index.shape());
        let shape = checked_shape(&shape.iter().map(|&s| s as isize).collect::<Vec<_>>())?;
        picked!(table, shape, |out, elements, par| {
            gather::index_select(out, elements, table.layout(), 0, positions(&index), par)
        })
    }
    Op {
        name: "embedding",
        operands: &["table", "index"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (mut g, index) = (cx.g(), cx.input::<Int>(1));
                if let Some(row) = padding(cx.attrs()) {
                    let mut shape = index.shape().clone();
                    (index.rank()..g.rank()).for_each(|_| shape.push(1));
                    let zero = Tensor::full_dtype([0usize; 0], 0.0, g.dtype());
                    g = index.ne(row as i64).reshape(&shape).where_(&g, &zero);
                }
                cx.give_into(0, &INDEX_ADD, attrs! { axis: 0 }, [index.into(), g.into()]);
            },
        },
        info: || OpInfo {
            family: Family::Gather,
            numpy: "",
            torch: "nn.functional.embedding",
            precisions: FLOATS,
            samples: |g| {
                let table: Shape = [1 + g.below(4), 1 + g.below(3)].into();
                let shape = g.shape(0, 2);
                let index = g.ints(&shape, 0, table[0] as i64);
                vec![Sample::new([g.numbers(&table, -2.0, 2.0), index], Attrs::NONE)]
            },
            specials: |g| {
                // The row of the padding is read, and gets no gradient.
                let table = g.tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2].into());
                let call = Sample::new([table, ints([1, 0, 1])], attrs! { padding_idx: 0 });
                vec![call.with_gradient([vec![0.0, 0.0, 2.0, 2.0], vec![]])]
            },
            misuses: || {
                let table: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new(
                        [table.clone(), ints([0, 2])],
                        Attrs::NONE,
                        "index 2 at position [1] is out of range for axis 0 of size 2",
                    ),
                    Misuse::new([table.clone(), ints([0])], attrs! { padding_idx: 2 }, "padding_idx 2 is no row"),
                    Misuse::new([Tensor::zeros(()).into(), ints([0])], Attrs::NONE, "the table has rank 0"),
                    Misuse::new([table.clone(), table], Attrs::NONE, "expected a tensor of kind Int"),
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

        /// [`gather`](Self::gather) with NumPy's rule for the other axes: there, sizes of 1 of either tensor broadcast.
        /// It takes what `argsort` and `argmax_keepdim` give.
        ///
        /// # Panics
        /// If an index is not a position of the axis (a negative one is not), the ranks differ, or sizes on another
        /// axis differ and neither is 1.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[3.0, 1.0], [2.0, 4.0]];
        /// assert_eq!(x.take_along_axis(&x.argsort(1, false), 1).to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
        /// assert_eq!(x.take_along_axis(&tensor![[1]], 1).to_vec::<f32>(), [1.0, 4.0]);
        /// ```
        pub fn take_along_axis / try_take_along_axis(&self, index: &Tensor<Int>, axis: isize) -> Tensor<K> {
            let at = std::panic::Location::caller();
            let (x, i) = (self.shape(), index.shape());
            let shapes = x.axis(axis).and_then(|axis| {
                if i.rank() != x.rank() {
                    return Err(Error::new(format!("the index has rank {}, the input rank {}", i.rank(), x.rank())));
                }
                let with = |shape: &Shape, size: usize| {
                    let mut shape = shape.clone();
                    shape[axis] = size;
                    shape
                };
                let others = with(x, 1).broadcast(&with(i, 1))?;
                Ok((with(&others, x[axis]), with(&others, i[axis])))
            });
            let operands = [("input", self.as_any()), ("index", index.as_any())];
            let (x, i) = in_op("take_along_axis", &operands, at, shapes)?;
            Ok(self.try_expand(&x)?.try_gather(axis, &index.try_expand(&i)?)?.called("take_along_axis", at))
        }
    }
}

twin! {
    impl [] Tensor {
        /// The rows of this table that `index`, of any shape, names: a table `[words, features]` and an index
        /// `[batch, time]` give `[batch, time, features]`. The gradient is added up row by row.
        ///
        /// The row `padding_idx` gets no gradient, so that what stands for nothing stays as it was initialised.
        ///
        /// # Panics
        /// If an index, or `padding_idx`, is not the number of a row.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let table = tensor![[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]];
        /// let words = table.embedding(&tensor![[2, 0], [1, 1]], Some(0));
        /// assert_eq!(words.shape().to_string(), "[2, 2, 2]");
        /// assert_eq!(words.i(0).to_vec::<f32>(), [3.0, 4.0, 0.0, 0.0]);
        /// ```
        pub fn embedding / try_embedding(&self, index: &Tensor<Int>, padding_idx: Option<usize>) -> Tensor {
            let attrs = padding_idx.map_or(Attrs::NONE, |row| attrs! { padding_idx: row });
            apply1(&EMBEDDING, attrs, &mut [self.into(), index.into()])
        }
    }
}
