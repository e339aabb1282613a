//! The gradient with respect to an input of few channels: a matrix product, whose rows are then added where they belong.
//!
//! A tile has some channels by some registers of pixels, and with one to three channels most of its time goes into
//! loads. Every position of the kernel being a row of its own there are rows enough, and adding a row is one addition
//! for as many multiplications as there are filters.

use std::ops::Range;

use smallvec::SmallVec;

use super::lattice::Lattice;
use super::{Conv, Sums, fill};
use crate::kernels::gemm::{self, Matrix};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::window::Window;
use crate::par::{Par, SharedMut};

/// Most channels that are few, and fewest filters for which adding rows does not take longer than the product.
const CHANNELS: usize = 3;
const FILTERS: usize = 8;

/// Elements of the product at a time, so that they stay in the second cache.
const BLOCK: usize = 1 << 16;

/// Fewest outputs at a time.
const LEAST: usize = 64;

/// Whether [`transposed`] is the quickest way.
pub fn takes(c: &Conv) -> bool {
    c.channels <= CHANNELS && c.filters >= FILTERS
}

/// `x = conv_transposed(g, w) + bias`, all dense.
pub fn transposed<T: Sums>(x: &mut [T], g: &[T], w: &[T], bias: Option<&[T]>, c: &Conv, par: &Par) {
    let (parts, taps, positions) = (c.images * c.groups, c.taps(), c.positions());
    let seen = Lattice::new(c).axes.each_ref().map(|axis| axis.seen());
    let [deep, high, wide] = c.outputs();
    let (rows, pixels) = (deep * high, c.pixels());
    // Some rows of outputs at a time, or a part of one.
    let across = (BLOCK / taps).clamp(LEAST.min(wide), wide).max(1);
    let down = if across < wide { 1 } else { (BLOCK / (taps * across)).clamp(1, rows.max(1)) };
    let part = |number: usize, x: &mut [T], products: &mut [T], par: &Par| {
        let group = number % c.groups;
        fill(x, bias.map(|bias| &bias[group * c.channels..][..c.channels]), c.channels, pixels);
        let w = Matrix::dense(&w[group * c.filters * taps..][..c.filters * taps], taps).t();
        let g = Matrix::dense(&g[number * c.filters * positions..][..c.filters * positions], positions);
        for (row, column) in
            (0..rows).step_by(down).flat_map(|row| (0..wide).step_by(across).map(move |column| (row, column)))
        {
            let (rows, columns) = (row..rows.min(row + down), column..wide.min(column + across));
            let count = rows.len() * columns.len();
            let products = &mut products[..taps * count];
            gemm::gemm(taps, c.filters, count, w, g.from(0, row * wide + column), products, false, par);
            simd::run(Add { x, products, rows, columns, seen: &seen, c });
        }
    };
    let own = taps * down * across;
    if parts == 1 {
        return part(0, x, &mut Scratch::<T>::new(own), par);
    }
    let mut scratch = Scratch::<T>::new(par.threads().min(parts) * own);
    let x = SharedMut::new(x);
    par.for_each_in(parts, &mut scratch, own, |products, number| {
        let each = c.channels * pixels;
        // SAFETY: each task writes its own part.
        let x = unsafe { x.range(number * each..(number + 1) * each) };
        part(number, x, products, &Par::sequential());
    });
}

/// Adds the products of some rows of outputs, or of a part of one: a line for each channel and position of the kernel.
struct Add<'a, T> {
    x: &'a mut [T],
    products: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    /// The outputs that meet a pixel by each position of the kernel, along each axis.
    seen: &'a [SmallVec<[Range<usize>; 8]>; 3],
    c: &'a Conv,
}

impl<T: Sums> Loop for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Add { x, products, rows, columns, seen, c } = self;
        let [deep, high, wide] = &c.windows;
        let width = columns.len();
        let lines = products.chunks_exact(rows.len() * width);
        let area = deep.kernel * high.kernel * wide.kernel;
        for (line, products) in lines.enumerate() {
            let (channel, tap) = (line / area, line % area);
            let taps = [tap / (high.kernel * wide.kernel), tap / wide.kernel % high.kernel, tap % wide.kernel];
            let met = |axis: usize, w: &Window, o: usize| {
                seen[axis][taps[axis]].contains(&o).then(|| o * w.stride + taps[axis] * w.dilation - w.padding)
            };
            let seen_across = &seen[2][taps[2]];
            let across = seen_across.start.max(columns.start)..seen_across.end.min(columns.end);
            if across.is_empty() {
                continue;
            }
            let first = across.start * wide.stride + taps[2] * wide.dilation - wide.padding;
            for (row, products) in rows.clone().zip(products.chunks_exact(width)) {
                let (Some(z), Some(y)) = (met(0, deep, row / high.output), met(1, high, row % high.output)) else {
                    continue;
                };
                let start = ((channel * deep.size + z) * high.size + y) * wide.size + first;
                let products = &products[across.start - columns.start..][..across.len()];
                match wide.stride {
                    1 => x[start..start + products.len()].iter_mut().zip(products).for_each(|(x, &v)| *x += v),
                    stride => x[start..].iter_mut().step_by(stride).zip(products).for_each(|(x, &v)| *x += v),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::conv as family;
    use crate::with_threads;

    fn window(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Window {
        let output = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
        Window { size, kernel, stride, padding, dilation, output }
    }

    /// Every output and kernel position, with the place of the input that they meet.
    fn definition(g: &[f64], w: &[f64], bias: &[f64], c: &Conv) -> Vec<f64> {
        let (pixels, positions, area) = (c.pixels(), c.positions(), c.area());
        let mut x: Vec<f64> =
            (0..c.images * c.groups * c.channels * pixels).map(|i| bias[i / pixels % bias.len()]).collect();
        let split = |mut i: usize, sizes: [usize; 3]| {
            let mut at = [0; 3];
            for axis in (0..3).rev() {
                (at[axis], i) = (i % sizes[axis], i / sizes[axis]);
            }
            at
        };
        for (part, f, channel) in (0..c.images * c.groups)
            .flat_map(|p| (0..c.filters).flat_map(move |f| (0..c.channels).map(move |channel| (p, f, channel))))
        {
            for (o, k) in (0..positions).flat_map(|o| (0..area).map(move |k| (o, k))) {
                let os = split(o, c.outputs());
                let ks = split(k, c.kernels());
                let place = |axis: usize| {
                    let w = &c.windows[axis];
                    (os[axis] * w.stride + ks[axis] * w.dilation).checked_sub(w.padding).filter(|&at| at < w.size)
                };
                let (Some(z), Some(y), Some(at)) = (place(0), place(1), place(2)) else { continue };
                let pixel = (z * c.windows[1].size + y) * c.windows[2].size + at;
                let filter = part % c.groups * c.filters + f;
                x[(part * c.channels + channel) * pixels + pixel] +=
                    g[(part * c.filters + f) * positions + o] * w[(filter * c.channels + channel) * area + k];
            }
        }
        x
    }

    #[test]
    fn the_gradient_is_that_of_the_definition_for_any_threads() {
        let two = |high: Window, wide: Window| [Window::NONE, high, wide];
        for (images, groups, channels, filters, windows) in [
            (2, 1, 3, 8, two(window(9, 3, 1, 1, 1), window(11, 3, 1, 1, 1))),
            (1, 2, 1, 9, two(window(10, 5, 1, 0, 1), window(6, 2, 1, 1, 1))),
            (3, 1, 2, 8, two(window(9, 3, 2, 1, 1), window(13, 3, 3, 2, 2))),
            (1, 1, 3, 8, two(window(45, 5, 1, 2, 1), window(60, 5, 1, 2, 1))),
            (1, 1, 3, 8, two(window(2, 1, 1, 0, 1), window(1000, 25, 1, 12, 1))),
            (1, 1, 1, 8, two(window(1, 1, 1, 0, 1), window(3000, 1100, 2, 700, 1))),
            (2, 1, 2, 8, [window(5, 2, 2, 1, 1), window(6, 3, 1, 0, 2), window(7, 4, 1, 3, 1)]),
        ] {
            let c = Conv { images, groups, channels, filters, windows };
            assert!(takes(&c));
            // Their sums are exact in any order.
            let numbers =
                |n: usize, seed: usize| -> Vec<f64> { (0..n).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect() };
            let g = numbers(images * groups * filters * c.positions(), 1);
            let (w, bias) = (numbers(groups * filters * c.taps(), 2), numbers(groups * channels, 3));
            let want = definition(&g, &w, &bias, &c);
            for threads in [1, 2, 3] {
                let mut x = vec![f64::NAN; want.len()];
                let par = with_threads(threads, Par::current);
                family::transposed(&mut x, &g, &w, Some(&bias), &c, &par);
                assert_eq!(x, want, "{c:?}");
            }
        }
    }
}
