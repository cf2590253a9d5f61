//! [`Fixed`]: a list of addresses that does not change.

use std::net::{SocketAddr, ToSocketAddrs};

use rpc_core::discover::{Deliver, Resolve};
use rpc_core::{Code, Status};

/// A list of addresses that does not change. Names are looked up once, when the channel is made.
#[derive(Debug, Clone)]
pub struct Fixed {
    addresses: Vec<String>,
}

impl Fixed {
    /// These addresses, each a host and a port: `10.0.0.7:8000`, `[::1]:8000`, `localhost:8000`.
    pub fn new<A: ToString>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses
                .into_iter()
                .map(|address| address.to_string())
                .collect(),
        }
    }
}

impl Resolve for Fixed {
    fn watch(self: Box<Self>, mut deliver: Deliver) -> Result<(), Status> {
        let mut found = Vec::new();
        for address in &self.addresses {
            found.push(look_up(address)?);
        }
        if found.is_empty() {
            return Err(Status::new(
                Code::NoEndpoint,
                "the list of addresses is empty",
            ));
        }
        deliver(found);
        Ok(())
    }
}

fn look_up(address: &str) -> Result<SocketAddr, Status> {
    let failed = |why: &str| {
        let text = format!(
            "`{address}` is not an address to connect to ({why}): write it like 10.0.0.7:8000"
        );
        Status::new(Code::NoEndpoint, text)
    };
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| failed(&error.to_string()))?;
    found
        .next()
        .ok_or_else(|| failed("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_named() {
        let status = Box::new(Fixed::new(["10.0.0.7"]))
            .watch(Box::new(|_| {}))
            .unwrap_err();
        assert!(status.message().contains("`10.0.0.7`"), "{status}");
    }
}
