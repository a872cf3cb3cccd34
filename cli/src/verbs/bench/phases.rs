//! The measurements, seen from the writing process.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use qadataswap::arrow_array::{Float64Array, Int64Array, RecordBatch};
use qadataswap::{OnSlowReader, QADataSwapError, WriterOptions};
use serde::Serialize;

use super::reader::{Counted, READY, Stamped, Wait};
use crate::demo::clock::monotonic_ns;
use crate::demo::process::{Process, Ring};
use crate::failure::{Outcome, failed};
use crate::verbs::signals::Stop;

/// From one message to the next when latency is measured.
const PERIOD_NS: u64 = 20_000;
/// A pause between two looks at the clock of a thread that does nothing else: it was not running.
const INTERRUPTION_NS: u64 = 20_000;
const SLOTS: usize = 1024;
/// How long a write waits for the reader before signals are looked at.
const SLICE_MS: u64 = 100;

/// How long messages took.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub reader: &'static str,
    #[serde(flatten)]
    pub counted: Counted,
    pub interruptions: u64,
    pub longest_interruption_ns: u64,
}

/// How many messages arrived.
#[derive(Debug, Serialize)]
pub struct Throughput {
    pub message: String,
    pub messages_per_second: f64,
    pub bytes_per_second: f64,
}

/// What is sent when throughput is measured.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    Bytes(usize),
    Rows(usize),
}

pub const MESSAGES: [Message; 5] = [
    Message::Bytes(40),
    Message::Bytes(4096),
    Message::Bytes(1 << 20),
    Message::Rows(1),
    Message::Rows(1000),
];

/// Measures latency for a reader that waits in this way.
pub fn latency(wait: Wait, seconds: f64, stop: &Stop) -> Outcome<Latency> {
    let ring = Ring::choose("bench", None).map_err(failed)?;
    let writer =
        WriterOptions::new(SLOTS).slot_capacity(size_of::<Stamped>()).create(ring.name())?;
    let (process, said) = start_reader(&ring, &["--wait", wait.word(), "--stamped"])?;
    expect(&said, stop, |line| (line == READY).then_some(()))?;
    let started = monotonic_ns();
    let end = started + (seconds * 1e9) as u64;
    let (mut interruptions, mut longest) = (0, 0);
    let (mut due, mut before) = (started, started);
    'all: loop {
        stop.check()?;
        for _ in 0..1000 {
            due += PERIOD_NS;
            loop {
                let now = monotonic_ns();
                let pause = now - before;
                before = now;
                if pause > INTERRUPTION_NS {
                    interruptions += 1;
                    longest = longest.max(pause);
                }
                if now >= end {
                    break 'all;
                }
                if now >= due {
                    // After an interruption messages are not made up for.
                    due = now;
                    break;
                }
                std::hint::spin_loop();
            }
            writer.write_value::<Stamped>(&[monotonic_ns(), 0, 0, 0, 0])?;
            before = monotonic_ns();
        }
    }
    writer.close()?;
    let counted = expect(&said, stop, |line| serde_json::from_str::<Counted>(line).ok())?;
    process.finish()?;
    Ok(Latency { reader: wait.verb(), counted, interruptions, longest_interruption_ns: longest })
}

/// Measures how many messages of this kind a lossless reader gets.
pub fn throughput(message: Message, seconds: f64, stop: &Stop) -> Outcome<Throughput> {
    let ring = Ring::choose("bench", None).map_err(failed)?;
    let (name, bytes, slots) = match message {
        Message::Bytes(bytes) if bytes >= 1 << 20 => {
            (format!("bytes, {}", crate::text::bytes(bytes as f64)), bytes, 16)
        }
        Message::Bytes(bytes) => {
            (format!("bytes, {}", crate::text::bytes(bytes as f64)), bytes, SLOTS)
        }
        Message::Rows(rows) => {
            let name = format!("Arrow, 2 columns, {}", crate::text::count(rows as u64, "row"));
            (name, 16 * rows, SLOTS)
        }
    };
    let writer = WriterOptions::new(slots)
        .slot_capacity(bytes + 4096)
        .on_slow_reader(OnSlowReader::Wait { limit_ms: SLICE_MS })
        .create(ring.name())?;
    let kind = if matches!(message, Message::Rows(_)) { "--arrow" } else { "--bytes" };
    let wait = Wait::usual().word();
    let (process, said) = start_reader(&ring, &["--wait", wait, "--lossless", kind])?;
    expect(&said, stop, |line| (line == READY).then_some(()))?;
    let started = Instant::now();
    let length = Duration::from_secs_f64(seconds);
    match message {
        Message::Bytes(bytes) => {
            let message = vec![0x5a; bytes];
            write_for(length, stop, || writer.write(&message))?;
        }
        Message::Rows(rows) => {
            let batch = batch(rows)?;
            write_for(length, stop, || writer.write_arrow(&batch))?;
        }
    }
    writer.close()?;
    let counted = expect(&said, stop, |line| serde_json::from_str::<Counted>(line).ok())?;
    let seconds = started.elapsed().as_secs_f64();
    process.finish()?;
    let per_second = counted.messages as f64 / seconds;
    Ok(Throughput {
        message: name,
        messages_per_second: per_second,
        bytes_per_second: per_second * bytes as f64,
    })
}

fn batch(rows: usize) -> Outcome<RecordBatch> {
    let numbers = Int64Array::from_iter_values(0..rows as i64);
    let prices = Float64Array::from_iter_values((0..rows).map(|row| row as f64 / 4.0));
    let columns = [("n", Arc::new(numbers) as _), ("price", Arc::new(prices) as _)];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn write_for(
    length: Duration,
    stop: &Stop,
    mut write: impl FnMut() -> Result<(), QADataSwapError>,
) -> Outcome {
    let started = Instant::now();
    while started.elapsed() < length {
        stop.check()?;
        for _ in 0..16 {
            match write() {
                Ok(()) => {}
                Err(QADataSwapError::WouldBlock { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Starts this program again as the reading process.
fn start_reader(ring: &Ring, arguments: &[&str]) -> Outcome<(Process, Receiver<Option<String>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench-reader", "--ring", ring.name()]).args(arguments);
    let (to, said) = mpsc::channel();
    let process = Process::start(command, move |line| {
        // Nobody listens any more once the parent has failed.
        let _ = to.send(line);
    })?;
    Ok((process, said))
}

/// Waits for a line that `accept` takes.
fn expect<T>(
    said: &Receiver<Option<String>>,
    stop: &Stop,
    accept: impl Fn(&str) -> Option<T>,
) -> Outcome<T> {
    loop {
        stop.check()?;
        match said.recv_timeout(Duration::from_millis(SLICE_MS)) {
            Ok(Some(line)) => match accept(&line) {
                Some(value) => return Ok(value),
                None => return Err(failed(format!("the reading process said {line:?}"))),
            },
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(failed("the reading process has ended early"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}
