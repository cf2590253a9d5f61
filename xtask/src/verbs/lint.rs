//! Clippy, and each feature alone.

use xtask::Outcome;
use xtask::run::Run;
use xtask::workspace::Workspace;

pub(crate) fn run() -> Outcome {
    Run::cargo("clippy --workspace --all-targets -- -D warnings").show()?;
    // Tests and examples that need it are in no other run.
    Run::cargo("clippy --workspace --all-targets --features tls -- -D warnings").show()?;
    for package in Workspace::load()?.packages {
        if package.features.is_empty() {
            continue;
        }
        let alone = format!("clippy --package {} --no-default-features", package.name);
        Run::cargo(&format!("{alone} -- -D warnings")).show()?;
        for feature in &package.features {
            Run::cargo(&format!("{alone} --features {feature} -- -D warnings")).show()?;
        }
    }
    Ok(())
}
