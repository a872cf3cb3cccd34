//! The ring layer on the heap, used by many threads at full speed: a writer, and readers that copy, lease and
//! gate. Nothing is torn, and every loss is counted.
//!
//! Beside what loom explores, this is real hardware, long runs and large messages. And all threads use the same
//! addresses, which lets ThreadSanitizer see what is done to them (`make tsan`); the library's segments are
//! mapped once for each handle.

// The ring layer's own sources, and the module that needs them.
#[allow(dead_code)]
#[path = "../src/crash.rs"]
mod crash;
#[path = "model/layout.rs"]
mod layout;
#[allow(dead_code)]
#[path = "model/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "support/numbered.rs"]
mod numbered;
#[allow(dead_code)]
#[path = "../src/ring/mod.rs"]
mod ring;
#[cfg(not(qads_tsan))]
#[allow(dead_code, unused_imports)]
#[path = "../src/sync.rs"]
mod sync;
#[cfg(qads_tsan)]
#[path = "model/sync.rs"]
mod sync;

use std::sync::{Arc, mpsc};
use std::thread;

use layout::SlotTable;
use memory::{Control, Held, Table, Taken};
use numbered::Random;
use ring::consume::{Cursor, Found, Look, Start};
use ring::hold::{self, EntryMask};
use ring::publish::{Claim, Publisher};
use ring::{Descriptor, MessageKind, Position, words};
use sync::Ordering;

/// Long ones are copied by other instructions than short ones.
const LONGEST: usize = 700;

#[derive(Clone)]
struct Ring {
    table: Arc<Table>,
    control: Arc<Control>,
    /// That are published in all.
    messages: u64,
}

/// What a reader has counted.
struct Counts {
    first: u64,
    consumed: u64,
    lost: u64,
}

impl Ring {
    fn new(slots: u64, messages: u64) -> Self {
        let table = Arc::new(Table::new(slots, LONGEST, (0, 0), 0));
        Self { table, control: Arc::default(), messages }
    }

    /// Publishes all messages, and says that these were all.
    fn write(&self) {
        let (table, control) = (&*self.table, &*self.control);
        let mut publisher = Publisher::new(table, Position::new(0), 0);
        let (mut random, mut message) = (Random::new(), Vec::new());
        while publisher.sequence() < self.messages {
            match publisher.claim(table, control, EntryMask::NONE) {
                Claim::Claimed => {}
                Claim::Gated(_) => {
                    thread::yield_now();
                    continue;
                }
                Claim::Leased(_) => {
                    publisher.skip(table);
                    continue;
                }
                Claim::Skipped => continue,
            }
            let longest = if random.below(8) == 0 { LONGEST } else { 100 };
            let len =
                numbered::SHORTEST + random.below((longest - numbered::SHORTEST) as u64) as usize;
            numbered::fill(&mut message, publisher.sequence(), len);
            words::store(table.slot(publisher.index()).payload, &message);
            let descriptor = Descriptor { kind: MessageKind::Bytes, first_word: 0 };
            publisher.publish(table, descriptor, len as u32);
        }
        control.closed.store(true, Ordering::Release);
    }

    /// Reads until the end; `take` a message, which gives its number if it counts.
    fn read(
        &self,
        mut cursor: Cursor,
        mut take: impl FnMut(&Found<'_>) -> Option<u64>,
        mut moved: impl FnMut(Position),
        lossless: bool,
    ) -> Counts {
        let table = &*self.table;
        let mut counts = Counts { first: cursor.sequence(), consumed: 0, lost: 0 };
        loop {
            // Before the look: what was published before the end is then seen.
            let closed = self.control.closed.load(Ordering::Acquire);
            match cursor.look(table) {
                Look::Message(found) => {
                    let Some(number) = take(&found) else { continue };
                    assert_eq!(number, cursor.sequence(), "not the message that comes next");
                    assert_eq!(cursor.advance(&found), 0, "uncounted loss");
                    counts.consumed += 1;
                }
                Look::Lapped => {
                    assert!(!lossless, "overwritten in spite of a gate");
                    counts.lost += cursor.resume(table).unwrap_or(0);
                }
                Look::Nothing if closed => return counts,
                Look::Nothing => thread::yield_now(),
            }
            moved(cursor.position());
        }
    }

    fn start(&self, floor: Position) -> Cursor {
        loop {
            if let Some(cursor) = Cursor::attach(&*self.table, Start::Oldest, floor) {
                return cursor;
            }
        }
    }

    fn copy(found: &Found<'_>) -> Option<u64> {
        // Means nothing unless the slot is intact.
        let copy = found.message().map(|message| memory::load(message.words, message.length));
        found.is_intact().then(|| numbered::number_of(&copy.expect("an intact head is right")))
    }

    fn read_copies(&self) -> Counts {
        self.read(self.start(Position::new(0)), Self::copy, |_| (), false)
    }

    fn read_lossless(&self) -> Counts {
        let taken = Taken::new(&self.control);
        let (table, control) = (&*self.table, &*self.control);
        let mut attempt = 0;
        let cursor = loop {
            attempt += 1;
            let cursor = self.start(hold::join(table, control, taken.index, attempt));
            if hold::settle_gate(table, taken.entry(), cursor.position()) {
                break cursor;
            }
        };
        let moved = |position| hold::move_gate(taken.entry(), position);
        let counts = self.read(cursor, Self::copy, moved, true);
        hold::leave(control, taken.index);
        counts
    }

    /// Leases every message it can, and keeps up to three for a while; another thread ends the leases.
    fn read_leases(&self) -> Counts {
        let taken = Taken::new(&self.control);
        let (table, control) = (&*self.table, &*self.control);
        let mut kept: Vec<(Held, u64)> = Vec::new();
        let mut floor = hold::begin_leasing(table, control, taken.index);
        let (ending, ended) = mpsc::channel::<(Held, u64)>();
        let ends = thread::spawn(move || {
            for (held, sequence) in ended {
                let number = numbered::number_of(held.bytes());
                assert_eq!(number, sequence, "changed under a lease");
            }
        });
        let lease = |found: &Found<'_>| {
            if found.position() < floor {
                floor = hold::begin_leasing(table, control, taken.index);
                return None;
            }
            let number = loop {
                match taken.take_lease(found.position()) {
                    Some(number) => break number,
                    None => thread::yield_now(),
                }
            };
            let message = found.message();
            let leased = hold::lease(taken.entry(), number, found);
            let slot = found.position().index(table.slot_count());
            let len = message.as_ref().map_or(0, |message| message.length);
            // Ends the lease if there was none.
            let held = Held { table: self.table.clone(), taken: taken.clone(), number, slot, len };
            if !leased {
                return None;
            }
            let sequence = numbered::number_of(held.bytes());
            kept.push((held, sequence));
            if kept.len() > 2 {
                kept.drain(..).for_each(|held| ending.send(held).unwrap());
            }
            Some(sequence)
        };
        let counts = self.read(self.start(Position::new(0)), lease, |_| (), false);
        drop((kept, ending));
        ends.join().unwrap();
        counts
    }

    /// A writer and so many readers of each kind.
    fn run(slots: u64, messages: u64, copying: usize, leasing: usize, lossless: usize) {
        let ring = Self::new(slots, messages);
        let spawn = |count: usize, read: fn(&Self) -> Counts| -> Vec<_> {
            let readers = (0..count).map(|_| ring.clone());
            readers.map(|ring| thread::spawn(move || read(&ring))).collect()
        };
        let mut readers = spawn(copying, Self::read_copies);
        readers.extend(spawn(leasing, Self::read_leases));
        let waited_for = spawn(lossless, Self::read_lossless);
        ring.write();
        for reader in waited_for {
            let counts = reader.join().unwrap();
            assert_eq!((counts.first + counts.consumed, counts.lost), (messages, 0));
        }
        for reader in readers {
            let counts = reader.join().unwrap();
            assert_eq!(counts.first + counts.consumed + counts.lost, messages);
        }
    }
}

#[test]
fn copies_are_whole_and_losses_counted() {
    Ring::run(3, 30_000, 3, 0, 0);
}

#[test]
fn what_is_leased_does_not_change() {
    Ring::run(8, 30_000, 1, 2, 0);
}

#[test]
fn what_is_gated_is_not_overwritten() {
    Ring::run(4, 2_000, 1, 0, 2);
}

#[test]
fn all_at_once() {
    Ring::run(9, 5_000, 1, 1, 1);
}

/// Every message overwrites the one before it.
#[test]
fn one_slot() {
    Ring::run(1, 30_000, 3, 0, 0);
}
