//! Convolution along one, two or three axes, its transpose, and the gradient with respect to the weight.
//!
//! All three are linear in both of what they are computed from, and they are each other's gradient rules.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::conv::{self, Conv};
use crate::kernels::window::Window;
use crate::kind::Float;
use crate::ops::cast::in_single;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::window::{self, Sizes, sliding};
use crate::ops::{other_input, twin};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] =
    &[&CONV1D, &CONV2D, &CONV3D, &CONV_TRANSPOSE1D, &CONV_TRANSPOSE2D, &CONV_TRANSPOSE3D, &CONV_WEIGHT_GRAD];

/// How the kernel of a convolution moves along `N` axes. Each number is one for all axes, or one for each.
///
/// ```
/// use wengert_tensor::Conv2dOptions;
/// let same = Conv2dOptions::new().same(3);
/// let halved = Conv2dOptions::new().stride([2, 2]).padding([1, 1]);
/// assert_eq!(same, Conv2dOptions::new().padding(1));
/// assert_ne!(same, halved);
/// assert_eq!(Conv2dOptions::new().groups(4).dilation(2).groups, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions<const N: usize> {
    /// Positions from one window to the next.
    pub stride: [usize; N],
    /// Zeros at both ends of each axis.
    pub padding: [usize; N],
    /// Positions from one element of the kernel to the next.
    pub dilation: [usize; N],
    /// Parts that the channels are split into, each convolved on its own.
    pub groups: usize,
    /// Positions that the result of a transposed convolution has beyond the fewest possible, at the end of each axis:
    /// below the stride. An input of a strided convolution may have had so many that no window began at.
    pub output_padding: [usize; N],
}

/// The options of a convolution along one axis.
pub type Conv1dOptions = ConvOptions<1>;
/// The options of a convolution of images.
pub type Conv2dOptions = ConvOptions<2>;
/// The options of a convolution of volumes.
pub type Conv3dOptions = ConvOptions<3>;

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> ConvOptions<N> {
        ConvOptions { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1, output_padding: [0; N] }
    }
}

sliding!(ConvOptions);

impl<const N: usize> ConvOptions<N> {
    /// Stride 1, no padding, dilation 1, one group.
    pub fn new() -> ConvOptions<N> {
        ConvOptions::default()
    }

    /// Sets how many parts the channels are split into.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets how many positions the result of a transposed convolution has beyond the fewest possible.
    pub fn output_padding(mut self, padding: impl Into<Sizes<N>>) -> Self {
        self.output_padding = padding.into().0;
        self
    }

    /// Sets the padding with which, at stride 1, the result of a kernel of this size is as large as the input. The
    /// dilation is that set before.
    ///
    /// # Panics
    /// If the kernel spans an even number of positions: no padding that is the same at both ends does.
    #[track_caller]
    pub fn same(mut self, kernel: impl Into<Sizes<N>>) -> Self {
        for (i, size) in kernel.into().0.into_iter().enumerate() {
            let reach = size.saturating_sub(1).saturating_mul(self.dilation[i]);
            assert!(
                reach.is_multiple_of(2),
                "same: a kernel of {size} with dilation {} spans an even number of positions\n  help: take an odd \
                 kernel, or pad one end first with pad()",
                self.dilation[i]
            );
            self.padding[i] = reach / 2;
        }
        self
    }

    pub(super) fn attrs(self) -> Attrs {
        let attrs = attrs! { stride: self.stride, padding: self.padding, dilation: self.dilation, groups: self.groups };
        if self.output_padding == [0; N] { attrs } else { attrs.with("output_padding", self.output_padding) }
    }
}

/// The convolutions along one, two and three axes.
static CONVOLUTIONS: [&Op; 3] = [&CONV1D, &CONV2D, &CONV3D];

/// The transposed convolutions along one, two and three axes.
static TRANSPOSED: [&Op; 3] = [&CONV_TRANSPOSE1D, &CONV_TRANSPOSE2D, &CONV_TRANSPOSE3D];

/// The number of groups.
fn groups(attrs: &Attrs) -> Result<usize> {
    match attrs.int("groups") {
        groups @ 1.. => Ok(groups as usize),
        groups => Err(Error::new(format!("the number of groups is {groups}"))
            .kind_of(ErrorKind::Value)
            .help("one group convolves all channels together")),
    }
}

/// Checks the ranks of what is convolved along `n` axes and of the weight.
fn check_ranks(x: &Shape, w: &Shape, n: usize, weight: &str) -> Result<()> {
    let names = window::axis_names(n);
    if x.rank() != n + 2 {
        let e = Error::new(format!("input has rank {}, not {}: batch, channels, {names}", x.rank(), n + 2));
        return Err(match x.rank() == n + 1 {
            true => e.help("for a single sample, add the batch axis: input.unsqueeze(0)"),
            false => e.help(format!("bring it to [batch, channels, {names}]")),
        });
    }
    if w.rank() != n + 2 {
        return Err(Error::new(format!("weight has rank {}, not {}", w.rank(), n + 2))
            .help(format!("its axes are {weight}, {names} of the kernel")));
    }
    Ok(())
}

/// The help for channels that are not where they should be.
fn channels_last(x: &Shape, n: usize, channels: Option<usize>) -> Option<String> {
    let order: Vec<usize> = [0, n + 1].into_iter().chain(1..=n).collect();
    (x.last().copied() == channels)
        .then(|| format!("the channels come before {}: input.permute({order:?})", window::axis_names(n)))
}

/// Checks the shapes of a convolution along `n` axes, and returns what the kernels need, and the shape of the result.
fn sizes(x: &Shape, w: &Shape, n: usize, attrs: &Attrs) -> Result<(Conv, Shape)> {
    let groups = groups(attrs)?;
    check_ranks(x, w, n, "output channels, input channels of a group,")?;
    let channels = w[1].checked_mul(groups);
    if Some(x[1]) != channels {
        let of = if groups > 1 { format!(" in each of {groups} groups") } else { String::new() };
        let e = Error::new(format!("channels differ: {} (axis 1 of input) and {} (axis 1 of weight){of}", x[1], w[1]));
        return Err(e.help(
            channels_last(x, n, channels).unwrap_or_else(|| {
                "axis 1 of weight times the number of groups is the number of input channels".into()
            }),
        ));
    }
    if !w[0].is_multiple_of(groups) {
        return Err(Error::new(format!("{groups} groups do not divide {} output channels (axis 0 of weight)", w[0]))
            .help("every group makes the same number of output channels"));
    }
    if attrs.get("output_padding").is_some() {
        return Err(Error::new("output_padding is for transposed convolutions").kind_of(ErrorKind::Value));
    }
    let windows = window::windows(x, n, window::last_sizes(w, n), attrs)?;
    let shape = window::with_last(&[&[x[0], w[0]], &x[2..]].concat().as_slice().into(), n, windows.map(|w| w.output))?;
    Ok((Conv { images: x[0], groups, channels: w[1], filters: w[0] / groups, windows }, shape))
}

/// Checks the shapes of a transposed convolution along `n` axes, and returns the convolution that it is the transpose
/// of, and the shape of the result.
fn transposed_sizes(x: &Shape, w: &Shape, n: usize, attrs: &Attrs) -> Result<(Conv, Shape)> {
    let groups = groups(attrs)?;
    check_ranks(x, w, n, "input channels, output channels of a group,")?;
    if x[1] != w[0] {
        let e = Error::new(format!("channels differ: {} (axis 1 of input) and {} (axis 0 of weight)", x[1], w[0]));
        return Err(e.help(channels_last(x, n, Some(w[0])).unwrap_or_else(|| {
            "the weight of a transposed convolution has the input channels first: weight.transpose(0, 1)".into()
        })));
    }
    if !w[0].is_multiple_of(groups) {
        return Err(Error::new(format!("{groups} groups do not divide {} input channels (axis 0 of weight)", w[0]))
            .help("every group takes the same number of input channels"));
    }
    let more = window::numbers(attrs, "output_padding", n, 0)?;
    let stride = window::numbers(attrs, "stride", n, 1)?;
    let (padding, dilation) = (window::numbers(attrs, "padding", n, 0)?, window::numbers(attrs, "dilation", n, 1)?);
    let kernel = window::last_sizes(w, n);
    let mut out = vec![x[0] as isize, w[1].checked_mul(groups).map_or(-1, |c| c as isize)];
    for i in 3 - n..3 {
        let (axis, wide) = (n + i - 1, |v: usize| v as i128);
        if more[i] >= stride[i].max(1) {
            return Err(Error::new(format!(
                "the output padding {} along axis {axis} is not below the stride {}",
                more[i], stride[i]
            ))
            .kind_of(ErrorKind::Value)
            .help("it chooses among the sizes that a convolution of that stride maps to this one"));
        }
        let span = wide(dilation[i]) * (wide(kernel[i]) - 1) + 1;
        let size = (wide(x[axis]) - 1) * wide(stride[i]) - 2 * wide(padding[i]) + span + wide(more[i]);
        out.push(isize::try_from(size).ok().filter(|&size| size >= 0).ok_or_else(|| {
            Error::new(format!("the result would have size {size} along axis {axis}, where input has {}", x[axis]))
                .help("take less padding, or a larger input")
        })?);
    }
    let out = checked_shape(&out)?;
    let (c, back) = sizes(&out, w, n, &window::without(attrs, &["output_padding"]))?;
    match back == *x {
        true => Ok((c, out)),
        false => Err(Error::new(format!("no convolution maps {out} to the input's shape {x}"))),
    }
}

/// Which of the three kernels to run.
#[derive(Clone, Copy)]
enum Part {
    Output,
    Transposed,
    WeightGrad,
}

/// Runs a kernel on dense inputs, in a precision that it computes in.
fn run(call: &Call<'_, '_>, op: &'static Op, part: Part, c: &Conv, shape: Shape) -> Result<Outputs> {
    let dtype = call.input(0).dtype();
    if dtype.size() == 2 {
        return in_single(call, op);
    }
    let inputs: Vec<AnyTensor> = (0..call.len()).map(|i| dense(call.input(i).clone())).collect();
    let par = Par::of(c.work() / 32);
    Ok(with_dtype!(precise dtype, T => {
        let slice = |i: usize| inputs[i].dense_slice::<T>();
        let bias = (inputs.len() > 2).then(|| slice(2));
        AnyTensor::filled(shape, |out: &mut [T]| match part {
            Part::Output => conv::conv(out, slice(0), slice(1), bias, c, &par),
            Part::Transposed => conv::transposed(out, slice(0), slice(1), bias, c, &par),
            Part::WeightGrad => conv::weight_grad(out, slice(0), slice(1), c, &par),
        })
    })
    .into())
}

/// Checks that all inputs are floats of one precision.
fn float_inputs(call: &Call<'_, '_>) -> Result<()> {
    match call.same_dtype()? {
        dtype if dtype.is_float() => Ok(()),
        dtype => Err(unsupported(dtype).help("convert first: x.to_float()")),
    }
}

/// Checks that a bias, where there is one, has a number for each output channel.
fn check_bias(call: &Call<'_, '_>, channels: usize) -> Result<()> {
    if call.len() < 3 || *call.input(2).shape() == [channels] {
        return Ok(());
    }
    Err(Error::new(format!("bias has shape {}, not [{channels}]", call.input(2).shape()))
        .help("it holds one number for each output channel"))
}

#[track_caller]
fn apply_part(op: &'static Op, lhs: &Tensor, rhs: &Tensor, attrs: Attrs) -> Tensor {
    or_panic(apply1(op, attrs, &mut [lhs.into(), rhs.into()]))
}

/// The gradient of a convolution along `n` axes with respect to its input, of shape `x`: the transposed convolution,
/// with as much output padding as the input had positions that no window began at.
#[track_caller]
fn input_grad(g: &Tensor, w: &Tensor, x: &Shape, n: usize, attrs: &Attrs) -> Tensor {
    let kernel = window::last_sizes(w.shape(), n);
    let windows = window::windows(x, n, kernel, attrs).expect("checked when it was recorded");
    let rest = |w: &Window| w.size + 2 * w.padding - (w.kernel - 1) * w.dilation - 1 - (w.output - 1) * w.stride;
    let rest: Vec<usize> = windows[3 - n..].iter().map(rest).collect();
    apply_part(TRANSPOSED[n - 1], g, w, attrs.clone().with("output_padding", &rest[..]))
}

/// The gradient of a convolution along `n` axes with respect to its weight, of shape `w`.
#[track_caller]
fn weight_grad(x: &Tensor, g: &Tensor, w: &Shape, n: usize, attrs: &Attrs) -> Tensor {
    apply_part(&CONV_WEIGHT_GRAD, x, g, attrs.clone().with("kernel", &w[w.rank() - n..]))
}

/// The sum over all but the channels.
fn bias_grad(g: &Tensor) -> Tensor {
    g.sum_axis((0..g.rank()).filter(|&axis| axis != 1).collect::<Vec<_>>())
}

/// Sizes of a random convolution: input, weight, result, and attributes.
fn sample<const N: usize>(g: &mut Gen) -> (Shape, Shape, Shape, Attrs) {
    // Along three axes as many elements as along two.
    let most = if N > 2 { 2 } else { 3 };
    let some = |g: &mut Gen, low: usize, n: usize| [0; N].map(|_| low + g.below(n));
    let (images, groups, channels, filters) = (g.below(3), 1 + g.below(2), 1 + g.below(2), 1 + g.below(2));
    let (kernel, stride, dilation) = (some(g, 1, most), some(g, 1, 2), some(g, 1, 2));
    let (padding, spare) = (some(g, 0, most), some(g, 0, most));
    let size = |i: usize| ((kernel[i] - 1) * dilation[i] + 1 + spare[i]).saturating_sub(2 * padding[i]).max(1);
    let x: Shape = [images, groups * channels].into_iter().chain((0..N).map(size)).collect();
    let w: Shape = [groups * filters, channels].into_iter().chain(kernel).collect();
    let attrs = ConvOptions { stride, padding, dilation, groups, output_padding: [0; N] }.attrs();
    let (_, out) = sizes(&x, &w, N, &attrs).expect("sizes chosen to fit");
    (x, w, out, attrs)
}

/// Random inputs of these shapes, with a bias for half of the samples.
fn with_bias(g: &mut Gen, x: Shape, w: Shape, channels: usize, attrs: Attrs) -> Vec<Sample> {
    let bias = (g.below(2) == 0).then(|| Shape::from([channels]));
    let shapes: Vec<Shape> = [x, w].into_iter().chain(bias).collect();
    vec![Sample::new(shapes.iter().map(|s| g.numbers(s, -1.0, 1.0)), attrs)]
}

/// The shape `lead` with `N` further axes of size `each`.
fn cube<const N: usize>(lead: [usize; 2], each: usize) -> Vec<usize> {
    lead.into_iter().chain([each; N]).collect()
}

/// The convolution along `N` axes.
const fn convolution<const N: usize>(name: &'static str) -> Op {
    fn forward<const N: usize>(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let (c, shape) = sizes(call.input(0).shape(), call.input(1).shape(), N, call.attrs())?;
        check_bias(call, shape[1])?;
        run(call, CONVOLUTIONS[N - 1], Part::Output, &c, shape)
    }
    fn vjp<const N: usize>(cx: &mut Vjp<'_>) {
        let (g, attrs) = (cx.g(), cx.attrs().clone());
        if cx.needs(0) {
            cx.give(0, input_grad(&g, &cx.input(1), cx.input_shape(0), N, &attrs));
        }
        if cx.needs(1) {
            cx.give(1, weight_grad(&cx.input(0), &g, cx.input_shape(1), N, &attrs));
        }
        if cx.needs(2) {
            cx.give(2, bias_grad(&g));
        }
    }
    fn misuses<const N: usize>() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let (x, w) = (cube::<N>([1, 2], 5), cube::<N>([4, 2], 3));
        let plain = ConvOptions::<N>::new();
        let case = |x: &[usize], w: &[usize], o: ConvOptions<N>, says| Misuse::new([z(x), z(w)], o.attrs(), says);
        let first =
            |number: usize, others: usize| std::array::from_fn::<usize, N, _>(|i| if i == 0 { number } else { others });
        let empty: Vec<usize> = [4, 2].into_iter().chain(first(0, 3)).collect();
        vec![
            case(&x[1..], &w, plain, "input.unsqueeze(0)"),
            case(&[5], &w, plain, "input has rank 1, not"),
            case(&x, &w[1..], plain, "weight has rank"),
            case(&x, &cube::<N>([4, 3], 3), plain, "channels differ: 2 (axis 1 of input) and 3 (axis 1 of weight)"),
            case(&[&cube::<N>([1, 5], 5)[..N + 1], &[2]].concat(), &w, plain, "input.permute([0, "),
            case(&x, &cube::<N>([3, 1], 3), plain.groups(2), "2 groups do not divide 3 output channels"),
            case(&x, &w, plain.groups(0), "the number of groups is 0"),
            case(&x, &w, plain.stride(first(0, 1)), "the stride along axis 2 is 0"),
            case(&x, &w, plain.dilation(0), "the dilation along axis 2 is 0"),
            case(&x, &w, plain.dilation(first(3, 1)), "the kernel spans 7 positions, and axis 2 has 5"),
            case(&x, &w, plain.padding(usize::MAX), "is negative or too large"),
            case(&x, &w, plain.padding(usize::MAX / 4), "the sizes along axis 2 overflow"),
            case(&x, &w, plain.padding(usize::MAX / 8), "more elements than memory can address"),
            case(&x, &w, plain.output_padding(1), "output_padding is for transposed convolutions"),
            case(&x, &empty, plain, "the kernel size along axis 2 is 0"),
            Misuse::new([z(&x), z(&w), z(&[3])], plain.attrs(), "bias has shape [3], not [4]"),
        ]
    }
    fn info<const N: usize>() -> OpInfo {
        OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: ["nn.functional.conv1d", "nn.functional.conv2d", "nn.functional.conv3d"][N - 1],
            precisions: FLOATS,
            samples: |g| {
                let (x, w, out, attrs) = sample::<N>(g);
                with_bias(g, x, w, out[1], attrs)
            },
            specials: |_| Vec::new(),
            misuses: misuses::<N>,
        }
    }
    Op {
        name,
        operands: &["input", "weight", "bias"],
        forward: forward::<N>,
        gradient: Gradient::Rule { saves: other_input, vjp: vjp::<N> },
        info: info::<N>,
    }
}

/// The operation of [`Tensor::conv1d`].
pub(crate) static CONV1D: Op = convolution::<1>("conv1d");

/// The operation of [`Tensor::conv2d`].
pub(crate) static CONV2D: Op = convolution::<2>("conv2d");

/// The operation of [`Tensor::conv3d`].
pub(crate) static CONV3D: Op = convolution::<3>("conv3d");

/// The transposed convolution along `N` axes.
const fn transposed_convolution<const N: usize>(name: &'static str) -> Op {
    fn forward<const N: usize>(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let (c, shape) = transposed_sizes(call.input(0).shape(), call.input(1).shape(), N, call.attrs())?;
        check_bias(call, shape[1])?;
        run(call, TRANSPOSED[N - 1], Part::Transposed, &c, shape)
    }
    fn vjp<const N: usize>(cx: &mut Vjp<'_>) {
        let (g, attrs) = (cx.g(), window::without(cx.attrs(), &["output_padding"]));
        if cx.needs(0) {
            cx.give(0, apply_part(CONVOLUTIONS[N - 1], &g, &cx.input(1), attrs.clone()));
        }
        if cx.needs(1) {
            cx.give(1, weight_grad(&g, &cx.input(0), cx.input_shape(1), N, &attrs));
        }
        if cx.needs(2) {
            cx.give(2, bias_grad(&g));
        }
    }
    fn misuses<const N: usize>() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let (x, w) = (cube::<N>([1, 4], 5), cube::<N>([4, 2], 3));
        let plain = ConvOptions::<N>::new();
        let case = |x: &[usize], w: &[usize], o: ConvOptions<N>, says| Misuse::new([z(x), z(w)], o.attrs(), says);
        vec![
            case(&x[1..], &w, plain, "input.unsqueeze(0)"),
            case(&x, &w[1..], plain, "weight has rank"),
            case(&x, &cube::<N>([2, 4], 3), plain, "channels differ: 4 (axis 1 of input) and 2 (axis 0 of weight)"),
            case(&x, &w, plain.groups(3), "3 groups do not divide 4 input channels"),
            case(&x, &w, plain.stride(0), "the stride along axis 2 is 0"),
            case(
                &x,
                &w,
                plain.stride(2).output_padding(2),
                "the output padding 2 along axis 2 is not below the stride 2",
            ),
            case(&x, &w, plain.padding(4), "the result would have size -1 along axis 2, where input has 5"),
            case(&x, &w, plain.stride(usize::MAX / 4), "the result would have size"),
            Misuse::new([z(&x), z(&w), z(&[3])], plain.attrs(), "bias has shape [3], not [2]"),
        ]
    }
    fn info<const N: usize>() -> OpInfo {
        let names =
            ["nn.functional.conv_transpose1d", "nn.functional.conv_transpose2d", "nn.functional.conv_transpose3d"];
        OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: names[N - 1],
            precisions: FLOATS,
            samples: |g| {
                let (_, w, out, attrs) = sample::<N>(g);
                let stride = attrs.ints("stride");
                let more = std::array::from_fn::<usize, N, _>(|i| g.below(stride[i] as usize));
                let attrs = attrs.with("output_padding", more);
                let (_, x) = transposed_sizes(&out, &w, N, &attrs).expect("sizes chosen to fit");
                with_bias(g, out, w, x[1], attrs)
            },
            specials: |_| Vec::new(),
            misuses: misuses::<N>,
        }
    }
    Op {
        name,
        operands: &["input", "weight", "bias"],
        forward: forward::<N>,
        gradient: Gradient::Rule { saves: other_input, vjp: vjp::<N> },
        info: info::<N>,
    }
}

/// The operation of [`Tensor::conv_transpose1d`].
pub(crate) static CONV_TRANSPOSE1D: Op = transposed_convolution::<1>("conv_transpose1d");

/// The operation of [`Tensor::conv_transpose2d`].
pub(crate) static CONV_TRANSPOSE2D: Op = transposed_convolution::<2>("conv_transpose2d");

/// The operation of [`Tensor::conv_transpose3d`].
pub(crate) static CONV_TRANSPOSE3D: Op = transposed_convolution::<3>("conv_transpose3d");

/// The gradient of a convolution along any number of axes with respect to its weight, from the input and the gradient of
/// the result.
pub(crate) static CONV_WEIGHT_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let (x, g) = (call.input(0).shape(), call.input(1).shape());
        let kernel = call.attrs().ints("kernel");
        if kernel.len() > 3 {
            return Err(Error::new(format!(
                "a kernel of {} axes, and there are convolutions of up to 3",
                kernel.len()
            )));
        }
        let (channels, filters) = (x.get(1).copied().unwrap_or(0), g.get(1).copied().unwrap_or(0));
        let channels = channels / groups(call.attrs())?;
        let w = [filters as isize, channels as isize].into_iter().chain(kernel.iter().copied());
        let w = checked_shape(&w.collect::<Vec<_>>())?;
        let (c, out) = sizes(x, &w, kernel.len(), call.attrs())?;
        if *g != out {
            return Err(Error::new(format!("the gradient has shape {g}, and the result of the convolution {out}")));
        }
        run(call, &CONV_WEIGHT_GRAD, Part::WeightGrad, &c, w)
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (u, n) = (cx.g(), cx.attrs().ints("kernel").len());
        let attrs = window::without(cx.attrs(), &["kernel"]);
        if cx.needs(0) {
            cx.give(0, input_grad(&cx.input(1), &u, cx.input_shape(0), n, &attrs));
        }
        if cx.needs(1) {
            cx.give(1, apply_part(CONVOLUTIONS[n - 1], &cx.input::<Float>(0), &u, attrs));
        }
    }
    fn any_sample(g: &mut Gen) -> (Shape, Shape, Shape, Attrs) {
        match g.below(3) {
            0 => sample::<1>(g),
            1 => sample::<2>(g),
            _ => sample::<3>(g),
        }
    }
    Op {
        name: "conv_weight_grad",
        operands: &["input", "gradient"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: "nn.grad.conv2d_weight",
            precisions: FLOATS,
            samples: |g| {
                let (x, w, out, attrs) = any_sample(g);
                let inputs = [g.numbers(&x, -1.0, 1.0), g.numbers(&out, -1.0, 1.0)];
                vec![Sample::new(inputs, attrs.with("kernel", &w[2..]))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![Misuse::new(
                    [Tensor::zeros([1, 2, 5, 5]).into(), Tensor::zeros([1, 4, 3, 3]).into()],
                    Conv2dOptions::new().attrs().with("kernel", [2usize, 3]),
                    "the gradient has shape [1, 4, 3, 3], and the result of the convolution [1, 4, 4, 3]",
                )]
            },
        },
    }
};

#[track_caller]
fn convolved<const N: usize>(
    op: &'static Op,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvOptions<N>,
) -> Result<Tensor> {
    match bias {
        None => apply1(op, options.attrs(), &mut [x.into(), weight.into()]),
        Some(bias) => apply1(op, options.attrs(), &mut [x.into(), weight.into(), bias.into()]),
    }
}

twin! {
    impl [] Tensor {
        /// The convolution of sequences `[N, C, L]` with filters `[O, C / groups, k]` (not flipped, so strictly a
        /// cross-correlation), plus a bias `[O]` where given: `[N, O, L']` with
        /// `L' = (L + 2 padding - dilation (k - 1) - 1) / stride + 1`, rounded down.
        ///
        /// 16-bit floats accumulate in `F32`.
        ///
        /// # Panics
        /// If ranks, channels, groups or precisions do not fit, the kernel is larger than the padded axis, or a stride,
        /// dilation, kernel size or the number of groups is 0.
        ///
        /// ```
        /// use wengert_tensor::{Conv1dOptions, tensor};
        /// let (x, w) = (tensor![[[1.0, 2.0, 4.0, 8.0]]], tensor![[[-1.0, 1.0]]]);
        /// assert_eq!(x.conv1d(&w, None, Conv1dOptions::new()).to_vec::<f32>(), [1.0, 2.0, 4.0]);
        /// ```
        pub fn conv1d / try_conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv1dOptions) -> Tensor {
            convolved(&CONV1D, self, weight, bias, options)
        }

        /// The convolution of images `[N, C, H, W]` with filters `[O, C / groups, kH, kW]` (not flipped, so strictly a
        /// cross-correlation), plus a bias `[O]` where given: `[N, O, H', W']` with
        /// `H' = (H + 2 padding - dilation (kH - 1) - 1) / stride + 1`, rounded down, and likewise `W'`.
        ///
        /// 16-bit floats accumulate in `F32`.
        ///
        /// # Panics
        /// If ranks, channels, groups or precisions do not fit, the kernel is larger than the padded image, or a stride,
        /// dilation, kernel size or the number of groups is 0.
        ///
        /// ```
        /// use wengert_tensor::{Conv2dOptions, Tensor};
        /// let (x, w) = (Tensor::ones([1, 1, 3, 3]), Tensor::ones([2, 1, 3, 3]));
        /// assert_eq!(x.conv2d(&w, None, Conv2dOptions::new()).to_vec::<f32>(), [9.0, 9.0]);
        /// let y = x.conv2d(&w, Some(&Tensor::ones([2])), Conv2dOptions::new().padding(1));
        /// assert_eq!(y.shape().to_string(), "[1, 2, 3, 3]");
        /// assert_eq!(y.to_vec::<f32>()[0], 5.0);
        /// ```
        pub fn conv2d / try_conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Tensor {
            convolved(&CONV2D, self, weight, bias, options)
        }

        /// The convolution of volumes `[N, C, D, H, W]` with filters `[O, C / groups, kD, kH, kW]`, plus a bias `[O]`
        /// where given; sizes as for [`conv2d`](Self::conv2d).
        ///
        /// # Panics
        /// Where [`conv2d`](Self::conv2d) panics.
        ///
        /// ```
        /// use wengert_tensor::{Conv3dOptions, Tensor};
        /// let (x, w) = (Tensor::ones([1, 2, 4, 4, 4]), Tensor::ones([1, 2, 3, 3, 3]));
        /// let y = x.conv3d(&w, None, Conv3dOptions::new().stride([1, 2, 2]));
        /// assert_eq!((y.shape().to_string().as_str(), y.max().item()), ("[1, 1, 2, 1, 1]", 54.0));
        /// ```
        pub fn conv3d / try_conv3d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv3dOptions) -> Tensor {
            convolved(&CONV3D, self, weight, bias, options)
        }

        /// The transposed convolution of sequences `[N, C, L]` with filters `[C, O / groups, k]`, plus a bias `[O]`
        /// where given: `[N, O, L']` with
        /// `L' = (L - 1) stride - 2 padding + dilation (k - 1) + 1 + output_padding`.
        ///
        /// It is the transpose of [`conv1d`](Self::conv1d) with the same options as a linear map, and so its gradient
        /// with respect to the input: each input element adds the filter, times itself, to the result.
        ///
        /// # Panics
        /// If ranks, channels, groups or precisions do not fit, the result would have a negative size, the output
        /// padding is not below the stride, or a stride, dilation, kernel size or the number of groups is 0.
        ///
        /// ```
        /// use wengert_tensor::{Conv1dOptions, tensor};
        /// let (x, w) = (tensor![[[1.0, 10.0]]], tensor![[[1.0, 2.0, 3.0]]]);
        /// let y = x.conv_transpose1d(&w, None, Conv1dOptions::new().stride(2));
        /// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 13.0, 20.0, 30.0]);
        /// ```
        pub fn conv_transpose1d / try_conv_transpose1d(
            &self,
            weight: &Tensor,
            bias: Option<&Tensor>,
            options: Conv1dOptions,
        ) -> Tensor {
            convolved(&CONV_TRANSPOSE1D, self, weight, bias, options)
        }

        /// The transposed convolution of images `[N, C, H, W]` with filters `[C, O / groups, kH, kW]`, plus a bias `[O]`
        /// where given: `[N, O, H', W']` with `H' = (H - 1) stride - 2 padding + dilation (kH - 1) + 1 +
        /// output_padding`, and likewise `W'`. See [`conv_transpose1d`](Self::conv_transpose1d).
        ///
        /// # Panics
        /// Where [`conv_transpose1d`](Self::conv_transpose1d) panics.
        ///
        /// ```
        /// use wengert_tensor::{Conv2dOptions, Tensor};
        /// let (x, w) = (Tensor::ones([1, 3, 7, 7]), Tensor::ones([3, 8, 3, 3]));
        /// let doubled = Conv2dOptions::new().stride(2).padding(1).output_padding(1);
        /// assert_eq!(x.conv_transpose2d(&w, None, doubled).shape().to_string(), "[1, 8, 14, 14]");
        /// ```
        pub fn conv_transpose2d / try_conv_transpose2d(
            &self,
            weight: &Tensor,
            bias: Option<&Tensor>,
            options: Conv2dOptions,
        ) -> Tensor {
            convolved(&CONV_TRANSPOSE2D, self, weight, bias, options)
        }

        /// The transposed convolution of volumes `[N, C, D, H, W]` with filters `[C, O / groups, kD, kH, kW]`, plus a
        /// bias `[O]` where given. See [`conv_transpose1d`](Self::conv_transpose1d).
        ///
        /// # Panics
        /// Where [`conv_transpose1d`](Self::conv_transpose1d) panics.
        ///
        /// ```
        /// use wengert_tensor::{Conv3dOptions, Tensor};
        /// let (x, w) = (Tensor::ones([1, 1, 2, 2, 2]), Tensor::ones([1, 1, 2, 2, 2]));
        /// assert_eq!(x.conv_transpose3d(&w, None, Conv3dOptions::new()).max().item(), 8.0);
        /// ```
        pub fn conv_transpose3d / try_conv_transpose3d(
            &self,
            weight: &Tensor,
            bias: Option<&Tensor>,
            options: Conv3dOptions,
        ) -> Tensor {
            convolved(&CONV_TRANSPOSE3D, self, weight, bias, options)
        }
    }
}
