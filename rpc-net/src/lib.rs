//! The event loop of Tern: one for both ends.
//!
//! A loop is one thread with one poller. It moves bytes between sockets and the protocol machines of `rpc-codec`, and
//! tells a [`Driver`] what happened; it knows nothing of methods, services or policies. No crate but this one opens a
//! socket.
//!
//! The loop without its poller is the [`Engine`]: it runs on anything that is a [`Wire`], so the simulation drives the
//! very code that serves real sockets.
//!
//! # Layout
//!
//! * [`reactor`] – one thread, one poller: [`Seat`] and [`Reactor`]
//! * `busy_poll` – how long a loop that has nothing to do stays awake
//! * [`engine`] – what is done in a turn, on any [`Wire`]
//! * [`io`] – [`Driver`], and what it may do to its connections: [`Io`]
//! * [`slab`] – connections under keys that do not fit whoever comes after them, and what is known of each
//! * `pages` – the table behind that and the timers, which grows without copying
//! * `link` – one connection: its machine and its queues
//! * `buffer` – the read buffer that all connections share
//! * [`mailbox`], [`post`] – how other threads reach a loop: one wake-up for a batch
//! * [`wire`] – [`Wire`]: what carries the bytes of one connection; [`DatagramWire`] its frames
//! * [`timer`] – a timer wheel with cheap cancelling
//! * [`address`] – what the texts of addresses stand for
//! * [`listen`], [`socket`] – accepting, and the options of sockets
//! * `tls` – TLS between the wire and its socket, by the feature of that name
//! * [`stream`] – the socket of a connection, of TCP or of Unix
//! * [`udp`] – sockets that bring one frame in each datagram
//! * `unix` – names of Unix sockets: taken, replaced and given back
//! * [`signal`] – SIGTERM and SIGINT, as values

pub mod address;
mod buffer;
mod busy_poll;
pub mod engine;
pub mod io;
mod link;
pub mod listen;
pub mod mailbox;
mod pages;
pub mod post;
pub mod reactor;
pub mod signal;
pub mod slab;
pub mod socket;
pub mod stream;
pub mod timer;
#[cfg(feature = "tls")]
pub mod tls;
pub mod udp;
mod unix;
pub mod wire;

pub use engine::Engine;
pub use io::{Action, CloseReason, Driver, End, Io, IoOf, Origin};
pub use listen::{ListenOptions, Listener};
pub use post::Post;
pub use reactor::{Place, Reactor, Seat};
pub use slab::{ByLink, Key};
pub use socket::Sharing;
pub use stream::Stream;
pub use udp::DatagramListener;
pub use wire::{DatagramWire, Wire};
