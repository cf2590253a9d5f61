//! A client that writes frames by hand: it may write what no client should, and sees each byte that comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rpc_codec::frame::{self, Decoded, HEADER_BYTES};
use rpc_codec::{FrameHeader, FrameKind, Limits, RequestHead, ResponseHead};
use tern::{Bytes, Format, Message, Metadata};

use crate::pb::{UnaryRequest, UnaryResponse};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than what any server here may send.
const FRAME_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The path of the service's method.
pub const UNARY: &str = "/tern.interop.v1.Interop/Unary";

/// A unary request in all its parts, to be sent as [`Request::bytes`].
#[derive(Debug, Clone)]
pub struct Request {
    /// In the head.
    pub request_id: u32,
    /// In bytes 10 to 13 of the frame.
    pub stream_id: u32,
    /// In byte 14 of the frame.
    pub version: u8,
    /// 0 unary, 1 one-way.
    pub call_type: u32,
    /// 0 for none.
    pub timeout_ms: u32,
    /// The method's path.
    pub func: &'static str,
    /// How the head says that the body is written.
    pub content_type: u32,
    /// How the head says that the body is compressed.
    pub content_encoding: u32,
    /// How long the head says that the attachment is.
    pub attachment_size: u32,
    /// The metadata.
    pub metadata: Metadata,
    /// What follows the head.
    pub body: Bytes,
}

impl Request {
    /// A sound request with this id in both places, the way tRPC-Go writes it.
    pub fn new(id: u32, message: &UnaryRequest) -> Self {
        Self {
            request_id: id,
            stream_id: id,
            version: 1,
            call_type: 0,
            timeout_ms: 0,
            func: UNARY,
            content_type: 0,
            content_encoding: 0,
            attachment_size: 0,
            metadata: Metadata::new(),
            body: body(message),
        }
    }

    /// The same for a payload that is to come back after `delay_ms`.
    pub fn echo(id: u32, payload: &[u8], delay_ms: u32) -> Self {
        let message = UnaryRequest {
            payload: payload.to_vec(),
            delay_ms,
            ..UnaryRequest::default()
        };
        Self::new(id, &message)
    }

    /// The whole frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = Vec::new();
        self.head().encode(&self.metadata, &mut head);
        let total = HEADER_BYTES + head.len() + self.body.len();
        let header = FrameHeader {
            kind: FrameKind::Unary,
            stream_frame_type: 0,
            total_len: u32::try_from(total).expect("a frame that can be sent"),
            head_len: u16::try_from(head.len()).expect("a head that fits its frame"),
            stream_id: self.stream_id,
            version: self.version,
            reserved: 0,
        };
        [&header.encode()[..], &head, &self.body].concat()
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            call_type: self.call_type,
            request_id: self.request_id,
            timeout_ms: self.timeout_ms,
            caller: b"trpc.interop.raw.Client",
            callee: b"tern.interop.v1.Interop",
            func: self.func.as_bytes(),
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            attachment_size: self.attachment_size,
            ..RequestHead::default()
        }
    }
}

/// A message as the body of a request.
pub fn body(message: &UnaryRequest) -> Bytes {
    tern::message::encode(message, Format::Protobuf).expect("protobuf can be written")
}

/// A response in all its parts.
#[derive(Debug, Clone)]
pub struct Response {
    /// The fixed header.
    pub header: FrameHeader,
    /// From the head.
    pub request_id: u32,
    /// The framework's result.
    pub ret: i32,
    /// The service's result.
    pub func_ret: i32,
    /// The text that explains a failure.
    pub message: String,
    /// How the body is compressed.
    pub content_encoding: u32,
    /// The metadata.
    pub metadata: Metadata,
    /// What follows the head.
    pub body: Bytes,
}

impl Response {
    /// The payload of a success.
    pub fn payload(&self) -> Vec<u8> {
        let results = (self.ret, self.func_ret);
        assert_eq!(results, (0, 0), "the call failed: {}", self.message);
        let message = <UnaryResponse as Message>::decode(Format::Protobuf, self.body.clone());
        message.expect("the body is the response").payload
    }

    /// Checks that the call failed with `ret`, and says so in the way of a failure: with a text and without a body.
    pub fn expect_ret(&self, ret: i32) {
        let results = (self.ret, self.func_ret);
        assert_eq!(results, (ret, 0), "the message is {:?}", self.message);
        assert!(!self.message.is_empty(), "ret {ret} without a text");
        assert!(self.body.is_empty(), "ret {ret} with a body");
    }

    fn read(header: FrameHeader, rest: &Bytes) -> Self {
        let raw = rest.slice(..usize::from(header.head_len));
        let head = ResponseHead::decode(&raw).expect("the head can be read");
        Self {
            header,
            request_id: head.request_id,
            ret: head.ret,
            func_ret: head.func_ret,
            message: String::from_utf8_lossy(head.error_msg).into_owned(),
            content_encoding: head.content_encoding,
            metadata: Metadata::unread(raw.clone(), ResponseHead::read_metadata),
            body: rest.slice(raw.len()..),
        }
    }
}

/// A connection to write bytes to.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens");
        Self::over(stream)
    }

    /// The same for a connection that was accepted.
    pub fn over(stream: TcpStream) -> Self {
        // What is sent in two pieces is to arrive in two.
        let set = stream.set_nodelay(true);
        let set = set.and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        let set = set.and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.expect("a socket has these options");
        Self { stream }
    }

    /// Sets how long an answer is waited for; 10 s at first.
    pub fn patience(&self, patience: Duration) {
        let set = self.stream.set_read_timeout(Some(patience));
        set.expect("a socket has this option");
    }

    /// Writes all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer reads");
    }

    /// Sends the FIN. Answers can still be read.
    pub fn finish(&mut self) {
        let outcome = self.stream.shutdown(Shutdown::Write);
        outcome.expect("the connection is there");
    }

    /// The next frame and what follows its fixed header.
    pub fn frame(&mut self) -> (FrameHeader, Bytes) {
        let frame = self.next_frame().expect("a frame in time");
        frame.expect("a frame before the end")
    }

    /// The next frame; `None` at the end of the stream, if that is between two frames.
    ///
    /// # Errors
    ///
    /// When none comes in time, the connection is reset, or it is not a frame.
    pub fn next_frame(&mut self) -> io::Result<Option<(FrameHeader, Bytes)>> {
        let mut fixed = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.stream.read(&mut fixed[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        let limits = Limits::default().with_frame_bytes_max(FRAME_BYTES_MAX);
        let header = FrameHeader::decode(&fixed, &limits).map_err(io::Error::other)?;
        let mut rest = vec![0; header.total_len as usize - HEADER_BYTES];
        self.stream.read_exact(&mut rest)?;
        let whole = [&fixed[..], &rest].concat();
        assert_eq!(frame::decode(&whole, &limits), Ok(Decoded::Frame(header)));
        Ok(Some((header, rest.into())))
    }

    /// The next response.
    pub fn response(&mut self) -> Response {
        let (header, rest) = self.frame();
        assert_eq!(header.kind, FrameKind::Unary);
        Response::read(header, &rest)
    }

    /// Sends a request and returns the next response.
    pub fn call(&mut self, request: &Request) -> Response {
        self.send(&request.bytes());
        self.response()
    }

    /// Calls once more: the connection lives.
    pub fn expect_alive(&mut self) {
        let response = self.call(&Request::echo(0xa11f, b"alive", 0));
        assert_eq!(response.request_id, 0xa11f, "an answer to something else");
        assert_eq!(response.payload(), b"alive");
    }

    /// The peer ends the connection in order: a FIN and not a reset, and nothing before it.
    pub fn expect_end(&mut self) {
        match self.next_frame() {
            Ok(None) => {}
            Ok(Some((header, _))) => panic!("an answer instead of the end: {header:?}"),
            Err(error) => panic!("no end of the stream: {error}"),
        }
    }
}
