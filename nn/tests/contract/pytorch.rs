//! Each layer against PyTorch's, by the files of `../fixtures`.

use wengert_autograd::Differentiate;
use wengert_tensor::AnyTensor;

use super::{for_every_row, loss, tracked};

/// Checks that two tensors have one shape and precision, and elements that differ by 1e-10 of the largest at most.
fn close(what: &str, own: &AnyTensor, reference: &AnyTensor) {
    assert_eq!((own.shape(), own.dtype()), (reference.shape(), reference.dtype()), "{what}");
    let (own, reference) = (own.to_f64_vec(), reference.to_f64_vec());
    let scale = reference.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in own.iter().zip(&reference).enumerate() {
        assert!((a - b).abs() <= 1e-10 * scale, "{what}, element {i}: {a} should be {b}");
    }
}

#[test]
fn names_are_those_of_pytorch_in_its_order() {
    for_every_row(|row| {
        let names = row.file.get("names").expect("the file has names").to_f64_vec();
        let names = String::from_utf8(names.into_iter().map(|b| b as u8).collect()).unwrap();
        let own = row.fresh().module.state_dict().names().collect::<Vec<_>>().join("\n");
        assert_eq!(own, names, "{}", row.name);
    });
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    for_every_row(|row| {
        let layer = row.layer();
        let inputs = tracked(&row.inputs());
        let outputs = (layer.run)(&inputs);
        let place = |what: String| (format!("{}: {what}", row.name), row.file.get(&what));
        for (i, y) in outputs.iter().enumerate() {
            let (what, reference) = place(format!("output.{i}"));
            close(&what, y.as_any(), reference.expect("PyTorch has as many outputs"));
        }
        assert!(!row.file.contains_key(&format!("output.{}", outputs.len())), "{}: an output is missing", row.name);
        for (name, buffer) in layer.module.named_buffers() {
            let (what, reference) = place(format!("after.{name}"));
            close(&what, &buffer.value(), reference.expect("PyTorch has the buffer"));
        }
        let loss = loss(&outputs);
        if !loss.is_tracked() {
            return;
        }
        let grads = loss.backward();
        for (i, x) in inputs.iter().enumerate() {
            if let (what, Some(reference)) = place(format!("grad.input.{i}")) {
                close(&what, grads.of(x.float().unwrap()).as_any(), reference);
            }
        }
        for (name, param) in layer.module.named_parameters() {
            let (what, reference) = place(format!("grad.state.{name}"));
            close(&what, grads.of(&param).as_any(), reference.expect("PyTorch has the parameter"));
        }
    });
}

/// What this library saves is what PyTorch saved, element for element. With `WENGERT_SAVE_TO` the files stay, for
/// `fixtures/make.py check`.
#[test]
fn a_saved_layer_is_the_state_of_pytorch() {
    for_every_row(|row| {
        let temporary = std::env::temp_dir().join(format!("wengert-contract-{}", std::process::id()));
        let folder = std::env::var_os("WENGERT_SAVE_TO").map_or(temporary.clone(), Into::into);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.safetensors", row.name));
        let state = row.layer().module.state_dict();
        state.save(&path).unwrap();
        let saved = wengert_tensor::io::load_tensors(&path).unwrap();
        let wanted = || row.file.iter().filter_map(|(name, t)| Some((name.strip_prefix("state.")?, t)));
        assert_eq!(saved.keys().collect::<Vec<_>>(), wanted().map(|(name, _)| name).collect::<Vec<_>>());
        for (name, t) in wanted() {
            let (a, b) = (&saved[name], t);
            assert_eq!((a.shape(), a.dtype(), a.to_f64_vec()), (b.shape(), b.dtype(), b.to_f64_vec()), "{name}");
        }
        let _ = std::fs::remove_dir_all(temporary);
    });
}
