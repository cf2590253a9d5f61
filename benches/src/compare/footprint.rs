//! [`Footprint`]: how fast a program starts, and how large it and what it is made of are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use tern::Clock;

use super::rounds::plan;
use crate::cell::Cell;
use crate::contestant::Contestant;
use crate::figures::Figures;
use crate::load::{Load, LoadError, Pace};
use crate::machine;

/// How often a program is started.
const STARTS: usize = 20;

/// How fast a program starts, and how large it is.
#[derive(Debug, Clone)]
pub struct Footprint {
    /// Milliseconds from the start to the first answer.
    pub start_ms: Figures,
    /// Its bytes without symbols; `None` where nothing strips them.
    pub stripped: Option<u64>,
}

/// Starts a contestant some times, and strips a copy of its program.
pub(super) fn measure(contestant: &dyn Contestant) -> Result<Footprint, String> {
    let starts = (0..STARTS).map(|_| start(contestant));
    let start_ms = starts.collect::<Result<Figures, _>>()?;
    let stripped = stripped(contestant.program().0);
    Ok(Footprint { start_ms, stripped })
}

/// On the client's CPU, which has nothing else to do then: the program that pins takes longer to start than a server.
fn start(contestant: &dyn Contestant) -> Result<f64, String> {
    let clock = Clock::system();
    let begin = clock.now();
    let server = contestant.start(false)?;
    let failed = |error: LoadError| error.to_string();
    let plan = plan(contestant, Cell::new(1, 1, 32), Pace::Closed);
    let mut load = Load::connect(server.address(), plan).map_err(failed)?;
    load.once().map_err(failed)?;
    let time = clock.now().saturating_duration_since(begin);
    Ok(time.as_secs_f64() * 1e3)
}

fn stripped(program: &Path) -> Option<u64> {
    let copy = program.with_extension("stripped");
    let mut strip = Command::new("strip");
    machine::output(strip.arg("-o").arg(&copy).arg(program)).ok()?;
    let bytes = fs::metadata(&copy).ok()?.len();
    let _ = fs::remove_file(&copy);
    Some(bytes)
}

/// How many crates the facade is made of with its default features, itself among them; `None` where Cargo cannot tell.
pub(super) fn crates() -> Option<usize> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--package", "tern-rpc", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let text = machine::output(&mut tree).ok()?;
    // A name and a version; what follows is where it is, and whether it has been named before.
    let name = |line: &str| {
        let words: Vec<_> = line.split(' ').take(2).map(str::to_owned).collect();
        words.join(" ")
    };
    let crates: BTreeSet<_> = text.lines().map(name).collect();
    Some(crates.len())
}
