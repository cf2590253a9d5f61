//! What can be asked for, in CI's order: the quick ones first.

mod deny;
mod examples;
mod fuzz;
mod hello;
mod instructions;
mod lint;
mod msrv;
mod test;

use std::time::Duration;

use xtask::Outcome;
use xtask::run::{Run, timed};
use xtask::workspace::Workspace;
use xtask::{crates, layers};

pub(crate) use instructions::accept as accept_instructions;

/// One thing that can be asked for.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) run: fn() -> Outcome,
    /// Whether CI runs it as a step of its own.
    in_ci: bool,
}

/// All of them but `ci`, which runs them.
pub(crate) const ALL: &[Verb] = &[
    verb("fmt", "rustfmt finds nothing to change", fmt),
    verb(
        "layers",
        "no crate uses what it must not know; no runtime, no weight",
        check_layers,
    ),
    verb("hello", "a first service stays short and light", hello::run),
    verb(
        "lint",
        "clippy is silent, with each feature alone, too",
        lint::run,
    ),
    verb(
        "msrv",
        "the oldest compilers that we promise build it",
        msrv::run,
    ),
    verb("doc", "the documentation builds without a warning", doc),
    verb("deny", "licences, advisories, bans and sources", deny::run),
    verb(
        "test",
        "cargo test --workspace, and what TLS touches with TLS",
        test::run,
    ),
    Verb {
        // `test` runs it too; in CI with the peers required, so that once is enough.
        in_ci: false,
        ..verb(
            "interop",
            "the tests against other implementations, none left out",
            test::interop,
        )
    },
    verb(
        "matrix",
        "docs/interop.md has what a run of the conformance kit makes",
        test::matrix,
    ),
    verb(
        "examples",
        "the examples say what examples/expected has",
        examples::run,
    ),
    verb(
        "fuzz-smoke",
        "every parser and machine on damaged input, for a short time",
        fuzz::run,
    ),
    verb("bench-smoke", "the benches build", bench),
    verb(
        "instructions",
        "no request takes more of them than was accepted; --accept accepts",
        instructions::run,
    ),
];

const fn verb(name: &'static str, says: &'static str, run: fn() -> Outcome) -> Verb {
    Verb {
        name,
        says,
        run,
        in_ci: true,
    }
}

/// Runs everything, goes on after a failure, and tells all of them at the end.
pub(crate) fn ci() -> Outcome {
    let mut steps = Vec::new();
    for verb in ALL.iter().filter(|verb| verb.in_ci) {
        println!("\n=== {}: {}", verb.name, verb.says);
        let (outcome, time) = timed(verb.run);
        match &outcome {
            Ok(()) => println!("=== {} took {}", verb.name, seconds(time)),
            Err(error) => println!("=== {} FAILED after {}: {error}", verb.name, seconds(time)),
        }
        steps.push((verb.name, time, outcome));
    }
    println!();
    for (name, time, outcome) in &steps {
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<12} {:>8}  {verdict}", seconds(*time));
    }
    let all: Duration = steps.iter().map(|(_, time, _)| time).sum();
    println!("{:<12} {:>8}", "all", seconds(all));
    test::print_counts();
    let failed = steps.iter().filter(|(.., outcome)| outcome.is_err());
    let failed: Vec<_> = failed.map(|(name, ..)| *name).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn fmt() -> Outcome {
    Run::cargo("fmt --all --check").show()?;
    Run::cargo("fmt --manifest-path fuzz/Cargo.toml --check").show()
}

fn check_layers() -> Outcome {
    let workspace = Workspace::load()?;
    layers::check(&workspace)?;
    println!("{} crates, each in its place", workspace.packages.len());
    crates::check_trees(|name| workspace.package(name).is_some())?;
    crates::check_locks()
}

fn doc() -> Outcome {
    Run::cargo("doc --workspace --no-deps --features tls")
        .env("RUSTDOCFLAGS", "-D warnings")
        .show()
}

fn bench() -> Outcome {
    Run::cargo("bench --package tern-benches --no-run").show()
}
