//! Calling operations from the registry, and comparing what they give.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert::dispatch::{Arg, Attrs, Gradient, Op, Outputs, apply};
use wengert::registry::{self, Gen, Sample};
use wengert::{AnyTensor, DType, Differentiate, Gradients, Result, Tensor};

/// Runs `check`; a panic becomes an error with its text.
fn caught(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a text")))
    })
}

/// Runs `check` on every operation, and reports all failures at once, panics too.
pub fn every_op(check: impl Fn(&'static Op) -> Result<(), String>) {
    let mut failures = String::new();
    for op in registry::ops() {
        if let Err(e) = caught(|| check(op)) {
            let _ = writeln!(failures, "{}: {e}", op.name);
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Runs `check` on the samples and special points of every operation in precision `dtype`, from seeds `0..seeds`.
pub fn every_sample(dtype: DType, seeds: u64, check: impl Fn(&'static Op, &Sample) -> Result<(), String>) {
    every_op(|op| {
        if !(op.info)().precisions.contains(&dtype) && (op.info)().precisions != [DType::Bool] {
            return Ok(());
        }
        for seed in 0..seeds {
            for sample in samples(op, seed, dtype) {
                caught(|| check(op, &sample))
                    .map_err(|e| format!("{e}\n  seed {seed}, {dtype}, {}", describe(&sample)))?;
            }
        }
        Ok(())
    });
}

/// The samples of one seed; with the first seed the special points, too.
pub fn samples(op: &Op, seed: u64, dtype: DType) -> Vec<Sample> {
    let info = (op.info)();
    let mut g = Gen::new(seed, dtype);
    let mut all = (info.samples)(&mut g);
    if seed == 0 {
        all.extend((info.specials)(&mut g));
    }
    all
}

/// The attributes and inputs of a call, to repeat it.
pub fn describe(sample: &Sample) -> String {
    let mut s = format!("attributes {{{}}}", sample.attrs);
    for x in &sample.inputs {
        let values: Vec<f64> = x.to_f64_vec().into_iter().take(24).collect();
        let _ = write!(s, "\n  {} {} {values:?}", x.dtype(), x.shape());
    }
    s
}

/// Calls an operation on inputs that it is lent.
pub fn lent(op: &'static Op, attrs: &Attrs, inputs: &[AnyTensor]) -> Result<Outputs> {
    let mut args: Vec<Arg<'_>> = inputs.iter().map(Arg::Ref).collect();
    apply(op, attrs.clone(), &mut args)
}

/// Calls an operation on inputs that it is given.
pub fn owned(op: &'static Op, attrs: &Attrs, inputs: Vec<AnyTensor>) -> Result<Outputs> {
    let mut args: Vec<Arg<'_>> = inputs.into_iter().map(Arg::Own).collect();
    apply(op, attrs.clone(), &mut args)
}

/// A dense tensor of the same elements over memory of its own.
pub fn fresh(x: &AnyTensor) -> AnyTensor {
    let contiguous = registry::find("contiguous").expect("an operation of the registry");
    lent(contiguous, &Attrs::NONE, std::slice::from_ref(x)).expect("any tensor can be copied").into_first()
}

/// In precision `dtype`, of whatever kind that is.
pub fn cast(x: &AnyTensor, dtype: DType) -> AnyTensor {
    let cast = registry::find("cast").expect("an operation of the registry");
    lent(cast, &wengert::attrs! { dtype: dtype }, std::slice::from_ref(x)).expect("any tensor casts").into_first()
}

/// Whether the operation has a gradient rule.
pub fn has_rule(op: &Op) -> bool {
    matches!(op.gradient, Gradient::Rule { .. })
}

/// The sum over all float outputs of each element times a weight of its own: a scalar that depends on every element.
pub fn projected(outputs: &Outputs) -> Option<Tensor> {
    let mut total: Option<Tensor> = None;
    for (k, y) in outputs.iter().filter(|y| y.dtype().is_float()).enumerate() {
        let weights: Vec<f64> = (0..y.elements()).map(|i| ((i * 7 + k * 3) as f64 * 0.618 + 0.3).cos() + 0.2).collect();
        let weights = Tensor::from_vec(weights, y.shape()).to_dtype(y.dtype());
        let part = (y.float().expect("a float") * weights).sum();
        total = Some(match total {
            // Statistics beside a result may be of a wider precision.
            Some(t) => &t + part.to_dtype(t.dtype()),
            None => part,
        });
    }
    total
}

/// The inputs with every float one a variable.
pub fn as_variables(inputs: &[AnyTensor]) -> Vec<AnyTensor> {
    let variable = |x: &AnyTensor| match x.float() {
        Ok(x) => x.requires_grad().into(),
        Err(_) => x.clone(),
    };
    inputs.iter().map(variable).collect()
}

/// The gradients of the float inputs; zeros where none arrived.
pub fn gradients_of(inputs: &[AnyTensor], outputs: &Outputs) -> Vec<AnyTensor> {
    let grads = match projected(outputs) {
        Some(loss) if loss.is_tracked() => loss.backward(),
        _ => Gradients::default(),
    };
    let floats = inputs.iter().filter_map(|x| x.float().ok());
    floats.map(|x| grads.get(&x).cloned().unwrap_or_else(|| x.detach().zeros_like()).into()).collect()
}

/// The bits of a tensor's elements: NaN equals itself, 0 differs from -0.
pub fn bits(x: &AnyTensor) -> Vec<u64> {
    match x.dtype() {
        d if d.is_int() => x.int().expect("integers").to_vec::<i64>().into_iter().map(|v| v as u64).collect(),
        _ => x.to_f64_vec().into_iter().map(f64::to_bits).collect(),
    }
}

/// That two lists of tensors have the same shapes, precisions and bits.
pub fn same_bits(what: &str, a: &[AnyTensor], b: &[AnyTensor]) -> Result<(), String> {
    for (k, (a, b)) in pairs(what, a, b)?.enumerate() {
        if bits(a) != bits(b) {
            return Err(format!("{what} {k}: {} against {}", first_few(a), first_few(b)));
        }
    }
    Ok(())
}

/// That two lists of tensors have the same shapes and precisions, and elements that differ by at most `tolerance`
/// times the largest element, or 1.
pub fn close(what: &str, tolerance: f64, a: &[AnyTensor], b: &[AnyTensor]) -> Result<(), String> {
    for (k, (a, b)) in pairs(what, a, b)?.enumerate() {
        within(tolerance, &a.to_f64_vec(), &b.to_f64_vec()).map_err(|e| format!("{what} {k}: {e}"))?;
    }
    Ok(())
}

/// That numbers differ by at most `tolerance` times the largest finite one, or 1.
pub fn within(tolerance: f64, a: &[f64], b: &[f64]) -> Result<(), String> {
    let largest = b.iter().filter(|v| v.is_finite()).fold(1.0, |m: f64, v| m.max(v.abs()));
    let wrong = a.iter().zip(b).position(|(a, b)| {
        let same = a == b || a.is_nan() && b.is_nan();
        let close = (a - b).abs() <= tolerance * largest;
        !same && !close
    });
    match wrong {
        Some(i) => Err(format!("element {i} is {:?} and {:?}", a[i], b[i])),
        None => Ok(()),
    }
}

fn pairs<'a>(
    what: &str,
    a: &'a [AnyTensor],
    b: &'a [AnyTensor],
) -> Result<impl Iterator<Item = (&'a AnyTensor, &'a AnyTensor)> + use<'a>, String> {
    let form = |x: &[AnyTensor]| -> Vec<String> { x.iter().map(|x| format!("{} {}", x.dtype(), x.shape())).collect() };
    if form(a) != form(b) {
        return Err(format!("{what}: {:?} against {:?}", form(a), form(b)));
    }
    Ok(a.iter().zip(b))
}

fn first_few(x: &AnyTensor) -> String {
    format!("{:?}", x.to_f64_vec().into_iter().take(12).collect::<Vec<f64>>())
}
