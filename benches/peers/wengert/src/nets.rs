//! The networks that are trained.

use std::cell::RefCell;
use std::rc::Rc;

use peers_runner::{Built, Numbers, Workload, indices, weight_scale};
use wengert::prelude::*;

use crate::{one, tensor};

/// Sets parameters in order: matrices and kernels by their fan-in, scales of norms to 1, the rest to 0.
fn fill(net: &dyn Module, numbers: &mut Numbers) {
    for (name, p) in net.named_parameters() {
        let shape = p.shape().to_vec();
        let value = if name.contains("tokens") || name.contains("places") {
            tensor(numbers, &shape, 0.1, DType::F32)
        } else if shape.len() > 1 {
            tensor(numbers, &shape, weight_scale(&shape), DType::F32)
        } else {
            Tensor::full(&shape[..], if name.ends_with("weight") { 1.0 } else { 0.0 })
        };
        p.set(&value);
    }
}

#[derive(Module)]
struct Block {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    shortcut: Option<Sequential>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize) -> Block {
        let conv = |inputs, stride| Conv2d::new(inputs, outputs, 3).stride(stride).padding(1).bias(false);
        let shortcut = || {
            let conv = Conv2d::new(inputs, outputs, 1).stride(stride).bias(false);
            Sequential::new().push(conv).push(BatchNorm2d::new(outputs))
        };
        Block {
            conv1: conv(inputs, stride),
            norm1: BatchNorm2d::new(outputs),
            conv2: conv(outputs, 1),
            norm2: BatchNorm2d::new(outputs),
            shortcut: (stride != 1).then(shortcut),
        }
    }
}

impl Layer for Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.norm1.forward(&self.conv1.forward(x)).relu();
        let h = self.norm2.forward(&self.conv2.forward(&h));
        match &self.shortcut {
            Some(shortcut) => (h + shortcut.forward(x)).relu(),
            None => (h + x).relu(),
        }
    }
}

#[derive(Module)]
struct ResNet {
    stem: Conv2d,
    norm: BatchNorm2d,
    blocks: Sequential,
    head: Linear,
}

impl ResNet {
    fn new() -> ResNet {
        ResNet {
            stem: Conv2d::new(3, 32, 3).padding(1).bias(false),
            norm: BatchNorm2d::new(32),
            blocks: Sequential::new()
                .push(Block::new(32, 32, 1))
                .push(Block::new(32, 64, 2))
                .push(Block::new(64, 64, 1)),
            head: Linear::new(64, 10),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.blocks.forward(&self.norm.forward(&self.stem.forward(x)).relu());
        self.head.forward(&h.mean_axis([2, 3]))
    }
}

#[derive(Module)]
struct GptBlock {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl GptBlock {
    fn new(width: usize) -> GptBlock {
        GptBlock {
            norm1: LayerNorm::new([width]),
            qkv: Linear::new(width, 3 * width),
            out: Linear::new(width, width),
            norm2: LayerNorm::new([width]),
            up: Linear::new(width, 4 * width),
            down: Linear::new(4 * width, width),
        }
    }
}

impl Layer for GptBlock {
    fn forward(&self, x: &Tensor) -> Tensor {
        let (n, length, width) = (x.size(0), x.size(1), x.size(2));
        let qkv = self.qkv.forward(&self.norm1.forward(x)).reshape([n, length, 3, 4, width / 4]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv.narrow(0, i, 1).squeeze(0);
        let h = part(0).scaled_dot_product_attention(&part(1), &part(2), AttentionOptions::new().causal(true));
        let x = x + self.out.forward(&h.transpose(1, 2).reshape([n, length, width]));
        let h = self.down.forward(&self.up.forward(&self.norm2.forward(&x)).gelu_tanh());
        x + h
    }
}

#[derive(Module)]
struct Gpt {
    tokens: Embedding,
    places: Embedding,
    blocks: Sequential,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new() -> Gpt {
        Gpt {
            tokens: Embedding::new(65, 128),
            places: Embedding::new(128, 128),
            blocks: (0..4).fold(Sequential::new(), |all, _| all.push(GptBlock::new(128))),
            norm: LayerNorm::new([128]),
            head: Linear::new(128, 65).bias(false),
        }
    }

    fn forward(&self, ids: &Tensor<Int>) -> Tensor {
        let x = self.tokens.forward(ids) + self.places.weight.value();
        self.head.forward(&self.norm.forward(&self.blocks.forward(&x)))
    }
}

#[derive(Module)]
struct Recurrent {
    lstm: LSTM,
    head: Linear,
}

/// A training step that gives the loss.
fn steps(mut opt: impl Optimizer + 'static, loss: impl Fn() -> Tensor + 'static) -> Option<Built> {
    let step = move || {
        let loss = loss();
        opt.step(&loss.backward());
        loss
    };
    let shared = Rc::new(RefCell::new(step));
    let timed = shared.clone();
    Some(Built {
        timed: Box::new(move || drop(timed.borrow_mut()())),
        results: Box::new(move || vec![(0..3).map(|_| shared.borrow_mut()().item()).collect()]),
    })
}

pub fn build(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    if w.kind() == "gpt_forward" {
        let net = Gpt::new();
        fill(&net, numbers);
        let (ids, _) = text(w.int("batch"));
        return one(move || no_grad(|| net.forward(&ids)));
    }
    let n = match w.kind() {
        "tiny_step" => 4,
        kind if kind.ends_with("_step") => w.int("batch"),
        _ => return None,
    };
    let labels = Tensor::<Int>::from_vec(indices(n, 10), [n]);
    match w.kind() {
        "tiny_step" => {
            let net = Sequential::new().push(Linear::new(2, 16)).push(Tanh::new()).push(Linear::new(16, 1));
            fill(&net, numbers);
            let (x, y) = (tensor(numbers, &[4, 2], 1.0, DType::F32), tensor(numbers, &[4, 1], 1.0, DType::F32));
            steps(Sgd::new(net.parameters()).lr(0.1), move || net.forward(&x).mse_loss(&y))
        }
        "mlp_step" => {
            let sizes = w.sizes("sizes");
            let net = Sequential::new()
                .push(Linear::new(sizes[0], sizes[1]))
                .push(ReLU::new())
                .push(Linear::new(sizes[1], sizes[2]))
                .push(ReLU::new())
                .push(Linear::new(sizes[2], sizes[3]));
            fill(&net, numbers);
            let x = tensor(numbers, &[n, sizes[0]], 1.0, DType::F32);
            steps(Adam::new(net.parameters()).lr(1e-3), move || net.forward(&x).cross_entropy(&labels))
        }
        "lenet_step" => {
            let net = Sequential::new()
                .push(Conv2d::new(1, 16, 5).padding(2))
                .push(ReLU::new())
                .push(MaxPool2d::new(2))
                .push(Conv2d::new(16, 32, 5).padding(2))
                .push(ReLU::new())
                .push(MaxPool2d::new(2))
                .push(Flatten::new())
                .push(Linear::new(1568, 128))
                .push(ReLU::new())
                .push(Linear::new(128, 10));
            fill(&net, numbers);
            let x = tensor(numbers, &[n, 1, 28, 28], 1.0, DType::F32);
            steps(Adam::new(net.parameters()).lr(1e-3), move || net.forward(&x).cross_entropy(&labels))
        }
        "resnet_step" => {
            let net = ResNet::new();
            fill(&net, numbers);
            let x = tensor(numbers, &[n, 3, 32, 32], 1.0, DType::F32);
            steps(Adam::new(net.parameters()).lr(1e-3), move || net.forward(&x).cross_entropy(&labels))
        }
        "gpt_step" => {
            let net = Gpt::new();
            fill(&net, numbers);
            let (x, y) = text(n);
            let y = y.reshape([n * 128]);
            let opt = AdamW::new(net.parameters()).lr(1e-3).weight_decay(0.01);
            steps(opt, move || net.forward(&x).reshape([n * 128, 65]).cross_entropy(&y))
        }
        "lstm_step" => {
            let net = Recurrent { lstm: LSTM::new(32, 128).batch_first(true), head: Linear::new(128, 10) };
            fill(&net, numbers);
            let x = tensor(numbers, &[n, 64, 32], 1.0, DType::F32);
            let opt = Adam::new(net.parameters()).lr(1e-3);
            steps(opt, move || {
                let (y, _) = net.lstm.forward_with(&x, None);
                net.head.forward(&y.narrow(1, 63, 1).squeeze(1)).cross_entropy(&labels)
            })
        }
        _ => None,
    }
}

/// The inputs and targets of a language model: each the character after the other.
fn text(n: usize) -> (Tensor<Int>, Tensor<Int>) {
    let ids = Tensor::<Int>::from_vec(indices(n * 129, 65), [n, 129]);
    (ids.narrow(1, 0, 128).contiguous(), ids.narrow(1, 1, 128).contiguous())
}
