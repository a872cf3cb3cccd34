//! kill -9 of writers, at random moments and at chosen ones: what the next writer and the readers find.
//!
//! Message number `n` says so itself, so a reader sees whether a number was given twice, whether a
//! message is torn, and whether its own count of losses is right.

mod support;

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy, Writer, WriterOptions,
};
use support::inspect::{self, ParentWatch};
use support::numbered::{self, Random};
use support::{Child, Parent, RingName};

const CAPACITY: usize = 600;

#[test]
fn child_process() {
    support::play(&[("flood", flood), ("hold", hold), ("follow", follow), ("create", create)]);
}

fn open(name: &str, slot_count: &str) -> Writer {
    WriterOptions::new(slot_count.parse().unwrap()).slot_capacity(CAPACITY).create(name).unwrap()
}

/// Takes the ring over and publishes at full speed until killed.
fn flood(parent: Parent, arguments: &[String]) {
    let writer = open(&arguments[0], &arguments[1]);
    let (stats, parent_watch) = (writer.stats(), ParentWatch::new());
    parent.say(format!("{} {} {}", stats.epoch, stats.position, stats.message_count));
    let mut message = Vec::new();
    for number in stats.message_count.. {
        numbered::fill(&mut message, number, len_of(number));
        writer.write(&message).unwrap();
        if number % 1024 == 0 {
            parent_watch.check();
        }
    }
}

/// Short and long messages in turn, so that a slot's old contents would show through.
fn len_of(number: u64) -> usize {
    numbered::SHORTEST + (number * 37 % (CAPACITY as u64 - 7)) as usize
}

/// Publishes so many messages, then is killed with half of one more in its slot.
fn hold(parent: Parent, arguments: &[String]) {
    let mut writer = open(&arguments[0], &arguments[1]);
    for number in 0..arguments[2].parse().unwrap() {
        writer.write(&numbered::message(number, 100)).unwrap();
    }
    let mut slot = writer.reserve(CAPACITY).unwrap();
    slot.write_at(0, &[0xee; CAPACITY / 2]).unwrap();
    parent.say("holding");
    parent.hear();
}

/// Creates the ring, or takes it over, at the word of command.
fn create(parent: Parent, arguments: &[String]) {
    parent.say("about to");
    parent.hear();
    let _writer = open(&arguments[0], &arguments[1]);
    parent.hear();
}

/// Reads until the ring is closed and says how many messages it has accounted for.
fn follow(parent: Parent, arguments: &[String]) {
    let mut reader = Checked::attach(&arguments[0]);
    parent.say("ready");
    while reader.read(u64::MAX).is_some() {}
    parent.say(reader.accounted());
}

/// A reader, attached before the first message, that checks what it reads.
struct Checked {
    reader: Reader,
    last: Option<u64>,
}

impl Checked {
    fn attach(name: &str) -> Self {
        Self { reader: at_once().attach(name).unwrap(), last: None }
    }

    /// Number of the next message; `None` if none came in time or the ring is closed.
    #[track_caller]
    fn read(&mut self, timeout_ms: u64) -> Option<u64> {
        let message = match self.reader.read(timeout_ms) {
            Err(QADataSwapError::Closed) => None,
            result => result.unwrap(),
        };
        let number = numbered::number_of(&message?);
        assert!(self.last < Some(number), "message {number} after {:?}", self.last);
        self.last = Some(number);
        assert_eq!(self.accounted(), number + 1, "{:?}", self.reader.stats());
        Some(number)
    }

    fn accounted(&self) -> u64 {
        let stats = self.reader.stats();
        stats.consumed + stats.lost
    }
}

fn at_once() -> ReaderOptions {
    ReaderOptions::new().attach_timeout_ms(0)
}

/// Numbers of the messages that a ring without a writer retains.
#[track_caller]
fn retained(name: &str) -> Vec<u64> {
    let reader = at_once().attach(name).unwrap();
    let numbers: Vec<u64> = std::iter::from_fn(|| reader.read(0).unwrap())
        .map(|message| numbered::number_of(&message))
        .collect();
    assert_eq!(reader.stats().lost, 0);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    numbers
}

/// Kills one writer after the other; each has to go on where the one before it was stopped.
fn kill_writers_at_random_moments(slot_count: u64, rounds: u64) {
    let ring = RingName::new("random-kill");
    let slots = slot_count.to_string();
    drop(open(ring.name(), &slots));
    let mut own = Checked::attach(ring.name());
    let mut follower = Child::spawn("follow", &[ring.name()]);
    assert_eq!(follower.hear(), "ready");

    let mut random = Random::new();
    let mut published = 0;
    for epoch in 2..rounds + 2 {
        let mut writer = Child::spawn("flood", &[ring.name(), &slots]);
        assert_eq!(writer.hear(), format!("{epoch} {published} {published}"));
        for _ in 0..random.below(300) {
            own.read(u64::MAX).unwrap();
        }
        random.dawdle(20_000);
        writer.kill();
        if let Some(last) = retained(ring.name()).last() {
            published = last + 1;
        }
        while own.read(0).is_some() {}
        assert_eq!(own.accounted(), published);
    }

    let writer = open(ring.name(), &slots);
    let stats = writer.stats();
    assert_eq!((stats.epoch, stats.position), (rounds + 2, published));
    writer.write(&numbered::message(published, 100)).unwrap();
    writer.close().unwrap();
    assert_eq!(follower.hear(), (published + 1).to_string());
    follower.finish();
}

#[test]
fn writers_killed_at_random_moments_are_continued_without_a_gap_or_a_repeat() {
    kill_writers_at_random_moments(64, 60);
}

#[test]
fn writers_of_a_tiny_ring_killed_at_random_moments_are_continued() {
    kill_writers_at_random_moments(2, 30);
    kill_writers_at_random_moments(3, 30);
}

#[test]
fn writers_of_a_ring_of_one_slot_killed_at_random_moments_are_continued() {
    let ring = RingName::new("random-kill-one");
    drop(open(ring.name(), "1"));
    let mut own = Checked::attach(ring.name());
    let mut random = Random::new();
    let mut published = 0;
    for epoch in 2..30 {
        let mut writer = Child::spawn("flood", &[ring.name(), "1"]);
        let line = writer.hear();
        let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!((numbers[0], numbers[1]), (epoch, numbers[2]), "{line}");
        // The message before may have been overwritten by half of one that never was.
        assert!((published..=published + 1).contains(&numbers[1]), "{line} after {published}");
        for _ in 0..random.below(20) {
            own.read(u64::MAX).unwrap();
        }
        random.dawdle(20_000);
        writer.kill();
        let header = std::fs::read(ring.data_path()).unwrap();
        published = u64::from_le_bytes(header[128..136].try_into().unwrap());
        assert!(retained(ring.name()).len() <= 1);
    }
    let writer = open(ring.name(), "1");
    let message_count = writer.stats().message_count;
    writer.write(&numbered::message(message_count, 100)).unwrap();
    assert_eq!(own.read(u64::MAX), Some(message_count));
}

#[test]
fn slot_that_a_killed_writer_had_reserved_is_written_again() {
    for slot_count in ["1", "2", "4"] {
        for count in [0, 1, 5] {
            let ring = RingName::new("reserved");
            let mut writer = Child::spawn("hold", &[ring.name(), slot_count, &count.to_string()]);
            assert_eq!(writer.hear(), "holding");
            let early = at_once().attach(ring.name()).unwrap();
            writer.kill();
            let late = at_once().attach(ring.name()).unwrap();
            let successor = open(ring.name(), slot_count);
            let stats = successor.stats();
            assert_eq!((stats.epoch, stats.position, stats.message_count), (2, count, count));
            successor.write(&numbered::message(count, 60)).unwrap();
            for reader in [early, late] {
                let mut last = None;
                while let Some(message) = reader.read(0).unwrap() {
                    last = Some(numbered::number_of(&message));
                }
                assert_eq!(last, Some(count), "{slot_count} slots");
            }
        }
    }
}

#[test]
fn reader_attaches_to_a_ring_of_one_slot_that_is_being_written() {
    let ring = RingName::new("one-slot-open");
    let mut writer = Child::spawn("hold", &[ring.name(), "1", "3"]);
    assert_eq!(writer.hear(), "holding");
    for start in [Start::Oldest, Start::Newest, Start::Next] {
        let reader = at_once().start(start).attach(ring.name()).unwrap();
        assert_eq!(reader.read(0).unwrap(), None);
        assert_eq!(reader.stats().position, 3, "{start:?}");
    }
}

#[test]
fn loss_in_a_ring_of_one_slot_is_counted_although_nothing_takes_the_place() {
    // The only slot was reserved, which overwrote message 0, and then nothing was published in it.
    for end in ["close", "rollover", "takeover"] {
        let ring = RingName::new("one-slot-lost");
        let mut writer = open(ring.name(), "1");
        let mut reader = Checked::attach(ring.name());
        writer.write(&numbered::message(0, 100)).unwrap();
        let _ = writer.reserve(100).unwrap();
        match end {
            "close" => {
                writer.close().unwrap();
                assert!(matches!(reader.reader.read(0), Err(QADataSwapError::Closed)));
                assert_eq!(reader.accounted(), 1);
            }
            "rollover" => {
                writer.write(&numbered::message(1, 10_000)).unwrap();
                assert_eq!(reader.read(0), Some(1));
            }
            _ => {
                drop(writer);
                open(ring.name(), "1").write(&numbered::message(1, 50)).unwrap();
                assert_eq!(reader.read(0), Some(1));
            }
        }
    }
}

#[test]
fn reader_asleep_on_a_killed_writer_is_woken_by_the_next_one() {
    for wait in [WaitStrategy::Sleep, WaitStrategy::default()] {
        let ring = RingName::new("asleep");
        let mut writer = Child::spawn("hold", &[ring.name(), "4", "1"]);
        assert_eq!(writer.hear(), "holding");
        let mut follower = Child::spawn("follow", &[ring.name()]);
        assert_eq!(follower.hear(), "ready");
        inspect::wait_until_asleep(follower.pid());
        writer.kill();
        let own = at_once().wait(wait).attach(ring.name()).unwrap();
        let successor = open(ring.name(), "4");
        successor.write(&numbered::message(1, 100)).unwrap();
        for number in 0..2 {
            assert_eq!(numbered::number_of(&own.read(u64::MAX).unwrap().unwrap()), number);
        }
        successor.close().unwrap();
        assert_eq!(follower.hear(), "2");
        follower.finish();
    }
}

#[test]
fn creators_killed_at_random_moments_leave_a_name_that_can_be_used() {
    let mut random = Random::new();
    for _ in 0..40 {
        let ring = RingName::new("creators");
        for _ in 0..2 {
            let mut creator = Child::spawn("create", &[ring.name(), "4"]);
            assert_eq!(creator.hear(), "about to");
            creator.say("go");
            random.dawdle(60_000);
            creator.kill();
        }
        let writer = open(ring.name(), "4");
        writer.write(&numbered::message(0, 100)).unwrap();
        assert_eq!(retained(ring.name()), [0]);
        assert_eq!(inspect::objects(ring.name()).len(), 2);
    }
}

#[test]
fn takeovers_killed_at_random_moments_leave_the_ring_as_it_was() {
    let mut random = Random::new();
    for round in 0..40 {
        let ring = RingName::new("takeovers");
        let writer = open(ring.name(), "8");
        (0..5).for_each(|number| writer.write(&numbered::message(number, 300)).unwrap());
        drop(writer);
        let mut attached = Checked::attach(ring.name());
        // With the same slots, or with others, which moves the ring.
        for slot_count in [["8", "16"], ["32", "8"]][round % 2] {
            let mut successor = Child::spawn("create", &[ring.name(), slot_count]);
            assert_eq!(successor.hear(), "about to");
            successor.say("go");
            random.dawdle(60_000);
            successor.kill();
        }
        assert_eq!(retained(ring.name()), [0, 1, 2, 3, 4]);
        let writer = open(ring.name(), "16");
        let stats = writer.stats();
        assert_eq!((stats.position, stats.message_count), (5, 5));
        assert!((2..=4).contains(&stats.epoch));
        writer.write(&numbered::message(5, 300)).unwrap();
        assert_eq!(inspect::objects(ring.name()).len(), 2);
        for number in 0..6 {
            assert_eq!(attached.read(u64::MAX), Some(number));
        }
    }
}
