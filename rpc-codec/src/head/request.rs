//! [`RequestHead`].

use bytes::{BufMut, Bytes};
use rpc_core::Metadata;
use rpc_core::metadata::Key;

use super::proto::{Fields, LEVELS, Length, Sink, Writer};
use super::{body_len, metadata};
use crate::HeadError;

/// The head of a request, borrowed from the bytes it was read from.
///
/// ```text
///  field  type                   field  type
///      1  uint32  version            7  bytes   func
///      2  uint32  call_type          8  uint32  message_type
///      3  uint32  request_id         9  map     trans_info: text to bytes
///      4  uint32  timeout           10  uint32  content_type
///      5  bytes   caller            11  uint32  content_encoding
///      6  bytes   callee            12  uint32  attachment_size
/// ```
///
/// A field that is absent is 0 or empty. Of one that comes twice the last counts. Unknown fields are stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestHead<'a> {
    /// Version of the protocol: 0. Any value is served.
    pub version: u32,
    /// 0 for a call that is answered, 1 for one that is not.
    pub call_type: u32,
    /// What the response will carry, too. 0 is an id like any other.
    pub request_id: u32,
    /// What is left of the call's time, in milliseconds; 0 when the caller names none.
    pub timeout_ms: u32,
    /// Route name of who calls. Need not be UTF-8.
    pub caller: &'a [u8],
    /// Route name of what is called. Need not be UTF-8.
    pub callee: &'a [u8],
    /// Service and method, `/package.Service/Method`. Need not be UTF-8.
    pub func: &'a [u8],
    /// Marks that travel with the chain of calls, as a bit mask.
    pub message_type: u32,
    /// Whether there is metadata, to be read by [`RequestHead::read_metadata`].
    pub has_metadata: bool,
    /// How the body is written, see [`crate::numbers::format`].
    pub content_type: u32,
    /// How the body is compressed, see [`crate::numbers::compression`].
    pub content_encoding: u32,
    /// Bytes at the end of the frame that are not body, see [`RequestHead::body_len`].
    pub attachment_size: u32,
}

const VERSION: u32 = 1;
const CALL_TYPE: u32 = 2;
const REQUEST_ID: u32 = 3;
const TIMEOUT: u32 = 4;
const CALLER: u32 = 5;
const CALLEE: u32 = 6;
const FUNC: u32 = 7;
const MESSAGE_TYPE: u32 = 8;
const TRANS_INFO: u32 = 9;
const CONTENT_TYPE: u32 = 10;
const CONTENT_ENCODING: u32 = 11;
const ATTACHMENT_SIZE: u32 = 12;

impl<'a> RequestHead<'a> {
    /// Reads a head and checks its metadata. Allocates nothing.
    ///
    /// # Errors
    ///
    /// When there is no head, or the bytes are not one. The frame around it is sound, so only this call has failed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut head = Self::default();
        head.read(bytes)?;
        Ok(head)
    }

    /// Reads a head into this one, which is empty. In place, because it is moved often enough; and by a call of its own, because
    /// in the midst of what a loop does with a request there are no registers left for it.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &'a [u8]) -> Result<(), HeadError> {
        if bytes.is_empty() {
            return Err(HeadError::Empty);
        }
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                VERSION => self.version = fields.uint32(tag)?,
                CALL_TYPE => self.call_type = fields.uint32(tag)?,
                REQUEST_ID => self.request_id = fields.uint32(tag)?,
                TIMEOUT => self.timeout_ms = fields.uint32(tag)?,
                CALLER => self.caller = fields.bytes(tag)?,
                CALLEE => self.callee = fields.bytes(tag)?,
                FUNC => self.func = fields.bytes(tag)?,
                MESSAGE_TYPE => self.message_type = fields.uint32(tag)?,
                TRANS_INFO => {
                    metadata::entry(fields.bytes(tag)?)?;
                    self.has_metadata = true;
                }
                CONTENT_TYPE => self.content_type = fields.uint32(tag)?,
                CONTENT_ENCODING => self.content_encoding = fields.uint32(tag)?,
                ATTACHMENT_SIZE => self.attachment_size = fields.uint32(tag)?,
                _ => fields.skip(tag, LEVELS)?,
            }
        }
        Ok(())
    }

    /// Length of the head with `metadata`. [`crate::frame::HEAD_BYTES_MAX`] is the most that a frame can carry.
    pub fn encoded_len(&self, metadata: &Metadata) -> usize {
        let mut length = Length::default();
        self.write(metadata, &mut length);
        length.0
    }

    /// Appends the head with `metadata`, fields in the order of their numbers. `has_metadata` is not looked at.
    ///
    /// # Panics
    ///
    /// When `out` is of a kind that cannot grow and has no room for [`RequestHead::encoded_len`] bytes.
    pub fn encode(&self, metadata: &Metadata, out: &mut impl BufMut) {
        self.write(metadata, &mut Writer(out));
    }

    /// Reads the metadata out of a whole head, for [`Metadata::unread`]. Keys and values share the memory of `raw`.
    pub fn read_metadata(raw: &Bytes) -> Vec<(Key, Bytes)> {
        metadata::entries(raw, TRANS_INFO)
    }

    /// How many of the `after_head` bytes that follow the head are body; the attachment is the rest.
    ///
    /// # Errors
    ///
    /// When the attachment would be longer than all of them.
    pub fn body_len(&self, after_head: usize) -> Result<usize, HeadError> {
        body_len(self.attachment_size, after_head)
    }

    fn write(&self, metadata: &Metadata, sink: &mut impl Sink) {
        sink.number(VERSION, self.version);
        sink.number(CALL_TYPE, self.call_type);
        sink.number(REQUEST_ID, self.request_id);
        sink.number(TIMEOUT, self.timeout_ms);
        sink.bytes(CALLER, self.caller);
        sink.bytes(CALLEE, self.callee);
        sink.bytes(FUNC, self.func);
        sink.number(MESSAGE_TYPE, self.message_type);
        for (key, value) in metadata.iter() {
            sink.entry(TRANS_INFO, key.as_bytes(), value);
        }
        sink.number(CONTENT_TYPE, self.content_type);
        sink.number(CONTENT_ENCODING, self.content_encoding);
        sink.number(ATTACHMENT_SIZE, self.attachment_size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: RequestHead<'static> = RequestHead {
        version: 1,
        call_type: 2,
        request_id: 300,
        timeout_ms: u32::MAX,
        caller: b"caller",
        callee: b"callee",
        func: b"/a.B/C\xff",
        message_type: 8,
        has_metadata: true,
        content_type: 10,
        content_encoding: 11,
        attachment_size: 12,
    };

    #[test]
    fn a_head_survives_the_way_there_and_back() {
        let metadata: Metadata = [("a", "1"), ("", "no key"), ("no value", "")]
            .into_iter()
            .collect();
        let mut bytes = Vec::new();
        FULL.encode(&metadata, &mut bytes);
        assert_eq!(bytes.len(), FULL.encoded_len(&metadata));
        assert_eq!(RequestHead::decode(&bytes), Ok(FULL));
        let read = Metadata::unread(bytes.into(), RequestHead::read_metadata);
        assert_eq!(read, metadata);
    }

    #[test]
    fn the_last_value_of_a_field_counts_in_any_order() {
        let head =
            RequestHead::decode(&[0x60, 9, 0x18, 1, 0x3a, 1, b'a', 0x18, 2, 0x3a, 0]).unwrap();
        let expected = RequestHead {
            request_id: 2,
            attachment_size: 9,
            ..RequestHead::default()
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn a_request_without_a_head_calls_nothing() {
        assert_eq!(RequestHead::decode(&[]), Err(HeadError::Empty));
    }

    #[test]
    fn a_known_field_of_another_wire_type_is_refused() {
        assert_eq!(
            RequestHead::decode(&[0x1a, 1, 1]),
            Err(HeadError::WrongWireType { field: 3 })
        );
        assert_eq!(
            RequestHead::decode(&[0x48, 0]),
            Err(HeadError::WrongWireType { field: 9 })
        );
    }

    #[test]
    fn broken_metadata_is_found_before_anybody_reads_it() {
        assert_eq!(
            RequestHead::decode(&[0x4a, 3, 0x0a, 1, 0xff]),
            Err(HeadError::InvalidUtf8Key)
        );
        assert_eq!(
            RequestHead::decode(&[0x4a, 2, 0x0a, 1, b'k']),
            Err(HeadError::Truncated)
        );
    }

    #[test]
    fn an_attachment_may_take_all_of_the_rest_and_no_more() {
        let head = RequestHead {
            attachment_size: 7,
            ..RequestHead::default()
        };
        assert_eq!(head.body_len(10), Ok(3));
        assert_eq!(head.body_len(7), Ok(0));
        assert_eq!(
            head.body_len(6),
            Err(HeadError::AttachmentPastFrame { size: 7, left: 6 })
        );
    }
}
