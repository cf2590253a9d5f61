//! Certificates made on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tern::tls::{ClientTls, Pem, ServerTls};

/// Who vouches for others.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        // Two of one name are told apart by their signatures only, which reads like an attack.
        let name = format!("authority {}", number());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An identity for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// One that was valid once.
    pub(crate) fn issue_expired(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    pub(crate) fn roots(&self) -> Pem {
        Pem::text(&self.pem)
    }

    /// What a client that trusts this one needs.
    pub(crate) fn trusted(&self) -> ClientTls {
        ClientTls::with_roots(self.roots()).unwrap()
    }
}

impl Identity {
    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::from_pem(Pem::text(&self.certificate), Pem::text(&self.key)).unwrap()
    }

    /// Gives a client this identity.
    pub(crate) fn give(&self, client: ClientTls) -> ClientTls {
        let (certificate, key) = (Pem::text(&self.certificate), Pem::text(&self.key));
        client.identity(certificate, key).unwrap()
    }
}

/// A folder that goes when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("tern-tls-{}-{}", process::id(), number());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes an identity to `cert.pem` and `key.pem`, as tools do that renew certificates: new files in place of old ones.
    pub(crate) fn write(&self, identity: &Identity) -> (PathBuf, PathBuf) {
        let certificate = self.replace("cert.pem", &identity.certificate);
        (certificate, self.replace("key.pem", &identity.key))
    }

    pub(crate) fn replace(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.0.join("new"), self.path().join(name));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One that nobody else of this process has.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
