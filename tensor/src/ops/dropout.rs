//! Dropout.

use std::panic::Location;

use crate::attrs;
use crate::dispatch::{Gradient, Op, Outputs, Saves, apply, in_op};
use crate::dtype::{DType, with_dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{copy, random};
use crate::kind::Bool;
use crate::ops::elementwise::demand_float;
use crate::ops::random::{numbered, place};
use crate::ops::twin;
use crate::par::Par;
use crate::random::OfThread;
use crate::registry::{FLOATS, Family, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&DROPOUT];

/// The operation of [`Tensor::dropout`]. Its second output is the mask of what is kept.
pub(crate) static DROPOUT: Op = {
    fn check(p: f64) -> Result<()> {
        if (0.0..=1.0).contains(&p) {
            return Ok(());
        }
        Err(Error::new(format!("p {p} is not between 0 and 1"))
            .kind_of(ErrorKind::Value)
            .help("p is the share of elements that are set to 0"))
    }
    /// What the kept elements are multiplied with, so that the expected sum stays. Nothing is kept at `p` 1.
    fn scale(p: f64) -> f64 {
        if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 }
    }
    Op {
        name: "dropout",
        operands: &["input"],
        forward: |call| {
            let p = call.attrs().float("p");
            check(p)?;
            let (key, counter) = place(call.attrs());
            let (shape, dtype) = (call.input(0).shape().clone(), call.input(0).dtype());
            demand_float(dtype)?;
            let n = shape.elements();
            let par = Par::of(n);
            let mut mask = Storage::stale::<u8>(n);
            random::keep(&mut mask.unique_mut::<u8>().expect("a fresh buffer is unique")[..n], p, key, counter, &par);
            let storage = with_dtype!(float dtype, T => {
                let mut storage = call.reuse(0).unwrap_or_else(|| {
                    let x = call.input(0);
                    let mut fresh = Storage::stale::<T>(n);
                    let out = &mut fresh.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
                    copy::gather_par(out, x.storage().slice(), x.layout(), &par);
                    fresh
                });
                let out = &mut storage.unique_mut::<T>().expect("fresh, or handed over")[..n];
                random::drop_out(out, mask.slice(), scale(p), &par);
                storage
            });
            Ok(Outputs::from([
                AnyTensor::dense(storage, shape.clone(), dtype),
                AnyTensor::dense(mask, shape, DType::Bool),
            ]))
        },
        gradient: Gradient::Rule {
            saves: |_| Saves::NONE.and_output(1),
            vjp: |cx| {
                let p = cx.attrs().float("p");
                let (g, mask) = (cx.g(), cx.output::<Bool>(1));
                let zero = Tensor::full_dtype((), 0.0, g.dtype());
                cx.give(0, mask.where_(&(g * scale(p)), &zero));
            },
        },
        info: || OpInfo {
            family: Family::Random,
            numpy: "",
            torch: "dropout",
            precisions: FLOATS,
            samples: |g| {
                let shape = g.shape(0, 3);
                let x = g.numbers(&shape, -2.0, 2.0);
                let p = g.pick(&[0.0, 0.3, 0.5]);
                vec![Sample::new([x], attrs! { p: p, key: g.below(1000), counter: g.below(1000) })]
            },
            specials: |g| {
                let x = g.tensor(&[1.0, f64::NAN, f64::INFINITY], &[3].into());
                vec![Sample::new([x], attrs! { p: 1.0, key: 0i64, counter: 0i64 }).with_gradient([vec![0.0, 0.0, 0.0]])]
            },
            misuses: || {
                let x = || [Tensor::zeros([2]).into()];
                vec![
                    Misuse::new(x(), attrs! { p: 1.5, key: 0i64, counter: 0i64 }, "p 1.5 is not between 0 and 1"),
                    Misuse::new(x(), attrs! { p: f64::NAN, key: 0i64, counter: 0i64 }, "p NaN is not between 0 and 1"),
                ]
            },
        },
    }
};

twin! {
    impl [] Tensor {
        /// Sets each element to 0 with probability `p` and divides the others by `1 - p`, so that the expected value of
        /// each stays. Where `training` is false, or `p` is 0, the tensor itself.
        ///
        /// What is dropped comes from the thread's default generator, see [`manual_seed`](crate::manual_seed).
        ///
        /// N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15 (2014).
        ///
        /// # Panics
        /// If `p` is not between 0 and 1.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, manual_seed};
        /// manual_seed(1);
        /// let y = Tensor::ones([1000]).dropout(0.2, true);
        /// assert_eq!(y.max().item(), 1.25);
        /// assert!((y.mean().item() - 1.0).abs() < 0.1);
        /// ```
        pub fn dropout / try_dropout(&self, p: f64, training: bool) -> Tensor {
            // A wrong `p` is an error in evaluation, too.
            if p == 0.0 || !training && (0.0..=1.0).contains(&p) {
                return Ok(self.clone());
            }
            let attrs = numbered(attrs! { p: p }, OfThread, self.elements());
            apply(&DROPOUT, attrs, &mut [self.into()])?.into_first().downcast()
        }

        /// [`dropout`](Self::dropout) of whole channels of `[N, C, ..]`: with probability `p` a channel of a sample is 0,
        /// else divided by `1 - p`. Neighbouring pixels are so alike that dropping single ones hides little.
        ///
        /// J. Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015, arXiv:1411.4280.
        ///
        /// # Panics
        /// If the rank is below 2, or `p` is not between 0 and 1.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, manual_seed};
        /// manual_seed(1);
        /// let y = Tensor::ones([4, 8, 3, 3]).dropout2d(0.5, true);
        /// let sums = y.sum_axis([2, 3]).to_vec::<f32>();
        /// assert!(sums.iter().all(|&s| s == 0.0 || s == 18.0) && sums.contains(&0.0) && sums.contains(&18.0));
        /// ```
        pub fn dropout2d / try_dropout2d(&self, p: f64, training: bool) -> Tensor {
            let rank = match self.rank() {
                rank @ 2.. => Ok(rank),
                rank => Err(Error::new(format!("needs rank 2 or more, [N, C, ..], not {rank}"))),
            };
            let rank = in_op("dropout2d", &[("input", self.as_any())], Location::caller(), rank)?;
            let channels: Shape = (0..rank).map(|axis| if axis < 2 { self.shape()[axis] } else { 1 }).collect();
            let kept = Tensor::full_dtype(&channels, 1.0, self.dtype()).try_dropout(p, training)?;
            if training { self.try_mul(kept) } else { Ok(self.clone()) }
        }
    }
}
