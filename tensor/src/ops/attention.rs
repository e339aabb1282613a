//! Attention.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::attention::{self, Heads, Known, Mask, Sizes};
use crate::kind::{Bool, Float, Int};
use crate::layout::{Joint, Layout};
use crate::ops::batch_norm::statistics_dtype;
use crate::ops::cast::{cast, in_single, of_singles};
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&ATTENTION, &ATTENTION_GRAD];

/// What an attention may see, and how its scores are scaled: see [`Tensor::scaled_dot_product_attention`].
///
/// ```
/// use wengert_tensor::{AttentionOptions, tensor};
/// let text = AttentionOptions::new().causal(true);
/// let padded = AttentionOptions::new().mask(&tensor![[true, true, false]]).scale(0.25).dropout(0.1);
/// ```
#[derive(Clone, Default)]
pub struct AttentionOptions {
    mask: Option<AnyTensor>,
    causal: bool,
    scale: Option<f64>,
    dropout: f64,
}

impl AttentionOptions {
    /// Every query sees every key, scores are divided by the root of the queries' width, nothing is dropped.
    pub fn new() -> AttentionOptions {
        AttentionOptions::default()
    }

    /// Sets which keys a query may attend to (a boolean mask, true where it may), or what is added to the scores (a
    /// float mask, through which gradients flow). The mask broadcasts to `[.., heads, L, S]`.
    pub fn mask(mut self, mask: impl Into<AnyTensor>) -> Self {
        self.mask = Some(mask.into());
        self
    }

    /// Sets whether query number `i` attends to keys `0..=i` only, beside what a mask says.
    pub fn causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Sets what scores are multiplied with, instead of one divided by the root of the queries' width.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Sets the probability with which each attention weight is set to 0 (and the others divided by `1 - p`). The
    /// weights are held whole then.
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }
}

/// The scale of the scores: as given, or one divided by the root of the width.
fn scale(attrs: &Attrs, q: &Shape) -> f64 {
    match attrs.get("scale") {
        Some(_) => attrs.float("scale"),
        None => 1.0 / (q[q.rank() - 1].max(1) as f64).sqrt(),
    }
}

/// Checks the shapes of an attention, and returns what the kernels need and the leading axes of the result.
fn sizes(q: &Shape, k: &Shape, v: &Shape, attrs: &Attrs) -> Result<(Sizes, Shape)> {
    let rank = q.rank();
    for (name, shape) in [("query", q), ("key", k), ("value", v)] {
        if shape.rank() < 2 || shape.rank() != rank {
            return Err(Error::new(format!(
                "{name} has rank {}, and query has rank {rank}: all have the same, 2 or more",
                shape.rank()
            ))
            .help("bring them to [.., heads, length, width], with unsqueeze where an axis misses"));
        }
    }
    let differ = |what: &str, axis: usize, a: (&str, &Shape), b: (&str, &Shape)| {
        Error::new(format!(
            "{what} differ: {} (axis {axis} of {}) and {} (axis {axis} of {})",
            a.1[axis], a.0, b.1[axis], b.0
        ))
    };
    if q[rank - 1] != k[rank - 1] {
        return Err(differ("widths", rank - 1, ("query", q), ("key", k)).help("a query is compared with each key"));
    }
    if k[rank - 2] != v[rank - 2] {
        return Err(differ("lengths", rank - 2, ("key", k), ("value", v)).help("each key has one value"));
    }
    for axis in 0..rank.saturating_sub(3) {
        for (name, other) in [("key", k), ("value", v)] {
            if q[axis] != other[axis] {
                return Err(differ("batch sizes", axis, ("query", q), (name, other))
                    .help("only heads, the axis before the last two, may be fewer in key and value"));
            }
        }
    }
    let mut group = 1;
    if rank > 2 {
        let heads = [q, k, v].map(|shape| shape[rank - 3]);
        if heads[1] != heads[2] {
            return Err(differ("numbers of heads", rank - 3, ("key", k), ("value", v)).help("each key has one value"));
        }
        if heads[1] != heads[0] && (heads[1] == 0 || heads[0] % heads[1] != 0) {
            return Err(differ("numbers of heads", rank - 3, ("query", q), ("key", k))
                .help("each head of keys serves the same number of heads of queries: the one must divide the other"));
        }
        group = heads[0].checked_div(heads[1]).unwrap_or(1);
    }
    let lead = Shape::from(&q[..rank - 2]);
    let sizes = Sizes {
        heads: lead.elements(),
        group,
        rows: q[rank - 2],
        keys: k[rank - 2],
        width: q[rank - 1],
        values: v[rank - 1],
        causal: attrs.bool("causal"),
        scale: scale(attrs, q),
    };
    Ok((sizes, lead))
}

/// The shape with other last axes.
fn with(lead: &Shape, last: &[usize]) -> Shape {
    lead.iter().chain(last).copied().collect()
}

/// Where the matrices of the last two axes of a layout begin, and their strides.
fn matrices(layout: &Layout) -> (Vec<usize>, [isize; 2]) {
    let (shape, strides) = (layout.shape(), layout.strides());
    let lead = shape.rank() - 2;
    let batch = Layout::strided(shape[..lead].into(), strides[..lead].into(), layout.offset());
    let mut places = Vec::with_capacity(batch.elements());
    Joint::new(batch.shape(), [&batch]).for_elements(0..batch.elements(), |_, [at]| places.push(at));
    (places, [strides[lead], strides[lead + 1]])
}

/// Matrices of a tensor, as [`matrices`] found them.
fn heads<'a, T: crate::Element>(t: &'a AnyTensor, (places, strides): &'a (Vec<usize>, [isize; 2])) -> Heads<'a, T> {
    Heads { data: t.storage().slice(), places, strides: *strides }
}

/// Checks that a mask of this shape and precision fits, and returns its layout for the whole of the scores.
fn mask_layout(mask: &AnyTensor, dtype: DType, scores: &Shape) -> Result<Layout> {
    if mask.dtype() != DType::Bool && mask.dtype() != dtype {
        return Err(Error::new(format!("the mask has precision {}, not Bool or {dtype}", mask.dtype()))
            .kind_of(ErrorKind::DType)
            .help("a boolean mask says which keys may be attended to, a float mask is added to the scores"));
    }
    match mask.shape().broadcast(scores) {
        Ok(whole) if whole == *scores => Ok(mask.layout().broadcast_to(scores)),
        _ => Err(Error::new(format!("the mask has shape {}, which does not broadcast to {scores}", mask.shape()))
            .help("its last axes are queries and keys: give [L, S], or [batch, 1, 1, S] for keys that are padding")),
    }
}

/// The operation of [`Tensor::scaled_dot_product_attention`]. Its second output is, for each query, the logarithm of its
/// sum of exponentials.
pub(crate) static ATTENTION: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype_of(0..3)?;
        if !dtype.is_float() {
            return Err(unsupported(dtype).help("convert first: x.to_float()"));
        }
        let (q, k, v) = (call.input(0), call.input(1), call.input(2));
        let (s, lead) = sizes(q.shape(), k.shape(), v.shape(), call.attrs())?;
        let mask = (call.len() > 3).then(|| call.input(3));
        let mask_layout = mask.map(|m| mask_layout(m, dtype, &with(&lead, &[s.rows, s.keys]))).transpose()?;
        if dtype.size() == 2 {
            let mut outputs = of_singles(call, &ATTENTION)?;
            outputs[0] = cast(&outputs[0], dtype);
            return Ok(outputs);
        }
        let par = Par::of(s.work() / 32);
        let [qm, km, vm] = [q, k, v].map(|t| matrices(t.layout()));
        let mm = mask_layout.as_ref().map(matrices);
        Ok(with_dtype!(precise dtype, T => {
            let mask = match (mask, &mm) {
                (Some(mask), Some(mm)) if mask.dtype() == DType::Bool => Mask::Allowed(heads::<u8>(mask, mm)),
                (Some(mask), Some(mm)) => Mask::Added(heads::<T>(mask, mm)),
                _ => Mask::None,
            };
            let mut log_sums = None;
            let out = AnyTensor::filled::<T>(with(&lead, &[s.rows, s.values]), |out| {
                log_sums = Some(AnyTensor::filled::<T>(with(&lead, &[s.rows]), |log_sums| {
                    let [q, k, v] = [heads(q, &qm), heads(k, &km), heads(v, &vm)];
                    attention::attention(out, log_sums, q, k, v, mask, &s, &par);
                }));
            });
            [Some(out), log_sums].into_iter().flatten().collect()
        }))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let wide = statistics_dtype(cx.input_dtype(0));
        let (g, log_sums) = (cx.g(), cx.output::<Float>(1));
        let [q, k, v] = [0, 1, 2].map(|i| cx.input::<Float>(i));
        // What the normalisation of a row takes away, and what a gradient of its logarithm adds.
        let delta = (g.to_dtype(wide) * cx.output::<Float>(0).to_dtype(wide)).sum_axis(-1);
        let delta = match cx.take_cotangent(1) {
            Some(g_log) => delta - g_log,
            None => delta,
        };
        let mask = (cx.inputs() > 3).then(|| Scores::mask_of(cx, 3));
        let attrs = cx.attrs().clone();
        if (0..3).any(|i| cx.needs(i)) {
            let mut inputs: SmallVec<[Arg<'_>; 7]> =
                [&g, &q, &k, &v, &log_sums, &delta].into_iter().map(Arg::from).collect();
            inputs.extend(mask.as_ref().map(Arg::Ref));
            let gradients = or_panic(apply(&ATTENTION_GRAD, attrs.clone(), &mut inputs));
            for (i, gradient) in gradients.into_iter().enumerate() {
                cx.give(i, or_panic(gradient.downcast()));
            }
        }
        if cx.needs(3) {
            let s = Scores::new(&q, &k, mask.as_ref(), &attrs, wide);
            let p = s.probabilities(&log_sums);
            let d = g.to_dtype(wide).matmul(&s.spread(&v).t()) - delta.unsqueeze(-1);
            cx.give(3, (p * d).to_dtype(cx.input_dtype(3)));
        }
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let (inputs, attrs) = sample(g);
        vec![Sample::new(inputs, attrs)]
    }
    fn specials(g: &mut Gen) -> Vec<Sample> {
        let column = |g: &mut Gen, values: [f64; 2]| g.tensor(&values, &[2, 1].into());
        let inputs = [column(g, [1.0, 2.0]), column(g, [1.0, 0.5]), column(g, [1.0, 3.0])];
        // The first query sees no key at all, the second only one.
        let mask: AnyTensor = Tensor::<Bool>::from_vec(vec![false, false, false, true], [2, 2]).into();
        let none = Sample::new(inputs.into_iter().chain([mask]), attrs! { causal: false });
        // Scores whose exponentials overflow.
        let inputs = [column(g, [100.0, -100.0]), column(g, [50.0, 50.5]), column(g, [1.0, 3.0])];
        let large = Sample::new(inputs, attrs! { causal: false });
        vec![none.with_gradient([vec![0.0, 0.0], vec![0.0, 0.0], vec![0.0, 1.0]]), large]
    }
    fn misuses() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let case = |shapes: [&[usize]; 3], says| Misuse::new(shapes.map(z), attrs! { causal: false }, says);
        let masked = |mask: AnyTensor, says| {
            Misuse::new([z(&[2, 3]), z(&[4, 3]), z(&[4, 3]), mask], attrs! { causal: false }, says)
        };
        vec![
            case([&[3], &[3], &[3]], "query has rank 1"),
            case([&[2, 3], &[1, 2, 3], &[2, 3]], "key has rank 3, and query has rank 2"),
            case([&[2, 3], &[2, 4], &[2, 3]], "widths differ: 3 (axis 1 of query) and 4 (axis 1 of key)"),
            case([&[2, 3], &[4, 3], &[5, 3]], "lengths differ: 4 (axis 0 of key) and 5 (axis 0 of value)"),
            case([&[3, 2, 3], &[2, 4, 3], &[2, 4, 3]], "numbers of heads differ: 3 (axis 0 of query) and 2"),
            case([&[4, 2, 3], &[2, 4, 3], &[1, 4, 3]], "numbers of heads differ: 2 (axis 0 of key) and 1"),
            case([&[2, 4, 2, 3], &[1, 4, 4, 3], &[2, 4, 4, 3]], "batch sizes differ: 2 (axis 0 of query) and 1"),
            masked(z(&[2, 3]), "the mask has shape [2, 3], which does not broadcast to [2, 4]"),
            masked(Int::zeros([2, 4]).into(), "the mask has precision I64, not Bool or F32"),
        ]
    }
    Op {
        name: "scaled_dot_product_attention",
        operands: &["query", "key", "value", "mask"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS.and_output(0).and_output(1), vjp },
        info: || OpInfo {
            family: Family::Gemm,
            numpy: "",
            torch: "nn.functional.scaled_dot_product_attention",
            precisions: FLOATS,
            samples,
            specials,
            misuses,
        },
    }
};

/// Random queries, keys and values, for some a mask, and attributes. Every query sees the first key.
fn sample(g: &mut Gen) -> (Vec<AnyTensor>, Attrs) {
    let (batch, heads, group) = (g.below(3), 1 + g.below(2), 1 + g.below(2));
    let [rows, keys, width, values] = [0; 4].map(|_| 1 + g.below(3));
    let lead = |heads: usize| match heads {
        _ if batch == 2 => vec![2, heads],
        heads => vec![heads],
    };
    let shape = |heads: usize, last: [usize; 2]| lead(heads).into_iter().chain(last).collect::<Shape>();
    let q = shape(heads * group, [rows, width]);
    let (k, v) = (shape(heads, [keys, width]), shape(heads, [keys, values]));
    let mut inputs: Vec<AnyTensor> = [q, k, v].iter().map(|s| g.numbers(s, -1.5, 1.5)).collect();
    let mask = match g.below(2) {
        0 => Shape::from([rows, keys]),
        _ => shape(1, [1, keys]),
    };
    match g.below(3) {
        0 => {}
        1 => {
            let allowed: Vec<bool> = (0..mask.elements()).map(|i| i % keys == 0 || g.below(2) == 0).collect();
            inputs.push(Tensor::<Bool>::from_vec(allowed, &mask).into());
        }
        _ => inputs.push(g.numbers(&mask, -1.0, 1.0)),
    }
    let attrs = attrs! { causal: g.below(2) == 0 };
    (inputs, if g.below(2) == 0 { attrs } else { attrs.with("scale", 0.75) })
}

/// Scores held whole, in tensor operations: for gradients of gradients and of masks, and for dropout.
struct Scores {
    q: Tensor,
    /// Keys for each head of queries.
    k: Tensor,
    group: usize,
    scale: f64,
    added: Option<Tensor>,
    allowed: Option<Tensor<Bool>>,
}

impl Scores {
    fn new(q: &Tensor, k: &Tensor, mask: Option<&AnyTensor>, attrs: &Attrs, wide: DType) -> Scores {
        let rank = q.rank();
        let group = if rank > 2 { q.shape()[rank - 3] / k.shape()[rank - 3].max(1) } else { 1 };
        let [added, allowed] = [true, false].map(|float| mask.filter(|m| m.dtype().is_float() == float));
        let added = added.map(|m| or_panic(m.float()).to_dtype(wide));
        let mut allowed = allowed.map(|m| or_panic(m.bool()));
        if attrs.bool("causal") {
            let [queries, keys] = [q, k].map(|t| Int::arange(0, t.shape()[rank - 2] as i64));
            let causal = queries.unsqueeze(1).ge(&keys);
            allowed = Some(allowed.map_or(causal.clone(), |m| m.and(&causal)));
        }
        let mut scores =
            Scores { q: q.to_dtype(wide), k: k.to_dtype(wide), group, scale: scale(attrs, q.shape()), added, allowed };
        scores.k = scores.spread(&scores.k);
        scores
    }

    /// Input `i` of a rule, which is a mask of either kind.
    fn mask_of(cx: &Vjp<'_>, i: usize) -> AnyTensor {
        match cx.input_dtype(i) {
            DType::Bool => cx.input::<Bool>(i).into(),
            _ => cx.input::<Float>(i).into(),
        }
    }

    /// Keys or values `[.., H, S, E]` for each head of queries.
    fn spread(&self, t: &Tensor) -> Tensor {
        let t = t.to_dtype(self.q.dtype());
        if self.group == 1 {
            return t;
        }
        let heads = t.rank() - 3;
        let mut shape = t.shape().clone();
        shape.insert(heads + 1, self.group);
        let whole = t.unsqueeze(heads as isize + 1).expand(&shape);
        let group = shape.remove(heads + 1);
        shape[heads] *= group;
        whole.reshape(&shape)
    }

    /// The transpose of [`spread`](Self::spread): sums over the heads of queries that share one of keys.
    fn gather(&self, t: Tensor) -> Tensor {
        if self.group == 1 {
            return t;
        }
        let heads = t.rank() - 3;
        let mut shape = t.shape().clone();
        shape[heads] /= self.group;
        shape.insert(heads + 1, self.group);
        t.reshape(&shape).sum_axis(heads as isize + 1)
    }

    /// The attention weights, given the logarithm of each row's sum of exponentials. A row that sees no key has none.
    fn probabilities(&self, log_sums: &Tensor) -> Tensor {
        let constant = |v: f64| Tensor::full_dtype((), v, self.q.dtype());
        let mut scores = self.q.matmul(&self.k.t()) * self.scale;
        if let Some(added) = &self.added {
            scores += added;
        }
        if let Some(allowed) = &self.allowed {
            scores = allowed.where_(&scores, &constant(f64::NEG_INFINITY));
        }
        let log_sums = log_sums.to_dtype(self.q.dtype());
        let log_sums = log_sums.ne(f64::NEG_INFINITY).where_(&log_sums, &constant(0.0));
        (scores - log_sums.unsqueeze(-1)).exp()
    }
}

/// The gradients of an attention with respect to query, key and value, from that of its result. `delta` is, for each
/// query, the product of its result and that result's gradient: what the normalisation of a row takes away.
pub(crate) static ATTENTION_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype_of(0..4)?;
        if !dtype.is_float() {
            return Err(unsupported(dtype));
        }
        let [q, k, v] = [1, 2, 3].map(|i| call.input(i));
        let (s, lead) = sizes(q.shape(), k.shape(), v.shape(), call.attrs())?;
        let (out, each) = (with(&lead, &[s.rows, s.values]), with(&lead, &[s.rows]));
        for (i, name, shape) in [(0, "gradient", &out), (4, "log_sums", &each), (5, "delta", &each)] {
            if call.input(i).shape() != shape {
                return Err(Error::new(format!("{name} has shape {}, not {shape}", call.input(i).shape())));
            }
        }
        let mask = (call.len() > 6).then(|| call.input(6));
        let mask_layout = mask.map(|m| mask_layout(m, dtype, &with(&lead, &[s.rows, s.keys]))).transpose()?;
        if dtype.size() == 2 {
            return in_single(call, &ATTENTION_GRAD);
        }
        let par = Par::of(s.work() / 16);
        let constant = |i: usize| -> Result<AnyTensor> {
            Ok(dense(call.input(i).to_constant().float()?.try_to_dtype(dtype)?.into_any()))
        };
        let (g, log_sums, deltas) = (dense(call.input(0).clone()), constant(4)?, constant(5)?);
        let [gm, qm, km, vm] = [&g, q, k, v].map(|t| matrices(t.layout()));
        let mm = mask_layout.as_ref().map(matrices);
        Ok(with_dtype!(precise dtype, T => {
            let mask = match (mask, &mm) {
                (Some(mask), Some(mm)) if mask.dtype() == DType::Bool => Mask::Allowed(heads::<u8>(mask, mm)),
                (Some(mask), Some(mm)) => Mask::Added(heads::<T>(mask, mm)),
                _ => Mask::None,
            };
            let known = Known {
                g: heads(&g, &gm),
                q: heads(q, &qm),
                k: heads(k, &km),
                v: heads(v, &vm),
                mask,
                log_sums: log_sums.dense_slice(),
                deltas: deltas.dense_slice(),
            };
            let (mut dk, mut dv) = (None, None);
            let dq = AnyTensor::filled::<T>(q.shape().clone(), |dq| {
                dk = Some(AnyTensor::filled::<T>(k.shape().clone(), |dk| {
                    dv = Some(AnyTensor::filled::<T>(v.shape().clone(), |dv| {
                        attention::attention_grad(dq, dk, dv, &known, &s, &par);
                    }));
                }));
            });
            [Some(dq), dk, dv].into_iter().flatten().collect()
        }))
    }
    /// The operation as a function of all its inputs, differentiated, with the scores held whole. `uq`, `uk` and `uv`
    /// are the gradients of its results.
    fn vjp(cx: &mut Vjp<'_>) {
        let wide = statistics_dtype(cx.input_dtype(0));
        let [g, q, k, v, log_sums, delta] = [0, 1, 2, 3, 4, 5].map(|i| cx.input::<Float>(i).to_dtype(wide));
        let mask = (cx.inputs() > 6).then(|| Scores::mask_of(cx, 6));
        let s = Scores::new(&q, &k, mask.as_ref(), cx.attrs(), wide);
        let v = s.spread(&v);
        let [uq, uk, uv] = [0, 1, 2].map(|i| cx.cotangent(i).to_dtype(wide));
        let (uk, uv) = (s.spread(&uk), s.spread(&uv));
        let p = s.probabilities(&log_sums);
        let e = g.matmul(&v.t()) - delta.unsqueeze(-1);
        let d = &p * &e;
        // The gradients with respect to `d`, to `e` and to the scores.
        let w = (uq.matmul(&s.k.t()) + s.q.matmul(&uk.t())) * s.scale;
        let wp = &w * &p;
        let z = &p * (g.matmul(&uv.t()) + w * e);
        let gradients = [
            p.matmul(&uv) + wp.matmul(&v),
            (d.matmul(&uk) + z.matmul(&s.k)) * s.scale,
            s.gather((d.t().matmul(&uq) + z.t().matmul(&s.q)) * s.scale),
            s.gather(wp.t().matmul(&g)),
            -z.sum_axis(-1),
            -wp.sum_axis(-1),
        ];
        let more = cx.needs(6).then_some(z);
        for (i, gradient) in gradients.into_iter().chain(more).enumerate() {
            cx.give(i, gradient.to_dtype(cx.input_dtype(i)));
        }
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let (inputs, attrs) = sample(g);
        let shapes = [0, 1, 2].map(|i: usize| inputs[i].shape());
        let (s, lead) = sizes(shapes[0], shapes[1], shapes[2], &attrs).expect("sizes chosen to fit");
        let each = with(&lead, &[s.rows]);
        let mut all = vec![g.numbers(&with(&lead, &[s.rows, s.values]), -1.0, 1.0)];
        all.extend(inputs[..3].iter().cloned());
        all.extend([g.numbers(&each, 0.0, 2.0), g.numbers(&each, -1.0, 1.0)]);
        all.extend(inputs[3..].iter().cloned());
        vec![Sample::new(all, attrs)]
    }
    Op {
        name: "scaled_dot_product_attention_grad",
        operands: &["gradient", "query", "key", "value", "log_sums", "delta", "mask"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Gemm,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples,
            specials: |_| Vec::new(),
            misuses: || {
                let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
                vec![Misuse::new(
                    [z(&[2, 4]), z(&[2, 3]), z(&[4, 3]), z(&[4, 3]), z(&[2]), z(&[2])],
                    attrs! { causal: false },
                    "gradient has shape [2, 4], not [2, 3]",
                )]
            },
        },
    }
};

impl Tensor {
    /// Attention: each query takes the mean of the values, weighted by the softmax of its scores against the keys,
    /// `softmax(query key^T / sqrt(E)) value`.
    ///
    /// This tensor holds the queries `[.., Hq, L, E]`, and there are keys `[.., Hk, S, E]` and values `[.., Hk, S, F]`;
    /// the result is `[.., Hq, L, F]`. The axis of heads may miss. Where there are fewer heads of keys, each serves
    /// `Hq / Hk` neighbouring heads of queries. Masks, causality, another scale and dropout are [`AttentionOptions`]. A
    /// query that may attend to no key at all gets zeros, and no gradient.
    ///
    /// The scores are never held whole, in either direction, unless weights are dropped, a mask needs a gradient, or a
    /// gradient is differentiated again. 16-bit floats accumulate in `F32`.
    ///
    /// A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; T. Dao et al., "FlashAttention",
    /// NeurIPS 2022, arXiv:2205.14135; J. Ainslie et al., "GQA", EMNLP 2023, arXiv:2305.13245.
    ///
    /// # Panics
    /// If widths, lengths, heads, batch axes or precisions do not fit, the mask does not broadcast to `[.., Hq, L, S]`
    /// or holds integers, or the probability of dropout is not between 0 and 1.
    ///
    /// ```
    /// use wengert_tensor::{AttentionOptions, tensor};
    /// let (q, k) = (tensor![[0.0, 0.0], [90.0, 0.0]], tensor![[1.0, 0.0], [-1.0, 0.0]]);
    /// let v = tensor![[1.0], [3.0]];
    /// let y = q.scaled_dot_product_attention(&k, &v, AttentionOptions::new());
    /// assert_eq!(y.to_vec::<f32>(), [2.0, 1.0]);
    /// let y = q.scaled_dot_product_attention(&k, &v, AttentionOptions::new().causal(true));
    /// assert_eq!(y.to_vec::<f32>(), [1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, key: &Tensor, value: &Tensor, options: AttentionOptions) -> Tensor {
        or_panic(self.try_scaled_dot_product_attention(key, value, options))
    }

    /// Fallible form of [`scaled_dot_product_attention`](Self::scaled_dot_product_attention).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions,
    ) -> Result<Tensor> {
        let mut attrs = attrs! { causal: options.causal };
        if let Some(scale) = options.scale {
            attrs = attrs.with("scale", scale);
        }
        let mask = options.mask.as_ref();
        let mut inputs: SmallVec<[Arg<'_>; 4]> = smallvec::smallvec![self.into(), key.into(), value.into()];
        inputs.extend(mask.map(Arg::Ref));
        let outputs = apply(&ATTENTION, attrs.clone(), &mut inputs)?;
        if options.dropout == 0.0 {
            return outputs.into_first().downcast();
        }
        let log_sums = outputs[1].float()?;
        let scores = Scores::new(self, key, mask, &attrs, self.dtype());
        let kept = scores.probabilities(&log_sums).try_dropout(options.dropout, true)?;
        kept.try_matmul(&scores.spread(value))
    }
}
