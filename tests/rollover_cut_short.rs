//! Writers killed in the middle of a rollover, and readers that miss whole segments.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions, unlink,
};
use support::inspect::{self, ParentWatch};
use support::numbered::{self, Random};
use support::{Child, Parent, RingName};

/// Where in the data segment the ring's state is, and what it is while a writer may be at work.
const STATE_OFFSET: u64 = 260;
const OPEN: [u8; 4] = [0; 4];

#[test]
fn child_process() {
    support::play(&[("grow", play_grow), ("follow", play_follow)]);
}

/// Publishes larger and larger messages at full speed until killed.
fn play_grow(parent: Parent, arguments: &[String]) {
    let writer = WriterOptions::new(256).slot_capacity(64).create(&arguments[0]).unwrap();
    let watch = ParentWatch::new();
    let stats = writer.stats();
    parent.say(format!("{} {} {}", stats.epoch, stats.position, stats.message_count));
    for number in stats.message_count.. {
        // Twenty messages between two rollovers, up to slots of 256 KiB.
        let capacity = writer.slot_capacity();
        let long = number % 20 == 19 && capacity < 1 << 18;
        writer.write(&numbered::message(number, if long { capacity + 1 } else { 50 })).unwrap();
        watch.check();
    }
}

/// Says the number of every message, waiting for ever.
fn play_follow(parent: Parent, arguments: &[String]) {
    let reader = attach(&arguments[0]);
    parent.say("ready");
    loop {
        let message = reader.read(u64::MAX).unwrap().unwrap();
        let maps = inspect::data_mappings(&arguments[0]).len();
        parent.say(format!("{} of {maps} mapped", numbered::number_of(&message)));
    }
}

fn open(name: &str, slot_count: usize, capacity: usize) -> Writer {
    WriterOptions::new(slot_count).slot_capacity(capacity).create(name).unwrap()
}

fn attach(name: &str) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(name).unwrap()
}

fn publish(writer: &Writer, numbers: std::ops::Range<u64>, len: usize) {
    for number in numbers {
        writer.write(&numbered::message(number, len)).unwrap();
    }
}

fn accounted(reader: &Reader) -> u64 {
    reader.stats().consumed + reader.stats().lost
}

#[test]
fn readers_follow_a_rollover_that_was_never_marked_because_its_writer_died() {
    let ring = RingName::new("unmarked");
    let writer = open(ring.name(), 4, 64);
    let strategies =
        [WaitStrategy::Spin, WaitStrategy::default(), WaitStrategy::Yield, WaitStrategy::Sleep];
    let readers = [0, 1].map(|consumed| {
        strategies.map(|strategy| {
            let reader = ReaderOptions::new().wait(strategy).attach(ring.name()).unwrap();
            (consumed, reader)
        })
    });
    publish(&writer, 0..1, 60);
    for (consumed, reader) in readers.iter().flatten() {
        (0..*consumed).for_each(|_| assert!(reader.skip().unwrap()));
    }
    let mut follower = Child::spawn("follow", &[ring.name()]);
    assert_eq!(follower.hear(), "ready");
    assert_eq!(follower.hear(), "0 of 1 mapped");
    follower.stop();

    // A rollover, undone as far as its last step.
    let old = File::options().read(true).write(true).open(ring.data_path()).unwrap();
    publish(&writer, 1..2, 1_000);
    old.write_all_at(&OPEN, STATE_OFFSET).unwrap();
    drop(writer);
    follower.resume();

    assert_eq!(follower.hear(), "1 of 1 mapped");
    let successor = open(ring.name(), 4, 64);
    publish(&successor, 2..3, 60);
    assert_eq!(follower.hear(), "2 of 1 mapped");
    for (consumed, reader) in readers.iter().flatten() {
        for number in *consumed..3 {
            assert_eq!(numbered::number_of(&reader.read(u64::MAX).unwrap().unwrap()), number);
        }
        assert_eq!((reader.stats().consumed, reader.stats().lost), (3, 0));
    }
}

#[test]
fn reader_of_a_segment_that_lost_its_name_to_a_copy_follows_the_next_writer() {
    let ring = RingName::new("copied");
    publish(&open(ring.name(), 4, 64), 0..2, 60);
    let (drained, behind) = (attach(ring.name()), attach(ring.name()));
    assert!(drained.skip().unwrap() && drained.skip().unwrap());
    fs::copy(ring.data_path(), ring.next_path()).unwrap();
    fs::rename(ring.next_path(), ring.data_path()).unwrap();
    let writer = open(ring.name(), 4, 64);
    assert_eq!((writer.stats().epoch, writer.stats().position), (2, 2));
    publish(&writer, 2..3, 60);
    for (reader, first) in [(drained, 2), (behind, 0)] {
        for number in first..3 {
            assert_eq!(numbered::number_of(&reader.read(u64::MAX).unwrap().unwrap()), number);
        }
    }
}

#[test]
fn polling_reader_follows_an_unmarked_rollover_too() {
    let ring = RingName::new("unmarked-poll");
    let writer = open(ring.name(), 4, 64);
    let reader = attach(ring.name());
    let old = File::options().read(true).write(true).open(ring.data_path()).unwrap();
    publish(&writer, 0..1, 1_000);
    old.write_all_at(&OPEN, STATE_OFFSET).unwrap();
    drop(writer);
    let message = loop {
        match reader.read(0).unwrap() {
            Some(message) => break message,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(numbered::number_of(&message), 0);
}

#[test]
fn writers_killed_at_random_moments_of_their_rollovers_are_continued() {
    let mut random = Random::new();
    for _ in 0..30 {
        let ring = RingName::new("grow-kill");
        let mut last = open(ring.name(), 256, 64);
        let reader = attach(ring.name());
        let mut published = 0;
        for epoch in [2, 4] {
            drop(last);
            let mut writer = Child::spawn("grow", &[ring.name()]);
            assert_eq!(writer.hear(), format!("{epoch} {published} {published}"));
            for _ in 0..random.below(150) {
                let message = reader.read(u64::MAX).unwrap().unwrap();
                assert_eq!(accounted(&reader), numbered::number_of(&message) + 1);
            }
            random.dawdle(5_000);
            writer.kill();

            let late = attach(ring.name());
            let retained = std::iter::from_fn(|| late.read(0).unwrap());
            let newest = retained.map(|message| numbered::number_of(&message)).last();
            assert!(newest.map_or(0, |newest| newest + 1) >= published, "{newest:?}");
            published = newest.map_or(0, |newest| newest + 1);
            assert_eq!(late.stats().lost, 0);

            last = open(ring.name(), 256, 64);
            let stats = last.stats();
            let found = (stats.epoch, stats.position, stats.message_count);
            assert_eq!(found, (epoch + 1, published, published));
            assert_eq!(inspect::objects(ring.name()).len(), 2);
            publish(&last, published..published + 1, 60);
            while accounted(&reader) <= published {
                let number = numbered::number_of(&reader.read(u64::MAX).unwrap().unwrap());
                assert_eq!(accounted(&reader), number + 1);
            }
            published += 1;
        }
    }
}

#[test]
fn reader_that_misses_whole_segments_counts_what_was_in_them() {
    // How many messages go into the segment that the reader never sees, and slots of the last one.
    for (missed, slot_count) in [(96, 8), (100, 8), (100, 64), (1_000, 512)] {
        let ring = RingName::new("missed");
        let writer = open(ring.name(), 8, 64);
        let reader = attach(ring.name());
        publish(&writer, 0..5, 60);
        publish(&writer, 5..5 + missed, 1_000);
        let total = 5 + missed;
        drop(writer);
        let writer = open(ring.name(), slot_count, 4_000);
        let oldest = attach(ring.name()).stats().position;
        assert!(oldest > 5, "the case is one where messages are lost");
        writer.close().unwrap();

        let mut next = 0;
        let ended = loop {
            match reader.read(0) {
                Ok(Some(message)) => {
                    let number = numbered::number_of(&message);
                    assert!(number >= next);
                    next = number + 1;
                    assert_eq!(accounted(&reader), next);
                }
                Ok(None) => panic!("neither a message nor the end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, QADataSwapError::Closed), "{ended:?}");
        assert_eq!((next, accounted(&reader)), (total, total), "{slot_count} slots");
        assert!(reader.stats().consumed > 5, "what is retained was not read");
    }
}

#[test]
fn reader_in_an_old_segment_of_a_ring_that_is_gone_is_told_closed() {
    let ring = RingName::new("gone");
    let writer = open(ring.name(), 4, 64);
    let reader = attach(ring.name());
    publish(&writer, 0..2, 60);
    publish(&writer, 2..3, 1_000);
    drop(writer);
    unlink(ring.name()).unwrap();
    for number in 0..2 {
        assert_eq!(numbered::number_of(&reader.read(0).unwrap().unwrap()), number);
    }
    assert!(matches!(reader.read(0), Err(QADataSwapError::Closed)));
}
