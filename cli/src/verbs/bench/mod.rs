//! `qads bench`: how fast a ring is on this machine, between two processes.

mod phases;
pub mod reader;

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::failure::Outcome;
use crate::text::{self, Look, Table, cell, grouped, painted};
use crate::verbs::doctor::probes;
use crate::verbs::print::write_json;
use crate::verbs::signals::Stop;
use phases::{Latency, Throughput};

const EXAMPLES: &str = "\
Examples:
  qads bench                  about ten seconds
  qads bench --seconds 10     for each of the measurements
  qads bench --json

One process writes, another reads. Latency is from before the write of a 40-byte message to after its read, with a
message every 20 us; throughput is with a lossless reader, so that every message arrives. What spoils either is said
at the end. (For careful figures of the library itself: make bench.)

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Measure latency and throughput of this machine
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArguments {
    /// How long each measurement takes
    #[arg(long, value_name = "S", default_value_t = 1.5, value_parser = parse_seconds)]
    seconds: f64,
    /// For programs: an object
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("0.01 to 3600 seconds".to_owned()),
    }
}

/// Everything that was measured.
#[derive(Serialize)]
struct Report {
    latency: Vec<Latency>,
    throughput: Vec<Throughput>,
    hints: Vec<String>,
}

pub fn run(arguments: &BenchArguments) -> Outcome {
    let stop = Stop::on_signals()?;
    let out = &mut io::stdout().lock();
    let colours = text::colours();
    let mut report = Report { latency: Vec::new(), throughput: Vec::new(), hints: Vec::new() };
    for wait in [reader::Wait::Spin, reader::Wait::Sleep] {
        let measured = phases::latency(wait, arguments.seconds, &stop)?;
        if !arguments.json {
            write_latency(out, &measured, colours)?;
        }
        report.latency.push(measured);
    }
    let mut table = Table::new(&["THROUGHPUT", "MESSAGES/S", "BYTES/S"], &[1, 2]);
    for message in phases::MESSAGES {
        let measured = phases::throughput(message, arguments.seconds, &stop)?;
        table.row(vec![
            cell(&measured.message),
            cell(grouped(measured.messages_per_second as u64)),
            cell(format!("{}/s", text::bytes(measured.bytes_per_second))),
        ]);
        report.throughput.push(measured);
    }
    report.hints = hints(&report.latency);
    if arguments.json {
        write_json(out, &report)?;
        return Ok(());
    }
    table.write(out, colours)?;
    writeln!(out)?;
    for hint in &report.hints {
        writeln!(out, "{}", painted(hint, Look::Warning, colours))?;
    }
    if report.hints.is_empty() {
        writeln!(out, "nothing seen that spoils it")?;
    }
    Ok(())
}

fn write_latency(out: &mut dyn Write, measured: &Latency, colours: bool) -> io::Result<()> {
    /// Characters of the longest bar.
    const WIDEST: u64 = 40;
    let title = format!("latency, reader that {}", measured.reader);
    writeln!(out, "{}", painted(&title, Look::Bold, colours))?;
    let time = text::nanoseconds;
    let counted = &measured.counted;
    writeln!(
        out,
        "  p50 {}, p90 {}, p99 {}, p99.9 {}, worst {}; {} messages, {} lost",
        time(counted.p50_ns),
        time(counted.p90_ns),
        time(counted.p99_ns),
        time(counted.p999_ns),
        time(counted.max_ns),
        grouped(counted.messages),
        grouped(counted.lost),
    )?;
    let most = counted.histogram.iter().map(|bar| bar.messages).max().unwrap_or(1).max(1);
    for bar in &counted.histogram {
        let width = (bar.messages * WIDEST).div_ceil(most) as usize;
        let up_to = format!("< {}", time(bar.below_ns));
        writeln!(out, "  {up_to:>10} {:<40} {}", "#".repeat(width), grouped(bar.messages))?;
    }
    writeln!(out)
}

/// What spoils the figures, as far as it can be seen.
fn hints(latency: &[Latency]) -> Vec<String> {
    let mut hints = Vec::new();
    for measured in latency {
        if measured.interruptions > 0 {
            hints.push(format!(
                "the writer was interrupted {} times, for up to {}, while the reader {}: other programs, \
                 interrupts or the hypervisor take the core",
                grouped(measured.interruptions),
                text::nanoseconds(measured.longest_interruption_ns),
                measured.reader,
            ));
        }
    }
    for finding in probes::of_latency(Path::new("/")) {
        let advice = finding.advice.unwrap_or_default();
        hints.push(format!("{}: {}; {advice}", finding.subject, finding.found));
    }
    hints
}
