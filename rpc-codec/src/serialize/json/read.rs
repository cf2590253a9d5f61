//! JSON to protobuf, along the descriptor of the message.

use std::borrow::Cow;
use std::collections::HashSet;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind as Type, MessageDescriptor};

use super::known::{self, Known, Time};
use super::text::{Kind, Reader};
use super::wire::{self, WireType};
use super::{Fault, LEVELS_MAX, scalar, shown};

/// How many `Any`s may be inside of each other: each is looked through for its type before it is read.
pub(super) const ANYS_MAX: usize = 8;

/// The message of that type that the text is, as protobuf.
pub(super) fn message(text: &str, of: &MessageDescriptor) -> Result<Vec<u8>, Fault> {
    let mut decoder = Decoder {
        json: Reader::new(text),
        out: Vec::new(),
        levels: 0,
        anys: 0,
    };
    decoder.message(of)?;
    decoder.json.end()?;
    Ok(decoder.out)
}

struct Decoder<'a> {
    json: Reader<'a>,
    out: Vec<u8>,
    levels: usize,
    anys: usize,
}

/// Whether a value was written, or was one to be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    No,
}

impl<'a> Decoder<'a> {
    /// Writes the fields of a message. It recurses as deep as JSON may be nested.
    fn message(&mut self, of: &MessageDescriptor) -> Result<(), Fault> {
        if self.levels == LEVELS_MAX {
            let text = format!("messages deeper than the {LEVELS_MAX} levels that are allowed");
            return Err(self.json.fault(text));
        }
        self.levels += 1;
        match Known::of(of) {
            None | Some(Known::Empty) => self.fields(of, None),
            Some(Known::Any) => self.any(of),
            Some(Known::Timestamp) => self.time("a timestamp of RFC 3339", known::timestamp),
            Some(Known::Duration) => self.time("a duration such as \"1.5s\"", known::duration),
            Some(Known::FieldMask) => self.field_mask(),
            Some(Known::Struct) => self.map(&field(of, 1)?),
            Some(Known::ListValue) => self.list(&field(of, 1)?),
            Some(Known::Wrapper) => self.value(1, &field(of, 1)?.kind()).map(drop),
            Some(Known::Value) => self.any_value(of),
        }?;
        self.levels -= 1;
        Ok(())
    }

    /// An object whose names are those of fields, and one that is not.
    fn fields(&mut self, of: &MessageDescriptor, but: Option<&str>) -> Result<(), Fault> {
        // No more than the message has fields, and each once.
        let mut seen: Vec<u32> = Vec::new();
        let mut oneofs: Vec<String> = Vec::new();
        self.json.begin_object()?;
        while let Some(name) = self.json.next_name()? {
            let field = find(of, &name).filter(|_| but != Some(&*name));
            let Some(field) = field else {
                self.json.skip()?;
                continue;
            };
            if seen.contains(&field.number()) {
                return Err(self
                    .json
                    .fault("it is there twice")
                    .inside(field.full_name()));
            }
            seen.push(field.number());
            if self.json.peek()? == Kind::Null && !takes_null(&field) {
                self.json.null()?;
                continue;
            }
            if let Some(oneof) = field.containing_oneof() {
                if oneofs.iter().any(|other| other == oneof.name()) {
                    let text = format!("two fields of the oneof {} are there", oneof.name());
                    return Err(self.json.fault(text).inside(field.full_name()));
                }
                oneofs.push(oneof.name().to_owned());
            }
            self.field(&field)
                .map_err(|fault| fault.inside(field.full_name()))?;
        }
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<(), Fault> {
        if field.is_map() {
            self.map(field)
        } else if field.is_list() {
            self.list(field)
        } else if field.is_group() {
            wire::put_tag(field.number(), WireType::Group, &mut self.out);
            if let Type::Message(group) = field.kind() {
                self.message(&group)?;
            }
            wire::put_tag(field.number(), WireType::GroupEnd, &mut self.out);
            Ok(())
        } else {
            self.value(field.number(), &field.kind()).map(drop)
        }
    }

    fn list(&mut self, field: &FieldDescriptor) -> Result<(), Fault> {
        let kind = field.kind();
        self.json.begin_array()?;
        while self.json.next_element()? {
            if field.is_group() {
                return Err(self.json.fault("groups in lists are not supported"));
            }
            self.value(field.number(), &kind)?;
        }
        Ok(())
    }

    /// An object as a map, of which each entry is a message of its own.
    fn map(&mut self, field: &FieldDescriptor) -> Result<(), Fault> {
        let Type::Message(entry) = field.kind() else {
            return Err(self
                .json
                .fault("the description is broken: no entries of a map"));
        };
        let (key_type, value_type) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        self.json.begin_object()?;
        while let Some(name) = self.json.next_name()? {
            let before = self.out.len();
            let start = wire::begin_delimited(field.number(), &mut self.out);
            self.key(&name, &key_type)?;
            let key = self.out.get(start..).unwrap_or_default().to_vec();
            if !seen.insert(key) {
                return Err(self
                    .json
                    .fault(format!("the key {:?} is there twice", shown(&name))));
            }
            match self.value(2, &value_type)? {
                Written::Yes => wire::end_delimited(start, &mut self.out),
                Written::No => self.out.truncate(before),
            }
        }
        Ok(())
    }

    fn key(&mut self, name: &str, kind: &Type) -> Result<(), Fault> {
        let is_known = match kind {
            Type::String => {
                wire::put_delimited(1, name.as_bytes(), &mut self.out);
                true
            }
            Type::Bool => {
                wire::put_tag(1, WireType::Varint, &mut self.out);
                wire::put_varint((name == "true").into(), &mut self.out);
                matches!(name, "true" | "false")
            }
            integer => number(name)
                .and_then(scalar::integer)
                .is_some_and(|number| put_integer(1, integer, number, &mut self.out)),
        };
        if is_known {
            return Ok(());
        }
        Err(self
            .json
            .fault(format!("{:?} is no key of the type {kind:?}", shown(name))))
    }

    /// Writes one value, with its tag.
    fn value(&mut self, number: u32, kind: &Type) -> Result<Written, Fault> {
        let at = self.json.position();
        match kind {
            Type::Message(of) => {
                let start = wire::begin_delimited(number, &mut self.out);
                self.message(of)?;
                wire::end_delimited(start, &mut self.out);
            }
            Type::Enum(of) => return self.enumeration(number, of),
            Type::String => {
                let string = self.json.string()?;
                wire::put_delimited(number, string.as_bytes(), &mut self.out);
            }
            Type::Bytes => {
                let text = self.json.string()?;
                let bytes = scalar::base64(&text).ok_or_else(|| Fault::at(at, "not base64"))?;
                wire::put_delimited(number, &bytes, &mut self.out);
            }
            Type::Bool => {
                let value = self.json.boolean()?;
                wire::put_tag(number, WireType::Varint, &mut self.out);
                wire::put_varint(value.into(), &mut self.out);
            }
            Type::Double => {
                let value = self.float("a number of 64 bits", f64::INFINITY, f64::NAN)?;
                wire::put_tag(number, WireType::EightBytes, &mut self.out);
                self.out.extend(value.to_le_bytes());
            }
            Type::Float => {
                let value = self.float("a number of 32 bits", f32::INFINITY, f32::NAN)?;
                wire::put_tag(number, WireType::FourBytes, &mut self.out);
                self.out.extend(value.to_le_bytes());
            }
            integer => {
                let text = self.number("an integer")?;
                let value = scalar::integer(&text);
                if !value.is_some_and(|value| put_integer(number, integer, value, &mut self.out)) {
                    let text = format!("{} is no {integer:?}", shown(&text));
                    return Err(Fault::at(at, text));
                }
            }
        }
        Ok(Written::Yes)
    }

    fn enumeration(&mut self, number: u32, of: &EnumDescriptor) -> Result<Written, Fault> {
        let at = self.json.position();
        let value = match self.json.peek()? {
            Kind::String => {
                let name = self.json.string()?;
                match of.get_value_by_name(&name) {
                    Some(value) => value.number(),
                    // A later version of the enum, as an unknown field is a later version of the message.
                    None => return Ok(Written::No),
                }
            }
            Kind::Null if of.full_name() == NULL_VALUE => {
                self.json.null()?;
                0
            }
            _ => {
                let value = scalar::integer(self.json.number()?);
                let value = value.and_then(|value| i32::try_from(value).ok());
                value.ok_or_else(|| Fault::at(at, "no number of an enum: they have 32 bits"))?
            }
        };
        put_integer(number, &Type::Int32, value.into(), &mut self.out);
        Ok(Written::Yes)
    }

    /// A number, or a string that is one.
    fn number(&mut self, expected: &str) -> Result<Cow<'a, str>, Fault> {
        match self.json.peek()? {
            Kind::Number => self.json.number().map(Cow::Borrowed),
            Kind::String => {
                let at = self.json.position();
                let string = self.json.string()?;
                match number(&string) {
                    Some(_) => Ok(string),
                    None => Err(Fault::at(at, format!("the string is not {expected}"))),
                }
            }
            _ => Err(self.json.unexpected(expected)),
        }
    }

    fn float<F: Float>(&mut self, expected: &str, infinity: F, nan: F) -> Result<F, Fault> {
        let at = self.json.position();
        if self.json.peek()? == Kind::String {
            let mut ahead = self.json.clone();
            let special = match &*ahead.string()? {
                "NaN" => Some(nan),
                "Infinity" => Some(infinity),
                "-Infinity" => Some(-infinity),
                _ => None,
            };
            if let Some(special) = special {
                self.json = ahead;
                return Ok(special);
            }
        }
        let text = self.number(expected)?;
        let value = text.parse().ok().filter(|value: &F| value.is_finite());
        value.ok_or_else(|| Fault::at(at, format!("it is beyond {expected}")))
    }

    fn time(&mut self, expected: &str, parse: fn(&str) -> Option<Time>) -> Result<(), Fault> {
        let at = self.json.position();
        let time = parse(&self.json.string()?);
        let (seconds, nanos) = time.ok_or_else(|| Fault::at(at, format!("not {expected}")))?;
        put_integer(1, &Type::Int64, seconds.into(), &mut self.out);
        put_integer(2, &Type::Int32, nanos.into(), &mut self.out);
        Ok(())
    }

    fn field_mask(&mut self) -> Result<(), Fault> {
        let at = self.json.position();
        let paths = known::field_mask(&self.json.string()?);
        for path in paths.ok_or_else(|| {
            Fault::at(
                at,
                "a field mask is paths in lowerCamelCase, with commas between them",
            )
        })? {
            wire::put_delimited(1, path.as_bytes(), &mut self.out);
        }
        Ok(())
    }

    /// Any value of JSON, as it is.
    fn any_value(&mut self, of: &MessageDescriptor) -> Result<(), Fault> {
        let number = match self.json.peek()? {
            Kind::Null => 1,
            Kind::Number => 2,
            Kind::String => 3,
            Kind::Bool => 4,
            Kind::Object => 5,
            Kind::Array => 6,
        };
        self.value(number, &field(of, number)?.kind()).map(drop)
    }

    /// An object with the type of the message beside its fields, anywhere among them.
    fn any(&mut self, any: &MessageDescriptor) -> Result<(), Fault> {
        if self.anys == ANYS_MAX {
            let text =
                format!("more than {ANYS_MAX} messages of the type Any inside of each other");
            return Err(self.json.fault(text));
        }
        let at = self.json.position();
        let mut ahead = self.json.clone();
        let Some(url) = type_url(&mut ahead)? else {
            // The empty message has no type.
            self.json = ahead;
            return Ok(());
        };
        let of = known::type_of_url(&url, any).map_err(|text| Fault::at(at, text))?;
        wire::put_delimited(1, url.as_bytes(), &mut self.out);
        let start = wire::begin_delimited(2, &mut self.out);
        self.anys += 1;
        match Known::of(&of) {
            None => self.fields(&of, Some(TYPE))?,
            Some(_) => self.wrapped(&of)?,
        }
        self.anys -= 1;
        wire::end_delimited(start, &mut self.out);
        Ok(())
    }

    /// A message in an `Any` that is no object of its own accord: it has the name `value` there.
    fn wrapped(&mut self, of: &MessageDescriptor) -> Result<(), Fault> {
        let mut is_there = false;
        self.json.begin_object()?;
        while let Some(name) = self.json.next_name()? {
            if name != "value" {
                self.json.skip()?;
            } else if std::mem::replace(&mut is_there, true) {
                return Err(self.json.fault("the name \"value\" is there twice"));
            } else {
                self.message(of)?;
            }
        }
        if is_there {
            return Ok(());
        }
        Err(self.json.fault(format!(
            "an Any with a {} has it under the name \"value\"",
            of.full_name()
        )))
    }
}

const TYPE: &str = "@type";
const NULL_VALUE: &str = "google.protobuf.NullValue";

/// Looks through an `Any` for the type of its message; `None` if it is empty.
fn type_url(json: &mut Reader<'_>) -> Result<Option<String>, Fault> {
    let at = json.position();
    let mut url = None;
    let mut is_empty = true;
    json.begin_object()?;
    while let Some(name) = json.next_name()? {
        is_empty = false;
        if name != TYPE {
            json.skip()?;
        } else if url.is_some() {
            return Err(json.fault("the name \"@type\" is there twice"));
        } else {
            url = Some(json.string()?.into_owned());
        }
    }
    if url.is_none() && !is_empty {
        return Err(Fault::at(at, "an Any without the name \"@type\""));
    }
    Ok(url)
}

fn find(of: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    of.get_field_by_json_name(name)
        .or_else(|| of.get_field_by_name(name))
}

fn field(of: &MessageDescriptor, number: u32) -> Result<FieldDescriptor, Fault> {
    of.get_field(number).ok_or_else(|| {
        let text = format!(
            "the description is broken: {} has no field {number}",
            of.full_name()
        );
        Fault::of(text)
    })
}

/// Whether `null` is a value, and not the absence of one.
fn takes_null(field: &FieldDescriptor) -> bool {
    match field.kind() {
        _ if field.is_list() || field.is_map() => false,
        Type::Message(of) => Known::of(&of) == Some(Known::Value),
        Type::Enum(of) => of.full_name() == NULL_VALUE,
        _ => false,
    }
}

/// The text, if it is a number of JSON and nothing else.
fn number(text: &str) -> Option<&str> {
    let mut reader = Reader::new(text);
    let number = reader.number().ok()?;
    (number.len() == text.len()).then_some(number)
}

/// Writes an integer, unless it is not one of that type.
fn put_integer(field: u32, kind: &Type, number: i128, out: &mut Vec<u8>) -> bool {
    let signed = i64::try_from(number).ok();
    let short = i32::try_from(number).ok();
    let (wire_type, value) = match kind {
        Type::Int32 => (WireType::Varint, short.map(|number| bits(number.into()))),
        Type::Int64 => (WireType::Varint, signed.map(bits)),
        Type::Uint32 => (WireType::Varint, u32::try_from(number).ok().map(u64::from)),
        Type::Uint64 => (WireType::Varint, u64::try_from(number).ok()),
        Type::Sint32 => (WireType::Varint, short.map(|number| zigzag(number.into()))),
        Type::Sint64 => (WireType::Varint, signed.map(zigzag)),
        Type::Fixed32 => (
            WireType::FourBytes,
            u32::try_from(number).ok().map(u64::from),
        ),
        Type::Sfixed32 => (WireType::FourBytes, short.map(|number| bits(number.into()))),
        Type::Fixed64 => (WireType::EightBytes, u64::try_from(number).ok()),
        Type::Sfixed64 => (WireType::EightBytes, signed.map(bits)),
        _ => return false,
    };
    let Some(value) = value else {
        return false;
    };
    wire::put_tag(field, wire_type, out);
    let [a, b, c, d, ..] = value.to_le_bytes();
    match wire_type {
        WireType::FourBytes => out.extend([a, b, c, d]),
        WireType::EightBytes => out.extend(value.to_le_bytes()),
        _ => wire::put_varint(value, out),
    }
    true
}

fn zigzag(number: i64) -> u64 {
    bits(number << 1 ^ number >> 63)
}

fn bits(number: i64) -> u64 {
    u64::from_ne_bytes(number.to_ne_bytes())
}

trait Float: Copy + std::str::FromStr + std::ops::Neg<Output = Self> {
    fn is_finite(&self) -> bool;
}

impl Float for f32 {
    fn is_finite(&self) -> bool {
        f32::is_finite(*self)
    }
}

impl Float for f64 {
    fn is_finite(&self) -> bool {
        f64::is_finite(*self)
    }
}
