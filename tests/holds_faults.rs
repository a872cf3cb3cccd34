//! What holds do not do yet though they should. Each test fails, and says why; none of them needs more than
//! the public functions and, where it says so, what a stopped process or another user can do to the segments.
//! Each message is the number of those before it.

mod support;

use std::os::fd::AsRawFd;

use qadataswap::{
    OnSlowReader, QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions, create_reader,
};
use support::raw::{self, Raw};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[
        ("leased-once", play_leased_once),
        ("lossless", play_lossless),
        ("writer", play_writer),
        ("other-user", play_other_user),
    ]);
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

fn play_writer(parent: Parent, arguments: &[String]) {
    let _writer = WriterOptions::new(2).mode(0o644).create(&arguments[0]).unwrap();
    parent.say("ready");
    parent.hear();
}

/// A user who may read the object and no more waits for a shared lock on all of it, and keeps that.
fn play_other_user(parent: Parent, arguments: &[String]) {
    const NOBODY: u32 = 65_534;
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
    let object = std::fs::File::open(&arguments[0]).unwrap();
    assert!(std::fs::OpenOptions::new().write(true).open(&arguments[0]).is_err());
    // SAFETY: all zeroes is a value of this plain C struct.
    let mut all: libc::flock = unsafe { std::mem::zeroed() };
    all.l_type = libc::F_RDLCK as libc::c_short;
    parent.say(Thread::current().tid());
    // SAFETY: the descriptor is open and `all` outlives the call.
    let locked = unsafe { libc::fcntl(object.as_raw_fd(), libc::F_OFD_SETLKW, &mut all) };
    parent.say(locked);
    parent.hear();
}

/// Starts `play_other_user` and waits until it waits; `None` where that takes rights that this process has not.
fn other_user(object: &str) -> Option<Child> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: another user can be had by root only");
        return None;
    }
    let mut child = Child::spawn("other-user", &[object]);
    let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
    wait_until(|| thread.sleeps_in(libc::SYS_fcntl));
    Some(child)
}

/// Unsound: a lossless reader whose control segment was lost goes on with its old entry when it cannot get a
/// new one (`reading::Inner::register_again`), and leases through it messages of a segment whose writer looks
/// at another control segment. What a `&[u8]` of safe code refers to is then overwritten.
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
    // To be refused a lease is all right.
    if let Ok(Some(lease)) = reader.lease(1_000) {
        assert_eq!(number(&lease), 1);
        publish(&second, 2..6);
        assert_eq!(number(&lease), 1, "overwritten under its lease");
    }
}

/// A user who may only read a ring can keep it from being taken over or removed, for ever: the lock that says
/// whether a writer lives conflicts with shared locks, for which a read-only descriptor is enough.
#[test]
fn another_user_who_may_only_read_does_not_keep_a_ring_from_being_taken_over() {
    let ring = RingName::new("read-lock");
    let mut writer = Child::spawn("writer", &[ring.name()]);
    assert_eq!(writer.hear(), "ready");
    let Some(mut other) = other_user(&ring.data_path()) else { return };
    writer.kill();
    assert_eq!(other.hear(), "0");
    let taken_over = WriterOptions::new(2).create(ring.name());
    assert!(taken_over.is_ok(), "{}", taken_over.unwrap_err());
}

/// The same with the control segment, which has the mode of the data segment by default: dead readers look
/// alive, so that a writer waits for one at every write, and nobody can register.
#[test]
fn another_user_who_may_only_read_does_not_make_dead_readers_look_alive() {
    let ring = RingName::new("read-lock");
    let writer = writer(&ring, 2, REFUSE);
    let mut dead = Child::spawn("lossless", &[ring.name()]);
    assert_eq!(dead.hear(), "ready");
    let Some(mut other) = other_user(&ring.control_path()) else { return };
    dead.kill();
    assert_eq!(other.hear(), "0");
    publish(&writer, 0..2);
    let written = writer.write(b"one more");
    assert!(written.is_ok(), "{}", written.unwrap_err());
}

/// A reader that has leased once and is killed while it sleeps and leases nothing is never met by the writer,
/// so that its bit stays: every publish has one more fence and looks at its entry, until somebody happens to
/// take the same entry. (16 of them: 62 ns instead of 11 for a message of 40 bytes.)
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

/// A reader that was evicted and then killed is not in the way any more, and so is never found dead: every
/// publish looks at all gates, until somebody happens to take the same entry.
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

/// `count_evicted` goes to half a ring behind the writer, as a lossy reader does that would be lapped again at
/// once. A reader that rejoins has a gate, and could have everything that is still there, as `rejoin` says.
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

/// The grace period is one per write, whoever is in the way: a reader that gets there only when it is over (the
/// slot before was leased and passed over) is evicted at once.
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
}

/// A write that gave a reader up and was then refused for want of a slot has evicted nobody, but counts it;
/// and the next write does not ask the gate any more (`Gates::look` remembers that the position is allowed).
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

/// While the writer has just asked whether it may have the slot, and will hear that it may not, the first lease
/// of the lossless reader that it has to wait for finds nothing: `Ok(None)`, though there is a message. A writer
/// that is stopped there (3 of 7,000 tries on a busy machine) makes that last as long as it is.
#[test]
fn a_lossless_reader_can_lease_while_the_writer_is_stopped_on_its_way_to_be_refused() {
    let ring = RingName::new("first-lease");
    let writer = writer(&ring, 2, REFUSE);
    let reader = lossless(&ring);
    publish(&writer, 0..2);
    // As a writer leaves it that is stopped in `Publisher::pass_gates`.
    Raw::data(&ring).set_u64(raw::CLAIMED, 3);
    let lease = reader.lease(0).unwrap();
    assert_eq!(lease.as_deref().map(number), Some(0));
}
