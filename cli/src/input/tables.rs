//! Parquet and CSV.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_csv::reader::Format;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::ArrowError;

use super::{Input, opened};
use crate::failure::Outcome;

/// What some programs begin a CSV file with, to say that it is UTF-8.
const BYTE_ORDER_MARK: &[u8; 3] = b"\xef\xbb\xbf";

pub fn open_parquet(file: File, rows: usize) -> Outcome<Input> {
    opened(|| parquet(file, rows))
}

pub fn open_csv(file: File, rows: usize) -> Outcome<Input> {
    opened(|| csv(file, rows))
}

fn parquet(file: File, rows: usize) -> Result<Input, ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let schema = builder.schema().clone();
    // Its batches have lost the metadata that this one still has.
    let whole = schema.clone();
    let batches = builder
        .with_batch_size(rows)
        .build()?
        .map(move |batch| RecordBatch::try_new(whole.clone(), batch?.columns().to_vec()));
    Ok(Input { schema, batches: Box::new(batches), has_messages: false, is_partial: false })
}

fn csv(mut file: File, rows: usize) -> Result<Input, ArrowError> {
    let mut begin = [0; BYTE_ORDER_MARK.len()];
    let is_marked = file.read_exact(&mut begin).is_ok() && begin == *BYTE_ORDER_MARK;
    let start = SeekFrom::Start(if is_marked { begin.len() as u64 } else { 0 });
    file.seek(start)?;
    // By all lines: the first fraction, or the first time with nanoseconds, may be in the last of them.
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(&mut BufReader::new(&mut file), None)?;
    file.seek(start)?;
    let schema = Arc::new(schema);
    let reader = arrow_csv::ReaderBuilder::new(schema.clone())
        .with_format(format)
        .with_batch_size(rows)
        .build(file)?;
    Ok(Input { schema, batches: Box::new(reader), has_messages: false, is_partial: false })
}
