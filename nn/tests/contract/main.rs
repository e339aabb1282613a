//! What every layer must do. A layer is a row of the table in `layers.rs`, and has a file of `../fixtures`, which holds
//! what PyTorch makes of it.

mod layers;
mod pytorch;

use std::panic::{AssertUnwindSafe, catch_unwind};

use layers::{Row, rows};
use wengert_autograd::{Differentiate, GradCheck};
use wengert_nn::{Module, Walk};
use wengert_tensor::io::{tensors_from_bytes, tensors_to_bytes};
use wengert_tensor::{AnyTensor, DType, Rng, Tensor};

/// Runs `check` for every row; one test for all of them, so that one failure does not hide another.
fn for_every_row(check: impl Fn(&Row)) {
    let failed: Vec<String> = rows()
        .iter()
        .filter(|row| catch_unwind(AssertUnwindSafe(|| check(row))).is_err())
        .map(|row| row.name.to_string())
        .collect();
    assert!(failed.is_empty(), "failed for {failed:?}; the reasons are above");
}

/// The weights that the outputs are summed with, as in the script of the fixtures.
fn weights(y: &Tensor) -> Tensor {
    let values: Vec<f64> = (0..y.elements()).map(|i| ((i % 7) as f64 - 3.0) * 0.5 + 0.25).collect();
    Tensor::from_vec(values, y.shape()).to_dtype(y.dtype())
}

/// The sum of all outputs, weighted.
fn loss(outputs: &[Tensor]) -> Tensor {
    let sums: Vec<Tensor> = outputs.iter().map(|y| (y * weights(y)).sum()).collect();
    Tensor::stack(&sums, 0).sum()
}

/// The inputs, those of floats tracked.
fn tracked(inputs: &[AnyTensor]) -> Vec<AnyTensor> {
    inputs.iter().map(|x| x.float().map_or_else(|_| x.clone(), |x| x.requires_grad().into())).collect()
}

/// A layer as a part of a model, at the path `net.layer`.
struct Model<'a>(&'a dyn Module);

impl Module for Model<'_> {
    fn visit(&self, walk: &mut Walk<'_>) {
        struct Net<'a>(&'a dyn Module);
        impl Module for Net<'_> {
            fn visit(&self, walk: &mut Walk<'_>) {
                walk.child("layer", self.0);
            }
        }
        walk.child("net", &Net(self.0));
    }
}

#[test]
fn every_layer_that_is_exported_has_a_row() {
    /// What the crate exports that is no layer.
    const OTHERS: &[&str] = &[
        "Batches",
        "Buffer",
        "Epoch",
        "Fan",
        "Form",
        "Init",
        "Layer",
        "LoadReport",
        "Mask",
        "Mismatch",
        "Mode",
        "Module",
        "Param",
        "Part",
        "Row",
        "Scope",
        "StateDict",
        "Summary",
        "Walk",
    ];
    let text = include_str!("../../src/lib.rs");
    let exports = text.split("pub use ").skip(1).flat_map(|e| {
        let names = e.split(';').next().expect("an export ends").rsplit("::").next().expect("a name");
        names.split([',', '{', '}']).map(str::trim).filter(|n| !n.is_empty()).map(String::from).collect::<Vec<_>>()
    });
    let rows = rows();
    let covered = |layer: &str| rows.iter().any(|row| row.name.split('-').next() == Some(layer));
    let missing: Vec<String> = exports.filter(|e| !OTHERS.contains(&e.as_str()) && !covered(e)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn saved_and_loaded_a_layer_is_the_same() {
    for_every_row(|row| {
        let (a, b) = (row.layer(), row.layer());
        let bytes = tensors_to_bytes(a.module.state_dict().iter()).unwrap();
        let state = tensors_from_bytes(&bytes).unwrap().into_iter().collect();
        b.module.load_state_dict(&state).unwrap();
        assert_eq!(tensors_to_bytes(b.module.state_dict().iter()).unwrap(), bytes, "{}", row.name);
    });
}

#[test]
fn a_gradient_reaches_every_parameter() {
    for_every_row(|row| {
        let layer = row.layer();
        let inputs = row.inputs();
        let params = layer.module.named_parameters();
        if params.is_empty() {
            return;
        }
        let grads = loss(&(layer.run)(&inputs)).backward();
        for (name, param) in params {
            assert!(grads.of(&param).abs().sum().item() > 0.0, "{}: none for {name}", row.name);
        }
    });
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for_every_row(|row| {
        let layer = row.layer();
        let inputs = row.inputs();
        let floats: Vec<Tensor> = inputs.iter().filter_map(|x| x.float().ok()).collect();
        if !floats.is_empty() {
            let f = |xs: &[Tensor]| {
                let mut xs = xs.iter();
                let place = |x: &AnyTensor| match x.dtype().is_float() {
                    true => xs.next().expect("as many as there are floats").clone().into(),
                    false => x.clone(),
                };
                (layer.run)(&inputs.iter().map(place).collect::<Vec<_>>())
            };
            GradCheck::new().check(f, &floats).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        }
        if row.name == "Embedding-padding" {
            // The row of the padding index is kept from the gradient: it is no derivative there.
            return;
        }
        let value = || loss(&(layer.run)(&inputs));
        let params = layer.module.named_parameters();
        if params.is_empty() {
            return;
        }
        let (grads, mut rng) = (value().backward(), Rng::new(1));
        for (name, param) in params {
            let (kept, n) = (param.value().to_constant(), param.elements());
            let gradient = grads.of(&param).to_vec::<f64>();
            for _ in 0..4 {
                let i = (rng.next_u64() % n as u64) as usize;
                let moved = |by: f64| {
                    let mut values = kept.to_vec::<f64>();
                    values[i] += by;
                    param.set(&Tensor::from_vec(values, kept.shape()).to_dtype(DType::F64));
                    value().item()
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                param.set(&kept);
                let scale = gradient[i].abs().max(1.0);
                assert!((slope - gradient[i]).abs() < 1e-6 * scale, "{} {name} {i}: {slope} {}", row.name, gradient[i]);
            }
        }
    });
}

#[test]
fn a_step_against_the_gradient_lowers_a_loss() {
    for_every_row(|row| {
        let layer = row.layer();
        let inputs = row.inputs();
        let params = layer.module.parameters();
        if params.is_empty() {
            return;
        }
        let value = || {
            let outputs = (layer.run)(&inputs);
            let squares: Vec<Tensor> = outputs.iter().map(|y| (y - weights(y)).square().mean()).collect();
            Tensor::stack(&squares, 0).sum()
        };
        let before = value();
        let grads = before.backward();
        for param in &params {
            param.set(&(param.value().detach() - grads.of(param) * 1e-3));
        }
        assert!(value().item() < before.item(), "{}: {} to {}", row.name, before.item(), value().item());
    });
}

#[test]
fn samples_of_a_batch_do_not_see_each_other() {
    for_every_row(|row| {
        let layer = row.layer();
        layer.module.eval();
        if row.axes.is_empty() {
            return;
        }
        fn second(x: &AnyTensor, axis: Option<isize>) -> AnyTensor {
            match (axis, x.dtype()) {
                (None, _) => x.clone(),
                (Some(axis), DType::Bool) => x.bool().unwrap().narrow(axis, 1, 1).into(),
                (Some(axis), d) if d.is_int() => x.int().unwrap().narrow(axis, 1, 1).into(),
                (Some(axis), _) => x.float().unwrap().narrow(axis, 1, 1).into(),
            }
        }
        let inputs = row.inputs();
        let axis = |i: usize| row.axes.get(i).copied().unwrap_or(row.axes[0]);
        let one: Vec<AnyTensor> = inputs.iter().enumerate().map(|(i, x)| second(x, axis(i))).collect();
        let (whole, alone) = ((layer.run)(&inputs), (layer.run)(&one));
        for (i, (whole, alone)) in whole.iter().zip(&alone).enumerate() {
            // States of recurrent layers have the batch on axis 1.
            let axis = if i > 0 { 1 } else { row.axes[0].expect("the first input has a batch") };
            let part = whole.narrow(axis, 1, 1);
            assert_eq!(part.shape(), alone.shape(), "{}", row.name);
            assert!((part - alone).abs().to_vec::<f64>().iter().all(|d| *d < 1e-12), "{}", row.name);
        }
    });
}

#[test]
fn a_wrong_input_is_refused_at_the_path_of_the_layer() {
    for_every_row(|row| {
        let layer = row.layer();
        if row.wrong.is_empty() {
            return;
        }
        Model(&*layer.module).parameters();
        let text = catch_unwind(AssertUnwindSafe(|| (layer.run)(&row.wrong)));
        let Err(payload) = text else { panic!("{}: the wrong input is not refused", row.name) };
        let text = *payload.downcast::<String>().expect("a text of values");
        assert!(text.contains(row.says), "{}: `{}` is not in\n{text}", row.name, row.says);
        assert!(text.contains("in module `net.layer"), "{}: no path in\n{text}", row.name);
    });
}

#[test]
fn precisions_are_those_of_the_parameters() {
    for_every_row(|row| {
        let layer = row.layer();
        let wide = (layer.run)(&row.inputs());
        let layer = row.layer();
        layer.module.to_dtype(DType::F32);
        let narrow = |x: AnyTensor| x.float().map_or(x, |x| x.to_dtype(DType::F32).into());
        let inputs: Vec<AnyTensor> = row.inputs().into_iter().map(narrow).collect();
        for (y, wide) in (layer.run)(&inputs).iter().zip(&wide) {
            assert_eq!(y.dtype(), DType::F32, "{}", row.name);
            let off = (y.to_dtype(DType::F64) - wide).abs().to_vec::<f64>();
            assert!(off.iter().all(|d| *d < 1e-4), "{}: {off:?}", row.name);
        }
    });
}
