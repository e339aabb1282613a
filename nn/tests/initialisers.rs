//! How parameters start: as PyTorch's do, and keyed by seed and path.

use wengert_nn::*;
use wengert_tensor::{DType, Tensor, manual_seed};

/// The layers of `fixtures/defaults.txt`, as its script makes them.
fn layer(name: &str) -> Option<Box<dyn Module>> {
    Some(match name {
        "Linear" => Box::new(Linear::new(150, 400)),
        "Bilinear" => Box::new(Bilinear::new(90, 30, 200)),
        "Conv1d" => Box::new(Conv1d::new(40, 400, 5).groups(4)),
        "Conv2d" => Box::new(Conv2d::new(30, 300, 3).groups(3)),
        "Conv3d" => Box::new(Conv3d::new(10, 300, [2, 3, 1])),
        "ConvTranspose1d" => Box::new(ConvTranspose1d::new(60, 300, 5).groups(4)),
        "ConvTranspose2d" => Box::new(ConvTranspose2d::new(30, 300, [2, 3])),
        "BatchNorm1d" => Box::new(BatchNorm1d::new(50)),
        "BatchNorm2d" => Box::new(BatchNorm2d::new(50)),
        "LayerNorm" => Box::new(LayerNorm::new([50])),
        "RMSNorm" => Box::new(RMSNorm::new([50])),
        "GroupNorm" => Box::new(GroupNorm::new(2, 50)),
        "InstanceNorm1d" => Box::new(InstanceNorm1d::new(50).affine(true)),
        "InstanceNorm2d" => Box::new(InstanceNorm2d::new(50).affine(true)),
        "Embedding" => Box::new(Embedding::new(200, 50)),
        "EmbeddingBag" => Box::new(EmbeddingBag::new(200, 50)),
        "MultiHeadAttention" => Box::new(MultiHeadAttention::new(60, 4)),
        "MultiHeadAttention-cross" => Box::new(MultiHeadAttention::new(60, 4).features(90, 40)),
        "TransformerEncoderLayer" => Box::new(TransformerEncoderLayer::new(40, 4).feedforward(300)),
        "TransformerDecoderLayer" => Box::new(TransformerDecoderLayer::new(40, 4).feedforward(300)),
        "RNN" => Box::new(RNN::new(80, 300)),
        "LSTM" => Box::new(LSTM::new(80, 100).layers(2).bidirectional(true)),
        "GRU" => Box::new(GRU::new(80, 100)),
        _ => return None,
    })
}

/// Mean, deviation and largest magnitude.
fn moments(t: &Tensor) -> (f64, f64, f64) {
    let x = t.to_vec::<f64>();
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt(), x.iter().fold(0.0, |m, x| x.abs().max(m)))
}

/// Checks a parameter against the distribution and the number that a line of the file names.
fn check(what: &str, value: &Tensor, distribution: &str, number: f64) {
    let (mean, std, largest) = moments(value);
    let n = value.elements() as f64;
    match distribution {
        "constant" => assert!(std == 0.0 && mean == number, "{what} is not {number}"),
        "uniform" => {
            // PyTorch's largest of n draws and ours are both within a few parts in n of the bound.
            assert!((largest / number - 1.0).abs() < 12.0 / n, "{what}: largest {largest}, PyTorch's {number}");
            let bound = largest.max(number);
            assert!((std / (bound / 3f64.sqrt()) - 1.0).abs() < 5.0 / n.sqrt(), "{what}: deviation {std} of {bound}");
            assert!(mean.abs() < 5.0 * std / n.sqrt(), "{what}: mean {mean}");
        }
        "normal" => {
            assert!((std / number - 1.0).abs() < 6.0 / n.sqrt(), "{what}: deviation {std}, PyTorch's {number}");
            assert!(mean.abs() < 5.0 * std / n.sqrt(), "{what}: mean {mean}");
            assert!(largest > 2.5 * std, "{what}: largest {largest} of deviation {std}");
        }
        other => panic!("{what}: distribution {other}"),
    }
}

#[test]
fn layers_start_as_those_of_pytorch() {
    manual_seed(5);
    for line in include_str!("fixtures/defaults.txt").lines().filter(|line| !line.starts_with('#')) {
        let [name, parameter, shape, distribution, number] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line has five words: {line}")
        };
        let layer = layer(name).unwrap_or_else(|| panic!("no layer for {name}"));
        let check_all = |how: &str| {
            let named = layer.named_parameters();
            let (_, param) = named.iter().find(|(n, _)| n == parameter).unwrap_or_else(|| panic!("no {line}"));
            let sizes = param.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            assert_eq!(sizes, shape, "{name} {parameter}");
            check(&format!("{name} {parameter} {how}"), &param.value(), distribution, number.parse().unwrap());
        };
        check_all("as made");
        layer.init(9);
        check_all("by seed");
    }
}

fn state(net: &dyn Module) -> Vec<(String, Vec<f64>)> {
    net.named_parameters().into_iter().map(|(name, p)| (name, p.value().to_vec())).collect()
}

#[test]
fn a_seed_and_a_path_say_how_a_parameter_starts() {
    let small = Sequential::new().push_named("in", Linear::new(3, 4)).push_named("out", Linear::new(4, 2));
    let large = Sequential::new()
        .push_named("out", Linear::new(4, 2))
        .push_named("more", Linear::new(2, 3))
        .push_named("in", Linear::new(3, 4));
    small.init(7);
    large.init(7);
    let (a, b) = (state(&small), state(&large));
    for (name, values) in &a {
        let (_, other) = b.iter().find(|(n, _)| n == name).unwrap();
        assert_eq!(values, other, "{name}");
    }
    // Other seeds and other paths give other numbers; the thread's generator takes no part.
    small.init(8);
    assert_ne!(state(&small), a);
    manual_seed(1);
    small.init(7);
    assert_eq!(state(&small), a);
    let twins = vec![Linear::new(3, 3), Linear::new(3, 3)];
    twins.init(7);
    assert_ne!(twins[0].weight.value().to_vec::<f64>(), twins[1].weight.value().to_vec::<f64>());
}

#[test]
fn what_does_not_know_how_it_starts_stays() {
    let net = (Param::new(Tensor::ones([2])), BatchNorm1d::new(2), Linear::new(2, 2));
    net.1.weight.as_ref().unwrap().set(&Tensor::full([2], 3.0));
    net.1.running_mean.set(Tensor::full([2], 3.0));
    net.to_dtype(DType::F64);
    net.init(7);
    assert_eq!(net.0.value().to_vec::<f64>(), [1.0, 1.0]);
    assert_eq!(net.1.weight.as_ref().unwrap().value().to_vec::<f64>(), [1.0, 1.0]);
    assert_eq!(net.1.running_mean.float().to_vec::<f64>(), [3.0, 3.0]);
    // Drawn in the precision of the parameter: no number is exact in single precision.
    let weight = net.2.weight.value();
    assert_eq!(weight.dtype(), DType::F64);
    assert!(weight.to_vec::<f64>().iter().any(|&w| f64::from(w as f32) != w));
}

#[test]
fn parameters_can_be_told_to_start_otherwise() {
    let net = Sequential::new().push(Linear::new(30, 40)).push(LayerNorm::new([40])).push(Linear::new(40, 50));
    net.init_as("*.bias", Init::Constant(0.5));
    net.init_as("2.weight", Init::orthogonal());
    for how in ["at once", "by seed"] {
        let [w, b, n, _, o, c] = [0, 1, 2, 3, 4, 5].map(|i| net.parameters()[i].value());
        assert_eq!(moments(&b), (0.5, 0.0, 0.5), "{how}");
        assert_eq!(moments(&c), (0.5, 0.0, 0.5), "{how}");
        assert_eq!(moments(&n), (1.0, 0.0, 1.0), "{how}");
        assert!((moments(&w).1 - 1.0 / 90f64.sqrt()).abs() < 5e-3, "{how}");
        assert!((o.t().matmul(&o) - Tensor::eye(40)).abs().max().item() < 1e-5, "{how}");
        net.init(3);
    }
}

#[test]
fn an_initialiser_that_does_not_fit_is_an_error() {
    let text = |f: &dyn Fn()| {
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("panics");
        *payload.downcast::<String>().expect("with text")
    };
    let net = Sequential::new().push(Linear::new(3, 4));
    let before = state(&net);
    assert_eq!(
        text(&|| net.init_as("0", Init::xavier_normal())),
        "init_as: parameter `0.bias`: a tensor [4] is no weight [out, in, ..], which has two axes or more
  help: name weights alone: `*.weight`"
    );
    assert_eq!(state(&net), before, "nothing changed");
    assert_eq!(
        text(&|| net.init_as("0.wieght", Init::zeros())),
        "init_as: no parameter fits `0.wieght`\n  help: is it `0.weight`?"
    );
    let e = text(&|| drop(Init::TruncatedNormal { mean: 0.0, std: 1.0, low: 2.0, high: 1.0 }.tensor([2])));
    assert!(e.starts_with("Init: no normal distribution of mean 0 and deviation 1 lies between 2 and 1"), "{e}");
}
