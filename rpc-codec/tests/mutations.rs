//! Every parser and every machine on damaged input, seeded, so that it runs on the stable tool chain as quickly as any
//! other test: a corpus, and mutations of it that are the same each time. `TERN_MUTATIONS` asks for more of them.
//!
//! The fuzzers in `fuzz/` run the same targets over the same corpus, with inputs of their own making.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rpc_core::Clock;
use support::{Random, mutate, targets};

/// No input may take longer, on a busy machine and without optimisation.
const TIME_MAX: Duration = Duration::from_secs(1);
/// How often an input that took longer is tried again.
const TRIES: usize = 5;

#[test]
fn damaged_frames_are_read_as_the_reference_reads_them() {
    for_each_mutation("frame_decoder", 30);
}

#[test]
fn a_datagram_is_one_frame_or_nothing() {
    for_each_mutation("datagram", 23);
}

#[test]
fn damaged_request_heads_are_judged_as_the_protobuf_library_does() {
    for_each_mutation("request_head", 20);
}

#[test]
fn damaged_response_heads_are_judged_as_the_protobuf_library_does() {
    for_each_mutation("response_head", 18);
}

#[test]
fn damaged_gzip_is_refused_or_is_what_another_reader_reads() {
    for_each_mutation("gzip", 13);
}

#[test]
fn damaged_zlib_is_refused_or_is_what_another_reader_reads() {
    for_each_mutation("zlib", 20);
}

#[test]
fn damaged_snappy_is_judged_as_a_naive_reader_does() {
    for_each_mutation("snappy_block", 17);
    for_each_mutation("snappy_stream", 17);
}

#[test]
fn the_number_with_two_meanings_is_read_either_way() {
    for_each_mutation("snappy", 10);
}

#[test]
fn damaged_lz4_is_judged_as_a_naive_reader_does() {
    for_each_mutation("lz4_block", 19);
    for_each_mutation("lz4_frame", 27);
}

#[test]
fn whatever_is_packed_comes_out_as_it_went_in() {
    for_each_mutation("compress", 8);
}

#[test]
fn a_server_answers_what_is_asked_whatever_arrives() {
    for_each_mutation("server_connection", 20);
}

#[test]
fn a_client_hands_answers_to_who_asked_whatever_arrives() {
    for_each_mutation("client_connection", 12);
}

#[test]
fn damaged_frames_of_streams_are_judged_as_the_protobuf_library_does() {
    for_each_mutation("stream_meta", 12);
}

#[test]
fn streams_are_served_whatever_arrives() {
    for_each_mutation("stream_server", 10);
}

#[test]
fn streams_are_asked_for_whatever_arrives() {
    for_each_mutation("stream_client", 8);
}

#[test]
#[cfg(feature = "json")]
fn damaged_json_is_refused_or_comes_back_as_it_was() {
    for_each_mutation("json", 24);
}

/// Checks the corpus `name`, which has at least `files_min` files, and mutations of it. Some must be accepted and some
/// must not, or nothing would have been tried.
fn for_each_mutation(name: &str, files_min: usize) {
    let (_, target) = targets::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of that name");
    let seeds = corpus(name);
    assert!(seeds.len() >= files_min, "{name} has {} files", seeds.len());
    let clock = Clock::system();
    let mut accepted = 0;
    let mut run = |bytes: &[u8], what: &str| {
        let judge = || {
            let start = clock.now();
            let verdict = catch_unwind(AssertUnwindSafe(|| target(bytes)))
                .unwrap_or_else(|_| Err("it panicked, see above".into()));
            (verdict, clock.now() - start)
        };
        let (verdict, mut time) = judge();
        // A busy machine is slow once; an input that costs too much is slow each time.
        for _ in 0..TRIES {
            if time > TIME_MAX {
                time = time.min(judge().1);
            }
        }
        match verdict {
            Ok(_) if time > TIME_MAX => fail(name, what, bytes, &format!("it took {time:?}")),
            Ok(verdict) => accepted += usize::from(verdict),
            Err(error) => fail(name, what, bytes, &error),
        }
    };
    for (file, seed) in &seeds {
        run(seed, file);
    }
    let seeds: Vec<_> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let mut random = Random::seeded(0x7e52_4e00);
    let mutations = mutations();
    for i in 0..mutations {
        run(&mutate(&seeds, &mut random), &format!("mutation {i}"));
    }
    let all = seeds.len() + mutations;
    println!("{name}: {accepted} of {all} accepted");
    assert!((all / 100..all - all / 100).contains(&accepted));
}

/// Keeps the input, so that it can be moved into the corpus.
fn fail(name: &str, what: &str, bytes: &[u8], error: &str) -> ! {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-failed"));
    let note = match fs::write(&kept, bytes) {
        Ok(()) => format!("kept as {}", kept.display()),
        Err(error) => format!("not kept: {error}"),
    };
    panic!("{name}, {what} ({note}): {error}\n{bytes:02x?}");
}

fn mutations() -> usize {
    std::env::var("TERN_MUTATIONS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(20_000)
}

/// The files of a corpus with their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let entries = fs::read_dir(&directory).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // The order of a directory is not the same everywhere.
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let file = path.file_name().expect("a file").to_string_lossy();
            (file.into_owned(), fs::read(path).expect("a readable file"))
        })
        .collect()
}
