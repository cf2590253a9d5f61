//! [`Formats`]: which number on the wire stands for which format.

use std::sync::Arc;

use rpc_core::serialize::FormatTable;
use rpc_core::{Format, Serialization};

#[cfg(feature = "json")]
use super::Json;
use super::RawBytes;
use crate::{Limits, numbers};

/// Which number on the wire stands for which format of messages: a value that is given to a server, a channel or a
/// loop-back.
///
/// | `content_type` | | |
/// |---|---|---|
/// | 0 | protobuf | always there, and no matter of tables |
/// | 2 | `Json` | with the feature `json` |
/// | 3 | FlatBuffers | [for you to add](rpc_core::Serialization); `examples/formats.rs` does |
/// | 4 | [`RawBytes`] | the application's own bytes |
/// | 128 to 255 | | yours |
///
/// A number that stands for nothing is refused, unless the type of the message knows it
/// ([`Message::knows`](rpc_core::Message::knows)). Clones share one table.
///
/// ```
/// use rpc_codec::Formats;
/// use rpc_core::Format;
///
/// let formats = Formats::default();
/// assert!(formats.knows(Format::Raw));
/// assert!(!formats.without(4).knows(Format::Raw));
/// ```
#[derive(Debug, Clone)]
pub struct Formats {
    /// Few enough to look through them.
    table: Arc<Vec<Arc<dyn Serialization>>>,
    bytes_max: usize,
}

impl Default for Formats {
    /// Raw bytes, and JSON if it was built in.
    fn default() -> Self {
        let formats = Self::none().with(RawBytes);
        #[cfg(feature = "json")]
        let formats = formats.with(Json::new());
        formats
    }
}

impl Formats {
    /// Protobuf alone.
    pub fn none() -> Self {
        Self {
            table: Arc::default(),
            bytes_max: Limits::default().decompressed_bytes_max,
        }
    }

    /// Lets the number of `serialization` stand for it, and no longer for what it stood for.
    ///
    /// # Panics
    ///
    /// For number 0, which is protobuf, and for numbers above 255, which some peers cut off.
    pub fn with(mut self, serialization: impl Serialization) -> Self {
        let (number, name) = (serialization.number(), serialization.name());
        assert_ne!(number, 0, "{name}: number 0 is protobuf");
        assert!(
            number <= 255,
            "{name}: {number} is above 255, the last number"
        );
        let table = Arc::make_mut(&mut self.table);
        table.retain(|known| known.number() != number);
        table.push(Arc::new(serialization));
        self
    }

    /// Lets `number` stand for nothing. Protobuf, number 0, stays.
    pub fn without(mut self, number: u32) -> Self {
        Arc::make_mut(&mut self.table).retain(|known| known.number() != number);
        self
    }

    /// Writes no body that would have more bytes. Servers and channels set it to what their limits allow a body to be,
    /// [`Limits::decompressed_bytes_max`].
    #[must_use]
    pub fn bounded(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Whether messages can be in that format.
    pub fn knows(&self, format: Format) -> bool {
        format == Format::Protobuf || self.find(format).is_some()
    }
}

impl FormatTable for Formats {
    fn find(&self, format: Format) -> Option<&dyn Serialization> {
        let number = numbers::content_type(format);
        let mut table = self.table.iter();
        let found = table.find(|known| known.number() == number);
        found.map(|serialization| &**serialization)
    }

    fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use rpc_core::serialize::{AnyMessage, Place};
    use rpc_core::{MessageType, Status};

    use super::*;

    /// Has a number and no more.
    #[derive(Debug)]
    struct Numbered(u32);

    impl Serialization for Numbered {
        fn number(&self) -> u32 {
            self.0
        }

        fn name(&self) -> &'static str {
            "numbered"
        }

        fn read(&self, _: Bytes, _: &MessageType, _: &mut dyn Place) -> Result<(), Status> {
            Ok(())
        }

        fn write(
            &self,
            _: &dyn AnyMessage,
            _: &MessageType,
            _: usize,
            _: &mut BytesMut,
        ) -> Result<(), Status> {
            Ok(())
        }
    }

    fn name(formats: &Formats, format: Format) -> Option<&str> {
        formats.find(format).map(Serialization::name)
    }

    #[test]
    fn a_later_one_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
        let formats = Formats::default();
        let changed = formats.clone().with(Numbered(4)).with(Numbered(130));
        assert_eq!(name(&changed, Format::Raw), Some("numbered"));
        assert_eq!(name(&changed, Format::Other(130)), Some("numbered"));
        assert_eq!(name(&formats, Format::Raw), Some("raw"));
        assert_eq!(name(&formats, Format::Other(130)), None);
        assert_eq!(name(&changed.without(4), Format::Raw), None);
    }

    #[test]
    fn a_number_is_the_same_by_whatever_name() {
        let formats = Formats::none().with(Numbered(2));
        assert!(formats.knows(Format::Json) && formats.knows(Format::Other(2)));
    }

    #[test]
    fn protobuf_is_always_there() {
        assert!(Formats::none().without(0).knows(Format::Protobuf));
        assert!(!Formats::none().knows(Format::Json));
        let has_json = Formats::default().knows(Format::Json);
        assert_eq!(has_json, cfg!(feature = "json"));
    }

    #[test]
    #[should_panic(expected = "number 0 is protobuf")]
    fn the_number_of_protobuf_cannot_be_given_away() {
        let _ = Formats::none().with(Numbered(0));
    }

    #[test]
    #[should_panic(expected = "256 is above 255")]
    fn numbers_that_peers_would_cut_off_are_refused() {
        let _ = Formats::none().with(Numbered(256));
    }
}
