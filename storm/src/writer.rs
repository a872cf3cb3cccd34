//! The writer: creates the ring or takes it over, and publishes until it is killed or told to close.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use qadataswap::{QADataSwapError, Writer, WriterOptions, WriterStats};

use crate::board::{Count, Phase};
use crate::ledger::Fault;
use crate::message::{HEAD_BYTES, MOST_BYTES, Maker, is_arrow};
use crate::seat::{Place, unexpected};

/// Between two messages while everybody is to get a turn.
const CALM: Duration = Duration::from_micros(200);

pub fn run(place: &mut Place<'_>) -> Result<(), Fault> {
    let arguments = place.arguments;
    let options = WriterOptions::new(arguments.slots)
        .slot_capacity(arguments.capacity)
        .on_slow_reader(arguments.policy.action());
    let mut writer = loop {
        place.seat.add(Count::Turns, 1);
        match options.create(&arguments.ring) {
            // With other slots the ring has to move, and what a slow reader's gate covers does not fit.
            Err(QADataSwapError::WouldBlock { .. }) => {
                place.seat.add(Count::Refused, 1);
                place.dawdle(1_000);
            }
            result => break result.map_err(unexpected)?,
        }
    };
    let mut before = writer.stats();
    check_takeover(place, &before)?;
    // So long a pause, at most, after every message, or none.
    let pause = [0, 0, 0, 20, 200][place.random.usize(0..5)];
    let mut maker = Maker::new(&mut place.random);
    loop {
        match place.board.phase() {
            Phase::Storm if pause > 0 => place.dawdle(pause),
            Phase::Storm if place.rarely(2_000) => place.dawdle(2_000),
            Phase::Storm => {}
            Phase::Calm => std::thread::sleep(CALM),
            Phase::Close => return writer.close().map_err(unexpected),
        }
        let result = write(place, &mut writer, &mut maker, before.message_count);
        let after = writer.stats();
        count(place, &before, &after);
        match result {
            Ok(()) if after.message_count == before.message_count + 1 => {}
            Ok(()) => return Err(unexpected(format!("{before:?}, then {after:?}"))),
            Err(QADataSwapError::AllSlotsLeased { .. } | QADataSwapError::WouldBlock { .. })
                if after.message_count == before.message_count =>
            {
                place.seat.add(Count::Refused, 1);
                place.dawdle(100);
            }
            Err(error) => return Err(unexpected(format!("{error}; {before:?}, then {after:?}"))),
        }
        before = after;
    }
}

/// Goes on where the last writer stopped?
fn check_takeover(place: &Place<'_>, stats: &WriterStats) -> Result<(), Fault> {
    let known = place.board.published.load(SeqCst);
    let position = place.board.position.load(SeqCst);
    // The last writer may have been killed between its last publish and its word of it.
    if stats.message_count > known + 1 {
        return Err((Count::Uncounted, format!("taken over after {known} messages: {stats:?}")));
    }
    if stats.message_count < known || stats.position < position {
        let what = format!("taken over after {known} messages at {position}: {stats:?}");
        return Err((Count::OutOfOrder, what));
    }
    if stats.epoch > 1 {
        place.seat.add(Count::Takeovers, 1);
    }
    place.seat.add(Count::Rollovers, stats.rollovers);
    place.board.position.store(stats.position, SeqCst);
    place.board.published.store(stats.message_count, SeqCst);
    Ok(())
}

fn count(place: &Place<'_>, before: &WriterStats, after: &WriterStats) {
    let counts = [
        (Count::Turns, 1),
        (Count::Messages, after.published - before.published),
        (Count::Evicted, after.evictions - before.evictions),
        (Count::Rollovers, after.rollovers - before.rollovers),
        (Count::LeaseSkips, after.lease_skips - before.lease_skips),
        (Count::Stalls, after.stalls - before.stalls),
        (Count::Reclaimed, after.reclaimed - before.reclaimed),
    ];
    for (count, more) in counts.into_iter().filter(|(_, more)| *more > 0) {
        place.seat.add(count, more);
    }
    place.board.position.store(after.position, SeqCst);
    place.board.published.store(after.message_count, SeqCst);
}

fn write(
    place: &mut Place<'_>,
    writer: &mut Writer,
    maker: &mut Maker,
    number: u64,
) -> qadataswap::Result<()> {
    let capacity = writer.slot_capacity().min(MOST_BYTES);
    let longest = match () {
        // Larger than the slots, so that the ring moves.
        () if place.rarely(3_000) => (capacity * 2).min(MOST_BYTES),
        () if place.rarely(3) => capacity,
        () => (capacity / 8).max(100),
    };
    let len = place.random.usize(HEAD_BYTES..=longest.max(HEAD_BYTES));
    if is_arrow(number) {
        writer.write_arrow(&maker.batch(number, len))
    } else if place.random.bool() {
        writer.write(maker.bytes(number, len))
    } else {
        let message = maker.bytes(number, len);
        // Now and then one that is given up half-way.
        let given_up = number.is_multiple_of(31) && place.random.bool();
        let mut slot = writer.reserve(message.len())?;
        let (start, end) = message.split_at(message.len() / 2);
        slot.write_at(0, start)?;
        if given_up {
            slot = writer.reserve(message.len())?;
            slot.write_at(0, start)?;
        }
        slot.write_at(start.len(), end)?;
        slot.publish()
    }
}
