//! Every parser on damaged input, seeded, so that it runs on the stable tool chain as quickly as any other test: a
//! corpus, and mutations of it that are the same each time. `TERN_MUTATIONS` asks for more of them.

#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/reference.rs"]
mod reference;

use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use rpc_codec::{CompressError, Limits, compress};
use rpc_core::Compression;

#[test]
fn damaged_frames_are_read_as_the_reference_reads_them() {
    let limits = Limits::default().with_frame_bytes_max(1000);
    for_each_mutation("frame", 30, |bytes, random| {
        let expected = reference::read(bytes, &limits);
        let pieces = bytes.chunks(1 + random.below(40));
        let read = reference::read_in_pieces(pieces, &limits)?;
        if read == expected {
            Ok(!read.broken)
        } else {
            Err(format!("{read:?} against {expected:?}"))
        }
    });
}

#[test]
fn damaged_request_heads_are_judged_as_the_protobuf_library_does() {
    for_each_mutation("request_head", 20, |bytes, _| {
        oracle::compare_request(bytes)
    });
}

#[test]
fn damaged_response_heads_are_judged_as_the_protobuf_library_does() {
    for_each_mutation("response_head", 18, |bytes, _| {
        oracle::compare_response(bytes)
    });
}

#[test]
fn damaged_gzip_is_refused_or_is_what_another_reader_reads() {
    let bytes_max = 4096;
    for_each_mutation("gzip", 13, |bytes, _| {
        let body = Bytes::copy_from_slice(bytes);
        match compress::decompress(Compression::Gzip, &body, bytes_max) {
            Ok(unpacked) if unpacked.len() > bytes_max => Err("more than is allowed".into()),
            // The empty body is one in every compression, though not a gzip member.
            Ok(unpacked) if bytes.is_empty() && unpacked.is_empty() => Ok(true),
            Ok(unpacked) => {
                let mut expected = Vec::new();
                MultiGzDecoder::new(bytes)
                    .read_to_end(&mut expected)
                    .map_err(|error| format!("only the other reader says {error}"))?;
                if unpacked == expected {
                    Ok(true)
                } else {
                    Err("it reads something else".into())
                }
            }
            Err(CompressError::TooLarge { .. } | CompressError::Corrupt) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    });
}

/// Checks the corpus `name`, which has at least `files_min` files, and mutations of it. `check` says whether the bytes
/// were accepted; some must be and some must not, or nothing would have been tried.
fn for_each_mutation(
    name: &str,
    files_min: usize,
    check: impl Fn(&[u8], &mut Random) -> Result<bool, String>,
) {
    let seeds = corpus(name);
    assert!(seeds.len() >= files_min, "{name} has {} files", seeds.len());
    let mut random = Random(0x7e52_4e00);
    let mut accepted = 0;
    let mut run = |bytes: &[u8], what: &str| match check(bytes, &mut random) {
        Ok(verdict) => accepted += usize::from(verdict),
        Err(error) => panic!("{name}, {what}, {bytes:02x?}: {error}"),
    };
    for seed in &seeds {
        run(seed, "as it is");
    }
    let mut mutator = Random(0x1234_5678);
    let mutations = mutations();
    for i in 0..mutations {
        run(&mutate(&seeds, &mut mutator), &format!("mutation {i}"));
    }
    let all = seeds.len() + mutations;
    println!("{name}: {accepted} of {all} accepted");
    assert!((all / 100..all - all / 100).contains(&accepted));
}

fn mutations() -> usize {
    std::env::var("TERN_MUTATIONS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(20_000)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let entries = fs::read_dir(&directory).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // The order of a directory is not the same everywhere.
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus"))
        .collect()
}

/// One of the seeds, damaged in one to four places.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 => {
                bytes.splice(at..(at + 1 + random.below(8)).min(bytes.len()), []);
            }
            3 => {
                let piece = random.piece_of(seeds);
                bytes.splice(at..at, piece);
            }
            4 => {
                let copy = bytes[at..(at + 16).min(bytes.len())].to_vec();
                bytes.extend(copy);
            }
            5 => {
                let edge = *random.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]);
                change(&mut bytes, at, |_| edge);
            }
            6 => {
                let value = random.byte();
                change(&mut bytes, at, |_| value);
            }
            _ => {
                let bit = 1 << random.below(8);
                change(&mut bytes, at, |byte| byte ^ bit);
            }
        }
    }
    bytes
}

fn change(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn piece_of(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let seed = self.pick(seeds);
        let from = self.below(seed.len() + 1);
        let to = (from + self.below(24)).min(seed.len());
        seed[from..to].to_vec()
    }
}
