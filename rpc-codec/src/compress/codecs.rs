//! [`Codecs`]: which number on the wire stands for which compression.

use std::sync::Arc;

use bytes::Bytes;
use rpc_core::stream::Packing;
use rpc_core::{Code, Compression, Status};

use super::snappy::Heard;
use super::{
    Codec, CompressError, Gzip, Lz4Block, Lz4Frame, Snappy, SnappyBlock, SnappyStream, Zlib,
};
use crate::numbers;

/// Which number on the wire stands for which compression, and from which size on bodies are packed: a value that is given
/// to a server or a channel.
///
/// | `content_encoding` | | understood by |
/// |---|---|---|
/// | 0 | as it is | all |
/// | 1 | [`Gzip`] | all |
/// | 2 | [`Snappy`], two formats; read, and not sent unless told which | Go the one, C++ and Java the other |
/// | 3 | [`Zlib`] | Go, C++ |
/// | 4 | [`SnappyStream`] | Go |
/// | 5 | [`SnappyBlock`] | Go, C++ |
/// | 6 | [`Lz4Frame`] | C++, newer Go |
/// | 7 | [`Lz4Block`] | newer Go |
///
/// All of it is there by default. Clones share one table.
///
/// ```
/// use rpc_codec::Codecs;
/// use rpc_codec::compress::Snappy;
/// use rpc_core::Compression;
///
/// // For peers in Java, which know gzip and this.
/// let codecs = Codecs::default().with(2, Snappy::sent_as_block());
/// assert!(codecs.knows(Compression::Other(2)));
/// assert!(!codecs.without(2).knows(Compression::Other(2)));
/// ```
#[derive(Debug, Clone)]
pub struct Codecs {
    /// Few enough to look through them.
    table: Arc<Vec<(u32, Arc<dyn Codec>)>>,
    bytes_min: usize,
}

/// Below this, what is saved is not worth the time.
const BYTES_MIN: usize = 1024;

impl Default for Codecs {
    /// All that the protocol has numbers for.
    fn default() -> Self {
        Self::none()
            .with(1, Gzip)
            .with(2, Snappy::read_only())
            .with(3, Zlib)
            .with(4, SnappyStream)
            .with(5, SnappyBlock)
            .with(6, Lz4Frame)
            .with(7, Lz4Block)
    }
}

impl Codecs {
    /// No compression at all: a packed body that is not empty cannot be read.
    pub fn none() -> Self {
        Self {
            table: Arc::default(),
            bytes_min: BYTES_MIN,
        }
    }

    /// Lets `number` stand for `codec`, and no longer for what it stood for. Applications have the numbers from 128 on.
    ///
    /// # Panics
    ///
    /// For number 0, which says that a body is as it is.
    pub fn with(mut self, number: u32, codec: impl Codec) -> Self {
        assert_ne!(number, 0, "number 0 is a body that is not packed");
        let table = Arc::make_mut(&mut self.table);
        table.retain(|(known, _)| *known != number);
        table.push((number, Arc::new(codec)));
        self
    }

    /// Lets `number` stand for nothing.
    pub fn without(mut self, number: u32) -> Self {
        Arc::make_mut(&mut self.table).retain(|(known, _)| *known != number);
        self
    }

    /// Packs no body that has fewer bytes. Default: 1024.
    pub fn with_bytes_min(mut self, bytes: usize) -> Self {
        self.bytes_min = bytes;
        self
    }

    /// Packs a body. `None` says to send it as it is and to say so: it is too short to be worth it, or would not become
    /// smaller. A body of no bytes is never packed, as tRPC-Cpp cannot unpack it.
    ///
    /// # Errors
    ///
    /// When the compression is not known here, or is only read.
    pub fn compress(
        &self,
        compression: Compression,
        body: &Bytes,
    ) -> Result<Option<Bytes>, CompressError> {
        if compression == Compression::None {
            return Ok(None);
        }
        let codec = self.codec(compression)?;
        if body.len() < self.bytes_min.max(1) {
            return Ok(None);
        }
        let packed = codec.compress(body, body.len() - 1)?;
        Ok(packed.filter(|packed| packed.len() < body.len()))
    }

    /// Packs a message of a stream, however long it becomes: nothing in it would say that it is not packed. A message of no
    /// bytes is never packed.
    ///
    /// # Errors
    ///
    /// When the compression is not known here, is only read, or cannot pack this message.
    pub fn compress_always(
        &self,
        compression: Compression,
        message: &Bytes,
    ) -> Result<Bytes, CompressError> {
        if compression == Compression::None || message.is_empty() {
            return Ok(message.clone());
        }
        let packed = self.codec(compression)?.compress(message, usize::MAX)?;
        packed.ok_or(CompressError::Unpackable)
    }

    /// Packs and unpacks the messages of one stream, which may grow to `bytes_max` bytes. What its peer means by the number
    /// that is [two formats](super::Snappy) is learnt from what comes.
    pub fn packing(&self, bytes_max: usize) -> Arc<dyn Packing> {
        Arc::new(Messages {
            codecs: self.clone(),
            bytes_max,
            heard: Heard::default(),
        })
    }

    /// Unpacks a body to at most `bytes_max` bytes. A plain body passes as it is: its frame has bounded it. A body of no
    /// bytes is the empty message in every compression.
    ///
    /// # Errors
    ///
    /// When the compression is not known here, the body is not what it says, or there would be more.
    pub fn decompress(
        &self,
        compression: Compression,
        body: &Bytes,
        bytes_max: usize,
    ) -> Result<Bytes, CompressError> {
        if compression == Compression::None || body.is_empty() {
            return Ok(body.clone());
        }
        let unpacked = self.codec(compression)?.decompress(body, bytes_max)?;
        // Codecs of ours never come to this; one of the user's may have forgotten.
        if unpacked.len() > bytes_max {
            return Err(CompressError::TooLarge { max: bytes_max });
        }
        Ok(unpacked)
    }

    /// Whether bodies can be unpacked so.
    pub fn knows(&self, compression: Compression) -> bool {
        compression == Compression::None || self.codec(compression).is_ok()
    }

    fn codec(&self, compression: Compression) -> Result<&dyn Codec, CompressError> {
        let number = numbers::content_encoding(compression);
        let mut table = self.table.iter();
        let found = table.find(|(known, _)| *known == number);
        found
            .map(|(_, codec)| &**codec)
            .ok_or(CompressError::Unsupported(number))
    }
}

/// The number of [`Snappy`].
const SNAPPY: u32 = 2;

/// What a stream is given.
#[derive(Debug)]
struct Messages {
    codecs: Codecs,
    bytes_max: usize,
    heard: Heard,
}

impl Packing for Messages {
    fn pack(&self, compression: Compression, message: &Bytes) -> Result<Bytes, Status> {
        let packed = match self.codecs.compress_always(compression, message) {
            Err(CompressError::Ambiguous) => {
                let packed = self.heard.compress(message);
                packed.and_then(|packed| packed.ok_or(CompressError::Unpackable))
            }
            packed => packed,
        };
        packed.map_err(|error| {
            let text = format!("the message cannot be packed: {error}");
            Status::new(Code::Unencodable, text)
        })
    }

    fn unpack(&self, compression: Compression, message: &Bytes) -> Result<Bytes, Status> {
        if compression == Compression::Other(SNAPPY) {
            self.heard.note(message);
        }
        let unpacked = self.codecs.decompress(compression, message, self.bytes_max);
        unpacked.map_err(|error| {
            let text = format!("a message of the stream cannot be unpacked: {error}");
            Status::new(Code::Malformed, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that everything becomes as many bytes as were asked for.
    #[derive(Debug)]
    struct Becomes(usize);

    impl Codec for Becomes {
        fn compress(&self, _: &[u8], _: usize) -> Result<Option<Bytes>, CompressError> {
            Ok(Some(vec![7; self.0].into()))
        }

        fn decompress(&self, _: &[u8], _: usize) -> Result<Bytes, CompressError> {
            Ok(vec![7; self.0].into())
        }
    }

    const ALL: [Compression; 7] = [
        Compression::Gzip,
        Compression::Other(2),
        Compression::Zlib,
        Compression::SnappyStream,
        Compression::SnappyBlock,
        Compression::Lz4Frame,
        Compression::Lz4Block,
    ];

    #[test]
    fn no_bytes_are_the_empty_body_in_every_compression() {
        let codecs = Codecs::default().with_bytes_min(0);
        let others = [Compression::None, Compression::Other(99)];
        for compression in ALL.into_iter().chain(others) {
            let empty = codecs.decompress(compression, &Bytes::new(), 0);
            assert_eq!(empty, Ok(Bytes::new()));
        }
        for compression in ALL {
            assert_eq!(codecs.compress(compression, &Bytes::new()), Ok(None));
        }
    }

    #[test]
    fn a_plain_body_is_shared_and_not_copied() {
        let codecs = Codecs::default();
        let body = Bytes::from_static(b"as it is");
        let same = codecs.decompress(Compression::None, &body, 1).unwrap();
        assert_eq!(same.as_ptr(), body.as_ptr());
        assert_eq!(codecs.compress(Compression::None, &body), Ok(None));
    }

    #[test]
    fn an_unknown_compression_is_refused() {
        let body = Bytes::from_static(b"bytes");
        for (codecs, compression, number) in [
            (Codecs::default(), Compression::Other(8), 8),
            (Codecs::none(), Compression::Gzip, 1),
            (Codecs::default().without(6), Compression::Lz4Frame, 6),
        ] {
            assert!(!codecs.knows(compression));
            let error = CompressError::Unsupported(number);
            assert_eq!(codecs.compress(compression, &body), Err(error));
            assert_eq!(codecs.decompress(compression, &body, 100), Err(error));
        }
    }

    #[test]
    fn a_short_body_is_not_packed() {
        let codecs = Codecs::default();
        for compression in ALL {
            assert!(codecs.knows(compression));
            if compression == Compression::Other(2) {
                continue;
            }
            let packs = |bytes: u16, codecs: &Codecs| {
                let body: Bytes = (0..bytes).map(|i| (i / 8).to_le_bytes()[0]).collect();
                codecs.compress(compression, &body).unwrap().is_some()
            };
            assert!(!packs(1023, &codecs), "{compression:?}");
            assert!(packs(1024, &codecs), "{compression:?}");
            assert!(packs(200, &codecs.clone().with_bytes_min(200)));
        }
    }

    #[test]
    fn a_stream_answers_in_the_snappy_that_it_has_heard() {
        let message = Bytes::from_static(b"which of the two? which of the two?");
        for (theirs, format) in [
            (Snappy::sent_as_stream(), Compression::SnappyStream),
            (Snappy::sent_as_block(), Compression::SnappyBlock),
        ] {
            let old = Compression::Other(2);
            let peer = Codecs::default().with(2, theirs).packing(1000);
            let ours = Codecs::default().packing(1000);
            ours.unpack(old, &Bytes::new()).unwrap();
            ours.pack(old, &message).expect_err("nobody knows yet");
            let packed = peer.pack(old, &message).unwrap();
            assert_eq!(ours.unpack(old, &packed).unwrap(), message);
            let back = ours.pack(old, &message).unwrap();
            assert_eq!(ours.unpack(format, &back).unwrap(), message);
        }
    }

    #[test]
    fn a_message_of_a_stream_is_packed_even_if_that_makes_it_longer() {
        let codecs = Codecs::default();
        let packing = codecs.packing(100_000);
        for compression in ALL.into_iter().chain([Compression::None]) {
            if compression == Compression::Other(2) {
                assert!(
                    packing
                        .pack(compression, &Bytes::from_static(b"x"))
                        .is_err()
                );
                continue;
            }
            let noise = |bytes: u32| {
                (0..bytes)
                    .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
                    .collect()
            };
            for message in [
                Bytes::new(),
                Bytes::from_static(b"x"),
                Bytes::from(vec![0; 80_000]),
                noise(13),
                noise(300),
                noise(70_000),
            ] {
                let packed = packing.pack(compression, &message).unwrap();
                assert_eq!(packed.is_empty(), message.is_empty());
                let unpacked = packing.unpack(compression, &packed).unwrap();
                assert!(unpacked == message, "{compression:?} of {}", message.len());
            }
        }
    }

    #[test]
    fn a_later_codec_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
        let codecs = Codecs::default();
        let changed = codecs.clone().with(1, Becomes(3)).with(130, Becomes(5));
        let body = Bytes::from(vec![0; 2000]);
        let bytes = |codecs: &Codecs, compression| {
            let packed = codecs.compress(compression, &body);
            packed.map(|packed| packed.map(|packed| packed.len()))
        };
        assert_eq!(bytes(&changed, Compression::Gzip), Ok(Some(3)));
        assert_eq!(bytes(&changed, Compression::Other(130)), Ok(Some(5)));
        assert!(bytes(&codecs, Compression::Gzip).unwrap().unwrap() > 3);
        assert!(bytes(&codecs, Compression::Other(130)).is_err());
        assert_eq!(
            bytes(&changed, Compression::Zlib),
            bytes(&codecs, Compression::Zlib)
        );
    }

    #[test]
    fn a_codec_of_the_user_can_break_neither_rule() {
        let codecs = Codecs::none().with(130, Becomes(2000));
        let compression = Compression::Other(130);
        let body = Bytes::from(vec![0; 2000]);
        assert_eq!(codecs.compress(compression, &body), Ok(None));
        assert_eq!(
            codecs.decompress(compression, &body, 2000).unwrap().len(),
            2000
        );
        assert_eq!(
            codecs.decompress(compression, &body, 1999),
            Err(CompressError::TooLarge { max: 1999 })
        );
    }

    #[test]
    #[should_panic(expected = "number 0")]
    fn the_number_of_a_plain_body_cannot_be_given_away() {
        let _ = Codecs::none().with(0, Gzip);
    }
}
