//! The asking end with an allocator that counts, in a program of its own because counting costs those most who ask for
//! memory most.

use std::alloc::System;
use std::env;
use std::error::Error;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tern_benches::ask::control;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), Box<dyn Error>> {
    control::serve(env::args().skip(1), || {
        let stats = ALLOCATOR.stats();
        (stats.allocations + stats.reallocations) as u64
    })
}
