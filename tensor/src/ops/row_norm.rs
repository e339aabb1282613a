//! Normalisation of each sample by itself: layer, root-mean-square, group and instance normalisation.
//!
//! All are one operation on rows, which they cut the input into in different ways.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, Saves, apply};
use crate::dtype::{Element, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::row_norm::{self, Rows};
use crate::kind::Float;
use crate::ops::batch_norm::statistics_dtype;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, Shape, shape_from};
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&LAYER_NORM, &RMS_NORM, &GROUP_NORM, &INSTANCE_NORM, &ROW_NORM_GRAD];

/// How an input is cut into rows.
struct Plan {
    rows: Rows,
    /// The shape of one number for each row.
    statistics: Shape,
    /// The shape of weight and bias.
    affine: Shape,
}

/// How an operation cuts inputs of a shape into rows.
type Cutter = fn(&Shape, &Attrs) -> Result<Plan>;

/// A row for each position of the leading axes: the last axes, which must have the sizes given.
fn last_axes(x: &Shape, attrs: &Attrs, centered: bool) -> Result<Plan> {
    let given = attrs.ints("normalized_shape");
    let lead = x.rank().checked_sub(given.len()).filter(|_| !given.is_empty());
    match lead {
        Some(lead) if x[lead..].iter().zip(&given).all(|(&n, &g)| n as isize == g) => {
            let affine = Shape::from(&x[lead..]);
            let rows = Rows { period: 1, channels: affine.elements(), plane: 1, centered };
            Ok(Plan { rows, statistics: x[..lead].iter().copied().collect(), affine })
        }
        _ => {
            let e = Error::new(format!("the last axes of {x} are not {:?}, which are to be normalised", &given[..]));
            Err(match x.last() {
                Some(last) if given.len() == 1 => e.help(format!("the last axis has size {last}")),
                _ => e.help("name the sizes of one or more axes, counted from the last"),
            })
        }
    }
}

fn last_axes_centered(x: &Shape, attrs: &Attrs) -> Result<Plan> {
    last_axes(x, attrs, true)
}

fn last_axes_as_they_are(x: &Shape, attrs: &Attrs) -> Result<Plan> {
    last_axes(x, attrs, false)
}

/// A row for each sample and group of channels of `[N, C, ..]`.
fn channel_groups(x: &Shape, attrs: &Attrs) -> Result<Plan> {
    let &[images, channels, ref plane @ ..] = &x[..] else {
        return Err(Error::new(format!("needs rank 2 or more, [N, C] or [N, C, ..], not {}", x.rank())));
    };
    let groups = attrs.int("groups");
    if groups < 1 || channels % groups as usize != 0 {
        return Err(Error::new(format!("{groups} groups do not divide {channels} channels (axis 1 of input)"))
            .kind_of(ErrorKind::Value)
            .help("every group holds the same number of channels"));
    }
    let period = groups as usize;
    let rows = Rows { period, channels: channels / period, plane: plane.iter().product(), centered: true };
    Ok(Plan { rows, statistics: [images, period].into(), affine: [channels].into() })
}

/// A row for each sample and channel of `[N, C, ..]`.
fn single_channels(x: &Shape, _: &Attrs) -> Result<Plan> {
    let &[images, channels, ref plane @ ..] = &x[..] else {
        return Err(Error::new(format!("needs rank 3 or more, [N, C, ..], not {}", x.rank())));
    };
    let each: usize = plane.iter().product();
    if each < 2 && images * channels > 0 {
        return Err(Error::new(format!(
            "each channel of a sample holds {each} values, and their variance needs 2 or more"
        ))
        .kind_of(ErrorKind::Value)
        .help("batch_norm and group_norm normalise over more than one channel of one sample"));
    }
    let rows = Rows { period: channels, channels: 1, plane: each, centered: true };
    Ok(Plan { rows, statistics: [images, channels].into(), affine: [channels].into() })
}

/// Normalises rows. The outputs are the result, `1 / sqrt(variance + eps)` of each row, and its mean where that is
/// subtracted.
fn forward(call: &mut Call<'_, '_>, cut: Cutter) -> Result<Outputs> {
    let dtype = call.same_dtype()?;
    if !dtype.is_float() {
        return Err(unsupported(dtype).help("convert first: x.to_float()"));
    }
    let Plan { rows, statistics, affine } = cut(call.input(0).shape(), call.attrs())?;
    for (i, name) in (1..call.len()).zip(["weight", "bias"]) {
        let shape = call.input(i).shape();
        if *shape != affine {
            return Err(Error::new(format!("{name} has shape {shape}, not {affine}"))
                .help("weight and bias hold one number for each channel, or for each position of the last axes"));
        }
    }
    let eps = call.attrs().float("eps");
    let inputs: SmallVec<[AnyTensor; 3]> = (0..call.len()).map(|i| dense(call.input(i).clone())).collect();
    let x = &inputs[0];
    let par = Par::of(x.elements());
    Ok(with_dtype!(float dtype, T => {
        let affine = |i: usize| inputs.get(i).map(|t: &AnyTensor| t.dense_slice::<T>());
        let (mut rstd, mut mean) = (None, None);
        let y = AnyTensor::filled::<T>(x.shape().clone(), |y| {
            rstd = Some(AnyTensor::filled(statistics.clone(), |rstd| {
                mean = Some(AnyTensor::filled(statistics.clone(), |mean| {
                    row_norm::normalise::<T>(y, rstd, mean, x.dense_slice(), affine(1), affine(2), eps, &rows, &par);
                }));
            }));
        });
        [Some(y), rstd, mean.filter(|_| rows.centered)].into_iter().flatten().collect()
    }))
}

/// The gradients come from one fused operation; gradients of the statistics themselves, which are rare, are added.
fn vjp(cx: &mut Vjp<'_>, cut: Cutter) {
    let Plan { rows, statistics, .. } = cut(cx.input_shape(0), cx.attrs()).expect("checked when it was recorded");
    let dtype = cx.input_dtype(0);
    let (g, x, rstd) = (cx.g(), cx.input::<Float>(0), cx.output::<Float>(1));
    let mean = rows.centered.then(|| cx.output::<Float>(2));
    let weight = (cx.inputs() > 1).then(|| cx.input::<Float>(1));
    let mut inputs: SmallVec<[Arg<'_>; 5]> = smallvec::smallvec![(&g).into(), (&x).into(), (&rstd).into()];
    inputs.extend(mean.as_ref().map(Arg::from));
    inputs.extend(weight.as_ref().map(Arg::from));
    let attrs = attrs! { rows: [rows.period, rows.channels, rows.plane], centered: rows.centered };
    let gradients = or_panic(apply(&ROW_NORM_GRAD, attrs, &mut inputs));
    let (g_rstd, g_mean) = (cx.take_cotangent(1), cx.take_cotangent(2));
    for (i, gradient) in gradients.into_iter().enumerate() {
        let mut gradient: Tensor = or_panic(gradient.downcast());
        if i == 0 && cx.needs(0) && (g_rstd.is_some() || g_mean.is_some()) {
            // rstd is (variance + eps)^(-1/2), so its derivative is -rstd^3 (x - mean) / n.
            let (shape, n) = (x.shape().clone(), rows.len() as f64);
            let beside: Shape = statistics.iter().copied().chain([1]).collect();
            let by_row = |t: &Tensor| t.reshape(&beside);
            let sizes: Shape = statistics.iter().copied().chain([rows.len()]).collect();
            let mut more = Tensor::full_dtype(&sizes, 0.0, rstd.dtype());
            if let Some(g_rstd) = &g_rstd {
                let x = x.to_dtype(rstd.dtype()).reshape(&sizes);
                let d = mean.as_ref().map_or(x.clone(), |mean| &x - by_row(mean));
                more -= d * by_row(&(g_rstd * rstd.square() * &rstd / n));
            }
            if let Some(g_mean) = &g_mean {
                more += by_row(g_mean) / n;
            }
            gradient += more.reshape(&shape).to_dtype(dtype);
        }
        cx.give(i, gradient);
    }
}

fn saves(centered: bool) -> Saves {
    let saves = Saves::INPUT.and_input(1).and_output(1);
    if centered { saves.and_output(2) } else { saves }
}

/// An input and, for some, weight and bias, of which `most` are given at most.
fn sample(g: &mut Gen, shape: &Shape, affine: &Shape, most: usize, attrs: Attrs) -> Vec<Sample> {
    let x = g.numbers(shape, -2.0, 2.0);
    let affine = [g.numbers(affine, 0.5, 2.0), g.numbers(affine, -1.0, 1.0)];
    let kept = g.below(most + 1);
    vec![Sample::new([x].into_iter().chain(affine.into_iter().take(kept)), attrs.with("eps", 1e-2))]
}

/// A shape, and the sizes of some of its last axes.
fn sample_last_axes(g: &mut Gen, most: usize) -> Vec<Sample> {
    let shape = g.shape(1, 3);
    let affine = Shape::from(&shape[g.below(shape.rank())..]);
    let attrs = attrs! { normalized_shape: &affine[..] };
    sample(g, &shape, &affine, most, attrs)
}

fn misuses_last_axes() -> Vec<Misuse> {
    let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
    let attrs = |sizes: &[usize]| attrs! { normalized_shape: sizes, eps: 1e-5 };
    vec![
        Misuse::new([z(&[2, 3])], attrs(&[2]), "the last axes of [2, 3] are not [2]"),
        Misuse::new([z(&[2, 3])], attrs(&[1, 2, 3]), "the last axes of [2, 3] are not [1, 2, 3]"),
        Misuse::new([z(&[2, 3])], attrs(&[]), "the last axes of [2, 3] are not []"),
        Misuse::new([z(&[2, 3]), z(&[2])], attrs(&[3]), "weight has shape [2], not [3]"),
        Misuse::new([crate::Int::zeros([3]).into()], attrs(&[3]), "precision I64 is not supported"),
    ]
}

/// Numbers whose variance must not come from a difference of large ones.
fn large_mean(g: &mut Gen, shape: &[usize], attrs: Attrs) -> Vec<Sample> {
    vec![Sample::new([g.tensor(&[1001.0, 1000.0, 999.0, 998.0], &shape.into())], attrs.with("eps", 1e-2))]
}

/// The operation of [`Tensor::layer_norm`].
pub(crate) static LAYER_NORM: Op = Op {
    name: "layer_norm",
    operands: &["input", "weight", "bias"],
    forward: |call| forward(call, last_axes_centered),
    gradient: Gradient::Rule { saves: |_| saves(true), vjp: |cx| vjp(cx, last_axes_centered) },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.layer_norm",
        precisions: FLOATS,
        samples: |g| sample_last_axes(g, 2),
        specials: |g| large_mean(g, &[1, 4], attrs! { normalized_shape: [4usize] }),
        misuses: misuses_last_axes,
    },
};

/// The operation of [`Tensor::rms_norm`].
pub(crate) static RMS_NORM: Op = Op {
    name: "rms_norm",
    operands: &["input", "weight"],
    forward: |call| forward(call, last_axes_as_they_are),
    gradient: Gradient::Rule { saves: |_| saves(false), vjp: |cx| vjp(cx, last_axes_as_they_are) },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.rms_norm",
        precisions: FLOATS,
        samples: |g| sample_last_axes(g, 1),
        specials: |g| {
            vec![Sample::new([g.tensor(&[0.0, 0.0], &[2].into())], attrs! { normalized_shape: [2usize], eps: 1e-2 })]
        },
        misuses: misuses_last_axes,
    },
};

/// The operation of [`Tensor::group_norm`].
pub(crate) static GROUP_NORM: Op = Op {
    name: "group_norm",
    operands: &["input", "weight", "bias"],
    forward: |call| forward(call, channel_groups),
    gradient: Gradient::Rule { saves: |_| saves(true), vjp: |cx| vjp(cx, channel_groups) },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.group_norm",
        precisions: FLOATS,
        samples: |g| {
            let (groups, mut shape) = (1 + g.below(3), g.shape(2, 4));
            shape[1] *= groups;
            let channels = Shape::from([shape[1]]);
            sample(g, &shape, &channels, 2, attrs! { groups: groups })
        },
        specials: |g| large_mean(g, &[1, 2, 2], attrs! { groups: 1usize }),
        misuses: || {
            let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
            let attrs = |groups: i64| attrs! { groups: groups, eps: 1e-5 };
            vec![
                Misuse::new([z(&[4])], attrs(1), "needs rank 2 or more"),
                Misuse::new([z(&[2, 4, 3])], attrs(3), "3 groups do not divide 4 channels (axis 1 of input)"),
                Misuse::new([z(&[2, 4, 3])], attrs(0), "0 groups do not divide 4 channels"),
                Misuse::new([z(&[2, 4, 3]), z(&[3])], attrs(2), "weight has shape [3], not [4]"),
            ]
        },
    },
};

/// The operation of [`Tensor::instance_norm`].
pub(crate) static INSTANCE_NORM: Op = Op {
    name: "instance_norm",
    operands: &["input", "weight", "bias"],
    forward: |call| forward(call, single_channels),
    gradient: Gradient::Rule { saves: |_| saves(true), vjp: |cx| vjp(cx, single_channels) },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "nn.functional.instance_norm",
        precisions: FLOATS,
        samples: |g| {
            let mut shape = g.full_shape(3, 4);
            shape[2] += 1;
            if g.below(8) == 0 {
                shape[1] = 0;
            }
            let channels = Shape::from([shape[1]]);
            sample(g, &shape, &channels, 2, Attrs::NONE)
        },
        specials: |g| large_mean(g, &[1, 1, 4], Attrs::NONE),
        misuses: || {
            let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
            vec![
                Misuse::new([z(&[4])], attrs! { eps: 1e-5 }, "needs rank 3 or more"),
                Misuse::new([z(&[4, 2])], attrs! { eps: 1e-5 }, "each channel of a sample holds 1 values"),
                Misuse::new([z(&[4, 2, 3]), z(&[2]), z(&[3])], attrs! { eps: 1e-5 }, "bias has shape [3], not [2]"),
            ]
        },
    },
};

/// The gradients of a normalisation by rows with respect to its input and, where there is a weight, to weight and bias,
/// from that of its result.
///
/// With `v = (x - mean) rstd` and `h = g weight` the gradient of the input is `rstd (h - mean(h) - v mean(h v))`: Ba,
/// Kiros and Hinton, 2016, arXiv:1607.06450. Without a mean, `mean(h)` is not subtracted, either.
pub(crate) static ROW_NORM_GRAD: Op = {
    fn rows(attrs: &Attrs) -> Rows {
        let sizes = attrs.ints("rows");
        let [period, channels, plane] = [0, 1, 2].map(|i| sizes.get(i).map_or(0, |&n| n as usize));
        Rows { period, channels, plane, centered: attrs.bool("centered") }
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let rows = rows(call.attrs());
        let with_mean = rows.centered as usize;
        let has_weight = call.len() > 3 + with_mean;
        let values = [0, 1].into_iter().chain(has_weight.then_some(3 + with_mean));
        let dtype = call.same_dtype_of(values)?;
        if !dtype.is_float() {
            return Err(unsupported(dtype));
        }
        let shape = call.input(1).shape();
        let count = call.input(2).elements();
        let whole = || {
            let row = rows.channels.checked_mul(rows.plane)?;
            let period = rows.period.checked_mul(row).filter(|&period| period > 0)?;
            Some(shape.elements().is_multiple_of(period) && shape.elements() / row == count)
        };
        if call.input(0).shape() != shape || shape.elements() > 0 && whole() != Some(true) {
            return Err(Error::new(format!(
                "the gradient has shape {} and the statistics have {count} elements, for an input of shape {shape} and \
                 rows of {} elements",
                call.input(0).shape(),
                rows.channels.saturating_mul(rows.plane)
            )));
        }
        // The statistics may be of a wider precision than the rest; the kernel wants them in the one it computes in.
        let wide = statistics_dtype(dtype);
        let inputs = (0..call.len()).map(|i| match i {
            2.. if i < 3 + with_mean => Ok(dense(call.input(i).to_constant().float()?.try_to_dtype(wide)?.into_any())),
            _ => Ok(dense(call.input(i).clone())),
        });
        let inputs = inputs.collect::<Result<SmallVec<[AnyTensor; 5]>>>()?;
        let affine = if has_weight { inputs[3 + with_mean].shape().clone() } else { [0].into() };
        let par = Par::of(shape.elements());
        Ok(with_dtype!(float dtype, T => {
            type C = <T as Element>::Compute;
            let mean = rows.centered.then(|| inputs[3].dense_slice::<C>());
            let weight = has_weight.then(|| inputs[3 + with_mean].dense_slice::<T>());
            let (g, x, rstd) = (inputs[0].dense_slice(), inputs[1].dense_slice(), inputs[2].dense_slice());
            let (mut dw, mut db) = (None, None);
            let dx = AnyTensor::filled::<T>(shape.clone(), |dx| {
                dw = Some(AnyTensor::filled(affine.clone(), |dw| {
                    db = Some(AnyTensor::filled(affine.clone(), |db| {
                        row_norm::normalise_grad::<T>(dx, dw, db, g, x, rstd, mean, weight, &rows, &par);
                    }));
                }));
            });
            let affine = [dw, db].into_iter().flatten().filter(|_| has_weight);
            [dx].into_iter().chain(affine).collect()
        }))
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let rows = rows(cx.attrs());
        let periods = cx.input_shape(2).elements() / rows.period.max(1);
        second(
            cx,
            &Cut {
                sizes: [periods, rows.period, rows.channels, rows.plane],
                statistics: ([periods, rows.period, 1, 1], [2, 3]),
                weight: ([1, rows.period, rows.channels, 1], [0, 3]),
                centered: rows.centered,
            },
        );
    }
    fn samples(g: &mut Gen) -> Vec<Sample> {
        let two = |g: &mut Gen| 1 + g.below(2);
        let (outer, period, channels, plane) = (g.below(3), two(g), 1 + g.below(3), two(g));
        let (shape, each) = (Shape::from([outer, period * channels, plane]), Shape::from([outer, period]));
        let centered = g.below(2) == 0;
        let mut inputs = vec![g.numbers(&shape, -1.0, 1.0), g.numbers(&shape, -2.0, 2.0), g.numbers(&each, 0.5, 2.0)];
        if centered {
            inputs.push(g.numbers(&each, -1.0, 1.0));
        }
        if g.below(2) == 0 {
            inputs.push(g.numbers(&[period * channels].into(), 0.5, 2.0));
        }
        vec![Sample::new(inputs, attrs! { rows: [period, channels, plane], centered: centered })]
    }
    Op {
        name: "row_norm_grad",
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
                vec![Misuse::new(
                    [z(&[2, 3]), z(&[2, 4]), z(&[2])],
                    attrs! { rows: [1usize, 4, 1], centered: false },
                    "the gradient has shape [2, 3]",
                )]
            },
        },
    }
};

/// How a normalisation looks at its input, whose axes are taken for four.
pub(super) struct Cut {
    /// The sizes of the axes.
    pub sizes: [usize; 4],
    /// The same of the statistics, and the axes that they are taken over, where they have 1.
    pub statistics: ([usize; 4], [usize; 2]),
    /// The same of the weight, which is the same along these axes.
    pub weight: ([usize; 4], [usize; 2]),
    /// Whether a mean is subtracted.
    pub centered: bool,
}

/// The gradients of the operation that computes those of a normalisation: of its gradient, input, `rstd`, mean and
/// weight, those there are.
///
/// With `u`, `s` and `t` the gradients of its results; `P(h) = rstd (h - mean(h) - v mean(h v))` is its own transpose.
pub(super) fn second(cx: &mut Vjp<'_>, cut: &Cut) {
    let with_mean = cut.centered as usize;
    let has_weight = cx.inputs() > 3 + with_mean;
    let (shape, dtype, wide) = (cx.input_shape(1).clone(), cx.input_dtype(1), statistics_dtype(cx.input_dtype(1)));
    let statistics = cx.input_shape(2).clone();
    let wide_as = |t: Tensor, sizes: [usize; 4]| t.to_dtype(wide).reshape(sizes);
    let ((by_row, row_axes), (beside, weight_axes)) = (cut.statistics, cut.weight);
    let (g, x) = (wide_as(cx.input(0), cut.sizes), wide_as(cx.input(1), cut.sizes));
    let rstd = wide_as(cx.input(2), by_row);
    let d = if cut.centered { &x - wide_as(cx.input(3), by_row) } else { x };
    let v = &d * &rstd;
    let weight = has_weight.then(|| wide_as(cx.input(3 + with_mean), beside));
    let u = wide_as(cx.g(), cut.sizes);
    let sum = |t: &Tensor| t.sum_keepdim(row_axes);
    let n = row_axes.map(|axis| cut.sizes[axis]).iter().product::<usize>() as f64;
    let project = |h: &Tensor| {
        let along = h - &v * (sum(&(h * &v)) / n);
        let alike = if cut.centered { along - sum(h) / n } else { along };
        alike * &rstd
    };
    let h = weight.as_ref().map_or(g.clone(), |w| &g * w);
    let pu = project(&u);
    let mut dg = weight.as_ref().map_or(pu.clone(), |w| &pu * w);
    // How v enters: in P(h), and in the gradient of the weight.
    let mut dv = -((&u * (sum(&(&h * &v)) / n) + &h * (sum(&(&u * &v)) / n)) * &rstd);
    if has_weight {
        let affine = cx.input_shape(3 + with_mean).clone();
        let (s, t) = (wide_as(cx.cotangent(1), beside), wide_as(cx.cotangent(2), beside));
        dg = dg + &v * &s + t;
        dv += &g * s;
        cx.give(3 + with_mean, (&g * &pu).sum_axis(weight_axes).reshape(&affine).to_dtype(dtype));
    }
    // v is (x - mean) rstd, and P(h) has rstd as a factor once more.
    let dx = &dv * &rstd;
    let d_rstd = sum(&(&dv * &d)) + sum(&(u * project(&h))) / &rstd;
    if cut.centered {
        cx.give(3, -sum(&dx).reshape(&statistics).to_dtype(cx.input_dtype(3)));
    }
    cx.give(0, dg.reshape(&shape).to_dtype(dtype));
    cx.give(1, dx.reshape(&shape).to_dtype(dtype));
    cx.give(2, d_rstd.reshape(&statistics).to_dtype(cx.input_dtype(2)));
}

/// Calls an operation with a weight and a bias where they are given.
#[track_caller]
fn normalised(
    op: &'static Op,
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    attrs: Attrs,
) -> Result<Tensor> {
    let ones = match (weight, bias) {
        (None, Some(bias)) => Some(Tensor::full_dtype(bias.shape(), 1.0, bias.dtype())),
        _ => None,
    };
    let mut inputs: SmallVec<[Arg<'_>; 3]> = smallvec::smallvec![x.into()];
    inputs.extend(weight.or(ones.as_ref()).map(Arg::from));
    inputs.extend(bias.map(Arg::from));
    apply(op, attrs, &mut inputs)?.into_first().downcast()
}

twin! {
    impl [] Tensor {
        /// Layer normalisation: the last axes, whose sizes are `normalized_shape`, are shifted and scaled to mean 0 and
        /// variance 1 together, then multiplied by a weight and shifted by a bias of that shape where these are given.
        /// `eps` is added to the variance.
        ///
        /// 16-bit floats accumulate in `F32`; a large mean costs no accuracy.
        ///
        /// J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, arXiv:1607.06450.
        ///
        /// # Panics
        /// If the last axes are not `normalized_shape`, weight or bias has another shape, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 3.0], [100.0, 100.0]];
        /// let y = x.layer_norm([2], None, Some(&tensor![0.0, 5.0]), 1e-12);
        /// assert_eq!(y.to_vec::<f32>(), [-1.0, 6.0, 0.0, 5.0]);
        /// ```
        pub fn layer_norm / try_layer_norm(
            &self,
            normalized_shape: impl IntoDims,
            weight: Option<&Tensor>,
            bias: Option<&Tensor>,
            eps: f64,
        ) -> Tensor {
            let attrs = attrs! { normalized_shape: &shape_from(normalized_shape)?[..], eps: eps };
            normalised(&LAYER_NORM, self, weight, bias, attrs)
        }

        /// Root-mean-square normalisation: the last axes, whose sizes are `normalized_shape`, are divided by the root of
        /// the mean of their squares plus `eps`, then multiplied by a weight of that shape where it is given.
        ///
        /// 16-bit floats accumulate in `F32`.
        ///
        /// B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467.
        ///
        /// # Panics
        /// If the last axes are not `normalized_shape`, the weight has another shape, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let y = tensor![[1.0, -1.0], [7.0, 1.0]].rms_norm([2], None, 0.0);
        /// assert_eq!(y.to_vec::<f32>(), [1.0, -1.0, 1.4, 0.2]);
        /// ```
        pub fn rms_norm / try_rms_norm(
            &self,
            normalized_shape: impl IntoDims,
            weight: Option<&Tensor>,
            eps: f64,
        ) -> Tensor {
            let attrs = attrs! { normalized_shape: &shape_from(normalized_shape)?[..], eps: eps };
            normalised(&RMS_NORM, self, weight, None, attrs)
        }

        /// Group normalisation of `[N, C, ..]`: the channels are split into `groups` groups, and each group of each
        /// sample is shifted and scaled to mean 0 and variance 1; then each channel is multiplied by a weight `[C]` and
        /// shifted by a bias `[C]` where these are given. `eps` is added to the variance.
        ///
        /// 16-bit floats accumulate in `F32`; a large mean costs no accuracy.
        ///
        /// Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.
        ///
        /// # Panics
        /// If the rank is below 2, the groups do not divide the channels, weight or bias is not `[C]`, or the
        /// precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[[1.0], [3.0], [5.0], [5.0]]];
        /// assert_eq!(x.group_norm(2, None, None, 1e-12).to_vec::<f32>(), [-1.0, 1.0, 0.0, 0.0]);
        /// ```
        pub fn group_norm / try_group_norm(
            &self,
            groups: usize,
            weight: Option<&Tensor>,
            bias: Option<&Tensor>,
            eps: f64,
        ) -> Tensor {
            normalised(&GROUP_NORM, self, weight, bias, attrs! { groups: groups, eps: eps })
        }

        /// Instance normalisation of `[N, C, ..]`: each channel of each sample is shifted and scaled to mean 0 and
        /// variance 1, then multiplied by a weight `[C]` and shifted by a bias `[C]` where these are given. `eps` is
        /// added to the variance.
        ///
        /// D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization", 2016, arXiv:1607.08022.
        ///
        /// # Panics
        /// If the rank is below 3, a channel of a sample holds fewer than 2 values, weight or bias is not `[C]`, or the
        /// precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[[1.0, 3.0], [0.0, 100.0]]];
        /// assert_eq!(x.instance_norm(None, None, 1e-12).to_vec::<f32>(), [-1.0, 1.0, -1.0, 1.0]);
        /// ```
        pub fn instance_norm / try_instance_norm(
            &self,
            weight: Option<&Tensor>,
            bias: Option<&Tensor>,
            eps: f64,
        ) -> Tensor {
            normalised(&INSTANCE_NORM, self, weight, bias, attrs! { eps: eps })
        }
    }
}
