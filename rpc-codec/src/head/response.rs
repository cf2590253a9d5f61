//! [`ResponseHead`].

use bytes::{BufMut, Bytes};
use rpc_core::Metadata;
use rpc_core::metadata::Key;

use super::proto::{Fields, LEVELS, Length, Sink, Writer, short_number};
use super::{body_len, metadata};
use crate::HeadError;

/// The head of a response, borrowed from the bytes it was read from.
///
/// ```text
///  field  type                   field  type
///      1  uint32  version            7  uint32  message_type
///      2  uint32  call_type          8  map     trans_info: text to bytes
///      3  uint32  request_id         9  uint32  content_type
///      4  int32   ret               10  uint32  content_encoding
///      5  int32   func_ret          11  not used
///      6  bytes   error_msg         12  uint32  attachment_size
/// ```
///
/// From the sixth on, the numbers are not those of the same fields in a request.
///
/// A field that is absent is 0 or empty. Of one that comes twice the last counts. Unknown fields are stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHead<'a> {
    /// Version of the protocol: 0. Any value is served.
    pub version: u32,
    /// The request's.
    pub call_type: u32,
    /// Which request is answered. The only thing to go by: not every peer fills the stream id of the frame.
    pub request_id: u32,
    /// The framework's result, 0 when all went well. See [`crate::ret`].
    pub ret: i32,
    /// The service's result, 0 when all went well.
    pub func_ret: i32,
    /// A text that explains a failure. Need not be UTF-8.
    pub error_msg: &'a [u8],
    /// The request's.
    pub message_type: u32,
    /// Whether there is metadata, to be read by [`ResponseHead::read_metadata`].
    pub has_metadata: bool,
    /// How the body is written, see [`crate::numbers::format`].
    pub content_type: u32,
    /// How the body is compressed, see [`crate::numbers::compression`].
    pub content_encoding: u32,
    /// Bytes at the end of the frame that are not body, see [`ResponseHead::body_len`].
    pub attachment_size: u32,
}

const VERSION: u32 = 1;
const CALL_TYPE: u32 = 2;
const REQUEST_ID: u32 = 3;
const RET: u32 = 4;
const FUNC_RET: u32 = 5;
const ERROR_MSG: u32 = 6;
const MESSAGE_TYPE: u32 = 7;
const TRANS_INFO: u32 = 8;
const CONTENT_TYPE: u32 = 9;
const CONTENT_ENCODING: u32 = 10;
const ATTACHMENT_SIZE: u32 = 12;

impl<'a> ResponseHead<'a> {
    /// Reads a head and checks its metadata. Allocates nothing. No bytes at all are a head, too: the success of request
    /// 0, which is the first one that some peers make.
    ///
    /// # Errors
    ///
    /// When the bytes are not a head. The frame around it is sound, so only this call has failed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut head = Self::default();
        head.read(bytes)?;
        Ok(head)
    }

    /// Reads a head into this one, which is empty: in place, because it is moved often enough.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &'a [u8]) -> Result<(), HeadError> {
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                VERSION => self.version = fields.uint32(tag)?,
                CALL_TYPE => self.call_type = fields.uint32(tag)?,
                REQUEST_ID => self.request_id = fields.uint32(tag)?,
                RET => self.ret = fields.int32(tag)?,
                FUNC_RET => self.func_ret = fields.int32(tag)?,
                ERROR_MSG => self.error_msg = fields.bytes(tag)?,
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
    /// When `out` is of a kind that cannot grow and has no room for [`ResponseHead::encoded_len`] bytes.
    pub fn encode(&self, metadata: &Metadata, out: &mut impl BufMut) {
        self.write(metadata, &mut Writer(out));
    }

    /// The head that says no more than which request is answered, and how many of these bytes it takes.
    #[inline]
    pub(crate) fn of_id(request_id: u32) -> ([u8; 8], usize) {
        short_number(REQUEST_ID, request_id)
    }

    /// Reads the metadata out of a whole head, for [`Metadata::unread`]. Keys and values share the memory of `raw`.
    pub fn read_metadata(raw: &Bytes) -> Vec<(Key, Bytes)> {
        metadata::entries(raw, TRANS_INFO)
    }

    /// How many of the `after_head` bytes that follow the head are body; the attachment is the rest. For a failure the
    /// attachment is cut to what is there: some peers name one that they did not send.
    ///
    /// # Errors
    ///
    /// When the attachment would be longer than all of them.
    pub fn body_len(&self, after_head: usize) -> Result<usize, HeadError> {
        if self.ret != 0 || self.func_ret != 0 {
            return Ok(body_len(self.attachment_size, after_head).unwrap_or(0));
        }
        body_len(self.attachment_size, after_head)
    }

    fn write(&self, metadata: &Metadata, sink: &mut impl Sink) {
        sink.number(VERSION, self.version);
        sink.number(CALL_TYPE, self.call_type);
        sink.number(REQUEST_ID, self.request_id);
        sink.signed(RET, self.ret);
        sink.signed(FUNC_RET, self.func_ret);
        sink.bytes(ERROR_MSG, self.error_msg);
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

    const FULL: ResponseHead<'static> = ResponseHead {
        version: 1,
        call_type: 2,
        request_id: 300,
        ret: -4,
        func_ret: i32::MIN,
        error_msg: b"why \xff",
        message_type: 7,
        has_metadata: true,
        content_type: 9,
        content_encoding: 10,
        attachment_size: u32::MAX,
    };

    #[test]
    fn a_head_survives_the_way_there_and_back() {
        let metadata: Metadata = [("a", "1"), ("b", "")].into_iter().collect();
        let mut bytes = Vec::new();
        FULL.encode(&metadata, &mut bytes);
        assert_eq!(bytes.len(), FULL.encoded_len(&metadata));
        assert_eq!(ResponseHead::decode(&bytes), Ok(FULL));
        let read = Metadata::unread(bytes.into(), ResponseHead::read_metadata);
        assert_eq!(read, metadata);
    }

    #[test]
    fn the_success_of_request_0_is_a_head_of_no_bytes() {
        let head = ResponseHead::default();
        assert_eq!(head.encoded_len(&Metadata::new()), 0);
        assert_eq!(ResponseHead::decode(&[]), Ok(head));
    }

    #[test]
    fn field_11_is_nobodys() {
        let head = ResponseHead::decode(&[0x58, 9, 0x60, 1]).unwrap();
        assert_eq!((head.content_encoding, head.attachment_size), (0, 1));
    }

    #[test]
    fn a_stale_attachment_size_does_not_spoil_a_failure() {
        let head = ResponseHead {
            attachment_size: 7,
            ..ResponseHead::default()
        };
        assert_eq!(
            head.body_len(0),
            Err(HeadError::AttachmentPastFrame { size: 7, left: 0 })
        );
        assert_eq!(ResponseHead { ret: 2, ..head }.body_len(0), Ok(0));
        assert_eq!(
            ResponseHead {
                func_ret: -1,
                ..head
            }
            .body_len(9),
            Ok(2)
        );
    }
}
