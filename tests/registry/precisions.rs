//! Every precision that an entry lists gives the result of the widest one; every other one is a clear error.

use wengert::dispatch::{Attrs, Value};
use wengert::{AnyTensor, DType};

use crate::call::{
    as_variables, cast, describe, every_op, every_sample, gradients_of, has_rule, lent, samples, within,
};

/// The attributes of an operation without inputs, for another precision.
fn in_precision(attrs: &Attrs, dtype: DType) -> Attrs {
    attrs.iter().fold(Attrs::NONE, |all, (name, value)| match value {
        Value::DType(_) => all.with(name, dtype),
        other => all.with(name, other.clone()),
    })
}

#[test]
fn narrow_precisions_agree_with_the_widest() {
    for dtype in DType::ALL {
        let wide = if dtype.is_float() { DType::F64 } else { DType::I64 };
        every_sample(dtype, 30, |op, sample| {
            let own = lent(op, &sample.attrs, &sample.inputs).map_err(|e| e.to_string())?;
            if dtype == wide || !(op.info)().precisions.contains(&wide) {
                return Ok(());
            }
            // An index stays an index.
            let usual = &samples(op, 0, wide)[0].inputs;
            let follows = |i: usize| dtype.is_float() || usual.get(i).is_none_or(|x| x.dtype() == wide);
            let widen = |(i, x): (usize, &AnyTensor)| match x.dtype() == dtype && follows(i) {
                true => cast(x, wide),
                false => x.clone(),
            };
            let widened: Vec<AnyTensor> = sample.inputs.iter().enumerate().map(widen).collect();
            let attrs = if sample.inputs.is_empty() { in_precision(&sample.attrs, wide) } else { sample.attrs.clone() };
            let reference = lent(op, &attrs, &widened).map_err(|e| e.to_string())?;
            if own.len() != reference.len() {
                return Err(format!("{} outputs in {dtype}, {} in {wide}", own.len(), reference.len()));
            }
            for (k, (own, reference)) in own.iter().zip(&reference).enumerate() {
                let follows = own.dtype() == dtype && reference.dtype() == wide;
                // Masks and positions are what they are; a conversion gives what it is asked for.
                let asked = sample.attrs.iter().any(|(_, v)| matches!(v, Value::DType(_)));
                let fixed = own.dtype() == reference.dtype() && (own.dtype() != DType::F64 || asked);
                // Statistics of 16-bit floats stay in the precision that they were computed in.
                let statistic = k > 0 && dtype.size() == 2 && own.dtype() == DType::F32;
                if !(follows || fixed || statistic) {
                    return Err(format!("output {k} is {} for {dtype}, {} for {wide}", own.dtype(), reference.dtype()));
                }
                if own.shape() != reference.shape() {
                    return Err(format!("output {k} is {} in {dtype}, {} in {wide}", own.shape(), reference.shape()));
                }
                let rounded = if own.dtype().is_float() { reference.clone() } else { cast(reference, own.dtype()) };
                let tolerance = 32.0 * own.dtype().epsilon();
                within(tolerance, &own.to_f64_vec(), &rounded.to_f64_vec()).map_err(|e| format!("output {k}: {e}"))?;
            }
            Ok(())
        });
    }
}

#[test]
fn gradients_in_narrow_precisions_agree_with_double() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        every_sample(dtype, 30, |op, sample| {
            // At a special point the rounded input may lie on the other side.
            if !has_rule(op) || sample.gradients.is_some() {
                return Ok(());
            }
            let run = |inputs: &[AnyTensor]| -> Result<Vec<AnyTensor>, String> {
                let variables = as_variables(inputs);
                let outputs = lent(op, &sample.attrs, &variables).map_err(|e| e.to_string())?;
                Ok(gradients_of(&variables, &outputs))
            };
            let widened: Vec<AnyTensor> = sample
                .inputs
                .iter()
                .map(|x| if x.dtype().is_float() { cast(x, DType::F64) } else { x.clone() })
                .collect();
            let (own, reference) = (run(&sample.inputs)?, run(&widened)?);
            for (i, (own, reference)) in own.iter().zip(&reference).enumerate() {
                if own.dtype() != dtype || own.shape() != reference.shape() {
                    let form = format!("{} {}", own.dtype(), own.shape());
                    return Err(format!("gradient {i} is {form}, should be {dtype} {}", reference.shape()));
                }
                within(64.0 * dtype.epsilon(), &own.to_f64_vec(), &reference.to_f64_vec())
                    .map_err(|e| format!("gradient {i}: {e}"))?;
            }
            Ok(())
        });
    }
}

#[test]
fn other_precisions_are_errors_that_name_the_operation() {
    every_op(|op| {
        let taken = (op.info)().precisions;
        for dtype in DType::ALL.into_iter().filter(|d| !taken.contains(d)) {
            let usual = samples(op, 0, taken[0]);
            for sample in usual {
                if sample.inputs.is_empty() && !sample.attrs.iter().any(|(_, v)| matches!(v, Value::DType(_))) {
                    continue; // It has one precision, and no one can ask for another.
                }
                let attrs =
                    if sample.inputs.is_empty() { in_precision(&sample.attrs, dtype) } else { sample.attrs.clone() };
                // As many inputs as share the first number's precision turn into the one that is not taken.
                let inputs: Vec<AnyTensor> = sample
                    .inputs
                    .iter()
                    .map(|x| if x.dtype() == taken[0] { cast(x, dtype) } else { x.clone() })
                    .collect();
                let e = match lent(op, &attrs, &inputs) {
                    Ok(_) => {
                        return Err(format!("takes {dtype}, which its entry does not list; {}", describe(&sample)));
                    }
                    Err(e) => e,
                };
                let text = e.to_string();
                if e.op() != Some(op.name) || !text.contains(dtype.name()) {
                    return Err(format!("with {dtype} the error is unclear: {text}"));
                }
            }
        }
        Ok(())
    });
}
