//! The conformance kit of tRPC: plays client against any server and server against any client, from data files, and
//! judges what comes back by the bytes alone.
//!
//! No code of Tern is in it, so that it cannot share a mistake with what it judges. `README.md` tells how a peer in any
//! language takes part.
//!
//! # Layout
//!
//! * [`case`], [`template`] – cases, and the tables that they are made from
//! * [`pattern`], [`blob`] – what may come back
//! * [`frame`], [`protobuf`], [`schema`], [`pack`] – bytes to JSON and back
//! * [`vectors`] – the golden frames of the specification
//! * [`wire`], [`driver`] – the server and the client under test
//! * [`time`] – the only file that asks the system for the time
//! * [`peer`], [`stage`], [`script`], [`flow`], [`run`], [`report`] – who is judged, how, and what came of it

pub mod blob;
pub mod case;
pub mod driver;
pub mod flow;
pub mod frame;
pub mod pack;
pub mod pattern;
pub mod peer;
pub mod protobuf;
pub mod report;
pub mod run;
pub mod schema;
pub mod script;
pub mod stage;
pub mod template;
pub mod time;
pub mod vectors;
pub mod wire;
