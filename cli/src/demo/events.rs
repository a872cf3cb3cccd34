//! What the writer publishes and how a reader can tell that it got just that.
//!
//! Every batch is one event: columns of the generated book or of the file that is replayed, and behind
//! them two of the demo's own: the event's number in the run and the time of publishing.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use qadataswap::arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, UInt64Array, cast::AsArray, types::Int64Type,
    types::UInt64Type,
};
use qadataswap::arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::book::{self, Book};
use super::tape::Tape;
use super::wire::Fallible;

/// Where events come from.
#[derive(clap::Args, Clone, Debug)]
pub struct Input {
    /// Replay a file, over and over, instead of generated events: whatever 'qads replay' takes
    ///
    /// It is read into memory as a whole. With an integer column `flags`, one batch is one exchange event: rows up to and including one
    /// with flags >= 128. Otherwise see --rows.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Replay the file in batches of this many rows
    ///
    /// Default: exchange events where the file has `flags`, single rows elsewhere.
    #[arg(long, value_name = "N", requires = "input")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: Option<usize>,
}

/// Events looked at to find out how large messages are.
const SAMPLE: usize = 500;
/// The demo's own columns; always the last two.
const OWN_FIELDS: [(&str, DataType); 2] =
    [("event", DataType::UInt64), ("published_ns", DataType::Int64)];

/// Events, one after the other.
#[derive(Debug)]
pub struct Source {
    schema: SchemaRef,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Book(Box<Book>),
    Tape(Tape),
}

/// An event that has all its columns but the time of publishing.
#[derive(Debug)]
pub struct Event {
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Source {
    pub fn open(input: &Input) -> Fallible<Self> {
        let (fields, metadata, kind) = match &input.input {
            None => (Book::fields(), Default::default(), Kind::Book(Box::new(Book::new()))),
            Some(path) => {
                let tape = Tape::read(path, input.rows)?;
                let schema = tape.schema();
                let fields = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
                (fields, schema.metadata().clone(), Kind::Tape(tape))
            }
        };
        let own = OWN_FIELDS.map(|(name, data_type)| Field::new(name, data_type, false));
        let fields: Vec<Field> = fields.into_iter().chain(own).collect();
        Ok(Self { schema: Arc::new(Schema::new_with_metadata(fields, metadata)), kind })
    }

    /// Event `number`. Generated events are only to be had in turn.
    pub fn event(&mut self, number: u64) -> Event {
        let mut columns = match &mut self.kind {
            Kind::Book(book) => book.event(number),
            Kind::Tape(tape) => tape.event(number).columns().to_vec(),
        };
        let rows = columns.first().map_or(0, |column| column.len());
        columns.push(Arc::new(UInt64Array::from_value(number, rows)));
        Event { schema: self.schema.clone(), columns, rows }
    }

    /// Events and rows of the file; zeros if they are generated.
    pub fn extent(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Book(_) => (0, 0),
            Kind::Tape(tape) => (tape.events() as u64, tape.rows() as u64),
        }
    }

    /// About how many bytes messages have: usual ones, and the largest.
    pub fn message_bytes(&mut self) -> Fallible<(usize, usize)> {
        let (events, longest) = match &self.kind {
            Kind::Book(_) => (SAMPLE, 0),
            Kind::Tape(tape) => (tape.events(), tape.longest_event()),
        };
        let sample = (0..events).step_by(events.div_ceil(SAMPLE));
        let sampled = sample.len();
        let (mut sum, mut largest) = (0, 0);
        for number in sample.chain([longest]) {
            let bytes = stream_bytes(&self.event(number as u64).stamp(0)?)?;
            sum += bytes;
            largest = largest.max(bytes);
        }
        if let Kind::Book(book) = &mut self.kind {
            // As if nothing had happened.
            **book = Book::new();
        }
        Ok((sum / sampled, largest))
    }
}

/// How many bytes a batch has as an Arrow IPC stream.
fn stream_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    stream.write(batch)?;
    Ok(stream.into_inner()?.len())
}

impl Event {
    /// The batch to publish now.
    pub fn stamp(mut self, now_ns: u64) -> Result<RecordBatch, ArrowError> {
        self.columns.push(Arc::new(Int64Array::from_value(now_ns as i64, self.rows)));
        RecordBatch::try_new(self.schema, self.columns)
    }
}

/// The demo's own columns of a batch that came: number of the event and time of publishing.
pub fn number_and_stamp(batch: &RecordBatch) -> Option<(u64, u64)> {
    let [.., numbers, stamps] = batch.columns() else { return None };
    let number = numbers.as_primitive_opt::<UInt64Type>()?.values().first()?;
    let stamp = stamps.as_primitive_opt::<Int64Type>()?.values().first()?;
    Some((*number, *stamp as u64))
}

/// Knows what each event has to be.
#[derive(Debug)]
pub enum Witness {
    /// By the checksums in it.
    Checksums,
    /// By looking it up.
    Tape(Tape),
}

impl Witness {
    pub fn new(input: &Input) -> Fallible<Self> {
        Ok(match &input.input {
            None => Self::Checksums,
            Some(path) => Self::Tape(Tape::read(path, input.rows)?),
        })
    }

    /// Whether the batch is event `number`, with all its rows and columns as they were published.
    pub fn is_whole(&self, batch: &RecordBatch, number: u64) -> bool {
        let [.., numbers, stamps] = batch.columns() else { return false };
        let numbers = numbers.as_primitive_opt::<UInt64Type>();
        let stamps = stamps.as_primitive_opt::<Int64Type>();
        let same_in_all_rows = numbers
            .is_some_and(|column| column.values().iter().all(|&n| n == number))
            && stamps.is_some_and(|column| column.values().windows(2).all(|two| two[0] == two[1]));
        same_in_all_rows
            && match self {
                Self::Checksums => book::is_whole(batch, number),
                Self::Tape(tape) => tape.is_whole(batch, number),
            }
    }
}
