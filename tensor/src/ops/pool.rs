//! Pooling: the largest or the mean element of windows that slide over the last two axes.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::pool;
use crate::kernels::window::Window;
use crate::kind::Int;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::ops::window::{self, Pair};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&MAX_POOL2D, &MAX_POOL2D_GRAD, &MAX_POOL2D_PICK, &AVG_POOL2D, &AVG_POOL2D_GRAD];

/// How the window of a pooling operation lies and moves: `2` and `[2, 3]` stand for windows of that size side by
/// side.
///
/// ```
/// use wengert_tensor::Pool2d;
/// assert_eq!(Pool2d::new(3).stride(2).padding(1).stride, [2, 2]);
/// assert_eq!(Pool2d::from([2, 3]).stride, [2, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Positions from one window to the next: those of the window unless set.
    pub stride: [usize; 2],
    /// Positions added around the image: they hold negative infinity for the maximum, 0 for the mean.
    pub padding: [usize; 2],
    /// Positions from one element of the window to the next.
    pub dilation: [usize; 2],
}

impl Pool2d {
    /// Windows of this size, side by side.
    pub fn new(kernel: impl Into<Pair>) -> Pool2d {
        let kernel = kernel.into().0;
        Pool2d { kernel, stride: kernel, padding: [0, 0], dilation: [1, 1] }
    }

    /// Sets how far one window is from the next.
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into().0;
        self
    }

    /// Sets how many positions surround the image at each edge.
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into().0;
        self
    }

    /// Sets how far one element of the window is from the next.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    fn attrs(self) -> Attrs {
        attrs! { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: self.dilation }
    }
}

impl From<usize> for Pool2d {
    fn from(kernel: usize) -> Pool2d {
        Pool2d::new(kernel)
    }
}

impl From<[usize; 2]> for Pool2d {
    fn from(kernel: [usize; 2]) -> Pool2d {
        Pool2d::new(kernel)
    }
}

/// The sizes of the last two axes.
fn plane(shape: &Shape) -> Result<[usize; 2]> {
    match shape[..] {
        [.., high, wide] => Ok([high, wide]),
        _ => Err(Error::new(format!("needs rank 2 or more, not {}", shape.rank()))
            .help("windows slide over the last two axes, height and width")),
    }
}

/// The shape with the last two axes replaced.
fn with_plane(shape: &Shape, [high, wide]: [usize; 2]) -> Result<Shape> {
    let lead = &shape[..shape.rank() - 2];
    checked_shape(&lead.iter().chain(&[high, wide]).map(|&n| n as isize).collect::<Vec<_>>())
}

/// The windows that the attributes slide over an input of this shape, each of which meets it somewhere, and the shape
/// of the result.
fn windows(shape: &Shape, attrs: &Attrs) -> Result<([Window; 2], Shape)> {
    let (size, axis) = (plane(shape)?, shape.rank() - 2);
    let windows = window::windows(size, axis, window::kernel(attrs)?, attrs)?;
    for (i, w) in windows.iter().enumerate() {
        // Checked first, so that the windows are not many more than the axis has positions.
        let too_much = w.padding > (w.kernel - 1) * w.dilation;
        if too_much || (0..w.output).any(|o| w.inside(o).is_empty()) {
            let e = Error::new(format!(
                "with padding {}, some windows lie outside axis {}, which has size {}",
                w.padding,
                axis + i,
                w.size
            ));
            return Err(e.kind_of(ErrorKind::Value).help("pad by half the window at most"));
        }
    }
    let shape = with_plane(shape, windows.map(|w| w.output))?;
    Ok((windows, shape))
}

/// A fresh tensor that `fill` writes.
fn output<T: crate::Element>(shape: Shape, fill: impl FnOnce(&mut [T], &Par)) -> AnyTensor {
    let n = shape.elements();
    let mut storage = Storage::stale::<T>(n);
    fill(&mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n], &Par::of(n));
    AnyTensor::dense(storage, shape, T::DTYPE)
}

/// The elements of a dense tensor.
fn elements<T: crate::Element>(x: &AnyTensor) -> &[T] {
    &x.storage().slice::<T>()[..x.elements()]
}

fn check_float(dtype: DType) -> Result<()> {
    match dtype.is_float() {
        true => Ok(()),
        false => Err(unsupported(dtype).help("convert first: x.to_float()")),
    }
}

/// A random input shape and pooling.
fn sample(g: &mut Gen, dilate: bool) -> (Shape, Pool2d) {
    let two = |g: &mut Gen, low: usize, n: usize| [low + g.below(n), low + g.below(n)];
    let (kernel, stride) = (two(g, 1, 3), two(g, 1, 3));
    let dilation = if dilate { two(g, 1, 2) } else { [1, 1] };
    let padding = [0, 1].map(|i| if dilation[i] == 1 { g.below(kernel[i] / 2 + 1) } else { 0 });
    let spare = two(g, 0, 4);
    let size = |i: usize| ((kernel[i] - 1) * dilation[i] + 1 + spare[i] - 2 * padding[i]).max(1);
    let lead = g.shape(0, 2);
    let shape = lead.iter().copied().chain([size(0), size(1)]).collect();
    (shape, Pool2d { kernel, stride, padding, dilation })
}

fn misuses() -> Vec<Misuse> {
    let case = |shape: &[usize], pool: Pool2d, says| Misuse::new([Tensor::zeros(shape).into()], pool.attrs(), says);
    vec![
        case(&[4], Pool2d::new(2), "needs rank 2 or more, not 1"),
        case(&[1, 4, 4], Pool2d::new(0), "the kernel size along axis 1 is 0"),
        case(&[1, 4, 4], Pool2d::new(2).stride([1, 0]), "the stride along axis 2 is 0"),
        case(&[1, 4, 2], Pool2d::new(3), "the kernel spans 3 positions, and axis 2 has 2"),
        case(&[1, 4, 4], Pool2d::new(2).padding(2), "some windows lie outside axis 1"),
        Misuse::new([crate::Int::zeros([4, 4]).into()], Pool2d::new(2).attrs(), "precision I64 is not supported"),
    ]
}

/// The operation of [`Tensor::max_pool2d`]. Its second output is where in each plane the largest elements lie.
pub(crate) static MAX_POOL2D: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = dense(call.input(0).clone());
        check_float(x.dtype())?;
        let (windows, shape) = windows(x.shape(), call.attrs())?;
        let mut places = Storage::stale::<i64>(shape.elements());
        let slots = &mut places.unique_mut::<i64>().expect("a fresh buffer is unique")[..shape.elements()];
        let out = with_dtype!(float x.dtype(), T => {
            output::<T>(shape.clone(), |out, par| pool::max_pool(out, slots, elements(&x), &windows, par))
        });
        Ok(smallvec::smallvec![out, AnyTensor::dense(places, shape, DType::I64)])
    }
    Op {
        name: "max_pool2d",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_output(1),
            vjp: |cx| {
                let (g, places) = (cx.g(), cx.output::<Int>(1));
                let size = plane(cx.input_shape(0)).expect("checked when it was recorded");
                cx.give(0, put(&g, &places, size));
            },
        },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "nn.functional.max_pool2d",
            precisions: FLOATS,
            samples: |g| {
                let (shape, pool) = sample(g, true);
                vec![Sample::new([g.distinct(&shape)], pool.attrs())]
            },
            specials: |g| {
                let tie = g.tensor(&[1.0, 1.0, 0.0, 1.0], &[2, 2].into());
                vec![Sample::new([tie], Pool2d::new(2).attrs()).with_gradient([vec![1.0, 0.0, 0.0, 0.0]])]
            },
            misuses,
        },
    }
};

/// The gradient of `max_pool2d` from that of its result: each element goes to its place in a plane of zeros.
#[track_caller]
fn put(g: &Tensor, places: &Tensor<Int>, size: [usize; 2]) -> Tensor {
    or_panic(apply1(&MAX_POOL2D_GRAD, attrs! { size: size }, &mut [g.into(), places.into()]))
}

/// Checks places that come with values of shape `shape` and name elements of planes of this size.
fn check_places(places: &AnyTensor, shape: &Shape, [high, wide]: [usize; 2]) -> Result<()> {
    if places.dtype() != DType::I64 || places.shape() != shape {
        return Err(Error::new(format!(
            "the places have shape {} and precision {}, not {shape} and I64",
            places.shape(),
            places.dtype()
        )));
    }
    match elements::<i64>(places).iter().find(|&&p| p < 0 || p as usize >= high * wide) {
        None => Ok(()),
        Some(p) => {
            Err(Error::new(format!("place {p} lies outside a plane of {high} by {wide}")).kind_of(ErrorKind::Index))
        }
    }
}

/// Values, and a place for each in a plane of the size given.
fn sample_places(g: &mut Gen) -> (Shape, AnyTensor, [usize; 2]) {
    let size = [1 + g.below(3), 1 + g.below(3)];
    let shape = g.shape(2, 4);
    let places = g.ints(&shape, 0, (size[0] * size[1]) as i64);
    (shape, places, size)
}

/// The gradient of the maximum over windows.
pub(crate) static MAX_POOL2D_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (g, places) = (dense(call.input(0).clone()), dense(call.input(1).clone()));
        check_float(g.dtype())?;
        let ([high, wide], size) = (plane(g.shape())?, window::size(call.attrs())?);
        let shape = with_plane(g.shape(), size)?;
        check_places(&places, g.shape(), size)?;
        let (pixels, positions) = (size[0] * size[1], high * wide);
        Ok(smallvec::smallvec![with_dtype!(float g.dtype(), T => {
            output::<T>(shape, |out, par| pool::put(out, elements(&g), elements(&places), pixels, positions, par))
        })])
    }
    Op {
        name: "max_pool2d_grad",
        operands: &["gradient", "places"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (u, places) = (cx.g(), cx.input::<Int>(1));
                cx.give(0, or_panic(apply1(&MAX_POOL2D_PICK, Attrs::NONE, &mut [(&u).into(), (&places).into()])));
            },
        },
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
                vec![
                    Misuse::new(
                        [x.clone(), Tensor::<Int>::from_vec(vec![0i64, 4], [1, 2]).into()],
                        attrs! { size: [2i64, 2] },
                        "place 4 lies outside a plane of 2 by 2",
                    ),
                    Misuse::new([x, Int::zeros([2]).into()], attrs! { size: [2i64, 2] }, "the places have shape [2]"),
                ]
            },
        },
    }
};

/// The elements of each plane at given places: how the gradient of the maximum over windows is differentiated.
pub(crate) static MAX_POOL2D_PICK: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let (x, places) = (dense(call.input(0).clone()), dense(call.input(1).clone()));
        check_float(x.dtype())?;
        let (size, [high, wide]) = (plane(x.shape())?, plane(places.shape())?);
        let shape = with_plane(x.shape(), [high, wide])?;
        check_places(&places, &shape, size)?;
        let (pixels, positions) = (size[0] * size[1], high * wide);
        Ok(smallvec::smallvec![with_dtype!(float x.dtype(), T => {
            output::<T>(shape, |out, par| pool::pick(out, elements(&x), elements(&places), pixels, positions, par))
        })])
    }
    Op {
        name: "max_pool2d_pick",
        operands: &["input", "places"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1),
            vjp: |cx| {
                let (g, places) = (cx.g(), cx.input::<Int>(1));
                let size = plane(cx.input_shape(0)).expect("checked when it was recorded");
                cx.give(0, put(&g, &places, size));
            },
        },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (shape, places, size) = sample_places(g);
                let shape = with_plane(&shape, size).expect("small");
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0), places], Attrs::NONE)]
            },
            specials: |_| Vec::new(),
            misuses: || {
                vec![Misuse::new(
                    [Tensor::zeros([2, 2]).into(), Tensor::<Int>::from_vec(vec![-1i64], [1, 1]).into()],
                    Attrs::NONE,
                    "place -1 lies outside a plane of 2 by 2",
                )]
            },
        },
    }
};

/// The operation of [`Tensor::avg_pool2d`].
pub(crate) static AVG_POOL2D: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = dense(call.input(0).clone());
        check_float(x.dtype())?;
        let (windows, shape) = windows(x.shape(), call.attrs())?;
        Ok(smallvec::smallvec![with_dtype!(float x.dtype(), T => {
            output::<T>(shape, |out, par| pool::avg_pool(out, elements(&x), &windows, par))
        })])
    }
    Op {
        name: "avg_pool2d",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g();
                let size = plane(cx.input_shape(0)).expect("checked when it was recorded");
                let attrs = cx.attrs().clone().with("size", size);
                cx.give(0, or_panic(apply1(&AVG_POOL2D_GRAD, attrs, &mut [(&g).into()])));
            },
        },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "nn.functional.avg_pool2d",
            precisions: FLOATS,
            samples: |g| {
                let (shape, pool) = sample(g, true);
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0)], pool.attrs())]
            },
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

/// The gradient of the mean over windows, from that of its result.
pub(crate) static AVG_POOL2D_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let g = dense(call.input(0).clone());
        check_float(g.dtype())?;
        plane(g.shape())?;
        let shape = with_plane(g.shape(), window::size(call.attrs())?)?;
        let (windows, out) = windows(&shape, call.attrs())?;
        if out != *g.shape() {
            return Err(Error::new(format!(
                "the gradient has shape {}, and the result of the pooling {out}",
                g.shape()
            )));
        }
        Ok(smallvec::smallvec![with_dtype!(float g.dtype(), T => {
            output::<T>(shape, |out, par| pool::avg_pool_grad(out, elements(&g), &windows, par))
        })])
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let u = cx.g();
        let kept = cx.attrs().iter().filter(|(name, _)| *name != "size");
        let attrs = kept.fold(Attrs::NONE, |all, (name, value)| all.with(name, value.clone()));
        cx.give(0, or_panic(apply1(&AVG_POOL2D, attrs, &mut [(&u).into()])));
    }
    Op {
        name: "avg_pool2d_grad",
        operands: &["gradient"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::NONE, vjp },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (shape, pool) = sample(g, true);
                let attrs = pool.attrs();
                let (_, out) = windows(&shape, &attrs).expect("sizes chosen to fit");
                let size = plane(&shape).expect("rank 2 or more");
                vec![Sample::new([g.numbers(&out, -1.0, 1.0)], attrs.with("size", size))]
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

twin! {
    impl [] Tensor {
        /// The largest element of each window that slides over the last two axes, height and width.
        ///
        /// `2` or `[2, 3]` pools windows of that size side by side; [`Pool2d`] has further options. A result's axis
        /// has `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1` positions, rounded down. NaN is larger
        /// than all. Of equals, the first in the window gets the gradient.
        ///
        /// # Panics
        /// If the rank is below 2, a window is larger than the padded axis or lies outside it, or a window size or
        /// stride is 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]];
        /// assert_eq!(x.max_pool2d(2).to_vec::<f32>(), [4.0, 8.0]);
        /// ```
        pub fn max_pool2d / try_max_pool2d(&self, window: impl Into<Pool2d>) -> Tensor {
            apply(&MAX_POOL2D, window.into().attrs(), &mut [self.into()])?.swap_remove(0).downcast()
        }

        /// The mean of each window that slides over the last two axes, height and width; windows as for
        /// [`max_pool2d`](Self::max_pool2d). Padding counts as zeros.
        ///
        /// # Panics
        /// If the rank is below 2, a window is larger than the padded axis or lies outside it, or a window size or
        /// stride is 0.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]];
        /// assert_eq!(x.avg_pool2d(2).to_vec::<f32>(), [2.5, 6.5]);
        /// ```
        pub fn avg_pool2d / try_avg_pool2d(&self, window: impl Into<Pool2d>) -> Tensor {
            apply1(&AVG_POOL2D, window.into().attrs(), &mut [self.into()])
        }
    }
}
