//! `qads record`: the messages of a ring into files.

mod output;
mod progress;
mod sink;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use qadataswap::{Batches, QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy};

use crate::failure::{Failure, Outcome, failed};
use crate::text;
use crate::verbs::attach;
use crate::verbs::messages;
use crate::verbs::signals::Stop;
use crate::verbs::writer_watch::WriterWatch;
use output::{Output, Rotation};
use progress::Progress;

pub use sink::Format;

const EXAMPLES: &str = "\
Examples:
  qads record ticks -o ticks.arrows                      an Arrow IPC stream, until the ring ends or Ctrl-C
  qads record ticks -o ticks.parquet --rotate-seconds 3600
  qads record ticks -o ticks.arrow --messages 1000 --start next
  qads record ticks -o ticks.arrows --lossy              never have the writer wait

What is safe, and when:
  stream (.arrows)          NAME can be read at any time. After kill -9 it ends with the last flush (--flush-ms), in
                            a whole batch.
  file (.arrow)             written as NAME.partial, which gets its name when it is whole. After kill -9 'qads replay
                            NAME.partial' reads it up to the last flush.
  parquet (.parquet)        written as NAME.partial, with what it is made of beside it as the stream NAME.journal
                            until it is whole. After kill -9 the journal can be read up to the last flush.
Ctrl-C and the end of the ring finish the file. A crash of the machine may take what the system had not written to disk
yet, unless --sync is given. A full disk leaves whole batches too. A file has one schema, and one of the IPC file format
one dictionary for each column; when they change, the next file begins. A message of bytes becomes a row of the
columns `received` (when it was), `sequence` and `message`, and is bytes again in 'qads replay'.

Exit status: 0 the ring ended or a limit was reached, 1 failed or messages could not be read, 2 wrong usage,
130 stopped with Ctrl-C (the file is whole).";

/// Longest wait for a message before signals and flushes are looked at.
const SLICE_MS: u64 = 50;

/// Record a ring into Arrow or Parquet files
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RecordArguments {
    /// The ring
    name: String,
    /// The file; with rotation and changes of schema, FILE-000001 and so on
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// What to write; without, as FILE ends: .arrows, .arrow or .parquet
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Go round messages that cannot be had in time, and count them, instead of having the writer wait
    #[arg(long)]
    lossy: bool,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Oldest)]
    start: From,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Begin the next file when this one has so many bytes (64M, 2G)
    #[arg(long, value_name = "SIZE", value_parser = text::parse_size)]
    rotate_bytes: Option<u64>,
    /// Begin the next file after so many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    rotate_seconds: Option<u64>,
    /// What is older than this is handed to the system, in milliseconds; 0 for every message
    #[arg(long, value_name = "MS", default_value_t = 200)]
    flush_ms: u64,
    /// Have the system write it to disk at every flush
    #[arg(long)]
    sync: bool,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// How long to wait for a ring that is not there yet, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    attach_timeout_ms: u64,
}

/// Where a recording begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// The oldest message still in the ring
    Oldest,
    /// The newest message in it
    Newest,
    /// The next one published
    Next,
}

pub fn run(arguments: &RecordArguments) -> Outcome {
    let format = match arguments.format {
        Some(format) => format,
        None => Format::of_path(&arguments.output).ok_or_else(|| {
            Failure::Usage(format!(
                "{}: what is it to be? Name it .arrows, .arrow or .parquet, or give --format",
                arguments.output.display()
            ))
        })?,
    };
    let stop = Stop::on_signals()?;
    let rotation = Rotation {
        bytes: arguments.rotate_bytes,
        time: arguments.rotate_seconds.map(Duration::from_secs),
    };
    let mut output =
        Output::new(&arguments.output, format, rotation, arguments.force, arguments.sync);
    output.check()?;
    let reader = attach(arguments, &stop)?;
    let mut progress = Progress::new(&arguments.name, arguments.quiet);
    let recorded = record(arguments, &reader, &stop, &mut output, &mut progress);
    // Whatever happened: what was consumed is to be in a whole file.
    let finished = output.finish();
    progress.summary(&reader.stats(), &output);
    recorded.and(finished)?;
    match progress.unreadable {
        0 => Ok(()),
        count => {
            Err(failed(format!("{} could not be read and recorded", text::count(count, "message"))))
        }
    }
}

fn attach(arguments: &RecordArguments, stop: &Stop) -> Outcome<Reader> {
    let options = ReaderOptions::new()
        .start(match arguments.start {
            From::Oldest => Start::Oldest,
            From::Newest => Start::Newest,
            From::Next => Start::Next,
        })
        .lossless(!arguments.lossy)
        .wait(WaitStrategy::Sleep);
    let reader = attach::attach(options, &arguments.name, arguments.attach_timeout_ms, stop)?;
    reader.map_err(|error| match error {
        QADataSwapError::HoldsUnavailable { .. } => {
            failed(format!("{error}; or record it with --lossy, counting what is missed"))
        }
        error => error.into(),
    })
}

fn record(
    arguments: &RecordArguments,
    reader: &Reader,
    stop: &Stop,
    output: &mut Output,
    progress: &mut Progress,
) -> Outcome {
    // More seconds than the clock has are no limit.
    let end = arguments
        .seconds
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let flush_every = Duration::from_millis(arguments.flush_ms);
    let mut flushed = Instant::now();
    let mut left = arguments.messages.unwrap_or(u64::MAX);
    let mut writer = (!arguments.quiet).then(|| WriterWatch::new("record", &arguments.name));
    while left > 0 {
        stop.check()?;
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        match messages::next(reader, SLICE_MS) {
            Ok(Some(message)) => {
                let Batches { schema, batches } = message.into_recorded();
                output.write(&schema, &batches)?;
                progress.messages += 1;
                progress.rows += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
                left -= 1;
                writer.iter_mut().for_each(WriterWatch::something_came);
            }
            Ok(None) => writer.iter_mut().for_each(WriterWatch::nothing_came),
            Err(QADataSwapError::Closed) => return Ok(()),
            Err(QADataSwapError::ArrowError(_) | QADataSwapError::CorruptMessage { .. }) => {
                progress.unreadable += 1;
            }
            Err(QADataSwapError::Evicted { lost }) => {
                progress.evicted += lost + reader.rejoin()?;
            }
            Err(error) => return Err(error.into()),
        }
        if flushed.elapsed() >= flush_every {
            output.flush()?;
            flushed = Instant::now();
        }
        output.rotate_if_due()?;
        progress.tick(&reader.stats(), output);
    }
    Ok(())
}
