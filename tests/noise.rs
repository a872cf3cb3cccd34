//! Noise in the segment under readers that are attached, and under the writer's feet: no read crashes
//! or hangs, and when the noise stops, reading goes on.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use support::RingName;
use support::numbered::{self, number_of};
use support::raw::{self, Random, Raw, generation};
use support::threads::must_return;

const SLOTS: u64 = 8;

fn message(number: u64) -> Vec<u8> {
    numbered::message(number, 32)
}

fn writer(ring: &RingName) -> Writer {
    WriterOptions::new(SLOTS as usize).slot_capacity(40).create(ring.name()).unwrap()
}

/// Publishes three laps, which puts right whatever was damaged, and reads along; the last message
/// gets through.
fn assert_recovers(writer: &Writer, reader: &Reader, first: u64) {
    let mut last = None;
    for number in first..first + 3 * SLOTS {
        writer.write(&message(number)).unwrap();
        while let Ok(Some(bytes)) = reader.read(0) {
            last = Some(bytes);
        }
    }
    assert_eq!(last.map(|bytes| number_of(&bytes)), Some(first + 3 * SLOTS - 1));
}

#[test]
fn noise_all_over_the_segment_gives_errors_and_no_crash_or_hang() {
    let name = RingName::new("noise");
    let writer = writer(&name);
    let readers =
        [true, false].map(|register| ReaderOptions::new().register(register).attach(name.name()));
    let readers = readers.map(Result::unwrap);
    writer.write(&message(0)).unwrap();
    let raw = Raw::data(&name);
    let before = raw.bytes(0, raw.len() as usize);
    let (raw, readers) = must_return("reading noise", move || {
        let mut random = Random(5);
        for _ in 0..3_000 {
            raw.set_bytes(0, &random.bytes(raw.len() as usize));
            for reader in &readers {
                read_somehow(reader, &mut random);
            }
        }
        (raw, readers)
    });
    raw.set_bytes(0, &before);
    let mut next = 1;
    for reader in &readers {
        assert_recovers(&writer, reader, next);
        next += 3 * SLOTS;
    }
}

#[test]
fn a_reader_that_waits_while_noise_comes_and_goes_gets_the_next_message() {
    let name = RingName::new("noise-waiting");
    let writer = writer(&name);
    let raw = Raw::data(&name);
    let before = raw.bytes(0, raw.len() as usize);
    let reader = ReaderOptions::new().attach(name.name()).unwrap();
    let (done, reader) = must_return("reading under noise", move || {
        let done = Arc::new(AtomicBool::new(false));
        let noisy = done.clone();
        let noise = std::thread::spawn(move || {
            let mut random = Random(6);
            for _ in 0..3_000 {
                raw.set_bytes(0, &random.bytes(raw.len() as usize));
                raw.set_bytes(0, &before);
            }
            noisy.store(true, Ordering::Release);
        });
        let mut random = Random(7);
        while !done.load(Ordering::Acquire) {
            let timeout_ms = random.below(2);
            let _ = reader.read(timeout_ms);
        }
        noise.join().unwrap();
        (done, reader)
    });
    assert!(done.load(Ordering::Acquire));
    assert_recovers(&writer, &reader, 0);
}

/// Publishes under noise in the segment's mutable words and all slots; every `rollover_every` messages
/// one that makes the damaged slots be carried over to a larger segment.
fn write_through_noise(what: &str, rollover_every: Option<u64>) {
    let name = RingName::new(what);
    let writer = writer(&name);
    let reader = ReaderOptions::new().attach(name.name()).unwrap();
    let mut random = Random(8);
    for number in 0..300 {
        let raw = Raw::data(&name);
        raw.set_bytes(4096, &random.bytes(raw.len() as usize - 4096));
        raw.set_bytes(raw::PUBLISHED, &random.bytes(128));
        let rolls_over = rollover_every.is_some_and(|every| number % every == every - 1);
        let len = if rolls_over { writer.slot_capacity() + 1 } else { 40 };
        writer.write(&numbered::message(number, len)).unwrap();
        read_somehow(&reader, &mut random);
    }
    let rollovers = rollover_every.map_or(0, |every| 300 / every);
    assert_eq!((writer.stats().published, writer.stats().rollovers), (300, rollovers));
    let writer = must_return("reading after the noise", move || {
        assert_recovers(&writer, &reader, 300);
        writer
    });
    let fresh = ReaderOptions::new().attach(name.name()).unwrap();
    for index in 0..SLOTS {
        let bytes = fresh.read(0).unwrap().expect("a full lap");
        assert_eq!(number_of(&bytes), 300 + 2 * SLOTS + index);
    }
    drop(writer);
}

#[test]
fn a_writer_goes_on_through_noise_in_its_own_segment() {
    write_through_noise("noise-writer", None);
}

#[test]
fn a_writer_rolls_over_in_spite_of_noise_and_its_readers_follow() {
    write_through_noise("noise-rollover", Some(30));
}

/// One read of some sort that does not wait.
fn read_somehow(reader: &Reader, random: &mut Random) {
    let result = match random.below(5) {
        0 => reader.read(0).map(drop),
        1 => reader.read_into(&mut [0; 64], 0).map(drop),
        2 => reader.skip().map(drop),
        3 => reader.read_value::<u64>(0).map(drop),
        _ => reader.read_arrow(0).map(drop),
    };
    use QADataSwapError::*;
    match result {
        Ok(()) => {}
        Err(CorruptMessage { .. } | Damaged { .. }) => {}
        Err(ArrowError(_) | BufferTooSmall { .. } | SizeMismatch { .. } | Closed) => {}
        Err(VersionMismatch { .. } | ReadTimeout) => {}
        Err(other) => panic!("{other:?}"),
    }
    let _ = reader.stats();
}

#[test]
fn words_that_are_nearly_right_give_errors_and_no_crash_or_hang() {
    let name = RingName::new("nearly");
    let writer = writer(&name);
    for number in 0..20 {
        writer.write(&message(number)).unwrap();
    }
    let pristine = Arc::new(std::fs::read(name.data_path()).unwrap());
    for seed in 0..100 {
        let (ring, pristine) = (name.name().to_owned(), pristine.clone());
        let raw = Raw::data(&name);
        must_return(&format!("seed {seed}"), move || {
            let reader = ReaderOptions::new().attach(&ring).unwrap();
            let mut random = Random(seed);
            for round in 0..100 {
                for _ in 0..=random.below(4) {
                    damage_a_word(&raw, &mut random);
                }
                read_somehow(&reader, &mut random);
                if round % 20 == 19 {
                    raw.set_bytes(0, &pristine);
                }
            }
            raw.set_bytes(0, &pristine);
        });
    }
    assert_recovers(&writer, &ReaderOptions::new().attach(name.name()).unwrap(), 20);
}

/// Stores something into a word that a reader looks at: near what it could be, or far from it.
fn damage_a_word(raw: &Raw, random: &mut Random) {
    let near = |random: &mut Random| 10 + random.below(20);
    let far = |random: &mut Random| match random.below(3) {
        0 => random.next(),
        1 => u64::MAX - random.below(4),
        _ => random.below(4),
    };
    let slot = random.below(SLOTS);
    let is_near = random.below(4) != 0;
    match random.below(8) {
        0 | 1 => {
            let position = if is_near { near(random) } else { far(random) };
            let word = generation(position, random.below(4));
            raw.set_u64(raw.slot(slot, raw::GENERATION), word);
        }
        2 => {
            let sequence = if is_near { near(random) } else { far(random) };
            raw.set_u64(raw.slot(slot, raw::SEQUENCE), sequence);
        }
        3 => {
            let length = if is_near { random.below(130) } else { far(random) };
            raw.set_u32(raw.slot(slot, raw::LENGTH), length as u32);
        }
        4 => {
            let start = random.below(140) as u32;
            raw.set_u32(raw.slot(slot, raw::KIND), start << 16 | random.below(3) as u32);
        }
        5 | 6 => {
            let published = if is_near { near(random) } else { far(random) };
            raw.set_u64(raw::PUBLISHED, published);
        }
        _ => raw.set_u32(raw::STATE, random.below(4) as u32),
    }
}
