//! L-BFGS.

use std::collections::{HashSet, VecDeque};
use std::panic::Location;

use wengert_autograd::Differentiate;
use wengert_nn::{Param, StateDict};
use wengert_tensor::tape::with_grad;
use wengert_tensor::{DType, Result, Tensor, no_grad, or_panic};

use crate::line_search::{Point, strong_wolfe};
use crate::optimizer::check;
use crate::state::{number, number_in, tensor_in, unfit};

/// L-BFGS: steps that take the curvature of the loss into account, as far as past gradients show it, each with a line
/// search for the strong Wolfe conditions.
///
/// For smooth losses of all data at once, such as small regressions and physics-informed networks; noise of
/// mini-batches misleads it. A step runs several iterations and calls the loss anew for each point it tries. It
/// computes in F64, in whatever precision the parameters are, and keeps two vectors of their size for each of the last
/// [`history`](Lbfgs::history) iterations.
///
/// Where PyTorch's `LBFGS` is used with `line_search_fn="strong_wolfe"`, it takes the same steps.
///
/// J. Nocedal, "Updating Quasi-Newton Matrices With Limited Storage", Mathematics of Computation 1980.
///
/// ```
/// use wengert_nn::Param;
/// use wengert_optim::Lbfgs;
/// use wengert_tensor::{DType, tensor};
/// // Rosenbrock's valley, with its lowest point at (1, 1).
/// let w = Param::new(tensor![-1.2, 1.0].to_dtype(DType::F64));
/// let mut opt = Lbfgs::new([w.clone()])
///     .max_iterations(100)
///     .max_evaluations(200)
///     .tolerance_grad(1e-9)
///     .tolerance_change(1e-14)
///     .history(10)
///     .lr(1.0);
/// let report = opt.step(|| {
///     let (x, y) = (w.value().i(0), w.value().i(1));
///     (1.0 - &x).square() + (y - x.square()).square() * 100.0
/// });
/// assert!(report.after < 1e-8 && report.converged);
/// assert!((w.value().to_vec::<f64>()[0] - 1.0).abs() < 1e-3);
/// ```
pub struct Lbfgs {
    params: Vec<Param>,
    lr: f64,
    max_iterations: usize,
    max_evaluations: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history: usize,
    /// Whether an iteration was made.
    started: bool,
    /// The last step, and the gradient before it.
    last: Option<Pair>,
    /// Steps, and the changes of the gradient that came with them; the oldest first.
    pairs: VecDeque<Pair>,
}

/// A step, and a gradient or the change of one: flat vectors over all parameters, in F64.
struct Pair {
    step: Tensor,
    gradient: Tensor,
}

/// What a step of [`Lbfgs`] did.
///
/// ```
/// use wengert_nn::Param;
/// use wengert_optim::{Lbfgs, LbfgsReport};
/// use wengert_tensor::tensor;
/// let w = Param::new(tensor![1.0, 2.0]);
/// let LbfgsReport { before, after, .. } = Lbfgs::new([w.clone()]).step(|| w.value().square().sum());
/// assert!(before == 5.0 && after < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LbfgsReport {
    /// The loss before the step.
    pub before: f64,
    /// The loss after it.
    pub after: f64,
    /// How many iterations were made.
    pub iterations: usize,
    /// How often the loss was computed.
    pub evaluations: usize,
    /// Whether a tolerance was met, rather than a limit on iterations or evaluations.
    pub converged: bool,
}

impl Lbfgs {
    /// An optimizer of these parameters. One that is given several times counts once.
    pub fn new(params: impl IntoIterator<Item = Param>) -> Lbfgs {
        let mut seen = HashSet::new();
        Lbfgs {
            params: params.into_iter().filter(|p| seen.insert(p.id())).collect(),
            lr: 1.0,
            max_iterations: 20,
            max_evaluations: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history: 100,
            started: false,
            last: None,
            pairs: VecDeque::new(),
        }
    }

    /// The first step length that each line search tries. 1 unless set, as Newton's method would take.
    ///
    /// # Panics
    /// If it is not above 0 or not finite.
    #[track_caller]
    pub fn lr(mut self, lr: f64) -> Lbfgs {
        assert!(lr > 0.0 && lr.is_finite(), "lr {lr} is not above 0 or not finite");
        self.lr = lr;
        self
    }

    /// How many iterations a step makes at most. 20 unless set.
    pub fn max_iterations(mut self, max: usize) -> Lbfgs {
        self.max_iterations = max;
        self
    }

    /// How often a step computes the loss at most, but for the end of a line search. A quarter more than iterations,
    /// unless set.
    pub fn max_evaluations(mut self, max: usize) -> Lbfgs {
        self.max_evaluations = Some(max);
        self
    }

    /// Stops where no element of the gradient is larger. 1e-7 unless set.
    pub fn tolerance_grad(mut self, tolerance: f64) -> Lbfgs {
        self.tolerance_grad = tolerance;
        self
    }

    /// Stops where neither the loss nor any parameter changes more in an iteration. 1e-9 unless set.
    pub fn tolerance_change(mut self, tolerance: f64) -> Lbfgs {
        self.tolerance_change = tolerance;
        self
    }

    /// How many iterations it remembers. 100 unless set.
    pub fn history(mut self, history: usize) -> Lbfgs {
        self.history = history;
        self
    }

    /// Makes up to [`max_iterations`](Lbfgs::max_iterations) iterations. `loss` computes the loss from the parameters
    /// as they are when it is called, and must give the same loss for the same parameters. Frozen parameters are left
    /// alone.
    ///
    /// # Panics
    /// If a trainable parameter gets no gradient, or the loss has none.
    #[track_caller]
    pub fn step(&mut self, loss: impl FnMut() -> Tensor) -> LbfgsReport {
        or_panic(self.try_step(loss))
    }

    /// Fallible form of [`step`](Lbfgs::step).
    ///
    /// # Errors
    /// Where the other form panics. The parameters are as in the last point that was tried.
    #[track_caller]
    pub fn try_step(&mut self, mut loss: impl FnMut() -> Tensor) -> Result<LbfgsReport> {
        let at = Location::caller();
        no_grad(|| self.iterate(&mut loss)).map_err(|e| e.in_op("step", at))
    }

    fn iterate(&mut self, loss: &mut dyn FnMut() -> Tensor) -> Result<LbfgsReport> {
        let max_evaluations = self.max_evaluations.unwrap_or(self.max_iterations * 5 / 4);
        let (before, mut gradient) = self.evaluate(loss)?;
        let mut report = LbfgsReport { before, after: before, iterations: 0, evaluations: 1, converged: false };
        if largest(&gradient) <= self.tolerance_grad {
            report.converged = true;
            return Ok(report);
        }
        while report.iterations < self.max_iterations {
            report.iterations += 1;
            self.remember(&gradient);
            let direction = self.direction(&gradient);
            let first = if self.started { 1.0 } else { (1.0 / gradient.abs().sum().item()).min(1.0) };
            self.started = true;
            let slope = dot(&gradient, &direction);
            if slope > -self.tolerance_change {
                report.converged = true;
                break;
            }
            let start = Point { at: 0.0, loss: report.after, gradient, slope };
            let origin = self.position();
            let least = self.tolerance_change / largest(&direction);
            let most = max_evaluations.saturating_sub(report.evaluations);
            let (end, calls) = strong_wolfe(&start, first * self.lr, least, most, |at| {
                self.go_to(&(&origin + &direction * at));
                let (loss, gradient) = self.evaluate(loss)?;
                let slope = dot(&gradient, &direction);
                Ok(Point { at, loss: if loss.is_nan() { f64::INFINITY } else { loss }, gradient, slope })
            })?;
            let step = direction * end.at;
            self.go_to(&(origin + &step));
            report.evaluations += calls;
            let (largest_step, change) = (largest(&step), (end.loss - report.after).abs());
            self.last = Some(Pair { step, gradient: start.gradient });
            (report.after, gradient) = (end.loss, end.gradient);
            if largest(&gradient) <= self.tolerance_grad
                || largest_step <= self.tolerance_change
                || change < self.tolerance_change
            {
                report.converged = true;
                break;
            }
            if report.evaluations >= max_evaluations {
                break;
            }
        }
        Ok(report)
    }

    /// The loss and its gradient, flat, with zeros for frozen parameters.
    fn evaluate(&self, loss: &mut dyn FnMut() -> Tensor) -> Result<(f64, Tensor)> {
        let loss = with_grad(true, loss);
        let gradients = loss.try_backward()?;
        check(self.params.iter(), &gradients, false)?;
        let parts = self.params.iter().map(|p| gradients.get(p).cloned().unwrap_or_else(|| p.value().zeros_like()));
        Ok((loss.to_dtype(DType::F64).item(), flat(parts)))
    }

    /// All parameters, flat.
    fn position(&self) -> Tensor {
        flat(self.params.iter().map(|p| p.value().to_constant()))
    }

    /// Sets all trainable parameters.
    fn go_to(&self, position: &Tensor) {
        let mut from = 0;
        for p in &self.params {
            if p.is_trainable() {
                p.set(&position.narrow(0, from, p.elements()).reshape(p.shape()).to_dtype(p.dtype()).contiguous());
            }
            from += p.elements();
        }
    }

    /// All that a later run needs to go on bit for bit, but for the settings and the parameters.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_optim::Lbfgs;
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![1.0, 2.0]);
    /// let mut opt = Lbfgs::new([w.clone()]);
    /// opt.step(|| w.value().square().sum());
    /// let mut resumed = Lbfgs::new([w.clone()]);
    /// resumed.load_state_dict(&opt.state_dict()).unwrap();
    /// assert_eq!(resumed.state_dict().len(), opt.state_dict().len());
    /// ```
    pub fn state_dict(&self) -> StateDict {
        let pair = |name: String, pair: &Pair| {
            let (step, gradient) = (pair.step.clone().into(), pair.gradient.clone().into());
            [(format!("Lbfgs.{name}.step"), step), (format!("Lbfgs.{name}.gradient"), gradient)]
        };
        let numbers = [("started", f64::from(self.started)), ("pairs", self.pairs.len() as f64)];
        let numbers = numbers.map(|(name, x)| (format!("Lbfgs.{name}"), number(x)));
        let last = self.last.iter().flat_map(|p| pair("last".to_string(), p));
        let pairs = self.pairs.iter().enumerate().flat_map(|(i, p)| pair(i.to_string(), p));
        numbers.into_iter().chain(last).chain(pairs).collect()
    }

    /// Takes over a state that [`state_dict`](Lbfgs::state_dict) gave.
    ///
    /// # Errors
    /// If it is of another kind of optimizer, or of other parameters. Nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let of = |name: &str| number_in(state, &format!("Lbfgs.{name}"));
        let (Some(started), Some(count)) = (of("started"), of("pairs")) else {
            return Err(unfit("this is no state of the optimizer Lbfgs"));
        };
        let shape = [self.params.iter().map(Param::elements).sum::<usize>()].into();
        let pair = |name: &str| {
            let of = |what: &str| tensor_in(state, &format!("Lbfgs.{name}.{what}"), &shape, DType::F64);
            Ok(Pair { step: of("step")?, gradient: of("gradient")? })
        };
        let last = if state.get("Lbfgs.last.step").is_some() { Some(pair("last")?) } else { None };
        let pairs = (0..count as usize).map(|i| pair(&i.to_string())).collect::<Result<_>>()?;
        (self.started, self.last, self.pairs) = (started != 0.0, last, pairs);
        Ok(())
    }

    /// Takes the last step into the pairs, now that the gradient after it is known, unless the loss is not convex
    /// along it.
    fn remember(&mut self, gradient: &Tensor) {
        let Some(Pair { step, gradient: before }) = self.last.take() else { return };
        let change = gradient - before;
        if dot(&change, &step) > 1e-10 {
            self.pairs.push_back(Pair { step, gradient: change });
            if self.pairs.len() > self.history {
                self.pairs.pop_front();
            }
        }
    }

    /// The estimated inverse of the Hessian times the negative gradient: the recursion in two loops of J. Nocedal and
    /// S. Wright, "Numerical Optimization", algorithm 7.4.
    fn direction(&self, gradient: &Tensor) -> Tensor {
        let curvature = |pair: &Pair| 1.0 / dot(&pair.gradient, &pair.step);
        let mut direction = -gradient;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, &direction) * curvature(pair);
            direction -= &pair.gradient * share;
            shares.push(share);
        }
        if let Some(pair) = self.pairs.back() {
            direction *= dot(&pair.gradient, &pair.step) / dot(&pair.gradient, &pair.gradient);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let own = dot(&pair.gradient, &direction) * curvature(pair);
            direction += &pair.step * (share - own);
        }
        direction
    }
}

fn flat(parts: impl Iterator<Item = Tensor>) -> Tensor {
    let parts: Vec<Tensor> = parts.map(|t| t.detach().to_dtype(DType::F64).reshape([-1])).collect();
    Tensor::cat(&parts, 0)
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    (a * b).sum().item()
}

/// The largest magnitude of an element.
fn largest(x: &Tensor) -> f64 {
    x.abs().max().item()
}
