//! Turns the bytes of one Arrow IPC stream back into record batches that slice those bytes.
//!
//! Every message goes through `check` before arrow-ipc sees it, and arrow-ipc validates the contents.
//! The messages are driven here rather than by `StreamDecoder`, which would verify them a second time,
//! search the schema for every dictionary and copy a dictionary for every delta.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_buffer::Buffer;
use arrow_data::{ArrayData, UnsafeFlag};
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::{DictionaryBatch, MetadataVersion};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::concat::{concat, concat_batches};

use super::check::{self, Checker, Step};
use super::fault;
use super::walk::Body;

/// What one stream held.
#[derive(Debug)]
pub struct DecodedStream {
    /// The schema of the stream and of every batch.
    pub schema: SchemaRef,
    /// The batches in the order written, perhaps none.
    pub batches: Vec<RecordBatch>,
}

impl DecodedStream {
    /// The stream as one batch, if that is what it holds (or nothing); else the number of its batches.
    pub fn only_batch(mut self) -> Result<RecordBatch, usize> {
        match self.batches.len() {
            0 => Ok(RecordBatch::new_empty(self.schema)),
            1 => Ok(self.batches.remove(0)),
            found => Err(found),
        }
    }

    /// The stream as one batch: as it is if there is one, empty if none, a copy if there are several.
    ///
    /// # Errors
    ///
    /// If the batches together overflow what their types can index.
    pub fn into_one_batch(mut self) -> Result<RecordBatch, ArrowError> {
        match self.batches.len() {
            0 => Ok(RecordBatch::new_empty(self.schema)),
            1 => Ok(self.batches.remove(0)),
            _ => without_panic("concatenating batches", || {
                for column in 0..self.schema.fields().len() {
                    let parts = self.batches.iter().map(|b| b.column(column).to_data());
                    require_small_offsets(&parts.collect::<Vec<_>>().iter().collect::<Vec<_>>())?;
                }
                concat_batches(&self.schema, &self.batches)
            }),
        }
    }
}

/// How a stream is to be read.
#[derive(Clone, Debug)]
pub enum Reading {
    /// What is not aligned as its type needs is copied to where it is.
    Copy,
    /// That is an error: no array is copied.
    InPlace,
    /// The same, and the contents of arrays are not validated.
    InPlaceTrusted(UnsafeFlag),
}

impl Reading {
    /// Whether contents are not to be validated.
    pub fn skips_validation(&self) -> UnsafeFlag {
        match self {
            Self::Copy | Self::InPlace => UnsafeFlag::new(),
            Self::InPlaceTrusted(trusted) => trusted.clone(),
        }
    }
}

/// Decodes one complete stream. The arrays slice `stream` and keep it alive.
///
/// # Errors
///
/// If the bytes are not exactly one valid stream, or use a feature that is refused: compressed bodies,
/// big-endian data, metadata older than version 4.
pub fn decode_stream(stream: Buffer, reading: Reading) -> Result<DecodedStream, ArrowError> {
    let (require_alignment, skip_validation) = match reading {
        Reading::Copy => (false, UnsafeFlag::new()),
        Reading::InPlace => (true, UnsafeFlag::new()),
        Reading::InPlaceTrusted(trusted) => (true, trusted),
    };
    // Alignments inside the stream count from its start, so one copy repairs them all.
    let stream = if !require_alignment && stream.as_ptr().align_offset(8) != 0 {
        Buffer::from_slice_ref(stream.as_slice())
    } else {
        stream
    };
    // The checks make panics unreachable as far as is known; this is for what is not.
    let decoder = Decoder { dictionaries: HashMap::new(), require_alignment, skip_validation };
    without_panic("decoding the stream", || decode(&stream, decoder))
}

fn decode(stream: &Buffer, mut decoder: Decoder) -> Result<DecodedStream, ArrowError> {
    let mut checker = Checker::new(stream.len());
    let mut schema = None;
    let mut batches = Vec::new();
    let mut position = 0;
    while let Some(frame) = check::next_frame(stream, &mut position)? {
        let body = stream.slice_with_length(frame.body.start, frame.body.len());
        let version = frame.message.version();
        let checked = match (decoder.require_alignment, decoder.skip_validation.get()) {
            (true, true) => Body::Trusted(&body),
            (true, false) => Body::InPlace(&body),
            (false, _) => Body::Whole(&body),
        };
        match checker.message(&frame.message, checked)? {
            Step::Schema(found) => {
                for (id, values) in checker.dictionary_types() {
                    // A dictionary may never be sent if nothing refers to it.
                    decoder.dictionaries.insert(id, new_empty_array(values));
                }
                schema = Some(found);
            }
            Step::Dictionary(batch, values) => decoder.dictionary(batch, values, &body, version)?,
            Step::Batch(batch, schema) => {
                batches.push(decoder.batch(batch, schema, &body, version)?);
            }
        }
    }
    let schema = schema.ok_or_else(|| fault("the stream has no schema"))?;
    Ok(DecodedStream { schema, batches })
}

struct Decoder {
    dictionaries: HashMap<i64, ArrayRef>,
    require_alignment: bool,
    skip_validation: UnsafeFlag,
}

impl Decoder {
    fn batch(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        schema: SchemaRef,
        body: &Buffer,
        version: MetadataVersion,
    ) -> Result<RecordBatch, ArrowError> {
        RecordBatchDecoder::try_new(body, batch, schema, &self.dictionaries, &version)?
            .with_require_alignment(self.require_alignment)
            .with_skip_validation(self.skip_validation.clone())
            .read_record_batch()
    }

    fn dictionary(
        &mut self,
        batch: DictionaryBatch<'_>,
        values: SchemaRef,
        body: &Buffer,
        version: MetadataVersion,
    ) -> Result<(), ArrowError> {
        let data = batch.data().ok_or_else(|| fault("a dictionary batch has no data"))?;
        let decoded = self.batch(data, values, body, version)?;
        let mut values = decoded.column(0).clone();
        if batch.isDelta()
            && let Some(known) = self.dictionaries.get(&batch.id())
            && !known.is_empty()
        {
            if self.require_alignment {
                return Err(fault("a dictionary that comes in parts cannot be read in place"));
            }
            require_small_offsets(&[&known.to_data(), &values.to_data()])?;
            values = concat(&[known.as_ref(), values.as_ref()])?;
        }
        self.dictionaries.insert(batch.id(), values);
        Ok(())
    }
}

/// Refuses what `concat` would panic on: 32-bit list offsets that overflow.
fn require_small_offsets(parts: &[&ArrayData]) -> Result<(), ArrowError> {
    let Some(first) = parts.first() else {
        return Ok(());
    };
    for child in 0..first.child_data().len() {
        let children: Vec<_> = parts.iter().map(|p| &p.child_data()[child]).collect();
        let rows: usize = children.iter().map(|child| child.len()).sum();
        let small = matches!(
            first.data_type(),
            DataType::List(_) | DataType::ListView(_) | DataType::Map(_, _)
        );
        if small && i32::try_from(rows).is_err() {
            return Err(fault(format!(
                "the batches together have {rows} list elements, more than 32-bit offsets can index"
            )));
        }
        require_small_offsets(&children)?;
    }
    Ok(())
}

/// Turns a panic into an error.
pub fn without_panic<T>(
    doing: &str,
    work: impl FnOnce() -> Result<T, ArrowError>,
) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(fault(format!("arrow-rs panicked while {doing}"))))
}
