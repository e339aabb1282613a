//! Transposition of matrices by blocks that are turned in registers.
//!
//! A block is some rows by the columns that 16 bytes hold. Pieces of 16 bytes from rows that lie apart are put side by
//! side in a wide register, and turned there by interleaving: each element passes through half as many instructions as
//! where rows are loaded whole. What is written is as wide as the register, with AVX-512 a whole cache line.

use crate::dtype::Element;
use crate::kernels::simd::{Level, level};

/// Rows that the widest block takes of elements of 4 bytes.
pub(super) const ROWS: usize = 16;

/// `out[c * out_stride + r] = x[r * x_stride + c]` for each of `rows` rows and `columns` columns of `x`.
///
/// # Panics
/// If `x` or `out` is too short.
pub fn transpose<T: Element>(out: &mut [T], out_stride: usize, x: &[T], x_stride: usize, rows: usize, columns: usize) {
    turn::<T::Moved>(bytemuck::cast_slice_mut(out), out_stride, bytemuck::cast_slice(x), x_stride, rows, columns);
}

/// [`transpose`].
fn turn<T: Copy>(out: &mut [T], out_stride: usize, x: &[T], x_stride: usize, rows: usize, columns: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(x.len() >= (rows - 1) * x_stride + columns && out.len() >= (columns - 1) * out_stride + rows);
    let (from, to) = ((x.as_ptr(), x_stride), (out.as_mut_ptr(), out_stride));
    // SAFETY: the element at row `rows - 1` and column `columns - 1` lies within both slices, as checked above, and they
    // do not overlap, as one of them is borrowed mutably. `walk` stays below these numbers. Blocks of a level are taken
    // where `level` found its instructions; SSE2 is part of the target.
    unsafe {
        match (size_of::<T>(), level()) {
            #[cfg(target_arch = "x86_64")]
            (4, Level::Avx512) => walk::<T, 16, 4>(from, to, rows, columns, x86::block_4_avx512),
            #[cfg(target_arch = "x86_64")]
            (4, Level::Avx2) => walk::<T, 8, 4>(from, to, rows, columns, x86::block_4_avx2),
            #[cfg(target_arch = "x86_64")]
            (4, Level::Plain) => walk::<T, 4, 4>(from, to, rows, columns, x86::block_4_sse2),
            #[cfg(target_arch = "x86_64")]
            (8, Level::Avx512) => walk::<T, 8, 2>(from, to, rows, columns, x86::block_8_avx512),
            #[cfg(target_arch = "x86_64")]
            (8, Level::Avx2) => walk::<T, 4, 2>(from, to, rows, columns, x86::block_8_avx2),
            (_, _) => walk::<T, 8, 8>(from, to, rows, columns, block::<T, 8, 8>),
        }
    }
}

/// Rows and columns of a tile of [`band`]: it lies in the first cache, and its lines do not meet there, as those of a
/// large matrix do.
pub(super) const SIDE: usize = 64;

/// Transposes [`SIDE`] columns of `x`, or fewer, into as many rows of `out`, which follow one another: as [`transpose`],
/// tile by tile. With `past` what is written goes past the caches, for results that are larger than these.
///
/// # Panics
/// If `x` or `out` is too short.
pub(super) fn band<T: Element>(out: &mut [T], x: &[T], x_stride: usize, rows: usize, columns: usize, past: bool) {
    let mut tile = [T::default(); SIDE * SIDE];
    for top in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - top);
        transpose(&mut tile, SIDE, &x[top * x_stride..], x_stride, height, columns);
        for (out, tile) in out.chunks_mut(rows).zip(tile.chunks(SIDE)).take(columns) {
            let (out, tile) = (&mut out[top..top + height], &tile[..height]);
            if past { copy_past(out, tile) } else { out.copy_from_slice(tile) }
        }
    }
    #[cfg(target_arch = "x86_64")]
    if past {
        // Other threads see what was written past the caches. SAFETY: SSE is part of the target.
        unsafe { std::arch::x86_64::_mm_sfence() };
    }
}

/// Copies as many elements past the caches, where they lie as that needs it.
#[inline]
fn copy_past<T: Element>(out: &mut [T], x: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        let (to, from, bytes) = (out.as_mut_ptr(), x.as_ptr(), size_of_val(out));
        let piece = size_of::<__m128i>();
        if to.addr().is_multiple_of(piece) && bytes.is_multiple_of(piece) && x.len() == out.len() {
            for i in 0..bytes / piece {
                // SAFETY: piece `i` lies within both slices, which are equally long, and `to` is aligned; SSE2 is part
                // of the target.
                unsafe {
                    _mm_stream_si128(to.cast::<__m128i>().add(i), _mm_loadu_si128(from.cast::<__m128i>().add(i)))
                };
            }
            return;
        }
    }
    out.copy_from_slice(x);
}

/// Rows side by side, in the precision that kernels compute in: element `i` of row `l` goes to `tile[i][l]`. Where rows
/// are missing there is 0.
pub(super) fn rows_aside<T: Element, const W: usize>(tile: &mut [[T::Compute; W]], x: &[T]) {
    let n = tile.len();
    let rows = x.len() / n;
    if rows < W {
        tile.as_flattened_mut().fill(T::Compute::default());
    }
    match T::direct(x) {
        Some(x) => transpose(tile.as_flattened_mut(), W, x, n, rows, n),
        None => {
            for (l, x) in x.chunks_exact(n).enumerate() {
                tile.iter_mut().zip(x).for_each(|(t, v)| t[l] = v.up());
            }
        }
    }
}

/// The reverse of [`rows_aside`].
pub(super) fn rows_back<T: Element, const W: usize>(out: &mut [T], tile: &[[T::Compute; W]]) {
    let n = tile.len();
    let rows = out.len() / n;
    match T::direct_mut(out) {
        Some(out) => transpose(out, n, tile.as_flattened(), W, n, rows),
        None => {
            for (l, out) in out.chunks_exact_mut(n).enumerate() {
                out.iter_mut().zip(tile).for_each(|(o, t)| *o = T::down(t[l]));
            }
        }
    }
}

/// Turns a block: its first element and the distance of its rows, and the same of what is written.
type Block<T> = unsafe fn(*const T, usize, *mut T, usize);

/// Turns all blocks of `R` rows and `C` columns, and then the rest one by one.
///
/// # Safety
/// Each row and column below `rows` and `columns` must lie in memory that may be read or written, which do not overlap;
/// the machine must have the instructions of `block`.
#[inline(always)]
unsafe fn walk<T: Copy, const R: usize, const C: usize>(
    (x, x_stride): (*const T, usize),
    (out, out_stride): (*mut T, usize),
    rows: usize,
    columns: usize,
    block: Block<T>,
) {
    let whole = columns / C * C;
    let mut top = 0;
    while top + R <= rows {
        for left in (0..whole).step_by(C) {
            // SAFETY: rows `top..top + R` and columns `left..left + C` are below the numbers promised.
            unsafe { block(x.add(top * x_stride + left), x_stride, out.add(left * out_stride + top), out_stride) };
        }
        for r in top..top + R {
            for c in whole..columns {
                // SAFETY: as above.
                unsafe { *out.add(c * out_stride + r) = *x.add(r * x_stride + c) };
            }
        }
        top += R;
    }
    for r in top..rows {
        for c in 0..columns {
            // SAFETY: as above.
            unsafe { *out.add(c * out_stride + r) = *x.add(r * x_stride + c) };
        }
    }
}

/// A block of any elements, without particular instructions.
///
/// # Safety
/// `R` rows of `C` elements must be readable, and `C` rows of `R` writable.
unsafe fn block<T: Copy, const R: usize, const C: usize>(x: *const T, x_stride: usize, out: *mut T, out_stride: usize) {
    // SAFETY: as the caller promises; arrays are as their elements.
    let from: [[T; C]; R] = std::array::from_fn(|r| unsafe { x.add(r * x_stride).cast::<[T; C]>().read() });
    let turned: [[T; R]; C] = std::array::from_fn(|c| std::array::from_fn(|r| from[r][c]));
    for (c, row) in turned.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { out.add(c * out_stride).cast::<[T; R]>().write(row) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Four columns of four-byte elements, from registers whose pieces of 16 bytes hold a row each.
    macro_rules! turn_4 {
        ($z:expr, $out:ident, $stride:ident, $low:ident, $high:ident, $low_pairs:ident, $high_pairs:ident, $pairs:ident,
         $singles:ident, $store:ident) => {{
            let [a, b, c, d] = $z;
            let (t0, t1) = ($pairs($low(a, b)), $pairs($low(c, d)));
            let (t2, t3) = ($pairs($high(a, b)), $pairs($high(c, d)));
            $store($out.cast(), $singles($low_pairs(t0, t1)));
            $store($out.add($stride).cast(), $singles($high_pairs(t0, t1)));
            $store($out.add(2 * $stride).cast(), $singles($low_pairs(t2, t3)));
            $store($out.add(3 * $stride).cast(), $singles($high_pairs(t2, t3)));
        }};
    }

    /// The pieces of 16 bytes at rows `row`, `row + apart`, and so on, in one register.
    macro_rules! pieces_512 {
        ($x:ident, $stride:ident, $row:expr, $apart:literal) => {{
            let piece = |k: usize| _mm_loadu_ps($x.add(($row + k * $apart) * $stride).cast());
            let z = _mm512_castps128_ps512(piece(0));
            let z = _mm512_insertf32x4::<1>(z, piece(1));
            let z = _mm512_insertf32x4::<2>(z, piece(2));
            _mm512_insertf32x4::<3>(z, piece(3))
        }};
    }
    macro_rules! pieces_256 {
        ($x:ident, $stride:ident, $row:expr, $apart:literal) => {{
            let piece = |k: usize| _mm_loadu_ps($x.add(($row + k * $apart) * $stride).cast());
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(piece(0)), piece(1))
        }};
    }

    /// 16 rows of 4.
    ///
    /// # Safety
    /// AVX-512; rows and columns of the block must be readable, or writable.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) unsafe fn block_4_avx512<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let z = [
                pieces_512!(x, stride, 0, 4),
                pieces_512!(x, stride, 1, 4),
                pieces_512!(x, stride, 2, 4),
                pieces_512!(x, stride, 3, 4),
            ];
            turn_4!(
                z,
                out,
                out_stride,
                _mm512_unpacklo_ps,
                _mm512_unpackhi_ps,
                _mm512_unpacklo_pd,
                _mm512_unpackhi_pd,
                _mm512_castps_pd,
                _mm512_castpd_ps,
                _mm512_storeu_ps
            );
        }
    }

    /// 8 rows of 4.
    ///
    /// # Safety
    /// AVX2; rows and columns of the block must be readable, or writable.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn block_4_avx2<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let z = [
                pieces_256!(x, stride, 0, 4),
                pieces_256!(x, stride, 1, 4),
                pieces_256!(x, stride, 2, 4),
                pieces_256!(x, stride, 3, 4),
            ];
            turn_4!(
                z,
                out,
                out_stride,
                _mm256_unpacklo_ps,
                _mm256_unpackhi_ps,
                _mm256_unpacklo_pd,
                _mm256_unpackhi_pd,
                _mm256_castps_pd,
                _mm256_castpd_ps,
                _mm256_storeu_ps
            );
        }
    }

    /// 4 rows of 4.
    ///
    /// # Safety
    /// Rows and columns of the block must be readable, or writable.
    pub(super) unsafe fn block_4_sse2<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        // SAFETY: the caller's promise; SSE2 is part of the target.
        unsafe {
            let z: [__m128; 4] = std::array::from_fn(|r| _mm_loadu_ps(x.add(r * stride).cast()));
            turn_4!(
                z,
                out,
                out_stride,
                _mm_unpacklo_ps,
                _mm_unpackhi_ps,
                _mm_unpacklo_pd,
                _mm_unpackhi_pd,
                _mm_castps_pd,
                _mm_castpd_ps,
                _mm_storeu_ps
            );
        }
    }

    /// 8 rows of 2.
    ///
    /// # Safety
    /// AVX-512; rows and columns of the block must be readable, or writable.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) unsafe fn block_8_avx512<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let even = _mm512_castps_pd(pieces_512!(x, stride, 0, 2));
            let odd = _mm512_castps_pd(pieces_512!(x, stride, 1, 2));
            _mm512_storeu_pd(out.cast(), _mm512_unpacklo_pd(even, odd));
            _mm512_storeu_pd(out.add(out_stride).cast(), _mm512_unpackhi_pd(even, odd));
        }
    }

    /// 4 rows of 2.
    ///
    /// # Safety
    /// AVX2; rows and columns of the block must be readable, or writable.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn block_8_avx2<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let even = _mm256_castps_pd(pieces_256!(x, stride, 0, 2));
            let odd = _mm256_castps_pd(pieces_256!(x, stride, 1, 2));
            _mm256_storeu_pd(out.cast(), _mm256_unpacklo_pd(even, odd));
            _mm256_storeu_pd(out.add(out_stride).cast(), _mm256_unpackhi_pd(even, odd));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Element>() {
        for (rows, columns) in [(1, 1), (16, 4), (8, 2), (16, 16), (17, 5), (33, 70), (3, 40), (40, 3), (64, 64)] {
            for spare in [0, 3] {
                let (x_stride, out_stride) = (columns + spare, rows + spare);
                // As short as can be: what reads or writes beyond is found by the tests for memory errors.
                let x: Vec<T> = (0..(rows - 1) * x_stride + columns).map(|i| T::from_i64(i as i64 % 101)).collect();
                let mut out = vec![T::from_i64(-1); (columns - 1) * out_stride + rows];
                transpose(&mut out, out_stride, &x, x_stride, rows, columns);
                for (i, &o) in out.iter().enumerate() {
                    let (c, r) = (i / out_stride, i % out_stride);
                    let want = if r < rows { x[r * x_stride + c] } else { T::from_i64(-1) };
                    assert_eq!(o, want, "{rows} by {columns}: row {r}, column {c}");
                }
            }
        }
    }

    #[test]
    fn every_element_is_where_it_belongs() {
        check::<f32>();
        check::<f64>();
        check::<half::f16>();
        check::<u8>();
    }

    #[test]
    fn bands_are_the_transposed_columns() {
        for (rows, columns, past) in [(1, 1, true), (64, 64, true), (130, 64, true), (67, 33, false), (200, 5, true)] {
            let x: Vec<f32> = (0..rows * 70).map(|i| i as f32).collect();
            let mut out = vec![-1.0; columns * rows];
            band(&mut out, &x[3..], 70, rows, columns, past);
            for (i, &o) in out.iter().enumerate() {
                assert_eq!(o, x[3 + i % rows * 70 + i / rows], "{rows} by {columns}: {i}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "x.len() >=")]
    fn a_slice_that_is_too_short_is_refused() {
        transpose(&mut [0.0; 63], 16, &[0.0; 64], 4, 16, 4);
    }
}
