//! Gates across everything that happens to a ring: rollovers, takeovers, killed writers, closing, and a control
//! segment that is lost. Each message begins with the number of those before it.

mod support;

use std::os::unix::fs::MetadataExt;

use qadataswap::{
    HoldsReason, OnOverrun, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Writer,
    WriterOptions,
};
use support::numbered::{self, Random};
use support::raw::{self, Raw};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName, inspect};

const CAPACITY: usize = 64;
const WAIT: OnSlowReader = OnSlowReader::Wait { limit_ms: u64::MAX };
const REFUSE: OnSlowReader = OnSlowReader::Refuse;
const EVICT: OnSlowReader = OnSlowReader::Evict { grace_ms: 0 };

#[test]
fn child_process() {
    support::play(&[("writer", write)]);
}

fn options(slots: usize, on_slow_reader: OnSlowReader) -> WriterOptions {
    WriterOptions::new(slots).slot_capacity(CAPACITY).on_slow_reader(on_slow_reader)
}

fn writer(ring: &RingName, slots: usize, on_slow_reader: OnSlowReader) -> Writer {
    options(slots, on_slow_reader).create(ring.name()).unwrap()
}

fn lossless(ring: &RingName) -> Reader {
    ReaderOptions::new().lossless(true).attach(ring.name()).unwrap()
}

/// Publishes the next number in a message of `len` bytes.
fn publish_len(writer: &Writer, len: usize) -> Result<()> {
    writer.write(&numbered::message(writer.stats().message_count, len))
}

fn publish(writer: &Writer) -> Result<()> {
    publish_len(writer, 50)
}

#[track_caller]
fn publish_many(writer: &Writer, count: u64) {
    (0..count).for_each(|_| publish(writer).unwrap());
}

/// Publishes a message for which the slots have to grow.
fn grow(writer: &Writer) -> Result<()> {
    publish_len(writer, writer.slot_capacity() + 1)
}

/// How many more can be published before the writer is refused.
fn room(writer: &Writer) -> u64 {
    (0..).find(|_| publish(writer).is_err()).expect("a gate is there")
}

#[track_caller]
fn next(reader: &Reader) -> Option<u64> {
    reader.read(0).unwrap().map(|message| numbered::number_of(&message))
}

/// Reads these numbers, after which there is nothing.
#[track_caller]
fn read_all(reader: &Reader, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| assert_eq!(next(reader), Some(number)));
    assert_eq!(next(reader), None);
}

#[track_caller]
fn would_block<T: std::fmt::Debug>(result: Result<T>) -> u64 {
    match result {
        Err(QADataSwapError::WouldBlock { pid, behind, .. }) => {
            assert_eq!(pid, std::process::id());
            behind
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn evicted<T: std::fmt::Debug>(result: Result<T>) -> u64 {
    match result {
        Err(QADataSwapError::Evicted { lost }) => lost,
        other => panic!("{other:?}"),
    }
}

/// Runs `act` in a thread until that waits for a gate, asleep; then `meanwhile`, after which it must return.
fn stall<R: Send + 'static>(
    act: impl FnOnce() -> R + Send + 'static,
    meanwhile: impl FnOnce(),
) -> R {
    let (tell, hear) = std::sync::mpsc::channel();
    let handle = std::thread::spawn(move || {
        tell.send(Thread::current()).unwrap();
        act()
    });
    let thread = hear.recv().unwrap();
    wait_until(|| handle.is_finished() || thread.sleeps_on_shared_futex());
    assert!(!handle.is_finished(), "did not wait");
    meanwhile();
    handle.join().unwrap()
}

fn inode(ring: &RingName) -> u64 {
    std::fs::metadata(ring.data_path()).unwrap().ino()
}

#[test]
fn a_full_ring_does_not_grow_before_the_lossless_reader_has_moved() {
    for slots in 1..=5 {
        let ring = RingName::new("grow-full");
        let writer = writer(&ring, slots, REFUSE);
        let reader = lossless(&ring);
        let lossy = ReaderOptions::new().attach(ring.name()).unwrap();
        publish_many(&writer, slots as u64);
        let (segment, before) = (inode(&ring), writer.stats());
        for _ in 0..3 {
            assert_eq!(would_block(grow(&writer)), slots as u64);
        }
        assert_eq!(
            (inode(&ring), writer.stats(), writer.slot_capacity()),
            (segment, before, CAPACITY)
        );
        assert_eq!(inspect::objects(ring.name()).len(), 2);
        assert_eq!(next(&reader), Some(0));
        grow(&writer).unwrap();
        assert_eq!((writer.stats().rollovers, inode(&ring) != segment), (1, true));
        assert_eq!(room(&writer), 0);
        read_all(&reader, 1..slots as u64 + 1);
        read_all(&lossy, 0..slots as u64 + 1);
        assert_eq!((room(&writer), reader.stats().lost), (slots as u64, 0));
    }
}

#[test]
fn a_full_ring_grows_when_the_reader_that_it_waits_for_has_moved() {
    for slots in [1, 4] {
        let ring = RingName::new("grow-wait");
        let mut writer = writer(&ring, slots, WAIT);
        let reader = lossless(&ring);
        publish_many(&writer, slots as u64);
        for number in 0..10 {
            let growing = move || {
                grow(&writer).unwrap();
                writer
            };
            writer = stall(growing, || assert_eq!(next(&reader), Some(number)));
        }
        assert_eq!((writer.stats().rollovers, writer.stats().stalls), (10, 10));
        read_all(&reader, 10..10 + slots as u64);
        assert_eq!(reader.stats().lost, 0);
    }
}

#[test]
fn a_full_ring_that_grows_without_the_reader_costs_it_what_it_is_told() {
    for slots in 1..=5 {
        let ring = RingName::new("grow-evict");
        let writer = writer(&ring, slots, EVICT);
        let (reader, healthy) = (lossless(&ring), lossless(&ring));
        publish_many(&writer, slots as u64);
        assert_eq!(next(&healthy), Some(0));
        grow(&writer).unwrap();
        assert_eq!((writer.stats().evictions, writer.stats().rollovers), (1, 1));
        // The old segment keeps what was in it, so that only what comes later can be lost.
        let published = slots as u64 + 1;
        let mut lost = 0;
        for number in 0..published {
            match reader.read(0) {
                Ok(message) => assert_eq!(numbered::number_of(&message.unwrap()), number + lost),
                Err(QADataSwapError::Evicted { lost: now }) => {
                    lost = now + reader.rejoin().unwrap();
                    assert_eq!(reader.stats().consumed + lost + reader.stats().lag, published);
                }
                Err(error) => panic!("{error}"),
            }
            if reader.stats().position == published {
                break;
            }
        }
        assert_eq!(reader.stats().consumed + reader.stats().lost, published);
        read_all(&healthy, 1..published);
        assert_eq!(healthy.stats().lost, 0);
    }
}

#[test]
fn a_reader_several_rollovers_behind_loses_nothing() {
    let ring = RingName::new("behind");
    let writer = writer(&ring, 8, REFUSE);
    let reader = lossless(&ring);
    for _ in 0..4 {
        publish(&writer).unwrap();
        grow(&writer).unwrap();
    }
    assert_eq!(would_block(publish(&writer)), 8);
    assert_eq!(would_block(grow(&writer)), 8);
    assert_eq!(writer.stats().rollovers, 4);
    read_all(&reader, 0..8);
    // Its gate is the same one in every segment.
    assert_eq!((room(&writer), reader.stats().lost), (8, 0));
    read_all(&reader, 8..16);
}

#[test]
fn nothing_is_lost_in_a_ring_that_grows_under_a_writer_at_full_speed() {
    for slots in [1, 2, 3, 16] {
        let ring = RingName::new("grow-fast");
        let writer = writer(&ring, slots, WAIT);
        let reader = lossless(&ring);
        let reading = std::thread::spawn(move || {
            let mut expected = 0;
            loop {
                match reader.read(u64::MAX) {
                    Ok(message) => assert_eq!(numbered::number_of(&message.unwrap()), expected),
                    Err(QADataSwapError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
                expected += 1;
            }
            assert_eq!((expected, reader.stats().lost), (2_000, 0));
        });
        for number in 0..2_000 {
            // Each segment has twice the capacity of the one before.
            if number % 200 == 100 { grow(&writer) } else { publish(&writer) }.unwrap();
        }
        assert_eq!((writer.stats().rollovers, writer.stats().evictions), (10, 0));
        writer.close().unwrap();
        reading.join().unwrap();
    }
}

#[test]
fn another_writer_honours_gates_whatever_its_number_of_slots() {
    const SLOTS: u64 = 4;
    for wanted in 1..=7 {
        for behind in 0..=SLOTS {
            let ring = RingName::new("slots");
            let first = writer(&ring, SLOTS as usize, REFUSE);
            let reader = lossless(&ring);
            publish_many(&first, SLOTS);
            (0..SLOTS - behind).for_each(|number| assert_eq!(next(&reader), Some(number)));
            drop(first);
            let what = format!("{wanted} slots, {behind} behind");
            let created = options(wanted as usize, REFUSE).create(ring.name());
            let created = if behind < wanted || wanted >= SLOTS {
                created.unwrap_or_else(|error| panic!("{what}: {error}"))
            } else {
                // The ring is as it was, for a writer that leaves it so.
                assert_eq!(would_block(created), behind, "{what}");
                assert_eq!(inspect::objects(ring.name()).len(), 2);
                let same = writer(&ring, SLOTS as usize, REFUSE);
                assert_eq!((room(&same), same.stats().rollovers), (SLOTS - behind, 0), "{what}");
                read_all(&reader, SLOTS - behind..2 * SLOTS - behind);
                drop(same);
                let fewer = writer(&ring, wanted as usize, REFUSE);
                assert_eq!((room(&fewer), fewer.stats().rollovers), (wanted, 1), "{what}");
                read_all(&reader, 2 * SLOTS - behind..2 * SLOTS - behind + wanted);
                continue;
            };
            assert_eq!(room(&created), wanted - behind, "{what}");
            assert_eq!(created.stats().rollovers, u64::from(wanted != SLOTS), "{what}");
            read_all(&reader, SLOTS - behind..SLOTS + wanted - behind);
            assert_eq!((room(&created), reader.stats().lost), (wanted, 0), "{what}");
        }
    }
}

#[test]
fn a_writer_that_wants_fewer_slots_waits_until_there_is_room_for_what_is_held() {
    let ring = RingName::new("fewer-wait");
    let first = writer(&ring, 4, WAIT);
    let reader = lossless(&ring);
    publish_many(&first, 4);
    drop(first);
    let create = options(2, WAIT);
    let name = ring.name().to_owned();
    let writer = stall(
        move || create.create(&name).unwrap(),
        || (0..3).for_each(|number| assert_eq!(next(&reader), Some(number))),
    );
    assert_eq!((writer.slot_count(), writer.stats().stalls), (2, 1));
    publish(&writer).unwrap();
    read_all(&reader, 3..5);
    assert_eq!(reader.stats().lost, 0);
}

#[test]
fn a_writer_that_wants_fewer_slots_and_evicts_tells_exactly_what_that_cost() {
    for (slots, wanted) in [(4, 1), (4, 2), (4, 3), (16, 2)] {
        let ring = RingName::new("fewer-evict");
        let first = writer(&ring, slots, EVICT);
        let reader = lossless(&ring);
        publish_many(&first, slots as u64);
        drop(first);
        let writer = writer(&ring, wanted, EVICT);
        assert_eq!((writer.slot_count(), writer.stats().evictions), (wanted, 1));
        publish_many(&writer, 20);
        let published = slots as u64 + 20;
        // The old segment is still there to be drained.
        (0..slots as u64).for_each(|number| assert_eq!(next(&reader), Some(number)));
        let lost = evicted(reader.read(0)) + reader.rejoin().unwrap();
        read_all(&reader, slots as u64 + lost..published);
        assert_eq!(reader.stats().consumed + lost, published);
    }
}

/// Opens the ring and publishes until it is killed. Arguments: ring, slots, growth (a message in so many).
fn write(parent: Parent, arguments: &[String]) {
    let watch = inspect::ParentWatch::new();
    let [slots, growth]: [usize; 2] = [1, 2].map(|n| arguments[n].parse().unwrap());
    parent.say("about to open");
    let writer = options(slots, WAIT).create(&arguments[0]).unwrap();
    parent.say(writer.stats().message_count);
    for number in 1.. {
        watch.check();
        let larger = number % growth == 0 && writer.slot_capacity() < 1 << 20;
        if larger { grow(&writer) } else { publish(&writer) }.unwrap();
    }
}

/// Lossless readers under writers that are killed one after the other, each with one of these numbers of slots.
fn kill_writers(slots: &[usize], growth: usize, rounds: usize) {
    let ring = RingName::new("kill");
    let mut random = Random::new();
    drop(writer(&ring, slots[0], WAIT));
    let (reader, in_thread) = (lossless(&ring), lossless(&ring));
    let reading = std::thread::spawn(move || {
        for expected in 0.. {
            match in_thread.read(u64::MAX) {
                Ok(message) => assert_eq!(numbered::number_of(&message.unwrap()), expected),
                Err(QADataSwapError::Closed) => break,
                Err(error) => panic!("after {expected}: {error}"),
            }
        }
        in_thread.stats()
    });
    let mut expected = 0;
    for round in 0..rounds {
        let slots = slots[round % slots.len()].to_string();
        let mut child = Child::spawn("writer", &[ring.name(), &slots, &growth.to_string()]);
        assert_eq!(child.hear(), "about to open");
        let to_read = match round % 4 {
            0 => {
                random.dawdle(100_000);
                0 // perhaps while it opens the ring
            }
            _ => random.below(100),
        };
        for _ in 0..to_read {
            let message = reader.read(u64::MAX).unwrap().unwrap();
            assert_eq!(numbered::number_of(&message), expected);
            expected += 1;
        }
        random.dawdle(20_000);
        child.kill();
        // Not all of it, so that what is left has to survive the next writer's beginning.
        for _ in 0..random.below(4) {
            let Some(number) = next(&reader) else { break };
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    while let Some(number) = next(&reader) {
        assert_eq!(number, expected);
        expected += 1;
    }
    let last = writer(&ring, slots[0], WAIT);
    let published = last.stats().message_count;
    assert_eq!(published, expected);
    last.close().unwrap();
    let stats = reading.join().unwrap();
    assert_eq!((stats.consumed, stats.lost, stats.evictions), (published, 0, 0));
    assert_eq!((reader.stats().consumed, reader.stats().lost), (published, 0));
}

#[test]
fn nothing_is_lost_when_writers_are_killed_at_any_time() {
    kill_writers(&[4], usize::MAX, 60);
    kill_writers(&[1], usize::MAX, 40);
}

#[test]
fn nothing_is_lost_when_writers_are_killed_that_move_the_ring() {
    kill_writers(&[4, 7, 5], 5, 60);
    kill_writers(&[8, 2], 7, 40);
}

#[test]
fn a_lossless_reader_attaches_without_waiting_to_a_ring_that_moves_all_the_time() {
    let ring = RingName::new("moving");
    drop(writer(&ring, 4, WAIT));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let name = ring.name().to_owned();
    let moving = std::thread::spawn(move || {
        for slots in [5, 4].into_iter().cycle() {
            let writer = options(slots, WAIT).create(&name).unwrap();
            publish(&writer).unwrap();
            if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                return writer;
            }
        }
        unreachable!("goes on for ever")
    });
    for _ in 0..1_500 {
        let options = ReaderOptions::new().lossless(true).attach_timeout_ms(0);
        drop(options.attach(ring.name()).unwrap());
    }
    drop(stop);
    moving.join().unwrap();
}

#[test]
fn a_gate_holds_while_a_ring_is_closed_and_reopened() {
    let ring = RingName::new("reopen");
    let first = writer(&ring, 4, REFUSE);
    let (behind, drained) = (lossless(&ring), lossless(&ring));
    publish_many(&first, 4);
    first.close().unwrap();
    for number in 0..4 {
        assert_eq!(next(&drained), Some(number));
    }
    assert!(matches!(drained.read(u64::MAX), Err(QADataSwapError::Closed)));
    let second = writer(&ring, 4, REFUSE);
    assert_eq!(would_block(publish(&second)), 4);
    read_all(&behind, 0..4);
    assert_eq!(room(&second), 4);
    for reader in [&behind, &drained] {
        read_all(reader, 4..8);
        assert_eq!(reader.stats().lost, 0);
    }
    // Attached to a closed ring, too.
    second.close().unwrap();
    let late = lossless(&ring);
    assert_eq!(would_block(publish(&writer(&ring, 4, REFUSE))), 4);
    read_all(&late, 4..8);
}

/// A way to lose a control segment.
type Loss = (&'static str, fn(&RingName));

const LOSSES: [Loss; 5] = [
    ("removed", |ring| std::fs::remove_file(ring.control_path()).unwrap()),
    ("no magic", |ring| Raw::control(ring).set_u64(raw::CONTROL_MAGIC, 0)),
    ("another ring's", |ring| Raw::control(ring).set_u64(raw::CONTROL_RING_ID, 7)),
    ("zeroed", |ring| {
        let control = Raw::control(ring);
        control.set_bytes(0, &vec![0; control.len() as usize]);
    }),
    ("random", |ring| {
        let control = Raw::control(ring);
        control.set_bytes(0, &raw::Random(11).bytes(control.len() as usize));
    }),
];

#[test]
fn a_lossless_reader_that_keeps_up_loses_nothing_with_the_control_segment() {
    for (what, lose) in LOSSES {
        let ring = RingName::new("lost-control");
        let first = writer(&ring, 4, REFUSE);
        let reader = lossless(&ring);
        publish_many(&first, 3);
        let lease = reader.lease(u64::MAX).unwrap().expect("is there");
        let kept = lease.to_vec();
        drop(first);
        lose(&ring);
        let segment = inode(&ring);
        let second = writer(&ring, 4, REFUSE);
        // Elsewhere, because nobody knows any more what is leased here.
        assert_eq!((second.stats().rollovers, inode(&ring) != segment), (1, true), "{what}");
        publish_many(&second, 2);
        read_all(&reader, 1..5);
        assert_eq!((reader.stats().lost, reader.stats().evictions), (0, 0), "{what}");
        // It is covered again.
        assert_eq!(room(&second), 4, "{what}");
        read_all(&reader, 5..9);
        assert_eq!(room(&second), 4, "{what}");
        assert!(lossless(&ring).stats().registered, "{what}");
        assert!(*lease == *kept, "{what}: the lease has changed");

        // It counts among those that the reader may have.
        let more: Vec<_> = (1..4).map(|_| reader.lease(0).unwrap().expect("is there")).collect();
        assert_eq!(reader.stats().leases, 4, "{what}");
        let refused = reader.lease(0);
        assert!(matches!(refused, Err(QADataSwapError::TooManyLeases { limit: 4 })), "{what}");
        drop(lease);
        assert!(reader.lease(0).unwrap().is_some(), "{what}");
        assert_eq!((more.len(), reader.stats().leases), (3, 3), "{what}");
    }
}

#[test]
fn a_lossless_reader_that_is_behind_is_told_what_the_lost_control_segment_cost() {
    for (what, lose) in LOSSES {
        for asleep in [false, true] {
            let ring = RingName::new("lost-behind");
            let first = writer(&ring, 4, REFUSE);
            let reader = lossless(&ring);
            publish_many(&first, 3);
            let lease = reader.lease(u64::MAX).unwrap().expect("is there");
            let kept = lease.to_vec();
            drop(first);
            lose(&ring);
            if asleep {
                (1..3).for_each(|number| assert_eq!(next(&reader), Some(number), "{what}"));
            }
            let second = writer(&ring, 4, REFUSE);
            publish_many(&second, 40);
            if !asleep {
                (1..3).for_each(|number| assert_eq!(next(&reader), Some(number), "{what}"));
            }
            let lost = evicted(reader.read(u64::MAX));
            let besides = reader.rejoin().unwrap();
            let stats = reader.stats();
            assert_eq!(
                (stats.consumed, stats.lost, stats.evictions),
                (3, lost + besides, 1),
                "{what}"
            );
            read_all(&reader, 3 + lost + besides..43);
            assert_eq!(room(&second), 4, "{what}");
            assert!(*lease == *kept, "{what}: the lease has changed");
        }
    }
}

#[track_caller]
fn disabled<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Err(QADataSwapError::HoldsUnavailable { reason: HoldsReason::Disabled, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lossless_reader_is_told_when_a_writer_comes_that_has_no_holds() {
    let ring = RingName::new("no-holds");
    let first = writer(&ring, 4, REFUSE);
    let reader = lossless(&ring);
    publish_many(&first, 3);
    drop(first);
    let second = options(4, REFUSE).holds(false).create(ring.name()).unwrap();
    publish_many(&second, 20);
    // Nothing that it had been promised is gone.
    (0..3).for_each(|number| assert_eq!(next(&reader), Some(number)));
    for _ in 0..3 {
        disabled(reader.read(u64::MAX));
    }
    disabled(ReaderOptions::new().lossless(true).attach(ring.name()));
    // It is told what that cost it, once there is a writer again that has holds.
    drop(second);
    let third = writer(&ring, 4, REFUSE);
    publish_many(&third, 20);
    let lost = evicted(reader.read(0)) + reader.rejoin().unwrap();
    read_all(&reader, 3 + lost..43);
    assert_eq!((reader.stats().lost, room(&third)), (lost, 4));
}

#[test]
fn a_ring_without_holds_grows_whatever_gates_are_left_over() {
    let ring = RingName::new("no-holds-grow");
    let first = writer(&ring, 4, REFUSE);
    let _left_over = lossless(&ring);
    drop(first);
    let second = options(4, REFUSE).holds(false).create(ring.name()).unwrap();
    publish_many(&second, 4);
    grow(&second).unwrap();
    publish_many(&second, 20);
    assert_eq!(second.stats().rollovers, 2);
}

#[test]
fn an_evicted_reader_rejoins_in_the_segment_that_the_ring_has_moved_to() {
    for on_overrun in [OnOverrun::Resume, OnOverrun::Error] {
        let ring = RingName::new("rejoin-moved");
        let writer = writer(&ring, 4, EVICT);
        let options = ReaderOptions::new().lossless(true).on_overrun(on_overrun);
        let reader = options.attach(ring.name()).unwrap();
        publish_many(&writer, 8);
        let lost = evicted(reader.read(0));
        publish_many(&writer, 8);
        grow(&writer).unwrap();
        publish_many(&writer, 8);
        grow(&writer).unwrap();
        let besides = reader.rejoin().unwrap();
        read_all(&reader, lost + besides..26);
        let stats = reader.stats();
        assert_eq!((stats.lost, stats.evictions, stats.overruns), (lost + besides, 1, 0));
    }
}
