//! [`PeerIdentity`]: who the other end of a connection has proved to be.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Who the other end of a connection has proved to be: its certificates, which were checked before the connection could be
/// used. Clones share them.
///
/// That somebody is who he says is not yet a reason to let him in: filters decide that, by what is in the certificate. It
/// is there as it came, in DER; a parser of one's choice reads names out of it.
///
/// ```
/// use rpc_core::{Code, Context, Status};
///
/// fn only(known: &[u8], cx: &Context) -> Result<(), Status> {
///     match cx.peer_identity() {
///         Some(peer) if peer.certificate() == known => Ok(()),
///         _ => Err(Status::new(Code::Unauthenticated, "not for you")),
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    chain: Arc<[Bytes]>,
}

impl PeerIdentity {
    /// The owner of the first of these certificates, each in DER; the others vouch for it.
    pub fn new(chain: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            chain: chain.into_iter().collect(),
        }
    }

    /// The peer's own certificate, in DER; empty if there is none.
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |certificate| certificate)
    }

    /// The certificates as the peer sent them, each in DER: its own first.
    pub fn chain(&self) -> &[Bytes] {
        &self.chain
    }
}

/// Certificates are long, and what can be read in them is not for a log.
impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({} certificates)", self.chain.len())
    }
}
