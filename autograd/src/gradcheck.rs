//! Checking gradients against differences.
//!
//! A gradient is compared entry by entry with the central difference `(f(x + h) - f(x - h)) / 2h`. Where the two differ
//! by more than the relative tolerance, the difference is computed anew by Ridders' extrapolation over a range of steps
//! (C. J. F. Ridders, Advances in Engineering Software 4, 1982), which is some thousand times more precise and knows its
//! own error. So the tolerance stays relative down to very small gradients: there is no absolute tolerance for a wrong
//! rule to hide in, only the rounding noise of `f` itself.

use std::cell::OnceCell;
use std::panic::Location;

use rustc_hash::FxHashSet;
use wengert_tensor::registry::Gen;
use wengert_tensor::tape::{LeafId, with_grad};
use wengert_tensor::{DType, Error, ErrorKind, Result, Shape, Tensor, no_grad};

use crate::engine::{Plan, replay};
use crate::functional::{IntoTensors, vjp};

/// Checks the gradients of `f` at `inputs` against central differences, with the options of [`GradCheck::new`].
///
/// Every input is checked in turn, for every output. Inputs and outputs must be `F64`.
///
/// # Errors
/// If a gradient is wrong; the error names the input, the position, and the two values. Also if an input or output is
/// not `F64`, if a value or gradient is NaN or infinite, or if `f` is not deterministic.
///
/// ```
/// use wengert_autograd::gradcheck;
/// use wengert_tensor::{DType, tensor};
/// let a = tensor![[0.1, 0.2], [0.3, 0.4]].to_dtype(DType::F64);
/// let b = tensor![[0.5], [-0.6]].to_dtype(DType::F64);
/// gradcheck(|v| v[0].matmul(&v[1]).tanh().sum(), &[a, b]).unwrap();
///
/// let x = tensor![2.0].to_dtype(DType::F64);
/// let wrong = gradcheck(|v| &v[0] * &v[0].detach(), &[x]).unwrap_err();
/// assert!(wrong.message().contains("input 0 at [0]"));
/// ```
#[track_caller]
pub fn gradcheck<O: IntoTensors>(f: impl Fn(&[Tensor]) -> O, inputs: &[Tensor]) -> Result<()> {
    GradCheck::new().check(f, inputs)
}

/// Checks the second derivatives of `f`: the gradients of its gradients, with respect to the inputs and to the gradient
/// that comes in. See [`gradcheck`].
///
/// # Errors
/// As [`gradcheck`].
///
/// ```
/// use wengert_autograd::gradgradcheck;
/// use wengert_tensor::{DType, tensor};
/// let x = tensor![0.3, -0.7].to_dtype(DType::F64);
/// gradgradcheck(|v| v[0].sin(), &[x]).unwrap();
/// ```
#[track_caller]
pub fn gradgradcheck<O: IntoTensors>(f: impl Fn(&[Tensor]) -> O, inputs: &[Tensor]) -> Result<()> {
    GradCheck::new().check_second(f, inputs)
}

/// How gradients are checked.
///
/// ```
/// use wengert_autograd::GradCheck;
/// use wengert_tensor::{DType, tensor};
/// let x = tensor![1e-3, 2e-3].to_dtype(DType::F64);
/// GradCheck::new().eps(1e-8).check(|v| v[0].log(), &[x.clone()]).unwrap();
/// let strict = GradCheck::new().rtol(1e-6).atol(0.0).seed(7).exhaustive();
/// strict.check_second(|v| v[0].exp(), &[x]).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct GradCheck {
    eps: f64,
    rtol: f64,
    atol: Option<f64>,
    seed: u64,
    exhaustive: bool,
}

impl Default for GradCheck {
    fn default() -> GradCheck {
        GradCheck { eps: 1e-6, rtol: 1e-4, atol: None, seed: 0, exhaustive: false }
    }
}

/// Up to this many output elements, each one's gradient is checked; beyond, that of some random sums of them.
const MOST_OUTPUTS: usize = 32;
/// How many random sums.
const PROJECTIONS: usize = 3;
/// Up to this many elements of an input, each one is moved; beyond, some, and all together in some random directions.
const MOST_ENTRIES: usize = 64;
/// How many random entries.
const ENTRIES: usize = 16;
/// How many random directions.
const DIRECTIONS: usize = 4;

impl GradCheck {
    /// Steps of 1e-6, relative tolerance 1e-4, absolute tolerance no more than the rounding noise, seed 0, and random
    /// projections where inputs or outputs are large.
    pub fn new() -> GradCheck {
        GradCheck::default()
    }

    /// The step of the first comparison, for inputs of size 1 and below; larger inputs take proportionally larger
    /// steps. The second comparison takes steps up to a thousand times as large. Where `f` changes its form (a kink, a
    /// pole) within that distance of an input, make it smaller.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The largest relative difference that passes.
    pub fn rtol(mut self, rtol: f64) -> Self {
        self.rtol = rtol;
        self
    }

    /// A difference that passes however small the gradient, for functions that are noisier than their values show.
    ///
    /// Gradients that are not far larger than this are not checked.
    pub fn atol(mut self, atol: f64) -> Self {
        self.atol = Some(atol);
        self
    }

    /// The seed of the random projections.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the whole Jacobian, however large.
    pub fn exhaustive(mut self) -> Self {
        self.exhaustive = true;
        self
    }

    /// Checks the gradients of `f` at `inputs`, see [`gradcheck`].
    ///
    /// # Errors
    /// As [`gradcheck`].
    #[track_caller]
    pub fn check<O: IntoTensors>(&self, f: impl Fn(&[Tensor]) -> O, inputs: &[Tensor]) -> Result<()> {
        let at = Location::caller();
        self.run(&|x| f(x).into_tensors(), inputs, &|i| format!("input {i}")).map_err(|e| e.in_op("gradcheck", at))
    }

    /// Checks the second derivatives of `f` at `inputs`, see [`gradgradcheck`].
    ///
    /// # Errors
    /// As [`gradcheck`].
    #[track_caller]
    pub fn check_second<O: IntoTensors>(&self, f: impl Fn(&[Tensor]) -> O, inputs: &[Tensor]) -> Result<()> {
        let at = Location::caller();
        let n = inputs.len();
        let check = || {
            demand_f64(inputs, &|i| format!("input {i}"))?;
            let outputs: Vec<Tensor> = no_grad(|| f(inputs).into_tensors());
            demand_f64(&outputs, &|k| format!("output {k}"))?;
            let mut random = Gen::new(self.seed, DType::F64);
            let mut all = inputs.to_vec();
            all.extend(outputs.iter().map(|y| tensor(weights(&mut random, y.elements()), y.shape())));
            let gradient = |v: &[Tensor]| vjp(&f, &v[..n]).1(&v[n..]);
            self.run(&gradient, &all, &|i| match i < n {
                true => format!("input {i}"),
                false => format!("the gradient of output {}", i - n),
            })
        };
        check().map_err(|e| e.in_op("gradgradcheck", at))
    }

    fn run(
        &self,
        f: &dyn Fn(&[Tensor]) -> Vec<Tensor>,
        inputs: &[Tensor],
        name: &dyn Fn(usize) -> String,
    ) -> Result<()> {
        demand_f64(inputs, name)?;
        let inputs: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
        for (i, x) in inputs.iter().enumerate() {
            finite(&x.to_vec(), x.shape(), || name(i))?;
        }
        let outputs = no_grad(|| f(&inputs));
        demand_f64(&outputs, &|k| format!("output {k}"))?;
        let again = no_grad(|| f(&inputs));
        for (k, y) in outputs.iter().enumerate() {
            finite(&y.to_vec(), y.shape(), || format!("output {k}"))?;
            deterministic(k, y, again.get(k))?;
        }

        let mut random = Gen::new(self.seed, DType::F64);
        let probes = self.probes(&outputs, &mut random);
        let together = gradients(f, &inputs, None, &probes[..1])?;
        for (i, x) in inputs.iter().enumerate() {
            let alone = gradients(f, &inputs, Some(i), &probes)?;
            for ((probe, g), whole) in probes.iter().zip(&alone).zip(&together) {
                // The first probe only: `together` ends there.
                let (g, whole) = (&g[0].values, &whole[i].values);
                let largest = g.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                if let Some(j) = (0..g.len()).find(|&j| (g[j] - whole[j]).abs() > 1e-9 * largest) {
                    return Err(Error::new(format!(
                        "{} at {}: the gradient of {} is {} if only this input is tracked, and {} if all are",
                        name(i),
                        position(j, x.shape()),
                        probe.what,
                        g[j],
                        whole[j]
                    ))
                    .kind_of(ErrorKind::Gradient)
                    .help("the gradient rule must not depend on which other inputs need a gradient"));
                }
            }
            for direction in self.directions(x, &mut random) {
                let path = Path { f, inputs: &inputs, i, direction: &direction, eps: self.eps, fine: OnceCell::new() };
                let near = path.step(self.eps * path.size())?;
                for (probe, g) in probes.iter().zip(&alone) {
                    self.compare(probe, &g[0], &direction, &path, &near).map_err(|e| e.of(&name(i), x))?;
                }
            }
        }
        Ok(())
    }

    /// Which sums of the outputs to differentiate.
    fn probes(&self, outputs: &[Tensor], random: &mut Gen) -> Vec<Probe> {
        let total: usize = outputs.iter().map(Tensor::elements).sum();
        if total > 0 && (self.exhaustive || total <= MOST_OUTPUTS) {
            let entries = outputs.iter().enumerate().flat_map(|(k, y)| (0..y.elements()).map(move |j| (k, j, y)));
            return entries
                .map(|(k, j, y)| {
                    let mut weights: Vec<Vec<f64>> = outputs.iter().map(|y| vec![0.0; y.elements()]).collect();
                    weights[k][j] = 1.0;
                    Probe { what: format!("output {k} at {}", position(j, y.shape())), weights }
                })
                .collect();
        }
        (0..PROJECTIONS)
            .map(|p| Probe {
                what: format!("a random sum of the outputs (number {p}, seed {})", self.seed),
                weights: outputs.iter().map(|y| weights(random, y.elements())).collect(),
            })
            .collect()
    }

    /// How to move an input.
    fn directions(&self, x: &Tensor, random: &mut Gen) -> Vec<Direction> {
        let n = x.elements();
        let entry = |j: usize| Direction { what: format!("at {}", position(j, x.shape())), parts: vec![(j, 1.0)] };
        if self.exhaustive || n <= MOST_ENTRIES {
            return (0..n).map(entry).collect();
        }
        let mut directions: Vec<Direction> = (0..ENTRIES).map(|_| entry(random.below(n))).collect();
        directions.extend((0..DIRECTIONS).map(|d| Direction {
            what: format!("along a random direction (number {d}, seed {})", self.seed),
            parts: weights(random, n).into_iter().enumerate().collect(),
        }));
        directions
    }

    fn compare(
        &self,
        probe: &Probe,
        gradient: &InputGradient,
        direction: &Direction,
        path: &Path<'_>,
        near: &Step,
    ) -> Result<(), Mismatch> {
        let fault = |problem| Mismatch { what: probe.what.clone(), direction: direction.what.clone(), problem };
        let analytic: f64 = direction.parts.iter().map(|&(j, u)| u * gradient.values[j]).sum();
        if !analytic.is_finite() {
            return Err(fault(Problem::NotFinite(analytic)));
        }
        let (numeric, scale) = near.slope(&probe.weights);
        let atol = self.atol.unwrap_or(0.0);
        let within = |numeric: f64, slack: f64| {
            (analytic - numeric).abs() <= self.rtol * analytic.abs().max(numeric.abs()) + atol.max(slack)
        };
        if within(numeric, 1e-13 * scale) {
            return Ok(());
        }
        let (numeric, error, noise) = path.settle(&probe.weights).map_err(|e| fault(Problem::Failed(e)))?;
        let floor = atol.max(noise);
        // An estimate whose own error could hide a wrong gradient proves nothing.
        if 4.0 * error > 5e-3 * analytic.abs().max(numeric.abs()) && error > floor {
            return Err(fault(Problem::Unsettled { analytic, numeric, error }));
        }
        if within(numeric, 4.0 * error + noise) {
            return Ok(());
        }
        Err(fault(Problem::Differs { analytic, numeric, missing: gradient.missing.clone() }))
    }
}

/// A weighted sum of all elements of all outputs.
struct Probe {
    what: String,
    weights: Vec<Vec<f64>>,
}

/// A way to move an input: by so much at each of these elements.
struct Direction {
    what: String,
    parts: Vec<(usize, f64)>,
}

/// The gradient of a probe with respect to an input.
struct InputGradient {
    values: Vec<f64>,
    /// Why no gradient arrived, where none did.
    missing: Option<String>,
}

/// The gradients of each probe with respect to input `only`, or all inputs, which alone are tracked.
fn gradients(
    f: &dyn Fn(&[Tensor]) -> Vec<Tensor>,
    inputs: &[Tensor],
    only: Option<usize>,
    probes: &[Probe],
) -> Result<Vec<Vec<InputGradient>>> {
    let track = |(i, x): (usize, &Tensor)| if only.is_none_or(|o| o == i) { x.requires_grad() } else { x.clone() };
    let variables: Vec<Tensor> = inputs.iter().enumerate().map(track).collect();
    let outputs = with_grad(true, || f(&variables));
    let variables: Vec<&Tensor> = variables.iter().filter(|v| v.is_tracked()).collect();
    let at = Location::caller();
    let targets: FxHashSet<LeafId> = variables.iter().filter_map(|v| v.edge().variable()).collect();
    let one = |probe: &Probe| {
        let weighted = outputs.iter().zip(&probe.weights);
        let roots = weighted.map(|(y, w)| (y.edge().clone(), tensor(w.clone(), y.shape()))).collect();
        let plan = Plan {
            op: "gradcheck",
            at,
            retain: true,
            create_graph: false,
            targets: Some(targets.clone()),
            on_ready: None,
        };
        let found = replay(roots, plan)?;
        let read = |v: &&Tensor| match found.get(*v) {
            Some(g) => InputGradient { values: g.to_vec(), missing: None },
            None => InputGradient {
                values: vec![0.0; v.elements()],
                missing: Some(found.why_missing(v.edge()).message().to_string()),
            },
        };
        Ok(variables.iter().map(read).collect())
    };
    probes.iter().map(one).collect()
}

/// The function along a line through its inputs.
struct Path<'a> {
    f: &'a dyn Fn(&[Tensor]) -> Vec<Tensor>,
    inputs: &'a [Tensor],
    /// The input that moves.
    i: usize,
    direction: &'a Direction,
    eps: f64,
    /// Steps from large to small, for an extrapolation; made when one is needed.
    fine: OnceCell<Vec<Step>>,
}

/// The outputs on both sides of the inputs.
struct Step {
    /// The distance between the sides.
    width: f64,
    sides: [Vec<Vec<f64>>; 2],
}

impl Step {
    /// The central difference of a weighted sum of the outputs, and the size of what was summed.
    fn slope(&self, weights: &[Vec<f64>]) -> (f64, f64) {
        let (mut slope, mut scale) = (0.0, 0.0);
        for ((up, down), w) in self.sides[0].iter().zip(&self.sides[1]).zip(weights) {
            for ((up, down), w) in up.iter().zip(down).zip(w).filter(|(_, w)| **w != 0.0) {
                slope += w * ((up - down) / self.width);
                scale += w.abs() * up.abs().max(down.abs());
            }
        }
        (slope, scale)
    }

    /// How large the weighted sum would be if each output were as large as the largest of its tensor: an element that
    /// is 0 because terms cancel is as noisy as its neighbours.
    fn magnitude(&self, weights: &[Vec<f64>]) -> f64 {
        let largest = |side: &[f64]| side.iter().fold(0f64, |largest, v| largest.max(v.abs()));
        let tensors = self.sides[0].iter().zip(&self.sides[1]).zip(weights);
        tensors.map(|((up, down), w)| largest(up).max(largest(down)) * w.iter().map(|w| w.abs()).sum::<f64>()).sum()
    }
}

impl Path<'_> {
    /// The size of what moves: a step is in proportion to it.
    fn size(&self) -> f64 {
        match self.direction.parts[..] {
            [(j, _)] => self.inputs[self.i].to_vec::<f64>()[j].abs().max(1.0),
            _ => 1.0,
        }
    }

    /// The outputs at distance `h` on both sides.
    fn step(&self, h: f64) -> Result<Step> {
        let x = &self.inputs[self.i];
        let values: Vec<f64> = x.to_vec();
        let moved = |h: f64| {
            let mut v = values.clone();
            self.direction.parts.iter().for_each(|&(j, u)| v[j] += h * u);
            v
        };
        let (up, down) = (moved(h), moved(-h));
        // A single element moves by what is left of `h` after rounding.
        let width = match self.direction.parts[..] {
            [(j, _)] => up[j] - down[j],
            _ => 2.0 * h,
        };
        let outputs = |values: Vec<f64>| {
            let mut inputs = self.inputs.to_vec();
            inputs[self.i] = tensor(values, x.shape());
            let outputs = no_grad(|| (self.f)(&inputs));
            outputs.iter().map(|y| y.to_vec()).collect::<Vec<Vec<f64>>>()
        };
        let step = Step { width, sides: [outputs(up), outputs(down)] };
        match step.sides.iter().flatten().flatten().all(|v| v.is_finite()) {
            true => Ok(step),
            false => Err(Error::new(format!(
                "an output is NaN or infinite when input {} is moved by {h:e} {}",
                self.i, self.direction.what
            ))
            .kind_of(ErrorKind::Value)
            .help("take smaller steps: GradCheck::new().eps(1e-8)")),
        }
    }

    /// The slope by extrapolation to step zero, its error, and the rounding noise to expect.
    fn settle(&self, weights: &[Vec<f64>]) -> Result<(f64, f64, f64)> {
        const SHRINK: f64 = 2.0;
        let fine = self.fine.get_or_init(|| {
            let first = self.eps * self.size() * 1024.0;
            // Large steps may leave the domain of the function: smaller ones do then.
            (0..10).filter_map(|s| self.step(first / SHRINK.powi(s)).ok()).take(6).collect()
        });
        let Some(first) = fine.first() else {
            return self.step(self.eps * self.size()).map(|s| (s.slope(weights).0, f64::INFINITY, 0.0));
        };
        let noise = 64.0 * f64::EPSILON * first.magnitude(weights) / first.width;
        let (mut best, mut error) = (first.slope(weights).0, f64::INFINITY);
        let mut before: Vec<f64> = Vec::new();
        for step in fine {
            let mut row = vec![step.slope(weights).0];
            let mut factor = 1.0;
            for (j, old) in before.iter().enumerate() {
                factor *= SHRINK * SHRINK;
                let next = (row[j] * factor - old) / (factor - 1.0);
                let uncertain = (next - row[j]).abs().max((next - old).abs());
                if uncertain < error {
                    (best, error) = (next, uncertain);
                }
                row.push(next);
            }
            before = row;
        }
        Ok((best, error, noise))
    }
}

/// A gradient that failed the comparison.
struct Mismatch {
    what: String,
    direction: String,
    problem: Problem,
}

enum Problem {
    NotFinite(f64),
    Differs { analytic: f64, numeric: f64, missing: Option<String> },
    Unsettled { analytic: f64, numeric: f64, error: f64 },
    Failed(Error),
}

impl Mismatch {
    #[cold]
    fn of(self, input: &str, x: &Tensor) -> Error {
        let Mismatch { what, direction, problem } = self;
        // Where one element was moved, its value tells more than its place.
        let value = x.to_vec::<f64>();
        let at = (0..value.len()).find(|&j| direction == format!("at {}", position(j, x.shape())));
        let place = match at {
            Some(j) => format!("{input} {direction}, where it is {}", value[j]),
            None => format!("{input} {direction}"),
        };
        match problem {
            Problem::NotFinite(analytic) => {
                Error::new(format!("{place}: the gradient of {what} is {analytic}")).kind_of(ErrorKind::Gradient)
            }
            Problem::Differs { analytic, numeric, missing } => {
                let off = 100.0 * (analytic - numeric).abs() / analytic.abs().max(numeric.abs());
                let e = Error::new(format!(
                    "{place}: the gradient of {what} is {analytic}, and the difference quotient {numeric} ({off:.2} % \
                     off)"
                ))
                .kind_of(ErrorKind::Gradient);
                match missing {
                    Some(why) => e.help(why),
                    None => e.help("the gradient rule is wrong, or the function has a kink here"),
                }
            }
            Problem::Unsettled { analytic, numeric, error } => Error::new(format!(
                "{place}: the gradient of {what} is {analytic}, but the difference quotient does not settle: {numeric} \
                 give or take {error:.1e}"
            ))
            .kind_of(ErrorKind::Gradient)
            .help("the function is noisy or has a kink near here: move the input, take smaller steps with eps(), or allow for noise with atol()"),
            Problem::Failed(e) => e,
        }
    }
}

fn demand_f64(tensors: &[Tensor], name: &dyn Fn(usize) -> String) -> Result<()> {
    match tensors.iter().enumerate().find(|(_, t)| t.dtype() != DType::F64) {
        None => Ok(()),
        Some((i, t)) => Err(Error::new(format!("{} is {}: too coarse for differences", name(i), t.dtype()))
            .kind_of(ErrorKind::DType)
            .help("check in double precision: cast the inputs with to_dtype(DType::F64)")),
    }
}

fn finite(values: &[f64], shape: &Shape, what: impl Fn() -> String) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(j) => Err(Error::new(format!("{} is {} at {}", what(), values[j], position(j, shape)))
            .kind_of(ErrorKind::Value)
            .help("gradients are checked where inputs and outputs are finite")),
    }
}

fn deterministic(k: usize, first: &Tensor, second: Option<&Tensor>) -> Result<()> {
    let a: Vec<f64> = first.to_vec();
    let b: Vec<f64> = second.map(|t| t.to_vec()).unwrap_or_default();
    let differs = match a.len() == b.len() {
        true => (0..a.len())
            .find(|&j| a[j].to_bits() != b[j].to_bits())
            .map(|j| format!("output {k} at {} was {}, then {}", position(j, first.shape()), a[j], b[j])),
        false => Some(format!("output {k} had {} elements, then {}", a.len(), b.len())),
    };
    match differs {
        None => Ok(()),
        Some(how) => Err(Error::new(format!("the function is not deterministic: {how}"))
            .kind_of(ErrorKind::Value)
            .help("a random operation inside must give the same each time: set its seed in the function")),
    }
}

/// Numbers between 0.5 and 1.5 in size, of either sign: none vanishes, no two cancel by design.
fn weights(random: &mut Gen, n: usize) -> Vec<f64> {
    (0..n).map(|_| random.real(0.5, 1.5) * random.pick(&[-1.0, 1.0])).collect()
}

fn tensor(values: Vec<f64>, shape: &Shape) -> Tensor {
    Tensor::from_vec(values, shape)
}

/// The index of the `j`-th element in row-major order.
fn position(mut j: usize, shape: &Shape) -> String {
    let mut index = vec![0; shape.rank()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = j % size;
        j /= size;
    }
    format!("{index:?}")
}
