//! What belongs to a whole chain of calls and not to one of them: marks of traffic, its environment, its importance, and
//! for whom it is done. All of it travels as metadata under keys of the framework; these are their names, and their values
//! as types.
//!
//! | key | value | forwarded |
//! |---|---|---|
//! | [`DYEING_KEY`] | text; goes with [`Marks::DYED`] | yes |
//! | [`ENV`] | text: environments, separated by commas; empty to say that there is none | yes |
//! | [`PRIORITY`] | one raw byte, not a number in text; the larger, the more important | yes |
//! | [`USER_IP`] | text: the address of the user at the far end of the chain | only where [`Forwarding`](crate::Forwarding) says so |

use std::net::IpAddr;

use bytes::Bytes;

use crate::{Context, Marks, Metadata};

/// Which test traffic a call belongs to.
pub const DYEING_KEY: &str = "trpc-dyeing-key";
/// The environments that a chain of calls is routed through.
pub const ENV: &str = "trpc-env";
/// How important a call is: one byte.
pub const PRIORITY: &str = "trpc-priority";
/// Where the user is, as a gateway has seen it.
pub const USER_IP: &str = "trpc-user-ip";

impl Metadata {
    /// Which test traffic the call belongs to. `None` if nobody said so in text.
    pub fn dyeing_key(&self) -> Option<&str> {
        self.text(DYEING_KEY)
    }

    /// The environments that the call is routed through. Empty is not `None`: somebody said that there is none.
    pub fn env(&self) -> Option<&str> {
        self.text(ENV)
    }

    /// How important the call is: 0, the least, unless it carries one byte that says otherwise.
    pub fn priority(&self) -> u8 {
        match self.get(PRIORITY).map(|value| &value[..]) {
            Some([priority]) => *priority,
            _ => 0,
        }
    }

    /// Where the user is at the far end of the chain. `None` if nobody said so, or what was said is not an address.
    pub fn user_ip(&self) -> Option<IpAddr> {
        self.text(USER_IP)?.parse().ok()
    }

    /// Says which environments the call is routed through.
    pub fn set_env(&mut self, env: impl Into<String>) {
        self.insert(ENV, Bytes::from(env.into()));
    }

    /// Says how important the call is.
    pub fn set_priority(&mut self, priority: u8) {
        self.insert(PRIORITY, Bytes::copy_from_slice(&[priority]));
    }

    /// Says where the user is.
    pub fn set_user_ip(&mut self, ip: IpAddr) {
        self.insert(USER_IP, Bytes::from(ip.to_string()));
    }
}

impl Context {
    /// Which test traffic the call belongs to; see [`Context::is_dyed`].
    pub fn dyeing_key(&self) -> Option<&str> {
        self.metadata().dyeing_key()
    }

    /// Whether the call is marked as test traffic, by the mark or by its key: peers set the one, the other, or both.
    pub fn is_dyed(&self) -> bool {
        self.marks().contains(Marks::DYED) || self.metadata().get(DYEING_KEY).is_some()
    }

    /// The environments that the call is routed through; see [`Metadata::env`].
    pub fn env(&self) -> Option<&str> {
        self.metadata().env()
    }

    /// How important the call is; see [`Metadata::priority`].
    pub fn priority(&self) -> u8 {
        self.metadata().priority()
    }

    /// Where the user is; see [`Metadata::user_ip`].
    pub fn user_ip(&self) -> Option<IpAddr> {
        self.metadata().user_ip()
    }

    /// Marks the call, and all that are made on its behalf, as test traffic of that key.
    pub fn dye(&mut self, key: impl Into<String>) {
        self.metadata_mut()
            .insert(DYEING_KEY, Bytes::from(key.into()));
        self.set_marks(self.marks() | Marks::DYED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_one_raw_byte() {
        let mut metadata = Metadata::new();
        assert_eq!(metadata.priority(), 0);
        metadata.set_priority(200);
        assert_eq!(
            metadata.get(PRIORITY).map(|value| &value[..]),
            Some(&[200][..])
        );
        assert_eq!(metadata.priority(), 200);
        for other in ["", "200", "12"] {
            metadata.insert(PRIORITY, other);
            assert_eq!(metadata.priority(), 0, "{other:?}");
        }
    }

    #[test]
    fn an_environment_that_was_cleared_is_not_one_that_nobody_named() {
        let mut metadata = Metadata::new();
        assert_eq!(metadata.env(), None);
        metadata.set_env("");
        assert_eq!(metadata.env(), Some(""));
        metadata.set_env("test,stable");
        assert_eq!(metadata.env(), Some("test,stable"));
    }

    #[test]
    fn a_user_is_at_an_address_or_nowhere() {
        let mut metadata = Metadata::new();
        for ip in ["192.0.2.7", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            metadata.set_user_ip(ip);
            assert_eq!(metadata.user_ip(), Some(ip));
        }
        metadata.insert(USER_IP, "somewhere");
        assert_eq!(metadata.user_ip(), None);
    }

    #[test]
    fn test_traffic_is_known_by_its_mark_or_by_its_key() {
        let mut cx = Context::background();
        assert!(!cx.is_dyed());
        cx.set_marks(Marks::DYED);
        assert!(cx.is_dyed() && cx.dyeing_key().is_none());
        let mut cx = Context::background();
        cx.metadata_mut().insert(DYEING_KEY, "blue");
        assert!(cx.is_dyed());
        let mut cx = Context::background();
        cx.set_marks(Marks(0x40));
        cx.dye("green");
        assert_eq!((cx.marks(), cx.dyeing_key()), (Marks(0x41), Some("green")));
    }
}
