//! The drivers of both ends over virtual wires: how servers leave, and who is found in their place.

mod support;

use std::sync::Arc;

use rpc_codec::Limits;
use rpc_core::Code;
use rpc_server::{Router, Server};
use rpc_testing::Sim;
use support::judge::{Called, code, numbered, retry};
use support::{Count, DeskClient, add, echo, ms, note, read, sleepy};

#[test]
fn r23_a_leaving_server_finishes_what_it_has_and_ends() {
    let mut sim = Sim::seeded(17);
    let server = sim.server(Router::new().mount(sleepy(ms(900))));
    let desk = DeskClient::new(sim.client(server));
    let call = sim.start(desk.ask(note("held")));
    sim.advance(ms(50));
    sim.drain(server);
    sim.drain(server);
    assert_eq!(sim.finish(&call).unwrap(), note("held"));
    sim.advance(ms(1_000));
    assert!(!sim.is_up(server));
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r24_idle_connections_do_not_delay_the_end() {
    let mut sim = Sim::seeded(18);
    let server = sim.server(Router::new().mount(echo()));
    let clients = [(); 3].map(|()| sim.client(server));
    for client in &clients {
        sim.run(DeskClient::new(client.clone()).ask(note("")))
            .unwrap();
    }
    sim.drain(server);
    sim.advance(ms(700));
    assert!(!sim.is_up(server));
    sim.advance(ms(100));
    assert!(clients.iter().all(|client| sim.connections(client) == 0));
}

#[test]
fn r24_at_the_end_of_the_grace_what_still_runs_is_answered_31() {
    let mut sim = Sim::seeded(19);
    let server = sim.server(Router::new().mount(sleepy(ms(60_000))));
    let desk = DeskClient::new(sim.client(server));
    let call = sim.start(desk.ask(note("")).timeout(ms(30_000)));
    sim.advance(ms(50));
    let start = sim.now();
    sim.drain_within(server, ms(100), ms(1_000));
    let status = sim.finish(&call).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!((ms(995)..ms(1_020)).contains(&(sim.now() - start)));
    sim.advance(ms(300));
    assert!(!sim.is_up(server));
}

#[test]
fn r25_answers_of_a_leaving_server_are_marked() {
    let mut sim = Sim::seeded(20);
    let server = sim.server(Router::new().mount(echo()));
    let desk = DeskClient::new(sim.client(server));
    let mark = |sim: &mut Sim| {
        let desk = desk.clone();
        let response = sim
            .run(async move { desk.ask(note("")).response().await })
            .unwrap();
        response.metadata().text("trpc-rs-drain").map(str::to_owned)
    };
    assert_eq!(mark(&mut sim), None);
    sim.drain(server);
    sim.advance(ms(1));
    assert_eq!(mark(&mut sim).as_deref(), Some("1"));
}

#[test]
fn r25_after_the_mark_what_was_not_answered_is_run_elsewhere_once() {
    let mut sim = Sim::seeded(21);
    let count = Count::default();
    let mount = |count: &Count| {
        let count = Arc::clone(count);
        answering!(|cx, note| {
            add(&count);
            async move {
                cx.sleep(ms(150)).await;
                Ok(note)
            }
        })
    };
    let limits = Limits::default().with_connection_calls_max(1);
    let leaving = sim.server(Server::builder().service(mount(&count)).limits(limits));
    let staying = sim.server(Router::new().mount(mount(&count)));
    let client = sim.client_of(&[leaving], |builder| builder.connections_per_endpoint(1));
    let desk = DeskClient::new(client.clone());
    let calls: Vec<_> = (0..6)
        .map(|number| sim.start(desk.ask(numbered(number)).timeout(ms(5_000))))
        .collect();
    sim.advance(ms(100));
    sim.endpoints(&client, &[leaving, staying]);
    sim.drain_within(leaving, ms(10), ms(200));
    sim.advance(ms(4_000));
    let results: Vec<_> = calls.iter().map(|call| sim.result(call).unwrap()).collect();
    let cut_off = results.iter().filter(|result| result.is_err()).count();
    assert!(cut_off <= 1, "{results:?}");
    assert_eq!(read(&count), 6);
}

#[test]
fn r25_a_rolling_restart_under_load_fails_no_call() {
    for seed in 0..3 {
        let mut sim = Sim::seeded(seed).latency(ms(1)..ms(5));
        let servers = [(); 2].map(|()| sim.server(Router::new().mount(sleepy(ms(20)))));
        let desks = [(); 2].map(|()| DeskClient::new(sim.client_of(&servers, |builder| builder)));
        let mut calls: Vec<Called> = Vec::new();
        let mut load = |sim: &mut Sim, millis: u64| {
            for _ in 0..millis / 10 {
                for desk in &desks {
                    calls.push(sim.start(desk.ask(numbered(calls.len() as u64))));
                }
                sim.advance(ms(10));
            }
        };
        for server in servers.iter().cycle().take(4) {
            load(&mut sim, 500);
            sim.drain(*server);
            while sim.is_up(*server) {
                load(&mut sim, 50);
            }
            sim.restart(*server);
            load(&mut sim, 2_500);
        }
        sim.advance(ms(1_000));
        for (number, call) in (0..).zip(&calls) {
            let result = sim.result(call).unwrap();
            assert_eq!(
                result.unwrap(),
                numbered(number),
                "seed {seed}, call {number}"
            );
        }
        assert_eq!(sim.complaints(), [""; 0]);
    }
}

#[test]
fn r25_a_fin_does_not_stand_for_an_answer_that_was_lost() {
    let mut sim = Sim::seeded(21);
    let count = Count::default();
    let mount = |count: &Count| {
        let count = Arc::clone(count);
        answering!(|_cx, note| {
            if note.text == "long" {
                add(&count);
            }
            // More than fits on the way to a client that does not read.
            let text = note
                .text
                .repeat(if note.text == "long" { 100_000 } else { 1 });
            async move { Ok(support::note(&text)) }
        })
    };
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(mount(&count))));
    let client = sim.client_of(&servers[..1], |builder| builder.connections_per_endpoint(1));
    let desk = DeskClient::new(client.clone());
    sim.drain_within(servers[0], ms(50), ms(400));
    sim.advance(ms(1));
    sim.run(desk.ask(note("so that the client knows who leaves")))
        .unwrap();
    let call = sim.start(desk.ask(note("long")).timeout(ms(5_000)));
    while read(&count) == 0 {
        sim.advance(ms(1) / 10);
    }
    sim.pause(&client, ms(2_000));
    sim.endpoints(&client, &servers);
    assert_eq!(code(sim.finish(&call)), Code::ConnectionLost);
    assert!(!sim.is_up(servers[0]));
    assert_eq!(read(&count), 1);
    assert_eq!(sim.complaints(), [""; 0]);
}

#[test]
fn r26_who_cannot_be_reached_is_left_for_another() {
    let mut sim = Sim::seeded(22);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(echo())));
    sim.kill(servers[0]);
    let desk = DeskClient::new(sim.client_of(&servers, |builder| builder));
    for number in 0..20 {
        assert!(sim.run(desk.ask(numbered(number))).is_ok());
        sim.advance(ms(10));
    }
}

#[test]
fn when_nobody_can_be_reached_the_call_fails_at_once_with_111() {
    let mut sim = Sim::seeded(23);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(echo())));
    for server in servers {
        sim.kill(server);
    }
    let desk = DeskClient::new(sim.client_of(&servers, |builder| builder));
    let start = sim.now();
    let status = sim.run(desk.ask(note(""))).unwrap_err();
    assert_eq!(status.code(), Code::Unreachable);
    assert!(status.is_unexecuted());
    assert!(sim.now() - start < ms(500));
    let nobody = DeskClient::new(sim.client_of(&[], |builder| builder));
    assert_eq!(code(sim.run(nobody.ask(note("")))), Code::NoEndpoint);
}

#[test]
fn a_server_that_says_nothing_to_a_connection_costs_the_connect_time_only() {
    let mut sim = Sim::seeded(24);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(echo())));
    sim.part(&servers[0]);
    let desk = DeskClient::new(sim.client_of(&servers, |builder| builder));
    for number in 0..20 {
        let call = desk.ask(numbered(number)).timeout(ms(3_000));
        assert!(sim.run(call).is_ok());
    }
}

#[test]
fn r29_a_server_that_is_gone_is_asked_less_and_less_often_and_found_again() {
    let mut sim = Sim::seeded(25);
    let server = sim.server(Router::new().mount(echo()));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note(""))).unwrap();
    sim.kill(server);
    sim.advance(ms(10));
    let before = sim.knocks(&server);
    for _ in 0..6_000 {
        let call = sim.start(desk.ask(note("")));
        sim.advance(ms(10));
        assert_eq!(code(sim.finish(&call)), Code::Unreachable);
    }
    // A minute of pauses that grow to between 0 and 10 s.
    let knocks = sim.knocks(&server) - before;
    assert!((5..60).contains(&knocks), "{knocks}");
    sim.restart(server);
    sim.advance(ms(10_000));
    assert!(sim.run(desk.ask(note(""))).is_ok());
}

#[test]
fn r26_a_connection_lost_under_way_is_141_and_not_run_twice() {
    for is_reset in [true, false] {
        let mut sim = Sim::seeded(26);
        let count = Count::default();
        let counted = Arc::clone(&count);
        let mount = answering!(|cx, note| {
            add(&counted);
            async move {
                cx.sleep(ms(100)).await;
                Ok(note)
            }
        });
        let router = Router::new().mount(mount);
        let servers = [sim.server(router), sim.server(Router::new().mount(echo()))];
        let client = sim.client_of(&servers[..1], |builder| builder.filter(retry()));
        let desk = DeskClient::new(client.clone());
        let unsafe_call = sim.start(desk.ask(note("ask")));
        let safe_call = sim.start(desk.read(note("read")));
        sim.advance(ms(50));
        sim.endpoints(&client, &servers);
        if is_reset {
            sim.kill(servers[0]);
        } else {
            sim.hang_up(servers[0]);
        }
        sim.advance(ms(20));
        assert_eq!(code(sim.finish(&unsafe_call)), Code::ConnectionLost);
        assert_eq!(sim.finish(&safe_call).unwrap(), note("read"));
        assert_eq!(read(&count), 2);
    }
}

#[test]
fn r26_a_refusal_is_tried_again_and_run_once() {
    let mut sim = Sim::seeded(27);
    let count = Count::default();
    let counted = Arc::clone(&count);
    let small = sim.pool("small", 1);
    let mount = answering!(|cx, note| {
        add(&counted);
        async move {
            cx.sleep(ms(20)).await;
            Ok(note)
        }
    });
    let server = sim.server(Router::new().mount(mount.on(&small)));
    let client = sim.client_of(&[server], |builder| {
        builder.filter(retry().attempts_max(20))
    });
    let desk = DeskClient::new(client);
    let calls = [1, 2].map(|number| sim.start(desk.ask(numbered(number))));
    for call in calls {
        assert!(sim.finish(&call).is_ok());
    }
    assert_eq!(read(&count), 2);
}

#[test]
fn a_call_that_meets_the_end_of_an_idle_connection_is_not_lost() {
    // The client tires of an idle connection after 50 s. Calls come before, while and after it closes it.
    for late in 0..20 {
        let mut sim = Sim::seeded(28).latency(ms(2)..ms(3));
        let server = sim.server(Router::new().mount(echo()));
        let desk = DeskClient::new(sim.client(server));
        sim.run(desk.ask(note(""))).unwrap();
        sim.advance(ms(49_990 + late));
        let result = sim.run(desk.ask(note("")));
        assert!(result.is_ok(), "{late}: {result:?}");
    }
}

#[test]
fn r25_a_call_that_crosses_the_end_of_a_connection_told_nothing_is_run_elsewhere() {
    // The server leaves while nobody asks; a call comes before, while and after it tells its idle connections.
    for late in 0..100 {
        let mut sim = Sim::seeded(30).latency(ms(4)..ms(5));
        let servers = [(); 2].map(|()| sim.server(Router::new().mount(echo())));
        let client = sim.client_of(&servers, |builder| builder);
        let desk = DeskClient::new(client.clone());
        for number in 0..4 {
            sim.run(desk.ask(numbered(number))).unwrap();
        }
        sim.drain_within(servers[0], ms(10), ms(5_000));
        sim.advance(ms(5 * late));
        let calls: Vec<_> = (0..4)
            .map(|number| sim.start(desk.ask(numbered(number))))
            .collect();
        for call in calls {
            let result = sim.finish(&call);
            assert!(result.is_ok(), "after {} ms: {result:?}", 5 * late);
        }
        assert_eq!(sim.complaints(), [""; 0]);
    }
}

#[test]
fn one_server_that_stays_is_found_among_others_that_leave() {
    let mut sim = Sim::seeded(31);
    let servers = [(); 3].map(|()| sim.server(Router::new().mount(echo())));
    let client = sim.client_of(&servers, |builder| builder);
    let desk = DeskClient::new(client.clone());
    for number in 0..30 {
        sim.run(desk.ask(note(&number.to_string()))).unwrap();
    }
    sim.drain(servers[0]);
    sim.drain(servers[1]);
    for number in 0..200 {
        let result = sim.run(desk.ask(note(&number.to_string())));
        assert!(result.is_ok(), "call {number}: {result:?}");
        sim.advance(ms(5));
    }
    assert!(!sim.is_up(servers[0]) && !sim.is_up(servers[1]));
}

#[test]
fn calls_that_were_sent_to_an_endpoint_that_left_the_list_are_answered() {
    let mut sim = Sim::seeded(29);
    let servers = [(); 2].map(|()| sim.server(Router::new().mount(sleepy(ms(100)))));
    let client = sim.client_of(&servers[..1], |builder| builder);
    let desk = DeskClient::new(client.clone());
    let call = sim.start(desk.ask(note("sent")));
    sim.advance(ms(50));
    sim.endpoints(&client, &servers[1..]);
    assert_eq!(sim.finish(&call).unwrap(), note("sent"));
    sim.advance(ms(1_500));
    assert_eq!(sim.connections(&servers[0]), 0);
}

#[test]
fn a_channel_that_nobody_has_any_more_closes_its_connections() {
    let mut sim = Sim::seeded(30);
    let server = sim.server(Router::new().mount(sleepy(ms(300))));
    let desk = DeskClient::new(sim.client(server));
    let call = sim.start(desk.ask(note("")));
    sim.advance(ms(50));
    assert_eq!(sim.connections(&server), 1);
    sim.forget(&call);
    drop(desk);
    sim.advance(ms(3_000));
    assert_eq!(sim.connections(&server), 0);
}

#[test]
fn r22_a_partition_costs_the_calls_time_and_heals() {
    let mut sim = Sim::seeded(31);
    let server = sim.server(Router::new().mount(echo()));
    let desk = DeskClient::new(sim.client(server));
    sim.run(desk.ask(note(""))).unwrap();
    sim.part(&server);
    let status = sim.run(desk.ask(note("")).timeout(ms(100))).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    sim.reach(&server);
    assert!(sim.run(desk.ask(note("")).timeout(ms(100))).is_ok());
    assert_eq!(sim.complaints(), [""; 0]);
}
