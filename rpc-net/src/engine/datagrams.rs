//! What is done with datagrams: they are whole when they come, so none waits in a buffer for its rest.

use std::io;
use std::net::SocketAddr;

use rpc_codec::connection::{Connection, Input};
use rpc_codec::datagram;

use super::Engine;
use crate::io::{Driver, Origin};
use crate::link::Link;
use crate::slab::Key;
use crate::wire::{DatagramWire, Wire};

impl<D: Driver, W: Wire> Engine<D, W> {
    /// Takes over a connection that was asked for. `None` when the driver turns it away.
    pub fn adopt_datagrams(
        &mut self,
        wire: impl DatagramWire + 'static,
        peer: SocketAddr,
        origin: Origin,
    ) -> Option<Key> {
        let machine = self.driver.open(origin, Some(peer), &mut self.io)?;
        let key = self.io.links.insert(machine);
        self.datagrams.set(key, Box::new(wire));
        self.opened(key, Some(peer), None, origin);
        self.arm(key);
        Some(key)
    }

    /// Takes over a request that came in a datagram, as a connection that has brought one frame and its end of input. It
    /// ends by itself once that is answered.
    pub fn adopt_request(
        &mut self,
        wire: impl DatagramWire + 'static,
        peer: SocketAddr,
        datagram: &[u8],
    ) {
        let Some(key) = self.adopt_datagrams(wire, peer, Origin::Datagram) else {
            return;
        };
        self.deliver(key, Input::borrowed(datagram, self.io.now()));
        if let Some(link) = self.io.links.get_mut(key) {
            link.machine.handle_eof();
        }
        self.settle(key);
    }

    /// Takes an answer that came in a datagram.
    pub fn receive_answer(&mut self, key: Key, datagram: &[u8]) {
        let Some(link) = self.io.links.get_mut(key) else {
            return;
        };
        if let Err(why) = datagram::check(datagram, link.machine.limits()) {
            return tracing::debug!(%why, "a datagram was dropped");
        }
        self.deliver(key, Input::borrowed(datagram, self.io.now()));
        self.settle(key);
    }

    /// Whether a connection is there.
    pub fn has(&self, key: Key) -> bool {
        self.io.links.get(key).is_some()
    }
}

/// Sends what is queued, as far as the socket takes it.
#[cold]
pub(super) fn send_out<M>(
    link: &mut Link<M>,
    wire: Option<&mut Box<dyn DatagramWire>>,
) -> io::Result<()> {
    let Some(wire) = wire else {
        return Ok(());
    };
    while !link.output.is_empty() && !link.is_blocked {
        match link.output.with_slices(|pieces| wire.send(pieces)) {
            // A frame that is never whole would be offered for ever.
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => link.output.advance(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => link.is_blocked = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
