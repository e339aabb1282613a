//! The text of the errors of modules and layers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert_nn::{Layer, Linear, Module, Param, ReLU, Sequential};
use wengert_tensor::{DType, Tensor, tensor};

fn panic_text(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("this panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast::<&str>().expect("panics carry text").to_string(),
    }
}

#[derive(Module)]
#[module(crate = wengert_nn)]
struct Block {
    fc: Linear,
}

impl Layer for Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.fc.forward(x)
    }
}

/// A layer without parameters, whose error can name no parameter.
#[derive(Module)]
#[module(crate = wengert_nn)]
struct Fold;

impl Layer for Fold {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.reshape([2, 5])
    }
}

#[derive(Module)]
#[module(crate = wengert_nn)]
struct Net {
    net: Sequential,
}

#[test]
fn an_error_below_a_dyn_layer_carries_the_path_of_the_module() {
    let layers = || Sequential::new().push(ReLU::new()).push(ReLU::new()).push(Block { fc: Linear::new(4, 2) });
    let x = Tensor::ones([3, 10]);

    let model = Net { net: layers() };
    model.parameters();
    let text = panic_text(|| drop(model.net.forward(&x)));
    // The input comes from a line of the library, which is why the path is there.
    let input = text.lines().nth(1).unwrap();
    assert!(input.starts_with("  input  [3, 10]  from relu at nn/src/"), "{text}");
    assert_eq!(
        text.replace(input, "  input"),
        "Linear: the input has 10 features (axis 1), the layer takes 4
  input
  weight [2, 4]   parameter `net.2.fc.weight`
  in module `net.2.fc`
  help: give an input [.., 4], or make the layer with Linear::new(10, 2)"
    );

    // Before any walk only the containers themselves know where they are.
    let text = panic_text(|| drop(layers().forward(&x)));
    assert!(text.contains("\n  in module `2`\n"), "{text}");
    let text = panic_text(|| drop(Sequential::new().push(ReLU::new()).push(layers()).forward(&x)));
    assert!(text.contains("\n  in module `1.2`\n"), "{text}");
}

#[test]
fn a_layer_without_parameters_is_named_too() {
    let model = Net { net: Sequential::new().push(Sequential::new().push(ReLU::new()).push_named("fold", Fold)) };
    model.parameters();
    let text = panic_text(|| drop(model.net.forward(&Tensor::ones([9]))));
    assert!(text.contains("\n  in module `net.0.fold`"), "{text}");
    // Outside of a container the caller's line says where it was.
    let text = panic_text(|| drop(Fold.forward(&Tensor::ones([9]))));
    assert!(!text.contains("in module"), "{text}");
}

#[test]
fn a_linear_layer_says_what_it_takes() {
    let fc = Linear::new(784, 10);
    let x = Tensor::zeros([32, 1, 28, 28]);
    let text = panic_text(|| drop(fc.forward(&x)));
    assert!(text.starts_with("Linear: the input has 28 features (axis 3), the layer takes 784\n"), "{text}");
    assert!(text.ends_with("  help: flatten the input first: x.flatten(1..)"), "{text}");
    let text = panic_text(|| drop(fc.forward(&wengert_tensor::scalar(1.0))));
    assert!(text.starts_with("Linear: the input has rank 0, the layer takes 784 features on the last axis"), "{text}");
}

#[test]
fn a_parameter_keeps_its_shape_and_precision() {
    let fc = Linear::new(2, 3);
    fc.parameters();
    let e = fc.weight.try_set(&Tensor::zeros([2, 3])).unwrap_err();
    assert_eq!(
        e.to_string().lines().take(2).collect::<Vec<_>>(),
        [
            "set: parameter `weight` is [3, 2] F32, and the value [2, 3] F32",
            "  help: reshape the value, or build the model with other sizes"
        ]
    );
    assert!(e.location().unwrap().file().ends_with("nn/tests/errors.rs"), "{e}");
    let e = fc.weight.try_set(&Tensor::full_dtype([3, 2], 0.0, DType::F64)).unwrap_err();
    assert!(e.to_string().contains("help: cast the value with to_dtype(DType::F32)"), "{e}");
    let text = panic_text(|| Param::new(tensor![1.0]).update(|t| *t = tensor![1.0, 2.0]));
    assert!(text.contains("was [1] F32 and became [2] F32"), "{text}");
}

#[test]
fn freezing_what_is_not_there_is_an_error() {
    let model = Block { fc: Linear::new(1, 1) };
    let text = panic_text(|| model.freeze("fc.weigth"));
    assert_eq!(text, "freeze: no parameter fits `fc.weigth`\n  help: is it `fc.weight`?");
    let text = panic_text(|| model.freeze("conv"));
    assert_eq!(
        text,
        "freeze: no parameter fits `conv`\n  help: the model has 2 parameters; named_parameters() lists them"
    );
}
