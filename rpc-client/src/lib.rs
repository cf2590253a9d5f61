//! The asking end of Tern: a channel to the endpoints of a service, which is itself a service.
//!
//! ```no_run
//! use rpc_client::{Channel, ChannelError, Fixed};
//!
//! fn main() -> Result<(), ChannelError> {
//!     let channel = Channel::builder("demo.greeter").resolve(Fixed::new(["10.0.0.7:8000", "10.0.0.8:8000"])).build()?;
//!     // let greeter = GreeterClient::new(channel);
//! #   drop(channel);
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//!
//! * [`builder`] – where a service answers, and what stands before it: [`Channel::builder`]
//! * [`channel`] – [`Channel`]: deadline, filters, transport
//! * [`driver`] – the asking end of one event loop: from a call to its completion
//! * `caller` – how a channel calls itself
//! * `peer`, `calls` – one endpoint with its connections, and the calls under way
//! * `pending` – a call that waits for its answer
//! * `streams` – calls that last
//! * `in_time` – what a result is once its deadline has passed
//! * [`local`] – [`LocalLoop`]: the loop on the caller's own thread
//! * [`fixed`] – [`Fixed`]: a list of addresses
//! * `tls` – whom a channel trusts, by the feature of that name
//! * [`config`] – [`Config`]: settings and their defaults
//! * [`error`] – [`ChannelError`]: what keeps a channel from being made

pub mod builder;
mod caller;
mod calls;
pub mod channel;
pub mod config;
pub mod driver;
pub mod error;
pub mod fixed;
mod in_time;
pub mod local;
mod peer;
mod pending;
mod streams;

pub use builder::ChannelBuilder;
pub use channel::Channel;
pub use config::Config;
pub use error::ChannelError;
pub use fixed::Fixed;
pub use local::LocalLoop;
#[cfg(feature = "tls")]
pub use rpc_net::tls;
