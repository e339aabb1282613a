//! Unfolding of images into their windows, and back.

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::unfold::{self, Windows};
use crate::ops::cast::in_single;
use crate::ops::conv::Conv2dOptions;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::ops::window::{self, Sizes};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{Shape, checked_shape};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&UNFOLD, &FOLD];

/// Checks what is unfolded, `[N, C, H, W]`, and returns what the kernels need, and the shape of the result,
/// `[N, C kH kW, windows]`.
fn sizes(x: &Shape, attrs: &Attrs) -> Result<(Windows, Shape)> {
    if x.rank() != 4 {
        return Err(Error::new(format!("input has rank {}, not 4: batch, channels, height, width", x.rank()))
            .help("for a single image, add the batch axis: input.unsqueeze(0)"));
    }
    if attrs.get("groups").is_some() && attrs.int("groups") != 1 || attrs.get("output_padding").is_some() {
        return Err(Error::new("groups and output_padding are for convolutions").kind_of(ErrorKind::Value));
    }
    let windows = window::windows(x, 2, window::numbers(attrs, "kernel", 2, 1)?, attrs)?;
    let [kernel, output] = [windows.map(|w| w.kernel), windows.map(|w| w.output)];
    let product = |n: &[usize]| n.iter().try_fold(1isize, |p, &n| p.checked_mul(n as isize)).unwrap_or(isize::MAX);
    let shape = checked_shape(&[x[0] as isize, product(&[x[1], kernel[1], kernel[2]]), product(&output)])?;
    Ok((windows, shape))
}

/// A random image shape, and attributes.
fn sample(g: &mut Gen) -> (Shape, Attrs) {
    let two = |g: &mut Gen, low: usize, n: usize| [low + g.below(n), low + g.below(n)];
    let (kernel, stride, dilation) = (two(g, 1, 3), two(g, 1, 2), two(g, 1, 2));
    let (padding, spare) = (two(g, 0, 2), two(g, 0, 3));
    let size = |i: usize| ((kernel[i] - 1) * dilation[i] + 1 + spare[i]).saturating_sub(2 * padding[i]).max(1);
    let options = Conv2dOptions::new().stride(stride).padding(padding).dilation(dilation);
    ([g.below(3), 1 + g.below(2), size(0), size(1)].into(), options.attrs().with("kernel", kernel))
}

/// The operation of [`Tensor::unfold`].
pub(crate) static UNFOLD: Op = Op {
    name: "unfold",
    operands: &["input"],
    forward: |call| {
        let x = dense(call.input(0).clone());
        if !x.dtype().is_float() {
            return Err(unsupported(x.dtype()).help("convert first: x.to_float()"));
        }
        let (c, shape) = sizes(x.shape(), call.attrs())?;
        let par = Par::of(shape.elements());
        Ok(with_dtype!(float x.dtype(), T => AnyTensor::filled::<T>(shape, |out| {
            unfold::unfold(out, x.dense_slice(), &c, &par)
        }))
        .into())
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE,
        vjp: |cx| {
            let (g, x) = (cx.g(), cx.input_shape(0));
            let attrs = cx.attrs().clone().with("size", &x[2..]);
            cx.give(0, or_panic(apply1(&FOLD, attrs, &mut [(&g).into()])));
        },
    },
    info: || OpInfo {
        family: Family::Conv,
        numpy: "",
        torch: "nn.functional.unfold",
        precisions: FLOATS,
        samples: |g| {
            let (shape, attrs) = sample(g);
            vec![Sample::new([g.numbers(&shape, -1.0, 1.0)], attrs)]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let case = |shape: &[usize], kernel: [usize; 2], options: Conv2dOptions, says| {
                Misuse::new([Tensor::zeros(shape).into()], options.attrs().with("kernel", kernel), says)
            };
            let plain = Conv2dOptions::new();
            vec![
                case(&[2, 4, 4], [2, 2], plain, "input has rank 3, not 4"),
                case(&[1, 2, 4, 4], [5, 2], plain, "the kernel spans 5 positions, and axis 2 has 4"),
                case(&[1, 2, 4, 4], [2, 0], plain, "the kernel size along axis 3 is 0"),
                case(&[1, 2, 4, 4], [2, 2], plain.groups(2), "groups and output_padding are for convolutions"),
                case(&[1, 2, 4, 4], [2, 2], plain.padding(usize::MAX / 8), "more elements than memory can address"),
            ]
        },
    },
};

/// The operation of [`Tensor::fold`].
pub(crate) static FOLD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.input(0).dtype();
        if !dtype.is_float() {
            return Err(unsupported(dtype).help("convert first: x.to_float()"));
        }
        let x = call.input(0).shape();
        let attrs = window::without(call.attrs(), &["size"]);
        let [_, high, wide] = window::numbers(call.attrs(), "size", 2, 1)?;
        let [_, a, b] = window::numbers(&attrs, "kernel", 2, 1)?;
        let area = a.saturating_mul(b).max(1);
        if x.rank() != 3 || !x[1].is_multiple_of(area) {
            return Err(Error::new(format!("input has shape {x}, not [batch, channels * {area}, windows]"))
                .help(format!("each window holds {a} times {b} elements of each channel")));
        }
        let image = checked_shape(&[x[0], x[1] / area, high, wide].map(|n| n as isize))?;
        let (c, unfolded) = sizes(&image, &attrs)?;
        if unfolded != *x {
            return Err(Error::new(format!(
                "{} windows do not make an image of {high} by {wide}, which has {}",
                x[2], unfolded[2]
            )));
        }
        if dtype.size() == 2 {
            return in_single(call, &FOLD);
        }
        let (x, par) = (dense(call.input(0).clone()), Par::of(x.elements()));
        Ok(with_dtype!(precise dtype, T => AnyTensor::filled::<T>(image, |out| {
            unfold::fold(out, x.dense_slice(), &c, &par)
        }))
        .into())
    }
    Op {
        name: "fold",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let (g, attrs) = (cx.g(), window::without(cx.attrs(), &["size"]));
                cx.give(0, or_panic(apply1(&UNFOLD, attrs, &mut [(&g).into()])));
            },
        },
        info: || OpInfo {
            family: Family::Conv,
            numpy: "",
            torch: "nn.functional.fold",
            precisions: FLOATS,
            samples: |g| {
                let (shape, attrs) = sample(g);
                let (_, unfolded) = sizes(&shape, &attrs).expect("sizes chosen to fit");
                vec![Sample::new([g.numbers(&unfolded, -1.0, 1.0)], attrs.with("size", &shape[2..]))]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let case = |shape: &[usize], says| {
                    let attrs = Conv2dOptions::new().attrs().with("kernel", [2usize, 2]).with("size", [4usize, 4]);
                    Misuse::new([Tensor::zeros(shape).into()], attrs, says)
                };
                vec![
                    case(&[4, 9], "input has shape [4, 9], not [batch, channels * 4, windows]"),
                    case(&[1, 6, 9], "input has shape [1, 6, 9], not [batch, channels * 4, windows]"),
                    case(&[1, 4, 8], "8 windows do not make an image of 4 by 4, which has 9"),
                ]
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// The windows that a convolution with a kernel of this size sees: from images `[N, C, H, W]` to
        /// `[N, C kH kW, windows]`, with the elements of a window in the order of channel, row and column, and windows
        /// row by row. A filter `[O, C kH kW]` times that is the convolution.
        ///
        /// Stride, padding and dilation are those of the options.
        ///
        /// # Panics
        /// If the rank is not 4, the kernel is larger than the padded image, a kernel size, stride or dilation is 0, or
        /// the options name groups.
        ///
        /// ```
        /// use wengert_tensor::{Conv2dOptions, Tensor};
        /// let x = Tensor::arange(0.0, 6.0, 1.0).reshape([1, 1, 2, 3]);
        /// let y = x.unfold(2, Conv2dOptions::new());
        /// assert_eq!(y.to_vec::<f32>(), [0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0]);
        /// ```
        pub fn unfold / try_unfold(&self, kernel: impl Into<Sizes<2>>, options: Conv2dOptions) -> Tensor {
            apply1(&UNFOLD, options.attrs().with("kernel", kernel.into().0), &mut [self.into()])
        }

        /// Images of height and width `size` from windows `[N, C kH kW, windows]`: each pixel is the sum of what the
        /// windows that it lies in hold there. It is the transpose of [`unfold`](Self::unfold) as a linear map, not its
        /// inverse where windows overlap.
        ///
        /// 16-bit floats accumulate in `F32`.
        ///
        /// # Panics
        /// If the input has not the shape that an image of that size unfolds to.
        ///
        /// ```
        /// use wengert_tensor::{Conv2dOptions, Tensor};
        /// let windows = Tensor::ones([1, 4, 2]);
        /// let y = windows.fold([2, 3], 2, Conv2dOptions::new());
        /// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]);
        /// ```
        pub fn fold / try_fold(
            &self,
            size: impl Into<Sizes<2>>,
            kernel: impl Into<Sizes<2>>,
            options: Conv2dOptions,
        ) -> Tensor {
            let attrs = options.attrs().with("kernel", kernel.into().0).with("size", size.into().0);
            apply1(&FOLD, attrs, &mut [self.into()])
        }
    }
}
