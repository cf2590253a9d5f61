//! Messages as JSON: every kind of field in every form it may have, what is refused and how that is said, and bounds.

#[path = "support/json.rs"]
mod support;

use bytes::Bytes;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MapKey, Value};
use rpc_codec::Formats;
use rpc_core::serialize::{decode, encode};
use rpc_core::{Code, Format, MessageType};
use support::{Protobuf, descriptor, judged, read, shapes, write};

/// What the text says, and nothing of what it does not.
fn said(text: &str) -> String {
    let protobuf = read(text.as_bytes()).unwrap_or_else(|status| panic!("{text}: {status}"));
    let message = DynamicMessage::decode(descriptor(), protobuf).expect("it became protobuf");
    let mut written: serde_json::Value =
        serde_json::from_str(&write(message.encode_to_vec().into(), 1 << 20).unwrap()).unwrap();
    let fields = written.as_object_mut().expect("an object");
    fields.retain(|name, _| {
        let field = descriptor()
            .get_field_by_name(name)
            .expect("a name of the file");
        message.has_field(&field)
    });
    serde_json::to_string(&fields).unwrap()
}

/// Why the text is refused.
fn fault(text: &str) -> String {
    match read(text.as_bytes()) {
        Ok(_) => panic!("{text} is not refused"),
        Err(status) => {
            assert_eq!(status.code(), Code::Malformed);
            let text = status.message().to_owned();
            let rest = text.strip_prefix("the body is not a test.json.Shapes in JSON: ");
            rest.unwrap_or(&text).to_owned()
        }
    }
}

#[test]
fn the_empty_message_has_all_that_has_a_default() {
    let written = write(Bytes::new(), 4096).unwrap();
    assert_eq!(
        written,
        r#"{"a_double":0,"a_float":0,"an_int32":0,"an_int64":"0","a_uint32":0,"a_uint64":"0","a_sint32":0,"a_sint64":"0",
"a_fixed32":0,"a_fixed64":"0","a_sfixed32":0,"a_sfixed64":"0","a_bool":false,"a_string":"","a_bytes":"","a_colour":0,
"renamed":"","numbers":[],"strings":[],"colours":[],"list":[],"by_string":{},"by_int64":{},"by_bool":{},"by_uint32":{},
"by_sint32":{},"many_values":[]}"#
            .replace('\n', "")
    );
}

#[test]
fn every_form_that_is_read_is_written_in_one() {
    for (text, written) in [
        (r#"{"anInt32": 7}"#, r#"{"an_int32":7}"#),
        (r#"{"an_int32": "7"}"#, r#"{"an_int32":7}"#),
        (r#"{"an_int32": 70e-1}"#, r#"{"an_int32":7}"#),
        (
            r#"{"an_int64": -9223372036854775808}"#,
            r#"{"an_int64":"-9223372036854775808"}"#,
        ),
        (
            r#"{"aUint64": "18446744073709551615"}"#,
            r#"{"a_uint64":"18446744073709551615"}"#,
        ),
        (
            r#"{"a_sint32": -1, "a_sint64": "-9223372036854775808"}"#,
            r#"{"a_sint32":-1,"a_sint64":"-9223372036854775808"}"#,
        ),
        (
            r#"{"a_fixed64": 5, "a_sfixed64": -5}"#,
            r#"{"a_fixed64":"5","a_sfixed64":"-5"}"#,
        ),
        (r#"{"a_colour": "COLOUR_DARK"}"#, r#"{"a_colour":-7}"#),
        (r#"{"a_colour": 99}"#, r#"{"a_colour":99}"#),
        (r#"{"a_bytes": "-_-_"}"#, r#"{"a_bytes":"+/+/"}"#),
        (r#"{"a_bytes": "Zg"}"#, r#"{"a_bytes":"Zg=="}"#),
        (
            r#"{"a_double": "NaN", "a_float": "-Infinity"}"#,
            r#"{"a_double":"NaN","a_float":"-Infinity"}"#,
        ),
        (r#"{"a_double": "1.5"}"#, r#"{"a_double":1.5}"#),
        (r#"{"elsewhere": "x"}"#, r#"{"renamed":"x"}"#),
        (r#"{"renamed": "x"}"#, r#"{"renamed":"x"}"#),
        (r#"{"maybe": 0}"#, r#"{"maybe":0}"#),
        (r#"{"left": ""}"#, r#"{"left":""}"#),
        (r#"{"left": null, "right": 1}"#, r#"{"right":"1"}"#),
        (r#"{"neither": null}"#, r#"{"neither":null}"#),
        (r#"{"neither": "NULL_VALUE"}"#, r#"{"neither":null}"#),
        (r#"{"by_bool": {}, "numbers": null, "a_bool": null}"#, "{}"),
        (
            r#"{"by_int64": {"-1": "a"}, "by_string": {"": 0}}"#,
            r#"{"by_int64":{"-1":"a"},"by_string":{"":0}}"#,
        ),
        (
            r#"{"timestamp": "1970-01-01T01:00:00.5+01:00"}"#,
            r#"{"timestamp":"1970-01-01T00:00:00.500Z"}"#,
        ),
        (
            r#"{"duration": "-0.000000001s"}"#,
            r#"{"duration":"-0.000000001s"}"#,
        ),
        (
            r#"{"mask": "aDouble,inner.anInt32"}"#,
            r#"{"mask":"aDouble,inner.anInt32"}"#,
        ),
        (r#"{"mask": ""}"#, r#"{"mask":""}"#),
        (
            r#"{"struct": {"b": [1, null], "a": {}}}"#,
            r#"{"struct":{"a":{},"b":[1,null]}}"#,
        ),
        (r#"{"value": null}"#, r#"{"value":null}"#),
        (
            r#"{"values": [true, "x"], "many_values": [null, 1]}"#,
            r#"{"many_values":[null,1],"values":[true,"x"]}"#,
        ),
        (r#"{"empty": {"unknown": 1}}"#, r#"{"empty":{}}"#),
        (
            r#"{"wrapped_int64": 5, "wrapped_double": "NaN"}"#,
            r#"{"wrapped_double":"NaN","wrapped_int64":"5"}"#,
        ),
        (r#"{"wrapped_string": ""}"#, r#"{"wrapped_string":""}"#),
        (r#"{"wrapped_bytes": "_w"}"#, r#"{"wrapped_bytes":"/w=="}"#),
        (r#"{"any": {}}"#, r#"{"any":{}}"#),
        (
            r#"{"any": {"value": "1s", "@type": "x.y/google.protobuf.Duration"}}"#,
            r#"{"any":{"@type":"x.y/google.protobuf.Duration","value":"1s"}}"#,
        ),
        (
            r#"{"any": {"@type": "/google.protobuf.Empty", "value": {}}}"#,
            r#"{"any":{"@type":"/google.protobuf.Empty","value":{}}}"#,
        ),
    ] {
        assert_eq!(said(text), written, "{text}");
    }
}

#[test]
fn text_is_escaped_where_it_has_to_be() {
    let text = "\"\\/\u{8}\n\r\t\0\u{1f} ä\u{1f600}\u{7f}\u{2028}";
    let mut message = DynamicMessage::new(descriptor());
    message.set_field_by_name("a_string", Value::String(text.into()));
    let written = write(message.encode_to_vec().into(), 4096).unwrap();
    assert!(
        written.contains(r#""\"\\/\u0008\n\r\t\u0000\u001f ä"#),
        "{written}"
    );
    let read: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(read["a_string"], text);
}

#[test]
fn what_is_not_known_is_ignored() {
    assert_eq!(
        said(r#"{"nobody": [{"knows": null}], "a_bool": true}"#),
        r#"{"a_bool":true}"#
    );
    assert_eq!(said(r#"{"a_colour": "COLOUR_OF_THE_FUTURE"}"#), "{}");
    assert_eq!(
        said(r#"{"colours": [1, "COLOUR_OF_THE_FUTURE", 2]}"#),
        r#"{"colours":[1,2]}"#
    );
    let entries = r#"{"by_uint32": {"1": "COLOUR_OF_THE_FUTURE", "2": "COLOUR_RED"}}"#;
    assert_eq!(said(entries), r#"{"by_uint32":{"2":1}}"#);
}

#[test]
fn what_is_wrong_is_said_and_where() {
    for (text, expected) in [
        ("", "at byte 0: expected an object and found the end"),
        ("[]", "at byte 0: expected an object and found '['"),
        ("{} x", "at byte 3: expected nothing more and found 'x'"),
        (
            r#"{"a_bool": 1}"#,
            "at byte 11: expected true or false and found '1' (field test.json.Shapes.a_bool)",
        ),
        (
            r#"{"an_int32": 2147483648}"#,
            "at byte 13: 2147483648 is no int32 (field test.json.Shapes.an_int32)",
        ),
        (
            r#"{"an_int32": 1.5}"#,
            "at byte 13: 1.5 is no int32 (field test.json.Shapes.an_int32)",
        ),
        (
            r#"{"an_int32": " 1"}"#,
            "at byte 13: the string is not an integer (field test.json.Shapes.an_int32)",
        ),
        (
            r#"{"a_uint64": -1}"#,
            "at byte 13: -1 is no uint64 (field test.json.Shapes.a_uint64)",
        ),
        (
            r#"{"an_int64": 9223372036854775808.0}"#,
            "at byte 13: 9223372036854775808.0 is no int64 (field test.json.Shapes.an_int64)",
        ),
        (
            r#"{"a_float": 1e39}"#,
            "at byte 12: it is beyond a number of 32 bits (field test.json.Shapes.a_float)",
        ),
        (
            r#"{"a_double": "inf"}"#,
            "at byte 13: the string is not a number of 64 bits (field test.json.Shapes.a_double)",
        ),
        (
            r#"{"a_double": "1e400"}"#,
            "at byte 13: it is beyond a number of 64 bits (field test.json.Shapes.a_double)",
        ),
        (
            r#"{"a_bytes": "Z"}"#,
            "at byte 12: not base64 (field test.json.Shapes.a_bytes)",
        ),
        (
            r#"{"a_colour": 2147483648}"#,
            "at byte 13: no number of an enum: they have 32 bits (field test.json.Shapes.a_colour)",
        ),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_in_objects_is_said_and_where() {
    for (text, expected) in [
        (
            r#"{"a_bool":true,"aBool":true}"#,
            "at byte 23: it is there twice (field test.json.Shapes.a_bool)",
        ),
        (
            r#"{"a_bool":null,"a_bool":null}"#,
            "at byte 24: it is there twice (field test.json.Shapes.a_bool)",
        ),
        (
            r#"{"by_int64":{"1":"a","01":"b"}}"#,
            "at byte 26: \"01\" is no key of the type int64 (field test.json.Shapes.by_int64)",
        ),
        (
            r#"{"by_string":{"a":1,"\u0061":2}}"#,
            "at byte 29: the key \"a\" is there twice (field test.json.Shapes.by_string)",
        ),
        (
            r#"{"by_bool":{"1":{}}}"#,
            "at byte 16: \"1\" is no key of the type bool (field test.json.Shapes.by_bool)",
        ),
        (
            r#"{"struct":{"a":1,"a":1}}"#,
            "at byte 21: the key \"a\" is there twice (field test.json.Shapes.struct)",
        ),
        (
            r#"{"left":"a","right":1}"#,
            "at byte 20: two fields of the oneof either are there (field test.json.Shapes.right)",
        ),
        (
            r#"{"numbers":[null]}"#,
            "at byte 12: expected an integer and found 'n' (field test.json.Shapes.numbers)",
        ),
        (
            r#"{"inner":{"inner":[]}}"#,
            "at byte 18: expected an object and found '[' (field test.json.Shapes.inner)",
        ),
        (
            r#"{"timestamp":"1970-02-30T00:00:00Z"}"#,
            "at byte 13: not a timestamp of RFC 3339 (field test.json.Shapes.timestamp)",
        ),
        (
            r#"{"duration":"1"}"#,
            "at byte 12: not a duration such as \"1.5s\" (field test.json.Shapes.duration)",
        ),
        (
            r#"{"mask":"an_int32"}"#,
            "at byte 8: a field mask is paths in lowerCamelCase, with commas between them (field test.json.Shapes.mask)",
        ),
        (
            r#"{"any":{"a_bool":true}}"#,
            "at byte 7: an Any without the name \"@type\" (field test.json.Shapes.any)",
        ),
        (
            r#"{"any":{"@type":"x/no.Such"}}"#,
            "at byte 7: the type \"x/no.Such\" of an Any is not known: import its file where the service is described \
             (field test.json.Shapes.any)",
        ),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
    assert!(fault("{\"a_string\":\"\u{1}\"}").contains("control character"));
    let long = format!(r#"{{"by_bool":{{"{}":{{}}}}}}"#, "k".repeat(100_000));
    assert!(
        fault(&long).len() < 200,
        "what a peer sends is not sent back"
    );
    let not_text = read(b"{\"a_string\":\"ab\xff\"}").unwrap_err();
    assert!(
        not_text.message().ends_with("at byte 15: not UTF-8"),
        "{not_text}"
    );
}

#[test]
fn what_is_nested_too_deep_is_refused_on_a_small_stack() {
    let nested = |open: &str, levels: usize, close: &str| {
        format!(
            "{{\"value\":{}1{}}}",
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let run = move || {
        let inner = |levels: usize| "{\"inner\":".repeat(levels) + "{}" + &"}".repeat(levels);
        assert!(read(inner(99).as_bytes()).is_ok());
        assert!(fault(&inner(100)).contains("messages deeper than the 100 levels"));
        let list = |levels: usize| "{\"list\":[".repeat(levels) + "{}" + &"]}".repeat(levels);
        let written = write(read(list(99).as_bytes()).unwrap(), 1 << 20).unwrap();
        assert!(
            read(written.as_bytes()).is_ok(),
            "what is written has more levels"
        );
        assert!(fault(&nested("[", 100_000, "]")).contains("deeper than the 100 levels"));
        assert!(fault(&nested("{\"a\":", 100_000, "}")).contains("deeper than the 100 levels"));
        assert!(
            fault(&format!("{{\"x\":{}}}", "[".repeat(100_000)))
                .contains("deeper than the 201 levels")
        );
        let any = |levels: usize| {
            let open = r#"{"@type":"x/google.protobuf.Any","value":"#;
            format!(
                "{{\"any\":{}{{}}{}}}",
                open.repeat(levels),
                "}".repeat(levels)
            )
        };
        assert!(read(any(7).as_bytes()).is_ok());
        assert!(fault(&any(8)).contains("more than 8 messages of the type Any"));
    };
    small.spawn(run).unwrap().join().unwrap();
}

/// A message in an `Any` in an `Any`, and so on: as protobuf it is bytes, and no reader of protobuf counts its levels.
fn anys(levels: usize) -> Bytes {
    let url = b"x/google.protobuf.Any";
    let content = (0..levels).fold(Vec::new(), |inner, _| {
        let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
        any.extend_from_slice(url);
        any.push(0x12);
        prost_reflect::prost::encoding::encode_varint(inner.len() as u64, &mut any);
        any.extend(inner);
        any
    });
    let mut shapes = vec![0xf2, 0x02];
    prost_reflect::prost::encoding::encode_varint(content.len() as u64, &mut shapes);
    shapes.extend(content);
    shapes.into()
}

#[test]
fn a_message_that_hides_its_depth_in_anys_is_not_written() {
    assert!(write(anys(8), 1 << 20).is_ok());
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let run = || {
        let refused = write(anys(10_000), 1 << 20).unwrap_err();
        assert_eq!(refused.code(), Code::Unencodable);
        assert!(
            refused.message().contains("deeper than the 100 levels"),
            "{refused}"
        );
    };
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn no_more_is_written_than_a_body_may_have() {
    // Two bytes each, and hundreds as JSON.
    let many: Bytes = [0xba, 0x01, 0x00].repeat(100_000).into();
    let refused = write(many, 1_000_000).unwrap_err();
    assert_eq!(refused.code(), Code::Unencodable);
    assert!(
        refused.message().contains("longer than the 1000000 bytes"),
        "{refused}"
    );
    let empty = write(Bytes::new(), 4096).unwrap().len();
    assert!(write(Bytes::new(), empty).is_ok());
    assert!(write(Bytes::new(), empty - 1).is_err());
}

#[test]
fn what_json_has_no_form_for_is_refused() {
    for (field, value) in [("timestamp", i64::MAX), ("duration", i64::MIN)] {
        let mut message = DynamicMessage::new(descriptor());
        let time = message
            .get_field_by_name_mut(field)
            .unwrap()
            .as_message_mut()
            .unwrap();
        time.set_field_by_name("seconds", Value::I64(value));
        let refused = write(message.encode_to_vec().into(), 4096).unwrap_err();
        assert!(
            refused
                .message()
                .contains(&format!("(field test.json.Shapes.{field})")),
            "{refused}"
        );
    }
}

#[test]
fn a_type_that_nobody_describes_is_named_with_the_remedy() {
    let formats = Formats::default();
    for of in [
        MessageType::UNKNOWN,
        MessageType {
            name: "demo.Thing",
            files: &[],
            large: None,
        },
    ] {
        let refused = encode(&Protobuf(Bytes::new()), Format::Json, || &formats, &of).unwrap_err();
        assert_eq!(refused.code(), Code::Unencodable);
        assert!(
            refused
                .message()
                .contains("support::Protobuf, so it has no JSON: call it by generated"),
            "{refused}"
        );
        let body = Bytes::from_static(b"{}");
        let refused = decode::<Protobuf>(Format::Json, || &formats, &of, body).unwrap_err();
        assert_eq!(refused.code(), Code::Malformed);
    }
    let other = MessageType {
        name: "demo.Thing",
        ..shapes()
    };
    let refused = encode(&Protobuf(Bytes::new()), Format::Json, || &formats, &other).unwrap_err();
    assert!(
        refused
            .message()
            .contains("the description of demo.Thing is broken"),
        "{refused}"
    );
}

#[test]
fn the_empty_message_is_never_no_bytes() {
    let formats = Formats::default();
    let body = encode(
        &Protobuf(Bytes::new()),
        Format::Json,
        || &formats,
        &shapes(),
    )
    .unwrap();
    assert!(body.starts_with(b"{"));
    let read = decode::<Protobuf>(Format::Json, || &formats, &shapes(), Bytes::new());
    assert_eq!(read.unwrap().0, Bytes::new());
}

fn shape(levels: u32) -> BoxedStrategy<DynamicMessage> {
    let scalars = (
        any::<f64>(),
        any::<f32>(),
        any::<i32>(),
        any::<i64>(),
        any::<u32>(),
        any::<u64>(),
        any::<bool>(),
        any::<String>(),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::option::of(any::<i32>()),
    );
    let more = (
        prop::collection::vec(any::<i64>(), 0..4),
        prop::collection::hash_map(any::<String>(), any::<i32>(), 0..4),
        prop::collection::hash_map(any::<i64>(), any::<String>(), 0..4),
        (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000_i32),
        prop::option::of(prop_oneof![
            any::<String>().prop_map(Value::String),
            any::<i64>().prop_map(Value::I64)
        ]),
    );
    let inner = if levels == 0 {
        Just(None).boxed()
    } else {
        prop::option::of(shape(levels - 1)).boxed()
    };
    (scalars, more, inner)
        .prop_map(|(scalars, more, inner)| {
            let mut message = DynamicMessage::new(descriptor());
            let mut set = |name: &str, value| message.set_field_by_name(name, value);
            set("a_double", Value::F64(scalars.0));
            set("a_float", Value::F32(scalars.1));
            set("a_sint32", Value::I32(scalars.2));
            set("a_colour", Value::EnumNumber(scalars.2));
            set("an_int64", Value::I64(scalars.3));
            set("a_sfixed64", Value::I64(scalars.3));
            set("a_fixed32", Value::U32(scalars.4));
            set("a_uint64", Value::U64(scalars.5));
            set("a_bool", Value::Bool(scalars.6));
            set("a_string", Value::String(scalars.7));
            set("a_bytes", Value::Bytes(scalars.8.into()));
            if let Some(maybe) = scalars.9 {
                set("maybe", Value::I32(maybe));
            }
            set(
                "numbers",
                Value::List(more.0.into_iter().map(Value::I64).collect()),
            );
            let entries = more
                .1
                .into_iter()
                .map(|(key, value)| (MapKey::String(key), Value::I32(value)));
            set("by_string", Value::Map(entries.collect()));
            let entries = more
                .2
                .into_iter()
                .map(|(key, value)| (MapKey::I64(key), Value::String(value)));
            set("by_int64", Value::Map(entries.collect()));
            let timestamp = descriptor().get_field_by_name("timestamp").unwrap().kind();
            let mut time = DynamicMessage::new(timestamp.as_message().unwrap().clone());
            time.set_field_by_name("seconds", Value::I64(more.3.0));
            time.set_field_by_name("nanos", Value::I32(more.3.1));
            set("timestamp", Value::Message(time));
            match more.4 {
                Some(text @ Value::String(_)) => set("left", text),
                Some(number) => set("right", number),
                None => {}
            }
            if let Some(inner) = inner {
                set("inner", Value::Message(inner));
            }
            message
        })
        .boxed()
}

/// As protobuf, because it is shown when a test fails, and a dynamic message shows all that describes it.
fn any_shape() -> impl Strategy<Value = Vec<u8>> {
    shape(2).prop_map(|message| message.encode_to_vec())
}

fn dynamic(protobuf: impl prost_reflect::prost::bytes::Buf) -> DynamicMessage {
    DynamicMessage::decode(descriptor(), protobuf).expect("it is protobuf")
}

fn text(protobuf: impl Into<Bytes>) -> String {
    write(protobuf.into(), 1 << 20).expect("it can be written")
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_by_us_and_by_another(protobuf in any_shape()) {
        let written = text(protobuf.clone());
        judged(&written, &dynamic(&*protobuf)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(support::run(written.as_bytes()), Ok(true));
        prop_assert_eq!(text(read(written.as_bytes()).unwrap()), written);
    }

    #[test]
    fn what_another_writes_is_read_as_the_same(protobuf in any_shape()) {
        let theirs = serde_json::to_string(&dynamic(&*protobuf)).unwrap();
        prop_assert_eq!(text(read(theirs.as_bytes()).unwrap()), text(protobuf));
    }
}
