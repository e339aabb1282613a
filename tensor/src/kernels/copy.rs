//! The copy family: strided to dense, dense into a region, and casts.

use crate::dtype::Element;
use crate::layout::{Joint, Layout};
use crate::par::{GRAIN, Par};

/// Calls `f` with every element in row-major order.
pub fn for_each<T: Copy>(x: &[T], layout: &Layout, mut f: impl FnMut(T)) {
    if let Some(range) = layout.contiguous() {
        x[range].iter().for_each(|&v| f(v));
        return;
    }
    let joint = Joint::new(layout.shape(), [layout]);
    let step = joint.inner_strides[0];
    joint.for_runs(0..joint.runs(), |_, [at]| {
        for i in 0..joint.inner {
            f(x[(at as isize + i as isize * step) as usize]);
        }
    });
}

/// Copies the elements that `layout` names, in row-major order, into the dense `out`.
pub fn gather<T: Element>(out: &mut [T], x: &[T], layout: &Layout) {
    gather_par(out, x, layout, &Par::sequential());
}

/// [`gather`] on several threads.
pub fn gather_par<T: Element>(out: &mut [T], x: &[T], layout: &Layout, par: &Par) {
    if out.is_empty() {
        return;
    }
    if let Some(range) = layout.contiguous() {
        let x = &x[range];
        par.chunks_mut(out, GRAIN, |i, part| part.copy_from_slice(&x[i * GRAIN..][..part.len()]));
        return;
    }
    let joint = Joint::new(layout.shape(), [layout]);
    let step = joint.inner_strides[0];
    let inner = joint.inner;
    let runs_per_block = (GRAIN / inner).max(1);
    par.chunks_mut(out, runs_per_block * inner, |block, part| {
        let first = block * runs_per_block;
        joint.for_runs(first..first + part.len() / inner, |run, [at]| {
            strided_run(&mut part[(run - first) * inner..][..inner], x, at, step);
        });
    });
}

/// Copies `out.len()` elements `x[at], x[at + step], ..`.
#[inline]
pub fn strided_run<T: Copy>(out: &mut [T], x: &[T], at: usize, step: isize) {
    match step {
        1 => out.copy_from_slice(&x[at..][..out.len()]),
        0 => out.fill(x[at]),
        _ => {
            for (i, o) in out.iter_mut().enumerate() {
                *o = x[(at as isize + i as isize * step) as usize];
            }
        }
    }
}

/// Writes the dense `x` to the places that `layout` names in `out`, each combined with what is there by `f`.
pub fn scatter<T: Element>(out: &mut [T], layout: &Layout, x: &[T], f: impl Fn(T, T) -> T) {
    if layout.elements() == 0 {
        return;
    }
    let joint = Joint::new(layout.shape(), [layout]);
    let (inner, step) = (joint.inner, joint.inner_strides[0]);
    joint.for_runs(0..joint.runs(), |run, [at]| {
        for (i, &v) in x[run * inner..][..inner].iter().enumerate() {
            let o = &mut out[(at as isize + i as isize * step) as usize];
            *o = f(*o, v);
        }
    });
}

/// Converts between precisions, in row-major order: floats round to nearest even, float to integer truncates and
/// saturates and turns NaN into 0, integers wrap.
pub fn cast<A: Element, B: Element>(out: &mut [B], x: &[A], layout: &Layout) {
    let mut out = out.iter_mut();
    let mut put = |v: B| {
        if let Some(o) = out.next() {
            *o = v;
        }
    };
    match (A::DTYPE.is_float(), B::DTYPE.is_float()) {
        (false, false) => for_each(x, layout, |v| put(B::from_i64(v.to_i64()))),
        (false, true) => for_each(x, layout, |v| put(B::from_i64(v.to_i64()))),
        (true, _) => for_each(x, layout, |v| put(B::from_f64(v.to_f64()))),
    }
}
