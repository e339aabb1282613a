//! Values and gradients against PyTorch and NumPy: the files of `fixtures`, which `fixtures/make.py` wrote.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use wengert::dispatch::{Arg, Attrs, Op, Outputs, apply};
use wengert::registry::{Family, find, ops};
use wengert::{AnyTensor, Backward, Bool, DType, Differentiate, Int, Result, Tensor};

#[path = "fixtures/methods.rs"]
mod methods;

/// What a case calls.
enum Callee {
    /// An operation of the registry.
    Op(&'static Op),
    /// A method that is made of several.
    Method(methods::Method),
}

/// One call with what it must give.
struct Case {
    name: String,
    callee: Callee,
    attrs: Attrs,
    inputs: Vec<Values>,
    outputs: Vec<Values>,
    /// For each input the gradient of the first output, weighted by [`weights`].
    gradients: Vec<Option<Vec<f64>>>,
    exactness: Exactness,
    /// Whether all floats among the inputs are exact in single precision.
    single: bool,
    /// To find it: the file, and the number in it.
    place: String,
}

/// How exact a result must be.
enum Exactness {
    /// To the last bit.
    Exact,
    /// To 1e-12 in double precision, to 4 units in the last place in single precision.
    Elementwise,
    /// To the rounding of as many terms of such size: the number times the sum of magnitudes, for each element.
    Sum(Vec<f64>),
}

/// A tensor as the file holds it.
struct Values {
    dtype: DType,
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Values {
    fn tensor(&self, float: DType) -> AnyTensor {
        match self.dtype {
            DType::Bool => {
                let values = self.data.iter().map(|&v| v != 0.0).collect();
                Tensor::<Bool>::from_vec(values, &self.shape[..]).into()
            }
            d if d.is_int() => {
                let values = self.data.iter().map(|&v| v as i64).collect();
                Tensor::<Int>::from_vec(values, &self.shape[..]).to_dtype(d).into()
            }
            _ => Tensor::from_vec(self.data.clone(), &self.shape[..]).to_dtype(float).into(),
        }
    }
}

fn dtype(name: &str) -> Option<DType> {
    DType::ALL.into_iter().find(|d| d.name() == name)
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|v| v.parse().expect("a number")).collect()
}

fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json[name].as_array().expect("a list")
}

fn values(json: &Json) -> Values {
    let shape = list(json, "shape").iter().map(|n| n.as_u64().expect("a size") as usize).collect();
    let text = |name: &str| json[name].as_str().expect("a string");
    Values { dtype: dtype(text("dtype")).expect("a precision"), shape, data: numbers(text("data")) }
}

fn attrs(json: &Json) -> Attrs {
    json.as_object().expect("attributes by name").iter().fold(Attrs::NONE, |all, (name, value)| {
        let name: &'static str = name.clone().leak();
        match value {
            Json::Bool(v) => all.with(name, *v),
            Json::Number(v) if v.is_i64() => all.with(name, v.as_i64().expect("an integer")),
            Json::Number(v) => all.with(name, v.as_f64().expect("a number")),
            Json::String(v) => match (dtype(v), v.parse::<f64>()) {
                (Some(dtype), _) => all.with(name, dtype),
                // JSON has no infinity.
                (None, Ok(number)) => all.with(name, number),
                (None, Err(_)) => all.with(name, &*v.clone().leak()),
            },
            Json::Array(v) if v.iter().any(|v| !v.is_i64()) => {
                let v: Vec<f64> = v.iter().map(|v| v.as_f64().expect("a number")).collect();
                all.with(name, &v[..])
            }
            Json::Array(v) => {
                let v: Vec<i64> = v.iter().map(|v| v.as_i64().expect("an integer")).collect();
                all.with(name, &v[..])
            }
            other => panic!("an attribute is {other}"),
        }
    })
}

fn cases() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let entries = std::fs::read_dir(folder).expect("the folder of cases");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths.iter().flat_map(|path| family(path)).collect()
}

fn family(path: &Path) -> Vec<Case> {
    let name = path.file_name().expect("a file").to_string_lossy();
    let file: Json = serde_json::from_str(&std::fs::read_to_string(path).expect("a file of cases")).expect("JSON");
    let read = |(number, json): (usize, &Json)| {
        let op = json["op"].as_str().expect("a name");
        let place = format!("{name} case {number}, {op}");
        Case {
            callee: match (find(op), methods::find(op)) {
                (Some(op), None) => Callee::Op(op),
                (None, Some(method)) => Callee::Method(method),
                _ => panic!("{place}: there is no such operation or method, or there are two"),
            },
            name: op.to_string(),
            attrs: attrs(&json["attrs"]),
            inputs: list(json, "inputs").iter().map(values).collect(),
            outputs: list(json, "outputs").iter().map(values).collect(),
            gradients: list(json, "grads").iter().map(|g| g.as_str().map(numbers)).collect(),
            exactness: match json["kind"].as_str().expect("a kind") {
                "exact" => Exactness::Exact,
                "elementwise" => Exactness::Elementwise,
                "sum" => Exactness::Sum(numbers(json["bound"].as_str().expect("a bound"))),
                other => panic!("{place}: kind {other}"),
            },
            single: json["f32"].as_bool().expect("whether it is exact in single precision"),
            place,
        }
    };
    list(&file, "cases").iter().enumerate().map(read).collect()
}

/// The weights of a first output's elements in the sum that is differentiated.
fn weights(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i % 7) as f64 * 0.5 - 1.25).collect()
}

/// The distance of two numbers in units in the last place of single precision.
fn ulps(a: f64, b: f64) -> u64 {
    let place = |v: f64| {
        let bits = (v as f32).to_bits() as i64;
        if bits < 1 << 31 { bits } else { (1 << 31) - bits }
    };
    place(a).abs_diff(place(b))
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

impl Case {
    fn call(&self, args: &mut [Arg<'_>]) -> Result<Outputs> {
        match self.callee {
            Callee::Op(op) => apply(op, self.attrs.clone(), args),
            Callee::Method(method) => {
                let inputs: Vec<AnyTensor> = args.iter().map(|a| a.tensor().clone()).collect();
                Ok(Outputs::from_iter([method(&inputs, &self.attrs)?.into()]))
            }
        }
    }

    fn check(&self, how: &str, float: DType, outputs: &Outputs, failures: &mut Vec<String>) {
        for (k, (own, reference)) in outputs.iter().zip(&self.outputs).enumerate() {
            let place = format!("{} {{{}}} {float} {how}: output {k}", self.place, self.attrs);
            if own.shape()[..] != reference.shape[..] {
                failures.push(format!("{place} has shape {}, should be {:?}", own.shape(), reference.shape));
                continue;
            }
            let right_dtype = match reference.dtype.is_float() {
                // Where the result's precision follows the input's.
                true => own.dtype() == float || own.dtype() == reference.dtype,
                false => own.dtype() == reference.dtype,
            };
            if !right_dtype {
                failures.push(format!("{place} is {}, should be {}", own.dtype(), reference.dtype));
                continue;
            }
            let values = own.to_f64_vec();
            let fits = |i: usize| {
                let (a, b) = (values[i], reference.data[i]);
                let rounded = if own.dtype() == DType::F32 { b as f32 as f64 } else { b };
                same(a, rounded)
                    || match &self.exactness {
                        // Further outputs are positions, or statistics.
                        _ if k > 0 => (a - b).abs() <= 64.0 * own.dtype().epsilon() * b.abs().max(1.0),
                        Exactness::Exact => false,
                        Exactness::Elementwise if a.is_nan() || b.is_nan() => false,
                        Exactness::Elementwise if own.dtype() == DType::F32 => ulps(a, b) <= 4,
                        Exactness::Elementwise => (a - b).abs() <= 1e-12 * b.abs() + 2e-323,
                        Exactness::Sum(bound) => (a - b).abs() <= own.dtype().epsilon() * bound[i],
                    }
            };
            if let Some(i) = (0..values.len()).find(|&i| !fits(i)) {
                let inputs: Vec<f64> = self.inputs.iter().filter_map(|x| x.data.get(i).copied()).collect();
                failures.push(format!(
                    "{place}, element {i} of {} is {:e}, should be {:e} (inputs there {inputs:?})",
                    own.shape(),
                    values[i],
                    reference.data[i]
                ));
            }
        }
        // Where the largest elements lie only a gradient rule reads, so it is not found where none will.
        let for_rules = self.name.contains("max_pool") && !outputs[0].is_tracked();
        if outputs.len() < if for_rules { 1 } else { self.outputs.len() } {
            failures.push(format!("{} {how}: {} outputs", self.place, outputs.len()));
        }
    }
}

/// The same elements, laid out with the axes reversed, behind an offset.
fn transposed(x: &AnyTensor) -> AnyTensor {
    fn turn<K: wengert::Kind>(x: Tensor<K>) -> AnyTensor {
        let reversed: Vec<usize> = (0..x.rank()).rev().collect();
        let turned = x.permute(&reversed[..]).contiguous();
        let sizes: Vec<isize> = [2].into_iter().chain(turned.shape().iter().map(|&n| n as isize)).collect();
        let twice = turned.unsqueeze(0).expand(&sizes[..]).contiguous();
        twice.narrow(0, 1, 1).squeeze(0).permute(&reversed[..]).into()
    }
    match x.dtype() {
        d if d.is_float() => turn(x.float().expect("floats")),
        d if d.is_int() => turn(x.int().expect("integers")),
        _ => turn(x.bool().expect("truth values")),
    }
}

fn report(failures: &[String]) {
    let more = failures.len().saturating_sub(60);
    let shown = failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "\n{shown}\nand {more} more");
}

#[test]
fn values_agree() {
    let mut failures = Vec::new();
    for case in cases() {
        for float in [DType::F64, DType::F32] {
            if float == DType::F32 && (!case.single || case.inputs.iter().all(|x| !x.dtype.is_float())) {
                continue;
            }
            let inputs = || case.inputs.iter().map(|x| x.tensor(float)).collect::<Vec<AnyTensor>>();
            let lent = inputs();
            let views: Vec<AnyTensor> = lent.iter().map(transposed).collect();
            let mut ways: Vec<(&str, Vec<Arg<'_>>)> = vec![
                ("lent", lent.iter().map(Arg::Ref).collect()),
                ("not contiguous", views.iter().map(Arg::Ref).collect()),
                ("owned", inputs().into_iter().map(Arg::Own).collect()),
                ("owned and shared", lent.iter().map(|x| Arg::Own(x.clone())).collect()),
            ];
            for (how, args) in &mut ways {
                match case.call(args) {
                    Ok(outputs) => case.check(how, float, &outputs, &mut failures),
                    Err(e) => failures.push(format!("{} {float} {how}: {e}", case.place)),
                }
            }
        }
    }
    report(&failures);
}

#[test]
fn gradients_agree() {
    let mut failures = Vec::new();
    for case in cases() {
        if case.gradients.iter().all(Option::is_none) {
            continue;
        }
        let tracked = case.inputs.iter().zip(&case.gradients).map(|(x, g)| match g {
            Some(_) => x.tensor(DType::F64).float().expect("floats").requires_grad().into(),
            None => x.tensor(DType::F64),
        });
        let inputs: Vec<AnyTensor> = tracked.collect();
        let mut args: Vec<Arg<'_>> = inputs.iter().map(Arg::Ref).collect();
        let outputs = case.call(&mut args).unwrap_or_else(|e| panic!("{e}"));
        case.check("tracked", DType::F64, &outputs, &mut failures);
        let first = outputs[0].float().expect("floats");
        let cotangent = Tensor::from_vec(weights(first.elements()), first.shape());
        let grads = first.backward_with(Backward::new().cotangent(&cotangent));
        for (i, (x, reference)) in inputs.iter().zip(&case.gradients).enumerate() {
            let Some(reference) = reference else { continue };
            let own = grads.of(x.float().expect("floats")).to_vec::<f64>();
            let largest = reference.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            let wrong = (0..own.len()).find(|&j| (own[j] - reference[j]).abs() > 1e-12 * largest);
            if own.len() != reference.len() || wrong.is_some() {
                let at = wrong.unwrap_or(0);
                failures.push(format!(
                    "{} {{{}}}: gradient {i} at {at} is {:?}, should be {:?}",
                    case.place,
                    case.attrs,
                    own.get(at),
                    reference.get(at)
                ));
            }
        }
    }
    report(&failures);
}

#[test]
fn every_operation_with_a_counterpart_has_cases() {
    let cases = cases();
    let covered: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    let missing: Vec<&str> = ops()
        .filter(|op| {
            let info = (op.info)();
            let counterpart = !info.torch.is_empty() || !info.numpy.is_empty();
            // Random draws follow another generator: their distributions are tested where they are defined.
            counterpart && info.family != Family::Random && op.name != "dropout" && !covered.contains(op.name)
        })
        .map(|op| op.name)
        .collect();
    assert!(missing.is_empty(), "no cases for {missing:?}");
}
