//! There and back: the first worker sends, waits for the answer, and sends the next.
//!
//! Both ways are the same: a whole payload written, and one read. Half the time of a round is what is reported.

use crate::Result;
use crate::board::{Board, Limit};
use crate::channel::Channel;
use crate::clock;
use crate::measure::Latencies;
use crate::ports::{In, Out, Ports};
use crate::process::{step, tell};
use crate::spec::{Outcome, Spec};

const THERE: usize = 0;
const BACK: usize = 1;

/// One of the two workers.
pub fn run<P: Ports>(spec: &Spec) -> Result<()> {
    let board = Board::new(spec)?;
    let begins = spec.role == 0;
    let (to, from) = if begins { (THERE, BACK) } else { (BACK, THERE) };
    let mut out = P::out(&Channel { spec, number: to })?;
    step("senders are there")?;
    let mut reading = P::reading(&Channel { spec, number: from }, 0)?;
    step("receivers are there")?;
    let mut latencies = Latencies::new(spec);
    let limit = Limit::new(&board, spec);
    let mut before = clock::now();
    for number in 0.. {
        let mut is_last = false;
        if begins {
            is_last = limit.is_last(spec, number, || before);
            out.send(number)?;
        }
        reading.receive()?;
        let arrived = reading.number()?;
        if arrived != number {
            return Err(format!("message {arrived} came instead of {number}").into());
        }
        if !begins {
            // Looked at before the answer, after which the other may go on.
            is_last = board.ends_with(number);
            out.send(number)?;
        } else {
            let now = clock::now();
            if number >= spec.warm_up as u64 {
                latencies.record(now - before);
            }
            before = now;
        }
        if is_last {
            break;
        }
    }
    tell(&if begins { latencies.into_outcome() } else { Outcome::default() })
}
