//! Elementwise operations of one operand: signs, powers and roots, rounding.
//!
//! Each entry of `unary!` is a whole operation: to add one, add an entry. The other files of such operations, by what
//! they are: `exponential`, `trigonometric`, `activation`, `scalar`.

use crate::ops::activation::{CLAMP_GRAD, with_bounds};

/// Defines the elementwise operations of one operand of a file.
///
/// It begins with the name of their list. `eval` is the operation on one element, without branches (see
/// [`Real`](crate::kernels::number::Real)); beyond the magnitude `end`, if there is one, with the standard library's
/// functions. `int` is the same for integers, and makes the method one of integer tensors too. `gradient` names what the
/// rule reads (`input`, `output` or `none`), then the rule in tensor operations. `domain` is where samples are drawn,
/// `kinks` the points that samples keep away from, each with the gradient there; `specials` further points to check.
macro_rules! unary {
    (pub(crate) static $OPS:ident; $(
        $(#[$doc:meta])*
        $name:ident / $try_name:ident $(($($p:ident = [$($pv:expr),+]),+))? = $OP:ident {
            eval: |$x:ident| $eval:expr,
            $(end: $end:expr,)?
            $(int: |$ix:ident| $int:expr,)?
            gradient: $reads:ident |$g:ident, $s:pat_param| $rule:expr,
            domain: $low:literal to $high:literal,
            kinks: [$($kink:literal => $slope:expr),*],
            specials: [$($special:expr),*],
            numpy: $numpy:literal, torch: $torch:literal,
        }
    )*) => {
        /// The operations below.
        pub(crate) static $OPS: &[&$crate::dispatch::Op] = &[$(&$OP),*];

        $(
            #[doc = concat!("The operation of [`Tensor::", stringify!($name), "`].")]
            pub(crate) static $OP: $crate::dispatch::Op = {
                use $crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves};
                use $crate::kernels::map::UnaryBody;
                use $crate::kernels::number::Real;
                use $crate::ops::elementwise::{self, MapTable, bind_numbers};
                use $crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
                struct Body;
                impl UnaryBody for Body {
                    $(const END: f64 = $end;)?
                    #[inline(always)]
                    #[allow(unused_variables)]
                    fn eval<R: Real>($x: R, numbers: &[f64]) -> R {
                        bind_numbers!(numbers $($($p),+)?);
                        $eval
                    }
                }
                fn forward(call: &mut Call<'_, '_>) -> $crate::error::Result<Outputs> {
                    static TABLE: MapTable = unary!(@table $(|$ix| $int)?);
                    let numbers = [$($(call.attrs().float(stringify!($p))),+)?];
                    elementwise::map(call, &TABLE, &numbers)
                }
                #[allow(unused_variables)]
                fn vjp(cx: &mut $crate::tape::Vjp<'_>) {
                    $($(let $p = cx.attrs().float(stringify!($p));)+)?
                    let $g = cx.g();
                    let $s = unary!(@read $reads cx);
                    let gradient: $crate::Tensor = $rule;
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
                    let point = $crate::Shape::scalar();
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
                        misuses: || vec![Misuse::new(
                            [$crate::Bool::full([2], true).into()],
                            attrs(&mut Gen::new(0, $crate::DType::F64)),
                            "not supported",
                        )],
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

    (@table) => { MapTable::float::<Body>() };
    (@table |$ix:ident| $int:expr) => {{
        struct IntBody;
        impl $crate::kernels::map::UnaryIntBody for IntBody {
            #[inline(always)]
            fn eval<W: $crate::kernels::number::Whole>($ix: W) -> W { $int }
        }
        MapTable::with_int::<Body, IntBody>()
    }};
    (@precisions) => { $crate::registry::FLOATS };
    (@precisions $ix:ident) => { $crate::registry::NUMERIC };
    (@read input $cx:ident) => { &$cx.input::<$crate::Float>(0) };
    (@read output $cx:ident) => { &$cx.output::<$crate::Float>(0) };
    (@read none $cx:ident) => { () };
    (@saves input) => { Saves::INPUT };
    (@saves output) => { Saves::OUTPUT };
    (@saves none) => { Saves::NONE };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident ($($p:ident),*)) => {
        $crate::ops::twin! {
            impl [] $crate::Tensor {
                $(#[$doc])*
                pub fn $name / $try_name(&self $(, $p: f64)*) -> $crate::Tensor {
                    $crate::dispatch::apply1(&$OP, $crate::attrs! { $($p: $p),* }, &mut [self.into()])
                }
            }
        }
    };
    (@method $(#[$doc:meta])* $name:ident $try_name:ident $OP:ident () $ix:ident) => {
        $crate::ops::twin! {
            impl [<K: $crate::Numeric>] $crate::Tensor<K> {
                $(#[$doc])*
                pub fn $name / $try_name(&self) -> $crate::Tensor<K> {
                    $crate::dispatch::apply1(&$OP, $crate::dispatch::Attrs::NONE, &mut [self.into()])
                }
            }
        }
    };
}
pub(crate) use unary;

unary! {
    pub(crate) static OPS;

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

    /// One over the square root of each element: infinite at 0, NaN below.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![4.0].rsqrt().to_vec::<f32>(), [0.5]);
    /// ```
    rsqrt / try_rsqrt = RSQRT {
        eval: |x| R::lit(1.0) / x.sqrt(),
        gradient: output |g, y| g * (y.square() * y) * -0.5,
        domain: 0.2 to 4.0, kinks: [], specials: [1.0, 100.0],
        numpy: "", torch: "rsqrt",
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
        gradient: input |g, x| with_bounds(&CLAMP_GRAD, &g, x, low, high),
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
}
