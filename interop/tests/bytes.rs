//! Frames written by hand, sound and broken, on our server. No other implementation is needed.

use tern_interop::checks::bytes;
use tern_interop::ours::{Handlers, Variant};

fn all_hold(variant: Variant) {
    let server = variant.start();
    let failed: Vec<_> = bytes::CHECKS
        .iter()
        .filter_map(|check| Some((check.name, check.outcome(&server.address()).err()?)))
        .collect();
    assert!(failed.is_empty(), "{variant}: {failed:#?}");
}

#[test]
fn with_async_handlers_on_a_pool() {
    all_hold(Variant::new(Handlers::Async, 1));
    all_hold(Variant::new(Handlers::Async, 2));
}

#[test]
fn with_async_handlers_in_place() {
    all_hold(Variant::new(Handlers::Inline, 1));
    all_hold(Variant::new(Handlers::Inline, 2));
}

#[test]
fn with_blocking_handlers_on_a_pool() {
    all_hold(Variant::new(Handlers::Blocking, 1));
    all_hold(Variant::new(Handlers::Blocking, 2));
}
