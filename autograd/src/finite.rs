//! Finding the operation that made the first NaN or infinity.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

use wengert_tensor::dispatch::{Arg, Attrs, Interceptor, OpCall, Outputs, Value, with_interceptor};
use wengert_tensor::tape::OpRef;
use wengert_tensor::{AnyTensor, DType, Error, ErrorKind, Result};

/// Runs `f` and looks at every result on the way: the first operation that makes NaN or infinity out of finite inputs
/// is an error that names it, its line, its operands' ranges, and what usually helps.
///
/// Gradient rules are looked at, too, if `f` runs backward: then the error names the operation whose gradient it is,
/// and the line that recorded it. What is not finite before, or is put in on purpose (a mask filled with infinity), is
/// no fault. Operations on other threads are not seen. Every element is read, so this is for looking for a fault, not
/// for every step.
///
/// `f` runs to its end even after a fault. If it panics after one, the fault is returned: it came first.
///
/// # Errors
/// If an operation made NaN or infinity out of finite inputs. [`Error::location`] is its line.
///
/// # Panics
/// If `f` does, and there was no fault before.
///
/// ```
/// use wengert_autograd::check_finite;
/// use wengert_tensor::tensor;
/// let p = tensor![0.5, 0.0];
/// let fault = check_finite(|| (&p * p.log()).sum()).unwrap_err();
/// assert!(fault.message().starts_with("`log` made -inf out of finite values (1 of 2 elements)"));
/// ```
pub fn check_finite<R>(f: impl FnOnce() -> R) -> Result<R> {
    let watch = Rc::new(Watch { fault: RefCell::new(None) });
    let result = catch_unwind(AssertUnwindSafe(|| with_interceptor(watch.clone(), f)));
    match (watch.fault.take(), result) {
        (Some(fault), _) => Err(fault),
        (None, Ok(result)) => Ok(result),
        (None, Err(panic)) => resume_unwind(panic),
    }
}

struct Watch {
    fault: RefCell<Option<Error>>,
}

impl Interceptor for Watch {
    fn call(&self, call: &mut OpCall<'_, '_>) -> Result<Outputs> {
        if self.fault.borrow().is_some() {
            return call.proceed();
        }
        // Held, so that the operation does not write its result into an operand that the error wants to show.
        let inputs: Vec<AnyTensor> = call.inputs.iter().map(|arg: &Arg<'_>| arg.tensor().clone()).collect();
        let outputs = call.proceed()?;
        let bad = outputs.iter().find(|y| !Stats::of(y).finite());
        if let Some(output) = bad
            && !inputs.is_empty()
            && finite_attrs(call.attrs)
        {
            let stats: Vec<Stats> = inputs.iter().map(Stats::of).collect();
            if stats.iter().all(Stats::finite) {
                *self.fault.borrow_mut() = Some(fault(call, &inputs, &stats, output));
            }
        }
        Ok(outputs)
    }
}

fn finite_attrs(attrs: &Attrs) -> bool {
    attrs.iter().all(|(_, value)| !matches!(value, Value::Float(v) if !v.is_finite()))
}

/// What a tensor holds.
struct Stats {
    elements: usize,
    min: f64,
    max: f64,
    zeros: usize,
    nans: usize,
    infinities: usize,
    /// The first element that is not finite.
    first_bad: Option<f64>,
}

impl Stats {
    fn of(t: &AnyTensor) -> Stats {
        let (elements, min, max) = (t.elements(), f64::INFINITY, f64::NEG_INFINITY);
        let mut stats = Stats { elements, min, max, zeros: 0, nans: 0, infinities: 0, first_bad: None };
        if !t.dtype().is_float() {
            return stats;
        }
        for v in t.to_f64_vec() {
            stats.zeros += (v == 0.0) as usize;
            stats.nans += v.is_nan() as usize;
            stats.infinities += v.is_infinite() as usize;
            match v.is_finite() {
                true => (stats.min, stats.max) = (stats.min.min(v), stats.max.max(v)),
                false => drop(stats.first_bad.get_or_insert(v)),
            }
        }
        stats
    }

    fn finite(&self) -> bool {
        self.nans + self.infinities == 0
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if self.min <= self.max {
            parts.push(format!("min {}, max {}", short(self.min), short(self.max)));
        }
        for (n, what) in [(self.zeros, "zero"), (self.nans, "NaN"), (self.infinities, "infinite")] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        parts.join(", ")
    }
}

fn short(v: f64) -> String {
    if v == 0.0 || (1e-3..1e5).contains(&v.abs()) { format!("{:.4}", v) } else { format!("{v:.3e}") }
}

#[cold]
fn fault(call: &OpCall<'_, '_>, inputs: &[AnyTensor], stats: &[Stats], output: &AnyTensor) -> Error {
    let made = Stats::of(output);
    let op = call.op.name();
    let who = match call.backward_of {
        Some(forward) => format!("the gradient of `{forward}` ran `{op}`, which"),
        None => format!("`{op}`"),
    };
    let what = match made.first_bad {
        Some(v) if v.is_infinite() => v.to_string(),
        _ => "NaN".to_string(),
    };
    let bad = made.nans + made.infinities;
    let mut message = format!("{who} made {what} out of finite values ({bad} of {} elements)", made.elements);
    let names: &[&str] = match call.op {
        OpRef::Static(op) => op.operands,
        OpRef::Custom(_) => &["input"],
    };
    let name = |i: usize| names.get(i).or(names.last()).copied().unwrap_or("input");
    let rows: Vec<(&str, &AnyTensor, &Stats)> = (0..inputs.len())
        .map(|i| (name(i), &inputs[i], &stats[i]))
        .chain(std::iter::once(("output", output, &made)))
        .collect();
    let form = |t: &AnyTensor| format!("{} {}", t.shape(), t.dtype());
    let wide = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let wider = rows.iter().map(|(_, t, _)| form(t).len()).max().unwrap_or(0);
    for (name, t, s) in &rows {
        let origin = if *name == "output" { String::new() } else { t.origin() };
        let line = format!("\n  {name:wide$}  {:wider$}  {}  {origin}", form(t), s.describe());
        message.push_str(line.trim_end());
    }
    let at: &'static Location<'static> = call.at;
    Error::new(message).kind_of(ErrorKind::Value).help(remedy(call, stats, output.dtype())).in_op("check_finite", at)
}

/// What usually helps.
fn remedy(call: &OpCall<'_, '_>, inputs: &[Stats], dtype: DType) -> String {
    let (op, backward_of) = (call.op.name(), call.backward_of);
    let by_zero = call.attrs.get("number") == Some(&Value::Float(0.0));
    let zero = |i: usize| inputs.get(i).is_some_and(|s| s.zeros > 0);
    let negative = |i: usize| inputs.get(i).is_some_and(|s| s.min < 0.0);
    let help = match (backward_of, op) {
        (Some("sqrt"), _) => "the slope of sqrt is infinite at 0: add a small number first, (x + 1e-12).sqrt()",
        (Some("log"), _) => "the slope of log is infinite at 0: clamp its input away from 0, or use log_softmax",
        (Some("div" | "div_scalar" | "rdiv_scalar" | "reciprocal"), _) => {
            "the divisor is 0 or nearly so: add a small number to it, or clamp it"
        }
        (Some("pow" | "pow_scalar"), _) => {
            "a power below 1 has an infinite slope at 0, and its exponent's gradient needs log(x): clamp x"
        }
        (_, "log" | "log2" | "log10") if negative(0) => "log of a negative number: clamp its input, or check its sign",
        (_, "log" | "log2" | "log10") => {
            "log of 0: add a small number, clamp(1e-12, 1.0), or take log_softmax or cross_entropy of the logits"
        }
        (_, "div" | "rem") if zero(1) => "division by 0: add a small number to the divisor, or clamp it",
        (_, "div_scalar") if by_zero => "division by the number 0",
        (_, "reciprocal" | "rdiv_scalar") if zero(0) => "division by 0: add a small number to the input, or clamp it",
        (_, "sqrt" | "rsqrt") if negative(0) => {
            "the root of a negative number: clamp(0.0, ..) what rounding made negative"
        }
        (_, "rsqrt") if zero(0) => "the inverse root of 0: add a small number first",
        (_, "pow" | "pow_scalar") if negative(0) => {
            "a negative number to a fractional power: take abs() first, or check its sign"
        }
        (_, "pow" | "pow_scalar") if zero(0) => "0 to a negative power: clamp the base away from 0",
        (_, "asin" | "acos" | "atanh") => "the input leaves [-1, 1]: clamp it",
        _ => return too_large(op, backward_of, dtype),
    };
    help.to_string()
}

/// What helps against values beyond a precision's range.
fn too_large(op: &str, backward_of: Option<&str>, dtype: DType) -> String {
    let end = match dtype {
        DType::F16 => {
            return match backward_of {
                Some(_) => {
                    "beyond 65504, where F16 ends: use a smaller loss scale, or compute in F32 or BF16".to_string()
                }
                None => "beyond 65504, where F16 ends: compute this in F32 or BF16".to_string(),
            };
        }
        DType::F64 => "1.8e308",
        _ => "3.4e38",
    };
    match op {
        "exp" | "expm1" | "exp2" | "sinh" | "cosh" => format!(
            "the exponential is beyond {end}, where {dtype} ends: subtract the maximum first, or use softmax, log_softmax or \
             sigmoid, which do"
        ),
        _ => format!(
            "the result is beyond {end}, where {dtype} ends: scale or normalise the operands, clip the gradients, or lower \
             the learning rate"
        ),
    }
}
