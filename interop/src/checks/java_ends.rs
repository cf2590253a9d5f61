//! How connections of tRPC-Java's client end.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tern::{Context, Pool, Server, Status};

use super::java_calls::Peers;
use crate::check::Check;
use crate::pb::{InteropServer, UnaryRequest, UnaryResponse, blocking};
use crate::service::Ours;

/// All of them.
pub const CHECKS: [Check<Peers>; 1] = [Check {
    name: "our server leaves when it has answered",
    run: our_server_leaves,
}];

/// How long the client may take until its calls have begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of ours that is told to end answers what it holds.
fn our_server_leaves(peers: &Peers) {
    let java = peers.java;
    let started = Arc::new(Started::default());
    let pool = Pool::builder("held").threads(20).build();
    let running = Server::builder()
        .pool(&pool)
        .service(InteropServer::blocking(Counted(Arc::clone(&started))))
        .bind("127.0.0.1:0")
        .and_then(Server::start)
        .expect("a free port and a few threads");
    let address = running.address();
    let client = thread::spawn(move || java.client(address, 2, &["held"]));
    started.wait_for(20);
    running.stop().expect("it ends in order");
    let cases = client.join().expect("the client runs");
    assert_eq!(cases[0].outcome, Ok(()));
}

/// Our service, which counts the calls that have begun.
struct Counted(Arc<Started>);

impl blocking::Interop for Counted {
    fn unary(&self, cx: &Context, request: UnaryRequest) -> Result<UnaryResponse, Status> {
        self.0.one_more();
        blocking::Interop::unary(&Ours, cx, request)
    }
}

#[derive(Default)]
struct Started {
    calls: Mutex<u32>,
    changed: Condvar,
}

impl Started {
    fn one_more(&self) {
        *self.calls.lock().expect("nobody panics with it") += 1;
        self.changed.notify_one();
    }

    fn wait_for(&self, calls: u32) {
        let begun = self.calls.lock().expect("nobody panics with it");
        let waited = self
            .changed
            .wait_timeout_while(begun, PATIENCE, |begun| *begun < calls);
        let (begun, _) = waited.expect("nobody panics with it");
        assert_eq!(*begun, calls, "calls have begun");
    }
}
