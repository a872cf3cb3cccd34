//! Writing in place: whatever order the bytes come in, the message is what a plain vector would be.

mod support;

use std::io::{IoSlice, Write as _};

use proptest::prelude::*;
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use support::RingName;
use support::raw::{self, Raw};

const CAPACITY: usize = 1500;

fn ring(slots: usize) -> (RingName, Writer, Reader) {
    let ring = RingName::new("reservation");
    let options = WriterOptions::new(slots).slot_capacity(CAPACITY).rollover(false);
    let writer = options.create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    (ring, writer, reader)
}

/// One call on a reservation.
#[derive(Clone, Debug)]
enum Call {
    WriteAt(usize, Vec<u8>),
    Write(Vec<u8>),
    WriteAll(Vec<u8>),
    Flush,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Not zero, so that what a gap should hold is told from what was written.
    let len = prop_oneof![4 => 0usize..20, 2 => 0usize..300, 1 => 250usize..600];
    len.prop_flat_map(|len| prop::collection::vec(1u8.., len))
}

fn call() -> impl Strategy<Value = Call> {
    let offset = prop_oneof![4 => 0usize..64, 3 => 0usize..CAPACITY + 10, 1 => any::<usize>()];
    prop_oneof![
        4 => (offset, bytes()).prop_map(|(offset, bytes)| Call::WriteAt(offset, bytes)),
        2 => bytes().prop_map(Call::Write),
        2 => bytes().prop_map(Call::WriteAll),
        1 => Just(Call::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_reservation_is_a_vector_of_limited_size(
        reservations in prop::collection::vec(
            (0..=CAPACITY, prop::collection::vec(call(), 0..12), any::<bool>()),
            1..6,
        ),
    ) {
        // Two slots, so that slots that hold an older message are used again.
        let (_ring, mut writer, reader) = ring(2);
        for (capacity, calls, publish) in reservations {
            let mut slot = writer.reserve(capacity).unwrap();
            let mut model: Vec<u8> = Vec::new();
            prop_assert_eq!(slot.capacity(), capacity);
            for call in calls {
                match call {
                    Call::WriteAt(offset, bytes) => {
                        let end = offset.saturating_add(bytes.len());
                        match slot.write_at(offset, &bytes) {
                            Ok(()) => {
                                prop_assert!(end <= capacity);
                                model.resize(model.len().max(end), 0);
                                model[offset..end].copy_from_slice(&bytes);
                            }
                            Err(QADataSwapError::MessageTooLarge {
                                needed_bytes,
                                available_bytes,
                            }) => {
                                prop_assert!(end > capacity);
                                prop_assert_eq!((needed_bytes, available_bytes), (end, capacity));
                            }
                            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                        }
                    }
                    Call::Write(bytes) => {
                        let fits = bytes.len().min(capacity - model.len());
                        prop_assert_eq!(slot.write(&bytes).unwrap(), fits);
                        model.extend_from_slice(&bytes[..fits]);
                    }
                    Call::WriteAll(bytes) => {
                        let fits = bytes.len().min(capacity - model.len());
                        let result = slot.write_all(&bytes);
                        prop_assert_eq!(result.is_ok(), fits == bytes.len());
                        if let Err(error) = result {
                            prop_assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
                        }
                        model.extend_from_slice(&bytes[..fits]);
                    }
                    Call::Flush => slot.flush().unwrap(),
                }
                prop_assert_eq!(slot.len(), model.len());
                prop_assert_eq!(slot.is_empty(), model.is_empty());
            }
            if publish {
                slot.publish().unwrap();
                prop_assert_eq!(reader.read(0).unwrap(), Some(model));
            }
            prop_assert_eq!(reader.read(0).unwrap(), None);
        }
        prop_assert_eq!(reader.stats().consumed, writer.stats().published);
        prop_assert_eq!(reader.stats().lost, 0);
    }
}

#[test]
fn a_gap_is_zero_even_where_an_older_message_was() {
    let (_ring, mut writer, reader) = ring(1);
    for gap in [1, 7, 8, 9, 255, 256, 257, 600, 1000, CAPACITY - 1] {
        writer.write(&[0xff; CAPACITY]).unwrap();
        reader.skip().unwrap();
        let mut slot = writer.reserve(CAPACITY).unwrap();
        slot.write_at(gap, &[1]).unwrap();
        slot.publish().unwrap();
        let mut expected = vec![0; gap];
        expected.push(1);
        assert_eq!(reader.read(0).unwrap(), Some(expected), "gap of {gap}");
    }
}

#[test]
fn a_gap_at_the_end_is_zero_too() {
    let (_ring, mut writer, reader) = ring(1);
    writer.write(&[0xff; CAPACITY]).unwrap();
    reader.skip().unwrap();
    let mut slot = writer.reserve(100).unwrap();
    slot.write_at(0, b"ab").unwrap();
    slot.write_at(100, b"").unwrap();
    assert_eq!(slot.len(), 100);
    slot.publish().unwrap();
    let read = reader.read(0).unwrap().unwrap();
    assert_eq!((&read[..2], read.len()), (&b"ab"[..], 100));
    assert!(read[2..].iter().all(|byte| *byte == 0));
}

#[test]
fn nothing_beyond_the_reservation_is_stored() {
    let (ring, mut writer, _reader) = ring(1);
    let raw = Raw::data(&ring);
    writer.write(&[0xff; 200]).unwrap();
    for capacity in [0, 1, 8, 13, 100] {
        let mut slot = writer.reserve(capacity).unwrap();
        let refused = slot.write_at(0, &vec![7; capacity + 1]);
        assert!(matches!(refused, Err(QADataSwapError::MessageTooLarge { .. })), "{refused:?}");
        assert_eq!(slot.len(), 0, "a write that is refused stores nothing");
        for offset in [capacity + 1, usize::MAX - 1, usize::MAX] {
            assert!(slot.write_at(offset, b"").is_err(), "{offset}");
            assert!(slot.write_at(offset, b"x").is_err(), "{offset}");
        }
        slot.write_at(0, &vec![7; capacity]).unwrap();
        assert_eq!(slot.write(b"more").unwrap(), 0);
        let stored = raw.bytes(raw.slot(0, raw::PAYLOAD), 200);
        assert!(stored[..capacity].iter().all(|byte| *byte == 7));
        assert!(stored[capacity..].iter().all(|byte| *byte == 0xff), "{capacity}");
    }
}

#[test]
fn a_dropped_reservation_publishes_nothing_and_its_position_is_used_again() {
    let (ring, mut writer, reader) = ring(4);
    let raw = Raw::data(&ring);
    for round in 0..10u64 {
        let before = writer.stats();
        for _ in 0..3 {
            let mut slot = writer.reserve(50).unwrap();
            slot.write_all(b"never seen").unwrap();
        }
        assert_eq!(writer.stats(), before);
        assert_eq!((before.position, before.message_count), (round, round));
        let word = raw.u64(raw.slot(round % 4, raw::GENERATION));
        assert_eq!(word, raw::generation(round, raw::WRITING));
        assert_eq!(reader.read(0).unwrap(), None);
        assert_eq!(reader.stats().lag, 0);
        // Now by another way of writing.
        match round % 3 {
            0 => writer.write(b"seen").unwrap(),
            1 => writer.write_value(b"seen").unwrap(),
            _ => writer.write_ipc_stream(b"seen").unwrap(),
        }
        assert_eq!(raw.u64(raw.slot(round % 4, raw::GENERATION)), raw::generation(round, 2));
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"seen"[..]));
    }
    assert_eq!((reader.stats().consumed, reader.stats().lost), (10, 0));
}

#[test]
fn a_dropped_reservation_takes_away_only_the_message_a_full_ring_would_lose_next() {
    let (_ring, mut writer, reader) = ring(4);
    for number in 0..6u64 {
        writer.write_value(&number).unwrap();
    }
    // Position 2 was the oldest left; the reservation of position 6 has its slot.
    let _ = writer.reserve(8).unwrap();
    let late = ReaderOptions::new().attach(writer.name().as_str()).unwrap();
    let kept: Vec<u64> = std::iter::from_fn(|| late.read_value(0).unwrap()).collect();
    assert_eq!(kept, [3, 4, 5]);
    let seen: Vec<u64> = std::iter::from_fn(|| reader.read_value(0).unwrap()).collect();
    assert_eq!(seen.last(), Some(&5));
    let stats = reader.stats();
    assert_eq!((stats.consumed + stats.lost, stats.lag), (6, 0));
}

#[test]
fn what_io_write_offers_works() {
    let (_ring, mut writer, reader) = ring(4);
    let mut slot = writer.reserve(100).unwrap();
    write!(slot, "a-{:>4}", 7).unwrap();
    assert_eq!(slot.write_vectored(&[IoSlice::new(b""), IoSlice::new(b"|vec")]).unwrap(), 4);
    slot.by_ref().write_all(b"|ref").unwrap();
    std::io::copy(&mut &b"|copied"[..], &mut slot).unwrap();
    slot.publish().unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"a-   7|vec|ref|copied"[..]));
    // Appending goes on behind the furthest byte stored.
    let mut slot = writer.reserve(100).unwrap();
    slot.write_at(4, b"end").unwrap();
    slot.write_all(b"!").unwrap();
    slot.write_at(0, b"head").unwrap();
    slot.publish().unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"headend!"[..]));
}

#[test]
fn an_empty_reservation_publishes_an_empty_message() {
    let (_ring, mut writer, reader) = ring(4);
    for capacity in [0, 10] {
        writer.reserve(capacity).unwrap().publish().unwrap();
        assert_eq!(reader.read(0).unwrap(), Some(vec![]));
    }
}
