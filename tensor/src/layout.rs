//! Where the elements of a tensor lie in its buffer.

use std::ops::Range;

use smallvec::SmallVec;

use crate::shape::{Shape, short};

/// Strides in elements, one for each axis.
///
/// ```
/// use wengert_tensor::Shape;
/// use wengert_tensor::layout::{Layout, Strides};
/// let columns = Strides::from_slice(&[1, 2]);
/// let layout = Layout::strided(Shape::from([2, 3]), columns, 0);
/// assert!(!layout.is_dense() && layout.contiguous().is_none());
/// ```
pub type Strides = SmallVec<[isize; 4]>;

/// A shape, and where its elements lie in a buffer: element `i` is at `offset + sum(i[axis] * stride[axis])`.
///
/// A dense tensor (row-major, from the buffer's start) keeps its sizes only, which makes the common case cheap to
/// copy.
///
/// ```
/// use wengert_tensor::Shape;
/// use wengert_tensor::layout::{Cut, Layout};
/// let dense = Layout::dense(Shape::from([2, 3]));
/// assert!(dense.is_dense() && dense.contiguous() == Some(0..6) && dense.elements() == 6);
/// let turned = dense.permute(&[1, 0]);
/// assert_eq!((turned.shape().to_string(), &turned.strides()[..]), ("[3, 2]".to_string(), &[1, 3][..]));
/// assert!(turned.reshape(Shape::from([6])).is_none()); // not without moving elements
/// let row = dense.slice(&[Cut { start: 1, step: 1, count: 1 }, Cut { start: 0, step: 2, count: 2 }]);
/// assert_eq!((row.offset(), row.span()), (3, 3..6));
/// let many = row.broadcast_to(&Shape::from([4, 2]));
/// assert_eq!(many.strides()[..], row.broadcast_strides(&Shape::from([4, 2]))[..]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    shape: Shape,
    strided: Steps,
}

/// Strides and an offset; `None` where the elements are row-major from the buffer's start.
pub(crate) type Steps = Option<Box<Strided>>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Strided {
    strides: Strides,
    offset: usize,
}

/// Whether elements with these strides follow one another in row-major order.
fn is_row_major(shape: &Shape, strides: &Strides) -> bool {
    let mut step = 1isize;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let follows = size == 1 || stride == step;
        step *= size as isize;
        follows
    })
}

impl Layout {
    /// The dense layout of a shape: row-major, from the buffer's start.
    #[inline]
    pub const fn dense(shape: Shape) -> Layout {
        Layout { shape, strided: None }
    }

    /// A layout with its strides and offset. One that turns out dense is kept as such.
    pub fn strided(shape: Shape, strides: Strides, offset: usize) -> Layout {
        let dense = offset == 0 && (shape.elements() == 0 || is_row_major(&shape, &strides));
        Layout { shape, strided: (!dense).then(|| Box::new(Strided { strides, offset })) }
    }

    /// How to get from a shape to the positions of its elements.
    pub(crate) fn steps(&self) -> &Steps {
        &self.strided
    }

    /// The layout of a shape, with the [`steps`](Self::steps) of another of that shape.
    pub(crate) fn with_steps(shape: Shape, steps: Steps) -> Layout {
        Layout { shape, strided: steps }
    }

    /// The sizes along each axis.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of elements.
    #[inline]
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// Whether the elements are row-major from the buffer's start.
    #[inline]
    pub fn is_dense(&self) -> bool {
        self.strided.is_none()
    }

    /// Steps between neighbours along each axis, in elements.
    pub fn strides(&self) -> Strides {
        match &self.strided {
            None => self.shape.strides(),
            Some(s) => short(s.strides.iter().copied()),
        }
    }

    /// Where the first element lies.
    pub fn offset(&self) -> usize {
        self.strided.as_ref().map_or(0, |s| s.offset)
    }

    /// The part of the buffer that holds the elements in row-major order without gaps, where there is one.
    pub fn contiguous(&self) -> Option<Range<usize>> {
        let n = self.elements();
        let Some(s) = &self.strided else { return Some(0..n) };
        if n == 0 {
            return Some(0..0);
        }
        is_row_major(&self.shape, &s.strides).then(|| s.offset..s.offset + n)
    }

    /// [`contiguous`](Self::contiguous) for a caller who knows that there are `n` elements.
    #[inline]
    pub(crate) fn run_of(&self, n: usize) -> Option<Range<usize>> {
        debug_assert_eq!(n, self.elements());
        if self.is_dense() { Some(0..n) } else { self.contiguous() }
    }

    /// The smallest range of buffer positions that covers every element. Empty for an empty tensor.
    pub fn span(&self) -> Range<usize> {
        if self.elements() == 0 {
            return 0..0;
        }
        let (mut low, mut high) = (self.offset() as isize, self.offset() as isize);
        for (&size, stride) in self.shape.iter().zip(self.strides()) {
            let reach = (size as isize - 1) * stride;
            low += reach.min(0);
            high += reach.max(0);
        }
        low as usize..high as usize + 1
    }

    /// The layout with axes reordered: axis `i` of the result is axis `order[i]` of this one.
    pub fn permute(&self, order: &[usize]) -> Layout {
        if order.iter().enumerate().all(|(i, &axis)| i == axis) {
            return self.clone();
        }
        let strides = self.strides();
        Layout::strided(
            order.iter().map(|&a| self.shape[a]).collect(),
            short(order.iter().map(|&a| strides[a])),
            self.offset(),
        )
    }

    /// The axes in the order in which elements lie, those of the largest strides first; `None` where that is the order
    /// they have, or where elements lie on one another or backwards.
    ///
    /// ```
    /// use wengert_tensor::{Shape, layout::Layout};
    /// let dense = Layout::dense(Shape::from([2, 3, 4]));
    /// assert_eq!(dense.memory_order(), None);
    /// assert_eq!(dense.permute(&[1, 2, 0]).memory_order().as_deref(), Some(&[2, 0, 1][..]));
    /// ```
    pub fn memory_order(&self) -> Option<SmallVec<[usize; 4]>> {
        let steps = self.strided.as_ref().map(|s| &s.strides)?;
        let wide = || (0..self.shape.rank()).filter(|&axis| self.shape[axis] > 1);
        if wide().any(|axis| steps[axis] <= 0) || wide().is_sorted_by_key(|axis| -steps[axis]) {
            return None;
        }
        let mut order: SmallVec<[usize; 4]> = (0..self.shape.rank()).collect();
        order.sort_by_key(|&axis| if self.shape[axis] > 1 { -steps[axis] } else { isize::MIN });
        Some(order)
    }

    /// Whether an element stands for several, along an axis that it was broadcast to.
    pub(crate) fn repeats(&self) -> bool {
        self.strided.as_ref().is_some_and(|s| self.shape.iter().zip(&s.strides).any(|(&n, &step)| n > 1 && step == 0))
    }

    /// The dense layout of a shape whose elements lie in this order of its axes.
    ///
    /// ```
    /// use wengert_tensor::{Shape, layout::Layout};
    /// let turned = Layout::dense_in_order(&Shape::from([2, 3]), &[1, 0]);
    /// assert_eq!(turned.strides().as_slice(), [1, 2]);
    /// ```
    pub fn dense_in_order(shape: &Shape, order: &[usize]) -> Layout {
        let mut back: SmallVec<[usize; 4]> = SmallVec::from_elem(0, order.len());
        order.iter().enumerate().for_each(|(i, &axis)| back[axis] = i);
        Layout::dense(order.iter().map(|&axis| shape[axis]).collect()).permute(&back)
    }

    /// The layout repeated along new and size-1 axes to `shape`, which it must broadcast to.
    pub fn broadcast_to(&self, shape: &Shape) -> Layout {
        if *shape == self.shape {
            return self.clone();
        }
        let strides = self.broadcast_strides(shape);
        Layout::strided(shape.clone(), strides, self.offset())
    }

    /// Strides of this layout seen in `shape`, which it must broadcast to: 0 along repeated axes.
    pub fn broadcast_strides(&self, shape: &Shape) -> Strides {
        let own = self.strides();
        let lead = shape.rank() - self.shape.rank();
        short((0..shape.rank()).map(|axis| match axis.checked_sub(lead) {
            Some(a) if self.shape[a] == shape[axis] => own[a],
            _ => 0,
        }))
    }

    /// The layout in another shape of as many elements without moving any, or `None` where that cannot be.
    pub fn reshape(&self, shape: Shape) -> Option<Layout> {
        debug_assert_eq!(shape.elements(), self.elements());
        if self.is_dense() {
            return Some(Layout::dense(shape));
        }
        if self.elements() == 0 {
            return Some(Layout::dense(shape));
        }
        // Runs of old axes that can be merged take the place of runs of new axes with the same number of elements.
        let old: SmallVec<[(usize, isize); 4]> =
            self.shape.iter().copied().zip(self.strides()).filter(|&(size, _)| size != 1).collect();
        let mut strides: Strides = SmallVec::from_elem(0, shape.rank());
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let start = i;
            let mut have = old[i].0;
            i += 1;
            let first = j;
            let mut want = 1;
            loop {
                while want < have && j < shape.rank() {
                    want *= shape[j];
                    j += 1;
                }
                if want == have {
                    break;
                }
                // `want` overshoots: more old axes must merge.
                if i == old.len() {
                    return None;
                }
                have *= old[i].0;
                i += 1;
            }
            for k in start..i - 1 {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut step = old[i - 1].1;
            for axis in (first..j).rev() {
                strides[axis] = step;
                step *= shape[axis] as isize;
            }
        }
        Some(Layout::strided(shape, strides, self.offset()))
    }

    /// The elements whose positions on axes `a` and `b` differ by `offset`, along one axis that comes last instead of
    /// these two: `(.., i, .., i + offset, ..)`.
    ///
    /// ```
    /// use wengert_tensor::{Shape, layout::Layout};
    /// let diagonal = Layout::dense(Shape::from([3, 4])).diagonal(1, 0, 1);
    /// assert_eq!((diagonal.offset(), diagonal.strides()[0], diagonal.elements()), (1, 5, 3));
    /// ```
    ///
    /// # Panics
    /// If `a` and `b` are not two axes of the shape.
    pub fn diagonal(&self, offset: isize, a: usize, b: usize) -> Layout {
        let (mut shape, mut strides) = (self.shape.clone(), self.strides());
        let (down, right) = (offset.min(0).unsigned_abs(), offset.max(0) as usize);
        let count = shape[a].saturating_sub(down).min(shape[b].saturating_sub(right));
        let start = self.offset() as isize + down as isize * strides[a] + right as isize * strides[b];
        let step = strides[a] + strides[b];
        for axis in [a.max(b), a.min(b)] {
            shape.remove(axis);
            strides.remove(axis);
        }
        shape.push(count);
        strides.push(step);
        if shape.elements() == 0 {
            return Layout::dense(shape);
        }
        Layout::strided(shape, strides, start as usize)
    }

    /// The same elements with each axis cut to `count` positions `start, start + step, ..`.
    pub fn slice(&self, cuts: &[Cut]) -> Layout {
        debug_assert_eq!(cuts.len(), self.shape.rank());
        let mut strides = self.strides();
        let mut offset = self.offset() as isize;
        let mut shape = self.shape.clone();
        for (axis, cut) in cuts.iter().enumerate() {
            if cut.count > 0 {
                offset += cut.start as isize * strides[axis];
            }
            strides[axis] *= cut.step;
            shape[axis] = cut.count;
        }
        if shape.elements() == 0 {
            return Layout::dense(shape);
        }
        Layout::strided(shape, strides, offset as usize)
    }
}

/// Which positions of an axis a slice keeps: `start`, `start + step`, .., `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first position kept.
    pub start: usize,
    /// The distance to the next position kept; negative walks backwards.
    pub step: isize,
    /// How many positions are kept.
    pub count: usize,
}

/// Joint iteration over several layouts of one shape: axes that lie alike in all of them are merged, and the last
/// one is left to the caller as an inner run.
///
/// ```
/// use wengert_tensor::layout::{Joint, Layout};
/// use wengert_tensor::Shape;
/// let dense = Layout::dense(Shape::from([4, 6]));
/// let turned = Layout::dense(Shape::from([6, 4])).permute(&[1, 0]);
/// let joint = Joint::new(&Shape::from([4, 6]), [&dense, &turned]);
/// assert_eq!(joint.inner, 6);
/// assert_eq!(joint.runs(), 4);
/// let mut starts = Vec::new();
/// joint.for_runs(0..2, |_, at| starts.push(at));
/// let mut pairs = Vec::new();
/// joint.for_elements(0..2, |_, at| pairs.push(at));
/// assert_eq!((starts.len(), pairs[0], joint.last_outer().unwrap().0), (2, starts[0], 4));
/// assert_eq!(joint.run_start(1), starts[1]);
/// assert_eq!(Joint::new(&Shape::from([4, 6]), [&dense, &dense]).inner, 24);
/// ```
pub struct Joint<const N: usize> {
    /// Elements in each inner run.
    pub inner: usize,
    /// Steps between neighbours in an inner run, for each operand.
    pub inner_strides: [isize; N],
    outer: SmallVec<[(usize, [isize; N]); 4]>,
    start: [usize; N],
}

impl<const N: usize> Joint<N> {
    /// Merges the axes of `layouts`, each of which must broadcast to `shape`.
    pub fn new(shape: &Shape, layouts: [&Layout; N]) -> Joint<N> {
        if layouts.iter().all(|l| l.is_dense() && l.shape() == shape) {
            return Joint { inner: shape.elements(), inner_strides: [1; N], outer: SmallVec::new(), start: [0; N] };
        }
        let strides = layouts.map(|l| l.broadcast_strides(shape));
        let mut axes: SmallVec<[(usize, [isize; N]); 4]> = SmallVec::new();
        for (axis, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let step: [isize; N] = std::array::from_fn(|k| strides[k][axis]);
            match axes.last_mut() {
                Some((n, last)) if (0..N).all(|k| last[k] == step[k] * size as isize) => {
                    *n *= size;
                    *last = step;
                }
                _ => axes.push((size, step)),
            }
        }
        let (inner, inner_strides) = axes.pop().unwrap_or((1, [1; N]));
        Joint { inner, inner_strides, outer: axes, start: layouts.map(|l| l.offset()) }
    }

    /// How many neighbouring runs are evenly spaced, and how far apart they are in each operand; `None` where there is
    /// one run.
    pub fn last_outer(&self) -> Option<(usize, [isize; N])> {
        self.outer.last().copied()
    }

    /// How many inner runs there are.
    pub fn runs(&self) -> usize {
        self.outer.iter().map(|a| a.0).product()
    }

    /// Calls `f` with the number and the positions of each element in `elements`, in row-major order.
    pub fn for_elements(&self, elements: Range<usize>, mut f: impl FnMut(usize, [usize; N])) {
        if elements.is_empty() {
            return;
        }
        let runs = elements.start / self.inner..elements.end.div_ceil(self.inner);
        self.for_runs(runs, |run, at| {
            let first = run * self.inner;
            for i in elements.start.max(first)..elements.end.min(first + self.inner) {
                let steps = (i - first) as isize;
                let mut at = at;
                for (at, stride) in at.iter_mut().zip(&self.inner_strides) {
                    *at = at.wrapping_add_signed(steps * stride);
                }
                f(i, at);
            }
        });
    }

    /// The positions where inner run number `run` starts.
    pub fn run_start(&self, run: usize) -> [usize; N] {
        let (mut at, mut rest) = (self.start, run);
        for (size, step) in self.outer.iter().rev() {
            // Positions wrap below zero only in between: a run always starts inside its buffer.
            for (a, s) in at.iter_mut().zip(step) {
                *a = a.wrapping_add_signed(s.wrapping_mul((rest % size) as isize));
            }
            rest /= size;
        }
        at
    }

    /// Calls `f` with the number and the positions of each inner run in `runs`, in row-major order.
    pub fn for_runs(&self, runs: Range<usize>, mut f: impl FnMut(usize, [usize; N])) {
        self.walk(runs, &mut f);
    }

    /// [`for_runs`](Self::for_runs), compiled once for each number of operands and not for each loop.
    fn walk(&self, runs: Range<usize>, f: &mut dyn FnMut(usize, [usize; N])) {
        if runs.is_empty() {
            return;
        }
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.outer.len());
        let mut at = self.run_start(runs.start);
        let shift = |at: &mut [usize; N], step: &[isize; N], times: isize| {
            for (a, s) in at.iter_mut().zip(step) {
                *a = a.wrapping_add_signed(s.wrapping_mul(times));
            }
        };
        let mut rest = runs.start;
        for (i, (size, _)) in index.iter_mut().zip(&self.outer).rev() {
            *i = rest % size;
            rest /= size;
        }
        for run in runs {
            f(run, at);
            for (i, (size, step)) in index.iter_mut().zip(&self.outer).rev() {
                *i += 1;
                if *i < *size {
                    shift(&mut at, step, 1);
                    break;
                }
                *i = 0;
                shift(&mut at, step, 1 - *size as isize);
            }
        }
    }
}
