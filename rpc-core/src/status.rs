//! What went wrong, for the caller: [`Status`], [`Code`] and [`Origin`].

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// Why a call failed.
///
/// The framework's codes keep apart what happened at the answering end and what happened at the asking end, because
/// the two ask for different remedies: after [`Code::Overloaded`] another node may be tried, after
/// [`Code::ClientOverloaded`] it would not help. A service has its own numbers in [`Code::Service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request could not be read: its head, its compression or its message.
    Malformed,
    /// The response could not be written, for example because it is larger than a frame may be.
    Unencodable,
    /// The server has no such service.
    NoService,
    /// The server has no such method.
    NoMethod,
    /// The server's own time for the call ran out.
    ServerTimeout,
    /// The server had no room for the call and did not run it.
    Overloaded,
    /// A limit refused the call and did not run it.
    RateLimited,
    /// The time that the caller had given the server ran out.
    CallerTimeout,
    /// The server failed: a panic, or a state that should not be.
    Internal,
    /// The caller is not who it would have to be.
    Unauthenticated,
    /// The request was understood and its content refused.
    InvalidArgument,
    /// The call's own time ran out at the asking end.
    DeadlineExceeded,
    /// The time inherited from the call that this one was made for ran out at the asking end.
    InheritedDeadlineExceeded,
    /// No connection could be made.
    Unreachable,
    /// The request could not be written.
    RequestUnencodable,
    /// The response could not be read.
    ResponseMalformed,
    /// A limit at the asking end refused the call.
    ClientRateLimited,
    /// The asking end had no room for the call.
    ClientOverloaded,
    /// No endpoint to send the call to.
    NoEndpoint,
    /// The connection failed while the call was under way.
    ConnectionLost,
    /// The request was refused at the asking end before it was sent.
    RequestInvalid,
    /// The caller gave up.
    Cancelled,
    /// The connection ended, or sent nonsense, while the response was awaited.
    ResponseLost,
    /// Any other number that a peer's framework sent.
    Framework(i32),
    /// The service's own number. Never 0.
    Service(i32),
}

impl Code {
    /// Whether time ran out, wherever that was.
    pub fn is_timeout(self) -> bool {
        use Code::{CallerTimeout, DeadlineExceeded, InheritedDeadlineExceeded, ServerTimeout};
        matches!(
            self,
            ServerTimeout | CallerTimeout | DeadlineExceeded | InheritedDeadlineExceeded
        )
    }

    /// Whether the call was certainly not run, so that trying again elsewhere is safe for every method.
    pub fn is_unexecuted(self) -> bool {
        matches!(
            self,
            Code::Overloaded | Code::RateLimited | Code::Unreachable | Code::NoEndpoint
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Code::Malformed => "request malformed",
            Code::Unencodable => "response not encodable",
            Code::NoService => "no such service",
            Code::NoMethod => "no such method",
            Code::ServerTimeout => "server time-out",
            Code::Overloaded => "server overloaded",
            Code::RateLimited => "rate limited",
            Code::CallerTimeout => "caller's time ran out",
            Code::Internal => "internal error",
            Code::Unauthenticated => "unauthenticated",
            Code::InvalidArgument => "invalid argument",
            Code::DeadlineExceeded => "deadline exceeded",
            Code::InheritedDeadlineExceeded => "inherited deadline exceeded",
            Code::Unreachable => "unreachable",
            Code::RequestUnencodable => "request not encodable",
            Code::ResponseMalformed => "response malformed",
            Code::ClientRateLimited => "rate limited by the client",
            Code::ClientOverloaded => "client overloaded",
            Code::NoEndpoint => "no endpoint",
            Code::ConnectionLost => "connection lost",
            Code::RequestInvalid => "request refused by the client",
            Code::Cancelled => "cancelled",
            Code::ResponseLost => "response lost",
            Code::Framework(number) => return write!(f, "framework code {number}"),
            Code::Service(number) => return write!(f, "service code {number}"),
        };
        f.write_str(words)
    }
}

/// Where a [`Status`] was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In this process.
    Local,
    /// By the peer, which sent it.
    Remote,
}

/// A failed call: code, text, where it comes from, and a cause if there is one. One pointer wide, so that a
/// `Result<_, Status>` costs nothing while all goes well.
///
/// ```
/// use rpc_core::{Code, Status};
///
/// let status = Status::service(10_001, "balance too low");
/// assert_eq!(status.code(), Code::Service(10_001));
/// assert!(!status.is_retryable());
/// ```
#[derive(Clone)]
pub struct Status(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    origin: Origin,
    unexecuted: bool,
    message: Cow<'static, str>,
    source: Option<std::sync::Arc<dyn Error + Send + Sync>>,
}

impl Status {
    /// A status made here.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            origin: Origin::Local,
            unexecuted: code.is_unexecuted(),
            message: message.into(),
            source: None,
        }))
    }

    /// A failure of the service, with a number of its own. 0 would mean success on the wire and becomes
    /// [`Code::Internal`].
    pub fn service(number: i32, message: impl Into<Cow<'static, str>>) -> Self {
        match number {
            0 => Self::new(Code::Internal, message),
            number => Self::new(Code::Service(number), message),
        }
    }

    /// The request's content is refused.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The service is in a state that should not be.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The caller is not who it would have to be.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    /// There is no room; the call was not run.
    pub fn overloaded(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Overloaded, message)
    }

    /// A limit refuses; the call was not run.
    pub fn rate_limited(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::RateLimited, message)
    }

    /// The same status as sent by the peer. Of what a peer can report, only its own refusals say that the call was not
    /// run: that it found no endpoint, for example, is about a call that it made itself while it ran ours.
    pub fn from_remote(mut self) -> Self {
        self.0.origin = Origin::Remote;
        self.0.unexecuted = matches!(self.0.code, Code::Overloaded | Code::RateLimited);
        self
    }

    /// Marks the call as certainly not run, which makes it retryable for every method.
    pub fn not_executed(mut self) -> Self {
        self.0.unexecuted = true;
        self
    }

    /// Keeps the error that caused this one.
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    /// Why the call failed.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The text that explains it. What a peer sent is its text, cut to a bounded length.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it was made.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Whether time ran out, wherever that was.
    pub fn is_timeout(&self) -> bool {
        self.0.code.is_timeout()
    }

    /// Whether the call was certainly not run.
    pub fn is_unexecuted(&self) -> bool {
        self.0.unexecuted
    }

    /// Whether trying again is safe for every method: the call was certainly not run. Idempotent methods may be tried
    /// again after more than that; [`crate::MethodDescriptor::idempotency`] tells.
    pub fn is_retryable(&self) -> bool {
        self.is_unexecuted()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => write!(f, "{}", self.code()),
            message => write!(f, "{}: {message}", self.code()),
        }
    }
}

/// Reads like the display form, because that is what a `main` that returns a status shows.
impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.origin() {
            Origin::Local => "here",
            Origin::Remote => "at the other end",
        };
        write!(f, "{self} ({place})")
    }
}

impl Error for Status {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<(), Status>>(), size_of::<usize>());
    }

    #[test]
    fn service_number_zero_cannot_pass_for_success() {
        assert_eq!(Status::service(0, "").code(), Code::Internal);
    }

    #[test]
    fn a_peer_that_could_not_reach_its_own_peer_has_run_the_call() {
        for code in [Code::Unreachable, Code::NoEndpoint] {
            assert!(Status::new(code, "").is_unexecuted());
            assert!(!Status::new(code, "").from_remote().is_unexecuted());
        }
        for code in [Code::Overloaded, Code::RateLimited] {
            assert!(Status::new(code, "").from_remote().is_unexecuted());
        }
    }

    #[test]
    fn only_what_was_not_run_is_retryable() {
        assert!(Status::overloaded("").is_retryable());
        assert!(!Status::new(Code::ConnectionLost, "").is_retryable());
        assert!(
            Status::new(Code::ConnectionLost, "")
                .not_executed()
                .is_retryable()
        );
    }
}
