//! [`Forwarding`]: what of its caller's metadata a call takes along.

use std::borrow::Cow;

use crate::{Marks, chain};

/// What of its caller's metadata a call takes along that is made [within](crate::Call::within) another. A channel is
/// given one; by default it is what peers in Go do, less what belongs to the framework and to one hop.
///
/// | | keys of the application | `trpc-dyeing-key`, `trpc-env`, `trpc-priority` | other keys with `trpc-` |
/// |---|---|---|---|
/// | [`Forwarding::new`] | yes | yes | no |
/// | [`Forwarding::nothing`] | no | no | no |
///
/// What is [allowed](Forwarding::allow) goes along besides, what is [denied](Forwarding::deny) does not, and to deny wins.
/// Keys are compared byte for byte. What a call itself is given by [`Call::metadata`](crate::Call::metadata) is always
/// sent.
///
/// ```
/// use rpc_core::Forwarding;
///
/// let forwarding = Forwarding::new().allow("trpc-user-ip").deny("app-session");
/// assert!(forwarding.takes("app-tenant") && forwarding.takes("trpc-user-ip"));
/// assert!(!forwarding.takes("app-session"));
///
/// let to_strangers = Forwarding::nothing().allow("traceparent");
/// assert!(to_strangers.takes("traceparent") && !to_strangers.takes("app-tenant"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    begins_empty: bool,
    allowed: Vec<Cow<'static, str>>,
    denied: Vec<Cow<'static, str>>,
}

/// What holds where nobody says otherwise.
pub(crate) static STANDARD: Forwarding = Forwarding::new();

impl Forwarding {
    /// Everything of the application's, and of the framework's keys those that describe the whole chain of calls.
    pub const fn new() -> Self {
        Self {
            begins_empty: false,
            allowed: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Nothing but what is allowed.
    pub const fn nothing() -> Self {
        Self {
            begins_empty: true,
            allowed: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Takes `key` along too.
    pub fn allow(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.allowed.push(key.into());
        self
    }

    /// Leaves `key` behind, whatever else is said of it.
    pub fn deny(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.denied.push(key.into());
        self
    }

    /// Whether `key` is taken along.
    pub fn takes(&self, key: &str) -> bool {
        let is_in = |list: &[Cow<'static, str>]| list.iter().any(|listed| listed == key);
        let is_standard = !self.begins_empty && is_standard(key);
        (is_standard || is_in(&self.allowed)) && !is_in(&self.denied)
    }

    /// The marks that are taken along: all of them, but that of test traffic goes with its key.
    pub fn marks(&self, marks: Marks) -> Marks {
        if self.takes(chain::DYEING_KEY) {
            marks
        } else {
            Marks(marks.0 & !Marks::DYED.0)
        }
    }
}

fn is_standard(key: &str) -> bool {
    !key.starts_with("trpc-") || matches!(key, chain::DYEING_KEY | chain::ENV | chain::PRIORITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_frameworks_keys_those_of_the_whole_chain_are_taken() {
        for (key, is_taken) in [
            ("app-a", true),
            ("traceparent", true),
            ("", true),
            ("trpc_dyeing", true),
            ("trpc-dyeing-key", true),
            ("trpc-env", true),
            ("trpc-priority", true),
            ("trpc-user-ip", false),
            ("trpc-caller-set-name", false),
            ("trpc-", false),
        ] {
            assert_eq!(Forwarding::new().takes(key), is_taken, "{key}");
            assert!(!Forwarding::nothing().takes(key), "{key}");
        }
    }

    #[test]
    fn to_deny_wins() {
        let forwarding = Forwarding::new().deny("a").allow("a").allow("trpc-b");
        assert!(!forwarding.takes("a"));
        assert!(forwarding.takes("trpc-b"));
    }

    #[test]
    fn the_mark_of_test_traffic_goes_with_its_key_and_the_others_always() {
        let marks = Marks(0xffff_ffff);
        assert_eq!(Forwarding::new().marks(marks), marks);
        let without = Forwarding::new().deny(chain::DYEING_KEY);
        assert_eq!(without.marks(marks), Marks(0xffff_fffe));
    }
}
