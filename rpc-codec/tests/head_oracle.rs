//! The hand-written heads against the protobuf library: what one accepts the other accepts, and both read the same.

#[path = "support/oracle.rs"]
mod oracle;

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use oracle::{Entry, RequestProtocol, ResponseProtocol};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;
use rpc_codec::{RequestHead, ResponseHead};
use rpc_core::Metadata;

type Compare = fn(&[u8]) -> Result<bool, String>;

const BOTH: [Compare; 2] = [oracle::compare_request, oracle::compare_response];

/// Runs `compare` on what `strategy` makes and says how many inputs were accepted and refused.
fn count(cases: u32, strategy: &impl Strategy<Value = Vec<u8>>, compare: Compare) -> (u32, u32) {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(config(cases))
        .run(strategy, |bytes| {
            let verdict = compare(&bytes).map_err(TestCaseError::fail)?;
            let counter = if verdict { &accepted } else { &refused };
            counter.set(counter.get() + 1);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    (accepted.get(), refused.get())
}

#[test]
fn any_bytes_are_judged_alike() {
    let soup = vec(any::<u8>(), 0..40);
    for compare in BOTH {
        let (accepted, refused) = count(10_000, &soup, compare);
        assert!(accepted > 100 && refused > 1000, "{accepted}, {refused}");
    }
}

#[test]
fn small_bytes_which_are_often_tags_are_judged_alike() {
    let soup = vec(0_u8..0x70, 0..24);
    for compare in BOTH {
        let (accepted, refused) = count(10_000, &soup, compare);
        assert!(accepted > 100 && refused > 1000, "{accepted}, {refused}");
    }
}

#[test]
fn fields_in_any_order_and_shape_are_judged_alike() {
    let fields = vec(field(), 0..12).prop_map(|fields| fields.concat());
    for compare in BOTH {
        let (accepted, refused) = count(6_000, &fields, compare);
        assert!(accepted > 1000 && refused > 1000, "{accepted}, {refused}");
    }
}

#[test]
fn a_head_cut_anywhere_is_judged_alike() {
    let cut = (vec(field(), 1..6), any::<proptest::sample::Index>()).prop_map(|(fields, at)| {
        let mut bytes = fields.concat();
        bytes.truncate(at.index(bytes.len() + 1));
        bytes
    });
    for compare in BOTH {
        let (accepted, refused) = count(3_000, &cut, compare);
        assert!(accepted > 200 && refused > 1000, "{accepted}, {refused}");
    }
}

#[test]
fn groups_are_judged_alike_around_the_deepest() {
    for depth in 97..104 {
        for inside in [&b""[..], b"\x78\x01", b"\x7a\x00", b"\x00", b"\x7e"] {
            let group = [&vec![0x7b; depth][..], inside, &vec![0x7c; depth]].concat();
            let entry = [&delimited(9, &group)[..], &delimited(8, &group)].concat();
            for compare in BOTH {
                compare(&group).unwrap();
                compare(&entry).unwrap();
            }
        }
    }
}

#[test]
fn no_bytes_at_all_are_the_one_difference() {
    assert!(RequestProtocol::decode(&b""[..]).is_ok());
    assert!(RequestHead::decode(b"").is_err());
    assert_eq!(oracle::compare_response(b""), Ok(true));
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn requests_are_written_alike(message in request()) {
        let metadata = metadata(&message.trans_info);
        let head = oracle::request_head(&message);
        let mut written = BytesMut::new();
        head.encode(&metadata, &mut written);
        prop_assert_eq!(&written[..], &message.encode_to_vec()[..]);
        prop_assert_eq!(written.len(), head.encoded_len(&metadata));
        if !written.is_empty() {
            prop_assert_eq!(RequestHead::decode(&written), Ok(head));
        }
    }

    #[test]
    fn responses_are_written_alike(message in response()) {
        let metadata = metadata(&message.trans_info);
        let head = oracle::response_head(&message);
        let mut written = BytesMut::new();
        head.encode(&metadata, &mut written);
        prop_assert_eq!(&written[..], &message.encode_to_vec()[..]);
        prop_assert_eq!(written.len(), head.encoded_len(&metadata));
        prop_assert_eq!(ResponseHead::decode(&written), Ok(head));
    }

    #[test]
    fn metadata_is_written_and_read_like_a_map(pairs in any::<BTreeMap<String, Vec<u8>>>()) {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Map {
            #[prost(btree_map = "string, bytes", tag = "9")]
            trans_info: BTreeMap<String, Vec<u8>>,
        }
        let metadata: Metadata = pairs.clone().into_iter().collect();
        let mut written = BytesMut::new();
        RequestHead::default().encode(&metadata, &mut written);
        let message = Map { trans_info: pairs };
        prop_assert_eq!(&written[..], &message.encode_to_vec()[..]);
        let read = Metadata::unread(written.freeze(), RequestHead::read_metadata);
        prop_assert_eq!(read, metadata);
    }
}

fn request() -> impl Strategy<Value = RequestProtocol> {
    let numbers = (scalar(), scalar(), scalar(), scalar(), scalar());
    let more = (scalar(), scalar(), scalar());
    (numbers, more, text(), text(), text(), entries()).prop_map(
        |(numbers, more, caller, callee, func, trans_info)| RequestProtocol {
            version: numbers.0,
            call_type: numbers.1,
            request_id: numbers.2,
            timeout: numbers.3,
            caller,
            callee,
            func,
            message_type: numbers.4,
            trans_info,
            content_type: more.0,
            content_encoding: more.1,
            attachment_size: more.2,
        },
    )
}

fn response() -> impl Strategy<Value = ResponseProtocol> {
    let numbers = (scalar(), scalar(), scalar(), scalar());
    let more = (scalar(), scalar(), scalar());
    let signed = prop_oneof![Just(0), 0..1000, any::<i32>()];
    (numbers, more, signed.clone(), signed, text(), entries()).prop_map(
        |(numbers, more, ret, func_ret, error_msg, trans_info)| ResponseProtocol {
            version: numbers.0,
            call_type: numbers.1,
            request_id: numbers.2,
            ret,
            func_ret,
            error_msg,
            message_type: numbers.3,
            trans_info,
            content_type: more.0,
            content_encoding: more.1,
            attachment_size: more.2,
        },
    )
}

fn scalar() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1_u32..300, any::<u32>()]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 1..40),
        vec(any::<u8>(), 120..140)
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    // Keys in a map come once.
    proptest::collection::btree_map(".{0,6}", text(), 0..4).prop_map(|map| {
        let pairs = map.into_iter();
        pairs.map(|(key, value)| Entry { key, value }).collect()
    })
}

fn metadata(entries: &[Entry]) -> Metadata {
    let pairs = entries.iter();
    pairs
        .map(|entry| (entry.key.clone(), Bytes::copy_from_slice(&entry.value)))
        .collect()
}

/// A field that is likely, but not sure, to be sound: known or not, in a fitting wire type or not.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        20 => 1_u64..16,
        1 => Just(0_u64),
        1 => 16_u64..(1 << 29),
        1 => (1_u64 << 29)..(1 << 34),
    ];
    let known_numbers = [1, 2, 3, 4, 10, 11, 12].as_slice();
    let known_bytes = [6_u64, 7, 13].as_slice();
    prop_oneof![
        8 => (proptest::sample::select(known_numbers), number_value())
            .prop_map(|(field, value)| [varint(field << 3), value].concat()),
        4 => (proptest::sample::select(known_bytes), vec(any::<u8>(), 0..9))
            .prop_map(|(field, value)| delimited(field, &value)),
        6 => (8_u64..10, vec(entry_field(), 0..4))
            .prop_map(|(field, entry)| delimited(field, &entry.concat())),
        4 => (13_u64..16, value()).prop_map(|(field, value)| tagged(field, value)),
        1 => (number, value()).prop_map(|(field, value)| tagged(field, value)),
    ]
}

/// A field inside a metadata entry.
fn entry_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (1_u64..3, "[a-cé]{0,2}").prop_map(|(field, text)| delimited(field, text.as_bytes())),
        2 => vec(any::<u8>(), 0..3).prop_map(|value| delimited(2, &value)),
        1 => vec(any::<u8>(), 0..3).prop_map(|value| delimited(1, &value)),
        1 => (1_u64..6, value()).prop_map(|(field, value)| tagged(field, value)),
    ]
}

/// A value with its wire type.
fn value() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let plain = prop_oneof![
        4 => number_value().prop_map(|value| (0, value)),
        4 => vec(any::<u8>(), 8).prop_map(|value| (1, value)),
        4 => vec(any::<u8>(), 0..5).prop_map(|value| (2, delimited_value(&value))),
        4 => vec(any::<u8>(), 4).prop_map(|value| (5, value)),
        1 => (0_u64..8).prop_map(|wire_type| (wire_type, Vec::new())),
    ];
    // A group is closed by `tagged`, which knows its number.
    plain.prop_recursive(3, 12, 3, |inner| {
        vec((1_u64..20, inner), 0..3).prop_map(|fields| {
            let fields = fields.into_iter();
            let inside = fields.flat_map(|(field, value)| tagged(field, value));
            (3, inside.collect())
        })
    })
}

fn tagged(field: u64, (wire_type, value): (u64, Vec<u8>)) -> Vec<u8> {
    let end = if wire_type == 3 {
        varint(field << 3 | 4)
    } else {
        Vec::new()
    };
    [varint(field << 3 | wire_type), value, end].concat()
}

/// A number as bytes: short, long, longer than needed, or too long.
fn number_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u8>().prop_map(|value| varint(value.into())),
        2 => any::<u32>().prop_map(|value| varint(value.into())),
        2 => any::<u64>().prop_map(varint),
        1 => any::<i32>().prop_map(|value| varint(u64::from_ne_bytes(i64::from(value).to_ne_bytes()))),
        1 => (vec(0x80_u8.., 0..12), 0_u8..0x80).prop_map(|(mut more, last)| {
            more.push(last);
            more
        }),
    ]
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = (value % 128).to_le_bytes();
        value /= 128;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low + 128);
    }
}

fn delimited_value(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64)[..], bytes].concat()
}

fn delimited(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), delimited_value(bytes)].concat()
}

/// Failures are told with their input, and not kept in a file.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}
