//! A build that is not optimized says so once, on standard error, when it meets real work, and not when it is told to be
//! quiet; an optimized build never does.
//!
//! Run it both ways: `cargo test --test unoptimized`, and
//! `WENGERT_EXPECT_NOTE=1 cargo test --profile unoptimized --test unoptimized`.

use std::process::Command;

use wengert::prelude::*;

/// What a child of this test says on standard error while it works on `n` elements, twice.
fn note(n: usize, quiet: bool) -> String {
    let mut child = Command::new(std::env::current_exe().expect("a test knows its file"));
    child.args(["work_of_the_child", "--exact", "--nocapture"]).env("WENGERT_CHILD", n.to_string());
    child.env_remove("WENGERT_QUIET");
    if quiet {
        child.env("WENGERT_QUIET", "1");
    }
    let output = child.output().expect("the child runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn work_of_the_child() {
    if let Some(n) = std::env::var("WENGERT_CHILD").ok().and_then(|n| n.parse::<usize>().ok()) {
        assert_eq!((Tensor::ones([n]) + 1.0).sum().item(), (Tensor::ones([n]) * 2.0).sum().item());
    }
}

#[test]
fn the_note_comes_once_where_it_is_due() {
    let due = std::env::var_os("WENGERT_EXPECT_NOTE").is_some() as usize;
    let count = |text: String| text.matches("compiled without optimization").count();
    assert_eq!(count(note(100_000, false)), due);
    assert_eq!(count(note(100, false)), 0, "little work is no reason");
    assert_eq!(count(note(100_000, true)), 0, "told to be quiet");
    if due == 1 {
        assert!(note(100_000, false).contains("[profile.dev.package]\nwengert-tensor.opt-level = 3\n"));
    }
}
