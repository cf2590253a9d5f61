//! [`RawBytes`]: the application's own bytes.

use bytes::{Bytes, BytesMut};
use rpc_core::serialize::{AnyMessage, Place};
use rpc_core::{Code, MessageType, Serialization, Status};

use crate::numbers;

/// The application's own bytes as they are, number 4: what other implementations call no-op.
///
/// It is for methods whose messages are `google.protobuf.BytesValue`. Those of the type [`rpc_core::Raw`] take whatever
/// comes, by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawBytes;

impl Serialization for RawBytes {
    fn number(&self) -> u32 {
        numbers::RAW
    }

    fn name(&self) -> &'static str {
        "raw"
    }

    fn read(&self, body: Bytes, _: &MessageType, into: &mut dyn Place) -> Result<(), Status> {
        if into.takes::<Vec<u8>>() {
            let _ = into.put(body.to_vec());
            return Ok(());
        }
        into.put(body)
            .map_err(|_| refused(Code::Malformed, into.type_name()))
    }

    fn write(
        &self,
        message: &dyn AnyMessage,
        _: &MessageType,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<(), Status> {
        let vec = message.downcast_ref::<Vec<u8>>().map(Vec::as_slice);
        let bytes = vec.or_else(|| message.downcast_ref::<Bytes>().map(|bytes| &bytes[..]));
        let bytes = bytes.ok_or_else(|| refused(Code::Unencodable, message.type_name()))?;
        if bytes.len() > bytes_max {
            let text = format!(
                "the message has {} bytes, {bytes_max} are allowed",
                bytes.len()
            );
            return Err(Status::new(Code::Unencodable, text));
        }
        out.extend_from_slice(bytes);
        Ok(())
    }
}

fn refused(code: Code, type_name: &str) -> Status {
    let text = format!(
        "raw bytes are for messages of the type Raw or google.protobuf.BytesValue, and the type here is {type_name}: \
         use another format"
    );
    Status::new(code, text)
}

#[cfg(test)]
mod tests {
    use rpc_core::serialize::{decode, encode};
    use rpc_core::{Format, Message};

    use super::*;
    use crate::Formats;

    fn back_and_forth<M: Message>(message: &M) -> Result<(Bytes, M), Status> {
        let formats = Formats::default().bounded(5);
        let of = MessageType::UNKNOWN;
        let body = encode(message, Format::Raw, || &formats, &of)?;
        let read = decode(Format::Raw, || &formats, &of, body.clone())?;
        Ok((body, read))
    }

    #[test]
    fn bytes_are_as_they_are() {
        let bytes = Bytes::from_static(b"\x0a\xff\0");
        let read = back_and_forth(&bytes).unwrap();
        assert_eq!(read, (bytes.clone(), bytes.clone()));
        let read = back_and_forth(&bytes.to_vec()).unwrap();
        assert_eq!(read, (bytes.clone(), bytes.to_vec()));
        let empty = back_and_forth(&Bytes::new()).unwrap();
        assert_eq!(empty, (Bytes::new(), Bytes::new()));
    }

    #[test]
    fn what_is_too_long_or_no_bytes_is_refused() {
        let long = back_and_forth(&vec![0_u8; 6]).unwrap_err();
        assert_eq!(long.code(), Code::Unencodable);
        let typed = back_and_forth(&String::from("text")).unwrap_err();
        assert_eq!(typed.code(), Code::Unencodable);
        assert!(typed.message().contains("alloc::string::String"), "{typed}");
        let formats = Formats::default();
        let body = Bytes::from_static(b"text");
        let read = decode::<String>(Format::Raw, || &formats, &MessageType::UNKNOWN, body);
        assert_eq!(read.unwrap_err().code(), Code::Malformed);
    }
}
