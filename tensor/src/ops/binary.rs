//! Elementwise operations of two operands, which broadcast: arithmetic.
//!
//! Each entry of `binary!` is a whole operation: to add one, add an entry.

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Op, apply1};
use crate::dtype::DType;
use crate::error::{Result, or_panic};
use crate::kernels::number::Real;
use crate::kind::{Bool, Float, Int, Kind};
use crate::ops::full_any;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What can stand on the right of an operation: a tensor, by reference or by value, or a number, which adapts to the
/// tensor's precision.
///
/// ```
/// use wengert_tensor::{DType, Float, IntoOperand, tensor};
/// assert_eq!(IntoOperand::<Float>::into_operand(2.0, DType::F32).tensor().rank(), 0);
/// assert_eq!((IntoOperand::<Float>::number(&2.0), IntoOperand::<Float>::number(&tensor![2.0])), (Some(2.0), None));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the other operand of a tensor of kind `{K}`",
    note = "a tensor of the same kind can, by reference or by value, and so can a number"
)]
pub trait IntoOperand<'a, K: Kind> {
    /// The operand, for a left operand of precision `dtype`.
    fn into_operand(self, dtype: DType) -> Arg<'a>;

    /// The number that it is, where it is a float number: operations with a form for those take it.
    fn number(&self) -> Option<f64> {
        None
    }
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
    ($($kind:ident: $($t:ty),* => $number:expr;)*) => {$($(
        impl<'a> IntoOperand<'a, $kind> for $t {
            fn into_operand(self, dtype: DType) -> Arg<'a> {
                Arg::Own(full_any(Shape::scalar(), self.into(), dtype))
            }
            fn number(&self) -> Option<f64> {
                let number: fn($t) -> Option<f64> = $number;
                number(*self)
            }
        }
    )*)*};
}
number_operand! {
    Float: f64 => Some;
    Float: i32 => |number| Some(number.into());
    Int: i64, i32 => |_| None;
    Bool: bool => |_| None;
}

/// Defines elementwise operations of two operands, which broadcast.
///
/// It begins with the name of their list. An operation without a `try_` name has no methods: gradient rules and methods
/// written by hand call it with [`zipped`] or `apply1`. `long` says that it computes much. `loops: by_number` gives it
/// loops of their own for rows in which the right operand is one number, `loops: commuting` also where the left one is,
/// `loops: quotients` and `loops: rests` those of [`divide`](crate::kernels::divide). `check` looks at a call before it
/// is computed. `lhs` and `rhs` are the gradient rules for the two operands, each with what it reads: any of `lhs`, `rhs`,
/// `out`. Samples are drawn from `domain`; `specials` are points with the two gradients there.
macro_rules! binary {
    (pub(crate) static $OPS:ident; $(
        $(#[$doc:meta])*
        $name:ident $(/ $try_name:ident)? $(($($p:ident = [$($pv:expr),+]),+))? = $OP:ident {
            eval: |$x:ident, $y:ident| $eval:expr,
            $(int: |$ix:ident, $iy:ident| $int:expr,)?
            $(long: $long:literal,)?
            $(loops: $loops:ident,)?
            $(check: $check:path,)?
            lhs: [$($lr:ident),*] |$lg:ident| $lrule:expr,
            rhs: [$($rr:ident),*] |$rg:ident| $rrule:expr,
            domain: ($xlow:literal to $xhigh:literal, $ylow:literal to $yhigh:literal),
            specials: [$(($sx:expr, $sy:expr) => $slope:expr),*],
            $(misuses: [$(($mx:expr, $my:expr) => $says:literal),*],)?
            numpy: $numpy:literal, torch: $torch:literal,
        }
    )*) => {
        /// The operations below.
        pub(crate) static $OPS: &[&$crate::dispatch::Op] = &[$(&$OP),*];

        $(
            #[doc = concat!("The operation `", stringify!($name), "`.")]
            pub(crate) static $OP: $crate::dispatch::Op = {
                use $crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves};
                use $crate::kernels::number::Real;
                use $crate::kernels::zip::BinaryBody;
                use $crate::ops::elementwise::{self, ZipTable, bind_numbers};
                use $crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
                use $crate::{DType, Shape, Tensor};
                struct Body;
                impl BinaryBody for Body {
                    $(const LONG: bool = $long;)?
                    #[inline(always)]
                    #[allow(unused_variables)] // some entries use none
                    fn eval<R: Real>($x: R, $y: R, numbers: &[f64]) -> R {
                        bind_numbers!(numbers $($($p),+)?);
                        $eval
                    }
                }
                fn forward(call: &mut Call<'_, '_>) -> $crate::error::Result<Outputs> {
                    static TABLE: ZipTable = binary!(@table $(|$ix, $iy| $int)?)$(.$loops::<Body>())?;
                    $($check(call)?;)?
                    let numbers = [$($(call.attrs().float(stringify!($p))),+)?];
                    elementwise::zip(call, &TABLE, &numbers)
                }
                #[allow(unused_variables)] // some entries use none
                fn vjp(cx: &mut $crate::tape::Vjp<'_>) {
                    $($(let $p = cx.attrs().float(stringify!($p));)+)?
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
                #[allow(unused_mut)] // some entries have no attributes
                fn attrs(_generator: &mut Gen) -> Attrs {
                    let mut attrs = Attrs::NONE;
                    $($(attrs = attrs.with(stringify!($p), _generator.pick(&[$($pv as f64),+]));)+)?
                    attrs
                }
                fn samples(g: &mut Gen) -> Vec<Sample> {
                    let (a, b) = g.broadcast_pair();
                    let x = g.numbers(&a, $xlow as f64, $xhigh as f64);
                    let y = g.numbers(&b, $ylow as f64, $yhigh as f64);
                    let attrs = attrs(g);
                    vec![Sample::new([x, y], attrs)]
                }
                #[allow(unused_variables)] // some entries use none
                fn specials(g: &mut Gen) -> Vec<Sample> {
                    let (point, call) = (Shape::scalar(), attrs(g));
                    $($(let $p = call.float(stringify!($p));)+)?
                    vec![$({
                        let (x, y) = (g.tensor(&[$sx], &point), g.tensor(&[$sy], &point));
                        let slope: [f64; 2] = $slope;
                        Sample::new([x, y], call.clone()).with_gradient(slope.map(|s| vec![s]))
                    }),*]
                }
                fn misuses() -> Vec<Misuse> {
                    let (x, y) = (Tensor::zeros([2, 3]), Tensor::zeros([2, 4]));
                    let call = attrs(&mut Gen::new(0, DType::F64));
                    vec![
                        Misuse::new(
                            [(&x).into(), y.into()],
                            call.clone(),
                            "shapes do not broadcast: 3 and 4 on axis -1",
                        ),
                        Misuse::new(
                            [(&x).into(), x.to_dtype(DType::F64).into()],
                            call,
                            "precisions differ: F32 and F64",
                        ),
                        $($(Misuse::new([$mx.into(), $my.into()], Attrs::NONE, $says)),*)?
                    ]
                }
                Op {
                    name: stringify!($name),
                    operands: &["lhs", "rhs"],
                    forward,
                    gradient: Gradient::Rule {
                        saves: |needs| {
                            let mut saves = Saves::NONE;
                            let lhs = Saves::NONE $(.union(binary!(@saves $lr)))*;
                            let rhs = Saves::NONE $(.union(binary!(@saves $rr)))*;
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

            binary!(@method [$(#[$doc])*] $name [$($try_name)?] $OP [$($ix)?]);
        )*
    };

    (@table) => { ZipTable::float::<Body>() };
    (@table |$ix:ident, $iy:ident| $int:expr) => {{
        struct IntBody;
        impl $crate::kernels::zip::BinaryIntBody for IntBody {
            #[inline(always)]
            fn eval<W: $crate::kernels::number::Whole>($ix: W, $iy: W) -> W { $int }
        }
        ZipTable::with_int::<Body, IntBody>()
    }};
    (@precisions) => { $crate::registry::FLOATS };
    (@precisions $ix:ident) => { $crate::registry::NUMERIC };
    (@read lhs $cx:ident) => { &$cx.input::<$crate::Float>(0) };
    (@read rhs $cx:ident) => { &$cx.input::<$crate::Float>(1) };
    (@read out $cx:ident) => { &$cx.output::<$crate::Float>(0) };
    (@saves lhs) => { Saves::INPUT };
    (@saves rhs) => { Saves::NONE.and_input(1) };
    (@saves out) => { Saves::OUTPUT };
    (@method $docs:tt $name:ident [] $OP:ident $int:tt) => {};
    (@method $docs:tt $name:ident [$try_name:ident] $OP:ident []) => {
        binary!(@impl [] $crate::Float $docs $name $try_name $OP);
    };
    (@method $docs:tt $name:ident [$try_name:ident] $OP:ident [$ix:ident]) => {
        binary!(@impl [<K: $crate::Numeric>] K $docs $name $try_name $OP);
    };
    (@impl [$($generics:tt)*] $K:ty [$(#[$doc:meta])*] $name:ident $try_name:ident $OP:ident) => {
        impl $($generics)* $crate::Tensor<$K> {
            $(#[$doc])*
            #[track_caller]
            pub fn $name<'a>(&self, rhs: impl $crate::IntoOperand<'a, $K>) -> $crate::Tensor<$K> {
                $crate::error::or_panic(self.$try_name(rhs))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name<'a>(
                &self,
                rhs: impl $crate::IntoOperand<'a, $K>,
            ) -> $crate::error::Result<$crate::Tensor<$K>> {
                let rhs = rhs.into_operand(self.dtype());
                $crate::dispatch::apply1(&$OP, $crate::dispatch::Attrs::NONE, &mut [self.into(), rhs])
            }
        }
    };
}
pub(crate) use binary;

/// An operation of two operands and no attributes, in a gradient rule.
#[track_caller]
pub(crate) fn zipped(op: &'static Op, x: &Tensor, y: &Tensor) -> Tensor {
    or_panic(apply1(op, Attrs::NONE, &mut [x.into(), y.into()]))
}

binary! {
    pub(crate) static OPS;

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
        loops: commuting,
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
        loops: by_number,
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
        loops: commuting,
        lhs: [rhs] |g| g * rhs,
        rhs: [lhs] |g| g * lhs,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(0.0, 2.0) => [2.0, 0.0]],
        numpy: "multiply", torch: "mul",
    }

    /// The quotient of two tensors, element by element; also the operator `/`.
    ///
    /// Float division by 0 gives infinity or NaN. Integers are rounded towards 0, as Rust does it;
    /// [`floor_divide`](Self::floor_divide) rounds down.
    ///
    /// # Panics
    /// If the shapes do not broadcast, the precisions differ, or an integer is divided by 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0, 2.0] / tensor![2.0]).to_vec::<f32>(), [1.5, 1.0]);
    /// assert_eq!((tensor![7, -7] / 2).to_vec::<i64>(), [3, -3]);
    /// ```
    div / try_div = DIV {
        eval: |x, y| x / y,
        int: |x, y| x.div_trunc(y),
        loops: by_number,
        check: elementwise::demand_divisor,
        lhs: [rhs] |g| g / rhs,
        rhs: [rhs, out] |g| g.neg() * out / rhs,
        domain: (-3.0 to 3.0, 1.0 to 4.0), specials: [(0.0, 2.0) => [0.5, 0.0]],
        misuses: [(Int::ones([2]), Int::zeros([2])) => "division of integers by 0 at [0] of rhs"],
        numpy: "divide", torch: "div",
    }

    /// The quotient of two tensors, element by element, rounded down to an integer.
    ///
    /// For floats, division by 0 gives infinity or NaN, as in NumPy. The gradient is 0.
    ///
    /// # Panics
    /// If the shapes do not broadcast, the precisions differ, or an integer is divided by 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![7.0, -7.0].floor_divide(2.0).to_vec::<f32>(), [3.0, -4.0]);
    /// assert_eq!(tensor![7, -7].floor_divide(2).to_vec::<i64>(), [3, -4]);
    /// ```
    floor_divide / try_floor_divide = FLOOR_DIVIDE {
        eval: |x, y| {
            // From the exact remainder: x / y itself may have been rounded up to an integer.
            let (zero, rest) = (R::lit(0.0), x.fmod(y));
            let quotient = (x - rest) / y;
            let down = R::select(overshoots(rest, y), quotient - R::lit(1.0), quotient);
            R::select(y.eq(zero), x / y, down.round_even())
        },
        int: |x, y| x.div_floor(y),
        loops: quotients,
        check: elementwise::demand_divisor,
        lhs: [] |g| g * 0.0,
        rhs: [] |g| g * 0.0,
        domain: (3.05 to 3.85, 1.3 to 1.5), specials: [(-2.5, 2.0) => [0.0, 0.0]],
        misuses: [(Int::ones([2]), Int::zeros([2])) => "division of integers by 0 at [0] of rhs"],
        numpy: "floor_divide", torch: "floor_divide",
    }

    /// What dividing by the other tensor leaves, element by element: it has the sign of the divisor, as in NumPy and
    /// Python (Rust's `%` has that of the dividend).
    ///
    /// NaN for a float divisor of 0.
    ///
    /// # Panics
    /// If the shapes do not broadcast, the precisions differ, or an integer is divided by 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![7.0, -7.0].remainder(3.0).to_vec::<f32>(), [1.0, 2.0]);
    /// assert_eq!(tensor![7, -7].remainder(3).to_vec::<i64>(), [1, 2]);
    /// ```
    remainder / try_remainder = REMAINDER {
        eval: |x, y| {
            let rest = x.fmod(y);
            R::select(overshoots(rest, y), rest + y, rest)
        },
        int: |x, y| x.rem_floor(y),
        loops: rests,
        check: elementwise::demand_divisor,
        lhs: [] |g| g,
        rhs: [lhs, rhs] |g| g.neg() * lhs.floor_divide(rhs),
        domain: (3.05 to 3.85, 1.3 to 1.5), specials: [(-2.5, 2.0) => [1.0, 2.0]],
        misuses: [(Int::ones([2]), Int::zeros([2])) => "division of integers by 0 at [0] of rhs"],
        numpy: "remainder", torch: "remainder",
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
        loops: commuting,
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
        loops: commuting,
        lhs: [lhs, rhs] |g| g * share(rhs, lhs),
        rhs: [lhs, rhs] |g| g * share(lhs, rhs),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.5, 0.5]],
        numpy: "minimum", torch: "minimum",
    }

    // The point that lies `weight` of the way from the first to the second; see `Tensor::lerp`.
    lerp(weight = [0.25, 0.75]) = LERP {
        eval: |x, y| {
            // From the nearer end, so that both ends are exact.
            let (one, step) = (R::lit(1.0), y - x);
            R::select(weight.lt(R::lit(0.5)), x + weight * step, y - step * (one - weight))
        },
        lhs: [] |g| g * (1.0 - weight),
        rhs: [] |g| g * weight,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [],
        numpy: "", torch: "lerp",
    }
}

/// 1 where `x` is larger, 1/2 where both are equal, 0 elsewhere.
fn share(x: &Tensor, y: &Tensor) -> Tensor {
    let half = |mask: Tensor<Bool>| mask.to_float_as(x.dtype()) * 0.5;
    half(x.gt(y)) + half(x.ge(y))
}

/// Whether a remainder with the dividend's sign lies on the other side of 0 than the divisor.
#[inline(always)]
fn overshoots<R: Real>(rest: R, divisor: R) -> R::Mask {
    let zero = R::lit(0.0);
    R::select(divisor.lt(zero), -rest, rest).lt(zero)
}

impl Tensor {
    /// The point that lies `weight` of the way from this tensor to `end`, element by element: this tensor at weight 0,
    /// `end` at weight 1. The weight is a number or a tensor; all broadcast.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (start, end) = (tensor![0.0, 10.0], tensor![4.0, 20.0]);
    /// assert_eq!(start.lerp(&end, 0.25).to_vec::<f32>(), [1.0, 12.5]);
    /// assert_eq!(start.lerp(&end, tensor![0.0, 1.0]).to_vec::<f32>(), [0.0, 20.0]);
    /// ```
    #[track_caller]
    pub fn lerp<'a>(&self, end: &Tensor, weight: impl IntoOperand<'a, Float>) -> Tensor {
        or_panic(self.try_lerp(end, weight))
    }

    /// Fallible form of [`lerp`](Self::lerp).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_lerp<'a>(&self, end: &Tensor, weight: impl IntoOperand<'a, Float>) -> Result<Tensor> {
        if let Some(weight) = weight.number() {
            return apply1(&LERP, attrs! { weight: weight }, &mut [self.into(), end.into()]);
        }
        let step = end.try_sub(self)?;
        self.try_add(step.try_mul(weight)?)
    }
}
