//! Shows how the training goes: a live bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Without a terminal, the least time between two lines of the same epoch.
const QUIET: Duration = Duration::from_secs(2);
/// The bar takes what the text leaves of the line.
const TEMPLATE: &str = "{wide_bar:.cyan/238} {msg} {eta} left";

/// The progress of a training run.
///
/// A line per epoch goes to standard output. In between, a bar is drawn where there is a
/// terminal to draw it on; where there is none, a line appears at every tenth of an epoch,
/// but not more often than every two seconds.
///
/// Accuracies are given from 0 to 1. Epochs and steps count from 1.
pub struct Progress {
    epochs: usize,
    steps_per_epoch: usize,
    batch_size: usize,
    bar: Option<ProgressBar>,
    /// When the current epoch began.
    epoch_began: Instant,
    /// When the last step or epoch ended.
    last: Instant,
    /// Time and steps of the current epoch, for its speed.
    busy: Duration,
    steps: usize,
    last_line: Instant,
}

impl Progress {
    /// Starts the clock and shows an empty bar.
    ///
    /// `batch_size` is the images in a step; it is used for the speed only.
    pub fn new(epochs: usize, steps_per_epoch: usize, batch_size: usize) -> Self {
        let target = if io::stderr().is_terminal() {
            Some(ProgressDrawTarget::stderr())
        } else if io::stdout().is_terminal() {
            Some(ProgressDrawTarget::stdout())
        } else {
            None
        };
        // A terminal that cannot move its cursor gives a hidden target.
        let target = target.filter(|target| !target.is_hidden());
        let bar = target.map(|target| bar(epochs * steps_per_epoch, target));
        let now = Instant::now();
        Self {
            epochs,
            steps_per_epoch,
            batch_size,
            bar,
            epoch_began: now,
            last: now,
            busy: Duration::ZERO,
            steps: 0,
            last_line: now,
        }
    }

    /// Call after each step, with the loss and the accuracy to show, such as those of the
    /// epoch so far.
    pub fn step(&mut self, epoch: usize, step: usize, loss: f32, accuracy: f32) {
        let now = Instant::now();
        self.busy += now - self.last;
        self.last = now;
        self.steps += 1;

        if let Some(bar) = &self.bar {
            let done = epoch.saturating_sub(1) * self.steps_per_epoch + step;
            bar.set_message(self.state(epoch, step, loss, accuracy));
            bar.set_position(done as u64);
        } else if is_tenth(step, self.steps_per_epoch) && now - self.last_line >= QUIET {
            self.last_line = now;
            print_line(&self.state(epoch, step, loss, accuracy));
        }
    }

    /// Call after each epoch, once the model was tested.
    pub fn epoch_done(&mut self, epoch: usize, loss: f32, train_accuracy: f32, test_accuracy: f32) {
        let now = Instant::now();
        let line = format!(
            "epoch {}  loss {loss:.4}  train {}  test {}  {} images/s  {}",
            of(epoch, self.epochs),
            percent(train_accuracy),
            percent(test_accuracy),
            thousands(self.speed()),
            seconds(now - self.epoch_began),
        );
        match &self.bar {
            // The bar makes room for the line and comes back below it.
            Some(bar) => bar.suspend(|| print_line(&line)),
            None => print_line(&line),
        }
        // Testing is no part of the next epoch's speed.
        let now = Instant::now();
        (self.epoch_began, self.last, self.last_line) = (now, now, now);
        (self.busy, self.steps) = (Duration::ZERO, 0);
    }

    /// Takes the bar away. Dropping the progress does so too.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self, epoch: usize, step: usize, loss: f32, accuracy: f32) -> String {
        format!(
            "epoch {} step {} loss {loss:.4} acc {} {} img/s",
            of(epoch, self.epochs),
            of(step, self.steps_per_epoch),
            percent(accuracy),
            thousands(self.speed()),
        )
    }

    /// Images per second over the epoch so far.
    fn speed(&self) -> u64 {
        let images = (self.steps * self.batch_size) as f64;
        (images / self.busy.as_secs_f64().max(1e-9)).round() as u64
    }
}

fn bar(length: usize, target: ProgressDrawTarget) -> ProgressBar {
    let style =
        ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::with_draw_target(Some(length as u64), target).with_style(style).with_finish(ProgressFinish::AndClear)
}

/// Prints a line, though not to a reader that has left.
fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Whether another tenth of `steps` is complete at `step`, short of the whole.
fn is_tenth(step: usize, steps: usize) -> bool {
    (1..steps).contains(&step) && step * 10 / steps > (step - 1) * 10 / steps
}

/// " 3/12", as wide for every count.
fn of(count: usize, total: usize) -> String {
    let width = total.to_string().len();
    format!("{count:>width$}/{total}")
}

fn percent(accuracy: f32) -> String {
    format!("{:6.2}%", accuracy * 100.0)
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let seconds = time.as_secs();
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// A number with a comma before every three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_ten_lines_an_epoch() {
        let marks = |steps| (1..=steps).filter(|&step| is_tenth(step, steps)).collect();
        let marked: Vec<usize> = marks(63);
        assert_eq!(marked, [7, 13, 19, 26, 32, 38, 45, 51, 57]);
        let marked: Vec<usize> = marks(3);
        assert_eq!(marked, [1, 2]);
        let marked: Vec<usize> = marks(1);
        assert!(marked.is_empty());
    }

    #[test]
    fn the_template_is_valid() {
        let bar = bar(10, ProgressDrawTarget::hidden());
        assert_eq!(bar.length(), Some(10));
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn state_holds_everything() {
        let mut progress = Progress::new(12, 63, 64);
        progress.bar = None;
        progress.steps = 10;
        progress.busy = Duration::from_millis(250);
        assert_eq!(progress.state(3, 7, 0.12345, 0.9751), "epoch  3/12 step  7/63 loss 0.1235 acc  97.51% 2,560 img/s");
        // A bar and the time left still fit on 80 columns.
        assert!(progress.state(12, 63, 2.3, 0.1).len() <= 62);
    }

    #[test]
    fn the_bar_follows_the_steps() {
        let mut progress = Progress::new(3, 10, 64);
        let hidden = bar(30, ProgressDrawTarget::hidden());
        progress.bar = Some(hidden.clone());
        progress.step(2, 4, 0.5, 0.5);
        assert_eq!(hidden.position(), 14);
        assert!(hidden.message().starts_with("epoch 2/3 step  4/10 loss 0.5000"));
        assert_eq!(progress.steps, 1);
        progress.epoch_done(2, 0.5, 0.5, 0.5);
        assert_eq!((progress.steps, progress.busy), (0, Duration::ZERO));
        assert!(!hidden.is_finished());
        progress.finish();
        assert!(hidden.is_finished());
    }

    #[test]
    fn speed_before_the_first_step_is_zero() {
        assert_eq!(Progress::new(1, 1, 64).speed(), 0);
    }

    #[test]
    fn numbers() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1234567), "1,234,567");
        assert_eq!(percent(1.0), "100.00%");
        assert_eq!(percent(0.05), "  5.00%");
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
