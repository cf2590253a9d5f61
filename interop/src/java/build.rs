//! Builds the peer, unless what is there was built from the same sources.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::go::REQUIRE_PEERS;

/// The peer, built.
#[derive(Debug)]
pub(super) struct Built {
    class_path: String,
}

impl Built {
    /// Builds it. `None`, and a line that says so, when what builds or runs it is not here.
    ///
    /// # Errors
    ///
    /// When the build fails, or when a tool is missing and [`REQUIRE_PEERS`] is set.
    pub(super) fn find() -> Result<Option<Self>, String> {
        for tool in ["java", "javac", "mvn"] {
            if !is_there(tool)? {
                if env::var_os(REQUIRE_PEERS).is_some_and(|value| value == "1") {
                    return Err(format!(
                        "{REQUIRE_PEERS} is set, and `{tool}` is not on the PATH"
                    ));
                }
                println!("skipped: {tool} not found");
                return Ok(None);
            }
        }
        let out = Path::new(concat!(env!("OUT_DIR"), "/trpc-java-peer"));
        let sources = sources().map_err(|error| format!("the sources in interop/java: {error}"))?;
        let mark = out.join("built-from");
        if fs::read_to_string(&mark).ok().as_ref() != Some(&sources) {
            build(out)?;
            fs::write(&mark, sources).map_err(|error| format!("{}: {error}", mark.display()))?;
        }
        let class_path = format!("{0}/classes:{0}/lib/*", out.display());
        Ok(Some(Self { class_path }))
    }

    /// A command that runs it; its arguments are to be added.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("java");
        command
            // It lives for seconds, beside others: no time for the better compiler, no threads for the collector.
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
            .args(["-cp", &self.class_path, "tern.interop.peer.Peer"]);
        command
    }
}

fn is_there(tool: &str) -> Result<bool, String> {
    let asked = Command::new(tool)
        .arg("-version")
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("`{tool}` cannot be run: {error}")),
    }
}

/// Everything is on the disk after the first build, so the network is asked only if that fails.
fn build(out: &Path) -> Result<(), String> {
    if maven(out, &["--offline"])?.status.success() {
        return Ok(());
    }
    let output = maven(out, &[])?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "the peer of tRPC-Java cannot be built, {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn maven(out: &Path, arguments: &[&str]) -> Result<Output, String> {
    Command::new("mvn")
        .args(["--quiet", "--batch-mode"])
        .args(arguments)
        .arg(format!("-Dpeer.out={}", out.display()))
        .arg("process-classes")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/java"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`mvn` cannot be run: {error}"))
}

/// What tells one state of the sources from another.
fn sources() -> io::Result<String> {
    let java = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/java"));
    let mut files = vec![
        java.join("pom.xml"),
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/interop.proto")).to_owned(),
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/streams.proto")).to_owned(),
    ];
    add_files(&java.join("src"), &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn add_files(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            add_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
