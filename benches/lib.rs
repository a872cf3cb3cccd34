//! What the benchmarks share: test data, medians, and how figures are printed.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

/// A batch of eight columns (int64, utf8, float64, bool, two of each, every tenth value null).
pub fn batch(rows: usize) -> RecordBatch {
    let null = |row: usize| row % 10 == 9;
    let ints = |k: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter((0..rows).map(|r| (!null(r)).then_some(r as i64 * k))))
    };
    let texts = |k: usize| -> ArrayRef {
        let text = |r: usize| (!null(r)).then(|| format!("ES{}", r * k));
        Arc::new(StringArray::from_iter((0..rows).map(text)))
    };
    let floats = |k: f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter((0..rows).map(|r| (!null(r)).then_some(r as f64 * k))))
    };
    let bools = |k: usize| -> ArrayRef {
        let bit = |r: usize| (!null(r)).then_some(r.is_multiple_of(k));
        Arc::new(BooleanArray::from_iter((0..rows).map(bit)))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("order_id", ints(3), true),
        ("size", ints(7), true),
        ("symbol", texts(1), true),
        ("venue", texts(5), true),
        ("price", floats(0.25), true),
        ("mid", floats(0.5), true),
        ("is_bid", bools(2), true),
        ("is_last", bools(3), true),
    ])
    .expect("columns of one length")
}

/// Nanoseconds for one of `count` calls of `act`.
pub fn nanoseconds_each(count: usize, mut act: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..count {
        act();
    }
    started.elapsed().as_nanos() as f64 / count as f64
}

/// The median of some figures.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The machine in a line, for the head of a report.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}
