//! The workloads in Candle.

use std::rc::Rc;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};
use peers_runner::{Built, Numbers, Workload, indices, weight_scale};

const CPU: Device = Device::Cpu;

fn tensor(numbers: &mut Numbers, shape: &[usize], scale: f64, dtype: DType) -> Tensor {
    let values = numbers.draw(shape.iter().product(), scale);
    Tensor::from_vec(values, shape, &CPU).and_then(|t| t.to_dtype(dtype)).expect("a tensor")
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

/// A function to time that gives one tensor.
fn one(f: impl Fn() -> Result<Tensor> + 'static) -> Option<Built> {
    let f = Rc::new(f);
    let timed = f.clone();
    Some(Built {
        timed: Box::new(move || drop(std::hint::black_box(timed().expect("runs")))),
        results: Box::new(move || vec![values(&f().expect("runs"))]),
    })
}

/// A training step that gives the loss.
fn steps(mut step: impl FnMut() -> Result<Tensor> + 'static) -> Option<Built> {
    let shared = Rc::new(std::cell::RefCell::new(move || step().expect("runs")));
    let timed = shared.clone();
    Some(Built {
        timed: Box::new(move || drop(timed.borrow_mut()())),
        results: Box::new(move || vec![(0..3).map(|_| values(&shared.borrow_mut()())[0]).collect()]),
    })
}

/// Parameters in the order in which they are made.
#[derive(Default)]
struct Parameters {
    numbers: Numbers,
    all: Vec<Var>,
}

impl Parameters {
    fn add(&mut self, t: Tensor) -> Tensor {
        let var = Var::from_tensor(&t).expect("a parameter");
        self.all.push(var.clone());
        var.as_tensor().clone()
    }
    fn weight(&mut self, shape: &[usize]) -> Tensor {
        let t = tensor(&mut self.numbers, shape, weight_scale(shape), DType::F32);
        self.add(t)
    }
    fn embedding(&mut self, shape: &[usize]) -> Tensor {
        let t = tensor(&mut self.numbers, shape, 0.1, DType::F32);
        self.add(t)
    }
    fn constant(&mut self, n: usize, value: f32) -> Tensor {
        self.add(Tensor::full(value, n, &CPU).expect("a tensor"))
    }
    fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        Linear { weight: self.weight(&[outputs, inputs]), bias: self.constant(outputs, 0.0) }
    }
    fn norm(&mut self, n: usize) -> Linear {
        Linear { weight: self.constant(n, 1.0), bias: self.constant(n, 0.0) }
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // As candle_nn::Linear does for inputs of three axes: one product instead of a batch of them.
        let y = match *x.dims() {
            [n, length, width] => {
                x.reshape((n * length, width))?.matmul(&self.weight.t()?)?.reshape((n, length, ()))?
            }
            _ => x.matmul(&self.weight.t()?)?,
        };
        y.broadcast_add(&self.bias)
    }

    /// Layer normalisation that can be trained: Candle's fused one has no gradient.
    fn normalise(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

struct Block {
    norms: [Linear; 2],
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

struct Gpt {
    tokens: Tensor,
    places: Tensor,
    blocks: Vec<Block>,
    norm: Linear,
    head: Tensor,
    mask: Tensor,
}

impl Gpt {
    fn new(p: &mut Parameters) -> Gpt {
        let (tokens, places) = (p.embedding(&[65, 128]), p.embedding(&[128, 128]));
        let block = |p: &mut Parameters| {
            let (qkv, out) = (p.linear(128, 384), p.linear(128, 128));
            let (up, down) = (p.linear(128, 512), p.linear(512, 128));
            Block { norms: [p.norm(128), p.norm(128)], qkv, out, up, down }
        };
        let blocks = (0..4).map(|_| block(p)).collect();
        let mask: Vec<f32> = (0..128 * 128).map(|i| if i % 128 > i / 128 { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (128, 128), &CPU).expect("a mask");
        Gpt { tokens, places, blocks, norm: p.norm(128), head: p.weight(&[65, 128]), mask }
    }

    fn forward(&self, ids: &Tensor, trained: bool) -> Result<Tensor> {
        let (n, length) = ids.dims2()?;
        let normalise = |norm: &Linear, x: &Tensor| match trained {
            true => norm.normalise(x),
            false => candle_nn::ops::layer_norm(x, &norm.weight, &norm.bias, 1e-5),
        };
        let mut x =
            self.tokens.embedding(&ids.flatten_all()?)?.reshape((n, length, 128))?.broadcast_add(&self.places)?;
        for b in &self.blocks {
            let qkv = b
                .qkv
                .forward(&normalise(&b.norms[0], &x)?)?
                .reshape((n, length, 3, 4, 32))?
                .permute((2, 0, 3, 1, 4))?;
            let part = |i| qkv.get(i)?.contiguous();
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let scores = (q.matmul(&k.t()?)? / 32f64.sqrt())?.broadcast_add(&self.mask)?;
            let weights = match trained {
                true => candle_nn::ops::softmax(&scores, D::Minus1)?,
                false => candle_nn::ops::softmax_last_dim(&scores)?,
            };
            let h = weights.matmul(&v)?.transpose(1, 2)?.reshape((n, length, 128))?;
            x = (&x + b.out.forward(&h)?)?;
            x = (&x + b.down.forward(&b.up.forward(&normalise(&b.norms[1], &x)?)?.gelu()?)?)?;
        }
        normalise(&self.norm, &x)?.reshape((n * length, 128))?.matmul(&self.head.t()?)
    }
}

fn adam(vars: Vec<Var>, weight_decay: f64) -> AdamW {
    AdamW::new(vars, ParamsAdamW { lr: 1e-3, weight_decay, ..Default::default() }).expect("an optimizer")
}

fn training(w: &Workload) -> Option<Built> {
    let mut p = Parameters::default();
    let n = match w.kind() {
        "tiny_step" => 4,
        kind if kind.ends_with("_step") => w.int("batch"),
        _ => return None,
    };
    let labels = Tensor::from_vec(indices(n, 10), n, &CPU).expect("labels");
    let cross_entropy = |logits: &Tensor, labels: &Tensor| candle_nn::loss::cross_entropy(logits, labels);
    match w.kind() {
        "tiny_step" => {
            let (a, b) = (p.linear(2, 16), p.linear(16, 1));
            let x = tensor(&mut p.numbers, &[4, 2], 1.0, DType::F32);
            let y = tensor(&mut p.numbers, &[4, 1], 1.0, DType::F32);
            let mut opt = SGD::new(p.all, 0.1).expect("an optimizer");
            steps(move || {
                let loss = candle_nn::loss::mse(&b.forward(&a.forward(&x)?.tanh()?)?, &y)?;
                opt.backward_step(&loss)?;
                Ok(loss)
            })
        }
        "mlp_step" => {
            let sizes = w.sizes("sizes");
            let layers: Vec<Linear> = sizes.windows(2).map(|s| p.linear(s[0], s[1])).collect();
            let x = tensor(&mut p.numbers, &[n, sizes[0]], 1.0, DType::F32);
            let mut opt = adam(p.all, 0.0);
            steps(move || {
                let h = layers[1].forward(&layers[0].forward(&x)?.relu()?)?.relu()?;
                let loss = cross_entropy(&layers[2].forward(&h)?, &labels)?;
                opt.backward_step(&loss)?;
                Ok(loss)
            })
        }
        "lenet_step" => {
            let kernels = [[16, 1, 5, 5], [32, 16, 5, 5]].map(|s| (p.weight(&s), p.constant(s[0], 0.0)));
            let (a, b) = (p.linear(1568, 128), p.linear(128, 10));
            let x = tensor(&mut p.numbers, &[n, 1, 28, 28], 1.0, DType::F32);
            let mut opt = adam(p.all, 0.0);
            steps(move || {
                let mut h = x.clone();
                for (kernel, bias) in &kernels {
                    let bias = bias.reshape((1, (), 1, 1))?;
                    h = h.conv2d(kernel, 2, 1, 1, 1)?.broadcast_add(&bias)?.relu()?.max_pool2d(2)?;
                }
                let loss = cross_entropy(&b.forward(&a.forward(&h.flatten_from(1)?)?.relu()?)?, &labels)?;
                opt.backward_step(&loss)?;
                Ok(loss)
            })
        }
        "gpt_step" => {
            let net = Gpt::new(&mut p);
            let ids = Tensor::from_vec(indices(n * 129, 65), (n, 129), &CPU).expect("ids");
            let x = ids.narrow(1, 0, 128).and_then(|t| t.contiguous()).expect("inputs");
            let y = ids.narrow(1, 1, 128).and_then(|t| t.contiguous()?.flatten_all()).expect("targets");
            let mut opt = adam(p.all, 0.01);
            steps(move || {
                let loss = cross_entropy(&net.forward(&x, true)?, &y)?;
                opt.backward_step(&loss)?;
                Ok(loss)
            })
        }
        _ => None,
    }
}

fn build(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    let dtype = if w.is_f64() { DType::F64 } else { DType::F32 };
    let operands =
        |numbers: &mut Numbers| w.shapes().iter().map(|s| tensor(numbers, s, 1.0, dtype)).collect::<Vec<_>>();
    match w.kind() {
        "add" | "matmul" => {
            let t = operands(numbers);
            let (a, b, matmul) = (t[0].clone(), t[1].clone(), w.kind() == "matmul");
            one(move || match matmul {
                true => a.matmul(&b),
                false if a.dims() == b.dims() => &a + &b,
                false => a.broadcast_add(&b),
            })
        }
        "add_transposed" => {
            let t = operands(numbers);
            one(move || t[0].t()? + &t[1])
        }
        "add_recorded" => {
            let t = operands(numbers);
            let a = Var::from_tensor(&t[0]).expect("a variable");
            one(move || a.as_tensor() + &t[1])
        }
        "exp" | "tanh" | "sigmoid" | "gelu_tanh" | "sum" => {
            let (a, kind) = (operands(numbers).remove(0), w.kind().to_string());
            one(move || match kind.as_str() {
                "exp" => a.exp(),
                "tanh" => a.tanh(),
                "sigmoid" => candle_nn::ops::sigmoid(&a),
                "gelu_tanh" => a.gelu(),
                _ => a.sum_all(),
            })
        }
        "sum_axis" | "max_axis" => {
            let (a, axis, sum) = (operands(numbers).remove(0), w.int("axis"), w.kind() == "sum_axis");
            one(move || if sum { a.sum(axis) } else { a.max(axis) })
        }
        "transpose_copy" => {
            let a = operands(numbers).remove(0);
            one(move || a.t()?.contiguous())
        }
        "softmax" => {
            let a = operands(numbers).remove(0);
            one(move || candle_nn::ops::softmax_last_dim(&a))
        }
        "layer_norm" => {
            let a = operands(numbers).remove(0);
            let n = a.dim(D::Minus1).expect("an axis");
            let (weight, bias) = (tensor(numbers, &[n], 1.0, dtype), tensor(numbers, &[n], 1.0, dtype));
            one(move || candle_nn::ops::layer_norm(&a, &weight, &bias, 1e-5))
        }
        "gather" => {
            let (a, rows) = (operands(numbers).remove(0), w.int("rows"));
            let i = Tensor::from_vec(indices(rows, a.dims()[0]), rows, &CPU).expect("indices");
            one(move || a.index_select(&i, 0))
        }
        "max_pool" if w.int("padding") == 0 => {
            let (a, kernel, stride) = (operands(numbers).remove(0), w.int("kernel"), w.int("stride"));
            one(move || a.max_pool2d_with_stride(kernel, stride))
        }
        "chain" => {
            let x = Var::new(0.5f32, &CPU).expect("a variable");
            let length = w.int("length");
            one(move || {
                let mut y = x.as_tensor().clone();
                for _ in 0..length {
                    y = (y.sin()? * 0.9)?;
                }
                Ok(y.backward()?.get(x.as_tensor()).expect("a gradient").clone())
            })
        }
        "conv" | "conv_backward" => {
            let x = tensor(numbers, &w.sizes("x"), 1.0, dtype);
            let kernel = tensor(numbers, &w.sizes("w"), 0.1, dtype);
            let (padding, stride, groups) = (w.int("padding"), w.int("stride"), w.int("groups"));
            if w.kind() == "conv" {
                return one(move || x.conv2d(&kernel, padding, stride, 1, groups));
            }
            let (x, kernel) = (Var::from_tensor(&x).ok()?, Var::from_tensor(&kernel).ok()?);
            let shape = x.conv2d(&kernel, padding, stride, 1, groups).ok()?.dims().to_vec();
            let g = tensor(numbers, &shape, 1.0, dtype);
            let both = Rc::new(move || {
                let grads = (x.conv2d(&kernel, padding, stride, 1, groups)? * &g)?.sum_all()?.backward()?;
                Ok::<_, candle_core::Error>(
                    [x.as_tensor(), kernel.as_tensor()].map(|v| grads.get(v).expect("a gradient").clone()),
                )
            });
            let timed = both.clone();
            Some(Built {
                timed: Box::new(move || drop(timed().expect("runs"))),
                results: Box::new(move || both().expect("runs").iter().map(values).collect()),
            })
        }
        "adamw" => {
            let n = w.int("elements");
            let vars: Vec<Var> = (0..w.int("tensors"))
                .map(|_| Var::from_tensor(&tensor(numbers, &[n], 1.0, dtype)).expect("a variable"))
                .collect();
            // Gradients come from a backward pass only: of a product with what they are to be.
            let mut loss = Tensor::new(0f32, &CPU).expect("a number");
            for v in &vars {
                loss = (loss
                    + (v.as_tensor() * tensor(numbers, &[n], 1.0, dtype)).and_then(|t| t.sum_all()).expect("runs"))
                .expect("runs");
            }
            let grads = loss.backward().expect("runs");
            let opt = Rc::new(std::cell::RefCell::new(adam(vars.clone(), 0.01)));
            let timed = opt.clone();
            let grads = Rc::new(grads);
            let given = grads.clone();
            Some(Built {
                timed: Box::new(move || timed.borrow_mut().step(&given).expect("runs")),
                results: Box::new(move || {
                    (0..3).for_each(|_| opt.borrow_mut().step(&grads).expect("runs"));
                    vars[..2].iter().map(|v| values(v.as_tensor())).collect()
                }),
            })
        }
        "gpt_forward" => {
            let mut p = Parameters::default();
            let net = Gpt::new(&mut p);
            let n = w.int("batch");
            let ids = Tensor::from_vec(indices(n * 129, 65), (n, 129), &CPU).expect("ids");
            let ids = ids.narrow(1, 0, 128).and_then(|t| t.contiguous()).expect("inputs");
            // Parameters that are not tracked: nothing is recorded.
            let net = Gpt {
                tokens: net.tokens.detach(),
                places: net.places.detach(),
                head: net.head.detach(),
                norm: net.norm.detach(),
                mask: net.mask,
                blocks: net.blocks.iter().map(Block::detach).collect(),
            };
            one(move || net.forward(&ids, false))
        }
        _ => training(w),
    }
}

impl Linear {
    fn detach(&self) -> Linear {
        Linear { weight: self.weight.detach(), bias: self.bias.detach() }
    }
}

impl Block {
    fn detach(&self) -> Block {
        let [a, b] = &self.norms;
        let norms = [a.detach(), b.detach()];
        Block { norms, qkv: self.qkv.detach(), out: self.out.detach(), up: self.up.detach(), down: self.down.detach() }
    }
}

fn main() {
    let options = peers_runner::options();
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", options.threads.to_string()) };
    peers_runner::main(&options, "Candle", "0.11", build);
}
