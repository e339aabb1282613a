//! A model in evaluation is shared by threads.

use std::thread;

use wengert_nn::{BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Module, ReLU, Sequential};
use wengert_tensor::{Tensor, manual_seed, no_grad};

fn net() -> Sequential {
    manual_seed(1);
    Sequential::new()
        .push(Conv2d::new(1, 4, 3).padding(1))
        .push(BatchNorm2d::new(4))
        .push(ReLU::new())
        .push(MaxPool2d::new(2))
        .push(Flatten::new())
        .push(Dropout::new(0.5))
        .push(Linear::new(4 * 4 * 4, 3))
}

fn state(net: &Sequential) -> Vec<Vec<f64>> {
    net.state_dict().iter().map(|(_, t)| t.to_f64_vec()).collect()
}

#[test]
fn a_forward_pass_in_evaluation_changes_nothing() {
    let net = net();
    let x = Tensor::randn([6, 1, 8, 8]);
    let (before, training) = (state(&net), net.forward(&x).to_vec::<f32>());
    assert_ne!(state(&net), before, "training moves the running statistics");
    assert_ne!(net.forward(&x).to_vec::<f32>(), training, "dropout drops anew");

    net.eval();
    let (before, expected) = (state(&net), net.forward(&x).to_vec::<f32>());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(no_grad(|| net.forward(&x)).to_vec::<f32>(), expected);
                }
            });
        }
    });
    assert_eq!(state(&net), before);
}
