//! Our implementation of the service of `proto/streams.proto`.

use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{Context, Status};

use crate::pb::{Order, Piece, Streams, Summary, blocking};

/// The application error for a piece that is not the next.
pub const OUT_OF_ORDER: i32 = 10_002;

/// Our implementation, with both kinds of handlers.
#[derive(Debug, Clone, Copy)]
pub struct OurStreams;

impl Streams for OurStreams {
    async fn upload(&self, cx: &Context, mut inbound: Inbound<Piece>) -> Result<Summary, Status> {
        echo_metadata(cx);
        let mut summary = Summary::default();
        while let Some(piece) = inbound.next().await? {
            check(&piece, summary.pieces)?;
            cx.sleep(delay(&piece)).await;
            count(&mut summary, &piece);
        }
        Ok(summary)
    }

    async fn download(
        &self,
        cx: &Context,
        request: Order,
        mut outbound: Outbound<Piece>,
    ) -> Result<(), Status> {
        echo_metadata(cx);
        for number in 0..request.pieces {
            outbound.send(piece(number, request.bytes)).await?;
        }
        end_of(request)
    }

    async fn chat(
        &self,
        cx: &Context,
        mut inbound: Inbound<Piece>,
        mut outbound: Outbound<Piece>,
    ) -> Result<(), Status> {
        echo_metadata(cx);
        let mut number = 0;
        while let Some(piece) = inbound.next().await? {
            check(&piece, number)?;
            cx.sleep(delay(&piece)).await;
            outbound.send(piece).await?;
            number += 1;
        }
        Ok(())
    }
}

impl blocking::Streams for OurStreams {
    fn upload(&self, cx: &Context, mut inbound: Inbound<Piece>) -> Result<Summary, Status> {
        echo_metadata(cx);
        let mut summary = Summary::default();
        for piece in inbound.messages() {
            let piece = piece?;
            check(&piece, summary.pieces)?;
            wait(cx, &piece)?;
            count(&mut summary, &piece);
        }
        Ok(summary)
    }

    fn download(
        &self,
        cx: &Context,
        request: Order,
        mut outbound: Outbound<Piece>,
    ) -> Result<(), Status> {
        echo_metadata(cx);
        for number in 0..request.pieces {
            outbound.send(piece(number, request.bytes)).wait()?;
        }
        end_of(request)
    }

    fn chat(
        &self,
        cx: &Context,
        mut inbound: Inbound<Piece>,
        mut outbound: Outbound<Piece>,
    ) -> Result<(), Status> {
        echo_metadata(cx);
        for (number, piece) in (0..).zip(inbound.messages()) {
            let piece = piece?;
            check(&piece, number)?;
            wait(cx, &piece)?;
            outbound.send(piece).wait()?;
        }
        Ok(())
    }
}

/// One piece of a download.
pub fn piece(number: u32, bytes: u32) -> Piece {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    Piece {
        number,
        payload: vec![number.to_le_bytes()[0]; length],
        ..Piece::default()
    }
}

fn check(piece: &Piece, number: u32) -> Result<(), Status> {
    if piece.number != number {
        let text = format!("piece {} came as number {number}", piece.number);
        return Err(Status::service(OUT_OF_ORDER, text));
    }
    match piece.fail_code {
        0 => Ok(()),
        code => Err(Status::service(code, piece.fail_message.clone())),
    }
}

fn count(summary: &mut Summary, piece: &Piece) {
    summary.pieces += 1;
    summary.bytes += piece.payload.len() as u64;
}

fn end_of(order: Order) -> Result<(), Status> {
    match order.fail_code {
        0 => Ok(()),
        code => Err(Status::service(code, order.fail_message)),
    }
}

fn delay(piece: &Piece) -> Duration {
    Duration::from_millis(u64::from(piece.delay_ms))
}

fn wait(cx: &Context, piece: &Piece) -> Result<(), Status> {
    if piece.delay_ms == 0 {
        return Ok(());
    }
    tern::park::wait(cx.sleep(delay(piece)))
        .ok_or_else(|| Status::internal("this handler must not run on an I/O thread"))
}

/// Returns the metadata of the application under other names.
fn echo_metadata(cx: &Context) {
    for (key, value) in cx.metadata().iter() {
        if let Some(name) = key.strip_prefix("app-") {
            cx.reply_metadata(format!("app-echo-{name}"), value.clone());
        }
    }
}
