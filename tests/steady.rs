//! What a program takes from the system while it runs on: a training loop in its steady state, and the pool of buffers.
//!
//! The counters are of the whole process, so all checks stand in one test, one after the other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;
use std::thread;

use wengert::prelude::*;
use wengert::storage::{release_pool, set_pool_limit, system_buffers};

/// The system's allocator, counting calls and bytes.
struct Counting;

thread_local! {
    // Of each thread: the one that runs tests allocates, too.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}
static BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(change: isize) {
    CALLS.set(CALLS.get() + 1);
    BYTES.fetch_add(change, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

#[test]
fn what_is_taken_from_the_system() {
    for threads in [1, 2] {
        with_threads(threads, || {
            steady("MLP", threads, mlp());
            steady("conv net", threads, conv_net());
            steady("transformer", threads, transformer());
        });
    }
    the_pool_keeps_its_limit();
    buffers_that_change_threads();
    small_buffers_of_threads_that_end();
}

/// Trains for some steps: from the third on no buffer may come from the system, and each step must make as many
/// allocations as the one before. A helper makes scratch memory of its own when it first comes in time, which may be later.
#[track_caller]
fn steady(name: &str, threads: usize, mut step: impl FnMut()) {
    step();
    step();
    let mut allocations = Vec::with_capacity(8);
    let buffers = system_buffers();
    for _ in 0..8 {
        let before = CALLS.get();
        step();
        allocations.push(CALLS.get() - before);
    }
    let buffers = system_buffers() - buffers;
    let scratch = if threads == 1 { 0 } else { 4 };
    assert!(buffers <= scratch, "{name}: {buffers} buffers come from the system in 8 steps of a steady loop");
    println!("{name}, {threads} threads: {allocations:?} allocations a step");
    if threads == 1 {
        assert!(allocations.iter().all(|&n| n == allocations[0]), "{name}: allocations of each step: {allocations:?}");
    }
}

fn noise(shape: &[usize]) -> Tensor {
    Tensor::rand(shape) - 0.5
}

/// A training step as users write it: the loss is in scope while the optimizer steps.
fn training(mut optimizer: impl Optimizer, loss: impl Fn() -> Tensor) -> impl FnMut() {
    move || {
        let loss = loss();
        optimizer.step(&loss.backward());
        assert!(loss.item().is_finite());
    }
}

fn labels(n: usize) -> Tensor<Int> {
    Tensor::<Int>::from_vec((0..n as i64).map(|i| i % 3).collect(), [n])
}

fn mlp() -> impl FnMut() {
    let net = Sequential::new()
        .push(Linear::new(20, 300))
        .push(ReLU::new())
        .push(Dropout::new(0.1))
        .push(Linear::new(300, 3));
    let (x, labels) = (noise(&[100, 20]), labels(100));
    training(Adam::new(net.parameters()), move || net.forward(&x).cross_entropy(&labels))
}

fn conv_net() -> impl FnMut() {
    let net = Sequential::new()
        .push(Conv2d::new(1, 8, 3).padding(1))
        .push(BatchNorm2d::new(8))
        .push(ReLU::new())
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(8, 8, 3).stride(2))
        .push(Flatten::new())
        .push(Linear::new(8 * 6 * 6, 3));
    let (x, labels) = (noise(&[16, 1, 28, 28]), labels(16));
    training(Sgd::new(net.parameters()).lr(0.01).momentum(0.9), move || net.forward(&x).cross_entropy(&labels))
}

fn transformer() -> impl FnMut() {
    let (tokens, layer, head) = (Embedding::new(11, 32), TransformerEncoderLayer::new(32, 4), Linear::new(32, 11));
    let parameters = [tokens.parameters(), layer.parameters(), head.parameters()].concat();
    let ids = Tensor::<Int>::from_vec((0..8 * 40).map(|i| i * i % 11).collect(), [8, 40]);
    let targets = ids.reshape([8 * 40]);
    training(AdamW::new(parameters), move || {
        let x = layer.forward(&tokens.forward(&ids));
        head.forward(&x).reshape([8 * 40, 11]).cross_entropy(&targets)
    })
}

/// The bytes that `f` leaves taken.
fn left_by(f: impl FnOnce()) -> isize {
    let before = BYTES.load(Ordering::Relaxed);
    f();
    BYTES.load(Ordering::Relaxed) - before
}

/// A tensor of so many MiB.
fn large(mib: usize) -> Tensor {
    Tensor::zeros([mib * MIB / 4])
}

fn the_pool_keeps_its_limit() {
    release_pool();
    set_pool_limit(8 * MIB);
    let slack = MIB as isize;
    let kept = left_by(|| drop((0..32).map(|_| large(1)).collect::<Vec<_>>()));
    assert!(kept <= 8 * MIB as isize + slack, "{kept} bytes wait in a pool of 8 MiB");
    assert!(kept >= 7 * MIB as isize, "{kept} bytes wait, of 32 MiB that were dropped");

    let buffers = system_buffers();
    drop((0..7).map(|_| large(1)).collect::<Vec<_>>());
    assert_eq!(system_buffers(), buffers, "what waits is taken again");

    let given_back = -left_by(release_pool);
    assert!(given_back >= 7 * MIB as isize, "{given_back} bytes were given back on request");

    // A lower limit takes effect at once, also on what waits already.
    drop((0..8).map(|_| large(1)).collect::<Vec<_>>());
    let given_back = -left_by(|| set_pool_limit(2 * MIB));
    assert!(given_back >= 5 * MIB as isize, "{given_back} bytes were given back for a lower limit");
}

/// Buffers are made on some threads and dropped on others, all at once, and again and again taken from one pool.
fn buffers_that_change_threads() {
    set_pool_limit(16 * MIB);
    let kept = left_by(|| {
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel::<Tensor>(4);
            for maker in 0..4 {
                let send = send.clone();
                scope.spawn(move || {
                    for i in 0..200 {
                        // Small ones and large ones, in turn.
                        let n = if i % 2 == 0 { 100 + maker } else { 50_000 + 1000 * i };
                        send.send(Tensor::full([n], i as f64)).expect("someone receives");
                    }
                });
            }
            drop(send);
            scope.spawn(move || {
                for (i, x) in receive.into_iter().enumerate() {
                    let all = x.to_vec::<f32>();
                    assert!(all.iter().all(|&v| v == all[0]), "buffer {i} was written by two threads");
                }
            });
        });
    });
    assert!(kept <= 17 * MIB as isize, "{kept} bytes wait in a pool of 16 MiB after many threads");
    let left = left_by(release_pool) + kept;
    assert!(left <= MIB as isize, "{left} bytes are left after all was given back");
}

/// What waits in a thread is given back when it ends.
fn small_buffers_of_threads_that_end() {
    let left = left_by(|| {
        for _ in 0..50 {
            thread::spawn(|| drop((0..100).map(|_| Tensor::zeros([10_000])).collect::<Vec<_>>()))
                .join()
                .expect("no panic");
        }
    });
    assert!(left <= MIB as isize, "{left} bytes are left of threads that ended");
}
