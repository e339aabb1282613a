//! Losses against classes: cross entropy of logits, and the same of log-probabilities.

use std::panic::Location;

use crate::attributes::{Attrs, Value};
use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::cross_entropy::{self, Classes};
use crate::kind::{Float, Int, Kind};
use crate::layout::Layout;
use crate::ops::create::checked_labels;
use crate::ops::elementwise::unsupported;
use crate::ops::full_any;
use crate::ops::loss::{Reduction, losses, options, same_shape};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CROSS_ENTROPY, &CROSS_ENTROPY_GRAD, &NLL_LOSS, &NLL_LOSS_GRAD];

/// A call's classes, and how its losses are reduced.
struct Task {
    classes: Classes,
    reduction: Reduction,
}

impl Task {
    /// Reads the labels `[N, ..]` of scores `[N, C, ..]`, and the attributes.
    fn new(scores: &Shape, target: &AnyTensor, attrs: &Attrs) -> Result<Task> {
        if !target.dtype().is_int() {
            return Err(unsupported(target.dtype()).help("labels are integers, one class number for each row"));
        }
        if scores.rank() < 2 {
            return Err(Error::new(format!("scores need rank 2 or more, [N, C] or [N, C, ..], not {}", scores.rank()))
                .help("for a single sample, add the batch axis: unsqueeze(0), and the same for the target"));
        }
        let mut wanted = scores.clone();
        let count = wanted.remove(1);
        let have = target.shape();
        if *have != wanted {
            let e = Error::new(format!("target has shape {have}, and scores {scores} call for {wanted}"));
            let mut with_one = wanted.clone();
            with_one.insert(1, 1);
            return Err(if have == scores {
                e.help("the target holds class numbers, not one-hot rows")
            } else if *have == with_one {
                e.help(format!("target.squeeze(1) gives {wanted}"))
            } else {
                e.help("the target has one class number for each row of scores: their shape without axis 1")
            });
        }
        let weights = attrs.floats("class_weights").to_vec();
        if !weights.is_empty() && weights.len() != count {
            let e = format!("{} class weights for {count} classes (axis 1)", weights.len());
            return Err(Error::new(e).kind_of(ErrorKind::Value));
        }
        let smoothing = attrs.get("label_smoothing").map_or(0.0, |_| attrs.float("label_smoothing"));
        if !(0.0..=1.0).contains(&smoothing) {
            let e = format!("label smoothing {smoothing} is not between 0 and 1");
            return Err(Error::new(e).kind_of(ErrorKind::Value));
        }
        let ignored = attrs.get("ignore_index").map(|_| attrs.int("ignore_index") as i64);
        let labels = checked_labels(target, count, ignored).map_err(|e| {
            // Usually it stands for a row that does not count.
            let negative = target.to_f64_vec().into_iter().find(|label| *label < 0.0);
            match negative.filter(|label| e.message().starts_with(&format!("label {label} "))) {
                Some(label) => e.help(format!("with the option ignore_index({label}) such rows do not count")),
                None => e,
            }
        })?;
        Ok(Task { classes: Classes { labels, weights, smoothing }, reduction: Reduction::of(attrs)? })
    }

    /// What a sum of losses is divided by: for the mean, the weights of all labels that count.
    fn divisor(&self) -> f64 {
        match self.reduction {
            // Counted, not summed, where all weigh 1: additions wait for one another.
            Reduction::Mean if self.classes.weights.is_empty() => {
                self.classes.labels.iter().filter(|label| label.is_some()).count() as f64
            }
            Reduction::Mean => self.classes.labels.iter().flatten().map(|&c| self.classes.weight(c)).sum(),
            _ => 1.0,
        }
    }

    /// The losses of logits, or of log-probabilities, reduced.
    fn losses(&self, x: &AnyTensor, target: &Shape, logits: bool) -> Outputs {
        let losses = with_dtype!(float x.dtype(), T => {
            let par = Par::of(x.elements());
            cross_entropy::losses::<T>(x.storage().slice(), x.layout(), 1, &self.classes, logits, &par)
        });
        if self.reduction != Reduction::None {
            let loss = losses.iter().sum::<f64>() / self.divisor();
            return full_any(Shape::scalar(), loss.into(), x.dtype()).into();
        }
        let storage = with_dtype!(float x.dtype(), T => {
            let stored: Vec<T> = losses.iter().map(|&l| T::from_f64(l)).collect();
            Storage::from_slice(&stored)
        });
        AnyTensor::dense(storage, target.clone(), x.dtype()).into()
    }

    /// The gradient of the losses of each row from that of the result: one for all where they were reduced.
    fn scales(&self, g: &AnyTensor, target: &Shape) -> Result<impl Fn(usize) -> f64 + Sync + use<>> {
        let whole = self.reduction == Reduction::None;
        let fits = if whole { g.shape() == target } else { g.elements() == 1 };
        if !fits {
            let wanted = if whole { target.to_string() } else { "one element".to_string() };
            return Err(Error::new(format!("the gradient of the loss has shape {}, not {wanted}", g.shape())));
        }
        let (scales, divisor) = (g.to_f64_vec(), self.divisor());
        Ok(move |row: usize| scales[if whole { row } else { 0 }] / divisor)
    }
}

/// The forward function of a loss of scores `[N, C, ..]` against labels.
fn forward(call: &mut Call<'_, '_>, logits: bool) -> Result<Outputs> {
    let (x, target) = (call.input(0), call.input(1));
    if !x.dtype().is_float() {
        return Err(unsupported(x.dtype()).help("scores are float tensors"));
    }
    Ok(Task::new(x.shape(), target, call.attrs())?.losses(x, target.shape(), logits))
}

/// Some scores and labels, and options.
fn samples(g: &mut Gen) -> (AnyTensor, AnyTensor, Attrs) {
    let shape = g.full_shape(2, 4);
    let mut rows = shape.clone();
    let classes = rows.remove(1);
    let count = rows.elements();
    let mut labels: Vec<i64> = (0..count).map(|_| g.below(classes) as i64).collect();
    let mut attrs = attrs! { reduction: g.pick(&["mean", "sum", "none"]) };
    if g.below(2) == 0 {
        let weights: Vec<f64> = (0..classes).map(|_| g.real(0.5, 2.0)).collect();
        attrs = attrs.with("class_weights", &weights[..]);
    }
    if count > 1 && g.below(3) == 0 {
        labels[count - 1] = -100;
        attrs = attrs.with("ignore_index", -100i64);
    }
    (g.numbers(&shape, -3.0, 3.0), Tensor::<Int>::from_vec(labels, &rows).into(), attrs)
}

fn misuses(rest: Option<AnyTensor>) -> Vec<Misuse> {
    let x: AnyTensor = Tensor::zeros([2, 3]).into();
    let case = |x: &AnyTensor, target: Tensor<Int>, attrs: Attrs, says| {
        Misuse::new([x.clone(), target.into()].into_iter().chain(rest.clone()), attrs, says)
    };
    let label = |l: i64| Tensor::<Int>::from_vec(vec![0, l], [2]);
    let float = Tensor::zeros([2]).into();
    vec![
        case(&x, label(3), Attrs::NONE, "label 3 at [1] is none of the 3 classes"),
        case(&x, label(-100), Attrs::NONE, "label -100 at [1] is none of the 3 classes"),
        case(&x, Int::zeros([3]), Attrs::NONE, "target has shape [3], and scores [2, 3] call for [2]"),
        case(&x, Int::zeros([2, 1]), Attrs::NONE, "target.squeeze(1) gives [2]"),
        case(&x, Int::zeros([2, 3]), Attrs::NONE, "not one-hot rows"),
        case(&Tensor::zeros([3]).into(), Int::zeros(()), Attrs::NONE, "unsqueeze(0)"),
        case(&x, label(1), attrs! { label_smoothing: 1.5 }, "label smoothing 1.5 is not between 0 and 1"),
        case(&x, label(1), attrs! { class_weights: &[1.0][..] }, "1 class weights for 3 classes"),
        case(&x, label(1), attrs! { reduction: "average" }, "reduction average is none of none, mean and sum"),
        Misuse::new([x, float].into_iter().chain(rest), Attrs::NONE, "labels are integers"),
    ]
}

/// The operation of [`Tensor::cross_entropy`] against class numbers.
pub(crate) static CROSS_ENTROPY: Op = Op {
    name: "cross_entropy",
    operands: &["logits", "target"],
    forward: |call| forward(call, true),
    gradient: Gradient::Rule {
        // The logits are kept alive by what made them; their softmax is cheaper to compute again than to store.
        saves: |_| Saves::INPUTS,
        vjp: |cx| {
            let (x, target, g) = (cx.input::<Float>(0), cx.input::<Int>(1), cx.g());
            let gradient =
                apply1(&CROSS_ENTROPY_GRAD, cx.attrs().clone(), &mut [(&x).into(), (&target).into(), g.into()]);
            cx.give(0, or_panic(gradient));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.cross_entropy",
        precisions: FLOATS,
        samples: |g| {
            let (x, target, attrs) = samples(g);
            let attrs = attrs.with("label_smoothing", smoothing_sample(g, &x));
            vec![Sample::new([x, target], attrs)]
        },
        specials: |g| {
            // A sure prediction, right and wrong: no overflow, and a gradient of 0 and of 1.
            let x = g.tensor(&[200.0, -200.0], &[1, 2].into());
            let label = |l: i64| Tensor::<Int>::from_vec(vec![l], [1]).into();
            // A class that is ruled out, and not asked for.
            let masked = g.tensor(&[0.0, f64::NEG_INFINITY], &[1, 2].into());
            vec![
                Sample::new([x.clone(), label(0)], Attrs::NONE).with_gradient([vec![0.0, 0.0]]),
                Sample::new([x, label(1)], Attrs::NONE).with_gradient([vec![1.0, -1.0]]),
                Sample::new([masked, label(0)], Attrs::NONE).with_gradient([vec![0.0, 0.0]]),
            ]
        },
        misuses: || misuses(None),
    },
};

/// The gradient of the cross entropy with respect to the logits.
pub(crate) static CROSS_ENTROPY_GRAD: Op = Op {
    name: "cross_entropy_grad",
    operands: &["logits", "target", "gradient"],
    forward: |call| {
        let (x, target, g) = (call.input(0), call.input(1), call.input(2));
        let dtype = call.same_dtype_of([0, 2])?;
        if !dtype.is_float() {
            return Err(unsupported(dtype));
        }
        let task = Task::new(x.shape(), target, call.attrs())?;
        let (n, scales) = (x.elements(), task.scales(g, target.shape())?);
        let storage = with_dtype!(float dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            let (x, layout) = (x.storage().slice(), x.layout());
            cross_entropy::logits_gradient(out, x, layout, 1, &task.classes, scales, &Par::of(n));
            storage
        });
        Ok(AnyTensor::dense(storage, x.shape().clone(), dtype).into())
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUTS,
        vjp: |cx| {
            // It is the gradient of `nll_loss`, taken back through the log-softmax: each row is its mean under the
            // softmax taken from it. So is the incoming gradient, on its way forward.
            let (x, target, g) = (cx.input::<Float>(0), cx.input::<Int>(1), cx.input::<Float>(2));
            let (u, p, attrs) = (cx.g(), x.softmax(1), cx.attrs().clone());
            let centred = &u - (&p * &u).sum_keepdim(1);
            if cx.needs(2) {
                let along =
                    or_panic(apply1::<Float>(&NLL_LOSS, attrs.clone(), &mut [(&centred).into(), (&target).into()]));
                cx.give(2, along.reshape(g.shape()));
            }
            if cx.needs(0) {
                let asked = nll_grad(&target, &g, x.shape()[1], attrs).sum_keepdim(1).neg();
                cx.give(0, p * centred * asked);
            }
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "",
        precisions: FLOATS,
        samples: |g| {
            let (x, target, attrs) = samples(g);
            let gradient = gradient_sample(g, &attrs, target.shape());
            let attrs = attrs.with("label_smoothing", smoothing_sample(g, &x));
            vec![Sample::new([x, target, gradient], attrs)]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let mut all = misuses(Some(Tensor::ones(()).into()));
            let (x, target) = (Tensor::zeros([2, 3]), Int::zeros([2]));
            all.push(Misuse::new(
                [x.into(), target.into(), Tensor::ones([2]).into()],
                Attrs::NONE,
                "the gradient of the loss has shape [2], not one element",
            ));
            all
        },
    },
};

/// A label smoothing; none for a single class, whose gradient would be nothing but rounding.
fn smoothing_sample(g: &mut Gen, x: &AnyTensor) -> f64 {
    if x.shape()[1] == 1 { 0.0 } else { g.pick(&[0.0, 0.2, 1.0]) }
}

/// A gradient of the loss: of the target's shape where it is not reduced.
fn gradient_sample(g: &mut Gen, attrs: &Attrs, target: &Shape) -> AnyTensor {
    let whole = attrs.get("reduction") == Some(&Value::Name("none"));
    let shape = if whole { target.clone() } else { Shape::scalar() };
    g.numbers(&shape, 0.5, 2.0)
}

/// The operation of [`Tensor::nll_loss`].
pub(crate) static NLL_LOSS: Op = Op {
    name: "nll_loss",
    operands: &["log_probabilities", "target"],
    forward: |call| forward(call, false),
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE.and_input(1),
        vjp: |cx| {
            let (target, g) = (cx.input::<Int>(1), cx.g());
            let classes = cx.input_shape(0)[1];
            cx.give(0, nll_grad(&target, &g, classes, cx.attrs().clone()));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.nll_loss",
        precisions: FLOATS,
        samples: |g| {
            let (x, target, attrs) = samples(g);
            vec![Sample::new([x, target], attrs)]
        },
        specials: |_| Vec::new(),
        misuses: || misuses(None),
    },
};

#[track_caller]
fn nll_grad(target: &Tensor<Int>, g: &Tensor, classes: usize, attrs: Attrs) -> Tensor {
    or_panic(apply1(&NLL_LOSS_GRAD, attrs.with("classes", classes), &mut [g.into(), target.into()]))
}

/// The gradient of `nll_loss` with respect to the log-probabilities: each is the other's transpose.
pub(crate) static NLL_LOSS_GRAD: Op = Op {
    name: "nll_loss_grad",
    operands: &["gradient", "target"],
    forward: |call| {
        let (g, target) = (call.input(0), call.input(1));
        let dtype = g.dtype();
        if !dtype.is_float() {
            return Err(unsupported(dtype));
        }
        if target.rank() < 1 {
            return Err(Error::new("labels have rank 1 or more, [N] or [N, ..], not 0"));
        }
        let mut shape = target.shape().clone();
        shape.insert(1, call.attrs().int("classes").max(0) as usize);
        let shape = shape.addressable()?;
        let task = Task::new(&shape, target, call.attrs())?;
        let scales = task.scales(g, target.shape())?;
        let n = shape.elements();
        let storage = with_dtype!(float dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            cross_entropy::log_gradient(out, &Layout::dense(shape.clone()), 1, &task.classes, scales);
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE.and_input(1),
        vjp: |cx| {
            let (target, u) = (cx.input::<Int>(1), cx.g());
            let gradient = or_panic(apply1::<Float>(&NLL_LOSS, cx.attrs().clone(), &mut [u.into(), (&target).into()]));
            let shape = cx.input_shape(0).clone();
            cx.give(0, gradient.reshape(&shape));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "",
        precisions: FLOATS,
        samples: |g| {
            let (x, target, attrs) = samples(g);
            let gradient = gradient_sample(g, &attrs, target.shape());
            vec![Sample::new([gradient, target], attrs.with("classes", x.shape()[1]))]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let call = |target: Tensor<Int>, says| {
                Misuse::new([Tensor::ones(()).into(), target.into()], attrs! { classes: 3i64 }, says)
            };
            vec![
                call(Tensor::<Int>::from_vec(vec![0i64, 3], [2]), "label 3 at [1] is none of the 3 classes"),
                call(Int::zeros(()), "labels have rank 1 or more"),
                Misuse::new(
                    [Tensor::ones([2]).into(), Int::zeros([2]).into()],
                    attrs! { classes: 3i64 },
                    "the gradient of the loss has shape [2], not one element",
                ),
            ]
        },
    },
};

options! {
    /// How [`Tensor::cross_entropy_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{CrossEntropy, Reduction, tensor};
    /// let logits = tensor![[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]];
    /// let options = CrossEntropy::new()
    ///     .class_weights([1.0, 1.0, 4.0])
    ///     .label_smoothing(0.1)
    ///     .ignore_index(-100)
    ///     .reduction(Reduction::None);
    /// let losses = logits.cross_entropy_with(&tensor![0, -100], options);
    /// assert_eq!(losses.i(1).item(), 0.0);
    /// ```
    CrossEntropy {
        /// The share of each label that is spread evenly over all classes, from 0 to 1 (Szegedy et al., 2015,
        /// arXiv:1512.00567). 0 unless set.
        label_smoothing(label_smoothing: f64): f64 = 0.0 => label_smoothing;
        /// A factor for each class: for the loss of a row, that of its label. The mean is divided by their sum over all
        /// rows. None unless set.
        class_weights(class_weights: impl Into<Vec<f64>>): Option<Vec<f64>> = None => Some(class_weights.into());
        /// A label whose rows do not count, neither in the loss nor in what the mean is divided by. None unless set.
        ignore_index(ignore_index: i64): Option<i64> = None => Some(ignore_index);
    }

    /// How [`Tensor::nll_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{Nll, tensor};
    /// let log_probabilities = tensor![[-1.0, -2.0], [-3.0, -4.0]];
    /// let options = Nll::new().class_weights([1.0, 3.0]).ignore_index(-1);
    /// assert_eq!(log_probabilities.nll_loss_with(&tensor![0, 1], options).item(), 3.25);
    /// ```
    Nll {
        /// A factor for each class: for the loss of a row, that of its label. The mean is divided by their sum over all
        /// rows. None unless set.
        class_weights(class_weights: impl Into<Vec<f64>>): Option<Vec<f64>> = None => Some(class_weights.into());
        /// A label whose rows do not count, neither in the loss nor in what the mean is divided by. None unless set.
        ignore_index(ignore_index: i64): Option<i64> = None => Some(ignore_index);
    }
}

/// The attributes of options that are not the usual ones.
fn options(reduction: Reduction, weights: &Option<Vec<f64>>, ignored: Option<i64>) -> Attrs {
    let mut attrs = attrs! { reduction: reduction.name() };
    if let Some(weights) = weights {
        attrs = attrs.with("class_weights", &weights[..]);
    }
    if let Some(ignored) = ignored {
        attrs = attrs.with("ignore_index", ignored);
    }
    attrs
}

/// How the classes are given that scores are compared to: as numbers ([`Int`]) or as probabilities ([`Float`]).
///
/// ```
/// use wengert_tensor::{ClassTarget, Tensor, tensor};
/// fn loss<K: ClassTarget>(logits: &Tensor, target: &Tensor<K>) -> f64 {
///     logits.cross_entropy(target).item()
/// }
/// let logits = tensor![[0.0, 3.0]];
/// assert_eq!(loss(&logits, &tensor![1]) as f32, loss(&logits, &tensor![[0.0, 1.0]]) as f32);
/// ```
#[diagnostic::on_unimplemented(
    message = "a target of kind `{Self}` gives no classes",
    note = "the target holds class numbers (`Tensor<Int>`) or the probability of each class (`Tensor`)"
)]
pub trait ClassTarget: Kind {
    /// The cross entropy of logits against a target of this kind.
    ///
    /// # Errors
    /// Where [`Tensor::cross_entropy_with`] panics.
    #[doc(hidden)]
    #[track_caller]
    fn cross_entropy(logits: &Tensor, target: &Tensor<Self>, options: CrossEntropy) -> Result<Tensor>;
}

impl ClassTarget for Int {
    #[track_caller]
    fn cross_entropy(logits: &Tensor, target: &Tensor<Int>, o: CrossEntropy) -> Result<Tensor> {
        let mut attrs = options(o.reduction, &o.class_weights, o.ignore_index);
        if o.label_smoothing != 0.0 {
            attrs = attrs.with("label_smoothing", o.label_smoothing);
        }
        apply1(&CROSS_ENTROPY, attrs, &mut [logits.into(), target.into()])
    }
}

impl ClassTarget for Float {
    #[track_caller]
    fn cross_entropy(logits: &Tensor, target: &Tensor, o: CrossEntropy) -> Result<Tensor> {
        let classes = logits.shape().get(1).copied().unwrap_or(0);
        let check = || {
            if logits.rank() < 2 {
                return Err(Error::new(format!(
                    "logits need rank 2 or more, [N, C] or [N, C, ..], not {}",
                    logits.rank()
                ))
                .help("for a single sample, add the batch axis: unsqueeze(0), and the same for the target"));
            }
            same_shape(logits.shape(), target.shape()).map_err(|e| match target.rank() + 1 == logits.rank() {
                true => e.help("class numbers are integers: target.to_int()"),
                false => e,
            })?;
            let bad = |e: String| Err(Error::new(e).kind_of(ErrorKind::Value));
            match &o.class_weights {
                _ if o.ignore_index.is_some() => bad("ignore_index is for class numbers, not for probabilities".into()),
                _ if !(0.0..=1.0).contains(&o.label_smoothing) => {
                    bad(format!("label smoothing {} is not between 0 and 1", o.label_smoothing))
                }
                Some(w) if w.len() != classes => {
                    bad(format!("{} class weights for {classes} classes (axis 1)", w.len()))
                }
                _ => Ok(()),
            }
        };
        let operands = [("logits", logits.as_any()), ("target", target.as_any())];
        in_op("cross_entropy", &operands, Location::caller(), check())?;
        let mut asked = target.clone();
        if o.label_smoothing != 0.0 {
            asked = asked * (1.0 - o.label_smoothing) + o.label_smoothing / classes as f64;
        }
        if let Some(weights) = &o.class_weights {
            let mut shape = vec![1; logits.rank()];
            shape[1] = classes;
            asked = asked.try_mul(Tensor::from_slice(weights, &shape).to_dtype(logits.dtype()))?;
        }
        let losses = logits.try_log_softmax(1)?.try_mul(asked)?.try_sum_axis(1)?;
        o.reduction.apply(-losses)
    }
}

losses! {
    /// The mean cross entropy of logits `[N, C]` (or `[N, C, ..]`) against classes, in nats: `-log(softmax(logits))` at
    /// each label, averaged over all labels.
    ///
    /// The target holds class numbers `[N]` (or `[N, ..]`), or the probabilities of the classes, of the logits' shape:
    /// then it is minus the sum over classes of probability times `log(softmax(logits))`.
    ///
    /// Takes raw logits: a softmax before it would be applied twice. NaN for no labels.
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is not a class number.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let logits = tensor![[0.0, 0.0], [0.0, 0.0]];
    /// assert_eq!(logits.cross_entropy(&tensor![0, 1]).item() as f32, 2f32.ln());
    /// assert_eq!(logits.cross_entropy(&tensor![[0.5, 0.5], [1.0, 0.0]]).item() as f32, 2f32.ln());
    /// ```
    cross_entropy / try_cross_entropy, cross_entropy_with / try_cross_entropy_with [K: ClassTarget] (
        &self, target: &Tensor<K>; options: CrossEntropy
    ) {
        K::cross_entropy(self, target, options)
    }

    /// The mean negative log-likelihood of class numbers `[N]` (or `[N, ..]`) under log-probabilities `[N, C]` (or
    /// `[N, C, ..]`), as [`log_softmax`](Self::log_softmax) gives them.
    ///
    /// From logits, [`cross_entropy`](Self::cross_entropy) is the same in one pass.
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is not a class number.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![[-1.0, -2.0], [-3.0, -4.0]].nll_loss(&tensor![0, 1]).item(), 2.5);
    /// ```
    nll_loss / try_nll_loss, nll_loss_with / try_nll_loss_with (&self, target: &Tensor<Int>; o: Nll) {
        let attrs = options(o.reduction, &o.class_weights, o.ignore_index);
        apply1(&NLL_LOSS, attrs, &mut [self.into(), target.into()])
    }
}
