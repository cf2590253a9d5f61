//! Which fields of a message can hold much: what stubs know of them lets a large one be sent without a copy.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use crate::describe;
use crate::plan::snake;

/// A field of text or bytes that a message has once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name in Rust.
    pub(crate) ident: String,
    pub(crate) number: i32,
}

/// The fields of each message of `files` that has any. Messages begin with a dot.
pub(crate) fn of_text_and_bytes<'a>(
    files: impl Iterator<Item = &'a FileDescriptorProto>,
) -> HashMap<String, Vec<Field>> {
    let mut found = HashMap::new();
    for file in files {
        let scope = describe::scope(file);
        for message in &file.message_type {
            add(message, &scope, &mut found);
        }
    }
    found
}

fn add(message: &DescriptorProto, scope: &str, found: &mut HashMap<String, Vec<Field>>) {
    let path = format!("{scope}.{}", message.name());
    for inner in &message.nested_type {
        add(inner, &path, found);
    }
    let can_be_large = message.field.iter().filter(|field| can_be_large(field));
    let fields: Vec<_> = can_be_large
        .map(|field| Field {
            ident: snake(field.name()),
            number: field.number(),
        })
        .collect();
    if !fields.is_empty() {
        found.insert(path, fields);
    }
}

/// Those of a `oneof` are no fields in Rust; those that are there many times are rarely large each.
fn can_be_large(field: &FieldDescriptorProto) -> bool {
    let is_in_oneof = field.oneof_index.is_some() && !field.proto3_optional();
    matches!(field.r#type(), Type::String | Type::Bytes)
        && field.label() != Label::Repeated
        && !is_in_oneof
}
