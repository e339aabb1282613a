//! An LSTM over whole sequences, and its gradient. Rows of gates hold one block of `size` elements for each gate.

use crate::dtype::Element;
use crate::kernels::gemm::Matrix;
use crate::kernels::gemm::pack::line;
use crate::kernels::gemm::tile::Tiled;
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::recurrence::{Packed, Sequence, Sizes, Written};
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::Par;

/// The four blocks of a row of gates.
#[inline(always)]
fn blocks<T>(row: &[T], size: usize) -> [&[T]; 4] {
    let (input, row) = row.split_at(size);
    let (forget, row) = row.split_at(size);
    let (candidate, output) = row.split_at(size);
    [input, forget, candidate, output]
}

#[inline(always)]
fn blocks_mut<T>(row: &mut [T], size: usize) -> [&mut [T]; 4] {
    let (input, row) = row.split_at_mut(size);
    let (forget, row) = row.split_at_mut(size);
    let (candidate, output) = row.split_at_mut(size);
    [input, forget, candidate, output]
}

/// States the length of slices. A check that is left in a loop makes the compiler do the last register element by element.
macro_rules! state_length {
    ($size:ident: $($slice:ident)*; mut $($written:ident)*) => {
        $(let $slice = &$slice[..$size];)*
        $(let $written = &mut $written[..$size];)*
    };
}

/// The elementwise part of a step: the gates of the input become activations, in place.
struct Step<'a, T> {
    gates: &'a mut [T],
    of_hidden: &'a [T],
    before: &'a [T],
    cell: &'a mut [T],
    hidden: &'a mut [T],
}

impl<T: Precise> Loop for Step<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let size = self.hidden.len();
        let [xi, xf, xg, xo] = blocks_mut(self.gates, size);
        let [yi, yf, yg, yo] = blocks(self.of_hidden, size);
        let Step { before, cell, hidden, .. } = self;
        state_length!(size: yi yf yg yo before; mut xi xf xg xo cell hidden);
        let sum = |x: T, y: T| Lane::<T, I>::new(x) + Lane::new(y);
        for j in 0..size {
            let i = sum(xi[j], yi[j]).sigmoid();
            let f = sum(xf[j], yf[j]).sigmoid();
            let g = sum(xg[j], yg[j]).tanh();
            let o = sum(xo[j], yo[j]).sigmoid();
            let c = f * Lane::new(before[j]) + i * g;
            (xi[j], xf[j], xg[j], xo[j]) = (i.0, f.0, g.0, o.0);
            cell[j] = c.0;
            hidden[j] = (o * c.tanh()).0;
        }
    }
}

/// An LSTM: the hidden state and the cell after each step, and in `activations` the gates after their functions.
///
/// The gates of the input are `gates`, or where that is `None` what `activations` holds. `weight` is `[4 size, size]`;
/// the first states have a row for each sample. Results are dense.
#[allow(clippy::too_many_arguments)] // what goes in and what comes out
pub fn lstm<T>(
    hidden: &mut [T],
    cells: &mut [T],
    activations: &mut [T],
    gates: Option<Sequence<'_, T>>,
    weight: Matrix<'_, T>,
    [h0, c0]: [Sequence<'_, T>; 2],
    s: &Sizes,
    par: &Par,
) where
    T: Precise + Element + Tiled,
{
    let size = s.size;
    if size == 0 {
        return;
    }
    let [cells, hidden] = [cells, hidden].map(|all| Written::new(all, s.time, size));
    let activations = Written::new(activations, s.time, 4 * size);
    let weight = Packed::new(weight.t(), size, 4 * size, par);
    let (of_state, of_gates) = (line(size), line(4 * size));
    s.for_tasks(of_state + of_gates, par, |scratch, samples| {
        let rows = samples.len();
        // The state lies once more beside those of the other samples, where tiles find it.
        let (state, products) = scratch.split_at_mut(rows * of_state);
        for (state, sample) in state.chunks_mut(of_state).zip(samples.clone()) {
            state[..size].copy_from_slice(h0.row(sample, 0));
        }
        for k in 0..s.time {
            let t = s.step(k);
            weight.product(products, state, rows);
            for (i, sample) in samples.clone().enumerate() {
                // SAFETY: each task has samples of its own, and each step its own rows.
                let (gates_here, cell, hidden) =
                    unsafe { (activations.row(sample, t), cells.row(sample, t), hidden.row(sample, t)) };
                let before = match k {
                    0 => c0.row(sample, 0),
                    // SAFETY: as above; the row of the step before is no longer written.
                    _ => unsafe { cells.row(sample, s.step(k - 1)) },
                };
                if let Some(gates) = gates {
                    gates_here.copy_from_slice(gates.row(sample, t));
                }
                let of_hidden = &products[i * of_gates..][..4 * size];
                simd::run_single::<T, _>(Step { gates: gates_here, of_hidden, before, cell, hidden });
                state[i * of_state..][..size].copy_from_slice(hidden);
            }
        }
    });
}

/// What the gradient of an LSTM is computed from.
#[derive(Clone, Copy)]
pub struct Known<'a, T> {
    /// The gates after their functions.
    pub activations: Sequence<'a, T>,
    /// The cells after each step.
    pub cells: Sequence<'a, T>,
    /// The cells before the first step.
    pub c0: Sequence<'a, T>,
    /// The gradients of the hidden states.
    pub dh: Sequence<'a, T>,
    /// Those of the cells.
    pub dc: Sequence<'a, T>,
    /// Those of the activations.
    pub da: Sequence<'a, T>,
}

/// The elementwise part of a step back: `dz` is the gradient of the gates; `dc_next` is that of the cell by way of the
/// next step, and then of the cell before by way of this one.
struct Back<'a, T> {
    dz: &'a mut [T],
    dc_next: &'a mut [T],
    dh_next: &'a [T],
    activations: &'a [T],
    cell: &'a [T],
    before: &'a [T],
    dh: &'a [T],
    dc: &'a [T],
    da: &'a [T],
}

impl<T: Precise> Loop for Back<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (size, one) = (self.cell.len(), Lane::<T, I>::lit(1.0));
        let [zi, zf, zg, zo] = blocks_mut(self.dz, size);
        let [ai, af, ag, ao] = blocks(self.activations, size);
        let [ui, uf, ug, uo] = blocks(self.da, size);
        let Back { dc_next, dh_next, cell, before, dh, dc, .. } = self;
        state_length!(size: ai af ag ao ui uf ug uo cell before dh dc dh_next; mut zi zf zg zo dc_next);
        for j in 0..size {
            let [i, f, g, o] = [ai[j], af[j], ag[j], ao[j]].map(Lane::<T, I>::new);
            let t = Lane::<T, I>::new(cell[j]).tanh();
            let h = Lane::new(dh[j]) + Lane::new(dh_next[j]);
            let d = Lane::new(dc[j]) + Lane::new(dc_next[j]) + h * o * (one - t * t);
            zi[j] = ((d * g + Lane::new(ui[j])) * (i * (one - i))).0;
            zf[j] = ((d * Lane::new(before[j]) + Lane::new(uf[j])) * (f * (one - f))).0;
            zg[j] = ((d * i + Lane::new(ug[j])) * (one - g * g)).0;
            zo[j] = ((h * t + Lane::new(uo[j])) * (o * (one - o))).0;
            dc_next[j] = (d * f).0;
        }
    }
}

/// The gradient of [`lstm`]: `dz` that of the gates, `[batch, time, 4 size]`, `dh0` and `dc0` those of the first states,
/// `[batch, size]`, all dense.
pub fn lstm_grad<T>(
    dz: &mut [T],
    dh0: &mut [T],
    dc0: &mut [T],
    x: &Known<'_, T>,
    weight: Matrix<'_, T>,
    s: &Sizes,
    par: &Par,
) where
    T: Precise + Element + Tiled,
{
    let size = s.size;
    if size == 0 {
        return;
    }
    let dz = Written::new(dz, s.time, 4 * size);
    let [dh0, dc0] = [dh0, dc0].map(|all| Written::new(all, 1, size));
    let weight = Packed::new(weight, 4 * size, size, par);
    let (of_state, of_gates) = (line(size), line(4 * size));
    s.for_tasks(2 * of_state + of_gates, par, |scratch, samples| {
        let rows = samples.len();
        let (dh_next, rest) = scratch.split_at_mut(rows * of_state);
        let (dc_next, own) = rest.split_at_mut(rows * of_state);
        dh_next.fill(T::default());
        dc_next.fill(T::default());
        for k in (0..s.time).rev() {
            let t = s.step(k);
            for (i, sample) in samples.clone().enumerate() {
                let own = &mut own[i * of_gates..][..4 * size];
                simd::run_single::<T, _>(Back {
                    dz: own,
                    dc_next: &mut dc_next[i * of_state..][..size],
                    dh_next: &dh_next[i * of_state..][..size],
                    activations: x.activations.row(sample, t),
                    cell: x.cells.row(sample, t),
                    before: if k == 0 { x.c0.row(sample, 0) } else { x.cells.row(sample, s.step(k - 1)) },
                    dh: x.dh.row(sample, t),
                    dc: x.dc.row(sample, t),
                    da: x.da.row(sample, t),
                });
                // SAFETY: each task has samples of its own.
                unsafe { dz.row(sample, t) }.copy_from_slice(own);
            }
            weight.product(dh_next, own, rows);
        }
        for (i, sample) in samples.enumerate() {
            // SAFETY: as above.
            let (dh0, dc0) = unsafe { (dh0.row(sample, 0), dc0.row(sample, 0)) };
            dh0.copy_from_slice(&dh_next[i * of_state..][..size]);
            dc0.copy_from_slice(&dc_next[i * of_state..][..size]);
        }
    });
}
