//! The writer process: publishes events at the times they are due, whatever readers do.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use hdrhistogram::Histogram;
use qadataswap::{Writer, WriterOptions};

use super::clock::{self, monotonic_ns};
use super::events::{Input, Source};
use super::wire::{self, Fallible, Ready, TICK_NS, WriterReport};

/// Memory that the ring may take unless its number of slots was said: well within the 64 MiB that
/// containers usually have.
const USUAL_RING_BYTES: usize = 24 << 20;
/// A slot takes memory in whole pages.
const PAGE_BYTES: usize = 4096;
/// Slots of a ring of small messages.
const MOST_USUAL_SLOTS: u64 = 4096;
/// A ring is not made smaller than that, however large its messages.
const FEWEST_USUAL_SLOTS: u64 = 16;
/// Tenths of a second whose messages such a ring holds: a slow reader's losses are to show soon, and a
/// fast one is not to lose any because others had the processor for a while.
const RETAINED_TENTHS: u64 = 4;

/// Arguments of the writer process.
#[derive(clap::Args, Debug)]
pub struct WriterArguments {
    #[arg(long)]
    pub ring: String,
    #[arg(long)]
    pub seconds: u64,
    #[arg(long)]
    pub rate: u64,
    #[arg(long)]
    pub slots: Option<usize>,
    #[command(flatten)]
    pub input: Input,
}

/// What the process does.
pub fn run(arguments: &WriterArguments) -> Fallible<()> {
    let orders = wire::orders(|| ());
    let mut source = Source::open(&arguments.input)?;
    let (usual_bytes, largest_bytes) = source.message_bytes()?;
    let slots = arguments.slots.unwrap_or_else(|| usual_slots(arguments.rate, usual_bytes));
    // Some room: messages of the same number of rows differ a little.
    let slot_bytes = largest_bytes + largest_bytes / 4;
    let writer = WriterOptions::new(slots)
        .slot_capacity(slot_bytes)
        // Latency is to be that of the ring, not that of getting memory in its first lap.
        .prefault(slots.saturating_mul(slot_bytes) <= USUAL_RING_BYTES)
        .create(&arguments.ring)?;
    let outcome = publish(arguments, &mut source, &writer, &orders);
    match outcome {
        // Readers consume what is left; the parent then removes the ring.
        Ok(true) => Ok(writer.close()?),
        Ok(false) => Ok(writer.unlink()?),
        Err(error) => {
            // The error is what matters; the parent tries again anyway.
            let _ = writer.unlink();
            Err(error)
        }
    }
}

/// Publishes for as long as the run lasts; `false` if the parent is gone.
fn publish(
    arguments: &WriterArguments,
    source: &mut Source,
    writer: &Writer,
    orders: &Receiver<String>,
) -> Fallible<bool> {
    let (events, rows) = source.extent();
    let (slots, slot_bytes) = (writer.slot_count() as u64, writer.slot_capacity() as u64);
    wire::say(wire::READY, Ready { slots, slot_bytes, events, rows })?;
    let Ok(start) = wire::await_go(orders) else { return Ok(false) };
    let end = start + arguments.seconds * 1_000_000_000;
    be_punctual();
    let mut late = clock::histogram();
    let mut tick = 0;
    for number in 0.. {
        let event = source.event(number);
        let due = match arguments.rate {
            0 => None,
            rate => Some(start + (u128::from(number) * 1_000_000_000 / u128::from(rate)) as u64),
        };
        // Until the event is due; the reports that become due before it are made meanwhile.
        let now = loop {
            let now = monotonic_ns();
            let due = due.unwrap_or(now.max(start));
            if now >= (start + (tick + 1) * TICK_NS).min(end) {
                tick = (now - start) / TICK_NS;
                if orders.try_recv() == Err(TryRecvError::Disconnected) {
                    return Ok(false);
                }
                let report = report(writer, &late, tick, now - start);
                if now >= end {
                    wire::say(wire::DONE, report)?;
                    return Ok(true);
                }
                wire::say(wire::AT, report)?;
            } else if now >= due {
                late.saturating_record(now - due);
                break now;
            } else {
                let until = due.min(start + (tick + 1) * TICK_NS).min(end);
                std::thread::sleep(Duration::from_nanos(until - now));
            }
        };
        writer.write_arrow(&event.stamp(now)?)?;
    }
    Ok(true)
}

/// Slots of a ring for so many messages a second, usually of that size.
fn usual_slots(rate: u64, message_bytes: usize) -> usize {
    let retained = match rate {
        0 => MOST_USUAL_SLOTS,
        rate => rate * RETAINED_TENTHS / 10,
    };
    let fitting = (USUAL_RING_BYTES / message_bytes.next_multiple_of(PAGE_BYTES)) as u64;
    retained.min(fitting).clamp(FEWEST_USUAL_SLOTS, MOST_USUAL_SLOTS) as usize
}

fn report(writer: &Writer, late: &Histogram<u64>, tick: u64, elapsed_ns: u64) -> WriterReport {
    let stats = writer.stats();
    WriterReport {
        tick,
        published: stats.message_count,
        bytes: stats.published_bytes,
        elapsed_ns,
        late_p50_ns: late.value_at_quantile(0.5),
        late_p99_ns: late.value_at_quantile(0.99),
        late_max_ns: late.max(),
    }
}

/// Asks the kernel to end sleeps when they are over, not when it suits it (up to 50 us later).
fn be_punctual() {
    // A kernel that will not leaves events a little later.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}
