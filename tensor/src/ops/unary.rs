//! Elementwise operations of one operand.
//!
//! Each entry of `unary!` is a whole operation: to add one, add an entry.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::DType;
use crate::error::Result;
use crate::kernels::map::{UnaryBody, UnaryIntBody};
use crate::kernels::number::{Real, Whole};
use crate::kind::{Float, Numeric};
use crate::ops::elementwise::{self, MapTable};
use crate::ops::twin;
use crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::tape::Vjp;
use crate::tensor::Tensor;

/// Defines elementwise operations of one operand.
///
/// `eval` is the operation on one element, without branches (see [`Real`](crate::kernels::number::Real)); `int` is the
/// same for integers, and makes the method one of integer tensors too. `gradient` names what the rule reads (`input`,
/// `output` or `none`), then the rule in tensor operations. `domain` is where samples are drawn, `kinks` the points
/// that samples keep away from, each with the gradient there; `specials` further points to check.
macro_rules! unary {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident $(($($p:ident = [$($pv:expr),+]),+))? = $OP:ident {
            eval: |$x:ident| $eval:expr,
            $(int: |$ix:ident| $int:expr,)?
            gradient: $reads:ident |$g:ident, $s:pat_param| $rule:expr,
            domain: $low:literal to $high:literal,
            kinks: [$($kink:literal => $slope:expr),*],
            specials: [$($special:expr),*],
            numpy: $numpy:literal, torch: $torch:literal,
        }
    )*) => {
        /// The operations of this file.
        pub(crate) static OPS: &[&Op] = &[$(&$OP),*];

        $(
            #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
            pub(crate) static $OP: Op = {
                struct Body;
                impl UnaryBody for Body {
                    #[inline(always)]
                    #[allow(unused_variables)]
                    fn eval<R: Real>($x: R, numbers: &[f64]) -> R {
                        unary!(@bind_real numbers $($($p),+)?);
                        $eval
                    }
                }
                fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
                    static TABLE: MapTable = unary!(@table $(|$ix| $int)?);
                    let numbers = [$($(call.attrs().float(stringify!($p))),+)?];
                    elementwise::map(call, &TABLE, &numbers)
                }
                #[allow(unused_variables)]
                fn vjp(cx: &mut Vjp<'_>) {
                    $($(let $p = cx.attrs().float(stringify!($p));)+)?
                    let $g = cx.g();
                    let $s = unary!(@read $reads cx);
                    let gradient: Tensor = $rule;
                    cx.give(0, gradient);
                }
                #[allow(unused_mut)]
                fn attrs(_generator: &mut Gen) -> Attrs {
                    let mut attrs = Attrs::NONE;
                    $($(attrs = attrs.with(stringify!($p), _generator.pick(&[$($pv as f64),+]));)+)?
                    attrs
                }
                fn samples(g: &mut Gen) -> Vec<Sample> {
                    let shape = g.shape(0, 3);
                    let x = g.avoiding(&shape, $low as f64, $high as f64, &[$($kink as f64),*]);
                    let attrs = attrs(g);
                    vec![Sample::new([x], attrs)]
                }
                #[allow(unused_variables, unused_mut)]
                fn specials(g: &mut Gen) -> Vec<Sample> {
                    let mut out: Vec<Sample> = Vec::new();
                    let point = Shape::scalar();
                    let call = attrs(g);
                    let kinks: Vec<(f64, f64)> = {
                        $($(let $p = call.float(stringify!($p));)+)?
                        vec![$(($kink as f64, $slope)),*]
                    };
                    for (kink, slope) in kinks {
                        let x = g.tensor(&[kink], &point);
                        out.push(Sample::new([x], call.clone()).with_gradient([vec![slope]]));
                    }
                    $(
                        let x = g.tensor(&[$special as f64], &point);
                        out.push(Sample::new([x], call.clone()));
                    )*
                    out
                }
                fn info() -> OpInfo {
                    OpInfo {
                        family: Family::Map,
                        numpy: $numpy,
                        torch: $torch,
                        precisions: unary!(@precisions $($ix)?),
                        samples,
                        specials,
                        misuses: || vec![Misuse::new([crate::Bool::full([2], true).into()], attrs(&mut Gen::new(0, DType::F64)), "not supported")],
                    }
                }
                Op {
                    name: stringify!($name),
                    operands: &["input"],
                    forward,
                    gradient: Gradient::Rule { saves: |_| unary!(@saves $reads), vjp },
                    info,
                }
            };

            unary!(@method $(#[$doc])* $name $try_name $OP ($($($p),+)?) $($ix)?);
        )*
    };

    (@bind_real $numbers:ident) => {};
    (@bind_real $numbers:ident $p:ident) => { let $p = R::lit($numbers[0]); };
    (@bind_real $numbers:ident $p:ident, $q:ident) => {
        let $p = R::lit($numbers[0]);
        let $q = R::lit($numbers[1]);
    };
    (@table) => { MapTable::float::<Body>() };
    (@table |$ix:ident| $int:expr) => {{
        struct IntBody;
        impl UnaryIntBody for IntBody {
            #[inline(always)]
            fn eval<W: Whole>($ix: W) -> W { $int }
        }
        MapTable::with_int::<Body, IntBody>()
    }};
    (@precisions) => { crate::registry::FLOATS };
    (@precisions $ix:ident) => { crate::registry::NUMERIC };
    (@read input $cx:ident) => { &$cx.input::<Float>(0) };
    (@read output $cx:ident) => { &$cx.output::<Float>(0) };
    (@read none $cx:ident) => { () };
    (@saves input) => { Saves::INPUT };
    (@saves output) => { Saves::OUTPUT };
    (@saves none) => { Saves::NONE };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident ($($p:ident),*)) => {
        twin! {
            impl [] Tensor {
                $(#[$doc])*
                pub fn $name / $try_name(&self $(, $p: f64)*) -> Tensor {
                    apply1(&$OP, attrs! { $($p: $p),* }, &mut [self.into()])
                }
            }
        }
    };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident () $ix:ident) => {
        twin! {
            impl [<K: Numeric>] Tensor<K> {
                $(#[$doc])*
                pub fn $name / $try_name(&self) -> Tensor<K> {
                    apply1(&$OP, Attrs::NONE, &mut [self.into()])
                }
            }
        }
    };
}

unary! {
    /// Each element with its sign turned.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, -2.0].neg().to_vec::<f32>(), [-1.0, 2.0]);
    /// ```
    neg / try_neg = NEG {
        eval: |x| -x,
        int: |x| x.wrapping_neg(),
        gradient: none |g, _| g.neg(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0],
        numpy: "negative", torch: "neg",
    }

    /// The absolute value of each element. The gradient at 0 is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, -2.0].abs().to_vec::<f32>(), [1.0, 2.0]);
    /// ```
    abs / try_abs = ABS {
        eval: |x| x.abs(),
        int: |x| x.wrapping_abs(),
        gradient: input |g, x| g * x.sign(),
        domain: -3.0 to 3.0, kinks: [0.0 => 0.0], specials: [],
        numpy: "abs", torch: "abs",
    }

    /// The sign of each element: -1, 0 or 1, and NaN for NaN. Its gradient is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, 0.0, -0.5].sign().to_vec::<f32>(), [1.0, 0.0, -1.0]);
    /// ```
    sign / try_sign = SIGN {
        eval: |x| {
            let zero = R::lit(0.0);
            let positive = R::select(zero.lt(x), R::lit(1.0), R::select(x.is_nan(), x, zero));
            R::select(x.lt(zero), R::lit(-1.0), positive)
        },
        int: |x| x.sign(),
        gradient: none |g, _| g * 0.0,
        domain: -3.0 to 3.0, kinks: [0.0 => 0.0], specials: [],
        numpy: "sign", torch: "sign",
    }

    /// `e` to the power of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].exp().to_vec::<f32>(), [1.0]);
    /// ```
    exp / try_exp = EXP {
        eval: |x| x.exp(),
        gradient: output |g, y| g * y,
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, -20.0, 5.0],
        numpy: "exp", torch: "exp",
    }

    /// The natural logarithm of each element: negative infinity at 0, NaN below.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0].log().to_vec::<f32>(), [0.0]);
    /// ```
    log / try_log = LOG {
        eval: |x| x.ln(),
        gradient: input |g, x| g / x,
        domain: 0.1 to 4.0, kinks: [], specials: [1.0, 100.0],
        numpy: "log", torch: "log",
    }

    /// The square root of each element: NaN below 0, and an infinite gradient at 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![4.0].sqrt().to_vec::<f32>(), [2.0]);
    /// ```
    sqrt / try_sqrt = SQRT {
        eval: |x| x.sqrt(),
        gradient: output |g, y| g * 0.5 / y,
        domain: 0.1 to 4.0, kinks: [], specials: [1.0, 100.0],
        numpy: "sqrt", torch: "sqrt",
    }

    /// Each element times itself.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-3.0].square().to_vec::<f32>(), [9.0]);
    /// ```
    square / try_square = SQUARE {
        eval: |x| x * x,
        int: |x| x.wrapping_mul(&x),
        gradient: input |g, x| g * x * 2.0,
        domain: -3.0 to 3.0, kinks: [], specials: [0.0],
        numpy: "square", torch: "square",
    }

    /// One over each element: infinite at 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![4.0].recip().to_vec::<f32>(), [0.25]);
    /// ```
    recip / try_recip = RECIP {
        eval: |x| R::lit(1.0) / x,
        gradient: output |g, y| g.neg() * y * y,
        domain: 0.3 to 3.0, kinks: [], specials: [-1.0, 10.0],
        numpy: "reciprocal", torch: "reciprocal",
    }

    /// The sine of each element, in radians.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].sin().to_vec::<f32>(), [0.0]);
    /// ```
    sin / try_sin = SIN {
        eval: |x| x.sin(),
        gradient: input |g, x| g * x.cos(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, std::f64::consts::PI, 30.0],
        numpy: "sin", torch: "sin",
    }

    /// The cosine of each element, in radians.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].cos().to_vec::<f32>(), [1.0]);
    /// ```
    cos / try_cos = COS {
        eval: |x| x.cos(),
        gradient: input |g, x| g * x.sin().neg(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, std::f64::consts::PI, 30.0],
        numpy: "cos", torch: "cos",
    }

    /// The hyperbolic tangent of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].tanh().to_vec::<f32>(), [0.0]);
    /// ```
    tanh / try_tanh = TANH {
        eval: |x| x.tanh(),
        gradient: output |g, y| g * (1.0 - y.square()),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 10.0, -10.0],
        numpy: "tanh", torch: "tanh",
    }

    /// The logistic function of each element, `1 / (1 + exp(-x))`, without overflow on either side.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1000.0, -1000.0].sigmoid().to_vec::<f32>(), [0.5, 1.0, 0.0]);
    /// ```
    sigmoid / try_sigmoid = SIGMOID {
        eval: |x| {
            let one = R::lit(1.0);
            let e = (-x.abs()).exp();
            R::select(x.lt(R::lit(0.0)), e, one) / (one + e)
        },
        gradient: output |g, y| g * (y * (1.0 - y)),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 20.0, -20.0],
        numpy: "", torch: "sigmoid",
    }

    /// The larger of each element and 0; NaN stays NaN. The gradient at 0 is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1.0, 2.0].relu().to_vec::<f32>(), [0.0, 2.0]);
    /// ```
    relu / try_relu = RELU {
        eval: |x| R::select(x.lt(R::lit(0.0)), R::lit(0.0), x),
        gradient: output |g, y| g * y.sign(),
        domain: -3.0 to 3.0, kinks: [0.0 => 0.0], specials: [],
        numpy: "", torch: "relu",
    }

    /// The error function of each element, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 10.0].erf().to_vec::<f32>(), [0.0, 1.0]);
    /// ```
    erf / try_erf = ERF {
        eval: |x| x.erf(),
        gradient: input |g, x| g * x.square().neg().exp() * std::f64::consts::FRAC_2_SQRT_PI,
        domain: -2.5 to 2.5, kinks: [], specials: [0.0, 3.0, -7.0],
        numpy: "", torch: "erf",
    }

    /// The Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 10.0].gelu().to_vec::<f32>(), [0.0, 10.0]);
    /// ```
    gelu / try_gelu = GELU {
        eval: |x| x * x.normal_cdf(),
        gradient: input |g, x| {
            let cdf = (x * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
            let density = (x.square() * -0.5).exp() * (0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
            g * (cdf + x * density)
        },
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 6.0, -6.0],
        numpy: "", torch: "nn.functional.gelu",
    }

    /// Each element where it is positive, `slope` times it elsewhere. The gradient at 0 is `slope`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1.0, 2.0].leaky_relu(0.5).to_vec::<f32>(), [-0.5, 2.0]);
    /// ```
    leaky_relu / try_leaky_relu(slope = [0.01, 0.3]) = LEAKY_RELU {
        eval: |x| R::select(R::lit(0.0).lt(x), x, x * slope),
        gradient: input |g, x| {
            let positive = x.gt(0.0).to_float_as(x.dtype());
            g * (positive * (1.0 - slope) + slope)
        },
        domain: -3.0 to 3.0, kinks: [0.0 => slope], specials: [],
        numpy: "", torch: "nn.functional.leaky_relu",
    }

    /// Each element, brought into `[low, high]`. The gradient is 1 inside and on the bounds, 0 outside.
    ///
    /// NaN stays NaN. If `low` is larger than `high`, every element becomes `high`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-2.0, 0.5, 2.0].clamp(-1.0, 1.0).to_vec::<f32>(), [-1.0, 0.5, 1.0]);
    /// ```
    clamp / try_clamp(low = [-1.0], high = [1.0]) = CLAMP {
        eval: |x| {
            let x = R::select(x.lt(low), low, x);
            R::select(high.lt(x), high, x)
        },
        gradient: input |g, x| g * (x.ge(low).and(&x.le(high))).to_float_as(x.dtype()),
        domain: -3.0 to 3.0, kinks: [-1.0 => 1.0, 1.0 => 1.0], specials: [],
        numpy: "clip", torch: "clamp",
    }

    /// The largest integer not above each element. Its gradient is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.5, -1.5].floor().to_vec::<f32>(), [1.0, -2.0]);
    /// ```
    floor / try_floor = FLOOR {
        eval: |x| x.floor(),
        gradient: none |g, _| g * 0.0,
        domain: -3.0 to 3.0, kinks: [-1.0 => 0.0, 0.0 => 0.0, 1.0 => 0.0, 2.0 => 0.0, -2.0 => 0.0], specials: [],
        numpy: "floor", torch: "floor",
    }

    /// The smallest integer not below each element. Its gradient is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.5, -1.5].ceil().to_vec::<f32>(), [2.0, -1.0]);
    /// ```
    ceil / try_ceil = CEIL {
        eval: |x| x.ceil(),
        gradient: none |g, _| g * 0.0,
        domain: -3.0 to 3.0, kinks: [-1.0 => 0.0, 0.0 => 0.0, 1.0 => 0.0, 2.0 => 0.0, -2.0 => 0.0], specials: [],
        numpy: "ceil", torch: "ceil",
    }

    /// The integer nearest to each element, of two equally near the even one. Its gradient is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.5, 1.5, -1.2].round().to_vec::<f32>(), [0.0, 2.0, -1.0]);
    /// ```
    round / try_round = ROUND {
        eval: |x| x.round_even(),
        gradient: none |g, _| g * 0.0,
        domain: -2.4 to 2.4, kinks: [-1.5 => 0.0, -0.5 => 0.0, 0.5 => 0.0, 1.5 => 0.0], specials: [],
        numpy: "round", torch: "round",
    }

    /// Each element without its fraction: rounded towards 0. Its gradient is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.5, -1.5].trunc().to_vec::<f32>(), [1.0, -1.0]);
    /// ```
    trunc / try_trunc = TRUNC {
        eval: |x| x.trunc(),
        gradient: none |g, _| g * 0.0,
        domain: -3.0 to 3.0, kinks: [-1.0 => 0.0, 0.0 => 0.0, 1.0 => 0.0, 2.0 => 0.0, -2.0 => 0.0], specials: [],
        numpy: "trunc", torch: "trunc",
    }

    /// `exp(x) - 1` of each element, exact for small ones.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1e-10].expm1().to_vec::<f32>(), [0.0, 1e-10]);
    /// ```
    expm1 / try_expm1 = EXPM1 {
        eval: |x| x.exp_m1(),
        gradient: output |g, y| g * (y + 1.0),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 1e-3],
        numpy: "expm1", torch: "expm1",
    }

    /// `log(1 + x)` of each element, exact for small ones.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1e-10].log1p().to_vec::<f32>(), [0.0, 1e-10]);
    /// ```
    log1p / try_log1p = LOG1P {
        eval: |x| x.ln_1p(),
        gradient: input |g, x| g / (x + 1.0),
        domain: -0.6 to 3.0, kinks: [], specials: [0.0, 1e-3],
        numpy: "log1p", torch: "log1p",
    }

    /// Each element plus a number, the operator `x + number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![1.0] + 2.0).to_vec::<f32>(), [3.0]);
    /// ```
    add_scalar / try_add_scalar(number = [1.5, -2.0]) = ADD_SCALAR {
        eval: |x| x + number,
        gradient: none |g, _| g,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "add", torch: "add",
    }

    /// Each element minus a number, the operator `x - number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![1.0] - 2.0).to_vec::<f32>(), [-1.0]);
    /// ```
    sub_scalar / try_sub_scalar(number = [1.5, -2.0]) = SUB_SCALAR {
        eval: |x| x - number,
        gradient: none |g, _| g,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "subtract", torch: "sub",
    }

    /// A number minus each element, the operator `number - x`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((1.0 - tensor![3.0]).to_vec::<f32>(), [-2.0]);
    /// ```
    rsub_scalar / try_rsub_scalar(number = [1.5, -2.0]) = RSUB_SCALAR {
        eval: |x| number - x,
        gradient: none |g, _| g.neg(),
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "subtract", torch: "rsub",
    }

    /// Each element times a number, the operator `x * number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0] * 2.0).to_vec::<f32>(), [6.0]);
    /// ```
    mul_scalar / try_mul_scalar(number = [1.5, -2.0]) = MUL_SCALAR {
        eval: |x| x * number,
        gradient: none |g, _| g * number,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "multiply", torch: "mul",
    }

    /// Each element over a number, the operator `x / number`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((tensor![3.0] / 2.0).to_vec::<f32>(), [1.5]);
    /// ```
    div_scalar / try_div_scalar(number = [1.5, -2.0]) = DIV_SCALAR {
        eval: |x| x / number,
        gradient: none |g, _| g / number,
        domain: -3.0 to 3.0, kinks: [], specials: [],
        numpy: "divide", torch: "div",
    }

    /// A number over each element, the operator `number / x`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!((3.0 / tensor![2.0]).to_vec::<f32>(), [1.5]);
    /// ```
    rdiv_scalar / try_rdiv_scalar(number = [1.5, -2.0]) = RDIV_SCALAR {
        eval: |x| number / x,
        gradient: input |g, x| g * (-number / x.square()),
        domain: 0.3 to 3.0, kinks: [], specials: [-1.0],
        numpy: "divide", torch: "div",
    }
}
