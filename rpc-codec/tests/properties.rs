//! What holds for every frame, every cut and every body.

#[path = "support/reference.rs"]
mod reference;
#[path = "support/unpack.rs"]
mod unpack;

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::ZlibEncoder;
use flate2::{Compression as Level, GzBuilder};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rpc_codec::compress::Snappy;
use rpc_codec::frame::{self, Decoded, FrameHeader, FrameKind, HEADER_BYTES};
use rpc_codec::{Codecs, CompressError, Limits, ProtocolError};
use rpc_core::Compression;

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn a_header_survives_the_way_there_and_back(header in header()) {
        let limits = Limits::default().with_frame_bytes_max(u32::MAX);
        prop_assert_eq!(FrameHeader::decode(&header.encode(), &limits), Ok(header));
    }

    #[test]
    fn a_frame_is_as_long_as_allowed_and_not_a_byte_longer(
        max in 16_u32..=u32::MAX - 1,
        header in header(),
    ) {
        let limits = Limits::default().with_frame_bytes_max(max);
        let read = |total_len| {
            let header = FrameHeader { total_len, head_len: 0, ..header };
            FrameHeader::decode(&header.encode(), &limits).map(|header| header.total_len)
        };
        prop_assert_eq!(read(max), Ok(max));
        prop_assert_eq!(read(max + 1), Err(ProtocolError::FrameTooLong { found: max + 1, max }));
        let shorter = if max == 16 {
            Err(ProtocolError::LengthTooSmall { found: 15 })
        } else {
            Ok(max - 1)
        };
        prop_assert_eq!(read(max - 1), shorter);
    }

    #[test]
    fn a_limit_below_the_header_lets_nothing_through(max in 0_u32..16, header in header()) {
        let limits = Limits::default().with_frame_bytes_max(max);
        prop_assert!(FrameHeader::decode(&header.encode(), &limits).is_err());
    }

    #[test]
    fn a_head_ends_with_its_frame_and_not_a_byte_later(head_len in any::<u16>(), header in header()) {
        let limits = Limits::default();
        let read = |total_len| {
            let header = FrameHeader { total_len, head_len, ..header };
            FrameHeader::decode(&header.encode(), &limits).is_ok()
        };
        let exact = 16 + u32::from(head_len);
        prop_assert!(read(exact));
        prop_assert!(read(exact + 1));
        prop_assert!(!read(exact - 1));
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_frames(
        frames in vec(frame(), 0..8),
        damage in proptest::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let limits = Limits::default().with_frame_bytes_max(200);
        let mut bytes = frames.concat();
        if let (Some((at, value)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let expected = reference::read(&bytes, &limits);
        if damage.is_none() {
            prop_assert_eq!(expected.frames.len(), frames.len());
        }
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let pieces = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
        let read = reference::read_in_pieces(pieces, &limits);
        prop_assert_eq!(read, Ok(expected));
    }

    #[test]
    fn as_many_bytes_as_are_missing_are_asked_for(frame in frame(), given in any::<Index>()) {
        let limits = Limits::default();
        let given = given.index(frame.len());
        let Ok(Decoded::NeedMore(missing)) = frame::decode(&frame[..given], &limits) else {
            panic!("a frame was seen in a part of it");
        };
        let expected = if given < HEADER_BYTES { HEADER_BYTES } else { frame.len() };
        prop_assert_eq!(given + missing, expected);
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn what_was_packed_is_what_comes_out_here_and_elsewhere(body in body()) {
        let codecs = codecs();
        for (compression, elsewhere) in READERS {
            if let Some(packed) = codecs.compress(compression, &body).unwrap() {
                prop_assert!(packed.len() < body.len());
                let unpacked = codecs.decompress(compression, &packed, body.len());
                prop_assert_eq!(unpacked.as_ref(), Ok(&body));
                let unpacked = elsewhere(&packed);
                prop_assert_eq!(unpacked.as_deref(), Some(&body[..]));
                let max = body.len() - 1;
                let refused = codecs.decompress(compression, &packed, max);
                prop_assert_eq!(refused, Err(CompressError::TooLarge { max }));
            }
        }
    }

    #[test]
    fn what_others_pack_as_zlib_is_what_comes_out(body in body(), level in 0_u32..10) {
        let mut writer = ZlibEncoder::new(Vec::new(), Level::new(level));
        writer.write_all(&body).unwrap();
        let packed = Bytes::from(writer.finish().unwrap());
        let unpacked = codecs().decompress(Compression::Zlib, &packed, body.len());
        prop_assert_eq!(unpacked, Ok(body));
    }

    #[test]
    fn what_others_pack_in_one_member_or_more_is_what_comes_out(
        bodies in vec(body(), 1..4),
        level in 0_u32..10,
        name in proptest::option::of("[a-z]{0,9}"),
        extra in proptest::option::of(vec(any::<u8>(), 0..20)),
    ) {
        let mut packed = Vec::new();
        for body in &bodies {
            let mut header = GzBuilder::new().mtime(1);
            if let Some(name) = &name {
                header = header.filename(name.as_str()).comment(name.as_str());
            }
            if let Some(extra) = &extra {
                header = header.extra(extra.clone());
            }
            let mut writer = header.write(&mut packed, Level::new(level));
            writer.write_all(body).unwrap();
            writer.finish().unwrap();
        }
        let (packed, body) = (Bytes::from(packed), bodies.concat());
        prop_assert_eq!(&codecs().decompress(Compression::Gzip, &packed, body.len()).unwrap(), &body);
        if let Some(max) = body.len().checked_sub(1) {
            let refused = codecs().decompress(Compression::Gzip, &packed, max);
            prop_assert_eq!(refused, Err(CompressError::TooLarge { max }));
        }
    }
}

#[test]
fn bodies_of_telling_sizes_come_out_as_they_went_in() {
    let codecs = codecs();
    for (compression, _) in READERS {
        for length in [0, 1, 18, 19, 65_534, 65_535, 65_536, 65_537, 1 << 20] {
            let counts = (0_u32..).flat_map(|count| (count / 9).to_be_bytes());
            let body: Bytes = counts.take(length).collect();
            let Some(packed) = codecs.compress(compression, &body).unwrap() else {
                assert!(length < 100, "{length} bytes were not packed");
                continue;
            };
            let unpacked = codecs.decompress(compression, &packed, length);
            assert_eq!(unpacked, Ok(body), "{compression:?}, {length}");
            let max = length - 1;
            assert_eq!(
                codecs.decompress(compression, &packed, max),
                Err(CompressError::TooLarge { max })
            );
        }
    }
}

/// A compression, and another reader of it.
type Reader = (Compression, fn(&[u8]) -> Option<Vec<u8>>);

/// All that can be packed.
const READERS: [Reader; 7] = [
    (Compression::Gzip, |packed| {
        all_of(MultiGzDecoder::new(packed))
    }),
    (Compression::Zlib, |packed| all_of(ZlibDecoder::new(packed))),
    (Compression::Other(2), unpack::snappy),
    (Compression::SnappyStream, unpack::snappy_stream),
    (Compression::SnappyBlock, unpack::snappy_block),
    (Compression::Lz4Frame, unpack::lz4_frame),
    (Compression::Lz4Block, unpack::lz4_block),
];

fn all_of(mut reader: impl Read) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).ok().map(|_| all)
}

/// Packs bodies of any size, and whatever can be packed.
fn codecs() -> Codecs {
    Codecs::default()
        .with(2, Snappy::sent_as_block())
        .with_bytes_min(0)
}

fn header() -> impl Strategy<Value = FrameHeader> {
    let kind = prop_oneof![Just(FrameKind::Unary), Just(FrameKind::Stream)];
    let bytes = (any::<u8>(), any::<u8>(), any::<u8>());
    (kind, any::<u16>(), any::<u32>(), any::<u32>(), bytes).prop_map(
        |(kind, head_len, rest_len, stream_id, (stream_frame_type, version, reserved))| {
            let least = 16 + u32::from(head_len);
            FrameHeader {
                kind,
                stream_frame_type,
                total_len: least.saturating_add(rest_len),
                head_len,
                stream_id,
                version,
                reserved,
            }
        },
    )
}

/// A whole frame of at most 96 bytes.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let rest = (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..40));
    (header(), rest).prop_map(|(header, (head, body))| {
        let header = FrameHeader {
            total_len: u32::try_from(16 + head.len() + body.len()).unwrap(),
            head_len: u16::try_from(head.len()).unwrap(),
            ..header
        };
        [&header.encode()[..], &head, &body].concat()
    })
}

/// From nothing to some kilobytes, from text to noise.
fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..3000),
        vec(0_u8..4, 0..9000),
        (vec(any::<u8>(), 1..40), 0_usize..300).prop_map(|(piece, times)| piece.repeat(times)),
    ]
    .prop_map(Bytes::from)
}

/// Failures are told with their input, and not kept in a file.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}
