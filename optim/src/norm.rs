//! Norms of tensors, in one look at their elements.

use half::{bf16, f16};
use wengert_tensor::par::{GRAIN, Par};
use wengert_tensor::simd::{self, Isa, Loop};
use wengert_tensor::{DType, Element, Float, Tensor, Value};

/// How many sums run side by side: as many as fill the widest registers.
const LANES: usize = 16;

/// The sum of the squares of all elements, in F64, where squares of smaller precisions neither overflow nor vanish.
pub(crate) fn square_sum(x: &Tensor) -> f64 {
    sum_of::<Square>(x)
}

/// The root of the mean of the squares of all elements; 0 for none.
pub(crate) fn root_mean_square(x: &Tensor) -> f64 {
    (square_sum(x) / x.elements().max(1) as f64).sqrt()
}

/// Whether no element is infinite or NaN.
pub(crate) fn is_finite(x: &Tensor) -> bool {
    sum_of::<NoneOrNan>(x) == 0.0
}

/// What is summed over elements.
trait Term {
    fn of(x: f64) -> f64;
}

struct Square;
impl Term for Square {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x * x
    }
}

/// Zero for finite numbers, else NaN.
struct NoneOrNan;
impl Term for NoneOrNan {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x * 0.0
    }
}

fn sum_of<F: Term>(x: &Tensor) -> f64 {
    match x.dtype() {
        DType::F64 => sum::<F, f64>(x),
        DType::F16 => sum::<F, f16>(x),
        DType::BF16 => sum::<F, bf16>(x),
        _ => sum::<F, f32>(x),
    }
}

fn sum<F: Term, T: Element + Value<Float, Stored = T>>(x: &Tensor) -> f64 {
    struct Block<'a, F, T>(&'a [T], std::marker::PhantomData<F>);
    impl<F: Term, T: Element> Loop for Block<'_, F, T> {
        type Output = f64;

        #[inline(always)]
        fn run<I: Isa>(self) -> f64 {
            let mut sums = [0.0; LANES];
            let (whole, rest) = self.0.as_chunks::<LANES>();
            for part in whole {
                sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += F::of(x.to_f64()));
            }
            sums.iter_mut().zip(rest).for_each(|(sum, x)| *sum += F::of(x.to_f64()));
            sums.iter().sum()
        }
    }
    let x = x.contiguous();
    let x = x.as_slice::<T>().expect("contiguous, and of this precision");
    let part =
        |i: usize| simd::run(Block(&x[i * GRAIN..((i + 1) * GRAIN).min(x.len())], std::marker::PhantomData::<F>));
    // Blocks by size, summed in order: the same bits for any number of threads.
    Par::of(x.len()).map(x.len().div_ceil(GRAIN), part).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for n in [0, 1, 15, 16, 17, GRAIN - 1, GRAIN, GRAIN + 1, 3 * GRAIN + 5] {
            let x = Tensor::ones([n]);
            assert_eq!(square_sum(&(&x * 2.0)), 4.0 * n as f64, "{n}");
            assert!(is_finite(&x));
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|_| n > 0) {
                    let mut y = x.clone();
                    y.as_mut_slice::<f32>()[at] = bad as f32;
                    assert!(!is_finite(&y), "{bad} at {at} of {n}");
                }
            }
        }
        assert_eq!(root_mean_square(&Tensor::full([3, 4], 0.5).t()), 0.5);
    }
}
