//! What convolution and pooling share: windows that slide over the last axes, and how callers describe them.

use crate::dispatch::Attrs;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::window::Window;
use crate::shape::Shape;

/// One number for all of `N` axes, or one for each: `3` or `[3, 5]`.
///
/// ```
/// use wengert_tensor::Sizes;
/// assert_eq!(Sizes::<2>::from(3), Sizes([3, 3]));
/// assert_eq!(Sizes::from([3, 5]), Sizes([3, 5]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes<const N: usize>(pub [usize; N]);

impl<const N: usize> From<usize> for Sizes<N> {
    fn from(n: usize) -> Sizes<N> {
        Sizes([n; N])
    }
}

impl<const N: usize> From<[usize; N]> for Sizes<N> {
    fn from(sizes: [usize; N]) -> Sizes<N> {
        Sizes(sizes)
    }
}

/// The setters that all options of windows share, which move in the same way whatever is done with what they show.
macro_rules! sliding {
    ($Options:ident) => {
        impl<const N: usize> $Options<N> {
            /// Sets how far one window is from the next.
            pub fn stride(mut self, stride: impl Into<Sizes<N>>) -> Self {
                self.stride = stride.into().0;
                self
            }

            /// Sets how many positions are added at both ends of each axis.
            pub fn padding(mut self, padding: impl Into<Sizes<N>>) -> Self {
                self.padding = padding.into().0;
                self
            }

            /// Sets how far one element of the window is from the next.
            pub fn dilation(mut self, dilation: impl Into<Sizes<N>>) -> Self {
                self.dilation = dilation.into().0;
                self
            }
        }
    };
}
pub(super) use sliding;

/// What the last axes of a tensor are called, of which there are `n`.
pub(super) fn axis_names(n: usize) -> &'static str {
    ["", "length", "height, width", "depth, height, width"][n]
}

/// The numbers of an attribute, one for each of three axes. Where it has fewer they belong to the last ones, and
/// `missing` stands for the others.
pub(super) fn numbers(attrs: &Attrs, name: &str, n: usize, missing: usize) -> Result<[usize; 3]> {
    let mut all = [missing; 3];
    if attrs.get(name).is_none() {
        return Ok(all);
    }
    let given = attrs.ints(name);
    if given.len() != n {
        return Err(Error::new(format!("{name} has {} numbers, not {n}", given.len())));
    }
    for (own, &given) in all[3 - n..].iter_mut().zip(&given) {
        *own = usize::try_from(given)
            .map_err(|_| Error::new(format!("{name} {given} is negative or too large")).kind_of(ErrorKind::Value))?;
    }
    Ok(all)
}

/// The windows of size `kernel` that the attributes `stride`, `padding` and `dilation` slide over the last `n` axes of a
/// shape. With `ceil_mode` a last window may reach over the end of the padded axis, as long as it begins before.
pub(super) fn windows(shape: &Shape, n: usize, kernel: [usize; 3], attrs: &Attrs) -> Result<[Window; 3]> {
    let stride = numbers(attrs, "stride", n, 1)?;
    let padding = numbers(attrs, "padding", n, 0)?;
    let dilation = numbers(attrs, "dilation", n, 1)?;
    // The number of the axis that entry `i` of these belongs to.
    let axis = |i: usize| shape.rank() + i - 3;
    for (name, values) in [("kernel size", kernel), ("stride", stride), ("dilation", dilation)] {
        if let Some(i) = values.iter().position(|&v| v == 0) {
            return Err(Error::new(format!("the {name} along axis {} is 0", axis(i)))
                .kind_of(ErrorKind::Value)
                .help(format!("the {name} is 1 or more")));
        }
    }
    let mut windows = [Window::NONE; 3];
    for i in 3 - n..3 {
        let (size, kernel, padding) = (shape[axis(i)], kernel[i], padding[i]);
        let span = (kernel - 1).checked_mul(dilation[i]).and_then(|s| s.checked_add(1));
        let padded = padding.checked_mul(2).and_then(|p| p.checked_add(size)).filter(|&p| p <= isize::MAX as usize);
        let (Some(span), Some(padded)) = (span, padded) else {
            return Err(Error::new(format!("the sizes along axis {} overflow", axis(i))).kind_of(ErrorKind::Value));
        };
        let Some(room) = padded.checked_sub(span) else {
            let with = if padding > 0 { format!(" with padding {padding} at both ends") } else { String::new() };
            return Err(Error::new(format!(
                "the kernel spans {span} positions, and axis {} has {size}{with}",
                axis(i)
            ))
            .help(format!("take a smaller kernel, or padding of {} or more", (span - size).div_ceil(2))));
        };
        let mut output = room / stride[i] + 1;
        if attrs.bool("ceil_mode") && room % stride[i] > 0 && output * stride[i] < size + padding {
            output += 1;
        }
        // One position lies no distance from another: whatever is said, it must not overflow.
        let dilation = if kernel == 1 { 1 } else { dilation[i] };
        windows[i] = Window { size, kernel, stride: stride[i], padding, dilation, output };
    }
    Ok(windows)
}

/// The shape with the last axes replaced by `last`, those of the last `n` entries.
pub(super) fn with_last(shape: &Shape, n: usize, last: [usize; 3]) -> Result<Shape> {
    let lead = &shape[..shape.rank() - n];
    crate::shape::checked_shape(&lead.iter().chain(&last[3 - n..]).map(|&n| n as isize).collect::<Vec<_>>())
}

/// The sizes of the last `n` axes of a shape; 1 for the axes that are not there.
pub(super) fn last_sizes(shape: &Shape, n: usize) -> [usize; 3] {
    let mut sizes = [1; 3];
    sizes[3 - n..].copy_from_slice(&shape[shape.rank() - n..]);
    sizes
}

/// The attributes without those named.
pub(super) fn without(attrs: &Attrs, names: &[&str]) -> Attrs {
    let kept = attrs.iter().filter(|(name, _)| !names.contains(name));
    kept.fold(Attrs::NONE, |all, (name, value)| all.with(name, value.clone()))
}
