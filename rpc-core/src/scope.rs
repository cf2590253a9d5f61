//! [`Scope`] and [`Site`]: where a call takes place.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::serialize::{FormatTable, ProtobufOnly};
use crate::{Clock, PeerIdentity, Timer};

/// What all connections of one loop share: how time is told and measured there, which formats are known, and whose loop
/// it is.
pub struct Site {
    clock: Clock,
    timer: Option<Arc<dyn Timer>>,
    formats: Option<Arc<dyn FormatTable>>,
    name: String,
}

impl Site {
    /// A site with that clock. Without a timer nothing can wait for a time there.
    pub fn new(clock: Clock, timer: Option<Arc<dyn Timer>>) -> Self {
        Self {
            clock,
            timer,
            formats: None,
            name: String::new(),
        }
    }

    /// The same site, where messages may be in these formats beside protobuf. Default: in no other.
    pub fn with_formats(mut self, formats: Arc<dyn FormatTable>) -> Self {
        self.formats = Some(formats);
        self
    }

    /// The same site, of the server that has this name among services; empty if it has none.
    pub fn named(self, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, ..self }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("clock", &self.clock)
            .field("has_timer", &self.timer.is_some())
            .field("formats", &self.formats)
            .field("name", &self.name)
            .finish()
    }
}

/// Where a call takes place: what all calls of one connection share.
///
/// Every connection has one for as long as it lives, so it holds no more than it must.
pub struct Scope {
    /// `None` where time is the system's and nothing can wait for it, so that a call from outside costs no site.
    site: Option<Arc<Site>>,
    /// The other end, as most are; [`NOBODY`] if it is not of that kind.
    v4: SocketAddrV4,
    /// What most connections have nothing of.
    rare: Option<Box<Rare>>,
    gone: AtomicBool,
}

/// What few scopes have, apart from what all have.
#[derive(Default)]
struct Rare {
    /// The other end, of another kind.
    peer: Option<SocketAddr>,
    identity: Option<PeerIdentity>,
}

static SYSTEM: Clock = Clock::system();

/// The address that no peer has.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Scope {
    /// The scope of a connection to `peer`, on a loop of its own that tells and measures time.
    pub fn new(clock: Clock, timer: Option<Arc<dyn Timer>>, peer: Option<SocketAddr>) -> Self {
        let has_site = timer.is_some() || clock.is_manual();
        Self::with(has_site.then(|| Arc::new(Site::new(clock, timer))), peer)
    }

    /// The scope of a connection to `peer`, one of many at `site`.
    pub fn at(site: &Arc<Site>, peer: Option<SocketAddr>) -> Self {
        Self::with(Some(Arc::clone(site)), peer)
    }

    fn with(site: Option<Arc<Site>>, peer: Option<SocketAddr>) -> Self {
        let (v4, other) = match peer {
            Some(SocketAddr::V4(v4)) => (v4, None),
            other => (NOBODY, other),
        };
        let rare = other.map(|other| {
            Box::new(Rare {
                peer: Some(other),
                identity: None,
            })
        });
        Self {
            site,
            v4,
            rare,
            gone: AtomicBool::new(false),
        }
    }

    /// The same with what the peer has proved to be.
    pub fn with_identity(mut self, identity: PeerIdentity) -> Self {
        self.rare.get_or_insert_default().identity = Some(identity);
        self
    }

    /// The same place, where other formats are known. It does not hear any more of the connection's end.
    pub(crate) fn with_formats(&self, formats: Arc<dyn FormatTable>) -> Self {
        let site = Site::new(self.clock().clone(), self.timer().cloned());
        let site = site.named(self.name()).with_formats(formats);
        let other = Self::at(&Arc::new(site), self.peer());
        other.gone.store(self.has_ended(), Ordering::Release);
        match self.peer_identity() {
            Some(identity) => other.with_identity(identity.clone()),
            None => other,
        }
    }

    /// Says that the connection has ended: nobody waits for what its calls still do.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The other end of the connection, if there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self.rare.as_ref().and_then(|rare| rare.peer) {
            Some(other) => Some(other),
            None => (self.v4 != NOBODY).then_some(SocketAddr::V4(self.v4)),
        }
    }

    /// Who the other end has proved to be, if it was asked and did.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.rare.as_ref()?.identity.as_ref()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.site.as_ref().map_or(&SYSTEM, |site| &site.clock)
    }

    /// The formats beside protobuf in which messages may be.
    pub fn formats(&self) -> &dyn FormatTable {
        let formats = self.site.as_ref().and_then(|site| site.formats.as_deref());
        formats.unwrap_or(&ProtobufOnly)
    }

    /// The same, for whoever needs them longer. `None` if there are none.
    pub(crate) fn shared_formats(&self) -> Option<Arc<dyn FormatTable>> {
        self.site.as_ref()?.formats.clone()
    }

    /// The name that the server here has among services; empty if it has none, or there is no server.
    pub fn name(&self) -> &str {
        self.site.as_ref().map_or("", |site| &site.name)
    }

    pub(crate) fn timer(&self) -> Option<&Arc<dyn Timer>> {
        self.site.as_ref()?.timer.as_ref()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("peer", &self.peer())
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}
