//! [`Json`]: protobuf's mapping to JSON, as peers of this protocol write it.
//!
//! | | written | read |
//! |---|---|---|
//! | names of fields | as in the .proto file | so, and in lowerCamelCase |
//! | default values | yes; not fields that know whether they are there | need not be there; `null` is the same |
//! | enums | numbers | numbers and names; names that are not known are ignored |
//! | 64-bit integers | strings | strings and numbers |
//! | `bytes` | base64 with padding | base64 in both alphabets, padded or not |
//! | NaN and infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` | so |
//! | unknown fields | | ignored |
//! | the same name twice | | refused |
//! | white space | none | any |
//!
//! `Timestamp`, `Duration`, `FieldMask`, `Struct`, `Value`, `ListValue`, the wrappers and `Any` have the forms of their own
//! that protobuf gives them. Extensions of proto2 are neither read nor written, as generated types do not have them.
//!
//! Text becomes protobuf in one pass, without a tree in between that a peer could make grow: what comes in is bounded by
//! its frame, by [`LEVELS_MAX`] levels of messages, and by [`read::ANYS_MAX`] `Any`s inside of each other. What goes out is bounded by
//! the limit for bodies while it is written, as a message of few bytes can have many default values.
//!
//! # Layout
//!
//! * `text` – JSON, piece by piece
//! * `read`, `write` – messages from it and to it, along their descriptors
//! * `known` – types with a form of their own
//! * `scalar` – numbers and base64
//! * `wire` – protobuf, as much as has to be written

mod known;
mod read;
mod scalar;
mod text;
mod wire;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use rpc_core::serialize::{AnyMessage, Place};
use rpc_core::{Code, MessageType, Serialization, Status};

use crate::numbers;

/// JSON in the mapping of protobuf, number 2.
///
/// | | written | read |
/// |---|---|---|
/// | names of fields | as in the .proto file | so, and in lowerCamelCase |
/// | default values | yes; not fields that know whether they are there | need not be there; `null` is the same |
/// | enums | numbers | numbers and names; names that are not known are ignored |
/// | 64-bit integers | strings | strings and numbers |
/// | `bytes` | base64 with padding | base64 in both alphabets, padded or not |
/// | unknown fields | | ignored; peers in Go refuse them |
///
/// It knows the messages of generated stubs by the descriptions in these. Each description is read once and kept by the
/// value: clones of one table share it.
#[derive(Default)]
pub struct Json {
    /// By the address of the description, which is static and stays where it is.
    pools: RwLock<HashMap<(usize, usize), DescriptorPool>>,
}

impl Json {
    /// JSON that has not met any type yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn descriptor(
        &self,
        of: &MessageType,
        type_name: &str,
        code: Code,
    ) -> Result<MessageDescriptor, Status> {
        if of.name.is_empty() || of.files.is_empty() {
            let text = format!(
                "no .proto file describes {type_name}, so it has no JSON: call it by generated stubs, or implement \
                 `Message` for it by hand with `knows(Format::Json)`"
            );
            return Err(Status::new(code, text));
        }
        let broken = |error: &dyn fmt::Display| {
            let text = format!("the description of {} is broken: {error}", of.name);
            Status::new(Code::Internal, text)
        };
        let pool = self.pool(of.files).map_err(|error| broken(&error))?;
        pool.get_message_by_name(of.name)
            .ok_or_else(|| broken(&"it is not in it"))
    }

    fn pool(&self, files: &'static [u8]) -> Result<DescriptorPool, prost_reflect::DescriptorError> {
        let key = (files.as_ptr().addr(), files.len());
        let known = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = known.get(&key) {
            return Ok(pool.clone());
        }
        drop(known);
        let pool = DescriptorPool::decode(files)?;
        let mut known = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(key).or_insert(pool).clone())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl Serialization for Json {
    fn number(&self) -> u32 {
        numbers::JSON
    }

    fn name(&self) -> &'static str {
        "JSON"
    }

    fn read(&self, body: Bytes, of: &MessageType, into: &mut dyn Place) -> Result<(), Status> {
        let descriptor = self.descriptor(of, into.type_name(), Code::Malformed)?;
        let message = std::str::from_utf8(&body)
            .map_err(|error| Fault::at(error.valid_up_to(), "not UTF-8"))
            .and_then(|text| read::message(text, &descriptor))
            .map_err(|fault| {
                let text = format!("the body is not a {} in JSON: {fault}", of.name);
                Status::new(Code::Malformed, text)
            })?;
        into.read_protobuf(message.into())
    }

    fn write(
        &self,
        message: &dyn AnyMessage,
        of: &MessageType,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<(), Status> {
        let descriptor = self.descriptor(of, message.type_name(), Code::Unencodable)?;
        let mut protobuf = BytesMut::new();
        message.write_protobuf(&mut protobuf)?;
        write::message(protobuf.freeze(), descriptor, bytes_max, out).map_err(|fault| {
            let text = format!("the {} cannot be written as JSON: {fault}", of.name);
            Status::new(Code::Unencodable, text)
        })
    }
}

/// How deep messages may be nested in each other. The protobuf library draws the line there too.
const LEVELS_MAX: usize = 100;

/// What is wrong with a text or a message, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    at: Option<usize>,
    field: Option<String>,
    text: String,
}

impl Fault {
    /// Of the text, at a byte of it.
    fn at(at: usize, text: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            field: None,
            text: text.into(),
        }
    }

    /// Of a message.
    fn of(text: impl Into<String>) -> Self {
        Self {
            at: None,
            field: None,
            text: text.into(),
        }
    }

    /// Names the field that it is in, unless an inner one is named.
    fn inside(mut self, field: &str) -> Self {
        self.field.get_or_insert_with(|| field.to_owned());
        self
    }
}

/// As much of a peer's text as belongs into a message for people.
fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "at byte {at}: ")?;
        }
        f.write_str(&self.text)?;
        match &self.field {
            Some(field) => write!(f, " (field {field})"),
            None => Ok(()),
        }
    }
}
