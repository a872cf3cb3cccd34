//! Writes a batch of flat columns by its template: only what is new goes to the slot.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, downcast_primitive_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, ToByteSlice};
use arrow_schema::{ArrowError, DataType};

use super::template::{END_OF_STREAM, Kind, Template, WORD};
use crate::codec::{in_field, require_nullability};
use crate::ring::words;
use crate::sync::{AtomicU64, Ordering};

/// From this many bytes on a buffer starts at a multiple of 64 bytes, as Arrow recommends; smaller ones do not,
/// because each line costs a transfer.
const LARGE_BUFFER_BYTES: usize = 1024;
const LARGE_ALIGNMENT: usize = 64;
/// What 128 and 256-bit values need.
const WIDE_ALIGNMENT: usize = 16;

impl Template {
    /// Makes the metadata that of `batch`, which has the template's schema and at least one row. Returns the
    /// length of the stream in bytes.
    pub fn plan(&mut self, batch: &RecordBatch) -> Result<usize, ArrowError> {
        let rows = batch.num_rows() as u64;
        let (mut node, mut buffer) = (self.places.nodes, self.places.buffers);
        let mut end = 0;
        for (index, (kind, column)) in self.kinds.iter().zip(batch.columns()).enumerate() {
            let nulls = column.null_count() as u64;
            if nulls != 0 {
                let field = self.schema.field(index);
                require_nullability(field, column)
                    .map_err(|error| in_field(field.name(), error))?;
            }
            self.metadata[node] = rows;
            self.metadata[node + 1] = nulls;
            node += 2;
            for piece in &pieces(*kind, column)[..kind.buffers()] {
                let len = piece.len();
                let alignment = match kind {
                    _ if len >= LARGE_BUFFER_BYTES => LARGE_ALIGNMENT,
                    Kind::Fixed(width) if *width > WORD => WIDE_ALIGNMENT,
                    _ => WORD,
                };
                let start = usize::next_multiple_of(end, alignment);
                self.metadata[buffer] = start as u64;
                self.metadata[buffer + 1] = len as u64;
                buffer += 2;
                end = start + len;
            }
        }
        let body = end.next_multiple_of(WORD);
        self.metadata[self.places.rows] = rows;
        self.metadata[self.places.body_length] = body as u64;
        let (schema, metadata) = self.lengths();
        Ok(schema + metadata + body + WORD)
    }

    /// Stores the stream of the batch last [planned](Self::plan) to the start of `slot`. If `again`, what was
    /// last stored there was a stream of this template.
    pub fn store(&self, batch: &RecordBatch, slot: &[AtomicU64], again: bool) {
        let (schema, rest) = slot.split_at(self.schema_message.len());
        let (metadata, body) = rest.split_at(self.metadata.len());
        if again {
            words::store_changed(metadata, &self.metadata);
        } else {
            words::store_all(schema, &self.schema_message);
            words::store_all(metadata, &self.metadata);
        }
        let (mut buffer, mut end) = (self.places.buffers, 0);
        for (kind, column) in self.kinds.iter().zip(batch.columns()) {
            for piece in &pieces(*kind, column)[..kind.buffers()] {
                let (start, len) = (self.metadata[buffer], self.metadata[buffer + 1]);
                let start = start as usize / WORD;
                // Nothing older shows through where a buffer is aligned.
                words::store_each(&body[end..start], std::iter::repeat(0));
                piece.store(&body[start..]);
                end = start + (len as usize).div_ceil(WORD);
                buffer += 2;
            }
        }
        let end = self.metadata[self.places.body_length] as usize / WORD;
        // Relaxed, like all payload.
        body[end].store(END_OF_STREAM, Ordering::Relaxed);
    }
}

/// What goes into one buffer.
enum Piece<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Bits(&'a BooleanBuffer),
    /// Offsets, to be counted from the first.
    Offsets32(&'a [i32]),
    Offsets64(&'a [i64]),
}

impl Piece<'_> {
    /// Bytes it takes.
    fn len(&self) -> usize {
        match self {
            Piece::Nothing => 0,
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Bits(bits) => bits.len().div_ceil(8),
            Piece::Offsets32(offsets) => size_of_val(*offsets),
            Piece::Offsets64(offsets) => size_of_val(*offsets),
        }
    }

    fn store(&self, to: &[AtomicU64]) {
        match self {
            Piece::Nothing => {}
            Piece::Bytes(bytes) => words::store(to, bytes),
            Piece::Bits(bits) if bits.offset() % 8 == 0 => {
                let start = bits.offset() / 8;
                words::store(to, &bits.inner()[start..start + self.len()]);
            }
            Piece::Bits(bits) => {
                words::store_each(
                    to,
                    bits.bit_chunks().iter_padded().take(bits.len().div_ceil(64)),
                );
            }
            Piece::Offsets32(offsets) if offsets[0] == 0 => words::store(to, bytes_of(offsets)),
            Piece::Offsets32(offsets) => {
                let from = |offset: Option<&i32>| offset.map_or(0, |o| (o - offsets[0]) as u32);
                let pairs = offsets.chunks(2);
                words::store_each(
                    to,
                    pairs.map(|pair| {
                        u64::from(from(pair.first())) | u64::from(from(pair.get(1))) << 32
                    }),
                );
            }
            Piece::Offsets64(offsets) if offsets[0] == 0 => words::store(to, bytes_of(offsets)),
            Piece::Offsets64(offsets) => {
                words::store_each(to, offsets.iter().map(|offset| (offset - offsets[0]) as u64));
            }
        }
    }
}

/// The buffers of a column, in order.
fn pieces<'a>(kind: Kind, column: &'a dyn Array) -> [Piece<'a>; 3] {
    let validity = match column.nulls() {
        Some(nulls) if nulls.null_count() != 0 => Piece::Bits(nulls.inner()),
        _ => Piece::Nothing,
    };
    let [values, bytes] = match kind {
        Kind::Fixed(_) => [Piece::Bytes(fixed(column)), Piece::Nothing],
        Kind::Bits => [Piece::Bits(column.as_boolean().values()), Piece::Nothing],
        Kind::Offsets32 => {
            let (offsets, bytes) = match column.data_type() {
                DataType::Utf8 => {
                    (column.as_string::<i32>().offsets(), column.as_string::<i32>().values())
                }
                _ => (column.as_binary::<i32>().offsets(), column.as_binary::<i32>().values()),
            };
            [Piece::Offsets32(offsets), referred(offsets, bytes)]
        }
        Kind::Offsets64 => {
            let (offsets, bytes) = match column.data_type() {
                DataType::LargeUtf8 => {
                    (column.as_string::<i64>().offsets(), column.as_string::<i64>().values())
                }
                _ => (column.as_binary::<i64>().offsets(), column.as_binary::<i64>().values()),
            };
            [Piece::Offsets64(offsets), referred(offsets, bytes)]
        }
    };
    [validity, values, bytes]
}

/// The bytes between the first and the last offset.
fn referred<'a, O: ArrowNativeType>(offsets: &[O], bytes: &'a [u8]) -> Piece<'a> {
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    Piece::Bytes(&bytes[first..last])
}

/// The values of a column of fixed width.
fn fixed(column: &dyn Array) -> &[u8] {
    downcast_primitive_array!(
        column => column.values().inner().as_slice(),
        _ => column.as_fixed_size_binary().value_data()
    )
}

fn bytes_of<T: ArrowNativeType>(values: &[T]) -> &[u8] {
    values.to_byte_slice()
}
