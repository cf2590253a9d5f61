//! The peer tarpc: TCP and bincode, on tokio's current_thread runtime.
//!
//! ```text
//! peer-tarpc 127.0.0.1:0
//! ```

use std::env;
use std::error::Error;

use futures::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::context::Context;
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;

#[tarpc::service]
trait Echo {
    /// Returns what it is sent.
    async fn echo(payload: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Echoing;

impl Echo for Echoing {
    async fn echo(self, _: Context, payload: ByteBuf) -> ByteBuf {
        payload
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: peer-tarpc ADDR")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("listening {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let frames = LengthDelimitedCodec::builder()
                .max_frame_length(64 << 20)
                .new_framed(stream);
            let transport = serde_transport::new(frames, Bincode::default());
            let calls = BaseChannel::with_defaults(transport).execute(Echoing.serve());
            // A task for each call, as tarpc's own examples have it.
            tokio::spawn(calls.for_each(|call| async {
                tokio::spawn(call);
            }));
        }
    })
}
