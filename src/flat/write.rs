//! Writes a batch of flat columns by its template: only what is new goes to the slot.

use arrow_array::types::{BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{
    Array, BooleanArray, FixedSizeBinaryArray, GenericByteArray, PrimitiveArray, RecordBatch,
    downcast_primitive,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, NullBuffer, ToByteSlice};
use arrow_schema::{ArrowError, DataType};

use super::downcast;
use super::template::{END_OF_STREAM, Kind, Template, WORD};
use crate::codec::{in_field, require_nullable};
use crate::ring::Note;
use crate::ring::words::{self, Way};
use crate::sync::{AtomicU64, Ordering};

/// From this many bytes on a buffer starts at a multiple of 64 bytes, as Arrow recommends; smaller ones do not,
/// because each line costs a transfer.
const LARGE_BUFFER_BYTES: usize = 1024;
const LARGE_ALIGNMENT: usize = 64;
/// What 128 and 256-bit values need.
const WIDE_ALIGNMENT: usize = 16;

/// A longer body may go past the caches, and then its lines need not come.
const MOST_PREPARED_BYTES: usize = 2048;
/// Longer bodies have buffers that go past the caches by themselves; it is not worth to copy them twice.
const MOST_STAGED_BYTES: usize = 16 << 10;

/// A buffer keeps room that is at most twice what it needs, and so many bytes more.
const SPARE_BYTES: usize = 64;

/// A template, and a place for each buffer of the next batch.
#[derive(Debug)]
pub struct Layout {
    template: Template,
    /// One for each buffer, in order.
    places: Vec<Place>,
    /// Rows of the last batch.
    rows: usize,
    /// What streams have in common that differ in the numbers of nulls and in the body alone.
    number: u64,
    /// Memory for a body that is put together before it goes to the slot.
    staged: Vec<AtomicU64>,
}

/// Where a buffer goes.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Words from the start of the body.
    start: usize,
    /// Where the next place starts, or the body ends, likewise.
    end: usize,
    /// Bytes of room.
    room: usize,
    /// Fewest bytes that are not too few for so much room.
    least: usize,
    /// Whether all of the room is listed as the buffer: that of strings is, because where they end is told by the
    /// offsets, and what is listed need not change from batch to batch then.
    is_listed_whole: bool,
}

impl Place {
    fn fits(&self, piece: &Piece<'_>) -> bool {
        (self.least..=self.room).contains(&piece.len)
    }

    /// Place and length of a buffer as the metadata have them.
    fn listed(&self, piece: &Piece<'_>) -> [u64; 2] {
        let len = if self.is_listed_whole { self.room } else { piece.len };
        [(self.start * WORD) as u64, len as u64]
    }
}

impl Layout {
    /// No places yet.
    pub(super) fn new(template: Template) -> Self {
        let kinds = template.kinds.iter().flat_map(|kind| 0..kind.buffers());
        let places = kinds.map(|buffer| Place { is_listed_whole: buffer == 2, ..Place::default() });
        Self { places: places.collect(), template, rows: 0, number: 0, staged: Vec::new() }
    }

    /// What the slots say that hold a stream of this template.
    pub fn note(&self, template: u64) -> Note {
        self.template.note(template)
    }

    /// Identifies the layout among those of this template.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Makes the metadata that of `batch`, which has the template's schema and at least one row, and `pieces` what
    /// goes into its buffers. Returns the length of the stream in bytes.
    ///
    /// Buffers stay where they were for the batch before as long as they fit there and do not waste much, so that the
    /// metadata stay the same too.
    pub fn plan<'a>(
        &mut self,
        batch: &'a RecordBatch,
        pieces: &mut Pieces<'a>,
    ) -> Result<usize, ArrowError> {
        let rows = batch.num_rows();
        let Self { template, places, .. } = self;
        let mut node = template.places.nodes;
        let mut places = places.iter();
        let mut fits = true;
        for (index, (kind, column)) in template.kinds.iter().zip(batch.columns()).enumerate() {
            let column = column.as_ref();
            // One that had a validity bitmap keeps it.
            let has_validity = places.as_slice().first().is_some_and(|place| place.room != 0);
            let mut add = |piece: Piece<'a>| {
                fits &= places.next().is_some_and(|place| place.fits(&piece));
                pieces.0.push(piece);
            };
            let nulls = column.nulls().filter(|nulls| nulls.null_count() != 0);
            let null_count = nulls.map_or(0, NullBuffer::null_count);
            if null_count != 0 {
                let field = template.schema.field(index);
                require_nullable(field, null_count)
                    .map_err(|error| in_field(field.name(), error))?;
            }
            template.metadata[node + 1] = null_count as u64;
            node += 2;
            add(match nulls {
                Some(nulls) => Piece::bits(nulls.inner()),
                None if has_validity => Piece::ones(rows),
                None => Piece::NOTHING,
            });
            add_values(*kind, column, rows, add);
        }
        if !fits || rows != self.rows {
            self.rows = rows;
            self.lay_out(pieces, !fits);
        }
        Ok(self.stream_length())
    }

    /// [`plan`](Self::plan) again, with no more room for any buffer than it needs, and no validity bitmap where there
    /// are no nulls.
    #[cold]
    pub fn plan_tightly(&mut self, pieces: &mut Pieces<'_>) -> usize {
        for (place, piece) in self.places.iter_mut().zip(&mut pieces.0) {
            place.room = 0;
            if piece.is_all_ones() {
                *piece = Piece::NOTHING;
            }
        }
        self.lay_out(pieces, true);
        self.stream_length()
    }

    fn stream_length(&self) -> usize {
        let (schema, metadata) = self.template.lengths();
        schema + metadata + self.body_words() * WORD + WORD
    }

    fn body_words(&self) -> usize {
        self.places.last().map_or(0, |last| last.end)
    }

    /// Tells in the metadata where the buffers are; before that, if told so, it gives
    /// each a place with room for its piece, and as much as it had before unless that is too much.
    #[cold]
    fn lay_out(&mut self, pieces: &Pieces<'_>, do_move: bool) {
        if do_move {
            self.move_places(pieces);
        }
        let body_length = (self.body_words() * WORD) as u64;
        let metadata = &mut self.template.metadata;
        let (nodes, buffers) = (self.template.places.nodes, self.template.places.buffers);
        for index in 0..self.template.kinds.len() {
            metadata[nodes + 2 * index] = self.rows as u64;
        }
        let listed =
            self.places.iter().zip(&pieces.0).flat_map(|(place, piece)| place.listed(piece));
        for (word, listed) in metadata[buffers..].iter_mut().zip(listed) {
            *word = listed;
        }
        metadata[self.template.places.rows] = self.rows as u64;
        metadata[self.template.places.body_length] = body_length;
        self.number += 1;
    }

    /// Gives each buffer a place.
    fn move_places(&mut self, pieces: &Pieces<'_>) {
        let kinds = self.template.kinds.iter();
        let kinds = kinds.flat_map(|kind| std::iter::repeat_n(*kind, kind.buffers()));
        let mut end = 0;
        for (index, (piece, kind)) in pieces.0.iter().zip(kinds).enumerate() {
            let (len, had) = (piece.len, self.places[index].room);
            let room = if had <= most_room(len) { had.max(len) } else { len };
            let alignment = match kind {
                _ if room >= LARGE_BUFFER_BYTES => LARGE_ALIGNMENT,
                Kind::Fixed(width) if width > WORD => WIDE_ALIGNMENT,
                _ => WORD,
            };
            let start = usize::next_multiple_of(end, alignment);
            if index > 0 {
                self.places[index - 1].end = start / WORD;
            }
            let room = room.next_multiple_of(WORD);
            end = start + room;
            let least = room.saturating_sub(SPARE_BYTES).div_ceil(2);
            let place = &mut self.places[index];
            *place = Place { start: start / WORD, end: end / WORD, room, least, ..*place };
        }
    }

    /// Asks for the lines of a slot that another stream of the same layout will change.
    pub fn prepare(&self, slot: &[AtomicU64]) {
        let template = &self.template;
        let metadata = template.schema_message.len();
        let body = metadata + template.metadata.len();
        let words = self.body_words() + 1;
        let end = if words * WORD <= MOST_PREPARED_BYTES { body + words } else { body };
        for range in [metadata + template.nodes().start..metadata + template.nodes().end, body..end]
        {
            // It may be a smaller slot.
            words::prepare(slot.get(range).unwrap_or_default());
        }
    }

    /// Stores the stream of the batch last [planned](Self::plan) to the start of `slot`, where there is something
    /// already.
    pub fn store(&mut self, pieces: &Pieces<'_>, slot: &[AtomicU64], there: There, way: Way) {
        let template = &self.template;
        let (schema, rest) = slot.split_at(template.schema_message.len());
        let (metadata, body) = rest.split_at(template.metadata.len());
        match there {
            There::Layout => {
                let nodes = template.nodes();
                words::store_changed(&metadata[nodes.clone()], &template.metadata[nodes]);
            }
            There::Template => words::store_changed(metadata, &template.metadata),
            There::Other => {
                words::store_all(schema, &template.schema_message);
                words::store_all(metadata, &template.metadata);
            }
        }
        // Small buffers go past the caches together or not at all.
        let end = self.body_words();
        if way == Way::PastCaches && end * WORD <= MOST_STAGED_BYTES {
            self.staged.resize_with(end + 1, AtomicU64::default);
            store_body(&self.places, pieces, &self.staged[..=end], Way::Cached);
            words::copy_by(way, body, &self.staged[..=end]);
        } else {
            store_body(&self.places, pieces, &body[..=end], way);
        }
    }
}

/// Stores what goes into the buffers to their places in `body`, and what ends the stream to its last word.
fn store_body(places: &[Place], pieces: &Pieces<'_>, body: &[AtomicU64], way: Way) {
    for (place, piece) in places.iter().zip(&pieces.0) {
        let room = &body[place.start..place.end];
        piece.store(room, way);
        // Nothing older shows through, and strings end with what is one.
        for word in &room[piece.len.div_ceil(WORD)..] {
            // Relaxed, like all payload.
            word.store(0, Ordering::Relaxed);
        }
    }
    if let Some(last) = body.last() {
        // Relaxed, likewise.
        last.store(END_OF_STREAM, Ordering::Relaxed);
    }
}

/// What is in a slot from an earlier lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Anything.
    Other,
    /// A stream of this template.
    Template,
    /// One of the same layout too.
    Layout,
}

/// What goes into the buffers of a batch, in order.
#[derive(Debug, Default)]
pub struct Pieces<'a>(Vec<Piece<'a>>);

impl Pieces<'_> {
    /// The memory alone, for another batch.
    pub fn emptied<'b>(mut self) -> Pieces<'b> {
        self.0.clear();
        // The standard library collects into the same memory.
        Pieces(self.0.into_iter().map(|_| Piece::NOTHING).collect())
    }
}

/// A word with its first bits set, of which there are 1 to 64.
fn first_bits(count: usize) -> u64 {
    (u64::MAX >> (64 - count)).to_le()
}

/// The most room that a buffer of so many bytes keeps.
fn most_room(len: usize) -> usize {
    2 * len + SPARE_BYTES
}

/// What goes into one buffer.
#[derive(Debug)]
struct Piece<'a> {
    /// Bytes that it takes.
    len: usize,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Bytes(&'a [u8]),
    /// As [`Ones`](Self::Ones), where they are in one word: this.
    Word(u64),
    /// So many bits that are set.
    Ones(usize),
    /// Bits that do not begin with a byte.
    Bits(&'a BooleanBuffer),
    /// Offsets, to be counted from the first.
    Offsets32(&'a [i32]),
    Offsets64(&'a [i64]),
}

impl<'a> Piece<'a> {
    const NOTHING: Self = Self { len: 0, source: Source::Bytes(&[]) };

    fn is_all_ones(&self) -> bool {
        matches!(self.source, Source::Ones(_) | Source::Word(_))
    }

    fn bytes(bytes: &'a [u8]) -> Self {
        Self { len: bytes.len(), source: Source::Bytes(bytes) }
    }

    fn ones(bits: usize) -> Self {
        let source = if bits > 64 { Source::Ones(bits) } else { Source::Word(first_bits(bits)) };
        Self { len: bits.div_ceil(8), source }
    }

    fn bits(bits: &'a BooleanBuffer) -> Self {
        let len = bits.len().div_ceil(8);
        if bits.offset().is_multiple_of(8) {
            let start = bits.offset() / 8;
            return Self::bytes(&bits.inner()[start..start + len]);
        }
        Self { len, source: Source::Bits(bits) }
    }

    fn offsets32(offsets: &'a [i32]) -> Self {
        let source = match offsets[0] {
            0 => Source::Bytes(offsets.to_byte_slice()),
            _ => Source::Offsets32(offsets),
        };
        Self { len: size_of_val(offsets), source }
    }

    fn offsets64(offsets: &'a [i64]) -> Self {
        let source = match offsets[0] {
            0 => Source::Bytes(offsets.to_byte_slice()),
            _ => Source::Offsets64(offsets),
        };
        Self { len: size_of_val(offsets), source }
    }

    #[inline(always)]
    fn store(&self, to: &[AtomicU64], way: Way) {
        match self.source {
            Source::Bytes(bytes) => words::store_by(way, to, bytes),
            // Relaxed, like all payload.
            Source::Word(word) => to[0].store(word, Ordering::Relaxed),
            _ => self.store_made(to),
        }
    }

    /// Stores what is not in the arrays as it is to be.
    #[inline(never)]
    fn store_made(&self, to: &[AtomicU64]) {
        let to = &to[..self.len.div_ceil(WORD)];
        match self.source {
            Source::Bytes(bytes) => words::store(to, bytes),
            Source::Word(word) => words::store_each(to, [word].into_iter()),
            Source::Ones(bits) => {
                let ones = (0..to.len()).map(|word| first_bits((bits - 64 * word).min(64)));
                words::store_each(to, ones);
            }
            Source::Bits(bits) => words::store_each(to, bits.bit_chunks().iter_padded()),
            Source::Offsets32(offsets) => {
                let from = |offset: Option<&i32>| offset.map_or(0, |o| (o - offsets[0]) as u32);
                let pairs = offsets.chunks(2);
                words::store_each(
                    to,
                    pairs.map(|pair| {
                        u64::from(from(pair.first())) | u64::from(from(pair.get(1))) << 32
                    }),
                );
            }
            Source::Offsets64(offsets) => {
                words::store_each(to, offsets.iter().map(|offset| (offset - offsets[0]) as u64));
            }
        }
    }
}

/// Adds what goes into the buffers of a column after its validity bitmap.
#[inline(always)]
fn add_values<'a>(kind: Kind, column: &'a dyn Array, rows: usize, mut add: impl FnMut(Piece<'a>)) {
    match (kind, column.data_type()) {
        // An array may have bytes after its last value that are less than one.
        (Kind::Fixed(width), _) => add(Piece::bytes(&fixed(column)[..rows * width])),
        (Kind::Bits, _) => add(Piece::bits(downcast::<BooleanArray>(column).values())),
        (Kind::Offsets32, DataType::Utf8) => add_bytes::<Utf8Type>(column, add, Piece::offsets32),
        (Kind::Offsets32, _) => add_bytes::<BinaryType>(column, add, Piece::offsets32),
        (Kind::Offsets64, DataType::LargeUtf8) => {
            add_bytes::<LargeUtf8Type>(column, add, Piece::offsets64);
        }
        (Kind::Offsets64, _) => add_bytes::<LargeBinaryType>(column, add, Piece::offsets64),
    }
}

/// Adds offsets, and the bytes between the first and the last.
#[inline(always)]
fn add_bytes<'a, T: ByteArrayType>(
    column: &'a dyn Array,
    mut add: impl FnMut(Piece<'a>),
    piece: impl FnOnce(&'a [T::Offset]) -> Piece<'a>,
) {
    let column = downcast::<GenericByteArray<T>>(column);
    let offsets = column.value_offsets();
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    add(piece(offsets));
    add(Piece::bytes(&column.value_data()[first..last]));
}

/// The values of a column of fixed width.
fn fixed(column: &dyn Array) -> &[u8] {
    macro_rules! primitive {
        ($t:ty) => {
            downcast::<PrimitiveArray<$t>>(column).values().inner()
        };
    }
    downcast_primitive! {
        column.data_type() => (primitive),
        _ => downcast::<FixedSizeBinaryArray>(column).value_data(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;
    use crate::flat::Written;

    fn batch(rows: usize) -> RecordBatch {
        let number = |row: usize| (row % 7 != 3).then_some(row as i64);
        let numbers: Int64Array = (0..rows).map(number).collect();
        let texts: StringArray = (0..rows).map(|row| Some("x".repeat(row % 9))).collect();
        let flags: BooleanArray = (0..rows).map(|row| Some(row % 3 == 0)).collect();
        let columns: [(&str, ArrayRef); 3] =
            [("n", Arc::new(numbers)), ("text", Arc::new(texts)), ("flag", Arc::new(flags))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    /// What a slot holds, in which something else was before.
    fn stored(layout: &mut Layout, pieces: &Pieces<'_>, length: usize, way: Way) -> Vec<u64> {
        let before = 0xeeee_eeee_eeee_eeee;
        let slot: Vec<_> = (0..length / WORD + 3).map(|_| AtomicU64::new(before)).collect();
        layout.store(pieces, &slot, There::Other, way);
        let words: Vec<_> = slot.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(words[length / WORD..], [before; 3], "stored beyond the end");
        words
    }

    #[test]
    fn each_way_stores_the_same() {
        let mut written = Written::default();
        // To the longest body that is put together first, and beyond; and back, so that there is memory to be used again.
        for rows in [1, 60, 100, 127, 128, 400, 700, 900, 3_000, 100, 1] {
            let batch = batch(rows);
            let number = written.find(batch.schema_ref(), &batch).expect("flat columns");
            let layout = written.layout(number);
            let mut pieces = Pieces::default();
            let length = layout.plan(&batch, &mut pieces).unwrap();
            let cached = stored(layout, &pieces, length, Way::Cached);
            assert_eq!(stored(layout, &pieces, length, Way::PastCaches), cached, "{rows} rows");
        }
    }
}
