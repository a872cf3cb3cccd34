//! The ring protocol: one writer, any number of readers, no locks.
//!
//! This module works on typed views of memory ([`crate::layout`]) and never sees a system call, a
//! mapping or Arrow; that is what lets the loom models in `loom-tests/` run this very source.
//!
//! # Concepts
//!
//! * A **position** (64 bits, never reused) numbers what the writer did: position `p` lives in slot
//!   `p % slot_count` until position `p + slot_count` takes that slot.
//! * The **message sequence** numbers messages densely. A position may be *skipped* (its slot was
//!   held by a reader), a sequence number never is, so a reader that was lapped subtracts two
//!   sequence numbers and knows exactly what it lost.
//! * A slot's **generation** is one word, `position << 2 | state`. It is the seqlock: a reader
//!   believes what it copied only if the generation is the same before and after.
//! * A registered reader can hold messages: **lease** single slots, or **gate** everything from its position
//!   on. How is told in [`hold`].
//!
//! # Slot state machine
//!
//! ```text
//!                 claim p                 publish p
//!   EMPTY(0) ────────────────► WRITING(p) ─────────► PUBLISHED(p)
//!                                 ▲  ▲                    │
//!                reclaim p        │  │   claim p + n      │
//!        (takeover, reservation   └──┘  ◄─────────────────┘
//!         dropped)                                (or SKIPPED(p) when p's slot was held)
//! ```
//!
//! # Who stores what
//!
//! The one live writer stores to the data segment. A registered reader stores to its own entry of the
//! control segment, and raises the `waiters` word and its bits of the masks there. Whoever proved an owner
//! dead (by having its lock) clears its entry. A reader needs no right to write to the data segment, and
//! none to the control segment unless it wants to be woken or to hold messages.
//!
//! # Synchronisation points
//!
//! | | writer | reader | what it gives |
//! |---|---|---|---|
//! | W1/R2 | `WRITING(p)` Relaxed, `fence(Release)`, payload Relaxed | payload Relaxed, `fence(Acquire)`, generation Relaxed | a reader that saw one word of a newer payload sees that the generation moved: nothing torn is returned |
//! | W2/R1 | payload Relaxed, `PUBLISHED(p)` Release | generation Acquire, payload Relaxed | a reader that saw the generation sees the whole payload |
//! | W3/R3 | `PUBLISHED(p)`, then `published = p + 1` Release | `published` Acquire | every position below `published` is in its slot or overwritten by a later one |
//! | W4/R4 | `published`, `fence(SeqCst)`, load `waiters` | `waiters = 1`, `fence(SeqCst)`, look again | the writer sees the sleeper or the sleeper sees the message |
//! | W5/R5 | `waiters = 0` Relaxed, `wake_sequence + 1` Release, `FUTEX_WAKE` | `wake_sequence` Acquire *before* `waiters = 1`, `FUTEX_WAIT(wake_sequence)` | a sleeper whose raised word was lowered by an earlier wake does not sleep through it (see [`wake`]) |
//! | H1/H2 | `claimed = p + 1`, `fence(SeqCst)`, load `joins`, gates and the mask of leasing entries | gate or mask bit, `joins + 1`, `fence(SeqCst)`, load `claimed` | the writer sees the gate or the reader sees the claim ([`hold`]) |
//! | H1Back | `claimed` taken back, Release | `claimed` Acquire | a reader that may begin earlier for it sees what was done to that slot |
//! | L1/L2 | `WRITING(p)`, `fence(SeqCst)`, load leases | lease, `fence(SeqCst)`, generation | the writer sees the lease or the reader sees that the slot is taken ([`hold`]) |
//! | H3 | load leases and gates Acquire | end a lease or move a gate, Release | what was read under a hold was read before the next store to the slot |
//!
//! A Release *store* of `WRITING` would not do for W1: it orders what comes before it, and the payload
//! stores come after. Sources: H.-J. Boehm, "Can seqlocks get along with programming language memory
//! models?" (MSPC 2012); crossbeam-utils, `seq_lock.rs`. Each ordering is argued for in `docs/memory-model.md`.
//!
//! # No data race
//!
//! Payload that may be overwritten while it is read is accessed as 64-bit relaxed atomics on both
//! sides ([`words`]). A reference to payload bytes is made only under a lease, and then nobody stores to them.
//!
//! # What a reader may believe
//!
//! Length, kind and sequence come from shared memory like the payload: each is read once, checked
//! against the slot, and acted on (an allocation, a copy) only within those bounds; nothing is
//! returned before the generation was looked at again.
//!
//! # Which lines move
//!
//! Publishing a message of up to 40 bytes dirties the slot's first line (which the reader polls) and
//! the header's `published` line (which nobody polls: readers look at it when they attach, were
//! lapped, join or lease for the first time, or are about to sleep). So one line crosses cores for each
//! message and reader. Of the control segment a publish reads the line of masks, which changes when readers
//! come and go; and the entries of readers that lease or have gates, when the limit that these had at the last
//! look is reached.

pub mod consume;
pub mod hold;
pub mod publish;
pub mod wake;
pub mod words;

use crate::layout::{FIRST_POSITION_LIMIT, POSITION_LIMIT, Slot, SlotTable};

/// Number of a publish, from the first in the life of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The position with this number (below 2^62).
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Beyond every position that there can be.
    pub const LAST: Self = Self(u64::MAX);

    /// The first that a generation has no room for.
    pub const LIMIT: Self = Self(POSITION_LIMIT);

    /// The first that no segment may begin with.
    pub const FIRST_LIMIT: Self = Self(FIRST_POSITION_LIMIT);

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it. At a billion publishes a second it takes 146 years to run out of these.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The one `by` before it, but not before `first`.
    pub fn back(self, by: u64, first: Self) -> Self {
        Self(self.0.saturating_sub(by).max(first.0))
    }

    /// Index of its slot.
    pub const fn index(self, slot_count: u64) -> u64 {
        self.0 % slot_count
    }
}

/// What a slot is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never written.
    Empty,
    /// The writer is storing the message.
    Writing,
    /// The message is complete.
    Published,
    /// The position was passed over because the slot was held; there is no message.
    Skipped,
}

/// A slot's generation word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// The word for `position` in `state`.
    pub const fn new(position: Position, state: State) -> Self {
        Self(position.0 << 2 | state as u64)
    }

    /// The generation that a slot's word says.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The position in it.
    pub const fn position(self) -> Position {
        Position(self.0 >> 2)
    }

    /// The state in it.
    pub const fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Empty,
            1 => State::Writing,
            2 => State::Published,
            _ => State::Skipped,
        }
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Bytes of the user's own making.
    Bytes,
    /// One Arrow IPC stream.
    ArrowStream,
    /// The same, with a [`Note`] in the first two payload words.
    NotedStream,
}

/// Which other streams a stream resembles: a hint, with which a reader need not look at all of it again.
///
/// Streams of one ring with the same `template` are alike in all but the numbers and the body of their one record
/// batch.
#[cfg(feature = "arrow")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The writer's epoch and the number it gave the template.
    pub template: u64,
    /// Bytes of the stream before the record batch message.
    pub schema_bytes: u32,
    /// Bytes of the record batch message before its body.
    pub metadata_bytes: u32,
}

#[cfg(feature = "arrow")]
impl Note {
    /// Stores it to a claimed slot.
    pub fn store(self, slot: Slot<'_>) {
        let lengths = u64::from(self.schema_bytes) | u64::from(self.metadata_bytes) << 32;
        words::store_each(slot.payload, [self.template, lengths].into_iter());
    }

    /// Where in a stream of `length` bytes the body begins, in words, and how many bytes there are from there on;
    /// `None` if that cannot be.
    pub fn rest(&self, length: usize) -> Option<(usize, usize)> {
        let from = (self.schema_bytes as usize).checked_add(self.metadata_bytes as usize)?;
        let whole = self.schema_bytes.is_multiple_of(8) && self.metadata_bytes.is_multiple_of(8);
        Some((from / 8, length.checked_sub(from).filter(|_| whole)?))
    }

    /// Loads it from a slot, whatever it is.
    pub fn load(slot: Slot<'_>) -> Option<Self> {
        let mut words = [0; 2];
        words::load_all(slot.payload.get(..words.len())?, &mut words);
        let [template, lengths] = words;
        Some(Self {
            template,
            schema_bytes: lengths as u32,
            metadata_bytes: (lengths >> 32) as u32,
        })
    }
}

/// A slot's `kind` word: what the message is (low half) and where in the slot it starts (high half,
/// bytes from the start of the slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the message is.
    pub kind: MessageKind,
    /// Index into the slot's payload words of the message's first byte.
    pub first_word: usize,
}

/// Bytes of a slot's head, before its payload words.
const HEAD_BYTES: u32 = 24;

impl Descriptor {
    /// A plain message: right behind the slot's head, in the same cache line.
    pub const BYTES: Self = Self { kind: MessageKind::Bytes, first_word: 0 };

    /// Bytes from the start of the slot to the message.
    pub const fn offset_bytes(self) -> usize {
        HEAD_BYTES as usize + 8 * self.first_word
    }

    /// The word to store.
    pub const fn word(self) -> u32 {
        (self.offset_bytes() as u32) << 16 | self.kind as u32
    }

    /// What a slot's word says; `None` if it cannot be.
    pub const fn from_word(word: u32) -> Option<Self> {
        let kind = match word & 0xffff {
            0 => MessageKind::Bytes,
            1 => MessageKind::ArrowStream,
            2 => MessageKind::NotedStream,
            _ => return None,
        };
        let offset = word >> 16;
        if offset < HEAD_BYTES || !offset.is_multiple_of(8) {
            return None;
        }
        Some(Self { kind, first_word: ((offset - HEAD_BYTES) / 8) as usize })
    }
}

/// The slot that `position` lives in.
#[inline(always)]
fn slot_of<T: SlotTable>(table: &T, position: Position) -> Slot<'_> {
    table.slot(position.index(table.slot_count()))
}
