//! Forecasts the yearly number of sunspots, one year ahead, with an LSTM that has seen the years before.

#[path = "../drawing/mod.rs"]
mod drawing;
#[path = "../options/mod.rs"]
mod options;
mod picture;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use wengert::prelude::*;

const HELP: &str = "\
Trains an LSTM on the sunspots of 1700 to 1948 and forecasts each of the 60
years after from the years before it. It must do better than the forecast that
a year is like the one before: at most 0.8 of its error.

Usage: cargo run --release --example sunspots -- [OPTIONS]

Options:
  --seeds N       how many networks to train, by seeds 1 to N   [default: 3]
  --epochs N      passes over the training years                [default: 150]
  --window N      years that a forecast looks back              [default: 24]
  --limit F       share of the naive error to stay below        [default: 0.8]
  --out DIR       folder for the picture, made if missing       [default: out]
  --help          print this
";

/// Year and sunspots, one line each, after a heading; see `data/sunspots/README.md`.
static DATA: &str = include_str!("../../data/sunspots/sunspots.csv");
/// The years to forecast: the last ones.
const TEST: usize = 60;
/// About the deviation of the numbers: networks like numbers near 1.
const SCALE: f64 = 40.0;

/// The sunspots of each year, and the first year.
fn load() -> (usize, Vec<f64>) {
    let rows = DATA.lines().skip(1).map(|line| line.split_once(',').expect("a year and a number"));
    let first = rows.clone().next().and_then(|(year, _)| year.parse().ok()).expect("a first year");
    (first, rows.map(|(_, number)| number.parse().expect("a number of sunspots")).collect())
}

/// The years before each of the years `range` as windows `[N, window, 1]`, and the years themselves as `[N, 1]`.
fn windows(sunspots: &[f64], range: std::ops::Range<usize>, window: usize) -> (Tensor, Tensor) {
    let n = range.len();
    let before: Vec<f64> = range.clone().flat_map(|t| &sunspots[t - window..t]).map(|x| x / SCALE).collect();
    let now: Vec<f64> = sunspots[range].iter().map(|x| x / SCALE).collect();
    let tensor = |values| Tensor::from_vec(values, [n, window.max(1), 1]).to_dtype(DType::F32);
    let y = Tensor::from_vec(now, [n, 1]).to_dtype(DType::F32);
    (tensor(before), y)
}

#[derive(Module)]
struct Forecaster {
    lstm: LSTM,
    head: Linear,
}

impl Forecaster {
    fn new() -> Forecaster {
        Forecaster { lstm: LSTM::new(1, 24), head: Linear::new(24, 1) }
    }

    /// The number of the next year `[N, 1]` after the years `[N, time, 1]`: what the last one was, and what the network
    /// thinks will change.
    fn forward(&self, x: &Tensor) -> Tensor {
        let (states, _) = self.lstm.forward_with(x, None);
        let last = x.size(1) as i64 - 1;
        self.head.forward(&states.i((.., last))) + x.i((.., last))
    }
}

fn train(sunspots: &[f64], window: usize, epochs: usize, seed: u64) -> Forecaster {
    let (x, y) = windows(sunspots, window..sunspots.len() - TEST, window);
    manual_seed(seed);
    let net = Forecaster::new();
    let batches: Batches<Float, Float> = Batches::new(&x, &y, 32).shuffle(seed);
    let mut opt = AdamW::new(net.parameters()).weight_decay(0.05).group("*bias*", |g| g.weight_decay(0.0));
    let schedule = schedule::OneCycle::new(1e-2, epochs * batches.len());
    let mut step = 0;
    for _ in 0..epochs {
        for (x, y) in &batches {
            opt.set_lr(schedule.lr(step));
            let mut gradients = net.forward(&x).mse_loss(&y).backward();
            clip_global_norm(&mut gradients, 1.0);
            opt.step(&gradients);
            step += 1;
        }
    }
    net
}

/// The root mean square of the differences.
fn rmse(forecast: &[f64], truth: &[f64]) -> f64 {
    let squares = forecast.iter().zip(truth).map(|(a, b)| (a - b).powi(2));
    (squares.sum::<f64>() / truth.len() as f64).sqrt()
}

fn main() -> ExitCode {
    let options = options::Options::read(HELP);
    let (seeds, epochs) = (options.get("--seeds", 3), options.get("--epochs", 150));
    let (window, limit) = (options.get("--window", 24usize).clamp(1, 200), options.get("--limit", 0.8));
    let out: PathBuf = options.get("--out", "out".to_string()).into();

    let (first_year, sunspots) = load();
    let split = sunspots.len() - TEST;
    let truth = &sunspots[split..];
    let naive = rmse(&sunspots[split - 1..sunspots.len() - 1], truth);
    println!("naive forecast        error {naive:.2} sunspots");

    let (x, _) = windows(&sunspots, split..sunspots.len(), window);
    let (mut forecasts, mut worst) = (Vec::new(), 0.0);
    for seed in 1..=seeds {
        let begin = Instant::now();
        let net = train(&sunspots, window, epochs, seed);
        let forecast = no_grad(|| net.forward(&x) * SCALE).to_vec::<f64>();
        let error = rmse(&forecast, truth);
        let (share, seconds) = (error / naive, begin.elapsed().as_secs_f64());
        println!("LSTM with seed {seed:<5}  error {error:.2} sunspots, {share:.2} of the naive one  {seconds:.1} s");
        worst = share.max(worst);
        forecasts.push(forecast);
    }

    let path = out.join("sunspots.svg");
    let saved =
        fs::create_dir_all(&out).and_then(|()| fs::write(&path, picture::draw(first_year, &sunspots, &forecasts)));
    if let Err(e) = saved {
        eprintln!("{}: {e}", path.display());
        return ExitCode::FAILURE;
    }
    println!("wrote {}", path.display());
    if worst <= limit {
        return ExitCode::SUCCESS;
    }
    eprintln!("missed: {worst:.2} of the naive error, at most {limit} is wanted");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_whole() {
        let (first, sunspots) = load();
        assert_eq!((first, sunspots.len()), (1700, 309));
        // The maximum of 1957.
        let (year, most) = sunspots.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        assert_eq!((first + year, *most), (1957, 190.2));
    }

    #[test]
    fn a_window_ends_before_the_year_to_forecast() {
        let years: Vec<f64> = (0..10).map(|t| t as f64 * SCALE).collect();
        let (x, y) = windows(&years, 4..6, 3);
        assert_eq!(x.to_vec::<f32>(), [1.0, 2.0, 3.0, 2.0, 3.0, 4.0]);
        assert_eq!(y.to_vec::<f32>(), [4.0, 5.0]);
        assert_eq!(rmse(&[1.0, 3.0], &[0.0, 0.0]), 5f64.sqrt());
    }
}
