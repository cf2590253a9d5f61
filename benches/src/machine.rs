//! What the machine has: CPUs, descriptors, and tools that are used when they are there.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;

/// The CPU that servers are pinned to.
pub const SERVER_CPU: usize = 0;
/// The CPU that the load comes from.
pub const CLIENT_CPU: usize = 1;

/// Whether a program of that name is found.
pub fn has(tool: &str) -> bool {
    find(tool).is_some()
}

/// Where a program of that name is.
pub fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|folder| folder.join(tool));
    places.find(|place| place.is_file())
}

/// What a program says.
///
/// # Errors
///
/// What it complained of, if it failed.
pub fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).file_name();
    let name = program.unwrap_or_default().display().to_string();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{name}: {}", text(&output.stderr)))
    }
}

/// The date, as the system has it.
pub fn date() -> String {
    output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))
        .unwrap_or_else(|_| "on an unknown day".to_owned())
}

/// Pins this process to the CPU of the client. `false` where that is not possible: server and client then share.
pub fn pin_client() -> bool {
    let id = process::id().to_string();
    let cpu = CLIENT_CPU.to_string();
    has("taskset") && cpus() > CLIENT_CPU && run("taskset", ["-a", "-c", "-p", &cpu, &id])
}

/// A program on the CPU of the servers, where programs can be pinned.
pub fn on_server_cpu(program: impl AsRef<OsStr>, is_pinned: bool) -> Command {
    if !is_pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &SERVER_CPU.to_string()]).arg(program);
    command
}

/// Tells a process something.
pub fn signal(id: u32, name: &str) -> bool {
    run("kill", [format!("-{name}"), id.to_string()])
}

/// Files that this process and those that it starts may open.
pub fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1024)
}

/// CPUs that this process may use before it is pinned.
pub fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What the machine is and how busy it was, in one line.
pub fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or("unknown CPU")
        .trim_start_matches([' ', '\t', ':']);
    let count = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{count} CPUs ({model}), Linux {}, load average {load}",
        kernel.trim()
    )
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
