//! The gradient check itself: what is right passes, what is wrong is caught and named.

use std::cell::Cell;
use std::sync::Arc;

use wengert_autograd::{GradCheck, gradcheck, gradgradcheck};
use wengert_tensor::dispatch::{CustomOp, Saves, apply_custom};
use wengert_tensor::tape::Vjp;
use wengert_tensor::{AnyTensor, DType, Result, Tensor, scalar, tensor};

fn f64s(values: &[f64]) -> Tensor {
    Tensor::from_vec(values.to_vec(), [values.len()])
}

/// `scale * x * y` with a gradient that is off by the given factors.
#[derive(Clone, Copy)]
struct Product {
    scale: f64,
    off: [f64; 2],
    /// Whether only the second element of the gradient is off.
    one_only: bool,
}

impl CustomOp for Product {
    fn name(&self) -> &'static str {
        "product"
    }
    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        Ok(inputs[0].float()? * inputs[1].float()? * self.scale)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
        let g = cx.g() * self.scale;
        for (i, other) in [(0, 1), (1, 0)] {
            let exact = &g * cx.input(other);
            let mut factors = vec![if self.one_only { 1.0 } else { self.off[i] }; exact.elements()];
            if let Some(second) = factors.get_mut(1) {
                *second = self.off[i];
            }
            let off = Tensor::from_vec(factors, exact.shape());
            cx.give(i, exact * off);
        }
        Ok(())
    }
}

impl Product {
    fn call(self, x: &Tensor, y: &Tensor) -> Tensor {
        apply_custom(Arc::new(self), &[x.as_any(), y.as_any()]).unwrap()
    }
}

#[test]
fn right_gradients_pass() {
    let x = f64s(&[0.3, -0.7, 1.2, 4.0]);
    let y = Tensor::from_vec(vec![0.5_f64, -0.25, 2.0, 1.5], [4, 1]);
    gradcheck(|v| v[0].sin() * &v[1] + v[0].exp(), &[x.clone(), y.clone()]).unwrap();
    gradcheck(|v| v[0].matmul(&v[1]).tanh().sum(), &[x.clone(), y.clone()]).unwrap();
    gradcheck(|v| vec![v[0].tanh(), v[1].square().sum()], &[x.clone(), y.clone()]).unwrap();
    gradcheck(|v| (v[0].tanh(), v[1].exp()), &[x.clone(), y.clone()]).unwrap();
    gradgradcheck(|v| v[0].sin() * &v[1] + v[0].exp(), &[x.clone(), y.clone()]).unwrap();
    gradgradcheck(|v| [v[0].matmul(&v[1]).tanh(), v[0].exp()], &[x, y]).unwrap();
}

#[test]
fn views_and_shapes_of_all_sorts_pass() {
    let x = Tensor::from_vec((0..12).map(|i| 0.1 + 0.2 * i as f64).collect(), [3, 4]);
    for view in [x.t(), x.flip([0]), x.narrow(1, 1, 2), x.narrow(0, 0, 1).expand([5, 4]), x.reshape([2, 6]).t()] {
        gradcheck(|v| v[0].log() * v[0].sum_keepdim([0]), std::slice::from_ref(&view)).unwrap();
        gradgradcheck(|v| v[0].log() * v[0].sum_keepdim([0]), &[view]).unwrap();
    }
    let (empty, rank0) = (Tensor::full_dtype([0, 3], 0.0, DType::F64), scalar(0.4).to_dtype(DType::F64));
    gradcheck(|v| &v[0] * &v[1], &[empty.clone(), rank0.clone()]).unwrap();
    gradgradcheck(|v| &v[0] * &v[1], &[empty, rank0.clone()]).unwrap();
    gradcheck(|v| v[0].sin(), &[rank0]).unwrap();
}

#[test]
fn large_inputs_and_outputs_are_projected() {
    let x = Tensor::from_vec((0..600).map(|i| (i as f64 * 0.37).sin()).collect(), [20, 30]);
    gradcheck(|v| v[0].tanh(), std::slice::from_ref(&x)).unwrap();
    let off = Product { scale: 1.0, off: [1.0, 1.01], one_only: false };
    let e = gradcheck(|v| off.call(&v[0], &v[1]), &[x.clone(), &x + 3.0]).unwrap_err();
    assert!(e.message().starts_with("input 1 "), "{e}");
    GradCheck::new().exhaustive().check(|v| v[0].tanh().sum(), &[x]).unwrap();
}

#[test]
fn a_function_may_ignore_an_input() {
    let (x, y) = (f64s(&[0.3, 0.4]), f64s(&[1.0]));
    gradcheck(|v| v[0].exp(), &[x.clone(), y.clone()]).unwrap();
    gradcheck(|_| f64s(&[1.0, 2.0]), &[x.clone(), y.clone()]).unwrap();
    gradgradcheck(|v| v[0].exp(), &[x, y]).unwrap();
}

#[test]
fn one_percent_is_caught_for_each_input_and_at_any_scale() {
    let (x, y) = (f64s(&[0.8, -1.1, 2.0]), f64s(&[1.3, 0.6, -0.9]));
    for scale in [1.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e4] {
        let exact = Product { scale, off: [1.0, 1.0], one_only: false };
        gradcheck(|v| exact.call(&v[0], &v[1]), &[x.clone(), y.clone()]).unwrap();
        for (i, factor) in [(0, 1.01), (0, 0.99), (1, 1.01), (1, 0.99)] {
            for one_only in [false, true] {
                let mut off = [1.0; 2];
                off[i] = factor;
                let wrong = Product { scale, off, one_only };
                let e = gradcheck(|v| wrong.call(&v[0], &v[1]), &[x.clone(), y.clone()]).unwrap_err();
                assert!(e.message().starts_with(&format!("input {i} at [{}]", one_only as usize)), "{e}");
                let e = gradcheck(|v| wrong.call(&v[0], &v[1]).sum(), &[x.clone(), y.clone()]).unwrap_err();
                assert!(e.message().starts_with(&format!("input {i} at [{}]", one_only as usize)), "{e}");
            }
        }
    }
}

#[test]
fn one_percent_of_a_small_gradient_beside_a_large_value_is_caught() {
    // The value is about 1, the gradient about 1e-7.
    let (x, y) = (f64s(&[0.8, -1.1]), f64s(&[1.3, 0.6]));
    let wrong = Product { scale: 1e-7, off: [1.01, 1.0], one_only: false };
    let e = gradcheck(|v| wrong.call(&v[0], &v[1]) + 1.0, &[x.clone(), y.clone()]).unwrap_err();
    assert!(e.message().starts_with("input 0 at [0]"), "{e}");
    let right = Product { scale: 1e-7, off: [1.0, 1.0], one_only: false };
    gradcheck(|v| right.call(&v[0], &v[1]) + 1.0, &[x, y]).unwrap();
}

#[test]
fn a_wrong_second_derivative_is_caught() {
    /// A square whose gradient is right and whose gradient's gradient is cut.
    struct Square;
    impl CustomOp for Square {
        fn name(&self) -> &'static str {
            "square_once"
        }
        fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
            Ok(inputs[0].float()?.square())
        }
        fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
            let x: Tensor = cx.input(0);
            let g = cx.g();
            cx.give(0, g * x.detach() * 2.0);
            Ok(())
        }
    }
    let f = |v: &[Tensor]| apply_custom(Arc::new(Square), &[v[0].as_any()]).unwrap();
    let x = f64s(&[0.8, -1.1]);
    gradcheck(f, std::slice::from_ref(&x)).unwrap();
    let e = gradgradcheck(f, &[x]).unwrap_err();
    assert!(e.message().starts_with("input 0 at [0], where it is 0.8: the gradient of output 0 at [0] is 0"), "{e}");
    assert_eq!(e.op(), Some("gradgradcheck"));
}

#[test]
fn the_error_names_place_value_and_both_gradients() {
    let wrong = Product { scale: 1.0, off: [1.0, 1.5], one_only: true };
    let (x, y) = (f64s(&[2.0, 4.0]), f64s(&[1.0, 0.5]));
    let line = line!() + 1;
    let e = gradcheck(|v| wrong.call(&v[0], &v[1]), &[x, y]).unwrap_err();
    let says = e.message().replace("3.9999999997", "4").replace("4.000000000", "4");
    assert!(
        says.starts_with(
            "input 1 at [1], where it is 0.5: the gradient of output 0 at [1] is 6, and the difference quotient"
        ),
        "{e}"
    );
    assert!(says.contains("(33.33 % off)"), "{e}");
    assert_eq!(e.location().unwrap().line(), line);
}

#[test]
fn a_lost_gradient_comes_with_its_reason() {
    let e = gradcheck(|v| v[0].detach().square(), &[f64s(&[2.0])]).unwrap_err();
    assert!(e.to_string().contains("detached at"), "{e}");
}

#[test]
fn other_precisions_are_refused() {
    let e = gradcheck(|v| v[0].exp(), &[tensor![1.0]]).unwrap_err();
    assert!(e.to_string().contains("input 0 is F32") && e.to_string().contains("to_dtype(DType::F64)"), "{e}");
    let e = gradcheck(|v| v[0].to_dtype(DType::F32), &[f64s(&[1.0])]).unwrap_err();
    assert!(e.message().starts_with("output 0 is F32"), "{e}");
}

#[test]
fn nan_and_infinity_are_reported() {
    let e = gradcheck(|v| v[0].log(), &[f64s(&[1.0, -1.0])]).unwrap_err();
    assert_eq!(e.message(), "output 0 is NaN at [1]");
    let e = gradcheck(|v| v[0].exp(), &[f64s(&[f64::INFINITY])]).unwrap_err();
    assert_eq!(e.message(), "input 0 is inf at [0]");
    // The value is finite, the gradient is not.
    let e = gradcheck(|v| v[0].sqrt(), &[f64s(&[1.0, 0.0])]).unwrap_err();
    assert!(e.message().contains("NaN or infinite when input 0 is moved") || e.message().contains("is inf"), "{e}");
}

#[test]
fn a_kink_does_not_pass() {
    let e = gradcheck(|v| v[0].relu(), &[f64s(&[0.0])]).unwrap_err();
    assert!(e.message().starts_with("input 0 at [0], where it is 0"), "{e}");
}

#[test]
fn noise_is_not_mistaken_for_a_gradient_nor_does_it_hide_one() {
    // Rounding at 1e8 makes the value noisy by 1e-8; the true gradient is 1.
    gradcheck(|v| (&v[0] + 1e8) - 1e8, &[f64s(&[0.3])]).unwrap();
    let wrong = Product { scale: 1.0, off: [1.01, 1.0], one_only: false };
    gradcheck(|v| wrong.call(&(&v[0] + 1e8), &v[1]) - 1e8, &[f64s(&[0.3]), f64s(&[1.0])]).unwrap_err();
}

#[test]
fn random_functions_are_found_out() {
    let count = Cell::new(0.0);
    let f = |v: &[Tensor]| {
        count.set(count.get() + 1.0);
        &v[0] * count.get()
    };
    let e = gradcheck(f, &[f64s(&[1.0])]).unwrap_err();
    assert_eq!(e.message(), "the function is not deterministic: output 0 at [0] was 1, then 2");
}

#[test]
fn the_same_seed_gives_the_same_verdict() {
    let x = Tensor::from_vec((0..100).map(|i| (i as f64 * 0.37).sin()).collect(), [100]);
    let wrong = Product { scale: 1.0, off: [1.0, 1.01], one_only: false };
    let text = || {
        let e = GradCheck::new().seed(3).check(|v| wrong.call(&v[0], &v[1]), &[x.clone(), &x + 3.0]).unwrap_err();
        e.message().to_string()
    };
    assert_eq!(text(), text());
}
