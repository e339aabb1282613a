//! A product block by block, so that what is used again is still in a cache.
//!
//! The right operand is brought into panels as wide as a tile: all threads together, or, where a task has all rows, each
//! panel just before it is used. Each task computes a block of the result, slab by slab of the inner axis: the strips of the
//! left operand, each of which stays in the first cache, go by a panel, which stays in the second, or in the first where
//! that is too slow. What lies well already, and is small, is read where it lies.

use std::ops::Range;

use smallvec::SmallVec;

use super::pack;
use super::tile::{Inner, Left, Plus, Right, Shift, Target, Tiled, Tiles};
use super::{Matrix, Problem};
use crate::dtype::Element;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{self, Level};
use crate::par::{Par, SharedMut};

/// Most positions of the inner axis that are worked on at a time.
const DEPTH: usize = 512;

/// Bytes of a panel where a tile is quicker than the second cache.
const PANEL: usize = 16 << 10;

/// Most rows in a task. There are as many panels as there may be, since a task packs its rows itself.
const ROWS: usize = 192;

/// Strips of that many rows in tiles of 6, and those of the rows that are left.
const MOST_STRIPS: usize = ROWS / 6 + 4;

/// The number of tasks for each thread below which blocks become smaller.
const TASKS: usize = 4;

/// Elements of the right operand that are brought into the first cache while one of the left is turned.
const TURNING: usize = 8;

/// Bytes after which lines fall into the same places of the first cache.
const PAGE: usize = 1 << 12;

/// Bytes that fit into the first cache beside others.
const NEAR: usize = 1 << 14;

/// Elements of the right operand that are in panels at a time.
const PACKED: usize = 1 << 22;

/// Elements of a small matrix: how a product of such is to be cut would take longer to find than to compute it.
const SMALL: usize = 512;

/// How a product is cut.
struct Plan<T: 'static> {
    tiles: &'static Tiles<T>,
    /// Columns of a panel.
    wide: usize,
    /// Positions of the inner axis in a slab.
    depth: usize,
    /// Rows and panels of a task.
    rows: usize,
    panels: usize,
    /// Whether the operands are copied first.
    pack_left: bool,
    pack_right: bool,
}

impl<T: Tiled> Plan<T> {
    fn new(p: &Problem<'_, T>, par: &Par) -> Plan<T> {
        let (tiles, bytes) = (T::tiles(), size_of::<T>());
        let wide = tiles.panel(p.n);
        let (mut strips, mut panels) = (ROWS / tiles.rows, p.n.div_ceil(wide));
        let tasks = |strips: usize, panels: usize| p.m.div_ceil(strips * tiles.rows) * p.n.div_ceil(panels * wide);
        // Every task of the same rows copies these again, and turning an element takes as long as reading some of the
        // right operand again.
        let weight = if p.a.column_stride == 1 { 1 } else { TURNING };
        // How the result is cut leaves each of its elements the same sum.
        while par.threads() > 1 && tasks(strips, panels) < TASKS * par.threads() && strips + panels > 2 {
            match panels == 1 || strips > 1 && strips * tiles.rows * weight > panels * wide {
                true => strips = strips.div_ceil(2),
                false => panels = panels.div_ceil(2),
            }
        }
        // Blocks of equal height, as many for each thread.
        let (all, across) = (p.m.div_ceil(tiles.rows), p.n.div_ceil(panels * wide));
        let mut blocks = all.div_ceil(strips);
        if across % par.threads() != 0 {
            blocks = blocks.next_multiple_of(par.threads());
        }
        let strips = all.div_ceil(blocks);
        // Intel's wide registers are multiplied two at a time, AMD's half a one.
        let near = simd::level() == Level::Avx512 && simd::intel();
        let most = if near { DEPTH.min(PANEL / (wide * bytes)) } else { DEPTH };
        let depth = p.k.div_ceil(p.k.div_ceil(most));
        // Lines that are about a multiple of a page apart meet in few places of the first cache.
        let apart = p.a.row_stride.unsigned_abs() * bytes % PAGE;
        let meet = apart.min(PAGE - apart) * (tiles.rows - 1) < depth * bytes;
        let whole = p.b.column_stride == 1 && p.b.row_stride >= 0 && p.n.is_multiple_of(tiles.lanes);
        Plan {
            tiles,
            wide,
            depth,
            rows: strips * tiles.rows,
            panels,
            pack_left: p.a.column_stride != 1 || meet && p.n > 2 * wide && p.m * p.k * bytes > NEAR,
            pack_right: !whole || p.m > 2 * tiles.rows && p.k * p.n * bytes > NEAR,
        }
    }
}

/// `c = a b`, or `c += a b`.
///
/// # Safety
/// The operands lie within their slices, and the result within `c`, where no other thread uses its elements.
pub(super) unsafe fn product<T: Tiled + Element>(p: &Problem<'_, T>, c: &SharedMut<'_, T>, par: &Par) {
    let tiles = T::tiles();
    // Sizes by themselves first: products of those of repeated elements may overflow.
    if p.n <= tiles.registers * tiles.lanes && p.m.max(p.k) <= SMALL {
        let width = p.n.next_multiple_of(tiles.lanes);
        let left = if p.a.column_stride == 1 { 0 } else { p.m * pack::line(p.k) };
        if left.max(p.k * width).max(p.m * width) <= SMALL {
            // SAFETY: the caller's promise.
            return unsafe { small(p, tiles, c) };
        }
    }
    let plan = Plan::new(p, par);
    let wide = plan.wide;
    let group = (PACKED / p.k / wide).max(plan.panels) * wide;
    for from in (0..p.n).step_by(group) {
        let (n, bias) = (group.min(p.n - from), p.bias.map(|bias| &bias[from..]));
        let part = Problem { n, b: p.b.from(0, from), start: p.start + from, bias, ..*p };
        // SAFETY: the caller's promise.
        unsafe { columns(&part, &plan, c, par) };
    }
}

/// What sums of these columns are added to; `more` where there are sums of other positions already.
fn plus<T>(p: &Problem<'_, T>, columns: Range<usize>, more: bool) -> Plus<T> {
    match p.bias {
        _ if p.add || more => Plus::Target,
        Some(bias) => Plus::Columns(bias[columns].as_ptr()),
        None => Plus::Nothing,
    }
}

/// [`product`] where the right operand is one panel, and what is copied is small.
///
/// # Safety
/// As [`product`].
unsafe fn small<T: Tiled + Element>(p: &Problem<'_, T>, tiles: &Tiles<T>, c: &SharedMut<'_, T>) {
    let (mut lines, mut panel);
    let (mut a, width) = (p.a, p.n.next_multiple_of(tiles.lanes));
    if a.column_stride != 1 {
        lines = [T::default(); SMALL];
        a = pack::lines(&mut lines, a, p.m, p.k);
    }
    let right = if p.b.column_stride == 1 && p.b.row_stride >= 0 && p.n == width {
        Right::Strided(p.b.data[p.b.offset..].as_ptr(), p.b.row_stride as usize)
    } else {
        panel = [T::default(); SMALL];
        pack::panel(&mut panel, p.b, p.k, p.n, tiles.lanes);
        Right::Strided(panel.as_ptr(), width)
    };
    let (registers, widths, plus) = (tiles.in_line(), tiles.widths(p.n), plus(p, 0..p.n, false));
    for (row, height) in strips(p.m, tiles.rows) {
        // SAFETY: the caller promises the operands and the result, and a panel has whole registers.
        unsafe {
            let start = c.start().add(p.start + row * p.stride);
            let to = Target { start, stride: p.stride, registers, widths, plus };
            let (inner, left) = (Inner::of(p.k), a.left(row, height));
            (tiles.run)(height, width / tiles.lanes, &inner, &left, &right, &to, &[Shift::NONE]);
        }
    }
}

/// [`product`] for as many columns as are in panels at a time.
///
/// # Safety
/// As [`product`].
unsafe fn columns<T: Tiled + Element>(p: &Problem<'_, T>, plan: &Plan<T>, c: &SharedMut<'_, T>, par: &Par) {
    let (tiles, wide) = (plan.tiles, plan.wide);
    let panels = p.n.div_ceil(wide);
    let (down, across) = (p.m.div_ceil(plan.rows), panels.div_ceil(plan.panels));
    // Panels that one task alone needs never leave the first cache.
    let (together, alone) = (plan.pack_right && down > 1, plan.pack_right && down == 1);
    let right = if together { p.n.next_multiple_of(tiles.lanes) * p.k } else { 0 };
    let left = if plan.pack_left { plan.rows.min(p.m) * pack::line(plan.depth) } else { 0 };
    let own = left + if alone { plan.depth * wide } else { 0 };
    let mut scratch = Scratch::<T>::new(right + par.threads().min(down * across) * own);
    let (packed, parts) = scratch.split_at_mut(right);
    if together {
        pack::panels(packed, p.b, p.k, p.n, [wide, tiles.lanes], par);
    }
    let packed = &*packed;
    par.for_each_in(down * across, parts, own, |own, task| {
        let (own, own_panel) = own.split_at_mut(left);
        let (row, panel) = (task / across * plan.rows, task % across * plan.panels);
        let (rows, end) = (plan.rows.min(p.m - row), panels.min(panel + plan.panels));
        for at in (0..p.k).step_by(plan.depth) {
            let depth = plan.depth.min(p.k - at);
            let inner = Inner::of(depth);
            let mut a = p.a.from(row, at);
            if plan.pack_left {
                a = pack::lines(own, a, rows, depth);
            }
            let strips = Strips::new(rows, tiles.rows, a.row_stride, p.stride);
            for j in panel..end {
                let first = j * wide;
                let columns = wide.min(p.n - first);
                let registers = columns.div_ceil(tiles.lanes);
                let (b, width) = (p.b.from(at, first), registers * tiles.lanes);
                let right = if together {
                    Right::Strided(packed[first * p.k + at * width..].as_ptr(), width)
                } else if alone {
                    pack::panel(own_panel, b, depth, columns, tiles.lanes);
                    Right::Strided(own_panel.as_ptr(), width)
                } else {
                    Right::Strided(b.data[b.offset..].as_ptr(), b.row_stride as usize)
                };
                let (start, widths) = (c.start(), tiles.widths(columns));
                let plus = plus(p, first..first + columns, at > 0);
                let mut to = Target { start, stride: p.stride, registers: tiles.in_line(), widths, plus };
                for (i, height, shifts) in strips.alike() {
                    // SAFETY: the caller promises the operands and the result. Panels have whole registers, and where
                    // the right operand is read in place its columns are whole registers, too.
                    unsafe {
                        to.start = c.start().add(p.start + (row + i) * p.stride + first);
                        (tiles.run)(height, registers, &inner, &a.left(i, height), &right, &to, shifts);
                    }
                }
            }
        }
    });
}

/// The strips of `rows` rows: as many of the highest tiles as there are, then lower ones.
pub(in crate::kernels) fn strips(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = 0;
    std::iter::from_fn(move || {
        let left = rows - row;
        let power = |n: usize| Some(1 << n.checked_ilog2()?);
        // Two rows by themselves would not fill the pipeline.
        let height = if left >= most && left != most + 2 { most } else { power(left)?.min(power(most)?) };
        row += height;
        Some((row - height, height))
    })
}

/// Strips of some rows, of which neighbours of the same height are computed by one call.
pub(in crate::kernels) struct Strips {
    /// How many rows there are, and how far the left operand's lines and the target's rows are apart.
    pub of: (usize, isize, usize),
    /// The first row of each run of alike strips, their height, and their shifts.
    runs: SmallVec<[(usize, usize, Range<usize>); 5]>,
    shifts: SmallVec<[Shift; MOST_STRIPS]>,
}

impl Strips {
    /// Those of `rows` rows, where the left operand's lines are `left` apart and the target's rows `to`.
    #[inline(always)]
    pub fn new(rows: usize, most: usize, left: isize, to: usize) -> Strips {
        // Filled where it lies: to move it would take longer than a small product.
        let mut all = Strips { of: (rows, left, to), runs: SmallVec::new(), shifts: SmallVec::new() };
        for (row, height) in strips(rows, most) {
            let further = match all.runs.last_mut() {
                Some((first, same, shifts)) if *same == height => {
                    shifts.end += 1;
                    row - *first
                }
                _ => {
                    let number = all.shifts.len();
                    all.runs.push((row, height, number..number + 1));
                    0
                }
            };
            all.shifts.push(Shift { left: further as isize * left, right: 0, to: further * to });
        }
        all
    }

    /// The first row of each run of alike strips, their height, and their shifts.
    pub fn alike(&self) -> impl Iterator<Item = (usize, usize, &[Shift])> {
        self.runs.iter().map(|(row, height, shifts)| (*row, *height, &self.shifts[shifts.clone()]))
    }
}

impl<T: Copy> Matrix<'_, T> {
    /// `height` rows from `i` on, which are lines, as the left operand of a tile.
    #[inline]
    fn left(&self, i: usize, height: usize) -> Left<T> {
        debug_assert_eq!(self.column_stride, 1);
        let start = self.data[self.from(i, 0).offset..].as_ptr();
        Left::new(height, |j| start.wrapping_offset(j as isize * self.row_stride))
    }
}
