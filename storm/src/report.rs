//! What a storm has come to.

use std::time::Duration;

use crate::board::{Board, Count};
use crate::seat::Kind;

/// What the parent counts. By place: the writer first, then readers by kind.
#[derive(Default)]
pub struct Tally {
    pub rings: u64,
    pub killed: [u64; 1 + Kind::ALL.len()],
    pub stopped: [u64; 1 + Kind::ALL.len()],
    /// Of the killed, those that were stopped.
    pub killed_stopped: u64,
    /// Killed themselves at a crash point.
    pub crashed: u64,
    /// Ended as they should not: a panic, a signal.
    pub ended: u64,
    pub hangs: u64,
    /// Rings that could not be removed whole.
    pub left_over: u64,
}

/// All that should not have been.
pub fn faults(tally: &Tally, board: &Board) -> u64 {
    let counted: u64 = Count::BAD.into_iter().map(|count| board.sum(count)).sum();
    counted + tally.ended + tally.hangs + tally.left_over
}

/// How far the storm has come.
pub fn line(tally: &Tally, board: &Board, elapsed: Duration) {
    let killed: u64 = tally.killed.iter().sum::<u64>() + tally.crashed;
    println!(
        "{} s: {} rings, {killed} killed, {} messages checked, {} faults",
        elapsed.as_secs(),
        tally.rings,
        read(board),
        faults(tally, board)
    );
}

/// Messages that readers have checked.
fn read(board: &Board) -> u64 {
    board.sum(Count::Messages) - board.seat(0).get(Count::Messages)
}

/// The table; whether all is as promised.
pub fn print(tally: &Tally, board: &Board, elapsed: Duration) -> bool {
    let kinds = ["writer"].into_iter().chain(Kind::ALL.map(Kind::name));
    println!("\n{:<32}{:>12}{:>12}", "process", "killed", "stopped");
    for ((who, killed), stopped) in kinds.zip(tally.killed).zip(tally.stopped) {
        println!("{who:<32}{killed:>12}{stopped:>12}");
    }
    let (killed, stopped): (u64, u64) = (tally.killed.iter().sum(), tally.stopped.iter().sum());
    println!("{:<32}{killed:>12}{stopped:>12}\n", "all");
    let writer = |count| board.seat(0).get(count);
    let readers = |count| board.sum(count) - writer(count);
    let mut rows = vec![
        ("seconds", elapsed.as_secs()),
        ("rings", tally.rings),
        ("killed while stopped", tally.killed_stopped),
    ];
    if cfg!(qads_crash) {
        rows.push(("killed at a crash point", tally.crashed));
    }
    rows.extend([
        ("takeovers", writer(Count::Takeovers)),
        ("rollovers", writer(Count::Rollovers)),
        ("messages published", writer(Count::Messages)),
        ("messages checked", read(board)),
        ("held messages checked again", readers(Count::HeldChecked)),
        ("lost and counted", readers(Count::Lost)),
        ("evictions", writer(Count::Evicted)),
        ("evictions told to readers", readers(Count::Evicted)),
        ("writes that waited for a reader", writer(Count::Stalls)),
        ("writes refused", writer(Count::Refused)),
        ("leased slots passed over", writer(Count::LeaseSkips)),
        ("holds of the dead taken away", writer(Count::Reclaimed)),
    ]);
    let bad = [
        ("torn", board.sum(Count::Torn)),
        ("out of order", board.sum(Count::OutOfOrder)),
        ("lost without being counted", board.sum(Count::Uncounted)),
        ("unexpected errors", board.sum(Count::Errors)),
        ("unexpected ends of processes", tally.ended),
        ("left in /dev/shm", tally.left_over),
        ("hangs", tally.hangs),
    ];
    rows.extend(bad);
    for (what, count) in rows {
        println!("{what:<32}{count:>12}");
    }
    bad.iter().all(|(_, count)| *count == 0)
}
