//! Buffers of elements, and the pool that recycles them.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::Mutex;
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::dtype::Element;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a cache line. Buffers are whole lines, so that SIMD loads split none.
const LINE: usize = 64;

/// What memory is made of: as much as the widest element. Of types that are aligned to more than the allocator aligns
/// everything to, the standard library zeroes memory itself, which touches each page before huge ones are asked for.
type Word = u64;
const WORDS: usize = LINE / size_of::<Word>();

/// Memory for elements, and how many handles share it. The length is that of its pool class, at least what was asked
/// for.
struct Buffer {
    handles: AtomicUsize,
    memory: Vec<Word>,
    /// Where in the memory its first line begins, and how many there are.
    start: usize,
    lines: usize,
}

impl Buffer {
    /// Memory that the system zeroes, page by page at first touch; `None` where it has not so much.
    fn of(lines: usize) -> Option<Buffer> {
        let words = lines.checked_mul(WORDS)?.checked_add(WORDS - 1)?;
        let memory: Vec<Word> = bytemuck::try_zeroed_vec(words).ok()?;
        let address = memory.as_ptr().addr();
        let start = (address.next_multiple_of(LINE) - address) / size_of::<Word>();
        Some(Buffer { handles: AtomicUsize::new(1), memory, start, lines })
    }

    #[inline]
    fn words(&self) -> &[Word] {
        &self.memory[self.start..][..self.lines * WORDS]
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [Word] {
        &mut self.memory[self.start..][..self.lines * WORDS]
    }

    fn bytes(&self) -> usize {
        self.lines * LINE
    }
}

#[cfg(debug_assertions)]
static LIVE_BUFFERS: AtomicIsize = AtomicIsize::new(0);
static SYSTEM_BUFFERS: AtomicU64 = AtomicU64::new(0);

/// How many buffers tensors hold at the moment, over all threads. Buffers that wait in the pool do not count.
///
/// Counted only in builds with debug assertions; 0 otherwise.
///
/// ```
/// use wengert_tensor::storage::{live_buffers, system_buffers};
/// let before = (live_buffers(), system_buffers());
/// let x = wengert_tensor::tensor![1.0];
/// assert!(live_buffers() >= before.0 && system_buffers() >= before.1);
/// # drop(x);
/// ```
pub fn live_buffers() -> isize {
    #[cfg(debug_assertions)]
    return LIVE_BUFFERS.load(Ordering::SeqCst);
    #[cfg(not(debug_assertions))]
    0
}

/// How many buffers were ever asked of the system rather than of the pool, over all threads.
pub fn system_buffers() -> u64 {
    SYSTEM_BUFFERS.load(Ordering::Relaxed)
}

/// That the system has not as much memory as a buffer needs.
pub(crate) struct OutOfMemory {
    bytes: usize,
}

/// Checks that the system has memory for `n` values, for what is not kept in a tensor's buffer and whose number a caller
/// sets.
///
/// # Errors
/// If it has not.
pub(crate) fn demand_room<T>(n: usize) -> Result<()> {
    let mut room: Vec<T> = Vec::new();
    let reserved = room.try_reserve_exact(n);
    // Else the compiler may see that no one uses it.
    std::hint::black_box(&mut room);
    reserved.map_err(|_| OutOfMemory { bytes: n.saturating_mul(size_of::<T>()) }.error())
}

impl OutOfMemory {
    /// As the error of an operation.
    pub(crate) fn error(&self) -> Error {
        Error::new(format!("there is no memory for {} bytes", self.bytes)).kind_of(ErrorKind::Value)
    }
}

/// Shared elements of a tensor. Cloning shares; the memory goes back to the pool with the last handle.
///
/// This is the seam for other devices: what holds the elements is private to this type.
///
/// ```
/// use wengert_tensor::dispatch::{Attrs, Op, apply};
/// use wengert_tensor::storage::Storage;
/// use wengert_tensor::{registry, tensor};
/// // An operation that looks at the memory of an operand that it may write over.
/// static LOOK: std::sync::LazyLock<Op> = std::sync::LazyLock::new(|| Op {
///     forward: |call| {
///         let storage: Storage = call.reuse(0).expect("handed over");
///         let other = storage.clone();
///         assert!(storage.bytes() >= 8 && storage.shares_with(&other) && !storage.is_unique());
///         Ok([tensor![1.0].into()].into_iter().collect())
///     },
///     ..*registry::find("floor").unwrap()
/// });
/// apply(&LOOK, Attrs::NONE, &mut [tensor![1.0, 2.0].into()]).unwrap();
/// ```
pub struct Storage {
    // From `Box::into_raw`; `None` where the buffer was moved out. Not an `Arc`, which needs a locked instruction to
    // tell whether a handle is alone: every operation asks that of its result at least twice.
    buffer: Option<NonNull<Buffer>>,
}

// SAFETY: handles share the buffer as those of an `Arc` do: it is read through any of them, written only through one that
// is alone, and freed by the last. Lines of bytes may be sent and shared.
unsafe impl Send for Storage {}
// SAFETY: as above.
unsafe impl Sync for Storage {}

impl Storage {
    /// Memory of `bytes` bytes with arbitrary (but initialised) contents, for a kernel to overwrite.
    ///
    /// Where the system has not so much memory, this unwinds with [`OutOfMemory`], which becomes an error of the
    /// operation that is running.
    pub(crate) fn stale_bytes(bytes: usize) -> Storage {
        let lines = bytes.div_ceil(LINE);
        let mut buffer = pool::take(lines);
        *buffer.handles.get_mut() = 1;
        #[cfg(debug_assertions)]
        LIVE_BUFFERS.fetch_add(1, Ordering::SeqCst);
        Storage { buffer: NonNull::new(Box::into_raw(buffer)) }
    }

    /// [`stale_bytes`](Self::stale_bytes) for `len` elements.
    pub(crate) fn stale<T: Element>(len: usize) -> Storage {
        Storage::stale_bytes(len * size_of::<T>())
    }

    /// Memory for `len` zeros.
    pub(crate) fn zeros<T: Element>(len: usize) -> Storage {
        Storage::filled::<T>(len, |elements| elements.fill(T::default()))
    }

    /// No memory at all: what is left where a buffer was moved out.
    pub(crate) const fn empty() -> Storage {
        Storage { buffer: None }
    }

    /// Memory for `len` elements, which `fill` overwrites.
    #[inline]
    pub(crate) fn filled<T: Element>(len: usize, fill: impl FnOnce(&mut [T])) -> Storage {
        let mut s = Storage::stale::<T>(len);
        fill(s.fresh_slice(len));
        s
    }

    /// The elements of `values`.
    pub(crate) fn from_slice<T: Element>(values: &[T]) -> Storage {
        Storage::filled::<T>(values.len(), |elements| elements.copy_from_slice(values))
    }

    /// The first `len` elements of a buffer that no one shares yet.
    fn fresh_slice<T: Element>(&mut self, len: usize) -> &mut [T] {
        &mut self.unique_mut::<T>().expect("a fresh buffer is unique")[..len]
    }

    #[inline]
    fn buffer(&self) -> Option<&Buffer> {
        // SAFETY: a handle keeps its buffer alive.
        self.buffer.map(|buffer| unsafe { buffer.as_ref() })
    }

    /// The whole buffer as elements of `T`; at least as long as was asked for.
    #[inline]
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(self.buffer().map_or(&[], Buffer::words))
    }

    /// The whole buffer as elements of `T`, if no other tensor shares it.
    #[inline]
    pub(crate) fn unique_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        if !self.is_unique() {
            return None;
        }
        // SAFETY: this is the only handle, borrowed mutably: no one else reads or writes, and none can be cloned.
        let buffer = unsafe { self.buffer?.as_mut() };
        Some(bytemuck::cast_slice_mut(buffer.words_mut()))
    }

    /// Whether no other tensor shares this buffer.
    #[inline]
    pub fn is_unique(&self) -> bool {
        // Acquire: what former handles did to the buffer lies before what this one does next.
        self.buffer().is_some_and(|buffer| buffer.handles.load(Ordering::Acquire) == 1)
    }

    /// Whether both share one buffer.
    pub fn shares_with(&self, other: &Storage) -> bool {
        self.buffer == other.buffer
    }

    /// Bytes of memory held, which may exceed what the elements need.
    pub fn bytes(&self) -> usize {
        self.buffer().map_or(0, Buffer::bytes)
    }
}

impl Clone for Storage {
    #[inline]
    fn clone(&self) -> Storage {
        if let Some(buffer) = self.buffer() {
            // Relaxed: whoever clones has a handle, and that one keeps the buffer. Handles that are never dropped would
            // have to fill the address space before this wraps.
            buffer.handles.fetch_add(1, Ordering::Relaxed);
        }
        Storage { buffer: self.buffer }
    }
}

impl Drop for Storage {
    #[inline]
    fn drop(&mut self) {
        let Some(buffer) = self.buffer else { return };
        // Release: what this handle did lies before what the last one does; acquire: that one sees it.
        let leaves = |buffer: &Buffer| buffer.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if !(self.is_unique() || self.buffer().is_some_and(leaves)) {
            return;
        }
        #[cfg(debug_assertions)]
        LIVE_BUFFERS.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: the last handle goes here, and the buffer came from `Box::into_raw`.
        pool::give(unsafe { Box::from_raw(buffer.as_ptr()) });
    }
}

/// Gives the memory that waits in the pool back to the system: this thread's, and what all threads share.
///
/// ```
/// let x = wengert_tensor::Tensor::zeros([1000, 1000]);
/// drop(x);
/// wengert_tensor::storage::release_pool();
/// ```
pub fn release_pool() {
    pool::release();
}

/// Sets how many bytes may wait in the shared part of the pool. 2 GiB unless changed.
///
/// ```
/// use wengert_tensor::storage::set_pool_limit;
/// set_pool_limit(1 << 30); // one GiB at most is kept for later tensors
/// ```
pub fn set_pool_limit(bytes: usize) {
    pool::LIMIT.store(bytes, Ordering::Relaxed);
    if pool::shared_bytes() > bytes {
        pool::release();
    }
}

/// Free buffers by size class: small ones per thread, so that taking and giving needs no lock; large ones shared,
/// since a buffer made on one thread is often dropped on another.
mod pool {
    use super::*;

    /// Buffers up to this many lines (64 KiB) are small.
    const SMALL: usize = 1024;
    /// Bytes of small buffers that may wait in each thread.
    const THREAD_LIMIT: usize = 32 << 20;
    /// Classes 0 to 8 are exact, then four steps to each doubling.
    const CLASSES: usize = 9 + 4 * 56;

    pub(super) static LIMIT: AtomicUsize = AtomicUsize::new(2 << 30);

    /// The free buffers of one owner.
    struct Free {
        #[allow(clippy::vec_box)] // handles point to the box, which stays where it is
        classes: Vec<Vec<Box<Buffer>>>,
        bytes: usize,
    }

    impl Free {
        const fn new() -> Free {
            Free { classes: Vec::new(), bytes: 0 }
        }

        fn take(&mut self, class: usize) -> Option<Box<Buffer>> {
            let buffer = self.classes.get_mut(class)?.pop()?;
            self.bytes -= buffer.bytes();
            Some(buffer)
        }

        /// Keeps the buffer, or returns it where the limit is reached.
        fn give(&mut self, class: usize, buffer: Box<Buffer>, limit: usize) -> Option<Box<Buffer>> {
            let bytes = buffer.bytes();
            if self.bytes + bytes > limit {
                return Some(buffer);
            }
            if self.classes.is_empty() {
                self.classes.resize_with(CLASSES, Vec::new);
            }
            self.bytes += bytes;
            self.classes[class].push(buffer);
            None
        }
    }

    thread_local! {
        static OWN: RefCell<Free> = const { RefCell::new(Free::new()) };
    }
    static SHARED: Mutex<Free> = Mutex::new(Free::new());

    /// The class that holds `lines` lines, and the lines of its buffers.
    fn class(lines: usize) -> (usize, usize) {
        if lines <= 8 {
            return (lines, lines);
        }
        let log = (lines - 1).ilog2() as usize;
        let quarter = 1usize << (log - 2);
        let step = (lines - (1 << log)).div_ceil(quarter);
        (9 + (log - 3) * 4 + step - 1, (1 << log) + step * quarter)
    }

    fn shared() -> std::sync::MutexGuard<'static, Free> {
        SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn shared_bytes() -> usize {
        shared().bytes
    }

    pub(super) fn take(lines: usize) -> Box<Buffer> {
        let (class, lines) = class(lines);
        let found = if lines <= SMALL {
            OWN.try_with(|own| own.borrow_mut().take(class)).ok().flatten()
        } else {
            shared().take(class)
        };
        found.unwrap_or_else(|| {
            SYSTEM_BUFFERS.fetch_add(1, Ordering::Relaxed);
            match Buffer::of(lines) {
                Some(buffer) => {
                    ask_for_huge_pages(&buffer.memory);
                    Box::new(buffer)
                }
                None => resume_unwind(Box::new(OutOfMemory { bytes: lines.saturating_mul(LINE) })),
            }
        })
    }

    /// Has the system use huge pages for a large buffer, where it does so on request only: fewer faults at first touch,
    /// and fewer pages to look up where rows lie far apart.
    #[allow(unused_variables)] // elsewhere than on Linux there is nothing to ask
    fn ask_for_huge_pages(memory: &[Word]) {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            /// Bytes from which on a buffer is large.
            const LARGE: usize = 1 << 17;
            const PAGE: usize = 1 << 12;
            const MADV_HUGEPAGE: i32 = 14;
            unsafe extern "C" {
                fn madvise(start: *mut std::ffi::c_void, bytes: usize, advice: i32) -> i32;
            }
            if size_of_val(memory) >= LARGE {
                let range = memory.as_ptr_range();
                let start = range.start.addr() & !(PAGE - 1);
                let end = range.end.addr().next_multiple_of(PAGE);
                // Pages at the ends may hold others, so that neighbouring buffers are one stretch for the system.
                // SAFETY: this advice changes how memory is mapped, and nothing of what is in it; a range that the system
                // does not accept is an error, which does not matter.
                unsafe { madvise(range.start.with_addr(start).cast_mut().cast(), end - start, MADV_HUGEPAGE) };
            }
        }
    }

    pub(super) fn give(buffer: Box<Buffer>) {
        let lines = buffer.lines;
        let class = class(lines).0;
        // What does not fit is dropped after the borrow or the lock has ended.
        let _surplus = if lines <= SMALL {
            // At a thread's end its list may be gone already: then the buffer is simply freed.
            let mut buffer = Some(buffer);
            let _ = OWN.try_with(|own| {
                let b = buffer.take().expect("given once");
                buffer = own.borrow_mut().give(class, b, THREAD_LIMIT);
            });
            buffer
        } else {
            shared().give(class, buffer, LIMIT.load(Ordering::Relaxed))
        };
    }

    pub(super) fn release() {
        let _ = OWN.try_with(|own| *own.borrow_mut() = Free::new());
        *shared() = Free::new();
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_class_holds_what_it_is_asked_for_and_wastes_at_most_a_quarter() {
            let mut last = (0, 0);
            for lines in 0..100_000 {
                let (c, have) = class(lines);
                assert!(have >= lines, "{lines} lines get {have}");
                assert!(lines <= 8 || (have - lines) * 4 < lines, "{lines} lines get {have}");
                assert_eq!(class(have), (c, have), "a buffer goes back where it came from");
                assert!(c == last.0 || c == last.0 + 1 && have > last.1, "classes are ordered");
                last = (c, have);
            }
            assert!(class(usize::MAX >> 7).0 < CLASSES);
        }
    }
}
