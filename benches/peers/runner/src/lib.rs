//! What the runners in Rust share with `runner.py`: the same numbers in every framework, the clock, and the lines they
//! print.

use std::time::{Duration, Instant};

pub use serde_json::Value as Json;

/// What the command line asks for.
pub struct Options {
    pub threads: usize,
    pub seconds: f64,
    pub check: bool,
    pub memory: bool,
    pub workloads: Vec<Workload>,
}

/// One workload, as `workloads.py` describes it.
pub struct Workload(Json);

impl Workload {
    pub fn name(&self) -> &str {
        self.0["name"].as_str().expect("a name")
    }

    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().expect("a kind")
    }

    pub fn is_f64(&self) -> bool {
        self.0["dtype"] == "f64"
    }

    pub fn int(&self, name: &str) -> usize {
        self.0[name].as_u64().unwrap_or_else(|| panic!("{name} of {}", self.name())) as usize
    }

    pub fn sizes(&self, name: &str) -> Vec<usize> {
        let list = self.0[name].as_array().unwrap_or_else(|| panic!("{name} of {}", self.name()));
        list.iter().map(|n| n.as_u64().expect("a size") as usize).collect()
    }

    pub fn shapes(&self) -> Vec<Vec<usize>> {
        let list = self.0["shapes"].as_array().expect("shapes");
        list.iter()
            .map(|s| s.as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size") as usize).collect())
            .collect()
    }
}

/// Reads the command line: a file of workloads, `--threads`, `--seconds`, `--check`, `--memory`.
pub fn options() -> Options {
    let mut options = Options { threads: 2, seconds: 0.3, check: false, memory: false, workloads: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse::<f64>().ok()).expect("a number after the option");
        match arg.as_str() {
            "--threads" => options.threads = number() as usize,
            "--seconds" => options.seconds = number(),
            "--check" => options.check = true,
            "--memory" => options.memory = true,
            path => {
                let text = std::fs::read_to_string(path).expect("a file of workloads");
                let list: Json = serde_json::from_str(&text).expect("JSON");
                options.workloads = list.as_array().expect("a list").iter().cloned().map(Workload).collect();
            }
        }
    }
    options
}

/// Numbers in [-1, 1), the same in every runner: a hash of the element's place and of the tensor's number.
#[derive(Default)]
pub struct Numbers {
    drawn: u64,
}

impl Numbers {
    /// The next tensor's elements, times `scale`.
    pub fn draw(&mut self, elements: usize, scale: f64) -> Vec<f64> {
        self.drawn += 1;
        let first = self.drawn * 0x9E37_79B9;
        let hash = |i: u64| {
            let mut x = (i + first) as u32;
            x ^= x >> 16;
            x = x.wrapping_mul(0x7FEB_352D);
            x ^= x >> 15;
            x = x.wrapping_mul(0x846C_A68B);
            x ^= x >> 16;
            (f64::from(x >> 8) / f64::from(1 << 23) - 1.0) * scale
        };
        (0..elements as u64).map(hash).collect()
    }

    /// The same in single precision.
    pub fn draw_f32(&mut self, elements: usize, scale: f64) -> Vec<f32> {
        self.draw(elements, scale).into_iter().map(|v| v as f32).collect()
    }
}

/// The scale with which matrices and kernels `[out, in, ..]` are drawn.
pub fn weight_scale(shape: &[usize]) -> f64 {
    (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt()
}

/// Indices that jump about: multiples of a large odd number.
pub fn indices(n: usize, below: usize) -> Vec<i64> {
    (0..n).map(|i| ((i * 7919 + 13) % below) as i64).collect()
}

/// What is compared of a result: its number of elements, sum, sum of magnitudes, and some elements.
fn digest(values: &[f64]) -> Json {
    let last = values.len().saturating_sub(1) as f64;
    let count = values.len().min(7);
    let places = (0..count).map(|i| (last * i as f64 / (count.max(2) - 1) as f64) as usize);
    let sums = [values.len() as f64, values.iter().sum(), values.iter().map(|v| v.abs()).sum()];
    sums.into_iter().chain(places.map(|p| values[p])).map(Json::from).collect()
}

/// The median time of a call, in microseconds: of samples of about 2 ms each.
fn median(f: &mut dyn FnMut(), seconds: f64) -> f64 {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().max(Duration::from_nanos(20));
    let calls = (2_000_000 / once.as_nanos() as usize).clamp(1, 20_000);
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.len() < 5 || (begin.elapsed().as_secs_f64() < seconds && samples.len() < 300) {
        let t = Instant::now();
        (0..calls).for_each(|_| f());
        samples.push(t.elapsed().as_secs_f64() / calls as f64 * 1e6);
        if begin.elapsed().as_secs_f64() > 10.0 * seconds + 2.0 {
            break;
        }
    }
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn status(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    let line = text.lines().find(|line| line.starts_with(field)).expect("a field");
    line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).expect("kilobytes") * 1024.0
}

/// By how many bytes calls of `f` raise the peak of resident memory over the level before.
fn growth(f: &mut dyn FnMut()) -> f64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
    let before = status("VmRSS");
    (0..5).for_each(|_| f());
    status("VmHWM") - before
}

/// A workload made ready: what is timed, and what gives its results.
pub struct Built {
    pub timed: Box<dyn FnMut()>,
    pub results: Box<dyn FnMut() -> Vec<Vec<f64>>>,
}

/// Runs all workloads that `build` knows, and prints a line for each.
pub fn main(
    options: &Options,
    name: &str,
    version: &str,
    mut build: impl FnMut(&Workload, &mut Numbers) -> Option<Built>,
) {
    println!("{}", serde_json::json!({"versions": {name: version}}));
    for w in &options.workloads {
        if let "peak_flops" | "peak_bytes" = w.kind() {
            continue;
        }
        let Some(mut built) = build(w, &mut Numbers::default()) else { continue };
        let name = w.name();
        let line = if options.check {
            let digests: Vec<Json> = (built.results)().iter().map(|r| digest(r)).collect();
            serde_json::json!({"name": name, "digest": digests})
        } else if options.memory {
            serde_json::json!({"name": name, "bytes": growth(&mut built.timed)})
        } else {
            serde_json::json!({"name": name, "us": median(&mut built.timed, options.seconds)})
        };
        println!("{line}");
    }
}
