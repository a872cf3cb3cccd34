//! Arrow messages read as bytes, bytes read as Arrow, and Arrow messages that just fit.

mod support;

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use qadataswap::arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use support::RingName;

fn batch(rows: i64) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..rows)) as _),
        ("price", Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64 / 4.0))) as _),
        ("name", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("n{i}")))) as _),
    ])
    .unwrap()
}

/// What arrow-ipc's own writer makes of these batches.
fn stream_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn ring(capacity: usize) -> (RingName, Writer, Reader) {
    let ring = RingName::new("kinds");
    let options = WriterOptions::new(4).slot_capacity(capacity).rollover(false);
    let writer = options.create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    (ring, writer, reader)
}

#[test]
fn an_arrow_message_read_as_bytes_is_a_stream_that_arrow_reads() {
    for rows in [0, 1, 100, 5000] {
        let (_ring, writer, reader) = ring(1 << 20);
        let batches = [batch(rows), batch(3)];
        writer.write_batches(&batches[0].schema(), &batches).unwrap();
        let bytes = reader.read(0).unwrap().unwrap();
        assert_eq!(bytes.len() as u64, writer.stats().published_bytes);
        let mut stream = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(stream.schema(), batches[0].schema());
        let decoded: Vec<_> = stream.by_ref().map(Result::unwrap).collect();
        assert_eq!(decoded, batches);
        // To the last byte, end marker included.
        assert_eq!(stream.get_ref().len(), 0);
        assert_eq!(bytes[bytes.len() - 8..], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    }
}

#[test]
fn every_way_of_reading_bytes_gives_the_same_stream() {
    let (_ring, writer, reader) = ring(1 << 20);
    writer.write_arrow(&batch(10)).unwrap();
    let bytes = reader.read(0).unwrap().unwrap();
    writer.write_arrow(&batch(10)).unwrap();
    let mut buffer = vec![0; bytes.len()];
    assert_eq!(reader.read_into(&mut buffer, 0).unwrap(), Some(bytes.len()));
    assert_eq!(buffer, bytes);
    writer.write_arrow(&batch(10)).unwrap();
    assert!(reader.read_to(&mut buffer, 0).unwrap());
    assert_eq!(buffer, bytes);
}

#[test]
fn a_stream_made_elsewhere_is_read_as_arrow_however_it_was_published() {
    let (_ring, mut writer, reader) = ring(1 << 20);
    let batches = [batch(100), batch(0), batch(7)];
    let stream = stream_of(&batches);
    writer.write(&stream).unwrap();
    writer.write_ipc_stream(&stream).unwrap();
    let mut slot = writer.reserve(stream.len()).unwrap();
    slot.write_at(100, &stream[100..]).unwrap();
    slot.write_at(0, &stream[..100]).unwrap();
    slot.publish().unwrap();
    for _ in 0..3 {
        let table = reader.read_batches(0).unwrap().unwrap();
        assert_eq!((table.schema, &table.batches[..]), (batches[0].schema(), &batches[..]));
    }
    // One batch: the chunks put together.
    writer.write(&stream).unwrap();
    assert_eq!(reader.read_arrow(0).unwrap().unwrap().num_rows(), 107);
}

#[test]
fn bytes_that_are_no_stream_are_an_arrow_error_and_are_consumed() {
    let (_ring, writer, reader) = ring(1 << 20);
    let stream = stream_of(&[batch(10)]);
    let half = &stream[..stream.len() / 2];
    let mut longer = stream.clone();
    longer.extend_from_slice(b"and more");
    for (number, message) in (0..).step_by(2).zip([&b""[..], b"x", b"no stream", half, &longer]) {
        writer.write(message).unwrap();
        writer.write(message).unwrap();
        let before = reader.stats();
        let one = reader.read_arrow(0);
        assert!(matches!(one, Err(QADataSwapError::ArrowError(_))), "{number}: {one:?}");
        let all = reader.read_batches(0);
        assert!(matches!(all, Err(QADataSwapError::ArrowError(_))), "{number}: {all:?}");
        let stats = reader.stats();
        assert_eq!((stats.consumed, stats.lag), (before.consumed + 2, 0));
        assert_eq!((stats.lost, stats.overruns), (0, 0));
    }
    // Reading goes on.
    writer.write_arrow(&batch(1)).unwrap();
    assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(1)));
}

#[test]
fn an_arrow_message_may_fill_the_slot_exactly_and_not_by_one_byte_more() {
    for rows in [0, 1, 9, 1000] {
        let batch = batch(rows);
        let (_wide, writer, _reader) = ring(1 << 20);
        writer.write_arrow(&batch).unwrap();
        let needed = writer.stats().published_bytes as usize;

        let (_exact, writer, reader) = ring(needed);
        for _ in 0..6 {
            writer.write_arrow(&batch).unwrap();
            assert_eq!(reader.read_arrow(0).unwrap().as_ref(), Some(&batch));
        }
        let (_small, writer, reader) = ring(needed - 1);
        match writer.write_arrow(&batch) {
            Err(QADataSwapError::MessageTooLarge { needed_bytes, available_bytes }) => {
                assert_eq!((needed_bytes, available_bytes), (needed, needed - 1));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((writer.stats().published, reader.read(0).unwrap()), (0, None));
    }
}

#[test]
fn an_ipc_stream_may_fill_the_slot_exactly_and_not_by_one_byte_more() {
    let stream = stream_of(&[batch(100)]);
    let (_exact, writer, reader) = ring(stream.len());
    for _ in 0..6 {
        writer.write_ipc_stream(&stream).unwrap();
        assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(100)));
    }
    let (_small, writer, _reader) = ring(stream.len() - 1);
    match writer.write_ipc_stream(&stream) {
        Err(QADataSwapError::MessageTooLarge { needed_bytes, available_bytes }) => {
            assert_eq!((needed_bytes, available_bytes), (stream.len(), stream.len() - 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_arrow_message_is_passed_over_and_refused_like_any_other() {
    let (_ring, writer, reader) = ring(1 << 20);
    writer.write_arrow(&batch(5)).unwrap();
    let len = writer.stats().published_bytes as usize;
    assert!(matches!(
        reader.read_into(&mut [0; 16], 0),
        Err(QADataSwapError::BufferTooSmall { needed_bytes, available_bytes: 16 })
            if needed_bytes == len
    ));
    assert!(matches!(
        reader.read_value::<u64>(0),
        Err(QADataSwapError::SizeMismatch { found_bytes, expected_bytes: 8 }) if found_bytes == len
    ));
    assert!(reader.skip().unwrap());
    writer.write_arrow(&batch(6)).unwrap();
    assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(6)));
}
