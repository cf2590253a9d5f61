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
//! * [`message`] – [`Request`], [`Response`], and [`Message`]: what a body can be
//! * [`metadata`] – ordered keys to bytes, read on first use
//! * [`context`] – what a call carries: deadline, metadata, peer; [`Context::child`] narrows it
//! * [`deadline`] – the earliest of the times that bound a call, and whose it was
//! * [`status`] – [`Status`], [`Code`], [`Origin`]
//! * [`method`] – static tables that describe services
//! * [`mount`] – a service with the choices made where it is mounted: pool or loop, time-outs
//! * [`call`] – [`Call`]: lazy, `.await` or `.wait()`
//! * [`spawn`] – [`Job`], [`Spawn`], [`Executor`] and permits: what a worker pool is
//! * [`address`], [`endpoint`], [`discover`] – where a service answers, and who says so
//! * [`observe`] – [`Observer`]: what happened, as plain events
//! * [`time`] – [`Clock`] and [`Timer`]: the only file that asks the system for the time
//! * [`park`] – waiting for a future on a plain thread
//! * [`stub`] – what generated code calls

pub mod address;
pub mod call;
pub mod context;
pub mod deadline;
pub mod discover;
pub mod endpoint;
pub mod filter;
pub mod message;
pub mod metadata;
pub mod method;
pub mod mount;
pub mod observe;
pub mod park;
pub mod service;
pub mod spawn;
pub mod status;
pub mod stub;
pub mod time;

pub use bytes::Bytes;

pub use address::Address;
pub use call::Call;
pub use context::{Context, Marks, Scope, Shell, Site};
pub use deadline::{Cause, Deadline};
pub use discover::Resolve;
pub use endpoint::{Endpoint, EndpointId};
pub use filter::{DynFilter, Filter};
pub use message::{Compression, Format, Message, Raw, Request, Response};
pub use metadata::Metadata;
pub use method::{Idempotency, MethodDescriptor, ServiceDescriptor};
pub use mount::Mount;
pub use observe::{Event, Move, Observer};
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
