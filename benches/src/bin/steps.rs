//! Takes steps with the drivers, for whoever counts what they cost: `cargo xtask instructions`.
//!
//! ```text
//! bench-steps                          the cases, one a line, each with the requests of one step
//! bench-steps inline-32-8x64 100       100 steps of one case
//! ```

use std::env;
use std::error::Error;

use tern_benches::steps::{CASES, Case};

const USAGE: &str = "usage: bench-steps [CASE STEPS]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [name, count] = &arguments[..] else {
        if !arguments.is_empty() {
            return Err(USAGE.into());
        }
        for case in CASES {
            println!("{} {}", case.name, case.requests());
        }
        return Ok(());
    };
    let case = Case::find(name).ok_or_else(|| format!("there is no case `{name}`"))?;
    let count: u32 = count.parse()?;
    let mut steps = case.start()?;
    for _ in 0..count {
        steps.step()?;
    }
    Ok(())
}
