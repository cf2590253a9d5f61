//! The tRPC wire protocol without sockets: bytes to meaning and back.
//!
//! Everything here is a value that is told bytes and answers with what they mean. Nothing owns a socket, starts a
//! thread or reads a clock, which is why all of it can be fuzzed, compared with an independent reader, and simulated.
//! What a peer sends is never trusted: it yields errors, never a panic, and nothing is allocated because of a number
//! it named.
//!
//! ```
//! use bytes::BytesMut;
//! use rpc_codec::frame::{self, Decoded, FrameHeader, FrameKind, HEADER_BYTES};
//! use rpc_codec::{Limits, RequestHead};
//! use rpc_core::Metadata;
//!
//! // A frame: sixteen bytes, the head, the body.
//! let head = RequestHead { request_id: 7, func: b"/demo.greeter.Greeter/SayHello", ..RequestHead::default() };
//! let metadata = Metadata::new();
//! let head_len = head.encoded_len(&metadata);
//! let header = FrameHeader {
//!     kind: FrameKind::Unary,
//!     stream_frame_type: 0,
//!     total_len: u32::try_from(HEADER_BYTES + head_len + 5)?,
//!     head_len: u16::try_from(head_len)?,
//!     stream_id: 7,
//!     version: 1,
//!     reserved: 0,
//! };
//! let mut wire = BytesMut::new();
//! wire.extend_from_slice(&header.encode());
//! head.encode(&metadata, &mut wire);
//! wire.extend_from_slice(b"hello");
//!
//! // And back: first whether it is all there, then what it says.
//! let limits = Limits::default();
//! assert_eq!(frame::decode(&wire[..20], &limits)?, Decoded::NeedMore(wire.len() - 20));
//! assert_eq!(frame::decode(&wire, &limits)?, Decoded::Frame(header));
//! let read = RequestHead::decode(&wire[HEADER_BYTES..HEADER_BYTES + head_len])?;
//! assert_eq!(read.func, b"/demo.greeter.Greeter/SayHello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layout
//!
//! * [`frame`] – the sixteen bytes before everything else, and where a frame ends
//! * [`datagram`] – frames in datagrams: one in each
//! * [`head`] – [`RequestHead`] and [`ResponseHead`]: the protobuf heads, read in place
//! * [`ret`] – the one table between the wire's return codes and [`rpc_core::Code`]
//! * [`stream`] – frames of streams, and what holds their flow back
//! * [`numbers`] – how the wire numbers formats and compressions
//! * [`compress`] – bodies made smaller, and back within a bound; [`Codecs`]: which number stands for which compression
//! * [`serialize`] – messages in other formats than protobuf; [`Formats`]: which number stands for which format
//! * [`limits`] – [`Limits`]: every bound that a peer could push against
//! * [`error`] – [`ProtocolError`], which ends a connection, and [`HeadError`], which ends a call

pub mod compress;
pub mod connection;
pub mod datagram;
pub mod error;
pub mod frame;
pub mod head;
pub mod limits;
pub mod numbers;
pub mod ret;
pub mod serialize;
pub mod stream;
pub mod write_queue;

pub use compress::{Codec, Codecs, CompressError};
pub use error::{HeadError, ProtocolError};
pub use frame::{Decoded, FrameHeader, FrameKind};
pub use head::{RequestHead, ResponseHead};
pub use limits::{Limits, StreamErrors};
pub use serialize::Formats;
pub use write_queue::{WriteBuffer, WriteQueue};
