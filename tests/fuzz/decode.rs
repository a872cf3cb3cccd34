//! Any bytes as the Arrow stream in a slot: what every way of reading makes of it is valid, and the same;
//! what can be read can be published again, and comes out equal. (What begins with a mark is for `notes`.)

use qadataswap::arrow_array::{Array, RecordBatch};
use qadataswap::{Batches, QADataSwapError, Reader, Result, Writer, WriterOptions, create_reader};

use super::{is_of_reading, notes};
use crate::support::RingName;

/// Rows of null arrays and the like cost no bytes; more than so many are not compared row by row.
const MOST_COMPARED: usize = 1 << 14;
/// What fits into a slot.
const CAPACITY: usize = 1 << 16;

struct Ring {
    writer: Writer,
    /// For each way of reading one of its own, as each message is read once.
    copying: Reader,
    joining: Reader,
    in_place: Reader,
    only: Reader,
    unchecked: Reader,
    /// Removes the ring when dropped, after the handles.
    _name: RingName,
}

thread_local! {
    static RING: Ring = {
        let name = RingName::new("fuzz-decode");
        let options = WriterOptions::new(4).slot_capacity(CAPACITY);
        let writer = options.create(name.name()).unwrap();
        let reader = || create_reader(name.name()).unwrap();
        Ring {
            writer,
            copying: reader(),
            joining: reader(),
            in_place: reader(),
            only: reader(),
            unchecked: reader(),
            _name: name,
        }
    };
}

pub fn run(bytes: &[u8]) {
    if let Some(rest) = bytes.strip_prefix(notes::MARK) {
        return notes::run(rest);
    }
    RING.with(|ring| {
        ring.writer.write_ipc_stream(bytes).unwrap();
        let Some(found) = ring.read() else { return };
        match ring.writer.write_batches(&found.schema, &found.batches) {
            Ok(()) => {
                let again = ring.read().expect("what the library writes it reads");
                assert_same(&found, &again);
            }
            Err(error) => assert!(is_of_reading(&error), "{error:?}"),
        }
    });
}

impl Ring {
    /// Reads the message that was published in every way there is.
    fn read(&self) -> Option<Batches> {
        let copied = told(self.copying.read_batches(0));
        let joined = told(self.joining.read_arrow(0));
        let in_place = told(self.in_place.read_batches_zero_copy(0));
        let only = told(self.only.read_arrow_zero_copy(0));
        let found = copied.as_ref().ok();
        match (&joined, found) {
            (Ok(joined), Some(found)) => {
                assert_valid(std::slice::from_ref(joined));
                let rows: usize = found.batches.iter().map(RecordBatch::num_rows).sum();
                assert_eq!((joined.schema(), joined.num_rows()), (found.schema.clone(), rows));
            }
            (Err(QADataSwapError::ArrowError(_)), None) => {}
            // Several may be too much for one.
            (Err(QADataSwapError::ArrowError(_)), Some(found)) if found.batches.len() > 1 => {}
            _ => panic!("{joined:?} joined, {copied:?} copied"),
        }
        match (&in_place, found) {
            (Ok(in_place), Some(found)) => {
                assert_valid(&found.batches);
                assert_valid(&in_place.batches);
                assert_same(found, in_place);
                self.read_unchecked(found);
            }
            (Err(QADataSwapError::ArrowError(_)), None) => {}
            (Err(QADataSwapError::NotAligned), Some(_)) => {}
            _ => panic!("{in_place:?} in place, {copied:?} copied"),
        }
        match (&only, &in_place) {
            (Ok(only), Ok(found)) => match &found.batches[..] {
                [] => assert_eq!((only.schema(), only.num_rows()), (found.schema.clone(), 0)),
                [batch] => assert_same_batch(only, batch),
                _ => panic!("{only:?} of {found:?}"),
            },
            (Err(QADataSwapError::NotOneBatch { found }), Ok(in_place)) => {
                assert_eq!((*found, *found > 1), (in_place.batches.len(), true));
            }
            (Err(only), Err(in_place)) => assert_eq!(only.to_string(), in_place.to_string()),
            _ => panic!("{only:?} of {in_place:?}"),
        }
        drop((in_place, only));
        for reader in [&self.in_place, &self.only, &self.unchecked] {
            // What was not aligned, or not one batch, was left to another read.
            let _ = reader.skip().unwrap();
            assert_eq!((reader.stats().leases, reader.stats().lag), (0, 0));
        }
        assert_eq!((self.copying.stats().lag, self.joining.stats().lag), (0, 0));
        copied.ok()
    }

    /// Reads a message that has been found to be valid without having it validated.
    fn read_unchecked(&self, found: &Batches) {
        // SAFETY: the same bytes have just been decoded and validated, and nobody has stored to the slot.
        match (unsafe { self.unchecked.read_arrow_zero_copy_unchecked(0) }, &found.batches[..]) {
            (Ok(Some(batch)), [expected]) => assert_same_batch(&batch, expected),
            (Ok(Some(batch)), []) => assert_eq!(batch.num_rows(), 0),
            (Err(QADataSwapError::NotOneBatch { found }), batches) => {
                assert_eq!(found, batches.len());
            }
            (read, _) => panic!("{read:?} unchecked, {found:?}"),
        }
    }
}

/// The message, which must be there; else the error, which must be one that there can be.
fn told<T>(read: Result<Option<T>>) -> Result<T> {
    match read {
        Ok(read) => Ok(read.expect("just published")),
        Err(error) => {
            assert!(is_of_reading(&error), "{error:?}");
            Err(error)
        }
    }
}

fn assert_valid(batches: &[RecordBatch]) {
    for column in batches.iter().flat_map(RecordBatch::columns) {
        column.to_data().validate_full().expect("what was decoded is valid");
    }
}

fn assert_same(a: &Batches, b: &Batches) {
    assert_eq!((&a.schema, a.batches.len()), (&b.schema, b.batches.len()));
    a.batches.iter().zip(&b.batches).for_each(|(a, b)| assert_same_batch(a, b));
}

fn assert_same_batch(a: &RecordBatch, b: &RecordBatch) {
    assert_eq!((a.schema(), a.num_rows()), (b.schema(), b.num_rows()));
    let rows: usize = a.columns().iter().map(|column| rows(&column.to_data())).sum();
    assert!(rows > MOST_COMPARED || a == b, "{a:?} and {b:?}");
}

/// Rows of an array and of all below it.
fn rows(data: &arrow_data::ArrayData) -> usize {
    data.len() + data.child_data().iter().map(rows).sum::<usize>()
}
