//! Powers: of tensors, and of a tensor and a number.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::error::{Result, or_panic};
use crate::kernels::map::UnaryBody;
use crate::kernels::number::Real;
use crate::kind::Float;
use crate::ops::binary::{IntoOperand, binary};
use crate::ops::elementwise::{self, MapTable};
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::tape::Vjp;
use crate::tensor::Tensor;

binary! {
    pub(crate) static OPS;

    // See `Tensor::pow`.
    pow = POW {
        eval: |x, y| x.pow(y),
        long: true,
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
}

/// The operation of [`Tensor::pow`] for an exponent that is a number.
pub(crate) static POW_SCALAR: Op = {
    /// Defines the bodies of the exponents that have a shorter way.
    macro_rules! bodies {
        ($($Body:ident: |$x:ident, $p:ident| $eval:expr;)*) => {$(
            struct $Body;
            impl UnaryBody for $Body {
                #[inline(always)]
                #[allow(unused_variables)]
                fn eval<R: Real>($x: R, numbers: &[f64]) -> R {
                    let $p = R::lit(numbers[0]);
                    $eval
                }
            }
        )*};
    }
    bodies! {
        One: |x, p| R::lit(1.0);
        Same: |x, p| x;
        Square: |x, p| x * x;
        Cube: |x, p| x * x * x;
        Root: |x, p| x.sqrt();
        Inverse: |x, p| R::lit(1.0) / x;
        InverseRoot: |x, p| R::lit(1.0) / x.sqrt();
        Any: |x, p| x.pow(p);
    }
    fn table(exponent: f64) -> &'static MapTable {
        static TABLES: [MapTable; 8] = [
            MapTable::float::<One>(),
            MapTable::float::<Same>(),
            MapTable::float::<Square>(),
            MapTable::float::<Cube>(),
            MapTable::float::<Root>(),
            MapTable::float::<Inverse>(),
            MapTable::float::<InverseRoot>(),
            MapTable::float::<Any>(),
        ];
        let short = [0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -0.5];
        &TABLES[short.iter().position(|&p| p == exponent).unwrap_or(short.len())]
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let exponent = call.attrs().float("exponent");
        elementwise::map(call, table(exponent), &[exponent])
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (x, g, exponent) = (cx.input::<Float>(0), cx.g(), cx.attrs().float("exponent"));
        // At exponent 0 the power is constant: 0, not 0 times an infinite x^-1.
        let gradient = if exponent == 0.0 { g * 0.0 } else { g * (x.pow(exponent - 1.0) * exponent) };
        cx.give(0, gradient);
    }
    fn call(g: &mut Gen, values: &[f64], exponent: f64) -> Sample {
        Sample::new([g.tensor(values, &[values.len()].into())], attrs! { exponent: exponent })
    }
    Op {
        name: "pow_scalar",
        operands: &["base"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUT, vjp },
        info: || OpInfo {
            family: Family::Map,
            numpy: "power",
            torch: "pow",
            precisions: FLOATS,
            samples: |g| {
                let shape = g.shape(0, 3);
                // Integer exponents take bases of either sign.
                let (low, exponents): (f64, &[f64]) = match g.below(2) {
                    0 => (-2.0, &[2.0, 3.0, 4.0, 1.0]),
                    _ => (0.4, &[0.5, -0.5, -1.0, -2.0, 1.5, 0.0]),
                };
                let (x, exponent) = (g.numbers(&shape, low, 2.0), g.pick(exponents));
                vec![Sample::new([x], attrs! { exponent: exponent })]
            },
            specials: |g| {
                vec![
                    call(g, &[0.0, -2.0], 2.0).with_gradient([vec![0.0, -4.0]]),
                    call(g, &[0.0, -2.0], 3.0).with_gradient([vec![0.0, 12.0]]),
                    call(g, &[0.0, -2.0], 1.0).with_gradient([vec![1.0, 1.0]]),
                    call(g, &[0.0, -2.0], 0.0).with_gradient([vec![0.0, 0.0]]),
                    call(g, &[0.0], 0.5).with_gradient([vec![f64::INFINITY]]),
                    call(g, &[-2.0], -3.0).with_gradient([vec![-0.1875]]),
                ]
            },
            misuses: || {
                let mask = crate::Bool::full([2], true).into();
                vec![Misuse::new([mask], attrs! { exponent: 2.0 }, "not supported")]
            },
        },
    }
};

/// The operations of this file beside those above.
pub(crate) static WITH_NUMBERS: &[&Op] = &[&POW_SCALAR];

impl Tensor {
    /// Each element to the power of the other, element by element; the exponent is a tensor or a number.
    ///
    /// A negative base to a power that is no integer is NaN. The gradient with respect to the base is 0 where the
    /// exponent is 0; with respect to the exponent it is 0 where the base is 0 (and the exponent not negative).
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0, -2.0].pow(2.0).to_vec::<f32>(), [9.0, 4.0]);
    /// assert_eq!(tensor![3.0, 2.0].pow(tensor![1.0, -1.0]).to_vec::<f32>(), [3.0, 0.5]);
    /// ```
    #[track_caller]
    pub fn pow<'a>(&self, exponent: impl IntoOperand<'a, Float>) -> Tensor {
        or_panic(self.try_pow(exponent))
    }

    /// Fallible form of [`pow`](Self::pow).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_pow<'a>(&self, exponent: impl IntoOperand<'a, Float>) -> Result<Tensor> {
        match exponent.number() {
            Some(number) => apply1(&POW_SCALAR, attrs! { exponent: number }, &mut [self.into()]),
            None => apply1(&POW, Attrs::NONE, &mut [self.into(), exponent.into_operand(self.dtype())]),
        }
    }
}
