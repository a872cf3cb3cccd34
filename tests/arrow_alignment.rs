//! Streams aligned as other writers align them, and at addresses that are not aligned.

#[path = "arrow/generate.rs"]
mod generate;
#[path = "arrow/support.rs"]
mod support;

use arrow_array::RecordBatch;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, UnionMode};
use generate::{Nulls, all_types, array, batch, union};
use support::{assert_same, decode, decode_at};

/// What a foreign writer with this alignment makes of `batch`.
fn foreign(batch: &RecordBatch, alignment: usize, version: MetadataVersion) -> Vec<u8> {
    let options = IpcWriteOptions::try_new(alignment, false, version).expect("options");
    let mut stream = vec![];
    let mut writer = StreamWriter::try_new_with_options(&mut stream, &batch.schema(), options)
        .expect("a writer");
    writer.write(batch).expect("a stream");
    writer.finish().expect("a stream");
    drop(writer);
    stream
}

/// Types with values of 16 and more bytes, which arrow-rs aligns to 16.
fn is_wide(data_type: &DataType) -> bool {
    let text = data_type.to_string();
    ["Decimal128", "Decimal256", "View", "MonthDayNano"].iter().any(|name| text.contains(name))
}

#[test]
fn aligned_to_8_and_to_64() {
    for data_type in all_types() {
        let what = data_type.to_string();
        let batch = batch(array(&data_type, 9, Nulls::Some).slice(1, 7));
        for alignment in [8, 16, 32, 64] {
            for version in [MetadataVersion::V4, MetadataVersion::V5] {
                if version == MetadataVersion::V4 && what.contains("RunEnd") {
                    // arrow-ipc 60.1 writes a validity buffer for runs in version 4 that it does not read.
                    continue;
                }
                let stream = foreign(&batch, alignment, version);
                let decoded = decode(&stream).expect(&what);
                assert_same(&what, &batch.schema(), std::slice::from_ref(&batch), &decoded);
                match decode_at(&stream, 0, true) {
                    Ok(decoded) => {
                        assert_same(&what, &batch.schema(), std::slice::from_ref(&batch), &decoded)
                    }
                    Err(error) => assert!(alignment == 8 && is_wide(&data_type), "{what}: {error}"),
                }
            }
        }
    }
}

#[test]
fn at_any_address() {
    for data_type in
        [DataType::Int64, DataType::Utf8, union(UnionMode::Dense, vec![(0, DataType::Int8)])]
    {
        let what = data_type.to_string();
        let batch = batch(array(&data_type, 9, Nulls::None));
        let stream = foreign(&batch, 64, MetadataVersion::V5);
        // Copied where it may be.
        for start in 0..9 {
            let decoded = decode_at(&stream, start, false).expect(&what);
            assert_same(&what, &batch.schema(), std::slice::from_ref(&batch), &decoded);
        }
        for start in [1, 2, 3, 5, 7, 63] {
            let error = decode_at(&stream, start, true).expect_err("not aligned").to_string();
            let words = error.to_lowercase();
            assert!(words.contains("aligned"), "{what} at {start}: {error}");
        }
        for start in [0, 8, 16, 56] {
            let decoded = decode_at(&stream, start, true).expect(&what);
            assert_same(&what, &batch.schema(), std::slice::from_ref(&batch), &decoded);
        }
    }
}

#[test]
fn misaligned_union_offsets() {
    // The one buffer that arrow-rs does not copy to where it is aligned, two bytes further than it should.
    let data_type = union(UnionMode::Dense, vec![(0, DataType::Int8)]);
    let batch = batch(array(&data_type, 4, Nulls::None));
    let mut stream = foreign(&batch, 64, MetadataVersion::V5);
    let place = [64_i64.to_le_bytes(), 16_i64.to_le_bytes()].concat();
    let at = stream.windows(16).rposition(|window| window == place).expect("the buffer");
    stream[at..at + 8].copy_from_slice(&66_i64.to_le_bytes());
    let error = decode(&stream).expect_err("not aligned").to_string();
    assert!(error.contains("aligned"), "{error}");
}
