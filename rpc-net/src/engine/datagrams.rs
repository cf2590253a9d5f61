//! What is done with datagrams: they are whole when they come, so none waits in a buffer for its rest.

use std::net::SocketAddr;

use rpc_codec::connection::{Connection, Input};
use rpc_codec::datagram;

use super::Engine;
use crate::io::{Driver, Origin};
use crate::slab::Key;
use crate::wire::Wire;

impl<D: Driver, W: Wire> Engine<D, W> {
    /// Takes over a request that came in a datagram, as a connection that has brought one frame and its end of input. It
    /// ends by itself once that is answered.
    pub fn adopt_datagram(&mut self, wire: W, peer: SocketAddr, datagram: &[u8]) {
        let Some(key) = self.begin(wire, Some(peer), Origin::Datagram) else {
            return;
        };
        self.deliver(key, Input::borrowed(datagram, self.io.now()));
        if let Some(link) = self.io.links.get_mut(key) {
            link.machine.handle_eof();
        }
        self.settle(key);
    }

    /// Takes an answer that came in a datagram.
    pub fn receive_datagram(&mut self, key: Key, datagram: &[u8]) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        if let Err(why) = datagram::check(datagram, link.machine.limits()) {
            return tracing::debug!(%why, "a datagram was dropped");
        }
        self.deliver(key, Input::borrowed(datagram, self.io.now()));
        self.settle(key);
    }
}
