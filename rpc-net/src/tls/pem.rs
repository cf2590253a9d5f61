//! [`Pem`]: where certificates and keys are read from, and what is in there.

use std::fmt;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Certificates or a private key as PEM: in a file, which is read again at each reload, or as a text.
///
/// A path converts into one that reads the file:
///
/// ```
/// # use rpc_net::tls::Pem;
/// let file = Pem::from("/etc/demo/cert.pem");
/// let text = Pem::text("-----BEGIN CERTIFICATE-----\n...");
/// ```
#[derive(Clone)]
pub struct Pem(Source);

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Text(Arc<[u8]>),
}

impl Pem {
    /// PEM that is there already.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self(Source::Text(text.as_ref().into()))
    }

    /// PEM in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::File(path) => Some(path),
            Source::Text(_) => None,
        }
    }

    /// What people know it by.
    pub(super) fn origin(&self) -> String {
        match &self.0 {
            Source::File(path) => path.display().to_string(),
            Source::Text(_) => "the text given".to_owned(),
        }
    }

    /// All certificates, in order. At least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let mut found = Vec::new();
        for section in CertificateDer::pem_slice_iter(&text) {
            found.push(section.map_err(|error| self.malformed(&text, &error))?);
        }
        if found.is_empty() {
            return Err(self.missing(&text, "certificate"));
        }
        Ok(found)
    }

    /// The private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read()?;
        let mut sections = PrivateKeyDer::pem_slice_iter(&text);
        match sections.next() {
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(self.malformed(&text, &error)),
            None => Err(self.missing(&text, "private key")),
        }
    }

    fn read(&self) -> Result<Arc<[u8]>, TlsError> {
        match &self.0 {
            Source::Text(text) => Ok(Arc::clone(text)),
            Source::File(path) => fs::read(path).map(Arc::from).map_err(|source| {
                let file = path.display().to_string();
                TlsError::Unreadable { file, source }
            }),
        }
    }

    fn malformed(&self, text: &[u8], error: &pem::Error) -> TlsError {
        TlsError::Malformed {
            origin: self.origin(),
            line: damaged_line(text),
            problem: match error {
                pem::Error::MissingSectionEnd { end_marker } => {
                    let marker = String::from_utf8_lossy(end_marker);
                    format!("its end, `-----END {}-----`, is missing", marker.trim())
                }
                pem::Error::IllegalSectionStart { line } => {
                    format!(
                        "its first line is `{}`",
                        String::from_utf8_lossy(line).trim()
                    )
                }
                other => other.to_string(),
            },
        }
    }

    fn missing(&self, text: &[u8], expected: &'static str) -> TlsError {
        let sections = sections(text);
        let is_locked = |(_, label): &(usize, String)| label == "ENCRYPTED PRIVATE KEY";
        let found = if sections.is_empty() {
            "it has no section that begins with `-----BEGIN`; DER is made PEM by `openssl x509 -inform der` or \
             `openssl pkey -inform der`"
                .to_owned()
        } else if expected == "private key" && sections.iter().any(is_locked) {
            "the key is locked by a passphrase; take that off with `openssl pkey`, and let only this program read the \
             file"
                .to_owned()
        } else {
            let sections = sections.iter();
            let found: Vec<_> = sections
                .map(|(line, label)| format!("{label} on line {line}"))
                .collect();
            format!("it has {}", found.join(", "))
        };
        TlsError::Missing {
            origin: self.origin(),
            expected,
            found,
        }
    }
}

impl From<&str> for Pem {
    fn from(path: &str) -> Self {
        Self::file(path)
    }
}

impl From<String> for Pem {
    fn from(path: String) -> Self {
        Self::file(path)
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&PathBuf> for Pem {
    fn from(path: &PathBuf) -> Self {
        Self::file(path)
    }
}

/// A text may be a private key, so it is not shown.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.origin())
    }
}

/// The sections of a text: the line on which each begins, and its label.
fn sections(text: &[u8]) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    let labels = lines.filter_map(|(number, line)| {
        let line = String::from_utf8_lossy(line);
        let label = line.trim().strip_prefix("-----BEGIN ")?;
        Some((number, label.trim_end_matches('-').to_owned()))
    });
    labels.collect()
}

/// The line on which the first section begins that cannot be read.
fn damaged_line(text: &[u8]) -> usize {
    let mut cursor = Cursor::new(text);
    while let Ok(Some(_)) = pem::from_buf(&mut cursor) {}
    let read = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    let read = text.get(..read).unwrap_or(text);
    sections(read).last().map_or(1, |(line, _)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n";

    fn complaint<T>(outcome: Result<T, TlsError>) -> String {
        match outcome {
            Ok(_) => panic!("there is something wrong with it"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn certificates_and_the_key_are_found_in_one_text() {
        let pem = Pem::text([KEY, CERTIFICATE, CERTIFICATE].concat());
        assert_eq!(pem.certificates().unwrap().len(), 2);
        assert_eq!(pem.key().unwrap().secret_der(), [1, 2, 3]);
    }

    #[test]
    fn what_was_found_in_place_of_what_was_looked_for_is_named() {
        let text = complaint(Pem::text(format!("\n{KEY}")).certificates());
        assert!(
            text.contains("no certificate in it: it has PRIVATE KEY on line 2"),
            "{text}"
        );
        let text = complaint(Pem::text(CERTIFICATE).key());
        assert!(
            text.contains("no private key in it: it has CERTIFICATE on line 1"),
            "{text}"
        );
        let text = complaint(Pem::text([1, 2, 3]).certificates());
        assert!(text.contains("openssl x509 -inform der"), "{text}");
        let text = complaint(Pem::text(KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")).key());
        assert!(text.contains("passphrase"), "{text}");
    }

    #[test]
    fn the_line_of_a_damaged_section_is_named() {
        let damaged = CERTIFICATE.replace("AQID", "A?ID");
        let text = complaint(Pem::text([CERTIFICATE, &damaged].concat()).certificates());
        assert!(
            text.contains("line 4: the section that begins here is not PEM"),
            "{text}"
        );
        let cut = CERTIFICATE.split("-----END").next().unwrap();
        let text = complaint(Pem::text([CERTIFICATE, cut].concat()).certificates());
        assert!(
            text.contains("line 4") && text.contains("END CERTIFICATE"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let text = complaint(Pem::from("no/such/file.pem").certificates());
        assert!(
            text.starts_with("no/such/file.pem: there is no such file"),
            "{text}"
        );
    }

    #[test]
    fn a_text_is_not_shown() {
        assert!(!format!("{:?}", Pem::text(KEY)).contains("AQID"));
    }
}
