//! Solves a differential equation by training a network on it: y'' = -y on [0, 3 pi / 2], with y(0) = 0 and
//! y(3 pi / 2) = -1. The loss holds second derivatives of the network in its input, and training differentiates it once
//! more, in the weights.
//!
//! M. Raissi, P. Perdikaris and G. Karniadakis, "Physics-informed neural networks", Journal of Computational Physics 2019.

#[path = "../options/mod.rs"]
mod options;

use std::f64::consts::PI;
use std::process::ExitCode;
use std::time::Instant;

use wengert::prelude::*;

const HELP: &str = "\
Trains a network to solve y'' = -y on [0, 3 pi / 2] with y(0) = 0 and
y(3 pi / 2) = -1, and compares it with the solution, sin(x).

Usage: cargo run --release --example pinn -- [OPTIONS]

Options:
  --adam N        steps of Adam                            [default: 500]
  --lbfgs N       iterations of L-BFGS after them          [default: 300]
  --points N      places where the equation must hold      [default: 48]
  --seed N        seed of the weights                      [default: 1]
  --tolerance F   largest error that counts as success     [default: 0.001]
  --help          print this
";

/// The interval, and what the solution is at its ends.
const END: f64 = 1.5 * PI;
const WANTED: [f64; 2] = [0.0, -1.0];

/// A network of one input, one output and two hidden layers.
#[derive(Module)]
struct Net {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Net {
    fn new(width: usize) -> Net {
        Net { first: Linear::new(1, width), second: Linear::new(width, width), last: Linear::new(width, 1) }
    }

    /// y at the places `x`, both `[N, 1]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        // On [-1, 1], where tanh is at home.
        let x = x * (2.0 / END) - 1.0;
        let x = self.first.forward(&x).tanh();
        self.last.forward(&self.second.forward(&x).tanh())
    }

    /// How far the network is from a solution: the mean square of y'' + y at the places `x`, and the squares of what is
    /// wrong at the ends.
    fn loss(&self, x: &Tensor) -> Tensor {
        // Every y depends on its own x alone, so the gradient of the sum holds the derivative of each.
        let slope = grad(|x: &Tensor| self.forward(x).sum());
        let curvature = grad(|x: &Tensor| slope(x).sum());
        let equation = (curvature(&x.requires_grad()) + self.forward(x)).square().mean();
        let ends = Tensor::from_vec(vec![0.0, END], [2, 1]);
        let wanted = Tensor::from_vec(WANTED.to_vec(), [2, 1]);
        equation + (self.forward(&ends) - wanted).square().sum()
    }

    /// The largest difference from the solution at 1,001 places.
    fn largest_error(&self) -> f64 {
        let x = Tensor::from_vec((0..=1000).map(|i| END * i as f64 / 1000.0).collect(), [1001, 1]);
        no_grad(|| (self.forward(&x) - x.sin()).abs().max().item())
    }
}

fn main() -> ExitCode {
    let options = options::Options::read(HELP);
    let (steps, iterations) = (options.get("--adam", 500), options.get("--lbfgs", 300));
    let points: usize = options.get("--points", 48);
    let tolerance = options.get("--tolerance", 1e-3);
    manual_seed(options.get("--seed", 1));

    let net = Net::new(24);
    net.to_dtype(DType::F64);
    let places = (0..points).map(|i| END * (i as f64 + 0.5) / points as f64).collect();
    let x = Tensor::from_vec(places, [points, 1]);
    let begin = Instant::now();
    let said = |what: &str, loss: f64| {
        let (error, seconds) = (net.largest_error(), begin.elapsed().as_secs_f64());
        println!("{what:<24} loss {loss:.1e}  largest error {error:.1e}  {seconds:.1} s");
    };
    said("before training", net.loss(&x).item());

    let mut adam = Adam::new(net.parameters());
    let schedule = schedule::Cosine::new(1e-2, steps);
    for step in 0..steps {
        adam.set_lr(schedule.lr(step));
        adam.step(&net.loss(&x).backward());
    }
    said(&format!("{steps} steps of Adam"), net.loss(&x).item());

    let mut lbfgs = Lbfgs::new(net.parameters()).max_iterations(iterations).tolerance_grad(1e-9).tolerance_change(0.0);
    let report = lbfgs.step(|| net.loss(&x));
    said(&format!("{} of L-BFGS", report.iterations), report.after);

    let error = net.largest_error();
    if error < tolerance {
        println!("solved: the largest error is below {tolerance}");
        return ExitCode::SUCCESS;
    }
    eprintln!("missed: the largest error {error:.1e} is not below {tolerance}");
    ExitCode::FAILURE
}
