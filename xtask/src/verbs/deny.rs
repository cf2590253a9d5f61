//! Licences, bans, sources and advisories, by cargo-deny and `deny.toml`.

use xtask::run::Run;
use xtask::{Outcome, crates};

pub(crate) fn run() -> Outcome {
    if Run::cargo("deny --version").capture().is_err() {
        return Err("cargo-deny is missing: `cargo install cargo-deny --locked`".into());
    }
    Run::cargo("deny --workspace check --hide-inclusion-graph bans licenses sources").show()?;
    advisories()
}

/// The advisories lie in a repository that not every machine reaches. Where it is out of reach, what we know of them
/// stands in a table, and that is checked.
fn advisories() -> Outcome {
    let check = Run::cargo("deny --workspace check advisories");
    println!("$ {check}");
    let (success, output, complaint) = check.output()?;
    let said = format!("{output}{complaint}");
    if success {
        println!("{}", said.trim_end());
        return Ok(());
    }
    if !is_out_of_reach(&said) {
        return Err(format!("advisories:\n{said}"));
    }
    println!(
        "LEFT OUT: the advisories cannot be fetched from here. Instead: what is refused, and the oldest versions \
         without known faults, in all lock files:"
    );
    crates::check_locks()
}

fn is_out_of_reach(said: &str) -> bool {
    said.contains("failed to fetch advisory database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_is_no_excuse() {
        assert!(!is_out_of_reach(
            "error[vulnerability]: something is wrong\nadvisories FAILED"
        ));
        assert!(is_out_of_reach(
            "[ERROR] failed to fetch advisory database: an IO error occurred"
        ));
    }
}
