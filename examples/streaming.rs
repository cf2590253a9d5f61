//! Streams of every shape: a chat, an upload that is slowed down by who takes it in, and a ticker that notices when
//! nobody listens any more.
//!
//! ```text
//! cargo run --release --example streaming
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{Channel, Context, Fixed, Server, Service, Status};
use tern_examples::streaming::{
    Chunk, Line, Pace, Receipt, Studio, StudioClient, StudioServer, Tick,
};

fn main() -> Result<(), Box<dyn Error>> {
    let (recorder, watch) = recorder();
    let running = Server::builder()
        .service(StudioServer::new(recorder))
        .bind("127.0.0.1:0")?
        .start()?;
    let channel = Channel::builder("demo.streaming.Studio")
        .resolve(Fixed::new([running.address()]))
        .build()?;
    tell(&StudioClient::new(channel), &watch, &mut io::stdout())?;
    Ok(running.stop()?)
}

/// The handler.
pub(crate) struct Recorder {
    /// Bytes of uploads that were taken in.
    taken: Arc<AtomicU64>,
    /// Told when a ticker stops.
    stopped: Sender<u32>,
}

/// What can be seen of a handler from the outside, as it runs in the same program.
pub(crate) struct Watch {
    taken: Arc<AtomicU64>,
    stopped: Receiver<u32>,
}

/// A handler, and what can be seen of it.
pub(crate) fn recorder() -> (Recorder, Watch) {
    let (sender, receiver) = mpsc::channel();
    let recorder = Recorder {
        taken: Arc::default(),
        stopped: sender,
    };
    let watch = Watch {
        taken: Arc::clone(&recorder.taken),
        stopped: receiver,
    };
    (recorder, watch)
}

impl Studio for Recorder {
    async fn chat(
        &self,
        cx: &Context,
        mut inbound: Inbound<Line>,
        mut outbound: Outbound<Line>,
    ) -> Result<(), Status> {
        let mut lines = 0;
        while let Some(line) = inbound.next().await? {
            lines += 1;
            let text = line.text.to_uppercase();
            outbound.send(Line { text }).await?;
        }
        // The caller has said all; the handler may still speak.
        let text = "AND OUT".to_owned();
        outbound.send(Line { text }).await?;
        cx.reply_metadata("lines", lines.to_string());
        Ok(())
    }

    async fn upload(&self, cx: &Context, mut inbound: Inbound<Chunk>) -> Result<Receipt, Status> {
        let mut receipt = Receipt::default();
        while let Some(chunk) = inbound.next().await? {
            if chunk.content.is_empty() {
                return Err(Status::invalid_argument("an empty chunk"));
            }
            let length = chunk.content.len() as u64;
            receipt.chunks += 1;
            receipt.bytes += length;
            self.taken.fetch_add(length, Ordering::SeqCst);
            if receipt.chunks % 32 == 0 {
                // A disk that is slower than its caller.
                cx.sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(receipt)
    }

    async fn ticks(
        &self,
        cx: &Context,
        pace: Pace,
        mut outbound: Outbound<Tick>,
    ) -> Result<(), Status> {
        let mut ticker = Ticker {
            stopped: self.stopped.clone(),
            ticks: 0,
        };
        while pace.ticks == 0 || ticker.ticks < pace.ticks {
            ticker.ticks += 1;
            outbound
                .send(Tick {
                    number: ticker.ticks,
                })
                .await?;
            cx.sleep(Duration::from_millis(pace.every_ms.into())).await;
        }
        Ok(())
    }
}

/// Tells when the handler that it belongs to returns, or is dropped.
struct Ticker {
    stopped: Sender<u32>,
    ticks: u32,
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // Nobody may be watching.
        let _ = self.stopped.send(self.ticks);
    }
}

/// The asking end, over whatever `studio` calls through.
pub(crate) fn tell<S: Service + Clone + 'static>(
    studio: &StudioClient<S>,
    watch: &Watch,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    chat(studio, out)?;
    upload(studio, watch, out)?;
    ticks(studio, watch, out)
}

fn chat<S: Service + Clone + 'static>(
    studio: &StudioClient<S>,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    writeln!(out, "a chat, line by line")?;
    let (mut outbound, mut inbound) = studio.chat().open().wait()?;
    for text in ["hello", "is anybody there?", "over"] {
        let line = Line {
            text: text.to_owned(),
        };
        outbound.send(line).wait()?;
        if let Some(reply) = inbound.next().wait()? {
            writeln!(out, "  {text} -> {}", reply.text)?;
        }
    }
    // That is all from this side; the other one is not done yet.
    drop(outbound);
    while let Some(reply) = inbound.next().wait()? {
        writeln!(out, "  -> {}", reply.text)?;
    }
    let lines = inbound.trailer().text("lines").unwrap_or("?");
    writeln!(
        out,
        "  {lines} lines were heard, says what came with the end"
    )?;
    Ok(())
}

/// More than ever lies between the two ends, and much less than is sent.
const UNDER_WAY_MAX: u64 = 1 << 20;

fn upload<S: Service + Clone + 'static>(
    studio: &StudioClient<S>,
    watch: &Watch,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    writeln!(out, "an upload, as fast as it is taken in")?;
    let mut upload = studio.upload().open().wait()?;
    let (mut sent, mut under_way) = (0, 0);
    for _ in 0..1_000 {
        let content = vec![7; 16 * 1024];
        sent += content.len() as u64;
        // Waits when the handler is behind: what is under way stays bounded without anybody counting.
        upload.send(Chunk { content }).wait()?;
        let taken = watch.taken.load(Ordering::SeqCst);
        under_way = under_way.max(sent.saturating_sub(taken));
    }
    let receipt = upload.finish().wait()?;
    writeln!(out, "  {} chunks, {} bytes", receipt.chunks, receipt.bytes)?;
    let is_bounded = under_way < UNDER_WAY_MAX;
    writeln!(out, "  never more than 1 MiB of it under way: {is_bounded}")?;

    let mut upload = studio.upload().open().wait()?;
    upload.send(Chunk::default()).wait()?;
    match upload.finish().wait() {
        Ok(_) => writeln!(out, "  an empty chunk was taken")?,
        Err(status) => writeln!(out, "  an empty chunk -> {status}")?,
    }
    Ok(())
}

fn ticks<S: Service + Clone + 'static>(
    studio: &StudioClient<S>,
    watch: &Watch,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    writeln!(out, "a ticker that counts to three")?;
    let (every_ms, ticks) = (2, 3);
    let mut inbound = studio.ticks(Pace { every_ms, ticks }).open().wait()?;
    for tick in inbound.messages() {
        writeln!(out, "  tick {}", tick?.number)?;
    }
    writeln!(out, "  it stopped after {}", watch.stopped.recv()?)?;

    writeln!(out, "one without an end, until nobody listens")?;
    let ticks = 0;
    let mut inbound = studio.ticks(Pace { every_ms, ticks }).open().wait()?;
    for tick in inbound.messages().take(2) {
        writeln!(out, "  tick {}", tick?.number)?;
    }
    drop(inbound);
    watch.stopped.recv()?;
    writeln!(out, "  it was dropped")?;

    writeln!(out, "one without an end, for 200 ms")?;
    let call = studio.ticks(Pace { every_ms, ticks });
    let mut inbound = call.timeout(Duration::from_millis(200)).open().wait()?;
    let end = inbound.messages().find_map(Result::err);
    writeln!(out, "  {:?}", end.map(|status| status.code()))?;
    watch.stopped.recv()?;
    writeln!(out, "  it was dropped")?;
    Ok(())
}
