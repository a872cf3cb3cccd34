//! As fast as possible: one writer, and none, one or several readers.
//!
//! Readers count from the first message that is measured to the last. What does not lose messages has its writer
//! wait for the slowest reader; a lossy ring's writer does not, and how many messages were lost is told.

use crate::Result;
use crate::board::{Board, Limit};
use crate::channel::Channel;
use crate::clock;
use crate::ports::{In, Out, Ports};
use crate::process::{step, tell};
use crate::spec::{Outcome, Spec};

/// Messages between two looks at the clock.
const MESSAGES_PER_CLOCK: u64 = 256;

/// The writer (role 0) or one of the readers.
pub fn run<P: Ports>(spec: &Spec) -> Result<()> {
    let board = Board::new(spec)?;
    if spec.role == 0 { writer::<P>(spec, &board) } else { reader::<P>(spec, &board) }
}

fn outcome(spec: &Spec, messages: u64, from: u64, lost: u64) -> Outcome {
    let elapsed_ns = (clock::now() - from) as f64 * spec.ns_per_tick;
    Outcome { messages, elapsed_ns, lost, ..Outcome::default() }
}

fn writer<P: Ports>(spec: &Spec, board: &Board) -> Result<()> {
    let mut out = P::out(&Channel { spec, number: 0 })?;
    step("writing end is there")?;
    step("reading ends are there")?;
    for number in 0..spec.warm_up as u64 {
        out.send(number)?;
    }
    let limit = Limit::new(board, spec);
    let from = clock::now();
    for number in spec.warm_up as u64.. {
        // The clock costs as much as a publish.
        let looks = number % MESSAGES_PER_CLOCK == 0;
        let is_last = limit.is_last(spec, number, || if looks { clock::now() } else { 0 });
        out.send(number)?;
        if is_last {
            return tell(&outcome(spec, number + 1 - spec.warm_up as u64, from, 0));
        }
    }
    Ok(())
}

fn reader<P: Ports>(spec: &Spec, board: &Board) -> Result<()> {
    step("writing end is there")?;
    let mut reading = P::reading(&Channel { spec, number: 0 }, spec.role - 1)?;
    step("reading ends are there")?;
    let (mut from, mut lost_before, mut messages) = (clock::now(), 0, 0);
    loop {
        reading.receive()?;
        // A number is asked for only where it matters: that of a batch may cost a line from the writer's core.
        if messages > 0 || reading.number()? >= spec.warm_up as u64 {
            messages += 1;
        } else {
            (from, lost_before) = (clock::now(), reading.lost());
        }
        // The last one is never lost: nothing is written over it.
        if board.has_end() && board.ends_with(reading.number()?) {
            return tell(&outcome(spec, messages, from, reading.lost() - lost_before));
        }
    }
}
