//! Checks that a results file is as documented: an array of objects, with the fields that their modes have.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::Result;
use crate::plan::{benches, implementations};
use crate::results::Record;
use crate::spec::{Impl, Mode};

/// Fields of every object.
const NEEDED: [&str; 5] = ["bench", "impl", "mode", "group", "repetitions"];
/// Percentiles that are there if there are so many samples, and only then.
const PERCENTILES: [(&str, u64); 2] = [("p99_ns", 1_000), ("p999_ns", 10_000)];

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

fn check_one(fields: &Map<String, Value>) -> Result<(), String> {
    let require = |needed: &[&str]| match needed.iter().find(|name| !fields.contains_key(**name)) {
        Some(name) => Err(format!("{name} is missing")),
        None => Ok(()),
    };
    require(&NEEDED)?;
    // Field by field, so that the one that is wrong has a name.
    if let Some((name, what)) =
        fields.iter().find_map(|(name, value)| Some((name, misfit(name, value)?)))
    {
        return Err(format!("{name} {what}"));
    }
    let record: Record =
        serde_json::from_value(fields.clone().into()).map_err(|e| e.to_string())?;
    let Record { bench, mode, implementation, .. } = &record;
    if !bench.ends_with(mode) {
        return Err(format!("the bench {bench} has another mode than {mode}"));
    }
    let carries_none = [Impl::Raw, Impl::Futex].map(Impl::name).contains(implementation);
    let (needed, load): (&[&str], _) = match mode.as_str() {
        "ping-pong" | "open-loop" | "wake" => {
            (&["readers", "samples", "p50_ns", "max_ns"], !carries_none)
        }
        "throughput" if record.rows.is_some() => (&["readers", "msgs_per_s"], true),
        "throughput" | "publish" => (&["readers", "msgs_per_s", "bytes_per_s"], true),
        "sides" => (&["figures"], true),
        _ => (&["figures"], false),
    };
    require(needed)?;
    let loads = [record.payload_bytes, record.rows].iter().flatten().count();
    if loads != usize::from(load) {
        return Err(format!(
            "payload_bytes and rows: {loads} of them instead of {}",
            usize::from(load)
        ));
    }
    let Record { p50_ns, p99_ns, p999_ns, max_ns, .. } = record;
    if ![p50_ns, p99_ns, p999_ns, max_ns].iter().flatten().is_sorted() {
        return Err("of p50_ns, p99_ns, p999_ns, max_ns one is less than the one before".to_owned());
    }
    if let Some(samples) = record.samples {
        let is_wrong =
            |(name, from): &&(&str, u64)| fields.contains_key(*name) != (samples >= *from);
        if let Some((name, from)) = PERCENTILES.iter().find(is_wrong) {
            return Err(format!(
                "{name} is to be there from {from} samples on, of which there are {samples}"
            ));
        }
    }
    Ok(())
}

/// What is wrong with the value of a field, if it is no field or cannot have that value.
fn misfit(name: &str, value: &Value) -> Option<String> {
    let one_of = |known: Vec<String>, what: &str| match value.as_str() {
        None => Some("is not a text".to_owned()),
        Some(text) if known.iter().any(|known| known == text) => None,
        Some(text) => Some(format!("is {text:?}: there is no such {what}")),
    };
    let unless = |is_fine: bool, what: &str| (!is_fine).then(|| format!("is not {what}"));
    let is_number = |value: &Value| value.as_f64().is_some_and(|number| number >= 0.0);
    match name {
        "bench" => one_of(benches(), "bench"),
        "impl" => {
            one_of(implementations().iter().map(|one| one.name()).collect(), "implementation")
        }
        "mode" => one_of(Mode::value_variants().iter().map(|one| one.name()).collect(), "mode"),
        "group" => unless(value.is_string(), "a text"),
        "payload_bytes" | "rows" | "samples" | "repetitions" => {
            unless(value.as_u64().is_some_and(|count| count > 0), "a whole number from 1 on")
        }
        "readers" | "idle_readers" => unless(value.is_u64(), "a whole number from 0 on"),
        "p50_ns" | "p99_ns" | "p999_ns" | "max_ns" | "msgs_per_s" | "bytes_per_s"
        | "floor_ratio" => unless(is_number(value), "a number from 0 on"),
        "lost_share" => {
            unless(value.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "from 0 to 1")
        }
        "crowded" => unless(value.is_boolean(), "true or false"),
        "figures" => unless(
            value.as_object().is_some_and(|all| !all.is_empty() && all.values().all(is_number)),
            "an object of numbers from 0 on",
        ),
        _ => Some("is no field of results".to_owned()),
    }
}
