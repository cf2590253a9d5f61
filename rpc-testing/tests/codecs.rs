//! Compressed bodies between the real ends, over a virtual wire.

mod support;

use std::sync::{Arc, Mutex};

use rpc_codec::compress::{Gzip, Snappy};
use rpc_codec::{Codec, Codecs, CompressError, Limits};
use rpc_core::{Bytes, Code, Compression, Filter, Origin, Request, Response, Service, Status};
use rpc_server::{Server, builder::ServerBuilder};
use rpc_testing::{Sim, SimClient};
use support::{Count, DeskClient, Note, add, echo, ms, note, read};

/// Writes down how requests are compressed when they come.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Compression>>>);

impl Filter for Seen {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Response, Status> {
        self.0.lock().unwrap().push(request.compression());
        next.call(request).await
    }
}

impl Seen {
    fn take(&self) -> Vec<Compression> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// gzip, counted.
#[derive(Debug, Clone, Default)]
struct Counted {
    packed: Count,
    unpacked: Count,
}

impl Codec for Counted {
    fn compress(&self, body: &[u8], bytes_max: usize) -> Result<Option<Bytes>, CompressError> {
        add(&self.packed);
        Gzip.compress(body, bytes_max)
    }

    fn decompress(&self, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressError> {
        add(&self.unpacked);
        Gzip.decompress(packed, bytes_max)
    }
}

impl Counted {
    fn counts(&self) -> (usize, usize) {
        (read(&self.packed), read(&self.unpacked))
    }
}

struct Ends {
    sim: Sim,
    desk: DeskClient<SimClient>,
}

impl Ends {
    fn new<F: Filter + Clone, Stage>(server: ServerBuilder<F, Stage>, client: Codecs) -> Self {
        let mut sim = Sim::seeded(11);
        let server = sim.server(server.service(echo()));
        let client = sim.client_of(&[server], |builder| builder.codecs(client));
        let desk = DeskClient::new(client);
        Self { sim, desk }
    }

    fn ask(&mut self, note: Note, compression: Compression) -> Result<Note, Status> {
        let call = self.sim.start(self.desk.ask(note).compress(compression));
        self.sim.advance(ms(500));
        self.sim.result(&call).expect("an answer")
    }
}

fn long() -> Note {
    let lines = (0..200).map(|line| format!("line {line} of two hundred\n"));
    note(&lines.collect::<String>())
}

/// The one codec of ours, under its own number.
const OWN: Compression = Compression::Other(130);

#[test]
fn every_compression_goes_there_and_back() {
    let seen = Seen::default();
    let server = Server::builder().filter(seen.clone());
    let mut ends = Ends::new(server, Codecs::default());
    for compression in [
        Compression::Gzip,
        Compression::Zlib,
        Compression::SnappyStream,
        Compression::SnappyBlock,
        Compression::Lz4Frame,
        Compression::Lz4Block,
    ] {
        assert_eq!(ends.ask(long(), compression).unwrap(), long());
        assert_eq!(seen.take(), [compression]);
    }
}

#[test]
fn a_response_is_packed_as_its_request_was() {
    let (here, there) = (Counted::default(), Counted::default());
    let server = Server::builder().codecs(Codecs::none().with(130, there.clone()));
    let mut ends = Ends::new(server, Codecs::default().with(130, here.clone()));
    assert_eq!(ends.ask(long(), OWN).unwrap(), long());
    assert_eq!((here.counts(), there.counts()), ((1, 1), (1, 1)));
    assert_eq!(ends.ask(long(), Compression::None).unwrap(), long());
    assert_eq!((here.counts(), there.counts()), ((1, 1), (1, 1)));
}

#[test]
fn a_compression_that_one_end_does_not_know_fails_the_call_and_nothing_else() {
    let mut ends = Ends::new(Server::builder(), Codecs::default().with(130, Gzip));
    let unknown_there = ends.ask(long(), OWN).unwrap_err();
    assert_eq!(unknown_there.code(), Code::Malformed);
    assert_eq!(unknown_there.origin(), Origin::Remote);
    let unknown_here = ends.ask(long(), Compression::Other(131)).unwrap_err();
    assert_eq!(unknown_here.code(), Code::RequestUnencodable);
    assert_eq!(ends.ask(long(), Compression::Zlib).unwrap(), long());
}

#[test]
fn the_ambiguous_number_is_sent_only_when_told_how_and_read_in_any_case() {
    let ambiguous = Compression::Other(2);
    let mut untold = Ends::new(Server::builder(), Codecs::default());
    let refused = untold.ask(long(), ambiguous).unwrap_err();
    assert_eq!(refused.code(), Code::RequestUnencodable);
    assert!(refused.message().contains("peers disagree"), "{refused}");
    for snappy in [Snappy::sent_as_block(), Snappy::sent_as_stream()] {
        let seen = Seen::default();
        let server = Server::builder().filter(seen.clone());
        let mut told = Ends::new(server, Codecs::default().with(2, snappy));
        assert_eq!(told.ask(long(), ambiguous).unwrap(), long());
        assert_eq!(seen.take(), [ambiguous]);
    }
}

#[test]
fn what_is_short_is_not_packed() {
    let (seen, codec) = (Seen::default(), Counted::default());
    let server = Server::builder().filter(seen.clone());
    let mut ends = Ends::new(server, Codecs::none().with(1, codec.clone()));
    assert!(ends.ask(note("short"), Compression::Gzip).is_ok());
    assert_eq!(
        (seen.take(), codec.counts()),
        (vec![Compression::None], (0, 0))
    );
}

#[test]
fn a_request_that_grows_too_large_is_refused_and_the_connection_lives() {
    let limits = Limits::default().with_decompressed_bytes_max(1000);
    let mut ends = Ends::new(Server::builder().limits(limits), Codecs::default());
    for compression in [Compression::Lz4Frame, Compression::SnappyStream] {
        let refused = ends.ask(long(), compression).unwrap_err();
        assert_eq!(refused.code(), Code::Malformed);
        assert!(refused.message().contains("more than the 1000 bytes"));
    }
    assert!(ends.ask(note("short"), Compression::None).is_ok());
}
