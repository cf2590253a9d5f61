//! The heads as the protobuf library reads them, and what it means to agree with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use rpc_codec::{HeadError, RequestHead, ResponseHead};
use rpc_core::metadata::Key;

/// A map entry as the message that it is on the wire. The library's own maps do not look at the wire type of the field
/// they are in, so this is the stricter judge.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RequestProtocol {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) call_type: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) request_id: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) timeout: u32,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) caller: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) callee: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) func: Vec<u8>,
    #[prost(uint32, tag = "8")]
    pub(crate) message_type: u32,
    #[prost(message, repeated, tag = "9")]
    pub(crate) trans_info: Vec<Entry>,
    #[prost(uint32, tag = "10")]
    pub(crate) content_type: u32,
    #[prost(uint32, tag = "11")]
    pub(crate) content_encoding: u32,
    #[prost(uint32, tag = "12")]
    pub(crate) attachment_size: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseProtocol {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) call_type: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) request_id: u32,
    #[prost(int32, tag = "4")]
    pub(crate) ret: i32,
    #[prost(int32, tag = "5")]
    pub(crate) func_ret: i32,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) error_msg: Vec<u8>,
    #[prost(uint32, tag = "7")]
    pub(crate) message_type: u32,
    #[prost(message, repeated, tag = "8")]
    pub(crate) trans_info: Vec<Entry>,
    #[prost(uint32, tag = "9")]
    pub(crate) content_type: u32,
    #[prost(uint32, tag = "10")]
    pub(crate) content_encoding: u32,
    #[prost(uint32, tag = "12")]
    pub(crate) attachment_size: u32,
}

/// The head that the library's message stands for.
pub(crate) fn request_head(message: &RequestProtocol) -> RequestHead<'_> {
    RequestHead {
        version: message.version,
        call_type: message.call_type,
        request_id: message.request_id,
        timeout_ms: message.timeout,
        caller: &message.caller,
        callee: &message.callee,
        func: &message.func,
        message_type: message.message_type,
        has_metadata: !message.trans_info.is_empty(),
        content_type: message.content_type,
        content_encoding: message.content_encoding,
        attachment_size: message.attachment_size,
    }
}

/// The head that the library's message stands for.
pub(crate) fn response_head(message: &ResponseProtocol) -> ResponseHead<'_> {
    ResponseHead {
        version: message.version,
        call_type: message.call_type,
        request_id: message.request_id,
        ret: message.ret,
        func_ret: message.func_ret,
        error_msg: &message.error_msg,
        message_type: message.message_type,
        has_metadata: !message.trans_info.is_empty(),
        content_type: message.content_type,
        content_encoding: message.content_encoding,
        attachment_size: message.attachment_size,
    }
}

/// Whether both accept the bytes; an error when only one does, or they read different things.
pub(crate) fn compare_request(bytes: &[u8]) -> Result<bool, String> {
    let ours = RequestHead::decode(bytes);
    match (ours, RequestProtocol::decode(bytes)) {
        (Err(HeadError::Empty), Ok(_)) if bytes.is_empty() => Ok(true),
        (Ok(ours), Ok(theirs)) => {
            same(&ours, &request_head(&theirs))?;
            let read = RequestHead::read_metadata(&Bytes::copy_from_slice(bytes));
            same(&sorted(read)?, &map(theirs.trans_info)).map(|()| true)
        }
        (Err(_), Err(_)) => Ok(false),
        (ours, theirs) => Err(format!("{ours:?} against {theirs:?}")),
    }
}

/// Whether both accept the bytes; an error when only one does, or they read different things.
pub(crate) fn compare_response(bytes: &[u8]) -> Result<bool, String> {
    let ours = ResponseHead::decode(bytes);
    match (ours, ResponseProtocol::decode(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            same(&ours, &response_head(&theirs))?;
            let read = ResponseHead::read_metadata(&Bytes::copy_from_slice(bytes));
            same(&sorted(read)?, &map(theirs.trans_info)).map(|()| true)
        }
        (Err(_), Err(_)) => Ok(false),
        (ours, theirs) => Err(format!("{ours:?} against {theirs:?}")),
    }
}

fn map(entries: Vec<Entry>) -> BTreeMap<String, Vec<u8>> {
    entries.into_iter().map(|e| (e.key, e.value)).collect()
}

pub(crate) fn sorted(entries: Vec<(Key, Bytes)>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        if map
            .insert(key.as_str().to_owned(), value.to_vec())
            .is_some()
        {
            return Err(format!("{key:?} appears twice"));
        }
    }
    Ok(map)
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{ours:?} against {theirs:?}"))
    }
}
