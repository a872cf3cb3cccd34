//! Record batches in place: equal to the copies, in the ring to the last buffer, and refused where that
//! cannot be. (How long they are there: `zero_copy_leases.rs`.)

#[path = "arrow/generate.rs"]
mod generate;
#[path = "arrow/in_place.rs"]
mod in_place;
mod support;

use std::cell::Cell;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::DictionaryHandling;
use arrow_schema::{DataType, Field, Schema};
use generate::{Nulls, all_types, array, batch, dictionary, item};
use in_place::{Ring, aligned_to, arrow_error, assert_in_ring, assert_same, foreign};
use qadataswap::{Batches, QADataSwapError};

#[test]
fn every_type_is_in_the_ring_and_equal_to_the_copy() {
    let ring = Ring::new("types", 4);
    for data_type in all_types() {
        let mut in_ring = 0;
        for (rows, nulls, offset) in [
            (0, Nulls::Some, 1),
            (1, Nulls::None, 0),
            (9, Nulls::Some, 0),
            (9, Nulls::All, 8),
            (65, Nulls::Some, 3),
            (65, Nulls::None, 8),
        ] {
            let what = format!("{data_type}, {rows} rows from {offset}, {nulls:?} null");
            let batch = batch(array(&data_type, rows + offset + 2, nulls).slice(offset, rows));
            for trusted in [false, true] {
                ring.writer.write_arrow(&batch).unwrap();
                let shared = if trusted {
                    // SAFETY: the batch was written by this very test.
                    unsafe { ring.reader.read_arrow_zero_copy_unchecked(0) }
                } else {
                    ring.reader.read_arrow_zero_copy(0)
                };
                let shared = shared.expect(&what).expect("was published");
                let copy = ring.copying.read_batches(0).unwrap().expect("was published");
                assert_same(&what, &batch.schema(), std::slice::from_ref(&shared), &copy);
                let shared = Batches { schema: shared.schema(), batches: vec![shared] };
                assert_same(&what, &batch.schema(), std::slice::from_ref(&batch), &shared);
                if rows > 0 {
                    in_ring += assert_in_ring(&what, &ring, &shared.batches);
                    let leased = ring.reader.stats().leases;
                    assert!(leased == 1 || assert_in_ring(&what, &ring, &shared.batches) == 0);
                }
                drop(shared);
                assert_eq!(ring.reader.stats().leases, 0, "{what}");
            }
        }
        let has_none =
            ["Null", "Struct()", "FixedSizeBinary(0)"].contains(&&*data_type.to_string());
        assert!(in_ring > 0 || has_none, "{data_type}");
    }
    assert_eq!(ring.writer.stats().lease_skips, 0);
}

#[test]
fn several_batches_and_none_come_as_they_were_published() {
    let ring = Ring::new("several", 4);
    for data_type in all_types() {
        let what = data_type.to_string();
        let all: Vec<_> = [4, 0, 9]
            .map(|rows| batch(array(&data_type, rows + 1, Nulls::Some).slice(1, rows)))
            .into();
        let schema = all[0].schema();
        for batches in [&all[..], &all[..2], &all[..0]] {
            ring.writer.write_batches(&schema, batches).unwrap();
            if batches.is_empty() {
                ring.writer.write_batches(&schema, &[]).unwrap();
                let empty = ring.lease();
                assert_eq!((empty.num_rows(), empty.schema()), (0, schema.clone()), "{what}");
                assert_eq!(ring.reader.stats().leases, 0, "{what}");
            } else {
                let before = ring.reader.stats();
                for _ in 0..2 {
                    let result = ring.reader.read_arrow_zero_copy(0);
                    let Err(QADataSwapError::NotOneBatch { found }) = result else {
                        panic!("{what}: {result:?}")
                    };
                    assert_eq!((found, ring.reader.stats()), (batches.len(), before), "{what}");
                }
            }
            let shared = ring.reader.read_batches_zero_copy(0).expect(&what).expect("published");
            assert_same(&what, &schema, batches, &shared);
            let rows: Vec<_> =
                shared.batches.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
            assert_in_ring(&what, &ring, &rows);
            drop((shared, rows));
            assert_eq!(ring.reader.stats().leases, 0, "{what}");
        }
        ring.skip_all();
    }
}

#[test]
fn streams_of_other_implementations_are_read_in_place_or_refused_for_a_copy() {
    let Some(folder) = support::shared_data("arrow-golden") else {
        return;
    };
    let ring = Ring::new("golden", 4);
    let mut in_place = 0;
    let below = |folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in below(folder).flat_map(below) {
        let (what, bytes) = (path.display().to_string(), std::fs::read(&path).unwrap());
        ring.writer.write_ipc_stream(&bytes).unwrap();
        let copy = match ring.copying.read_batches(0) {
            Ok(copy) => copy.expect("was published"),
            Err(_) => {
                arrow_error(&what, ring.reader.read_batches_zero_copy(0));
                assert_eq!((ring.reader.stats().leases, ring.reader.stats().lag), (0, 0), "{what}");
                continue;
            }
        };
        match ring.reader.read_batches_zero_copy(0) {
            Ok(shared) => {
                let shared = shared.expect("was published");
                assert_same(&what, &copy.schema, &copy.batches, &shared);
                let rows: Vec<_> =
                    shared.batches.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
                in_place += assert_in_ring(&what, &ring, &rows);
            }
            Err(QADataSwapError::NotAligned) => {
                assert_eq!((ring.reader.stats().leases, ring.reader.stats().lag), (0, 1), "{what}");
                let again = ring.reader.read_batches(0).unwrap().expect("is still there");
                assert_same(&what, &copy.schema, &copy.batches, &again);
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(in_place > 0);
}

#[test]
fn what_is_not_aligned_is_refused_and_stays_to_be_copied() {
    let ring = Ring::new("aligned", 4);
    let wide = |data_type: &DataType| {
        let text = data_type.to_string();
        ["Decimal128", "Decimal256", "Utf8View", "BinaryView"].iter().any(|n| text.contains(n))
    };
    for data_type in all_types() {
        let (mut in_place, mut refused) = (0, 0);
        // Longer names move the body on.
        for length in (1..=17).step_by(4) {
            let column = array(&data_type, 9, Nulls::Some);
            let field = Field::new("x".repeat(length), data_type.clone(), true);
            let schema = Arc::new(Schema::new(vec![field]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
            let what = format!("{data_type}, name of {length}");
            let stream = foreign(&schema, std::slice::from_ref(&batch), aligned_to(8));
            ring.writer.write_ipc_stream(&stream).unwrap();
            let before = ring.reader.stats();
            match ring.reader.read_arrow_zero_copy(0) {
                Ok(shared) => {
                    let shared = shared.expect("was published");
                    assert_eq!(shared, batch, "{what}");
                    assert_in_ring(&what, &ring, &[shared]);
                    in_place += 1;
                }
                Err(QADataSwapError::NotAligned) => {
                    refused += 1;
                    for _ in 0..2 {
                        let again = ring.reader.read_batches_zero_copy(0);
                        assert!(matches!(again, Err(QADataSwapError::NotAligned)), "{what}");
                        assert_eq!(ring.reader.stats(), before, "{what}");
                    }
                    assert_eq!(ring.reader.read_arrow(0).unwrap().as_ref(), Some(&batch), "{what}");
                }
                Err(error) => panic!("{what}: {error}"),
            }
            assert_eq!(ring.reader.stats().consumed, before.consumed + 1, "{what}");
            assert_eq!(ring.reader.stats().leases, 0, "{what}");
        }
        assert_eq!(refused > 0, wide(&data_type), "{data_type}");
        assert!(in_place > 0, "{data_type}");
    }
    assert_eq!(ring.writer.stats().lease_skips, 0);
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Panics of this thread, those that are caught further up included.
fn panics() -> usize {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
    PANICS.get()
}

#[test]
fn a_trusted_read_of_what_is_not_aligned_is_refused_without_a_panic() {
    let ring = Ring::new("trusted", 4);
    let before = panics();
    let mut refused = 0;
    for data_type in [DataType::Decimal128(9, 2), DataType::Utf8View] {
        for length in [1, 5, 9, 13] {
            let column = array(&data_type, 9, Nulls::None);
            let schema = Arc::new(Schema::new(vec![Field::new(
                "x".repeat(length),
                data_type.clone(),
                false,
            )]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
            let stream = foreign(&schema, std::slice::from_ref(&batch), aligned_to(8));
            ring.writer.write_ipc_stream(&stream).unwrap();
            // SAFETY: the batch was written by this very test.
            match unsafe { ring.reader.read_arrow_zero_copy_unchecked(0) } {
                Ok(shared) => assert_eq!(shared, Some(batch)),
                Err(QADataSwapError::NotAligned) => {
                    refused += 1;
                    assert_eq!(ring.reader.read_arrow(0).unwrap(), Some(batch));
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!(ring.reader.stats().leases, 0);
        }
    }
    assert!(refused >= 2);
    assert_eq!(panics(), before, "a program that aborts on panics would be gone");
}

#[test]
fn a_dictionary_that_comes_in_parts_is_not_put_together_in_silence() {
    let ring = Ring::new("delta", 4);
    let part = |count: usize| {
        let values = StringArray::from_iter_values((0..count).map(|n| format!("value {n}")));
        let keys = Int32Array::from_iter_values(0..count as i32);
        batch(Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values))))
    };
    let batches = [part(3), part(5)];
    let options = aligned_to(64).with_dictionary_handling(DictionaryHandling::Delta);
    let stream = foreign(&batches[0].schema(), &batches, options);
    ring.writer.write_ipc_stream(&stream).unwrap();
    match ring.reader.read_batches_zero_copy(0) {
        Ok(shared) => {
            let shared = shared.expect("was published");
            assert_eq!(shared.batches, batches);
            assert_in_ring("a delta", &ring, &shared.batches);
        }
        Err(error) => {
            assert!(!matches!(error, QADataSwapError::ArrowError(_)), "{error}");
            assert_eq!((ring.reader.stats().consumed, ring.reader.stats().leases), (0, 0));
        }
    }
    assert_eq!(ring.copying.read_batches(0).unwrap().expect("was published").batches, batches);
}

#[test]
fn text_that_is_none_is_an_error_in_place_too_and_ends_the_lease() {
    let ring = Ring::new("utf-8", 4);
    for data_type in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary(DataType::Int8, DataType::Utf8),
        DataType::List(item(DataType::Utf8)),
    ] {
        let good = batch(array(&data_type, 9, Nulls::None));
        let mut stream = foreign(&good.schema(), &[good], aligned_to(64));
        let text = b"long tail of words";
        let at = stream.windows(text.len()).position(|window| window == text).expect("is there");
        stream[at] = 0xff;
        for several in [false, true] {
            ring.writer.write_ipc_stream(&stream).unwrap();
            let error = if several {
                arrow_error("text", ring.reader.read_batches_zero_copy(0))
            } else {
                arrow_error("text", ring.reader.read_arrow_zero_copy(0))
            };
            assert!(error.to_lowercase().contains("utf"), "{data_type}: {error}");
            let stats = ring.reader.stats();
            assert_eq!((stats.leases, stats.lag), (0, 0), "it has been consumed");
            assert!(!ring.is_leased());
            ring.skip_all();
        }
    }
}

#[test]
fn streams_that_are_cut_short_or_changed_are_errors_and_end_the_lease() {
    let ring = Ring::new("malformed", 4);
    let before = panics();
    let mut outcomes = [0; 3];
    for data_type in
        [DataType::Int64, DataType::Utf8View, dictionary(DataType::Int8, DataType::Utf8)]
    {
        let good = batch(array(&data_type, 9, Nulls::Some));
        let stream = foreign(&good.schema(), &[good], aligned_to(64));
        // Short of the end marker, which may be missing.
        let cut = (0..stream.len() - 9).step_by(5).map(|length| stream[..length].to_vec());
        let changed = (0..stream.len()).step_by(3).map(|at| {
            let mut stream = stream.clone();
            stream[at] ^= 1 << (at % 8);
            stream
        });
        for stream in cut.chain(changed) {
            ring.writer.write_ipc_stream(&stream).unwrap();
            let as_copy = ring.copying.read_batches(0).map(|copy| copy.expect("was published"));
            match ring.reader.read_batches_zero_copy(0) {
                Ok(shared) => {
                    let (shared, copy) = (shared.expect("was published"), as_copy.unwrap());
                    assert_same("changed", &copy.schema, &copy.batches, &shared);
                    assert_in_ring("changed", &ring, &shared.batches);
                    outcomes[0] += 1;
                }
                Err(QADataSwapError::ArrowError(_)) => {
                    assert!(as_copy.is_err());
                    outcomes[1] += 1;
                }
                Err(QADataSwapError::NotAligned) => {
                    assert!(as_copy.is_ok() && ring.reader.skip().unwrap());
                    outcomes[2] += 1;
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!((ring.reader.stats().leases, ring.reader.stats().lag), (0, 0));
        }
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
    assert_eq!((ring.writer.stats().lease_skips, panics()), (0, before));
    for nothing in [&b""[..], b"neither", &[0xff; 64], &[0; 64]] {
        ring.writer.write(nothing).unwrap();
        arrow_error("no stream", ring.reader.read_arrow_zero_copy(0));
        assert_eq!((ring.reader.stats().leases, ring.reader.stats().lag), (0, 0));
    }
}

#[test]
fn a_message_of_bytes_that_are_a_stream_is_read_in_place() {
    let ring = Ring::new("bytes", 4);
    let numbers = batch(Arc::new(Int64Array::from(vec![1, 2, 3])));
    let stream = foreign(&numbers.schema(), std::slice::from_ref(&numbers), aligned_to(64));
    ring.writer.write(&stream).unwrap();
    let shared = ring.reader.read_arrow_zero_copy(0).unwrap().expect("was published");
    assert_eq!(shared, numbers);
    assert_eq!(assert_in_ring("bytes", &ring, std::slice::from_ref(&shared)), 1);
    assert!(ring.is_leased());
    drop(shared);
    assert!(!ring.is_leased());
    ring.skip_all();

    // Bytes begin at a multiple of 8 and no more.
    let wide = batch(array(&DataType::Decimal128(9, 2), 3, Nulls::None));
    let stream = foreign(&wide.schema(), std::slice::from_ref(&wide), aligned_to(64));
    ring.writer.write(&stream).unwrap();
    let result = ring.reader.read_arrow_zero_copy(0);
    assert!(matches!(result, Err(QADataSwapError::NotAligned)), "{result:?}");
    assert_eq!(ring.reader.read_arrow(0).unwrap(), Some(wide));
}
