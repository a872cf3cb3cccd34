//! A ring in plain memory for the loom models, and a futex made of loom's lock and condition variable.
//!
//! The models run the library's own `ring` source; `make loom` builds it with `--cfg qads_loom`, which
//! switches its atomics to loom's. Without that cfg this crate is empty.
#![cfg(qads_loom)]

use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use loom::sync::{Condvar, Mutex};
use qadataswap::layout::{Entry, HoldTable, Holds, Live, Slot, SlotHead, SlotTable, Waiters};
use qadataswap::ring::consume::{Cursor, Found, Look};
use qadataswap::ring::hold::EntryMask;
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap::ring::{Descriptor, Generation, MessageKind, Position, State, hold, wake, words};
use qadataswap::sync::{AtomicU64, Ordering, Point, set_missing};

/// What the models say when a property fails. A broken twin names the one that it must fail with.
pub mod property {
    /// Both words of a message are of one publish.
    pub const WHOLE: &str = "a message is torn";
    /// A message is found where it was published.
    pub const IN_PLACE: &str = "not the message of this position";
    /// No message is got twice, or after a later one.
    pub const FORWARD: &str = "went backwards";
    /// A reader is told of every loss.
    pub const TOLD: &str = "messages are missing of which nothing was said";
    /// Consumed and lost make up all there was.
    pub const ALL_COUNTED: &str = "consumed and lost are not all that was published";
    /// Whoever reads on gets the newest message.
    pub const TO_THE_END: &str = "the newest message was not got";
    /// A reader that attaches knows how many messages there were before its first.
    pub const NUMBERED: &str = "the first message has another number";
    /// What is leased does not change.
    pub const LEASED: &str = "overwritten under a lease";
    /// What a gate covers does not change.
    pub const GATED: &str = "lapped behind its gate";
    /// A reader that was given up while it joined does not count as joined.
    pub const REFUSED: &str = "joined although it was given up before";
    /// A reader fails to join only where the writer found out that it has to wait.
    pub const JOINED: &str = "did not join although the writer never had to wait";
    /// A reader joins at the oldest message that no claim may overwrite.
    pub const AT_THE_OLDEST: &str = "joined elsewhere";
    /// Nobody sleeps for ever: how loom tells of it.
    pub const AWAKE: &str = "deadlock";
}
use property::*;

/// Payload words of a message: two, so that a torn one shows.
const WORDS: usize = 2;

/// A ring without a mapping.
pub struct HeapRing {
    live: Live,
    waiters: Waiters,
    holds: Holds,
    entries: Vec<Entry>,
    slots: Vec<HeapSlot>,
    futex: Mutex<()>,
    woken: Condvar,
}

struct HeapSlot {
    head: SlotHead,
    payload: [AtomicU64; WORDS],
}

impl SlotTable for HeapRing {
    fn slot_count(&self) -> u64 {
        self.slots.len() as u64
    }

    fn payload_bytes(&self) -> usize {
        8 * WORDS
    }

    fn slot(&self, index: u64) -> Slot<'_> {
        let slot = &self.slots[index as usize];
        Slot { head: &slot.head, payload: &slot.payload }
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn origin(&self) -> (u64, u64) {
        (0, 0)
    }

    fn segment_number(&self) -> u64 {
        0
    }
}

impl HoldTable for HeapRing {
    fn holds(&self) -> &Holds {
        &self.holds
    }

    fn entry_count(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }
}

impl HeapRing {
    /// A ring of `slot_count` slots that has nothing in it, and that nobody can hold.
    pub fn new(slot_count: usize) -> Self {
        Self::with_entries(slot_count, 0)
    }

    /// The same with entries for so many readers that hold messages.
    pub fn with_entries(slot_count: usize, entries: usize) -> Self {
        let slot = || HeapSlot { head: SlotHead::default(), payload: Default::default() };
        Self {
            live: Live::default(),
            waiters: Waiters::default(),
            holds: Holds::default(),
            entries: (0..entries).map(|_| Entry::default()).collect(),
            slots: (0..slot_count).map(|_| slot()).collect(),
            futex: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    /// Publishes message number `n`, both of whose words are `n`, and wakes.
    pub fn publish(&self, publisher: &mut Publisher, n: u64) {
        publisher.claim_unheld(self);
        self.publish_claimed(publisher, n);
    }

    /// Publishes message number `n` if the first claim gets a slot; says what it came to. A leased slot is
    /// passed over.
    pub fn publish_held(&self, publisher: &mut Publisher, n: u64, given_up: EntryMask) -> Claim {
        let claim = publisher.claim(self, self, given_up);
        match claim {
            Claim::Claimed => self.publish_claimed(publisher, n),
            Claim::Leased(_) => publisher.skip(self),
            Claim::Gated(_) | Claim::Skipped => {}
        }
        claim
    }

    fn publish_claimed(&self, publisher: &mut Publisher, n: u64) {
        let slot = self.slot(publisher.index());
        words::store(&slot.payload[..1], &n.to_ne_bytes());
        self.end_message(self, publisher, n);
    }

    /// Claims the next slot and stores the first word of message number `n`, as far as a writer got that is
    /// killed then.
    pub fn begin_message(&self, publisher: &Publisher, n: u64) {
        let slot = publisher.claim_unheld(self);
        words::store(&slot.payload[..1], &n.to_ne_bytes());
    }

    /// Stores the second word and publishes; `table` is this ring as the publisher sees it.
    pub fn end_message<T: SlotTable>(&self, table: &T, publisher: &mut Publisher, n: u64) {
        let slot = self.slot(publisher.index());
        words::store(&slot.payload[1..], &n.to_ne_bytes());
        let descriptor = Descriptor { kind: MessageKind::Bytes, first_word: 0 };
        publisher.publish(table, descriptor, 8 * WORDS as u32);
    }

    /// What a new writer does with the ring of one that was killed; `None` if it finds that no writer can have
    /// left it so.
    pub fn take_over(&self) -> Option<Publisher> {
        let recovered = Publisher::recover(self, |_| Ok::<_, Infallible>(true));
        let publisher = recovered.unwrap().ok()?;
        publisher.announce_position(self);
        publisher.withdraw(self);
        Some(publisher)
    }

    /// What follows a publish where readers sleep.
    pub fn wake(&self) {
        if wake::must_wake(&self.live, &self.waiters) {
            // FUTEX_WAKE: takes the kernel's lock of the futex, like FUTEX_WAIT does.
            let _bucket = self.futex.lock().unwrap();
            self.woken.notify_all();
        }
    }

    /// One look for the message at `cursor`; panics if it is torn or not the one expected there.
    pub fn look(&self, cursor: &mut Cursor) -> Seen {
        match cursor.look(self) {
            Look::Nothing => Seen::Nothing,
            Look::Lapped => cursor.resume(self).map_or(Seen::Nothing, Seen::Lost),
            Look::Message(found) => {
                let mut copy = [MaybeUninit::uninit(); 8 * WORDS];
                let checked = found.message().map(|message| {
                    words::load(message.words, &mut copy[..message.length]);
                    message.length
                });
                if !found.is_intact() {
                    return Seen::Nothing;
                }
                assert_eq!(checked, Ok(8 * WORDS), "{WHOLE}");
                // SAFETY: `load` has initialised all of it.
                let copy = copy.map(|byte| unsafe { byte.assume_init() });
                let (one, two) = copy.split_at(8);
                assert_eq!(one, two, "{WHOLE}");
                let n = u64::from_ne_bytes(one.try_into().unwrap());
                assert_eq!(n, cursor.position().get(), "{IN_PLACE}");
                assert_eq!(cursor.advance(&found), 0, "{TOLD}");
                Seen::Message(n)
            }
        }
    }

    /// Leases the message at `cursor` with lease 0 of the entry; `None` if there is none, or it is overwritten
    /// meanwhile.
    pub fn lease(&self, cursor: &mut Cursor, entry: usize, floor: Position) -> Option<Found<'_>> {
        let Look::Message(found) = cursor.look(self) else { return None };
        if found.position() < floor {
            return None;
        }
        if hold::lease(self.entry(entry), 0, &found) {
            return Some(found);
        }
        hold::release(self.entry(entry), 0);
        None
    }

    /// The entry at `index`.
    pub fn entry_of(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// What the slot at `index` is in the middle of.
    pub fn state_of(&self, index: usize) -> State {
        Generation::from_word(self.slots[index].head.generation.load(Ordering::Relaxed)).state()
    }

    /// The two words of a message.
    pub fn words(&self, found: &Found<'_>) -> (u64, u64) {
        let message = found.message().expect("the head is right");
        // Relaxed: what a read of leased memory compiles to.
        let word = |index: usize| message.words[index].load(Ordering::Relaxed);
        (word(0), word(1))
    }

    /// Sleeps like a reader that found nothing, unless there is a message after all.
    pub fn sleep(&self, cursor: &mut Cursor) {
        let token = wake::announce(&self.live, &self.waiters);
        if !wake::may_sleep(self, cursor) {
            return;
        }
        // FUTEX_WAIT: compares and queues in one step as far as FUTEX_WAKE is concerned.
        let mut bucket = self.futex.lock().unwrap();
        // Relaxed: what the kernel's comparison does; the lock orders it against the wake-up.
        while self.live.wake_sequence.load(Ordering::Relaxed) == token {
            bucket = self.woken.wait(bucket).unwrap();
        }
    }
}

/// What one look came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Message with this number.
    Message(u64),
    /// An overrun that lost so many messages.
    Lost(u64),
    /// Nothing that counts.
    Nothing,
}

/// A reader, and what it has got so far.
#[derive(Debug)]
pub struct Reading {
    /// Where it is.
    pub cursor: Cursor,
    /// Messages consumed.
    pub consumed: u64,
    /// Messages that it was told it lost.
    pub lost: u64,
    /// The last one consumed.
    pub last: Option<u64>,
}

impl Reading {
    /// One that has got nothing yet.
    pub fn from(cursor: Cursor) -> Self {
        Self { cursor, consumed: 0, lost: 0, last: None }
    }

    /// One look; whether it came to anything.
    pub fn look(&mut self, ring: &HeapRing) -> bool {
        match ring.look(&mut self.cursor) {
            Seen::Message(n) => {
                assert!(self.last < Some(n), "{FORWARD}");
                self.last = Some(n);
                self.consumed += 1;
            }
            Seen::Lost(lost) => self.lost += lost,
            Seen::Nothing => return false,
        }
        true
    }

    /// Gets what is left when nobody writes any more; with it, `all` messages have been got or lost.
    pub fn finish(&mut self, ring: &HeapRing, all: u64) {
        while self.look(ring) {}
        assert_eq!(self.consumed + self.lost, all, "{ALL_COUNTED}");
    }
}

/// What `make loom-deep` sets: how many more forced switches there may be.
const DEEPER: &str = "QADS_LOOM_DEEPER";
/// For how many seconds a model is run then, at most.
const SECONDS: &str = "QADS_LOOM_SECONDS";

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

/// Runs `model` in every interleaving with at most `preemptions` forced switches (and more, and not to the end,
/// if the environment says so).
pub fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let deeper = number(DEEPER).unwrap_or(0) as usize;
    let limit = number(SECONDS).map(Duration::from_secs);
    let runs = Arc::new(AtomicUsize::new(0));
    let (started, counted) = (Instant::now(), runs.clone());
    run(preemptions + deeper, limit, move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let took = started.elapsed();
    let end = if limit.is_some_and(|limit| took >= limit) { ", not all" } else { "" };
    let (test, runs) = (thread::current(), runs.load(Relaxed));
    println!(
        "{}: {runs} interleavings{end}, {:.1} s",
        test.name().unwrap_or_default(),
        took.as_secs_f32()
    );
}

fn run(preemptions: usize, limit: Option<Duration>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_duration = limit;
    // How often loom looks at the clock, in interleavings.
    builder.checkpoint_interval = 1000;
    builder.check(model);
}

/// Set in the process that runs a model without one of its points.
const BROKEN: &str = "QADS_LOOM_BROKEN";

/// Runs `model` without a point of the protocol and sees that `property` fails: that it could find the fault,
/// and that the point is needed.
///
/// The model runs in a process of its own, because loom aborts when it finds a deadlock. `test` is the name
/// of the calling test.
pub fn rejects(
    test: &str,
    point: Point,
    property: &str,
    preemptions: usize,
    model: impl Fn() + Sync + Send + 'static,
) {
    if std::env::var_os(BROKEN).is_some() {
        set_missing(Some(point));
        run(preemptions, None, model);
        return;
    }
    let program = std::env::current_exe().expect("own path");
    let output = std::process::Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(BROKEN, "1")
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "no interleaving shows that {point:?} is missing");
    let because = said.contains("panicked") && said.contains(property);
    assert!(because, "failed for another reason than that {property:?}: {said}");
}

/// A test for each point that must make a property of its model fail when it is missing.
#[macro_export]
macro_rules! broken_twins {
    ($($name:ident: $point:ident, $property:ident, $preemptions:expr, $model:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let point = qadataswap::sync::Point::$point;
                let property = $crate::property::$property;
                $crate::rejects(stringify!($name), point, property, $preemptions, $model);
            }
        )*
    };
}
