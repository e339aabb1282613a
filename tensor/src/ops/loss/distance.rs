//! Similarity of vectors, and losses built on distances between them.

use std::panic::Location;

use crate::dispatch::in_op;
use crate::error::{Error, ErrorKind, Result};
use crate::kind::Int;
use crate::ops::loss::{demand_positive, losses, options, same_shape};
use crate::ops::twin;
use crate::tensor::Tensor;

/// The least product of two lengths that [`Tensor::cosine_similarity`] divides by.
const LEAST_LENGTH: f64 = 1e-8;

twin! {
    impl [] Tensor {
        /// The cosine of the angle between vectors along `axis`: their product over their lengths, each of which is taken
        /// to be at least 1e-8. They broadcast.
        ///
        /// # Panics
        /// If there is no such axis, the shapes do not broadcast, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let (x, y) = (tensor![[3.0, 4.0], [1.0, 0.0]], tensor![[6.0, 8.0], [0.0, 2.0]]);
        /// assert_eq!(x.cosine_similarity(&y, 1).to_vec::<f32>(), [1.0, 0.0]);
        /// ```
        pub fn cosine_similarity / try_cosine_similarity(&self, other: &Tensor, axis: isize) -> Tensor {
            let product = self.try_mul(other)?.try_sum_axis(axis)?;
            // Bounded before the root, whose gradient at 0 is infinite.
            let length = |x: &Tensor| -> Result<Tensor> {
                x.try_square()?.try_sum_axis(axis)?.try_clamp(LEAST_LENGTH * LEAST_LENGTH, f64::INFINITY)?.try_sqrt()
            };
            product.try_div(length(self)?.try_mul(length(other)?)?)
        }
    }
}

options! {
    /// How [`Tensor::cosine_embedding_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{CosineEmbedding, tensor};
    /// let (x, y) = (tensor![[1.0, 0.0]], tensor![[3.0, 4.0]]);
    /// let loss = x.cosine_embedding_loss_with(&y, &tensor![-1], CosineEmbedding::new().margin(0.5));
    /// assert!((loss.item() - 0.1).abs() < 1e-6);
    /// ```
    CosineEmbedding {
        /// The cosine up to which vectors that should differ have a loss of 0. 0 unless set.
        margin(margin: f64): f64 = 0.0 => margin;
    }

    /// How [`Tensor::triplet_margin_loss_with`] computes.
    ///
    /// ```
    /// use wengert_tensor::{TripletMargin, tensor};
    /// let (anchor, near, far) = (tensor![[0.0, 0.0]], tensor![[3.0, 4.0]], tensor![[1.0, 7.0]]);
    /// let loss = anchor.triplet_margin_loss_with(&near, &far, TripletMargin::new().margin(2.0).p(1.0).eps(1e-6).swap(true));
    /// assert!((loss.item() - 4.0).abs() < 1e-4);
    /// ```
    TripletMargin {
        /// How much farther than the positive the negative must be for a loss of 0. 1 unless set.
        margin(margin: f64): f64 = 1.0 => margin;
        /// The norm: the `p`-th root of the sum of `p`-th powers of differences. 2 unless set.
        p(p: f64): f64 = 2.0 => p;
        /// Added to each difference, so that a distance is never 0, where it has no gradient. 1e-6 unless set.
        eps(eps: f64): f64 = 1e-6 => eps;
        /// Whether the negative's distance is that to the positive, where it is the smaller one (Balntas et al., 2016).
        /// It is not unless set.
        swap(swap: bool): bool = false => swap;
    }
}

losses! {
    /// One minus the cosine between vectors `[N, D]` and their partners where the target `[N]` is 1, and the cosine, but
    /// at least 0, where it is -1. The mean over the vectors.
    ///
    /// # Panics
    /// If the shapes do not fit, the precisions differ, or a target is neither 1 nor -1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (x, y) = (tensor![[1.0, 0.0], [1.0, 0.0]], tensor![[0.0, 2.0], [2.0, 0.0]]);
    /// assert_eq!(x.cosine_embedding_loss(&y, &tensor![1, -1]).item(), 1.0);
    /// ```
    cosine_embedding_loss / try_cosine_embedding_loss, cosine_embedding_loss_with / try_cosine_embedding_loss_with (
        &self, other: &Tensor, target: &Tensor<Int>; o: CosineEmbedding
    ) {
        let check = || {
            same_shape(self.shape(), other.shape())?;
            let wanted = self.shape().split_last().map(|(_, rest)| rest).unwrap_or_default();
            if self.rank() == 0 || target.shape()[..] != *wanted {
                let e = format!("target has shape {}, and vectors {} call for {wanted:?}", target.shape(), self.shape());
                return Err(Error::new(e).help("one target for each vector along the last axis"));
            }
            match target.to_vec::<i64>().iter().position(|t| t.abs() != 1) {
                None => Ok(()),
                Some(i) => {
                    let (value, at) = (target.to_vec::<i64>()[i], target.shape().position(i));
                    Err(Error::new(format!("target {value} at {at:?} is neither 1 nor -1")).kind_of(ErrorKind::Value))
                }
            }
        };
        let operands = [("input", self.as_any()), ("other", other.as_any()), ("target", target.as_any())];
        in_op("cosine_embedding_loss", &operands, Location::caller(), check())?;
        let cosine = self.try_cosine_similarity(other, -1)?;
        let apart = (&cosine - o.margin).try_relu()?;
        o.reduction.apply(target.try_gt(0)?.try_where_(&(1.0 - cosine), &apart)?)
    }

    /// How much less than 1 farther the negative `[.., D]` is from the anchor `[.., D]` than the positive `[.., D]`, but
    /// at least 0: `max(0, |anchor - positive| - |anchor - negative| + 1)`, along the last axis. The mean over the others.
    ///
    /// # Panics
    /// If the shapes or the precisions differ, or the rank is 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let (anchor, near, far) = (tensor![[0.0, 0.0]], tensor![[3.0, 4.0]], tensor![[0.0, 5.5]]);
    /// assert!((anchor.triplet_margin_loss(&near, &far).item() - 0.5).abs() < 1e-4);
    /// ```
    triplet_margin_loss / try_triplet_margin_loss, triplet_margin_loss_with / try_triplet_margin_loss_with (
        &self, positive: &Tensor, negative: &Tensor; o: TripletMargin
    ) {
        let check = || {
            same_shape(self.shape(), positive.shape())?;
            same_shape(self.shape(), negative.shape())?;
            demand_positive("p", o.p)?;
            self.shape().axis(-1)
        };
        let operands = [("anchor", self.as_any()), ("positive", positive.as_any()), ("negative", negative.as_any())];
        in_op("triplet_margin_loss", &operands, Location::caller(), check())?;
        let distance = |x: &Tensor, y: &Tensor| -> Result<Tensor> {
            let difference = x.try_sub(y)? + o.eps;
            difference.try_abs()?.try_pow(o.p)?.try_sum_axis(-1)?.try_pow(1.0 / o.p)
        };
        let near = distance(self, positive)?;
        let mut far = distance(self, negative)?;
        if o.swap {
            far = far.try_minimum(distance(positive, negative)?)?;
        }
        o.reduction.apply((near.try_sub(far)? + o.margin).try_relu()?)
    }
}
