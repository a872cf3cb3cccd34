//! Slots that are damaged while readers are attached: what a slot says is checked before it is acted
//! on, the message is given up with an error, and reading goes on after it with counts that add up.

mod support;

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions};
use support::RingName;
use support::damage::bad_values;
use support::numbered::{self, number_of};
use support::raw::{self, Raw, generation};
use support::threads::must_return;

const SLOTS: u64 = 8;
const CAPACITY: usize = 40;
/// Bytes of each message, which is as many as all ways of reading can do with.
const LENGTH: usize = 32;
/// Of a slot for messages of up to 40 bytes, 24 of which are its head.
const STRIDE: u32 = 128;

struct Ring {
    _name: RingName,
    writer: Writer,
    reader: Reader,
    raw: Raw,
}

impl Ring {
    /// A ring with messages 0 to 4 in it, all of them ahead of its reader.
    fn new(what: &str) -> Self {
        let name = RingName::new(what);
        let options = WriterOptions::new(SLOTS as usize).slot_capacity(CAPACITY).rollover(false);
        let writer = options.create(name.name()).unwrap();
        let reader = ReaderOptions::new().attach(name.name()).unwrap();
        let raw = Raw::data(&name);
        assert_eq!(raw.u64(raw::SLOT_STRIDE), STRIDE.into());
        for number in 0..5 {
            writer.write(&message(number)).unwrap();
        }
        Self { _name: name, writer, reader, raw }
    }

    /// Offset of a word of the slot that message 1 is in.
    fn at(&self, word: u64) -> u64 {
        self.raw.slot(1, word)
    }

    /// Everything that can be read without waiting, until three reads in a row bring no message.
    fn read_all(&self) -> Vec<Vec<u8>> {
        let (mut messages, mut in_vain) = (Vec::new(), 0);
        while in_vain < 3 {
            match self.reader.read(0) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => in_vain += 1,
                Err(error) if is_damage(&error) => in_vain += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        messages
    }

    /// Reads what is there, then publishes two laps and reads along: whatever was damaged is
    /// overwritten, and from then on no message is missing. In the end the counts add up.
    #[track_caller]
    fn assert_recovers(&self, what: &str) {
        let before = self.reader.stats().consumed;
        let mut seen: Vec<u64> = self.read_all().iter().map(|message| number_of(message)).collect();
        for number in 5..5 + 2 * SLOTS {
            self.writer.write(&message(number)).unwrap();
            seen.extend(self.read_all().iter().map(|message| number_of(message)));
        }
        // A damaged generation can make message 1 look like a later one; all others keep their place.
        let others: Vec<u64> = seen.iter().copied().filter(|number| *number != 1).collect();
        assert!(others.is_sorted_by(|a, b| a < b), "{what}: {seen:?}");
        let tail: Vec<u64> = (5 + SLOTS..5 + 2 * SLOTS).collect();
        assert!(seen.ends_with(&tail), "{what}: {seen:?}");
        let stats = self.reader.stats();
        assert_eq!(stats.consumed, before + seen.len() as u64, "{what}");
        assert_eq!(stats.consumed + stats.lost, 5 + 2 * SLOTS, "{what}: {stats:?}");
        assert_eq!((stats.position, stats.lag), (5 + 2 * SLOTS, 0), "{what}: {stats:?}");
    }

    /// The next message is given up because of `field`; those before and after it are read.
    #[track_caller]
    fn assert_only_message_1_is_lost(&self, fields: &[&str], found: u64) {
        let what = format!("{fields:?} {found:#x}");
        assert_eq!(self.reader.read(0).unwrap(), Some(message(0)), "{what}");
        match self.reader.read(0) {
            Err(ref error @ QADataSwapError::CorruptMessage { position: 1, field, .. }) => {
                assert!(fields.contains(&field), "{what}: {error:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
        let stats = self.reader.stats();
        assert_eq!((stats.consumed, stats.lost, stats.overruns, stats.lag), (1, 1, 0, 3), "{what}");
        for number in 2..5 {
            assert_eq!(self.reader.read(0).unwrap(), Some(message(number)), "{what}");
        }
        assert_eq!(self.reader.stats().lost, 1, "{what}");
        self.assert_recovers(&what);
    }

    /// What comes after message 1 is there, and nothing else was lost.
    #[track_caller]
    fn assert_the_rest_is_read(&self, what: impl std::fmt::Debug) {
        for number in 2..5 {
            assert_eq!(self.reader.read(0).unwrap(), Some(message(number)), "{what:?}");
        }
        let stats = self.reader.stats();
        assert_eq!((stats.consumed + stats.lost, stats.lag), (5, 0), "{what:?}: {stats:?}");
    }
}

fn message(number: u64) -> Vec<u8> {
    numbered::message(number, LENGTH)
}

fn is_damage(error: &QADataSwapError) -> bool {
    matches!(error, QADataSwapError::CorruptMessage { .. } | QADataSwapError::Damaged { .. })
}

fn kind(offset: u32, kind: u32) -> u32 {
    offset << 16 | kind
}

#[test]
fn a_length_beyond_the_slot_is_corrupt_from_the_first_byte_on() {
    let lowest = STRIDE - raw::PAYLOAD as u32 + 1;
    for length in [lowest, lowest + 1, lowest + 7, STRIDE, 4096, 1 << 20, 1 << 31, u32::MAX - 7]
        .into_iter()
        .chain([u32::MAX - 1, u32::MAX])
    {
        let ring = Ring::new("length");
        ring.raw.set_u32(ring.at(raw::LENGTH), length);
        ring.assert_only_message_1_is_lost(&["length"], length.into());
    }
}

#[test]
fn a_length_beyond_the_capacity_but_not_the_slot_reads_nothing_from_outside_it() {
    for length in CAPACITY as u32 + 1..=STRIDE - raw::PAYLOAD as u32 {
        let ring = Ring::new("length-inside");
        ring.raw.set_u32(ring.at(raw::LENGTH), length);
        ring.reader.skip().unwrap();
        match ring.reader.read(0) {
            Ok(Some(bytes)) => {
                assert_eq!(bytes, ring.raw.bytes(ring.at(raw::PAYLOAD), length as usize));
            }
            Err(QADataSwapError::CorruptMessage { position: 1, field: "length", .. }) => {}
            other => panic!("{length}: {other:?}"),
        }
        ring.assert_the_rest_is_read(length);
    }
}

#[test]
fn the_bound_counts_from_where_the_message_starts() {
    // An Arrow stream starts at byte 64 of the slot, so 64 bytes are left.
    for (offset, length, fits) in
        [(64, 64, true), (64, 65, false), (120, 8, true), (120, 9, false), (24, 104, true)]
            .into_iter()
            .chain([(24, 105, false), (128, 1, false), (65528, 1, false), (65528, 0, false)])
    {
        let ring = Ring::new("bound");
        ring.raw.set_u32(ring.at(raw::KIND), kind(offset, 0));
        ring.raw.set_u32(ring.at(raw::LENGTH), length);
        ring.reader.skip().unwrap();
        let read = ring.reader.read(0);
        match (fits, &read) {
            (true, Ok(Some(bytes))) => {
                assert_eq!(*bytes, ring.raw.bytes(ring.at(offset.into()), length as usize));
            }
            // Lengths beyond the capacity may also be refused as such.
            (true, Err(QADataSwapError::CorruptMessage { .. })) if length > CAPACITY as u32 => {}
            (false, Err(QADataSwapError::CorruptMessage { position: 1, .. })) => {}
            _ => panic!("{length} bytes at {offset}: {read:?}"),
        }
        ring.assert_the_rest_is_read((offset, length));
    }
}

#[test]
fn an_unknown_kind_is_corrupt() {
    for number in [3, 4, 0x80, 0x100, 0x7fff, 0xffff] {
        let ring = Ring::new("kind");
        ring.raw.set_u32(ring.at(raw::KIND), kind(24, number));
        ring.assert_only_message_1_is_lost(&["kind"], kind(24, number).into());
    }
}

#[test]
fn a_start_inside_the_head_misaligned_or_outside_the_slot_is_corrupt() {
    for offset in (0..24).chain([25, 26, 28, 31, 33, 63, 65, 127, 128, 136, 4096, 65528, 65535]) {
        for number in [0, 1] {
            let ring = Ring::new("offset");
            let word = kind(offset, number);
            ring.raw.set_u32(ring.at(raw::KIND), word);
            ring.assert_only_message_1_is_lost(&["kind", "length"], word.into());
        }
    }
}

#[test]
fn every_way_of_reading_gives_a_damaged_message_up() {
    type Read = fn(&Reader) -> Result<bool>;
    let ways: [(&str, Read); 7] = [
        ("read", |reader| Ok(reader.read(0)?.is_some())),
        ("read_to", |reader| reader.read_to(&mut vec![7; 3], 0)),
        ("read_into", |reader| Ok(reader.read_into(&mut [0; 8], 0)?.is_some())),
        ("read_value", |reader| Ok(reader.read_value::<[u64; 4]>(0)?.is_some())),
        ("read_arrow", |reader| Ok(reader.read_arrow(0)?.is_some())),
        ("read_batches", |reader| Ok(reader.read_batches(0)?.is_some())),
        ("skip", |reader| reader.skip()),
    ];
    for (way, read) in ways {
        for (word, value, field) in [
            (raw::LENGTH, u32::MAX, "length"),
            (raw::KIND, kind(24, 9), "kind"),
            (raw::KIND, kind(16, 0), "kind"),
        ] {
            let ring = Ring::new("ways");
            ring.raw.set_u32(ring.at(word), value);
            ring.reader.skip().unwrap();
            match read(&ring.reader) {
                Err(QADataSwapError::CorruptMessage { position: 1, field: found_field, found }) => {
                    assert_eq!((found_field, found), (field, value.into()), "{way}");
                }
                other => panic!("{way}: {other:?}"),
            }
            ring.assert_the_rest_is_read(way);
        }
    }
}

#[test]
fn bytes_that_claim_to_be_an_arrow_stream_are_an_arrow_error_and_are_consumed() {
    let ring = Ring::new("claims-arrow");
    ring.raw.set_u32(ring.at(raw::KIND), kind(24, 1));
    ring.reader.skip().unwrap();
    let read = ring.reader.read_arrow(0);
    assert!(matches!(read, Err(QADataSwapError::ArrowError(_))), "{read:?}");
    let stats = ring.reader.stats();
    assert_eq!((stats.consumed, stats.lost), (2, 0));
    ring.assert_the_rest_is_read("claims to be Arrow");
}

#[test]
fn a_damaged_generation_costs_at_most_the_messages_until_the_slot_is_used_again() {
    let huge = (u64::MAX >> 2) - (u64::MAX >> 2) % SLOTS + 1;
    let positions = [
        ("backwards", 0),
        ("of the other residue", 2),
        ("one lap ahead", 1 + SLOTS),
        ("two laps ahead", 1 + 2 * SLOTS),
        ("many laps ahead", 1 + 1000 * SLOTS),
        ("huge, of the right residue", huge - SLOTS),
        ("huge, of the wrong residue", huge - SLOTS + 1),
        ("the largest", u64::MAX >> 2),
    ];
    for (name, position) in positions {
        for state in 0..4 {
            let ring = Ring::new("generation");
            ring.raw.set_u64(ring.at(raw::GENERATION), generation(position, state));
            let what = format!("{name}, state {state}");
            must_return(&what.clone(), move || ring.assert_recovers(&what));
        }
    }
}

#[test]
fn a_damaged_state_costs_at_most_the_messages_until_the_slot_is_used_again() {
    for state in [0, raw::WRITING, raw::SKIPPED] {
        let ring = Ring::new("state");
        ring.raw.set_u64(ring.at(raw::GENERATION), generation(1, state));
        let what = format!("state {state}");
        must_return(&what.clone(), move || ring.assert_recovers(&what));
    }
}

#[test]
fn every_generation_damaged_at_once_is_got_over_too() {
    for word in
        [0, u64::MAX, generation(1 << 40, raw::PUBLISHED_STATE), generation(3, raw::SKIPPED)]
    {
        let ring = Ring::new("generations");
        for slot in 0..SLOTS {
            ring.raw.set_u64(ring.raw.slot(slot, raw::GENERATION), word);
        }
        let what = format!("all generations {word:#x}");
        must_return(&what.clone(), move || ring.assert_recovers(&what));
    }
}

#[test]
fn a_damaged_sequence_does_not_spoil_the_counts() {
    for value in bad_values(1, 64).into_iter().chain([2, 3, 4, 100]) {
        let ring = Ring::new("sequence");
        ring.raw.set_u64(ring.at(raw::SEQUENCE), value);
        ring.assert_recovers(&format!("sequence {value:#x}"));
    }
}

#[test]
fn sequences_damaged_again_and_again_do_not_overflow_the_counts() {
    let ring = Ring::new("sequences");
    // Each as far ahead of the one before as counts as forwards.
    let mut value = 0u64;
    for slot in 0..5 {
        value = value.wrapping_add(u64::MAX / 2);
        ring.raw.set_u64(ring.raw.slot(slot, raw::SEQUENCE), value);
    }
    ring.assert_recovers("sequences half the range apart");
}

#[test]
fn a_sequence_damaged_where_a_lapped_reader_resumes_does_not_overstate_the_loss() {
    for value in bad_values(0, 64) {
        let ring = Ring::new("sequence-resume");
        for number in 5..5 + 2 * SLOTS {
            ring.writer.write(&message(number)).unwrap();
        }
        for slot in 0..SLOTS {
            ring.raw.set_u64(ring.raw.slot(slot, raw::SEQUENCE), value);
        }
        let mut seen = ring.read_all();
        for number in 5 + 2 * SLOTS..5 + 4 * SLOTS {
            ring.writer.write(&message(number)).unwrap();
            seen.extend(ring.read_all());
        }
        assert_eq!(seen.last(), Some(&message(4 + 4 * SLOTS)));
        let stats = ring.reader.stats();
        // A number that could be true is believed, and then too few count as lost; never too many.
        assert!(stats.consumed + stats.lost <= 5 + 4 * SLOTS, "sequence {value:#x}: {stats:?}");
    }
}

#[test]
fn a_damaged_published_word_does_not_crash_or_hang_readers() {
    let large = [6, 5 + SLOTS, 1 << 32, (1 << 62) - 1, 1 << 62, u64::MAX - 1, u64::MAX];
    for value in (0..5).chain(large) {
        // A reader that is in time, and one that was lapped.
        for lapped in [false, true] {
            let ring = Ring::new("published");
            let mut count = 5;
            if lapped {
                for number in 5..5 + 2 * SLOTS {
                    ring.writer.write(&message(number)).unwrap();
                    count += 1;
                }
            }
            ring.raw.set_u64(raw::PUBLISHED, value);
            let what = format!("published {value:#x}, lapped {lapped}");
            let (ring, seen) = must_return(&what, move || {
                let seen = ring.read_all();
                let _ = ring.reader.read(1);
                (ring, seen)
            });
            if !lapped {
                assert_eq!(seen, (0..5).map(message).collect::<Vec<_>>(), "{what}");
            }
            // The next publish puts it right.
            ring.writer.write(&message(count)).unwrap();
            assert_eq!(ring.read_all().last(), Some(&message(count)), "{what}");
            let stats = ring.reader.stats();
            assert_eq!(
                (stats.consumed + stats.lost, stats.lag),
                (count + 1, 0),
                "{what}: {stats:?}"
            );
        }
    }
}
