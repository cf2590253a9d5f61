//! gRPC, as far as one unary method needs it: the HTTP/2 that a real client speaks, without a real client's cost.
//!
//! * The preface, SETTINGS and their acknowledgement, PING and its answer.
//! * HPACK as clients have it: the first request puts its headers into the server's dynamic table, the others name
//!   them by index. What the server's table holds is not looked at: an answer is judged by its length and its end.
//! * Flow control in both directions: requests wait for the server's windows, and the server's are opened rarely, as
//!   clients with large windows do.

use std::collections::VecDeque;

use super::message;
use super::wire::{Answers, LoadError, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

const SETTINGS_INITIAL_WINDOW: u16 = 4;
const SETTINGS_FRAME_MAX: u16 = 5;

/// What windows begin with.
const WINDOW_DEFAULT: i64 = 65_535;
/// The server may send so much of one answer before we say more: a whole one, always.
const STREAM_WINDOW: u32 = 16 << 20;
/// The server may send so much on a connection before we say more.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Streams that are remembered at a time, for each that can be in flight: ids leave gaps when old calls take long.
const RING_FACTOR: usize = 4;

/// Speaks gRPC.
#[derive(Debug)]
pub struct Grpc {
    headers_first: Vec<u8>,
    headers: Vec<u8>,
    message: Vec<u8>,
    next_stream: u32,
    /// By half of the stream's id, modulo the length.
    streams: Vec<Option<Stream>>,
    /// Streams with something left to send, oldest first.
    unsent: VecDeque<u32>,
    window: i64,
    stream_window: i64,
    frame_max: usize,
    /// Bytes that arrived since the connection's window was opened last.
    unacknowledged: u32,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    id: u32,
    slot: u32,
    sent: usize,
    window: i64,
    received: usize,
}

impl Grpc {
    /// Calls `method` of the service with a payload of that length, up to `in_flight` times at once.
    pub fn new(method: &str, payload: usize, in_flight: usize) -> Self {
        let body = message::encode(payload);
        let mut message = vec![0];
        message.extend_from_slice(&(body.len() as u32).to_be_bytes());
        message.extend_from_slice(&body);
        let (headers_first, headers) = headers(&format!("/bench.v1.Echo/{method}"));
        let ring = (in_flight * RING_FACTOR).next_power_of_two();
        Self {
            headers_first,
            headers,
            message,
            next_stream: 1,
            streams: vec![None; ring],
            unsent: VecDeque::new(),
            window: WINDOW_DEFAULT,
            stream_window: WINDOW_DEFAULT,
            frame_max: 16_384,
            unacknowledged: 0,
        }
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id);
        self.streams[place]
            .as_mut()
            .filter(|stream| stream.id == id)
    }

    fn place(&self, id: u32) -> usize {
        (id as usize / 2) & (self.streams.len() - 1)
    }

    /// Sends of one request what the windows allow. Says whether that was all of it.
    fn send(&mut self, id: u32, out: &mut Vec<u8>) -> bool {
        let place = self.place(id);
        let Some(stream) = self.streams[place]
            .as_mut()
            .filter(|stream| stream.id == id)
        else {
            return true;
        };
        while stream.sent < self.message.len() {
            let window = self.window.min(stream.window).max(0) as usize;
            let left = self.message.len() - stream.sent;
            let length = left.min(window).min(self.frame_max);
            if length == 0 {
                return false;
            }
            let flags = if length == left { END_STREAM } else { 0 };
            put_header(DATA, flags, id, length, out);
            out.extend_from_slice(&self.message[stream.sent..stream.sent + length]);
            stream.sent += length;
            let used = i64::try_from(length).expect("it fits a window");
            stream.window -= used;
            self.window -= used;
        }
        true
    }

    /// Goes on with what waits for windows.
    fn send_rest(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.unsent.len() {
            if self.window <= 0 {
                return;
            }
            let Some(id) = self.unsent.pop_front() else {
                return;
            };
            if !self.send(id, out) {
                self.unsent.push_back(id);
            }
        }
    }

    fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        answers: &mut Answers,
        out: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        match header.kind {
            DATA => self.data(header, payload, answers, out)?,
            HEADERS if header.flags & END_STREAM != 0 => self.end(header.stream, answers)?,
            SETTINGS if header.flags & ACK == 0 => {
                self.settings(payload);
                put_header(SETTINGS, ACK, 0, 0, out);
                self.send_rest(out);
            }
            PING if header.flags & ACK == 0 => {
                put_header(PING, ACK, 0, payload.len(), out);
                out.extend_from_slice(payload);
            }
            WINDOW_UPDATE => {
                let more = payload
                    .first_chunk()
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                let more = i64::from(more & 0x7fff_ffff);
                if header.stream == 0 {
                    self.window += more;
                } else if let Some(stream) = self.stream(header.stream) {
                    stream.window += more;
                }
                self.send_rest(out);
            }
            RST_STREAM | GOAWAY => {
                let what = if header.kind == GOAWAY {
                    "GOAWAY"
                } else {
                    "RST_STREAM"
                };
                return Err(LoadError::answer(format!("{what} {payload:?}")));
            }
            // HEADERS that begin an answer, acknowledgements, CONTINUATION, and whatever else there may be.
            _ => {}
        }
        Ok(())
    }

    fn data(
        &mut self,
        header: Header,
        payload: &[u8],
        answers: &mut Answers,
        out: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        let padding = match payload.first() {
            Some(length) if header.flags & PADDED != 0 => usize::from(*length) + 1,
            _ => 0,
        };
        let stream = self.stream(header.stream);
        let stream = stream.ok_or_else(|| LoadError::answer("data that nobody asked for"))?;
        stream.received += payload.len().saturating_sub(padding);
        self.unacknowledged += payload.len() as u32;
        if self.unacknowledged >= CONNECTION_WINDOW / 2 {
            put_header(WINDOW_UPDATE, 0, 0, 4, out);
            out.extend_from_slice(&self.unacknowledged.to_be_bytes());
            self.unacknowledged = 0;
        }
        if header.flags & END_STREAM != 0 {
            self.end(header.stream, answers)?;
        }
        Ok(())
    }

    /// The answer is over. A failure has no message, so the length tells.
    fn end(&mut self, id: u32, answers: &mut Answers) -> Result<(), LoadError> {
        let place = self.place(id);
        let stream = self.streams[place].take().filter(|stream| stream.id == id);
        let stream = stream.ok_or_else(|| LoadError::answer("an answer that nobody asked for"))?;
        if (stream.received, stream.sent) != (self.message.len(), self.message.len()) {
            return Err(LoadError::answer(format!(
                "a message of {} bytes instead of {}",
                stream.received,
                self.message.len()
            )));
        }
        answers.push(stream.slot);
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) {
        for entry in payload.chunks_exact(6) {
            let key = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            match key {
                SETTINGS_INITIAL_WINDOW => {
                    let change = i64::from(value) - self.stream_window;
                    self.stream_window = i64::from(value);
                    for stream in self.streams.iter_mut().flatten() {
                        stream.window += change;
                    }
                }
                SETTINGS_FRAME_MAX => self.frame_max = value as usize,
                _ => {}
            }
        }
    }
}

impl Wire for Grpc {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        put_header(SETTINGS, 0, 0, 6, out);
        out.extend_from_slice(&SETTINGS_INITIAL_WINDOW.to_be_bytes());
        out.extend_from_slice(&STREAM_WINDOW.to_be_bytes());
        put_header(WINDOW_UPDATE, 0, 0, 4, out);
        out.extend_from_slice(&(CONNECTION_WINDOW - WINDOW_DEFAULT as u32).to_be_bytes());
    }

    fn request(&mut self, slot: u32, out: &mut Vec<u8>) {
        // An id whose place is taken by a call that takes long is left out; ids only have to grow.
        while self.streams[self.place(self.next_stream)].is_some() {
            self.next_stream += 2;
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let place = self.place(id);
        self.streams[place] = Some(Stream {
            id,
            slot,
            sent: 0,
            window: self.stream_window,
            received: 0,
        });
        let headers = if id == 1 {
            &self.headers_first
        } else {
            &self.headers
        };
        put_header(HEADERS, END_HEADERS, id, headers.len(), out);
        out.extend_from_slice(headers);
        if !self.unsent.is_empty() || !self.send(id, out) {
            self.unsent.push_back(id);
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        answers: &mut Answers,
        out: &mut Vec<u8>,
    ) -> Result<usize, LoadError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let Some(header) = Header::read(rest) else {
                return Ok(taken);
            };
            let Some(payload) = rest.get(FRAME_HEADER..FRAME_HEADER + header.length) else {
                return Ok(taken);
            };
            self.frame(header, payload, answers, out)?;
            taken += FRAME_HEADER + header.length;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Header {
    fn read(input: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *input.first_chunk::<FRAME_HEADER>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }
}

fn put_header(kind: u8, flags: u8, stream: u32, length: usize, out: &mut Vec<u8>) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// The headers of the first request of a connection and of those that follow.
///
/// ```text
///  :method POST, :scheme http       indexes 3 and 6 of the static table
///  :path, :authority, te,           literals that go into the dynamic table, each pushing those before it by one;
///  content-type, user-agent         from the second request on indexes 66 down to 62
/// ```
fn headers(path: &str) -> (Vec<u8>, Vec<u8>) {
    const STATIC: [u8; 2] = [0x80 | 3, 0x80 | 6];
    let mut first = STATIC.to_vec();
    put_literal(4, path, &mut first);
    put_literal(1, "bench", &mut first);
    put_literal(0, "te", &mut first);
    put_text("trailers", &mut first);
    put_literal(31, "application/grpc", &mut first);
    put_literal(58, "tern-benches/0.1", &mut first);
    let mut later = STATIC.to_vec();
    later.extend((62..=66).rev().map(|index| 0x80 | index));
    (first, later)
}

/// A literal with incremental indexing and a name from the static table, or behind it for 0, without Huffman coding.
fn put_literal(name: u8, value: &str, out: &mut Vec<u8>) {
    out.push(0x40 | name);
    put_text(value, out);
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() < 127, "its length fits seven bits");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stream: u32, message: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_header(HEADERS, END_HEADERS, stream, 1, &mut bytes);
        bytes.push(0x88);
        put_header(DATA, 0, stream, message, &mut bytes);
        bytes.resize(bytes.len() + message, 0);
        put_header(HEADERS, END_HEADERS | END_STREAM, stream, 0, &mut bytes);
        bytes
    }

    #[test]
    fn an_answer_is_known_by_its_stream_and_judged_by_its_length() {
        let mut grpc = Grpc::new("Echo", 32, 4);
        let mut out = Vec::new();
        grpc.request(7, &mut out);
        grpc.request(9, &mut out);
        let mut answers = Answers::new();
        let (second, first) = (answer(3, 39), answer(1, 38));
        let (head, tail) = second.split_at(12);
        let taken = grpc.receive(head, &mut answers, &mut out).unwrap();
        let input = [&head[taken..], tail].concat();
        assert_eq!(
            grpc.receive(&input, &mut answers, &mut out).unwrap(),
            input.len()
        );
        assert_eq!(answers, [9]);
        assert!(grpc.receive(&first, &mut answers, &mut out).is_err());
    }

    #[test]
    fn a_large_request_waits_for_the_servers_windows() {
        let mut grpc = Grpc::new("Echo", 100_000, 4);
        let mut out = Vec::new();
        grpc.request(0, &mut out);
        let sent = |out: &[u8]| out.len() - out.len() / 16_393 * FRAME_HEADER;
        assert!(sent(&out) < 66_000);
        let mut update = Vec::new();
        for stream in [0, 1] {
            put_header(WINDOW_UPDATE, 0, stream, 4, &mut update);
            update.extend_from_slice(&100_000_u32.to_be_bytes());
        }
        grpc.receive(&update, &mut Answers::new(), &mut out)
            .unwrap();
        assert!(sent(&out) > 100_000);
        assert!(grpc.unsent.is_empty());
    }
}
