//! Anything at all in the control segment of a running ring: the writer skips slots, waits for as long as its
//! options allow, or refuses the write, and that is all. What it publishes is right, and what lossy readers
//! count is exact. Each message begins with the number of those before it.
//!
//! Long because every word of the segment, forged, is a case of its own, and all share the same noise and checks.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use qadataswap::{
    OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Start, Writer, WriterOptions,
};
use support::raw::{self, Random, Raw, entry};
use support::threads::must_return;
use support::{Child, Parent, RingName, damage, numbered};

const FOR_EVER: OnSlowReader = OnSlowReader::Wait { limit_ms: u64::MAX };
const REFUSE: OnSlowReader = OnSlowReader::Refuse;
const EVICT: OnSlowReader = OnSlowReader::Evict { grace_ms: 0 };
/// Those that bound what a write can be made to wait by a reader that lives.
const BOUNDED: [OnSlowReader; 5] = [
    OnSlowReader::Wait { limit_ms: 2 },
    OnSlowReader::Wait { limit_ms: 0 },
    REFUSE,
    OnSlowReader::Evict { grace_ms: 1 },
    EVICT,
];
const JOINING: u64 = 1 << 63;
const ENTRY_COUNT: u64 = 64;

#[test]
fn child_process() {
    support::play(&[("noise", make_noise), ("idle", idle)]);
}

fn writer(ring: &RingName, slots: usize, on_slow_reader: OnSlowReader) -> Writer {
    let options = WriterOptions::new(slots).slot_capacity(200).on_slow_reader(on_slow_reader);
    options.create(ring.name()).unwrap()
}

fn lossless() -> ReaderOptions {
    ReaderOptions::new().lossless(true)
}

/// Publishes the next number; what holds may make of that is returned.
fn publish(writer: &Writer) -> Result<()> {
    let number = writer.stats().message_count;
    writer.write(&numbered::message(number, 8 + (number * 37 % 190) as usize))
}

#[track_caller]
fn publish_many(writer: &Writer, count: u64) {
    (0..count).for_each(|_| publish(writer).unwrap());
}

/// Writes so many times, each of which must return; how often it was refused.
#[track_caller]
fn try_publishing(what: &str, writer: Writer, times: u64) -> (Writer, u64) {
    must_return(what, move || {
        let refused = (0..times).filter(|_| !try_once(&writer)).count() as u64;
        (writer, refused)
    })
}

/// Whether the message was published; all that holds may do is to prevent that.
fn try_once(writer: &Writer) -> bool {
    let before = writer.stats().message_count;
    let published = match publish(writer) {
        Ok(()) => true,
        Err(QADataSwapError::WouldBlock { .. } | QADataSwapError::AllSlotsLeased { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(writer.stats().message_count, before + u64::from(published));
    published
}

/// Writes while another process disturbs the ring, and some more; how often it was refused.
#[track_caller]
fn publish_under_noise(what: &str, ring: &RingName, writer: Writer, seed: u64) -> (Writer, u64) {
    let mut noise = Child::spawn("noise", &[ring.name(), &seed.to_string()]);
    assert_eq!(noise.hear(), "ready");
    let done = Arc::new(AtomicBool::new(false));
    let noise_is_over = done.clone();
    noise.say("go");
    let listening = std::thread::spawn(move || {
        assert_eq!(noise.hear(), "done");
        done.store(true, Ordering::Release);
        noise.kill();
    });
    let (writer, refused) = must_return(what, move || {
        let mut refused = 0;
        while !noise_is_over.load(Ordering::Acquire) {
            refused += u64::from(!try_once(&writer));
        }
        (writer, refused)
    });
    listening.join().unwrap();
    let (writer, after) = try_publishing(what, writer, 100);
    (writer, refused + after)
}

/// A reader whose entry others may make use of. Argument: ring, "lossless" or "lossy".
fn idle(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().lossless(arguments[1] == "lossless");
    let _reader = options.attach(&arguments[0]).unwrap();
    parent.say("ready");
    parent.hear();
}

/// The reader's process, stopped as a debugger would.
fn stopped(ring: &RingName, kind: &str) -> Child {
    let mut child = Child::spawn("idle", &[ring.name(), kind]);
    assert_eq!(child.hear(), "ready");
    child.stop();
    child
}

/// Every word that readers store to.
fn words() -> Vec<(u64, u32)> {
    let mut words = vec![(raw::WAITERS, 32), (raw::BLOCKED, 32)];
    words.extend([raw::JOINS, raw::GATING, raw::LEASING].map(|at| (at, 64)));
    words.extend((0..ENTRY_COUNT).flat_map(entry_words));
    words
}

fn entry_words(index: u64) -> impl Iterator<Item = (u64, u32)> {
    let of_32_bits = [raw::ENTRY_KIND, raw::ENTRY_PID].into_iter();
    let leases = (0..8).map(|number| raw::ENTRY_LEASES + 4 * number);
    // All of 64 bits: start and segment_number, then the gate and the counters.
    let of_64_bits = [8, raw::ENTRY_SEGMENT_NUMBER].into_iter().chain((128..176).step_by(8));
    let words = of_32_bits.chain(leases).map(|word| (word, 32));
    words
        .chain(of_64_bits.map(|word| (word, 64)))
        .map(move |(word, bits)| (entry(index, word), bits))
}

/// Stores what could mean something, at random, into random words.
fn disturb(control: &Raw, random: &mut Random, words: &[(u64, u32)], position: u64) {
    let (at, bits) = words[random.below(words.len() as u64) as usize];
    let value = match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next(),
        3 => JOINING | random.below(1 << 20),
        4 => random.below(20),
        // A gate near the writer.
        5 | 6 => (position + 2).saturating_sub(random.below(20)),
        _ => 1 << random.below(64),
    };
    if bits == 32 { control.set_u32(at, value as u32) } else { control.set_u64(at, value) }
}

/// Disturbs the ring for a while. Arguments: ring, seed.
fn make_noise(parent: Parent, arguments: &[String]) {
    let name = &arguments[0];
    let control = Raw::open(&format!("/dev/shm/qads_{name}.ctl"));
    let data = Raw::open(&format!("/dev/shm/qads_{name}"));
    let (words, mut random) = (words(), Random(arguments[1].parse().unwrap()));
    parent.say("ready");
    parent.hear();
    for round in 1..=1_500 {
        let position = data.u64(raw::PUBLISHED);
        if round % 500 == 0 {
            // Everything at once.
            control.set_bytes(128, &random.bytes(1024));
            control.set_bytes(raw::ENTRIES, &random.bytes(64 * 256));
        }
        for index in (0..ENTRY_COUNT).filter(|_| round % 10 == 0) {
            // Leases of slots that there may be.
            control.set_u32(entry(index, raw::ENTRY_LEASES), random.below(18) as u32);
            control.set_u64(entry(index, raw::ENTRY_SEGMENT_NUMBER), 0);
        }
        (0..20).for_each(|_| disturb(&control, &mut random, &words, position));
        control.set_u64(raw::JOINS, random.next());
    }
    parent.say("done");
    parent.hear();
}

/// Reads to the end of the ring by `read`, which says which message it got. What is counted must be exact.
fn follow(reader: Reader, read: fn(&Reader) -> Result<Option<u64>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            match read(&reader) {
                Ok(number) => {
                    let stats = reader.stats();
                    if let Some(number) = number {
                        assert_eq!(stats.consumed + stats.lost, number + 1);
                    }
                }
                // A hostile process can take its gate away; it can join again, though not while it is
                // taken away at once again.
                Err(QADataSwapError::Evicted { .. }) => match reader.rejoin() {
                    Ok(_) | Err(QADataSwapError::Evicted { .. }) => {}
                    Err(error) => panic!("{error}"),
                },
                Err(QADataSwapError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

fn copy(reader: &Reader) -> Result<Option<u64>> {
    Ok(reader.read(u64::MAX)?.map(|message| numbered::number_of(&message)))
}

/// Leases, which a hostile process can take away: so the message is not looked at.
fn lease(reader: &Reader) -> Result<Option<u64>> {
    reader.lease(u64::MAX)?.map_or(Ok(None), |lease| {
        drop(lease);
        let stats = reader.stats();
        Ok(Some(stats.consumed + stats.lost - 1))
    })
}

#[test]
fn noise_in_every_word_costs_a_running_ring_no_wrong_message_and_no_hang() {
    for (seed, on_slow_reader) in BOUNDED.into_iter().enumerate() {
        for slots in [1, 4, 16] {
            let ring = RingName::new("noise");
            let writer = writer(&ring, slots, on_slow_reader);
            let attach = |options: ReaderOptions| options.attach(ring.name()).unwrap();
            let following = [
                follow(attach(ReaderOptions::new()), copy),
                follow(attach(ReaderOptions::new().register(false)), copy),
                follow(attach(ReaderOptions::new()), lease),
                follow(attach(lossless()), copy),
            ];
            let what = format!("{slots} slots, {on_slow_reader:?}");
            let (writer, refused) = publish_under_noise(&what, &ring, writer, seed as u64);
            let published = writer.stats();
            assert_eq!(published.published, published.message_count);
            // It did make a difference.
            let met = refused + published.lease_skips + published.evictions;
            assert!(met > 0 && published.reclaimed > 0, "{what}: {refused} {published:?}");
            writer.close().unwrap();
            following.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}

#[test]
fn what_noise_has_left_behind_costs_nothing_lasting() {
    for (seed, slots) in [1, 4, 16].into_iter().enumerate() {
        let ring = RingName::new("noise-left");
        let writer = writer(&ring, slots, FOR_EVER);
        // Nobody alive owns an entry, so that nobody is waited for.
        let (writer, _) = publish_under_noise("noise", &ring, writer, seed as u64);
        assert_eq!(writer.stats().stalls, 0);
        assert!(writer.stats().reclaimed > 0);
        // Now and then the kernel is asked about an entry; all are gone soon.
        publish_many(&writer, 64 * 1_024 + 1_000);
        let before = writer.stats();
        publish_many(&writer, 10_000);
        let after = writer.stats();
        assert_eq!((after.stalls, after.evictions), (0, 0));
        assert_eq!(after.reclaimed, before.reclaimed);
        assert_eq!(after.lease_skips, before.lease_skips);
        // And the ring serves readers that hold messages.
        let reader = lossless().attach(ring.name()).unwrap();
        assert_eq!(reader.stats().lag, slots as u64);
        assert!(reader.skip().unwrap());
        publish(&writer).unwrap();
    }
}

#[test]
fn holds_forged_for_entries_of_nobody_are_taken_away_at_once() {
    const SLOTS: u64 = 4;
    for on_slow_reader in BOUNDED.into_iter().chain([FOR_EVER]) {
        let ring = RingName::new("nobody");
        let mut writer = writer(&ring, SLOTS as usize, on_slow_reader);
        let reader = ReaderOptions::new().attach(ring.name()).unwrap();
        let control = Raw::control(&ring);
        for round in 0..100 {
            let position = writer.stats().position;
            let gates =
                [JOINING | round, position.saturating_sub(SLOTS) + 1, JOINING, position + 1, 1];
            for index in 1..ENTRY_COUNT {
                let gate = gates[(round + index) as usize % gates.len()];
                control.set_u64(entry(index, raw::ENTRY_GATE), gate);
                let lease = 1 + (round + index) % SLOTS;
                control.set_u32(entry(index, raw::ENTRY_LEASES + 4 * (round % 8)), lease as u32);
                control.set_u32(entry(index, raw::ENTRY_PID), std::process::id());
                control.set_u32(entry(index, raw::ENTRY_KIND), 2);
            }
            control.set_u64(raw::GATING, u64::MAX - 1);
            control.set_u64(raw::LEASING, u64::MAX - 1);
            control.set_u64(raw::JOINS, round + 1);
            let refused;
            (writer, refused) = try_publishing("forged holds", writer, 2);
            assert_eq!(refused, 0, "{on_slow_reader:?}");
            for number in 2 * round..2 * round + 2 {
                assert_eq!(copy(&reader).unwrap(), Some(number));
            }
        }
        let stats = writer.stats();
        assert_eq!((stats.stalls, stats.evictions, reader.stats().lost), (0, 0, 0));
        assert!(stats.reclaimed >= 63, "{}", stats.reclaimed);
    }
}

#[test]
fn each_word_at_each_value_leaves_a_ring_that_works() {
    for on_slow_reader in [REFUSE, EVICT] {
        let ring = RingName::new("word");
        let mut writer = writer(&ring, 4, on_slow_reader);
        // Entry 0 has an owner that lives; the others have none.
        let reader = ReaderOptions::new().attach(ring.name()).unwrap();
        let control = Raw::control(&ring);
        let fixed = [(raw::WAITERS, 32), (raw::BLOCKED, 32)].into_iter();
        let masks = [raw::JOINS, raw::GATING, raw::LEASING].map(|at| (at, 64));
        let entries = [0, 1, 63].into_iter().flat_map(entry_words);
        for (at, bits) in fixed.chain(masks).chain(entries) {
            let was = if bits == 32 { control.u32(at).into() } else { control.u64(at) };
            for value in damage::bad_values(was, bits) {
                // So that holds are looked at, and leases are of this segment.
                control.set_u64(raw::GATING, u64::MAX);
                control.set_u64(raw::LEASING, u64::MAX);
                control.set_u64(raw::JOINS, control.u64(raw::JOINS).wrapping_add(1));
                if bits == 32 {
                    control.set_u32(at, value as u32)
                } else {
                    control.set_u64(at, value)
                }
                let refused;
                (writer, refused) = try_publishing("a bad word", writer, 3);
                let blocks = on_slow_reader == REFUSE && at == entry(0, raw::ENTRY_GATE);
                assert!(refused == 0 || blocks, "{value:#x} at {at}");
                while let Some(message) = reader.read(0).unwrap() {
                    let stats = reader.stats();
                    assert_eq!(numbered::number_of(&message), stats.consumed + stats.lost - 1);
                }
            }
            control.set_u64(entry(0, raw::ENTRY_GATE), 0);
        }
        assert_eq!(reader.stats().lost, 0);
    }
}

#[test]
fn a_gate_that_never_stands_still_bounds_a_write_by_the_option() {
    for kind in ["lossless", "lossy"] {
        for on_slow_reader in BOUNDED {
            let ring = RingName::new("restless");
            let mut writer = writer(&ring, 4, on_slow_reader);
            let child = stopped(&ring, kind);
            let control = Raw::control(&ring);
            control.set_u64(raw::GATING, 1);
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let forging = std::thread::spawn(move || {
                for round in 1u64.. {
                    if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                        break;
                    }
                    control.set_u64(entry(0, raw::ENTRY_GATE), JOINING | round);
                    control.set_u64(raw::JOINS, round);
                }
            });
            let refused;
            (writer, refused) = try_publishing("a restless gate", writer, 100);
            let evicts = matches!(on_slow_reader, OnSlowReader::Evict { .. });
            assert!(!evicts || refused == 0, "{on_slow_reader:?}");
            let stats = writer.stats();
            assert_eq!((stats.published + refused, stats.reclaimed), (100, 0));
            assert!(stats.stalls <= 100 && (evicts || stats.evictions == 0), "{stats:?}");
            // One entry cannot be evicted more than once in a write.
            assert!(stats.evictions <= 100, "{stats:?}");
            drop(stop);
            forging.join().unwrap();
            child.kill();
            let before = writer.stats();
            publish_many(&writer, 100);
            assert_eq!(
                (writer.stats().stalls, writer.stats().evictions),
                (before.stalls, before.evictions)
            );
        }
    }
}

#[test]
fn forged_gates_of_a_stopped_reader_are_refused_evicted_or_waited_for_once_a_write() {
    for on_slow_reader in BOUNDED {
        let ring = RingName::new("forged-gate");
        let mut writer = writer(&ring, 4, on_slow_reader);
        publish_many(&writer, 10);
        let child = stopped(&ring, "lossy");
        let control = Raw::control(&ring);
        control.set_u64(raw::GATING, 1);
        let evicts = matches!(on_slow_reader, OnSlowReader::Evict { .. });
        for round in 1..=30 {
            let position = writer.stats().position;
            let covering = position - 4;
            let gate = if round % 2 == 0 { JOINING | round } else { covering + 1 };
            control.set_u64(entry(0, raw::ENTRY_GATE), gate);
            control.set_u64(raw::JOINS, round);
            let refused;
            (writer, refused) = try_publishing("a forged gate", writer, 1);
            assert_eq!(refused == 0, evicts, "{on_slow_reader:?}");
        }
        let stats = writer.stats();
        assert_eq!((stats.evictions, stats.reclaimed), (if evicts { 30 } else { 0 }, 0));
        child.kill();
        publish_many(&writer, 10);
        assert_eq!(writer.stats().stalls, stats.stalls);
    }
}

#[test]
fn forged_leases_of_a_stopped_reader_cost_a_refusal_that_names_it_and_end_with_it() {
    for slots in [1, 4, 8] {
        let ring = RingName::new("forged-lease");
        let writer = writer(&ring, slots, FOR_EVER);
        // A slot that was never written cannot be leased.
        publish_many(&writer, slots as u64);
        let lossy = ReaderOptions::new().start(Start::Next).attach(ring.name()).unwrap();
        let child = stopped(&ring, "lossy");
        let control = Raw::control(&ring);
        for number in 0..slots as u64 {
            let at = entry(1, raw::ENTRY_LEASES + 4 * number);
            control.set_u32(at, number as u32 + 1);
        }
        control.set_u64(entry(1, raw::ENTRY_SEGMENT_NUMBER), 0);
        control.set_u64(raw::LEASING, 2);
        control.set_u64(raw::JOINS, 1);
        let (position, writer) = must_return("all slots leased", move || {
            for _ in 0..100 {
                let error = publish(&writer).unwrap_err();
                let QADataSwapError::AllSlotsLeased { pids, .. } = error else { panic!("{error}") };
                assert_eq!(pids.len(), 1);
            }
            (writer.stats().position, writer)
        });
        assert_eq!((position, lossy.read(0).unwrap()), (slots as u64, None));
        // One slot less is leased: that one is used.
        control.set_u32(entry(1, raw::ENTRY_LEASES), 0);
        publish_many(&writer, 20);
        assert_eq!(writer.stats().lease_skips > 0, slots > 1);
        child.kill();
        publish_many(&writer, 64 * slots as u64);
        let before = writer.stats();
        publish_many(&writer, 100);
        assert_eq!(writer.stats().lease_skips, before.lease_skips);
    }
}

#[test]
fn a_write_that_leases_of_the_living_refused_goes_through_as_soon_as_they_are_dead() {
    for slots in [1, 4, 8] {
        let ring = RingName::new("leased-dead");
        let writer = writer(&ring, slots, REFUSE);
        publish_many(&writer, slots as u64);
        let child = stopped(&ring, "lossy");
        let control = Raw::control(&ring);
        for number in 0..slots as u32 {
            control.set_u32(entry(0, raw::ENTRY_LEASES + 4 * u64::from(number)), number + 1);
        }
        control.set_u64(raw::LEASING, 1);
        control.set_u64(raw::JOINS, 1);
        // Now it knows that they live, and asks the kernel again only now and then.
        publish(&writer).unwrap_err();
        child.kill();
        publish(&writer).unwrap();
        assert_eq!((writer.stats().reclaimed, writer.stats().lease_skips), (1, 0));
    }
}

#[test]
fn who_an_entry_says_it_is_decides_nothing() {
    let ring = RingName::new("identity");
    let writer = writer(&ring, 2, REFUSE);
    let reader = lossless().attach(ring.name()).unwrap();
    publish_many(&writer, 2);
    let control = Raw::control(&ring);
    for pid in [0, 1, u32::MAX, i32::MAX as u32] {
        for kind in [0, 1, 77] {
            control.set_u32(entry(0, raw::ENTRY_PID), pid);
            control.set_u32(entry(0, raw::ENTRY_KIND), kind);
            control.set_u64(entry(0, 8), 0);
            // Still covered, for its owner lives; the message says what the entry says.
            let error = publish(&writer).unwrap_err();
            let QADataSwapError::WouldBlock { pid: named, .. } = error else { panic!("{error}") };
            assert_eq!(named, pid);
        }
    }
    assert_eq!((copy(&reader).unwrap(), writer.stats().reclaimed), (Some(0), 0));
    publish(&writer).unwrap();
}

#[test]
fn a_lossless_reader_whose_gate_is_taken_away_is_told_and_reads_nothing_wrong() {
    let takes: [fn(&Raw); 3] = [
        |control| control.set_u64(entry(0, raw::ENTRY_GATE), 0),
        |control| control.set_u64(entry(0, raw::ENTRY_GATE), u64::MAX >> 1),
        |control| control.set_bytes(raw::ENTRIES, &vec![0; 64 * 256]),
    ];
    for take in takes {
        let ring = RingName::new("taken-away");
        let writer = writer(&ring, 4, REFUSE);
        let reader = lossless().attach(ring.name()).unwrap();
        publish_many(&writer, 4);
        publish(&writer).unwrap_err();
        take(&Raw::control(&ring));
        publish_many(&writer, 20);
        let error = reader.read(0).unwrap_err();
        let QADataSwapError::Evicted { lost } = error else { panic!("{error}") };
        let besides = reader.rejoin().unwrap();
        for number in lost + besides..24 {
            assert_eq!(copy(&reader).unwrap(), Some(number));
        }
        assert_eq!(reader.stats().lost, lost + besides);
        publish_many(&writer, 4);
        publish(&writer).unwrap_err();
    }
}

/// A ring with messages, and a `claimed` word that cannot be.
fn with_damaged_claimed(mut then: impl FnMut(&RingName, &Writer)) {
    let ring = RingName::new("claimed");
    let writer = writer(&ring, 4, REFUSE);
    publish_many(&writer, 6);
    let data = Raw::data(&ring);
    for claimed in [6 + 4 + 2, 100, 1 << 62, u64::MAX >> 1, u64::MAX] {
        data.set_u64(raw::CLAIMED, claimed);
        then(&ring, &writer);
        assert_eq!(data.u64(raw::CLAIMED), claimed);
    }
}

#[track_caller]
fn damaged_claimed<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Err(QADataSwapError::Damaged { field: "claimed", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_claimed_word_is_reported_to_a_lossless_reader_and_nothing_to_a_lossy_one() {
    with_damaged_claimed(|ring, _| {
        let name = ring.name().to_owned();
        let attached = must_return("attach", move || {
            lossless().attach_timeout_ms(u64::MAX).attach(&name).map(|_| ())
        });
        damaged_claimed(attached);
        let lossy = ReaderOptions::new().attach(ring.name()).unwrap();
        (2..6).for_each(|number| assert_eq!(copy(&lossy).unwrap(), Some(number)));
    });
}

#[test]
fn a_damaged_claimed_word_is_reported_to_a_reader_that_leases() {
    with_damaged_claimed(|ring, _| {
        let lossy = ReaderOptions::new().attach(ring.name()).unwrap();
        let leased = must_return("lease", move || lossy.lease(10).map(|lease| lease.is_some()));
        damaged_claimed(leased);
    });
}

#[test]
fn a_damaged_claimed_word_is_reported_to_a_reader_that_rejoins_and_holds_nobody_up() {
    let ring = RingName::new("rejoins");
    let writer = writer(&ring, 4, EVICT);
    let reader = lossless().attach(ring.name()).unwrap();
    publish_many(&writer, 8);
    let Err(QADataSwapError::Evicted { lost }) = reader.read(0) else { panic!("was lapped") };
    let data = Raw::data(&ring);
    let claimed = data.u64(raw::CLAIMED);
    data.set_u64(raw::CLAIMED, u64::MAX);
    damaged_claimed(reader.rejoin());
    // Its half-made gate is gone: nothing is evicted, and nothing waited for.
    let before = writer.stats();
    publish_many(&writer, 8);
    let after = writer.stats();
    assert_eq!((after.evictions, after.stalls), (before.evictions, before.stalls));
    assert!(data.u64(raw::CLAIMED) > claimed, "mended");
    assert!(matches!(reader.read(0), Err(QADataSwapError::Evicted { lost: l }) if l == lost));
    let besides = reader.rejoin().unwrap();
    assert_eq!((reader.stats().lost, reader.stats().evictions), (lost + besides, 1));
    for number in lost + besides..16 {
        assert_eq!(copy(&reader).unwrap(), Some(number));
    }
}

#[test]
fn the_next_publish_mends_a_claimed_word() {
    let ring = RingName::new("mended");
    let writer = writer(&ring, 4, REFUSE);
    publish_many(&writer, 6);
    for claimed in [0, 1, 100, u64::MAX] {
        Raw::data(&ring).set_u64(raw::CLAIMED, claimed);
        publish(&writer).unwrap();
        let reader = lossless().attach(ring.name()).unwrap();
        assert_eq!(reader.stats().lag, 4);
        publish(&writer).unwrap_err();
        assert!(reader.lease(0).unwrap().is_some());
    }
}

#[test]
fn a_takeover_takes_back_what_the_dead_writer_had_claimed() {
    let ring = RingName::new("taken-back");
    let first = writer(&ring, 4, REFUSE);
    publish_many(&first, 6);
    drop(first);
    // As a writer leaves it that died while it asked the gates.
    Raw::data(&ring).set_u64(raw::CLAIMED, 7);
    let second = writer(&ring, 4, REFUSE);
    let reader = lossless().attach(ring.name()).unwrap();
    assert_eq!(copy(&reader).unwrap(), Some(2), "the oldest is there");
    publish(&second).unwrap();
    publish(&second).unwrap_err();
}

#[test]
fn a_writer_looks_at_gates_only_when_somebody_joined_or_the_limit_is_reached() {
    let ring = RingName::new("look");
    let writer = writer(&ring, 4, REFUSE);
    publish_many(&writer, 1);
    let control = Raw::control(&ring);
    let forge = |index| {
        control.set_u64(entry(index, raw::ENTRY_GATE), JOINING | 7);
        control.set_u64(raw::GATING, control.u64(raw::GATING) | 1 << index);
    };
    // A gate of nobody's is taken away as soon as it is seen.
    forge(5);
    publish_many(&writer, 1_000);
    assert_eq!(writer.stats().reclaimed, 0, "looked, and nobody had joined");
    let reader = lossless().attach(ring.name()).unwrap();
    publish(&writer).unwrap_err();
    assert_eq!(writer.stats().reclaimed, 1);
    while reader.skip().unwrap() {}
    publish(&writer).unwrap();
    forge(6);
    // The reader's gate as it stood at the last look allows three more.
    publish_many(&writer, 3);
    assert_eq!(writer.stats().reclaimed, 1, "looked before the limit");
    publish(&writer).unwrap_err();
    assert_eq!(writer.stats().reclaimed, 2);
}
