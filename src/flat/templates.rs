//! The templates that a writer or a reader knows, the latest first.

use std::mem::MaybeUninit;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::recent::Recent;
use super::template::{Template, WORD};
use super::write::Layout;
use crate::codec::{DecodedStream, encode_stream, fault, without_panic};
use crate::ring::Note;

/// How many schemas are kept in mind. Where there are more, they do not push each other out each time: to learn one takes
/// longer than to do without, so that only one in so many of those that are missed is learnt.
const KEPT: usize = 32;
/// Of longer batches, what is in them takes longer to read than their arrays to make.
const MOST_KEPT_BYTES: usize = 1 << 16;

/// The templates of a writer.
#[derive(Debug, Default)]
pub struct Written {
    /// With their numbers, which begin at 1. A schema may have none although its columns are flat.
    known: Vec<(u64, SchemaRef, Option<Layout>)>,
    count: u64,
    missed: usize,
}

impl Written {
    /// The number of the template for a batch, if it has flat columns and rows.
    pub fn find(&mut self, schema: &SchemaRef, batch: &RecordBatch) -> Option<u64> {
        if batch.num_rows() == 0 || !same(schema, batch.schema_ref()) {
            return None;
        }
        match self.known.iter().position(|(_, known, _)| same(known, schema)) {
            Some(index) => to_front(&mut self.known, index),
            None => self.learn(batch)?,
        }
        let (number, known, layout) = &mut self.known[0];
        if !Arc::ptr_eq(known, schema) {
            // The next comparison is likely to be with this one.
            known.clone_from(schema);
        }
        layout.as_ref().map(|_| *number)
    }

    /// The layout of the template of this number, which [`find`](Self::find) has just given.
    ///
    /// # Panics
    /// If it is not that one.
    pub fn layout(&mut self, number: u64) -> &mut Layout {
        match &mut self.known[0] {
            (first, _, Some(layout)) if *first == number => layout,
            _ => panic!("the template that was found last"),
        }
    }

    /// Makes a template for batches like this one.
    fn learn(&mut self, batch: &RecordBatch) -> Option<()> {
        let schema = batch.schema_ref();
        Template::kinds(schema)?;
        if !is_to_learn(self.known.len(), &mut self.missed) {
            return None;
        }
        // A row is as good as all of them.
        let stream = encode_stream(schema, &[batch.slice(0, 1)]).ok()?;
        let parts = stream.parts().iter().flat_map(|part| part.as_slice());
        let template = Template::of_stream(&parts.copied().collect::<Vec<u8>>(), schema);
        self.count += 1;
        self.known.truncate(KEPT - 1);
        self.known.insert(0, (self.count, schema.clone(), template.map(Layout::new)));
        Some(())
    }
}

fn same(one: &SchemaRef, other: &SchemaRef) -> bool {
    Arc::ptr_eq(one, other) || Schema::eq(one, other)
}

/// Whether to learn one that is missing among so many known.
fn is_to_learn(known: usize, missed: &mut usize) -> bool {
    *missed = missed.wrapping_add(1);
    known < KEPT || missed.is_multiple_of(KEPT)
}

#[inline(always)]
fn to_front<T>(list: &mut [T], index: usize) {
    if index > 0 {
        list[..=index].rotate_right(1);
    }
}

/// The templates of a reader.
#[derive(Debug, Default)]
pub struct Read {
    known: Vec<Known>,
    missed: usize,
    /// Metadata of the message that is being read.
    metadata: Vec<u64>,
}

#[derive(Debug)]
struct Known {
    /// What notes say of the template.
    note: Note,
    template: Template,
    /// The last batch that was copied.
    recent: Option<Recent>,
}

impl Read {
    /// Room for the metadata of a message, if its template is known.
    pub fn metadata_of(&mut self, note: &Note) -> Option<&mut [u64]> {
        let found = self.known.iter().position(|known| known.note == *note)?;
        to_front(&mut self.known, found);
        self.metadata.resize(note.metadata_bytes as usize / WORD, 0);
        Some(&mut self.metadata)
    }

    /// Room for what follows that metadata, so many bytes, in the memory of an earlier batch that nobody has any more.
    pub fn room(&mut self, length: usize) -> Option<&mut [MaybeUninit<u8>]> {
        self.known.first_mut()?.recent.as_mut()?.room(length)
    }

    /// Decodes the message whose metadata was just put into [`metadata_of`](Self::metadata_of); `rest` is what
    /// follows it: the body and the end of the stream.
    ///
    /// # Errors
    /// As those of [`decode_stream`](crate::codec::decode_stream).
    pub fn decode(&self, rest: &Buffer, trusted: &UnsafeFlag) -> Result<RecordBatch, ArrowError> {
        let Some(Known { template, .. }) = self.known.first() else {
            return Err(fault("no template"));
        };
        without_panic("decoding a batch", || template.read(&self.metadata, rest, trusted))
    }

    /// The same for a copy of what follows the metadata: `rest`, or if there is none, what is in the
    /// [`room`](Self::room).
    ///
    /// # Errors
    /// The whole stream, if it is not a batch of this template.
    #[inline(always)]
    pub fn decode_copy(&mut self, rest: Option<Buffer>) -> Result<RecordBatch, Buffer> {
        let Some(Known { template, recent, .. }) = self.known.first_mut() else {
            return Err(rest.unwrap_or_default());
        };
        if let Some(rest) = rest {
            *recent = Some(Recent::new(rest));
        }
        let latest = recent.get_or_insert_with(|| Recent::new(Buffer::default()));
        match without_panic("decoding a batch", || latest.read(template, &self.metadata)) {
            Ok(()) => {
                let batch = latest.give(template);
                if latest.rest().len() > MOST_KEPT_BYTES {
                    *recent = None;
                }
                Ok(batch)
            }
            Err(_) => {
                let mut stream = Vec::new();
                let words = template.schema_message.iter().chain(&self.metadata);
                stream.extend(words.flat_map(|word| word.to_le_bytes()));
                stream.extend_from_slice(latest.rest());
                *recent = None;
                Err(Buffer::from_vec(stream))
            }
        }
    }

    /// Keeps the template of a stream that was decoded.
    pub fn learn(&mut self, note: &Note, stream: &[u8], decoded: &DecodedStream) {
        let is_known = self.known.iter().any(|known| known.note == *note);
        if !is_known && !is_to_learn(self.known.len(), &mut self.missed) {
            return;
        }
        if let Some(template) = Template::of_stream(stream, &decoded.schema)
            && template.note(note.template) == *note
        {
            self.known.retain(|known| known.note != *note);
            self.known.truncate(KEPT - 1);
            self.known.insert(0, Known { note: *note, template, recent: None });
        }
    }
}
