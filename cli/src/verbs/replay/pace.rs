//! When a batch is due: what its time column says, on the clock of the replay.

use std::time::{Duration, Instant};

use arrow_cast::cast;
use qadataswap::arrow_array::types::Int64Type;
use qadataswap::arrow_array::{Array, Int64Array, RecordBatch, cast::AsArray};
use qadataswap::arrow_schema::{DataType, SchemaRef, TimeUnit};

use crate::failure::{Failure, Outcome, failed};
use crate::verbs::signals::Stop;

/// What integers of a time column count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    S,
    Ms,
    Us,
    Ns,
}

impl Unit {
    fn in_ns(self) -> i64 {
        match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1_000,
            Self::Ns => 1,
        }
    }
}

/// The last bit of a wait is spent polling: a sleep may be that much too long.
const POLLED: Duration = Duration::from_micros(100);

/// The clock of a replay.
#[derive(Debug)]
pub struct Clock {
    factor: f64,
    column: usize,
    unit_ns: i64,
    /// The first time in the file, and when that was here.
    origin: Option<(i64, Instant)>,
}

impl Clock {
    pub fn new(factor: f64, column: Option<&str>, unit: Unit, schema: &SchemaRef) -> Outcome<Self> {
        let is_timestamp = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
        let column = match column {
            Some(name) => schema.index_of(name).map_err(|_| {
                let names: Vec<&str> =
                    schema.fields().iter().map(|field| field.name().as_str()).collect();
                failed(format!("there is no column '{name}'; there are: {}", names.join(", ")))
            })?,
            None => schema
                .fields()
                .iter()
                .position(|field| is_timestamp(field.data_type()))
                .ok_or_else(|| {
                    Failure::Usage(
                        "no column of timestamps to keep the timing of; give --time-column, or \
                         --speed max"
                            .to_owned(),
                    )
                })?,
        };
        let field = schema.field(column);
        let unit = match field.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => Unit::S,
            DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => Unit::Ms,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Unit::Us,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Unit::Ns,
            other if other.is_integer() => unit,
            other => {
                return Err(failed(format!(
                    "column '{}' is {other}, not a timestamp or an integer",
                    field.name()
                )));
            }
        };
        Ok(Self { factor, column, unit_ns: unit.in_ns(), origin: None })
    }

    /// The times of the rows, in the unit of the column.
    pub fn times(&self, batch: &RecordBatch) -> Outcome<Int64Array> {
        let column = cast(batch.column(self.column), &DataType::Int64)?;
        Ok(column.as_primitive::<Int64Type>().clone())
    }

    /// When the batch is due: the time of its first row that has one.
    pub fn due(&mut self, batch: &RecordBatch) -> Outcome<Option<Instant>> {
        let times = self.times(batch)?;
        let Some(row) = (0..times.len()).find(|row| times.is_valid(*row)) else { return Ok(None) };
        let time = times.value(row).saturating_mul(self.unit_ns);
        let (first, started) = *self.origin.get_or_insert_with(|| (time, Instant::now()));
        let since_ns = time.saturating_sub(first).max(0) as f64 / self.factor;
        // A time that no clock reaches is never due.
        let since = Duration::try_from_secs_f64(since_ns / 1e9).unwrap_or(Duration::MAX);
        let due = started.checked_add(since);
        due.map(Some).ok_or_else(|| failed("a time in it is too far away to be waited for"))
    }
}

/// Waits until `due`; a failure if a signal came meanwhile.
pub fn wait_until(due: Instant, stop: &Stop) -> Outcome {
    if let Some(early) = due.checked_sub(POLLED) {
        stop.sleep_until(early)?;
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    Ok(())
}
