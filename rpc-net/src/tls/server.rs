//! [`ServerTls`]: how a server proves who it is, and what it asks of its clients.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::reload::Holder;
use super::{Pem, TlsError, TlsReloader, provider};

/// How a server proves who it is, and what it asks of its clients. Clones share their certificates, now and after a
/// reload.
///
/// TLS 1.3 and 1.2, without ALPN, on all addresses of the server: a client that does not speak TLS is turned away.
///
/// ```no_run
/// # use rpc_net::tls::{ServerTls, TlsError};
/// # fn main() -> Result<(), TlsError> {
/// let one_way = ServerTls::from_pem_files("cert.pem", "key.pem")?;
/// let mutual = one_way.require_client_certificates("clients-ca.pem")?;
/// # drop(mutual); Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerTls {
    settings: Settings,
    holder: Arc<Holder<ServerConfig>>,
}

#[derive(Debug, Clone)]
struct Settings {
    certificates: Pem,
    key: Pem,
    clients: Clients,
}

/// What is asked of clients.
#[derive(Debug, Clone)]
enum Clients {
    Nothing,
    MayProve(Pem),
    MustProve(Pem),
}

impl ServerTls {
    /// The server proves itself by the certificates in one file, its own first, then those that vouch for it, and the
    /// private key in another; both may be the same file.
    ///
    /// # Errors
    ///
    /// Names the file, what is wrong with it and the remedy.
    pub fn from_pem_files(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        Self::from_pem(Pem::file(certificates), Pem::file(key))
    }

    /// The same from PEM that lies anywhere.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::from_pem_files`].
    pub fn from_pem(certificates: impl Into<Pem>, key: impl Into<Pem>) -> Result<Self, TlsError> {
        Self::new(Settings {
            certificates: certificates.into(),
            key: key.into(),
            clients: Clients::Nothing,
        })
    }

    /// Turns away clients that have no certificate for which one of `roots` vouches. Handlers and filters find it in
    /// `Context::peer_identity`; whether its owner may do what it asks for is theirs to decide.
    ///
    /// # Errors
    ///
    /// Names the file, what is wrong with it and the remedy.
    pub fn require_client_certificates(self, roots: impl Into<Pem>) -> Result<Self, TlsError> {
        self.with_clients(Clients::MustProve(roots.into()))
    }

    /// Lets clients without a certificate in, and turns away those whose certificate none of `roots` vouches for.
    ///
    /// # Errors
    ///
    /// Names the file, what is wrong with it and the remedy.
    pub fn accept_client_certificates(self, roots: impl Into<Pem>) -> Result<Self, TlsError> {
        self.with_clients(Clients::MayProve(roots.into()))
    }

    /// What reads the files again while the server runs. It is that of these settings as they are now, so take it when they
    /// are complete.
    pub fn reloader(&self) -> TlsReloader {
        TlsReloader::new(Arc::<Holder<ServerConfig>>::clone(&self.holder))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.holder.current()
    }

    fn with_clients(self, clients: Clients) -> Result<Self, TlsError> {
        Self::new(Settings {
            clients,
            ..self.settings
        })
    }

    fn new(settings: Settings) -> Result<Self, TlsError> {
        let maker = settings.clone();
        let holder = Holder::new(settings.sources(), move || maker.config())?;
        Ok(Self {
            settings,
            holder: Arc::new(holder),
        })
    }
}

impl Settings {
    fn sources(&self) -> Vec<Pem> {
        let mut sources = vec![self.certificates.clone(), self.key.clone()];
        if let Clients::MayProve(roots) | Clients::MustProve(roots) = &self.clients {
            sources.push(roots.clone());
        }
        sources
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let (chain, key) = (self.certificates.certificates()?, self.key.key()?);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3");
        let builder = match self.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key);
        let mut config =
            config.map_err(|error| unusable_identity(&self.certificates, &self.key, error))?;
        // One to resume by is enough for a client that takes a new one with each connection, and half the memory.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (pem, is_optional) = match &self.clients {
            Clients::Nothing => return Ok(None),
            Clients::MayProve(roots) => (roots, true),
            Clients::MustProve(roots) => (roots, false),
        };
        let roots = Arc::new(roots(pem)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let builder = if is_optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        let verifier = builder.build().map_err(|error| TlsError::Unusable {
            origin: pem.origin(),
            what: "root certificates",
            source: Box::new(error),
        });
        verifier.map(|verifier| Some(verifier as Arc<dyn ClientCertVerifier>))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Those who may vouch for others.
pub(super) fn roots(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem.certificates()? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            origin: pem.origin(),
            what: "root certificate",
            source: Box::new(error),
        })?;
    }
    Ok(roots)
}

/// Why a certificate and a key do not make an identity.
pub(super) fn unusable_identity(certificates: &Pem, key: &Pem, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch {
            certificate: certificates.origin(),
            key: key.origin(),
        },
        rustls::Error::InvalidCertificate(_) => TlsError::Unusable {
            origin: certificates.origin(),
            what: "certificate",
            source: Box::new(error),
        },
        _ => TlsError::Unusable {
            origin: key.origin(),
            what: "private key",
            source: Box::new(error),
        },
    }
}
