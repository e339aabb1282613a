//! The profiler: what it counts, and that its trace can be read.

use serde_json::Value as Json;
use wengert::prelude::*;

#[test]
fn a_training_step_is_counted_forward_and_backward() {
    let net = Sequential::new().push(Linear::new(3, 8)).push(ReLU::new()).push(Linear::new(8, 2));
    let (x, y) = (Tensor::ones([5, 3]), Int::zeros([5]));
    let (loss, seen) = profile(|| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward();
        loss.item()
    });
    assert!(loss > 0.0);
    let count = |name: &str, backward: bool| {
        seen.ops().filter(|op| op.name == name && op.backward == backward).map(|op| op.count).sum::<usize>()
    };
    assert_eq!((count("linear", false), count("cross_entropy", false), count("relu", false)), (2, 1, 1));
    // Each weight, and the input of the second layer: the first one's is data.
    assert_eq!(count("matmul", true), 3);
    assert_eq!(count("cross_entropy", true), 0);
    let inside: std::time::Duration = seen.ops().map(|op| op.time).sum();
    assert!(inside <= seen.total(), "{inside:?} of {:?}", seen.total());
    let line = seen.calls().iter().find(|call| call.name == "cross_entropy").expect("it was called").at;
    assert_eq!(line.file(), file!());
}

#[test]
fn the_trace_is_json_with_an_event_for_each_call() {
    let (_, seen) = profile(|| (tensor![1.0, 2.0].exp() * 2.0).sum());
    let trace: Json = serde_json::from_str(&seen.chrome_trace()).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    assert_eq!(events.len(), seen.calls().len());
    let mut end = 0.0;
    for (event, call) in events.iter().zip(seen.calls()) {
        assert_eq!((event["name"].as_str(), event["ph"].as_str()), (Some(call.name), Some("X")));
        assert_eq!(event["args"]["bytes"].as_u64(), Some(call.bytes));
        let begin = event["ts"].as_f64().expect("a number");
        assert!(begin >= end, "one call after the other");
        end = begin + event["dur"].as_f64().expect("a number");
    }
}

#[test]
fn the_table_names_operations_and_the_rest() {
    let (_, seen) = profile(|| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        tensor![1.0, 2.0].exp()
    });
    let table = seen.to_string();
    let rest = table.lines().find(|line| line.starts_with("outside of operations")).expect("a line");
    let share: f64 = rest.trim_end_matches(" %").rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a number");
    assert!(share > 50.0, "{table}");
    assert!(table.lines().any(|line| line.starts_with("exp ") && line.contains(" 1 ")), "{table}");
}

#[test]
fn what_runs_before_and_after_is_not_counted() {
    tensor![1.0].exp();
    let (_, outer) = profile(|| {
        let (_, inner) = profile(|| tensor![1.0].sin());
        assert_eq!(inner.calls().iter().filter(|c| c.name == "sin").count(), 1);
    });
    tensor![1.0].exp();
    assert_eq!(outer.calls().iter().filter(|c| c.name == "sin").count(), 1, "profiles nest");
    assert_eq!(outer.calls().iter().filter(|c| c.name == "exp").count(), 0);
}
