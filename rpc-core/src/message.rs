//! [`Request`], [`Response`], and what can be written as their bodies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::context::Trailer;
use crate::large_field::{LARGE_FIELD_MIN, LargeField};
use crate::stream::Pipe;
use crate::{Body, Code, Context, MessageType, Metadata, MethodDescriptor, Status};

/// How a message is written as bytes. Numbers below 128 belong to the framework, the rest to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Protocol buffers.
    #[default]
    Protobuf,
    /// JSON in the mapping of protocol buffers.
    Json,
    /// The application's own bytes, as they are.
    Raw,
    /// Any other number a peer may name.
    Other(u32),
}

/// How the bytes of a message are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, RFC 1952. The one that every peer understands.
    Gzip,
    /// zlib, RFC 1950.
    Zlib,
    /// snappy in its framing format, with checksums. Only peers in Go understand it.
    SnappyStream,
    /// One block of snappy. Whoever wants snappy mostly wants this: peers in Go and C++ understand it.
    SnappyBlock,
    /// lz4 in its frame format.
    Lz4Frame,
    /// One block of lz4, whose length is not told. Only newer peers in Go understand it.
    Lz4Block,
    /// Any other number a peer may name, and those of codecs of one's own. 2 is an old snappy that means different things
    /// to different peers.
    Other(u32),
}

/// Whether anybody waits for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exchange {
    /// One request, one response.
    #[default]
    Unary,
    /// A request that is never answered, not even with an error.
    OneWay,
    /// Many messages, either way; the request carries a [`Pipe`], and its response ends the stream.
    Stream,
}

/// A request on its way to a handler: which method, in which context, with which body.
///
/// Between the wire and the stub the body is a [`Body`], written in [`Request::format`] and packed as
/// [`Request::compression`] says: filters on the way in may refuse a request before anybody unpacks it.
#[derive(Clone)]
pub struct Request<B = Body> {
    method: &'static MethodDescriptor,
    context: Context,
    body: B,
    format: Format,
    compression: Compression,
    exchange: Exchange,
    timeout: Option<Duration>,
}

impl<B> Request<B> {
    /// A request for `method`.
    pub fn new(method: &'static MethodDescriptor, context: Context, body: B) -> Self {
        Self {
            method,
            context,
            body,
            format: Format::Protobuf,
            compression: Compression::None,
            exchange: Exchange::Unary,
            timeout: None,
        }
    }

    /// The same request with another body.
    pub fn with_body<C>(self, body: C) -> Request<C> {
        self.map_body(|_| body)
    }

    /// The same request with the body that `change` makes of this one.
    pub fn map_body<C>(self, change: impl FnOnce(B) -> C) -> Request<C> {
        Request {
            method: self.method,
            context: self.context,
            body: change(self.body),
            format: self.format,
            compression: self.compression,
            exchange: self.exchange,
            timeout: self.timeout,
        }
    }

    /// Sets how long the call may take. Whoever starts it, by its clock, makes a deadline of it.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sets how the body is written.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Says how the body is compressed. This does not compress it.
    pub fn set_compression(&mut self, compression: Compression) {
        self.compression = compression;
    }

    /// Says whether anybody waits for the response.
    pub fn set_exchange(&mut self, exchange: Exchange) {
        self.exchange = exchange;
    }

    /// Sets the bytes that travel beside the body, neither written in a format nor compressed. They are kept in the
    /// context, where a handler finds them.
    pub fn set_attachment(&mut self, attachment: Bytes) {
        self.context.set_attachment(attachment);
    }

    /// Makes the request one that opens a stream, of which this is the answering end's end.
    pub fn set_pipe(&mut self, pipe: Pipe) {
        self.exchange = Exchange::Stream;
        self.context.set_pipe(pipe);
    }

    /// The answering end's end of the stream, for whoever serves it. `None` if the request opens none, or it has been
    /// taken.
    pub fn take_pipe(&mut self) -> Option<Pipe> {
        self.context.take_pipe()
    }

    /// Makes it a request for `path`, whatever its method is.
    pub fn set_path(&mut self, path: impl Into<String>) {
        self.context.set_path(path.into());
    }

    /// Says which method it leads to after all. The path stays the one that it came by.
    pub fn set_method(&mut self, method: &'static MethodDescriptor) {
        if self.context.path().is_none() && self.method.path != method.path {
            self.context.set_path(self.method.path.to_owned());
        }
        self.method = method;
    }

    /// The body, to be replaced.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// The context, to be changed.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Which method is called.
    pub fn method(&self) -> &'static MethodDescriptor {
        self.method
    }

    /// The path that the method is called by: that of its descriptor, unless the request is for [any
    /// method](crate::method::ANY).
    pub fn path(&self) -> &str {
        self.context.path().unwrap_or(self.method.path)
    }

    /// The path, if the method's descriptor does not have it.
    pub fn other_path(&self) -> Option<&str> {
        self.context.path()
    }

    /// What the call carries beside its message.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The metadata of the caller.
    pub fn metadata(&self) -> &Metadata {
        self.context.metadata()
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The bytes that travel beside the body.
    pub fn attachment(&self) -> &Bytes {
        self.context.attachment()
    }

    /// How the body is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How the body is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether anybody waits for the response.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// How long the call may take, if that has been said and it has not been started.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The body alone.
    pub fn into_body(self) -> B {
        self.body
    }

    /// Context and body.
    pub fn into_parts(self) -> (Context, B) {
        (self.context, self.body)
    }
}

impl<B: fmt::Debug> fmt::Debug for Request<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("path", &self.path())
            .field("context", &self.context)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A response on its way back.
#[derive(Debug, Clone)]
pub struct Response<B = Body> {
    body: B,
    /// Behind a pointer, as hardly a response has one.
    trailer: Option<Box<Trailer>>,
    format: Format,
    compression: Compression,
}

impl Response {
    /// A response without a body, which is the empty message.
    pub fn empty() -> Self {
        Self::new(Body::new())
    }
}

impl<B> Response<B> {
    /// A response without metadata or attachment.
    pub fn new(body: B) -> Self {
        Self {
            body,
            trailer: None,
            format: Format::Protobuf,
            compression: Compression::None,
        }
    }

    /// The same response with the body that `change` makes of this one.
    pub fn map_body<C>(self, change: impl FnOnce(B) -> C) -> Response<C> {
        Response {
            body: change(self.body),
            trailer: self.trailer,
            format: self.format,
            compression: self.compression,
        }
    }

    /// Sets how the body is written.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Says how the body is compressed. This does not compress it.
    pub fn set_compression(&mut self, compression: Compression) {
        self.compression = compression;
    }

    /// Sets the bytes that travel beside the body.
    pub fn set_attachment(&mut self, attachment: Bytes) {
        self.trailer.get_or_insert_default().attachment = attachment;
    }

    /// The body, to be replaced.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// The metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.trailer.get_or_insert_default().metadata
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The metadata that the other end sent along.
    pub fn metadata(&self) -> &Metadata {
        self.trailer
            .as_ref()
            .map_or(&NO_METADATA, |trailer| &trailer.metadata)
    }

    /// The bytes that travel beside the body.
    pub fn attachment(&self) -> &Bytes {
        self.trailer
            .as_ref()
            .map_or(&NOTHING, |trailer| &trailer.attachment)
    }

    /// How the body is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How the body is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The body alone.
    pub fn into_body(self) -> B {
        self.body
    }

    pub(crate) fn with_trailer(mut self, trailer: Box<Trailer>) -> Self {
        self.trailer = Some(trailer);
        self
    }
}

static NOTHING: Bytes = Bytes::new();
static NO_METADATA: Metadata = Metadata::new();

/// What a body can be: it can be written in a [`Format`] and read back.
///
/// Every prost message is one, in protobuf by itself and in other formats by [`crate::Serialization`]. Types of other
/// formats implement it by hand:
///
/// ```
/// use rpc_core::{Bytes, Format, Message, Status};
/// use bytes::{BufMut, BytesMut};
///
/// struct Line(String);
///
/// impl Message for Line {
///     fn encode(&self, _: Format, out: &mut BytesMut) -> Result<(), Status> {
///         out.put_slice(self.0.as_bytes());
///         Ok(())
///     }
///
///     fn decode(_: Format, body: Bytes) -> Result<Self, Status> {
///         String::from_utf8(body.to_vec()).map(Line).map_err(|_| Status::invalid_argument("not text"))
///     }
/// }
/// ```
pub trait Message: Sized + Send + 'static {
    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// When the type cannot be written in that format.
    fn encode(&self, format: Format, out: &mut BytesMut) -> Result<(), Status>;

    /// Reads a message. No bytes at all are the empty message in every format.
    ///
    /// # Errors
    ///
    /// When the bytes are not a message of this type, or the format is not one it can be written in.
    fn decode(format: Format, body: Bytes) -> Result<Self, Status>;

    /// Whether the type reads and writes that format by itself, so that no table of formats is asked for it. Default: it
    /// knows whatever it is asked for, and says in [`Message::encode`] and [`Message::decode`] what it does not.
    fn knows(format: Format) -> bool {
        let _ = format;
        true
    }

    /// How many bytes [`Message::encode`] will append, if that is cheap to tell.
    fn encoded_len(&self, format: Format) -> usize {
        let _ = format;
        0
    }

    /// What [`Message::encode`] would append, if the message holds just that. It is asked of large messages, which need not
    /// be copied then; small ones are, so that they do not keep the large buffer that they were read into. Default: it
    /// does not.
    fn encoded(&self, format: Format) -> Option<Bytes> {
        let _ = format;
        None
    }
}

impl<M: prost::Message + Default + 'static> Message for M {
    fn encode(&self, format: Format, out: &mut BytesMut) -> Result<(), Status> {
        match format {
            Format::Protobuf => {
                self.encode_raw(out);
                Ok(())
            }
            other => Err(unsupported(Code::Unencodable, other)),
        }
    }

    fn decode(format: Format, body: Bytes) -> Result<Self, Status> {
        match format {
            _ if !body.has_remaining() => Ok(Self::default()),
            Format::Protobuf => <Self as prost::Message>::decode(body).map_err(|error| {
                Status::new(
                    Code::Malformed,
                    format!("the body is not the message expected: {error}"),
                )
            }),
            other => Err(unsupported(Code::Malformed, other)),
        }
    }

    /// Protobuf alone: the others are matters of [`crate::Serialization`].
    fn knows(format: Format) -> bool {
        format == Format::Protobuf
    }

    fn encoded_len(&self, _: Format) -> usize {
        prost::Message::encoded_len(self)
    }
}

fn unsupported(code: Code, format: Format) -> Status {
    Status::new(
        code,
        format!("messages in the format {format:?} are not supported here"),
    )
}

/// A body that is the application's own bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw(pub Bytes);

impl Message for Raw {
    fn encode(&self, _: Format, out: &mut BytesMut) -> Result<(), Status> {
        out.put_slice(&self.0);
        Ok(())
    }

    fn decode(_: Format, body: Bytes) -> Result<Self, Status> {
        Ok(Self(body))
    }

    fn encoded_len(&self, _: Format) -> usize {
        self.0.len()
    }

    fn encoded(&self, _: Format) -> Option<Bytes> {
        Some(self.0.clone())
    }
}

/// Bodies up to this size are cut from a buffer that the thread keeps.
const SHARED_BODY_MAX: usize = 4 * 1024;
const SHARED_BUFFER: usize = 32 * 1024;

/// Writes a message as a body of its own.
///
/// Small bodies are cut from a buffer that the thread keeps and reuses once all that was cut from it is gone, which
/// saves an allocation a call (`benches/benches/micro.rs`, `encode`). Large ones are written into the buffers of earlier
/// ones.
///
/// # Errors
///
/// Those of [`Message::encode`].
pub fn encode<M: Message>(message: &M, format: Format) -> Result<Bytes, Status> {
    encode_sized(message, format, message.encoded_len(format))
}

/// Writes a message of the type `of` in protobuf, as a body of its own. What its largest field holds is not copied if it is
/// so large that this pays.
///
/// # Errors
///
/// Those of [`Message::encode`].
pub fn into_body<M: Message>(mut message: M, of: &MessageType) -> Result<Body, Status> {
    let format = Format::Protobuf;
    let length = message.encoded_len(format);
    if length >= LARGE_FIELD_MIN {
        if let Some(field) = of.take_large_field(&mut message) {
            return around(field, &message);
        }
    }
    encode_sized(&message, format, length).map(Body::from)
}

/// The message and the field that was taken out of it. Fields may be in any order, so the large one is the last.
fn around<M: Message>(field: LargeField, message: &M) -> Result<Body, Status> {
    const HEAD_MAX: usize = 16;
    let length = message.encoded_len(Format::Protobuf);
    let mut front = BytesMut::with_capacity(length.saturating_add(HEAD_MAX));
    message.encode(Format::Protobuf, &mut front)?;
    field.put_head(&mut front);
    Ok(Body::in_pieces(front.freeze(), field.content))
}

fn encode_sized<M: Message>(message: &M, format: Format, length: usize) -> Result<Bytes, Status> {
    thread_local! {
        static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    }
    if length > SHARED_BODY_MAX {
        return encode_large(message, format, length);
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        if buffer.capacity() < length.max(64) {
            buffer.reserve(SHARED_BUFFER);
        }
        message.encode(format, buffer)?;
        Ok(buffer.split().freeze())
    })
}

/// Bodies from this size on are remembered.
const LARGE_BODY_MIN: usize = 32 * 1024;
/// How many a thread remembers at most, and how many bytes they have together.
const LARGE_BODIES_MAX: usize = 16;
const LARGE_BODIES_BYTES_MAX: usize = 4 << 20;

/// The large bodies that a thread wrote last. A body is made on one thread and given back on another, where the allocator
/// takes and returns its pages each time; the memory of one that nobody holds any more is there already
/// (`benches/benches/compare.rs`, pool at 64 KiB).
fn encode_large<M: Message>(message: &M, format: Format, length: usize) -> Result<Bytes, Status> {
    if length >= LARGE_FIELD_MIN {
        if let Some(encoded) = message.encoded(format) {
            return Ok(encoded);
        }
    }
    thread_local! {
        static BODIES: RefCell<VecDeque<Bytes>> = const { RefCell::new(VecDeque::new()) };
    }
    let mut body = BODIES.with_borrow_mut(|bodies| reclaimed(bodies, length));
    body.clear();
    message.encode(format, &mut body)?;
    let body = body.freeze();
    if (LARGE_BODY_MIN..=LARGE_BODIES_BYTES_MAX).contains(&body.len()) {
        BODIES.with_borrow_mut(|bodies| remember(bodies, body.clone()));
    }
    Ok(body)
}

/// A buffer for a body of that length: that of an earlier one, if there is one like it that nobody holds.
fn reclaimed(bodies: &mut VecDeque<Bytes>, length: usize) -> BytesMut {
    let fits = |body: &Bytes| (length..=2 * length).contains(&body.len()) && body.is_unique();
    let place = bodies.iter().rposition(fits);
    let body = place.and_then(|place| bodies.remove(place));
    body.and_then(|body| body.try_into_mut().ok())
        .unwrap_or_else(|| BytesMut::with_capacity(length))
}

fn remember(bodies: &mut VecDeque<Bytes>, body: Bytes) {
    bodies.push_back(body);
    let mut bytes: usize = bodies.iter().map(Bytes::len).sum();
    while bodies.len() > LARGE_BODIES_MAX || bytes > LARGE_BODIES_BYTES_MAX {
        bytes -= bodies.pop_front().map_or(bytes, |oldest| oldest.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    #[test]
    fn a_prost_message_is_a_body() {
        let text = Text {
            text: "hello".into(),
        };
        let body = encode(&text, Format::Protobuf).unwrap();
        assert_eq!(&body[..], b"\x0a\x05hello");
        assert_eq!(
            <Text as Message>::decode(Format::Protobuf, body).unwrap(),
            text
        );
    }

    #[test]
    fn no_bytes_are_the_empty_message_in_every_format() {
        assert_eq!(
            <Text as Message>::decode(Format::Other(77), Bytes::new()).unwrap(),
            Text::default()
        );
    }

    #[test]
    fn a_broken_body_is_the_callers_fault() {
        let status = <Text as Message>::decode(Format::Protobuf, Bytes::from_static(b"\x0a\x05hi"))
            .unwrap_err();
        assert_eq!(status.code(), Code::Malformed);
    }

    #[test]
    fn bodies_cut_from_one_buffer_stay_apart() {
        let text = |i: usize| Text {
            text: format!("body {i}"),
        };
        let bodies: Vec<_> = (0..10_000)
            .map(|i| encode(&text(i), Format::Protobuf).unwrap())
            .collect();
        for (i, body) in bodies.into_iter().enumerate() {
            let read = <Text as Message>::decode(Format::Protobuf, body);
            assert_eq!(read.unwrap(), text(i));
        }
    }

    #[test]
    fn large_bodies_stay_apart_while_somebody_holds_them() {
        let text = |byte: u8| Text {
            text: char::from(byte).to_string().repeat(100_000),
        };
        let write = |byte: u8| encode(&text(byte), Format::Protobuf).unwrap();
        let held: Vec<_> = (0..100).map(write).collect();
        for (byte, body) in (0_u8..).zip(held) {
            let read = <Text as Message>::decode(Format::Protobuf, body);
            assert_eq!(read.unwrap(), text(byte));
        }
        let address = write(1).as_ptr();
        assert_eq!(write(2).as_ptr(), address, "nobody held the one before");
    }

    #[test]
    fn many_bytes_that_are_a_body_already_are_not_copied() {
        for (length, is_copied) in [(LARGE_FIELD_MIN, false), (LARGE_FIELD_MIN - 1, true)] {
            let raw = Raw(Bytes::from(vec![7; length]));
            let body = encode(&raw, Format::Raw).unwrap();
            assert_eq!(body.as_ptr() != raw.0.as_ptr(), is_copied);
            let body = into_body(raw.clone(), &MessageType::UNKNOWN).unwrap();
            assert_eq!(body.front().as_ptr() != raw.0.as_ptr(), is_copied);
        }
    }

    #[test]
    fn a_thread_remembers_no_more_large_bodies_than_it_may() {
        let mut bodies = VecDeque::new();
        for _ in 0..100 {
            remember(&mut bodies, Bytes::from(vec![0; 1 << 20]));
        }
        assert_eq!(bodies.len(), LARGE_BODIES_BYTES_MAX >> 20);
        for _ in 0..100 {
            remember(&mut bodies, Bytes::from(vec![0; LARGE_BODY_MIN]));
        }
        assert_eq!(bodies.len(), LARGE_BODIES_MAX);
    }
}
