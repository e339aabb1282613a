//! Tells the crate whether it is compiled without optimization: a library cannot see that otherwise, and its users
//! should hear of it (see `src/par.rs`).

fn main() {
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("OPT_LEVEL").as_deref() == Ok("0") {
        println!("cargo::rustc-cfg=unoptimized");
    }
}
