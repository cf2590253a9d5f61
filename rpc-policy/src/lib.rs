//! Decisions without clocks or sockets: limits, back-off, balancing.
//!
//! A policy is a value. It is told the time and what happened, and answers with a verdict; it reads no clock, opens no
//! socket and never blocks. So both ends use the same ones, and a test or simulation turns their time by hand. The
//! filters in [`filter`] bring traffic to them.
//!
//! ```
//! use rpc_core::{Body, Code, Context, Filter, MethodDescriptor, Request, Response, Service, Status, park};
//! use rpc_policy::filter::RateLimit;
//!
//! # static METHOD: MethodDescriptor = MethodDescriptor {
//! #     index: 0,
//! #     name: "SayHello",
//! #     path: "/demo.greeter.Greeter/SayHello",
//! #     alias: None,
//! #     service: "demo.greeter.Greeter",
//! #     idempotency: rpc_core::Idempotency::Unknown,
//! #     shape: rpc_core::Shape::Unary,
//! #     request: rpc_core::MessageType::UNKNOWN,
//! #     reply: rpc_core::MessageType::UNKNOWN,
//! # };
//! struct Mirror;
//!
//! impl Service for Mirror {
//!     async fn call(&self, request: Request) -> Result<Response, Status> {
//!         Ok(Response::new(request.into_body()))
//!     }
//! }
//!
//! let limited = RateLimit::per_second(10).burst(1).around(Mirror);
//! let request = Request::new(&METHOD, Context::background(), Body::new());
//! let first = park::wait(limited.call(request.clone())).unwrap();
//! let second = park::wait(limited.call(request)).unwrap();
//! assert!(first.is_ok());
//! assert_eq!(second.unwrap_err().code(), Code::RateLimited);
//! ```
//!
//! # Layout
//!
//! * [`admit`] – [`Admit`]: whether a call comes in, decided from its head
//! * [`balance`] – [`Balancer`]: which endpoint gets a call
//! * [`filter`] – policies as filters
//! * [`token_bucket`] – so many a second
//! * [`concurrency`] – so many at once
//! * [`place`] – on the pool or on the loop, by how long a method takes
//! * [`retry`] – when to try again, and how often all in all
//! * [`random`] – numbers for jitter

pub mod admit;
pub mod balance;
pub mod concurrency;
pub mod filter;
pub mod place;
pub mod random;
pub mod retry;
pub mod token_bucket;
mod zero;

pub use admit::{Admit, Arrival, Guards};
pub use balance::Balancer;
pub use concurrency::ConcurrencyLimit;
pub use place::Placement;
pub use random::Random;
pub use retry::{Backoff, RetryBudget};
pub use token_bucket::TokenBucket;
