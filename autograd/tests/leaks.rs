//! Nothing stays behind: neither recorded operations nor buffers nor modes. One test, since the counters are for the whole process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert_autograd::{
    Backward, Differentiate, GradientTape, check_finite, custom, grad, gradcheck, gradgradcheck, jacobian, vjp,
};
use wengert_tensor::storage::live_buffers;
use wengert_tensor::tape::live_nodes;
use wengert_tensor::{DType, Tensor, is_grad_enabled, scalar, tensor};

#[test]
fn nothing_stays_behind() {
    let x = tensor![0.3, 0.7].to_dtype(DType::F64).requires_grad();
    let sum = |x: &Tensor| (x.sin() * x).sum();
    let cases: [(&str, &dyn Fn()); 13] = [
        ("backward", &|| drop(sum(&x).backward())),
        ("no backward", &|| drop(sum(&x))),
        ("create_graph", &|| drop(sum(&x).backward_with(Backward::new().create_graph()))),
        ("a gradient outlives its graph", &|| {
            let grads = sum(&x).backward_with(Backward::new().create_graph());
            grads.of(&x).sum().backward();
        }),
        ("wrt", &|| drop(sum(&x.watch()).backward_with(Backward::new().wrt(&[&x])))),
        ("nested transforms", &|| drop(grad(grad(grad(sine)))(&scalar(0.5)))),
        ("a tracked argument", &|| drop(jacobian(|x: &Tensor| x.exp())(&x))),
        ("a pullback never called", &|| drop(vjp(|v: &[Tensor]| v[0].exp(), std::slice::from_ref(&x)))),
        ("a persistent tape", &|| {
            let tape = GradientTape::new().persistent();
            let y = tape.record(|| sum(&x));
            tape.gradient(&y, &x).unwrap();
        }),
        ("a printed tape", &|| drop(sum(&x).tape().to_string())),
        ("a fault found", &|| drop(check_finite(|| sum(&(&x / 0.0)).backward()).unwrap_err())),
        ("a gradient check", &|| {
            gradcheck(|v| v[0].exp(), std::slice::from_ref(&x)).unwrap();
            gradgradcheck(|v| v[0].exp(), std::slice::from_ref(&x)).unwrap();
        }),
        ("a panic in a rule", &|| {
            let y = custom("bad", &[&x.exp()], |v| v[0].exp(), |_, _, _| -> Tensor { panic!("in the rule") });
            let loss = sum(&y);
            assert!(catch_unwind(AssertUnwindSafe(|| drop(loss.backward()))).is_err());
        }),
    ];
    for (name, case) in cases {
        let buffers = live_buffers();
        case();
        assert_eq!((live_nodes(), live_buffers() - buffers), (0, 0), "{name}");
        assert!(is_grad_enabled(), "{name}");
    }
    // The counter counts.
    let y = x.exp();
    assert_eq!(live_nodes() != 0, cfg!(debug_assertions));
    drop(y);
}

fn sine(x: &Tensor) -> Tensor {
    x.sin() * x
}
