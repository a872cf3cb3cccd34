//! Holds in corners that are seldom met. Each message is the number of those before it.

mod support;

use qadataswap::{
    HoldsReason, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions,
    create_reader,
};
use support::raw::{self, Raw};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("leased-once", play_leased_once), ("lossless", play_lossless)]);
}

const EVICT: OnSlowReader = OnSlowReader::Evict { grace_ms: 0 };
const REFUSE: OnSlowReader = OnSlowReader::Refuse;

fn writer(ring: &RingName, slots: usize, on_slow_reader: OnSlowReader) -> Writer {
    let options = WriterOptions::new(slots).slot_capacity(64).mode(0o644);
    options.on_slow_reader(on_slow_reader).create(ring.name()).unwrap()
}

fn lossless(ring: &RingName) -> Reader {
    ReaderOptions::new().lossless(true).attach(ring.name()).unwrap()
}

fn publish(writer: &Writer, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| writer.write(&number.to_le_bytes()).unwrap());
}

fn number(message: &[u8]) -> u64 {
    u64::from_le_bytes(message.try_into().unwrap())
}

fn play_leased_once(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    drop(reader.lease(0).unwrap().expect("there is one"));
    parent.say(Thread::current().tid());
    let _ = reader.lease(u64::MAX);
}

fn play_lossless(parent: Parent, arguments: &[String]) {
    let _reader = ReaderOptions::new().lossless(true).attach(&arguments[0]).unwrap();
    parent.say("ready");
    parent.hear();
}

/// A lossless reader whose control segment was lost keeps its old entry when it cannot get a new one. The writer
/// does not look there: what was leased through it would be overwritten.
#[test]
fn a_reader_that_got_no_new_entry_leases_nothing_that_is_overwritten() {
    let ring = RingName::new("orphan");
    let first = writer(&ring, 4, REFUSE);
    let reader = lossless(&ring);
    publish(&first, 0..1);
    assert_eq!(reader.read(0).unwrap().as_deref().map(number), Some(0));
    // Lost, as in `gates_across.rs`; the next writer makes another, and another data segment with it.
    std::fs::remove_file(ring.control_path()).unwrap();
    drop(first);
    let second = writer(&ring, 4, REFUSE);
    let others: Vec<_> = (0..64).map(|_| create_reader(ring.name()).unwrap()).collect();
    assert!(others.iter().all(|reader| reader.stats().registered));
    publish(&second, 1..2);
    let refused = reader.lease(u64::MAX).unwrap_err();
    let no_control_segment =
        |reason| matches!(reason, HoldsReason::NoControlSegment | HoldsReason::NoFreeEntry);
    let QADataSwapError::HoldsUnavailable { reason, .. } = refused else { panic!("{refused}") };
    assert!(no_control_segment(reason), "{reason}");
    // It still reads, and gets a lease as soon as there is an entry.
    assert_eq!(reader.read(0).unwrap().as_deref().map(number), Some(1));
    drop(others);
    publish(&second, 2..3);
    assert_eq!(reader.read(0).unwrap().as_deref().map(number), Some(2));
    publish(&second, 3..4);
    let lease = reader.lease(0).unwrap().expect("is there");
    for next in 4..12 {
        publish(&second, next..next + 1);
        assert_eq!(reader.read(0).unwrap().as_deref().map(number), Some(next));
    }
    assert_eq!((number(&lease), second.stats().lease_skips > 0), (3, true));
}

/// Its control segment is gone with the ring, but nobody overwrites anything either.
#[test]
fn what_a_removed_ring_still_has_is_leased() {
    let ring = RingName::new("removed");
    let writer = writer(&ring, 4, REFUSE);
    let readers = [lossless(&ring), create_reader(ring.name()).unwrap()];
    publish(&writer, 0..3);
    writer.unlink().unwrap();
    for reader in readers {
        let leases: Vec<_> = (0..3).map(|_| reader.lease(0).unwrap().expect("is there")).collect();
        assert!(leases.iter().map(|lease| number(lease)).eq(0..3));
        assert!(matches!(reader.lease(0), Err(QADataSwapError::Closed)));
    }
}

/// The writer never meets a lease of it, but pays for its bit at every publish.
#[test]
fn a_reader_killed_in_its_sleep_after_a_lease_leaves_no_permanent_cost() {
    let ring = RingName::new("leased-once");
    let writer = writer(&ring, 4, REFUSE);
    publish(&writer, 0..1);
    let mut child = Child::spawn("leased-once", &[ring.name()]);
    let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
    wait_until(|| thread.sleeps_on_shared_futex());
    child.kill();
    publish(&writer, 1..100_000);
    assert_eq!(Raw::control(&ring).u64(raw::LEASING), 0);
}

/// It is not in the way any more, but has the writer look at all gates at every publish.
#[test]
fn a_reader_killed_after_its_eviction_leaves_no_permanent_cost() {
    let ring = RingName::new("evicted");
    let writer = writer(&ring, 4, EVICT);
    let mut child = Child::spawn("lossless", &[ring.name()]);
    assert_eq!(child.hear(), "ready");
    publish(&writer, 0..5);
    assert_eq!(writer.stats().evictions, 1);
    child.kill();
    publish(&writer, 5..100_000);
    assert_eq!(Raw::control(&ring).u64(raw::GATING), 0);
}

/// A lossy reader that was lapped goes to half a ring behind the writer, or it would be lapped again at once. One
/// that rejoins has a gate.
#[test]
fn an_evicted_reader_loses_only_what_was_overwritten() {
    let ring = RingName::new("evicted");
    let writer = writer(&ring, 1_000, EVICT);
    let reader = lossless(&ring);
    publish(&writer, 0..1_001);
    assert!(matches!(reader.read(0), Err(QADataSwapError::Evicted { .. })));
    reader.rejoin().unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref().map(number), Some(1));
    assert_eq!(reader.stats().lost, 1);
}

/// The one that gets in the way only after another's is over (the slot between was leased) has its own.
#[test]
fn every_reader_in_the_way_has_its_grace_period() {
    const GRACE_MS: u64 = 50;
    let ring = RingName::new("grace");
    let writer = writer(&ring, 4, OnSlowReader::Evict { grace_ms: GRACE_MS });
    let (slow, prompt) = (lossless(&ring), lossless(&ring));
    let leasing = create_reader(ring.name()).unwrap();
    publish(&writer, 0..4);
    let _lease = leasing.lease(0).unwrap().unwrap();
    assert_eq!(prompt.read(0).unwrap().as_deref().map(number), Some(0));
    let begun = std::time::Instant::now();
    publish(&writer, 4..5);
    assert!(matches!(slow.read(0), Err(QADataSwapError::Evicted { .. })));
    // Position 4 was passed over, so that message 1 was in the way only then.
    assert!(matches!(prompt.read(0), Err(QADataSwapError::Evicted { .. })));
    assert!(begun.elapsed().as_millis() as u64 >= 2 * GRACE_MS, "evicted without its own grace");
    assert_eq!(writer.stats().evictions, 2);
}

/// A write that gave a reader up and was then refused for want of a slot has evicted nobody.
#[test]
fn a_write_that_is_refused_evicts_nobody() {
    let ring = RingName::new("refused");
    let writer = writer(&ring, 2, EVICT);
    let (kept, leasing) = (lossless(&ring), create_reader(ring.name()).unwrap());
    publish(&writer, 0..2);
    let _leases = [leasing.lease(0).unwrap(), leasing.lease(0).unwrap()];
    let refused = writer.write(b"more");
    assert!(matches!(refused, Err(QADataSwapError::AllSlotsLeased { .. })));
    assert_eq!([0, 1].map(|_| number(&kept.read(0).unwrap().unwrap())), [0, 1]);
    assert_eq!((writer.stats().evictions, kept.stats().evictions), (0, 0));
}

/// Every 1024 publishes the writer asks whether the owner of an entry lives that costs each publish something. That
/// does not depend on where it finds slots leased: here it passes over the first and the last of each lap.
#[test]
fn the_dead_who_hold_nothing_are_found_whichever_slots_others_lease() {
    let ring = RingName::new("asked");
    let writer = writer(&ring, 4, REFUSE);
    publish(&writer, 0..1);
    let mut child = Child::spawn("leased-once", &[ring.name()]);
    child.hear();
    // Before it dies: whoever attaches later takes its entry.
    let reader = create_reader(ring.name()).unwrap();
    child.kill();
    let first = reader.lease(0).unwrap().expect("in the first slot");
    publish(&writer, 1..4);
    (0..2).for_each(|_| assert!(reader.skip().unwrap()));
    let last = reader.lease(0).unwrap().expect("in the last slot");
    publish(&writer, 4..5000);
    assert!(writer.stats().lease_skips > 1000);
    assert_eq!(writer.stats().reclaimed, 1);
    drop((first, last));
}
