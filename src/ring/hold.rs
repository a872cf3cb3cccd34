//! Holds: how a registered reader keeps messages from being overwritten.
//!
//! * A **lease** keeps one slot. The writer passes over a leased slot (its position becomes SKIPPED), so
//!   that a lease never makes it wait.
//! * A **gate** keeps everything from a position on. The writer waits for it, refuses the write, or gives
//!   the reader up, as its options say.
//!
//! Both are words in the reader's own entry of the control segment, and both are set up by a handshake of
//! two stores and two loads with a `SeqCst` fence in between on either side, so that at least one side
//! notices the other.
//!
//! ```text
//! gate: reader                                  writer, for position p
//!   gate = JOINING, joins += 1                    claimed = p + 1                (Relaxed)
//!   fence(SeqCst)                    // H2        fence(SeqCst)                  // H1
//!   c = claimed                                   joins moved on, or p has reached the limit?
//!   choose a position g >= c - slot_count           look at all gates; if one covers p - slot_count:
//!   gate = g + 1, fence(SeqCst)      // H2             claimed = p, and wait, refuse or give up
//!   claimed <= g + slot_count ? held : again
//!
//! lease: reader, for position x                 writer, for position p = x + k * slot_count
//!   lease = slot index + 1                        generation = WRITING(p)        (Relaxed)
//!   fence(SeqCst)                    // L2        fence(SeqCst)                  // L1
//!   generation still PUBLISHED(x) ?               a lease on this slot?
//!     held : withdraw it, an overrun                generation = SKIPPED(p), on to p + 1
//! ```
//!
//! *Why gates have a word of their own.* A writer that finds out about a gate must not have taken the slot
//! yet: readers that saw WRITING have left for a later message. `claimed` may be taken back; it concerns
//! nobody but readers that set up a gate, and those only choose a later message than they had to.
//!
//! *Why a reader says JOINING first.* Safe is what the second handshake makes so; the first is there that it
//! comes to an end. A fast writer moves on while the reader chooses its first message, and
//! would do so again at every try. JOINING covers everything; the writer treats it like any gate that is in
//! its way. What it gave up it remembers by the word, which is another at every try.
//!
//! *A gate that is too late covers nothing.* If the slot of position g has been taken (g + slot_count <
//! p), then its reader was given up or the word is forged. The writer ignores the gate, and looks again at
//! each claim in case it moves. So no list of the evicted is needed, nor lost with a writer that dies.
//!
//! *When the writer looks for leases.* L1 and the look cost a line that the reader has just stored to. So each
//! leasing entry (a bit of the mask `leasing`) says in `lease_from` from which position on it may lease, now or
//! later; that only goes up. A claim of p overwrites position p - slot_count; it needs to look only if that is not
//! before `lease_from`, and what was read of `lease_from` once goes into the same limit as the gates. A reader raises its
//! bit, and moves `joins` on, before its first lease and loads `claimed` after a fence (H2): every claim from
//! there on sees that (by H1). A claim before may be under way without having seen it, so the
//! reader leases no message that such a claim could overwrite ([`begin_leasing`]).
//!
//! *Releasing* is a store of 0, or of a later position for a gate and for `lease_from`, with Release; the writer's loads are
//! Acquire (H3), so the reader's last look at the message comes before the writer's next store to it. That
//! goes for every store of 0, also by whoever clears the entry later: the writer may read that one alone.
//!
//! *Taking a claim back* is a store of the lower position with Release (H1Back). A reader that may begin
//! earlier for it must also see what was done to the slot before, if need be by a writer that is dead.
//!
//! *After a rollover* gates go on to hold, because positions do. Leases are slots of one segment and count
//! in that one only (`segment_number`): the old segment is never stored to again.

use super::Position;
use super::consume::Found;
use crate::crash;
use crate::layout::{Entry, HoldTable, LEASES_PER_ENTRY, SlotTable};
use crate::sync::{Ordering, Point, at, fence, is_missing, load_acquire};

/// Entries of a control segment, as bits of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMask(u64);

impl EntryMask {
    /// No entry.
    pub const NONE: Self = Self(0);

    /// The one at `index`, below 64.
    pub const fn of(index: usize) -> Self {
        Self(1 << index)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (index < 64).then_some(index)
        })
    }

    /// What a mask word says, for a table of so many entries.
    fn from_word(word: u64, entry_count: usize) -> Self {
        let all = if entry_count < 64 { (1 << entry_count) - 1 } else { u64::MAX };
        Self(word & all)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What the writer knows of the gates, and of where leases may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gates {
    /// `joins` at the last look.
    joins: u64,
    /// First position that the gates, as they were then, do not allow.
    gated: Position,
    /// First position of which that is so, or whose slot may be leased.
    limit: Position,
    /// JOINING words that were given up.
    given_up: [u64; 64],
}

impl Gates {
    /// Knows nothing yet: the first claim looks.
    pub(super) fn new() -> Self {
        Self { joins: 0, gated: Position::new(0), limit: Position::new(0), given_up: [0; 64] }
    }

    /// Whether the entry at `index` was given up while it joined.
    #[cfg(qads_loom)]
    pub(super) fn has_given_up_joining(&self, index: usize) -> bool {
        self.given_up[index] != 0
    }

    /// As in a segment with other slots: what was given up stays so.
    pub(super) fn carried_over(&self) -> Self {
        let mut gates = self.clone();
        gates.forget_limits();
        gates
    }

    /// The next look is at all gates.
    fn forget_limits(&mut self) {
        (self.gated, self.limit) = (Position::new(0), Position::new(0));
    }

    /// Whether the gates let position `next` be claimed, and then the entries that may lease its slot; else the
    /// entries that do not. `given_up` are those that are not waited for any longer. Called between H1 and the
    /// claim.
    #[inline(always)]
    pub(super) fn check<H: HoldTable>(
        &mut self,
        holds: &H,
        next: Position,
        slot_count: u64,
        given_up: EntryMask,
    ) -> Result<EntryMask, EntryMask> {
        // Relaxed: ordered by H1; a look follows if it has changed.
        let joins = holds.holds().joins.load(Ordering::Relaxed);
        if (joins == self.joins || is_missing(Point::H1Look)) && next < self.limit {
            return Ok(EntryMask::NONE);
        }
        self.look(holds, next, slot_count, slot_count, given_up)
    }

    /// Looks at the gates, unless it is known that they let `next` be claimed, and at who may lease its slot. The ring
    /// then keeps the `kept` positions before it; it has kept `slot_count` so far.
    #[cold]
    fn look<H: HoldTable>(
        &mut self,
        holds: &H,
        next: Position,
        slot_count: u64,
        kept: u64,
        given_up: EntryMask,
    ) -> Result<EntryMask, EntryMask> {
        // Acquire: whoever sees that a reader joined sees its gate and its bit.
        let joins = holds.holds().joins.load(Ordering::Acquire);
        let gated = if joins == self.joins && next < self.gated {
            self.gated
        } else {
            // If they refuse, what is known stays as it was, so that the next claim looks again.
            self.look_at_gates(holds, next, slot_count, kept, given_up)?
        };
        let (mut limit, mut leasing) = (gated, EntryMask::NONE);
        for index in self::leasing(holds).iter() {
            // Acquire (H3): what was leased before it has been read.
            let from = Position::new(holds.entry(index).lease_from.load(Ordering::Acquire));
            let first_leased = Position::new(from.get().saturating_add(slot_count));
            if next < first_leased || is_missing(Point::LeaseFromLook) {
                limit = limit.min(first_leased);
            } else {
                leasing = leasing.union(EntryMask::of(index));
                // `next` itself may be claimed again, and its slot be leased by then.
                limit = limit.min(next);
            }
        }
        (self.joins, self.gated, self.limit) = (joins, gated, limit);
        Ok(leasing)
    }

    /// Looks at all gates: the first position that they do not allow, or the entries that do not allow `next`.
    fn look_at_gates<H: HoldTable>(
        &mut self,
        holds: &H,
        next: Position,
        slot_count: u64,
        kept: u64,
        given_up: EntryMask,
    ) -> Result<Position, EntryMask> {
        let gating = holds.holds().gating.load(Ordering::Acquire);
        let mut limit = Position::LAST;
        let mut blocked = EntryMask::NONE;
        if !given_up.is_empty() {
            // It may come to nothing after all: whoever claims `next` again asks again.
            limit = next;
        }
        for index in EntryMask::from_word(gating, holds.entry_count()).iter() {
            let entry = EntryMask::of(index);
            let word = holds.entry(index).gate.load(Ordering::Acquire); // H3, pairs with `move_gate`
            let passed = !given_up.and(entry).is_empty();
            if word == 0 {
                continue;
            }
            let refuses = if word & Entry::JOINING != 0 {
                if passed {
                    self.given_up[index] = word;
                }
                self.given_up[index] != word
            } else {
                let first_refused = |slots| Position::new((word - 1).saturating_add(slots));
                if first_refused(kept) > next {
                    limit = limit.min(first_refused(kept));
                    continue;
                }
                !passed && first_refused(slot_count) >= next
            };
            if refuses && !is_missing(Point::GateLook) {
                blocked = blocked.union(entry);
            }
            // One that came too late or was given up may move: another look at the next claim.
            limit = limit.min(next.next());
        }
        if blocked.is_empty() { Ok(limit) } else { Err(blocked) }
    }

    /// Whether the gates let the ring move to a segment that keeps `kept` positions, with `next` to come.
    pub(super) fn check_move<H: HoldTable>(
        &mut self,
        holds: &H,
        next: Position,
        slot_count: u64,
        kept: u64,
        given_up: EntryMask,
    ) -> Result<(), EntryMask> {
        self.forget_limits();
        let result = self.look(holds, next, slot_count, kept, given_up);
        // They were those of the other segment.
        self.forget_limits();
        result.map(|_| ())
    }
}

/// Entries that lease the slot at `index` of the segment that `table` is.
#[inline(always)]
pub(super) fn leased<T: SlotTable, H: HoldTable>(
    table: &T,
    holds: &H,
    leasing: EntryMask,
    index: u64,
) -> EntryMask {
    let wanted = index as u32 + 1;
    let mut found = EntryMask::NONE;
    for entry_index in leasing.iter() {
        let entry = holds.entry(entry_index);
        // H3: Acquire, pairs with `release` (the holder's last look is over) and with `lease` (its segment).
        let held = entry.leases.iter().any(|lease| lease.load(Ordering::Acquire) == wanted);
        if held && entry.segment_number.load(Ordering::Relaxed) == table.segment_number() {
            found = found.union(EntryMask::of(entry_index));
        }
    }
    found
}

/// The mask of entries that may have leases.
#[inline(always)]
pub(super) fn leasing<H: HoldTable>(holds: &H) -> EntryMask {
    // Acquire (H3): an entry that is not in the mask any more was read under for the last time before.
    EntryMask::from_word(holds.holds().leasing.load(Ordering::Acquire), holds.entry_count())
}

/// The entries that cost each publish something: those that may lease, and those with a gate.
pub fn holding<H: HoldTable>(holds: &H) -> EntryMask {
    // Acquire, as in `leasing`.
    let gating = holds.holds().gating.load(Ordering::Acquire);
    leasing(holds).union(EntryMask::from_word(gating, holds.entry_count()))
}

/// Slots that are leased, and the entries that lease them. For when a claim has met one.
pub fn all_leases<T: SlotTable, H: HoldTable>(table: &T, holds: &H) -> (u64, EntryMask) {
    let mut slots = [0; 64 * LEASES_PER_ENTRY];
    let mut count = 0;
    let mut by = EntryMask::NONE;
    for index in leasing(holds).iter() {
        let entry = holds.entry(index);
        // As in `leased`.
        let words: [u64; LEASES_PER_ENTRY] =
            std::array::from_fn(|k| entry.leases[k].load(Ordering::Acquire).into());
        if entry.segment_number.load(Ordering::Relaxed) != table.segment_number() {
            continue;
        }
        for word in words {
            if (1..=table.slot_count()).contains(&word) {
                slots[count] = word;
                count += 1;
                by = by.union(EntryMask::of(index));
            }
        }
    }
    let slots = &mut slots[..count];
    slots.sort_unstable();
    (slots.chunk_by(u64::eq).count() as u64, by)
}

/// Reader: says that the entry at `index` may lease slots of `table` from now on. Returns the first position
/// that may be: the claim that would overwrite an earlier one may not have seen the announcement.
pub fn begin_leasing<T: SlotTable, H: HoldTable>(table: &T, holds: &H, index: usize) -> Position {
    // Relaxed: the fence orders it.
    holds.entry(index).segment_number.store(table.segment_number(), Ordering::Relaxed);
    if !is_missing(Point::LeaseFromZero) {
        holds.entry(index).lease_from.store(0, Ordering::Relaxed);
    }
    holds.holds().leasing.fetch_or(1 << index, Ordering::Relaxed);
    if !is_missing(Point::LeaseJoins) {
        // Release: whoever sees it sees the bit and the 0.
        holds.holds().joins.fetch_add(1, at(Point::JoinsRelease, Ordering::Release));
    }
    crash::point("lease: announced");
    fence(Point::H2Lease, Ordering::SeqCst); // H2, pairs with H1
    if is_missing(Point::LeaseFloor) {
        return Position::new(0);
    }
    claimed(table).back(table.slot_count(), Position::new(0))
}

/// Reader: will lease nothing before `position` any more, and has no lease there.
#[inline]
pub fn lease_from(entry: &Entry, position: Position) {
    entry.lease_from.store(position.get(), Ordering::Release); // H3: what was leased before it has been read
}

/// Reader: leases the message that was found, as lease `number` of its entry. `false` if it was overwritten
/// meanwhile; the lease must then be [released](release).
#[inline]
#[must_use]
pub fn lease(entry: &Entry, number: usize, found: &Found<'_>) -> bool {
    // Release: whoever sees the lease sees which segment it is for.
    entry.leases[number].store(found.slot_index() as u32 + 1, Ordering::Release);
    crash::point("lease: stored");
    fence(Point::L2, Ordering::SeqCst); // L2, pairs with L1
    found.is_intact() || is_missing(Point::L2Look)
}

/// Reader: ends a lease.
#[inline]
pub fn release(entry: &Entry, number: usize) {
    entry.leases[number].store(0, Ordering::Release); // H3: what was read under it was read before
    crash::point("lease: released");
}

/// Reader: begins to set up a gate; nothing that is in the ring from now on is overwritten until it is
/// [settled](settle_gate) (unless the writer gives it up). `attempt` must be new. Returns the first
/// position that the gate can be settled at.
pub fn join<T: SlotTable, H: HoldTable>(
    table: &T,
    holds: &H,
    index: usize,
    attempt: u64,
) -> Position {
    // Relaxed: the Release below publishes both.
    holds.entry(index).gate.store(Entry::JOINING | attempt, Ordering::Relaxed);
    crash::point("join: joining stored");
    holds.holds().gating.fetch_or(1 << index, Ordering::Relaxed);
    crash::point("join: bit raised");
    holds.holds().joins.fetch_add(1, at(Point::JoinsRelease, Ordering::Release));
    crash::point("join: joins moved");
    fence(Point::H2, Ordering::SeqCst); // H2, pairs with H1
    if is_missing(Point::JoinFloor) {
        return Position::new(0);
    }
    claimed(table).back(table.slot_count(), Position::new(0))
}

/// Reader: has the gate cover everything from `position` on. `false` if that may be overwritten: the writer
/// gave this reader up while it joined, or is just finding out that it has to wait (join again, then).
pub fn settle_gate<T: SlotTable>(table: &T, entry: &Entry, position: Position) -> bool {
    move_gate(entry, position);
    crash::point("settle: gate stored");
    fence(Point::H2Settle, Ordering::SeqCst); // H2, pairs with H1
    claimed(table).get() <= position.get().saturating_add(table.slot_count())
        || is_missing(Point::SettleLook)
}

/// Reader: gives up what is before `position`.
#[inline(always)]
pub fn move_gate(entry: &Entry, position: Position) {
    entry.gate.store(position.get() + 1, Ordering::Release); // H3: what was before it has been read
}

/// Writer: what `blocked` tells while a gate keeps it from claiming `next`: the low half of the position up to which
/// readers are to go on before they wake it, and never 0. That is half a ring, not one slot: else a writer and a reader
/// on the same core would take turns for each message.
pub fn wanted(next: Position, slot_count: u64) -> u32 {
    let enough = (slot_count / 2).max(1);
    match next.get().wrapping_sub(slot_count).wrapping_add(enough) as u32 {
        // One position earlier does as well.
        0 => u32::MAX,
        wanted => wanted,
    }
}

/// Reader: whether the writer, which says `blocked`, is to be woken now that everything before `position` is given up.
#[inline(always)]
pub fn is_wanted(blocked: u32, position: Position) -> bool {
    blocked != 0 && (position.get() as u32).wrapping_sub(blocked).cast_signed() >= 0
}

/// Reader: takes its gate away.
pub fn leave<H: HoldTable>(holds: &H, index: usize) {
    holds.entry(index).gate.store(0, Ordering::Release); // H3, as in `move_gate`
    crash::point("leave: gate withdrawn");
    holds.holds().gating.fetch_and(!(1 << index), Ordering::Release);
}

/// One past the last position that the writer may have taken the slot for.
fn claimed<T: SlotTable>(table: &T) -> Position {
    // Pairs with H1Back.
    Position::new(load_acquire(&table.live().claimed))
}

#[cfg(all(test, not(qads_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_woken_when_half_a_ring_is_free_and_not_before() {
        for slot_count in [1, 2, 3, 4, 16, 1 << 24] {
            // Where halves of a position wrap, too.
            for next in [slot_count, slot_count + 5, 1 << 31, 1 << 32, (1 << 32) + slot_count] {
                let next = Position::new(next.max(slot_count));
                let blocked = wanted(next, slot_count);
                let at = |free: u64| Position::new(next.get() - slot_count + free);
                let least = (0..=slot_count).find(|free| is_wanted(blocked, at(*free)));
                let half = (slot_count / 2).max(1);
                let wraps = at(half).get() as u32 == 0;
                assert_eq!(least, Some(half - u64::from(wraps)), "{slot_count} slots, at {next:?}");
                assert!(is_wanted(blocked, next) && !is_wanted(0, next));
            }
        }
    }
}
