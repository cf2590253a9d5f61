//! [`Parties`]: who calls whom, as a channel says it; and `Names`, as a request does.

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

/// Who calls whom, one name behind the other. What comes over a wire need not be text; only who asks pays for finding
/// that out.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Both, if they fit here: most do, and cost no allocation.
    short: [u8; NAMES_SHORT],
    /// Both, if they do not.
    long: Vec<u8>,
    caller_len: usize,
    len: usize,
}

/// Two names of the length that is common among services, `trpc.app.server.Service`, and some more.
const NAMES_SHORT: usize = 96;

impl Default for Names {
    fn default() -> Self {
        Self {
            short: [0; NAMES_SHORT],
            long: Vec::new(),
            caller_len: 0,
            len: 0,
        }
    }
}

impl Names {
    pub(crate) fn set(&mut self, caller: &[u8], callee: &[u8]) {
        self.caller_len = caller.len();
        self.len = caller.len().saturating_add(callee.len());
        let halves = self.short.split_at_mut_checked(caller.len());
        let places = halves.and_then(|(first, rest)| Some((first, rest.get_mut(..callee.len())?)));
        if let Some((first, second)) = places {
            first.copy_from_slice(caller);
            second.copy_from_slice(callee);
            return;
        }
        self.long = [caller, callee].concat();
    }

    pub(crate) fn clear(&mut self) {
        self.caller_len = 0;
        self.len = 0;
        if !self.long.is_empty() {
            self.long = Vec::new();
        }
    }

    pub(crate) fn caller(&self) -> &str {
        text(self.both().get(..self.caller_len))
    }

    pub(crate) fn callee(&self) -> &str {
        text(self.both().get(self.caller_len..self.len))
    }

    /// Both, text or not.
    pub(crate) fn bytes(&self) -> (&[u8], &[u8]) {
        let both = self.both().get(..self.len).unwrap_or_default();
        both.split_at_checked(self.caller_len).unwrap_or_default()
    }

    fn both(&self) -> &[u8] {
        if self.len <= NAMES_SHORT {
            &self.short
        } else {
            &self.long
        }
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}
