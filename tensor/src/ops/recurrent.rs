//! The cells of recurrent layers: what happens in a time step after the matrix products.

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::recurrent::{self, Rows};
use crate::kind::Float;
use crate::ops::elementwise::demand_float;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&LSTM_CELL, &LSTM_CELL_GRAD, &GRU_CELL, &GRU_CELL_GRAD];

/// Checks that the inputs are matrices with rows of `widths` blocks of one size, and returns the number of rows, the
/// size of a block, and the inputs with elements of a row beside each other.
fn matrices(call: &Call<'_, '_>, widths: &[usize], names: &[&str]) -> Result<(usize, usize, Vec<AnyTensor>)> {
    demand_float(call.same_dtype()?)?;
    let state = call.input(2).shape();
    let &[n, size] = &state[..] else {
        return Err(Error::new(format!("the state has rank {}, not 2", state.rank()))
            .help("give matrices: one row for each sample of the batch"));
    };
    for (i, (&width, name)) in widths.iter().zip(names).enumerate() {
        let shape = call.input(i).shape();
        if shape[..] != [n, width * size] {
            return Err(Error::new(format!("{name} has shape {shape}, not [{n}, {}]", width * size))
                .help(format!("for a state {state} it holds {width} blocks of {size} in each row")));
        }
    }
    let beside = |t: &AnyTensor| {
        let (strides, width) = (t.layout().strides(), t.shape()[1]);
        if strides[1] == 1 || width <= 1 { t.clone() } else { dense(t.clone()) }
    };
    Ok((n, size, (0..call.len()).map(|i| beside(call.input(i))).collect()))
}

fn rows<T: Element>(t: &AnyTensor) -> Rows<'_, T> {
    let layout = t.layout();
    Rows { data: t.storage().slice(), offset: layout.offset(), stride: layout.strides()[0], width: t.shape()[1] }
}

/// A fresh matrix, written by `f`.
fn written<T: Element>(n: usize, width: usize, f: impl FnOnce(&mut [T], &Par)) -> AnyTensor {
    let mut storage = Storage::stale::<T>(n * width);
    f(&mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n * width], &Par::of(n * width));
    AnyTensor::dense(storage, [n, width].into(), T::DTYPE)
}

/// Inputs of the shapes that a cell takes: `[n, width * size]` for each width.
fn sample(g: &mut Gen, widths: &[usize]) -> Vec<Sample> {
    let (n, size) = (g.below(4), g.below(4));
    let inputs: Vec<_> = widths.iter().map(|w| g.numbers(&[n, w * size].into(), -2.0, 2.0)).collect();
    vec![Sample::new(inputs, Attrs::NONE)]
}

/// Gates that are all open or all shut.
fn saturated(g: &mut Gen, widths: &[usize]) -> Vec<Sample> {
    let row = |w: usize| -> Vec<f64> { (0..2 * w).map(|i| if i % 2 == 0 { 200.0 } else { -200.0 }).collect() };
    vec![Sample::new(widths.iter().map(|&w| g.tensor(&row(w), &[1, 2 * w].into())), Attrs::NONE)]
}

/// Each input in turn one column too wide, and a state that is no matrix.
fn wrong_shapes(widths: &[usize], says: &[&'static str]) -> Vec<Misuse> {
    let shapes = |wrong: usize| {
        widths.iter().enumerate().map(move |(i, w)| Tensor::zeros([2, w * 3 + usize::from(i == wrong)]).into())
    };
    let wrong = (0..widths.len()).filter(|&i| i != 2).map(|i| Misuse::new(shapes(i), Attrs::NONE, says[i]));
    let vectors = widths.iter().map(|_| Tensor::zeros([3]).into());
    wrong.chain([Misuse::new(vectors, Attrs::NONE, "the state has rank 1, not 2")]).collect()
}

/// Columns `k` to `k + count` of blocks of `size` columns.
fn blocks(t: &Tensor, k: usize, count: usize, size: usize) -> Tensor {
    t.narrow(1, k * size, count * size)
}

/// The derivative of the sigmoid, by its value.
fn slope(s: &Tensor) -> Tensor {
    s - s.square()
}

/// The operation of [`Tensor::lstm_cell`].
pub(crate) static LSTM_CELL: Op = {
    const WIDTHS: &[usize] = &[4, 4, 1];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (n, size, inputs) = matrices(call, WIDTHS, &["input_gates", "hidden_gates", "cell"])?;
        Ok(with_dtype!(float inputs[0].dtype(), T => {
            let mut next = Storage::stale::<T>(n * size);
            let h = written::<T>(n, size, |h, par| {
                let next = &mut next.unique_mut::<T>().expect("a fresh buffer is unique")[..n * size];
                recurrent::lstm(h, next, [rows(&inputs[0]), rows(&inputs[1])], rows(&inputs[2]), par);
            });
            Outputs::from([h, AnyTensor::dense(next, [n, size].into(), T::DTYPE)])
        }))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let [x, y, c] = [0, 1, 2].map(|i| cx.input::<Float>(i));
        let (dh, dc, size) = (cx.cotangent(0), cx.cotangent(1), cx.input_shape(2)[1]);
        let inputs = &mut [x.into(), y.into(), c.into(), dh.into(), dc.into()];
        let all: Tensor = or_panic(apply1(&LSTM_CELL_GRAD, Attrs::NONE, inputs));
        let gates = blocks(&all, 0, 4, size);
        cx.give(0, gates.clone());
        cx.give(1, gates);
        cx.give(2, blocks(&all, 4, 1, size));
    }
    Op {
        name: "lstm_cell",
        operands: &["input_gates", "hidden_gates", "cell"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "lstm_cell",
            precisions: FLOATS,
            samples: |g| sample(g, WIDTHS),
            specials: |g| saturated(g, WIDTHS),
            misuses: || {
                wrong_shapes(WIDTHS, &["input_gates has shape [2, 13], not [2, 12]", "hidden_gates has shape [2, 13]"])
            },
        },
    }
};

/// The gradient of [`LSTM_CELL`]: inputs are its inputs and the gradients of its outputs, the output holds in each row
/// the gradient of the four gates and that of the cell.
pub(crate) static LSTM_CELL_GRAD: Op = {
    const WIDTHS: &[usize] = &[4, 4, 1, 1, 1];
    const NAMES: &[&str] = &["input_gates", "hidden_gates", "cell", "hidden_gradient", "cell_gradient"];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (n, size, inputs) = matrices(call, WIDTHS, NAMES)?;
        Ok(with_dtype!(float inputs[0].dtype(), T => {
            let [x, y, c, dh, dc] = [0, 1, 2, 3, 4].map(|i| rows::<T>(&inputs[i]));
            written::<T>(n, 5 * size, |out, par| recurrent::lstm_grad(out, [x, y], c, dh, dc, par))
        })
        .into())
    }
    /// With `i, f, g, o` the gates, `t = tanh(f c + i g)` and `d = dc + dh o (1 - t^2)`, the output is
    /// `d g i', d c f', d i g', dh t o', d f`, where a dash is the derivative by what the gate is a function of. So the
    /// sum of the output times the incoming `u` is `d p + dh q` with the `p` and `q` below; this is differentiated.
    fn vjp(cx: &mut Vjp<'_>) {
        let size = cx.input_shape(2)[1];
        let [x, y, c, dh, dc] = [0, 1, 2, 3, 4].map(|i| cx.input::<Float>(i));
        let (gates, u) = (x + y, cx.g());
        let [i, f, o] = [0, 1, 3].map(|k| blocks(&gates, k, 1, size).sigmoid());
        let g = blocks(&gates, 2, 1, size).tanh();
        let [ua, ub, ue, uq, v] = [0, 1, 2, 3, 4].map(|k| blocks(&u, k, 1, size));
        let t = (&f * &c + &i * &g).tanh();
        let [si, sf, so] = [&i, &f, &o].map(slope);
        let [sg, st] = [&g, &t].map(|t| 1.0 - t.square());
        let d = &dc + &dh * &o * &st;
        let p = &ua * &g * &si + &ub * &c * &sf + &ue * &i * &sg + &v * &f;
        let q = &uq * &t * &so;
        if cx.needs(0) || cx.needs(1) || cx.needs(2) {
            // What reaches the new cell, through its tanh.
            let cell = &dh * &st * (&uq * &so - &p * &o * &t * 2.0);
            let of_i = (&d * (&ua * &g * (1.0 - &i * 2.0) + &ue * &sg) + &cell * &g) * &si;
            let of_f = (&d * (&ub * &c * (1.0 - &f * 2.0) + &v) + &cell * &c) * &sf;
            let of_g = (&d * (&ua * &si - &ue * &i * &g * 2.0) + &cell * &i) * &sg;
            let of_o = &dh * (&p * &st + &uq * &t * (1.0 - &o * 2.0)) * &so;
            let gates = Tensor::cat(&[of_i, of_f, of_g, of_o], 1);
            cx.give(0, gates.clone());
            cx.give(1, gates);
            cx.give(2, &d * &ub * &sf + &cell * &f);
        }
        if cx.needs(3) {
            cx.give(3, &p * &o * &st + q);
        }
        cx.give(4, p);
    }
    Op {
        name: "lstm_cell_grad",
        operands: NAMES,
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| sample(g, WIDTHS),
            specials: |g| saturated(g, WIDTHS),
            misuses: || {
                let says = [
                    "input_gates has shape [2, 13], not [2, 12]",
                    "hidden_gates has shape [2, 13]",
                    "",
                    "hidden_gradient has shape [2, 4], not [2, 3]",
                    "cell_gradient has shape [2, 4]",
                ];
                wrong_shapes(WIDTHS, &says)
            },
        },
    }
};

/// The operation of [`Tensor::gru_cell`].
pub(crate) static GRU_CELL: Op = {
    const WIDTHS: &[usize] = &[3, 3, 1];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (n, size, inputs) = matrices(call, WIDTHS, &["input_gates", "hidden_gates", "hidden"])?;
        Ok(with_dtype!(float inputs[0].dtype(), T => {
            let [x, y, h] = [0, 1, 2].map(|i| rows::<T>(&inputs[i]));
            written::<T>(n, size, |out, par| recurrent::gru(out, x, y, h, par))
        })
        .into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let [x, y, h] = [0, 1, 2].map(|i| cx.input::<Float>(i));
        let (d, size) = (cx.g(), cx.input_shape(2)[1]);
        let inputs = &mut [x.into(), y.into(), h.into(), d.into()];
        let all: Tensor = or_panic(apply1(&GRU_CELL_GRAD, Attrs::NONE, inputs));
        cx.give(0, blocks(&all, 0, 3, size));
        cx.give(1, blocks(&all, 3, 3, size));
        cx.give(2, blocks(&all, 6, 1, size));
    }
    Op {
        name: "gru_cell",
        operands: &["input_gates", "hidden_gates", "hidden"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "gru_cell",
            precisions: FLOATS,
            samples: |g| sample(g, WIDTHS),
            specials: |g| saturated(g, WIDTHS),
            misuses: || {
                wrong_shapes(WIDTHS, &["input_gates has shape [2, 10], not [2, 9]", "hidden_gates has shape [2, 10]"])
            },
        },
    }
};

/// The gradient of [`GRU_CELL`]: inputs are its inputs and the gradient of its output, the output holds in each row the
/// gradients of the gates of the input, of those of the hidden state, and of the hidden state.
pub(crate) static GRU_CELL_GRAD: Op = {
    const WIDTHS: &[usize] = &[3, 3, 1, 1];
    const NAMES: &[&str] = &["input_gates", "hidden_gates", "hidden", "gradient"];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (n, size, inputs) = matrices(call, WIDTHS, NAMES)?;
        Ok(with_dtype!(float inputs[0].dtype(), T => {
            let [x, y, h, d] = [0, 1, 2, 3].map(|i| rows::<T>(&inputs[i]));
            written::<T>(n, 7 * size, |out, par| recurrent::gru_grad(out, x, y, h, d, par))
        })
        .into())
    }
    /// With `r, z, n` the gates, `k` the third gate of the hidden state before `r` scales it, and
    /// `m = d (1 - z) n'`, the output is `m k r', d (h - n) z', m` for the input, the same with `m r` in the third
    /// place for the hidden state's gates, and `d z`, where a dash is the derivative by what the gate is a function
    /// of. So the sum of the output times the incoming `u` is `m p + d (h - n) z' b + d z v` with the `p` and `b`
    /// below; this is differentiated.
    fn vjp(cx: &mut Vjp<'_>) {
        let size = cx.input_shape(2)[1];
        let [x, y, h, d] = [0, 1, 2, 3].map(|i| cx.input::<Float>(i));
        let u = cx.g();
        let [ur, uz, un, wr, wz, wn, v] = [0, 1, 2, 3, 4, 5, 6].map(|k| blocks(&u, k, 1, size));
        let [r, z] = [0, 1].map(|k| (blocks(&x, k, 1, size) + blocks(&y, k, 1, size)).sigmoid());
        let k = blocks(&y, 2, 1, size);
        let n = (blocks(&x, 2, 1, size) + &r * &k).tanh();
        let ([sr, sz], sn) = ([&r, &z].map(slope), 1.0 - n.square());
        let (a, b) = (ur + wr, uz + wz);
        let m = &d * (1.0 - &z) * &sn;
        let p = &a * &k * &sr + un + &wn * &r;
        if cx.needs(0) || cx.needs(1) {
            let of_n = (&d * (&n * (&z - 1.0) * &p * 2.0 - &b * &sz)) * &sn;
            let of_z = &d * &sz * (&b * (&h - &n) * (1.0 - &z * 2.0) + &v - &p * &sn);
            let of_r = &sr * (&a * &m * &k * (1.0 - &r * 2.0) + wn * &m + &of_n * &k);
            let of_k = &a * &m * &sr + &of_n * &r;
            cx.give(0, Tensor::cat(&[&of_r, &of_z, &of_n], 1));
            cx.give(1, Tensor::cat(&[&of_r, &of_z, &of_k], 1));
        }
        if cx.needs(2) {
            cx.give(2, &d * &b * &sz);
        }
        if cx.needs(3) {
            cx.give(3, p * (1.0 - &z) * sn + b * (h - n) * sz + v * z);
        }
    }
    Op {
        name: "gru_cell_grad",
        operands: NAMES,
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| sample(g, WIDTHS),
            specials: |g| saturated(g, WIDTHS),
            misuses: || {
                let says = [
                    "input_gates has shape [2, 10], not [2, 9]",
                    "hidden_gates has shape [2, 10]",
                    "",
                    "gradient has shape [2, 4], not [2, 3]",
                ];
                wrong_shapes(WIDTHS, &says)
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// One time step of an LSTM after its matrix products, all in one pass: `self` `[n, 4 size]` holds the gates
        /// that come from the input, `hidden_gates` `[n, 4 size]` those that come from the hidden state, `cell`
        /// `[n, size]` the cell. In each row of gates there is a block for the input gate, the forget gate, the cell's
        /// candidate and the output gate, in this order. Returns the new hidden state and the new cell, each
        /// `[n, size]`:
        ///
        /// `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`, where `i, f, g, o` are the sums of
        /// both kinds of gates. S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997),
        /// with the forget gate of F. Gers et al. (2000).
        ///
        /// # Panics
        /// If the shapes are not these, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::{tensor, Tensor};
        /// // Input and output gates wide open, the forget gate shut.
        /// let gates = tensor![[100.0, -100.0, 0.5, 100.0]];
        /// let (h, c) = gates.lstm_cell(&Tensor::zeros([1, 4]), &tensor![[7.0]]);
        /// assert!((c.item() - 0.5f64.tanh()).abs() < 1e-6);
        /// assert!((h.item() - 0.5f64.tanh().tanh()).abs() < 1e-6);
        /// ```
        pub fn lstm_cell / try_lstm_cell(&self, hidden_gates: &Tensor, cell: &Tensor) -> (Tensor, Tensor) {
            let inputs = &mut [self.into(), hidden_gates.into(), cell.into()];
            let [hidden, cell] = apply(&LSTM_CELL, Attrs::NONE, inputs)?.into_array();
            Ok((hidden.downcast()?, cell.downcast()?))
        }

        /// One time step of a gated recurrent unit after its matrix products, all in one pass: `self` `[n, 3 size]`
        /// holds the gates that come from the input, `hidden_gates` `[n, 3 size]` those that come from the hidden
        /// state, `hidden` `[n, size]` the hidden state. In each row of gates there is a block for the reset gate, the
        /// update gate and the candidate, in this order. Returns the new hidden state `[n, size]`:
        ///
        /// `r = sigmoid(x_r + y_r)`, `z = sigmoid(x_z + y_z)`, `h' = (1 - z) tanh(x_n + r y_n) + z h`. K. Cho et al.,
        /// "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014; the reset gate scales the product
        /// with the hidden state, as in PyTorch.
        ///
        /// # Panics
        /// If the shapes are not these, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::{tensor, Tensor};
        /// // With the update gate wide open the state stays.
        /// let gates = tensor![[0.0, 100.0, 0.5]];
        /// assert_eq!(gates.gru_cell(&Tensor::zeros([1, 3]), &tensor![[7.0]]).item(), 7.0);
        /// ```
        pub fn gru_cell / try_gru_cell(&self, hidden_gates: &Tensor, hidden: &Tensor) -> Tensor {
            apply1(&GRU_CELL, Attrs::NONE, &mut [self.into(), hidden_gates.into(), hidden.into()])
        }
    }
}
