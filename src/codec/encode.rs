//! Turns record batches into the pieces of one Arrow IPC stream, without copying their bodies.

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::check::{self, Checker, Step};
use super::types::check_types;
use super::walk::{Body, children};
use super::{fault, in_field};

/// One encoded Arrow IPC stream, as the pieces to copy one after another.
#[derive(Debug)]
pub struct EncodedStream {
    parts: Vec<Buffer>,
    len: usize,
}

impl EncodedStream {
    /// The pieces, in order, none of them empty. Most are the batches' own buffers.
    pub fn parts(&self) -> &[Buffer] {
        &self.parts
    }

    /// The number of bytes of all pieces together.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Encodes `batches` as one stream that [`decode_stream`](super::decode_stream) gives back unchanged.
///
/// # Errors
///
/// If a batch's schema is not `schema`, or if the schema or the data is something that an Arrow stream
/// cannot carry or that [`decode_stream`](super::decode_stream) would refuse.
pub fn encode_stream(
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<EncodedStream, ArrowError> {
    // First, because everything after it recurses as deep as the schema is nested.
    check_types(schema)?;
    for (index, batch) in batches.iter().enumerate() {
        require_same_schema(schema, batch.schema_ref(), index)?;
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            require_nullability(field, column).map_err(|error| {
                let error = in_field(field.name(), error);
                fault(format!("batch {index}: {error}"))
            })?;
        }
    }

    // One encoder per stream: it leaves out dictionaries it has written before, and the reader of this
    // stream has seen no other.
    let mut encoder = StreamEncoder::try_new(schema)?;
    let mut parts = Vec::new();
    for batch in batches {
        if batch.num_rows() == 0 {
            // arrow-ipc 60.1 writes fewer view buffers than it announces for an empty run-end array of
            // views; a fresh empty batch has none to announce.
            parts.extend(encoder.encode(&RecordBatch::new_empty(schema.clone()))?);
        } else {
            parts.extend(encoder.encode(batch)?);
        }
    }
    parts.extend(encoder.finish()?);
    parts.retain(|part| !part.is_empty());

    let len = parts
        .iter()
        .try_fold(0usize, |sum, part| sum.checked_add(part.len()))
        .ok_or_else(|| fault("the encoded stream would be longer than the address space"))?;
    check_own_output(schema, &parts, len)?;
    Ok(EncodedStream { parts, len })
}

/// Metadata counts: a stream has one schema, so what a batch says otherwise would be lost.
fn require_same_schema(
    schema: &SchemaRef,
    other: &SchemaRef,
    index: usize,
) -> Result<(), ArrowError> {
    if std::sync::Arc::ptr_eq(schema, other) || schema == other {
        return Ok(());
    }
    Err(fault(format!(
        "batch {index} has another schema than the stream: {}",
        difference(schema, other)
    )))
}

/// Refuses nulls in what the schema says has none. Data imported without validation may have them; readers
/// refuse it.
fn require_nullability(field: &Field, column: &ArrayRef) -> Result<(), ArrowError> {
    require_nullable(field, column.null_count())?;
    if has_required_children(field.data_type()) {
        check_children(&column.to_data())?;
    }
    Ok(())
}

/// Refuses nulls in a field that has none.
pub fn require_nullable(field: &Field, nulls: usize) -> Result<(), ArrowError> {
    if nulls != 0 && !field.is_nullable() {
        return Err(fault("the field is not nullable, but has nulls"));
    }
    Ok(())
}

/// Whether a field below a field of this type is not nullable.
fn has_required_children(data_type: &DataType) -> bool {
    if let DataType::Dictionary(_, values) = data_type {
        return has_required_children(values);
    }
    let children = children(data_type, 0).into_iter();
    let ends = usize::from(matches!(data_type, DataType::RunEndEncoded(_, _)));
    children
        .skip(ends)
        .any(|(child, _)| !child.is_nullable() || has_required_children(child.data_type()))
}

/// Does what arrow-rs does when it reads the array.
fn check_children(data: &ArrayData) -> Result<(), ArrowError> {
    data.validate_nulls()?;
    if let DataType::Struct(fields) = data.data_type()
        && !fields.is_empty()
    {
        let (fields, columns, nulls) = StructArray::from(data.clone()).into_parts();
        StructArray::try_new(fields, columns, nulls)?;
    }
    data.child_data().iter().try_for_each(check_children)
}

/// Says where two unequal schemas first differ.
fn difference(expected: &Schema, found: &Schema) -> String {
    if expected.fields().len() != found.fields().len() {
        return format!("{} fields instead of {}", found.fields().len(), expected.fields().len());
    }
    let mut pairs = expected.fields().iter().zip(found.fields()).enumerate();
    match pairs.find(|(_, (expected, found))| expected != found) {
        Some((index, (expected, found))) => {
            format!("field {index} is {found:?} instead of {expected:?}")
        }
        None => "the fields are equal but the schema metadata is not; \
                 RecordBatch::with_schema can give every batch the same"
            .to_string(),
    }
}

/// Runs the reader's structural checks on what the encoder wrote.
fn check_own_output(schema: &SchemaRef, parts: &[Buffer], len: usize) -> Result<(), ArrowError> {
    let mut checker = Checker::new(len);
    let mut parts = parts.iter();
    // A message is a prefix (marker and metadata length), the metadata, padding, and the body.
    while let (Some(prefix), Some(metadata)) = (parts.next(), parts.next()) {
        let &[_, _, _, _, a, b, c, d] = prefix.as_slice() else {
            return Err(fault("arrow-ipc framed a message in an unknown way"));
        };
        let message = check::verify_message(metadata)?;
        let body_len = check::body_len(&message, len)?;
        let padded = u32::from_le_bytes([a, b, c, d]) as usize;
        let mut position = metadata.len();
        let mut body = Vec::new();
        while position < padded + body_len {
            let part = parts
                .next()
                .ok_or_else(|| fault("arrow-ipc wrote a message shorter than it announced"))?;
            if let Some(start) = position.checked_sub(padded) {
                body.push((start, part));
            }
            position += part.len();
        }
        let body = Body::Parts(body_len as u64, &body);
        if let Step::Schema(written) = checker.message(&message, body)?
            && written != *schema
        {
            return Err(fault(format!(
                "an Arrow stream cannot carry this schema: it would be read with {}",
                difference(schema, &written)
            )));
        }
    }
    Ok(())
}
