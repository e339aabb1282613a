//! The order in which results lie: that of their operands, so that operands and results are gone through together as memory
//! is quickest with.

use smallvec::SmallVec;

use crate::layout::Layout;
use crate::shape::Shape;
use crate::tensor::AnyTensor;

/// Computes a dense result of a shape from operands; and is told where an axis is in it.
type Dense<'a, const N: usize> = dyn Fn(Shape, [&AnyTensor; N], &dyn Fn(usize) -> usize) -> AnyTensor + 'a;

/// What `f` makes of operands that broadcast to `shape`, as a dense result: their axes are brought into the order of memory
/// for it, and those of the result back. `f` is also told where an axis is then.
#[inline(always)] // a small operation would wait for its shape to be handed on
pub(super) fn in_memory_order<const N: usize>(
    shape: Shape,
    operands: [&AnyTensor; N],
    f: impl Fn(Shape, [&AnyTensor; N], &dyn Fn(usize) -> usize) -> AnyTensor,
) -> AnyTensor {
    // To find the order takes as long as some elements.
    if !operands.iter().all(|t| t.layout().is_dense())
        && let Some(order) = common_order(&shape, &operands)
    {
        return in_order(order, &shape, operands, &f);
    }
    f(shape, operands, &|axis| axis)
}

#[inline(never)]
fn in_order<const N: usize>(
    order: SmallVec<[usize; 4]>,
    shape: &Shape,
    operands: [&AnyTensor; N],
    f: &Dense<'_, N>,
) -> AnyTensor {
    let views = operands.map(|t| t.view(t.layout().broadcast_to(shape).permute(&order)));
    let place = |axis| order.iter().position(|&a| a == axis).expect("all axes have a place");
    let result = f(order.iter().map(|&axis| shape[axis]).collect(), views.each_ref(), &place);
    result.view(Layout::dense_in_order(shape, &order))
}

/// The order in which the operands of the most elements lie, by which all operands and the result are gone through as
/// memory is quickest with. Where they disagree it is that of one that lies row-major, or that of the first.
#[inline(never)]
fn common_order(shape: &Shape, operands: &[&AnyTensor]) -> Option<SmallVec<[usize; 4]>> {
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
