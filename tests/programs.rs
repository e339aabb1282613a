//! The programs that must read well, as users write them.

use wengert::prelude::*;

#[derive(Module)]
struct Net {
    conv: Conv2d,
    fc: Linear,
}

impl Net {
    fn new() -> Self {
        Net { conv: Conv2d::new(1, 4, 3).padding(1), fc: Linear::new(4 * 4 * 4, 10) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.conv.forward(x).relu().max_pool2d(2);
        self.fc.forward(&h.flatten(1..))
    }
}

#[test]
fn things_can_be_tried_out() {
    let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    let w = Tensor::randn([2, 3]).requires_grad();
    let loss = x.matmul(&w).relu().sum();
    let grads = loss.backward();
    assert!(format!("{loss}\n{}", grads.of(&w)).lines().count() == 3);
    assert!(loss.tape().to_string().contains("tests/programs.rs:"));
}

#[test]
fn a_model_is_trained_saved_and_loaded() -> Result<()> {
    manual_seed(3);
    let x = Tensor::randn([60, 1, 8, 8]);
    let y = x.flatten(1..).argmax_axis(1).to_float().clamp(0.0, 9.0).to_int();
    let batches = Batches::new(&x, &y, 20).shuffle(1);

    let net = Net::new();
    let mut opt = Adam::new(net.parameters()).lr(1e-2);
    let first = net.forward(&x).cross_entropy(&y).item();
    for _ in 0..5 {
        for (x, y) in &batches {
            let loss = net.forward(&x).cross_entropy(&y);
            opt.step(&loss.backward());
        }
    }
    assert!(net.forward(&x).cross_entropy(&y).item() < 0.9 * first);

    let path = std::env::temp_dir().join(format!("wengert-programs-{}.safetensors", std::process::id()));
    net.save(&path)?;
    let fresh = Net::new();
    fresh.load(&path)?;
    std::fs::remove_file(&path)?;
    assert_eq!(fresh.forward(&x).to_vec::<f32>(), net.forward(&x).to_vec::<f32>());
    Ok(())
}

#[test]
fn tensorflow_users_find_their_tape() -> Result<()> {
    let x = tensor![1.0, 2.0];
    let tape = GradientTape::new();
    let x = tape.watch(&x);
    let y = tape.record(|| (&x * &x).sum());
    let dx = tape.gradient(&y, &x)?;
    assert_eq!(dx.to_vec::<f32>(), [2.0, 4.0]);
    Ok(())
}

#[test]
fn functions_have_derivatives_of_any_order() -> Result<()> {
    let curvature = grad(grad(|t: &Tensor| t.sin()))(&scalar(0.5));
    assert!((curvature.item() + 0.5f64.sin()).abs() < 1e-6);

    let (x, w) = (tensor![[1.0], [2.0]], tensor![[3.0, 4.0]]);
    let (value, g) = value_and_grad(|w: &Tensor| w.matmul(&x).square().mean())(&w);
    assert_eq!(value.item(), 121.0);
    assert_eq!(g.to_vec::<f32>(), [22.0, 44.0]);

    let (a, b) = (Tensor::randn([2, 3]).to_dtype(DType::F64), Tensor::randn([3, 2]).to_dtype(DType::F64));
    gradcheck(|v| v[0].matmul(&v[1]).tanh().sum(), &[a, b])
}
