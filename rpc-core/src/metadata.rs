//! Metadata: ordered text keys to bytes, which travel beside the message in both directions.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::forwarding::{self, Forwarding};

/// What reads metadata out of the bytes it arrived in. The wire codec passes one in; it has validated the bytes before,
/// so it cannot fail.
pub type Reader = fn(&Bytes) -> Vec<(Key, Bytes)>;

/// Ordered keys to bytes. Most calls carry none and most handlers read none, so what arrived is kept as it came and
/// read on first use.
///
/// Keys are compared byte for byte; those that begin with `trpc-` belong to the framework. A key appears once.
/// An absent key and an empty value are different things.
#[derive(Clone, Default)]
pub struct Metadata {
    raw: Option<(Bytes, Reader)>,
    entries: OnceLock<Vec<(Key, Bytes)>>,
}

impl Metadata {
    /// No metadata.
    pub const fn new() -> Self {
        Self {
            raw: None,
            entries: OnceLock::new(),
        }
    }

    /// Metadata that `reader` will read out of `raw` when somebody asks.
    pub fn unread(raw: Bytes, reader: Reader) -> Self {
        Self {
            raw: Some((raw, reader)),
            entries: OnceLock::new(),
        }
    }

    /// Sets `key` to `value`, in place of what it was.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        let entries = self.entries_mut();
        match entries.iter_mut().find(|(present, _)| *present == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }

    /// Takes all entries away.
    pub fn clear(&mut self) {
        self.raw = None;
        self.entries.take();
    }

    /// Takes `key` away and returns what it was.
    pub fn remove(&mut self, key: &str) -> Option<Bytes> {
        let entries = self.entries_mut();
        let index = entries
            .iter()
            .position(|(present, _)| present.as_str() == key)?;
        Some(entries.remove(index).1)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.iter()
            .find_map(|(present, value)| (present == key).then_some(value))
    }

    /// The value of `key`, if it is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries()
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// What a call made on behalf of this one takes along: everything of the application's, and of the framework's own
    /// keys those that describe the whole chain of calls.
    pub fn forwarded(&self) -> Self {
        self.to_forward().forwarded_by(&forwarding::STANDARD)
    }

    /// A copy for [`Metadata::forwarded_by`]. What was not read yet is read here and not there, once for all calls that are
    /// made on behalf of one.
    pub(crate) fn to_forward(&self) -> Self {
        if self.is_empty() {
            return Self::new();
        }
        Self {
            raw: None,
            entries: self.entries.clone(),
        }
    }

    /// What `rule` takes along of all this.
    pub(crate) fn forwarded_by(mut self, rule: &Forwarding) -> Self {
        if !self.is_empty() {
            self.entries_mut()
                .retain(|(key, _)| rule.takes(key.as_str()));
        }
        self
    }

    pub(crate) fn into_entries(mut self) -> Vec<(Key, Bytes)> {
        std::mem::take(self.entries_mut())
    }

    fn entries(&self) -> &[(Key, Bytes)] {
        // Nearly always there is nothing to be read, and nobody has to be first.
        let Some((raw, reader)) = &self.raw else {
            return self.entries.get().map_or(&[], Vec::as_slice);
        };
        self.entries.get_or_init(|| reader(raw))
    }

    fn entries_mut(&mut self) -> &mut Vec<(Key, Bytes)> {
        self.entries();
        self.raw = None;
        self.entries.get_or_init(Vec::new);
        self.entries.get_mut().expect("the line above filled it")
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl<K: Into<Key>, V: Into<Bytes>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut metadata = Self::new();
        for (key, value) in pairs {
            metadata.insert(key, value);
        }
        metadata
    }
}

/// A key: text that is shared with the bytes it arrived in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// The key as text. `None` if the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&'static str> for Key {
    fn from(key: &'static str) -> Self {
        Self(Bytes::from_static(key.as_bytes()))
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(Bytes::from(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_metadata_is_read_once_somebody_asks() {
        let reader: Reader = |raw| vec![(Key::from("whole"), raw.clone())];
        let mut metadata = Metadata::unread(Bytes::from_static(b"abc"), reader);
        assert!(!metadata.is_empty());
        assert_eq!(metadata.text("whole"), Some("abc"));
        metadata.insert("more", "x");
        assert_eq!(metadata.len(), 2);
    }

    #[test]
    fn a_key_appears_once_and_keeps_its_place() {
        let mut metadata: Metadata = [("a", "1"), ("b", "2")].into_iter().collect();
        metadata.insert("a", "3");
        assert_eq!(
            metadata
                .iter()
                .map(|(k, v)| (k, &v[..]))
                .collect::<Vec<_>>(),
            [("a", &b"3"[..]), ("b", b"2")]
        );
        assert_eq!(metadata.remove("a").as_deref(), Some(&b"3"[..]));
        assert_eq!(metadata.get("a"), None);
    }

    #[test]
    fn an_empty_value_is_not_an_absent_key() {
        let metadata: Metadata = [("empty", "")].into_iter().collect();
        assert_eq!(metadata.get("empty").map(Bytes::len), Some(0));
        assert_eq!(metadata.get("absent"), None);
    }

    #[test]
    fn the_frameworks_private_keys_stay_behind() {
        let metadata: Metadata = [
            ("app-a", "1"),
            ("trpc-user-ip", "2"),
            ("trpc-env", "3"),
            ("traceparent", "4"),
        ]
        .into_iter()
        .collect();
        let forwarded: Vec<_> = metadata
            .forwarded()
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect();
        assert_eq!(forwarded, ["app-a", "trpc-env", "traceparent"]);
    }
}
