//! Operands of any layout, in dense stretches.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;

use crate::dtype::Element;
use crate::kernels::compute::widen;
use crate::kernels::pane::{Pane, put};
use crate::kernels::transpose::{ROWS, SIDE, transpose};
use crate::layout::{Joint, Layout};
use crate::shape::Shape;

/// Elements that are brought into dense form at a time: with those of other operands they stay in the nearest cache.
const STRETCH: usize = 1024;

/// Elements at a time of what need not be brought there.
const LONG_STRETCH: usize = 4096;

/// Shorter runs are loaded several at a time.
const SHORTEST_RUN: usize = 256;

/// Longer runs are cut where a stretch ends.
const LONGEST_RUN: usize = 1 << 15;

/// Longer rows are turned into a copy of the whole operand, and not some at a time.
const LONGEST_TURNED: usize = 4096;

/// Longer runs are read where they lie, though they repeat.
const LONGEST_PERIOD: usize = SHORTEST_RUN - 1;

/// How the elements of an operand lie.
enum Order {
    /// Row-major from here, without gaps.
    Dense(usize),
    /// In runs.
    Runs,
    /// In runs, all of which are the same one: so many of its elements again and again.
    Periods(usize),
    /// As in a transposed matrix: elements of a run lie apart, and neighbouring runs side by side.
    Turned,
}

/// Large matrices that are to be transposed: row by row of the result.
pub(super) struct Turned<'a> {
    joint: &'a Joint<1>,
    /// Rows of a matrix, and their length.
    pub(super) rows: usize,
    pub(super) length: usize,
    /// How far neighbours of a row lie apart; those of neighbouring rows are neighbours.
    pub(super) step: usize,
}

impl Turned<'_> {
    /// Where row `r` of all matrices' rows begins.
    pub(super) fn start(&self, r: usize) -> usize {
        self.joint.run_start(r)[0]
    }
}

/// An operand that broadcasts to a shape: its elements have row-major numbers in that shape.
pub(super) struct Operand<'a, T> {
    x: &'a [T],
    joint: Joint<1>,
    order: Order,
}

impl<'a, T: Element> Operand<'a, T> {
    pub(super) fn new(x: &'a [T], layout: &Layout, shape: &Shape) -> Self {
        let joint = Joint::new(shape, [layout]);
        let (inner, step) = (joint.inner, joint.inner_strides[0]);
        let order = match joint.last_outer().map(|(rows, [step])| (rows, step)) {
            None if step == 1 => Order::Dense(layout.offset()),
            // Every other element is read as quickly as a run.
            Some((rows, 1)) if step > 2 && rows > 1 && inner > 1 => Order::Turned,
            Some((rows, 0)) if rows == joint.runs() && (2..=LONGEST_PERIOD).contains(&inner) => {
                Order::Periods(LONG_STRETCH / 2 / inner * inner)
            }
            _ => Order::Runs,
        };
        Operand { x, joint, order }
    }

    /// Whether the elements lie row-major, without gaps.
    pub(super) fn is_dense(&self) -> bool {
        matches!(self.order, Order::Dense(_))
    }

    /// Whether runs are long and each repeats one element.
    pub(super) fn repeats(&self) -> bool {
        matches!(self.order, Order::Runs) && self.joint.inner_strides[0] == 0 && self.joint.inner >= SHORTEST_RUN
    }

    /// Whether all runs are one.
    pub(super) fn is_periodic(&self) -> bool {
        matches!(self.order, Order::Periods(_))
    }

    /// Whether elements of a run are neighbours, and in the precision that kernels compute in.
    fn is_read_in_place(&self) -> bool {
        self.joint.inner_strides[0] == 1 && T::direct(self.x).is_some()
    }

    /// The matrices, where the operand lies as large ones that are transposed.
    pub(super) fn turned(&self) -> Option<Turned<'_>> {
        let (rows, _) = self.joint.last_outer()?;
        let large = rows >= SIDE && self.joint.inner >= SIDE;
        (large && matches!(self.order, Order::Turned)).then(|| Turned {
            joint: &self.joint,
            rows,
            length: self.joint.inner,
            step: self.joint.inner_strides[0] as usize,
        })
    }

    /// How many elements belong together: rows that are turned at a time, or a run that is no long way from a stretch
    /// and need not be loaded, where it lies in one piece.
    pub(super) fn unit(&self) -> usize {
        match (&self.order, self.joint.inner) {
            (Order::Turned, inner) => ROWS * inner,
            (Order::Periods(whole), _) => *whole,
            (Order::Runs, inner @ SHORTEST_RUN..=LONGEST_RUN) => inner,
            _ => 1,
        }
    }

    /// How many elements are loaded at a time, unless the stretch is the last; `None` where that would be too many.
    pub(super) fn stretch(&self) -> Option<usize> {
        match (&self.order, self.unit()) {
            (Order::Turned, _) if self.joint.inner > LONGEST_TURNED => None,
            (Order::Periods(whole), _) => Some(*whole),
            // What is repeated is written once for each run.
            _ if self.repeats() => Some(self.joint.inner.min(STRETCH)),
            (Order::Runs, unit @ SHORTEST_RUN..=STRETCH) => Some(unit),
            (Order::Runs, unit @ SHORTEST_RUN..=LONG_STRETCH) if self.is_read_in_place() => Some(unit),
            (Order::Runs, _) => Some(STRETCH),
            (_, unit) => Some(STRETCH.next_multiple_of(unit)),
        }
    }

    /// How many elements a block of at least `grain` holds that may be loaded apart from the others.
    pub(super) fn block(&self, grain: usize) -> usize {
        grain.next_multiple_of(self.unit())
    }

    /// The elements from number `start` on, where they lie in one piece.
    #[inline]
    pub(super) fn slice(&self, start: usize, n: usize) -> Option<&'a [T]> {
        match self.order {
            Order::Dense(first) => Some(&self.x[first + start..][..n]),
            Order::Runs | Order::Periods(_)
                if self.joint.inner_strides[0] == 1 && start % self.joint.inner + n <= self.joint.inner =>
            {
                let at = self.joint.run_start(start / self.joint.inner)[0];
                Some(&self.x[at + start % self.joint.inner..][..n])
            }
            _ => None,
        }
    }

    /// The place of the one element that a stretch consists of, where it does.
    fn repeated(&self, start: usize, n: usize) -> Option<usize> {
        let within = start % self.joint.inner + n <= self.joint.inner;
        (self.repeats() && within).then(|| self.joint.run_start(start / self.joint.inner)[0])
    }

    /// What says which elements a stretch begins with, where others begin with the same.
    fn key(&self, start: usize, n: usize) -> Option<usize> {
        match self.order {
            Order::Periods(_) => Some(start % self.joint.inner),
            _ => self.repeated(start, n),
        }
    }

    /// Writes to `out` the elements from number `start` on.
    pub(super) fn load(&self, out: &mut [T], start: usize) {
        if let Some(x) = self.slice(start, out.len()) {
            return out.copy_from_slice(x);
        }
        let (inner, step) = (self.joint.inner, self.joint.inner_strides[0]);
        let (count, row_step) = self.joint.last_outer().map_or((1, 0), |(rows, [step])| (rows, step));
        let mut done = 0;
        while done < out.len() {
            let (run, within) = ((start + done) / inner, (start + done) % inner);
            let at = self.joint.run_start(run)[0].wrapping_add_signed(within as isize * step);
            let left = out.len() - done;
            let (rows, width) = match within {
                0 if left >= inner => ((left / inner).min(count - run % count), inner),
                _ => (1, left.min(inner - within)),
            };
            let out = &mut out[done..done + rows * width];
            match self.order {
                Order::Turned => transpose(out, width, &self.x[at..], step as usize, width, rows),
                _ => {
                    let row_steps = [width as isize, row_step];
                    put(out, self.x, Pane { at: [0, at], rows, row_steps, width, steps: [1, step] });
                }
            }
            done += rows * width;
        }
    }
}

/// A cache line: memory of lines has no register stored in two of them, which takes twice as long.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Memory for a stretch: for a short one none of the heap.
pub(super) struct Stretch<T> {
    lines: SmallVec<[Line; 4]>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Stretch<T> {
    pub(super) fn new() -> Self {
        Stretch { lines: SmallVec::new(), len: 0, element: PhantomData }
    }

    /// Makes room for `len` elements, of arbitrary contents.
    pub(super) fn resize(&mut self, len: usize) {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        if self.lines.len() < lines {
            self.lines = SmallVec::from_elem(Line([0; size_of::<Line>()]), lines);
        }
        self.len = len;
    }
}

impl<T: Element> Deref for Stretch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Element> DerefMut for Stretch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Memory for stretches of an operand in the precision that kernels compute in.
pub(super) struct Scratch<T: Element> {
    given: Stretch<T>,
    up: Stretch<T::Compute>,
    /// The [`key`](Operand::key) of what `given` holds.
    key: Option<usize>,
}

impl<T: Element> Scratch<T> {
    pub(super) fn new() -> Self {
        Scratch { given: Stretch::new(), up: Stretch::new(), key: None }
    }

    /// The elements from number `start` on, `n` of them.
    #[inline]
    pub(super) fn get<'b>(&'b mut self, operand: &Operand<'b, T>, start: usize, n: usize) -> &'b [T::Compute] {
        let given = match operand.slice(start, n) {
            Some(x) => x,
            None => {
                let key = operand.key(start, n);
                if self.given.len() < n {
                    self.given.resize(n);
                    self.key = None;
                }
                if key.is_none() || key != self.key {
                    operand.load(&mut self.given[..n], start);
                    self.key = key.filter(|_| self.given.len() == n);
                }
                &self.given[..n]
            }
        };
        match T::direct(given) {
            Some(x) => x,
            None => {
                self.up.resize(n);
                widen(&mut self.up, given);
                &self.up
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_of_any_layout_is_loaded() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let whole = Shape::from([5, 20, 7]);
        let layouts = [
            Layout::dense(whole.clone()),
            Layout::dense([20, 7].into()),
            Layout::dense([7].into()),
            Layout::dense([5, 1, 7].into()),
            Layout::dense([5, 20, 1].into()),
            Layout::dense([7, 20, 5].into()).permute(&[2, 1, 0]),
            Layout::dense([5, 7, 20].into()).permute(&[0, 2, 1]),
            Layout::dense([20, 5, 7].into()).permute(&[1, 0, 2]),
            Layout::strided(whole.clone(), [140, -7, -1].into_iter().collect(), 139),
        ];
        for layout in &layouts {
            let operand = Operand::new(&x, layout, &whole);
            let joint = Joint::new(&whole, [layout]);
            let mut all = vec![0.0; 700];
            joint.for_elements(0..700, |i, [at]| all[i] = x[at]);
            for start in (0..700).step_by(7) {
                for n in [1, 3, 7, 20, 33, 140, 700] {
                    let mut out = vec![-1.0; n.min(700 - start)];
                    operand.load(&mut out, start);
                    assert_eq!(out, all[start..start + out.len()], "{layout:?} from {start}");
                }
            }
        }
    }
}
