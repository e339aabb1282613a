//! The order in which results lie: that of their operands, so that operands and results are gone through together as memory
//! is quickest with.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::layout::Layout;
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tensor::AnyTensor;

/// Axes in the order in which elements lie, where that is not their own.
pub(super) type Order = Option<SmallVec<[usize; 4]>>;

/// The order in which the operands of the most elements lie, by which all operands and the result are gone through as
/// memory is quickest with. Where they disagree it is that of one that lies row-major, or that of the first.
pub(super) fn common_order<const N: usize>(shape: &Shape, operands: [&AnyTensor; N]) -> Order {
    let most = operands.iter().map(|t| t.elements()).max()?;
    let layouts = || operands.iter().map(|t| t.layout()).filter(|layout| layout.elements() == most);
    if layouts().any(Layout::is_dense) {
        return None;
    }
    let mut orders = layouts().filter(|layout| !layout.repeats()).map(Layout::memory_order);
    let first = orders.next()??;
    if !orders.all(|order| order.is_some()) {
        return None;
    }
    // Axes that it has not come first.
    let lead = shape.rank() - first.len();
    Some((0..lead).chain(first.into_iter().map(|axis| axis + lead)).collect())
}

/// The layout of an operand that broadcasts to `shape`, with its axes in this order.
pub(super) fn in_order<'a>(x: &'a AnyTensor, shape: &Shape, order: &Order) -> Cow<'a, Layout> {
    match order {
        None => Cow::Borrowed(x.layout()),
        Some(order) => Cow::Owned(x.layout().broadcast_to(shape).permute(order)),
    }
}

/// A shape with its axes in this order.
pub(super) fn shape_in_order<'a>(shape: &'a Shape, order: &Order) -> Cow<'a, Shape> {
    match order {
        None => Cow::Borrowed(shape),
        Some(order) => Cow::Owned(order.iter().map(|&axis| shape[axis]).collect()),
    }
}

/// Where an axis is in this order.
pub(super) fn place_in_order(axis: usize, order: &Order) -> usize {
    order.as_ref().and_then(|order| order.iter().position(|&a| a == axis)).unwrap_or(axis)
}

/// A result whose elements lie in this order.
pub(super) fn ordered(storage: Storage, shape: Shape, order: &Order, dtype: DType) -> AnyTensor {
    let layout = match order {
        None => Layout::dense(shape),
        Some(order) => Layout::dense_in_order(&shape, order),
    };
    AnyTensor::new(storage, layout, dtype)
}
