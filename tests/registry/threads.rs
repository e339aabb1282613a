//! Results have the same bits for any number of threads.

use wengert::dispatch::{Attrs, Op};
use wengert::registry::{Family, find};
use wengert::{AnyTensor, DType, Kind, Tensor, attrs, with_threads};

use crate::call::{as_variables, every_op, gradients_of, has_rule, lent, same_bits, samples};

/// That outputs and gradients have the same bits with 1, 2, 3 and 8 threads.
fn same_for_any_number(op: &'static Op, attrs: &Attrs, inputs: &[AnyTensor]) -> Result<(), String> {
    let run = |threads: usize| -> Result<Vec<AnyTensor>, String> {
        with_threads(threads, || {
            let inputs = if has_rule(op) { as_variables(inputs) } else { inputs.to_vec() };
            let outputs = lent(op, attrs, &inputs).map_err(|e| e.to_string())?;
            let gradients = if has_rule(op) { gradients_of(&inputs, &outputs) } else { Vec::new() };
            Ok(outputs.into_iter().chain(gradients).collect())
        })
    };
    let one = run(1)?;
    for threads in [2, 3, 8] {
        same_bits(&format!("{threads} threads: result"), &run(threads)?, &one)?;
    }
    Ok(())
}

#[test]
fn samples_have_the_same_bits() {
    every_op(|op| {
        let dtype = (op.info)().precisions[0];
        (0..4).flat_map(|seed| samples(op, seed, dtype)).try_for_each(|s| same_for_any_number(op, &s.attrs, &s.inputs))
    });
}

/// The elements of a sample over and over, so that they stay within what the operation takes.
fn tiled(x: &AnyTensor, n: usize) -> AnyTensor {
    fn tile<K: Kind>(x: Tensor<K>, n: usize) -> AnyTensor {
        let times = n.div_ceil(x.elements());
        x.reshape([1, -1]).expand([times, x.elements()]).reshape([-1]).narrow(0, 0, n).contiguous().into()
    }
    match x.dtype() {
        d if d.is_float() => tile(x.float().expect("floats"), n),
        d if d.is_int() => tile(x.int().expect("integers"), n),
        _ => tile(x.bool().expect("truth values"), n),
    }
}

#[test]
fn large_elementwise_results_have_the_same_bits() {
    const N: usize = 300_001;
    every_op(|op| {
        let info = (op.info)();
        if !matches!(info.family, Family::Map | Family::Zip | Family::Select) {
            return Ok(());
        }
        let sample = (0..100)
            .flat_map(|seed| samples(op, seed, info.precisions[0]))
            .find(|s| s.inputs.iter().all(|x| x.elements() > 0) && s.inputs.iter().any(|x| x.elements() > 3));
        let sample = sample.ok_or("has no sample of more than three elements")?;
        let inputs: Vec<AnyTensor> = sample.inputs.iter().map(|x| tiled(x, N)).collect();
        same_for_any_number(op, &sample.attrs, &inputs)
    });
}

/// Numbers that look random, the same on every machine.
fn noise(shape: &[usize], dtype: DType) -> AnyTensor {
    let n: usize = shape.iter().product();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let values = (0..n).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    });
    Tensor::from_vec(values.collect(), shape).to_dtype(dtype).into()
}

#[test]
fn large_reductions_and_products_have_the_same_bits() {
    for dtype in [DType::F32, DType::F64] {
        for name in ["sum", "mean", "max", "min"] {
            let op = find(name).expect("a reduction of the registry");
            for (shape, axes) in [
                (&[300_000][..], vec![0i64]),
                (&[3000, 100], vec![0]),
                (&[3000, 100], vec![1]),
                (&[30, 100, 100], vec![0, 2]),
                (&[3000, 100], vec![0, 1]),
                (&[3, 100_000], vec![1]),
            ] {
                same_for_any_number(op, &attrs! { axes: &axes[..] }, &[noise(shape, dtype)])
                    .unwrap_or_else(|e| panic!("{name} of {shape:?} over {axes:?}: {e}"));
            }
        }
        let op = find("matmul").expect("an operation of the registry");
        for (a, b) in [
            (&[200, 300][..], &[300, 100][..]),
            (&[1, 5000], &[5000, 300]),
            (&[8, 70, 90], &[90, 60]),
            (&[6, 50, 60], &[6, 60, 70]),
            (&[300], &[300, 700]),
            (&[700, 300], &[300]),
        ] {
            same_for_any_number(op, &Attrs::NONE, &[noise(a, dtype), noise(b, dtype)])
                .unwrap_or_else(|e| panic!("matmul of {a:?} and {b:?}: {e}"));
        }
        let op = find("linear").expect("an operation of the registry");
        for (x, features) in [(&[200, 300][..], 70), (&[3, 50, 2000], 90), (&[5000], 300)] {
            let inputs = [noise(x, dtype), noise(&[features, x[x.len() - 1]], dtype), noise(&[features], dtype)];
            same_for_any_number(op, &Attrs::NONE, &inputs).unwrap_or_else(|e| panic!("linear of {x:?}: {e}"));
        }
    }
}

#[test]
fn large_scans_orders_and_scatters_have_the_same_bits() {
    let whole = |op: &str, attrs: Attrs, inputs: &[AnyTensor]| {
        let shapes: Vec<String> = inputs.iter().map(|x| x.shape().to_string()).collect();
        same_for_any_number(find(op).expect("an operation of the registry"), &attrs, inputs)
            .unwrap_or_else(|e| panic!("{op} {{{attrs}}} of {shapes:?}: {e}"));
    };
    for shape in [&[70_000][..], &[1400, 50], &[50, 1400]] {
        let x = noise(shape, DType::F32);
        let places: Vec<i64> = (0..x.elements() as i64).map(|i| i * 7919 % 50).collect();
        let index: AnyTensor = Tensor::<wengert::Int>::from_vec(places, shape).into();
        let mut few = shape.to_vec();
        few[0] = 50;
        for op in ["cumsum", "cumprod", "cummax"] {
            whole(op, attrs! { axis: 0 }, std::slice::from_ref(&x));
        }
        whole("sort", attrs! { axis: 0, descending: true }, std::slice::from_ref(&x));
        whole("topk", attrs! { axis: 0, k: 20, largest: true }, std::slice::from_ref(&x));
        for op in ["scatter", "scatter_add"] {
            whole(op, attrs! { axis: 0 }, &[noise(&few, DType::F32), index.clone(), x.clone()]);
        }
        for axis in 0..shape.len() {
            let attrs = attrs! { axes: &[axis][..], correction: 1.0, p: 3.0 };
            for op in ["var", "std", "logsumexp", "norm", "prod", "count_nonzero"] {
                whole(op, attrs.clone(), std::slice::from_ref(&x));
            }
        }
    }
}

#[test]
fn large_sequences_have_the_same_bits() {
    let op = find("lstm").expect("an operation of the registry");
    for (batch, time, size) in [(33, 6, 40), (5, 50, 70), (300, 3, 20)] {
        let shapes = [&[batch, time, 4 * size][..], &[4 * size, size], &[batch, size], &[batch, size]];
        for dtype in [DType::F32, DType::F64] {
            let inputs = shapes.map(|shape| noise(shape, dtype));
            same_for_any_number(op, &attrs! { reverse: true }, &inputs)
                .unwrap_or_else(|e| panic!("lstm of {batch} samples, {time} steps, size {size}: {e}"));
        }
    }
}
