//! Runs the targets that `rpc-codec/tests/mutations.rs` runs on the stable tool chain, on inputs of a fuzzer's making.
//!
//! ```text
//! cargo xtask fuzz-smoke                  # all of them, for a bounded number of inputs
//! cargo +nightly fuzz run gzip fuzz/corpus/gzip rpc-codec/tests/corpus/gzip    # one of them, until stopped
//! ```
//!
//! An input that fails is moved into `rpc-codec/tests/corpus/`, where it is a test from then on.
//!
//! # Layout
//!
//! * `support` – the drivers of `rpc-codec/tests/support`, one for each parser and machine
//! * `fuzz_targets/` – one program for each, a line long

#[path = "../../rpc-codec/tests/support/mod.rs"]
mod support;

/// Runs the target called `name`.
///
/// # Panics
///
/// When there is none, or when what it drives did something that it never may.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = support::targets::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of that name");
    if let Err(error) = target(bytes) {
        panic!("{name}: {error}");
    }
}
