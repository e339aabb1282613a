//! The map family: one operand, element by element.

use crate::dtype::Element;
use crate::kernels::compute::{narrow, widen};
use crate::kernels::copy::gather_par;
use crate::kernels::elementary::Format;
use crate::kernels::number::{Lane, Precise, Real, Whole};
use crate::kernels::operand::{Operand, Scratch, Stretch};
use crate::kernels::simd::{self, Isa, Library, Loop};
use crate::layout::Layout;
use crate::par::{GRAIN, Par};

/// Elements that are brought into dense, computable form at a time where the operand is not.
pub(crate) const BLOCK: usize = 256;

/// The body of an operation on one float: no `if`, so that it vectorises.
pub trait UnaryBody: 'static {
    /// To this magnitude of the element the body holds without branches; beyond, with the standard library's functions.
    const END: f64 = f64::INFINITY;
    /// The operation on one element, with the call's numbers.
    fn eval<R: Real>(x: R, numbers: &[f64]) -> R;
}

/// The body of an operation on one integer.
pub trait UnaryIntBody: 'static {
    /// The operation on one element.
    fn eval<W: Whole>(x: W) -> W;
}

/// The numbers of a call, at most two, apart from all that results may be written over: so a loop loads them once.
#[inline(always)]
pub(super) fn apart(numbers: &[f64]) -> [f64; 2] {
    [0, 1].map(|i| numbers.get(i).copied().unwrap_or(f64::NAN))
}

/// A loop over dense elements: `out[i] = f(x[i])`. The last argument holds the numbers of the call.
pub type Block<T> = fn(&mut [T], &[T], &[f64]);

/// The dense loop of a body, at the level of this machine.
pub fn block<B: UnaryBody, T: Precise>(out: &mut [T], x: &[T], numbers: &[f64]) {
    struct Run<'a, B, T>(&'a mut [T], &'a [T], &'a [f64], std::marker::PhantomData<B>);
    impl<B: UnaryBody, T: Precise> Loop for Run<'_, B, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let numbers = apart(self.2);
            for (o, &x) in self.0.iter_mut().zip(self.1) {
                *o = B::eval(Lane::<T, I>::new(x), &numbers).0;
            }
            // A constant, so that what follows is compiled for the few bodies that need it.
            if const { B::END == f64::INFINITY } {
                return;
            }
            let beyond = |x: T| x.abs() > <T as Format>::lit(B::END);
            if self.1.iter().fold(false, |any, &x| any | beyond(x)) {
                for (o, &x) in self.0.iter_mut().zip(self.1) {
                    if beyond(x) {
                        *o = B::eval(Lane::<T, Library>::new(x), self.2).0;
                    }
                }
            }
        }
    }
    simd::run(Run::<B, T>(out, x, numbers, std::marker::PhantomData));
}

/// The dense loop of an integer body.
pub fn int_block<B: UnaryIntBody, W: Whole>(out: &mut [W], x: &[W], _: &[f64]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = B::eval(x);
    }
}

/// `out = f(x)` over any layout.
pub fn map<T: Element>(out: &mut [T], x: &[T], layout: &Layout, numbers: &[f64], f: Block<T::Compute>, par: &Par) {
    if let (Some(range), Some(_)) = (layout.run_of(out.len()), T::direct(x)) {
        let x = T::direct(&x[range]).expect("direct, as found above");
        // Also to hand a loop over takes its time.
        if out.len() <= GRAIN {
            return f(T::direct_mut(out).expect("direct, as found above"), x, numbers);
        }
        par.chunks_mut(out, GRAIN, |i, part| {
            let x = &x[i * GRAIN..][..part.len()];
            f(T::direct_mut(part).expect("direct, as found above"), x, numbers);
        });
        return;
    }
    let operand = Operand::new(x, layout, layout.shape());
    let Some(stretch) = operand.stretch() else {
        let mut copy = vec![T::default(); out.len()];
        gather_par(&mut copy, x, layout, par);
        return map(out, &copy, &Layout::dense(layout.shape().clone()), numbers, f, par);
    };
    let size = operand.block(GRAIN);
    par.chunks_mut(out, size, |block, part| {
        let (mut scratch, mut down) = (Scratch::new(), Stretch::new());
        for (k, out) in part.chunks_mut(stretch).enumerate() {
            let x = scratch.get(&operand, block * size + k * stretch, out.len());
            match T::direct_mut(out) {
                Some(out) => f(out, x, numbers),
                None => {
                    down.resize(x.len());
                    f(&mut down, x, numbers);
                    narrow(out, &down);
                }
            }
        }
    });
}

/// `x = f(x)` over dense elements.
pub fn map_in_place<T: Element>(x: &mut [T], numbers: &[f64], f: Block<T::Compute>, par: &Par) {
    par.chunks_mut(x, GRAIN, |_, part| {
        let (mut up, mut down) = (Stretch::new(), Stretch::new());
        for x in part.chunks_mut(BLOCK) {
            up.resize(x.len());
            widen(&mut up, x);
            match T::direct_mut(x) {
                Some(x) => f(x, &up, numbers),
                None => {
                    down.resize(x.len());
                    f(&mut down, &up, numbers);
                    narrow(x, &down);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::single::TRIGONOMETRIC_END;

    #[test]
    fn an_element_gives_the_same_bits_wherever_it_stands() {
        struct Sine;
        impl UnaryBody for Sine {
            const END: f64 = TRIGONOMETRIC_END;
            #[inline(always)]
            fn eval<R: Real>(x: R, _: &[f64]) -> R {
                x.sin()
            }
        }
        let near_and_far = |i: i32| (i - 50) as f32 * if i % 7 == 0 { 1e9 } else { 0.37 };
        let mut x: Vec<f32> = (0..101).map(near_and_far).collect();
        x[13] = f32::INFINITY;
        let mut together = vec![0.0; x.len()];
        block::<Sine, f32>(&mut together, &x, &[]);
        for (&x, &together) in x.iter().zip(&together) {
            let mut alone = [0.0];
            block::<Sine, f32>(&mut alone, &[x], &[]);
            assert_eq!(alone[0].to_bits(), together.to_bits(), "the sine of {x:e}");
            if x.abs() > TRIGONOMETRIC_END as f32 {
                assert!(alone[0] == x.sin() || x.is_infinite() && alone[0].is_nan());
            }
        }
    }
}
