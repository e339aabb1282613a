//! Gradients against differences, first and second; stated gradients at special points; and that a gradient which is
//! off by 1 % is caught.

use wengert::dispatch::Op;
use wengert::registry::{Sample, ops};
use wengert::{AnyTensor, DType, Differentiate, GradCheck, Result, Tensor};

use crate::call::{as_variables, every_op, every_sample, gradients_of, has_rule, lent, samples};

/// The places of the float inputs, and the inputs there.
fn floats(sample: &Sample) -> (Vec<usize>, Vec<Tensor>) {
    sample.inputs.iter().enumerate().filter_map(|(i, x)| Some((i, x.float().ok()?))).unzip()
}

/// The float outputs of a call as a function of its float inputs.
fn function<'a>(op: &'static Op, sample: &'a Sample, places: &'a [usize]) -> impl Fn(&[Tensor]) -> Vec<Tensor> + 'a {
    move |values| {
        let mut inputs = sample.inputs.clone();
        places.iter().zip(values).for_each(|(&i, x)| inputs[i] = x.into());
        let outputs = lent(op, &sample.attrs, &inputs).expect("a sample is taken");
        outputs.iter().filter_map(|y| y.float().ok()).collect()
    }
}

/// Whether the result is NaN for want of elements, as a mean of none is. Then only the replay is tried: the gradient has
/// no elements, either.
fn of_nothing(op: &'static Op, sample: &Sample) -> bool {
    let variables = as_variables(&sample.inputs);
    let outputs = lent(op, &sample.attrs, &variables).expect("a sample is taken");
    let empty = sample.inputs.iter().any(|x| x.elements() == 0);
    let nothing = empty && outputs.iter().any(|y| y.to_f64_vec().iter().any(|v| v.is_nan()));
    if nothing {
        let gradients = gradients_of(&variables, &outputs);
        assert!(gradients.iter().zip(&variables).all(|(g, x)| g.shape() == x.shape()));
    }
    nothing
}

#[test]
fn gradients_agree_with_differences() {
    every_sample(DType::F64, 60, |op, sample| {
        let (places, inputs) = floats(sample);
        if !has_rule(op) || places.is_empty() || sample.gradients.is_some() || of_nothing(op, sample) {
            return Ok(());
        }
        GradCheck::new().check(function(op, sample, &places), &inputs).map_err(|e| e.to_string())
    });
}

#[test]
fn second_gradients_agree_with_differences() {
    every_sample(DType::F64, 40, |op, sample| {
        let (places, inputs) = floats(sample);
        if !has_rule(op) || places.is_empty() || sample.gradients.is_some() || of_nothing(op, sample) {
            return Ok(());
        }
        GradCheck::new().check_second(function(op, sample, &places), &inputs).map_err(|e| e.to_string())
    });
}

#[test]
fn special_points_have_the_gradients_stated() {
    every_op(|op| {
        // The choices among attributes differ by seed.
        for sample in (0..4).flat_map(|seed| {
            let mut g = wengert::registry::Gen::new(seed, DType::F64);
            ((op.info)().specials)(&mut g)
        }) {
            let Some(stated) = &sample.gradients else { continue };
            let variables = as_variables(&sample.inputs);
            let outputs = lent(op, &sample.attrs, &variables).map_err(|e| e.to_string())?;
            let first = outputs[0].float().map_err(|e| e.to_string())?;
            let grads = first.sum().backward();
            for (i, x) in variables.iter().enumerate() {
                let Ok(x) = x.float() else { continue };
                let stated = stated.get(i).ok_or_else(|| format!("states no gradient for input {i}"))?;
                let own = grads.try_of(&x).map_err(|e| e.to_string())?.to_vec::<f64>();
                let same = own.len() == stated.len()
                    && own
                        .iter()
                        .zip(stated)
                        .all(|(a, b)| (a - b).abs() <= 1e-15 * b.abs().max(1.0) || a == b || a.is_nan() && b.is_nan());
                if !same {
                    let call = crate::call::describe(&sample);
                    return Err(format!("gradient of input {i} is {own:?}, should be {stated:?}; {call}"));
                }
            }
        }
        Ok(())
    });
}

/// The function with a wrong gradient for one of its inputs: off by 1 %, or by 0.01 where the gradient is 0 everywhere.
fn with_fault<'a>(
    f: impl Fn(&[Tensor]) -> Vec<Tensor> + 'a,
    faulty: usize,
    zero: bool,
) -> impl Fn(&[Tensor]) -> Vec<Tensor> + 'a {
    move |values| {
        let mut values = values.to_vec();
        values[faulty] = values[faulty].hook(move |g| if zero { g + 0.01 } else { g * 1.01 });
        f(&values)
    }
}

/// Whether the gradient with respect to one float input is 0 at a sample.
fn vanishes(f: impl Fn(&[Tensor]) -> Vec<Tensor>, inputs: &[Tensor], which: usize) -> bool {
    let mut values = inputs.to_vec();
    values[which] = values[which].requires_grad();
    let outputs = f(&values);
    let Some(loss) = outputs.iter().map(|y| y.sum()).reduce(|a, b| a + b) else { return true };
    match loss.is_tracked().then(|| loss.backward()) {
        Some(grads) => grads.get(&values[which]).is_none_or(|g| g.to_vec::<f64>().iter().all(|v| *v == 0.0)),
        None => true,
    }
}

/// Whether the check of an operation passes over all its samples although one input's gradient is wrong.
fn slips_through(op: &'static Op, place: usize, samples: &[Sample]) -> Result<bool, String> {
    let with_input: Vec<&Sample> = samples
        .iter()
        .filter(|s| s.gradients.is_none() && s.inputs.get(place).is_some_and(|x: &AnyTensor| x.dtype().is_float()))
        .collect();
    if with_input.is_empty() {
        return Err(format!("has no sample for input {place}"));
    }
    let at = |places: &[usize]| places.iter().position(|&p| p == place).expect("a float input");
    let zero = with_input.iter().all(|s| {
        let (places, inputs) = floats(s);
        vanishes(function(op, s, &places), &inputs, at(&places))
    });
    Ok(with_input.iter().all(|s| {
        let (places, inputs) = floats(s);
        let faulty = with_fault(function(op, s, &places), at(&places), zero);
        GradCheck::new().check(faulty, &inputs).is_ok()
    }))
}

#[test]
fn a_gradient_off_by_one_percent_is_caught() {
    let mut checked = 0;
    every_op(|op| {
        if !has_rule(op) {
            return Ok(());
        }
        let samples: Vec<Sample> = (0..16).flat_map(|seed| samples(op, seed, DType::F64)).collect();
        let most = samples.iter().map(|s| s.inputs.len()).max().unwrap_or(0);
        // Where one name stands for any number of operands, two of them tell.
        for place in 0..most.min(op.operands.len().max(2)) {
            if samples.iter().all(|s| s.inputs.get(place).is_none_or(|x| !x.dtype().is_float())) {
                continue; // Indices, labels, masks.
            }
            if slips_through(op, place, &samples)? {
                return Err(format!("a gradient of input {place} that is off by 1 % passes the check"));
            }
        }
        Ok(())
    });
    for op in ops().filter(|op| has_rule(op)) {
        checked += 1;
        let takes_floats = (0..16)
            .flat_map(|seed| samples(op, seed, DType::F64))
            .any(|s| s.inputs.iter().any(|x| x.dtype().is_float()));
        assert!(takes_floats, "`{}` has a gradient rule, and no sample with a float input", op.name);
    }
    assert!(checked > 30, "only {checked} operations have a gradient rule");
}
