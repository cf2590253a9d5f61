//! Which of our crates may use which.
//!
//! ```text
//!    rpc-build       examples   benches   rpc-testing       nothing depends on this row
//!        :               \         |         /
//!        :           +----v--------v--------v----+
//!        :           |  rpc-server | rpc-client  |          the two ends do not know each other
//!        :           +---+-------------------+---+
//!        :               v                   v
//!        :            rpc-net           rpc-policy          doing | deciding: they do not know each other
//!        :               v                   |
//!        :           rpc-codec               |     rpc-discovery
//!        :               v                   v           v
//!        +.......... rpc-core <--------------+-----------+  (the dotted line: emitted stubs name only rpc-core)
//! ```
//!
//! A crate may use what lies below it along the lines, however far; nothing points up or sideways. Tests may use what
//! they need, as nobody depends on a test.

use crate::workspace::{Package, Purpose, Workspace};
use crate::{Outcome, none_of};

/// A crate that is part of what we hand to users: its name, what of ours it may use, and why no more.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
    because: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        name: "rpc-core",
        may_use: &[],
        because: "everything depends on the vocabulary, so it depends on nothing",
    },
    Room {
        name: "rpc-codec",
        may_use: &["rpc-core"],
        because: "bytes to meaning and back needs neither sockets nor policies",
    },
    Room {
        name: "rpc-policy",
        may_use: &["rpc-core"],
        because: "decisions know no frames and no sockets",
    },
    Room {
        name: "rpc-discovery",
        may_use: &["rpc-core"],
        because: "back ends speak the vocabulary and nothing else",
    },
    Room {
        name: "rpc-net",
        may_use: &["rpc-codec", "rpc-core"],
        because: "the event loop knows no methods, services or policies",
    },
    Room {
        name: "rpc-server",
        may_use: &["rpc-net", "rpc-policy", "rpc-codec", "rpc-core"],
        because: "the two ends do not know each other",
    },
    Room {
        name: "rpc-client",
        may_use: &["rpc-net", "rpc-policy", "rpc-codec", "rpc-core"],
        because: "the two ends do not know each other",
    },
    Room {
        name: "rpc-build",
        may_use: &[],
        because: "emitted stubs name rpc-core; what emits them need not",
    },
    Room {
        name: "tern-rpc",
        may_use: &[
            "rpc-server",
            "rpc-client",
            "rpc-policy",
            "rpc-codec",
            "rpc-core",
        ],
        because: "the front door shows what users need, and they need no event loop",
    },
    Room {
        name: "rpc-testing",
        may_use: &[
            "tern-rpc",
            "rpc-server",
            "rpc-client",
            "rpc-net",
            "rpc-policy",
            "rpc-codec",
            "rpc-core",
        ],
        because: "tests of handlers need no generator at run time",
    },
];

/// What only tests may use, though users may, too: the row that nothing depends on.
const FOR_TESTS: &str = "rpc-testing";

/// Crates of this workspace that nobody else has: they may use everything, and nothing may use them.
const LEAVES: &[&str] = &[
    "tern-examples",
    "quickstart",
    "tern-interop",
    JUDGE,
    "tern-benches",
    "xtask",
];

/// It judges what goes over the wire, so it shares no code, and no mistake, with what it judges. Only `tern-interop` runs it.
const JUDGE: &str = "tern-conformance";

/// Crates that a test may use though they are leaves.
const LEAVES_FOR_TESTS: &[&str] = &["xtask"];

/// The names of the crates that users may come to depend on.
pub fn published() -> impl Iterator<Item = &'static str> {
    ROOMS.iter().map(|room| room.name)
}

/// Checks the whole workspace.
///
/// # Errors
///
/// When a crate uses what it must not know, or has no place in the picture.
pub fn check(workspace: &Workspace) -> Outcome {
    none_of("the layers do not hold", &faults(&workspace.packages))
}

/// One sentence for each edge that the picture does not have, and each crate that is not in it.
pub fn faults(packages: &[Package]) -> Vec<String> {
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut faults = Vec::new();
    for package in packages {
        if !has_place(&package.name) {
            faults.push(format!(
                "{} has no place in the picture: give it one in {}",
                package.name,
                file!()
            ));
            continue;
        }
        for dependency in &package.dependencies {
            if ours(&dependency.name) {
                faults.extend(fault(&package.name, &dependency.name, dependency.purpose));
            }
        }
    }
    faults
}

/// What is wrong with one edge, if anything is.
pub fn fault(from: &str, to: &str, purpose: Purpose) -> Option<String> {
    let is_test = purpose == Purpose::Test;
    if from == JUDGE {
        return Some(format!(
            "{from} -> {to}: who judges shares no code with the judged"
        ));
    }
    if (from, to) == ("tern-interop", JUDGE) {
        return None;
    }
    if LEAVES.contains(&to) && !(is_test && LEAVES_FOR_TESTS.contains(&to)) {
        return Some(format!("{from} -> {to}: nothing depends on {to}"));
    }
    if is_test || LEAVES.contains(&from) {
        return None;
    }
    if to == FOR_TESTS {
        return Some(format!(
            "{from} -> {to}: only tests and examples use {to}; make it a dev-dependency"
        ));
    }
    let room = ROOMS.iter().find(|room| room.name == from)?;
    if room.may_use.contains(&to) {
        return None;
    }
    let may_use = match room.may_use {
        [] => "nothing of ours".to_owned(),
        some => some.join(", "),
    };
    Some(format!(
        "{from} -> {to}: points up or sideways; {from} may use {may_use}, because {}",
        room.because
    ))
}

fn has_place(name: &str) -> bool {
    LEAVES.contains(&name) || published().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Purpose)]) -> Package {
        let dependencies = dependencies.iter().map(|&(name, purpose)| Dependency {
            name: name.to_owned(),
            purpose,
        });
        Package {
            name: name.to_owned(),
            dependencies: dependencies.collect(),
            ..Package::default()
        }
    }

    #[test]
    fn nothing_points_up_or_sideways() {
        for (from, to) in [
            ("rpc-core", "rpc-codec"),
            ("rpc-codec", "rpc-net"),
            ("rpc-codec", "rpc-policy"),
            ("rpc-policy", "rpc-codec"),
            ("rpc-policy", "rpc-net"),
            ("rpc-net", "rpc-policy"),
            ("rpc-net", "rpc-server"),
            ("rpc-server", "rpc-client"),
            ("rpc-client", "rpc-server"),
            ("rpc-client", "tern-rpc"),
            ("rpc-discovery", "rpc-net"),
            ("rpc-build", "rpc-core"),
            ("tern-rpc", "rpc-net"),
            ("tern-rpc", "rpc-build"),
            ("rpc-testing", "rpc-build"),
        ] {
            for purpose in [Purpose::Run, Purpose::Build] {
                let fault = fault(from, to, purpose).expect(from);
                assert!(fault.contains(&format!("{from} -> {to}")), "{fault}");
                assert!(fault.contains("because"), "{fault}");
            }
            assert_eq!(fault(from, to, Purpose::Test), None);
        }
    }

    #[test]
    fn what_lies_below_may_be_used_however_far() {
        for (from, to) in [
            ("rpc-codec", "rpc-core"),
            ("rpc-net", "rpc-core"),
            ("rpc-server", "rpc-policy"),
            ("rpc-client", "rpc-codec"),
            ("tern-rpc", "rpc-server"),
            ("rpc-testing", "rpc-net"),
            ("tern-examples", "rpc-testing"),
            ("tern-benches", "rpc-build"),
        ] {
            assert_eq!(fault(from, to, Purpose::Run), None, "{from} -> {to}");
        }
    }

    #[test]
    fn nothing_depends_on_the_top_row() {
        assert!(fault("rpc-server", "rpc-testing", Purpose::Run).is_some());
        assert_eq!(fault("rpc-server", "rpc-testing", Purpose::Test), None);
        for leaf in LEAVES {
            assert!(fault("rpc-testing", leaf, Purpose::Run).is_some());
        }
        assert!(fault("rpc-server", "tern-examples", Purpose::Test).is_some());
        assert!(fault("tern-benches", "tern-examples", Purpose::Run).is_some());
    }

    #[test]
    fn the_judge_shares_nothing_with_the_judged() {
        assert!(fault(JUDGE, "rpc-codec", Purpose::Run).is_some());
        assert!(fault(JUDGE, "tern-rpc", Purpose::Test).is_some());
        assert_eq!(fault("tern-interop", JUDGE, Purpose::Run), None);
        assert!(fault("rpc-codec", JUDGE, Purpose::Test).is_some());
    }

    #[test]
    fn a_crate_without_a_place_is_noticed() {
        let stranger = package("rpc-gossip", &[]);
        let faults = faults(&[stranger]);
        assert!(
            faults[0].contains("rpc-gossip has no place"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn only_our_own_crates_are_judged() {
        let net = package("rpc-net", &[("mio", Purpose::Run)]);
        assert_eq!(faults(&[net]), Vec::<String>::new());
        let core = package("rpc-core", &[("rpc-net", Purpose::Run)]);
        let net = package("rpc-net", &[("rpc-core", Purpose::Run)]);
        assert_eq!(faults(&[core, net]).len(), 1);
    }
}
