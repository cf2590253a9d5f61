//! Certificates for both ends, made on the spot.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tern::tls::{ClientTls, ServerTls};

/// Whether clients have to prove who they are, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Servers only.
    OneWay,
    /// Both.
    Mutual,
}

/// An authority and what it has signed for a server on this machine and for a client, in files. They go when this is
/// dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// New ones.
    pub fn make() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("tern-interop-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("a folder among the temporary ones");
        let made = Self { folder };
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = CertificateParams::new([]).expect("no names at all");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a sound certificate");
        made.write("ca.pem", &own.pem());
        let issuer = Issuer::new(params, key);
        made.issue(&issuer, "127.0.0.1", "server");
        made.issue(&issuer, "client", "client");
        made
    }

    /// Those that vouch for the others.
    pub fn roots(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The certificate and the key of `who`, `server` or `client`.
    pub fn identity(&self, who: &str) -> (PathBuf, PathBuf) {
        let certificate = self.folder.join(format!("{who}.pem"));
        (certificate, self.folder.join(format!("{who}.key")))
    }

    /// What our server needs.
    ///
    /// # Panics
    ///
    /// When it does not like what was made.
    pub fn our_server(&self, proof: Proof) -> ServerTls {
        let (certificate, key) = self.identity("server");
        let tls = ServerTls::from_pem_files(certificate, key).expect("sound files");
        match proof {
            Proof::OneWay => tls,
            Proof::Mutual => tls
                .require_client_certificates(self.roots())
                .expect("sound roots"),
        }
    }

    /// What our client needs.
    ///
    /// # Panics
    ///
    /// When it does not like what was made.
    pub fn our_client(&self, proof: Proof) -> ClientTls {
        let tls = ClientTls::with_roots(self.roots()).expect("sound roots");
        let (certificate, key) = self.identity("client");
        match proof {
            Proof::OneWay => tls,
            Proof::Mutual => tls.identity(certificate, key).expect("sound files"),
        }
    }

    /// What tRPC-Go's server is started with.
    pub fn their_server(&self, proof: Proof) -> Vec<String> {
        let mut arguments = self.flags("server");
        if proof == Proof::Mutual {
            arguments.extend(["--ca-cert".to_owned(), shown(&self.roots())]);
        }
        arguments
    }

    /// What tRPC-Go's client is started with.
    pub fn their_client(&self, proof: Proof) -> Vec<String> {
        let mut arguments = vec!["--ca-cert".to_owned(), shown(&self.roots())];
        arguments.extend(["--tls-server-name", "127.0.0.1"].map(str::to_owned));
        if proof == Proof::Mutual {
            arguments.extend(self.flags("client"));
        }
        arguments
    }

    fn flags(&self, who: &str) -> Vec<String> {
        let (certificate, key) = self.identity(who);
        let [cert_flag, key_flag] = ["--tls-cert", "--tls-key"].map(str::to_owned);
        vec![cert_flag, shown(&certificate), key_flag, shown(&key)]
    }

    fn issue(&self, issuer: &Issuer<'_, KeyPair>, subject: &str, who: &str) {
        let key = KeyPair::generate().expect("there is randomness");
        let params = CertificateParams::new([subject.to_owned()]).expect("a name or an address");
        let own = params.signed_by(&key, issuer).expect("a sound certificate");
        self.write(&format!("{who}.pem"), &own.pem());
        self.write(&format!("{who}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("the folder was made");
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // What is left behind is the system's to clear away.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
