//! Where a server listens: its sockets, in the order in which they were asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rpc_codec::Limits;
use rpc_core::Address;
use rpc_net::{DatagramListener, ListenOptions, Listener};

use crate::ServeError;

/// Where a server listens.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(crate) addresses: Vec<Address>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) datagrams: Vec<DatagramListener>,
}

impl Doors {
    /// Listens on one address more.
    pub(crate) fn open(
        &mut self,
        address: &Address,
        options: ListenOptions,
        limits: &Limits,
    ) -> Result<(), ServeError> {
        let failed = |source| ServeError::Listen {
            address: address.clone(),
            source,
        };
        if let Address::Udp(host) = address {
            let socket = DatagramListener::bind(*host, options.sharing, limits).map_err(failed)?;
            self.addresses.push(socket.local_addr().clone());
            self.datagrams.push(socket);
        } else {
            let listener = Listener::bind(address, options).map_err(failed)?;
            self.addresses.push(listener.local_addr().clone());
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// What each socket of UDP has dropped.
    pub(crate) fn dropped(&self) -> Vec<Arc<AtomicU64>> {
        self.datagrams
            .iter()
            .map(DatagramListener::dropped)
            .collect()
    }
}
