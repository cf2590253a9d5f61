//! Protobuf to JSON and back, by a table. Fields that are not on the wire are not in the JSON.
//!
//! Slow, and short enough to be seen to be right.

use serde_json::{Map, Value, json};

use crate::blob;
use crate::schema::{Field, Kind, Message};

/// Reads a message. Unknown fields appear as `"?NUMBER": true`.
///
/// # Errors
///
/// What is wrong with the bytes.
pub fn read(message: &Message, bytes: &[u8]) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let (number, wire) = (tag >> 3, tag & 7);
        let known = message
            .fields
            .iter()
            .find(|field| u64::from(field.number) == number);
        let Some(field) = known else {
            if number == 0 {
                return Err(format!("{}: a field with number 0", message.name));
            }
            skip(&mut rest, wire)?;
            fields.insert(format!("?{number}"), json!(true));
            continue;
        };
        let read = read_field(field, wire, &mut rest);
        let value = read.map_err(|error| format!("{}.{}: {error}", message.name, field.name))?;
        insert(&mut fields, field, value);
    }
    Ok(Value::Object(fields))
}

/// Writes a message. `null` leaves a field out, as does its absence; a default that is written down is written.
///
/// # Errors
///
/// When `value` has fields that the message does not have, or of another kind.
pub fn write(message: &Message, value: &Value) -> Result<Vec<u8>, String> {
    let fields = value
        .as_object()
        .ok_or_else(|| format!("{}: {value} is not an object", message.name))?;
    for name in fields.keys() {
        if !message.fields.iter().any(|field| field.name == name) {
            return Err(format!("{} has no field {name:?}", message.name));
        }
    }
    let mut bytes = Vec::new();
    for field in message.fields {
        let Some(value) = fields.get(field.name).filter(|value| !value.is_null()) else {
            continue;
        };
        let written = write_field(field, value, &mut bytes);
        written.map_err(|error| format!("{}.{}: {error}", message.name, field.name))?;
    }
    Ok(bytes)
}

fn read_field(field: &Field, wire: u64, rest: &mut &[u8]) -> Result<Value, String> {
    let expected = wire_type(field.kind);
    if field.is_repeated && wire == 2 && expected == 0 {
        // Numbers that repeat may be packed.
        let mut packed = take_bytes(rest)?;
        let mut values = Vec::new();
        while !packed.is_empty() {
            values.push(number(field.kind, varint(&mut packed)?));
        }
        return Ok(Value::Array(values));
    }
    if wire != expected {
        return Err(format!("wire type {wire} where {expected} is due"));
    }
    let value = match field.kind {
        Kind::Fixed32 => json!(u32::from_le_bytes(take(rest)?)),
        Kind::Fixed64 => json!(u64::from_le_bytes(take(rest)?)),
        Kind::Double => json!(f64::from_le_bytes(take(rest)?)),
        Kind::Bytes => blob::show(take_bytes(rest)?),
        Kind::Nested(message) => read(message, take_bytes(rest)?)?,
        Kind::Map => read_entry(take_bytes(rest)?)?,
        kind => number(kind, varint(rest)?),
    };
    Ok(if field.is_repeated {
        Value::Array(vec![value])
    } else {
        value
    })
}

/// Later ones are added to what is there, if it can be, or else win.
fn insert(fields: &mut Map<String, Value>, field: &Field, value: Value) {
    match (fields.get_mut(field.name), value) {
        (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
        (Some(Value::Object(old)), Value::Object(new)) if matches!(field.kind, Kind::Map) => {
            old.extend(new);
        }
        (_, value) => {
            fields.insert(field.name.to_owned(), value);
        }
    }
}

fn number(kind: Kind, raw: u64) -> Value {
    match kind {
        Kind::Signed => json!(raw.cast_signed()),
        Kind::ZigZag => json!((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()),
        Kind::Bool => json!(raw != 0),
        _ => json!(raw),
    }
}

fn read_entry(mut entry: &[u8]) -> Result<Value, String> {
    let (mut key, mut value) = (String::new(), json!(""));
    while !entry.is_empty() {
        match varint(&mut entry)? {
            10 => key = String::from_utf8_lossy(take_bytes(&mut entry)?).into_owned(),
            18 => value = blob::show(take_bytes(&mut entry)?),
            tag => skip(&mut entry, tag & 7)?,
        }
    }
    Ok(json!({ key: value }))
}

fn write_field(field: &Field, value: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    if let (true, Some(values)) = (field.is_repeated, value.as_array()) {
        return values
            .iter()
            .try_for_each(|value| write_one(field, value, bytes));
    }
    if let (Kind::Map, Some(entries)) = (field.kind, value.as_object()) {
        return entries.iter().try_for_each(|(key, value)| {
            let mut entry = Vec::new();
            put_bytes(10, key.as_bytes(), &mut entry);
            put_bytes(18, &blob::read(value)?, &mut entry);
            put_bytes(tag_of(field), &entry, bytes);
            Ok(())
        });
    }
    write_one(field, value, bytes)
}

fn write_one(field: &Field, value: &Value, bytes: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("{value} does not fit {:?}", field.kind);
    let tag = tag_of(field);
    match field.kind {
        Kind::Bytes => put_bytes(tag, &blob::read(value)?, bytes),
        Kind::Nested(message) => put_bytes(tag, &write(message, value)?, bytes),
        Kind::Map => return Err(wrong()),
        Kind::Fixed32 => {
            let value = value.as_u64().and_then(|value| u32::try_from(value).ok());
            put_varint(tag, bytes);
            bytes.extend(value.ok_or_else(wrong)?.to_le_bytes());
        }
        Kind::Fixed64 => {
            put_varint(tag, bytes);
            bytes.extend(value.as_u64().ok_or_else(wrong)?.to_le_bytes());
        }
        Kind::Double => {
            put_varint(tag, bytes);
            bytes.extend(value.as_f64().ok_or_else(wrong)?.to_le_bytes());
        }
        Kind::Unsigned => put_pair(tag, value.as_u64().ok_or_else(wrong)?, bytes),
        Kind::Bool => put_pair(tag, value.as_bool().ok_or_else(wrong)?.into(), bytes),
        Kind::Signed => {
            let value = value.as_i64().ok_or_else(wrong)?;
            put_pair(tag, value.cast_unsigned(), bytes);
        }
        Kind::ZigZag => {
            let value = value.as_i64().ok_or_else(wrong)?;
            put_pair(tag, (value << 1 ^ value >> 63).cast_unsigned(), bytes);
        }
    }
    Ok(())
}

fn wire_type(kind: Kind) -> u64 {
    match kind {
        Kind::Unsigned | Kind::Signed | Kind::ZigZag | Kind::Bool => 0,
        Kind::Fixed64 | Kind::Double => 1,
        Kind::Bytes | Kind::Nested(_) | Kind::Map => 2,
        Kind::Fixed32 => 5,
    }
}

fn tag_of(field: &Field) -> u64 {
    u64::from(field.number) << 3 | wire_type(field.kind)
}

fn put_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

fn put_pair(tag: u64, value: u64, bytes: &mut Vec<u8>) {
    put_varint(tag, bytes);
    put_varint(value, bytes);
}

fn put_bytes(tag: u64, value: &[u8], bytes: &mut Vec<u8>) {
    put_pair(tag, value.len() as u64, bytes);
    bytes.extend_from_slice(value);
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("it ends within a varint")?;
        *rest = after;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a varint of more than ten bytes".to_owned())
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    let (taken, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| format!("{length} bytes are due and {} are left", rest.len()))?;
    *rest = after;
    Ok(taken)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, after) = rest
        .split_first_chunk()
        .ok_or_else(|| format!("{N} bytes are due and {} are left", rest.len()))?;
    *rest = after;
    Ok(*taken)
}

fn skip(rest: &mut &[u8], wire: u64) -> Result<(), String> {
    match wire {
        0 => varint(rest).map(drop),
        1 => take::<8>(rest).map(drop),
        2 => take_bytes(rest).map(drop),
        5 => take::<4>(rest).map(drop),
        other => Err(format!("wire type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_kind_of_field_survives_the_way_there_and_back() {
        let every = schema::body("Every").unwrap();
        let value = json!({
            "flag": true, "int32": -1, "int64": i64::MIN, "uint32": 7, "uint64": u64::MAX,
            "sint64": -3, "fixed32": 1, "fixed64": 2, "real": 0.5, "text": "t", "raw": {"hex": "00"},
            "color": 2, "inner": {"text": "in"}, "numbers": [1, -2], "inners": [{}, {"number": 4}],
            "table": {"a": "1", "b": {"hex": "ff"}},
        });
        let bytes = write(every, &value).unwrap();
        assert_eq!(read(every, &bytes), Ok(value));
    }

    #[test]
    fn packed_numbers_and_unknown_fields_are_read() {
        let every = schema::body("Every").unwrap();
        let bytes = blob::unhex("72020102 a00601").unwrap();
        let value = read(every, &bytes);
        assert_eq!(value, Ok(json!({"numbers": [1, 2], "?100": true})));
    }

    #[test]
    fn what_is_broken_is_said() {
        for (hex, word) in [
            ("18", "varint"),
            ("2a05", "5 bytes"),
            ("1d00000000", "wire type"),
        ] {
            let bytes = blob::unhex(hex).unwrap();
            let error = read(&schema::REQUEST, &bytes).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
