//! Buffers of elements, and the pool that recycles them.

use std::cell::RefCell;
use std::panic::resume_unwind;
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytemuck::{Pod, Zeroable};

use crate::dtype::Element;
use crate::error::{Error, ErrorKind, Result};

/// A cache line: buffers are made of these, so that every element type is aligned and SIMD loads split no line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Memory for elements. The length is that of its pool class, at least what was asked for.
struct Buffer {
    lines: Vec<Line>,
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
    // `None` while dropping, and where the buffer was moved out.
    buffer: Option<Arc<Buffer>>,
}

impl Storage {
    /// Memory for `len` elements with arbitrary (but initialised) contents, for a kernel to overwrite.
    ///
    /// Where the system has not so much memory, this unwinds with [`OutOfMemory`], which becomes an error of the
    /// operation that is running.
    pub(crate) fn stale<T: Element>(len: usize) -> Storage {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let buffer = pool::take(lines);
        #[cfg(debug_assertions)]
        LIVE_BUFFERS.fetch_add(1, Ordering::SeqCst);
        Storage { buffer: Some(buffer) }
    }

    /// Memory for `len` zeros.
    pub(crate) fn zeros<T: Element>(len: usize) -> Storage {
        let mut s = Storage::stale::<T>(len);
        s.unique_mut::<T>().expect("a fresh buffer is unique")[..len].fill(T::default());
        s
    }

    /// No memory at all: what is left where a buffer was moved out.
    pub(crate) const fn empty() -> Storage {
        Storage { buffer: None }
    }

    /// Memory for `len` elements, which `fill` overwrites.
    pub(crate) fn filled<T: Element>(len: usize, fill: impl FnOnce(&mut [T])) -> Storage {
        let mut s = Storage::stale::<T>(len);
        fill(&mut s.unique_mut::<T>().expect("a fresh buffer is unique")[..len]);
        s
    }

    /// The elements of `values`.
    pub(crate) fn from_slice<T: Element>(values: &[T]) -> Storage {
        let mut s = Storage::stale::<T>(values.len());
        s.unique_mut::<T>().expect("a fresh buffer is unique")[..values.len()].copy_from_slice(values);
        s
    }

    fn buffer(&self) -> &Arc<Buffer> {
        static NONE: std::sync::LazyLock<Arc<Buffer>> =
            std::sync::LazyLock::new(|| Arc::new(Buffer { lines: Vec::new() }));
        self.buffer.as_ref().unwrap_or_else(|| &NONE)
    }

    /// The whole buffer as elements of `T`; at least as long as was asked for.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(&self.buffer().lines)
    }

    /// The whole buffer as elements of `T`, if no other tensor shares it.
    pub(crate) fn unique_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        let buffer = Arc::get_mut(self.buffer.as_mut()?)?;
        Some(bytemuck::cast_slice_mut(&mut buffer.lines))
    }

    /// Whether no other tensor shares this buffer.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(self.buffer()) == 1
    }

    /// Whether both share one buffer.
    pub fn shares_with(&self, other: &Storage) -> bool {
        Arc::ptr_eq(self.buffer(), other.buffer())
    }

    /// Bytes of memory held, which may exceed what the elements need.
    pub fn bytes(&self) -> usize {
        self.buffer().lines.len() * size_of::<Line>()
    }
}

impl Clone for Storage {
    fn clone(&self) -> Storage {
        Storage { buffer: self.buffer.clone() }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(mut buffer) = self.buffer.take() else { return };
        if Arc::get_mut(&mut buffer).is_some() {
            #[cfg(debug_assertions)]
            LIVE_BUFFERS.fetch_sub(1, Ordering::SeqCst);
            pool::give(buffer);
            return;
        }
        // Two last handles dropped at once both see the other: then the one that comes last frees, past the pool.
        if Arc::into_inner(buffer).is_some() {
            #[cfg(debug_assertions)]
            LIVE_BUFFERS.fetch_sub(1, Ordering::SeqCst);
        }
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
        classes: Vec<Vec<Arc<Buffer>>>,
        bytes: usize,
    }

    impl Free {
        const fn new() -> Free {
            Free { classes: Vec::new(), bytes: 0 }
        }

        fn take(&mut self, class: usize) -> Option<Arc<Buffer>> {
            let buffer = self.classes.get_mut(class)?.pop()?;
            self.bytes -= buffer.lines.len() * size_of::<Line>();
            Some(buffer)
        }

        /// Keeps the buffer, or returns it where the limit is reached.
        fn give(&mut self, class: usize, buffer: Arc<Buffer>, limit: usize) -> Option<Arc<Buffer>> {
            let bytes = buffer.lines.len() * size_of::<Line>();
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

    pub(super) fn take(lines: usize) -> Arc<Buffer> {
        let (class, lines) = class(lines);
        let found = if lines <= SMALL {
            OWN.try_with(|own| own.borrow_mut().take(class)).ok().flatten()
        } else {
            shared().take(class)
        };
        found.unwrap_or_else(|| {
            SYSTEM_BUFFERS.fetch_add(1, Ordering::Relaxed);
            // Zeroed by the system, page by page at first touch.
            match bytemuck::try_zeroed_vec(lines) {
                Ok(lines) => Arc::new(Buffer { lines }),
                Err(()) => resume_unwind(Box::new(OutOfMemory { bytes: lines.saturating_mul(size_of::<Line>()) })),
            }
        })
    }

    pub(super) fn give(buffer: Arc<Buffer>) {
        let lines = buffer.lines.len();
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
