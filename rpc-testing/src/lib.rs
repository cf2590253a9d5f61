#![forbid(unsafe_code)]
//! Tests of services without ports, sleeps and luck.
//!
//! For a handler [`Loopback`] is enough: a router as a channel. For those who call, [`Mock`] is a service that answers as
//! the test says. And [`Sim`] runs the real machines of both ends over a virtual wire, in virtual time: what takes
//! seconds takes none, and what happens once in a year happens on request and again for the same seed.
//!
//! ```
//! use std::time::Duration;
//! use rpc_core::{
//!     Call, Code, Context, Idempotency, MethodDescriptor, Mount, Raw, Request, Response, Service, ServiceDescriptor,
//!     Shape, Status,
//! };
//! use rpc_server::Router;
//! use rpc_testing::{Loopback, Sim};
//!
//! # static SLEEPER: ServiceDescriptor = ServiceDescriptor {
//! #     name: "demo.Sleeper",
//! #     methods: &[MethodDescriptor {
//! #         index: 0,
//! #         name: "Sleep",
//! #         path: "/demo.Sleeper/Sleep",
//! #         alias: None,
//! #         service: "demo.Sleeper",
//! #         idempotency: Idempotency::Unknown,
//! #         shape: Shape::Unary,
//! #         request: rpc_core::MessageType::UNKNOWN,
//! #         reply: rpc_core::MessageType::UNKNOWN,
//! #     }],
//! # };
//! /// Sleeps for 200 ms, then answers.
//! struct Sleepy;
//!
//! impl Service for Sleepy {
//!     async fn call(&self, request: Request) -> Result<Response, Status> {
//!         request.context().sleep(Duration::from_millis(200)).await;
//!         Ok(Response::new(request.into_body()))
//!     }
//! }
//!
//! # fn sleep<S: Service>(service: S) -> Call<S, Raw, Raw> {
//! #     Call::new(service, &SLEEPER.methods[0], Raw("hello".into()))
//! # }
//! let router = || Router::new().mount(Mount::new(&SLEEPER, Sleepy));
//!
//! // In real time, and without a port:
//! assert_eq!(sleep(Loopback::new(router())).wait().unwrap().0, "hello");
//!
//! // In no time, over wires:
//! let mut sim = Sim::seeded(7).latency(Duration::from_millis(1)..Duration::from_millis(5));
//! let server = sim.server(router());
//! let channel = sim.client(server);
//! let call = sim.start(sleep(channel).timeout(Duration::from_millis(100)));
//! sim.advance(Duration::from_millis(99));
//! assert!(sim.result(&call).is_none());
//! sim.advance(Duration::from_millis(2));
//! assert_eq!(sim.result(&call).unwrap().unwrap_err().code(), Code::DeadlineExceeded);
//! ```
//!
//! # Layout
//!
//! * [`loopback`] – [`Loopback`]: a router as a channel
//! * [`mock`] – [`Mock`]: a service that answers as the test says, and remembers what it was asked
//! * [`sim`] – [`Sim`]: both ends on a virtual wire, in virtual time
//! * `clock` – a timer for calls that pass no event loop

mod clock;
pub mod loopback;
pub mod mock;
pub mod sim;

pub use loopback::Loopback;
pub use mock::Mock;
pub use sim::{Fault, Process, Sim, SimClient, SimServer, Started};
