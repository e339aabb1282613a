//! The innermost loop of a product: a tile of the result stays in registers while the inner axis goes by.
//!
//! A tile has some rows, each of some registers of columns. For each position of the inner axis the registers of the
//! right operand's row are loaded once, and every element of the left operand's column is multiplied with all of them.
//! Each element is summed in the order of the inner axis, whatever tile it is in.
//!
//! K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
use std::sync::atomic::{Ordering, compiler_fence};

use crate::kernels::simd::{self, Level};
use crate::kernels::vector::{Plain, Vector};

/// Most rows of a tile, over all instruction sets.
pub const MOST_ROWS: usize = 8;

/// Most registers in a row of a tile, and most columns, over all instruction sets and precisions.
pub const MOST_REGISTERS: usize = 3;
pub const MOST_COLUMNS: usize = 48;

/// The positions of the inner axis: segments of neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Positions in a segment.
    pub depth: usize,
    /// Segments.
    pub segments: usize,
    /// From one segment to the next, how far the left operand's lines and the right operand's rows are apart.
    pub steps: [usize; 2],
    /// Parts, of so many segments each, that are summed apart and then one to the other: rounding errors are smaller.
    pub parts: usize,
}

impl Inner {
    /// A single segment.
    pub fn of(depth: usize) -> Inner {
        Inner { depth, segments: 1, steps: [0, 0], parts: 1 }
    }
}

/// Where the left operand of a tile lies: lines, along which positions of the inner axis are neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Left<T>(
    /// Where each row of the tile starts; those past its last row mean nothing.
    [*const T; MOST_ROWS],
);

impl<T> Left<T> {
    /// The first `height` lines, of which `line` says where each starts.
    #[inline(always)]
    pub fn new(height: usize, line: impl Fn(usize) -> *const T) -> Left<T> {
        let mut rows = [std::ptr::null(); MOST_ROWS];
        for (i, start) in rows.iter_mut().enumerate().take(height) {
            *start = line(i);
        }
        Left(rows)
    }
}

/// Where the right operand of a tile lies: rows whose neighbouring columns are side by side.
#[derive(Clone, Copy, Debug)]
pub enum Right<T> {
    /// The first row, and the distance from row to row.
    Strided(*const T, usize),
    /// What the rows' places are counted from, the place of each, and where each register lies in a row.
    Scattered(*const T, *const usize, Places),
}

/// Where the registers of a row begin.
pub type Places = [usize; MOST_REGISTERS];

/// Where a tile of the result goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<T> {
    /// Its first element.
    pub start: *mut T,
    /// The distance from row to row.
    pub stride: usize,
    /// Where each register of a row begins.
    pub registers: Places,
    /// How many lanes of each register there are.
    pub widths: [usize; MOST_REGISTERS],
    /// What the sums are added to.
    pub plus: Plus<T>,
}

/// What the sums of a tile are added to.
#[derive(Clone, Copy, Debug)]
pub enum Plus<T> {
    /// Nothing.
    Nothing,
    /// What the target holds.
    Target,
    /// A number for each row.
    Rows(*const T),
    /// A number for each column, which lie as those of the target's rows do.
    Columns(*const T),
}

/// How far the operands of a tile and its target are from those that are described. Tiles that differ in nothing else are
/// computed by one call: to describe a tile anew takes as long as some positions of the inner axis.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// From each line of the left operand.
    pub left: isize,
    /// From the first row of the right operand, or from what its rows are counted from.
    pub right: isize,
    /// From the first element of the target.
    pub to: usize,
}

impl Shift {
    /// The tile itself.
    pub const NONE: Shift = Shift { left: 0, right: 0, to: 0 };
}

/// Computes tiles of so many rows and registers, one for each shift. What is added lies in the target, or is the same for
/// all of them.
///
/// # Safety
/// `rows` is [`Tiles::rows`] or a power of two below and `registers` is from 1 to [`Tiles::registers`]; with each shift
/// the operands may be read as described, the right one's rows in whole registers, and the target's widths, at most
/// [`Tiles::lanes`] each, may be read and written; and what is added may be read.
pub type Run<T> = unsafe fn(usize, usize, &Inner, &Left<T>, &Right<T>, &Target<T>, &[Shift]);

/// The tiles of an instruction set.
pub struct Tiles<T> {
    /// Elements in a register.
    pub lanes: usize,
    /// Most rows of a tile; lower ones have a power of two of rows.
    pub rows: usize,
    /// Most registers in a row of a tile.
    pub registers: usize,
    /// Computes a tile.
    pub run: Run<T>,
}

impl<T> Tiles<T> {
    /// The columns of the panels that `columns` are cut into: as few panels as there may be, about equally wide.
    pub fn panel(&self, columns: usize) -> usize {
        let registers = columns.div_ceil(self.lanes).max(1);
        registers.div_ceil(registers.div_ceil(self.registers)) * self.lanes
    }

    /// Where the registers of neighbouring columns begin.
    pub fn in_line(&self) -> Places {
        std::array::from_fn(|j| j * self.lanes)
    }

    /// The widths of the registers that `columns` neighbouring columns take.
    pub fn widths(&self, columns: usize) -> [usize; MOST_REGISTERS] {
        std::array::from_fn(|j| columns.saturating_sub(j * self.lanes).min(self.lanes))
    }
}

/// An element type that has tiles.
pub trait Tiled: Sized + 'static {
    /// Those of this machine.
    fn tiles() -> &'static Tiles<Self>;
}

/// A place among the rows of a right operand, which goes from row to row.
trait Rows<T>: Copy {
    /// How many positions of the inner axis a round of the loop takes: 1, or 4.
    const AT_A_TIME: usize;

    /// Register `j` of the row.
    ///
    /// # Safety
    /// There is such a row and register.
    unsafe fn register(self, j: usize) -> *const T;

    /// The next row of the segment.
    fn next(self) -> Self;

    /// The row a segment further on.
    fn next_segment(self) -> Self;

    /// The rows a shift away.
    fn shifted(self, by: isize) -> Self;
}

/// Rows a distance apart, and segments, whose registers have `L` lanes.
#[derive(Clone, Copy)]
struct Strided<T, const L: usize>(*const T, usize, usize);
impl<T: Copy, const L: usize> Rows<T> for Strided<T, L> {
    const AT_A_TIME: usize = 4;
    #[inline(always)]
    unsafe fn register(self, j: usize) -> *const T {
        // SAFETY: the caller promises that there is one.
        unsafe { self.0.add(j * L) }
    }
    #[inline(always)]
    fn next(self) -> Self {
        Strided(self.0.wrapping_add(self.1), self.1, self.2)
    }
    #[inline(always)]
    fn next_segment(self) -> Self {
        Strided(self.0.wrapping_add(self.2), self.1, self.2)
    }
    #[inline(always)]
    fn shifted(self, by: isize) -> Self {
        Strided(self.0.wrapping_offset(by), self.1, self.2)
    }
}

/// Rows whose places are listed.
#[derive(Clone, Copy)]
struct Scattered<T>(*const T, *const usize, Places);
impl<T: Copy> Rows<T> for Scattered<T> {
    const AT_A_TIME: usize = 1;
    #[inline(always)]
    unsafe fn register(self, j: usize) -> *const T {
        // SAFETY: as above.
        unsafe { self.0.add(self.2[j]).add(*self.1) }
    }
    #[inline(always)]
    fn next(self) -> Self {
        Scattered(self.0, self.1.wrapping_add(1), self.2)
    }
    #[inline(always)]
    fn next_segment(self) -> Self {
        self // all segments have the same places
    }
    #[inline(always)]
    fn shifted(self, by: isize) -> Self {
        Scattered(self.0.wrapping_offset(by), self.1, self.2)
    }
}

/// What lies there, read here: else it would be read before all loops, with all that follows from it, which takes more
/// registers than there are, and longer than a short inner axis.
#[inline(always)]
fn late<T: Copy>(x: &T) -> T {
    // SAFETY: a reference can be read.
    unsafe { std::ptr::from_ref(x).read_volatile() }
}

/// One tile of `M` rows of `N` registers.
///
/// # Safety
/// As [`Run`], and the machine has the instruction set that this is compiled for.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize, R: Rows<V::Element>>(
    inner: &Inner,
    left: &Left<V::Element>,
    right: R,
    to: &Target<V::Element>,
    shift: &Shift,
) {
    // What stays in registers: the fence below would have what lies elsewhere read again.
    let inner = *inner;
    let (mut lines, mut right) = ([std::ptr::null(); M], right.shifted(shift.right));
    for (i, line) in lines.iter_mut().enumerate() {
        *line = late(&left.0[i]).wrapping_offset(shift.left);
    }
    // SAFETY: the caller promises the elements of the operands and of the target, and the instruction set.
    unsafe {
        for part in 0..inner.parts {
            let mut sums = [[V::splat(V::Element::default()); N]; M];
            for segment in 0..inner.segments {
                let (mut row, mut at) = (right, (part * inner.segments + segment) * inner.steps[0]);
                // Not a closure: one that is called in several places becomes a function without the instruction set.
                macro_rules! position {
                    () => {
                        let mut b = [V::splat(V::Element::default()); N];
                        for (j, b) in b.iter_mut().enumerate() {
                            *b = V::load(row.register(j));
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let a = V::splat(*lines[i].add(at));
                            for (sum, b) in sums.iter_mut().zip(b) {
                                *sum = a.mul_add(b, *sum);
                            }
                        }
                        (row, at) = (row.next(), at + 1);
                        // Else operands of the next positions would be loaded before these are done with theirs.
                        compiler_fence(Ordering::SeqCst);
                    };
                }
                for _ in 0..inner.depth / R::AT_A_TIME {
                    for _ in 0..R::AT_A_TIME {
                        position!();
                    }
                }
                for _ in 0..inner.depth % R::AT_A_TIME {
                    position!();
                }
                right = right.next_segment();
            }
            let (start, stride) = (late(&to.start).add(late(&shift.to)), late(&to.stride));
            let (mut widths, mut registers) = ([0; N], [0; N]);
            for j in 0..N {
                (widths[j], registers[j]) = (late(&to.widths[j]), late(&to.registers[j]));
            }
            // One decision for all registers: a short inner axis takes no longer than this.
            let whole = widths.iter().all(|&width| width == V::LANES);
            let at = |i: usize, j: usize| start.add(i * stride + registers[j]);
            macro_rules! each {
                (|$i:pat_param, $j:pat_param, $sum:ident| $f:expr) => {
                    for (i, sums) in sums.iter_mut().enumerate() {
                        for (j, $sum) in sums.iter_mut().enumerate() {
                            let ($i, $j) = (i, j);
                            $f;
                        }
                    }
                };
            }
            match if part == 0 { to.plus } else { Plus::Target } {
                Plus::Nothing => {}
                Plus::Target if whole => each!(|i, j, sum| *sum = sum.add(V::load(at(i, j)))),
                Plus::Target => each!(|i, j, sum| *sum = sum.add(V::load_first(at(i, j), widths[j]))),
                Plus::Rows(numbers) => each!(|i, _, sum| *sum = sum.add(V::splat(*numbers.add(i)))),
                Plus::Columns(numbers) => {
                    let mut more = [V::splat(V::Element::default()); N];
                    for (j, more) in more.iter_mut().enumerate() {
                        *more = V::load_first(numbers.add(registers[j]), widths[j]);
                    }
                    each!(|_, j, sum| *sum = sum.add(more[j]));
                }
            }
            match whole {
                true => each!(|i, j, sum| sum.store(at(i, j))),
                false => each!(|i, j, sum| sum.store_first(at(i, j), widths[j])),
            }
        }
    }
}

/// The tiles of an instruction set: the function that picks one, and the table entry.
macro_rules! tiles {
    ($(#[$attribute:meta])* $name:ident: $t:ty, $register:ty, $most:literal rows [$($m:literal)*], $registers:literal registers [$($n:literal)*]) => {
        mod $name {
            use super::*;

            const LANES: usize = <$register as Vector>::LANES;

            /// # Safety
            /// As [`Run`], and the machine has the instruction set.
            $(#[$attribute])*
            unsafe fn one<const M: usize, const N: usize>(inner: &Inner, left: &Left<$t>, right: &Right<$t>, to: &Target<$t>, shifts: &[Shift]) {
                // SAFETY: the caller's promises are those asked for.
                unsafe {
                    match *right {
                        Right::Strided(r, stride) => {
                            let right = Strided::<_, LANES>(r, stride, inner.steps[1]);
                            for shift in shifts {
                                tile::<$register, M, N, _>(inner, left, right, to, shift);
                            }
                        }
                        Right::Scattered(r, places, registers) => {
                            let right = Scattered(r, places, registers);
                            for shift in shifts {
                                tile::<$register, M, N, _>(inner, left, right, to, shift);
                            }
                        }
                    }
                }
            }

            unsafe fn run(rows: usize, registers: usize, inner: &Inner, left: &Left<$t>, right: &Right<$t>, to: &Target<$t>, shifts: &[Shift]) {
                debug_assert!(to.widths.iter().all(|&w| w <= LANES));
                tiles!(@pick rows registers [$($m)*] [$($n)*] (inner, left, right, to, shifts))
            }

            pub static TILES: Tiles<$t> = Tiles { lanes: LANES, rows: $most, registers: $registers, run };
        }
    };
    (@pick $rows:ident $registers:ident [$($m:literal)*] $n:tt $operands:tt) => {
        match $rows {
            $($m => tiles!(@of $m $registers $n $operands),)*
            _ => unreachable!("a tile has a power of two of rows, or the most"),
        }
    };
    (@of $m:literal $registers:ident [$($n:literal)*] $operands:tt) => {
        match $registers {
            // SAFETY: the caller's promises; the table of an instruction set is used where the machine has it.
            $($n => unsafe { one::<$m, $n> $operands },)*
            _ => unreachable!("a row of a tile has 1 to 3 registers"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiles!(#[target_feature(enable = "avx512f,avx512vl,avx2,fma")] avx512_f32: f32, __m512, 8 rows [1 2 4 8], 3 registers [1 2 3]);
#[cfg(target_arch = "x86_64")]
tiles!(#[target_feature(enable = "avx512f,avx512vl,avx2,fma")] avx512_f64: f64, __m512d, 8 rows [1 2 4 8], 3 registers [1 2 3]);
#[cfg(target_arch = "x86_64")]
tiles!(#[target_feature(enable = "avx2,fma")] avx2_f32: f32, __m256, 6 rows [1 2 4 6], 2 registers [1 2]);
#[cfg(target_arch = "x86_64")]
tiles!(#[target_feature(enable = "avx2,fma")] avx2_f64: f64, __m256d, 6 rows [1 2 4 6], 2 registers [1 2]);
tiles!(plain_f32: f32, Plain<f32, 8>, 4 rows [1 2 4], 1 registers [1]);
tiles!(plain_f64: f64, Plain<f64, 4>, 4 rows [1 2 4], 1 registers [1]);

macro_rules! tiled {
    ($($t:ty: $avx512:ident $avx2:ident $plain:ident;)*) => {$(
        impl Tiled for $t {
            #[inline]
            fn tiles() -> &'static Tiles<$t> {
                match simd::level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => &$avx512::TILES,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => &$avx2::TILES,
                    _ => &$plain::TILES,
                }
            }
        }
    )*};
}
tiled! {
    f32: avx512_f32 avx2_f32 plain_f32;
    f64: avx512_f64 avx2_f64 plain_f64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every tile of a table on small whole numbers, whose sums are exact, against the definition.
    fn check<T: Copy + Default + PartialEq + std::fmt::Debug + num_traits::NumCast>(tiles: &Tiles<T>) {
        let number = |i: usize| T::from((i * 7 % 11) as i32 - 5).expect("a small number");
        let value = |x: T| x.to_f64().expect("a number");
        let (depth, wide) = (9, tiles.lanes * tiles.registers);
        let a: Vec<T> = (0..(tiles.rows + 1) * depth).map(number).collect();
        let b: Vec<T> = (0..2 * depth * wide).map(|i| number(i + 3)).collect();
        for rows in [1, 2, 4, 8, tiles.rows].into_iter().filter(|&r| r <= tiles.rows) {
            for (registers, short) in (1..=tiles.registers).flat_map(|r| [(r, 0), (r, 1), (r, tiles.lanes - 1)]) {
                let columns = registers * tiles.lanes - short;
                let places: Vec<usize> = (0..depth).map(|p| p * 5 % depth * wide + p).collect();
                for (scattered, plus) in [(false, 0), (false, 1), (true, 1), (false, 2), (false, 3)] {
                    let left = Left::new(rows, |i| a[i * depth..].as_ptr());
                    let right = match scattered {
                        true => Right::Scattered(b.as_ptr(), places.as_ptr(), tiles.in_line()),
                        false => Right::Strided(b.as_ptr(), wide),
                    };
                    // A second tile: of lines and rows one further on, below the first.
                    let shift = Shift { left: depth as isize, right: wide as isize, to: rows * (wide + 2) };
                    let mut c = vec![number(8); 2 * shift.to];
                    // SAFETY: the operands have a row more than `tiles.rows` and two times `depth` rows of `wide`
                    // columns, the target `rows` of `wide + 2` for each tile; the table is one of this machine's.
                    unsafe {
                        let (start, stride, widths) = (c.as_mut_ptr(), wide + 2, tiles.widths(columns));
                        let plus = match plus {
                            0 => Plus::Nothing,
                            1 => Plus::Target,
                            2 => Plus::Rows(a.as_ptr()),
                            _ => Plus::Columns(b.as_ptr()),
                        };
                        let to = Target { start, stride, registers: tiles.in_line(), widths, plus };
                        (tiles.run)(rows, registers, &Inner::of(depth), &left, &right, &to, &[Shift::NONE, shift]);
                    }
                    for (i, row) in c.chunks(wide + 2).enumerate() {
                        let (further, i) = (i / rows, i % rows);
                        for (j, &c) in row.iter().enumerate() {
                            let term = |p: usize| {
                                let at = if scattered { places[p] } else { p * wide };
                                let at = at + further * wide + j;
                                value(a[(i + further) * depth + p]) * b.get(at).map_or(0.0, |&b| value(b))
                            };
                            let more = [0.0, value(number(8)), value(a[i]), value(b[j])][plus];
                            let sum = (0..depth).map(term).sum::<f64>() + more;
                            let want = if j < columns { sum } else { value(number(8)) };
                            assert_eq!(
                                value(c),
                                want,
                                "{rows} rows, {columns} columns, tile {further}, row {i}, column {j}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_tiles_of_every_instruction_set_are_those_of_the_definition() {
        check(&plain_f32::TILES);
        check(&plain_f64::TILES);
        #[cfg(target_arch = "x86_64")]
        {
            if simd::best() >= Level::Avx2 {
                check(&avx2_f32::TILES);
                check(&avx2_f64::TILES);
            }
            if simd::best() >= Level::Avx512 {
                check(&avx512_f32::TILES);
                check(&avx512_f64::TILES);
            }
        }
    }
}
