//! What `#[derive(Module)]` visits, and what a walk over a model does.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wengert_autograd::Differentiate;
use wengert_nn::{Buffer, Layer, Linear, Mode, Module, Param, ReLU, Sequential, StateDict};
use wengert_tensor::{DType, Tensor, tensor};

fn names(module: &dyn Module) -> Vec<String> {
    module.named_parameters().into_iter().map(|(name, _)| name).collect()
}

fn param() -> Param {
    Param::new(tensor![1.0, 2.0])
}

#[derive(Module)]
#[module(crate = wengert_nn)]
struct Pair<A, B>(A, B);

#[derive(Module)]
#[module(crate = wengert_nn)]
struct Unit;

#[derive(Module)]
#[module(crate = wengert_nn)]
enum Norm {
    None,
    Scale { factor: Param },
    Both(Param, Param),
}

#[derive(Module)]
#[module(crate = wengert_nn)]
struct Everything<L: Layer, T> {
    zebra: Param,
    apple: Linear,
    layers: Vec<L>,
    none: Option<Linear>,
    some: Option<Param>,
    tuple: (Param, Unit, Param),
    array: [Param; 2],
    boxed: Box<dyn Layer>,
    shared: Arc<Linear>,
    named: BTreeMap<String, Param>,
    pair: Pair<Param, usize>,
    norms: Vec<Norm>,
    r#type: Param,
    size: usize,
    title: String,
    marker: PhantomData<fn()>,
    #[module(skip)]
    calls: AtomicUsize,
    #[module(skip)]
    payload: T,
}

/// No module at all.
struct Opaque;

fn everything() -> Everything<Linear, Opaque> {
    Everything {
        zebra: param(),
        apple: Linear::new(1, 1),
        layers: vec![Linear::new(1, 1), Linear::new(1, 1).bias(false)],
        none: None,
        some: Some(param()),
        tuple: (param(), Unit, param()),
        array: [param(), param()],
        boxed: Box::new(Linear::new(1, 1).bias(false)),
        shared: Arc::new(Linear::new(1, 1).bias(false)),
        named: [("b".to_string(), param()), ("a".to_string(), param())].into(),
        pair: Pair(param(), 3),
        norms: vec![Norm::None, Norm::Scale { factor: param() }, Norm::Both(param(), param())],
        r#type: param(),
        size: 3,
        title: "everything".into(),
        marker: PhantomData,
        calls: AtomicUsize::new(0),
        payload: Opaque,
    }
}

#[test]
fn fields_are_visited_in_declaration_order_under_their_names() {
    let model = everything();
    let expected = [
        "zebra",
        "apple.weight",
        "apple.bias",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "some",
        "tuple.0",
        "tuple.2",
        "array.0",
        "array.1",
        "boxed.weight",
        "shared.weight",
        "named.a",
        "named.b",
        "pair.0",
        "norms.1.factor",
        "norms.2.0",
        "norms.2.1",
        "type",
    ];
    assert_eq!(names(&model), expected);
    let leaves: Vec<String> = model.parameters().iter().map(|p| p.name().unwrap().to_string()).collect();
    assert_eq!(leaves, expected, "the parameters know their names");
    let Everything { size, title, calls, payload: Opaque, none, .. } = model;
    assert_eq!((size, title.as_str(), calls.into_inner(), none.is_none()), (3, "everything", 0, true));
}

#[test]
fn a_walk_over_a_part_does_not_shorten_names() {
    let model = everything();
    model.parameters();
    model.apple.parameters();
    assert_eq!(model.apple.weight.name().as_deref(), Some("apple.weight"));
}

#[test]
fn tied_weights_are_one_parameter_under_the_first_name() {
    #[derive(Module)]
    #[module(crate = wengert_nn)]
    struct Tied {
        embed: Linear,
        head: Linear,
    }
    let embed = Linear::new(3, 3).bias(false);
    let mut head = Linear::new(3, 3).bias(false);
    head.weight = embed.weight.clone();
    let model = Tied { embed, head };
    assert_eq!(names(&model), ["embed.weight"]);
    assert_eq!(model.num_parameters(), 9);

    let x = Tensor::ones([1, 3]);
    let tied = model.head.forward(&model.embed.forward(&x)).sum().backward();
    // The same with two variables of one value: the gradient of the tied weight is the sum of theirs.
    let w = model.embed.weight.value();
    let (a, b) = (w.requires_grad(), w.requires_grad());
    let loss = x.matmul(&a.t()).matmul(&b.t()).sum();
    let apart = loss.backward();
    let sum = apart.of(&a) + apart.of(&b);
    assert_eq!(tied.of(&model.head.weight).to_vec::<f32>(), sum.to_vec::<f32>());
    assert_eq!(tied.len(), 1);

    // A file may hold the weight under either name, or both.
    let value = Tensor::full([3, 3], 2.0);
    for names in [&["embed.weight"][..], &["head.weight"], &["embed.weight", "head.weight"]] {
        model.embed.weight.set(&Tensor::zeros([3, 3]));
        model.load_state_dict(&names.iter().map(|n| (*n, &value)).collect()).unwrap();
        assert_eq!(model.head.weight.value().sum().item(), 18.0);
    }
    // Saved, it stands under both names, as in PyTorch; a state that has two different ones does not fit.
    assert_eq!(model.state_dict().names().collect::<Vec<_>>(), ["embed.weight", "head.weight"]);
    let two = StateDict::from_iter([("embed.weight", value), ("head.weight", Tensor::ones([3, 3]))]);
    let e = model.load_state_dict(&two).unwrap_err().to_string();
    let line = "\n  untied      embed.weight, head.weight: one tensor in the model, different values in the state\n";
    assert!(e.contains(line), "{e}");
}

#[test]
fn a_frozen_parameter_gets_no_gradient() {
    let net = Sequential::new().push(Linear::new(2, 2)).push(ReLU::new()).push(Linear::new(2, 1));
    net.freeze("0");
    let loss = net.forward(&Tensor::ones([1, 2])).sum();
    let grads = loss.backward();
    let trained: Vec<bool> = net.parameters().iter().map(|p| grads.get(p).is_some()).collect();
    assert_eq!(trained, [false, false, true, true]);
    net.unfreeze("*");
    net.freeze("*.bias");
    let trainable: Vec<bool> = net.parameters().iter().map(Param::is_trainable).collect();
    assert_eq!(trainable, [true, false, true, false]);
}

#[test]
fn the_gradient_of_a_parameter_assigned_after_forward_uses_the_old_value() {
    let w = Param::new(tensor![3.0]);
    let loss = (w.value() * w.value()).sum();
    w.update(|t| t.update(|x: &mut [f32]| x[0] = 100.0));
    assert_eq!(w.value().to_vec::<f32>(), [100.0]);
    assert_eq!(loss.backward().of(&w).to_vec::<f32>(), [6.0]);
}

#[test]
fn a_steady_training_loop_copies_no_parameter() {
    let fc = Linear::new(64, 64);
    let x = Tensor::ones([4, 64]);
    let step = || {
        let loss = fc.forward(&x).square().mean();
        let grads = loss.backward();
        let addresses: Vec<usize> = fc
            .parameters()
            .iter()
            .map(|p| {
                let g = grads.of(p).to_vec::<f32>();
                let mut address = 0;
                p.update(|t| {
                    t.update(|w: &mut [f32]| {
                        w.iter_mut().zip(&g).for_each(|(w, g)| *w -= 0.1 * g);
                        address = w.as_ptr() as usize;
                    })
                });
                address
            })
            .collect();
        // The loss is still alive here, as it is in a loop that prints it.
        assert!(loss.item().is_finite());
        addresses
    };
    let first = step();
    for _ in 0..3 {
        assert_eq!(step(), first);
    }
}

#[test]
fn train_and_eval_turn_every_switch() {
    let modes = (Mode::new(), vec![Mode::new()], Unit);
    assert!(modes.is_training());
    modes.eval();
    assert!(!modes.0.is_training() && !modes.1[0].is_training() && !modes.is_training());
    modes.train();
    assert!(modes.0.is_training() && modes.1[0].is_training());
}

#[test]
fn precision_is_converted_for_parameters_and_float_buffers() {
    let model = (Linear::new(2, 2), Buffer::new(tensor![0.5]), Buffer::new(tensor![7]));
    model.to_dtype(DType::F64);
    let dtypes: Vec<DType> = model.state_dict().iter().map(|(_, t)| t.dtype()).collect();
    assert_eq!(dtypes, [DType::F64, DType::F64, DType::F64, DType::I64]);
    assert!(model.0.forward(&Tensor::full_dtype([1, 2], 1.0, DType::F64)).is_tracked());
}
