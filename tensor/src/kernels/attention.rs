//! Attention, block by block: no more than [`ROWS`] by [`KEYS`] of its scores are ever held at once by a thread.
//!
//! T. Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135: each row keeps its largest score and its sum of
//! exponentials while the keys go by, and gradients make the scores anew.

use crate::kernels::fold::{self, Max};
use crate::kernels::gemm::{self, Matrix, Product};
use crate::kernels::lanes::LANES;
use crate::kernels::number::{Lane, Precise, Real};
use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::softmax::exponentials_and_sum;
use crate::par::{Par, SharedMut};

/// Most rows of queries that are worked on at once.
const ROWS: usize = 64;

/// Least rows, where there are so many.
const LEAST_ROWS: usize = 16;

/// Keys that are worked on at once.
const KEYS: usize = 512;

/// Parts that the rows are split into, for the gradients of keys and values, until there are so many tasks.
const TASKS: usize = 16;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Matrices of queries: those of the whole batch.
    pub heads: usize,
    /// Heads of queries that share a head of keys and values.
    pub group: usize,
    /// Queries.
    pub rows: usize,
    /// Keys, and values.
    pub keys: usize,
    /// Elements of a query, and of a key.
    pub width: usize,
    /// Elements of a value.
    pub values: usize,
    /// Whether a row sees no key whose number is above its own.
    pub causal: bool,
    /// What scores are multiplied with.
    pub scale: f64,
}

impl Sizes {
    /// Multiply-adds of the whole.
    pub fn work(&self) -> usize {
        [self.rows, self.keys, self.width + self.values].iter().fold(self.heads, |w, &n| w.saturating_mul(n))
    }

    /// Rows that are worked on at once: fewer where rows see few keys, since what a block computes above the diagonal is for
    /// nothing.
    fn block(&self) -> usize {
        if self.causal { (self.keys / 4).next_multiple_of(LEAST_ROWS).clamp(LEAST_ROWS, ROWS) } else { ROWS }
    }

    /// The keys that rows below `end` see.
    fn seen(&self, end: usize) -> usize {
        if self.causal { end.min(self.keys) } else { self.keys }
    }
}

/// A matrix for each head.
#[derive(Clone, Copy)]
pub struct Heads<'a, T> {
    /// The slice that all lie in.
    pub data: &'a [T],
    /// Where each begins.
    pub places: &'a [usize],
    /// The distances from one row, and from one column, to the next.
    pub strides: [isize; 2],
}

impl<'a, T> Heads<'a, T> {
    /// The matrix of a head from row `row` on.
    fn from(&self, head: usize, row: usize) -> Matrix<'a, T> {
        let [row_stride, column_stride] = self.strides;
        Matrix { data: self.data, offset: self.places[head], row_stride, column_stride }.from(row, 0)
    }

    /// `count` elements of a head's row, from column `column` on.
    fn row(&self, head: usize, row: usize, column: usize, count: usize) -> impl Iterator<Item = &'a T> {
        let data = self.data;
        let start = self.places[head] as isize + row as isize * self.strides[0];
        let step = self.strides[1];
        (column..column + count).map(move |j| &data[(start + j as isize * step) as usize])
    }
}

/// What keeps rows from seeing keys, or makes them see them less.
#[derive(Clone, Copy)]
pub enum Mask<'a, T> {
    /// Nothing.
    None,
    /// Whether a row may attend to a key.
    Allowed(Heads<'a, u8>),
    /// Numbers added to the scores.
    Added(Heads<'a, T>),
}

/// A block of scores.
#[derive(Clone, Copy)]
struct Block {
    head: usize,
    /// The first row, and how many there are.
    row: usize,
    rows: usize,
    /// The first key, and how many there are.
    key: usize,
    keys: usize,
}

impl Block {
    /// The blocks of the keys that this many rows from number `row` on see.
    fn all(s: &Sizes, head: usize, row: usize, rows: usize) -> impl Iterator<Item = Block> {
        let seen = s.seen(row + rows);
        (0..seen).step_by(KEYS).map(move |key| Block { head, row, rows, key, keys: KEYS.min(seen - key) })
    }

    /// How many of the keys row `i` of the block may see: the first ones.
    fn seen(&self, i: usize, s: &Sizes) -> usize {
        s.seen(self.row + i + 1).saturating_sub(self.key).min(self.keys)
    }

    /// How many are worked on for that: whole stretches of lanes, since what is left over takes longer.
    fn reached(&self, i: usize, s: &Sizes) -> usize {
        self.seen(i, s).next_multiple_of(LANES).min(self.keys)
    }

    /// Writes the scores: scaled, masked, negative infinity where a row must not see a key.
    fn scores<T>(&self, out: &mut [T], q: &Heads<'_, T>, k: &Heads<'_, T>, mask: &Mask<'_, T>, s: &Sizes)
    where
        T: Precise + Product,
    {
        let Block { head, row, rows, key, keys } = *self;
        let (a, b) = (q.from(head, row), k.from(head / s.group, key).t());
        gemm::gemm(rows, s.width, keys, a, b, out, false, &Par::sequential());
        let (scale, never) = (<T as crate::Element>::from_f64(s.scale), T::neg_infinity());
        simd::run_single::<T, _>(Scale(out, scale));
        for (i, out) in out.chunks_mut(keys).enumerate() {
            match mask {
                Mask::None => {}
                Mask::Allowed(m) => out.iter_mut().zip(m.row(head, row + i, key, keys)).for_each(|(v, &allowed)| {
                    if allowed == 0 {
                        *v = never;
                    }
                }),
                Mask::Added(m) => {
                    out.iter_mut().zip(m.row(head, row + i, key, keys)).for_each(|(v, &m)| *v = *v + m);
                }
            }
            out[self.seen(i, s)..].fill(never);
        }
    }
}

/// Multiplies elements.
struct Scale<'a, T>(&'a mut [T], T);

impl<T: Precise> Loop for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        self.0.iter_mut().for_each(|v| *v = *v * self.1);
    }
}

/// Takes a row of scores into account: they become exponentials, and what was summed so far is scaled to fit.
struct Online<'a, T> {
    scores: &'a mut [T],
    /// The largest of them.
    here: T,
    /// That of those before.
    largest: &'a mut T,
    sum: &'a mut T,
    out: &'a mut [T],
}

impl<T: Precise> Loop for Online<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let before = Lane::<T, I>::new(*self.largest);
        let here = Lane::new(self.here);
        let top = Lane::select(before.lt(here), here, before);
        // While a row has seen no key its largest score is negative infinity, which cannot be subtracted.
        let shift = Lane::select(top.eq(Lane::lit(f64::NEG_INFINITY)), Lane::lit(0.0), top);
        let sum = exponentials_and_sum(self.scores, shift);
        let fade = (before - shift).exp();
        if fade.0 != T::one() {
            self.out.iter_mut().for_each(|v| *v = (Lane::<T, I>::new(*v) * fade).0);
        }
        *self.sum = (Lane::<T, I>::new(*self.sum) * fade + sum).0;
        *self.largest = top.0;
    }
}

/// `out = softmax(scale q k^T + mask) v`, and for each row the logarithm of its sum of exponentials; both are dense. Rows
/// that see no key are 0, and their logarithm is negative infinity.
#[allow(clippy::too_many_arguments)] // what goes in and what comes out
pub fn attention<T: Precise + Product>(
    out: &mut [T],
    log_sums: &mut [T],
    q: Heads<'_, T>,
    k: Heads<'_, T>,
    v: Heads<'_, T>,
    mask: Mask<'_, T>,
    s: &Sizes,
    par: &Par,
) {
    let most = s.block();
    let blocks = s.rows.div_ceil(most);
    let (out, log_sums) = (SharedMut::new(out), SharedMut::new(log_sums));
    let scratch = || vec![T::zero(); most.min(s.rows) * KEYS.min(s.keys)];
    par.for_each_with(s.heads * blocks, scratch, |scratch, task| {
        let (head, row) = (task / blocks, task % blocks * most);
        let rows = most.min(s.rows - row);
        let range = head * s.rows + row..head * s.rows + row + rows;
        // SAFETY: each task writes its own rows of its own head.
        let out = unsafe { out.range(range.start * s.values..range.end * s.values) };
        // SAFETY: as above.
        let log_sums = unsafe { log_sums.range(range) };
        out.fill(T::zero());
        let (mut largest, mut sums) = ([T::neg_infinity(); ROWS], [T::zero(); ROWS]);
        let mut here = [T::neg_infinity(); ROWS];
        for block in Block::all(s, head, row, rows) {
            let scores = &mut scratch[..rows * block.keys];
            block.scores(scores, &q, &k, &mask, s);
            (fold::floats::<Max, T>().rows)(&mut here[..rows], scores, block.keys, block.keys);
            for (i, scores) in scores.chunks_mut(block.keys).enumerate() {
                let out = &mut out[i * s.values..][..s.values];
                let (scores, unseen) = scores.split_at_mut(block.reached(i, s));
                unseen.fill(T::zero());
                simd::run_single::<T, _>(Online {
                    scores,
                    here: here[i],
                    largest: &mut largest[i],
                    sum: &mut sums[i],
                    out,
                });
            }
            let (p, v) = (Matrix::dense(scores, block.keys), v.from(head / s.group, block.key));
            gemm::gemm(rows, block.keys, s.values, p, v, out, true, &Par::sequential());
        }
        for (i, log_sum) in log_sums.iter_mut().enumerate() {
            if sums[i] != T::zero() {
                let scale = sums[i].recip();
                simd::run_single::<T, _>(Scale(&mut out[i * s.values..][..s.values], scale));
            }
            *log_sum = largest[i] + sums[i].ln();
        }
    });
}

/// What the gradients of an attention are computed from.
pub struct Known<'a, T> {
    /// The gradient of the result.
    pub g: Heads<'a, T>,
    /// Queries.
    pub q: Heads<'a, T>,
    /// Keys.
    pub k: Heads<'a, T>,
    /// Values.
    pub v: Heads<'a, T>,
    /// The mask.
    pub mask: Mask<'a, T>,
    /// For each row the logarithm of its sum of exponentials.
    pub log_sums: &'a [T],
    /// For each row what is subtracted from the gradients of its probabilities.
    pub deltas: &'a [T],
}

/// The gradients with respect to queries, keys and values, all dense: with `p = softmax(scale q k^T + mask)` and
/// `d = p (g v^T - delta) scale` they are `d k`, `d^T q` and `p^T g`.
///
/// Rows are summed in parts, and the parts in order: both depend on the sizes alone.
pub fn attention_grad<T: Precise + Product>(
    dq: &mut [T],
    dk: &mut [T],
    dv: &mut [T],
    x: &Known<'_, T>,
    s: &Sizes,
    par: &Par,
) {
    let most = s.block();
    let (blocks, owners) = (s.rows.div_ceil(most), s.heads / s.group.max(1));
    let per_part = blocks.div_ceil(TASKS.div_ceil(owners.max(1)).min(blocks.max(1))).max(1);
    let parts = blocks.div_ceil(per_part).max(1);
    // The first part is summed in place.
    let mut more = [vec![T::zero(); (parts - 1) * dk.len()], vec![T::zero(); (parts - 1) * dv.len()]];
    let [more_k, more_v] = &mut more;
    let (all_k, all_v) = (dk.len(), dv.len());
    {
        let (dq, dk, dv) = (SharedMut::new(dq), SharedMut::new(dk), SharedMut::new(dv));
        let (more_k, more_v) = (SharedMut::new(more_k), SharedMut::new(more_v));
        let scratch = || [(); 2].map(|()| vec![T::zero(); most.min(s.rows) * KEYS.min(s.keys)]);
        par.for_each_with(owners * parts, scratch, |[p, d], task| {
            let (owner, part) = (task / parts, task % parts);
            let pick = |first, more, all| if part == 0 { (first, 0) } else { (more, (part - 1) * all) };
            let (keys, values) = (pick(&dk, &more_k, all_k), pick(&dv, &more_v, all_v));
            let own = |start: usize, width: usize| start + owner * s.keys * width..start + (owner + 1) * s.keys * width;
            // SAFETY: each task writes its own part of its own head of keys and values.
            let (dk, dv) = unsafe { (keys.0.range(own(keys.1, s.width)), values.0.range(own(values.1, s.values))) };
            dk.fill(T::zero());
            dv.fill(T::zero());
            for head in owner * s.group..(owner + 1) * s.group {
                for row in (part * per_part..blocks.min((part + 1) * per_part)).map(|block| block * most) {
                    let rows = most.min(s.rows - row);
                    let range = head * s.rows + row..head * s.rows + row + rows;
                    // SAFETY: each task writes the rows of its own part of its own heads of queries.
                    let dq = unsafe { dq.range(range.start * s.width..range.end * s.width) };
                    dq.fill(T::zero());
                    for block in Block::all(s, head, row, rows) {
                        let (p, d) = (&mut p[..rows * block.keys], &mut d[..rows * block.keys]);
                        block_grad(block, dq, dk, dv, p, d, x, s);
                    }
                }
            }
        });
    }
    for (sum, more) in [(dk, &more[0]), (dv, &more[1])] {
        for part in more.chunks(sum.len().max(1)) {
            sum.iter_mut().zip(part).for_each(|(sum, &v)| *sum = *sum + v);
        }
    }
}

/// Adds what one block of scores gives.
#[allow(clippy::too_many_arguments)] // what goes in and what comes out
fn block_grad<T: Precise + Product>(
    block: Block,
    dq: &mut [T],
    dk: &mut [T],
    dv: &mut [T],
    p: &mut [T],
    d: &mut [T],
    x: &Known<'_, T>,
    s: &Sizes,
) {
    struct Row<'a, T>(&'a mut [T], &'a mut [T], [T; 3]);
    impl<T: Precise> Loop for Row<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Row(p, d, [log_sum, delta, scale]) = self;
            // A row that sees no key has the logarithm of 0; whatever is subtracted, its probabilities are 0.
            let log_sum = if log_sum == T::neg_infinity() { T::zero() } else { log_sum };
            for (p, d) in p.iter_mut().zip(d) {
                *p = Lane::<T, I>::new(*p - log_sum).exp().0;
                *d = *p * (*d - delta) * scale;
            }
        }
    }
    let Block { head, row, rows, key, keys } = block;
    let (seq, owner) = (Par::sequential(), head / s.group);
    let g = x.g.from(head, row);
    block.scores(p, &x.q, &x.k, &x.mask, s);
    gemm::gemm(rows, s.values, keys, g, x.v.from(owner, key).t(), d, false, &seq);
    let scale = <T as crate::Element>::from_f64(s.scale);
    for (i, (p, d)) in p.chunks_mut(keys).zip(d.chunks_mut(keys)).enumerate() {
        let number = head * s.rows + row + i;
        let [(p, unseen), (d, unseen_too)] = [p, d].map(|row| row.split_at_mut(block.reached(i, s)));
        unseen.fill(T::zero());
        unseen_too.fill(T::zero());
        simd::run_single::<T, _>(Row(p, d, [x.log_sums[number], x.deltas[number], scale]));
    }
    let (p, d) = (Matrix::dense(p, keys), Matrix::dense(d, keys));
    gemm::gemm(rows, keys, s.width, d, x.k.from(owner, key), dq, true, &seq);
    gemm::gemm(keys, rows, s.width, d.t(), x.q.from(head, row), &mut dk[key * s.width..][..keys * s.width], true, &seq);
    gemm::gemm(keys, rows, s.values, p.t(), g, &mut dv[key * s.values..][..keys * s.values], true, &seq);
}
