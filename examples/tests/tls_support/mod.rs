//! Certificates made on the spot, and an echo server and channels that speak TLS with them.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod certificates;
pub(crate) mod middleman;

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::tls::{ClientTls, ServerTls};
use tern::{Channel, Context, Event, Fixed, Limits, Observer, Running, Server, Status};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer, chat_back};

/// How long anything may take that happens; several times what the slowest machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what it is sent, and the caller's certificate beside it.
pub(crate) struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        if let Some(peer) = cx.peer_identity() {
            cx.reply_metadata("certificate", peer.certificate().to_vec());
        }
        Ok(message)
    }

    async fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        cx.sleep(Duration::from_millis(message.delay_ms.into()))
            .await;
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        inbound: Inbound<EchoMessage>,
        outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        chat_back(inbound, outbound).await
    }
}

/// A server, and the reasons for which its connections ended.
pub(crate) struct Observed {
    pub(crate) running: Running,
    ends: Receiver<String>,
}

impl Observed {
    pub(crate) fn start(tls: Option<ServerTls>, limits: Limits) -> Self {
        let (told, ends) = mpsc::channel();
        let mut server = Server::builder()
            .reactors(2)
            .limits(limits)
            .observer(Ends(Mutex::new(told)))
            .service(EchoServer::new(Echoing));
        if let Some(tls) = tls {
            server = server.tls(tls);
        }
        let running = server.bind("127.0.0.1:0").and_then(Server::start).unwrap();
        Self { running, ends }
    }

    pub(crate) fn with(tls: ServerTls) -> Self {
        Self::start(Some(tls), Limits::default())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Why the next connection ended that does end.
    pub(crate) fn next_end(&self) -> String {
        self.ends.recv_timeout(PATIENCE).expect("a connection ends")
    }

    /// Waits for a connection that ended for a reason with that text.
    pub(crate) fn wait_for_end(&self, text: &str) {
        while !self.next_end().contains(text) {}
    }
}

struct Ends(Mutex<Sender<String>>);

impl Observer for Ends {
    fn observe(&self, event: &Event<'_>) {
        if let Event::ConnectionClosed { reason, .. } = event {
            let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // The test may be over.
            let _ = told.send((*reason).to_owned());
        }
    }
}

pub(crate) fn channel(address: SocketAddr, tls: Option<ClientTls>) -> EchoClient<Channel> {
    let mut builder = Channel::builder("echo.v1")
        .resolve(Fixed::new([address]))
        .timeout(PATIENCE)
        .connections_per_endpoint(1);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    EchoClient::new(builder.build().unwrap())
}

pub(crate) fn message(length: usize) -> EchoMessage {
    let payload = (0..length).map(|place| u8::try_from(place % 251).unwrap());
    EchoMessage {
        payload: payload.collect(),
        delay_ms: 0,
    }
}

/// Makes a call that is answered, and returns the certificate that the server saw.
pub(crate) fn seen_by_server(echo: &EchoClient<Channel>) -> Option<Vec<u8>> {
    let reply = echo.echo(message(32)).wait_response().unwrap();
    let certificate = reply.metadata().get("certificate")?.to_vec();
    Some(certificate)
}

/// Makes a call that fails, and returns why.
pub(crate) fn failure(echo: &EchoClient<Channel>) -> Status {
    echo.echo(message(32)).wait().unwrap_err()
}
