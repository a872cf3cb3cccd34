//! Wake-ups: none is lost, and none is wasted on readers that were killed, stopped, or do not sleep.
//!
//! That no wake-up can be lost is proved by the models in `loom-tests/`. Here it is looked for in the
//! running thing: a reader that is still asleep on the futex after the `write` that should have woken
//! it has returned was forgotten. (Readers look for themselves every quarter of a second, so such a
//! reader would go on, only late.)

mod support;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qadataswap::{
    QADataSwapError, ReaderOptions, ReaderStats, Start, WaitStrategy, Writer, WriterOptions,
};
use support::raw::{self, Random};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("echo", play_echo), ("reader", play_reader)]);
}

fn writer(name: &str) -> Writer {
    WriterOptions::new(64).slot_capacity(64).create(name).unwrap()
}

/// A thread that reads numbers in turn, up to and with `last`, and says how far it has got.
struct Reading {
    got: Arc<AtomicU64>,
    thread: Thread,
    handle: JoinHandle<ReaderStats>,
}

impl Reading {
    fn start(name: &str, strategy: WaitStrategy, last: u64) -> Self {
        let reader = ReaderOptions::new().wait(strategy).attach(name).unwrap();
        let got = Arc::new(AtomicU64::new(0));
        let (tell, hear) = std::sync::mpsc::channel();
        let saying = got.clone();
        let handle = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            for number in 1..=last {
                assert_eq!(reader.read_value(u64::MAX).unwrap(), Some(number));
                saying.store(number, Ordering::Release);
            }
            reader.stats()
        });
        Self { got, thread: hear.recv().unwrap(), handle }
    }

    fn has(&self, number: u64) -> bool {
        self.got.load(Ordering::Acquire) >= number
    }

    /// Waits until it has read `number`, whose `write` has returned.
    fn expect(&self, number: u64) {
        wait_until(|| {
            let asleep = self.thread.sleeps_on_shared_futex();
            // In this order: it may have read the message and be asleep for the next.
            assert!(!asleep || self.has(number), "asleep, and message {number} is there");
            self.has(number)
        });
    }
}

/// Publishes one message after the other, each when all have read the one before, at moments that
/// fall before, into and after their going to sleep.
fn publish_and_watch(strategy: WaitStrategy, readers: usize, messages: u64, seed: u64) {
    let ring = RingName::new("lost");
    let writer = writer(ring.name());
    let readers: Vec<_> =
        (0..readers).map(|_| Reading::start(ring.name(), strategy, messages)).collect();
    let mut random = Random(seed);
    for number in 1..=messages {
        match random.below(8) {
            // Surely asleep.
            0 => wait_until(|| readers[0].thread.sleeps_on_shared_futex()),
            1..4 => (0..random.below(3_000)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
        writer.write_value(&number).unwrap();
        readers.iter().for_each(|reading| reading.expect(number));
    }
    for reading in readers {
        let stats = reading.handle.join().unwrap();
        assert_eq!((stats.consumed, stats.lost, stats.timeouts), (messages, 0, 0));
    }
    assert!((messages / 16..=messages).contains(&writer.stats().wakes), "{:?}", writer.stats());
}

#[test]
fn a_reader_that_goes_to_sleep_at_once_is_not_forgotten() {
    publish_and_watch(WaitStrategy::Sleep, 1, 10_000, 1);
}

#[test]
fn a_reader_that_polls_for_a_moment_first_is_not_forgotten() {
    publish_and_watch(WaitStrategy::SpinThenSleep(Duration::from_micros(3)), 1, 10_000, 2);
}

#[test]
fn none_of_many_sleepers_is_forgotten() {
    publish_and_watch(WaitStrategy::Sleep, 8, 1_000, 3);
}

/// Sends back what comes.
fn play_echo(parent: Parent, arguments: &[String]) {
    let reader = ReaderOptions::new().wait(WaitStrategy::Sleep).attach(&arguments[0]).unwrap();
    let writer = writer(&arguments[1]);
    parent.say("ready");
    while let Some(number) = reader.read_value::<u64>(u64::MAX).unwrap() {
        writer.write_value(&number).unwrap();
        if number == ROUNDS {
            break;
        }
    }
    let stats = reader.stats();
    assert_eq!((stats.consumed, stats.lost, stats.timeouts), (ROUNDS, 0, 0));
    parent.say(writer.stats().wakes);
}

const ROUNDS: u64 = 20_000;

#[test]
fn twenty_thousand_messages_go_to_and_fro_between_two_sleepers() {
    let (there, back) = (RingName::new("ping"), RingName::new("pong"));
    let writer = writer(there.name());
    let mut child = Child::spawn("echo", &[there.name(), back.name()]);
    assert_eq!(child.hear(), "ready");
    let reader = ReaderOptions::new().wait(WaitStrategy::Sleep).attach(back.name()).unwrap();
    for number in 1..=ROUNDS {
        writer.write_value(&number).unwrap();
        assert_eq!(reader.read_value(u64::MAX).unwrap(), Some(number));
    }
    let stats = reader.stats();
    assert_eq!((stats.consumed, stats.lost, stats.timeouts), (ROUNDS, 0, 0));
    // At most one wake-up a message; some are needed on either side, however fast the other is.
    let theirs = child.hear().parse::<u64>().unwrap();
    assert!((1..=ROUNDS).contains(&theirs), "{theirs}");
    assert!((1..=ROUNDS).contains(&writer.stats().wakes), "{}", writer.stats().wakes);
    child.finish();
}

/// Reads for ever; says where it sleeps, and what it counted once it has seen `last`.
fn play_reader(parent: Parent, arguments: &[String]) {
    let strategy = if arguments[1] == "spin" { WaitStrategy::Spin } else { WaitStrategy::Sleep };
    let last: u64 = arguments[2].parse().unwrap();
    let reader = ReaderOptions::new().wait(strategy).attach(&arguments[0]).unwrap();
    parent.say(Thread::current().tid());
    while reader.read_value::<u64>(u64::MAX).unwrap() != Some(last) {}
    let stats = reader.stats();
    parent.say(format!("{} {}", stats.consumed, stats.lost));
}

fn spawn_reader(ring: &RingName, strategy: &str, last: u64) -> (Child, Thread) {
    let mut child = Child::spawn("reader", &[ring.name(), strategy, &last.to_string()]);
    let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
    (child, thread)
}

#[test]
fn a_reader_killed_in_its_sleep_costs_one_wake_up_and_no_more() {
    for killed in 1..4 {
        let ring = RingName::new("killed");
        let writer = writer(ring.name());
        // However many are killed at the same time.
        let readers: Vec<_> = (0..killed).map(|_| spawn_reader(&ring, "sleep", 0)).collect();
        for (child, thread) in readers {
            wait_until(|| thread.sleeps_on_shared_futex());
            child.kill();
        }
        assert_eq!(writer.stats().wakes, 0);
        for number in 1..=100u64 {
            writer.write_value(&number).unwrap();
        }
        assert_eq!(writer.stats().wakes, 1);
    }
}

#[test]
fn a_stopped_reader_disturbs_neither_the_writer_nor_others() {
    const MESSAGES: u64 = 5_000;
    for strategy in ["sleep", "spin"] {
        let ring = RingName::new("stopped");
        let writer = writer(ring.name());
        let (mut stopped, thread) = spawn_reader(&ring, strategy, MESSAGES);
        if strategy == "sleep" {
            wait_until(|| thread.sleeps_on_shared_futex());
        } else {
            wait_until(|| thread.ticks() > 1);
        }
        stopped.stop();
        let other = ReaderOptions::new().attach(ring.name()).unwrap();
        for number in 1..=MESSAGES {
            writer.write_value(&number).unwrap();
            assert_eq!(other.read_value(u64::MAX).unwrap(), Some(number));
        }
        assert!(writer.stats().wakes <= 1, "{}", writer.stats().wakes);
        assert_eq!((other.stats().consumed, other.stats().lost), (MESSAGES, 0));
        stopped.resume();
        let counts = stopped.hear();
        let (consumed, lost) = counts.split_once(' ').unwrap();
        let (consumed, lost): (u64, u64) = (consumed.parse().unwrap(), lost.parse().unwrap());
        assert_eq!(consumed + lost, MESSAGES);
        assert!(consumed <= 64, "{consumed} of 64 slots");
        stopped.finish();
    }
}

#[test]
fn a_writer_makes_no_system_call_for_readers_that_do_not_sleep() {
    let ring = RingName::new("spinning");
    let writer = writer(ring.name());
    let spinning = Reading::start(ring.name(), WaitStrategy::Spin, 2_000);
    let asleep = ReaderOptions::new().register(false).wait(WaitStrategy::Sleep);
    let asleep = asleep.attach(ring.name()).unwrap();
    for number in 1..=2_000u64 {
        writer.write_value(&number).unwrap();
        spinning.expect(number);
        assert_eq!(asleep.read_value(u64::MAX).unwrap(), Some(number));
    }
    spinning.handle.join().unwrap();
    assert_eq!(writer.stats().wakes, 0);
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Counts SIGUSR1 and has it interrupt system calls.
fn catch_signals() {
    // SAFETY: all zeroes is a value of this plain C struct: no flags, so no SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    // SAFETY: `action` outlives the call, and its handler only adds to an atomic.
    let done = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Sends the signal to one thread of this process and waits until it has been handled.
fn signal_and_wait(thread: Thread) {
    let before = SIGNALS.load(Ordering::Relaxed);
    // SAFETY: a plain system call; the thread is one of this process and has not been joined.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            std::process::id() as libc::pid_t,
            thread.tid() as libc::pid_t,
            libc::SIGUSR1,
        )
    };
    assert_eq!(sent, 0);
    wait_until(|| SIGNALS.load(Ordering::Relaxed) != before);
}

// One test for all of it, because the signals are counted for the process as a whole.
#[test]
fn thousands_of_signals_do_not_end_a_wait_nor_shorten_or_prolong_it() {
    catch_signals();
    for (strategy, registered) in [
        (WaitStrategy::Sleep, true),
        (WaitStrategy::Sleep, false),
        (WaitStrategy::default(), true),
        (WaitStrategy::Spin, true),
    ] {
        let ring = RingName::new("signals");
        let writer = writer(ring.name());
        let options = ReaderOptions::new().wait(strategy).register(registered);
        let reader = options.attach(ring.name()).unwrap();
        let (tell, hear) = std::sync::mpsc::channel();
        let returned = Arc::new(AtomicBool::new(false));
        let saying = returned.clone();
        let waiting = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            let message = reader.read_value::<u64>(u64::MAX).unwrap();
            saying.store(true, Ordering::Release);
            // One that ends by itself, and not early. It tells when it has ended, so that the signals
            // stop then.
            let before = Instant::now();
            assert_eq!(reader.read(30).unwrap(), None);
            assert!(before.elapsed() >= Duration::from_millis(30));
            tell.send(Thread::current()).unwrap();
            (message, hear_end(&tell), reader.stats())
        });
        let thread = hear.recv().unwrap();
        for _ in 0..2_000 {
            signal_and_wait(thread);
            assert!(!returned.load(Ordering::Acquire), "{strategy:?}: the wait has ended");
        }
        writer.write_value(&7u64).unwrap();
        while hear.try_recv().is_err() {
            signal_and_wait(thread);
        }
        drop(hear);
        let (message, (), stats) = waiting.join().unwrap();
        assert_eq!(message, Some(7));
        assert_eq!((stats.consumed, stats.timeouts, stats.lost), (1, 1, 0), "{strategy:?}");
    }
}

/// Keeps the thread alive for signals until the other side has stopped sending them.
fn hear_end(tell: &std::sync::mpsc::Sender<Thread>) {
    wait_until(|| tell.send(Thread::current()).is_err());
}

/// A thread that reads one message, asleep as long as there is none, and what came of it.
struct Sleeper {
    thread: Thread,
    done: Arc<AtomicBool>,
    handle: JoinHandle<Result<Option<Vec<u8>>, QADataSwapError>>,
}

impl Sleeper {
    fn start(name: &str) -> Self {
        let options = ReaderOptions::new().start(Start::Next).wait(WaitStrategy::Sleep);
        let reader = options.attach(name).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let (tell, hear) = std::sync::mpsc::channel();
        let saying = done.clone();
        let handle = std::thread::spawn(move || {
            tell.send(Thread::current()).unwrap();
            let read = reader.read(u64::MAX);
            saying.store(true, Ordering::Release);
            read
        });
        let thread = hear.recv().unwrap();
        wait_until(|| thread.sleeps_on_shared_futex());
        Self { thread, done, handle }
    }

    /// What it read, after that which should have woken it.
    fn woken(self) -> Result<Option<Vec<u8>>, QADataSwapError> {
        wait_until(|| {
            let asleep = self.thread.sleeps_on_shared_futex();
            let done = self.done.load(Ordering::Acquire);
            assert!(!asleep || done, "still asleep");
            done
        });
        self.handle.join().unwrap()
    }
}

#[test]
fn sleepers_are_woken_when_the_ring_ends_or_moves() {
    for round in 0..100 {
        let ring = RingName::new("ends");
        let first = writer(ring.name());
        let sleeper = Sleeper::start(ring.name());
        // To larger slots; the message is in another segment.
        first.write(&[7; 1000]).unwrap();
        assert_eq!(sleeper.woken().unwrap().as_deref(), Some(&[7; 1000][..]));

        let sleeper = Sleeper::start(ring.name());
        if round % 2 == 0 {
            first.close().unwrap()
        } else {
            first.unlink().unwrap()
        }
        assert!(matches!(sleeper.woken(), Err(QADataSwapError::Closed)));
    }
}

/// Sleeps on the word that readers of the ring sleep on, as one does whose writer died before it woke it.
fn sleep_on_the_word(ring: &RingName) -> (Thread, JoinHandle<()>) {
    let file = std::fs::File::open(ring.data_path()).unwrap();
    let (tell, hear) = std::sync::mpsc::channel();
    let handle = std::thread::spawn(move || {
        let (shared, readable) = (libc::MAP_SHARED, libc::PROT_READ);
        // SAFETY: a mapping of the header at a place of the kernel's choice; the object has that size.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, readable, shared, file.as_raw_fd(), 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        let word = start.wrapping_byte_add(raw::WAKE_SEQUENCE as usize).cast::<u32>();
        // SAFETY: the word is in the mapping and aligned; others store to it atomically.
        let now = unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire);
        tell.send(Thread::current()).unwrap();
        let (for_ever, wait) = (std::ptr::null::<libc::timespec>(), libc::FUTEX_WAIT);
        // SAFETY: the word stays mapped; the kernel only reads it.
        unsafe { libc::syscall(libc::SYS_futex, word, wait, now, for_ever) };
        // SAFETY: the mapping made above, which nobody uses any more.
        unsafe { libc::munmap(start, 4096) };
    });
    let thread = hear.recv().unwrap();
    wait_until(|| thread.sleeps_on_shared_futex());
    (thread, handle)
}

#[test]
fn sleepers_are_woken_when_another_writer_takes_over() {
    let ring = RingName::new("taken-over");
    drop(writer(ring.name()));
    for _ in 0..20 {
        let (thread, sleeper) = sleep_on_the_word(&ring);
        drop(writer(ring.name()));
        wait_until(|| {
            let asleep = thread.sleeps_on_shared_futex();
            assert!(!asleep || sleeper.is_finished(), "still asleep");
            sleeper.is_finished()
        });
        sleeper.join().unwrap();
    }
}
