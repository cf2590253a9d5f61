//! The stubs as a user has them: a package of its own, with a build script, compiled and run by cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of the fixture is copied. Its manifest is written here, because it names directories.
const FILES: &[&str] = &[
    "build.rs",
    "src/lib.rs",
    "src/main.rs",
    "src/streams.rs",
    "proto/greeter.proto",
    "proto/chatter.proto",
    "proto/plain.proto",
    "proto/odd.proto",
    "proto/shop/money.proto",
    "proto/shop/order.proto",
    "proto/shop/stock.proto",
];

#[test]
fn a_package_with_stubs_compiles_and_its_calls_are_answered() {
    let fixture = Fixture::new("run");
    fixture.cargo(&["run"]);
    assert!(!fixture.cargo(&["run"]).contains("Compiling fixture"));

    // A file that is imported and not listed counts as much as the others.
    fixture.append("proto/shop/money.proto", "\nmessage Coin {}\n");
    assert!(fixture.cargo(&["run"]).contains("Compiling fixture"));
}

#[test]
fn stubs_are_quiet_under_strict_lints() {
    let has_clippy = Command::new(env!("CARGO")).args(["clippy", "-V"]).output();
    if !has_clippy.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: clippy not found");
        return;
    }
    let fixture = Fixture::new("lint");
    fixture.cargo(&["clippy", "--all-targets"]);
}

struct Fixture {
    directory: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        for file in FILES {
            let copy = directory.join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            let text = fs::read(here.join("tests/fixture").join(file)).unwrap();
            if fs::read(&copy).ok().as_ref() != Some(&text) {
                fs::write(copy, text).unwrap();
            }
        }
        fs::write(directory.join("Cargo.toml"), manifest(here)).unwrap();
        // The versions that the workspace has are here, and no others need to be.
        fs::copy(here.join("../Cargo.lock"), directory.join("Cargo.lock")).unwrap();
        Self { directory }
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, before + text).unwrap();
    }

    /// In the target directory of the workspace, so that what is compiled there is not compiled again.
    fn cargo(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .arg("--offline")
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
            .current_dir(&self.directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "cargo {arguments:?} failed:\n{said}"
        );
        said
    }
}

/// `tern` is what stubs name by default; `rpc-core` has all of it that stubs need.
fn manifest(here: &Path) -> String {
    let workspace = here.parent().unwrap().display();
    format!(
        r#"[package]
name = "fixture"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
tern = {{ package = "rpc-core", path = "{workspace}/rpc-core" }}

[build-dependencies]
rpc-build = {{ path = "{workspace}/rpc-build" }}
"#
    )
}
