//! Checks that a results file is as documented: an array of objects, with the fields that their modes have.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Result;

/// Fields of every object.
const TEXTS: [&str; 4] = ["bench", "group", "impl", "mode"];
/// Fields that are numbers where they are there.
const NUMBERS: [&str; 14] = [
    "payload_bytes",
    "rows",
    "readers",
    "idle_readers",
    "floor_ratio",
    "lost_share",
    "samples",
    "p50_ns",
    "p99_ns",
    "p999_ns",
    "max_ns",
    "msgs_per_s",
    "bytes_per_s",
    "repetitions",
];
/// Ascending.
const LATENCIES: [&str; 4] = ["p50_ns", "p99_ns", "p999_ns", "max_ns"];
/// Percentiles that are there if there are so many samples, and only then.
const PERCENTILES: [(&str, f64); 2] = [("p99_ns", 1_000.0), ("p999_ns", 10_000.0)];

/// Fails with what is wrong.
pub fn check(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let records: Vec<Map<String, Value>> = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not an array of objects: {error}", file.display()))?;
    if records.is_empty() {
        return Err(format!("{} has no results", file.display()).into());
    }
    for (index, record) in records.iter().enumerate() {
        check_one(record).map_err(|what| format!("{}, object {index}: {what}", file.display()))?;
    }
    Ok(())
}

fn check_one(record: &Map<String, Value>) -> Result<(), String> {
    for name in TEXTS {
        if !record.get(name).is_some_and(Value::is_string) {
            return Err(format!("{name} is missing or not a text"));
        }
    }
    for name in NUMBERS {
        let is_fine = |value: &Value| value.as_f64().is_some_and(|number| number >= 0.0);
        if record.get(name).is_some_and(|value| !is_fine(value)) {
            return Err(format!("{name} is not a number from 0 on"));
        }
    }
    let needed: &[&str] = match record["mode"].as_str() {
        Some("ping-pong" | "open-loop" | "wake") => &["samples", "p50_ns", "max_ns"],
        Some("throughput") if record.contains_key("rows") => &["readers", "msgs_per_s"],
        Some("throughput" | "publish") => {
            &["payload_bytes", "readers", "msgs_per_s", "bytes_per_s"]
        }
        Some("sides" | "allocations") => &["figures"],
        other => return Err(format!("there is no mode {other:?}")),
    };
    let latencies: Vec<_> =
        LATENCIES.iter().filter_map(|name| record.get(*name)?.as_f64()).collect();
    if !latencies.is_sorted() {
        return Err(format!("of {} one is less than the one before", LATENCIES.join(", ")));
    }
    if let Some(samples) = record.get("samples").and_then(Value::as_f64) {
        let is_wrong =
            |(name, from): &&(&str, f64)| record.contains_key(*name) != (samples >= *from);
        if let Some((name, from)) = PERCENTILES.iter().find(is_wrong) {
            return Err(format!(
                "{name} is to be there from {from} samples on, of which there are {samples}"
            ));
        }
    }
    match needed.iter().chain(&["repetitions"]).find(|name| !record.contains_key(**name)) {
        Some(name) => Err(format!("{name} is missing")),
        None => Ok(()),
    }
}
