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
use tern_conformance::{blob, wire};

use super::pb::{ConformanceClient, Payload};

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
    let client = ConformanceClient::new(channel);
    let say = |number: usize, call: &Value| {
        wire::pause(Duration::from_millis(
            call["after_ms"].as_u64().unwrap_or(0),
        ));
        let mut outcome = make(&client, call);
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
    wire::pause(STAY);
    Ok(())
}

fn make(client: &ConformanceClient<Channel>, asked: &Value) -> Value {
    let number = |name: &str| asked[name].as_u64().unwrap_or(0);
    let small = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
    let data = match asked["text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => blob::fill(usize::try_from(number("size")).unwrap_or(usize::MAX)),
    };
    let mut call = client
        .echo(Payload { data, delay_ms: 0 })
        .timeout(Duration::from_millis(number("timeout_ms")))
        .format(format_of(small("content_type")))
        .compress(compression_of(small("content_encoding")));
    for (key, value) in asked["metadata"].as_object().into_iter().flatten() {
        let value = blob::unhex(value.as_str().unwrap_or_default()).unwrap_or_default();
        call = call.metadata(key.clone(), value);
    }
    if number("metadata_bytes") > 0 {
        let length = usize::try_from(number("metadata_bytes")).unwrap_or(usize::MAX);
        call = call.metadata("app-long", blob::fill(length));
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

fn failure(status: &Status) -> Value {
    let origin = match (status.code(), status.origin()) {
        (Code::Service(_), _) => "service",
        (_, Origin::Remote) => "remote",
        (_, Origin::Local) => "local",
    };
    let code = ret::number(status.code());
    json!({"ok": false, "origin": origin, "code": code, "message": status.message()})
}

fn format_of(number: u32) -> Format {
    match number {
        0 => Format::Protobuf,
        2 => Format::Json,
        4 => Format::Raw,
        other => Format::Other(other),
    }
}

fn compression_of(number: u32) -> Compression {
    match number {
        0 => Compression::None,
        1 => Compression::Gzip,
        3 => Compression::Zlib,
        4 => Compression::SnappyStream,
        5 => Compression::SnappyBlock,
        6 => Compression::Lz4Frame,
        7 => Compression::Lz4Block,
        other => Compression::Other(other),
    }
}
