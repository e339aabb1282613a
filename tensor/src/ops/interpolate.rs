//! Resampling of images to other sizes.

use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::with_dtype;
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::interpolate::{self, Lines, Tap};
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, Shape, checked_shape, shape_from};
use crate::storage::demand_room;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&INTERPOLATE, &INTERPOLATE_GRAD];

/// How values between positions are made, see [`Tensor::interpolate`].
///
/// ```
/// use wengert_tensor::{Interpolation, tensor};
/// let x = tensor![0.0, 4.0];
/// assert_eq!(x.interpolate([4], Interpolation::Nearest).to_vec::<f32>(), [0.0, 0.0, 4.0, 4.0]);
/// assert_eq!(x.interpolate([4], Interpolation::Linear).to_vec::<f32>(), [0.0, 1.0, 3.0, 4.0]);
/// assert_eq!(x.interpolate([5], Interpolation::AlignedLinear).to_vec::<f32>(), [0.0, 1.0, 2.0, 3.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The value of the position that the new one falls into.
    Nearest,
    /// Straight between neighbours, where positions are the middles of cells: the cells of both images fill the same
    /// area. Along two axes it is bilinear.
    Linear,
    /// Straight between neighbours, where the first and the last positions of both images lie on one another
    /// (`align_corners`).
    AlignedLinear,
}

impl Interpolation {
    fn attrs(self, axis: usize, size: usize) -> Attrs {
        let (linear, aligned) = (self != Interpolation::Nearest, self == Interpolation::AlignedLinear);
        attrs! { axis: axis, size: size, linear: linear, align_corners: aligned }
    }
}

/// The axis that the attributes name, and where positions of the result come from along it, of an axis of `from`
/// positions.
fn taps(attrs: &Attrs, from: usize, to: usize) -> Result<Vec<Tap>> {
    demand_room::<Tap>(to)?;
    let (linear, aligned) = (attrs.bool("linear"), attrs.bool("align_corners"));
    // Positions of the source for each of the result.
    let step = attrs.get("step").map(|_| attrs.float("step"));
    let ratio = step.unwrap_or(from as f64 / to as f64);
    let tap = |o: usize| {
        if !linear {
            let exact = || (o as u128 * from as u128 / to as u128) as usize;
            let low = step.map_or_else(exact, |step| (o as f64 * step) as usize).min(from - 1);
            return Tap { low, high: low, share: 0.0 };
        }
        let at = match aligned {
            true if to > 1 => o as f64 * (from - 1) as f64 / (to - 1) as f64,
            true => 0.0,
            false => ((o as f64 + 0.5) * ratio - 0.5).max(0.0),
        };
        let low = (at as usize).min(from - 1);
        Tap { low, high: (low + 1).min(from - 1), share: (at - low as f64).clamp(0.0, 1.0) }
    };
    Ok((0..to).map(tap).collect())
}

/// The number of the axis, the sizes of source and result along it, and the shape with the axis at another size.
fn sizes(x: &Shape, attrs: &Attrs, name: &str) -> Result<(usize, Shape)> {
    let axis = x.axis(attrs.int("axis"))?;
    let mut shape: Vec<isize> = x.iter().map(|&n| n as isize).collect();
    shape[axis] = attrs.int(name);
    Ok((axis, checked_shape(&shape)?))
}

fn check_source(axis: usize, from: usize, to: usize) -> Result<()> {
    if from > 0 || to == 0 {
        return Ok(());
    }
    Err(Error::new(format!("axis {axis} is empty, and {to} positions are to come from it"))
        .help("there is nothing to interpolate between; only batch and channels may be empty"))
}

fn check_float(x: &AnyTensor) -> Result<()> {
    match x.dtype().is_float() {
        true => Ok(()),
        false => Err(unsupported(x.dtype()).help("convert first: x.to_float()")),
    }
}

fn sample(g: &mut Gen) -> (Shape, Attrs, usize) {
    let (shape, size) = (g.full_shape(1, 3), 1 + g.below(6));
    let axis = g.below(shape.rank());
    let how = g.pick(&[Interpolation::Nearest, Interpolation::Linear, Interpolation::AlignedLinear]);
    let from = shape[axis];
    let attrs = how.attrs(axis, size);
    (shape, if g.below(3) == 0 { attrs.with("step", 0.7) } else { attrs }, from)
}

/// One axis of [`Tensor::interpolate`].
pub(crate) static INTERPOLATE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = dense(call.input(0).clone());
        check_float(&x)?;
        let (axis, shape) = sizes(x.shape(), call.attrs(), "size")?;
        let lines = Lines { size: x.shape()[axis], inner: shape[axis + 1..].iter().product() };
        check_source(axis, lines.size, shape[axis])?;
        let n = shape.elements();
        let taps = if n > 0 { taps(call.attrs(), lines.size, shape[axis])? } else { Vec::new() };
        Ok(with_dtype!(float x.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            interpolate::resample(out, x.dense_slice(), &taps, lines, &Par::of(n))
        }))
        .into())
    }
    Op {
        name: "interpolate",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g();
                let x = cx.input_shape(0);
                let axis = x.axis(cx.attrs().int("axis")).expect("checked when it was recorded");
                let attrs = cx.attrs().clone().with("from", x[axis]);
                cx.give(0, or_panic(apply1(&INTERPOLATE_GRAD, attrs, &mut [(&g).into()])));
            },
        },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "nn.functional.interpolate",
            precisions: FLOATS,
            samples: |g| {
                let (shape, attrs, _) = sample(g);
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0)], attrs)]
            },
            specials: |g| {
                let infinite = g.tensor(&[f64::INFINITY, 1.0], &[2].into());
                vec![Sample::new([infinite], Interpolation::Nearest.attrs(0, 3)).with_gradient([vec![2.0, 1.0]])]
            },
            misuses: || {
                let case =
                    |shape: &[usize], attrs: Attrs, says| Misuse::new([Tensor::zeros(shape).into()], attrs, says);
                vec![
                    case(&[2], Interpolation::Linear.attrs(1, 3), "axis 1 is out of range for rank 1"),
                    case(&[2, 0], Interpolation::Linear.attrs(1, 3), "axis 1 is empty, and 3 positions"),
                    case(&[2, 2], Interpolation::Linear.attrs(1, usize::MAX), "size -1 on axis 1 is negative"),
                    case(&[4, 2], Interpolation::Linear.attrs(1, usize::MAX / 4), "more elements than memory"),
                ]
            },
        },
    }
};

/// The gradient of one axis of an interpolation, from that of its result.
pub(crate) static INTERPOLATE_GRAD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let g = dense(call.input(0).clone());
        check_float(&g)?;
        let (axis, shape) = sizes(g.shape(), call.attrs(), "from")?;
        let lines = Lines { size: shape[axis], inner: shape[axis + 1..].iter().product() };
        check_source(axis, lines.size, g.shape()[axis])?;
        let n = shape.elements();
        let taps = if n > 0 { taps(call.attrs(), lines.size, g.shape()[axis])? } else { Vec::new() };
        Ok(with_dtype!(float g.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            interpolate::resample_grad(out, g.dense_slice(), &taps, lines, &Par::of(n))
        }))
        .into())
    }
    Op {
        name: "interpolate_grad",
        operands: &["gradient"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let (u, attrs) = (cx.g(), crate::ops::window::without(cx.attrs(), &["from"]));
                cx.give(0, or_panic(apply1(&INTERPOLATE, attrs, &mut [(&u).into()])));
            },
        },
        info: || OpInfo {
            family: Family::Pool,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let (mut shape, attrs, from) = sample(g);
                shape[attrs.int("axis") as usize] = attrs.int("size") as usize;
                vec![Sample::new([g.numbers(&shape, -1.0, 1.0)], attrs.with("from", from))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let attrs = Interpolation::Linear.attrs(0, 3).with("from", 0usize);
                vec![Misuse::new([Tensor::zeros([3]).into()], attrs, "axis 0 is empty, and 3 positions")]
            },
        },
    }
};

/// Resamples the last axes to `size`, with as many positions of the source for each of the result as `steps` says.
#[track_caller]
fn resampled(x: &Tensor, size: &[usize], steps: Option<&[f64]>, how: Interpolation) -> Result<Tensor> {
    let lead = x.rank() - size.len();
    let mut y = x.clone();
    for (i, &size) in size.iter().enumerate() {
        let attrs = how.attrs(lead + i, size);
        y = match steps {
            Some(steps) => apply1(&INTERPOLATE, attrs.with("step", steps[i]), &mut [(&y).into()])?,
            // Every way to interpolate leaves an axis of the same size as it is.
            None if y.shape()[lead + i] == size => y,
            None => apply1(&INTERPOLATE, attrs, &mut [(&y).into()])?,
        };
    }
    Ok(y)
}

/// Checks that the last axes are not more than there are.
fn check_rank(x: &Tensor, n: usize, at: &'static Location<'static>) -> Result<()> {
    let fits = match n <= x.rank() {
        true => Ok(()),
        false => Err(Error::new(format!("{n} sizes are given, and the rank is {}", x.rank()))
            .help("give one for each of the last axes, as height and width; batch and channels stay")),
    };
    in_op("interpolate", &[("input", x.as_any())], at, fits)
}

twin! {
    impl [] Tensor {
        /// Resamples the last axes to the sizes given: `[N, C, H, W]` to `[N, C, size[0], size[1]]`, and likewise along
        /// one or three axes. See [`Interpolation`] for the ways to do so; the linear one is bilinear along two axes.
        /// Gradients flow.
        ///
        /// # Panics
        /// If there are fewer axes than sizes, or one is empty and its size is not to be 0.
        ///
        /// ```
        /// use wengert_tensor::{Interpolation, tensor};
        /// let x = tensor![[1.0, 3.0], [5.0, 7.0]];
        /// let y = x.interpolate([3, 3], Interpolation::AlignedLinear);
        /// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0]);
        /// ```
        pub fn interpolate / try_interpolate(&self, size: impl IntoDims, how: Interpolation) -> Tensor {
            let at = Location::caller();
            let size = in_op("interpolate", &[("input", self.as_any())], at, shape_from(size))?;
            check_rank(self, size.rank(), at)?;
            resampled(self, &size, None, how)
        }

        /// Resamples the last axes to their sizes times `scale`, rounded down, see [`interpolate`](Self::interpolate).
        /// Positions are those of just this scale, as in PyTorch, also where a size was rounded.
        ///
        /// # Panics
        /// If there are fewer axes than scales, or a scale is not positive and finite.
        ///
        /// ```
        /// use wengert_tensor::{Interpolation, Tensor};
        /// let y = Tensor::ones([1, 3, 4, 6]).interpolate_by(&[2.0, 1.5], Interpolation::Nearest);
        /// assert_eq!(y.shape().to_string(), "[1, 3, 8, 9]");
        /// ```
        pub fn interpolate_by / try_interpolate_by(&self, scale: &[f64], how: Interpolation) -> Tensor {
            let at = Location::caller();
            check_rank(self, scale.len(), at)?;
            let operand = [("input", self.as_any())];
            if let Some(scale) = scale.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
                let e = Error::new(format!("the scale {scale} is not positive and finite")).kind_of(ErrorKind::Value);
                return in_op("interpolate", &operand, at, Err(e));
            }
            let last = &self.shape()[self.rank() - scale.len()..];
            let size: Vec<isize> = last.iter().zip(scale).map(|(&n, s)| (n as f64 * s) as isize).collect();
            let size = in_op("interpolate", &operand, at, checked_shape(&size))?;
            let steps: Vec<f64> = scale.iter().map(|s| s.recip()).collect();
            resampled(self, &size, Some(&steps), how)
        }
    }
}
