//! Batch normalisation.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::norm::{self, Affine, Slope};
use crate::kind::Float;
use crate::ops::cast::cast;
use crate::ops::elementwise::unsupported;
use crate::ops::row_norm::{Cut, second};
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&BATCH_NORM, &BATCH_NORM_GRAD, &BATCH_NORM_WITH];

/// The precision of the statistics of elements of precision `dtype`: 16-bit floats have too little range for them.
pub(super) fn statistics_dtype(dtype: DType) -> DType {
    if dtype.size() == 2 { DType::F32 } else { dtype }
}

/// The number of channels, and the number of elements of each.
fn channels(x: &Shape) -> Result<(usize, usize)> {
    if x.rank() < 2 {
        return Err(Error::new(format!("needs rank 2 or more, [N, C] or [N, C, ..], not {}", x.rank())));
    }
    Ok((x[1], x.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, &n)| n).product()))
}

/// The shape that lets one number for each channel broadcast against `[N, C, ..]`.
fn beside(x: &Shape) -> Shape {
    x.iter().enumerate().map(|(axis, &n)| if axis == 1 { n } else { 1 }).collect()
}

/// Checks that a tensor has one number for each channel.
fn per_channel(t: &AnyTensor, name: &str, channels: usize) -> Result<()> {
    if *t.shape() == [channels] {
        return Ok(());
    }
    Err(Error::new(format!("{name} has shape {}, not [{channels}]", t.shape()))
        .help("it holds one number for each channel (axis 1 of input)"))
}

/// The numbers of the channels in an input, or the one that stands for each where there is no such input.
fn numbers(call: &Call<'_, '_>, input: usize, missing: f64, channels: usize) -> Vec<f64> {
    if call.len() > input { call.input(input).to_f64_vec() } else { vec![missing; channels] }
}

/// The operation of [`Tensor::batch_norm`].
pub(crate) static BATCH_NORM: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        if !dtype.is_float() {
            return Err(unsupported(dtype).help("convert first: x.to_float()"));
        }
        let (count, each) = channels(call.input(0).shape())?;
        if call.len() > 1 {
            per_channel(call.input(1), "weight", count)?;
            per_channel(call.input(2), "bias", count)?;
        }
        if each < 2 && count > 0 {
            return Err(Error::new(format!("each channel holds {each} values, and their variance needs 2 or more"))
                .kind_of(ErrorKind::Value)
                .help("take a larger batch, or normalise with running statistics, as a layer in eval() does"));
        }
        let eps = call.attrs().float("eps");
        let wide = statistics_dtype(dtype);
        let x = dense(cast(call.input(0), wide));
        let (n, plane) = (x.elements(), x.shape()[2..].iter().product());
        let numbers = |i: usize, missing| numbers(call, i, missing, count);
        let (weight, bias) = (numbers(1, 1.0), numbers(2, 0.0));
        let (y, moments) = with_dtype!(precise wide, T => {
            let (par, elements) = (Par::of(n), x.dense_slice::<T>());
            let moments = norm::moments(elements, count, plane, &par);
            let maps: Vec<Affine> = (0..count)
                .map(|c| {
                    let scale = weight[c] / (moments[c].variance + eps).sqrt();
                    Affine { center: moments[c].mean, scale, shift: bias[c] }
                })
                .collect();
            let y = AnyTensor::filled::<T>(x.shape().clone(), |y| norm::affine(y, elements, &maps, plane, &par));
            (y, moments)
        });
        let statistic = |f: fn(&norm::Moments) -> f64| {
            let storage = with_dtype!(precise wide, T => {
                Storage::from_slice(&moments.iter().map(|m| T::from_f64(f(m))).collect::<Vec<_>>())
            });
            AnyTensor::dense(storage, [count].into(), wide)
        };
        Ok(Outputs::from([cast(&y, dtype), statistic(|m| m.mean), statistic(|m| m.variance)]))
    }
    /// The gradients come from one operation; those of the statistics themselves, which are rare, are added: of the
    /// mean, and of the variance, which depends on each element's distance from the mean.
    fn vjp(cx: &mut Vjp<'_>) {
        let (shape, dtype) = (cx.input_shape(0).clone(), cx.input_dtype(0));
        let (g, x) = (cx.g(), cx.input::<Float>(0));
        let (mean, variance) = (cx.output::<Float>(1), cx.output::<Float>(2));
        let rstd = (variance + cx.attrs().float("eps")).sqrt().recip();
        let weight = (cx.inputs() > 1).then(|| cx.input::<Float>(1));
        let mut inputs: SmallVec<[Arg<'_>; 5]> =
            smallvec::smallvec![(&g).into(), (&x).into(), (&rstd).into(), (&mean).into()];
        inputs.extend(weight.as_ref().map(Arg::from));
        let gradients = or_panic(apply(&BATCH_NORM_GRAD, Attrs::NONE, &mut inputs));
        let (g_mean, g_variance) = (cx.take_cotangent(1), cx.take_cotangent(2));
        for (i, gradient) in gradients.into_iter().enumerate() {
            let mut gradient: Tensor = or_panic(gradient.downcast());
            if i == 0 && cx.needs(0) && (g_mean.is_some() || g_variance.is_some()) {
                let (_, n) = channels(&shape).expect("checked when it was recorded");
                let beside = beside(&shape);
                let mut more = Tensor::full_dtype(&shape, 0.0, mean.dtype());
                if let Some(g_variance) = &g_variance {
                    let d = x.to_dtype(mean.dtype()) - mean.reshape(&beside);
                    more += d * (g_variance * 2.0 / n as f64).reshape(&beside);
                }
                if let Some(g_mean) = &g_mean {
                    more += (g_mean / n as f64).reshape(&beside);
                }
                gradient += more.to_dtype(dtype);
            }
            cx.give(i, gradient);
        }
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let mut shape = g.full_shape(2, 4);
        shape[0] = 2 + g.below(3);
        if g.below(8) == 0 {
            shape[1] = 0;
        }
        let each = Shape::from([shape[1]]);
        let x = g.numbers(&shape, -2.0, 2.0);
        let affine = [g.numbers(&each, 0.5, 2.0), g.numbers(&each, -1.0, 1.0)];
        let kept = 2 * g.below(2);
        vec![Sample::new([x].into_iter().chain(affine.into_iter().take(kept)), attrs! { eps: 1e-2 })]
    }
    fn misuses() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let case = |shapes: &[&[usize]], says| Misuse::new(shapes.iter().map(|s| z(s)), attrs! { eps: 1e-5 }, says);
        vec![
            case(&[&[4]], "needs rank 2 or more"),
            case(&[&[1, 3]], "each channel holds 1 values, and their variance needs 2 or more"),
            case(&[&[4, 3], &[4], &[3]], "weight has shape [4], not [3]"),
            case(&[&[4, 3], &[3], &[4]], "bias has shape [4], not [3]"),
        ]
    }
    Op {
        name: "batch_norm",
        operands: &["input", "weight", "bias"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUT.and_input(1).and_output(1).and_output(2), vjp },
        info: || OpInfo {
            family: Family::Norm,
            numpy: "",
            torch: "nn.functional.batch_norm",
            precisions: FLOATS,
            samples,
            // A large mean: the variance must not come from a difference of large numbers.
            specials: |g| {
                vec![Sample::new([g.tensor(&[1001.0, 1000.0, 999.0, 998.0], &[4, 1].into())], attrs! { eps: 1e-2 })]
            },
            misuses,
        },
    }
};

/// The gradients of a batch normalisation with respect to its input, and to weight and bias where there is a weight, from
/// that of its result.
///
/// With `d = x - mean`, `h = g weight` and `n` elements in each channel the gradient of the input is
/// `rstd (h - mean(h) - d rstd^2 mean(h d))`: Ioffe and Szegedy, 2015, arXiv:1502.03167, section 3.
pub(crate) static BATCH_NORM_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype_of([0, 1].into_iter().chain((call.len() > 4).then_some(4)))?;
        if !dtype.is_float() {
            return Err(unsupported(dtype));
        }
        let shape = call.input(1).shape();
        let (count, each) = channels(shape)?;
        if call.input(0).shape() != shape {
            return Err(Error::new(format!("the gradient has shape {}, the input {shape}", call.input(0).shape())));
        }
        for (i, name) in (2..call.len()).zip(["rstd", "mean", "weight"]) {
            per_channel(call.input(i), name, count)?;
        }
        let numbers = |i: usize| call.input(i).to_f64_vec();
        let (rstd, mean) = (numbers(2), numbers(3));
        let weight = if call.len() > 4 { numbers(4) } else { vec![1.0; count] };
        let wide = statistics_dtype(dtype);
        let (g, x) = (dense(cast(call.input(0), wide)), dense(cast(call.input(1), wide)));
        let (par, plane) = (Par::of(shape.elements()), shape[2..].iter().product());
        Ok(with_dtype!(precise wide, T => {
            let (g, x) = (g.dense_slice::<T>(), x.dense_slice::<T>());
            let sums = norm::gradient_sums(g, x, &mean, plane, &par);
            let slope = |c: usize| {
                let ([own, products], scale, n) = (sums[c], rstd[c] * weight[c], each as f64);
                let along = -scale * rstd[c] * rstd[c] * products / n;
                Slope { center: mean[c], scale, along, shift: -scale * own / n }
            };
            let slopes: Vec<Slope> = (0..count).map(slope).collect();
            let dx = AnyTensor::filled::<T>(shape.clone(), |dx| norm::gradient(dx, g, x, &slopes, plane, &par));
            let number = |f: &dyn Fn(usize) -> f64| {
                let numbers = AnyTensor::filled::<T>([count].into(), |to| {
                    to.iter_mut().enumerate().for_each(|(c, to)| *to = T::from_f64(f(c)));
                });
                cast(&numbers, dtype)
            };
            let dx = cast(&dx, dtype);
            match call.len() > 4 {
                true => Outputs::from([dx, number(&|c| sums[c][1] * rstd[c]), number(&|c| sums[c][0])]),
                false => dx.into(),
            }
        }))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let shape = cx.input_shape(1);
        let beside = [1, shape[1], 1, 1];
        let sizes = [shape[0], shape[1], shape[2..].iter().product(), 1];
        second(cx, &Cut { sizes, statistics: (beside, [0, 2]), weight: (beside, [0, 2]), centered: true });
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let shape = g.shape(2, 4);
        let each = Shape::from([shape[1]]);
        let inputs = [
            g.numbers(&shape, -1.0, 1.0),
            g.numbers(&shape, -2.0, 2.0),
            g.numbers(&each, 0.5, 2.0),
            g.numbers(&each, -1.0, 1.0),
            g.numbers(&each, 0.5, 2.0),
        ];
        let kept = 4 + g.below(2);
        vec![Sample::new(inputs.into_iter().take(kept), Attrs::NONE)]
    }
    Op {
        name: "batch_norm_grad",
        operands: &["gradient", "input", "rstd", "mean", "weight"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Norm,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples,
            specials: |_| Vec::new(),
            misuses: || {
                let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
                let case = |shapes: [&[usize]; 4], says| Misuse::new(shapes.map(z), Attrs::NONE, says);
                vec![
                    case([&[2, 3], &[2, 4], &[4], &[4]], "the gradient has shape [2, 3], the input [2, 4]"),
                    case([&[4], &[4], &[4], &[4]], "needs rank 2 or more"),
                    case([&[2, 3], &[2, 3], &[2], &[3]], "rstd has shape [2], not [3]"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::batch_norm_with`].
pub(crate) static BATCH_NORM_WITH: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.input(0).dtype();
        if !dtype.is_float() {
            return Err(unsupported(dtype).help("convert first: x.to_float()"));
        }
        let (count, _) = channels(call.input(0).shape())?;
        for (i, name) in (1..call.len()).zip(["mean", "variance", "weight", "bias"]) {
            per_channel(call.input(i), name, count)?;
        }
        let numbers = |i: usize, missing| numbers(call, i, missing, count);
        let (mean, variance) = (numbers(1, 0.0), numbers(2, 1.0));
        let (weight, bias, eps) = (numbers(3, 1.0), numbers(4, 0.0), call.attrs().float("eps"));
        let map = |c: usize| Affine { center: mean[c], scale: weight[c] / (variance[c] + eps).sqrt(), shift: bias[c] };
        let maps: Vec<Affine> = (0..count).map(map).collect();
        let wide = statistics_dtype(dtype);
        let x = dense(cast(call.input(0), wide));
        let y = with_dtype!(precise wide, T => {
            let (par, plane) = (Par::of(x.elements()), x.shape()[2..].iter().product());
            AnyTensor::filled::<T>(x.shape().clone(), |y| norm::affine(y, x.dense_slice(), &maps, plane, &par))
        });
        Ok(cast(&y, dtype).into())
    }
    /// With `d = x - mean` and `scale = rstd weight`: `g scale`, and the sums over each channel of `g` and `g d`.
    fn vjp(cx: &mut Vjp<'_>) {
        let (g, x, mean, variance) = (cx.g(), cx.input::<Float>(0), cx.input::<Float>(1), cx.input::<Float>(2));
        let (wide, beside) = (mean.dtype(), beside(x.shape()));
        let axes: SmallVec<[usize; 4]> = (0..x.rank()).filter(|&axis| axis != 1).collect();
        let g = g.to_dtype(wide);
        let rstd = (&variance + cx.attrs().float("eps")).sqrt().recip();
        let weight = if cx.inputs() > 3 { cx.input::<Float>(3).to_dtype(wide) } else { rstd.ones_like() };
        let scale = &rstd * &weight;
        let mut gradients: [Option<Tensor>; 5] = Default::default();
        if cx.needs(0) {
            gradients[0] = Some(&g * scale.reshape(&beside));
        }
        let sums = g.sum_axis(&axes[..]);
        if cx.needs(2) || cx.inputs() > 3 && cx.needs(3) {
            let products = (g * (x.to_dtype(wide) - mean.reshape(&beside))).sum_axis(&axes[..]);
            gradients[2] = Some(&products * scale.clone() * rstd.square() * -0.5);
            gradients[3] = Some(products * rstd);
        }
        gradients[1] = Some(-(&sums * scale));
        gradients[4] = Some(sums);
        for (i, gradient) in gradients.into_iter().enumerate().take(cx.inputs()) {
            if let Some(gradient) = gradient.filter(|_| cx.needs(i)) {
                cx.give(i, gradient.to_dtype(cx.input_dtype(i)));
            }
        }
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let shape = g.shape(2, 4);
        let each = Shape::from([shape[1]]);
        let inputs = [
            g.numbers(&shape, -2.0, 2.0),
            g.numbers(&each, -1.0, 1.0),
            g.numbers(&each, 0.5, 2.0),
            g.numbers(&each, 0.5, 2.0),
            g.numbers(&each, -1.0, 1.0),
        ];
        let kept = 3 + 2 * g.below(2);
        vec![Sample::new(inputs.into_iter().take(kept), attrs! { eps: 1e-2 })]
    }
    Op {
        name: "batch_norm_with",
        operands: &["input", "mean", "variance", "weight", "bias"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUTS, vjp },
        info: || OpInfo {
            family: Family::Norm,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples,
            specials: |_| Vec::new(),
            misuses: || {
                let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
                let case = |shapes: [&[usize]; 3], says| Misuse::new(shapes.map(z), attrs! { eps: 1e-5 }, says);
                vec![
                    case([&[4], &[4], &[4]], "needs rank 2 or more"),
                    case([&[2, 3], &[2], &[3]], "mean has shape [2], not [3]"),
                    case([&[2, 3], &[3], &[4]], "variance has shape [4], not [3]"),
                ]
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// Batch normalisation of `[N, C, ..]` with the batch's own statistics, as in training: each channel is
        /// shifted and scaled to mean 0 and variance 1 (Ioffe and Szegedy, 2015, arXiv:1502.03167), then multiplied
        /// by a weight `[C]` and shifted by a bias `[C]` where these are given. `eps` is added to the variance.
        ///
        /// Returns the result, and the mean and the biased variance of each channel; of 16-bit floats these are in
        /// `F32`. Gradients flow through all three.
        ///
        /// # Panics
        /// If the rank is below 2, a channel holds fewer than 2 values, weight or bias is not `[C]`, or the
        /// precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let (y, mean, variance) = tensor![[1.0], [3.0]].batch_norm(None, 0.0);
        /// assert_eq!(y.to_vec::<f32>(), [-1.0, 1.0]);
        /// assert_eq!((mean.item(), variance.item()), (2.0, 1.0));
        /// ```
        pub fn batch_norm / try_batch_norm(
            &self,
            affine: Option<(&Tensor, &Tensor)>,
            eps: f64,
        ) -> (Tensor, Tensor, Tensor) {
            let attrs = attrs! { eps: eps };
            let outputs = match affine {
                None => apply(&BATCH_NORM, attrs, &mut [Arg::from(self)])?,
                Some((weight, bias)) => apply(&BATCH_NORM, attrs, &mut [self.into(), weight.into(), bias.into()])?,
            };
            let [y, mean, variance] = outputs.into_array();
            Ok((y.downcast()?, mean.downcast()?, variance.downcast()?))
        }

        /// Batch normalisation of `[N, C, ..]` with a given mean `[C]` and variance `[C]`, as with the running
        /// statistics of a trained model: `(x - mean) / sqrt(variance + eps) * weight + bias`.
        ///
        /// # Panics
        /// If the rank is below 2, or a statistic, weight or bias is not `[C]`.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 5.0], [3.0, 7.0]];
        /// let y = x.batch_norm_with(&tensor![1.0, 5.0], &tensor![4.0, 1.0], None, 0.0);
        /// assert_eq!(y.to_vec::<f32>(), [0.0, 0.0, 1.0, 2.0]);
        /// ```
        pub fn batch_norm_with / try_batch_norm_with(
            &self,
            mean: &Tensor,
            variance: &Tensor,
            affine: Option<(&Tensor, &Tensor)>,
            eps: f64,
        ) -> Tensor {
            let mut inputs: SmallVec<[Arg<'_>; 5]> = smallvec::smallvec![self.into(), mean.into(), variance.into()];
            inputs.extend(affine.into_iter().flat_map(|(weight, bias)| [Arg::from(weight), bias.into()]));
            apply1(&BATCH_NORM_WITH, attrs! { eps: eps }, &mut inputs)
        }
    }
}
