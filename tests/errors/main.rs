//! The text of errors: what disagrees, both operands with where they came from, how to mend it, and the caller's line.
//!
//! Places in these files are written `HERE` in the texts; that the panic itself is placed at the line of the misuse is
//! checked for each.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

/// The text and the line of the panic in `f`.
fn panic_of(f: impl FnOnce()) -> (String, String, u32) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let seen = Arc::new(Mutex::new(None));
    let report = seen.clone();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().expect("the text is made of values").clone();
        let at = info.location().expect("panics have a place");
        *report.lock().unwrap() = Some((text, at.file().to_string(), at.line()));
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    panic::set_hook(before);
    assert!(result.is_err(), "nothing panicked");
    let seen = seen.lock().unwrap().take();
    seen.expect("the hook saw the panic")
}

/// The text with every place in `file` written `HERE`.
fn without_places(text: &str, file: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(file) {
        out.push_str(&rest[..at]);
        out.push_str("HERE");
        rest = &rest[at + file.len()..];
        for _ in ["line", "column"] {
            rest = rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    out + rest
}

/// Checks the whole text of the panic in an expression, which must begin on the line of the macro.
macro_rules! misuse {
    ($wrong:expr => $text:expr) => {{
        let (text, file, line) = crate::panic_of(|| {
            let _ = $wrong;
        });
        assert_eq!(crate::without_places(&text, file!()), $text, "\nthe text is:\n{text}\n");
        assert_eq!((file.as_str(), line), (file!(), line!()), "the panic is not placed at its caller: {text}");
    }};
}

mod elementwise;
mod gradients;
mod indexing;
mod layers;
mod linalg;
mod linear;
mod losses;
mod optimizers;
mod readers;
mod reductions;
mod shapes;
mod windows;
