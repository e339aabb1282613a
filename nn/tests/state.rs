//! Saving and loading: bit for bit, all or nothing, and a report that says what does not fit.

use std::path::PathBuf;

use wengert_nn::{Linear, Module, Param, Sequential, StateDict};
use wengert_tensor::{Bool, DType, ErrorKind, Int, Tensor, tensor};

/// A folder of this test's own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("wengert-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn net() -> Sequential {
    Sequential::new().push_named("conv", Linear::new(3, 2)).push_named("fc", Linear::new(2, 4))
}

fn bits(net: &dyn Module) -> Vec<Vec<u32>> {
    net.parameters().iter().map(|p| p.value().to_vec::<f32>().into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn a_saved_model_comes_back_bit_for_bit() {
    let folder = Folder::new("round-trip");
    let file = folder.0.join("net.safetensors");
    let (a, b) = (net(), net());
    let odd = [f32::NAN, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, 0.1, -1.0];
    a.parameters()[0].set(&Tensor::from_slice(&odd, [2, 3]));
    a.save(&file).unwrap();
    let report = b.load(&file).unwrap();
    assert_eq!(report.loaded, 4);
    assert_eq!(report.to_string(), "4 tensors loaded");
    assert_eq!(bits(&a), bits(&b));
    // Saving again replaces the file and leaves nothing beside it.
    b.save(&file).unwrap();
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_failed_save_loses_nothing() {
    let folder = Folder::new("failed-save");
    // A folder cannot be replaced by a file: the save fails in its last step.
    let file = folder.0.join("net.safetensors");
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("precious"), "x").unwrap();
    let e = net().save(&file).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Io);
    assert!(e.message().starts_with(&format!("cannot write {}: ", file.display())), "{e}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no temporary file stays");
    assert!(file.join("precious").exists());
    let e = net().save(folder.0.join("nowhere/net.safetensors")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Io);
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let model = net();
    let before = bits(&model);
    let state = StateDict::from_iter([
        ("conv.weight", Tensor::zeros([2, 3])),
        ("conv.bias", Tensor::zeros([3])),
        ("fc.wieght", Tensor::zeros([4, 2])),
        ("head.bias", Tensor::full_dtype([4], 0.0, DType::F64)),
    ]);
    let e = model.load_state_dict(&state).unwrap_err();
    assert_eq!(
        e.to_string(),
        "the state does not fit the model: 0 tensors loaded, 5 do not fit
  missing     fc.weight [4, 2]
  missing     fc.bias [4]
  unexpected  fc.wieght [4, 2], is it fc.weight?
  unexpected  head.bias [4] F64
  mismatched  conv.bias: the model has [2], the state [3]
  help: the model is unchanged; load_partial takes over what fits"
    );
    assert_eq!(bits(&model), before);
}

#[test]
fn a_partial_load_takes_over_what_fits() {
    let model = net();
    let state = StateDict::from_iter([
        ("conv.weight", Tensor::full([2, 3], 7.0)),
        ("conv.bias", Tensor::full_dtype([2], 0.0, DType::F16)),
    ]);
    let report = model.load_partial(&state);
    assert_eq!(
        report.to_string(),
        "1 tensor loaded, 3 do not fit
  missing     fc.weight [4, 2]
  missing     fc.bias [4]
  mismatched  conv.bias: the model has [2], the state [2] F16"
    );
    assert_eq!(model.parameters()[0].value().to_vec::<f32>(), [7.0; 6]);
}

#[test]
fn buffers_of_every_kind_are_saved_in_declaration_order() {
    use wengert_nn::Buffer;
    let model = (
        Param::new(tensor![1.0]),
        Buffer::new(Int::arange(0, 3)),
        Buffer::new(Bool::full([2], true)),
        Buffer::new(Tensor::full_dtype([1], 0.5, DType::BF16)),
    );
    let state = model.state_dict();
    assert_eq!(state.names().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    model.1.set(Int::zeros([3]));
    model.2.set(Bool::full([2], false));
    model.load_state_dict(&state).unwrap();
    assert_eq!(model.1.int().to_vec::<i64>(), [0, 1, 2]);
    assert_eq!(model.2.value().bool().unwrap().to_vec::<bool>(), [true, true]);
    assert_eq!(model.3.float().dtype(), DType::BF16);
}

#[test]
fn a_loaded_state_is_a_value() {
    let model = Linear::new(1, 1);
    let state = model.state_dict();
    let saved = state.get("weight").unwrap().to_f64_vec();
    model.weight.update(|t| t.update(|w: &mut [f32]| w[0] += 1.0));
    assert_eq!(state.get("weight").unwrap().to_f64_vec(), saved, "training does not reach into a state dict");
}
