//! The example `streaming`, told over a loop-back instead of a socket.

#[path = "../streaming.rs"]
#[allow(dead_code, reason = "`main` needs a socket")]
mod streaming;

use rpc_testing::Loopback;
use tern::Router;
use tern_examples::streaming::{StudioClient, StudioServer};

#[test]
fn the_story_is_the_same_without_a_socket() {
    let (recorder, watch) = streaming::recorder();
    let router = Router::new().mount(StudioServer::new(recorder));
    let studio = StudioClient::new(Loopback::new(router));
    let mut told = Vec::new();
    streaming::tell(&studio, &watch, &mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told, include_str!("../expected/streaming.txt"));
}
