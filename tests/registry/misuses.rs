//! Every misuse fails with an error that says what is wrong, never with a panic.

use wengert::AnyTensor;
use wengert::dispatch::Gradient;

use crate::call::{as_variables, every_op, lent};

#[test]
fn misuses_fail_and_say_why() {
    every_op(|op| {
        for misuse in ((op.info)().misuses)() {
            let plain: Vec<AnyTensor> = misuse.inputs.clone();
            // Tracked inputs must not get past the checks, either.
            for inputs in [plain, as_variables(&misuse.inputs)] {
                let e = match lent(op, &misuse.attrs, &inputs) {
                    Ok(_) => return Err(format!("does not fail: should say {:?}", misuse.says)),
                    Err(e) => e,
                };
                if !e.to_string().contains(misuse.says) {
                    return Err(format!("should say {:?}, says:\n{e}", misuse.says));
                }
                if e.op() != Some(op.name) {
                    return Err(format!("the error names {:?}:\n{e}", e.op()));
                }
                if !e.location().is_some_and(|at| at.file().ends_with("call.rs")) {
                    return Err(format!("the error does not point at the caller:\n{e}"));
                }
                if !inputs.is_empty() && !e.to_string().contains(&inputs[0].shape().to_string()) {
                    return Err(format!("the error does not show the first operand:\n{e}"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn an_operation_without_a_rule_refuses_tracked_inputs() {
    every_op(|op| {
        if !matches!(op.gradient, Gradient::Missing) {
            return Ok(());
        }
        for sample in crate::call::samples(op, 0, (op.info)().precisions[0]) {
            let variables = as_variables(&sample.inputs);
            if variables.iter().any(AnyTensor::is_tracked) {
                let e = lent(op, &sample.attrs, &variables).err().ok_or("takes a tracked input without a rule")?;
                if !e.to_string().contains("no gradient rule") {
                    return Err(e.to_string());
                }
            }
        }
        Ok(())
    });
}
