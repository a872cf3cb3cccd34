//! Waiting for a message in every way there is: it comes when it is there, `None` never before the time
//! is up, and a reader that should sleep sleeps.

mod support;

use std::time::{Duration, Instant};

use qadataswap::{
    OnSlowReader, QADataSwapError, Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions,
};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("waiter", play_waiter)]);
}

const STRATEGIES: [(&str, WaitStrategy); 6] = [
    ("spin", WaitStrategy::Spin),
    ("spin-for-ever", WaitStrategy::SpinThenSleep(Duration::MAX)),
    ("spin-then-sleep", WaitStrategy::SpinThenSleep(Duration::from_micros(50))),
    ("spin-for-no-time", WaitStrategy::SpinThenSleep(Duration::ZERO)),
    ("yield", WaitStrategy::Yield),
    ("sleep", WaitStrategy::Sleep),
];

fn never_sleeps(strategy: WaitStrategy) -> bool {
    matches!(
        strategy,
        WaitStrategy::Spin | WaitStrategy::Yield | WaitStrategy::SpinThenSleep(Duration::MAX)
    )
}

/// Every strategy, by a reader that can be woken and by one that cannot.
fn every_way() -> impl Iterator<Item = (&'static str, WaitStrategy, bool)> {
    STRATEGIES
        .into_iter()
        .flat_map(|(name, strategy)| [true, false].map(|registered| (name, strategy, registered)))
}

fn writer(ring: &RingName) -> Writer {
    WriterOptions::new(16).slot_capacity(64).create(ring.name()).unwrap()
}

fn reader(name: &str, strategy: WaitStrategy, registered: bool) -> Reader {
    let reader = ReaderOptions::new().wait(strategy).register(registered).attach(name).unwrap();
    assert_eq!(reader.stats().registered, registered);
    reader
}

/// Reads with the timeouts it is told and says what came.
fn play_waiter(parent: Parent, arguments: &[String]) {
    let (_, strategy) = STRATEGIES.into_iter().find(|(name, _)| *name == arguments[1]).unwrap();
    let reader = reader(&arguments[0], strategy, arguments[2] == "true");
    parent.say(Thread::current().tid());
    loop {
        let timeout_ms = match parent.hear().as_str() {
            "end" => return,
            timeout_ms => timeout_ms.parse().unwrap(),
        };
        parent.say("about to wait");
        let before = Instant::now();
        match reader.read(timeout_ms) {
            Ok(Some(message)) => parent.say(String::from_utf8(message).unwrap()),
            Ok(None) => {
                assert!(before.elapsed() >= Duration::from_millis(timeout_ms));
                parent.say("nothing");
            }
            Err(error) => parent.say(format!("{error:?}")),
        }
    }
}

struct Waiter {
    child: Child,
    thread: Thread,
    never_sleeps: bool,
}

impl Waiter {
    fn spawn(ring: &RingName, name: &str, strategy: WaitStrategy, registered: bool) -> Self {
        let mut child = Child::spawn("waiter", &[ring.name(), name, &registered.to_string()]);
        let thread = Thread::new(child.pid(), child.hear().parse().unwrap());
        Self { child, thread, never_sleeps: never_sleeps(strategy) }
    }

    /// Has it wait, and comes back once it is seen to: asleep, or at work for some time without a
    /// pause, as its strategy says.
    fn wait(&mut self, timeout_ms: u64) {
        self.child.say(timeout_ms);
        assert_eq!(self.child.hear(), "about to wait");
        if !self.never_sleeps {
            return wait_until(|| self.thread.sleeps_on_shared_futex());
        }
        let worked = |ticks| {
            let until = self.thread.ticks() + ticks;
            wait_until(|| self.thread.ticks() >= until);
        };
        // What it said may have made it pause.
        worked(2);
        let before = self.thread.pauses();
        worked(4);
        assert_eq!(self.thread.pauses(), before, "it gave its processor up");
        assert!(!self.thread.sleeps_on_shared_futex());
    }
}

#[test]
fn a_message_that_is_there_is_read_without_waiting() {
    for (name, strategy, registered) in every_way() {
        let ring = RingName::new("before");
        let writer = writer(&ring);
        let reader = reader(ring.name(), strategy, registered);
        for timeout_ms in [0, 1, u64::MAX - 1, u64::MAX] {
            writer.write(b"there").unwrap();
            let read = reader.read(timeout_ms).unwrap();
            assert_eq!(read.as_deref(), Some(&b"there"[..]), "{name}, {registered}");
        }
        assert_eq!((reader.stats().timeouts, writer.stats().wakes), (0, 0));
    }
}

#[test]
fn a_message_that_comes_while_waiting_ends_the_wait() {
    for (name, strategy, registered) in every_way() {
        let ring = RingName::new("during");
        let writer = writer(&ring);
        let mut waiter = Waiter::spawn(&ring, name, strategy, registered);
        for (count, timeout_ms) in (1..).zip([u64::MAX, u64::MAX - 1, 1 << 40]) {
            waiter.wait(timeout_ms);
            let text = format!("message {count}");
            writer.write(text.as_bytes()).unwrap();
            assert_eq!(waiter.child.hear(), text, "{name}, registered {registered}");
            // Exactly those are woken who sleep and have said so.
            let woken = if registered && !waiter.never_sleeps { count } else { 0 };
            assert_eq!(writer.stats().wakes, woken, "{name}, registered {registered}");
        }
        waiter.child.say("end");
        waiter.child.finish();
    }
}

#[test]
fn a_message_that_comes_after_the_wait_is_for_the_next_read() {
    for (name, strategy, registered) in every_way() {
        let ring = RingName::new("after");
        let writer = writer(&ring);
        let mut waiter = Waiter::spawn(&ring, name, strategy, registered);
        for _ in 0..3 {
            waiter.child.say(1);
            assert_eq!(waiter.child.hear(), "about to wait");
            assert_eq!(waiter.child.hear(), "nothing");
            writer.write(b"late").unwrap();
            waiter.child.say(0);
            assert_eq!(waiter.child.hear(), "about to wait");
            assert_eq!(waiter.child.hear(), "late");
        }
        waiter.child.say("end");
        waiter.child.finish();
    }
}

#[test]
fn nothing_comes_never_before_the_time_is_up() {
    for (name, strategy, registered) in every_way() {
        let ring = RingName::new("timeout");
        let writer = writer(&ring);
        let reader = reader(ring.name(), strategy, registered);
        // Beyond the longest sleep of readers that cannot be woken, and once of those that can.
        let long = if registered && strategy == WaitStrategy::Sleep { 260 } else { 3 };
        for timeout_ms in [0, 1, 2, long, 10, 0] {
            let before = Instant::now();
            assert_eq!(reader.read(timeout_ms).unwrap(), None);
            let elapsed = before.elapsed();
            assert!(elapsed >= Duration::from_millis(timeout_ms), "{name}: {elapsed:?}");
        }
        assert_eq!(reader.stats().timeouts, 6);
        writer.write(b"at last").unwrap();
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"at last"[..]));
    }
}

#[test]
fn every_way_of_reading_waits() {
    type Read = fn(&Reader, u64) -> Result<bool, QADataSwapError>;
    let ways: [Read; 4] = [
        |reader, timeout_ms| Ok(reader.read(timeout_ms)?.is_some()),
        |reader, timeout_ms| reader.read_to(&mut Vec::new(), timeout_ms),
        |reader, timeout_ms| Ok(reader.read_into(&mut [0; 64], timeout_ms)?.is_some()),
        |reader, timeout_ms| Ok(reader.read_value::<u64>(timeout_ms)?.is_some()),
    ];
    for read in ways {
        let ring = RingName::new("ways");
        let writer = writer(&ring);
        let reader = reader(ring.name(), WaitStrategy::Sleep, true);
        let before = Instant::now();
        assert!(!read(&reader, 2).unwrap());
        assert!(before.elapsed() >= Duration::from_millis(2));
        std::thread::scope(|scope| {
            let (tell, hear) = std::sync::mpsc::channel();
            let waiting = scope.spawn(move || {
                tell.send(Thread::current()).unwrap();
                read(&reader, u64::MAX)
            });
            let thread = hear.recv().unwrap();
            wait_until(|| thread.sleeps_on_shared_futex());
            writer.write_value(&7u64).unwrap();
            assert!(waiting.join().unwrap().unwrap());
        });
    }
}

#[test]
fn closing_ends_every_wait() {
    for (name, strategy, registered) in every_way() {
        for unlink in [false, true] {
            let ring = RingName::new("closing");
            let writer = writer(&ring);
            let mut waiter = Waiter::spawn(&ring, name, strategy, registered);
            waiter.wait(u64::MAX);
            if unlink {
                writer.unlink().unwrap();
            } else {
                writer.close().unwrap();
            }
            assert_eq!(waiter.child.hear(), "Closed", "{name}, registered {registered}");
            // And from then on at once.
            waiter.child.say(u64::MAX);
            assert_eq!(waiter.child.hear(), "about to wait");
            assert_eq!(waiter.child.hear(), "Closed");
            waiter.child.say("end");
            waiter.child.finish();
        }
    }
}

#[test]
fn a_reader_lapped_without_pause_gets_the_last_message_before_it_is_told_of_the_end() {
    // The end has to fall between two looks of a reader that has been lapped many times in a row, which
    // is rare: this finds a reader that gets it wrong in one of some thousand rounds.
    const MESSAGES: u64 = 100;
    for _ in 0..400 {
        let ring = RingName::new("lapped-end");
        let writer = WriterOptions::new(1).slot_capacity(1 << 16).create(ring.name()).unwrap();
        let reader = reader(ring.name(), WaitStrategy::Spin, true);
        let reading = std::thread::spawn(move || {
            let (mut buffer, mut last) = (vec![0; 1 << 16], None);
            loop {
                match reader.read_into(&mut buffer, u64::MAX) {
                    Ok(read) => last = read.and_then(|_| buffer.first_chunk().copied()),
                    Err(QADataSwapError::Closed) => return (last, reader.stats()),
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        let mut message = vec![1; 60_000];
        for number in 1..=MESSAGES {
            message[..8].copy_from_slice(&number.to_le_bytes());
            writer.write(&message).unwrap();
        }
        writer.close().unwrap();
        let (last, stats) = reading.join().unwrap();
        assert_eq!(last.map(u64::from_le_bytes), Some(MESSAGES), "{stats:?}");
        assert_eq!((stats.consumed + stats.lost, stats.lag), (MESSAGES, 0), "{stats:?}");
    }
}

#[test]
fn a_ring_unlinked_by_name_after_its_writer_has_gone_ends_every_wait() {
    // Nobody wakes these: they look for themselves.
    for (name, strategy, registered) in every_way() {
        let ring = RingName::new("unlinked");
        let writer = writer(&ring);
        let mut waiter = Waiter::spawn(&ring, name, strategy, registered);
        waiter.wait(u64::MAX);
        drop(writer);
        qadataswap::unlink(ring.name()).unwrap();
        assert_eq!(waiter.child.hear(), "Closed", "{name}, registered {registered}");
        waiter.child.say("end");
        waiter.child.finish();
    }
}

#[test]
fn a_wait_without_a_read_ends_by_what_a_read_would_and_takes_nothing() {
    let ring = RingName::new("wait-alone");
    let writer = writer(&ring);
    let lossy = reader(ring.name(), WaitStrategy::Sleep, true);
    let evicted = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    let waiting = std::thread::spawn(move || {
        assert!(lossy.wait(u64::MAX).unwrap());
        assert!(lossy.wait(u64::MAX).unwrap());
        lossy
    });
    writer.write(b"first").unwrap();
    let lossy = waiting.join().unwrap();
    let stats = lossy.stats();
    assert_eq!((stats.consumed, stats.timeouts, stats.lag), (0, 0, 1));
    assert_eq!(lossy.read(0).unwrap().as_deref(), Some(&b"first"[..]));
    assert!(!lossy.wait(1).unwrap());
    assert_eq!(lossy.stats().timeouts, 0);

    writer.set_on_slow_reader(OnSlowReader::Evict { grace_ms: 0 });
    for _ in 0..2 * writer.slot_count() {
        writer.write(b"more").unwrap();
    }
    // A message or a loss, either way a read does not wait.
    assert!(lossy.wait(0).unwrap());
    assert!(evicted.wait(0).unwrap());
    assert!(matches!(evicted.read(0), Err(QADataSwapError::Evicted { .. })));
    assert!(matches!(evicted.wait(0), Err(QADataSwapError::Evicted { .. })));

    writer.close().unwrap();
    while lossy.wait(0).is_ok() {
        lossy.read(0).unwrap().unwrap();
    }
    assert!(matches!(lossy.wait(u64::MAX), Err(QADataSwapError::Closed)));
}
