//! TLS: who may talk with whom, and who is told what.

mod tls_support;

use std::sync::mpsc;
use std::time::Duration;

use tern::tls::{ClientTls, Pem, ServerTls, TlsError};
use tern::{Code, Filter, Limits, Request, Response, Server, Service, Status};
use tern_examples::echo::EchoServer;
use tls_support::certificates::{Authority, Folder};
use tls_support::{Echoing, Observed, channel, failure, message, seen_by_server};

#[test]
fn a_server_proves_who_it_is() {
    let authority = Authority::new();
    let server = Observed::with(authority.issue(&["127.0.0.1"]).server());
    let echo = channel(server.address(), Some(authority.trusted()));
    assert_eq!(seen_by_server(&echo), None, "nobody asked the client");
    drop(echo);
    assert_eq!(server.next_end(), "ended by the peer");
    server.running.stop().unwrap();
}

#[test]
fn both_prove_who_they_are_and_handlers_see_it() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tls = servers.issue(&["127.0.0.1"]).server();
    let tls = tls.require_client_certificates(clients.roots()).unwrap();
    let server = Observed::with(tls);
    let client = clients.issue(&["billing"]);
    let echo = channel(server.address(), Some(client.give(servers.trusted())));
    assert_eq!(seen_by_server(&echo), Some(client.der));
}

#[test]
fn a_filter_decides_by_the_certificate_of_the_caller() {
    struct Only(Vec<u8>);

    impl Filter for Only {
        async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
            match request.context().peer_identity() {
                Some(peer) if peer.certificate() == self.0 => next.call(request).await,
                _ => Err(Status::new(Code::Unauthenticated, "not for you")),
            }
        }
    }

    let authority = Authority::new();
    let (known, stranger) = (authority.issue(&["known"]), authority.issue(&["stranger"]));
    let tls = authority.issue(&["127.0.0.1"]).server();
    let tls = tls.require_client_certificates(authority.roots()).unwrap();
    let server = Server::builder()
        .tls(tls)
        .filter(Only(known.der.clone()))
        .service(EchoServer::new(Echoing))
        .bind("127.0.0.1:0")
        .and_then(Server::start)
        .unwrap();
    let call = |tls| channel(server.address(), Some(tls)).echo(message(8)).wait();
    assert!(call(known.give(authority.trusted())).is_ok());
    let refused = call(stranger.give(authority.trusted())).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[test]
fn a_certificate_may_be_left_to_the_client() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tls = servers.issue(&["127.0.0.1"]).server();
    let server = Observed::with(tls.accept_client_certificates(clients.roots()).unwrap());
    let without = channel(server.address(), Some(servers.trusted()));
    assert_eq!(seen_by_server(&without), None);
    let client = clients.issue(&["billing"]);
    let with = channel(server.address(), Some(client.give(servers.trusted())));
    assert_eq!(seen_by_server(&with), Some(client.der));
}

/// What a client is told that trusts `trusted` when it calls a server with that identity.
fn told(server: ServerTls, client: ClientTls) -> (String, String) {
    let server = Observed::with(server);
    let status = failure(&channel(server.address(), Some(client)));
    assert_eq!(status.code(), Code::Unreachable, "{status}");
    assert!(status.is_unexecuted(), "{status}");
    (status.to_string(), server.next_end())
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_called() {
    let server = Authority::new().issue(&["127.0.0.1"]).server();
    let (client, server) = told(server, Authority::new().trusted());
    assert!(
        client.contains("nobody whom we trust vouches for the peer's certificate"),
        "{client}"
    );
    assert!(
        server.contains("alert 48: it does not know who signed our certificate"),
        "{server}"
    );
}

#[test]
fn a_server_of_another_name_is_not_called() {
    let authority = Authority::new();
    let server = authority.issue(&["db.example"]).server();
    let (client, _) = told(server.clone(), authority.trusted());
    assert!(
        client.contains("the server's certificate is for another name"),
        "{client}"
    );
    assert!(client.contains("db.example"), "what it is for: {client}");
    let wrong = authority.trusted().server_name("cache.example").unwrap();
    let (client, _) = told(server.clone(), wrong);
    assert!(
        client.contains("cache.example"),
        "what was called: {client}"
    );

    let server = Observed::with(server);
    let right = authority.trusted().server_name("db.example").unwrap();
    let echo = channel(server.address(), Some(right));
    assert!(echo.echo(message(8)).wait().is_ok());
}

#[test]
fn a_server_whose_certificate_has_expired_is_not_called() {
    let authority = Authority::new();
    let server = authority.issue_expired("127.0.0.1").server();
    let (client, server) = told(server, authority.trusted());
    assert!(
        client.contains("the peer's certificate has expired"),
        "{client}"
    );
    assert!(server.contains("our certificate has expired"), "{server}");
}

#[test]
fn a_client_without_the_certificate_that_is_required_is_turned_away() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tls = servers.issue(&["127.0.0.1"]).server();
    let tls = tls.require_client_certificates(clients.roots()).unwrap();
    let server = Observed::with(tls);
    let status = failure(&channel(server.address(), Some(servers.trusted())));
    assert!(
        status
            .message()
            .contains("it requires a certificate of ours"),
        "{status}"
    );
    server.wait_for_end("the client gave no certificate, and one is required");

    let stranger = Authority::new().issue(&["stranger"]);
    let tls = stranger.give(servers.trusted());
    let status = failure(&channel(server.address(), Some(tls)));
    assert!(status.message().contains("our certificate"), "{status}");
    server.wait_for_end("nobody whom we trust vouches for the peer's certificate");
}

#[test]
fn new_connections_use_the_new_certificate_and_old_ones_live_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let (certificate, key) = folder.write(&old.issue(&["127.0.0.1"]));
    let tls = ServerTls::from_pem_files(&certificate, &key).unwrap();
    let reloader = tls.reloader();
    let server = Observed::with(tls);
    let before = channel(server.address(), Some(old.trusted()));
    assert!(before.echo(message(8)).wait().is_ok());
    let refused = failure(&channel(server.address(), Some(new.trusted())));
    assert_eq!(refused.code(), Code::Unreachable);

    // In the midst of a renewal: the certificate is new and the key is not.
    let renewed = new.issue(&["127.0.0.1"]);
    folder.replace("cert.pem", &renewed.certificate);
    let error = reloader.reload_if_changed().unwrap_err().to_string();
    assert!(
        error.contains("cert.pem") && error.contains("key.pem"),
        "{error}"
    );
    let still = channel(server.address(), Some(old.trusted()));
    assert!(
        still.echo(message(8)).wait().is_ok(),
        "the old one stays in use"
    );

    folder.write(&renewed);
    assert!(reloader.reload_if_changed().unwrap());
    let after = channel(server.address(), Some(new.trusted()));
    assert!(after.echo(message(8)).wait().is_ok());
    let refused = failure(&channel(server.address(), Some(old.trusted())));
    assert_eq!(refused.code(), Code::Unreachable);
    assert!(
        before.echo(message(8)).wait().is_ok(),
        "it was connected before"
    );
    assert_eq!(server.running.connections(), 3, "before, still, after");
}

#[test]
fn roots_for_clients_are_reloaded_too() {
    let (servers, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let folder = Folder::new();
    let roots = folder.replace("roots.pem", &old.pem);
    let tls = servers.issue(&["127.0.0.1"]).server();
    let tls = tls.require_client_certificates(roots).unwrap();
    let reloader = tls.reloader();
    let server = Observed::with(tls);
    let client = |authority: &Authority| {
        let tls = authority.issue(&["client"]).give(servers.trusted());
        channel(server.address(), Some(tls)).echo(message(8)).wait()
    };
    assert!(client(&old).is_ok() && client(&new).is_err());
    folder.replace("roots.pem", &new.pem);
    reloader.reload().unwrap();
    assert!(client(&old).is_err() && client(&new).is_ok());
}

#[test]
fn a_client_takes_a_new_identity_for_new_connections() {
    let authority = Authority::new();
    let tls = authority.issue(&["127.0.0.1"]).server();
    let tls = tls.require_client_certificates(authority.roots()).unwrap();
    let server = Observed::with(tls);
    let (old, new) = (authority.issue(&["old"]), authority.issue(&["new"]));
    let folder = Folder::new();
    let (certificate, key) = folder.write(&old);
    let tls = authority.trusted().identity(certificate, key).unwrap();
    let reloader = tls.reloader();
    let before = channel(server.address(), Some(tls.clone()));
    assert_eq!(seen_by_server(&before), Some(old.der.clone()));
    folder.write(&new);
    reloader.reload().unwrap();
    let after = channel(server.address(), Some(tls));
    assert_eq!(seen_by_server(&after), Some(new.der));
    assert_eq!(seen_by_server(&before), Some(old.der));
}

#[test]
fn files_that_are_watched_are_reloaded_by_themselves() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let (certificate, key) = folder.write(&old.issue(&["127.0.0.1"]));
    let tls = ServerTls::from_pem_files(certificate, key).unwrap();
    let watch = tls.reloader().watch(Duration::from_secs(1)).unwrap();
    let server = Observed::with(tls);
    folder.write(&new.issue(&["127.0.0.1"]));
    let (_kept, never) = mpsc::channel::<()>();
    let is_reloaded = (0..20).any(|_| {
        // The next look is at most a second away; nothing else ends the waiting.
        let _ = never.recv_timeout(Duration::from_secs(1));
        let echo = channel(server.address(), Some(new.trusted()));
        echo.echo(message(8)).wait().is_ok()
    });
    assert!(is_reloaded, "not within 20 s");
    drop(watch);
}

#[test]
fn settings_that_cannot_work_say_so_before_anything_runs() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["one"]), authority.issue(&["other"]));
    let folder = Folder::new();
    let (certificate, key) = folder.write(&one);
    let complaint = |outcome: Result<ServerTls, TlsError>| match outcome {
        Ok(_) => panic!("it cannot work"),
        Err(error) => error.to_string(),
    };
    let other_key = folder.replace("other.pem", &other.key);
    let text = complaint(ServerTls::from_pem_files(&certificate, &other_key));
    assert!(
        text.contains("is not that of the first certificate of"),
        "{text}"
    );
    let text = complaint(ServerTls::from_pem_files(&key, &certificate));
    assert!(
        text.contains("no certificate in it: it has PRIVATE KEY on line 1"),
        "{text}"
    );
    let damaged = Pem::text("-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
    let text = complaint(ServerTls::from_pem(damaged.clone(), &key));
    assert!(text.contains("cannot be used"), "{text}");
    let text = complaint(one.server().require_client_certificates(damaged));
    assert!(text.contains("root certificate cannot be used"), "{text}");
    let text = authority
        .trusted()
        .server_name("a b")
        .unwrap_err()
        .to_string();
    assert!(text.contains("`a b` is no name of a server"), "{text}");
}

#[test]
fn a_server_with_tls_and_one_without_live_in_one_process() {
    let authority = Authority::new();
    let secured = Observed::with(authority.issue(&["127.0.0.1"]).server());
    let plain = Observed::start(None, Limits::default());
    let to_secured = channel(secured.address(), Some(authority.trusted()));
    let to_plain = channel(plain.address(), None);
    for echo in [&to_secured, &to_plain] {
        assert!(echo.echo(message(8)).wait().is_ok());
    }
}
