//! The scan family: running folds along an axis.

use crate::dtype::Element;
use crate::par::{GRAIN, Par};

/// Running sums, in place, over the middle axis of dense elements `[.., n, after]`.
pub fn cumsum<T: Element>(x: &mut [T], n: usize, after: usize, par: &Par) {
    if x.is_empty() {
        return;
    }
    let size = n * after;
    par.chunks_mut(x, (GRAIN / size).max(1) * size, |_, part| {
        let mut sums = vec![T::Compute::default(); after];
        for block in part.chunks_mut(size) {
            sums.fill(T::Compute::default());
            for row in block.chunks_mut(after) {
                for (v, sum) in row.iter_mut().zip(&mut sums) {
                    *sum = sum.plus(v.up());
                    *v = T::down(*sum);
                }
            }
        }
    });
}
