//! One file for each mode: what the workers of a run do.

pub mod allocations;
pub mod open_loop;
pub mod ping_pong;
pub mod publish;
pub mod sides;
pub mod throughput;

/// Steps that the workers of every mode take together: writing ends are made, reading ends are made.
pub const STEPS: usize = 2;
