//! Tern against a bare loop and against other stacks, on one core each: `tern_benches::compare`.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use tern_benches::compare::{self, Options};
use tern_benches::programs;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{}", Options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    compare::run(&options, &programs!())
}
