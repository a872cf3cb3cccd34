//! The ring layer alone, on the heap, as a [`Backend`]: slots, entries and header lines are plain memory, and
//! what the handles of the library do around the ring is done here in its simplest form.
//!
//! The sources are the library's own (`tests/properties.rs` takes them in), as in the loom models.

use std::rc::Rc;
use std::sync::Arc;

use qadataswap::{OnOverrun, OnSlowReader};

use crate::layout::{HoldTable, LEASES_PER_ENTRY, SlotTable};
use crate::memory::{Control, Held, Table, Taken, load};
use crate::model::{
    Backend, CAPACITY, Config, How, Message, ReaderCounts, Refusal, Seen, VALUE_BYTES, Way,
    WriterCounts,
};
use crate::ring::consume::{self, Cursor, Found, Look, Start};
use crate::ring::hold::{self, EntryMask};
use crate::ring::publish::{self, Claim, Publisher};
use crate::ring::{Descriptor, MessageKind, Position, words};
use crate::sync::Ordering;

const BYTES: Descriptor = Descriptor { kind: MessageKind::Bytes, first_word: 0 };

#[derive(Clone, Copy, PartialEq)]
enum Gate {
    None,
    Held,
    Lost(u64),
}

pub struct HeapReader {
    table: Arc<Table>,
    taken: Option<Arc<Taken>>,
    cursor: Cursor,
    how: How,
    gate: Gate,
    /// First position that may be leased, once that was asked in this segment.
    floor: Option<Position>,
    counts: ReaderCounts,
}

impl Drop for HeapReader {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            hold::leave(&*taken.control, taken.index);
        }
    }
}

struct Writer {
    publisher: Publisher,
    counts: WriterCounts,
}

/// A ring on the heap.
pub struct Heap {
    config: Config,
    control: Arc<Control>,
    table: Option<Arc<Table>>,
    writer: Option<Writer>,
    epoch: u64,
}

/// What one write has come to so far.
#[derive(Default)]
struct Attempt {
    given_up: Option<EntryMask>,
    uncounted: u64,
    stalled: bool,
    skipped: u64,
}

impl Attempt {
    fn given_up(&self) -> EntryMask {
        self.given_up.unwrap_or(EntryMask::NONE)
    }
}

impl Heap {
    fn current(&self) -> &Arc<Table> {
        self.table.as_ref().expect("the ring was made")
    }

    fn parts(&mut self) -> (&Arc<Table>, &Arc<Control>, &mut Writer) {
        let table = self.table.as_ref().expect("the ring was made");
        (table, &self.control, self.writer.as_mut().expect("there is one"))
    }

    fn wait_for_gates(&mut self, attempt: &mut Attempt, by: EntryMask) -> Result<(), Refusal> {
        let (limit_ms, evicts) = match self.config.on_slow_reader {
            OnSlowReader::Wait { limit_ms } => (limit_ms, false),
            OnSlowReader::Evict { grace_ms } => (grace_ms, true),
            OnSlowReader::Refuse => (0, false),
        };
        let (_, control, writer) = self.parts();
        writer.counts.stalls += u64::from(limit_ms > 0 && !attempt.stalled);
        attempt.stalled = true;
        if evicts {
            attempt.uncounted += by.iter().count() as u64;
            attempt.given_up = Some(attempt.given_up().union(by));
            return Ok(());
        }
        let next = writer.publisher.position().get();
        let gate = |index| control.entry(index).gate.load(Ordering::Relaxed) - 1;
        let slowest = by.iter().map(gate).min().expect("there is one");
        Err(Refusal::WouldBlock { behind: next - slowest })
    }

    fn move_to(
        &mut self,
        attempt: &mut Attempt,
        slots: u64,
        capacity: usize,
    ) -> Result<(), Refusal> {
        loop {
            let (table, control, writer) = self.parts();
            let given_up = attempt.given_up();
            let passed = writer.publisher.pass_gates_to_move(&**table, &**control, slots, given_up);
            match passed {
                Ok(()) => break,
                Err(by) => self.wait_for_gates(attempt, by)?,
            }
        }
        let (old, _, writer) = self.parts();
        let old = old.clone();
        let (next, sequence) = (writer.publisher.position(), writer.publisher.sequence());
        let retained = old.slot_count().min(slots - 1);
        let from = next.back(retained, Position::new(old.origin.0));
        let (first, first_sequence) =
            consume::oldest(&*old, from, next).unwrap_or((next, sequence));
        let table = Table::new(slots, capacity, (first.get(), first_sequence), old.number + 1);
        for position in (first.get()..next.get()).map(Position::new) {
            publish::carry_over(&*old, &table, position);
        }
        writer.publisher = writer.publisher.moved_to(&table);
        writer.publisher.announce_position(&table);
        writer.publisher.withdraw(&table);
        writer.counts.rollovers += 1;
        writer.counts.evictions += std::mem::take(&mut attempt.uncounted);
        let table = Arc::new(table);
        assert!(old.next.set(table.clone()).is_ok(), "moved once");
        self.table = Some(table);
        Ok(())
    }

    fn claim(&mut self, len: usize) -> Result<(), Refusal> {
        let mut attempt = Attempt::default();
        let (slots, capacity) = (self.current().slot_count(), self.current().capacity);
        if len > capacity {
            if !self.config.rollover {
                return Err(Refusal::TooLarge { needed_bytes: len, available_bytes: capacity });
            }
            self.move_to(&mut attempt, slots, (2 * capacity).max(len.next_power_of_two()))?;
        }
        loop {
            let given_up = attempt.given_up();
            let (table, control, writer) = self.parts();
            match writer.publisher.claim(&**table, &**control, given_up) {
                Claim::Claimed => {
                    writer.counts.evictions += attempt.uncounted;
                    return Ok(());
                }
                Claim::Gated(by) => {
                    self.wait_for_gates(&mut attempt, by)?;
                    continue;
                }
                Claim::Leased(_) => {
                    if attempt.skipped == 0 && hold::all_leases(&**table, &**control).0 == slots {
                        writer.publisher.withdraw(&**table);
                        return Err(Refusal::AllSlotsLeased);
                    }
                    writer.publisher.skip(&**table);
                }
                Claim::Skipped => panic!("nobody leases meanwhile"),
            }
            writer.counts.lease_skips += 1;
            writer.counts.evictions += std::mem::take(&mut attempt.uncounted);
            attempt.skipped += 1;
        }
    }

    fn publish(&mut self, bytes: &[u8]) {
        let (table, _, writer) = self.parts();
        words::store(table.slot(writer.publisher.index()).payload, bytes);
        writer.publisher.publish(&**table, BYTES, bytes.len() as u32);
        writer.counts.published += 1;
        writer.counts.published_bytes += bytes.len() as u64;
    }
}

impl Backend for Heap {
    type Reader = HeapReader;
    type Held = Held;

    fn new(config: Config) -> Self {
        Self { config, control: Arc::default(), table: None, writer: None, epoch: 0 }
    }

    fn take_over(&mut self, slots: u64) -> Result<(), Refusal> {
        let table =
            self.table.get_or_insert_with(|| Arc::new(Table::new(slots, CAPACITY, (0, 0), 0)));
        let recovered = Publisher::recover(&**table, |_| Ok::<_, ()>(true)).unwrap();
        let publisher = recovered.expect("a ring that a writer can have left");
        publisher.announce_position(&**table);
        publisher.withdraw(&**table);
        let capacity = table.capacity;
        self.epoch += 1;
        self.control.closed.store(false, Ordering::Relaxed);
        self.writer = Some(Writer { publisher, counts: WriterCounts::default() });
        if self.current().slot_count() == slots {
            return Ok(());
        }
        let moved = self.move_to(&mut Attempt::default(), slots, capacity);
        if moved.is_err() {
            self.writer = None;
        }
        moved
    }

    fn close(&mut self) {
        self.writer = None;
        self.control.closed.store(true, Ordering::Relaxed);
    }

    fn unlink(&mut self) {
        panic!("on the heap nothing has a name");
    }

    fn set_on_slow_reader(&mut self, on_slow_reader: OnSlowReader) {
        self.config.on_slow_reader = on_slow_reader;
    }

    fn write(&mut self, message: &Message) -> Result<(), Refusal> {
        self.claim(message.bytes.len())?;
        self.publish(&message.bytes);
        Ok(())
    }

    fn reserve(&mut self, len: usize, message: Option<&Message>) -> Result<(), Refusal> {
        self.claim(len)?;
        if let Some(message) = message {
            self.publish(&message.bytes);
        }
        Ok(())
    }

    fn writer(&self) -> Option<WriterCounts> {
        let writer = self.writer.as_ref()?;
        let table = self.current();
        // What readers that attach go by.
        let live = table.live();
        let announced = [&live.published, &live.message_count].map(|w| w.load(Ordering::Relaxed));
        let (position, sequence) = (writer.publisher.position().get(), writer.publisher.sequence());
        assert_eq!(announced, [position, sequence]);
        Some(WriterCounts {
            slots: table.slot_count(),
            capacity: table.capacity,
            position,
            sequence,
            epoch: self.epoch,
            ..writer.counts
        })
    }

    fn attach(&self, how: &How) -> HeapReader {
        let table = self.current().clone();
        let start = match how.start {
            qadataswap::Start::Oldest => Start::Oldest,
            qadataswap::Start::Newest => Start::Newest,
            qadataswap::Start::Next => Start::Next,
        };
        let taken = (how.register || how.lossless).then(|| Taken::new(&self.control));
        let floor = if how.lossless { self.join(&table, &taken) } else { Position::new(0) };
        let cursor = Cursor::attach(&*table, start, floor).expect("nobody writes");
        let gate = if how.lossless { Gate::Held } else { Gate::None };
        settle(gate, &table, &taken, cursor.position());
        let counts = ReaderCounts::default();
        HeapReader { table, taken, cursor, how: *how, gate, floor: None, counts }
    }

    fn read(&self, reader: &mut HeapReader, way: Way, _: &Seen) -> (Seen, Option<Held>) {
        if way == Way::Lease {
            match &reader.taken {
                None => return (Seen::NotRegistered, None),
                Some(taken)
                    if taken.leases.load(Ordering::Relaxed).count_ones() as usize
                        >= reader.how.max_leases =>
                {
                    return (Seen::TooManyLeases, None);
                }
                Some(_) => {}
            }
        }
        if let Gate::Lost(lost) = reader.gate {
            return (Seen::Evicted(lost), None);
        }
        loop {
            let table = reader.table.clone();
            match reader.cursor.look(&*table) {
                Look::Message(_) | Look::Lapped if way == Way::Wait => return (Seen::There, None),
                Look::Message(found) => {
                    let (seen, held) = match reader.take(&table, &found, way) {
                        Ok(taken) => taken,
                        Err(refused) => return (refused, None),
                    };
                    assert_eq!(reader.cursor.advance(&found), 0, "nothing is missing before it");
                    reader.counts.consumed += 1;
                    reader.move_gate();
                    return (seen, held);
                }
                Look::Lapped => {
                    let lost = match reader.gate {
                        Gate::Held => reader.cursor.resume_at_oldest(&*table),
                        _ => reader.cursor.resume(&*table),
                    };
                    let lost = lost.expect("nobody writes");
                    if let Some(told) = reader.count_lost(lost) {
                        return (told, None);
                    }
                }
                Look::Nothing => {
                    reader.move_gate();
                    if let Some(lost) = reader.follow() {
                        if let Some(told) = lost.and_then(|lost| reader.count_lost(lost)) {
                            return (told, None);
                        }
                        continue;
                    }
                    if self.control.closed.load(Ordering::Relaxed) {
                        return (Seen::Closed, None);
                    }
                    reader.counts.timeouts += u64::from(way != Way::Wait);
                    return (Seen::Nothing, None);
                }
            }
        }
    }

    fn rejoin(&self, reader: &mut HeapReader) -> u64 {
        if !matches!(reader.gate, Gate::Lost(_)) {
            return 0;
        }
        let mut lost = reader.follow().flatten().unwrap_or(0);
        let floor = self.join(&reader.table, &reader.taken).max(reader.cursor.position());
        let found = Cursor::attach(&*reader.table, Start::Oldest, floor).expect("nobody writes");
        reader.gate = Gate::Held;
        settle(reader.gate, &reader.table, &reader.taken, found.position());
        lost += reader.cursor.jump(found.position(), found.sequence());
        reader.counts.lost += lost;
        lost
    }

    fn reader(&self, reader: &HeapReader) -> ReaderCounts {
        let position = reader.cursor.position().get();
        let published = self.current().live.published.load(Ordering::Relaxed);
        let leases = reader
            .taken
            .as_ref()
            .map_or(0, |taken| taken.leases.load(Ordering::Relaxed).count_ones());
        ReaderCounts {
            position,
            sequence: reader.cursor.sequence(),
            leases: leases.into(),
            lag: published - position,
            ..reader.counts
        }
    }

    fn is_unchanged(held: &Held, message: &Message) -> bool {
        held.bytes() == message.bytes
    }
}

impl Heap {
    fn join(&self, table: &Table, taken: &Option<Arc<Taken>>) -> Position {
        let index = taken.as_ref().expect("a lossless one has an entry").index;
        let attempt = self.control.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        hold::join(table, &*self.control, index, attempt)
    }
}

fn settle(gate: Gate, table: &Table, taken: &Option<Arc<Taken>>, position: Position) {
    if let (Gate::Held, Some(taken)) = (gate, taken) {
        assert!(hold::settle_gate(table, taken.entry(), position), "nobody claims meanwhile");
    }
}

impl HeapReader {
    fn move_gate(&self) {
        if let (Gate::Held, Some(taken)) = (self.gate, &self.taken) {
            hold::move_gate(taken.entry(), self.cursor.position());
        }
    }

    /// Takes the message that was found; else why not.
    fn take(
        &mut self,
        table: &Arc<Table>,
        found: &Found<'_>,
        way: Way,
    ) -> Result<(Seen, Option<Held>), Seen> {
        let message = found.message().expect("the head is right");
        let len = message.length;
        match way {
            Way::ReadInto(size) if size < len => return Err(Seen::BufferTooSmall(len)),
            Way::ReadExact(size) if size != len => return Err(Seen::SizeMismatch(len)),
            Way::ReadValue if len != VALUE_BYTES => return Err(Seen::SizeMismatch(len)),
            Way::Skip => return Ok((Seen::Skipped, None)),
            _ => {}
        }
        let held = (way == Way::Lease).then(|| self.lease(table, found, len));
        let bytes = load(message.words, len);
        assert!(found.is_intact(), "nobody writes");
        Ok((Seen::Message(Rc::new(Message { bytes, batches: None })), held))
    }

    fn lease(&mut self, table: &Arc<Table>, found: &Found<'_>, len: usize) -> Held {
        let taken = self.taken.as_ref().expect("asked for before").clone();
        if self.floor.is_none() {
            // Leases so far were of another segment.
            (0..LEASES_PER_ENTRY).for_each(|number| hold::release(taken.entry(), number));
        }
        let floor = *self
            .floor
            .get_or_insert_with(|| hold::begin_leasing(&**table, &*taken.control, taken.index));
        // In a superseded segment nobody claims anything.
        assert!(found.position() >= floor || table.next.get().is_some(), "no claim is under way");
        let number = taken.take_lease(found.position()).expect("as many as its options allow");
        assert!(hold::lease(taken.entry(), number, found), "nobody writes");
        let slot = found.position().index(table.slot_count());
        Held { table: table.clone(), taken, number, slot, len }
    }

    /// Counts what was overwritten; what the reader is told of it, if anything.
    fn count_lost(&mut self, lost: u64) -> Option<Seen> {
        self.counts.lost += lost;
        if self.gate == Gate::Held {
            self.gate = Gate::Lost(lost);
            self.counts.evictions += 1;
            let taken = self.taken.as_ref().expect("a lossless one has an entry");
            hold::leave(&*taken.control, taken.index);
            return Some(Seen::Evicted(lost));
        }
        if lost == 0 {
            return None;
        }
        self.counts.overruns += 1;
        (self.how.on_overrun == OnOverrun::Error).then_some(Seen::Overrun(lost))
    }

    /// Goes on in the newest segment, if that is another. How many messages are not in it any more, if it
    /// begins later.
    fn follow(&mut self) -> Option<Option<u64>> {
        let mut newest = None;
        let mut next = self.table.next.get().cloned();
        while let Some(table) = next {
            next = table.next.get().cloned();
            newest = Some(table);
        }
        self.table = newest?;
        self.floor = None;
        if self.cursor.position().get() >= self.table.origin.0 {
            return Some(None);
        }
        let oldest = Cursor::attach(&*self.table, Start::Oldest, Position::new(0));
        let oldest = oldest.expect("nobody writes");
        let lost = self.cursor.jump(oldest.position(), oldest.sequence());
        Some((lost > 0).then_some(lost))
    }
}
