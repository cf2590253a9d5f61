//! Which versions are compared: a figure without them says nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine;

/// The folder of this package.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Tern's version, and the revision where there is one to be told.
pub fn tern() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut describe = Command::new("git");
    describe.args(["-C", HERE, "describe", "--always", "--dirty"]);
    match machine::output(&mut describe) {
        Ok(revision) => format!("Tern {version} at {revision}"),
        Err(_) => format!("Tern {version}"),
    }
}

/// The versions that the workspace has locked of these packages.
pub fn of_workspace(packages: &[&str]) -> String {
    locked(&Path::new(HERE).join("../Cargo.lock"), packages)
}

/// The versions that the peers written in Rust have locked of these packages.
pub fn of_peers(packages: &[&str]) -> String {
    locked(&peers("rust/Cargo.lock"), packages)
}

/// A file or folder of the peers.
pub fn peers(path: &str) -> PathBuf {
    Path::new(HERE).join("peers").join(path)
}

/// The version that the peer written in Go asks for, and the tool chain that builds it.
pub fn of_go(module: &str) -> String {
    let text = fs::read_to_string(peers("grpc-go/go.mod")).unwrap_or_default();
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(module));
    let chain = machine::output(Command::new("go").args(["env", "GOVERSION"]));
    format!(
        "{module}{}, {}",
        version.unwrap_or(" ?"),
        chain.unwrap_or_else(|_| "no Go".to_owned())
    )
}

/// The version of a library that `pkg-config` knows.
pub fn of_library(name: &str) -> String {
    let mut ask = Command::new("pkg-config");
    let version = machine::output(ask.args(["--modversion", name]));
    format!("{name} {}", version.as_deref().unwrap_or("?"))
}

/// The compiler of whatever is written in Rust.
pub fn rustc() -> String {
    machine::output(Command::new("rustc").arg("--version"))
        .unwrap_or_else(|_| "an unknown rustc".to_owned())
}

fn locked(file: &Path, packages: &[&str]) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let version = |package: &&str| format!("{package} {}", find(&text, package).unwrap_or("?"));
    packages.iter().map(version).collect::<Vec<_>>().join(", ")
}

/// The version of a package in the text of a lock file.
fn find<'a>(text: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    version.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_under_the_whole_name() {
        let text =
            "name = \"tokio-util\"\nversion = \"0.7\"\n\nname = \"tokio\"\nversion = \"1.54\"\n";
        assert_eq!(find(text, "tokio"), Some("1.54"));
        assert_eq!(find(text, "toki"), None);
    }

    #[test]
    fn what_is_compared_has_versions() {
        for text in [
            of_workspace(&["tonic", "h2", "tokio", "mio"]),
            of_peers(&["tarpc", "pajamax", "volo-thrift"]),
        ] {
            assert!(!text.contains('?'), "{text}");
        }
    }
}
