//! The select family: one of two operands by a mask, element by element.

use crate::dtype::Element;
use crate::kernels::operand::Operand;
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::Layout;
use crate::par::{GRAIN, Par};
use crate::shape::Shape;

/// `out = mask ? yes : no` over operands that broadcast to `shape`.
pub fn select<T: Element>(
    out: &mut [T],
    shape: &Shape,
    (mask, mask_layout): (&[u8], &Layout),
    (yes, yes_layout): (&[T], &Layout),
    (no, no_layout): (&[T], &Layout),
    par: &Par,
) {
    if out.is_empty() {
        return;
    }
    let mask = Operand::new(mask, mask_layout, shape);
    let (yes, no) = (Operand::new(yes, yes_layout, shape), Operand::new(no, no_layout, shape));
    let size = mask.block(GRAIN).max(yes.block(GRAIN)).max(no.block(GRAIN));
    par.chunks_mut(out, size, |block, part| {
        let (mut masks, mut others) = (Vec::new(), Vec::new());
        // What is not one piece is loaded a stretch at a time, the first operand into the result itself.
        let whole = [mask.stretch(), yes.stretch(), no.stretch()].into_iter().map(|s| s.unwrap_or(size)).max();
        let stretch = whole.expect("three operands").min(size);
        for (k, out) in part.chunks_mut(stretch).enumerate() {
            let (start, n) = (block * size + k * stretch, out.len());
            let (mask, no) = (loaded(&mask, &mut masks, start, n), loaded(&no, &mut others, start, n));
            yes.load(out, start);
            put_where_not(out, mask, no);
        }
    });
}

/// The elements from number `start` on, in one piece.
fn loaded<'a, T: Element>(x: &Operand<'a, T>, scratch: &'a mut Vec<T>, start: usize, n: usize) -> &'a [T] {
    if let Some(x) = x.slice(start, n) {
        return x;
    }
    scratch.resize(n, T::default());
    x.load(scratch, start);
    scratch
}

/// `out = mask ? out : no`, without a branch that half of the masks would mislead. Once for each size of elements.
fn put_where_not<T: Element>(out: &mut [T], mask: &[u8], no: &[T]) {
    macro_rules! of {
        ($t:ty) => {{
            struct Bits<'a>(&'a mut [$t], &'a [u8], &'a [$t]);
            impl Loop for Bits<'_> {
                type Output = ();
                #[inline(always)]
                fn run<I: Isa>(self) {
                    for ((o, &m), &n) in self.0.iter_mut().zip(self.1).zip(self.2) {
                        let keep = ((m != 0) as $t).wrapping_neg();
                        *o = (*o & keep) | (n & !keep);
                    }
                }
            }
            simd::run_narrow(Bits(bytemuck::cast_slice_mut(out), mask, bytemuck::cast_slice(no)))
        }};
    }
    match size_of::<T>() {
        1 => of!(u8),
        2 => of!(u16),
        4 => of!(u32),
        _ => of!(u64),
    }
}

/// The positions of the elements of `x` that are not 0, in order.
pub fn positions<T: Element>(x: &[T], par: &Par) -> Vec<i64> {
    let of_block = |i: usize| {
        let block = &x[i * GRAIN..x.len().min((i + 1) * GRAIN)];
        let found = block.iter().enumerate().filter(|(_, v)| **v != T::default());
        found.map(|(k, _)| (i * GRAIN + k) as i64).collect::<Vec<i64>>()
    };
    par.map(x.len().div_ceil(GRAIN), of_block).concat()
}
