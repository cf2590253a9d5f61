//! [`Terms`]: how the messages of one direction of a stream are written.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::serialize::{FormatTable, ProtobufOnly};
use crate::{Compression, Format, Status};

/// How the messages of one direction of a stream are written. The end that opens the stream names them for both
/// directions; within a process, where nothing is named, they are those of [`Terms::plain`].
#[derive(Debug, Clone)]
pub struct Terms {
    /// How messages are written.
    pub format: Format,
    /// The formats that are known beside protobuf. Without it none is.
    pub formats: Option<Arc<dyn FormatTable>>,
    /// How they are packed.
    pub compression: Compression,
    /// What packs them. Without it they are not packed.
    pub packing: Option<Arc<dyn Packing>>,
    /// The longest message, in bytes as it is sent.
    pub message_bytes_max: usize,
}

impl Terms {
    /// Protocol buffers, not packed, of any length.
    pub fn plain() -> &'static Self {
        static PLAIN: Terms = Terms {
            format: Format::Protobuf,
            formats: None,
            compression: Compression::None,
            packing: None,
            message_bytes_max: usize::MAX,
        };
        &PLAIN
    }

    /// The formats that are known beside protobuf.
    pub(crate) fn table(&self) -> &dyn FormatTable {
        self.formats.as_deref().unwrap_or(&ProtobufOnly)
    }
}

/// Packs and unpacks the messages of a stream. What a server or channel knows of compression is one.
pub trait Packing: fmt::Debug + Send + Sync {
    /// The message packed, even if that makes it longer: nothing in a message says whether it is packed. Only a message of
    /// no bytes is sent as it is.
    ///
    /// # Errors
    ///
    /// When nothing is known of that compression.
    fn pack(&self, compression: Compression, message: &Bytes) -> Result<Bytes, Status>;

    /// The message unpacked.
    ///
    /// # Errors
    ///
    /// When nothing is known of that compression, the bytes are damaged, or they grow beyond what is allowed.
    fn unpack(&self, compression: Compression, message: &Bytes) -> Result<Bytes, Status>;
}
