//! The loops of operations on what a division leaves ([`Real::fmod`](super::number::Real::fmod)).

use crate::kernels::elementary::fmod_is_far;
use crate::kernels::number::{Lane, Precise};
use crate::kernels::simd::{self, Isa, Library, Loop};
use crate::kernels::zip::{self, BinaryBody, Rows};

/// The loop of a body, at the level of this machine: as [`zip::block`], and where the quotient has too many digits for
/// that, again with the standard library's function.
pub fn block<B: BinaryBody, T: Precise>(out: &mut [T], x: &[T], y: &[T], rows: Rows, numbers: &[f64]) {
    struct Far<'a, B, T>(&'a mut [T], &'a [T], &'a [T], &'a [f64], std::marker::PhantomData<B>);
    impl<B: BinaryBody, T: Precise> Loop for Far<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let pairs = || self.1.iter().zip(self.2).map(|(&x, &y)| (x, y));
            if pairs().fold(false, |any, (x, y)| any | fmod_is_far::<T, I>(x, y)) {
                for (o, (x, y)) in self.0.iter_mut().zip(pairs()).filter(|&(_, (x, y))| fmod_is_far::<T, I>(x, y)) {
                    *o = B::eval(Lane::<T, Library>::new(x), Lane::new(y), self.3).0;
                }
            }
        }
    }
    zip::block::<B, T>(out, x, y, rows, numbers);
    for (out, x, y) in rows.pairs(out, x, y) {
        simd::run(Far::<B, T>(out, x, y, numbers, std::marker::PhantomData));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::number::Real;

    #[test]
    fn remainders_of_far_quotients_are_exact_too() {
        struct Rest;
        impl BinaryBody for Rest {
            #[inline(always)]
            fn eval<R: Real>(x: R, y: R, _: &[f64]) -> R {
                x.fmod(y)
            }
        }
        let x: Vec<f32> = (0..300).map(|i| if i % 7 == 0 { -1e30 } else { 1.7 * i as f32 }).collect();
        let y: Vec<f32> = (0..300).map(|i| [0.3, -1.1, 1e-20, f32::INFINITY, 0.0][i % 5]).collect();
        let mut rest = vec![0.0; 300];
        block::<Rest, f32>(&mut rest, &x, &y, Rows::one(300), &[]);
        for ((x, y), rest) in x.iter().zip(&y).zip(rest) {
            assert!(rest == x % y || rest.is_nan() && *y == 0.0, "{x:e} % {y:e} is {:e}, not {rest:e}", x % y);
        }
    }
}
