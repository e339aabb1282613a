//! The unfold family: the windows of images as matrices, and back.

use std::ops::Range;

use crate::dtype::Element;
use crate::kernels::window::Window;
use crate::par::Par;

/// The sizes of an unfolding: how the kernel slides over depth, height and width of each channel.
pub type Windows = [Window; 3];

fn product(windows: &Windows, size: impl Fn(&Window) -> usize) -> usize {
    windows.iter().map(size).product()
}

/// A run of an image as the unfolded matrix shows it: after `skip` columns of padding, `len` columns from `pixel` on.
struct Shown {
    skip: usize,
    pixel: usize,
    len: usize,
}

/// Calls `f` for each kernel position and output row of a channel: with the run of the unfolded matrix that this is, and
/// the run of the image that it shows (`None` in the padding).
#[inline]
fn for_runs(windows: &Windows, mut f: impl FnMut(Range<usize>, Option<Shown>)) {
    let [deep, high, wide] = windows;
    let mut start = 0;
    for tap in 0..product(windows, |w| w.kernel) {
        let j = tap % wide.kernel;
        let (h, i) = (tap / (wide.kernel * high.kernel), tap / wide.kernel % high.kernel);
        let (slices, rows, columns) = (deep.outputs(h), high.outputs(i), wide.outputs(j));
        for line in 0..deep.output * high.output {
            let (slice, row) = (line / high.output, line % high.output);
            let shown = (slices.contains(&slice) && rows.contains(&row) && !columns.is_empty()).then(|| {
                let plane = deep.position(slice, h);
                let pixel = (plane * high.size + high.position(row, i)) * wide.size + wide.position(columns.start, j);
                Shown { skip: columns.start, pixel, len: columns.len() }
            });
            f(start..start + wide.output, shown);
            start += wide.output;
        }
    }
}

/// The unfolded matrix of each channel, all dense: a row for each kernel position, a column for each output position.
pub fn unfold<T: Element>(out: &mut [T], x: &[T], windows: &Windows, par: &Par) {
    let (stride, pixels) = (windows[2].stride, product(windows, |w| w.size));
    par.chunks_mut(out, product(windows, |w| w.kernel * w.output), |channel, out| {
        let x = &x[channel * pixels..][..pixels];
        for_runs(windows, |run, shown| {
            let out = &mut out[run];
            let Some(Shown { skip, pixel, len }) = shown else { return out.fill(T::default()) };
            let (before, rest) = out.split_at_mut(skip);
            let (inside, after) = rest.split_at_mut(len);
            before.fill(T::default());
            after.fill(T::default());
            match stride {
                1 => inside.copy_from_slice(&x[pixel..][..len]),
                _ => inside.iter_mut().zip(x[pixel..].iter().step_by(stride)).for_each(|(o, &v)| *o = v),
            }
        });
    });
}

/// The transpose of [`unfold`]: each pixel is the sum of what the windows that it lies in hold.
pub fn fold<T: Element + std::ops::AddAssign>(x: &mut [T], unfolded: &[T], windows: &Windows, par: &Par) {
    let (stride, each) = (windows[2].stride, product(windows, |w| w.kernel * w.output));
    par.chunks_mut(x, product(windows, |w| w.size), |channel, x| {
        x.fill(T::default());
        let unfolded = &unfolded[channel * each..][..each];
        for_runs(windows, |run, shown| {
            let Some(Shown { skip, pixel, len }) = shown else { return };
            let from = &unfolded[run][skip..][..len];
            match stride {
                1 => x[pixel..][..len].iter_mut().zip(from).for_each(|(x, &v)| *x += v),
                _ => x[pixel..].iter_mut().step_by(stride).zip(from).for_each(|(x, &v)| *x += v),
            }
        });
    });
}
