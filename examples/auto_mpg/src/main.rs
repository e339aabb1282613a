//! Trains a network on the table of cars, stops when it no longer gets better, and tests it.

use std::process::ExitCode;

use auto_mpg::{Mileage, load};
use wengert::prelude::*;

const HELP: &str = "\
Learns from 274 cars how far one goes on a gallon, stops when 59 others are no
longer predicted better, and tests on 59 more. Does so for several ways to split
the cars: the mean of the errors must be below 3 miles per gallon.

Usage: cargo run --release -p auto-mpg -- [--splits N] [--epochs N] [--help]

  --splits N   how many networks, each with a split of its own   [default: 3]
  --epochs N   passes over the training cars at most             [default: 400]
";

/// Miles per gallon that predictions may be wrong by, as a root mean square. That of the mean of all cars is about 8.
const LIMIT: f64 = 3.0;
/// Epochs without a better prediction before training stops.
const PATIENCE: usize = 40;

/// The error of a network on the test cars of the split by `seed`.
fn run(seed: u64, epochs: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let [train, stop, test] = load(seed)?;
    manual_seed(seed);
    let net = Mileage::new(&train.x, &train.y);
    let mut opt = AdamW::new(net.parameters()).lr(3e-3).weight_decay(0.05).group("*.bias", |g| g.weight_decay(0.0));
    let batches: Batches<Float, Float> = Batches::new(&train.x, &train.y, 32).shuffle(seed);

    let (mut best, mut best_epoch, mut weights) = (f64::INFINITY, 0, net.state_dict());
    for epoch in 1..=epochs {
        for (x, y) in &batches {
            opt.step(&net.loss(&x, &y).backward());
        }
        let error = net.error(&stop.x, &stop.y);
        if error < best {
            (best, best_epoch, weights) = (error, epoch, net.state_dict());
        }
        if epoch - best_epoch >= PATIENCE {
            break;
        }
    }
    // What is tested is what was best.
    net.load_state_dict(&weights)?;
    let error = net.error(&test.x, &test.y);
    println!(
        "split {seed}: best after epoch {best_epoch}; errors: validation {best:.2}, test {error:.2} miles per gallon"
    );
    let guesses = net.predict(&test.x).to_vec::<f64>();
    let cars: Vec<String> = guesses
        .iter()
        .zip(test.y.to_vec::<f64>())
        .take(4)
        .map(|(guess, truth)| format!("{guess:.1} ({truth:.1})"))
        .collect();
    println!("  some cars, predicted (in truth): {}", cars.join(", "));
    Ok(error)
}

/// Whether the predictions are good enough.
fn good(splits: u64, epochs: usize) -> Result<bool, Box<dyn std::error::Error>> {
    let errors: Vec<f64> = (1..=splits).map(|seed| run(seed, epochs)).collect::<Result<_, _>>()?;
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    println!("mean test error {mean:.2} miles per gallon");
    Ok(mean < LIMIT)
}

fn main() -> ExitCode {
    let (mut splits, mut epochs) = (3, 400);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = |value: Option<String>| value.and_then(|v| v.parse::<u64>().ok());
        match (arg.as_str(), if arg == "--help" { None } else { number(args.next()) }) {
            ("--splits", Some(n)) => splits = n,
            ("--epochs", Some(n)) => epochs = n as usize,
            ("--help", _) => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprint!("{arg}: not understood\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match good(splits, epochs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("missed: the error is not below {LIMIT} miles per gallon");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
