//! The pieces of the hot path, one by one.

#![allow(
    clippy::wildcard_imports,
    reason = "modules are only there to name what is measured"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use divan::counter::ItemsCount;
use rpc_net::mailbox::Mailbox;
use rpc_net::timer::TimerWheel;
use tern::codec::connection::{Connection, Input, ServerConnection, Shelf};
use tern::codec::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use tern::codec::{Limits, RequestHead, ResponseHead};
use tern::{
    Body, Clock, Codecs, Compression, Context, Executor, Filter, Format, Job, Metadata, Pool,
    Request, Response, Service, Status, message, park,
};
use tern_benches::echo::{ECHO, EchoMessage};
use tern_benches::framework::{Checked, Counted, Timed};

fn main() {
    divan::main();
}

/// Requests of one turn of the loop.
const BATCH: usize = 64;

mod head {
    use super::*;

    #[divan::bench]
    fn decode_request(bencher: Bencher) {
        let bytes = request_head();
        bencher.bench(|| RequestHead::decode(black_box(&bytes)).is_ok());
    }

    #[divan::bench]
    fn encode_response(bencher: Bencher) {
        let metadata = Metadata::new();
        let mut out = BytesMut::with_capacity(256);
        let head = ResponseHead {
            request_id: 300,
            ..ResponseHead::default()
        };
        bencher.bench_local(|| {
            out.clear();
            let length = black_box(&head).encoded_len(&metadata);
            head.encode(&metadata, &mut out);
            length
        });
    }
}

mod frame {
    use super::*;

    /// 64 requests of one read, to the event that the server's driver gets.
    #[divan::bench]
    fn split_and_read(bencher: Bencher) {
        let clock = Clock::system();
        let batch = request_frame(32).repeat(BATCH);
        let limits = Arc::new(Limits::default());
        bencher
            .counter(ItemsCount::new(BATCH))
            .with_inputs(|| ServerConnection::new(Arc::clone(&limits), clock.now()))
            .bench_local_values(|mut connection| {
                let (now, mut shelf) = (clock.now(), Shelf::default());
                let mut input = Input::borrowed(&batch, now);
                let mut events = 0;
                while let Ok(Some(_)) = connection.next_event(&mut input, &mut shelf, now) {
                    events += 1;
                }
                assert_eq!(events, BATCH);
            });
    }

    /// A small body is copied out of the read buffer.
    #[divan::bench]
    fn keep(bencher: Bencher) {
        let mut shelf = Shelf::default();
        bencher.bench_local(|| shelf.keep(black_box(&[7; 128])));
    }

    /// What copying competes with: a piece of the read buffer that counts its users.
    #[divan::bench]
    fn share(bencher: Bencher) {
        let buffer = Bytes::from(vec![7; 64 * 1024]);
        bencher.bench_local(|| black_box(&buffer).slice(1000..1128));
    }
}

mod mailbox {
    use super::*;

    #[divan::bench]
    fn send_and_drain(bencher: Bencher) {
        let (mut mailbox, sender) = Mailbox::new(Arc::new(|| ()));
        let mut drained = Vec::new();
        bencher.bench_local(|| {
            assert!(sender.send(1_u64).is_ok());
            mailbox.drain(&mut drained);
            drained.clear();
        });
    }

    #[divan::bench]
    fn send_64_and_drain(bencher: Bencher) {
        let (mut mailbox, sender) = Mailbox::new(Arc::new(|| ()));
        let mut drained = Vec::new();
        bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
            for number in 0..BATCH {
                assert!(sender.send(number).is_ok());
            }
            mailbox.drain(&mut drained);
            drained.clear();
        });
    }
}

/// There and back: jobs go to the threads of a pool, and the thread that gave them waits until all have run.
mod pool {
    use super::*;

    #[divan::bench(args = [1, 4])]
    fn single(bencher: Bencher, threads: usize) {
        let rounds = Rounds::new(threads);
        bencher.bench_local(|| rounds.run(1));
    }

    #[divan::bench(args = [1, 4])]
    fn batch_of_64(bencher: Bencher, threads: usize) {
        let rounds = Rounds::new(threads);
        bencher
            .counter(ItemsCount::new(BATCH))
            .bench_local(|| rounds.run(BATCH));
    }

    struct Rounds {
        executor: Executor,
        left: Arc<AtomicUsize>,
        waiting: thread::Thread,
    }

    impl Rounds {
        fn new(threads: usize) -> Self {
            let pool = Pool::builder("bench").threads(threads).build();
            Self {
                executor: pool.as_ref().clone(),
                left: Arc::default(),
                waiting: thread::current(),
            }
        }

        fn run(&self, jobs: usize) {
            self.left.store(jobs, Ordering::Release);
            let mut batch = (0..jobs).map(|_| self.job()).collect();
            self.executor.spawn(&mut batch);
            while self.left.load(Ordering::Acquire) > 0 {
                thread::park();
            }
        }

        fn job(&self) -> Job {
            let (left, waiting) = (Arc::clone(&self.left), self.waiting.clone());
            let work = async move {
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    waiting.unpark();
                }
            };
            let (job, handle) = Job::new(work, |_| unreachable!("it never waits"));
            handle.detach();
            job
        }
    }
}

mod timer {
    use super::*;

    /// The timer of a call's deadline: set when it begins, taken back when it is answered.
    #[divan::bench]
    fn insert_and_cancel(bencher: Bencher) {
        let start = Clock::system().now();
        let mut wheel = TimerWheel::new(start);
        for millis in 0..512 {
            wheel.insert(start + Duration::from_millis(millis), 0_u64);
        }
        bencher.bench_local(|| {
            let key = wheel.insert(start + black_box(Duration::from_millis(800)), 1);
            wheel.cancel(key)
        });
    }
}

/// A request through filters to a service that returns its body; `none` is what that costs without filters.
mod filters {
    use super::*;

    #[divan::bench]
    fn none(bencher: Bencher) {
        bench(bencher, &Echo);
    }

    #[divan::bench]
    fn four(bencher: Bencher) {
        let chain = Counted::default()
            .then(Timed::default())
            .then(tern::Concurrency::max(1024))
            .then(Checked);
        bench(bencher, &chain.around(Echo));
    }

    #[divan::bench]
    fn four_behind_pointers(bencher: Bencher) {
        let chain = Counted::default().boxed().then(Timed::default().boxed());
        let chain = chain
            .then(tern::Concurrency::max(1024).boxed())
            .then(Checked.boxed());
        bench(bencher, &chain.around(Echo));
    }

    fn bench(bencher: Bencher, service: &impl Service) {
        let context = Context::background();
        let body = Body::from(vec![0; 32]);
        bencher
            .with_inputs(|| Request::new(&ECHO.methods[0], context.clone(), body.clone()))
            .bench_local_values(|request| {
                park::wait(service.call(request)).map(|done| done.is_ok())
            });
    }

    struct Echo;

    impl Service for Echo {
        async fn call(&self, request: Request) -> Result<Response, Status> {
            Ok(Response::new(request.into_body()))
        }
    }
}

/// 1 KiB with the state that a thread keeps.
mod compression {
    use super::*;

    const UNPACKED_MAX: usize = 1 << 20;

    const ALL: [Compression; 6] = [
        Compression::Gzip,
        Compression::Zlib,
        Compression::SnappyStream,
        Compression::SnappyBlock,
        Compression::Lz4Frame,
        Compression::Lz4Block,
    ];

    #[divan::bench(args = ALL)]
    fn compress_1_kib(bencher: Bencher, compression: Compression) {
        let (codecs, text) = (Codecs::default(), text());
        bencher.bench(|| codecs.compress(compression, black_box(&text)).is_ok());
    }

    #[divan::bench(args = ALL)]
    fn decompress_1_kib(bencher: Bencher, compression: Compression) {
        let codecs = Codecs::default();
        let packed = codecs.compress(compression, &text());
        let packed = packed.ok().flatten().expect("text becomes smaller");
        bencher.bench(|| {
            codecs
                .decompress(compression, black_box(&packed), UNPACKED_MAX)
                .is_ok()
        });
    }

    /// What compresses like messages do: about to half.
    fn text() -> Bytes {
        let words =
            (0_u32..).map(|n| format!("field_{}={:x};", n % 13, n.wrapping_mul(2_654_435_761)));
        let text: String = words.take(64).collect();
        Bytes::from(text.into_bytes()).slice(..1024)
    }
}

mod body {
    use super::*;

    #[divan::bench(args = [32, 1024, 65_536])]
    fn encode(bencher: Bencher, payload: usize) {
        let message = EchoMessage {
            payload: vec![0; payload].into(),
        };
        bencher.bench_local(|| message::encode(black_box(&message), Format::Protobuf).is_ok());
    }

    #[divan::bench(args = [32, 1024, 65_536])]
    fn decode(bencher: Bencher, payload: usize) {
        let message = EchoMessage {
            payload: vec![0; payload].into(),
        };
        let body = message::encode(&message, Format::Protobuf).expect("it can be written");
        bencher
            .with_inputs(|| body.clone())
            .bench_local_values(|body| {
                <EchoMessage as message::Message>::decode(Format::Protobuf, body).is_ok()
            });
    }
}

fn request_head() -> Vec<u8> {
    let head = RequestHead {
        request_id: 300,
        timeout_ms: 800,
        caller: b"trpc.bench.load.Client",
        callee: b"trpc.bench.echo.Echo",
        func: b"/bench.v1.Echo/Echo",
        ..RequestHead::default()
    };
    let mut bytes = Vec::new();
    head.encode(&Metadata::new(), &mut bytes);
    bytes
}

fn request_frame(payload: usize) -> Vec<u8> {
    let head = request_head();
    let total = HEADER_BYTES + head.len() + payload;
    let header = FrameHeader {
        kind: FrameKind::Unary,
        stream_frame_type: 0,
        total_len: u32::try_from(total).expect("it is small"),
        head_len: u16::try_from(head.len()).expect("it is small"),
        stream_id: 300,
        version: 1,
        reserved: 0,
    };
    let mut frame = header.encode().to_vec();
    frame.extend_from_slice(&head);
    frame.resize(total, 0);
    frame
}
