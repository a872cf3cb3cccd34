//! What others do between two steps of a process: it is stopped at a named point (`src/crash.rs`), they act, it goes
//! on. Message number `n` says so itself.
//!
//! Compiled only with `--cfg qads_crash` (`make crash`).
#![cfg(qads_crash)]

mod support;

use qadataswap::{
    OnSlowReader, QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions, crash,
};
use support::threads::must_return;
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("join", join), ("rejoin", rejoin)]);
}

fn writer(ring: &RingName, on_slow_reader: OnSlowReader) -> Writer {
    let options = WriterOptions::new(4).slot_capacity(16).on_slow_reader(on_slow_reader);
    options.create(ring.name()).unwrap()
}

fn lossless(ring: &str) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).lossless(true).attach(ring).unwrap()
}

fn publish(writer: &Writer, count: u64) {
    for _ in 0..count {
        writer.write_value(&writer.stats().message_count).unwrap();
    }
}

/// Moves the ring to larger slots, with one message.
fn grow(writer: &Writer) {
    let mut message = writer.stats().message_count.to_ne_bytes().to_vec();
    message.resize(100, 0);
    writer.write(&message).unwrap();
    assert_eq!(writer.stats().rollovers, 1);
}

/// Reads all there is, in order; the numbers of the first and of the one after the last.
fn read_all(reader: &Reader) -> (u64, u64) {
    let first = reader.stats().sequence;
    let mut next = first;
    while let Some(message) = reader.read(0).unwrap() {
        assert_eq!(message[..8], next.to_ne_bytes());
        next += 1;
    }
    (first, next)
}

fn say_all(parent: &Parent, reader: &Reader) {
    let (first, next) = read_all(reader);
    let stats = reader.stats();
    parent.say(format!("{first} {next} {} {}", stats.lost, stats.evictions));
}

/// Joins, stopped at a point; reads when it is told to.
fn join(parent: Parent, arguments: &[String]) {
    crash::arm_stop(&arguments[1]);
    let reader = lossless(&arguments[0]);
    parent.say("joined");
    parent.hear();
    say_all(&parent, &reader);
}

/// Joins, is evicted, and joins again, stopped at a point.
fn rejoin(parent: Parent, arguments: &[String]) {
    let reader = lossless(&arguments[0]);
    parent.say("joined");
    parent.hear();
    assert!(matches!(reader.read(0), Err(QADataSwapError::Evicted { .. })));
    crash::arm_stop(&arguments[1]);
    reader.rejoin().unwrap();
    parent.say("joined");
    parent.hear();
    say_all(&parent, &reader);
}

/// What the child says of all it has read: first number, the one after the last, lost, evictions.
fn hear_all(child: &mut Child) -> [u64; 4] {
    child.say("read");
    let said: Vec<u64> = child.hear().split(' ').map(|n| n.parse().unwrap()).collect();
    said.try_into().unwrap()
}

/// The writer could not know of the gate, and goes on in the other segment.
#[test]
fn a_reader_that_joins_a_segment_while_it_is_replaced_starts_over() {
    for point in ["join: joining stored", "settle: gate stored"] {
        let ring = RingName::new("joins");
        let writer = writer(&ring, OnSlowReader::Evict { grace_ms: 0 });
        publish(&writer, 4);
        let mut child = Child::spawn("join", &[ring.name(), point]);
        child.wait_until_stopped();
        grow(&writer);
        publish(&writer, 11);
        child.resume();
        assert_eq!(child.hear(), "joined");
        // What the ring has now, and its gate holds that.
        let evicted = writer.stats().evictions;
        assert_eq!(hear_all(&mut child), [12, 16, 0, 0], "{point}");
        publish(&writer, 4);
        assert_eq!(writer.stats().evictions, evicted, "{point}");
        child.finish();
    }
}

#[test]
fn a_reader_that_joins_again_while_its_segment_is_replaced_does_so_in_the_other() {
    for point in ["join: joining stored", "settle: gate stored"] {
        let ring = RingName::new("rejoins");
        let writer = writer(&ring, OnSlowReader::Evict { grace_ms: 0 });
        publish(&writer, 4);
        let mut child = Child::spawn("rejoin", &[ring.name(), point]);
        assert_eq!(child.hear(), "joined");
        publish(&writer, 4);
        child.say("go on");
        child.wait_until_stopped();
        grow(&writer);
        publish(&writer, 11);
        child.resume();
        assert_eq!(child.hear(), "joined");
        assert_eq!(hear_all(&mut child), [16, 20, 16, 1], "{point}");
        child.finish();
    }
}

/// A reader that is stopped while it joins is given up once, and not again at each message.
#[test]
fn a_reader_that_joins_for_ever_is_given_up_once() {
    let ring = RingName::new("stuck");
    let first = writer(&ring, OnSlowReader::Evict { grace_ms: 1 });
    publish(&first, 4);
    let mut child = Child::spawn("join", &[ring.name(), "join: joins moved"]);
    child.wait_until_stopped();
    let first = must_return("a write", move || {
        publish(&first, 20);
        first
    });
    let stats = first.stats();
    assert_eq!((stats.stalls, stats.evictions, stats.published), (1, 1, 24));
    child.resume();
    assert_eq!(child.hear(), "joined");
    assert_eq!(hear_all(&mut child), [20, 24, 0, 0]);
    child.finish();
}
