//! Indexing with [`Tensor::i`]: what may stand at each axis, and what it means.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::panic::Location;

use smallvec::SmallVec;

use crate::dispatch::{apply1, in_op};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kind::{Int, Kind};
use crate::layout::Cut;
use crate::ops::{SLICE_ASSIGN, cut_attrs};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

/// A new axis of size 1 at this place of an index, as in `x.i((.., NewAxis))`.
#[derive(Clone, Copy, Debug)]
pub struct NewAxis;

/// All axes that the rest of an index leaves over, as in `x.i((Ellipsis, 0))`: every one of them whole.
#[derive(Clone, Copy, Debug)]
pub struct Ellipsis;

/// What an index says about one axis. Users write integers, ranges and the like, see [`Tensor::i`]; code that builds
/// indices at run time makes a `Vec<Index>` with [`IntoIndex::into_index`].
///
/// ```
/// use wengert_tensor::{Index, IntoIndex, tensor};
/// let x = tensor![[1, 2], [3, 4]];
/// let mut places: Vec<Index> = vec![(..).into_index(); x.rank()]; // where the rank is not known beforehand
/// places[1] = 0.into_index();
/// assert_eq!(x.i(places).to_vec::<i64>(), [1, 3]);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Index<'a> {
    /// One position; the axis is dropped.
    At(isize),
    /// Positions from a bound to a bound.
    Span {
        /// Where it starts, counted from the end where negative.
        from: Bound<isize>,
        /// Where it ends, counted from the end where negative.
        to: Bound<isize>,
        /// The distance between positions. With a negative one they are taken from the last down.
        step: isize,
    },
    /// A new axis of size 1.
    NewAxis,
    /// All axes left over, whole.
    Ellipsis,
    /// The positions that a tensor names.
    Take(&'a Tensor<Int>),
}

/// What may stand at one axis of an index: an integer, a range, a range with a step, [`NewAxis`], [`Ellipsis`] or an
/// integer tensor.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot index an axis",
    label = "expected an integer, a range, `(range).by(step)`, `NewAxis`, `Ellipsis` or an integer tensor"
)]
pub trait IntoIndex<'a> {
    /// What it says about the axis.
    fn into_index(self) -> Index<'a>;
}

/// What may index a tensor: one [`IntoIndex`], a tuple of up to six, or a slice or vector of [`Index`].
///
/// ```
/// use wengert_tensor::{IntoIndices, NewAxis};
/// assert_eq!((0, .., NewAxis).into_indices().len(), 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot index a tensor",
    label = "expected an integer, a range, `(range).by(step)`, `NewAxis`, `Ellipsis`, an integer tensor, or a tuple of these"
)]
pub trait IntoIndices<'a> {
    /// One for each axis indexed.
    fn into_indices(self) -> SmallVec<[Index<'a>; 6]>;
}

/// Ranges that take a step: `(1..9).by(2)`, `(..).by(-1)`.
///
/// A negative step takes the positions of the range from the last one down, like `rev` and `step_by` of an iterator.
///
/// ```
/// use wengert_tensor::{By, tensor};
/// let x = tensor![0, 1, 2, 3, 4];
/// assert_eq!(x.i((..).by(2)).to_vec::<i64>(), [0, 2, 4]);
/// assert_eq!(x.i((1..4).by(-1)).to_vec::<i64>(), [3, 2, 1]);
/// assert_eq!(x.i((..-1).by(-2)).to_vec::<i64>(), [3, 1]);
/// ```
pub trait By: IntoIndex<'static> + Sized {
    /// The range with steps of `step` between positions.
    fn by(self, step: isize) -> Index<'static> {
        match self.into_index() {
            Index::Span { from, to, .. } => Index::Span { from, to, step },
            other => other,
        }
    }
}

impl<'a> IntoIndex<'a> for Index<'a> {
    fn into_index(self) -> Index<'a> {
        self
    }
}

impl<'a> IntoIndex<'a> for NewAxis {
    fn into_index(self) -> Index<'a> {
        Index::NewAxis
    }
}

impl<'a> IntoIndex<'a> for Ellipsis {
    fn into_index(self) -> Index<'a> {
        Index::Ellipsis
    }
}

impl<'a> IntoIndex<'a> for &'a Tensor<Int> {
    fn into_index(self) -> Index<'a> {
        Index::Take(self)
    }
}

macro_rules! into_index {
    ($($t:ty),*) => {$(
        impl<'a> IntoIndex<'a> for $t {
            fn into_index(self) -> Index<'a> {
                Index::At(self as isize)
            }
        }
        into_span!(Range<$t>, RangeInclusive<$t>, RangeFrom<$t>, RangeTo<$t>, RangeToInclusive<$t>);
    )*};
}
macro_rules! into_span {
    ($($range:ty),*) => {$(
        impl<'a> IntoIndex<'a> for $range {
            fn into_index(self) -> Index<'a> {
                let bound = |b: Bound<&_>| b.map(|&at| at as isize);
                Index::Span { from: bound(self.start_bound()), to: bound(self.end_bound()), step: 1 }
            }
        }
        impl By for $range {}
    )*};
}
into_index!(i32, i64, isize, usize);

impl<'a> IntoIndex<'a> for RangeFull {
    fn into_index(self) -> Index<'a> {
        Index::Span { from: Bound::Unbounded, to: Bound::Unbounded, step: 1 }
    }
}
impl By for RangeFull {}

impl<'a, I: IntoIndex<'a>> IntoIndices<'a> for I {
    fn into_indices(self) -> SmallVec<[Index<'a>; 6]> {
        smallvec::smallvec![self.into_index()]
    }
}

macro_rules! into_indices {
    ($($($I:ident $place:tt)*;)*) => {$(
        impl<'a, $($I: IntoIndex<'a>),*> IntoIndices<'a> for ($($I,)*) {
            fn into_indices(self) -> SmallVec<[Index<'a>; 6]> {
                smallvec::smallvec![$(self.$place.into_index()),*]
            }
        }
    )*};
}
into_indices! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}

impl<'a> IntoIndices<'a> for () {
    fn into_indices(self) -> SmallVec<[Index<'a>; 6]> {
        SmallVec::new()
    }
}

impl<'a> IntoIndices<'a> for Vec<Index<'a>> {
    fn into_indices(self) -> SmallVec<[Index<'a>; 6]> {
        self.into()
    }
}

impl<'a> IntoIndices<'a> for &[Index<'a>] {
    fn into_indices(self) -> SmallVec<[Index<'a>; 6]> {
        self.into()
    }
}

fn wrong(message: String) -> Error {
    Error::new(message).kind_of(ErrorKind::Index)
}

/// The position that `at` names on an axis of `size`, counted from the end where it is negative.
fn position(at: isize, axis: usize, size: usize) -> Result<usize> {
    let n = size as isize;
    if at >= -n && at < n {
        return Ok(if at < 0 { at + n } else { at } as usize);
    }
    Err(wrong(format!("index {at} is out of range for axis {axis} of size {size}")).help(match size {
        0 => "the axis is empty: no index is valid".into(),
        _ => format!("valid indices are {} to {}", -n, n - 1),
    }))
}

/// The positions that a range names on an axis of `size`.
fn span(from: Bound<isize>, to: Bound<isize>, step: isize, axis: usize, size: usize) -> Result<Cut> {
    if step == 0 {
        return Err(wrong(format!("the step on axis {axis} is 0")).help("steps are at least 1, or at most -1"));
    }
    let n = size as isize;
    // A range lies between two gaps, 0 to n: the gap before position `at`, or the one after it.
    let gap = |at: isize, after: bool| {
        let position = if at < 0 { at.saturating_add(n) } else { at };
        let gap = position.saturating_add(after as isize);
        if position >= 0 && gap <= n {
            return Ok(gap);
        }
        Err(wrong(format!("bound {at} is out of range for axis {axis} of size {size}"))
            .help("bounds are not clipped to the axis; negative ones count from the end"))
    };
    let start = match from {
        Bound::Unbounded => 0,
        Bound::Included(at) => gap(at, false)?,
        Bound::Excluded(at) => gap(at, true)?,
    };
    let end = match to {
        Bound::Unbounded => n,
        Bound::Included(at) => gap(at, true)?,
        Bound::Excluded(at) => gap(at, false)?,
    };
    if start > end {
        return Err(wrong(format!("the range {start}..{end} on axis {axis} of size {size} ends before it starts"))
            .help("to walk down, give a range that goes up and a negative step: (2..5).by(-1)"));
    }
    let count = ((end - start) as usize).div_ceil(step.unsigned_abs());
    let start = if step > 0 || count == 0 { start } else { end - 1 };
    Ok(Cut { start: start as usize, step, count })
}

/// What an index does to a tensor: cuts, then sizes without the dropped and with the new axes, then what a tensor
/// takes from one of these axes.
struct Plan<'a> {
    cuts: SmallVec<[Cut; 4]>,
    shape: Shape,
    take: Option<(usize, &'a Tensor<Int>)>,
}

fn plan<'a>(shape: &Shape, indices: &[Index<'a>]) -> Result<Plan<'a>> {
    let used = indices.iter().filter(|i| !matches!(i, Index::NewAxis | Index::Ellipsis)).count();
    if used > shape.rank() {
        return Err(wrong(format!("{used} axes are indexed, and the rank is {}", shape.rank())));
    }
    if indices.iter().filter(|i| matches!(i, Index::Ellipsis)).count() > 1 {
        return Err(
            wrong("more than one Ellipsis in an index".into()).help("only one can stand for the axes left over")
        );
    }
    let mut plan = Plan { cuts: SmallVec::new(), shape: Shape::scalar(), take: None };
    let whole = |plan: &mut Plan<'_>, count: usize| {
        for _ in 0..count {
            let count = shape[plan.cuts.len()];
            plan.cuts.push(Cut { start: 0, step: 1, count });
            plan.shape.push(count);
        }
    };
    for index in indices {
        let axis = plan.cuts.len();
        match *index {
            Index::NewAxis => plan.shape.push(1),
            Index::Ellipsis => whole(&mut plan, shape.rank() - used),
            Index::At(at) => {
                let start = position(at, axis, shape[axis])?;
                plan.cuts.push(Cut { start, step: 1, count: 1 });
            }
            Index::Span { from, to, step } => {
                let cut = span(from, to, step, axis, shape[axis])?;
                plan.cuts.push(cut);
                plan.shape.push(cut.count);
            }
            Index::Take(tensor) => {
                if plan.take.replace((plan.shape.rank(), tensor)).is_some() {
                    return Err(wrong("more than one tensor in an index".into())
                        .help("index one axis after another: x.i(&rows).i((.., &columns)), or use gather"));
                }
                whole(&mut plan, 1);
            }
        }
    }
    let rest = shape.rank() - plan.cuts.len();
    whole(&mut plan, rest);
    if plan.shape.rank() > MAX_RANK {
        return Err(Error::new(format!("rank {} is larger than {MAX_RANK}", plan.shape.rank())));
    }
    Ok(plan)
}

impl<K: Kind> Tensor<K> {
    /// Indexing, as `x[..]` in Python: one entry for each axis from the first on, in a tuple where there are several.
    /// Axes without an entry stay whole.
    ///
    /// | entry | meaning |
    /// |---|---|
    /// | `2`, `-1` | this position, counted from the end where negative; the axis is dropped |
    /// | `1..3`, `1..`, `..-1`, `..`, `0..=2` | these positions; negative bounds count from the end |
    /// | `(1..9).by(2)`, `(..).by(-1)` | the same in steps, from the last one down where negative: see [`By`] |
    /// | `NewAxis` | a new axis of size 1 |
    /// | `Ellipsis` | all axes that the other entries leave over, whole |
    /// | `&index`, a `Tensor<Int>` | the positions it names, see [`index_select`](Self::index_select) |
    ///
    /// The result is a view of the same memory, a copy only where a tensor takes positions. Unlike in Python, bounds
    /// beyond the axis are not clipped but an error, since a range that silently comes out shorter hides mistakes.
    ///
    /// # Panics
    /// If an index or a bound is out of range, a range ends before it starts, more axes are indexed than there are,
    /// or there is more than one `Ellipsis` or more than one tensor.
    ///
    /// ```
    /// use wengert_tensor::{By, Ellipsis, NewAxis, tensor};
    /// let x = tensor![[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]];
    /// assert_eq!(x.i(1).to_vec::<i64>(), [4, 5, 6, 7]);
    /// assert_eq!(x.i((-1, 0)).item(), 8);
    /// assert_eq!(x.i((1.., ..2)).to_vec::<i64>(), [4, 5, 8, 9]);
    /// assert_eq!(x.i((0, (..).by(-2))).to_vec::<i64>(), [3, 1]);
    /// assert_eq!(x.i((.., NewAxis, 1..=2)).shape().to_string(), "[3, 1, 2]");
    /// assert_eq!(x.i((Ellipsis, -1)).to_vec::<i64>(), [3, 7, 11]);
    /// assert_eq!(x.i((.., &tensor![3, 0])).i(0).to_vec::<i64>(), [3, 0]);
    /// assert!(x.i((1.., ..2)).shares_memory(&x));
    /// let e = x.try_i((.., 1..9)).unwrap_err();
    /// assert_eq!(e.message(), "bound 9 is out of range for axis 1 of size 4");
    /// ```
    #[track_caller]
    pub fn i<'a>(&self, index: impl IntoIndices<'a>) -> Tensor<K> {
        or_panic(self.try_i(index))
    }

    /// Fallible form of [`i`](Self::i).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_i<'a>(&self, index: impl IntoIndices<'a>) -> Result<Tensor<K>> {
        let at = Location::caller();
        let plan = plan(self.shape(), &index.into_indices());
        let Plan { cuts, shape, take } = in_op("i", &[("input", self.as_any())], at, plan)?;
        let is_whole = |(cut, &count): (&Cut, &usize)| *cut == Cut { start: 0, step: 1, count };
        let mut x = self.clone();
        if !cuts.iter().zip(self.shape().iter()).all(is_whole) {
            x = x.try_slice_cuts(&cuts)?;
        }
        if x.shape() != &shape {
            x = x.try_reshape(&shape)?;
        }
        match take {
            None => Ok(x),
            Some((axis, index)) => x.try_index_select(axis as isize, index),
        }
    }
    /// This tensor with the part that `index` names, as in [`i`](Self::i), replaced by `src`, which broadcasts to it:
    /// what `x[index] = src` does in Python, as a new tensor.
    ///
    /// # Panics
    /// Where [`i`](Self::i) panics, if the index holds a tensor (see [`scatter`](Self::scatter)), or `src` does not
    /// broadcast to the part or has another precision.
    ///
    /// ```
    /// use wengert_tensor::{Tensor, tensor};
    /// let x = Tensor::zeros([2, 3]).slice_assign((.., 1..), &tensor![[1.0], [2.0]]);
    /// assert_eq!(x.to_vec::<f32>(), [0.0, 1.0, 1.0, 0.0, 2.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn slice_assign<'a>(&self, index: impl IntoIndices<'a>, src: &Tensor<K>) -> Tensor<K> {
        or_panic(self.try_slice_assign(index, src))
    }

    /// Fallible form of [`slice_assign`](Self::slice_assign).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_slice_assign<'a>(&self, index: impl IntoIndices<'a>, src: &Tensor<K>) -> Result<Tensor<K>> {
        let at = Location::caller();
        let plan = plan(self.shape(), &index.into_indices()).and_then(|plan| {
            if plan.take.is_some() {
                return Err(wrong("a tensor cannot name what is assigned to".into())
                    .help("scatter and index_add put elements to places that a tensor names"));
            }
            if src.shape().broadcast(&plan.shape).is_ok_and(|whole| whole == plan.shape) {
                return Ok(plan);
            }
            let e = format!("src of shape {} does not broadcast to the part, which has {}", src.shape(), plan.shape);
            Err(Error::new(e).help("sizes must be equal, or those of src 1, on every axis counted from the last"))
        });
        let operands = [("input", self.as_any()), ("src", src.as_any())];
        let plan = in_op("slice_assign", &operands, at, plan)?;
        let region: Shape = plan.cuts.iter().map(|cut| cut.count).collect();
        let src = src.try_expand(&plan.shape)?.try_reshape(&region)?;
        apply1(&SLICE_ASSIGN, cut_attrs(&plan.cuts), &mut [self.into(), src.into()])
    }
}
