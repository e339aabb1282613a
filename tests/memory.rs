//! What the tape holds, and that it lets go of it.
//!
//! The counters are of the whole process, so all checks stand in one test, one after the other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use wengert::dispatch::{CustomOp, apply_custom};
use wengert::storage::{live_buffers, release_pool, system_buffers};
use wengert::tape::{Vjp, live_nodes};
use wengert::{
    Adam, AnyTensor, Backward, BatchNorm1d, Differentiate, Dropout, Layer as _, Linear, Module, Optimizer, Result,
    Sequential, Tanh, Tensor, scalar, with_threads,
};

/// The system's allocator, counting bytes.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(change: isize) {
    let now = BYTES.fetch_add(change, Ordering::Relaxed) + change;
    PEAK.fetch_max(now, Ordering::Relaxed);
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
        count(-(layout.size() as isize));
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

/// The bytes that `f` takes at its worst beyond what is taken when it starts.
fn peak(f: impl FnOnce()) -> usize {
    let before = BYTES.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    f();
    (PEAK.load(Ordering::Relaxed) - before) as usize
}

/// Runs `f` on a thread with a stack of 2 MiB.
fn on_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(f).expect("a thread").join().expect("no overflow, no panic");
}

#[track_caller]
fn nothing_is_left(after: &str) {
    assert_eq!((live_nodes(), live_buffers()), (0, 0), "nodes and buffers left after {after}");
}

/// Twice its input, holding tensors of its own as a user's closure would.
struct Doubling {
    captured: Vec<Tensor>,
}

impl CustomOp for Doubling {
    fn name(&self) -> &'static str {
        "doubling"
    }
    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        Ok(inputs[0].float()? * 2.0)
    }
    fn vjp(&self, cx: &mut Vjp<'_>) -> Result<()> {
        let g = cx.g();
        cx.give(0, g * 2.0);
        Ok(())
    }
}

/// Its input; its rule panics.
struct Panicking;

impl CustomOp for Panicking {
    fn name(&self) -> &'static str {
        "panicking"
    }
    fn forward(&self, inputs: &[AnyTensor]) -> Result<Tensor> {
        inputs[0].float()
    }
    fn vjp(&self, _: &mut Vjp<'_>) -> Result<()> {
        panic!("a rule that panics")
    }
}

#[test]
fn the_tape_holds_what_it_must_and_no_longer_than_it_must() {
    if !cfg!(debug_assertions) {
        return; // Nothing is counted then.
    }
    let one = scalar(1.0);
    assert_eq!(live_buffers(), 1, "no other test runs in this process");
    drop(one);
    million_operations();
    deep_custom_operations();
    deep_create_graph();
    every_way_to_end();
    ten_thousand_steps();
    one_weight_a_thousand_times();
    no_parameter_is_copied();
}

fn million_operations() {
    on_small_stack(|| {
        let x = scalar(1.0).requires_grad();
        let mut y = &x * 1.0;
        for _ in 1..1_000_000 {
            y *= 1.0;
        }
        assert_eq!(y.backward().of(&x).item(), 1.0);
        drop(y);
        // The same without a replay, with a rule that saves its output, and dropped from the input's end last.
        let mut y = x.tanh();
        for _ in 1..200_000 {
            y = y.tanh();
        }
        drop(x);
        drop(y);
        // Two ways to each node, and a handle in the middle that outlives the end.
        let x = scalar(1.0).requires_grad();
        let mut y = x.clone();
        let mut middle = None;
        for i in 0..200_000 {
            y = (&y + &y) * 0.5;
            if i == 100_000 {
                middle = Some(y.clone());
            }
        }
        assert_eq!(y.backward().of(&x).item(), 1.0);
        drop(y);
        drop(middle);
        // Two ways from each node to the very next.
        let mut y = scalar(0.0).requires_grad();
        for _ in 0..200_000 {
            y = &y + &y;
        }
        drop(y);
    });
    nothing_is_left("a chain of a million operations");
}

fn deep_custom_operations() {
    on_small_stack(|| {
        let x = scalar(1.0).requires_grad();
        // Each operation captures the result before, so that the graph hangs together through captures alone.
        let mut last = &x * 1.0;
        for _ in 0..100_000 {
            let op = Doubling { captured: vec![last.clone()] };
            assert!(op.captured[0].is_tracked());
            last = apply_custom(Arc::new(op), &[x.as_any()]).expect("a scalar");
        }
        assert_eq!(last.backward().of(&x).item(), 2.0);
        drop(last);
        // And through inputs and captures both.
        let mut last = &x * 1.0;
        for _ in 0..100_000 {
            let op = Arc::new(Doubling { captured: vec![last.clone(), x.clone()] });
            last = apply_custom(op, &[last.as_any()]).expect("a scalar") * 0.5;
        }
        assert_eq!(last.backward().of(&x).item(), 1.0);
    });
    nothing_is_left("a deep chain of custom operations");
}

fn deep_create_graph() {
    on_small_stack(|| {
        let x = scalar(0.5).requires_grad();
        let mut y = x.clone();
        for _ in 0..20_000 {
            y = &y * 1.0 + &x * &x * 1e-6;
        }
        let first = y.backward_with(Backward::new().create_graph());
        let slope = first.of(&x).clone();
        assert!((slope.item() - 1.02).abs() < 1e-2);
        let second = slope.backward();
        assert!((second.of(&x).item() - 0.04).abs() < 1e-2);
    });
    nothing_is_left("create_graph on a deep chain");
}

fn every_way_to_end() {
    let build = || {
        let x = Tensor::ones([8, 8]).requires_grad();
        let y = x.matmul(&x.t()).sin().tanh();
        let z = (&y * &y).sum();
        (x, y, z)
    };

    let (x, y, z) = build();
    assert_eq!(live_buffers(), 4, "x, y, z, and the product that the rule of the sine saved");
    let grads = z.backward();
    assert_eq!(grads.of(&x).elements(), 64);
    assert_eq!(live_buffers(), 4, "x and its gradient, y, z: backward frees what the tape saved");
    drop((x, y, z, grads));
    nothing_is_left("backward");

    drop(build());
    nothing_is_left("no backward");

    let (x, y, z) = build();
    drop((x, y));
    let grads = z.backward_with(Backward::new().create_graph());
    drop(grads);
    drop(z);
    nothing_is_left("create_graph");

    let (x, _, z) = build();
    let grads = z.backward_with(Backward::new().create_graph());
    let slope = grads.of(&x).clone();
    drop((z, grads));
    let second = slope.square().sum().backward_with(Backward::new().create_graph());
    let curvature = second.of(&x).clone();
    drop((second, slope));
    curvature.sum().backward();
    drop((x, curvature));
    nothing_is_left("three orders of derivatives");

    let (x, y, z) = build();
    z.backward_with(Backward::new().retain_graph());
    drop(y);
    drop((x, z));
    nothing_is_left("an early drop of a retained graph");

    let (x, y, z) = build();
    let bad = apply_custom(Arc::new(Panicking), &[y.as_any()]).expect("it passes its input on");
    let loss = (&bad * &y).sum() + &z;
    let caught = catch_unwind(AssertUnwindSafe(|| loss.backward()));
    assert!(caught.is_err(), "the rule panics");
    drop((x, y, z, bad, loss));
    nothing_is_left("a panic inside a rule");

    let (x, y, z) = build();
    let error = y.try_backward().expect_err("64 elements are no loss");
    drop((x, y, z));
    drop(error);
    nothing_is_left("an error");

    // A thread ends with graphs in a thread-local, whose destructor runs when the trash queue may be gone already.
    std::thread_local! {
        static KEPT: std::cell::RefCell<Vec<Tensor>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let spawned = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let x = scalar(1.0).requires_grad();
        let mut y = x.clone();
        for _ in 0..100_000 {
            y *= 1.0;
        }
        KEPT.with(|kept| kept.borrow_mut().push(y));
    });
    spawned.expect("a thread").join().expect("no overflow, no panic");
    nothing_is_left("a thread's end");

    // Made on one thread, dropped on another.
    let (x, y, z) = std::thread::spawn(build).join().expect("no panic");
    z.backward();
    drop((x, y, z));
    nothing_is_left("a graph that changed threads");
}

/// A network, its optimizer and its data.
struct Training {
    net: Sequential,
    optimizer: Adam,
    x: Tensor,
    target: Tensor,
}

impl Training {
    fn new() -> Training {
        let net = Sequential::new()
            .push(Linear::new(6, 8))
            .push(BatchNorm1d::new(8))
            .push(Tanh::new())
            .push(Dropout::new(0.01))
            .push(Linear::new(8, 1));
        let optimizer = Adam::new(net.parameters()).lr(3e-3);
        Training { net, optimizer, x: noise(&[16, 6]), target: noise(&[16, 1]) }
    }

    /// A step as users write it: the loss is in scope while the optimizer steps.
    fn step(&mut self) -> f64 {
        let loss = self.net.forward(&self.x).mse_loss(&self.target);
        self.optimizer.step(&loss.backward());
        loss.item()
    }

    /// Where the parameters' elements lie, as numbers, so that nothing here shares the buffers.
    fn addresses(&self) -> Vec<usize> {
        let parameters = self.net.parameters().into_iter();
        let address = |p: wengert::Param| {
            let mut address = 0;
            p.update(|t| t.update::<f32>(|w| address = w.as_ptr() as usize));
            address
        };
        parameters.map(address).collect()
    }
}

/// Numbers that look random, the same on every machine.
fn noise(shape: &[usize]) -> Tensor {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let values = (0..shape.iter().product()).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    });
    Tensor::from_vec(values.collect(), shape)
}

fn ten_thousand_steps() {
    with_threads(1, || {
        let mut training = Training::new();
        let first = training.step();
        (0..50).for_each(|_| {
            training.step();
        });
        let steady = (live_nodes(), live_buffers(), system_buffers(), BYTES.load(Ordering::Relaxed));
        let mut last = 0.0;
        for _ in 0..10_000 {
            last = training.step();
        }
        assert!(last < 0.2 * first, "it learns: {first} to {last}");
        assert_eq!((live_nodes(), live_buffers()), (steady.0, steady.1), "nodes and buffers after ten thousand steps");
        assert_eq!(system_buffers(), steady.2, "buffers asked of the system in ten thousand steps");
        let grown = BYTES.load(Ordering::Relaxed) - steady.3;
        assert!(grown < 4096, "{grown} bytes more after ten thousand steps");
    });
    nothing_is_left("ten thousand steps");
}

fn one_weight_a_thousand_times() {
    const N: usize = 256;
    const GRADIENT: usize = N * N * 4;
    let run = || {
        let w = (noise(&[N, N]) * 0.05).requires_grad();
        let mut h = noise(&[1, N]);
        for _ in 0..1000 {
            h = h.matmul(&w).tanh();
        }
        let loss = h.sum();
        release_pool();
        let taken = peak(|| {
            let grads = loss.backward();
            assert!(grads.of(&w).to_vec::<f32>().iter().all(|g| g.is_finite()));
        });
        assert!(taken >= GRADIENT, "the measure works: {taken} bytes");
        assert!(taken < 8 * GRADIENT, "a replay took {taken} bytes, and one gradient has {GRADIENT}");
    };
    with_threads(1, run);
    nothing_is_left("a recurrent net");
}

fn no_parameter_is_copied() {
    let mut training = Training::new();
    training.step();
    let before = training.addresses();
    for _ in 0..50 {
        training.step();
    }
    assert_eq!(training.addresses(), before, "a steady training loop copies no parameter");
    // The check can fail: a value that someone keeps forces a copy.
    let kept = training.net.parameters()[0].value();
    training.step();
    assert_ne!(training.addresses()[0], before[0]);
    assert_eq!(training.addresses()[1..], before[1..]);
    drop((training, kept));
    nothing_is_left("a training loop");
}
