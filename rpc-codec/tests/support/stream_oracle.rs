//! What frames of streams say, as the protobuf library reads it.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use rpc_codec::stream::{CloseMeta, FeedbackMeta, InitMeta, InitRequest, InitResponse};

use super::oracle::{Entry, same, sorted};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamInit {
    #[prost(message, optional, tag = "1")]
    pub(crate) request_meta: Option<StreamInitRequest>,
    #[prost(message, optional, tag = "2")]
    pub(crate) response_meta: Option<StreamInitResponse>,
    #[prost(uint32, tag = "3")]
    pub(crate) init_window_size: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) content_type: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) content_encoding: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamInitRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) caller: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) callee: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) func: Vec<u8>,
    #[prost(uint32, tag = "4")]
    pub(crate) message_type: u32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) trans_info: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamInitResponse {
    #[prost(int32, tag = "1")]
    pub(crate) ret: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) error_msg: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamFeedback {
    #[prost(uint32, tag = "1")]
    pub(crate) window_size_increment: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamClose {
    #[prost(int32, tag = "1")]
    pub(crate) close_type: i32,
    #[prost(int32, tag = "2")]
    pub(crate) ret: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) msg: Vec<u8>,
    #[prost(uint32, tag = "4")]
    pub(crate) message_type: u32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) trans_info: Vec<Entry>,
    #[prost(int32, tag = "6")]
    pub(crate) func_ret: i32,
}

/// Whether both accept the bytes, the first of which says what they are to be read as; an error when only one does, or
/// they read different things.
pub(crate) fn compare(bytes: &[u8]) -> Result<bool, String> {
    match bytes.split_first() {
        None => Ok(false),
        Some((kind, payload)) => match kind % 3 {
            0 => compare_init(payload),
            1 => compare_feedback(payload),
            _ => compare_close(payload),
        },
    }
}

fn compare_init(bytes: &[u8]) -> Result<bool, String> {
    match (InitMeta::decode(bytes), StreamInit::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            let request = theirs.request_meta.as_ref().map(|request| InitRequest {
                caller: &request.caller,
                callee: &request.callee,
                func: &request.func,
                message_type: request.message_type,
                has_metadata: !request.trans_info.is_empty(),
            });
            let response = theirs.response_meta.as_ref().map(|response| InitResponse {
                ret: response.ret,
                error_msg: &response.error_msg,
            });
            let expected = InitMeta {
                request,
                response,
                window: theirs.init_window_size,
                content_type: theirs.content_type,
                content_encoding: theirs.content_encoding,
            };
            same(&ours, &expected)?;
            let read = InitMeta::read_metadata(&Bytes::copy_from_slice(bytes));
            let entries = theirs.request_meta.map(|request| request.trans_info);
            same(&sorted(read)?, &map(entries.unwrap_or_default())).map(|()| true)
        }
        (Err(_), Err(_)) => Ok(false),
        (ours, theirs) => Err(format!("{ours:?} against {theirs:?}")),
    }
}

fn compare_feedback(bytes: &[u8]) -> Result<bool, String> {
    match (FeedbackMeta::decode(bytes), StreamFeedback::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            same(&ours.increment, &theirs.window_size_increment).map(|()| true)
        }
        (Err(_), Err(_)) => Ok(false),
        (ours, theirs) => Err(format!("{ours:?} against {theirs:?}")),
    }
}

fn compare_close(bytes: &[u8]) -> Result<bool, String> {
    match (CloseMeta::decode(bytes), StreamClose::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            let expected = CloseMeta {
                close_type: theirs.close_type,
                ret: theirs.ret,
                msg: &theirs.msg,
                message_type: theirs.message_type,
                has_metadata: !theirs.trans_info.is_empty(),
                func_ret: theirs.func_ret,
            };
            same(&ours, &expected)?;
            let read = CloseMeta::read_metadata(&Bytes::copy_from_slice(bytes));
            same(&sorted(read)?, &map(theirs.trans_info)).map(|()| true)
        }
        (Err(_), Err(_)) => Ok(false),
        (ours, theirs) => Err(format!("{ours:?} against {theirs:?}")),
    }
}

fn map(entries: Vec<Entry>) -> BTreeMap<String, Vec<u8>> {
    entries.into_iter().map(|e| (e.key, e.value)).collect()
}
