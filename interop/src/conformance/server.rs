//! Our implementation of the kit's service, as `conformance/README.md` describes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tern::{
    Context, Idempotency, MessageType, MethodDescriptor, Mount, Pool, Request, Response, Running,
    ServeError, Server, Service, ServiceDescriptor, Shape, Status,
};

use super::greeter::{Greeter, GreeterServer, Msg};
use super::pb::{
    Conformance, ConformanceServer, ConformanceStreamsServer, Every, Failure, Mark, Payload, Sum,
};
use super::streams::{Streams, failed_as_told, raw_chat};

/// The kit's unary service.
#[derive(Debug, Default)]
struct Unary {
    counted: Mutex<BTreeMap<String, u64>>,
}

/// The service of the golden frames.
#[derive(Debug)]
struct Polite;

/// The method and the stream whose bodies are nobody's messages.
#[derive(Debug)]
struct Raw;

static RAW: ServiceDescriptor = ServiceDescriptor {
    name: "tern.conformance.v1.ConformanceRaw",
    methods: &[
        raw(
            0,
            "Raw",
            "/tern.conformance.v1.ConformanceRaw/Raw",
            Shape::Unary,
        ),
        raw(
            1,
            "RawChat",
            "/tern.conformance.v1.ConformanceRaw/RawChat",
            Shape::Duplex,
        ),
    ],
};

const fn raw(
    index: usize,
    name: &'static str,
    path: &'static str,
    shape: Shape,
) -> MethodDescriptor {
    MethodDescriptor {
        index,
        name,
        path,
        alias: None,
        service: "tern.conformance.v1.ConformanceRaw",
        idempotency: Idempotency::Unknown,
        shape,
        request: MessageType::UNKNOWN,
        reply: MessageType::UNKNOWN,
    }
}

/// Starts a server on `address`.
///
/// # Errors
///
/// When it cannot listen there.
pub fn start(address: SocketAddr) -> Result<Running, ServeError> {
    let pool = Pool::builder("conformance").threads(8).build();
    Server::builder()
        .pool(&pool)
        .service(ConformanceServer::new(Unary::default()))
        .service(ConformanceStreamsServer::new(Streams))
        .service(GreeterServer::new(Polite))
        .service(Mount::new(&RAW, Raw))
        .bind(address)
        .and_then(Server::start)
}

/// Waits so long on behalf of a call.
pub(super) async fn wait(cx: &Context, milliseconds: u32) {
    if milliseconds > 0 {
        cx.sleep(Duration::from_millis(milliseconds.into())).await;
    }
}

impl Unary {
    /// Adds to what is counted under `key`, and says what there is then.
    fn add(&self, key: String, more: u64) -> Sum {
        let counted = self.counted.lock();
        let mut counted = counted.unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(key).or_default();
        *count += more;
        Sum {
            count: *count,
            bytes: 0,
        }
    }
}

impl Conformance for Unary {
    async fn echo(&self, cx: &Context, request: Payload) -> Result<Payload, Status> {
        wait(cx, request.delay_ms).await;
        Ok(Payload {
            data: request.data,
            delay_ms: 0,
        })
    }

    async fn echo_every(&self, _: &Context, request: Every) -> Result<Every, Status> {
        Ok(request)
    }

    async fn fail(&self, _: &Context, request: Failure) -> Result<Payload, Status> {
        let Failure { code, text, .. } = request;
        failed_as_told(code, request.is_framework, text, Payload::default())
    }

    async fn count(&self, cx: &Context, request: Mark) -> Result<Sum, Status> {
        wait(cx, request.delay_ms).await;
        Ok(self.add(request.key, 1))
    }

    async fn counted(&self, _: &Context, request: Mark) -> Result<Sum, Status> {
        Ok(self.add(request.key, 0))
    }

    async fn attach(&self, cx: &Context, request: Payload) -> Result<Payload, Status> {
        cx.reply_attachment(cx.attachment().clone());
        Ok(request)
    }

    async fn tell(&self, cx: &Context, request: Payload) -> Result<Payload, Status> {
        for (key, value) in cx.metadata().iter() {
            if let Some(name) = key.strip_prefix("app-") {
                cx.reply_metadata(format!("told-{name}"), value.clone());
                if request.data == b"twice" {
                    cx.reply_metadata(format!("again-{name}"), value.clone());
                }
            }
        }
        Ok(Payload::default())
    }
}

impl Greeter for Polite {
    async fn say_hello(&self, _: &Context, request: Msg) -> Result<Msg, Status> {
        Ok(Msg {
            msg: format!("hello, {}", request.msg),
        })
    }
}

impl Service for Raw {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        if request.method().shape == Shape::Duplex {
            return raw_chat(request).await;
        }
        let format = request.format();
        let mut response = Response::new(request.into_body());
        response.set_format(format);
        Ok(response)
    }
}
