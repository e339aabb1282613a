//! Elementwise operations of two operands, which broadcast.
//!
//! Each entry of `binary!` is a whole operation: to add one, add an entry.

use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::DType;
use crate::error::Result;
use crate::kernels::number::{Real, Whole};
use crate::kernels::zip::{BinaryBody, BinaryIntBody};
use crate::kind::{Bool, Float, Int, Kind, Numeric};
use crate::ops::elementwise::{self, ZipTable};
use crate::ops::full_any;
use crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::tape::Vjp;
use crate::tensor::Tensor;

/// What can stand on the right of an operation: a tensor, by reference or by value, or a number, which adapts to the
/// tensor's precision.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the other operand of a tensor of kind `{K}`",
    note = "a tensor of the same kind can, by reference or by value, and so can a number"
)]
pub trait IntoOperand<'a, K: Kind> {
    /// The operand, for a left operand of precision `dtype`.
    fn into_operand(self, dtype: DType) -> Arg<'a>;
}

impl<'a, K: Kind> IntoOperand<'a, K> for &'a Tensor<K> {
    fn into_operand(self, _: DType) -> Arg<'a> {
        Arg::from(self)
    }
}

impl<'a, K: Kind> IntoOperand<'a, K> for Tensor<K> {
    fn into_operand(self, _: DType) -> Arg<'a> {
        Arg::from(self)
    }
}

macro_rules! number_operand {
    ($($kind:ident: $($t:ty),*;)*) => {$($(
        impl<'a> IntoOperand<'a, $kind> for $t {
            fn into_operand(self, dtype: DType) -> Arg<'a> {
                Arg::Own(full_any(Shape::scalar(), self.into(), dtype))
            }
        }
    )*)*};
}
number_operand! {
    Float: f64, i32;
    Int: i64, i32;
    Bool: bool;
}

/// Defines elementwise operations of two operands.
///
/// `lhs` and `rhs` are the gradient rules for the two operands, each with what it reads: any of `lhs`, `rhs`, `out`.
macro_rules! binary {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident = $OP:ident {
            eval: |$x:ident, $y:ident| $eval:expr,
            $(int: |$ix:ident, $iy:ident| $int:expr,)?
            lhs: [$($lr:ident),*] |$lg:ident| $lrule:expr,
            rhs: [$($rr:ident),*] |$rg:ident| $rrule:expr,
            domain: ($xlow:literal to $xhigh:literal, $ylow:literal to $yhigh:literal),
            specials: [$(($sx:expr, $sy:expr) => $slope:expr),*],
            numpy: $numpy:literal, torch: $torch:literal,
        }
    )*) => {
        /// The operations of this file.
        pub(crate) static OPS: &[&Op] = &[$(&$OP),*];

        $(
            #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
            pub(crate) static $OP: Op = {
                struct Body;
                impl BinaryBody for Body {
                    #[inline(always)]
                    fn eval<R: Real>($x: R, $y: R) -> R { $eval }
                }
                fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
                    static TABLE: ZipTable = binary!(@table $(|$ix, $iy| $int)?);
                    elementwise::zip(call, &TABLE)
                }
                fn vjp(cx: &mut Vjp<'_>) {
                    let g = cx.g();
                    if cx.needs(0) {
                        let $lg = g.clone();
                        $(let $lr = binary!(@read $lr cx);)*
                        let gradient: Tensor = $lrule;
                        cx.give(0, gradient);
                    }
                    if cx.needs(1) {
                        let $rg = g;
                        $(let $rr = binary!(@read $rr cx);)*
                        let gradient: Tensor = $rrule;
                        cx.give(1, gradient);
                    }
                }
                fn samples(g: &mut Gen) -> Vec<Sample> {
                    let (a, b) = g.broadcast_pair();
                    let x = g.numbers(&a, $xlow as f64, $xhigh as f64);
                    let y = g.numbers(&b, $ylow as f64, $yhigh as f64);
                    vec![Sample::new([x, y], Attrs::NONE)]
                }
                #[allow(unused_variables)]
                fn specials(g: &mut Gen) -> Vec<Sample> {
                    let point = Shape::scalar();
                    vec![$({
                        let (x, y) = (g.tensor(&[$sx], &point), g.tensor(&[$sy], &point));
                        let slope: [f64; 2] = $slope;
                        Sample::new([x, y], Attrs::NONE).with_gradient(slope.map(|s| vec![s]))
                    }),*]
                }
                fn misuses() -> Vec<Misuse> {
                    let (x, y) = (Tensor::zeros([2, 3]), Tensor::zeros([2, 4]));
                    vec![
                        Misuse::new([(&x).into(), y.into()], Attrs::NONE, "shapes do not broadcast: 3 and 4 on axis -1"),
                        Misuse::new(
                            [(&x).into(), x.to_dtype(DType::F64).into()],
                            Attrs::NONE,
                            "precisions differ: F32 and F64",
                        ),
                    ]
                }
                Op {
                    name: stringify!($name),
                    operands: &["lhs", "rhs"],
                    forward,
                    gradient: Gradient::Rule {
                        saves: |needs| {
                            let mut saves = Saves::NONE;
                            let (lhs, rhs) = (Saves::NONE $(.union(binary!(@saves $lr)))*, Saves::NONE $(.union(binary!(@saves $rr)))*);
                            if needs.has(0) { saves = saves.union(lhs); }
                            if needs.has(1) { saves = saves.union(rhs); }
                            saves
                        },
                        vjp,
                    },
                    info: || OpInfo {
                        family: Family::Zip,
                        numpy: $numpy,
                        torch: $torch,
                        precisions: binary!(@precisions $($ix)?),
                        samples,
                        specials,
                        misuses,
                    },
                }
            };

            binary!(@method $(#[$doc])* $name $try_name $OP $($ix)?);
        )*
    };

    (@table) => { ZipTable::float::<Body>() };
    (@table |$ix:ident, $iy:ident| $int:expr) => {{
        struct IntBody;
        impl BinaryIntBody for IntBody {
            #[inline(always)]
            fn eval<W: Whole>($ix: W, $iy: W) -> W { $int }
        }
        ZipTable::with_int::<Body, IntBody>()
    }};
    (@precisions) => { crate::registry::FLOATS };
    (@precisions $ix:ident) => { crate::registry::NUMERIC };
    (@read lhs $cx:ident) => { &$cx.input::<Float>(0) };
    (@read rhs $cx:ident) => { &$cx.input::<Float>(1) };
    (@read out $cx:ident) => { &$cx.output::<Float>(0) };
    (@saves lhs) => { Saves::INPUT };
    (@saves rhs) => { Saves::NONE.and_input(1) };
    (@saves out) => { Saves::OUTPUT };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident) => {
        binary!(@impl [] Float $(#[$doc])* $name $try_name $OP);
    };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident $ix:ident) => {
        binary!(@impl [<K: Numeric>] K $(#[$doc])* $name $try_name $OP);
    };
    (@impl [$($generics:tt)*] $K:ident $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident) => {
        impl $($generics)* Tensor<$K> {
            $(#[$doc])*
            #[track_caller]
            pub fn $name<'a>(&self, rhs: impl IntoOperand<'a, $K>) -> Tensor<$K> {
                crate::error::or_panic(self.$try_name(rhs))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name<'a>(&self, rhs: impl IntoOperand<'a, $K>) -> Result<Tensor<$K>> {
                apply1(&$OP, Attrs::NONE, &mut [self.into(), rhs.into_operand(self.dtype())])
            }
        }
    };
}

binary! {
    /// The sum of two tensors, element by element; also the operator `+`.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0], [2.0]];
    /// assert_eq!((&x + tensor![10.0, 20.0]).to_vec::<f32>(), [11.0, 21.0, 12.0, 22.0]);
    /// ```
    add / try_add = ADD {
        eval: |x, y| x + y,
        int: |x, y| x.wrapping_add(&y),
        lhs: [] |g| g,
        rhs: [] |g| g,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [],
        numpy: "add", torch: "add",
    }

    /// The difference of two tensors, element by element; also the operator `-`.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0, 2.0] - tensor![1.0]).to_vec::<f32>(), [2.0, 1.0]);
    /// ```
    sub / try_sub = SUB {
        eval: |x, y| x - y,
        int: |x, y| x.wrapping_sub(&y),
        lhs: [] |g| g,
        rhs: [] |g| g.neg(),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [],
        numpy: "subtract", torch: "sub",
    }

    /// The product of two tensors, element by element; also the operator `*`.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0, 2.0] * tensor![2.0]).to_vec::<f32>(), [6.0, 4.0]);
    /// ```
    mul / try_mul = MUL {
        eval: |x, y| x * y,
        int: |x, y| x.wrapping_mul(&y),
        lhs: [rhs] |g| g * rhs,
        rhs: [lhs] |g| g * lhs,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(0.0, 2.0) => [2.0, 0.0]],
        numpy: "multiply", torch: "mul",
    }

    /// The quotient of two tensors, element by element; also the operator `/`.
    ///
    /// Float division by zero gives infinity or NaN. For integers see `Tensor<Int>`'s operator `/`.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0, 2.0] / tensor![2.0]).to_vec::<f32>(), [1.5, 1.0]);
    /// ```
    div / try_div = DIV {
        eval: |x, y| x / y,
        lhs: [rhs] |g| g / rhs,
        rhs: [rhs, out] |g| g.neg() * out / rhs,
        domain: (-3.0 to 3.0, 0.5 to 3.0), specials: [(0.0, 2.0) => [0.5, 0.0]],
        numpy: "divide", torch: "div",
    }

    /// Each element to the power of the other, element by element.
    ///
    /// The gradient with respect to the exponent is 0 where the base is 0 (and the exponent not negative).
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, 2.0].pow(2.0).to_vec::<f32>(), [9.0, 4.0]);
    /// ```
    pow / try_pow = POW {
        eval: |x, y| x.pow(y),
        lhs: [lhs, rhs] |g| {
            // At exponent 0 the power is constant: 0, not 0 times an infinite x^-1.
            let slope = rhs * lhs.pow(rhs - 1.0);
            g * rhs.eq(0.0).where_(&slope.zeros_like(), &slope)
        },
        rhs: [lhs, out] |g| {
            let slope = out * lhs.log();
            g * lhs.eq(0.0).where_(&slope.zeros_like(), &slope)
        },
        domain: (0.3 to 3.0, -2.0 to 2.0),
        specials: [(0.0, 2.0) => [0.0, 0.0], (2.0, 0.0) => [0.0, std::f64::consts::LN_2]],
        numpy: "power", torch: "pow",
    }

    /// The larger of two tensors, element by element; NaN where either is. Of equals, each gets half the gradient.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, 2.0].maximum(2.5).to_vec::<f32>(), [3.0, 2.5]);
    /// ```
    maximum / try_maximum = MAXIMUM {
        eval: |x, y| x.max(y),
        int: |x, y| x.max(y),
        lhs: [lhs, rhs] |g| g * share(lhs, rhs),
        rhs: [lhs, rhs] |g| g * share(rhs, lhs),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.5, 0.5]],
        numpy: "maximum", torch: "maximum",
    }

    /// The smaller of two tensors, element by element; NaN where either is. Of equals, each gets half the gradient.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, 2.0].minimum(2.5).to_vec::<f32>(), [2.5, 2.0]);
    /// ```
    minimum / try_minimum = MINIMUM {
        eval: |x, y| x.min(y),
        int: |x, y| x.min(y),
        lhs: [lhs, rhs] |g| g * share(rhs, lhs),
        rhs: [lhs, rhs] |g| g * share(lhs, rhs),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.5, 0.5]],
        numpy: "minimum", torch: "minimum",
    }
}

/// 1 where `x` is larger, 1/2 where both are equal, 0 elsewhere.
fn share(x: &Tensor, y: &Tensor) -> Tensor {
    let half = |mask: Tensor<Bool>| mask.to_float_as(x.dtype()) * 0.5;
    half(x.gt(y)) + half(x.ge(y))
}
