//! Multi-head attention.

use wengert_tensor::{AttentionOptions, Bool, Error, Result, Tensor};

use crate::Module;
use crate::init::Init;
use crate::layer::Layer;
use crate::linear::Linear;
use crate::param::{Mode, Param};
use crate::scope::Scope;

/// What queries may look at: everything, unless told otherwise.
///
/// ```
/// use wengert_nn::{Mask, MultiHeadAttention};
/// use wengert_tensor::{tensor, Tensor};
/// let (attention, x) = (MultiHeadAttention::new(8, 2), Tensor::randn([1, 3, 8]));
/// let last_is_padding = tensor![[false, false, true]];
/// let y = attention.forward_with(&x, &x, &x, &Mask::causal().padding(&last_is_padding));
/// assert_eq!(y.shape().to_string(), "[1, 3, 8]");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mask {
    causal: bool,
    padding: Option<Tensor<Bool>>,
    allowed: Option<Tensor<Bool>>,
    bias: Option<Tensor>,
}

impl Mask {
    /// Everything may be looked at.
    pub fn none() -> Mask {
        Mask::default()
    }

    /// Query `i` may look at keys `0` to `i`.
    pub fn causal() -> Mask {
        Mask { causal: true, ..Mask::default() }
    }

    /// Which keys are padding, `[batch, keys]`, true where there is nothing: no query looks at them. It is PyTorch's
    /// `key_padding_mask`.
    pub fn padding(mut self, padding: &Tensor<Bool>) -> Mask {
        self.padding = Some(padding.clone());
        self
    }

    /// Which key each query may look at, true where it may: `[queries, keys]`, or whatever broadcasts to
    /// `[batch, heads, queries, keys]`. It is the contrary of a boolean `attn_mask` of PyTorch's `MultiheadAttention`,
    /// and the same as that of its `scaled_dot_product_attention`.
    ///
    /// ```
    /// use wengert_nn::{Mask, MultiHeadAttention};
    /// use wengert_tensor::{Bool, Tensor};
    /// let (attention, x) = (MultiHeadAttention::new(8, 2), Tensor::randn([1, 3, 8]));
    /// let near = Bool::ones([3, 3]).tril(1);
    /// let mask = Mask::none().allowed(&near).bias(&Tensor::zeros([2, 3, 3]));
    /// assert_eq!(attention.forward_with(&x, &x, &x, &mask).shape().to_string(), "[1, 3, 8]");
    /// ```
    pub fn allowed(mut self, allowed: &Tensor<Bool>) -> Mask {
        self.allowed = Some(allowed.clone());
        self
    }

    /// What is added to the score of each query and key: `[queries, keys]`, or whatever broadcasts to
    /// `[batch, heads, queries, keys]`. Gradients flow to it.
    pub fn bias(mut self, bias: &Tensor) -> Mask {
        self.bias = Some(bias.clone());
        self
    }
}

/// Multi-head attention: queries look at keys and take from the values what they find, in several heads, each in a part
/// of the features. A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
///
/// Queries are `[batch, queries, embed]`, keys `[batch, keys, kdim]`, values `[batch, keys, vdim]`, the result is
/// `[batch, queries, embed]`. As a [`Layer`] it attends to its input itself, without a mask.
///
/// Parameters are named and start as in PyTorch: `in_proj_weight` holds the projections of queries, keys and values, one
/// below the other, unless keys or values have other numbers of features; then there are `q_proj_weight`,
/// `k_proj_weight` and `v_proj_weight`. They start Xavier-uniform, the biases at zero.
///
/// ```
/// use wengert_nn::{Layer, MultiHeadAttention};
/// use wengert_tensor::Tensor;
/// let attention = MultiHeadAttention::new(8, 2);
/// assert_eq!(attention.forward(&Tensor::randn([4, 5, 8])).shape().to_string(), "[4, 5, 8]");
/// ```
#[derive(Module)]
pub struct MultiHeadAttention {
    scope: Scope,
    mode: Mode,
    /// `[3 * embed, embed]`: of queries, keys and values; none if they have weights of their own.
    pub in_proj_weight: Option<Param>,
    /// `[embed, embed]`, where keys or values have other numbers of features.
    pub q_proj_weight: Option<Param>,
    /// `[embed, kdim]`, where keys or values have other numbers of features.
    pub k_proj_weight: Option<Param>,
    /// `[embed, vdim]`, where keys or values have other numbers of features.
    pub v_proj_weight: Option<Param>,
    /// `[3 * embed]`, or none.
    pub in_proj_bias: Option<Param>,
    /// What the heads' results go through.
    pub out_proj: Linear,
    embed: usize,
    heads: usize,
    dropout: f64,
}

impl MultiHeadAttention {
    /// Attention over `embed` features in `heads` heads.
    ///
    /// # Panics
    /// If `heads` does not divide `embed`.
    #[track_caller]
    pub fn new(embed: usize, heads: usize) -> MultiHeadAttention {
        assert!(
            heads > 0 && embed > 0 && embed.is_multiple_of(heads),
            "MultiHeadAttention::new: {heads} heads do not divide {embed} features"
        );
        let mut out_proj = Linear::new(embed, embed);
        out_proj.bias = Some(Param::from_init(Init::zeros(), [embed]));
        MultiHeadAttention {
            scope: Scope::new("MultiHeadAttention"),
            mode: Mode::new(),
            in_proj_weight: Some(Param::from_init(Init::xavier_uniform(), [3 * embed, embed])),
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_bias: Some(Param::from_init(Init::zeros(), [3 * embed])),
            out_proj,
            embed,
            heads,
            dropout: 0.0,
        }
    }

    /// How many features keys and values have: as many as queries unless set. Their weights are drawn anew.
    ///
    /// ```
    /// use wengert_nn::{Mask, MultiHeadAttention};
    /// use wengert_tensor::Tensor;
    /// let attention = MultiHeadAttention::new(8, 2).features(5, 6).bias(false).dropout(0.1);
    /// let (query, key, value) = (Tensor::randn([1, 3, 8]), Tensor::randn([1, 4, 5]), Tensor::randn([1, 4, 6]));
    /// assert_eq!(attention.forward_with(&query, &key, &value, &Mask::none()).shape().to_string(), "[1, 3, 8]");
    /// ```
    #[track_caller]
    pub fn features(self, kdim: usize, vdim: usize) -> MultiHeadAttention {
        let embed = self.embed;
        let apart = [kdim, vdim] != [embed, embed];
        let weight = |columns, wanted: bool| wanted.then(|| Param::from_init(Init::xavier_uniform(), columns));
        MultiHeadAttention {
            in_proj_weight: weight([3 * embed, embed], !apart),
            q_proj_weight: weight([embed, embed], apart),
            k_proj_weight: weight([embed, kdim], apart),
            v_proj_weight: weight([embed, vdim], apart),
            ..self
        }
    }

    /// With biases (as made), or without.
    pub fn bias(mut self, bias: bool) -> MultiHeadAttention {
        if !bias {
            self.in_proj_bias = None;
        }
        self.out_proj = self.out_proj.bias(bias);
        self
    }

    /// The share of what a query would look at that is dropped in training: 0 unless set.
    ///
    /// # Panics
    /// If `p` is not between 0 and 1.
    #[track_caller]
    pub fn dropout(mut self, p: f64) -> MultiHeadAttention {
        assert!((0.0..=1.0).contains(&p), "MultiHeadAttention::dropout: p {p} is not between 0 and 1");
        self.dropout = p;
        self
    }

    /// The numbers of features of queries, keys and values.
    fn widths(&self) -> [usize; 3] {
        let columns = |w: &Option<Param>| w.as_ref().map_or(self.embed, |w| w.shape()[1]);
        [self.embed, columns(&self.k_proj_weight), columns(&self.v_proj_weight)]
    }

    /// What `query` finds among `key` and takes from `value`, as far as `mask` lets it look.
    ///
    /// Where one tensor stands for several of them, handed over by the same reference, it is multiplied once.
    ///
    /// # Panics
    /// If a tensor has not the shape that the layer takes, or the masks do not fit.
    #[track_caller]
    pub fn forward_with(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &Mask) -> Tensor {
        let _scope = self.scope.enter();
        if let Err(e) = self.check(query, key, value, mask) {
            let operands = [("query", query), ("key", key), ("value", value)];
            self.scope.refuse(operands.iter().fold(e, |e, (name, t)| e.operand(name, t.as_any())));
        }
        let [q, k, v] = self.projections(query, key, value);
        let p = if self.mode.is_training() { self.dropout } else { 0.0 };
        let y = attend(&self.split(&q), &self.split(&k), &self.split(&v), mask, p);
        let y = y.transpose(1, 2).reshape([query.size(0), query.size(1), self.embed]);
        self.scope.output(self.out_proj.forward(&y))
    }

    fn check(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &Mask) -> Result<()> {
        for ((name, t), width) in [("query", query), ("key", key), ("value", value)].into_iter().zip(self.widths()) {
            if t.rank() != 3 {
                return Err(Error::new(format!("{name} has rank {}, not 3", t.rank()))
                    .help("queries, keys and values are [batch, positions, features]"));
            }
            if t.size(2) != width {
                return Err(Error::new(format!("{name} has {} features (axis 2), the layer takes {width}", t.size(2)))
                    .help("features(kdim, vdim) makes a layer whose keys and values have other numbers of features"));
            }
            if t.size(0) != query.size(0) {
                let (batch, wanted) = (t.size(0), query.size(0));
                return Err(Error::new(format!("{name} has a batch of {batch} (axis 0), query one of {wanted}")));
            }
        }
        if key.size(1) != value.size(1) {
            let (keys, values) = (key.size(1), value.size(1));
            return Err(Error::new(format!("there are {keys} keys and {values} values (axis 1)")));
        }
        match &mask.padding {
            Some(padding) if padding.shape()[..] != [key.size(0), key.size(1)] => {
                let want = [key.size(0), key.size(1)];
                Err(Error::new(format!("the padding mask has shape {}, not {want:?}", padding.shape()))
                    .help("it says of each key, [batch, keys], whether it is padding"))
            }
            _ => Ok(()),
        }
    }

    /// From `[batch, positions, embed]` to `[batch, heads, positions, embed / heads]`.
    #[track_caller]
    fn split(&self, x: &Tensor) -> Tensor {
        x.reshape([x.size(0), x.size(1), self.heads, self.embed / self.heads]).transpose(1, 2)
    }

    /// The map of an input by a weight and the `parts` parts of the bias from number `part` on.
    #[track_caller]
    fn product(&self, x: &Tensor, weight: &Tensor, part: usize, parts: usize) -> Tensor {
        let part_of = |bias: &Param| bias.value().narrow(0, part * self.embed, parts * self.embed);
        x.linear(weight, self.in_proj_bias.as_ref().map(part_of).as_ref())
    }

    /// The projections of queries, keys and values.
    #[track_caller]
    fn projections(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> [Tensor; 3] {
        let embed = self.embed;
        if let (Some(q), Some(k), Some(v)) = (&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight) {
            let q = self.product(query, &q.value(), 0, 1);
            return [q, self.product(key, &k.value(), 1, 1), self.product(value, &v.value(), 2, 1)];
        }
        let weight = self.in_proj_weight.as_ref().expect("there where the other three are not").value();
        if std::ptr::eq(query, key) && std::ptr::eq(key, value) {
            let y = self.product(query, &weight, 0, 3);
            return [y.narrow(2, 0, embed), y.narrow(2, embed, embed), y.narrow(2, 2 * embed, embed)];
        }
        let q = self.product(query, &weight.narrow(0, 0, embed), 0, 1);
        if std::ptr::eq(key, value) {
            let y = self.product(key, &weight.narrow(0, embed, 2 * embed), 1, 2);
            return [q, y.narrow(2, 0, embed), y.narrow(2, embed, embed)];
        }
        let k = self.product(key, &weight.narrow(0, embed, embed), 1, 1);
        [q, k, self.product(value, &weight.narrow(0, 2 * embed, embed), 2, 1)]
    }
}

/// Attention of queries, keys and values `[batch, heads, positions, features]`.
#[track_caller]
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, dropout: f64) -> Tensor {
    let mut keep = None;
    if let Some(padding) = &mask.padding {
        keep = Some(padding.not().reshape([k.size(0), 1, 1, k.size(2)]));
    }
    let allowed = match (&mask.allowed, keep) {
        (Some(allowed), Some(keep)) => Some(allowed.and(&keep)),
        (Some(allowed), None) => Some(allowed.clone()),
        (None, keep) => keep,
    };
    let options = AttentionOptions::new().causal(mask.causal).dropout(dropout);
    let options = match (&mask.bias, allowed) {
        (Some(bias), Some(allowed)) => {
            options.mask(allowed.where_(bias, &Tensor::full_dtype((), f64::NEG_INFINITY, bias.dtype())))
        }
        (Some(bias), None) => options.mask(bias),
        (None, Some(allowed)) => options.mask(&allowed),
        (None, None) => options,
    };
    q.scaled_dot_product_attention(k, v, options)
}

impl Layer for MultiHeadAttention {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_with(x, x, x, &Mask::none())
    }
}
