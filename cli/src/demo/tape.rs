//! Events of a file, to be played over and over.

use std::path::Path;

use arrow_select::concat::concat_batches;
use qadataswap::arrow_array::cast::AsArray;
use qadataswap::arrow_array::types::{
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use qadataswap::arrow_array::{Array, RecordBatch};
use qadataswap::arrow_schema::{DataType, SchemaRef};

use super::wire::Fallible;
use crate::failure::{Outcome, guarded};
use crate::input::Input;

/// Column that marks the last row of an exchange event, as Databento and others have it.
const FLAGS: &str = "flags";
/// The mark: a row whose flags are at least this is the last of its event.
const LAST_OF_EVENT: i128 = 128;

/// The rows of a file, cut into events.
#[derive(Debug)]
pub struct Tape {
    rows: RecordBatch,
    /// Where each event starts, and where the last ends.
    cuts: Vec<usize>,
}

impl Tape {
    /// Reads a file. An event has `rows` rows if that is given; otherwise it ends where the `flags`
    /// column says, or with each row if there is no such column.
    pub fn read(path: &Path, rows: Option<usize>) -> Fallible<Self> {
        let named = |what: &str| format!("{}: {what}", path.display());
        let all = read_all_rows(path).map_err(|failure| named(&failure.into_text()))?;
        if all.num_rows() == 0 {
            return Err(named("there are no rows in it").into());
        }
        let cuts = match (rows, flags(&all)) {
            (None, Some(flags)) => cuts_by_flags(&flags),
            (rows, _) => cuts_every(rows.unwrap_or(1), all.num_rows()),
        };
        Ok(Self { rows: all, cuts })
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Number of events on the tape.
    pub fn events(&self) -> usize {
        self.cuts.len() - 1
    }

    /// Number of rows on the tape.
    pub fn rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// Event `number` of a run that plays the tape over and over.
    pub fn event(&self, number: u64) -> RecordBatch {
        let index = (number % self.events() as u64) as usize;
        let (start, end) = (self.cuts[index], self.cuts[index + 1]);
        self.rows.slice(start, end - start)
    }

    /// The event that has most rows.
    pub fn longest_event(&self) -> usize {
        let events = 0..self.events();
        events.max_by_key(|&index| self.cuts[index + 1] - self.cuts[index]).unwrap_or(0)
    }

    /// Whether the batch starts with the columns of event `number`.
    pub fn is_whole(&self, batch: &RecordBatch, number: u64) -> bool {
        let sent = self.event(number);
        batch.num_rows() == sent.num_rows()
            && batch.columns().get(..sent.num_columns()) == Some(sent.columns())
    }
}

/// All rows of a file, as one batch.
fn read_all_rows(path: &Path) -> Outcome<RecordBatch> {
    let input = Input::open(path, None)?;
    let schema = input.schema().clone();
    let batches = input.collect::<Outcome<Vec<_>>>()?;
    Ok(guarded(|| concat_batches(&schema, &batches))?)
}

/// The `flags` column, if there is one of integers.
fn flags(rows: &RecordBatch) -> Option<Vec<i128>> {
    let column = rows.column_by_name(FLAGS)?;
    macro_rules! widened {
        ($($data_type:ident => $arrow_type:ty,)*) => {
            match column.data_type() {
                $(DataType::$data_type => Some(
                    column
                        .as_primitive::<$arrow_type>()
                        .iter()
                        .map(|flags| flags.map_or(0, i128::from))
                        .collect(),
                ),)*
                _ => None,
            }
        };
    }
    widened! {
        UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type,
        Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
    }
}

fn cuts_by_flags(flags: &[i128]) -> Vec<usize> {
    let ends =
        (1..=flags.len()).filter(|&end| end == flags.len() || flags[end - 1] >= LAST_OF_EVENT);
    std::iter::once(0).chain(ends).collect()
}

fn cuts_every(rows: usize, total: usize) -> Vec<usize> {
    (0..total).step_by(rows).chain([total]).collect()
}
