//! The select family: one of two operands by a mask, element by element.

use crate::dtype::Element;
use crate::layout::{Joint, Layout};
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
    let joint = Joint::new(shape, [mask_layout, yes_layout, no_layout]);
    let inner = joint.inner;
    let [m_step, y_step, n_step] = joint.inner_strides;
    let runs_per_block = (GRAIN / inner).max(1);
    par.chunks_mut(out, runs_per_block * inner, |block, part| {
        let first = block * runs_per_block;
        joint.for_runs(first..first + part.len() / inner, |run, at| {
            let out = &mut part[(run - first) * inner..][..inner];
            // Masks beside dense or repeated operands, without a step to count.
            match (m_step, y_step, n_step) {
                (1, 0, 1) => {
                    let (yes, operands) = (yes[at[1]], mask[at[0]..].iter().zip(&no[at[2]..]));
                    return out.iter_mut().zip(operands).for_each(|(o, (&m, &n))| *o = if m != 0 { yes } else { n });
                }
                (1, 1, 0) => {
                    let (no, operands) = (no[at[2]], mask[at[0]..].iter().zip(&yes[at[1]..]));
                    return out.iter_mut().zip(operands).for_each(|(o, (&m, &y))| *o = if m != 0 { y } else { no });
                }
                (1, 1, 1) => {
                    let operands = mask[at[0]..].iter().zip(yes[at[1]..].iter().zip(&no[at[2]..]));
                    return out
                        .iter_mut()
                        .zip(operands)
                        .for_each(|(o, (&m, (&y, &n)))| *o = if m != 0 { y } else { n });
                }
                _ => {}
            }
            let [mut m, mut y, mut n] = at.map(|a| a as isize);
            for o in out {
                *o = if mask[m as usize] != 0 { yes[y as usize] } else { no[n as usize] };
                (m, y, n) = (m + m_step, y + y_step, n + n_step);
            }
        });
    });
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
