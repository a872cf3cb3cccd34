//! The readers: attach, read, hold, check and count until they are killed or the ring has ended.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use qadataswap::arrow_array::RecordBatch;
use qadataswap::{Lease, OnOverrun, QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy};

use crate::board::Count;
use crate::ledger::{Fault, Ledger};
use crate::message::{check, check_batch, is_arrow};
use crate::seat::{Kind, Place, unexpected};

/// How long a read waits for a message before its reader looks after what it holds.
const PATIENCE_MS: u64 = 5;
/// Messages that a reader holds at a time, besides the one that it has just read.
const MOST_HELD: usize = 5;
/// A buffer for the longest message, however it is encoded.
const BUFFER_BYTES: usize = 256 << 10;

/// A message that is held in place.
enum Held {
    Bytes(Lease),
    Batch(RecordBatch),
}

/// What a read came to.
enum Read {
    /// A message, with its number, which was looked at in place if it is held.
    Message(Result<u64, String>, Option<Held>),
    /// It was no record batch, and has been consumed.
    NoBatch(String),
    Nothing,
}

pub fn run(place: &mut Place<'_>) -> Result<(), Fault> {
    let mut held = VecDeque::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        place.seat.add(Count::Turns, 1);
        let options = options(place);
        let reader = match options.attach(&place.arguments.ring) {
            Ok(reader) => reader,
            // Its writer was killed before the ring was there, or gives up whoever joins.
            Err(
                QADataSwapError::NotFound { .. }
                | QADataSwapError::ReadTimeout
                | QADataSwapError::Evicted { .. },
            ) => continue,
            Err(error) => return Err(unexpected(error)),
        };
        if read_on(place, reader, &mut held, &mut buffer)? {
            return held.drain(..).try_for_each(|(number, held)| release(place, number, held));
        }
    }
}

fn options(place: &mut Place<'_>) -> ReaderOptions {
    let random = &mut place.random;
    let kind = place.arguments.kind;
    let lossless = matches!(kind, Kind::Lossless | Kind::LosslessLeasing);
    let start = [Start::Oldest, Start::Newest, Start::Next][random.usize(0..3)];
    let wait = match random.u8(0..4) {
        0 => WaitStrategy::Sleep,
        2 => WaitStrategy::Yield,
        1 => WaitStrategy::SpinThenSleep(Duration::from_micros(20)),
        _ => WaitStrategy::default(),
    };
    let on_overrun = if random.bool() { OnOverrun::Resume } else { OnOverrun::Error };
    ReaderOptions::new()
        .start(start)
        .wait(wait)
        .on_overrun(on_overrun)
        .lossless(lossless)
        .register(kind != Kind::Unregistered)
        .max_leases(MOST_HELD + 1)
        .attach_timeout_ms(500)
}

/// Reads until it detaches of its own accord (`false`) or the ring has ended (`true`).
fn read_on(
    place: &mut Place<'_>,
    reader: Reader,
    held: &mut VecDeque<(u64, Held)>,
    buffer: &mut [u8],
) -> Result<bool, Fault> {
    let kind = place.arguments.kind;
    let lossless = matches!(kind, Kind::Lossless | Kind::LosslessLeasing);
    let mut ledger = Ledger::new(&reader.stats(), lossless);
    let most_held = place.random.usize(1..=MOST_HELD);
    loop {
        place.seat.add(Count::Turns, 1);
        let result = read(place, &reader, buffer);
        let stats = reader.stats();
        match result {
            Ok(Read::Message(number, what)) => {
                let number = number.map_err(|what| (Count::Torn, format!("{what}; {stats:?}")))?;
                ledger.message(number, &stats)?;
                place.seat.add(Count::Messages, 1);
                held.extend(what.map(|what| (number, what)));
            }
            Ok(Read::NoBatch(error)) => {
                let number = stats.sequence.wrapping_sub(1);
                if is_arrow(number) {
                    return Err((Count::Torn, format!("message {number}: {error}; {stats:?}")));
                }
                ledger.message(number, &stats)?;
                place.seat.add(Count::Messages, 1);
            }
            Ok(Read::Nothing) => {
                if let Some((number, what)) = held.pop_front() {
                    release(place, number, what)?;
                }
            }
            Err(QADataSwapError::Overrun { lost }) => ledger.told(lost, &stats)?,
            Err(QADataSwapError::Evicted { lost }) if place.arguments.evicted => {
                place.seat.add(Count::Evicted, 1);
                ledger.told(lost, &stats)?;
                rejoin(place, &reader, &mut ledger)?;
            }
            Err(QADataSwapError::Closed) => {
                let published = place.board.published.load(SeqCst);
                ledger.end(published, &stats)?;
                place.seat.add(Count::Lost, stats.lost);
                return Ok(true);
            }
            Err(error) => return Err(unexpected(format!("{error}; {stats:?}"))),
        }
        while held.len() > most_held || !held.is_empty() && place.rarely(3) {
            let index = place.random.usize(0..held.len());
            let (number, what) = held.remove(index).expect("in range");
            release(place, number, what)?;
        }
        if place.rarely(2_000) {
            place.dawdle(3_000);
        }
        if place.rarely(20_000) {
            place.seat.add(Count::Lost, stats.lost);
            return Ok(false);
        }
    }
}

fn read(place: &mut Place<'_>, reader: &Reader, buffer: &mut [u8]) -> qadataswap::Result<Read> {
    let read = match place.arguments.kind {
        Kind::Lossy | Kind::Unregistered | Kind::Lossless => {
            let length = reader.read_into(buffer, PATIENCE_MS)?;
            length.map(|length| Read::Message(check(&buffer[..length]), None))
        }
        Kind::Leasing | Kind::LosslessLeasing => reader
            .lease(PATIENCE_MS)?
            .map(|lease| Read::Message(check(&lease), Some(Held::Bytes(lease)))),
        Kind::ZeroCopy => match reader.read_arrow_zero_copy(PATIENCE_MS) {
            Ok(batch) => {
                batch.map(|batch| Read::Message(check_batch(&batch), Some(Held::Batch(batch))))
            }
            Err(QADataSwapError::ArrowError(error)) => Some(Read::NoBatch(error.to_string())),
            Err(error) => return Err(error),
        },
    };
    Ok(read.unwrap_or(Read::Nothing))
}

/// A last look at what was held.
fn release(place: &Place<'_>, number: u64, held: Held) -> Result<(), Fault> {
    let found = match &held {
        Held::Bytes(lease) => check(lease),
        Held::Batch(batch) => check_batch(batch),
    };
    place.seat.add(Count::HeldChecked, 1);
    match found {
        Ok(found) if found == number => Ok(()),
        found => Err((Count::Torn, format!("message {number}, held, has become {found:?}"))),
    }
}

/// Becomes lossless again after having been given up.
fn rejoin(place: &Place<'_>, reader: &Reader, ledger: &mut Ledger) -> Result<(), Fault> {
    loop {
        place.seat.add(Count::Turns, 1);
        match reader.rejoin() {
            Ok(lost) => return ledger.told(lost, &reader.stats()),
            Err(QADataSwapError::Evicted { lost }) => ledger.told(lost, &reader.stats())?,
            Err(error) => return Err(unexpected(format!("rejoin: {error}; {:?}", reader.stats()))),
        }
    }
}
