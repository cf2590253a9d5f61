//! Instructions for each request, counted by valgrind: a guard that no noise of the machine can move.

use std::path::Path;
use std::{env, fs};

use xtask::instructions::{Accepted, Comparison, Counts};
use xtask::run::Run;
use xtask::workspace::{self, Workspace};
use xtask::{Outcome, none_of};

const FILE: &str = "benches/instructions.txt";
/// Requests of the two runs whose difference is divided: what the start takes is in both.
const REQUESTS: [u64; 2] = [4_096, 36_864];
/// Valgrind counts each byte of what one `rep movsb` copies, and whether the C library takes it is a matter of the CPU.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM";
const ACCEPT: &str = "`cargo xtask instructions --accept` writes what was measured to benches/instructions.txt, to be \
                      committed with the reason";

pub(crate) fn run() -> Outcome {
    let Some(measured) = measure()? else {
        return Ok(());
    };
    let compiler = compiler()?;
    let accepted = read()?;
    let before = if accepted.compiler == compiler {
        accepted.counts
    } else {
        println!(
            "{FILE} holds for {}, and this is {compiler}:",
            accepted.compiler
        );
        measure_base()?
    };
    let comparison = Comparison::new(&measured, &before);
    print!("{}", comparison.shown);
    if comparison.is_better {
        println!("Better than what was accepted. {ACCEPT}.");
    }
    none_of("requests take more instructions", &comparison.faults)
        .map_err(|error| format!("{error}\n{ACCEPT}"))
}

pub(crate) fn accept() -> Outcome {
    let counts = measure()?.ok_or("nothing can be counted here")?;
    let accepted = Accepted {
        compiler: compiler()?,
        counts,
    };
    print!("{accepted}");
    let path = workspace::root().join(FILE);
    fs::write(path, accepted.to_string())
        .map_err(|error| format!("{FILE} cannot be written: {error}"))
}

/// Counts what the tree as it is takes; `None` where nothing can count.
fn measure() -> Outcome<Option<Counts>> {
    if Run::program("valgrind", "--version").output().is_err() {
        if env::var_os("TERN_REQUIRE_PEERS").is_some_and(|value| value == "1") {
            return Err("valgrind is missing: `apt-get install valgrind`".into());
        }
        println!("LEFT OUT: counting instructions needs valgrind, and there is none here");
        return Ok(None);
    }
    let target = Workspace::load()?.target;
    measure_tree(&workspace::root(), &target).map(Some)
}

/// Counts what the last commit that changed the file takes with the compiler of today.
fn measure_base() -> Outcome<Counts> {
    let git = |arguments: &str| {
        Run::program("git", arguments)
            .capture()
            .map(|said| said.trim().to_owned())
    };
    let commit = match git("rev-parse --is-shallow-repository").as_deref() {
        Ok("false") => git(&format!("log -1 --format=%H -- {FILE}"))?,
        Ok(_) => {
            return Err(no_history(
                "the history is cut off: `git fetch --unshallow`",
            ));
        }
        Err(_) => return Err(no_history("there is no git history here")),
    };
    if commit.is_empty() {
        return Err(no_history("no commit has it yet"));
    }
    println!(
        "comparing with commit {commit}, which last changed it, built with the compiler of today"
    );
    let folder = Workspace::load()?.target.join("instructions");
    let tree = folder.join("tree");
    let shown = tree.to_string_lossy().into_owned();
    // What an earlier run left behind when it was ended.
    let _ = git(&format!("worktree remove --force {shown}"));
    git(&format!("worktree add --force --detach {shown} {commit}"))?;
    let counts = measure_tree(&tree, &folder.join("target"));
    git(&format!("worktree remove --force {shown}"))?;
    counts
}

fn no_history(why: &str) -> String {
    format!(
        "counts of two compilers are not to be compared, and the commit that {FILE} is of cannot be built: {why}; or {ACCEPT}"
    )
}

/// Builds the stepper of a tree and counts all its cases.
fn measure_tree(tree: &Path, target: &Path) -> Outcome<Counts> {
    // As releases are built, with all crates as one: how code is split among units would move the counts.
    Run::cargo("build --profile bench --package tern-benches --bin bench-steps")
        .within(tree)
        .env("CARGO_TARGET_DIR", &target.to_string_lossy())
        .show()?;
    let folder = target.join("release");
    let cases = Run::program("./bench-steps", "")
        .within(&folder)
        .capture()?;
    cases
        .lines()
        .map(|line| measure_case(&folder, line))
        .collect()
}

/// Counts one case, given as the stepper lists it: its name and the requests of a step.
fn measure_case(folder: &Path, line: &str) -> Outcome<(String, f64)> {
    let case = line
        .split_once(' ')
        .and_then(|(case, each)| Some((case, each.parse::<u64>().ok()?)));
    let (case, each) = case
        .filter(|(_, each)| *each > 0)
        .ok_or_else(|| format!("bench-steps says `{line}`"))?;
    let [less, more] = REQUESTS.map(|requests| count(folder, case, requests / each));
    let difference = more?.saturating_sub(less?);
    #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
    Ok((
        case.to_owned(),
        difference as f64 / (REQUESTS[1] - REQUESTS[0]) as f64,
    ))
}

/// The instructions of so many steps, with what the start takes.
fn count(folder: &Path, case: &str, steps: u64) -> Outcome<u64> {
    let arguments =
        format!("--tool=callgrind --callgrind-out-file=/dev/null ./bench-steps {case} {steps}");
    let run = Run::program("valgrind", &arguments)
        .within(folder)
        .env("GLIBC_TUNABLES", PLAIN_COPIES);
    let (succeeded, _, said) = run.output()?;
    collected(&said)
        .filter(|_| succeeded)
        .ok_or_else(|| format!("valgrind fails on {case}:\n{said}"))
}

/// Reads a line like `==7== Collected : 17020528`.
fn collected(said: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn read() -> Outcome<Accepted> {
    let text = fs::read_to_string(workspace::root().join(FILE));
    let text = text.map_err(|error| format!("{FILE} cannot be read: {error}; {ACCEPT}"))?;
    Accepted::parse(&text).map_err(|error| format!("{FILE}: {error}"))
}

/// The compiler and what it compiles for, in one line.
fn compiler() -> Outcome<String> {
    let said = Run::program("rustc", "-vV").capture()?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let version = said.lines().next();
    version
        .zip(host)
        .map(|(version, host)| format!("{version} {host}"))
        .ok_or_else(|| format!("rustc -vV says `{said}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_valgrind_says() {
        let said = "==7== Callgrind\n==7== \n==7== Events    : Ir\n==7== Collected : 17020528\n";
        assert_eq!(collected(said), Some(17_020_528));
        assert_eq!(collected("==7== Command: true\n"), None);
    }
}
