//! A ring in plain memory for the loom models, and a futex made of loom's lock and condition variable.
//!
//! The models run the library's own `ring` source; `make loom` builds it with `--cfg qads_loom`, which
//! switches its atomics to loom's. Without that cfg this crate is empty.
#![cfg(qads_loom)]

use std::mem::MaybeUninit;

use loom::sync::{Condvar, Mutex};
use qadataswap::layout::{Entry, HoldTable, Holds, Live, Slot, SlotHead, SlotTable, Waiters};
use qadataswap::ring::consume::{Cursor, Found, Look};
use qadataswap::ring::hold::EntryMask;
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap::ring::{Descriptor, Generation, MessageKind, Position, State, hold, wake, words};
use qadataswap::sync::{AtomicU64, Ordering, Point, is_missing, set_missing};

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

    /// What a new writer does with the ring of one that was killed.
    pub fn take_over(&self) -> Publisher {
        let recovered = Publisher::recover(self, |_| Ok::<_, ()>(true)).unwrap();
        let publisher = recovered.expect("a ring that a writer can have left");
        publisher.announce_position(self);
        publisher.withdraw(self);
        publisher
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
                assert_eq!(checked, Ok(8 * WORDS), "an intact message has its length");
                // SAFETY: `load` has initialised all of it.
                let copy = copy.map(|byte| unsafe { byte.assume_init() });
                let (one, two) = copy.split_at(8);
                assert_eq!(one, two, "torn");
                let n = u64::from_ne_bytes(one.try_into().unwrap());
                assert_eq!(n, cursor.position().get(), "not the message of this position");
                assert_eq!(cursor.advance(&found), 0, "uncounted loss");
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
        if hold::lease(self, self.entry(entry), 0, &found) {
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
        if !matches!(cursor.look(self), Look::Nothing) && !is_missing(Point::R4Look) {
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

/// How many more forced switches `make loom-deep` allows.
const DEEPER: &str = "QADS_LOOM_DEEPER";

/// Runs `model` in every interleaving with at most `preemptions` forced switches (and more, if the environment
/// says so).
pub fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let deeper = std::env::var(DEEPER).map_or(0, |more| more.parse().expect("a number"));
    run(preemptions + deeper, model);
}

fn run(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Set in the process that runs a model without one of its points.
const BROKEN: &str = "QADS_LOOM_BROKEN";

/// Runs `model` without a point of the protocol and sees that it fails: that it could find the fault, and
/// that the point is needed.
///
/// The model runs in a process of its own, because loom aborts when it finds a deadlock. `test` is the name
/// of the calling test.
pub fn rejects(
    test: &str,
    point: Point,
    preemptions: usize,
    model: impl Fn() + Sync + Send + 'static,
) {
    if std::env::var_os(BROKEN).is_some() {
        set_missing(Some(point));
        run(preemptions, model);
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
    assert!(said.contains("panicked"), "failed for another reason: {said}");
}

/// A test for each point that must make its model fail when it is missing.
#[macro_export]
macro_rules! broken_twins {
    ($($name:ident: $point:ident, $preemptions:expr, $model:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let point = qadataswap::sync::Point::$point;
                $crate::rejects(stringify!($name), point, $preemptions, $model);
            }
        )*
    };
}
