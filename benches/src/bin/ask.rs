//! The asking end as it is measured.
//!
//! ```text
//! bench-ask async PORT CONNECTIONS IN_FLIGHT PAYLOAD
//! ```

use std::env;
use std::error::Error;

use tern_benches::ask::control;

fn main() -> Result<(), Box<dyn Error>> {
    control::serve(env::args().skip(1), || 0)
}
