//! [`Zero`]: the point from which an atomic counts its nanoseconds.

use std::sync::OnceLock;
use std::time::Instant;

/// The first time that was ever seen. An [`Instant`] does not fit into an atomic; the nanoseconds since another one do,
/// for 584 years.
#[derive(Debug, Default)]
pub(crate) struct Zero(OnceLock<Instant>);

impl Zero {
    /// The nanoseconds from the first time seen to `now`; 0 if another thread brought a later time first.
    pub(crate) fn nanos_until(&self, now: Instant) -> u64 {
        let zero = *self.0.get_or_init(|| now);
        u64::try_from(now.saturating_duration_since(zero).as_nanos()).unwrap_or(u64::MAX)
    }
}
