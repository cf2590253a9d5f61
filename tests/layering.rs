//! Which of our crates use which, and how heavy they are. `xtask` knows the rules, and tests that they can be broken.

use xtask::workspace::Workspace;
use xtask::{crates, layers};

#[test]
fn no_crate_uses_what_it_must_not_know() {
    let workspace = Workspace::load().unwrap();
    assert!(workspace.package("rpc-core").is_some());
    layers::check(&workspace).unwrap_or_else(|faults| panic!("{faults}"));
}

#[test]
fn no_crate_is_heavier_than_it_may_be_or_brings_a_runtime() {
    let workspace = Workspace::load().unwrap();
    let is_there = |name: &str| workspace.package(name).is_some();
    crates::check_trees(is_there).unwrap_or_else(|faults| panic!("{faults}"));
}

#[test]
fn nothing_refused_and_nothing_outdated_is_locked() {
    crates::check_locks().unwrap_or_else(|faults| panic!("{faults}"));
}
