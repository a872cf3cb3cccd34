//! Rollover: the ring's name moves to a segment with other slots, and readers follow without losing a
//! message.

mod support;

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions, create_reader};
use support::{Child, Parent, RingName, inspect, numbered};

#[test]
fn child_process() {
    support::play(&[("reader", play_reader)]);
}

/// Reads as many messages as it is told to, or to the end of the ring, and checks each.
fn play_reader(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    let mut next = 0;
    parent.say("ready");
    loop {
        let line = parent.hear();
        parent.say("reading");
        let wanted = line.parse().unwrap_or(u64::MAX);
        for _ in 0..wanted {
            match reader.read(u64::MAX) {
                Ok(message) => {
                    let number = numbered::number_of(&message.unwrap());
                    assert!(number >= next, "message {number} instead of {next}");
                    next = number + 1;
                    let stats = reader.stats();
                    assert_eq!(stats.consumed + stats.lost, next, "{stats:?}");
                }
                Err(QADataSwapError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let stats = reader.stats();
        let segments = inspect::data_mappings(&arguments[0]).len();
        parent.say(format!("{} read, {} lost, {segments} mapped", stats.consumed, stats.lost));
    }
}

fn open(ring: &RingName, slot_count: usize, capacity: usize) -> Writer {
    WriterOptions::new(slot_count).slot_capacity(capacity).create(ring.name()).unwrap()
}

fn attach(ring: &RingName) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(ring.name()).unwrap()
}

fn publish(writer: &Writer, numbers: std::ops::Range<u64>, len: usize) {
    for number in numbers {
        writer.write(&numbered::message(number, len)).unwrap();
    }
}

/// Numbers of all messages that can be read without waiting.
#[track_caller]
fn drain(reader: &Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.read(0).unwrap()).map(|m| numbered::number_of(&m)).collect()
}

#[track_caller]
fn assert_one_segment(ring: &RingName) {
    let name = format!("qads_{}", ring.name());
    assert_eq!(inspect::objects(ring.name()), [name.clone(), format!("{name}.ctl")]);
}

#[track_caller]
fn tell(reader: &mut Child, what: impl std::fmt::Display) {
    reader.say(what);
    assert_eq!(reader.hear(), "reading");
}

#[test]
fn reader_processes_that_lag_in_different_segments_lose_nothing() {
    let ring = RingName::new("lagging");
    let writer = open(&ring, 64, 64);
    let mut readers: Vec<Child> = (0..3).map(|_| Child::spawn("reader", &[ring.name()])).collect();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "ready");
    }
    publish(&writer, 0..10, 60);
    // The first reads nothing yet, the second a part of the first segment, the third all of it.
    for (reader, count) in readers.iter_mut().zip([0, 4, 10]) {
        tell(reader, count);
        assert_eq!(reader.hear(), format!("{count} read, 0 lost, 1 mapped"));
    }
    publish(&writer, 10..20, 1_000);
    tell(&mut readers[2], 5);
    assert_eq!(readers[2].hear(), "15 read, 0 lost, 1 mapped");
    publish(&writer, 20..30, 30_000);
    publish(&writer, 30..31, 1_000_000);
    assert_eq!(writer.stats().rollovers, 3);
    writer.close().unwrap();
    for reader in &mut readers {
        tell(reader, "to the end");
        assert_eq!(reader.hear(), "31 read, 0 lost, 1 mapped");
    }
    assert_one_segment(&ring);
}

#[test]
fn readers_at_full_speed_see_every_number_in_order_or_count_it_lost() {
    let ring = RingName::new("full-speed");
    let mut writer = open(&ring, 32, 64);
    let mut readers: Vec<Child> = (0..3).map(|_| Child::spawn("reader", &[ring.name()])).collect();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "ready");
        tell(reader, "to the end");
    }
    let mut number = 0;
    while writer.slot_capacity() < 1 << 20 {
        publish(&writer, number..number + 500, 60);
        publish(&writer, number + 500..number + 501, writer.slot_capacity() + 1);
        number += 501;
        // A reservation makes room too.
        let len = writer.slot_capacity() + 1;
        let mut slot = writer.reserve(len).unwrap();
        slot.write_at(0, &numbered::message(number, 60)).unwrap();
        slot.publish().unwrap();
        number += 1;
    }
    assert_eq!(writer.stats().message_count, number);
    assert_eq!(writer.stats().rollovers, 14);
    writer.close().unwrap();
    for reader in &mut readers {
        let said = reader.hear();
        let counts: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(counts[0] + counts[1], number, "{said}");
        assert_eq!(counts[2], 1, "{said}");
    }
}

#[test]
fn retained_messages_move_along_for_readers_that_come_later() {
    let ring = RingName::new("retained");
    let writer = open(&ring, 8, 64);
    publish(&writer, 0..5, 60);
    publish(&writer, 5..6, 500);
    assert_eq!(drain(&attach(&ring)), [0, 1, 2, 3, 4, 5]);
    publish(&writer, 6..20, 60);
    // All eight slots are in use: one has to be free for the message that needs the room.
    publish(&writer, 20..21, 5_000);
    assert_eq!(drain(&attach(&ring)), (13..21).collect::<Vec<_>>());
    assert_eq!(attach(&ring).stats().position, 13);
    let stats = writer.stats();
    assert_eq!((stats.position, stats.message_count, stats.rollovers), (21, 21, 2));
    assert_eq!((stats.published, stats.epoch), (21, 1));
}

#[test]
fn ring_of_one_slot_rolls_over() {
    let ring = RingName::new("one-slot");
    let writer = open(&ring, 1, 64);
    let reader = attach(&ring);
    for (number, len) in [(0, 60), (1, 600), (2, 6_000)] {
        publish(&writer, number..number + 1, len);
        assert_eq!(drain(&attach(&ring)), [number]);
    }
    // What was in the old slot at the time of a rollover is still there for those attached.
    assert_eq!(drain(&reader), [0, 2]);
    assert_eq!(reader.stats().lost, 1);
}

#[test]
fn old_segments_are_released_once_everybody_has_followed() {
    let ring = RingName::new("released");
    let writer = open(&ring, 4, 1);
    let (prompt, late) = (attach(&ring), attach(&ring));
    let mut number = 0;
    while writer.slot_capacity() < 1 << 20 {
        publish(&writer, number..number + 1, writer.slot_capacity().max(numbered::SHORTEST) + 1);
        assert_eq!(drain(&prompt), [number]);
        number += 1;
        assert_one_segment(&ring);
    }
    assert!(writer.stats().rollovers >= 17);
    // This process is the writer, a reader that followed, and one that still holds the first segment.
    let named = |maps: &[inspect::Mapping]| {
        maps.iter().filter(|map| !map.file.ends_with("(deleted)")).count()
    };
    let maps = inspect::data_mappings(ring.name());
    assert_eq!((maps.len(), named(&maps)), (3, 2), "{maps:?}");
    drain(&late);
    let maps = inspect::data_mappings(ring.name());
    assert_eq!((maps.len(), named(&maps)), (3, 3), "{maps:?}");
    drop((prompt, late));
    assert_eq!(inspect::data_mappings(ring.name()).len(), 1);
}

#[test]
fn larger_message_is_refused_where_rollover_is_not_allowed() {
    let ring = RingName::new("refused");
    let options = WriterOptions::new(4).slot_capacity(64).rollover(false);
    let mut writer = options.create(ring.name()).unwrap();
    let reader = attach(&ring);
    publish(&writer, 0..1, 64);
    let too_large = |error: QADataSwapError| {
        assert!(
            matches!(
                error,
                QADataSwapError::MessageTooLarge { needed_bytes: 65, available_bytes: 64 }
            ),
            "{error:?}"
        );
    };
    too_large(writer.write(&[0; 65]).unwrap_err());
    too_large(writer.write_ipc_stream(&[0; 65]).unwrap_err());
    too_large(writer.reserve(65).map(drop).unwrap_err());
    publish(&writer, 1..2, 64);
    assert_eq!(drain(&reader), [0, 1]);
    let stats = writer.stats();
    assert_eq!((stats.published, stats.position, stats.rollovers), (2, 2, 0));
    assert_one_segment(&ring);
}

#[test]
fn sleeping_readers_are_woken_and_follow() {
    let ring = RingName::new("sleeping");
    let writer = open(&ring, 4, 64);
    let mut readers: Vec<Child> = (0..3).map(|_| Child::spawn("reader", &[ring.name()])).collect();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "ready");
    }
    for number in 0..4 {
        for reader in &mut readers {
            tell(reader, 1);
            inspect::wait_until_asleep(reader.pid());
        }
        publish(&writer, number..number + 1, 65 << (2 * number));
        for reader in &mut readers {
            assert_eq!(reader.hear(), format!("{} read, 0 lost, 1 mapped", number + 1));
        }
    }
    assert_eq!(writer.stats().rollovers, 4);
}

#[test]
fn new_writer_with_other_slots_moves_the_ring_to_them() {
    // Slots and capacity asked for; those had; the messages that then are retained.
    let cases = [
        ((16, 64), (16, 64), 0..6),
        ((4, 64), (4, 64), 3..6),
        ((8, 1_000), (8, 1_000), 0..6),
        // Slots do not shrink: what is in the ring has to fit.
        ((8, 10), (8, 64), 0..6),
        ((1, 64), (1, 64), 6..6),
    ];
    for ((slots, capacity), had, retained) in cases {
        let ring = RingName::new("other-slots");
        publish(&open(&ring, 8, 64), 0..6, 60);
        let attached = attach(&ring);
        let writer = open(&ring, slots, capacity);
        assert_eq!((writer.slot_count(), writer.slot_capacity()), had);
        let stats = writer.stats();
        assert_eq!((stats.epoch, stats.position, stats.message_count), (2, 6, 6));
        assert_eq!(stats.rollovers, u64::from(had != (8, 64)));
        assert_eq!(drain(&attach(&ring)), retained.collect::<Vec<_>>());
        publish(&writer, 6..7, 60);
        assert_eq!(drain(&attached), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(drain(&attach(&ring)).last(), Some(&6));
        assert_one_segment(&ring);
    }
}
