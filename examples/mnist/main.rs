//! Trains a small convolutional network on real handwritten digits, and shows what it learned.
//!
//! `cargo run --release --example mnist -- --help` lists the options.

mod cli;
mod data;
#[path = "../drawing/mod.rs"]
mod drawing;
mod picture;
mod progress;
mod report;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use wengert::prelude::*;

use cli::{Command, Options};
use data::Digits;
use picture::EpochPoint;
use progress::Progress;

/// Two convolutions, each with a pooling that halves the picture, and two linear layers.
#[derive(Module)]
struct Net {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    fc1: Linear,
    dropout: Dropout,
    fc2: Linear,
}

impl Net {
    fn new() -> Net {
        Net {
            conv1: Conv2d::new(1, 16, 3).padding(1),
            norm1: BatchNorm2d::new(16),
            conv2: Conv2d::new(16, 32, 3).padding(1),
            norm2: BatchNorm2d::new(32),
            fc1: Linear::new(32 * 7 * 7, 128),
            dropout: Dropout::new(0.3),
            fc2: Linear::new(128, data::CLASSES),
        }
    }

    /// Logits `[N, 10]` of pictures `[N, 1, 28, 28]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.norm1.forward(&self.conv1.forward(x)).relu().max_pool2d(2);
        let x = self.norm2.forward(&self.conv2.forward(&x)).relu().max_pool2d(2);
        let x = self.fc1.forward(&x.flatten(1..)).relu();
        self.fc2.forward(&self.dropout.forward(&x))
    }

    /// The digit that each picture shows, by the largest logit.
    fn predict(&self, x: &Tensor) -> Vec<u8> {
        let parts = Batches::new(x, x, 250);
        let digits = |(x, _): (Tensor, Tensor)| self.forward(&x).argmax_axis(-1).to_vec::<u8>();
        no_grad(|| parts.iter().flat_map(digits).collect())
    }
}

/// Pictures `[N, 1, 28, 28]` with values of mean 0 and deviation 1, and labels `[N]`.
fn tensors(digits: &Digits) -> (Tensor, Tensor<Int>) {
    let n = digits.len();
    let x = Tensor::<Int>::from_slice(&digits.pixels, [n, 1, 28, 28]).to_float();
    // The mean and the standard deviation of the pixels of MNIST's whole training set.
    let x = (x / 255.0 - 0.1307) / 0.3081;
    (x, Tensor::<Int>::from_slice(&digits.labels, [n]).to_dtype(DType::I64))
}

/// The pictures moved by up to a pixel each way, all of a batch alike: what makes a digit does not depend on it.
fn shifted(x: &Tensor, rng: &mut Rng) -> Tensor {
    let at = rng.randint(0, 3, [2]).to_vec::<i64>();
    let background = x.min().item();
    let padded = x.pad(&[(0, 0), (0, 0), (1, 1), (1, 1)], background);
    padded.i((.., .., at[0]..at[0] + 28, at[1]..at[1] + 28))
}

fn accuracy(labels: &[u8], predictions: &[u8]) -> f32 {
    let right = labels.iter().zip(predictions).filter(|(a, b)| a == b).count();
    right as f32 / labels.len() as f32
}

/// The network, its loss at every step, and its accuracies after every epoch.
fn train(options: &Options, train: &Digits, test: &Digits) -> (Net, Vec<f32>, Vec<EpochPoint>) {
    let (x, y) = tensors(train);
    let (test_x, _) = tensors(test);
    let limit = options.limit.unwrap_or(train.len()).min(train.len());
    let order = Int::randperm(train.len()).narrow(0, 0, limit);
    let (x, y) = (x.index_select(0, &order), y.index_select(0, &order));
    let batch_size = options.batch_size.min(limit);
    let batches = Batches::new(&x, &y, batch_size).shuffle(options.seed);

    let net = Net::new();
    let mut opt = AdamW::new(net.parameters()).weight_decay(0.01);
    let schedule = schedule::Cosine::new(options.lr.into(), options.epochs * batches.len());
    let mut rng = Rng::new(options.seed).child("shifts");
    let mut progress = Progress::new(options.epochs, batches.len(), batch_size);
    let (mut losses, mut epochs) = (Vec::new(), Vec::new());

    for epoch in 1..=options.epochs {
        net.train();
        let (mut loss_sum, mut right, mut seen) = (0.0, 0.0, 0);
        for (step, (x, y)) in batches.epoch(epoch as u64).enumerate() {
            let logits = net.forward(&shifted(&x, &mut rng));
            let loss = logits.cross_entropy(&y);
            opt.set_lr(schedule.lr(losses.len()));
            opt.step(&loss.backward());

            losses.push(loss.item() as f32);
            loss_sum += loss.item() as f32 * y.elements() as f32;
            right += logits.argmax_axis(-1).eq(&y).to_float().sum().item() as f32;
            seen += y.elements();
            progress.step(epoch, step + 1, loss_sum / seen as f32, right / seen as f32);
        }
        net.eval();
        let train_accuracy = right / seen as f32;
        let test_accuracy = accuracy(&test.labels, &net.predict(&test_x));
        epochs.push(EpochPoint { train_accuracy, test_accuracy });
        progress.epoch_done(epoch, loss_sum / seen as f32, train_accuracy, test_accuracy);
    }
    progress.finish();
    (net, losses, epochs)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    cli::prepare_out(&options.out)?;
    let (train_set, test_set) = data::load()?;
    manual_seed(options.seed);
    let (test_x, _) = tensors(&test_set);

    let plan = Net::new();
    writeln!(out, "{}\n", Summary::of(&plan, || plan.forward(&test_x.narrow(0, 0, 1))))?;
    drop(out);

    manual_seed(options.seed);
    let begin = Instant::now();
    let (net, losses, epochs) = train(options, &train_set, &test_set);
    let seconds = begin.elapsed().as_secs_f64();
    let predictions = net.predict(&test_x);

    // What is saved is what was trained: a fresh network with the saved weights says the same, bit for bit.
    let weights = options.out.join("mnist.safetensors");
    net.save(&weights)?;
    let loaded = Net::new();
    loaded.load(&weights)?;
    loaded.eval();
    let logits = |net: &Net| no_grad(|| net.forward(&test_x)).to_vec::<f32>();
    assert_eq!(logits(&net), logits(&loaded), "the loaded network must give the same logits, bit for bit");

    let (curves, sheet) = (options.out.join("curves.svg"), options.out.join("digits.svg"));
    std::fs::write(&curves, picture::curves(&losses, &epochs))?;
    std::fs::write(&sheet, picture::sheet(&test_set.pixels, &test_set.labels, &predictions))?;

    let mut out = io::stdout().lock();
    writeln!(out, "\ntrained in {seconds:.1} s")?;
    writeln!(out, "wrote {}, {} and {}\n", weights.display(), curves.display(), sheet.display())?;
    writeln!(out, "test accuracy {:.1} %\n", 100.0 * accuracy(&test_set.labels, &predictions))?;
    writeln!(out, "{}", report::confusion(&test_set.labels, &predictions))?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    let options = match cli::parse(arguments) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{}", cli::HELP);
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    match with_threads(options.threads.unwrap_or(0), || run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has gone.
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
