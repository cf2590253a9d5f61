//! TLS: much, and many.

mod tls_support;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tern::Channel;
use tern_examples::echo::{EchoClient, EchoMessage};
use tls_support::certificates::Authority;
use tls_support::{Observed, channel, message};

/// What a message may have at most of the 10 MiB that a frame may.
const LARGEST: usize = (10 << 20) - 1024;

fn pair() -> (Observed, EchoClient<Channel>) {
    let authority = Authority::new();
    let server = Observed::with(authority.issue(&["127.0.0.1"]).server());
    let echo = channel(server.address(), Some(authority.trusted()));
    (server, echo)
}

#[test]
fn the_largest_message_goes_there_and_back() {
    let (_server, echo) = pair();
    let sent = message(LARGEST);
    for _ in 0..3 {
        assert!(echo.echo(sent.clone()).wait().unwrap() == sent);
    }
}

#[test]
fn messages_of_all_sizes_around_those_of_records_and_buffers_come_back() {
    let (_server, echo) = pair();
    for size in [0, 1 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10] {
        for around in [0, 1, 5, 22, 64, 100] {
            for length in [size + around, usize::saturating_sub(size, around)] {
                let sent = message(length);
                assert!(
                    echo.echo(sent.clone()).wait().unwrap() == sent,
                    "{length} bytes"
                );
            }
        }
    }
}

#[test]
fn a_thousand_small_calls_share_one_connection() {
    let (server, echo) = pair();
    let calls = (0..1000_u32).map(|number| {
        let payload = number.to_be_bytes().to_vec();
        EchoMessage {
            payload,
            delay_ms: 0,
        }
    });
    let expected: Vec<_> = calls.clone().collect();
    let calls: Vec<_> = calls.map(|sent| echo.echo(sent).into_future()).collect();
    let answers: Vec<_> = all(calls).into_iter().map(Result::unwrap).collect();
    assert!(answers == expected);
    assert_eq!(server.running.connections(), 1);
}

#[test]
fn large_and_small_calls_of_many_callers_do_not_mix() {
    let (_server, echo) = pair();
    let callers: Vec<_> = (0..6)
        .map(|caller| {
            let echo = echo.clone();
            thread::spawn(move || {
                for round in 0..15 {
                    let sent = message([100, 20_000, 300_000, 1 << 20][(caller + round) % 4]);
                    assert!(echo.echo(sent.clone()).wait().unwrap() == sent);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}

#[test]
fn a_server_that_leaves_answers_what_it_was_asked() {
    let (server, echo) = pair();
    let slow = |delay_ms| EchoMessage {
        payload: b"slow".to_vec(),
        delay_ms,
    };
    assert!(echo.echo(message(8)).wait().is_ok());
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let echo = echo.clone();
            thread::spawn(move || echo.slow(slow(500 + number)).wait())
        })
        .collect();
    // They are all under way.
    while server.running.calls_in_flight() < 20 {
        thread::yield_now();
    }
    server.running.stop().unwrap();
    for call in calls {
        assert_eq!(call.join().unwrap().unwrap().payload, b"slow");
    }
}

#[test]
fn an_idle_connection_is_ended_in_order_and_made_anew() {
    let authority = Authority::new();
    let limits = tern::Limits::default().with_idle(Duration::from_millis(200));
    let tls = authority.issue(&["127.0.0.1"]).server();
    let server = Observed::start(Some(tls), limits);
    let echo = channel(server.address(), Some(authority.trusted()));
    for _ in 0..3 {
        assert!(echo.echo(message(8)).wait().is_ok());
        assert_eq!(
            server.next_end(),
            "nothing happened on the connection for too long"
        );
    }
}

/// Waits for all futures on this thread.
fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    loop {
        for (future, output) in &mut futures {
            if output.is_none()
                && let Poll::Ready(ready) = pin!(future).poll(&mut cx)
            {
                *output = Some(ready);
            }
        }
        if futures.iter().all(|(_, output)| output.is_some()) {
            return futures
                .into_iter()
                .filter_map(|(_, output)| output)
                .collect();
        }
        thread::park();
    }
}

#[test]
fn messages_of_a_stream_come_back_in_order() {
    const MESSAGES: u32 = 3_000;
    let (_server, echo) = pair();
    let sent = |number: u32| EchoMessage {
        payload: number.to_be_bytes().repeat(number as usize % 5_000),
        delay_ms: 0,
    };
    let (mut outbound, mut inbound) = echo.chat().open().wait().unwrap();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            outbound.send(sent(number)).wait().unwrap();
        }
    });
    for number in 0..MESSAGES {
        let answer = inbound.next().wait().unwrap();
        assert!(answer == Some(sent(number)), "{number}");
    }
    assert_eq!(inbound.next().wait().unwrap(), None);
    sender.join().unwrap();
}
