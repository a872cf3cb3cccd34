//! Samples of how long messages take, by the stamps that their writers put into them.
//!
//! A thread of its own looks in on each ring in turn: as a reader that is not registered, so that nobody is
//! slowed, for a few messages each time.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qadataswap::arrow_array::types::Int64Type;
use qadataswap::arrow_array::{Array, RecordBatch, cast::AsArray};
use qadataswap::arrow_schema::{DataType, TimeUnit};
use qadataswap::{ReaderOptions, Start, WaitStrategy};

use crate::demo::clock::{monotonic_ns, wall_ns};

/// The column of `qads demo`, in nanoseconds of CLOCK_MONOTONIC.
const DEMO_STAMP: &str = "published_ns";
/// Samples that are kept of each ring.
const KEPT: usize = 200;
/// Messages of a ring that are looked at in one go, and how long each is waited for.
const MESSAGES: usize = 8;
const PATIENCE_MS: u64 = 20;
/// From one round to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Quantiles of the samples.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    pub p50_ns: u64,
    pub p99_ns: u64,
}

type Samples = Arc<Mutex<HashMap<String, VecDeque<u64>>>>;

/// The thread that samples; it ends when this is dropped.
pub struct Sampler {
    samples: Samples,
    rings: SyncSender<Vec<String>>,
}

impl Sampler {
    /// `stamp` is the column to go by; without, the demo's.
    pub fn start(stamp: Option<String>) -> Self {
        let samples = Samples::default();
        let (rings, wanted) = mpsc::sync_channel::<Vec<String>>(1);
        let shared = samples.clone();
        std::thread::spawn(move || {
            let mut names = Vec::new();
            loop {
                match wanted.recv_timeout(PAUSE) {
                    Ok(newer) => names = newer,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                for name in &names {
                    let taken = sample(name, stamp.as_deref());
                    let mut samples = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let kept = samples.entry(name.clone()).or_default();
                    kept.extend(taken);
                    let surplus = kept.len().saturating_sub(KEPT);
                    kept.drain(..surplus);
                }
            }
        });
        Self { samples, rings }
    }

    /// Samples these rings from now on.
    pub fn watch(&self, names: Vec<String>) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.retain(|name, _| names.contains(name));
        // If the thread has not taken the last list yet, it gets the next one.
        let _ = self.rings.try_send(names);
    }

    /// What was sampled of a ring.
    pub fn of(&self, name: &str) -> Option<Latencies> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<u64> = samples.get(name)?.iter().copied().collect();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len() - 1));
        if sorted.is_empty() {
            return None;
        }
        Some(Latencies { p50_ns: *at(50)?, p99_ns: *at(99)? })
    }
}

/// How long the next few messages of a ring take.
fn sample(name: &str, stamp: Option<&str>) -> Vec<u64> {
    let patience = Duration::from_millis(PATIENCE_MS);
    let reader = ReaderOptions::new()
        .start(Start::Next)
        .register(false)
        .wait(WaitStrategy::SpinThenSleep(patience))
        .attach_timeout_ms(0)
        .attach(name);
    let Ok(reader) = reader else { return Vec::new() };
    let next = || {
        let batch = reader.read_arrow(PATIENCE_MS).ok()??;
        let (seen, seen_at) = (monotonic_ns(), wall_ns());
        let (stamp, on_wall) = stamp_of(&batch, stamp)?;
        let now = if on_wall { seen_at } else { seen };
        // What lies in the future was stamped by another clock.
        now.checked_sub(stamp)
    };
    // Of the first it is not known whether it was waited for from its beginning: what was under way is decoded late.
    (0..MESSAGES).map_while(|_| next()).skip(1).collect()
}

/// The stamp of the last row, in nanoseconds, and whether it is of the clock on the wall.
fn stamp_of(batch: &RecordBatch, column: Option<&str>) -> Option<(u64, bool)> {
    let row = batch.num_rows().checked_sub(1)?;
    let values = batch.column_by_name(column.unwrap_or(DEMO_STAMP))?;
    let unit_ns = match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Int64 | DataType::UInt64 => 1,
        _ => return None,
    };
    let values = arrow_cast::cast(values, &DataType::Int64).ok()?;
    let values = values.as_primitive::<Int64Type>();
    if values.is_null(row) {
        return None;
    }
    let on_wall = column.is_some_and(|column| column != DEMO_STAMP);
    Some((u64::try_from(values.value(row)).ok()?.checked_mul(unit_ns)?, on_wall))
}
