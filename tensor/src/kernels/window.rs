//! The window that convolution and pooling slide along each of their axes.

use std::ops::Range;

/// A window that slides along one axis: output `o` meets the input at `o * stride + k * dilation - padding` for each
/// `k` below `kernel`, where that lies within the axis.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Positions of the input along the axis.
    pub size: usize,
    /// Positions that the window looks at.
    pub kernel: usize,
    /// The distance between neighbouring windows.
    pub stride: usize,
    /// Positions that the input is thought to have beyond each end.
    pub padding: usize,
    /// The distance between the positions that a window looks at.
    pub dilation: usize,
    /// How many windows there are.
    pub output: usize,
}

impl Window {
    /// The window of an axis that is not there: one position, seen as it is.
    pub const NONE: Window = Window { size: 1, kernel: 1, stride: 1, padding: 0, dilation: 1, output: 1 };

    /// Whether windows are groups of `n` positions that lie side by side, all of them within the axis.
    pub fn in_groups(&self, n: usize) -> bool {
        (self.kernel, self.stride, self.padding, self.dilation) == (n, n, 0, 1) && n * self.output <= self.size
    }

    /// The outputs whose position number `k` lies within the axis.
    pub fn outputs(&self, k: usize) -> Range<usize> {
        let reach = k * self.dilation;
        let start = self.padding.saturating_sub(reach).div_ceil(self.stride).min(self.output);
        let end = match (self.size + self.padding).checked_sub(reach + 1) {
            Some(last) => (last / self.stride + 1).min(self.output),
            None => 0,
        };
        start..end.max(start)
    }

    /// The positions of window number `o` that lie within the axis.
    pub fn inside(&self, o: usize) -> Range<usize> {
        let before = |end: usize| end.saturating_sub(o * self.stride).div_ceil(self.dilation).min(self.kernel);
        before(self.padding)..before(self.padding + self.size)
    }

    /// Where output `o` meets the input with its position number `k`, which lies within the axis.
    pub fn position(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.padding
    }

    /// Whether each output is the input at its own place.
    pub fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}
