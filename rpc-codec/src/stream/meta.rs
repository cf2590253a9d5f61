//! What the frames of streams say, as protobuf messages that are read in place, like the heads of unary frames.
//!
//! ```text
//!  INIT      1 message request_meta    1 bytes caller   2 bytes callee  3 bytes func  4 uint32 message_type
//!                                      5 map   trans_info: text to bytes
//!            2 message response_meta   1 int32 ret      2 bytes error_msg
//!            3 uint32  init_window_size
//!            4 uint32  content_type    5 uint32 content_encoding
//!  FEEDBACK  1 uint32  window_size_increment
//!  CLOSE     1 int32   close_type: 0 one direction has ended, 1 the stream is reset
//!            2 int32   ret   3 bytes msg   4 uint32 message_type   5 map trans_info   6 int32 func_ret
//! ```
//!
//! A field that is absent is 0 or empty. Of one that comes twice the last counts; messages that come twice are one.
//! Unknown fields are stepped over. All of it is accepted and refused as the protobuf library does
//! (`tests/mutations.rs`, `stream_meta`).

use bytes::{BufMut, Bytes};
use rpc_core::Metadata;
use rpc_core::metadata::Key;

use crate::HeadError;
use crate::head::metadata;
use crate::head::proto::{Fields, LEVELS, Length, Sink, Writer};

/// The payload of an INIT: it asks for a stream, or answers that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InitMeta<'a> {
    /// What is asked for, where something is.
    pub request: Option<InitRequest<'a>>,
    /// What is answered, where something is.
    pub response: Option<InitResponse<'a>>,
    /// Bytes of messages that the sender takes before it says more. 0: the flow is not controlled, either way.
    pub window: u32,
    /// How messages are written, see [`crate::numbers::format`].
    pub content_type: u32,
    /// How messages are compressed, see [`crate::numbers::compression`].
    pub content_encoding: u32,
}

/// Which method a stream is of, and who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InitRequest<'a> {
    /// Route name of the caller. Need not be UTF-8.
    pub caller: &'a [u8],
    /// Route name of what is called. Need not be UTF-8.
    pub callee: &'a [u8],
    /// Service and method, `/package.Service/Method`. Need not be UTF-8.
    pub func: &'a [u8],
    /// Marks that travel with the chain of calls, as a bit mask.
    pub message_type: u32,
    /// Whether there is metadata, to be read by [`InitMeta::read_metadata`].
    pub has_metadata: bool,
}

/// Whether a stream is open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InitResponse<'a> {
    /// 0 if it is; otherwise why not. See [`crate::ret`].
    pub ret: i32,
    /// A text that explains a refusal. Need not be UTF-8.
    pub error_msg: &'a [u8],
}

const INIT_REQUEST: u32 = 1;
const INIT_RESPONSE: u32 = 2;
const INIT_WINDOW: u32 = 3;
const INIT_CONTENT_TYPE: u32 = 4;
const INIT_CONTENT_ENCODING: u32 = 5;

const REQUEST_CALLER: u32 = 1;
const REQUEST_CALLEE: u32 = 2;
const REQUEST_FUNC: u32 = 3;
const REQUEST_MESSAGE_TYPE: u32 = 4;
const REQUEST_TRANS_INFO: u32 = 5;

const RESPONSE_RET: u32 = 1;
const RESPONSE_ERROR_MSG: u32 = 2;

/// How deep groups may be nested in a message within a message.
const INNER_LEVELS: usize = LEVELS - 1;

impl<'a> InitMeta<'a> {
    /// Reads the payload of an INIT and checks its metadata. Allocates nothing.
    ///
    /// # Errors
    ///
    /// When the bytes are not one. The frame around it is sound, so only this stream has failed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut meta = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                INIT_REQUEST => meta
                    .request
                    .get_or_insert_default()
                    .merge(fields.bytes(tag)?)?,
                INIT_RESPONSE => meta
                    .response
                    .get_or_insert_default()
                    .merge(fields.bytes(tag)?)?,
                INIT_WINDOW => meta.window = fields.uint32(tag)?,
                INIT_CONTENT_TYPE => meta.content_type = fields.uint32(tag)?,
                INIT_CONTENT_ENCODING => meta.content_encoding = fields.uint32(tag)?,
                _ => fields.skip(tag, LEVELS)?,
            }
        }
        Ok(meta)
    }

    /// Appends the payload, with `metadata` if something is asked for. `has_metadata` is not looked at.
    ///
    /// # Panics
    ///
    /// When `out` is of a kind that cannot grow and has no room for it.
    pub fn encode(&self, metadata: &Metadata, out: &mut impl BufMut) {
        let mut sink = Writer(out);
        if let Some(request) = &self.request {
            let mut length = Length::default();
            request.write(metadata, &mut length);
            sink.message(INIT_REQUEST, length.0);
            request.write(metadata, &mut sink);
        }
        if let Some(response) = &self.response {
            let mut length = Length::default();
            response.write(&mut length);
            sink.message(INIT_RESPONSE, length.0);
            response.write(&mut sink);
        }
        sink.number(INIT_WINDOW, self.window);
        sink.number(INIT_CONTENT_TYPE, self.content_type);
        sink.number(INIT_CONTENT_ENCODING, self.content_encoding);
    }

    /// Reads the metadata out of a whole payload, for [`Metadata::unread`]. Keys and values share the memory of `raw`.
    pub fn read_metadata(raw: &Bytes) -> Vec<(Key, Bytes)> {
        metadata::nested_entries(raw, INIT_REQUEST, REQUEST_TRANS_INFO)
    }
}

impl<'a> InitRequest<'a> {
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), HeadError> {
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                REQUEST_CALLER => self.caller = fields.bytes(tag)?,
                REQUEST_CALLEE => self.callee = fields.bytes(tag)?,
                REQUEST_FUNC => self.func = fields.bytes(tag)?,
                REQUEST_MESSAGE_TYPE => self.message_type = fields.uint32(tag)?,
                REQUEST_TRANS_INFO => {
                    metadata::entry_at(fields.bytes(tag)?, INNER_LEVELS - 1)?;
                    self.has_metadata = true;
                }
                _ => fields.skip(tag, INNER_LEVELS)?,
            }
        }
        Ok(())
    }

    fn write(&self, metadata: &Metadata, sink: &mut impl Sink) {
        sink.bytes(REQUEST_CALLER, self.caller);
        sink.bytes(REQUEST_CALLEE, self.callee);
        sink.bytes(REQUEST_FUNC, self.func);
        sink.number(REQUEST_MESSAGE_TYPE, self.message_type);
        for (key, value) in metadata.iter() {
            sink.entry(REQUEST_TRANS_INFO, key.as_bytes(), value);
        }
    }
}

impl<'a> InitResponse<'a> {
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), HeadError> {
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                RESPONSE_RET => self.ret = fields.int32(tag)?,
                RESPONSE_ERROR_MSG => self.error_msg = fields.bytes(tag)?,
                _ => fields.skip(tag, INNER_LEVELS)?,
            }
        }
        Ok(())
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.signed(RESPONSE_RET, self.ret);
        sink.bytes(RESPONSE_ERROR_MSG, self.error_msg);
    }
}

/// The payload of a FEEDBACK: how much further the window opens. Bytes that a peer may send beside those it was granted
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedbackMeta {
    /// Bytes.
    pub increment: u32,
}

const FEEDBACK_INCREMENT: u32 = 1;

impl FeedbackMeta {
    /// Reads the payload of a FEEDBACK.
    ///
    /// # Errors
    ///
    /// When the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let mut meta = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                FEEDBACK_INCREMENT => meta.increment = fields.uint32(tag)?,
                _ => fields.skip(tag, LEVELS)?,
            }
        }
        Ok(meta)
    }

    /// Appends the payload.
    ///
    /// # Panics
    ///
    /// When `out` is of a kind that cannot grow and has no room for it.
    pub fn encode(self, out: &mut impl BufMut) {
        Writer(out).number(FEEDBACK_INCREMENT, self.increment);
    }
}

/// The payload of a CLOSE: one direction ends in order, or both do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CloseMeta<'a> {
    /// 0: this direction ends. 1: the stream is reset. Any other value is read as 0.
    pub close_type: i32,
    /// The framework's result, 0 when all went well. See [`crate::ret`].
    pub ret: i32,
    /// A text that explains a failure. Need not be UTF-8.
    pub msg: &'a [u8],
    /// Marks that travel with the chain of calls.
    pub message_type: u32,
    /// Whether there is metadata, to be read by [`CloseMeta::read_metadata`].
    pub has_metadata: bool,
    /// The service's result, 0 when all went well.
    pub func_ret: i32,
}

const CLOSE_TYPE: u32 = 1;
const CLOSE_RET: u32 = 2;
const CLOSE_MSG: u32 = 3;
const CLOSE_MESSAGE_TYPE: u32 = 4;
const CLOSE_TRANS_INFO: u32 = 5;
const CLOSE_FUNC_RET: u32 = 6;

/// The close type of a stream that is reset.
const RESET: i32 = 1;

impl<'a> CloseMeta<'a> {
    /// A stream that is reset for the reason that `ret` names.
    pub fn reset(ret: i32, msg: &'a str) -> Self {
        Self {
            close_type: RESET,
            ret,
            msg: msg.as_bytes(),
            ..Self::default()
        }
    }

    /// Reads the payload of a CLOSE and checks its metadata. Allocates nothing.
    ///
    /// # Errors
    ///
    /// When the bytes are not one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut meta = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next_tag()? {
            match tag.field() {
                CLOSE_TYPE => meta.close_type = fields.int32(tag)?,
                CLOSE_RET => meta.ret = fields.int32(tag)?,
                CLOSE_MSG => meta.msg = fields.bytes(tag)?,
                CLOSE_MESSAGE_TYPE => meta.message_type = fields.uint32(tag)?,
                CLOSE_TRANS_INFO => {
                    metadata::entry(fields.bytes(tag)?)?;
                    meta.has_metadata = true;
                }
                CLOSE_FUNC_RET => meta.func_ret = fields.int32(tag)?,
                _ => fields.skip(tag, LEVELS)?,
            }
        }
        Ok(meta)
    }

    /// Appends the payload with `metadata`. `has_metadata` is not looked at.
    ///
    /// # Panics
    ///
    /// When `out` is of a kind that cannot grow and has no room for it.
    pub fn encode(&self, metadata: &Metadata, out: &mut impl BufMut) {
        let mut sink = Writer(out);
        sink.signed(CLOSE_TYPE, self.close_type);
        sink.signed(CLOSE_RET, self.ret);
        sink.bytes(CLOSE_MSG, self.msg);
        sink.number(CLOSE_MESSAGE_TYPE, self.message_type);
        for (key, value) in metadata.iter() {
            sink.entry(CLOSE_TRANS_INFO, key.as_bytes(), value);
        }
        sink.signed(CLOSE_FUNC_RET, self.func_ret);
    }

    /// Whether both directions are over at once, and not in order.
    pub fn is_reset(&self) -> bool {
        self.close_type == RESET || self.ret != 0
    }

    /// Reads the metadata out of a whole payload, for [`Metadata::unread`]. Keys and values share the memory of `raw`.
    pub fn read_metadata(raw: &Bytes) -> Vec<(Key, Bytes)> {
        metadata::entries(raw, CLOSE_TRANS_INFO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    }

    #[test]
    fn an_init_survives_the_way_there_and_back() {
        let metadata: Metadata = [("a", "1"), ("", "no key"), ("b", "")]
            .into_iter()
            .collect();
        let meta = InitMeta {
            request: Some(InitRequest {
                caller: b"caller",
                callee: b"callee",
                func: b"/a.B/C\xff",
                message_type: 3,
                has_metadata: true,
            }),
            response: Some(InitResponse {
                ret: -5,
                error_msg: b"why",
            }),
            window: u32::MAX,
            content_type: 2,
            content_encoding: 300,
        };
        let bytes = written(|out| meta.encode(&metadata, out));
        assert_eq!(InitMeta::decode(&bytes), Ok(meta));
        let read = Metadata::unread(bytes.into(), InitMeta::read_metadata);
        assert_eq!(read, metadata);
    }

    #[test]
    fn a_request_that_comes_in_two_pieces_is_one() {
        let piece = |func: &'static [u8], key: &'static str, value: &'static str| {
            let request = InitRequest {
                func,
                ..InitRequest::default()
            };
            let meta = InitMeta {
                request: Some(request),
                ..InitMeta::default()
            };
            let metadata = [(key, value)].into_iter().collect();
            written(|out| meta.encode(&metadata, out))
        };
        let bytes = [piece(b"/a", "k", "1"), piece(b"", "k", "2")].concat();
        let read = InitMeta::decode(&bytes).unwrap().request.unwrap();
        assert_eq!((read.func, read.has_metadata), (&b"/a"[..], true));
        let read = InitMeta::read_metadata(&bytes.into());
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].1, &b"2"[..]);
    }

    #[test]
    fn a_close_and_a_feedback_survive_the_way_there_and_back() {
        let metadata: Metadata = [("app-cost", "37")].into_iter().collect();
        let meta = CloseMeta {
            close_type: 1,
            ret: i32::MIN,
            msg: b"boom \xff",
            message_type: 4,
            has_metadata: true,
            func_ret: i32::MAX,
        };
        let bytes = written(|out| meta.encode(&metadata, out));
        assert_eq!(CloseMeta::decode(&bytes), Ok(meta));
        let read = Metadata::unread(bytes.into(), CloseMeta::read_metadata);
        assert_eq!(read, metadata);
        for increment in [0, 1, 16_384, u32::MAX] {
            let bytes = written(|out| FeedbackMeta { increment }.encode(out));
            assert_eq!(FeedbackMeta::decode(&bytes), Ok(FeedbackMeta { increment }));
        }
    }

    #[test]
    fn an_end_in_order_has_no_bytes_and_a_failure_is_no_such_end() {
        let nothing = Metadata::new();
        assert!(written(|out| CloseMeta::default().encode(&nothing, out)).is_empty());
        assert!(!CloseMeta::decode(&[]).unwrap().is_reset());
        assert!(CloseMeta::reset(0, "").is_reset());
        let by_ret = CloseMeta {
            ret: 31,
            ..CloseMeta::default()
        };
        assert!(by_ret.is_reset());
        let by_service = CloseMeta {
            func_ret: 1,
            ..CloseMeta::default()
        };
        assert!(!by_service.is_reset());
    }

    #[test]
    fn broken_metadata_is_found_before_anybody_reads_it() {
        assert_eq!(
            InitMeta::decode(&[0x0a, 5, 0x2a, 3, 0x0a, 1, 0xff]),
            Err(HeadError::InvalidUtf8Key)
        );
        assert_eq!(
            CloseMeta::decode(&[0x2a, 3, 0x0a, 1, 0xff]),
            Err(HeadError::InvalidUtf8Key)
        );
    }
}
