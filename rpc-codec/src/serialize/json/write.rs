//! Protobuf to JSON, along the descriptor of the message.

use std::fmt::Display;

use bytes::{BufMut, Bytes, BytesMut};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::known::{self, Known, Time};
use super::{Fault, LEVELS_MAX, scalar};

/// Appends the message that these bytes are as protobuf, at most `bytes_max` of them.
pub(super) fn message(
    protobuf: Bytes,
    of: MessageDescriptor,
    bytes_max: usize,
    out: &mut BytesMut,
) -> Result<(), Fault> {
    let message =
        DynamicMessage::decode(of, protobuf).map_err(|error| Fault::of(error.to_string()))?;
    let mut encoder = Encoder {
        out,
        bytes_max,
        depth: 0,
    };
    encoder.message(&message)?;
    encoder.bound()
}

struct Encoder<'a> {
    out: &'a mut BytesMut,
    bytes_max: usize,
    depth: usize,
}

impl Encoder<'_> {
    /// It recurses as deep as messages may be nested, also through `Any`.
    fn message(&mut self, message: &DynamicMessage) -> Result<(), Fault> {
        if self.depth == LEVELS_MAX {
            let text = format!("messages deeper than the {LEVELS_MAX} levels that are allowed");
            return Err(Fault::of(text));
        }
        self.depth += 1;
        match Known::of(&message.descriptor()) {
            None | Some(Known::Empty) => {
                self.out.put_u8(b'{');
                self.fields(message, true)?;
                self.out.put_u8(b'}');
            }
            Some(Known::Any) => self.any(message)?,
            Some(Known::Timestamp) => self.quoted(known::timestamp_text(time(message))?),
            Some(Known::Duration) => self.quoted(known::duration_text(time(message))?),
            Some(Known::FieldMask) => self.field_mask(message)?,
            Some(Known::Struct | Known::ListValue | Known::Wrapper) => {
                self.field(message, &field(message, 1)?)?;
            }
            Some(Known::Value) => self.any_value(message)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// Fields with their names, those with default values, too, unless the field knows that it is not there.
    fn fields(&mut self, message: &DynamicMessage, mut is_first: bool) -> Result<(), Fault> {
        for field in message.descriptor().fields() {
            if field.supports_presence() && !message.has_field(&field) {
                continue;
            }
            self.separate(&mut is_first);
            self.name(field.name());
            self.field(message, &field)
                .map_err(|fault| fault.inside(field.full_name()))?;
        }
        Ok(())
    }

    fn field(&mut self, message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), Fault> {
        self.value(&message.get_field(field), &field.kind())
    }

    fn value(&mut self, value: &Value, kind: &Kind) -> Result<(), Fault> {
        self.bound()?;
        match value {
            Value::Bool(value) => self.plain(value),
            Value::I32(value) => self.plain(value),
            Value::U32(value) => self.plain(value),
            Value::I64(value) => self.quoted(value),
            Value::U64(value) => self.quoted(value),
            Value::F32(value) => scalar::put_f32(*value, self.out),
            Value::F64(value) => scalar::put_f64(*value, self.out),
            Value::String(value) => self.string(value),
            Value::Bytes(value) => {
                self.out.put_u8(b'"');
                scalar::put_base64(value, self.out);
                self.out.put_u8(b'"');
            }
            Value::EnumNumber(number) => match kind {
                Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => {
                    self.plain("null");
                }
                _ => self.plain(number),
            },
            Value::Message(value) => self.message(value)?,
            Value::List(values) => {
                self.out.put_u8(b'[');
                let mut is_first = true;
                for value in values {
                    self.separate(&mut is_first);
                    self.value(value, kind)?;
                }
                self.out.put_u8(b']');
            }
            Value::Map(entries) => {
                let value_kind = match kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    other => other.clone(),
                };
                // In an order of their own, so that equal messages are equal texts.
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                self.out.put_u8(b'{');
                let mut is_first = true;
                for (key, value) in entries {
                    self.separate(&mut is_first);
                    self.key(key);
                    self.value(value, &value_kind)?;
                }
                self.out.put_u8(b'}');
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &MapKey) {
        match key {
            MapKey::Bool(key) => self.quoted(key),
            MapKey::I32(key) => self.quoted(key),
            MapKey::I64(key) => self.quoted(key),
            MapKey::U32(key) => self.quoted(key),
            MapKey::U64(key) => self.quoted(key),
            MapKey::String(key) => self.string(key),
        }
        self.out.put_u8(b':');
    }

    fn field_mask(&mut self, message: &DynamicMessage) -> Result<(), Fault> {
        let paths = message.get_field_by_number(1);
        let paths = paths
            .as_ref()
            .and_then(|paths| paths.as_list())
            .unwrap_or_default();
        let paths: Vec<String> = paths
            .iter()
            .filter_map(Value::as_str)
            .map(known::field_mask_path)
            .collect::<Result<_, _>>()?;
        self.string(&paths.join(","));
        Ok(())
    }

    /// Any value of JSON, as it is. What is not there is `null`.
    fn any_value(&mut self, message: &DynamicMessage) -> Result<(), Fault> {
        let present = message.fields().next();
        match present {
            None => self.plain("null"),
            Some((_, Value::F64(number))) if !number.is_finite() => {
                return Err(Fault::of(format!(
                    "a google.protobuf.Value cannot be {number}"
                )));
            }
            Some((field, value)) => self.value(value, &field.kind())?,
        }
        Ok(())
    }

    /// The type of the message beside its fields.
    fn any(&mut self, any: &DynamicMessage) -> Result<(), Fault> {
        let (url, content) = (any.get_field_by_number(1), any.get_field_by_number(2));
        let url = url
            .as_ref()
            .and_then(|url| url.as_str())
            .unwrap_or_default();
        let content = content.as_ref().and_then(|content| content.as_bytes());
        let content = content.cloned().unwrap_or_default();
        if url.is_empty() && content.is_empty() {
            self.plain("{}");
            return Ok(());
        }
        let of = known::type_of_url(url, &any.descriptor()).map_err(Fault::of)?;
        let is_known = Known::of(&of).is_some();
        let message = DynamicMessage::decode(of, content)
            .map_err(|error| Fault::of(format!("in an Any of the type {url:?}: {error}")))?;
        self.out.put_u8(b'{');
        self.name("@type");
        self.string(url);
        if is_known {
            self.out.put_u8(b',');
            self.name("value");
            self.message(&message)?;
        } else {
            // As this is no level of its own, it is counted here.
            self.depth += 1;
            self.fields(&message, false)?;
            self.depth -= 1;
        }
        self.out.put_u8(b'}');
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.string(name);
        self.out.put_u8(b':');
    }

    fn string(&mut self, text: &str) {
        self.out.put_u8(b'"');
        let mut rest = text;
        while let Some(at) = rest.find(|char: char| matches!(char, '"' | '\\' | '\0'..='\x1f')) {
            let (plain, special) = rest.split_at(at);
            self.out.put_slice(plain.as_bytes());
            let (special, after) = special.split_at(1);
            match special {
                "\n" => self.plain("\\n"),
                "\r" => self.plain("\\r"),
                "\t" => self.plain("\\t"),
                "\"" | "\\" => self.plain(format_args!("\\{special}")),
                control => self.plain(format_args!(
                    "\\u{:04x}",
                    control.as_bytes().first().unwrap_or(&0)
                )),
            }
            rest = after;
        }
        self.out.put_slice(rest.as_bytes());
        self.out.put_u8(b'"');
    }

    fn quoted(&mut self, value: impl Display) {
        scalar::put(format_args!("\"{value}\""), self.out);
    }

    fn plain(&mut self, value: impl Display) {
        scalar::put(format_args!("{value}"), self.out);
    }

    fn separate(&mut self, is_first: &mut bool) {
        if !std::mem::replace(is_first, false) {
            self.out.put_u8(b',');
        }
    }

    fn bound(&self) -> Result<(), Fault> {
        if self.out.len() <= self.bytes_max {
            return Ok(());
        }
        let text = format!(
            "it would be longer than the {} bytes that a body may have: send less, or raise the limits of its end",
            self.bytes_max
        );
        Err(Fault::of(text))
    }
}

fn field(message: &DynamicMessage, number: u32) -> Result<FieldDescriptor, Fault> {
    let of = message.descriptor();
    of.get_field(number).ok_or_else(|| {
        let text = format!(
            "the description is broken: {} has no field {number}",
            of.full_name()
        );
        Fault::of(text)
    })
}

fn time(message: &DynamicMessage) -> Time {
    let (seconds, nanos) = (
        message.get_field_by_number(1),
        message.get_field_by_number(2),
    );
    (
        seconds.and_then(|value| value.as_i64()).unwrap_or_default(),
        nanos.and_then(|value| value.as_i32()).unwrap_or_default(),
    )
}
