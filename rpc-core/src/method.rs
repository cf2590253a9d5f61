//! Static tables that describe services. Generated code holds them; nothing at run time writes them.

use crate::MessageType;

/// What is known of a service before any call is made.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceDescriptor {
    /// Its name with the proto package, for example `demo.greeter.Greeter`.
    pub name: &'static str,
    /// Its methods, in the order of the .proto file. [`MethodDescriptor::index`] is the place in this table.
    pub methods: &'static [MethodDescriptor],
}

/// The wildcard: a service that is mounted as this one answers to every path that no other service has, as a proxy does.
/// Which path a request came by is told by [`Request::path`](crate::Request::path). Peers in Go give the same meaning to
/// the same path.
pub static ANY: ServiceDescriptor = ServiceDescriptor {
    name: "*",
    methods: &[MethodDescriptor {
        index: 0,
        name: "*",
        path: "*",
        alias: None,
        service: "*",
        idempotency: Idempotency::Unknown,
        shape: Shape::Unary,
        request: MessageType::UNKNOWN,
        reply: MessageType::UNKNOWN,
    }],
};

impl ServiceDescriptor {
    /// The method called `name` in the .proto file.
    pub fn method(&self, name: &str) -> Option<&'static MethodDescriptor> {
        self.methods.iter().find(|method| method.name == name)
    }
}

/// What is known of a method before it is called.
#[derive(Debug, PartialEq, Eq)]
pub struct MethodDescriptor {
    /// Its place in [`ServiceDescriptor::methods`].
    pub index: usize,
    /// Its name in the .proto file, for example `SayHello`.
    pub name: &'static str,
    /// The path it is called by: `/package.Service/Method`.
    pub path: &'static str,
    /// A second path that it answers to, from the option `(trpc.alias)`.
    pub alias: Option<&'static str>,
    /// The name of the service it belongs to, with the proto package.
    pub service: &'static str,
    /// Whether calling it twice is as good as calling it once, from the option `idempotency_level`.
    pub idempotency: Idempotency,
    /// How many messages a call of it has.
    pub shape: Shape,
    /// The type of its requests, for formats that have to know it; [`MessageType::UNKNOWN`] does for protobuf.
    pub request: MessageType,
    /// The type of its replies, likewise.
    pub reply: MessageType,
}

/// How many messages a call has, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// One request, one reply.
    #[default]
    Unary,
    /// Many requests, one reply.
    ClientStream,
    /// One request, many replies.
    ServerStream,
    /// Many of both, at the same time.
    Duplex,
}

impl Shape {
    /// Whether calls are streams.
    pub fn is_stream(self) -> bool {
        self != Self::Unary
    }
}

/// Whether calling a method twice is as good as calling it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idempotency {
    /// Nothing is known: only calls that were certainly not run may be tried again.
    #[default]
    Unknown,
    /// Calling it twice has the effect of calling it once.
    Idempotent,
    /// It changes nothing.
    NoSideEffects,
}

impl Idempotency {
    /// Whether the method may be called again when it is not known whether it ran.
    pub fn may_run_twice(self) -> bool {
        self != Self::Unknown
    }
}
