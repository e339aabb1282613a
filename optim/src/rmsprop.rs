//! RMSprop.

use num_traits::Float;
use wengert_tensor::{Shape, Tensor};

use crate::rule::{Kept, Pass, Rule, Step, lit};
use crate::settings::{optimizer, setting};

optimizer! {
    /// Steps divided by the root of a running mean of the gradient's square.
    ///
    /// ```text
    /// g <- g + weight_decay * p
    /// v <- alpha * v + (1 - alpha) * g^2
    /// a <- alpha * a + (1 - alpha) * g     where centred, else a = 0
    /// b <- momentum * b + g / (sqrt(v - a^2) + eps)
    /// p <- p - lr * b
    /// ```
    ///
    /// T. Tieleman and G. Hinton, "Lecture 6.5 - rmsprop", COURSERA 2012; centred: A. Graves, "Generating Sequences With
    /// Recurrent Neural Networks", 2013. As in PyTorch, `eps` stands outside the root; TensorFlow has it inside.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_optim::RmsProp;
    /// let net = Linear::new(4, 2);
    /// let opt = RmsProp::new(net.parameters()).lr(1e-2).alpha(0.9).centred(true).momentum(0.9);
    /// let opt = opt.eps(1e-8).weight_decay(1e-4);
    /// # assert_eq!(opt.parameters().count(), 2);
    /// ```
    RmsProp = RmsPropRule, lr: 1e-2,
    /// How slowly the mean of the square follows.
    alpha: fraction = 0.99,
    /// What is added to the root, so that nothing is divided by zero.
    eps: non_negative = 1e-8,
    /// How much of the last step's direction goes on.
    momentum: non_negative = 0.0,
    /// Whether to subtract the square of the mean: to divide by the deviation.
    centred: flag = false,
    /// What multiple of each parameter is added to its gradient.
    weight_decay: non_negative = 0.0,
}

impl Rule for RmsPropRule {
    const NAME: &'static str = "RmsProp";

    fn kept(&self, shape: &Shape) -> Vec<Kept> {
        let names: &[_] = match (self.centred, self.momentum > 0.0) {
            (false, false) => &["square"],
            (false, true) => &["square", "momentum"],
            (true, false) => &["square", "mean"],
            (true, true) => &["square", "mean", "momentum"],
        };
        Kept::all(names, shape)
    }

    fn hyperparameters(&self) -> Vec<(&'static str, f64)> {
        self.settings()
    }

    fn update(&self, step: Step, param: &mut Tensor, grad: &Tensor, kept: &mut [Tensor]) {
        RmsPropPass { rule: self, lr: step.lr }.over(param, grad, kept);
    }
}

struct RmsPropPass<'a> {
    rule: &'a RmsPropRule,
    lr: f64,
}

impl Pass for RmsPropPass<'_> {
    #[inline(always)]
    fn run<S: Float>(&self, param: &mut [S], grad: &[S], kept: &mut [&mut [S]]) {
        let rule = self.rule;
        let (alpha, add) = (lit::<S>(rule.alpha), lit::<S>(1.0 - rule.alpha));
        let (lr, eps, decay) = (lit::<S>(self.lr), lit::<S>(rule.eps), lit::<S>(rule.weight_decay));
        let momentum = lit::<S>(rule.momentum);
        let [square, rest @ ..] = kept else { unreachable!("the square is always kept") };
        let all = param.iter_mut().zip(grad).zip(square.iter_mut());
        let follow = |v: &mut S, g: S| *v = alpha * *v + add * g * g;
        let centre = |a: &mut S, g: S| *a = alpha * *a + add * g;
        match (rest, rule.centred) {
            ([], _) => {
                for ((p, &g), v) in all {
                    let g = g + decay * *p;
                    follow(v, g);
                    *p = *p - lr * g / (v.sqrt() + eps);
                }
            }
            ([mean], true) => {
                for (((p, &g), v), a) in all.zip(mean.iter_mut()) {
                    let g = g + decay * *p;
                    follow(v, g);
                    centre(a, g);
                    *p = *p - lr * g / ((*v - *a * *a).sqrt() + eps);
                }
            }
            ([buffer], false) => {
                for (((p, &g), v), b) in all.zip(buffer.iter_mut()) {
                    let g = g + decay * *p;
                    follow(v, g);
                    *b = momentum * *b + g / (v.sqrt() + eps);
                    *p = *p - lr * *b;
                }
            }
            ([mean, buffer], _) => {
                for (((p, &g), v), (a, b)) in all.zip(mean.iter_mut().zip(buffer.iter_mut())) {
                    let g = g + decay * *p;
                    follow(v, g);
                    centre(a, g);
                    *b = momentum * *b + g / ((*v - *a * *a).sqrt() + eps);
                    *p = *p - lr * *b;
                }
            }
            _ => unreachable!("what is kept is what `kept` names"),
        }
    }
}
