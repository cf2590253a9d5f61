//! The tests, counted while they run.

use std::sync::Mutex;

use xtask::Outcome;
use xtask::run::Run;

/// What the test runner says it has run.
#[derive(Clone, Copy)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Of all runs together.
static COUNTS: Mutex<Counts> = Mutex::new(Counts {
    passed: 0,
    failed: 0,
    ignored: 0,
});

/// The crates that TLS changes, and those that try it.
const WITH_TLS: &str = "--package rpc-net --package rpc-server --package rpc-client --package tern-rpc \
                        --package tern-examples --package tern-interop --features tls";

pub(crate) fn run() -> Outcome {
    // All of them, also after one has failed.
    let without = counted(Run::cargo("test --workspace --no-fail-fast"));
    let with = counted(Run::cargo(&format!("test --no-fail-fast {WITH_TLS}")));
    without.and(with)
}

pub(crate) fn interop() -> Outcome {
    let test = Run::cargo("test --package tern-interop --features tls");
    counted(test.env("TERN_REQUIRE_PEERS", "1"))
}

/// What `docs/interop.md` says of a run is what a run makes. It judges each peer once more than the tests do; it takes less
/// than a minute.
pub(crate) fn matrix() -> Outcome {
    Run::cargo("run --package tern-interop -- --check-docs")
        .env("TERN_REQUIRE_PEERS", "1")
        .show()
}

/// Runs tests and adds up what the runner says.
pub(crate) fn counted(run: Run) -> Outcome {
    run.show_and(|line| {
        if let Some(counts) = Counts::read(line) {
            let mut all = COUNTS.lock().expect("nobody panics with it");
            all.passed += counts.passed;
            all.failed += counts.failed;
            all.ignored += counts.ignored;
        }
    })
}

/// Shows the sums.
pub(crate) fn print_counts() {
    let Counts {
        passed,
        failed,
        ignored,
    } = *COUNTS.lock().expect("nobody panics with it");
    println!("tests: {passed} passed, {failed} failed, {ignored} skipped");
}

impl Counts {
    /// Reads a line like `test result: ok. 12 passed; 0 failed; 1 ignored; ...`.
    fn read(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let mut parts = counts.split("; ");
            parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_closing_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        let counts = Counts::read(line).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.ignored), (12, 3, 1));
        assert!(Counts::read("test a_test ... ok").is_none());
        assert!(Counts::read("test result: something else").is_none());
    }
}
