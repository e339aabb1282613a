//! Activation functions.
//!
//! Where the derivative is a formula of its own, the gradient is one operation, computed in one pass and without
//! rounding between the steps; its own rule is written in the operations of this crate.

use crate::attrs;
use crate::dispatch::{Op, apply1, in_op};
use crate::error::{Error, or_panic};
use crate::kernels::double::DENSITY_AT_0;
use crate::kernels::number::Real;
use crate::ops::binary::{binary, zipped};
use crate::ops::exponential::normal_density;
use crate::ops::twin;
use crate::ops::unary::unary;
use crate::tensor::Tensor;

/// `log(1 + exp(x))`, without overflow.
#[inline(always)]
fn log_one_plus_exp<R: Real>(x: R) -> R {
    x.max(R::lit(0.0)) + (-x.abs()).exp().ln_1p_of_share()
}

/// `tanh(log(1 + exp(x)))`, for `x` up to [`MISH_END`].
#[inline(always)]
fn mish_factor<R: Real>(x: R) -> R {
    let e = x.exp();
    let n = e * (e + R::lit(2.0));
    n / (n + R::lit(2.0))
}

/// From here on the factor of `mish` is 1 in every precision.
const MISH_END: f64 = 20.0;
/// The factors of `gelu_tanh`, twice `sqrt(2 / pi)` and 0.044715 times that.
const GELU_A: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
const GELU_B: f64 = 0.044715 * GELU_A;
/// The constants of `selu`, from its paper.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

unary! {
    pub(crate) static OPS;

    /// The logistic function of each element, `1 / (1 + exp(-x))`, without overflow on either side.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1000.0, -1000.0].sigmoid().to_vec::<f32>(), [0.5, 1.0, 0.0]);
    /// ```
    sigmoid / try_sigmoid = SIGMOID {
        eval: |x| x.sigmoid(),
        gradient: output |g, y| g * (y * (1.0 - y)),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 20.0, -20.0],
        numpy: "", torch: "sigmoid",
    }

    /// The logarithm of [`sigmoid`](Self::sigmoid), without taking that of a number that has rounded to 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1000.0, 1000.0].log_sigmoid().to_vec::<f32>(), [-1000.0, 0.0]);
    /// ```
    log_sigmoid / try_log_sigmoid = LOG_SIGMOID {
        eval: |x| -log_one_plus_exp(-x),
        gradient: input |g, x| g * x.neg().sigmoid(),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 30.0, -30.0],
        numpy: "", torch: "nn.functional.logsigmoid",
    }

    /// The larger of each element and 0; NaN stays NaN. The gradient at 0 is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1.0, 2.0].relu().to_vec::<f32>(), [0.0, 2.0]);
    /// ```
    relu / try_relu = RELU {
        eval: |x| R::select(x.lt(R::lit(0.0)), R::lit(0.0), x),
        gradient: output |g, y| zipped(&RELU_GRAD, &g, y),
        domain: -3.0 to 3.0, kinks: [0.0 => 0.0], specials: [],
        numpy: "", torch: "relu",
    }

    /// Each element, brought into `[0, 6]` (Krizhevsky, 2010). The gradient is 0 outside, and at 0 and 6.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1.0, 2.0, 8.0].relu6().to_vec::<f32>(), [0.0, 2.0, 6.0]);
    /// ```
    relu6 / try_relu6 = RELU6 {
        eval: |x| {
            let x = R::select(x.lt(R::lit(0.0)), R::lit(0.0), x);
            R::select(R::lit(6.0).lt(x), R::lit(6.0), x)
        },
        gradient: input |g, x| with_bounds(&HARDTANH_GRAD, &g, x, 0.0, 6.0),
        domain: -3.0 to 9.0, kinks: [0.0 => 0.0, 6.0 => 0.0], specials: [],
        numpy: "", torch: "nn.functional.relu6",
    }

    /// Each element where it is positive, `slope` times it elsewhere. The gradient at 0 is `slope`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1.0, 2.0].leaky_relu(0.5).to_vec::<f32>(), [-0.5, 2.0]);
    /// ```
    leaky_relu / try_leaky_relu(slope = [0.01, 0.3]) = LEAKY_RELU {
        eval: |x| R::select(R::lit(0.0).lt(x), x, x * slope),
        gradient: input |g, x| with_slope(&g, x, slope),
        domain: -3.0 to 3.0, kinks: [0.0 => slope], specials: [],
        numpy: "", torch: "nn.functional.leaky_relu",
    }

    /// The exponential linear unit: each element where it is positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al.,
    /// 2015, arXiv:1511.07289). The gradient at 0 is `alpha`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1e9, 2.0].elu(1.0).to_vec::<f32>(), [-1.0, 2.0]);
    /// ```
    elu / try_elu(alpha = [1.0, 0.5]) = ELU {
        eval: |x| R::select(R::lit(0.0).lt(x), x, alpha * x.min(R::lit(0.0)).exp_m1()),
        gradient: input |g, x| {
            let positive = x.gt(0.0).to_float_as(x.dtype());
            let below = x.clamp(f64::NEG_INFINITY, 0.0).exp() * alpha;
            g * (below + positive * (1.0 - alpha))
        },
        domain: -3.0 to 3.0, kinks: [0.0 => alpha], specials: [-30.0],
        numpy: "", torch: "nn.functional.elu",
    }

    /// The scaled exponential linear unit: [`elu`](Self::elu) with `alpha` 1.6733, times 1.0507, which keeps mean 0 and
    /// variance 1 from layer to layer (Klambauer et al., 2017, arXiv:1706.02515).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0].selu().to_vec::<f32>(), [0.0]);
    /// ```
    selu / try_selu = SELU {
        eval: |x| {
            let below = R::lit(SELU_SCALE * SELU_ALPHA) * x.min(R::lit(0.0)).exp_m1();
            R::select(R::lit(0.0).lt(x), x * R::lit(SELU_SCALE), below)
        },
        gradient: input |g, x| {
            let positive = x.gt(0.0).to_float_as(x.dtype());
            let below = x.clamp(f64::NEG_INFINITY, 0.0).exp() * (SELU_SCALE * SELU_ALPHA);
            g * (below + positive * (SELU_SCALE - SELU_SCALE * SELU_ALPHA))
        },
        domain: -3.0 to 3.0, kinks: [0.0 => SELU_SCALE * SELU_ALPHA], specials: [-30.0],
        numpy: "", torch: "selu",
    }

    /// The Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 10.0].gelu().to_vec::<f32>(), [0.0, 10.0]);
    /// ```
    gelu / try_gelu = GELU {
        eval: |x| x.gelu(),
        gradient: input |g, x| zipped(&GELU_GRAD, &g, x),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 6.0, -6.0],
        numpy: "", torch: "nn.functional.gelu",
    }

    /// The Gaussian error linear unit with its distribution function approximated by a hyperbolic tangent,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 10.0].gelu_tanh().to_vec::<f32>(), [0.0, 10.0]);
    /// ```
    gelu_tanh / try_gelu_tanh = GELU_TANH {
        eval: |x| {
            // (1 + tanh(u)) / 2 is the logistic function of 2 u, which does not cancel to the left.
            x * ((R::lit(GELU_A) + R::lit(GELU_B) * x * x) * x).sigmoid()
        },
        gradient: input |g, x| zipped(&GELU_TANH_GRAD, &g, x),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 6.0, -6.0],
        numpy: "", torch: "nn.functional.gelu",
    }

    /// The sigmoid linear unit, or swish: `x * sigmoid(x)` (Elfwing et al., 2017, arXiv:1702.03118).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 100.0].silu().to_vec::<f32>(), [0.0, 100.0]);
    /// ```
    silu / try_silu = SILU {
        eval: |x| x * x.sigmoid(),
        gradient: input |g, x| zipped(&SILU_GRAD, &g, x),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 20.0, -20.0],
        numpy: "", torch: "nn.functional.silu",
    }

    /// `x * tanh(softplus(x))` (Misra, 2019, arXiv:1908.08681).
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 100.0].mish().to_vec::<f32>(), [0.0, 100.0]);
    /// ```
    mish / try_mish = MISH {
        eval: |x| x * mish_factor(x.min(R::lit(MISH_END))),
        gradient: input |g, x| zipped(&MISH_GRAD, &g, x),
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, 25.0, -20.0],
        numpy: "", torch: "nn.functional.mish",
    }

    /// `log(1 + exp(beta * x)) / beta`, a smooth form of [`relu`](Self::relu). Where `beta * x` is above `threshold`, which is
    /// usually 20, it is taken to be `x`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-1000.0, 1000.0].softplus(1.0, 20.0).to_vec::<f32>(), [0.0, 1000.0]);
    /// ```
    softplus / try_softplus(beta = [1.0, 2.0], threshold = [20.0]) = SOFTPLUS {
        eval: |x| {
            let v = x * beta;
            R::select(threshold.lt(v), x, log_one_plus_exp(v) * (R::lit(1.0) / beta))
        },
        gradient: input |g, x| {
            let v = x * beta;
            g * v.gt(threshold).where_(&Tensor::full_dtype((), 1.0, x.dtype()), &v.sigmoid())
        },
        domain: -3.0 to 3.0, kinks: [], specials: [0.0, -30.0],
        numpy: "", torch: "nn.functional.softplus",
    }

    /// `x / (1 + |x|)`.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1.0].softsign().to_vec::<f32>(), [0.0, 0.5]);
    /// ```
    softsign / try_softsign = SOFTSIGN {
        eval: |x| x / (R::lit(1.0) + x.abs()),
        gradient: input |g, x| g / (x.abs() + 1.0).square(),
        domain: -3.0 to 3.0, kinks: [0.0 => 1.0], specials: [],
        numpy: "", torch: "nn.functional.softsign",
    }

    /// Each element, brought into `[low, high]`. Unlike [`clamp`](Self::clamp), the gradient is 0 on the bounds, too.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![-3.0, 0.5].hardtanh(-1.0, 1.0).to_vec::<f32>(), [-1.0, 0.5]);
    /// ```
    hardtanh / try_hardtanh(low = [-1.0], high = [1.0]) = HARDTANH {
        eval: |x| {
            let x = R::select(x.lt(low), low, x);
            R::select(high.lt(x), high, x)
        },
        gradient: input |g, x| with_bounds(&HARDTANH_GRAD, &g, x, low, high),
        domain: -3.0 to 3.0, kinks: [-1.0 => 0.0, 1.0 => 0.0], specials: [],
        numpy: "", torch: "nn.functional.hardtanh",
    }
}

/// What comes in where the element lies within bounds.
#[track_caller]
pub(super) fn with_bounds(op: &'static Op, g: &Tensor, x: &Tensor, low: f64, high: f64) -> Tensor {
    or_panic(apply1(op, attrs! { low: low, high: high }, &mut [g.into(), x.into()]))
}

#[track_caller]
fn with_slope(g: &Tensor, x: &Tensor, slope: f64) -> Tensor {
    or_panic(apply1(&LEAKY_RELU_GRAD, attrs! { slope: slope }, &mut [g.into(), x.into()]))
}

// The gradients of those whose derivative is a formula of its own: that coming in times the derivative at `x`.
binary! {
    pub(crate) static GRADIENTS;

    // From the result; what comes in where it is not 0 or below, so that NaN stays NaN.
    relu_grad = RELU_GRAD {
        eval: |g, y| R::select(y.le(R::lit(0.0)), R::lit(0.0), g),
        lhs: [rhs] |u| zipped(&RELU_GRAD, &u, rhs),
        rhs: [] |u| u.zeros_like(),
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [],
        numpy: "", torch: "",
    }

    // What comes in where the element lies between the bounds.
    hardtanh_grad(low = [-1.0], high = [1.0]) = HARDTANH_GRAD {
        eval: |g, x| R::select(low.lt(x), R::select(x.lt(high), g, R::lit(0.0)), R::lit(0.0)),
        lhs: [rhs] |u| with_bounds(&HARDTANH_GRAD, &u, rhs, low, high),
        rhs: [] |u| u.zeros_like(),
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.5, 1.0) => [0.0, 0.0], (1.5, 0.5) => [1.0, 0.0]],
        numpy: "", torch: "",
    }

    // The same, or on one of them.
    clamp_grad(low = [-1.0], high = [1.0]) = CLAMP_GRAD {
        eval: |g, x| R::select(low.le(x), R::select(x.le(high), g, R::lit(0.0)), R::lit(0.0)),
        lhs: [rhs] |u| with_bounds(&CLAMP_GRAD, &u, rhs, low, high),
        rhs: [] |u| u.zeros_like(),
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.5, 1.0) => [1.0, 0.0], (1.5, 1.5) => [0.0, 0.0]],
        numpy: "", torch: "",
    }

    leaky_relu_grad(slope = [0.01, 0.3]) = LEAKY_RELU_GRAD {
        eval: |g, x| R::select(R::lit(0.0).lt(x), g, g * slope),
        lhs: [rhs] |u| with_slope(&u, rhs, slope),
        rhs: [] |u| u.zeros_like(),
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.5, 1.0) => [1.0, 0.0], (1.5, 0.0) => [slope, 0.0]],
        numpy: "", torch: "",
    }

    gelu_grad = GELU_GRAD {
        eval: |g, x| g * x.gelu_slope(),
        lhs: [rhs] |u| zipped(&GELU_GRAD, &u, rhs),
        rhs: [lhs, rhs] |u| u * lhs * (2.0 - rhs.square()) * normal_density(rhs),
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.0, 0.0) => [0.5, 2.0 * DENSITY_AT_0]],
        numpy: "", torch: "",
    }

    gelu_tanh_grad = GELU_TANH_GRAD {
        eval: |g, x| {
            let square = x * x;
            let v = (R::lit(GELU_A) + R::lit(GELU_B) * square) * x;
            let slope = R::lit(GELU_A) + R::lit(3.0 * GELU_B) * square;
            let share = v.sigmoid();
            g * (share + x * slope * share * (-v).sigmoid())
        },
        lhs: [rhs] |u| zipped(&GELU_TANH_GRAD, &u, rhs),
        rhs: [lhs, rhs] |u| {
            let square = rhs.square();
            let v = (&square * GELU_B + GELU_A) * rhs;
            let slope = &square * (3.0 * GELU_B) + GELU_A;
            let share = v.sigmoid();
            let bend = rhs * slope.square() * (1.0 - &share * 2.0) + &slope * 2.0 + square * (6.0 * GELU_B);
            u * lhs * bend * &share * (1.0 - &share)
        },
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.0, 0.0) => [0.5, 0.5 * GELU_A]],
        numpy: "", torch: "",
    }

    silu_grad = SILU_GRAD {
        eval: |g, x| {
            let share = x.sigmoid();
            g * share * (R::lit(1.0) + x * (-x).sigmoid())
        },
        lhs: [rhs] |u| zipped(&SILU_GRAD, &u, rhs),
        rhs: [lhs, rhs] |u| {
            let share = rhs.sigmoid();
            let bend = rhs * (1.0 - &share * 2.0) + 2.0;
            u * lhs * bend * &share * (1.0 - &share)
        },
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.0, 0.0) => [0.5, 0.5]],
        numpy: "", torch: "",
    }

    mish_grad = MISH_GRAD {
        eval: |g, x| {
            // With e = exp(x) and n = e (e + 2): tanh is n / (n + 2), and 1 - tanh^2 is 4 (n + 1) / (n + 2)^2.
            let (one, two) = (R::lit(1.0), R::lit(2.0));
            let x = x.min(R::lit(MISH_END));
            let e = x.exp();
            let n = e * (e + two);
            let rest = R::lit(4.0) * ((n + one) / (n + two)) / (n + two);
            g * (n / (n + two) + x * x.sigmoid() * rest)
        },
        lhs: [rhs] |u| zipped(&MISH_GRAD, &u, rhs),
        rhs: [lhs, rhs] |u| {
            let share = rhs.sigmoid();
            let factor = share.neg().log1p().neg().tanh();
            let bend = rhs * (1.0 - &share - &factor * &share * 2.0) + 2.0;
            u * lhs * bend * share * (1.0 - factor.square())
        },
        domain: (-2.0 to 2.0, -3.0 to 3.0), specials: [(1.0, 0.0) => [0.6, 0.64]],
        numpy: "", torch: "",
    }
}

twin! {
    impl [] Tensor {
        /// The gated linear unit: the first half of the elements along `axis`, each times the sigmoid of its counterpart
        /// in the second half (Dauphin et al., 2016, arXiv:1612.08083).
        ///
        /// # Panics
        /// If there is no such axis, or its size is odd.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[2.0, 4.0, 0.0, 1000.0]].glu(1).to_vec::<f32>(), [1.0, 4.0]);
        /// ```
        pub fn glu / try_glu(&self, axis: isize) -> Tensor {
            let at = std::panic::Location::caller();
            let half = self.shape().axis(axis).and_then(|a| match self.shape()[a] {
                size if size % 2 == 0 => Ok(size / 2),
                size => Err(Error::new(format!("axis {a} has size {size}, which is odd"))
                    .help("one half of the elements gates the other")),
            });
            let half = in_op("glu", &[("input", self.as_any())], at, half)?;
            let gate = self.try_narrow(axis, half, half)?.try_sigmoid()?;
            self.try_narrow(axis, 0, half)?.try_mul(gate)
        }
    }
}
