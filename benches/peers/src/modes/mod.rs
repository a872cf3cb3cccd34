//! One file for each mode: what the workers of a run do.

pub mod ping_pong;
