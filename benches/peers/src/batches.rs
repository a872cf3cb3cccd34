//! Batches that differ from message to message, the check that all of one arrived, and their IPC streams.

use std::io::Write;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::DataType;

use crate::Result;
use crate::channel::Receiver;

/// Prepared batches: slices of one that is longer. Rings have a power of two of slots: were this one
/// too, each slot would get the same batch in every lap, and whoever stores only what has changed there would look
/// better than it is.
const VARIANTS: usize = 5;
/// The row that the first of them begins with, and how many rows each begins after the one before. (One row later a
/// batch without its first null can have gained another at its end, so that both add up to the same.)
const FIRST: usize = 7;
const STEP: usize = 3;
/// From so many rows on there is one only, so that the slices' offsets do not cost more than the rest.
const LARGE: usize = 100_000;

/// Batches of one size.
pub struct Batches {
    variants: Vec<RecordBatch>,
    /// Of its columns.
    types: Vec<DataType>,
    sums: Vec<u64>,
}

impl Batches {
    /// Prepares batches of `rows` rows.
    pub fn new(rows: usize) -> Self {
        let variants: Vec<_> = if rows >= LARGE {
            vec![qadataswap_bench::batch(rows)]
        } else {
            let variants = (0..VARIANTS).map(|variant| whole(rows, variant));
            // They share the object that is their schema, as batches of one producer do.
            let schema = qadataswap_bench::batch(0).schema();
            let shared = |batch: RecordBatch| batch.with_schema(schema.clone());
            variants.map(shared).collect::<std::result::Result<_, _>>().expect("the same schema")
        };
        let schema = variants[0].schema();
        let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let sums: Vec<_> = variants.iter().map(|batch| sum(batch, &types)).collect();
        let is_known = |at: usize| sums[..at].contains(&sums[at]);
        assert!(!(0..sums.len()).any(is_known), "each is known by its sum");
        Self { variants, types, sums }
    }

    /// Batch `number`.
    pub fn batch(&self, number: u64) -> &RecordBatch {
        &self.variants[number as usize % self.variants.len()]
    }

    /// Reads a batch, every column of it, and says which of those prepared it is; probably that of `number`.
    #[inline(always)]
    pub fn check(&self, batch: &RecordBatch, number: u64) -> Result<usize> {
        let (sum, likely) = (sum(batch, &self.types), number as usize % self.variants.len());
        if sum == self.sums[likely] {
            return Ok(likely);
        }
        let found = self.sums.iter().position(|known| *known == sum);
        found
            .ok_or_else(|| format!("a batch did not arrive as it was sent (about {number})").into())
    }

    /// Whether batch `number` is that one of those prepared.
    pub fn is(&self, number: u64, variant: usize) -> bool {
        number as usize % self.variants.len() == variant
    }

    /// Bytes of the longest of them as a stream.
    pub fn stream_bytes(&self) -> Result<usize> {
        let mut longest = 0;
        for batch in &self.variants {
            let mut stream = Vec::new();
            encode(batch, &mut stream)?;
            longest = longest.max(stream.len());
        }
        Ok(longest)
    }
}

/// Rows of their own, in arrays of their own.
fn whole(rows: usize, variant: usize) -> RecordBatch {
    let start = FIRST + STEP * variant;
    let slice = qadataswap_bench::batch(start + rows).slice(start, rows);
    let mut stream = Vec::new();
    encode(&slice, &mut stream).expect("encodes");
    let mut buffer = Buffer::from_vec(stream);
    StreamDecoder::new().decode(&mut buffer).expect("decodes").expect("a batch")
}

/// A figure that every byte of the batch goes into.
fn sum(batch: &RecordBatch, types: &[DataType]) -> u64 {
    assert_eq!(batch.num_columns(), types.len());
    let mut sum = batch.num_rows() as u64;
    for (column, data_type) in batch.columns().iter().zip(types) {
        sum = sum.rotate_left(7).wrapping_add(sum_of(column.as_ref(), data_type));
    }
    sum
}

/// Of a column whose type is known, as whoever reads a batch knows it.
fn sum_of(column: &dyn Array, data_type: &DataType) -> u64 {
    let add = |sum: u64, value: u64| sum.wrapping_add(value);
    let values = match data_type {
        DataType::Int64 => {
            let ints = column.as_primitive::<Int64Type>();
            ints.values().iter().map(|value| *value as u64).fold(0, add)
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            floats.values().iter().map(|value| value.to_bits()).fold(0, add)
        }
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            let ends = texts.value_offsets();
            let bytes = &texts.value_data()[ends[0] as usize..ends[ends.len() - 1] as usize];
            bytes.iter().map(|byte| u64::from(*byte)).fold(0, add)
        }
        DataType::Boolean => column.as_boolean().values().count_set_bits() as u64,
        other => unreachable!("the batch has no column of type {other}"),
    };
    values.wrapping_add((column.null_count() as u64) << 32)
}

/// Writes a batch as a whole stream.
pub fn encode(batch: &RecordBatch, out: impl Write) -> Result<()> {
    let mut writer = StreamWriter::try_new(out, batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(())
}

/// Writes a batch as a whole stream to the beginning of `room`: the stream's length.
pub fn encode_into(batch: &RecordBatch, mut room: &mut [u8]) -> Result<usize> {
    let most = room.len();
    encode(batch, &mut room)?;
    Ok(most - room.len())
}

/// The writing end for batches.
pub trait BatchSender {
    fn send_batch(&mut self, batch: &RecordBatch) -> Result<()>;
}

/// The reading end for batches.
pub trait BatchReceiver {
    /// Waits for the next batch and has `read` read it.
    fn receive_batch<R>(&mut self, read: impl FnMut(&RecordBatch) -> R) -> Result<R>;

    /// Batches lost so far.
    fn lost_batches(&self) -> u64;
}

/// Batches from whatever carries bytes, as arrow-ipc decodes them: where the bytes are, without a copy.
pub struct Decoded<R>(pub R);

impl<R: Receiver> BatchReceiver for Decoded<R> {
    fn receive_batch<T>(&mut self, mut read: impl FnMut(&RecordBatch) -> T) -> Result<T> {
        self.0.receive(|bytes| {
            let start = NonNull::from(bytes).cast::<u8>();
            // SAFETY: the bytes are readable, and nobody changes them, until this closure ends; buffer, decoder
            // and batch end before it does, and `read` gets the batch by a reference that it cannot keep. (It
            // could clone the batch; it is always the check, which does not.)
            let mut buffer =
                unsafe { Buffer::from_custom_allocation(start, bytes.len(), Arc::new(())) };
            let mut decoder = StreamDecoder::new();
            let batch = decoder.decode(&mut buffer)?.ok_or("a stream without a batch")?;
            Ok(read(&batch))
        })?
    }

    fn lost_batches(&self) -> u64 {
        self.0.lost()
    }
}
