//! Messages of a ring, whether bytes or Arrow, as what the verbs work on: record batches.

use std::collections::HashMap;
use std::sync::Arc;

use qadataswap::arrow_array::{
    ArrayRef, BinaryArray, RecordBatch, TimestampNanosecondArray, UInt64Array,
};
use qadataswap::arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use qadataswap::observe::{Message, MessageKind};
use qadataswap::{Batches, QADataSwapError, Reader};

use crate::demo::clock::wall_ns;

/// Metadata of a schema by which plain bytes are known that were recorded as a table.
const MARK: (&str, &str) = ("qadataswap.messages", "bytes");
/// The column that has them, and that of when they came, which a ring does not know itself.
const MESSAGE: &str = "message";
const RECEIVED: &str = "received";
/// The time zone of that.
const UTC: &str = "UTC";

/// A message that a reader has consumed.
#[derive(Debug)]
pub enum Arrived {
    Arrow { sequence: u64, batches: Batches },
    Bytes { sequence: u64, bytes: Vec<u8> },
}

impl Arrived {
    /// Which message of the ring it is, from 0.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Arrow { sequence, .. } | Self::Bytes { sequence, .. } => *sequence,
        }
    }

    /// The schema that it has as a table.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Arrow { batches, .. } => batches.schema.clone(),
            Self::Bytes { .. } => schema_of_bytes(),
        }
    }

    /// The message as a table: bytes become one with a row.
    pub fn into_batches(self) -> Batches {
        match self {
            Self::Arrow { batches, .. } => batches,
            Self::Bytes { sequence, bytes } => in_batches(table_of_bytes(sequence, &bytes)),
        }
    }

    /// The same for a recording, with the time beside bytes: it is now that they have come.
    pub fn into_recorded(self) -> Batches {
        match self {
            Self::Arrow { batches, .. } => batches,
            Self::Bytes { sequence, bytes } => {
                in_batches(with_time(&table_of_bytes(sequence, &bytes), wall_ns()))
            }
        }
    }
}

fn in_batches(batch: RecordBatch) -> Batches {
    Batches { schema: batch.schema(), batches: vec![batch] }
}

/// Reads the next message, whatever it is; `None` if there is none within `timeout_ms`.
///
/// # Errors
/// Those of [`Reader::read_batches`].
pub fn next(reader: &Reader, timeout_ms: u64) -> Result<Option<Arrived>, QADataSwapError> {
    let Some(kind) = reader.next_kind(timeout_ms)? else { return Ok(None) };
    let arrived = match kind {
        MessageKind::Arrow => reader
            .read_batches(0)?
            .map(|batches| Arrived::Arrow { sequence: consumed(reader), batches }),
        _ => reader.read(0)?.map(|bytes| Arrived::Bytes { sequence: consumed(reader), bytes }),
    };
    Ok(arrived)
}

/// Sequence of the message that was consumed last.
fn consumed(reader: &Reader) -> u64 {
    reader.stats().sequence.saturating_sub(1)
}

/// The schema of an Arrow message; `None` for plain bytes.
pub fn schema_of(message: &Message) -> Result<Option<SchemaRef>, QADataSwapError> {
    match message.kind {
        MessageKind::Arrow => Ok(Some(message.batches()?.schema)),
        _ => Ok(None),
    }
}

fn schema_of_bytes() -> SchemaRef {
    let fields = vec![
        Field::new("sequence", DataType::UInt64, false),
        Field::new(MESSAGE, DataType::Binary, false),
    ];
    let metadata = HashMap::from([(MARK.0.to_owned(), MARK.1.to_owned())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn table_of_bytes(sequence: u64, bytes: &[u8]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_value(sequence, 1)),
        Arc::new(BinaryArray::from_iter_values([bytes])),
    ];
    RecordBatch::try_new(schema_of_bytes(), columns).expect("two columns of one row")
}

/// A table of bytes with a column of when they came before the others.
fn with_time(table: &RecordBatch, received_ns: u64) -> RecordBatch {
    let data_type = DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()));
    let mut fields = vec![Arc::new(Field::new(RECEIVED, data_type, false))];
    let schema = table.schema();
    fields.extend(schema.fields().iter().cloned());
    let times = TimestampNanosecondArray::from_value(received_ns as i64, table.num_rows());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone(UTC))];
    columns.extend_from_slice(table.columns());
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns of one length")
}

/// The plain bytes that a table was made of, if it was; a message to a row.
pub fn bytes_of_table(batch: &RecordBatch) -> Option<&BinaryArray> {
    let schema = batch.schema_ref();
    if schema.metadata().get(MARK.0).is_none_or(|value| value != MARK.1) {
        return None;
    }
    batch.column_by_name(MESSAGE)?.as_any().downcast_ref()
}
