//! The peer pajamax: gRPC without a runtime, a thread for each connection.
//!
//! What pajamax-build would generate is written out, so that nobody needs protoc.
//!
//! ```text
//! peer-pajamax 127.0.0.1:0
//! ```

use std::env;
use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::thread;

use pajamax::{Config, PajamaxService};
use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: peer-pajamax ADDR")?;
    // It binds by itself and does not say where, so the port is chosen before.
    let address = TcpListener::bind(address)?.local_addr()?;
    thread::spawn(move || {
        while TcpStream::connect(address).is_err() {
            thread::yield_now();
        }
        println!("listening {address}");
    });
    let server = Config::new().max_concurrent_connections(10_000);
    Ok(server.add_service(EchoServer).serve(address)?)
}

#[derive(Clone, PartialEq, Message)]
struct EchoMessage {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
}

struct EchoServer;

impl PajamaxService for EchoServer {
    fn route(&self, path: &[u8]) -> Option<usize> {
        (path == b"/bench.v1.Echo/Echo").then_some(0)
    }

    fn handle(
        &self,
        _method: usize,
        request: &[u8],
        stream_id: u32,
        data_len: usize,
    ) -> Result<(), pajamax::error::Error> {
        let request = EchoMessage::decode(request)?;
        pajamax::local_build_response(stream_id, Ok(request), data_len)
    }

    fn is_dispatch_mode(&self) -> bool {
        false
    }
}
