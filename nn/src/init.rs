//! Initial values of parameters.

use wengert_tensor::{Error, IntoDims, Result, Rng, Tensor, or_panic, split_rng};

/// How a parameter starts. Random ones are drawn from the thread's default generator, so that a model made after
/// [`manual_seed`](wengert_tensor::manual_seed) is the same every time.
///
/// A fan is the number of inputs, or of outputs, that one element of a layer's result, or input, is connected to: for a
/// weight `[out, in, ..]` with further axes of a kernel, `in` or `out` times the size of the kernel.
///
/// The gain makes up for what an activation does to the spread of its input: 1 for none and for the sigmoid, 5/3 for
/// `tanh`, √2 for `relu`, `sqrt(2 / (1 + slope^2))` for `leaky_relu`.
///
/// ```
/// use wengert_nn::{Init, Linear};
/// use wengert_tensor::manual_seed;
/// manual_seed(1);
/// let fc = Linear::new(784, 10);
/// fc.weight.set(&Init::kaiming_normal().tensor(fc.weight.shape()));
/// let std = fc.weight.value().square().mean().item().sqrt();
/// assert!((std - (2.0_f64 / 784.0).sqrt()).abs() < 2e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f64),
    /// Uniform between two bounds.
    Uniform {
        /// The lower bound, included.
        low: f64,
        /// The upper bound, excluded.
        high: f64,
    },
    /// Normal, also called Gaussian.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Uniform around 0 with the standard deviation `gain * sqrt(2 / (fan_in + fan_out))`.
    ///
    /// X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    XavierUniform {
        /// What makes up for the activation.
        gain: f64,
    },
    /// Normal with mean 0 and the standard deviation of [`XavierUniform`](Init::XavierUniform).
    XavierNormal {
        /// What makes up for the activation.
        gain: f64,
    },
    /// Uniform around 0 with the standard deviation `gain / sqrt(fan)`.
    ///
    /// K. He et al., "Delving Deep into Rectifiers", ICCV 2015.
    KaimingUniform {
        /// What makes up for the activation.
        gain: f64,
        /// Whether the spread is kept going forward or going backward.
        fan: Fan,
    },
    /// Normal with mean 0 and the standard deviation of [`KaimingUniform`](Init::KaimingUniform).
    KaimingNormal {
        /// What makes up for the activation.
        gain: f64,
        /// Whether the spread is kept going forward or going backward.
        fan: Fan,
    },
}

/// Which fan an initialiser divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// The number of inputs: keeps the spread of activations going forward.
    In,
    /// The number of outputs: keeps the spread of gradients going backward.
    Out,
}

impl Init {
    /// Zeros.
    pub fn zeros() -> Init {
        Init::Constant(0.0)
    }

    /// Ones.
    pub fn ones() -> Init {
        Init::Constant(1.0)
    }

    /// [`Init::XavierUniform`] with gain 1.
    pub fn xavier_uniform() -> Init {
        Init::XavierUniform { gain: 1.0 }
    }

    /// [`Init::XavierNormal`] with gain 1.
    pub fn xavier_normal() -> Init {
        Init::XavierNormal { gain: 1.0 }
    }

    /// [`Init::KaimingUniform`] for `relu`, by the number of inputs.
    pub fn kaiming_uniform() -> Init {
        Init::KaimingUniform { gain: 2f64.sqrt(), fan: Fan::In }
    }

    /// [`Init::KaimingNormal`] for `relu`, by the number of inputs.
    pub fn kaiming_normal() -> Init {
        Init::KaimingNormal { gain: 2f64.sqrt(), fan: Fan::In }
    }

    /// Uniform around 0, bounded by `1 / sqrt(fan_in)`: how linear and convolutional layers start.
    pub(crate) fn bounded_by(fan_in: usize) -> Init {
        let bound = if fan_in == 0 { 0.0 } else { 1.0 / (fan_in as f64).sqrt() };
        Init::Uniform { low: -bound, high: bound }
    }

    /// A tensor, drawn from the thread's default generator.
    ///
    /// # Panics
    /// If the initialiser goes by a fan and the shape has less than two axes; if a bound, the deviation or the shape
    /// makes no sense.
    #[track_caller]
    pub fn tensor(self, shape: impl IntoDims) -> Tensor {
        match self {
            Init::Constant(value) => Tensor::full(shape, value),
            _ => self.tensor_from(shape, &mut split_rng()),
        }
    }

    /// A tensor, drawn from `rng`.
    ///
    /// # Panics
    /// As [`tensor`](Init::tensor).
    ///
    /// ```
    /// use wengert_nn::Init;
    /// use wengert_tensor::Rng;
    /// let w = |seed| Init::xavier_uniform().tensor_from([3, 4], &mut Rng::new(seed)).to_vec::<f32>();
    /// assert_eq!(w(1), w(1));
    /// assert_ne!(w(1), w(2));
    /// ```
    #[track_caller]
    pub fn tensor_from(self, shape: impl IntoDims, rng: &mut Rng) -> Tensor {
        let shape = shape.into_dims(0);
        let shape = &shape[..];
        let normal = |rng: &mut Rng, std| rng.normal(0.0, std, shape);
        // A uniform distribution on [-b, b] has the standard deviation b / sqrt(3).
        let uniform = |rng: &mut Rng, std: f64| rng.uniform(-std * 3f64.sqrt(), std * 3f64.sqrt(), shape);
        let xavier = |gain: f64| {
            let (fan_in, fan_out) = or_panic(fans(shape));
            gain * (2.0 / (fan_in + fan_out).max(1.0)).sqrt()
        };
        let kaiming = |gain: f64, fan| {
            let (fan_in, fan_out) = or_panic(fans(shape));
            gain / (if fan == Fan::In { fan_in } else { fan_out }).max(1.0).sqrt()
        };
        match self {
            Init::Constant(value) => Tensor::full(shape, value),
            Init::Uniform { low, high } => rng.uniform(low, high, shape),
            Init::Normal { mean, std } => rng.normal(mean, std, shape),
            Init::XavierUniform { gain } => uniform(rng, xavier(gain)),
            Init::XavierNormal { gain } => normal(rng, xavier(gain)),
            Init::KaimingUniform { gain, fan } => uniform(rng, kaiming(gain, fan)),
            Init::KaimingNormal { gain, fan } => normal(rng, kaiming(gain, fan)),
        }
    }
}

/// The number of inputs and of outputs of a weight `[out, in, ..]`.
fn fans(shape: &[isize]) -> Result<(f64, f64)> {
    let [out, inputs, kernel @ ..] = shape else {
        return Err(Error::new(format!("a weight of shape {shape:?} has no fan: it needs two axes, [out, in, ..]"))
            .help("use Init::Uniform or Init::Normal for a bias, which need no fan"));
    };
    let kernel: f64 = kernel.iter().map(|&k| k as f64).product();
    Ok((*inputs as f64 * kernel, *out as f64 * kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean, standard deviation and largest magnitude.
    fn moments(init: Init, shape: [usize; 4]) -> (f64, f64, f64) {
        let x = init.tensor_from(shape, &mut Rng::new(7)).to_vec::<f64>();
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        (mean, std, x.iter().fold(0.0, |m, x| x.abs().max(m)))
    }

    #[test]
    fn distributions_have_the_moments_of_their_formulas() {
        // fan_in 20 * 9 = 180, fan_out 30 * 9 = 270.
        let shape = [30, 20, 3, 3];
        for (init, std, uniform) in [
            (Init::xavier_uniform(), (2.0 / 450.0_f64).sqrt(), true),
            (Init::xavier_normal(), (2.0 / 450.0_f64).sqrt(), false),
            (Init::kaiming_uniform(), (2.0 / 180.0_f64).sqrt(), true),
            (Init::kaiming_normal(), (2.0 / 180.0_f64).sqrt(), false),
            (Init::KaimingNormal { gain: 1.0, fan: Fan::Out }, (1.0 / 270.0_f64).sqrt(), false),
            (Init::bounded_by(180), 1.0 / (3.0 * 180.0_f64).sqrt(), true),
        ] {
            let (mean, measured, largest) = moments(init, shape);
            // 5400 draws: the mean is off by std/73, the deviation by about std/104, at one sigma.
            assert!(mean.abs() < 5.0 * std / 73.0, "{init:?}: mean {mean}");
            assert!((measured / std - 1.0).abs() < 5.0 / 104.0, "{init:?}: std {measured}, not {std}");
            let bound = std * 3f64.sqrt();
            assert_eq!(largest <= bound * (1.0 + 1e-6), uniform, "{init:?}: largest {largest}, bound {bound}");
        }
        assert_eq!(moments(Init::ones(), shape), (1.0, 0.0, 1.0));
        assert_eq!(moments(Init::zeros(), shape), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_bias_has_no_fan() {
        let e = fans(&[3]).unwrap_err();
        assert_eq!(e.message(), "a weight of shape [3] has no fan: it needs two axes, [out, in, ..]");
        assert_eq!(fans(&[0, 0]).unwrap(), (0.0, 0.0));
        assert_eq!(Init::xavier_uniform().tensor([0, 0]).elements(), 0);
    }
}
