//! Batch normalisation.

use wengert_tensor::{Error, Int, Tensor};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::{Buffer, Mode, Param};
use crate::scope::Scope;

/// Defines the layers, which differ in the ranks they take.
macro_rules! batch_norms {
    ($($(#[$doc:meta])* $Name:ident takes $ranks:pat, $shapes:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// In training each channel is normalised by the mean and variance of the batch, and running averages of them
        /// are kept: `running = (1 - momentum) running + momentum batch`, with the unbiased variance. In evaluation the
        /// running averages are used, and nothing changes. The momentum is 0.1, `eps` 1e-5, the weight starts at 1 and
        /// the bias at 0, as in PyTorch.
        ///
        /// Threads that train one model at the same time each see a whole running average, of which the last stays.
        ///
        /// S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015.
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            mode: Mode,
            /// What each channel is multiplied with: `[channels]`, or none.
            pub weight: Option<Param>,
            /// What is added to each channel: `[channels]`, or none.
            pub bias: Option<Param>,
            /// `[channels]`.
            pub running_mean: Buffer,
            /// `[channels]`.
            pub running_var: Buffer,
            /// How many batches were seen in training, an integer of rank 0.
            pub num_batches_tracked: Buffer,
            momentum: f64,
            eps: f64,
        }

        impl $Name {
            /// A layer for this number of channels.
            #[track_caller]
            pub fn new(channels: usize) -> $Name {
                $Name {
                    scope: Scope::new(stringify!($Name)),
                    mode: Mode::new(),
                    weight: Some(Param::from_init(Init::ones(), [channels])),
                    bias: Some(Param::from_init(Init::zeros(), [channels])),
                    running_mean: Buffer::new(Tensor::zeros([channels])),
                    running_var: Buffer::new(Tensor::ones([channels])),
                    num_batches_tracked: Buffer::new(Int::zeros(())),
                    momentum: 0.1,
                    eps: 1e-5,
                }
            }

            /// The weight of a batch in the running averages.
            pub fn momentum(mut self, momentum: f64) -> $Name {
                self.momentum = momentum;
                self
            }

            /// What is added to the variance.
            pub fn eps(mut self, eps: f64) -> $Name {
                self.eps = eps;
                self
            }

            /// With a weight and a bias (as made), or without.
            pub fn affine(mut self, affine: bool) -> $Name {
                if !affine {
                    self.weight = None;
                    self.bias = None;
                }
                self
            }
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
                let running = self.running_mean.float();
                if !matches!(x.rank(), $ranks) || x.size(1) != running.elements() {
                    let rank_fits = matches!(x.rank(), $ranks);
                    let e = wrong_input(x, rank_fits.then_some(running.elements()), $shapes);
                    self.scope.refuse(e);
                }
                let (weight, bias) = (self.weight.as_ref().map(Param::value), self.bias.as_ref().map(Param::value));
                let affine = weight.as_ref().zip(bias.as_ref());
                if !self.mode.is_training() {
                    return self.scope.output(x.batch_norm_with(&running, &self.running_var.float(), affine, self.eps));
                }
                let (y, mean, variance) = x.batch_norm(affine, self.eps);
                let n = (x.elements() / running.elements().max(1)) as f64;
                average(&self.running_mean, &mean, self.momentum);
                average(&self.running_var, &(variance.to_constant() * (n / (n - 1.0))), self.momentum);
                self.num_batches_tracked.set(self.num_batches_tracked.int() + 1);
                self.scope.output(y)
            }
        }
    )*};
}

/// The error for an input of the wrong rank, or, if the layer's `channels` are given, with another number of channels.
#[cold]
fn wrong_input(x: &Tensor, channels: Option<usize>, shapes: &str) -> Error {
    let e = match channels {
        Some(channels) => Error::new(format!("the input has {} channels (axis 1), the layer {channels}", x.size(1)))
            .help("make the layer with as many channels as its input has"),
        None => Error::new(format!("the input has rank {}", x.rank())).help(format!("give an input {shapes}")),
    };
    e.operand("input", x.as_any())
}

/// Moves a running average towards what a batch gave.
pub(crate) fn average(running: &Buffer, batch: &Tensor, momentum: f64) {
    let old = running.float();
    let batch = batch.to_constant().to_dtype(old.dtype());
    running.set(old * (1.0 - momentum) + batch * momentum);
}

batch_norms! {
    /// Batch normalisation of `[n, channels]` or `[n, channels, length]`.
    ///
    /// ```
    /// use wengert_nn::{BatchNorm1d, Layer};
    /// use wengert_tensor::tensor;
    /// let y = BatchNorm1d::new(1).eps(0.0).forward(&tensor![[1.0], [3.0]]);
    /// assert_eq!(y.to_vec::<f32>(), [-1.0, 1.0]);
    /// ```
    BatchNorm1d takes 2 | 3, "[n, channels] or [n, channels, length]";
    /// Batch normalisation of images `[n, channels, height, width]`.
    ///
    /// ```
    /// use wengert_nn::{BatchNorm2d, Layer, Module};
    /// use wengert_tensor::Tensor;
    /// let norm = BatchNorm2d::new(3).momentum(0.1);
    /// let x = Tensor::randn([8, 3, 5, 5]) * 2.0 + 7.0;
    /// assert!(norm.forward(&x).mean().item().abs() < 1e-4);
    /// assert!((norm.running_mean.float().mean().item() - 0.7).abs() < 0.1);
    /// norm.eval();
    /// assert!(norm.forward(&x).mean().item() > 1.0);
    /// ```
    BatchNorm2d takes 4, "[n, channels, height, width]";
}

#[cfg(test)]
mod tests {
    use wengert_tensor::{DType, tensor};

    use super::*;

    fn close(a: &Tensor, b: &[f64]) {
        let a = a.to_vec::<f64>();
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} is not {b:?}");
    }

    /// The numbers are PyTorch's: `torch.nn.BatchNorm1d(2)` after two batches in training.
    #[test]
    fn running_statistics_are_those_of_pytorch() {
        let norm = BatchNorm1d::new(2);
        let y = norm.forward(&tensor![[1.0, 2.0], [3.0, 5.0], [8.0, -1.0]]);
        close(&y, &[-1.0190487, 0.0, -0.3396829, 1.2247439, 1.3587317, -1.2247439]);
        norm.forward(&tensor![[0.0, 1.0], [4.0, 1.5]]);
        close(&norm.running_mean.float(), &[0.56, 0.305]);
        close(&norm.running_var.float(), &[2.78, 1.6325]);
        assert_eq!(norm.num_batches_tracked.int().item(), 2);
        norm.eval();
        close(&norm.forward(&tensor![[1.0, 2.0]]), &[0.2638940, 1.3266055]);
        assert_eq!(norm.num_batches_tracked.int().item(), 2, "evaluation changes nothing");
    }

    #[test]
    fn state_has_the_names_of_pytorch() {
        let names = |norm: BatchNorm2d| norm.state_dict().names().map(String::from).collect::<Vec<_>>();
        let statistics = ["running_mean", "running_var", "num_batches_tracked"];
        assert_eq!(names(BatchNorm2d::new(2)), [&["weight", "bias"], &statistics[..]].concat());
        assert_eq!(names(BatchNorm2d::new(2).affine(false)), statistics);
    }

    #[test]
    fn an_input_that_does_not_fit_is_an_error() {
        let text = |x: Tensor| {
            let call = std::panic::AssertUnwindSafe(|| BatchNorm2d::new(3).forward(&x));
            *std::panic::catch_unwind(call).expect_err("panics").downcast::<String>().expect("with text")
        };
        let e = text(Tensor::zeros([2, 4, 1, 1]));
        assert!(
            e.starts_with("BatchNorm2d: the input has 4 channels (axis 1), the layer 3\n  input [2, 4, 1, 1]"),
            "{e}"
        );
        let e = text(Tensor::zeros([2, 3]));
        assert!(e.starts_with("BatchNorm2d: the input has rank 2\n  input [2, 3]"), "{e}");
        assert!(e.ends_with("\n  help: give an input [n, channels, height, width]"), "{e}");
    }

    #[test]
    fn other_precisions_keep_their_statistics() {
        let norm = BatchNorm2d::new(2);
        norm.to_dtype(DType::F64);
        let x = Tensor::full_dtype([2, 2, 2, 2], 1.0, DType::F64);
        assert_eq!(norm.forward(&x).dtype(), DType::F64);
        assert_eq!(norm.running_var.float().dtype(), DType::F64);
    }
}
