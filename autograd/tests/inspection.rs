//! What is there to look at: the printed tape, its drawing, and the search for the first NaN.

use wengert_autograd::{Differentiate, Source, check_finite, custom};
use wengert_tensor::{DType, ErrorKind, Result, Tensor, no_grad, scalar, tensor};

#[test]
fn the_tape_is_a_table() {
    let x = tensor![[1.0, 2.0]];
    let line = line!();
    let w = tensor![[0.5], [2.0]].requires_grad();
    let b = tensor![0.1].requires_grad();
    if let wengert_tensor::tape::Edge::Leaf(leaf) = w.edge() {
        leaf.set_name("fc.weight");
    }
    let mask = x.detach().gt(0.0).to_float();
    let loss = (x.matmul(&w) + &b).tanh().sum_axis([0]) * w.detach().sum() * mask.sum();
    let tape = loss.tape();
    let names: Vec<&str> = tape.iter().map(|r| r.node.op.name()).collect();
    assert_eq!(names, ["matmul", "add", "tanh", "sum", "mul", "mul"]);
    assert_eq!(tape.iter().nth(1).unwrap().sources[..], [Source::Record(0), Source::Leaf(1)]);
    assert_eq!(tape.iter().nth(4).unwrap().sources[..], [Source::Record(3), Source::Cut]);
    assert_eq!(tape.leaves().len(), 2);
    let at = |n: u32| format!("autograd/tests/inspection.rs:{}:", line + n);
    let text = tape.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(" #  op "), "{text}");
    assert!(lines[1].starts_with("#0  matmul"), "{text}");
    assert!(lines[1].contains("const, fc.weight") && lines[1].contains("[1, 2], [2, 1] -> [1, 1]"), "{text}");
    assert!(lines[1].contains(&at(7)), "{text}");
    assert!(lines[4].contains("sum axes=[0]"), "{text}");
    assert!(lines[7].starts_with("fc.weight: [2, 1] F32 from ") && lines[7].contains(&at(1)), "{text}");
    assert!(lines[8].starts_with("leaf 1: [1] F32 from "), "{text}");
    assert!(lines[9].starts_with("6 operations, "), "{text}");
    // The columns are aligned.
    let column = lines[0].find("shapes").unwrap();
    assert!(lines[1..7].iter().all(|l| l[column..].starts_with('[')), "{text}");
    loss.sum().backward();
    assert_eq!(tape.saved_bytes(), 0, "backward frees what the tape saved");
}

#[test]
fn long_tapes_are_shortened_and_deep_ones_do_not_overflow() {
    let chain = |n: usize| {
        let x = scalar(1.0).requires_grad();
        let mut y = x.neg();
        for _ in 1..n {
            y = y.neg();
        }
        y
    };
    let text = chain(300).tape().to_string();
    assert!(text.contains("... 100 more, printed by {:#} ..."), "{text}");
    assert_eq!(format!("{:#}", chain(300).tape()).lines().count(), 1 + 300 + 2);
    let small = std::thread::Builder::new().stack_size(512 << 10);
    small
        .spawn(move || {
            let y = chain(200_000);
            let tape = y.tape();
            drop(y);
            assert_eq!(tape.len(), 200_000);
            assert!(tape.to_string().lines().count() < 250);
            assert!(tape.to_dot().len() > 200_000);
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_tensor_without_record_says_why() {
    let x = tensor![1.0].requires_grad();
    assert_eq!(x.tape().len(), 0);
    assert!(x.tape().to_string().starts_with("#  op"), "{}", x.tape());
    let text = tensor![1.0].tape().to_string();
    assert_eq!(text, "nothing recorded: this tensor is not connected to any variable");
    let text = no_grad(|| x.exp()).tape().to_string();
    assert!(text.contains("`exp` ran under no_grad at"), "{text}");
}

#[test]
fn the_drawing_is_valid_dot() {
    let w = tensor![1.0].requires_grad();
    if let wengert_tensor::tape::Edge::Leaf(leaf) = w.edge() {
        leaf.set_name("odd \"name\" \\ here\nand there");
    }
    let y = custom("say \"hi\"", &[&w], |v| v[0].exp(), |g, _, y| g * y);
    let dot = (&y * &y).tape().to_dot();
    assert!(dot.contains(r#"leaf0 [label="odd \"name\" \\ here\nand there\n[1] F32", shape=ellipse];"#), "{dot}");
    assert!(dot.contains(r#"op0 [label="say \"hi\"\n"#), "{dot}");
    assert!(dot.contains(r#"leaf0 -> op0 [label="[1]"];"#), "{dot}");
    assert_eq!(dot.matches("op0 -> op1").count(), 2, "{dot}");
    // Each line but the braces is one statement; quotes are balanced once escapes are gone.
    for line in dot.lines().skip(1).filter(|l| *l != "}") {
        assert!(line.ends_with("];"), "{line}");
        assert_eq!(line.replace(r"\\", "").replace(r#"\""#, "").matches('"').count() % 2, 0, "{line}");
    }
}

/// The fault that `f` makes, which must be at `line`, by `op`, and with this advice.
fn fault<R>(result: Result<R>, line: u32, starts: &str, advice: &str) {
    let e = result.err().expect("a fault");
    assert!(e.message().starts_with(starts), "{e}");
    assert!(e.to_string().contains(advice), "{e}");
    let at = e.location().expect("a place");
    assert_eq!((at.file(), at.line()), (file!(), line), "{e}");
    assert_eq!(e.kind(), ErrorKind::Value);
}

#[test]
fn each_injected_fault_is_found_at_its_operation_and_line() {
    let x = tensor![[0.5, 0.0], [2.0, 1.0]];
    let w = x.requires_grad();

    let line = line!() + 2;
    let log_of_zero = check_finite(|| {
        let h = (&x * 3.0).log();
        (h.exp() * &x).log().sum()
    });
    fault(log_of_zero, line, "`log` made -inf out of finite values (1 of 4 elements)", "log of 0");

    let line = line!() + 1;
    let division = check_finite(|| (&x / &x).sum() * 2.0);
    fault(division, line, "`div` made NaN out of finite values (1 of 4 elements)", "division by 0");

    let line = line!() + 1;
    let division = check_finite(|| (1.0 / &x).sum() * 2.0);
    fault(division, line, "`rdiv_scalar` made inf out of finite values (1 of 4 elements)", "division by 0");

    let line = line!() + 1;
    let overflow = check_finite(|| ((&x + 100.0).exp() + 1.0).log().sum());
    fault(overflow, line, "`exp` made inf out of finite values (4 of 4 elements)", "subtract the maximum");

    let half = (&x * 1000.0).to_dtype(DType::F16);
    let line = line!() + 1;
    let half_precision = check_finite(|| (&half * &half).sum());
    fault(half_precision, line, "`mul` made inf out of finite values", "where F16 ends");

    let line = line!() + 1;
    let root = check_finite(|| (&x - 1.0).sqrt().sum());
    fault(root, line, "`sqrt` made NaN out of finite values (2 of 4 elements)", "the root of a negative number");

    // The value is finite, its gradient is not.
    let line = line!() + 2;
    let slope = check_finite(|| {
        let norm = w.sqrt();
        (norm * 2.0).sum().backward()
    });
    fault(slope, line, "the gradient of `sqrt` ran `", "the slope of sqrt is infinite at 0");

    let line = line!() + 1;
    let power = check_finite(|| (&x - 1.0).pow(0.5).sum());
    fault(power, line, "`pow_scalar` made NaN out of finite values (2 of 4 elements)", "fractional power");
}

#[test]
fn the_report_shows_the_operands() {
    let (p, line) = (tensor![0.25, 0.0, -4.0], line!());
    let e = check_finite(|| (&p / tensor![0.0, 1.0, 2.0]).sum()).err().unwrap();
    let text = e.message();
    assert!(text.contains("min -4.0000, max 0.2500, 1 zero"), "{text}");
    assert!(text.contains("min 0.0000, max 2.0000, 1 zero"), "{text}");
    assert!(text.contains(&format!("from from_vec at {}:{line}:", file!())), "{text}");
    assert!(text.contains("output") && text.contains("1 infinite"), "{text}");
}

#[test]
fn what_is_finite_passes_and_infinity_on_purpose_is_no_fault() {
    let w = tensor![0.5, 2.0].requires_grad();
    let grads = check_finite(|| w.log().sum().backward()).unwrap();
    assert_eq!(grads.of(&w).to_vec::<f32>(), [2.0, 0.5]);
    let mask = tensor![true, false];
    let masked = check_finite(|| mask.where_(&w, &Tensor::full([2], f64::NEG_INFINITY)).softmax(0)).unwrap();
    assert_eq!(masked.to_vec::<f32>(), [1.0, 0.0]);
    // Bad values that came from outside were not made here.
    assert!(check_finite(|| tensor![f64::NAN] * 2.0).is_ok());
}

#[test]
fn a_panic_that_follows_a_fault_does_not_hide_it() {
    let x = tensor![0.0];
    let e = check_finite(|| assert!(x.log().item().is_finite(), "the loss is not finite")).unwrap_err();
    assert!(e.message().starts_with("`log` made -inf"), "{e}");
    let other = std::panic::catch_unwind(|| check_finite(|| panic!("for another reason")));
    assert!(other.is_err());
    // The watch has ended.
    assert!(x.log().item().is_infinite());
}

#[test]
fn a_custom_function_is_named_itself() {
    let x = tensor![0.0].requires_grad();
    let e = check_finite(|| custom("my_log", &[&x], |v| v[0].log(), |g, v, _| g / &v[0])).err().unwrap();
    assert!(e.message().starts_with("`my_log` made -inf"), "{e}");
}
