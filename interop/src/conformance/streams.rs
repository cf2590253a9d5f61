//! Our implementation of the kit's streams, as `conformance/README.md` describes them.

use tern::codec::ret;
use tern::stream::{Inbound, Outbound};
use tern::{Context, Raw, Request, Response, Status, stub};
use tern_conformance::blob;

use super::pb::{ConformanceStreams, Payload, SpreadRequest, Sum};
use super::server::wait;

/// The kit's streams.
#[derive(Debug)]
pub(super) struct Streams;

impl ConformanceStreams for Streams {
    async fn collect(&self, cx: &Context, mut inbound: Inbound<Payload>) -> Result<Sum, Status> {
        let mut sum = Sum::default();
        while let Some(payload) = inbound.next().await? {
            wait(cx, payload.delay_ms).await;
            sum.count += 1;
            sum.bytes += payload.data.len() as u64;
        }
        Ok(sum)
    }

    async fn spread(
        &self,
        cx: &Context,
        request: SpreadRequest,
        mut outbound: Outbound<Payload>,
    ) -> Result<(), Status> {
        let payload = Payload {
            data: blob::fill(usize::try_from(request.size).unwrap_or(usize::MAX)),
            delay_ms: 0,
        };
        for _ in 0..request.count {
            wait(cx, request.delay_ms).await;
            outbound.send(payload.clone()).await?;
        }
        failed_as_told(
            request.fail_code,
            request.is_framework,
            request.fail_text,
            (),
        )
    }

    async fn chat(
        &self,
        cx: &Context,
        mut inbound: Inbound<Payload>,
        mut outbound: Outbound<Payload>,
    ) -> Result<(), Status> {
        while let Some(payload) = inbound.next().await? {
            if payload.data == b"stop" {
                return Ok(());
            }
            wait(cx, payload.delay_ms).await;
            let data = payload.data;
            outbound.send(Payload { data, delay_ms: 0 }).await?;
        }
        Ok(())
    }
}

/// `value`, or the failure that a caller has asked for.
pub(super) fn failed_as_told<T>(
    code: i32,
    is_framework: bool,
    text: String,
    value: T,
) -> Result<T, Status> {
    match code {
        0 => Ok(value),
        number if is_framework => Err(Status::new(ret::code(number), text)),
        number => Err(Status::service(number, text)),
    }
}

/// Sends each message of a stream back, whatever its bytes mean.
pub(super) async fn raw_chat(request: Request) -> Result<Response, Status> {
    let (call, inbound, outbound) = stub::IncomingStream::duplex::<Raw, Raw>(request)?;
    let result = repeated(inbound, outbound).await;
    call.close(result)
}

async fn repeated(mut inbound: Inbound<Raw>, mut outbound: Outbound<Raw>) -> Result<(), Status> {
    while let Some(message) = inbound.next().await? {
        outbound.send(message).await?;
    }
    Ok(())
}
