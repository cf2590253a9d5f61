//! The oldest compilers: that the manifests name them, and that they build what they should, where they are installed.
//! Where they are not, clippy's `incompatible_msrv` still tells what in std is too new.

use xtask::run::Run;
use xtask::workspace::{Package, Workspace};
use xtask::{Outcome, none_of};

/// What the workspace promises.
const WORKSPACE: &str = "1.89";
/// What these promise, who stay small and change least.
const OLDER: &str = "1.85";
const OLDER_CRATES: &[&str] = &["rpc-core", "rpc-codec"];
/// Shows what a user writes, and users need not say it.
const SAYS_NOTHING: &str = "quickstart";

pub(crate) fn run() -> Outcome {
    let workspace = Workspace::load()?;
    let faults: Vec<_> = workspace.packages.iter().filter_map(fault).collect();
    none_of("`rust-version` is not what is promised", &faults)?;
    println!(
        "{} manifests name the version they promise",
        workspace.packages.len()
    );

    let older = OLDER_CRATES.join(" --package ");
    build(OLDER, &format!(" --package {older}"))?;
    build(WORKSPACE, " --workspace --features tls")
}

fn fault(package: &Package) -> Option<String> {
    let name = package.name.as_str();
    let promised = match name {
        SAYS_NOTHING => return None,
        name if OLDER_CRATES.contains(&name) => OLDER,
        _ => WORKSPACE,
    };
    let found = package.rust_version.as_deref();
    let shown = found.unwrap_or("nothing");
    (found != Some(promised)).then(|| format!("{name} says {shown}, and {promised} is promised"))
}

fn build(version: &str, packages: &str) -> Outcome {
    if toolchain(version).is_none() {
        println!(
            "LEFT OUT: the build with {version}; `rustup toolchain install {version}` makes it possible"
        );
        return Ok(());
    }
    Run::cargo(&format!("+{version} check --locked{packages}")).show()
}

/// The installed tool chain whose name begins so, if rustup knows one.
pub(crate) fn toolchain(version: &str) -> Option<String> {
    let installed = Run::program("rustup", "toolchain list").capture().ok()?;
    find_toolchain(&installed, version).map(str::to_owned)
}

fn find_toolchain<'a>(installed: &'a str, version: &str) -> Option<&'a str> {
    let names = installed.lines().filter_map(|line| line.split(' ').next());
    let is_wanted = |name: &&str| {
        let rest = name.strip_prefix(version);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    names.into_iter().find(is_wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, rust_version: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            rust_version: rust_version.map(str::to_owned),
            ..Package::default()
        }
    }

    #[test]
    fn a_manifest_without_its_version_is_noticed() {
        assert_eq!(fault(&package("rpc-core", Some("1.85"))), None);
        assert_eq!(fault(&package("rpc-net", Some("1.89"))), None);
        assert_eq!(fault(&package("quickstart", None)), None);
        assert!(fault(&package("rpc-core", Some("1.89"))).is_some());
        assert!(fault(&package("rpc-net", Some("1.95"))).is_some());
        assert!(fault(&package("rpc-net", None)).is_some());
    }

    #[test]
    fn a_tool_chain_is_found_by_its_version() {
        let installed = "stable-x86_64 (active, default)\n1.85-x86_64\nnightly-x86_64\n";
        assert_eq!(find_toolchain(installed, "1.85"), Some("1.85-x86_64"));
        assert_eq!(find_toolchain(installed, "nightly"), Some("nightly-x86_64"));
        assert_eq!(find_toolchain(installed, "1.8"), None);
        assert_eq!(find_toolchain(installed, "1.89"), None);
    }
}
