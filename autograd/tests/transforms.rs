//! Functional transforms, the gradient tape and custom functions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert_autograd::{
    Backward, Differentiate, GradientTape, Unconnected, custom, grad, grad_n, gradcheck, gradgradcheck, hvp, jacobian,
    value_and_grad, value_and_grad_n, vjp,
};
use wengert_tensor::{DType, Tensor, is_grad_enabled, no_grad, scalar, tensor};

fn f64s(values: &[f64]) -> Tensor {
    Tensor::from_vec(values.to_vec(), [values.len()])
}

fn double(v: f64) -> Tensor {
    scalar(v).to_dtype(DType::F64)
}

fn panic_text<R>(f: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(f()))).expect_err("must panic");
    payload.downcast_ref::<String>().cloned().or(payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap()
}

#[test]
fn nested_grads_do_not_confuse_their_levels() {
    // The classic: d/dx [x * d/dy (x + y)] is 1. A system that confuses the two levels says 2.
    let inner = |x: &Tensor| grad(|y: &Tensor| x + y)(&scalar(1.0));
    assert_eq!(grad(|x: &Tensor| x * inner(x))(&scalar(1.0)).item(), 1.0);
    // d/dx [x * d/dy (x * y)] = d/dx x^2.
    assert_eq!(grad(|x: &Tensor| x * grad(|y: &Tensor| x * y)(&scalar(2.0)))(&scalar(3.0)).item(), 6.0);
    // The inner point depends on the outer variable: d/dx [d/dy (x * y^2) at y = x^2] = d/dx 2x^3.
    let f = |x: &Tensor| grad(|y: &Tensor| x * y * y)(&(x * x));
    assert_eq!(grad(f)(&scalar(2.0)).item(), 24.0);
    // The same tensor at both levels: d/dx [x * d/dy (y * x) at y = x] = d/dx x^2.
    assert_eq!(grad(|x: &Tensor| x * grad(|y: &Tensor| y * x)(x))(&scalar(5.0)).item(), 10.0);
    // d/dx [d/dy [d/dz (x * y * z)]], each at its own point.
    let f = |x: &Tensor| grad(|y: &Tensor| grad(|z: &Tensor| x * y * z)(&scalar(7.0)))(&scalar(8.0));
    assert_eq!(grad(f)(&scalar(9.0)).item(), 1.0);
}

#[test]
fn derivatives_of_any_order() {
    let x = double(0.5);
    let d2 = grad(grad(|t: &Tensor| t.sin()));
    let d4 = grad(grad(d2));
    assert!((d4(&x).item() - 0.5f64.sin()).abs() < 1e-14);
    // Past the last order everything is zero, not an error.
    assert_eq!(grad(grad(grad(|t: &Tensor| t * t)))(&x).item(), 0.0);
    assert_eq!(grad(grad(|t: &Tensor| t.relu()))(&x).item(), 0.0);
}

#[test]
fn what_a_function_ignores_has_gradient_zero() {
    assert_eq!(grad(|_: &Tensor| scalar(3.0))(&scalar(1.0)).item(), 0.0);
    assert_eq!(grad(|x: &Tensor| x.detach() * x)(&scalar(3.0)).item(), 3.0);
    let both = grad_n(|v: &[Tensor]| v[1].exp())(&[tensor![1.0, 2.0], scalar(0.0)]);
    assert_eq!(both[0].to_vec::<f32>(), [0.0, 0.0]);
    assert_eq!(both[1].item(), 1.0);
}

#[test]
fn a_tracked_argument_stays_connected_and_an_untracked_one_leaves_no_trace() {
    let w = scalar(3.0).requires_grad();
    let slope = grad(|t: &Tensor| t * t * t)(&w);
    assert_eq!(slope.item(), 27.0);
    assert_eq!(slope.backward().of(&w).item(), 18.0);

    let (value, slope) = value_and_grad(|t: &Tensor| t * t * t)(&scalar(3.0));
    assert!(!value.is_tracked() && !slope.is_tracked());
    // Nothing is recorded under no_grad, but the derivative is there.
    let slope = no_grad(|| grad(|t: &Tensor| t * t * t)(&w));
    assert_eq!(slope.item(), 27.0);
    let e = slope.try_backward().unwrap_err();
    assert!(e.message().contains("a gradient that `grad` computed without create_graph at"), "{e}");
}

#[test]
fn a_captured_variable_is_differentiated_from_outside() {
    let a = scalar(2.0);
    // d/da [d/dx (a * x^2) at 3] = 6.
    assert_eq!(grad(|a: &Tensor| grad(|x: &Tensor| a * x * x)(&scalar(3.0)))(&a).item(), 6.0);
}

#[test]
fn values_and_gradients_of_several_inputs() {
    let (value, gradients) =
        value_and_grad_n(|v: &[Tensor]| (&v[0] * &v[1]).sum())(&[tensor![1.0, 2.0], tensor![3.0, 4.0]]);
    assert_eq!(value.item(), 11.0);
    assert_eq!(gradients[0].to_vec::<f32>(), [3.0, 4.0]);
    assert_eq!(gradients[1].to_vec::<f32>(), [1.0, 2.0]);
}

#[test]
fn a_pullback_answers_again_and_is_differentiable_in_both_arguments() {
    let (outputs, pullback) = vjp(|v: &[Tensor]| (v[0].exp(), &v[0] * &v[1]), &[tensor![0.0], tensor![2.0]]);
    assert_eq!(outputs[1].to_vec::<f32>(), [0.0]);
    for _ in 0..2 {
        let g = pullback(&[tensor![1.0], tensor![10.0]]);
        assert_eq!((g[0].item(), g[1].item()), (21.0, 0.0));
    }
    let text = panic_text(|| pullback(&[tensor![1.0]]));
    assert!(text.contains("1 cotangents for 2 outputs"), "{text}");
    let text = panic_text(|| pullback(&[tensor![1.0], tensor![1.0, 2.0]]));
    assert!(text.contains("the cotangent is [2] F32, and the tensor [1] F32"), "{text}");

    let pull = |v: &[Tensor]| vjp(|v: &[Tensor]| v[0].sin(), &v[..1]).1(&v[1..]).swap_remove(0);
    gradcheck(pull, &[f64s(&[0.3, 0.4]), f64s(&[1.5, -2.0])]).unwrap();
}

#[test]
fn more_than_one_element_has_no_derivative_and_the_error_says_where() {
    let line = line!() + 1;
    let slope = grad(|x: &Tensor| x * x);
    let text = panic_text(|| slope(&tensor![1.0, 2.0]));
    assert!(text.contains("needs a loss of one element, this tensor has shape [2]"), "{text}");
    assert!(text.contains(&format!("transforms.rs:{line}")), "{text}");
}

#[test]
fn jacobians_hessians_and_products() {
    let x = f64s(&[0.3, -0.8, 1.1]);
    let f = |x: &Tensor| Tensor::stack(&[(x * x).sum(), x.sin().sum()], 0);
    let j = jacobian(f)(&x);
    assert_eq!(j.shape().to_string(), "[2, 3]");
    assert_eq!(j.to_vec::<f64>()[..3], [0.6, -1.6, 2.2]);
    assert_eq!(jacobian(|x: &Tensor| x.narrow(0, 0, 0))(&x).shape().to_string(), "[0, 3]");
    // A Hessian times a vector is the product of the two.
    let g = |x: &Tensor| (x.exp() * x.sum()).sum();
    let hessian = jacobian(grad(g))(&x);
    let v = f64s(&[1.0, 2.0, -0.5]);
    let expected = hessian.matmul(&v).to_vec::<f64>();
    for (a, b) in hvp(g)(&x, &v).to_vec::<f64>().iter().zip(&expected) {
        assert!((a - b).abs() < 1e-12);
    }
    gradcheck(|v| jacobian(|x: &Tensor| x.sin())(&v[0]), &[x]).unwrap();
}

#[test]
fn a_panic_inside_a_transform_leaves_no_level_behind() {
    panic_text(|| grad(|_: &Tensor| -> Tensor { panic!("inside") })(&scalar(1.0)));
    assert!(is_grad_enabled());
    // A level left behind would record this.
    assert!(!grad(|x: &Tensor| x * x)(&scalar(1.0)).is_tracked());
}

#[test]
fn a_tape_answers_once_unless_persistent() {
    let tape = GradientTape::new();
    let x = tape.watch(&tensor![1.0, 2.0]);
    let y = tape.record(|| (&x * &x).sum());
    assert_eq!(tape.gradient(&y, &x).unwrap().to_vec::<f32>(), [2.0, 4.0]);
    let e = tape.gradient(&y, &x).unwrap_err();
    assert!(e.to_string().contains("this tape has answered already") && e.to_string().contains(".persistent()"), "{e}");
    assert_eq!(e.op(), Some("gradient"));
    tape.reset();
    let y = tape.record(|| x.exp().sum());
    assert!(tape.gradient(&y, &x).is_ok());

    let tape = GradientTape::new().persistent();
    let x = tape.watch(&scalar(3.0));
    let y = tape.record(|| &x * &x);
    let z = tape.record(|| &y * &y);
    assert_eq!(tape.gradient(&z, &x).unwrap().item(), 108.0);
    assert_eq!(tape.gradient(&z, &x).unwrap().item(), 108.0);
    assert_eq!(tape.gradient(&y, &x).unwrap().item(), 6.0);
}

#[test]
fn a_tape_needs_no_watch_for_variables_and_leaves_out_what_is_not_recorded() {
    let w = scalar(3.0).requires_grad();
    let tape = GradientTape::new();
    let y = tape.record(|| {
        let constant = tape.stop_recording(|| &w * &w);
        &w * constant
    });
    assert_eq!(tape.gradient(&y, &w).unwrap().item(), 9.0);
    // `record` records even inside no_grad.
    let tape = GradientTape::new();
    let y = no_grad(|| tape.record(|| &w * &w));
    assert_eq!(tape.gradient(&y, &w).unwrap().item(), 6.0);
}

#[test]
fn an_unconnected_variable_is_an_error_or_zero() {
    let (a, b) = (tensor![1.0, 2.0], scalar(3.0));
    let tape = GradientTape::new();
    let (x, unused) = (tape.watch(&a), tape.watch(&b));
    let y = tape.record(|| x.sum());
    let e = tape.gradient(&y, &unused).unwrap_err();
    assert!(e.message().ends_with("it is not part of this tape"), "{e}");
    let e = tape.gradient(&scalar(1.0), &x).unwrap_err();
    assert!(e.message().contains("not connected to any variable") || e.message().contains("answered"), "{e}");

    let tape = GradientTape::new().persistent().unconnected(Unconnected::Zero);
    let (x, unused) = (tape.watch(&a), tape.watch(&b));
    let y = tape.record(|| x.sum());
    let g = tape.gradients(&y, &[&x, &unused]).unwrap();
    assert_eq!((g[0].to_vec::<f32>(), g[1].item()), (vec![1.0, 1.0], 0.0));
    assert_eq!(tape.gradient(&scalar(1.0), &x).unwrap().to_vec::<f32>(), [0.0, 0.0]);
    // What is no variable at all is a mistake under either policy.
    assert!(tape.gradient(&y, &a).is_err());
}

#[test]
fn nested_tapes_give_higher_orders() {
    let (outer, inner) = (GradientTape::new(), GradientTape::new());
    let x = outer.watch(&scalar(2.0));
    let slope = outer.record(|| {
        let x_inner = inner.watch(&x);
        let y = inner.record(|| &x_inner * &x_inner * &x_inner);
        inner.gradient(&y, &x_inner).unwrap()
    });
    assert_eq!(slope.item(), 12.0);
    assert_eq!(outer.gradient(&slope, &x).unwrap().item(), 12.0);
}

#[test]
fn custom_functions_have_their_own_gradient_of_any_order() {
    let product =
        |a: &Tensor, b: &Tensor| custom("product", &[a, b], |v| &v[0] * &v[1], |g, v, _| [g * &v[1], g * &v[0]]);
    let inputs = [f64s(&[0.5, 1.5]), f64s(&[2.0, -3.0])];
    gradcheck(|v| product(&v[0], &v[1]), &inputs).unwrap();
    gradgradcheck(|v| product(&v[0], &v[1]), &inputs).unwrap();
    // From the result: the derivative of exp is its value.
    let exp = |x: &Tensor| custom("my_exp", &[x], |v| v[0].exp(), |g, _, y| g * y);
    gradcheck(|v| exp(&v[0]), &inputs[..1]).unwrap();
    gradgradcheck(|v| exp(&v[0]), &inputs[..1]).unwrap();
    assert_eq!(exp(&scalar(0.0).requires_grad()).tape().iter().next().unwrap().node.op.name(), "my_exp");
}

#[test]
fn a_custom_rule_may_itself_run_backward() {
    let block = |v: &[Tensor]| (v[0].sin() * &v[1]).exp();
    let checkpoint = move |a: &Tensor, b: &Tensor| {
        custom("checkpoint", &[a, b], block, move |g, v, _| vjp(block, v).1(std::slice::from_ref(g)))
    };
    let inputs = [f64s(&[0.5, 1.5]), f64s(&[0.2, -0.3])];
    gradcheck(|v| checkpoint(&v[0], &v[1]), &inputs).unwrap();
    gradgradcheck(|v| checkpoint(&v[0], &v[1]), &inputs).unwrap();

    // The same with the methods.
    let rule = |g: &Tensor, v: &[Tensor], _: &Tensor| {
        let tape = GradientTape::new();
        let x = tape.watch(&v[0]);
        let y = tape.record(|| (x.sin() * g).sum());
        tape.gradient(&y, &x).unwrap()
    };
    let x = f64s(&[0.5, 1.5]);
    gradcheck(|v| custom("sine", &[&v[0]], |v| v[0].sin(), rule), &[x]).unwrap();
}

#[test]
fn a_custom_rule_with_wrong_gradients_is_told_so() {
    let x = tensor![1.0, 2.0].requires_grad();
    let y = custom("c", &[&x], |v| v[0].exp(), |_, _, _| Vec::<Tensor>::new());
    let e = y.sum().try_backward().err().unwrap();
    assert_eq!(e.message(), "the backward function of `c` returned 0 gradients for 1 inputs");
    let y = custom("c", &[&x], |v| v[0].exp(), |g, _, _| g.sum());
    let e = y.sum().try_backward().err().unwrap();
    assert_eq!(e.message(), "the backward function of `c` returned a gradient [] F32 for input 0, which is [2] F32");
}

#[test]
fn a_panic_in_a_rule_leaves_modes_and_other_graphs_sane() {
    let x = tensor![1.0].requires_grad();
    let bad = custom("bad", &[&x], |v| v[0].exp(), |_, _, _| -> Tensor { panic!("in the rule") }).sum();
    let text = panic_text(|| bad.backward_with(Backward::new().create_graph()));
    assert_eq!(text, "in the rule");
    assert!(is_grad_enabled());
    // Not in any rule any more: a new operation is placed at its own line.
    let (y, line) = (x.exp(), line!());
    assert_eq!(y.tape().iter().next().unwrap().node.at.line(), line);
    assert_eq!((&x * 2.0).sum().backward().of(&x).to_vec::<f32>(), [2.0]);
    let text = panic_text(|| custom("bad", &[&x], |_| panic!("forward"), |g, _, _| g.clone()));
    assert_eq!(text, "forward");
    assert!(is_grad_enabled());
}
