//! [`Serialization`]: one way to write messages as bytes, beside protobuf; [`FormatTable`]: which of them there are.
//!
//! Protobuf is no matter of tables: every message writes itself so, without a look-up. In any other format the type of
//! the message is asked first, by [`Message::knows`], then the table of the server or channel.

use std::any::{Any, type_name};
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::large_field::TakeLarge;
use crate::{Body, Code, Format, Message, Status, message};

/// What a message is called in its .proto file, and where that is described: what a format needs to know that is not
/// in the bytes. Generated stubs hold it ([`crate::MethodDescriptor::request`]).
#[derive(Clone, Copy)]
pub struct MessageType {
    /// Its name with the proto package, for example `demo.greeter.HelloRequest`. Empty if it is not known.
    pub name: &'static str,
    /// A `google.protobuf.FileDescriptorSet` with the file of the message and all that this one refers to. Empty if
    /// there is none.
    pub files: &'static [u8],
    /// Takes out of such a message what is large, if generated code knows how.
    pub large: Option<TakeLarge>,
}

impl MessageType {
    /// Of messages that no .proto file describes, and of methods that are written by hand.
    pub const UNKNOWN: Self = Self {
        name: "",
        files: &[],
        large: None,
    };
}

impl PartialEq for MessageType {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.files) == (other.name, other.files)
    }
}

impl Eq for MessageType {}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageType")
            .field("name", &self.name)
            .field("files", &format_args!("{} bytes", self.files.len()))
            .finish_non_exhaustive()
    }
}

/// One way to write messages as bytes. `rpc_codec::Formats` is a table of them, given to servers and channels.
///
/// It works on messages of any type: on their protobuf bytes, with what [`MessageType`] says of them, or on the types it
/// knows.
///
/// ```
/// use rpc_core::serialize::{AnyMessage, MessageType, Place, Serialization};
/// use rpc_core::{Bytes, Code, Status};
/// use bytes::BytesMut;
///
/// /// Protobuf, every bit the other way about.
/// #[derive(Debug)]
/// struct Negative;
///
/// impl Serialization for Negative {
///     fn number(&self) -> u32 {
///         130
///     }
///
///     fn name(&self) -> &'static str {
///         "negative"
///     }
///
///     fn read(&self, body: Bytes, _: &MessageType, into: &mut dyn Place) -> Result<(), Status> {
///         into.read_protobuf(body.iter().map(|byte| !byte).collect())
///     }
///
///     fn write(
///         &self,
///         message: &dyn AnyMessage,
///         _: &MessageType,
///         bytes_max: usize,
///         out: &mut BytesMut,
///     ) -> Result<(), Status> {
///         message.write_protobuf(out)?;
///         if out.len() > bytes_max {
///             return Err(Status::new(Code::Unencodable, "it is too long"));
///         }
///         out.iter_mut().for_each(|byte| *byte = !*byte);
///         Ok(())
///     }
/// }
/// ```
pub trait Serialization: fmt::Debug + Send + Sync + 'static {
    /// The number that stands for it on the wire, `content_type`. Applications have those from 128 to 255.
    fn number(&self) -> u32;

    /// What people call it.
    fn name(&self) -> &'static str;

    /// Reads a body, which is not empty and not to be trusted, into a message of the type `of`.
    ///
    /// # Errors
    ///
    /// With [`Code::Malformed`] when the body is not such a message; the text says where and why.
    fn read(&self, body: Bytes, of: &MessageType, into: &mut dyn Place) -> Result<(), Status>;

    /// Writes a message of the type `of`: at least one byte, at most `bytes_max`, to the empty `out`.
    ///
    /// # Errors
    ///
    /// With [`Code::Unencodable`] when the message cannot be written so, or would be longer.
    fn write(
        &self,
        message: &dyn AnyMessage,
        of: &MessageType,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<(), Status>;
}

/// A message of a type that is not known here. Every [`Message`] is one.
pub trait AnyMessage: sealed::Sealed {
    /// What Rust calls its type. For people.
    fn type_name(&self) -> &'static str;

    /// Appends the message to `out` as protobuf.
    ///
    /// # Errors
    ///
    /// When it has no such form, which happens only to types whose [`Message`] is written by hand.
    fn write_protobuf(&self, out: &mut BytesMut) -> Result<(), Status>;

    /// The message itself, for those who know its type. See also `downcast_ref`.
    fn as_any(&self) -> &dyn Any;
}

impl dyn AnyMessage + '_ {
    /// The message, if that is its type.
    pub fn downcast_ref<M: Message>(&self) -> Option<&M> {
        self.as_any().downcast_ref()
    }
}

impl<M: Message> AnyMessage for M {
    fn type_name(&self) -> &'static str {
        type_name::<M>()
    }

    fn write_protobuf(&self, out: &mut BytesMut) -> Result<(), Status> {
        self.encode(Format::Protobuf, out)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where a message is to be, of a type that is not known here.
pub trait Place: sealed::SealedPlace {
    /// What Rust calls the type. For people.
    fn type_name(&self) -> &'static str;

    /// Puts the message here that these bytes are as protobuf.
    ///
    /// # Errors
    ///
    /// When they are not such a message.
    fn read_protobuf(&mut self, body: Bytes) -> Result<(), Status>;

    /// An `Option` of the message, for those who know its type. See also `put`.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl dyn Place + '_ {
    /// Puts a message here.
    ///
    /// # Errors
    ///
    /// Gives it back when another type belongs here.
    pub fn put<M: Message>(&mut self, message: M) -> Result<(), M> {
        match self.as_any_mut().downcast_mut() {
            Some(place) => {
                *place = Some(message);
                Ok(())
            }
            None => Err(message),
        }
    }

    /// Whether a message of that type belongs here.
    pub fn takes<M: Message>(&mut self) -> bool {
        self.as_any_mut().is::<Option<M>>()
    }
}

impl<M: Message> Place for Option<M> {
    fn type_name(&self) -> &'static str {
        type_name::<M>()
    }

    fn read_protobuf(&mut self, body: Bytes) -> Result<(), Status> {
        *self = Some(M::decode(Format::Protobuf, body)?);
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "so nobody else implements it")]
    pub trait Sealed {}
    impl<M: crate::Message> Sealed for M {}

    #[expect(unnameable_types, reason = "so nobody else implements it")]
    pub trait SealedPlace {}
    impl<M: crate::Message> SealedPlace for Option<M> {}
}

/// Which serializations there are beside protobuf. `rpc_codec::Formats` is one.
pub trait FormatTable: fmt::Debug + Send + Sync {
    /// The one that stands for `format`.
    fn find(&self, format: Format) -> Option<&dyn Serialization>;

    /// How many bytes a body may have that is written by it.
    fn bytes_max(&self) -> usize;
}

/// The table where nobody has given one: there is protobuf alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProtobufOnly;

impl FormatTable for ProtobufOnly {
    fn find(&self, _: Format) -> Option<&dyn Serialization> {
        None
    }

    fn bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// Reads a message of the type `of`. A body without bytes is the empty message in every format.
///
/// The table is asked for only if the message is not protobuf, so that this costs nothing otherwise.
///
/// # Errors
///
/// When the bytes are not such a message, or nobody knows the format.
#[inline]
pub fn decode<'a, M: Message>(
    format: Format,
    table: impl FnOnce() -> &'a dyn FormatTable,
    of: &MessageType,
    body: Bytes,
) -> Result<M, Status> {
    if matches!(format, Format::Protobuf) {
        M::decode(Format::Protobuf, body)
    } else {
        decode_by(format, table(), of, body)
    }
}

/// Writes a message of the type `of`.
///
/// The table is asked for only if the message is not to be protobuf, so that this costs nothing otherwise.
///
/// # Errors
///
/// When it cannot be written so, would be longer than the table allows, or nobody knows the format.
#[inline]
pub fn encode<'a, M: Message>(
    message: &M,
    format: Format,
    table: impl FnOnce() -> &'a dyn FormatTable,
    of: &MessageType,
) -> Result<Bytes, Status> {
    if matches!(format, Format::Protobuf) {
        message::encode(message, Format::Protobuf)
    } else {
        encode_by(message, format, table(), of)
    }
}

/// Like [`encode`], for who has no more use for the message: what is large in it need not be copied.
///
/// # Errors
///
/// Those of [`encode`].
#[inline]
pub fn into_body<'a, M: Message>(
    message: M,
    format: Format,
    table: impl FnOnce() -> &'a dyn FormatTable,
    of: &MessageType,
) -> Result<Body, Status> {
    if matches!(format, Format::Protobuf) {
        message::into_body(message, of)
    } else {
        encode_by(&message, format, table(), of).map(Body::from)
    }
}

#[cold]
#[inline(never)]
fn decode_by<M: Message>(
    format: Format,
    table: &dyn FormatTable,
    of: &MessageType,
    body: Bytes,
) -> Result<M, Status> {
    if body.is_empty() || M::knows(format) {
        return M::decode(format, body);
    }
    let serialization = table
        .find(format)
        .ok_or_else(|| unknown(Code::Malformed, format))?;
    let mut place = None;
    serialization.read(body, of, &mut place)?;
    place.ok_or_else(|| {
        let text = format!("the serialization {} read no message", serialization.name());
        Status::new(Code::Internal, text)
    })
}

#[cold]
#[inline(never)]
fn encode_by<M: Message>(
    message: &M,
    format: Format,
    table: &dyn FormatTable,
    of: &MessageType,
) -> Result<Bytes, Status> {
    if M::knows(format) {
        return message::encode(message, format);
    }
    let serialization = table
        .find(format)
        .ok_or_else(|| unknown(Code::Unencodable, format))?;
    let mut out = BytesMut::new();
    serialization.write(message, of, table.bytes_max(), &mut out)?;
    // Those of ours never come to this; one of the user's may have forgotten.
    if out.len() > table.bytes_max() {
        let text = format!(
            "the message has {} bytes as {}, and {} are allowed: send less, or raise the limits of its end",
            out.len(),
            serialization.name(),
            table.bytes_max()
        );
        return Err(Status::new(Code::Unencodable, text));
    }
    Ok(out.freeze())
}

fn unknown(code: Code, format: Format) -> Status {
    let text = match format {
        Format::Json => "JSON is not spoken here: build with the feature `json`, and give the server, channel or \
                         loop-back a table that has it (`formats`)"
            .to_owned(),
        other => format!(
            "messages in the format {other:?} are not supported here: a table of formats with a serialization for it \
             (`formats`) would do that"
        ),
    };
    Status::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    /// Knows one type, writes it as its text, and forgets about bounds.
    #[derive(Debug)]
    struct Plain;

    impl Serialization for Plain {
        fn number(&self) -> u32 {
            200
        }

        fn name(&self) -> &'static str {
            "plain"
        }

        fn read(&self, body: Bytes, _: &MessageType, into: &mut dyn Place) -> Result<(), Status> {
            let text = String::from_utf8_lossy(&body).into_owned();
            // What belongs somewhere else is not put anywhere.
            let _ = into.put(Text { text });
            Ok(())
        }

        fn write(
            &self,
            message: &dyn AnyMessage,
            _: &MessageType,
            _: usize,
            out: &mut BytesMut,
        ) -> Result<(), Status> {
            let text = message.downcast_ref::<Text>();
            let text = text.ok_or_else(|| Status::new(Code::Unencodable, message.type_name()))?;
            out.extend_from_slice(text.text.as_bytes());
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Table(Plain);

    impl FormatTable for Table {
        fn find(&self, format: Format) -> Option<&dyn Serialization> {
            (format == Format::Other(200)).then_some(&self.0)
        }

        fn bytes_max(&self) -> usize {
            5
        }
    }

    const PLAIN: Format = Format::Other(200);

    fn read<M: Message>(format: Format, body: &'static [u8]) -> Result<M, Code> {
        let body = Bytes::from_static(body);
        let read = decode(format, || &Table(Plain), &MessageType::UNKNOWN, body);
        read.map_err(|status: Status| status.code())
    }

    fn written<M: Message>(message: &M, format: Format) -> Result<Bytes, Status> {
        encode(message, format, || &Table(Plain), &MessageType::UNKNOWN)
    }

    fn text(text: &str) -> Text {
        Text { text: text.into() }
    }

    #[test]
    fn the_table_says_who_reads_and_writes() {
        assert_eq!(read(PLAIN, b"hello"), Ok(text("hello")));
        assert_eq!(written(&text("hello"), PLAIN).unwrap(), "hello");
        assert_eq!(
            read::<Text>(Format::Other(201), b"hello"),
            Err(Code::Malformed)
        );
        assert_eq!(read::<Text>(Format::Json, b"{}"), Err(Code::Malformed));
        let unknown = written(&text("hello"), Format::Other(201)).unwrap_err();
        assert_eq!(unknown.code(), Code::Unencodable);
        assert!(unknown.message().contains("201"), "{unknown}");
    }

    #[test]
    fn protobuf_needs_no_table() {
        let none = || -> &'static dyn FormatTable { panic!("it was asked for") };
        let of = &MessageType::UNKNOWN;
        let body = encode(&text("hello"), Format::Protobuf, none, of).unwrap();
        let read: Text = decode(Format::Protobuf, none, of, body).unwrap();
        assert_eq!(read, text("hello"));
    }

    #[test]
    fn no_bytes_are_the_empty_message_in_formats_that_nobody_knows() {
        assert_eq!(read(Format::Other(77), b""), Ok(Text::default()));
    }

    #[test]
    fn a_type_that_knows_the_format_is_not_a_matter_of_tables() {
        let raw = Raw(Bytes::from_static(b"any bytes"));
        assert_eq!(read(Format::Other(77), b"any bytes"), Ok(raw.clone()));
        assert_eq!(written(&raw, Format::Other(77)).unwrap(), "any bytes");
    }

    #[test]
    fn a_serialization_of_the_user_can_break_neither_rule() {
        let long = written(&text("too long"), PLAIN).unwrap_err();
        assert_eq!(long.code(), Code::Unencodable);
        assert!(long.message().contains("8 bytes as plain"), "{long}");
        assert_eq!(read::<i32>(PLAIN, b"hello"), Err(Code::Internal));
    }
}
