//! Logic: of masks element by element, and over axes.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, apply1};
use crate::dtype::DType;
use crate::error::Result;
use crate::kernels::fold::{self, Fold, FoldInts};
use crate::kernels::number::Whole;
use crate::kernels::reduce;
use crate::kernels::{map, zip};
use crate::kind::Bool;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{Family, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, Shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&AND, &OR, &XOR, &NOT, &ANY, &ALL];

/// Defines logic on masks that broadcast.
macro_rules! logic {
    ($($(#[$doc:meta])* $name:ident / $try_name:ident = $OP:ident { |$x:ident, $y:ident| $eval:expr, $torch:literal })*) => {$(
        #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
        pub(crate) static $OP: Op = Op {
            name: stringify!($name),
            operands: &["lhs", "rhs"],
            forward: |call| {
                let (x, y) = (call.input(0).bool()?, call.input(1).bool()?);
                let (x, y) = (x.as_any(), y.as_any());
                let shape = x.shape().broadcast(y.shape())?;
                let n = shape.elements();
                let mut storage = Storage::stale::<u8>(n);
                let out = &mut storage.unique_mut::<u8>().expect("a fresh buffer is unique")[..n];
                zip::zip::<u8, u8>(
                    out,
                    &shape,
                    x.storage().slice(),
                    x.layout(),
                    y.storage().slice(),
                    y.layout(),
                    &[],
                    |out, x, y, rows, _| {
                        for (out, x, y) in rows.pairs(out, x, y) {
                            out.iter_mut().zip(x).zip(y).for_each(|((o, &$x), &$y)| *o = $eval);
                        }
                    },
                    None,
                    &Par::of(n),
                );
                Ok(AnyTensor::dense(storage, shape, DType::Bool).into())
            },
            gradient: Gradient::NotFloat,
            info: || OpInfo {
                family: Family::Zip,
                numpy: $torch,
                torch: $torch,
                precisions: &[DType::Bool],
                samples: |g| {
                    let (a, b) = g.broadcast_pair();
                    vec![Sample::new([g.bools(&a), g.bools(&b)], Attrs::NONE)]
                },
                specials: |_| Vec::new(),
                misuses: || vec![Misuse::new(
                    [Bool::full([2], true).into(), Bool::full([3], true).into()],
                    Attrs::NONE,
                    "shapes do not broadcast: 2 and 3 on axis -1",
                )],
            },
        };

        twin! {
            impl [] Tensor<Bool> {
                $(#[$doc])*
                ///
                /// # Panics
                /// If the shapes do not broadcast.
                pub fn $name / $try_name(&self, rhs: &Tensor<Bool>) -> Tensor<Bool> {
                    apply1(&$OP, Attrs::NONE, &mut [self.into(), rhs.into()])
                }
            }
        }
    )*};
}

logic! {
    /// Whether both masks hold.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![true, true].and(&tensor![true, false]).to_vec::<bool>(), [true, false]);
    /// ```
    and / try_and = AND { |x, y| x & y, "logical_and" }

    /// Whether at least one mask holds.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![false, true].or(&tensor![false, false]).to_vec::<bool>(), [false, true]);
    /// ```
    or / try_or = OR { |x, y| x | y, "logical_or" }

    /// Whether exactly one mask holds.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![true, true].xor(&tensor![true, false]).to_vec::<bool>(), [false, true]);
    /// ```
    xor / try_xor = XOR { |x, y| x ^ y, "logical_xor" }
}

/// The operation of [`Tensor::not`].
pub(crate) static NOT: Op = Op {
    name: "not",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0).bool()?;
        let x = x.as_any();
        let n = x.elements();
        let mut storage = Storage::stale::<u8>(n);
        let out = &mut storage.unique_mut::<u8>().expect("a fresh buffer is unique")[..n];
        map::map::<u8>(
            out,
            x.storage().slice(),
            x.layout(),
            &[],
            |out, x, _| out.iter_mut().zip(x).for_each(|(o, &x)| *o = x ^ 1),
            &Par::of(n),
        );
        Ok(AnyTensor::dense(storage, x.shape().clone(), DType::Bool).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Map,
        numpy: "logical_not",
        torch: "logical_not",
        precisions: &[DType::Bool],
        samples: |g| {
            let shape = g.shape(0, 3);
            vec![Sample::new([g.bools(&shape)], Attrs::NONE)]
        },
        specials: |_| Vec::new(),
        misuses: || vec![Misuse::new([Tensor::zeros([2]).into()], Attrs::NONE, "expected a tensor of kind Bool")],
    },
};

twin! {
    impl [] Tensor<Bool> {
        /// Whether the mask does not hold.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![true, false].not().to_vec::<bool>(), [false, true]);
        /// ```
        pub fn not / try_not(&self) -> Tensor<Bool> {
            apply1(&NOT, Attrs::NONE, &mut [self.into()])
        }
    }
}

/// Defines a reduction of masks over the axes named by the attributes `axes` and `keepdim`.
macro_rules! over_axes {
    ($OP:ident, $name:literal, |$a:ident, $b:ident| $fold:expr, start: $start:literal) => {
        #[doc = concat!("The operation of [`Tensor::", $name, "`].")]
        pub(crate) static $OP: Op = {
            struct Body;
            impl FoldInts for Body {
                #[inline(always)]
                fn fold<W: Whole>($a: W, $b: W) -> W {
                    $fold
                }
            }
            Op {
                name: $name,
                operands: &["mask"],
                forward: |call| forward(call, fold::ints::<Body, u8>($start)),
                gradient: Gradient::NotFloat,
                info: || OpInfo {
                    family: Family::Reduce,
                    numpy: $name,
                    torch: $name,
                    precisions: &[DType::Bool],
                    samples: |g| {
                        let shape = g.shape(0, 3);
                        let axes: Vec<usize> = (0..shape.rank()).filter(|_| g.below(2) == 0).collect();
                        vec![Sample::new([g.bools(&shape)], attrs! { axes: &axes[..], keepdim: g.below(2) == 0 })]
                    },
                    specials: |_| {
                        let mask = |value| Bool::full([2, 0], value).into();
                        vec![Sample::new([mask(true)], attrs! { axes: [1i64] })]
                    },
                    misuses: || {
                        let mask: AnyTensor = Bool::full([2, 3], true).into();
                        vec![
                            Misuse::new([mask.clone()], attrs! { axes: [2i64] }, "axis 2 is out of range for rank 2"),
                            Misuse::new([mask], attrs! { axes: [1i64, -1] }, "axis 1 is named twice"),
                            Misuse::new(
                                [Tensor::zeros([2]).into()],
                                attrs! { axes: [0i64] },
                                "expected a tensor of kind Bool",
                            ),
                        ]
                    },
                },
            }
        };
    };
}
over_axes!(ANY, "any", |a, b| a.max(b), start: 0);
over_axes!(ALL, "all", |a, b| a.min(b), start: 1);

fn forward(call: &mut Call<'_, '_>, fold: Fold<u8>) -> Result<Outputs> {
    let x = call.input(0).bool()?;
    let (x, attrs) = (x.as_any(), call.attrs());
    let axes = x.shape().axes(&attrs.ints("axes"))?;
    let kept: SmallVec<[usize; 4]> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
    let order: SmallVec<[usize; 4]> = kept.iter().chain(&axes).copied().collect();
    let shape: Shape = match attrs.bool("keepdim") {
        true => (0..x.rank()).map(|a| if axes.contains(&a) { 1 } else { x.shape()[a] }).collect(),
        false => kept.iter().map(|&a| x.shape()[a]).collect(),
    };
    let n = shape.elements();
    let mut storage = Storage::stale::<u8>(n);
    let out = &mut storage.unique_mut::<u8>().expect("a fresh buffer is unique")[..n];
    let layout = x.layout().permute(&order);
    reduce::reduce::<u8>(out, x.storage().slice(), &layout, kept.len(), fold, &Par::of(x.elements()));
    Ok(AnyTensor::dense(storage, shape, DType::Bool).into())
}

twin! {
    impl [] Tensor<Bool> {
        /// Whether the mask holds anywhere, as a tensor of rank 0. False for no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert!(tensor![[false, true], [false, false]].any().item());
        /// ```
        pub fn any / try_any(&self) -> Tensor<Bool> {
            self.try_any_axis(..)
        }

        /// Whether the mask holds anywhere along one or more axes.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[false, true], [false, false]].any_axis(1).to_vec::<bool>(), [true, false]);
        /// ```
        pub fn any_axis / try_any_axis(&self, axes: impl IntoDims) -> Tensor<Bool> {
            apply1(&ANY, attrs! { axes: axes.into_dims(self.rank()) }, &mut [self.into()])
        }

        /// [`any_axis`](Self::any_axis) with the reduced axes kept as size 1.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[false, true], [false, false]].any_keepdim(1).shape().to_string(), "[2, 1]");
        /// ```
        pub fn any_keepdim / try_any_keepdim(&self, axes: impl IntoDims) -> Tensor<Bool> {
            apply1(&ANY, attrs! { axes: axes.into_dims(self.rank()), keepdim: true }, &mut [self.into()])
        }

        /// Whether the mask holds everywhere, as a tensor of rank 0. True for no elements.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert!(!tensor![[true, true], [false, true]].all().item());
        /// ```
        pub fn all / try_all(&self) -> Tensor<Bool> {
            self.try_all_axis(..)
        }

        /// Whether the mask holds everywhere along one or more axes.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[true, true], [false, true]].all_axis(1).to_vec::<bool>(), [true, false]);
        /// ```
        pub fn all_axis / try_all_axis(&self, axes: impl IntoDims) -> Tensor<Bool> {
            apply1(&ALL, attrs! { axes: axes.into_dims(self.rank()) }, &mut [self.into()])
        }

        /// [`all_axis`](Self::all_axis) with the reduced axes kept as size 1.
        ///
        /// # Panics
        /// If an axis does not exist, or is named twice.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[true, true], [false, true]].all_keepdim(1).shape().to_string(), "[2, 1]");
        /// ```
        pub fn all_keepdim / try_all_keepdim(&self, axes: impl IntoDims) -> Tensor<Bool> {
            apply1(&ALL, attrs! { axes: axes.into_dims(self.rank()), keepdim: true }, &mut [self.into()])
        }
    }
}
