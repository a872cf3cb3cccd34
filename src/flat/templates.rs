//! The templates that a writer or a reader knows, the latest first.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::template::{END_OF_STREAM, Template, WORD};
use crate::codec::{DecodedStream, encode_stream, fault, without_panic};
use crate::ring::Note;

/// How many schemas are kept in mind.
const KEPT: usize = 8;

/// The templates of a writer.
#[derive(Debug, Default)]
pub struct Written {
    /// With their numbers, which begin at 1. A schema may have none although its columns are flat.
    known: Vec<(u64, SchemaRef, Option<Template>)>,
    count: u64,
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
        let (number, known, template) = &mut self.known[0];
        if !Arc::ptr_eq(known, schema) {
            // The next comparison is likely to be with this one.
            known.clone_from(schema);
        }
        template.as_ref().map(|_| *number)
    }

    /// The template of this number, which [`find`](Self::find) has just given.
    ///
    /// # Panics
    /// If it is not that one.
    pub fn template(&mut self, number: u64) -> &mut Template {
        match &mut self.known[0] {
            (first, _, Some(template)) if *first == number => template,
            _ => panic!("the template that was found last"),
        }
    }

    /// Makes a template for batches like this one.
    fn learn(&mut self, batch: &RecordBatch) -> Option<()> {
        let schema = batch.schema_ref();
        Template::kinds(schema)?;
        // A row is as good as all of them.
        let stream = encode_stream(schema, &[batch.slice(0, 1)]).ok()?;
        let parts = stream.parts().iter().flat_map(|part| part.as_slice());
        let template = Template::of_stream(&parts.copied().collect::<Vec<u8>>(), schema);
        self.count += 1;
        self.known.truncate(KEPT - 1);
        self.known.insert(0, (self.count, schema.clone(), template));
        Some(())
    }
}

fn same(one: &SchemaRef, other: &SchemaRef) -> bool {
    Arc::ptr_eq(one, other) || Schema::eq(one, other)
}

fn to_front<T>(list: &mut [T], index: usize) {
    list[..=index].rotate_right(1);
}

/// The templates of a reader.
#[derive(Debug, Default)]
pub struct Read {
    /// With what the notes say of them.
    known: Vec<(Note, Template)>,
    /// Metadata of the message that is being read.
    metadata: Vec<u64>,
}

impl Read {
    /// Room for the metadata of a message, if its template is known.
    pub fn metadata_of(&mut self, note: &Note) -> Option<&mut [u64]> {
        let found = self.known.iter().position(|(known, _)| known == note)?;
        to_front(&mut self.known, found);
        self.metadata.resize(note.metadata_bytes as usize / WORD, 0);
        Some(&mut self.metadata)
    }

    /// Decodes the message whose metadata was just put into [`metadata_of`](Self::metadata_of); `rest` is what
    /// follows it: the body and the end of the stream.
    ///
    /// # Errors
    /// As those of [`decode_stream`].
    pub fn decode(&self, rest: &Buffer, trusted: &UnsafeFlag) -> Result<RecordBatch, ArrowError> {
        let Some((_, template)) = self.known.first() else {
            return Err(fault("no template"));
        };
        let Some(body_len) = rest.len().checked_sub(WORD) else {
            return Err(fault("no end"));
        };
        let body = rest.slice_with_length(0, body_len);
        if rest[body_len..] != END_OF_STREAM.to_le_bytes() {
            return Err(fault("no end"));
        }
        without_panic("decoding a batch", || template.read(&self.metadata, &body, trusted))
    }

    /// The whole stream of the message that [`decode`](Self::decode) would decode.
    pub fn whole(&self, rest: &Buffer) -> Vec<u8> {
        let mut stream = Vec::new();
        if let Some((_, template)) = self.known.first() {
            let words = template.schema_message.iter().chain(&self.metadata);
            stream.extend(words.flat_map(|word| word.to_le_bytes()));
        }
        stream.extend_from_slice(rest);
        stream
    }

    /// Keeps the template of a stream that was decoded.
    pub fn learn(&mut self, note: &Note, stream: &[u8], decoded: &DecodedStream) {
        if let Some(template) = Template::of_stream(stream, &decoded.schema)
            && template.note(note.template) == *note
        {
            self.known.retain(|(known, _)| known != note);
            self.known.truncate(KEPT - 1);
            self.known.insert(0, (*note, template));
        }
    }
}
