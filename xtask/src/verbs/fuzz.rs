//! Every parser and machine on damaged input: seeded on any tool chain, guided by coverage where there is a nightly one.

use std::{env, fs};

use xtask::Outcome;
use xtask::run::Run;
use xtask::workspace::Workspace;

use super::msrv::toolchain;
use super::test::counted;

/// Mutations of the corpus of each target, unless `TERN_MUTATIONS` says otherwise.
const MUTATIONS: &str = "500000";

/// Inputs that libFuzzer tries: parsers are quick, a connection is a whole story.
const TARGETS: &[(&str, u32)] = &[
    ("frame_decoder", 200_000),
    ("datagram", 200_000),
    ("request_head", 200_000),
    ("response_head", 200_000),
    ("gzip", 100_000),
    ("zlib", 100_000),
    ("snappy", 100_000),
    ("snappy_stream", 100_000),
    ("snappy_block", 100_000),
    ("lz4_frame", 100_000),
    ("lz4_block", 100_000),
    ("compress", 100_000),
    ("server_connection", 50_000),
    ("client_connection", 50_000),
    ("stream_meta", 200_000),
    ("stream_server", 50_000),
    ("stream_client", 50_000),
    ("json", 50_000),
];

pub(crate) fn run() -> Outcome {
    seeded()?;
    if toolchain("nightly").is_none() {
        println!(
            "LEFT OUT: the fuzzers that are guided by coverage need a nightly tool chain, and there is none here. \
             The seeded run above drove the same targets."
        );
        return Ok(());
    }
    guided()
}

/// Optimised, but with overflow checks and the assertions that guard invariants.
fn seeded() -> Outcome {
    let mutations = env::var("TERN_MUTATIONS").unwrap_or_else(|_| MUTATIONS.to_owned());
    let run = Run::cargo(
        "test --release --package rpc-codec --features json --test mutations -- --nocapture",
    )
    .env("TERN_MUTATIONS", &mutations)
    .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
    .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    counted(run)
}

fn guided() -> Outcome {
    if Run::cargo("+nightly fuzz --version").capture().is_err() {
        return Err("cargo-fuzz is missing: `cargo install cargo-fuzz --locked`".into());
    }
    let workspace = Workspace::load()?;
    let target = workspace.target.join("fuzz").to_string_lossy().into_owned();
    for (name, runs) in TARGETS {
        // What reaches new code is kept here, out of the stored corpus, which stays small.
        let found = format!("fuzz/corpus/{name}");
        fs::create_dir_all(workspace.root.join(&found))
            .map_err(|error| format!("{found} cannot be made: {error}"))?;
        let stored = format!("rpc-codec/tests/corpus/{name}");
        let limits = "-timeout=1 -malloc_limit_mb=64 -max_len=4096";
        Run::cargo(&format!(
            "+nightly fuzz run {name} {found} {stored} -- -runs={runs} {limits} -verbosity=0 -print_final_stats=1"
        ))
        .env("CARGO_TARGET_DIR", &target)
        .show()?;
    }
    Ok(())
}
