//! A fused operation equals its composition from simpler ones, in value and in gradient.

use proptest::prelude::*;
use wengert::layout::Cut;
use wengert::{
    AttentionOptions, Backward, Conv2dOptions, DType, Differentiate, Gradients, Int, Interpolation, Pool2d, Tensor,
    manual_seed,
};

/// Normally distributed numbers in double precision, as variables.
fn variables<const N: usize>(seed: u64, shapes: [&[usize]; N]) -> [Tensor; N] {
    manual_seed(seed);
    shapes.map(|shape| Tensor::randn(shape).to_dtype(DType::F64).contiguous().requires_grad())
}

/// The gradients of a sum in which each element of `y` has a weight of its own.
fn backward(y: &Tensor) -> Gradients {
    let weights = (0..y.elements()).map(|i| (i as f64 * 0.7 + 0.4).sin() + 0.1).collect::<Vec<f64>>();
    (y * Tensor::from_vec(weights, y.shape())).sum().backward()
}

#[track_caller]
fn close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let (a, b) = (a.to_vec::<f64>(), b.to_vec::<f64>());
    let largest = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= 1e-12 * largest, "{what}, element {i}: {a} and {b}");
    }
}

/// That two ways to compute the same agree in value and in the gradient of every variable.
#[track_caller]
fn same(variables: &[Tensor], fused: impl Fn(&[Tensor]) -> Tensor, composed: impl Fn(&[Tensor]) -> Tensor) {
    let (y, reference) = (fused(variables), composed(variables));
    close("value", &y, &reference);
    let (grads, reference) = (backward(&y), backward(&reference));
    for (i, v) in variables.iter().enumerate() {
        close(&format!("gradient {i}"), grads.of(v), reference.of(v));
    }
}

#[test]
fn softmax_is_a_share_of_exponentials() {
    // Lanes side by side, short rows, which are turned, and rows by themselves.
    for (shape, axis) in [(&[5][..], 0), (&[4, 7], -1), (&[3, 5, 2], 1), (&[1, 1], 0), (&[3, 61], 1), (&[2, 300], 1)] {
        let x = variables(1, [shape]);
        let share = |v: &[Tensor]| {
            let e = (&v[0] - v[0].detach().max_keepdim(axis)).exp();
            &e / e.sum_keepdim(axis)
        };
        same(&x, |v| v[0].softmax(axis), share);
        same(&x, |v| v[0].log_softmax(axis), |v| share(v).log());
    }
}

#[test]
fn cross_entropy_is_minus_the_log_of_the_labels_share() {
    let x = variables(2, [&[6, 4]]);
    let labels = Tensor::<Int>::from_vec(vec![0_i64, 3, 1, 1, 2, 0], [6]);
    same(&x, |v| v[0].cross_entropy(&labels), |v| -v[0].log_softmax(1).gather(1, &labels.unsqueeze(1)).mean());
}

#[test]
fn losses_and_activations_are_what_their_formulas_say() {
    let v = variables(3, [&[3, 4], &[3, 4]]);
    same(&v, |v| v[0].mse_loss(&v[1]), |v| (&v[0] - &v[1]).square().mean());
    let x = &v[..1];
    same(x, |v| v[0].sigmoid(), |v| 1.0 / (1.0 + v[0].neg().exp()));
    same(x, |v| v[0].gelu(), |v| &v[0] * 0.5 * (1.0 + (&v[0] / 2f64.sqrt()).erf()));
    same(x, |v| v[0].tanh(), |v| 1.0 - 2.0 / ((&v[0] * 2.0).exp() + 1.0));
    same(x, |v| v[0].relu(), |v| v[0].maximum(0.0));
    same(x, |v| v[0].leaky_relu(0.25), |v| v[0].maximum(&v[0] * 0.25));
    same(x, |v| v[0].clamp(-0.5, 0.75), |v| v[0].maximum(-0.5).minimum(0.75));
    same(x, |v| v[0].square(), |v| &v[0] * &v[0]);
    same(x, |v| v[0].abs(), |v| v[0].maximum(v[0].neg()));
    same(x, |v| v[0].mean_axis(1), |v| v[0].sum_axis(1) / 4.0);
}

#[test]
fn batch_norm_is_a_shift_and_a_scale() {
    for shape in [&[5, 3][..], &[2, 3, 4], &[2, 3, 2, 4]] {
        let v = variables(4, [shape, &[3], &[3]]);
        let others: Vec<usize> = (0..shape.len()).filter(|&a| a != 1).collect();
        let mut beside = vec![1; shape.len()];
        beside[1] = 3;
        let moments = |x: &Tensor| {
            let mean = x.mean_keepdim(&others);
            let variance = (x - &mean).square().mean_keepdim(&others);
            (mean, variance)
        };
        let composed = |v: &[Tensor]| {
            let (mean, variance) = moments(&v[0]);
            let y = (&v[0] - mean) / (variance + 1e-3).sqrt();
            y * v[1].reshape(&beside) + v[2].reshape(&beside)
        };
        same(&v, |v| v[0].batch_norm(Some((&v[1], &v[2])), 1e-3).0, composed);
        same(&v[..1], |v| v[0].batch_norm(None, 1e-3).1, |v| moments(&v[0]).0.reshape([3]));
        same(&v[..1], |v| v[0].batch_norm(None, 1e-3).2, |v| moments(&v[0]).1.reshape([3]));
        // With given statistics, through which gradients flow, too.
        let given = |v: &[Tensor]| {
            let spread = (v[2].square() + 1e-3).sqrt();
            (&v[0] - v[1].reshape(&beside)) / spread.reshape(&beside)
        };
        same(&v, |v| v[0].batch_norm_with(&v[1], &v[2].square(), None, 1e-3), given);
    }
}

#[test]
fn a_running_sum_is_a_product_with_a_triangle() {
    let x = variables(5, [&[4, 6]]);
    let at = |n: usize| Tensor::arange(0.0, n as f64, 1.0).to_dtype(DType::F64);
    let triangle = at(6).unsqueeze(1).le(at(6)).to_float_as(DType::F64);
    same(&x, |v| v[0].cumsum(1), |v| v[0].matmul(&triangle));
}

#[test]
fn joining_and_picking_are_sums_of_slices() {
    let v = variables(6, [&[2, 3], &[2, 3]]);
    let at = |x: &Tensor, left: isize, right: isize| x.pad(&[(0, 0), (left, right)], 0.0);
    same(&v, |v| Tensor::cat(v, 1), |v| at(&v[0], 0, 3) + at(&v[1], 3, 0));
    same(&v, |v| Tensor::stack(v, 0), |v| Tensor::cat(&[v[0].unsqueeze(0), v[1].unsqueeze(0)], 0));
    let index = Tensor::<Int>::from_vec(vec![2_i64, 0, 2, 1], [4]);
    let rows = |v: &[Tensor]| [2, 0, 2, 1].map(|i| v[0].narrow(1, i, 1));
    same(&v[..1], |v| v[0].index_select(1, &index), |v| Tensor::cat(&rows(v), 1));
    let spread = index.unsqueeze(0).expand([2, 4]);
    same(&v[..1], |v| v[0].gather(1, &spread), |v| Tensor::cat(&rows(v), 1));
    let one_hot = |n: usize| {
        let classes = wengert::Int::arange(0, n as i64);
        index.unsqueeze(1).eq(classes).to_float_as(DType::F64)
    };
    let v = variables(7, [&[2, 3], &[2, 4]]);
    same(&v, |v| v[0].scatter_add(1, &spread, &v[1]), |v| &v[0] + v[1].matmul(&one_hot(3)));
    same(&v, |v| v[0].index_add(1, &index, &v[1]), |v| &v[0] + v[1].matmul(&one_hot(3)));
    let (sorted, places) = v[0].sort(1, false);
    close("sorted", &sorted, &v[0].gather(1, &places));
    same(&v[..1], |v| v[0].sort(1, true).0, |v| v[0].gather(1, &v[0].argsort(1, true)));
}

/// The windows of the last two axes, one slice for each place in the window: `[.., OH, OW]` each, row by row.
fn slices(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    filling: f64,
) -> Vec<Tensor> {
    let lead = x.rank() - 2;
    let mut pairs = vec![(0, 0); lead];
    pairs.extend(padding.map(|p| (p as isize, p as isize)));
    let x = x.pad(&pairs, filling);
    let count = |i: usize| (x.shape()[lead + i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
    let places = (0..kernel[0]).flat_map(|row| (0..kernel[1]).map(move |column| [row, column]));
    places
        .map(|place| {
            let whole = x.shape()[..lead].iter().map(|&count| Cut { start: 0, step: 1, count });
            let part = (0..2).map(|i| Cut { start: place[i] * dilation[i], step: stride[i] as isize, count: count(i) });
            x.slice_cuts(&whole.chain(part).collect::<Vec<Cut>>())
        })
        .collect()
}

/// A convolution as a sum of matrix products, one for each place in the kernel and each group.
fn convolved(x: &Tensor, w: &Tensor, b: Option<&Tensor>, o: Conv2dOptions) -> Tensor {
    let (inner, outer) = (w.shape()[1], w.shape()[0] / o.groups);
    let parts: Vec<Tensor> = (0..o.groups)
        .map(|group| {
            let x = x.narrow(1, group * inner, inner);
            let w = w.narrow(0, group * outer, outer);
            let kernel = [w.shape()[2], w.shape()[3]];
            let windows = slices(&x, kernel, o.stride, o.padding, o.dilation, 0.0);
            let products = windows.iter().enumerate().map(|(k, x)| {
                let w = w.narrow(2, k / kernel[1], 1).narrow(3, k % kernel[1], 1).squeeze([2, 3]);
                x.permute([0, 2, 3, 1]).matmul(&w.t()).permute([0, 3, 1, 2])
            });
            products.reduce(|a, b| a + b).expect("a kernel of one place or more")
        })
        .collect();
    let y = Tensor::cat(&parts, 1);
    match b {
        Some(b) => y + b.reshape([1, -1, 1, 1]),
        None => y,
    }
}

/// Sizes that fit: kernel, stride, padding, dilation along one axis, and positions beyond what the window needs.
fn window() -> impl Strategy<Value = (usize, usize, usize, usize, usize)> {
    (1..4usize, 1..4usize, 0..3usize, 1..3usize, 0..4usize)
}

/// The size of an axis on which a window has room.
fn size((kernel, _, padding, dilation, spare): (usize, usize, usize, usize, usize)) -> usize {
    (dilation * (kernel - 1) + 1 + spare).saturating_sub(2 * padding).max(1)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_convolution_is_a_sum_of_products(
        (a, b) in (window(), window()), images in 0..3usize, groups in 1..3usize, inner in 1..3usize,
        outer in 1..3usize, biased: bool, seed in 0..1000u64,
    ) {
        let o = Conv2dOptions::new().stride([a.1, b.1]).padding([a.2, b.2]).dilation([a.3, b.3]).groups(groups);
        let v = variables(seed, [
            &[images, groups * inner, size(a), size(b)],
            &[groups * outer, inner, a.0, b.0],
            &[groups * outer],
        ]);
        if biased {
            same(&v, |v| v[0].conv2d(&v[1], Some(&v[2]), o), |v| convolved(&v[0], &v[1], Some(&v[2]), o));
        } else {
            same(&v[..2], |v| v[0].conv2d(&v[1], None, o), |v| convolved(&v[0], &v[1], None, o));
        }
    }

    #[test]
    fn pooling_takes_the_largest_and_the_mean_of_windows(
        (a, b) in (window(), window()), lead in prop::collection::vec(0..3usize, 0..3), seed in 0..1000u64,
    ) {
        let padding = [a.2.min(a.0 / 2), b.2.min(b.0 / 2)];
        let (a, b) = ((a.0, a.1, padding[0], a.3, a.4), (b.0, b.1, padding[1], b.3, b.4));
        let shape: Vec<usize> = lead.iter().copied().chain([size(a), size(b)]).collect();
        let (kernel, stride, dilation) = ([a.0, b.0], [a.1, b.1], [a.3, b.3]);
        let pool = Pool2d::new(kernel).stride(stride).padding(padding).dilation(dilation);
        // With dilation a window may straddle a short axis, and then there is nothing to take.
        let hollow = |w: (usize, usize, usize, usize, usize)| {
            let size = size(w);
            let starts = (0..=size + 2 * w.2 - w.3 * (w.0 - 1) - 1).step_by(w.1);
            starts.map(|s| (0..w.0).map(move |k| s + k * w.3)).any(|mut p| p.all(|p| p < w.2 || p >= size + w.2))
        };
        let v = variables(seed, [&shape]);
        if hollow(a) || hollow(b) {
            prop_assert!(v[0].try_max_pool2d(pool).is_err());
            return Ok(());
        }
        let windows = |v: &[Tensor], filling| {
            Tensor::stack(&slices(&v[0], kernel, stride, padding, dilation, filling), 0)
        };
        same(&v, |v| v[0].max_pool2d(pool), |v| windows(v, f64::NEG_INFINITY).max_axis(0));
        same(&v, |v| v[0].avg_pool2d(pool), |v| windows(v, 0.0).mean_axis(0));
    }
}

#[test]
fn attention_is_a_softmax_between_two_products() {
    // Beyond one block of rows and of keys; few heads, whose rows are summed in parts, and many.
    for (heads, rows, keys) in [(1, 150, 530), (20, 70, 9)] {
        let v = variables(8, [&[heads, rows, 3], &[heads, keys, 3], &[heads, keys, 2]]);
        let scores = |v: &[Tensor]| v[0].matmul(&v[1].t()) / 3f64.sqrt();
        let plain = AttentionOptions::new;
        same(&v, |v| v[0].scaled_dot_product_attention(&v[1], &v[2], plain()), |v| scores(v).softmax(-1).matmul(&v[2]));
        let causal = Int::arange(0, rows as i64).unsqueeze(1).ge(Int::arange(0, keys as i64));
        let never = Tensor::full_dtype((), f64::NEG_INFINITY, DType::F64);
        same(
            &v,
            |v| v[0].scaled_dot_product_attention(&v[1], &v[2], plain().causal(true)),
            |v| causal.where_(&scores(v), &never).softmax(-1).matmul(&v[2]),
        );
        let close_to = |p| {
            let y = v[0].scaled_dot_product_attention(&v[1], &v[2], plain().dropout(p));
            (y - v[0].scaled_dot_product_attention(&v[1], &v[2], plain())).abs().max().item()
        };
        assert!(close_to(1e-9) < 1e-6 && close_to(0.5) > 1e-3);
    }
    let v = variables(9, [&[2, 3], &[0, 3], &[0, 2]]);
    let y = v[0].scaled_dot_product_attention(&v[1], &v[2], AttentionOptions::new());
    assert_eq!(y.to_vec::<f64>(), [0.0; 4], "without keys");
    assert_eq!(backward(&y).of(&v[0]).to_vec::<f64>(), [0.0; 6]);
}

#[test]
fn an_unfolded_image_times_a_filter_is_the_convolution() {
    let v = variables(10, [&[2, 3, 6, 5], &[4, 3, 3, 2]]);
    let options = Conv2dOptions::new().stride([2, 1]).padding([1, 0]).dilation([1, 2]);
    let product = |v: &[Tensor]| {
        let windows = v[0].unfold([3, 2], options);
        v[1].reshape([4, -1]).matmul(&windows).reshape([2, 4, 3, 3])
    };
    same(&v, |v| v[0].conv2d(&v[1], None, options), product);
}

#[test]
fn a_transposed_convolution_is_the_transpose() {
    // <conv(x), y> is <x, conv_transpose(y)>; of an even height no window begins at the last row.
    for (height, left_over) in [(7, 0), (8, 1)] {
        let [x, w, y] = variables(11, [&[2, 4, height, 5], &[6, 2, 3, 2], &[2, 6, 4, 4]]);
        let options = Conv2dOptions::new().stride([2, 1]).padding([1, 0]).groups(2);
        let forth = (x.conv2d(&w, None, options) * &y).sum().item();
        let back = (y.conv_transpose2d(&w, None, options.output_padding([left_over, 0])) * &x).sum().item();
        assert!((forth - back).abs() < 1e-12 * forth.abs().max(1.0), "{forth} and {back}");
    }
}

#[test]
fn images_are_resampled_as_pytorch_does() {
    let x = Tensor::from_vec(vec![0.0_f64, 1.0, 4.0, 9.0, 16.0, 25.0], [1, 1, 2, 3]);
    let check = |y: Tensor, shape: [usize; 4], values: &[f64]| {
        close("resampled", &y, &Tensor::from_vec(values.to_vec(), shape));
    };
    let small = [1, 1, 3, 4];
    check(
        x.interpolate([3, 4], Interpolation::Nearest),
        small,
        &[0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0, 4.0, 9.0, 9.0, 16.0, 25.0],
    );
    check(
        x.interpolate([3, 4], Interpolation::Linear),
        small,
        &[0.0, 0.625, 2.125, 4.0, 4.5, 7.0, 10.75, 14.5, 9.0, 13.375, 19.375, 25.0],
    );
    let (a, b) = (2.0 / 3.0, 43.0 / 6.0);
    check(
        x.interpolate([3, 4], Interpolation::AlignedLinear),
        small,
        &[0.0, a, 2.0, 4.0, 4.5, b, 10.5, 14.5, 9.0, 13.0 + a, 19.0, 25.0],
    );
    let (first, middle) = ([6.5 / 17.0, 16.5 / 17.0], 45.5 / 17.0);
    let y = x.interpolate_by(&[1.5, 1.7], Interpolation::Linear);
    check(y.narrow(2, 0, 1), [1, 1, 1, 5], &[0.0, first[0], first[1], middle, 4.0]);
}

#[test]
fn cells_of_recurrent_layers_are_gates_and_sums() {
    for (n, size) in [(1, 1), (3, 5), (2, 40)] {
        let gates = |t: &Tensor, k: usize| t.narrow(1, k * size, size);
        let v = variables(11, [&[n, 4 * size], &[n, 4 * size], &[n, size]]);
        let lstm = |v: &[Tensor]| {
            let sum = &v[0] + &v[1];
            let [i, f, o] = [0, 1, 3].map(|k| gates(&sum, k).sigmoid());
            let cell = f * &v[2] + i * gates(&sum, 2).tanh();
            Tensor::cat(&[o * cell.tanh(), cell], 1)
        };
        let fused = |v: &[Tensor]| {
            let (h, c) = v[0].lstm_cell(&v[1], &v[2]);
            Tensor::cat(&[h, c], 1)
        };
        same(&v, fused, lstm);
        let v = variables(12, [&[n, 3 * size], &[n, 3 * size], &[n, size]]);
        let gru = |v: &[Tensor]| {
            let [r, z] = [0, 1].map(|k| (gates(&v[0], k) + gates(&v[1], k)).sigmoid());
            let candidate = (gates(&v[0], 2) + r * gates(&v[1], 2)).tanh();
            (1.0 - &z) * candidate + z * &v[2]
        };
        same(&v, |v| v[0].gru_cell(&v[1], &v[2]), gru);
    }
}

#[test]
fn an_lstm_over_a_sequence_is_a_cell_and_a_product_at_every_step() {
    // Fewer samples than a tile has rows, tasks of several strips, and a weight of several panels and slabs.
    for (batch, time, size) in [(1, 1, 1), (3, 6, 5), (2, 3, 90), (37, 2, 11)] {
        let v = variables(13, [&[batch, time, 4 * size], &[4 * size, size], &[batch, size], &[batch, size]]);
        for reverse in [false, true] {
            let steps = |v: &[Tensor]| {
                let (mut h, mut c, mut steps) = (v[2].clone(), v[3].clone(), Vec::new());
                for t in 0..time {
                    let t = if reverse { time - 1 - t } else { t };
                    let of_hidden = h.matmul(&v[1].t());
                    (h, c) = v[0].narrow(1, t, 1).squeeze(1).lstm_cell(&of_hidden, &c);
                    steps.push(Tensor::cat(&[&h, &c], 1));
                }
                if reverse {
                    steps.reverse();
                }
                Tensor::stack(&steps, 1)
            };
            let whole = |v: &[Tensor]| {
                let (h, c) = v[0].lstm(&v[1], &v[2], &v[3], reverse);
                Tensor::cat(&[h, c], 2)
            };
            same(&v, whole, steps);
            // The gradients' own gradients, where only the last hidden state counts.
            let last = |y: Tensor| y.narrow(1, if reverse { 0 } else { time - 1 }, 1).narrow(2, 0, size);
            let second = |f: &dyn Fn(&[Tensor]) -> Tensor| {
                let loss = last(f(&v)).square().sum();
                let grads = loss.backward_with(Backward::new().create_graph());
                let second = (grads.of(&v[0]).square().sum() + grads.of(&v[1]).square().sum()).backward();
                v.iter().map(|v| second.of(v).clone()).collect::<Vec<Tensor>>()
            };
            for (i, (whole, steps)) in second(&whole).iter().zip(&second(&steps)).enumerate() {
                close(&format!("second gradient {i}"), whole, steps);
            }
        }
    }
}

#[test]
fn a_large_mean_costs_a_row_no_accuracy() {
    // Exact in single precision, with a mean of thousands and a spread of one.
    let values = (0..400).map(|i| 4096.0 + ((i * 37 % 101) as f32 - 50.0) / 32.0).collect::<Vec<f32>>();
    let x = Tensor::from_vec(values, [2, 4, 50]);
    let wide = x.to_dtype(DType::F64);
    type Norm = fn(&Tensor) -> Tensor;
    let norms: [(&str, Norm); 4] = [
        ("layer_norm", |x| x.layer_norm([4, 50], None, None, 1e-5)),
        ("group_norm", |x| x.group_norm(2, None, None, 1e-5)),
        ("instance_norm", |x| x.instance_norm(None, None, 1e-5)),
        ("rms_norm", |x| x.rms_norm([50], None, 1e-5)),
    ];
    for (name, norm) in norms {
        let error = (norm(&x).to_dtype(DType::F64) - norm(&wide)).abs().max().item();
        assert!(error < 5e-7, "{name} is off by {error}");
    }
}
