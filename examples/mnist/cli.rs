//! The command line of the example.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What `--help` prints.
pub const HELP: &str = "\
Trains a small convolutional network on 4,000 handwritten digits, tests it on
1,000 others, and writes the trained weights and two pictures.

Usage: cargo run --release --example mnist -- [OPTIONS]

Options:
  --epochs N      passes over the training set           [default: 12]
  --batch-size N  digits per step                        [default: 32]
  --lr F          learning rate                          [default: 0.003]
  --seed N        seed of everything random              [default: 1]
  --threads N     threads to compute with                [default: all]
  --out DIR       folder to write to, made if missing    [default: out]
  --limit N       train on only N of the 4,000 digits, for a quick run
  --help, -h      print this
";

/// Digits in the training set, the most that `--limit` and `--batch-size` may ask for.
const TRAINING_DIGITS: usize = 4000;
const NAMES: [&str; 8] = ["--epochs", "--batch-size", "--lr", "--seed", "--threads", "--out", "--limit", "--help"];

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Train with these options.
    Run(Options),
    /// Print [`HELP`] and stop.
    Help,
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Passes over the training set, at least 1.
    pub epochs: usize,
    /// Digits per step, 1 to 4,000.
    pub batch_size: usize,
    /// Learning rate, above 0 and finite.
    pub lr: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads to compute with; `None` for all the machine has.
    pub threads: Option<usize>,
    /// Folder to write to.
    pub out: PathBuf,
    /// Train on only this many digits of the shuffled training set, 1 to 4,000.
    pub limit: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { epochs: 12, batch_size: 32, lr: 0.003, seed: 1, threads: None, out: PathBuf::from("out"), limit: None }
    }
}

/// Reads the arguments that follow the program's name.
///
/// A value follows its option as the next argument or after `=`. Of an option given twice
/// the last one counts.
///
/// # Errors
///
/// Names the option, what was given and what was expected.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut options = Options::default();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let (name, attached) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value.to_string())),
            _ => (arg.as_str(), None),
        };
        if name == "--help" || name == "-h" {
            return match attached {
                None => Ok(Command::Help),
                Some(value) => Err(format!("{name}: got {value:?}, expected no value")),
            };
        }
        if !NAMES.contains(&name) {
            return Err(unknown(name));
        }
        // The next argument is the value unless it is an option itself.
        let value = attached.or_else(|| args.next_if(|next| !next.starts_with("--")));
        let value = value.as_deref();
        match name {
            "--epochs" => options.epochs = whole(name, value, 1..=100_000)?,
            "--batch-size" => options.batch_size = whole(name, value, 1..=TRAINING_DIGITS)?,
            "--lr" => options.lr = rate(name, value)?,
            "--seed" => options.seed = whole(name, value, 0..=u64::MAX)?,
            "--threads" => options.threads = Some(whole(name, value, 1..=1024)?),
            "--out" => options.out = folder(name, value)?,
            "--limit" => options.limit = Some(whole(name, value, 1..=TRAINING_DIGITS)?),
            _ => return Err(unknown(name)),
        }
    }
    Ok(Command::Run(options))
}

/// Makes the folder if it is missing and checks that files can be written to it, so that a
/// run does not fail only after the training.
///
/// # Errors
///
/// Names the folder and the reason.
pub fn prepare_out(dir: &Path) -> Result<(), String> {
    let shown = dir.display();
    if dir.exists() && !dir.is_dir() {
        return Err(format!("--out: {shown} is a file, expected a folder"));
    }
    fs::create_dir_all(dir).map_err(|error| format!("--out: cannot make {shown}: {error}"))?;
    let probe = dir.join(format!(".write-test-{}", std::process::id()));
    fs::write(&probe, "test")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| format!("--out: cannot write to {shown}: {error}"))
}

fn whole<T>(name: &str, value: Option<&str>, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    value.and_then(|value| value.parse().ok()).filter(|number| range.contains(number)).ok_or_else(|| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        mismatch(name, value, &expected)
    })
}

fn rate(name: &str, value: Option<&str>) -> Result<f32, String> {
    value
        .and_then(|value| value.parse().ok())
        .filter(|&rate: &f32| rate.is_finite() && rate > 0.0)
        .ok_or_else(|| mismatch(name, value, "a number above 0, such as 0.003"))
}

fn folder(name: &str, value: Option<&str>) -> Result<PathBuf, String> {
    match value {
        Some(value) if !value.is_empty() => Ok(PathBuf::from(value)),
        _ => Err(mismatch(name, value, "a folder")),
    }
}

fn mismatch(name: &str, value: Option<&str>, expected: &str) -> String {
    match value {
        Some(value) => format!("{name}: got {value:?}, expected {expected}"),
        None => format!("{name}: no value, expected {expected}"),
    }
}

fn unknown(name: &str) -> String {
    if !name.starts_with('-') {
        return format!("{name:?}: unexpected argument, expected an option; see --help");
    }
    match nearest(name) {
        Some(known) => format!("{name}: unknown option; did you mean {known}?"),
        None => format!("{name}: unknown option; see --help"),
    }
}

/// The option most like `name`, if any is alike enough to suggest.
fn nearest(name: &str) -> Option<&'static str> {
    let bare = name.trim_start_matches('-').to_lowercase();
    let key = |known: &&&'static str| {
        let known = &known[2..];
        let shortened = bare.len() >= 2 && known.starts_with(&bare);
        if shortened { 0 } else { distance(&bare, known) }
    };
    let best = NAMES.iter().min_by_key(key)?;
    let allowed = if bare.len() <= 3 { 1 } else { 2 };
    (key(&best) <= allowed).then_some(*best)
}

/// How many letters must be inserted, removed or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(String::from))
    }

    fn error(line: &str) -> String {
        run(line).unwrap_err()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(run(""), Ok(Command::Run(Options::default())));
    }

    #[test]
    fn help_states_the_defaults_and_every_option() {
        let default = Options::default();
        for (name, value) in [
            ("--epochs", default.epochs.to_string()),
            ("--batch-size", default.batch_size.to_string()),
            ("--lr", default.lr.to_string()),
            ("--seed", default.seed.to_string()),
            ("--out", default.out.display().to_string()),
        ] {
            let line = HELP.lines().find(|line| line.trim().starts_with(name)).unwrap();
            assert!(line.ends_with(&format!("[default: {value}]")), "{line}");
        }
        for name in NAMES {
            assert!(HELP.contains(&format!("\n  {name}")), "{name}");
        }
    }

    #[test]
    fn every_option_is_read() {
        let expected = Options {
            epochs: 3,
            batch_size: 32,
            lr: 0.1,
            seed: u64::MAX,
            threads: Some(2),
            out: PathBuf::from("some/where"),
            limit: Some(500),
        };
        let spaced = "--epochs 3 --batch-size 32 --lr 1e-1 --seed 18446744073709551615 \
                      --threads 2 --out some/where --limit 500";
        assert_eq!(run(spaced), Ok(Command::Run(expected.clone())));
        let attached = "--epochs=3 --batch-size=32 --lr=0.1 --seed=18446744073709551615 \
                        --threads=2 --out=some/where --limit=500";
        assert_eq!(run(attached), Ok(Command::Run(expected)));
    }

    #[test]
    fn last_of_two_counts_and_equals_signs_stay_in_a_path() {
        let Ok(Command::Run(options)) = run("--seed 1 --seed 2 --out=a=b") else { panic!() };
        assert_eq!((options.seed, options.out), (2, PathBuf::from("a=b")));
        let Ok(Command::Run(options)) = run("--out a=b") else { panic!() };
        assert_eq!(options.out, PathBuf::from("a=b"));
    }

    #[test]
    fn help() {
        assert_eq!(run("--help"), Ok(Command::Help));
        assert_eq!(run("--epochs 2 -h"), Ok(Command::Help));
        assert_eq!(error("--help=1"), "--help: got \"1\", expected no value");
    }

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(error("--batch-size 0"), "--batch-size: got \"0\", expected a whole number from 1 to 4000");
        assert_eq!(error("--epochs many"), "--epochs: got \"many\", expected a whole number from 1 to 100000");
        assert_eq!(error("--limit=4001"), "--limit: got \"4001\", expected a whole number from 1 to 4000");
        for line in ["--epochs 0", "--epochs -1", "--epochs 1.5", "--threads 0", "--seed -1"] {
            let (name, value) = line.split_once(' ').unwrap();
            let error = error(line);
            let start = format!("{name}: got {value:?}, expected a whole number from ");
            assert!(error.starts_with(&start), "{error}");
        }
        for value in ["0", "-0.1", "nan", "inf", "1e99", "fast", "1e-99"] {
            let expected = format!("--lr: got {value:?}, expected a number above 0, such as 0.003");
            assert_eq!(error(&format!("--lr {value}")), expected);
        }
        assert_eq!(error("--out="), "--out: got \"\", expected a folder");
    }

    #[test]
    fn missing_values_are_named() {
        assert_eq!(error("--epochs"), "--epochs: no value, expected a whole number from 1 to 100000");
        assert_eq!(error("--out --seed 3"), "--out: no value, expected a folder");
    }

    #[test]
    fn unknown_options_get_the_nearest() {
        assert_eq!(error("--epoch 3"), "--epoch: unknown option; did you mean --epochs?");
        for (given, meant) in [
            ("--epocs=3", "--epochs"),
            ("-epochs", "--epochs"),
            ("--batch", "--batch-size"),
            ("--batch_size", "--batch-size"),
            ("--LR", "--lr"),
            ("--thread", "--threads"),
            ("--ouput", "--out"),
            ("--hlep", "--help"),
        ] {
            let error = error(given);
            assert!(error.ends_with(&format!("did you mean {meant}?")), "{error}");
        }
        assert_eq!(error("--momentum 1"), "--momentum: unknown option; see --help");
        assert_eq!(error("-x"), "-x: unknown option; see --help");
        assert_eq!(error("train"), "\"train\": unexpected argument, expected an option; see --help");
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn out_folder_is_made_and_left_empty() {
        let base = std::env::temp_dir().join(format!("mnist-cli-{}", std::process::id()));
        let dir = base.join("a/b");
        assert_eq!(prepare_out(&dir), Ok(()));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        assert_eq!(prepare_out(&dir), Ok(()));

        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        let error = prepare_out(&file).unwrap_err();
        assert!(error.ends_with("is a file, expected a folder"), "{error}");
        let error = prepare_out(&file.join("below")).unwrap_err();
        assert!(error.starts_with("--out: cannot make "), "{error}");
        fs::remove_dir_all(base).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn folder_that_takes_no_files_is_refused() {
        let error = prepare_out(Path::new("/proc/self")).unwrap_err();
        assert!(error.starts_with("--out: cannot write to /proc/self: "), "{error}");
    }
}
