//! The doors from the Arrow tests to what they test: a ring of their own, and the codec by itself.
#![allow(dead_code, unused_imports)] // each test file uses a part of it

#[path = "../support/mod.rs"]
pub mod rings;
// The codec's own source, for what the ring does not offer (yet): decoding in place.
#[path = "../../src/codec/mod.rs"]
mod codec;

use std::path::PathBuf;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use qadataswap::{Batches, QADataSwapError, Reader, Writer, create_reader, create_writer};
pub use rings::shared_data as data;

/// What came back.
pub type Decoded = Batches;

/// A ring with one writer and one reader.
struct Ring {
    writer: Writer,
    reader: Reader,
    /// Removes the ring when dropped, after the handles.
    _name: rings::RingName,
}

thread_local! {
    static RING: Ring = {
        let name = rings::RingName::new("arrow");
        let writer = create_writer(name.name(), 2).expect("a ring");
        let reader = create_reader(name.name()).expect("a reader");
        Ring { writer, reader, _name: name }
    };
}

/// Publishes with `write` and consumes with `read`; every error but one of Arrow fails the test.
fn through_ring<T>(
    write: impl FnOnce(&Writer) -> qadataswap::Result<()>,
    read: impl FnOnce(&Reader) -> qadataswap::Result<Option<T>>,
) -> Result<T, ArrowError> {
    RING.with(|ring| {
        let result = write(&ring.writer).and_then(|()| read(&ring.reader));
        assert_eq!(ring.reader.stats().lag, 0, "what was published was consumed");
        match result {
            Ok(result) => Ok(result.expect("just published")),
            Err(QADataSwapError::ArrowError(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    })
}

/// Publishes `batches` as one message and reads that message.
pub fn roundtrip(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Decoded, ArrowError> {
    through_ring(|writer| writer.write_batches(schema, batches), |reader| reader.read_batches(0))
}

/// Publishes these bytes as an Arrow stream and reads it.
pub fn decode(bytes: &[u8]) -> Result<Decoded, ArrowError> {
    through_ring(|writer| writer.write_ipc_stream(bytes), |reader| reader.read_batches(0))
}

/// Publishes `decoded` again and reads it as one batch.
pub fn join(decoded: Decoded) -> Result<RecordBatch, ArrowError> {
    through_ring(
        |writer| writer.write_batches(&decoded.schema, &decoded.batches),
        |reader| reader.read_arrow(0),
    )
}

/// The bytes that a slot holds after `batches` were published.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    through_ring(|writer| writer.write_batches(schema, batches), |reader| reader.read(0))
}

/// Decodes bytes that start `start` bytes after a multiple of 64; without copying any if `in_place`.
pub fn decode_at(bytes: &[u8], start: usize, in_place: bool) -> Result<Decoded, ArrowError> {
    let mut buffer = MutableBuffer::with_capacity(64 + start + bytes.len());
    buffer.extend_zeros(64 + start);
    buffer.extend_from_slice(bytes);
    let stream = Buffer::from(buffer).slice_with_length(64 + start, bytes.len());
    let reading = if in_place { codec::Reading::InPlace } else { codec::Reading::Copy };
    let decoded = codec::decode_stream(stream, reading)?;
    Ok(Decoded { schema: decoded.schema, batches: decoded.batches })
}

/// Asserts that what came back is what went in, to the bit.
pub fn assert_same(what: &str, schema: &SchemaRef, batches: &[RecordBatch], decoded: &Decoded) {
    assert_eq!(schema, &decoded.schema, "{what}");
    for (expected, found) in schema.fields().iter().zip(decoded.schema.fields()) {
        assert_same_order(what, expected, found);
    }
    assert_eq!(batches.len(), decoded.batches.len(), "{what}");
    for (expected, found) in batches.iter().zip(&decoded.batches) {
        assert_eq!(expected.num_rows(), found.num_rows(), "{what}");
        assert_eq!(schema, &found.schema(), "{what}");
        for (expected, found) in expected.columns().iter().zip(found.columns()) {
            assert_eq!(expected, found, "{what}");
            found.to_data().validate_full().expect(what);
        }
    }
}

/// `Field`'s equality leaves out whether dictionaries are ordered.
fn assert_same_order(what: &str, expected: &Field, found: &Field) {
    assert_eq!(expected.dict_is_ordered(), found.dict_is_ordered(), "{what}");
    match (expected.data_type(), found.data_type()) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.iter().zip(b).for_each(|(a, b)| assert_same_order(what, a, b));
        }
        (DataType::List(a), DataType::List(b)) => assert_same_order(what, a, b),
        _ => {}
    }
}

/// All files below a folder, with their contents.
pub fn files(folder: PathBuf) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a readable file");
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}
