//! Reductions over axes.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::fold::{self, Fold, FoldFloats, Max, Min, Product, Sum};
use crate::kernels::reduce;
use crate::kind::{Float, Numeric};
use crate::layout::Layout;
use crate::ops::elementwise::unsupported;
use crate::ops::scan::shifted;
use crate::ops::twin;
use crate::par::{GRAIN, Par};
use crate::registry::{FLOATS, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::{IntoDims, Shape};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SUM, &MEAN, &PROD, &MAX, &MIN];

/// The loops of a reduction, by element type.
struct FoldTable {
    f32: fn() -> Fold<f32>,
    f64: fn() -> Fold<f64>,
    int: Option<IntFolds>,
}

/// The loops for integers.
struct IntFolds {
    i64: fn() -> Fold<i64>,
    i32: fn() -> Fold<i32>,
    u8: fn() -> Fold<u8>,
    i8: fn() -> Fold<i8>,
}

impl FoldTable {
    const fn float<B: FoldFloats>() -> FoldTable {
        FoldTable { f32: fold::floats::<B, f32>, f64: fold::floats::<B, f64>, int: None }
    }
}

trait PickFold<T> {
    fn pick(&self) -> Option<Fold<T>>;
}
macro_rules! pick_fold {
    ($($t:ident)*) => {$(
        impl PickFold<$t> for FoldTable { fn pick(&self) -> Option<Fold<$t>> { self.int.as_ref().map(|t| (t.$t)()) } }
    )*};
}
impl PickFold<f32> for FoldTable {
    fn pick(&self) -> Option<Fold<f32>> {
        Some((self.f32)())
    }
}
impl PickFold<f64> for FoldTable {
    fn pick(&self) -> Option<Fold<f64>> {
        Some((self.f64)())
    }
}
pick_fold!(i64 i32 u8 i8);

/// The axes that a call reduces, and the shape with those axes as size 1.
pub(super) fn reduced(shape: &Shape, attrs: &Attrs) -> Result<(SmallVec<[usize; 4]>, Shape)> {
    let axes = shape.axes(&attrs.ints("axes"))?;
    let mut kept = shape.clone();
    axes.iter().for_each(|&a| kept[a] = 1);
    Ok((axes, kept))
}

/// How many elements each result is reduced from.
pub(super) fn reduced_count(shape: &Shape, attrs: &Attrs) -> Result<usize> {
    Ok(reduced(shape, attrs)?.0.iter().map(|&a| shape[a]).product())
}

/// A reduction over the axes that the attribute `axes` names.
pub(super) struct Reduction {
    /// The layout of the input with the axes that are kept first.
    pub(super) layout: Layout,
    /// How many axes are kept.
    pub(super) kept: usize,
    /// The shape of the result, with reduced axes as size 1 where the attribute `keepdim` is set.
    pub(super) shape: Shape,
}

impl Reduction {
    pub(super) fn of(x: &AnyTensor, attrs: &Attrs) -> Result<Reduction> {
        let (axes, with_ones) = reduced(x.shape(), attrs)?;
        let mut order: SmallVec<[usize; 4]> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
        let kept = order.len();
        let shape = match attrs.bool("keepdim") {
            true => with_ones,
            false => order.iter().map(|&a| x.shape()[a]).collect(),
        };
        order.extend(axes);
        Ok(Reduction { layout: x.layout().permute(&order), kept, shape })
    }
}

/// Folds the axes named by the attributes `axes` and `keepdim`.
fn forward(call: &mut Call<'_, '_>, table: &FoldTable, empty_is_error: bool) -> Result<Outputs> {
    let x = call.input(0);
    let dtype = x.dtype();
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let Reduction { layout, kept, shape } = Reduction::of(x, call.attrs())?;
    let n = shape.elements();
    if empty_is_error && x.elements() == 0 && n > 0 {
        let axes = reduced(x.shape(), call.attrs())?.0;
        return Err(Error::new(format!("the reduced axes {:?} of shape {} are empty", &axes[..], x.shape()))
            .help("there is no largest or smallest of no elements"));
    }
    let storage = with_dtype!(dtype, T => {
        let Some(fold) = PickFold::<<T as Element>::Compute>::pick(table) else { return Err(unsupported(dtype)) };
        Storage::filled(n, |out: &mut [T]| {
            reduce::reduce::<T>(out, x.storage().slice(), &layout, kept, fold, &Par::of(x.elements()));
        })
    });
    Ok(AnyTensor::dense(storage, shape, dtype).into())
}

/// A gradient of a reduction's output, with the reduced axes back as size 1.
pub(super) fn with_axes(cx: &Vjp<'_>, g: &Tensor) -> Tensor {
    let (_, shape) = reduced(cx.input_shape(0), cx.attrs()).expect("checked when it was recorded");
    g.reshape(&shape)
}

pub(super) fn samples_over(g: &mut Gen, x: AnyTensor) -> Vec<Sample> {
    let axes: Vec<isize> = (0..x.rank() as isize).filter(|_| g.below(2) == 0).collect();
    vec![Sample::new([x], attrs! { axes: &axes[..], keepdim: g.below(2) == 0 })]
}

pub(super) fn misuses() -> Vec<Misuse> {
    let x: AnyTensor = Tensor::zeros([2, 3]).into();
    vec![
        Misuse::new([x.clone()], attrs! { axes: [2i64] }, "axis 2 is out of range for rank 2"),
        Misuse::new([x], attrs! { axes: [1i64, -1] }, "axis 1 is named twice"),
    ]
}

/// The operation of [`Tensor::sum`].
pub(crate) static SUM: Op = {
    static TABLE: FoldTable = FoldTable {
        int: Some(IntFolds {
            i64: || fold::ints::<Sum, i64>(0),
            i32: || fold::ints::<Sum, i32>(0),
            u8: || fold::ints::<Sum, u8>(0),
            i8: || fold::ints::<Sum, i8>(0),
        }),
        ..FoldTable::float::<Sum>()
    };
    Op {
        name: "sum",
        operands: &["input"],
        forward: |call| forward(call, &TABLE, false),
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g();
                let g = with_axes(cx, &g).expand(cx.input_shape(0));
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Reduce,
            numpy: "sum",
            torch: "sum",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(0, 3);
                let x = g.numbers(&shape, -2.0, 2.0);
                samples_over(g, x)
            },
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

/// The operation of [`Tensor::mean`].
pub(crate) static MEAN: Op = {
    static TABLE: FoldTable = FoldTable::float::<Sum>();
    Op {
        name: "mean",
        operands: &["input"],
        forward: |call| {
            let dtype = call.input(0).dtype();
            if !dtype.is_float() {
                return Err(unsupported(dtype).help("convert first: x.to_float().mean()"));
            }
            let count = reduced_count(call.input(0).shape(), call.attrs())? as f64;
            // 16-bit floats have no room for the sum of many: it is taken and divided in F32.
            if dtype.size() == 2 {
                let x: Tensor = call.input(0).clone().with_edge(Default::default()).downcast()?;
                let mean = crate::tape::no_grad(|| {
                    let sum: Tensor = apply1(&SUM, call.attrs().clone(), &mut [Arg::from(x.to_dtype(DType::F32))])?;
                    (sum / count).try_to_dtype(dtype)
                })?;
                return Ok(mean.into_any().into());
            }
            let mut out = forward(call, &TABLE, false)?;
            let n = out[0].elements();
            if count == 1.0 {
                return Ok(out);
            }
            with_dtype!(float dtype, T => {
                let sums = &mut out[0].storage_mut().unique_mut::<T>().expect("a fresh buffer is unique")[..n];
                Par::of(n).chunks_mut(sums, GRAIN, |_, sums| {
                    sums.iter_mut().for_each(|s| *s = T::from_f64(s.to_f64() / count));
                });
            });
            Ok(out)
        },
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let count = reduced_count(cx.input_shape(0), cx.attrs()).expect("checked when it was recorded");
                let g = cx.g() / count as f64;
                let g = with_axes(cx, &g).expand(cx.input_shape(0));
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Reduce,
            numpy: "mean",
            torch: "mean",
            precisions: FLOATS,
            samples: |g| {
                let shape = g.shape(0, 3);
                let x = g.numbers(&shape, -2.0, 2.0);
                samples_over(g, x)
            },
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

/// The operation of [`Tensor::prod`].
pub(crate) static PROD: Op = {
    static TABLE: FoldTable = FoldTable {
        int: Some(IntFolds {
            i64: || fold::ints::<Product, i64>(1),
            i32: || fold::ints::<Product, i32>(1),
            u8: || fold::ints::<Product, u8>(1),
            i8: || fold::ints::<Product, i8>(1),
        }),
        ..FoldTable::float::<Product>()
    };
    /// The product of all other elements: of those before, times of those behind. Nothing is divided, so zeros are like
    /// all numbers.
    fn vjp(cx: &mut Vjp<'_>) {
        let (x, g) = (cx.input::<Float>(0), cx.g());
        let (axes, _) = reduced(x.shape(), cx.attrs()).expect("checked when it was recorded");
        let order: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).chain(axes.iter().copied()).collect();
        let mut inverse = vec![0; order.len()];
        order.iter().enumerate().for_each(|(i, &a)| inverse[a] = i);
        let turned = x.permute(&order);
        let mut lanes: Shape = turned.shape()[..x.rank() - axes.len()].into();
        lanes.push(axes.iter().map(|&a| x.shape()[a]).product());
        let flat = turned.reshape(&lanes);
        let before = |x: &Tensor| shifted(x, -1, 1, 1.0).cumprod(-1);
        let others = before(&flat) * before(&flat.flip(-1)).flip(-1);
        let g = others.reshape(turned.shape()).permute(inverse) * with_axes(cx, &g);
        cx.give(0, g);
    }
    Op {
        name: "prod",
        operands: &["input"],
        forward: |call| forward(call, &TABLE, false),
        gradient: Gradient::Rule { saves: |_| Saves::INPUT, vjp },
        info: || OpInfo {
            family: Family::Reduce,
            numpy: "prod",
            torch: "prod",
            precisions: NUMERIC,
            samples: |g| {
                let shape = g.shape(0, 3);
                let x = g.numbers(&shape, -2.0, 2.0);
                samples_over(g, x)
            },
            specials: |g| {
                let mut row = |x: [f64; 3], gradient: [f64; 3]| {
                    let x = g.tensor(&x, &[3].into());
                    Sample::new([x], attrs! { axes: [0i64] }).with_gradient([gradient.to_vec()])
                };
                vec![
                    row([2.0, 0.0, 4.0], [0.0, 8.0, 0.0]),
                    row([0.0, 3.0, 0.0], [0.0, 0.0, 0.0]),
                    row([2.0, 3.0, 4.0], [12.0, 8.0, 6.0]),
                ]
            },
            misuses,
        },
    }
};

/// Defines a reduction to an extreme. Ties share the gradient evenly.
macro_rules! extreme {
    ($OP:ident, $Body:ident, $name:literal, $bound:ident) => {
        #[doc = concat!("The operation of [`Tensor::", $name, "`].")]
        pub(crate) static $OP: Op = {
            static TABLE: FoldTable = FoldTable {
                int: Some(IntFolds {
                    i64: || fold::ints::<$Body, i64>(i64::$bound),
                    i32: || fold::ints::<$Body, i32>(i32::$bound),
                    u8: || fold::ints::<$Body, u8>(u8::$bound),
                    i8: || fold::ints::<$Body, i8>(i8::$bound),
                }),
                ..FoldTable::float::<$Body>()
            };
            Op {
                name: $name,
                operands: &["input"],
                forward: |call| forward(call, &TABLE, true),
                gradient: Gradient::Rule {
                    saves: |_| Saves::INPUT.and_output(0),
                    vjp: |cx| {
                        let (x, y, g) = (cx.input::<Float>(0), cx.output::<Float>(0), cx.g());
                        let (axes, _) = reduced(x.shape(), cx.attrs()).expect("checked when it was recorded");
                        let extreme = x.eq(with_axes(cx, &y)).to_float_as(x.dtype());
                        let axes: Vec<usize> = axes.to_vec();
                        let share = &extreme / extreme.sum_keepdim(&axes);
                        let g = share * with_axes(cx, &g);
                        cx.give(0, g);
                    },
                },
                info: || OpInfo {
                    family: Family::Reduce,
                    numpy: $name,
                    torch: concat!("a", $name),
                    precisions: NUMERIC,
                    samples: |g| {
                        let shape = g.full_shape(0, 3);
                        let x = g.distinct(&shape);
                        samples_over(g, x)
                    },
                    specials: |g| {
                        let tie = g.tensor(&[1.0, 1.0], &[2].into());
                        let rows = g.tensor(&[2.0, 2.0, 2.0, 2.0], &[2, 2].into());
                        vec![
                            Sample::new([tie], attrs! { axes: [0i64] }).with_gradient([vec![0.5, 0.5]]),
                            Sample::new([rows], attrs! { axes: [1i64] }).with_gradient([vec![0.5; 4]]),
                        ]
                    },
                    misuses: || {
                        let mut all = misuses();
                        let empty = Tensor::zeros([2, 0]).into();
                        all.push(Misuse::new(
                            [empty],
                            attrs! { axes: [1i64] },
                            "the reduced axes [1] of shape [2, 0] are empty",
                        ));
                        all
                    },
                },
            }
        };
    };
}
extreme!(MAX, Max, "max", MIN);
extreme!(MIN, Min, "min", MAX);

pub(super) fn all_axes(rank: usize) -> SmallVec<[isize; 4]> {
    (0..rank as isize).collect()
}

/// Defines the methods of a reduction: over all axes, over some, and over some that stay with size 1. In brackets, the
/// attributes that the operation takes beside them.
macro_rules! reduction {
    (
        impl [$($generics:tt)*] $Self:ty => $OP:ident -> $Out:ty, ($($p:ident: $t:ty),*) {
            $(#[$doc:meta])*
            $name:ident / $try_name:ident,
            $(#[$doc_axis:meta])*
            $axis:ident / $try_axis:ident,
            $keepdim:ident / $try_keepdim:ident
        }
    ) => {
        impl $($generics)* $Self {
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self $(, $p: $t)*) -> $Out {
                or_panic(self.$try_name($($p),*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name(&self $(, $p: $t)*) -> Result<$Out> {
                let attrs = attrs! { axes: all_axes(self.rank()) }$(.with(stringify!($p), $p))*;
                apply1(&$OP, attrs, &mut [self.into()])
            }

            $(#[$doc_axis])*
            ///
            /// # Panics
            /// If an axis does not exist, or is named twice.
            #[track_caller]
            pub fn $axis(&self, axes: impl IntoDims $(, $p: $t)*) -> $Out {
                or_panic(self.$try_axis(axes $(, $p)*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($axis), "`](Self::", stringify!($axis), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_axis(&self, axes: impl IntoDims $(, $p: $t)*) -> Result<$Out> {
                let attrs = attrs! { axes: axes.into_dims(self.rank()) }$(.with(stringify!($p), $p))*;
                apply1(&$OP, attrs, &mut [self.into()])
            }

            #[doc = concat!("[`", stringify!($axis), "`](Self::", stringify!($axis), ") with the reduced axes kept as size 1, so that the result broadcasts against this tensor.")]
            ///
            /// # Panics
            /// If an axis does not exist, or is named twice.
            ///
            /// ```
            /// use wengert_tensor::Tensor;
            #[doc = concat!("let y = Tensor::ones([2, 3]).", stringify!($keepdim), "(1", $(", 1.0_", stringify!($t),)* ");")]
            /// assert_eq!(y.shape().to_string(), "[2, 1]");
            /// ```
            #[track_caller]
            pub fn $keepdim(&self, axes: impl IntoDims $(, $p: $t)*) -> $Out {
                or_panic(self.$try_keepdim(axes $(, $p)*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($keepdim), "`](Self::", stringify!($keepdim), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_keepdim(&self, axes: impl IntoDims $(, $p: $t)*) -> Result<$Out> {
                let attrs = attrs! { axes: axes.into_dims(self.rank()), keepdim: true }$(.with(stringify!($p), $p))*;
                apply1(&$OP, attrs, &mut [self.into()])
            }
        }
    };
}
pub(super) use reduction;

reduction! {
    impl [<K: Numeric>] Tensor<K> => SUM -> Tensor<K>, () {
        /// The sum of all elements, as a tensor of rank 0. Integers wrap.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].sum().item(), 10.0);
        /// ```
        sum / try_sum,
        /// The sum over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].sum_axis(0).to_vec::<f32>(), [4.0, 6.0]);
        /// ```
        sum_axis / try_sum_axis,
        sum_keepdim / try_sum_keepdim
    }
}

reduction! {
    impl [] Tensor => MEAN -> Tensor, () {
        /// The mean of all elements, as a tensor of rank 0. NaN for no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].mean().item(), 2.5);
        /// ```
        mean / try_mean,
        /// The mean over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].mean_axis(-1).to_vec::<f32>(), [1.5, 3.5]);
        /// ```
        mean_axis / try_mean_axis,
        mean_keepdim / try_mean_keepdim
    }
}

reduction! {
    impl [<K: Numeric>] Tensor<K> => PROD -> Tensor<K>, () {
        /// The product of all elements, as a tensor of rank 0; 1 for no elements. Integers wrap. The gradient divides by
        /// nothing: it is right with zeros, too.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].prod().item(), 24.0);
        /// ```
        prod / try_prod,
        /// The product over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1, 2], [3, 4]].prod_axis(0).to_vec::<i64>(), [3, 8]);
        /// ```
        prod_axis / try_prod_axis,
        prod_keepdim / try_prod_keepdim
    }
}

reduction! {
    impl [<K: Numeric>] Tensor<K> => MAX -> Tensor<K>, () {
        /// The largest of all elements, as a tensor of rank 0; NaN if any is NaN. Ties share the gradient evenly.
        ///
        /// # Panics
        /// If there are no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].max().item(), 4.0);
        /// ```
        max / try_max,
        /// The largest over one or more axes. Ties share the gradient evenly.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].max_axis(0).to_vec::<f32>(), [3.0, 4.0]);
        /// ```
        max_axis / try_max_axis,
        max_keepdim / try_max_keepdim
    }
}

reduction! {
    impl [<K: Numeric>] Tensor<K> => MIN -> Tensor<K>, () {
        /// The smallest of all elements, as a tensor of rank 0; NaN if any is NaN. Ties share the gradient evenly.
        ///
        /// # Panics
        /// If there are no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].min().item(), 1.0);
        /// ```
        min / try_min,
        /// The smallest over one or more axes. Ties share the gradient evenly.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].min_axis(0).to_vec::<f32>(), [1.0, 2.0]);
        /// ```
        min_axis / try_min_axis,
        min_keepdim / try_min_keepdim
    }
}

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// [`max_axis`](Self::max_axis) by its name in PyTorch and NumPy. Ties share the gradient evenly.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice, or the axes are empty.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 5.0], [3.0, 4.0]].amax(1).to_vec::<f32>(), [5.0, 4.0]);
        /// ```
        pub fn amax / try_amax(&self, axes: impl IntoDims) -> Tensor<K> {
            self.try_max_axis(axes)
        }

        /// [`min_axis`](Self::min_axis) by its name in PyTorch and NumPy. Ties share the gradient evenly.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice, or the axes are empty.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 5.0], [3.0, 4.0]].amin(1).to_vec::<f32>(), [1.0, 3.0]);
        /// ```
        pub fn amin / try_amin(&self, axes: impl IntoDims) -> Tensor<K> {
            self.try_min_axis(axes)
        }
    }
}

impl<K: Numeric> Tensor<K> {
    /// The tensor summed back to a shape that broadcasts to its own: what undoes a broadcast in a gradient.
    ///
    /// # Panics
    /// If `shape` does not broadcast to this tensor's shape.
    ///
    /// ```
    /// use wengert_tensor::{Shape, Tensor};
    /// assert_eq!(Tensor::ones([3, 2]).sum_to(&Shape::from([2])).to_vec::<f32>(), [3.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Tensor<K> {
        if self.shape() == shape {
            return self.clone();
        }
        let lead = self.rank().saturating_sub(shape.rank());
        let axes: Vec<usize> =
            (0..self.rank()).filter(|&a| a < lead || shape[a - lead] == 1 && self.shape()[a] != 1).collect();
        let sum = if axes.is_empty() { self.clone() } else { self.sum_keepdim(&axes) };
        sum.reshape(shape)
    }
}
