//! Who is under test, and what it offers.

use crate::case::{Case, Role};
use crate::wire::Address;

/// What the kit can be told that a peer lacks; a case says which of them it needs.
pub const FEATURES: &[(&str, &str)] = &[
    ("json", "bodies in JSON (content_type 2)"),
    (
        "raw",
        "bodies of the application's own bytes (content_type 4)",
    ),
    ("snappy-stream", "content_encoding 4"),
    ("lz4-frame", "content_encoding 6"),
    ("lz4-block", "content_encoding 7"),
    ("one-way", "calls that nobody answers"),
    ("attachments", "attachments in requests"),
    ("reply-attachments", "attachments in answers"),
    ("streams", "streams of all shapes"),
    (
        "unary-beside-streams",
        "calls on a connection that has streams",
    ),
    (
        "multiplexed",
        "a client that has many calls on one connection",
    ),
    (
        "framework-codes",
        "handlers that fail with codes of the framework",
    ),
];

/// A server, a client, or both.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// What known disagreements call it: an implementation, and perhaps a mode.
    pub name: String,
    /// Where its server listens.
    pub server: Option<Address>,
    /// Where its streams are served, if that is somewhere else.
    pub streams: Option<Address>,
    /// The command of its client, word by word.
    pub client: Vec<String>,
    /// Features that it does not have, by their names in [`FEATURES`].
    pub lacks: Vec<String>,
    /// Told to cases as `$run`, so that what one run leaves behind does not confuse the next.
    pub run: String,
}

impl Peer {
    /// Whether this case can be played with it at all.
    pub fn plays(&self, role: Role) -> bool {
        match role {
            Role::Server => self.server.is_some(),
            Role::Client => !self.client.is_empty(),
        }
    }

    /// What `case` needs and this peer does not offer.
    pub fn missing<'a>(&self, case: &'a Case) -> Option<&'a str> {
        let mut needs = case.needs.iter();
        needs
            .find(|need| self.lacks.contains(need))
            .map(String::as_str)
    }

    /// Where the server for `case` listens.
    ///
    /// # Errors
    ///
    /// When this peer has no server.
    pub fn address_for(&self, case: &Case) -> Result<&Address, String> {
        let streams = self.streams.as_ref();
        let streams = streams.filter(|_| case.needs.iter().any(|need| need == "streams"));
        streams
            .or(self.server.as_ref())
            .ok_or_else(|| format!("{} has no server", self.name))
    }
}
