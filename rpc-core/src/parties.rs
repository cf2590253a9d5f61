//! [`Parties`]: who calls whom.

/// Who calls whom, by the names that services have among each other, `trpc.app.server.service`: what a channel says of all
/// its calls. It is shared and not copied for each of them, and whoever writes it knows it again without comparing text
/// (`benches/benches/client.rs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    caller: String,
    callee: String,
}

impl Parties {
    /// That `caller` calls `callee`.
    pub fn new(caller: impl Into<String>, callee: impl Into<String>) -> Self {
        Self {
            caller: caller.into(),
            callee: callee.into(),
        }
    }

    /// Who calls.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// Who is called.
    pub fn callee(&self) -> &str {
        &self.callee
    }
}
