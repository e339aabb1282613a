//! Sizes, axes and counts of 0, negative ones, and ones that overflow: an error or a right result, never an abort, an
//! arithmetic panic, a hang or a large allocation.
//!
//! Every operation of the registry is tried through its attributes, so a new one needs nothing here. Methods that compute
//! with what they are given before they call an operation, and layers, stand in lists: add yours.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert::dispatch::{Arg, Attrs, Value, apply};
use wengert::prelude::*;
use wengert::registry::{Gen, ops};

/// Refuses to allocate much, as a system without the memory does.
struct Limited;

/// More bytes than anything here needs.
const MOST: usize = 1 << 28;

thread_local! {
    /// What is being tried: an abort cannot say it otherwise.
    static TRYING: Cell<&'static str> = const { Cell::new("") };
}

fn refused(bytes: usize) -> bool {
    if bytes <= MOST {
        return false;
    }
    let trying = TRYING.try_with(Cell::get).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "`{trying}` asks for {bytes} bytes");
    true
}

// SAFETY: what is not refused is passed on to the system's allocator as it came, and a refusal is a null pointer.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match refused(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller keeps the contract, which is the same.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match refused(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: as above.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match refused(size) {
            true => std::ptr::null_mut(),
            // SAFETY: as above.
            false => unsafe { System.realloc(at, layout, size) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static LIMITED: Limited = Limited;

const EXTREMES: [i64; 9] = [0, 1, -1, 1 << 31, 1 << 45, 1 << 62, i64::MAX, -i64::MAX, i64::MIN];

/// What a panic must not say: then a check is missing, and something else found out.
const ACCIDENTS: [&str; 9] = [
    "attempt to",
    "with overflow",
    "out of bounds",
    "out of range for slice",
    "capacity",
    "unwrap()",
    "assertion",
    "internal error",
    "unreachable",
];

/// The text of the panic in `f`, if it does.
fn panic_in(trying: &'static str, f: impl FnOnce()) -> Option<String> {
    TRYING.set(trying);
    let panic = catch_unwind(AssertUnwindSafe(f)).err()?;
    let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
    Some(text.unwrap_or_else(|| "a panic without a text".to_string()))
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}\n{} failures", failures.join("\n"), failures.len());
}

/// The attributes with one number replaced, in every way.
fn variants(attrs: &Attrs) -> Vec<Attrs> {
    let mut all = Vec::new();
    for (changed, value) in attrs.iter() {
        let mut put = |new: Value| {
            let attrs = attrs.iter().map(|(name, v)| (name, if name == changed { new.clone() } else { v.clone() }));
            all.push(attrs.fold(Attrs::NONE, |all, (name, v)| all.with(name, v)));
        };
        match value {
            Value::Int(_) => EXTREMES.iter().for_each(|&v| put(Value::Int(v))),
            Value::Ints(v) => {
                put(Value::Ints(Default::default()));
                put(Value::Ints([&v[..], &[1]].concat().into()));
                for i in 0..v.len() {
                    for extreme in EXTREMES {
                        let mut v = v.clone();
                        v[i] = extreme;
                        put(Value::Ints(v));
                    }
                }
                if v.len() > 1 {
                    EXTREMES.iter().for_each(|&e| put(Value::Ints(vec![e; v.len()].into())));
                }
            }
            _ => {}
        }
    }
    all
}

#[test]
fn attributes_of_every_operation() {
    let mut failures = Vec::new();
    for op in ops() {
        let info = (op.info)();
        // Many sizes in one call, and several kinds of calls.
        for seed in 0..6 {
            for sample in (info.samples)(&mut Gen::new(seed, info.precisions[0])) {
                for attrs in variants(&sample.attrs) {
                    let call = || {
                        let mut args: Vec<Arg<'_>> = sample.inputs.iter().map(Arg::Ref).collect();
                        let _ = apply(op, attrs.clone(), &mut args);
                    };
                    if let Some(text) = panic_in(op.name, call) {
                        let shapes: Vec<String> = sample.inputs.iter().map(|x| x.shape().to_string()).collect();
                        failures.push(format!("{} {{{attrs}}} of {}: {text}", op.name, shapes.join(", ")));
                    }
                }
            }
        }
    }
    report(&failures);
}

/// Tries calls with each extreme number. A panic is an error's, so it must not be an accident.
macro_rules! tried {
    (|$n:ident: $t:ty| { $($call:expr;)* }) => {{
        let mut failures = Vec::new();
        for extreme in EXTREMES {
            #[allow(irrefutable_let_patterns)] // every number is an `isize`
            let Ok($n) = <$t>::try_from(extreme) else { continue };
            $(
                let text = panic_in(stringify!($call), || {
                    let _ = $call;
                });
                if let Some(text) = text.filter(|text| ACCIDENTS.iter().any(|accident| text.contains(accident))) {
                    failures.push(format!("{} with {extreme}: {text}", stringify!($call)));
                }
            )*
        }
        report(&failures);
    }};
}

fn x() -> Tensor {
    Tensor::from_vec((0..24).map(|i| i as f32).collect(), [2, 3, 4])
}

#[test]
fn sizes_of_new_tensors() {
    tried!(|n: usize| {
        Tensor::zeros([n]);
        Tensor::ones([n, 2]);
        Tensor::full([n, n], 1.0);
        Int::full([0, n], 1);
        Tensor::rand([n]);
        Tensor::randn([2, n]);
        Tensor::eye(n);
        Tensor::linspace(0.0, 1.0, n);
        Tensor::from_vec(vec![1.0_f32], [n]);
        Tensor::from_vec(vec![1.0_f32; 4], [n, n]);
    });
    tried!(|n: isize| {
        Tensor::zeros([n]);
        Tensor::zeros([2, n]);
        Int::arange(0, n as i64);
        Int::arange(n as i64, 3);
        Tensor::arange(0.0, n as f64, 1.0);
        Tensor::arange(0.0, 1.0, 1.0 / n as f64);
    });
}

#[test]
fn shapes_and_axes() {
    tried!(|n: isize| {
        x().reshape([n]);
        x().reshape([n, -1]);
        x().reshape([2, n]);
        x().expand([n, 2, 3, 4]);
        x().expand([2, 3, n]);
        x().permute([n, 0, 1]);
        x().transpose(n, 0);
        x().unsqueeze(n);
        x().squeeze(n);
        x().size(n);
        x().flatten(n..);
        x().flatten(..n);
        x().flatten(0..n);
        x().flatten(n..=1);
        x().flip(n);
        x().flip([0, n]);
        x().sum_axis(n);
        x().sum_axis(n..);
        x().sum_keepdim([n, 0]);
        x().max_axis(n);
        x().mean_axis(..n);
        x().argmax_axis(n);
        x().softmax(n);
        x().cumsum(n);
        x().sort(n, false);
        x().i(n);
        x().i((n..).by(n));
        x().i(0..n);
        x().i(n..=n);
        x().narrow(n, 0, 1);
        x().pad(&[(n, n), (0, 0), (0, 0)], 0.0);
        x().pad(&[(0, 0), (0, n), (-1, n)], 0.0);
        Tensor::cat(&[x(), x()], n);
        Tensor::stack(&[x(), x()], n);
        x().index_select(n, &tensor![0]);
        x().index_select(0, &tensor![n as i64]);
        x().tensordot(&x(), [n], [0]);
        x().tensordot(&x(), n.., n..);
    });
    tried!(|n: usize| {
        x().narrow(0, n, 1);
        x().narrow(0, 0, n);
        x().narrow(0, n, n);
        x().max_pool2d(n);
        x().unsqueeze(0).max_pool2d(n);
    });
}

#[test]
fn elementwise_results_that_no_memory_holds() {
    // Two views without memory of their own, and a result that would need it.
    tried!(|n: usize| {
        tensor![1.0].expand([n]) + 1.0;
        tensor![1.0].expand([n, 1]) + tensor![1.0].expand([1, n]);
        tensor![[1.0]].expand([n, 1]).matmul(&tensor![[1.0]].expand([1, n]));
        tensor![1.0].expand([n]).outer(&tensor![1.0].expand([n]));
        tensor![1.0].expand([n]).contiguous();
    });
}

#[test]
fn convolutions() {
    let image = || Tensor::ones([1, 2, 5, 5]);
    let weight = || Tensor::ones([2, 2, 3, 3]);
    tried!(|n: usize| {
        image().conv2d(&weight(), None, Conv2dOptions::new().stride(n));
        image().conv2d(&weight(), None, Conv2dOptions::new().padding(n));
        image().conv2d(&weight(), None, Conv2dOptions::new().dilation(n));
        image().conv2d(&weight(), None, Conv2dOptions::new().groups(n));
    });
}

#[test]
fn layers() {
    tried!(|n: usize| {
        Linear::new(n, 2);
        Linear::new(2, n);
        Linear::new(n, n);
        Bilinear::new(n, n, 2);
        Conv2d::new(n, 2, 3);
        Conv2d::new(2, n, 3);
        Conv2d::new(1, 1, n);
        Embedding::new(n, 2);
        Embedding::new(2, n);
        LayerNorm::new([n]);
        LayerNorm::new([2, n]);
        RMSNorm::new([n]);
        BatchNorm2d::new(n);
        GroupNorm::new(n, 4);
        GroupNorm::new(2, n);
        MultiHeadAttention::new(n, 2);
        MultiHeadAttention::new(8, n);
        LSTM::new(n, 2);
        LSTM::new(2, n);
        GRU::new(2, n);
        LSTM::new(2, 2).layers(n);
        RNN::new(n, n);
        EmbeddingBag::new(n, n);
        Conv1d::new(n, n, n);
        Conv3d::new(1, n, 2);
        ConvTranspose1d::new(n, 1, n);
        ConvTranspose2d::new(2, n, 3);
        Conv2d::new(4, 4, 3).groups(n);
        BatchNorm1d::new(n);
        InstanceNorm2d::new(n);
        TransformerEncoderLayer::new(n, 2);
        TransformerEncoderLayer::new(8, n);
        TransformerEncoderLayer::new(8, 2).feedforward(n);
        TransformerDecoderLayer::new(n, n);
        Batches::new(&x(), &tensor![0, 1], n);
    });
}

#[test]
fn windows_of_layers() {
    tried!(|n: usize| {
        MaxPool1d::new(n).forward(&x());
        MaxPool2d::new(2).stride(n).forward(&x());
        AvgPool2d::new(2).padding(n).forward(&x());
        AdaptiveAvgPool1d::new(n).forward(&x());
        AdaptiveMaxPool2d::new(n).forward(&x());
        Conv1d::new(3, 1, 2).stride(n).forward(&x());
        Conv1d::new(3, 1, 2).padding(n).forward(&x());
        Conv1d::new(3, 1, 2).dilation(n).forward(&x());
        ConvTranspose1d::new(3, 1, 2).stride(n).forward(&x());
        ConvTranspose1d::new(3, 1, 2).output_padding(n).forward(&x());
    });
}

#[test]
fn schedules_and_optimizers() {
    let rates = |s: &dyn Schedule| [0, 1, 1000, usize::MAX].map(|step| s.lr(step));
    let net = Linear::new(1, 1);
    tried!(|n: usize| {
        rates(&schedule::Staircase::new(0.1, n, 0.5));
        rates(&schedule::MultiStep::new(0.1, [n, 3], 0.5));
        rates(&schedule::Linear::new(0.1, 0.0, n));
        rates(&schedule::Polynomial::new(0.1, 0.0, n, 2.0));
        rates(&schedule::Cosine::new(0.1, n));
        rates(&schedule::CosineRestarts::new(0.1, n));
        rates(&schedule::CosineRestarts::new(0.1, 3).growth(n));
        rates(&schedule::OneCycle::new(0.1, n));
        rates(&schedule::Cyclic::new(0.1, 1.0, n));
        rates(&schedule::Cyclic::new(0.1, 1.0, 3).down(n));
        rates(&schedule::Constant(0.1).warm_up(n));
        Accumulator::new(n);
        Lbfgs::new(net.parameters()).history(n).max_iterations(n).max_evaluations(n);
    });
}
