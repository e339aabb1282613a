//! The saved state of an optimizer.

use std::collections::HashSet;

use wengert_nn::StateDict;
use wengert_tensor::{AnyTensor, DType, Error, ErrorKind, Int, Result, Shape, Tensor};

use crate::optimizer::{Group, Stepper};
use crate::rule::{Rule, kept_dtype};

/// One number as a tensor, and back.
pub(crate) fn number(x: f64) -> AnyTensor {
    Tensor::from_vec(vec![x], ()).into()
}

pub(crate) fn number_in(state: &StateDict, name: &str) -> Option<f64> {
    state.get(name).and_then(|t| t.to_f64_vec().first().copied())
}

/// A tensor of a saved state, which must have this form.
pub(crate) fn tensor_in(state: &StateDict, name: &str, shape: &Shape, dtype: DType) -> Result<Tensor> {
    match state.get(name) {
        None => Err(unfit(format!("the saved state has no `{name}`"))),
        Some(t) if t.shape() != shape || t.dtype() != dtype => {
            let (got, got_dtype) = (t.shape(), t.dtype());
            Err(unfit(format!("`{name}` is {got} {got_dtype}, and {shape} {dtype} is needed")))
        }
        Some(t) => Ok(t.float()?.to_constant()),
    }
}

/// An error of a state that does not fit.
pub(crate) fn unfit(message: impl Into<String>) -> Error {
    Error::new(message)
        .kind_of(ErrorKind::Format)
        .help("build the optimizer as the one that saved the state, over the same parameters")
}

/// A setting that a state must agree on: the name it is saved under, what errors call it, and its value.
struct Setting {
    key: String,
    about: String,
    value: f64,
}

impl<R: Rule> Stepper<R> {
    /// The settings of the optimizer, and those of single parameters that differ from them.
    fn settings(&self) -> Vec<Setting> {
        let all = |group: &Group<R>| {
            let mut all = group.rule.hyperparameters();
            all.push(("lr_factor", group.lr_factor));
            all
        };
        let base = all(&self.base());
        let of_all = |(name, value): &(&str, f64)| Setting {
            key: format!("{}.{name}", R::NAME),
            about: name.to_string(),
            value: *value,
        };
        let mut settings: Vec<Setting> = base.iter().filter(|(name, _)| *name != "lr_factor").map(of_all).collect();
        for (param, slot) in self.names().iter().zip(&self.slots) {
            for ((name, value), (_, shared)) in all(&slot.group).into_iter().zip(&base) {
                if value.to_bits() != shared.to_bits() {
                    settings.push(Setting {
                        key: format!("{param}.{name}"),
                        about: format!("{name} of `{param}`"),
                        value,
                    });
                }
            }
        }
        settings
    }

    pub(crate) fn saved(&self) -> StateDict {
        let lr = std::iter::once((format!("{}.lr", R::NAME), number(self.lr)));
        let settings = self.settings().into_iter().map(|s| (s.key, number(s.value)));
        let kept = self.names().into_iter().zip(&self.slots).flat_map(|(name, slot)| {
            let steps = Tensor::<Int>::from_vec(vec![slot.steps as i64], ());
            let kept = slot.group.rule.kept(&slot.param.shape()).into_iter().zip(&slot.kept);
            let kept: Vec<(String, AnyTensor)> =
                kept.map(|(k, tensor)| (format!("{name}.{}", k.name), tensor.into())).collect();
            std::iter::once((format!("{name}.steps"), steps.into())).chain(kept)
        });
        lr.chain(settings).chain(kept).collect()
    }

    pub(crate) fn take_over(&mut self, state: &StateDict) -> Result<()> {
        let lr_key = format!("{}.lr", R::NAME);
        let lr = number_in(state, &lr_key).filter(|lr| *lr >= 0.0 && lr.is_finite());
        let Some(lr) = lr else { return Err(unfit(format!("this is no state of the optimizer {}", R::NAME))) };
        let mut used = HashSet::from([lr_key]);
        for Setting { key, about, value } in self.settings() {
            match number_in(state, &key) {
                Some(saved) if saved.to_bits() == value.to_bits() => used.insert(key),
                Some(saved) => return Err(unfit(format!("{about} is {value}, and {saved} in the saved state"))),
                None => return Err(unfit(format!("the saved state has no {about}"))),
            };
        }
        let mut loaded = Vec::new();
        for (name, slot) in self.names().iter().zip(&self.slots) {
            let key = format!("{name}.steps");
            let Some(steps) = number_in(state, &key) else {
                return Err(unfit(format!("the saved state has nothing of parameter `{name}`")));
            };
            used.insert(key);
            let mut kept = Vec::new();
            let dtype = kept_dtype(slot.param.dtype());
            for own in slot.group.rule.kept(&slot.param.shape()).into_iter().filter(|_| steps > 0.0) {
                let key = format!("{name}.{}", own.name);
                kept.push(tensor_in(state, &key, &own.shape, dtype)?);
                used.insert(key);
            }
            loaded.push((steps as u64, kept));
        }
        if let Some(left) = state.names().find(|name| !used.contains(*name)) {
            return Err(unfit(format!("the saved state has `{left}`, which no parameter here takes")));
        }
        for (slot, (steps, kept)) in self.slots.iter_mut().zip(loaded) {
            (slot.steps, slot.kept) = (steps, kept);
        }
        self.lr = lr;
        Ok(())
    }
}
