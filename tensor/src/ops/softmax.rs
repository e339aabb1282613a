//! Softmax and its logarithm.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, Result, or_panic};
use crate::kernels::softmax;
use crate::kind::Float;
use crate::layout::Layout;
use crate::ops::elementwise::unsupported;
use crate::ops::memory_order::in_memory_order;
use crate::ops::shape::dense;
use crate::ops::twin;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&SOFTMAX, &LOG_SOFTMAX, &SOFTMAX_GRAD, &LOG_SOFTMAX_GRAD];

/// Runs a kernel along the axis that the attributes name.
fn forward(call: &mut Call<'_, '_>, log: bool) -> Result<Outputs> {
    let x = call.input(0);
    let (dtype, n) = (x.dtype(), x.elements());
    if !dtype.is_float() {
        return Err(unsupported(dtype).help("convert first: x.to_float()"));
    }
    let axis = x.shape().axis(call.attrs().int("axis"))?;
    let kernel = |x: &AnyTensor, shape: Shape, axis| {
        with_dtype!(float dtype, T => AnyTensor::filled::<T>(shape, |out| {
            let kernel = if log { softmax::log_softmax } else { softmax::softmax };
            kernel(out, x.storage().slice(), x.layout(), axis, &softmax::par(n));
        }))
    };
    Ok(in_memory_order(x.shape().clone(), [x], |shape, [x], place| kernel(x, shape, place(axis))).into())
}

fn samples(g: &mut Gen) -> Vec<Sample> {
    let shape = g.shape(1, 3);
    let axis = g.below(shape.rank()) as isize;
    let axis = g.pick(&[axis, axis - shape.rank() as isize]);
    vec![Sample::new([g.numbers(&shape, -3.0, 3.0)], attrs! { axis: axis })]
}

fn specials(g: &mut Gen) -> Vec<Sample> {
    // Ties, and logits whose exponentials overflow in every precision.
    let rows = [[0.0, 0.0, 0.0], [1000.0, 1001.0, 999.5]];
    rows.iter().map(|row| Sample::new([g.tensor(row, &[3].into())], attrs! { axis: 0isize })).collect()
}

fn misuses() -> Vec<Misuse> {
    vec![
        Misuse::new([Tensor::zeros([2, 3]).into()], attrs! { axis: 2isize }, "axis 2 is out of range for rank 2"),
        Misuse::new([Tensor::zeros(()).into()], attrs! { axis: 0isize }, "a tensor of rank 0 has no axes"),
        Misuse::new([crate::Int::zeros([2]).into()], attrs! { axis: 0isize }, "precision I64 is not supported"),
    ]
}

/// The operation of [`Tensor::softmax`].
pub(crate) static SOFTMAX: Op = Op {
    name: "softmax",
    operands: &["input"],
    forward: |call| forward(call, false),
    gradient: Gradient::Rule {
        saves: |_| Saves::OUTPUT,
        vjp: |cx| {
            let (g, y) = (cx.g(), cx.output::<Float>(0));
            cx.give(0, or_panic(apply1(&SOFTMAX_GRAD, cx.attrs().clone(), &mut [(&g).into(), (&y).into()])));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "softmax",
        precisions: FLOATS,
        samples,
        specials,
        misuses,
    },
};

/// The operation of [`Tensor::log_softmax`].
pub(crate) static LOG_SOFTMAX: Op = Op {
    name: "log_softmax",
    operands: &["input"],
    forward: |call| forward(call, true),
    gradient: Gradient::Rule {
        saves: |_| Saves::OUTPUT,
        vjp: |cx| {
            let (g, y) = (cx.g(), cx.output::<Float>(0));
            cx.give(0, or_panic(apply1(&LOG_SOFTMAX_GRAD, cx.attrs().clone(), &mut [(&g).into(), (&y).into()])));
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "log_softmax",
        precisions: FLOATS,
        samples,
        specials,
        misuses,
    },
};

/// The gradient of an operation along an axis, from that of its result and the result.
fn forward_grad(call: &mut Call<'_, '_>, log: bool) -> Result<Outputs> {
    let dtype = call.same_dtype()?;
    if !dtype.is_float() {
        return Err(unsupported(dtype).help("convert first: x.to_float()"));
    }
    let (g, y) = (dense(call.input(0).clone()), dense(call.input(1).clone()));
    if g.shape() != y.shape() {
        return Err(Error::new(format!("the gradient has shape {}, and the result {}", g.shape(), y.shape())));
    }
    let axis = y.shape().axis(call.attrs().int("axis"))?;
    let par = softmax::par(y.elements());
    Ok(with_dtype!(float dtype, T => AnyTensor::filled::<T>(y.shape().clone(), |out| {
        let kernel = if log { softmax::log_softmax_grad } else { softmax::softmax_grad };
        kernel(out, g.dense_slice(), y.dense_slice(), &Layout::dense(y.shape().clone()), axis, &par);
    }))
    .into())
}

fn samples_grad(g: &mut Gen) -> Vec<Sample> {
    let shape = g.shape(1, 3);
    let axis = g.below(shape.rank()) as isize;
    vec![Sample::new([g.numbers(&shape, -1.0, 1.0), g.numbers(&shape, -1.0, 1.0)], attrs! { axis: axis })]
}

fn misuses_grad() -> Vec<Misuse> {
    let z = |shape: [usize; 2]| -> AnyTensor { Tensor::zeros(shape).into() };
    vec![
        Misuse::new([z([2, 3]), z([2, 3])], attrs! { axis: 2isize }, "axis 2 is out of range for rank 2"),
        Misuse::new([z([2, 3]), z([3, 2])], attrs! { axis: 0isize }, "the gradient has shape [2, 3]"),
    ]
}

/// The gradient of [`SOFTMAX`]: `y (g - sum(g y))`, in one pass.
pub(crate) static SOFTMAX_GRAD: Op = Op {
    name: "softmax_grad",
    operands: &["gradient", "output"],
    forward: |call| forward_grad(call, false),
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUTS,
        vjp: |cx| {
            let (u, g, y) = (cx.g(), cx.input::<Float>(0), cx.input::<Float>(1));
            let axis = cx.attrs().int("axis");
            if cx.needs(0) {
                // It is its own transpose.
                cx.give(0, or_panic(apply1(&SOFTMAX_GRAD, cx.attrs().clone(), &mut [(&u).into(), (&y).into()])));
            }
            if cx.needs(1) {
                let (along, own) = ((&g * &y).sum_keepdim(axis), (&u * &y).sum_keepdim(axis));
                cx.give(1, u * (&g - along) - g * own);
            }
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "",
        precisions: FLOATS,
        samples: samples_grad,
        specials: |_| Vec::new(),
        misuses: misuses_grad,
    },
};

/// The gradient of [`LOG_SOFTMAX`]: `g - exp(y) sum(g)`, in one pass.
pub(crate) static LOG_SOFTMAX_GRAD: Op = Op {
    name: "log_softmax_grad",
    operands: &["gradient", "output"],
    forward: |call| forward_grad(call, true),
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUTS,
        vjp: |cx| {
            let (u, g, y) = (cx.g(), cx.input::<Float>(0), cx.input::<Float>(1));
            let axis = cx.attrs().int("axis");
            let part = &u * y.exp();
            if cx.needs(0) {
                cx.give(0, &u - part.sum_keepdim(axis));
            }
            if cx.needs(1) {
                cx.give(1, -(part * g.sum_keepdim(axis)));
            }
        },
    },
    info: || OpInfo {
        family: Family::Norm,
        numpy: "",
        torch: "",
        precisions: FLOATS,
        samples: samples_grad,
        specials: |_| Vec::new(),
        misuses: misuses_grad,
    },
};

twin! {
    impl [] Tensor {
        /// The exponentials of the elements, scaled to sum to 1 along `axis`: logits become probabilities.
        ///
        /// The largest element of each row is subtracted first, so nothing overflows. A row that holds NaN or
        /// positive infinity, or nothing but negative infinities, becomes NaN.
        ///
        /// # Panics
        /// If there is no such axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let p = tensor![[1.0, 1.0], [1000.0, 0.0]].softmax(-1);
        /// assert_eq!(p.to_vec::<f32>(), [0.5, 0.5, 1.0, 0.0]);
        /// ```
        pub fn softmax / try_softmax(&self, axis: isize) -> Tensor {
            apply1(&SOFTMAX, attrs! { axis: axis }, &mut [self.into()])
        }

        /// The logarithm of [`softmax`](Self::softmax), computed without taking the logarithm of a probability that
        /// has rounded to 0.
        ///
        /// # Panics
        /// If there is no such axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![0.0, 1000.0].log_softmax(0).to_vec::<f32>(), [-1000.0, 0.0]);
        /// ```
        pub fn log_softmax / try_log_softmax(&self, axis: isize) -> Tensor {
            apply1(&LOG_SOFTMAX, attrs! { axis: axis }, &mut [self.into()])
        }
    }
}
