//! Reductions in one pass that keep more than a running fold: variance, logarithms of sums of exponentials, norms,
//! counts.

use smallvec::SmallVec;

use crate::attributes::Attrs;
use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::accumulate::{ExpSum, Moments, NonZero, Powers, accumulate};
use crate::kind::{Float, Int, Kind};
use crate::layout::Layout;
use crate::ops::elementwise::unsupported;
use crate::ops::reduce::{self, Reduction, all_axes, reduced, reduced_count, reduction, with_axes};
use crate::par::Par;
use crate::registry::{ALL, FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, Shape};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&VAR, &STD, &LOGSUMEXP, &NORM, &COUNT_NONZERO];

fn demand_float(dtype: DType) -> Result<()> {
    match dtype.is_float() {
        true => Ok(()),
        false => Err(unsupported(dtype).help("convert first: x.to_float()")),
    }
}

/// A tensor of numbers computed in double precision.
fn rounded(values: impl ExactSizeIterator<Item = f64>, shape: &Shape, dtype: DType) -> AnyTensor {
    let storage = with_dtype!(float dtype, T => Storage::filled(values.len(), |out: &mut [T]| {
        out.iter_mut().zip(values).for_each(|(o, v)| *o = T::from_f64(v));
    }));
    AnyTensor::dense(storage, shape.clone(), dtype)
}

/// The precision of a mean that distances are taken from: a 16-bit float has no room for it.
fn precise(dtype: DType) -> DType {
    if dtype.size() == 2 { DType::F32 } else { dtype }
}

/// The sum of squared distances from the mean over the number of elements less `correction`, put through `f`; and the
/// mean.
fn moments(call: &Call<'_, '_>, f: fn(f64) -> f64) -> Result<Outputs> {
    let x = call.input(0);
    demand_float(x.dtype())?;
    let correction = call.attrs().float("correction");
    if correction < 0.0 || correction.is_nan() {
        let e = Error::new(format!("correction {correction} is negative or no number")).kind_of(ErrorKind::Value);
        return Err(e.help("1 is for samples, 0 for whole populations"));
    }
    let Reduction { layout, kept, shape } = Reduction::of(x, call.attrs())?;
    let found: Vec<Moments> = with_dtype!(float x.dtype(), T => {
        accumulate(Moments::default(), x.storage().slice::<T>(), &layout, kept, &Par::of(x.elements()))
    });
    let spread = found.iter().map(|m| f(m.squares / (m.count - correction).max(0.0)));
    let mean = found.iter().map(|m| if m.count > 0.0 { m.mean } else { f64::NAN });
    Ok(Outputs::from([rounded(spread, &shape, x.dtype()), rounded(mean, &shape, precise(x.dtype()))]))
}

/// Gives the input its part of the mean's gradient, and `slope`, where there is one, times its distances from the mean.
fn give_moments(cx: &mut Vjp<'_>, slope: Option<Tensor>) {
    let shape = cx.input_shape(0).clone();
    let count = reduced_count(&shape, cx.attrs()).expect("checked when it was recorded");
    let dtype = cx.input_dtype(0);
    if let Some(g) = cx.take_cotangent(1) {
        let g = with_axes(cx, &(g / count as f64)).expand(&shape).to_dtype(dtype);
        cx.give(0, g);
    }
    if let Some(slope) = slope {
        let (x, mean) = (cx.input::<Float>(0).to_dtype(precise(dtype)), with_axes(cx, &cx.output(1)));
        let g = (x - mean) * with_axes(cx, &slope).to_dtype(precise(dtype));
        cx.give(0, g.to_dtype(dtype));
    }
}

/// The number of elements less the correction.
fn freedom(cx: &Vjp<'_>) -> f64 {
    let count = reduced_count(cx.input_shape(0), cx.attrs()).expect("checked when it was recorded");
    (count as f64 - cx.attrs().float("correction")).max(0.0)
}

fn moment_samples(g: &mut Gen) -> Vec<Sample> {
    loop {
        let shape = g.shape(0, 3);
        let x = g.distinct(&shape);
        let mut samples = reduce::samples_over(g, x);
        let count = reduced_count(&shape, &samples[0].attrs).expect("axes of the shape");
        // Of two elements the standard deviation is linear: nothing but rounding to check in its second derivative.
        if count != 2 {
            let correction = if count > 1 { g.below(2) as f64 } else { 0.0 };
            samples[0].attrs = samples[0].attrs.clone().with("correction", correction);
            return samples;
        }
    }
}

fn moment_misuses() -> Vec<Misuse> {
    let x: AnyTensor = Tensor::zeros([2, 3]).into();
    vec![
        Misuse::new([x.clone()], attrs! { axes: [2i64], correction: 1.0 }, "axis 2 is out of range for rank 2"),
        Misuse::new([x], attrs! { axes: [1i64], correction: -1.0 }, "correction -1 is negative"),
    ]
}

/// The operation of [`Tensor::var`]: the variance, and the mean.
pub(crate) static VAR: Op = Op {
    name: "var",
    operands: &["input"],
    forward: |call| moments(call, |v| v),
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT.and_output(1),
        vjp: |cx| {
            let scale = 2.0 / freedom(cx);
            let slope = cx.take_cotangent(0).map(|g| g * scale);
            give_moments(cx, slope);
        },
    },
    info: || OpInfo {
        family: Family::Reduce,
        numpy: "var",
        torch: "var_mean",
        precisions: FLOATS,
        samples: moment_samples,
        specials: |g| {
            // Large next to what they vary by.
            let x = g.tensor(&[4096.0, 4100.0, 4104.0, 4108.0], &[4].into());
            vec![Sample::new([x], attrs! { axes: [0i64], correction: 0.0 })]
        },
        misuses: moment_misuses,
    },
};

/// The operation of [`Tensor::std`]: the standard deviation, and the mean.
pub(crate) static STD: Op = Op {
    name: "std",
    operands: &["input"],
    forward: |call| moments(call, f64::sqrt),
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT.and_output(0).and_output(1),
        vjp: |cx| {
            let freedom = freedom(cx);
            let slope = cx.take_cotangent(0).map(|g| g / (nonzero(&cx.output(0)) * freedom));
            give_moments(cx, slope);
        },
    },
    info: || OpInfo {
        family: Family::Reduce,
        numpy: "std",
        torch: "std_mean",
        precisions: FLOATS,
        samples: moment_samples,
        specials: |g| {
            let x = g.tensor(&[2.0, 2.0, 2.0], &[3].into());
            vec![Sample::new([x], attrs! { axes: [0i64], correction: 1.0 }).with_gradient([vec![0.0; 3]])]
        },
        misuses: moment_misuses,
    },
};

/// The elements, with 1 in the place of zeros: to divide zeros by.
fn nonzero(x: &Tensor) -> Tensor {
    x.eq(0.0).where_(&x.ones_like(), x)
}

/// Neighbours from which on the exponentials of a result are summed by themselves, in one pass.
const LONG: usize = 64;

/// Results up to which a pass takes longer to begin than they do one by one.
const FEW: usize = 32;

/// Whether the elements of each result lie in runs of neighbours that are long; the axes from number `kept` on are reduced.
fn is_in_long_runs(layout: &Layout, kept: usize) -> bool {
    let (shape, strides) = (layout.shape(), layout.strides());
    (kept..shape.rank()).any(|axis| strides[axis] == 1 && shape[axis] >= LONG)
}

/// The logarithms of sums of exponentials pass by pass, each of which is quick in any layout.
fn in_passes(x: &Tensor, attrs: &Attrs, shape: &Shape) -> Result<Tensor> {
    let axes: SmallVec<[isize; 4]> = reduced(x.shape(), attrs)?.0.iter().map(|&axis| axis as isize).collect();
    let largest = x.try_max_keepdim(&axes[..])?;
    // Infinities are not subtracted: positive ones stay so, and nothing but negative ones is a sum of 0.
    let shift = largest.isfinite().try_where_(&largest, &largest.zeros_like())?;
    let sum = x.try_sub(&shift)?.exp().try_sum_keepdim(&axes[..])?;
    let log = sum.to_dtype(DType::F64).log() + shift.to_dtype(DType::F64);
    log.to_dtype(x.dtype()).try_reshape(shape)
}

/// The operation of [`Tensor::logsumexp`].
pub(crate) static LOGSUMEXP: Op = Op {
    name: "logsumexp",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        demand_float(x.dtype())?;
        let Reduction { layout, kept, shape } = Reduction::of(x, call.attrs())?;
        let many = shape.elements() > FEW && layout.elements() > 0;
        if many && x.dtype().size() > 2 && !is_in_long_runs(&layout, kept) {
            return Ok(in_passes(&call.input(0).to_constant().float()?, call.attrs(), &shape)?.into_any().into());
        }
        let sums: Vec<ExpSum> = with_dtype!(float x.dtype(), T => {
            accumulate(ExpSum::default(), x.storage().slice::<T>(), &layout, kept, &Par::of(x.elements()))
        });
        Ok(rounded(sums.iter().map(ExpSum::log), &shape, x.dtype()).into())
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT.and_output(0),
        vjp: |cx| {
            let (x, y, g) = (cx.input::<Float>(0), cx.output::<Float>(0), cx.g());
            // Nothing but negative infinities: each has share 0.
            let y = y.eq(f64::NEG_INFINITY).where_(&y.zeros_like(), &y);
            let share = (x - with_axes(cx, &y)).exp();
            // The shares sum to 1 but for the rounding of the logarithm, which grows with it.
            let (axes, _) = reduced(share.shape(), cx.attrs()).expect("checked when it was recorded");
            let sum = nonzero(&share.sum_keepdim(&axes[..]));
            let g = share / sum * with_axes(cx, &g);
            cx.give(0, g);
        },
    },
    info: || OpInfo {
        family: Family::Reduce,
        numpy: "",
        torch: "logsumexp",
        precisions: FLOATS,
        samples: |g| {
            let shape = g.full_shape(0, 3);
            let x = g.numbers(&shape, -3.0, 3.0);
            reduce::samples_over(g, x)
        },
        specials: |g| {
            let low = f64::NEG_INFINITY;
            let mut row = |x: [f64; 2]| Sample::new([g.tensor(&x, &[2].into())], attrs! { axes: [0i64] });
            vec![
                row([low, low]).with_gradient([vec![0.0, 0.0]]),
                row([low, 1.0]).with_gradient([vec![0.0, 1.0]]),
                row([1000.0, 1000.0]),
                Sample::new([g.tensor(&[], &[2, 0].into())], attrs! { axes: [1i64] }).with_gradient([vec![]]),
            ]
        },
        misuses: reduce::misuses,
    },
};

/// The operation of [`Tensor::norm`].
pub(crate) static NORM: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (x, p) = (call.input(0), call.attrs().float("p"));
        demand_float(x.dtype())?;
        if p.is_nan() {
            return Err(Error::new("the order p is NaN").kind_of(ErrorKind::Value).help("p = 2 is the usual norm"));
        }
        let Reduction { layout, kept, shape } = Reduction::of(x, call.attrs())?;
        let powers: Vec<Powers> = with_dtype!(float x.dtype(), T => {
            accumulate(Powers::new(p), x.storage().slice::<T>(), &layout, kept, &Par::of(x.elements()))
        });
        Ok(rounded(powers.iter().map(Powers::norm), &shape, x.dtype()).into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (x, g, p) = (cx.input::<Float>(0), cx.g(), cx.attrs().float("p"));
        let y = with_axes(cx, &cx.output(0));
        let (axes, _) = reduced(x.shape(), cx.attrs()).expect("checked when it was recorded");
        let slope = match p {
            0.0 => x.zeros_like(),
            1.0 => x.sign(),
            2.0 => &x / nonzero(&y),
            p if p.is_infinite() => {
                let extreme = x.abs().eq(&y).to_float_as(x.dtype());
                x.sign() * (&extreme / extreme.sum_keepdim(&axes[..]))
            }
            // 0 where an element is, also where the power has no slope there.
            p => x.sign() * (nonzero(&x.abs()) / nonzero(&y)).pow(p - 1.0),
        };
        cx.give(0, slope * with_axes(cx, &g));
    }
    Op {
        name: "norm",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUT.and_output(0), vjp },
        info: || OpInfo {
            family: Family::Reduce,
            numpy: "linalg.norm",
            torch: "linalg.vector_norm",
            precisions: FLOATS,
            samples: |g| {
                let shape = g.full_shape(0, 3);
                let x = g.distinct(&shape);
                let p = g.pick(&[0.0, 1.0, 2.0, 2.0, 3.0, 0.5, f64::INFINITY, f64::NEG_INFINITY]);
                let mut samples = reduce::samples_over(g, x);
                samples.iter_mut().for_each(|s| s.attrs = s.attrs.clone().with("p", p));
                samples
            },
            specials: |g| {
                let mut samples = Vec::new();
                for p in [0.0, 0.5, 1.0, 2.0, 3.0, f64::INFINITY] {
                    let zero = g.tensor(&[0.0, 0.0], &[2].into());
                    samples.push(Sample::new([zero], attrs! { axes: [0i64], p: p }).with_gradient([vec![0.0, 0.0]]));
                }
                let ties = g.tensor(&[2.0, -2.0, 1.0], &[3].into());
                let ties = Sample::new([ties], attrs! { axes: [0i64], p: f64::INFINITY });
                samples.push(ties.with_gradient([vec![0.5, -0.5, 0.0]]));
                samples
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new([x.clone()], attrs! { axes: [0i64, 0], p: 2.0 }, "axis 0 is named twice"),
                    Misuse::new([x], attrs! { axes: [0i64], p: f64::NAN }, "the order p is NaN"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::count_nonzero`].
pub(crate) static COUNT_NONZERO: Op = Op {
    name: "count_nonzero",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        let Reduction { layout, kept, shape } = Reduction::of(x, call.attrs())?;
        let counts: Vec<NonZero> = with_dtype!(x.dtype(), T => {
            accumulate(NonZero::default(), x.storage().slice::<T>(), &layout, kept, &Par::of(x.elements()))
        });
        let storage = Storage::filled(counts.len(), |out: &mut [i64]| {
            out.iter_mut().zip(&counts).for_each(|(o, c)| *o = c.0);
        });
        Ok(AnyTensor::dense(storage, shape, DType::I64).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Reduce,
        numpy: "count_nonzero",
        torch: "count_nonzero",
        precisions: ALL,
        samples: |g| {
            let shape = g.shape(0, 3);
            let values: Vec<f64> = (0..shape.elements()).map(|_| g.below(3) as f64).collect();
            let x = g.tensor(&values, &shape);
            reduce::samples_over(g, x)
        },
        specials: |_| Vec::new(),
        misuses: reduce::misuses,
    },
};

reduction! {
    impl [] Tensor => VAR -> Tensor, (correction: f64) {
        /// The variance of all elements: their mean squared distance from the mean, where the sum is divided by their
        /// number less `correction`. 1 estimates the variance of what a sample was drawn from (PyTorch's default), 0 is
        /// that of the elements themselves (NumPy's).
        ///
        /// Computed from distances, in double precision: large means cancel nothing. NaN where there are no more
        /// elements than `correction`.
        ///
        /// # Panics
        /// If `correction` is negative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0, 3.0, 4.0].var(0.0).item(), 1.25);
        /// ```
        var / try_var,
        /// The variance over one or more axes, see [`var`](Self::var).
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 3.0], [10.0, 14.0]].var_axis(1, 1.0).to_vec::<f32>(), [2.0, 8.0]);
        /// ```
        var_axis / try_var_axis,
        var_keepdim / try_var_keepdim
    }
}

reduction! {
    impl [] Tensor => STD -> Tensor, (correction: f64) {
        /// The standard deviation of all elements: the square root of their variance, see [`var`](Self::var). Where it
        /// is 0, so is its gradient.
        ///
        /// # Panics
        /// If `correction` is negative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 3.0, 5.0].std(1.0).item(), 2.0);
        /// ```
        std / try_std,
        /// The standard deviation over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 3.0], [10.0, 14.0]].std_axis(1, 0.0).to_vec::<f32>(), [1.0, 2.0]);
        /// ```
        std_axis / try_std_axis,
        std_keepdim / try_std_keepdim
    }
}

impl Tensor {
    /// Variance and mean over `axes` in one pass, see [`var`](Self::var).
    ///
    /// # Panics
    /// If an axis does not exist, or is named twice, or `correction` is negative.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (var, mean) = tensor![[1.0, 3.0], [10.0, 14.0]].var_mean(1, 0.0);
    /// assert_eq!(var.to_vec::<f32>(), [1.0, 4.0]);
    /// assert_eq!(mean.to_vec::<f32>(), [2.0, 12.0]);
    /// ```
    #[track_caller]
    pub fn var_mean(&self, axes: impl IntoDims, correction: f64) -> (Tensor, Tensor) {
        or_panic(self.try_var_mean(axes, correction))
    }

    /// Fallible form of [`var_mean`](Self::var_mean).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_var_mean(&self, axes: impl IntoDims, correction: f64) -> Result<(Tensor, Tensor)> {
        let attrs = attrs! { axes: axes.into_dims(self.rank()), correction: correction };
        let [var, mean] = apply(&VAR, attrs, &mut [self.into()])?.into_array();
        Ok((var.downcast()?, mean.downcast::<Float>()?.try_to_dtype(self.dtype())?))
    }
}

reduction! {
    impl [] Tensor => LOGSUMEXP -> Tensor, () {
        /// The logarithm of the sum of the exponentials of all elements. Nothing overflows: the largest element is taken
        /// out first. Negative infinity for no elements and for nothing but negative infinities, with gradient 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1000.0, 1000.0].logsumexp().item(), (1000.0 + 2_f64.ln()) as f32 as f64);
        /// ```
        logsumexp / try_logsumexp,
        /// The logarithm of the sum of exponentials over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[0.0, f64::NEG_INFINITY], [f64::NEG_INFINITY, f64::NEG_INFINITY]];
        /// assert_eq!(x.logsumexp_axis(1).to_vec::<f64>(), [0.0, f64::NEG_INFINITY]);
        /// ```
        logsumexp_axis / try_logsumexp_axis,
        logsumexp_keepdim / try_logsumexp_keepdim
    }
}

reduction! {
    impl [] Tensor => NORM -> Tensor, (p: f64) {
        /// The `p`-norm of all elements as one vector: `sum(|x|^p)^(1/p)`. 2 is the Euclidean norm (Frobenius' of a
        /// matrix), 1 the sum of magnitudes, infinity the largest and negative infinity the smallest magnitude, and 0
        /// counts what is not 0.
        ///
        /// The gradient is 0 where an element is 0 and so where the norm is; ties of an extreme magnitude share it.
        ///
        /// # Panics
        /// If `p` is NaN.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[3.0, -4.0]];
        /// assert_eq!(x.norm(2.0).item(), 5.0);
        /// assert_eq!(x.norm(1.0).item(), 7.0);
        /// assert_eq!(x.norm(f64::INFINITY).item(), 4.0);
        /// ```
        norm / try_norm,
        /// The `p`-norm over one or more axes, see [`norm`](Self::norm).
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[3.0, 4.0], [0.0, 0.0]].norm_axis(1, 2.0).to_vec::<f32>(), [5.0, 0.0]);
        /// ```
        norm_axis / try_norm_axis,
        norm_keepdim / try_norm_keepdim
    }
}

reduction! {
    impl [<K: Kind>] Tensor<K> => COUNT_NONZERO -> Tensor<Int>, () {
        /// How many elements are not 0, of a mask how many hold, as a tensor of rank 0. NaN is not 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[0.0, 2.0], [3.0, 4.0]].count_nonzero().item(), 3);
        /// ```
        count_nonzero / try_count_nonzero,
        /// How many elements are not 0 over one or more axes.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[true, true], [false, true]].count_nonzero_axis(1).to_vec::<i64>(), [2, 1]);
        /// ```
        count_nonzero_axis / try_count_nonzero_axis,
        count_nonzero_keepdim / try_count_nonzero_keepdim
    }
}
