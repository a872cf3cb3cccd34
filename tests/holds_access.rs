//! Who may hold messages, and what is left of it afterwards: readers that may not write to the control segment do
//! without, entries of the dead are free, and readers that leave or are killed cost nothing lasting. Each message
//! is the number of those before it.
//!
//! The parts with another user need root and are skipped, saying so, where there is none.

mod support;

use std::thread::JoinHandle;

use qadataswap::{
    HoldsReason, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Start, WaitStrategy,
    Writer, WriterOptions,
};
use support::inspect;
use support::raw::{self, Raw, entry};
use support::threads::{Thread, must_return, wait_until};
use support::{Child, Parent, RingName};

/// The user and group `nobody`.
const NOBODY: u32 = 65534;
const ENTRY_COUNT: usize = 64;
const WAIT: OnSlowReader = OnSlowReader::Wait { limit_ms: u64::MAX };
const REFUSE: OnSlowReader = OnSlowReader::Refuse;
const EVICT: OnSlowReader = OnSlowReader::Evict { grace_ms: 0 };

#[test]
fn child_process() {
    support::play(&[
        ("idle", idle),
        ("asleep", sleep),
        ("many", hold_many),
        ("unwelcome", be_refused_holds),
        ("welcome", hold_as_nobody),
        ("exact", read_without_control),
    ]);
}

fn options(slots: usize, on_slow_reader: OnSlowReader) -> WriterOptions {
    WriterOptions::new(slots).slot_capacity(64).on_slow_reader(on_slow_reader)
}

fn writer(ring: &RingName, slots: usize, on_slow_reader: OnSlowReader) -> Writer {
    options(slots, on_slow_reader).create(ring.name()).unwrap()
}

fn lossless() -> ReaderOptions {
    ReaderOptions::new().lossless(true)
}

/// Publishes the next number.
fn publish(writer: &Writer) -> Result<()> {
    writer.write_value(&writer.stats().message_count)
}

#[track_caller]
fn publish_many(writer: &Writer, count: u64) {
    (0..count).for_each(|_| publish(writer).unwrap());
}

fn next(reader: &Reader) -> Option<u64> {
    reader.read_value(0).unwrap()
}

/// A write that waits for a gate, asleep.
struct Stalled(JoinHandle<Writer>);

impl Stalled {
    #[track_caller]
    fn start(writer: Writer) -> Self {
        let (tell, hear) = std::sync::mpsc::channel();
        let handle = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            publish(&writer).unwrap();
            writer
        });
        let thread = hear.recv().unwrap();
        wait_until(|| handle.is_finished() || thread.sleeps_on_shared_futex());
        assert!(!handle.is_finished(), "the write did not wait");
        Self(handle)
    }

    fn end(self) -> Writer {
        self.0.join().unwrap()
    }
}

/// Attaches as the arguments say (ring, "lossless" or "lossy"), then consumes a message when told to.
fn idle(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().lossless(arguments[1] == "lossless");
    let reader = options.attach(&arguments[0]).unwrap();
    parent.say("ready");
    loop {
        parent.hear();
        parent.say(reader.read_value::<u64>(0).unwrap().expect("was published"));
    }
}

fn spawn_idle(ring: &RingName, kind: &str) -> Child {
    let mut child = Child::spawn("idle", &[ring.name(), kind]);
    assert_eq!(child.hear(), "ready");
    child
}

/// Waits for a message, asleep. Arguments as for [`idle`].
fn sleep(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().lossless(arguments[1] == "lossless");
    let reader =
        options.start(Start::Next).wait(WaitStrategy::Sleep).attach(&arguments[0]).unwrap();
    parent.say(Thread::current().tid());
    let _ = reader.read(u64::MAX);
}

/// Takes all entries and has each hold something, then waits. Arguments as for [`idle`].
fn hold_many(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().lossless(arguments[1] == "lossless");
    let attach = |_| options.attach(&arguments[0]).unwrap();
    let readers: Vec<Reader> = (0..ENTRY_COUNT).map(attach).collect();
    assert!(readers.iter().all(|reader| reader.stats().registered));
    let lease = |reader: &Reader| reader.lease(u64::MAX).unwrap().expect("is there");
    let _leases: Vec<_> = readers.iter().map(lease).collect();
    parent.say("ready");
    parent.hear();
}

fn is_root() -> bool {
    // SAFETY: a plain system call without arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can become another user");
    }
    root
}

fn become_nobody() {
    // SAFETY: plain system call; the list is empty.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
}

#[track_caller]
fn no_write_access<T: std::fmt::Debug>(result: Result<T>, ring: &str) {
    let error = result.expect_err("needs write access");
    let QADataSwapError::HoldsUnavailable { name, reason } = &error else { panic!("{error:?}") };
    assert_eq!((name.as_str(), *reason), (ring, HoldsReason::NoWriteAccess));
    let said = error.to_string();
    assert!(said.contains("needs write access to the control segment"), "{said}");
    assert!(said.contains(ring) && said.contains("control_mode"), "{said}");
}

/// Wants what another user cannot have. Arguments: ring.
fn be_refused_holds(_: Parent, arguments: &[String]) {
    become_nobody();
    let name = arguments[0].as_str();
    no_write_access(lossless().attach(name).map(|_| ()), name);
    let reader = ReaderOptions::new().attach(name).unwrap();
    for _ in 0..3 {
        no_write_access(reader.lease(0), name);
        no_write_access(reader.lease(u64::MAX), name);
        no_write_access(reader.read_arrow_zero_copy(u64::MAX), name);
        no_write_access(reader.read_batches_zero_copy(0), name);
    }
    // None of that has consumed anything.
    let stats = reader.stats();
    assert_eq!((stats.consumed, stats.lost, stats.timeouts, stats.lag), (0, 0, 0, 3));
    assert_eq!((stats.registered, stats.leases), (false, 0));
    (0..3).for_each(|number| assert_eq!(next(&reader), Some(number)));
    assert_eq!(next(&reader), None);
    no_write_access(reader.lease(u64::MAX), name);
    assert_eq!(reader.rejoin().unwrap(), 0);
}

/// Leases the first of four messages and reads the others. Arguments: ring.
fn hold_as_nobody(parent: Parent, arguments: &[String]) {
    become_nobody();
    let reader = lossless().attach(&arguments[0]).unwrap();
    parent.say("attached");
    parent.hear();
    let lease = reader.lease(u64::MAX).unwrap().expect("is there");
    (1..4).for_each(|number| assert_eq!(next(&reader), Some(number)));
    parent.say("read");
    parent.hear();
    assert_eq!(*lease, 0u64.to_le_bytes());
    (4..7).for_each(|number| assert_eq!(next(&reader), Some(number)));
}

/// Reads to the end, as another user. Arguments: ring.
fn read_without_control(parent: Parent, arguments: &[String]) {
    become_nobody();
    let reader = ReaderOptions::new().wait(WaitStrategy::Sleep).attach(&arguments[0]).unwrap();
    parent.say("ready");
    loop {
        match reader.read_value::<u64>(u64::MAX) {
            Ok(number) => {
                let stats = reader.stats();
                assert_eq!(stats.consumed + stats.lost, number.expect("waited for") + 1);
            }
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let stats = reader.stats();
    assert_eq!((stats.registered, stats.timeouts), (false, 0));
    parent.say(stats.consumed + stats.lost);
}

#[test]
fn another_user_is_told_what_holding_messages_needs() {
    if !is_root() {
        return;
    }
    for control_mode in [0o600, 0o644] {
        let ring = RingName::new("unwelcome");
        let options = options(4, REFUSE).mode(0o644).control_mode(control_mode);
        let writer = options.create(ring.name()).unwrap();
        publish_many(&writer, 3);
        let control = std::fs::read(ring.control_path()).unwrap();
        Child::spawn("unwelcome", &[ring.name()]).finish();
        assert!(control == std::fs::read(ring.control_path()).unwrap());
        publish_many(&writer, 10);
    }
}

#[test]
fn another_user_reads_and_counts_exactly_beside_readers_that_hold_messages() {
    if !is_root() {
        return;
    }
    const MESSAGES: u64 = 5_000;
    let ring = RingName::new("beside");
    let writer = options(4, WAIT).mode(0o644).control_mode(0o600).create(ring.name()).unwrap();
    let mut others: Vec<Child> = (0..2).map(|_| Child::spawn("exact", &[ring.name()])).collect();
    others.iter_mut().for_each(|child| assert_eq!(child.hear(), "ready"));
    let reader = lossless().attach(ring.name()).unwrap();
    let reading = std::thread::spawn(move || {
        let mut lease = None;
        for number in 0..MESSAGES {
            if number % 10 == 0 {
                drop(lease.take());
                lease = reader.lease(u64::MAX).unwrap();
            } else {
                assert_eq!(reader.read_value(u64::MAX).unwrap(), Some(number));
            }
        }
        assert_eq!(reader.stats().lost, 0);
    });
    for number in 0..MESSAGES {
        if number < 10 {
            // Asleep, and nobody wakes them.
            others.iter().for_each(|child| inspect::wait_until_asleep(child.pid()));
        }
        publish(&writer).unwrap();
    }
    assert!(writer.stats().lease_skips > 0);
    writer.close().unwrap();
    reading.join().unwrap();
    for mut child in others {
        assert_eq!(child.hear(), MESSAGES.to_string());
        child.finish();
    }
}

#[test]
fn another_user_may_hold_messages_where_the_control_segment_may_be_written() {
    if !is_root() {
        return;
    }
    let ring = RingName::new("welcome");
    let writer = options(4, REFUSE).mode(0o644).control_mode(0o666).create(ring.name()).unwrap();
    publish_many(&writer, 4);
    let mut other = Child::spawn("welcome", &[ring.name()]);
    assert_eq!(other.hear(), "attached");
    let refused = publish(&writer).unwrap_err();
    let QADataSwapError::WouldBlock { pid, behind: 4, .. } = refused else { panic!("{refused}") };
    assert_eq!(pid, other.pid());
    other.say("read");
    assert_eq!(other.hear(), "read");
    publish_many(&writer, 3);
    assert_eq!(writer.stats().lease_skips, 1);
    other.say("check");
    other.finish();
}

#[test]
fn a_reader_says_why_it_cannot_hold_messages() {
    let ring = RingName::new("reasons");
    let writer = writer(&ring, 4, REFUSE);
    let reason = |result: Result<()>| match result {
        Err(QADataSwapError::HoldsUnavailable { name, reason }) => {
            assert_eq!(name, ring.name());
            reason
        }
        other => panic!("{other:?}"),
    };
    let lossless_refused = || reason(lossless().attach(ring.name()).map(|_| ()));
    let lease_refused =
        |options: ReaderOptions| reason(options.attach(ring.name()).unwrap().lease(0).map(|_| ()));
    let unregistered = lossless().register(false).attach(ring.name()).map(|_| ());
    assert_eq!(reason(unregistered), HoldsReason::NotRegistered);
    assert_eq!(lease_refused(ReaderOptions::new().register(false)), HoldsReason::NotRegistered);
    std::fs::remove_file(ring.control_path()).unwrap();
    assert_eq!(lossless_refused(), HoldsReason::NoControlSegment);
    assert_eq!(lease_refused(ReaderOptions::new()), HoldsReason::NoControlSegment);
    drop(writer);
    let writer = options(4, REFUSE).holds(false).create(ring.name()).unwrap();
    assert_eq!(lossless_refused(), HoldsReason::Disabled);
    assert_eq!(lease_refused(ReaderOptions::new()), HoldsReason::Disabled);
    publish(&writer).unwrap();
    assert_eq!(next(&ReaderOptions::new().attach(ring.name()).unwrap()), Some(0));
}

#[test]
fn a_table_full_of_the_living_takes_no_lossless_reader_and_others_unregistered() {
    let ring = RingName::new("full");
    let writer = writer(&ring, 4, REFUSE);
    publish_many(&writer, 4);
    let attach = |_| ReaderOptions::new().attach(ring.name()).unwrap();
    let mut living: Vec<Reader> = (0..ENTRY_COUNT).map(attach).collect();
    let full = |result: Result<()>| {
        let Err(QADataSwapError::HoldsUnavailable { reason, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(reason, HoldsReason::NoFreeEntry);
    };
    full(lossless().attach(ring.name()).map(|_| ()));
    let without = ReaderOptions::new().attach(ring.name()).unwrap();
    assert!(!without.stats().registered);
    full(without.lease(0).map(|_| ()));
    (0..4).for_each(|number| assert_eq!(next(&without), Some(number)));
    // The refused reader has left no gate.
    publish_many(&writer, 1);
    assert_eq!(next(&without), Some(4));
    // One entry is enough for either of them, and the one without takes it by itself.
    drop(living.pop());
    let lossless_reader = lossless().attach(ring.name()).unwrap();
    assert!(lossless_reader.stats().registered);
    full(lossless().attach(ring.name()).map(|_| ()));
    drop(lossless_reader);
    wait_until(|| {
        assert_eq!(without.read(1).unwrap(), None);
        without.stats().registered
    });
    publish(&writer).unwrap();
    assert_eq!(without.lease(u64::MAX).unwrap().expect("is there").position(), 5);
    full(lossless().attach(ring.name()).map(|_| ()));
}

#[test]
fn a_table_full_of_the_dead_accepts_readers_at_once() {
    for (kind, stopped) in [("lossless", false), ("lossless", true), ("lossy", true)] {
        let ring = RingName::new("full-dead");
        // More slots than leases, so that the readers do not stand in each other's way.
        let writer = writer(&ring, 4, WAIT);
        publish_many(&writer, 4);
        let mut child = Child::spawn("many", &[ring.name(), kind]);
        assert_eq!(child.hear(), "ready");
        let control = Raw::control(&ring);
        let gating = if kind == "lossless" { u64::MAX } else { 0 };
        assert_eq!((control.u64(raw::GATING), control.u64(raw::LEASING)), (gating, u64::MAX));
        assert!(lossless().attach(ring.name()).is_err());
        if stopped {
            child.stop();
        }
        child.kill();
        let name = ring.name().to_owned();
        let attached = must_return("attach", move || {
            let attach = |_| lossless().attach_timeout_ms(0).attach(&name).unwrap();
            (0..ENTRY_COUNT).map(attach).collect::<Vec<Reader>>()
        });
        assert!(attached.iter().all(|reader| reader.stats().registered));
        // What the dead held went with them.
        assert_eq!((control.u64(raw::GATING), control.u64(raw::LEASING)), (u64::MAX, 0));
        for reader in &attached {
            (0..4).for_each(|number| assert_eq!(next(reader), Some(number)));
        }
        publish_many(&writer, 4);
        let stats = writer.stats();
        assert_eq!((stats.reclaimed, stats.stalls, stats.lease_skips), (0, 0, 0));
        drop(attached);
        assert_eq!((control.u64(raw::GATING), control.u64(raw::LEASING)), (0, 0));
    }
}

#[test]
fn a_writer_frees_itself_from_a_table_full_of_the_dead() {
    for on_slow_reader in [WAIT, REFUSE, EVICT] {
        let ring = RingName::new("free-itself");
        let writer = writer(&ring, 4, on_slow_reader);
        publish_many(&writer, 4);
        let mut child = Child::spawn("many", &[ring.name(), "lossless"]);
        assert_eq!(child.hear(), "ready");
        child.kill();
        let writer = must_return("writes", move || {
            publish_many(&writer, 20);
            writer
        });
        let stats = writer.stats();
        assert_eq!((stats.stalls, stats.evictions, stats.reclaimed), (0, 0, 64));
        let control = Raw::control(&ring);
        assert_eq!((control.u64(raw::GATING), control.u64(raw::LEASING)), (0, 0));
    }
}

#[test]
fn a_reader_killed_in_its_sleep_costs_one_wake_up_whatever_its_kind() {
    for kind in ["lossy", "lossless"] {
        let ring = RingName::new("asleep");
        let writer = writer(&ring, 4, WAIT);
        for killed in 1..=3 {
            let mut child = Child::spawn("asleep", &[ring.name(), kind]);
            let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
            wait_until(|| thread.sleeps_on_shared_futex());
            child.kill();
            publish_many(&writer, 3);
            assert_eq!(writer.stats().wakes, killed);
            let wakes = writer.stats().wakes;
            publish_many(&writer, 100);
            assert_eq!(writer.stats().wakes, wakes);
        }
        assert_eq!(writer.stats().stalls, 0);
    }
}

#[test]
fn a_reader_killed_in_the_way_of_a_writer_that_waits_for_ever_delays_it_no_longer() {
    for stopped in [false, true] {
        let ring = RingName::new("killed");
        let mut writer = writer(&ring, 2, WAIT);
        for round in 1..=5 {
            let child = spawn_idle(&ring, "lossless");
            if stopped {
                child.stop();
            }
            publish_many(&writer, u64::from(round == 1) * 2);
            let stalled = Stalled::start(writer);
            child.kill();
            writer = stalled.end();
            assert_eq!(writer.stats().reclaimed, round);
        }
        assert_eq!((writer.stats().stalls, writer.stats().evictions), (5, 0));
        let control = Raw::control(&ring);
        assert_eq!((control.u64(raw::GATING), control.u64(entry(0, raw::ENTRY_GATE))), (0, 0));
    }
}

#[test]
fn readers_that_were_killed_before_are_not_waited_for_at_all() {
    for on_slow_reader in [WAIT, REFUSE, EVICT] {
        let ring = RingName::new("dead");
        let writer = writer(&ring, 2, on_slow_reader);
        let children = [
            spawn_idle(&ring, "lossless"),
            spawn_idle(&ring, "lossless"),
            spawn_idle(&ring, "lossless"),
        ];
        let alive = lossless().attach(ring.name()).unwrap();
        publish_many(&writer, 2);
        children[1].stop();
        children.into_iter().for_each(Child::kill);
        assert_eq!((next(&alive), next(&alive)), (Some(0), Some(1)));
        publish_many(&writer, 2);
        let stats = writer.stats();
        assert_eq!((stats.stalls, stats.evictions, stats.reclaimed), (0, 0, 3));
        assert_eq!((next(&alive), next(&alive)), (Some(2), Some(3)));
    }
}

#[test]
fn a_stopped_reader_loses_nothing_and_a_writer_that_refuses_goes_on_beside_it() {
    let ring = RingName::new("stopped");
    let writer = writer(&ring, 4, REFUSE);
    let mut child = spawn_idle(&ring, "lossless");
    child.stop();
    publish_many(&writer, 4);
    let (writer, refused) = must_return("a write behind a stopped reader", move || {
        let refused = publish(&writer);
        (writer, refused)
    });
    let refused = refused.unwrap_err();
    let QADataSwapError::WouldBlock { pid, behind: 4, .. } = refused else { panic!("{refused}") };
    assert_eq!(pid, child.pid());
    child.resume();
    for number in 0..10 {
        child.say("read");
        assert_eq!(child.hear(), number.to_string());
        publish(&writer).unwrap();
    }
}

#[test]
fn dropping_a_lossless_reader_frees_a_blocked_writer() {
    for slots in [1, 4] {
        let ring = RingName::new("drop");
        let mut writer = writer(&ring, slots, WAIT);
        for _ in 0..20 {
            let reader = lossless().attach(ring.name()).unwrap();
            publish_many(&writer, slots as u64 - reader.stats().lag);
            let stalled = Stalled::start(writer);
            drop(reader);
            writer = stalled.end();
        }
        assert_eq!((writer.stats().reclaimed, writer.stats().stalls), (0, 20));
    }
}

#[test]
fn the_gate_of_a_reader_ends_with_it_even_if_a_lease_of_its_lives_on() {
    let ring = RingName::new("gate-and-lease");
    let writer = writer(&ring, 4, REFUSE);
    let reader = lossless().attach(ring.name()).unwrap();
    publish_many(&writer, 4);
    let lease = reader.lease(u64::MAX).unwrap().expect("is there");
    drop(reader);
    publish_many(&writer, 20);
    assert_eq!(*lease, 0u64.to_le_bytes());
}

#[test]
fn a_writer_that_wants_fewer_slots_does_not_wait_for_the_dead() {
    for on_slow_reader in [WAIT, REFUSE, EVICT] {
        let ring = RingName::new("fewer-dead");
        let first = writer(&ring, 4, REFUSE);
        let children = [spawn_idle(&ring, "lossless"), spawn_idle(&ring, "lossless")];
        publish_many(&first, 4);
        drop(first);
        children.into_iter().for_each(Child::kill);
        let create = options(2, on_slow_reader);
        let name = ring.name().to_owned();
        let writer = must_return("takeover", move || create.create(&name).unwrap());
        publish_many(&writer, 10);
        let stats = writer.stats();
        assert_eq!((stats.reclaimed, stats.stalls, stats.evictions), (2, 0, 0));
    }
}

#[test]
fn a_reader_that_finds_no_entry_in_a_new_control_segment_cannot_rejoin() {
    let ring = RingName::new("no-entry-left");
    let first = writer(&ring, 4, REFUSE);
    let reader = lossless().attach(ring.name()).unwrap();
    publish(&first).unwrap();
    drop(first);
    std::fs::remove_file(ring.control_path()).unwrap();
    let writer = writer(&ring, 4, REFUSE);
    let attach = |_| ReaderOptions::new().attach(ring.name()).unwrap();
    let others: Vec<Reader> = (0..ENTRY_COUNT).map(attach).collect();
    publish_many(&writer, 20);
    assert_eq!(next(&reader), Some(0));
    let QADataSwapError::Evicted { lost } = reader.read(0).unwrap_err() else {
        panic!("lost some")
    };
    // To say that it is lossless again would not be true.
    let reason = match reader.rejoin() {
        Err(QADataSwapError::HoldsUnavailable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, HoldsReason::NoFreeEntry);
    drop(others);
    let besides = reader.rejoin().unwrap();
    let lag = reader.stats().lag;
    assert_eq!(1 + lost + besides + lag, 21);
    publish_many(&writer, 4 - lag);
    assert!(matches!(publish(&writer), Err(QADataSwapError::WouldBlock { .. })));
    (17..21).skip(4 - lag as usize).for_each(|number| assert_eq!(next(&reader), Some(number)));
}
