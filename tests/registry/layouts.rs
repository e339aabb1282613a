//! The same elements laid out otherwise give the same results and the same gradients.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert::layout::Cut;
use wengert::registry::Family;
use wengert::{AnyTensor, DType, Tensor};

use crate::call::{as_variables, close, every_sample, gradients_of, has_rule, lent, same_bits};

/// What lies between the elements of a variant: reading it by mistake shows.
const JUNK: f64 = 1e30;

/// The same elements in other layouts, with the name of each.
fn variants(x: &Tensor) -> Vec<(&'static str, Tensor)> {
    let reversed: Vec<usize> = (0..x.rank()).rev().collect();
    let transposed = x.permute(&reversed[..]).contiguous().permute(&reversed[..]);
    let flipped = x.flip(..).contiguous().flip(..);
    // Every second position of each axis of a larger tensor.
    let sizes: Vec<usize> = x.shape().iter().map(|n| 2 * n).collect();
    let twice: Vec<Cut> = x.shape().iter().map(|&count| Cut { start: 0, step: 2, count }).collect();
    let strided = placed(x, &sizes, &twice);
    // Somewhere within a larger tensor.
    let sizes: Vec<usize> = x.shape().iter().map(|n| n + 3).collect();
    let inside: Vec<Cut> = x.shape().iter().map(|&count| Cut { start: 2, step: 1, count }).collect();
    let offset = placed(x, &sizes, &inside);
    vec![("transposed", transposed), ("flipped", flipped), ("strided", strided), ("offset", offset)]
}

/// The elements of `x` at `cuts` of a tensor of shape `sizes`, as a view of it; in rank 0, behind a first element.
fn placed(x: &Tensor, sizes: &[usize], cuts: &[Cut]) -> Tensor {
    let values = x.to_vec::<f64>();
    if x.rank() == 0 {
        return Tensor::from_vec(vec![JUNK, values[0]], [2]).narrow(0, 1, 1).reshape(x.shape());
    }
    let mut whole = vec![JUNK; sizes.iter().product()];
    for (i, value) in values.into_iter().enumerate() {
        let (mut rest, mut place, mut stride) = (i, 0, 1);
        for axis in (0..sizes.len()).rev() {
            let n = x.shape()[axis];
            place += stride * (cuts[axis].start + cuts[axis].step as usize * (rest % n));
            rest /= n;
            stride *= sizes[axis];
        }
        whole[place] = value;
    }
    Tensor::from_vec(whole, sizes).slice_cuts(cuts)
}

#[test]
fn layouts_do_not_matter() {
    every_sample(DType::F64, 40, |op, sample| {
        let run = |inputs: &[AnyTensor]| -> Result<_, String> {
            let outputs = lent(op, &sample.attrs, inputs).map_err(|e| e.to_string())?;
            let variables = as_variables(inputs);
            let gradients = match has_rule(op) {
                true => gradients_of(&variables, &lent(op, &sample.attrs, &variables).map_err(|e| e.to_string())?),
                false => Vec::new(),
            };
            Ok((outputs, gradients))
        };
        let (outputs, gradients) = run(&sample.inputs)?;
        let exact = matches!(
            (op.info)().family,
            Family::Fill | Family::Copy | Family::Map | Family::Zip | Family::Select | Family::Gather | Family::Sort
        );
        for i in 0..sample.inputs.len() {
            let Ok(x) = sample.inputs[i].float() else { continue };
            for (name, variant) in variants(&x) {
                let mut inputs = sample.inputs.clone();
                inputs[i] = variant.into();
                let what = |part: &str| format!("{part} for input {i} {name}");
                let (other_outputs, other_gradients) = run(&inputs)?;
                match exact {
                    true => same_bits(&what("output"), &other_outputs, &outputs)?,
                    false => close(&what("output"), 1e-13, &other_outputs, &outputs)?,
                }
                close(&what("gradient"), 1e-12, &other_gradients, &gradients)?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_expanded_input_is_read_as_what_it_stands_for() {
    every_sample(DType::F64, 40, |op, sample| {
        for i in 0..sample.inputs.len() {
            let Ok(x) = sample.inputs[i].float() else { continue };
            for axis in (0..x.rank()).filter(|&a| x.shape()[a] > 1) {
                let mut inputs = sample.inputs.clone();
                let expanded = x.narrow(axis as isize, 0, 1).expand(x.shape());
                inputs[i] = expanded.contiguous().into();
                let dense = as_variables(&inputs);
                inputs[i] = expanded.into();
                let expanded = as_variables(&inputs);
                // Not every operation takes repeated values; then it must say so for both.
                let (dense_outputs, outputs) =
                    match (lent(op, &sample.attrs, &dense), lent(op, &sample.attrs, &expanded)) {
                        (Ok(a), Ok(b)) => (a, b),
                        (Err(_), Err(_)) => continue,
                        (a, b) => {
                            let text = |r: Result<_, wengert::Error>| r.err().map(|e| e.to_string());
                            return Err(format!("input {i} expanded: {:?} against {:?}", text(a), text(b)));
                        }
                    };
                let what = |part: &str| format!("{part} for input {i} expanded along axis {axis}");
                close(&what("output"), 1e-13, &outputs, &dense_outputs)?;
                if has_rule(op) {
                    let gradients = |x, y| catch_unwind(AssertUnwindSafe(|| gradients_of(x, y)));
                    match (gradients(&expanded, &outputs), gradients(&dense, &dense_outputs)) {
                        (Ok(a), Ok(b)) => close(&what("gradient"), 1e-12, &a, &b)?,
                        // A matrix of equal rows has a logarithm of its determinant, and no gradient of it.
                        (Err(_), Err(_)) => {}
                        _ => return Err(format!("{} panics for one of both", what("gradient"))),
                    }
                }
            }
        }
        Ok(())
    });
}
