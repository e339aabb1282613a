//! How many threads kernels may use, and how they share work.
//!
//! Work is split into blocks by size alone, never by the number of threads, so results have the same bits for any
//! number of threads.

#[cfg(feature = "parallel")]
mod pool;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

/// The parallelism that a kernel is given. Kernels split work with it and start no threads of their own.
///
/// ```
/// use wengert_tensor::par::{GRAIN, Par};
/// let mut squares = vec![0.0; 3 * GRAIN];
/// // Blocks of a fixed size: the result has the same bits for any number of threads.
/// Par::of(squares.len()).chunks_mut(&mut squares, GRAIN, |block, out| {
///     for (i, x) in out.iter_mut().enumerate() {
///         *x = ((block * GRAIN + i) as f64).powi(2);
///     }
/// });
/// assert_eq!(squares[GRAIN + 1], ((GRAIN + 1) as f64).powi(2));
///
/// let par = Par::current();
/// assert_eq!(par.map(3, |block| block * 10), [0, 10, 20]);
/// let count = std::sync::atomic::AtomicUsize::new(0);
/// par.for_each(5, |_| drop(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
/// par.for_each_with(5, Vec::new, |scratch, block| {
///     scratch.clear();
///     scratch.push(block);
/// });
/// assert_eq!(count.into_inner(), 5);
/// let mut scratch = vec![0; 2 * par.threads()];
/// par.for_each_in(5, &mut scratch, 2, |own, block| own.fill(block)); // each thread has 2 elements of its own
/// let (mut low, mut high) = ([0; 4], [0; 4]);
/// par.chunks_mut_of(&mut low, &mut [&mut high[..]], 2, |block, low, more| {
///     low.fill(block);
///     more[0].fill(10 * block);
/// });
/// assert_eq!((low, high), ([0, 0, 1, 1], [0, 0, 10, 10]));
/// assert_eq!(Par::sequential().threads(), 1);
/// ```
#[derive(Clone)]
pub struct Par {
    #[cfg(feature = "parallel")]
    pool: Option<std::sync::Arc<pool::Pool>>,
}

/// What one thread does: takes numbers of blocks until there are none left.
type Work<'a> = dyn Fn(&mut dyn FnMut() -> Option<usize>) + Sync + 'a;

/// Work below this many elements is not worth handing to another thread.
pub const GRAIN: usize = 1 << 15;

impl Par {
    /// One thread: the caller's.
    pub const fn sequential() -> Par {
        Par {
            #[cfg(feature = "parallel")]
            pool: None,
        }
    }

    /// The parallelism in force on this thread: what [`with_threads`] says, else all cores.
    pub fn current() -> Par {
        CURRENT.with(|c| c.borrow().clone()).unwrap_or_else(Par::all)
    }

    /// The parallelism in force for work that touches `elements` elements: one thread where that is little.
    pub fn of(elements: usize) -> Par {
        if elements <= GRAIN {
            return Par::sequential();
        }
        #[cfg(unoptimized)]
        say_it_is_slow();
        Par::current()
    }

    #[cfg(feature = "parallel")]
    fn all() -> Par {
        Par { pool: pool::all() }
    }

    #[cfg(not(feature = "parallel"))]
    fn all() -> Par {
        Par::sequential()
    }

    #[cfg(feature = "parallel")]
    fn with(threads: usize) -> Par {
        Par { pool: pool::of(threads) }
    }

    #[cfg(not(feature = "parallel"))]
    fn with(_: usize) -> Par {
        Par::sequential()
    }

    /// The number of threads that take part.
    pub fn threads(&self) -> usize {
        #[cfg(feature = "parallel")]
        return self.pool.as_ref().map_or(1, |p| p.threads);
        #[cfg(not(feature = "parallel"))]
        1
    }

    /// Calls `f` for each number below `blocks`, in any order, on all threads; returns when all are done.
    ///
    /// # Panics
    /// If `f` does.
    #[inline]
    pub fn for_each(&self, blocks: usize, f: impl Fn(usize) + Sync) {
        self.each(blocks, &f);
    }

    /// [`for_each`](Self::for_each), compiled once and not for each loop. Memory is quickest with long stretches, so each
    /// thread takes some neighbours at a time.
    fn each(&self, blocks: usize, f: &(dyn Fn(usize) + Sync)) {
        self.share(blocks, true, &|next| {
            while let Some(i) = next() {
                f(i);
            }
        });
    }

    /// [`for_each`](Self::for_each) with scratch memory, made once for each thread that takes part. What `f` finds in
    /// it depends on the threads, so `f` must overwrite what it reads.
    ///
    /// # Panics
    /// If `scratch` or `f` does.
    pub fn for_each_with<S>(&self, blocks: usize, scratch: impl Fn() -> S + Sync, f: impl Fn(&mut S, usize) + Sync) {
        // One by one: what needs scratch memory computes much, and its blocks are few.
        self.share(blocks, false, &|next| {
            let Some(first) = next() else { return };
            let mut own = scratch();
            f(&mut own, first);
            while let Some(i) = next() {
                f(&mut own, i);
            }
        });
    }

    /// [`for_each_with`](Self::for_each_with) where the scratch memory of each thread is a part of `memory`, of `each`
    /// elements.
    ///
    /// # Panics
    /// If `memory` has not so many for each thread that takes part, or `f` does.
    pub fn for_each_in<T: Send>(
        &self,
        blocks: usize,
        memory: &mut [T],
        each: usize,
        f: impl Fn(&mut [T], usize) + Sync,
    ) {
        let memory = SharedMut::new(memory);
        let taken = AtomicUsize::new(0);
        let take = || {
            let start = taken.fetch_add(1, Ordering::Relaxed) * each;
            // SAFETY: parts with different numbers do not overlap, and each number is taken once.
            unsafe { memory.range(start..start + each) }
        };
        self.for_each_with(blocks, take, |own, i| f(own, i));
    }

    /// Runs `work` on each thread that takes part, with a function that hands out the numbers below `blocks`. Compiled
    /// once: the pool's machinery is large, and there are hundreds of loops.
    fn share(&self, blocks: usize, in_runs: bool, work: &Work<'_>) {
        #[cfg(feature = "parallel")]
        if let (Some(pool), true) = (&self.pool, blocks > 1) {
            return pool.share(blocks, in_runs, work);
        }
        let mut numbers = 0..blocks;
        work(&mut || numbers.next());
    }

    /// Splits `out` into blocks of `size` elements (the last may be shorter) and calls `f` with the number of each
    /// block and the block, on all threads.
    #[inline]
    pub fn chunks_mut<T: Send>(&self, out: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        self.chunks(out, size, &f);
    }

    /// [`chunks_mut`](Self::chunks_mut), compiled once for each type and not for each loop.
    fn chunks<T: Send>(&self, out: &mut [T], size: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
        let size = size.max(1);
        if out.len() <= size {
            if !out.is_empty() {
                f(0, out);
            }
            return;
        }
        let shared = SharedMut::new(out);
        let n = shared.len;
        self.each(n.div_ceil(size), &|i| {
            // SAFETY: blocks of different numbers do not overlap, and each number is taken once.
            f(i, unsafe { shared.range(i * size..(i * size + size).min(n)) });
        });
    }

    /// [`chunks_mut`](Par::chunks_mut) of several slices at once: `f` gets the number of each block, and that block of
    /// each slice.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn chunks_mut_of<T: Send, S: Send>(
        &self,
        out: &mut [T],
        more: &mut [&mut [S]],
        size: usize,
        f: impl Fn(usize, &mut [T], &mut [&mut [S]]) + Sync,
    ) {
        let n = out.len();
        assert!(more.iter().all(|s| s.len() == n), "chunks_mut_of: the slices differ in length");
        let more: SmallVec<[SharedMut<'_, S>; 4]> = more.iter_mut().map(|s| SharedMut::new(s)).collect();
        self.chunks_mut(out, size, |i, part| {
            let range = i * size.max(1)..i * size.max(1) + part.len();
            // SAFETY: blocks of different numbers do not overlap, and each number is taken once.
            let mut parts: SmallVec<[&mut [S]; 4]> = more.iter().map(|s| unsafe { s.range(range.clone()) }).collect();
            f(i, part, &mut parts);
        });
    }

    /// The results of `f` for each number below `blocks`, in order.
    pub fn map<R: Send + Default + Clone>(&self, blocks: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let mut out = vec![R::default(); blocks];
        self.chunks_mut(&mut out, 1, |i, slot| slot[0] = f(i));
        out
    }
}

/// A slice that several threads write to in parts that do not overlap.
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    pub(crate) len: usize,
    lifetime: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: elements of `T: Send` may be written from other threads; `range` demands that parts do not overlap.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> SharedMut<'a, T> {
        SharedMut { start: slice.as_mut_ptr(), len: slice.len(), lifetime: std::marker::PhantomData }
    }

    /// The start of the slice.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The part of the slice at `range`.
    ///
    /// # Safety
    /// Parts in use at the same time must not overlap.
    ///
    /// # Panics
    /// If the range does not lie within the slice.
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: the range lies within the slice (checked above), which is borrowed mutably for 'a; the caller
        // promises that no other part in use overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Says once, on standard error, that this build is slow and what mends it. A profile in this workspace does not reach
/// the workspaces of its users, and an unoptimized kernel takes up to a hundred times as long.
#[cfg(unoptimized)]
fn say_it_is_slow() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("WENGERT_QUIET").is_none() {
            eprintln!(
                "note: wengert is compiled without optimization, which makes it up to a hundred times slower.\n\
                 Add this to your Cargo.toml (or set WENGERT_QUIET=1 to hide this note):\n\n\
                 [profile.dev.package]\n\
                 wengert-tensor.opt-level = 3\n"
            );
        }
    });
}

thread_local! {
    static CURRENT: RefCell<Option<Par>> = const { RefCell::new(None) };
}

/// Runs `f` with kernels of this thread using `threads` threads (0 means all cores). Results have the same bits for
/// any number.
///
/// `f` itself stays on this thread. The former number returns when `f` ends, also when it panics.
///
/// ```
/// use wengert_tensor::{Tensor, with_threads};
/// let x = Tensor::ones([1000, 1000]);
/// assert_eq!(with_threads(1, || x.sum()).item(), with_threads(3, || x.sum()).item());
/// ```
pub fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Par>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|c| *c.borrow_mut() = self.0.take());
        }
    }
    let par = if threads == 0 { Par::all() } else { Par::with(threads) };
    let _restore = Restore(CURRENT.with(|c| c.borrow_mut().replace(par)));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let par = with_threads(threads, Par::current);
            let mut out = vec![0usize; 1003];
            par.chunks_mut(&mut out, 10, |i, part| part.iter_mut().for_each(|o| *o += i + 1));
            let want: Vec<usize> = (0..1003).map(|i| i / 10 + 1).collect();
            assert_eq!(out, want);
            assert_eq!(par.map(5, |i| i * i), [0, 1, 4, 9, 16]);
        }
    }

    #[test]
    fn a_panic_in_a_block_reaches_the_caller_and_the_pool_lives_on() {
        let par = with_threads(3, Par::current);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            par.for_each(8, |i| assert_ne!(i, 5, "block five"));
        }));
        assert!(caught.is_err());
        assert_eq!(par.map(3, |i| i), [0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "range.end <= self.len")]
    fn a_part_outside_of_the_slice_is_refused() {
        let mut x = [0; 4];
        let shared = SharedMut::new(&mut x);
        // SAFETY: the only part in use.
        unsafe { shared.range(2..5) };
    }

    #[test]
    fn the_number_of_threads_comes_back_after_a_panic() {
        let before = Par::current().threads();
        let _ = std::panic::catch_unwind(|| with_threads(before + 1, || panic!("on purpose")));
        assert_eq!(Par::current().threads(), before);
    }
}
