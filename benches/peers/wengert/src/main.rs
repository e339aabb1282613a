//! The workloads in Wengert.

mod nets;
mod peak;

use std::rc::Rc;

use peers_runner::{Built, Numbers, Workload, indices};
use wengert::prelude::*;

/// The next tensor of these numbers.
fn tensor(numbers: &mut Numbers, shape: &[usize], scale: f64, dtype: DType) -> Tensor {
    let values = numbers.draw(shape.iter().product(), scale);
    Tensor::from_vec(values, shape).to_dtype(dtype)
}

/// A function to time that gives one tensor.
fn one(f: impl Fn() -> Tensor + 'static) -> Option<Built> {
    several(move || vec![f()])
}

/// A function to time that gives some tensors.
fn several(f: impl Fn() -> Vec<Tensor> + 'static) -> Option<Built> {
    let f = Rc::new(f);
    let timed = f.clone();
    Some(Built {
        timed: Box::new(move || drop(std::hint::black_box(timed()))),
        results: Box::new(move || f().iter().map(|t| t.to_vec::<f64>()).collect()),
    })
}

/// `f` to time of the first operand, and of the second where there is one.
fn one_of(t: Vec<Tensor>, f: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> Option<Built> {
    let (a, b) = (t[0].clone(), t.last().expect("an operand").clone());
    let f = Rc::new(f);
    let (x, y, timed) = (a.clone(), b.clone(), f.clone());
    Some(Built {
        timed: Box::new(move || drop(std::hint::black_box(timed(&x, &y)))),
        results: Box::new(move || vec![f(&a, &b).to_vec()]),
    })
}

fn build(w: &Workload, numbers: &mut Numbers) -> Option<Built> {
    let dtype = if w.is_f64() { DType::F64 } else { DType::F32 };
    let operands =
        |numbers: &mut Numbers| -> Vec<Tensor> { w.shapes().iter().map(|s| tensor(numbers, s, 1.0, dtype)).collect() };
    match w.kind() {
        "add" => one_of(operands(numbers), |a, b| a + b),
        "add_transposed" => one_of(operands(numbers), |a, b| a.t() + b),
        "add_recorded" => {
            let t = operands(numbers);
            one_of(vec![t[0].requires_grad(), t[1].clone()], |a, b| a + b)
        }
        "exp" => one_of(operands(numbers), |a, _| a.exp()),
        "tanh" => one_of(operands(numbers), |a, _| a.tanh()),
        "sigmoid" => one_of(operands(numbers), |a, _| a.sigmoid()),
        "gelu_tanh" => one_of(operands(numbers), |a, _| a.gelu_tanh()),
        "sum" => one_of(operands(numbers), |a, _| a.sum()),
        "sum_axis" => {
            let axis = w.int("axis") as isize;
            one_of(operands(numbers), move |a, _| a.sum_axis(axis))
        }
        "max_axis" => {
            let axis = w.int("axis") as isize;
            one_of(operands(numbers), move |a, _| a.max_axis(axis))
        }
        "transpose_copy" => one_of(operands(numbers), |a, _| a.t().contiguous()),
        "softmax" => one_of(operands(numbers), |a, _| a.softmax(-1)),
        "sort" => one_of(operands(numbers), |a, _| a.sort(-1, false).0),
        "matmul" => one_of(operands(numbers), |a, b| a.matmul(b)),
        "layer_norm" => {
            let a = operands(numbers).remove(0);
            let n = a.size(-1);
            let (weight, bias) = (tensor(numbers, &[n], 1.0, dtype), tensor(numbers, &[n], 1.0, dtype));
            one(move || a.layer_norm([n], Some(&weight), Some(&bias), 1e-5))
        }
        "gather" => {
            let a = operands(numbers).remove(0);
            let i = Tensor::<Int>::from_vec(indices(w.int("rows"), a.size(0)), [w.int("rows")]);
            one(move || a.index_select(0, &i))
        }
        "max_pool" => {
            let window = Pool2d::new(w.int("kernel")).stride(w.int("stride")).padding(w.int("padding"));
            one_of(operands(numbers), move |a, _| a.max_pool2d(window))
        }
        "chain" => {
            let (x, length) = (scalar(0.5).requires_grad(), w.int("length"));
            one(move || {
                let mut y = x.clone();
                for _ in 0..length {
                    y = y.sin() * 0.9;
                }
                y.backward().of(&x).clone()
            })
        }
        "conv" | "conv_backward" => {
            let x = tensor(numbers, &w.sizes("x"), 1.0, dtype);
            let kernel = tensor(numbers, &w.sizes("w"), 0.1, dtype);
            let options =
                Conv2dOptions::new().stride(w.int("stride")).padding(w.int("padding")).groups(w.int("groups"));
            if w.kind() == "conv" {
                return one(move || x.conv2d(&kernel, None, options));
            }
            let g = tensor(numbers, x.conv2d(&kernel, None, options).shape(), 1.0, dtype);
            let (x, kernel) = (x.requires_grad(), kernel.requires_grad());
            several(move || {
                let y = x.conv2d(&kernel, None, options);
                let grads = y.backward_with(Backward::new().cotangent(&g));
                vec![grads.of(&x).clone(), grads.of(&kernel).clone()]
            })
        }
        "adamw" => {
            let n = w.int("elements");
            let params: Vec<Param> =
                (0..w.int("tensors")).map(|_| Param::new(tensor(numbers, &[n], 1.0, dtype))).collect();
            // Gradients come from a backward pass only: of products with what they are to be.
            let terms: Vec<Tensor> =
                params.iter().map(|p| (p.value() * tensor(numbers, &[n], 1.0, dtype)).sum()).collect();
            let loss = terms.into_iter().reduce(|a, b| a + b)?;
            let grads = Rc::new(loss.backward());
            let opt = AdamW::new(params.clone()).lr(1e-3).weight_decay(0.01);
            let opt = Rc::new(std::cell::RefCell::new(opt));
            let (timed, given) = (opt.clone(), grads.clone());
            Some(Built {
                timed: Box::new(move || drop(timed.borrow_mut().step(&given))),
                results: Box::new(move || {
                    (0..3).for_each(|_| drop(opt.borrow_mut().step(&grads)));
                    params[..2].iter().map(|p| p.value().to_vec()).collect()
                }),
            })
        }
        _ => nets::build(w, numbers),
    }
}

fn main() {
    let options = peers_runner::options();
    for w in &options.workloads {
        let rate = match w.kind() {
            "peak_flops" => peak::flops(options.threads),
            "peak_bytes" => peak::bytes(options.threads),
            _ => continue,
        };
        println!("{{\"name\": \"{}\", \"rate\": {rate}}}", w.name());
    }
    with_threads(options.threads, || peers_runner::main(&options, "Wengert", env!("CARGO_PKG_VERSION"), build));
}
