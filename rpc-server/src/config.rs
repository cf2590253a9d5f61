//! The settings of a server, with their defaults. A [`Config`] that exists is a valid one.

use std::fs;
use std::thread;
use std::time::Duration;

use rpc_codec::{Codecs, Formats, Limits};

use crate::ServeError;
use crate::pool;

/// The settings of a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How the server calls itself, `trpc.app.server.service`, in calls that its handlers make within theirs, unless their
    /// channel has a name of its own. Default: empty, the channels say what a client says.
    pub name: String,
    /// What a peer may make us do.
    pub limits: Limits,
    /// How bodies are packed and unpacked. Default: all that the protocol has numbers for.
    pub codecs: Codecs,
    /// In which formats messages may be. Default: protobuf, raw bytes, and JSON if it was built in.
    pub formats: Formats,
    /// How many event loops serve connections. Default: half the cores, at least 1, at most 16.
    pub reactors: usize,
    /// How long an event loop that has nothing to do looks again without sleeping. Default: zero, it sleeps at once. See
    /// [`ServerBuilder::busy_poll`](crate::ServerBuilder::busy_poll).
    pub busy_poll: Duration,
    /// How many threads the default pool has. Default: four for each core, at least 8.
    pub workers: usize,
    /// Whether the metadata of a request goes back in its response, with what the handler adds. Default: no; peers do so,
    /// and no client of theirs needs it. It costs bytes, and tells callers what was added on the way.
    pub response_metadata_echo: bool,
    /// How long any call that is no stream may take, counted from its arrival. Default: as long as the caller gives it.
    pub timeout: Option<Duration>,
    /// How long a server that was told to end goes on accepting, so that those who look for it learn to look
    /// elsewhere. Default: 500 ms.
    pub close_wait: Duration,
    /// How long it takes at most from being told to end until the end. Default: 10 s.
    pub grace: Duration,
    /// Connections at a time; one more is closed at once. Default, as `None`: the smaller of 65,536 and what the
    /// descriptors of the process allow, less some for everything else.
    pub connections_max: Option<usize>,
    /// Whether the number of descriptors that the process may open is raised, when the server is bound, from what is
    /// usual to what is allowed. Default: yes.
    pub raise_descriptors: bool,
    /// Calls that wait or run at a time; one more is refused as overload. Default: 65,536.
    pub calls_max: usize,
    /// Bytes of requests that wait or run at a time; beyond it calls are refused as overload. Default: the smaller of
    /// 1 GiB and a quarter of the memory that the process may use.
    pub bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            response_metadata_echo: false,
            limits: Limits::default(),
            codecs: Codecs::default(),
            formats: Formats::default(),
            reactors: thread::available_parallelism()
                .map_or(1, |cores| (cores.get() / 2).clamp(1, 16)),
            busy_poll: Duration::ZERO,
            workers: pool::default_threads(),
            timeout: None,
            close_wait: Duration::from_millis(500),
            grace: Duration::from_secs(10),
            connections_max: None,
            raise_descriptors: true,
            calls_max: 65_536,
            bytes_max: (memory() / 4).min(1 << 30),
        }
    }
}

impl Config {
    /// How many connections there may be, by this setting or by what the system allows.
    pub(crate) fn connections(&self) -> usize {
        let descriptors = descriptors(self.raise_descriptors);
        self.connections_max
            .unwrap_or_else(|| connections_max(descriptors))
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let counts = [
            ("reactors", self.reactors),
            ("workers", self.workers),
            ("connections_max", self.connections_max.unwrap_or(1)),
            ("calls_max", self.calls_max),
            ("bytes_max", self.bytes_max),
            (
                "limits.connection_calls_max",
                self.limits.connection_calls_max,
            ),
            (
                "limits.connection_bytes_max",
                self.limits.connection_bytes_max,
            ),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(ServeError::Setting {
                name,
                expected: "at least 1; 0 does not mean unlimited",
            });
        }
        if self.limits.frame_bytes_max < 16 {
            return Err(ServeError::Setting {
                name: "limits.frame_bytes_max",
                expected: "at least 16 bytes",
            });
        }
        if self.close_wait > self.grace {
            return Err(ServeError::Setting {
                name: "close_wait",
                expected: "no longer than the grace time",
            });
        }
        if self.limits.frame_bytes_max > 10_000_000
            && self.limits.frame_bytes_max != Limits::default().frame_bytes_max
        {
            tracing::warn!(
                frame_bytes_max = self.limits.frame_bytes_max,
                "peers in C++ close the connection on frames above 10,000,000 bytes unless they are told otherwise"
            );
        }
        Ok(())
    }
}

fn connections_max(descriptors: usize) -> usize {
    (descriptors / 2)
        .max(descriptors.saturating_sub(256))
        .clamp(1, 65_536)
}

/// Descriptors that the process may open; what is usual where the system does not say.
fn descriptors(raise: bool) -> usize {
    let allowed = if raise {
        rlimit::increase_nofile_limit(u64::MAX)
    } else {
        rlimit::Resource::NOFILE.get_soft()
    };
    let allowed =
        allowed.inspect_err(|error| tracing::warn!(%error, "the limit of descriptors is unknown"));
    allowed.map_or(1024, |allowed| {
        usize::try_from(allowed).unwrap_or(usize::MAX)
    })
}

/// Memory that the process may use: that of its control group, or of the machine.
fn memory() -> usize {
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<usize>().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("MemTotal:"))?
            .to_owned();
        line.split_whitespace()
            .nth(1)?
            .parse::<usize>()
            .ok()?
            .checked_mul(1024)
    });
    group.into_iter().chain(machine).min().unwrap_or(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn zero_is_an_error_and_never_unlimited() {
        let config = Config {
            calls_max: 0,
            ..Config::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("calls_max")
        );
    }

    #[test]
    fn some_descriptors_are_kept_for_others() {
        assert_eq!(connections_max(64), 32);
        assert_eq!(connections_max(1024), 768);
        assert_eq!(connections_max(1_000_000), 65_536);
    }
}
