//! The streams of our client for the kit.

use std::thread;

use serde_json::{Value, json};
use tern::stream::{Duplex, Inbound, Kind, Outbound, StreamCall};
use tern::{Channel, Status};

use super::client::{
    compression_of, failure, format_of, metadata_of, number, payload_of, timeout_of,
};
use super::pb::{ConformanceStreamsClient, Payload, SpreadRequest};

/// Opens the stream that `asked` names, says all that is to be said, and tells how it ended.
pub(super) fn make(client: &ConformanceStreamsClient<Channel>, asked: &Value) -> Value {
    let heard = match asked["stream"].as_str() {
        Some("Collect") => collect(client, asked),
        Some("Spread") => spread(client, asked),
        Some("Chat") => chat(dressed(client.chat(), asked), asked),
        _ => Err(Status::internal("the kit has no such stream")),
    };
    match heard {
        Ok(Heard { messages, size }) => json!({"ok": true, "messages": messages, "size": size}),
        Err(status) => failure(&status),
    }
}

/// What came of a stream that ended in order.
#[derive(Default)]
struct Heard {
    messages: u64,
    /// Of all of them together.
    size: usize,
}

fn collect(client: &ConformanceStreamsClient<Channel>, asked: &Value) -> Result<Heard, Status> {
    let mut upload = dressed(client.collect(), asked).open().wait()?;
    for _ in 0..number(asked, "messages") {
        // A server that has ended the stream says why when it is finished.
        if upload.send(payload_of(asked)).wait().is_err() {
            break;
        }
    }
    upload.finish().wait()?;
    Ok(Heard {
        messages: 1,
        size: 0,
    })
}

fn spread(client: &ConformanceStreamsClient<Channel>, asked: &Value) -> Result<Heard, Status> {
    let small = |name| u32::try_from(number(asked, name)).unwrap_or(u32::MAX);
    let request = SpreadRequest {
        count: small("messages"),
        size: small("size"),
        ..SpreadRequest::default()
    };
    let mut inbound = dressed(client.spread(request), asked).open().wait()?;
    heard(&mut inbound)
}

/// Sends and receives at the same time, as streams in both directions want it.
fn chat(
    call: StreamCall<Channel, Duplex<Payload, Payload>>,
    asked: &Value,
) -> Result<Heard, Status> {
    let (outbound, mut inbound) = call.open().wait()?;
    thread::scope(|scope| {
        scope.spawn(|| say(outbound, asked));
        heard(&mut inbound)
    })
}

fn say(mut outbound: Outbound<Payload>, asked: &Value) {
    for _ in 0..number(asked, "messages") {
        // How the stream ended, the other direction tells.
        if outbound.send(payload_of(asked)).wait().is_err() {
            return;
        }
    }
}

fn heard(inbound: &mut Inbound<Payload>) -> Result<Heard, Status> {
    let mut heard = Heard::default();
    while let Some(payload) = inbound.next().wait()? {
        heard.messages += 1;
        heard.size += payload.data.len();
    }
    Ok(heard)
}

/// The call with all that it carries.
fn dressed<K: Kind>(call: StreamCall<Channel, K>, asked: &Value) -> StreamCall<Channel, K> {
    let mut call = call
        .timeout(timeout_of(asked))
        .format(format_of(asked))
        .compress(compression_of(asked));
    for (key, value) in metadata_of(asked) {
        call = call.metadata(key, value);
    }
    call
}
