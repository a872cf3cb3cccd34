//! The writer's side: claim, publish, and finding the place of a writer that died.

use super::hold::{self, EntryMask, Gates};
use super::{Descriptor, Generation, Position, State, slot_of};
use crate::crash;
use crate::layout::{HoldTable, Slot, SlotTable};
use crate::sync::{Ordering, Point, at, fence, is_missing};

/// The writer's place in the ring, and what it knows of gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// Position of the next publish. All that a publish changes here: what follows from it is kept as a distance,
    /// because each store in between makes the next fence wait for longer.
    next: Position,
    /// Positions that its message sequence is behind (wrapping).
    behind: u64,
    /// Position whose slot is the first, in this lap of the ring (so that no division is needed).
    lap_start: u64,
    gates: Gates,
}

/// What a claim comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The slot is the writer's: its payload may be stored to.
    Claimed,
    /// The gates of these entries keep what is in the slot. Nothing was done.
    Gated(EntryMask),
    /// These entries lease the slot. Nothing was done: [`Publisher::skip`] it or [`Publisher::withdraw`].
    Leased(EntryMask),
    /// The slot was leased while it was being claimed. The position was passed over.
    Skipped,
}

/// A slot that no writer of this ring can have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotFault {
    /// What is wrong.
    pub field: &'static str,
    /// The value found.
    pub found: u64,
    /// A value that would be right.
    pub expected: u64,
}

impl Publisher {
    /// A publisher that goes on at `next` with message number `sequence`.
    pub fn new<T: SlotTable>(table: &T, next: Position, sequence: u64) -> Self {
        let behind = next.get().wrapping_sub(sequence);
        Self { next, behind, lap_start: lap_start(table, next), gates: Gates::new() }
    }

    /// The same place in a segment with other slots.
    pub fn moved_to<T: SlotTable>(&self, table: &T) -> Self {
        let gates = self.gates.carried_over();
        Self { lap_start: lap_start(table, self.next), gates, ..*self }
    }

    /// Position of the next publish.
    pub fn position(&self) -> Position {
        self.next
    }

    /// Sequence of the next message: how many there have been.
    #[inline(always)]
    pub fn sequence(&self) -> u64 {
        self.next.get().wrapping_sub(self.behind)
    }

    /// Index of the slot of the next publish.
    #[inline(always)]
    pub fn index(&self) -> u64 {
        self.next.get() - self.lap_start
    }

    /// Index of the slot after that.
    #[inline(always)]
    pub fn index_after<T: SlotTable>(&self, table: &T) -> u64 {
        let after = self.index() + 1;
        if after == table.slot_count() { 0 } else { after }
    }

    /// Whether this publisher gave up the entry at `index` while that was joining.
    #[cfg(qads_loom)]
    pub fn has_given_up_joining(&self, index: usize) -> bool {
        self.gates.has_given_up_joining(index)
    }

    /// Takes the next slot away from readers, so that its payload may be stored to, unless it is held.
    /// `given_up` are entries whose gates do not count any longer.
    ///
    /// May be called again for the same position (a dropped reservation): nothing was published.
    #[inline(always)]
    pub fn claim<T: SlotTable, H: HoldTable>(
        &mut self,
        table: &T,
        holds: &H,
        given_up: EntryMask,
    ) -> Claim {
        self.claim_slot(table, table.slot(self.index()), holds, given_up)
    }

    /// [`claim`](Self::claim) for who has the next slot at hand.
    #[inline(always)]
    pub fn claim_slot<T: SlotTable, H: HoldTable>(
        &mut self,
        table: &T,
        slot: Slot<'_>,
        holds: &H,
        given_up: EntryMask,
    ) -> Claim {
        let leasing = match self.pass_gates(table, holds, given_up) {
            Err(gated) => return Claim::Gated(gated),
            Ok(leasing) => leasing,
        };
        crash::point("claim: gates passed");
        if leasing.is_empty() {
            self.take(slot);
            return Claim::Claimed;
        }
        self.claim_unless_leased(table, holds, leasing)
    }

    /// The rest of a claim where somebody may lease slots.
    #[inline(never)]
    fn claim_unless_leased<T: SlotTable, H: HoldTable>(
        &mut self,
        table: &T,
        holds: &H,
        leasing: EntryMask,
    ) -> Claim {
        // Before anything is stored, so that a write that is refused has cost nobody a message.
        let leased = hold::leased(table, holds, leasing, self.index());
        if !leased.is_empty() {
            return Claim::Leased(leased);
        }
        self.claim_unheld(table);
        fence(Point::L1, Ordering::SeqCst); // L1, pairs with L2
        let leased = hold::leased(table, holds, leasing, self.index());
        if leased.is_empty() || is_missing(Point::L1Look) {
            return Claim::Claimed;
        }
        self.skip(table);
        Claim::Skipped
    }

    /// The first half of a claim: whether the gates allow it, and then the entries that may lease the slot. On
    /// success the position counts as claimed as far as readers are concerned that set up a gate.
    #[inline(always)]
    pub fn pass_gates<T: SlotTable, H: HoldTable>(
        &mut self,
        table: &T,
        holds: &H,
        given_up: EntryMask,
    ) -> Result<EntryMask, EntryMask> {
        // Relaxed: ordered by the fence.
        table.live().claimed.store(self.next.get() + 1, Ordering::Relaxed);
        crash::point("claim: claimed stored");
        fence(Point::H1, Ordering::SeqCst); // H1, pairs with H2
        self.gates
            .check(holds, self.next, table.slot_count(), given_up)
            .inspect_err(|_| self.withdraw(table))
    }

    /// [`pass_gates`](Self::pass_gates) for a move to a segment of `wanted` slots, which keeps what can be
    /// read of that many positions, less the one that comes next.
    pub fn pass_gates_to_move<T: SlotTable, H: HoldTable>(
        &mut self,
        table: &T,
        holds: &H,
        wanted: u64,
        given_up: EntryMask,
    ) -> Result<(), EntryMask> {
        let fewer = table.slot_count().saturating_sub(wanted);
        // Relaxed: ordered by the fence. Readers that join may begin with nothing that is not kept.
        table.live().claimed.store(self.next.get() + 1 + fewer, Ordering::Relaxed);
        fence(Point::H1, Ordering::SeqCst); // H1, pairs with H2
        self.gates
            .check_move(holds, self.next, table.slot_count(), wanted, given_up)
            .inspect_err(|_| self.withdraw(table))
    }

    /// Takes back a claim for which no slot was taken.
    pub fn withdraw<T: SlotTable>(&self, table: &T) {
        // Release: it allows readers an earlier start. Whoever sees it sees what became of the slot before: the
        // writer that this one took over from may have begun to write it.
        let ordering = at(Point::H1Back, Ordering::Release);
        table.live().claimed.store(self.next.get(), ordering); // H1Back, pairs with `hold::claimed`
    }

    /// Takes the next slot without asking who holds it: for a ring where nobody can.
    #[inline(always)]
    pub fn claim_unheld<'t, T: SlotTable>(&self, table: &'t T) -> Slot<'t> {
        let slot = table.slot(self.index());
        self.take(slot);
        slot
    }

    #[inline(always)]
    fn take(&self, slot: Slot<'_>) {
        // Relaxed: the fence orders it before every payload store that follows.
        slot.head
            .generation
            .store(Generation::new(self.next, State::Writing).word(), Ordering::Relaxed);
        crash::point("claim: writing stored");
        fence(Point::W1, Ordering::Release); // W1, pairs with R2
    }

    /// Passes over the next position, whose slot is leased: nothing but its head changes.
    #[cold]
    pub fn skip<T: SlotTable>(&mut self, table: &T) {
        // The head is read like payload, so that it is stored like payload.
        let head = if is_missing(Point::SkipWriting) {
            table.slot(self.index()).head
        } else {
            self.claim_unheld(table).head
        };
        head.sequence.store(self.sequence(), Ordering::Relaxed);
        crash::point("skip: sequence stored");
        let ordering = at(Point::SkipRelease, Ordering::Release);
        head.generation.store(Generation::new(self.next, State::Skipped).word(), ordering); // W2
        crash::point("skip: skipped stored");
        self.step(table);
        self.behind = self.behind.wrapping_add(1);
        self.announce_position(table);
    }

    #[inline(always)]
    fn step<T: SlotTable>(&mut self, table: &T) {
        self.next = self.next.next();
        if self.index() == table.slot_count() {
            self.lap_start = self.next.get();
        }
    }

    /// Publishes the message of `length` bytes stored into the claimed slot.
    #[inline(always)]
    pub fn publish<T: SlotTable>(&mut self, table: &T, descriptor: Descriptor, length: u32) {
        self.publish_slot(table, table.slot(self.index()), descriptor, length);
    }

    /// [`publish`](Self::publish) for who has the slot at hand.
    #[inline(always)]
    pub fn publish_slot<T: SlotTable>(
        &mut self,
        table: &T,
        slot: Slot<'_>,
        descriptor: Descriptor,
        length: u32,
    ) {
        crash::point("publish: payload stored");
        // Relaxed, like the payload: all of it is ordered by W2.
        let (next, sequence) = (self.next, self.sequence());
        slot.head.sequence.store(sequence, Ordering::Relaxed);
        slot.head.length.store(length, Ordering::Relaxed);
        slot.head.kind.store(descriptor.word(), Ordering::Relaxed);
        crash::point("publish: head stored");
        slot.head.generation.store(
            Generation::new(next, State::Published).word(),
            at(Point::W2, Ordering::Release),
        ); // W2, pairs with R1
        crash::point("publish: published stored");
        self.step(table);
        self.announce_position(table);
        crash::point("publish: announced");
    }

    /// Brings the header's live line up to this publisher's place.
    #[inline(always)]
    pub fn announce_position<T: SlotTable>(&self, table: &T) {
        let live = table.live();
        // Release: whoever sees it sees the slot published before it (`consume::sequence_of_next`).
        live.message_count.store(self.sequence(), at(Point::W3, Ordering::Release)); // W3
        live.published.store(self.next.get(), at(Point::W3, Ordering::Release)); // W3, pairs with R3
    }

    /// Finds where the last writer stopped, from the slots themselves: the header's `published` is
    /// stored after the slot and may lag behind it.
    ///
    /// `has_memory` says whether a slot was ever written; others are not looked at, which would give
    /// them memory. No writer is at work while this runs.
    pub fn recover<T: SlotTable, E>(
        table: &T,
        mut has_memory: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<Result<Self, SlotFault>, E> {
        let slot_count = table.slot_count();
        let (first, _) = table.origin();
        let first = Position::new(first);
        let mut next = first;
        for index in 0..slot_count {
            if !has_memory(index)? {
                continue;
            }
            // Relaxed, here and below: the writer that stored these is dead, and that was learnt from
            // the kernel (its lock), which orders everything it did.
            let word = table.slot(index).head.generation.load(Ordering::Relaxed);
            if word == 0 {
                continue;
            }
            let generation = Generation::from_word(word);
            let position = generation.position();
            // Beyond the last, a rollover would make a header that nobody accepts.
            let possible = first..Position::FIRST_LIMIT;
            if position.index(slot_count) != index || !possible.contains(&position) {
                let expected = first.get() + index;
                return Ok(Err(SlotFault { field: "slot generation", found: word, expected }));
            }
            next = next.max(match generation.state() {
                State::Published | State::Skipped if is_missing(Point::RecoverUnannounced) => {
                    position
                        .next()
                        .min(Position::new(table.live().published.load(Ordering::Relaxed)))
                }
                State::Published | State::Skipped => position.next(),
                State::Writing if is_missing(Point::RecoverWriting) => position.next(),
                State::Writing => position,
                State::Empty => {
                    return Ok(Err(SlotFault {
                        field: "slot generation",
                        found: word,
                        expected: 0,
                    }));
                }
            });
        }
        Ok(Self::check_recovered(table, next).map(|sequence| Self::new(table, next, sequence)))
    }

    /// Whether a ring can have stopped at `next`; if so, the sequence there.
    fn check_recovered<T: SlotTable>(table: &T, next: Position) -> Result<u64, SlotFault> {
        // Relaxed throughout, as in `recover`.
        let (first, first_sequence) = table.origin();
        let live = table.live();
        let published = live.published.load(Ordering::Relaxed);
        // The two positions before must be there, the earlier one unless its slot was being written again: a
        // single damaged slot does not make a ring jump.
        let there = [1, 2].map(|back| sequence_after(table, next, back));
        let second = next.get() - first >= 2 && table.slot_count() > 2;
        let first_ok = next.get() == first || table.slot_count() == 1 || there[0].is_some();
        if published > next.get() || !first_ok || second && there[1].is_none() {
            let expected = next.get();
            return Err(SlotFault { field: "published", found: published, expected });
        }
        // What the header says counts if it was stored after the last message; what the last two slots say
        // counts if they are there. One of these may be damaged.
        let header = (published == next.get()).then(|| live.message_count.load(Ordering::Relaxed));
        let known: Vec<u64> = [header, there[0], there[1]].into_iter().flatten().collect();
        let origin = (next.get() == first).then_some(first_sequence);
        let most = first_sequence.saturating_add(next.get() - first);
        let agreed = |sequence: &&u64| {
            let votes = known.iter().filter(|other| other == sequence).count();
            (first_sequence..=most).contains(*sequence) && 2 * votes > known.len().min(2)
        };
        origin.or_else(|| known.iter().find(agreed).copied()).ok_or(SlotFault {
            field: "message_count",
            found: live.message_count.load(Ordering::Relaxed),
            expected: most,
        })
    }
}

/// The position of the first slot in the lap that `position` is of.
fn lap_start<T: SlotTable>(table: &T, position: Position) -> u64 {
    position.get() - position.index(table.slot_count())
}

/// The sequence at `next` as the slot `back` positions before it tells, if it is still there.
fn sequence_after<T: SlotTable>(table: &T, next: Position, back: u64) -> Option<u64> {
    let from = next.get().checked_sub(back)?;
    let mut messages = 0;
    for position in (from..next.get()).map(Position::new) {
        // Relaxed, here and below: nobody writes.
        let word = slot_of(table, position).head.generation.load(Ordering::Relaxed);
        if word == Generation::new(position, State::Published).word() {
            messages += 1;
        } else if word != Generation::new(position, State::Skipped).word() {
            return None;
        }
    }
    let sequence = slot_of(table, Position::new(from)).head.sequence.load(Ordering::Relaxed);
    Some(sequence.wrapping_add(messages))
}

/// Copies position `position` as it stands in `from` to its slot in `to`, which nobody else uses yet.
/// Nothing is copied if `from` no longer has it.
pub fn carry_over<A: SlotTable, B: SlotTable>(from: &A, to: &B, position: Position) {
    let (source, target) = (slot_of(from, position), slot_of(to, position));
    // Relaxed throughout: the caller is the only writer of both, and whoever attaches to `to` learns of
    // it through its magic number.
    let word = source.head.generation.load(Ordering::Relaxed);
    if Generation::from_word(word).position() != position {
        return;
    }
    let length = source.head.length.load(Ordering::Relaxed);
    target.head.sequence.store(source.head.sequence.load(Ordering::Relaxed), Ordering::Relaxed);
    target.head.length.store(length, Ordering::Relaxed);
    target.head.kind.store(source.head.kind.load(Ordering::Relaxed), Ordering::Relaxed);
    for (from, to) in source.payload.iter().zip(target.payload).take(carried_words(source)) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    target.head.generation.store(word, Ordering::Relaxed);
}

/// Bytes of a slot, from its start, that [`carry_over`] stores.
pub fn carried_bytes<T: SlotTable>(from: &T, position: Position) -> u64 {
    super::HEAD_BYTES as u64 + 8 * carried_words(slot_of(from, position)) as u64
}

fn carried_words(slot: Slot<'_>) -> usize {
    let length = slot.head.length.load(Ordering::Relaxed) as usize;
    let descriptor = Descriptor::from_word(slot.head.kind.load(Ordering::Relaxed));
    let first = descriptor.map_or(0, |descriptor| descriptor.first_word);
    (first + length.div_ceil(8)).min(slot.payload.len())
}
