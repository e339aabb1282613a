//! Initial values of parameters.

use std::panic::Location;

use wengert_tensor::{
    DType, Error, ErrorKind, Int, IntoDims, Result, Rng, Tensor, default_dtype, or_panic, split_rng, with_default_dtype,
};

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
    /// Normal, but drawn again wherever it is not between two bounds.
    TruncatedNormal {
        /// The mean of the whole normal distribution.
        mean: f64,
        /// The standard deviation of the whole normal distribution.
        std: f64,
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// Orthonormal rows, or columns if there are fewer of those, times a gain, and uniform among all such matrices. The
    /// axes after the first count as one.
    ///
    /// A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    /// networks", ICLR 2014.
    Orthogonal {
        /// What makes up for the activation.
        gain: f64,
    },
    /// What passes the input on: ones on the diagonal of a matrix `[out, in]`; for the weight `[out, in, ..]` of a
    /// convolution a one in the middle of the kernel, which is the identity where the padding keeps the size.
    Identity,
    /// Standard normal rows, but for one of zeros: how embeddings start.
    Embedding {
        /// The row of zeros, if there is one.
        padding: Option<usize>,
    },
}

/// Which fan an initialiser divides by.
///
/// ```
/// use wengert_nn::{Fan, Init};
/// let Init::KaimingNormal { fan, .. } = Init::kaiming_normal() else { unreachable!() };
/// assert_eq!(fan, Fan::In);
/// ```
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
    ///
    /// ```
    /// use wengert_nn::Init;
    /// use wengert_tensor::manual_seed;
    /// manual_seed(1);
    /// assert_eq!(Init::ones().tensor([2]).to_vec::<f32>(), [1.0, 1.0]);
    /// let bound = |init: Init| init.tensor([20, 30]).abs().max().item();
    /// assert!(bound(Init::xavier_uniform()) <= (6.0_f64 / 50.0).sqrt() + 1e-6);
    /// assert!(bound(Init::kaiming_uniform()) <= (6.0_f64 / 30.0).sqrt() + 1e-6);
    /// assert!(bound(Init::truncated_normal(0.02)) <= 2.0);
    /// assert!(bound(Init::xavier_normal()) > 0.2);
    /// let q = Init::orthogonal().tensor([3, 3]);
    /// assert!((q.matmul(&q.t()).sum().item() - 3.0).abs() < 1e-5);
    /// ```
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

    /// [`Init::TruncatedNormal`] with mean 0, cut off at two standard deviations.
    pub fn truncated_normal(std: f64) -> Init {
        Init::TruncatedNormal { mean: 0.0, std, low: -2.0 * std, high: 2.0 * std }
    }

    /// [`Init::Orthogonal`] with gain 1.
    pub fn orthogonal() -> Init {
        Init::Orthogonal { gain: 1.0 }
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
        let dims = shape.into_dims(0);
        let shape: Vec<usize> = dims.iter().map(|&n| n.max(0) as usize).collect();
        or_panic(self.check(&shape).map_err(|e| e.in_op("Init", Location::caller())));
        let dims = &dims[..];
        let (fan_in, fan_out) = fans(&shape);
        // A uniform distribution on [-b, b] has the standard deviation b / sqrt(3).
        let uniform = |rng: &mut Rng, std: f64| rng.uniform(-std * 3f64.sqrt(), std * 3f64.sqrt(), dims);
        let xavier = |gain: f64| gain * (2.0 / (fan_in + fan_out).max(1.0)).sqrt();
        let kaiming = |gain: f64, fan| gain / (if fan == Fan::In { fan_in } else { fan_out }).max(1.0).sqrt();
        match self {
            Init::Constant(value) => Tensor::full(dims, value),
            Init::Uniform { low, high } => rng.uniform(low, high, dims),
            Init::Normal { mean, std } => rng.normal(mean, std, dims),
            Init::XavierUniform { gain } => uniform(rng, xavier(gain)),
            Init::XavierNormal { gain } => rng.normal(0.0, xavier(gain), dims),
            Init::KaimingUniform { gain, fan } => uniform(rng, kaiming(gain, fan)),
            Init::KaimingNormal { gain, fan } => rng.normal(0.0, kaiming(gain, fan), dims),
            Init::TruncatedNormal { mean, std, low, high } => {
                let n = shape.iter().product();
                let values = (0..n).map(|_| mean + std * truncated((low - mean) / std, (high - mean) / std, rng));
                Tensor::from_vec(values.collect::<Vec<f64>>(), dims).to_dtype(default_dtype())
            }
            Init::Orthogonal { gain } => orthogonal(gain, &shape, rng).to_dtype(default_dtype()).reshape(dims),
            Init::Identity => identity(&shape),
            Init::Embedding { padding } => {
                let rows = rng.normal(0.0, 1.0, dims);
                let Some(row) = padding else { return rows };
                let kept = Int::arange(0, shape[0] as i64).ne(row as i64).unsqueeze(-1);
                kept.where_(&rows, &Tensor::full_dtype((), 0.0, rows.dtype()))
            }
        }
    }

    /// Checks that a tensor of this shape can start so.
    pub(crate) fn check(self, shape: &[usize]) -> Result<()> {
        let bad = |e: String| Err(Error::new(e).kind_of(ErrorKind::Value));
        match self {
            Init::XavierUniform { .. }
            | Init::XavierNormal { .. }
            | Init::KaimingUniform { .. }
            | Init::KaimingNormal { .. }
            | Init::Orthogonal { .. }
            | Init::Identity
                if shape.len() < 2 =>
            {
                Err(Error::new(format!("a tensor {shape:?} is no weight [out, in, ..], which has two axes or more"))
                    .help("for a bias use Init::Uniform, Init::Normal or Init::Constant"))
            }
            Init::TruncatedNormal { mean, std, low, high }
                if !(low < high && std > 0.0 && (mean + std).is_finite()) || low.is_nan() || high.is_nan() =>
            {
                bad(format!("no normal distribution of mean {mean} and deviation {std} lies between {low} and {high}"))
            }
            Init::Embedding { .. } if shape.len() != 2 => {
                bad(format!("a tensor {shape:?} is no table of embeddings [number, features]"))
            }
            Init::Embedding { padding: Some(row) } if row >= shape[0] => {
                bad(format!("the padding index {row} is out of range for {} embeddings", shape[0]))
            }
            _ => Ok(()),
        }
    }
}

/// The number of inputs and of outputs of a weight `[out, in, ..]`.
fn fans(shape: &[usize]) -> (f64, f64) {
    let [out, inputs, kernel @ ..] = shape else { return (1.0, 1.0) };
    let kernel: f64 = kernel.iter().map(|&k| k as f64).product();
    (*inputs as f64 * kernel, *out as f64 * kernel)
}

/// A draw from the standard normal distribution between two bounds: by rejection from a uniform one over those of its
/// points whose density is not below `e^-40` of the largest.
fn truncated(low: f64, high: f64, rng: &mut Rng) -> f64 {
    let peak = 0f64.clamp(low, high);
    let reach = (peak * peak + 80.0).sqrt();
    let (low, high) = (low.max(-reach), high.min(reach));
    loop {
        // 53 random bits, as many as a double holds.
        let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let x = low + (high - low) * unit();
        if unit() < ((peak * peak - x * x) / 2.0).exp() {
            return x;
        }
    }
}

/// A matrix with orthonormal rows or columns, in `F64`: normal vectors, made orthogonal one after the other
/// (Gram-Schmidt, done twice, which is enough for the accuracy of the numbers).
fn orthogonal(gain: f64, shape: &[usize], rng: &mut Rng) -> Tensor {
    let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
    let (count, size) = (rows.min(columns), rows.max(columns));
    let drawn = with_default_dtype(DType::F64, || rng.normal(0.0, 1.0, [count, size])).to_vec::<f64>();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    for vector in drawn.chunks_exact(size.max(1)) {
        let mut v = vector.to_vec();
        for other in basis.iter().chain(&basis) {
            let along = dot(&v, other);
            v.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
        }
        let length = dot(&v, &v).sqrt();
        v.iter_mut().for_each(|v| *v /= length);
        basis.push(v);
    }
    let matrix = Tensor::from_vec(basis.concat(), [count, size]) * gain;
    if rows <= columns { matrix } else { matrix.t().contiguous() }
}

/// Ones on the diagonal of the first two axes, in the middle of all others.
fn identity(shape: &[usize]) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    let plane: usize = shape[2..].iter().product();
    let middle = shape[2..].iter().fold(0, |at, &n| at * n + n / 2);
    if plane > 0 {
        (0..shape[0].min(shape[1])).for_each(|i| values[(i * shape[1] + i) * plane + middle] = 1.0);
    }
    Tensor::from_vec(values, shape).to_dtype(default_dtype())
}

#[cfg(test)]
mod tests {
    use wengert_tensor::Conv2dOptions;

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
        let e = Init::xavier_normal().check(&[3]).unwrap_err();
        assert_eq!(e.message(), "a tensor [3] is no weight [out, in, ..], which has two axes or more");
        assert_eq!(fans(&[0, 0]), (0.0, 0.0));
        assert_eq!(Init::xavier_uniform().tensor([0, 0]).elements(), 0);
        assert_eq!(Init::orthogonal().tensor([0, 3]).elements(), 0);
    }

    #[test]
    fn a_truncated_normal_stays_within_its_bounds() {
        let draw = |low, high| {
            let init = Init::TruncatedNormal { mean: 1.0, std: 0.5, low, high };
            init.tensor_from([20000], &mut Rng::new(3)).to_vec::<f64>()
        };
        let moments = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64)
        };
        // The exact moments, by numerical integration of the density.
        for (low, high, mean, variance) in [
            (0.0, 2.0, 1.0, 0.193435326),
            (-f64::INFINITY, f64::INFINITY, 1.0, 0.25),
            (1.5, f64::INFINITY, 1.762567638, 0.049774416),
            (6.0, 7.0, 6.049046617, 0.002361344),
        ] {
            let x = draw(low, high);
            assert!(x.iter().all(|&x| low <= x && x <= high), "{low} {high}");
            let (m, v) = moments(&x);
            let sigma = (variance / 20000.0_f64).sqrt();
            assert!((m - mean).abs() < 5.0 * sigma, "{low} {high}: mean {m}, not {mean}");
            assert!((v / variance - 1.0).abs() < 0.08, "{low} {high}: variance {v}, not {variance}");
        }
    }

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        for shape in [[4, 9], [9, 4], [5, 5]] {
            let w = with_default_dtype(DType::F64, || Init::Orthogonal { gain: 2.0 }.tensor(shape));
            let product = if shape[0] <= shape[1] { w.matmul(&w.t()) } else { w.t().matmul(&w) };
            let off = product - Tensor::eye(4.max(shape[0].min(shape[1]))).to_dtype(DType::F64) * 4.0;
            assert!(off.abs().max().item() < 1e-13, "{shape:?}");
        }
        assert_eq!(Init::orthogonal().tensor([6, 2, 3, 3]).shape().to_string(), "[6, 2, 3, 3]");
    }

    #[test]
    fn the_identity_passes_its_input_on() {
        assert_eq!(Init::Identity.tensor([2, 3]).to_vec::<f32>(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let x = Tensor::randn([1, 3, 4, 5]);
        let y = x.conv2d(&Init::Identity.tensor([3, 3, 3, 1]), None, Conv2dOptions::new().padding([1, 0]));
        assert_eq!(x.to_vec::<f32>(), y.to_vec::<f32>());
    }

    #[test]
    fn embeddings_start_with_a_row_of_zeros() {
        let w = Init::Embedding { padding: Some(1) }.tensor([3, 2]).to_vec::<f32>();
        assert_eq!(w.iter().map(|&w| w != 0.0).collect::<Vec<_>>(), [true, true, false, false, true, true]);
    }
}
