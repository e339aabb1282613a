//! Order: sorting along an axis, and where the largest and the smallest are.
//!
//! NaN counts as larger than every number when sorting. It wins both searches, so that it is not overlooked.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::sort;
use crate::kind::{Bool, Int, Numeric};
use crate::ops::elementwise::unsupported;
use crate::ops::scatter::SCATTER_ADD;
use crate::ops::shape::{dense, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SORT, &ARGMAX, &ARGMIN];

/// `x` with `axis` as the last one, dense: its lanes lie one after another.
pub(super) fn lanes(x: &AnyTensor, axis: usize) -> AnyTensor {
    let order: SmallVec<[usize; 4]> = (0..x.rank()).filter(|&a| a != axis).chain([axis]).collect();
    dense(x.view(x.layout().permute(&order)))
}

/// The reverse of [`lanes`].
pub(super) fn from_lanes(x: AnyTensor, axis: usize) -> AnyTensor {
    let last = x.rank() - 1;
    let order: SmallVec<[usize; 4]> = (0..axis).chain([last]).chain(axis..last).collect();
    dense(x.view(x.layout().permute(&order)))
}

/// The operation of [`Tensor::sort`]: sorted values, and the positions they had.
pub(crate) static SORT: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        let dtype = x.dtype();
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        let axis = x.shape().axis(call.attrs().int("axis"))?;
        let (n, size, descending) = (x.elements(), x.shape()[axis], call.attrs().bool("descending"));
        let (x, par) = (lanes(x, axis), Par::of(n));
        let mut places = Storage::stale::<i64>(n);
        let at = &mut places.unique_mut::<i64>().expect("a fresh buffer is unique")[..n];
        let values = with_dtype!(dtype, T => {
            let elements = &x.storage().slice::<T>()[..n];
            sort::argsort::<T>(at, elements, size, descending, &par);
            Storage::filled(n, |out: &mut [T]| sort::pick(out, elements, size, at, size, &par))
        });
        let values = AnyTensor::dense(values, x.shape().clone(), dtype);
        let places = AnyTensor::dense(places, x.shape().clone(), DType::I64);
        Ok(Outputs::from([from_lanes(values, axis), from_lanes(places, axis)]))
    }
    Op {
        name: "sort",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_output(1),
            vjp: |cx| {
                let (g, places) = (cx.g(), cx.output::<Int>(1));
                cx.give_into(0, &SCATTER_ADD, attrs! { axis: cx.attrs().int("axis") }, [places.into(), g.into()]);
            },
        },
        info: || OpInfo {
            family: Family::Sort,
            numpy: "sort",
            torch: "sort",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(1, 3);
                let axis = g.below(shape.rank()) as isize - if g.below(2) == 0 { shape.rank() as isize } else { 0 };
                vec![Sample::new([g.distinct(&shape)], attrs! { axis: axis, descending: g.below(2) == 0 })]
            },
            specials: |g| {
                let ties = g.tensor(&[2.0, 1.0, 2.0, 1.0], &[4].into());
                vec![
                    Sample::new([ties.clone()], attrs! { axis: 0, descending: false }).with_gradient([vec![1.0; 4]]),
                    Sample::new([ties], attrs! { axis: 0, descending: true }).with_gradient([vec![1.0; 4]]),
                ]
            },
            misuses: || {
                let (x, mask): (AnyTensor, AnyTensor) = (Tensor::zeros([2]).into(), Bool::ones([2]).into());
                vec![
                    Misuse::new([x], attrs! { axis: 1 }, "axis 1 is out of range for rank 1"),
                    Misuse::new([mask], attrs! { axis: 0 }, "precision Bool is not supported"),
                ]
            },
        },
    }
};

impl<K: Numeric> Tensor<K> {
    /// The elements in order along `axis`, and the positions that they had. Equal elements keep their order. NaN comes
    /// last, first if `descending`.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, positions) = tensor![3.0, 1.0, 2.0].sort(0, false);
    /// assert_eq!(values.to_vec::<f32>(), [1.0, 2.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i64>(), [1, 2, 0]);
    /// ```
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> (Tensor<K>, Tensor<Int>) {
        or_panic(self.try_sort(axis, descending))
    }

    /// Fallible form of [`sort`](Self::sort).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_sort(&self, axis: isize, descending: bool) -> Result<(Tensor<K>, Tensor<Int>)> {
        let attrs = attrs! { axis: axis, descending: descending };
        let [values, positions] = apply(&SORT, attrs, &mut [self.into()])?.into_array();
        Ok((values.downcast()?, positions.downcast()?))
    }

    /// The positions along `axis` that put the elements in order: the second result of [`sort`](Self::sort).
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, 1.0, 2.0].argsort(0, true).to_vec::<i64>(), [0, 2, 1]);
    /// ```
    #[track_caller]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor<Int> {
        self.sort(axis, descending).1
    }

    /// Fallible form of [`argsort`](Self::argsort).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_argsort(&self, axis: isize, descending: bool) -> Result<Tensor<Int>> {
        Ok(self.try_sort(axis, descending)?.1)
    }
}

/// The position of an extreme along the attribute `axis`, or among all elements where that is not given.
fn position(call: &Call<'_, '_>, largest: bool) -> Result<Outputs> {
    let (x, attrs) = (call.input(0), call.attrs());
    if x.dtype() == DType::Bool {
        return Err(unsupported(x.dtype()).help("convert first: mask.to_int()"));
    }
    let axis = attrs.get("axis").map(|_| x.shape().axis(attrs.int("axis"))).transpose()?;
    let (n, mut shape) = (axis.map_or(x.elements(), |a| x.shape()[a]), x.shape().clone());
    match axis {
        None => shape = [].into(),
        Some(axis) if attrs.bool("keepdim") => shape[axis] = 1,
        Some(axis) => {
            shape.remove(axis);
        }
    }
    let count = shape.elements();
    if n == 0 && count > 0 {
        let e = match axis {
            Some(axis) => format!("axis {axis} of shape {} is empty", x.shape()),
            None => format!("shape {} has no elements", x.shape()),
        };
        return Err(Error::new(e).help("there is no largest or smallest of no elements"));
    }
    let mut storage = Storage::stale::<i64>(count);
    let out = &mut storage.unique_mut::<i64>().expect("a fresh buffer is unique")[..count];
    if count > 0 {
        let lanes = axis.map_or_else(|| dense(x.clone()), |axis| lanes(x, axis));
        with_dtype!(x.dtype(), T => {
            let elements = &lanes.storage().slice::<T>()[..x.elements()];
            sort::extreme::<T>(out, elements, n, largest, &Par::of(x.elements()));
        });
    }
    one(AnyTensor::dense(storage, shape, DType::I64))
}

/// Defines the search for an extreme.
macro_rules! arg_extreme {
    (
        $OP:ident, $name:literal, $largest:literal, $what:literal, $example:literal,
        $all:ident / $try_all:ident, $axis:ident / $try_axis:ident, $keepdim:ident / $try_keepdim:ident
    ) => {
        #[doc = concat!("The operation of [`Tensor::", $name, "`].")]
        pub(crate) static $OP: Op = Op {
            name: $name,
            operands: &["input"],
            forward: |call| position(call, $largest),
            gradient: Gradient::NotFloat,
            info: || OpInfo {
                family: Family::Sort,
                numpy: $name,
                torch: $name,
                precisions: NUMERIC,
                samples: |g| {
                    let shape = g.full_shape(1, 3);
                    let axis = g.below(shape.rank());
                    let x = g.distinct(&shape);
                    let attrs = [Attrs::NONE, attrs! { axis: axis }, attrs! { axis: axis, keepdim: true }];
                    vec![Sample::new([x], g.pick(&attrs))]
                },
                specials: |_| Vec::new(),
                misuses: || {
                    let x: AnyTensor = Tensor::zeros([2, 0]).into();
                    vec![
                        Misuse::new([x.clone()], attrs! { axis: 1 }, "axis 1 of shape [2, 0] is empty"),
                        Misuse::new([x.clone()], Attrs::NONE, "shape [2, 0] has no elements"),
                        Misuse::new([x], attrs! { axis: 2 }, "axis 2 is out of range for rank 2"),
                        Misuse::new([Bool::ones([2]).into()], Attrs::NONE, "precision Bool is not supported"),
                    ]
                },
            },
        };

        twin! {
            impl [<K: Numeric>] Tensor<K> {
                #[doc = concat!("The position of the ", $what, " element among all in row-major order, as a tensor of rank 0: the")]
                /// first of ties, and the first NaN if there is one.
                ///
                /// # Panics
                /// If there are no elements.
                ///
                /// ```
                /// use wengert_tensor::tensor;
                #[doc = concat!("assert_eq!(tensor![[1.0, 4.0], [4.0, 1.0]].", $name, "().item(), ", $example, ");")]
                /// ```
                pub fn $all / $try_all(&self) -> Tensor<Int> {
                    apply1(&$OP, Attrs::NONE, &mut [self.into()])
                }

                #[doc = concat!("The positions of the ", $what, " elements along `axis`, which is dropped: the first of ties, and the first")]
                /// NaN if there is one.
                ///
                /// # Panics
                /// If there is no such axis, or it is empty.
                ///
                /// ```
                /// use wengert_tensor::tensor;
                #[doc = concat!("assert_eq!(tensor![[1.0, 4.0], [4.0, 1.0]].", $name, "_axis(0).to_vec::<i64>(), [", $example, ", 1 - ", $example, "]);")]
                /// ```
                pub fn $axis / $try_axis(&self, axis: isize) -> Tensor<Int> {
                    apply1(&$OP, attrs! { axis: axis }, &mut [self.into()])
                }

                #[doc = concat!("[`", stringify!($axis), "`](Self::", stringify!($axis), ") with the axis kept as size 1, as [`gather`](Self::gather) wants it.")]
                ///
                /// # Panics
                /// If there is no such axis, or it is empty.
                ///
                /// ```
                /// use wengert_tensor::tensor;
                #[doc = concat!("assert_eq!(tensor![[1.0, 4.0]].", $name, "_keepdim(1).to_vec::<i64>(), [", $example, "]);")]
                /// ```
                pub fn $keepdim / $try_keepdim(&self, axis: isize) -> Tensor<Int> {
                    apply1(&$OP, attrs! { axis: axis, keepdim: true }, &mut [self.into()])
                }
            }
        }
    };
}
arg_extreme!(
    ARGMAX,
    "argmax",
    true,
    "largest",
    "1",
    argmax / try_argmax,
    argmax_axis / try_argmax_axis,
    argmax_keepdim / try_argmax_keepdim
);
arg_extreme!(
    ARGMIN,
    "argmin",
    false,
    "smallest",
    "0",
    argmin / try_argmin,
    argmin_axis / try_argmin_axis,
    argmin_keepdim / try_argmin_keepdim
);
