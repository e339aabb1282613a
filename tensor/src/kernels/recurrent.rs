//! The cells of recurrent layers: the elementwise part of a time step, all gates of a row in one pass.
//!
//! Rows of gates hold one block of `size` elements for each gate.

use crate::dtype::Element;
use crate::kernels::compute::in_compute;
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// The rows of a matrix, whose elements are neighbours; the rows need not be.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    /// The buffer.
    pub data: &'a [T],
    /// Where the first row starts.
    pub offset: usize,
    /// The distance between rows.
    pub stride: isize,
    /// The elements of a row.
    pub width: usize,
}

impl<'a, T> Rows<'a, T> {
    fn row(&self, i: usize) -> &'a [T] {
        &self.data[self.offset.wrapping_add_signed(self.stride * i as isize)..][..self.width]
    }
}

/// Row `i` of each matrix.
fn rows_at<'a, T, const N: usize>(matrices: [Rows<'a, T>; N], i: usize) -> [&'a [T]; N] {
    matrices.map(|rows| rows.row(i))
}

/// The blocks of a row of gates, their length stated so that loops over them need no checks.
#[inline]
fn blocks<T, const N: usize>(row: &[T], size: usize) -> [&[T]; N] {
    let mut blocks = [&row[..0]; N];
    for (k, block) in blocks.iter_mut().enumerate() {
        *block = &row[k * size..][..size];
    }
    blocks
}

#[inline(always)]
fn up<C, I>(x: C) -> Lane<C, I> {
    Lane::new(x)
}

#[inline(always)]
fn down<C, I>(x: Lane<C, I>) -> C {
    x.0
}

/// Runs `f` on the number and the elements of each row of `out`, in blocks of about [`GRAIN`] elements.
fn for_rows<T: Send>(out: &mut [T], width: usize, par: &Par, f: impl Fn(usize, &mut [T]) + Sync) {
    let each = (GRAIN / width.max(1)).max(1);
    par.chunks_mut(out, each * width, |block, part| {
        part.chunks_mut(width).enumerate().for_each(|(i, row)| f(block * each + i, row));
    });
}

/// One step of an LSTM cell: the gates are those of the input and of the hidden state, added; `h` and `next` are the
/// new hidden state and cell.
pub fn lstm<T>(h: &mut [T], next: &mut [T], gates: [Rows<'_, T>; 2], c: Rows<'_, T>, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Step<'a, C>(&'a mut [C], &'a mut [C], [&'a [C]; 2], &'a [C]);
    impl<C: Precise> Loop for Step<'_, C> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Step(h, next, gates, c) = self;
            let size = h.len();
            let [[xi, xf, xg, xo], [hi, hf, hg, ho]] = gates.map(|row| blocks(row, size));
            let (next, c) = (&mut next[..size], &c[..size]);
            for j in 0..size {
                let i = (up::<C, I>(xi[j]) + up(hi[j])).sigmoid();
                let f = (up::<C, I>(xf[j]) + up(hf[j])).sigmoid();
                let g = (up::<C, I>(xg[j]) + up(hg[j])).tanh();
                let o = (up::<C, I>(xo[j]) + up(ho[j])).sigmoid();
                let cell = f * up(c[j]) + i * g;
                next[j] = down(cell);
                h[j] = down(o * cell.tanh());
            }
        }
    }
    let size = c.width;
    let each = (GRAIN / size.max(1)).max(1);
    par.chunks_mut_of(h, &mut [next], each * size, |block, h, more| {
        let cells = more[0].chunks_mut(size);
        for (i, (h, next)) in h.chunks_mut(size).zip(cells).enumerate() {
            let row = block * each + i;
            in_compute([h, next], [gates[0].row(row), gates[1].row(row), c.row(row)], |[h, next], [x, y, c]| {
                simd::run_single::<T::Compute, _>(Step(h, next, [x, y], c));
            });
        }
    });
}

/// The gradient of [`lstm`] for the gradients `dh` and `dc` of its results: in each row of `out` that of the four gates,
/// and that of the cell.
pub fn lstm_grad<T>(out: &mut [T], gates: [Rows<'_, T>; 2], c: Rows<'_, T>, dh: Rows<'_, T>, dc: Rows<'_, T>, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Step<'a, C>(&'a mut [C], [&'a [C]; 2], [&'a [C]; 3]);
    impl<C: Precise> Loop for Step<'_, C> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Step(out, gates, [c, dh, dc]) = self;
            let (size, one) = (c.len(), Lane::<C, I>::lit(1.0));
            let [[xi, xf, xg, xo], [hi, hf, hg, ho]] = gates.map(|row| blocks(row, size));
            let (da, rest) = out.split_at_mut(size);
            let (db, rest) = rest.split_at_mut(size);
            let (de, rest) = rest.split_at_mut(size);
            let (dq, before) = rest.split_at_mut(size);
            let (before, dh, dc) = (&mut before[..size], &dh[..size], &dc[..size]);
            for j in 0..size {
                let i = (up::<C, I>(xi[j]) + up(hi[j])).sigmoid();
                let f = (up::<C, I>(xf[j]) + up(hf[j])).sigmoid();
                let g = (up::<C, I>(xg[j]) + up(hg[j])).tanh();
                let o = (up::<C, I>(xo[j]) + up(ho[j])).sigmoid();
                let (c, dh) = (up::<C, I>(c[j]), up::<C, I>(dh[j]));
                let t = (f * c + i * g).tanh();
                let d = up::<C, I>(dc[j]) + dh * o * (one - t * t);
                da[j] = down(d * g * i * (one - i));
                db[j] = down(d * c * f * (one - f));
                de[j] = down(d * i * (one - g * g));
                dq[j] = down(dh * t * o * (one - o));
                before[j] = down(d * f);
            }
        }
    }
    for_rows(out, 5 * c.width, par, |row, out| {
        let rows = rows_at([gates[0], gates[1], c, dh, dc], row);
        in_compute([out], rows, |[out], [x, y, c, dh, dc]| {
            simd::run_single::<T::Compute, _>(Step(out, [x, y], [c, dh, dc]))
        });
    });
}

/// One step of a GRU cell: gates of the input, gates of the hidden state, and the hidden state.
pub fn gru<T>(next: &mut [T], x: Rows<'_, T>, y: Rows<'_, T>, h: Rows<'_, T>, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Step<'a, C>(&'a mut [C], [&'a [C]; 3]);
    impl<C: Precise> Loop for Step<'_, C> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Step(next, [x, y, h]) = self;
            let size = next.len();
            let [[xr, xz, xn], [yr, yz, yn]] = [x, y].map(|row| blocks(row, size));
            let h = &h[..size];
            for j in 0..size {
                let r = (up::<C, I>(xr[j]) + up(yr[j])).sigmoid();
                let z = (up::<C, I>(xz[j]) + up(yz[j])).sigmoid();
                let n = (up::<C, I>(xn[j]) + r * up(yn[j])).tanh();
                next[j] = down(n + z * (up(h[j]) - n));
            }
        }
    }
    for_rows(next, h.width, par, |row, next| {
        in_compute([next], rows_at([x, y, h], row), |[next], rows| simd::run_single::<T::Compute, _>(Step(next, rows)));
    });
}

/// The gradient of [`gru`] for the gradient `d` of its result: in each row of `out` that of the three gates of the
/// input, of the three gates of the hidden state, and of the hidden state.
pub fn gru_grad<T>(out: &mut [T], x: Rows<'_, T>, y: Rows<'_, T>, h: Rows<'_, T>, d: Rows<'_, T>, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Step<'a, C>(&'a mut [C], [&'a [C]; 4]);
    impl<C: Precise> Loop for Step<'_, C> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Step(out, [x, y, h, d]) = self;
            let (size, one) = (h.len(), Lane::<C, I>::lit(1.0));
            let [[xr, xz, xn], [yr, yz, yn]] = [x, y].map(|row| blocks(row, size));
            let (of_x, rest) = out.split_at_mut(3 * size);
            let (of_y, before) = rest.split_at_mut(3 * size);
            let (before, d) = (&mut before[..size], &d[..size]);
            for j in 0..size {
                let r = (up::<C, I>(xr[j]) + up(yr[j])).sigmoid();
                let z = (up::<C, I>(xz[j]) + up(yz[j])).sigmoid();
                let hidden = up::<C, I>(yn[j]);
                let n = (up::<C, I>(xn[j]) + r * hidden).tanh();
                let d = up::<C, I>(d[j]);
                let m = d * (one - z) * (one - n * n);
                let (dr, dz) = (m * hidden * r * (one - r), d * (up(h[j]) - n) * z * (one - z));
                (of_x[j], of_x[size + j], of_x[2 * size + j]) = (down(dr), down(dz), down(m));
                (of_y[j], of_y[size + j], of_y[2 * size + j]) = (down(dr), down(dz), down(m * r));
                before[j] = down(d * z);
            }
        }
    }
    for_rows(out, 7 * h.width, par, |row, out| {
        in_compute([out], rows_at([x, y, h, d], row), |[out], rows| simd::run_single::<T::Compute, _>(Step(out, rows)));
    });
}
