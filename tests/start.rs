//! Where a new reader starts, in rings of every fill, and how many messages a ring keeps.

mod support;

use qadataswap::{OnOverrun, QADataSwapError, Reader, ReaderOptions, Start, Writer, WriterOptions};
use support::RingName;
use support::threads::must_return;

const STARTS: [Start; 3] = [Start::Oldest, Start::Newest, Start::Next];

fn writer(ring: &RingName, slots: usize) -> Writer {
    WriterOptions::new(slots).slot_capacity(64).create(ring.name()).unwrap()
}

fn reader(ring: &RingName, start: Start) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).start(start).attach(ring.name()).unwrap()
}

fn read_all(reader: &Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.read_value(0).unwrap()).collect()
}

#[test]
fn every_start_in_rings_of_every_fill_gives_exactly_the_messages_it_should() {
    for slots in [1, 2, 3, 4, 7, 8, 64] {
        // Empty, one message, nearly full, full, one over, and after several laps.
        for count in [0, 1, 2, slots - 1, slots, slots + 1, 2 * slots, 5 * slots + 2] {
            for start in STARTS {
                let (slots, count) = (slots as u64, count as u64);
                let ring = RingName::new("start");
                let writer = writer(&ring, slots as usize);
                for number in 0..count {
                    writer.write_value(&number).unwrap();
                }
                let reader = reader(&ring, start);
                let first = match start {
                    Start::Oldest => count.saturating_sub(slots),
                    Start::Newest => count.saturating_sub(1),
                    Start::Next => count,
                };
                let what = format!("{start:?}, {count} messages in {slots} slots");
                let stats = reader.stats();
                assert_eq!((stats.position, stats.lag), (first, count - first), "{what}");
                assert_eq!(read_all(&reader), (first..count).collect::<Vec<_>>(), "{what}");
                // Nothing before the start counts as lost, and the next message comes.
                writer.write_value(&count).unwrap();
                assert_eq!(read_all(&reader), [count], "{what}");
                let stats = reader.stats();
                assert_eq!((stats.consumed, stats.lost), (count - first + 1, 0), "{what}");
            }
        }
    }
}

#[test]
fn the_start_is_the_oldest_unless_told_otherwise() {
    assert_eq!(Start::default(), Start::Oldest);
    let ring = RingName::new("start-default");
    let writer = writer(&ring, 4);
    for number in 0..6u64 {
        writer.write_value(&number).unwrap();
    }
    let by_default = ReaderOptions::new().attach(ring.name()).unwrap();
    assert_eq!(read_all(&by_default), [2, 3, 4, 5]);
    assert_eq!(read_all(&qadataswap::create_reader(ring.name()).unwrap()), [2, 3, 4, 5]);
    let also = ReaderOptions::default().attach(ring.name()).unwrap();
    assert_eq!(read_all(&also), [2, 3, 4, 5]);
}

#[test]
fn a_reader_starts_in_a_ring_whose_next_slot_is_being_written() {
    for slots in [1, 2, 3, 8] {
        for count in [0, 1, slots, 2 * slots + 1] {
            for start in STARTS {
                let ring = RingName::new("start-writing");
                let mut writer = writer(&ring, slots as usize);
                for number in 0..count {
                    writer.write_value::<u64>(&number).unwrap();
                }
                let what = format!("{start:?}, {count} messages in {slots} slots");
                // The oldest message is being overwritten.
                let mut open = writer.reserve(8).unwrap();
                let options = ReaderOptions::new().attach_timeout_ms(0).start(start);
                let reader = options
                    .attach(ring.name())
                    .unwrap_or_else(|error| panic!("{what}: attaching: {error}"));
                let kept = count.min(slots - 1);
                let first = match start {
                    Start::Oldest => count - kept,
                    Start::Newest => count - kept.min(1),
                    Start::Next => count,
                };
                assert_eq!(read_all(&reader), (first..count).collect::<Vec<_>>(), "{what}");
                open.write_at(0, &count.to_le_bytes()).unwrap();
                open.publish().unwrap();
                assert_eq!(read_all(&reader), [count], "{what}");
                assert_eq!(reader.stats().lost, 0, "{what}");
            }
        }
    }
}

#[test]
fn a_ring_keeps_as_many_messages_as_it_has_slots() {
    for slots in [1, 2, 3] {
        let ring = RingName::new("keeps");
        let writer = writer(&ring, slots);
        let live = reader(&ring, Start::Oldest);
        for number in 0..20u64 {
            writer.write_value(&number).unwrap();
            assert_eq!(live.read_value(0).unwrap(), Some(number));
            let kept = read_all(&reader(&ring, Start::Oldest));
            let first = (number + 1).saturating_sub(slots as u64);
            assert_eq!(kept, (first..=number).collect::<Vec<_>>(), "{slots} slots");
        }
        assert_eq!(writer.slot_count(), slots);
        assert_eq!((live.stats().consumed, live.stats().lost), (20, 0));
    }
}

#[test]
fn a_lapped_reader_resumes_in_rings_of_one_two_and_three_slots() {
    for slots in [1, 2, 3] {
        let ring = RingName::new("laps");
        let writer = writer(&ring, slots);
        let reader = reader(&ring, Start::Oldest);
        let mut published = 0u64;
        let mut seen = Vec::new();
        for burst in 1..30 {
            for _ in 0..burst {
                writer.write_value(&published).unwrap();
                published += 1;
            }
            seen.extend(read_all(&reader));
            assert_eq!(seen.last(), Some(&(published - 1)), "{slots} slots");
            let stats = reader.stats();
            assert_eq!((stats.consumed, stats.lag), (seen.len() as u64, 0));
            assert_eq!(stats.consumed + stats.lost, published);
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn a_reader_of_one_slot_lapped_by_a_reservation_sees_the_ring_end() {
    // The reservation took the only message away and was never published.
    for close in [true, false] {
        let ring = RingName::new("one-end");
        let mut writer = writer(&ring, 1);
        let reader = reader(&ring, Start::Oldest);
        writer.write_value(&0u64).unwrap();
        let _ = writer.reserve(8).unwrap();
        assert_eq!(reader.read(0).unwrap(), None);
        if close {
            writer.close().unwrap();
        } else {
            writer.unlink().unwrap();
        }
        let read = must_return("reading a ring that has ended", move || reader.read(u64::MAX));
        assert!(matches!(read, Err(QADataSwapError::Closed)), "{read:?}");
    }
}

#[test]
fn a_reader_of_one_slot_lapped_by_a_reservation_follows_a_rollover() {
    let ring = RingName::new("one-follow");
    let mut writer = writer(&ring, 1);
    let reader = reader(&ring, Start::Oldest);
    writer.write_value(&0u64).unwrap();
    let _ = writer.reserve(8).unwrap();
    let large = vec![7; 1000];
    writer.write(&large).unwrap();
    assert_eq!(writer.stats().rollovers, 1);
    let (read, stats) = must_return("reading a ring that has moved", move || {
        (reader.read(u64::MAX), reader.stats())
    });
    assert_eq!(read.unwrap(), Some(large));
    assert_eq!((stats.consumed, stats.lost), (1, 1));
}

#[test]
fn a_reader_that_missed_a_whole_segment_goes_on_with_what_the_next_one_keeps() {
    // It has consumed all of the first segment, two rollovers ago. The third keeps messages 1 and 2,
    // and the slot where message 0 would be has never been used.
    let ring = RingName::new("missed-segment");
    let writer = writer(&ring, 2);
    let reader = reader(&ring, Start::Oldest);
    writer.write(&[7; 100]).unwrap();
    writer.write_value(&1u64).unwrap();
    writer.write_value(&2u64).unwrap();
    drop(writer);
    let writer = self::writer(&ring, 3);
    assert_eq!(read_all(&reader).last(), Some(&2));
    let stats = reader.stats();
    assert_eq!((stats.consumed + stats.lost, stats.overruns, stats.lag), (3, 1, 0));
    writer.write_value(&3u64).unwrap();
    assert_eq!(read_all(&reader), [3]);
}

#[test]
fn an_overrun_is_reported_with_the_exact_loss_if_asked_for_and_reading_goes_on() {
    for slots in [1, 2, 3, 4, 8, 100] {
        for extra in [1, 2, slots, 3 * slots + 1] {
            let ring = RingName::new("overrun-error");
            let writer = writer(&ring, slots as usize);
            let options = ReaderOptions::new().on_overrun(OnOverrun::Error);
            let reader = options.attach(ring.name()).unwrap();
            let what = format!("{slots} slots, {extra} too many");
            let mut next = 0u64;
            for round in 1..4 {
                let published = next + slots + extra;
                for number in next..published {
                    writer.write_value(&number).unwrap();
                }
                let lost = match reader.read(0) {
                    Err(QADataSwapError::Overrun { lost }) => lost,
                    other => panic!("{what}: {other:?}"),
                };
                assert!((extra..slots + extra).contains(&lost), "{what}: {lost} lost");
                let stats = reader.stats();
                assert_eq!(stats.overruns, round, "{what}");
                assert_eq!(stats.position, next + lost, "{what}");
                assert_eq!(stats.consumed + stats.lost + stats.lag, published, "{what}");
                // Everything from there on is still to be had, and nothing is reported twice.
                assert_eq!(read_all(&reader), (next + lost..published).collect::<Vec<_>>());
                next = published;
                let stats = reader.stats();
                assert_eq!((stats.consumed + stats.lost, stats.overruns), (published, round));
            }
        }
    }
}

#[test]
fn an_overrun_is_only_counted_unless_asked_for() {
    assert_eq!(OnOverrun::default(), OnOverrun::Resume);
    for options in [ReaderOptions::new(), ReaderOptions::new().on_overrun(OnOverrun::Resume)] {
        let ring = RingName::new("overrun-resume");
        let writer = writer(&ring, 8);
        let reader = options.attach(ring.name()).unwrap();
        for number in 0..20u64 {
            writer.write_value(&number).unwrap();
        }
        let seen = read_all(&reader);
        let stats = reader.stats();
        assert_eq!(seen, (stats.lost..20).collect::<Vec<_>>());
        assert!((12..20).contains(&stats.lost));
        assert_eq!((stats.overruns, stats.consumed), (1, 20 - stats.lost));
    }
}
