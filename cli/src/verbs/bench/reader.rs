//! The reading process of `qads bench`: counts, and says at the end what it counted.

use std::io::{self, Write};
use std::time::Duration;

use qadataswap::{QADataSwapError, Reader, ReaderOptions, WaitStrategy};
use serde::{Deserialize, Serialize};

use crate::demo::clock::{histogram, monotonic_ns};
use crate::failure::Outcome;

/// What it says when it has attached.
pub const READY: &str = "ready";
/// A message that says when it was written, in its first word.
pub type Stamped = [u64; 5];
/// Longest wait for one message; then the parent is looked for.
const SLICE_MS: u64 = 500;

/// Hidden: the reading process of `qads bench`
#[derive(clap::Args, Debug)]
pub struct ReaderArguments {
    #[arg(long)]
    ring: String,
    #[arg(long, value_enum)]
    wait: Wait,
    #[arg(long)]
    lossless: bool,
    #[arg(long)]
    stamped: bool,
    #[arg(long)]
    arrow: bool,
    #[arg(long)]
    bytes: bool,
}

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    Spin,
    Sleep,
    SpinSleep,
}

impl Wait {
    /// What suits a machine of this size when both sides are busy.
    pub fn usual() -> Self {
        Self::SpinSleep
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Sleep => "sleep",
            Self::SpinSleep => "spin-sleep",
        }
    }

    pub fn verb(self) -> &'static str {
        match self {
            Self::Spin => "spins",
            Self::Sleep => "sleeps",
            Self::SpinSleep => "spins, then sleeps",
        }
    }

    fn strategy(self) -> WaitStrategy {
        match self {
            Self::Spin => WaitStrategy::Spin,
            Self::Sleep => WaitStrategy::Sleep,
            Self::SpinSleep => WaitStrategy::SpinThenSleep(Duration::from_micros(50)),
        }
    }
}

/// A bar of a histogram.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bar {
    pub below_ns: u64,
    pub messages: u64,
}

/// What was counted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counted {
    pub messages: u64,
    pub lost: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
    pub histogram: Vec<Bar>,
}

pub fn run(arguments: &ReaderArguments) -> Outcome {
    let reader = ReaderOptions::new()
        .lossless(arguments.lossless)
        .wait(arguments.wait.strategy())
        .attach(&arguments.ring)?;
    say(READY)?;
    let mut times = histogram();
    let mut buffer = Vec::new();
    loop {
        let read = if arguments.stamped {
            reader.read_value::<Stamped>(SLICE_MS).map(|message| {
                message.map(|message| {
                    let latency = monotonic_ns().saturating_sub(message[0]);
                    times.saturating_record(latency.max(1));
                })
            })
        } else if arguments.arrow {
            reader.read_arrow(SLICE_MS).map(|batch| batch.map(drop))
        } else {
            reader.read_to(&mut buffer, SLICE_MS).map(|read| read.then_some(()))
        };
        match read {
            Ok(Some(())) => {}
            Ok(None) => check_parent(&reader)?,
            Err(QADataSwapError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let stats = reader.stats();
    let at = |quantile| times.value_at_quantile(quantile);
    let counted = Counted {
        messages: stats.consumed,
        lost: stats.lost,
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        max_ns: times.max(),
        histogram: bars(&times),
    };
    say(&serde_json::to_string(&counted)?)
}

/// Bars at powers of two, from the first that is not empty.
fn bars(times: &hdrhistogram::Histogram<u64>) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut below_ns = 64;
    let mut counted = 0;
    while counted < times.len() && below_ns < u64::MAX / 2 {
        let so_far = times.count_between(0, below_ns - 1).min(times.len());
        bars.push(Bar { below_ns, messages: so_far.saturating_sub(counted) });
        counted = counted.max(so_far);
        below_ns *= 2;
    }
    let first = bars.iter().position(|bar| bar.messages > 0).unwrap_or(0);
    bars.split_off(first)
}

/// Ends if there is no writer any more: the parent has been killed, and cannot remove the ring.
fn check_parent(reader: &Reader) -> Outcome {
    let seen = qadataswap::observe::Observer::open(&reader.name())?.look()?;
    match seen.writer.alive {
        true => Ok(()),
        false => {
            // If it cannot be removed either, it is one that 'qads gc' finds.
            let _ = qadataswap::unlink(&reader.name());
            Err(crate::failure::failed("the writing process is gone"))
        }
    }
}

fn say(line: &str) -> Outcome {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
