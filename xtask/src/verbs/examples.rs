//! The examples, run, and what they say compared with `examples/expected/NAME.txt`.

use std::fs;
use std::time::Duration;

use xtask::run::{Run, timed};
use xtask::workspace::Workspace;
use xtask::{Outcome, expected, none_of};

const PACKAGE: &str = "tern-examples";

/// No example may take longer.
const TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Outcome {
    let workspace = Workspace::load()?;
    let package = workspace
        .package(PACKAGE)
        .ok_or(format!("there is no package {PACKAGE}"))?;
    let build = format!("build --release --package {PACKAGE} --examples --features tls");
    Run::cargo(&build).show()?;
    let mut faults = Vec::new();
    let folder = workspace.root.join("examples/expected");
    for name in &package.examples {
        let Ok(expected) = fs::read_to_string(folder.join(format!("{name}.txt"))) else {
            println!("{name}: not run, as it has no expected output");
            continue;
        };
        let program = workspace.target.join("release/examples").join(name);
        let program = Run::program(&program.to_string_lossy(), "");
        let (said, time) = timed(|| program.capture_within(TIME_MAX));
        match said.and_then(|said| expected::compare(&expected, &said)) {
            Ok(()) => println!("{name}: as expected, in {:.1} s", time.as_secs_f64()),
            Err(difference) => faults.push(format!("{name}:\n{difference}")),
        }
    }
    faults.extend(without_example(&folder, &package.examples)?);
    none_of("examples do not say what is expected", &faults)
}

/// Expected output that is nobody's: an example was renamed, or is not built.
fn without_example(folder: &std::path::Path, examples: &[String]) -> Outcome<Vec<String>> {
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let names = paths.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    Ok(names
        .filter(|name| !examples.contains(name))
        .map(|name| format!("{name}: there is no such example"))
        .collect())
}
