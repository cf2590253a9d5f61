//! Frames: reads what came, and writes what a case describes, also what no implementation would send.

use std::fmt;

use serde_json::{Value, json};

use crate::schema::{self, Message};
use crate::{blob, pack, protobuf, vectors};

/// How long the fixed header is.
pub const FIXED_BYTES: usize = 16;

/// The first two bytes of each frame.
const MAGIC: u64 = 0x0930;

/// What a service of the kit's proto is called in paths.
pub const SERVICE: &str = "tern.conformance.v1.Conformance";

/// A frame that came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// `request`, `response`, `init`, `data`, `feedback` or `close`.
    pub kind: &'static str,
    /// The fixed header.
    pub fixed: Value,
    /// The head of a unary frame, or the payload of a stream frame that is not DATA.
    pub head: Value,
    /// The body of a unary frame, or the payload of DATA.
    pub body: Vec<u8>,
    /// What follows the body.
    pub attachment: Vec<u8>,
}

/// Which end's frames are read: it says what the head of a unary frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Unary frames are requests.
    Client,
    /// Unary frames are responses.
    Server,
}

/// The length that a fixed header tells, 16 bytes included.
///
/// # Errors
///
/// When these are not the first bytes of a frame.
pub fn length(fixed: &[u8; FIXED_BYTES]) -> Result<usize, String> {
    let magic = number(&fixed[..2]);
    if magic != MAGIC {
        return Err(format!("the magic is {magic:#06x} and not {MAGIC:#06x}"));
    }
    let total = usize::try_from(number(&fixed[4..8])).expect("four bytes");
    if total < FIXED_BYTES {
        return Err(format!("total_len is {total}, less than the fixed header"));
    }
    Ok(total)
}

impl Frame {
    /// Reads a whole frame.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(bytes: &[u8], from: From) -> Result<Self, String> {
        let (fixed, rest) = bytes
            .split_first_chunk::<FIXED_BYTES>()
            .ok_or("less than a fixed header")?;
        if length(fixed)? != bytes.len() {
            return Err(format!("total_len does not fit {} bytes", bytes.len()));
        }
        let head_len = usize::try_from(number(&fixed[8..10])).expect("two bytes");
        let (head, body) = rest
            .split_at_checked(head_len)
            .ok_or_else(|| format!("header_len {head_len} is beyond the frame"))?;
        let shown = json!({
            "frame_type": fixed[2], "stream_frame_type": fixed[3], "total_len": bytes.len(),
            "header_len": head_len, "stream_id": number(&fixed[10..14]), "version": fixed[14], "reserved": fixed[15],
        });
        match (fixed[2], fixed[3]) {
            (0, 0) => Self::read_unary(shown, head, body, from),
            (1, _) if head_len != 0 => Err(format!("a stream frame with header_len {head_len}")),
            (1, kind @ 1..=4) => Self::read_stream(shown, kind, body),
            (kind, stream) => Err(format!("frame_type {kind}, stream_frame_type {stream}")),
        }
    }

    fn read_unary(fixed: Value, head: &[u8], body: &[u8], from: From) -> Result<Self, String> {
        let (kind, message) = match from {
            From::Client => ("request", &schema::REQUEST),
            From::Server => ("response", &schema::RESPONSE),
        };
        let head = protobuf::read(message, head)?;
        let attachment = head.get("attachment_size").and_then(Value::as_u64);
        let has_failed = ["ret", "func_ret"]
            .iter()
            .any(|name| head.get(name).is_some_and(|ret| *ret != json!(0)));
        let attachment = usize::try_from(attachment.unwrap_or(0)).unwrap_or(usize::MAX);
        let at = match body.len().checked_sub(attachment) {
            Some(at) => at,
            // Errors of Go servers tell the length of an attachment that was dropped.
            None if has_failed => body.len(),
            None => {
                return Err(format!(
                    "attachment_size {attachment} with {} bytes left",
                    body.len()
                ));
            }
        };
        let (body, attachment) = body.split_at(at);
        Ok(Self {
            kind,
            fixed,
            head,
            body: body.to_vec(),
            attachment: attachment.to_vec(),
        })
    }

    fn read_stream(fixed: Value, kind: u8, payload: &[u8]) -> Result<Self, String> {
        let (kind, message) = match kind {
            1 => ("init", Some(&schema::INIT)),
            2 => ("data", None),
            3 => ("feedback", Some(&schema::FEEDBACK)),
            _ => ("close", Some(&schema::CLOSE)),
        };
        let (head, body) = match message {
            Some(message) => (protobuf::read(message, payload)?, Vec::new()),
            None => (json!({}), payload.to_vec()),
        };
        Ok(Self {
            kind,
            fixed,
            head,
            body,
            attachment: Vec::new(),
        })
    }

    /// The number of a field of the head; absent is 0.
    pub fn number(&self, name: &str) -> u64 {
        self.head.get(name).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// In one line, for whoever has to find out what went wrong.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.fixed["stream_id"];
        write!(f, "{} (id {id}) {}", self.kind, self.head)?;
        if !self.body.is_empty() {
            write!(f, " body {}", blob::show(&self.body))?;
        }
        if !self.attachment.is_empty() {
            write!(f, " attachment {}", blob::show(&self.attachment))?;
        }
        Ok(())
    }
}

/// Writes the frame that `spec` describes. `README.md` says how.
///
/// # Errors
///
/// What is wrong with the description.
pub fn write(spec: &Value) -> Result<Vec<u8>, String> {
    if spec.get("hex").is_some() || spec.is_string() || spec.get("repeat").is_some() {
        return blob::read(spec);
    }
    if let Some(name) = spec.get("vector").and_then(Value::as_str) {
        return write_vector(name, spec);
    }
    if let Some(total) = spec.get("total_bytes").and_then(Value::as_u64) {
        return write_padded(spec, total);
    }
    for (kind, message) in [
        ("request", &schema::REQUEST),
        ("response", &schema::RESPONSE),
    ] {
        if let Some(head) = spec.get(kind) {
            return write_unary(spec, head, message);
        }
    }
    let parts = [
        ("init", 1, Some(&schema::INIT)),
        ("data", 2, None),
        ("feedback", 3, Some(&schema::FEEDBACK)),
        ("close", 4, Some(&schema::CLOSE)),
    ];
    for (kind, stream_frame_type, message) in parts {
        if let Some(content) = spec.get(kind) {
            let payload = match message {
                Some(message) => protobuf::write(message, &named(content)?)?,
                None => write_body(content, spec)?,
            };
            let payload = match spec.get("payload") {
                Some(payload) => blob::read(payload)?,
                None => payload,
            };
            let defaults = json!({"frame_type": 1, "stream_frame_type": stream_frame_type, "stream_id": 100, "version": 0});
            return Ok(assemble(spec, &defaults, &[], &payload));
        }
    }
    Err(format!("{spec} describes no frame"))
}

/// A golden frame, with what the description changes: the id in both places.
fn write_vector(name: &str, spec: &Value) -> Result<Vec<u8>, String> {
    let vector = vectors::find(name)?;
    let Some(id) = spec.get("request_id") else {
        return Ok(vector.bytes);
    };
    let decoded = vector
        .decoded
        .ok_or_else(|| format!("{name} is broken: its id cannot be changed"))?;
    let kind = ["request", "response"]
        .into_iter()
        .find(|kind| decoded.get(kind).is_some())
        .ok_or_else(|| format!("{name} has no request_id"))?;
    let mut head = decoded[kind].clone();
    head["request_id"] = id.clone();
    if let Some(table) = head.get_mut("trans_info").and_then(Value::as_object_mut) {
        for value in table.values_mut() {
            *value = json!({ "hex": value });
        }
    }
    let body = json!({ "raw": {"hex": decoded["body_hex"]} });
    let attachment = json!({ "hex": decoded["attachment_hex"] });
    let version = &decoded["fixed"]["version_byte"];
    write(
        &json!({kind: head, "body": body, "attachment": attachment, "stream_id": id, "version": version}),
    )
}

/// A request whose payload is as long as it takes for a frame of `total` bytes.
fn write_padded(spec: &Value, total: u64) -> Result<Vec<u8>, String> {
    let mut spec = spec.clone();
    let fields = spec.as_object_mut().expect("it has fields");
    fields.remove("total_bytes");
    let mut write_with = |length: u64| {
        let body = json!({"as": {"Payload": {"data": {"fill": length}}}});
        spec["body"] = body;
        write(&spec)
    };
    let around = write_with(0)?.len() as u64;
    // The tag and the length of the payload take two to six bytes; an empty one is written too.
    for more in (0..6).rev() {
        let length = total
            .checked_sub(around + more)
            .ok_or_else(|| format!("a frame of {total} bytes has no room for its head"))?;
        let frame = write_with(length)?;
        if frame.len() as u64 == total {
            return Ok(frame);
        }
    }
    Err(format!("no payload makes a frame of {total} bytes"))
}

fn write_unary(spec: &Value, head: &Value, message: &Message) -> Result<Vec<u8>, String> {
    let mut fields = named(head)?;
    let attachment = match spec.get("attachment") {
        Some(attachment) => blob::read(attachment)?,
        None => Vec::new(),
    };
    let has_size = fields.get("attachment_size").is_some();
    if !attachment.is_empty() && !has_size {
        fields["attachment_size"] = json!(attachment.len());
    }
    let mut bytes = match spec.get("header_bytes") {
        Some(header) => blob::read(header)?,
        None => protobuf::write(message, &fields)?,
    };
    if let Some(suffix) = spec.get("header_suffix") {
        bytes.extend(blob::read(suffix)?);
    }
    let body = match spec.get("body") {
        Some(body) => write_body(body, &fields)?,
        None => Vec::new(),
    };
    let id = fields.get("request_id").cloned().unwrap_or(json!(0));
    let defaults = json!({"frame_type": 0, "stream_frame_type": 0, "stream_id": id, "version": 1});
    Ok(assemble(
        spec,
        &defaults,
        &bytes,
        &[body, attachment].concat(),
    ))
}

/// `"call": "Echo"` is short for the whole path.
fn named(head: &Value) -> Result<Value, String> {
    let mut fields = head
        .as_object()
        .ok_or_else(|| format!("{head} is not an object"))?
        .clone();
    if let Some(method) = fields.remove("call") {
        let method = method.as_str().unwrap_or_default();
        let path = if method.starts_with('/') {
            method.to_owned()
        } else {
            format!("/{SERVICE}/{method}")
        };
        fields.insert("func".to_owned(), json!(path));
    }
    if let Some(method) = fields.remove("open") {
        let method = method.as_str().unwrap_or_default();
        let path = if method.starts_with('/') {
            method.to_owned()
        } else {
            format!("/{SERVICE}Streams/{method}")
        };
        let meta = json!({"caller": "trpc.conformance.kit.Client", "callee": format!("{SERVICE}Streams"), "func": path});
        fields.insert("request_meta".to_owned(), meta);
    }
    Ok(Value::Object(fields))
}

/// A body by its message, as raw bytes or as JSON, packed as `around` says.
fn write_body(body: &Value, around: &Value) -> Result<Vec<u8>, String> {
    let plain = if let Some(raw) = body.get("raw") {
        // As it is, packed or not.
        return blob::read(raw);
    } else if let Some(json) = body.get("json") {
        json.to_string().into_bytes()
    } else if let Some(plain) = body.get("plain") {
        blob::read(plain)?
    } else if let Some((name, fields)) = body["as"].as_object().and_then(|it| it.iter().next()) {
        protobuf::write(schema::body(name)?, fields)?
    } else {
        return Err(format!("{body} is no body: use as, json, plain or raw"));
    };
    let encoding = around.get("content_encoding").and_then(Value::as_u64);
    if plain.is_empty() {
        return Ok(plain);
    }
    pack::pack(encoding.unwrap_or(0), &plain)
}

/// Puts a frame together. What `spec` says of the fixed header is written, true or not.
fn assemble(spec: &Value, defaults: &Value, head: &[u8], rest: &[u8]) -> Vec<u8> {
    let field = |name: &str, honest: usize| {
        let given = spec.get(name).or_else(|| defaults.get(name));
        given.and_then(Value::as_u64).unwrap_or(honest as u64)
    };
    let magic = field("magic", usize::try_from(MAGIC).expect("small"));
    let total = field("total_len", FIXED_BYTES + head.len() + rest.len());
    let fixed = [
        &low::<2>(magic)[..],
        &low::<1>(field("frame_type", 0)),
        &low::<1>(field("stream_frame_type", 0)),
        &low::<4>(total),
        &low::<2>(field("header_len", head.len())),
        &low::<4>(field("stream_id", 0)),
        &low::<1>(field("version", 1)),
        &low::<1>(field("reserved", 0)),
    ];
    [&fixed.concat(), head, rest].concat()
}

/// The last bytes of a number, in the order of the wire.
fn low<const N: usize>(value: u64) -> [u8; N] {
    let bytes = value.to_be_bytes();
    *bytes.last_chunk().expect("at most eight")
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Vector;

    /// What the golden frames say, in the words of [`Frame`]: they name defaults, and show metadata in hex.
    fn expected(decoded: &Value, part: &str) -> Value {
        let mut fields = decoded[part].clone();
        if let Some(table) = fields.get_mut("trans_info").and_then(Value::as_object_mut) {
            for value in table.values_mut() {
                *value = blob::show(&blob::unhex(value.as_str().unwrap()).unwrap());
            }
        }
        let fields = fields.as_object_mut().unwrap();
        fields.retain(|_, value| *value != json!(0) && *value != json!("") && *value != json!({}));
        json!(fields)
    }

    fn check(vector: &Vector, decoded: &Value) {
        let from = if decoded.get("request").is_some() {
            From::Client
        } else {
            From::Server
        };
        let frame = Frame::read(&vector.bytes, from).expect(&vector.name);
        assert_eq!(frame.fixed["total_len"], decoded["fixed"]["total_len"]);
        assert_eq!(frame.fixed["stream_id"], decoded["fixed"]["stream_id"]);
        if let Some(part) = ["request", "response"]
            .into_iter()
            .find(|part| decoded.get(part).is_some())
        {
            assert_eq!(frame.kind, part, "{}", vector.name);
            assert_eq!(frame.head, expected(decoded, part), "{}", vector.name);
            let body = blob::unhex(decoded["body_hex"].as_str().unwrap()).unwrap();
            assert_eq!(frame.body, body, "{}", vector.name);
            let attachment = blob::unhex(decoded["attachment_hex"].as_str().unwrap()).unwrap();
            assert_eq!(frame.attachment, attachment, "{}", vector.name);
        }
    }

    #[test]
    fn the_golden_frames_are_read() {
        let mut valid = 0;
        for vector in vectors::all() {
            if let Some(decoded) = &vector.decoded {
                check(&vector, decoded);
                valid += 1;
            }
        }
        assert_eq!(valid, 24);
    }

    #[test]
    fn the_golden_frames_are_written() {
        for name in [
            "unary_request_pb",
            "unary_response_ok",
            "unary_response_negative_func_ret",
        ] {
            let vector = vectors::find(name).unwrap();
            let decoded = vector.decoded.unwrap();
            let part = ["request", "response"].into_iter();
            let part = part.clone().find(|part| decoded.get(part).is_some());
            let part = part.unwrap();
            let head = expected(&decoded, part);
            let spec = json!({part: head, "body": {"raw": {"hex": decoded["body_hex"]}}});
            assert_eq!(write(&spec), Ok(vector.bytes), "{name}");
        }
    }

    #[test]
    fn a_frame_is_padded_to_any_length() {
        for total in [200, 300, 16_500, 1 << 20] {
            let spec = json!({"request": {"call": "Echo", "request_id": 1}, "total_bytes": total});
            assert_eq!(write(&spec).unwrap().len(), total);
        }
    }

    #[test]
    fn what_a_description_says_of_the_fixed_header_is_written() {
        let spec = json!({"data": {"plain": ""}, "magic": 1, "total_len": 15, "stream_id": 7});
        let bytes = write(&spec).unwrap();
        assert_eq!(
            bytes,
            blob::unhex("0001 01 02 0000000f 0000 00000007 00 00").unwrap()
        );
    }
}
