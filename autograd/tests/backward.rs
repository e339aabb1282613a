//! Backward passes: what they give, what they keep, and what they say where there is no gradient.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use wengert_autograd::{Backward, Differentiate, Gradients, Variable};
use wengert_tensor::tape::{Edge, Leaf};
use wengert_tensor::{DType, ErrorKind, Tensor, is_grad_enabled, no_grad, scalar, tensor};

fn named(x: &Tensor, name: &str) -> Tensor {
    let x = x.requires_grad();
    if let Edge::Leaf(leaf) = x.edge() {
        leaf.set_name(name);
    }
    x
}

/// `file:line:`, as messages have it.
fn here(line: u32) -> String {
    format!("{}:{line}:", file!())
}

/// Why `grads` has nothing for `x`, without the help, and the help.
fn reason(grads: &Gradients, x: &Tensor) -> (String, String) {
    let e = grads.try_of(x).unwrap_err();
    assert_eq!((e.kind(), e.op()), (ErrorKind::Gradient, Some("gradient")));
    let text = e.to_string();
    let help = text.split("help: ").nth(1).unwrap_or("").lines().next().unwrap_or("").to_string();
    (e.message().to_string(), help)
}

// What a backward pass gives.

#[test]
fn gradients_add_up_over_uses_and_broadcasts() {
    let x = tensor![1.0, 2.0, 3.0].requires_grad();
    let b = scalar(2.0).requires_grad();
    let y = (&x * &b + &x * &x + &b).sum();
    let grads = y.backward();
    assert_eq!(grads.of(&x).to_vec::<f32>(), [4.0, 6.0, 8.0]);
    assert_eq!(grads.of(&b).shape().to_string(), "[]");
    assert_eq!(grads.of(&b).item(), 9.0);
}

#[test]
fn a_variable_is_its_own_loss() {
    let x = scalar(3.0).requires_grad();
    assert_eq!(x.backward().of(&x).item(), 1.0);
}

#[test]
fn cotangents_start_a_pass() {
    let x = tensor![1.0, 2.0].requires_grad();
    let y = &x * &x;
    let e = y.try_backward().unwrap_err();
    assert_eq!(e.message(), "needs a loss of one element, this tensor has shape [2]");
    let grads = y.backward_with(Backward::new().cotangent(&tensor![10.0, 1.0]));
    assert_eq!(grads.of(&x).to_vec::<f32>(), [20.0, 4.0]);
    let y = &x * &x;
    let e = y.try_backward_with(Backward::new().cotangent(&tensor![1.0])).unwrap_err();
    assert_eq!(e.message(), "the cotangent is [1] F32, and the tensor [2] F32");
    let wide = tensor![1.0, 1.0].to_dtype(DType::F64);
    let e = y.try_backward_with(Backward::new().cotangent(&wide)).unwrap_err();
    assert_eq!(e.message(), "the cotangent is [2] F64, and the tensor [2] F32");
    // A refused cotangent costs nothing: the graph is still there.
    y.sum().backward();
}

#[test]
fn a_graph_is_freed_unless_retained() {
    let x = tensor![2.0].requires_grad();
    let (y, line) = ((&x * &x).sum(), line!());
    for _ in 0..3 {
        assert_eq!(y.backward_with(Backward::new().retain_graph()).of(&x).item(), 4.0);
    }
    y.backward();
    let e = y.try_backward().unwrap_err();
    assert_eq!(e.message().split(" from ").next(), Some("the graph was freed by an earlier backward: `sum`"));
    assert!(e.message().contains(&here(line)), "{e}");
    assert!(e.to_string().contains("Backward::new().retain_graph()"), "{e}");
    assert_eq!(e.op(), Some("backward"));
}

#[test]
fn create_graph_gives_gradients_that_can_be_differentiated() {
    let x = scalar(2.0).requires_grad();
    let y = &x * &x * &x;
    let first = y.backward_with(Backward::new().create_graph());
    let second = first.of(&x).backward_with(Backward::new().create_graph());
    let third = second.of(&x).backward();
    assert_eq!((first.of(&x).item(), second.of(&x).item(), third.of(&x).item()), (12.0, 12.0, 6.0));
}

#[test]
fn wrt_computes_what_was_asked_for_and_leaves_the_rest_alone() {
    let (a, b) = (tensor![1.0].requires_grad(), tensor![2.0].requires_grad());
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let expensive = a.exp().hook(move |g| {
        *count.lock().unwrap() += 1;
        g.clone()
    });
    let y = (&expensive * &b).sum();
    let grads = y.backward_with(Backward::new().retain_graph().wrt(&[&b]));
    assert_eq!(grads.len(), 1);
    assert_eq!(*seen.lock().unwrap(), 0, "the way to `a` was replayed for nothing");
    let (why, help) = reason(&grads, &a);
    assert!(why.ends_with("it was not asked for") && help.contains("wrt()"), "{why} {help}");
    // Not replayed, not freed.
    y.backward();
    assert_eq!(*seen.lock().unwrap(), 1);
    let e = y.try_backward_with(Backward::new().wrt(&[&tensor![1.0]])).unwrap_err();
    assert_eq!(e.message(), "this tensor is no variable");
}

#[test]
fn wrt_tells_hundreds_of_leaves_apart() {
    // More leaves than a mark has bits: each leaf's own branch, and no other, is replayed.
    let count = Arc::new(Mutex::new(0));
    let leaves: Vec<Tensor> = (0..200).map(|i| scalar(i as f64).requires_grad()).collect();
    let branch = |x: &Tensor| {
        let count = count.clone();
        x.sin().hook(move |g| {
            *count.lock().unwrap() += 1;
            g.clone()
        })
    };
    let y = leaves.iter().map(branch).reduce(|a, b| a + b).unwrap();
    let grads = y.backward_with(Backward::new().wrt(&[&leaves[7]]));
    assert_eq!((grads.len(), *count.lock().unwrap()), (1, 1));
    assert!((grads.of(&leaves[7]).item() - 7f64.cos()).abs() < 1e-6);
}

#[test]
fn intermediate_results_are_watched_on_request() {
    let w = tensor![3.0].requires_grad();
    let (h, line) = (w.exp().log(), line!());
    let watched = h.watch();
    let grads = (&watched * &watched).sum().backward();
    assert_eq!(grads.of(&watched).item(), 6.0);
    assert!((grads.of(&w).item() - 6.0).abs() < 1e-5);
    let (why, help) = reason(&grads, &h);
    assert!(why.starts_with("the tensor from `log` at ") && why.contains(&here(line)), "{why}");
    assert!(why.ends_with("is an intermediate result, whose gradient was not kept") && help.contains("watch()"));
    // Only up to the watched tensor.
    let watched = (&w * 2.0).watch();
    let grads = (&watched * &watched).sum().backward_with(Backward::new().wrt(&[&watched]));
    assert_eq!((grads.len(), grads.of(&watched).item()), (1, 12.0));
}

#[test]
fn hooks_change_what_flows_back() {
    let w = tensor![3.0].requires_grad();
    let doubled = w.hook(|g| g * 2.0).hook(|g| g + 1.0);
    assert_eq!(doubled.sum().backward().of(&w).item(), 4.0);
    let y = w.hook(|_| tensor![1.0, 2.0]).sum();
    let e = y.try_backward().unwrap_err();
    assert_eq!(e.message(), "a hook got a gradient [1] F32 and returned [2] F32");
    // Part of the graph: the second derivative goes through the hook.
    let y = (w.hook(|g| g * g) * &w).sum();
    let g = y.backward_with(Backward::new().create_graph());
    assert_eq!(g.of(&w).item(), 3.0 * 3.0 + 3.0);
    assert_eq!(g.of(&w).sum().backward().of(&w).item(), 2.0 * 3.0 + 1.0);
}

// What gradients can do.

#[test]
fn gradients_come_in_the_order_in_which_variables_were_made() {
    let names = ["first", "second", "third", "fourth"];
    let p: Vec<Tensor> = names.iter().map(|n| named(&scalar(1.0), n)).collect();
    let grads = (&p[3] * &p[0] + &p[2] * &p[1]).backward();
    let order: Vec<String> = grads.iter().map(|(leaf, _)| leaf.unwrap().name().unwrap().to_string()).collect();
    assert_eq!(order, names);
    assert!(format!("{grads:?}").starts_with("{first: [] F32, second: [] F32"), "{grads:?}");
}

#[test]
fn gradients_are_numbers_to_reckon_with() {
    let (a, b) = (tensor![1.0, 1.0].requires_grad(), scalar(1.0).requires_grad());
    let step = |x: f64| ((&a * x).sum() + &b * (2.0 * x)).backward();
    let mut sum = step(1.0);
    sum += step(2.0);
    let mean = sum.scaled(0.5);
    assert_eq!(mean.of(&a).to_vec::<f32>(), [1.5, 1.5]);
    assert_eq!(mean.of(&b).item(), 3.0);
    assert!((mean.global_norm() - (2.0 * 1.5f64 * 1.5 + 9.0).sqrt()).abs() < 1e-6);
    // Micro-batches may touch different variables.
    let mut sum = (&a * 3.0).sum().backward();
    sum += (&b * 4.0).backward();
    assert_eq!((sum.len(), sum.global_norm()), (2, (18.0f64 + 16.0).sqrt()));
    assert_eq!(Gradients::default().global_norm(), 0.0);
}

#[test]
fn the_norm_of_half_precision_gradients_does_not_overflow() {
    let a = tensor![1.0, 1.0].to_dtype(DType::F16).requires_grad();
    let grads = (&a * 30000.0).sum().backward();
    assert!((grads.global_norm() / (30000.0 * 2f64.sqrt()) - 1.0).abs() < 1e-3);
}

#[test]
fn each_leaf_is_reported_once_as_soon_as_its_gradient_is_complete() {
    let (early, late) = (named(&tensor![2.0], "early"), named(&tensor![3.0], "late"));
    let unused = tensor![1.0].requires_grad();
    let replayed = Arc::new(Mutex::new(Vec::new()));
    let log = replayed.clone();
    // `late` is used last going forward, so its gradient is complete first; `early` has uses at both ends.
    let h = early.exp().hook(move |g| {
        log.lock().unwrap().push("deep".to_string());
        g.clone()
    });
    let y = (&h * &late + &early + &unused.detach()).sum();
    let log = replayed.clone();
    let mut values = Vec::new();
    let grads = y.backward_with(Backward::new().on_ready(|leaf: &Arc<Leaf>, g| {
        log.lock().unwrap().push(leaf.name().unwrap().to_string());
        values.push(g.item());
    }));
    assert_eq!(*replayed.lock().unwrap(), ["late", "deep", "early"]);
    assert_eq!(values, [grads.of(&late).item(), grads.of(&early).item()]);
}

#[test]
fn a_leaf_whose_other_use_gets_no_gradient_is_still_reported() {
    let w = named(&tensor![2.0], "w");
    // A rule that gives its input nothing.
    struct Stop;
    impl wengert_tensor::dispatch::CustomOp for Stop {
        fn name(&self) -> &'static str {
            "stop"
        }
        fn forward(&self, inputs: &[wengert_tensor::AnyTensor]) -> wengert_tensor::Result<Tensor> {
            inputs[0].float()
        }
        fn vjp(&self, _: &mut wengert_tensor::tape::Vjp<'_>) -> wengert_tensor::Result<()> {
            Ok(())
        }
    }
    let stopped = wengert_tensor::dispatch::apply_custom(Arc::new(Stop), &[w.exp().as_any()]).unwrap();
    let mut seen = Vec::new();
    (stopped + &w).sum().backward_with(Backward::new().on_ready(|_, g| seen.push(g.item())));
    assert_eq!(seen, [1.0]);
}

// Where there is no gradient, and why.

#[test]
fn detached() {
    let w = named(&tensor![1.0, 2.0], "net.w");
    let other = tensor![1.0].requires_grad();
    let (y, line) = ((w.detach().exp() * &other).sum(), line!());
    let (why, help) = reason(&y.backward(), &w);
    assert_eq!(
        why.rsplit_once(':').unwrap().0,
        format!("no gradient reached parameter `net.w`: detached at {}", here(line)).trim_end_matches(':')
    );
    assert_eq!(help, "leave out that detach() where the gradient should flow");
    let e = w.detach().exp().sum().try_backward().unwrap_err();
    assert!(e.message().starts_with("this tensor is not connected to any variable: detached at"), "{e}");
}

#[test]
fn recorded_under_no_grad() {
    let w = named(&tensor![1.0, 2.0], "w");
    let other = tensor![1.0].requires_grad();
    let (h, line) = (no_grad(|| w.exp()), line!());
    let (why, help) = reason(&(h.sin() * &other).sum().backward(), &w);
    assert!(why.starts_with("no gradient reached parameter `w`: `exp` ran under no_grad at "), "{why}");
    assert!(why.contains(&here(line)) && help.contains("outside of no_grad"), "{why} {help}");
    let e = h.sum().try_backward().unwrap_err();
    assert!(e.message().starts_with("this tensor is not connected to any variable: `exp` ran under no_grad"), "{e}");
}

#[test]
fn went_through_an_operation_without_float_result() {
    let w = named(&tensor![1.0, 2.0], "w");
    let other = tensor![1.0].requires_grad();
    let (mask, line) = (w.gt(1.5), line!());
    let (why, help) = reason(&(mask.to_float() * &other).sum().backward(), &w);
    assert!(
        why.starts_with("no gradient reached parameter `w`: went through `gt`, which has no float result, at"),
        "{why}"
    );
    assert!(why.contains(&here(line)) && help.contains("no gradient flows through this operation"), "{why} {help}");
    let e = mask.to_float().sum().try_backward().unwrap_err();
    assert!(e.message().contains("went through `gt`"), "{e}");
}

#[test]
fn not_part_of_this_tape() {
    let (w, other, line) = (tensor![1.0].requires_grad(), tensor![1.0].requires_grad(), line!());
    let (why, help) = reason(&other.exp().sum().backward(), &w);
    let start = format!("no gradient for the variable from {}", here(line));
    assert!(why.starts_with(&start) && why.ends_with(": it is not part of this tape"), "{why}");
    assert!(help.contains("get()"), "{help}");
    // A copy that was made a variable anew is another variable.
    let again = w.requires_grad();
    let (why, _) = reason(&w.exp().sum().backward(), &again);
    assert!(why.ends_with("it is not part of this tape"), "{why}");
    let (why, help) = reason(&w.exp().sum().backward(), &tensor![1.0]);
    assert_eq!(why, "this tensor is no variable");
    assert!(help.contains("requires_grad()"), "{help}");
    let e = tensor![1.0].exp().try_backward().unwrap_err();
    assert_eq!(e.message(), "this tensor is not connected to any variable");
}

#[test]
fn computed_without_create_graph() {
    let w = named(&scalar(1.0), "w");
    let other = scalar(1.0).requires_grad();
    let (grads, line) = ((&w * &w).backward(), line!());
    let g = grads.of(&w);
    let e = (g * g).try_backward().unwrap_err();
    let starts =
        "this tensor is not connected to any variable: a gradient that `backward` computed without create_graph at ";
    assert!(e.message().starts_with(starts) && e.message().contains(&here(line)), "{e}");
    assert!(e.to_string().contains("Backward::new().create_graph()"), "{e}");
    let (why, help) = reason(&(g * &other).backward(), &w);
    assert!(why.starts_with("no gradient reached parameter `w`: a gradient that `backward` computed"), "{why}");
    assert!(help.contains("create_graph()"), "{help}");
}

#[test]
fn one_live_path_is_enough() {
    let w = named(&tensor![2.0], "w");
    let cut = w.detach() * 3.0 + w.gt(0.0).to_float() + no_grad(|| w.exp());
    let y = (cut * 0.0 + &w * 5.0).sum();
    assert_eq!(y.backward().of(&w).item(), 5.0);
}

#[test]
fn every_cut_on_the_way_is_named() {
    let w = named(&tensor![2.0], "w");
    let other = tensor![1.0].requires_grad();
    let y = (w.detach() * &other + no_grad(|| w.exp()) * &other).sum();
    let (why, _) = reason(&y.backward(), &w);
    assert!(
        why.contains("detached at") && why.contains("; `exp` ran under no_grad at") || why.contains("; detached"),
        "{why}"
    );
}

// Modes and threads.

#[test]
fn no_grad_ends_with_a_panic_and_is_per_thread() {
    let w = tensor![1.0].requires_grad();
    assert!(catch_unwind(AssertUnwindSafe(|| no_grad(|| panic!("inside")))).is_err());
    assert!(is_grad_enabled() && w.exp().is_tracked());
    no_grad(|| {
        assert!(!w.exp().is_tracked());
        std::thread::scope(|s| {
            s.spawn(|| assert!(w.exp().is_tracked(), "another thread records")).join().unwrap();
        });
        no_grad(|| ());
        assert!(!is_grad_enabled(), "the inner scope must not end the outer one");
    });
}

#[test]
fn threads_run_backward_over_shared_variables() {
    let w = Tensor::randn([16, 16]).requires_grad();
    let gradient = |i: usize| (w.matmul(&w).tanh() * (i as f64)).sum().backward().of(&w).to_vec();
    let alone: Vec<Vec<f32>> = (0..8).map(gradient).collect();
    let together: Vec<Vec<f32>> = std::thread::scope(|s| {
        let spawned: Vec<_> = (0..8)
            .map(|i| {
                s.spawn({
                    let gradient = &gradient;
                    move || gradient(i)
                })
            })
            .collect();
        spawned.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn threads_replay_one_retained_graph() {
    let w = Tensor::randn([8, 8]).requires_grad();
    let y = w.matmul(&w).tanh().sum();
    let expected: Vec<f32> = y.backward_with(Backward::new().retain_graph()).of(&w).to_vec();
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                let g: Vec<f32> = y.backward_with(Backward::new().retain_graph()).of(&w).to_vec();
                assert_eq!(g, expected);
            });
        }
    });
}

#[test]
fn a_reference_to_a_variable_is_one() {
    let w = tensor![1.0].requires_grad();
    let grads = w.exp().sum().backward();
    fn edge(v: impl Variable) -> Edge {
        v.edge()
    }
    assert!(matches!(edge(&w), Edge::Leaf(_)));
    assert!(grads.get(&w).is_some() && grads.get(w.clone()).is_some());
}
