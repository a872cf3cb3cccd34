//! `qads ls`: the rings on this machine.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use qadataswap::observe::ReaderKind;
use serde::Serialize;

use crate::failure::Outcome;
use crate::text::{self, Look, Table, cell};
use crate::verbs::print::write_json;
use crate::verbs::processes;
use crate::verbs::rings::{self, Health, Rate, Rates, Ring};

const EXAMPLES: &str = "\
Examples:
  qads ls                      all rings
  qads ls ticks quotes         these two
  qads ls --json | jq '.[] | select(.state == \"dead\") | .name'
  qads ls --interval-ms 0      at once, without a rate

The rate is that of --interval-ms. BYTES is the memory that the ring takes. Readers are those that are registered
(others are not to be seen from outside; '?' if this user may not see them, or nobody can be). A writer is 'dead' if it is gone and has not closed the ring.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// List the rings on this machine
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct LsArguments {
    /// Only these rings
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// For programs: an array of objects
    #[arg(long)]
    json: bool,
    /// How long rates are measured, in milliseconds; 0 for no rates
    #[arg(long, value_name = "MS", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=60_000))]
    interval_ms: u64,
}

/// A ring for programs.
#[derive(Serialize)]
struct RingRow<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    writer: WriterRow,
    ring_id: Option<String>,
    segment_number: Option<u64>,
    slots: Option<u64>,
    slot_capacity_bytes: Option<u64>,
    bytes: u64,
    committed_bytes: u64,
    position: u64,
    messages: u64,
    message_bytes: u64,
    lease_skips: u64,
    messages_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    may_have_sleepers: Option<bool>,
    created_ns: Option<u64>,
    schema: String,
    /// Nothing if they cannot be seen.
    readers: Option<Vec<ReaderRow>>,
}

#[derive(Serialize)]
struct WriterRow {
    alive: bool,
    pid: Option<u32>,
    command: Option<String>,
    epoch: Option<u64>,
}

#[derive(Serialize)]
struct ReaderRow {
    entry: usize,
    kind: &'static str,
    pid: u32,
    command: Option<String>,
    position: u64,
    lag: u64,
    consumed: u64,
    lost: u64,
    overruns: u64,
    timeouts: u64,
    leases: usize,
    process: &'static str,
}

/// A kind of reader in a word.
pub fn kind_word(kind: ReaderKind) -> &'static str {
    match kind {
        ReaderKind::Lossy => "lossy",
        ReaderKind::Lossless => "lossless",
        ReaderKind::Free => "joining",
        _ => "unknown",
    }
}

pub fn run(arguments: &LsArguments) -> Outcome {
    for name in &arguments.names {
        qadataswap::check_name(name)?;
    }
    let mut rates = Rates::default();
    let mut found = rings::survey(&arguments.names)?;
    if arguments.interval_ms > 0 && !found.is_empty() {
        for ring in &found {
            rates.of(ring);
        }
        std::thread::sleep(Duration::from_millis(arguments.interval_ms));
        found = rings::survey(&arguments.names)?;
    }
    let found: Vec<(Option<Rate>, Ring)> =
        found.into_iter().map(|ring| (rates.of(&ring), ring)).collect();
    let missing: Vec<&str> = arguments
        .names
        .iter()
        .filter(|name| !found.iter().any(|(_, ring)| ring.name == **name))
        .map(String::as_str)
        .collect();
    let out = &mut io::stdout().lock();
    if arguments.json {
        let rows: Vec<RingRow> = found.iter().map(|(rate, ring)| row(ring, *rate)).collect();
        write_json(out, &rows)?;
    } else if !found.is_empty() {
        write_table(out, &found)?;
    } else if missing.is_empty() && io::stdout().is_terminal() {
        text::say("no rings (start one with 'qads demo')");
    }
    out.flush()?;
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(crate::failure::failed(format!("no such ring: {}", missing.join(", ")))),
    }
}

fn write_table(out: &mut dyn Write, found: &[(Option<Rate>, Ring)]) -> io::Result<()> {
    let heads = [
        "NAME", "WRITER", "PID", "EPOCH", "SLOTS", "BYTES", "POSITION", "RATE", "READERS", "SCHEMA",
    ];
    let mut table = Table::new(&heads, &[2, 3, 4, 5, 6, 7, 8]);
    if io::stdout().is_terminal() {
        // A schema of many columns would take many lines; 'qads schema' has all of it.
        let columns = crossterm::terminal::size().ok().map(|(columns, _)| columns.into());
        table.cut_to(columns.filter(|columns| *columns > 0));
    }
    for (rate, ring) in found {
        let health = ring.health();
        let look = match health {
            Health::Alive => Look::Good,
            Health::Closed | Health::NotReady => Look::Dim,
            Health::Dead | Health::Denied => Look::Warning,
            Health::Damaged => Look::Bad,
        };
        let mut cells = vec![cell(text::tame(&ring.name)), (health.word().to_owned(), look)];
        match (&ring.seen, ring.seen.as_ref().ok().and_then(|seen| seen.header)) {
            (Ok(seen), Some(header)) => cells.extend([
                cell(seen.writer.process.pid),
                cell(seen.writer.epoch),
                cell(text::grouped(header.slot_count)),
                cell(text::bytes(seen.committed_bytes as f64)),
                cell(text::grouped(header.published)),
                cell(rate.map_or_else(|| "-".to_owned(), |rate| text::rate(rate.messages))),
                cell(ring.reader_count().map_or("?".to_owned(), |count| count.to_string())),
                cell(match seen.faults.first() {
                    Some(fault) => fault.to_string(),
                    None => ring.content.line(),
                }),
            ]),
            (seen, _) => {
                cells.extend((0..7).map(|_| cell("-")));
                cells.push(cell(match seen {
                    Err(error) => error.to_string(),
                    Ok(_) => "being made, or left unfinished".to_owned(),
                }));
            }
        }
        table.row(cells);
    }
    table.write(out, text::colours())
}

fn row(ring: &Ring, rate: Option<Rate>) -> RingRow<'_> {
    let seen = ring.seen.as_ref().ok();
    let header = seen.and_then(|seen| seen.header);
    let error = match &ring.seen {
        Err(error) => Some(error.to_string()),
        Ok(seen) => seen.faults.first().map(|fault| fault.to_string()),
    };
    let (position, messages) = ring.progress();
    let pid = header.and(seen).map(|seen| seen.writer.process.pid);
    RingRow {
        name: &ring.name,
        state: ring.health().word(),
        error,
        writer: WriterRow {
            alive: seen.is_some_and(|seen| seen.writer.alive),
            pid,
            command: pid.and_then(processes::command),
            epoch: header.and(seen).map(|seen| seen.writer.epoch),
        },
        ring_id: header.map(|header| format!("{:016x}", header.ring_id)),
        segment_number: header.map(|header| header.segment_number),
        slots: header.map(|header| header.slot_count),
        slot_capacity_bytes: header.map(|header| header.payload_capacity),
        bytes: seen.map_or(0, |seen| seen.bytes),
        committed_bytes: seen.map_or(0, |seen| seen.committed_bytes),
        position,
        messages,
        message_bytes: header.map_or(0, |header| header.message_bytes),
        lease_skips: header.map_or(0, |header| header.lease_skips()),
        messages_per_second: rate.map(|rate| rate.messages),
        bytes_per_second: rate.map(|rate| rate.bytes),
        may_have_sleepers: seen.and_then(|seen| Some(seen.control.ok()?.may_be_asleep)),
        created_ns: header.map(|header| header.created_ns),
        schema: ring.content.line(),
        readers: ring.reader_count().map(|_| {
            ring.readers()
                .map(|reader| ReaderRow {
                    entry: reader.index,
                    kind: kind_word(reader.kind),
                    pid: reader.process.pid,
                    command: processes::command(reader.process.pid),
                    position: reader.position,
                    lag: reader.lag,
                    consumed: reader.consumed,
                    lost: reader.lost,
                    overruns: reader.overruns,
                    timeouts: reader.timeouts,
                    leases: reader.lease_count(),
                    process: processes::doing(reader.process.pid).word(),
                })
                .collect()
        }),
    }
}
