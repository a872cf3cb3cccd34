//! Gates: lossless readers lose nothing, and a writer that one of them is in the way of does what its options
//! say. Each message is the number of those before it.

mod support;

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qadataswap::{
    OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Start, WaitStrategy, Writer,
    WriterOptions,
};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

const WAIT: OnSlowReader = OnSlowReader::Wait { limit_ms: u64::MAX };
const REFUSE: OnSlowReader = OnSlowReader::Refuse;
const EVICT: OnSlowReader = OnSlowReader::Evict { grace_ms: 0 };

#[test]
fn child_process() {
    support::play(&[("reader", read), ("idle", idle)]);
}

fn writer(ring: &RingName, slots: usize, on_slow_reader: OnSlowReader) -> Writer {
    let options = WriterOptions::new(slots).slot_capacity(64).on_slow_reader(on_slow_reader);
    options.create(ring.name()).unwrap()
}

fn lossless(ring: &RingName) -> Reader {
    ReaderOptions::new().lossless(true).attach(ring.name()).unwrap()
}

fn lossy(ring: &RingName) -> Reader {
    ReaderOptions::new().attach(ring.name()).unwrap()
}

/// Publishes the next number, which is how many there have been.
fn publish(writer: &Writer) -> Result<()> {
    writer.write_value(&writer.stats().message_count)
}

/// Publishes so many that must not be refused.
#[track_caller]
fn publish_many(writer: &Writer, count: u64) {
    (0..count).for_each(|_| publish(writer).unwrap());
}

/// How many more can be published before the writer is refused.
fn room(writer: &Writer) -> u64 {
    (0..).find(|_| publish(writer).is_err()).expect("a gate is there")
}

fn next(reader: &Reader) -> Option<u64> {
    reader.read_value(0).unwrap()
}

/// The pid and the positions behind that the refused write tells of.
#[track_caller]
fn would_block(ring: &RingName, result: Result<()>) -> (u32, u64) {
    match result {
        Err(QADataSwapError::WouldBlock { name, pid, behind }) => {
            assert_eq!(name, ring.name());
            (pid, behind)
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

/// A write that waits for a gate, asleep.
struct Stalled(JoinHandle<(Writer, Result<()>)>);

impl Stalled {
    #[track_caller]
    fn start(writer: Writer) -> Self {
        let (tell, hear) = std::sync::mpsc::channel();
        let handle = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            let result = publish(&writer);
            (writer, result)
        });
        let thread = hear.recv().unwrap();
        wait_until(|| handle.is_finished() || thread.sleeps_on_shared_futex());
        assert!(!handle.is_finished(), "the write did not wait");
        Self(handle)
    }

    fn end(self) -> (Writer, Result<()>) {
        self.0.join().unwrap()
    }

    /// The writer, whose write must have been carried out.
    #[track_caller]
    fn end_well(self) -> Writer {
        let (writer, result) = self.end();
        result.unwrap();
        writer
    }
}

/// Reads to the end of the ring, which must hold every number; how many there were.
fn read_all(reader: &Reader) -> u64 {
    let mut expected = 0;
    loop {
        match reader.read_value(u64::MAX) {
            Ok(number) => assert_eq!(number, Some(expected)),
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("after {expected}: {error}"),
        }
        expected += 1;
    }
    let stats = reader.stats();
    assert_eq!((stats.consumed, stats.lost, stats.evictions), (expected, 0, 0));
    expected
}

/// A lossless reader in a process of its own. Argument: ring.
fn read(parent: Parent, arguments: &[String]) {
    let reader = ReaderOptions::new().lossless(true).attach(&arguments[0]).unwrap();
    parent.say("ready");
    parent.say(read_all(&reader));
}

/// One that consumes a message whenever it is told to. Argument: ring.
fn idle(parent: Parent, arguments: &[String]) {
    let reader = ReaderOptions::new().lossless(true).attach(&arguments[0]).unwrap();
    parent.say("ready");
    loop {
        parent.hear();
        let number: Option<u64> = reader.read_value(0).unwrap();
        parent.say(number.expect("was published"));
    }
}

fn spawn(role: &str, ring: &RingName) -> Child {
    let mut child = Child::spawn(role, &[ring.name()]);
    assert_eq!(child.hear(), "ready");
    child
}

#[test]
fn lossless_readers_see_every_message_of_a_writer_at_full_speed() {
    for (slots, count) in [(1, 2_000), (2, 3_000), (3, 3_000), (4, 5_000), (64, 30_000)] {
        let ring = RingName::new("all");
        let writer = writer(&ring, slots, WAIT);
        let mut child = spawn("reader", &ring);
        let strategies = [WaitStrategy::Sleep, WaitStrategy::Yield, WaitStrategy::default()];
        let threads = strategies.map(|strategy| {
            let options = ReaderOptions::new().lossless(true).wait(strategy);
            let reader = options.attach(ring.name()).unwrap();
            std::thread::spawn(move || read_all(&reader))
        });
        for number in 0..count {
            writer.write_value(&number).unwrap();
        }
        let stats = writer.stats();
        writer.close().unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), count);
        }
        assert_eq!(child.hear(), count.to_string());
        child.finish();
        assert_eq!((stats.evictions, stats.reclaimed, stats.position), (0, 0, count), "{slots}");
    }
}

#[test]
fn a_writer_that_waits_goes_on_when_a_message_is_consumed() {
    for slots in [1, 2, 4] {
        let ring = RingName::new("wait");
        let mut writer = writer(&ring, slots, WAIT);
        let (reader, other) = (lossless(&ring), lossless(&ring));
        publish_many(&writer, slots as u64);
        assert_eq!(writer.stats().stalls, 0);
        for round in 0..20 {
            let stalled = Stalled::start(writer);
            // Of two readers in the way, one is not enough.
            assert_eq!((next(&reader), stalled.0.is_finished()), (Some(round), false));
            assert_eq!(next(&other), Some(round));
            writer = stalled.end_well();
            assert_eq!(writer.stats().stalls, round + 1);
        }
        assert_eq!((reader.stats().lost, other.stats().lost, writer.stats().evictions), (0, 0, 0));
    }
}

#[test]
fn a_wait_that_is_over_says_whom_it_was_for_and_publishes_nothing() {
    const LIMIT: Duration = Duration::from_millis(20);
    let ring = RingName::new("limit");
    let limit = OnSlowReader::Wait { limit_ms: LIMIT.as_millis() as u64 };
    let mut writer = writer(&ring, 4, limit);
    let (mut child, watching) = (spawn("idle", &ring), lossy(&ring));
    publish_many(&writer, 4);
    while watching.skip().unwrap() {}
    for tries in 1..4 {
        let before = (writer.stats(), std::fs::read(ring.data_path()).unwrap());
        let started = Instant::now();
        assert_eq!(would_block(&ring, publish(&writer)), (child.pid(), 4));
        assert!(started.elapsed() >= LIMIT);
        assert_eq!(writer.stats().stalls, tries);
        assert_eq!(before.0.message_count, writer.stats().message_count);
        assert!(before.1 == std::fs::read(ring.data_path()).unwrap(), "something was stored");
        assert_eq!(next(&watching), None);
    }
    // The same for a slot to be written in place.
    let refused = writer.reserve(8).map(|_| ());
    assert_eq!(would_block(&ring, refused), (child.pid(), 4));
    child.say("read");
    assert_eq!(child.hear(), "0");
    publish(&writer).unwrap();
    assert_eq!((next(&watching), writer.stats().stalls), (Some(4), 4));
    assert_eq!(would_block(&ring, publish(&writer)), (child.pid(), 4));
}

#[test]
fn a_refused_write_can_be_tried_again() {
    let ring = RingName::new("refuse");
    let writer = writer(&ring, 3, REFUSE);
    let reader = lossless(&ring);
    publish_many(&writer, 3);
    for number in 0..20 {
        for _ in 0..3 {
            assert_eq!(would_block(&ring, publish(&writer)), (std::process::id(), 3));
        }
        assert_eq!(next(&reader), Some(number));
        publish(&writer).unwrap();
    }
    let stats = writer.stats();
    assert_eq!((stats.published, stats.position, stats.stalls), (23, 23, 0));
    assert_eq!(reader.stats().lost, 0);
}

#[test]
fn the_slowest_of_several_lossless_readers_is_named() {
    let ring = RingName::new("slowest");
    let writer = writer(&ring, 4, REFUSE);
    let mut children = [spawn("idle", &ring), spawn("idle", &ring), spawn("idle", &ring)];
    publish_many(&writer, 4);
    // Each of them in turn is the only one that has not consumed the oldest message.
    for (number, slowest) in [(0, 1), (1, 2), (2, 0)] {
        for index in (0..3).filter(|index| *index != slowest) {
            children[index].say("read");
            assert_eq!(children[index].hear(), number.to_string());
        }
        assert_eq!(would_block(&ring, publish(&writer)), (children[slowest].pid(), 4));
        children[slowest].say("read");
        assert_eq!(children[slowest].hear(), number.to_string());
        publish(&writer).unwrap();
    }
}

#[test]
fn an_evicted_reader_knows_exactly_what_it_lost_and_can_rejoin() {
    for slots in [1, 2, 3, 4, 64] {
        for (consumed, further) in [(0, 1), (0, slots), (1, 2 * slots + 1), (slots, 3 * slots)] {
            let ring = RingName::new("evicted");
            let writer = writer(&ring, slots as usize, EVICT);
            let reader = lossless(&ring);
            publish_many(&writer, consumed);
            (0..consumed).for_each(|number| assert_eq!(next(&reader), Some(number)));
            publish_many(&writer, slots);
            assert_eq!(writer.stats().evictions, 0);
            publish_many(&writer, further);
            // It costs one decision, however long it does not look.
            assert_eq!((writer.stats().evictions, writer.stats().stalls), (1, 0));
            let lost = evicted(reader.read_value::<u64>(0));
            assert!((further..=slots + further).contains(&lost), "{lost}");
            publish_many(&writer, 5 * slots);
            assert_eq!(writer.stats().evictions, 1);
            for _ in 0..3 {
                assert_eq!(evicted(reader.read(0)), lost);
                assert_eq!(evicted(reader.skip()), lost);
                assert_eq!(evicted(reader.lease(0)), lost);
            }
            let lost_besides = reader.rejoin().unwrap();
            assert_eq!(reader.rejoin().unwrap(), 0);
            let published = writer.stats().published;
            let stats = reader.stats();
            assert_eq!((stats.consumed, stats.lost), (consumed, lost + lost_besides));
            assert_eq!((stats.evictions, stats.overruns), (1, 0));
            // It goes on with what is still there, all of it.
            assert_eq!(consumed + lost + lost_besides + stats.lag, published);
            assert_eq!(stats.lag, slots.min(published - consumed - lost));
            for number in consumed + lost + lost_besides..published {
                assert_eq!(next(&reader), Some(number));
            }
            // And is lossless again.
            publish_many(&writer, slots);
            (0..slots).for_each(|n| assert_eq!(next(&reader), Some(published + n)));
            publish_many(&writer, slots + 1);
            assert_eq!(writer.stats().evictions, 2);
            evicted(reader.read(0));
            assert_eq!(reader.stats().evictions, 2);
        }
    }
}

#[test]
fn only_the_readers_that_are_too_slow_are_evicted() {
    let ring = RingName::new("several");
    let writer = writer(&ring, 4, EVICT);
    let readers = [lossless(&ring), lossless(&ring)];
    let [slow, slower] = &readers;
    let fast = lossless(&ring);
    for number in 0..100 {
        publish(&writer).unwrap();
        assert_eq!(next(&fast), Some(number));
        assert!(!(2..=50).contains(&number) || next(slow) == Some(number - 2));
    }
    assert_eq!((writer.stats().evictions, fast.stats().lost, slow.stats().consumed), (2, 0, 49));
    let lost = evicted(slower.read(0));
    assert_eq!((lost, slower.rejoin().unwrap()), (96, 0));
    assert_eq!(evicted(slow.read(0)), 96 - 49);
    drop(fast);
    for number in 96..150 {
        assert_eq!(next(slower), Some(number));
        publish(&writer).unwrap();
    }
    assert_eq!((writer.stats().evictions, slower.stats().lost), (2, 96));
}

#[test]
fn a_reader_that_catches_up_within_the_grace_period_is_not_evicted() {
    let ring = RingName::new("grace");
    let mut writer = writer(&ring, 2, OnSlowReader::Evict { grace_ms: u64::MAX });
    let reader = lossless(&ring);
    publish_many(&writer, 2);
    for number in 0..20 {
        let stalled = Stalled::start(writer);
        assert_eq!(next(&reader), Some(number));
        writer = stalled.end_well();
    }
    assert_eq!((writer.stats().stalls, writer.stats().evictions), (20, 0));
    assert_eq!((reader.stats().lost, reader.stats().evictions), (0, 0));
}

#[test]
fn an_eviction_waits_for_the_whole_grace_period() {
    const GRACE: Duration = Duration::from_millis(20);
    let ring = RingName::new("whole-grace");
    let writer = writer(&ring, 2, OnSlowReader::Evict { grace_ms: GRACE.as_millis() as u64 });
    let _slow = lossless(&ring);
    publish_many(&writer, 2);
    let started = Instant::now();
    publish(&writer).unwrap();
    assert!(started.elapsed() >= GRACE);
    publish_many(&writer, 100);
    assert_eq!((writer.stats().stalls, writer.stats().evictions), (1, 1));
}

#[test]
fn readers_under_a_writer_that_evicts_at_once_count_exactly() {
    for slots in [1, 2, 4, 16] {
        let ring = RingName::new("evict-fast");
        let writer = writer(&ring, slots, EVICT);
        let reader = lossless(&ring);
        let reading = std::thread::spawn(move || {
            let mut lost = 0;
            let mut evictions = 0;
            loop {
                match reader.read_value::<u64>(u64::MAX) {
                    Ok(number) => assert_eq!(number, Some(reader.stats().consumed + lost - 1)),
                    Err(QADataSwapError::Evicted { lost: now }) => {
                        lost += now;
                        evictions += 1;
                        // May be given up again while it joins.
                        lost += match reader.rejoin() {
                            Err(QADataSwapError::Evicted { lost }) => {
                                evictions += 1;
                                lost
                            }
                            result => result.unwrap(),
                        };
                    }
                    Err(QADataSwapError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
                let stats = reader.stats();
                assert_eq!((stats.lost, stats.evictions), (lost, evictions));
            }
            reader.stats()
        });
        publish_many(&writer, 30_000);
        writer.close().unwrap();
        let stats = reading.join().unwrap();
        assert_eq!((stats.consumed + stats.lost, stats.overruns), (30_000, 0), "{slots}");
    }
}

#[test]
fn lossy_readers_read_on_beside_a_writer_that_is_blocked() {
    let ring = RingName::new("lossy");
    let writer = writer(&ring, 4, WAIT);
    let (before, slow) = (lossy(&ring), lossless(&ring));
    publish_many(&writer, 4);
    let stalled = Stalled::start(writer);
    for reader in [before, lossy(&ring)] {
        for number in 0..4 {
            assert_eq!(next(&reader), Some(number));
        }
        assert_eq!((next(&reader), reader.stats().lost), (None, 0));
    }
    let leasing = lossy(&ring);
    assert_eq!(leasing.lease(u64::MAX).unwrap().expect("is there").position(), 0);
    assert!(!stalled.0.is_finished());
    assert_eq!(next(&slow), Some(0));
    stalled.end_well();
}

#[test]
fn a_gate_covers_the_start_asked_for_and_nothing_before_it() {
    for slots in 1..=4 {
        for published in 0..=9 {
            for start in [Start::Oldest, Start::Newest, Start::Next] {
                let ring = RingName::new("start");
                let writer = writer(&ring, slots, REFUSE);
                publish_many(&writer, published);
                let options = ReaderOptions::new().lossless(true).start(start);
                let reader = options.attach_timeout_ms(0).attach(ring.name()).unwrap();
                let in_ring = published.min(slots as u64);
                let covered = match start {
                    Start::Oldest => in_ring,
                    Start::Newest => in_ring.min(1),
                    Start::Next => 0,
                };
                assert_eq!(reader.stats().position, published - covered);
                let what = format!("{slots} slots, {published} published, {start:?}");
                assert_eq!(room(&writer), slots as u64 - covered, "{what}");
                for number in published - covered..published - covered + slots as u64 {
                    assert_eq!(next(&reader), Some(number), "{what}");
                }
                assert_eq!((next(&reader), room(&writer)), (None, slots as u64), "{what}");
            }
        }
    }
}

/// Attaches again and again to a writer at full speed; every attached reader reads some messages in turn.
fn attach_to_a_fast_writer(slots: usize, on_slow_reader: OnSlowReader, attaches: u32) {
    let ring = RingName::new("attach-fast");
    let writer = writer(&ring, slots, on_slow_reader);
    publish(&writer).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            match publish(&writer) {
                Ok(()) | Err(QADataSwapError::WouldBlock { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(writer.stats().evictions, 0);
    });
    for attach in 0..attaches {
        let start = [Start::Oldest, Start::Newest, Start::Next][attach as usize % 3];
        let options = ReaderOptions::new().lossless(true).start(start);
        let reader = options.attach_timeout_ms(u64::MAX).attach(ring.name()).unwrap();
        let first = reader.stats().position;
        // Time for the writer to go round, were it not for the gate.
        (0..attach % 4 * 1_000).for_each(|_| std::hint::spin_loop());
        for number in first..first + 2 * slots as u64 + 3 {
            assert_eq!(reader.read_value(u64::MAX).unwrap(), Some(number));
        }
        assert_eq!((reader.stats().lost, reader.stats().evictions), (0, 0));
    }
    drop(stop);
    writing.join().unwrap();
}

#[test]
fn readers_that_attach_to_a_writer_at_full_speed_lose_nothing_from_then_on() {
    for slots in [1, 2, 3, 16] {
        attach_to_a_fast_writer(slots, WAIT, 200);
    }
}

#[test]
fn readers_can_attach_to_a_writer_that_refuses_and_tries_again_at_once() {
    for slots in [1, 2, 16] {
        attach_to_a_fast_writer(slots, REFUSE, 200);
    }
}

type Act = (&'static str, fn(&Reader));

#[test]
fn whatever_consumes_a_message_moves_the_gate() {
    let consume: [Act; 5] = [
        ("skip", |reader| assert!(reader.skip().unwrap())),
        ("read", |reader| assert!(reader.read(0).unwrap().is_some())),
        ("read_into", |reader| assert_eq!(reader.read_into(&mut [0; 8], 0).unwrap(), Some(8))),
        ("read_value", |reader| assert!(reader.read_value::<u64>(0).unwrap().is_some())),
        ("lease", |reader| drop(reader.lease(0).unwrap().expect("is there"))),
    ];
    let refuse: [Act; 2] = [
        ("read_into", |reader| assert!(reader.read_into(&mut [0; 7], 0).is_err())),
        ("read_value", |reader| assert!(reader.read_value::<u32>(0).is_err())),
    ];
    let ring = RingName::new("consume");
    let writer = writer(&ring, 2, REFUSE);
    let reader = lossless(&ring);
    publish_many(&writer, 2);
    for (what, consume) in consume {
        for (what, refuse) in refuse {
            refuse(&reader);
            assert_eq!(would_block(&ring, publish(&writer)), (std::process::id(), 2), "{what}");
        }
        consume(&reader);
        assert_eq!(room(&writer), 1, "{what}");
    }
    // Nor does a lease that there may not be.
    let reader = ReaderOptions::new().lossless(true).max_leases(0).attach(ring.name()).unwrap();
    let error = reader.lease(0).unwrap_err();
    assert!(matches!(error, QADataSwapError::TooManyLeases { limit: 0 }), "{error:?}");
    assert_eq!((reader.stats().consumed, reader.stats().lag), (0, 2));
}

#[test]
fn a_reader_that_finds_only_skipped_positions_does_not_keep_them() {
    let ring = RingName::new("skipped");
    let writer = writer(&ring, 4, REFUSE);
    let (waiting, slow, leasing) = (lossless(&ring), lossless(&ring), lossy(&ring));
    publish_many(&writer, 4);
    let lease = leasing.lease(u64::MAX).unwrap().expect("is there");
    (0..4).for_each(|number| assert_eq!(next(&waiting), Some(number)));
    assert_eq!(next(&slow), Some(0));
    // Position 4 is passed over for the lease, and position 5 is refused.
    assert_eq!(would_block(&ring, publish(&writer)), (std::process::id(), 4));
    assert_eq!((writer.stats().lease_skips, writer.stats().position), (1, 5));
    assert_eq!(next(&waiting), None);
    drop((lease, slow));
    // Counted from position 5, not from 4.
    assert_eq!(room(&writer), 4);
    (4..8).for_each(|number| assert_eq!(next(&waiting), Some(number)));
    assert_eq!((waiting.stats().lost, waiting.stats().consumed), (0, 8));
}

#[test]
fn a_lossless_reader_can_lease_and_go_on() {
    for slots in [2, 4, 16] {
        let ring = RingName::new("both");
        let writer = writer(&ring, slots, WAIT);
        let reader = lossless(&ring);
        let writing = std::thread::spawn(move || {
            publish_many(&writer, 3_000);
            (writer.stats(), writer.close().unwrap())
        });
        let mut held = None;
        for number in 0..3_000u64 {
            // Held for so long that the writer gets to the slot.
            if number.is_multiple_of(2 * slots as u64 + 3) {
                drop(held.take()); // a ring of two slots has one to lease
                let lease = reader.lease(u64::MAX).unwrap().expect("waited for");
                assert_eq!(*lease, number.to_le_bytes());
                held = Some((number, lease));
            } else {
                assert_eq!(reader.read_value(u64::MAX).unwrap(), Some(number));
            }
            let (number, lease) = held.as_ref().expect("the first was leased");
            assert_eq!(**lease, number.to_le_bytes());
        }
        let (stats, ()) = writing.join().unwrap();
        assert_eq!((reader.stats().lost, stats.evictions), (0, 0));
        assert!(stats.lease_skips > 0);
    }
}

#[test]
fn a_refused_write_never_tells_of_more_than_the_ring_holds() {
    let ring = RingName::new("flapping");
    let writer = writer(&ring, 2, REFUSE);
    publish_many(&writer, 1_000);
    let name = ring.name().to_owned();
    // Readers that come and go, so that the one in the way may be gone when it is to be named.
    let flapping = std::thread::spawn(move || {
        (0..2_000).for_each(|_| drop(ReaderOptions::new().lossless(true).attach(&name).unwrap()));
    });
    while !flapping.is_finished() {
        if let Err(error) = publish(&writer) {
            let (pid, behind) = would_block(&ring, Err(error));
            assert_eq!((pid, behind <= 2), (std::process::id(), true), "{behind} behind");
        }
    }
    flapping.join().unwrap();
}
