//! Trigonometric and hyperbolic functions, and their inverses.

use crate::kernels::single::TRIGONOMETRIC_END;
use crate::ops::binary::binary;
use crate::ops::unary::unary;
use crate::tensor::Tensor;

/// Beyond this, `x^2 + 1` and `x^2` are the same number in every precision, and `x^2` may overflow in F32.
const FAR: f64 = 1e15;

unary! {
    pub(crate) static OPS;

    /// The sine of each element, in radians.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].sin().to_vec::<f32>(), [0.0]);
    /// ```
    sin / try_sin = SIN {
        eval: |x| x.sin(),
        end: TRIGONOMETRIC_END,
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
        end: TRIGONOMETRIC_END,
        gradient: input |g, x| g * x.sin().neg(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, std::f64::consts::PI, 30.0],
        numpy: "cos", torch: "cos",
    }

    /// The tangent of each element, in radians.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].tan().to_vec::<f32>(), [0.0]);
    /// ```
    tan / try_tan = TAN {
        eval: |x| x.tan(),
        end: TRIGONOMETRIC_END,
        gradient: output |g, y| g * (y.square() + 1.0),
        domain: -1.2 to 1.2, kinks: [], specials: [0.0, 30.0],
        numpy: "tan", torch: "tan",
    }

    /// The arc sine of each element, in radians from -pi/2 to pi/2; NaN outside of -1 to 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].asin().to_vec::<f32>(), [0.0]);
    /// ```
    asin / try_asin = ASIN {
        eval: |x| x.asin(),
        gradient: input |g, x| g * ((1.0 - x) * (x + 1.0)).rsqrt(),
        domain: -0.9 to 0.9, kinks: [], specials: [0.0],
        numpy: "arcsin", torch: "asin",
    }

    /// The arc cosine of each element, in radians from 0 to pi; NaN outside of -1 to 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0].acos().to_vec::<f32>(), [0.0]);
    /// ```
    acos / try_acos = ACOS {
        eval: |x| x.acos(),
        gradient: input |g, x| g.neg() * ((1.0 - x) * (x + 1.0)).rsqrt(),
        domain: -0.9 to 0.9, kinks: [], specials: [0.0],
        numpy: "arccos", torch: "acos",
    }

    /// The arc tangent of each element, in radians from -pi/2 to pi/2.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].atan().to_vec::<f32>(), [0.0]);
    /// ```
    atan / try_atan = ATAN {
        eval: |x| x.atan(),
        gradient: input |g, x| g / (x.square() + 1.0),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 30.0],
        numpy: "arctan", torch: "atan",
    }

    /// The hyperbolic sine of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].sinh().to_vec::<f32>(), [0.0]);
    /// ```
    sinh / try_sinh = SINH {
        eval: |x| x.sinh(),
        gradient: input |g, x| g * x.cosh(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0],
        numpy: "sinh", torch: "sinh",
    }

    /// The hyperbolic cosine of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].cosh().to_vec::<f32>(), [1.0]);
    /// ```
    cosh / try_cosh = COSH {
        eval: |x| x.cosh(),
        gradient: input |g, x| g * x.sinh(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0],
        numpy: "cosh", torch: "cosh",
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

    /// The inverse hyperbolic sine of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].asinh().to_vec::<f32>(), [0.0]);
    /// ```
    asinh / try_asinh = ASINH {
        eval: |x| {
            // log(a + sqrt(a^2 + 1)) of the magnitude, without cancelling near 0 or overflowing far from it.
            let (one, a) = (R::lit(1.0), x.abs());
            let b = one / a;
            let near = (a + a / ((one + b * b).sqrt() + b)).ln_1p();
            let size = R::select(R::lit(FAR).lt(a), a.ln() + R::lit(std::f64::consts::LN_2), near);
            R::select(x.lt(R::lit(0.0)), -size, size)
        },
        gradient: input |g, x| g * (x.square() + 1.0).rsqrt(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 30.0],
        numpy: "arcsinh", torch: "asinh",
    }

    /// The inverse hyperbolic cosine of each element; NaN below 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0].acosh().to_vec::<f32>(), [0.0]);
    /// ```
    acosh / try_acosh = ACOSH {
        eval: |x| {
            let d = x - R::lit(1.0);
            let near = (d + d.sqrt() * (d + R::lit(2.0)).sqrt()).ln_1p();
            R::select(R::lit(FAR).lt(x), x.ln() + R::lit(std::f64::consts::LN_2), near)
        },
        gradient: input |g, x| g * ((x - 1.0) * (x + 1.0)).rsqrt(),
        domain: 1.3 to 4.0, kinks: [], specials: [30.0],
        numpy: "arccosh", torch: "acosh",
    }

    /// The inverse hyperbolic tangent of each element: infinite at -1 and 1, NaN beyond.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].atanh().to_vec::<f32>(), [0.0]);
    /// ```
    atanh / try_atanh = ATANH {
        eval: |x| {
            let a = x.abs();
            let size = (R::lit(2.0) * a / (R::lit(1.0) - a)).ln_1p() * R::lit(0.5);
            R::select(x.lt(R::lit(0.0)), -size, size)
        },
        gradient: input |g, x| g / ((1.0 - x) * (x + 1.0)),
        domain: -0.8 to 0.8, kinks: [], specials: [0.0],
        numpy: "arctanh", torch: "atanh",
    }
}

binary! {
    pub(crate) static OF_TWO;

    /// The angle of the point whose height is in this tensor and whose width is in the other, in radians from -pi to pi.
    /// The gradient at the origin is 0.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1.0].atan2(tensor![1.0, 0.0]).to_vec::<f32>(), [0.0, std::f32::consts::FRAC_PI_2]);
    /// ```
    atan2 / try_atan2 = ATAN2 {
        eval: |y, x| y.atan2(x),
        lhs: [lhs, rhs] |g| g * rhs / squared_distance(lhs, rhs),
        rhs: [lhs, rhs] |g| g.neg() * lhs / squared_distance(lhs, rhs),
        domain: (0.3 to 3.0, -3.0 to 3.0), specials: [(0.0, 0.0) => [0.0, 0.0], (0.0, 2.0) => [0.5, 0.0]],
        numpy: "arctan2", torch: "atan2",
    }
}

/// The square of the distance from the origin; 1 there, to divide by.
fn squared_distance(y: &Tensor, x: &Tensor) -> Tensor {
    let square = y.square() + x.square();
    let origin = square.eq(0.0).to_float_as(square.dtype());
    square + origin
}
