//! Batches of a file cut into messages.

use qadataswap::arrow_array::{Array, RecordBatch};

use super::pace::Clock;
use crate::failure::Outcome;

/// How batches are cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// A batch is a message.
    NotAtAll,
    /// So many rows are.
    Rows(usize),
    /// Rows of the same time are (as far as they were read at once).
    Times,
}

impl Cut {
    /// `has_messages` says whether the file's batches are messages already.
    pub fn new(rows: Option<usize>, has_messages: bool, is_timed: bool) -> Self {
        match rows {
            Some(rows) => Self::Rows(rows),
            None if is_timed && !has_messages => Self::Times,
            None => Self::NotAtAll,
        }
    }

    /// The messages of a batch.
    pub fn apply(self, batch: &RecordBatch, clock: Option<&Clock>) -> Outcome<Vec<RecordBatch>> {
        let rows = batch.num_rows();
        let ends: Vec<usize> = match (self, clock) {
            _ if rows == 0 => return Ok(vec![batch.clone()]),
            (Self::Rows(most), _) => (most..rows).step_by(most).chain([rows]).collect(),
            (Self::Times, Some(clock)) => {
                let times = clock.times(batch)?;
                let at = |row: usize| times.is_valid(row).then(|| times.value(row));
                (1..rows).filter(|row| at(*row) != at(row - 1)).chain([rows]).collect()
            }
            (Self::NotAtAll | Self::Times, _) => vec![rows],
        };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(starts.zip(&ends).map(|(start, end)| batch.slice(start, end - start)).collect())
    }
}
