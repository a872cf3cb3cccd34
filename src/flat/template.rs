//! Batches of one schema, again and again: what stays the same in their streams, and where the rest is.
//!
//! In a stream of one batch with *flat* columns (numbers, times, booleans, strings: those that are their
//! buffers and nothing else) the schema message is the same every time, and so is the metadata of the record
//! batch message, but for a few numbers: rows, lengths and nulls. A [`Template`] is such a stream without its
//! body, taken apart once. With it `flat_write` makes the next stream of that schema, and `flat_read` reads it,
//! without arrow-ipc; the stream is one that any Arrow implementation reads.

use arrow_ipc::{Message, MetadataVersion, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::codec::next_frame;
use crate::ring::Note;

/// Bytes of a word; everything here is made of whole words.
pub(super) const WORD: usize = 8;
/// What ends a stream.
pub(super) const END_OF_STREAM: u64 = 0xffff_ffff;

/// What a column is made of, after its validity bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values of so many bytes each.
    Fixed(usize),
    /// A bit for each row.
    Bits,
    /// Offsets of four bytes, and the bytes they refer to.
    Offsets32,
    /// Offsets of eight bytes, and the bytes they refer to.
    Offsets64,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bits,
            DataType::Utf8 | DataType::Binary => Self::Offsets32,
            DataType::LargeUtf8 | DataType::LargeBinary => Self::Offsets64,
            DataType::FixedSizeBinary(width) if *width > 0 => Self::Fixed(*width as usize),
            other => Self::Fixed(other.primitive_width()?),
        })
    }

    /// Buffers of such a column.
    pub(super) fn buffers(self) -> usize {
        match self {
            Self::Fixed(_) | Self::Bits => 2,
            Self::Offsets32 | Self::Offsets64 => 3,
        }
    }
}

/// Where the numbers are that differ from batch to batch, in words of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Length of the body in bytes.
    pub(super) body_length: usize,
    /// Number of rows.
    pub(super) rows: usize,
    /// For each column: rows, nulls.
    pub(super) nodes: usize,
    /// For each buffer: where it starts in the body, its length, in bytes.
    pub(super) buffers: usize,
}

/// A stream of one batch without its body.
#[derive(Debug)]
pub struct Template {
    pub(super) schema: SchemaRef,
    pub(super) kinds: Vec<Kind>,
    /// The schema message, with its framing.
    pub(super) schema_message: Vec<u64>,
    /// The record batch message up to its body.
    pub(super) metadata: Vec<u64>,
    pub(super) places: Places,
    /// Ranges of words of the metadata that are the same in every batch.
    constant: Vec<std::ops::Range<usize>>,
}

impl Template {
    /// The template of a stream that has been decoded to one batch of `schema`; `None` if its columns are not
    /// all flat, or if it is put together in an unusual way.
    pub fn of_stream(stream: &[u8], schema: &SchemaRef) -> Option<Self> {
        let kinds = Self::kinds(schema)?;
        let mut position = 0;
        next_frame(stream, &mut position).ok()??;
        let schema_end = position;
        let frame = next_frame(stream, &mut position).ok()??;
        let batch = frame.message.header_as_record_batch()?;
        if words(&stream[position..])? != [END_OF_STREAM]
            || frame.message.version() != MetadataVersion::V5
            || batch.compression().is_some()
        {
            return None;
        }
        let (schema_message, metadata) = stream[..frame.body.start].split_at(schema_end);
        let places = places(metadata, &frame.message, &batch, &kinds)?;
        let constant = constant(places, &kinds, metadata.len() / WORD)?;
        Some(Self {
            schema: schema.clone(),
            schema_message: words(schema_message)?,
            metadata: words(metadata)?,
            places,
            constant,
            kinds,
        })
    }

    /// The words of the metadata that tell of each column how many rows and nulls it has.
    pub(super) fn nodes(&self) -> std::ops::Range<usize> {
        self.places.nodes..self.places.nodes + 2 * self.kinds.len()
    }

    /// What the columns are made of; `None` if they are not all flat, or if there are none.
    pub(super) fn kinds(schema: &Schema) -> Option<Vec<Kind>> {
        let kinds: Option<Vec<_>> =
            schema.fields().iter().map(|field| Kind::of(field.data_type())).collect();
        kinds.filter(|kinds| !kinds.is_empty())
    }

    /// Bytes before the record batch message, and of that before its body.
    pub fn lengths(&self) -> (usize, usize) {
        (self.schema_message.len() * WORD, self.metadata.len() * WORD)
    }

    /// What a slot says that holds a stream of this template.
    pub fn note(&self, template: u64) -> Note {
        let (schema, metadata) = self.lengths();
        Note { template, schema_bytes: schema as u32, metadata_bytes: metadata as u32 }
    }

    /// Whether these are metadata of batches with as many rows, and with all buffers in the same places.
    pub(super) fn are_alike(&self, one: &[u64], other: &[u64]) -> bool {
        let nodes = self.nodes();
        one.len() == other.len()
            && one.len() == self.metadata.len()
            && one[..nodes.start] == other[..nodes.start]
            && one[nodes.end..] == other[nodes.end..]
    }

    /// Whether this is the metadata of a batch of this template.
    pub(super) fn fits(&self, metadata: &[u64]) -> bool {
        self.metadata.len() == metadata.len()
            && self
                .constant
                .iter()
                .all(|range| metadata[range.clone()] == self.metadata[range.clone()])
    }
}

/// The bytes as words, if they are whole ones.
fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    rest.is_empty().then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

fn buffer_count(kinds: &[Kind]) -> usize {
    kinds.iter().map(|kind| kind.buffers()).sum()
}

/// Where the numbers of the batch are in its metadata.
fn places(
    metadata: &[u8],
    message: &Message<'_>,
    batch: &RecordBatch<'_>,
    kinds: &[Kind],
) -> Option<Places> {
    let (nodes, buffers) = (batch.nodes()?, batch.buffers()?);
    let unusual = nodes.len() != kinds.len()
        || buffers.len() != buffer_count(kinds)
        || batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty());
    if unusual {
        return None;
    }
    // A table's fields are where its vtable says, counted from the table; zero for one that is left out.
    let message_field = message._tab.vtable().get(Message::VT_BODYLENGTH);
    let batch_field = batch._tab.vtable().get(RecordBatch::VT_LENGTH);
    if message_field == 0 || batch_field == 0 {
        return None;
    }
    let fields = message._tab.buf();
    let place = |bytes: &[u8]| {
        let offset = (bytes.as_ptr() as usize).checked_sub(metadata.as_ptr() as usize)?;
        (offset % WORD == 0 && offset < metadata.len()).then_some(offset / WORD)
    };
    Some(Places {
        body_length: place(&fields[message._tab.loc() + usize::from(message_field)..])?,
        rows: place(&fields[batch._tab.loc() + usize::from(batch_field)..])?,
        nodes: place(nodes.bytes())?,
        buffers: place(buffers.bytes())?,
    })
}

/// What is between these places; `None` if they overlap.
fn constant(places: Places, kinds: &[Kind], len: usize) -> Option<Vec<std::ops::Range<usize>>> {
    let mut variable = [
        (places.body_length, 1),
        (places.rows, 1),
        (places.nodes, 2 * kinds.len()),
        (places.buffers, 2 * buffer_count(kinds)),
    ];
    variable.sort();
    let mut from = 0;
    let mut constant = Vec::new();
    for (start, count) in variable {
        if start < from || start + count > len {
            return None;
        }
        constant.push(from..start);
        from = start + count;
    }
    constant.push(from..len);
    Some(constant)
}
