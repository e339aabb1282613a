//! What a stretch of code spends its time on, operation by operation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wengert_tensor::dispatch::{Interceptor, OpCall, Outputs, with_interceptor};
use wengert_tensor::{AnyTensor, Error, ErrorKind, Result};

/// Runs `f` and returns its result with what every operation in it cost: how often, how long, how many bytes it read
/// and wrote. Operations of gradient rules are counted apart from those of the forward pass.
///
/// Nothing is measured, and nothing is slower, outside of such a call. Operations on other threads that `f` starts
/// itself are not seen. What is not an operation, such as an optimizer's update, is the remainder of the whole.
///
/// ```
/// use wengert_autograd::{Differentiate, profile};
/// use wengert_tensor::Tensor;
/// let w = Tensor::randn([64, 64]).requires_grad();
/// let (_, profile) = profile(|| w.matmul(&w).relu().sum().backward());
/// println!("{profile}");
/// let matmul = profile.ops().find(|op| op.name == "matmul" && !op.backward).unwrap();
/// assert_eq!((matmul.count, matmul.bytes), (1, 3 * 64 * 64 * 4));
/// assert_eq!(profile.ops().filter(|op| op.name == "matmul" && op.backward).map(|op| op.count).sum::<usize>(), 2);
/// ```
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, Profile) {
    let clock = Rc::new(Clock { start: Instant::now(), calls: RefCell::new(Vec::new()) });
    let result = with_interceptor(clock.clone(), f);
    let total = clock.start.elapsed();
    (result, Profile { calls: clock.calls.take(), total })
}

/// Writes down when each operation began and how long it took.
struct Clock {
    start: Instant,
    calls: RefCell<Vec<ProfiledCall>>,
}

impl Interceptor for Clock {
    fn call(&self, call: &mut OpCall<'_, '_>) -> Result<Outputs> {
        let bytes = |t: &AnyTensor| (t.elements() * t.dtype().size()) as u64;
        let read: u64 = call.inputs.iter().map(|input| bytes(input.tensor())).sum();
        let begin = self.start.elapsed();
        let outputs = call.proceed()?;
        self.calls.borrow_mut().push(ProfiledCall {
            name: call.op.name(),
            backward: call.backward_of.is_some(),
            at: call.at,
            begin,
            time: self.start.elapsed() - begin,
            bytes: read + outputs.iter().map(bytes).sum::<u64>(),
        });
        Ok(outputs)
    }
}

/// One call of an operation, see [`profile`].
///
/// ```
/// use wengert_autograd::profile;
/// use wengert_tensor::tensor;
/// let (_, profile) = profile(|| tensor![1.0, 2.0].exp());
/// let call = profile.calls().last().unwrap();
/// assert_eq!((call.name, call.backward, call.bytes), ("exp", false, 16));
/// ```
#[derive(Clone, Debug)]
pub struct ProfiledCall {
    /// The operation.
    pub name: &'static str,
    /// Whether a gradient rule called it.
    pub backward: bool,
    /// The line of the user's call; in a gradient rule that of the operation whose rule it is.
    pub at: &'static Location<'static>,
    /// When it began, from the start of the profile.
    pub begin: Duration,
    /// How long it took.
    pub time: Duration,
    /// The bytes of its operands and results, each counted once, as if none were in a cache.
    pub bytes: u64,
}

/// All calls of one operation, in one direction, see [`Profile::ops`].
///
/// ```
/// use wengert_autograd::profile;
/// use wengert_tensor::tensor;
/// let x = tensor![1.0, 2.0];
/// let (_, profile) = profile(|| x.exp().exp());
/// assert_eq!(profile.ops().next().unwrap().count, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfiledOp {
    /// The operation.
    pub name: &'static str,
    /// Whether gradient rules called it.
    pub backward: bool,
    /// How often it was called.
    pub count: usize,
    /// How long all calls took.
    pub time: Duration,
    /// The bytes of all operands and results.
    pub bytes: u64,
}

/// What [`profile`] saw. Printed, it is a table of operations, the most expensive first.
///
/// ```
/// use wengert_autograd::profile;
/// use wengert_tensor::Tensor;
/// let (_, profile) = profile(|| Tensor::ones([1000]).sum());
/// assert!(profile.to_string().contains("sum"));
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    calls: Vec<ProfiledCall>,
    total: Duration,
}

impl Profile {
    /// From the begin to the end of the code that was watched, operations or not.
    ///
    /// ```
    /// let (_, profile) = wengert_autograd::profile(|| std::thread::sleep(std::time::Duration::from_millis(2)));
    /// assert!(profile.total().as_millis() >= 2);
    /// ```
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Every call, in the order in which they ended.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (_, profile) = wengert_autograd::profile(|| tensor![4.0].sqrt().exp());
    /// let names: Vec<&str> = profile.calls().iter().map(|call| call.name).collect();
    /// assert!(names.ends_with(&["sqrt", "exp"]));
    /// ```
    pub fn calls(&self) -> &[ProfiledCall] {
        &self.calls
    }

    /// The sums over all calls of each operation, the one that took longest first.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (_, profile) = wengert_autograd::profile(|| tensor![4.0].sqrt());
    /// assert!(profile.ops().any(|op| op.name == "sqrt" && op.count == 1));
    /// ```
    pub fn ops(&self) -> impl Iterator<Item = ProfiledOp> {
        let mut sums: BTreeMap<(&str, bool), ProfiledOp> = BTreeMap::new();
        for call in &self.calls {
            let (name, backward) = (call.name, call.backward);
            let none = ProfiledOp { name, backward, count: 0, time: Duration::ZERO, bytes: 0 };
            let sum = sums.entry((name, backward)).or_insert(none);
            sum.count += 1;
            sum.time += call.time;
            sum.bytes += call.bytes;
        }
        let mut ops: Vec<ProfiledOp> = sums.into_values().collect();
        ops.sort_by_key(|op| std::cmp::Reverse(op.time));
        ops.into_iter()
    }

    /// The calls as a trace in the format that `chrome://tracing` and Perfetto read.
    ///
    /// The trace event format, "JSON Object Format": complete events, in microseconds.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (_, profile) = wengert_autograd::profile(|| tensor![4.0].sqrt());
    /// assert!(profile.chrome_trace().starts_with("{\"traceEvents\":["));
    /// ```
    pub fn chrome_trace(&self) -> String {
        let event = |call: &ProfiledCall| {
            // The only text that is not ours is a path: JSON wants its backslashes doubled.
            let at = call.at.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let direction = if call.backward { "backward" } else { "forward" };
            let micros = |d: Duration| d.as_nanos() as f64 / 1e3;
            format!(
                r#"{{"name":"{}","cat":"{direction}","ph":"X","pid":1,"tid":1,"ts":{},"dur":{},"args":{{"at":"{at}","bytes":{}}}}}"#,
                call.name,
                micros(call.begin),
                micros(call.time),
                call.bytes,
            )
        };
        let events: Vec<String> = self.calls.iter().map(event).collect();
        format!("{{\"traceEvents\":[{}]}}\n", events.join(",\n"))
    }

    /// Writes [`chrome_trace`](Profile::chrome_trace) to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// ```
    /// let (_, profile) = wengert_autograd::profile(|| ());
    /// assert!(profile.save_chrome_trace("no such folder/trace.json").is_err());
    /// ```
    pub fn save_chrome_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.chrome_trace())
            .map_err(|e| Error::new(format!("cannot write {}: {e}", path.display())).kind_of(ErrorKind::Io))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |time: Duration| 100.0 * time.as_secs_f64() / self.total.as_secs_f64().max(1e-12);
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        writeln!(
            f,
            "{:<28} {:>7} {:>12} {:>10} {:>10} {:>6}",
            "operation", "count", "total us", "mean us", "MB", "share"
        )?;
        let mut inside = Duration::ZERO;
        for op in self.ops() {
            inside += op.time;
            let name = if op.backward { format!("{} (backward)", op.name) } else { op.name.to_string() };
            writeln!(
                f,
                "{name:<28} {:>7} {:>12.1} {:>10.2} {:>10.2} {:>4.1} %",
                op.count,
                micros(op.time),
                micros(op.time) / op.count as f64,
                op.bytes as f64 / 1e6,
                share(op.time)
            )?;
        }
        let rest = self.total.saturating_sub(inside);
        writeln!(
            f,
            "{:<28} {:>7} {:>12.1} {:>10} {:>10} {:>4.1} %",
            "outside of operations",
            "",
            micros(rest),
            "",
            "",
            share(rest)
        )?;
        write!(f, "{:<28} {:>7} {:>12.1}", "all", self.calls.len(), micros(self.total))
    }
}
