//! Leases: a message read in place stays as it is while the writer goes round it, and costs nobody else
//! anything.

mod support;

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};

use qadataswap::arrow_array::{Int64Array, RecordBatch};
use qadataswap::{
    Lease, OnOverrun, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, WaitStrategy,
    Writer, WriterOptions, create_reader,
};
use support::numbered::{self, Random};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

/// Bytes of a slot before a rollover.
const CAPACITY: usize = 64;

#[test]
fn child_process() {
    support::play(&[("lessee", lease_some)]);
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

#[test]
fn a_lease_is_the_message_and_stays_so_while_the_writer_goes_round() {
    let full = [0xa5; 200];
    for length in [0, 1, 7, 8, 39, 40, 41, 63, 64, 199, 200] {
        let ring = RingName::new("exact");
        let writer = WriterOptions::new(3).slot_capacity(200).create(ring.name()).unwrap();
        let reader = reader(&ring);
        let message: Vec<u8> = (0..length).map(|at| at as u8 ^ 0x3c).collect();
        writer.write(&full).unwrap();
        writer.write(&message).unwrap();
        assert!(reader.skip().unwrap());
        let lease = lease(&reader);
        assert_eq!((&*lease, lease.position()), (&message[..], 1));
        for round in 1..=400 {
            writer.write(&full).unwrap();
            assert_eq!(lease.as_ref(), message, "{length} bytes, round {round}");
        }
        // Two of three slots are left: the first write had one, then each other one passes over the lease.
        let stats = writer.stats();
        assert_eq!((stats.lease_skips, stats.published, stats.position), (199, 402, 601));
    }
}

#[test]
fn a_leased_batch_is_the_stream_that_was_published() {
    let ring = RingName::new("stream");
    let writer = writer(&ring, 4);
    let (leasing, copying) = (reader(&ring), reader(&ring));
    let column = std::sync::Arc::new(Int64Array::from(vec![7, -1]));
    writer.write_arrow(&RecordBatch::try_from_iter([("n", column as _)]).unwrap()).unwrap();
    let stream = copying.read(0).unwrap().unwrap();
    writer.write_ipc_stream(&stream).unwrap();
    let leases = [lease(&leasing), lease(&leasing)];
    for _ in 0..100 {
        writer.write(&[0xff; 64]).unwrap();
        assert!(leases.iter().all(|lease| **lease == stream[..]));
    }
}

/// What a writer does that nobody gates, as far as it depends on leases.
struct Model {
    slots: u64,
    position: u64,
    skips: u64,
    published: u64,
}

impl Model {
    /// Whether a slot can be claimed; if so, it is at `position`.
    fn claim(&mut self, is_leased: impl Fn(u64) -> bool) -> bool {
        if (0..self.slots).all(&is_leased) {
            return false;
        }
        while is_leased(self.position % self.slots) {
            self.position += 1;
            self.skips += 1;
        }
        true
    }
}

/// Does to a ring whatever can be done with leases, in any order, and compares with what must come of it.
fn compare_with_the_model(slots: u64, random: &mut Random) {
    let ring = RingName::new("model");
    let mut writer = writer(&ring, slots as usize);
    let options = |leases| ReaderOptions::new().max_leases(leases);
    let readers = [
        options(random.below(9) as usize).attach(ring.name()).unwrap(),
        options(random.below(9) as usize).attach(ring.name()).unwrap(),
        options(0).on_overrun(OnOverrun::Error).attach(ring.name()).unwrap(),
    ];
    let mut told_lost = 0;
    // Which reader has it, and what it must be.
    let mut leases: Vec<(usize, Lease, Vec<u8>)> = vec![];
    let mut model = Model { slots, position: 0, skips: 0, published: 0 };
    for _ in 0..2_000 {
        let index = random.below(3) as usize;
        let reader = &readers[index];
        match random.below(10) {
            0..4 => {
                let len = numbered::SHORTEST + random.below(57) as usize;
                let message = numbered::message(model.published, len);
                let leased: Vec<u64> = leases.iter().map(|l| l.1.position() % slots).collect();
                let claimed = model.claim(|slot| leased.contains(&slot));
                let way = random.below(4);
                let result = if way < 2 {
                    writer.write(&message)
                } else {
                    writer.reserve(len).and_then(|mut slot| {
                        slot.write_at(0, &message[..len / 2])?;
                        // Or else dropped: the position is claimed again by the next write.
                        if way == 2 {
                            slot.write_at(0, &message).and(slot.publish())
                        } else {
                            Ok(())
                        }
                    })
                };
                if claimed {
                    result.unwrap();
                    model.position += u64::from(way < 3);
                    model.published += u64::from(way < 3);
                } else {
                    assert_eq!(all_leased(&ring, result), [std::process::id()]);
                }
                let stats = writer.stats();
                assert_eq!(stats.position, model.position);
                assert_eq!((stats.lease_skips, stats.published), (model.skips, model.published));
            }
            4 | 5 if !leases.is_empty() => {
                let (_, lease, message) =
                    leases.swap_remove(random.below(leases.len() as u64) as usize);
                assert_eq!(*lease, message);
            }
            6 | 7 => {
                let before = reader.stats();
                match reader.lease(0) {
                    Ok(Some(lease)) => {
                        let number = numbered::number_of(&lease);
                        let stats = reader.stats();
                        assert_eq!(stats.consumed + stats.lost, number + 1);
                        assert_eq!(stats.leases, before.leases + 1);
                        let message = lease.to_vec();
                        leases.push((index, lease, message));
                    }
                    Ok(None) => assert_eq!(reader.stats().leases, before.leases),
                    Err(QADataSwapError::TooManyLeases { limit: most }) => {
                        assert_eq!(before.leases, most as u64);
                        assert_eq!(reader.stats(), before);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            _ => match reader.read(0) {
                Ok(Some(message)) => {
                    let stats = reader.stats();
                    assert_eq!(stats.consumed + stats.lost, numbered::number_of(&message) + 1);
                }
                Ok(None) => {}
                Err(QADataSwapError::Overrun { lost }) => told_lost += lost,
                Err(error) => panic!("{error}"),
            },
        }
        for (index, reader) in readers.iter().enumerate() {
            let held = leases.iter().filter(|lease| lease.0 == index).count();
            assert_eq!(reader.stats().leases, held as u64);
        }
        assert!(leases.iter().all(|(_, lease, message)| **lease == message[..]));
    }
    drop(leases);
    writer.write(&numbered::message(model.published, CAPACITY)).unwrap();
    for reader in &readers {
        loop {
            match reader.read(0) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(QADataSwapError::Overrun { lost }) => told_lost += lost,
                Err(error) => panic!("{error}"),
            }
        }
        let stats = reader.stats();
        assert_eq!((stats.consumed + stats.lost, stats.lag), (model.published + 1, 0));
    }
    assert_eq!(readers[2].stats().lost, told_lost);
}

#[test]
fn skips_positions_counts_and_contents_are_what_they_must_be_in_any_order_of_events() {
    let mut random = Random::new();
    for slots in 1..=8 {
        for _ in 0..4 {
            compare_with_the_model(slots, &mut random);
        }
    }
}

#[test]
fn readers_that_keep_up_do_not_count_what_is_passed_over_as_lost() {
    let ring = RingName::new("keep-up");
    let writer = writer(&ring, 4);
    let (leasing, copying) = (reader(&ring), reader(&ring));
    publish_many(&writer, 3);
    let leases = [lease(&leasing), lease(&leasing)];
    assert_eq!(drain(&copying), [0, 1, 2]);
    for number in 3..1_000 {
        publish(&writer).unwrap();
        assert_eq!(drain(&copying), [number]);
    }
    let (stats, written) = (copying.stats(), writer.stats());
    assert_eq!((stats.consumed, stats.lost, stats.overruns, stats.lag), (1_000, 0, 0, 0));
    assert_eq!((written.position, stats.position), (1_000 + written.lease_skips, written.position));
    // Two of the four slots were passed over in each of 498 rounds.
    assert_eq!(written.lease_skips, 2 * 498);
    drop(leases);
    publish_many(&writer, 8);
    assert_eq!((writer.stats().lease_skips, copying.stats().lost), (2 * 498, 0));
}

#[test]
fn a_reader_has_as_many_leases_as_its_options_allow() {
    for limit in [0, 1, 4, 8] {
        let ring = RingName::new("limit");
        let writer = writer(&ring, 16);
        let options = ReaderOptions::new();
        let options = if limit == 4 { options } else { options.max_leases(limit) };
        let reader = options.attach(ring.name()).unwrap();
        publish_many(&writer, limit + 2);
        let mut leases: VecDeque<Lease> = (0..limit).map(|_| lease(&reader)).collect();
        assert_eq!(reader.stats().leases, limit as u64);
        for round in 0..20 {
            let before = reader.stats();
            assert_eq!(too_many(reader.lease(u64::MAX)), limit);
            assert_eq!(reader.stats(), before, "nothing was consumed");
            if limit > 0 {
                // Whichever is dropped, there is room for one, and for the same message.
                drop(if round % 2 == 0 { leases.pop_front() } else { leases.remove(limit / 2) });
                assert_eq!(reader.stats().leases, limit as u64 - 1);
                leases.push_back(lease(&reader));
                assert_eq!(numbered::number_of(&leases[limit - 1]), limit as u64 + round);
            }
            publish(&writer).unwrap();
        }
        // Also at once where there is no message.
        drain(&reader);
        assert_eq!(too_many(reader.lease(u64::MAX)), limit);
        assert_eq!(reader.stats().leases, limit as u64);
        drop(leases);
        assert_eq!(reader.stats().leases, 0);
    }
    for count in [9, 1 << 32, usize::MAX] {
        match ReaderOptions::new().max_leases(count).attach("any").unwrap_err() {
            QADataSwapError::InvalidOption { option, value, .. } => {
                assert_eq!((option, value), ("max_leases", count as u64));
            }
            error => panic!("{error:?}"),
        }
    }
}

/// Passes over messages, leases some, and drops those when it is told. Arguments: ring, how many of either.
fn lease_some(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    let count = |index: usize| arguments[index].parse().unwrap();
    (0..count(1)).for_each(|_: usize| assert!(reader.skip().unwrap()));
    let mut leases: Vec<Lease> = (0..count(2)).map(|_: usize| lease(&reader)).collect();
    parent.say("leased");
    loop {
        parent.hear();
        drop(leases.pop());
        parent.say(leases.len());
    }
}

#[test]
fn a_write_for_which_every_slot_is_leased_says_by_whom_and_changes_nothing() {
    let ring = RingName::new("all");
    let mut writer = writer(&ring, 6);
    publish_many(&writer, 8); // positions 2 to 7 are there
    let bystander = reader(&ring);
    let start = |skip, count| {
        let mut child = Child::spawn("lessee", &[ring.name(), skip, count]);
        assert_eq!(child.hear(), "leased");
        child
    };
    let mut children = [start("0", "3"), start("3", "1")];
    let own = [reader(&ring), reader(&ring)];
    assert!((0..4).all(|_| own[0].skip().unwrap() && own[1].skip().unwrap()));
    let leases = [lease(&own[0]), lease(&own[0])];
    let twice = lease(&own[1]); // what another reader leases too
    let mut pids = [children[0].pid(), children[1].pid(), std::process::id()];
    pids.sort();

    let before = (std::fs::read(ring.data_path()).unwrap(), writer.stats());
    for _ in 0..10 {
        assert_eq!(all_leased(&ring, publish(&writer)), pids);
        assert_eq!(all_leased(&ring, writer.reserve(8).map(|_| ())), pids);
        assert_eq!(all_leased(&ring, writer.write_ipc_stream(b"")), pids);
    }
    let text = publish(&writer).unwrap_err().to_string();
    assert!(pids.iter().all(|pid| text.contains(&pid.to_string())), "{text}");
    assert!((std::fs::read(ring.data_path()).unwrap(), writer.stats()) == before);
    assert_eq!(drain(&bystander), [2, 3, 4, 5, 6, 7]);

    // One that is given up is enough, and makes one slot: that of position 4.
    children[0].say("drop the last");
    assert_eq!(children[0].hear(), "2");
    publish_many(&writer, 5);
    assert_eq!((drain(&bystander), bystander.stats().lost), (vec![12], 4));
    drop(twice);
    drop(children);
    publish_many(&writer, 300);
    assert_eq!(writer.stats().reclaimed, 2);
    assert!(leases.iter().map(|lease| numbered::number_of(lease)).eq([6, 7]));
}

#[test]
fn in_a_ring_of_one_slot_a_lease_keeps_everybody_else_from_nothing_but_the_next_message() {
    let ring = RingName::new("one");
    let writer = writer(&ring, 1);
    let (leasing, copying) = (reader(&ring), reader(&ring));
    for number in 0..100 {
        publish(&writer).unwrap();
        let lease = lease(&leasing);
        assert_eq!(all_leased(&ring, publish(&writer)), [std::process::id()]);
        assert_eq!((numbered::number_of(&lease), drain(&copying)), (number, vec![number]));
    }
    let stats = writer.stats();
    assert_eq!((stats.published, stats.position, stats.lease_skips), (100, 100, 0));
    assert_eq!((copying.stats().lost, leasing.stats().lost), (0, 0));
}

#[test]
fn hundreds_of_threads_hand_leases_on_and_drop_them() {
    const THREADS: usize = 200;
    const LEASES: usize = 3_000;
    let ring = RingName::new("threads");
    let writer = writer(&ring, 16);
    let reader = lessee(&ring);
    let (stop, stopped) = channel::<()>();
    let writing = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            publish(&writer).unwrap(); // eight of the sixteen slots are never leased
        }
        writer
    });
    let threads: Vec<(Sender<(Lease, usize)>, _)> = (0..THREADS)
        .map(|_| channel::<(Lease, usize)>())
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(vec![], |mut later: Vec<(Sender<(Lease, usize)>, _)>, (sender, receiver)| {
            let next = later.last().map(|thread| thread.0.clone());
            let thread = std::thread::spawn(move || {
                for (lease, hops) in receiver {
                    numbered::number_of(&lease);
                    if let (Some(next), 1..) = (&next, hops) {
                        next.send((lease, hops - 1)).unwrap();
                    }
                }
            });
            later.push((sender, thread));
            later
        });
    let mut last = None;
    for index in 0..LEASES {
        let lease = loop {
            match reader.lease(u64::MAX) {
                Err(QADataSwapError::TooManyLeases { limit: 8 }) => std::thread::yield_now(),
                lease => break lease.unwrap().expect("waited for"),
            }
        };
        let (number, stats) = (numbered::number_of(&lease), reader.stats());
        assert!(last < Some(number), "{last:?}, then {number}");
        assert_eq!(stats.consumed + stats.lost, number + 1);
        last = Some(number);
        threads[index % THREADS].0.send((lease, index % 5)).unwrap();
    }
    // The last of the chain has no other sender; each that ends lets the next one end.
    let (senders, threads): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
    drop(senders);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(reader.stats().leases, 0);
    stop.send(()).unwrap();
    let writer = writing.join().unwrap();
    let skips = writer.stats().lease_skips;
    publish_many(&writer, 32);
    assert_eq!(writer.stats().lease_skips, skips);
}

#[test]
fn a_reader_that_waits_for_a_message_to_lease_is_woken() {
    for strategy in [WaitStrategy::Sleep, WaitStrategy::default()] {
        let ring = RingName::new("wait");
        let writer = writer(&ring, 4);
        let reader = ReaderOptions::new().wait(strategy).attach(ring.name()).unwrap();
        assert!(reader.lease(1).unwrap().is_none());
        assert_eq!((reader.stats().timeouts, reader.stats().leases), (1, 0));
        let (tell, hear) = channel();
        let waiting = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            let lease = lease_in_time(&reader);
            (numbered::number_of(&lease), reader.stats().leases)
        });
        let thread = hear.recv().unwrap();
        wait_until(|| waiting.is_finished() || thread.sleeps_on_shared_futex());
        publish(&writer).unwrap();
        assert_eq!(waiting.join().unwrap(), (0, 1));
        assert_eq!(writer.stats().wakes, 1);
    }
}

fn lease_in_time(reader: &Reader) -> Lease {
    reader.lease(u64::MAX).unwrap().expect("waited for")
}

#[test]
fn a_write_is_not_refused_while_there_is_a_slot_that_nobody_leases() {
    for slots in [2, 3] {
        let ring = RingName::new("moving");
        let options = WriterOptions::new(slots).slot_capacity(CAPACITY);
        let options = options.on_slow_reader(OnSlowReader::Wait { limit_ms: u64::MAX });
        let writer = options.create(ring.name()).unwrap();
        // Lossless, so that it is never far from the writer.
        let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
        let leasing = std::thread::spawn(move || {
            let mut held = VecDeque::new();
            loop {
                match reader.lease(u64::MAX) {
                    Ok(lease) => held.push_back(lease.expect("waited for")),
                    Err(QADataSwapError::Closed) => break reader.stats().consumed,
                    Err(error) => panic!("{error}"),
                }
                // All but one at a time.
                while held.len() > slots - 2 {
                    held.pop_front();
                }
            }
        });
        let refused = (0..4_000).find_map(|_| publish(&writer).err());
        let published = writer.stats().published;
        writer.close().unwrap();
        assert_eq!(leasing.join().unwrap(), published);
        assert!(refused.is_none(), "{slots} slots, after {published} messages: {refused:?}");
    }
}

#[test]
fn an_old_lease_holds_while_newer_ones_come_and_go() {
    let ring = RingName::new("old-lease");
    let (writer, reader) = (writer(&ring, 4), lessee(&ring));
    let publish = |n: u64| writer.write(&n.to_le_bytes()).unwrap();
    publish(0);
    let oldest = reader.lease(0).unwrap().expect("just published");
    for n in 1..50 {
        publish(n);
        let newer = reader.lease(0).unwrap().expect("just published");
        assert_eq!((&*newer, &*oldest), (&n.to_le_bytes()[..], &0u64.to_le_bytes()[..]));
        // Every third is held for a while, beside the oldest.
        if n % 3 == 0 {
            publish(1_000 + n);
            let newest = reader.lease(0).unwrap().expect("just published");
            drop(newer);
            assert_eq!(&*newest, &(1_000 + n).to_le_bytes()[..]);
        }
    }
    assert_eq!(&*oldest, &0u64.to_le_bytes()[..]);
    let skipped = writer.stats().lease_skips;
    assert!(skipped >= 12, "once a lap");
    drop(oldest);
    // The writer learns of that by the next lease, or by a look at the words.
    (0..20).for_each(publish);
    assert_eq!(writer.stats().lease_skips, skipped);
}
