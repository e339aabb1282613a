//! The select family: one of two operands by a mask, element by element.

use smallvec::SmallVec;

use crate::dtype::Element;
use crate::kernels::operand::Operand;
use crate::kernels::simd::{self, Isa, Loop};
use crate::layout::Layout;
use crate::par::{GRAIN, Par, SharedMut};
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

/// How many elements of `x` before each block of them, and of all, are not 0.
pub fn nonzero_before<T: Element>(x: &[T], par: &Par) -> Vec<usize> {
    struct Count<'a, T>(&'a [T]);
    impl<T: Element> Loop for Count<'_, T> {
        type Output = usize;
        #[inline(always)]
        fn run<I: Isa>(self) -> usize {
            self.0.iter().filter(|v| **v != T::default()).count()
        }
    }
    let block = |i: usize| &x[i * GRAIN..x.len().min((i + 1) * GRAIN)];
    let counts = par.map(x.len().div_ceil(GRAIN), |i| simd::run_narrow(Count(block(i))));
    let mut all = vec![0];
    counts.into_iter().for_each(|count| all.push(all[all.len() - 1] + count));
    all
}

/// Elements that are looked at together.
const AT_A_TIME: usize = 1024;

/// The positions in `shape` of the elements of the dense `x` that are not 0, in row-major order, each a row of `out`;
/// `before` is of [`nonzero_before`].
pub fn nonzero<T: Element>(out: &mut [i64], x: &[T], shape: &Shape, before: &[usize], par: &Par) {
    let Some((&last, leading)) = shape.split_last() else { return };
    let (rank, last, out) = (shape.rank(), last as i64, SharedMut::new(out));
    par.for_each(before.len() - 1, |block| {
        // SAFETY: each block has its own rows.
        let out = unsafe { out.range(before[block] * rank..before[block + 1] * rank) };
        let mut rows = out.chunks_exact_mut(rank);
        let x = &x[block * GRAIN..x.len().min((block + 1) * GRAIN)];
        // Neighbours mostly lie in one line along the last axis: its place is found once.
        let (mut line, mut place) = (0..0, SmallVec::<[i64; 4]>::from_elem(0, leading.len()));
        for (k, x) in x.chunks(AT_A_TIME).enumerate() {
            // Each is noted, and what does not count is written over: no branch to mispredict.
            let (mut found, mut count) = ([0; AT_A_TIME], 0);
            for (i, v) in x.iter().enumerate() {
                found[count] = (block * GRAIN + k * AT_A_TIME + i) as i64;
                count += (*v != T::default()) as usize;
            }
            for (&at, row) in found[..count].iter().zip(&mut rows) {
                if !line.contains(&at) {
                    let mut rest = at / last;
                    line = rest * last..(rest + 1) * last;
                    for (p, &size) in place.iter_mut().zip(leading).rev() {
                        (*p, rest) = (rest % size as i64, rest / size as i64);
                    }
                }
                row.iter_mut().zip(&place).for_each(|(r, &p)| *r = p);
                row[rank - 1] = at - line.start;
            }
        }
    });
}
