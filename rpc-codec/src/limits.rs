//! [`Limits`]: every bound that a peer could push against.

use std::time::Duration;

use crate::datagram::DATAGRAM_BYTES_MAX;
use crate::frame::HEADER_BYTES;

/// Bytes in a mebibyte, the unit in which [`Limits::frame_time_per_mib`] counts.
const MIB: u32 = 1024 * 1024;

/// How much a peer may take: bytes, calls, time. One value serves a whole server or channel.
///
/// The fields are public to be read and to be set on a `Limits` that exists; new ones may appear. Zero means zero:
/// no limit here has a value that stands for "unlimited".
///
/// ```
/// use rpc_codec::Limits;
///
/// let limits = Limits::default().with_frame_bytes_max(1024 * 1024);
/// assert_eq!(limits.decompressed_bytes_max, 1024 * 1024);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest frame, in bytes with its header: 10 MiB. A longer one closes the connection before its body is
    /// read. Peers written in C++ refuse more than 10,000,000 by default.
    pub frame_bytes_max: u32,
    /// The largest body after decompression, in bytes: as much as a frame. A call whose body is larger fails.
    pub decompressed_bytes_max: usize,
    /// Calls in flight on one connection: 1024. While there are as many, the connection is not read.
    pub connection_calls_max: usize,
    /// Bytes held for one connection, requests being handled and responses not yet written: 16 MiB. While there are
    /// more, the connection is not read; one frame that alone is larger still passes.
    pub connection_bytes_max: usize,
    /// Bytes held for one connection below which it is read again after that: 8 MiB.
    pub connection_bytes_resume: usize,
    /// Time for a frame to arrive, from its first byte: 10 s, and [`Limits::frame_time_per_mib`] on top. A slower one
    /// closes the connection.
    pub frame_time: Duration,
    /// Time that each mebibyte of a frame's length adds to [`Limits::frame_time`]: 1 s.
    pub frame_time_per_mib: Duration,
    /// How long a connection may carry no call and no part of a frame: 60 s, at the asking end 50 s, so that the end
    /// which would send next is the one that closes. Beyond it the connection is closed.
    pub idle: Duration,
    /// How long written bytes may wait without the peer taking any: 30 s. Beyond it the connection is reset.
    pub write_stall: Duration,
    /// Faults that cost a peer nothing and us an answer, such as heads that cannot be read: 1000 in
    /// [`Limits::glitch_window`]. One more closes the connection.
    pub glitches_max: u32,
    /// The time over which [`Limits::glitches_max`] counts: 60 s.
    pub glitch_window: Duration,
    /// Bytes of an error text, in either direction: 1024. A longer one is cut.
    pub message_bytes_max: usize,
    /// Calls that wait for an answer on one connection of the asking end: 4096. One more fails unsent.
    pub pending_calls_max: usize,
    /// Bytes that wait to be written on one connection of the asking end: 8 MiB. A call that would exceed it fails
    /// unsent.
    pub pending_bytes_max: usize,
    /// Time to make a connection: 1 s, the handshake of TLS included. Beyond it the endpoint counts as unreachable.
    pub connect_timeout: Duration,
    /// Streams open on one connection: 1024. One more is refused as overload.
    pub connection_streams_max: usize,
    /// Bytes of messages that a peer may send on a stream before the application has taken any: 65,535, which is also
    /// the least that peers know. 0 turns the control of the flow off, in both directions; then the reading of the
    /// connection stops while [`Limits::stream_unread_max`] wait.
    pub stream_window: u32,
    /// Bytes of messages that the streams of one connection whose flow is not controlled may hold unread: 1 MiB. Beyond it
    /// the connection is not read until the application has taken half of them.
    pub stream_unread_max: usize,
    /// Messages without any bytes that a stream may hold unread: 1000. One more resets it, because no window counts them.
    pub stream_empty_max: usize,
    /// How long a stream may carry no frame, either way: 300 s. Beyond it the stream is reset.
    pub stream_idle: Duration,
    /// How long a message may wait for the peer to make room for it: 60 s. Beyond it the stream is reset.
    pub stream_blocked: Duration,
    /// Messages of streams are put before the socket while fewer bytes than this wait to be written: 256 KiB. So a slow
    /// peer holds back those who write to it.
    pub stream_output_mark: usize,
    /// How an answering end tells of a failure of the service on a stream: as [`StreamErrors::Reset`].
    pub stream_errors: StreamErrors,
    /// Time for the handshake of TLS on a connection that was accepted: 10 s. Beyond it the connection is closed.
    pub handshake_timeout: Duration,
}

/// How an answering end tells of a failure of the service itself on a stream. Failures of the framework reset the stream
/// either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamErrors {
    /// By resetting the stream with that number as the framework's result and as the service's. All peers take it for a
    /// failure, as they do of servers in Go; Tern sees by the two being alike whose failure it is.
    #[default]
    Reset,
    /// By the number of the service in an orderly end, which is exact for peers in C++. Those in Go and Java read success.
    Close,
}

/// What stands before the message in a frame of a stream.
const HEADER_BYTES_U32: u32 = 16;

/// The least window that peers know.
const STREAM_WINDOW_MIN: u32 = 65_535;

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 10 * MIB,
            decompressed_bytes_max: 10 * 1024 * 1024,
            connection_calls_max: 1024,
            connection_bytes_max: 16 * 1024 * 1024,
            connection_bytes_resume: 8 * 1024 * 1024,
            frame_time: Duration::from_secs(10),
            frame_time_per_mib: Duration::from_secs(1),
            idle: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
            glitches_max: 1000,
            glitch_window: Duration::from_secs(60),
            message_bytes_max: 1024,
            pending_calls_max: 4096,
            pending_bytes_max: 8 * 1024 * 1024,
            connect_timeout: Duration::from_secs(1),
            connection_streams_max: 1024,
            stream_window: STREAM_WINDOW_MIN,
            stream_unread_max: 1024 * 1024,
            stream_empty_max: 1000,
            stream_idle: Duration::from_secs(300),
            stream_blocked: Duration::from_secs(60),
            stream_output_mark: 256 * 1024,
            stream_errors: StreamErrors::Reset,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The limits of an answering end; the default.
    pub fn server() -> Self {
        Self::default()
    }

    /// The limits of an asking end, which tires of an idle connection before the answering end does.
    pub fn client() -> Self {
        Self {
            idle: Duration::from_secs(50),
            ..Self::default()
        }
    }

    /// Sets the longest frame, and with it the largest decompressed body: packed must not get more than plain.
    pub fn with_frame_bytes_max(mut self, bytes: u32) -> Self {
        self.frame_bytes_max = bytes;
        self.decompressed_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
        self
    }

    /// Sets the largest decompressed body alone.
    pub fn with_decompressed_bytes_max(mut self, bytes: usize) -> Self {
        self.decompressed_bytes_max = bytes;
        self
    }

    /// Sets how many calls may be in flight on one connection.
    pub fn with_connection_calls_max(mut self, calls: usize) -> Self {
        self.connection_calls_max = calls;
        self
    }

    /// Sets how many bytes may be held for one connection; it is read again at half of that.
    pub fn with_connection_bytes_max(mut self, bytes: usize) -> Self {
        self.connection_bytes_max = bytes;
        self.connection_bytes_resume = bytes / 2;
        self
    }

    /// Sets how long a frame may take to arrive, before its length is considered.
    pub fn with_frame_time(mut self, time: Duration) -> Self {
        self.frame_time = time;
        self
    }

    /// Sets how long a connection may be idle.
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how long written bytes may wait for the peer.
    pub fn with_write_stall(mut self, stall: Duration) -> Self {
        self.write_stall = stall;
        self
    }

    /// Sets how many glitches are forgiven in [`Limits::glitch_window`].
    pub fn with_glitches_max(mut self, glitches: u32) -> Self {
        self.glitches_max = glitches;
        self
    }

    /// Sets how long an error text may be.
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Sets how many calls may wait for an answer on one connection of the asking end.
    pub fn with_pending_calls_max(mut self, calls: usize) -> Self {
        self.pending_calls_max = calls;
        self
    }

    /// Sets how many bytes may wait to be written on one connection of the asking end.
    pub fn with_pending_bytes_max(mut self, bytes: usize) -> Self {
        self.pending_bytes_max = bytes;
        self
    }

    /// Sets how long making a connection may take.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many streams may be open on one connection.
    pub fn with_connection_streams_max(mut self, streams: usize) -> Self {
        self.connection_streams_max = streams;
        self
    }

    /// Sets how many bytes a peer may send on a stream before the application has taken any; 65,535 at least.
    pub fn with_stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.max(STREAM_WINDOW_MIN);
        self
    }

    /// Turns the control of the flow of streams off: the connection as a whole is all that holds a peer back then.
    pub fn without_stream_window(mut self) -> Self {
        self.stream_window = 0;
        self
    }

    /// Sets how many bytes streams without control of their flow may hold unread.
    pub fn with_stream_unread_max(mut self, bytes: usize) -> Self {
        self.stream_unread_max = bytes;
        self
    }

    /// Sets how many messages without bytes a stream may hold unread.
    pub fn with_stream_empty_max(mut self, messages: usize) -> Self {
        self.stream_empty_max = messages;
        self
    }

    /// Sets how long a stream may carry no frame.
    pub fn with_stream_idle(mut self, idle: Duration) -> Self {
        self.stream_idle = idle;
        self
    }

    /// Sets how long a message of a stream may wait for the peer to make room for it.
    pub fn with_stream_blocked(mut self, blocked: Duration) -> Self {
        self.stream_blocked = blocked;
        self
    }

    /// Sets how many bytes may wait to be written before streams are held back.
    pub fn with_stream_output_mark(mut self, bytes: usize) -> Self {
        self.stream_output_mark = bytes;
        self
    }

    /// Sets how failures of the service are told on streams.
    pub fn with_stream_errors(mut self, how: StreamErrors) -> Self {
        self.stream_errors = how;
        self
    }

    /// The longest message of a stream, in bytes as it is sent: what a frame has room for.
    pub fn stream_message_bytes_max(&self) -> usize {
        let bytes = self.frame_bytes_max.saturating_sub(HEADER_BYTES_U32);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Sets how long the handshake of TLS may take on a connection that was accepted.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The same for frames in datagrams, which end at [`DATAGRAM_BYTES_MAX`].
    pub fn for_datagrams(&self) -> Self {
        Self {
            frame_bytes_max: self.frame_bytes_max.min(DATAGRAM_BYTES_MAX),
            ..self.clone()
        }
    }

    /// How long a frame of `total_len` bytes may take to arrive, from its first byte. Parts of a mebibyte count whole.
    pub fn frame_time_for(&self, total_len: u32) -> Duration {
        let more = self
            .frame_time_per_mib
            .saturating_mul(total_len.div_ceil(MIB));
        self.frame_time.saturating_add(more)
    }

    /// The longest message of a stream that fits a frame, in bytes.
    pub fn message_bytes_fit(&self) -> usize {
        let frame = usize::try_from(self.frame_bytes_max).unwrap_or(usize::MAX);
        frame.saturating_sub(HEADER_BYTES)
    }

    /// `text`, cut to [`Limits::message_bytes_max`] where a character ends.
    pub fn cut<'a>(&self, text: &'a str) -> &'a str {
        cut(text, self.message_bytes_max)
    }
}

/// `text`, cut to `bytes` or less, where a character ends.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    (0..=bytes)
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_gets_no_more_than_plain() {
        let limits = Limits::default();
        assert_eq!(
            limits.decompressed_bytes_max,
            limits.frame_bytes_max as usize
        );
        let limits = limits.with_frame_bytes_max(4096);
        assert_eq!(limits.decompressed_bytes_max, 4096);
    }

    #[test]
    fn the_asking_end_tires_first() {
        assert!(Limits::client().idle < Limits::server().idle);
    }

    #[test]
    fn a_window_is_as_large_as_peers_expect_or_off() {
        let limits = Limits::default();
        assert_eq!(limits.stream_window, 65_535);
        let window = |bytes| limits.clone().with_stream_window(bytes).stream_window;
        assert_eq!([0, 65_534, 65_536].map(window), [65_535, 65_535, 65_536]);
        assert_eq!(limits.clone().without_stream_window().stream_window, 0);
    }

    #[test]
    fn a_longer_frame_has_more_time() {
        let limits = Limits::default();
        assert_eq!(limits.frame_time_for(0), Duration::from_secs(10));
        assert_eq!(limits.frame_time_for(1), Duration::from_secs(11));
        assert_eq!(limits.frame_time_for(10 * MIB), Duration::from_secs(20));
        assert!(limits.frame_time_for(u32::MAX) > Duration::from_secs(4096));
    }

    #[test]
    fn texts_are_cut_where_a_character_ends() {
        let limits = Limits::default().with_message_bytes_max(5);
        assert_eq!(limits.cut("hello"), "hello");
        assert_eq!(limits.cut("hello!"), "hello");
        assert_eq!(limits.cut("grün"), "grün");
        assert_eq!(limits.cut("grüün"), "grü");
        assert_eq!(limits.cut("grü€"), "grü");
        assert_eq!(limits.with_message_bytes_max(0).cut("x"), "");
    }
}
