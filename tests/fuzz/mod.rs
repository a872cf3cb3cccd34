//! Bodies of the fuzz targets: functions of any bytes, which panic if the library does what it must not.
//!
//! `fuzz/` runs them under libFuzzer; `tests/corpus.rs` replays what was kept as ordinary tests.

pub mod attach;
pub mod control;
pub mod decode;
pub mod mutate;
pub mod notes;
pub mod operations;

use qadataswap::arrow_array::{Array, RecordBatch};
use qadataswap::{QADataSwapError, Reader, Result};

/// The fuzzer's bytes, taken from the front. When they are used up, all is zero.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many of the bytes as there are, up to `len`.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number below `limit`, which is at most 256.
    pub fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.byte()) % limit
    }

    pub fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let taken = self.bytes(8);
        word[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(word)
    }

    /// A word that could mean something to a ring which is at `position`.
    pub fn value(&mut self, position: u64) -> u64 {
        const JOINING: u64 = 1 << 63;
        let near = |by: u8| position.wrapping_add(8).wrapping_sub(by.into());
        match self.byte() % 9 {
            0 => 0,
            1 => u64::MAX - u64::from(self.byte()),
            2 => self.word(),
            3 => JOINING | u64::from(self.byte()),
            4 => self.byte().into(),
            5 => near(self.byte()),
            6 => 1 << (self.byte() % 64),
            // A generation.
            7 => near(self.byte() >> 2) << 2 | self.below(4),
            _ => self.word() >> self.below(64),
        }
    }
}

/// What a read gave.
#[derive(Debug, PartialEq)]
pub enum Got {
    Nothing,
    Bytes(Vec<u8>),
    /// A message that was consumed, though not to be compared.
    Message,
}

/// Ways of reading without waiting.
pub const WAYS: u8 = 10;
/// The first of those that decode Arrow.
pub const ARROW_WAYS: u8 = 6;
/// Bytes that a message must have to be read in way 5 (as a value).
pub const VALUE_BYTES: usize = 8;
/// Bytes that a message may have to be read in way 2 (into a buffer).
pub const BUFFER_BYTES: usize = 64;

/// Reads the next message in one of the ways.
pub fn read(reader: &Reader, way: u8) -> Result<Got> {
    let got = |bytes: Option<Vec<u8>>| bytes.map_or(Got::Nothing, Got::Bytes);
    let checked = |batch: Option<RecordBatch>| batch.map_or(Got::Nothing, check);
    Ok(match way % WAYS {
        0 => got(reader.read(0)?),
        1 => {
            let mut out = vec![0; 3];
            let read = reader.read_to(&mut out, 0)?;
            assert!(read || out.is_empty());
            got(read.then_some(out))
        }
        2 => {
            let mut buffer = [0; BUFFER_BYTES];
            got(reader.read_into(&mut buffer, 0)?.map(|len| buffer[..len].to_vec()))
        }
        3 => got(reader.lease(0)?.map(|lease| lease.to_vec())),
        4 => {
            if reader.skip()? {
                Got::Message
            } else {
                Got::Nothing
            }
        }
        5 => got(reader.read_value::<u64>(0)?.map(|value| value.to_ne_bytes().to_vec())),
        6 => checked(reader.read_arrow(0)?),
        7 => reader.read_batches(0)?.map_or(Got::Nothing, |table| {
            table.batches.into_iter().for_each(|batch| _ = check(batch));
            Got::Message
        }),
        8 => checked(reader.read_arrow_zero_copy(0)?),
        _ => reader.read_batches_zero_copy(0)?.map_or(Got::Nothing, |table| {
            table.batches.into_iter().for_each(|batch| _ = check(batch));
            Got::Message
        }),
    })
}

/// Whatever was decoded must be valid through and through.
fn check(batch: RecordBatch) -> Got {
    for column in batch.columns() {
        column.to_data().validate_full().expect("what was decoded is valid");
    }
    Got::Message
}

/// Whether a reader of damaged memory may be told this.
pub fn is_of_damage(error: &QADataSwapError) -> bool {
    use QADataSwapError::*;
    matches!(error, Damaged { .. } | VersionMismatch { .. } | CorruptMessage { .. } | Closed)
        || is_of_reading(error)
}

/// Whether a read may end like this for reasons of the message or of the reader's options.
pub fn is_of_reading(error: &QADataSwapError) -> bool {
    use QADataSwapError::*;
    match error {
        ArrowError(error) => {
            assert!(!error.to_string().contains("panicked"), "{error}");
            true
        }
        BufferTooSmall { .. } | SizeMismatch { .. } | NotAligned | NotOneBatch { .. } => true,
        Overrun { .. } | Evicted { .. } | HoldsUnavailable { .. } | TooManyLeases { .. } => true,
        _ => false,
    }
}
