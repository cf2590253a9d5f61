//! Streams over virtual wires: what both ends promise, one promise at a time. `stream_seeds.rs` lets all of it happen at
//! once.

mod support;

use std::future::pending;
use std::sync::{Arc, Mutex};

use rpc_codec::Limits;
use rpc_core::stream::{Inbound, Outbound, Pipe};
use rpc_core::stub::{Incoming, IncomingStream, IncomingUpload};
use rpc_core::{Body, Code, Context, Mount, Request, Response, Service, Status};
use rpc_server::{Router, Server};
use rpc_testing::{Sim, SimServer};
use support::talk::{TALK, TalkClient};
use support::{Count, Note, add, ms, note, read};

fn numbered(number: u64) -> Note {
    Note {
        number,
        text: String::new(),
    }
}

/// A note of some length, so that few of them fill a window.
fn long(number: u64) -> Note {
    Note {
        number,
        text: "x".repeat(1_000),
    }
}

/// Answers streams of every shape, and a call: echoes a chat, counts up to a number, sums numbers up.
fn all_shapes() -> Mount<impl Service + 'static> {
    talking!(|request| async move {
        match request.method().name {
            "Sum" => {
                let (call, mut inbound) = IncomingUpload::open::<Note>(request)?;
                let mut sum = 0;
                while let Some(note) = inbound.next().await? {
                    sum += note.number;
                }
                call.close(Ok(numbered(sum)))
            }
            "Count" => {
                let (call, upto, mut outbound) =
                    IncomingStream::server_stream::<Note, Note>(request).await?;
                for number in 0..upto.number {
                    outbound.send(long(number)).await?;
                }
                call.close(Ok(()))
            }
            "Chat" => echo_all(request).await,
            _ => {
                let (call, note) = Incoming::open::<Note>(request)?;
                call.close(Ok(note))
            }
        }
    })
}

async fn echo_all(request: Request) -> Result<Response, Status> {
    let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
    while let Some(note) = inbound.next().await? {
        outbound.send(note).await?;
    }
    call.close(Ok(()))
}

/// Counts how many are there.
struct Alive(Count);

impl Alive {
    fn new(count: &Count) -> Self {
        add(count);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// A handler that never returns. What is returned beside it counts how many run.
fn endless() -> (Mount<impl Service + 'static>, Count) {
    let alive = Count::default();
    let counted = alive.clone();
    let mount = talking!(|request| {
        let alive = Alive::new(&counted);
        async move {
            let _alive = alive;
            let (_call, _inbound, _outbound) = IncomingStream::duplex::<Note, Note>(request)?;
            pending().await
        }
    });
    (mount, alive)
}

type Chat = (Outbound<Note>, Inbound<Note>);

fn open<S: Service + Clone + 'static>(sim: &mut Sim, talk: &TalkClient<S>) -> Chat {
    sim.run(talk.chat().open()).unwrap()
}

fn send(sim: &mut Sim, mut outbound: Outbound<Note>, note: Note) -> Outbound<Note> {
    sim.run(async move {
        outbound.send(note).await.unwrap();
        outbound
    })
}

/// What is left to be read, and how it ends.
fn read_all(sim: &mut Sim, mut inbound: Inbound<Note>) -> (Vec<u64>, Result<(), Status>) {
    sim.run(async move {
        let mut numbers = Vec::new();
        loop {
            match inbound.next().await {
                Ok(Some(note)) => numbers.push(note.number),
                Ok(None) => return (numbers, Ok(())),
                Err(status) => return (numbers, Err(status)),
            }
        }
    })
}

/// Nothing is left of streams and calls.
fn assert_at_rest<S: rpc_testing::Process>(sim: &mut Sim, server: SimServer, client: &S) {
    sim.advance(ms(100));
    let left = (sim.calls(&server), sim.jobs(server), sim.calls(client));
    assert_eq!(left, (0, 0, 0), "calls, permits and calls of the client");
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r1_r2_streams_of_every_shape_keep_their_order_however_the_bytes_are_cut() {
    for seed in 0..8 {
        let mut sim = Sim::seeded(seed).stalls(5, ms(1)..ms(20));
        let server = sim.server(Router::new().mount(all_shapes()));
        let channel = sim.client(server);
        let talk = TalkClient::new(channel.clone());
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let talk = talk.clone();
                sim.start(async move {
                    let mut upload = talk.sum().open().await?;
                    for number in 0..100 {
                        upload.send(long(number)).await?;
                    }
                    let sum = upload.finish().await?.number;
                    let mut inbound = talk.count(numbered(100)).open().await?;
                    let mut counted = Vec::new();
                    while let Some(note) = inbound.next().await? {
                        counted.push(note.number);
                    }
                    // Alone with both halves: a window and two lanes have room for so much.
                    let (mut outbound, mut inbound) = talk.chat().open().await?;
                    for number in 0..50 {
                        outbound.send(long(number)).await?;
                    }
                    drop(outbound);
                    let mut echoed = Vec::new();
                    while let Some(note) = inbound.next().await? {
                        echoed.push(note.number);
                    }
                    Ok::<_, Status>((sum, counted, echoed))
                })
            })
            .collect();
        let wanted = (99 * 100 / 2, (0..100).collect(), (0..50).collect());
        for task in &tasks {
            assert_eq!(sim.finish(task).unwrap(), wanted, "seed {seed}");
        }
        assert_at_rest(&mut sim, server, &channel);
    }
}

#[test]
fn r14_calls_and_streams_beside_one_that_nobody_reads_are_not_held_up() {
    let mut sim = Sim::seeded(3).latency(ms(1)..ms(2));
    let server = sim.server(Router::new().mount(all_shapes()));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    // Each fills its window, and its handler stands.
    let unread: Vec<_> = (0..5)
        .map(|_| sim.run(talk.count(numbered(10_000)).open()).unwrap())
        .collect();
    sim.advance(ms(1_000));
    assert_eq!(sim.connections(&server), 1);
    for _ in 0..20 {
        let start = sim.now();
        assert_eq!(sim.run(talk.ask(note("hello"))).unwrap(), note("hello"));
        assert!(sim.now() - start < ms(20), "{:?}", sim.now() - start);
    }
    let start = sim.now();
    let inbound = sim.run(talk.count(numbered(100)).open()).unwrap();
    assert_eq!(read_all(&mut sim, inbound).0.len(), 100);
    assert!(sim.now() - start < ms(100));
    drop(unread);
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn r18_a_reader_that_stops_stops_the_writer_and_loses_nothing() {
    let sent = Count::default();
    let counted = sent.clone();
    let mount = talking!(|request| {
        let sent = counted.clone();
        async move {
            let (call, upto, mut outbound) =
                IncomingStream::server_stream::<Note, Note>(request).await?;
            for number in 0..upto.number {
                outbound.send(long(number)).await?;
                add(&sent);
            }
            call.close(Ok(()))
        }
    });
    let mut sim = Sim::seeded(4);
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let inbound = sim.run(talk.count(numbered(5_000)).open()).unwrap();
    sim.advance(ms(5_000));
    // A window of 65,535 bytes, a lane of 64 KiB, and one message on each side of the edge.
    assert!((100..=135).contains(&read(&sent)), "{} sent", read(&sent));
    let (numbers, end) = read_all(&mut sim, inbound);
    assert!(end.is_ok() && numbers.into_iter().eq(0..5_000));
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn r4_a_deadline_ends_a_stream_at_both_ends() {
    let (mount, alive) = endless();
    let mut sim = Sim::seeded(5).latency(ms(1)..ms(5));
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let (_outbound, mut inbound) = sim.run(talk.chat().timeout(ms(200)).open()).unwrap();
    let ended = sim.start(async move { inbound.next().await.unwrap_err().code() });
    sim.advance(ms(180));
    assert!(sim.result(&ended).is_none());
    assert_eq!(read(&alive), 1);
    sim.advance(ms(30));
    assert_eq!(sim.result(&ended), Some(Code::DeadlineExceeded));
    assert_eq!(read(&alive), 0, "the handler was dropped");
    assert_at_rest(&mut sim, server, &channel);
}

/// The time that a server has for each call is not meant for streams; what was said where they are mounted is.
#[test]
fn r6_a_stream_is_bounded_where_it_is_mounted() {
    for (bound, ends_at) in [(None, None), (Some(ms(200)), Some(Code::ServerTimeout))] {
        let (mount, _alive) = endless();
        let mount = bound.into_iter().fold(mount, Mount::timeout);
        let mut sim = Sim::seeded(8);
        let server = sim.server(Server::builder().timeout(ms(100)).service(mount));
        let talk = TalkClient::new(sim.client(server));
        let (_outbound, mut inbound) = open(&mut sim, &talk);
        let ended = sim.start(async move { inbound.next().await.unwrap_err().code() });
        sim.advance(ms(150));
        assert!(sim.result(&ended).is_none());
        sim.advance(ms(500));
        assert_eq!(sim.result(&ended), ends_at);
    }
}

#[test]
fn r10_dropped_handles_reach_the_handler_and_free_its_permit() {
    let (mount, alive) = endless();
    let mut sim = Sim::seeded(6);
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let chats: Vec<_> = (0..20).map(|_| open(&mut sim, &talk)).collect();
    sim.advance(ms(20));
    assert_eq!((read(&alive), sim.jobs(server)), (20, 20));
    drop(chats);
    assert_at_rest(&mut sim, server, &channel);
    assert_eq!(read(&alive), 0);
    assert_eq!(sim.connections(&server), 1, "the connection goes on");
}

#[test]
fn r10_a_lost_connection_ends_its_streams_at_both_ends() {
    let (mount, alive) = endless();
    let mut sim = Sim::seeded(7);
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let chats: Vec<_> = (0..20).map(|_| open(&mut sim, &talk)).collect();
    sim.advance(ms(20));
    sim.cut(&server);
    for (_outbound, inbound) in chats {
        let end = read_all(&mut sim, inbound).1.unwrap_err();
        assert_eq!(end.code(), Code::ConnectionLost);
    }
    assert_at_rest(&mut sim, server, &channel);
    assert_eq!(read(&alive), 0);
    // The next one finds another connection.
    drop(open(&mut sim, &talk));
}

#[test]
fn r12_a_panic_resets_its_stream_with_31_and_no_other() {
    let mount = talking!(|request| async move {
        let (call, mut inbound, mut outbound) = IncomingStream::duplex::<Note, Note>(request)?;
        while let Some(note) = inbound.next().await? {
            if note.text == "boo" {
                // As a panic does, but without a word on the console.
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            outbound.send(note).await?;
        }
        call.close(Ok(()))
    });
    let mut sim = Sim::seeded(8);
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let [panics, lives] = [(); 2].map(|()| open(&mut sim, &talk));
    let outbound = send(&mut sim, panics.0, note("boo"));
    let end = read_all(&mut sim, panics.1).1.unwrap_err();
    assert_eq!(end.code(), Code::Internal);
    drop(outbound);
    drop(send(&mut sim, lives.0, numbered(1)));
    let (numbers, end) = read_all(&mut sim, lives.1);
    assert!(end.is_ok() && numbers == [1]);
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn r22_a_partition_costs_a_stream_time_and_no_message() {
    let mut sim = Sim::seeded(9);
    let server = sim.server(Router::new().mount(all_shapes()));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let inbound = sim.run(talk.count(numbered(1_000)).open()).unwrap();
    let mut inbound = inbound;
    let read_some = sim.start(async move {
        let mut numbers = Vec::new();
        while let Some(note) = inbound.next().await? {
            numbers.push(note.number);
        }
        Ok::<_, Status>(numbers)
    });
    for _ in 0..3 {
        sim.part(&server);
        sim.advance(ms(5_000));
        sim.reach(&server);
        sim.advance(ms(1));
    }
    assert!(sim.finish(&read_some).unwrap().into_iter().eq(0..1_000));
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn r23_a_stream_that_ends_within_the_grace_time_ends_in_order() {
    let mut sim = Sim::seeded(10);
    let server = sim.server(Router::new().mount(all_shapes()));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let (mut outbound, inbound) = open(&mut sim, &talk);
    sim.drain_within(server, ms(100), ms(5_000));
    // Long after a connection without streams would have been ended.
    for number in 0..20 {
        sim.advance(ms(100));
        outbound = send(&mut sim, outbound, long(number));
    }
    assert!(sim.is_up(server));
    assert_eq!(sim.connections(&server), 1);
    drop(outbound);
    let (numbers, end) = read_all(&mut sim, inbound);
    assert!(end.is_ok() && numbers.into_iter().eq(0..20), "{end:?}");
    sim.advance(ms(1_200));
    assert!(!sim.is_up(server), "nothing is left to wait for");
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r24_a_stream_that_does_not_end_is_reset_with_31_when_the_grace_time_is_over() {
    let (mount, alive) = endless();
    let mut sim = Sim::seeded(11).latency(ms(1)..ms(5));
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let (_outbound, mut inbound) = open(&mut sim, &talk);
    sim.drain_within(server, ms(100), ms(2_000));
    let ended = sim.start(async move { inbound.next().await.unwrap_err() });
    sim.advance(ms(1_990));
    assert!(sim.result(&ended).is_none() && sim.is_up(server));
    sim.advance(ms(30));
    let status = sim.result(&ended).expect("an end");
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.message(), "the server is closing");
    assert_eq!(read(&alive), 0);
    sim.advance(ms(300));
    assert!(!sim.is_up(server));
}

#[test]
fn r24_so_is_one_that_was_answered_and_whose_peer_makes_no_room() {
    let mut sim = Sim::seeded(12);
    let server = sim.server(Router::new().mount(all_shapes()));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    // More than a window and less than that and a lane.
    let inbound = sim.run(talk.count(numbered(100)).open()).unwrap();
    sim.advance(ms(100));
    assert_eq!(sim.jobs(server), 0, "the handler has returned");
    sim.drain_within(server, ms(100), ms(1_000));
    sim.advance(ms(1_050));
    let (numbers, end) = read_all(&mut sim, inbound);
    let status = end.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(numbers.len() < 100 && (0..).zip(&numbers).all(|(at, number)| at == *number));
}

#[test]
fn r25_after_the_mark_at_the_end_of_a_stream_the_next_goes_elsewhere() {
    let mut sim = Sim::seeded(13);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(all_shapes())));
    let channel = sim.client_of(&servers, |builder| builder);
    let talk = TalkClient::new(channel.clone());
    let (outbound, inbound) = open(&mut sim, &talk);
    let (here, there) = if sim.connections(&servers[0]) > 0 {
        (servers[0], servers[1])
    } else {
        (servers[1], servers[0])
    };
    sim.drain_within(here, ms(3_000), ms(9_000));
    drop(outbound);
    assert!(read_all(&mut sim, inbound).1.is_ok());
    sim.advance(ms(50));
    assert_eq!(sim.connections(&here), 0, "the client has ended it");
    let chats: Vec<_> = (0..10).map(|_| open(&mut sim, &talk)).collect();
    assert_eq!((sim.calls(&here), sim.calls(&there)), (0, 10));
    drop(chats);
}

#[test]
fn a_stream_to_an_endpoint_that_left_the_list_goes_on_to_its_end() {
    let mut sim = Sim::seeded(14);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(all_shapes())));
    let channel = sim.client_of(&servers[..1], |builder| builder);
    let talk = TalkClient::new(channel.clone());
    let (outbound, inbound) = open(&mut sim, &talk);
    sim.endpoints(&channel, &servers[1..]);
    sim.advance(ms(1_000));
    let outbound = send(&mut sim, outbound, numbered(1));
    drop(outbound);
    let (numbers, end) = read_all(&mut sim, inbound);
    assert!(end.is_ok() && numbers == [1]);
    sim.advance(ms(2_000));
    assert_eq!(sim.connections(&servers[0]), 0);
    assert_at_rest(&mut sim, servers[0], &channel);
}

#[test]
fn r21_a_channel_that_is_dropped_with_its_streams_leaves_nothing_behind() {
    for seed in 0..20 {
        let (mount, alive) = endless();
        let mut sim = Sim::seeded(seed);
        let server = sim.server(Router::new().mount(mount));
        let talk = TalkClient::new(sim.client(server));
        let chats: Vec<_> = (0..3).map(|_| open(&mut sim, &talk)).collect();
        sim.advance(ms(20));
        drop(talk);
        drop(chats);
        sim.advance(ms(1_500));
        let left = (sim.calls(&server), sim.jobs(server), read(&alive));
        assert_eq!(left, (0, 0, 0), "seed {seed}");
        assert_eq!(sim.connections(&server), 0, "seed {seed}");
    }
}

#[test]
fn a_writer_that_outlives_its_handler_does_not_keep_the_stream_open() {
    let kept = Arc::<Mutex<Vec<Outbound<Note>>>>::default();
    let keeps = kept.clone();
    let mount = talking!(|request| {
        let keeps = keeps.clone();
        async move {
            let (call, upto, mut outbound) =
                IncomingStream::server_stream::<Note, Note>(request).await?;
            for number in 0..upto.number {
                outbound.send(long(number)).await?;
            }
            keeps.lock().unwrap().push(outbound);
            call.close(Ok(()))
        }
    });
    let mut sim = Sim::seeded(15);
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    // More than a window, so the end has to wait for the reader, and less than that and a lane.
    let inbound = sim.run(talk.count(numbered(100)).open()).unwrap();
    sim.advance(ms(100));
    assert_eq!(sim.calls(&server), 0, "it was answered");
    let mut writer = kept.lock().unwrap().pop().expect("kept");
    let late = sim.run(async move { writer.send(long(100)).await });
    assert_eq!(late.unwrap_err().code(), Code::Cancelled);
    let (numbers, end) = read_all(&mut sim, inbound);
    assert!(end.is_ok() && numbers.into_iter().eq(0..100), "{end:?}");
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn an_end_that_the_loop_finds_out_while_it_writes_wakes_the_caller_at_once() {
    let (mount, _alive) = endless();
    let mut sim = Sim::seeded(16).latency(ms(1)..ms(2));
    let server = sim.server(Router::new().mount(mount));
    let channel = sim.client(server);
    let (ours, theirs) = Pipe::pair();
    let mut request = Request::new(&TALK.methods[2], Context::background(), Body::new());
    request.set_pipe(theirs);
    let service = channel.clone();
    let ended = sim.start(async move { service.call(request).await });
    sim.advance(ms(50));
    let Pipe { reader, writer } = ours;
    // Not an orderly end: whoever waits for the call is told without any further event.
    drop(writer);
    sim.advance(ms(10));
    let end = sim.result(&ended).expect("an end").unwrap_err();
    assert_eq!(end.code(), Code::Cancelled);
    drop(reader);
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn a_stream_that_is_given_up_before_there_is_a_connection_is_not_asked_for() {
    let begun = Count::default();
    let counted = begun.clone();
    let mut sim = Sim::seeded(17).latency(ms(50)..ms(60));
    let server = sim.server(Router::new().mount(talking!(|request| {
        add(&counted);
        echo_all(request)
    })));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let opening = sim.start(talk.chat().open());
    sim.advance(ms(20));
    sim.forget(&opening);
    sim.advance(ms(1_000));
    assert_eq!((sim.connections(&server), read(&begun)), (1, 0));
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn r17_streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let limits = Limits::default().with_connection_streams_max(10);
    let mut sim = Sim::seeded(18);
    let server = sim.server(Server::builder().limits(limits).service(all_shapes()));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let mut chats: Vec<_> = (0..10).map(|_| open(&mut sim, &talk)).collect();
    let refused = sim.run(talk.chat().open()).unwrap_err();
    assert_eq!(refused.code(), Code::Overloaded, "{refused}");
    drop(chats.pop());
    sim.advance(ms(50));
    chats.push(open(&mut sim, &talk));
    for (number, (outbound, inbound)) in (0..).zip(chats) {
        drop(send(&mut sim, outbound, numbered(number)));
        assert_eq!(read_all(&mut sim, inbound).0, [number]);
    }
    assert_at_rest(&mut sim, server, &channel);
}

#[test]
fn a_stream_on_which_nothing_happens_ends_at_both_ends() {
    let (mount, alive) = endless();
    let limits = Limits::default().with_stream_idle(ms(3_000));
    let mut sim = Sim::seeded(19);
    let server = sim.server(Server::builder().limits(limits).service(mount));
    let channel = sim.client(server);
    let talk = TalkClient::new(channel.clone());
    let (_outbound, inbound) = open(&mut sim, &talk);
    let start = sim.now();
    let end = read_all(&mut sim, inbound).1.unwrap_err();
    assert_eq!(end.code(), Code::Framework(255), "{end}");
    let lasted = sim.now() - start;
    assert!((ms(2_990)..ms(3_200)).contains(&lasted), "{lasted:?}");
    assert_at_rest(&mut sim, server, &channel);
    assert_eq!(read(&alive), 0);
}

#[test]
fn i12_the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut sim = Sim::seeded(seed).stalls(5, ms(1)..ms(50));
        let server = sim.server(Router::new().mount(all_shapes()));
        let talk = TalkClient::new(sim.client(server));
        let reads: Vec<_> = (0..10)
            .map(|number| {
                let opening = talk.count(numbered(100 + number)).open();
                sim.start(async move {
                    let mut inbound = opening.await?;
                    let mut count = 0;
                    while inbound.next().await?.is_some() {
                        count += 1;
                    }
                    Ok::<_, Status>(count)
                })
            })
            .collect();
        sim.advance(ms(30));
        sim.cut(&server);
        let ends: Vec<_> = reads
            .iter()
            .map(|read| sim.finish(read).map_err(|status| status.code()))
            .collect();
        (sim.trace(), ends)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}
