//! The drivers step by step: real engine, real drivers, generated stubs, and neither socket nor second thread.
//!
//! A step is one turn of a loop as load makes it: requests are there on each connection, the loop takes its turn, every
//! answer is checked. Time is moved by hand. So the same number of steps takes the same number of instructions, and
//! `cargo xtask instructions` can count them where clocks only tell how busy the machine is.
//!
//! # Layout
//!
//! * `server`, `client` – each end, with what stands in for the other
//! * `memory` – [`Memory`]: the wire between them

mod client;
mod memory;
mod server;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use memory::Memory;

/// What is stepped through.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// How lists call it: who, payload, connections x calls in flight on each.
    pub name: &'static str,
    end: End,
    payload: usize,
    connections: usize,
    in_flight: usize,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Server(Serving),
    Client,
}

/// How the server runs its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    /// In place.
    Inline,
    /// In place, behind filters, admission, deadline and metrics.
    Framework,
    /// On a pool, whose jobs run between two turns.
    Pool,
}

/// All of them.
pub const CASES: &[Case] = &[
    case("inline-32-8x64", End::Server(Serving::Inline), 32, 8, 64),
    case("inline-32-1x1", End::Server(Serving::Inline), 32, 1, 1),
    case(
        "inline-1024-8x64",
        End::Server(Serving::Inline),
        1024,
        8,
        64,
    ),
    case(
        "framework-32-8x64",
        End::Server(Serving::Framework),
        32,
        8,
        64,
    ),
    case(
        "framework-1024-8x64",
        End::Server(Serving::Framework),
        1024,
        8,
        64,
    ),
    case("pool-32-8x64", End::Server(Serving::Pool), 32, 8, 64),
    case("client-32-1x64", End::Client, 32, 1, 64),
];

const fn case(
    name: &'static str,
    end: End,
    payload: usize,
    connections: usize,
    in_flight: usize,
) -> Case {
    Case {
        name,
        end,
        payload,
        connections,
        in_flight,
    }
}

/// How far time goes with each step: about what a busy loop takes for it.
const STEP: Duration = Duration::from_micros(100);

/// One end that is ready to take steps.
pub trait Steps: fmt::Debug {
    /// Takes one, and checks every answer.
    ///
    /// # Errors
    ///
    /// When an answer is missing, or not the one expected.
    fn step(&mut self) -> Result<(), Box<dyn Error>>;
}

impl Case {
    /// The case of that name.
    pub fn find(name: &str) -> Option<Self> {
        CASES.iter().find(|case| case.name == name).copied()
    }

    /// Makes its end, with its connections.
    ///
    /// # Errors
    ///
    /// When the other end does not get what it expects.
    pub fn start(self) -> Result<Box<dyn Steps>, Box<dyn Error>> {
        Ok(match self.end {
            End::Server(serving) => Box::new(server::Stepped::new(self, serving)?),
            End::Client => Box::new(client::Stepped::new(self)?),
        })
    }

    /// Requests of one step.
    pub const fn requests(self) -> usize {
        self.connections * self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_takes_its_steps() {
        for case in CASES {
            let mut steps = case.start().unwrap();
            for _ in 0..3 {
                steps
                    .step()
                    .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
        }
    }
}
