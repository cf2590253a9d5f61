//! The gates themselves, row by row.

use super::{Gate, Quantity};
use crate::cell::Cell;
use crate::contestant::{
    BRPC, FLOOR, GRPC_CPP, INLINE, INLINE_FRAMEWORK, INLINE_SPIN, PAJAMAX, POOL_FRAMEWORK, TARPC,
    TONIC, VOLO_THRIFT,
};

/// A request alone.
const ALONE: Cell = Cell::new(1, 1, 32);
/// One busy connection.
const BUSY: Cell = Cell::new(1, 64, 32);
/// Many connections with one call on each: nobody can do much about what the kernel takes here.
const SPREAD: Cell = Cell::new(64, 1, 32);
const SPREAD_1K: Cell = Cell::new(64, 1, 1024);
const SPREAD_64K: Cell = Cell::new(64, 1, 64 * 1024);
const SPREAD_1M: Cell = Cell::new(64, 1, 1024 * 1024);
/// Few connections with many calls on each: the framework's own cost.
const DENSE: Cell = Cell::new(8, 64, 32);
const DENSE_1K: Cell = Cell::new(8, 64, 1024);

/// All of them.
pub const GATES: &[Gate] = &[
    // Against tonic, per core.
    per_core(1, DENSE, TONIC, 10.0, 18.0),
    per_core(2, BUSY, TONIC, 7.0, 10.0),
    per_core(3, DENSE_1K, TONIC, 15.0, 25.0),
    per_core(4, SPREAD, TONIC, 1.45, 1.65),
    per_core(4, SPREAD_1K, TONIC, 2.4, 3.0),
    // Against what others are written in C++.
    per_core(5, DENSE, BRPC, 15.0, 30.0),
    per_core(5, BUSY, BRPC, 10.0, 15.0),
    per_core(5, SPREAD, BRPC, 1.45, 1.65),
    per_core(6, DENSE, GRPC_CPP, 35.0, 60.0),
    per_core(6, SPREAD, GRPC_CPP, 2.7, 3.0),
    // Against the fastest that are written in Rust.
    per_core(7, SPREAD, TARPC, 1.1, 1.2),
    per_core(7, SPREAD, VOLO_THRIFT, 1.1, 1.2),
    per_core(7, DENSE, TARPC, 3.0, 5.0),
    per_core(7, DENSE, PAJAMAX, 1.0, 1.5),
    // The part of what a loop can do that only returns frames.
    per_core(8, SPREAD, FLOOR, 0.90, 0.97),
    per_core(8, ALONE, FLOOR, 0.90, 0.97),
    per_core(8, BUSY, FLOOR, 0.60, 0.75),
    per_core(8, DENSE, FLOOR, 0.28, 0.50),
    // Latency.
    at_most(
        9,
        INLINE_FRAMEWORK,
        Quantity::P99(SPREAD, TONIC),
        0.75,
        0.45,
    ),
    at_most(
        9,
        INLINE_FRAMEWORK,
        Quantity::P99(SPREAD_1K, TONIC),
        0.45,
        0.33,
    ),
    at_most(10, INLINE, Quantity::P50(ALONE, TONIC), 0.85, 0.80),
    at_most(10, INLINE_SPIN, Quantity::P50(ALONE, TONIC), 0.45, 0.30),
    at_most(10, INLINE_SPIN, Quantity::P50(ALONE, BRPC), 0.8, 0.55),
    // What a pool costs.
    at_most(
        11,
        POOL_FRAMEWORK,
        Quantity::Cpu(SPREAD, INLINE_FRAMEWORK),
        1.35,
        1.2,
    ),
    at_most(
        11,
        POOL_FRAMEWORK,
        Quantity::Cpu(DENSE, INLINE_FRAMEWORK),
        1.5,
        1.25,
    ),
    // Large bodies.
    per_core(12, SPREAD_64K, TONIC, 2.8, 3.4),
    per_core(12, SPREAD_1M, TONIC, 3.5, 4.4),
    per_core(12, SPREAD_64K, VOLO_THRIFT, 0.95, 1.05),
    per_core(12, SPREAD_1M, VOLO_THRIFT, 0.95, 1.05),
    // What is used up.
    at_most(13, INLINE, Quantity::IdleBytes, 512.0, 256.0),
    syscalls(SPREAD, 2.05, None),
    syscalls(BUSY, 0.05, None),
    syscalls(DENSE, 0.05, Some(0.035)),
    // Three; what is beyond them comes from the edges of the window in which they are counted.
    syscalls(ALONE, 3.01, None),
    at_most(15, INLINE_FRAMEWORK, Quantity::Allocations, 1.0, 0.0),
    // How large it is.
    at_most(16, INLINE, Quantity::StartMs, 2.0, 1.2),
    at_most(16, INLINE, Quantity::Megabytes, 1.0, 0.7),
    at_most(16, INLINE, Quantity::Crates, 40.0, 30.0),
];

const fn per_core(row: u8, cell: Cell, reference: &'static str, gate: f64, stretch: f64) -> Gate {
    Gate {
        row,
        own: INLINE_FRAMEWORK,
        quantity: Quantity::PerCore(cell, reference),
        gate,
        stretch: Some(stretch),
    }
}

const fn at_most(row: u8, own: &'static str, quantity: Quantity, gate: f64, stretch: f64) -> Gate {
    Gate {
        row,
        own,
        quantity,
        gate,
        stretch: Some(stretch),
    }
}

const fn syscalls(cell: Cell, gate: f64, stretch: Option<f64>) -> Gate {
    Gate {
        row: 14,
        own: INLINE_FRAMEWORK,
        quantity: Quantity::Syscalls(cell),
        gate,
        stretch,
    }
}
