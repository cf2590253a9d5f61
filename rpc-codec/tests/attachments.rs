//! What travels beside the body, between the two machines: whole, in its place, and without a copy where it is large.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rpc_codec::connection::{
    ClientConnection, Connection, Inbound, Input, RequestIds, ServerConnection, Shelf,
};
use rpc_codec::frame::HEADER_BYTES;
use rpc_codec::{FrameHeader, FrameKind, Limits, RequestHead, ResponseHead, WriteQueue};
use rpc_core::message::Exchange;
use rpc_core::{
    Clock, Code, Compression, Context, Idempotency, MethodDescriptor, Request, Response, Shape,
    Status,
};

static METHOD: MethodDescriptor = MethodDescriptor {
    index: 0,
    name: "Put",
    path: "/test.Files/Put",
    alias: None,
    service: "test.Files",
    idempotency: Idempotency::Unknown,
    shape: Shape::Unary,
    request: rpc_core::MessageType::UNKNOWN,
    reply: rpc_core::MessageType::UNKNOWN,
};

const MIB: usize = 1 << 20;

fn now() -> Instant {
    Clock::system().now()
}

fn pattern(length: usize) -> Bytes {
    let byte = |place: usize| place.wrapping_mul(31).to_le_bytes()[0];
    (0..length).map(byte).collect()
}

fn request(body: &Bytes, attachment: &Bytes) -> Request {
    let mut request = Request::new(&METHOD, Context::background(), body.clone().into());
    request.set_attachment(attachment.clone());
    request
}

/// Both ends of one connection.
struct Ends {
    client: ClientConnection,
    server: ServerConnection,
    ids: RequestIds,
    shelf: Shelf,
}

impl Ends {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            client: ClientConnection::new(Arc::clone(&limits), now()),
            server: ServerConnection::new(limits, now()),
            ids: RequestIds::starting_at(1),
            shelf: Shelf::default(),
        }
    }

    /// What the client writes for a request.
    fn sent(&mut self, request: &Request) -> Result<WriteQueue, Status> {
        let mut output = WriteQueue::new();
        self.client
            .start(7, request, &mut self.ids, &mut output, now())
            .map(|_| output)
    }

    /// What the server makes of these bytes, and what it answers to what `answer` makes of the request.
    fn answered(
        &mut self,
        wire: &Bytes,
        leaving: bool,
        answer: impl FnOnce(&Inbound<'_>, &mut Shelf) -> Result<Response, Status>,
    ) -> WriteQueue {
        let mut input = Input::owned(wire, wire.len(), now());
        let inbound = self.server.next_event(&mut input, &mut self.shelf, now());
        let inbound = inbound.unwrap().expect("a request");
        let result = answer(&inbound, &mut self.shelf);
        let mut output = WriteQueue::new();
        let to = inbound.reply_to;
        self.server.respond(to, result, leaving, &mut output, now());
        output
    }

    /// What the client makes of these bytes.
    fn result(&mut self, wire: &Bytes) -> Result<Response, Status> {
        let mut input = Input::owned(wire, wire.len(), now());
        let answer = self.client.next_event(&mut input, &mut self.shelf, now());
        answer.unwrap().expect("an answer").result
    }
}

/// All that waits to be written, copied together.
fn written(output: &WriteQueue) -> Bytes {
    output.with_slices(|pieces| pieces.iter().flat_map(|piece| piece.to_vec()).collect())
}

/// Whether the bytes wait to be written where they lie.
fn is_offered_in_place(output: &WriteQueue, bytes: &Bytes) -> bool {
    output.with_slices(|pieces| {
        let is_same = |piece: &[u8]| piece.as_ptr_range() == bytes.as_ptr_range();
        pieces.iter().any(|piece| is_same(piece))
    })
}

fn is_piece_of(piece: &Bytes, whole: &Bytes) -> bool {
    let (piece, whole) = (piece.as_ptr_range(), whole.as_ptr_range());
    whole.start <= piece.start && piece.end <= whole.end
}

#[test]
fn body_and_attachment_arrive_as_they_were_sent_whatever_is_empty() {
    let sizes = [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, MIB];
    for (body, attachment) in sizes
        .iter()
        .flat_map(|one| sizes.map(|other| (*one, other)))
    {
        let (body, attachment) = (pattern(body), pattern(attachment));
        let mut ends = Ends::new();
        let sent = written(&ends.sent(&request(&body, &attachment)).unwrap());
        let answered = ends.answered(&sent, false, |inbound, shelf| {
            assert_eq!(inbound.has_attachment(), !attachment.is_empty());
            assert!(inbound.body(shelf) == body && inbound.attachment(shelf) == attachment);
            // The other way about, so that the one cannot be taken for the other.
            let mut response = Response::new(inbound.attachment(shelf).into());
            response.set_attachment(inbound.body(shelf));
            Ok(response)
        });
        let response = ends.result(&written(&answered)).unwrap();
        assert!(*response.body() == attachment && *response.attachment() == body);
    }
}

#[test]
fn a_large_attachment_is_not_copied_at_either_end() {
    let attachment = pattern(MIB);
    let mut ends = Ends::new();
    let sent = ends.sent(&request(&pattern(10), &attachment)).unwrap();
    assert!(is_offered_in_place(&sent, &attachment));
    let wire = written(&sent);
    let answered = ends.answered(&wire, false, |inbound, shelf| {
        let arrived = inbound.attachment(shelf);
        assert!(is_piece_of(&arrived, &wire));
        let mut response = Response::new(pattern(10).into());
        response.set_attachment(arrived);
        Ok(response)
    });
    let offered = wire.slice(wire.len() - MIB..);
    assert!(
        is_offered_in_place(&answered, &offered),
        "out as it came in"
    );
    let wire = written(&answered);
    let response = ends.result(&wire).unwrap();
    assert!(is_piece_of(response.attachment(), &wire));
    assert!(*response.attachment() == attachment);
}

/// What some peers say of an attachment that they dropped when the call failed.
#[test]
fn a_failure_that_names_an_attachment_which_is_not_there_is_that_failure() {
    for (ret, func_ret, code) in [
        (22, 0, Code::Overloaded),
        (0, 10_001, Code::Service(10_001)),
    ] {
        for attachment_size in [1, 5, 6, u32::MAX] {
            let mut ends = Ends::new();
            ends.sent(&request(&Bytes::new(), &Bytes::new())).unwrap();
            let head = ResponseHead {
                request_id: 1,
                ret,
                func_ret,
                error_msg: b"no",
                attachment_size,
                ..ResponseHead::default()
            };
            let status = ends.result(&frame(&head, b"stale")).unwrap_err();
            assert_eq!((status.code(), status.message()), (code, "no"));
        }
    }
}

#[test]
fn a_success_that_names_an_attachment_which_is_not_there_cannot_be_read() {
    let mut ends = Ends::new();
    ends.sent(&request(&Bytes::new(), &Bytes::new())).unwrap();
    let head = ResponseHead {
        request_id: 1,
        attachment_size: 6,
        ..ResponseHead::default()
    };
    let status = ends.result(&frame(&head, b"stale")).unwrap_err();
    assert_eq!(status.code(), Code::ResponseMalformed);
    assert!(status.message().contains("6 bytes where 5"), "{status}");
}

fn frame(head: &ResponseHead<'_>, rest: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    head.encode(&rpc_core::Metadata::new(), &mut bytes);
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(HEADER_BYTES + bytes.len() + rest.len()).unwrap(),
        head_len: u16::try_from(bytes.len()).unwrap(),
        stream_id: 0,
        version: 1,
        reserved: 0,
    };
    [&header.encode()[..], &bytes, rest].concat().into()
}

/// The frame is bounded with all that is in it, at both ends.
#[test]
fn an_attachment_counts_for_the_longest_frame() {
    let limit = 64 * 1024;
    let mut ends = Ends::with(Limits::default().with_frame_bytes_max(limit));
    let bare = written(
        &ends
            .sent(&request(&Bytes::new(), &pattern(60_000)))
            .unwrap(),
    );
    let longest = 60_000 + limit as usize - bare.len();
    let fits = written(
        &ends
            .sent(&request(&Bytes::new(), &pattern(longest)))
            .unwrap(),
    );
    assert_eq!(fits.len(), limit as usize);
    let status = ends.sent(&request(&Bytes::new(), &pattern(longest + 1)));
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    assert!(status.message().contains("65536"), "{status}");

    let answered = ends.answered(&fits, false, |inbound, shelf| {
        let mut response = Response::empty();
        response.set_attachment(inbound.attachment(shelf).slice(..100).repeat(1_000).into());
        Ok(response)
    });
    assert!(answered.len() < 1_000, "nothing of it is written");
    let mut input = Input::owned(&fits, 0, now());
    assert!(
        ends.client
            .next_event(&mut input, &mut ends.shelf, now())
            .is_ok()
    );
    let wire = written(&answered);
    let header = FrameHeader::decode(wire.first_chunk().unwrap(), &Limits::default()).unwrap();
    let head = &wire[HEADER_BYTES..HEADER_BYTES + usize::from(header.head_len)];
    let head = ResponseHead::decode(head).unwrap();
    assert_eq!((head.ret, head.attachment_size), (2, 0));
}

/// Peers in C++ cannot unpack nothing.
#[test]
fn an_empty_body_is_not_said_to_be_packed_whatever_is_beside_it() {
    for attachment in [Bytes::new(), pattern(10)] {
        let mut ends = Ends::new();
        let mut request = request(&Bytes::new(), &attachment);
        request.set_compression(Compression::Gzip);
        let wire = written(&ends.sent(&request).unwrap());
        let head_len = usize::from(u16::from_be_bytes([wire[8], wire[9]]));
        let head = RequestHead::decode(&wire[HEADER_BYTES..HEADER_BYTES + head_len]).unwrap();
        assert_eq!(head.content_encoding, 0);
        let answered = ends.answered(&wire, false, |_, _| {
            let mut response = Response::empty();
            response.set_compression(Compression::Gzip);
            response.set_attachment(attachment.clone());
            Ok(response)
        });
        let response = ends.result(&written(&answered)).unwrap();
        assert_eq!(response.compression(), Compression::None);
        assert_eq!(*response.attachment(), attachment);
    }
}

#[test]
fn a_head_that_its_metadata_fills_is_sent_and_one_byte_more_is_not() {
    let mut ends = Ends::new();
    let with = |length| {
        let mut request = request(&Bytes::new(), &pattern(3));
        let value = Bytes::from(vec![b'x'; length]);
        request.context_mut().metadata_mut().insert("long", value);
        request
    };
    // Tags and lengths have as many bytes for all of these.
    let wire = written(&ends.sent(&with(60_000)).unwrap());
    let head_len = usize::from(u16::from_be_bytes([wire[8], wire[9]]));
    let longest = 60_000 + usize::from(u16::MAX) - head_len;
    let wire = written(&ends.sent(&with(longest)).unwrap());
    assert_eq!(wire[8..10], [0xff, 0xff]);
    let status = ends.sent(&with(longest + 1)).unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    assert!(status.message().contains("65,535"), "{status}");

    let answered = |ends: &mut Ends, value: Bytes, leaving| {
        let answered = ends.answered(&wire, leaving, |_, _| {
            let mut response = Response::new(pattern(10).into());
            response.metadata_mut().insert("long", value);
            Ok(response)
        });
        written(&answered)
    };
    let value = Bytes::from(vec![b'x'; usize::from(u16::MAX)]);
    let wire = answered(&mut ends, value.clone(), false);
    assert!(wire.len() < 1_000, "nothing of the metadata is written");
    let head_len = usize::from(u16::from_be_bytes([wire[8], wire[9]]));
    let head = ResponseHead::decode(&wire[HEADER_BYTES..HEADER_BYTES + head_len]).unwrap();
    assert_eq!((head.ret, head.has_metadata), (2, false));

    // A server that leaves says so by metadata of its own; where that does not fit, the answer is worth more.
    let nearly = value.slice(..usize::from(u16::MAX) - 20);
    let wire = answered(&mut ends, nearly, true);
    let head_len = usize::from(u16::from_be_bytes([wire[8], wire[9]]));
    let head = ResponseHead::decode(&wire[HEADER_BYTES..HEADER_BYTES + head_len]).unwrap();
    assert_eq!((head.ret, head.has_metadata), (0, true));
}

#[test]
fn marks_that_nobody_knows_come_back_as_they_were() {
    let marks = rpc_core::Marks(0xffff_ffff);
    for result in [Ok(Response::empty()), Err(Status::internal(""))] {
        let mut ends = Ends::new();
        let mut request = request(&Bytes::new(), &Bytes::new());
        request.context_mut().set_marks(marks);
        let wire = written(&ends.sent(&request).unwrap());
        let answered = ends.answered(&wire, false, |inbound, _| {
            assert_eq!(inbound.marks(), marks);
            result
        });
        let wire = written(&answered);
        let head_len = usize::from(u16::from_be_bytes([wire[8], wire[9]]));
        let head = ResponseHead::decode(&wire[HEADER_BYTES..HEADER_BYTES + head_len]).unwrap();
        assert_eq!(head.message_type, marks.0);
    }
}

#[test]
fn a_one_way_request_has_all_that_others_have_and_no_answer() {
    for result in [
        Ok(Response::new(pattern(9).into())),
        Err(Status::internal("")),
    ] {
        let mut ends = Ends::new();
        let mut request = request(&pattern(4), &pattern(MIB));
        request.set_exchange(Exchange::OneWay);
        let wire = written(&ends.sent(&request).unwrap());
        assert_eq!(ends.client.in_flight(), 0, "nobody waits");
        let answered = ends.answered(&wire, true, |inbound, shelf| {
            assert!(inbound.attachment(shelf) == pattern(MIB));
            result
        });
        assert!(answered.is_empty());
        assert!(!ends.server.has_told_of_leaving(), "nobody was told");
        assert_eq!(ends.server.in_flight(), 0);
    }
}

/// Ids that are still in flight are stepped over when they begin anew.
#[test]
fn ids_begin_anew_and_never_meet() {
    let mut ends = Ends::new();
    ends.ids = RequestIds::starting_at(0);
    let mut output = WriteQueue::new();
    let mut start = |ends: &mut Ends, token| {
        let request = request(&Bytes::new(), &Bytes::new());
        let id = ends
            .client
            .start(token, &request, &mut ends.ids, &mut output, now());
        id.unwrap().0
    };
    assert_eq!([0, 1].map(|token| start(&mut ends, token)), [0, 1]);
    ends.ids = RequestIds::starting_at(u32::MAX - 1);
    let later = [2, 3, 4, 5].map(|token| start(&mut ends, token));
    assert_eq!(later, [u32::MAX - 1, u32::MAX, 2, 3]);
    for (id, token) in [(u32::MAX, 3), (0, 0), (2, 4), (u32::MAX - 1, 2), (1, 1)] {
        let head = ResponseHead {
            request_id: id,
            ..ResponseHead::default()
        };
        let wire = frame(&head, b"");
        let mut input = Input::borrowed(&wire, now());
        let answer = ends.client.next_event(&mut input, &mut ends.shelf, now());
        assert_eq!(answer.unwrap().map(|answer| answer.token), Some(token));
    }
}
