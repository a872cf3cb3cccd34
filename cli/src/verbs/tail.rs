//! `qads tail`: the newest messages of a ring, and those that come.

use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::SchemaRef;
use qadataswap::observe::Observer;
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy};

use crate::failure::{Failure, Outcome, failed};
use crate::text;
use crate::verbs::attach::attach;
use crate::verbs::filter::{self, Condition};
use crate::verbs::messages;
use crate::verbs::print::{Format, Printer, SHOWN};
use crate::verbs::signals::Stop;
use crate::verbs::writer_watch::WriterWatch;

const EXAMPLES: &str = "\
Examples:
  qads tail ticks                                   the newest ten messages
  qads tail ticks -n 1 --columns ts,price           two columns of the newest
  qads tail ticks --follow --where 'price > 100'    rows as they come, until the ring ends or Ctrl-C
  qads tail ticks -f -n 0 --format json | jq .price
  qads tail ticks -f --lossless --format csv > ticks.csv

Without --lossless nobody waits for it: what is overwritten before it is printed is counted on standard error. It is
no registered reader then and cannot disturb the ring. With --lossless the writer waits for it, as its options say.";

/// How long a wait for a message is that a signal may end.
const SLICE_MS: u64 = 100;

/// Print a ring's newest messages
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{}\n\n{}", filter::HELP, crate::failure::EXIT_CODES))]
pub struct TailArguments {
    /// The ring
    name: String,
    /// How many messages of those that are there
    #[arg(short = 'n', long = "messages", value_name = "N", default_value_t = 10)]
    messages: u64,
    /// Go on with those that come
    #[arg(long, short)]
    follow: bool,
    /// Only these columns, in this order
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    /// Only rows for which this holds
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<Condition>,
    /// How messages are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Miss nothing: have the writer wait
    #[arg(long)]
    lossless: bool,
    /// How much of a long message of bytes is shown in hex, and of a long cell in a table (in characters)
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    bytes: usize,
    /// How long to wait for a ring that is not there yet, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    attach_timeout_ms: u64,
}

pub fn run(arguments: &TailArguments) -> Outcome {
    let stop = Stop::on_signals()?;
    let mut printer = Printer::new(arguments.format, arguments.bytes)?;
    let options = ReaderOptions::new()
        .start(if arguments.messages == 0 { Start::Next } else { Start::Oldest })
        .register(arguments.lossless)
        .lossless(arguments.lossless)
        .wait(WaitStrategy::Sleep);
    let reader = attach(options, &arguments.name, arguments.attach_timeout_ms, &stop)??;
    let end = newest_sequence(&arguments.name)?;
    skip_to(&reader, end.saturating_sub(arguments.messages))?;
    let ended = print_all(arguments, &reader, end, &stop, &mut printer);
    match ended {
        // What is there is whole, however it ended.
        Ok(()) | Err(Failure::Stopped(_)) => printer.finish().and(ended),
        Err(_) => ended,
    }
}

/// Messages published so far.
fn newest_sequence(name: &str) -> Outcome<u64> {
    let header = Observer::open(name)?.look()?.header;
    Ok(header.map_or(0, |header| header.message_count))
}

/// Passes over messages before this one.
fn skip_to(reader: &Reader, sequence: u64) -> Outcome {
    while reader.stats().sequence < sequence {
        match reader.skip() {
            Ok(true) => {}
            Ok(false) | Err(QADataSwapError::Closed) => break,
            Err(QADataSwapError::CorruptMessage { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn print_all(
    arguments: &TailArguments,
    reader: &Reader,
    end: u64,
    stop: &Stop,
    printer: &mut Printer,
) -> Outcome {
    let change = |batch: &RecordBatch| -> Outcome<RecordBatch> {
        let kept = match &arguments.condition {
            Some(condition) => &condition.filter(batch)?,
            None => batch,
        };
        if arguments.columns.is_empty() {
            Ok(kept.clone())
        } else {
            let indices: Result<Vec<usize>, _> =
                arguments.columns.iter().map(|column| kept.schema_ref().index_of(column)).collect();
            Ok(kept.project(&indices?)?)
        }
    };
    let mut unfit = Unfit::default();
    let mut writer = WriterWatch::new("tail", &arguments.name);
    let mut lost = reader.stats().lost;
    loop {
        stop.check()?;
        if !arguments.follow && reader.stats().sequence >= end {
            return unfit.outcome();
        }
        let timeout_ms = if arguments.follow { SLICE_MS } else { 0 };
        // What is printed already is to be seen before anything is waited for.
        let message = match messages::next(reader, 0) {
            Ok(None) if timeout_ms > 0 => {
                printer.flush()?;
                messages::next(reader, timeout_ms)
            }
            result => result,
        };
        match &message {
            Ok(Some(_)) => writer.something_came(),
            Ok(None) if arguments.follow => {
                printer.check_reader()?;
                writer.nothing_came();
            }
            _ => {}
        }
        match message {
            Ok(Some(message)) if unfit.is_fit(arguments, &message.schema()) => {
                printer.print(message, change)?;
            }
            Ok(Some(_)) => {}
            Ok(None) if arguments.follow => {}
            Ok(None) | Err(QADataSwapError::Closed) => return unfit.outcome(),
            Err(
                error @ (QADataSwapError::ArrowError(_) | QADataSwapError::CorruptMessage { .. }),
            ) => {
                let error = text::escaped(&error.to_string());
                text::say(&format!("qads tail: message {}: {error}", reader.stats().sequence));
            }
            Err(QADataSwapError::Evicted { lost }) => {
                let besides = reader.rejoin()?;
                let lost = text::count(lost + besides, "message");
                text::say(&format!("qads tail: too slow for the writer, {lost} lost"));
            }
            Err(error) => return Err(error.into()),
        }
        let now = reader.stats().lost;
        if now > lost && !arguments.lossless {
            let lost = text::count(now - lost, "message");
            text::say(&format!("qads tail: {lost} overwritten before being read"));
        }
        lost = now;
    }
}

/// Messages that have not the columns asked for: in a ring of several schemas those are others' affair.
#[derive(Default)]
struct Unfit {
    /// Their schemas, each told once.
    told: Vec<SchemaRef>,
    some_fit: bool,
}

impl Unfit {
    fn is_fit(&mut self, arguments: &TailArguments, schema: &SchemaRef) -> bool {
        let conditions = arguments.condition.iter().flat_map(Condition::columns);
        let mut asked = conditions.chain(arguments.columns.iter().map(String::as_str));
        let Some(column) = asked.find(|column| schema.index_of(column).is_err()) else {
            self.some_fit = true;
            return true;
        };
        if !self.told.contains(schema) {
            let names: Vec<&str> =
                schema.fields().iter().map(|field| field.name().as_str()).collect();
            let names = text::tame(&names.join(", "));
            text::say(&format!(
                "qads tail: there is no column '{column}'; there are: {names} (messages like that are not shown)"
            ));
            self.told.push(schema.clone());
        }
        false
    }

    /// Not done if it has shown nothing for want of a column.
    fn outcome(&self) -> Outcome {
        if self.told.is_empty() || self.some_fit {
            return Ok(());
        }
        Err(failed("no message has all the columns that were asked for"))
    }
}
