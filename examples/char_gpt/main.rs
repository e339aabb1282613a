//! Trains a small GPT on ten plays of Shakespeare, character by character, and lets it write.

#[path = "../options/mod.rs"]
mod options;
mod text;

use std::process::ExitCode;
use std::time::Instant;

use wengert::prelude::*;

use text::Text;

const HELP: &str = "\
Trains a small GPT on ten plays of Shakespeare, tests it on their last tenth,
and prints a sample of what it writes. The validation loss must come below 2.1
nats per character.

Usage: cargo run --release --example char_gpt -- [OPTIONS]

Options:
  --steps N        steps of training                         [default: 1200]
  --batch N        pieces of text per step                   [default: 16]
  --context N      characters of a piece                     [default: 64]
  --layers N       transformer blocks                        [default: 4]
  --width N        features of a character, 32 for each head [default: 128]
  --lr F           highest learning rate                     [default: 0.003]
  --seed N         seed of everything random                 [default: 1]
  --sample N       characters to write                       [default: 600]
  --temperature F  how boldly they are chosen                [default: 0.8]
  --limit F        validation loss to come below             [default: 2.1]
  --help           print this
";

/// A transformer that sees, at each character, those before it.
#[derive(Module)]
struct Gpt {
    characters: Embedding,
    positions: Embedding,
    blocks: Vec<TransformerEncoderLayer>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(vocabulary: usize, context: usize, layers: usize, width: usize) -> Gpt {
        let block = |_| {
            let block = TransformerEncoderLayer::new(width, (width / 32).max(1)).feedforward(4 * width);
            block.norm_first(true).dropout(0.0)
        };
        let net = Gpt {
            characters: Embedding::new(vocabulary, width),
            positions: Embedding::new(context, width),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new([width]),
            head: Linear::new(width, vocabulary),
        };
        // Embeddings start small, as GPT-2's do.
        for table in [&net.characters, &net.positions] {
            table.weight.set(&Init::Normal { mean: 0.0, std: 0.02 }.tensor(table.weight.shape()));
        }
        net
    }

    /// Logits `[batch, time, vocabulary]` of the characters that follow each of `x`, which is `[batch, time]`.
    fn forward(&self, x: &Tensor<Int>) -> Tensor {
        let places = Int::arange(0, x.size(1) as i64);
        let x = self.characters.forward(x) + self.positions.forward(&places);
        let x = self.blocks.iter().fold(x, |x, block| block.forward_with(&x, &Mask::causal()));
        self.head.forward(&self.norm.forward(&x))
    }

    /// The mean loss in nats per character where `y` follows `x`, both `[batch, time]`.
    fn loss(&self, x: &Tensor<Int>, y: &Tensor<Int>) -> Tensor {
        self.forward(x).flatten([0, 1]).cross_entropy(&y.flatten(..))
    }

    /// The loss over `pieces` pieces of `text`, spread evenly.
    fn validate(&self, text: &Tensor<Int>, context: usize, pieces: usize) -> f64 {
        let last = text.elements() - context - 1;
        let starts: Vec<i64> = (0..pieces).map(|i| (i * last / pieces) as i64).collect();
        let parts = starts.chunks(32).map(|starts| {
            let (x, y) = text::pieces(text, &Tensor::<Int>::from_slice(starts, [starts.len()]), context);
            no_grad(|| self.loss(&x, &y)).item() * starts.len() as f64
        });
        parts.sum::<f64>() / pieces as f64
    }

    /// `length` characters that follow `start`, each drawn from what the network thinks of it.
    fn write(&self, start: &[i64], length: usize, context: usize, temperature: f64, rng: &mut Rng) -> Vec<i64> {
        let mut written = start.to_vec();
        for _ in 0..length {
            let seen = &written[written.len().saturating_sub(context)..];
            let logits = no_grad(|| self.forward(&Tensor::<Int>::from_slice(seen, [1, seen.len()]))).i((0, -1));
            let shares = (logits / temperature).softmax(-1).cumsum(-1).to_vec::<f64>();
            let drawn = rng.rand([1]).item() * shares[shares.len() - 1];
            let next = shares.iter().position(|&share| drawn < share).unwrap_or(shares.len() - 1);
            written.push(next as i64);
        }
        written.split_off(start.len())
    }
}

fn main() -> ExitCode {
    let options = options::Options::read(HELP);
    let (steps, batch) = (options.get("--steps", 1200), options.get("--batch", 16usize));
    let (context, layers) = (options.get("--context", 64usize), options.get("--layers", 4));
    let (width, lr) = (options.get("--width", 128), options.get("--lr", 3e-3));
    let seed = options.get("--seed", 1);
    let limit: f64 = options.get("--limit", 2.1);

    let text = match Text::load() {
        Ok(text) => text,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (train, validation) = text.split(0.9);
    manual_seed(seed);
    let net = Gpt::new(text.vocabulary(), context, layers, width);
    println!("{} characters of {} kinds, {} parameters", text.len(), text.vocabulary(), net.num_parameters());

    let decayed = AdamW::new(net.parameters()).betas(0.9, 0.99).weight_decay(0.1);
    let mut opt = decayed.group("*bias*", |g| g.weight_decay(0.0)).group("*norm*", |g| g.weight_decay(0.0));
    let schedule = schedule::Cosine::new(lr, steps).min(lr / 20.0).warm_up(steps / 20);
    let mut rng = Rng::new(seed).child("pieces");
    let begin = Instant::now();
    for step in 1..=steps {
        let starts = rng.randint(0, (train.elements() - context - 1) as i64, [batch]);
        let (x, y) = text::pieces(&train, &starts, context);
        let loss = net.loss(&x, &y);
        let mut gradients = loss.backward();
        clip_global_norm(&mut gradients, 1.0);
        opt.set_lr(schedule.lr(step - 1));
        opt.step(&gradients);
        if step.is_multiple_of((steps / 12).max(1)) {
            println!("step {step:>5}  training loss {:.3}  {:.0} s", loss.item(), begin.elapsed().as_secs_f64());
        }
    }
    net.eval();
    let loss = net.validate(&validation, context, 512.min(16 * steps.max(1)));
    println!("validation loss {loss:.3} nats per character after {:.0} s\n", begin.elapsed().as_secs_f64());

    let (length, temperature) = (options.get("--sample", 600), options.get("--temperature", 0.8));
    let start = text.encode("\n");
    println!("{}\n", text.decode(&net.write(&start, length, context, temperature, &mut rng.child("sample"))));
    if loss < limit {
        return ExitCode::SUCCESS;
    }
    eprintln!("missed: the validation loss {loss:.3} is not below {limit}");
    ExitCode::FAILURE
}
