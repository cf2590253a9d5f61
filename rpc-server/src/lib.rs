//! The answering end of Tern: a server that embeds services, runs their handlers on pools or in place, answers in time,
//! and leaves without losing a call.
//!
//! ```no_run
//! use rpc_core::{Context, Mount, Service, Status};
//! use rpc_server::{Server, ServeError, terminate};
//!
//! fn serve<S: Service + 'static>(greeter: Mount<S>) -> Result<(), ServeError> {
//!     Server::builder().service(greeter).bind("0.0.0.0:8000")?.run_until(terminate())
//! }
//! ```
//!
//! # Layout
//!
//! * [`builder`] – what a server serves, and how: [`Server::builder`]
//! * [`server`] – [`Server`], bound, and [`Running`], the threads that serve
//! * [`router`] – [`Router`]: from a path to its service; `routes` – the same for one loop
//! * [`driver`] – the answering end of one event loop: what is told to it
//! * `desk` – where its requests are served: admission, deadlines and answers
//! * `dispatch` – from a request to a running handler; `in_place`, `on_pool` – on the loop, on a pool
//! * `slot`, `report` – where its future lives, and how its end reaches the loop
//! * `bodies` – requests unpacked behind the filters, responses packed before them
//! * `attempt` – futures that contain what handlers do
//! * `place` – methods that find their own place, on the pool or on the loop
//! * `preempted` – time that the system has taken from a thread
//! * `doors` – the sockets that it listens on
//! * `drain` – how a server leaves, phase by phase
//! * `calls`, `shared` – the calls of one loop, and what all loops of a server share
//! * [`pool`] – [`Pool`]: threads that may be blocked
//! * [`stop`] – what tells a server to end: [`terminate`]
//! * `tls` – how a server proves who it is, by the feature of that name
//! * [`config`] – [`Config`]: settings and their defaults
//! * [`error`] – [`ServeError`]: what keeps a server from serving

mod attempt;
mod bodies;
pub mod builder;
mod calls;
pub mod config;
mod desk;
mod dispatch;
mod doors;
mod drain;
pub mod driver;
pub mod error;
mod in_place;
mod on_pool;
mod place;
pub mod pool;
mod preempted;
mod report;
pub mod router;
mod routes;
pub mod server;
mod shared;
mod slot;
pub mod stop;
mod streams;

pub use builder::ServerBuilder;
pub use config::Config;
pub use error::ServeError;
pub use pool::{Pool, PoolBuilder};
pub use router::Router;
#[cfg(feature = "tls")]
pub use rpc_net::tls;
pub use server::{Running, Server, Stopper};
pub use stop::{StopSignal, Terminate, terminate};
