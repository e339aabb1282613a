//! The copy family: strided to dense, into a region, and casts.

use crate::dtype::{DType, Element};
use crate::kernels::compute::{narrow, widen};
use crate::kernels::map::BLOCK;
use crate::kernels::operand::{Operand, Stretch};
use crate::kernels::pane::{Combine, Pane, strided_run};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::{self, SIDE};
use crate::layout::{Cut, Joint, Layout};
use crate::par::{GRAIN, Par, SharedMut};
use crate::shape::Shape;

/// Calls `f` with stretches of elements that together are all of them, in row-major order.
pub fn stretches<T: Element>(x: &[T], layout: &Layout, f: &mut dyn FnMut(&[T])) {
    if let Some(range) = layout.contiguous() {
        return f(&x[range]);
    }
    let joint = Joint::new(layout.shape(), [layout]);
    let step = joint.inner_strides[0];
    let mut stretch = [T::default(); BLOCK];
    joint.for_runs(0..joint.runs(), |_, [at]| {
        for from in (0..joint.inner).step_by(BLOCK) {
            let n = BLOCK.min(joint.inner - from);
            strided_run(&mut stretch[..n], x, at.wrapping_add_signed(from as isize * step), step);
            f(&stretch[..n]);
        }
    });
}

/// Calls `f` with every element in row-major order.
pub fn for_each<T: Element>(x: &[T], layout: &Layout, mut f: impl FnMut(T)) {
    stretches(x, layout, &mut |stretch| stretch.iter().for_each(|&v| f(v)));
}

/// Copies the elements that `layout` names, in row-major order, into the dense `out`.
pub fn gather_par<T: Element>(out: &mut [T], x: &[T], layout: &Layout, par: &Par) {
    moved::<T::Moved>(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(x), layout, par);
}

/// [`gather_par`].
fn moved<T: Element>(out: &mut [T], x: &[T], layout: &Layout, par: &Par) {
    if out.is_empty() {
        return;
    }
    if let Some(range) = layout.contiguous() {
        let x = &x[range];
        par.chunks_mut(out, GRAIN, |i, part| part.copy_from_slice(&x[i * GRAIN..][..part.len()]));
        return;
    }
    let operand = Operand::new(x, layout, layout.shape());
    if let Some(t) = operand.turned() {
        let (bands, past) = (t.rows.div_ceil(SIDE), size_of_val(out) >= LARGE);
        let matrices = out.len() / (t.rows * t.length);
        let out = SharedMut::new(out);
        return par.for_each(matrices * bands, |task| {
            let (matrix, band) = (task / bands, task % bands * SIDE);
            let (first, rows) = (matrix * t.rows + band, SIDE.min(t.rows - band));
            // SAFETY: each task writes rows of its own.
            let out = unsafe { out.range(first * t.length..(first + rows) * t.length) };
            transpose::band(out, &x[t.start(first)..], t.step, t.length, rows, past);
        });
    }
    let block = operand.block(GRAIN);
    par.chunks_mut(out, block, |i, part| operand.load(part, i * block));
}

/// Bytes of a result that is not expected to stay in a cache.
const LARGE: usize = 1 << 22;

/// Columns of `from` as rows. Of known size, so that it takes no checks.
#[inline]
pub(super) fn columns_as_rows<T: Copy, const R: usize, const C: usize>(from: &[[T; C]; R], to: &mut [[T; R]; C]) {
    for c in 0..C {
        for r in 0..R {
            to[c][r] = from[r][c];
        }
    }
}

/// Adds the elements of `x` that `layout` names to those of `out` that `target` names, which all differ.
pub fn add_at<T: Element>(out: &mut [T], target: &Layout, x: &[T], layout: &Layout) {
    let joint = Joint::new(target.shape(), [target, layout]);
    joint.for_elements(0..target.elements(), |_, [to, from]| out[to] = out[to].plus(x[from]));
}

/// Combines the elements that `layout` names with those of a region of the dense `out`, which has shape `shape`, at the
/// positions that `cuts` keep, one cut for each axis.
pub fn into_region<T: Element>(
    out: &mut [T],
    shape: &Shape,
    cuts: &[Cut],
    x: &[T],
    layout: &Layout,
    f: Combine<T>,
    par: &Par,
) {
    if layout.elements() == 0 {
        return;
    }
    let Some((&lead, rest)) = cuts.split_first() else {
        let at = [0, layout.offset()];
        return f(out, x, Pane { at, rows: 1, row_steps: [0; 2], width: 1, steps: [1; 2] });
    };
    // Towards higher positions along the first axis, so that blocks of it are blocks of `out`.
    let all = |count: usize| Cut { start: 0, step: 1, count };
    let (start, step, source) = if lead.count > 1 && lead.step < 0 {
        let mut turned: Vec<Cut> = layout.shape().iter().map(|&n| all(n)).collect();
        turned[0] = Cut { start: lead.count - 1, step: -1, count: lead.count };
        let last = lead.start as isize + (lead.count as isize - 1) * lead.step;
        (last as usize, lead.step.unsigned_abs(), layout.slice(&turned))
    } else {
        (lead.start, lead.step.unsigned_abs().max(1), layout.clone())
    };
    let row = out.len() / shape[0];
    let within = Layout::dense(shape[1..].into()).slice(rest);
    let stride = step * row;
    let rows = (GRAIN / within.elements()).clamp(1, lead.count);
    let out = &mut out[start * row..][..(lead.count - 1) * stride + row];
    par.chunks_mut(out, rows * stride, |block, part| {
        let mut own: Vec<Cut> = layout.shape().iter().map(|&n| all(n)).collect();
        own[0] = Cut { start: block * rows, step: 1, count: rows.min(lead.count - block * rows) };
        let source = source.slice(&own);
        let mut strides = within.strides();
        strides.insert(0, stride as isize);
        let target = Layout::strided(source.shape().clone(), strides, within.offset());
        let joint = Joint::new(source.shape(), [&target, &source]);
        let (rows, row_steps) = joint.last_outer().unwrap_or((1, [0; 2]));
        let pane = |at| Pane { at, rows, row_steps, width: joint.inner, steps: joint.inner_strides };
        (0..joint.runs()).step_by(rows).for_each(|run| f(part, x, pane(joint.run_start(run))));
    });
}

/// Converts between precisions, in row-major order: floats round to nearest even, float to integer truncates and
/// saturates and turns NaN into 0, integers wrap.
pub fn cast<A: Element>(x: &[A], layout: &Layout, to: &dyn Receive, par: &Par) {
    let (n, operand) = (layout.elements(), Operand::new(x, layout, layout.shape()));
    let size = operand.block(GRAIN);
    let stretch = operand.stretch().unwrap_or(size);
    par.for_each(n.div_ceil(size), |block| {
        let (mut given, mut singles, mut ints) = (Stretch::new(), Stretch::new(), Stretch::new());
        let end = n.min((block + 1) * size);
        for start in (block * size..end).step_by(stretch) {
            let len = stretch.min(end - start);
            let x = match operand.slice(start, len) {
                Some(x) => x,
                None => {
                    given.resize(len);
                    operand.load(&mut given, start);
                    &given[..]
                }
            };
            let wide = match A::DTYPE {
                DType::F32 => Wide::Singles(bytemuck::cast_slice(x)),
                DType::F64 => Wide::Doubles(bytemuck::cast_slice(x)),
                DType::I64 => Wide::Ints(bytemuck::cast_slice(x)),
                DType::F16 | DType::BF16 => {
                    singles.resize(len);
                    widen(bytemuck::cast_slice_mut(&mut singles), x);
                    Wide::Singles(&singles)
                }
                _ => {
                    ints.resize(len);
                    simd::run_narrow(Widen(&mut ints, x, A::to_i64));
                    Wide::Ints(&ints)
                }
            };
            // SAFETY: stretches do not overlap, and each is visited once.
            unsafe { to.receive(start, wide) };
        }
    });
}

/// `out = f(x)`, at the level of this machine.
struct Widen<'a, O, A, F>(&'a mut [O], &'a [A], F);

impl<O, A: Copy, F: Fn(A) -> O> Loop for Widen<'_, O, A, F> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        for (o, &v) in self.0.iter_mut().zip(self.1) {
            *o = (self.2)(v);
        }
    }
}

/// Floats to integers as `as` has it, with the checks aside: only so does the compiler take the instruction of AVX-512.
struct Truncate<'a, A>(&'a mut [i64], &'a [A]);

impl<A: Copy + Into<f64>> Loop for Truncate<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        const END: f64 = -(i64::MIN as f64);
        for (o, &v) in self.0.iter_mut().zip(self.1) {
            let v: f64 = v.into();
            let within = if v.abs() < END { v } else { 0.0 };
            // SAFETY: finite, and with a whole part of less than 2^63.
            let whole: i64 = unsafe { within.to_int_unchecked() };
            let whole = if v >= END { i64::MAX } else { whole };
            *o = if v <= -END { i64::MIN } else { whole };
        }
    }
}

/// Elements on their way between precisions, in a form that holds each exactly.
#[derive(Clone, Copy)]
pub enum Wide<'a> {
    /// Floats of at most single precision.
    Singles(&'a [f32]),
    /// Floats of double precision.
    Doubles(&'a [f64]),
    /// Integers of any precision, and truth values.
    Ints(&'a [i64]),
}

impl Wide<'_> {
    fn len(&self) -> usize {
        match self {
            Wide::Singles(x) => x.len(),
            Wide::Doubles(x) => x.len(),
            Wide::Ints(x) => x.len(),
        }
    }
}

/// The receiving end of [`cast`].
pub trait Receive: Sync {
    /// Takes the elements from number `start` on.
    ///
    /// # Safety
    /// Calls at the same time are for elements that do not overlap.
    unsafe fn receive(&self, start: usize, wide: Wide<'_>);
}

/// Where elements of another precision go.
pub struct Receiver<'a, B>(SharedMut<'a, B>);

impl<'a, B: Element> Receiver<'a, B> {
    /// To these elements.
    pub fn new(out: &'a mut [B]) -> Self {
        Receiver(SharedMut::new(out))
    }
}

impl<B: Element> Receive for Receiver<'_, B> {
    unsafe fn receive(&self, start: usize, wide: Wide<'_>) {
        // SAFETY: the caller's promise.
        let out = unsafe { self.0.range(start..start + wide.len()) };
        match wide {
            Wide::Singles(x) if B::Compute::DTYPE == DType::F32 => narrow(out, bytemuck::cast_slice(x)),
            Wide::Singles(x) if B::DTYPE == DType::I64 => simd::run(Truncate(bytemuck::cast_slice_mut(out), x)),
            Wide::Singles(x) => simd::run_narrow(Widen(out, x, |v: f32| B::from_f64(v as f64))),
            Wide::Doubles(x) if B::DTYPE == DType::I64 => simd::run(Truncate(bytemuck::cast_slice_mut(out), x)),
            Wide::Doubles(x) => simd::run_narrow(Widen(out, x, B::from_f64)),
            Wide::Ints(x) => simd::run_narrow(Widen(out, x, B::from_i64)),
        }
    }
}

/// Where goes whether elements differ from 0. NaN does.
pub struct Truths<'a>(SharedMut<'a, u8>);

impl<'a> Truths<'a> {
    /// To these truth values.
    pub fn new(out: &'a mut [u8]) -> Self {
        Truths(SharedMut::new(out))
    }
}

impl Receive for Truths<'_> {
    unsafe fn receive(&self, start: usize, wide: Wide<'_>) {
        // SAFETY: the caller's promise.
        let out = unsafe { self.0.range(start..start + wide.len()) };
        match wide {
            Wide::Singles(x) => simd::run_narrow(Widen(out, x, |v| (v != 0.0) as u8)),
            Wide::Doubles(x) => simd::run_narrow(Widen(out, x, |v| (v != 0.0) as u8)),
            Wide::Ints(x) => simd::run_narrow(Widen(out, x, |v| (v != 0) as u8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_threads;

    #[test]
    fn floats_become_integers_as_the_language_has_it() {
        let edges =
            [0.5, 1.0, 1.5, 1e-320, 4_294_967_295.5, 1e18, 9_223_372_036_854_774_784.0, 9_223_372_036_854_775_808.0];
        let mut x: Vec<f64> = edges.iter().flat_map(|&v| [v, -v]).collect();
        x.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0, f64::MAX]);
        let singles: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        let mut have = vec![1; x.len()];
        simd::run(Truncate(&mut have, &x));
        assert_eq!(have, x.iter().map(|&v| v as i64).collect::<Vec<_>>());
        simd::run(Truncate(&mut have, &singles));
        assert_eq!(have, singles.iter().map(|&v| v as i64).collect::<Vec<_>>());
    }

    #[test]
    fn large_transposed_matrices_are_copied() {
        // The second goes past the caches.
        for [matrices, rows, columns] in [[3, 70, 130], [1, 1025, 1030]] {
            let x: Vec<f32> = (0..matrices * rows * columns).map(|i| i as f32).collect();
            let layout = Layout::dense([matrices, rows, columns].into()).permute(&[0, 2, 1]);
            assert!(Operand::new(&x, &layout, layout.shape()).turned().is_some());
            for threads in [1, 2] {
                let mut out = vec![-1.0; x.len()];
                gather_par(&mut out, &x, &layout, &with_threads(threads, Par::current));
                for (i, &o) in out.iter().enumerate() {
                    let (m, c, r) = (i / (rows * columns), i / rows % columns, i % rows);
                    assert_eq!(o, x[(m * rows + r) * columns + c], "matrix {m}, row {c}, column {r}");
                }
            }
        }
    }
}
