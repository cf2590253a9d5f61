//! Calls over UDP: one frame in each datagram, and what becomes of other datagrams.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use tern::stream::{Inbound, Outbound};
use tern::{
    Address, Bytes, Channel, Code, Compression, Context, Fixed, Origin, Running, Server, Status,
};
use tern_examples::echo::{Echo, EchoClient, EchoMessage, EchoServer, chat_back};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

/// Says whose address it sees.
struct Seeing;

impl Greeter for Seeing {
    async fn say_hello(&self, cx: &Context, _: HelloRequest) -> Result<HelloReply, Status> {
        let peer = cx.peer().expect("datagrams have senders");
        Ok(HelloReply {
            message: peer.ip().to_string(),
        })
    }
}

/// Returns what it is sent; `slow` as many zeroes as it is told to wait for.
struct Echoing;

impl Echo for Echoing {
    async fn echo(&self, _: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        Ok(message)
    }

    async fn slow(&self, cx: &Context, message: EchoMessage) -> Result<EchoMessage, Status> {
        cx.sleep(Duration::from_millis(message.delay_ms.into()))
            .await;
        if message.payload == b"too much" {
            let payload = vec![7; LONGEST];
            return Ok(EchoMessage {
                payload,
                delay_ms: 0,
            });
        }
        Ok(message)
    }

    async fn chat(
        &self,
        _: &Context,
        inbound: Inbound<EchoMessage>,
        outbound: Outbound<EchoMessage>,
    ) -> Result<(), Status> {
        chat_back(inbound, outbound).await
    }
}

/// Bytes of a datagram. No message that long fits one beside its head.
const LONGEST: usize = 65_507;

fn start() -> Running {
    Server::builder()
        .service(EchoServer::new(Echoing).method_inline("Echo"))
        .service(GreeterServer::new(Seeing))
        .listen("udp://127.0.0.1:0")
        .bind("127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap()
}

fn channel(service: &str, address: impl ToString) -> Channel {
    Channel::builder(service)
        .resolve(Fixed::new([address]))
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

fn echo(address: &Address) -> EchoClient<Channel> {
    EchoClient::new(channel("echo.v1.Echo", address))
}

fn message(payload: impl Into<Vec<u8>>) -> EchoMessage {
    EchoMessage {
        payload: payload.into(),
        delay_ms: 0,
    }
}

/// The address of a server's UDP socket.
fn udp(running: &Running) -> &Address {
    &running.addresses()[0]
}

#[test]
fn one_service_answers_on_tcp_and_udp_at_once() {
    let running = start();
    let addresses = running.addresses().iter();
    let greeters: Vec<_> = addresses
        .map(|address| GreeterClient::new(channel("demo.greeter.Greeter", address)))
        .collect();
    for greeter in &greeters {
        let reply = greeter.say_hello(HelloRequest::default()).wait().unwrap();
        assert_eq!(reply.message, "127.0.0.1");
    }
    assert_eq!(running.connections(), 1, "a datagram is no connection");
    running.stop().unwrap();
}

#[test]
fn calls_at_once_find_their_answers() {
    let running = start();
    let echo = echo(udp(&running));
    thread::scope(|scope| {
        for caller in 0..4_u32 {
            let echo = &echo;
            scope.spawn(move || {
                for number in 0..200_u32 {
                    let sent = message([caller.to_be_bytes(), number.to_be_bytes()].concat());
                    let call = if number % 2 == 0 {
                        echo.echo(sent.clone())
                    } else {
                        echo.slow(sent.clone())
                    };
                    assert_eq!(call.wait().unwrap(), sent);
                }
            });
        }
    });
    assert_eq!(running.datagrams_dropped(), 0);
    running.stop().unwrap();
}

#[test]
fn bodies_are_compressed_and_as_large_as_a_datagram_has_room() {
    let running = start();
    let echo = echo(udp(&running));
    let large = message(vec![7; 65_000]);
    assert_eq!(echo.echo(large.clone()).wait().unwrap(), large);
    // Packed, more goes in than fits.
    let larger = message(vec![7; 1 << 20]);
    let call = echo.echo(larger.clone()).compress(Compression::Gzip);
    assert_eq!(call.wait().unwrap(), larger);
    running.stop().unwrap();
}

#[test]
fn a_request_that_does_not_fit_fails_unsent() {
    let running = start();
    let echo = echo(udp(&running));
    let status = echo.echo(message(vec![7; LONGEST])).wait().unwrap_err();
    assert_eq!(status.code(), Code::RequestUnencodable);
    assert_eq!(status.origin(), Origin::Local);
    assert!(status.message().contains("65507"), "{status}");
    running.stop().unwrap();
}

#[test]
fn an_answer_that_does_not_fit_is_an_error_of_the_server() {
    let running = start();
    let status = echo(udp(&running))
        .slow(message("too much"))
        .wait()
        .unwrap_err();
    assert_eq!(status.code(), Code::Unencodable);
    assert_eq!(status.origin(), Origin::Remote);
    assert!(status.message().contains("65507"), "{status}");
    running.stop().unwrap();
}

#[test]
fn a_deadline_is_all_that_ends_a_call_without_an_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = Address::Udp(silent.local_addr().unwrap());
    let call = echo(&address).echo(message("lost"));
    let status = call.timeout(Duration::from_millis(50)).wait().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[test]
fn a_port_where_nobody_listens_fails_calls_before_their_time() {
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let status = echo(&Address::Udp(free))
        .echo(message("nobody"))
        .wait()
        .unwrap_err();
    assert_eq!(status.code(), Code::ConnectionLost);
    let text = status.message();
    assert!(
        text.contains(&format!("udp://{free}")) && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn what_is_not_one_whole_frame_is_dropped_and_counted() {
    let running = start();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(udp(&running).socket().unwrap()).unwrap();
    let sound = request("/echo.v1.Echo/Echo", 1);
    let mut magic = sound.clone();
    magic[0] = 0x47;
    let mut stream = sound.clone();
    stream[2] = 1;
    let trailing = [&sound[..], b"x"].concat();
    let twice = [&sound[..], &sound].concat();
    let bad = [
        &b""[..],
        &sound[..15],
        &sound[..sound.len() - 1],
        &trailing,
        &twice,
        &magic,
        &stream,
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for datagram in bad {
        peer.send(datagram).unwrap();
    }
    peer.send(&request("/echo.v1.Echo/Echo", 2)).unwrap();
    let answer = receive(&peer);
    assert_eq!(answer[10..14], 2_u32.to_be_bytes(), "the only answer");
    assert_eq!(running.datagrams_dropped(), bad.len() as u64);
    running.stop().unwrap();
}

#[test]
fn a_whole_frame_whose_head_cannot_be_read_is_answered() {
    let running = start();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(udp(&running).socket().unwrap()).unwrap();
    // A head of three bytes that is no protobuf, and one of none.
    for (head, id) in [(&[0xff, 0xff, 0xff][..], 5), (&[], 6)] {
        peer.send(&frame(head, id)).unwrap();
        let answer = receive(&peer);
        assert_eq!(answer[10..14], [0, 0, 0, id]);
        assert_eq!(
            answer[16..20],
            [0x18, id, 0x20, 1],
            "request_id, then ret 1"
        );
    }
    let unknown = request("/echo.v1.Echo/Nothing", 7);
    peer.send(&unknown).unwrap();
    assert_eq!(receive(&peer)[16..20], [0x18, 7, 0x20, 12]);
    assert_eq!(running.datagrams_dropped(), 0);
    running.stop().unwrap();
}

#[test]
fn the_asking_end_drops_what_is_no_answer() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = Address::Udp(server.local_addr().unwrap());
    thread::scope(|scope| {
        let call = scope.spawn(|| echo(&address).echo(message("")).wait());
        let mut buffer = [0; 1024];
        let (length, client) = server.recv_from(&mut buffer).unwrap();
        let id = u32::from_be_bytes(buffer[10..14].try_into().unwrap());
        assert!(length > 16);
        let id = u8::try_from(id).unwrap();
        let answer = frame(&[0x18, id], id);
        let late = frame(&[0x18, id + 1], id + 1);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let refusal = frame(&[0x18, id, 0x20, 31], id);
        stranger.send_to(&refusal, client).unwrap();
        for datagram in [
            &b"no frame"[..],
            &[&refusal[..], b"x"].concat(),
            &late,
            &answer,
        ] {
            server.send_to(datagram, client).unwrap();
        }
        assert_eq!(call.join().unwrap().unwrap(), EchoMessage::default());
    });
}

#[test]
fn one_way_calls_are_not_answered() {
    let running = start();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(udp(&running).socket().unwrap()).unwrap();
    let path = "/echo.v1.Echo/Echo";
    let mut head = vec![0x10, 1, 0x18, 1, 0x3a, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    peer.send(&frame(&head, 1)).unwrap();
    peer.send(&request(path, 2)).unwrap();
    assert_eq!(receive(&peer)[10..14], 2_u32.to_be_bytes());
    running.stop().unwrap();
}

#[test]
fn a_server_that_leaves_answers_what_it_holds() {
    let running = start();
    let echo = echo(udp(&running));
    let slow = EchoMessage {
        payload: b"held".to_vec(),
        delay_ms: 700,
    };
    let reply = thread::scope(|scope| {
        let call = scope.spawn(|| echo.slow(slow.clone()).wait());
        while running.calls_in_flight() == 0 {
            thread::yield_now();
        }
        running.stop().unwrap();
        call.join().unwrap()
    });
    assert_eq!(reply.unwrap().payload, b"held");
}

#[test]
fn no_more_requests_are_taken_than_may_be_in_flight() {
    let limits = tern::Limits::server().with_connection_calls_max(2);
    let running = Server::builder()
        .limits(limits)
        .service(EchoServer::new(Echoing))
        .bind("udp://127.0.0.1:0")
        .unwrap()
        .start()
        .unwrap();
    let echo = echo(udp(&running));
    let waits = EchoMessage {
        payload: Vec::new(),
        delay_ms: 20,
    };
    let most = thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| echo.slow(waits.clone()).wait()))
            .collect();
        let mut most = 0;
        while !calls.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(running.calls_in_flight());
            thread::yield_now();
        }
        // Those that waited in the socket were answered in their turn.
        for call in calls {
            assert!(call.join().unwrap().is_ok());
        }
        most
    });
    assert!(most <= 2, "{most} calls at once");
    running.stop().unwrap();
}

/// A request without a body.
fn request(path: &str, id: u8) -> Vec<u8> {
    let mut head = vec![0x18, id, 0x3a, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    frame(&head, id)
}

fn frame(head: &[u8], id: u8) -> Vec<u8> {
    let total = u8::try_from(16 + head.len()).unwrap();
    let head_len = u8::try_from(head.len()).unwrap();
    let header = [
        9, 0x30, 0, 0, 0, 0, 0, total, 0, head_len, 0, 0, 0, id, 1, 0,
    ];
    [&header[..], head].concat()
}

fn receive(socket: &UdpSocket) -> Bytes {
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = vec![0; 1 << 16];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer.into()
}

#[test]
fn a_stream_is_not_asked_for_over_udp() {
    let running = start();
    let echo = EchoClient::new(Channel::to("echo.v1.Echo", &running.addresses()[0]).unwrap());
    let status = echo.chat().open().wait().unwrap_err();
    assert_eq!(status.code(), Code::RequestInvalid);
    assert!(
        status.message().contains("TCP or a Unix socket"),
        "{status}"
    );
}
