//! Streams with notes that may lie, as a writer could leave them (`docs/protocol.md`, kind 2): what readers make of
//! them that know the template is valid, and what a reader makes of it that knows none.
//!
//! Input: a batch is published, then words of its slot are changed, then it is read; this again and again.

use std::sync::Arc;

use qadataswap::arrow_array::{Array, BooleanArray, Int64Array, RecordBatch, StringArray};
use qadataswap::{QADataSwapError, Reader, Result, WriterOptions, create_reader};

use super::{Input, is_of_reading};
use crate::support::RingName;
use crate::support::raw::{self, Raw};

/// What an input of `decode` begins with that is for here.
pub const MARK: &[u8] = b"note";

const CAPACITY: usize = 4096;
const NOTE_BYTES: u64 = 16;
/// As much as an input is played of.
const MOST_MESSAGES: usize = 12;

pub fn seeds() -> Vec<Vec<u8>> {
    // Number of the batch, changes, their number first; no change; the other's note; a length; rows; a word.
    let messages: [&[u8]; 6] = [
        &[0, 0],
        &[1, 1, 0],
        &[0, 1, 1, 4, 8],
        &[1, 1, 2, 4, 3],
        &[2, 2, 3, 60, 4, 2, 4, 70, 5, 1],
        &[3, 1, 3, 20, 2, 1, 2, 3, 4, 5, 6, 7, 8],
    ];
    let all = messages.concat();
    let each = messages.iter().map(|message| message.to_vec());
    std::iter::once(all).chain(each).map(|bytes| [MARK, &bytes].concat()).collect()
}

/// Batches of two schemas, each with some rows and with others.
fn batch(number: u64) -> RecordBatch {
    let rows = 1 + number as i64 / 2 * 4;
    let numbers =
        Arc::new((0..rows).map(|row| (row % 3 != 1).then_some(row)).collect::<Int64Array>());
    let words = Arc::new((0..rows).map(|row| Some(format!("{row}"))).collect::<StringArray>());
    let flags = Arc::new((0..rows).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>());
    let columns: Vec<(&str, Arc<dyn Array>, bool)> = match number % 2 {
        0 => vec![("n", numbers, true), ("w", words, false)],
        _ => vec![("f", flags, true), ("n", numbers, true)],
    };
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub fn run(bytes: &[u8]) {
    let name = RingName::new("fuzz-notes");
    let writer = WriterOptions::new(1).slot_capacity(CAPACITY).create(name.name()).unwrap();
    let data = Raw::data(&name);
    let at = |word| data.slot(0, word);
    let [copying, in_place] = [(), ()].map(|()| create_reader(name.name()).unwrap());
    // The notes of both schemas; the readers know them from here on.
    let notes = [0, 1].map(|number| {
        writer.write_arrow(&batch(number)).unwrap();
        writer.write_arrow(&batch(number)).unwrap();
        for read in [copying.read_arrow(0), in_place.read_arrow_zero_copy(0)] {
            assert_eq!(read.unwrap().unwrap(), batch(number));
        }
        data.bytes(at(raw::PAYLOAD), NOTE_BYTES as usize)
    });
    let mut input = Input::new(bytes);
    for _ in 0..MOST_MESSAGES {
        if input.is_empty() {
            break;
        }
        writer.write_arrow(&batch(input.below(4))).unwrap();
        let offset = u64::from(data.u32(at(raw::KIND)) >> 16);
        let length = u64::from(data.u32(at(raw::LENGTH)));
        let end = offset + length;
        let before = data.bytes(at(0), end as usize);
        let schema_bytes = u64::from(data.u32(at(raw::PAYLOAD + 8)));
        let mut trusted = true;
        for _ in 0..input.below(5) {
            match input.byte() % 4 {
                0 => {
                    data.set_bytes(at(raw::PAYLOAD), &notes[input.below(2) as usize]);
                    trusted = false;
                }
                1 => {
                    data.set_u32(
                        at(raw::PAYLOAD + 8 + 4 * input.below(2)),
                        input.value(length) as u32,
                    );
                    trusted = false;
                }
                2 => data.set_u32(at(raw::LENGTH), (input.value(length) as u32) % CAPACITY as u32),
                _ => {
                    let word = raw::PAYLOAD + 8 * (input.below(256) % ((end - raw::PAYLOAD) / 8));
                    let value = match input.byte() % 3 {
                        0 => input.value(length),
                        1 => data.u64(at(word)) ^ 1 << input.below(64),
                        _ => data.u64(at(word)).wrapping_add(input.value(length)),
                    };
                    data.set_u64(at(word), value);
                    trusted &= word >= offset + schema_bytes;
                }
            }
        }
        read(&name, &copying, &in_place, trusted);
        // The writer goes by what it has stored there.
        data.set_bytes(at(0), &before);
    }
}

/// Reads what was published. If neither the note nor the schema message has changed, what is read by the template
/// is what a reader has that knows none.
fn read(name: &RingName, copying: &Reader, in_place: &Reader, trusted: bool) {
    let whole = told(create_reader(name.name()).unwrap().read_arrow(0));
    let copied = told(copying.read_arrow(0));
    let leased = told(in_place.read_arrow_zero_copy(0));
    if let Err(QADataSwapError::NotAligned | QADataSwapError::NotOneBatch { .. }) = leased {
        assert!(in_place.skip().unwrap());
    }
    if trusted {
        assert_eq!(copied.is_ok(), whole.is_ok(), "{copied:?} by the template, {whole:?} without");
        let (whole, copied) = (whole.ok(), copied.ok());
        assert!(copied == whole, "{copied:?} by the template, {whole:?} without");
        assert!(leased.as_ref().ok().is_none_or(|leased| Some(leased) == whole.as_ref()));
    }
    drop(leased);
    for reader in [copying, in_place] {
        assert_eq!((reader.stats().leases, reader.stats().lag), (0, 0));
    }
}

/// What was read, which must be valid; else the error, which must be one that there can be.
fn told(read: Result<Option<RecordBatch>>) -> Result<RecordBatch> {
    let batch = read.inspect_err(|error| assert!(is_of_reading(error), "{error:?}"))?;
    let batch = batch.expect("just published");
    for column in batch.columns() {
        column.to_data().validate_full().expect("what was decoded is valid");
    }
    Ok(batch)
}
