//! Shapes, axes, and the rules that combine them.

use std::fmt;
use std::ops::{Deref, DerefMut};

use smallvec::{Array, SmallVec};

use crate::error::{Error, Result};

/// A list that is short as a rule: gathered in place, without asking at each element whether there is room.
#[inline]
pub(crate) fn short<T: Copy + Default, const N: usize>(list: impl IntoIterator<Item = T>) -> SmallVec<[T; N]>
where
    [T; N]: Array<Item = T>,
{
    let (mut len, mut items) = (0, [T::default(); N]);
    let mut list = list.into_iter();
    for place in &mut items {
        let Some(item) = list.next() else { break };
        *place = item;
        len += 1;
    }
    let mut items = SmallVec::from_buf_and_len(items, len);
    if len == N {
        items.extend(list);
    }
    items
}

/// The largest rank a tensor can have.
///
/// ```
/// use wengert_tensor::{MAX_RANK, Tensor};
/// assert_eq!(Tensor::ones([1; MAX_RANK]).rank(), MAX_RANK);
/// assert!(Tensor::try_full([1; MAX_RANK + 1], 1.0).is_err());
/// ```
pub const MAX_RANK: usize = 16;

/// The sizes of a tensor along each axis. Rank 0 is the empty shape `[]`, which holds one element.
///
/// ```
/// use wengert_tensor::Shape;
/// let s = Shape::from([2, 3]);
/// assert_eq!(s.elements(), 6);
/// assert_eq!(s.to_string(), "[2, 3]");
/// let mut t = s.clone();
/// t.push(4);
/// t.insert(0, 1);
/// assert_eq!((t.remove(1), t.to_string()), (2, "[1, 3, 4]".to_string()));
/// assert_eq!((t.rank(), t.axis(-1).unwrap(), &t.axes(&[0, -2]).unwrap()[..]), (3, 2, &[0, 1][..]));
/// assert_eq!((Shape::scalar().elements(), Shape::from([usize::MAX, 2]).checked_elements()), (1, None));
/// ```
#[derive(PartialEq, Eq, Hash)]
pub struct Shape(Sizes);

/// Every operation copies and compares shapes: nearly all have so few sizes that they lie in place, in a field of fixed
/// length with zeros behind the rank.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Sizes {
    Few { rank: u32, sizes: [usize; FEW] },
    Many(Box<[usize]>),
}

/// Sizes that lie in place.
const FEW: usize = 4;

impl Clone for Shape {
    #[inline]
    fn clone(&self) -> Shape {
        Shape(self.0.clone())
    }

    #[inline]
    fn clone_from(&mut self, other: &Shape) {
        match (&mut self.0, &other.0) {
            // Field by field, with no shape in between that would be moved.
            (Sizes::Few { rank, sizes }, Sizes::Few { rank: from_rank, sizes: from_sizes }) => {
                (*rank, *sizes) = (*from_rank, *from_sizes);
            }
            (to, from) => *to = from.clone(),
        }
    }
}

impl Default for Shape {
    fn default() -> Shape {
        Shape::scalar()
    }
}

impl Shape {
    /// The shape of rank 0.
    pub const fn scalar() -> Shape {
        Shape(Sizes::Few { rank: 0, sizes: [0; FEW] })
    }

    /// The number of axes.
    #[inline]
    pub fn rank(&self) -> usize {
        self.len()
    }

    /// The number of elements: the product of the sizes, 1 for rank 0.
    #[inline]
    pub fn elements(&self) -> usize {
        self.iter().product()
    }

    /// The number of elements, or `None` where memory cannot address them.
    ///
    /// An empty axis empties the whole, but the other sizes must still fit together: strides are computed from them.
    pub fn checked_elements(&self) -> Option<usize> {
        // The largest element has 8 bytes, and an allocation is at most `isize::MAX` bytes.
        const MOST: usize = isize::MAX as usize / 16;
        let filled = self.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
        (filled <= MOST).then(|| self.elements())
    }

    /// The shape itself, where memory can address its elements.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn addressable(self) -> Result<Shape> {
        match self.checked_elements() {
            Some(_) => Ok(self),
            None => Err(Error::new(format!("shape {self} has more elements than memory can address"))),
        }
    }

    /// Appends an axis of size `size`.
    pub fn push(&mut self, size: usize) {
        self.insert(self.rank(), size);
    }

    /// Inserts an axis of size `size` at position `axis`.
    ///
    /// # Panics
    /// If `axis` is larger than the rank.
    pub fn insert(&mut self, axis: usize, size: usize) {
        assert!(axis <= self.rank(), "there is no place {axis} in shape {self}");
        *self = self[..axis].iter().copied().chain([size]).chain(self[axis..].iter().copied()).collect();
    }

    /// Removes the axis at position `axis` and returns its size.
    ///
    /// # Panics
    /// If there is no such axis.
    pub fn remove(&mut self, axis: usize) -> usize {
        let size = self[axis];
        *self = self[..axis].iter().chain(&self[axis + 1..]).copied().collect();
        size
    }

    /// The axis that `axis` names, counted from the end where it is negative.
    ///
    /// # Errors
    /// If the tensor has no such axis.
    pub fn axis(&self, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize;
        if axis >= -rank && axis < rank {
            return Ok(if axis < 0 { axis + rank } else { axis } as usize);
        }
        Err(no_axis(axis, rank))
    }

    /// The axes that `axes` names, in the order given.
    ///
    /// # Errors
    /// If one of them does not exist, or one is named twice.
    pub fn axes(&self, axes: &[isize]) -> Result<SmallVec<[usize; 4]>> {
        let mut out: SmallVec<[usize; 4]> = short(std::iter::repeat_n(0, axes.len()));
        for (i, &a) in axes.iter().enumerate() {
            let axis = self.axis(a)?;
            if out[..i].contains(&axis) {
                return Err(Error::new(format!("axis {axis} is named twice in {axes:?}")));
            }
            out[i] = axis;
        }
        Ok(out)
    }

    /// Row-major strides of a dense tensor of this shape, in elements.
    pub fn strides(&self) -> SmallVec<[isize; 4]> {
        let mut strides: SmallVec<[isize; 4]> = short(std::iter::repeat_n(0, self.rank()));
        let mut step = 1isize;
        for (stride, &size) in strides.iter_mut().zip(self.iter()).rev() {
            *stride = step;
            step *= size.max(1) as isize;
        }
        strides
    }

    /// The position along each axis of element `number`, counted in row-major order.
    pub(crate) fn position(&self, number: usize) -> SmallVec<[usize; 4]> {
        let mut rest = number;
        let mut position: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.rank());
        for (p, &size) in position.iter_mut().zip(self.iter()).rev() {
            *p = rest % size.max(1);
            rest /= size.max(1);
        }
        position
    }

    /// The shape that two shapes broadcast to by NumPy's rule: aligned at the last axis, sizes equal or 1.
    ///
    /// # Errors
    /// If they do not broadcast: the message names the axis (from the end) and both sizes.
    ///
    /// ```
    /// use wengert_tensor::Shape;
    /// let s = Shape::from([3, 1]).broadcast(&Shape::from([4])).unwrap();
    /// assert_eq!(s, Shape::from([3, 4]));
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Result<Shape> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.rank().max(other.rank());
        let mut out: Shape = std::iter::repeat_n(1, rank).collect();
        for back in 1..=rank {
            let a = if back <= self.rank() { self[self.rank() - back] } else { 1 };
            let b = if back <= other.rank() { other[other.rank() - back] } else { 1 };
            out[rank - back] = match (a, b) {
                _ if a == b => a,
                (1, _) => b,
                (_, 1) => a,
                _ => {
                    let e = Error::new(format!("shapes do not broadcast: {a} and {b} on axis -{back}"));
                    return Err(match broadcast_hint(self, other) {
                        Some(help) => e.help(help),
                        None => e.help("sizes must be equal, or one of them 1, on every axis counted from the last"),
                    });
                }
            };
        }
        out.addressable()
    }
}

#[cold]
fn no_axis(axis: isize, rank: isize) -> Error {
    let e = Error::new(format!("axis {axis} is out of range for rank {rank}"));
    match rank {
        0 => e.help("a tensor of rank 0 has no axes"),
        _ => e.help(format!("valid axes are {} to {}", -rank, rank - 1)),
    }
}

/// A mend for two shapes that do not broadcast: an axis of size 1 to insert, where that is enough.
fn broadcast_hint(lhs: &Shape, rhs: &Shape) -> Option<String> {
    let attempt = |name: &str, short: &Shape, long: &Shape| {
        (0..=short.rank()).rev().find_map(|axis| {
            let mut s = short.clone();
            s.insert(axis, 1);
            let fits = s.rank() <= long.rank()
                && s.iter().rev().zip(long.iter().rev()).all(|(&a, &b)| a == b || a == 1 || b == 1);
            fits.then(|| format!("{name}.unsqueeze({axis}) gives {s}, which broadcasts"))
        })
    };
    if lhs.rank() < rhs.rank() {
        attempt("lhs", lhs, rhs)
    } else if rhs.rank() < lhs.rank() {
        attempt("rhs", rhs, lhs)
    } else {
        None
    }
}

impl Deref for Shape {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        match &self.0 {
            Sizes::Few { rank, sizes } => &sizes[..*rank as usize],
            Sizes::Many(sizes) => sizes,
        }
    }
}

impl DerefMut for Shape {
    #[inline]
    fn deref_mut(&mut self) -> &mut [usize] {
        match &mut self.0 {
            Sizes::Few { rank, sizes } => &mut sizes[..*rank as usize],
            Sizes::Many(sizes) => sizes,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[inline]
    fn from(sizes: [usize; N]) -> Shape {
        sizes.into_iter().collect()
    }
}

impl From<&[usize]> for Shape {
    #[inline]
    fn from(sizes: &[usize]) -> Shape {
        sizes.iter().copied().collect()
    }
}

impl FromIterator<usize> for Shape {
    #[inline]
    fn from_iter<I: IntoIterator<Item = usize>>(iter: I) -> Shape {
        let (mut rank, mut sizes) = (0, [0; FEW]);
        let mut iter = iter.into_iter();
        for place in &mut sizes {
            let Some(size) = iter.next() else { return Shape(Sizes::Few { rank, sizes }) };
            *place = size;
            rank += 1;
        }
        let Some(next) = iter.next() else { return Shape(Sizes::Few { rank, sizes }) };
        // Not by chained iterators: every caller would have chains of its own compiled.
        let mut many = sizes.to_vec();
        many.push(next);
        for size in iter {
            many.push(size);
        }
        Shape(Sizes::Many(many.into_boxed_slice()))
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, other: &[usize]) -> bool {
        self[..] == *other
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self[..] == other[..]
    }
}

/// A list of signed integers that names sizes or axes: `2`, `[2, 3]`, `&sizes`, `shape`, `1..3`, `()`.
///
/// Arguments of this type accept every integer type a literal may have, so that `[2, 3]` needs no suffix.
///
/// ```
/// use wengert_tensor::IntoDims;
/// assert_eq!([2, -1].into_dims(0)[..], [2, -1]);
/// assert_eq!((..).into_dims(3)[..], [0, 1, 2]); // all axes of a tensor of rank 3
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of sizes or axes",
    label = "expected an integer, an array, a slice, a range or a shape"
)]
pub trait IntoDims {
    /// The integers, in order. An open range `1..` ends at `rank`.
    fn into_dims(self, rank: usize) -> SmallVec<[isize; 4]>;
}

/// A size that no `isize` holds is larger than any tensor's: the largest stands for it, and is refused as such.
fn dim(size: impl TryInto<isize>) -> isize {
    size.try_into().unwrap_or(isize::MAX)
}

/// The integers of a range. Of one that is longer than any list of sizes or axes, as many as show that it is.
fn range(range: impl Iterator<Item = isize>) -> SmallVec<[isize; 4]> {
    range.take(1 << 16).collect()
}

macro_rules! into_dims {
    ($($t:ty),*) => {$(
        impl IntoDims for $t {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { SmallVec::from_slice(&[dim(self)]) }
        }
        impl<const N: usize> IntoDims for [$t; N] {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { short(self.iter().map(|&d| dim(d))) }
        }
        impl<const N: usize> IntoDims for &[$t; N] {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { short(self.iter().map(|&d| dim(d))) }
        }
        impl IntoDims for &[$t] {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { short(self.iter().map(|&d| dim(d))) }
        }
        impl IntoDims for Vec<$t> {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { short(self.iter().map(|&d| dim(d))) }
        }
        impl IntoDims for &Vec<$t> {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { short(self.iter().map(|&d| dim(d))) }
        }
        impl IntoDims for std::ops::Range<$t> {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> { range(dim(self.start)..dim(self.end)) }
        }
        impl IntoDims for std::ops::RangeInclusive<$t> {
            fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> {
                range(dim(*self.start())..=dim(*self.end()))
            }
        }
        impl IntoDims for std::ops::RangeTo<$t> {
            fn into_dims(self, rank: usize) -> SmallVec<[isize; 4]> {
                let end = dim(self.end);
                range(0..if end < 0 { end + rank as isize } else { end })
            }
        }
        impl IntoDims for std::ops::RangeFrom<$t> {
            fn into_dims(self, rank: usize) -> SmallVec<[isize; 4]> {
                let rank = rank as isize;
                let start = dim(self.start);
                range(if start < 0 { start + rank } else { start }..rank)
            }
        }
    )*};
}
into_dims!(i32, i64, isize, usize);

impl IntoDims for () {
    fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> {
        SmallVec::new()
    }
}

impl IntoDims for std::ops::RangeFull {
    fn into_dims(self, rank: usize) -> SmallVec<[isize; 4]> {
        (0..rank as isize).collect()
    }
}

impl IntoDims for Shape {
    fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> {
        (&self).into_dims(0)
    }
}

impl IntoDims for &Shape {
    fn into_dims(self, _: usize) -> SmallVec<[isize; 4]> {
        short(self.iter().map(|&d| d as isize))
    }
}

/// Sizes given by a caller as a shape.
///
/// # Errors
/// If a size is negative, there are too many axes, or the number of elements does not fit in memory's address space.
pub(crate) fn shape_from(sizes: impl IntoDims) -> Result<Shape> {
    checked_shape(&sizes.into_dims(0))
}

pub(crate) fn checked_shape(sizes: &[isize]) -> Result<Shape> {
    if let Some((axis, size)) = sizes.iter().enumerate().find(|(_, s)| **s < 0) {
        return Err(Error::new(format!("size {size} on axis {axis} is negative in {sizes:?}")));
    }
    if sizes.len() > MAX_RANK {
        return Err(Error::new(format!("rank {} is larger than {MAX_RANK}", sizes.len())));
    }
    let shape: Shape = sizes.iter().map(|&s| s as usize).collect();
    shape.addressable()
}
