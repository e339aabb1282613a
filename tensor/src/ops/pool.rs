//! Pooling: the largest or the mean element of windows over the last axes.
//!
//! The operations differ in how many axes there are, and in whether windows slide or share out the axes evenly.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::pool::{self, Axis, Span};
use crate::kind::Int;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::ops::window::{self, Sizes, sliding};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::demand_room;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[
    &MAX_POOL1D,
    &MAX_POOL2D,
    &MAX_POOL3D,
    &ADAPTIVE_MAX_POOL1D,
    &ADAPTIVE_MAX_POOL2D,
    &MAX_POOL_GRAD,
    &MAX_POOL_PICK,
    &AVG_POOL1D,
    &AVG_POOL2D,
    &AVG_POOL3D,
    &ADAPTIVE_AVG_POOL1D,
    &ADAPTIVE_AVG_POOL2D,
    &AVG_POOL_GRAD,
];

/// How the window of a pooling operation lies and moves along `N` axes: `2` and `[2, 3]` stand for windows of that size
/// side by side.
///
/// ```
/// use wengert_tensor::Pool2d;
/// assert_eq!(Pool2d::new(3).stride(2).padding(1).stride, [2, 2]);
/// assert_eq!(Pool2d::from([2, 3]).stride, [2, 3]);
/// assert_eq!(wengert_tensor::Pool3d::new(2).dilation([1, 2, 1]).dilation, [1, 2, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<const N: usize> {
    /// Sizes of the window.
    pub kernel: [usize; N],
    /// Positions from one window to the next: those of the window unless set.
    pub stride: [usize; N],
    /// Positions added at both ends of each axis: they hold negative infinity for the maximum, 0 for the mean.
    pub padding: [usize; N],
    /// Positions from one element of the window to the next.
    pub dilation: [usize; N],
    /// Whether a last window may reach over the end of the padded axis, if it begins before.
    pub ceil_mode: bool,
    /// Whether positions in the padding count in a mean: they do unless set.
    pub count_include_pad: bool,
}

/// Windows along one axis.
pub type Pool1d = Pool<1>;
/// Windows of images.
pub type Pool2d = Pool<2>;
/// Windows of volumes.
pub type Pool3d = Pool<3>;

sliding!(Pool);

impl<const N: usize> Pool<N> {
    /// Windows of this size, side by side.
    pub fn new(kernel: impl Into<Sizes<N>>) -> Pool<N> {
        let kernel = kernel.into().0;
        let (padding, dilation) = ([0; N], [1; N]);
        Pool { kernel, stride: kernel, padding, dilation, ceil_mode: false, count_include_pad: true }
    }

    /// Sets whether a last window may reach over the end of the padded axis, if it begins before.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Sets whether positions in the padding count in a mean.
    pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    fn attrs(self) -> Attrs {
        attrs! {
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
        }
    }
}

impl<const N: usize> From<usize> for Pool<N> {
    fn from(kernel: usize) -> Pool<N> {
        Pool::new(kernel)
    }
}

impl<const N: usize> From<[usize; N]> for Pool<N> {
    fn from(kernel: [usize; N]) -> Pool<N> {
        Pool::new(kernel)
    }
}

fn check_rank(shape: &Shape, n: usize) -> Result<()> {
    if shape.rank() >= n {
        return Ok(());
    }
    let names = window::axis_names(n);
    Err(Error::new(format!("needs rank {n} or more, not {}", shape.rank()))
        .help(format!("windows lie over the last axes: {names}")))
}

fn check_float(dtype: DType) -> Result<()> {
    match dtype.is_float() {
        true => Ok(()),
        false => Err(unsupported(dtype).help("convert first: x.to_float()")),
    }
}

/// The windows that the attributes lay over the last `n` axes of an input of this shape, each of which meets it
/// somewhere, and the shape of the result.
fn windows(shape: &Shape, n: usize, attrs: &Attrs) -> Result<([Axis; 3], Shape)> {
    check_rank(shape, n)?;
    let sizes = window::last_sizes(shape, n);
    if attrs.get("output").is_some() {
        let output = window::numbers(attrs, "output", n, 1)?;
        if let Some(i) = (0..3).find(|&i| sizes[i] == 0 && output[i] > 0) {
            let axis = shape.rank() + i - 3;
            return Err(Error::new(format!("axis {axis} is empty, and {} windows are to cover it", output[i]))
                .help("windows need something to cover; only batch and channels may be empty"));
        }
        let out = window::with_last(shape, n, output)?;
        // Windows are laid out only where there is something to pool, or there could be any number of them.
        demand_room::<Span>(output.iter().copied().max().unwrap_or(0))?;
        let axis = |i| if out.elements() > 0 { Axis::adaptive(sizes[i], output[i]) } else { Axis::empty(sizes[i]) };
        return Ok(([0, 1, 2].map(axis), out));
    }
    let windows = window::windows(shape, n, window::numbers(attrs, "kernel", n, 1)?, attrs)?;
    let out = window::with_last(shape, n, windows.map(|w| w.output))?;
    for (i, w) in windows.iter().enumerate() {
        let reach = (w.kernel - 1) * w.dilation;
        // Only windows that reach over an end of the axis may miss it.
        let edge = (w.padding + reach).div_ceil(w.stride) + 1;
        let mut edges = (0..w.output).take(edge).chain((0..w.output).rev().take(edge));
        if w.padding > reach || edges.any(|o| w.inside(o).is_empty()) {
            return Err(Error::new(format!(
                "with padding {}, some windows lie outside axis {}, which has size {}",
                w.padding,
                shape.rank() + i - 3,
                w.size
            ))
            .kind_of(ErrorKind::Value)
            .help("pad by half the window at most"));
        }
    }
    if out.elements() == 0 {
        return Ok((sizes.map(Axis::empty), out));
    }
    demand_room::<Span>(windows.iter().map(|w| w.output).max().unwrap_or(0))?;
    Ok((windows.map(|w| Axis::sliding(&w, attrs.bool("count_include_pad"))), out))
}

/// A random input shape and the attributes of a pooling over its last `N` axes.
fn sample<const N: usize, const ADAPTIVE: bool>(g: &mut Gen) -> (Shape, Attrs) {
    let some = |g: &mut Gen, low: usize, n: usize| [0; N].map(|_| low + g.below(n));
    // Along three axes as many elements as along two.
    let most = if N > 2 { 2 } else { 3 };
    let lead = g.shape(0, 2);
    if ADAPTIVE {
        let output = some(g, 1, 4);
        let sizes = some(g, 1, 5);
        return (lead.iter().copied().chain(sizes).collect(), attrs! { output: output });
    }
    let (kernel, stride, dilation) = (some(g, 1, most), some(g, 1, most), some(g, 1, 2));
    let padding = std::array::from_fn(|i| if dilation[i] == 1 { g.below(kernel[i] / 2 + 1) } else { 0 });
    let spare = some(g, 0, most + 1);
    let size = |i: usize| ((kernel[i] - 1) * dilation[i] + 1 + spare[i] - 2 * padding[i]).max(1);
    let shape = lead.iter().copied().chain((0..N).map(size)).collect();
    let (ceil_mode, count_include_pad) = (g.below(2) == 0, g.below(2) == 0);
    (shape, Pool::<N> { kernel, stride, padding, dilation, ceil_mode, count_include_pad }.attrs())
}

fn misuses<const N: usize, const ADAPTIVE: bool>() -> Vec<Misuse> {
    let case = |shape: &[usize], attrs: Attrs, says| Misuse::new([Tensor::zeros(shape).into()], attrs, says);
    let shape = |size: usize| -> Vec<usize> { [1].into_iter().chain([size; N]).collect() };
    if ADAPTIVE {
        let output = |size: usize| attrs! { output: [size; N] };
        return vec![
            case(&[4; 2][..N - 1], output(2), "needs rank"),
            case(&shape(0), output(2), "axis 1 is empty, and 2 windows are to cover it"),
            case(&shape(4), output(usize::MAX / 4), "more elements than memory can address"),
            case(&shape(4), attrs! { output: [2usize; 4] }, "output has 4 numbers"),
            Misuse::new([crate::Int::zeros(&shape(4)[..]).into()], output(2), "precision I64 is not supported"),
        ];
    }
    let first = |number: usize| std::array::from_fn::<usize, N, _>(|i| if i == 0 { number } else { 1 });
    vec![
        case(&[4; 2][..N - 1], Pool::<N>::new(2).attrs(), "needs rank"),
        case(&shape(4), Pool::<N>::new(0).attrs(), "the kernel size along axis 1 is 0"),
        case(&shape(4), Pool::<N>::new(2).stride(first(0)).attrs(), "the stride along axis 1 is 0"),
        case(&shape(2), Pool::<N>::new(3).attrs(), "the kernel spans 3 positions, and axis 1 has 2"),
        case(&shape(4), Pool::<N>::new(2).padding(2).attrs(), "some windows lie outside axis 1"),
        Misuse::new(
            [crate::Int::zeros(&shape(4)[..]).into()],
            Pool::<N>::new(2).attrs(),
            "precision I64 is not supported",
        ),
    ]
}

/// The maximum over windows along `N` axes. Its second output, where the gradient rule will read it, is where in each
/// plane the largest elements lie.
const fn max_pool<const N: usize, const ADAPTIVE: bool>(name: &'static str) -> Op {
    fn forward<const N: usize>(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = dense(call.input(0).clone());
        check_float(x.dtype())?;
        let (axes, shape) = windows(x.shape(), N, call.attrs())?;
        if axes.iter().map(|a| a.size).product::<usize>() > i32::MAX as usize {
            return Err(Error::new("a plane has more than 2147483647 elements").kind_of(ErrorKind::Value));
        }
        let par = Par::of(x.elements());
        let mut places = call.saves_output(1).then(|| AnyTensor::stale(shape.clone(), DType::I32));
        let out = with_dtype!(float x.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            let places = places.as_mut().map(AnyTensor::fresh_slice);
            pool::max_pool(out, places, x.dense_slice(), &axes, &par);
        }));
        Ok([Some(out), places].into_iter().flatten().collect())
    }
    fn vjp<const N: usize>(cx: &mut Vjp<'_>) {
        let (g, places) = (cx.g(), cx.output::<Int>(1));
        let x = cx.input_shape(0).clone();
        cx.give(0, put(&g, &places, &x[x.rank() - N..]));
    }
    fn specials<const N: usize, const ADAPTIVE: bool>(g: &mut Gen) -> Vec<Sample> {
        let attrs = if ADAPTIVE {
            attrs! { output: [1usize; N] }
        } else {
            Pool::<N>::new(2).attrs()
        };
        let shape = Shape::from(&[2; N][..]);
        let mut gradient = vec![0.0; shape.elements()];
        // Of equals the first, and of NaN the first.
        [[1.0, 1.0, 0.0], [0.0, f64::NAN, f64::NAN]]
            .into_iter()
            .enumerate()
            .map(|(at, values)| {
                let filled: Vec<f64> = values.into_iter().chain([1.0; 8]).take(shape.elements()).collect();
                gradient.fill(0.0);
                gradient[at] = 1.0;
                Sample::new([g.tensor(&filled, &shape)], attrs.clone()).with_gradient([gradient.clone()])
            })
            .collect()
    }
    fn info<const N: usize, const ADAPTIVE: bool>() -> OpInfo {
        let names = ["nn.functional.max_pool1d", "nn.functional.max_pool2d", "nn.functional.max_pool3d"];
        let adaptive = ["nn.functional.adaptive_max_pool1d", "nn.functional.adaptive_max_pool2d"];
        OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: if ADAPTIVE { adaptive[N - 1] } else { names[N - 1] },
            precisions: FLOATS,
            samples: |g| {
                let (shape, attrs) = sample::<N, ADAPTIVE>(g);
                vec![Sample::new([g.distinct(&shape)], attrs)]
            },
            specials: specials::<N, ADAPTIVE>,
            misuses: misuses::<N, ADAPTIVE>,
        }
    }
    Op {
        name,
        operands: &["input"],
        forward: forward::<N>,
        gradient: Gradient::Rule { saves: |_| Saves::NONE.and_output(1), vjp: vjp::<N> },
        info: info::<N, ADAPTIVE>,
    }
}

/// The operation of [`Tensor::max_pool1d`].
pub(crate) static MAX_POOL1D: Op = max_pool::<1, false>("max_pool1d");

/// The operation of [`Tensor::max_pool2d`].
pub(crate) static MAX_POOL2D: Op = max_pool::<2, false>("max_pool2d");

/// The operation of [`Tensor::max_pool3d`].
pub(crate) static MAX_POOL3D: Op = max_pool::<3, false>("max_pool3d");

/// The operation of [`Tensor::adaptive_max_pool1d`].
pub(crate) static ADAPTIVE_MAX_POOL1D: Op = max_pool::<1, true>("adaptive_max_pool1d");

/// The operation of [`Tensor::adaptive_max_pool2d`].
pub(crate) static ADAPTIVE_MAX_POOL2D: Op = max_pool::<2, true>("adaptive_max_pool2d");

/// The gradient of a maximum over windows from that of its result: each element goes to its place in a plane of zeros,
/// whose sizes are `size`.
#[track_caller]
fn put(g: &Tensor, places: &Tensor<Int>, size: &[usize]) -> Tensor {
    or_panic(apply1(&MAX_POOL_GRAD, attrs! { size: size }, &mut [g.into(), places.into()]))
}

/// Checks places that come with values of shape `shape` and name elements of planes of these sizes.
fn check_places(places: &AnyTensor, shape: &Shape, size: [usize; 3]) -> Result<()> {
    if places.dtype() != DType::I32 || places.shape() != shape {
        return Err(Error::new(format!(
            "the places have shape {} and precision {}, not {shape} and I32",
            places.shape(),
            places.dtype()
        )));
    }
    let pixels: usize = size.iter().product();
    let places = places.dense_slice::<i32>();
    // The largest says it for all, quicker than a search: without their sign negative ones are larger still.
    if places.is_empty() || (places.iter().fold(0, |most, &p| most.max(p as u32)) as usize) < pixels.min(1 << 31) {
        return Ok(());
    }
    let outside = places.iter().find(|&&p| p < 0 || p as usize >= pixels).expect("the largest is one");
    Err(Error::new(format!("place {outside} lies outside a plane of {pixels} elements")).kind_of(ErrorKind::Index))
}

/// Values, and a place for each in a plane of the size given.
fn sample_places(g: &mut Gen) -> (Shape, AnyTensor, [usize; 2]) {
    let size = [1 + g.below(3), 1 + g.below(3)];
    let shape = g.shape(2, 4);
    let places = or_panic(g.ints(&shape, 0, (size[0] * size[1]) as i64).int()).to_dtype(DType::I32);
    (shape, places.into(), size)
}

/// The gradient of the maximum over windows.
pub(crate) static MAX_POOL_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (g, places) = (dense(call.input(0).clone()), dense(call.input(1).clone()));
        check_float(g.dtype())?;
        let n = call.attrs().ints("size").len().min(3);
        check_rank(g.shape(), n)?;
        let size = window::numbers(call.attrs(), "size", n, 1)?;
        let shape = window::with_last(g.shape(), n, size)?;
        check_places(&places, g.shape(), size)?;
        let (pixels, positions) = (size.iter().product(), window::last_sizes(g.shape(), n).iter().product());
        let par = Par::of(shape.elements());
        Ok(with_dtype!(float g.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            pool::put(out, g.dense_slice(), places.dense_slice(), pixels, positions, &par)
        }))
        .into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (u, places, n) = (cx.g(), cx.input::<Int>(1), cx.attrs().ints("size").len());
        cx.give(0, or_panic(apply1(&MAX_POOL_PICK, attrs! { axes: n }, &mut [(&u).into(), (&places).into()])));
    }
    Op {
        name: "max_pool_grad",
        operands: &["gradient", "places"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE.and_input(1), vjp },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (shape, places, size) = sample_places(g);
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0), places], attrs! { size: size })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let x: AnyTensor = Tensor::zeros([1, 2]).into();
                let outside = Tensor::<Int>::from_vec(vec![0i64, 4], [1, 2]).to_dtype(DType::I32);
                vec![
                    Misuse::new(
                        [x.clone(), outside.into()],
                        attrs! { size: [2i64, 2] },
                        "place 4 lies outside a plane of 4 elements",
                    ),
                    Misuse::new([x, Int::zeros([2]).into()], attrs! { size: [2i64, 2] }, "the places have shape [2]"),
                ]
            },
        },
    }
};

/// The elements of each plane at given places: how the gradient of the maximum over windows is differentiated.
pub(crate) static MAX_POOL_PICK: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (x, places) = (dense(call.input(0).clone()), dense(call.input(1).clone()));
        check_float(x.dtype())?;
        let n = call.attrs().int("axes").clamp(0, 3) as usize;
        check_rank(x.shape(), n)?;
        check_rank(places.shape(), n)?;
        let (size, last) = (window::last_sizes(x.shape(), n), window::last_sizes(places.shape(), n));
        let shape = window::with_last(x.shape(), n, last)?;
        check_places(&places, &shape, size)?;
        let (pixels, positions) = (size.iter().product(), last.iter().product());
        let par = Par::of(shape.elements());
        Ok(with_dtype!(float x.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            pool::pick(out, x.dense_slice(), places.dense_slice(), pixels, positions, &par)
        }))
        .into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (g, places, n) = (cx.g(), cx.input::<Int>(1), cx.attrs().int("axes") as usize);
        let x = cx.input_shape(0).clone();
        cx.give(0, put(&g, &places, &x[x.rank() - n..]));
    }
    Op {
        name: "max_pool_pick",
        operands: &["input", "places"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE.and_input(1), vjp },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (shape, places, [high, wide]) = sample_places(g);
                let shape = window::with_last(&shape, 2, [1, high, wide]).expect("small");
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0), places], attrs! { axes: 2usize })]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let before = Tensor::<Int>::from_vec(vec![-1i64], [1, 1]).to_dtype(DType::I32);
                vec![Misuse::new(
                    [Tensor::zeros([2, 2]).into(), before.into()],
                    attrs! { axes: 2usize },
                    "place -1 lies outside a plane of 4 elements",
                )]
            },
        },
    }
};

/// The mean over windows along `N` axes.
const fn avg_pool<const N: usize, const ADAPTIVE: bool>(name: &'static str) -> Op {
    fn forward<const N: usize>(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = dense(call.input(0).clone());
        check_float(x.dtype())?;
        let (axes, shape) = windows(x.shape(), N, call.attrs())?;
        let par = Par::of(x.elements());
        Ok(with_dtype!(float x.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            pool::avg_pool(out, x.dense_slice(), &axes, &par)
        }))
        .into())
    }
    fn vjp<const N: usize>(cx: &mut Vjp<'_>) {
        let g = cx.g();
        let x = cx.input_shape(0);
        let attrs = cx.attrs().clone().with("size", &x[x.rank() - N..]);
        cx.give(0, or_panic(apply1(&AVG_POOL_GRAD, attrs, &mut [(&g).into()])));
    }
    fn info<const N: usize, const ADAPTIVE: bool>() -> OpInfo {
        let names = ["nn.functional.avg_pool1d", "nn.functional.avg_pool2d", "nn.functional.avg_pool3d"];
        let adaptive = ["nn.functional.adaptive_avg_pool1d", "nn.functional.adaptive_avg_pool2d"];
        OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: if ADAPTIVE { adaptive[N - 1] } else { names[N - 1] },
            precisions: FLOATS,
            samples: |g| {
                let (shape, attrs) = sample::<N, ADAPTIVE>(g);
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0)], attrs)]
            },
            specials: |_| Vec::new(),
            misuses: misuses::<N, ADAPTIVE>,
        }
    }
    Op {
        name,
        operands: &["input"],
        forward: forward::<N>,
        gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp: vjp::<N> },
        info: info::<N, ADAPTIVE>,
    }
}

/// The means over windows along one, two and three axes.
static AVG_POOLS: [&Op; 3] = [&AVG_POOL1D, &AVG_POOL2D, &AVG_POOL3D];

/// The operation of [`Tensor::avg_pool1d`].
pub(crate) static AVG_POOL1D: Op = avg_pool::<1, false>("avg_pool1d");

/// The operation of [`Tensor::avg_pool2d`].
pub(crate) static AVG_POOL2D: Op = avg_pool::<2, false>("avg_pool2d");

/// The operation of [`Tensor::avg_pool3d`].
pub(crate) static AVG_POOL3D: Op = avg_pool::<3, false>("avg_pool3d");

/// The operation of [`Tensor::adaptive_avg_pool1d`].
pub(crate) static ADAPTIVE_AVG_POOL1D: Op = avg_pool::<1, true>("adaptive_avg_pool1d");

/// The operation of [`Tensor::adaptive_avg_pool2d`].
pub(crate) static ADAPTIVE_AVG_POOL2D: Op = avg_pool::<2, true>("adaptive_avg_pool2d");

/// The gradient of a mean over windows, from that of its result.
pub(crate) static AVG_POOL_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let g = dense(call.input(0).clone());
        check_float(g.dtype())?;
        let n = call.attrs().ints("size").len().min(3);
        check_rank(g.shape(), n)?;
        let shape = window::with_last(g.shape(), n, window::numbers(call.attrs(), "size", n, 1)?)?;
        let (axes, out) = windows(&shape, n, call.attrs())?;
        if out != *g.shape() {
            return Err(Error::new(format!(
                "the gradient has shape {}, and the result of the pooling {out}",
                g.shape()
            )));
        }
        let par = Par::of(shape.elements());
        Ok(with_dtype!(float g.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            pool::avg_pool_grad(out, g.dense_slice(), &axes, &par)
        }))
        .into())
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (u, n) = (cx.g(), cx.attrs().ints("size").len());
        let attrs = window::without(cx.attrs(), &["size"]);
        // Whether windows slide or not is among the attributes.
        cx.give(0, or_panic(apply1(AVG_POOLS[n - 1], attrs, &mut [(&u).into()])));
    }
    fn any_sample(g: &mut Gen) -> (Shape, Attrs, usize) {
        let ((shape, attrs), n) = match g.below(3) {
            0 => (sample::<1, false>(g), 1),
            1 => (sample::<2, false>(g), 2),
            _ => (sample::<2, true>(g), 2),
        };
        (shape, attrs, n)
    }
    Op {
        name: "avg_pool_grad",
        operands: &["gradient"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (shape, attrs, n) = any_sample(g);
                let (_, out) = windows(&shape, n, &attrs).expect("sizes chosen to fit");
                vec![Sample::new([g.numbers(&out, -1.0, 1.0)], attrs.with("size", &shape[shape.rank() - n..]))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![Misuse::new(
                    [Tensor::zeros([2, 2]).into()],
                    Pool2d::new(2).attrs().with("size", [6usize, 4]),
                    "the gradient has shape [2, 2], and the result of the pooling [3, 2]",
                )]
            },
        },
    }
};

/// Defines the methods of the maximum and of the mean over windows along some axes.
macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident / $try_name:ident($($arg:ident: $ty:ty)?) = $OP:ident with $attrs:expr;)*) => {
        twin! {
            impl [] Tensor {
                $(
                    $(#[$doc])*
                    pub fn $name / $try_name(&self, $($arg: $ty)?) -> Tensor {
                        apply(&$OP, $attrs, &mut [self.into()])?.into_first().downcast()
                    }
                )*
            }
        }
    };
}

pools! {
    /// The largest element of each window that slides over the last axis: [`max_pool2d`](Self::max_pool2d) along one
    /// axis.
    ///
    /// # Panics
    /// Where [`max_pool2d`](Self::max_pool2d) panics.
    ///
    /// ```
    /// use wengert_tensor::{Pool1d, tensor};
    /// let x = tensor![1.0, 3.0, 2.0, 4.0, 5.0];
    /// assert_eq!(x.max_pool1d(2).to_vec::<f32>(), [3.0, 4.0]);
    /// assert_eq!(x.max_pool1d(Pool1d::new(2).ceil_mode(true)).to_vec::<f32>(), [3.0, 4.0, 5.0]);
    /// ```
    max_pool1d / try_max_pool1d(window: impl Into<Pool1d>) = MAX_POOL1D with window.into().attrs();

    /// The largest element of each window that slides over the last two axes, height and width.
    ///
    /// `2` or `[2, 3]` pools windows of that size side by side; [`Pool`] has further options. A result's axis has
    /// `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1` positions, rounded down, or up in `ceil_mode`. NaN
    /// is larger than all. Of equals, the first in the window gets the gradient.
    ///
    /// # Panics
    /// If the rank is below 2, a window is larger than the padded axis or lies outside it, or a window size, stride or
    /// dilation is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]];
    /// assert_eq!(x.max_pool2d(2).to_vec::<f32>(), [4.0, 8.0]);
    /// ```
    max_pool2d / try_max_pool2d(window: impl Into<Pool2d>) = MAX_POOL2D with window.into().attrs();

    /// The largest element of each window that slides over the last three axes: [`max_pool2d`](Self::max_pool2d) along
    /// three axes.
    ///
    /// # Panics
    /// Where [`max_pool2d`](Self::max_pool2d) panics.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::arange(0.0, 8.0, 1.0).reshape([2, 2, 2]);
    /// assert_eq!(x.max_pool3d([2, 1, 2]).to_vec::<f32>(), [5.0, 7.0]);
    /// ```
    max_pool3d / try_max_pool3d(window: impl Into<Pool3d>) = MAX_POOL3D with window.into().attrs();

    /// The mean of each window that slides over the last axis: [`avg_pool2d`](Self::avg_pool2d) along one axis.
    ///
    /// # Panics
    /// Where [`max_pool2d`](Self::max_pool2d) panics.
    ///
    /// ```
    /// use wengert_tensor::{Pool1d, tensor};
    /// let x = tensor![1.0, 3.0, 2.0, 4.0];
    /// assert_eq!(x.avg_pool1d(Pool1d::new(3).stride(1)).to_vec::<f32>(), [2.0, 3.0]);
    /// ```
    avg_pool1d / try_avg_pool1d(window: impl Into<Pool1d>) = AVG_POOL1D with window.into().attrs();

    /// The mean of each window that slides over the last two axes, height and width; windows as for
    /// [`max_pool2d`](Self::max_pool2d). Padding counts as zeros, unless
    /// [`count_include_pad`](Pool::count_include_pad) is off.
    ///
    /// # Panics
    /// Where [`max_pool2d`](Self::max_pool2d) panics.
    ///
    /// ```
    /// use wengert_tensor::{Pool2d, tensor};
    /// let x = tensor![[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]];
    /// assert_eq!(x.avg_pool2d(2).to_vec::<f32>(), [2.5, 6.5]);
    /// let padded = Pool2d::new([1, 2]).padding([0, 1]);
    /// assert_eq!(x.avg_pool2d(padded).to_vec::<f32>()[..3], [0.5, 3.5, 3.0]);
    /// assert_eq!(x.avg_pool2d(padded.count_include_pad(false)).to_vec::<f32>()[..3], [1.0, 3.5, 6.0]);
    /// ```
    avg_pool2d / try_avg_pool2d(window: impl Into<Pool2d>) = AVG_POOL2D with window.into().attrs();

    /// The mean of each window that slides over the last three axes: [`avg_pool2d`](Self::avg_pool2d) along three axes.
    ///
    /// # Panics
    /// Where [`max_pool2d`](Self::max_pool2d) panics.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::arange(0.0, 8.0, 1.0).reshape([2, 2, 2]);
    /// assert_eq!(x.avg_pool3d(2).to_vec::<f32>(), [3.5]);
    /// ```
    avg_pool3d / try_avg_pool3d(window: impl Into<Pool3d>) = AVG_POOL3D with window.into().attrs();

    /// The largest element of each of `output` windows that cover the last axis evenly: window `i` of an axis of `n`
    /// positions spans `i n / output` (rounded down) to `(i + 1) n / output` (rounded up).
    ///
    /// # Panics
    /// If the tensor has rank 0, or the axis is empty and `output` is not 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 3.0, 2.0, 4.0, 5.0].adaptive_max_pool1d(2).to_vec::<f32>(), [3.0, 5.0]);
    /// ```
    adaptive_max_pool1d / try_adaptive_max_pool1d(output: impl Into<Sizes<1>>)
        = ADAPTIVE_MAX_POOL1D with attrs! { output: output.into().0 };

    /// The largest element of each of `output` windows that cover the last two axes evenly, see
    /// [`adaptive_max_pool1d`](Self::adaptive_max_pool1d).
    ///
    /// # Panics
    /// If the rank is below 2, or an axis is empty and `output` is not 0 there.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::arange(0.0, 15.0, 1.0).reshape([3, 5]);
    /// assert_eq!(x.adaptive_max_pool2d([1, 2]).to_vec::<f32>(), [12.0, 14.0]);
    /// ```
    adaptive_max_pool2d / try_adaptive_max_pool2d(output: impl Into<Sizes<2>>)
        = ADAPTIVE_MAX_POOL2D with attrs! { output: output.into().0 };

    /// The mean of each of `output` windows that cover the last axis evenly, see
    /// [`adaptive_max_pool1d`](Self::adaptive_max_pool1d).
    ///
    /// # Panics
    /// If the tensor has rank 0, or the axis is empty and `output` is not 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![1.0, 3.0, 2.0, 4.0].adaptive_avg_pool1d(1).to_vec::<f32>(), [2.5]);
    /// ```
    adaptive_avg_pool1d / try_adaptive_avg_pool1d(output: impl Into<Sizes<1>>)
        = ADAPTIVE_AVG_POOL1D with attrs! { output: output.into().0 };

    /// The mean of each of `output` windows that cover the last two axes evenly, see
    /// [`adaptive_max_pool1d`](Self::adaptive_max_pool1d): `1` is the mean of each whole image.
    ///
    /// # Panics
    /// If the rank is below 2, or an axis is empty and `output` is not 0 there.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// let x = Tensor::ones([8, 16, 7, 7]);
    /// assert_eq!(x.adaptive_avg_pool2d(1).shape().to_string(), "[8, 16, 1, 1]");
    /// ```
    adaptive_avg_pool2d / try_adaptive_avg_pool2d(output: impl Into<Sizes<2>>)
        = ADAPTIVE_AVG_POOL2D with attrs! { output: output.into().0 };
}
