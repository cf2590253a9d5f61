//! How heavy our crates may be, what must be in no tree, and the oldest versions without known faults.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::run::Run;
use crate::{Outcome, layers, none_of, workspace};

/// The most crates, itself among them, in the trees of those that stay small.
const SMALL: &[(&str, usize)] = &[("rpc-core", 30), ("rpc-codec", 30)];

/// Crates that bring or are an async runtime. Measurements compare us with some of them; nothing that users get may
/// have one in its tree.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "hyper",
    "tonic",
    "axum",
    "reqwest",
    "etcd-client",
    "kube",
    "hickory-resolver",
];

/// Crates that must not be used from a version on, which is mostly any: the version, and what to use instead.
const REFUSED: &[(&str, &str, &str)] = &[
    ("serde_yaml", "0", "archived, use serde-saphyr"),
    ("serde_yml", "0", "RUSTSEC-2025-0068, use serde-saphyr"),
    ("libyml", "0", "RUSTSEC-2025-0067, use serde-saphyr"),
    ("yaml-rust", "0", "RUSTSEC-2024-0320, use serde-saphyr"),
    ("backoff", "0", "RUSTSEC-2025-0012, use our retry budget"),
    ("bincode", "0", "RUSTSEC-2025-0141, use prost"),
    ("fxhash", "0", "unmaintained, use foldhash"),
    ("instant", "0", "unmaintained, use std"),
    ("derivative", "0", "unmaintained"),
    ("paste", "0", "unmaintained"),
    ("atomic-polyfill", "0", "unmaintained, use std"),
    (
        "rustls-pemfile",
        "0",
        "RUSTSEC-2025-0134, use rustls-pki-types",
    ),
    ("async-std", "0", "RUSTSEC-2025-0052"),
    ("lru", "0", "unsound more than once, use slab and a list"),
    (
        "parking_lot",
        "0.13",
        "needs rustc 1.95; std's locks are enough",
    ),
    ("hickory-resolver", "0", "86 crates, use std's resolver"),
    ("etcd-client", "0", "needs a runtime"),
    ("kube", "0", "needs a runtime"),
    ("reqwest", "0", "needs a runtime, use ureq"),
];

/// The oldest version of each line that has none of the faults we know of. A version in an older line than all of these
/// is refused, one in a newer line is not.
const MINIMUM: &[(&str, &[&str], &str)] = &[
    ("bytes", &["1.11.1"], "RUSTSEC-2026-0007"),
    ("crossbeam-channel", &["0.5.15"], "RUSTSEC-2025-0024"),
    ("h2", &["0.4.16"], "RUSTSEC-2026-0258"),
    ("lz4_flex", &["0.11.6", "0.12.1"], "leaks memory"),
    ("mio", &["1.0.0"], "the first stable line"),
    ("protobuf", &["3.7.2"], "recursion without end"),
    ("quick-xml", &["0.41.0"], "advisories"),
    ("ring", &["0.17.12"], "RUSTSEC-2025-0009"),
    ("slab", &["0.4.11"], "RUSTSEC-2025-0047"),
    ("tracing-subscriber", &["0.3.20"], "RUSTSEC-2025-0055"),
];

/// A version of a package, as a lock file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Checks the trees of all crates that users may come to depend on.
///
/// # Errors
///
/// When one has a runtime in it, or is heavier than it may be.
pub fn check_trees(present: impl Fn(&str) -> bool) -> Outcome {
    let mut faults = Vec::new();
    for name in layers::published().filter(|name| present(name)) {
        let tree = tree(name, "normal,build")?;
        let max = SMALL.iter().find(|(small, _)| *small == name);
        faults.extend(tree_faults(name, &tree, max.map(|(_, max)| *max)));
        println!("{name}: {} crates, no runtime", tree.len());
    }
    none_of("the trees are not as they should be", &faults)
}

/// The crates that `package` is built with, itself among them.
///
/// # Errors
///
/// When Cargo cannot tell.
pub fn tree(package: &str, edges: &str) -> Outcome<BTreeSet<String>> {
    let command = format!("tree --package {package} --edges {edges} --prefix none --format {{p}}");
    let output = Run::cargo(&command).capture()?;
    // A name, a version, and for ours the path.
    let first_two = |line: &str| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    Ok(output.lines().filter_map(first_two).collect())
}

fn tree_faults(name: &str, tree: &BTreeSet<String>, max: Option<usize>) -> Vec<String> {
    let mut faults = Vec::new();
    for line in tree {
        let found = line.split(' ').next().unwrap_or_default();
        if RUNTIMES.contains(&found) {
            faults.push(format!(
                "{name} brings {line}; see who: cargo tree -i {found} -p {name}"
            ));
        }
    }
    if let Some(max) = max.filter(|max| tree.len() > *max) {
        faults.push(format!(
            "{name} is built with {} crates, and {max} are allowed",
            tree.len()
        ));
    }
    faults
}

/// Checks all lock files: no crate that is refused, no version that is too old.
///
/// # Errors
///
/// When there is one.
pub fn check_locks() -> Outcome {
    let mut faults = Vec::new();
    for file in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let locked = locked(&workspace::root().join(file))?;
        println!(
            "{file}: {} packages, none refused, none older than it may be",
            locked.len()
        );
        faults.extend(locked.iter().filter_map(lock_fault));
    }
    none_of("not to be used", &faults)
}

fn locked(path: &Path) -> Outcome<Vec<Locked>> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let locked = parse_lock(&text);
    if locked.is_empty() {
        return Err(format!("{} names no package", path.display()));
    }
    Ok(locked)
}

/// The packages that a lock file names. It is written by Cargo, line by line, which is all that is relied on.
fn parse_lock(text: &str) -> Vec<Locked> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches(['=', ' ', '"']).to_owned())
    };
    let blocks = text.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| {
            Some(Locked {
                name: value(block, "name")?,
                version: value(block, "version")?,
            })
        })
        .collect()
}

/// What is wrong with a package, if anything is.
fn lock_fault(package: &Locked) -> Option<String> {
    let Locked { name, version } = package;
    let refused = REFUSED
        .iter()
        .find(|(refused, from, _)| refused == name && parts(version) >= parts(from));
    if let Some((_, _, why)) = refused {
        return Some(format!("{name} {version}: {why}"));
    }
    let (_, lines, why) = MINIMUM.iter().find(|(known, ..)| known == name)?;
    let is_too_old = match lines.iter().find(|line| same_line(version, line)) {
        Some(least) => parts(version) < parts(least),
        None => lines.iter().all(|least| parts(version) < parts(least)),
    };
    is_too_old.then(|| format!("{name} {version}: at least {}, {why}", lines.join(" or ")))
}

/// Whether Cargo would take one for the other: equal up to the first number that is not 0.
fn same_line(left: &str, right: &str) -> bool {
    let line = |version: &str| {
        let parts = parts(version);
        let first = parts.iter().position(|part| *part != 0);
        let end = first.map_or(parts.len(), |at| at + 1);
        parts.into_iter().take(end).collect::<Vec<_>>()
    };
    line(left) == line(right)
}

fn parts(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, version: &str) -> Option<String> {
        lock_fault(&Locked {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    #[test]
    fn a_lock_file_is_read() {
        let text = "version = 4\n\n[[package]]\nname = \"bytes\"\nversion = \"1.12.1\"\nsource = \"x\"\n\n\
                    [[package]]\nname = \"slab\"\nversion = \"0.4.12\"\ndependencies = [\n \"name\",\n]\n";
        let names: Vec<_> = parse_lock(text)
            .into_iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        assert_eq!(names, ["bytes 1.12.1", "slab 0.4.12"]);
    }

    #[test]
    fn versions_with_known_faults_are_refused() {
        for (name, version) in [
            ("bytes", "1.11.0"),
            ("crossbeam-channel", "0.5.14"),
            ("slab", "0.4.10"),
            ("mio", "0.8.11"),
            ("tracing-subscriber", "0.3.19"),
            ("lz4_flex", "0.11.5"),
            ("lz4_flex", "0.12.0"),
            ("lz4_flex", "0.10.9"),
        ] {
            let fault = fault(name, version).unwrap_or_default();
            assert!(fault.contains("at least"), "{name} {version}: {fault}");
        }
    }

    #[test]
    fn versions_without_pass() {
        for (name, version) in [
            ("bytes", "1.11.1"),
            ("bytes", "2.0.0"),
            ("slab", "0.4.11"),
            ("mio", "1.0.0"),
            ("lz4_flex", "0.11.6"),
            ("lz4_flex", "0.12.1"),
            ("lz4_flex", "0.13.0"),
            ("parking_lot", "0.12.5"),
            ("anything", "0.0.1"),
        ] {
            assert_eq!(fault(name, version), None);
        }
    }

    #[test]
    fn refused_crates_are_refused_in_any_version() {
        for (name, version) in [
            ("serde_yaml", "0.9.34+deprecated"),
            ("paste", "1.0.15"),
            ("lru", "0.16.0"),
            ("parking_lot", "0.13.0"),
        ] {
            assert!(fault(name, version).is_some(), "{name} {version}");
        }
    }

    #[test]
    fn a_runtime_in_a_tree_is_named_with_who_brings_it() {
        let tree = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let faults = tree_faults("rpc-net", &tree(&["mio v1.2.0", "tokio v1.54.0"]), None);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("cargo tree -i tokio -p rpc-net"));
        assert!(tree_faults("rpc-net", &tree(&["tokio-not v1.0.0"]), None).is_empty());
    }

    #[test]
    fn a_tree_that_grew_is_refused() {
        let tree: BTreeSet<_> = (0..31).map(|i| format!("crate-{i} v1.0.0")).collect();
        assert_eq!(tree_faults("rpc-core", &tree, Some(30)).len(), 1);
        assert!(tree_faults("rpc-core", &tree, Some(31)).is_empty());
        assert!(tree_faults("rpc-core", &tree, None).is_empty());
    }
}
