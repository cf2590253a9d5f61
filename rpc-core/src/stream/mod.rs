//! Streams: many messages in one call, either way.
//!
//! A stream is a call like any other: a [`Request`](crate::Request) that carries a [`Pipe`] beside its (empty) body, and
//! that lasts until the stream is over. So filters see a stream open, which is when they are called, and close, which is
//! when what they called is done; deadlines, permits and cancellation are those of calls.
//!
//! A handler is given an [`Inbound`] for the messages of its caller and an [`Outbound`] for its own, or one of the two if
//! the method streams one way only. A generated client gives a [`StreamCall`], and opening that the same handles. Reading
//! and writing are futures that any executor may poll, and that plain threads wait for; a message for which there is no
//! room waits, and so does who sends it.
//!
//! ```
//! use rpc_core::stream::{Inbound, Outbound};
//! use rpc_core::{Raw, Status};
//!
//! /// A handler: says twice what it hears, until its caller has said all.
//! async fn chat(mut inbound: Inbound<Raw>, mut outbound: Outbound<Raw>) -> Result<(), Status> {
//!     while let Some(word) = inbound.next().await? {
//!         outbound.send(word.clone()).await?;
//!         outbound.send(word).await?;
//!     }
//!     Ok(())
//! }
//! # use rpc_core::stream::{Duplex, StreamCall};
//! # use rpc_core::{stub, Idempotency, MethodDescriptor, Request, Response, Service, Shape};
//! # static CHAT: MethodDescriptor = MethodDescriptor {
//! #     index: 0, name: "Chat", path: "/demo.Parrot/Chat", alias: None, service: "demo.Parrot",
//! #     idempotency: Idempotency::Unknown,
//! #     shape: Shape::Duplex,
//! #     request: rpc_core::MessageType::UNKNOWN,
//! #     reply: rpc_core::MessageType::UNKNOWN,
//! # };
//! # struct Parrot;
//! # impl Service for Parrot {
//! #     async fn call(&self, request: Request) -> Result<Response, Status> {
//! #         let (call, inbound, outbound) = stub::IncomingStream::duplex(request)?;
//! #         let result = chat(inbound, outbound).await;
//! #         call.close(result)
//! #     }
//! # }
//! # struct Client;
//! # impl Client {
//! #     fn chat(&self) -> StreamCall<Parrot, Duplex<Raw, Raw>> {
//! #         StreamCall::duplex(Parrot, &CHAT)
//! #     }
//! # }
//! # let client = Client;
//!
//! // A caller, on a plain thread. On an executor it is `.await` in place of `.wait()`.
//! let (mut outbound, mut inbound) = client.chat().open().wait()?;
//! outbound.send(Raw("hello".into())).wait()?;
//! drop(outbound); // that is all from this side
//! let mut heard = Vec::new();
//! while let Some(word) = inbound.next().wait()? {
//!     heard.push(word.0);
//! }
//! assert_eq!(heard, ["hello", "hello"]);
//! # Ok::<(), Status>(())
//! ```
//!
//! Who sends without ever reading may wait for ever: the other end, which waits for its own messages to be read, stops
//! reading too. Both halves of a [`Duplex`] belong on two threads, into two tasks, or into one that takes turns.
//!
//! # Layout
//!
//! * `inbound`, `outbound` – the ends with types: [`Inbound`], [`Outbound`]
//! * `call` – [`StreamCall`]: a stream to be opened, and what opening gives
//! * `upload` – [`Upload`]: many messages there, one back
//! * `running` – the call behind a caller's handles, which they share
//! * `lane` – one direction: [`Writer`], [`Reader`]
//! * `terms` – how the messages of one direction are written: [`Terms`], [`Packing`]

mod call;
mod inbound;
mod lane;
mod outbound;
mod running;
mod terms;
mod upload;

pub use call::{ClientStream, Duplex, Kind, Opening, ServerStream, StreamCall};
pub use inbound::{Inbound, Messages, Next};
pub use lane::{Reader, Unread, Writer};
pub(crate) use outbound::encoded;
pub use outbound::{Outbound, Sending};
pub use terms::{Packing, Terms};
pub use upload::{Finish, Upload};

/// One end of a stream within this process: what the other end writes comes out of `reader`, and what goes into `writer`
/// the other end reads.
#[derive(Debug)]
pub struct Pipe {
    /// What the other end says.
    pub reader: Reader,
    /// What this end says.
    pub writer: Writer,
}

impl Pipe {
    /// Both ends of a new stream.
    pub fn pair() -> (Self, Self) {
        let (one_writes, other_reads) = lane::lane();
        let (other_writes, one_reads) = lane::lane();
        let one = Self {
            reader: one_reads,
            writer: one_writes,
        };
        let other = Self {
            reader: other_reads,
            writer: other_writes,
        };
        (one, other)
    }
}
