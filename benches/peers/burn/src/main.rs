//! The workloads in Burn, on its CPU backend `flex`.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation, module};
use peers_runner::{Built, Numbers, Workload, indices, weight_scale};

fn device() -> Device {
    Device::flex()
}

fn tensor<const D: usize>(numbers: &mut Numbers, shape: [usize; D], scale: f64, device: &Device) -> Tensor<D> {
    let values = numbers.draw_f32(shape.iter().product(), scale);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn whole<const D: usize>(values: Vec<i64>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(t: Tensor<D>) -> Vec<f64> {
    t.into_data().convert::<f64>().try_to_vec().expect("values")
}

/// A shape with leading axes of size 1, as broadcasting demands here.
fn padded<const D: usize>(shape: &[usize]) -> [usize; D] {
    let mut out = [1; D];
    out[D - shape.len()..].copy_from_slice(shape);
    out
}

/// A function to time that gives one tensor.
fn one<const D: usize>(f: impl Fn() -> Tensor<D> + 'static) -> Option<Built> {
    let f = Rc::new(f);
    let timed = f.clone();
    Some(Built {
        timed: Box::new(move || drop(std::hint::black_box(timed()))),
        results: Box::new(move || vec![values(f())]),
    })
}

fn elementwise<const D: usize>(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    let device = device();
    let mut t: Vec<Tensor<D>> = w.shapes().iter().map(|s| tensor(numbers, padded(s), 1.0, &device)).collect();
    let a = t.remove(0);
    match w.kind() {
        "add" => {
            let b = t.remove(0);
            one(move || a.clone() + b.clone())
        }
        "add_transposed" => {
            let b = t.remove(0);
            one(move || a.clone().transpose() + b.clone())
        }
        "add_recorded" => {
            let (a, b) = (a.autodiff().require_grad(), t.remove(0).autodiff());
            one(move || a.clone() + b.clone())
        }
        "exp" => one(move || a.clone().exp()),
        "tanh" => one(move || a.clone().tanh()),
        "sigmoid" => one(move || activation::sigmoid(a.clone())),
        "gelu_tanh" => one(move || activation::gelu_approximate(a.clone())),
        "sum" => one(move || a.clone().sum()),
        "sum_axis" => {
            let axis = w.int("axis");
            one(move || a.clone().sum_dim(axis))
        }
        "max_axis" => {
            let axis = w.int("axis");
            one(move || a.clone().max_dim(axis))
        }
        "softmax" => one(move || activation::softmax(a.clone(), D - 1)),
        "sort" => one(move || a.clone().sort(D - 1)),
        "matmul" => {
            let b = t.remove(0);
            one(move || a.clone().matmul(b.clone()))
        }
        _ => None,
    }
}

/// The layers of any of the nets, by kind.
#[derive(Module, Debug)]
struct Net {
    linear: Vec<Linear>,
    conv: Vec<Conv2d>,
    embedding: Vec<Embedding>,
    norm: Vec<LayerNorm>,
}

impl Net {
    fn new() -> Net {
        Net { linear: Vec::new(), conv: Vec::new(), embedding: Vec::new(), norm: Vec::new() }
    }

    /// A linear layer: the weight is drawn as `[out, in]` and kept as `[in, out]`.
    fn linear(&mut self, numbers: &mut Numbers, inputs: usize, outputs: usize, bias: bool, device: &Device) {
        let drawn = numbers.draw_f32(inputs * outputs, weight_scale(&[outputs, inputs]));
        let turned: Vec<f32> = (0..inputs * outputs).map(|i| drawn[i % outputs * inputs + i / outputs]).collect();
        let weight = Param::from_data(TensorData::new(turned, [inputs, outputs]), device);
        let bias = bias.then(|| Param::from_data(TensorData::new(vec![0f32; outputs], [outputs]), device));
        self.linear.push(Linear { weight, bias });
    }

    fn conv(&mut self, numbers: &mut Numbers, shape: [usize; 4], device: &Device) {
        let padding = burn::nn::PaddingConfig2d::Explicit(shape[2] / 2, shape[2] / 2, shape[2] / 2, shape[2] / 2);
        let config = Conv2dConfig::new([shape[1], shape[0]], [shape[2], shape[3]]).with_padding(padding);
        let mut conv = config.init(device);
        let drawn = numbers.draw_f32(shape.iter().product(), weight_scale(&shape));
        conv.weight = Param::from_data(TensorData::new(drawn, shape), device);
        conv.bias = Some(Param::from_data(TensorData::new(vec![0f32; shape[0]], [shape[0]]), device));
        self.conv.push(conv);
    }

    fn embedding(&mut self, numbers: &mut Numbers, shape: [usize; 2], device: &Device) {
        let drawn = numbers.draw_f32(shape[0] * shape[1], 0.1);
        self.embedding.push(Embedding { weight: Param::from_data(TensorData::new(drawn, shape), device) });
    }

    fn gpt(numbers: &mut Numbers, device: &Device) -> Net {
        let mut net = Net::new();
        net.embedding(numbers, [65, 128], device);
        net.embedding(numbers, [128, 128], device);
        for _ in 0..4 {
            for (inputs, outputs) in [(128, 384), (128, 128), (128, 512), (512, 128)] {
                net.linear(numbers, inputs, outputs, true, device);
            }
        }
        net.linear(numbers, 128, 65, false, device);
        net.norm = (0..9).map(|_| LayerNormConfig::new(128).init(device)).collect();
        net
    }

    fn gpt_forward(&self, ids: &Tensor<2, Int>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let [n, length] = ids.dims();
        let places = self.embedding[1].weight.val().unsqueeze::<3>();
        let mut x = self.embedding[0].forward(ids.clone()) + places;
        for b in 0..4 {
            let layer = |i: usize| &self.linear[4 * b + i];
            let qkv = layer(0).forward(self.norm[2 * b].forward(x.clone()));
            let qkv = qkv.reshape([n, length, 3, 4, 32]).permute([2, 0, 3, 1, 4]);
            let part = |i: usize| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
            let scores = part(0).matmul(part(1).transpose()) / 32f32.sqrt();
            let weights = activation::softmax(scores.mask_fill(mask.clone(), f32::NEG_INFINITY), 3);
            let h = weights.matmul(part(2)).swap_dims(1, 2).reshape([n, length, 128]);
            x = x + layer(1).forward(h);
            let h = activation::gelu_approximate(layer(2).forward(self.norm[2 * b + 1].forward(x.clone())));
            x = x + layer(3).forward(h);
        }
        self.linear[16].forward(self.norm[8].forward(x))
    }
}

/// Where scores are left out: above the diagonal.
fn causal(device: &Device) -> Tensor<4, Bool> {
    let values: Vec<bool> = (0..128 * 128).map(|i| i % 128 > i / 128).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, 128, 128]), device)
}

/// A training step that gives the loss.
fn steps(net: Net, lr: f64, optimizer: ModuleOptimizer, loss: impl Fn(&Net) -> Tensor<1> + 'static) -> Option<Built> {
    let mut state = Some((net, optimizer));
    let shared = Rc::new(RefCell::new(move || {
        let (net, mut optimizer) = state.take().expect("a net");
        let value = loss(&net);
        let grads = GradientsParams::from_grads(value.backward(), &net);
        let net = optimizer.step(lr, net, grads);
        state = Some((net, optimizer));
        value
    }));
    let timed = shared.clone();
    Some(Built {
        timed: Box::new(move || drop(timed.borrow_mut()())),
        results: Box::new(move || vec![(0..3).map(|_| values(shared.borrow_mut()().detach())[0]).collect()]),
    })
}

fn training(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    let device = device().autodiff();
    let n = match w.kind() {
        "tiny_step" => 4,
        kind if kind.ends_with("_step") => w.int("batch"),
        _ => return None,
    };
    let labels = whole(indices(n, 10), [n], &device);
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let adam = || AdamConfig::new().with_epsilon(1e-8).init();
    let mut net = Net::new();
    match w.kind() {
        "tiny_step" => {
            net.linear(numbers, 2, 16, true, &device);
            net.linear(numbers, 16, 1, true, &device);
            let (x, y) = (tensor(numbers, [4, 2], 1.0, &device), tensor(numbers, [4, 1], 1.0, &device));
            steps(net, 0.1, SgdConfig::new().init(), move |net| {
                let h = net.linear[0].forward::<2>(x.clone()).tanh();
                MseLoss::new().forward(net.linear[1].forward(h), y.clone(), Reduction::Mean)
            })
        }
        "mlp_step" => {
            let sizes = w.sizes("sizes");
            sizes.windows(2).for_each(|s| net.linear(numbers, s[0], s[1], true, &device));
            let x = tensor(numbers, [n, sizes[0]], 1.0, &device);
            steps(net, 1e-3, adam(), move |net| {
                let h = activation::relu(net.linear[0].forward::<2>(x.clone()));
                let h = activation::relu(net.linear[1].forward(h));
                cross_entropy.forward(net.linear[2].forward(h), labels.clone())
            })
        }
        "lenet_step" => {
            net.conv(numbers, [16, 1, 5, 5], &device);
            net.conv(numbers, [32, 16, 5, 5], &device);
            net.linear(numbers, 1568, 128, true, &device);
            net.linear(numbers, 128, 10, true, &device);
            let x = tensor(numbers, [n, 1, 28, 28], 1.0, &device);
            steps(net, 1e-3, adam(), move |net| {
                let mut h = x.clone();
                for conv in &net.conv {
                    h = module::max_pool2d(activation::relu(conv.forward(h)), MaxPoolOptions::new([2, 2]));
                }
                let h = activation::relu(net.linear[0].forward::<2>(h.flatten(1, 3)));
                cross_entropy.forward(net.linear[1].forward(h), labels.clone())
            })
        }
        "gpt_step" => {
            let net = Net::gpt(numbers, &device);
            let ids = whole(indices(n * 129, 65), [n, 129], &device);
            let (x, y) = (ids.clone().narrow(1, 0, 128), ids.narrow(1, 1, 128).reshape([n * 128]));
            let mask = causal(&device);
            let optimizer = AdamWConfig::new().with_weight_decay(0.01).with_epsilon(1e-8).init();
            steps(net, 1e-3, optimizer, move |net| {
                cross_entropy.forward(net.gpt_forward(&x, &mask).reshape([n * 128, 65]), y.clone())
            })
        }
        _ => None,
    }
}

fn build(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    if w.is_f64() {
        return None;
    }
    let device = device();
    let ranks = || w.shapes().iter().map(Vec::len).max().expect("an operand");
    match w.kind() {
        "add" | "add_transposed" | "add_recorded" | "exp" | "tanh" | "sigmoid" | "gelu_tanh" | "sum" | "sum_axis"
        | "max_axis" | "softmax" | "sort" | "matmul" => match ranks() {
            1 => elementwise::<1>(w, numbers),
            2 => elementwise::<2>(w, numbers),
            _ => elementwise::<3>(w, numbers),
        },
        "transpose_copy" => {
            let shape = &w.shapes()[0];
            let a: Tensor<2> = tensor(numbers, [shape[0], shape[1]], 1.0, &device);
            // What is read out is dense: the shortest way to a dense copy that Burn has.
            let f = Rc::new(move || a.clone().transpose().into_data());
            let timed = f.clone();
            Some(Built {
                timed: Box::new(move || drop(std::hint::black_box(timed()))),
                results: Box::new(move || vec![f().convert::<f64>().try_to_vec().expect("values")]),
            })
        }
        "layer_norm" => {
            let shape = &w.shapes()[0];
            let a: Tensor<2> = tensor(numbers, [shape[0], shape[1]], 1.0, &device);
            let mut norm = LayerNormConfig::new(shape[1]).init(&device);
            norm.gamma = Param::from_tensor(tensor(numbers, [shape[1]], 1.0, &device));
            norm.beta = Some(Param::from_tensor(tensor(numbers, [shape[1]], 1.0, &device)));
            one(move || norm.forward(a.clone()))
        }
        "gather" => {
            let shape = &w.shapes()[0];
            let a: Tensor<2> = tensor(numbers, [shape[0], shape[1]], 1.0, &device);
            let rows = w.int("rows");
            let i = whole(indices(rows, shape[0]), [rows], &device);
            one(move || a.clone().select(0, i.clone()))
        }
        "max_pool" => {
            let a: Tensor<4> = tensor(numbers, w.shapes()[0].clone().try_into().expect("four axes"), 1.0, &device);
            let (k, s, p) = (w.int("kernel"), w.int("stride"), w.int("padding"));
            one(move || {
                module::max_pool2d(a.clone(), MaxPoolOptions::new([k, k]).with_stride([s, s]).with_padding([p, p]))
            })
        }
        "conv" | "conv_backward" => {
            let four = |name: &str| <[usize; 4]>::try_from(w.sizes(name)).expect("four axes");
            let x: Tensor<4> = tensor(numbers, four("x"), 1.0, &device);
            let kernel: Tensor<4> = tensor(numbers, four("w"), 0.1, &device);
            let (s, p, groups) = (w.int("stride"), w.int("padding"), w.int("groups"));
            let run = move |x: &Tensor<4>, kernel: &Tensor<4>| {
                module::conv2d(x.clone(), kernel.clone(), None, ConvOptions::new([s, s], [p, p], [1, 1], groups))
            };
            if w.kind() == "conv" {
                return one(move || run(&x, &kernel));
            }
            let g = tensor(numbers, run(&x, &kernel).dims(), 1.0, &device).autodiff();
            let (x, kernel) = (x.autodiff().require_grad(), kernel.autodiff().require_grad());
            let both = Rc::new(move || {
                let mut grads = (run(&x, &kernel) * g.clone()).sum().backward();
                [&x, &kernel].map(|v| v.grad_remove(&mut grads).expect("a gradient"))
            });
            let timed = both.clone();
            Some(Built {
                timed: Box::new(move || drop(timed())),
                results: Box::new(move || both().into_iter().map(values).collect()),
            })
        }
        "chain" => {
            let x = Tensor::<1>::from_floats([0.5], &device).autodiff().require_grad();
            let length = w.int("length");
            one(move || {
                let mut y = x.clone();
                for _ in 0..length {
                    y = y.sin() * 0.9;
                }
                let mut grads = y.backward();
                x.grad_remove(&mut grads).expect("a gradient")
            })
        }
        "gpt_forward" => {
            let net = Net::gpt(numbers, &device);
            let n = w.int("batch");
            let ids = whole(indices(n * 129, 65), [n, 129], &device).narrow(1, 0, 128);
            let mask = causal(&device);
            one(move || net.gpt_forward(&ids, &mask))
        }
        _ => training(w, numbers),
    }
}

fn main() {
    let options = peers_runner::options();
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", options.threads.to_string()) };
    peers_runner::main(&options, "Burn", "0.22 (flex)", build);
}
