//! [`ClientTls`]: whom a channel trusts, and how it proves who it is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::reload::Holder;
use super::server::{roots, unusable_identity};
use super::{Pem, TlsError, TlsReloader, provider};

/// Whom a channel trusts, and how it proves who it is. Clones share their certificates, now and after a reload.
///
/// Of each server these are checked: that one of the roots vouches for its certificate, that the certificate is valid now,
/// and that it is for the [name](ClientTls::server_name) that is called. None of that can be turned off.
///
/// ```no_run
/// # use rpc_net::tls::{ClientTls, TlsError};
/// # fn main() -> Result<(), TlsError> {
/// let one_way = ClientTls::with_roots("ca.pem")?;
/// let mutual = one_way.identity("client-cert.pem", "client-key.pem")?;
/// # drop(mutual); Ok(()) }
/// ```
#[derive(Clone)]
pub struct ClientTls {
    settings: Settings,
    /// Whom all endpoints have to prove to be; `None` to be the address that was called.
    name: Option<ServerName<'static>>,
    holder: Arc<Holder<ClientConfig>>,
}

#[derive(Debug, Clone)]
struct Settings {
    roots: Pem,
    identity: Option<(Pem, Pem)>,
}

impl ClientTls {
    /// Trusts servers for whose certificate one of `roots` vouches: the file of whoever signs within a company, or what the
    /// system has (`/etc/ssl/certs/ca-certificates.crt` on Debian), which is never guessed.
    ///
    /// # Errors
    ///
    /// Names the file, what is wrong with it and the remedy.
    pub fn with_roots(roots: impl Into<Pem>) -> Result<Self, TlsError> {
        let settings = Settings {
            roots: roots.into(),
            identity: None,
        };
        Self::new(settings, None)
    }

    /// Proves to servers that ask for it who this is: by certificates, its own first, then those that vouch for it, and the
    /// private key.
    ///
    /// # Errors
    ///
    /// Names the file, what is wrong with it and the remedy.
    pub fn identity(
        self,
        certificates: impl Into<Pem>,
        key: impl Into<Pem>,
    ) -> Result<Self, TlsError> {
        let settings = Settings {
            identity: Some((certificates.into(), key.into())),
            ..self.settings
        };
        Self::new(settings, self.name)
    }

    /// The name that the certificates of all endpoints have to be for, and that servers are told (SNI). Default: the IP
    /// address of the endpoint, as a channel knows no names of endpoints.
    ///
    /// # Errors
    ///
    /// When it is neither a host name nor an IP address.
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Self, TlsError> {
        let given = name.into();
        let name = ServerName::try_from(given.clone());
        self.name = Some(name.map_err(|_| TlsError::ServerName { given })?);
        Ok(self)
    }

    /// What reads the files again while the channel lives. It is that of these settings as they are now, so take it when
    /// they are complete.
    pub fn reloader(&self) -> TlsReloader {
        TlsReloader::new(Arc::<Holder<ClientConfig>>::clone(&self.holder))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.holder.current()
    }

    /// Whom the server at `address` has to prove to be.
    pub(super) fn name_of(&self, address: SocketAddr) -> ServerName<'static> {
        let by_address = || ServerName::IpAddress(address.ip().into());
        self.name.clone().unwrap_or_else(by_address)
    }

    fn new(settings: Settings, name: Option<ServerName<'static>>) -> Result<Self, TlsError> {
        let maker = settings.clone();
        let holder = Holder::new(settings.sources(), move || maker.config())?;
        Ok(Self {
            settings,
            name,
            holder: Arc::new(holder),
        })
    }
}

impl Settings {
    fn sources(&self) -> Vec<Pem> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|(certificates, key)| [certificates, key]);
        [&self.roots].into_iter().chain(identity).cloned().collect()
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3")
            .with_root_certificates(roots(&self.roots)?);
        let Some((certificates, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let config = builder.with_client_auth_cert(certificates.certificates()?, key.key()?);
        config.map_err(|error| unusable_identity(certificates, key, error))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("settings", &self.settings)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
