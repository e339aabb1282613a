//! Running folds along an axis.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::scan::{self, Sizes};
use crate::kind::{Bool, Float, Int, Numeric};
use crate::ops::elementwise::{demand_float, unsupported};
use crate::ops::scatter::SCATTER_ADD;
use crate::ops::shape::{one, owned};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CUMSUM, &CUMPROD, &CUMMAX, &LINEAR_RECURRENCE];

/// The elements of input 0 in a buffer to scan, and the numbers of elements before, along and after the axis.
fn scanned(call: &mut Call<'_, '_>) -> Result<(AnyTensor, Sizes)> {
    let (shape, dtype) = (call.input(0).shape(), call.input(0).dtype());
    if dtype == DType::Bool {
        return Err(unsupported(dtype));
    }
    let axis = shape.axis(call.attrs().int("axis"))?;
    let sizes = [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()];
    Ok((owned(call), sizes))
}

/// Runs a kernel over the elements of `$x`, in place.
macro_rules! in_place {
    ($x:expr, |$out:ident, $par:ident| $kernel:expr $(, $of:ident)?) => {{
        let n = $x.elements();
        with_dtype!($($of)? $x.dtype(), T => {
            let $out = &mut $x.storage_mut().unique_mut::<T>().expect("reused or copied")[..n];
            let $par = &Par::of(n);
            $kernel
        });
    }};
}

fn sample_axis(g: &mut Gen, shape: &Shape) -> isize {
    g.below(shape.rank()) as isize - if g.below(2) == 0 { shape.rank() as isize } else { 0 }
}

fn samples(g: &mut Gen) -> Vec<Sample> {
    let shape = g.shape(1, 3);
    let axis = sample_axis(g, &shape);
    vec![Sample::new([g.distinct(&shape)], attrs! { axis: axis })]
}

fn misuses() -> Vec<Misuse> {
    let (x, mask): (AnyTensor, AnyTensor) = (Tensor::zeros([2]).into(), Bool::ones([2]).into());
    let one: AnyTensor = Tensor::zeros(()).into();
    vec![
        Misuse::new([x], attrs! { axis: 1 }, "axis 1 is out of range for rank 1"),
        Misuse::new([one], attrs! { axis: 0 }, "a tensor of rank 0 has no axes"),
        Misuse::new([mask], attrs! { axis: 0 }, "precision Bool is not supported"),
    ]
}

/// The elements moved by one position along `axis`, to higher ones where `by` is 1 and to lower ones where it is -1;
/// `fill` takes the place that falls free.
#[track_caller]
pub(super) fn shifted(x: &Tensor, axis: isize, by: isize, fill: f64) -> Tensor {
    let n = x.size(axis);
    if n == 0 {
        return x.clone();
    }
    let at = x.shape().axis(axis).expect("its size was asked for");
    let mut border = vec![(0, 0); x.rank()];
    border[at] = if by > 0 { (1, 0) } else { (0, 1) };
    x.narrow(axis, (by < 0) as usize, n - 1).pad(&border, fill)
}

/// The gradient that reaches each element of a recurrence `s[i] = a[i] * s[i - 1] + b[i]` through all later ones: it
/// follows the same recurrence backwards, `G[i] = g[i] + a[i + 1] * G[i + 1]`.
#[track_caller]
fn carried_back(a: &Tensor, g: &Tensor, axis: isize) -> Tensor {
    shifted(a, axis, -1, 0.0).flip(axis).linear_recurrence(&g.flip(axis), axis).flip(axis)
}

/// The operation of [`Tensor::cumsum`].
pub(crate) static CUMSUM: Op = Op {
    name: "cumsum",
    operands: &["input"],
    forward: |call| {
        let (mut x, sizes) = scanned(call)?;
        in_place!(x, |out, par| scan::cumsum::<T>(out, sizes, par));
        one(x)
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE,
        // An element is part of every sum from its own on.
        vjp: |cx| {
            let axis = cx.attrs().int("axis");
            let g = cx.g().flip(axis).cumsum(axis).flip(axis);
            cx.give(0, g);
        },
    },
    info: || OpInfo {
        family: Family::Scan,
        numpy: "cumsum",
        torch: "cumsum",
        precisions: NUMERIC,
        samples,
        specials: |g| {
            let x = g.tensor(&[1.0, 2.0, 3.0], &[3].into());
            vec![Sample::new([x], attrs! { axis: 0 }).with_gradient([vec![3.0, 2.0, 1.0]])]
        },
        misuses,
    },
};

/// The operation of [`Tensor::cumprod`].
pub(crate) static CUMPROD: Op = Op {
    name: "cumprod",
    operands: &["input"],
    forward: |call| {
        let (mut x, sizes) = scanned(call)?;
        in_place!(x, |out, par| scan::cumprod::<T>(out, sizes, par));
        one(x)
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT.and_output(0),
        // A product is the recurrence y[i] = x[i] * y[i - 1]. Nothing is divided, so zeros are like all numbers.
        vjp: |cx| {
            let (x, y, g) = (cx.input::<Float>(0), cx.output::<Float>(0), cx.g());
            let axis = cx.attrs().int("axis");
            cx.give(0, carried_back(&x, &g, axis) * shifted(&y, axis, 1, 1.0));
        },
    },
    info: || OpInfo {
        family: Family::Scan,
        numpy: "cumprod",
        torch: "cumprod",
        precisions: NUMERIC,
        samples: |g| {
            let shape = g.shape(1, 3);
            let axis = sample_axis(g, &shape);
            vec![Sample::new([g.numbers(&shape, -2.0, 2.0)], attrs! { axis: axis })]
        },
        specials: |g| {
            let mut row = |x: [f64; 4], gradient: [f64; 4]| {
                let x = g.tensor(&x, &[4].into());
                Sample::new([x], attrs! { axis: 0 }).with_gradient([gradient.to_vec()])
            };
            vec![row([2.0, 0.0, 3.0, 4.0], [1.0, 32.0, 0.0, 0.0]), row([2.0, 0.0, 0.0, 4.0], [1.0, 2.0, 0.0, 0.0])]
        },
        misuses,
    },
};

/// The operation of [`Tensor::cummax`]: the largest so far, and its positions.
pub(crate) static CUMMAX: Op = Op {
    name: "cummax",
    operands: &["input"],
    forward: |call| {
        let (mut x, sizes) = scanned(call)?;
        let mut places = AnyTensor::dense(Storage::stale::<i64>(x.elements()), x.shape().clone(), DType::I64);
        let at = &mut places.storage_mut().unique_mut::<i64>().expect("a fresh buffer is unique")[..x.elements()];
        in_place!(x, |out, par| scan::cummax::<T>(out, at, sizes, par));
        Ok(Outputs::from([x, places]))
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE.and_output(1),
        vjp: |cx| {
            let (g, places) = (cx.g(), cx.output::<Int>(1));
            let attrs = attrs! { axis: cx.attrs().int("axis") };
            cx.give_into(0, &SCATTER_ADD, attrs, [places.into(), g.into()]);
        },
    },
    info: || OpInfo {
        family: Family::Scan,
        numpy: "maximum.accumulate",
        torch: "cummax",
        precisions: NUMERIC,
        samples,
        specials: |g| {
            let ties = g.tensor(&[1.0, 2.0, 2.0, 1.0], &[4].into());
            vec![Sample::new([ties], attrs! { axis: 0 }).with_gradient([vec![1.0, 1.0, 2.0, 0.0]])]
        },
        misuses,
    },
};

/// The operation of [`Tensor::linear_recurrence`].
pub(crate) static LINEAR_RECURRENCE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        demand_float(call.same_dtype()?)?;
        let (b, a) = (call.input(0), call.input(1));
        if a.shape() != b.shape() {
            return Err(Error::new(format!("shapes differ: {} and {}", b.shape(), a.shape()))
                .help("give one factor and one addend for each position; expand repeats them"));
        }
        let a = crate::ops::shape::dense(a.view(a.layout().clone()));
        let (mut s, sizes) = scanned(call)?;
        in_place!(s, |out, par| scan::recurrence::<T>(out, a.storage().slice(), sizes, par), float);
        one(s)
    }
    Op {
        name: "linear_recurrence",
        operands: &["addend", "factor"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_input(1).and_output(0),
            vjp: |cx| {
                let (a, s, g) = (cx.input::<Float>(1), cx.output::<Float>(0), cx.g());
                let axis = cx.attrs().int("axis");
                let g = carried_back(&a, &g, axis);
                if cx.needs(1) {
                    cx.give(1, &g * shifted(&s, axis, 1, 0.0));
                }
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Scan,
            numpy: "",
            torch: "",
            precisions: FLOATS,
            samples: |g| {
                let shape = g.shape(1, 3);
                let axis = sample_axis(g, &shape);
                let (b, a) = (g.numbers(&shape, -2.0, 2.0), g.numbers(&shape, -1.5, 1.5));
                vec![Sample::new([b, a], attrs! { axis: axis })]
            },
            specials: |g| {
                // s = b0, a1 b0 + b1, a2 (a1 b0 + b1) + b2
                let (b, a) = (g.tensor(&[1.0, 2.0, 3.0], &[3].into()), g.tensor(&[9.0, 0.0, 2.0], &[3].into()));
                let call = Sample::new([b, a], attrs! { axis: 0 });
                vec![call.with_gradient([vec![1.0, 3.0, 1.0], vec![0.0, 3.0, 2.0]])]
            },
            misuses: || {
                let x: AnyTensor = Tensor::zeros([2, 3]).into();
                vec![
                    Misuse::new([x.clone(), x.clone()], attrs! { axis: 2 }, "axis 2 is out of range for rank 2"),
                    Misuse::new([x, Tensor::zeros([3]).into()], attrs! { axis: 0 }, "shapes differ: [2, 3] and [3]"),
                ]
            },
        },
    }
};

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// The running sum along `axis`: element `i` is the sum of elements `0..=i`. Integers wrap in their precision;
        /// 16-bit floats are summed in `F32`.
        ///
        /// # Panics
        /// If there is no such axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].cumsum(0).to_vec::<f32>(), [1.0, 2.0, 4.0, 6.0]);
        /// ```
        pub fn cumsum / try_cumsum(&self, axis: isize) -> Tensor<K> {
            apply1(&CUMSUM, attrs! { axis: axis }, &mut [self.into()])
        }

        /// The running product along `axis`: element `i` is the product of elements `0..=i`. Integers wrap in their
        /// precision. The gradient divides by nothing: it is right with zeros, too.
        ///
        /// # Panics
        /// If there is no such axis.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0, 3.0].cumprod(0).to_vec::<f32>(), [1.0, 2.0, 6.0]);
        /// ```
        pub fn cumprod / try_cumprod(&self, axis: isize) -> Tensor<K> {
            apply1(&CUMPROD, attrs! { axis: axis }, &mut [self.into()])
        }
    }
}

impl<K: Numeric> Tensor<K> {
    /// The largest element so far along `axis`, and its position: the last of equals, which gets the gradient. From the
    /// first NaN on, NaN.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (values, positions) = tensor![1.0, 3.0, 2.0, 3.0].cummax(0);
    /// assert_eq!(values.to_vec::<f32>(), [1.0, 3.0, 3.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i64>(), [0, 1, 1, 3]);
    /// ```
    #[track_caller]
    pub fn cummax(&self, axis: isize) -> (Tensor<K>, Tensor<Int>) {
        or_panic(self.try_cummax(axis))
    }

    /// Fallible form of [`cummax`](Self::cummax).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_cummax(&self, axis: isize) -> Result<(Tensor<K>, Tensor<Int>)> {
        let [values, positions] = apply(&CUMMAX, attrs! { axis: axis }, &mut [self.into()])?.into_array();
        Ok((values.downcast()?, positions.downcast()?))
    }
}

twin! {
    impl [] Tensor {
        /// The linear recurrence `s[i] = self[i] * s[i - 1] + addend[i]` along `axis`, from `s[0] = addend[0]`: running
        /// sums where every factor is 1, exponential averages, the states of linear state-space models.
        ///
        /// # Panics
        /// If there is no such axis, or the shapes or precisions differ.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, tensor};
        /// let s = Tensor::full([3], 0.5).linear_recurrence(&tensor![8.0, 0.0, 1.0], 0);
        /// assert_eq!(s.to_vec::<f32>(), [8.0, 4.0, 3.0]);
        /// ```
        pub fn linear_recurrence / try_linear_recurrence(&self, addend: &Tensor, axis: isize) -> Tensor {
            apply1(&LINEAR_RECURRENCE, attrs! { axis: axis }, &mut [addend.into(), self.into()])
        }
    }
}
