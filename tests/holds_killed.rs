//! kill -9 of readers that hold messages, and of writers while messages are held, at random moments.
//!
//! Each test runs in a process of its own that has one thread and forks the others: that is quick enough for
//! a thousand of them. They share a [`killed::Board`] on which each says how far it has come.

mod killed;
mod support;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use killed::{Checked, Forked, Holding, POOL, Scene, Victim, be_killed, late_reader, open, until};
use qadataswap::{QADataSwapError, Reader, ReaderOptions, Start, WaitStrategy, WriterStats};
use support::raw::{self, Random, Raw};
use support::threads::Thread;
use support::{Child, Parent, RingName, inspect, numbered};

#[test]
fn child_process() {
    support::play(&[
        ("readers", kill_readers),
        ("joining", kill_joining_readers),
        ("asleep", kill_sleeping_readers),
        ("writers", kill_writers),
    ]);
}

/// Plays the role in a process of its own, with numbers that are the same for the same seed.
#[track_caller]
fn run(role: &str) {
    let ring = RingName::new(role);
    let seed = numbered::Random::new().below(1 << 32);
    Child::spawn(role, &[ring.name(), &seed.to_string()]).finish();
    assert!(inspect::objects(ring.name()).is_empty());
}

#[test]
fn a_thousand_readers_killed_with_leases_and_gates_hold_nobody_up_and_leave_nothing_behind() {
    run("readers");
}

#[test]
fn readers_killed_while_they_join_do_not_hold_the_writer_up() {
    run("joining");
}

#[test]
fn readers_killed_in_their_sleep_leave_neither_holds_nor_wake_ups_behind() {
    run("asleep");
}

#[test]
fn a_hundred_killed_writers_are_replaced_by_such_as_honour_what_readers_hold() {
    run("writers");
}

const JOINING: u64 = 1 << 63;

fn kill_readers(_: Parent, arguments: &[String]) {
    const SLOTS: u64 = 12;
    let mut scene = Scene::new(arguments, SLOTS as usize);
    let board = scene.board;
    let survivors = vec![scene.fork_survivor(true, 0, SLOTS), scene.fork_survivor(false, 0, SLOTS)];
    let writer = scene.fork_writer(SLOTS as usize, 200);
    let kinds = [Victim::Lossless, Victim::Lossless, Victim::Leasing, Victim::Attaching];
    let mut pool: Vec<_> =
        (0..POOL).map(|index| Some(scene.fork_victim(index, kinds[index]))).collect();
    let (mut with_leases, mut with_gate) = (0, 0);
    for _ in 0..1_000 {
        let index = scene.random.below(POOL as u64) as usize;
        // Some are killed as soon as they are there, some before.
        if scene.random.below(8) != 0 {
            let progress = &board.pool[index];
            let wanted = progress.messages.load(SeqCst) + scene.random.below(20);
            let holds = scene.random.below(4) != 0;
            until("a reader reads", || {
                progress.messages.load(SeqCst) >= wanted
                    && (!holds || progress.leases.load(SeqCst) > 0)
            });
        }
        scene.dawdle(2_000);
        let victim = pool[index].take().expect("there is one");
        if scene.random.below(4) == 0 {
            victim.stop();
            let Holding { leases, gate } = scene.holding(&victim);
            with_leases += u64::from(leases > 0);
            with_gate += u64::from(gate > 0);
            if gate & JOINING == 0 && gate > 0 {
                let limit = gate - 1 + SLOTS;
                until("the writer gets to the gate", || scene.position() == limit);
                scene.until_blocked();
                assert_eq!(scene.position(), limit);
            }
        }
        victim.kill();
        scene.assert_goes_on(SLOTS);
        let kind = kinds[scene.random.below(4) as usize];
        pool[index] = Some(scene.fork_victim(index, kind));
    }
    assert!(with_leases > 40 && with_gate > 40, "{with_leases} with leases, {with_gate} gates");
    pool.into_iter().flatten().for_each(Forked::kill);

    // The writer asks the kernel about a lease after so many looks at it, one a lap.
    let wanted = scene.position() + 70 * SLOTS;
    until("the writer goes round", || board.position.load(SeqCst) >= wanted);
    let lease_skips = board.lease_skips.load(SeqCst);
    until("the writer goes round", || board.position.load(SeqCst) >= wanted + 10 * SLOTS);
    assert_eq!(board.lease_skips.load(SeqCst), lease_skips, "leases of the dead are in the way");
    fill_the_table_and_die(&scene, SLOTS);
    writer.kill();
    lease_every_slot(&scene, SLOTS);
    scene.finish(SLOTS as usize, survivors);
}

/// A process with a gate in each of the entries that the two survivors leave, killed: a new reader gets an
/// entry at once, and the writer goes on.
fn fill_the_table_and_die(scene: &Scene, slots: u64) {
    let progress = &scene.board.pool[0].messages;
    progress.store(0, SeqCst);
    let crowd = Forked::start(|| {
        let options = ReaderOptions::new().lossless(true);
        let all: Vec<Reader> =
            (0..62).map(|_| options.attach(scene.ring.name()).unwrap()).collect();
        progress.store(1, SeqCst);
        loop {
            all.iter().for_each(|reader| drop(reader.read(0).unwrap()));
        }
    });
    until("the table is full", || progress.load(SeqCst) == 1);
    assert!(!late_reader(scene.ring.name()).stats().registered);
    crowd.kill();
    let reader = ReaderOptions::new().lossless(true).attach(scene.ring.name()).unwrap();
    drop(reader);
    scene.assert_goes_on(slots);
}

/// As many leases as there are slots can be had, and are in nobody's way once they have been returned.
fn lease_every_slot(scene: &Scene, slots: u64) {
    let writer = open(scene.ring.name(), slots as usize);
    let next = || writer.write(&numbered::message(writer.stats().message_count, 100));
    (0..slots).for_each(|_| next().unwrap());
    let mut held = Vec::new();
    for skipped in (0..slots).step_by(4) {
        let reader = late_reader(scene.ring.name());
        (0..skipped).for_each(|_| assert!(reader.skip().unwrap()));
        held.extend((0..4).map(|_| reader.lease(0).unwrap().expect("a message")));
    }
    match next() {
        Err(QADataSwapError::AllSlotsLeased { pids, .. }) => assert_eq!(pids, [std::process::id()]),
        other => panic!("{other:?}"),
    }
    held.clear();
    let before = writer.stats().lease_skips;
    (0..5 * slots).for_each(|_| next().unwrap());
    assert_eq!(writer.stats().lease_skips, before);
}

/// The control segment, for the signal handler.
static CONTROL: AtomicI32 = AtomicI32::new(-1);

/// Has this process, whose readers take the third entry, stop at some moment while one of them joins.
fn stop_while_joining(control: &File) {
    extern "C" fn stop_if_joining(_: libc::c_int) {
        let fd = CONTROL.load(SeqCst);
        let read = |word| {
            let (mut bytes, at) = ([0; 8], raw::entry(2, word) as libc::off_t);
            // SAFETY: async-signal-safe; the buffer has the length given.
            let read = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), 8, at) };
            if read == 8 { u64::from_le_bytes(bytes) } else { 0 }
        };
        // The gate may be what one that is dead has left. (`getpid` is async-signal-safe, too.)
        let own = read(raw::ENTRY_PID) as u32 == std::process::id();
        if own && read(raw::ENTRY_GATE) & JOINING != 0 {
            // SAFETY: async-signal-safe.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
    }
    CONTROL.store(control.as_raw_fd(), SeqCst);
    // SAFETY: all zeroes is a value of this plain C struct.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = stop_if_joining as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler makes async-signal-safe calls only.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) }, 0);
    // A number of microseconds that is in step with nothing.
    let often = libc::timeval { tv_sec: 0, tv_usec: 53 };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    let none = std::ptr::null_mut();
    // SAFETY: `timer` outlives the call.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, none) }, 0);
}

fn kill_joining_readers(_: Parent, arguments: &[String]) {
    const SLOTS: u64 = 32;
    let mut scene = Scene::new(arguments, SLOTS as usize);
    let survivors = vec![scene.fork_survivor(true, 0, SLOTS), scene.fork_survivor(false, 1, SLOTS)];
    let writer = scene.fork_writer(SLOTS as usize, 200);
    let control = File::open(scene.ring.control_path()).unwrap();
    let mut in_the_way = 0;
    for _ in 0..100 {
        let random = Random(scene.random.next());
        let victim = Forked::start(|| {
            stop_while_joining(&control);
            be_killed(&scene.board.pool[0], scene.ring.name(), Victim::Attaching, random);
        });
        assert!(libc::WIFSTOPPED(victim.wait(libc::WUNTRACED)));
        // But for those few that have not announced their gate yet.
        let joining = scene.holding(&victim).gate & JOINING != 0;
        in_the_way += u64::from(joining);
        if joining && scene.random.below(2) == 0 {
            // It may have been stopped just before it said that there is another gate to look at.
            scene.control.set_u64(raw::JOINS, scene.control.u64(raw::JOINS) + 1);
            // From here on no claim is under way that has not seen it.
            scene.until_blocked();
            // It does not wait for the survivor, whose gate is in the first entry.
            let gate = || scene.control.u64(raw::entry(0, raw::ENTRY_GATE));
            until("the survivor has consumed all", || gate() == scene.position() + 1);
            let position = scene.position();
            scene.until_blocked();
            assert_eq!(scene.position(), position);
        }
        victim.kill();
        scene.assert_goes_on(SLOTS);
    }
    assert!(in_the_way > 50, "{in_the_way} of 100 gates were announced");
    writer.kill();
    scene.finish(SLOTS as usize, survivors);
}

fn kill_sleeping_readers(_: Parent, arguments: &[String]) {
    const SLOTS: u64 = 16;
    const SLEEPERS: usize = 6;
    let mut scene = Scene::new(arguments, SLOTS as usize);
    let name = scene.ring.name().to_owned();
    let writer = open(&name, SLOTS as usize);
    let next = || writer.write(&numbered::message(writer.stats().message_count, 100)).unwrap();
    for _ in 0..25 {
        next();
        let sleep = |index: usize| {
            let options = ReaderOptions::new().wait(WaitStrategy::Sleep).start(Start::Newest);
            let mut own = Checked::attach(&name, options, index.is_multiple_of(2));
            while own.lease() {}
        };
        let sleepers: Vec<_> = (0..SLEEPERS).map(|index| Forked::start(|| sleep(index))).collect();
        for sleeper in &sleepers {
            let thread = Thread::new(sleeper.0 as u32, sleeper.0 as u32);
            until("a reader sleeps", || thread.sleeps_on_shared_futex());
        }
        for sleeper in sleepers {
            if scene.random.below(2) == 0 {
                sleeper.stop();
            }
            sleeper.kill();
        }
        let before = writer.stats();
        // Of the leases each costs some laps, then nothing (see `kill_readers`).
        (0..70 * SLOTS).for_each(|_| next());
        let after = writer.stats();
        assert_eq!(after.reclaimed, before.reclaimed + SLEEPERS as u64);
        assert!(after.wakes <= before.wakes + 1, "{before:?}, then {after:?}");
        assert_eq!(scene.control.u32(raw::WAITERS), 0);
        (0..4 * SLOTS).for_each(|_| next());
        let stats = writer.stats();
        let cost = |stats: &WriterStats| (stats.wakes, stats.lease_skips, stats.reclaimed);
        assert_eq!(cost(&stats), cost(&after));
    }
    drop(writer);
    scene.assert_nothing_left();
}

fn kill_writers(_: Parent, arguments: &[String]) {
    const SLOTS: [usize; 4] = [8, 8, 12, 6];
    let mut scene = Scene::new(arguments, SLOTS[0]);
    let board = scene.board;
    let mut survivors = vec![
        scene.fork_survivor(true, 0, 8),
        scene.fork_survivor(false, 0, 8),
        scene.fork_survivor(false, 3, 8),
    ];
    let holder = scene.fork_survivor(true, 2, 8);
    let (mut epoch, mut with_leases) = (1, 0);
    for round in 0..100 {
        // Now and then the messages outgrow the slots.
        let (slots, longest) = (SLOTS[round / 3 % 4], 200 << (round / 20));
        let writer = scene.fork_writer(slots, longest);
        epoch += 1;
        until("the ring is taken over", || board.epoch.load(SeqCst) == epoch);
        let wanted = board.published.load(SeqCst) + scene.random.below(60);
        until("the writer writes", || board.published.load(SeqCst) >= wanted);
        scene.dawdle(3_000);
        if round % 4 != 3 {
            writer.kill();
            continue;
        }
        // Killed while it waits for a reader, like the one after it, which takes the ring over and may want
        // other slots.
        holder.stop();
        let Holding { leases, gate } = scene.holding(&holder);
        assert!(gate > 0 && gate & JOINING == 0, "gate {gate:#x}");
        with_leases += u64::from(leases > 0);
        until("the writer gets to the gate", || scene.position() == gate - 1 + slots as u64);
        scene.until_blocked();
        writer.kill();
        let other = SLOTS[scene.random.below(4) as usize];
        let writer = scene.fork_writer(other, longest);
        epoch += 1;
        scene.until_blocked();
        let data = Raw::data(&scene.ring);
        assert!(data.u64(raw::PUBLISHED) <= gate - 1 + data.u64(raw::SLOT_COUNT));
        assert_eq!(scene.holding(&holder).gate, gate);
        writer.kill();
        holder.signal(libc::SIGCONT);
    }
    assert!(with_leases > 0, "none of the stopped held a lease");
    survivors.push(holder);
    scene.finish(8, survivors);
}
