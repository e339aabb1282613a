//! The conv family: convolution along up to three axes, and its gradients.
//!
//! Images are laid out so that every position of the kernel is a shift ([`lattice`]); outputs are sums of shifted
//! registers ([`sweep`]), also those of the gradient with respect to the input, which is a convolution with the kernel
//! turned over for every phase of the stride; and the gradient with respect to the weight is a sum of products along the
//! outputs ([`weight`]). Where filters fill registers, these hold filters instead of outputs, over images whose channels
//! lie side by side ([`channels_last`]). Where every channel has a filter of its own, that is done row by row
//! ([`depthwise`]); kernels of 3 by 3 and of 5 by 5 over many channels in single precision go by fewer products
//! ([`winograd`]); the gradient of an input of few channels is a matrix product that is folded together ([`fold`]). A
//! kernel that looks at single pixels is a matrix product as it is.

mod channels_last;
mod depthwise;
mod fold;
mod lattice;
mod sweep;
mod weight;
mod winograd;

use lattice::{Axis, Lattice, by_row};
use smallvec::SmallVec;
use sweep::{Kernel, Place};

use crate::dtype::DType;
use crate::kernels::gemm::tile::Tiled;
use crate::kernels::gemm::{self, Matrix, Product};
use crate::kernels::scratch::Scratch;
use crate::kernels::vector::Registers;
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// An element type that convolutions sum.
pub trait Sums: Product + Tiled + Registers + std::ops::AddAssign {}
impl<T: Product + Tiled + Registers + std::ops::AddAssign> Sums for T {}

/// A way to sum over kernel positions.
type Sweep<T> = fn(&SharedMut<'_, T>, &[T], &Lattice, &Parts, &Kernel<'_, T>, &Place, &Par);

/// The sizes of a convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Images in the batch.
    pub images: usize,
    /// Groups, each a convolution of its own.
    pub groups: usize,
    /// Input channels of each group.
    pub channels: usize,
    /// Output channels of each group.
    pub filters: usize,
    /// How the kernel slides over depth, height and width. Where there are fewer axes, the first are [`Window::NONE`].
    pub windows: [Window; 3],
}

/// What is swept: the images of each group.
struct Parts {
    /// Images times groups.
    count: usize,
    /// Groups.
    groups: usize,
    /// Planes of each, and their pixels.
    channels: usize,
    pixels: usize,
}

impl Conv {
    /// The sizes of the images.
    fn sizes(&self) -> [usize; 3] {
        self.windows.each_ref().map(|w| w.size)
    }

    /// The sizes of the results.
    fn outputs(&self) -> [usize; 3] {
        self.windows.each_ref().map(|w| w.output)
    }

    /// The sizes of the kernels.
    fn kernels(&self) -> [usize; 3] {
        self.windows.each_ref().map(|w| w.kernel)
    }

    /// Pixels of an input channel.
    fn pixels(&self) -> usize {
        self.sizes().iter().product()
    }

    /// Pixels of an output channel.
    fn positions(&self) -> usize {
        self.outputs().iter().product()
    }

    /// Weights of each filter for one channel.
    fn area(&self) -> usize {
        self.kernels().iter().product()
    }

    /// Weights of each filter.
    fn taps(&self) -> usize {
        self.channels * self.area()
    }

    /// Whether each output sees one pixel, that at its own place.
    fn is_pointwise(&self) -> bool {
        self.windows.iter().all(Window::is_identity)
    }

    /// Whether every channel has a filter of its own.
    fn is_depthwise(&self) -> bool {
        (self.channels, self.filters) == (1, 1)
    }

    /// The convolution with kernels turned over which is the gradient of the input, where there is one.
    fn turned(&self) -> Option<Conv> {
        if self.windows.iter().any(|w| w.stride > 1 || w.dilation > 1 || w.padding >= w.kernel) {
            return None;
        }
        let turn = |w: &Window| Window { size: w.output, output: w.size, padding: w.kernel - 1 - w.padding, ..*w };
        let windows = self.windows.each_ref().map(turn);
        Some(Conv { channels: self.filters, filters: self.channels, windows, ..*self })
    }

    /// Multiply-adds of the whole.
    pub fn work(&self) -> usize {
        [self.groups, self.filters, self.taps(), self.positions()].iter().fold(self.images, |w, &n| w.saturating_mul(n))
    }
}

/// The same elements, if they are single precision.
fn singles<T: Sums>(x: &[T]) -> Option<&[f32]> {
    (T::DTYPE == DType::F32).then(|| bytemuck::cast_slice(x))
}

/// [`singles`] to write to.
fn singles_mut<T: Sums>(x: &mut [T]) -> Option<&mut [f32]> {
    (T::DTYPE == DType::F32).then(|| bytemuck::cast_slice_mut(x))
}

/// Writes the bias of each channel, or zeros: what outputs are that nothing is summed for.
fn fill<T: Sums>(out: &mut [T], bias: Option<&[T]>, channels: usize, pixels: usize) {
    for (i, out) in out.chunks_mut(pixels.max(1)).enumerate() {
        out.fill(bias.map_or(T::default(), |bias| bias[i % channels]));
    }
}

/// Writes the weights of a filter in the order that positions are swept in.
fn sort<T: Sums>(to: &mut [T], order: impl Iterator<Item = (usize, usize)>, weight: impl Fn(usize, usize) -> T) {
    let mut to = to.iter_mut();
    // The order counts by itself, which is many times as fast as to be asked for each.
    order.for_each(|(channel, tap)| *to.next().expect("as many as positions") = weight(channel, tap));
}

/// `out = conv(x, w) + bias`, all dense.
///
/// # Panics
/// If a slice is not as long as the sizes say.
pub fn conv<T: Sums>(out: &mut [T], x: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let (parts, positions, taps, area) = (c.images * c.groups, c.positions(), c.taps(), c.area());
    assert_eq!(out.len(), parts * c.filters * positions, "the output has another size");
    assert_eq!(w.len(), c.groups * c.filters * taps, "the weight has another size");
    if out.is_empty() || w.is_empty() {
        return fill(out, bias, c.groups * c.filters, positions);
    }
    if c.is_pointwise() {
        return pointwise(
            out,
            x,
            bias,
            c.groups,
            [c.filters, taps, positions],
            |group| Matrix::dense(&w[group * c.filters * taps..][..c.filters * taps], taps),
            par,
        );
    }
    if let Some(side) = winograd::takes(c)
        && let (Some(out), Some(x), Some(w)) = (singles_mut(out), singles(x), singles(w))
        && winograd::conv(out, x, (w, false), bias.and_then(singles), c, side, par)
    {
        return;
    }
    if c.is_depthwise() {
        return depthwise::conv(out, x, w, bias, c, par);
    }
    if channels_last::takes::<T>(c, c.channels, c.windows[2].kernel, c.filters) {
        return channels_last::conv(out, x, w, bias, c, par);
    }
    let lattice = Lattice::new(c);
    let [_, high, wide] = c.outputs();
    let p = Parts { count: parts, groups: c.groups, channels: c.channels, pixels: c.pixels() };
    let to = Place { elements: positions, first: 0, steps: [high * wide, wide, 1] };
    let mut weights = Scratch::<T>::new(w.len());
    let order = by_row(c.kernels(), c.channels);
    par.chunks_mut(&mut weights, taps, |line, to| {
        sort(to, order.clone(), |channel, tap| w[line * taps + channel * area + tap]);
    });
    let k = Kernel { weights: &weights, places: &lattice.places_by_row(c.channels), filters: c.filters, bias };
    sweep::sweep(&SharedMut::new(out), x, &lattice, &p, &k, &to, par);
}

/// The transposed convolution, which is the gradient of a convolution with respect to its input:
/// `x = conv_transposed(g, w) + bias`, all dense.
///
/// # Panics
/// If a slice is not as long as the sizes say.
pub fn transposed<T: Sums>(x: &mut [T], g: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let (parts, taps, area) = (c.images * c.groups, c.taps(), c.area());
    assert_eq!(x.len(), parts * c.channels * c.pixels(), "the output has another size");
    assert_eq!(w.len(), c.groups * c.filters * taps, "the weight has another size");
    if x.is_empty() || w.is_empty() || g.is_empty() {
        return fill(x, bias, c.groups * c.channels, c.pixels());
    }
    if c.is_pointwise() {
        return pointwise(
            x,
            g,
            bias,
            c.groups,
            [c.channels, c.filters, c.positions()],
            |group| Matrix::dense(&w[group * c.filters * taps..][..c.filters * taps], taps).t(),
            par,
        );
    }
    if fold::takes(c) {
        return fold::transposed(x, g, w, bias, c, par);
    }
    if let Some(turned) = c.turned()
        && let Some(side) = winograd::takes(&turned)
        && let (Some(x), Some(g), Some(w)) = (singles_mut(x), singles(g), singles(w))
        && winograd::conv(x, g, (w, true), bias.and_then(singles), &turned, side, par)
    {
        return;
    }
    let across = &c.windows[2];
    if channels_last::takes::<T>(c, c.filters, across.kernel / across.stride, c.channels) {
        return channels_last::transposed(x, g, w, bias, c, par);
    }
    let [_, high, wide] = c.sizes();
    let steps = [high * wide, wide, 1];
    let p = Parts { count: parts, groups: c.groups, channels: c.filters, pixels: c.positions() };
    let x = SharedMut::new(x);
    let mut turned = Scratch::<T>::new(w.len());
    // Positions of the input whose distance is a multiple of the stride see the same positions of the kernel.
    let phases = c.windows.each_ref().map(|w| w.stride.min(w.size));
    for phase in 0..phases.iter().product() {
        let first = [phase / (phases[1] * phases[2]), phase / phases[2] % phases[1], phase % phases[2]];
        let axes = [0, 1, 2].map(|i| Axis::transposed(&c.windows[i], first[i]));
        let taps_of = axes.each_ref().map(|(_, taps)| taps.clone());
        let lattice = Lattice { axes: axes.map(|(axis, _)| axis) };
        let seen: SmallVec<[usize; 32]> = taps_of[0]
            .iter()
            .flat_map(|&d| {
                let [_, high, wide] = c.kernels();
                let [_, rows, columns] = &taps_of;
                rows.iter().flat_map(move |&h| columns.iter().map(move |&w| (d * high + h) * wide + w))
            })
            .collect();
        // The weights of each input channel.
        let depth = c.filters * seen.len();
        let order = by_row(taps_of.each_ref().map(|taps| taps.len()), c.filters);
        let weights = &mut turned[..c.groups * c.channels * depth];
        par.chunks_mut(weights, depth, |line, to| {
            let (group, channel) = (line / c.channels, line % c.channels);
            sort(to, order.clone(), |f, tap| w[((group * c.filters + f) * c.channels + channel) * area + seen[tap]]);
        });
        let k = Kernel { weights, places: &lattice.places_by_row(c.filters), filters: c.channels, bias };
        let start = first.iter().zip(steps).map(|(at, step)| at * step).sum();
        let strides = c.windows.each_ref().map(|w| w.stride);
        let to =
            Place { elements: c.pixels(), first: start, steps: [0, 1, 2].map(|i| strides[i].saturating_mul(steps[i])) };
        let sweep: Sweep<T> = if c.is_depthwise() { depthwise::sweep::<T, 1> } else { sweep::sweep };
        sweep(&x, g, &lattice, &p, &k, &to, par);
    }
}

/// The gradient of a convolution with respect to its weight, all dense.
///
/// # Panics
/// If a slice is not as long as the sizes say.
pub fn weight_grad<T: Sums>(w: &mut [T], x: &[T], g: &[T], c: &Conv, par: &Par) {
    assert_eq!(w.len(), c.groups * c.filters * c.taps(), "the weight has another size");
    assert_eq!(g.len(), c.images * c.groups * c.filters * c.positions(), "the gradient has another size");
    if w.is_empty() || g.is_empty() {
        return w.fill(T::default());
    }
    if let Some(side) = winograd::takes(c)
        && let (Some(w), Some(x), Some(g)) = (singles_mut(w), singles(x), singles(g))
        && winograd::weight_grad(w, x, g, c, side, par)
    {
        return;
    }
    w.fill(T::default());
    let grad = if c.is_depthwise() { depthwise::weight_grad } else { weight::weight_grad };
    grad(w, x, g, c, par);
}

/// `out = w x + bias` for each image and group: `[m, n]` of `[m, k]` and `[k, n]`.
fn pointwise<'a, T: Sums>(
    out: &mut [T],
    x: &[T],
    bias: Option<&[T]>,
    groups: usize,
    [m, k, n]: [usize; 3],
    w: impl Fn(usize) -> Matrix<'a, T> + Sync,
    par: &Par,
) {
    let parts = out.len().checked_div(m * n).unwrap_or(0);
    let product = |part: usize, out: &mut [T], par: &Par| {
        if let Some(bias) = bias {
            for (out, &b) in out.chunks_mut(n).zip(&bias[part % groups * m..]) {
                out.fill(b);
            }
        }
        let x = Matrix::dense(&x[part * k * n..][..k * n], n);
        gemm::gemm(m, k, n, w(part % groups), x, out, bias.is_some(), par);
    };
    match parts {
        1 => product(0, out, par),
        _ => par.chunks_mut(out, m * n, |part, out| product(part, out, &Par::sequential())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 2 groups of 2 channels of 4 by 5 pixels, 2 filters of 3 by 2 each; a kernel that looks at single
    /// pixels has a path of its own.
    fn sizes(pointwise: bool) -> (Conv, [usize; 3]) {
        let window = |size: usize, kernel: usize| Window {
            size,
            kernel,
            stride: 1,
            padding: 0,
            dilation: 1,
            output: size + 1 - kernel,
        };
        let kernel = if pointwise { [1, 1] } else { [3, 2] };
        let windows = [Window::NONE, window(4, kernel[0]), window(5, kernel[1])];
        let c = Conv { images: 2, groups: 2, channels: 2, filters: 2, windows };
        let lens = [2 * 2 * 2 * c.pixels(), 2 * 2 * c.taps(), 2 * 2 * 2 * c.positions()];
        (c, lens)
    }

    /// Whole numbers, so that every order of summation gives the same.
    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7 + seed * 13) % 11) as f64 - 5.0).collect()
    }

    /// Square windows of three positions.
    fn flat(size: [usize; 2], stride: usize, padding: usize, dilation: usize) -> [Window; 3] {
        let [high, wide] = size.map(|size| window(size, 3, stride, padding, dilation));
        [Window::NONE, high, wide]
    }

    fn window(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Window {
        let output = (size + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
        Window { size, kernel, stride, padding, dilation, output }
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_definition() {
        // Over many channels, rows of outputs of a register and less, tiles that end within a row, strips that are not
        // whole, rows of outputs that see padding only; the same where kernel positions are no neighbours; along three
        // axes, also where no position of the kernel sees some of the input; then a filter for each channel; then few
        // channels.
        for ([groups, channels, filters], windows) in [
            ([1, 130, 43], flat([9, 7], 1, 1, 1)),
            ([1, 130, 43], flat([8, 9], 2, 0, 1)),
            ([1, 130, 43], flat([5, 17], 2, 2, 1)),
            ([1, 130, 43], flat([4, 8], 1, 5, 1)),
            ([1, 130, 43], flat([9, 10], 1, 1, 2)),
            ([1, 130, 43], flat([5, 17], 1, 6, 2)),
            ([1, 130, 43], flat([9, 17], 2, 2, 2)),
            ([1, 130, 5], flat([8, 9], 1, 1, 2)),
            ([2, 9, 20], [window(3, 2, 2, 1, 1), window(5, 3, 1, 1, 1), window(11, 2, 3, 0, 1)]),
            ([2, 20, 9], [window(4, 1, 1, 0, 1), window(7, 1, 3, 0, 1), window(9, 5, 2, 3, 1)]),
            ([1, 260, 12], flat([3, 200], 2, 1, 1)),
            ([130, 1, 1], flat([9, 37], 2, 1, 1)),
            ([130, 1, 1], flat([12, 30], 1, 2, 1)),
            ([7, 1, 1], flat([10, 23], 4, 0, 1)),
            ([7, 1, 1], flat([2, 3], 1, 1, 1)),
            ([7, 1, 1], flat([11, 20], 1, 1, 2)),
            ([5, 1, 1], flat([6, 150], 1, 1, 1)),
            ([5, 1, 1], [window(3, 2, 1, 1, 1), window(9, 5, 1, 2, 1), window(10, 4, 1, 1, 1)]),
            ([2, 3, 9], flat([15, 41], 2, 1, 1)),
            ([1, 1, 10], flat([13, 28], 1, 0, 1)),
            // Patches of few channels.
            ([2, 3, 9], [Window::NONE, window(17, 2, 2, 1, 1), window(45, 14, 14, 3, 1)]),
            ([1, 9, 2], [Window::NONE, window(9, 2, 1, 0, 1), window(60, 25, 1, 3, 1)]),
        ] {
            let c = Conv { images: 2, groups, channels, filters, windows };
            let x = numbers(2 * groups * channels * c.pixels(), 1);
            let (w, bias) = (numbers(groups * filters * c.taps(), 2), numbers(groups * filters, 3));
            let g = numbers(2 * groups * filters * c.positions(), 4);
            let (mut out, mut of_x, mut of_w) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            // The position along each axis of a number counted in row-major order.
            let along = |number: usize, sizes: [usize; 3]| {
                [number / (sizes[1] * sizes[2]), number / sizes[2] % sizes[1], number % sizes[2]]
            };
            let [outputs, kernel] = [c.outputs(), c.kernels()];
            for (o, sum) in out.iter_mut().enumerate() {
                let (plane, o_along) = (o / c.positions(), along(o % c.positions(), outputs));
                let filter = plane % (groups * filters);
                *sum = bias[filter];
                for tap in 0..c.taps() {
                    let (channel, k_along) = (tap / c.area(), along(tap % c.area(), kernel));
                    let mut pixel = 0;
                    let inside = c.windows.iter().zip(o_along).zip(k_along).all(|((w, o), k)| {
                        let at = (o * w.stride + k * w.dilation).wrapping_sub(w.padding);
                        pixel = pixel * w.size + at.min(w.size);
                        at < w.size
                    });
                    if !inside {
                        continue;
                    }
                    let at = (plane / filters * channels + channel) * c.pixels() + pixel;
                    *sum += x[at] * w[filter * c.taps() + tap];
                    of_x[at] += g[o] * w[filter * c.taps() + tap];
                    of_w[filter * c.taps() + tap] += g[o] * x[at];
                }
            }
            for threads in [1, 3] {
                let par = crate::with_threads(threads, Par::current);
                let mut all = [&out, &of_x, &of_w].map(|want| vec![f64::NAN; want.len()]);
                conv(&mut all[0], &x, &w, Some(&bias), &c, &par);
                transposed(&mut all[1], &g, &w, None, &c, &par);
                weight_grad(&mut all[2], &x, &g, &c, &par);
                for (i, (got, want)) in all.iter().zip([&out, &of_x, &of_w]).enumerate() {
                    assert!(got == want, "result {i} of {c:?}");
                }
            }
        }
    }

    /// A kernel on three slices: of the input, the weight and the result.
    type Run = fn([&mut [f32]; 3], &Conv);

    #[test]
    fn slices_that_are_too_short_are_refused() {
        let runs: [Run; 3] = [
            |[x, w, y], c| conv(y, x, w, Some(&[0.0; 4]), c, &Par::sequential()),
            |[x, w, y], c| transposed(x, y, w, None, c, &Par::sequential()),
            |[x, w, y], c| weight_grad(w, x, y, c, &Par::sequential()),
        ];
        for (pointwise, run, short) in [false, true].iter().flat_map(|&p| {
            let each = move |run| (0..4).map(move |short| (p, run, short));
            runs.into_iter().flat_map(each)
        }) {
            let (c, lens) = sizes(pointwise);
            let mut slices: Vec<Vec<f32>> = (0..3).map(|i| vec![1.0; lens[i] - (i + 1 == short) as usize]).collect();
            let call = std::panic::AssertUnwindSafe(|| {
                let [x, w, y] = slices.get_disjoint_mut([0, 1, 2]).expect("three");
                run([x, w, y], &c);
            });
            assert_eq!(std::panic::catch_unwind(call).is_err(), short > 0, "slice {short} is one element short");
        }
    }
}
