//! The network, with the scaling of its inputs as a part of it.

use wengert::prelude::*;

/// Brings columns to mean 0 and deviation 1. What it learned of the training set is saved with the model.
#[derive(Module)]
pub struct Standardize {
    mean: Buffer,
    deviation: Buffer,
}

impl Standardize {
    /// For columns that are spread as those of `x`, which is `[N, columns]`.
    pub fn of(x: &Tensor) -> Standardize {
        let mean = x.mean_axis(0);
        let deviation = (x - &mean).square().mean_axis(0).sqrt();
        // A column without any spread stays as it is.
        Standardize { mean: Buffer::new(mean), deviation: Buffer::new(deviation.maximum(1e-6)) }
    }

    /// The columns `x` on the common scale.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        (x - self.mean.float()) / self.deviation.float()
    }

    /// The columns of which `x` are the scaled ones.
    pub fn inverse(&self, x: &Tensor) -> Tensor {
        x * self.deviation.float() + self.mean.float()
    }
}

/// Miles per gallon of cars.
#[derive(Module)]
pub struct Mileage {
    inputs: Standardize,
    targets: Standardize,
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Mileage {
    /// A network for inputs and targets that are spread as these.
    pub fn new(x: &Tensor, y: &Tensor) -> Mileage {
        Mileage {
            inputs: Standardize::of(x),
            targets: Standardize::of(y),
            first: Linear::new(x.size(1), 32),
            second: Linear::new(32, 16),
            last: Linear::new(16, 1),
        }
    }

    /// The scaled prediction `[N, 1]` for cars `[N, 9]`.
    fn scaled(&self, x: &Tensor) -> Tensor {
        let x = self.first.forward(&self.inputs.forward(x)).gelu();
        self.last.forward(&self.second.forward(&x).gelu())
    }

    /// The loss to train with: of the scaled predictions for `x` against the targets `y`.
    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        log_cosh(&self.scaled(x), &self.targets.forward(y))
    }

    /// Miles per gallon `[N, 1]` for cars `[N, 9]`.
    pub fn predict(&self, x: &Tensor) -> Tensor {
        no_grad(|| self.targets.inverse(&self.scaled(x)))
    }

    /// The root mean square of what is wrong with the predictions, in miles per gallon.
    pub fn error(&self, x: &Tensor, y: &Tensor) -> f64 {
        (self.predict(x) - y).square().mean().item().sqrt()
    }
}

/// A loss of this crate's own: the mean of `ln(cosh(error))`, which is the square for small errors and the magnitude for
/// large ones.
pub fn log_cosh(x: &Tensor, y: &Tensor) -> Tensor {
    let size = (x - y).abs();
    // ln(cosh(e)) = |e| + ln(1 + exp(-2 |e|)) - ln 2, in which nothing overflows.
    (&size + (&size * -2.0).exp().log1p()).mean() - std::f64::consts::LN_2
}
