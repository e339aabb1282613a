//! Memory that is handed over may be reused, memory that is shared or saved may not; the results are the same.

use wengert::dispatch::Attrs;
use wengert::{AnyTensor, DType, Differentiate, Tensor};

use crate::call::{bits, every_sample, fresh, has_rule, lent, owned, projected, same_bits};

#[test]
fn owned_inputs_give_the_same_bits_and_shared_ones_stay() {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::I64, DType::U8, DType::Bool] {
        every_sample(dtype, 20, |op, sample| {
            let before: Vec<_> = sample.inputs.iter().map(bits).collect();
            let shared = lent(op, &sample.attrs, &sample.inputs).map_err(|e| e.to_string())?;
            let given =
                owned(op, &sample.attrs, sample.inputs.iter().map(fresh).collect()).map_err(|e| e.to_string())?;
            same_bits("output for owned inputs", &given, &shared)?;
            // Handed over while another handle still reads them.
            let given = owned(op, &sample.attrs, sample.inputs.clone()).map_err(|e| e.to_string())?;
            same_bits("output for inputs given but shared", &given, &shared)?;
            match sample.inputs.iter().map(bits).eq(before) {
                true => Ok(()),
                false => Err("a shared input was overwritten".into()),
            }
        });
    }
}

/// The inputs as results of recorded operations, in memory of their own, with the variables they came from.
fn tracked(inputs: &[AnyTensor]) -> (Vec<AnyTensor>, Vec<Tensor>) {
    let mut variables = Vec::new();
    let inputs = inputs.iter().map(|x| match x.float() {
        Ok(x) => {
            let variable = x.requires_grad();
            variables.push(variable.clone());
            fresh(variable.as_any())
        }
        Err(_) => x.clone(),
    });
    (inputs.collect(), variables)
}

#[test]
fn what_a_gradient_rule_saved_is_not_overwritten() {
    every_sample(DType::F64, 30, |op, sample| {
        if !has_rule(op) {
            return Ok(());
        }
        let gradients = |give: bool| -> Result<Vec<AnyTensor>, String> {
            let (inputs, variables) = tracked(&sample.inputs);
            let outputs = match give {
                true => owned(op, &sample.attrs, inputs),
                false => lent(op, &sample.attrs, &inputs),
            };
            let mut outputs = outputs.map_err(|e| e.to_string())?;
            if give {
                // What follows may take the outputs' memory, unless the rule saved them.
                let double = wengert::registry::find("mul_scalar").expect("an operation of the registry");
                for y in outputs.iter_mut().filter(|y| y.dtype().is_float()) {
                    let empty: AnyTensor = Tensor::zeros([0]).into();
                    let last = std::mem::replace(y, empty);
                    let attrs = Attrs::NONE.with("number", 2.0);
                    *y = owned(double, &attrs, vec![last]).map_err(|e| e.to_string())?.into_first();
                }
            }
            let Some(loss) = projected(&outputs) else { return Ok(Vec::new()) };
            let loss = if give { loss * 0.5 } else { loss };
            drop(outputs);
            if !loss.is_tracked() {
                return Ok(Vec::new());
            }
            let grads = loss.backward();
            Ok(variables
                .iter()
                .map(|v| grads.get(v).cloned().unwrap_or_else(|| v.detach().zeros_like()).into())
                .collect())
        };
        // Doubling and halving are exact.
        same_bits("gradient after owned use", &gradients(true)?, &gradients(false)?)
    });
}
