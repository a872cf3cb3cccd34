//! A reader process: consumes batches, looks at every one of them, and counts.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy};

use super::clock::{self, monotonic_ns};
use super::events::{self, Input, Witness};
use super::wire::{self, Fallible, ReaderReport, TICK_NS};

/// Processors from which on polling readers take nothing from the others.
const PROCESSORS_TO_SPIN: usize = 6;

/// How the readers wait for the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Asleep, until the writer wakes them: takes no processor time
    Sleep,
    /// Polling for 50 us, then asleep
    SpinSleep,
    /// Polling: lowest latency, each reader takes a whole processor
    Spin,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Wait {
    /// What suits this machine.
    pub fn usual() -> Self {
        match std::thread::available_parallelism() {
            Ok(processors) if processors.get() >= PROCESSORS_TO_SPIN => Self::SpinSleep,
            _ => Self::Sleep,
        }
    }

    fn strategy(self) -> WaitStrategy {
        match self {
            Self::Sleep => WaitStrategy::Sleep,
            Self::SpinSleep => WaitStrategy::default(),
            Self::Spin => WaitStrategy::Spin,
        }
    }
}

/// Arguments of a reader process.
#[derive(clap::Args, Debug)]
pub struct ReaderArguments {
    #[arg(long)]
    pub ring: String,
    #[arg(long)]
    pub wait: Wait,
    /// Starts with the next message published rather than with the oldest in the ring.
    #[arg(long)]
    pub next: bool,
    /// Loses nothing, and reads batches in place: the writer waits for it, and it copies nothing.
    #[arg(long)]
    pub lossless: bool,
    /// Time that each batch takes besides.
    #[arg(long, default_value_t = 0)]
    pub work_us: u64,
    #[command(flatten)]
    pub input: Input,
}

/// What the process does.
pub fn run(arguments: &ReaderArguments) -> Fallible<()> {
    // Nothing to clean up: a ring is not disturbed by a reader's end.
    let orders = wire::orders(|| std::process::exit(0));
    let witness = Witness::new(&arguments.input)?;
    let reader = ReaderOptions::new()
        .start(if arguments.next { Start::Next } else { Start::Oldest })
        .wait(arguments.wait.strategy())
        .lossless(arguments.lossless)
        .attach(&arguments.ring)?;
    let mut seen = Seen::new(&reader)?;
    wire::say(wire::ATTACHED, reader.stats().sequence)?;
    let start = wire::await_go(&orders)?;
    let mut work = Duration::from_micros(arguments.work_us);
    let mut tick = 0;
    loop {
        let limit_ms = TICK_NS / 1_000_000;
        let read = match arguments.lossless {
            true => reader.read_arrow_zero_copy(limit_ms),
            false => reader.read_arrow(limit_ms),
        };
        let now = match read {
            Ok(Some(batch)) => {
                let now = monotonic_ns();
                seen.look_at(&batch, &witness, now);
                now
            }
            Ok(None) => monotonic_ns(),
            Err(QADataSwapError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        if now >= start + (tick + 1) * TICK_NS {
            tick = (now - start) / TICK_NS;
            wire::say(wire::AT, seen.report(&reader, tick))?;
        }
        if !work.is_zero() && is_told_to_drain(&orders, work) {
            work = Duration::ZERO;
        }
    }
    wire::say(wire::DONE, seen.report(&reader, tick))?;
    // Until the parent needs this process no more, so that it is a live one that gets killed.
    while orders.recv().is_ok() {}
    Ok(())
}

/// Works for that long, or until told to hurry.
fn is_told_to_drain(orders: &Receiver<String>, work: Duration) -> bool {
    match orders.recv_timeout(work) {
        Ok(order) => order == wire::DRAIN,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
    }
}

/// What a reader has seen.
struct Seen {
    latency: Histogram<u64>,
    next_event: u64,
    missing: u64,
    damaged: u64,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl Seen {
    fn new(reader: &Reader) -> Fallible<Self> {
        Ok(Self {
            latency: clock::histogram(),
            // Events are counted from the first message of the ring.
            next_event: reader.stats().sequence,
            missing: 0,
            damaged: 0,
            first_ns: None,
            last_ns: 0,
        })
    }

    fn look_at(
        &mut self,
        batch: &qadataswap::arrow_array::RecordBatch,
        witness: &Witness,
        now: u64,
    ) {
        self.first_ns.get_or_insert(now);
        self.last_ns = now;
        let Some((number, published_ns)) = events::number_and_stamp(batch) else {
            self.damaged += 1;
            return;
        };
        self.latency.saturating_record(now.saturating_sub(published_ns));
        if number < self.next_event || !witness.is_whole(batch, number) {
            self.damaged += 1;
            return;
        }
        self.missing += number - self.next_event;
        self.next_event = number + 1;
    }

    fn report(&self, reader: &Reader, tick: u64) -> ReaderReport {
        let stats = reader.stats();
        ReaderReport {
            tick,
            consumed: stats.consumed,
            lost: stats.lost,
            lag: stats.lag,
            sequence: stats.sequence,
            missing: self.missing,
            next_event: self.next_event,
            damaged: self.damaged,
            span_ns: self.last_ns - self.first_ns.unwrap_or(self.last_ns),
            p50_ns: self.latency.value_at_quantile(0.5),
            p99_ns: self.latency.value_at_quantile(0.99),
            p999_ns: self.latency.value_at_quantile(0.999),
        }
    }
}
