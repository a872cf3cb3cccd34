//! A writer in a process of its own that waits for a lossless reader: when it is woken, and that it goes on whatever the
//! reader does. Each message is the number of those before it.

mod support;

use qadataswap::observe::Observer;
use qadataswap::{OnSlowReader, Reader, ReaderOptions, WriterOptions};
use support::raw::{self, Raw};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("writer", write), ("reader", read)]);
}

fn options(slots: u64) -> WriterOptions {
    let wait = OnSlowReader::Wait { limit_ms: u64::MAX };
    WriterOptions::new(slots as usize).slot_capacity(64).on_slow_reader(wait)
}

fn lossless(name: &str) -> Reader {
    ReaderOptions::new().lossless(true).attach(name).unwrap()
}

/// Fills a ring that nobody reads, unless it is there; then publishes as many messages as it is told to, again and
/// again. Arguments: ring, slots.
fn write(parent: Parent, arguments: &[String]) {
    let slots = arguments[1].parse().unwrap();
    let writer = options(slots).create(&arguments[0]).unwrap();
    let publish = || writer.write_value(&writer.stats().message_count).unwrap();
    (writer.stats().message_count..slots).for_each(|_| publish());
    parent.say(Thread::current().tid());
    loop {
        let count: u64 = parent.hear().parse().unwrap();
        (0..count).for_each(|_| publish());
        parent.say("written");
    }
}

/// A lossless reader that consumes as many messages as it is told to, again and again. Argument: ring.
fn read(parent: Parent, arguments: &[String]) {
    let reader = lossless(&arguments[0]);
    parent.say("ready");
    loop {
        let count = parent.hear().parse().unwrap();
        consume(&reader, count);
        parent.say("read");
    }
}

#[track_caller]
fn consume(reader: &Reader, count: u64) {
    for _ in 0..count {
        let number = reader.stats().sequence;
        assert_eq!(reader.read_value(0).unwrap(), Some(number));
    }
}

/// The writer of a full ring, and what tells whether it waits.
struct Blocked {
    child: Child,
    thread: Thread,
    control: Raw,
}

impl Blocked {
    fn new(ring: &RingName, slots: u64) -> Self {
        let mut child = Child::spawn("writer", &[ring.name(), &slots.to_string()]);
        let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
        Self { child, thread, control: Raw::control(ring) }
    }

    fn word(&self) -> u32 {
        self.control.u32(raw::BLOCKED)
    }

    /// Has it publish one message more than there is room for, and comes back when it sleeps.
    fn block(&mut self, room: u64) {
        self.child.say(room + 1);
        wait_until(|| self.word() != 0 && self.thread.sleeps_on_shared_futex());
    }

    /// Waits until it has gone on.
    fn written(&mut self) {
        assert_eq!(self.child.hear(), "written");
        assert_eq!(self.word(), 0);
    }
}

/// Messages before a reader wakes the writer of a ring of so many slots.
fn half(slots: u64) -> u64 {
    (slots / 2).max(1)
}

#[test]
fn a_writer_goes_on_when_a_reader_has_read_half_a_ring_or_one_message_and_then_stops() {
    for slots in [1, 2, 3, 4, 16, 64] {
        let ring = RingName::new("goes-on");
        let mut writer = Blocked::new(&ring, slots);
        let mut reader = Child::spawn("reader", &[ring.name()]);
        assert_eq!(reader.hear(), "ready");
        let mut room = 0;
        for count in [1, half(slots), 1, slots, half(slots), slots.min(2)] {
            writer.block(room);
            reader.say(count);
            assert_eq!(reader.hear(), "read");
            writer.written();
            room = count - 1;
        }
    }
}

#[test]
fn a_writer_waits_until_the_slower_of_two_readers_has_moved() {
    let ring = RingName::new("two");
    let mut writer = Blocked::new(&ring, 8);
    let (fast, slow) = (lossless(ring.name()), lossless(ring.name()));
    for _ in 0..20 {
        writer.block(0);
        consume(&fast, fast.stats().lag);
        // Woken by the first in vain, it goes back to sleep.
        wait_until(|| writer.word() != 0 && writer.thread.sleeps_on_shared_futex());
        consume(&slow, 1);
        writer.written();
    }
}

/// Has the readers of a full ring wake a writer that is stopped, lap after lap.
#[track_caller]
fn assert_woken_at_half(ring: &RingName, slots: u64, laps: u64) {
    let mut writer = Blocked::new(ring, slots);
    let reader = lossless(ring.name());
    let mut room = 0;
    for _ in 0..laps {
        writer.block(room);
        // Else it would look for itself every millisecond.
        writer.child.stop();
        let half_free = (reader.stats().position + half(slots)) as u32;
        // No word is 0, so that it is woken one message earlier.
        let early = u64::from(half_free == 0);
        let wanted = half_free.wrapping_sub(early as u32);
        assert_eq!(writer.word(), wanted);
        let count = (half(slots) - early).max(1);
        consume(&reader, count - 1);
        assert_eq!(writer.word(), wanted, "{slots} slots: it was woken early");
        consume(&reader, 1);
        assert_eq!(writer.word(), 0, "{slots} slots: it was not woken");
        writer.child.resume();
        writer.written();
        room = count - 1;
    }
}

#[test]
fn a_writer_is_woken_when_half_a_ring_is_free_and_not_before() {
    for slots in [1, 2, 3, 4, 5, 16, 64] {
        assert_woken_at_half(&RingName::new("half"), slots, 7);
    }
}

#[test]
fn a_writer_is_woken_where_the_low_half_of_positions_begins_again() {
    for slots in [1, 2, 4, 16] {
        let ring = RingName::new("low-half");
        drop(Blocked::new(&ring, slots));
        // As after that many messages, the last of which are there.
        let data = Raw::data(&ring);
        let first = (1 << 32) - 2 * slots;
        for index in 0..slots {
            let word = raw::generation(first + index, raw::PUBLISHED_STATE);
            data.set_u64(data.slot(index, raw::GENERATION), word);
        }
        data.set_u64(raw::PUBLISHED, first + slots);
        assert_woken_at_half(&ring, slots, 8);
        assert!(data.u64(raw::PUBLISHED) > (1 << 32) + 1);
    }
}

#[test]
fn a_word_that_others_have_changed_keeps_no_writer_from_going_on() {
    let ring = RingName::new("forged");
    let mut writer = Blocked::new(&ring, 8);
    let reader = lossless(ring.name());
    let mut room = 0;
    for forged in [0, 1, u32::MAX, 1 << 31, 1 << 30, 3 << 30] {
        for count in [1, 8] {
            writer.block(room);
            writer.child.stop();
            writer.control.set_u32(raw::BLOCKED, forged);
            consume(&reader, count);
            writer.child.resume();
            writer.written();
            room = count - 1;
        }
    }
}

#[test]
fn what_a_killed_writer_waited_for_does_not_count_as_a_wait_of_the_next() {
    let ring = RingName::new("killed");
    let mut writer = Blocked::new(&ring, 8);
    let reader = lossless(ring.name());
    writer.block(0);
    let observer = Observer::open(ring.name()).unwrap();
    let is_blocked = || observer.look().unwrap().control.unwrap().writer_blocked;
    assert!(is_blocked());
    writer.child.kill();
    consume(&reader, 1);
    assert!(!is_blocked(), "nobody waits");
    let next = options(8).create(ring.name()).unwrap();
    assert!(!is_blocked(), "nobody waits yet");
    next.write_value(&8u64).unwrap();
    assert_eq!((is_blocked(), next.stats().stalls), (false, 0));
}
