//! Diagonals: views, whose gradient is added into the diagonal.

use crate::attrs;
use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::copy;
use crate::kind::Kind;
use crate::layout::Layout;
use crate::ops::elementwise::unsupported;
use crate::ops::shape::{one, owned};
use crate::ops::twin;
use crate::registry::{ALL, Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&DIAGONAL, &DIAGONAL_ADD];

/// Where the diagonal that the attributes name lies.
fn diagonal(layout: &Layout, attrs: &Attrs) -> Result<Layout> {
    let shape = layout.shape();
    let (a, b) = (shape.axis(attrs.int("axis1"))?, shape.axis(attrs.int("axis2"))?);
    if a == b {
        return Err(Error::new(format!("axis {a} is named twice")).help("a diagonal lies between two axes"));
    }
    let size = shape[a].max(shape[b]) as isize;
    Ok(layout.diagonal(attrs.int("offset").clamp(-size, size), a, b))
}

fn sample(g: &mut Gen) -> (AnyTensor, Attrs) {
    let shape = g.shape(2, 4);
    let a = g.below(shape.rank());
    let b = (a + 1 + g.below(shape.rank() - 1)) % shape.rank();
    let b = if g.below(2) == 0 { b as isize } else { b as isize - shape.rank() as isize };
    (g.numbers(&shape, -2.0, 2.0), attrs! { offset: g.pick(&[0isize, 0, 1, -1, 2]), axis1: a, axis2: b })
}

/// The operation of [`Tensor::diagonal`].
pub(crate) static DIAGONAL: Op = Op {
    name: "diagonal",
    operands: &["input"],
    forward: |call| {
        let x = call.input(0);
        one(x.view(diagonal(x.layout(), call.attrs())?))
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::NONE,
        vjp: |cx| {
            let (g, attrs) = (cx.g(), cx.attrs().clone());
            cx.give_into(0, &DIAGONAL_ADD, attrs, [g.into()]);
        },
    },
    info: || OpInfo {
        family: Family::Copy,
        numpy: "diagonal",
        torch: "diagonal",
        precisions: ALL,
        samples: |g| {
            let (x, attrs) = sample(g);
            vec![Sample::new([x], attrs)]
        },
        specials: |g| {
            let x = g.tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2].into());
            let beyond = attrs! { offset: isize::MIN, axis1: 0, axis2: 1 };
            vec![Sample::new([x], beyond).with_gradient([vec![0.0; 4]])]
        },
        misuses: || {
            let (x, flat): (AnyTensor, AnyTensor) = (Tensor::zeros([2, 3]).into(), Tensor::zeros([2]).into());
            vec![
                Misuse::new([flat], attrs! { offset: 0, axis1: 0, axis2: 1 }, "axis 1 is out of range for rank 1"),
                Misuse::new([x], attrs! { offset: 0, axis1: 0, axis2: -2 }, "axis 0 is named twice"),
            ]
        },
    },
};

/// Adds the second input to a diagonal of the first: how the gradient of a diagonal is accumulated, in place where it
/// can be.
pub(crate) static DIAGONAL_ADD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        let target = diagonal(&Layout::dense(call.input(0).shape().clone()), call.attrs())?;
        if target.shape() != call.input(1).shape() {
            let e = format!("the diagonal has shape {}, not {}", target.shape(), call.input(1).shape());
            return Err(Error::new(e));
        }
        let mut base = owned(call);
        let (x, n) = (call.input(1), base.elements());
        with_dtype!(dtype, T => {
            let out = &mut base.storage_mut().unique_mut::<T>().expect("reused or copied")[..n];
            copy::add_at::<T>(out, &target, x.storage().slice(), x.layout());
        });
        one(base)
    }
    Op {
        name: "diagonal_add",
        operands: &["input", "addend"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE,
            vjp: |cx| {
                let g = cx.g();
                if cx.needs(1) {
                    let part = or_panic(apply1(&DIAGONAL, cx.attrs().clone(), &mut [(&g).into()]));
                    cx.give(1, part);
                }
                cx.give(0, g);
            },
        },
        info: || OpInfo {
            family: Family::Copy,
            numpy: "",
            torch: "",
            precisions: NUMERIC,
            samples: |g| {
                let (x, attrs) = sample(g);
                let part = diagonal(x.layout(), &attrs).expect("two axes of the input");
                let addend = g.numbers(part.shape(), -2.0, 2.0);
                vec![Sample::new([x, addend], attrs)]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let (x, flat): (AnyTensor, AnyTensor) = (Tensor::zeros([2, 3]).into(), Tensor::zeros([3]).into());
                let attrs = attrs! { offset: 0, axis1: 0, axis2: 1 };
                vec![Misuse::new([x, flat], attrs, "the diagonal has shape [2], not [3]")]
            },
        },
    }
};

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// The elements whose positions on `axis1` and `axis2` are `i` and `i + offset`, along one axis that comes last
        /// instead of these two. A view.
        ///
        /// # Panics
        /// If an axis does not exist, or both are one.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let x = tensor![[1, 2, 3], [4, 5, 6]];
        /// assert_eq!(x.diagonal(0, 0, 1).to_vec::<i64>(), [1, 5]);
        /// assert_eq!(x.diagonal(1, 0, 1).to_vec::<i64>(), [2, 6]);
        /// ```
        pub fn diagonal / try_diagonal(&self, offset: isize, axis1: isize, axis2: isize) -> Tensor<K> {
            apply1(&DIAGONAL, attrs! { offset: offset, axis1: axis1, axis2: axis2 }, &mut [self.into()])
        }
    }
}
