//! What the demo shows.

use std::io::{self, Write};

use super::DemoArguments;
use super::parent::{Fate, Life, Role};
use super::reader::Wait;
use super::wire::{ReaderReport, Ready, WriterReport};
use crate::text::{count, grouped};

const MICROSECOND_NS: f64 = 1e3;
const SECOND_NS: f64 = 1e9;

/// What is going to be seen.
pub fn introduction(
    out: &mut impl Write,
    arguments: &DemoArguments,
    ring: &str,
    ready: &Ready,
) -> io::Result<()> {
    let seconds = arguments.seconds;
    let rate = match arguments.rate {
        0 => "as fast as it can".to_owned(),
        rate => format!("{} per second", grouped(rate)),
    };
    let events = match &arguments.input.input {
        None => "publishes generated order-book events (1 to 8 rows each)".to_owned(),
        Some(path) => format!(
            "replays {} ({}, {}) over and over",
            path.file_name().unwrap_or_default().display(),
            count(ready.events, "event"),
            count(ready.rows, "row"),
        ),
    };
    writeln!(
        out,
        "One writer and three readers, each its own process, on ring '{ring}' ({} slots in /dev/shm).\n\
         The writer {events},\n\
         each event as one Arrow batch, {rate}, for {seconds} s. The readers:\n\
         \x20 fast    lossless: reads every batch in place, without copying it; the writer would wait for it\n\
         \x20 slow    lossy: takes too long for each, loses what is overwritten meanwhile, and counts it\n\
         \x20 victim  lossless, and killed with kill -9 half-way and started again: nobody else notices\n",
        grouped(ready.slots),
    )
}

/// Width of a reader's columns in a [`line()`].
const READER_WIDTH: usize = 25;

/// Heading of the lines that [`line()`] prints.
pub fn heading(out: &mut impl Write) -> io::Result<()> {
    write!(out, "{:>3} {:>9} {:>7}", "", "writer", "")?;
    let [first, second, third] = Role::ALL.map(Role::name);
    write!(out, " | {first:<READER_WIDTH$} | {second:<READER_WIDTH$} | {third}")?;
    write!(out, "\n{:>3} {:>9} {:>7}", "s", "published", "per s")?;
    for _ in Role::ALL {
        write!(out, " | {:>9} {:>9} {:>5}", "consumed", "lost", "lag")?;
    }
    writeln!(out)
}

/// The state of things after `second` seconds.
pub fn line(
    out: &mut impl Write,
    second: u64,
    before: &WriterReport,
    written: &WriterReport,
    lives: &[Life],
) -> io::Result<()> {
    let time = (written.elapsed_ns - before.elapsed_ns) as f64 / SECOND_NS;
    let rate = per(written.published - before.published, time);
    write!(
        out,
        "{second:>3} {:>9} {:>7}",
        grouped(written.published),
        grouped(rate.round() as u64)
    )?;
    for role in Role::ALL {
        match lives.iter().rfind(|life| life.role == role) {
            Some(life) if matches!(life.fate, Fate::Reading | Fate::Done) => {
                let ReaderReport { consumed, lost, lag, .. } = life.report;
                let [consumed, lost, lag] = [consumed, lost, lag].map(grouped);
                write!(out, " | {consumed:>9} {lost:>9} {lag:>5}")?;
            }
            Some(life) if life.fate == Fate::Killed => {
                write!(out, " | (killed)")?;
            }
            _ => write!(out, " | (starting)")?,
        }
    }
    writeln!(out)?;
    out.flush()
}

pub fn killed(out: &mut impl Write, pid: u32) -> io::Result<()> {
    writeln!(out, "    victim (pid {pid}) is killed with kill -9")?;
    out.flush()
}

pub fn restarted(out: &mut impl Write, pid: u32) -> io::Result<()> {
    writeln!(out, "    victim is started again (pid {pid}), from the next batch published on")?;
    out.flush()
}

/// What everybody did in the end; whether it adds up.
pub fn summary(
    out: &mut impl Write,
    arguments: &DemoArguments,
    written: &WriterReport,
    lives: &[Life],
) -> io::Result<bool> {
    let seconds = written.elapsed_ns as f64 / SECOND_NS;
    let message_bytes = per(written.bytes, written.published as f64);
    const COLUMNS: [&str; 8] =
        ["published", "consumed", "lost", "p50", "p99", "p99.9", "batch/s", "MB/s"];
    let [published, consumed, lost, p50, p99, p999, rate, bytes] = COLUMNS;
    writeln!(out, "\n{:<59} {:>29} {:>18}", "", "latency in us", "throughput")?;
    writeln!(
        out,
        "{:<17} {published:>11} {consumed:>11} {lost:>11}      {p50:>9} {p99:>9} {p999:>9} \
         {rate:>9} {bytes:>8}",
        "reader"
    )?;
    let mut good = true;
    for life in lives {
        let first = lives.iter().find(|other| other.role == life.role).expect("itself at least");
        let what = match life.fate {
            Fate::Killed => ", killed",
            _ if !std::ptr::eq(first, life) => ", restarted",
            _ => "",
        };
        let ReaderReport { consumed, lost, span_ns, p50_ns, p99_ns, p999_ns, .. } = life.report;
        let published = published_for(life, written);
        let ok = adds_up(life, written);
        good &= ok;
        let rate = per(consumed.saturating_sub(1), span_ns as f64 / SECOND_NS);
        let [p50, p99, p999] = [p50_ns, p99_ns, p999_ns].map(microseconds);
        writeln!(
            out,
            "{:<17} {:>11} {:>11} {:>11} {:<4} {p50:>9} {p99:>9} {p999:>9} {:>9} {:>8.1}",
            format!("{}{what}", life.role.name()),
            grouped(published),
            grouped(consumed),
            grouped(lost),
            if ok { "ok" } else { "FAIL" },
            grouped(rate.round() as u64),
            rate * message_bytes / 1e6,
        )?;
    }
    let checked: u64 = lives.iter().map(|life| life.report.consumed).sum();
    let damaged: u64 = lives.iter().map(|life| life.report.damaged).sum();
    let late = match arguments.rate {
        0 => String::new(),
        _ => format!(
            "; later than they were due by\n         {} us (p50), {} us (p99), {} us (worst)",
            microseconds(written.late_p50_ns),
            microseconds(written.late_p99_ns),
            microseconds(written.late_max_ns),
        ),
    };
    writeln!(
        out,
        "\n\
         ok       consumed + lost = published since the reader attached (the killed one's up to its\n\
         \x20        last report), and the numbers of the events show gaps of just that size\n\
         latency  from the publish stamp in the batch to the decoded batch; {}\n\
         writer   {} batches of {} bytes on average in {seconds:.1} s{late}\n\
         content  {} batches compared with what was sent, {damaged} damaged or out of order",
        waiting(arguments.wait()),
        grouped(written.published),
        grouped(message_bytes as u64),
        grouped(checked),
    )?;
    Ok(good && damaged == 0)
}

/// How the readers waited: it makes most of the latency.
fn waiting(wait: Wait) -> &'static str {
    match wait {
        Wait::Sleep => "readers sleep in between (--wait)",
        Wait::SpinSleep => "readers poll, then sleep (--wait)",
        Wait::Spin => "readers poll (--wait)",
    }
}

/// The last word, when the ring has been removed.
pub fn verdict(out: &mut impl Write, good: bool) -> io::Result<()> {
    match good {
        true => writeln!(
            out,
            "\nok: every count adds up, every batch was whole and in order, nothing is left in /dev/shm"
        ),
        false => writeln!(
            out,
            "\nFAIL: a count does not add up or a batch was damaged; please report this as a defect"
        ),
    }
}

/// Messages published while the reader was attached, as far as it has reported.
fn published_for(life: &Life, written: &WriterReport) -> u64 {
    let until = if life.fate == Fate::Killed { life.report.sequence } else { written.published };
    until.saturating_sub(life.attached)
}

/// Whether a reader's counts are right, both by the writer's count and by the events' numbers.
fn adds_up(life: &Life, written: &WriterReport) -> bool {
    let ReaderReport { consumed, lost, missing, next_event, .. } = life.report;
    let missing_since = match life.fate {
        Fate::Killed => 0,
        _ => written.published.saturating_sub(next_event),
    };
    consumed + lost == published_for(life, written) && missing + missing_since == lost
}

fn per(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}

fn microseconds(nanoseconds: u64) -> String {
    let tenths = (nanoseconds as f64 / (MICROSECOND_NS / 10.0)).round() as u64;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}
