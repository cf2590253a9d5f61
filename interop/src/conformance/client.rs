//! Our client for the kit: makes the calls that it is told and prints what came of each.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tern::codec::ret;
use tern::{
    Bytes, Call, Channel, Code, Codecs, Compression, Fixed, Format, Origin, Response, Status, park,
};
use tern_conformance::{blob, time};

use super::pb::{ConformanceClient, ConformanceStreamsClient, Payload};
use super::stream_calls;

/// How long this stays when all calls are made: what is still to be sent is sent while the kit looks. The kit ends it.
const STAY: Duration = Duration::from_secs(30);

/// Makes the calls that `text` describes on the server at `address`, as `conformance/README.md` says.
///
/// # Errors
///
/// When `text` cannot be read, or there is no channel to the address.
pub fn run(address: &str, text: &str) -> Result<(), String> {
    let asked: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let calls = asked["calls"].as_array().ok_or("calls is not a list")?;
    let channel = Channel::builder("tern.conformance.v1.Conformance")
        .resolve(Fixed::new([address]))
        .caller("trpc.conformance.tern.Client")
        .connections_per_endpoint(1)
        .codecs(Codecs::default().with_bytes_min(0))
        .build()
        .map_err(|error| error.to_string())?;
    let streams = ConformanceStreamsClient::new(channel.clone());
    let client = ConformanceClient::new(channel);
    let say = |number: usize, call: &Value| {
        time::pause(Duration::from_millis(
            call["after_ms"].as_u64().unwrap_or(0),
        ));
        let mut outcome = match call["stream"] {
            Value::Null => make(&client, call),
            _ => stream_calls::make(&streams, call),
        };
        outcome["call"] = json!(number);
        let mut out = std::io::stdout().lock();
        // Whoever does not listen any more has heard enough.
        let _ = writeln!(out, "{outcome}").and_then(|()| out.flush());
    };
    if asked["at_once"] == json!(true) {
        thread::scope(|scope| {
            for (number, call) in calls.iter().enumerate() {
                scope.spawn(move || say(number, call));
            }
        });
    } else {
        calls
            .iter()
            .enumerate()
            .for_each(|(number, call)| say(number, call));
    }
    time::pause(STAY);
    Ok(())
}

fn make(client: &ConformanceClient<Channel>, asked: &Value) -> Value {
    let payload = payload_of(asked);
    let mut call = match asked["method"].as_str() {
        Some("Attach") => client.attach(payload),
        _ => client.echo(payload),
    };
    call = call
        .timeout(timeout_of(asked))
        .format(format_of(asked))
        .compress(compression_of(asked));
    for (key, value) in metadata_of(asked) {
        call = call.metadata(key, value);
    }
    if let Some(attachment) = asked["attachment"].as_str() {
        call = call.attachment(Bytes::copy_from_slice(attachment.as_bytes()));
    }
    if asked["one_way"] == json!(true) {
        return told(send(call));
    }
    match call.wait_response() {
        Ok(response) => success(&response),
        Err(status) => failure(&status),
    }
}

fn send(call: Call<Channel, Payload, Payload>) -> Result<(), Status> {
    park::wait(call.one_way()).unwrap_or_else(|| Err(Status::internal("this is no event loop")))
}

fn told(sent: Result<(), Status>) -> Value {
    match sent {
        Ok(()) => json!({"ok": true}),
        Err(status) => failure(&status),
    }
}

fn success(response: &Response<Payload>) -> Value {
    let data = &response.body().data;
    let metadata: BTreeMap<_, _> = response
        .metadata()
        .iter()
        .map(|(key, value)| (key.to_string(), blob::hex(value)))
        .collect();
    let mut outcome = json!({"ok": true, "size": data.len(), "metadata": metadata});
    if let Ok(text) = std::str::from_utf8(data)
        && data.len() <= 256
    {
        outcome["text"] = json!(text);
    }
    if let Ok(text) = std::str::from_utf8(response.attachment()) {
        outcome["attachment"] = json!(text);
    }
    outcome
}

pub(super) fn failure(status: &Status) -> Value {
    let origin = match (status.code(), status.origin()) {
        (Code::Service(_), _) => "service",
        (_, Origin::Remote) => "remote",
        (_, Origin::Local) => "local",
    };
    let code = ret::number(status.code());
    json!({"ok": false, "origin": origin, "code": code, "message": status.message()})
}

/// A number of the description of a call, 0 if it is not there.
pub(super) fn number(asked: &Value, name: &str) -> u64 {
    asked[name].as_u64().unwrap_or(0)
}

fn length(asked: &Value, name: &str) -> usize {
    usize::try_from(number(asked, name)).unwrap_or(usize::MAX)
}

/// The message that is asked for.
pub(super) fn payload_of(asked: &Value) -> Payload {
    let data = match asked["text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => blob::fill(length(asked, "size")),
    };
    Payload { data, delay_ms: 0 }
}

pub(super) fn timeout_of(asked: &Value) -> Duration {
    Duration::from_millis(number(asked, "timeout_ms"))
}

/// The metadata that is asked for.
pub(super) fn metadata_of(asked: &Value) -> Vec<(String, Vec<u8>)> {
    let entries = asked["metadata"].as_object().into_iter().flatten();
    let mut metadata: Vec<_> = entries
        .map(|(key, value)| {
            let value = blob::unhex(value.as_str().unwrap_or_default());
            (key.clone(), value.unwrap_or_default())
        })
        .collect();
    let long = length(asked, "metadata_bytes");
    if long > 0 {
        metadata.push(("app-long".to_owned(), blob::fill(long)));
    }
    metadata
}

pub(super) fn format_of(asked: &Value) -> Format {
    match number(asked, "content_type") {
        0 => Format::Protobuf,
        2 => Format::Json,
        4 => Format::Raw,
        other => Format::Other(u32::try_from(other).unwrap_or(u32::MAX)),
    }
}

pub(super) fn compression_of(asked: &Value) -> Compression {
    match number(asked, "content_encoding") {
        0 => Compression::None,
        1 => Compression::Gzip,
        3 => Compression::Zlib,
        4 => Compression::SnappyStream,
        5 => Compression::SnappyBlock,
        6 => Compression::Lz4Frame,
        7 => Compression::Lz4Block,
        other => Compression::Other(u32::try_from(other).unwrap_or(u32::MAX)),
    }
}
