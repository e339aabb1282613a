//! What single layers do beyond the contract.

use wengert_autograd::{Backward, Differentiate, GradCheck};
use wengert_nn::*;
use wengert_tensor::{Bool, DType, Int, Tensor, manual_seed, tensor, with_default_dtype};

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.to_vec::<f64>() == b.to_vec::<f64>()
}

/// Runs `f` with `F64` as the default precision, seeded.
fn precisely<R>(f: impl FnOnce() -> R) -> R {
    manual_seed(3);
    with_default_dtype(DType::F64, f)
}

#[test]
fn dropout_is_active_in_training_alone() {
    manual_seed(1);
    let x = Tensor::randn([2, 6, 8]);
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(TransformerEncoderLayer::new(8, 2).feedforward(16)),
        Box::new(MultiHeadAttention::new(8, 2).dropout(0.5)),
        Box::new(LSTM::new(8, 4).layers(2).dropout(0.5)),
        Box::new(GRU::new(8, 4).layers(2).dropout(0.5)),
        Box::new(RNN::new(8, 4).layers(2).dropout(0.5)),
    ];
    for layer in layers {
        assert!(!same(&layer.forward(&x), &layer.forward(&x)));
        layer.eval();
        assert!(same(&layer.forward(&x), &layer.forward(&x)));
    }
    // Of one layer nothing is dropped: there is no layer after it.
    let lstm = LSTM::new(8, 4).dropout(0.5);
    assert!(same(&lstm.forward(&x), &lstm.forward(&x)));
}

#[test]
fn recurrent_layers_have_second_derivatives() {
    precisely(|| {
        let x = Tensor::randn([2, 3, 2]);
        let (lstm, gru) = (LSTM::new(2, 3).bidirectional(true), GRU::new(2, 3).layers(2));
        GradCheck::new().check_second(|v| lstm.forward(&v[0]), std::slice::from_ref(&x)).unwrap();
        GradCheck::new().check_second(|v| gru.forward(&v[0]), &[x]).unwrap();
    });
}

#[test]
fn a_causal_layer_does_not_see_what_comes() {
    precisely(|| {
        let x = Tensor::randn([1, 5, 8]);
        let layer = TransformerEncoderLayer::new(8, 2).feedforward(16).dropout(0.0);
        let changed = Tensor::cat(&[x.narrow(1, 0, 3), Tensor::randn([1, 2, 8])], 1);
        let [a, b] = [&x, &changed].map(|x| layer.forward_with(x, &Mask::causal()));
        assert!((a.narrow(1, 0, 3) - b.narrow(1, 0, 3)).abs().max().item() < 1e-12);
        assert!((a.narrow(1, 3, 2) - b.narrow(1, 3, 2)).abs().max().item() > 1e-3);
    });
}

#[test]
fn masks_combine() {
    precisely(|| {
        let (x, attention) = (Tensor::randn([2, 3, 4]), MultiHeadAttention::new(4, 2));
        let padding = tensor![[false, false, true], [false, true, true]];
        let allowed = tensor![[true, true, true], [true, false, true], [true, true, false]];
        let bias = Tensor::randn([3, 3]);
        let together = Mask::causal().padding(&padding).allowed(&allowed).bias(&bias);
        // All of it as one number for each query and key.
        let lower: Tensor<Bool> = Int::arange(0, 3).le(Int::arange(0, 3).unsqueeze(-1));
        let seen = lower.and(&allowed).and(&padding.not().reshape([2, 1, 1, 3]));
        let scores = seen.where_(&bias, &Tensor::full((), f64::NEG_INFINITY));
        let [a, b] = [together, Mask::none().bias(&scores)].map(|mask| attention.forward_with(&x, &x, &x, &mask));
        assert!((a - b).abs().max().item() < 1e-12);
    });
}

#[test]
fn one_tensor_is_projected_once_with_the_same_result() {
    precisely(|| {
        let attention = MultiHeadAttention::new(4, 2);
        let (x, memory) = (Tensor::randn([2, 3, 4]), Tensor::randn([2, 5, 4]));
        let copies = (x.clone(), x.clone(), memory.clone());
        let once = attention.forward(&x);
        let thrice = attention.forward_with(&x, &copies.0, &copies.1, &Mask::none());
        assert!((once - thrice).abs().max().item() < 1e-12);
        let twice = attention.forward_with(&x, &memory, &memory, &Mask::none());
        let thrice = attention.forward_with(&x, &memory, &copies.2, &Mask::none());
        assert!((twice - thrice).abs().max().item() < 1e-12);
    });
}

#[test]
fn the_padding_row_gets_no_gradient_and_stays() {
    let layer = Embedding::new(4, 3).padding(2);
    assert_eq!(layer.weight.value().i(2).to_vec::<f32>(), [0.0; 3]);
    let index = tensor![[2, 1], [2, 2]];
    let grads = layer.forward(&index).sum().backward();
    assert_eq!(grads.of(&layer.weight).sum_axis(1).to_vec::<f32>(), [0.0, 3.0, 0.0, 0.0]);
    layer.init(1);
    assert_eq!(layer.weight.value().i(2).to_vec::<f32>(), [0.0; 3]);
    assert_eq!(layer.forward(&Int::zeros([0, 2])).shape().to_string(), "[0, 2, 3]");
}

#[test]
fn empty_bags_give_zeros() {
    for bags in [EmbeddingBag::new(4, 3), EmbeddingBag::new(4, 3).sum(), EmbeddingBag::new(4, 3).max()] {
        let y = bags.forward_with(&tensor![1, 3], &tensor![0, 0, 2, 2]);
        let empty = y.abs().sum_axis(1).to_vec::<f32>().into_iter().map(|s| s == 0.0).collect::<Vec<_>>();
        assert_eq!(empty, [true, false, true, true]);
        assert_eq!(bags.forward_with(&Int::zeros([0]), &Int::zeros([0])).shape().to_string(), "[0, 3]");
        assert_eq!(bags.forward(&Int::zeros([2, 0])).abs().sum().item(), 0.0);
    }
}

#[test]
fn channels_are_dropped_whole() {
    manual_seed(1);
    let (x, layer) = (Tensor::ones([20, 10, 3, 3]), Dropout2d::new(0.25));
    let sums = layer.forward(&x).sum_axis([2, 3]).to_vec::<f32>();
    assert!(sums.iter().all(|&s| s == 0.0 || (s - 12.0).abs() < 1e-5));
    let share = sums.iter().filter(|&&s| s == 0.0).count() as f64 / 200.0;
    assert!((share - 0.25).abs() < 0.15, "{share}");
    layer.eval();
    assert!(same(&layer.forward(&x), &x));
}

#[test]
fn a_sequence_can_be_run_in_parts() {
    precisely(|| {
        let (x, lstm) = (Tensor::randn([2, 6, 3]), LSTM::new(3, 4).layers(2));
        let (whole, last) = lstm.forward_with(&x, None);
        let mut state: Option<(Tensor, Tensor)> = None;
        let mut parts = Vec::new();
        for t in 0..3 {
            let (y, next) = lstm.forward_with(&x.narrow(1, 2 * t, 2), state.as_ref().map(|(h, c)| (h, c)));
            parts.push(y);
            state = Some(next);
        }
        assert!((Tensor::cat(&parts, 1) - whole).abs().max().item() < 1e-14);
        assert!((state.unwrap().1 - last.1).abs().max().item() < 1e-14);
    });
}

#[test]
fn gradients_flow_through_states() {
    precisely(|| {
        let gru = GRU::new(2, 3);
        let h = Tensor::randn([1, 2, 3]).requires_grad();
        let (_, last) = gru.forward_with(&Tensor::randn([2, 4, 2]), Some(&h));
        let grads = last.sum().backward_with(Backward::new());
        assert!(grads.of(&h).abs().min().item() > 0.0);
    });
}

#[test]
fn a_summary_sees_through_transformers() {
    let net = Sequential::new()
        .push_named("encoder", TransformerEncoderLayer::new(8, 2).feedforward(16))
        .push_named("memory", LSTM::new(8, 4));
    net.freeze("encoder");
    assert_eq!(
        Summary::of_layer(&net, [1, 5, 8]).to_string(),
        "layer                       kind                output      parameters
encoder.self_attn           MultiHeadAttention  [1, 5, 8]          216
encoder.self_attn.out_proj  Linear              [1, 5, 8]           72
encoder.linear1             Linear              [1, 5, 16]         144
encoder.dropout             Dropout             [1, 5, 16]           0
encoder.linear2             Linear              [1, 5, 8]          136
encoder.norm1               LayerNorm           [1, 5, 8]           16
encoder.norm2               LayerNorm           [1, 5, 8]           16
encoder.dropout1            Dropout             [1, 5, 8]            0
encoder.dropout2            Dropout             [1, 5, 8]            0
memory                      LSTM                [1, 5, 4]          224
total                                                              824
frozen                                                             600"
    );
}
