//! The table of layers. To add a layer, add a case to `../fixtures/make.py` and a row here.

use std::collections::BTreeMap;
use std::sync::Arc;

use wengert_nn::*;
use wengert_tensor::io::load_tensors;
use wengert_tensor::{AnyTensor, Bool, DType, Int, Tensor};

/// How a layer is run.
type Run = dyn Fn(&[AnyTensor]) -> Vec<Tensor>;

/// A layer, and how it is run.
pub struct Subject {
    pub module: Arc<dyn Module>,
    pub run: Box<Run>,
}

/// A layer with certain settings.
pub struct Row {
    /// The layer, and after a dash what is special: also the name of its file.
    pub name: &'static str,
    make: Box<dyn Fn() -> Subject>,
    /// What PyTorch makes of it.
    pub file: BTreeMap<String, AnyTensor>,
    /// For each input which axis is the batch, none for those without; the first stands for further ones. Empty where
    /// samples are not parts of a tensor.
    pub axes: &'static [Option<isize>],
    /// Inputs that it must refuse; none if it takes floats of any shape.
    pub wrong: Vec<AnyTensor>,
    /// What it must say.
    pub says: &'static str,
}

impl Row {
    /// The layer as it is made.
    pub fn fresh(&self) -> Subject {
        (self.make)()
    }

    /// The layer with the state of PyTorch's, in `F64`; those whose file is of evaluation are set to it.
    pub fn layer(&self) -> Subject {
        let subject = self.fresh();
        subject.module.to_dtype(DType::F64);
        let state = self.file.iter().filter_map(|(name, t)| Some((name.strip_prefix("state.")?, t.clone())));
        subject.module.load_state_dict(&state.collect()).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        if self.name.ends_with("-eval") || self.name.starts_with("Dropout") {
            subject.module.eval();
        }
        subject
    }

    /// The inputs of the file.
    pub fn inputs(&self) -> Vec<AnyTensor> {
        (0..).map_while(|i| self.file.get(&format!("input.{i}")).cloned()).collect()
    }
}

/// A row of any module: `run` calls it with the inputs.
fn row<M: Module + 'static>(
    name: &'static str,
    make: impl Fn() -> M + 'static,
    run: fn(&M, &[AnyTensor]) -> Vec<Tensor>,
    wrong: Vec<AnyTensor>,
    says: &'static str,
) -> Row {
    let path = format!("{}/tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let make = move || {
        let module = Arc::new(make());
        Subject { module: module.clone(), run: Box::new(move |inputs| run(&module, inputs)) }
    };
    let file = load_tensors(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    Row { name, make: Box::new(make), file, axes: &[Some(0)], wrong, says }
}

/// A row of a layer of one input: `wrong` is the shape of one that it must refuse.
fn layer<L: Layer + 'static>(
    name: &'static str,
    make: impl Fn() -> L + 'static,
    wrong: &[usize],
    says: &'static str,
) -> Row {
    row(name, make, |layer, x| vec![layer.forward(&float(&x[0]))], vec![zeros(wrong)], says)
}

fn float(x: &AnyTensor) -> Tensor {
    x.float().expect("floats")
}

fn int(x: &AnyTensor) -> Tensor<Int> {
    x.int().expect("integers")
}

fn bool(x: &AnyTensor) -> Tensor<Bool> {
    x.bool().expect("truth values")
}

fn zeros(shape: &[usize]) -> AnyTensor {
    Tensor::full_dtype(shape, 0.0, DType::F64).into()
}

impl Row {
    fn takes_anything(self) -> Row {
        Row { wrong: vec![], ..self }
    }

    fn axes(self, axes: &'static [Option<isize>]) -> Row {
        Row { axes, ..self }
    }
}

/// An embedding whose table is the weight of the output, too.
#[derive(Module)]
#[module(crate = wengert_nn)]
struct Tied {
    embed: Embedding,
    head: Linear,
}

impl Tied {
    fn new() -> Tied {
        let (embed, mut head) = (Embedding::new(5, 3), Linear::new(3, 5).bias(false));
        head.weight = embed.weight.clone();
        Tied { embed, head }
    }
}

/// A list and a map of modules.
#[derive(Module)]
#[module(crate = wengert_nn)]
struct Lists {
    list: Vec<Linear>,
    map: BTreeMap<String, Linear>,
}

impl Lists {
    fn new() -> Lists {
        let map = [("down".to_string(), Linear::new(3, 2)), ("up".to_string(), Linear::new(2, 3))];
        Lists { list: vec![Linear::new(3, 3), Linear::new(3, 3)], map: map.into() }
    }
}

impl Layer for Lists {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.list.iter().fold(x.clone(), |x, layer| layer.forward(&x));
        self.map["up"].forward(&self.map["down"].forward(&x))
    }
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(linear());
    rows.extend(normalisation());
    rows.extend(embedding());
    rows.extend(attention());
    rows.extend(recurrent());
    rows.extend(windows());
    rows.extend(activations());
    rows.extend(containers());
    rows
}

fn linear() -> Vec<Row> {
    vec![
        layer("Linear", || Linear::new(3, 4), &[2, 5], "Linear: the input has 5 features (axis 1), the layer takes 3"),
        row(
            "Bilinear",
            || Bilinear::new(3, 4, 2),
            |layer, x| vec![layer.forward(&float(&x[0]), &float(&x[1]))],
            vec![zeros(&[5, 3]), zeros(&[5, 3])],
            "Bilinear: rhs has 3 features (axis 1), the layer takes 4",
        ),
    ]
}

fn normalisation() -> Vec<Row> {
    let wrong_1d = "BatchNorm1d: the input has 4 channels (axis 1), the layer 3";
    let wrong_2d = "BatchNorm2d: the input has rank 3";
    let instance = || InstanceNorm2d::new(3).affine(true).track_running_stats(true);
    vec![
        layer("BatchNorm1d", || BatchNorm1d::new(3), &[2, 4], wrong_1d),
        layer("BatchNorm1d-eval", || BatchNorm1d::new(3), &[2, 4], wrong_1d),
        layer("BatchNorm2d", || BatchNorm2d::new(3).momentum(0.3), &[2, 3, 4], wrong_2d),
        layer(
            "LayerNorm",
            || LayerNorm::new([3, 4]),
            &[2, 4, 3],
            "LayerNorm: the input [2, 4, 3] does not end with the axes [3, 4] of the layer",
        ),
        layer("RMSNorm", || RMSNorm::new([4]), &[], "RMSNorm: the input [] does not end with the axes [4]"),
        layer(
            "GroupNorm",
            || GroupNorm::new(2, 4),
            &[2, 6, 3],
            "GroupNorm: the input has 6 channels (axis 1), the layer 4",
        ),
        layer("InstanceNorm1d", || InstanceNorm1d::new(3), &[2, 3], "InstanceNorm1d: the input has rank 2"),
        layer("InstanceNorm2d", instance, &[2, 4, 2, 2], "InstanceNorm2d: the input has 4 channels"),
        layer("InstanceNorm2d-eval", instance, &[2, 3, 4], "InstanceNorm2d: the input has rank 3"),
    ]
}

fn embedding() -> Vec<Row> {
    fn look_up(layer: &Embedding, x: &[AnyTensor]) -> Vec<Tensor> {
        vec![layer.forward(&int(&x[0]))]
    }
    fn bags(layer: &EmbeddingBag, x: &[AnyTensor]) -> Vec<Tensor> {
        vec![layer.forward_with(&int(&x[0]), &int(&x[1]))]
    }
    let numbers = |n: &[i64]| -> AnyTensor { Tensor::<Int>::from_slice(n, [n.len()]).into() };
    let ragged = |name, make: fn() -> EmbeddingBag, wrong, says| row(name, make, bags, wrong, says).axes(&[]);
    vec![
        row(
            "Embedding",
            || Embedding::new(6, 3),
            look_up,
            vec![numbers(&[0, 6])],
            "index 6 at position [1] is out of range",
        ),
        row(
            "Embedding-padding",
            || Embedding::new(6, 3).padding(1),
            look_up,
            vec![numbers(&[-1])],
            "index -1 at position [0] is out of range",
        ),
        row(
            "EmbeddingBag",
            || EmbeddingBag::new(6, 3),
            |layer, x| vec![layer.forward(&int(&x[0]))],
            vec![numbers(&[0, 1])],
            "EmbeddingBag: the input has rank 1, not 2",
        ),
        ragged(
            "EmbeddingBag-sum",
            || EmbeddingBag::new(6, 3).sum().padding(2),
            vec![numbers(&[0, 1]), numbers(&[1])],
            "EmbeddingBag: the first bag starts at 1, not 0",
        ),
        ragged(
            "EmbeddingBag-mean",
            || EmbeddingBag::new(6, 3).padding(2),
            vec![numbers(&[0, 1]), numbers(&[0, 3, 1])],
            "EmbeddingBag: bag 1 starts at 3 and ends at 1",
        ),
        ragged(
            "EmbeddingBag-max",
            || EmbeddingBag::new(6, 3).max(),
            vec![numbers(&[0, 1]), numbers(&[0, 3])],
            "EmbeddingBag: bag 1 starts at 3 and ends at 2",
        ),
    ]
}

fn attention() -> Vec<Row> {
    type Heads = MultiHeadAttention;
    let heads = "MultiHeadAttention: query has 5 features (axis 2), the layer takes 6";
    let x = || zeros(&[2, 4, 5]);
    vec![
        row(
            "MultiHeadAttention",
            || Heads::new(6, 2),
            |layer, x| vec![layer.forward(&float(&x[0]))],
            vec![zeros(&[4, 6])],
            "MultiHeadAttention: query has rank 2, not 3",
        ),
        row(
            "MultiHeadAttention-causal",
            || Heads::new(6, 3).bias(false),
            |layer, x| {
                let x = float(&x[0]);
                vec![layer.forward_with(&x, &x, &x, &Mask::causal())]
            },
            vec![x()],
            heads,
        ),
        row(
            "MultiHeadAttention-padding",
            || Heads::new(6, 2),
            |layer, x| {
                let (q, k) = (float(&x[0]), float(&x[1]));
                vec![layer.forward_with(&q, &k, &k, &Mask::none().padding(&bool(&x[2])))]
            },
            vec![zeros(&[2, 3, 6]), zeros(&[2, 4, 6]), Bool::full([2, 3], false).into()],
            "MultiHeadAttention: the padding mask has shape [2, 3], not [2, 4]",
        ),
        row(
            "MultiHeadAttention-cross",
            || Heads::new(6, 2).features(3, 5),
            |layer, x| {
                let [q, k, v, bias] = [0, 1, 2, 3].map(|i| float(&x[i]));
                vec![layer.forward_with(&q, &k, &v, &Mask::none().bias(&bias))]
            },
            vec![zeros(&[2, 3, 6]), zeros(&[2, 4, 3]), zeros(&[2, 5, 5]), zeros(&[3, 4])],
            "MultiHeadAttention: there are 4 keys and 5 values (axis 1)",
        )
        .axes(&[Some(0), Some(0), Some(0), None]),
        row(
            "TransformerEncoderLayer",
            || TransformerEncoderLayer::new(4, 2).feedforward(6).dropout(0.0),
            |layer, x| vec![layer.forward_with(&float(&x[0]), &Mask::none().padding(&bool(&x[1])))],
            vec![zeros(&[2, 4, 5]), Bool::full([2, 4], false).into()],
            "MultiHeadAttention: query has 5 features (axis 2), the layer takes 4",
        ),
        layer(
            "TransformerEncoderLayer-pre",
            || TransformerEncoderLayer::new(4, 2).feedforward(6).dropout(0.0).gelu().norm_first(true),
            &[2, 4, 5],
            "LayerNorm: the input [2, 4, 5] does not end with the axes [4] of the layer",
        ),
        row(
            "TransformerDecoderLayer",
            || TransformerDecoderLayer::new(4, 2).feedforward(6).dropout(0.0),
            |layer, x| vec![layer.forward(&float(&x[0]), &float(&x[1]), &Mask::causal(), &Mask::none())],
            vec![zeros(&[2, 3, 4]), zeros(&[2, 5, 3])],
            "MultiHeadAttention: key has 3 features (axis 2), the layer takes 4",
        ),
        row(
            "TransformerDecoderLayer-pre",
            || TransformerDecoderLayer::new(4, 2).feedforward(6).dropout(0.0).gelu().norm_first(true),
            |layer, x| vec![layer.forward(&float(&x[0]), &float(&x[1]), &Mask::causal(), &Mask::none())],
            vec![zeros(&[2, 3, 4]), zeros(&[3, 5, 4])],
            "MultiHeadAttention: key has a batch of 3 (axis 0), query one of 2",
        ),
    ]
}

fn recurrent() -> Vec<Row> {
    fn lstm(layer: &LSTM, x: &[AnyTensor]) -> Vec<Tensor> {
        let state = (x.len() > 1).then(|| (float(&x[1]), float(&x[2])));
        let (y, (h, c)) = layer.forward_with(&float(&x[0]), state.as_ref().map(|(h, c)| (h, c)));
        vec![y, h, c]
    }
    fn gru(layer: &GRU, x: &[AnyTensor]) -> Vec<Tensor> {
        let (y, h) = layer.forward_with(&float(&x[0]), x.get(1).map(float).as_ref());
        vec![y, h]
    }
    fn rnn(layer: &RNN, x: &[AnyTensor]) -> Vec<Tensor> {
        let (y, h) = layer.forward_with(&float(&x[0]), x.get(1).map(float).as_ref());
        vec![y, h]
    }
    const BATCH_SECOND: &[Option<isize>] = &[Some(1)];
    const STATES_SECOND: &[Option<isize>] = &[Some(0), Some(1), Some(1)];
    vec![
        row("RNN", || RNN::new(3, 4), rnn, vec![zeros(&[5, 3])], "RNN: the input has rank 2, not 3"),
        row(
            "RNN-relu",
            || RNN::new(3, 4).relu().layers(2).bidirectional(true).batch_first(false),
            rnn,
            vec![zeros(&[5, 2, 3]), zeros(&[2, 2, 4])],
            "RNN: h has shape [2, 2, 4], not [4, 2, 4]",
        )
        .axes(BATCH_SECOND),
        row(
            "LSTM",
            || LSTM::new(3, 4),
            lstm,
            vec![zeros(&[2, 5, 4])],
            "LSTM: the input has 4 features (axis 2), the layer takes 3",
        ),
        row(
            "LSTM-bidirectional",
            || LSTM::new(3, 4).layers(2).bidirectional(true),
            lstm,
            vec![zeros(&[2, 5, 3]), zeros(&[4, 2, 4]), zeros(&[4, 3, 4])],
            "LSTM: c has shape [4, 3, 4], not [4, 2, 4]",
        )
        .axes(STATES_SECOND),
        row(
            "LSTM-time-first",
            || LSTM::new(3, 4).bias(false).batch_first(false),
            lstm,
            vec![zeros(&[0, 2, 3])],
            "LSTM: the input has no time steps",
        )
        .axes(BATCH_SECOND),
        row("GRU", || GRU::new(3, 4), gru, vec![zeros(&[])], "GRU: the input has rank 0, not 3"),
        row(
            "GRU-bidirectional",
            || GRU::new(3, 4).layers(2).bidirectional(true).batch_first(false),
            gru,
            vec![zeros(&[5, 2, 3]), zeros(&[4, 1, 4])],
            "GRU: h has shape [4, 1, 4], not [4, 2, 4]",
        )
        .axes(BATCH_SECOND),
        row(
            "GRU-no-bias",
            || GRU::new(3, 4).bias(false),
            gru,
            vec![zeros(&[2, 5, 2])],
            "GRU: the input has 2 features",
        ),
    ]
}

fn windows() -> Vec<Row> {
    let conv1d = || Conv1d::new(4, 6, 3).stride(2).padding(2).dilation(2).groups(2);
    let conv3d = || Conv3d::new(2, 3, 2).stride([1, 2, 1]).padding([0, 1, 1]);
    let turned1d = || ConvTranspose1d::new(4, 6, 3).stride(3).padding(1).output_padding(2).groups(2);
    let turned2d = || ConvTranspose2d::new(2, 3, [3, 2]).stride(2).padding([1, 0]).output_padding(1).dilation(2);
    vec![
        layer("Conv1d", conv1d, &[2, 3, 9], "conv1d: channels differ"),
        layer(
            "Conv2d",
            || Conv2d::new(2, 3, [3, 2]).stride([2, 1]).padding(1),
            &[2, 3, 6, 5],
            "conv2d: channels differ",
        ),
        layer("Conv3d", conv3d, &[2, 3, 4, 4, 4], "conv3d: channels differ"),
        layer("ConvTranspose1d", turned1d, &[2, 3, 5], "conv_transpose1d: "),
        layer("ConvTranspose2d", turned2d, &[2, 3, 4, 3], "conv_transpose2d: "),
        layer("MaxPool1d", || MaxPool1d::new(3).stride(2).padding(1), &[], "max_pool1d: "),
        layer("MaxPool2d", || MaxPool2d::new(3).stride(2).padding(1).ceil_mode(true), &[2], "max_pool2d: "),
        layer("AvgPool1d", || AvgPool1d::new(3).stride(2).padding(1), &[], "avg_pool1d: "),
        layer("AvgPool2d", || AvgPool2d::new([3, 2]).stride(2).padding(1), &[2], "avg_pool2d: "),
        layer("AdaptiveAvgPool1d", || AdaptiveAvgPool1d::new(3), &[], "adaptive_avg_pool1d: "),
        layer("AdaptiveAvgPool2d", || AdaptiveAvgPool2d::new([3, 2]), &[2], "adaptive_avg_pool2d: "),
        layer("AdaptiveMaxPool1d", || AdaptiveMaxPool1d::new(3), &[], "adaptive_max_pool1d: "),
        layer("AdaptiveMaxPool2d", || AdaptiveMaxPool2d::new([3, 2]), &[2], "adaptive_max_pool2d: "),
        layer("Flatten", Flatten::new, &[], "").takes_anything(),
        layer("Dropout", || Dropout::new(0.5), &[], "").takes_anything(),
        layer("Dropout2d", || Dropout2d::new(0.5), &[2, 3], "Dropout2d: the input has rank 2, not 4"),
    ]
}

fn activations() -> Vec<Row> {
    fn any<L: Layer + 'static>(name: &'static str, make: impl Fn() -> L + 'static) -> Row {
        layer(name, make, &[], "").takes_anything()
    }
    vec![
        any("ReLU", ReLU::new),
        any("ReLU6", ReLU6::new),
        any("LeakyReLU", || LeakyReLU::new(0.2)),
        any("ELU", || ELU::new(0.7)),
        any("SELU", SELU::new),
        any("GELU", GELU::new),
        any("GELU-tanh", || GELU::new().tanh()),
        any("SiLU", SiLU::new),
        any("Mish", Mish::new),
        any("Softplus", || Softplus::new(2.0, 1.0)),
        any("Softsign", Softsign::new),
        any("Hardtanh", || Hardtanh::new(-0.5, 0.7)),
        any("LogSigmoid", LogSigmoid::new),
        layer("GLU", || GLU::new(1), &[2, 5, 3], "glu: axis 1 has size 5, which is odd"),
        any("Sigmoid", Sigmoid::new),
        any("Tanh", Tanh::new),
        layer("Softmax", || Softmax::new(1), &[2], "softmax: axis 1 is out of range for rank 1"),
        layer("LogSoftmax", || LogSoftmax::new(1), &[2], "log_softmax: axis 1 is out of range for rank 1"),
    ]
}

fn containers() -> Vec<Row> {
    vec![
        layer(
            "Sequential",
            || {
                let inner = Sequential::new().push(Linear::new(4, 2)).push(LayerNorm::new([2]));
                Sequential::new().push(Linear::new(3, 4)).push(Tanh::new()).push(inner)
            },
            &[2, 4],
            "Linear: the input has 4 features (axis 1), the layer takes 3",
        ),
        layer("Lists", Lists::new, &[2, 5], "Linear: the input has 5 features (axis 1), the layer takes 3"),
        row(
            "Tied",
            Tied::new,
            |net, x| vec![net.head.forward(&net.embed.forward(&int(&x[0])))],
            vec![Tensor::<Int>::from_vec(vec![5_i64], [1]).into()],
            "index 5 at position [0] is out of range",
        ),
    ]
}
