//! Forked processes that write, read and hold messages of one ring until they are killed, and what they are
//! checked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use qadataswap::{
    Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions,
};

use crate::support::RingName;
use crate::support::inspect::ParentWatch;
use crate::support::numbered;
use crate::support::raw::{self, Random, Raw};

/// Readers at a time that may be killed at any time.
pub const POOL: usize = 3;

/// What the processes of a test tell each other.
#[derive(Default)]
pub struct Board {
    /// Messages that the writers know to be published, and the position after them.
    pub published: AtomicU64,
    pub position: AtomicU64,
    /// The writer's counters.
    pub epoch: AtomicU64,
    pub lease_skips: AtomicU64,
    /// Readers that have attached and are to see the end.
    pub attached: AtomicU64,
    pub pool: [Progress; POOL],
}

#[derive(Default)]
pub struct Progress {
    pub messages: AtomicU64,
    pub leases: AtomicU64,
}

impl Board {
    pub fn new() -> &'static Self {
        // SAFETY: asks for new memory, so that none is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: page-aligned, large enough, never unmapped; zeroes are a Board, and it holds atomics only.
        unsafe { &*start.cast::<Self>() }
    }
}

/// A forked process, killed when dropped.
pub struct Forked(pub libc::pid_t);

impl Forked {
    /// Runs `act` in a child, which ends badly if that panics.
    pub fn start(act: impl FnOnce()) -> Self {
        // SAFETY: this process has one thread, so that no lock is held in the child by another.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: a plain system call.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
                // SAFETY: ends the process without running anything of the harness's.
                unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
            }
            pid => {
                assert!(pid > 0, "fork failed");
                Self(pid)
            }
        }
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain system call; the child has not been waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }

    #[track_caller]
    pub fn wait(&self, options: libc::c_int) -> libc::c_int {
        let mut status = 0;
        // SAFETY: waits for a child of this process; `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, options) }, self.0);
        status
    }

    /// kill -9, and waits until the process is gone.
    #[track_caller]
    pub fn kill(self) {
        self.signal(libc::SIGKILL);
        let status = self.wait(0);
        assert!(libc::WIFSIGNALED(status), "ended before it was killed: {status:#x}");
        std::mem::forget(self);
    }

    /// Stops the process as a debugger would, and waits until it is stopped.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        assert!(libc::WIFSTOPPED(self.wait(libc::WUNTRACED)));
    }

    /// Waits for the process to end well.
    #[track_caller]
    pub fn finish(self) {
        let status = self.wait(0);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
        std::mem::forget(self);
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait(0);
    }
}

/// Waits for something to happen in the other processes, none of which may end meanwhile.
///
/// # Panics
/// After twenty seconds of *processor* time: it would never happen.
#[track_caller]
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let (watch, started) = (ParentWatch::new(), processor_time());
    for polls in 1u64.. {
        if happened() {
            return;
        }
        std::thread::yield_now();
        if polls.is_multiple_of(256) {
            watch.check();
            assert!(!any_child_ended(), "{what}: one of the others has ended");
            let used = processor_time() - started;
            assert!(used < Duration::from_secs(20), "{what}: does not happen");
        }
    }
}

pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn any_child_ended() -> bool {
    // SAFETY: all zeroes is a value of this plain C struct.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `found` outlives the call.
    assert_eq!(unsafe { libc::waitid(libc::P_ALL, 0, &mut found, options) }, 0);
    // SAFETY: filled in by waitid, or zero as before.
    unsafe { found.si_pid() != 0 }
}

/// A writer that gives no lossless reader up, however long that takes: nothing but reclaiming frees it from
/// a dead one.
pub fn open(name: &str, slots: usize) -> Writer {
    let wait = OnSlowReader::Wait { limit_ms: u64::MAX };
    WriterOptions::new(slots).slot_capacity(256).on_slow_reader(wait).create(name).unwrap()
}

/// Goes on with the ring until killed, with messages of up to `longest` bytes.
pub fn publish(board: &Board, name: &str, slots: usize, longest: u64) {
    let mut writer = open(name, slots);
    let stats = writer.stats();
    let known = board.published.load(SeqCst);
    // The last writer may have been killed between its last publish and its word of it.
    assert!((known..=known + 1).contains(&stats.message_count), "{known}, then {stats:?}");
    assert!(stats.position >= board.position.load(SeqCst), "{stats:?}");
    board.epoch.store(stats.epoch, SeqCst);
    let mut message = Vec::new();
    loop {
        let stats = writer.stats();
        let number = stats.message_count;
        board.position.store(stats.position, SeqCst);
        board.lease_skips.store(stats.lease_skips, SeqCst);
        board.published.store(number, SeqCst);
        let len = 8 + number * 37 % (longest - 7);
        numbered::fill(&mut message, number, len as usize);
        let written = if number.is_multiple_of(3) {
            writer.reserve(message.len()).and_then(|mut slot| {
                let (start, end) = message.split_at(message.len() / 2);
                slot.write_at(0, start)?;
                slot.write_at(start.len(), end)?;
                slot.publish()
            })
        } else {
            writer.write(&message)
        };
        match written {
            // For a moment; the write can be tried again.
            Err(QADataSwapError::AllSlotsLeased { .. }) => std::thread::yield_now(),
            result => result.unwrap(),
        }
    }
}

/// A reader that checks what it reads and what it counts.
pub struct Checked {
    pub reader: Reader,
    pub lossless: bool,
    pub first: Option<u64>,
    pub next: u64,
    pub held: VecDeque<(u64, Lease)>,
}

impl Checked {
    pub fn attach(name: &str, options: ReaderOptions, lossless: bool) -> Self {
        let reader = options.lossless(lossless).attach_timeout_ms(0).attach(name).unwrap();
        Self { reader, lossless, first: None, next: 0, held: VecDeque::new() }
    }

    /// One that is there before the first message.
    pub fn from_the_start(board: &Board, name: &str, lossless: bool) -> Self {
        let own = Self { first: Some(0), ..Self::attach(name, ReaderOptions::new(), lossless) };
        board.attached.fetch_add(1, SeqCst);
        own
    }

    pub fn count(&mut self, number: u64) {
        let first = *self.first.get_or_insert(number);
        let expected = self.next.max(first);
        assert!(number >= expected, "message {number} instead of {expected}");
        assert!(!self.lossless || number == expected, "{number} instead of {expected}");
        self.next = number + 1;
        let stats = self.reader.stats();
        // One that attaches late may have lost some before the first that it reads, if it may be lapped.
        let least = self.next - first;
        let most = if first == 0 || self.lossless { least } else { self.next };
        let counted = stats.consumed + stats.lost;
        assert!((least..=most).contains(&counted), "{stats:?} after {number}");
        assert!(!self.lossless || stats.lost == 0, "{stats:?}");
    }

    /// Copies the next message; `false` at the end of the ring.
    pub fn copy(&mut self) -> bool {
        let message = or_closed(self.reader.read(u64::MAX));
        message.is_some_and(|message| {
            self.count(numbered::number_of(&message));
            true
        })
    }

    /// Leases the next message, and keeps it; `false` at the end of the ring.
    pub fn lease(&mut self) -> bool {
        let lease = or_closed(self.reader.lease(u64::MAX));
        lease.is_some_and(|lease| {
            let number = numbered::number_of(&lease);
            assert!(self.held.back().is_none_or(|(_, last)| last.position() < lease.position()));
            self.held.push_back((number, lease));
            self.count(number);
            true
        })
    }

    pub fn check_held(&self) {
        for (number, lease) in &self.held {
            assert_eq!(numbered::number_of(lease), *number);
        }
    }
}

/// `None` if the ring has ended.
pub fn or_closed<T>(result: Result<Option<T>>) -> Option<T> {
    match result {
        Err(QADataSwapError::Closed) => None,
        result => Some(result.unwrap().expect("waits for ever")),
    }
}

/// Reads to the end of the ring, holding `keep` messages at a time, each for up to seven times as long as the writer
/// takes to go round `slots`.
pub fn survive(board: &Board, name: &str, lossless: bool, keep: usize, slots: u64) {
    let mut own = Checked::from_the_start(board, name, lossless);
    while if own.held.len() < keep { own.lease() } else { own.copy() } {
        own.check_held();
        while own.held.front().is_some_and(|(number, _)| own.next > number + slots * (number % 8)) {
            own.held.pop_front();
        }
    }
    own.check_held();
    let stats = own.reader.stats();
    assert_eq!(stats.consumed + stats.lost, board.published.load(SeqCst), "{stats:?}");
    assert!(!lossless || (stats.lost, stats.evictions) == (0, 0), "{stats:?}");
}

/// What a reader that may be killed does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Holds a gate and leases.
    Lossless,
    /// Takes and drops leases.
    Leasing,
    /// Attaches, takes a lease and drops both, again and again.
    Attaching,
}

pub fn be_killed(progress: &Progress, name: &str, victim: Victim, mut random: Random) {
    loop {
        let mut own = Checked::attach(name, ReaderOptions::new(), victim != Victim::Leasing);
        loop {
            assert!(own.lease(), "the ring has ended");
            progress.leases.store(own.held.len() as u64, SeqCst);
            progress.messages.fetch_add(1, SeqCst);
            if victim == Victim::Attaching {
                break;
            }
            while own.held.len() == 3 || !own.held.is_empty() && random.below(3) == 0 {
                let which = random.below(own.held.len() as u64) as usize;
                let (number, lease) = own.held.remove(which).expect("in range");
                assert_eq!(numbered::number_of(&lease), number);
                progress.leases.store(own.held.len() as u64, SeqCst);
            }
        }
        let Checked { reader, held, .. } = own;
        if random.below(2) == 0 {
            drop(reader);
        }
        held.iter().for_each(|(number, lease)| assert_eq!(numbered::number_of(lease), *number));
    }
}

/// A ring, seen past the library, and its processes.
pub struct Scene {
    pub board: &'static Board,
    pub ring: RingName,
    pub random: Random,
    pub control: Raw,
}

/// What a process holds.
pub struct Holding {
    pub leases: usize,
    pub gate: u64,
}

impl Scene {
    /// A ring without a writer and without messages. Arguments: its name, a seed.
    pub fn new(arguments: &[String], slots: usize) -> Self {
        let ring = RingName::exactly(arguments[0].clone());
        drop(open(ring.name(), slots));
        let control = Raw::control(&ring);
        let random = Random(arguments[1].parse().unwrap());
        Self { board: Board::new(), ring, random, control }
    }

    pub fn fork_writer(&self, slots: usize, longest: u64) -> Forked {
        Forked::start(|| publish(self.board, self.ring.name(), slots, longest))
    }

    /// A reader that sees the beginning and the end.
    pub fn fork_survivor(&self, lossless: bool, keep: usize, slots: u64) -> Forked {
        let before = self.board.attached.load(SeqCst);
        let survivor =
            Forked::start(|| survive(self.board, self.ring.name(), lossless, keep, slots));
        until("attached", || self.board.attached.load(SeqCst) > before);
        survivor
    }

    pub fn fork_victim(&mut self, index: usize, victim: Victim) -> Forked {
        let random = Random(self.random.next());
        let progress = &self.board.pool[index];
        progress.leases.store(0, SeqCst);
        let name = self.ring.name();
        Forked::start(|| be_killed(progress, name, victim, random))
    }

    pub fn dawdle(&mut self, longest: u64) {
        (0..self.random.below(longest)).for_each(|_| std::hint::spin_loop());
    }

    pub fn position(&self) -> u64 {
        Raw::data(&self.ring).u64(raw::PUBLISHED)
    }

    /// The writer goes on, past everything that could be held now.
    #[track_caller]
    pub fn assert_goes_on(&self, slots: u64) {
        let wanted = self.position() + 2 * slots;
        until("the writer goes on", || self.position() >= wanted);
    }

    /// What the process, which is stopped, holds.
    pub fn holding(&self, process: &Forked) -> Holding {
        let mut holding = Holding { leases: 0, gate: 0 };
        for index in 0..64 {
            let word = |word| raw::entry(index, word);
            let owner = self.control.u32(word(raw::ENTRY_PID));
            if owner == process.0 as u32 && self.control.u32(word(raw::ENTRY_KIND)) != 0 {
                let leases = self.control.bytes(word(raw::ENTRY_LEASES), 32);
                holding.leases += leases.chunks(4).filter(|lease| *lease != [0; 4]).count();
                // One that has not been announced is not in anybody's way.
                if self.control.u64(raw::GATING) >> index & 1 == 1 {
                    holding.gate = holding.gate.max(self.control.u64(word(raw::ENTRY_GATE)));
                }
            }
        }
        holding
    }

    /// Waits until the writer that is there now waits for a gate.
    #[track_caller]
    pub fn until_blocked(&self) {
        self.control.set_u32(raw::BLOCKED, 0);
        until("the writer waits", || self.control.u32(raw::BLOCKED) != 0);
    }

    /// The ring as it is found by those who come after everybody else: nothing is held.
    #[track_caller]
    pub fn assert_nothing_left(self) {
        let readers: Vec<Reader> = (0..64).map(|_| late_reader(self.ring.name())).collect();
        assert!(readers.iter().all(|reader| reader.stats().registered));
        drop(readers);
        assert_eq!((self.control.u64(raw::GATING), self.control.u64(raw::LEASING)), (0, 0));
        for index in 0..64 {
            let leases = self.control.bytes(raw::entry(index, raw::ENTRY_LEASES), 32);
            assert_eq!(leases, [0; 32], "entry {index}");
            assert_eq!(self.control.u64(raw::entry(index, raw::ENTRY_GATE)), 0, "entry {index}");
        }
    }

    /// Goes on in the place of the last writer, which is dead; the survivors then see the end.
    pub fn finish(self, slots: usize, survivors: Vec<Forked>) {
        let writer = open(self.ring.name(), slots);
        let number = writer.stats().message_count;
        for number in number..number + 50 {
            writer.write(&numbered::message(number, 100)).unwrap();
        }
        self.board.published.store(number + 50, SeqCst);
        writer.close().unwrap();
        survivors.into_iter().for_each(Forked::finish);
        self.assert_nothing_left();
    }
}

pub fn late_reader(name: &str) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(name).unwrap()
}
