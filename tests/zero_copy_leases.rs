//! Record batches in place keep their message as long as anything of them is there: any buffer, on any
//! thread, with or without the reader.

#[path = "arrow/in_place.rs"]
mod in_place;
mod support;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::channel;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow_buffer::ScalarBuffer;
use in_place::{Ring, assert_in_ring, number_of, numbers};
use qadataswap::{OnSlowReader, QADataSwapError, ReaderOptions, Start, WriterOptions};
use support::numbered::Random;

/// A batch with buffers of all sorts.
fn mixed() -> RecordBatch {
    let integers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let words = ["", "a", "a word that is not inlined", "another such word, and longer"];
    let views = StringViewArray::from(words.to_vec());
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        [vec![1, 2], vec![], vec![3], vec![4, 5]].map(|list| Some(list.into_iter().map(Some))),
    );
    let keys = Int32Array::from(vec![1, 0, 1, 3]);
    let values: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
    let dictionary = DictionaryArray::<Int32Type>::new(keys, values.clone());
    let pair = [("i", integers.clone(), true), ("w", values.clone(), true)];
    let pair = StructArray::from(RecordBatch::try_from_iter_with_nullable(pair).unwrap());
    RecordBatch::try_from_iter([
        ("integers", integers),
        ("words", values),
        ("views", Arc::new(views) as _),
        ("lists", Arc::new(lists) as _),
        ("dictionary", Arc::new(dictionary) as _),
        ("pair", Arc::new(pair) as _),
    ])
    .unwrap()
}

/// What may be all that is left of a batch; its contents show when it is printed.
type Piece = Box<dyn Debug + Send + Sync>;
type Take = (&'static str, fn(&RecordBatch) -> Piece);

const PIECES: [Take; 18] = [
    ("clone", |batch| Box::new(batch.clone())),
    ("slice", |batch| Box::new(batch.slice(3, 1))),
    ("slice of a slice", |batch| Box::new(batch.slice(1, 3).slice(1, 1))),
    ("projection", |batch| Box::new(batch.project(&[3]).unwrap())),
    ("column", |batch| Box::new(batch.column(0).clone())),
    ("slice of a column", |batch| Box::new(batch.column(1).slice(2, 2))),
    ("slice of no rows", |batch| Box::new(batch.column(0).slice(1, 0))),
    ("values", |batch| Box::new(batch.column(0).as_primitive::<Int32Type>().values().clone())),
    ("nulls", |batch| {
        let nulls = batch.column(0).nulls().expect("it has nulls").buffer().clone();
        Box::new(ScalarBuffer::<u8>::from(nulls))
    }),
    ("offsets", |batch| Box::new(batch.column(1).as_string::<i32>().offsets().clone())),
    ("bytes", |batch| {
        let bytes = batch.column(1).as_string::<i32>().values().clone();
        Box::new(ScalarBuffer::<u8>::from(bytes.slice(3)))
    }),
    ("views", |batch| Box::new(batch.column(2).as_string_view().views().clone())),
    ("bytes behind views", |batch| {
        let bytes = batch.column(2).as_string_view().data_buffers()[0].clone();
        Box::new(ScalarBuffer::<u8>::from(bytes))
    }),
    ("children", |batch| Box::new(batch.column(3).as_list::<i32>().values().clone())),
    ("dictionary", |batch| Box::new(batch.column(4).as_any_dictionary().values().clone())),
    ("keys", |batch| Box::new(batch.column(4).as_dictionary::<Int32Type>().keys().slice(1, 2))),
    ("field", |batch| Box::new(batch.column(5).as_struct().column(1).clone())),
    ("columns", |batch| Box::new(batch.clone().into_parts().1)),
];

#[test]
fn any_piece_of_a_batch_keeps_the_message_and_the_last_one_ends_the_lease() {
    let ring = Ring::new("pieces", 4);
    for (what, take) in PIECES {
        for reader_goes in [false, true] {
            ring.writer.write_arrow(&mixed()).unwrap();
            let options = ReaderOptions::new().start(Start::Newest);
            let reader = options.attach(ring.name.name()).unwrap();
            let copy = reader.read_arrow(0).unwrap().expect("was published");
            assert_eq!(copy, mixed());
            let expected = format!("{:?}", take(&copy));
            drop(reader);
            let reader = options.attach(ring.name.name()).unwrap();
            let batch = reader.read_arrow_zero_copy(0).unwrap().expect("was published");
            assert_in_ring(what, &ring, std::slice::from_ref(&batch));
            let piece = take(&batch);
            drop(batch);
            assert_eq!(reader.stats().leases, 1, "{what}");
            let reader = if reader_goes {
                drop(reader);
                None
            } else {
                Some(reader)
            };
            for _ in 0..10 {
                assert!(ring.is_leased(), "{what}");
                assert!(format!("{piece:?}") == expected, "{what}");
            }
            std::thread::spawn(move || drop(piece)).join().unwrap();
            assert!(!ring.is_leased(), "{what}");
            assert!(reader.is_none_or(|reader| reader.stats().leases == 0), "{what}");
        }
    }
}

#[test]
fn hundreds_of_threads_have_a_part_each_and_the_last_one_ends_the_lease() {
    const THREADS: usize = 300;
    let mut random = Random::new();
    let ring = Ring::new("threads", 4);
    let batch = mixed();
    ring.writer.write_arrow(&batch).unwrap();
    let options = ReaderOptions::new().start(Start::Newest);
    let reader = options.attach(ring.name.name()).unwrap();
    let shared = reader.read_arrow_zero_copy(0).unwrap().expect("was published");
    let mut threads: Vec<_> = (0..THREADS)
        .map(|index| {
            let (column, rows) = (index % batch.num_columns(), index % 3 + 1);
            let part = shared.column(column).slice(4 - rows, rows);
            let expected = batch.column(column).slice(4 - rows, rows);
            let (tell, hear) = channel::<()>();
            let thread = std::thread::spawn(move || {
                hear.recv().unwrap();
                assert_eq!(*part, *expected);
                drop(part.clone());
            });
            (tell, thread)
        })
        .collect();
    drop((shared, reader));
    while let Some(left) = threads.len().checked_sub(1) {
        assert!(ring.is_leased(), "{left} threads have a part");
        let (tell, thread) = threads.swap_remove(random.below(left as u64 + 1) as usize);
        tell.send(()).unwrap();
        thread.join().unwrap();
    }
    assert!(!ring.is_leased());
}

#[test]
fn batches_count_as_leases() {
    let options = ReaderOptions::new().max_leases(2);
    let ring = Ring::with("count", &WriterOptions::new(4), &options);
    (0..4).for_each(|number| drop(ring.publish_number(number)));
    let (first, second) = (ring.lease(), ring.lease());
    let column = first.column(0).clone();
    drop(first);
    let before = ring.reader.stats();
    assert_eq!((before.leases, before.consumed), (2, 2));
    let refused = [
        ring.reader.read_arrow_zero_copy(u64::MAX).map(drop_it),
        ring.reader.read_batches_zero_copy(u64::MAX).map(drop_it),
        // SAFETY: the batches were written by this very test.
        unsafe { ring.reader.read_arrow_zero_copy_unchecked(u64::MAX) }.map(drop_it),
        ring.reader.lease(u64::MAX).map(drop_it),
    ];
    for result in refused {
        assert!(matches!(result, Err(QADataSwapError::TooManyLeases { limit: 2 })), "{result:?}");
    }
    assert_eq!(ring.reader.stats(), before);
    // A copy can be had.
    assert_eq!(number_of(&ring.reader.read_arrow(0).unwrap().expect("was published")), 2);
    drop(column);
    assert_eq!(number_of(&ring.lease()), 3);
    assert_eq!(number_of(&second), 1);
}

fn drop_it<T>(it: Option<T>) -> bool {
    it.is_some()
}

#[test]
fn a_ring_full_of_batches_refuses_writes_until_one_is_dropped() {
    let ring = Ring::new("full", 4);
    (0..4).for_each(|number| drop(ring.publish_number(number)));
    let mut batches: VecDeque<_> = (0..4).map(|_| ring.lease()).collect();
    for number in 4..50 {
        let Err(QADataSwapError::AllSlotsLeased { pids, .. }) =
            ring.writer.write_arrow(&numbers(number))
        else {
            panic!("there is no slot")
        };
        assert_eq!(pids, [std::process::id()]);
        assert!(batches.iter().map(number_of).eq(number - 4..number));
        batches.pop_front();
        ring.publish_number(number);
        batches.push_back(ring.lease());
    }
    assert_eq!((ring.reader.stats().lost, ring.reader.stats().consumed), (0, 50));
}

#[test]
fn a_lossless_reader_has_every_batch_in_place() {
    const COUNT: i64 = 3_000;
    let wait = OnSlowReader::Wait { limit_ms: u64::MAX };
    for slots in [2, 4, 8] {
        let writer = WriterOptions::new(slots).slot_capacity(1024).on_slow_reader(wait);
        let options = ReaderOptions::new().lossless(true);
        let Ring { name: _name, writer, reader, .. } = Ring::with("lossless", &writer, &options);
        let writing = std::thread::spawn(move || {
            (0..COUNT).for_each(|number| writer.write_arrow(&numbers(number)).unwrap());
            writer
        });
        let mut held = VecDeque::new();
        for number in 0..COUNT {
            let batch = loop {
                let finished = writing.is_finished();
                if let Some(batch) = reader.read_arrow_zero_copy(1_000).unwrap() {
                    break batch;
                }
                assert!(!finished, "the writer has ended before message {number}");
            };
            assert_eq!(number_of(&batch), number);
            held.push_back((number, batch.column(0).slice(5, 5)));
            drop(batch);
            // Beside the next one, which leaves a slot to the writer.
            while held.len() > (slots - 2).min(3) {
                let (first, column) = held.pop_front().expect("there are some");
                assert_eq!(*column, *numbers(first).column(0).slice(5, 5));
            }
        }
        let stats = reader.stats();
        assert_eq!((stats.consumed, stats.lost, stats.evictions), (COUNT as u64, 0, 0));
        assert_eq!(writing.join().unwrap().stats().evictions, 0);
    }
}

#[test]
fn a_lossless_reader_keeps_a_batch_that_it_is_refused() {
    let writer = WriterOptions::new(2).slot_capacity(1024).on_slow_reader(OnSlowReader::Refuse);
    let ring = Ring::with("refused", &writer, &ReaderOptions::new().lossless(true));
    let batch = numbers(1);
    ring.writer.write_batches(&batch.schema(), &[batch.clone(), batch.clone()]).unwrap();
    ring.writer.write(b"no stream").unwrap();
    for _ in 0..10 {
        let result = ring.reader.read_arrow_zero_copy(0);
        assert!(matches!(result, Err(QADataSwapError::NotOneBatch { found: 2 })), "{result:?}");
        let result = ring.writer.write(b"");
        assert!(matches!(result, Err(QADataSwapError::WouldBlock { .. })), "{result:?}");
    }
    assert_eq!(ring.writer.stats().lease_skips, 0);
    assert_eq!(
        ring.reader.read_batches(0).unwrap().expect("is there").batches,
        [batch.clone(), batch]
    );
    ring.writer.write(b"").unwrap();
    // What is no batch at all is consumed by saying so.
    assert!(matches!(ring.reader.read_arrow_zero_copy(0), Err(QADataSwapError::ArrowError(_))));
    ring.writer.write(b"").unwrap();
    assert_eq!((ring.reader.stats().consumed, ring.reader.stats().lost), (2, 0));
}

#[test]
fn batches_stay_when_the_ring_moves_to_larger_slots_and_goes() {
    let ring =
        Ring::with("moves", &WriterOptions::new(2).slot_capacity(600), &ReaderOptions::new());
    let mut held = vec![];
    for number in 0..4 {
        ring.publish_number(number);
        held.push(ring.lease());
        let capacity = ring.writer.slot_capacity();
        ring.writer.write(&vec![0; capacity + 1]).unwrap();
        assert!(!ring.is_leased(), "not in this segment");
        ring.skip_all();
    }
    assert_eq!((ring.writer.stats().rollovers, ring.reader.stats().leases), (4, 4));
    assert!(matches!(ring.reader.lease(0), Err(QADataSwapError::TooManyLeases { limit: 4 })));
    let Ring { name, writer, reader, copying } = ring;
    writer.unlink().unwrap();
    drop((reader, copying));
    assert!(held.iter().map(number_of).eq(0..4));
    let mapped = || support::inspect::data_mappings(name.name()).len();
    assert_eq!(mapped(), 4);
    held.remove(1);
    assert_eq!(mapped(), 3);
    assert!(held.iter().map(number_of).eq([0, 2, 3]));
    drop(held);
    assert_eq!(mapped(), 0);
}
