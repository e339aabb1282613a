//! Connectionist temporal classification.

use std::panic::Location;

use crate::dispatch::in_op;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::kind::{Bool, Int};
use crate::ops::loss::{Reduction, losses, options};
use crate::tensor::Tensor;

/// The logarithm that stands for probability 0: finite, so that differences of such are numbers, and so far down that
/// no sum of true ones comes near it.
const IMPOSSIBLE: f64 = -1e30;

options! {
    /// How [`Tensor::ctc_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{Ctc, Int, Reduction, Tensor, tensor};
    /// let log_probabilities = Tensor::zeros([2, 1, 3]).log_softmax(-1);
    /// let options = Ctc::new().blank(2).zero_infinity(true).reduction(Reduction::Sum);
    /// // Three labels do not fit into two steps.
    /// let too_long = tensor![[0, 1, 0]];
    /// let loss = log_probabilities.ctc_loss_with(&too_long, &tensor![2], &tensor![3], options);
    /// assert_eq!(loss.item(), 0.0);
    /// ```
    Ctc {
        /// The class that stands for no label. 0 unless set.
        blank(blank: usize): usize = 0 => blank;
        /// Whether the loss of a target that no alignment gives is 0, and without gradient, instead of infinite. It is
        /// not unless set.
        zero_infinity(zero_infinity: bool): bool = false => zero_infinity;
    }
}

/// The lengths of sequences, checked to be from 0 to `most`.
fn lengths(name: &str, given: &Tensor<Int>, batch: usize, most: usize) -> Result<Vec<usize>> {
    if given.shape()[..] != [batch] {
        return Err(Error::new(format!("{name} has shape {}, not [{batch}]", given.shape())));
    }
    let length = |(i, &n): (usize, &i64)| match usize::try_from(n) {
        Ok(n) if n <= most => Ok(n),
        _ => {
            Err(Error::new(format!("length {n} at [{i}] of {name} is not from 0 to {most}")).kind_of(ErrorKind::Value))
        }
    };
    given.to_vec::<i64>().iter().enumerate().map(length).collect()
}

/// What is known of the targets of a batch.
struct Plan {
    steps: Vec<usize>,
    labels: Vec<usize>,
    /// The extended targets `[N, 2 S + 1]`: blanks around each label.
    extended: Vec<i64>,
    /// The logarithm of whether the place before the last may be skipped: 0 or [`IMPOSSIBLE`].
    skips: Vec<f64>,
}

impl Plan {
    fn new(x: &Tensor, targets: &Tensor<Int>, steps: &Tensor<Int>, labels: &Tensor<Int>, blank: usize) -> Result<Plan> {
        let &[time, batch, classes] = &x.shape()[..] else {
            let e = format!("log-probabilities have rank 3, [T, N, C], not {}", x.rank());
            return Err(Error::new(e).help("time comes first: permute([1, 0, 2]) for batches that come first"));
        };
        if targets.rank() != 2 || targets.shape()[0] != batch {
            let e = format!("targets have shape {}, and {batch} sequences call for [{batch}, S]", targets.shape());
            return Err(Error::new(e).help("pad shorter targets with any class: target_lengths says where they end"));
        }
        if blank >= classes {
            return Err(Error::new(format!("blank {blank} is none of the {classes} classes")).kind_of(ErrorKind::Index));
        }
        let longest = targets.shape()[1];
        let steps = lengths("input_lengths", steps, batch, time)?;
        let labels = lengths("target_lengths", labels, batch, longest)?;
        let given = targets.to_vec::<i64>();
        let places = 2 * longest + 1;
        let mut plan = Plan { steps, labels, extended: vec![blank as i64; batch * places], skips: Vec::new() };
        plan.skips = vec![IMPOSSIBLE; batch * places];
        for n in 0..batch {
            for s in 0..plan.labels[n] {
                let label = given[n * longest + s];
                if !(0..classes as i64).contains(&label) || label == blank as i64 {
                    let e =
                        format!("label {label} at [{n}, {s}] of targets is the blank or none of the {classes} classes");
                    return Err(Error::new(e).kind_of(ErrorKind::Index));
                }
                let place = n * places + 2 * s + 1;
                plan.extended[place] = label;
                // Equal neighbours need a blank between them.
                if s == 0 || label != given[n * longest + s - 1] {
                    plan.skips[place] = 0.0;
                }
            }
        }
        Ok(plan)
    }
}

/// The negative log-likelihood of each target, by the recursion over alignments (equations 6 to 8 of the paper).
#[track_caller]
fn likelihoods(x: &Tensor, plan: &Plan) -> Result<Tensor> {
    let (time, batch, dtype) = (x.shape()[0], x.shape()[1], x.dtype());
    let places = plan.extended.len() / batch.max(1);
    let row = |f: &dyn Fn(usize) -> f64| {
        let values = (0..batch).map(f).collect();
        Tensor::from_vec::<f64>(values, [batch, 1]).to_dtype(dtype)
    };
    let extended = Tensor::<Int>::from_slice(&plan.extended, [1, batch, places]);
    let skips = Tensor::from_slice(&plan.skips, [batch, places]).to_dtype(dtype);
    let emitted = x.try_clamp(IMPOSSIBLE, f64::INFINITY)?;
    let emitted = emitted.try_gather(2, &extended.try_expand([time, batch, places])?)?;
    let edge = Tensor::full_dtype([batch, 2], IMPOSSIBLE, dtype);
    // The log-probability of all alignments that have come to each place, behind two places that none comes to again.
    // They start in the second: the first step goes on from it to the first blank or, over that, to the first label.
    let mut start = vec![IMPOSSIBLE; places + 2];
    start[1] = 0.0;
    let mut reached = Tensor::from_slice(&start, [1, places + 2]).to_dtype(dtype).try_expand([batch, places + 2])?;
    for t in 0..time {
        let stay = reached.try_narrow(1, 2, places)?;
        let step = reached.try_narrow(1, 1, places)?;
        let skip = reached.try_narrow(1, 0, places)?.try_add(&skips)?;
        let ways = stay.try_logaddexp(step)?.try_logaddexp(skip)?;
        let next = ways.try_add(emitted.try_narrow(0, t, 1)?.try_squeeze(0)?)?;
        let next = Tensor::try_cat(&[&edge, &next], 1)?;
        let goes_on: Vec<bool> = plan.steps.iter().map(|&steps| t < steps).collect();
        reached = match goes_on.iter().all(|&on| on) {
            true => next,
            false => Tensor::<Bool>::from_vec(goes_on, [batch, 1]).try_where_(&next, &reached)?,
        };
    }
    // They end in the last label or in the blank behind it; with no steps and no labels, where they started.
    let end = |back: usize| {
        let place = (0..batch).map(|n| match (plan.steps[n], plan.labels[n]) {
            (0, _) => 1,
            (_, labels) => (2 * labels + 2 - back).max(2) as i64,
        });
        reached.try_gather(1, &Tensor::<Int>::from_vec(place.collect(), [batch, 1]))
    };
    let only_one = row(&|n| if plan.steps[n] == 0 || plan.labels[n] == 0 { IMPOSSIBLE } else { 0.0 });
    let none_left = row(&|n| if plan.steps[n] == 0 && plan.labels[n] > 0 { IMPOSSIBLE } else { 0.0 });
    let total = end(0)?.try_add(none_left)?.try_logaddexp(end(1)?.try_add(only_one)?)?;
    total.try_neg()?.try_squeeze(1)
}

losses! {
    /// Connectionist temporal classification: the negative log-likelihood of label sequences whose alignment with the
    /// steps is not known, summed over all alignments, in nats (Graves et al., 2006).
    ///
    /// `self` holds log-probabilities `[T, N, C]`, as [`log_softmax`](Self::log_softmax) gives them; `targets` `[N, S]`
    /// labels other than the blank, class 0; `input_lengths` and `target_lengths` `[N]` how many steps and labels of each
    /// sequence count. Each loss is divided by the number of its labels, and then the mean is taken. Where no alignment
    /// gives the target, the loss is infinite.
    ///
    /// It is differentiable any number of times. 16-bit floats are computed in F32.
    ///
    /// # Panics
    /// If the shapes do not fit, a length is out of range, or a label is the blank or not a class number.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// // Of the four paths of two steps over two classes, three give the label 1: all but two blanks.
    /// let log_probabilities = Tensor::zeros([2, 1, 2]).log_softmax(-1);
    /// let loss = log_probabilities.ctc_loss(&tensor![[1]], &tensor![2], &tensor![1]);
    /// assert!((loss.item() + 0.75f64.ln()).abs() < 1e-6);
    /// ```
    ctc_loss / try_ctc_loss, ctc_loss_with / try_ctc_loss_with (
        &self, targets: &Tensor<Int>, input_lengths: &Tensor<Int>, target_lengths: &Tensor<Int>; o: Ctc
    ) {
        let operands = [
            ("log_probabilities", self.as_any()),
            ("targets", targets.as_any()),
            ("input_lengths", input_lengths.as_any()),
            ("target_lengths", target_lengths.as_any()),
        ];
        let plan = Plan::new(self, targets, input_lengths, target_lengths, o.blank);
        let plan = in_op("ctc_loss", &operands, Location::caller(), plan)?;
        let dtype = self.dtype();
        if dtype.size() == 2 {
            let wide = self.try_to_dtype(DType::F32)?.try_ctc_loss_with(targets, input_lengths, target_lengths, o)?;
            return wide.try_to_dtype(dtype);
        }
        let losses = likelihoods(self, &plan)?;
        let substitute = if o.zero_infinity { 0.0 } else { f64::INFINITY };
        let impossible = losses.try_gt(-IMPOSSIBLE / 2.0)?;
        let losses = impossible.try_where_(&Tensor::full_dtype((), substitute, dtype), &losses)?;
        if o.reduction != Reduction::Mean {
            return o.reduction.apply(losses);
        }
        let labels: Vec<f64> = plan.labels.iter().map(|&n| n.max(1) as f64).collect();
        losses.try_div(Tensor::from_vec(labels, [plan.labels.len()]).to_dtype(dtype))?.try_mean()
    }
}
