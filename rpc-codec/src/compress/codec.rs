//! [`Codec`]: one compression.

use std::fmt::Debug;

use bytes::Bytes;

use super::CompressError;

/// One compression, in both directions. [`Codecs`](super::Codecs) says which number on the wire stands for it.
///
/// A codec of one's own:
///
/// ```
/// use bytes::Bytes;
/// use rpc_codec::{Codec, Codecs, CompressError};
/// use rpc_core::Compression;
///
/// /// A body of equal bytes becomes one of them and how many there are.
/// #[derive(Debug)]
/// struct Runs;
///
/// impl Codec for Runs {
///     fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
///         let (Some(&byte), Ok(times)) = (body.first(), u8::try_from(body.len())) else {
///             return Ok(None);
///         };
///         let is_run = body.iter().all(|other| *other == byte);
///         Ok((is_run && bytes_max >= 2).then(|| Bytes::copy_from_slice(&[byte, times])))
///     }
///
///     fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
///         match packed {
///             [_, times] if usize::from(*times) > bytes_max => Err(CompressError::TooLarge { max: bytes_max }),
///             [byte, times] => Ok(vec![*byte; usize::from(*times)].into()),
///             _ => Err(CompressError::Corrupt),
///         }
///     }
/// }
///
/// let codecs = Codecs::default().with(130, Runs).with_bytes_min(0);
/// let packed = codecs.compress(Compression::Other(130), &"aaaaaaaa".into())?.expect("it shrinks");
/// assert_eq!(&packed[..], b"a\x08");
/// assert_eq!(codecs.decompress(Compression::Other(130), &packed, 8)?, "aaaaaaaa");
/// # Ok::<(), CompressError>(())
/// ```
pub trait Codec: Debug + Send + Sync + 'static {
    /// Packs a body, which is not empty, to at most `bytes_max` bytes. `None` says that it would become longer, or cannot be
    /// packed so that every peer unpacks it. A body of a call is sent as it is then; a message of a stream, for which
    /// `bytes_max` does not say anything, cannot be sent at all.
    ///
    /// # Errors
    ///
    /// When nobody should be sent this, as [`CompressError::Ambiguous`] says.
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError>;

    /// Unpacks what a peer sent, which is not empty, to at most `bytes_max` bytes. Nothing is allocated because of a number
    /// that the peer named before that number was compared with `bytes_max`.
    ///
    /// # Errors
    ///
    /// [`CompressError::TooLarge`] or [`CompressError::Corrupt`].
    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError>;
}

/// A body packed to less than it has; `None` if that cannot be.
#[cfg(test)]
pub(super) fn shrunk(codec: &impl Codec, body: &[u8]) -> Option<Bytes> {
    let packed = codec.compress(body, body.len().checked_sub(1)?);
    packed.expect("no codec here is only read")
}
