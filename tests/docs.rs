//! The table of operations in `docs/ops.md` is what the registry says.

use std::fmt::Write as _;

use wengert::DType;
use wengert::dispatch::Gradient;
use wengert::registry::{self, ops};

/// Precisions as the table names them: whole kinds by the name of the kind.
fn precisions(all: &[DType]) -> String {
    let kinds: [(&str, &[DType]); 2] = [("floats", &DType::FLOATS), ("integers", &DType::INTS)];
    let mut words: Vec<&str> = Vec::new();
    for (name, kind) in kinds {
        match kind.iter().all(|d| all.contains(d)) {
            true => words.push(name),
            false => words.extend(kind.iter().filter(|d| all.contains(d)).map(|d| d.name())),
        }
    }
    words.extend(all.contains(&DType::Bool).then_some("Bool"));
    words.join(", ")
}

fn table() -> String {
    let mut text = String::from(
        "# Operations\n\n\
         Every operation of the registry: what a call records, by the name that errors and the printed tape show. An operation\n\
         with a gradient has derivatives of any order where mathematics has them. Methods that are made of these (`einsum` of\n\
         `matmul`, `dot`, `std` ..) have no line of their own, and their gradients are those of what they are made of.\n\n\
         | operation | gradient | precisions | NumPy | PyTorch |\n|---|---|---|---|---|\n",
    );
    let mut all: Vec<_> = ops().collect();
    all.sort_by_key(|op| op.name);
    for op in all {
        let info = (op.info)();
        let gradient = match op.gradient {
            Gradient::Rule { .. } => "yes",
            Gradient::NotFloat => "",
            Gradient::Missing => "not yet",
        };
        let code = |name: &str| if name.is_empty() { String::new() } else { format!("`{name}`") };
        let (numpy, torch) = (code(info.numpy), code(info.torch));
        let line = format!("| `{}` | {gradient} | {} | {numpy} | {torch} |", op.name, precisions(info.precisions));
        let _ = writeln!(text, "{}", line.replace("  ", " "));
    }
    text
}

#[test]
fn the_table_of_operations_is_that_of_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ops.md");
    let table = table();
    if std::env::var_os("WENGERT_RENEW").is_some() {
        std::fs::write(path, &table).expect("the table is written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let stale = table.lines().zip(written.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
    assert!(
        written == table,
        "docs/ops.md is not what the registry says, first at {:?}; renew it with\n  WENGERT_RENEW=1 cargo test --test docs",
        stale.map(|(new, _)| new)
    );
}

#[test]
fn what_numpy_and_pytorch_call_an_operation_is_a_name() {
    for op in registry::ops() {
        let info = (op.info)();
        for name in [info.numpy, info.torch] {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c)), "{}: {name:?}", op.name);
        }
    }
}
