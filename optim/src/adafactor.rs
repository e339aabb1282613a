//! Adafactor.

use wengert_tensor::{Shape, Tensor};

use crate::norm::root_mean_square;
use crate::rule::{Kept, Rule, Step, widened};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Adam's scaling from the means of rows and columns: for a matrix `n` by `m` it keeps `n + m` numbers, not `n * m`.
    ///
    /// ```text
    /// follow = t^beta2_decay
    /// r <- r + follow * (mean of g^2 over columns - r)
    /// c <- c + follow * (mean of g^2 over rows - c)
    /// v =  r c^T / max(mean of r, eps1)
    /// u =  g / sqrt(max(v, eps1^2))
    /// p <- p - lr * weight_decay * p - max(eps2, rms(p)) * min(lr, 1 / sqrt(t)) / max(1, rms(u) / clip) * u
    /// ```
    ///
    /// The rows and columns are those of the last two axes; for vectors, `v` is a running mean of `g^2` itself.
    ///
    /// N. Shazeer and M. Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018, with PyTorch's
    /// reading of it.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::Adafactor;
    /// let net = Linear::new(4, 2);
    /// let opt = Adafactor::new(net.parameters()).lr(1e-2).beta2_decay(-0.8).eps1(1e-15).eps2(1e-3).clip(1.0);
    /// let opt = opt.weight_decay(0.01);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    Adafactor = AdafactorRule, lr: 1e-2,
    /// How fast the means follow: step `t` counts `t` to this power.
    beta2_decay: finite = -0.8,
    /// The least root of the estimated square; 0 stands for the distance between 1 and the next number of the precision.
    eps1: non_negative = 0.0,
    /// The least size of a parameter, by which steps are scaled.
    eps2: non_negative = 1e-3,
    /// The root mean square beyond which a step is scaled down.
    clip: positive = 1.0,
    /// What share of itself, times the learning rate, each parameter loses in a step.
    weight_decay: non_negative = 0.0,
}

impl Rule for AdafactorRule {
    const NAME: &'static str = "Adafactor";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        if shape.rank() < 2 {
            return vec![Kept::new("square", shape.clone())];
        }
        let (mut row, mut column) = (shape.clone(), shape.clone());
        row[shape.rank() - 1] = 1;
        column[shape.rank() - 2] = 1;
        vec![Kept::new("row", row), Kept::new("column", column)]
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        widened(param, grad, |param, grad| {
            let t = step.number as f64;
            let eps1 = if self.eps1 > 0.0 { self.eps1 } else { param.dtype().epsilon() };
            let size = root_mean_square(param).max(self.eps2) * step.lr.min(1.0 / t.sqrt());
            let squares = grad.square();
            let follow = |mean: &mut Tensor, now: &Tensor| *mean += (now - &*mean) * t.powf(self.beta2_decay);
            let estimate = match kept {
                [row, column] => {
                    follow(row, &squares.mean_keepdim(-1));
                    follow(column, &squares.mean_keepdim(-2));
                    &*row * &*column / row.mean_keepdim(-2).clamp(eps1, f64::INFINITY)
                }
                [square] => {
                    follow(square, &squares);
                    square.clone()
                }
                _ => unreachable!("what is kept is what `kept` names"),
            };
            let direction = grad / estimate.clamp(eps1 * eps1, f64::INFINITY).sqrt();
            let size = size / (root_mean_square(&direction) / self.clip).max(1.0);
            *param *= 1.0 - step.lr * self.weight_decay;
            *param -= direction * size;
        });
    }
}
