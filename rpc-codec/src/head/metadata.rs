//! Metadata on the wire: a protobuf map, which is a repeated message of a key and a value.

use std::collections::BTreeMap;

use bytes::Bytes;
use rpc_core::metadata::Key;

use super::proto::{ENTRY_KEY, ENTRY_VALUE, Fields, LEVELS};
use crate::HeadError;

/// Up to so many entries are searched one by one for a key that comes twice; beyond it that would be quadratic in
/// what a peer sends.
const FEW: usize = 16;

/// Reads one entry of a head; what is missing is empty, of what comes twice the last counts.
pub(crate) fn entry(message: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    // An entry is a level of its own.
    entry_at(message, LEVELS - 1)
}

/// Reads one entry in which groups may be nested as deep as `levels`.
pub(crate) fn entry_at(message: &[u8], levels: usize) -> Result<(&[u8], &[u8]), HeadError> {
    let mut fields = Fields::new(message);
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some(tag) = fields.next_tag()? {
        match tag.field() {
            ENTRY_KEY => name = utf8(fields.bytes(tag)?)?,
            ENTRY_VALUE => value = fields.bytes(tag)?,
            _ => fields.skip(tag, levels)?,
        }
    }
    Ok((name, value))
}

/// Reads all entries that are in field `wanted` of a head, without copying them. A key appears once, where it came first
/// and with the value that came last. The head was checked when it arrived; should it be broken, reading stops there.
pub(crate) fn entries(head: &Bytes, wanted: u32) -> Vec<(Key, Bytes)> {
    let mut entries = Entries::default();
    entries.read(head, head, wanted);
    entries.list
}

/// The same of the messages that are in field `outer` of a message, which count as one.
pub(crate) fn nested_entries(message: &Bytes, outer: u32, wanted: u32) -> Vec<(Key, Bytes)> {
    let mut entries = Entries::default();
    let mut fields = Fields::new(message);
    while let Ok(Some(tag)) = fields.next_tag() {
        if tag.field() == outer {
            let Ok(inner) = fields.bytes(tag) else {
                break;
            };
            entries.read(message, inner, wanted);
        } else if fields.skip(tag, LEVELS).is_err() {
            break;
        }
    }
    entries.list
}

#[derive(Default)]
struct Entries {
    list: Vec<(Key, Bytes)>,
    /// Where in the list the keys after the first few are.
    places: BTreeMap<Key, usize>,
}

impl Entries {
    /// Takes those of field `wanted` of `message`, which is a piece of `whole`.
    fn read(&mut self, whole: &Bytes, message: &[u8], wanted: u32) {
        let mut fields = Fields::new(message);
        while let Ok(Some(tag)) = fields.next_tag() {
            if tag.field() == wanted {
                let Ok((name, value)) = fields.bytes(tag).and_then(entry) else {
                    break;
                };
                if let Some(name) = Key::from_utf8(whole.slice_ref(name)) {
                    self.put(name, whole.slice_ref(value));
                }
            } else if fields.skip(tag, LEVELS).is_err() {
                break;
            }
        }
    }

    fn put(&mut self, key: Key, value: Bytes) {
        let place = self.place(&key);
        if let Some(entry) = place.and_then(|place| self.list.get_mut(place)) {
            entry.1 = value;
            return;
        }
        if self.list.len() >= FEW {
            self.places.insert(key.clone(), self.list.len());
        }
        self.list.push((key, value));
    }

    fn place(&self, key: &Key) -> Option<usize> {
        let mut few = self.list.iter().take(FEW);
        few.position(|(present, _)| present == key)
            .or_else(|| self.places.get(key).copied())
    }
}

fn utf8(bytes: &[u8]) -> Result<&[u8], HeadError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(HeadError::InvalidUtf8Key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::proto::{Sink, Writer};

    const FIELD: u32 = 9;

    fn head(pairs: &[(&str, &str)]) -> Bytes {
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            Writer(&mut bytes).entry(FIELD, key.as_bytes(), value.as_bytes());
        }
        bytes.into()
    }

    fn read(head: &Bytes) -> Vec<(String, Bytes)> {
        entries(head, FIELD)
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value))
            .collect()
    }

    #[test]
    fn what_comes_twice_keeps_its_place_and_takes_the_last_value() {
        let head = head(&[("a", "1"), ("b", "2"), ("a", "3")]);
        let expected = [("a", "3"), ("b", "2")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(read(&head), expected);
    }

    #[test]
    fn many_keys_are_as_well_told_apart_as_few() {
        let keys: Vec<_> = (0..1000).map(|i| format!("key {}", i % 300)).collect();
        let values: Vec<_> = (0..1000).map(|i| i.to_string()).collect();
        let pairs: Vec<_> = keys
            .iter()
            .map(String::as_str)
            .zip(values.iter().map(String::as_str))
            .collect();
        let read = read(&head(&pairs));
        assert_eq!(read.len(), 300);
        for (i, (key, value)) in read.iter().enumerate() {
            let last = if i < 100 { 900 + i } else { 600 + i };
            assert_eq!(
                (key, &value[..]),
                (&format!("key {i}"), last.to_string().as_bytes())
            );
        }
    }

    #[test]
    fn values_are_cut_from_the_head_and_not_copied() {
        let head = head(&[("a", "a value of some length")]);
        let (_, value) = read(&head).remove(0);
        assert!(head.as_ptr_range().contains(&value.as_ptr()));
    }

    #[test]
    fn missing_keys_and_values_are_empty() {
        assert_eq!(entry(&[]), Ok((&b""[..], &b""[..])));
        assert_eq!(entry(&[0x12, 1, 7]), Ok((&b""[..], &[7][..])));
        assert_eq!(entry(&[0x0a, 1, b'k']), Ok((&b"k"[..], &b""[..])));
    }

    #[test]
    fn unknown_fields_of_an_entry_are_stepped_over() {
        let message = [0x18, 9, 0x0a, 1, b'k', 0x23, 0x24, 0x12, 1, 7];
        assert_eq!(entry(&message), Ok((&b"k"[..], &[7][..])));
    }

    #[test]
    fn refuses_entries_that_are_not_entries() {
        assert_eq!(entry(&[0x0a, 1, 0xff]), Err(HeadError::InvalidUtf8Key));
        assert_eq!(
            entry(&[0x08, 1]),
            Err(HeadError::WrongWireType { field: 1 })
        );
        assert_eq!(entry(&[0x12, 2, 7]), Err(HeadError::Truncated));
    }
}
