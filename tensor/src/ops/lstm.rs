//! An LSTM over whole sequences: one layer in one direction.

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::lstm::{self, Known};
use crate::kernels::recurrence::{Sequence, Sizes};
use crate::kind::Float;
use crate::ops::batch_norm::statistics_dtype;
use crate::ops::cast::in_single;
use crate::ops::elementwise::demand_float;
use crate::ops::matmul::as_matrix;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&LSTM, &LSTM_GRAD];

/// What an input is, by the sizes of its axes: of the batch, of time, and blocks of a state's size.
#[derive(Clone, Copy)]
enum Form {
    /// `[batch, time, blocks * size]`
    Steps(usize),
    /// `[batch, size]`
    State,
    /// `[4 size, size]`
    Weight,
}

/// Checks the shapes of inputs against those of the first, whose form is `Steps`, and of the weight.
fn sizes(call: &Call<'_, '_>, names: &[&str], forms: &[Form]) -> Result<Sizes> {
    demand_float(call.same_dtype()?)?;
    let first = call.input(0).shape();
    let &[batch, time, _] = &first[..] else {
        let e = Error::new(format!("{} has rank {}, not 3", names[0], first.rank()));
        return Err(e.help("give it as [batch, time, 4 * size]"));
    };
    let weight = forms.iter().position(|form| matches!(form, Form::Weight)).expect("there is a weight");
    let size = match call.input(weight).shape()[..] {
        [rows, size] if rows == size.saturating_mul(4) => size,
        _ => {
            let e = Error::new(format!("weight has shape {}, not [4 * size, size]", call.input(weight).shape()));
            return Err(e.help("it has a block of rows for each of the four gates, as wide as the hidden state"));
        }
    };
    for (i, (name, form)) in names.iter().zip(forms).enumerate() {
        let (shape, want) = (
            call.input(i).shape(),
            match form {
                Form::Steps(blocks) => vec![batch, time, blocks * size],
                Form::State => vec![batch, size],
                Form::Weight => continue,
            },
        );
        if shape[..] != want[..] {
            return Err(Error::new(format!("{name} has shape {shape}, not {want:?}")).help(format!(
                "the weight says that states have {size} elements, {} {batch} samples of {time} steps",
                names[0]
            )));
        }
    }
    Ok(Sizes { batch, time, size, reverse: call.attrs().bool("reverse") })
}

impl Sizes {
    /// How many elements the work is like, for its spread over threads.
    fn par(&self) -> Par {
        let multiply_adds = [self.batch, self.time, 4, self.size, self.size + 32];
        Par::of(multiply_adds.into_iter().fold(1, usize::saturating_mul) / 32)
    }
}

/// With the elements of the last axis beside each other.
fn beside(t: &AnyTensor) -> AnyTensor {
    let last = t.rank() - 1;
    if t.layout().strides()[last] == 1 || t.shape()[last] <= 1 { t.clone() } else { dense(t.clone()) }
}

/// The rows of `[batch, time, width]`, or of `[batch, width]`, which are the same at every step.
fn rows<T: Element>(t: &AnyTensor) -> Sequence<'_, T> {
    let (layout, last) = (t.layout(), t.rank() - 1);
    let strides = layout.strides();
    let step = if last == 2 { strides[1] } else { 0 };
    Sequence { data: t.storage().slice(), offset: layout.offset(), strides: [strides[0], step], width: t.shape()[last] }
}

/// The steps of `[batch, time, ..]`, each one later: at the first step, in the order of running, there is `first`.
fn later(first: &Tensor, all: &Tensor, reverse: bool) -> Tensor {
    let (first, rest) = (first.unsqueeze(1), all.size(1) as isize - 1);
    match (rest, reverse) {
        (-1, _) => all.clone(),
        (_, false) => Tensor::cat(&[&first, &all.narrow(1, 0, rest as usize)], 1),
        (_, true) => Tensor::cat(&[&all.narrow(1, 1, rest as usize), &first], 1),
    }
}

/// Block `k` of the last axis.
fn block(t: &Tensor, k: usize) -> Tensor {
    let size = t.size(-1) / 4;
    t.narrow(-1, k * size, size)
}

/// The batch and the steps as one axis.
fn flat(t: &Tensor) -> Tensor {
    let (rows, width) = (t.size(0) * t.size(1), t.size(2));
    t.reshape([rows, width])
}

/// Random inputs of such forms, and a direction.
fn sample(g: &mut Gen, forms: &[Form]) -> Vec<Sample> {
    let [batch, time, size] = [0; 3].map(|_| g.below(4));
    let shape = |form: &Form| match form {
        Form::Steps(blocks) => [batch, time, blocks * size][..].into(),
        Form::State => [batch, size][..].into(),
        Form::Weight => [4 * size, size][..].into(),
    };
    let inputs: Vec<AnyTensor> = forms.iter().map(|form| g.numbers(&shape(form), -1.5, 1.5)).collect();
    vec![Sample::new(inputs, attrs! { reverse: g.below(2) == 0 })]
}

/// Two steps of a state of one element, its gates all open or all shut.
fn saturated(g: &mut Gen, forms: &[Form], [open, shut]: [f64; 2]) -> Vec<Sample> {
    let values = |n: usize| (0..n).map(|i| if i % 3 == 0 { open } else { shut }).collect::<Vec<f64>>();
    let inputs = forms.iter().map(|form| match form {
        Form::Steps(blocks) => g.tensor(&values(2 * blocks), &[1, 2, *blocks].into()),
        Form::State => g.tensor(&[0.5], &[1, 1].into()),
        Form::Weight => g.tensor(&[0.5, -1.0, 1.5, 2.0], &[4, 1].into()),
    });
    vec![Sample::new(inputs.collect::<Vec<_>>(), attrs! { reverse: false })]
}

/// Each input in turn one column too wide.
fn wrong_shapes(forms: &[Form], says: &[&'static str]) -> Vec<Misuse> {
    let inputs = |wrong: usize| {
        let shape = move |(i, form): (usize, &Form)| {
            let more = usize::from(i == wrong);
            match form {
                Form::Steps(blocks) => Tensor::zeros([2, 5, 3 * blocks + more]),
                Form::State => Tensor::zeros([2, 3 + more]),
                Form::Weight => Tensor::zeros([12, 3 + more]),
            }
        };
        forms.iter().enumerate().map(shape).map(AnyTensor::from).collect::<Vec<_>>()
    };
    says.iter().enumerate().map(|(i, says)| Misuse::new(inputs(i), Attrs::NONE, says)).collect()
}

/// The operation of [`Tensor::lstm`]. Its third output are the gates after their functions, which the gradient reads.
pub(crate) static LSTM: Op = {
    const NAMES: &[&str] = &["input_gates", "weight", "hidden", "cell"];
    const FORMS: &[Form] = &[Form::Steps(4), Form::Weight, Form::State, Form::State];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let s = sizes(call, NAMES, FORMS)?;
        let (dtype, shape) = (call.input(0).dtype(), call.input(0).shape().clone());
        if dtype.size() == 2 {
            return in_single(call, &LSTM);
        }
        // The activations take the place of the gates, where those were handed over.
        let place = call.reuse(0);
        let (gates, weight) = (place.is_none().then(|| beside(call.input(0))), call.input(1));
        let states = [2, 3].map(|i| beside(call.input(i)));
        Ok(with_dtype!(precise dtype, T => {
            let each = s.batch * s.time * s.size;
            let [mut h, mut c] = [0; 2].map(|_| Storage::stale::<T>(each));
            let mut activations = place.unwrap_or_else(|| Storage::stale::<T>(4 * each));
            let written = "a buffer that no one shares";
            lstm::lstm(
                &mut h.unique_mut::<T>().expect(written)[..each],
                &mut c.unique_mut::<T>().expect(written)[..each],
                &mut activations.unique_mut::<T>().expect(written)[..4 * each],
                gates.as_ref().map(rows),
                as_matrix(weight),
                states.each_ref().map(rows),
                &s,
                &s.par(),
            );
            let state = [s.batch, s.time, s.size];
            Outputs::from([
                AnyTensor::dense(h, state.into(), dtype),
                AnyTensor::dense(c, state.into(), dtype),
                AnyTensor::dense(activations, shape, dtype),
            ])
        }))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let [weight, h0, c0] = [1, 2, 3].map(|i| cx.input::<Float>(i));
        let [h, c, activations] = [0, 1, 2].map(|k| cx.output::<Float>(k));
        // What received no gradient is one row of zeros, read at every step.
        let mut cotangent = |k: usize, like: &Tensor| {
            let zeros = || Tensor::full_dtype([1, 1, like.size(2)], 0.0, like.dtype()).expand(like.shape());
            cx.take_cotangent(k).unwrap_or_else(zeros)
        };
        let (dh, dc, da) = (cotangent(0, &h), cotangent(1, &c), cotangent(2, &activations));
        let inputs = [&activations, &c, &c0, &weight, &dh, &dc, &da];
        let outputs = or_panic(apply(&LSTM_GRAD, cx.attrs().clone(), &mut inputs.map(Arg::from)));
        let mut outputs = outputs.into_iter().map(|t| or_panic(t.downcast::<Float>()));
        let mut next = || outputs.next().expect("three gradients");
        let (dz, dh0, dc0) = (next(), next(), next());
        if cx.needs(1) {
            let before = later(&h0, &h, cx.attrs().bool("reverse"));
            cx.give(1, flat(&dz).t().matmul(&flat(&before)));
        }
        cx.give(0, dz);
        cx.give(2, dh0);
        cx.give(3, dc0);
    }
    Op {
        name: "lstm",
        operands: NAMES,
        forward,
        gradient: Gradient::Rule {
            saves: |_| {
                let inputs = Saves::NONE.and_input(1).and_input(2).and_input(3);
                inputs.and_output(0).and_output(1).and_output(2)
            },
            vjp,
        },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "lstm",
            precisions: FLOATS,
            samples: |g| sample(g, FORMS),
            specials: |g| saturated(g, FORMS, [200.0, -200.0]),
            misuses: || {
                let says = [
                    "input_gates has shape [2, 5, 13], not [2, 5, 12]",
                    "weight has shape [12, 4], not [4 * size, size]",
                    "hidden has shape [2, 4], not [2, 3]",
                    "cell has shape [2, 4], not [2, 3]",
                ];
                let flat =
                    [Tensor::zeros([2, 12]), Tensor::zeros([12, 3]), Tensor::zeros([2, 3]), Tensor::zeros([2, 3])];
                let rank = Misuse::new(flat.map(AnyTensor::from), Attrs::NONE, "input_gates has rank 2, not 3");
                wrong_shapes(FORMS, &says).into_iter().chain([rank]).collect()
            },
        },
    }
};

/// The gradient of [`LSTM`]: inputs are its activations and cells, the first cell, the weight, and the gradients of its
/// three outputs; outputs are the gradients of the gates and of the first hidden state and cell.
///
/// With `k = tanh(c)`, and `e` and `d` what reaches the hidden state and the cell of a step, also by way of the next step:
///
/// `e = dh + dz' W`, `d = dc + d' f' + e o (1 - k^2)`, `dz = (d g + ui, d b + uf, d i + ug, e k + uo) s`,
///
/// where a dash is the next step's, `b` the cell before, `u` the gradient of the activations, and `s` their derivative by
/// the gates: `i (1 - i)` and `f (1 - f)`, `1 - g^2`, `o (1 - o)`.
pub(crate) static LSTM_GRAD: Op = {
    const NAMES: &[&str] =
        &["activations", "cells", "cell", "weight", "hidden_gradient", "cell_gradient", "activation_gradient"];
    const FORMS: &[Form] =
        &[Form::Steps(4), Form::Steps(1), Form::State, Form::Weight, Form::Steps(1), Form::Steps(1), Form::Steps(4)];
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let s = sizes(call, NAMES, FORMS)?;
        let dtype = call.input(0).dtype();
        if dtype.size() == 2 {
            return in_single(call, &LSTM_GRAD);
        }
        let [activations, cells, c0, dh, dc, da] = [0, 1, 2, 4, 5, 6].map(|i| beside(call.input(i)));
        Ok(with_dtype!(precise dtype, T => {
            let known = Known {
                activations: rows(&activations),
                cells: rows(&cells),
                c0: rows(&c0),
                dh: rows(&dh),
                dc: rows(&dc),
                da: rows(&da),
            };
            let (weight, state) = (as_matrix::<T>(call.input(3)), [s.batch, s.size]);
            let (mut dh0, mut dc0) = (None, None);
            let dz = AnyTensor::filled::<T>(activations.shape().clone(), |dz| {
                dh0 = Some(AnyTensor::filled::<T>(state.into(), |dh0| {
                    dc0 = Some(AnyTensor::filled::<T>(state.into(), |dc0| {
                        lstm::lstm_grad(dz, dh0, dc0, &known, weight, &s, &s.par());
                    }));
                }));
            });
            [Some(dz), dh0, dc0].into_iter().flatten().collect()
        }))
    }
    /// The steps back, differentiated: step by step in the order of running. `v` and `w` are the gradients of what the
    /// step before has received by way of this one, `dz W` and `d f`; `q` is that of `dz`.
    fn vjp(cx: &mut Vjp<'_>) {
        let reverse = cx.attrs().bool("reverse");
        let (dtype, [batch, time, size]) = (cx.input_dtype(0), [0, 1, 2].map(|axis| cx.input_shape(1)[axis]));
        let wide = statistics_dtype(dtype);
        if time == 0 {
            for i in 0..cx.inputs() {
                cx.give(i, Tensor::full_dtype(cx.input_shape(i), 0.0, dtype));
            }
            return;
        }
        let [a, c, c0, weight, dh, dc, u] = [0, 1, 2, 3, 4, 5, 6].map(|i| cx.input::<Float>(i).to_dtype(wide));
        let dz = cx.output::<Float>(0).to_dtype(wide);
        let [q, mut v, mut w] = [0, 1, 2].map(|k| cx.cotangent(k).to_dtype(wide));
        let order: Vec<usize> = (0..time).map(|t| if reverse { time - 1 - t } else { t }).collect();
        let at = |t: &Tensor, step: usize| t.narrow(1, step, 1).squeeze(1);
        let whole = |mut steps: Vec<Tensor>| {
            if reverse {
                steps.reverse();
            }
            Tensor::stack(&steps, 1)
        };
        let zero = Tensor::full_dtype([batch, size], 0.0, wide);
        let earlier = |t: &Tensor| later(&zero, t, !reverse);

        // What reaches the hidden states, and then, backwards, the cells.
        let ([i, f, g, o], k, before) = ([0, 1, 2, 3].map(|n| block(&a, n)), c.tanh(), later(&c0, &c, reverse));
        let [si, sf, so] = [&i, &f, &o].map(|s| s - s.square());
        let (sg, sk) = (1.0 - g.square(), 1.0 - k.square());
        let slopes = Tensor::cat(&[si, sf, sg, so], -1);
        let (e, through) = (dh + earlier(&dz.matmul(&weight)), &o * &sk);
        let (direct, mut next, mut d) = (dc + &e * &through, zero.clone(), Vec::with_capacity(time));
        for &t in order.iter().rev() {
            let here = at(&direct, t) + next;
            next = &here * at(&f, t);
            d.push(here);
        }
        d.reverse();
        let d = whole(d);

        let (mut qs, mut vs, mut ws) = (Vec::with_capacity(time), Vec::with_capacity(time), Vec::with_capacity(time));
        let (mut of_e, mut of_d) = (Vec::with_capacity(time), Vec::with_capacity(time));
        for &t in &order {
            let q = at(&q, t) + v.matmul(&weight.t());
            let p = &q * at(&slopes, t);
            let [pi, pf, pg, po] = [0, 1, 2, 3].map(|n| block(&p, n));
            let here = pi * at(&g, t) + pf * at(&before, t) + pg * at(&i, t) + &w * at(&f, t);
            ws.push(std::mem::replace(&mut w, here));
            let here = po * at(&k, t) + &w * at(&through, t);
            vs.push(std::mem::replace(&mut v, here));
            of_e.push(v.clone());
            of_d.push(w.clone());
            qs.push(q);
        }
        let [q, v, w, of_e, of_d] = [qs, vs, ws, of_e, of_d].map(whole);

        let p = &q * &slopes;
        let [pi, pf, pg, po] = [0, 1, 2, 3].map(|n| block(&p, n));
        let [qi, qf, qg, qo] = [0, 1, 2, 3].map(|n| block(&q, n));
        let [ui, uf, ug, uo] = [0, 1, 2, 3].map(|n| block(&u, n));
        if cx.needs(0) {
            let of_i = qi * (&d * &g + ui) * (1.0 - &i * 2.0) + pg * &d;
            let of_f = qf * (&d * &before + uf) * (1.0 - &f * 2.0) + &w * &d;
            let of_g = pi * &d - qg * (&d * &i + ug) * &g * 2.0;
            let of_o = qo * (&e * &k + uo) * (1.0 - &o * 2.0) + &of_d * &e * &sk;
            cx.give(0, Tensor::cat(&[of_i, of_f, of_g, of_o], -1).to_dtype(dtype));
        }
        if cx.needs(1) || cx.needs(2) {
            let of_before = pf * &d;
            let of_k = po * &e - &of_d * &e * &o * &k * 2.0;
            cx.give(1, (of_k * sk + earlier(&of_before)).to_dtype(dtype));
            cx.give(2, at(&of_before, order[0]).to_dtype(dtype));
        }
        if cx.needs(3) {
            cx.give(3, flat(&dz).t().matmul(&flat(&v)).to_dtype(dtype));
        }
        cx.give(4, of_e.to_dtype(dtype));
        cx.give(5, of_d.to_dtype(dtype));
        cx.give(6, p.to_dtype(dtype));
    }
    Op {
        name: "lstm_grad",
        operands: NAMES,
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS.and_output(0), vjp },
        info: || OpInfo {
            family: Family::Recurrent,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| sample(g, FORMS),
            specials: |g| saturated(g, FORMS, [1.0, 0.0]),
            misuses: || {
                let says = [
                    "activations has shape [2, 5, 13], not [2, 5, 12]",
                    "cells has shape [2, 5, 4], not [2, 5, 3]",
                    "cell has shape [2, 4], not [2, 3]",
                    "weight has shape [12, 4], not [4 * size, size]",
                    "hidden_gradient has shape [2, 5, 4], not [2, 5, 3]",
                    "cell_gradient has shape [2, 5, 4]",
                    "activation_gradient has shape [2, 5, 13]",
                ];
                wrong_shapes(FORMS, &says)
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// A layer of an LSTM over whole sequences, in one direction: `self` `[batch, time, 4 size]` holds the gates
        /// that come from the input, biases and all, `weight` `[4 size, size]` is what the hidden state is multiplied
        /// with for the other part of the gates, `hidden` and `cell` `[batch, size]` are the states before the first
        /// step. With `reverse` the last step comes first. Returns the hidden states and the cells after each step, each
        /// `[batch, time, size]`, in the order of the gates.
        ///
        /// A step is that of [`lstm_cell`](Self::lstm_cell) with the order of its gates, whose hidden gates are
        /// `hidden.matmul(&weight.t())`. All steps are one call: samples go through time without waiting for each
        /// other, and the weight gets its gradient by one product.
        ///
        /// # Panics
        /// If the shapes are not these, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let (gates, weight) = (Tensor::randn([2, 7, 12]), Tensor::randn([12, 3]));
        /// let (h0, c0) = (Tensor::zeros([2, 3]), Tensor::zeros([2, 3]));
        /// let (h, c) = gates.lstm(&weight, &h0, &c0, false);
        /// assert_eq!((h.shape().to_string(), c.shape().to_string()), ("[2, 7, 3]".into(), "[2, 7, 3]".into()));
        ///
        /// let first = gates.narrow(1, 0, 1).squeeze(1).lstm_cell(&h0.matmul(&weight.t()), &c0).0;
        /// assert!((first - h.narrow(1, 0, 1).squeeze(1)).abs().max().item() < 1e-6);
        /// ```
        pub fn lstm / try_lstm(
            &self,
            weight: &Tensor,
            hidden: &Tensor,
            cell: &Tensor,
            reverse: bool,
        ) -> (Tensor, Tensor) {
            let inputs = &mut [self.into(), weight.into(), hidden.into(), cell.into()];
            let [hidden, cells] = apply(&LSTM, attrs! { reverse: reverse }, inputs)?.into_array();
            Ok((hidden.downcast()?, cells.downcast()?))
        }
    }
}
