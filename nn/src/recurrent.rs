//! Recurrent layers: plain, LSTM and GRU, of several layers, in one direction or both.
//!
//! Each layer multiplies the inputs of all time steps at once. An LSTM then is one operation, [`Tensor::lstm`]; of the
//! others a step is one product with the hidden state and one pass over the gates, see [`Tensor::gru_cell`].

use std::sync::LazyLock;

use wengert_tensor::dispatch::{Op, apply};
use wengert_tensor::{Error, Float, Result, Tensor, attrs, or_panic, registry};

use crate::init::Init;
use crate::layer::Layer;
use crate::module::{Module, Walk};
use crate::param::{Mode, Param};
use crate::scope::Scope;

/// The parameters of one layer in one direction.
struct Weights {
    /// What comes after `weight_ih_` in the names: `l0`, `l0_reverse`.
    suffix: String,
    input: Param,
    hidden: Param,
    bias: Option<[Param; 2]>,
}

impl Module for Weights {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.child(&format!("weight_ih_{}", self.suffix), &self.input);
        walk.child(&format!("weight_hh_{}", self.suffix), &self.hidden);
        if let Some([input, hidden]) = &self.bias {
            walk.child(&format!("bias_ih_{}", self.suffix), input);
            walk.child(&format!("bias_hh_{}", self.suffix), hidden);
        }
    }
}

/// The operation of [`Tensor::lstm`].
static OF_SEQUENCES: LazyLock<&Op> = LazyLock::new(|| registry::find("lstm").expect("an operation of the registry"));

/// What a step does with the gates of the input and of the hidden state.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Cell {
    /// The blocks of rows in a weight.
    fn gates(self) -> usize {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }
}

/// What the three layers share: all but the form of their state.
struct Stack {
    scope: Scope,
    mode: Mode,
    cell: Cell,
    features: usize,
    size: usize,
    layers: usize,
    both: bool,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    /// Layer by layer, forward before backward.
    weights: Vec<Weights>,
}

impl Module for Stack {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.child("scope", &self.scope);
        walk.child("mode", &self.mode);
        // They carry their own names, without one more in front.
        self.weights.iter().for_each(|w| w.visit(walk));
    }
}

impl Stack {
    #[track_caller]
    fn new(kind: &'static str, cell: Cell, features: usize, size: usize) -> Stack {
        assert!(size > 0, "{kind}::new: a hidden size of 0");
        let (scope, mode) = (Scope::new(kind), Mode::new());
        let stack = Stack {
            scope,
            mode,
            cell,
            features,
            size,
            layers: 1,
            both: false,
            bias: true,
            batch_first: true,
            dropout: 0.0,
            weights: vec![],
        };
        stack.drawn()
    }

    /// With fresh parameters, as the settings want them.
    #[track_caller]
    fn drawn(mut self) -> Stack {
        let (init, rows) = (Init::bounded_by(self.size), self.cell.gates().saturating_mul(self.size));
        self.weights.clear();
        for layer in 0..self.layers {
            for direction in 0..self.directions() {
                let columns = if layer == 0 { self.features } else { self.directions().saturating_mul(self.size) };
                self.weights.push(Weights {
                    suffix: format!("l{layer}{}", if direction == 1 { "_reverse" } else { "" }),
                    input: Param::from_init(init, [rows, columns]),
                    hidden: Param::from_init(init, [rows, self.size]),
                    bias: self.bias.then(|| [Param::from_init(init, [rows]), Param::from_init(init, [rows])]),
                });
            }
        }
        self
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.both)
    }

    /// Checks the input, and returns its time steps and its batch.
    fn check(&self, x: &Tensor) -> Result<[usize; 2]> {
        let form = if self.batch_first { "[batch, time, features]" } else { "[time, batch, features]" };
        let help = format!("give an input {form}, with {} features", self.features);
        let &[a, b, features] = &x.shape()[..] else {
            return Err(Error::new(format!("the input has rank {}, not 3", x.rank())).help(help));
        };
        if features != self.features {
            let wanted = self.features;
            return Err(
                Error::new(format!("the input has {features} features (axis 2), the layer takes {wanted}")).help(help)
            );
        }
        let [time, batch] = if self.batch_first { [b, a] } else { [a, b] };
        if time == 0 { Err(Error::new("the input has no time steps").help(help)) } else { Ok([time, batch]) }
    }

    /// The states that a run starts from, one for each layer and direction: parts of `given`, or zeros.
    #[track_caller]
    fn start(&self, name: &'static str, given: Option<&Tensor>, x: &Tensor, batch: usize) -> Vec<Tensor> {
        let count = self.weights.len();
        let Some(state) = given else {
            return vec![Tensor::full_dtype([batch, self.size], 0.0, x.dtype()); count];
        };
        if state.shape()[..] != [count, batch, self.size] {
            let want = format!("[{count}, {batch}, {}]", self.size);
            let e = Error::new(format!("{name} has shape {}, not {want}", state.shape()))
                .help(format!("a state is [layers * directions, batch, hidden]: {want} for this input"));
            self.scope.refuse(e.operand("input", x.as_any()).operand(name, state.as_any()));
        }
        let mut states = Vec::with_capacity(count);
        for i in 0..count {
            // No closure: it would hide the caller's line.
            states.push(state.i(i as isize));
        }
        states
    }

    /// The hidden states of the last layer at every time step, and the last hidden states and cells of every layer.
    #[track_caller]
    fn run(&self, x: &Tensor, h: Option<&Tensor>, c: Option<&Tensor>) -> (Tensor, Tensor, Tensor) {
        let _scope = self.scope.enter();
        let [time, batch] = match self.check(x) {
            Ok(sizes) => sizes,
            Err(e) => self.scope.refuse(e.operand("input", x.as_any())),
        };
        let (mut h, mut c) = (self.start("h", h, x, batch), self.start("c", c, x, batch));
        let mut y = x.clone();
        for (layer, weights) in self.weights.chunks(self.directions()).enumerate() {
            if layer > 0 {
                y = y.dropout(self.dropout, self.mode.is_training());
            }
            let mut outputs = Vec::with_capacity(2);
            for (direction, w) in weights.iter().enumerate() {
                let i = layer * self.directions() + direction;
                outputs.push(match self.cell {
                    Cell::Lstm => self.whole(w, &y, time, direction == 1, &mut h[i], &mut c[i]),
                    _ => self.steps(w, &y, time, direction == 1, &mut h[i]),
                });
            }
            y = if self.both { Tensor::cat(&outputs, -1) } else { outputs.swap_remove(0) };
        }
        (self.scope.output(y), Tensor::stack(&h, 0), Tensor::stack(&c, 0))
    }

    /// The gates that come from the input, all steps at once. Only the reset gate of the GRU tells the two biases apart,
    /// so that of the hidden state is in here for all others.
    #[track_caller]
    fn gates(&self, w: &Weights, x: &Tensor) -> Tensor {
        let bias = w.bias.as_ref().map(|[of_input, of_hidden]| match self.cell {
            Cell::Gru => of_input.value(),
            _ => of_input.value() + of_hidden.value(),
        });
        x.linear(&w.input.value(), bias.as_ref())
    }

    /// An LSTM of one layer in one direction: returns the hidden state of each step, and leaves the last states.
    #[track_caller]
    fn whole(&self, w: &Weights, x: &Tensor, time: usize, backward: bool, h: &mut Tensor, c: &mut Tensor) -> Tensor {
        let turned = |t: Tensor| if self.batch_first { t } else { t.transpose(0, 1) };
        let (gates, weight) = (turned(self.gates(w, x)), w.hidden.value());
        // Not by the method, which borrows the gates: handed over, they give the activations their memory.
        let inputs = &mut [gates.into(), (&weight).into(), (&*h).into(), (&*c).into()];
        let mut outputs = or_panic(apply(*OF_SEQUENCES, attrs! { reverse: backward }, inputs)).into_iter();
        let mut next = || or_panic(outputs.next().expect("hidden states and cells").downcast::<Float>());
        let (hidden, cells) = (next(), next());
        let last = if backward { 0 } else { time - 1 };
        (*h, *c) = (hidden.narrow(1, last, 1).squeeze(1), cells.narrow(1, last, 1).squeeze(1));
        turned(hidden)
    }

    /// Any other layer in one direction, step by step: returns the hidden state of each step, and leaves the last one.
    #[track_caller]
    fn steps(&self, w: &Weights, x: &Tensor, time: usize, backward: bool, h: &mut Tensor) -> Tensor {
        let axis = isize::from(self.batch_first);
        let (gates, hidden) = (self.gates(w, x), w.hidden.value().t());
        let bias = w.bias.as_ref().map(|[_, of_hidden]| of_hidden.value());
        let mut steps = Vec::with_capacity(time);
        for t in 0..time {
            let t = if backward { time - 1 - t } else { t };
            let of_input = gates.narrow(axis, t, 1).squeeze(axis);
            let of_hidden = h.matmul(&hidden);
            *h = match (self.cell, &bias) {
                (Cell::Gru, Some(bias)) => of_input.gru_cell(&(of_hidden + bias), h),
                (Cell::Gru, None) => of_input.gru_cell(&of_hidden, h),
                (Cell::Relu, _) => (of_input + of_hidden).relu(),
                _ => (of_input + of_hidden).tanh(),
            };
            steps.push(h.clone());
        }
        if backward {
            steps.reverse();
        }
        Tensor::stack(&steps, axis)
    }
}

macro_rules! recurrent {
    ($($(#[$doc:meta])* $Name:ident $cell:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// The input is `[batch, time, features]`, the output `[batch, time, hidden]`, or `[.., 2 * hidden]` in both
        /// directions, forward before backward. States are `[layers * directions, batch, hidden]`, layer by layer,
        /// forward before backward. Parameters are named as in PyTorch, `weight_ih_l0` and so on, and start uniform
        /// between `-1/sqrt(hidden)` and `1/sqrt(hidden)`.
        pub struct $Name(Stack);

        impl $Name {
            /// One layer from `features` to `hidden` features, forward in time.
            ///
            /// # Panics
            /// If `hidden` is 0.
            #[track_caller]
            pub fn new(features: usize, hidden: usize) -> $Name {
                $Name(Stack::new(stringify!($Name), $cell, features, hidden))
            }

            /// How many layers there are, one on the outputs of the other: 1 unless set. The parameters are drawn anew.
            ///
            /// # Panics
            /// If it is 0, or more than 1000: each has parameters of its own, drawn at once.
            #[track_caller]
            pub fn layers(mut self, layers: usize) -> $Name {
                assert!((1..=1000).contains(&layers), "{}::layers: {layers} layers", stringify!($Name));
                self.0.layers = layers;
                $Name(self.0.drawn())
            }

            /// Whether each layer also runs backward in time: not unless set. The parameters are drawn anew.
            #[track_caller]
            pub fn bidirectional(mut self, both: bool) -> $Name {
                self.0.both = both;
                $Name(self.0.drawn())
            }

            /// With biases (as made), or without. The parameters are drawn anew.
            #[track_caller]
            pub fn bias(mut self, bias: bool) -> $Name {
                self.0.bias = bias;
                $Name(self.0.drawn())
            }

            /// The share of the outputs of each layer but the last that is dropped in training: 0 unless set.
            ///
            /// # Panics
            /// If `p` is not between 0 and 1.
            #[track_caller]
            pub fn dropout(mut self, p: f64) -> $Name {
                assert!((0.0..=1.0).contains(&p), "{}::dropout: p {p} is not between 0 and 1", stringify!($Name));
                self.0.dropout = p;
                self
            }

            /// Whether inputs and outputs are `[batch, time, ..]` (as made), or `[time, batch, ..]`, as PyTorch has them
            /// unless told otherwise. It does not change the form of the states.
            pub fn batch_first(mut self, batch_first: bool) -> $Name {
                self.0.batch_first = batch_first;
                self
            }
        }

        impl Module for $Name {
            fn visit(&self, walk: &mut Walk<'_>) {
                self.0.visit(walk);
            }
        }

        impl Layer for $Name {
            /// The outputs for states that start at zero.
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                self.0.run(x, None, None).0
            }
        }
    )*};
}

recurrent! {
    /// A plain recurrent layer: `h' = tanh(W x + b + V h + c)`, or with `relu` in the place of `tanh`. J. Elman,
    /// "Finding Structure in Time", Cognitive Science 14 (1990).
    ///
    /// ```
    /// use wengert_nn::{Layer, RNN};
    /// use wengert_tensor::Tensor;
    /// let rnn = RNN::new(3, 5).relu();
    /// assert_eq!(rnn.forward(&Tensor::randn([2, 7, 3])).shape().to_string(), "[2, 7, 5]");
    /// ```
    RNN Cell::Tanh;
    /// Long short-term memory, see [`Tensor::lstm`]: its state is a hidden state and a cell.
    ///
    /// ```
    /// use wengert_nn::{Layer, LSTM, Module};
    /// use wengert_tensor::Tensor;
    /// let lstm = LSTM::new(3, 5).layers(2).bidirectional(true);
    /// assert_eq!(lstm.forward(&Tensor::randn([2, 7, 3])).shape().to_string(), "[2, 7, 10]");
    /// assert_eq!(lstm.named_parameters()[4].0, "weight_ih_l0_reverse");
    /// ```
    LSTM Cell::Lstm;
    /// The gated recurrent unit, see [`Tensor::gru_cell`].
    ///
    /// ```
    /// use wengert_nn::{GRU, Layer};
    /// use wengert_tensor::Tensor;
    /// let gru = GRU::new(3, 5).batch_first(false);
    /// assert_eq!(gru.forward(&Tensor::randn([7, 2, 3])).shape().to_string(), "[7, 2, 5]");
    /// ```
    GRU Cell::Gru;
}

impl RNN {
    /// With `relu` instead of `tanh`.
    pub fn relu(mut self) -> RNN {
        self.0.cell = Cell::Relu;
        self
    }

    /// The outputs, and the last hidden states, from hidden states given or zero.
    ///
    /// # Panics
    /// If the input or the state has another shape than the layer takes.
    ///
    /// ```
    /// use wengert_nn::RNN;
    /// use wengert_tensor::Tensor;
    /// let (rnn, x) = (RNN::new(3, 5), Tensor::randn([2, 7, 3]));
    /// let (whole, _) = rnn.forward_with(&x, None);
    /// let (_, h) = rnn.forward_with(&x.narrow(1, 0, 4), None);
    /// let (rest, _) = rnn.forward_with(&x.narrow(1, 4, 3), Some(&h));
    /// assert!((rest - whole.narrow(1, 4, 3)).abs().max().item() < 1e-6);
    /// ```
    #[track_caller]
    pub fn forward_with(&self, x: &Tensor, h: Option<&Tensor>) -> (Tensor, Tensor) {
        let (y, h, _) = self.0.run(x, h, None);
        (y, h)
    }
}

impl GRU {
    /// The outputs, and the last hidden states, from hidden states given or zero.
    ///
    /// # Panics
    /// If the input or the state has another shape than the layer takes.
    ///
    /// ```
    /// use wengert_nn::GRU;
    /// use wengert_tensor::Tensor;
    /// let gru = GRU::new(3, 5).layers(2);
    /// let (y, h) = gru.forward_with(&Tensor::randn([2, 7, 3]), Some(&Tensor::zeros([2, 2, 5])));
    /// assert_eq!(y.narrow(1, 6, 1).squeeze(1).to_vec::<f32>(), h.narrow(0, 1, 1).to_vec::<f32>());
    /// ```
    #[track_caller]
    pub fn forward_with(&self, x: &Tensor, h: Option<&Tensor>) -> (Tensor, Tensor) {
        let (y, h, _) = self.0.run(x, h, None);
        (y, h)
    }
}

impl LSTM {
    /// The outputs, and the last hidden states and cells, from hidden states and cells given or zero.
    ///
    /// # Panics
    /// If the input or a state has another shape than the layer takes.
    ///
    /// ```
    /// use wengert_nn::LSTM;
    /// use wengert_tensor::Tensor;
    /// let (lstm, x) = (LSTM::new(3, 5), Tensor::randn([2, 7, 3]));
    /// let (_, (h, c)) = lstm.forward_with(&x, None);
    /// // Later inputs go on from there.
    /// let (y, _) = lstm.forward_with(&x, Some((&h, &c)));
    /// assert_eq!(y.shape().to_string(), "[2, 7, 5]");
    /// ```
    #[track_caller]
    pub fn forward_with(&self, x: &Tensor, state: Option<(&Tensor, &Tensor)>) -> (Tensor, (Tensor, Tensor)) {
        let (y, h, c) = self.0.run(x, state.map(|s| s.0), state.map(|s| s.1));
        (y, (h, c))
    }
}
