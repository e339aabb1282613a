//! Normalisation of each sample by itself, channels by channels: group norm and instance norm.

use wengert_tensor::{Error, Int, Result, Tensor};

use crate::Module;
use crate::batch_norm::average;
use crate::init::Init;
use crate::layer::Layer;
use crate::param::{Buffer, Mode, Param};
use crate::scope::Scope;

/// Checks the rank and the channels of an input.
fn check(x: &Tensor, ranks: std::ops::RangeInclusive<usize>, channels: usize, shapes: &str) -> Result<()> {
    if !ranks.contains(&x.rank()) {
        return Err(Error::new(format!("the input has rank {}", x.rank())).help(format!("give an input {shapes}")));
    }
    match x.size(1) {
        n if n == channels => Ok(()),
        n => Err(Error::new(format!("the input has {n} channels (axis 1), the layer {channels}"))
            .help("make the layer with as many channels as its input has")),
    }
}

/// Group normalisation of `[n, channels, ..]`, see [`Tensor::group_norm`]: in each sample, groups of channels are shifted
/// and scaled to mean 0 and variance 1, then each channel is multiplied by a weight and shifted by a bias, which start at
/// 1 and 0. It does the same in training and in evaluation.
///
/// Y. Wu, K. He, "Group Normalization", ECCV 2018.
///
/// ```
/// use wengert_nn::{GroupNorm, Layer};
/// use wengert_tensor::Tensor;
/// let y = GroupNorm::new(2, 6).forward(&Tensor::randn([4, 6, 5, 5]));
/// assert_eq!(y.shape().to_string(), "[4, 6, 5, 5]");
/// ```
#[derive(Module)]
pub struct GroupNorm {
    scope: Scope,
    /// `[channels]`, or none.
    pub weight: Option<Param>,
    /// `[channels]`, or none.
    pub bias: Option<Param>,
    groups: usize,
    channels: usize,
    eps: f64,
}

impl GroupNorm {
    /// A layer for this number of channels, in this number of groups.
    ///
    /// # Panics
    /// If `groups` does not divide `channels`.
    #[track_caller]
    pub fn new(groups: usize, channels: usize) -> GroupNorm {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "GroupNorm::new: {groups} groups do not divide {channels} channels"
        );
        GroupNorm {
            scope: Scope::new("GroupNorm"),
            weight: Some(Param::from_init(Init::ones(), [channels])),
            bias: Some(Param::from_init(Init::zeros(), [channels])),
            groups,
            channels,
            eps: 1e-5,
        }
    }

    /// What is added to the variance: 1e-5 unless set.
    pub fn eps(mut self, eps: f64) -> GroupNorm {
        self.eps = eps;
        self
    }

    /// With a weight and a bias (as made), or without.
    pub fn affine(mut self, affine: bool) -> GroupNorm {
        if !affine {
            self.weight = None;
            self.bias = None;
        }
        self
    }
}

impl Layer for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = self.scope.enter();
        if let Err(e) = check(x, 2..=usize::MAX, self.channels, "[n, channels, ..]") {
            self.scope.refuse(e.operand("input", x.as_any()));
        }
        let (weight, bias) = (self.weight.as_ref().map(Param::value), self.bias.as_ref().map(Param::value));
        self.scope.output(x.group_norm(self.groups, weight.as_ref(), bias.as_ref(), self.eps))
    }
}

/// Defines the layers, which differ in the rank they take.
macro_rules! instance_norms {
    ($($(#[$doc:meta])* $Name:ident takes $rank:literal, $shapes:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// Each channel of each sample is shifted and scaled to mean 0 and variance 1. As in PyTorch there is neither
        /// weight nor bias, and no statistics are kept, unless asked for; `eps` is 1e-5, the momentum 0.1.
        ///
        /// D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization", 2016, arXiv:1607.08022.
        #[derive(Module)]
        pub struct $Name {
            scope: Scope,
            mode: Mode,
            /// `[channels]`, or none.
            pub weight: Option<Param>,
            /// `[channels]`, or none.
            pub bias: Option<Param>,
            /// `[channels]`, or none.
            pub running_mean: Option<Buffer>,
            /// `[channels]`, or none.
            pub running_var: Option<Buffer>,
            /// An integer of rank 0, or none: part of PyTorch's state, which it does not count up either.
            pub num_batches_tracked: Option<Buffer>,
            channels: usize,
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
                    weight: None,
                    bias: None,
                    running_mean: None,
                    running_var: None,
                    num_batches_tracked: None,
                    channels,
                    momentum: 0.1,
                    eps: 1e-5,
                }
            }

            /// What is added to the variance.
            pub fn eps(mut self, eps: f64) -> $Name {
                self.eps = eps;
                self
            }

            /// The weight of a batch in the running averages.
            pub fn momentum(mut self, momentum: f64) -> $Name {
                self.momentum = momentum;
                self
            }

            /// Without a weight and a bias (as made), or with them, starting at 1 and 0.
            #[track_caller]
            pub fn affine(mut self, affine: bool) -> $Name {
                self.weight = affine.then(|| Param::from_init(Init::ones(), [self.channels]));
                self.bias = affine.then(|| Param::from_init(Init::zeros(), [self.channels]));
                self
            }

            /// Whether running averages of the statistics are kept in training, and used in evaluation in the place
            /// of the input's own: not unless set.
            #[track_caller]
            pub fn track_running_stats(mut self, track: bool) -> $Name {
                let channels = self.channels;
                self.running_mean = track.then(|| Buffer::new(Tensor::zeros([channels])));
                self.running_var = track.then(|| Buffer::new(Tensor::ones([channels])));
                self.num_batches_tracked = track.then(|| Buffer::new(Int::zeros(())));
                self
            }
        }

        impl Layer for $Name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let _scope = self.scope.enter();
                if let Err(e) = check(x, $rank..=$rank, self.channels, $shapes) {
                    self.scope.refuse(e.operand("input", x.as_any()));
                }
                let (weight, bias) = (self.weight.as_ref().map(Param::value), self.bias.as_ref().map(Param::value));
                if let (Some(mean), Some(var)) = (&self.running_mean, &self.running_var) {
                    if !self.mode.is_training() {
                        let affine = weight.as_ref().zip(bias.as_ref());
                        return self.scope.output(x.batch_norm_with(&mean.float(), &var.float(), affine, self.eps));
                    }
                    // Averages over the samples of their own statistics.
                    let pixels = x.to_constant().flatten(2..);
                    average(mean, &pixels.mean_axis([0, 2]), self.momentum);
                    average(var, &unbiased(&pixels), self.momentum);
                }
                self.scope.output(x.instance_norm(weight.as_ref(), bias.as_ref(), self.eps))
            }
        }
    )*};
}

/// The unbiased variance of each channel, `[n, channels, pixels]`, averaged over the samples.
fn unbiased(pixels: &Tensor) -> Tensor {
    let n = pixels.size(2) as f64;
    (pixels - pixels.mean_keepdim(2)).square().mean_axis([0, 2]) * (n / (n - 1.0))
}

instance_norms! {
    /// Instance normalisation of `[n, channels, length]`, see [`Tensor::instance_norm`].
    ///
    /// ```
    /// use wengert_nn::{InstanceNorm1d, Layer};
    /// use wengert_tensor::tensor;
    /// let y = InstanceNorm1d::new(2).eps(1e-12).forward(&tensor![[[1.0, 3.0], [0.0, 100.0]]]);
    /// assert_eq!(y.to_vec::<f32>(), [-1.0, 1.0, -1.0, 1.0]);
    /// ```
    InstanceNorm1d takes 3, "[n, channels, length]";
    /// Instance normalisation of images `[n, channels, height, width]`, see [`Tensor::instance_norm`].
    ///
    /// ```
    /// use wengert_nn::{InstanceNorm2d, Layer};
    /// use wengert_tensor::Tensor;
    /// let norm = InstanceNorm2d::new(3).affine(true).track_running_stats(true).momentum(0.1);
    /// assert_eq!(norm.forward(&Tensor::randn([4, 3, 5, 5])).shape().to_string(), "[4, 3, 5, 5]");
    /// ```
    InstanceNorm2d takes 4, "[n, channels, height, width]";
}
