//! [`Fixed`]: a list of addresses that does not change.

use rpc_core::discover::{Deliver, Resolve};
use rpc_core::{Address, Code, Status};
use rpc_net::address;

/// A list of addresses that does not change. Names are looked up once, when the channel is made.
#[derive(Debug, Clone)]
pub struct Fixed {
    addresses: Vec<String>,
}

impl Fixed {
    /// These addresses: hosts with a port of TCP (`10.0.0.7:8000`, `[::1]:8000`, `localhost:8000`) or of UDP
    /// (`udp://10.0.0.7:8000`), or Unix sockets (`unix:/run/x.sock`, and `unix:@name` on Linux).
    ///
    /// Over UDP a request and its answer have at most 65,507 bytes each, head and all. A longer request fails unsent with
    /// [`Code::RequestUnencodable`]; one that is lost, or whose answer is, ends with its deadline.
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

fn look_up(address: &str) -> Result<Address, Status> {
    address::look_up(address).map_err(|error| {
        let text = format!(
            "`{address}` is not an address to connect to ({error}): {}",
            address::FORMS
        );
        Status::new(Code::NoEndpoint, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_named() {
        for given in ["10.0.0.7", "unix:", "http://10.0.0.7:8000"] {
            let status = Box::new(Fixed::new([given]))
                .watch(Box::new(|_| {}))
                .unwrap_err();
            for part in [given, "10.0.0.7:8000", "unix:/run/x.sock", "unix:@name"] {
                assert!(status.message().contains(part), "{status}");
            }
        }
    }
}
