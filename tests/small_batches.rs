//! Batches of flat columns, which go through templates: the slot holds an ordinary stream, whatever was in it
//! before, and what a template says of it is believed only as far as it is true.

#[path = "arrow/generate.rs"]
mod generate;
mod support;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow_buffer::NullBuffer;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use generate::{Nulls, array, flat_types};
use qadataswap::{QADataSwapError, Reader, Writer, WriterOptions, create_reader};
use support::raw::{self, Raw};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("follow", play_follow)]);
}

/// Kind and place of a stream with a note.
const NOTED_STREAM: u32 = 64 << 16 | 2;

/// As an exchange would send it: nine columns, some of them with nulls.
fn trades(rows: u64, seed: u64) -> RecordBatch {
    let numbers = |by: u64| (0..rows).map(move |row| ((row + 1) * by + seed) as i64);
    let words = |by| numbers(by).map(|n| (n % 3 != 0).then(|| "x".repeat(n as usize % 40)));
    let columns: [(&str, ArrayRef, bool); 9] = [
        ("time", Arc::new(numbers(1).collect::<Int64Array>()), false),
        ("price", Arc::new(numbers(2).map(|n| n as f64 / 4.0).collect::<Float64Array>()), false),
        ("size", Arc::new(numbers(3).map(|n| n as u32).collect::<UInt32Array>()), false),
        (
            "symbol",
            Arc::new(numbers(5).map(|n| Some(n.to_string())).collect::<StringArray>()),
            false,
        ),
        ("buy", Arc::new(numbers(7).map(|n| Some(n % 2 == 0)).collect::<BooleanArray>()), false),
        (
            "order",
            Arc::new(numbers(11).map(|n| (n % 5 != 0).then_some(n)).collect::<Int64Array>()),
            true,
        ),
        ("note", Arc::new(words(13).collect::<StringArray>()), true),
        (
            "flag",
            Arc::new(
                numbers(17).map(|n| (n % 4 != 0).then_some(n % 8 == 1)).collect::<BooleanArray>(),
            ),
            true,
        ),
        (
            "raw",
            Arc::new(words(19).map(|w| w.map(String::into_bytes)).collect::<BinaryArray>()),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn ring(what: &str, slots: usize) -> (RingName, Writer) {
    let name = RingName::new(what);
    let writer = WriterOptions::new(slots).slot_capacity(1 << 16).create(name.name()).unwrap();
    (name, writer)
}

/// The batch as another implementation's reader has it.
fn by_stream_reader(bytes: &[u8]) -> RecordBatch {
    let mut reader = StreamReader::try_new(bytes, None).unwrap();
    let batch = reader.next().expect("one batch").unwrap();
    assert!(reader.next().is_none());
    batch
}

/// Each way of reading, by readers that have read all that came before.
struct Readers([Reader; 4]);

impl Readers {
    fn attach(name: &RingName) -> Self {
        Self(std::array::from_fn(|_| create_reader(name.name()).unwrap()))
    }

    #[track_caller]
    fn expect(&self, what: &str, batch: &RecordBatch) {
        let [copying, in_place, trusting, plain] = &self.0;
        assert_eq!(copying.read_arrow(0).unwrap().as_ref(), Some(batch), "{what}, copied");
        assert_eq!(in_place.read_arrow_zero_copy(0).unwrap().as_ref(), Some(batch), "{what}");
        // SAFETY: this process has written the message.
        let trusted = unsafe { trusting.read_arrow_zero_copy_unchecked(0) };
        assert_eq!(trusted.unwrap().as_ref(), Some(batch), "{what}, trusted");
        let bytes = plain.read(0).unwrap().expect("the same message");
        assert_eq!(&by_stream_reader(&bytes), batch, "{what}, by another reader");
    }
}

#[test]
fn every_flat_type_comes_back_in_every_way() {
    for data_type in flat_types() {
        let (name, writer) = ring("flat", 4);
        let readers = Readers::attach(&name);
        let schema = Arc::new(Schema::new(vec![Field::new("c", data_type.clone(), true)]));
        for (rows, nulls, offset) in [1, 2, 7, 8, 64, 65, 300].into_iter().flat_map(|rows| {
            let nulls = [Nulls::None, Nulls::Some, Nulls::All];
            nulls
                .into_iter()
                .flat_map(move |nulls| [0, 1, 8, 13].map(|offset| (rows, nulls, offset)))
        }) {
            let column = array(&data_type, rows + offset + 2, nulls).slice(offset, rows);
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
            writer.write_arrow(&batch).unwrap();
            readers.expect(&format!("{data_type}, {rows} from {offset}, {nulls:?} null"), &batch);
        }
    }
}

#[test]
fn small_batches_do_go_through_templates() {
    let (name, writer) = ring("small", 2);
    let readers = Readers::attach(&name);
    let data = Raw::data(&name);
    let mut ids = Vec::new();
    for number in 0..10 {
        let batch = trades(1 + number % 3, number);
        writer.write_arrow(&batch).unwrap();
        readers.expect("trades", &batch);
        let index = number % 2;
        assert_eq!(data.u32(data.slot(index, raw::KIND)), NOTED_STREAM);
        ids.push(data.u64(data.slot(index, raw::PAYLOAD)));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // Another schema, another template; an equal one is the same.
    writer.write_arrow(&generate::batch(array(&DataType::Int8, 3, Nulls::None))).unwrap();
    assert_ne!(data.u64(data.slot(0, raw::PAYLOAD)), ids[0]);
    let equal = trades(3, 0);
    let schema = Arc::new(Schema::clone(&equal.schema()));
    let again = RecordBatch::try_new(schema, equal.columns().to_vec()).unwrap();
    writer.write_arrow(&again).unwrap();
    assert_eq!(data.u64(data.slot(1, raw::PAYLOAD)), ids[0]);
}

#[test]
fn small_batches_are_small() {
    let (name, writer) = ring("size", 2);
    let reader = create_reader(name.name()).unwrap();
    let batch = trades(1, 1);
    writer.write_arrow(&batch).unwrap();
    let mut by_arrow_ipc = Vec::new();
    let mut stream =
        arrow_ipc::writer::StreamWriter::try_new(&mut by_arrow_ipc, &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    let ours = reader.read(0).unwrap().unwrap();
    assert!(ours.len() + 500 < by_arrow_ipc.len(), "{} against {}", ours.len(), by_arrow_ipc.len());
}

#[test]
fn more_schemas_than_are_kept_take_turns() {
    let (name, writer) = ring("turns", 3);
    let readers = Readers::attach(&name);
    for round in 0..4 {
        for number in 0..50 {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![number, round]));
            let batch = RecordBatch::try_from_iter([(format!("c{number}"), column)]).unwrap();
            writer.write_arrow(&batch).unwrap();
            readers.expect("turns", &batch);
        }
    }
}

#[test]
fn schemas_that_take_turns_keep_their_templates() {
    let (name, writer) = ring("turns-kept", 1);
    let data = Raw::data(&name);
    let round = |schemas: i64| -> Vec<Option<u64>> {
        let written = (0..schemas).map(|number| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
            let batch = RecordBatch::try_from_iter([(format!("c{number}"), column)]).unwrap();
            writer.write_arrow(&batch).unwrap();
            let is_noted = data.u32(data.slot(0, raw::KIND)) & 0xffff == 2;
            is_noted.then(|| data.u64(data.slot(0, raw::PAYLOAD)))
        });
        written.collect()
    };
    let first = round(24);
    assert!(first.iter().all(Option::is_some));
    assert_eq!(round(24), first);
    // More than are kept do not push each other out: most of those that have one keep it.
    let before = round(64);
    let after = round(64);
    let kept = before.iter().zip(&after).filter(|(one, next)| one.is_some() && one == next).count();
    assert!(kept > 24, "{kept} of 64: {before:?}, {after:?}");
}

/// Bytes of a message that would look like a noted stream if the slot was believed instead of the writer's memory.
#[test]
fn whatever_was_in_the_slot_the_next_batch_is_whole() {
    let (name, writer) = ring("between", 1);
    let reader = create_reader(name.name()).unwrap();
    let data = Raw::data(&name);
    let first = trades(2, 9);
    writer.write_arrow(&first).unwrap();
    let note = data.bytes(data.slot(0, raw::PAYLOAD), 16);
    let stream = reader.read(0).unwrap().unwrap();
    let plain_bytes = |len: usize| {
        // From the note on: plain messages begin where it is.
        let mut bytes = [note.clone(), vec![0xee; 24], stream.clone()].concat();
        bytes[40..].fill(0xee);
        bytes.truncate(len);
        bytes
    };
    let mut writer = writer;
    for len in [0, 8, 16, 40, 48, 400, plain_bytes(1 << 20).len()] {
        writer.write(&plain_bytes(len)).unwrap();
        assert_eq!(reader.read(0).unwrap().unwrap(), plain_bytes(len));
        let batch = trades(3, len as u64);
        writer.write_arrow(&batch).unwrap();
        // One that knows no template looks at the whole slot.
        let new = create_reader(name.name()).unwrap().read_arrow(0).unwrap();
        assert_eq!(new.as_ref(), Some(&batch), "after {len} bytes, by a new reader");
        assert_eq!(reader.read_arrow(0).unwrap().unwrap(), batch, "after {len} bytes");
        // A reservation that comes to nothing has spoilt the slot as well.
        let mut reservation = writer.reserve(1000).unwrap();
        reservation.write_at(0, &plain_bytes(1000)).unwrap();
        writer.write_arrow(&batch).unwrap();
        assert_eq!(reader.read_arrow(0).unwrap().unwrap(), batch, "after a reservation");
        // So has a stream that the writer was given.
        writer.write_ipc_stream(&stream).unwrap();
        assert_eq!(reader.read_arrow(0).unwrap().unwrap(), first);
        writer.write_arrow(&batch).unwrap();
        assert_eq!(reader.read_arrow(0).unwrap().unwrap(), batch, "after a stream");
    }
}

#[test]
fn a_new_writer_and_another_segment_have_templates_of_their_own() {
    let name = RingName::new("moves");
    let small = WriterOptions::new(2).slot_capacity(4096);
    let writer = small.create(name.name()).unwrap();
    let readers = Readers::attach(&name);
    for number in 0..3 {
        writer.write_arrow(&trades(1, number)).unwrap();
        readers.expect("before", &trades(1, number));
    }
    // Moves to larger slots.
    let large = trades(2_000, 3);
    writer.write_arrow(&large).unwrap();
    readers.expect("after a rollover", &large);
    assert_eq!(writer.stats().rollovers, 1);
    drop(writer);
    let writer = small.create(name.name()).unwrap();
    // Another schema under the number that the first writer began with.
    let other = generate::batch(array(&DataType::Utf8, 5, Nulls::Some));
    for _ in 0..3 {
        writer.write_arrow(&other).unwrap();
        readers.expect("after a takeover", &other);
        writer.write_arrow(&trades(4, 4)).unwrap();
        readers.expect("after a takeover", &trades(4, 4));
    }
    // One that comes late has seen none of them whole before.
    let late = create_reader(name.name()).unwrap();
    assert_eq!(late.read_arrow(0).unwrap().unwrap(), other);
    assert_eq!(late.read_arrow(0).unwrap().unwrap(), trades(4, 4));
}

/// What imported data may have, and arrow-rs's own constructors refuse.
fn with_nulls_nevertheless(nullable: bool) -> RecordBatch {
    let nulls = NullBuffer::from(vec![true, false, true]);
    let column: ArrayRef = Arc::new(Int64Array::new(vec![1, 2, 3].into(), Some(nulls)));
    let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, nullable)]));
    // SAFETY: the lengths and types are right, and memory is all that unsafe code may rely on.
    unsafe { RecordBatch::new_unchecked(schema, vec![column], 3) }
}

#[test]
fn nulls_where_there_must_be_none_are_refused() {
    let (name, writer) = ring("nulls", 2);
    let reader = create_reader(name.name()).unwrap();
    let good: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let schema = with_nulls_nevertheless(false).schema();
    let good = RecordBatch::try_new(schema, vec![good]).unwrap();
    for _ in 0..3 {
        writer.write_arrow(&good).unwrap();
        let error = writer.write_arrow(&with_nulls_nevertheless(false)).unwrap_err();
        assert!(matches!(error, QADataSwapError::ArrowError(_)));
        assert!(error.to_string().contains("\"c\""), "{error}");
        assert_eq!(reader.read_arrow(0).unwrap().unwrap(), good);
        assert_eq!(reader.read(0).unwrap(), None);
    }
}

/// Each word of the note and of the stream is damaged in turn. What is read by the template is what a reader has that
/// knows none and decodes all of it; only where the note or the schema message is damaged it may be another batch.
#[test]
fn a_damaged_stream_is_read_as_by_a_reader_without_templates() {
    let (name, writer) = ring("damaged", 1);
    let data = Raw::data(&name);
    let batch = trades(3, 1);
    let readers: [Reader; 2] = std::array::from_fn(|_| create_reader(name.name()).unwrap());
    let [copying, in_place] = &readers;
    let learn = |reader: &Reader| {
        writer.write_arrow(&batch).unwrap();
        assert_eq!(reader.read_arrow_zero_copy(0).unwrap().unwrap(), batch);
    };
    learn(in_place);
    assert_eq!(copying.read_arrow(0).unwrap().unwrap(), batch);
    let length = u64::from(data.u32(data.slot(0, raw::LENGTH)));
    let schema_bytes = u64::from(data.u32(data.slot(0, raw::PAYLOAD + 8)));
    let mut random = raw::Random(5);
    let (mut valid, mut refused) = (0, 0);
    for word in (0..40).step_by(8).chain((40..40 + length).step_by(8)) {
        let at = data.slot(0, raw::PAYLOAD + word);
        for change in 0..6 {
            writer.write_arrow(&batch).unwrap();
            let value = data.u64(at);
            let damaged = match change {
                0 => 0,
                1 => u64::MAX,
                2 => value ^ 1,
                3 => value.wrapping_add(8),
                4 => value | 1 << 63,
                _ => random.next(),
            };
            data.set_u64(at, damaged);
            let whole = create_reader(name.name()).unwrap().read_arrow(0);
            let by_template = copying.read_arrow(0);
            let by_template_in_place = in_place.read_arrow_zero_copy(0);
            if let Err(QADataSwapError::NotAligned | QADataSwapError::NotOneBatch { .. }) =
                by_template_in_place
            {
                assert!(in_place.skip().unwrap());
            }
            for read in [&whole, &by_template, &by_template_in_place] {
                match read {
                    Ok(Some(found)) => {
                        found.columns().iter().for_each(|c| c.to_data().validate_full().unwrap());
                        valid += 1;
                    }
                    Ok(None) => panic!("there is a message"),
                    Err(QADataSwapError::ArrowError(error)) => {
                        assert!(!error.to_string().contains("panicked"), "{error}");
                        refused += 1;
                    }
                    Err(QADataSwapError::NotAligned | QADataSwapError::NotOneBatch { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            if word >= 40 + schema_bytes {
                let what = format!("word {word}: {value:x}, now {damaged:x}");
                assert_eq!(
                    by_template.is_ok(),
                    whole.is_ok(),
                    "{what}: {by_template:?}, {whole:?}"
                );
                let whole = whole.ok();
                assert!(by_template.ok() == whole, "{what}");
                assert!(by_template_in_place.ok().is_none_or(|read| Some(read) == whole), "{what}");
            }
            // What was stored by others is not what the writer remembers.
            data.set_u64(at, value);
        }
    }
    assert!(valid > 100 && refused > 100, "{valid} {refused}");
    learn(in_place);
}

/// One column of numbers, one of strings with nulls where `nulls` says so.
fn quotes(numbers: &[i64], words: &[&str], nulls: bool) -> RecordBatch {
    let words = words.iter().enumerate().map(|(row, word)| (!nulls || row != 0).then_some(*word));
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef, false),
        ("s", Arc::new(words.collect::<StringArray>()) as ArrayRef, true),
    ])
    .unwrap()
}

/// Where the numbers of a batch are in memory.
fn memory_of(batch: &RecordBatch) -> *const i64 {
    batch.column(0).as_primitive::<Int64Type>().values().as_ptr()
}

#[test]
fn memory_is_used_again_only_when_nothing_that_was_given_out_is_left() {
    let (name, writer) = ring("again", 4);
    let reader = create_reader(name.name()).unwrap();
    let mut number = 0;
    let mut next = |nulls: bool| {
        number += 1;
        let batch = quotes(&[number, -number], &["ab", "c"], nulls);
        writer.write_arrow(&batch).unwrap();
        let read = reader.read_arrow(0).unwrap().unwrap();
        assert_eq!(read, batch);
        (read, batch)
    };
    // The first stream is decoded whole, and the room for nulls is made once.
    for nulls in [false, true] {
        next(nulls);
    }
    let place = memory_of(&next(false).0);
    for nulls in [false, true, true, false, true] {
        assert_eq!(memory_of(&next(nulls).0), place, "dropped at once");
    }
    type Keep = fn(RecordBatch) -> Box<dyn std::any::Any>;
    let keeps: [(&str, Keep); 7] = [
        ("the batch", |batch| Box::new(batch)),
        ("a column", |batch| Box::new(batch.column(0).clone())),
        ("the column that may have nulls", |batch| Box::new(batch.column(1).clone())),
        ("a weak reference", |batch| Box::new((Arc::downgrade(batch.column(1)), batch))),
        ("part of a column", |batch| Box::new(batch.column(1).slice(1, 1))),
        ("values", |batch| Box::new(batch.column(0).as_primitive::<Int64Type>().values().clone())),
        ("what strings are made of", |batch| {
            Box::new(batch.column(1).as_string::<i32>().values().clone())
        }),
    ];
    let mut all = Vec::new();
    for nulls in [false, true] {
        for (what, keep) in &keeps {
            let (read, written) = next(nulls);
            let (place, values) = (memory_of(&read), read.columns().to_vec());
            drop(values);
            let kept = keep(read);
            for nulls in [nulls, !nulls, nulls] {
                assert_ne!(memory_of(&next(nulls).0), place, "{what} is left");
            }
            if let Some(batch) = kept.downcast_ref::<RecordBatch>() {
                assert_eq!(*batch, written, "what was given out has not changed");
            }
            all.push(kept);
        }
    }
    // A reference that can be made good again is one, even if nothing else is left.
    let weak = Arc::downgrade(next(false).0.column(0));
    let before = memory_of(&next(true).0);
    assert_eq!(memory_of(&next(true).0), before);
    assert!(weak.upgrade().is_none());
}

#[test]
fn batches_that_are_kept_do_not_change() {
    let (name, writer) = ring("kept", 3);
    let reader = create_reader(name.name()).unwrap();
    let mut random = raw::Random(11);
    let mut kept = Vec::new();
    for number in 0..2_000 {
        let batch = trades(1 + random.next() % 3, random.next() % 50);
        writer.write_arrow(&batch).unwrap();
        let read = reader.read_arrow(0).unwrap().unwrap();
        assert_eq!(read, batch, "{number}");
        read.columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
        if random.next().is_multiple_of(2) {
            kept.push((read, batch));
        }
        if random.next().is_multiple_of(8) && !kept.is_empty() {
            let (read, written) = kept.swap_remove(random.next() as usize % kept.len());
            assert_eq!(read, written);
        }
    }
    kept.iter().for_each(|(read, written)| assert_eq!(read, written));
}

#[test]
fn a_reader_in_another_thread_may_drop_what_it_was_given_at_any_time() {
    let (name, writer) = ring("dropped", 3);
    let reader = create_reader(name.name()).unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(RecordBatch, RecordBatch)>(2);
    let other = std::thread::spawn(move || {
        for (read, written) in receiver {
            assert_eq!(read, written);
        }
    });
    for number in 0..5_000 {
        let batch = trades(1 + number % 2, number % 40);
        writer.write_arrow(&batch).unwrap();
        sender.send((reader.read_arrow(0).unwrap().unwrap(), batch)).unwrap();
    }
    drop(sender);
    other.join().unwrap();
}

/// The metadata of the batch message that a slot holds.
fn metadata_in(data: &Raw, slot: u64) -> Vec<u8> {
    let [schema, metadata] = [8, 12].map(|at| data.u32(data.slot(slot, raw::PAYLOAD + at)));
    data.bytes(data.slot(slot, raw::PAYLOAD + 40 + u64::from(schema)), metadata as usize)
}

#[test]
fn metadata_stay_the_same_while_batches_are_of_much_the_same_size() {
    let (name, writer) = ring("layout", 1);
    let reader = create_reader(name.name()).unwrap();
    let data = Raw::data(&name);
    let write = |words: &[&str], nulls| {
        let batch = quotes(&[1, 2, 3], words, nulls);
        writer.write_arrow(&batch).unwrap();
        assert_eq!(by_stream_reader(&reader.read(0).unwrap().unwrap()), batch);
        metadata_in(&data, 0)
    };
    write(&["long enough", "for", "all"], true);
    let metadata = write(&["a", "long", "one"], true);
    for words in [["", "", ""], ["long enough", "for", "all"], ["ä", "€uro", "x"]] {
        assert_eq!(write(&words, true), metadata, "{words:?}");
    }
    // A null less is one number less, and no more.
    let differing = write(&["a", "b", "c"], false);
    assert_eq!(differing.iter().zip(&metadata).filter(|(one, other)| one != other).count(), 1);
    let much_longer = "x".repeat(300);
    assert_ne!(write(&["a", "b", &much_longer], true), metadata);
    // Nor is room kept for ever that is not needed.
    let reader_of_sizes = create_reader(name.name()).unwrap();
    let large = reader_of_sizes.read(0).unwrap().unwrap().len();
    write(&["a", "b", "c"], true);
    let small = reader_of_sizes.read(0).unwrap().unwrap().len();
    assert!(small + 280 <= large, "{small}, {large}");
}

#[test]
fn room_that_is_kept_is_given_up_where_a_batch_would_not_fit() {
    let name = RingName::new("tight");
    let long = "x".repeat(200);
    let large = quotes(&[1; 40], &[long.as_str(), "y", ""].repeat(14)[..40], true);
    // One whose strings are shorter, and whose numbers take up as much.
    let half = "x".repeat(110);
    let other = quotes(&[1; 60], &[half.as_str(), "y", ""].repeat(20), true);
    let size = |batch: &RecordBatch| {
        let (name, writer) = ring("size-of", 1);
        writer.write_arrow(batch).unwrap();
        create_reader(name.name()).unwrap().read(0).unwrap().unwrap().len()
    };
    let capacity = size(&large).max(size(&other));
    let writer = WriterOptions::new(2).slot_capacity(capacity).rollover(false).create(name.name());
    let (writer, readers) = (writer.unwrap(), Readers::attach(&name));
    for _ in 0..3 {
        for batch in [&large, &other] {
            writer.write_arrow(batch).unwrap();
            readers.expect("tight", batch);
        }
    }
}

/// Reads batches of which each column says what the others must be.
fn play_follow(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    parent.say("ready");
    let mut read = 0;
    loop {
        let batch = match reader.read_arrow(u64::MAX) {
            Ok(batch) => batch.expect("waits for ever"),
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("{error}"),
        };
        let seed = batch.column(0).as_primitive::<Int64Type>().value(0) as u64 - 1;
        assert_eq!(batch, trades(batch.num_rows() as u64, seed));
        read += 1;
    }
    let stats = reader.stats();
    assert_eq!(stats.consumed, read);
    parent.say(stats.consumed + stats.lost);
}

#[test]
fn a_process_that_is_lapped_again_and_again_gets_no_mixture() {
    let (name, writer) = ring("storm", 2);
    let mut child = Child::spawn("follow", &[name.name()]);
    assert_eq!(child.hear(), "ready");
    let batches: Vec<_> = (0..50).map(|n| trades(1 + n % 5, n)).collect();
    const ROUNDS: u64 = 400;
    for _ in 0..ROUNDS {
        batches.iter().for_each(|batch| writer.write_arrow(batch).unwrap());
    }
    writer.close().unwrap();
    let seen: u64 = child.hear().parse().unwrap();
    assert_eq!(seen, ROUNDS * batches.len() as u64);
    child.finish();
}
