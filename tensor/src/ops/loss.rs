//! Losses.

use std::panic::Location;

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{copy, softmax};
use crate::kind::{Float, Int};
use crate::ops::elementwise::unsupported;
use crate::ops::{full_any, twin};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CROSS_ENTROPY, &CROSS_ENTROPY_GRAD];

/// Checks logits of shape `[N, C, ..]` and labels of shape `[N, ..]`, and returns the labels in row-major order.
fn labels(logits: &AnyTensor, target: &AnyTensor) -> Result<Vec<usize>> {
    if !logits.dtype().is_float() {
        return Err(unsupported(logits.dtype()).help("logits are float tensors"));
    }
    if !target.dtype().is_int() {
        return Err(unsupported(target.dtype()).help("labels are integers, one class number for each row"));
    }
    if logits.rank() < 2 {
        return Err(Error::new(format!("logits need rank 2 or more, [N, C] or [N, C, ..], not {}", logits.rank()))
            .help("for a single sample, add the batch axis: logits.unsqueeze(0)"));
    }
    let mut wanted = logits.shape().clone();
    let classes = wanted.remove(1);
    let have = target.shape();
    if *have != wanted {
        let e = Error::new(format!("target has shape {have}, and logits {} call for {wanted}", logits.shape()));
        let mut with_one = wanted.clone();
        with_one.insert(1, 1);
        return Err(if have == logits.shape() {
            e.help("the target holds class numbers, not one-hot rows")
        } else if *have == with_one {
            e.help(format!("target.squeeze(1) gives {wanted}"))
        } else {
            e.help("the target has one class number for each row of logits: their shape without axis 1")
        });
    }
    let mut labels = Vec::with_capacity(target.elements());
    let mut wrong = None;
    with_dtype!(int target.dtype(), T => {
        copy::for_each(target.storage().slice::<T>(), target.layout(), |label| {
            let label = label.to_i64();
            match usize::try_from(label) {
                Ok(class) if class < classes => labels.push(class),
                _ => {
                    wrong.get_or_insert((labels.len(), label));
                }
            }
        });
    });
    match wrong {
        None => Ok(labels),
        Some((number, label)) => {
            let mut position: Vec<usize> = Vec::new();
            have.iter().rev().fold(number, |rest, &size| {
                position.insert(0, rest % size);
                rest / size
            });
            let e = Error::new(format!("label {label} at {position:?} is none of the {classes} classes"));
            Err(e.kind_of(ErrorKind::Index).help(match classes {
                0 => "axis 1 of the logits, the classes, is empty".to_string(),
                _ => format!("labels are class numbers from 0 to {}", classes - 1),
            }))
        }
    }
}

fn samples(g: &mut Gen) -> (AnyTensor, AnyTensor) {
    let shape = g.full_shape(2, 4);
    let mut rows = shape.clone();
    let classes = rows.remove(1) as i64;
    (g.numbers(&shape, -3.0, 3.0), g.ints(&rows, 0, classes))
}

fn misuses(rest: Option<AnyTensor>) -> Vec<Misuse> {
    let x: AnyTensor = Tensor::zeros([2, 3]).into();
    let case = |x: &AnyTensor, target: Tensor<Int>, says| {
        Misuse::new([x.clone(), target.into()].into_iter().chain(rest.clone()), Attrs::NONE, says)
    };
    let label = |l: i64| Tensor::<Int>::from_vec(vec![0, l], [2]);
    let float = Tensor::zeros([2]).into();
    vec![
        case(&x, label(3), "label 3 at [1] is none of the 3 classes"),
        case(&x, label(-1), "label -1 at [1] is none of the 3 classes"),
        case(&x, Int::zeros([3]), "target has shape [3], and logits [2, 3] call for [2]"),
        case(&x, Int::zeros([2, 1]), "target.squeeze(1) gives [2]"),
        case(&x, Int::zeros([2, 3]), "not one-hot rows"),
        case(&Tensor::zeros([3]).into(), Int::zeros(()), "logits.unsqueeze(0)"),
        Misuse::new([x, float].into_iter().chain(rest), Attrs::NONE, "labels are integers"),
    ]
}

/// The operation of [`Tensor::cross_entropy`].
pub(crate) static CROSS_ENTROPY: Op = Op {
    name: "cross_entropy",
    operands: &["logits", "target"],
    forward: |call| {
        let (x, target) = (call.input(0), call.input(1));
        let labels = labels(x, target)?;
        let sum = with_dtype!(float x.dtype(), T => {
            softmax::cross_entropy::<T>(x.storage().slice(), x.layout(), 1, &labels, &Par::of(x.elements()))
        });
        let mean = sum / labels.len() as f64;
        Ok(smallvec::smallvec![full_any(Shape::scalar(), mean.into(), x.dtype())])
    },
    gradient: Gradient::Rule {
        // The logits are kept alive by what made them; their softmax is cheaper to compute again than to store.
        saves: |_| Saves::INPUTS,
        vjp: |cx| {
            let (x, target, g) = (cx.input::<Float>(0), cx.input::<Int>(1), cx.g());
            cx.give(0, cross_entropy_grad(&x, &target, &g));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.cross_entropy",
        precisions: FLOATS,
        samples: |g| {
            let (x, target) = samples(g);
            vec![Sample::new([x, target], Attrs::NONE)]
        },
        specials: |g| {
            // A sure prediction, right and wrong: no overflow, and a gradient of 0 and of 1.
            let x = g.tensor(&[200.0, -200.0], &[1, 2].into());
            let label = |l: i64| Tensor::<Int>::from_vec(vec![l], [1]).into();
            vec![
                Sample::new([x.clone(), label(0)], Attrs::NONE).with_gradient([vec![0.0, 0.0]]),
                Sample::new([x, label(1)], Attrs::NONE).with_gradient([vec![1.0, -1.0]]),
            ]
        },
        misuses: || misuses(None),
    },
};

#[track_caller]
fn cross_entropy_grad(x: &Tensor, target: &Tensor<Int>, g: &Tensor) -> Tensor {
    crate::error::or_panic(apply1(&CROSS_ENTROPY_GRAD, Attrs::NONE, &mut [x.into(), target.into(), g.into()]))
}

/// The gradient of the cross entropy: `(softmax(x) - y) g / n`, where `y` is 1 at the labels and `n` their number.
pub(crate) static CROSS_ENTROPY_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (x, target, g) = (call.input(0), call.input(1), call.input(2));
        let labels = labels(x, target)?;
        if g.elements() != 1 || g.dtype() != x.dtype() {
            return Err(Error::new(format!(
                "the gradient of the loss has shape {} and precision {}, not one element of {}",
                g.shape(),
                g.dtype(),
                x.dtype()
            )));
        }
        let (n, scale) = (x.elements(), g.to_f64_vec()[0] / labels.len() as f64);
        let storage = with_dtype!(float x.dtype(), T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            softmax::cross_entropy_grad(out, x.storage().slice(), x.layout(), 1, &labels, scale, &Par::of(n));
            storage
        });
        Ok(smallvec::smallvec![AnyTensor::dense(storage, x.shape().clone(), x.dtype())])
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (x, target, g) = (cx.input::<Float>(0), cx.input::<Int>(1), cx.input::<Float>(2));
        let u = cx.g();
        if cx.needs(2) {
            // It is linear in `g`: the part that multiplies it is the operation at 1.
            cx.give(2, (&u * cross_entropy_grad(&x, &target, &g.ones_like())).sum());
        }
        if cx.needs(0) {
            let p = x.softmax(1);
            let up = u * &p;
            let sum = up.sum_keepdim(1);
            cx.give(0, (up - p * sum) * (g / target.elements() as f64));
        }
    }
    Op {
        name: "cross_entropy_grad",
        operands: &["logits", "target", "gradient"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Norm,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (x, target) = samples(g);
                vec![Sample::new([x, target, g.numbers(&Shape::scalar(), 0.5, 2.0)], Attrs::NONE)]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let mut all = misuses(Some(Tensor::ones(()).into()));
                let (x, target) = (Tensor::zeros([2, 3]), Int::zeros([2]));
                all.push(Misuse::new(
                    [x.into(), target.into(), Tensor::ones([2]).into()],
                    Attrs::NONE,
                    "the gradient of the loss has shape [2]",
                ));
                all
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// The mean cross entropy of logits `[N, C]` (or `[N, C, ..]`) against class numbers `[N]` (or `[N, ..]`):
        /// `-log(softmax(logits))` at each label, in nats, averaged over all labels.
        ///
        /// Takes raw logits: a softmax before it would be applied twice. NaN for no labels.
        ///
        /// # Panics
        /// If the shapes do not fit, or a label is not a class number.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let logits = tensor![[0.0, 0.0], [0.0, 0.0]];
        /// let loss = logits.cross_entropy(&tensor![0, 1]);
        /// assert_eq!(loss.item() as f32, 2f32.ln());
        /// ```
        pub fn cross_entropy / try_cross_entropy(&self, target: &Tensor<Int>) -> Tensor {
            apply1(&CROSS_ENTROPY, Attrs::NONE, &mut [self.into(), target.into()])
        }

        /// The mean squared difference to `target`, over all elements.
        ///
        /// The shapes must be equal: predictions `[N, 1]` against a target `[N]` would broadcast to `[N, N]` and
        /// train towards the mean.
        ///
        /// # Panics
        /// If the shapes or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].mse_loss(&tensor![1.0, 4.0]).item(), 2.0);
        /// ```
        pub fn mse_loss / try_mse_loss(&self, target: &Tensor) -> Tensor {
            let at = Location::caller();
            in_op("mse_loss", &[("input", self.as_any()), ("target", target.as_any())], at, same_shape(self, target))?;
            self.try_sub(target)?.try_square()?.try_mean()
        }
    }
}

/// Checks that predictions and target have one shape.
fn same_shape(input: &Tensor, target: &Tensor) -> Result<()> {
    let (a, b) = (input.shape(), target.shape());
    if a == b {
        return Ok(());
    }
    let e = Error::new(format!("shapes differ: {a} and {b}"));
    // One axis of size 1 too many is the usual slip.
    let extra = |long: &Shape, short: &Shape| {
        (0..long.rank()).rev().find(|&axis| {
            let mut s = long.clone();
            s.remove(axis) == 1 && s == *short
        })
    };
    Err(if let Some(axis) = extra(a, b) {
        e.help(format!("target.unsqueeze({axis}) gives {a}, or input.squeeze({axis}) gives {b}"))
    } else if let Some(axis) = extra(b, a) {
        e.help(format!("target.squeeze({axis}) gives {a}, or input.unsqueeze({axis}) gives {b}"))
    } else {
        e.help("the loss broadcasts nothing: bring both to one shape first")
    })
}
