//! Calls of our client on a server of tRPC-Go, in other formats than protobuf.

use std::collections::HashMap;

use tern::{Bytes, Call, Channel, Code, Fixed, Format, Origin, Raw};

use super::calls::Peers;
use super::pattern;
use crate::check::Check;
use crate::formats::Client;
use crate::go::GoServer;
use crate::pb::{Colour, Everything, FORMATS, everything::Choice};

/// All of them.
pub const CHECKS: [Check<Peers>; 6] = [
    check("JSON: every kind of field", everything_comes_back),
    check("JSON: the empty message", nothing_comes_back),
    check("JSON: its text is read", their_text),
    check("JSON: broken, ret 1", broken),
    check("raw bytes", raw),
    check("raw bytes to a message: ret 1", raw_to_a_message),
];

const fn check(name: &'static str, run: fn(&Peers)) -> Check<Peers> {
    Check { name, run }
}

fn started(peers: Peers) -> (GoServer, Channel) {
    let server = peers.go.server(peers.transport, &[]);
    let channel = Channel::builder("tern.interop.v1.Formats")
        .resolve(Fixed::new([server.address()]))
        .timeout(std::time::Duration::from_secs(5));
    (server, channel.build().expect("an address and a thread"))
}

/// Sends a text as JSON, and returns the text of the answer.
fn text(channel: &Channel, text: &'static str) -> Result<String, tern::Status> {
    let text = Raw(Bytes::from_static(text.as_bytes()));
    let call = Call::<_, Raw, Raw>::new(channel.clone(), &FORMATS.methods[0], text);
    let response = call.format(Format::Json).wait_response()?;
    assert_eq!(response.format(), Format::Json);
    let text = String::from_utf8(response.into_body().0.to_vec());
    Ok(text.expect("JSON is text"))
}

fn everything() -> Everything {
    Everything {
        lowest: i64::MIN,
        highest: u64::MAX,
        fixed: i64::MAX,
        small: i32::MIN,
        blob: vec![0, 0xfb, 0xff, 0xbf],
        yes: true,
        colour: Colour::Dark.into(),
        colours: vec![0, 1, 99],
        doubles: vec![
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            5e-324,
            f64::MAX,
            0.1,
            1e21,
            1e-7,
        ],
        floats: vec![f32::MAX, f32::from_bits(1), 0.1],
        by_name: HashMap::from([
            (String::new(), Everything::default()),
            ("ü\"\\\n\u{2028}".into(), Everything::default()),
        ]),
        by_number: HashMap::from([(i64::MIN, vec![1]), (0, Vec::new())]),
        by_truth: HashMap::from([(true, u64::MAX), (false, 0)]),
        choice: Some(Choice::Words(String::new())),
        maybe: Some(0),
        inner: Some(Box::new(Everything {
            two_words: "deep \u{1f600}\0".into(),
            ..Everything::default()
        })),
        list: vec![Everything::default()],
        two_words: "two words".into(),
        at: Some(prost_types::Timestamp {
            seconds: -62_135_596_800,
            nanos: 1,
        }),
        took: Some(prost_types::Duration {
            seconds: -1,
            nanos: -500_000_000,
        }),
        wrapped: Some(i64::MIN),
        loose: Some(prost_types::Struct {
            fields: [(
                "list".to_owned(),
                prost_types::Value::from(vec![1.5.into(), true.into()]),
            )]
            .into(),
        }),
    }
}

fn everything_comes_back(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let client = Client::new(channel);
    let sent = everything();
    let back = client.echo(sent.clone()).format(Format::Json).wait();
    let back = back.expect("it is read and written");
    assert_eq!(back, sent);
    assert!(back.doubles[0].is_sign_negative(), "negative zero");
    let not_a_number = Everything {
        doubles: vec![f64::NAN],
        floats: vec![f32::NAN],
        ..Everything::default()
    };
    let back = client.echo(not_a_number).format(Format::Json).wait();
    let back = back.expect("it is read and written");
    assert!(back.doubles[0].is_nan() && back.floats[0].is_nan());
}

fn nothing_comes_back(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let call = Client::new(channel).echo(Everything::default());
    let back = call.format(Format::Json).wait().expect("an answer");
    assert_eq!(back, Everything::default());
}

/// It may have spaces anywhere, to discourage comparisons.
fn their_text(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let answer = text(
        &channel,
        r#"{"twoWords":"x","colour":"COLOUR_RED","lowest":-1}"#,
    );
    let answer = answer.expect("either form is read").replace(' ', "");
    for part in [
        r#""two_words":"x""#,
        r#""colour":1"#,
        r#""lowest":"-1""#,
        r#""by_name":{}"#,
    ] {
        assert!(answer.contains(part), "no {part} in {answer}");
    }
}

fn broken(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let status = text(&channel, r#"{"small":"seven"}"#).expect_err("it is no number");
    assert_eq!(
        (status.code(), status.origin()),
        (Code::Malformed, Origin::Remote)
    );
}

fn raw(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let client = Client::new(channel);
    for length in [1, 100_000] {
        let bytes = pattern(length, 22);
        let back = client.echo_bytes(bytes.clone()).format(Format::Raw).wait();
        assert_eq!(back.expect("raw bytes"), bytes);
    }
}

fn raw_to_a_message(peers: &Peers) {
    let (_server, channel) = started(*peers);
    let bytes = Raw(Bytes::from_static(b"bytes"));
    let call = Call::<_, Raw, Raw>::new(channel, &FORMATS.methods[0], bytes);
    let status = call
        .format(Format::Raw)
        .wait()
        .expect_err("no message takes them");
    assert_eq!(
        (status.code(), status.origin()),
        (Code::Malformed, Origin::Remote)
    );
}
