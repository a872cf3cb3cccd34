//! Batches of flat columns in corners that are seldom met: what is left over after the last value, slots that are just
//! large enough, writes that were refused, and memory that a spoilt copy went to.

mod support;

use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema};
use qadataswap::{QADataSwapError, Reader, Writer, WriterOptions, create_reader};
use support::RingName;

fn ring(what: &str, slots: usize, capacity: usize) -> (RingName, Writer, Reader) {
    let name = RingName::new(what);
    let options = WriterOptions::new(slots).slot_capacity(capacity).rollover(false);
    let writer = options.create(name.name()).unwrap();
    let reader = create_reader(name.name()).unwrap();
    (name, writer, reader)
}

fn batch(column: impl arrow_array::Array + 'static) -> RecordBatch {
    let column: ArrayRef = Arc::new(column);
    RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap()
}

#[track_caller]
fn expect(writer: &Writer, reader: &Reader, batch: &RecordBatch) {
    writer.write_arrow(batch).unwrap();
    assert_eq!(reader.read_arrow(0).unwrap().as_ref(), Some(batch));
}

#[test]
fn bytes_after_the_last_value_that_are_less_than_one_are_left_out() {
    let (_name, writer, reader) = ring("left-over", 2, 4096);
    let bytes = || Buffer::from_vec(vec![0x0706_0504_0302_0100_u64]).slice_with_length(0, 7);
    let numbers = batch(Int32Array::new(ScalarBuffer::from(bytes()), None));
    let fixed = batch(FixedSizeBinaryArray::try_new(4, bytes(), None).unwrap());
    for _ in 0..3 {
        for batch in [&numbers, &fixed] {
            assert_eq!(batch.num_rows(), 1);
            expect(&writer, &reader, batch);
        }
    }
}

#[test]
fn a_validity_bitmap_is_given_up_where_a_batch_would_not_fit() {
    let full = batch(Int64Array::from(vec![1; 100]));
    let with_nulls = batch(Int64Array::from(vec![None, Some(2)]));
    let (_name, writer, reader) = ring("bitmap-size", 1, 4096);
    writer.write_arrow(&full).unwrap();
    let capacity = reader.read(0).unwrap().unwrap().len();
    let (_name, writer, reader) = ring("bitmap", 2, capacity);
    for _ in 0..3 {
        for batch in [&full, &with_nulls] {
            expect(&writer, &reader, batch);
        }
    }
}

#[test]
fn a_write_that_was_refused_leaves_no_trace_in_those_that_follow() {
    let fields =
        ["nullable", "not"].map(|name| Field::new(name, DataType::Int64, name == "nullable"));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let make = |rows: i64, column: Int64Array| {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(column), Arc::new((0..rows).collect::<Int64Array>())];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let full = make(5, (0..5).collect());
    let some = make(5, Int64Array::from(vec![Some(1), None, None, Some(2), None]));
    let too_large = make(1000, (0..1000).map(|row| (row % 2 == 0).then_some(row)).collect());
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None; 5]));
    // SAFETY: the columns have as many rows and the types of the fields; only the second must not have nulls.
    let invalid =
        unsafe { RecordBatch::new_unchecked(schema.clone(), vec![nulls.clone(), nulls], 5) };
    let (_name, writer, reader) = ring("refused", 2, 1024);
    for _ in 0..4 {
        for (refused, good) in [(&invalid, &full), (&too_large, &full), (&invalid, &some)] {
            match writer.write_arrow(refused) {
                Err(QADataSwapError::ArrowError(_)) => assert_eq!(refused.num_rows(), 5),
                Err(QADataSwapError::MessageTooLarge { .. }) => {
                    assert_eq!(refused.num_rows(), 1000);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(reader.read(0).unwrap(), None);
            expect(&writer, &reader, good);
        }
    }
}

/// After a copy that the writer has spoilt the arrays over its memory are not valid: nobody must be able to look at
/// them, not even for the sake of a message about the reader.
#[test]
fn what_a_reader_tells_of_itself_has_nothing_of_the_messages() {
    let (_name, writer, reader) = ring("debug", 2, 4096);
    let batch = batch(StringArray::from(vec!["a secret"; 3]));
    for _ in 0..3 {
        expect(&writer, &reader, &batch);
    }
    let told = format!("{reader:?}");
    assert!(told.contains("Recent"), "{told}");
    assert!(!told.contains("secret") && !told.contains("115, 101, 99"), "{told}");
}
