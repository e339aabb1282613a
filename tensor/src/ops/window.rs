//! What convolution and pooling share: the attributes of a window that slides over the last two axes.

use crate::dispatch::Attrs;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::window::Window;

/// One number for height and width, or one for each: `3` or `[3, 5]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(n: usize) -> Pair {
        Pair([n, n])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Pair {
        Pair(pair)
    }
}

/// The two numbers of an attribute, which 1 stands for where it misses.
fn pair(attrs: &Attrs, name: &str, missing: usize) -> Result<[usize; 2]> {
    if attrs.get(name).is_none() {
        return Ok([missing; 2]);
    }
    let given = attrs.ints(name);
    match given[..] {
        [high, wide] if high >= 0 && wide >= 0 => Ok([high as usize, wide as usize]),
        [_, _] => {
            Err(Error::new(format!("{name} {:?} is negative or too large", &given[..])).kind_of(ErrorKind::Value))
        }
        _ => Err(Error::new(format!("{name} has {} numbers, not 2", given.len()))),
    }
}

/// The windows of size `kernel` that the attributes `stride`, `padding` and `dilation` slide over axes of the given
/// sizes, the first of which is number `axis`.
pub(crate) fn windows(sizes: [usize; 2], axis: usize, kernel: [usize; 2], attrs: &Attrs) -> Result<[Window; 2]> {
    let (stride, padding) = (pair(attrs, "stride", 1)?, pair(attrs, "padding", 0)?);
    let dilation = pair(attrs, "dilation", 1)?;
    for (name, values) in [("kernel size", kernel), ("stride", stride), ("dilation", dilation)] {
        if let Some(i) = values.iter().position(|&v| v == 0) {
            return Err(Error::new(format!("the {name} along axis {} is 0", axis + i))
                .kind_of(ErrorKind::Value)
                .help(format!("the {name} is 1 or more")));
        }
    }
    let window = |i: usize| -> Result<Window> {
        let (size, kernel, padding) = (sizes[i], kernel[i], padding[i]);
        let span = (kernel - 1).checked_mul(dilation[i]).and_then(|s| s.checked_add(1));
        let padded = padding.checked_mul(2).and_then(|p| p.checked_add(size)).filter(|&p| p <= isize::MAX as usize);
        let (Some(span), Some(padded)) = (span, padded) else {
            return Err(Error::new(format!("the sizes along axis {} overflow", axis + i)).kind_of(ErrorKind::Value));
        };
        let Some(room) = padded.checked_sub(span) else {
            let with = if padding > 0 { format!(" with padding {padding} at both ends") } else { String::new() };
            return Err(Error::new(format!(
                "the kernel spans {span} positions, and axis {} has {size}{with}",
                axis + i
            ))
            .help(format!("take a smaller kernel, or padding of {} or more", (span - size).div_ceil(2))));
        };
        Ok(Window { size, kernel, stride: stride[i], padding, dilation: dilation[i], output: room / stride[i] + 1 })
    };
    Ok([window(0)?, window(1)?])
}

/// The attribute `kernel`.
pub(crate) fn kernel(attrs: &Attrs) -> Result<[usize; 2]> {
    pair(attrs, "kernel", 1)
}

/// The attribute `size`: the sizes of the last two axes of what a gradient is of.
pub(crate) fn size(attrs: &Attrs) -> Result<[usize; 2]> {
    pair(attrs, "size", 1)
}
