//! The vocabulary of Tern: what a service, a filter, a message, a context and a status are.
//!
//! Stubs, filters and handlers depend on this crate alone, so it changes least. It does no I/O, parses nothing and
//! asks the system for the time in one file only.
//!
//! ```
//! use rpc_core::{Context, Request, Response, Service, Status};
//!
//! /// Answers every request with its own body.
//! struct Mirror;
//!
//! impl Service for Mirror {
//!     async fn call(&self, request: Request) -> Result<Response, Status> {
//!         Ok(Response::new(request.into_body()))
//!     }
//! }
//! ```
//!
//! # Layout
//!
//! * [`service`] – [`Service`] and its pointer form [`BoxService`]
//! * [`filter`] – [`Filter`], how filters are put together, and [`DynFilter`]
//! * [`message`] – [`Request`], [`Response`], and [`Message`]: what can be written as a body
//! * [`body`] – [`Body`]: the bytes of a message on their way
//! * [`large_field`] – what of a message need not be copied to be sent
//! * [`serialize`] – formats beside protobuf: [`Serialization`], and the table of them
//! * [`metadata`] – ordered keys to bytes, read on first use
//! * [`chain`] – what belongs to a whole chain of calls: test traffic, environment, priority
//! * [`forwarding`] – what of its caller's metadata a call takes along
//! * [`context`] – what a call carries: deadline, metadata, peer; [`Context::child`] narrows it
//! * [`identity`] – [`PeerIdentity`]: who the other end has proved to be
//! * [`scope`] – where a call takes place: its connection, and the loop of that
//! * [`deadline`] – the earliest of the times that bound a call, and whose it was
//! * [`status`] – [`Status`], [`Code`], [`Origin`]
//! * [`stream`] – many messages in one call: [`stream::Inbound`], [`stream::Outbound`], and the [`stream::Pipe`] below
//! * [`method`] – static tables that describe services
//! * [`mount`] – a service with the choices made where it is mounted: pool or loop, time-outs
//! * [`call`] – [`Call`]: lazy, `.await` or `.wait()`
//! * [`spawn`] – [`Job`], [`Spawn`], [`Executor`] and permits: what a worker pool is
//! * [`address`], [`endpoint`], [`discover`] – where a service answers, and who says so
//! * [`observe`] – [`Observer`]: what happened, as plain events
//! * [`time`] – [`Clock`] and [`Timer`]: the only file that asks the system for the time
//! * [`parties`] – who calls whom
//! * [`park`] – waiting for a future on a plain thread
//! * [`stub`] – what generated code calls

pub mod address;
pub mod body;
pub mod call;
pub mod chain;
pub mod context;
pub mod deadline;
pub mod discover;
pub mod endpoint;
pub mod filter;
pub mod forwarding;
pub mod identity;
pub mod large_field;
pub mod message;
pub mod metadata;
pub mod method;
pub mod mount;
pub mod observe;
pub mod park;
pub mod parties;
pub mod scope;
pub mod serialize;
pub mod service;
pub mod spawn;
pub mod status;
pub mod stream;
pub mod stub;
pub mod time;

pub use bytes::Bytes;

pub use address::Address;
pub use body::Body;
pub use call::Call;
pub use context::{Context, Marks, Shell};
pub use deadline::{Cause, Deadline};
pub use discover::Resolve;
pub use endpoint::{Endpoint, EndpointId};
pub use filter::{DynFilter, Filter};
pub use forwarding::Forwarding;
pub use identity::PeerIdentity;
pub use message::{Compression, Format, Message, Raw, Request, Response};
pub use metadata::Metadata;
pub use method::{Idempotency, MethodDescriptor, ServiceDescriptor, Shape};
pub use mount::Mount;
pub use observe::{Event, Move, Observer};
pub use parties::Parties;
pub use scope::{Scope, Site};
pub use serialize::{MessageType, Serialization};
pub use service::{BoxService, Service};
pub use spawn::{Claim, Executor, Job, Permit, Permits, Spawn, Work};
pub use status::{Code, Origin, Status};
pub use time::{Clock, ManualClock, Timer};

/// Includes the stubs that the build script generated for one proto package.
///
/// ```ignore
/// mod pb { rpc_core::include_stubs!("demo.greeter"); }
/// ```
#[macro_export]
macro_rules! include_stubs {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
