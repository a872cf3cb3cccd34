//! The tables of a run.

use crate::modes::sides;
use crate::results::{Results, Series};
use crate::spec::{Impl, Load, Mode};
use crate::table::{Table, many, ratio, size, time};

/// The table of one group.
pub fn table(results: &Results) -> Table {
    let mut table = match results.group.mode {
        Mode::PingPong | Mode::OpenLoop | Mode::Wake => latencies(results),
        Mode::Throughput | Mode::Publish => rates(results),
        Mode::Sides => sides(results),
        Mode::Allocations => allocations(results),
    };
    if results.series.iter().any(|series| series.crowded) {
        let processes = 1 + results.group.readers;
        table.remarks.push(format!(
            "{processes} processes, which is more than there are cores: they take turns, and waiting ones sleep or \
             yield"
        ));
    }
    table
}

/// As tables and results call it.
pub fn load(load: Load) -> String {
    match load {
        Load::Bytes(bytes) => size(bytes),
        Load::Rows(1) => "batch of 8 columns, 1 row".to_owned(),
        Load::Rows(rows) => format!("batch of 8 columns, {rows} rows"),
    }
}

fn title(results: &Results) -> String {
    let what = match results.group.mode {
        Mode::PingPong => "there and back, one way",
        Mode::OpenLoop => "sent when due, from when it was due to when it was read",
        Mode::Throughput => "as fast as possible",
        Mode::Publish => "what a publish costs",
        Mode::Wake => "there and back between processes that sleep, one way",
        Mode::Sides => "each side alone",
        Mode::Allocations => "allocations a call",
    };
    let load = match results.group.mode {
        Mode::Allocations => String::new(),
        _ => format!("{}, ", load(results.group.load)),
    };
    let interval = match results.group.mode {
        Mode::OpenLoop => results
            .series
            .last()
            .map(|series| format!(", every {}", time(series.run.interval_ns as f64))),
        Mode::Throughput => Some(format!(", readers: {}", results.group.readers)),
        _ => None,
    };
    format!("{}: {load}{what}{}", results.group.bench(), interval.unwrap_or_default())
}

/// What ratios are taken to.
fn ours(results: &Results) -> Option<&Series> {
    results.of(Impl::Qadataswap)
}

fn latencies(results: &Results) -> Table {
    let floor = results.floor();
    let row = |series: &Series| {
        let told = |ns: Option<f64>| ns.map_or("-".to_owned(), time);
        let lost = if series.lost() > 0.0 {
            format!("{:.2} %", 100.0 * series.lost())
        } else {
            "0".to_owned()
        };
        vec![
            series.run.implementation.name(),
            told(series.p50()),
            told(series.percentile(990)),
            told(series.percentile(999)),
            told(series.max()),
            ratio(floor.and_then(|floor| series.latency_ratio(floor))),
            ratio(ours(results).and_then(|ours| series.latency_ratio(ours))),
            lost,
        ]
    };
    Table {
        title: title(results),
        head: vec!["", "p50", "p99", "p99.9", "max", "to floor", "to qadataswap", "lost"],
        rows: results.series.iter().map(row).collect(),
        remarks: Vec::new(),
    }
}

fn rates(results: &Results) -> Table {
    let mut head = match results.group.load {
        Load::Bytes(_) => vec!["", "messages", "bytes"],
        Load::Rows(_) => vec!["", "batches", "rows"],
    };
    head.extend(["each", "to qadataswap"]);
    // A lossy ring's rate is no measure for what loses nothing where its readers do not keep up.
    let lossless = results.of(Impl::QadataswapLossless);
    head.extend(lossless.map(|_| "to lossless"));
    head.push("lost");
    let row = |series: &Series| {
        let rate = series.rate();
        let (each, unit) = match series.run.load {
            Load::Bytes(bytes) => (bytes, "B/s"),
            Load::Rows(rows) => (rows, "/s"),
        };
        let told = |rate: Option<f64>, unit| rate.map_or("-".to_owned(), |rate| many(rate, unit));
        let name = match series.run.idle {
            0 => series.run.implementation.name(),
            idle => format!("{}, {idle} idle readers", series.run.implementation.name()),
        };
        let mut row = vec![
            name,
            told(rate, "/s"),
            told(rate.map(|rate| rate * each as f64), unit),
            rate.map_or("-".to_owned(), |rate| time_exactly(1e9 / rate)),
            ratio(ours(results).and_then(|ours| series.rate_ratio(ours))),
        ];
        row.extend(lossless.map(|lossless| ratio(series.rate_ratio(lossless))));
        row.push(format!("{:.1} %", 100.0 * series.lost()));
        row
    };
    Table {
        title: title(results),
        head,
        rows: results.series.iter().map(row).collect(),
        remarks: Vec::new(),
    }
}

/// Small times with a digit more.
fn time_exactly(ns: f64) -> String {
    if ns < 100.0 { format!("{ns:.1} ns") } else { time(ns) }
}

fn sides(results: &Results) -> Table {
    let row = |series: &Series, name: String, figure| {
        let to_memcpy = series.figure_ratio(&name, sides::memcpy_of(&name));
        vec![name, time(figure), ratio(to_memcpy)]
    };
    figures(results, vec!["", "time", "to memcpy"], row)
}

fn allocations(results: &Results) -> Table {
    figures(results, vec!["", "allocations"], |_, name, figure| vec![name, figure.to_string()])
}

fn figures(
    results: &Results,
    head: Vec<&'static str>,
    row: impl Fn(&Series, String, f64) -> Vec<String>,
) -> Table {
    let row = &row;
    let rows_of = |series| {
        Series::named(series).into_iter().map(move |(name, figure)| row(series, name, figure))
    };
    let rows = results.series.iter().flat_map(rows_of).collect();
    Table { title: title(results), head, rows, remarks: Vec::new() }
}
