//! The drivers of both ends over virtual wires: what they promise, one promise at a time.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_codec::connection::{ClientConnection, RequestIds};
use rpc_codec::{Limits, WriteQueue};
use rpc_core::{
    Body, Call, Cause, Clock, Code, Context, Deadline, Idempotency, MethodDescriptor, Raw, Request,
    Scope, Shape, Status,
};
use rpc_server::{Router, Server};
use rpc_testing::Sim;
use support::judge::{Ends, code, numbered};
use support::{Count, DESK, DeskClient, add, echo, ms, note, read, sleepy};

#[test]
fn deadline_passes_while_the_server_sleeps() {
    let mut sim = Sim::seeded(7).latency(ms(1)..ms(5));
    let server = sim.server(Router::new().mount(sleepy(ms(200))));
    let desk = DeskClient::new(sim.client(server));

    let call = sim.start(desk.ask(note("hello")).timeout(ms(100)));
    sim.advance(ms(99));
    assert!(sim.result(&call).is_none());
    sim.advance(ms(2));
    assert_eq!(
        sim.result(&call).unwrap().unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[test]
fn i12_the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut sim = Sim::seeded(seed)
            .latency(ms(1)..ms(30))
            .stalls(5, ms(1)..ms(50));
        let servers = [(); 3].map(|()| sim.server(Router::new().mount(sleepy(ms(7)))));
        let desk = DeskClient::new(sim.client_of(&servers, |builder| builder));
        let calls: Vec<_> = (0..50)
            .map(|number| {
                sim.advance(ms(1));
                if number == 20 {
                    sim.kill(servers[1]);
                }
                sim.start(desk.ask(numbered(number)))
            })
            .collect();
        sim.advance(ms(3_000));
        let codes: Vec<_> = calls
            .iter()
            .map(|call| {
                sim.result(call)
                    .unwrap()
                    .map_err(|status| status.to_string())
            })
            .collect();
        (sim.trace(), codes)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn r1_r2_every_call_gets_its_own_answer_however_the_bytes_are_cut() {
    for seed in 0..20 {
        let mut sim = Sim::seeded(seed).stalls(3, ms(1)..ms(20));
        let server = sim.server(Router::new().mount(echo()));
        let desk = DeskClient::new(sim.client(server));
        let calls: Vec<_> = (0..200)
            .map(|number| sim.start(desk.ask(numbered(number))))
            .collect();
        sim.advance(ms(900));
        for (number, call) in (0..).zip(&calls) {
            assert_eq!(
                sim.result(call).unwrap().unwrap(),
                numbered(number),
                "seed {seed}"
            );
        }
        assert_eq!(sim.complaints(), [""; 0]);
        assert_eq!(
            (sim.unanswered(), sim.calls(&server), sim.jobs(server)),
            (0, 0, 0)
        );
    }
}

#[test]
fn r1_a_one_way_call_is_run_and_never_answered() {
    let mut sim = Sim::seeded(1);
    let (run, count) = (Count::default(), Count::default());
    let counted = Arc::clone(&count);
    let server = sim.server(Router::new().mount(answering!(|_cx, note| {
        add(&counted);
        async move {
            if note.text.is_empty() {
                Err(Status::internal(""))
            } else {
                Ok(note)
            }
        }
    })));
    let desk = DeskClient::new(sim.client(server));
    for text in ["", "hello"] {
        let (desk, run) = (desk.clone(), Arc::clone(&run));
        sim.run(async move {
            desk.ask(note(text)).one_way().await.unwrap();
            add(&run);
        });
    }
    sim.advance(ms(100));
    assert_eq!((read(&run), read(&count)), (2, 2));
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r2_a_late_answer_is_dropped_and_the_connection_goes_on() {
    let mut sim = Sim::seeded(3);
    let server = sim.server(Router::new().mount(answering!(|cx, note| async move {
        cx.sleep(ms(note.number)).await;
        Ok(note)
    })));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(numbered(0))).unwrap();
    let late = sim.start(desk.ask(numbered(60)).timeout(ms(50)));
    let next = sim.start(desk.ask(numbered(80)).timeout(ms(500)));
    assert_eq!(code(sim.finish(&late)), Code::DeadlineExceeded);
    assert_eq!(sim.finish(&next).unwrap(), numbered(80));
    assert_eq!(sim.connections(&server), 1);
}

#[test]
fn r3_ids_wrap_around_and_skip_those_that_wait() {
    let (clock, _) = Clock::manual();
    let mut connection = ClientConnection::new(Arc::new(Limits::client()), clock.now());
    let mut output = WriteQueue::new();
    let mut start = |ids: &mut RequestIds| {
        let request = Request::new(&DESK.methods[0], Context::background(), Body::new());
        let started = connection.start(7, &request, ids, &mut output, clock.now());
        started.unwrap().0
    };
    let ids = &mut RequestIds::starting_at(u32::MAX - 1);
    assert_eq!([(); 3].map(|()| start(ids)), [u32::MAX - 1, u32::MAX, 0]);
    // Once around, with those three still waiting.
    let ids = &mut RequestIds::starting_at(u32::MAX - 2);
    assert_eq!([(); 3].map(|()| start(ids)), [u32::MAX - 2, 1, 2]);
}

#[test]
fn r4_a_call_that_is_forgotten_disturbs_nobody() {
    let mut sim = Sim::seeded(4);
    let server = sim.server(Router::new().mount(sleepy(ms(50))));
    let desk = DeskClient::new(sim.client(server));
    let forgotten = sim.start(desk.ask(numbered(1)));
    let kept = sim.start(desk.ask(numbered(2)));
    sim.advance(ms(10));
    sim.forget(&forgotten);
    assert_eq!(sim.finish(&kept).unwrap(), numbered(2));
    sim.advance(ms(1_000));
    assert_eq!(sim.complaints(), [""; 0]);
    assert_eq!(sim.calls(&server), 0);
}

#[test]
fn r5_a_full_pool_refuses_and_does_not_run() {
    let mut sim = Sim::seeded(5);
    let count = Count::default();
    let counted = Arc::clone(&count);
    let small = sim.pool("small", 1);
    let mount = answering!(|cx, note| {
        add(&counted);
        async move {
            cx.sleep(ms(100)).await;
            Ok(note)
        }
    });
    let server = sim.server(Router::new().mount(mount.on(&small)));
    let desk = DeskClient::new(sim.client(server));
    let calls = [1, 2].map(|number| sim.start(desk.ask(numbered(number))));
    let results = calls.map(|call| sim.finish(&call));
    let refused: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].code(), Code::Overloaded);
    assert!(refused[0].is_unexecuted());
    assert_eq!(read(&count), 1);
    sim.run(desk.ask(numbered(3))).unwrap();
}

#[test]
fn r7_expired_work_is_not_run_and_the_callers_time_is_24() {
    let mut sim = Sim::seeded(6);
    let count = Count::default();
    let counted = Arc::clone(&count);
    let ends = Ends::default();
    let mount = answering!(|_cx, note| {
        add(&counted);
        async move { Ok(note) }
    });
    let server = sim.server(Server::builder().service(mount).observer(ends.clone()));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note("warm"))).unwrap();
    sim.stall(server, ms(300));
    let call = sim.start(desk.ask(note("late")).timeout(ms(100)));
    assert_eq!(code(sim.finish(&call)), Code::DeadlineExceeded);
    sim.advance(ms(10));
    assert_eq!(ends.take(), [None, Some(Code::CallerTimeout)]);
    sim.advance(ms(1_000));
    assert_eq!((read(&count), sim.jobs(server)), (1, 0));
}

#[test]
fn r7_a_tie_between_caller_and_server_is_the_servers() {
    let mut sim = Sim::seeded(6);
    let ends = Ends::default();
    let mount = sleepy(ms(10_000)).timeout(ms(100));
    let server = sim.server(Server::builder().service(mount).observer(ends.clone()));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note("warm"))).unwrap_err();
    ends.take();
    for (timeout, expected) in [(99, Code::CallerTimeout), (100, Code::ServerTimeout)] {
        sim.run(desk.ask(note("")).timeout(ms(timeout)))
            .unwrap_err();
        sim.advance(ms(10));
        assert_eq!(ends.take(), [Some(expected)]);
    }
}

#[test]
fn r7_the_answer_comes_at_the_deadline_and_the_late_result_is_dropped() {
    let mut sim = Sim::seeded(8);
    let count = Count::default();
    let counted = Arc::clone(&count);
    let server = sim.server(
        Router::new().mount(
            answering!(|cx, note| {
                let counted = Arc::clone(&counted);
                async move {
                    cx.sleep(ms(40)).await;
                    add(&counted);
                    Ok(note)
                }
            })
            .timeout(ms(50)),
        ),
    );
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note("in time"))).unwrap();
    let call = sim.start(desk.ask(note("late")));
    sim.advance(ms(20));
    sim.stall(server, ms(100));
    let start = sim.now();
    assert_eq!(code(sim.finish(&call)), Code::ServerTimeout);
    assert!(sim.now() - start <= ms(30 + 50));
    sim.advance(ms(1_000));
    assert_eq!((read(&count), sim.jobs(server)), (1, 0));
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r7_time_counts_from_the_arrival_also_for_what_is_held_back() {
    let mut sim = Sim::seeded(9);
    let count = Count::default();
    let counted = Arc::clone(&count);
    let mount = answering!(|cx, note| {
        add(&counted);
        async move {
            cx.sleep(ms(300)).await;
            Ok(note)
        }
    });
    let limits = Limits::default().with_connection_calls_max(1);
    let ends = Ends::default();
    let builder = Server::builder().service(mount).limits(limits);
    let server = sim.server(builder.observer(ends.clone()));
    let client = sim.client_of(&[server], |builder| builder.connections_per_endpoint(1));
    let desk = DeskClient::new(client);
    // They arrive together, and one is held back until the other's time is over: so is its own.
    let calls = [1, 2].map(|number| sim.start(desk.ask(numbered(number)).timeout(ms(100))));
    for call in calls {
        assert_eq!(code(sim.finish(&call)), Code::DeadlineExceeded);
    }
    sim.advance(ms(2_000));
    assert_eq!(read(&count), 1);
    assert_eq!(ends.take(), [Some(Code::CallerTimeout); 2]);
}

#[test]
fn r8_inherited_time_is_102_and_own_time_is_101() {
    let mut sim = Sim::seeded(10);
    let server = sim.server(Router::new().mount(sleepy(ms(10_000))));
    let desk = DeskClient::new(sim.client(server));
    let mut cx = Context::new(&Arc::new(Scope::new(sim.clock().clone(), None, None)));
    cx.narrow(Deadline::new(sim.now() + ms(50), Cause::Own));
    let inherited = sim.start(desk.ask(note("")).within(&cx).timeout(ms(1_000)));
    let own = sim.start(desk.ask(note("")).within(&cx).timeout(ms(20)));
    assert_eq!(
        code(sim.finish(&inherited)),
        Code::InheritedDeadlineExceeded
    );
    assert_eq!(code(sim.finish(&own)), Code::DeadlineExceeded);
}

#[test]
fn r8_nothing_is_sent_when_nothing_is_left() {
    let mut sim = Sim::seeded(11);
    let server = sim.server(Router::new().mount(echo()));
    let desk = DeskClient::new(sim.client(server));
    let mut cx = Context::new(&Arc::new(Scope::new(sim.clock().clone(), None, None)));
    cx.narrow(Deadline::new(sim.now(), Cause::Own));
    let inherited = sim.start(desk.ask(note("")).within(&cx));
    assert_eq!(
        code(sim.finish(&inherited)),
        Code::InheritedDeadlineExceeded
    );
    let own = sim.start(desk.ask(note("")).timeout(Duration::ZERO));
    assert_eq!(code(sim.finish(&own)), Code::DeadlineExceeded);
    assert_eq!(sim.knocks(&server), 0);
}

#[test]
fn r8_a_handler_passes_on_what_is_left_of_its_time() {
    let mut sim = Sim::seeded(12).latency(ms(1)..ms(2));
    let left = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&left);
    let inner = sim.server(Router::new().mount(answering!(|cx, note| {
        *seen.lock().unwrap() = Some(cx.remaining());
        async move { Ok(note) }
    })));
    let through = DeskClient::new(sim.client(inner));
    let outer = sim.server(Router::new().mount(answering!(|cx, note| {
        let through = through.clone();
        async move {
            cx.sleep(ms(30)).await;
            through.ask(note).within(cx).timeout(ms(60_000)).await
        }
    })));
    let desk = DeskClient::new(sim.client(outer));
    assert_eq!(
        sim.run(desk.ask(note("hello")).timeout(ms(100))).unwrap(),
        note("hello")
    );
    let left = left.lock().unwrap().unwrap();
    assert!(left <= ms(70) && left > ms(50), "{left:?}");
}

/// Remembers whether the call was cancelled when its handler was dropped.
struct Leave {
    scope: Arc<Scope>,
    has_seen: Arc<AtomicBool>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.has_seen
            .store(self.scope.has_ended(), Ordering::SeqCst);
    }
}

#[test]
fn r10_when_the_peer_is_gone_what_runs_sees_it_and_what_waits_is_dropped() {
    let mut sim = Sim::seeded(13);
    let (count, has_seen) = (Count::default(), Arc::<AtomicBool>::default());
    let (counted, seen) = (Arc::clone(&count), Arc::clone(&has_seen));
    let server = sim.server(Router::new().mount(answering!(|cx, note| {
        add(&counted);
        let leave = Leave {
            scope: Arc::clone(cx.scope()),
            has_seen: Arc::clone(&seen),
        };
        async move {
            cx.sleep(ms(500)).await;
            drop(leave);
            Ok(note)
        }
    })));
    let desk = DeskClient::new(sim.client(server));
    let running = sim.start(desk.ask(numbered(1)));
    sim.advance(ms(50));
    sim.stall(server, ms(50));
    let queued = sim.start(desk.ask(numbered(2)));
    sim.advance(ms(10));
    assert_eq!(sim.jobs(server), 2);
    sim.cut(&server);
    sim.advance(ms(100));
    assert_eq!(code(sim.finish(&running)), Code::ConnectionLost);
    assert_eq!(code(sim.finish(&queued)), Code::ConnectionLost);
    assert!(has_seen.load(Ordering::SeqCst));
    assert_eq!(
        (read(&count), sim.jobs(server), sim.calls(&server)),
        (1, 0, 0)
    );
}

#[test]
fn r12_a_panic_is_31_and_the_next_call_works() {
    let mut sim = Sim::seeded(14);
    let server = sim.server(Router::new().mount(answering!(|_cx, note| async move {
        assert!(note.text != "boo", "on purpose");
        Ok(note)
    })));
    let desk = DeskClient::new(sim.client(server));
    let status = sim.run(desk.ask(note("boo"))).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("on purpose"));
    assert!(sim.run(desk.ask(note("hello"))).is_ok());
    assert_eq!(sim.jobs(server), 0);
}

#[test]
fn an_unknown_method_is_12() {
    static METHOD: MethodDescriptor = MethodDescriptor {
        index: 0,
        name: "Nothing",
        path: "/test.Desk/Nothing",
        alias: None,
        service: "test.Desk",
        idempotency: Idempotency::Unknown,
        shape: Shape::Unary,
        request: rpc_core::MessageType::UNKNOWN,
        reply: rpc_core::MessageType::UNKNOWN,
    };
    let mut sim = Sim::seeded(15);
    let server = sim.server(Router::new().mount(echo()));
    let client = sim.client(server);
    let status = sim
        .run(Call::<_, Raw, Raw>::new(client, &METHOD, Raw::default()))
        .unwrap_err();
    assert_eq!(status.code(), Code::NoMethod);
}

#[test]
fn r17_the_calls_of_one_connection_are_held_back_and_not_lost() {
    for seed in 0..20 {
        let mut sim = Sim::seeded(seed);
        let (now, most) = (Count::default(), Count::default());
        let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
        let mount = answering!(|cx, note| {
            add(&running);
            peak.fetch_max(read(&running), Ordering::SeqCst);
            let running = Arc::clone(&running);
            async move {
                cx.sleep(ms(5)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(note)
            }
        });
        let limits = Limits::default().with_connection_calls_max(4);
        let server = sim.server(Server::builder().service(mount).limits(limits));
        let client = sim.client_of(&[server], |builder| builder.connections_per_endpoint(1));
        let desk = DeskClient::new(client);
        let calls: Vec<_> = (0..60).map(|n| sim.start(desk.ask(numbered(n)))).collect();
        sim.advance(ms(1_000));
        for (number, call) in (0..).zip(&calls) {
            let result = sim.result(call).unwrap();
            assert_eq!(
                result.unwrap(),
                numbered(number),
                "seed {seed}, call {number}"
            );
        }
        assert_eq!(read(&most), 4, "seed {seed}");
    }
}

#[test]
fn r17_too_many_waiting_calls_fail_unsent() {
    let mut sim = Sim::seeded(16);
    let server = sim.server(Router::new().mount(sleepy(ms(50))));
    let client = sim.client_of(&[server], |builder| {
        let mut limits = Limits::client();
        limits.pending_calls_max = 2;
        builder.connections_per_endpoint(1).limits(limits)
    });
    let desk = DeskClient::new(client);
    let calls = [1, 2, 3].map(|number| sim.start(desk.ask(numbered(number))));
    let results = calls.map(|call| sim.finish(&call));
    let refused: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].code(), Code::ClientOverloaded);
    assert!(refused[0].is_unexecuted());
}
