//! A writer that takes over a ring with damaged slots: its place comes from the slots, so it checks
//! them, and either refuses or goes on in a way that readers can live with.

mod support;

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Result, Start, Writer, WriterOptions};
use support::RingName;
use support::damage::bad_values;
use support::numbered::{self, number_of};
use support::raw::{self, Raw, generation};
use support::threads::must_return;

const SLOTS: u64 = 8;
/// A lap and a half: slots 4 to 7 carry positions 4 to 7, slots 0 to 3 positions 8 to 11.
const MESSAGES: u64 = 12;
const LAST_SLOT: u64 = (MESSAGES - 1) % SLOTS;

fn message(number: u64) -> Vec<u8> {
    numbered::message(number, 32)
}

fn writer(ring: &RingName) -> Result<Writer> {
    WriterOptions::new(SLOTS as usize).slot_capacity(40).create(ring.name())
}

fn reader(ring: &RingName, start: Start) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).start(start).attach(ring.name()).unwrap()
}

/// A ring whose writer is gone, a reader that has consumed everything, and the raw segment.
fn abandoned(what: &str) -> (RingName, Reader, Raw) {
    let ring = RingName::new(what);
    let writer = writer(&ring).unwrap();
    for number in 0..MESSAGES {
        writer.write(&message(number)).unwrap();
    }
    drop(writer);
    let reader = reader(&ring, Start::Next);
    let raw = Raw::data(&ring);
    (ring, reader, raw)
}

/// The takeover is refused, or it is one that works: what is then published reaches new readers in full
/// and old readers within a lap, and positions are not given out twice.
#[track_caller]
fn assert_refused_or_works(ring: &RingName, old: Reader, what: &str) {
    let before = std::fs::read(ring.data_path()).unwrap();
    let writer = match writer(ring) {
        Err(QADataSwapError::Damaged { .. }) => {
            assert!(
                before == std::fs::read(ring.data_path()).unwrap(),
                "{what}: refused, yet changed"
            );
            return;
        }
        result => result.unwrap_or_else(|error| panic!("{what}: {error:?}")),
    };
    assert!(writer.stats().position >= MESSAGES, "{what}: {:?}", writer.stats());
    let new = reader(ring, Start::Next);
    for number in 100..100 + 2 * SLOTS {
        writer.write(&message(number)).unwrap();
        assert_eq!(new.read(0).unwrap(), Some(message(number)), "{what}");
    }
    assert_eq!(new.stats().lost, 0, "{what}");
    let late = reader(ring, Start::Oldest);
    let seen: Vec<_> = std::iter::from_fn(|| late.read(0).unwrap()).collect();
    assert_eq!(seen.len() as u64, SLOTS, "{what}");
    let last = must_return(what, move || std::iter::from_fn(|| old.read(0).unwrap()).last());
    assert_eq!(last.map(|bytes| number_of(&bytes)), Some(99 + 2 * SLOTS), "{what}");
}

#[test]
fn a_generation_of_another_slots_residue_is_refused() {
    for (slot, position) in [(0, 1), (5, 4), (7, 0), (3, 1 << 40), (2, u64::MAX >> 2)] {
        for state in 0..4 {
            let (ring, _reader, raw) = abandoned("takeover-residue");
            let word = generation(position, state);
            raw.set_u64(raw.slot(slot, raw::GENERATION), word);
            if word == 0 {
                continue;
            }
            match writer(&ring) {
                Err(QADataSwapError::Damaged { field: "slot generation", found, .. }) => {
                    assert_eq!(found, word);
                }
                other => panic!("position {position} in slot {slot}, state {state}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_generation_from_before_the_segment_began_is_refused() {
    let ring = RingName::new("takeover-before");
    let writer = writer(&ring).unwrap();
    for number in 0..MESSAGES {
        writer.write(&message(number)).unwrap();
    }
    // A larger segment, which begins at the oldest message it was given.
    writer.write(&numbered::message(MESSAGES, 100)).unwrap();
    drop(writer);
    let raw = Raw::data(&ring);
    assert_eq!(raw.u64(raw::FIRST_POSITION), MESSAGES - (SLOTS - 1));
    raw.set_u64(raw.slot(0, raw::GENERATION), generation(0, raw::PUBLISHED_STATE));
    let refused = self::writer(&ring);
    assert!(matches!(refused, Err(QADataSwapError::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_generation_far_ahead_is_refused_or_gone_on_from() {
    let largest = u64::MAX >> 2;
    for slot in [0, 4, LAST_SLOT, LAST_SLOT + 1] {
        let laps = [2, 3, 1000, 1 << 40].map(|laps| laps * SLOTS + slot);
        let highest = largest - largest % SLOTS + slot;
        for position in laps.into_iter().chain([highest - SLOTS, highest]) {
            for state in 0..4 {
                let (ring, reader, raw) = abandoned("takeover-ahead");
                let word = generation(position, state);
                raw.set_u64(raw.slot(slot, raw::GENERATION), word);
                let what = format!("position {position:#x} in slot {slot}, state {state}");
                assert_refused_or_works(&ring, reader, &what);
            }
        }
    }
}

#[test]
fn a_generation_that_fell_back_is_refused_or_gone_on_from() {
    for slot in 0..SLOTS {
        for (position, state) in [(slot, 0), (slot, 1), (slot, 2), (slot, 3), (0, 0)] {
            let (ring, reader, raw) = abandoned("takeover-back");
            raw.set_u64(raw.slot(slot, raw::GENERATION), generation(position, state));
            let what = format!("slot {slot} back at {position}, state {state}");
            assert_refused_or_works(&ring, reader, &what);
        }
    }
}

#[test]
fn a_damaged_sequence_in_the_newest_slot_is_refused_or_made_good() {
    for value in bad_values(MESSAGES - 1, 64) {
        let (ring, reader, raw) = abandoned("takeover-sequence");
        raw.set_u64(raw.slot(LAST_SLOT, raw::SEQUENCE), value);
        let what = format!("sequence {value:#x}");
        match writer(&ring) {
            Err(QADataSwapError::Damaged { .. }) => continue,
            Err(other) => panic!("{what}: {other:?}"),
            Ok(writer) => assert_eq!(writer.stats().message_count, MESSAGES, "{what}"),
        }
        assert_refused_or_works(&ring, reader, &what);
    }
}

#[test]
fn damaged_sequences_elsewhere_do_not_matter_to_a_writer() {
    for slot in (0..SLOTS).filter(|slot| *slot != LAST_SLOT) {
        let (ring, reader, raw) = abandoned("takeover-sequences");
        raw.set_u64(raw.slot(slot, raw::SEQUENCE), u64::MAX);
        assert_eq!(writer(&ring).unwrap().stats().message_count, MESSAGES);
        assert_refused_or_works(&ring, reader, &format!("sequence of slot {slot}"));
    }
}

#[test]
fn the_message_count_of_a_ring_of_one_slot_is_checked_too() {
    // With its only slot half written, nothing but the header says how many messages there were.
    for value in bad_values(3, 64) {
        let ring = RingName::new("takeover-one");
        let options = WriterOptions::new(1).slot_capacity(40);
        let mut writer = options.create(ring.name()).unwrap();
        for number in 0..3 {
            writer.write(&message(number)).unwrap();
        }
        let _ = writer.reserve(8).unwrap();
        drop(writer);
        Raw::data(&ring).set_u64(raw::MESSAGE_COUNT, value);
        match options.create(ring.name()) {
            Err(QADataSwapError::Damaged { .. }) => {}
            Err(other) => panic!("message count {value:#x}: {other:?}"),
            Ok(writer) => {
                for number in 3..6 {
                    writer.write(&message(number)).unwrap();
                    let reader = reader(&ring, Start::Oldest);
                    assert_eq!(reader.read(0).unwrap(), Some(message(number)));
                }
            }
        }
    }
}

#[test]
fn damaged_lengths_and_kinds_survive_a_rollover_as_damage() {
    for (word, value) in [
        (raw::LENGTH, u32::MAX),
        (raw::LENGTH, 105),
        (raw::KIND, u32::MAX),
        (raw::KIND, 65528 << 16),
        (raw::KIND, 0),
    ] {
        let (ring, reader, raw) = abandoned("takeover-rollover");
        raw.set_u32(raw.slot(1, word), value);
        let writer = writer(&ring).unwrap();
        writer.write(&numbered::message(MESSAGES, 100)).unwrap();
        let fresh = self::reader(&ring, Start::Oldest);
        let mut seen = Vec::new();
        let mut damaged = 0;
        loop {
            match fresh.read(0) {
                // A length that only the smaller slots had no room for fits the larger ones.
                Ok(Some(bytes)) if bytes.len() == 105 => damaged += 1,
                Ok(Some(bytes)) => seen.push(number_of(&bytes)),
                Ok(None) => break,
                Err(QADataSwapError::CorruptMessage { position: 9, .. }) => damaged += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        let others: Vec<u64> = (MESSAGES + 1 - SLOTS..=MESSAGES).filter(|n| *n != 9).collect();
        assert_eq!((seen, damaged), (others, 1), "{word} {value:#x}");
        assert_eq!(reader.read(0).unwrap(), Some(numbered::message(MESSAGES, 100)));
    }
}
