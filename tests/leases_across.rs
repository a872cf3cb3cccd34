//! Leases that outlive what they were made with: reader, writer, segment, ring; and rings that have none.

mod support;

use qadataswap::HoldsReason::{
    Disabled, NoControlSegment, NoFreeEntry, NoWriteAccess, NotRegistered, SystemCall,
};
use qadataswap::{
    HoldsReason, Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Start,
    Writer, WriterOptions, create_reader,
};
use support::numbered;
use support::raw::{self, Raw};
use support::{Child, Parent, RingName, inspect};

const NOBODY: u32 = 65534;
/// Bytes of a slot before a rollover.
const CAPACITY: usize = 64;

#[test]
fn child_process() {
    support::play(&[
        ("writer", write),
        ("nobody", read_as_nobody),
        ("few-files", read_with_few_files),
    ]);
}

fn writer(ring: &RingName, slots: usize) -> Writer {
    WriterOptions::new(slots).slot_capacity(CAPACITY).create(ring.name()).unwrap()
}

fn reader(ring: &RingName) -> Reader {
    create_reader(ring.name()).unwrap()
}

/// A reader that may have as many leases as there can be.
fn lessee(ring: &RingName) -> Reader {
    ReaderOptions::new().max_leases(8).attach(ring.name()).unwrap()
}

/// Publishes the message that tells how many there were before.
fn publish(writer: &Writer) -> Result<()> {
    writer.write(&numbered::message(writer.stats().message_count, CAPACITY))
}

#[track_caller]
fn publish_many(writer: &Writer, count: usize) {
    (0..count).for_each(|_| publish(writer).unwrap());
}

/// The next message, which is there.
#[track_caller]
fn lease(reader: &Reader) -> Lease {
    reader.lease(0).unwrap().expect("was published")
}

/// The numbers of the messages that are left.
fn drain(reader: &Reader) -> Vec<u64> {
    std::iter::from_fn(|| reader.read(0).unwrap()).map(|m| numbered::number_of(&m)).collect()
}

/// The pids that the refused write tells of.
#[track_caller]
fn all_leased<T: std::fmt::Debug>(ring: &RingName, result: Result<T>) -> Vec<u32> {
    match result {
        Err(QADataSwapError::AllSlotsLeased { name, pids }) => {
            assert_eq!(name, ring.name());
            pids
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn too_many<T: std::fmt::Debug>(result: Result<T>) -> usize {
    match result {
        Err(QADataSwapError::TooManyLeases { limit }) => limit,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unavailable<T: std::fmt::Debug>(ring: &str, result: Result<T>) -> HoldsReason {
    match result {
        Err(QADataSwapError::HoldsUnavailable { name, reason }) => {
            assert_eq!(name, ring);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_outlives_reader_writer_and_ring_and_the_entry_goes_with_the_last_one() {
    let ring = RingName::new("outlive");
    let writer = writer(&ring, 4);
    publish_many(&writer, 2);
    let leasing = reader(&ring);
    assert_eq!(entry(&ring, 0), (1, false));
    let (first, second) = (lease(&leasing), lease(&leasing));
    drop(leasing);
    assert_eq!(entry(&ring, 0), (1, true));
    publish_many(&writer, 100);
    assert_eq!(entry(&ring, 0), (1, true));
    // The table is full although its readers are fewer.
    let others: Vec<Reader> = (1..64).map(|_| reader(&ring)).collect();
    assert!(others.iter().all(|reader| reader.stats().registered));
    assert!(!reader(&ring).stats().registered);
    std::thread::spawn(|| drop(first)).join().unwrap();
    assert_eq!(entry(&ring, 0), (1, true));
    assert!(!reader(&ring).stats().registered);
    let skips = writer.stats().lease_skips;
    publish_many(&writer, 3);
    assert_eq!(writer.stats().lease_skips, skips + 1, "the slot of the second");
    std::thread::spawn(|| drop(second)).join().unwrap();
    assert_eq!(entry(&ring, 0), (0, false));
    assert!(reader(&ring).stats().registered);
    publish_many(&writer, 8);
    assert_eq!(writer.stats().lease_skips, skips + 1);

    drop(others);
    let leasing = reader(&ring);
    let last = lease(&leasing);
    let number = numbered::number_of(&last);
    writer.unlink().unwrap();
    assert_eq!(inspect::objects(ring.name()), [""; 0]);
    drop(leasing);
    assert_eq!(inspect::data_mappings(ring.name()).len(), 1);
    assert_eq!(numbered::number_of(&last), number);
    drop(last);
    assert_eq!(inspect::data_mappings(ring.name()), []);
}

/// The kind of the reader entry at `index`, and whether its bit says that it leases.
fn entry(ring: &RingName, index: u64) -> (u32, bool) {
    let control = Raw::control(ring);
    let leases = control.u64(raw::LEASING) >> index & 1 == 1;
    (control.u32(raw::entry(index, raw::ENTRY_KIND)), leases)
}

#[test]
fn a_lossless_reader_that_is_gone_keeps_what_it_leases_and_nothing_else() {
    let ring = RingName::new("gate-gone");
    let options = WriterOptions::new(4).slot_capacity(CAPACITY);
    let writer = options.on_slow_reader(OnSlowReader::Refuse).create(ring.name()).unwrap();
    let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    publish_many(&writer, 4);
    let lease = lease(&reader);
    drop(reader);
    publish_many(&writer, 100);
    assert_eq!(numbered::number_of(&lease), 0);
    assert_eq!(writer.stats().lease_skips, 34);
}

/// Publishes the next message, which moves the ring to larger slots.
fn grow(writer: &Writer) {
    let message = numbered::message(writer.stats().message_count, writer.slot_capacity() + 1);
    writer.write(&message).unwrap();
}

#[test]
fn leases_in_old_segments_stay_and_take_no_slot_of_the_new_one() {
    for backwards in [false, true] {
        let ring = RingName::new("rollover");
        let writer = writer(&ring, 2);
        let reader = lessee(&ring);
        let mut leases = vec![];
        for round in 0..7 {
            // At the second time each slot of the old segment is leased, and the write has its way.
            publish(&writer).unwrap();
            leases.push(lease(&reader));
            if round == 1 {
                publish(&writer).unwrap();
                leases.push(lease(&reader));
                assert_eq!(all_leased(&ring, publish(&writer)), [std::process::id()]);
            }
            grow(&writer);
            let skips = writer.stats().lease_skips;
            assert_eq!(writer.stats().rollovers, round + 1);
            publish_many(&writer, 5);
            assert_eq!(writer.stats().lease_skips, skips, "nothing is leased there");
            drain(&reader);
        }
        assert_eq!((leases.len(), reader.stats().leases), (8, 8));
        assert_eq!(too_many(reader.lease(0)), 8);
        assert_eq!(
            inspect::data_mappings(ring.name()).len(),
            7 + 2,
            "each lease's and the handles'"
        );
        // A lease here, beside those there: dropping others does not end it.
        drop(leases.remove(3));
        publish(&writer).unwrap();
        let here = lease(&reader);
        let numbers: Vec<u64> = leases.iter().map(|lease| numbered::number_of(lease)).collect();
        assert_eq!(numbers, [0, 7, 8, 22, 29, 36, 43]);
        if backwards {
            leases.reverse();
        }
        for lease in leases {
            let skips = writer.stats().lease_skips;
            drop(lease);
            publish_many(&writer, 3);
            assert!(writer.stats().lease_skips > skips, "still leased");
        }
        let (number, skips) = (numbered::number_of(&here), writer.stats().lease_skips);
        assert_eq!((here[0], number > 43), (number as u8, true));
        drop(here);
        publish_many(&writer, 4);
        assert_eq!(writer.stats().lease_skips, skips);
    }
}

/// Publishes, then dies in the middle of a message. Arguments: ring, slots, messages.
fn write(parent: Parent, arguments: &[String]) {
    let options = WriterOptions::new(arguments[1].parse().unwrap()).slot_capacity(CAPACITY);
    let mut writer = options.create(&arguments[0]).unwrap();
    publish_many(&writer, arguments[2].parse().unwrap());
    parent.say("published");
    parent.hear();
    let mut slot = writer.reserve(CAPACITY).unwrap();
    slot.write_at(0, &[0xdd; CAPACITY]).unwrap();
    parent.say("in the middle");
    parent.hear();
}

#[test]
fn a_writer_that_takes_over_goes_round_the_leases_of_living_readers() {
    for slots in [2, 3, 8] {
        let ring = RingName::new("takeover");
        let messages = (slots - 1).to_string();
        let mut child = Child::spawn("writer", &[ring.name(), &slots.to_string(), &messages]);
        assert_eq!(child.hear(), "published");
        let (leasing, copying) = (lessee(&ring), reader(&ring));
        let leases: Vec<Lease> = (1..slots).map(|_| lease(&leasing)).collect();
        child.say("go on");
        assert_eq!(child.hear(), "in the middle");
        child.kill();
        let mut writer = writer(&ring, slots);
        for round in 1..=50 {
            let mut slot = writer.reserve(CAPACITY).unwrap();
            slot.write_at(0, &[0xee; CAPACITY]).unwrap();
            // Given up, and again, properly.
            publish(&writer).unwrap();
            let stats = writer.stats();
            assert_eq!((stats.epoch, stats.reclaimed), (2, 0));
            assert_eq!(stats.lease_skips, (round - 1) * (slots as u64 - 1));
            let numbers = leases.iter().map(|lease| numbered::number_of(lease));
            assert!(numbers.eq(0..slots as u64 - 1));
        }
        let lost = leases.len() as u64 + 50 - 1;
        let got = drain(&copying);
        assert_eq!((got, copying.stats().lost), (vec![lost], lost));
    }
}

#[test]
fn a_reader_attaches_to_the_right_message_among_skipped_positions() {
    let ring = RingName::new("attach");
    let options = WriterOptions::new(4).slot_capacity(CAPACITY);
    let writer = options.on_slow_reader(OnSlowReader::Refuse).create(ring.name()).unwrap();
    let first = |start| {
        let reader = ReaderOptions::new().start(start).attach(ring.name()).unwrap();
        let numbers = drain(&reader);
        assert_eq!((reader.stats().lost, reader.stats().lag), (0, 0));
        (numbers, reader)
    };
    let leasing = reader(&ring);
    publish_many(&writer, 4);
    let _leases = [lease(&leasing), lease(&leasing)];
    publish_many(&writer, 3);
    // Positions 6 and 7 (of messages 4 and 5), 8 and 9 skipped, 10 (message 6).
    assert_eq!((writer.stats().position, writer.stats().lease_skips), (11, 4));
    assert_eq!(first(Start::Oldest).0, [5, 6]);
    assert_eq!(first(Start::Newest).0, [6]);
    let (none, next) = first(Start::Next);
    assert_eq!(none, []);
    publish_many(&writer, 2);
    assert_eq!(drain(&next), [7, 8]);
    assert_eq!((next.stats().consumed, next.stats().lost), (2, 0));
}

#[test]
fn a_reader_attaches_to_the_newest_message_also_before_positions_that_were_skipped_for_nothing() {
    let ring = RingName::new("newest");
    let options = WriterOptions::new(4).slot_capacity(CAPACITY);
    let writer = options.on_slow_reader(OnSlowReader::Refuse).create(ring.name()).unwrap();
    publish_many(&writer, 4);
    let _lease = lease(&reader(&ring));
    let gate = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    assert!(gate.skip().unwrap());
    // Position 4 is passed over for the lease, and then the gate keeps position 5.
    assert!(matches!(publish(&writer), Err(QADataSwapError::WouldBlock { .. })));
    assert_eq!((writer.stats().position, writer.stats().lease_skips), (5, 1));
    let first = |options: ReaderOptions| drain(&options.attach(ring.name()).unwrap());
    for start in [
        ReaderOptions::new(),
        ReaderOptions::new().register(false),
        ReaderOptions::new().lossless(true),
    ] {
        assert_eq!(first(start.clone().start(Start::Oldest)), [1, 2, 3]);
        assert_eq!(first(start.clone().start(Start::Newest)), [3]);
        assert_eq!(first(start.clone().start(Start::Next)), []);
    }
}

#[test]
fn a_reader_that_may_not_lease_is_told_why_at_once_and_goes_on_reading() {
    let ring = RingName::new("reasons");
    let options = WriterOptions::new(4).slot_capacity(CAPACITY).mode(0o644).control_mode(0o600);
    let writer = options.create(ring.name()).unwrap();
    publish(&writer).unwrap();
    let check = |reader: &Reader, reason| {
        for timeout_ms in [0, u64::MAX] {
            assert_eq!(unavailable(ring.name(), reader.lease(timeout_ms)), reason);
            let batch = reader.read_arrow_zero_copy(timeout_ms);
            assert_eq!(unavailable(ring.name(), batch), reason);
        }
        assert_eq!((reader.stats().registered, reader.stats().leases), (false, 0));
        assert_eq!(drain(reader), [0]);
        // Nor does it wait for a message first.
        assert_eq!(unavailable(ring.name(), reader.lease(u64::MAX)), reason);
    };
    check(&ReaderOptions::new().register(false).attach(ring.name()).unwrap(), NotRegistered);

    let others: Vec<Reader> = (0..64).map(|_| reader(&ring)).collect();
    let late = reader(&ring);
    check(&late, NoFreeEntry);
    drop(others);
    // It looks for an entry now and then when there is nothing to read.
    while !late.stats().registered {
        assert_eq!(late.read(100).unwrap(), None);
    }
    publish(&writer).unwrap();
    assert_eq!(numbered::number_of(&lease(&late)), 1);
    drop((late, writer));
    // Made anew, for one message again.
    qadataswap::unlink(ring.name()).unwrap();
    let writer = options.create(ring.name()).unwrap();
    publish(&writer).unwrap();

    let mut child = Child::spawn("few-files", &[ring.name()]);
    let expected = SystemCall { call: "open", errno: libc::EMFILE };
    assert_eq!(child.hear(), format!("{expected:?}"));
    child.finish();
    // SAFETY: a plain system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        let mut child = Child::spawn("nobody", &[ring.name()]);
        assert_eq!(child.hear(), format!("{NoWriteAccess:?}"));
        child.finish();
    } else {
        println!("in part skipped: only root can become another user");
    }

    // Not this ring's, then none.
    let control = Raw::control(&ring);
    let ring_id = control.u64(raw::CONTROL_RING_ID);
    control.set_u64(raw::CONTROL_RING_ID, ring_id ^ 1);
    check(&reader(&ring), NoControlSegment);
    std::fs::remove_file(ring.control_path()).unwrap();
    let reader = reader(&ring);
    check(&reader, NoControlSegment);

    // The next writer makes one, and the reader finds it.
    drop(writer);
    let writer = options.create(ring.name()).unwrap();
    publish(&writer).unwrap();
    assert_eq!(drain(&reader), [1]);
    publish(&writer).unwrap();
    let lease = lease(&reader);
    publish_many(&writer, 9);
    assert_eq!((numbered::number_of(&lease), writer.stats().lease_skips > 0), (2, true));
}

#[test]
fn a_ring_without_holds_has_no_leases_until_a_writer_comes_that_has() {
    let ring = RingName::new("disabled");
    let options = WriterOptions::new(2).slot_capacity(CAPACITY);
    let writer = options.clone().holds(false).create(ring.name()).unwrap();
    publish(&writer).unwrap();
    let reader = reader(&ring);
    let unregistered = ReaderOptions::new().register(false).attach(ring.name()).unwrap();
    for reader in [&reader, &unregistered] {
        assert_eq!(unavailable(ring.name(), reader.lease(u64::MAX)), Disabled);
        assert_eq!(unavailable(ring.name(), reader.read_arrow_zero_copy(u64::MAX)), Disabled);
        assert_eq!(drain(reader), [0]);
    }
    assert!(reader.stats().registered);
    drop(writer);
    let writer = options.create(ring.name()).unwrap();
    publish(&writer).unwrap();
    assert_eq!(drain(&reader), [1]);
    publish(&writer).unwrap();
    let lease = lease(&reader);
    publish_many(&writer, 9);
    assert_eq!((numbered::number_of(&lease), writer.stats().lease_skips > 0), (2, true));

    // And the other way about: the lease stays, and there is no other.
    drop(writer);
    let writer = options.clone().holds(false).create(ring.name()).unwrap();
    publish_many(&writer, 9);
    drain(&reader);
    assert_eq!(unavailable(ring.name(), reader.lease(0)), Disabled);
    assert_eq!(numbered::number_of(&lease), 2);
}

fn say_why_not(parent: &Parent, reader: &Reader, name: &str) {
    let reason = unavailable(name, reader.lease(u64::MAX));
    assert_eq!(drain(reader), [0]);
    parent.say(format!("{reason:?}"));
}

fn read_as_nobody(parent: Parent, arguments: &[String]) {
    // SAFETY: plain system call; the list is empty.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    say_why_not(&parent, &create_reader(&arguments[0]).unwrap(), &arguments[0]);
}

/// Attaches with as few descriptors as that takes, so that there is none for the control segment.
fn read_with_few_files(parent: Parent, arguments: &[String]) {
    let open = inspect::open_descriptors() as u64;
    let attach = |limit| {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: 1024 };
        // SAFETY: `limit` outlives the call, which changes nothing but a limit of this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        ReaderOptions::new().attach_timeout_ms(0).attach(&arguments[0])
    };
    let reader = (open - 1..open + 8).find_map(|limit| attach(limit).ok()).unwrap();
    say_why_not(&parent, &reader, &arguments[0]);
}
