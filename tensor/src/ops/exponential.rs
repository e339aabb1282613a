//! Exponentials, logarithms, and the error function.

use crate::kernels::double::DENSITY_AT_0;
use crate::ops::binary::binary;
use crate::ops::unary::unary;
use crate::tensor::Tensor;

/// The density of the standard normal distribution.
pub(super) fn normal_density(x: &Tensor) -> Tensor {
    (x.square() * -0.5).exp() * DENSITY_AT_0
}

unary! {
    pub(crate) static OPS;

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

    /// 2 to the power of each element.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![3.0].exp2().to_vec::<f32>(), [8.0]);
    /// ```
    exp2 / try_exp2 = EXP2 {
        eval: |x| x.exp2(),
        gradient: output |g, y| g * y * std::f64::consts::LN_2,
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, -20.0, 5.0],
        numpy: "exp2", torch: "exp2",
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

    /// The logarithm of each element to base 2: negative infinity at 0, NaN below.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![8.0].log2().to_vec::<f32>(), [3.0]);
    /// ```
    log2 / try_log2 = LOG2 {
        eval: |x| x.log2(),
        gradient: input |g, x| g / (x * std::f64::consts::LN_2),
        domain: 0.1 to 4.0, kinks: [], specials: [1.0, 100.0],
        numpy: "log2", torch: "log2",
    }

    /// The logarithm of each element to base 10: negative infinity at 0, NaN below.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1000.0].log10().to_vec::<f32>(), [3.0]);
    /// ```
    log10 / try_log10 = LOG10 {
        eval: |x| x.log10(),
        gradient: input |g, x| g / (x * std::f64::consts::LN_10),
        domain: 0.1 to 4.0, kinks: [], specials: [1.0, 100.0],
        numpy: "log10", torch: "log10",
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

    /// One minus the error function of each element, precise where that is nearly 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].erfc().to_vec::<f32>(), [1.0]);
    /// ```
    erfc / try_erfc = ERFC {
        eval: |x| x.erfc(),
        gradient: input |g, x| g * x.square().neg().exp() * -std::f64::consts::FRAC_2_SQRT_PI,
        domain: -2.5 to 2.5, kinks: [], specials: [0.0, 3.0, -7.0, 10.0],
        numpy: "", torch: "erfc",
    }

    /// The distribution function of the standard normal distribution at each element,
    /// `(1 + erf(x / sqrt(2))) / 2`, precise in its left tail too.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].normal_cdf().to_vec::<f32>(), [0.5]);
    /// ```
    normal_cdf / try_normal_cdf = NORMAL_CDF {
        eval: |x| x.normal_cdf(),
        gradient: input |g, x| g * normal_density(x),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 6.0, -6.0, -20.0],
        numpy: "", torch: "special.ndtr",
    }
}

binary! {
    pub(crate) static OF_TWO;

    /// `log(exp(x) + exp(y))` of two tensors, element by element, without overflow: how probabilities are added that are
    /// kept as logarithms.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1000.0].logaddexp(tensor![1000.0]).to_vec::<f32>(), [1000.0 + 2f32.ln()]);
    /// ```
    logaddexp / try_logaddexp = LOGADDEXP {
        eval: |x, y| {
            let (larger, distance) = (x.max(y), (x - y).abs());
            // Two equal infinities have no distance.
            R::select(x.eq(y), larger + R::lit(std::f64::consts::LN_2), larger + (-distance).exp().ln_1p_of_share())
        },
        lhs: [lhs, rhs] |g| g * (lhs - rhs).sigmoid(),
        rhs: [lhs, rhs] |g| g * (rhs - lhs).sigmoid(),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(2.0, 2.0) => [0.5, 0.5]],
        numpy: "logaddexp", torch: "logaddexp",
    }
}
