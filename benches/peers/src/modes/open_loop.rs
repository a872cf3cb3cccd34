//! Sent when due: message `n` at the start plus `n` intervals, whatever became of those before.
//!
//! Latency counts from when a message was *due* to when it has been read, so that a pause of either side shows in
//! every message that it delays, and not only in the one it hit.

use crate::Result;
use crate::board::{Board, Limit};
use crate::channel::Channel;
use crate::clock;
use crate::measure::Latencies;
use crate::ports::{In, Out, Ports};
use crate::process::{step, tell};
use crate::spec::{Outcome, Spec};

/// From being told to go on to the first message.
const LEAD_NS: f64 = 2_000_000.0;

/// The writer (role 0) or one of the readers.
pub fn run<P: Ports>(spec: &Spec) -> Result<()> {
    let board = Board::new(spec)?;
    if spec.role == 0 { writer::<P>(spec, &board) } else { reader::<P>(spec, &board) }
}

fn due(spec: &Spec, began: u64, number: u64) -> u64 {
    began + ((number * spec.interval_ns) as f64 / spec.ns_per_tick) as u64
}

fn writer<P: Ports>(spec: &Spec, board: &Board) -> Result<()> {
    let mut out = P::out(&Channel { spec, number: 0 })?;
    step("writing end is there")?;
    step("reading ends are there")?;
    let began = clock::now() + (LEAD_NS / spec.ns_per_tick) as u64;
    board.begin(began);
    let limit = Limit::new(board, spec);
    for number in 0.. {
        let due = due(spec, began, number);
        while clock::now() < due {
            std::hint::spin_loop();
        }
        let is_last = limit.is_last(spec, number, clock::now);
        out.send(number)?;
        if is_last {
            break;
        }
    }
    tell(&Outcome::default())
}

fn reader<P: Ports>(spec: &Spec, board: &Board) -> Result<()> {
    step("writing end is there")?;
    let mut reading = P::reading(&Channel { spec, number: 0 }, spec.role - 1)?;
    step("reading ends are there")?;
    let mut latencies = Latencies::new(spec);
    loop {
        reading.receive()?;
        let now = clock::now();
        let number = reading.number()?;
        if number >= spec.warm_up as u64 {
            latencies.record(now.saturating_sub(due(spec, board.began(), number)));
        }
        // The last one is never lost: nothing is written over it.
        if board.ends_with(number) {
            return tell(&Outcome { lost: reading.lost(), ..latencies.into_outcome() });
        }
    }
}
