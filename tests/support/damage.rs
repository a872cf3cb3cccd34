//! A ring to be damaged, and what becomes of those who then open it.

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Result, Start, Writer, WriterOptions};

use super::RingName;
use super::raw::Raw;

pub const SLOTS: u64 = 4;
/// One more than a lap and a half, so that slots carry positions of two laps.
pub const MESSAGES: u64 = 6;

pub fn message(number: u64) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

pub fn reader(ring: &RingName) -> Result<Reader> {
    ReaderOptions::new().attach_timeout_ms(0).attach(ring.name())
}

/// A reader of what comes next.
pub fn latest(ring: &RingName) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).start(Start::Next).attach(ring.name()).unwrap()
}

pub fn writer(ring: &RingName) -> Result<Writer> {
    WriterOptions::new(SLOTS as usize).slot_capacity(40).create(ring.name())
}

/// A ring whose writer is gone, and what its data segment was before somebody damaged it.
pub struct Ring {
    pub name: RingName,
    pub data: Vec<u8>,
}

impl Ring {
    pub fn new(what: &str, messages: u64) -> Self {
        let name = RingName::new(what);
        let writer = writer(&name).unwrap();
        for number in 0..messages {
            writer.write(&message(number)).unwrap();
        }
        drop(writer);
        let data = std::fs::read(name.data_path()).unwrap();
        Self { name, data }
    }

    /// The segment as it was, for the next piece of damage.
    pub fn restore(&self) -> Raw {
        let _ = std::fs::remove_file(self.name.data_path());
        std::fs::write(self.name.data_path(), &self.data).unwrap();
        Raw::data(&self.name)
    }

    pub fn contents(&self) -> Vec<u8> {
        std::fs::read(self.name.data_path()).unwrap()
    }

    /// Whoever reads and whoever would write is told the same, and the segment stays as it is.
    #[track_caller]
    pub fn assert_refused(&self, what: &str, expected: impl Fn(&QADataSwapError) -> bool) {
        let before = self.contents();
        let errors = [reader(&self.name).err(), writer(&self.name).err()];
        for error in errors {
            let error = error.unwrap_or_else(|| panic!("{what}: not refused"));
            assert!(expected(&error), "{what}: {error:?}");
            assert!(error.to_string().contains(self.name.name()), "{what}: {error}");
        }
        assert!(before == self.contents(), "{what}: changed by a writer that was refused");
    }

    #[track_caller]
    pub fn assert_damaged(&self, what: &str, fields: &[&str]) {
        self.assert_refused(what, |error| match error {
            QADataSwapError::Damaged { field, .. } => fields.contains(field),
            _ => false,
        });
    }

    /// Not ready: a reader is told so, a writer starts over.
    #[track_caller]
    pub fn assert_started_over(&self, what: &str) {
        let error = reader(&self.name).unwrap_err();
        assert!(matches!(error, QADataSwapError::ReadTimeout), "{what}: {error:?}");
        let writer = writer(&self.name).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(writer.stats().message_count, 0, "{what}");
        self.assert_works(what, &writer, reader(&self.name).unwrap());
    }

    /// The damage does not matter: the messages are there, and a new writer goes on after them.
    #[track_caller]
    pub fn assert_harmless(&self, what: &str) {
        let old = reader(&self.name).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        for number in MESSAGES - SLOTS..MESSAGES {
            assert_eq!(old.read(0).unwrap(), Some(message(number)), "{what}");
        }
        let writer = writer(&self.name).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!((writer.stats().message_count, writer.stats().position), (MESSAGES, MESSAGES));
        self.assert_works(what, &writer, old);
        let stats = writer.stats();
        assert_eq!((stats.message_count, stats.published), (MESSAGES + SLOTS, SLOTS), "{what}");
    }

    #[track_caller]
    pub fn assert_works(&self, what: &str, writer: &Writer, reader: Reader) {
        for number in 0..SLOTS {
            writer.write(&message(100 + number)).unwrap();
            assert_eq!(reader.read(0).unwrap(), Some(message(100 + number)), "{what}");
        }
        assert_eq!(reader.read(0).unwrap(), None, "{what}");
    }
}

/// Values that a word of `bits` bits could be damaged to, other than what it is.
pub fn bad_values(was: u64, bits: u32) -> Vec<u64> {
    let max = u64::MAX >> (64 - bits);
    let mut values = vec![
        0,
        1,
        was.wrapping_add(1),
        was.wrapping_sub(1),
        was ^ 1 << (bits - 1),
        was.wrapping_mul(2),
        was >> 1,
        1 << 20,
        max >> 2,
        max >> 1,
        max - 1,
        max,
        0x5a5a_5a5a_5a5a_5a5a,
    ];
    values.iter_mut().for_each(|value| *value &= max);
    values.sort();
    values.dedup();
    values.retain(|value| *value != was);
    values
}

/// Stores each bad value in turn into the word at `at` of a fresh copy of the segment.
pub fn with_bad_values(ring: &Ring, at: u64, bits: u32, mut then: impl FnMut(&Raw, u64)) {
    let raw = ring.restore();
    let was = if bits == 32 { raw.u32(at).into() } else { raw.u64(at) };
    for value in bad_values(was, bits) {
        let raw = ring.restore();
        if bits == 32 {
            raw.set_u32(at, value as u32);
        } else {
            raw.set_u64(at, value);
        }
        then(&raw, value);
    }
}

/// Reads and takes over whatever is there: errors are fine, crashes and hangs are not.
#[track_caller]
pub fn exercise(ring: &RingName, what: &str) {
    let before = reader(ring);
    if let Ok(reader) = &before {
        read_some(reader, what);
    }
    match writer(ring) {
        Err(error) => assert!(is_about_the_segment(&error), "{what}: {error:?}"),
        Ok(writer) => {
            for number in 0..SLOTS {
                writer.write(&message(number)).unwrap();
            }
            let reader = reader(ring).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let seen: Vec<_> = std::iter::from_fn(|| reader.read(0).unwrap()).collect();
            let written: Vec<_> = (0..SLOTS).map(message).collect();
            assert!(seen.ends_with(&written), "{what}: {seen:?}");
        }
    }
    match before {
        Ok(reader) => read_some(&reader, what),
        Err(error) => assert!(is_about_the_segment(&error), "{what}: {error:?}"),
    }
}

pub fn read_some(reader: &Reader, what: &str) {
    for _ in 0..3 * SLOTS {
        match reader.read(0) {
            Ok(Some(message)) => assert!(message.len() <= 128, "{what}"),
            Ok(None) | Err(QADataSwapError::Closed) => return,
            Err(
                QADataSwapError::Damaged { .. }
                | QADataSwapError::CorruptMessage { .. }
                | QADataSwapError::VersionMismatch { .. },
            ) => {}
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
}

pub fn is_about_the_segment(error: &QADataSwapError) -> bool {
    use QADataSwapError::*;
    matches!(error, Damaged { .. } | VersionMismatch { .. } | ReadTimeout)
}
