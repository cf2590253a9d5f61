//! Bodies on their way through a service: requests are unpacked behind the filters, responses are packed before them.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use rpc_codec::{Codecs, Limits};
use rpc_core::{Code, Compression, Filter, Request, Response, Service, Status, stream};

use crate::attempt::{Attempt, Outcome};

/// How bodies are packed and unpacked: one value for all services of a router. What is to hold is known when the server is
/// bound, after services are mounted; until then, and without a server, it is the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bodies {
    unbound: Packing,
    bound: Arc<OnceLock<Packing>>,
}

#[derive(Debug, Clone)]
struct Packing {
    codecs: Codecs,
    /// What a request may grow to.
    bytes_max: usize,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            codecs: Codecs::default(),
            bytes_max: Limits::default().decompressed_bytes_max,
        }
    }
}

impl Bodies {
    /// Says what is to hold. A router is bound once.
    pub(crate) fn bind(&self, codecs: Codecs, limits: &Limits) {
        self.bound.get_or_init(|| Packing {
            codecs,
            bytes_max: limits.decompressed_bytes_max,
        });
    }

    /// Whether the messages of a stream can be unpacked.
    ///
    /// # Errors
    ///
    /// What its caller is told if they cannot.
    pub(crate) fn check(&self, compression: Compression) -> Result<(), Status> {
        if self.packing().codecs.knows(compression) {
            return Ok(());
        }
        let text = format!("the messages of the stream cannot be unpacked: {compression:?}");
        Err(Status::new(Code::Malformed, text))
    }

    /// What packs and unpacks the messages of streams.
    pub(crate) fn for_streams(&self) -> Arc<dyn stream::Packing> {
        let Packing { codecs, bytes_max } = self.packing();
        codecs.packing(*bytes_max)
    }

    fn packing(&self) -> &Packing {
        self.bound.get().unwrap_or(&self.unbound)
    }
}

/// A service behind its filters. Its requests are unpacked between the two, so a filter may refuse one before that work is
/// done; its responses are packed as their requests were.
pub(crate) fn behind<F: Filter, S: Service + 'static>(
    filter: F,
    service: S,
    bodies: Bodies,
) -> impl Service {
    let unpacked = Unpacked {
        service,
        bodies: bodies.clone(),
    };
    Packed {
        service: filter.around(unpacked),
        bodies,
    }
}

/// Packs responses as their requests were packed.
struct Packed<S> {
    service: S,
    bodies: Bodies,
}

impl<S: Service> Service for Packed<S> {
    fn call(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        Answering {
            bodies: &self.bodies,
            compression: request.compression(),
            future: self.service.call(request),
        }
    }
}

pin_project! {
    /// The future of a response that may have to be packed.
    struct Answering<'a, F> {
        bodies: &'a Bodies,
        compression: Compression,
        #[pin]
        future: F,
    }
}

impl<F: Future<Output = Outcome>> Future for Answering<'_, F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let polled = this.future.poll(cx);
        match *this.compression {
            Compression::None => polled,
            compression => polled.map_ok(|response| pack(response, compression, this.bodies)),
        }
    }
}

/// Packs a response, unless a handler has done so.
fn pack(mut response: Response, compression: Compression, bodies: &Bodies) -> Response {
    if response.compression() != Compression::None {
        return response;
    }
    let codecs = &bodies.packing().codecs;
    // What cannot be packed so, such as the ambiguous number 2, is sent as it is.
    if let Ok(Some(packed)) = codecs.compress(compression, &response.body().to_bytes()) {
        *response.body_mut() = packed.into();
        response.set_compression(compression);
    }
    response
}

/// Unpacks requests before they reach the service.
struct Unpacked<S> {
    service: S,
    bodies: Bodies,
}

impl<S: Service> Service for Unpacked<S> {
    fn call(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        // Most are not packed. On a way of their own they are spared a move.
        if request.compression() == Compression::None {
            return Attempt::begin(self.service.call(request));
        }
        let unpacked = self.unpack(request);
        unpacked.map(|request| self.service.call(request)).into()
    }
}

impl<S> Unpacked<S> {
    fn unpack(&self, mut request: Request) -> Result<Request, Status> {
        let Packing { codecs, bytes_max } = self.bodies.packing();
        let body = request.body().to_bytes();
        let unpacked = codecs.decompress(request.compression(), &body, *bytes_max);
        let unpacked = unpacked.map_err(|error| {
            Status::new(
                Code::Malformed,
                format!("the body of the request cannot be unpacked: {error}"),
            )
        })?;
        *request.body_mut() = unpacked.into();
        request.set_compression(Compression::None);
        Ok(request)
    }
}
