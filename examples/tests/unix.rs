//! Servers and clients that meet at a Unix socket: the calls of always, and the file that is their address.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tern::{Address, Channel, Code, Context, Fixed, Running, ServeError, Server, Status};
use tern_examples::echo::{EchoClient, EchoMessage};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

mod support;

/// Greets by its own name, and says whose address it sees.
struct Named(&'static str);

impl Greeter for Named {
    async fn say_hello(&self, cx: &Context, _: HelloRequest) -> Result<HelloReply, Status> {
        let message = format!("{}, {:?}", self.0, cx.peer());
        Ok(HelloReply { message })
    }
}

/// A directory of a test's own, removed with what is in it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tern-{}-{test}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("x.sock")
    }

    /// What lies in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(path: &Path) -> Address {
    Address::unix(path)
}

fn bind(name: &'static str, address: &Address) -> Result<Server, ServeError> {
    Server::builder()
        .service(GreeterServer::new(Named(name)))
        .bind(address)
}

fn start(name: &'static str, address: &Address) -> Running {
    bind(name, address).unwrap().start().unwrap()
}

fn channel(service: &str, address: impl ToString) -> Channel {
    Channel::builder(service)
        .resolve(Fixed::new([address]))
        .build()
        .unwrap()
}

fn greeting(address: impl ToString) -> Result<String, Status> {
    let greeter = GreeterClient::new(channel("demo.greeter.Greeter", address));
    let reply = greeter.say_hello(HelloRequest::default()).wait()?;
    Ok(reply.message)
}

#[test]
fn a_call_over_a_unix_socket_has_no_peer_address() {
    let directory = Directory::new("call");
    let address = at(&directory.socket());
    let running = start("here", &address);
    assert_eq!(running.addresses(), std::slice::from_ref(&address));
    assert_eq!(greeting(&address).unwrap(), "here, None");
    running.stop().unwrap();
}

#[test]
fn one_server_listens_on_a_unix_socket_and_on_a_port() {
    let directory = Directory::new("both");
    let running = Server::builder()
        .service(GreeterServer::new(Named("both")))
        .listen(at(&directory.socket()))
        .bind("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(running.addresses().len(), 2);
    assert!(
        greeting(running.address())
            .unwrap()
            .contains("Some(127.0.0.1")
    );
    assert_eq!(greeting(&running.addresses()[0]).unwrap(), "both, None");
    running.stop().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn an_abstract_name_belongs_to_one_server_and_goes_with_it() {
    let address = format!("unix:@tern-{}", std::process::id());
    let first = Server::builder()
        .service(GreeterServer::new(Named("first")))
        .bind(&address)
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(greeting(&address).unwrap(), "first, None");
    let second = Server::builder().service(GreeterServer::new(Named("second")));
    let error = second.bind(&address).unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
    first.stop().unwrap();
    let status = greeting(&address).unwrap_err();
    assert_eq!(status.code(), Code::Unreachable);
    assert!(status.message().contains(&address), "{status}");
}

#[test]
fn the_file_is_there_while_the_server_is() {
    let directory = Directory::new("file");
    let path = directory.socket();
    let server = bind("one", &at(&path)).unwrap();
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    server.start().unwrap().stop().unwrap();
    assert_eq!(directory.names(), [""; 0]);
    drop(bind("another", &at(&path)).unwrap());
    assert_eq!(directory.names(), [""; 0], "it never ran");
}

#[test]
fn the_mode_says_who_may_connect() {
    let directory = Directory::new("mode");
    let server = Server::builder()
        .unix_mode(0o666)
        .service(GreeterServer::new(Named("open")))
        .bind(at(&directory.socket()))
        .unwrap();
    let found = fs::symlink_metadata(directory.socket()).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o666);
    drop(server);
}

#[test]
fn a_socket_in_use_is_named_and_left_alone() {
    let directory = Directory::new("used");
    let address = at(&directory.socket());
    let running = start("first", &address);
    let error = bind("second", &address).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("another program"),
        "{text}"
    );
    assert_eq!(greeting(&address).unwrap(), "first, None");
    assert_eq!(directory.names(), ["x.sock"]);
    running.stop().unwrap();
}

#[test]
fn a_socket_that_nobody_listens_at_is_replaced() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(
        greeting(at(&path)).unwrap_err().code(),
        Code::Unreachable,
        "it is stale"
    );
    let running = start("successor", &at(&path));
    assert_eq!(greeting(at(&path)).unwrap(), "successor, None");
    assert_eq!(directory.names(), ["x.sock"]);
    running.stop().unwrap();
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn a_file_that_is_no_socket_is_named_and_left_alone() {
    let directory = Directory::new("regular");
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    let error = bind("server", &at(&path)).unwrap_err().to_string();
    assert!(
        error.contains(&at(&path).to_string()) && error.contains("no socket"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(directory.names(), ["x.sock"]);
}

#[test]
fn a_successor_that_shares_takes_over_and_keeps_its_file() {
    let directory = Directory::new("shared");
    let address = at(&directory.socket());
    let first = start("first", &address);
    let successor = Server::builder()
        .share_addresses()
        .service(GreeterServer::new(Named("second")))
        .bind(&address)
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(greeting(&address).unwrap(), "second, None");
    first.stop().unwrap();
    assert_eq!(greeting(&address).unwrap(), "second, None");
    successor.stop().unwrap();
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn a_client_finds_the_server_that_comes_after_a_killed_one() {
    let directory = Directory::new("killed");
    let address = at(&directory.socket()).to_string();
    let mut server = support::EchoServer::start(&address, &[]);
    let echo = EchoClient::new(channel("echo.v1.Echo", &address));
    let message = EchoMessage {
        payload: vec![7; 1 << 20],
        delay_ms: 0,
    };
    assert_eq!(echo.echo(message.clone()).wait().unwrap(), message);
    server.kill();
    server.wait();
    assert!(echo.echo(message.clone()).wait().is_err());
    let server = support::EchoServer::start(&address, &[]);
    let again = EchoClient::new(channel("echo.v1.Echo", &server.address));
    assert_eq!(again.echo(message.clone()).wait().unwrap(), message);
    // The channel of before rests for a while after its failed attempt; then it is connected again.
    while echo.echo(message.clone()).wait().is_err() {
        std::thread::yield_now();
    }
}
