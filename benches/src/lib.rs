//! Tern measured: against a bare loop, against gRPC stacks, and piece by piece.
//!
//! ```text
//! cargo bench --bench compare -- --quick              one number for each contestant, in a minute
//! cargo bench --bench compare -- --gates              what Tern has promised itself: held or missed
//! cargo bench --bench compare -- --shape 8x64         one shape of load, properly
//! cargo bench --bench compare -- --report REPORT.md   everything, with latency against load
//! cargo bench --bench client                          the asking end against tonic's
//! cargo bench --bench pools                           does a slow pool hold up a fast one?
//! cargo bench --bench scaling                         with more connections, calls, bytes, loops, workers
//! cargo bench --bench micro                           the pieces
//! cargo test -p tern-benches --release                allocations, system calls, and that all answer rightly
//! ```
//!
//! Servers are processes of their own, on the first CPU; the load comes from the second. All contestants answer the
//! same client, so what differs is the server. The figure that survives a shared machine is the CPU time that the
//! server takes per request, as a ratio to another contestant **of the same run**.
//!
//! Peers that are not part of this package are in `peers/`: each is built when a run wants it, and left out with a
//! reason where it cannot be.
//!
//! # Layout
//!
//! * [`compare`] – a run: who takes part, what is measured, what is said about it
//! * [`gates`] – what Tern has promised itself
//! * [`contestant`] – who is compared, and how each is started; [`versions`] – of what exactly
//! * [`cell`] – a shape of load with a size of payload
//! * [`ask`] – the asking ends that are measured themselves
//! * [`load`] – the client: closed and open loop, five protocols, every answer checked
//! * [`process`] – a server process: its CPU time, memory and system calls
//! * [`machine`] – the tools that the machine may or may not have
//! * [`figures`] – medians and how far runs lie apart
//! * [`report`] – tables in Markdown, latency against load as SVG
//! * [`rotation`] – the same number of calls on however many connections
//! * [`steps`] – the drivers without sockets, for whoever counts instructions
//! * [`echo`] – the service; [`framework`] – what a framework does around it

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "measurements: figures of nine digits become floating point and back"
)]

pub mod ask;
pub mod cell;
pub mod compare;
pub mod contestant;
pub mod echo;
pub mod figures;
pub mod framework;
pub mod gates;
pub mod load;
pub mod machine;
pub mod process;
pub mod report;
pub mod rotation;
pub mod steps;
pub mod versions;
