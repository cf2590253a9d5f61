//! Tern measured: against a bare loop, against gRPC stacks, and piece by piece.
//!
//! ```text
//! cargo bench --bench compare -- --quick              one number for each contestant, in a minute
//! cargo bench --bench compare -- --shape 8x64         one shape of load, properly
//! cargo bench --bench compare -- --report REPORT.md   everything, with latency against load
//! cargo bench --bench client                          the asking end against tonic's
//! cargo bench --bench pools                           does a slow pool hold up a fast one?
//! cargo bench --bench micro                           the pieces
//! cargo test -p tern-benches --release                allocations, and that every contestant answers rightly
//! ```
//!
//! Servers are processes of their own, on the first CPU; the load comes from the second. All contestants answer the
//! same client, so what differs is the server. The figure that survives a shared machine is the CPU time that the
//! server takes per request, as a ratio to another contestant **of the same run**.
//!
//! # Layout
//!
//! * [`load`] – the client: closed and open loop, three protocols, every answer checked
//! * [`ask`] – the asking ends that are measured themselves
//! * [`contestant`] – who is compared, and how each is started
//! * [`process`] – a server process: its CPU time, memory and system calls
//! * [`machine`] – the tools that the machine may or may not have
//! * [`figures`] – medians and how far runs lie apart
//! * [`report`] – tables in Markdown, latency against load as SVG
//! * [`echo`] – the service; [`framework`] – what a framework does around it

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "measurements: figures of nine digits become floating point and back"
)]

pub mod ask;
pub mod contestant;
pub mod echo;
pub mod figures;
pub mod framework;
pub mod load;
pub mod machine;
pub mod process;
pub mod report;
