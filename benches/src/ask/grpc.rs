//! The peer: tonic's client on tokio's current_thread runtime, which is the faster of its two on one core.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::{Asker, Plan, Tally};
use crate::echo::EchoMessage;

/// tonic, a channel for each connection.
#[derive(Debug)]
pub struct Tonic {
    plan: Plan,
    channels: Vec<Channel>,
    runtime: Runtime,
}

impl Tonic {
    pub(super) fn connect(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut channels = Vec::new();
        for address in plan.addresses() {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
            channels.push(runtime.block_on(endpoint.connect())?);
        }
        Ok(Self {
            plan,
            channels,
            runtime,
        })
    }
}

impl Asker for Tonic {
    fn ask(&mut self, window: Duration) -> Tally {
        let tally = Tally::over(window);
        let begin = Some(tally.begin);
        let tally = Arc::new(Mutex::new(tally));
        self.runtime.block_on(async {
            let lanes = self
                .channels
                .iter()
                .flat_map(|channel| (0..self.plan.in_flight).map(|_| channel.clone()));
            let tasks: Vec<_> = lanes
                .map(|channel| tokio::spawn(lane(self.plan, channel, Arc::clone(&tally), begin)))
                .collect();
            for task in tasks {
                task.await.expect("no call fails");
            }
        });
        let tally = Arc::into_inner(tally).expect("all others are done");
        tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call after the other, as tonic's generated code makes them.
async fn lane(plan: Plan, channel: Channel, tally: Arc<Mutex<Tally>>, mut begin: Option<Instant>) {
    let mut grpc = Grpc::new(channel);
    while let Some(since) = begin {
        grpc.ready().await.expect("connected");
        let codec = ProstCodec::<EchoMessage, EchoMessage>::default();
        let path = PathAndQuery::from_static("/bench.v1.Echo/Echo");
        let reply = grpc.unary(Request::new(plan.message()), path, codec).await;
        plan.check(reply.expect("answered").get_ref());
        begin = tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(since);
    }
}
