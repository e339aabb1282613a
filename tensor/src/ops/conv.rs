//! Convolution of images, and its gradients.
//!
//! The convolution is linear in the input and in the weight, and so are its two gradients in what they are computed
//! from: the three are each other's gradient rules.

use crate::attrs;
use crate::dispatch::{Arg, Attrs, Call, Gradient, Needs, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::conv::{self, Conv};
use crate::kind::Float;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::window::{self, Pair};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CONV2D, &CONV2D_INPUT_GRAD, &CONV2D_WEIGHT_GRAD];

/// How the kernel of [`Tensor::conv2d`] moves over the image.
///
/// ```
/// use wengert_tensor::Conv2dOptions;
/// let same = Conv2dOptions::new().padding(1);
/// let halved = Conv2dOptions::new().stride([2, 2]).padding([1, 1]);
/// assert_ne!(same, halved);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Positions from one window to the next, along height and width.
    pub stride: [usize; 2],
    /// Zeros around the image, above and below, left and right.
    pub padding: [usize; 2],
    /// Positions from one element of the kernel to the next.
    pub dilation: [usize; 2],
    /// Parts that the channels are split into, each convolved on its own.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Conv2dOptions {
        Conv2dOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl Conv2dOptions {
    /// Stride 1, no padding, dilation 1, one group.
    pub fn new() -> Conv2dOptions {
        Conv2dOptions::default()
    }

    /// Sets how far one window is from the next.
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into().0;
        self
    }

    /// Sets how many zeros surround the image at each edge.
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into().0;
        self
    }

    /// Sets how far one element of the kernel is from the next.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    /// Sets how many parts the channels are split into.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    fn attrs(self) -> Attrs {
        attrs! { stride: self.stride, padding: self.padding, dilation: self.dilation, groups: self.groups }
    }
}

/// The attributes of the convolution itself, without those that only its gradients have.
fn options(attrs: &Attrs) -> Attrs {
    let kept = attrs.iter().filter(|(name, _)| !["size", "kernel"].contains(name));
    kept.fold(Attrs::NONE, |all, (name, value)| all.with(name, value.clone()))
}

/// Checks the shapes of a convolution, and returns what the kernels need, and the shape of the result.
fn sizes(x: &Shape, w: &Shape, attrs: &Attrs) -> Result<(Conv, Shape)> {
    let groups = groups(attrs)?;
    if x.rank() != 4 {
        let e = Error::new(format!("input has rank {}, not 4: batch, channels, height, width", x.rank()));
        return Err(match x.rank() {
            3 => e.help("for a single image, add the batch axis: input.unsqueeze(0)"),
            _ => e.help("bring it to [N, C, H, W]"),
        });
    }
    if w.rank() != 4 {
        return Err(Error::new(format!("weight has rank {}, not 4", w.rank()))
            .help("its axes are output channels, input channels of a group, height and width of the kernel"));
    }
    if Some(x[1]) != w[1].checked_mul(groups) {
        let of = if groups > 1 { format!(" in each of {groups} groups") } else { String::new() };
        let e = Error::new(format!("channels differ: {} (axis 1 of input) and {} (axis 1 of weight){of}", x[1], w[1]));
        return Err(match Some(x[3]) == w[1].checked_mul(groups) {
            true => e.help("the channels come before height and width: input.permute([0, 3, 1, 2])"),
            false => e.help("axis 1 of weight times the number of groups is the number of input channels"),
        });
    }
    if !w[0].is_multiple_of(groups) {
        return Err(Error::new(format!("{groups} groups do not divide {} output channels (axis 0 of weight)", w[0])));
    }
    let windows = window::windows([x[2], x[3]], 2, [w[2], w[3]], attrs)?;
    let [high, wide] = windows.map(|w| w.output);
    let shape = checked_shape(&[x[0], w[0], high, wide].map(|n| n as isize))?;
    Ok((Conv { images: x[0], groups, channels: w[1], filters: w[0] / groups, windows }, shape))
}

fn groups(attrs: &Attrs) -> Result<usize> {
    match attrs.int("groups") {
        groups @ 1.. => Ok(groups as usize),
        groups => Err(Error::new(format!("the number of groups is {groups}")).kind_of(ErrorKind::Value)),
    }
}

/// Which of the three kernels to run.
#[derive(Clone, Copy)]
enum Part {
    Output,
    InputGrad,
    WeightGrad,
}

/// Runs a kernel on dense inputs, in a precision that it computes in.
fn run(call: &Call<'_, '_>, part: Part, c: &Conv, shape: Shape) -> Result<Outputs> {
    let dtype = call.input(0).dtype();
    if dtype.size() == 2 {
        // 16-bit floats multiply and accumulate in F32.
        let up = |i| call.input(i).clone().with_edge(Default::default()).float().map(|t| t.to_dtype(DType::F32).into());
        let mut inputs = (0..call.len()).map(up).collect::<Result<Vec<Arg<'_>>>>()?;
        let op = match part {
            Part::Output => &CONV2D,
            Part::InputGrad => &CONV2D_INPUT_GRAD,
            Part::WeightGrad => &CONV2D_WEIGHT_GRAD,
        };
        let out: Tensor = apply1(op, call.attrs().clone(), &mut inputs)?;
        return Ok(smallvec::smallvec![out.try_to_dtype(dtype)?.into_any()]);
    }
    let inputs: Vec<AnyTensor> = (0..call.len()).map(|i| dense(call.input(i).clone())).collect();
    let n = shape.elements();
    let par = Par::of(c.work() / 32);
    let storage = with_dtype!(precise dtype, T => {
        let slice = |i: usize| {
            let t = &inputs[i];
            &t.storage().slice::<T>()[..t.elements()]
        };
        let mut storage = Storage::stale::<T>(n);
        let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
        match part {
            Part::Output => {
                let bias = (inputs.len() > 2).then(|| slice(2));
                conv::conv2d(out, slice(0), slice(1), bias, c, &par)
            }
            Part::InputGrad => conv::input_grad(out, slice(0), slice(1), c, &par),
            Part::WeightGrad => conv::weight_grad(out, slice(0), slice(1), c, &par),
        }
        storage
    });
    Ok(smallvec::smallvec![AnyTensor::dense(storage, shape, dtype)])
}

/// Checks that all inputs are floats of one precision.
fn float_inputs(call: &Call<'_, '_>) -> Result<()> {
    match call.same_dtype()? {
        dtype if dtype.is_float() => Ok(()),
        dtype => Err(unsupported(dtype).help("convert first: x.to_float()")),
    }
}

/// Checks that the gradient of the result has the result's shape.
fn same_as_output(g: &Shape, out: &Shape) -> Result<()> {
    match g == out {
        true => Ok(()),
        false => Err(Error::new(format!("the gradient has shape {g}, and the result of the convolution {out}"))),
    }
}

#[track_caller]
fn apply_part(op: &'static Op, lhs: &Tensor, rhs: &Tensor, attrs: Attrs) -> Tensor {
    or_panic(apply1(op, attrs, &mut [lhs.into(), rhs.into()]))
}

/// The two inputs of an operation that is linear in both: each one's gradient reads the other.
fn other_input(needs: Needs) -> Saves {
    let saves = if needs.has(0) { Saves::NONE.and_input(1) } else { Saves::NONE };
    if needs.has(1) { saves.and_input(0) } else { saves }
}

/// Sizes of a random convolution: input, weight, result, and attributes.
fn sample(g: &mut Gen) -> (Shape, Shape, Shape, Attrs) {
    let two = |g: &mut Gen, low: usize, n: usize| [low + g.below(n), low + g.below(n)];
    let (images, groups, channels, filters) = (g.below(3), 1 + g.below(2), 1 + g.below(2), 1 + g.below(2));
    let (kernel, stride, dilation) = (two(g, 1, 3), two(g, 1, 2), two(g, 1, 2));
    let (padding, spare) = (two(g, 0, 3), two(g, 0, 3));
    let size = |i: usize| ((kernel[i] - 1) * dilation[i] + 1 + spare[i]).saturating_sub(2 * padding[i]).max(1);
    let x = Shape::from([images, groups * channels, size(0), size(1)]);
    let w = Shape::from([groups * filters, channels, kernel[0], kernel[1]]);
    let attrs = Conv2dOptions { stride, padding, dilation, groups }.attrs();
    let (_, out) = sizes(&x, &w, &attrs).expect("sizes chosen to fit");
    (x, w, out, attrs)
}

/// The operation of [`Tensor::conv2d`].
pub(crate) static CONV2D: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let w = call.input(1).shape();
        let (c, shape) = sizes(call.input(0).shape(), w, call.attrs())?;
        if call.len() > 2 && *call.input(2).shape() != [w[0]] {
            let e = Error::new(format!("bias has shape {}, not [{}]", call.input(2).shape(), w[0]));
            return Err(e.help("it holds one number for each output channel (axis 0 of weight)"));
        }
        run(call, Part::Output, &c, shape)
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (g, attrs) = (cx.g(), options(cx.attrs()));
        if cx.needs(0) {
            let size: [usize; 2] = [cx.input_shape(0)[2], cx.input_shape(0)[3]];
            let attrs = attrs.clone().with("size", size);
            cx.give(0, apply_part(&CONV2D_INPUT_GRAD, &g, &cx.input::<Float>(1), attrs));
        }
        if cx.needs(1) {
            let kernel: [usize; 2] = [cx.input_shape(1)[2], cx.input_shape(1)[3]];
            let attrs = attrs.with("kernel", kernel);
            cx.give(1, apply_part(&CONV2D_WEIGHT_GRAD, &cx.input::<Float>(0), &g, attrs));
        }
        if cx.needs(2) {
            cx.give(2, g.sum_axis([0, 2, 3]));
        }
    }
    fn misuses() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let case =
            |x: &[usize], w: &[usize], options: Conv2dOptions, says| Misuse::new([z(x), z(w)], options.attrs(), says);
        let plain = Conv2dOptions::new();
        let (x, w) = ([1, 2, 5, 5], [4, 2, 3, 3]);
        vec![
            case(&[2, 5, 5], &w, plain, "input.unsqueeze(0)"),
            case(&[5, 5], &w, plain, "input has rank 2, not 4"),
            case(&x, &[4, 2, 3], plain, "weight has rank 3, not 4"),
            case(&x, &[4, 3, 3, 3], plain, "channels differ: 2 (axis 1 of input) and 3 (axis 1 of weight)"),
            case(&[1, 5, 5, 2], &w, plain, "input.permute([0, 3, 1, 2])"),
            case(&x, &[3, 1, 3, 3], plain.groups(2), "2 groups do not divide 3 output channels"),
            case(&x, &w, plain.groups(0), "the number of groups is 0"),
            case(&x, &w, plain.stride([1, 0]), "the stride along axis 3 is 0"),
            case(&x, &w, plain.dilation(0), "the dilation along axis 2 is 0"),
            case(&x, &w, plain.dilation([3, 1]), "the kernel spans 7 positions, and axis 2 has 5"),
            case(&x, &w, plain.padding([usize::MAX, 0]), "is negative or too large"),
            case(&x, &w, plain.padding(usize::MAX / 4), "the sizes along axis 2 overflow"),
            case(&x, &w, plain.padding(usize::MAX / 8), "more elements than memory can address"),
            case(&x, &[4, 2, 0, 3], plain, "the kernel size along axis 2 is 0"),
            Misuse::new([z(&x), z(&w), z(&[3])], plain.attrs(), "bias has shape [3], not [4]"),
        ]
    }
    Op {
        name: "conv2d",
        operands: &["input", "weight", "bias"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: "nn.functional.conv2d",
            precisions: FLOATS,
            samples: |g| {
                let (x, w, _, attrs) = sample(g);
                let bias = Shape::from([w[0]]);
                let shapes = if g.below(2) == 0 { vec![x, w] } else { vec![x, w, bias] };
                vec![Sample::new(shapes.iter().map(|s| g.numbers(s, -1.0, 1.0)), attrs)]
            },
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

/// The gradient of a convolution with respect to its input, from that of its result and the weight: the transposed
/// convolution.
pub(crate) static CONV2D_INPUT_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let (g, w) = (call.input(0).shape(), call.input(1).shape());
        let [high, wide] = window::size(call.attrs())?;
        let images = g.first().copied().unwrap_or(0);
        let channels = w.get(1).and_then(|c| c.checked_mul(groups(call.attrs()).ok()?)).unwrap_or(0);
        let x = checked_shape(&[images, channels, high, wide].map(|n| n as isize))?;
        let (c, out) = sizes(&x, w, call.attrs())?;
        same_as_output(g, &out)?;
        run(call, Part::InputGrad, &c, x)
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (u, attrs) = (cx.g(), options(cx.attrs()));
        if cx.needs(0) {
            cx.give(0, apply_part(&CONV2D, &u, &cx.input::<Float>(1), attrs.clone()));
        }
        if cx.needs(1) {
            let kernel: [usize; 2] = [cx.input_shape(1)[2], cx.input_shape(1)[3]];
            let attrs = attrs.with("kernel", kernel);
            cx.give(1, apply_part(&CONV2D_WEIGHT_GRAD, &u, &cx.input::<Float>(0), attrs));
        }
    }
    Op {
        name: "conv2d_input_grad",
        operands: &["gradient", "weight"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: "nn.grad.conv2d_input",
            precisions: FLOATS,
            samples: |g| {
                let (x, w, out, attrs) = sample(g);
                let size: [usize; 2] = [x[2], x[3]];
                let inputs = [g.numbers(&out, -1.0, 1.0), g.numbers(&w, -1.0, 1.0)];
                vec![Sample::new(inputs, attrs.with("size", size))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![Misuse::new(
                    [Tensor::zeros([1, 4, 3, 3]).into(), Tensor::zeros([4, 2, 3, 3]).into()],
                    Conv2dOptions::new().attrs().with("size", [6usize, 5]),
                    "the gradient has shape [1, 4, 3, 3], and the result of the convolution [1, 4, 4, 3]",
                )]
            },
        },
    }
};

/// The gradient of a convolution with respect to its weight, from the input and the gradient of the result.
pub(crate) static CONV2D_WEIGHT_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        float_inputs(call)?;
        let (x, g) = (call.input(0).shape(), call.input(1).shape());
        let [high, wide] = window::kernel(call.attrs())?;
        let (channels, filters) = (x.get(1).copied().unwrap_or(0), g.get(1).copied().unwrap_or(0));
        let channels = channels / groups(call.attrs())?;
        let w = checked_shape(&[filters, channels, high, wide].map(|n| n as isize))?;
        let (c, out) = sizes(x, &w, call.attrs())?;
        same_as_output(g, &out)?;
        run(call, Part::WeightGrad, &c, w)
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (u, attrs) = (cx.g(), options(cx.attrs()));
        if cx.needs(0) {
            let size: [usize; 2] = [cx.input_shape(0)[2], cx.input_shape(0)[3]];
            let attrs = attrs.clone().with("size", size);
            cx.give(0, apply_part(&CONV2D_INPUT_GRAD, &cx.input::<Float>(1), &u, attrs));
        }
        if cx.needs(1) {
            cx.give(1, apply_part(&CONV2D, &cx.input::<Float>(0), &u, attrs));
        }
    }
    Op {
        name: "conv2d_weight_grad",
        operands: &["input", "gradient"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: "nn.grad.conv2d_weight",
            precisions: FLOATS,
            samples: |g| {
                let (x, w, out, attrs) = sample(g);
                let kernel: [usize; 2] = [w[2], w[3]];
                let inputs = [g.numbers(&x, -1.0, 1.0), g.numbers(&out, -1.0, 1.0)];
                vec![Sample::new(inputs, attrs.with("kernel", kernel))]
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

impl Tensor {
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
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Tensor {
        or_panic(self.try_conv2d(weight, bias, options))
    }

    /// Fallible form of [`conv2d`](Self::conv2d).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Tensor> {
        match bias {
            None => apply1(&CONV2D, options.attrs(), &mut [self.into(), weight.into()]),
            Some(bias) => apply1(&CONV2D, options.attrs(), &mut [self.into(), weight.into(), bias.into()]),
        }
    }
}
