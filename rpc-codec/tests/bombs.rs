//! A mebibyte that would become far more is refused before more is allocated than may come out. The allocations of the
//! whole process are counted, so this file has one test.

use std::alloc::System;

use bytes::Bytes;
use flate2::{Compress, Compression as Level, FlushCompress};
use rpc_codec::{Codecs, CompressError, Limits};
use rpc_core::Compression;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;
/// What the test's own bookkeeping may cost.
const SMALL: usize = 1024;

const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const ZLIB_HEADER: &[u8] = &[0x78, 0x9c];

#[test]
fn a_bomb_costs_no_more_than_what_may_come_out() {
    let max = Limits::default().decompressed_bytes_max;
    let large = Err(CompressError::TooLarge { max });
    let corrupt = Err(CompressError::Corrupt);
    let deflated = max + SMALL;
    for (name, compression, bomb, verdict, allocated_max) in [
        (
            "gzip",
            Compression::Gzip,
            zeros(GZIP_HEADER),
            &large,
            deflated,
        ),
        (
            "zlib",
            Compression::Zlib,
            zeros(ZLIB_HEADER),
            &large,
            deflated,
        ),
        (
            "snappy block",
            Compression::SnappyBlock,
            snappy_block(),
            &large,
            SMALL,
        ),
        (
            "a lie",
            Compression::SnappyBlock,
            snappy_lie(),
            &corrupt,
            SMALL,
        ),
        (
            "snappy stream",
            Compression::SnappyStream,
            snappy_stream(),
            &large,
            SMALL,
        ),
        (
            "a stream as 2",
            Compression::Other(2),
            snappy_stream(),
            &large,
            SMALL,
        ),
        (
            "lz4 block",
            Compression::Lz4Block,
            lz4_block(MIB),
            &large,
            SMALL,
        ),
        (
            "lz4 frame",
            Compression::Lz4Frame,
            lz4_frame(),
            &large,
            SMALL,
        ),
    ] {
        assert!((MIB - 16_384..MIB + 16_384).contains(&bomb.len()), "{name}");
        let codecs = Codecs::default();
        // The first body of a thread makes the state that later ones find.
        let _ = codecs.decompress(compression, &bomb.slice(..100), max);
        let region = Region::new(ALLOCATOR);
        let result = codecs.decompress(compression, &bomb, max);
        let allocated = region.change().bytes_allocated;
        println!("{name}: {allocated} bytes allocated");
        assert_eq!(&result, verdict, "{name}");
        assert!(allocated <= allocated_max, "{name}: {allocated}");
    }
}

/// Deflate that becomes a gibibyte of zeros, after `header`.
fn zeros(header: &[u8]) -> Bytes {
    let mut deflater = Compress::new(Level::new(9), false);
    let mut piece = Vec::with_capacity(MIB);
    let packed = deflater.compress_vec(&vec![0; MIB], &mut piece, FlushCompress::Full);
    packed.expect("there is room");
    [header, &piece.repeat(MIB / piece.len())].concat().into()
}

/// A literal, and copies of 64 bytes: the most that snappy can become, and it says so.
fn snappy_block() -> Bytes {
    let copies = MIB / 3;
    let length = 1 + 64 * copies;
    [&varint(length)[..], b"\0a", &b"\xfe\x01\0".repeat(copies)]
        .concat()
        .into()
}

/// The same, and it says that it becomes a gibibyte.
fn snappy_lie() -> Bytes {
    [&varint(1 << 30)[..], &b"\xfe\x01\0".repeat(MIB / 3)]
        .concat()
        .into()
}

fn snappy_stream() -> Bytes {
    let block = [
        &varint(1 + 64 * 1023)[..],
        b"\0a",
        &b"\xfe\x01\0".repeat(1023),
    ]
    .concat();
    let length = u32::try_from(block.len() + 4).unwrap().to_le_bytes();
    let chunk = [&[0], &length[..3], b"sum?", &block].concat();
    [b"\xff\x06\0\0sNaPpY", &chunk.repeat(MIB / chunk.len())[..]]
        .concat()
        .into()
}

/// A literal, and one match that is as long as a count of so many bytes can say.
fn lz4_block(bytes: usize) -> Bytes {
    [b"\x1fa\x01\0", &vec![255; bytes - 6][..], &[0, 0]]
        .concat()
        .into()
}

/// Blocks that become nearly 4 MiB each.
fn lz4_frame() -> Bytes {
    let block = lz4_block(16_000);
    let length = u32::try_from(block.len()).unwrap().to_le_bytes();
    let blocks = [&length[..], &block].concat().repeat(MIB / 16_004);
    // Flags, 4 MiB, and the checksum of the two.
    [b"\x04\x22\x4d\x18\x60\x70\x73", &blocks[..]]
        .concat()
        .into()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(u8::try_from(number & 127).unwrap() | 128);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}
