//! What may come on a stream at which time, as two automata: one for each end.
//!
//! ```text
//!   answering end                                        asking end
//!
//!   INIT, accepted                                       open, INIT sent
//!        │                                                    │
//!        ▼         CLOSE                                      ▼        INIT, accepted         half-closed by us
//!      Open ─────────────────▶ RemoteClosed                InitSent ───────────────▶ Open ─────────────────▶ LocalClosed
//!        │  DATA, FEEDBACK          │  FEEDBACK               │                       │  DATA, FEEDBACK           │
//!        │                          │                         │ INIT, refused         │                           │
//!        └── RESET ──▶ over ◀───────┘                         └── CLOSE, RESET ──▶ over ◀── CLOSE, RESET ─────────┘
//! ```
//!
//! An arrow that is not drawn is a violation: the stream is reset, the connection lives. What we do ourselves – answer,
//! reset, cancel – ends a stream in every state, and is not asked here.

/// What the peer sends on a stream that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// An INIT that asks, or one that accepts.
    Init,
    /// An INIT that refuses; to an answering end the same as one that asks.
    Refusal,
    Data,
    Feedback,
    /// A CLOSE in order.
    Close,
    /// A CLOSE that is not.
    Reset,
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<S> {
    /// It may come, and this is the state then.
    To(S),
    /// The stream is over.
    Over,
    /// It may not come now.
    Violation,
}

/// A stream at its answering end. One that is asked for and not accepted yet has no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerState {
    /// Both directions are open.
    Open,
    /// The peer has said all that it had to say.
    RemoteClosed,
}

impl ServerState {
    pub(crate) fn on(self, incoming: Incoming) -> Step<Self> {
        match (self, incoming) {
            (Self::Open, Incoming::Data) => Step::To(Self::Open),
            (Self::Open, Incoming::Close) => Step::To(Self::RemoteClosed),
            (state, Incoming::Feedback) => Step::To(state),
            (_, Incoming::Reset) => Step::Over,
            (_, Incoming::Init | Incoming::Refusal)
            | (Self::RemoteClosed, Incoming::Data | Incoming::Close) => Step::Violation,
        }
    }
}

/// A stream at its asking end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// The server has not agreed yet.
    InitSent,
    /// Both directions are open.
    Open,
    /// We have said all that we had to say.
    LocalClosed,
}

impl ClientState {
    pub(crate) fn on(self, incoming: Incoming) -> Step<Self> {
        match (self, incoming) {
            (Self::InitSent, Incoming::Init) => Step::To(Self::Open),
            (Self::InitSent, Incoming::Refusal) | (_, Incoming::Close | Incoming::Reset) => {
                Step::Over
            }
            (Self::Open | Self::LocalClosed, Incoming::Data | Incoming::Feedback) => Step::To(self),
            (Self::InitSent, Incoming::Data | Incoming::Feedback)
            | (_, Incoming::Init | Incoming::Refusal) => Step::Violation,
        }
    }

    /// Whether messages may be sent.
    pub(crate) fn may_send(self) -> bool {
        self == Self::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Incoming; 6] = [
        Incoming::Init,
        Incoming::Refusal,
        Incoming::Data,
        Incoming::Feedback,
        Incoming::Close,
        Incoming::Reset,
    ];

    #[test]
    fn an_answering_end_takes_what_its_table_says() {
        use ServerState::{Open, RemoteClosed};
        use Step::{Over, To, Violation};
        let table = [
            (
                Open,
                [
                    Violation,
                    Violation,
                    To(Open),
                    To(Open),
                    To(RemoteClosed),
                    Over,
                ],
            ),
            (
                RemoteClosed,
                [
                    Violation,
                    Violation,
                    Violation,
                    To(RemoteClosed),
                    Violation,
                    Over,
                ],
            ),
        ];
        for (state, steps) in table {
            assert_eq!(ALL.map(|incoming| state.on(incoming)), steps, "{state:?}");
        }
    }

    #[test]
    fn an_asking_end_takes_what_its_table_says() {
        use ClientState::{InitSent, LocalClosed, Open};
        use Step::{Over, To, Violation};
        let table = [
            (InitSent, [To(Open), Over, Violation, Violation, Over, Over]),
            (Open, [Violation, Violation, To(Open), To(Open), Over, Over]),
            (
                LocalClosed,
                [
                    Violation,
                    Violation,
                    To(LocalClosed),
                    To(LocalClosed),
                    Over,
                    Over,
                ],
            ),
        ];
        for (state, steps) in table {
            assert_eq!(ALL.map(|incoming| state.on(incoming)), steps, "{state:?}");
        }
    }
}
