//! Comparisons, tests for NaN and infinity, and choosing by a mask.

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Result, or_panic};
use crate::kernels::number::{Mask, Real, Whole};
use crate::kernels::select;
use crate::kernels::zip::CompareBody;
use crate::kind::{Bool, Kind, Numeric};
use crate::ops::binary::IntoOperand;
use crate::ops::elementwise::{self, CompareTable};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{ALL, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::storage::Storage;
use crate::tape::{Vjp, no_grad};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&EQ, &NE, &LT, &LE, &GT, &GE, &ISNAN, &ISINF, &ISFINITE, &WHERE];

/// Defines comparisons of two operands, with truth values as results.
macro_rules! compare {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident = $OP:ident {
            eval: |$x:ident, $y:ident| $eval:expr,
            int: |$ix:ident, $iy:ident| $int:expr,
            numpy: $numpy:literal, torch: $torch:literal,
        }
    )*) => {$(
        #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
        pub(crate) static $OP: Op = {
            struct Body;
            impl CompareBody for Body {
                #[inline(always)]
                fn eval<R: Real>($x: R, $y: R) -> R::Mask { $eval }
                #[inline(always)]
                fn eval_int<W: Whole>($ix: W, $iy: W) -> bool { $int }
            }
            fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
                static TABLE: CompareTable = CompareTable::new::<Body>();
                elementwise::compare(call, &TABLE)
            }
            Op {
                name: stringify!($name),
                operands: &["lhs", "rhs"],
                forward,
                gradient: Gradient::NotFloat,
                info: || OpInfo {
                    family: Family::Zip,
                    numpy: $numpy,
                    torch: $torch,
                    precisions: NUMERIC,
                    samples: |g| {
                        let (a, b) = g.broadcast_pair();
                        vec![Sample::new([g.numbers(&a, -2.0, 2.0), g.numbers(&b, -2.0, 2.0)], Attrs::NONE)]
                    },
                    specials: |g| {
                        let shape = [3].into();
                        let x = g.tensor(&[1.0, 1.0, 0.0], &shape);
                        let y = g.tensor(&[1.0, 0.0, 1.0], &shape);
                        vec![Sample::new([x, y], Attrs::NONE)]
                    },
                    misuses: || vec![Misuse::new(
                        [Tensor::zeros([2, 3]).into(), Tensor::zeros([2]).into()],
                        Attrs::NONE,
                        "shapes do not broadcast: 3 and 2 on axis -1",
                    )],
                },
            }
        };

        impl<K: Numeric> Tensor<K> {
            $(#[$doc])*
            ///
            /// # Panics
            /// If the shapes do not broadcast, or the precisions differ.
            #[track_caller]
            pub fn $name<'a>(&self, rhs: impl IntoOperand<'a, K>) -> Tensor<Bool> {
                or_panic(self.$try_name(rhs))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// If the shapes do not broadcast, or the precisions differ.
            #[track_caller]
            pub fn $try_name<'a>(&self, rhs: impl IntoOperand<'a, K>) -> Result<Tensor<Bool>> {
                apply1(&$OP, Attrs::NONE, &mut [self.into(), rhs.into_operand(self.dtype())])
            }
        }
    )*};
}

compare! {
    /// Whether elements are equal. NaN equals nothing.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].eq(2.0).to_vec::<bool>(), [false, true]);
    /// ```
    eq / try_eq = EQ {
        eval: |x, y| x.eq(y),
        int: |x, y| x == y,
        numpy: "equal", torch: "eq",
    }

    /// Whether elements differ. NaN differs from everything.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1, 2].ne(2).to_vec::<bool>(), [true, false]);
    /// ```
    ne / try_ne = NE {
        eval: |x, y| x.eq(y).not(),
        int: |x, y| x != y,
        numpy: "not_equal", torch: "ne",
    }

    /// Whether elements are smaller than the other's.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].lt(2.0).to_vec::<bool>(), [true, false]);
    /// ```
    lt / try_lt = LT {
        eval: |x, y| x.lt(y),
        int: |x, y| x < y,
        numpy: "less", torch: "lt",
    }

    /// Whether elements are not larger than the other's.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0, 3.0].le(2.0).to_vec::<bool>(), [true, true, false]);
    /// ```
    le / try_le = LE {
        eval: |x, y| x.le(y),
        int: |x, y| x <= y,
        numpy: "less_equal", torch: "le",
    }

    /// Whether elements are larger than the other's.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 3.0].gt(2.0).to_vec::<bool>(), [false, true]);
    /// ```
    gt / try_gt = GT {
        eval: |x, y| y.lt(x),
        int: |x, y| x > y,
        numpy: "greater", torch: "gt",
    }

    /// Whether elements are not smaller than the other's.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].ge(2.0).to_vec::<bool>(), [false, true]);
    /// ```
    ge / try_ge = GE {
        eval: |x, y| y.le(x),
        int: |x, y| x >= y,
        numpy: "greater_equal", torch: "ge",
    }
}

/// Defines tests of each element, with truth values as results.
macro_rules! test {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident = $OP:ident { |$x:ident| $eval:expr, int: $int:literal }
    )*) => {$(
        #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
        pub(crate) static $OP: Op = {
            struct Body;
            impl CompareBody for Body {
                #[inline(always)]
                fn eval<R: Real>($x: R, _: R) -> R::Mask { $eval }
                #[inline(always)]
                fn eval_int<W: Whole>(_: W, _: W) -> bool { $int }
            }
            fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
                static TABLE: CompareTable = CompareTable::new::<Body>();
                elementwise::test(call, &TABLE)
            }
            Op {
                name: stringify!($name),
                operands: &["input"],
                forward,
                gradient: Gradient::NotFloat,
                info: || OpInfo {
                    family: Family::Map,
                    numpy: stringify!($name),
                    torch: stringify!($name),
                    precisions: NUMERIC,
                    samples: |g| {
                        let shape = g.shape(0, 3);
                        vec![Sample::new([g.numbers(&shape, -2.0, 2.0)], Attrs::NONE)]
                    },
                    specials: |g| {
                        let x = g.tensor(&[0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY], &[4].into());
                        vec![Sample::new([x], Attrs::NONE)]
                    },
                    misuses: || vec![Misuse::new([Bool::full([2], true).into()], Attrs::NONE, "not supported")],
                },
            }
        };

        twin! {
            impl [<K: Numeric>] Tensor<K> {
                $(#[$doc])*
                pub fn $name / $try_name(&self) -> Tensor<Bool> {
                    apply1(&$OP, Attrs::NONE, &mut [self.into()])
                }
            }
        }
    )*};
}

test! {
    /// Whether elements are NaN. Integers never are.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, f64::NAN].isnan().to_vec::<bool>(), [false, true]);
    /// ```
    isnan / try_isnan = ISNAN { |x| x.is_nan(), int: false }

    /// Whether elements are positive or negative infinity. Integers never are.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, f64::NEG_INFINITY].isinf().to_vec::<bool>(), [false, true]);
    /// ```
    isinf / try_isinf = ISINF { |x| x.abs().eq(R::lit(f64::INFINITY)), int: false }

    /// Whether elements are neither infinite nor NaN. Integers always are.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, f64::NAN, f64::INFINITY].isfinite().to_vec::<bool>(), [true, false, false]);
    /// ```
    isfinite / try_isfinite = ISFINITE { |x| x.abs().lt(R::lit(f64::INFINITY)), int: true }
}

/// The operation of [`Tensor::where_`].
pub(crate) static WHERE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let mask = call.input(0).bool()?;
        let mask = mask.as_any();
        let dtype = call.same_dtype_of([1, 2])?;
        let (x, y) = (call.input(1), call.input(2));
        let shape = mask.shape().broadcast(x.shape())?.broadcast(y.shape())?;
        let n = shape.elements();
        let storage = with_dtype!(moved dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            let (m, a, b) = (mask.storage().slice(), x.storage().slice(), y.storage().slice());
            select::select::<T>(out, &shape, (m, mask.layout()), (a, x.layout()), (b, y.layout()), &Par::of(n));
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let g = cx.g();
        let mask = cx.input::<Bool>(0);
        let zero = Tensor::full_dtype([0usize; 0], 0.0, g.dtype());
        if cx.needs(1) {
            cx.give(1, mask.where_(&g, &zero));
        }
        if cx.needs(2) {
            cx.give(2, mask.where_(&zero, &g));
        }
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let (a, b) = g.broadcast_pair();
        let whole = if a.rank() > b.rank() { &a } else { &b };
        let mask = g.bools(&whole.clone());
        vec![Sample::new([mask, g.numbers(&a, -2.0, 2.0), g.numbers(&b, -2.0, 2.0)], Attrs::NONE)]
    }
    Op {
        name: "where",
        operands: &["mask", "yes", "no"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUT, vjp },
        info: || OpInfo {
            family: Family::Select,
            numpy: "where",
            torch: "where",
            precisions: ALL,
            samples,
            specials: |g| {
                // What is not chosen must not leak: not even NaN or infinity times 0.
                let mask = Tensor::<Bool>::from_vec(vec![true, false], [2]).into();
                let yes = g.tensor(&[1.0, f64::NAN], &[2].into());
                let no = g.tensor(&[f64::INFINITY, 2.0], &[2].into());
                vec![Sample::new([mask, yes, no], Attrs::NONE).with_gradient([vec![], vec![1.0, 0.0], vec![0.0, 1.0]])]
            },
            misuses: || {
                let mask: AnyTensor = Bool::full([2], true).into();
                vec![
                    Misuse::new(
                        [mask.clone(), Tensor::zeros([3]).into(), Tensor::zeros([3]).into()],
                        Attrs::NONE,
                        "shapes do not broadcast: 2 and 3 on axis -1",
                    ),
                    Misuse::new(
                        [mask, Tensor::zeros([2]).into(), Tensor::zeros([2]).to_dtype(DType::F64).into()],
                        Attrs::NONE,
                        "precisions differ: F32 and F64",
                    ),
                ]
            },
        },
    }
};

impl Tensor<Bool> {
    /// Elements of `yes` where the mask holds, of `no` elsewhere; all three broadcast. NumPy's and PyTorch's `where`.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions of `yes` and `no` differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![1.0, -2.0];
    /// assert_eq!(x.gt(0.0).where_(&x, &tensor![0.0]).to_vec::<f32>(), [1.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn where_<K: Kind>(&self, yes: &Tensor<K>, no: &Tensor<K>) -> Tensor<K> {
        or_panic(self.try_where_(yes, no))
    }

    /// Fallible form of [`where_`](Self::where_).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_where_<K: Kind>(&self, yes: &Tensor<K>, no: &Tensor<K>) -> Result<Tensor<K>> {
        apply1(&WHERE, Attrs::NONE, &mut [self.into(), yes.into(), no.into()])
    }
}

impl Tensor {
    /// Whether elements are close to the other's: `|x - y| <= atol + rtol * |y|`, or equal; they broadcast. NaN is close
    /// to nothing, an infinity only to itself.
    ///
    /// NumPy's tolerances are `rtol` 1e-5 and `atol` 1e-8.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 1.1].isclose(&tensor![1.001], 1e-2, 0.0).to_vec::<bool>(), [true, false]);
    /// ```
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Tensor<Bool> {
        or_panic(self.try_isclose(other, rtol, atol))
    }

    /// Fallible form of [`isclose`](Self::isclose).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_isclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Result<Tensor<Bool>> {
        no_grad(|| {
            let equal = self.try_eq(other)?;
            let distance = self.try_sub(other)?.try_abs()?;
            let near = distance.try_le(other.try_abs()? * rtol + atol)?.try_and(&other.try_isfinite()?)?;
            near.try_or(&equal)
        })
    }

    /// Whether all elements are close to the other's, see [`isclose`](Self::isclose).
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert!(tensor![0.1, 0.2].allclose(&tensor![0.1, 0.2000001], 1e-5, 1e-8));
    /// ```
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64) -> bool {
        or_panic(self.try_allclose(other, rtol, atol))
    }

    /// Fallible form of [`allclose`](Self::allclose).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_allclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Result<bool> {
        self.try_isclose(other, rtol, atol)?.try_all()?.try_item()
    }
}

impl<K: Kind> Tensor<K> {
    /// Whether both have the same shape, precision and elements. NaN equals nothing.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert!(tensor![1, 2].array_equal(&tensor![1, 2]));
    /// assert!(!tensor![1, 2].array_equal(&tensor![[1, 2]]));
    /// ```
    #[track_caller]
    pub fn array_equal(&self, other: &Tensor<K>) -> bool {
        if self.shape() != other.shape() || self.dtype() != other.dtype() {
            return false;
        }
        let n = self.elements();
        let dense = no_grad(|| [self.contiguous(), other.contiguous()]);
        let [x, y] = dense.each_ref().map(|t| (t.as_any().storage(), t.layout().offset()));
        with_dtype!(self.dtype(), T => x.0.slice::<T>()[x.1..][..n] == y.0.slice::<T>()[y.1..][..n])
    }
}
