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

/// A buffer keeps room that is at most twice what it needs, and so many bytes more.
const SPARE_BYTES: usize = 64;

impl Template {
    /// Makes the metadata that of `batch`, which has the template's schema and at least one row. Returns the
    /// length of the stream in bytes.
    ///
    /// Buffers stay where they were for the batch before as long as they fit there and do not waste much, so that the
    /// metadata stays the same too.
    pub fn plan(&mut self, batch: &RecordBatch, pieces: &Pieces<'_>) -> Result<usize, ArrowError> {
        let rows = batch.num_rows() as u64;
        let (mut node, mut buffer) = (self.places.nodes, self.places.buffers);
        let mut fits = true;
        for (index, kind) in self.kinds.iter().enumerate() {
            let column = &pieces.0[index];
            if column.nulls != 0 {
                let field = self.schema.field(index);
                require_nullability(field, batch.column(index))
                    .map_err(|error| in_field(field.name(), error))?;
            }
            self.metadata[node] = rows;
            self.metadata[node + 1] = column.nulls as u64;
            node += 2;
            for piece in &column.pieces[..kind.buffers()] {
                let (len, room) = (piece.len(), self.room(buffer));
                fits &= len <= room && room <= most_room(len);
                self.metadata[buffer + 1] = piece.listed(room) as u64;
                buffer += 2;
            }
        }
        self.metadata[self.places.rows] = rows;
        if !fits {
            self.lay_out(pieces);
        }
        Ok(self.stream_length())
    }

    /// [`plan`](Self::plan) again, with no more room for any buffer than it needs, and no validity bitmap where there
    /// are no nulls.
    #[cold]
    pub fn plan_tightly(&mut self, pieces: &mut Pieces<'_>) -> usize {
        self.forget_layout();
        for validity in pieces.0.iter_mut().map(|column| &mut column.pieces[0]) {
            if let Piece::Ones(_) = validity {
                *validity = Piece::Nothing;
            }
        }
        self.lay_out(pieces);
        self.stream_length()
    }

    fn stream_length(&self) -> usize {
        let (schema, metadata) = self.lengths();
        schema + metadata + self.metadata[self.places.body_length] as usize + WORD
    }

    /// Gives each buffer a place with room for its piece, and as much as it had before unless that is
    /// too much.
    #[cold]
    fn lay_out(&mut self, pieces: &Pieces<'_>) {
        let mut buffer = self.places.buffers;
        let mut end = 0;
        for (index, kind) in self.kinds.iter().enumerate() {
            for piece in &pieces.0[index].pieces[..kind.buffers()] {
                let (len, had) = (piece.len(), self.room(buffer));
                let room = if had <= most_room(len) { had.max(len) } else { len };
                let alignment = match kind {
                    _ if room >= LARGE_BUFFER_BYTES => LARGE_ALIGNMENT,
                    Kind::Fixed(width) if *width > WORD => WIDE_ALIGNMENT,
                    _ => WORD,
                };
                let start = usize::next_multiple_of(end, alignment);
                end = (start + room).next_multiple_of(WORD);
                self.metadata[buffer] = start as u64;
                self.metadata[buffer + 1] = piece.listed(end - start) as u64;
                buffer += 2;
            }
        }
        self.metadata[self.places.body_length] = end as u64;
    }

    /// Bytes from the start of a buffer, whose place `buffer` is, to that of the next, or to the end of the body.
    fn room(&self, buffer: usize) -> usize {
        let next = if buffer + 2 == self.places.buffers + 2 * self.buffer_count {
            self.places.body_length
        } else {
            buffer + 2
        };
        (self.metadata[next] - self.metadata[buffer]) as usize
    }

    /// Stores the stream of the batch last [planned](Self::plan) to the start of `slot`. If `again`, what was
    /// last stored there was a stream of this template.
    pub fn store(&self, pieces: &Pieces<'_>, slot: &[AtomicU64], again: bool) {
        let (schema, rest) = slot.split_at(self.schema_message.len());
        let (metadata, body) = rest.split_at(self.metadata.len());
        if again {
            words::store_changed(metadata, &self.metadata);
        } else {
            words::store_all(schema, &self.schema_message);
            words::store_all(metadata, &self.metadata);
        }
        let mut buffer = self.places.buffers;
        for (index, kind) in self.kinds.iter().enumerate() {
            for piece in &pieces.0[index].pieces[..kind.buffers()] {
                let start = self.metadata[buffer] as usize / WORD;
                let room = &body[start..start + self.room(buffer) / WORD];
                piece.store(room);
                // Nothing older shows through, and strings end with what is one.
                let after = &room[piece.len().div_ceil(WORD)..];
                words::store_each(after, std::iter::repeat(0));
                buffer += 2;
            }
        }
        let end = self.metadata[self.places.body_length] as usize / WORD;
        // Relaxed, like all payload.
        body[end].store(END_OF_STREAM, Ordering::Relaxed);
    }

    /// What goes into the buffers of a batch, which has the template's schema, in memory of earlier ones.
    pub fn pieces<'a>(&self, batch: &'a RecordBatch, memory: Pieces<'_>) -> Pieces<'a> {
        let mut columns = memory.emptied().0;
        let mut buffer = self.places.buffers;
        columns.extend(self.kinds.iter().zip(batch.columns()).map(|(kind, column)| {
            // One that had a validity bitmap keeps it.
            let has_validity = self.metadata[buffer + 1] != 0;
            buffer += 2 * kind.buffers();
            Column::of(*kind, column.as_ref(), has_validity)
        }));
        Pieces(columns)
    }
}

/// What goes into the buffers of a batch, column by column.
#[derive(Debug, Default)]
pub struct Pieces<'a>(Vec<Column<'a>>);

impl Pieces<'_> {
    /// The memory alone, for another batch.
    pub fn emptied<'b>(mut self) -> Pieces<'b> {
        self.0.clear();
        // The standard library collects into the same memory.
        Pieces(self.0.into_iter().map(|_| Column::default()).collect())
    }
}

/// What goes into the buffers of a column, in order.
#[derive(Debug, Default)]
struct Column<'a> {
    nulls: usize,
    pieces: [Piece<'a>; 3],
}

/// The most room that a buffer of so many bytes keeps.
fn most_room(len: usize) -> usize {
    2 * len + SPARE_BYTES
}

/// What goes into one buffer.
#[derive(Debug, Default)]
enum Piece<'a> {
    #[default]
    Nothing,
    /// Values of fixed width.
    Values(&'a [u8]),
    /// What offsets refer to.
    Bytes(&'a [u8]),
    /// So many bits that are set.
    Ones(usize),
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
            Piece::Values(bytes) | Piece::Bytes(bytes) => bytes.len(),
            Piece::Ones(bits) => bits.div_ceil(8),
            Piece::Bits(bits) => bits.len().div_ceil(8),
            Piece::Offsets32(offsets) => size_of_val(*offsets),
            Piece::Offsets64(offsets) => size_of_val(*offsets),
        }
    }

    /// Length that the metadata tells, with so much room. That of strings is all their room: where they end is told
    /// by the offsets, and as the metadata has it, it need not change from batch to batch.
    fn listed(&self, room: usize) -> usize {
        if let Piece::Bytes(_) = self { room } else { self.len() }
    }

    fn store(&self, to: &[AtomicU64]) {
        match self {
            Piece::Nothing => {}
            Piece::Values(bytes) | Piece::Bytes(bytes) => words::store(to, bytes),
            Piece::Ones(bits) => {
                let ones = |word: usize| match bits - 64 * word {
                    64.. => u64::MAX,
                    left => (1 << left) - 1,
                };
                words::store_each(to, (0..bits.div_ceil(64)).map(ones));
            }
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

impl<'a> Column<'a> {
    fn of(kind: Kind, column: &'a dyn Array, has_validity: bool) -> Self {
        let (nulls, validity) = match column.nulls() {
            Some(nulls) if nulls.null_count() != 0 => {
                (nulls.null_count(), Piece::Bits(nulls.inner()))
            }
            _ if has_validity => (0, Piece::Ones(column.len())),
            _ => (0, Piece::Nothing),
        };
        let [values, bytes] = match kind {
            // An array may have bytes after its last value that are less than one.
            Kind::Fixed(width) => {
                [Piece::Values(&fixed(column)[..column.len() * width]), Piece::Nothing]
            }
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
        Self { nulls, pieces: [validity, values, bytes] }
    }
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
