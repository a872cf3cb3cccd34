//! `qads replay`: a file into a ring, with the timing that it was recorded with.

mod cut;
mod pace;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use qadataswap::arrow_array::RecordBatch;
use qadataswap::observe::Observer;
use qadataswap::{OnSlowReader, QADataSwapError, Writer, WriterOptions};

use crate::failure::{Failure, Outcome, failed};
use crate::input::Input;
use crate::text;
use crate::verbs::messages;
use crate::verbs::signals::Stop;
use cut::Cut;
use pace::{Clock, Unit};

const EXAMPLES: &str = "\
Examples:
  qads replay ticks.arrows ticks                             as fast as it was recorded
  qads replay ticks.parquet ticks --speed 10x --time-column ts_event
  qads replay day.arrow ticks --by-time                      split its batches where the time changes
  qads replay ticks.csv ticks --speed max --rows 100         100 rows to a message
  qads replay ticks.arrows ticks --speed max --readers 3     once three readers have attached

FILE is an Arrow IPC stream or file (also a NAME.partial that a killed 'qads record' left), Parquet or CSV with a line
of names; what it is, it says itself. Types of CSV columns are those that all of its lines have. A batch of an Arrow
file is a message; rows of Parquet and CSV that have the same time are one (with --speed max, 1024 rows), unless --rows
says otherwise. Messages of bytes that were recorded are bytes again, with the timing of their arrival. Lossless readers
are waited for. In the end the ring is closed and stays in memory; see --rm.

The time column is one of timestamps, or of integers in --time-unit; without --time-column, the first column of
timestamps. Rows that go back in time are published at once.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// As many as can be registered (docs/protocol.md).
const MOST_READERS: u64 = 64;
/// How long one write waits for lossless readers before signals are looked at.
const SLICE_MS: u64 = 100;

/// Publish a file in a ring
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArguments {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The ring
    #[arg(value_name = "NAME")]
    name: String,
    /// 1x for the original timing, 10x for ten times as fast, max
    #[arg(long, value_name = "SPEED", default_value = "1x")]
    speed: Speed,
    /// The column that says when a row was
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// What the integers of the time column count
    #[arg(long, value_enum, default_value_t = Unit::Ns)]
    time_unit: Unit,
    /// Rows to a message
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    rows: Option<usize>,
    /// A message for each time in the time column, also where a batch of the file has several
    #[arg(long, conflicts_with = "rows")]
    by_time: bool,
    /// Slots of the ring
    #[arg(long, value_name = "N", default_value_t = 1024)]
    slots: usize,
    /// Wait until so many readers are registered
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(..=MOST_READERS))]
    readers: usize,
    /// Remove the ring in the end (attached readers still get all of it)
    #[arg(long)]
    rm: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    Max,
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix(['x', 'X']).unwrap_or(text);
        match number.parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Times(factor)),
            _ => Err(format!("'{text}' is not a speed; write 1x, 0.5x, 10x or max")),
        }
    }
}

pub fn run(arguments: &ReplayArguments) -> Outcome {
    let stop = Stop::on_signals()?;
    qadataswap::check_name(&arguments.name)?;
    let about = |failure: Failure| failure.about(arguments.file.display());
    let input = Input::open(&arguments.file, arguments.rows).map_err(about)?;
    let factor = match arguments.speed {
        Speed::Times(factor) => Some(factor),
        // Nothing is waited for, but messages are cut by it.
        Speed::Max => arguments.by_time.then_some(1.0),
    };
    let column = arguments.time_column.as_deref();
    let clock = factor
        .map(|factor| Clock::new(factor, column, arguments.time_unit, input.schema()))
        .transpose()
        .map_err(about)?;
    if let (None, Some(column)) = (&clock, &arguments.time_column)
        && input.schema().index_of(column).is_err()
    {
        return Err(about(failed(format!("there is no column '{column}'"))));
    }
    let writer = WriterOptions::new(arguments.slots)
        .on_slow_reader(OnSlowReader::Wait { limit_ms: SLICE_MS })
        .create(&arguments.name)?;
    let mut replay = Replay {
        writer: &writer,
        stop: &stop,
        progress: Progress::new(arguments.quiet),
        clock,
        is_paced: arguments.speed != Speed::Max,
        rows: arguments.rows,
        by_time: arguments.by_time,
    };
    let replayed = replay.await_readers(arguments.readers).and_then(|()| replay.all(input));
    let ended = if arguments.rm {
        // Closed first, so that readers are told at once.
        let name = arguments.name.clone();
        replay.progress.summary(&name);
        writer.close().and_then(|()| qadataswap::unlink(&name))
    } else {
        replay.progress.summary(&arguments.name);
        writer.close()
    };
    replayed.map_err(about)?;
    Ok(ended?)
}

/// A replay under way.
struct Replay<'a> {
    writer: &'a Writer,
    stop: &'a Stop,
    progress: Progress,
    clock: Option<Clock>,
    is_paced: bool,
    rows: Option<usize>,
    by_time: bool,
}

impl Replay<'_> {
    /// Waits until so many readers are registered and have said where they are.
    fn await_readers(&self, wanted: usize) -> Outcome {
        if wanted == 0 {
            return Ok(());
        }
        let observer = Observer::open(&self.writer.name())?;
        loop {
            self.stop.check()?;
            let seen = observer.look()?;
            let there = seen.readers.iter().filter(|reader| reader.is_settled());
            if there.count() >= wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn all(&mut self, input: Input) -> Outcome {
        let cut = Cut::new(self.rows, input.has_messages() && !self.by_time, self.clock.is_some());
        for batch in input {
            let batch = batch.map_err(|failure| failure.with("all before that was published"))?;
            for part in cut.apply(&batch, self.clock.as_ref())? {
                self.stop.check()?;
                if self.is_paced
                    && let Some(clock) = &mut self.clock
                    && let Some(due) = clock.due(&part)?
                {
                    pace::wait_until(due, self.stop)?;
                }
                self.publish(&part)?;
            }
            self.progress.tick();
        }
        Ok(())
    }

    fn publish(&mut self, batch: &RecordBatch) -> Outcome {
        let Some(all_bytes) = messages::bytes_of_table(batch) else {
            self.write(batch.num_rows(), |writer| writer.write_arrow(batch))?;
            return Ok(());
        };
        for bytes in all_bytes {
            self.write(1, |writer| writer.write(bytes.unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Writes a message, waiting for lossless readers as long as it takes.
    fn write(
        &mut self,
        rows: usize,
        write: impl Fn(&Writer) -> Result<(), QADataSwapError>,
    ) -> Outcome {
        loop {
            match write(self.writer) {
                Ok(()) => {
                    self.progress.messages += 1;
                    self.progress.rows += rows as u64;
                    return Ok(());
                }
                Err(
                    QADataSwapError::WouldBlock { .. } | QADataSwapError::AllSlotsLeased { .. },
                ) => self.stop.check()?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a replay says while it runs and when it ends, on standard error.
struct Progress {
    quiet: bool,
    on_terminal: bool,
    started: Instant,
    shown: Instant,
    messages: u64,
    rows: u64,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let on_terminal = io::stderr().is_terminal();
        Self { quiet, on_terminal, started: now, shown: now, messages: 0, rows: 0 }
    }

    fn tick(&mut self) {
        if self.quiet || !self.on_terminal || self.shown.elapsed() < Duration::from_millis(500) {
            return;
        }
        self.shown = Instant::now();
        // That it cannot be shown is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{}", self.line());
    }

    fn summary(&self, ring: &str) {
        if self.quiet {
            return;
        }
        let clear = if self.on_terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(io::stderr(), "{clear}{}: {}", text::tame(ring), self.line());
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        format!(
            "{}, {}, {} on average",
            text::count(self.messages, "message"),
            text::count(self.rows, "row"),
            text::rate(self.messages as f64 / seconds)
        )
    }
}
