//! Looking at rings: what is seen, that nothing is disturbed by it, and that no damage is too much for it.

mod support;

use qadataswap::observe::{MessageKind, Observer, Phase, Place, ReaderKind, SlotState};
use qadataswap::{QADataSwapError, ReaderOptions, WriterOptions};
use support::damage::{self, MESSAGES, Ring, SLOTS, bad_values, with_bad_values};
use support::raw::{self, Raw};
use support::{RingName, inspect};

fn observer(ring: &RingName) -> Observer {
    Observer::open(ring.name()).expect("opens")
}

#[test]
fn a_ring_is_seen_as_it_is() {
    let ring = RingName::new("observe");
    let writer = WriterOptions::new(4).slot_capacity(40).create(ring.name()).unwrap();
    let lossless = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    let lossy = ReaderOptions::new().attach(ring.name()).unwrap();
    writer.write(b"one").unwrap();
    writer.write(b"two").unwrap();
    lossless.read(0).unwrap();
    let lease = lossy.lease(0).unwrap().expect("a message");

    let seen = observer(&ring).look().unwrap();
    let header = seen.header.unwrap();
    assert_eq!((header.slot_count, header.payload_capacity), (4, 40));
    assert_eq!((header.published, header.message_count, header.phase), (2, 2, Phase::Open));
    assert!(seen.writer.alive && seen.writer.process.is_here);
    assert_eq!((seen.writer.process.pid, seen.writer.epoch), (std::process::id(), 1));
    assert_eq!(seen.bytes, Raw::data(&ring).len());
    assert_eq!(seen.committed_bytes, Raw::data(&ring).allocated_bytes());
    let [first, second] = seen.readers.as_slice() else { panic!("{seen:?}") };
    assert_eq!((first.kind, first.gate, first.lag), (ReaderKind::Lossless, Some(1), 1));
    assert_eq!((second.kind, second.gate), (ReaderKind::Lossy, None));
    assert_eq!((second.lease_count(), second.leases[0]), (1, Some(0)));
    assert_eq!(seen.slowest_gating().map(|reader| reader.index), Some(first.index));
    assert_eq!(observer(&ring).check().unwrap(), []);

    let newest = observer(&ring).newest().unwrap().unwrap();
    assert_eq!((newest.position, newest.sequence), (1, 1));
    assert_eq!((newest.kind, newest.bytes.as_slice()), (MessageKind::Bytes, &b"two"[..]));
    drop((lease, lossless, lossy));
    assert_eq!(observer(&ring).look().unwrap().readers, []);
    writer.close().unwrap();
    let seen = observer(&ring).look().unwrap();
    assert_eq!((seen.header.unwrap().phase, seen.writer.alive), (Phase::Closed, false));
}

#[test]
fn bytes_are_counted_over_all_writers_and_segments() {
    let ring = RingName::new("bytes");
    let options = WriterOptions::new(4).slot_capacity(64);
    let bytes = || observer(&ring).look().unwrap().header.unwrap().message_bytes;
    let mut writer = options.create(ring.name()).unwrap();
    assert_eq!(bytes(), 0);
    writer.write(&[1; 10]).unwrap();
    let mut slot = writer.reserve(20).unwrap();
    slot.write_at(0, &[2; 15]).unwrap();
    slot.publish().unwrap();
    let _ = writer.reserve(30).unwrap();
    assert_eq!(bytes(), 25);
    drop(writer);
    let writer = options.create(ring.name()).unwrap();
    writer.write(&[3; 100]).unwrap();
    assert_eq!(writer.stats().rollovers, 1);
    writer.write(&[4; 1]).unwrap();
    assert_eq!((bytes(), writer.stats().published_bytes), (126, 101));
}

#[test]
fn looking_stores_nothing_and_takes_no_memory() {
    let ring = RingName::new("observe-nothing");
    // Sparse: most slots have no memory, and none is to be given to them.
    let writer = WriterOptions::new(64).slot_capacity(1 << 20).create(ring.name()).unwrap();
    writer.write(b"one").unwrap();
    let both = || {
        let (data, control) = (Raw::data(&ring), Raw::control(&ring));
        let allocated = (data.allocated_bytes(), control.allocated_bytes());
        (allocated, data.bytes(0, 8192), control.bytes(0, control.len() as usize))
    };
    let before = both();
    for _ in 0..100 {
        let observer = observer(&ring);
        observer.look().unwrap();
        observer.check().unwrap();
        assert_eq!(observer.slots().unwrap()[0].state, SlotState::Published);
        observer.newest().unwrap();
    }
    assert!(before == both(), "something was stored");
    writer.unlink().unwrap();
}

#[test]
fn a_thousand_looks_leave_neither_descriptors_nor_mappings() {
    let ring = RingName::new("observe-leaks");
    let writer = WriterOptions::new(4).create(ring.name()).unwrap();
    observer(&ring).look().unwrap();
    let count = || (inspect::open_descriptors(), inspect::mappings(ring.name()).len());
    let before = count();
    for _ in 0..1_000 {
        observer(&ring).look().unwrap();
    }
    // Other tests of this process open descriptors too, but not a thousand.
    let after = count();
    assert!(after.0 < before.0 + 500, "{before:?} {after:?}");
    assert_eq!(after.1, before.1);
    writer.unlink().unwrap();
}

#[test]
fn no_damage_to_the_header_is_too_much() {
    let ring = Ring::new("observe-header", MESSAGES);
    let words = [
        (raw::MAGIC, 64),
        (raw::ABI_VERSION, 32),
        (raw::HEADER_BYTES_WORD, 32),
        (raw::SEGMENT_BYTES, 64),
        (raw::SLOT_COUNT, 64),
        (raw::SLOT_STRIDE, 64),
        (raw::PAYLOAD_CAPACITY, 64),
        (raw::FEATURES, 64),
        (raw::FIRST_POSITION, 64),
        (raw::FIRST_SEQUENCE, 64),
        (raw::SEGMENT_NUMBER, 64),
        (raw::CHECKSUM, 64),
        (raw::STATE, 32),
    ];
    for (at, bits) in words {
        with_bad_values(&ring, at, bits, |_, value| {
            let observer = Observer::open(ring.name.name()).unwrap();
            let seen = observer.look().unwrap();
            let found = observer.check().unwrap();
            let harmless = at == raw::STATE && value <= 2;
            assert!(harmless || !seen.faults.is_empty(), "word {at} {value:#x}: {seen:?}");
            assert!(harmless || !found.is_empty(), "word {at} {value:#x}");
            observer.slots().unwrap();
            observer.newest().ok();
        });
    }
}

#[test]
fn positions_that_cannot_be_are_named() {
    let ring = Ring::new("observe-positions", MESSAGES);
    for at in [raw::PUBLISHED, raw::MESSAGE_COUNT, raw::CLAIMED] {
        with_bad_values(&ring, at, 64, |_, value| {
            let observer = Observer::open(ring.name.name()).unwrap();
            let found = observer.check().unwrap();
            let seen = observer.look().unwrap();
            let (low, high) = (MESSAGES - SLOTS, MESSAGES + 1);
            let beyond = !(low..=high + SLOTS).contains(&value);
            // A count that is too small may be that of messages in a ring with skips.
            if beyond && (at == raw::PUBLISHED || value > high) {
                assert!(!found.is_empty(), "word {at} {value:#x}: {seen:?}");
            }
            observer.newest().ok();
        });
    }
}

#[test]
fn damage_to_slots_is_named() {
    let ring = Ring::new("observe-slots", MESSAGES);
    let cases = [
        (raw::GENERATION, raw::generation(5, raw::PUBLISHED_STATE), "position"),
        (raw::GENERATION, raw::generation(40, raw::PUBLISHED_STATE), "position that was published"),
        (raw::GENERATION, raw::generation(44, raw::WRITING), "position that is being written"),
        (raw::SEQUENCE, 1 << 40, "sequence"),
        (raw::LENGTH, 1 << 20, "length"),
    ];
    for (word, value, field) in cases {
        let raw = ring.restore();
        let at = raw.slot(0, word);
        if word == raw::LENGTH {
            raw.set_u32(at, value as u32)
        } else {
            raw.set_u64(at, value)
        }
        let found = Observer::open(ring.name.name()).unwrap().check().unwrap();
        let named = found.iter().any(|one| one.place == Place::Slot(0) && one.field == field);
        assert!(named, "{field}: {found:?}");
    }
    let raw = ring.restore();
    raw.set_u32(raw.slot(0, raw::KIND), 0xffff);
    let found = Observer::open(ring.name.name()).unwrap().check().unwrap();
    assert!(found.iter().any(|one| one.field == "kind"), "{found:?}");
    for value in bad_values(0, 64) {
        let raw = ring.restore();
        raw.set_u64(raw.slot(1, raw::GENERATION), value);
        let observer = Observer::open(ring.name.name()).unwrap();
        observer.check().unwrap();
        observer.newest().ok();
    }
}

#[test]
fn whatever_stands_in_the_control_segment_is_no_more_than_strange() {
    let ring = RingName::new("observe-control");
    let writer = damage::writer(&ring).unwrap();
    writer.write(b"one").unwrap();
    let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    let control = Raw::control(&ring);
    let entry = |word| raw::entry(0, word);
    let cases = [
        (entry(raw::ENTRY_GATE), 1 << 50, "gate"),
        (entry(raw::ENTRY_POSITION), 1 << 50, "position"),
        (entry(raw::ENTRY_CONSUMED), u64::MAX, "consumed + lost"),
        (raw::CONTROL_FIRST_SEGMENT, 9, "first_segment"),
        (raw::GATING, 0, "bit in gating"),
    ];
    for (at, value, field) in cases {
        let was = control.u64(at);
        control.set_u64(at, value);
        let found = observer(&ring).check().unwrap();
        assert!(found.iter().any(|one| one.field == field), "{field}: {found:?}");
        control.set_u64(at, was);
    }
    let mut random = raw::Random(1);
    for _ in 0..200 {
        let was = control.bytes(raw::ENTRIES, raw::ENTRY_BYTES as usize);
        control.set_bytes(raw::ENTRIES, &random.bytes(raw::ENTRY_BYTES as usize));
        let observer = observer(&ring);
        observer.look().unwrap().slowest_gating();
        observer.check().unwrap();
        control.set_bytes(raw::ENTRIES, &was);
    }
    assert_eq!(observer(&ring).check().unwrap(), []);
    control.set_u64(raw::CONTROL_RING_ID, 1);
    let found = observer(&ring).check().unwrap();
    assert!(found.iter().any(|one| one.place == Place::Control), "{found:?}");
    drop(reader);
    writer.unlink().unwrap();
}

#[test]
fn what_is_not_there_and_what_is_not_ready() {
    let ring = RingName::new("observe-missing");
    assert!(matches!(Observer::open(ring.name()), Err(QADataSwapError::NotFound { .. })));
    assert!(matches!(Observer::open("a/b"), Err(QADataSwapError::InvalidName)));
    std::fs::write(ring.data_path(), b"").unwrap();
    let seen = observer(&ring).look().unwrap();
    assert!(seen.header.is_none() && seen.faults.len() == 1, "{seen:?}");
    std::fs::write(ring.data_path(), b"short").unwrap();
    assert!(observer(&ring).check().unwrap()[0].to_string().contains("segment size is 5"));
}

#[test]
fn a_ring_in_use_is_removed_by_force_only() {
    let ring = RingName::new("observe-force");
    let writer = damage::writer(&ring).unwrap();
    let reader = damage::reader(&ring).unwrap();
    assert!(matches!(qadataswap::unlink(ring.name()), Err(QADataSwapError::WriterAlive { .. })));
    qadataswap::unlink_by_force(ring.name()).unwrap();
    assert_eq!(inspect::objects(ring.name()), [] as [String; 0]);
    // Those who have it go on.
    writer.write(b"one").unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"one"[..]));
    let missing = qadataswap::unlink_by_force(ring.name());
    assert!(matches!(missing, Err(QADataSwapError::NotFound { .. })));
}

#[test]
fn the_next_message_says_what_it_is() {
    let ring = RingName::new("observe-kind");
    let writer = WriterOptions::new(4).create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    let column = std::sync::Arc::new(qadataswap::arrow_array::Int64Array::from(vec![1])) as _;
    let batch = qadataswap::arrow_array::RecordBatch::try_from_iter([("n", column)]).unwrap();
    // More than a lap, so that the reader has been lapped when it asks.
    for _ in 0..5 {
        writer.write(b"bytes").unwrap();
    }
    writer.write_arrow(&batch).unwrap();
    writer.write_arrow(&batch).unwrap();
    writer.write(b"bytes").unwrap();
    let mut kinds = Vec::new();
    while let Some(kind) = reader.next_kind(0).unwrap() {
        kinds.push(kind);
        match kind {
            MessageKind::Arrow => assert_eq!(reader.read_arrow(0).unwrap().as_ref(), Some(&batch)),
            _ => assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"bytes"[..])),
        }
    }
    assert_eq!(kinds, [MessageKind::Arrow, MessageKind::Bytes]);
    assert_eq!(reader.stats().consumed + reader.stats().lost, 8);
    writer.unlink().unwrap();
}
