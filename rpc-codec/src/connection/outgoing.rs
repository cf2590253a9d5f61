//! How a request becomes a frame.
//!
//! The heads of one method's requests differ in little more than id and timeout. What is between those and the rest is
//! written once and then copied:
//!
//! ```text
//!   | call_type, request_id, timeout | caller, callee, func | message_type, trans_info, content_.., attachment |
//!   |            opening             |        route         |         closing: empty more often than not       |
//! ```

use std::sync::Arc;
use std::time::Instant;

use rpc_core::message::Exchange;
use rpc_core::{Code, Compression, Context, Metadata, MethodDescriptor, Parties, Request, Status};

use super::client::RequestId;
use super::framing::{TooLong, put_head};
use crate::frame::FrameHeader;
use crate::head::RequestHead;
use crate::{Limits, WriteQueue, numbers};

/// Routes that a connection remembers: as many methods as one caller uses at a time, mostly. Each takes some 100 bytes.
const ROUTES_MAX: usize = 8;

/// Writes requests.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    routes: Vec<Route>,
    /// Which route is forgotten next.
    oldest: usize,
}

impl Outgoing {
    /// Appends the frame of a request, or nothing if it fails.
    pub(super) fn write(
        &mut self,
        id: RequestId,
        request: &Request,
        limits: &Limits,
        output: &mut WriteQueue,
        now: Instant,
    ) -> Result<(), Status> {
        let context = request.context();
        let attachment = request.attachment().len();
        let attachment_size = u32::try_from(attachment).map_err(|_| too_long("its attachment"))?;
        let opening = RequestHead {
            call_type: u32::from(request.exchange() == Exchange::OneWay),
            request_id: id.0,
            timeout_ms: timeout_ms(context, now)?,
            ..RequestHead::default()
        };
        let closing = RequestHead {
            message_type: context.marks().0,
            content_type: numbers::content_type(request.format()),
            content_encoding: numbers::content_encoding(compression(request)),
            attachment_size,
            ..RequestHead::default()
        };
        let other;
        let route = match request.other_path() {
            None => self.route(request.method(), context),
            // Whoever passes on what others ask for is not to fill the memory of those who ask for the same again.
            Some(path) => {
                let (caller, callee) = context.name_bytes();
                other = route_bytes(path, caller, callee);
                &other
            }
        };
        let payload = request.body().len().saturating_add(attachment);
        // Servers and proxies in Go expect the id in the frame's header too, and the version that says so.
        let header = FrameHeader::unary(id.0, 1);
        put_head(header, payload, limits, output, |out| {
            opening.encode(&NO_METADATA, out);
            out.extend_from_slice(route);
            closing.encode(context.metadata(), out);
        })
        .map_err(|what| match what {
            TooLong::Head => too_long("its metadata does not fit the head of 65,535 bytes"),
            TooLong::Frame => too_long(&format!(
                "{payload} bytes do not fit a frame of {} at most",
                limits.frame_bytes_max
            )),
        })?;
        output.put_body(request.body());
        if attachment_size > 0 {
            output.put_bytes(request.attachment());
        }
        Ok(())
    }

    /// The middle of the head, from memory if there was one like it.
    fn route(&mut self, method: &'static MethodDescriptor, context: &Context) -> &[u8] {
        let known = |route: &Route| route.is_for(method, context);
        let place = self.routes.iter().position(known).unwrap_or_else(|| {
            let route = Route::new(method, context);
            self.remember(route)
        });
        self.routes.get(place).map_or(&[], |route| &route.bytes)
    }

    fn remember(&mut self, route: Route) -> usize {
        let place = self.oldest;
        match self.routes.get_mut(place) {
            Some(oldest) => *oldest = route,
            None => self.routes.push(route),
        }
        self.oldest = (place + 1) % ROUTES_MAX;
        place
    }
}

static NO_METADATA: Metadata = Metadata::new();

/// Who calls what of whom, as a piece of a head.
#[derive(Debug)]
struct Route {
    method: &'static MethodDescriptor,
    /// Known again without comparing names.
    parties: Option<Arc<Parties>>,
    caller: Vec<u8>,
    callee: Vec<u8>,
    bytes: Vec<u8>,
}

impl Route {
    fn new(method: &'static MethodDescriptor, context: &Context) -> Self {
        let (caller, callee) = context.name_bytes();
        Self {
            method,
            parties: context.parties().cloned(),
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            bytes: route_bytes(method.path, caller, callee),
        }
    }

    fn is_for(&self, method: &'static MethodDescriptor, context: &Context) -> bool {
        if !std::ptr::eq(self.method, method) {
            return false;
        }
        match (&self.parties, context.parties()) {
            (Some(own), Some(other)) if Arc::ptr_eq(own, other) => return true,
            _ => {}
        }
        let (caller, callee) = context.name_bytes();
        is_same(&self.caller, caller) && is_same(&self.callee, callee)
    }
}

fn route_bytes(path: &str, caller: &[u8], callee: &[u8]) -> Vec<u8> {
    let head = RequestHead {
        caller,
        callee,
        func: path.as_bytes(),
        ..RequestHead::default()
    };
    let mut bytes = Vec::new();
    head.encode(&NO_METADATA, &mut bytes);
    bytes
}

/// Compares byte by byte. Names are short, and the vector that the library compares them by reaches into what stands behind
/// them in memory: with it a call took a tenth longer (`benches/benches/client.rs`, 1x64).
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().eq(other)
}

/// What is left of the time, for the wire; 0 if there is no end to it.
pub(super) fn timeout_ms(context: &Context, now: Instant) -> Result<u32, Status> {
    let Some(deadline) = context.deadline() else {
        return Ok(0);
    };
    deadline.remaining_millis(now).ok_or_else(|| {
        Status::new(
            Code::DeadlineExceeded,
            "the deadline passed before the request was sent",
        )
    })
}

fn compression(request: &Request) -> Compression {
    if request.body().is_empty() {
        Compression::None
    } else {
        request.compression()
    }
}

fn too_long(what: &str) -> Status {
    let text = format!("the request is too long: {what}");
    Status::new(Code::RequestUnencodable, text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rpc_core::Body;
    use rpc_core::message::Format;
    use rpc_core::{Cause, Deadline, Idempotency, Shape};
    use std::time::Duration;

    use super::*;
    use crate::frame::HEADER_BYTES;

    static METHODS: [MethodDescriptor; 10] = {
        const METHOD: MethodDescriptor = MethodDescriptor {
            index: 0,
            name: "Echo",
            path: "/test.Echo/Echo",
            alias: None,
            service: "test.Echo",
            idempotency: Idempotency::Unknown,
            shape: Shape::Unary,
            request: rpc_core::MessageType::UNKNOWN,
            reply: rpc_core::MessageType::UNKNOWN,
        };
        [METHOD; 10]
    };

    fn head_of(outgoing: &mut Outgoing, id: u32, request: &Request, now: Instant) -> Vec<u8> {
        let mut output = WriteQueue::new();
        let limits = Limits::default();
        outgoing
            .write(RequestId(id), request, &limits, &mut output, now)
            .unwrap();
        let frame = output.with_slices(|pieces| {
            pieces
                .iter()
                .flat_map(|piece| piece.to_vec())
                .collect::<Vec<_>>()
        });
        let header = FrameHeader::decode(frame.first_chunk().unwrap(), &limits).unwrap();
        assert_eq!(header.total_len as usize, frame.len());
        frame[HEADER_BYTES..HEADER_BYTES + usize::from(header.head_len)].to_vec()
    }

    /// More methods and names than are remembered, with all that a head can hold, twice in the same order.
    #[test]
    fn a_head_from_memory_is_the_head_that_was_asked_for() {
        let now = rpc_core::Clock::system().now();
        let mut outgoing = Outgoing::default();
        for round in 0..2 {
            for (number, method) in (1_u32..).zip(&METHODS) {
                let mut context = Context::background();
                let caller = format!("caller {number}");
                context.set_names(&caller, "callee");
                context.narrow(Deadline::new(now + Duration::from_secs(9), Cause::Own));
                context.metadata_mut().insert("key", "value");
                let mut request = Request::new(method, context, "body".into());
                request.set_format(Format::Json);
                request.set_attachment(Bytes::from_static(b"attached"));
                let id = number << (3 * number) | round;
                let head = head_of(&mut outgoing, id, &request, now);
                let expected = RequestHead {
                    request_id: id,
                    timeout_ms: 9_000,
                    caller: caller.as_bytes(),
                    callee: b"callee",
                    func: b"/test.Echo/Echo",
                    has_metadata: true,
                    content_type: numbers::content_type(Format::Json),
                    attachment_size: 8,
                    ..RequestHead::default()
                };
                assert_eq!(RequestHead::decode(&head), Ok(expected));
                let mut written = Vec::new();
                expected.encode(request.context().metadata(), &mut written);
                assert_eq!(head, written, "the order of the fields");
            }
        }
        assert_eq!(outgoing.routes.len(), ROUTES_MAX);
    }

    #[test]
    fn the_longest_opening_fits() {
        let now = rpc_core::Clock::system().now();
        let mut context = Context::background();
        let at = now + Duration::from_secs(4_000_000);
        context.narrow(Deadline::new(at, Cause::Own));
        let mut request = Request::new(&METHODS[0], context, Body::new());
        request.set_exchange(Exchange::OneWay);
        let head = head_of(&mut Outgoing::default(), u32::MAX, &request, now);
        let head = RequestHead::decode(&head).unwrap();
        assert_eq!(
            (head.request_id, head.timeout_ms, head.call_type),
            (u32::MAX, Deadline::MILLIS_MAX, 1)
        );
    }
}
