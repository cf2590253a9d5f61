//! What happened, as one number: two runs of the same seed have the same.

use std::time::Instant;

use super::net::Cargo;

/// Sums up what happens in its order, and tells it to whoever debugs a seed.
#[derive(Debug)]
pub(super) struct Trace {
    sum: u64,
    start: Option<Instant>,
    is_told: bool,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            sum: 0xcbf2_9ce4_8422_2325,
            start: None,
            is_told: std::env::var_os("TERN_TRACE").is_some(),
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Something came to an end of a connection.
    pub(super) fn arrival(&mut self, now: Instant, end: u64, cargo: &Cargo) {
        let (what, bytes) = match cargo {
            Cargo::Data(bytes) => (1, &bytes[..]),
            Cargo::Fin => (2, &[][..]),
            Cargo::Reset => (3, &[][..]),
        };
        self.note(now, what, end);
        for byte in bytes {
            self.add(u64::from(*byte));
        }
        if self.is_told {
            self.tell(now, format_args!("end {end}: {cargo:?}"));
        }
    }

    /// Something happened that has a number.
    pub(super) fn step(&mut self, now: Instant, what: &'static str, number: u64) {
        self.note(now, what.len() as u64 + 16, number);
        if self.is_told {
            self.tell(now, format_args!("{what} {number}"));
        }
    }

    fn note(&mut self, now: Instant, what: u64, number: u64) {
        let start = *self.start.get_or_insert(now);
        let nanos = now.saturating_duration_since(start).as_nanos();
        self.add(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.add(what);
        self.add(number);
    }

    /// Fowler, Noll and Vo's hash, by words.
    fn add(&mut self, word: u64) {
        self.sum = (self.sum ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn tell(&self, now: Instant, what: std::fmt::Arguments<'_>) {
        let start = self.start.unwrap_or(now);
        let micros = now.saturating_duration_since(start).as_micros();
        eprintln!("{:>10}.{:03} ms  {what}", micros / 1000, micros % 1000);
    }
}
