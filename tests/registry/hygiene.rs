//! The registry itself: complete, without duplicates, and with samples worth the name.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use wengert::dispatch::{Interceptor, OpCall, Outputs, with_interceptor};
use wengert::registry::{Sample, find, ops};
use wengert::tape::OpRef;
use wengert::{DType, Result};

use crate::call::{as_variables, every_op, gradients_of, has_rule, lent, samples};

#[test]
fn names_are_unique_and_found() {
    let mut seen = BTreeSet::new();
    for op in ops() {
        assert!(seen.insert(op.name), "two operations are called `{}`", op.name);
        assert!(std::ptr::eq(find(op.name).expect("it is there"), op));
        assert!(op.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "`{}`", op.name);
    }
    assert!(seen.len() > 40, "only {} operations", seen.len());
    assert!(find("no such operation").is_none());
}

#[test]
fn entries_are_complete() {
    every_op(|op| {
        let info = (op.info)();
        if info.precisions.is_empty() {
            return Err("lists no precision".into());
        }
        let samples: Vec<_> = (0..40).flat_map(|seed| samples(op, seed, info.precisions[0])).collect();
        let full = |s: &Sample| s.inputs.iter().all(|x| x.elements() > 0) && s.inputs.iter().any(|x| x.elements() > 1);
        if !samples.iter().any(|s| s.inputs.is_empty() || full(s)) {
            return Err("has no sample whose inputs all have elements".into());
        }
        let most = samples.iter().map(|s| s.inputs.len()).max().unwrap_or(0);
        if most < op.operands.len() {
            return Err(format!("names {} operands, and no sample has more than {most}", op.operands.len()));
        }
        if has_rule(op) {
            let tracked = samples.iter().any(|s| {
                let variables = as_variables(&s.inputs);
                let outputs = lent(op, &s.attrs, &variables).expect("a sample is taken");
                outputs.iter().any(|y| y.is_tracked() && y.elements() > 0)
            });
            if !tracked {
                return Err("has a gradient rule, and no sample whose result is tracked".into());
            }
        }
        Ok(())
    });
}

/// Notes which operations run.
#[derive(Default)]
struct Seen(RefCell<BTreeSet<&'static str>>);

impl Interceptor for Seen {
    fn call(&self, call: &mut OpCall<'_, '_>) -> Result<Outputs> {
        if let OpRef::Static(op) = call.op
            && !find(op.name).is_some_and(|known| std::ptr::eq(known, *op))
        {
            self.0.borrow_mut().insert(op.name);
        }
        call.proceed()
    }
}

#[test]
fn gradient_rules_use_only_operations_of_the_registry() {
    let unknown = Rc::new(Seen::default());
    with_interceptor(unknown.clone(), || {
        for op in ops().filter(|op| has_rule(op)) {
            for sample in (0..6).flat_map(|seed| samples(op, seed, DType::F64)) {
                let variables = as_variables(&sample.inputs);
                gradients_of(&variables, &lent(op, &sample.attrs, &variables).expect("a sample is taken"));
            }
        }
    });
    assert!(unknown.0.borrow().is_empty(), "not in the registry: {:?}", unknown.0.borrow());
}

#[test]
fn every_operation_that_is_defined_is_registered() {
    // A `static` that misses from its file's `OPS` would be an operation without tests.
    let mut missing = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tensor/src/ops")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources of the operations").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file");
            let text = text.split("#[cfg(test)]").next().expect("at least one part");
            for (at, _) in text.match_indices("Op {\n") {
                let Some(rest) = text[at..].lines().nth(1).and_then(|l| l.trim().strip_prefix("name: \"")) else {
                    continue;
                };
                let name = rest.split('"').next().expect("at least one part");
                if find(name).is_none() {
                    missing.push(format!("{name} in {}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "defined, and not in the registry: {missing:?}");
}
