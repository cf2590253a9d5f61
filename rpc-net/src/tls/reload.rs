//! New certificates without a restart: a [`TlsReloader`] reads the files again, and connections that begin from then on
//! use what they have. Those that are there live on as they began.
//!
//! A configuration is replaced whole or not at all. Files that do not fit each other, as in the midst of a renewal, leave
//! the old ones in use.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Pem, TlsError};

/// Reads the certificates and keys of one end again, while it runs. Made by
/// [`ServerTls::reloader`](super::ServerTls::reloader) and [`ClientTls::reloader`](super::ClientTls::reloader).
#[derive(Clone)]
pub struct TlsReloader(Arc<dyn Reload>);

impl TlsReloader {
    pub(super) fn new(holder: Arc<dyn Reload>) -> Self {
        Self(holder)
    }

    /// Reads all files again. Connections that begin from now on use what is in them, those that are there live on. What
    /// an end has agreed with its peers to resume connections by is forgotten, so everybody is judged by the new files.
    ///
    /// # Errors
    ///
    /// Names the file at fault. What was in use stays in use, all of it.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.reload()
    }

    /// Does [`TlsReloader::reload`] if one of the files is not the one that was read last. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As there; the next time it is tried again.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        if !self.0.has_changed() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Does [`TlsReloader::reload_if_changed`] every so often, on a thread of its own, until the [`Watch`] is dropped. What
    /// comes of it is logged. A minute is often enough for certificates; less than a second is taken for a second.
    ///
    /// # Errors
    ///
    /// When the operating system refuses the thread.
    pub fn watch(&self, every: Duration) -> io::Result<Watch> {
        let (watch, ended) = mpsc::channel();
        let (reloader, every) = (self.clone(), every.max(EVERY_MIN));
        thread::Builder::new()
            .name("tern-tls".into())
            .spawn(move || {
                while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    reloader.look();
                }
            })?;
        Ok(Watch { _ends: watch })
    }

    fn look(&self) {
        match self.reload_if_changed() {
            Ok(false) => {}
            Ok(true) => tracing::info!("new certificates are in use"),
            Err(error) => {
                tracing::error!(%error, "new certificates cannot be used, the old ones stay in use");
            }
        }
    }
}

impl fmt::Debug for TlsReloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsReloader")
    }
}

/// More often would only keep a disk busy.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Files that are looked at until this is dropped.
#[derive(Debug)]
#[must_use = "the files are looked at until this is dropped"]
pub struct Watch {
    _ends: Sender<()>,
}

/// What can be made anew from its files.
pub(super) trait Reload: Send + Sync {
    fn reload(&self) -> Result<(), TlsError>;
    fn has_changed(&self) -> bool;
}

/// A configuration in use, and how to make it anew.
pub(super) struct Holder<C> {
    current: RwLock<Arc<C>>,
    make: Box<dyn Fn() -> Result<C, TlsError> + Send + Sync>,
    sources: Vec<Pem>,
    /// How the files were when they were read last.
    seen: Mutex<Vec<Stamp>>,
}

impl<C> Holder<C> {
    /// What `make` makes of `sources`.
    pub(super) fn new(
        sources: Vec<Pem>,
        make: impl Fn() -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let seen = stamps(&sources);
        Ok(Self {
            current: RwLock::new(Arc::new(make()?)),
            make: Box::new(make),
            sources,
            seen: Mutex::new(seen),
        })
    }

    /// The configuration for a connection that begins now.
    pub(super) fn current(&self) -> Arc<C> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C: Send + Sync> Reload for Holder<C> {
    fn reload(&self) -> Result<(), TlsError> {
        // Held until the end, so that of two reloads at once the later one wins.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before they are read: a change in between is found the next time.
        let now = stamps(&self.sources);
        let made = Arc::new((self.make)()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = made;
        *seen = now;
        Ok(())
    }

    fn has_changed(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen != stamps(&self.sources)
    }
}

/// What tells one version of a file from another: its time, its length and, as files are replaced by renaming, its node.
/// `None` for what is not a file, or is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamps(sources: &[Pem]) -> Vec<Stamp> {
    let stamp = |pem: &Pem| {
        let known = fs::metadata(pem.path()?).ok()?;
        Some((known.modified().ok()?, known.len(), known.ino()))
    };
    sources.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_cannot_be_made_leaves_the_old_in_use() {
        let made = AtomicU32::new(0);
        let make = move || match made.fetch_add(1, Ordering::Relaxed) {
            1 => Err(TlsError::ServerName {
                given: "the second".into(),
            }),
            number => Ok(number),
        };
        let holder = Arc::new(Holder::new(Vec::new(), make).unwrap());
        let reloader = TlsReloader::new(Arc::<Holder<u32>>::clone(&holder));
        let first = holder.current();
        assert!(reloader.reload().is_err());
        assert_eq!(*holder.current(), 0);
        reloader.reload().unwrap();
        assert_eq!((*holder.current(), *first), (2, 0));
    }

    #[test]
    fn a_file_that_was_replaced_is_noticed_once() {
        let name = format!("tern-reload-{}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, "one").unwrap();
        let holder = Holder::new(vec![Pem::file(&file)], || Ok(())).unwrap();
        let reloader = TlsReloader::new(Arc::new(holder));
        assert!(!reloader.reload_if_changed().unwrap());
        fs::write(&file, "longer").unwrap();
        assert!(reloader.reload_if_changed().unwrap());
        assert!(!reloader.reload_if_changed().unwrap());
        fs::remove_file(&file).unwrap();
        assert!(reloader.reload_if_changed().unwrap());
    }
}
