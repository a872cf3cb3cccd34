//! Batches of random flat schemas through rings whose readers keep, clone, slice and drop parts of what they were
//! given, here and in another thread: whatever is kept stays as it was read, and every slot holds an ordinary stream,
//! whatever room buffers have there.
//!
//! What fails is kept, smallest first, in `memory_used_again.proptest-regressions` and tried again in every run.

#[path = "arrow/generate.rs"]
mod generate;
mod support;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use arrow_array::types::{ByteArrayType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, GenericByteArray, LargeBinaryArray, LargeStringArray,
    RecordBatch, StringArray, UInt64Array, make_array,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use generate::{Nulls, array, flat_types};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use qadataswap::{Reader, ReaderOptions, WriterOptions};
use support::RingName;

/// What one column of one batch is made from.
#[derive(Clone, Debug)]
struct Column {
    /// Rows of the array before those of the batch, and after them.
    around: (usize, usize),
    /// Rows that are null, if any: one bit each, again and again.
    null_rows: Option<u64>,
    /// Length of the longest string.
    longest: usize,
    seed: u64,
}

fn column() -> impl Strategy<Value = Column> {
    let null_rows =
        prop_oneof![2 => Just(None), 2 => any::<u64>().prop_map(Some), 1 => Just(Some(0))];
    // Mostly of a length, so that rooms are used again, and now and then longer.
    let longest = prop_oneof![4 => Just(12_usize), 2 => 0..4_usize, 1 => 0..300_usize];
    let around = (prop_oneof![Just(0_usize), 0..20_usize], 0..3_usize);
    (around, null_rows, longest, any::<u64>())
        .prop_map(|(around, null_rows, longest, seed)| Column { around, null_rows, longest, seed })
}

impl Column {
    fn make(&self, field: &Field, rows: usize) -> ArrayRef {
        let (before, after) = self.around;
        let len = before + rows + after;
        let mut random = support::raw::Random(self.seed | 1);
        let mut word =
            || "aé漢 z".chars().cycle().take(random.next() as usize % (self.longest + 1)).collect();
        let words: Vec<String> = (0..len).map(|_| word()).collect();
        let bytes = words.iter().map(String::as_bytes);
        let whole: ArrayRef = match field.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from_iter_values(&words)),
            DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter_values(&words)),
            DataType::Binary => Arc::new(BinaryArray::from_iter_values(bytes)),
            DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter_values(bytes)),
            // Other rows of the same pattern each time.
            other => array(other, len + 8, Nulls::None).slice(self.seed as usize % 8, len),
        };
        let whole = match self.null_rows {
            Some(bits) if field.is_nullable() => {
                let valid: NullBuffer =
                    (0..len as u32).map(|row| bits.rotate_left(row) & 1 == 1).collect();
                make_array(whole.to_data().into_builder().nulls(Some(valid)).build().unwrap())
            }
            _ => whole,
        };
        whole.slice(before, rows)
    }
}

/// What a reader does with a batch.
#[derive(Clone, Debug)]
enum Keep {
    Nothing,
    Batch,
    PartOfBatch(Index),
    Column(Index),
    PartOfColumn(Index, Index),
    Buffer(Index, Index),
    Exported(Index),
    Weak(Index),
}

/// What happens to it, or to something kept before, next.
#[derive(Clone, Debug)]
enum Then {
    Stay,
    DropOne(Index),
    DropAll,
    /// Goes to another thread, which drops it some time.
    Send,
}

#[derive(Clone, Debug)]
enum Write {
    /// A batch of one of the schemas.
    Batch { schema: Index, rows: usize, columns: Vec<Column> },
    /// Bytes, so many.
    Bytes(usize),
    /// Bytes that are stored to the slot and not published.
    Dropped(usize),
}

#[derive(Clone, Debug)]
struct Step {
    write: Write,
    /// For each reader that copies.
    kept: [(Keep, Then); READERS],
}

const READERS: usize = 2;
const MOST_COLUMNS: usize = 4;

fn keep() -> impl Strategy<Value = Keep> {
    let index = any::<Index>;
    prop_oneof![
        6 => Just(Keep::Nothing),
        1 => Just(Keep::Batch),
        1 => index().prop_map(Keep::PartOfBatch),
        1 => index().prop_map(Keep::Column),
        1 => (index(), index()).prop_map(|(column, from)| Keep::PartOfColumn(column, from)),
        1 => (index(), index()).prop_map(|(column, which)| Keep::Buffer(column, which)),
        1 => index().prop_map(Keep::Exported),
        1 => index().prop_map(Keep::Weak),
    ]
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        3 => Just(Then::Stay),
        3 => any::<Index>().prop_map(Then::DropOne),
        1 => Just(Then::DropAll),
        2 => Just(Then::Send),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rows = prop_oneof![4 => 1..4_usize, 2 => 1..70_usize];
    let columns = prop::collection::vec(column(), MOST_COLUMNS);
    let write = prop_oneof![
        12 => (any::<Index>(), rows, columns)
            .prop_map(|(schema, rows, columns)| Write::Batch { schema, rows, columns }),
        1 => (0..600_usize).prop_map(Write::Bytes),
        1 => (0..600_usize).prop_map(Write::Dropped),
    ];
    let kept = std::array::from_fn(|_| (keep(), then()));
    (write, kept).prop_map(|(write, kept)| Step { write, kept })
}

/// Schemas; more than there are templates now and then.
fn schemas() -> impl Strategy<Value = Vec<SchemaRef>> {
    // Strings more often than their number among the types: only they have rooms that are not all listed.
    let words = vec![DataType::Utf8, DataType::Binary, DataType::LargeUtf8, DataType::LargeBinary];
    let mut all = flat_types();
    all.retain(|data_type| *data_type != DataType::Null);
    let data_type = prop_oneof![select(all), select(words)];
    let fields = prop::collection::vec((data_type, prop::bool::weighted(0.8)), 1..=MOST_COLUMNS);
    let schema = fields.prop_map(|fields| {
        let field =
            |(index, (data_type, nullable))| Field::new(format!("c{index}"), data_type, nullable);
        Arc::new(Schema::new(fields.into_iter().enumerate().map(field).collect::<Vec<_>>()))
    });
    let count = prop_oneof![5 => 1..4_usize, 1 => 9..12_usize];
    count.prop_flat_map(move |count| prop::collection::vec(schema.clone(), count))
}

/// Something that was read, and what it must be for ever.
enum Kept {
    Batch(RecordBatch, RecordBatch),
    Column(ArrayRef, ArrayRef),
    Buffer(Buffer, Vec<u8>),
    Exported(Box<(FFI_ArrowArray, FFI_ArrowSchema)>, ArrayRef),
    /// As long as it can be made good, it is what it was.
    Weak(Weak<dyn Array>, ArrayRef),
}

impl Kept {
    fn of(keep: &Keep, read: RecordBatch, written: &RecordBatch) -> Option<Self> {
        let column = |index: &Index| {
            let index = index.index(read.num_columns());
            (read.column(index).clone(), written.column(index).clone())
        };
        Some(match keep {
            Keep::Nothing => return None,
            Keep::Batch => Self::Batch(read, written.clone()),
            Keep::PartOfBatch(from) => {
                let from = from.index(read.num_rows());
                let part = |batch: &RecordBatch| batch.slice(from, batch.num_rows() - from);
                Self::Batch(part(&read), part(written))
            }
            Keep::Column(index) => {
                let (read, written) = column(index);
                Self::Column(read, written)
            }
            Keep::PartOfColumn(index, from) => {
                let from = from.index(read.num_rows());
                let (read, written) = column(index);
                let part = |column: ArrayRef| column.slice(from, column.len() - from);
                Self::Column(part(read), part(written))
            }
            Keep::Buffer(index, which) => {
                let data = column(index).0.to_data();
                let nulls = data.nulls().map(|nulls| nulls.buffer());
                let buffers: Vec<_> = data.buffers().iter().chain(nulls).collect();
                if buffers.is_empty() {
                    return None;
                }
                let buffer = buffers[which.index(buffers.len())].clone();
                let bytes = buffer.to_vec();
                Self::Buffer(buffer, bytes)
            }
            Keep::Exported(index) => {
                let (read, written) = column(index);
                Self::Exported(Box::new(to_ffi(&read.to_data()).unwrap()), written)
            }
            Keep::Weak(index) => {
                let (read, written) = column(index);
                Self::Weak(Arc::downgrade(&read), written)
            }
        })
    }

    /// Whether it still is what it was.
    fn check(self) {
        match self {
            Self::Batch(found, written) => assert_eq!(found, written),
            Self::Column(found, written) => assert_eq!(&found, &written),
            Self::Buffer(found, bytes) => assert_eq!(found.as_slice(), bytes),
            Self::Exported(exported, written) => {
                let (array, schema) = *exported;
                // SAFETY: both were made by `to_ffi` together.
                let data = unsafe { from_ffi(array, &schema) }.unwrap();
                assert_eq!(&make_array(data), &written);
            }
            Self::Weak(weak, written) => {
                if let Some(found) = weak.upgrade() {
                    assert_eq!(&found, &written);
                }
            }
        }
    }
}

/// A reader that copies, and what was kept of what it gave out.
struct Keeper {
    reader: Reader,
    kept: Vec<Kept>,
}

impl Keeper {
    fn read(
        &mut self,
        written: &RecordBatch,
        (keep, then): &(Keep, Then),
        other: &SyncSender<Kept>,
    ) {
        let read = self.reader.read_arrow(0).unwrap().expect("just published");
        assert_eq!(&read, written);
        assert_eq!(read.schema(), written.schema());
        for column in read.columns() {
            column.to_data().validate_full().unwrap();
        }
        self.kept.extend(Kept::of(keep, read, written));
        match then {
            Then::DropOne(index) if !self.kept.is_empty() => {
                self.kept.swap_remove(index.index(self.kept.len())).check();
            }
            Then::DropAll => self.kept.drain(..).for_each(Kept::check),
            Then::Send => self.kept.pop().into_iter().for_each(|kept| other.send(kept).unwrap()),
            Then::Stay | Then::DropOne(_) => {}
        }
    }
}

/// The batch as another implementation's reader has it.
fn by_stream_reader(bytes: &[u8]) -> RecordBatch {
    let mut reader = StreamReader::try_new(bytes, None).unwrap();
    let batch = reader.next().expect("one batch").unwrap();
    assert!(reader.next().is_none());
    batch
}

/// Where the last string of a column ends, and what it ends in.
fn end_of<T: ByteArrayType>(column: &GenericByteArray<T>) -> (usize, &[u8]) {
    (column.offsets()[column.len()].as_usize(), column.values())
}

/// There is nothing after the last string of a column but zeros, which any implementation takes for UTF-8.
fn assert_nothing_follows(column: &ArrayRef) {
    let (end, bytes) = match column.data_type() {
        DataType::Utf8 => end_of(column.as_string::<i32>()),
        DataType::LargeUtf8 => end_of(column.as_string::<i64>()),
        DataType::Binary => end_of(column.as_binary::<i32>()),
        DataType::LargeBinary => end_of(column.as_binary::<i64>()),
        _ => return,
    };
    assert!(bytes[end..].iter().all(|byte| *byte == 0), "{:?}", &bytes[end..]);
}

fn run(slots: usize, capacity: usize, schemas: &[SchemaRef], steps: &[Step]) {
    let name = RingName::new("memory-used-again");
    let options = WriterOptions::new(slots).slot_capacity(capacity);
    let mut writer = options.create(name.name()).unwrap();
    let attach = || ReaderOptions::new().attach(name.name()).unwrap();
    let (plain, in_place) = (attach(), attach());
    let mut keepers: [_; READERS] =
        std::array::from_fn(|_| Keeper { reader: attach(), kept: Vec::new() });
    let (sender, receiver) = sync_channel::<Kept>(4);
    let other = std::thread::spawn(move || {
        let mut held = VecDeque::new();
        for kept in receiver {
            held.push_back(kept);
            if held.len() > 3 {
                held.pop_front().into_iter().for_each(Kept::check);
            }
        }
        held.into_iter().for_each(Kept::check);
    });
    for Step { write, kept } in steps {
        match write {
            Write::Batch { schema, rows, columns } => {
                let schema = schema.get(schemas);
                let fields = schema.fields().iter().zip(columns);
                let columns = fields.map(|(field, column)| column.make(field, *rows)).collect();
                let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
                writer.write_arrow(&batch).unwrap();
                let stream = plain.read(0).unwrap().expect("just published");
                let found = by_stream_reader(&stream);
                assert_eq!(found, batch);
                found.columns().iter().for_each(assert_nothing_follows);
                let shared = in_place.read_arrow_zero_copy(0).unwrap().expect("just published");
                assert_eq!(shared, batch);
                for (keeper, step) in keepers.iter_mut().zip(kept) {
                    keeper.read(&batch, step, &sender);
                }
            }
            Write::Bytes(len) => {
                let message = vec![0xff; *len];
                writer.write(&message).unwrap();
                let readers = keepers.iter().map(|keeper| &keeper.reader);
                for reader in readers.chain([&plain, &in_place]) {
                    assert_eq!(reader.read(0).unwrap().as_ref(), Some(&message));
                }
            }
            Write::Dropped(len) => {
                writer.reserve(*len).unwrap().write_at(0, &vec![0xff; *len]).unwrap();
            }
        }
    }
    keepers.into_iter().flat_map(|keeper| keeper.kept).for_each(Kept::check);
    drop(sender);
    other.join().unwrap();
}

/// PROPTEST_CASES=N for more.
fn settings() -> ProptestConfig {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory_used_again.proptest-regressions");
    let default = ProptestConfig::default();
    let given = std::env::var_os("PROPTEST_CASES").map(|_| default.cases);
    ProptestConfig {
        cases: given.unwrap_or(80),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..default
    }
}

/// The batch of this number: all that is in it follows from that.
fn numbered(number: u64) -> RecordBatch {
    let rows = 1 + number % 3;
    let words = (0..rows).map(|row| {
        let is_valid = !(number + row).is_multiple_of(4);
        is_valid.then(|| "é".repeat(((number * 7 + row) % 20) as usize))
    });
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(UInt64Array::from(vec![number; rows as usize])) as ArrayRef, false),
        ("s", Arc::new(words.collect::<StringArray>()) as ArrayRef, true),
    ])
    .unwrap()
}

/// A writer that laps the reader spoils copies in the middle, in memory that is used again.
#[test]
fn what_is_kept_outlives_copies_that_were_spoilt() {
    let name = RingName::new("spoilt");
    let writer = WriterOptions::new(1).slot_capacity(1 << 10).create(name.name()).unwrap();
    let reader = ReaderOptions::new().attach(name.name()).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let written = {
        let is_over = is_over.clone();
        std::thread::spawn(move || {
            (0..).take_while(|_| !is_over.load(Relaxed)).for_each(|number| {
                writer.write_arrow(&numbered(number)).unwrap();
            });
        })
    };
    let check = |batch: &RecordBatch| {
        let number = batch.column(0).as_primitive::<UInt64Type>().value(0);
        assert_eq!(*batch, numbered(number));
        batch.columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
    };
    let mut kept = VecDeque::new();
    let mut read = 0;
    while read < 2_000 || reader.stats().overruns < 100 {
        let Some(batch) = reader.read_arrow(0).unwrap() else {
            std::thread::yield_now();
            continue;
        };
        check(&batch);
        read += 1;
        // Whatever state the reader is in, it can be told.
        assert!(!format!("{reader:?}").contains("StringArray"));
        if read % 3 == 0 {
            kept.push_back(batch);
        }
        if kept.len() > 20 {
            kept.pop_front().iter().for_each(check);
        }
    }
    is_over.store(true, Relaxed);
    written.join().unwrap();
    kept.iter().for_each(check);
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn what_is_kept_stays_as_it_was_read(
        slots in 1..4_usize,
        capacity in select(vec![700_usize, 1 << 16]),
        schemas in schemas(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        run(slots, capacity, &schemas, &steps);
    }
}
