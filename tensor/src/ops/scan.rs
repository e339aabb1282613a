//! Running folds along an axis.

use crate::attrs;
use crate::dispatch::{Call, Gradient, Op, Outputs, Saves, apply1};
use crate::dtype::{DType, with_dtype};
use crate::error::Result;
use crate::kernels::scan;
use crate::kind::{Bool, Numeric};
use crate::ops::elementwise::unsupported;
use crate::ops::shape::{copied, one};
use crate::ops::twin;
use crate::par::Par;
use crate::registry::{Family, Misuse, NUMERIC, OpInfo, Sample};
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CUMSUM];

/// The operation of [`Tensor::cumsum`].
pub(crate) static CUMSUM: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let x = call.input(0);
        if x.dtype() == DType::Bool {
            return Err(unsupported(x.dtype()));
        }
        let axis = x.shape().axis(call.attrs().int("axis"))?;
        let (n, after) = (x.shape()[axis], x.shape()[axis + 1..].iter().product());
        let mut sums = copied(x);
        with_dtype!(x.dtype(), T => {
            let out = &mut sums.storage_mut().unique_mut::<T>().expect("a fresh buffer is unique")[..x.elements()];
            scan::cumsum::<T>(out, n, after, &Par::of(x.elements()));
        });
        one(sums)
    }
    Op {
        name: "cumsum",
        operands: &["input"],
        forward,
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
            samples: |g| {
                let shape = g.shape(1, 3);
                let axis = g.below(shape.rank()) as isize - if g.below(2) == 0 { shape.rank() as isize } else { 0 };
                vec![Sample::new([g.numbers(&shape, -2.0, 2.0)], attrs! { axis: axis })]
            },
            specials: |g| {
                let x = g.tensor(&[1.0, 2.0, 3.0], &[3].into());
                vec![Sample::new([x], attrs! { axis: 0 }).with_gradient([vec![3.0, 2.0, 1.0]])]
            },
            misuses: || {
                let (x, mask): (AnyTensor, AnyTensor) = (Tensor::zeros([2]).into(), Bool::ones([2]).into());
                let one: AnyTensor = Tensor::zeros(()).into();
                vec![
                    Misuse::new([x], attrs! { axis: 1 }, "axis 1 is out of range for rank 1"),
                    Misuse::new([one], attrs! { axis: 0 }, "a tensor of rank 0 has no axes"),
                    Misuse::new([mask], attrs! { axis: 0 }, "precision Bool is not supported"),
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
    }
}
