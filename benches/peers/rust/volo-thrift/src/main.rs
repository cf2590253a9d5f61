//! The peer volo-thrift: framed binary, on tokio's current_thread runtime.
//!
//! ```text
//! peer-volo-thrift 127.0.0.1:0
//! ```

use std::env;
use std::error::Error;

use volo::net::incoming::DefaultIncoming;
use volo_thrift::ServerError;

mod generated {
    volo::include_service!("volo_gen.rs");
}

use generated::volo_gen::bench::{Echo, EchoMessage, EchoServer};

struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, message: EchoMessage) -> Result<EchoMessage, ServerError> {
        Ok(message)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: peer-volo-thrift ADDR")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("listening {}", listener.local_addr()?);
        let server = EchoServer::new(Echoing);
        server
            .run(DefaultIncoming::from(listener))
            .await
            .map_err(|error| error.to_string().into())
    })
}
