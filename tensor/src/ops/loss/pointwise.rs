//! Losses of each element against its target.
//!
//! Each entry of `loss!` is an operation that computes the losses and reduces them in one pass.

use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Attrs, Call, apply1, in_op};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::copy;
use crate::ops::loss::{Reduction, demand_positive, losses, options, same_shape};
use crate::tensor::Tensor;

/// Defines losses of each element against its target, with the attribute `reduction`.
///
/// `eval` is the loss of one element. `input` and `target` are the gradient rules for the two operands, told the
/// gradient of each element's loss: of rank 0 where they were reduced. `check` looks at a call before it is computed.
macro_rules! loss {
    ($(
        $name:ident $(($($p:ident = [$($pv:expr),+]),+))? = $OP:ident {
            eval: |$x:ident, $t:ident| $eval:expr,
            $(check: $check:path,)?
            input: |$ig:ident, $ix:pat_param, $it:pat_param| $irule:expr,
            target: |$tg:ident, $tx:pat_param, $tt:pat_param| $trule:expr,
            domain: ($xlow:literal to $xhigh:literal, $tlow:literal to $thigh:literal),
            specials: [$(($sx:expr, $st:expr) => $slope:expr),*],
            $(misuses: [$(($mx:expr, $mt:expr, $mattrs:expr) => $says:literal),*],)?
            torch: $torch:literal,
        }
    )*) => {
        /// The operations of this file.
        pub(crate) static OPS: &[&crate::dispatch::Op] = &[$(&$OP),*];

        $(
            #[doc = concat!("The operation `", stringify!($name), "`.")]
            static $OP: crate::dispatch::Op = {
                use crate::dispatch::{Gradient, Op, Outputs, Saves};
                use crate::kernels::number::Real;
                use crate::kernels::zip::BinaryBody;
                use crate::ops::elementwise::{self, ZipTable, bind_numbers};
                use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
                use crate::{DType, Float, Shape};
                struct Body;
                impl BinaryBody for Body {
                    #[inline(always)]
                    #[allow(unused_variables)]
                    fn eval<R: Real>($x: R, $t: R, numbers: &[f64]) -> R {
                        bind_numbers!(numbers $($($p),+)?);
                        $eval
                    }
                }
                fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
                    static TABLE: ZipTable = ZipTable::float::<Body>();
                    let dtype = call.same_dtype()?;
                    elementwise::demand_float(dtype)?;
                    same_shape(call.input(0).shape(), call.input(1).shape())?;
                    $($check(call)?;)?
                    let numbers = [$($(call.attrs().float(stringify!($p))),+)?];
                    let reduction = Reduction::of(call.attrs())?;
                    if reduction == Reduction::None {
                        return elementwise::zip(call, &TABLE, &numbers);
                    }
                    let (x, t) = (call.input(0), call.input(1));
                    let count = if reduction == Reduction::Mean { x.elements() as f64 } else { 1.0 };
                    let total = elementwise::zip_sum(x, t, &TABLE, &numbers) / count;
                    Ok(crate::ops::full_any(Shape::scalar(), total.into(), dtype).into())
                }
                #[allow(unused_variables)]
                fn vjp(cx: &mut crate::tape::Vjp<'_>) {
                    $($(let $p = cx.attrs().float(stringify!($p));)+)?
                    let (x, t, mut g) = (cx.input::<Float>(0), cx.input::<Float>(1), cx.g());
                    if Reduction::of(cx.attrs()).expect("checked when it was recorded") == Reduction::Mean {
                        g /= x.elements() as f64;
                    }
                    if cx.needs(0) {
                        let ($ig, $ix, $it) = (&g, &x, &t);
                        let gradient: Tensor = $irule;
                        cx.give(0, gradient);
                    }
                    if cx.needs(1) {
                        let ($tg, $tx, $tt) = (&g, &x, &t);
                        let gradient: Tensor = $trule;
                        cx.give(1, gradient);
                    }
                }
                fn attrs(g: &mut Gen) -> Attrs {
                    let attrs = Attrs::NONE;
                    $($(let attrs = attrs.with(stringify!($p), g.pick(&[$($pv as f64),+]));)+)?
                    attrs.with("reduction", g.pick(&["none", "mean", "sum"]))
                }
                fn samples(g: &mut Gen) -> Vec<Sample> {
                    let shape = g.shape(0, 3);
                    let x = g.numbers(&shape, $xlow as f64, $xhigh as f64);
                    let t = g.numbers(&shape, $tlow as f64, $thigh as f64);
                    let attrs = attrs(g);
                    vec![Sample::new([x, t], attrs)]
                }
                #[allow(unused_variables)]
                fn specials(g: &mut Gen) -> Vec<Sample> {
                    let (point, call) = (Shape::scalar(), attrs(g));
                    $($(let $p = call.float(stringify!($p));)+)?
                    vec![$({
                        let (x, t) = (g.tensor(&[$sx], &point), g.tensor(&[$st], &point));
                        let slope: [f64; 2] = $slope;
                        Sample::new([x, t], call.clone()).with_gradient(slope.map(|s| vec![s]))
                    }),*]
                }
                fn misuses() -> Vec<Misuse> {
                    let call = attrs(&mut Gen::new(0, DType::F64));
                    let (x, row) = (Tensor::full([2, 1], 0.5), Tensor::full([2], 0.5));
                    vec![
                        Misuse::new([(&x).into(), row.into()], call.clone(), "shapes differ: [2, 1] and [2]"),
                        Misuse::new(
                            [(&x).into(), x.to_dtype(DType::F64).into()],
                            call,
                            "precisions differ: F32 and F64",
                        ),
                        Misuse::new(
                            [(&x).into(), (&x).into()],
                            Attrs::NONE$($(.with(stringify!($p), 1.0))+)?.with("reduction", "average"),
                            "reduction average is none of none, mean and sum",
                        ),
                        $($(Misuse::new(
                            [Tensor::full([2], $mx).into(), Tensor::full([2], $mt).into()],
                            $mattrs,
                            $says,
                        )),*)?
                    ]
                }
                Op {
                    name: stringify!($name),
                    operands: &["input", "target"],
                    forward,
                    gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
                    info: || OpInfo {
                        family: Family::Reduce,
                        numpy: "",
                        torch: $torch,
                        precisions: FLOATS,
                        samples,
                        specials,
                        misuses,
                    },
                }
            };
        )*
    };
}

loss! {
    mse_loss = MSE_LOSS {
        eval: |x, t| (x - t) * (x - t),
        input: |g, x, t| (x - t) * (g * 2.0),
        target: |g, x, t| (t - x) * (g * 2.0),
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.0, 0.0]],
        torch: "nn.functional.mse_loss",
    }

    l1_loss = L1_LOSS {
        eval: |x, t| (x - t).abs(),
        input: |g, x, t| (x - t).sign() * g,
        target: |g, x, t| (t - x).sign() * g,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.0, 0.0]],
        torch: "nn.functional.l1_loss",
    }

    huber_loss(delta = [1.0, 0.5]) = HUBER_LOSS {
        eval: |x, t| {
            let (half, distance) = (R::lit(0.5), (x - t).abs());
            let line = delta * (distance - half * delta);
            R::select(delta.lt(distance), line, half * distance * distance)
        },
        check: demand_delta,
        input: |g, x, t| (x - t).clamp(-delta, delta) * g,
        target: |g, x, t| (t - x).clamp(-delta, delta) * g,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.0, 0.0], (0.0, 2.0) => [-delta, delta]],
        misuses: [(0.5, 0.5, attrs! { delta: 0.0 }) => "delta 0 is not above 0"],
        torch: "nn.functional.huber_loss",
    }

    smooth_l1_loss(beta = [1.0, 0.5]) = SMOOTH_L1_LOSS {
        eval: |x, t| {
            let (half, distance) = (R::lit(0.5), (x - t).abs());
            let square = half * distance * distance / beta;
            R::select(distance.lt(beta), square, distance - half * beta)
        },
        check: demand_beta,
        input: |g, x, t| ((x - t) / beta).clamp(-1.0, 1.0) * g,
        target: |g, x, t| ((t - x) / beta).clamp(-1.0, 1.0) * g,
        domain: (-3.0 to 3.0, -3.0 to 3.0), specials: [(1.0, 1.0) => [0.0, 0.0], (0.0, 2.0) => [-1.0, 1.0]],
        misuses: [(0.5, 0.5, attrs! { beta: 0.0 }) => "beta 0 is not above 0"],
        torch: "nn.functional.smooth_l1_loss",
    }

    hinge_loss(margin = [1.0, 0.5]) = HINGE_LOSS {
        eval: |x, t| (margin - t * x).max(R::lit(0.0)),
        input: |g, x, t| (x * t).lt(margin).to_float_as(x.dtype()) * t.neg() * g,
        target: |g, x, t| (x * t).lt(margin).to_float_as(x.dtype()) * x.neg() * g,
        domain: (-3.0 to 3.0, -1.0 to 1.0), specials: [(0.5, 1.0) => if margin == 1.0 { [-1.0, -0.5] } else { [0.0, 0.0] }],
        torch: "",
    }

    bce_loss = BCE_LOSS {
        eval: |p, t| {
            let (one, least) = (R::lit(1.0), R::lit(LEAST_LOG));
            let (yes, no) = (p.ln().max(least), (-p).ln_1p().max(least));
            -(t * yes + (one - t) * no)
        },
        check: demand_probabilities,
        input: |g, p, t| (p - t) / ((1.0 - p) * p).clamp(1e-12, f64::INFINITY) * g,
        target: |g, p, _| (p.neg().log1p().clamp(LEAST_LOG, 0.0) - p.log().clamp(LEAST_LOG, 0.0)) * g,
        domain: (0.05 to 0.95, 0.0 to 1.0),
        specials: [(1.0, 1.0) => [0.0, -100.0], (0.0, 0.0) => [0.0, 100.0]],
        misuses: [
            (1.5, 0.5, Attrs::NONE) => "1.5 at [0] is not between 0 and 1",
            (f64::NAN, 0.5, Attrs::NONE) => "NaN at [0] is not between 0 and 1"
        ],
        torch: "nn.functional.binary_cross_entropy",
    }

    bce_with_logits_loss = BCE_WITH_LOGITS_LOSS {
        // -t log(sigmoid(x)) - (1 - t) log(sigmoid(-x)), without overflow.
        eval: |x, t| x.max(R::lit(0.0)) - x * t + (-x.abs()).exp().ln_1p(),
        input: |g, x, t| (x.sigmoid() - t) * g,
        target: |g, x, _| x * g.neg(),
        domain: (-3.0 to 3.0, 0.0 to 1.0),
        specials: [(0.0, 1.0) => [-0.5, 0.0], (1000.0, 1.0) => [0.0, -1000.0], (-1000.0, 1.0) => [-1.0, 1000.0]],
        torch: "nn.functional.binary_cross_entropy_with_logits",
    }

    kl_div = KL_DIV {
        eval: |x, t| {
            let zero = R::lit(0.0);
            R::select(t.eq(zero), zero, t * (t.ln() - x))
        },
        input: |g, _, t| t * g.neg(),
        target: |g, x, t| (t.log() - x + 1.0) * g,
        domain: (-3.0 to 0.0, 0.1 to 1.0), specials: [(-1.0, 1.0) => [-1.0, 2.0]],
        torch: "nn.functional.kl_div",
    }

    kl_div_of_logs = KL_DIV_OF_LOGS {
        eval: |x, t| t.exp() * (t - x),
        input: |g, _, t| t.exp() * g.neg(),
        target: |g, x, t| t.exp() * (t - x + 1.0) * g,
        domain: (-3.0 to 0.0, -3.0 to 0.0), specials: [(-1.0, 0.0) => [-1.0, 2.0]],
        torch: "nn.functional.kl_div",
    }
}

/// The least logarithm of a probability that `bce_loss` takes, so that a wrong certainty has a finite loss.
const LEAST_LOG: f64 = -100.0;

fn demand_delta(call: &Call<'_, '_>) -> Result<()> {
    demand_positive("delta", call.attrs().float("delta"))
}

fn demand_beta(call: &Call<'_, '_>) -> Result<()> {
    demand_positive("beta", call.attrs().float("beta"))
}

/// Checks that the first input holds probabilities.
fn demand_probabilities(call: &Call<'_, '_>) -> Result<()> {
    let p = call.input(0);
    let (mut number, mut wrong) = (0, None);
    with_dtype!(float p.dtype(), T => copy::for_each(p.storage().slice::<T>(), p.layout(), |v| {
        if !(0.0..=1.0).contains(&v.to_f64()) {
            wrong.get_or_insert((number, v.to_f64()));
        }
        number += 1;
    }));
    match wrong {
        None => Ok(()),
        Some((number, value)) => {
            let e = format!("{value} at {:?} is not between 0 and 1", p.shape().position(number));
            let help = "the input holds probabilities: of logits, take bce_with_logits_loss";
            Err(Error::new(e).kind_of(ErrorKind::Value).help(help))
        }
    }
}

options! {
    /// How [`Tensor::huber_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{Huber, Reduction, tensor};
    /// let options = Huber::new().delta(2.0).reduction(Reduction::Sum);
    /// assert_eq!(tensor![0.0].huber_loss_with(&tensor![5.0], options).item(), 8.0);
    /// ```
    Huber {
        /// The distance at which the square goes over into a line. 1 unless set.
        delta(delta: f64): f64 = 1.0 => delta;
    }

    /// How [`Tensor::smooth_l1_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{SmoothL1, tensor};
    /// assert_eq!(tensor![0.0].smooth_l1_loss_with(&tensor![5.0], SmoothL1::new().beta(2.0)).item(), 4.0);
    /// ```
    SmoothL1 {
        /// The distance at which the square goes over into a line. 1 unless set.
        beta(beta: f64): f64 = 1.0 => beta;
    }

    /// How [`Tensor::hinge_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{Hinge, tensor};
    /// assert_eq!(tensor![0.5].hinge_loss_with(&tensor![1.0], Hinge::new().margin(2.0)).item(), 1.5);
    /// ```
    Hinge {
        /// How far on the right side an input must lie for a loss of 0. 1 unless set.
        margin(margin: f64): f64 = 1.0 => margin;
    }

    /// How [`Tensor::bce_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{Bce, Reduction, tensor};
    /// let options = Bce::new().weight(&tensor![1.0, 0.0]).reduction(Reduction::Sum);
    /// let loss = tensor![0.5, 0.5].bce_loss_with(&tensor![1.0, 1.0], options);
    /// assert_eq!(loss.item() as f32, 2f32.ln());
    /// ```
    Bce {
        /// A factor for the loss of each element, which broadcasts to the input's shape. None unless set.
        weight(weight: &Tensor): Option<Tensor> = None => Some(weight.clone());
    }

    /// How [`Tensor::bce_with_logits_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{BceWithLogits, tensor};
    /// let rare = BceWithLogits::new().pos_weight(&tensor![3.0]);
    /// let loss = tensor![0.0].bce_with_logits_loss_with(&tensor![1.0], rare);
    /// assert_eq!(loss.item() as f32, 3.0 * 2f32.ln());
    /// ```
    BceWithLogits {
        /// A factor for the loss of each element, which broadcasts to the input's shape. None unless set.
        weight(weight: &Tensor): Option<Tensor> = None => Some(weight.clone());
        /// A factor for the loss of what should be 1, which broadcasts to the input's shape: above 1 it finds more of
        /// them, below 1 it makes fewer mistakes. None unless set.
        pos_weight(pos_weight: &Tensor): Option<Tensor> = None => Some(pos_weight.clone());
    }

    /// How [`Tensor::kl_div_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{KlDiv, tensor};
    /// let p = tensor![0.5, 0.5].log();
    /// assert_eq!(p.kl_div_with(&p, KlDiv::new().log_target(true)).item(), 0.0);
    /// ```
    KlDiv {
        /// Whether the target holds log-probabilities, too. It does not unless set.
        log_target(log_target: bool): bool = false => log_target;
    }
}

/// The losses times a weight for each that broadcasts to their shape.
#[track_caller]
fn weighted(op: &'static str, losses: Tensor, weight: &Option<Tensor>) -> Result<Tensor> {
    let Some(weight) = weight else { return Ok(losses) };
    let fits = fits(weight, &losses);
    in_op(op, &[("losses", losses.as_any()), ("weight", weight.as_any())], Location::caller(), fits)?;
    losses.try_mul(weight)
}

/// Checks that a weight broadcasts to the shape of what it weights.
fn fits(weight: &Tensor, of: &Tensor) -> Result<()> {
    if weight.shape().broadcast(of.shape())? == *of.shape() {
        return Ok(());
    }
    Err(Error::new(format!("the weight's shape {} does not broadcast to {}", weight.shape(), of.shape())))
}

losses! {
    /// The mean squared difference to `target`.
    ///
    /// The shapes must be equal: predictions `[N, 1]` against a target `[N]` would broadcast to `[N, N]` and train
    /// towards the mean.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].mse_loss(&tensor![1.0, 4.0]).item(), 2.0);
    /// ```
    mse_loss / try_mse_loss, mse_loss_with / try_mse_loss_with (&self, target: &Tensor; reduction: Reduction) {
        apply1(&MSE_LOSS, attrs! { reduction: reduction.name() }, &mut [self.into(), target.into()])
    }

    /// The mean absolute difference to `target`. Its gradient is 0 where they are equal.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 2.0].l1_loss(&tensor![1.0, 4.0]).item(), 1.0);
    /// ```
    l1_loss / try_l1_loss, l1_loss_with / try_l1_loss_with (&self, target: &Tensor; reduction: Reduction) {
        apply1(&L1_LOSS, attrs! { reduction: reduction.name() }, &mut [self.into(), target.into()])
    }

    /// Half the squared distance to `target` up to distance `delta`, 1, and beyond it the line that goes on from there
    /// (Huber, 1964): outliers weigh less than in [`mse_loss`](Self::mse_loss). The mean over all elements.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 0.0].huber_loss(&tensor![1.0, 5.0]).item(), 2.5);
    /// ```
    huber_loss / try_huber_loss, huber_loss_with / try_huber_loss_with (&self, target: &Tensor; o: Huber) {
        let attrs = attrs! { delta: o.delta, reduction: o.reduction.name() };
        apply1(&HUBER_LOSS, attrs, &mut [self.into(), target.into()])
    }

    /// [`huber_loss`](Self::huber_loss) over `beta`: the slope of the line is 1 for any `beta`, which is 1 unless set
    /// (Girshick, 2015, arXiv:1504.08083).
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 0.0].smooth_l1_loss(&tensor![1.0, 5.0]).item(), 2.5);
    /// ```
    smooth_l1_loss / try_smooth_l1_loss, smooth_l1_loss_with / try_smooth_l1_loss_with (
        &self, target: &Tensor; o: SmoothL1
    ) {
        let attrs = attrs! { beta: o.beta, reduction: o.reduction.name() };
        apply1(&SMOOTH_L1_LOSS, attrs, &mut [self.into(), target.into()])
    }

    /// `max(0, 1 - target * input)`, for targets of -1 and 1: how far an input is from lying a margin of 1 on the right
    /// side. The mean over all elements. The gradient on the margin is 0.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.5, 3.0].hinge_loss(&tensor![-1.0, 1.0]).item(), 0.75);
    /// ```
    hinge_loss / try_hinge_loss, hinge_loss_with / try_hinge_loss_with (&self, target: &Tensor; o: Hinge) {
        let attrs = attrs! { margin: o.margin, reduction: o.reduction.name() };
        apply1(&HINGE_LOSS, attrs, &mut [self.into(), target.into()])
    }

    /// The mean binary cross entropy of probabilities against targets between 0 and 1, in nats.
    ///
    /// Logarithms are taken to be at least -100, so that the loss stays finite. From logits,
    /// [`bce_with_logits_loss`](Self::bce_with_logits_loss) is more precise.
    ///
    /// # Panics
    /// If the shapes or the precisions differ, or an input is not between 0 and 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.5, 0.5].bce_loss(&tensor![0.0, 1.0]).item() as f32, 2f32.ln());
    /// ```
    bce_loss / try_bce_loss, bce_loss_with / try_bce_loss_with (&self, target: &Tensor; o: Bce) {
        let reduction = if o.weight.is_some() { Reduction::None } else { o.reduction };
        let losses = apply1(&BCE_LOSS, attrs! { reduction: reduction.name() }, &mut [self.into(), target.into()])?;
        match o.weight {
            None => Ok(losses),
            some => o.reduction.apply(weighted("bce_loss", losses, &some)?),
        }
    }

    /// The mean binary cross entropy of logits against targets between 0 and 1, in nats: that of
    /// `sigmoid(input)`, computed without overflow and without rounding probabilities to 0 or 1.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 0.0].bce_with_logits_loss(&tensor![0.0, 1.0]).item() as f32, 2f32.ln());
    /// assert_eq!(tensor![1000.0].bce_with_logits_loss(&tensor![0.0]).item(), 1000.0);
    /// ```
    bce_with_logits_loss / try_bce_with_logits_loss, bce_with_logits_loss_with / try_bce_with_logits_loss_with (
        &self, target: &Tensor; o: BceWithLogits
    ) {
        const NAME: &str = "bce_with_logits_loss";
        let plain = |reduction: Reduction| -> Result<Tensor> {
            let attrs = attrs! { reduction: reduction.name() };
            apply1(&BCE_WITH_LOGITS_LOSS, attrs, &mut [self.into(), target.into()])
        };
        if o.weight.is_none() && o.pos_weight.is_none() {
            return plain(o.reduction);
        }
        let mut losses = plain(Reduction::None)?;
        if let Some(pos_weight) = &o.pos_weight {
            let operands = [("input", self.as_any()), ("pos_weight", pos_weight.as_any())];
            in_op(NAME, &operands, Location::caller(), fits(pos_weight, self))?;
            // What should be 1 counts so many times more.
            let more = pos_weight.try_sub(1.0)?.try_mul(target)?;
            losses = losses.try_sub(more.try_mul(self.try_log_sigmoid()?)?)?;
        }
        o.reduction.apply(weighted(NAME, losses, &o.weight)?)
    }

    /// The Kullback-Leibler divergence of the target's probabilities from log-probabilities, `target * (log(target) -
    /// input)`, in nats: the mean over all elements.
    ///
    /// The divergence itself, of distributions along an axis, is the sum along that axis and the mean over the others:
    /// `Reduction::Sum` and division by the number of rows, PyTorch's `batchmean`.
    ///
    /// # Panics
    /// If the shapes or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::{Reduction, tensor};
    /// let (p, q) = (tensor![[1.0, 0.0]], tensor![[0.5, 0.5]].log());
    /// assert_eq!(q.kl_div_with(&p, Reduction::Sum).item() as f32, 2f32.ln());
    /// ```
    kl_div / try_kl_div, kl_div_with / try_kl_div_with (&self, target: &Tensor; o: KlDiv) {
        let op = if o.log_target { &KL_DIV_OF_LOGS } else { &KL_DIV };
        apply1(op, attrs! { reduction: o.reduction.name() }, &mut [self.into(), target.into()])
    }
}
